//! Writes on several shards that read the time: one time for all rows, as in one PostgreSQL.

use super::answer::{ask, extended, story};
use super::shop::{Shop, must};

const TIMES: &str = "SELECT count(DISTINCT joined) FROM customers";

#[test]
fn all_shards_write_one_time() {
    let shop = Shop::small();
    let mut client = shop.client();
    story(&mut client, &[("UPDATE customers SET joined = now()", "UPDATE 4"), (TIMES, "1")]);
    story(
        &mut client,
        &[("SELECT count(*) FROM customers WHERE joined BETWEEN now() - interval '1 min' AND now()", "4")],
    );
    let insert = "INSERT INTO customers (customer_id, joined, born) VALUES (3, now(), CURRENT_DATE), (13, current_timestamp, $1)";
    assert_eq!(extended(&mut client, insert, &[Some("2000-01-01")]).brief(), "INSERT 0 2");
    story(&mut client, &[(TIMES, "2"), ("SELECT born = CURRENT_DATE FROM customers WHERE customer_id = 3", "t")]);
    story(&mut client, &[("DELETE FROM customers WHERE joined < now() - interval '1 day'", "DELETE 0")]);
    // In a block the time is that of its beginning, which the home shard knows.
    must(&mut client, "BEGIN");
    let before = ask(&mut client, "SELECT now()").brief();
    must(&mut client, "SELECT pg_sleep(0.01)");
    must(&mut client, "UPDATE customers SET joined = transaction_timestamp() WHERE customer_id IN (1, 11)");
    assert_eq!(ask(&mut client, "SELECT DISTINCT joined FROM customers WHERE customer_id IN (1, 11)").brief(), before);
    must(&mut client, "COMMIT");
}

#[test]
fn what_would_show_the_change_is_refused() {
    let shop = Shop::small();
    let mut client = shop.client();
    for sql in
        ["UPDATE customers SET joined = now() RETURNING now()", "UPDATE customers SET joined = current_timestamp(3)"]
    {
        let answer = ask(&mut client, sql);
        assert!(answer.refusal().is_some_and(|refusal| !refusal.detail.is_empty()), "{sql}: {answer:?}");
    }
    story(&mut client, &[(TIMES, "0")]);
}

#[test]
fn defaults_that_are_a_moment_are_one_for_all_rows() {
    let shop = Shop::small();
    let mut client = shop.client();
    must(&mut client, "ALTER TABLE customers ALTER COLUMN joined SET DEFAULT now()");
    story(
        &mut client,
        &[
            ("INSERT INTO customers (customer_id) VALUES (3), (13), (4)", "INSERT 0 3"),
            ("SELECT count(joined), count(DISTINCT joined) FROM customers", "3|1"),
            (
                "INSERT INTO customers (customer_id, joined) VALUES (5, DEFAULT), (15, NULL), (16, DEFAULT)",
                "INSERT 0 3",
            ),
            ("SELECT count(joined), count(DISTINCT joined) FROM customers WHERE customer_id IN (5, 15, 16)", "2|1"),
            ("INSERT INTO customers (customer_id, joined) VALUES (6, DEFAULT), (7, '2000-01-01')", "INSERT 0 2"),
            ("INSERT INTO customers (customer_id) SELECT 20 + generate_series(1, 2) * 5", "INSERT 0 2"),
            ("SELECT count(DISTINCT joined) FROM customers WHERE customer_id > 20", "1"),
        ],
    );
    let insert =
        "INSERT INTO customers (customer_id, name) VALUES ($1, $2), (41, $2) RETURNING customer_id, joined IS NULL";
    assert_eq!(extended(&mut client, insert, &[Some("1"), Some("x")]).brief(), "23505");
    assert_eq!(extended(&mut client, insert, &[Some("8"), Some("Buy now")]).brief(), "8|f,41|f");
}

#[test]
fn rows_of_reference_tables_are_computed_once() {
    let shop = Shop::small();
    let mut client = shop.client();
    story(
        &mut client,
        &[
            ("ALTER TABLE products ADD COLUMN made timestamptz", "ALTER TABLE"),
            ("ALTER TABLE products ALTER COLUMN made SET DEFAULT now()", "ALTER TABLE"),
            ("ALTER TABLE products ADD COLUMN tag uuid", "ALTER TABLE"),
            ("ALTER TABLE products ALTER COLUMN tag SET DEFAULT gen_random_uuid()", "ALTER TABLE"),
            ("ALTER TABLE products ADD COLUMN size int", "ALTER TABLE"),
            ("ALTER TABLE products ADD COLUMN extra jsonb", "ALTER TABLE"),
            ("INSERT INTO products (product_id, name) VALUES (2, 'Buy now'), (3, 'x')", "INSERT 0 2"),
            (
                "INSERT INTO products (product_id, name, size) VALUES (4, current_user, (random() * 1e9)::int)",
                "INSERT 0 1",
            ),
            (
                "INSERT INTO products (product_id, name, size) VALUES (5, 'x', (SELECT count(*) FROM customers))",
                "INSERT 0 1",
            ),
            (
                "INSERT INTO products (product_id, name, extra) VALUES (6, 'x', jsonb_build_object('a', random()))",
                "INSERT 0 1",
            ),
            ("INSERT INTO products (product_id, name, launched) VALUES (7, 'x', current_date)", "INSERT 0 1"),
            ("INSERT INTO products (product_id, name, launched) VALUES (8, 'x', '2024-01-01'::date)", "INSERT 0 1"),
            ("INSERT INTO products (product_id, name, size) VALUES (9, 'x', 'y' || random()::text)", "42804"),
            ("INSERT INTO products (product_id, name, launched) VALUES (9, 'x', 'today')", "0A000"),
            ("INSERT INTO products (product_id, name, launched) VALUES (9, 'x', 'today'::date)", "0A000"),
            ("INSERT INTO products (product_id, name) VALUES (9, 'today'::date::text)", "0A000"),
            ("UPDATE products SET made = now() WHERE product_id < 4", "UPDATE 3"),
            ("UPDATE products SET launched = '2024-01-01'::date + 1 WHERE product_id = 8", "UPDATE 1"),
            ("UPDATE products SET launched = name::date WHERE product_id = 3", "0A000"),
            ("UPDATE products SET size = random() WHERE product_id = 3", "0A000"),
            ("DELETE FROM products WHERE made < now() - interval '1 day'", "DELETE 0"),
            ("SELECT count(*), count(made), count(tag) FROM products", "8|8|7"),
        ],
    );
    let insert = "INSERT INTO products (product_id, name, size) VALUES ($1, $2, $3 + (random() * 9)::int) RETURNING product_id, tag IS NULL";
    assert_eq!(extended(&mut client, insert, &[Some("10"), Some("x"), Some("7")]).brief(), "10|f");
    let all = "SELECT md5(string_agg(p::text, ',' ORDER BY product_id)) FROM products p";
    assert_eq!(shop.shard(0).value(all), shop.shard(1).value(all));
    assert_eq!(shop.shard(0).value("SELECT count(*) FROM products"), "9");
}

#[test]
fn a_new_column_gets_one_moment_on_all_shards() {
    let shop = Shop::small();
    let mut client = shop.client();
    story(
        &mut client,
        &[
            (
                "ALTER TABLE customers ADD COLUMN made timestamptz NOT NULL DEFAULT now(), ADD day date DEFAULT current_date",
                "ALTER TABLE",
            ),
            ("SELECT count(*), count(DISTINCT made), count(DISTINCT day) FROM customers", "4|1|1"),
            ("INSERT INTO customers (customer_id) VALUES (3)", "INSERT 0 1"),
            ("SELECT count(DISTINCT made), bool_and(day = current_date) FROM customers", "2|t"),
            ("ALTER TABLE customers ADD COLUMN IF NOT EXISTS made timestamptz DEFAULT now()", "0A000"),
            ("ALTER TABLE products ADD COLUMN made timestamptz DEFAULT now()", "ALTER TABLE"),
            ("BEGIN", "BEGIN"),
            ("ALTER TABLE customers ADD COLUMN gone timestamptz DEFAULT now()", "ALTER TABLE"),
            ("ROLLBACK", "ROLLBACK"),
            ("SELECT gone FROM customers", "42703"),
        ],
    );
    let made = "SELECT string_agg(made::text, ',' ORDER BY product_id) FROM products";
    assert_eq!(shop.shard(0).value(made), shop.shard(1).value(made));
}
