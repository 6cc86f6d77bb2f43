//! REPEATABLE READ over several shards: every shard's snapshot is taken at one moment, see [`crate::pool::cuts`].

use std::sync::Arc;
use std::time::Duration;

use super::client::Client;
use super::exchange::Question;
use super::outcome::{Step, Stop};
use crate::catalog::Decision;
use crate::config::RepeatableRead;
use crate::pool::cuts::in_between;
use crate::pool::database::Database;
use crate::pool::server::server_error;
use crate::route::plan::Access;
use crate::session::transaction::Transaction;
use crate::types::{Error, Result, ShardId};

/// How long the shards may take to answer. Others wait with the cut.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);

/// Any query takes the transaction's snapshot.
const SNAPSHOT: &str = "SELECT";

impl Client {
    /// Waits while somebody takes a cut: what begins now may follow from a commit that the cut does not see.
    pub async fn pass_cuts(&self) {
        if self.database.cuts.is_shut() {
            Box::pin(self.database.cuts.pass()).await;
        }
    }

    /// Gives the open block a snapshot of all shards, if it is to have one and has none yet. To be called before anything is
    /// asked in it.
    ///
    /// # Errors
    /// A shard that cannot be reached. Transactions that are committed on some shards, and not yet on all.
    pub async fn cut_if_wanted(&mut self) -> Step {
        let wanted = self.database.repeatable_read == RepeatableRead::AllShards
            && self.block.as_ref().is_some_and(Transaction::is_unseen_repeatable);
        if wanted { Box::pin(self.take_cut()).await } else { Ok(()) }
    }

    async fn take_cut(&mut self) -> Step {
        let database = Arc::clone(&self.database);
        let map = database.map().ok_or_else(|| Error::internal("a sharded database without a shard map"))?;
        let shards: Vec<ShardId> = map.shard_ids().collect();
        // Servers are taken first: others are kept out only while snapshots are.
        for shard in &shards {
            let at = self.link_apart(*shard, Access::Primary { writes: false }).await?;
            self.own_replies(at).await?;
        }
        let shut = database.cuts.shut().await?;
        let taken = tokio::time::timeout(ANSWER_LIMIT, self.take_snapshots(&database, &shards)).await;
        drop(shut);
        match taken.unwrap_or_else(|_| Err(in_between("A shard did not answer in time.").into())) {
            Ok(()) => {
                self.block.iter_mut().for_each(Transaction::have_cut);
                Ok(())
            }
            Err(Stop::Gone) => Err(Stop::Gone),
            Err(stop) => {
                self.stop_all(&shards).await;
                Err(stop)
            }
        }
    }

    /// Not cancel safe: servers may have something to say still, see [`Client::stop_all`].
    async fn take_snapshots(&mut self, database: &Database, shards: &[ShardId]) -> Step {
        self.check_nothing_is_half_committed(database).await?;
        for shard in shards {
            self.ask(*shard, &Question::query(SNAPSHOT)).await?;
        }
        let mut failure = None;
        for shard in shards {
            if let Some(body) = self.drain(*shard).await? {
                failure.get_or_insert_with(|| server_error(*shard, &body));
            }
        }
        failure.map_or(Ok(()), |error| Err(Stop::Failed(error)))
    }

    /// What recovery has yet to finish is on some shards only. (What nobody has decided is on none; and whoever decides waits.)
    async fn check_nothing_is_half_committed(&self, database: &Database) -> Result<()> {
        let listed = self.worker.instance.catalog.two_phase_transactions().await?;
        let own = listed.iter().filter(|transaction| *transaction.database == *database.name);
        match own.filter(|transaction| transaction.decision == Some(Decision::Commit)).count() {
            0 => Ok(()),
            count => Err(in_between(format!("{count} transaction(s) are committed, but not on every shard yet."))),
        }
    }
}
