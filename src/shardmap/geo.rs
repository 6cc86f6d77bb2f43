//! The methods that look a value up instead of computing: directory (value -> shard) and geo (region -> shards).

use std::collections::BTreeMap;

use super::hash::{Hash, HashFunction};
use super::key::KeyValue;
use crate::types::ShardId;

/// Every key value has its own entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    pub entries: BTreeMap<KeyValue<'static>, ShardId>,
    pub unknown: UnknownValue,
}

/// What becomes of a value without an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownValue {
    Refuse,
    /// The value belongs to this shard.
    Default(ShardId),
}

/// The value of a region column picks the region; the key is hashed over the region's own shards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Geo {
    /// The column that holds the region, the same in every table of the keyspace; its type is text or varchar.
    pub region_column: String,
    /// The function of every region's [`Region::hash`].
    pub function: HashFunction,
    pub regions: Vec<Region>,
}

/// A region and its shards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// The region column's value.
    pub name: String,
    /// Rows of this region never leave its shards, whatever an operator asks for.
    pub resident: bool,
    /// The keys of the region over the shards of the region.
    pub hash: Hash,
}

impl Directory {
    /// Every shard that the directory can lead to, with repetitions.
    pub(super) fn shards(&self) -> Vec<ShardId> {
        let default = match self.unknown {
            UnknownValue::Refuse => None,
            UnknownValue::Default(shard) => Some(shard),
        };
        self.entries.values().copied().chain(default).collect()
    }
}
