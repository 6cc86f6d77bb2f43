use std::path::Path;

use super::*;
use crate::admin::command::{Command, parse};
use crate::config;

fn map() -> ShardMap {
    let text = r#"
        shards = ["one", "two", "three"]
        keyspaces.numbers = { method = "hash", key_type = "int8", buckets = 4 }
        tables.orders = { keyspace = "numbers", key = "id" }
        tables.plans = { reference = true }
    "#;
    config::load_shard_map(Path::new("map.toml"), |_| Ok(text.to_owned())).unwrap()
}

/// The map as text after some commands.
fn after(sql: &str) -> Result<String> {
    let mut map = map();
    for command in parse(sql)? {
        let Command::Change(command) = command else { panic!("{command:?}") };
        map = map.changed(&command.change(&map)?)?;
    }
    Ok(config::shard_map_text(&map))
}

fn check(sql: &str, lines: &[&str]) {
    let text = after(sql).unwrap_or_else(|error| panic!("{sql}: {error} {:?}", error.detail));
    for line in lines {
        assert!(text.lines().any(|known| known == *line), "{sql}: {line} is not in\n{text}");
    }
    // What is written is read back as the same.
    let again = config::load_shard_map(Path::new("map.toml"), |_| Ok(text.clone())).unwrap();
    assert_eq!(config::shard_map_text(&again), text);
}

#[test]
fn keyspaces_of_every_method_are_made() {
    check(
        "CREATE KEYSPACE k HASH (text, int4) BUCKETS 8 ON (one, three)",
        &[
            "[keyspaces.\"k\"]",
            "key_type = [\"text\", \"int4\"]",
            "placement = [{ first = 0, last = 3, shard = \"one\" }, { first = 4, last = 7, shard = \"three\" }]",
        ],
    );
    check("create keyspace k hash (bigint) function xxh3", &["buckets = 4096", "function = \"xxh3\""]);
    check(
        "CREATE KEYSPACE \"K\" RANGE (numeric) (FROM MINVALUE TO -1.50 ON one, FROM -1.5 TO MAXVALUE ON two)",
        &[
            "[keyspaces.\"K\"]",
            "ranges = [{ from = \"MINVALUE\", to = [\"-1.5\"], shard = \"one\" }, { from = [\"-1.5\"], to = \"MAXVALUE\", shard = \"two\" }]",
        ],
    );
    check(
        "CREATE KEYSPACE k RANGE (text, int4) (FROM ('a', 1) TO 'b' ON one); \
         ALTER KEYSPACE k ADD RANGE FROM 'b' TO ('b', 7) ON three",
        &[
            "ranges = [{ from = [\"a\", \"1\"], to = [\"b\"], shard = \"one\" }, { from = [\"b\"], to = [\"b\", \"7\"], shard = \"three\" }]",
        ],
    );
    check(
        "CREATE KEYSPACE k DIRECTORY (text) VALUES ('it''s', 'b') ON one VALUES ('c') ON two UNKNOWN ASSIGN ON (two, three);
         ALTER KEYSPACE k ADD VALUE 'd' ON three",
        &[
            "unknown = \"assign\"",
            "shards = [\"two\", \"three\"]",
            "\"one\" = [[\"b\"], [\"it's\"]]",
            "\"three\" = [[\"d\"]]",
        ],
    );
    check(
        "CREATE KEYSPACE k DIRECTORY (bool, date) VALUES ((true, '2024-02-29')) ON one UNKNOWN ON two",
        &["default_shard = \"two\"", "\"one\" = [[\"true\", \"2024-02-29\"]]"],
    );
    check(
        "CREATE KEYSPACE k DIRECTORY SCHEMA VALUES ('acme') ON two",
        &["key_type = \"schema\"", "\"two\" = [[\"acme\"]]"],
    );
    check(
        "CREATE KEYSPACE k GEO (enum, uuid) BUCKETS 2 (REGION 'eu' RESIDENT ON (one), REGION 'us' ON (two, three));
         ALTER KEYSPACE k ADD REGION 'asia' ON (one)",
        &[
            "region_type = \"enum\"",
            "\"eu\" = { resident = true, placement = [{ first = 0, last = 1, shard = \"one\" }] }",
            "\"asia\" = { resident = false, placement = [{ first = 0, last = 1, shard = \"one\" }] }",
        ],
    );
}

#[test]
fn tables_get_their_places() {
    check(
        "ALTER TABLE Sales.lines SHARD BY (id) IN numbers",
        &["\"sales.lines\" = { keyspace = \"numbers\", key = [\"id\"] }"],
    );
    check("ALTER TABLE orders SET REFERENCE FOR DATABASE shop", &["\"public.orders\" = { reference = true }"]);
    check("ALTER TABLE \"Odd\" SET SHARD three;", &["\"public.Odd\" = { shard = \"three\" }"]);
    check("ALTER DATABASE shop SET UNMAPPED TABLES HOME", &["unmapped_tables = \"home\""]);
    let text = after("ALTER TABLE orders FORGET; DROP KEYSPACE numbers").unwrap();
    assert!(!text.contains("numbers") && !text.contains("orders"), "{text}");
}

#[test]
fn what_cannot_be_done_is_said() {
    for (sql, words) in [
        ("CREATE KEYSPACE k HASH (int8", "expected \")\", found the end"),
        ("CREATE KEYSPACE k HASH (serial)", "expected a type that keys may have"),
        ("CREATE KEYSPACE k HASH (bool)", "keys of type bool cannot be hashed"),
        ("CREATE KEYSPACE k HASH (date) FUNCTION xxh3", "function xxh3 is not defined for such keys"),
        ("CREATE KEYSPACE k HASH (int8) BUCKETS 3", "must be a power of two"),
        ("CREATE KEYSPACE k HASH (int8) ON (four)", "there is no shard four"),
        ("CREATE KEYSPACE k HASH (int8) nonsense", "expected the end of the command, found \"nonsense\""),
        ("CREATE KEYSPACE numbers HASH (int8)", "keyspace numbers is given twice"),
        ("CREATE KEYSPACE k RANGE (int8) (FROM 1 TO 'x' ON one)", "expected a plain value of type int8, found \"'x'\""),
        ("CREATE KEYSPACE k RANGE (int8) (FROM 1 TO 5 ON one, FROM 4 TO 6 ON two)", "overlap"),
        ("CREATE KEYSPACE k RANGE (int8) (FROM (1, 2) TO 5 ON one)", "expected \")\""),
        ("CREATE KEYSPACE k DIRECTORY (int8) VALUES (1, 1) ON one", "a value is given twice"),
        ("CREATE KEYSPACE k DIRECTORY (int8, int8) VALUES (1) ON one", "expected (int8, int8)"),
        ("CREATE KEYSPACE k DIRECTORY SCHEMA UNKNOWN ON one", "has no default shard"),
        ("CREATE KEYSPACE k GEO (text) (REGION 'eu' ON (one))", "needs the type of the region"),
        ("CREATE KEYSPACE k GEO (int8, int8) (REGION 1 ON (one))", "a region cannot have type int8"),
        ("CREATE KEYSPACE k GEO (text, int8) (REGION 'a' ON (one), REGION 'a' ON (one))", "a region is given twice"),
        ("CREATE KEYSPACE k BTREE (text)", "expected HASH, RANGE, DIRECTORY or GEO, found \"BTREE\""),
        ("ALTER KEYSPACE nix ADD VALUE 1 ON one", "there is no keyspace nix"),
        ("ALTER KEYSPACE numbers ADD VALUE 1 ON one", "keyspace numbers is no directory"),
        ("ALTER KEYSPACE numbers ADD RANGE FROM 1 TO 2 ON one", "has no ranges"),
        ("ALTER KEYSPACE numbers DROP VALUE 1", "keyspace numbers is no directory"),
        (
            "ALTER KEYSPACE numbers DROP RANGE 1",
            "expected ADD VALUE, DROP VALUE, RENAME VALUE, ADD RANGE or ADD REGION",
        ),
        ("DROP KEYSPACE numbers", "keyspace numbers is in use"),
        ("ALTER TABLE orders SHARD BY (id, more) IN numbers", "gives 2 key columns, keyspace numbers has 1"),
        ("ALTER TABLE orders SHARD BY (id) IN nix", "names the unknown keyspace nix"),
        ("ALTER TABLE orders SET SHARD nix", "there is no shard nix"),
        ("ALTER TABLE nix FORGET", "table public.nix is not in the shard map"),
        ("ALTER TABLE \"a.b\" SET REFERENCE", "expected a name without a dot"),
        ("ALTER TABLE orders ADD COLUMN x int", "expected SHARD BY, SET REFERENCE, SET SHARD or FORGET"),
        ("ALTER DATABASE shop ADD SHARD one", "shard one takes part already"),
        ("ALTER DATABASE shop RENAME TO x", "expected ADD SHARD"),
    ] {
        let error = after(sql).unwrap_err();
        assert!(error.to_string().contains(words), "{sql}: {error}");
    }
}

#[test]
fn a_directory_keeps_what_it_has() {
    let made = "CREATE KEYSPACE d DIRECTORY (int8) VALUES (1) ON one";
    for (more, words) in [
        ("ALTER KEYSPACE d ADD VALUE 1 ON two", "key value 1 has a shard already"),
        ("ALTER KEYSPACE d ADD VALUE NULL ON two", "expected a value"),
        ("ALTER KEYSPACE d DROP VALUE 2", "key value 2 has no entry in keyspace d"),
        ("ALTER KEYSPACE d RENAME VALUE 2 TO 3", "key value 2 has no entry in keyspace d"),
        (
            "ALTER KEYSPACE d ADD VALUE 2 ON two; ALTER KEYSPACE d RENAME VALUE 1 TO 2",
            "key value 2 has a shard already",
        ),
        ("ALTER KEYSPACE d RENAME VALUE 1", "expected TO"),
    ] {
        let error = after(&format!("{made}; {more}")).unwrap_err();
        assert!(error.to_string().contains(words), "{more}: {error}");
    }
    let default = "CREATE KEYSPACE d DIRECTORY (int8) UNKNOWN ON one; ALTER KEYSPACE d ADD VALUE 2 ON two";
    assert!(after(default).unwrap_err().to_string().contains("has a shard already"));
}

#[test]
fn a_route_is_explained_for_all_of_the_text() {
    let explain = |sql: &str| match parse(sql).unwrap().remove(0) {
        Command::ExplainRoute { database, sql } => (database, sql),
        other => panic!("{other:?}"),
    };
    assert_eq!(explain("explain  ROUTE SELECT 1; SELECT ';' "), (None, "SELECT 1; SELECT ';'".to_owned()));
    let named = explain("EXPLAIN ROUTE FOR DATABASE shop\nSELECT 1");
    assert_eq!(named, (Some("shop".to_owned()), "SELECT 1".to_owned()));
    assert!(parse("EXPLAIN ROUTES SELECT 1").is_err());
}
