//! Ends deadlocks over shards: transactions that wait for each other where no server sees it.
//!
//! Where at least two transactions have been open on several shards for longer than a second, their shards are asked who
//! waits for whom. A circle that is there twice in a row is a deadlock. Its youngest transaction is the victim: its statement is
//! cancelled, and its client reads 40P01 in place of the server's 57014.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_postgres::Client;

use super::cancel::cancel_here;
use super::instance::Instance;
use crate::pool::database::Database;
use crate::pool::entangled::Transaction;
use crate::pool::inspect;
use crate::session::deadlock::{self, Deadlock, Wait};
use crate::types::{Error, Result, ShardId};

/// How often it is looked. PostgreSQL waits for as long before it looks (`deadlock_timeout`).
const PERIOD: Duration = Duration::from_secs(1);

/// Between the two looks that make a deadlock certain.
const PAUSE: Duration = Duration::from_millis(50);

/// How long a shard may take to say who waits there.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

const WAITS: &str = "SELECT waiter, blocker
      FROM (SELECT DISTINCT pid FROM pg_catalog.pg_locks WHERE NOT granted) AS waiting (waiter),
           LATERAL pg_catalog.unnest(pg_catalog.pg_blocking_pids(waiter)) AS blocking (blocker)";

/// Watches a database for ever.
pub async fn watch(instance: Arc<Instance>, database: Arc<Database>) {
    let mut shards = HashMap::new();
    loop {
        database.entangled.several().await;
        tokio::time::sleep(PERIOD).await;
        if let Err(error) = look(&instance, &database, &mut shards).await {
            // A shard that cannot be asked now is asked again in a second.
            tracing::debug!(database = &*database.name, %error, "nobody could be asked who waits for whom");
            shards.clear();
        }
    }
}

async fn look(instance: &Instance, database: &Database, shards: &mut HashMap<ShardId, Client>) -> Result<()> {
    let Some(then) = Instant::now().checked_sub(PERIOD) else { return Ok(()) };
    let transactions = database.entangled.before(then);
    if transactions.len() < 2 {
        return Ok(());
    }
    let first = deadlocks(instance, database, shards, &transactions).await?;
    if first.is_empty() {
        return Ok(());
    }
    tokio::time::sleep(PAUSE).await;
    let second = deadlocks(instance, database, shards, &transactions).await?;
    for found in second {
        if first.iter().any(|seen| seen.transactions == found.transactions) {
            end(instance, database, &transactions, &found).await;
        }
    }
    Ok(())
}

async fn deadlocks(
    instance: &Instance,
    database: &Database,
    shards: &mut HashMap<ShardId, Client>,
    transactions: &[(u64, Transaction)],
) -> Result<Vec<Deadlock>> {
    let processes: Vec<_> = transactions.iter().map(|(_, transaction)| transaction.processes.clone()).collect();
    let mut concerned: Vec<ShardId> = processes.iter().flatten().map(|(shard, _)| *shard).collect();
    concerned.sort_unstable();
    concerned.dedup();
    let mut waits = Vec::new();
    for shard in concerned {
        let asked = waits_on(instance, database, shards, shard);
        let unanswered = |_| Error::internal(format!("shard {shard} does not say who waits there"));
        waits.extend(tokio::time::timeout(ANSWER_LIMIT, asked).await.map_err(unanswered)??);
    }
    Ok(deadlock::find(&processes, &waits))
}

async fn waits_on(
    instance: &Instance,
    database: &Database,
    shards: &mut HashMap<ShardId, Client>,
    shard: ShardId,
) -> Result<Vec<Wait>> {
    let primary = database.shards.get(shard.index()).and_then(|shard| shard.nodes.first());
    let primary = primary.ok_or_else(|| Error::internal(format!("shard {shard} has no primary")))?;
    if shards.get(&shard).is_none_or(Client::is_closed) {
        shards.insert(shard, instance.connect(shard, primary).await?);
    }
    let rows = shards[&shard].query(WAITS, &[]).await.map_err(|error| inspect::failed(shard, error))?;
    // Process 0 stands for prepared transactions.
    let wait = |row: &tokio_postgres::Row| Wait { shard, waiter: row.get(0), blocker: row.get(1) };
    Ok(rows.iter().map(wait).filter(|wait| wait.blocker != 0).collect())
}

/// Cancels the youngest transaction of a deadlock.
async fn end(instance: &Instance, database: &Database, transactions: &[(u64, Transaction)], found: &Deadlock) {
    let members = found.transactions.iter().filter_map(|index| transactions.get(*index));
    let Some((_, victim)) = members.max_by_key(|(_, transaction)| transaction.since) else { return };
    let name = |shard: ShardId| database.shards.get(shard.index()).map_or("", |shard| &*shard.name);
    let error = deadlock::error(found, name);
    tracing::warn!(database = &*database.name, detail = error.detail.as_deref(), "a deadlock over shards is ended");
    instance.count_error(error.kind);
    victim.verdict.pass(&error);
    cancel_here(instance, Arc::clone(&victim.client)).await;
}
