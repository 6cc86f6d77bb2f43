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

use std::path::Path;
use std::process::Command;

pub use endpoint::{Endpoint, Run};
pub use raw::{Message, RawClient};
pub use root::{fresh_dir, root, unique, users_of};
pub use servers::{Shard, endpoint_of, installation, servers, start_primary};
pub use weir::{Database, Setup, Weir};

/// A script of `tests/drivers`, for the Python that has the drivers: `make setup` made it.
pub fn driver_script(name: &str) -> Command {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = project.join(".venv/bin/python");
    assert!(python.exists(), "{} is missing: run make setup", python.display());
    let mut command = Command::new(python);
    command.arg(project.join("tests/drivers").join(name));
    command
}
