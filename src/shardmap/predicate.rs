//! The reverse of placement: SQL conditions that select the rows which a shard owns. They are made of PostgreSQL's own
//! immutable functions and operators, which a publication's row filter accepts (but for enums, which it never does).

use postgres_protocol::escape::escape_identifier;

use super::geo::Directory;
use super::hash::{Hash, HashFunction};
use super::key::{KeyType, KeyValue};
use super::keyspace::{Keyspace, Method};
use super::range::{Bound, Range};
use crate::types::ShardId;

/// A condition that no row fulfils.
const NOTHING: &str = "false";

impl Keyspace {
    /// The condition that a row of a table with these key columns belongs to `shard`; true of no row whose key is NULL.
    /// `None` when no server can tell: the keyspace is hashed by xxh3, or its keys are schemas.
    pub fn owned_by(&self, shard: ShardId, columns: &[String]) -> Option<String> {
        let table = Columns { names: columns, types: &self.key };
        match &self.method {
            Method::Hash(hash) => table.hashed(hash, shard),
            Method::Range(ranges) => {
                Some(any(ranges.iter().filter(|range| range.shard == shard).map(|range| table.in_range(range))))
            }
            Method::Directory(directory) => Some(table.listed(directory, shard)),
            Method::Geo(geo) => {
                let (region, rest) = table.split()?;
                let part = |part: &super::geo::Region| {
                    let hashed = rest.hashed(&part.hash, shard)?;
                    Some(format!("{} = {} AND {hashed}", region.expression(0), region.literal(0, &part.value)))
                };
                let owning = geo.regions.iter().filter(|region| region.hash.placement().contains(&shard));
                owning.map(part).collect::<Option<Vec<_>>>().map(|parts| any(parts.into_iter()))
            }
            Method::Schemas(_) => None,
        }
    }

    /// The condition that a row of a table with these key columns has this key.
    pub fn has_key(&self, key: &[KeyValue<'_>], columns: &[String]) -> String {
        let table = Columns { names: columns, types: &self.key };
        let expressions = (0..columns.len()).map(|column| match self.key.get(column) {
            // Equality needs no collation, and an index may serve it.
            Some(KeyType::Text | KeyType::Varchar) => escape_identifier(&columns[column]),
            _ => table.expression(column),
        });
        format!("{} = {}", row(expressions.collect()), row(table.literals(key)))
    }

    /// The expression that gives a row's bucket, for keyspaces that have buckets which a server can compute.
    pub fn bucket_expression(&self, columns: &[String]) -> Option<String> {
        let table = Columns { names: columns, types: &self.key };
        match &self.method {
            Method::Hash(hash) => table.bucket(hash),
            Method::Geo(geo) => table.split()?.1.bucket(&geo.regions.first()?.hash),
            Method::Range(_) | Method::Directory(_) | Method::Schemas(_) => None,
        }
    }
}

/// The key columns of a table.
#[derive(Clone, Copy)]
struct Columns<'c> {
    names: &'c [String],
    types: &'c [KeyType],
}

impl<'c> Columns<'c> {
    /// The region's column, and the others.
    fn split(self) -> Option<(Self, Self)> {
        let (first_name, names) = self.names.split_first()?;
        let (first_type, types) = self.types.split_first()?;
        let region = Columns { names: std::slice::from_ref(first_name), types: std::slice::from_ref(first_type) };
        Some((region, Columns { names, types }))
    }

    fn bucket(self, hash: &Hash) -> Option<String> {
        let names: Vec<String> = self.names.iter().map(|name| escape_identifier(name)).collect();
        match hash.function() {
            HashFunction::Postgres => {
                let mask = hash.placement().len() - 1;
                Some(format!("(hash_record_extended(ROW({}), 0) & {mask})", names.join(", ")))
            }
            HashFunction::Xxh3 => None,
        }
    }

    fn hashed(self, hash: &Hash, shard: ShardId) -> Option<String> {
        let bucket = self.bucket(hash)?;
        let mut first = 0;
        let mut runs = Vec::new();
        for run in hash.placement().chunk_by(|left, right| left == right) {
            if run[0] == shard {
                runs.push(format!("{bucket} BETWEEN {first} AND {}", first + run.len() - 1));
            }
            first += run.len();
        }
        let present: Vec<String> =
            self.names.iter().map(|name| format!("{} IS NOT NULL", escape_identifier(name))).collect();
        Some(format!("({} AND {})", present.join(" AND "), any(runs.into_iter())))
    }

    fn in_range(self, range: &Range) -> String {
        let compare = |operator: &str, bound: &Bound| match bound {
            Bound::MinValue | Bound::MaxValue => None,
            Bound::Key(key) => {
                let columns: Vec<String> = (0..key.len()).map(|column| self.expression(column)).collect();
                Some(format!("{} {operator} {}", row(columns), row(self.literals(key))))
            }
        };
        let present = self.names.iter().map(|name| Some(format!("{} IS NOT NULL", escape_identifier(name))));
        let ends = [compare(">=", &range.from), compare("<", &range.to)];
        format!("({})", present.chain(ends).flatten().collect::<Vec<_>>().join(" AND "))
    }

    fn listed(self, directory: &Directory, shard: ShardId) -> String {
        let expression = row((0..self.names.len()).map(|column| self.expression(column)).collect());
        let keys = |is_own: bool| {
            let entries = directory.entries.iter().filter(move |(_, owner)| (**owner == shard) == is_own);
            entries.map(|(key, _)| row(self.literals(key))).collect::<Vec<_>>().join(", ")
        };
        let is_default = matches!(directory.unknown, super::geo::UnknownKey::Default(default) if default == shard);
        match (is_default, keys(!is_default)) {
            (true, others) if others.is_empty() => format!("{expression} IS NOT NULL"),
            (true, others) => format!("{expression} NOT IN ({others})"),
            (false, own) if own.is_empty() => NOTHING.to_owned(),
            (false, own) => format!("{expression} IN ({own})"),
        }
    }

    /// A column as it is compared: text by its bytes, an enum by its label.
    fn expression(self, column: usize) -> String {
        let name = self.names.get(column).map(|name| escape_identifier(name)).unwrap_or_default();
        match self.types.get(column) {
            Some(KeyType::Text | KeyType::Varchar) => format!("{name} COLLATE \"C\""),
            Some(KeyType::Enum) => format!("{name}::text"),
            _ => name,
        }
    }

    fn literals(self, key: &[KeyValue<'_>]) -> Vec<String> {
        key.iter().enumerate().map(|(column, value)| self.literal(column, value)).collect()
    }

    fn literal(self, column: usize, value: &KeyValue<'_>) -> String {
        let key_type = self.types.get(column).copied().unwrap_or(KeyType::Text);
        let type_name = match key_type {
            KeyType::Enum | KeyType::Varchar => KeyType::Text.name(),
            other => other.name(),
        };
        format!("'{}'::{type_name}", value.to_text(key_type).replace('\'', "''"))
    }
}

fn row(mut items: Vec<String>) -> String {
    match items.len() {
        1 => items.remove(0),
        _ => format!("({})", items.join(", ")),
    }
}

fn any(conditions: impl Iterator<Item = String>) -> String {
    let conditions: Vec<String> = conditions.collect();
    if conditions.is_empty() { NOTHING.to_owned() } else { format!("({})", conditions.join(" OR ")) }
}
