//! A sharded database behind Weir answers as one PostgreSQL would, or refuses; and stays whole when something fails.

mod answer;
mod blocks;
mod copy_in;
mod copy_out;
mod corpus;
mod differential;
mod everywhere;
mod faults;
mod formats;
mod gather;
mod keyspaces;
mod operator;
mod placement;
mod random;
mod replicas;
mod routed;
mod session;
mod shard_by_shard;
mod shop;
mod spread;
mod tools;
mod transactions;
mod transfers;
mod traps;
mod two_phase;
mod types;
