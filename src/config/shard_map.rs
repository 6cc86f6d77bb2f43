//! Reads a shard map file: keyspaces with their first placement, and tables.

mod keys;
mod methods;
mod write;

use std::path::Path;

use toml::de::DeValue;

use crate::shardmap::{Distribution, Keyspace, Method, ShardMap, Table, UnmappedTables};
use crate::types::{Epoch, ShardId};

use super::mistake::{File, Mistakes};
use super::section::{Located, Section, Wrong, boolean, did_you_mean, name, string, word};
use super::settings::{Read, open, parse, report_repeated};

pub use write::shard_map_text;

/// The epoch of a map that no catalog has changed yet.
const EPOCH_FIRST: Epoch = Epoch(1);

/// The schema of a table whose name has none.
const SCHEMA_DEFAULT: &str = "public";

const UNMAPPED_TABLES: &[(&str, UnmappedTables)] =
    &[("refuse", UnmappedTables::Refuse), ("home", UnmappedTables::Home)];

/// A keyspace, and the column that holds the region where the keyspace says it for all of its tables.
struct Declared<'n> {
    name: &'n str,
    region_column: Option<String>,
}

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
    let unmapped = root.take("unmapped_tables", word(UNMAPPED_TABLES)).unwrap_or_default();
    let sections = root.take_section("keyspaces", "[keyspaces]").named_sections(|name| format!("[keyspaces.{name}]"));
    let (mut declared, mut keyspaces) = (Vec::new(), Vec::new());
    for (name, section) in sections {
        let (region_column, keyspace) = read_keyspace(name.value, section, &shards);
        declared.push(Declared { name: name.value, region_column });
        keyspaces.push(keyspace);
    }
    let tables = read_tables(&mut root, &declared, &shards);
    let keyspaces: Option<Vec<Keyspace>> = keyspaces.into_iter().collect();
    let map = keyspaces.zip(tables).map(|(keyspaces, tables)| ShardMap::new(EPOCH_FIRST, shards, keyspaces, tables));
    let map = map.and_then(|map| complain(&root, map));
    root.finish();
    map.map(|map| map.with_unmapped_tables(unmapped))
}

/// The map that a database begins with which is to be sharded on the console: every table lives on the home shard.
/// `None` when the shards are no list of shards, which is a mistake of its own.
pub(super) fn without_keyspaces(shards: Vec<String>) -> Option<ShardMap> {
    let map = ShardMap::new(EPOCH_FIRST, shards, Vec::new(), Vec::new()).ok()?;
    Some(map.with_unmapped_tables(UnmappedTables::Home))
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
fn read_tables(root: &mut Section<'_>, keyspaces: &[Declared<'_>], shards: &[String]) -> Option<Vec<Table>> {
    let sections = root.take_section("tables", "[tables]").named_sections(|name| format!("[tables.{name}]"));
    let names: Vec<String> = sections
        .iter()
        .map(|(name, _)| split_name(name.value))
        .map(|(schema, name)| format!("{schema}.{name}"))
        .collect();
    let offsets = sections.iter().map(|(name, _)| name.offset);
    report_repeated(root.file, "table", names.iter().map(String::as_str).zip(offsets));
    all(sections.into_iter().map(|(name, section)| read_table(name.value, section, keyspaces, shards)))
}

fn read_table(
    full_name: &str,
    mut section: Section<'_>,
    keyspaces: &[Declared<'_>],
    shards: &[String],
) -> Option<Table> {
    let (schema, name) = split_name(full_name);
    if schema.is_empty() || name.is_empty() || name.contains('.') {
        section.mistake(format!("{full_name:?} is not a table's name, expected \"table\" or \"schema.table\""));
    }
    let distribution = read_distribution(&mut section, keyspaces, shards);
    section.finish();
    Some(Table { schema: schema.to_owned(), name: name.to_owned(), distribution: distribution? })
}

/// Schema and name of `table` or `schema.table`.
fn split_name(full_name: &str) -> (&str, &str) {
    full_name.split_once('.').unwrap_or((SCHEMA_DEFAULT, full_name))
}

fn read_distribution(section: &mut Section<'_>, keyspaces: &[Declared<'_>], shards: &[String]) -> Option<Distribution> {
    let reference = section.take("reference", boolean).unwrap_or(false);
    let only_shard = section.take("shard", shard(shards));
    let keyspace = section.take_located("keyspace", name);
    let key = section.take_filled_list("key", name);
    let has_key = section.has("keyspace") || section.has("key");
    if reference {
        if has_key || section.has("shard") {
            section.mistake("a reference table has neither keyspace nor key: every shard holds all of it");
        }
        return Some(Distribution::Reference);
    }
    if section.has("shard") {
        if has_key {
            section.mistake("a table that lives on one shard has neither keyspace nor key");
        }
        return only_shard.map(Distribution::Single);
    }
    for required in ["keyspace", "key"].into_iter().filter(|required| !section.has(required)) {
        section.missing(required);
    }
    let keyspace = keyspace?;
    let declared = keyspaces.iter().find(|declared| declared.name == keyspace.value);
    if declared.is_none() {
        let hint = did_you_mean(&keyspace.value, keyspaces.iter().map(|declared| declared.name));
        section.file.mistake(keyspace.offset, format!("there is no keyspace {}", keyspace.value), hint);
    }
    let region = declared.and_then(|declared| declared.region_column.clone());
    let columns = region.into_iter().chain(key?.into_iter().map(|column| column.value)).collect();
    Some(Distribution::Sharded { keyspace: keyspace.value, columns })
}

/// The region column that the keyspace says for all of its tables, and the keyspace if it can be read.
fn read_keyspace(
    keyspace_name: &str,
    mut section: Section<'_>,
    shards: &[String],
) -> (Option<String>, Option<Keyspace>) {
    let method = section.require("method", word(methods::METHODS));
    let key = keys::take_types(&mut section);
    let region_column = match &method {
        Some(Located { value: methods::MethodName::Geo, .. }) => section.take("region_column", name),
        _ => None,
    };
    // Which settings there may be depends on the method, and what their values mean on the type.
    let (Some(method), Some(key)) = (method, key) else { return (region_column, None) };
    let read = methods::read_method(&mut section, method.value, key, shards);
    section.finish();
    let keyspace = read.map(|(key, method): (_, Method)| Keyspace { name: keyspace_name.to_owned(), key, method });
    (region_column, keyspace)
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
