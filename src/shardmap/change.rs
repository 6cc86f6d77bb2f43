//! Changes of a shard map: each makes a new map of an old one, or says why it cannot.

use super::geo::{Key, Region, UnknownKey};
use super::hash::Hash;
use super::key::{KeyValue, Shown};
use super::keyspace::{Keyspace, Method};
use super::range::{Range, Ranges};
use super::{Distribution, Placement, ShardMap, Table, UnmappedTables, invalid};
use crate::types::{Error, Kind, Origin, Result, ShardId};

/// A change that an operator asks for. None of them moves a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    CreateKeyspace(Keyspace),
    DropKeyspace(String),
    /// A new entry of a directory.
    AddValue {
        keyspace: String,
        key: Key,
        shard: ShardId,
    },
    /// A directory loses an entry. No row has the key.
    DropValue {
        keyspace: String,
        key: Key,
    },
    /// An entry of a directory gets another key. No row has either.
    RenameValue {
        keyspace: String,
        key: Key,
        renamed: Key,
    },
    /// A range where none is yet.
    AddRange {
        keyspace: String,
        range: Range,
    },
    /// A region of a geo keyspace, over these shards.
    AddRegion {
        keyspace: String,
        value: KeyValue<'static>,
        resident: bool,
        shards: Vec<ShardId>,
    },
    /// Where the rows of a table are.
    Place(Table),
    /// The map no longer knows a table.
    Forget {
        schema: String,
        name: String,
    },
    /// An attached shard takes part.
    AddShard(ShardId),
    SetUnmappedTables(UnmappedTables),
}

impl ShardMap {
    /// The map after a change, with the same epoch.
    ///
    /// # Errors
    /// [`Kind::InvalidValue`] when the change would make no valid map or move rows, [`Kind::UnknownObject`] when it names
    /// what is not there.
    pub fn changed(&self, change: &Change) -> Result<Self> {
        match change {
            Change::CreateKeyspace(keyspace) => self.with_keyspace(keyspace),
            Change::DropKeyspace(name) => self.without_keyspace(name),
            Change::AddValue { keyspace, key, shard } => self.with_value(keyspace, key, *shard),
            Change::DropValue { keyspace, key } => self.without_value(keyspace, key).map(|(map, _)| map),
            Change::RenameValue { keyspace, key, renamed } => {
                let (map, shard) = self.without_value(keyspace, key)?;
                map.with_value(keyspace, renamed, shard)
            }
            Change::AddRange { keyspace, range } => self.with_method(keyspace, |method| add_range(method, range)),
            Change::AddRegion { keyspace, value, resident, shards } => {
                self.with_method(keyspace, |method| add_region(method, value, *resident, shards))
            }
            Change::Place(table) => self.with_table(table),
            Change::Forget { schema, name } => self.without_table(schema, name),
            Change::AddShard(shard) if self.members.contains(shard) => {
                Err(invalid(format!("shard {} takes part already", self.shard_name(*shard))))
            }
            Change::AddShard(shard) => Ok(self.clone().with_member(*shard)),
            Change::SetUnmappedTables(unmapped) => Ok(self.clone().with_unmapped_tables(*unmapped)),
        }
    }

    /// The entries of all tables.
    fn entries_of_tables(&self) -> Vec<Table> {
        let entry = |(schema, name, placement): (&str, &str, Placement<'_>)| {
            let distribution = placement.to_distribution()?;
            Some(Table { schema: schema.to_owned(), name: name.to_owned(), distribution })
        };
        // What is listed has an entry.
        self.tables().filter_map(entry).collect()
    }

    /// The same map with other keyspaces and tables, checked as a new one is.
    fn rebuilt(&self, keyspaces: Vec<Keyspace>, tables: Vec<Table>) -> Result<Self> {
        let strangers = keyspaces.iter().flat_map(Keyspace::shards).chain(tables.iter().filter_map(single_shard));
        if let Some(shard) = strangers.into_iter().find(|shard| !self.members.contains(shard)) {
            return Err(invalid(format!("shard {} does not take part yet", self.shard_name(shard)))
                .hint("ALTER DATABASE ... ADD SHARD makes it take part."));
        }
        let map = Self::new(self.epoch, self.shards.clone(), keyspaces, tables)?;
        Ok(Self { members: self.members.clone(), unmapped: self.unmapped, ..map })
    }

    fn with_keyspace(&self, keyspace: &Keyspace) -> Result<Self> {
        let keyspaces = self.keyspaces.iter().cloned().chain([keyspace.clone()]).collect();
        self.rebuilt(keyspaces, self.entries_of_tables())
    }

    fn without_keyspace(&self, name: &str) -> Result<Self> {
        let keyspace = self.known_keyspace(name)?;
        let is_used = |placement: &Placement<'_>| matches!(placement, Placement::Sharded { keyspace: used, .. } if used.name == keyspace.name);
        if let Some((schema, table, _)) = self.tables().find(|(.., placement)| is_used(placement)) {
            return Err(invalid(format!("keyspace {name} is in use"))
                .detail(format!("Table {schema}.{table} is sharded by it."))
                .hint("Give its tables another place first: ALTER TABLE ... FORGET."));
        }
        if keyspace.directory().is_some_and(|directory| !directory.entries.is_empty())
            && matches!(keyspace.method, Method::Schemas(_))
        {
            return Err(invalid(format!("keyspace {name} is in use")).detail("Its directory places schemas on shards."));
        }
        let keyspaces = self.keyspaces.iter().filter(|keyspace| keyspace.name != name).cloned().collect();
        self.rebuilt(keyspaces, self.entries_of_tables())
    }

    fn known_keyspace(&self, name: &str) -> Result<&Keyspace> {
        self.keyspace(name).ok_or_else(|| unknown(format!("there is no keyspace {name}")))
    }

    fn with_method(&self, name: &str, change: impl FnOnce(&mut Method) -> Result<()>) -> Result<Self> {
        let mut keyspaces = self.keyspaces.clone();
        let found = keyspaces.iter_mut().find(|keyspace| keyspace.name == name);
        change(&mut found.ok_or_else(|| unknown(format!("there is no keyspace {name}")))?.method)?;
        self.rebuilt(keyspaces, self.entries_of_tables())
    }

    fn with_value(&self, name: &str, key: &Key, shard: ShardId) -> Result<Self> {
        let keyspace = self.known_keyspace(name)?;
        let directory = keyspace.directory().ok_or_else(|| invalid(format!("keyspace {name} is no directory")))?;
        if let UnknownKey::Default(default) = directory.unknown {
            return Err(invalid(format!("key value {} has a shard already", Shown(key))).detail(format!(
                "It belongs to the default shard, {}, which may have rows with it.",
                self.shard_name(default)
            )));
        }
        if let Some(owner) = directory.entries.get(key) {
            return Err(invalid(format!("key value {} has a shard already", Shown(key)))
                .detail(format!("It belongs to shard {}.", self.shard_name(*owner))));
        }
        self.with_method(name, |method| {
            if let Method::Directory(directory) | Method::Schemas(directory) = method {
                directory.entries.insert(key.clone(), shard);
            }
            Ok(())
        })
    }

    /// The map without an entry, and the shard that it named.
    fn without_value(&self, name: &str, key: &Key) -> Result<(Self, ShardId)> {
        let shard = self.entry(name, key)?;
        let map = self.with_method(name, |method| {
            if let Method::Directory(directory) | Method::Schemas(directory) = method {
                directory.entries.remove(key);
            }
            Ok(())
        })?;
        Ok((map, shard))
    }

    /// The shard of a directory's entry.
    ///
    /// # Errors
    /// There is no such directory or entry.
    pub fn entry(&self, name: &str, key: &Key) -> Result<ShardId> {
        let keyspace = self.known_keyspace(name)?;
        let directory = keyspace.directory().ok_or_else(|| invalid(format!("keyspace {name} is no directory")))?;
        directory.entries.get(key).copied().ok_or_else(|| {
            unknown(format!("key value {} has no entry in keyspace {name}", Shown(key)))
                .hint("SHOW SHARD MAP lists them.")
        })
    }

    fn with_table(&self, table: &Table) -> Result<Self> {
        let is_other = |known: &Table| known.schema != table.schema || known.name != table.name;
        let others = self.entries_of_tables().into_iter().filter(is_other);
        self.rebuilt(self.keyspaces.clone(), others.chain([table.clone()]).collect())
    }

    fn without_table(&self, schema: &str, name: &str) -> Result<Self> {
        let mut tables = self.entries_of_tables();
        let before = tables.len();
        tables.retain(|known| known.schema != schema || known.name != name);
        if tables.len() == before {
            return Err(unknown(format!("table {schema}.{name} is not in the shard map")));
        }
        self.rebuilt(self.keyspaces.clone(), tables)
    }
}

fn single_shard(table: &Table) -> Option<ShardId> {
    match table.distribution {
        Distribution::Single(shard) => Some(shard),
        Distribution::Sharded { .. } | Distribution::Reference => None,
    }
}

fn add_range(method: &mut Method, range: &Range) -> Result<()> {
    let Method::Range(ranges) = method else { return Err(invalid("the keyspace has no ranges".to_owned())) };
    *ranges = Ranges::new(ranges.iter().cloned().chain([range.clone()]).collect())?;
    Ok(())
}

fn add_region(method: &mut Method, value: &KeyValue<'static>, resident: bool, shards: &[ShardId]) -> Result<()> {
    let Method::Geo(geo) = method else { return Err(invalid("the keyspace has no regions".to_owned())) };
    if geo.region(value).is_some() {
        return Err(invalid(format!("region {value} is there already")));
    }
    let buckets = geo.regions.first().map_or(super::BUCKETS_DEFAULT, |region| region.hash.placement().len());
    let hash = Hash::even(geo.function, buckets, shards)?;
    geo.regions.push(Region { value: value.clone(), resident, hash });
    Ok(())
}

fn unknown(message: String) -> Error {
    Error::new(Origin::Client, Kind::UnknownObject, message)
}
