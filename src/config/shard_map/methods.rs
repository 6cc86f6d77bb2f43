//! How a key leads to a shard: what each method has to say in a shard map file.

use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::DeValue;

use super::keys::{self, KeyTypes, Whole};
use super::{all, complain, shard, shard_named};
use crate::config::mistake::File;
use crate::config::section::{Located, Section, Wrong, boolean, count, read_list, word};
use crate::shardmap::{
    BUCKETS_DEFAULT, BUCKETS_MAX, Bound, Directory, Geo, Hash, HashFunction, Key, KeyType, Method, Range, Ranges,
    Region, Shown, UnknownKey,
};
use crate::types::ShardId;

#[derive(Clone, Copy)]
pub(super) enum MethodName {
    Hash,
    Range,
    Directory,
    Geo,
}

pub(super) const METHODS: &[(&str, MethodName)] = &[
    ("hash", MethodName::Hash),
    ("range", MethodName::Range),
    ("directory", MethodName::Directory),
    ("geo", MethodName::Geo),
];

const HASH_FUNCTIONS: &[(&str, HashFunction)] = &[("postgres", HashFunction::Postgres), ("xxh3", HashFunction::Xxh3)];

#[derive(Clone, Copy, PartialEq)]
enum Unknown {
    Refuse,
    Assign,
}

const UNKNOWN_KEYS: &[(&str, Unknown)] = &[("refuse", Unknown::Refuse), ("assign", Unknown::Assign)];

/// The types of the whole key, the region's included, and the method.
pub(super) fn read_method(
    section: &mut Section<'_>,
    method: MethodName,
    key: KeyTypes,
    shards: &[String],
) -> Option<(Vec<KeyType>, Method)> {
    match (method, key) {
        (MethodName::Directory, KeyTypes::Schema) => {
            let directory = read_directory(section, &[KeyType::Text], shards);
            if let UnknownKey::Default(_) = directory.unknown {
                section.mistake("a keyspace of schemas has no default_shard: other schemas hold tables of all kinds");
            }
            Some((vec![KeyType::Text], Method::Schemas(directory)))
        }
        (_, KeyTypes::Schema) => {
            section.mistake("key_type: only a directory can have schemas for keys");
            None
        }
        (method, KeyTypes::Columns(key)) => read_column_method(section, method, key, shards),
    }
}

fn read_column_method(
    section: &mut Section<'_>,
    method: MethodName,
    key: Vec<KeyType>,
    shards: &[String],
) -> Option<(Vec<KeyType>, Method)> {
    match method {
        MethodName::Hash => {
            check_types(section, &key, "hashed", KeyType::can_be_hashed);
            let hash = read_hash(section, &key, shards)?;
            Some((key, Method::Hash(hash)))
        }
        MethodName::Range => {
            check_types(section, &key, "ranged", KeyType::can_be_ranged);
            let ranges = read_ranges(section, &key, shards)?;
            Some((key, Method::Range(ranges)))
        }
        MethodName::Directory => {
            let directory = read_directory(section, &key, shards);
            Some((key, Method::Directory(directory)))
        }
        MethodName::Geo => {
            check_types(section, &key, "hashed", KeyType::can_be_hashed);
            read_geo(section, &key, shards)
        }
    }
}

fn check_types(section: &Section<'_>, key: &[KeyType], what: &str, fits: impl Fn(KeyType) -> bool) {
    if let Some(key_type) = key.iter().find(|key_type| !fits(**key_type)) {
        section.mistake(format!("key_type: keys of type {key_type} cannot be {what}; use a directory"));
    }
}

// ---------------------------------------------------------------- hash

fn read_hash(section: &mut Section<'_>, key: &[KeyType], shards: &[String]) -> Option<Hash> {
    let function = read_function(section, key);
    let buckets = read_buckets(section)?;
    let hash = if section.is_list("placement") {
        Hash::new(function, read_parts(section, buckets, shards)?)
    } else {
        section.take("placement", word(&[("even", ())]));
        Hash::even(function, buckets, &read_owners(section, shards))
    };
    complain(section, hash)
}

fn read_function(section: &mut Section<'_>, key: &[KeyType]) -> HashFunction {
    let function = section.take_located("function", word(HASH_FUNCTIONS));
    let Some(Located { value: function, offset }) = function else { return HashFunction::default() };
    if function == HashFunction::Xxh3 && !function.is_defined_for(key) {
        let types = key.iter().map(|key_type| key_type.name()).collect::<Vec<_>>().join(", ");
        section.file.mistake(offset, format!("function: xxh3 is not defined for keys of type {types}"), None);
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

fn read_ranges(section: &mut Section<'_>, key: &[KeyType], shards: &[String]) -> Option<Ranges> {
    let allow_gaps = section.take("allow_gaps", boolean).unwrap_or(false);
    if !section.has("ranges") {
        section.missing("ranges");
        return None;
    }
    let parts = section.take_sections("ranges", "a range");
    let mut ranges = all(parts.into_iter().map(|part| read_range(part, key, shards)))?;
    ranges.sort_by(|left, right| left.value.from.cmp(&right.value.from));
    report_range_order(section, &ranges, allow_gaps);
    let ranges = ranges.into_iter().map(|range| range.value).collect();
    complain(section, Ranges::new(ranges))
}

fn read_range(mut part: Section<'_>, key: &[KeyType], shards: &[String]) -> Option<Located<Range>> {
    let bound = |value: &DeValue<'_>| read_bound(key, value);
    let from = part.require("from", bound);
    let to = part.require("to", bound);
    let owner = part.require("shard", shard(shards));
    let offset = part.offset;
    part.finish();
    Some(Located { value: Range { from: from?.value, to: to?.value, shard: owner?.value }, offset })
}

fn read_bound(key: &[KeyType], value: &DeValue<'_>) -> Result<Bound, Wrong> {
    match value.as_str() {
        Some("MINVALUE") => Ok(Bound::MinValue),
        Some("MAXVALUE") => Ok(Bound::MaxValue),
        _ => keys::read_key(key, Whole::No, value).map(Bound::Key),
    }
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

fn read_directory(section: &mut Section<'_>, key: &[KeyType], shards: &[String]) -> Directory {
    let unknown = read_unknown(section, shards);
    if !section.has("values") && matches!(unknown, UnknownKey::Refuse) {
        section.missing("values");
    }
    let mut entries = BTreeMap::new();
    for (owner, value) in section.take_section("values", "values").entries() {
        read_values(section.file, &owner, value, key, shards, &mut entries);
    }
    Directory { entries, unknown }
}

fn read_unknown(section: &mut Section<'_>, shards: &[String]) -> UnknownKey {
    let rule = section.take("unknown", word(UNKNOWN_KEYS));
    let default = section.take("default_shard", shard(shards));
    if section.has("unknown") && section.has("default_shard") {
        section.mistake("unknown and default_shard exclude each other");
    }
    match (rule, default) {
        (Some(Unknown::Assign), _) => UnknownKey::Assign(read_owners(section, shards)),
        (_, Some(shard)) => UnknownKey::Default(shard),
        (Some(Unknown::Refuse) | None, None) => UnknownKey::Refuse,
    }
}

/// `shard = [value, ...]`
fn read_values(
    file: &File<'_>,
    owner: &Located<&str>,
    values: &Spanned<DeValue<'_>>,
    key: &[KeyType],
    shards: &[String],
    entries: &mut BTreeMap<Key, ShardId>,
) {
    let owner_id =
        shard_named(owner.value, shards).map_err(|wrong| file.mistake(owner.offset, wrong.message, wrong.hint)).ok();
    for Located { value, offset } in
        read_list(file, owner.value, values, |value| keys::read_key(key, Whole::Yes, value))
    {
        let Some(id) = owner_id else { continue };
        let message = format!("the value {} is given twice", Shown(&value));
        if entries.insert(value, id).is_some() {
            file.mistake(offset, message, None);
        }
    }
}

// ---------------------------------------------------------------- geo

fn read_geo(section: &mut Section<'_>, key: &[KeyType], shards: &[String]) -> Option<(Vec<KeyType>, Method)> {
    let region_type = section.take("region_type", keys::region_type).unwrap_or(KeyType::Text);
    let function = read_function(section, key);
    let buckets = read_buckets(section);
    if !section.has("regions") {
        section.missing("regions");
    }
    let sections = section.take_section("regions", "regions").named_sections(|name| format!("the region {name}"));
    let read = |(name, region): (Located<&str>, Section<'_>)| {
        let value = keys::region_value(region_type, name.value);
        if value.is_none() {
            region.mistake(format!("the region {} is no value of type {region_type}", name.value));
        }
        let (resident, hash) = read_region(region, function, buckets, shards);
        Some(Region { value: value?, resident, hash: hash? })
    };
    let regions = all(sections.into_iter().map(read))?;
    let key = std::iter::once(region_type).chain(key.iter().copied()).collect();
    Some((key, Method::Geo(Geo { function, regions })))
}

fn read_region(
    mut region: Section<'_>,
    function: HashFunction,
    buckets: Option<usize>,
    shards: &[String],
) -> (bool, Option<Hash>) {
    let resident = region.take("resident", boolean).unwrap_or(false);
    let hash = if region.has("placement") {
        buckets.and_then(|buckets| read_parts(&mut region, buckets, shards)).map(|parts| Hash::new(function, parts))
    } else {
        if !region.has("shards") {
            region.missing("shards");
        }
        let owners = region.take_filled_list("shards", shard(shards));
        let owners = owners.map(|owners| owners.into_iter().map(|owner| owner.value).collect::<Vec<_>>());
        owners.zip(buckets).map(|(owners, buckets)| Hash::even(function, buckets, &owners))
    };
    let hash = hash.and_then(|hash| complain(&region, hash));
    region.finish();
    (resident, hash)
}
