//! Reads of several shards.

use super::Request;
use super::plan::Action;
use crate::types::{Error, Result, ShardId};

/// The plan of a SELECT that needs rows of all of `shards`.
///
/// # Errors
/// A refusal when it cannot be proven that the shards' rows can be merged into one PostgreSQL's result.
pub(super) fn plan_fan(request: &Request<'_>, shards: &[ShardId]) -> Result<Action> {
    Err(Error::refuse(
        "reading several shards is not supported",
        format!("The statement needs rows of {} of {} shards.", shards.len(), request.map.shards().len()),
    )
    .hint("Restrict the shard key by a value."))
}
