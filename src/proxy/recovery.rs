//! Brings two-phase transactions to their end that nobody else will: those of a Weir that crashed, and those whose servers
//! could not be reached.
//!
//! A transaction without a decision is aborted: whoever would have committed it finds the decision made. Prepared parts are
//! finished as the decision says. A transaction leaves the catalog when no shard can have a part of it any more: a server
//! that lost its client may still be at work on the PREPARE TRANSACTION that it was sent.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use postgres_protocol::escape::{escape_identifier, escape_literal};
use tokio::sync::Notify;
use tokio_postgres::Client;

use super::instance::Instance;
use super::two_phase::gid;
use crate::catalog::{Decision, TwoPhase};
use crate::pool::database::Database;
use crate::pool::inspect;
use crate::types::{Error, Result, ShardId, SqlState};

/// How often leftovers are looked for while there are some.
const RETRY_PERIOD: Duration = Duration::from_millis(500);

/// How often leftovers of others are looked for.
const PERIOD: Duration = Duration::from_secs(10);

/// A transaction of this age is not worked on by another Weir any more. If it is after all, it is aborted.
const FOREIGN_AGE: Duration = Duration::from_secs(60);

/// An aborted transaction is looked for on the shards until it has been aborted for this long: a PREPARE TRANSACTION may be
/// on its way to a server.
const LATE_PREPARE: Duration = Duration::from_secs(3);

/// Whether a server is at work on a transaction's PREPARE. Not asked in one query with the next: a PREPARE that is no longer
/// under way has left its transaction.
const IS_PREPARING: &str = "SELECT EXISTS (SELECT FROM pg_catalog.pg_stat_activity
    WHERE pid <> pg_catalog.pg_backend_pid() AND state = 'active' AND pg_catalog.strpos(query, $1) > 0)";

/// Who prepared a transaction.
const OWNER: &str = "SELECT owner::text FROM pg_catalog.pg_prepared_xacts
    WHERE gid = $1 AND database = pg_catalog.current_database()";

/// Which transactions of this Weir are in good hands, and a word to the task that looks after the others.
#[derive(Debug, Default)]
pub struct Recovery {
    alive: Mutex<HashSet<String>>,
    wake: Notify,
}

impl Recovery {
    /// A client's task works on the transaction.
    pub fn take_up(&self, id: &str) {
        self.alive.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned());
    }

    /// It does not any more; `finished`: nothing of it is left.
    pub fn let_go(&self, id: &str, finished: bool) {
        self.alive.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        if !finished {
            self.wake.notify_one();
        }
    }

    fn is_alive(&self, id: &str) -> bool {
        self.alive.lock().unwrap_or_else(PoisonError::into_inner).contains(id)
    }
}

/// Looks after leftovers, for ever.
pub async fn run(instance: Arc<Instance>) {
    let mut told = HashSet::new();
    loop {
        let left = pass(&instance, &mut told).await;
        let pause = if left { RETRY_PERIOD } else { PERIOD };
        let _woken = tokio::time::timeout(pause, instance.recovery.wake.notified()).await;
    }
}

/// One look at all leftovers. Gives whether some are left.
async fn pass(instance: &Instance, told: &mut HashSet<String>) -> bool {
    let listed = match instance.catalog.two_phase_transactions().await {
        Ok(listed) => listed,
        Err(error) => {
            tracing::error!(%error, "the catalog could not list two-phase transactions");
            return true;
        }
    };
    let leftovers = listed.into_iter().filter(|transaction| is_leftover(instance, transaction));
    let mut connections = Connections { instance, open: HashMap::new() };
    let mut left = false;
    for transaction in leftovers {
        match resolve(&mut connections, &transaction).await {
            Ok(true) => drop(told.remove(&transaction.id)),
            Ok(false) => left = true,
            Err(error) => {
                left = true;
                if told.insert(transaction.id.clone()) {
                    tracing::warn!(id = transaction.id, %error, "a two-phase transaction cannot be finished yet; trying on");
                }
            }
        }
    }
    left
}

fn is_leftover(instance: &Instance, transaction: &TwoPhase) -> bool {
    let age = SystemTime::now().duration_since(transaction.started_at).unwrap_or_default();
    let may_be_others = instance.config.general.catalog.is_some() && age < FOREIGN_AGE;
    !instance.recovery.is_alive(&transaction.id) && !may_be_others
}

/// Decides a transaction, if nobody has, and finishes its parts. Gives whether nothing of it is left.
async fn resolve(connections: &mut Connections<'_>, transaction: &TwoPhase) -> Result<bool> {
    let instance = connections.instance;
    let Some(database) = instance.database(&transaction.database) else {
        return Err(Error::internal(format!("database \"{}\" is not configured", transaction.database)));
    };
    let _committing = database.cuts.committing().await;
    let decision = instance.catalog.decide(&transaction.id, Decision::Abort).await?;
    let mut finished = true;
    for (position, shard) in transaction.shards.iter().enumerate() {
        let (shard, client) = connections.to(database, shard, &transaction.user).await?;
        finished &= finish(shard, client, &gid(&transaction.id, position), decision, &transaction.user).await?;
    }
    let decided = transaction.decided_at.unwrap_or_else(SystemTime::now);
    let is_settled = SystemTime::now().duration_since(decided).is_ok_and(|age| age > LATE_PREPARE);
    if !finished || (decision == Decision::Abort && !is_settled) {
        return Ok(false);
    }
    instance.catalog.forget_two_phase(&transaction.id).await?;
    let outcome = decision.as_str();
    tracing::info!(id = transaction.id, outcome, "a two-phase transaction that was left behind is finished");
    Ok(true)
}

/// Finishes one shard's part, if it is there. False while its PREPARE may be under way.
async fn finish(shard: ShardId, client: &Client, gid: &str, decision: Decision, user: &str) -> Result<bool> {
    let failed = |error| inspect::failed(shard, error);
    let preparing: bool = client.query_one(IS_PREPARING, &[&gid]).await.map_err(failed)?.get(0);
    if preparing {
        return Ok(false);
    }
    let Some(row) = client.query_opt(OWNER, &[&gid]).await.map_err(failed)? else { return Ok(true) };
    let owner: String = row.get(0);
    if owner != user {
        // The transaction ran under SET ROLE, so that its owner is the role.
        client.batch_execute(&format!("SET ROLE {}", escape_identifier(&owner))).await.map_err(failed)?;
    }
    let verb = match decision {
        Decision::Commit => "COMMIT",
        Decision::Abort => "ROLLBACK",
    };
    let done = client.batch_execute(&format!("{verb} PREPARED {}", escape_literal(gid))).await;
    if owner != user {
        client.batch_execute("RESET ROLE").await.map_err(failed)?;
    }
    match done {
        // Somebody else was faster.
        Err(error) if error.code().is_some_and(|code| code.code() == SqlState::UNDEFINED_OBJECT.as_str()) => Ok(true),
        other => other.map(|()| true).map_err(failed),
    }
}

/// Connections to shards, kept for one pass.
struct Connections<'i> {
    instance: &'i Instance,
    /// By database, shard and user; an error is not tried again.
    open: HashMap<(String, String, String), (ShardId, Option<Client>)>,
}

impl Connections<'_> {
    async fn to(&mut self, database: &Database, shard: &str, user: &str) -> Result<(ShardId, &Client)> {
        let key = (database.name.to_string(), shard.to_owned(), user.to_owned());
        if !self.open.contains_key(&key) {
            let place = database.shards.iter().position(|own| *own.name == *shard);
            let id = place.and_then(|place| u16::try_from(place).ok()).map(ShardId);
            let primary = id.and_then(|id| Some((id, database.shards[id.index()].nodes.first()?)));
            let Some((id, primary)) = primary else {
                return Err(Error::internal(format!("shard \"{shard}\" is not configured")));
            };
            let connected = self.instance.connect_as(user, id, primary).await;
            let (client, error) = match connected {
                Ok(client) => (Some(client), None),
                Err(error) => (None, Some(error)),
            };
            self.open.insert(key.clone(), (id, client));
            if let Some(error) = error {
                return Err(error);
            }
        }
        match self.open.get(&key) {
            Some((id, Some(client))) => Ok((*id, client)),
            _ => Err(Error::internal(format!("shard \"{shard}\" cannot be reached"))),
        }
    }
}
