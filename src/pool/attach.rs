//! What a shard's own catalogs say against a place in the shard map: constraints that shards cannot keep by themselves,
//! code that could change a key, tables that differ between shards.

mod findings;
mod inventory;
mod rows;

pub use findings::{Finding, Severity, compare, examine};
pub use inventory::Inventory;
pub use rows::misplaced;
