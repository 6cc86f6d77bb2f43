use super::*;
use crate::shardmap::{Bound, KeyValue, Method, Placement, Range, UnknownKey};
use crate::types::ShardId;

const MINIMAL: &str = r#"
[[users]]
name = "ann"
password = "secret"
[databases.app]
shards = [{ name = "only", primary = "db1" }]
"#;

/// `weir.toml` of a database `shop` with the shards `one` and `two` and the shard map `map.toml`.
const SHARDED: &str = r#"
[databases.shop]
shard_map = "map.toml"
shards = [{ name = "one", primary = "db1" }, { name = "two", primary = "db2" }]
"#;

/// Loads `dir/weir.toml` with `dir/map.toml` beside it.
fn load_texts(main: &str, map: &str) -> Result<Config, Vec<Mistake>> {
    load(Path::new("dir/weir.toml"), |path| match path.to_str() {
        Some("dir/weir.toml") => Ok(main.to_owned()),
        Some("dir/map.toml") => Ok(map.to_owned()),
        _ => Err(io::ErrorKind::NotFound.into()),
    })
}

/// The mistakes as `weir check` prints them, without the directory.
fn mistakes(main: &str, map: &str) -> Vec<String> {
    let mistakes = load_texts(main, map).map(|_| ()).err().unwrap_or_default();
    mistakes.iter().map(|mistake| mistake.to_string().replace("dir/", "")).collect()
}

fn check_main(main: &str, expected: &[&str]) {
    assert_eq!(mistakes(main, ""), expected);
}

fn check_map(map: &str, expected: &[&str]) {
    assert_eq!(mistakes(SHARDED, map), expected);
}

fn shard_map(map: &str) -> ShardMap {
    let config = load_texts(SHARDED, map).unwrap();
    config.database("shop").and_then(|shop| shop.shard_map.clone()).unwrap()
}

fn read_project_file(path: &Path) -> io::Result<String> {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path))
}

#[test]
fn the_example_configuration_is_right() {
    let config = load(Path::new("weir.toml"), read_project_file).unwrap();
    assert_eq!(config.databases.iter().map(|database| database.shards.len()).collect::<Vec<_>>(), [1, 2]);
    assert!(!config.databases[0].is_sharded());
    let map = config.database("shop").and_then(|shop| shop.shard_map.as_ref()).unwrap();
    let is_key = |columns: &[String], key: &str| columns == [key];
    assert!(
        matches!(map.placement("public", "orders"), Placement::Sharded { columns, .. } if is_key(columns, "customer_id"))
    );
    assert_eq!(map.placement("public", "products"), Placement::Reference);
}

#[test]
fn the_example_shows_the_defaults() {
    let example = read_project_file(Path::new("weir.toml")).unwrap();
    let assignment = |line: &str| {
        line.strip_prefix("# ").is_some_and(|line| line.split_once(" = ").is_some_and(|(key, _)| !key.contains(' ')))
    };
    let shown: String =
        example.lines().map(|line| if assignment(line) { &line[2..] } else { line }).collect::<Vec<_>>().join("\n");
    let load_example = |text: &str| {
        load(Path::new("weir.toml"), |path| {
            if path == Path::new("weir.toml") { Ok(text.to_owned()) } else { read_project_file(path) }
        })
        .unwrap()
    };
    let (shown, hidden) = (load_example(&shown), load_example(&example));
    assert_eq!(shown.general, hidden.general);
    assert_eq!(shown.pool, hidden.pool);
    assert_eq!(shown.databases[0].shards, hidden.databases[0].shards);
}

#[test]
fn the_example_shard_maps_are_right() {
    for (file, method, tables) in
        [("hash", "hash", 4), ("range", "range", 4), ("directory", "directory", 5), ("geo", "geo", 3)]
    {
        let map = load_shard_map(Path::new(&format!("shardmaps/{file}.toml")), read_project_file).unwrap();
        let is_of_file = |keyspace: &crate::shardmap::Keyspace| [method, "schema"].contains(&keyspace.method.name());
        assert!(map.keyspaces().iter().all(is_of_file), "{file}");
        assert_eq!(map.tables().count(), tables, "{file}");
    }
}

#[test]
fn what_is_absent_has_its_default() {
    let config = load_texts(MINIMAL, "").unwrap();
    assert_eq!(config.general.listen, ["127.0.0.1:6432".parse().unwrap()]);
    assert_eq!(config.general.state_dir, Path::new("dir/weir-state"));
    assert_eq!(config.general.workers, None);
    assert!(config.general.io_uring);
    assert_eq!(config.pool.server_idle_timeout, Some(Duration::from_secs(600)));
    assert_eq!(config.databases[0].pool_size, 20);
    let shard = &config.databases[0].shards[0];
    assert_eq!((shard.dbname.as_str(), shard.primary.to_string().as_str()), ("app", "db1:5432"));
    assert_eq!(config.user("ann").and_then(User::login_password), Some(&Secret::new("secret")));
}

#[test]
fn values_are_real_types() {
    let main = r#"
weir = { listen = "[::1]:1", workers = 3, io_uring = false, state_dir = "/var/lib/weir", log_level = "debug", admin_users = ["bob"] }
[pool]
pool_mode = "session"
server_lifetime = "90min"
server_idle_timeout = 0
query_wait_timeout = "250ms"
client_login_timeout = 5
merge_memory = "16 kB"
[[users]]
name = "bob"
password = "SCRAM-SHA-256$4096:c2FsdA==$c3RvcmVk:c2VydmVy"
server_password = "hidden"
pool_mode = "statement"
[databases.app]
pool_mode = "transaction"
harmless_functions = ["app.audit", "app.stamp"]
shard_local = ["app.report"]
sequence_state = "pin"
two_phase = "required"
repeatable_read = "all_shards"
pool_size = 3
[[databases.app.shards]]
name = "only"
primary = "[::1]:5433"
replicas = ["replica.example.com:5434"]
dbname = "other"
"#;
    let config = load_texts(main, "").unwrap();
    assert_eq!(config.general.state_dir, Path::new("/var/lib/weir"));
    assert_eq!(config.general.workers, NonZeroUsize::new(3));
    assert!(!config.general.io_uring);
    assert_eq!(config.pool.server_lifetime, Duration::from_secs(5400));
    assert_eq!(config.pool.server_idle_timeout, None);
    assert_eq!(config.pool.query_wait_timeout, Some(Duration::from_millis(250)));
    assert_eq!(config.pool.client_login_timeout, Some(Duration::from_secs(5)));
    assert_eq!(config.pool.merge_memory, 16 << 10);
    assert_eq!(config.databases[0].pool_mode, PoolMode::Transaction);
    assert_eq!(config.users[0].pool_mode, Some(PoolMode::Statement));
    assert_eq!(config.databases[0].sequence_state, SequenceState::Pin);
    assert_eq!(config.databases[0].two_phase, TwoPhaseMode::Required);
    assert_eq!(config.databases[0].repeatable_read, RepeatableRead::AllShards);
    assert!(config.databases[0].harmless_functions.iter().eq(["app.audit", "app.stamp"]));
    assert!(config.databases[0].shard_local.iter().eq(["app.report"]));
    assert_eq!(config.databases[0].shards[0].primary, NodeAddress { host: "::1".to_owned(), port: 5433 });
    assert!(matches!(config.users[0].password, Some(Password::Scram(_))));
    assert!(config.peers.is_empty());
    let shown = format!("{config:?}");
    assert!(!shown.contains("hidden") && !shown.contains("c3RvcmVk"), "{shown}");
}

#[test]
fn peers_have_ids_and_addresses() {
    let main = format!("[weir]\npeer_id = 2\n[peers]\n1 = \"weir1\"\n255 = \"[::1]:7000\"\n{MINIMAL}");
    let config = load_texts(&main, "").unwrap();
    let shown: Vec<_> = config.peers.iter().map(|(id, address)| format!("{id} {address}")).collect();
    assert_eq!(shown, ["1 weir1:6432", "255 [::1]:7000"]);
    assert_eq!(config.general.peer_id.map(|id| id.to_string()), Some("2".to_owned()));
    for (main, expected) in [
        ("peers = {}\n", "weir.toml:1: [peers] needs peer_id in [weir]: which of them this Weir is"),
        ("weir.peer_id = 0\n", "weir.toml:1: peer_id: a peer's id is a number from 1 to 255"),
        ("weir.peer_id = 256\n", "weir.toml:1: peer_id: a peer's id is a number from 1 to 255"),
        ("weir.peer_id = 1\npeers.0 = \"a\"\n", "weir.toml:2: 0: a peer's id is a number from 1 to 255"),
        ("weir.peer_id = 1\npeers.one = \"a\"\n", "weir.toml:2: one: a peer's id is a number from 1 to 255"),
        (
            "weir.peer_id = 1\npeers.1 = \"a:b\"\n",
            "weir.toml:2: 1: expected a host and a port, found \"a:b\" (such as \"weir1.example.com:6432\", \
             \"10.0.0.1:6432\" or \"[::1]:6432\")",
        ),
    ] {
        check_main(&format!("{main}{MINIMAL}"), &[expected]);
    }
}

#[test]
fn every_mistake_of_the_main_file_is_named_with_its_line() {
    check_main("", &["weir.toml:1: there is no database (add a table [databases.NAME])"]);
    check_main(
        r#"[weir]
listen = ["6432", "[::1]"]
http_listen = 9432
workers = -1
admin_users = ["anna", "zoe"]
log_level = "inf"
log_levl = "info"

[pool]
pool_mode = "statements"
default_pool_size = 0
server_lifetime = "5 minutes"
server_connect_timeout = "0s"
merge_memory = "64mb"
server_round_robin = "yes"
reserve_pool = 5

[[users]]
name = "ann"

[[users]]
name = "ann"
password = "SCRAM-SHA-256$4096:salt"
auth = "scram"

[[users]]
password = "SCRAM-SHA-256$4096:c2FsdA==$c3RvcmVk:c2VydmVy"
auth = "md5"

[databases.weir]
[[databases.weir.shards]]
name = "a"
primary = "db1:0"

[databases.app]
shard_map = "none.toml"
[[databases.app.shards]]
name = "a"
primary = "db1:5432"
replicas = ["db1", "db 2"]
[[databases.app.shards]]
name = "a"
replica = "db3"
[[databases.app.shards]]
primary = ""

[databases.empty]
harmless_functions = "audit"

[databases.two]
shards = [{ name = "a", primary = "a" }, { name = "b", primary = "b" }]

[database.typo]
"#,
        &[
            r#"weir.toml:2: listen: expected an address and a port, found "6432" (such as "127.0.0.1:6432", "0.0.0.0:6432" or "[::1]:6432")"#,
            r#"weir.toml:2: listen: expected an address and a port, found "[::1]" (such as "127.0.0.1:6432", "0.0.0.0:6432" or "[::1]:6432")"#,
            "weir.toml:3: http_listen: expected a string, found the number 9432",
            "weir.toml:4: workers: expected a number from zero, found the number -1",
            "weir.toml:5: admin_users: there is no user anna (did you mean ann?)",
            "weir.toml:5: admin_users: there is no user zoe",
            r#"weir.toml:6: log_level: unknown value "inf", expected one of: error, warn, info, debug, trace (did you mean info?)"#,
            "weir.toml:7: unknown setting log_levl in [weir] (did you mean log_level?)",
            r#"weir.toml:10: pool_mode: unknown value "statements", expected one of: session, transaction, statement (did you mean statement?)"#,
            "weir.toml:11: default_pool_size: must be at least 1",
            r#"weir.toml:12: server_lifetime: expected a duration, found the string "5 minutes" (a number of seconds, or a number with one of the units us, ms, s, min, h, d, such as "30s")"#,
            "weir.toml:13: server_connect_timeout: must be longer than zero",
            r#"weir.toml:14: merge_memory: expected a size, found the string "64mb" (a number of bytes, or a number with one of the units B, kB, MB, GB, TB, such as "64MB")"#,
            r#"weir.toml:15: server_round_robin: expected true or false, found the string "yes""#,
            "weir.toml:16: unknown setting reserve_pool in [pool]",
            "weir.toml:18: [[users]] lacks password",
            "weir.toml:22: user ann is given twice",
            "weir.toml:23: password: not a SCRAM secret (SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey, as in pg_authid.rolpassword)",
            r#"weir.toml:24: auth: unknown value "scram", expected one of: scram-sha-256, md5, trust (did you mean scram-sha-256?)"#,
            "weir.toml:26: [[users]] lacks name",
            r#"weir.toml:26: auth = "md5" needs a plain password: a SCRAM secret cannot check an md5 answer"#,
            "weir.toml:30: the name weir is the console's",
            r#"weir.toml:33: primary: expected a host and a port, found "db1:0" (such as "db1.example.com:5432", "10.0.0.1:5432" or "[::1]:5432")"#,
            "weir.toml:36: shard_map: none.toml cannot be read: entity not found",
            "weir.toml:38: db1:5432, database app, is given twice",
            r#"weir.toml:40: replicas: expected a host and a port, found "db 2" (such as "db1.example.com:5432", "10.0.0.1:5432" or "[::1]:5432")"#,
            "weir.toml:41: [[databases.app.shards]] lacks primary",
            "weir.toml:42: shard a is given twice",
            "weir.toml:43: unknown setting replica in [[databases.app.shards]] (did you mean replicas?)",
            "weir.toml:44: [[databases.app.shards]] lacks name",
            r#"weir.toml:45: primary: expected a host and a port, found "" (such as "db1.example.com:5432", "10.0.0.1:5432" or "[::1]:5432")"#,
            "weir.toml:47: [databases.empty] lacks shards",
            r#"weir.toml:48: harmless_functions: expected schema.function, found "audit""#,
            "weir.toml:50: [databases.two] lacks shard_map, which a database with several shards needs",
            "weir.toml:53: unknown setting database in the file (did you mean databases?)",
        ],
    );
    check_main(
        "weir = { listen = [] }\ndatabases = 1",
        &[
            "weir.toml:1: there is no database (add a table [databases.NAME])",
            "weir.toml:1: listen: must not be empty",
            "weir.toml:2: [databases]: expected a table, found the number 1",
        ],
    );
}

#[test]
fn a_syntax_error_hides_only_what_it_makes_uncertain() {
    check_main("[weir\nlisten = \n", &["weir.toml:1: unclosed table, expected `]`"]);
    check_main(
        "[weir]\nworkers = \nlog_level = \"loud\"\nlisten = \"127.0.0.1:1\nhttp_lisen = 1\nworkers = 2\n[pool]\nmerge_memory = 64MB\n",
        &[
            "weir.toml:2: string values must be quoted, expected literal string",
            r#"weir.toml:3: log_level: unknown value "loud", expected one of: error, warn, info, debug, trace"#,
            r#"weir.toml:4: invalid basic string, expected `"`"#,
            "weir.toml:5: unknown setting http_lisen in [weir] (did you mean http_listen?)",
            "weir.toml:6: duplicate key",
            "weir.toml:8: string values must be quoted, expected literal string",
        ],
    );
}

/// Weirs that share a catalog do not keep each other out.
#[test]
fn a_snapshot_of_all_shards_needs_a_catalog_of_ones_own() {
    let database = "[databases.app]\nrepeatable_read = \"all_shards\"\n[[databases.app.shards]]\nname = \"a\"\nprimary = \"a:1\"\n";
    let users = "[[users]]\nname = \"ann\"\npassword = \"x\"\n";
    assert_eq!(mistakes(&format!("{users}{database}"), ""), Vec::<String>::new());
    let shared = format!("[weir]\ncatalog = \"postgres://u@h/db\"\n{users}{database}");
    assert_eq!(
        mistakes(&shared, ""),
        ["weir.toml:7: repeatable_read = \"all_shards\" needs a Weir that shares its catalog with no other \
         (leave out catalog in [weir], or take \"one_shard\")"]
    );
}

#[test]
fn every_mistake_of_a_shard_map_is_named_with_its_line() {
    check_map("", &[]);
    check_map(
        r#"shards = ["two", "one"]
reference_tables = ["t"]

[keyspaces.a]
method = "hsh"
key_type = "int8"
[keyspaces.b]
method = "hash"
key_type = "bigserial"
[keyspaces.c]
method = "hash"
key_type = "date"
function = "xxh3"
buckets = 1000
[keyspaces.d]
method = "hash"
key_type = "int8"
buckets = 8
shards = ["one"]
placement = [
    { first = 0, last = 3, shard = "one" },
    { first = 3, last = 5, shard = "tow" },
    { first = 3, last = 5, shard = "two" },
    { first = 6, last = 8, shard = "two" },
    { first = 6, shard = "two", to = 7 },
]
[keyspaces.e]
method = "hash"
key_type = "int8"
placement = "random"
shards = ["three"]
[keyspaces.f]
key_type = "text"

[tables]
t = { keyspace = "customers", key = "id" }
"public.t" = { reference = true }
u = { reference = true, keyspace = "d" }
v = { keyspace = "d" }
w = {}
"a.b.c" = { reference = true }
x = "d"
y = { keyspace = "d", key = "id", colum = "id" }
"#,
        &[
            "map.toml:1: shards: the database has the shards one, two, in this order",
            "map.toml:2: unknown setting reference_tables in the shard map",
            r#"map.toml:5: method: unknown value "hsh", expected one of: hash, range, directory, geo (did you mean hash?)"#,
            r#"map.toml:9: key_type: "bigserial" cannot be the type of a key, expected one of: int2, int4, int8, text, varchar, uuid, date, timestamp, timestamptz, numeric, bytea, bool, enum, schema"#,
            "map.toml:13: function: xxh3 is not defined for keys of type date",
            "map.toml:14: buckets: must be a power of two up to 65536, not 1000",
            "map.toml:19: unknown setting shards in [keyspaces.d]",
            "map.toml:22: shard: there is no shard tow",
            "map.toml:23: bucket 3 is placed twice",
            "map.toml:24: first and last must be in order and less than 8, not 6 and 8",
            "map.toml:25: a part of placement lacks last",
            "map.toml:25: unknown setting to in a part of placement",
            r#"map.toml:30: placement: unknown value "random", expected one of: even"#,
            "map.toml:31: shards: there is no shard three",
            "map.toml:32: [keyspaces.f] lacks method",
            "map.toml:36: there is no keyspace customers",
            "map.toml:37: table public.t is given twice",
            "map.toml:38: a reference table has neither keyspace nor key: every shard holds all of it",
            "map.toml:39: [tables.v] lacks key",
            "map.toml:40: [tables.w] lacks key",
            "map.toml:40: [tables.w] lacks keyspace",
            r#"map.toml:41: "a.b.c" is not a table's name, expected "table" or "schema.table""#,
            r#"map.toml:42: [tables.x]: expected a table, found the string "d""#,
            "map.toml:43: unknown setting colum in [tables.y]",
        ],
    );
    check_map(
        r#"[keyspaces.a]
method = "range"
key_type = "int8"
ranges = [
    { from = 0, to = 10, shard = "one" },
    { from = 9, to = 20, shard = "two" },
    { from = 30, to = 30, shard = "two" },
    { from = 31, to = "x", shard = "two" },
]
[keyspaces.b]
method = "range"
key_type = "int8"
ranges = [
    { from = 0, to = 10, shard = "one" },
    { from = 9, to = 20, shard = "two" },
    { from = 30, to = 30, shard = "two" },
]
[keyspaces.c]
method = "range"
key_type = "text"
ranges = [
    { from = "MINVALUE", to = 5, shard = "one" },
    { from = "m", to = "MAXVALUE", shard = "uno" },
]
[keyspaces.d]
method = "range"
key_type = "date"
ranges = []
[keyspaces.e]
method = "range"
key_type = "date"
[keyspaces.f]
method = "directory"
key_type = "uuid"
default_shard = "six"
[keyspaces.f.values]
one = ["6ba7b810-9dad-11d1-80b4-00c04fd430c8", "6BA7B810-9DAD-11D1-80B4-00C04FD430C8", "x"]
owt = []
[keyspaces.g]
method = "directory"
key_type = "int2"
[keyspaces.h]
method = "geo"
key_type = "int2"
regions = { eu = { shards = [], residnt = true }, us = {} }
[keyspaces.i]
method = "geo"
key_type = "int2"
region_column = "region"
"#,
        &[
            r#"map.toml:8: to: the string "x" is not a plain value of type int8"#,
            "map.toml:14: no range holds the values [MINVALUE, 0) (add a range, or allow_gaps = true to refuse such keys)",
            "map.toml:15: the range [9, 20) overlaps the one before it, which ends at 10",
            "map.toml:16: no range holds the values [20, 30) (add a range, or allow_gaps = true to refuse such keys)",
            "map.toml:16: no range holds the values [30, MAXVALUE) (add a range, or allow_gaps = true to refuse such keys)",
            "map.toml:16: the range [30, 30) is empty",
            "map.toml:22: to: the number 5 is not a plain value of type text",
            "map.toml:23: shard: there is no shard uno",
            "map.toml:25: no range holds the values [MINVALUE, MAXVALUE) (add a range, or allow_gaps = true to refuse such keys)",
            "map.toml:29: [keyspaces.e] lacks ranges",
            "map.toml:35: default_shard: there is no shard six",
            "map.toml:37: the value 6ba7b810-9dad-11d1-80b4-00c04fd430c8 is given twice",
            r#"map.toml:37: one: the string "x" is not a plain value of type uuid"#,
            "map.toml:38: there is no shard owt",
            "map.toml:39: [keyspaces.g] lacks values",
            "map.toml:45: shards: must not be empty",
            "map.toml:45: unknown setting residnt in the region eu (did you mean resident?)",
            "map.toml:45: the region us lacks shards",
            "map.toml:46: [keyspaces.i] lacks regions",
        ],
    );
}

#[test]
fn placements_are_what_the_file_says() {
    let map = shard_map(
        r#"
[keyspaces.h]
method = "hash"
key_type = "int4"
buckets = 4
placement = [{ first = 1, last = 3, shard = "two" }, { first = 0, last = 0, shard = "one" }]
[keyspaces.r]
method = "range"
key_type = "date"
ranges = [{ from = 2024-01-01, to = "MAXVALUE", shard = "two" }, { from = "MINVALUE", to = 2024-01-01, shard = "one" }]
[keyspaces.d]
method = "directory"
key_type = "int8"
default_shard = "two"
values = { one = [5, "6"] }
[tables]
"sales.t" = { keyspace = "h", key = "k" }
"#,
    );
    let method = |name: &str| map.keyspaces().iter().find(|keyspace| keyspace.name == name).map(|found| &found.method);
    let Some(Method::Hash(hash)) = method("h") else { panic!() };
    assert_eq!(hash.placement(), [0, 1, 1, 1].map(ShardId));
    let Some(Method::Range(ranges)) = method("r") else { panic!() };
    let day = || Bound::Key(vec![KeyValue::Date(8766)]);
    let expected = [
        Range { from: Bound::MinValue, to: day(), shard: ShardId(0) },
        Range { from: day(), to: Bound::MaxValue, shard: ShardId(1) },
    ];
    assert!(ranges.iter().eq(&expected));
    let Some(Method::Directory(directory)) = method("d") else { panic!() };
    assert_eq!(directory.entries, [5, 6].map(|key| (vec![KeyValue::Int(key)], ShardId(0))).into());
    assert_eq!(directory.unknown, UnknownKey::Default(ShardId(1)));
    assert!(matches!(map.placement("sales", "t"), Placement::Sharded { columns, .. } if columns == ["k"]));
}
