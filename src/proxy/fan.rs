//! Reads over several shards: all are asked at once, their rows are merged as they come.

use std::borrow::Cow;

use bytes::Bytes;

use super::answer::{self, Preface};
use super::client::Client;
use super::exchange::Reply;
use super::outcome::{Step, Stop};
use super::sharded::{Asked, Task};
use crate::merge::spec::MergeSpec;
use crate::merge::{self, ANYENUM, Merge, MergeOptions, TextFidelity};
use crate::route::plan::{Access, Part};
use crate::sql::schema::Schema;
use crate::types::{Error, ShardId};
use crate::wire::backend::{self, Column, tag};

/// Unsent bytes towards the client above which no more rows are read.
const HIGH_WATER: usize = 64 * 1024;

/// What the shards said before their first row.
struct Opening {
    columns: Vec<Column>,
    parameters: Option<Bytes>,
}

impl Client {
    /// Runs a plan's parts and gives the client their rows as one result.
    pub async fn fan(&mut self, schema: &Schema, parts: &[Part], spec: &MergeSpec, task: &Task<'_>) -> Step {
        let shards: Vec<ShardId> = parts.iter().map(|part| part.shard).collect();
        let result = self.merge_parts(schema, parts, &shards, spec, task).await;
        match result {
            Ok(()) => self.answered(task),
            Err(Stop::Gone) => Err(Stop::Gone),
            Err(stop) => {
                self.stop_all(&shards).await;
                self.fail_block();
                self.refused(stop, task)
            }
        }
    }

    async fn merge_parts(
        &mut self,
        schema: &Schema,
        parts: &[Part],
        shards: &[ShardId],
        spec: &MergeSpec,
        task: &Task<'_>,
    ) -> Step {
        for part in parts {
            self.link(part.shard, Access::Read).await?;
        }
        for part in parts {
            self.ask(part.shard, &self.question_for(part, task)?).await?;
        }
        let opening = self.openings(shards).await?;
        let options = MergeOptions {
            memory_max: self.worker.instance.config.pool.merge_memory,
            fidelity: TextFidelity {
                deterministic_collations: !schema.has_nondeterministic_collations,
                // Settings that cut digits off are refused; the default since version 12 shows them all.
                exact_floats: true,
            },
        };
        let mut merge = Merge::new(spec, &as_merged(&opening.columns, schema), shards.len(), &options)?;
        let columns = backend::row_description_body(merge.visible_columns(&opening.columns));
        self.preface(task, &Preface { parameters: opening.parameters, columns: Some(columns) });
        self.merge_rows(&mut merge, shards).await?;
        for shard in shards {
            // With a LIMIT the shards may have more to say than was needed.
            self.finish_part(*shard).await?;
        }
        backend::command_complete(self.conn.queue(), &format!("SELECT {}", merge.row_count()));
        Ok(())
    }

    /// Reads what each shard says before its rows; they must agree.
    async fn openings(&mut self, shards: &[ShardId]) -> Step<Opening> {
        let mut first: Option<Opening> = None;
        for shard in shards {
            let opening = self.opening(*shard).await?;
            match &first {
                None => first = Some(opening),
                Some(first) if same_types(&first.columns, &opening.columns) => {}
                Some(_) => {
                    return Err(Error::refuse(
                        "the shards answer with different columns",
                        format!("Shard {shard} and shard {} describe the rows differently.", shards[0]),
                    )
                    .hint("Compare the tables' definitions on both shards.")
                    .into());
                }
            }
        }
        first.ok_or_else(|| Error::internal("a plan without shards").into())
    }

    async fn opening(&mut self, shard: ShardId) -> Step<Opening> {
        let mut parameters = None;
        loop {
            match self.reply(shard).await? {
                Reply::RowDescription(body) => {
                    let body = self.with_home_oids(shard, tag::ROW_DESCRIPTION, body)?;
                    return Ok(Opening { columns: backend::read_row_description(&body)?, parameters });
                }
                Reply::ParameterDescription(body) => {
                    parameters = Some(self.with_home_oids(shard, tag::PARAMETER_DESCRIPTION, body)?);
                }
                Reply::Error(body) => return Err(self.passed_on(&body)),
                Reply::Notice(_) | Reply::Nothing => {}
                other => return Err(Error::internal(format!("a shard did not describe its rows: {other:?}")).into()),
            }
        }
    }

    async fn merge_rows(&mut self, merge: &mut Merge, shards: &[ShardId]) -> Step {
        loop {
            match merge.next(self.conn.queue())? {
                merge::Step::Row if self.conn.unsent() > HIGH_WATER => {
                    self.conn.flush().await.map_err(|_| Stop::Gone)?;
                }
                merge::Step::Row => {}
                merge::Step::Done => return Ok(()),
                merge::Step::NeedRow(source) => match self.reply(shards[source]).await? {
                    Reply::Row(body) => merge.push(source, body)?,
                    Reply::Complete(_) => merge.finish(source),
                    Reply::Error(body) => return Err(self.passed_on(&body)),
                    Reply::Notice(_) | Reply::Nothing => {}
                    other => return Err(Error::internal(format!("a shard broke off: {other:?}")).into()),
                },
            }
        }
    }

    async fn finish_part(&mut self, shard: ShardId) -> Step {
        match self.drain(shard).await? {
            None => Ok(()),
            Some(body) => Err(self.passed_on(&body)),
        }
    }

    /// Gives the client a server's ErrorResponse as it is.
    pub fn passed_on(&mut self, body: &[u8]) -> Stop {
        answer::pass(self.conn.queue(), tag::ERROR_RESPONSE, body);
        Stop::Told
    }

    /// An error on one shard fails the whole block.
    pub fn fail_block(&mut self) {
        if let Some(block) = &mut self.block {
            block.fail();
        }
    }

    /// Ends a statement whose error the client may have read already.
    pub fn refused(&mut self, stop: Stop, task: &Task<'_>) -> Step {
        match (stop, &task.asked) {
            (Stop::Told, Asked::Step) => Err(Stop::Told),
            (Stop::Told, Asked::Query(_) | Asked::Batch(_)) => self.answered(task),
            (other, _) => Err(other),
        }
    }
}

/// The columns as the merge knows their types: any enum is alike to it.
fn as_merged<'c>(columns: &'c [Column], schema: &Schema) -> Cow<'c, [Column]> {
    let is_enum = |column: &Column| schema.enums.contains_key(&column.type_oid);
    if !columns.iter().any(is_enum) {
        return Cow::Borrowed(columns);
    }
    let mut merged = columns.to_vec();
    merged.iter_mut().filter(|column| is_enum(column)).for_each(|column| column.type_oid = ANYENUM);
    Cow::Owned(merged)
}

fn same_types(one: &[Column], other: &[Column]) -> bool {
    let type_of = |column: &Column| (column.type_oid, column.type_modifier);
    one.iter().map(type_of).eq(other.iter().map(type_of))
}
