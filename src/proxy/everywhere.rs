//! Statements that run on every shard or on none: DDL, and writes to reference tables.
//!
//! One transaction per shard, two-phase. The decision is in the catalog before the first COMMIT PREPARED; what a
//! crash leaves behind is listed on the console (SHOW TWO_PHASE).

use bytes::Bytes;
use rand::Rng;

use super::answer::{Preface, pass};
use super::client::Client;
use super::exchange::{Question, Reply};
use super::outcome::{Step, Stop};
use super::sharded::Task;
use crate::catalog::Decision;
use crate::pool::database::SchemaRead;
use crate::route::plan::{Access, Part};
use crate::types::{Error, Kind, Origin, Result, ShardId};
use crate::wire::backend::{self, tag};

/// How long the client waits for the schema to be read again after DDL.
const SCHEMA_LIMIT: std::time::Duration = std::time::Duration::from_secs(10);

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
    /// Runs a plan's parts on all shards or none, and answers, ReadyForQuery apart.
    pub async fn everywhere(&mut self, parts: &[Part], changes_schema: bool, task: &Task<'_>) -> Step {
        if self.block.is_some() {
            return Err(inside_block().into());
        }
        let database = self.database.clone();
        // Two of these at a time could wait for each other's locks on different shards for ever.
        let _turn = database.everywhere.lock().await;
        let shards: Vec<ShardId> = parts.iter().map(|part| part.shard).collect();
        let id = self.begin_two_phase(&shards).await?;
        match self.prepare_all(parts, task, &id).await {
            Ok(answers) => {
                if changes_schema && let Err(error) = self.tell_fleet().await {
                    self.abort_all(&shards, &id).await;
                    return Err(error.into());
                }
                self.commit_all(&shards, &id).await?;
                // The home shard's, which all others have given alike.
                if let Some(answer) = answers.into_iter().next() {
                    self.show(task, answer);
                }
            }
            Err(stop) => {
                self.abort_all(&shards, &id).await;
                return Err(stop);
            }
        }
        if changes_schema {
            self.await_schema().await;
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

    /// Commits the transactions that are open on these shards, on all of them or on none.
    pub async fn commit_everywhere(&mut self, shards: &[ShardId]) -> Step {
        let id = self.begin_two_phase(shards).await?;
        if let Err(stop) = self.prepare_transactions(shards, &id).await {
            self.abort_all(shards, &id).await;
            return Err(stop);
        }
        self.commit_all(shards, &id).await
    }

    /// Notes in the catalog what a crash may leave prepared on these shards; gives the transaction's id.
    async fn begin_two_phase(&self, shards: &[ShardId]) -> Step<String> {
        let id = format!("weir_{:016x}", rand::rng().random::<u64>());
        let concerned = shards.iter().filter_map(|shard| self.database.shards.get(shard.index()));
        let names: Vec<&str> = concerned.map(|shard| &*shard.name).collect();
        self.worker.instance.catalog.begin_two_phase(&id, &self.database.name, &names).await?;
        Ok(id)
    }

    /// Phase one: every shard runs the statement and promises to keep it.
    async fn prepare_all(&mut self, parts: &[Part], task: &Task<'_>, id: &str) -> Step<Vec<Answer>> {
        for part in parts {
            self.link(part.shard, Access::Primary { writes: true }).await?;
            self.ask(part.shard, &Question::query("BEGIN")).await?;
            self.succeed(part.shard).await?;
        }
        for part in parts {
            self.ask(part.shard, &self.question_for(part, task)?).await?;
        }
        let mut answers = Vec::with_capacity(parts.len());
        for part in parts {
            answers.push(self.answer(part.shard).await?);
        }
        agree(&answers)?;
        let shards: Vec<ShardId> = parts.iter().map(|part| part.shard).collect();
        self.prepare_transactions(&shards, id).await?;
        Ok(answers)
    }

    async fn prepare_transactions(&mut self, shards: &[ShardId], id: &str) -> Step {
        for shard in shards {
            let prepare = format!("PREPARE TRANSACTION '{}'", gid(id, *shard));
            self.ask(*shard, &Question::query(&prepare)).await?;
        }
        for shard in shards {
            self.succeed(*shard).await?;
        }
        Ok(())
    }

    /// The decision, then phase two.
    async fn commit_all(&mut self, shards: &[ShardId], id: &str) -> Step {
        let catalog = self.worker.instance.catalog.clone();
        match catalog.decide(id, Decision::Commit).await {
            Ok(Decision::Commit) => {}
            Ok(Decision::Abort) => {
                self.abort_all(shards, id).await;
                return Err(Error::internal("the transaction was aborted by recovery").into());
            }
            Err(error) => {
                self.abort_all(shards, id).await;
                return Err(error.into());
            }
        }
        let mut doubtful = Vec::new();
        for shard in shards {
            if !self.finish_prepared("COMMIT", *shard, id).await {
                doubtful.push(shard.to_string());
            }
        }
        if doubtful.is_empty() {
            catalog.forget_two_phase(id).await?;
            return Ok(());
        }
        Err(Error::new(
            Origin::Weir,
            Kind::ServerLost,
            "the statement is committed, but not every shard has heard of it",
        )
        .detail(format!("Shard {} holds the prepared transaction \"{id}\".", doubtful.join(", ")))
        .hint("It is listed by SHOW TWO_PHASE on the console; COMMIT PREPARED on that server completes it.")
        .into())
    }

    /// Undoes what was done on every shard, as far as servers can be reached.
    async fn abort_all(&mut self, shards: &[ShardId], id: &str) {
        let catalog = self.worker.instance.catalog.clone();
        match catalog.decide(id, Decision::Abort).await {
            Ok(Decision::Abort) => {}
            Ok(Decision::Commit) => {
                tracing::error!(id, "a transaction is decided to commit, but not finished: see SHOW TWO_PHASE");
                return;
            }
            Err(error) => {
                tracing::error!(%error, id, "the decision to abort could not be recorded: see SHOW TWO_PHASE");
                return;
            }
        }
        self.stop_all(shards).await;
        let mut clean = true;
        for shard in shards {
            clean &= self.undo(*shard, id).await;
        }
        if clean && let Err(error) = catalog.forget_two_phase(id).await {
            tracing::warn!(%error, id, "a finished two-phase transaction could not be removed from the catalog");
        }
    }

    /// Rolls a shard back, prepared or not. False when it could not be reached.
    async fn undo(&mut self, shard: ShardId, id: &str) -> bool {
        let open = self.links.iter().any(|link| {
            link.server.shard() == shard && link.server.session.ledger.status() != crate::wire::TransactionStatus::Idle
        });
        if open {
            return self.ask(shard, &Question::query("ROLLBACK")).await.is_ok() && self.drain(shard).await.is_ok();
        }
        self.finish_prepared("ROLLBACK", shard, id).await
    }

    /// COMMIT PREPARED or ROLLBACK PREPARED. A transaction that the shard does not know was never prepared, or was
    /// finished already.
    async fn finish_prepared(&mut self, verb: &str, shard: ShardId, id: &str) -> bool {
        let command = format!("{verb} PREPARED '{}'", gid(id, shard));
        let reached = async {
            // Whatever the map says by now: the shard has the transaction.
            self.link_apart(shard, Access::Primary { writes: true }).await?;
            self.ask(shard, &Question::query(&command)).await?;
            self.drain(shard).await
        };
        match reached.await {
            Ok(None) => true,
            Ok(Some(body)) => {
                let error = crate::pool::server::server_error(shard, &body);
                let unknown = error.sqlstate() == crate::types::SqlState::UNDEFINED_OBJECT;
                if !unknown || verb == "COMMIT" {
                    tracing::error!(%error, %shard, command, "a prepared transaction could not be finished");
                }
                unknown && verb == "ROLLBACK"
            }
            Err(stop) => {
                tracing::error!(?stop, %shard, command, "a prepared transaction could not be finished");
                false
            }
        }
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
                Reply::CopyIn(_) => return Err(Error::internal("a statement for all shards takes rows").into()),
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

/// All shards must have done the same; otherwise they would hold different data.
fn agree(answers: &[Answer]) -> Step {
    let Some((first, others)) = answers.split_first() else { return Ok(()) };
    let same = |other: &Answer| other.complete == first.complete && other.rows.len() == first.rows.len();
    if others.iter().all(same) { Ok(()) } else { Err(not_the_same().into()) }
}

/// The refusal of what Weir does in transactions of its own.
pub fn inside_block() -> Error {
    Error::refuse(
        "a statement for all shards cannot run inside a transaction block",
        "It changes the schema or a reference table, which Weir does in a two-phase transaction of its own.",
    )
    .hint("Run it outside of BEGIN and COMMIT. Tools call that autocommit, or a migration that is not atomic.")
}

/// The refusal of a statement that several shards must do alike.
pub fn not_the_same() -> Error {
    Error::refuse(
        "the shards did not do the same",
        "The statement had a different effect on different shards, so it was undone on all of them.",
    )
    .hint("Compare the table on the shards: a reference table must hold the same rows everywhere.")
}

/// The name of one shard's part of a two-phase transaction.
fn gid(id: &str, shard: ShardId) -> String {
    format!("{id}_{shard}")
}
