//! Keyspaces: the one way from a key to a shard, whatever the method.

use super::geo::{Directory, Geo, Key};
use super::hash::Hash;
use super::key::{KeyType, KeyValue, Shown};
use super::range::{End, Ranges};
use crate::types::{Error, Kind, Origin, Result, ShardId};

/// Combinations of values of a key's columns that are looked up one by one; more need every shard.
const COMBINATIONS_MAX: usize = 4096;

/// A sharding scheme.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyspace {
    pub name: String,
    /// The types of the key's columns, in order: that of the region first in a geo keyspace, none in a keyspace of
    /// schemas.
    pub key: Vec<KeyType>,
    pub method: Method,
}

/// How a key leads to a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Method {
    Hash(Hash),
    Range(Ranges),
    Directory(Directory),
    Geo(Geo),
    /// A directory whose key is the name of the schema that a table is in: each tenant has a schema.
    Schemas(Directory),
}

/// What is known of the values that one column of the key has in the rows that matter.
#[derive(Clone, Debug)]
pub enum Known<'k> {
    /// Nothing: it may have any value.
    Any,
    /// It has one of these. None at all: no row matters.
    OneOf(Vec<KeyValue<'k>>),
    /// It lies between these ends.
    Between(ColumnEnd<'k>, ColumnEnd<'k>),
}

/// An end of an interval of a column's values.
#[derive(Clone, Debug)]
pub enum ColumnEnd<'k> {
    Open,
    Included(KeyValue<'k>),
    Excluded(KeyValue<'k>),
}

/// Where the rows are that match what is known of a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owners {
    /// In ascending order. None at all: no row matches.
    pub shards: Vec<ShardId>,
    /// Keys that no shard owns, so that no row has them, if the map is not older than the rows.
    pub unowned: Vec<Key>,
}

impl Keyspace {
    /// Whether rows of some region must stay on its shards; the key's first column says which region a row is of.
    pub fn has_residents(&self) -> bool {
        matches!(&self.method, Method::Geo(geo) if geo.regions.iter().any(|region| region.resident))
    }

    /// The shard that owns a key, given by a value for each of its columns.
    ///
    /// # Errors
    /// - [`Kind::InvalidValue`]: no shard owns the key (a gap between ranges, no entry in a directory, no such region).
    /// - [`Kind::Internal`]: the values are not of the key's types.
    pub fn shard_of(&self, key: &[KeyValue<'_>]) -> Result<ShardId> {
        self.find(key)?.ok_or_else(|| self.unowned(key))
    }

    /// The shards that can hold rows with what is `known` of each column of their key, in the key's order.
    ///
    /// # Errors
    /// [`Kind::Internal`] as in [`Keyspace::shard_of`].
    pub fn owners(&self, known: &[Known<'_>]) -> Result<Owners> {
        let columns: Vec<Option<&[KeyValue<'_>]>> = known.iter().map(Known::values).collect();
        let combinations = columns.iter().try_fold(1_usize, |product, values| product.checked_mul((*values)?.len()));
        let mut owners = match combinations {
            Some(0..=COMBINATIONS_MAX) => self.owners_of_each(&columns)?,
            Some(_) | None => Owners { shards: self.owners_of_part(known), unowned: Vec::new() },
        };
        owners.shards.sort_unstable();
        owners.shards.dedup();
        Ok(owners)
    }

    /// Every shard that owns some key, in ascending order.
    pub fn shards(&self) -> Vec<ShardId> {
        let mut shards = self.method.shards();
        shards.sort_unstable();
        shards.dedup();
        shards
    }

    /// The directory of a keyspace whose keys are looked up.
    pub fn directory(&self) -> Option<&Directory> {
        match &self.method {
            Method::Directory(directory) | Method::Schemas(directory) => Some(directory),
            Method::Hash(_) | Method::Range(_) | Method::Geo(_) => None,
        }
    }

    pub(super) fn directory_mut(&mut self) -> Option<&mut Directory> {
        match &mut self.method {
            Method::Directory(directory) | Method::Schemas(directory) => Some(directory),
            Method::Hash(_) | Method::Range(_) | Method::Geo(_) => None,
        }
    }

    /// Whether the keyspace has an entry of its own for a key.
    pub fn has_entry(&self, key: &[KeyValue<'_>]) -> bool {
        self.directory().is_some_and(|directory| directory.entries.contains_key(key))
    }

    /// The owner of a key, if it has one.
    fn find(&self, key: &[KeyValue<'_>]) -> Result<Option<ShardId>> {
        let fits = self.key.len() == key.len() && self.key.iter().zip(key).all(|(of, value)| of.admits(value));
        if !fits {
            return Err(Error::internal(format!("a key of keyspace {} has another type", self.name))
                .detail(format!("The keyspace has keys of type {}.", self.type_names())));
        }
        match (&self.method, key) {
            (Method::Hash(hash), key) => hash.shard_of(key).map(Some),
            (Method::Range(ranges), key) => Ok(ranges.shard_of(key)),
            (Method::Directory(directory) | Method::Schemas(directory), key) => Ok(directory.shard_of(key)),
            (Method::Geo(geo), [region, key @ ..]) => {
                geo.region(region).map(|region| region.hash.shard_of(key)).transpose()
            }
            (Method::Geo(_), []) => Err(Error::internal("a geo keyspace without a region column")),
        }
    }

    fn owners_of_each(&self, columns: &[Option<&[KeyValue<'_>]>]) -> Result<Owners> {
        let mut owners = Owners::default();
        for key in combinations(columns) {
            match self.find(&key)? {
                Some(shard) => owners.shards.push(shard),
                None => owners.unowned.push(key.into_iter().map(KeyValue::into_owned).collect()),
            }
        }
        Ok(owners)
    }

    /// The owners where only a part of the key is known.
    fn owners_of_part(&self, known: &[Known<'_>]) -> Vec<ShardId> {
        match (&self.method, known) {
            (_, known) if known.iter().any(|column| matches!(column, Known::OneOf(values) if values.is_empty())) => {
                Vec::new()
            }
            (Method::Range(ranges), [Known::OneOf(values), ..]) => {
                values.iter().flat_map(|value| ranges.shards_of_prefix(std::slice::from_ref(value))).collect()
            }
            (Method::Range(ranges), [Known::Between(from, to), ..]) => {
                ranges.shards_between(from.end(), to.end()).collect()
            }
            (Method::Geo(geo), [Known::OneOf(regions), ..]) => {
                let regions = regions.iter().filter_map(|value| geo.region(value));
                regions.flat_map(|region| region.hash.placement()).copied().collect()
            }
            (Method::Hash(_) | Method::Range(_) | Method::Directory(_) | Method::Geo(_) | Method::Schemas(_), _) => {
                self.method.shards()
            }
        }
    }

    fn unowned(&self, key: &[KeyValue<'_>]) -> Error {
        let key = Shown(key);
        let (detail, hint) = match &self.method {
            Method::Hash(_) | Method::Range(_) => (
                format!("Key value {key} is in none of the keyspace's ranges."),
                "An operator can add a range on the console.",
            ),
            Method::Directory(_) | Method::Schemas(_) => (
                format!("Key value {key} has no entry in the keyspace's directory."),
                "An operator can add it on the console: ALTER KEYSPACE ... ADD VALUE.",
            ),
            Method::Geo(_) => (
                format!("The region of {key} is none of the keyspace's."),
                "An operator can add a region on the console.",
            ),
        };
        let message = format!("no shard of keyspace {} holds the key", self.name);
        Error::new(Origin::Client, Kind::InvalidValue, message).detail(detail).hint(hint)
    }

    /// The types of the key's columns, separated by commas.
    pub fn type_names(&self) -> String {
        self.key.iter().map(|key_type| key_type.name()).collect::<Vec<_>>().join(", ")
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
            Self::Schemas(_) => "schema",
        }
    }

    /// Changes every shard that the method names.
    pub(super) fn for_each_shard(&mut self, change: &impl Fn(&mut ShardId)) {
        match self {
            Self::Hash(hash) => hash.for_each_shard(change),
            Self::Range(ranges) => ranges.for_each_shard(change),
            Self::Directory(directory) | Self::Schemas(directory) => directory.for_each_shard(change),
            Self::Geo(geo) => geo.regions.iter_mut().for_each(|region| region.hash.for_each_shard(change)),
        }
    }

    /// Every shard that the method can lead to, with repetitions.
    fn shards(&self) -> Vec<ShardId> {
        match self {
            Self::Hash(hash) => hash.placement().to_vec(),
            Self::Range(ranges) => ranges.iter().map(|range| range.shard).collect(),
            Self::Directory(directory) | Self::Schemas(directory) => directory.shards(),
            Self::Geo(geo) => geo.regions.iter().flat_map(|region| region.hash.placement()).copied().collect(),
        }
    }
}

impl<'k> Known<'k> {
    /// The values, if it is known to have one of several.
    fn values(&self) -> Option<&[KeyValue<'k>]> {
        match self {
            Self::OneOf(values) => Some(values),
            Self::Any | Self::Between(..) => None,
        }
    }
}

impl<'k> ColumnEnd<'k> {
    fn end(&'k self) -> End<'k> {
        match self {
            Self::Open => End::Open,
            Self::Included(value) => End::Included(std::slice::from_ref(value)),
            Self::Excluded(value) => End::Excluded(std::slice::from_ref(value)),
        }
    }
}

/// Every way to take one value of each column. Columns of which nothing is known have no values here.
fn combinations<'k>(columns: &[Option<&[KeyValue<'k>]>]) -> Vec<Vec<KeyValue<'k>>> {
    columns.iter().fold(vec![Vec::new()], |keys, values| {
        let values = values.unwrap_or_default();
        let extend = |key: Vec<KeyValue<'k>>| {
            values.iter().map(move |value| key.iter().chain([value]).cloned().collect::<Vec<_>>())
        };
        keys.into_iter().flat_map(extend).collect()
    })
}
