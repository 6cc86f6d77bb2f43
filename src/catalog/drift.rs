//! Where two shard maps differ, in sentences for an operator.

use std::collections::BTreeMap;

use crate::shardmap::{Hash, Keyspace, Method, Placement, ShardMap};

/// The declared shards, and behind them those that only the catalog knows: both maps can be numbered by this list.
pub(super) fn all_shards(declared: &[String], stored: &[String]) -> Vec<String> {
    let only_stored = stored.iter().filter(|shard| !declared.contains(shard));
    declared.iter().chain(only_stored).cloned().collect()
}

/// What is to be said of the differences; `stored` is numbered by [`all_shards`].
pub(super) fn differences(stored: &ShardMap, stored_shards: &[String], declared: &ShardMap) -> Vec<String> {
    let mut found = Vec::new();
    let in_file = named(declared.shards().iter().map(|shard| (shard.clone(), ())));
    let in_catalog = named(stored_shards.iter().map(|shard| (shard.clone(), ())));
    compare("shard", &in_catalog, &in_file, |_, _, _| Vec::new(), &mut found);

    let keyspaces = |map: &ShardMap| named(map.keyspaces().iter().cloned().map(|found| (found.name.clone(), found)));
    compare("keyspace", &keyspaces(stored), &keyspaces(declared), keyspace_differences, &mut found);

    compare("table", &distributions(stored), &distributions(declared), distribution_differences, &mut found);
    found
}

fn named<T>(entries: impl Iterator<Item = (String, T)>) -> BTreeMap<String, T> {
    entries.collect()
}

/// Says what is on one side only, and what `differ` says of what is on both.
fn compare<T>(
    what: &str,
    in_catalog: &BTreeMap<String, T>,
    in_file: &BTreeMap<String, T>,
    differ: impl Fn(&str, &T, &T) -> Vec<String>,
    found: &mut Vec<String>,
) {
    for (name, stored) in in_catalog {
        match in_file.get(name) {
            Some(declared) => found.extend(differ(name, stored, declared)),
            None => found.push(format!("{what} {name} is in the catalog, not in the file")),
        }
    }
    let only_in_file = in_file.keys().filter(|name| !in_catalog.contains_key(*name));
    found.extend(only_in_file.map(|name| format!("{what} {name} is in the file, not in the catalog")));
}

fn keyspace_differences(name: &str, stored: &Keyspace, declared: &Keyspace) -> Vec<String> {
    let mut found = Vec::new();
    if stored.key != declared.key {
        let (stored, declared) = (stored.type_names(), declared.type_names());
        found.push(format!("keyspace {name} has keys of type {stored} in the catalog, {declared} in the file"));
    }
    found.extend(method_difference(name, &stored.method, &declared.method));
    found
}

fn method_difference(name: &str, stored: &Method, declared: &Method) -> Option<String> {
    match (stored, declared) {
        (stored, declared) if stored == declared => None,
        (Method::Hash(stored), Method::Hash(declared)) => Some(hash_difference(name, stored, declared)),
        (Method::Range(_), Method::Range(_)) => Some(format!("keyspace {name} has other ranges than the file says")),
        (Method::Directory(_), Method::Directory(_)) | (Method::Schemas(_), Method::Schemas(_)) => {
            Some(format!("keyspace {name} has other entries than the file says"))
        }
        (Method::Geo(_), Method::Geo(_)) => Some(format!("keyspace {name} has other regions than the file says")),
        (stored, declared) => {
            let (stored, declared) = (stored.name(), declared.name());
            Some(format!("keyspace {name} has the method {stored} in the catalog, {declared} in the file"))
        }
    }
}

fn hash_difference(name: &str, stored: &Hash, declared: &Hash) -> String {
    let buckets = stored.placement().len();
    if stored.function() != declared.function() || buckets != declared.placement().len() {
        return format!("keyspace {name} has another hash function or number of buckets than the file says");
    }
    let elsewhere = stored.placement().iter().zip(declared.placement()).filter(|(left, right)| left != right).count();
    format!("keyspace {name} has {elsewhere} of {buckets} buckets on other shards than the file says")
}

/// Each table with how it is spread, in words.
fn distributions(map: &ShardMap) -> BTreeMap<String, String> {
    named(map.tables().map(|(schema, table, placement)| {
        let words = match placement {
            Placement::Sharded { keyspace, columns } => {
                format!("sharded by {} in keyspace {}", columns.join(", "), keyspace.name)
            }
            Placement::Reference => "a reference table".to_owned(),
            Placement::Single(shard) => format!("a table of shard {}", map.shard_name(shard)),
            Placement::Unmapped => "unmapped".to_owned(),
        };
        (format!("{schema}.{table}"), words)
    }))
}

fn distribution_differences(name: &str, stored: &String, declared: &String) -> Vec<String> {
    let differs = stored != declared;
    differs.then(|| format!("table {name} is {stored} in the catalog, {declared} in the file")).into_iter().collect()
}
