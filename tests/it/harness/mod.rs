//! What every test here stands on: servers, Weir processes and clients, and the certainty that none of them stays.
//!
//! * [`servers`] are shared by all tests; a test works in databases of its own ([`unique`], [`Shard::create_database`]).
//!   A test that hurts servers starts its own with [`Shard::start`].
//! * [`Weir`] is the real binary with a configuration made by [`Setup`].
//! * [`Endpoint`] is where clients connect, a server or Weir alike: psql, pgbench, tokio-postgres, or raw bytes.

mod endpoint;
mod raw;
mod root;
mod servers;
mod weir;

pub use endpoint::{Endpoint, Run};
pub use raw::{Message, RawClient};
pub use root::{fresh_dir, root, unique, users_of};
pub use servers::{Shard, endpoint_of, installation, servers, start_primary};
pub use weir::{Database, Setup, Weir};
