//! DDL and writes to reference tables: on all shards or on none.

use std::time::Duration;

use super::answer::{ask, extended, story};
use super::shop::{RANGE, Shop, must};
use crate::harness::Setup;

/// How long what another process is about to do may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Nothing is left of a statement that failed: no prepared transaction, no entry in the catalog.
fn nothing_is_left(shop: &Shop) {
    for index in 0..2 {
        let prepared = "SELECT count(*) FROM pg_prepared_xacts WHERE database = current_database()";
        assert_eq!(shop.shard(index).value(prepared), "0");
    }
    assert_eq!(shop.weir.endpoint("weir").value("SHOW TWO_PHASE"), "");
}

#[test]
fn ddl_that_fails_on_one_shard_leaves_nothing_on_the_other() {
    let shop = Shop::small();
    let mut client = shop.client();
    for (made_directly, statement, sqlstate) in [
        ("CREATE INDEX taken ON customers (name)", "CREATE INDEX taken ON customers (credit)", "42P07"),
        ("ALTER TABLE customers ADD COLUMN extra int", "ALTER TABLE customers ADD COLUMN extra text", "42701"),
        ("CREATE TYPE mood AS ENUM ('sad')", "CREATE TYPE mood AS ENUM ('ok')", "42710"),
        (
            "INSERT INTO customers (customer_id, credit) VALUES (39, -1)",
            "ALTER TABLE customers ADD CHECK (credit > 0)",
            "23514",
        ),
    ] {
        shop.shard(1).execute(made_directly);
        let answer = ask(&mut client, statement);
        assert_eq!(answer.sqlstate(), Some(sqlstate), "{statement}: {answer:?}");
        nothing_is_left(&shop);
    }
    let traces = "SELECT (SELECT count(*) FROM pg_class WHERE relname = 'taken'),
        (SELECT count(*) FROM pg_attribute WHERE attname = 'extra'), (SELECT count(*) FROM pg_type WHERE typname = 'mood'),
        (SELECT count(*) FROM pg_constraint WHERE contype = 'c' AND conrelid = 'customers'::regclass)";
    assert_eq!(shop.shard(0).value(traces), "0|0|0|0");
}

#[test]
fn a_reference_table_is_written_on_all_shards_or_none() {
    let shop = Shop::small();
    let mut client = shop.client();
    let products = "SELECT string_agg(product_id || name, ',' ORDER BY product_id) FROM products";
    let on_shards = || [shop.shard(0).value(products), shop.shard(1).value(products)];
    story(
        &mut client,
        &[
            ("INSERT INTO products VALUES (2, 'ink')", "INSERT 0 1"),
            ("DELETE FROM products WHERE product_id = 9", "DELETE 0"),
        ],
    );
    assert_eq!(on_shards(), ["1pen,2ink", "1pen,2ink"]);
    shop.shard(1).execute("INSERT INTO products VALUES (3, 'stray')");
    story(&mut client, &[("INSERT INTO products VALUES (3, 'cap')", "23505")]);
    assert_eq!(
        extended(&mut client, "INSERT INTO products (product_id, name) VALUES ($1, 'cap')", &[Some("3")]).brief(),
        "23505"
    );
    // The shards disagree about how many rows that is.
    story(&mut client, &[("UPDATE products SET name = 'x' WHERE product_id > 1", "0A000")]);
    assert_eq!(on_shards(), ["1pen,2ink", "1pen,2ink,3stray"]);
    nothing_is_left(&shop);
    shop.shard(1).execute("DELETE FROM products WHERE product_id = 3");
    let update = "UPDATE products SET name = 'x' WHERE product_id = 2";
    story(&mut client, &[("BEGIN", "BEGIN"), (update, "UPDATE 1"), ("ROLLBACK", "ROLLBACK")]);
    assert_eq!(on_shards(), ["1pen,2ink", "1pen,2ink"]);
    story(&mut client, &[("BEGIN", "BEGIN"), (update, "UPDATE 1"), ("COMMENT ON TABLE products IS 'all'", "COMMENT")]);
    story(&mut client, &[("SELECT name FROM products WHERE product_id = 2", "x"), ("COMMIT", "COMMIT")]);
    assert_eq!(on_shards(), ["1pen,2x", "1pen,2x"]);
    let comment = "SELECT obj_description('products'::regclass)";
    assert_eq!([shop.shard(0).value(comment), shop.shard(1).value(comment)], ["all", "all"]);
    nothing_is_left(&shop);
    let (add, read) = ("ALTER TABLE products ADD COLUMN note text", "SELECT note FROM products");
    story(
        &mut client,
        &[("BEGIN", "BEGIN"), (add, "ALTER TABLE"), ("CREATE INDEX ON products (note)", "CREATE INDEX")],
    );
    story(&mut client, &[(read, "0A000"), ("ROLLBACK", "ROLLBACK"), (read, "42703"), ("BEGIN", "BEGIN")]);
    story(&mut client, &[(add, "ALTER TABLE"), ("COMMIT", "COMMIT"), (read, "NULL,NULL")]);
    let view = "CREATE VIEW names AS SELECT name FROM products";
    story(&mut client, &[("BEGIN", "BEGIN"), (view, "0A000"), ("ROLLBACK", "ROLLBACK")]);
}

/// A trigger that only the second shard has makes its PREPARE TRANSACTION fail after the first shard has prepared.
#[test]
fn a_shard_that_cannot_prepare_undoes_the_one_that_could() {
    let shop = Shop::small();
    let mut client = shop.client();
    shop.shard(1).execute(
        "CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NOTIFY told; RETURN NEW; END $$;
        CREATE TRIGGER tell BEFORE INSERT ON products FOR EACH ROW EXECUTE FUNCTION tell()",
    );
    let answer = ask(&mut client, "INSERT INTO products VALUES (7, 'cap')");
    assert_eq!(answer.sqlstate(), Some("0A000"), "{answer:?}");
    for index in 0..2 {
        assert_eq!(shop.shard(index).value("SELECT count(*) FROM products"), "1");
    }
    nothing_is_left(&shop);
    story(
        &mut client,
        &[
            ("UPDATE products SET name = 'quill' WHERE product_id = 1", "UPDATE 1"),
            ("SELECT name FROM products", "quill"),
        ],
    );
}

/// Weir is killed after the first shard did its part and while the second one waits for a lock: nothing was prepared.
#[test]
fn a_crash_before_the_commit_leaves_no_change() {
    let mut shop = Shop::small();
    let mut blocker = shop.shard(1).raw();
    story(&mut blocker, &[("BEGIN", "BEGIN"), ("LOCK TABLE products", "LOCK TABLE")]);
    let mut victim = shop.client();
    victim.send_with(|out| weir::wire::frontend::query(out, "UPDATE products SET name = 'lost'"));
    let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    shop.shard(1).await_value(waiting, "1", PATIENCE);
    shop.restart();
    story(&mut blocker, &[("COMMIT", "COMMIT")]);
    let busy = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'UPDATE products%' AND state <> 'idle'";
    shop.shard(0).await_value(busy, "0", PATIENCE);
    story(&mut shop.client(), &[("UPDATE products SET name = 'kept' WHERE name = 'pen'", "UPDATE 1")]);
    for index in 0..2 {
        assert_eq!(shop.shard(index).value("SELECT name FROM products"), "kept");
    }
    nothing_is_left(&shop);
}

#[test]
fn what_cannot_be_done_on_every_shard_is_refused_with_a_hint() {
    let shop = Shop::small();
    let mut client = shop.client();
    for sql in [
        "CREATE TABLE strange (id int)",
        "ALTER TABLE customers ADD UNIQUE (name)",
        "CREATE UNIQUE INDEX ON customers (name)",
        "ALTER TABLE customers ADD COLUMN number serial",
        "ALTER TABLE customers ADD COLUMN number bigint GENERATED BY DEFAULT AS IDENTITY",
        "CREATE UNIQUE INDEX CONCURRENTLY ON customers (name)",
        "CREATE DATABASE other",
        "REINDEX DATABASE shop",
        "INSERT INTO strange VALUES (1)",
        "SELECT * FROM strange",
    ] {
        let answer = ask(&mut client, sql);
        let refusal = answer.refusal().unwrap_or_else(|| panic!("{sql}: {answer:?}"));
        assert!(!refusal.detail.is_empty() && !refusal.hint.is_empty(), "{sql}: {refusal:?}");
    }
    story(&mut client, &[("SELECT count(*) FROM customers", "4")]);
}

#[test]
fn what_ddl_made_is_there_for_everybody_at_once() {
    let shop = Shop::empty(RANGE, &["read_write_split = true"]);
    let (mut maker, mut user) = (shop.client(), shop.client());
    must(&mut user, "SELECT 1");
    for round in 0..3 {
        must(&mut maker, "CREATE TABLE customers (customer_id int8 PRIMARY KEY, name text)");
        story(
            &mut user,
            &[("SELECT count(*) FROM customers", "0"), ("INSERT INTO customers VALUES (1, 'a')", "INSERT 0 1")],
        );
        story(&mut user, &[("INSERT INTO customers VALUES (11, 'b')", "INSERT 0 1")]);
        must(&mut maker, &format!("ALTER TABLE customers ADD COLUMN extra{round} int4 DEFAULT 5"));
        story(&mut user, &[(&format!("SELECT sum(extra{round}), count(*) FROM customers"), "10|2")]);
        story(
            &mut user,
            &[(&format!("SELECT customer_id FROM customers ORDER BY extra{round}, name COLLATE \"C\""), "1,11")],
        );
        must(&mut maker, "DROP TABLE customers");
        assert!(ask(&mut user, "SELECT count(*) FROM customers").error.is_some());
    }
}

#[test]
fn ddl_through_the_extended_protocol() {
    let shop = Shop::with(Setup::new(), RANGE, &[]);
    let mut client = shop.client();
    let created = extended(&mut client, "CREATE TABLE products (product_id int4 PRIMARY KEY, name text)", &[]);
    assert_eq!(created.brief(), "CREATE TABLE");
    let inserted = extended(
        &mut client,
        "INSERT INTO products VALUES ($1, $2) RETURNING name, product_id",
        &[Some("5"), Some("e")],
    );
    assert_eq!(inserted.brief(), "e|5");
    assert_eq!(shop.shard(1).value("SELECT * FROM products"), "5|e");
}
