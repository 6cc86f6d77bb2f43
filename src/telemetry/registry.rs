//! Where all workers' counters are known.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::count::{Counts, Tally};
use super::pool_stats::{Counter, PoolKey, PoolReading, PoolStats};
use crate::types::Kind;

/// The counters of the whole process. Locks are taken to register, to read and to mark, never to count.
#[derive(Debug)]
pub struct Telemetry {
    pools: Mutex<Vec<(PoolKey, Arc<PoolStats>)>>,
    errors: Tally<Kind>,
    marks: Mutex<Marks>,
}

/// Two earlier readings. What happened since the older one is what "recent" means.
#[derive(Debug)]
struct Marks {
    older: Mark,
    newer: Mark,
}

#[derive(Clone, Debug)]
struct Mark {
    taken_at: Instant,
    counters: BTreeMap<PoolKey, Counts<Counter>>,
}

/// All counts, read at once.
#[derive(Clone, Debug)]
pub struct Reading {
    /// Since the process started.
    pub pools: BTreeMap<PoolKey, PoolReading>,
    /// Errors that belong to no pool: bad logins, unknown databases, refused statements.
    pub errors: Counts<Kind>,
    /// What was counted in `recent_period`.
    pub recent: BTreeMap<PoolKey, Counts<Counter>>,
    /// From the older of the last two marks until now.
    pub recent_period: Duration,
}

impl Telemetry {
    pub fn new(now: Instant) -> Self {
        let start = Mark { taken_at: now, counters: BTreeMap::new() };
        Self {
            pools: Mutex::default(),
            errors: Tally::default(),
            marks: Mutex::new(Marks { older: start.clone(), newer: start }),
        }
    }

    /// Counters for one worker's pool: not shared with another worker, and kept when the worker lets go of them, so that
    /// nothing counted is lost. Counters that nobody holds any more are given to the next worker with the same pool.
    pub fn register(&self, key: &PoolKey) -> Arc<PoolStats> {
        let mut pools = lock(&self.pools);
        let free = pools.iter().find(|(own, stats)| own == key && Arc::strong_count(stats) == 1);
        if let Some((_, stats)) = free {
            return Arc::clone(stats);
        }
        let stats = Arc::new(PoolStats::default());
        pools.push((key.clone(), Arc::clone(&stats)));
        stats
    }

    /// Counts an error that belongs to no pool.
    pub fn error(&self, kind: Kind) {
        self.errors.add(kind, 1);
    }

    /// Begins a new period; to be called once per PgBouncer's `stats_period` (a minute). Averages speak of the time since
    /// the mark before the last one, so they always cover at least one full period, once there was one.
    pub fn mark(&self, now: Instant) {
        let counters = self.read_pools().into_iter().map(|(key, pool)| (key, pool.counters)).collect();
        let mut marks = lock(&self.marks);
        marks.older = std::mem::replace(&mut marks.newer, Mark { taken_at: now, counters });
    }

    /// Reads everything.
    pub fn read(&self, now: Instant) -> Reading {
        let pools = self.read_pools();
        let older = lock(&self.marks).older.clone();
        Reading {
            recent: older.since(&pools),
            recent_period: now.saturating_duration_since(older.taken_at),
            errors: self.errors.read(),
            pools,
        }
    }

    fn read_pools(&self) -> BTreeMap<PoolKey, PoolReading> {
        let mut merged = BTreeMap::<PoolKey, PoolReading>::new();
        for (key, stats) in lock(&self.pools).iter() {
            merged.entry(key.clone()).or_default().absorb(&stats.read());
        }
        merged
    }
}

impl Mark {
    fn since(&self, pools: &BTreeMap<PoolKey, PoolReading>) -> BTreeMap<PoolKey, Counts<Counter>> {
        let recent = pools.iter().map(|(key, pool)| {
            let counters = match self.counters.get(key) {
                Some(earlier) => pool.counters.since(earlier),
                None => pool.counters.clone(),
            };
            (key.clone(), counters)
        });
        recent.collect()
    }
}

/// Counting cannot leave half a change behind, so a lock whose holder panicked is as good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::facts::PinReason;
    use crate::types::{Role, ShardId};

    const MS: Duration = Duration::from_millis(1);
    const MINUTE: Duration = Duration::from_secs(60);

    fn key(shard: u16) -> PoolKey {
        PoolKey { database: "shop".into(), user: "ann".into(), shard: ShardId(shard), role: Role::Primary }
    }

    #[test]
    fn readers_add_up_what_workers_count() {
        let start = Instant::now();
        let telemetry = Telemetry::new(start);
        let workers = [telemetry.register(&key(0)), telemetry.register(&key(0)), telemetry.register(&key(1))];
        for stats in &workers {
            stats.server_assigned(2 * MS);
            stats.query_done(3 * MS);
            stats.transaction_done(5 * MS);
            stats.received(10);
            stats.sent(20);
            stats.pinned(PinReason::Setting);
            stats.error(Kind::NotSupported);
        }
        telemetry.error(Kind::InvalidPassword);

        let reading = telemetry.read(start);
        let both = &reading.pools[&key(0)];
        let counters: Vec<_> = both.counters.iter().map(|(_, count)| count).collect();
        assert_eq!(counters, [2, 2, 2, 20, 40, 10_000, 6_000, 4_000]);
        assert_eq!(both.pins.get(PinReason::Setting), 2);
        assert_eq!(both.errors.get(Kind::NotSupported), 2);
        assert_eq!((both.query_times.count(), both.wait_times.count()), (2, 2));
        assert_eq!(reading.pools[&key(1)].counters.get(Counter::QueryCount), 1);
        assert_eq!(reading.errors.get(Kind::InvalidPassword), 1);
    }

    #[test]
    fn counters_outlive_their_worker_and_are_used_again() {
        let telemetry = Telemetry::new(Instant::now());
        let queries =
            |telemetry: &Telemetry| telemetry.read(Instant::now()).pools[&key(0)].counters.get(Counter::QueryCount);
        telemetry.register(&key(0)).query_done(MS);
        telemetry.register(&key(0)).query_done(MS);
        assert_eq!(queries(&telemetry), 2);
        assert_eq!(lock(&telemetry.pools).len(), 1);
    }

    #[test]
    fn recent_covers_at_least_the_last_full_period() {
        let start = Instant::now();
        let telemetry = Telemetry::new(start);
        let stats = telemetry.register(&key(0));
        let recent = |now| {
            let reading = telemetry.read(now);
            (reading.recent[&key(0)].get(Counter::QueryCount), reading.recent_period)
        };
        stats.query_done(MS);
        assert_eq!(recent(start + MS), (1, MS));
        telemetry.mark(start + MINUTE);
        stats.query_done(MS);
        assert_eq!(recent(start + MINUTE), (2, MINUTE));
        telemetry.mark(start + 2 * MINUTE);
        stats.query_done(MS);
        assert_eq!(recent(start + 2 * MINUTE + MS), (2, MINUTE + MS));
    }
}
