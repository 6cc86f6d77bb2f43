//! Programs that ask the catalogs: the home shard speaks for them. What cannot be done is refused at once.

use std::path::PathBuf;
use std::process::Output;

use super::answer::{ask, extended, story};
use super::shop::{RANGE, Shop, must};
use crate::harness::{Endpoint, endpoint_of, servers, unique};

const OBJECTS: &[&str] = &[
    "CREATE TYPE mood AS ENUM ('sad', 'ok')",
    "CREATE VIEW rich AS SELECT * FROM customers WHERE credit > 5",
    "CREATE FUNCTION twice(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1 * 2'",
    "COMMENT ON TABLE customers IS 'who buys'",
];

#[test]
fn psql_shows_what_it_shows_of_the_home_shard() {
    let shop = Shop::small();
    let mut client = shop.client();
    OBJECTS.iter().for_each(|sql| must(&mut client, sql));
    for command in [
        "\\d",
        "\\d customers",
        "\\d+ orders",
        "\\d rich",
        "\\dt",
        "\\dt+",
        "\\di",
        "\\dv",
        "\\ds",
        "\\df",
        "\\df+ twice",
        "\\dT+",
        "\\dn",
        "\\dn+",
        "\\du",
        "\\dp",
        "\\dx",
        "\\dC",
        "\\do",
        "\\dd",
        "\\l",
        "\\sf twice",
        "\\sv rich",
        "\\dconfig work_mem",
    ] {
        let (ours, theirs) = (shop.endpoint().psql(["-c", command]), shop.shard(0).psql(["-c", command]));
        assert_eq!((ours.stdout, ours.stderr), (theirs.stdout, theirs.stderr), "{command}");
        assert_eq!(ours.status, theirs.status, "{command}");
    }
}

#[test]
fn the_information_schema_speaks_for_the_home_shard() {
    let shop = Shop::small();
    let mut client = shop.client();
    story(
        &mut client,
        &[
            (
                "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' ORDER BY 1",
                "customers,lines,orders,products,visits",
            ),
            (
                "SELECT column_name FROM information_schema.columns WHERE table_name = 'visits' ORDER BY ordinal_position",
                "token,customer_id,hits,seconds",
            ),
            ("SELECT current_schema(), current_database() = current_catalog", "public|t"),
        ],
    );
}

#[test]
fn pg_dump_is_told_where_to_go() {
    let shop = Shop::small();
    let Output { status, stderr, stdout } = shop.endpoint().command("pg_dump").arg("shop").output().unwrap();
    let stderr = String::from_utf8_lossy(&stderr);
    assert!(!status.success() && stdout.is_empty(), "{stderr}");
    assert!(stderr.contains("set_config() is not supported in this way"), "{stderr}");
    assert!(stderr.contains("the shards themselves"), "{stderr}");
}

#[test]
fn a_search_path_of_the_sessions_own_wants_qualified_names() {
    let shop = Shop::small();
    let mut client = shop.client();
    story(
        &mut client,
        &[
            ("SELECT pg_catalog.set_config('search_path', '', false)", ""),
            ("SHOW search_path", ""),
            ("SELECT name FROM customers WHERE customer_id = 11", "0A000"),
            ("INSERT INTO customers (customer_id) VALUES (13)", "0A000"),
            ("CREATE INDEX ON customers (name)", "0A000"),
            ("ALTER TABLE public.visits ADD FOREIGN KEY (hits) REFERENCES products", "0A000"),
            ("SELECT name FROM public.customers WHERE customer_id = 11", "Cid"),
            ("SELECT name FROM public.customers WHERE customer_id = 1", "Ada"),
            ("SELECT count(*) FROM pg_class WHERE relname = 'customers'", "1"),
            ("RESET search_path", "RESET"),
            ("SELECT name FROM customers WHERE customer_id = 11", "Cid"),
            ("BEGIN", "BEGIN"),
            ("SET LOCAL search_path = pg_catalog, public", "SET"),
            ("SELECT name FROM public.customers WHERE customer_id = 11", "Cid"),
            ("SHOW search_path", "pg_catalog, public"),
            ("COMMIT", "COMMIT"),
            ("SELECT name FROM customers WHERE customer_id = 1", "Ada"),
            ("SET search_path = public; SELECT 1", "0A000"),
        ],
    );
    // Every server of the session has it, one that joins later too.
    let path = "/* weir shard=two */ SELECT current_setting('search_path')";
    story(&mut client, &[("SET search_path TO a", "SET"), (path, "a"), ("SHOW search_path", "a")]);
}

#[test]
fn set_config_is_as_good_as_set() {
    let shop = Shop::small();
    let mut client = shop.client();
    let zone = |shard: &str| format!("/* weir shard={shard} */ SELECT current_setting('TimeZone')");
    let set = "SELECT set_config('TimeZone', $1, false)";
    assert_eq!(extended(&mut client, set, &[Some("Asia/Tokyo")]).brief(), "Asia/Tokyo");
    story(&mut client, &[(&zone("two"), "Asia/Tokyo"), (&zone("one"), "Asia/Tokyo"), ("BEGIN", "BEGIN")]);
    story(&mut client, &[("SELECT set_config('TimeZone', 'Asia/Kathmandu', true)", "Asia/Kathmandu")]);
    story(&mut client, &[(&zone("two"), "Asia/Kathmandu"), ("COMMIT", "COMMIT"), (&zone("two"), "Asia/Tokyo")]);
    story(
        &mut client,
        &[
            ("BEGIN", "BEGIN"),
            ("SELECT set_config('TimeZone', 'UTC', false)", "UTC"),
            ("ROLLBACK", "ROLLBACK"),
            (&zone("one"), "Asia/Tokyo"),
            ("SELECT set_config('nonsense', 'x', false)", "42704"),
            ("SELECT set_config('role', 'weir', false)", "0A000"),
            ("SELECT set_config('a.b', 'x', false), 1", "x|1"),
            ("SELECT set_config('a.b', 'x', false)", "x"),
            ("/* weir shard=two */ SELECT current_setting('a.b')", "x"),
            ("DISCARD ALL", "DISCARD ALL"),
            ("SELECT current_setting('a.b', true)", ""),
        ],
    );
}

/// A database as many are, with what a dump has to say of it.
const DUMPED: &str = r"
    CREATE TYPE mood AS ENUM ('sad', 'ok');
    CREATE TABLE products (product_id int4 PRIMARY KEY, name text NOT NULL);
    CREATE TABLE customers (customer_id int8 PRIMARY KEY, name text DEFAULT 'nobody', joined timestamptz);
    CREATE TABLE orders (customer_id int8 REFERENCES customers, order_id int4, total numeric(10, 2) CHECK (total > 0),
        PRIMARY KEY (customer_id, order_id));
    CREATE INDEX by_total ON orders (total) WHERE total > 5;
    CREATE TABLE visits (token text PRIMARY KEY, hits int4, bytes bytea);
    CREATE SEQUENCE numbers; SELECT setval('numbers', 77);
    CREATE VIEW rich AS SELECT customer_id FROM orders WHERE total > 100;
    COMMENT ON TABLE customers IS 'who buys';
    GRANT SELECT ON orders TO PUBLIC;
    INSERT INTO products SELECT n, 'thing ' || n FROM generate_series(1, 20) n;
    INSERT INTO customers SELECT n, E'tab	, newline
, back\slash ' || n, '2024-01-01 00:00:00+00'::timestamptz + n * interval '1h'
        FROM generate_series(1, 60) n;
    INSERT INTO customers VALUES (61, NULL, NULL);
    INSERT INTO orders SELECT n, m, n + m / 10.0 FROM generate_series(1, 60) n, generate_series(1, 3) m;
    INSERT INTO visits SELECT chr(96 + n) || n, n, decode(to_hex(n + 16), 'hex') FROM generate_series(1, 26) n;";

/// An empty sharded database, and one PostgreSQL with tables and a dump of them.
fn dumped(format: &str) -> (Shop, Endpoint, PathBuf) {
    let name = unique("dumped");
    endpoint_of(&servers().reference, "postgres").execute(&format!("CREATE DATABASE {name}"));
    let single = endpoint_of(&servers().reference, &name);
    single.execute(DUMPED);
    let shop = Shop::empty(RANGE, &[]);
    let file = shop.weir.dir().join("dump");
    let output = single.command("pg_dump").args(["--format", format]).arg(&name).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::write(&file, output.stdout).unwrap();
    (shop, single, file)
}

fn has_all(shop: &Shop, single: &Endpoint) {
    let (mut ours, mut theirs) = (shop.client(), single.raw());
    for (table, key) in [("products", "product_id"), ("customers", "customer_id"), ("orders", "customer_id, order_id")]
    {
        let sql = format!("SELECT * FROM {table} ORDER BY {key}");
        assert_eq!(ask(&mut ours, &sql).rows, ask(&mut theirs, &sql).rows, "{sql}");
    }
    let visits = "SELECT * FROM visits ORDER BY token COLLATE \"C\"";
    assert_eq!(ask(&mut ours, visits).rows, ask(&mut theirs, visits).rows);
    story(
        &mut ours,
        &[
            ("SELECT nextval('numbers')", "78"),
            ("SELECT count(*) FROM rich WHERE customer_id = 7", "0"),
            ("INSERT INTO orders VALUES (7, 9, -1)", "23514"),
            ("INSERT INTO orders VALUES (7, 1, 1)", "23505"),
            ("INSERT INTO orders VALUES (99, 1, 1)", "23503"),
        ],
    );
    for shard in [0, 1] {
        let indexes = "SELECT count(*) FROM pg_indexes WHERE indexname = 'by_total'";
        assert_eq!(shop.shard(shard).value(indexes), "1");
        let wrong = ["BETWEEN 10 AND 19", "BETWEEN 1 AND 9"][shard];
        assert_eq!(shop.shard(shard).value(&format!("SELECT count(*) FROM orders WHERE customer_id {wrong}")), "0");
    }
}

#[test]
fn psql_restores_a_plain_dump() {
    let (shop, single, file) = dumped("plain");
    let restored = shop.endpoint().psql(["-q", "-v", "ON_ERROR_STOP=1", "-f", file.to_str().unwrap()]);
    assert_eq!((restored.status, restored.stderr.as_str()), (0, ""), "{}", restored.stdout);
    has_all(&shop, &single);
}

#[test]
fn pg_restore_restores_an_archive() {
    let (shop, single, file) = dumped("custom");
    let mut command = shop.endpoint().command("pg_restore");
    let output = command.args(["--exit-on-error", "--dbname", "shop"]).arg(&file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    has_all(&shop, &single);
}

#[test]
fn a_dump_in_one_transaction_is_refused_before_anything_is_made() {
    let (shop, _, file) = dumped("plain");
    let restored = shop.endpoint().psql(["-1", "-q", "-v", "ON_ERROR_STOP=1", "-f", file.to_str().unwrap()]);
    assert!(restored.status != 0 && restored.stderr.contains("HINT:  Run it outside of BEGIN"), "{restored:?}");
    assert_eq!(shop.endpoint().value("SELECT count(*) FROM pg_class WHERE relname = 'customers'"), "0");
}

#[test]
fn psql_copies_rows_in_from_a_file() {
    let shop = Shop::small();
    let file = shop.weir.dir().join("rows.csv");
    std::fs::write(&file, "name,customer_id\n\"Eve, the first\",3\nFay,13\n").unwrap();
    let copy = format!("\\copy customers (name, customer_id) FROM '{}' CSV HEADER", file.display());
    assert_eq!(shop.endpoint().psql(["-c", &copy]).stdout, "COPY 2\n");
    let names = "SELECT name FROM customers WHERE customer_id IN (3, 13) ORDER BY customer_id";
    assert_eq!(shop.endpoint().value(names), "Eve, the first\nFay");
}

/// Ranges of a customer's number; what is not mapped lives at home.
fn with_unmapped_tables(tables: &str) -> Shop {
    let keyspaces = RANGE.split("[tables]").next().unwrap();
    Shop::empty(&format!("unmapped_tables = \"home\"\n{keyspaces}[tables]\n{tables}"), &[])
}

#[test]
fn django_migrates_and_maps() {
    let shop = with_unmapped_tables(
        "shop_customer = { keyspace = \"customer\", key = \"id\" }
         shop_order = { keyspace = \"customer\", key = \"customer_id\" }
         shop_product = { reference = true }",
    );
    shop.endpoint().drive("django_test.py", &[]);
}

#[test]
fn sqlalchemy_and_alembic_reflect_and_map() {
    let shop = with_unmapped_tables(
        "customers = { keyspace = \"customer\", key = \"id\" }
         orders = { keyspace = \"customer\", key = \"customer_id\" }
         \"billing.invoices\" = { keyspace = \"customer\", key = \"customer_id\" }",
    );
    shop.endpoint().drive("sqlalchemy_test.py", &[]);
}

#[test]
fn a_report_is_made_from_rows_of_all_shards() {
    let shop = with_unmapped_tables("customers = { keyspace = \"customer\", key = \"id\" }");
    let mut client = shop.client();
    must(&mut client, "CREATE TABLE customers (id int8 PRIMARY KEY, name varchar(20) COLLATE \"C\")");
    must(&mut client, "INSERT INTO customers VALUES (1, 'a'), (11, 'b'), (21, 'c')");
    must(&mut client, "CREATE TABLE report AS SELECT id, name, count(*) OVER () AS all FROM customers");
    assert_eq!(ask(&mut shop.client(), "SELECT * FROM report ORDER BY id").brief(), "1|a|3,11|b|3,21|c|3");
    assert_eq!(shop.shard(1).value("SELECT to_regclass('report') IS NULL"), "t");
    let types = "SELECT format_type(atttypid, atttypmod), attcollation::regcollation FROM pg_attribute
                 WHERE attrelid = 'report'::regclass AND attname = 'name'";
    assert_eq!(shop.shard(0).value(types), "character varying(20)|\"C\"");
    must(&mut client, "BEGIN");
    must(&mut client, "CREATE TABLE other AS SELECT name FROM customers");
    must(&mut client, "ROLLBACK");
    assert_eq!(shop.shard(0).value("SELECT to_regclass('other') IS NULL"), "t");
    assert_eq!(ask(&mut client, "CREATE TABLE again AS TABLE report").brief(), "SELECT 3");
}
