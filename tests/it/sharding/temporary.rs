//! Temporary tables on a sharded database: the session's own, on the home shard, whatever they hide.

use super::answer::{ask, extended, story};
use super::shop::Shop;

const ALL: &str = "SELECT name FROM customers WHERE credit < 100 ORDER BY customer_id";

#[test]
fn a_temporary_table_is_the_sessions_own() {
    let shop = Shop::small();
    let (mut client, mut other) = (shop.client(), shop.client());
    story(
        &mut client,
        &[
            ("CREATE TEMP TABLE notes (id serial, customer_id int8, note text)", "CREATE TABLE"),
            ("INSERT INTO notes (customer_id, note) VALUES (1, 'a'), (11, 'b') RETURNING id", "1,2"),
            ("CREATE INDEX ON notes (customer_id)", "CREATE INDEX"),
            ("SELECT note FROM notes JOIN products ON product_id = id", "a"),
            ("SELECT note FROM notes JOIN customers USING (customer_id) WHERE customers.customer_id = 1", "a"),
            ("SELECT note FROM notes JOIN customers USING (customer_id)", "0A000"),
            ("UPDATE notes SET note = 'c' WHERE id = 2", "UPDATE 1"),
            ("SELECT note FROM notes ORDER BY id", "a,c"),
            ("SELECT name FROM customers WHERE customer_id = 11", "Cid"),
            ("BEGIN", "BEGIN"),
            ("UPDATE customers SET name = 'Gus' WHERE customer_id = 11", "UPDATE 1"),
            ("SELECT count(*) FROM notes", "2"),
            ("COMMIT", "COMMIT"),
            ("SELECT name FROM customers WHERE customer_id = 11", "Gus"),
        ],
    );
    assert_eq!(extended(&mut client, "SELECT note FROM notes WHERE id = $1", &[Some("1")]).brief(), "a");
    story(&mut other, &[("SELECT count(*) FROM notes", "0A000"), ("CREATE TEMP TABLE notes (a int)", "CREATE TABLE")]);
    story(
        &mut other,
        &[("SELECT count(*) FROM notes", "0"), ("DISCARD ALL", "DISCARD ALL"), ("SELECT * FROM notes", "0A000")],
    );
    story(&mut client, &[("TRUNCATE notes", "TRUNCATE TABLE"), ("SELECT count(*) FROM notes", "0")]);
    // What it did cannot be prepared, so that a transaction which also wrote two shards is undone.
    story(&mut client, &[("BEGIN", "BEGIN"), ("INSERT INTO notes (note) VALUES ('x')", "INSERT 0 1")]);
    story(
        &mut client,
        &[("UPDATE customers SET name = 'x' WHERE customer_id IN (1, 11)", "UPDATE 2"), ("COMMIT", "0A000")],
    );
    story(
        &mut client,
        &[("SELECT count(*) FROM notes", "0"), (ALL, "Ada,Ben,Gus,Dee"), ("DROP TABLE notes", "DROP TABLE")],
    );
    story(&mut client, &[("SELECT * FROM notes", "0A000")]);
}

/// A temporary table hides a sharded one for as long as it is there, and not a moment longer.
#[test]
fn what_is_hidden_comes_back() {
    let shop = Shop::small();
    let mut client = shop.client();
    let (create, count) =
        ("CREATE TEMP TABLE customers (customer_id int8, name text, credit numeric)", "SELECT count(*) FROM customers");
    story(&mut client, &[(create, "CREATE TABLE"), (count, "0"), ("SELECT count(*) FROM public.customers", "4")]);
    story(&mut client, &[("INSERT INTO customers VALUES (11, 'own')", "INSERT 0 1"), (count, "1")]);
    story(&mut client, &[("SELECT name FROM public.customers WHERE customer_id = 11", "Cid")]);
    story(
        &mut client,
        &[("BEGIN", "BEGIN"), ("DROP TABLE customers", "DROP TABLE"), (count, "4"), ("ROLLBACK", "ROLLBACK")],
    );
    story(&mut client, &[(count, "1"), ("DROP TABLE customers", "DROP TABLE"), (count, "4"), (ALL, "Ada,Ben,Cid,Dee")]);
    story(
        &mut client,
        &[("BEGIN", "BEGIN"), (create, "CREATE TABLE"), (count, "0"), ("ROLLBACK", "ROLLBACK"), (count, "4")],
    );
    story(&mut client, &[("BEGIN", "BEGIN"), ("SAVEPOINT s", "SAVEPOINT"), (create, "CREATE TABLE"), (count, "0")]);
    story(&mut client, &[("ROLLBACK TO s", "ROLLBACK"), (count, "4"), ("COMMIT", "COMMIT"), (count, "4")]);
    let briefly = format!("{create} ON COMMIT DROP");
    story(
        &mut client,
        &[("BEGIN", "BEGIN"), (&briefly, "CREATE TABLE"), (count, "0"), ("COMMIT", "COMMIT"), (count, "4")],
    );
    story(&mut client, &[("INSERT INTO customers (customer_id, name) VALUES (13, 'new')", "INSERT 0 1")]);
    assert_eq!(shop.shard(1).value("SELECT name FROM customers WHERE customer_id = 13"), "new");
    for sql in ["CREATE TEMP VIEW v AS SELECT 1", "CREATE TEMP TABLE t (a int); SELECT 1"] {
        let answer = ask(&mut client, sql);
        assert!(answer.refusal().is_some_and(|refusal| !refusal.detail.is_empty()), "{sql}: {answer:?}");
    }
    story(&mut client, &[(create, "CREATE TABLE"), ("CREATE TABLE customers (a int)", "0A000")]);
}

/// A temporary table can be made of rows of all shards.
#[test]
fn a_table_is_made_from_a_query_over_all_shards() {
    let shop = Shop::small();
    let mut client = shop.client();
    story(
        &mut client,
        &[
            (
                "CREATE TEMP TABLE picked AS SELECT customer_id, name AS \"N\", born FROM customers ORDER BY 1 DESC",
                "SELECT 4",
            ),
            ("SELECT customer_id, \"N\" FROM picked", "12|Dee,11|Cid,2|Ben,1|Ada"),
            (
                "SELECT pg_typeof(customer_id), pg_typeof(born), count(*) FROM picked GROUP BY born, 1 LIMIT 1",
                "bigint|date|4",
            ),
            // What is there already, and what only the home shard is asked for.
            ("CREATE TEMP TABLE more (id) AS SELECT max(customer_id) FROM picked", "SELECT 1"),
            ("SELECT * FROM more", "12"),
            ("CREATE TEMP TABLE picked AS SELECT 1", "42P07"),
            ("SELECT customer_id AS id, name INTO TEMP chosen FROM customers WHERE customer_id < 12", "SELECT 3"),
            ("SELECT id, name FROM chosen ORDER BY id", "1|Ada,2|Ben,11|Cid"),
            ("SELECT 1 INTO TEMP chosen", "42P07"),
            ("SELECT customer_id INTO TEMP odd FROM customers UNION SELECT 1", "0A000"),
            ("CREATE TEMP TABLE IF NOT EXISTS other AS SELECT name FROM customers", "0A000"),
            ("CREATE TEMP TABLE other AS SELECT nowhere FROM customers", "42703"),
            ("CREATE TEMP TABLE other AS SELECT 1 / (customer_id - 12) FROM customers", "22012"),
            ("SELECT count(*) FROM other", "0A000"),
            (
                "CREATE TEMP TABLE other AS SELECT count(*), E'a\\tb\\\\' AS t, NULL AS n FROM customers WITH NO DATA",
                "CREATE TABLE AS",
            ),
            ("SELECT count(*) FROM other", "0"),
            ("DROP TABLE other", "DROP TABLE"),
            ("CREATE TEMP TABLE other AS SELECT count(*), E'a\\tb\\\\' AS t, NULL AS n FROM customers", "SELECT 1"),
            ("SELECT * FROM other", "4|a\tb\\|NULL"),
            ("BEGIN", "BEGIN"),
            ("INSERT INTO customers (customer_id, name) VALUES (3, 'x'), (13, 'y')", "INSERT 0 2"),
            ("CREATE TEMP TABLE within ON COMMIT DROP AS SELECT name FROM customers", "SELECT 6"),
            ("SELECT count(*) FROM within", "6"),
            ("ROLLBACK", "ROLLBACK"),
            ("SELECT count(*) FROM within", "0A000"),
            ("CREATE TABLE customers AS SELECT 1", "0A000"),
            ("CREATE TABLE nowhere AS SELECT 1", "0A000"),
        ],
    );
    let made = extended(&mut client, "CREATE TEMP TABLE by_driver AS SELECT name FROM customers", &[]);
    assert_eq!(made.brief(), "SELECT 4");
    let home = extended(&mut client, "CREATE TEMP TABLE by_hand AS SELECT 1 AS one", &[]);
    assert_eq!(home.brief(), "SELECT 1");
    let bound =
        extended(&mut client, "CREATE TEMP TABLE bound AS SELECT name FROM customers WHERE name = $1", &[Some("x")]);
    assert_eq!(bound.brief(), "0A000");
    story(
        &mut client,
        &[
            ("SELECT count(*) FROM by_driver", "4"),
            ("DISCARD TEMP", "DISCARD TEMP"),
            ("SELECT count(*) FROM picked", "0A000"),
        ],
    );
}
