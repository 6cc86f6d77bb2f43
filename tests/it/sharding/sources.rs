//! Writes that meet rows of other shards: FROM, USING and MERGE of whatever can be selected, as in one PostgreSQL.

use super::answer::{Order, ask, extended, story};
use super::keyspaces::Three;
use super::shop::must;

const MAP: &str = r#"
[keyspaces.number]
method = "hash"
key_type = "int8"
[keyspaces.name]
method = "hash"
key_type = "text"
[tables]
things = { keyspace = "number", key = "id" }
sources = { keyspace = "name", key = "name" }
kinds = { reference = true }
alone = { shard = "two" }
"#;

const TABLES: &[&str] = &[
    "CREATE TYPE mood AS ENUM ('sad', 'ok', 'it''s \"fine\"')",
    "CREATE TABLE things (id int8 PRIMARY KEY, n int4 GENERATED ALWAYS AS IDENTITY, at timestamptz DEFAULT now(), a text,
        twice int8 GENERATED ALWAYS AS (id * 2) STORED)",
    "CREATE TABLE sources (name text PRIMARY KEY, id int8, ints int4[], texts text[], grid int8[][], b box, m mood, ms mood[],
        c char(5), bits bit(3), v varchar(4), j jsonb, js json, r int4range, rs int4multirange, ts timestamptz, f float8,
        num numeric(10,2), by bytea, u uuid, i interval, ip inet, d date, yes bool, \"odd Name\" int2)",
    "CREATE TABLE kinds (id int4 PRIMARY KEY, label text, made timestamptz DEFAULT now(), chance float8 DEFAULT random())",
    "CREATE TABLE alone (id int8 PRIMARY KEY, a text)",
];

/// Values with everything that could be read as something else.
const ROWS: &[&str] = &[
    r#"('one', 1, '{1,NULL}', '{"a,b","NULL",NULL,"\"q\"\\"}', '{{1,2},{3,4}}', '(1,2),(3,4)', 'ok', '{sad,NULL}', 'ab', '101', 'x', '{"a": "b\"c"}',
        '{"z":  1}', '[1,5)', '{[1,2),[5,6)}', '2020-01-01 10:00:00.123456+02', 0.1, 12.30, '\x00ff5c22', '00000000-0000-4000-8000-000000000001',
        '1 mon 2 days', '10.0.0.0/8', '2020-02-29', true, 7)"#,
    r#"('two', 2, '{}', '{}', '{}', NULL, 'it''s "fine"', '{"it''s \"fine\""}', '', '000', '', 'null', '[]', 'empty', '{}', 'infinity', 'NaN', 0, '', NULL,
        '-00:00:01', '::1', 'infinity', false, -7)"#,
    "('it''s \"three\"', 3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '-Infinity', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)",
    "('four', 40)",
    "('now', NULL)",
];

fn start() -> Three {
    let mut three = Three::start(MAP);
    TABLES.iter().for_each(|sql| three.both(sql));
    ROWS.iter().for_each(|row| three.both(&format!("INSERT INTO sources VALUES {row}")));
    three.both("INSERT INTO things (id, a) SELECT n, 'thing ' || n FROM generate_series(1, 9) n");
    three.both("INSERT INTO alone VALUES (1, 'alone'), (40, 'alone')");
    three.both("INSERT INTO kinds (id, label, chance) VALUES (1, 'kind', 0.5), (2, NULL, 0.5)");
    three
}

#[test]
fn values_of_all_types_are_what_they_were() {
    let mut three = start();
    let columns = [
        "ints",
        "ints[1]",
        "texts",
        "texts[4]",
        "grid",
        "grid[2][1]",
        "b",
        "area(b)",
        "m::text",
        "ms::text",
        "ms[1] = 'sad'",
        "c",
        "octet_length(c)",
        "bits",
        "bits || B'1'",
        "v",
        "j",
        "j ->> 'a'",
        "js",
        "r",
        "upper(r)",
        "rs",
        "ts",
        "f",
        "num",
        "num::text",
        "by",
        "u",
        "i",
        "ip",
        "d",
        "yes",
        "\"odd Name\"",
    ];
    for column in columns {
        three.both(&format!(
            "UPDATE things t SET a = ({column})::text FROM sources WHERE sources.id = t.id RETURNING t.id, t.a, {column}"
        ));
        three.both("SELECT id, a FROM things");
    }
    three.both_extended(
        "DELETE FROM things t USING sources s WHERE t.id = s.id AND s.ints = $1 RETURNING t.id, s.ints",
        &[Some("{1,NULL}")],
    );
}

#[test]
fn a_merge_inserts_each_row_where_it_belongs() {
    let mut three = start();
    for sql in [
        "MERGE INTO things t USING sources s ON t.id = s.id WHEN MATCHED THEN UPDATE SET a = s.name WHEN NOT MATCHED AND s.id IS NULL THEN \
         DO NOTHING WHEN NOT MATCHED THEN INSERT (id, a) VALUES (s.id, s.name)",
        "MERGE INTO things t USING (SELECT * FROM sources WHERE id > 0) s ON t.id = s.id WHEN MATCHED THEN UPDATE SET a = s.name WHEN NOT \
         MATCHED THEN INSERT (id, a) VALUES (s.id, s.name)",
        "MERGE INTO things t USING (VALUES (100, 'x'), (101, 'y'), (102, 'now'), (103, NULL), (1, 'z')) s (id, a) ON s.id = t.id WHEN \
         NOT MATCHED AND s.a = 'x' THEN DO NOTHING WHEN NOT MATCHED THEN INSERT (a, id) OVERRIDING SYSTEM VALUE VALUES (s.a || '!', s.id) \
         WHEN MATCHED THEN DELETE",
        "MERGE INTO sources o USING things t ON o.name = t.a WHEN MATCHED THEN UPDATE SET id = -1 WHEN NOT MATCHED AND t.a IS NOT NULL \
         THEN INSERT (name, id) VALUES (t.a, t.id)",
        "MERGE INTO kinds USING (SELECT id, name FROM sources WHERE id BETWEEN 1 AND 50) s ON kinds.id = s.id WHEN MATCHED THEN UPDATE SET \
         label = s.name WHEN NOT MATCHED THEN INSERT (id, label, chance) VALUES (s.id, s.name, 0.5)",
        "MERGE INTO kinds k USING kinds o ON k.id = o.id + 1 WHEN NOT MATCHED AND o.id > 2 THEN INSERT (id, label, made, chance) VALUES \
         (o.id + 1, o.label, '2020-01-01', 0.1) WHEN MATCHED THEN UPDATE SET label = coalesce(k.label, '') || coalesce(o.label, '')",
        "MERGE INTO alone USING things t ON alone.id = t.id WHEN MATCHED THEN UPDATE SET a = t.a WHEN NOT MATCHED THEN INSERT VALUES (t.id, t.a)",
        "UPDATE alone SET a = s.name FROM sources s WHERE s.id = alone.id RETURNING alone.*, s.name",
        "DELETE FROM alone USING things JOIN sources ON sources.name = things.a WHERE things.id = alone.id RETURNING alone.id",
        "DELETE FROM kinds USING sources s WHERE s.id = kinds.id AND s.name LIKE 'o%'",
        "UPDATE kinds SET label = s.name FROM sources s, things t WHERE s.id = kinds.id AND t.id = s.id",
        "WITH s AS (SELECT id, count(*) AS n FROM things GROUP BY id) UPDATE kinds k SET label = s.n || '!' FROM s WHERE s.id = k.id",
        "UPDATE kinds k SET (label, chance) = (o.label || 'x', 0.25) FROM kinds o WHERE o.id = k.id + 1",
    ] {
        let (ours, theirs) = three.ask_both(sql);
        assert_eq!(ours.refusal(), None, "{sql}");
        assert_eq!(ours.difference(&theirs, Order::Keys { sorted: 0 }), None, "{sql}");
        for table in
            ["id, a, twice FROM things", "name, id FROM sources", "id, label, chance FROM kinds", "* FROM alone"]
        {
            three.both(&format!("SELECT {table}"));
        }
    }
    for sql in [
        "SELECT t.id, t.a, alone.a FROM things t LEFT JOIN alone ON alone.id = t.id WHERE t.id < 5",
        "SELECT count(*) FROM (SELECT id FROM alone EXCEPT SELECT id FROM things) s",
        "INSERT INTO things (id, a) SELECT id + 1000, a FROM alone RETURNING id, a",
        "DELETE FROM alone WHERE id IN (SELECT id FROM things WHERE a LIKE 'o%')",
        "SELECT * FROM alone",
    ] {
        three.both(sql);
    }
    // One PostgreSQL takes any of several; copies must be alike.
    let several = ask(&mut three.sharded, "UPDATE kinds SET label = t.a FROM things t WHERE t.id > kinds.id");
    assert_eq!(several.sqlstate(), Some("21000"), "{several:?}");
    let counts = |sql: &str| [0, 1, 2].map(|shard| three.shard(shard).value(sql));
    let copies = counts("SELECT string_agg(k::text, ';' ORDER BY id) FROM kinds k");
    assert!(copies[0] == copies[1] && copies[1] == copies[2], "{copies:?}");
}

#[test]
fn defaults_of_merged_rows_are_those_of_one_statement() {
    let mut three = start();
    let merge = "MERGE INTO things t USING (SELECT 200 + n AS id FROM generate_series(1, 20) n) s ON t.id = s.id WHEN NOT MATCHED THEN \
                 INSERT (id) VALUES (s.id)";
    three.both(merge);
    for sql in [
        "SELECT count(DISTINCT n), count(DISTINCT at), count(*) FROM things WHERE id > 200",
        "SELECT count(DISTINCT n) = count(*) FROM things",
        "SELECT count(*) FROM things WHERE at BETWEEN now() - interval '1 min' AND now()",
        "SELECT lastval() > 20",
        "MERGE INTO things t USING (SELECT 201 AS id) s ON t.id = s.id WHEN MATCHED THEN UPDATE SET at = DEFAULT, a = now()::text",
        "SELECT count(*) FROM things WHERE at::text = a",
        "INSERT INTO things (id) VALUES (300), (301)",
        "SELECT count(DISTINCT n) = count(*) FROM things",
    ] {
        three.both(sql);
    }
    let client = &mut three.sharded;
    let answer = ask(
        client,
        "MERGE INTO kinds USING (SELECT 9 AS id) s ON s.id = kinds.id WHEN NOT MATCHED THEN INSERT (id) VALUES (s.id)",
    );
    assert!(answer.refusal().is_some_and(|refusal| refusal.detail.contains("chance")), "{answer:?}");
    must(
        client,
        "MERGE INTO kinds USING (SELECT 9 AS id) s ON s.id = kinds.id WHEN NOT MATCHED THEN INSERT (id, chance) VALUES (s.id, 1)",
    );
    let copies = [0, 1, 2].map(|shard| three.shard(shard).value("SELECT made FROM kinds WHERE id = 9"));
    assert!(copies[0] == copies[1] && copies[1] == copies[2], "{copies:?}");
}

#[test]
fn a_transaction_meets_what_it_wrote_and_an_error_undoes_all() {
    let mut three = start();
    for sql in [
        "BEGIN",
        "INSERT INTO sources (name, id) VALUES ('fresh', 5), ('fresher', 6)",
        "UPDATE things t SET a = s.name FROM sources s WHERE s.id = t.id AND s.id > 4 RETURNING t.id, t.a",
        "SAVEPOINT s",
        "MERGE INTO things t USING sources s ON t.id = s.id WHEN MATCHED THEN DELETE",
        "SELECT count(*) FROM things",
        "ROLLBACK TO s",
        "SELECT count(*) FROM things",
        "COMMIT",
        "SELECT id, a FROM things",
    ] {
        three.both(sql);
    }
    for sql in [
        "MERGE INTO things t USING (SELECT 7 AS id FROM generate_series(1, 2)) s ON t.id = s.id WHEN MATCHED THEN UPDATE SET a = 'x'",
        "MERGE INTO things t USING (SELECT 70 AS id FROM generate_series(1, 2)) s ON t.id = s.id WHEN NOT MATCHED THEN INSERT (id) VALUES (s.id)",
        "MERGE INTO things t USING sources s ON t.id = s.id WHEN NOT MATCHED THEN INSERT (id) VALUES (s.id)",
        "MERGE INTO things t USING sources s ON t.id = s.id WHEN MATCHED THEN UPDATE SET a = (1 / (s.id - 2))::text",
        "UPDATE things t SET nosuch = 1 FROM sources s WHERE s.id = t.id",
        "UPDATE things t SET a = 1 FROM nosuch s WHERE s.id = t.id",
        "DELETE FROM things t USING sources s WHERE s.id = t.id AND (1 / (s.id - 2)) = 1",
    ] {
        let (ours, theirs) = three.ask_both(sql);
        if !sql.contains("nosuch s") {
            assert!(theirs.sqlstate().is_some() && ours.sqlstate() == theirs.sqlstate(), "{sql}: {ours:?} {theirs:?}");
        }
        three.both("SELECT id, a FROM things");
    }
    let many = "UPDATE things t SET a = 'x' FROM (SELECT n AS id FROM generate_series(1, $1::int4) n, alone LIMIT $2) s WHERE s.id = t.id";
    let answer = extended(&mut three.sharded, many, &[Some("50001"), Some("50001")]);
    assert_eq!(answer.sqlstate(), Some("53400"), "{answer:?}");
    three.both_extended(many, &[Some("25000"), Some("50000")]);
}

#[test]
fn what_cannot_be_met_is_refused() {
    let mut three = start();
    let client = &mut three.sharded;
    for (sql, part) in [
        ("UPDATE things t SET a = s.name FROM sources s, LATERAL (SELECT s.id + 1 AS id) x WHERE x.id = t.id", "its"),
        ("UPDATE kinds SET label = s.name FROM sources s WHERE s.id = kinds.id RETURNING label", "its"),
        ("MERGE INTO things t USING sources s ON t.id < s.id WHEN NOT MATCHED THEN INSERT (id) VALUES (s.id)", "its"),
        (
            "MERGE INTO things t USING sources s ON t.id = s.id WHEN NOT MATCHED THEN INSERT (id) VALUES (s.id + 1)",
            "its",
        ),
        (
            "MERGE INTO things t USING sources s ON t.id = s.id WHEN MATCHED THEN UPDATE SET id = 4",
            "decides on which shard",
        ),
        ("UPDATE things t SET a = s.name FROM sources s WHERE s.id = t.id AND t.xmin IS NULL", "its"),
    ] {
        let answer = ask(client, sql);
        let refusal = answer.refusal().unwrap_or_else(|| panic!("{sql}: {answer:?}"));
        assert!(part == "its" && !refusal.detail.is_empty() || refusal.detail.contains(part), "{sql}: {refusal:?}");
    }
    story(client, &[("SELECT count(*) FROM things", "9"), ("SELECT count(DISTINCT a) FROM things", "9")]);
}

#[test]
fn a_temporary_table_is_merged_into_all_shards() {
    let mut three = start();
    for sql in [
        "CREATE TEMP TABLE staged (id int8, a text)",
        "INSERT INTO staged SELECT n, 'staged ' || n FROM generate_series(5, 30) n",
        "MERGE INTO things t USING staged s ON t.id = s.id WHEN MATCHED THEN UPDATE SET a = s.a WHEN NOT MATCHED THEN INSERT (id, a) VALUES (s.id, s.a)",
        "UPDATE things t SET a = upper(s.a) FROM staged s WHERE s.id = t.id AND s.id < 20",
        "DELETE FROM things t USING staged WHERE staged.id = t.id AND staged.a LIKE '%7'",
        "SELECT id, a FROM things",
        "UPDATE staged SET a = t.a FROM things t WHERE t.id = staged.id",
        "SELECT * FROM staged",
        "MERGE INTO staged USING things t ON t.id = staged.id WHEN NOT MATCHED THEN INSERT VALUES (t.id, t.a) WHEN MATCHED AND t.id > 8 THEN DELETE",
        "SELECT * FROM staged",
    ] {
        three.both(sql);
    }
}

/// What looks like rows of Weir's, names that a join hides, collations, defaults of domains and in rows.
#[test]
fn nothing_is_taken_for_what_it_is_not() {
    let mut three = start();
    for sql in [
        "CREATE COLLATION blind (provider = icu, locale = 'und-u-ks-level2', deterministic = false)",
        "CREATE DOMAIN noted AS text COLLATE blind",
        "CREATE DOMAIN moment AS timestamptz DEFAULT now()",
        "CREATE VIEW blind_sources AS SELECT id, name COLLATE blind AS name FROM sources",
        "ALTER TABLE sources ADD COLUMN note noted",
        "ALTER TABLE things ADD COLUMN made moment",
        "UPDATE sources SET note = upper(name)",
    ] {
        three.both(sql);
    }
    three.both("CREATE TEMP TABLE blind_temp AS SELECT id, note FROM sources");
    for sql in [
        "MERGE INTO things t USING (SELECT given.c2 AS x, given.c1 AS b FROM unnest('{1,2,3,4}'::int8[], '{11,12,13,14}'::int8[]) given(c1, c2)) s \
         ON t.id = s.x WHEN MATCHED THEN UPDATE SET a = 'hit' WHEN NOT MATCHED THEN INSERT (id, a) VALUES (s.x, s.b::text)",
        "MERGE INTO things t USING (SELECT given.c1 + 100 AS x FROM unnest('{1,2,3,4}'::int8[]) given(c1)) s ON t.id = s.x WHEN NOT MATCHED \
         THEN INSERT (id) VALUES (s.x)",
        "MERGE INTO things t USING (SELECT given.c1 AS x FROM unnest('{1,2,3,4}'::int8[]) given(c1) LIMIT 1) s ON t.id = s.x WHEN NOT MATCHED \
         THEN INSERT (id) VALUES (s.x)",
        "UPDATE alone SET a = v.y FROM (things t JOIN sources v ON t.id = v.id) AS v(z, n, y) WHERE v.z = 3 AND alone.id = v.z",
        "UPDATE things t SET a = 'q' FROM blind_sources b WHERE t.id = b.id AND 'ONE' = b.name",
        "UPDATE alone SET a = 'q' FROM sources s WHERE alone.id = s.id AND s.note = s.name",
        "UPDATE alone SET a = 'q' FROM blind_temp s WHERE alone.id = s.id AND s.note = 'one'",
        "UPDATE alone SET a = 'q' WHERE 'one' IN (SELECT note FROM blind_temp)",
        "MERGE INTO things t USING (SELECT 500 + n AS id FROM generate_series(1, 9) n) s ON t.id = s.id WHEN NOT MATCHED THEN INSERT (id) VALUES (s.id)",
        "SELECT count(DISTINCT made) FROM things WHERE id > 500",
        "UPDATE things SET (a, at) = ('z', DEFAULT)",
        "MERGE INTO things t USING sources s ON t.id = s.id WHEN MATCHED THEN UPDATE SET (a, at) = ('z', DEFAULT)",
        "MERGE INTO kinds k USING kinds o ON k.id = o.id WHEN MATCHED THEN UPDATE SET (label, chance) = ('z', DEFAULT)",
        "UPDATE kinds k SET (label, chance) = ('z', DEFAULT)",
        "SELECT count(DISTINCT at) FROM things WHERE a = 'z'",
    ] {
        let (ours, theirs) = three.ask_both(sql);
        assert_eq!(ours.difference(&theirs, Order::Keys { sorted: 0 }), None, "{sql}");
        three.both("SELECT id, a FROM things");
        three.both("SELECT * FROM alone");
    }
    for id in [11, 12, 13, 14, 101, 102, 103, 104] {
        three.both(&format!("SELECT id FROM things WHERE id = {id}"));
    }
}
