//! Statements that cannot run in a transaction block (CREATE INDEX CONCURRENTLY, VACUUM, ...): one shard after the other, with a
//! NOTICE for each. One that fails can be sent again: shards that have done it are passed over.

use bytes::Bytes;
use postgres_protocol::escape::{escape_identifier, escape_literal};

use super::answer::{Preface, pass};
use super::client::Client;
use super::exchange::{Question, Reply};
use super::outcome::{Step, Stop};
use super::sharded::{Asked, Task};
use crate::route::plan::{Access, Part};
use crate::sql::facts::{Effects, RelationName};
use crate::types::{Error, Kind, Origin, ShardId};
use crate::wire::backend::{self, ErrorFields, tag};

/// SQLSTATEs which say that CREATE or DROP has nothing left to do.
const DUPLICATE_TABLE: &str = "42P07";
const UNDEFINED_OBJECT: &str = "42704";

/// The SQLSTATE of a NOTICE.
const NOTICE: &str = "00000";

/// How a shard ended the statement.
enum Ended {
    /// With this command tag.
    Done(Bytes),
    Failed(Bytes),
}

/// An index as its shard describes it.
#[derive(Debug, PartialEq, Eq)]
struct Index {
    is_valid: bool,
    definition: String,
}

impl Client {
    /// Runs the statement on every shard, and answers, ReadyForQuery apart. `index`: what it creates.
    pub async fn shard_by_shard(&mut self, parts: &[Part], index: Option<&RelationName>, task: &Task<'_>) -> Step {
        if matches!(task.asked, Asked::Step) {
            let message = "this command cannot run among other statements of one query";
            return Err(Error::new(Origin::Client, Kind::ActiveTransaction, message).into());
        }
        self.preface(task, &Preface::default());
        let mut done = None;
        let mut passed_over = None;
        for (number, part) in parts.iter().enumerate() {
            let what = match self.run_alone(part, task).await? {
                Ended::Done(complete) => {
                    done = Some(complete);
                    "done on"
                }
                Ended::Failed(error) if self.has_it(part.shard, index, &error).await? => {
                    passed_over = Some(error);
                    "was done before on"
                }
                Ended::Failed(error) if self.drop_invalid(part.shard, index, &error).await? => {
                    match self.run_alone(part, task).await? {
                        Ended::Done(complete) => done = Some(complete),
                        Ended::Failed(error) => return Err(self.passed_on(&error)),
                    }
                    "done anew on"
                }
                Ended::Failed(error) => return Err(self.passed_on(&error)),
            };
            let name = &self.database.shards[part.shard.index()].name;
            let text = format!("{what} shard \"{name}\" ({} of {})", number + 1, parts.len());
            backend::notice(self.conn.queue(), NOTICE, &text);
            self.conn.flush().await.map_err(|_| Stop::Gone)?;
        }
        if task.statement.effects.contains(Effects::DDL) {
            self.await_schema().await;
        }
        match (done, passed_over) {
            (Some(complete), None) => pass(self.conn.queue(), tag::COMMAND_COMPLETE, &complete),
            (Some(complete), Some(error)) if self.is_alike(parts, index).await? => {
                tracing::debug!(?error, "a statement was completed on the shards that had not done it");
                pass(self.conn.queue(), tag::COMMAND_COMPLETE, &complete);
            }
            // Nothing was left to do, or what was there is something else.
            (_, Some(error)) => return Err(self.passed_on(&error)),
            (None, None) => return Err(Error::internal("a plan without shards").into()),
        }
        Ok(())
    }

    async fn run_alone(&mut self, part: &Part, task: &Task<'_>) -> Step<Ended> {
        self.link(part.shard, Access::Primary { writes: true }).await?;
        self.ask(part.shard, &self.question_for(part, task)?).await?;
        let mut ended = None;
        loop {
            match self.reply(part.shard).await? {
                Reply::Notice(body) => pass(self.conn.queue(), tag::NOTICE_RESPONSE, &body),
                Reply::Complete(body) => ended = Some(Ended::Done(body)),
                Reply::Error(body) => ended = Some(Ended::Failed(body)),
                Reply::Ready(_) => break,
                Reply::Nothing | Reply::ParameterDescription(_) => {}
                other => return Err(Error::internal(format!("a command was answered otherwise: {other:?}")).into()),
            }
        }
        ended.ok_or_else(|| Error::internal("a command was not answered").into())
    }

    /// Whether a shard refused because what the statement does is done there.
    async fn has_it(&mut self, shard: ShardId, index: Option<&RelationName>, error: &[u8]) -> Step<bool> {
        let fields = ErrorFields::read(error)?;
        match (fields.sqlstate().as_deref(), index) {
            (Some(DUPLICATE_TABLE), Some(index)) => {
                Ok(self.described_index(shard, index).await?.is_some_and(|found| found.is_valid))
            }
            (Some(UNDEFINED_OBJECT), None) => Ok(true),
            _ => Ok(false),
        }
    }

    /// Drops the invalid index that an attempt which failed has left on a shard. Gives whether there was one.
    async fn drop_invalid(&mut self, shard: ShardId, index: Option<&RelationName>, error: &[u8]) -> Step<bool> {
        let is_duplicate = ErrorFields::read(error)?.sqlstate().as_deref() == Some(DUPLICATE_TABLE);
        let Some(index) = index.filter(|_| is_duplicate) else { return Ok(false) };
        if self.described_index(shard, index).await?.is_none_or(|found| found.is_valid) {
            return Ok(false);
        }
        let drop = format!("DROP INDEX CONCURRENTLY {}", quoted(index));
        self.ask(shard, &Question::query(&drop)).await?;
        self.succeed(shard).await?;
        Ok(true)
    }

    /// Whether every shard has the same index of that name.
    async fn is_alike(&mut self, parts: &[Part], index: Option<&RelationName>) -> Step<bool> {
        let Some(index) = index else { return Ok(true) };
        let mut first = None;
        for part in parts {
            let Some(found) = self.described_index(part.shard, index).await? else { return Ok(false) };
            if first.get_or_insert_with(|| found.definition.clone()) != &found.definition {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn described_index(&mut self, shard: ShardId, index: &RelationName) -> Step<Option<Index>> {
        let question = format!(
            "SELECT indisvalid, pg_catalog.pg_get_indexdef(indexrelid) FROM pg_catalog.pg_index \
             WHERE indexrelid = pg_catalog.to_regclass({})",
            escape_literal(&quoted(index))
        );
        self.ask(shard, &Question::query(&question)).await?;
        let rows = self.answer(shard).await?.into_rows();
        let Some(row) = rows.first() else { return Ok(None) };
        let values = backend::read_data_row(row)?;
        let text = |place: usize| values.get(place).copied().flatten().map(String::from_utf8_lossy).unwrap_or_default();
        Ok(Some(Index { is_valid: text(0) == "t", definition: text(1).into_owned() }))
    }
}

fn quoted(name: &RelationName) -> String {
    let own = escape_identifier(&name.name);
    match &name.schema {
        Some(schema) => format!("{}.{own}", escape_identifier(schema)),
        None => own,
    }
}
