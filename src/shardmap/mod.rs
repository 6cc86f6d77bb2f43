//! The shard map: which shard owns the rows of which key.
//!
//! A *keyspace* says how a key leads to a shard (hash, range, directory, geo); a *table* is sharded by a column of one
//! keyspace, or is a reference table that every shard holds whole. Tables of one keyspace are colocated.

mod geo;
mod hash;
mod key;
mod range;

use std::collections::BTreeMap;

use crate::types::{Epoch, Error, Kind, Origin, Result, ShardId};

pub use geo::{Directory, Geo, Region, UnknownValue};
pub use hash::{BUCKETS_DEFAULT, BUCKETS_MAX, Hash, HashFunction, hash_extended};
pub use key::{KeyType, KeyValue};
pub use range::{Bound, Range, Ranges};

/// The versioned truth of one database: its shards, keyspaces and tables. Immutable; a change makes a new one with a
/// larger epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardMap {
    epoch: Epoch,
    shards: Vec<String>,
    keyspaces: Vec<Keyspace>,
    /// By schema, then by name, so that a lookup needs no owned pair of strings.
    tables: BTreeMap<String, BTreeMap<String, Role>>,
}

/// A sharding scheme.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyspace {
    pub name: String,
    pub key_type: KeyType,
    pub method: Method,
}

/// How a key leads to a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Method {
    Hash(Hash),
    Range(Ranges),
    Directory(Directory),
    Geo(Geo),
}

/// A table's entry, as a shard map file or the catalog gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    pub schema: String,
    pub name: String,
    pub distribution: Distribution,
}

/// How a table is spread over the shards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Distribution {
    /// By the values of `column`, through the keyspace of this name.
    Sharded {
        keyspace: String,
        column: String,
    },
    Reference,
}

/// [`Distribution`] with the keyspace's name resolved to its place.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Role {
    Sharded { keyspace: usize, column: String },
    Reference,
}

/// What the map says of one table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement<'m> {
    /// Each row is on the shard that owns its value of `column`.
    Sharded { keyspace: &'m Keyspace, column: &'m str },
    /// Every shard holds every row.
    Reference,
    /// The map does not know the table.
    Unmapped,
}

impl ShardMap {
    /// Puts a map together.
    ///
    /// # Errors
    /// [`Kind::InvalidValue`] when there is no shard, a name is given twice, a table names an unknown keyspace, or a
    /// keyspace names a shard that does not exist.
    pub fn new(epoch: Epoch, shards: Vec<String>, keyspaces: Vec<Keyspace>, tables: Vec<Table>) -> Result<Self> {
        if shards.is_empty() || shards.len() > usize::from(u16::MAX) {
            return Err(invalid(format!("a shard map needs 1 to {} shards, not {}", u16::MAX, shards.len())));
        }
        check_unique("shard", shards.iter())?;
        check_unique("keyspace", keyspaces.iter().map(|keyspace| &keyspace.name))?;
        keyspaces.iter().try_for_each(|keyspace| keyspace.check_shards(shards.len()))?;
        let mut map = Self { epoch, shards, keyspaces, tables: BTreeMap::new() };
        tables.into_iter().try_for_each(|table| map.add(table))?;
        Ok(map)
    }

    fn add(&mut self, table: Table) -> Result<()> {
        let Table { schema, name, distribution } = table;
        let role = match distribution {
            Distribution::Reference => Role::Reference,
            Distribution::Sharded { keyspace, column } => Role::Sharded {
                keyspace: self
                    .keyspace_index(&keyspace)
                    .ok_or_else(|| invalid(format!("table {schema}.{name} names the unknown keyspace {keyspace}")))?,
                column,
            },
        };
        let message = format!("table {schema}.{name} is given twice");
        match self.tables.entry(schema).or_default().insert(name, role) {
            None => Ok(()),
            Some(_) => Err(invalid(message)),
        }
    }

    fn keyspace_index(&self, name: &str) -> Option<usize> {
        self.keyspaces.iter().position(|keyspace| keyspace.name == name)
    }

    /// The version of this map.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The names of the shards; a [`ShardId`] is a place in this list.
    pub fn shards(&self) -> &[String] {
        &self.shards
    }

    /// Every shard's id, in order.
    pub fn shard_ids(&self) -> impl Iterator<Item = ShardId> + use<> {
        // `new` allows no more shards than a ShardId counts.
        (0..u16::try_from(self.shards.len()).unwrap_or(u16::MAX)).map(ShardId)
    }

    pub fn keyspaces(&self) -> &[Keyspace] {
        &self.keyspaces
    }

    /// What the map says of a table. Names are as PostgreSQL stores them: unquoted and folded.
    pub fn placement(&self, schema: &str, table: &str) -> Placement<'_> {
        match self.tables.get(schema).and_then(|tables| tables.get(table)) {
            Some(role) => self.resolve(role),
            None => Placement::Unmapped,
        }
    }

    /// Every mapped table: schema, name, placement; ordered by schema and name.
    pub fn tables(&self) -> impl Iterator<Item = (&str, &str, Placement<'_>)> {
        self.tables.iter().flat_map(move |(schema, tables)| {
            tables.iter().map(move |(name, role)| (schema.as_str(), name.as_str(), self.resolve(role)))
        })
    }

    fn resolve<'m>(&'m self, role: &'m Role) -> Placement<'m> {
        match role {
            Role::Reference => Placement::Reference,
            // The index was taken from this very list, which never changes.
            Role::Sharded { keyspace, column } => Placement::Sharded { keyspace: &self.keyspaces[*keyspace], column },
        }
    }
}

impl Keyspace {
    /// The shard that owns a key value.
    ///
    /// # Errors
    /// - [`Kind::InvalidValue`]: no shard owns the value (a gap between ranges).
    /// - [`Kind::NotSupported`]: routing by this keyspace's method cannot be done yet (directory, geo).
    /// - [`Kind::Internal`]: the value is not of the keyspace's key type.
    pub fn shard_of(&self, value: &KeyValue<'_>) -> Result<ShardId> {
        if !self.key_type.admits(value) {
            return Err(Error::internal(format!("a key of keyspace {} has another type", self.name))
                .detail(format!("The keyspace has keys of type {}.", self.key_type)));
        }
        match &self.method {
            Method::Hash(hash) => hash.shard_of(value),
            Method::Range(ranges) => ranges.shard_of(value).ok_or_else(|| self.unmapped(value)),
            Method::Directory(_) | Method::Geo(_) => Err(self.cannot_route()),
        }
    }

    fn unmapped(&self, value: &KeyValue<'_>) -> Error {
        Error::new(Origin::Client, Kind::InvalidValue, format!("no shard of keyspace {} holds the key", self.name))
            .detail(format!("Key value {value} is in none of the keyspace's ranges."))
    }

    fn cannot_route(&self) -> Error {
        let method = self.method.name();
        Error::refuse(
            format!("cannot route by keyspace {}", self.name),
            format!("The keyspace's method is {method}; only hash and range keyspaces route statements."),
        )
    }

    fn check_shards(&self, shards: usize) -> Result<()> {
        match self.method.shards().into_iter().find(|shard| shard.index() >= shards) {
            None => Ok(()),
            Some(shard) => Err(invalid(format!("keyspace {} names shard {shard} of {shards}", self.name))),
        }
    }
}

impl Method {
    /// The word for the method in a shard map file.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Hash(_) => "hash",
            Self::Range(_) => "range",
            Self::Directory(_) => "directory",
            Self::Geo(_) => "geo",
        }
    }

    /// Every shard that the method can lead to, with repetitions.
    fn shards(&self) -> Vec<ShardId> {
        match self {
            Self::Hash(hash) => hash.placement().to_vec(),
            Self::Range(ranges) => ranges.iter().map(|range| range.shard).collect(),
            Self::Directory(directory) => directory.shards(),
            Self::Geo(geo) => geo.regions.iter().flat_map(|region| region.hash.placement()).copied().collect(),
        }
    }
}

fn check_unique<'n>(what: &str, names: impl Iterator<Item = &'n String>) -> Result<()> {
    let mut seen = std::collections::BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(invalid(format!("{what} {name} is given twice")));
        }
    }
    Ok(())
}

fn invalid(message: String) -> Error {
    Error::new(Origin::Weir, Kind::InvalidValue, message)
}

#[cfg(test)]
mod tests;
