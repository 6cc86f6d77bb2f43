//! Keyspaces of every method over three shards, and tables that live on one: statements find their rows, and rows are
//! where the map's own SQL says.

use bytes::BytesMut;
use weir::wire::frontend;

use super::answer::{Answer, Order, answers, ask, extended, simple, story};
use super::shop::must;
use crate::harness::{Database, Endpoint, RawClient, Setup, Weir, endpoint_of, servers, unique};

/// A sharded database over the shards `one`, `two` and `three`, and one PostgreSQL with the same tables.
pub struct Three {
    pub weir: Weir,
    pub setup: Setup,
    pub dbname: String,
    pub sharded: RawClient,
    /// The one PostgreSQL.
    pub reference: Endpoint,
    pub single: RawClient,
}

impl Three {
    /// Starts Weir with this map.
    pub fn start(shard_map: &str) -> Self {
        Self::with(Setup::new(), Database::new("shop").sharded_by(shard_map))
    }

    /// Starts Weir with this set-up and database, which gets the shards.
    pub fn with(setup: Setup, database: Database) -> Self {
        let dbname = unique("three");
        let [one, two, three] = primaries();
        for node in primaries() {
            endpoint_of(node, "postgres").execute(&format!("CREATE DATABASE {dbname}"));
        }
        let name = unique("single");
        endpoint_of(&servers().reference, "postgres").execute(&format!("CREATE DATABASE {name}"));
        let database = database.nodes("one", one, &[], &dbname).nodes("two", two, &[], &dbname);
        let database = database.nodes("three", three, &[], &dbname);
        let setup = setup.weir("admin_users = [\"weir\"]").database(database);
        let weir = Weir::start(&setup);
        let sharded = weir.endpoint("shop").raw();
        let reference = endpoint_of(&servers().reference, &name);
        let single = reference.raw();
        Self { weir, setup, dbname, sharded, reference, single }
    }

    pub fn shard(&self, index: usize) -> Endpoint {
        endpoint_of(primaries()[index], &self.dbname)
    }

    pub fn console(&self) -> RawClient {
        self.weir.endpoint("weir").raw()
    }

    /// Runs a statement on both sides. One that Weir refuses is not run by PostgreSQL.
    pub fn ask_both(&mut self, sql: &str) -> (Answer, Answer) {
        let ours = ask(&mut self.sharded, sql);
        let theirs = if ours.refusal().is_some() { ours.clone() } else { ask(&mut self.single, sql) };
        (ours, theirs)
    }

    /// Puts rows on a shard itself, and into the one PostgreSQL.
    pub fn put(&mut self, shard: usize, sql: &str) {
        self.shard(shard).execute(sql);
        must(&mut self.single, sql);
    }

    /// The same for a statement with parameters in text format.
    pub fn extended_both(&mut self, sql: &str, values: &[Option<&str>]) -> (Answer, Answer) {
        let ours = extended(&mut self.sharded, sql, values);
        let refused = ours.refusal().is_some();
        let theirs = if refused { ours.clone() } else { extended(&mut self.single, sql, values) };
        (ours, theirs)
    }

    /// Runs a statement that must succeed on both sides, and be answered alike.
    pub fn both(&mut self, sql: &str) {
        let (ours, theirs) = self.ask_both(sql);
        assert_eq!(ours.error, None, "{sql}");
        assert_eq!(ours.difference(&theirs, Order::Keys { sorted: 0 }), None, "{sql}");
    }

    /// The same for a statement with parameters in text format.
    pub fn both_extended(&mut self, sql: &str, values: &[Option<&str>]) {
        let (ours, theirs) = self.extended_both(sql, values);
        assert_eq!(ours.error, None, "{sql} {values:?}");
        assert_eq!(ours.difference(&theirs, Order::Keys { sorted: 0 }), None, "{sql} {values:?}");
    }

    /// How many rows of a table each shard has.
    pub fn counts(&self, table: &str) -> [String; 3] {
        [0, 1, 2].map(|shard| self.shard(shard).value(&format!("SELECT count(*) FROM {table}")))
    }

    /// The shard of the only part of a statement's route.
    pub fn route(&self, sql: &str) -> String {
        let rows = ask(&mut self.console(), &format!("EXPLAIN ROUTE {sql}"));
        assert_eq!(rows.error, None, "{sql}");
        rows.rows.iter().map(|row| row[2].clone().unwrap_or_default()).collect::<Vec<_>>().join(",")
    }
}

fn primaries() -> [&'static weir::cli::cluster::Node; 3] {
    let servers = servers();
    [&servers.shop[0].primary, &servers.shop[1].primary, &servers.app.primary]
}

/// Types, and texts of values that differ in their hashes and in their spelling.
const KEYS: &[(&str, &[&str])] = &[
    ("int2", &["-32768", "-1", "0", "7", "32767"]),
    ("int4", &["-2147483648", "-1", "0", "7", "2147483647"]),
    ("int8", &["-9223372036854775808", "-1", "0", "9007199254740993", "9223372036854775807"]),
    ("text", &["", "a", "é", "it's", "a longer text than twelve bytes", "10"]),
    ("varchar", &["", "a", "é", "it's", "a longer text than twelve bytes", "10"]),
    ("uuid", &["00000000-0000-0000-0000-000000000000", "6ba7b810-9dad-11d1-80b4-00c04fd430c8"]),
    ("date", &["0001-01-01", "1999-12-31", "2000-01-01", "2024-02-29", "9999-12-31"]),
    ("timestamp", &["1999-12-31 23:59:59.999999", "2000-01-01 00:00:00", "2024-02-29 12:34:56.5"]),
    ("timestamptz", &["1999-12-31 23:59:59.999999+00", "2000-01-01 00:00:00+02", "2024-02-29 12:34:56.5-05:30"]),
    ("numeric", &["-1.5", "0", "0.0001", "7", "10000", "123456789012345678901234567890.5", "NaN"]),
    ("bytea", &["\\x", "\\x00", "\\x0102030405060708090a0b0c0d", "abc"]),
];

fn hash_map() -> String {
    let keyspaces: String = KEYS
        .iter()
        .map(|(key_type, _)| {
            format!("keyspaces.k_{key_type} = {{ method = \"hash\", key_type = \"{key_type}\", buckets = 64 }}\n")
        })
        .collect();
    let tables: String = KEYS
        .iter()
        .map(|(key_type, _)| format!("tables.t_{key_type} = {{ keyspace = \"k_{key_type}\", key = \"k\" }}\n"))
        .collect();
    keyspaces + &tables
}

/// The binary form of a value, as a server sends it.
fn binary(reference: &Endpoint, key_type: &str, value: &str) -> Vec<u8> {
    let function = match key_type {
        "bytea" => "byteasend",
        "text" | "varchar" | "int2" | "int4" | "int8" => {
            return plain_binary(key_type, value);
        }
        "uuid" => "uuid_send",
        "date" => "date_send",
        "timestamp" => "timestamp_send",
        "timestamptz" => "timestamptz_send",
        "numeric" => "numeric_send",
        other => panic!("{other}"),
    };
    let hex =
        reference.value(&format!("SELECT encode({function}('{}'::{key_type}), 'hex')", value.replace('\'', "''")));
    (0..hex.len() / 2).map(|byte| u8::from_str_radix(&hex[2 * byte..2 * byte + 2], 16).unwrap()).collect()
}

fn plain_binary(key_type: &str, value: &str) -> Vec<u8> {
    match key_type {
        "int2" => value.parse::<i16>().unwrap().to_be_bytes().to_vec(),
        "int4" => value.parse::<i32>().unwrap().to_be_bytes().to_vec(),
        "int8" => value.parse::<i64>().unwrap().to_be_bytes().to_vec(),
        _ => value.as_bytes().to_vec(),
    }
}

fn oid(key_type: &str) -> u32 {
    weir::shardmap::KeyType::from_name(key_type).and_then(weir::shardmap::KeyType::oid).unwrap()
}

/// Runs a statement with one parameter of this type, in binary format.
fn with_binary(client: &mut RawClient, sql: &str, type_oid: u32, value: &[u8]) -> Answer {
    client.send_with(|out: &mut BytesMut| {
        let mut arguments = vec![0, 1, 0, 1, 0, 1];
        arguments.extend(i32::try_from(value.len()).unwrap().to_be_bytes());
        arguments.extend(value);
        arguments.extend([0, 0]);
        frontend::parse(out, b"", &frontend::definition(sql, &[type_oid]));
        frontend::bind(out, b"", b"", &arguments);
        frontend::describe(out, frontend::Target::Portal(b""));
        frontend::execute(out, b"", 0);
        frontend::sync(out);
    });
    answers(&client.until_ready()).remove(0)
}

/// Integer types that hold the value and are not the key's own.
fn other_integers(key_type: &str, value: &str) -> Vec<&'static str> {
    if !key_type.starts_with("int") && key_type != "numeric" {
        return Vec::new();
    }
    let fits = |other: &&&str| match **other {
        "int2" => value.parse::<i16>().is_ok(),
        "int4" => value.parse::<i32>().is_ok(),
        _ => value.parse::<i64>().is_ok(),
    };
    ["int2", "int4", "int8"].iter().filter(|other| **other != key_type).filter(fits).copied().collect()
}

#[test]
fn keys_of_every_type_are_found_however_they_are_given() {
    let mut three = Three::start(&hash_map());
    let reference = endpoint_of(&servers().reference, "postgres");
    for (key_type, values) in KEYS {
        three.both(&format!("CREATE TABLE t_{key_type} (k {key_type} PRIMARY KEY, v int)"));
        for (number, value) in values.iter().enumerate() {
            let quoted = value.replace('\'', "''");
            // Rows come in by literal, by parameter in text and in binary format, in turn.
            match number % 3 {
                0 => three.both(&format!("INSERT INTO t_{key_type} VALUES ('{quoted}', {number})")),
                1 => three.both_extended(&format!("INSERT INTO t_{key_type} VALUES ($1, {number})"), &[Some(value)]),
                _ => {
                    let bytes = binary(&reference, key_type, value);
                    let sql = format!("INSERT INTO t_{key_type} VALUES ($1, {number})");
                    for client in [&mut three.sharded, &mut three.single] {
                        let answer = with_binary(client, &sql, oid(key_type), &bytes);
                        assert_eq!(answer.brief(), "INSERT 0 1", "{sql} {value}: {answer:?}");
                    }
                }
            }
        }
        for value in *values {
            let quoted = value.replace('\'', "''");
            let equal = format!("SELECT k, v FROM t_{key_type} WHERE k = ");
            three.both(&format!("{equal}'{quoted}'"));
            three.both(&format!("{equal}'{quoted}'::{key_type}"));
            three.both(&format!("{equal}CAST('{quoted}' AS {key_type})"));
            three.both_extended(&format!("{equal}$1"), &[Some(value)]);
            // One shard is enough for each: otherwise nothing would be proven about its place.
            let route = three.route(&format!("{equal}'{quoted}'"));
            assert!(["one", "two", "three"].contains(&&*route), "{key_type} {value}: {route}");
            let bytes = binary(&reference, key_type, value);
            let found = with_binary(&mut three.sharded, &format!("{equal}$1"), oid(key_type), &bytes);
            assert_eq!(found.rows.len(), 1, "{key_type} {value} in binary: {found:?}");
            for other in other_integers(key_type, value) {
                three.both(&format!("{equal}CAST({value} AS {other})"));
                let bytes = plain_binary(other, value);
                let found = with_binary(&mut three.sharded, &format!("{equal}$1"), oid(other), &bytes);
                assert_eq!(found.rows.len(), 1, "{key_type} {value} as {other}: {found:?}");
            }
        }
        three.both(&format!("SELECT count(*) FROM t_{key_type}"));
    }
}

const DIRECTORY: &str = r#"
unmapped_tables = "refuse"
[keyspaces.tenant]
method = "directory"
key_type = "text"
values = { one = ["acme"], two = ["globex", "initech"] }
[keyspaces.flag]
method = "directory"
key_type = "bool"
values = { two = [true], three = [false] }
[keyspaces.region]
method = "directory"
key_type = ["text", "int4"]
default_shard = "three"
values = { one = [["eu", 1]], two = [["eu", 2]] }
[keyspaces.customer]
method = "directory"
key_type = "int8"
unknown = "assign"
shards = ["three", "two"]
[tables]
tasks = { keyspace = "tenant", key = "tenant" }
switches = { keyspace = "flag", key = "active" }
cells = { keyspace = "region", key = ["region", "cell"] }
customers = { keyspace = "customer", key = "id" }
settings = { shard = "two" }
plans = { reference = true }
"#;

#[test]
fn a_directory_routes_by_its_entries() {
    let mut three = Three::start(DIRECTORY);
    three.both("CREATE TABLE plans (id int PRIMARY KEY, name text)");
    three.both("INSERT INTO plans VALUES (1, 'free'), (2, 'paid')");
    three.both("CREATE TABLE tasks (tenant text, id int, plan int REFERENCES plans, PRIMARY KEY (tenant, id))");
    three.both("INSERT INTO tasks VALUES ('acme', 1, 1)");
    three.both("INSERT INTO tasks VALUES ('globex', 1, 2), ('initech', 1, 2)");
    assert_eq!(three.counts("tasks"), ["1", "2", "0"]);
    three.both("SELECT t.id, p.name FROM tasks t JOIN plans p ON p.id = t.plan WHERE t.tenant = 'acme'");
    three.both("SELECT count(*) FROM tasks WHERE tenant IN ('globex', 'initech')");
    three.both("SELECT tenant, count(*) FROM tasks GROUP BY tenant");
    three.both("SELECT * FROM tasks WHERE tenant = 'nobody'");
    three.both("UPDATE tasks SET plan = 1 WHERE tenant = 'globex'");
    three.both_extended("DELETE FROM tasks WHERE tenant = $1", &[Some("initech")]);
    assert_eq!(three.counts("tasks"), ["1", "1", "0"]);
    let refused = ask(&mut three.sharded, "INSERT INTO tasks VALUES ('umbrella', 1, 1)");
    assert_eq!(refused.sqlstate(), Some("22023"), "{refused:?}");
    assert_eq!(three.counts("tasks"), ["1", "1", "0"]);

    three.both("CREATE TABLE switches (active bool, name text, PRIMARY KEY (active, name))");
    three.both("INSERT INTO switches VALUES ('t', 'a')");
    three.both_extended("INSERT INTO switches VALUES ($1, 'b')", &[Some("f")]);
    three.both("SELECT name FROM switches WHERE active = 'true'");
    assert_eq!(three.counts("switches"), ["0", "1", "1"]);

    three.both("CREATE TABLE cells (region text, cell int, v int, PRIMARY KEY (region, cell))");
    three.both("INSERT INTO cells VALUES ('eu', 1, 1)");
    three.both("INSERT INTO cells VALUES ('eu', 2, 2)");
    three.both("INSERT INTO cells VALUES ('us', 1, 3), ('us', 2, 4)");
    assert_eq!(three.counts("cells"), ["1", "1", "2"]);
    three.both("SELECT v FROM cells WHERE region = 'eu' AND cell = 2");
    three.both("SELECT v FROM cells WHERE region = 'eu'");
    three.both("SELECT v FROM cells WHERE cell IN (1, 2) AND region IN ('us', 'eu')");
    three.both("SELECT a.v, b.v FROM cells a JOIN cells b ON a.region = b.region AND a.cell = b.cell");
    three.both("SELECT a.v, b.v FROM cells a JOIN cells b ON a.region = b.region");
    three.both("UPDATE cells SET cell = 3 + cell WHERE v > 2 RETURNING *");
    let circle = ask(&mut three.sharded, "UPDATE cells SET cell = 9 - cell WHERE v > 2");
    assert_eq!(circle.sqlstate(), Some("0A000"));
    three.both("UPDATE cells SET region = 'us', cell = cell + 7 WHERE region = 'eu' RETURNING *");
    three.both("SELECT * FROM cells ORDER BY v");
    assert_eq!(three.counts("cells"), ["0", "0", "4"]);
}

#[test]
fn new_keys_are_assigned_a_shard_that_stays() {
    let mut three = Three::start(DIRECTORY);
    three.both("CREATE TABLE customers (id int8 PRIMARY KEY, name text)");
    // Nobody has assigned a shard yet: that is for an INSERT to do, not for a read.
    three.both("SELECT name FROM customers WHERE id = 1");
    three.both("UPDATE customers SET name = 'x' WHERE id = 1");
    for id in 1..=6 {
        three.both_extended("INSERT INTO customers VALUES ($1, 'n')", &[Some(&id.to_string())]);
    }
    assert_eq!(three.counts("customers"), ["0", "3", "3"]);
    for id in 1..=6 {
        three.both(&format!("SELECT name FROM customers WHERE id = {id}"));
    }
    three.both("INSERT INTO customers VALUES (1, 'again') ON CONFLICT DO NOTHING");
    three.both("SELECT count(*) FROM customers");
    let known = "SHOW SHARD MAP";
    let entries = |three: &Three| {
        let rows = ask(&mut three.console(), known).rows;
        rows.into_iter().filter(|row| row[2].as_deref() == Some("customer")).count()
    };
    assert_eq!(entries(&three), 6);
}

#[test]
fn a_table_may_live_on_one_shard() {
    let mut three = Three::start(DIRECTORY);
    three.both("CREATE TABLE plans (id int PRIMARY KEY, name text)");
    three.both("INSERT INTO plans VALUES (1, 'free')");
    three.both("CREATE TABLE settings (name text PRIMARY KEY, plan int REFERENCES plans, n serial)");
    three.both("INSERT INTO settings (name, plan, n) VALUES ('a', 1, 1), ('b', NULL, 2)");
    assert_eq!(three.shard(1).value("SELECT count(*) FROM settings"), "2");
    for shard in [0, 2] {
        assert_eq!(three.shard(shard).value("SELECT to_regclass('settings') IS NULL"), "t");
    }
    three.both("SELECT s.name, p.name FROM settings s LEFT JOIN plans p ON p.id = s.plan ORDER BY 1");
    three.both("WITH x AS (SELECT * FROM settings) SELECT count(*), max(name) FROM x");
    three.both("UPDATE settings SET plan = 1");
    three.both("CREATE INDEX ON settings (plan)");
    three.both("ALTER TABLE settings ADD COLUMN extra text");
    three.both("SELECT * FROM settings WHERE extra IS NULL");
    three.both("CREATE TABLE tasks (tenant text, id int)");
    three.both("INSERT INTO tasks VALUES ('globex', 1)");
    // Both on one shard; then not.
    three.both("SELECT count(*) FROM settings, tasks WHERE tenant = 'globex'");
    three.both("SELECT count(*) FROM settings, tasks WHERE tenant = 'acme'");
    three.both("SELECT count(*) FROM settings, tasks");
    three.both("SELECT settings.name, p.name, id FROM settings JOIN plans p ON p.id = settings.plan LEFT JOIN tasks t USING (id)");
    story(
        &mut three.sharded,
        &[
            ("CREATE TABLE unknown (id int)", "0A000"),
            ("SELECT * FROM unknown", "0A000"),
            ("ALTER TABLE plans ADD FOREIGN KEY (name) REFERENCES settings (name)", "0A000"),
        ],
    );
    three.both("COMMENT ON TABLE settings IS 'of one shard'");
    three.both("GRANT SELECT ON settings TO PUBLIC");
    three.both("DROP TABLE settings");
}

const GEO: &str = r#"
[keyspaces.player]
method = "geo"
key_type = "int8"
region_column = "region"
buckets = 16
regions = { eu = { shards = ["one", "two"], resident = true }, us = { shards = ["three"] } }
[tables]
players = { keyspace = "player", key = "id" }
games = { keyspace = "player", key = "player" }
"#;

#[test]
fn a_region_keeps_its_rows() {
    let mut three = Three::start(GEO);
    three.both("CREATE TABLE players (region varchar(9), id int8, name text, PRIMARY KEY (region, id))");
    three.both("CREATE TABLE games (region text, player int8, no int, PRIMARY KEY (region, player, no))");
    for id in 0..40 {
        let region = if id % 4 == 0 { "us" } else { "eu" };
        three.both(&format!("INSERT INTO players (id, name, region) VALUES ({id}, 'p{id}', '{region}')"));
        three.both_extended("INSERT INTO games VALUES ($1, $2, 1)", &[Some(region), Some(&id.to_string())]);
    }
    for table in ["players", "games"] {
        let foreign = |region: &str| format!("SELECT count(*) FROM {table} WHERE region <> '{region}'");
        assert_eq!(three.shard(0).value(&foreign("eu")), "0");
        assert_eq!(three.shard(1).value(&foreign("eu")), "0");
        assert_eq!(three.shard(2).value(&foreign("us")), "0");
        let counts = three.counts(table);
        assert!(counts.iter().all(|count| count != "0"), "{counts:?}");
    }
    three.both("SELECT name FROM players WHERE region = 'eu' AND id = 7");
    three.both("SELECT count(*) FROM players WHERE region = 'us'");
    three.both("SELECT count(*) FROM players WHERE region = 'eu'");
    three.both("SELECT count(*) FROM players WHERE id = 7");
    three.both("SELECT * FROM players WHERE region = 'mars'");
    three.both("SELECT p.name, g.no FROM players p JOIN games g ON g.region = p.region AND g.player = p.id");
    assert_eq!(three.route("SELECT count(*) FROM players WHERE region = 'us'"), "three");
    assert_eq!(three.route("SELECT name FROM players WHERE region = 'eu'"), "one,two");
    story(
        &mut three.sharded,
        &[
            ("INSERT INTO players VALUES ('mars', 1, 'x')", "22023"),
            ("INSERT INTO players VALUES (NULL, 1, 'x')", "23502"),
            // Those of this region are to stay there.
            ("UPDATE players SET region = 'us' WHERE region = 'eu' AND id = 7", "0A000"),
            ("UPDATE players SET id = 107 WHERE region = 'eu' AND id = 7", "UPDATE 1"),
            ("SELECT name FROM players WHERE region = 'eu' AND id IN (7, 107)", "p7"),
        ],
    );
}

const SCHEMAS: &str = r#"
[keyspaces.tenant]
method = "directory"
key_type = "schema"
unknown = "assign"
values = { two = ["acme"], three = ["globex"] }
[tables]
plans = { reference = true }
"#;

#[test]
fn a_tenants_schema_lives_on_its_shard() {
    let mut three = Three::start(SCHEMAS);
    three.both("CREATE TABLE plans (id int PRIMARY KEY, name text)");
    three.both("INSERT INTO plans VALUES (1, 'free')");
    for (schema, shard) in [("acme", 1), ("globex", 2), ("fresh", 0)] {
        three.both(&format!("CREATE SCHEMA {schema}"));
        three.both(&format!("CREATE TABLE {schema}.orders (id int PRIMARY KEY, plan int REFERENCES plans)"));
        three.both(&format!("INSERT INTO {schema}.orders VALUES (1, 1), (2, NULL)"));
        assert_eq!(three.shard(shard).value(&format!("SELECT count(*) FROM {schema}.orders")), "2", "{schema}");
        three.both(&format!("SELECT o.id, name FROM {schema}.orders o LEFT JOIN plans p ON p.id = o.plan"));
        three.both(&format!("SELECT rank() OVER (ORDER BY id), id FROM {schema}.orders"));
    }
    story(
        &mut three.sharded,
        &[
            ("SELECT count(*) FROM acme.orders a JOIN globex.orders g ON a.id = g.id", "0A000"),
            ("SELECT * FROM nobody.orders", "0A000"),
            ("ALTER TABLE acme.orders ADD FOREIGN KEY (id) REFERENCES globex.orders (id)", "0A000"),
        ],
    );
}

#[test]
fn tables_that_are_not_mapped_may_live_at_home() {
    let mut three = Three::start("unmapped_tables = \"home\"\n[tables]\nplans = { reference = true }\n");
    three.both("CREATE TABLE notes (id serial PRIMARY KEY, text text UNIQUE)");
    three.both("INSERT INTO notes (text) VALUES ('a'), ('b')");
    three.both("SELECT text FROM notes ORDER BY id");
    assert_eq!(three.shard(0).value("SELECT count(*) FROM notes"), "2");
    assert_eq!(three.shard(1).value("SELECT to_regclass('notes') IS NULL"), "t");
    three.both("ALTER TABLE notes RENAME COLUMN text TO body");
    three.both("SELECT body FROM notes");
}

const COMPOSITE: &str = r#"
[keyspaces.hashed]
method = "hash"
key_type = ["int4", "text"]
buckets = 32
[keyspaces.ranged]
method = "range"
key_type = ["date", "int4"]
ranges = [
    { from = "MINVALUE", to = 2024-01-01, shard = "one" },
    { from = 2024-01-01, to = ["2024-01-01", 10], shard = "two" },
    { from = ["2024-01-01", 10], to = "MAXVALUE", shard = "three" },
]
[tables]
pairs = { keyspace = "hashed", key = ["a", "b"] }
days = { keyspace = "ranged", key = ["day", "n"] }
"#;

#[test]
fn keys_of_several_columns_route_together() {
    let mut three = Three::start(COMPOSITE);
    three.both("CREATE TABLE pairs (a int8, b text, v int, PRIMARY KEY (b, a))");
    three.both("CREATE TABLE days (day date, n int, v int, PRIMARY KEY (day, n))");
    for n in 0..30 {
        three.both(&format!("INSERT INTO pairs VALUES ({}, 'b{}', {n})", n % 5, n / 5));
        three.both_extended("INSERT INTO pairs (v, b, a) VALUES (0, $2, $1)", &[Some("7"), Some(&format!("c{n}"))]);
        three.both(&format!("INSERT INTO days VALUES ('2024-01-01', {n}, {n}), ('2024-01-01', {n}00, 0)", n = n + 10));
        three.both(&format!("INSERT INTO days (n, day, v) VALUES ({n}, '2023-12-31', {n})"));
    }
    three.both("INSERT INTO days VALUES ('2024-01-01', 9, 1), ('2024-01-01', -5, 2)");
    assert_eq!(three.counts("days"), ["30", "2", "60"]);
    let counts = three.counts("pairs");
    assert!(counts.iter().all(|count| count != "0"), "{counts:?}");
    for n in 0..30 {
        three.both(&format!("SELECT v FROM pairs WHERE a = {} AND b = 'b{}'", n % 5, n / 5));
        three.both(&format!("SELECT v FROM days WHERE day = '2024-01-01' AND n = {n}"));
    }
    three.both("SELECT count(*), sum(v) FROM pairs WHERE a = 3");
    three.both("SELECT count(*) FROM days WHERE day = '2024-01-01'");
    three.both("SELECT count(*) FROM pairs p JOIN pairs q ON p.a = q.a AND q.b = p.b WHERE p.a = 7");
    assert_eq!(three.route("SELECT v FROM days WHERE day = '2024-01-01'"), "two,three");
    assert_eq!(three.route("SELECT v FROM days WHERE day = '2023-01-01'"), "one");
    story(
        &mut three.sharded,
        &[
            ("CREATE TABLE p2 (a int)", "0A000"),
            ("ALTER TABLE pairs ADD UNIQUE (a)", "0A000"),
            ("INSERT INTO pairs (a) VALUES (1)", "0A000"),
            ("INSERT INTO days VALUES (NULL, 1)", "23502"),
        ],
    );
    assert!(simple(&mut three.sharded, "ALTER TABLE pairs ADD UNIQUE (a, b, v)")[0].error.is_none());
    must(&mut three.sharded, "DELETE FROM pairs WHERE a = 1 AND b = 'b1'");
}
