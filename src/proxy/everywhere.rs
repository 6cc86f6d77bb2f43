//! Statements that run on every shard or on none: DDL, and writes to reference tables.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::answer::{Preface, pass};
use super::client::Client;
use super::exchange::Reply;
use super::outcome::{Step, Stop};
use super::sharded::Task;
use crate::pool::database::SchemaRead;
use crate::route;
use crate::route::plan::{Access, Part};
use crate::sql::facts::Statement;
use crate::types::{Error, Kind, Origin, Result, ShardId};
use crate::wire::backend::{self, tag};

/// How long the client waits for the schema to be read again after DDL.
const SCHEMA_LIMIT: Duration = Duration::from_secs(10);

/// How long DDL waits for a change of the shard map.
const GATE_LIMIT: Duration = Duration::from_secs(10);

/// What one shard answered.
#[derive(Default)]
pub struct Answer {
    preface: Preface,
    rows: Vec<Bytes>,
    notices: Vec<Bytes>,
    /// The command tag.
    complete: Option<Bytes>,
}

impl Client {
    /// Runs a plan's parts on all shards or none, and answers, ReadyForQuery apart: in the client's block, or in a
    /// transaction of its own.
    pub async fn everywhere(&mut self, parts: &[Part], changes_schema: bool, task: &Task<'_>) -> Step {
        if changes_schema {
            self.hold_schema().await?;
        }
        let own = self.begin_own();
        let answered = self.run_on_all(parts, task).await;
        if changes_schema {
            self.note_schema_change(task.statement);
        }
        let answer = self.end_own(own, answered).await?;
        self.show(task, answer);
        Ok(())
    }

    /// Notes what the statements behind this one cannot be sure of before the transaction is over.
    pub fn note_schema_change(&mut self, statement: &Statement) {
        self.schema_touched = true;
        if let Some(block) = self.block.as_mut().filter(|_| route::changes_columns(statement)) {
            // A temporary one is seen as it is.
            let lasting = statement.relations.iter().filter(|used| !self.temporary.names.contains(&used.name.name));
            lasting.for_each(|used| block.alter(&used.name.name));
        }
    }

    /// Keeps the shard map from changing until the transaction is over: whoever changes it compares it with the schema.
    pub async fn hold_schema(&mut self) -> Step {
        if self.schema_hold.is_none() {
            let gate = Arc::clone(&self.database.schema_gate);
            self.schema_hold =
                Some(tokio::time::timeout(GATE_LIMIT, gate.read_owned()).await.map_err(|_| map_changes())?);
        }
        Ok(())
    }

    /// Lets other Weirs know that the schema changes. They are told twice: before it is committed, so that they look at it
    /// whatever becomes of this Weir, and afterwards, since they may have looked too early.
    pub async fn tell_fleet(&self) -> Result<()> {
        let number = self.worker.instance.catalog.count_schema_change(&self.database.name).await?;
        self.database.own_schema_change(number);
        Ok(())
    }

    /// Waits until a change of the schema that is committed has been read.
    pub async fn await_schema(&mut self) {
        let database = self.database.clone();
        if let Err(error) = self.tell_fleet().await {
            tracing::error!(%error, "other Weirs may not know that the schema changed: change it again, or restart them");
        }
        let ticket = database.want_schema();
        if tokio::time::timeout(SCHEMA_LIMIT, database.schema_as_of(ticket)).await != Ok(SchemaRead::Done) {
            tracing::warn!(database = &*database.name, "the schema changed, but could not be read again in time");
            backend::warning(self.conn.queue(), "01000", "the change is done, but Weir has not read it yet");
        }
    }

    /// Runs the parts: on the first shard alone, then on the others at once. So statements that lock the same things wait
    /// for each other on the first shard, where PostgreSQL sees who waits for whom. Gives the first shard's answer, which
    /// all others have given alike.
    async fn run_on_all(&mut self, parts: &[Part], task: &Task<'_>) -> Step<Answer> {
        let Some((first, others)) = parts.split_first() else {
            return Err(Error::internal("a plan without shards").into());
        };
        for part in parts {
            self.note_write(part.shard)?;
            self.link(part.shard, Access::Primary { writes: true }).await?;
        }
        self.ask(first.shard, &self.question_for(first, task)?).await?;
        let answer = self.answer(first.shard).await?;
        for part in others {
            self.ask(part.shard, &self.question_for(part, task)?).await?;
        }
        for part in others {
            if !answer.agrees_with(&self.answer(part.shard).await?) {
                return Err(not_the_same().into());
            }
        }
        Ok(answer)
    }

    /// Reads the answer to something that must not fail.
    pub async fn succeed(&mut self, shard: ShardId) -> Step {
        match self.drain(shard).await? {
            None => Ok(()),
            Some(body) => Err(Stop::Failed(crate::pool::server::server_error(shard, &body))),
        }
    }

    /// A shard's whole answer.
    pub async fn answer(&mut self, shard: ShardId) -> Step<Answer> {
        let mut answer = Answer::default();
        let mut failure = None;
        loop {
            match self.reply(shard).await? {
                Reply::RowDescription(body) => answer.preface.columns = Some(body),
                Reply::ParameterDescription(body) => answer.preface.parameters = Some(body),
                Reply::Row(body) => answer.rows.push(body),
                Reply::Notice(body) => answer.notices.push(body),
                Reply::Complete(body) => answer.complete = Some(body),
                Reply::Error(body) => drop(failure.get_or_insert(body)),
                Reply::Nothing => {}
                Reply::CopyIn(_) | Reply::CopyOut(_) | Reply::CopyData(_) | Reply::CopyDone | Reply::Suspended => {
                    return Err(Error::internal("a statement for all shards was answered otherwise").into());
                }
                Reply::Ready(_) => break,
            }
        }
        match failure {
            None => Ok(answer),
            Some(body) => Err(Stop::Failed(crate::pool::server::server_error(shard, &body))),
        }
    }

    /// Gives the client an answer.
    pub fn show(&mut self, task: &Task<'_>, answer: Answer) {
        answer.notices.iter().for_each(|body| pass(self.conn.queue(), tag::NOTICE_RESPONSE, body));
        self.preface(task, &answer.preface);
        let out = self.conn.queue();
        answer.rows.iter().for_each(|body| pass(out, tag::DATA_ROW, body));
        answer.complete.iter().for_each(|body| pass(out, tag::COMMAND_COMPLETE, body));
    }
}

impl Answer {
    /// Whether the answer is one row whose first column is true.
    pub fn is_true(&self) -> bool {
        matches!(self.rows.as_slice(), [row] if row.ends_with(b"t"))
    }

    pub fn into_rows(self) -> Vec<Bytes> {
        self.rows
    }

    /// All shards must have done the same; otherwise they would hold different data.
    fn agrees_with(&self, other: &Self) -> bool {
        self.complete == other.complete && self.rows.len() == other.rows.len()
    }
}

/// The refusal of DDL after which the rest of a block could not be understood.
pub fn inside_block() -> Error {
    Error::refuse(
        "this change of the schema cannot stand inside a transaction block",
        "Weir reads the schema when it is committed, so it would not understand the statements behind the change.",
    )
    .hint("Run it outside of BEGIN and COMMIT. Tools call that autocommit, or a migration that is not atomic.")
}

fn map_changes() -> Error {
    Error::new(Origin::Weir, Kind::StaleEpoch, "the shard map is being changed").hint("Run the statement again.")
}

/// The refusal of a statement that several shards must do alike.
pub fn not_the_same() -> Error {
    Error::refuse(
        "the shards did not do the same",
        "The statement had a different effect on different shards, so it was undone on all of them.",
    )
    .hint("Compare the table on the shards: a reference table must hold the same rows everywhere.")
}
