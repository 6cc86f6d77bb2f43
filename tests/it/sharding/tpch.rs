//! TPC-H over three shards, in two layouts: every query as one PostgreSQL answers it, with times side by side.

mod rows;

use std::fs;
use std::time::{Duration, Instant};

use self::rows::Rows;
use super::answer::{Order, ask};
use super::keyspaces::Three;
use super::shop::must;
use crate::harness::{Database, Endpoint, Setup};

/// Orders and their lines by the order's number, everything else on every shard.
const BY_ORDER: &str = r#"
[keyspaces.order]
method = "hash"
key_type = "int8"

[tables]
orders = { keyspace = "order", key = "o_orderkey" }
lineitem = { keyspace = "order", key = "l_orderkey" }
customer = { reference = true }
part = { reference = true }
partsupp = { reference = true }
supplier = { reference = true }
nation = { reference = true }
region = { reference = true }
"#;

/// Customers and their orders by the customer's number; lines, which do not know it, by the order's.
const BY_CUSTOMER: &str = r#"
[keyspaces.customer]
method = "hash"
key_type = "int8"

[keyspaces.order]
method = "hash"
key_type = "int8"

[tables]
customer = { keyspace = "customer", key = "c_custkey" }
orders = { keyspace = "customer", key = "o_custkey" }
lineitem = { keyspace = "order", key = "l_orderkey" }
part = { reference = true }
partsupp = { reference = true }
supplier = { reference = true }
nation = { reference = true }
region = { reference = true }
"#;

const SCHEMA: &[&str] = &[
    "CREATE TABLE region (r_regionkey int PRIMARY KEY, r_name char(25), r_comment varchar(152))",
    "CREATE TABLE nation (n_nationkey int PRIMARY KEY, n_name char(25), n_regionkey int, n_comment varchar(152))",
    "CREATE TABLE supplier (s_suppkey int PRIMARY KEY, s_name char(25), s_address varchar(40), s_nationkey int,
        s_phone char(15), s_acctbal numeric(15,2), s_comment varchar(101))",
    "CREATE TABLE part (p_partkey int PRIMARY KEY, p_name varchar(55), p_mfgr char(25), p_brand char(10),
        p_type varchar(25), p_size int, p_container char(10), p_retailprice numeric(15,2), p_comment varchar(23))",
    "CREATE TABLE partsupp (ps_partkey int, ps_suppkey int, ps_availqty int, ps_supplycost numeric(15,2),
        ps_comment varchar(199), PRIMARY KEY (ps_partkey, ps_suppkey))",
    "CREATE TABLE customer (c_custkey int8 PRIMARY KEY, c_name varchar(25), c_address varchar(40), c_nationkey int,
        c_phone char(15), c_acctbal numeric(15,2), c_mktsegment char(10), c_comment varchar(117))",
    "CREATE TABLE orders (o_orderkey int8, o_custkey int8, o_orderstatus char(1), o_totalprice numeric(15,2),
        o_orderdate date, o_orderpriority char(15), o_clerk char(15), o_shippriority int, o_comment varchar(79),
        PRIMARY KEY (o_orderkey, o_custkey))",
    "CREATE TABLE lineitem (l_orderkey int8, l_partkey int, l_suppkey int, l_linenumber int, l_quantity numeric(15,2),
        l_extendedprice numeric(15,2), l_discount numeric(15,2), l_tax numeric(15,2), l_returnflag char(1),
        l_linestatus char(1), l_shipdate date, l_commitdate date, l_receiptdate date, l_shipinstruct char(25),
        l_shipmode char(10), l_comment varchar(44), PRIMARY KEY (l_orderkey, l_linenumber))",
    "CREATE INDEX ON lineitem (l_partkey, l_suppkey)",
];

fn queries() -> Vec<(&'static str, &'static str)> {
    let text = include_str!("tpch/queries.sql");
    let numbered = text.split("--- ").skip(1).filter_map(|part| part.split_once('\n'));
    numbered.map(|(number, query)| (number.trim(), query.trim())).collect()
}

fn load(endpoint: &Endpoint, dir: &std::path::Path, tables: &[(&str, String)]) {
    for (table, rows) in tables {
        let file = dir.join(format!("{table}.tsv"));
        fs::write(&file, rows).unwrap();
        let run = endpoint.psql(["-c", &format!("\\copy {table} from '{}'", file.display())]);
        assert_eq!(run.status, 0, "{table}: {}", run.stderr);
    }
}

/// When a server that gathers was last told something.
const LAST_GATHERED: &str = "SELECT coalesce(max(query_start)::text, 'never') FROM pg_stat_activity
    WHERE (query LIKE '%pg_temp.\"weir\\_%' OR query LIKE '%weir\\_gather%') AND pid <> pg_backend_pid()
      AND datname = current_database()";

fn compare(title: &str, shard_map: &str, scale_thousandths: usize) {
    let database = Database::new("shop").sharded_by(shard_map);
    let mut three = Three::with(Setup::new().pool("query_wait_timeout = \"10min\""), database);
    let tables = Rows::new(scale_thousandths, 7).tables();
    for sql in SCHEMA {
        must(&mut three.sharded, sql);
        must(&mut three.single, sql);
    }
    let dir = three.weir.dir().to_owned();
    load(&three.weir.endpoint("shop"), &dir, &tables);
    load(&three.reference, &dir, &tables);
    three.reference.execute("ANALYZE");
    (0..3).for_each(|shard| drop(three.shard(shard).execute("ANALYZE")));
    println!("TPC-H, scale {}, {title}", scale_thousandths as f64 / 1000.0);
    let mut unequal = Vec::new();
    for (number, sql) in queries() {
        let before = three.shard(0).value(LAST_GATHERED);
        let (ours, took) = timed(|| ask(&mut three.sharded, sql));
        let is_gathered = three.shard(0).value(LAST_GATHERED) != before;
        let (theirs, alone) = timed(|| ask(&mut three.single, sql));
        let explained = ask(&mut three.sharded, &format!("EXPLAIN {sql}")).brief();
        let engine = match is_gathered {
            true => "gather",
            false if explained.contains("merged") => "merge",
            false => "one shard",
        };
        println!("| {number} | {engine} | {} | {} | {} |", ours.rows.len(), milliseconds(took), milliseconds(alone));
        unequal
            .extend(ours.difference(&theirs, Order::Total).map(|difference| format!("query {number}: {difference}")));
    }
    assert_eq!(queries().len(), 22);
    assert!(unequal.is_empty(), "{unequal:#?}");
}

fn timed<T>(run: impl FnOnce() -> T) -> (T, Duration) {
    let began = Instant::now();
    let result = run();
    (result, began.elapsed())
}

fn milliseconds(time: Duration) -> String {
    format!("{:.0} ms", time.as_secs_f64() * 1000.0)
}

/// What `make test` runs, in thousandths of the scale of 1.
const SLICE: usize = 2;

#[test]
fn a_slice_of_tpch_by_order() {
    compare("by order", BY_ORDER, SLICE);
}

#[test]
fn a_slice_of_tpch_by_customer() {
    compare("by customer", BY_CUSTOMER, SLICE);
}

/// `SCALE` is in thousandths.
#[test]
#[ignore = "soak"]
fn tpch() {
    let scale = std::env::var("SCALE").map_or(100, |text| text.parse().expect("a number"));
    compare("by order", BY_ORDER, scale);
    compare("by customer", BY_CUSTOMER, scale);
}
