//! The protocol's state on both sides of Weir. Pure: bytes in; bytes and events out.
//!
//! * [`ledger`]: what one server still owes, and what of it the client sees.
//! * [`request`]: a client's messages, rewritten for the server that gets them.
//! * [`shape`]: what a prepared statement takes and gives.
//! * [`statements`]: prepared statements that follow the client over servers.
//! * [`settings`]: run-time parameters that follow the client over servers.
//! * [`transaction`]: a transaction block over several shards.

pub mod ledger;
pub mod request;
pub mod settings;
pub mod shape;
pub mod statements;
pub mod transaction;
