//! Reads over several shards: all are asked at once, their rows are merged as they come.

use std::borrow::Cow;

use bytes::Bytes;

use super::answer::{self, Preface};
use super::client::Client;
use super::exchange::{Reply, Wanted, bound};
use super::outcome::{Step, Stop};
use super::sharded::{Asked, Task, rows_max};
use crate::merge::spec::MergeSpec;
use crate::merge::{self, ANYENUM, Merge, MergeOptions, TextFidelity};
use crate::route::plan::{Access, Part};
use crate::sql::schema::Schema;
use crate::types::{Error, Kind, Result, ShardId};
use crate::wire::backend::{self, Column, tag};
use crate::wire::frontend::{Bind, Format};

/// Unsent bytes towards the client above which no more rows are read.
pub const HIGH_WATER: usize = 64 * 1024;

/// What the shards said before their first row.
struct Opening {
    columns: Vec<Column>,
    parameters: Option<Bytes>,
    /// The columns whose binary values hold OIDs that the client knows by other numbers.
    numbered: Vec<(usize, u32)>,
}

/// One shard's part of a result.
struct Source {
    shard: ShardId,
    numbered: Vec<(usize, u32)>,
}

/// A merge whose first rows are to come.
struct Opened {
    opening: Opening,
    sources: Vec<Source>,
    merge: Merge,
    /// How many rows the client wants; zero: all.
    rows_max: u32,
}

impl Client {
    /// Runs a plan's parts and gives the client their rows as one result.
    pub async fn fan(&mut self, schema: &Schema, parts: &[Part], spec: &MergeSpec, task: &Task<'_>) -> Step {
        let shards: Vec<ShardId> = parts.iter().map(|part| part.shard).collect();
        let result = match self.open_parts(schema, parts, &shards, spec, task).await {
            // The rows are of types that only PostgreSQL can merge; the client has read nothing yet.
            Err(Stop::Failed(refusal)) if refusal.kind == Kind::NotSupported => {
                self.leave_parts(&shards).await?;
                return self.gather_instead(schema, task).await;
            }
            Err(stop) => Err(stop),
            Ok(opened) => self.merge_parts(opened, &shards, task).await,
        };
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

    /// Asks the shards, and reads what each says before its rows.
    async fn open_parts(
        &mut self,
        schema: &Schema,
        parts: &[Part],
        shards: &[ShardId],
        spec: &MergeSpec,
        task: &Task<'_>,
    ) -> Step<Opened> {
        for part in parts {
            self.link(part.shard, Access::Read).await?;
        }
        let (formats, rows_max) = match &task.asked {
            Asked::Batch(requests) => (Some(bound(requests)?.1), rows_max(requests)),
            Asked::Query(_) | Asked::Step => (None, 0),
        };
        let wanted = Wanted { hidden_columns: spec.hidden_columns, rows_max: spec.rows_per_shard(rows_max) };
        for part in parts {
            self.ask(part.shard, &self.question_wanting(part, wanted, task)?).await?;
        }
        let (opening, sources) = self.openings(shards, spec, formats.as_ref()).await?;
        let options = MergeOptions {
            memory_max: self.worker.instance.config.pool.merge_memory,
            fidelity: TextFidelity {
                deterministic_collations: !schema.has_nondeterministic_collations,
                // Settings that cut digits off are refused; the default since version 12 shows them all.
                exact_floats: true,
            },
        };
        let merge = Merge::new(spec, rows_max, &as_merged(&opening.columns, schema), shards.len(), &options)?;
        Ok(Opened { opening, sources, merge, rows_max })
    }

    /// Has the shards end what they were asked. A cancel would fail an open block.
    async fn leave_parts(&mut self, shards: &[ShardId]) -> Step {
        if self.block.is_none() {
            self.stop_all(shards).await;
            return Ok(());
        }
        for shard in shards {
            self.drain_asked(*shard).await?;
        }
        Ok(())
    }

    async fn merge_parts(&mut self, opened: Opened, shards: &[ShardId], task: &Task<'_>) -> Step {
        let Opened { opening, sources, mut merge, rows_max } = opened;
        let mut columns = merge.visible_columns(&opening.columns).to_vec();
        columns.iter_mut().for_each(|column| column.format = Format::Text.code());
        let columns = Some(backend::row_description_body(&columns));
        self.preface(task, &Preface { parameters: opening.parameters, columns });
        self.merge_rows(&mut merge, &sources).await?;
        for shard in shards {
            // With a LIMIT the shards may have more to say than was needed.
            self.finish_part(*shard).await?;
        }
        if rows_max > 0 && merge.row_count() == u64::from(rows_max) {
            backend::bare(self.conn.queue(), tag::PORTAL_SUSPENDED);
        } else {
            backend::command_complete(self.conn.queue(), &format!("SELECT {}", merge.row_count()));
        }
        Ok(())
    }

    /// Reads what each shard says before its rows; they must agree.
    async fn openings(
        &mut self,
        shards: &[ShardId],
        spec: &MergeSpec,
        formats: Option<&Bind<'_>>,
    ) -> Step<(Opening, Vec<Source>)> {
        let mut first: Option<Opening> = None;
        let mut sources = Vec::with_capacity(shards.len());
        for shard in shards {
            let mut opening = self.opening(*shard, spec, formats).await?;
            sources.push(Source { shard: *shard, numbered: std::mem::take(&mut opening.numbered) });
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
        match first {
            Some(opening) => Ok((opening, sources)),
            None => Err(Error::internal("a plan without shards").into()),
        }
    }

    async fn opening(&mut self, shard: ShardId, spec: &MergeSpec, formats: Option<&Bind<'_>>) -> Step<Opening> {
        let mut parameters = None;
        loop {
            match self.reply(shard).await? {
                Reply::RowDescription(body) => {
                    let mut own = backend::read_row_description(&body)?;
                    set_formats(&mut own, spec.hidden_columns, formats);
                    let numbered = self.numbered_columns(shard, &own)?;
                    let body = self.with_home_oids(shard, tag::ROW_DESCRIPTION, body)?;
                    let mut columns = backend::read_row_description(&body)?;
                    set_formats(&mut columns, spec.hidden_columns, formats);
                    return Ok(Opening { columns, parameters, numbered });
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

    async fn merge_rows(&mut self, merge: &mut Merge, sources: &[Source]) -> Step {
        loop {
            match merge.next(self.conn.queue())? {
                merge::Step::Row if self.conn.unsent() > HIGH_WATER => {
                    self.conn.flush().await.map_err(|_| Stop::Gone)?;
                }
                merge::Step::Row => {}
                merge::Step::Done => return Ok(()),
                merge::Step::NeedRow(source) => match self.reply(sources[source].shard).await? {
                    Reply::Row(body) => merge.push(source, self.with_home_row(&sources[source], body)?)?,
                    Reply::Complete(_) | Reply::Suspended => merge.finish(source),
                    Reply::Error(body) => return Err(self.passed_on(&body)),
                    Reply::Notice(_) | Reply::Nothing => {}
                    other => return Err(Error::internal(format!("a shard broke off: {other:?}")).into()),
                },
            }
        }
    }

    /// A row with the home shard's OIDs in it.
    fn with_home_row(&self, source: &Source, body: Bytes) -> Result<Bytes> {
        if source.numbered.is_empty() { Ok(body) } else { self.translated_row(source.shard, &source.numbered, &body) }
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

/// Columns are described in text format; these are the formats that the client's Bind asks for. Hidden ones come in the
/// one format of all, or in text.
pub fn set_formats(columns: &mut [Column], hidden: usize, bind: Option<&Bind<'_>>) {
    let Some(bind) = bind else { return };
    let visible = columns.len().saturating_sub(hidden);
    for (place, column) in columns.iter_mut().enumerate() {
        let is_own = place < visible || bind.result_formats.len() < 2;
        column.format = if is_own { bind.result_format(place) } else { Format::Text }.code();
    }
}

pub fn same_types(one: &[Column], other: &[Column]) -> bool {
    let type_of = |column: &Column| (column.type_oid, column.type_modifier);
    one.iter().map(type_of).eq(other.iter().map(type_of))
}
