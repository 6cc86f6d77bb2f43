//! Writes a shard map as a file that reads back as the same map.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::shardmap::{
    Bound, Directory, Geo, Hash, HashFunction, Key, KeyType, KeyValue, Keyspace, Method, Placement, Ranges, ShardMap,
    UnknownKey, UnmappedTables,
};
use crate::types::ShardId;

/// The text of a shard map file that lists its shards. The epoch is no part of it.
pub fn shard_map_text(map: &ShardMap) -> String {
    let mut writer = Writer { map, text: String::new() };
    writer.line(format_args!("shards = {}", list(map.shard_ids().map(|shard| quoted(map.shard_name(shard))))));
    if map.unmapped_tables() == UnmappedTables::Home {
        writer.line(format_args!("unmapped_tables = \"home\""));
    }
    map.keyspaces().iter().for_each(|keyspace| writer.keyspace(keyspace));
    if map.tables().next().is_some() {
        writer.line(format_args!("\n[tables]"));
    }
    map.tables().for_each(|(schema, name, placement)| writer.table(schema, name, placement));
    writer.text
}

struct Writer<'w> {
    map: &'w ShardMap,
    text: String,
}

impl Writer<'_> {
    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "{line}");
    }

    fn keyspace(&mut self, keyspace: &Keyspace) {
        let (method, key) = match &keyspace.method {
            Method::Schemas(_) => ("directory", quoted("schema")),
            Method::Geo(_) => ("geo", types(keyspace.key.get(1..).unwrap_or_default())),
            method => (method.name(), types(&keyspace.key)),
        };
        let header = format!("keyspaces.{}", quoted(&keyspace.name));
        self.line(format_args!("\n[{header}]\nmethod = {}\nkey_type = {key}", quoted(method)));
        match &keyspace.method {
            Method::Hash(hash) => self.hash(hash),
            Method::Range(ranges) => self.ranges(&keyspace.key, ranges),
            Method::Directory(directory) | Method::Schemas(directory) => {
                self.directory(&header, &keyspace.key, directory);
            }
            Method::Geo(geo) => self.geo(&header, &keyspace.key, geo),
        }
    }

    fn hash(&mut self, hash: &Hash) {
        self.function(hash.function(), hash.placement().len());
        self.line(format_args!("placement = {}", self.parts(hash)));
    }

    fn function(&mut self, function: HashFunction, buckets: usize) {
        self.line(format_args!("buckets = {buckets}\nfunction = {}", quoted(function.name())));
    }

    /// Runs of neighbouring buckets with one owner.
    fn parts(&self, hash: &Hash) -> String {
        let mut first = 0;
        list(hash.placement().chunk_by(|left, right| left == right).map(|run| {
            let part =
                format!("{{ first = {first}, last = {}, shard = {} }}", first + run.len() - 1, self.shard(run[0]));
            first += run.len();
            part
        }))
    }

    fn ranges(&mut self, key: &[KeyType], ranges: &Ranges) {
        let bound = |bound: &Bound| match bound {
            Bound::MinValue => quoted("MINVALUE"),
            Bound::MaxValue => quoted("MAXVALUE"),
            Bound::Key(values) => key_text(key, values),
        };
        let parts = ranges.iter().map(|range| {
            let (from, to) = (bound(&range.from), bound(&range.to));
            format!("{{ from = {from}, to = {to}, shard = {} }}", self.shard(range.shard))
        });
        let parts = list(parts);
        self.line(format_args!("allow_gaps = true\nranges = {parts}"));
    }

    fn directory(&mut self, header: &str, key: &[KeyType], directory: &Directory) {
        match &directory.unknown {
            UnknownKey::Refuse => self.line(format_args!("unknown = \"refuse\"")),
            UnknownKey::Default(shard) => self.line(format_args!("default_shard = {}", self.shard(*shard))),
            UnknownKey::Assign(shards) => {
                let shards = list(shards.iter().map(|shard| self.shard(*shard)));
                self.line(format_args!("unknown = \"assign\"\nshards = {shards}"));
            }
        }
        let mut by_shard: BTreeMap<ShardId, Vec<&Key>> = BTreeMap::new();
        directory.entries.iter().for_each(|(key, shard)| by_shard.entry(*shard).or_default().push(key));
        self.line(format_args!("\n[{header}.values]"));
        for (shard, keys) in by_shard {
            let keys = list(keys.into_iter().map(|values| key_text(key, values)));
            self.line(format_args!("{} = {keys}", self.shard(shard)));
        }
    }

    fn geo(&mut self, header: &str, key: &[KeyType], geo: &Geo) {
        let region_type = key.first().copied().unwrap_or(KeyType::Text);
        let buckets = geo.regions.first().map_or(1, |region| region.hash.placement().len());
        self.line(format_args!("region_type = {}", quoted(region_type.name())));
        self.function(geo.function, buckets);
        self.line(format_args!("\n[{header}.regions]"));
        for region in &geo.regions {
            let (name, parts) = (quoted(&region.value.to_text(region_type)), self.parts(&region.hash));
            self.line(format_args!("{name} = {{ resident = {}, placement = {parts} }}", region.resident));
        }
    }

    fn table(&mut self, schema: &str, name: &str, placement: Placement<'_>) {
        let distribution = match placement {
            Placement::Sharded { keyspace, columns } => {
                let columns = list(columns.iter().map(|column| quoted(column)));
                format!("{{ keyspace = {}, key = {columns} }}", quoted(&keyspace.name))
            }
            Placement::Reference => "{ reference = true }".to_owned(),
            Placement::Single(shard) => format!("{{ shard = {} }}", self.shard(shard)),
            Placement::Unmapped => return,
        };
        self.line(format_args!("{} = {distribution}", quoted(&format!("{schema}.{name}"))));
    }

    fn shard(&self, shard: ShardId) -> String {
        quoted(self.map.shard_name(shard))
    }
}

fn types(types: &[KeyType]) -> String {
    list(types.iter().map(|key_type| quoted(key_type.name())))
}

/// A key as the reader takes it: a list of strings.
fn key_text(types: &[KeyType], key: &[KeyValue<'_>]) -> String {
    list(types.iter().zip(key).map(|(key_type, value)| quoted(&value.to_text(*key_type))))
}

fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}

/// A TOML string of one line: a JSON string, which leaves DEL as it is.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}
