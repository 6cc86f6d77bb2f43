//! Transactions that wrote several shards: committed on all of them or on none.
//!
//! ```text
//! catalog: begin(id, shards)                what a crash leaves prepared can be found
//! every shard: PREPARE TRANSACTION          a shard that prepared can commit, whatever happens to it
//! catalog: decide(id, commit)               insert-if-absent: the first decision stands
//! every shard: COMMIT PREPARED
//! catalog: forget(id)                       only when every shard has said so
//! ```
//!
//! Whoever gives up decides *abort* in the same way, before any ROLLBACK PREPARED. What is not brought to its end here,
//! because a server or Weir itself went away, [`recovery`](super::recovery) brings there.

use std::sync::Arc;
use std::time::Duration;

use rand::Rng;

use super::client::Client;
use super::exchange::Question;
use super::fault;
use super::instance::Instance;
use super::outcome::{Step, Stop};
use crate::catalog::Decision;
use crate::pool::server::server_error;
use crate::route::plan::Access;
use crate::types::{Error, Kind, Origin, Result, ShardId, SqlState};
use crate::wire::TransactionStatus;
use crate::wire::backend;

/// How often, and after which pauses, the catalog is asked for a decision that it could not store.
const DECISION_ATTEMPTS: u32 = 5;
const DECISION_PAUSE: Duration = Duration::from_millis(200);

/// SQLSTATE of warnings that say nothing more special.
const WARNING: &str = "01000";

/// A transaction between its entry in the catalog and its end.
struct TwoPhase {
    id: String,
    shards: Vec<ShardId>,
    /// While it lives, recovery leaves the transaction alone.
    alive: Alive,
}

/// Says that this Weir is still at work on a transaction.
struct Alive {
    instance: Arc<Instance>,
    id: String,
    finished: bool,
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.instance.recovery.let_go(&self.id, self.finished);
    }
}

impl Client {
    /// Commits what is open on these shards: one in the ordinary way, several in two phases. When it fails, something may
    /// still be open on them.
    pub async fn commit_everywhere(&mut self, shards: &[ShardId]) -> Step {
        match shards {
            [] => Ok(()),
            [only] => {
                self.ask(*only, &Question::query("COMMIT")).await?;
                self.succeed(*only).await
            }
            several => Box::pin(self.commit_in_two_phases(several)).await,
        }
    }

    async fn commit_in_two_phases(&mut self, shards: &[ShardId]) -> Step {
        let mut transaction = self.begin_two_phase(shards).await?;
        fault::point("begun").await;
        if let Err(stop) = self.prepare_parts(&transaction).await {
            self.abort(&mut transaction).await;
            return Err(stop);
        }
        fault::point("prepared").await;
        let database = Arc::clone(&self.database);
        // Whoever takes a snapshot of all shards sees all of this or nothing.
        let _committing = database.cuts.committing().await;
        let decision = self.decide(&transaction.id, Decision::Commit).await;
        fault::point("decided").await;
        match decision {
            Ok(Decision::Commit) => {
                self.commit_prepared(&mut transaction).await;
                Ok(())
            }
            Ok(Decision::Abort) => {
                self.abort(&mut transaction).await;
                Err(Error::new(Origin::Weir, Kind::ServerLost, "the transaction was aborted while it was committed")
                    .detail("It had taken so long that recovery gave it up; nothing of it was kept.")
                    .hint("Run the transaction again.")
                    .into())
            }
            Err(error) => Err(in_doubt(&transaction.id).source(error).into()),
        }
    }

    /// Notes in the catalog what a crash may leave prepared on these shards.
    async fn begin_two_phase(&self, shards: &[ShardId]) -> Result<TwoPhase> {
        let instance = &self.worker.instance;
        let id = format!("weir_{:016x}", rand::rng().random::<u64>());
        instance.recovery.take_up(&id);
        let alive = Alive { instance: Arc::clone(instance), id: id.clone(), finished: false };
        let concerned = shards.iter().filter_map(|shard| self.database.shards.get(shard.index()));
        let names: Vec<&str> = concerned.map(|shard| &*shard.name).collect();
        instance.catalog.begin_two_phase(&id, &self.database.name, &self.user.name, &names).await?;
        Ok(TwoPhase { id, shards: shards.to_vec(), alive })
    }

    /// Phase one: every shard promises to keep what it did.
    async fn prepare_parts(&mut self, transaction: &TwoPhase) -> Step {
        for (position, shard) in transaction.shards.iter().enumerate() {
            let prepare = format!("PREPARE TRANSACTION '{}'", gid(&transaction.id, position));
            self.ask(*shard, &Question::query(&prepare)).await?;
        }
        let mut refusal = None;
        for shard in &transaction.shards {
            if let Some(body) = self.drain_alone(*shard).await? {
                refusal.get_or_insert(server_error(*shard, &body));
            }
        }
        refusal.map_or(Ok(()), |error| Err(Stop::Failed(error)))
    }

    /// The decision that stands. A catalog that cannot be reached is asked again: the transaction is in doubt until then.
    async fn decide(&self, id: &str, wanted: Decision) -> Result<Decision> {
        let mut attempt = 1;
        loop {
            match self.worker.instance.catalog.decide(id, wanted).await {
                Err(error) if attempt < DECISION_ATTEMPTS => {
                    tracing::warn!(%error, id, "the decision of a transaction could not be stored; trying again");
                    tokio::time::sleep(DECISION_PAUSE * attempt).await;
                    attempt += 1;
                }
                outcome => return outcome,
            }
        }
    }

    /// Phase two. The transaction is committed, whatever becomes of this.
    async fn commit_prepared(&mut self, transaction: &mut TwoPhase) {
        let mut missing = Vec::new();
        for (position, shard) in transaction.shards.iter().enumerate() {
            if !self.finish_prepared("COMMIT", *shard, &gid(&transaction.id, position)).await {
                missing.push(self.database.shards[shard.index()].name.to_string());
            }
            fault::point("committed_one").await;
        }
        if missing.is_empty() {
            self.forget(transaction).await;
        } else {
            let missing = missing.join(", ");
            tracing::warn!(id = transaction.id, missing, "committed, but not every shard has heard of it yet");
            let text = format!("the transaction is committed; shard {missing} will show it when it is back");
            backend::warning(self.conn.queue(), WARNING, &text);
        }
    }

    async fn forget(&self, transaction: &mut TwoPhase) {
        let id = &transaction.id;
        match self.worker.instance.catalog.forget_two_phase(id).await {
            Ok(()) => transaction.alive.finished = true,
            Err(error) => {
                tracing::warn!(%error, id, "a finished transaction is still in the catalog; recovery removes it")
            }
        }
    }

    /// Undoes what was prepared, and what is still open.
    async fn abort(&mut self, transaction: &mut TwoPhase) {
        match self.decide(&transaction.id, Decision::Abort).await {
            Ok(Decision::Abort) => {}
            Ok(Decision::Commit) => {
                tracing::error!(
                    id = transaction.id,
                    "a transaction to abort is decided to commit; recovery completes it"
                );
                return;
            }
            Err(error) => {
                tracing::error!(%error, id = transaction.id, "the decision to abort could not be stored; recovery tries on");
                return;
            }
        }
        self.stop_all(&transaction.shards).await;
        let mut clean = true;
        for (position, shard) in transaction.shards.iter().enumerate() {
            clean &= self.undo(*shard, &gid(&transaction.id, position)).await;
        }
        if clean {
            self.forget(transaction).await;
        }
    }

    /// Rolls a shard back, prepared or not. False when it is not certain that nothing is left: then recovery looks after it.
    async fn undo(&mut self, shard: ShardId, gid: &str) -> bool {
        let held = self.links.iter().find(|link| link.server.shard() == shard);
        match held.map(|link| link.server.session.ledger.status()) {
            Some(TransactionStatus::Idle) => self.finish_prepared("ROLLBACK", shard, gid).await,
            Some(_) => {
                self.ask(shard, &Question::query("ROLLBACK")).await.is_ok() && self.drain_alone(shard).await.is_ok()
            }
            // Its PREPARE may be under way on the server still.
            None => false,
        }
    }

    /// COMMIT PREPARED or ROLLBACK PREPARED. A transaction that is to be undone and that the shard does not know was never
    /// prepared.
    async fn finish_prepared(&mut self, verb: &str, shard: ShardId, gid: &str) -> bool {
        let command = format!("{verb} PREPARED '{gid}'");
        let reached = async {
            // Whatever the map says by now: the shard has the transaction.
            self.link_apart(shard, Access::Primary { writes: true }).await?;
            self.ask(shard, &Question::query(&command)).await?;
            self.drain_alone(shard).await
        };
        match reached.await {
            Ok(None) => true,
            Ok(Some(body)) => {
                let error = server_error(shard, &body);
                let undone = verb == "ROLLBACK" && error.sqlstate() == SqlState::UNDEFINED_OBJECT;
                if !undone {
                    tracing::warn!(%error, %shard, command, "a prepared transaction is left to recovery");
                }
                undone
            }
            Err(stop) => {
                tracing::warn!(?stop, %shard, command, "a prepared transaction is left to recovery");
                false
            }
        }
    }
}

/// The name that one participant prepares a transaction under. Its place among the participants counts, which the catalog
/// has, and not the shard's number, which belongs to weir.toml.
pub fn gid(id: &str, position: usize) -> String {
    format!("{id}_{position}")
}

/// Nobody knows yet whether the transaction is committed.
fn in_doubt(id: &str) -> Error {
    Error::new(Origin::Catalog, Kind::InDoubt, "it is not known yet whether the transaction is committed")
        .detail(format!("The catalog could not store the decision on transaction \"{id}\"."))
        .hint("It is decided when the catalog is back: look at SHOW TWO_PHASE on the console, and at the rows, before you try again.")
}
