//! Real PostgreSQL servers as child processes, for `weir demo` and for the tests.
//!
//! Nothing here outlives the process that started it, however that process ends: see [`child`]. Calls block; a
//! server that was started, answers. Words: a *node* is one server with its data directory, a primary or a standby.

pub mod child;
mod installation;
mod node;
mod settings;

use std::fmt::Display;

pub use installation::Installation;
pub use node::{DataSource, Node, free_port, is_free};
pub use settings::Durability;

use crate::types::{Error, Kind, Origin};

/// The superuser of every node that is created here.
pub const SUPERUSER: &str = "weir";
/// The password of [`SUPERUSER`]; the nodes listen on the loopback interface only.
pub const PASSWORD: &str = "weir";
/// Where the nodes listen.
pub const HOST: &str = "127.0.0.1";

/// An error of this module: what could not be done, and why.
fn failure(what: impl Display, why: impl Display) -> Error {
    Error::new(Origin::Weir, Kind::ServerUnavailable, what.to_string()).detail(why.to_string())
}
