//! Whether a shard has the tables and key columns that its map names.

use std::collections::BTreeMap;

use tokio_postgres::Client;

use crate::shardmap::{KeyType, Keyspace, Placement, ShardMap};

/// The tables of users, by schema and name.
#[derive(Debug, Default)]
pub struct Columns(BTreeMap<(String, String), BTreeMap<String, Column>>);

#[derive(Clone, Debug)]
struct Column {
    type_oid: u32,
    /// The type as a definition spells it.
    type_name: String,
    is_enum: bool,
    /// The type has a modifier: a length or a precision.
    has_modifier: bool,
    /// Equal values of the column's collation have equal bytes.
    deterministic: bool,
}

impl Columns {
    /// Reads the columns of every table.
    pub async fn read(client: &Client) -> Result<Self, tokio_postgres::Error> {
        let rows = client
            .query(
                "SELECT n.nspname::text, c.relname::text, a.attname::text, a.atttypid, \
                 format_type(a.atttypid, a.atttypmod), a.atttypmod >= 0, coalesce(l.collisdeterministic, true), \
                 EXISTS (SELECT FROM pg_type t WHERE t.oid = a.atttypid AND t.typtype = 'e') \
                 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                 JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
                 LEFT JOIN pg_collation l ON l.oid = a.attcollation \
                 WHERE c.relkind IN ('r', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema')",
                &[],
            )
            .await?;
        let mut tables = Self::default();
        for row in rows {
            let column = Column {
                type_oid: row.try_get(3)?,
                type_name: row.try_get(4)?,
                has_modifier: row.try_get(5)?,
                deterministic: row.try_get(6)?,
                is_enum: row.try_get(7)?,
            };
            tables.0.entry((row.try_get(0)?, row.try_get(1)?)).or_default().insert(row.try_get(2)?, column);
        }
        Ok(tables)
    }
}

/// What a shard lacks of what the map names, or has otherwise.
pub fn findings(map: &ShardMap, columns: &Columns) -> Vec<String> {
    let mut found = Vec::new();
    for (schema, name, placement) in map.tables() {
        let table = format!("table {schema}.{name}");
        match (columns.0.get(&(schema.to_owned(), name.to_owned())), placement) {
            (None, _) => found.push(format!("{table} does not exist")),
            (Some(columns), Placement::Sharded { keyspace, columns: key }) => {
                found.extend(key_findings(keyspace, key, columns).map(|finding| format!("{table}: {finding}")));
            }
            (Some(_), Placement::Reference | Placement::Single(_) | Placement::Unmapped) => {}
        }
    }
    found
}

fn key_findings<'f>(
    keyspace: &'f Keyspace,
    key: &'f [String],
    columns: &'f BTreeMap<String, Column>,
) -> impl Iterator<Item = String> + 'f {
    key.iter().zip(&keyspace.key).filter_map(|(name, key_type)| match columns.get(name) {
        None => Some(format!("column {name} does not exist")),
        Some(column) => column_finding(name, *key_type, column),
    })
}

fn column_finding(name: &str, key_type: KeyType, column: &Column) -> Option<String> {
    let Column { type_oid, type_name, is_enum, has_modifier, deterministic } = column;
    let actual = if *is_enum { Some(KeyType::Enum) } else { KeyType::from_oid(*type_oid) };
    if !actual.is_some_and(|actual| actual.is_comparable(key_type)) {
        return Some(format!("column {name} has type {type_name}, the shard map says {key_type}"));
    }
    let rounds = *has_modifier && matches!(key_type, KeyType::Timestamp | KeyType::Timestamptz);
    if rounds {
        return Some(format!("column {name} has type {type_name}: a key that is rounded when stored cannot be routed"));
    }
    let equal_apart = format!("column {name} has a nondeterministic collation: equal keys would be routed apart");
    (!deterministic).then_some(equal_apart)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn map() -> ShardMap {
        let text = r#"
            shards = ["one"]
            keyspaces.h = { method = "hash", key_type = "int8" }
            keyspaces.t = { method = "hash", key_type = "text" }
            keyspaces.s = { method = "hash", key_type = "timestamptz" }
            keyspaces.g = { method = "geo", key_type = "int4", region_column = "region", regions.eu.shards = ["one"] }
            tables.h = { keyspace = "h", key = "id" }
            tables.t = { keyspace = "t", key = "id" }
            tables.s = { keyspace = "s", key = "id" }
            tables.g = { keyspace = "g", key = "id" }
            tables.r = { reference = true }
        "#;
        config::load_shard_map("map.toml".as_ref(), |_| Ok(text.to_owned())).unwrap()
    }

    fn column(key_type: KeyType) -> Column {
        let type_name = key_type.name().to_owned();
        Column {
            type_oid: key_type.oid().unwrap_or_default(),
            type_name,
            is_enum: false,
            has_modifier: false,
            deterministic: true,
        }
    }

    fn table(name: &str, columns: &[(&str, Column)]) -> ((String, String), BTreeMap<String, Column>) {
        let columns = columns.iter().map(|(name, column)| ((*name).to_owned(), column.clone())).collect();
        (("public".to_owned(), name.to_owned()), columns)
    }

    #[test]
    fn a_shard_that_has_what_the_map_names_is_right() {
        let columns = Columns(BTreeMap::from([
            table("h", &[("id", column(KeyType::Int8))]),
            table("t", &[("id", column(KeyType::Text))]),
            table("s", &[("id", column(KeyType::Timestamptz))]),
            table("g", &[("id", column(KeyType::Int4)), ("region", column(KeyType::Varchar))]),
            table("r", &[]),
        ]));
        assert_eq!(findings(&map(), &columns), [""; 0]);
    }

    #[test]
    fn what_is_missing_or_otherwise_is_named() {
        let precise = Column {
            has_modifier: true,
            type_name: "timestamp(0) with time zone".to_owned(),
            ..column(KeyType::Timestamptz)
        };
        let columns = Columns(BTreeMap::from([
            table("h", &[("id", column(KeyType::Text))]),
            table("t", &[("id", Column { deterministic: false, ..column(KeyType::Text) })]),
            table("s", &[("id", precise)]),
            table("g", &[("region", column(KeyType::Int4))]),
        ]));
        assert_eq!(
            findings(&map(), &columns),
            [
                "table public.g: column region has type int4, the shard map says text",
                "table public.g: column id does not exist",
                "table public.h: column id has type text, the shard map says int8",
                "table public.r does not exist",
                "table public.s: column id has type timestamp(0) with time zone: a key that is rounded when stored cannot be routed",
                "table public.t: column id has a nondeterministic collation: equal keys would be routed apart",
            ]
        );
    }
}
