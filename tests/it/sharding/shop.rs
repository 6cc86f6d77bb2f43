//! A sharded database over two shards, and the same in one PostgreSQL.

use std::fmt::Write;

use super::answer::ask;
use crate::harness::{Database, Endpoint, RawClient, Setup, Shard, Weir, endpoint_of, servers, unique};

/// By hash of the customer's number; the tokens of visits are hashed for themselves.
pub const HASH: &str = r#"
[keyspaces.customer]
method = "hash"
key_type = "int8"

[keyspaces.token]
method = "hash"
key_type = "text"

[tables]
customers = { keyspace = "customer", key = "customer_id" }
orders = { keyspace = "customer", key = "customer_id" }
lines = { keyspace = "customer", key = "customer_id" }
visits = { keyspace = "token", key = "token" }
products = { reference = true }
"#;

/// By ranges of the customer's number.
pub const RANGE: &str = r#"
[keyspaces.customer]
method = "range"
key_type = "int8"
ranges = [
    { from = "MINVALUE", to = 10, shard = "one" },
    { from = 10, to = 20, shard = "two" },
    { from = 20, to = 30, shard = "one" },
    { from = 30, to = "MAXVALUE", shard = "two" },
]

[keyspaces.token]
method = "range"
key_type = "text"
ranges = [
    { from = "MINVALUE", to = "m", shard = "two" },
    { from = "m", to = "MAXVALUE", shard = "one" },
]

[tables]
customers = { keyspace = "customer", key = "customer_id" }
orders = { keyspace = "customer", key = "customer_id" }
lines = { keyspace = "customer", key = "customer_id" }
visits = { keyspace = "token", key = "token" }
products = { reference = true }
"#;

const SCHEMA: &[&str] = &[
    "CREATE TABLE products (product_id int4 PRIMARY KEY, name text NOT NULL, category varchar(20), price numeric(8,2),
        launched date)",
    "CREATE TABLE customers (customer_id int8 PRIMARY KEY, name text, email varchar(40), region char(3), born date,
        credit numeric, score float8, active bool, joined timestamptz, uid uuid)",
    "CREATE TABLE orders (customer_id int8 REFERENCES customers, order_id int4, placed timestamp, status text,
        total numeric, priority int2, PRIMARY KEY (customer_id, order_id))",
    "CREATE TABLE lines (customer_id int8, order_id int4, line_no int4, product_id int4 REFERENCES products,
        quantity int4, price numeric(10,2), weight float4, tag bytea,
        PRIMARY KEY (customer_id, order_id, line_no), FOREIGN KEY (customer_id, order_id) REFERENCES orders)",
    "CREATE TABLE visits (token text PRIMARY KEY, customer_id int8, hits int4, seconds time)",
];

/// Tables with the columns of their primary keys.
pub const TABLES: &[(&str, &str)] = &[
    ("products", "product_id"),
    ("customers", "customer_id"),
    ("orders", "customer_id, order_id"),
    ("lines", "customer_id, order_id, line_no"),
    ("visits", "token COLLATE \"C\""),
];

/// Keys with which something could go wrong; 9007199254740993 equals its neighbour as a float8.
pub const ODD_KEYS: &[i64] = &[0, -7, 9007199254740992, 9007199254740993, i64::MAX, i64::MIN];

/// A sharded database behind a Weir of its own.
pub struct Shop {
    pub weir: Weir,
    /// Its name on the servers.
    pub dbname: String,
    setup: Setup,
}

impl Shop {
    /// Starts Weir over databases without tables. `options` are lines of the database's section.
    pub fn empty(shard_map: &str, options: &[&str]) -> Self {
        Self::with(Setup::new().weir("admin_users = [\"weir\"]"), shard_map, options)
    }

    /// As [`Shop::empty`], with a set-up that has more to say.
    pub fn with(setup: Setup, shard_map: &str, options: &[&str]) -> Self {
        let dbname = unique("shop");
        servers().shop.iter().for_each(|shard| shard.create_database(&dbname));
        let [one, two] = &servers().shop;
        let database = options.iter().fold(database(shard_map, [one, two], &dbname), |made, line| made.option(line));
        let setup = setup.database(database);
        Self { weir: Weir::start(&setup), dbname, setup }
    }

    /// Kills Weir and starts it again with what it had kept.
    pub fn restart(&mut self) {
        let dir = self.weir.dir().to_owned();
        self.weir.signal(libc::SIGKILL);
        self.weir = Weir::start_in(&dir, &self.setup);
    }

    /// A shop with all tables and a few customers: 1 and 2 on the first shard, 11 and 12 on the second.
    pub fn small() -> Self {
        Self::small_with(Setup::new().weir("admin_users = [\"weir\"]"))
    }

    /// As [`Shop::small`], with a set-up that has more to say.
    pub fn small_with(setup: Setup) -> Self {
        let shop = Self::with(setup, RANGE, &[]);
        fill(&mut shop.client());
        shop
    }

    pub fn endpoint(&self) -> Endpoint {
        self.weir.endpoint("shop")
    }

    pub fn client(&self) -> RawClient {
        self.endpoint().raw()
    }

    /// A shard's primary itself.
    pub fn shard(&self, index: usize) -> Endpoint {
        endpoint_of(&servers().shop[index].primary, &self.dbname)
    }
}

/// The database "shop" over shards "one" and "two".
pub fn database(shard_map: &str, [one, two]: [&Shard; 2], dbname: &str) -> Database {
    Database::new("shop").sharded_by(shard_map).shard("one", one, dbname).shard("two", two, dbname)
}

/// Makes all tables, a product, and a few customers.
pub fn fill(client: &mut RawClient) {
    SCHEMA.iter().for_each(|sql| must(client, sql));
    for (id, name) in [(1, "Ada"), (2, "Ben"), (11, "Cid"), (12, "Dee")] {
        must(client, &format!("INSERT INTO customers (customer_id, name, credit) VALUES ({id}, '{name}', {id}.5)"));
    }
    must(client, "INSERT INTO products VALUES (1, 'pen', 'office', 1.50, '2020-01-01')");
}

/// Runs a statement that must succeed.
pub fn must(client: &mut RawClient, sql: &str) {
    let answer = ask(client, sql);
    assert_eq!(answer.error, None, "{sql}");
}

/// Weir and one PostgreSQL with the same tables and rows.
pub struct Pair {
    pub shop: Shop,
    pub sharded: RawClient,
    pub single: RawClient,
}

impl Pair {
    /// Makes the tables and fills them, through Weir on its side. Reads go to replicas, so that every comparison also
    /// says whether the session sees its own writes.
    pub fn start(shard_map: &str) -> Self {
        let shop = Shop::empty(shard_map, &["read_write_split = true"]);
        let name = unique("single");
        let reference = &servers().reference;
        endpoint_of(reference, "postgres").execute(&format!("CREATE DATABASE {name}"));
        let mut pair = Self { sharded: shop.client(), single: endpoint_of(reference, &name).raw(), shop };
        SCHEMA.iter().for_each(|sql| pair.must_both(sql));
        rows().iter().for_each(|sql| pair.must_both(sql));
        pair.compare_tables();
        pair
    }

    /// Runs a statement that must succeed on both sides.
    pub fn must_both(&mut self, sql: &str) {
        must(&mut self.sharded, sql);
        must(&mut self.single, sql);
    }

    /// Every row of every table must be the same.
    pub fn compare_tables(&mut self) {
        for (table, key) in TABLES {
            let sql = format!("SELECT * FROM {table} ORDER BY {key}");
            let (sharded, single) = (ask(&mut self.sharded, &sql), ask(&mut self.single, &sql));
            assert_eq!(sharded.difference(&single, super::answer::Order::Total), None, "{sql}");
        }
    }
}

const NAMES: &[&str] = &["Ada", "ben", "Çelik", "Dé", "eve", "Fay", "gus", "Hal", "ivy", "Jon's", "", "Zoë"];
const STATES: &[&str] = &["new", "paid", "sent", "done", "void"];

/// INSERTs of everything; products first, so that references hold.
fn rows() -> Vec<String> {
    let mut rows = Vec::new();
    for product in 1..=12_i64 {
        let category = if product % 5 == 0 { "NULL".to_owned() } else { format!("'cat{}'", product % 3) };
        let launched = format!("20{:02}-{:02}-15", 10 + product, product);
        rows.push(format!(
            "INSERT INTO products VALUES ({product}, 'thing {product}', {category}, {}.{:02}, '{launched}')",
            product * 3 % 17,
            product * 37 % 100
        ));
    }
    let customers = (1..=40).chain(ODD_KEYS.iter().copied());
    for (number, id) in customers.enumerate() {
        customer(&mut rows, number, id);
    }
    for number in 0..30_usize {
        rows.push(format!(
            "INSERT INTO visits VALUES ('{}{number}', {}, {}, '{:02}:{:02}:07.{number}')",
            ["a", "M", "z", "é"][number % 4],
            number % 9,
            number * 7 % 13,
            number % 24,
            number * 2
        ));
    }
    rows
}

fn customer(rows: &mut Vec<String>, number: usize, id: i64) {
    let or_null = |null: bool, value: String| if null { "NULL".to_owned() } else { value };
    let name = NAMES[number % NAMES.len()].replace('\'', "''");
    let mut sql = format!("INSERT INTO customers VALUES ({id}, ");
    let _ = write!(sql, "{}, ", or_null(number % 13 == 5, format!("'{name}'")));
    let _ = write!(sql, "{}, ", or_null(number % 7 == 3, format!("'c{number}@example.org'")));
    let _ = write!(sql, "'{}', ", ["N", "EU", "ASI", "eu"][number % 4]);
    let _ = write!(
        sql,
        "{}, ",
        or_null(number % 6 == 4, format!("'{}-{:02}-{:02}'", 1950 + number, number % 12 + 1, number % 28 + 1))
    );
    // Equal numbers in different spellings, large ones, and NaN.
    let credits = ["10.0", "10.00", "-3", "99999999999999999999.5", "0.000001", "NaN", "7"];
    let _ = write!(sql, "{}, ", or_null(number % 8 == 6, format!("'{}'", credits[number % 7])));
    let scores = ["1.5", "-0", "0", "Infinity", "1e-7", "NaN", "123456789.125"];
    let _ = write!(sql, "'{}', ", scores[number % 7]);
    let _ = write!(sql, "{}, ", or_null(number % 5 == 2, number.is_multiple_of(2).to_string()));
    let _ = write!(
        sql,
        "'2024-{:02}-{:02} 12:{:02}:00.00000{}+0{}', ",
        number % 12 + 1,
        number % 27 + 1,
        number,
        number % 7,
        number % 3
    );
    let _ = write!(sql, "'00000000-0000-4000-8000-{:012x}')", number * 7919 % 997);
    rows.push(sql);
    for order in 1..=i64::try_from(number % 5).unwrap_or(0) {
        let total =
            ["12.50", "12.5", "0", "100", "33.333333333333333333"][(number + usize::try_from(order).unwrap_or(0)) % 5];
        rows.push(format!(
            "INSERT INTO orders VALUES ({id}, {order}, '2024-01-{:02} 0{order}:00:00.{number:06}', {}, {}, {})",
            number % 28 + 1,
            or_null(number % 11 == 7, format!("'{}'", STATES[(number + 2) % 5])),
            or_null(number % 9 == 8, total.to_owned()),
            or_null(order == 3, (number % 4).to_string())
        ));
        for line in 1..=order {
            rows.push(format!(
                "INSERT INTO lines VALUES ({id}, {order}, {line}, {}, {}, {}.{line:02}, {}.5, '\\x0{line}{:02x}')",
                (number + usize::try_from(line).unwrap_or(0)) % 12 + 1,
                number * 3 % 10,
                number % 20,
                number % 6,
                number
            ));
        }
    }
}
