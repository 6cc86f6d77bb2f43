//! The protocol's state on both sides of Weir. Pure: bytes in; bytes and events out.
//!
//! * [`deadlock`]: transactions that wait for each other on different shards.
//! * [`ledger`]: what one server still owes, and what of it the client sees.
//! * [`request`]: a client's messages, rewritten for the server that gets them.
//! * [`numbered`]: the same for a server whose OIDs are not those that clients know.
//! * [`shape`]: what a prepared statement takes and gives.
//! * [`statements`]: prepared statements that follow the client over servers.
//! * [`settings`]: run-time parameters that follow the client over servers.
//! * [`notifiers`]: which client sent a notification.
//! * [`parameters`]: run-time parameters that servers report, and clients were told.
//! * [`state`]: what a client's session holds beyond its transaction.
//! * [`survey`]: what a client's transaction left in its session, asked from the server.
//! * [`transaction`]: a transaction block over several shards.

pub mod cursors;
pub mod deadlock;
pub mod ledger;
pub mod notifiers;
pub mod numbered;
pub mod parameters;
pub mod request;
pub mod settings;
pub mod shape;
pub mod state;
pub mod statements;
pub mod survey;
pub mod transaction;
