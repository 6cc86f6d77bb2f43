//! The shard map: which shard owns the rows of which key.
//!
//! A *keyspace* says how a key leads to a shard (hash, range, directory, geo); a *table* is sharded by columns of one
//! keyspace, or is a reference table that every shard holds whole, or lives on one shard. Tables of one keyspace are
//! colocated.

mod change;
mod geo;
mod hash;
mod key;
mod keyspace;
mod predicate;
mod range;

use std::collections::BTreeMap;

use crate::types::{Epoch, Error, Kind, Origin, Result, ShardId};

pub use change::Change;
pub use geo::{Directory, Geo, Key, Region, UnknownKey};
pub use hash::{BUCKETS_DEFAULT, BUCKETS_MAX, Hash, HashFunction, hash_extended};
pub use key::{Decimal, KeyType, KeyValue, Shown};
pub use keyspace::{ColumnEnd, Keyspace, Known, Method, Owners};
pub use range::{Bound, End, Range, Ranges};

/// The versioned truth of one database: its shards, keyspaces and tables. Immutable; a change makes a new one with a
/// larger epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardMap {
    epoch: Epoch,
    shards: Vec<String>,
    /// Those that take part. The others are attached, and hold nothing yet.
    members: Vec<ShardId>,
    keyspaces: Vec<Keyspace>,
    unmapped: UnmappedTables,
    /// By schema, then by name, so that a lookup needs no owned pair of strings.
    tables: BTreeMap<String, BTreeMap<String, Role>>,
}

/// What becomes of a table that the map does not name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnmappedTables {
    #[default]
    Refuse,
    /// It lives on the home shard.
    Home,
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
    /// By the values of `columns`, through the keyspace of this name: a column for each of the key's.
    Sharded {
        keyspace: String,
        columns: Vec<String>,
    },
    Reference,
    /// All rows are on one shard.
    Single(ShardId),
}

/// [`Distribution`] with the keyspace's name resolved to its place.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Role {
    Sharded { keyspace: usize, columns: Vec<String> },
    Reference,
    Single(ShardId),
}

/// What the map says of one table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement<'m> {
    /// Each row is on the shard that owns its values of `columns`, in the order of the keyspace's key.
    Sharded { keyspace: &'m Keyspace, columns: &'m [String] },
    /// Every shard holds every row.
    Reference,
    /// One shard holds every row.
    Single(ShardId),
    /// The map does not know the table.
    Unmapped,
}

/// The shard that answers what concerns no shard.
const HOME: ShardId = ShardId(0);

impl ShardMap {
    /// Puts a map together.
    ///
    /// # Errors
    /// [`Kind::InvalidValue`] when there is no shard, a name is given twice, a table names an unknown keyspace or gives
    /// it another number of columns than its key has, or something is on a shard that does not exist.
    pub fn new(epoch: Epoch, shards: Vec<String>, keyspaces: Vec<Keyspace>, tables: Vec<Table>) -> Result<Self> {
        if shards.is_empty() || shards.len() > usize::from(u16::MAX) {
            return Err(invalid(format!("a shard map needs 1 to {} shards, not {}", u16::MAX, shards.len())));
        }
        check_unique("shard", shards.iter())?;
        check_unique("keyspace", keyspaces.iter().map(|keyspace| &keyspace.name))?;
        keyspaces.iter().try_for_each(|keyspace| check_shards(&keyspace.name, &keyspace.shards(), shards.len()))?;
        if keyspaces.iter().filter(|keyspace| matches!(keyspace.method, Method::Schemas(_))).count() > 1 {
            return Err(invalid("there is more than one keyspace of schemas".to_owned()));
        }
        // Their number was checked above.
        let members = (0..u16::try_from(shards.len()).unwrap_or(u16::MAX)).map(ShardId).collect();
        let unmapped = UnmappedTables::default();
        let mut map = Self { epoch, shards, members, keyspaces, unmapped, tables: BTreeMap::new() };
        tables.into_iter().try_for_each(|table| map.add(table))?;
        Ok(map)
    }

    /// The same map with another rule for tables that it does not name.
    #[must_use]
    pub fn with_unmapped_tables(self, unmapped: UnmappedTables) -> Self {
        Self { unmapped, ..self }
    }

    /// The same map as a version of its own.
    #[must_use]
    pub fn with_epoch(self, epoch: Epoch) -> Self {
        Self { epoch, ..self }
    }

    fn add(&mut self, table: Table) -> Result<()> {
        let Table { schema, name, distribution } = table;
        let role = match distribution {
            Distribution::Reference => Role::Reference,
            Distribution::Single(shard) => {
                check_shards(&format!("{schema}.{name}"), &[shard], self.shards.len())?;
                Role::Single(shard)
            }
            Distribution::Sharded { keyspace, columns } => {
                let index = self.keyspace_index(&keyspace);
                let index = index
                    .ok_or_else(|| invalid(format!("table {schema}.{name} names the unknown keyspace {keyspace}")))?;
                self.check_columns(&format!("{schema}.{name}"), &self.keyspaces[index], &columns)?;
                Role::Sharded { keyspace: index, columns }
            }
        };
        let message = format!("table {schema}.{name} is given twice");
        match self.tables.entry(schema).or_default().insert(name, role) {
            None => Ok(()),
            Some(_) => Err(invalid(message)),
        }
    }

    fn check_columns(&self, table: &str, keyspace: &Keyspace, columns: &[String]) -> Result<()> {
        if matches!(keyspace.method, Method::Schemas(_)) {
            let name = &keyspace.name;
            return Err(invalid(format!("table {table} cannot be sharded by keyspace {name}, whose keys are schemas")));
        }
        check_unique(&format!("in the key of table {table}, column"), columns.iter())?;
        let (needed, given) = (keyspace.key.len(), columns.len());
        if needed != given {
            let name = &keyspace.name;
            return Err(invalid(format!(
                "table {table} gives {given} key column{}, keyspace {name} has {needed}",
                if given == 1 { "" } else { "s" }
            )));
        }
        Ok(())
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

    /// The name of a shard.
    pub fn shard_name(&self, shard: ShardId) -> &str {
        self.shards.get(shard.index()).map_or("?", String::as_str)
    }

    /// The id of a shard.
    pub fn shard_named(&self, name: &str) -> Option<ShardId> {
        let index = self.shards.iter().position(|shard| shard == name)?;
        u16::try_from(index).ok().map(ShardId)
    }

    /// The shards that take part, in order.
    pub fn shard_ids(&self) -> impl Iterator<Item = ShardId> + use<'_> {
        self.members.iter().copied()
    }

    /// The same map with one more shard taking part.
    #[must_use]
    pub fn with_member(mut self, shard: ShardId) -> Self {
        self.members.push(shard);
        self.members.sort_unstable();
        self.members.dedup();
        self
    }

    /// The same map with its shards numbered as in `names`. Shards that it does not have take no part.
    ///
    /// # Errors
    /// [`Kind::UnknownObject`] when `names` lacks a shard that takes part, or begins with one that does not.
    pub fn numbered_by(mut self, names: &[String]) -> Result<Self> {
        let mut members = Vec::with_capacity(self.members.len());
        let mut numbers = BTreeMap::new();
        for member in &self.members {
            let name = self.shard_name(*member);
            let index = names.iter().position(|other| other == name).ok_or_else(|| unknown_shard(name))?;
            let number = ShardId(u16::try_from(index).map_err(|_| unknown_shard(name))?);
            numbers.insert(*member, number);
            members.push(number);
        }
        members.sort_unstable();
        if members.first() != Some(&HOME) {
            let first = names.first().map_or("", String::as_str);
            return Err(Error::new(
                Origin::Catalog,
                Kind::UnknownObject,
                format!("shard {first} cannot be the first yet"),
            )
            .detail("The first shard of a database answers what concerns no shard, and this one takes no part.")
            .hint("Name it last in weir.toml."));
        }
        let renumber = |shard: &mut ShardId| *shard = numbers.get(shard).copied().unwrap_or(*shard);
        self.keyspaces.iter_mut().for_each(|keyspace| keyspace.method.for_each_shard(&renumber));
        for role in self.tables.values_mut().flat_map(BTreeMap::values_mut) {
            if let Role::Single(shard) = role {
                renumber(shard);
            }
        }
        Ok(Self { shards: names.to_vec(), members, ..self })
    }

    pub fn keyspaces(&self) -> &[Keyspace] {
        &self.keyspaces
    }

    pub fn keyspace(&self, name: &str) -> Option<&Keyspace> {
        self.keyspaces.iter().find(|keyspace| keyspace.name == name)
    }

    pub fn unmapped_tables(&self) -> UnmappedTables {
        self.unmapped
    }

    /// Every entry of every directory.
    pub fn entries(&self) -> impl Iterator<Item = (&Keyspace, &Key, ShardId)> {
        self.keyspaces.iter().flat_map(|keyspace| {
            let directory = keyspace.directory().into_iter();
            directory.flat_map(|directory| &directory.entries).map(move |(key, shard)| (keyspace, key, *shard))
        })
    }

    /// The same map with empty directories.
    #[must_use]
    pub fn without_entries(&self) -> Self {
        let mut map = self.clone();
        map.keyspaces.iter_mut().filter_map(Keyspace::directory_mut).for_each(|directory| directory.entries.clear());
        map
    }

    /// Adds an entry to a directory.
    ///
    /// # Errors
    /// [`Kind::InvalidValue`] when there is no such directory.
    pub fn add_entry(&mut self, keyspace: &str, key: Key, shard: ShardId) -> Result<()> {
        let found = self.keyspaces.iter_mut().find(|found| found.name == keyspace);
        let directory = found.and_then(Keyspace::directory_mut);
        let directory = directory.ok_or_else(|| invalid(format!("there is no directory {keyspace}")))?;
        directory.entries.insert(key, shard);
        Ok(())
    }

    /// What the map says of a table. Names are as PostgreSQL stores them: unquoted and folded.
    pub fn placement(&self, schema: &str, table: &str) -> Placement<'_> {
        match self.tables.get(schema).and_then(|tables| tables.get(table)) {
            Some(role) => self.resolve(role),
            None => self.placement_of_schema(schema),
        }
    }

    /// The keyspace whose keys are schemas.
    pub fn schemas(&self) -> Option<&Keyspace> {
        self.keyspaces.iter().find(|keyspace| matches!(keyspace.method, Method::Schemas(_)))
    }

    /// Where the tables of a schema are that the map does not name.
    fn placement_of_schema(&self, schema: &str) -> Placement<'_> {
        let key = [KeyValue::Text(schema.into())];
        let directory = self.schemas().and_then(Keyspace::directory);
        match (directory.and_then(|directory| directory.shard_of(&key)), self.unmapped) {
            (Some(shard), _) => Placement::Single(shard),
            (None, UnmappedTables::Home) => Placement::Single(HOME),
            (None, UnmappedTables::Refuse) => Placement::Unmapped,
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
            Role::Single(shard) => Placement::Single(*shard),
            // The index was taken from this very list, which never changes.
            Role::Sharded { keyspace, columns } => Placement::Sharded { keyspace: &self.keyspaces[*keyspace], columns },
        }
    }
}

impl Placement<'_> {
    /// The entry that says so; `None` for a table that has none.
    pub fn to_distribution(self) -> Option<Distribution> {
        match self {
            Self::Sharded { keyspace, columns } => {
                Some(Distribution::Sharded { keyspace: keyspace.name.clone(), columns: columns.to_vec() })
            }
            Self::Reference => Some(Distribution::Reference),
            Self::Single(shard) => Some(Distribution::Single(shard)),
            Self::Unmapped => None,
        }
    }
}

fn check_shards(what: &str, shards: &[ShardId], count: usize) -> Result<()> {
    match shards.iter().find(|shard| shard.index() >= count) {
        None => Ok(()),
        Some(shard) => Err(invalid(format!("{what} names shard {shard} of {count}"))),
    }
}

fn unknown_shard(name: &str) -> Error {
    Error::new(Origin::Catalog, Kind::UnknownObject, format!("the database has no shard {name}"))
        .detail("The catalog places rows on it.")
        .hint("Put the shard back into weir.toml, under the name that it had.")
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
