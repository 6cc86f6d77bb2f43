//! The methods that look a key up instead of computing: directory (key -> shard) and geo (region -> shards).

use std::collections::BTreeMap;

use super::hash::{Hash, HashFunction};
use super::key::KeyValue;
use crate::types::ShardId;

/// The values of a key's columns.
pub type Key = Vec<KeyValue<'static>>;

/// Every key has its own entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    pub entries: BTreeMap<Key, ShardId>,
    pub unknown: UnknownKey,
}

/// What becomes of a key without an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnknownKey {
    Refuse,
    /// The key belongs to this shard.
    Default(ShardId),
    /// The first INSERT of the key gives it an entry: on that of these shards which has the fewest.
    Assign(Vec<ShardId>),
}

/// The first column of the key picks the region; the others are hashed over the region's own shards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Geo {
    /// The function of every region's [`Region::hash`].
    pub function: HashFunction,
    pub regions: Vec<Region>,
}

/// A region and its shards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// The region column's value.
    pub value: KeyValue<'static>,
    /// Rows of this region never leave its shards, whatever an operator asks for.
    pub resident: bool,
    /// The rest of the key over the shards of the region.
    pub hash: Hash,
}

impl Directory {
    /// The shard of a key; `None` when it has no entry and no default.
    pub fn shard_of(&self, key: &[KeyValue<'_>]) -> Option<ShardId> {
        match (self.entries.get(key), &self.unknown) {
            (Some(shard), _) | (None, UnknownKey::Default(shard)) => Some(*shard),
            (None, UnknownKey::Refuse | UnknownKey::Assign(_)) => None,
        }
    }

    /// The shard that a new key is to have; `None` when the directory gives no entries by itself.
    pub fn shard_for_new(&self) -> Option<ShardId> {
        let UnknownKey::Assign(shards) = &self.unknown else { return None };
        let entries = |shard: &ShardId| self.entries.values().filter(|owner| *owner == shard).count();
        shards.iter().min_by_key(|shard| entries(shard)).copied()
    }

    pub(super) fn for_each_shard(&mut self, change: &impl Fn(&mut ShardId)) {
        self.entries.values_mut().for_each(change);
        match &mut self.unknown {
            UnknownKey::Refuse => {}
            UnknownKey::Default(shard) => change(shard),
            UnknownKey::Assign(shards) => shards.iter_mut().for_each(change),
        }
    }

    /// Every shard that the directory can lead to, with repetitions.
    pub(super) fn shards(&self) -> Vec<ShardId> {
        let unknown = match &self.unknown {
            UnknownKey::Refuse => &[],
            UnknownKey::Default(shard) => std::slice::from_ref(shard),
            // Another Weir may have assigned keys that this one has not heard of.
            UnknownKey::Assign(shards) => shards,
        };
        self.entries.values().chain(unknown).copied().collect()
    }
}

impl Geo {
    pub fn region(&self, value: &KeyValue<'_>) -> Option<&Region> {
        self.regions.iter().find(|region| region.value == *value)
    }
}
