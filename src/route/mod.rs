//! Facts, parameters and the shard map become a plan: where a statement runs, and how its rows become one result.
//! What is not recognised is refused; a key counts only where it truly restricts its relation.

pub mod plan;
