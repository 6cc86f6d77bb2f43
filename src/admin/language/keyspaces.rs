//! CREATE KEYSPACE and ALTER KEYSPACE.

use std::collections::BTreeMap;

use super::reader::Reader;
use crate::shardmap::{
    BUCKETS_DEFAULT, Bound, Change, Directory, Geo, Hash, HashFunction, KeyType, Keyspace, Method, Range, Ranges,
    Region, ShardMap, UnknownKey,
};
use crate::types::{Error, Kind, Origin, Result, ShardId};

/// Behind CREATE KEYSPACE.
pub(super) fn create(reader: &mut Reader, map: &ShardMap) -> Result<Change> {
    let name = reader.name("the name of a keyspace")?;
    let (key, method) = if reader.words(&["HASH"]) {
        hash(reader, map)?
    } else if reader.words(&["RANGE"]) {
        ranges(reader, map)?
    } else if reader.words(&["DIRECTORY"]) {
        directory(reader, map)?
    } else if reader.words(&["GEO"]) {
        geo(reader, map)?
    } else {
        return Err(reader.wrong("HASH, RANGE, DIRECTORY or GEO"));
    };
    Ok(Change::CreateKeyspace(Keyspace { name, key, method }))
}

/// Behind ALTER KEYSPACE.
pub(super) fn alter(reader: &mut Reader, map: &ShardMap) -> Result<Change> {
    let name = reader.name("the name of a keyspace")?;
    let keyspace = map.keyspace(&name).ok_or_else(|| {
        Error::new(Origin::Client, Kind::UnknownObject, format!("there is no keyspace {name}"))
            .hint("SHOW KEYSPACES lists them.")
    })?;
    if reader.words(&["ADD", "VALUE"]) {
        let key = reader.key(&keyspace.key, false)?;
        reader.expect("ON")?;
        return Ok(Change::AddValue { keyspace: name, key, shard: reader.shard(map)? });
    }
    if reader.words(&["DROP", "VALUE"]) {
        return Ok(Change::DropValue { keyspace: name, key: reader.key(&keyspace.key, false)? });
    }
    if reader.words(&["RENAME", "VALUE"]) {
        let key = reader.key(&keyspace.key, false)?;
        reader.expect("TO")?;
        return Ok(Change::RenameValue { keyspace: name, key, renamed: reader.key(&keyspace.key, false)? });
    }
    if reader.words(&["ADD", "RANGE"]) {
        return Ok(Change::AddRange { keyspace: name, range: range(reader, &keyspace.key, map)? });
    }
    if reader.words(&["ADD", "REGION"]) {
        let region_type = keyspace.key.first().copied().unwrap_or(KeyType::Text);
        let value = reader.value(region_type)?;
        let resident = reader.words(&["RESIDENT"]);
        reader.expect("ON")?;
        let shards = reader.list(|reader| reader.shard(map))?;
        return Ok(Change::AddRegion { keyspace: name, value, resident, shards });
    }
    Err(reader.wrong("ADD VALUE, DROP VALUE, RENAME VALUE, ADD RANGE or ADD REGION"))
}

/// `(type, ...)`
fn types(reader: &mut Reader) -> Result<Vec<KeyType>> {
    reader.list(|reader| {
        let before = reader.clone();
        let name = reader.name("a type")?;
        KeyType::from_name(&name).ok_or_else(|| {
            let known = KeyType::ALL.map(KeyType::name).join(", ");
            before.wrong(&format!("a type that keys may have ({known})"))
        })
    })
}

fn check(key: &[KeyType], what: &str, fits: impl Fn(KeyType) -> bool) -> Result<()> {
    match key.iter().find(|key_type| !fits(**key_type)) {
        None => Ok(()),
        Some(key_type) => Err(invalid(format!("keys of type {key_type} cannot be {what}")).hint("Use a DIRECTORY.")),
    }
}

fn hash(reader: &mut Reader, map: &ShardMap) -> Result<(Vec<KeyType>, Method)> {
    let key = types(reader)?;
    check(&key, "hashed", KeyType::can_be_hashed)?;
    let buckets = buckets(reader)?;
    let function = function(reader, &key)?;
    let owners =
        if reader.words(&["ON"]) { reader.list(|reader| reader.shard(map))? } else { map.shard_ids().collect() };
    Ok((key, Method::Hash(Hash::even(function, buckets, &owners)?)))
}

fn buckets(reader: &mut Reader) -> Result<usize> {
    if reader.words(&["BUCKETS"]) { reader.count() } else { Ok(BUCKETS_DEFAULT) }
}

fn function(reader: &mut Reader, key: &[KeyType]) -> Result<HashFunction> {
    if !reader.words(&["FUNCTION"]) {
        return Ok(HashFunction::default());
    }
    let before = reader.clone();
    let name = reader.name("a function")?;
    let function = HashFunction::from_name(&name).ok_or_else(|| before.wrong("postgres or xxh3"))?;
    if !function.is_defined_for(key) {
        return Err(invalid(format!("function {name} is not defined for such keys")));
    }
    Ok(function)
}

fn ranges(reader: &mut Reader, map: &ShardMap) -> Result<(Vec<KeyType>, Method)> {
    let key = types(reader)?;
    check(&key, "ranged", KeyType::can_be_ranged)?;
    let ranges = reader.list(|reader| range(reader, &key, map))?;
    Ok((key, Method::Range(Ranges::new(ranges)?)))
}

/// `FROM bound TO bound ON shard`
fn range(reader: &mut Reader, key: &[KeyType], map: &ShardMap) -> Result<Range> {
    reader.expect("FROM")?;
    let from = bound(reader, key)?;
    reader.expect("TO")?;
    let to = bound(reader, key)?;
    reader.expect("ON")?;
    Ok(Range { from, to, shard: reader.shard(map)? })
}

fn bound(reader: &mut Reader, key: &[KeyType]) -> Result<Bound> {
    if reader.words(&["MINVALUE"]) {
        return Ok(Bound::MinValue);
    }
    if reader.words(&["MAXVALUE"]) {
        return Ok(Bound::MaxValue);
    }
    reader.key(key, true).map(Bound::Key)
}

fn directory(reader: &mut Reader, map: &ShardMap) -> Result<(Vec<KeyType>, Method)> {
    let schemas = reader.words(&["SCHEMA"]);
    let key = if schemas { vec![KeyType::Text] } else { types(reader)? };
    let mut entries = BTreeMap::new();
    while reader.words(&["VALUES"]) {
        let keys = reader.list(|reader| reader.key(&key, false))?;
        reader.expect("ON")?;
        let shard = reader.shard(map)?;
        for value in keys {
            if entries.insert(value, shard).is_some() {
                return Err(invalid("a value is given twice".to_owned()));
            }
        }
    }
    let unknown = unknown(reader, map)?;
    match (schemas, unknown) {
        (true, UnknownKey::Default(_)) => Err(invalid("a keyspace of schemas has no default shard".to_owned())),
        (true, unknown) => Ok((key, Method::Schemas(Directory { entries, unknown }))),
        (false, unknown) => Ok((key, Method::Directory(Directory { entries, unknown }))),
    }
}

/// `UNKNOWN REFUSE`, `UNKNOWN ASSIGN [ON (shard, ...)]` or `UNKNOWN ON shard`; nothing is REFUSE.
fn unknown(reader: &mut Reader, map: &ShardMap) -> Result<UnknownKey> {
    if reader.words(&["UNKNOWN", "ASSIGN"]) {
        let shards: Vec<ShardId> =
            if reader.words(&["ON"]) { reader.list(|reader| reader.shard(map))? } else { map.shard_ids().collect() };
        return Ok(UnknownKey::Assign(shards));
    }
    if reader.words(&["UNKNOWN", "ON"]) {
        return reader.shard(map).map(UnknownKey::Default);
    }
    if reader.words(&["UNKNOWN"]) {
        reader.expect("REFUSE")?;
    }
    Ok(UnknownKey::Refuse)
}

fn geo(reader: &mut Reader, map: &ShardMap) -> Result<(Vec<KeyType>, Method)> {
    let key = types(reader)?;
    let Some((region_type, rest)) = key.split_first().filter(|(_, rest)| !rest.is_empty()) else {
        return Err(invalid("a geo keyspace needs the type of the region and those of the key".to_owned()));
    };
    if !matches!(region_type, KeyType::Text | KeyType::Varchar | KeyType::Enum | KeyType::Bool) {
        return Err(invalid(format!("a region cannot have type {region_type}"))
            .hint("The first type is the region's: text, varchar, enum or bool."));
    }
    check(rest, "hashed", KeyType::can_be_hashed)?;
    let buckets = buckets(reader)?;
    let function = function(reader, rest)?;
    let regions = reader.list(|reader| {
        reader.expect("REGION")?;
        let value = reader.value(*region_type)?;
        let resident = reader.words(&["RESIDENT"]);
        reader.expect("ON")?;
        let shards = reader.list(|reader| reader.shard(map))?;
        Ok(Region { value, resident, hash: Hash::even(function, buckets, &shards)? })
    })?;
    let twice = regions
        .iter()
        .enumerate()
        .any(|(place, region)| regions.iter().take(place).any(|earlier| earlier.value == region.value));
    if twice {
        return Err(invalid("a region is given twice".to_owned()));
    }
    Ok((key, Method::Geo(Geo { function, regions })))
}

fn invalid(message: String) -> Error {
    Error::new(Origin::Client, Kind::InvalidValue, message)
}
