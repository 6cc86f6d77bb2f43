//! Where a key is placed is what a real server's SQL says: for many values of each type, and for every row filter.

use std::borrow::Cow;

use weir::shardmap::{KeyType, KeyValue, hash_extended};

use crate::harness::{endpoint_of, servers, unique};

/// Values of each type in `make test`, and in a soak run.
const SLICE: usize = 2_000;
const SOAK: usize = 1_000_000;

/// Values that one question is about.
const BATCH: usize = 20_000;

/// The types that are hashed, with the function that gives a value's binary form.
const HASHED: &[(KeyType, &str)] = &[
    (KeyType::Int2, "int2send"),
    (KeyType::Int4, "int4send"),
    (KeyType::Int8, "int8send"),
    (KeyType::Text, "textsend"),
    (KeyType::Varchar, "varcharsend"),
    (KeyType::Uuid, "uuid_send"),
    (KeyType::Date, "date_send"),
    (KeyType::Timestamp, "timestamp_send"),
    (KeyType::Timestamptz, "timestamptz_send"),
    (KeyType::Numeric, "numeric_send"),
    (KeyType::Bytea, "byteasend"),
];

/// A small generator of numbers: the same seed gives the same run. Source: Sebastiano Vigna's splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// A number with as many bits as it happens to get, so that small ones are not rare.
    fn number(&mut self) -> i64 {
        let bits = self.below(64);
        (self.next() >> bits).cast_signed() * if self.below(2) == 0 { 1 } else { -1 }
    }

    fn text(&mut self) -> String {
        const LETTERS: &[char] = &['a', 'Z', '0', ' ', '\'', '\\', '"', 'é', '漢', '😀', '\t', '%'];
        let length = self.below(40);
        (0..length).map(|_| LETTERS[self.below(LETTERS.len() as u64) as usize]).chain(['.']).collect()
    }

    fn digits(&mut self, count: u64) -> String {
        (0..count).map(|_| char::from(b'0' + self.below(10) as u8)).collect()
    }

    /// The text of a value.
    fn value(&mut self, key_type: KeyType) -> String {
        let number = self.number();
        match key_type {
            KeyType::Int2 => (number as i16).to_string(),
            KeyType::Int4 => (number as i32).to_string(),
            KeyType::Int8 => number.to_string(),
            KeyType::Text | KeyType::Varchar => self.text(),
            KeyType::Uuid => {
                let (a, b) = (self.next(), self.next());
                KeyValue::Uuid((u128::from(a) << 64 | u128::from(b)).to_be_bytes()).to_string()
            }
            KeyType::Date => KeyValue::Date((self.below(3_600_000) as i32) - 730_000).to_string(),
            KeyType::Timestamp | KeyType::Timestamptz => {
                let micros = (self.below(250_000_000_000_000_000) as i64) - 60_000_000_000_000_000;
                KeyValue::Timestamp(micros).to_text(key_type)
            }
            KeyType::Numeric => {
                let sign = ["", "-"][self.below(2) as usize];
                let (whole, fraction) = (self.below(30) + 1, self.below(25));
                match self.below(40) {
                    0 => "NaN".to_owned(),
                    1 => "0".to_owned(),
                    2..=9 => format!("{sign}{}e{}", self.digits(whole), self.below(60) as i64 - 30),
                    _ if fraction == 0 => format!("{sign}{}", self.digits(whole)),
                    _ => format!("{sign}{}.{}", self.digits(whole), self.digits(fraction)),
                }
            }
            KeyType::Bytea => {
                let length = self.below(40);
                let bytes: Vec<u8> = (0..length).map(|_| self.next() as u8).collect();
                KeyValue::Bytes(Cow::Owned(bytes)).to_string()
            }
            KeyType::Bool | KeyType::Enum => panic!("not hashed"),
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn compare(count: usize, seed: u64) {
    println!("{count} values of each type, seed {seed}");
    let client = endpoint_of(&servers().reference, "postgres").connect().await.unwrap();
    client.batch_execute("SET TimeZone = 'Asia/Kathmandu'").await.unwrap();
    let mut random = Random(seed);
    for (key_type, send) in HASHED {
        let sql = format!(
            "SELECT hash_record_extended(ROW(v), 0), {send}(v), hash_record_extended(ROW(v, n, v), 0)
               FROM (SELECT t::{key_type} AS v, n FROM unnest($1::text[]) WITH ORDINALITY AS u(t, n)) AS x ORDER BY n"
        );
        for start in (0..count).step_by(BATCH) {
            let texts: Vec<String> = (start..count.min(start + BATCH)).map(|_| random.value(*key_type)).collect();
            let rows = client.query(&sql, &[&texts]).await.unwrap();
            assert_eq!(rows.len(), texts.len());
            for (place, (text, row)) in texts.iter().zip(rows).enumerate() {
                let value = KeyValue::from_text(*key_type, text).unwrap_or_else(|| panic!("{key_type} {text:?}"));
                assert_eq!(
                    hash_extended(std::slice::from_ref(&value)).cast_signed(),
                    row.get::<_, i64>(0),
                    "{key_type} {text:?}"
                );
                let bytes: Vec<u8> = row.get(1);
                assert_eq!(KeyValue::from_binary(*key_type, &bytes), Some(value.clone()), "{key_type} {text:?}");
                let number = KeyValue::Int(i64::try_from(place).unwrap() + 1);
                let several = hash_extended(&[value.clone(), number, value]).cast_signed();
                assert_eq!(several, row.get::<_, i64>(2), "({key_type} {text:?}, {place}, ...)");
            }
        }
    }
}

#[test]
fn placement_is_the_servers_own_hash() {
    compare(SLICE, 1);
}

#[test]
#[ignore = "soak"]
fn placement_is_the_servers_own_hash_for_a_million_values() {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    compare(SOAK, now.as_secs());
}

/// The reverse of placement selects exactly a shard's rows, and a publication takes it for a row filter.
#[test]
fn a_row_filter_accepts_every_keyspaces_condition() {
    let text = r#"
        shards = ["one", "two"]
        keyspaces.hashed = { method = "hash", key_type = ["int8", "text", "uuid", "date", "timestamptz", "numeric", "bytea"], buckets = 64 }
        keyspaces.texts = { method = "range", key_type = "text", ranges = [{ from = "MINVALUE", to = "it's", shard = "one" }, { from = "it's", to = "MAXVALUE", shard = "two" }] }
        keyspaces.pairs = { method = "range", key_type = ["int8", "timestamptz"], ranges = [{ from = "MINVALUE", to = [5, "2024-01-01 00:00:00+00"], shard = "one" }, { from = [5, "2024-01-01 00:00:00+00"], to = 9, shard = "two" }, { from = 9, to = "MAXVALUE", shard = "one" }] }
        keyspaces.listed = { method = "directory", key_type = ["text", "numeric"], default_shard = "one", values = { two = [["it's", 1.5], ["b", 2]] } }
        keyspaces.strict = { method = "directory", key_type = "uuid", values = { two = ["6ba7b810-9dad-11d1-80b4-00c04fd430c8"] } }
        keyspaces.regions = { method = "geo", key_type = "int8", regions = { eu = { shards = ["one", "two"] }, us = { shards = ["two"] } } }
    "#;
    let map = weir::config::load_shard_map("map.toml".as_ref(), |_| Ok(text.to_owned())).unwrap();
    let columns = ["a", "b", "c", "d", "e", "f", "g"].map(str::to_owned);
    let (name, endpoint) = (unique("filters"), endpoint_of(&servers().reference, "postgres"));
    endpoint.execute(&format!("CREATE DATABASE {name}"));
    let endpoint = endpoint_of(&servers().reference, &name);
    endpoint.execute(
        "CREATE TABLE t (a int8, b text, c uuid, d date, e timestamptz, f numeric, g bytea);
         INSERT INTO t SELECT n, (ARRAY['it''s', 'b', 'eu', 'us', 'z'])[abs(n % 5) + 1],
            CASE WHEN n = 7 THEN '6ba7b810-9dad-11d1-80b4-00c04fd430c8' ELSE gen_random_uuid() END,
            '2024-01-01'::date + n, '2024-01-01 00:00:00+00'::timestamptz + n * '1h'::interval, (n % 4) / 2.0, 'x'
           FROM generate_series(-20, 40) n;
         INSERT INTO t VALUES (NULL)",
    );
    let uses = [
        ("hashed", vec![0, 1, 2, 3, 4, 5, 6]),
        ("texts", vec![1]),
        ("pairs", vec![0, 4]),
        ("listed", vec![1, 5]),
        ("strict", vec![2]),
        ("regions", vec![1, 0]),
    ];
    for (keyspace, used) in uses {
        let columns: Vec<String> = used.into_iter().map(|column: usize| columns[column].clone()).collect();
        let found = map.keyspace(keyspace).unwrap();
        let conditions: Vec<String> = map.shard_ids().map(|shard| found.owned_by(shard, &columns).unwrap()).collect();
        for (number, condition) in conditions.iter().enumerate() {
            endpoint.execute(&format!("CREATE PUBLICATION {keyspace}_{number} FOR TABLE t WHERE ({condition})"));
        }
        let twice =
            endpoint.value(&format!("SELECT count(*) FROM t WHERE ({}) AND ({})", conditions[0], conditions[1]));
        assert_eq!(twice, "0", "{keyspace}");
        // Every row that the map places on a shard is selected for it, and no other.
        let expected: Vec<String> = map.shard_ids().map(|shard| placed(&endpoint, found, &columns, shard)).collect();
        for (condition, expected) in conditions.iter().zip(expected) {
            let rows = format!("SELECT coalesce(string_agg(a::text, ',' ORDER BY a), '') FROM t WHERE {condition}");
            assert_eq!(endpoint.value(&rows), expected, "{keyspace}: {condition}");
        }
    }
}

/// The rows, by their first column, that Rust places on a shard.
fn placed(
    endpoint: &crate::harness::Endpoint,
    keyspace: &weir::shardmap::Keyspace,
    columns: &[String],
    shard: weir::types::ShardId,
) -> String {
    let list = columns.iter().map(|column| format!("{column}::text")).collect::<Vec<_>>().join(" || '|' || ");
    let rows = endpoint
        .value(&format!("SET TimeZone = 'UTC'; SELECT a || '=' || {list} FROM t WHERE a IS NOT NULL ORDER BY a"));
    let owned = rows.lines().filter(|line| {
        let values = line.split_once('=').unwrap().1.split('|');
        let key = keyspace.key.iter().zip(values).map(|(key_type, text)| KeyValue::from_text(*key_type, text).unwrap());
        keyspace.shard_of(&key.collect::<Vec<_>>()).ok() == Some(shard)
    });
    owned.map(|line| line.split_once('=').unwrap().0).collect::<Vec<_>>().join(",")
}
