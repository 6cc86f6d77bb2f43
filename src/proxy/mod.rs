//! Clients and what is done for them: one task per client drives session, pools and plans.
//!
//! * [`instance`]: one running Weir: databases, users, workers. Several may run in one process.
//! * [`worker`]: one thread with one single-threaded runtime; a client lives on one worker.
//! * [`login`]: from the first packet to the first ReadyForQuery. [`cancel`]: cancel requests, which are connections too;
//!   [`keys`]: what they show.
//! * [`client`]: a client's life after login, one *unit* (a Query, or a batch up to Sync) after another.
//! * [`simple`], [`batch`]: units of the simple and of the extended protocol.
//! * [`prepare`]: statements that a server is given for a client that knows them.
//! * [`sql_names`]: names that SQL's PREPARE gives, over servers.
//! * [`links`]: the servers that a client holds, and how it gets and leaves them; [`leave`]: what becomes of them when
//!   the client is gone.
//! * [`listening`]: LISTEN and notifications for a client whose servers change.
//! * [`survey`]: what a transaction left in the session, and where it can be from now on.
//! * [`values`]: values that are plain to see in a statement and its parameters.
//! * [`mode`]: what statement pooling refuses.
//! * [`sharded`]: units for a sharded database; `set`: SET and its kin there.
//! * [`answer`]: answers that Weir gives itself.
//! * [`replication`]: connections that stream WAL.
//! * [`relay`]: bytes between a client and one server until the server owes nothing.
//! * [`block`]: transaction blocks over shards; [`two_phase`]: their commit, [`recovery`]: what that may leave behind.
//! * [`deadlock`]: transactions that wait for each other on different shards.
//! * [`fan`]: reads over shards; [`gather`]: statements that one server runs over rows of several shards; [`spread`]: writes
//!   of rows on several shards.
//! * [`everywhere`]: statements for all shards, `shard_by_shard`: one shard after the other; [`copy_in`]: rows that the
//!   client sends, each to its shards; `copy_out`: rows that it is sent.
//! * `numbered`: INSERTs that take numbers from sequences.
//! * `temporary`: temporary tables, which live on the home shard.
//! * [`exchange`]: Weir talks to a server by itself, for all of those.
//! * [`console`]: the console's end of the wire.
//! * [`placement`]: what is learnt about placement while Weir runs; [`operate`]: what an operator changes;
//!   `removal`: what leaves a directory.
//! * [`control`]: the thread for everything that is not a client's: replicas, schemas, the console's snapshots.
//! * [`handle`]: what others may know of a client, and how a cancel aims; [`report`]: what the console is told.
//! * [`outcome`]: how a step for a client can end early.
//! * [`serve`](serve()): starts and stops it all.

pub mod answer;
pub mod batch;
pub mod block;
pub mod cancel;
pub mod client;
pub mod console;
pub mod control;
pub mod copy_in;
mod copy_out;
mod cursors;
mod cut;
pub mod deadlock;
pub mod everywhere;
pub mod exchange;
pub mod explain;
pub mod fan;
mod fault;
pub mod finish;
pub mod gather;
pub mod handle;
pub mod instance;
pub mod keys;
pub mod large;
pub mod leave;
pub mod links;
pub mod listening;
pub mod login;
mod made_table;
pub mod mode;
mod numbered;
pub mod operate;
pub mod outcome;
pub mod placement;
pub mod prepare;
pub mod recovery;
pub mod relay;
mod removal;
pub mod replication;
pub mod report;
pub mod serve;
mod set;
mod shard_by_shard;
pub mod sharded;
pub mod simple;
pub mod spread;
pub mod sql_names;
mod sql_prepared;
mod steps;
pub mod survey;
mod temporary;
pub mod two_phase;
pub mod vacate;
mod values;
pub mod worker;

pub use serve::{Running, serve};
