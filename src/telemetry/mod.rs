//! What Weir knows about itself: counters, latencies, and who is connected to whom.
//!
//! Every worker counts in [`PoolStats`] of its own, without locks and without sharing them with another worker;
//! whoever reads adds them up ([`Telemetry::read`]). Gauges are not counted but asked for ([`Inspect`]): they are
//! then right by construction.

mod count;
mod histogram;
mod load;
mod pool_stats;
mod registry;
#[cfg(test)]
pub(crate) mod sample;
mod snapshot;

pub use count::{Counted, Counts, Tally};
pub use histogram::{Distribution, Histogram};
pub use load::{ShardLoad, Share, shard_loads};
pub use pool_stats::{Counter, PoolKey, PoolReading, PoolStats};
pub use registry::{Reading, Telemetry};
pub use snapshot::{
    ClientInfo, ClientState, DatabaseInfo, InDoubtInfo, Inspect, ListenerInfo, NodeInfo, Outcome, PoolInfo, Scope,
    ServerInfo, ServerState, ShardInfo, Snapshot, SnapshotFuture,
};
