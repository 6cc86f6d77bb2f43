//! SQL's PREPARE and EXECUTE on a sharded database, beside those of one PostgreSQL.

use weir::wire::frontend;

use super::answer::{Answer, Failure, ask, extended, simple};
use super::shop::{Pair, RANGE, Shop, fill, must};
use crate::harness::Setup;

/// Each is answered alike, and some are mistakes.
const STATEMENTS: &[&str] = &[
    "PREPARE one(int8) AS SELECT customer_id, name, $1 FROM customers WHERE customer_id = $1",
    "EXECUTE one(1)",
    "EXECUTE one(11)",
    "EXECUTE one('12')",
    "EXECUTE one(10 + 1)",
    "EXECUTE one(1.4)",
    "EXECUTE one(NULL)",
    "EXECUTE one(true)",
    "EXECUTE one('x')",
    "EXECUTE one('x' || 'y')",
    "EXECUTE one",
    "EXECUTE one(1, 2)",
    "EXECUTE nosuch(1)",
    "PREPARE one AS SELECT 1",
    "PREPARE inferred AS SELECT count(*), sum(total * $1) FROM orders WHERE customer_id > $2 AND status <> $3",
    "EXECUTE inferred(1.5, 1, 'it''s \\ $1')",
    "EXECUTE inferred(2, -7, E'a\\'b')",
    "PREPARE ordered(int, int) AS SELECT customer_id, $2 AS n FROM customers ORDER BY $1, customer_id DESC LIMIT $2 OFFSET $1",
    "EXECUTE ordered(1, 2)",
    "EXECUTE ordered(0, length('abc'))",
    "PREPARE grouped(text) AS SELECT $1, count(*) FROM customers GROUP BY 1 HAVING count(*) > 1",
    "EXECUTE grouped('a')",
    "PREPARE typed(bpchar, bit, \"char\", name, varchar, numeric, interval, int4[]) AS SELECT $1, $2, $3, $4, $5, $6, $7, $8, $8[1]
        FROM customers ORDER BY customer_id LIMIT 1",
    "EXECUTE typed('abc  ', '101', 'x', 'n', 'long enough', 1.50, '1 day', '{1,2}')",
    "EXECUTE typed('abc  ', B'101', 'x', 'n', 'long' || ' enough', 3, interval '2 days', ARRAY[3, 4])",
    "PREPARE collated(text) AS SELECT $1 COLLATE \"C\" UNION ALL SELECT name FROM customers WHERE name > $1 ORDER BY 1",
    "EXECUTE collated('B')",
    "PREPARE nested(int8) AS SELECT s.* FROM (SELECT $1 AS a, customer_id FROM customers) s WHERE s.customer_id >= $1 ORDER BY 2",
    "EXECUTE nested(2)",
    "PREPARE put(int8, text) AS INSERT INTO customers (customer_id, name) VALUES ($1, $2), ($1 + 10, $2) RETURNING customer_id, $2",
    "EXECUTE put(5, 'new')",
    "EXECUTE put(5, 'again')",
    "PREPARE change(text, int8) AS UPDATE customers SET name = $1 WHERE customer_id >= $2",
    "EXECUTE change('changed', 11)",
    "BEGIN",
    "EXECUTE change('undone', 1)",
    "EXECUTE inferred(1.5, 1, 'x')",
    "PREPARE in_block AS SELECT count(*) FROM customers WHERE name = 'undone'",
    "EXECUTE in_block",
    "ROLLBACK",
    "EXECUTE in_block",
    "BEGIN",
    "EXECUTE one(1 / 0)",
    "EXECUTE one(1)",
    "ROLLBACK",
    "BEGIN",
    "PREPARE bad AS SELECT nosuch FROM customers",
    "SELECT 1",
    "ROLLBACK",
    "EXECUTE bad",
    "PREPARE bad AS SELECT nosuch FROM customers",
    "PREPARE bad(nosuchtype) AS SELECT 1",
    "PREPARE bad AS SELECT $1",
    "EXECUTE bad('it is a text')",
    "DEALLOCATE bad",
    "EXECUTE bad('it is gone')",
    "PREPARE remove(int8) AS DELETE FROM customers WHERE customer_id = $1 RETURNING name",
    "EXECUTE remove(15)",
    "DEALLOCATE ALL",
    "EXECUTE one(1)",
    "DEALLOCATE one",
    "PREPARE again AS VALUES (1), (2)",
    "EXECUTE again",
    "DISCARD ALL",
    "EXECUTE again",
];

/// Several statements of one query.
const TOGETHER: &[&str] = &[
    "PREPARE p(int8) AS UPDATE customers SET name = 'p' WHERE customer_id = $1; EXECUTE p(1); EXECUTE p(11); DEALLOCATE p",
    "PREPARE q AS SELECT count(*) FROM customers WHERE name = 'p'; EXECUTE q; EXECUTE q",
    "EXECUTE q; UPDATE customers SET name = 'r' WHERE name = 'p'; EXECUTE q; SELECT 1 / 0 FROM customers",
    "EXECUTE q; BEGIN; EXECUTE q",
    "COMMIT; EXECUTE q",
];

/// What must be alike: everything, and of an error its SQLSTATE.
fn told(answer: &Answer) -> Answer {
    let mut told = answer.clone();
    if let Some(error) = &answer.error {
        told.error = Some(Failure { sqlstate: error.sqlstate.clone(), ..Failure::default() });
        // PostgreSQL describes some rows before it fails.
        told.columns.clear();
    }
    told
}

#[test]
fn prepared_statements_are_as_those_of_one_postgresql() {
    let mut pair = Pair::start(RANGE);
    for sql in STATEMENTS {
        let [ours, theirs] = [&mut pair.sharded, &mut pair.single].map(|client| ask(client, sql));
        assert_eq!(told(&ours), told(&theirs), "{sql}: {ours:?}");
    }
    for sql in TOGETHER {
        let [ours, theirs] = [&mut pair.sharded, &mut pair.single].map(|client| simple(client, sql));
        let [ours, theirs] = [ours, theirs].map(|answers| answers.iter().map(told).collect::<Vec<_>>());
        assert_eq!(ours, theirs, "{sql}");
    }
    pair.compare_tables();
}

#[test]
fn one_namespace_with_the_protocols_own() {
    let mut pair = Pair::start(RANGE);
    for client in [&mut pair.sharded, &mut pair.single] {
        must(client, "PREPARE by_sql(int8) AS SELECT name FROM customers WHERE customer_id = $1");
        let mut bytes = frontend_parse("by_protocol", "SELECT count(*) FROM customers WHERE customer_id < $1");
        frontend::sync(&mut bytes);
        client.send(&bytes);
        client.until_ready();
    }
    for sql in ["EXECUTE by_protocol(100)", "EXECUTE by_protocol(1, 2)", "PREPARE by_protocol AS SELECT 1"] {
        let [ours, theirs] = [&mut pair.sharded, &mut pair.single].map(|client| told(&ask(client, sql)));
        assert_eq!(ours, theirs, "{sql}");
    }
    let bound = [&mut pair.sharded, &mut pair.single].map(|client| {
        let mut bytes = bytes::BytesMut::new();
        // Two formats' counts, one value of one byte, and no result formats.
        frontend::bind(&mut bytes, b"", b"by_sql", &[0, 0, 0, 1, 0, 0, 0, 1, b'1', 0, 0]);
        frontend::execute(&mut bytes, b"", 0);
        frontend::sync(&mut bytes);
        client.send(&bytes);
        client.until_ready().iter().map(|message| (message.tag, message.body.clone())).collect::<Vec<_>>()
    });
    assert_eq!(bound[0], bound[1]);
}

fn frontend_parse(name: &str, text: &str) -> bytes::BytesMut {
    let mut bytes = bytes::BytesMut::new();
    frontend::parse(&mut bytes, name.as_bytes(), &frontend::definition(text, &[]));
    bytes
}

/// What could be answered otherwise than by one PostgreSQL says so.
#[test]
fn what_a_value_would_change_is_refused() {
    let shop = Shop::small();
    let mut client = shop.client();
    for (sql, part) in [
        ("PREPARE p AS SELECT * FROM (SELECT $1::int8 + 1, $1) s, customers", "name or type"),
        ("PREPARE p AS SELECT 'now'::timestamptz FROM customers", "read from the clock"),
    ] {
        let refused = ask(&mut client, sql);
        assert!(refused.refusal().is_some_and(|why| format!("{why:?}").contains(part)), "{sql}: {refused:?}");
    }
    must(&mut client, "PREPARE zoned AS SELECT count(*) FROM customers WHERE joined > '2020-01-01 00:00'");
    must(&mut client, "EXECUTE zoned");
    must(&mut client, "SET TimeZone = 'Asia/Tokyo'");
    assert!(ask(&mut client, "EXECUTE zoned").refusal().is_some());
    must(&mut client, "RESET TimeZone");
    must(&mut client, "EXECUTE zoned");
    assert!(extended(&mut client, "EXECUTE zoned", &[]).error.is_some());
}

/// EXPLAIN of EXECUTE shows where the statement goes; a key that is given goes to its shard only.
#[test]
fn explain_shows_what_is_executed() {
    let shop = Shop::small();
    let mut client = shop.client();
    must(&mut client, "PREPARE by_key(int8) AS SELECT name FROM customers WHERE customer_id = $1");
    must(&mut client, "PREPARE all_of_them AS SELECT count(*) FROM customers");
    for (sql, shards) in [
        ("EXPLAIN EXECUTE by_key(1)", vec!["one"]),
        ("EXPLAIN (COSTS OFF) EXECUTE by_key('11')", vec!["two"]),
        ("EXPLAIN EXECUTE by_key(5 + 6)", vec!["two"]),
        ("EXPLAIN ANALYZE EXECUTE all_of_them", vec!["one", "two"]),
    ] {
        let shown = ask(&mut client, sql).brief().to_lowercase();
        for shard in ["one", "two"] {
            assert_eq!(shown.contains(&format!("shard {shard}")), shards.contains(&shard), "{sql}: {shown}");
        }
    }
}

/// The servers keep nothing of it.
#[test]
fn servers_keep_no_names() {
    let shop = Shop::with(Setup::new(), RANGE, &["pool_size = 1"]);
    let mut client = shop.client();
    fill(&mut client);
    must(&mut client, "PREPARE p(int8) AS SELECT name FROM customers WHERE customer_id = $1");
    must(&mut client, "EXECUTE p(5 + 6)");
    assert_eq!(ask(&mut client, "EXECUTE p(1 / 0)").sqlstate(), Some("22012"));
    assert_eq!(ask(&mut client, "PREPARE bad AS SELECT nosuch").sqlstate(), Some("42703"));
    let mut other = shop.client();
    assert_eq!(
        ask(&mut other, "SELECT count(*) FROM pg_prepared_statements WHERE name = 'weir_prepared'").brief(),
        "0"
    );
    assert_eq!(ask(&mut other, "EXECUTE p(1)").sqlstate(), Some("26000"));
    must(&mut other, "PREPARE p(int8) AS SELECT 'other'");
    assert_eq!(ask(&mut client, "EXECUTE p(1)").brief(), "Ada");
}
