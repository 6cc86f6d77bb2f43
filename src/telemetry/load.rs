//! How the load of a database spreads over its shards.

use std::collections::BTreeMap;

use super::count::Counts;
use super::pool_stats::{Counter, PoolKey};
use super::registry::Reading;
use super::snapshot::{ShardInfo, Snapshot};

/// A shard's part of its database's load, in percent. `None` where the database had no load at all.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share {
    pub queries_percent: Option<f64>,
    pub time_percent: Option<f64>,
}

/// What one shard had to do.
#[derive(Clone, Debug)]
pub struct ShardLoad {
    pub info: ShardInfo,
    /// Connections to the shard's nodes.
    pub servers: u64,
    /// Since the process started, over all nodes and users.
    pub total: Counts<Counter>,
    pub total_share: Share,
    /// Of the last one to two minutes.
    pub recent_share: Share,
}

/// The load of every shard of every database, in the order of the snapshot.
pub fn shard_loads(snapshot: &Snapshot, reading: &Reading) -> Vec<ShardLoad> {
    let totals = reading.pools.iter().map(|(key, pool)| (key.clone(), pool.counters.clone())).collect();
    let load_of = |info: &ShardInfo| ShardLoad {
        info: info.clone(),
        servers: snapshot.pools.iter().filter(|pool| is_of(info, &pool.key)).map(|pool| pool.servers()).sum(),
        total: sum(&totals, |key| is_of(info, key)),
        total_share: share(&totals, info),
        recent_share: share(&reading.recent, info),
    };
    snapshot.shards.iter().map(load_of).collect()
}

fn is_of(info: &ShardInfo, key: &PoolKey) -> bool {
    *key.database == *info.database && key.shard == info.shard
}

fn share(counters: &BTreeMap<PoolKey, Counts<Counter>>, info: &ShardInfo) -> Share {
    let shard = sum(counters, |key| is_of(info, key));
    let database = sum(counters, |key| *key.database == *info.database);
    let percent_of = |counter| percent(shard.get(counter), database.get(counter));
    Share { queries_percent: percent_of(Counter::QueryCount), time_percent: percent_of(Counter::QueryTime) }
}

fn sum(counters: &BTreeMap<PoolKey, Counts<Counter>>, wanted: impl Fn(&PoolKey) -> bool) -> Counts<Counter> {
    let mut sum = Counts::default();
    counters.iter().filter(|(key, _)| wanted(key)).for_each(|(_, counts)| sum.absorb(counts));
    sum
}

fn percent(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 * 100.0 / whole as f64)
}
