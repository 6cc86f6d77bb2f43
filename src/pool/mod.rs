//! Servers and who has them: connections to PostgreSQL, pools of them, what is known of databases and replicas.
//!
//! * [`server`]: one connection to a server, from login to the end.
//! * [`local`]: one worker's part of a pool; [`shared`]: what the workers share of it.
//! * [`database`]: a configured database at run time: shards, nodes, shard map, schema.
//! * [`listener`]: one connection per database that listens for all clients; [`mailbox`]: what waits for one of them.
//! * [`inspect`]: reads a database's catalogs. [`attach`]: what they say against a shard map.
//! * [`freshness`]: how far replicas are, for read-your-writes.

pub mod attach;
pub mod cuts;
pub mod database;
pub mod entangled;
pub mod freshness;
pub mod inspect;
pub mod listener;
pub mod local;
pub mod mailbox;
pub mod server;
pub mod shared;
