//! Numbers of sequences: from the home shard's, whichever shard the rows go to.

use std::collections::BTreeSet;

use super::answer::{Answer, ask, extended, simple, story};
use super::shop::{RANGE, Shop, must};
use crate::harness::{RawClient, endpoint_of, servers, unique};

const TABLES: &[&str] = &[
    "CREATE TABLE customers (customer_id bigserial PRIMARY KEY, name text)",
    "CREATE TABLE orders (customer_id int8, order_id int4 GENERATED ALWAYS AS IDENTITY, status text DEFAULT 'new', n serial,
        PRIMARY KEY (customer_id, order_id))",
    "CREATE TABLE products (product_id serial PRIMARY KEY, name text)",
];

/// A sharded database and one PostgreSQL with the same tables.
pub struct Both {
    pub shop: Shop,
    pub sharded: RawClient,
    pub single: RawClient,
}

impl Both {
    pub fn start() -> Self {
        let shop = Shop::empty(RANGE, &[]);
        let name = unique("single");
        endpoint_of(&servers().reference, "postgres").execute(&format!("CREATE DATABASE {name}"));
        let single = endpoint_of(&servers().reference, &name).raw();
        let mut both = Self { sharded: shop.client(), single, shop };
        TABLES.iter().for_each(|sql| both.same(sql));
        both
    }

    /// Runs a statement on both sides, which must answer alike.
    pub fn same(&mut self, sql: &str) {
        let brief = |answers: Vec<Answer>| {
            let told = |answer: &Answer| (answer.brief(), answer.command.clone(), answer.columns.clone());
            answers.iter().map(told).collect::<Vec<_>>()
        };
        assert_eq!(brief(simple(&mut self.sharded, sql)), brief(simple(&mut self.single, sql)), "{sql}");
    }

    fn same_extended(&mut self, sql: &str, values: &[Option<&str>]) {
        let (ours, theirs) = (extended(&mut self.sharded, sql, values), extended(&mut self.single, sql, values));
        assert_eq!((ours.brief(), ours.columns), (theirs.brief(), theirs.columns), "{sql}");
    }
}

#[test]
fn new_rows_get_the_numbers_that_one_postgresql_gives() {
    let mut both = Both::start();
    for sql in [
        "INSERT INTO customers (name) VALUES ('Ada') RETURNING customer_id",
        "INSERT INTO customers VALUES (DEFAULT, 'Ben') RETURNING *",
        "INSERT INTO customers (customer_id, name) VALUES (DEFAULT, 'Cid')",
        "INSERT INTO customers DEFAULT VALUES RETURNING customer_id",
        "SELECT currval('customers_customer_id_seq'), lastval()",
        "SELECT nextval('customers_customer_id_seq')",
        "SELECT setval('customers_customer_id_seq', 9)",
        // The key decides on the shard: 10 and 11 are on another one than 9.
        "INSERT INTO customers (name) VALUES ('Dee') RETURNING customer_id",
        "INSERT INTO customers (name) VALUES ('Eve') RETURNING customer_id",
        "INSERT INTO customers VALUES (12, 'given')",
        "INSERT INTO orders (customer_id) VALUES (11) RETURNING order_id, n, status",
        "INSERT INTO orders (customer_id, status) VALUES (1, 'paid') RETURNING *",
        "INSERT INTO orders (customer_id, order_id) OVERRIDING SYSTEM VALUE VALUES (1, 77) RETURNING status",
        "INSERT INTO customers (customer_id, name) VALUES (11, 'twice')",
        "INSERT INTO products (name) VALUES ('pen'), ('ink') RETURNING product_id",
        "INSERT INTO products (name) VALUES ('cap')",
        "SELECT * FROM products ORDER BY product_id",
        "SELECT * FROM customers ORDER BY customer_id",
        "BEGIN",
        "INSERT INTO customers (name) VALUES ('Fay') RETURNING customer_id",
        "SAVEPOINT s",
        "INSERT INTO customers (name) VALUES (1/0)",
        "INSERT INTO customers (name) VALUES ('Gus')",
        "ROLLBACK TO s",
        "SELECT lastval()",
        "ROLLBACK",
        "INSERT INTO customers (name) VALUES ('Hal') RETURNING customer_id",
        "INSERT INTO customers (name) VALUES ('Ida'); INSERT INTO orders (customer_id) VALUES (3) RETURNING order_id",
        "INSERT INTO customers (name) VALUES ('Jon') RETURNING customer_id",
        "ALTER SEQUENCE customers_customer_id_seq RESTART WITH 500",
        "INSERT INTO customers (name) VALUES ('Kim') RETURNING customer_id",
        "SELECT count(*), max(customer_id) FROM customers",
        // An error may leave a gap, as elsewhere.
        "INSERT INTO customers (nosuch) VALUES (1)",
        "INSERT INTO orders (customer_id, order_id) VALUES (1, 78)",
        "SELECT setval('orders_n_seq', 60)",
        "SELECT setval('customers_customer_id_seq', 600)",
        "INSERT INTO customers (name) SELECT name FROM customers ORDER BY customer_id LIMIT 3 RETURNING customer_id",
        "INSERT INTO orders (customer_id) SELECT customer_id FROM customers WHERE customer_id < 20 ORDER BY 1 RETURNING *",
        "INSERT INTO products (name) SELECT name FROM customers WHERE customer_id > 500 ORDER BY customer_id RETURNING *",
        "SELECT currval('products_product_id_seq'), lastval()",
        // Rows on both shards, and then what the last of their numbers was.
        "SELECT setval('customers_customer_id_seq', 25)",
        "INSERT INTO customers (name) VALUES ('Mia'), ('Ned'), ('Ola'), ('Pam'), ('Quy'), ('Ron') RETURNING customer_id",
        "SELECT currval('customers_customer_id_seq'), lastval()",
        "INSERT INTO customers (customer_id, name) VALUES (55, 'Sue')",
        "SELECT currval('customers_customer_id_seq'), lastval()",
        "BEGIN",
        "INSERT INTO customers (name) VALUES ('Tom'), ('Una')",
        "INSERT INTO orders (customer_id) VALUES (1), (11)",
        "SELECT currval('customers_customer_id_seq'), currval('orders_n_seq'), lastval()",
        "COMMIT",
        "SELECT currval('customers_customer_id_seq'), lastval()",
    ] {
        both.same(sql);
    }
    both.same_extended("INSERT INTO customers (name) VALUES ($1) RETURNING customer_id, name", &[Some("Lea")]);
    both.same_extended("INSERT INTO orders (status, customer_id) VALUES ($2, $1) RETURNING *", &[Some("11"), None]);
    both.same_extended("INSERT INTO customers (name) VALUES ($1)", &[None]);
    both.same_extended("INSERT INTO products (name) VALUES ($1) RETURNING *", &[Some("bed")]);
    both.same("SELECT customer_id, name FROM customers ORDER BY customer_id");
    both.same("SELECT * FROM orders ORDER BY customer_id, order_id");
    for shard in [0, 1] {
        let strays = "SELECT count(*) FROM customers WHERE (customer_id / 10) % 2 <> CASE current_database() WHEN '' THEN 0 ELSE ";
        let strays = format!("{strays}{shard} END AND customer_id BETWEEN 0 AND 29");
        assert_eq!(both.shop.shard(shard).value(&strays), "0");
    }
    let products = "SELECT string_agg(product_id || name, ',' ORDER BY product_id) FROM products";
    assert_eq!(both.shop.shard(0).value(products), both.shop.shard(1).value(products));
}

#[test]
fn what_each_shard_would_number_for_itself_is_refused() {
    let shop = Shop::empty(RANGE, &[]);
    let mut client = shop.client();
    TABLES.iter().for_each(|sql| must(&mut client, sql));
    must(&mut client, "INSERT INTO customers (name) VALUES ('Ada')");
    for sql in [
        "UPDATE orders SET n = DEFAULT WHERE customer_id = 1",
        "INSERT INTO orders (customer_id, n) VALUES (1, 5) ON CONFLICT (customer_id, order_id) DO UPDATE SET n = DEFAULT",
        "ALTER TABLE orders ADD COLUMN more serial",
        "CREATE TABLE visits (token text, n int DEFAULT nextval('orders_n_seq') * 2)",
        "EXPLAIN INSERT INTO customers (name) VALUES ('x')",
    ] {
        let answer = ask(&mut client, sql);
        assert!(answer.refusal().is_some_and(|refusal| !refusal.detail.is_empty()), "{sql}: {answer:?}");
    }
    story(
        &mut client,
        &[
            ("ALTER TABLE orders ADD COLUMN more int", "ALTER TABLE"),
            ("CREATE SEQUENCE more", "CREATE SEQUENCE"),
            ("ALTER TABLE orders ALTER COLUMN more SET DEFAULT nextval('more')", "ALTER TABLE"),
            ("INSERT INTO orders (customer_id) VALUES (1), (1) RETURNING more", "1,2"),
            ("INSERT INTO orders (customer_id) VALUES (11) RETURNING more", "3"),
        ],
    );
}

/// Many clients take numbers at once: none is given twice.
#[test]
fn numbers_are_unique_over_clients_and_shards() {
    let shop = Shop::empty(RANGE, &[]);
    TABLES.iter().for_each(|sql| must(&mut shop.client(), sql));
    let numbers: Vec<String> = std::thread::scope(|scope| {
        let insert = |client: i64| {
            let shop = &shop;
            move || {
                let mut connection = shop.client();
                let row = |round: i64| {
                    let key = (client * 7 + round * 10) % 30;
                    let sql = format!("INSERT INTO orders (customer_id) VALUES ({key}) RETURNING order_id");
                    ask(&mut connection, &sql).brief()
                };
                (0..25).map(row).collect::<Vec<_>>()
            }
        };
        let clients: Vec<_> = (0..4).map(|client| scope.spawn(insert(client))).collect();
        clients.into_iter().flat_map(|client| client.join().expect("it inserts")).collect()
    });
    let distinct: BTreeSet<i32> = numbers.iter().map(|number| number.parse().expect("a number")).collect();
    assert_eq!(distinct.len(), 100);
}
