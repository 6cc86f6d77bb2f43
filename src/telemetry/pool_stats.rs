//! The counters of one pool on one worker.

use std::sync::Arc;
use std::time::Duration;

use super::count::{Counted, Counts, Tally};
use super::histogram::{Distribution, Histogram, micros};
use crate::sql::facts::PinReason;
use crate::types::{Kind, Role, ShardId};

/// Which servers a pool holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PoolKey {
    pub database: Arc<str>,
    pub user: Arc<str>,
    pub shard: ShardId,
    pub role: Role,
}

/// PgBouncer's counters of SHOW STATS, without their prefix `total_`. Times are in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    XactCount,
    QueryCount,
    /// How often a server was given to a client.
    ServerAssignmentCount,
    /// Bytes from clients.
    Received,
    /// Bytes to clients.
    Sent,
    /// Time in transactions, idle in them included.
    XactTime,
    /// Time of queries, from their sending to the end of the answer.
    QueryTime,
    /// Time that clients waited for a server.
    WaitTime,
}

impl Counted for Counter {
    const ALL: &'static [Self] = &[
        Self::XactCount,
        Self::QueryCount,
        Self::ServerAssignmentCount,
        Self::Received,
        Self::Sent,
        Self::XactTime,
        Self::QueryTime,
        Self::WaitTime,
    ];

    fn index(self) -> usize {
        self as usize
    }

    fn name(self) -> &'static str {
        match self {
            Self::XactCount => "xact_count",
            Self::QueryCount => "query_count",
            Self::ServerAssignmentCount => "server_assignment_count",
            Self::Received => "received",
            Self::Sent => "sent",
            Self::XactTime => "xact_time",
            Self::QueryTime => "query_time",
            Self::WaitTime => "wait_time",
        }
    }
}

/// What a worker counts for one of its pools. Only that worker's thread counts here.
#[derive(Debug, Default)]
pub struct PoolStats {
    counters: Tally<Counter>,
    pins: Tally<PinReason>,
    errors: Tally<Kind>,
    query_times: Histogram,
    wait_times: Histogram,
}

impl PoolStats {
    /// A client got a server, after waiting for it this long.
    pub fn server_assigned(&self, waited: Duration) {
        self.counters.add_alone(Counter::ServerAssignmentCount, 1);
        self.counters.add_alone(Counter::WaitTime, micros(waited));
        self.wait_times.record(waited);
    }

    /// A query was answered.
    pub fn query_done(&self, took: Duration) {
        self.counters.add_alone(Counter::QueryCount, 1);
        self.counters.add_alone(Counter::QueryTime, micros(took));
        self.query_times.record(took);
    }

    /// A transaction (or a query outside of one) ended.
    pub fn transaction_done(&self, took: Duration) {
        self.counters.add_alone(Counter::XactCount, 1);
        self.counters.add_alone(Counter::XactTime, micros(took));
    }

    /// Bytes came from a client.
    pub fn received(&self, bytes: usize) {
        self.counters.add_alone(Counter::Received, bytes as u64);
    }

    /// Bytes went to a client.
    pub fn sent(&self, bytes: usize) {
        self.counters.add_alone(Counter::Sent, bytes as u64);
    }

    /// A client keeps its server beyond its transaction.
    pub fn pinned(&self, reason: PinReason) {
        self.pins.add_alone(reason, 1);
    }

    /// One of Weir's own errors was reported to a client of this pool. What a server reports is not counted here.
    pub fn error(&self, kind: Kind) {
        self.errors.add_alone(kind, 1);
    }

    pub(super) fn read(&self) -> PoolReading {
        PoolReading {
            counters: self.counters.read(),
            pins: self.pins.read(),
            errors: self.errors.read(),
            query_times: self.query_times.read(),
            wait_times: self.wait_times.read(),
        }
    }
}

/// A pool's counts, over all workers.
#[derive(Clone, Debug, Default)]
pub struct PoolReading {
    pub counters: Counts<Counter>,
    /// Pinned servers by reason.
    pub pins: Counts<PinReason>,
    pub errors: Counts<Kind>,
    pub query_times: Distribution,
    pub wait_times: Distribution,
}

impl PoolReading {
    /// Adds another pool's or worker's counts to this one's.
    pub fn absorb(&mut self, other: &Self) {
        self.counters.absorb(&other.counters);
        self.pins.absorb(&other.pins);
        self.errors.absorb(&other.errors);
        self.query_times.absorb(&other.query_times);
        self.wait_times.absorb(&other.wait_times);
    }
}
