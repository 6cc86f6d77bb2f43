//! The tables of SHOW that tell of shard maps, and EXPLAIN ROUTE.

use std::sync::Arc;

use bytes::BytesMut;

use super::table::{Column, int4, int8, put_table, some, text};
use crate::proxy::operate::Routed;
use crate::shardmap::{Bound, Directory, Hash, Keyspace, Method, Placement, Range, ShardMap, Shown, UnknownKey};
use crate::types::ShardId;

/// A database's map, with its name.
pub(super) type Maps = [(String, Arc<ShardMap>)];

struct KeyspaceRow {
    database: String,
    name: String,
    method: &'static str,
    key: String,
    unknown: String,
    shards: String,
    tables: usize,
    bucket: Option<String>,
}

const KEYSPACES: &[Column<KeyspaceRow>] = &[
    text("database", |row| some(&row.database)),
    text("keyspace", |row| some(&row.name)),
    text("method", |row| some(row.method)),
    text("key_type", |row| some(&row.key)),
    text("unknown", |row| some(&row.unknown)),
    text("shards", |row| some(&row.shards)),
    int8("tables", |row| some(row.tables)),
    text("bucket", |row| row.bucket.clone()),
];

pub(super) fn keyspaces(maps: &Maps, out: &mut BytesMut) {
    let rows = maps.iter().flat_map(|(database, map)| {
        map.keyspaces().iter().map(move |keyspace| keyspace_row(database.clone(), map, keyspace))
    });
    put_table(out, KEYSPACES, rows);
}

fn keyspace_row(database: String, map: &ShardMap, keyspace: &Keyspace) -> KeyspaceRow {
    let is_own = |placement: &Placement<'_>| matches!(placement, Placement::Sharded { keyspace: used, .. } if used.name == keyspace.name);
    let columns: Vec<String> = (1..=keyspace.key.len()).map(|number| format!("key{number}")).collect();
    KeyspaceRow {
        database,
        name: keyspace.name.clone(),
        method: keyspace.method.name(),
        key: match keyspace.method {
            Method::Schemas(_) => "schema".to_owned(),
            _ => keyspace.type_names(),
        },
        unknown: keyspace.directory().map_or_else(|| "refuse".to_owned(), |directory| unknown(map, directory)),
        shards: names(map, &keyspace.shards()),
        tables: map.tables().filter(|(.., placement)| is_own(placement)).count(),
        bucket: keyspace.bucket_expression(&columns),
    }
}

fn unknown(map: &ShardMap, directory: &Directory) -> String {
    match &directory.unknown {
        UnknownKey::Refuse => "refuse".to_owned(),
        UnknownKey::Default(shard) => map.shard_name(*shard).to_owned(),
        UnknownKey::Assign(shards) => format!("assign ({})", names(map, shards)),
    }
}

fn names(map: &ShardMap, shards: &[ShardId]) -> String {
    shards.iter().map(|shard| map.shard_name(*shard)).collect::<Vec<_>>().join(", ")
}

/// Where a part of a keyspace is.
struct PartRow {
    database: String,
    epoch: u64,
    keyspace: String,
    part: String,
    shard: String,
    resident: Option<bool>,
}

const SHARD_MAP: &[Column<PartRow>] = &[
    text("database", |row| some(&row.database)),
    int8("epoch", |row| some(row.epoch)),
    text("keyspace", |row| some(&row.keyspace)),
    text("part", |row| some(&row.part)),
    text("shard", |row| some(&row.shard)),
    text("resident", |row| row.resident.and_then(some)),
];

pub(super) fn shard_map(maps: &Maps, out: &mut BytesMut) {
    let rows = maps.iter().flat_map(|(database, map)| {
        map.keyspaces().iter().flat_map(move |keyspace| {
            parts(keyspace).into_iter().map(move |(part, shard, resident)| PartRow {
                database: database.clone(),
                epoch: map.epoch().0,
                keyspace: keyspace.name.clone(),
                part,
                shard: map.shard_name(shard).to_owned(),
                resident,
            })
        })
    });
    put_table(out, SHARD_MAP, rows);
}

type PartOf = (String, ShardId, Option<bool>);

fn parts(keyspace: &Keyspace) -> Vec<PartOf> {
    match &keyspace.method {
        Method::Hash(hash) => runs(hash).map(|(run, shard)| (run, shard, None)).collect(),
        Method::Range(ranges) => ranges.iter().map(range_part).collect(),
        Method::Directory(directory) | Method::Schemas(directory) => {
            directory.entries.iter().map(|(key, shard)| (format!("value {}", Shown(key)), *shard, None)).collect()
        }
        Method::Geo(geo) => {
            let of_region = geo.regions.iter().flat_map(|region| {
                runs(&region.hash)
                    .map(|(run, shard)| (format!("region {}, {run}", region.value), shard, Some(region.resident)))
            });
            of_region.collect()
        }
    }
}

fn range_part(range: &Range) -> PartOf {
    let bound = |bound: &Bound| bound.to_string();
    (format!("from {} to {}", bound(&range.from), bound(&range.to)), range.shard, None)
}

/// Runs of neighbouring buckets with one owner.
fn runs(hash: &Hash) -> impl Iterator<Item = (String, ShardId)> {
    let mut first = 0;
    hash.placement().chunk_by(|left, right| left == right).map(move |run| {
        let part = format!("buckets {first} to {}", first + run.len() - 1);
        first += run.len();
        (part, run[0])
    })
}

struct TableRow {
    database: String,
    schema: String,
    name: String,
    kind: &'static str,
    keyspace: Option<String>,
    key: Option<String>,
    shard: Option<String>,
}

const TABLES: &[Column<TableRow>] = &[
    text("database", |row| some(&row.database)),
    text("schema", |row| some(&row.schema)),
    text("table", |row| some(&row.name)),
    text("kind", |row| some(row.kind)),
    text("keyspace", |row| row.keyspace.clone()),
    text("key", |row| row.key.clone()),
    text("shard", |row| row.shard.clone()),
];

pub(super) fn tables(maps: &Maps, out: &mut BytesMut) {
    let rows = maps.iter().flat_map(|(database, map)| {
        map.tables().map(move |(schema, name, placement)| table_row(database, map, schema, name, placement))
    });
    put_table(out, TABLES, rows);
}

fn table_row(database: &str, map: &ShardMap, schema: &str, name: &str, placement: Placement<'_>) -> TableRow {
    let (kind, keyspace, key, shard) = match placement {
        Placement::Sharded { keyspace, columns } => {
            ("sharded", Some(keyspace.name.clone()), Some(columns.join(", ")), None)
        }
        Placement::Reference => ("reference", None, None, None),
        Placement::Single(shard) => ("single", None, None, Some(map.shard_name(shard).to_owned())),
        Placement::Unmapped => ("unmapped", None, None, None),
    };
    let (database, schema, name) = (database.to_owned(), schema.to_owned(), name.to_owned());
    TableRow { database, schema, name, kind, keyspace, key, shard }
}

const ROUTE: &[Column<Routed>] = &[
    int4("statement", |row| some(row.statement)),
    text("engine", |row| some(row.engine)),
    text("shard", |row| row.shard.clone()),
    text("text", |row| some(&row.text)),
];

pub(super) fn route(routed: Vec<Routed>, out: &mut BytesMut) {
    put_table(out, ROUTE, routed);
}
