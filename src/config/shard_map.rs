//! Reads a shard map file: keyspaces with their first placement, and tables.

use std::collections::BTreeMap;
use std::path::Path;

use toml::Spanned;
use toml::de::DeValue;

use crate::shardmap::{
    BUCKETS_DEFAULT, BUCKETS_MAX, Bound, Directory, Distribution, Geo, Hash, HashFunction, KeyType, KeyValue, Keyspace,
    Method, Range, Ranges, Region, ShardMap, Table, UnknownValue,
};
use crate::types::{Epoch, ShardId};

use super::mistake::{File, Mistakes};
use super::section::{Located, Section, Wrong, boolean, count, described, did_you_mean, name, read_list, string, word};
use super::settings::{Read, open, parse, report_repeated};

/// The epoch of a map that no catalog has changed yet.
const EPOCH_FIRST: Epoch = Epoch(1);

/// The schema of a table whose name has none.
const SCHEMA_DEFAULT: &str = "public";

#[derive(Clone, Copy)]
enum MethodName {
    Hash,
    Range,
    Directory,
    Geo,
}

const METHODS: &[(&str, MethodName)] = &[
    ("hash", MethodName::Hash),
    ("range", MethodName::Range),
    ("directory", MethodName::Directory),
    ("geo", MethodName::Geo),
];

const HASH_FUNCTIONS: &[(&str, HashFunction)] = &[("postgres", HashFunction::Postgres), ("xxh3", HashFunction::Xxh3)];

/// Reads a file on its own, its shards being those that it lists.
pub(super) fn read_alone(path: &Path, read_text: Read<'_>, mistakes: &Mistakes) -> Option<ShardMap> {
    read(&open(path, read_text, mistakes)?, None)
}

/// Reads a shard map. `shards` are the database's, in order; a file that is read on its own lists them itself.
/// The result may be used only when no mistake was recorded.
pub(super) fn read(file: &File<'_>, shards: Option<Vec<String>>) -> Option<ShardMap> {
    let table = parse(file);
    let mut root = Section::new(file, table.get_ref(), 0..0, "the shard map");
    let shards = read_shards(&mut root, shards);
    let sections = root.take_section("keyspaces", "[keyspaces]").named_sections(|name| format!("[keyspaces.{name}]"));
    let names: Vec<&str> = sections.iter().map(|(name, _)| name.value).collect();
    let tables = read_tables(&mut root, &names);
    let keyspaces = all(sections.into_iter().map(|(name, section)| read_keyspace(name.value, section, &shards)));
    let map = keyspaces.zip(tables).map(|(keyspaces, tables)| ShardMap::new(EPOCH_FIRST, shards, keyspaces, tables));
    let map = map.and_then(|map| complain(&root, map));
    root.finish();
    map
}

/// The database's shards, which a list in the file must equal.
fn read_shards(root: &mut Section<'_>, database: Option<Vec<String>>) -> Vec<String> {
    let listed = root.take_filled_list("shards", name);
    report_repeated(root.file, "shard", listed.iter().flatten().map(|shard| (shard.value.as_str(), shard.offset)));
    let offset = listed.iter().flatten().map(|shard| shard.offset).next().unwrap_or(0);
    let listed: Option<Vec<_>> = listed.map(|listed| listed.into_iter().map(|shard| shard.value).collect());
    match (listed, database) {
        (None, None) => {
            if !root.has("shards") {
                root.missing("shards");
            }
            Vec::new()
        }
        (Some(shards), None) | (None, Some(shards)) => shards,
        (Some(listed), Some(database)) => {
            if listed != database {
                let message = format!("shards: the database has the shards {}, in this order", database.join(", "));
                root.file.mistake(offset, message, None);
            }
            database
        }
    }
}

/// `None` when some table cannot be read.
fn read_tables(root: &mut Section<'_>, keyspaces: &[&str]) -> Option<Vec<Table>> {
    let sections = root.take_section("tables", "[tables]").named_sections(|name| format!("[tables.{name}]"));
    let names: Vec<String> = sections
        .iter()
        .map(|(name, _)| split_name(name.value))
        .map(|(schema, name)| format!("{schema}.{name}"))
        .collect();
    let offsets = sections.iter().map(|(name, _)| name.offset);
    report_repeated(root.file, "table", names.iter().map(String::as_str).zip(offsets));
    all(sections.into_iter().map(|(name, section)| read_table(name.value, section, keyspaces)))
}

fn read_table(full_name: &str, mut section: Section<'_>, keyspaces: &[&str]) -> Option<Table> {
    let (schema, name) = split_name(full_name);
    if schema.is_empty() || name.is_empty() || name.contains('.') {
        section.mistake(format!("{full_name:?} is not a table's name, expected \"table\" or \"schema.table\""));
    }
    let distribution = read_distribution(&mut section, keyspaces);
    section.finish();
    Some(Table { schema: schema.to_owned(), name: name.to_owned(), distribution: distribution? })
}

/// Schema and name of `table` or `schema.table`.
fn split_name(full_name: &str) -> (&str, &str) {
    full_name.split_once('.').unwrap_or((SCHEMA_DEFAULT, full_name))
}

fn read_distribution(section: &mut Section<'_>, keyspaces: &[&str]) -> Option<Distribution> {
    let reference = section.take("reference", boolean).unwrap_or(false);
    let keyspace = section.take_located("keyspace", name);
    let key = section.take("key", name);
    if reference {
        if section.has("keyspace") || section.has("key") {
            section.mistake("a reference table has neither keyspace nor key: every shard holds all of it");
        }
        return Some(Distribution::Reference);
    }
    for required in ["keyspace", "key"].into_iter().filter(|required| !section.has(required)) {
        section.missing(required);
    }
    let keyspace = keyspace?;
    if !keyspaces.contains(&keyspace.value.as_str()) {
        let hint = did_you_mean(&keyspace.value, keyspaces.iter().copied());
        section.file.mistake(keyspace.offset, format!("there is no keyspace {}", keyspace.value), hint);
    }
    Some(Distribution::Sharded { keyspace: keyspace.value, column: key? })
}

fn read_keyspace(keyspace_name: &str, mut section: Section<'_>, shards: &[String]) -> Option<Keyspace> {
    let method = section.require("method", word(METHODS));
    let key_type = section.require("key_type", key_type);
    // Which settings there may be depends on the method, and what their values mean on the type.
    let (method, key_type) = (method?.value, key_type?.value);
    let method = match method {
        MethodName::Hash => read_hash(&mut section, key_type, shards).map(Method::Hash),
        MethodName::Range => read_ranges(&mut section, key_type, shards).map(Method::Range),
        MethodName::Directory => Some(Method::Directory(read_directory(&mut section, key_type, shards))),
        MethodName::Geo => read_geo(&mut section, key_type, shards).map(Method::Geo),
    };
    section.finish();
    Some(Keyspace { name: keyspace_name.to_owned(), key_type, method: method? })
}

fn key_type(value: &DeValue<'_>) -> Result<KeyType, Wrong> {
    let given = string(value)?;
    let known = || KeyType::ALL.into_iter().map(KeyType::name);
    KeyType::from_name(&given).ok_or_else(|| Wrong {
        message: format!(
            "{given:?} cannot be the type of a key, expected one of: {}",
            known().collect::<Vec<_>>().join(", ")
        ),
        hint: did_you_mean(&given, known()),
    })
}

/// A shard by its name.
fn shard(shards: &[String]) -> impl Fn(&DeValue<'_>) -> Result<ShardId, Wrong> {
    move |value| shard_named(&string(value)?, shards)
}

fn shard_named(given: &str, shards: &[String]) -> Result<ShardId, Wrong> {
    let position = shards.iter().position(|shard| shard == given);
    position.and_then(|index| u16::try_from(index).ok()).map(ShardId).ok_or_else(|| Wrong {
        message: format!("there is no shard {given}"),
        hint: did_you_mean(given, shards.iter().map(String::as_str)),
    })
}

// ---------------------------------------------------------------- hash

fn read_hash(section: &mut Section<'_>, key_type: KeyType, shards: &[String]) -> Option<Hash> {
    let function = read_function(section, key_type);
    let buckets = read_buckets(section)?;
    let hash = if section.is_list("placement") {
        Hash::new(function, read_parts(section, buckets, shards)?)
    } else {
        section.take("placement", word(&[("even", ())]));
        Hash::even(function, buckets, &read_owners(section, shards))
    };
    complain(section, hash)
}

fn read_function(section: &mut Section<'_>, key_type: KeyType) -> HashFunction {
    let function = section.take_located("function", word(HASH_FUNCTIONS));
    let Some(Located { value: function, offset }) = function else { return HashFunction::default() };
    if function == HashFunction::Xxh3 && matches!(key_type, KeyType::Date | KeyType::Timestamp | KeyType::Timestamptz) {
        section.file.mistake(offset, format!("function: xxh3 is not defined for keys of type {key_type}"), None);
    }
    function
}

fn read_buckets(section: &mut Section<'_>) -> Option<usize> {
    let power_of_two = |value: &DeValue<'_>| match count(value)? {
        buckets if buckets.is_power_of_two() && buckets <= BUCKETS_MAX => Ok(buckets),
        buckets => Err(Wrong::new(format!("must be a power of two up to {BUCKETS_MAX}, not {buckets}"))),
    };
    if section.has("buckets") { section.take("buckets", power_of_two) } else { Some(BUCKETS_DEFAULT) }
}

/// The shards that share a hash keyspace evenly; all of them unless the keyspace lists its own.
fn read_owners(section: &mut Section<'_>, shards: &[String]) -> Vec<ShardId> {
    let all = || shards.iter().filter_map(|name| shard_named(name, shards).ok()).collect();
    match section.take_filled_list("shards", shard(shards)) {
        Some(listed) => listed.into_iter().map(|shard| shard.value).collect(),
        None => all(),
    }
}

/// The owner of each bucket from a list of `{ first, last, shard }`, the last bucket included.
fn read_parts(section: &mut Section<'_>, buckets: usize, shards: &[String]) -> Option<Vec<ShardId>> {
    let mut owners: Vec<Option<ShardId>> = vec![None; buckets];
    let parts = section.take_sections("placement", "a part of placement");
    all(parts.into_iter().map(|part| read_part(part, shards, &mut owners)))?;
    if let Some(bucket) = owners.iter().position(Option::is_none) {
        section.mistake(format!("placement: bucket {bucket} has no shard"));
    }
    owners.into_iter().collect()
}

/// Gives the buckets of one part their owner; `None` when the part has a mistake.
fn read_part(mut part: Section<'_>, shards: &[String], owners: &mut [Option<ShardId>]) -> Option<()> {
    let first = part.require("first", count);
    let last = part.require("last", count);
    let owner = part.require("shard", shard(shards));
    let placed = first.zip(last).zip(owner).map(|((first, last), owner)| {
        place(owners, first.value, last.value, owner.value).map_err(|message| part.mistake(message)).ok()
    });
    part.finish();
    placed.flatten()
}

fn place(owners: &mut [Option<ShardId>], first: usize, last: usize, owner: ShardId) -> Result<(), String> {
    let buckets = owners.len();
    if first > last || last >= buckets {
        return Err(format!("first and last must be in order and less than {buckets}, not {first} and {last}"));
    }
    let places = &mut owners[first..=last];
    if let Some(taken) = places.iter().position(Option::is_some) {
        return Err(format!("bucket {} is placed twice", first + taken));
    }
    places.fill(Some(owner));
    Ok(())
}

// ---------------------------------------------------------------- range

fn read_ranges(section: &mut Section<'_>, key_type: KeyType, shards: &[String]) -> Option<Ranges> {
    let allow_gaps = section.take("allow_gaps", boolean).unwrap_or(false);
    if !section.has("ranges") {
        section.missing("ranges");
        return None;
    }
    let parts = section.take_sections("ranges", "a range");
    let mut ranges = all(parts.into_iter().map(|part| read_range(part, key_type, shards)))?;
    ranges.sort_by(|left, right| left.value.from.cmp(&right.value.from));
    report_range_order(section, &ranges, allow_gaps);
    let ranges = ranges.into_iter().map(|range| range.value).collect();
    complain(section, Ranges::new(ranges))
}

fn read_range(mut part: Section<'_>, key_type: KeyType, shards: &[String]) -> Option<Located<Range>> {
    let bound = |value: &DeValue<'_>| read_bound(key_type, value);
    let from = part.require("from", bound);
    let to = part.require("to", bound);
    let owner = part.require("shard", shard(shards));
    let offset = part.offset;
    part.finish();
    Some(Located { value: Range { from: from?.value, to: to?.value, shard: owner?.value }, offset })
}

fn read_bound(key_type: KeyType, value: &DeValue<'_>) -> Result<Bound, Wrong> {
    match value.as_str() {
        Some("MINVALUE") => Ok(Bound::MinValue),
        Some("MAXVALUE") => Ok(Bound::MaxValue),
        _ => read_key(key_type, value).map(Bound::Value),
    }
}

/// A key's value: a string in the spelling that [`KeyValue::from_text`] knows, or a TOML number or date.
fn read_key(key_type: KeyType, value: &DeValue<'_>) -> Result<KeyValue<'static>, Wrong> {
    let wrong = || Wrong::new(format!("{} is not a plain value of type {key_type}", described(value)));
    let text = match value {
        DeValue::String(text) => text.to_string(),
        _ if matches!(key_type, KeyType::Text | KeyType::Varchar) => return Err(wrong()),
        DeValue::Integer(number) if number.radix() == 10 => number.as_str().to_owned(),
        DeValue::Datetime(datetime) => datetime.to_string(),
        _ => return Err(wrong()),
    };
    KeyValue::from_text(key_type, &text).map(KeyValue::into_owned).ok_or_else(wrong)
}

/// Records ranges that are empty, overlap, or leave values without a shard. `ranges` are in ascending order.
fn report_range_order(section: &Section<'_>, ranges: &[Located<Range>], allow_gaps: bool) {
    let mut end = &Bound::MinValue;
    for Located { value: range, offset } in ranges {
        let mistake = |message: String| section.file.mistake(*offset, message, None);
        if range.is_empty() {
            mistake(format!("the range {range} is empty"));
        }
        if range.from < *end {
            mistake(format!("the range {range} overlaps the one before it, which ends at {end}"));
        }
        if range.from > *end && !allow_gaps {
            report_gap(section, *offset, end, &range.from);
        }
        end = end.max(&range.to);
    }
    if *end < Bound::MaxValue && !allow_gaps {
        let offset = ranges.last().map_or(section.offset, |range| range.offset);
        report_gap(section, offset, end, &Bound::MaxValue);
    }
}

fn report_gap(section: &Section<'_>, offset: usize, from: &Bound, to: &Bound) {
    let hint = "add a range, or allow_gaps = true to refuse such keys".to_owned();
    section.file.mistake(offset, format!("no range holds the values [{from}, {to})"), Some(hint));
}

// ---------------------------------------------------------------- directory

fn read_directory(section: &mut Section<'_>, key_type: KeyType, shards: &[String]) -> Directory {
    let unknown = match section.take("default_shard", shard(shards)) {
        Some(shard) => UnknownValue::Default(shard),
        None => UnknownValue::Refuse,
    };
    if !section.has("values") {
        section.missing("values");
    }
    let mut entries = BTreeMap::new();
    for (owner, value) in section.take_section("values", "values").entries() {
        read_values(section.file, &owner, value, key_type, shards, &mut entries);
    }
    Directory { entries, unknown }
}

/// `shard = [value, ...]`
fn read_values(
    file: &File<'_>,
    owner: &Located<&str>,
    values: &Spanned<DeValue<'_>>,
    key_type: KeyType,
    shards: &[String],
    entries: &mut BTreeMap<KeyValue<'static>, ShardId>,
) {
    let owner_id =
        shard_named(owner.value, shards).map_err(|wrong| file.mistake(owner.offset, wrong.message, wrong.hint)).ok();
    for Located { value, offset } in read_list(file, owner.value, values, |value| read_key(key_type, value)) {
        let Some(id) = owner_id else { continue };
        let message = format!("the value {value} is given twice");
        if entries.insert(value, id).is_some() {
            file.mistake(offset, message, None);
        }
    }
}

// ---------------------------------------------------------------- geo

fn read_geo(section: &mut Section<'_>, key_type: KeyType, shards: &[String]) -> Option<Geo> {
    let region_column = section.require("region_column", name);
    let function = read_function(section, key_type);
    let buckets = read_buckets(section);
    if !section.has("regions") {
        section.missing("regions");
    }
    let regions = section.take_section("regions", "regions").named_sections(|name| format!("the region {name}"));
    let regions = regions.into_iter().map(|(name, region)| read_region(name.value, region, function, buckets, shards));
    let regions = all(regions);
    Some(Geo { region_column: region_column?.value, function, regions: regions? })
}

fn read_region(
    region_name: &str,
    mut region: Section<'_>,
    function: HashFunction,
    buckets: Option<usize>,
    shards: &[String],
) -> Option<Region> {
    let resident = region.take("resident", boolean).unwrap_or(false);
    if !region.has("shards") {
        region.missing("shards");
    }
    let owners = region.take_filled_list("shards", shard(shards));
    let owners = owners.map(|owners| owners.into_iter().map(|owner| owner.value).collect::<Vec<_>>());
    let hash = owners.zip(buckets).map(|(owners, buckets)| Hash::even(function, buckets, &owners));
    let hash = hash.and_then(|hash| complain(&region, hash));
    region.finish();
    Some(Region { name: region_name.to_owned(), resident, hash: hash? })
}

/// Everything, or `None` when something is missing. Unlike `collect` it reads on behind the first mistake.
fn all<T>(read: impl Iterator<Item = Option<T>>) -> Option<Vec<T>> {
    read.collect::<Vec<_>>().into_iter().collect()
}

/// What the shard map's own checks find, should no check above have said it better.
fn complain<T>(section: &Section<'_>, result: crate::types::Result<T>) -> Option<T> {
    result
        .map_err(|error| {
            if section.file.mistakes.is_empty() {
                section.mistake(error.to_string());
            }
        })
        .ok()
}
