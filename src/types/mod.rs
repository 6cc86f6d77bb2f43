//! Words that every layer shares: identifiers, SQLSTATEs, errors and limits.
//! This module depends on nothing else in the crate.

pub mod error;
pub mod ids;
pub mod limits;
pub mod sqlstate;

pub use error::{Error, Kind, Origin, Result};
pub use ids::{Epoch, PeerId, Role, ShardId};
pub use sqlstate::SqlState;
