//! The pure layers on their own: what a statement costs before and after it is on its way.
//!
//! `cargo bench` runs it; `benches/pool.py` measures the whole.

#![allow(clippy::expect_used, reason = "a bench that cannot be set up must stop")]

use std::collections::BTreeSet;
use std::hint::black_box;

use bytes::{Bytes, BytesMut};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use weir::merge::spec::{ColumnRef, MergeSpec, SortKey};
use weir::merge::{Merge, MergeOptions, Step, TextFidelity};
use weir::route::{self, Request};
use weir::session::ledger::{Asker, Entry, Ledger};
use weir::shardmap::{Distribution, Hash, HashFunction, KeyType, KeyValue, Keyspace, Method, ShardMap, Table};
use weir::sql::analyze::analyze;
use weir::sql::cache::FactsCache;
use weir::sql::scan::scan;
use weir::sql::schema::{Column, FunctionClass, Relation, Schema, Volatility};
use weir::types::{Epoch, ShardId};
use weir::wire::frame::{self, Sender};
use weir::wire::{TransactionStatus, backend};

const INT4: u32 = 23;
const POINT_READ: &str = "SELECT abalance FROM accounts WHERE aid = 4711";
const ROWS: i32 = 1000;

fn point_read_reply() -> BytesMut {
    let mut reply = BytesMut::new();
    backend::row_description(&mut reply, &[int4_column()]);
    append_row(&mut reply, 4711);
    backend::command_complete(&mut reply, "SELECT 1");
    backend::ready_for_query(&mut reply, TransactionStatus::Idle);
    reply
}

fn int4_column() -> backend::Column {
    backend::Column {
        name: b"abalance".to_vec(),
        table_oid: 0,
        attribute: 0,
        type_oid: INT4,
        type_size: 4,
        type_modifier: -1,
        format: 0,
    }
}

fn append_row(out: &mut BytesMut, value: i32) {
    let body = row_body(value);
    out.extend_from_slice(&[backend::tag::DATA_ROW]);
    out.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
    out.extend_from_slice(&body);
}

/// The body of a DataRow with one integer as text.
fn row_body(value: i32) -> Bytes {
    let text = value.to_string();
    [&1_u16.to_be_bytes(), &(text.len() as u32).to_be_bytes()[..], text.as_bytes()].concat().into()
}

fn framing(criterion: &mut Criterion) {
    let mut rows = BytesMut::new();
    (0..ROWS).for_each(|value| append_row(&mut rows, value));
    let mut group = criterion.benchmark_group("wire");
    group.throughput(Throughput::Bytes(rows.len() as u64));
    group.bench_function("frame 1000 rows", |bencher| {
        bencher.iter(|| {
            let (mut rest, mut count) = (&rows[..], 0);
            while let Ok(Some(frame)) = frame::first(rest, Sender::Server) {
                rest = &rest[frame.raw.len()..];
                count += 1;
            }
            black_box(count)
        });
    });
}

fn ledger(criterion: &mut Criterion) {
    let reply = point_read_reply();
    let mut ledger = Ledger::default();
    let mut out = BytesMut::new();
    criterion.bench_function("session/ledger: a query and its reply", |bencher| {
        bencher.iter(|| {
            assert!(ledger.enter(Entry::Query(Asker::Client)), "the ledger takes a query");
            black_box(ledger.scan(&reply, &mut out)).expect("a reply")
        });
    });
}

fn facts(criterion: &mut Criterion) {
    let schema = schema();
    let mut group = criterion.benchmark_group("sql");
    let (mut key, mut literals) = (Vec::new(), Vec::new());
    group.bench_function("scan", |bencher| {
        bencher.iter(|| {
            key.clear();
            literals.clear();
            black_box(scan(POINT_READ, true, &mut key, &mut literals))
        });
    });
    let mut cache = FactsCache::new(1 << 20);
    group.bench_function("facts, known shape", |bencher| {
        bencher.iter(|| black_box(cache.get(POINT_READ, &schema, true, &mut literals)));
    });
    group.bench_function("facts, new shape", |bencher| bencher.iter(|| black_box(analyze(POINT_READ, true, &schema))));
}

fn schema() -> Schema {
    let column = |name: &str| Column {
        name: name.into(),
        type_oid: INT4,
        type_modifier: -1,
        computed_default: false,
        is_generated: false,
        default: None,
        moment_default: false,
        sequence: None,
        ordered_by_bytes: false,
        own_collation: false,
        not_null: false,
    };
    let accounts = Relation { columns: vec![column("aid"), column("abalance")], ..Relation::default() };
    let count = FunctionClass {
        builtin: true,
        volatility: Volatility::Immutable,
        aggregate: true,
        window: false,
        returns_set: false,
    };
    Schema {
        functions: [("count".to_owned(), count)].into_iter().collect(),
        relations: [(("public".into(), "accounts".into()), accounts)].into_iter().collect(),
        search_path: vec!["public".into()],
        ..Schema::default()
    }
}

fn shard_map() -> ShardMap {
    let shards = [ShardId(0), ShardId(1)];
    let hash = Hash::even(HashFunction::default(), 4096, &shards).expect("an even placement");
    let keyspace = Keyspace { name: "account".into(), key: vec![KeyType::Int4], method: Method::Hash(hash) };
    let accounts = Table {
        schema: "public".into(),
        name: "accounts".into(),
        distribution: Distribution::Sharded { keyspace: "account".into(), columns: vec!["aid".into()] },
    };
    ShardMap::new(Epoch(1), vec!["west".into(), "east".into()], vec![keyspace], vec![accounts]).expect("a map")
}

fn routing(criterion: &mut Criterion) {
    let (map, schema) = (shard_map(), schema());
    let mut literals = Vec::new();
    let facts = FactsCache::new(1 << 20).get(POINT_READ, &schema, true, &mut literals);
    let statement = &facts.statements[0];
    let request = Request {
        text: POINT_READ,
        statement,
        literals: &literals,
        parameters: &[],
        map: &map,
        schema: &schema,
        named: None,
        role: "app",
        has_own_path: false,
        temporary: &BTreeSet::new(),
    };
    let by_hash = Hash::even(HashFunction::default(), 4096, &[ShardId(0), ShardId(1)]).expect("an even placement");
    let mut group = criterion.benchmark_group("route");
    group.bench_function("by hash key", |bencher| bencher.iter(|| black_box(route::plan(&request)).expect("a plan")));
    group.bench_function("shard of an int8", |bencher| {
        bencher.iter(|| by_hash.shard_of(black_box(&[KeyValue::Int(4711)])))
    });
    let text = [KeyValue::Text("4711 Plaza de la Constitución".into())];
    group.bench_function("shard of a text", |bencher| bencher.iter(|| by_hash.shard_of(black_box(&text))));
}

/// Statements by form, each for one shard.
const FORMS: &[(&str, &str)] = &[
    ("equality", POINT_READ),
    ("in", "SELECT abalance FROM accounts WHERE aid IN (1, 1, 1, 1, 1, 1, 1, 1)"),
    ("array", "SELECT abalance FROM accounts WHERE aid = ANY ('{1,1,1,1}')"),
    ("or", "SELECT abalance FROM accounts WHERE (aid = 7 AND abalance > 0) OR (aid = 7 AND abalance < -5)"),
    ("join", "SELECT * FROM accounts a JOIN accounts b USING (aid) WHERE a.aid = 4711"),
    ("subquery", "SELECT * FROM (SELECT aid, count(*) FROM accounts GROUP BY aid) q WHERE q.aid = 4711"),
    ("with", "WITH q AS (SELECT * FROM accounts) SELECT * FROM q WHERE aid = 4711"),
    ("exists", "SELECT * FROM accounts a WHERE a.aid = 7 AND EXISTS (SELECT 1 FROM accounts b WHERE b.aid = a.aid)"),
    (
        "recursive",
        "WITH RECURSIVE r AS (SELECT aid, abalance FROM accounts WHERE aid = 7 UNION ALL SELECT a.aid, a.abalance + 1 \
         FROM accounts a JOIN r ON a.aid = r.aid AND a.abalance = r.abalance + 1) SELECT * FROM r",
    ),
    ("writing with", "WITH q AS (DELETE FROM accounts WHERE aid = 7 RETURNING aid) SELECT * FROM q"),
    ("insert", "INSERT INTO accounts (aid, abalance) VALUES (4711, 0)"),
    ("update", "UPDATE accounts SET abalance = abalance + 5 WHERE aid = 4711"),
];

/// From a text to a plan, its shape known or new.
fn routing_by_form(criterion: &mut Criterion) {
    let (map, schema) = (shard_map(), schema());
    let mut literals = Vec::new();
    let mut plan = |cache: &mut FactsCache, text: &str| {
        let facts = cache.get(text, &schema, true, &mut literals);
        let statement = &facts.statements[0];
        let literals = &literals;
        let request = Request {
            text,
            statement,
            literals,
            parameters: &[],
            map: &map,
            schema: &schema,
            named: None,
            role: "app",
            has_own_path: false,
            temporary: &BTreeSet::new(),
        };
        route::plan(&request).expect("a plan")
    };
    let mut group = criterion.benchmark_group("text to plan");
    for (form, text) in FORMS {
        let mut cache = FactsCache::new(1 << 20);
        group.bench_function(format!("{form}, known shape"), |bencher| {
            bencher.iter(|| black_box(plan(&mut cache, text)))
        });
        group.bench_function(format!("{form}, new shape"), |bencher| {
            bencher.iter(|| black_box(plan(&mut FactsCache::new(1 << 20), text)));
        });
    }
    group.finish();
    let mut cache = FactsCache::new(1 << 20);
    for aid in 0..1_000_000 {
        black_box(plan(&mut cache, &format!("SELECT abalance FROM accounts WHERE aid = {aid}")));
    }
    println!("the cache after a million literals: {:?}", cache.stats());
}

fn merging(criterion: &mut Criterion) {
    let key = SortKey {
        column: ColumnRef::Visible(0),
        descending: false,
        nulls_first: false,
        bytewise: false,
        collation: None,
    };
    let shards: Vec<Vec<Bytes>> =
        (0..2).map(|odd| (0..ROWS / 2).map(|row| row_body(row * 2 + odd)).collect()).collect();
    let mut group = criterion.benchmark_group("merge");
    group.throughput(Throughput::Elements(ROWS as u64));
    for (name, sort) in [("1000 rows of two shards", vec![]), ("1000 rows of two shards, sorted", vec![key])] {
        let spec = MergeSpec { sort, ..MergeSpec::default() };
        group.bench_function(name, |bencher| {
            bencher.iter_batched(|| shards.clone(), |rows| merge_rows(&spec, rows), BatchSize::SmallInput);
        });
    }
}

fn merge_rows(spec: &MergeSpec, rows: Vec<Vec<Bytes>>) -> BytesMut {
    let fidelity = TextFidelity { deterministic_collations: true, exact_floats: true };
    let options = MergeOptions { memory_max: 1 << 20, fidelity };
    let mut merge = Merge::new(spec, 0, &[int4_column()], rows.len(), &options).expect("a merge");
    let mut sources: Vec<_> = rows.into_iter().map(Vec::into_iter).collect();
    let mut out = BytesMut::new();
    loop {
        match merge.next(&mut out).expect("rows") {
            Step::Row => {}
            Step::Done => return out,
            Step::NeedRow(source) => match sources[source].next() {
                Some(row) => merge.push(source, row).expect("a row"),
                None => merge.finish(source),
            },
        }
    }
}

criterion_group!(layers, framing, ledger, facts, routing, routing_by_form, merging);
criterion_main!(layers);
