//! Routing by tables of statements.
//!
//! Expectations: `1` is shard 1, `h5` the shard of hash key 5, `home`, `all` (every shard or none), `session`, `several`
//! (rows of several shards are needed: merged, gathered or refused), and `!words` a refusal whose message or detail holds the words.

mod spread;

use super::*;
use std::cell::Cell;
use std::sync::Arc;

use crate::shardmap::{
    Bound, Directory, Distribution, Hash, HashFunction, KeyType, KeyValue, Keyspace, Method, Range, Ranges, Table,
    UnknownKey,
};
use crate::sql::analyze::analyze;
use crate::sql::scan::scan;
use crate::sql::schema::{Column, Enum, FunctionClass, Relation, Sequence, View, Volatility};
use crate::types::{Epoch, Kind};
use crate::wire::oids::{Form, Numbered, Translation, Type};

const INT4: u32 = 23;
const INT8: u32 = 20;
const TEXT: u32 = 25;
const VARCHAR: u32 = 1043;
const FLOAT8: u32 = 701;
const NUMERIC: u32 = 1700;
const TIMESTAMPTZ: u32 = 1184;
/// An enum whose OID differs between the shards, and its arrays.
const MOOD: u32 = 70001;
const MOODS: u32 = 70000;

fn keyspace(name: &str, key_type: KeyType, method: Method) -> Keyspace {
    Keyspace { name: name.into(), key: vec![key_type], method }
}

/// Three ranges, one for each shard, with a gap before the last.
fn ranges(cuts: [KeyValue<'static>; 3]) -> Method {
    let [first, second, third] = cuts.map(|cut| Bound::Key(vec![cut]));
    let range = |from, to, shard| Range { from, to, shard: ShardId(shard) };
    let ranges =
        vec![range(Bound::MinValue, first.clone(), 0), range(first, second, 1), range(third, Bound::MaxValue, 2)];
    Method::Range(Ranges::new(ranges).expect("ranges"))
}

/// The least uuid that starts with this byte.
fn uuid(first: u8) -> KeyValue<'static> {
    let mut bytes = [0; 16];
    bytes[0] = first;
    KeyValue::Uuid(bytes)
}

/// Midnight so many days after 2000-01-01.
fn moment(days: i64) -> KeyValue<'static> {
    KeyValue::Timestamp(days * 86_400_000_000)
}

fn map() -> ShardMap {
    let shards = [ShardId(0), ShardId(1), ShardId(2)];
    let hash = Method::Hash(Hash::even(HashFunction::default(), 64, &shards).expect("hash"));
    let text = |text: &'static str| KeyValue::Text(text.into());
    let keyspaces = vec![
        keyspace("customer", KeyType::Int8, hash),
        keyspace("number", KeyType::Int4, ranges([KeyValue::Int(100), KeyValue::Int(200), KeyValue::Int(300)])),
        keyspace("name", KeyType::Text, ranges([text("h"), text("p"), text("q")])),
        keyspace("day", KeyType::Date, ranges([KeyValue::Date(0), KeyValue::Date(366), KeyValue::Date(400)])),
        keyspace("small", KeyType::Int2, ranges([KeyValue::Int(100), KeyValue::Int(200), KeyValue::Int(300)])),
        keyspace("token", KeyType::Uuid, ranges([uuid(0x40), uuid(0x80), uuid(0xc0)])),
        keyspace("moment", KeyType::Timestamp, ranges([moment(0), moment(366), moment(400)])),
        keyspace("instant", KeyType::Timestamptz, ranges([moment(0), moment(366), moment(400)])),
        keyspace("feeling", KeyType::Enum, moods()),
    ];
    let sharded = |table: &str, keyspace: &str, column: &str| Table {
        schema: "public".into(),
        name: table.into(),
        distribution: Distribution::Sharded { keyspace: keyspace.into(), columns: vec![column.into()] },
    };
    let reference =
        |table: &str| Table { schema: "public".into(), name: table.into(), distribution: Distribution::Reference };
    let tables = vec![
        sharded("customers", "customer", "id"),
        sharded("orders", "customer", "customer_id"),
        sharded("lines", "customer", "customer_id"),
        sharded("n", "number", "k"),
        sharded("m", "number", "k"),
        sharded("s", "name", "k"),
        sharded("sc", "name", "c"),
        sharded("d", "day", "k"),
        sharded("i2", "small", "k"),
        sharded("u", "token", "k"),
        sharded("ts", "moment", "k"),
        sharded("tz", "instant", "k"),
        sharded("Odd Name", "number", "Key"),
        sharded("fresh", "number", "k"),
        sharded("feelings", "number", "k"),
        sharded("strange", "number", "k"),
        sharded("moods", "feeling", "mood"),
        reference("products"),
        reference("prices"),
    ];
    let names = ["one", "two", "three"].map(str::to_owned).into();
    ShardMap::new(Epoch(7), names, keyspaces, tables).expect("map")
}

fn schema() -> Schema {
    let class = |volatility, builtin| FunctionClass { builtin, ..FunctionClass::built_in(volatility) };
    let functions = [
        ("lower", class(Volatility::Immutable, true)),
        ("count", FunctionClass { aggregate: true, ..class(Volatility::Immutable, true) }),
        ("max", FunctionClass { aggregate: true, ..class(Volatility::Immutable, true) }),
        ("sum", FunctionClass { aggregate: true, ..class(Volatility::Immutable, true) }),
        ("now", class(Volatility::Stable, true)),
        ("random", class(Volatility::Volatile, true)),
        ("nextval", class(Volatility::Volatile, true)),
        ("pg_advisory_xact_lock", class(Volatility::Volatile, true)),
        ("set_config", class(Volatility::Volatile, true)),
        ("mine", class(Volatility::Volatile, false)),
    ];
    let tables: &[(&str, &[(&str, u32)])] = &[
        ("customers", &[("id", INT8), ("name", TEXT)]),
        ("orders", &[("id", INT8), ("customer_id", INT8), ("x", FLOAT8), ("note", TEXT)]),
        ("lines", &[("customer_id", INT8), ("order_id", INT8), ("product_id", INT4)]),
        ("n", &[("k", INT4), ("v", INT4), ("f", FLOAT8)]),
        ("m", &[("k", INT4), ("w", INT4)]),
        ("s", &[("k", VARCHAR), ("v", TEXT)]),
        ("sc", &[("c", VARCHAR), ("v", TEXT)]),
        ("d", &[("k", 1082), ("v", INT4)]),
        ("i2", &[("k", 21), ("v", INT4)]),
        ("u", &[("k", 2950), ("v", INT4)]),
        ("ts", &[("k", 1114), ("v", INT4)]),
        ("tz", &[("k", TIMESTAMPTZ), ("v", INT4)]),
        ("Odd Name", &[("Key", INT4), ("k", INT4)]),
        ("feelings", &[("k", INT4), ("mood", MOOD)]),
        ("moods", &[("mood", MOOD), ("v", INT4)]),
        ("products", &[("id", INT4), ("name", TEXT), ("added", TIMESTAMPTZ)]),
        ("prices", &[("id", INT4), ("price", NUMERIC)]),
        ("stray", &[("k", INT4)]),
    ];
    let relation = |columns: &[(&str, u32)]| Relation {
        columns: columns.iter().map(|(name, type_oid)| column(name, *type_oid)).collect(),
        ..Relation::default()
    };
    let strange = Relation { homeless_type: Some("public.odd".into()), ..relation(&[("k", INT4), ("odd", 0)]) };
    let views = [
        ("vn", "SELECT n.k, n.v FROM public.n", &["k", "v"][..]),
        ("v150", "SELECT n.k, n.v FROM public.n WHERE n.k = 150 AND n.v > '-5'::integer", &["k", "v"]),
        ("vjoin", "SELECT n.k, m.w FROM public.n JOIN public.m ON m.k = n.k", &["k", "w"]),
        ("vsum", "SELECT n.k AS key, count(*) AS n FROM public.n GROUP BY n.k", &["key", "n"]),
        ("vtop", "SELECT n.k FROM public.n ORDER BY n.k LIMIT 3", &["k"]),
        ("vover", "SELECT vn.k FROM public.vn", &["k"]),
        ("vuser", "SELECT public.mine() AS x, n.k FROM public.n", &["x", "k"]),
    ];
    let view = |definition: &str, columns: &[&str]| {
        let columns: Vec<(&str, u32)> = columns.iter().map(|name| (*name, INT4)).collect();
        Relation { is_view: true, view: View::new(definition.into()), ..relation(&columns) }
    };
    let views = views.map(|(name, definition, columns)| (("public".into(), name.into()), view(definition, columns)));
    Schema {
        functions: functions.into_iter().map(|(name, class)| (name.to_owned(), class)).collect(),
        relations: tables
            .iter()
            .map(|(name, columns)| (("public".into(), (*name).into()), relation(columns)))
            .chain(views)
            .chain([(("public".into(), "strange".into()), strange)])
            .collect(),
        search_path: vec!["public".into()],
        enums: [(MOOD, Enum { schema: "public".into(), name: "mood".into(), array_oid: MOODS })].into(),
        translations: [(ShardId(1), Arc::new(other_numbers()))].into(),
        ..Schema::default()
    }
}

/// A directory of an enum's labels.
fn moods() -> Method {
    let entry = |label: &'static str, shard| (vec![KeyValue::Label(label.into())], ShardId(shard));
    let entries = [entry("sad", 0), entry("ok", 1), entry("happy", 2)].into();
    Method::Directory(Directory { entries, unknown: UnknownKey::Refuse })
}

/// The numbers of a shard that made its types in another order.
fn other_numbers() -> Translation {
    let numbered = |mood, moods| Numbered {
        types: vec![
            Type { name: "public.mood".into(), oid: mood, form: Form::Plain },
            Type { name: "public.mood[]".into(), oid: moods, form: Form::Array(mood) },
        ],
        relations: Vec::new(),
    };
    Translation::between(&numbered(MOOD, MOODS), &numbered(MOOD + 5, MOODS + 5), "two").expect("a difference")
}

fn column(name: &str, type_oid: u32) -> Column {
    let computed_default = name == "added";
    let sequence = (name == "number").then(|| Sequence { name: "public.numbers".into(), always: false });
    Column {
        is_generated: false,
        default: None,
        name: name.into(),
        type_oid,
        type_modifier: -1,
        computed_default,
        moment_default: false,
        sequence,
        ordered_by_bytes: name == "c",
        own_collation: false,
        not_null: false,
    }
}

fn route_with(text: &str, parameters: &[Parameter<'_>], schema: &Schema) -> Result<Plan> {
    route_named(text, parameters, schema, None)
}

fn route_named(text: &str, parameters: &[Parameter<'_>], schema: &Schema, named: Option<ShardId>) -> Result<Plan> {
    let mut literals = Vec::new();
    scan(text, true, &mut Vec::new(), &mut literals).expect(text);
    let facts = analyze(text, true, schema);
    let statement = &facts.statements[0];
    let (map, temporary) = (map(), BTreeSet::new());
    let request = Request {
        text,
        statement,
        literals: &literals,
        parameters,
        map: &map,
        schema,
        named,
        role: "app",
        has_own_path: false,
        temporary: &temporary,
    };
    check_short_cut(&request);
    plan(&request)
}

thread_local! {
    static SHORT_CUTS: Cell<usize> = const { Cell::new(0) };
}

/// The short cut leads where the long way does. (Nothing matches contradictions, which the long way sees.)
fn check_short_cut(request: &Request<'_>) {
    let Some(shard) = by_one_key(request) else { return };
    SHORT_CUTS.set(SHORT_CUTS.get() + 1);
    let whole = plan_in_full(request, &mut Vec::new()).expect(request.text);
    let Action::One { part, access } = whole.action else { panic!("{}: {:?}", request.text, whole.action) };
    let expected = if contradicts_itself(request) { HOME } else { shard };
    assert_eq!((part.shard, access), (expected, unsharded(request.statement)), "{}", request.text);
}

/// Whether the long way finds no shard at all.
fn contradicts_itself(request: &Request<'_>) -> bool {
    let mut router = Router { request: *request, targets: Vec::new(), unowned: &RefCell::default() };
    router.resolve().expect(request.text);
    router.needed(None).expect(request.text).is_empty()
}

#[test]
fn statements_by_one_key_take_a_short_cut() {
    for (text, shard) in [
        ("SELECT * FROM n WHERE k = 150", true),
        ("SELECT count(*), now() FROM n WHERE k = 150 AND v > 5 GROUP BY v", true),
        ("SELECT * FROM n WHERE k = 150 AND k = 250", true),
        ("SELECT * FROM n WHERE k = 100 + 50", true),
        ("SELECT * FROM n WHERE k = 150 OR k = 150", false),
        ("SELECT * FROM n WHERE k IN (150, 151)", false),
        ("SELECT * FROM n WHERE k > 150", false),
        ("SELECT * FROM n WHERE v = 150", false),
        ("SELECT * FROM n WHERE k = NULL", false),
        ("SELECT * FROM n WHERE k = 1.5", false),
        ("SELECT * FROM n WHERE k = 150 FOR UPDATE", false),
        ("SELECT ctid FROM n WHERE k = 150", false),
        ("SELECT nextval('s') FROM n WHERE k = 150", false),
        ("UPDATE n SET v = v + 1 WHERE k = 150", true),
        ("DELETE FROM n WHERE k = 150 AND v = 2 RETURNING *", true),
        ("UPDATE n SET v = 1, k = 151 WHERE k = 150", false),
        ("UPDATE n SET v = 1", false),
        ("UPDATE n SET v = random() WHERE k = 150", false),
        ("DELETE FROM n WHERE k = 150 AND v = (SELECT 1)", true),
        ("WITH w AS (DELETE FROM n WHERE k = 150 RETURNING *) SELECT * FROM w", true),
        ("INSERT INTO n VALUES (150, 1)", false),
        ("EXPLAIN SELECT * FROM n WHERE k = 150", false),
        ("SELECT * FROM n a JOIN n b ON a.k = b.k WHERE a.k = 150", false),
    ] {
        let before = SHORT_CUTS.get();
        let _planned = route(text);
        assert_eq!(SHORT_CUTS.get() > before, shard, "{text}");
    }
}

fn route(text: &str) -> Result<Plan> {
    route_with(text, &[], &schema())
}

fn outcome(plan: Result<Plan>) -> String {
    match plan {
        Ok(Plan { action: Action::One { part, .. }, .. }) => part.shard.to_string(),
        Ok(Plan { action: Action::Everywhere { parts, .. }, .. }) if parts.len() == 3 => "all".into(),
        Ok(Plan { action: Action::Session, .. }) => "session".into(),
        Ok(Plan { action: Action::ShardByShard { parts, .. }, .. }) if parts.len() == 3 => "shard by shard".into(),
        Ok(Plan { action: Action::Moment, .. }) => "moment".into(),
        Ok(Plan { action: Action::Collect(_), .. }) => "collect".into(),
        Ok(Plan { action: Action::Compute(_), .. }) => "compute".into(),
        Ok(Plan { action: Action::Subqueries(_), .. }) => "subqueries".into(),
        Ok(Plan { action: Action::Sources(_), .. }) => "sources".into(),
        Ok(Plan { action: Action::Instead(text), .. }) => format!("={text}"),
        Ok(Plan { action: Action::Cursor, .. }) => "cursor".into(),
        Ok(Plan { action: Action::Prepare, .. }) => "prepare".into(),
        Ok(Plan { action: Action::Execute, .. }) => "execute".into(),
        Ok(Plan { action: Action::MakeTable(make), .. }) => format!("made on {}", make.shard),
        Ok(Plan { action: Action::CopyOut { .. }, .. }) => "copy out".into(),
        Ok(Plan { action: Action::CopyIn(_), .. }) => "copy".into(),
        Ok(Plan { action: Action::Fan { .. }, .. }) => "fan".into(),
        Ok(Plan { action: Action::Gather(_) | Action::Explanation { .. }, .. }) => "gather".into(),
        Ok(Plan { action: Action::Spread(_), .. }) => "spread".into(),
        Ok(other) => format!("{other:?}"),
        Err(error) => format!("!{error}"),
    }
}

fn hash_shard(key: &str) -> String {
    let key: i64 = key.parse().expect("a number");
    map().keyspaces()[0].shard_of(&[KeyValue::Int(key)]).expect("shard").to_string()
}

fn assert_outcome(text: &str, expected: &str, actual: &str) {
    assert!(is_expected(expected, actual), "{text}\nexpected {expected}, got {actual}");
}

fn is_expected(expected: &str, actual: &str) -> bool {
    match (expected.split_at(1), expected) {
        ((_, _), "home") => actual == "0",
        // Merged, or refused; only never sent to one shard.
        ((_, _), "several") => {
            ["fan", "gather", "spread", "collect", "compute", "subqueries", "sources"].contains(&actual)
                || actual.starts_with('!')
        }
        (("h", key), _) => actual == hash_shard(key),
        (("!", words), _) => actual.starts_with('!') && actual.contains(words) && !words.is_empty(),
        _ => actual == expected,
    }
}

fn check(cases: &[(&str, &str)]) {
    let wrong: Vec<String> = cases
        .iter()
        .map(|(text, expected)| (text, expected, outcome(route(text))))
        .filter(|(_, expected, found)| !is_expected(expected, found))
        .map(|(text, expected, found)| format!("{text}\n  expected {expected}, found {found}"))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn reads_of_one_shard() {
    check(&[
        ("SELECT * FROM customers WHERE id = 5", "h5"),
        ("SELECT * FROM customers WHERE id = 6", "h6"),
        ("SELECT * FROM customers WHERE id = -5", "h-5"),
        ("SELECT * FROM customers WHERE id = - -5", "h5"),
        ("SELECT * FROM customers WHERE 5 = id AND name = 'x'", "h5"),
        ("SELECT * FROM customers WHERE id = '5'", "h5"),
        ("SELECT * FROM customers WHERE id = 5.0", "h5"),
        ("SELECT * FROM customers WHERE id = 5::int4", "h5"),
        ("SELECT * FROM customers WHERE id = '5'::bigint", "h5"),
        ("SELECT * FROM customers WHERE id = 0x10", "h16"),
        ("SELECT * FROM customers WHERE id = 9223372036854775807", "h9223372036854775807"),
        ("SELECT * FROM customers WHERE id = -9223372036854775808", "h-9223372036854775808"),
        ("SELECT * FROM public.customers c WHERE c.id = 5", "h5"),
        ("SELECT count(*) FROM orders WHERE customer_id = 5", "h5"),
        ("SELECT * FROM orders WHERE customer_id = 5 ORDER BY id DESC LIMIT 3", "h5"),
        ("SELECT note, count(*) FROM orders WHERE customer_id = 5 GROUP BY 1 HAVING count(*) > 1", "h5"),
        ("SELECT * FROM n WHERE k = 99", "0"),
        ("SELECT * FROM n WHERE k = 100", "1"),
        ("SELECT * FROM n WHERE k IN (100, 150, 199)", "1"),
        ("SELECT * FROM n WHERE k = ANY (ARRAY[100, 150])", "1"),
        ("SELECT * FROM n WHERE k = 300 OR k = 301", "2"),
        ("SELECT * FROM n WHERE k IN (300, NULL)", "2"),
        ("SELECT * FROM n WHERE k IN (50, 150) AND k IN (150, 350)", "1"),
        ("SELECT * FROM n WHERE k = NULL", "home"),
        ("SELECT * FROM n WHERE k = 250", "home"),
        ("SELECT * FROM n WHERE k = 1 AND k = 150", "home"),
        ("SELECT * FROM s WHERE k = 'house'", "1"),
        ("SELECT * FROM s WHERE k = E'zoo'", "2"),
        ("SELECT * FROM s WHERE k = $$a$$", "0"),
        ("SELECT * FROM s WHERE k = 'house'::text", "1"),
        ("SELECT * FROM d WHERE k = '2000-06-01'", "1"),
        ("SELECT * FROM d WHERE k = DATE '2000-06-01'", "1"),
        ("SELECT * FROM d WHERE k = '1999-12-31'::date", "0"),
        ("SELECT * FROM fresh WHERE k = 150", "1"),
        ("TABLE products", "home"),
        ("SELECT * FROM products p JOIN prices USING (id)", "home"),
        ("SELECT * FROM orders o JOIN products p ON p.id = o.id WHERE o.customer_id = 5", "h5"),
        ("EXPLAIN SELECT * FROM n WHERE k = 150", "1"),
        ("EXPLAIN ANALYZE SELECT * FROM n WHERE k = 150", "1"),
        ("COPY (SELECT * FROM n WHERE k = 150) TO STDOUT", "1"),
        ("COPY products TO STDOUT", "home"),
        ("SELECT * FROM n WHERE k = 150 FOR UPDATE", "1"),
        ("SELECT random() FROM n WHERE k = 150", "1"),
        ("SELECT now(), * FROM n WHERE k = 150", "1"),
    ]);
}

#[test]
fn joins_and_subqueries() {
    check(&[
        ("SELECT * FROM customers c JOIN orders o ON o.customer_id = c.id WHERE c.id = 5", "h5"),
        (
            "SELECT * FROM customers c, orders o, lines l WHERE c.id = o.customer_id AND l.customer_id = o.customer_id AND l.customer_id = 5",
            "h5",
        ),
        ("SELECT * FROM orders JOIN lines USING (customer_id) WHERE customer_id = 5", "h5"),
        ("SELECT * FROM orders LEFT JOIN lines USING (customer_id) WHERE customer_id = 5", "h5"),
        ("SELECT * FROM customers c LEFT JOIN orders o ON o.customer_id = c.id WHERE c.id = 5", "h5"),
        ("SELECT * FROM customers c LEFT JOIN orders o ON o.customer_id = 5 WHERE c.id = 5", "h5"),
        ("SELECT * FROM n WHERE k = 150 AND EXISTS (SELECT 1 FROM m WHERE m.k = n.k)", "1"),
        ("SELECT (SELECT count(*) FROM m WHERE m.k = n.k) FROM n WHERE n.k = 150", "1"),
        ("SELECT * FROM n, LATERAL (SELECT * FROM m WHERE m.k = n.k LIMIT 1) q WHERE n.k = 150", "1"),
        ("WITH q AS (SELECT * FROM n WHERE k = 150) SELECT * FROM q JOIN m ON m.k = 160", "1"),
        ("SELECT * FROM n WHERE k = 150 UNION SELECT * FROM n WHERE k = 160", "1"),
        ("SELECT * FROM (SELECT * FROM n WHERE k = 150) q", "1"),
        ("SELECT * FROM n JOIN m ON m.k = n.k AND n.k = 150", "1"),
        ("SELECT * FROM (n JOIN m ON n.k = m.k) WHERE m.k = 150", "1"),
        // Different shards, or not certainly one.
        ("SELECT * FROM n, m WHERE n.k = 50 AND m.k = 150", "several"),
        ("SELECT * FROM n JOIN m ON m.w = n.v WHERE n.k = 150", "several"),
        ("SELECT * FROM n JOIN m ON m.k = n.v WHERE n.k = 150", "several"),
        ("SELECT * FROM n JOIN m ON m.k = n.f WHERE n.f = 150", "several"),
        ("SELECT * FROM n NATURAL JOIN m WHERE k = 150", "1"),
        ("SELECT * FROM n NATURAL JOIN stray WHERE n.k = 150", "!no place in the shard map"),
    ]);
    check(&[("SELECT * FROM n JOIN m ON m.k = n.v WHERE n.k = 150 AND n.v = 160", "1")]);
}

/// Keys inferred where none restricts: each of these sent to one shard would be a wrong answer in silence.
#[test]
fn traps() {
    check(&[
        ("SELECT * FROM n WHERE k = 50 UNION SELECT * FROM n WHERE k = 150", "several"),
        ("SELECT * FROM n WHERE k = 150 EXCEPT SELECT * FROM n", "several"),
        ("SELECT * FROM n WHERE EXISTS (SELECT 1 FROM m WHERE m.k = 1)", "several"),
        ("SELECT k = 5 FROM n", "several"),
        ("SELECT count(*) FILTER (WHERE k = 5) FROM n", "several"),
        ("SELECT * FROM n LEFT JOIN m ON m.k = 5", "several"),
        ("SELECT * FROM n LEFT JOIN m ON n.k = 5 AND m.k = 5", "several"),
        ("SELECT * FROM n RIGHT JOIN m ON n.k = m.k WHERE n.v = 5", "several"),
        ("SELECT * FROM n FULL JOIN m ON n.k = m.k AND n.k = 5", "several"),
        ("SELECT * FROM n FULL JOIN m USING (k) WHERE k = 5", "several"),
        ("SELECT * FROM n ORDER BY (k = 5)", "several"),
        ("SELECT k FROM n GROUP BY k HAVING k = 5", "several"),
        ("SELECT * FROM n WHERE k % 10 = 3", "several"),
        ("SELECT * FROM n WHERE k NOT IN (1)", "several"),
        ("SELECT * FROM n WHERE NOT k = 1", "several"),
        ("SELECT * FROM n WHERE k = 1 OR v = 2", "several"),
        ("SELECT * FROM n WHERE k = 1 OR true", "several"),
        ("SELECT * FROM n WHERE (k = 1) IS NOT TRUE", "several"),
        ("SELECT * FROM n WHERE coalesce(k, 5) = 5", "several"),
        ("SELECT * FROM n WHERE -k = 5", "several"),
        ("SELECT * FROM n LEFT JOIN (m JOIN products p ON m.k = 5) ON n.v = m.w", "several"),
        ("SELECT * FROM n q (v, k, f) WHERE q.k = 5", "several"),
        ("SELECT * FROM n, (SELECT 5 AS k) q WHERE q.k = 5", "several"),
        ("SELECT * FROM n WHERE EXISTS (SELECT 1 FROM m WHERE n.k = 5)", "several"),
        ("WITH n AS (SELECT 5 AS k) SELECT * FROM n, m WHERE n.k = 5", "several"),
        // Comparisons that another type decides.
        ("SELECT * FROM orders WHERE customer_id = 9007199254740993::float8", "several"),
        ("SELECT * FROM orders WHERE customer_id = 5.5", "several"),
        ("SELECT * FROM orders WHERE customer_id = 5.5::int8", "several"),
        ("SELECT * FROM orders WHERE customer_id = '5'::numeric", "h5"),
        ("SELECT * FROM orders WHERE customer_id = '5.5'::numeric", "several"),
        ("SELECT * FROM orders WHERE customer_id = 1e1", "several"),
        ("SELECT * FROM orders WHERE customer_id IN (1, 2::float8)", "several"),
        ("SELECT * FROM orders WHERE customer_id = x AND x = 5", "several"),
        ("SELECT * FROM s WHERE k = 'house'::char(9)", "several"),
        ("SELECT * FROM s WHERE k = 'house'::varchar(2)", "several"),
        ("SELECT * FROM s WHERE k = 'house'::name", "several"),
        ("SELECT * FROM s WHERE k = U&'house'", "several"),
        ("SELECT * FROM s WHERE k = 'house' COLLATE \"C\"", "several"),
        ("SELECT * FROM s WHERE k LIKE 'house'", "several"),
        ("SELECT * FROM s WHERE lower(k) = 'house'", "several"),
        ("SELECT * FROM d WHERE k = 'today'", "several"),
        ("SELECT * FROM d WHERE k = '06/01/2000'", "several"),
        ("SELECT * FROM d WHERE k = '2000-06-01'::timestamp", "several"),
        ("SELECT * FROM d WHERE k = current_date", "several"),
        ("COPY n TO STDOUT", "copy out"),
        ("COPY (SELECT * FROM n) TO STDOUT", "copy out"),
        ("EXPLAIN SELECT * FROM n", "several"),
        ("TABLE n", "several"),
        ("SELECT * FROM n", "several"),
    ]);
}

#[test]
fn reads_of_several_shards() {
    check(&[
        ("SELECT * FROM n", "fan"),
        ("SELECT k FROM n WHERE k IN (50, 150) ORDER BY k LIMIT 5", "fan"),
        ("SELECT count(*) FROM n", "fan"),
        ("SELECT * FROM n FOR UPDATE", "fan"),
        ("SELECT * FROM n ORDER BY k LIMIT 5 FOR UPDATE", "!lock more rows"),
        ("SELECT random() FROM n", "gather"),
        ("SELECT * FROM feelings", "fan"),
        ("SELECT * FROM strange", "!no type public.odd"),
        ("SELECT nextval('s') FROM n", "!home shard"),
    ]);
}

#[test]
fn without_sharded_tables() {
    check(&[
        ("SELECT 1", "home"),
        ("SELECT now()", "home"),
        ("SELECT random()", "home"),
        ("SELECT nextval('s')", "home"),
        ("SELECT pg_advisory_xact_lock(1)", "home"),
        ("SELECT * FROM pg_class", "home"),
        ("SELECT * FROM information_schema.tables", "home"),
        ("SELECT count(*) FROM pg_stat_activity", "home"),
        ("VALUES (1), (2)", "home"),
        ("SHOW work_mem", "home"),
        ("LISTEN c", "home"),
        ("UNLISTEN c", "home"),
        ("NOTIFY c", "home"),
        ("EXPLAIN SELECT 1", "home"),
    ]);
}

#[test]
fn writes_of_sharded_rows() {
    check(&[
        ("INSERT INTO n VALUES (150, 1, 2)", "1"),
        ("INSERT INTO n (v, k) VALUES (1, 150)", "1"),
        ("INSERT INTO n (v, k) VALUES (1, 150), (2, 160)", "1"),
        ("INSERT INTO n (k) VALUES ('150')", "1"),
        ("INSERT INTO n (k, v) VALUES (150, 1) ON CONFLICT (k) DO UPDATE SET v = excluded.v", "1"),
        ("INSERT INTO n (k, v) VALUES (150, 1) ON CONFLICT DO NOTHING RETURNING k", "1"),
        ("INSERT INTO n (k, v) VALUES (150, (SELECT count(*) FROM m WHERE m.k = 160))", "1"),
        ("INSERT INTO n (k, v) VALUES (150, random())", "1"),
        ("INSERT INTO fresh (k) VALUES (150)", "1"),
        ("INSERT INTO customers VALUES (5, 'x')", "h5"),
        ("UPDATE n SET v = 1 WHERE k = 150", "1"),
        ("UPDATE n SET v = v + 1 WHERE k IN (150, 151) AND v > 2 RETURNING *", "1"),
        ("UPDATE n SET v = m.w FROM m WHERE m.k = n.k AND n.k = 150", "1"),
        ("DELETE FROM n WHERE k = 350", "2"),
        ("DELETE FROM n USING m WHERE m.k = n.k AND m.k = 150", "1"),
        ("DELETE FROM n WHERE k = NULL", "home"),
        ("EXPLAIN DELETE FROM n WHERE k = 150", "1"),
        ("EXPLAIN INSERT INTO n (k) VALUES (150)", "1"),
        ("INSERT INTO n (k) VALUES (50), (150)", "several"),
        ("INSERT INTO n (k, v) VALUES (150, (SELECT count(*) FROM m))", "several"),
        ("INSERT INTO n (v) VALUES (1)", "!no value for column \"k\""),
        ("INSERT INTO n (k) VALUES (DEFAULT)", "!not known before"),
        ("INSERT INTO n (k) VALUES (1 + 1)", "0"),
        ("INSERT INTO n (k) VALUES (5.5)", "compute"),
        ("INSERT INTO n DEFAULT VALUES", "!that a query makes"),
        ("INSERT INTO n SELECT * FROM n WHERE k = 150", "1"),
        ("INSERT INTO n SELECT w, k FROM m WHERE k = 150", "several"),
        ("INSERT INTO n SELECT w, k FROM m WHERE k = 150 AND w = 160", "1"),
        ("INSERT INTO n (v, k) SELECT w, k FROM m WHERE k = 150", "1"),
        ("INSERT INTO n SELECT 150, w FROM m WHERE k = 160", "1"),
        ("INSERT INTO n SELECT 150, w FROM m WHERE k = 50", "several"),
        ("INSERT INTO n SELECT k + 1 FROM m WHERE k = 150", "collect"),
        ("INSERT INTO n VALUES (150) ON CONFLICT (k) DO UPDATE SET k = 5", "!change the shard key"),
        ("INSERT INTO n (k) VALUES (NULL)", "!null value in shard key"),
        ("INSERT INTO n (k) VALUES (250)", "!no shard of keyspace"),
        ("INSERT INTO s (k) VALUES ('house ')", "compute"),
        ("INSERT INTO fresh VALUES (150)", "!not known yet"),
        ("UPDATE n SET v = 1", "several"),
        ("UPDATE n SET v = 1 WHERE k > 5", "several"),
        ("UPDATE n SET k = 5 WHERE k = 150", "collect"),
        ("UPDATE n SET (v, k) = (1, 2) WHERE k = 150", "collect"),
        ("UPDATE n SET v = (SELECT max(w) FROM m) WHERE k = 150", "several"),
        ("UPDATE n SET v = (SELECT w FROM m LIMIT 1) WHERE k = 150", "several"),
        ("DELETE FROM n", "several"),
        ("DELETE FROM n WHERE v = 5", "several"),
        ("DELETE FROM n WHERE CURRENT OF c", "several"),
        ("WITH q AS (DELETE FROM n WHERE k = 150 RETURNING *) SELECT * FROM q", "1"),
        ("MERGE INTO n USING m ON n.k = m.k WHEN MATCHED THEN DELETE", "spread"),
        ("EXPLAIN MERGE INTO n USING m ON n.k = m.k WHEN MATCHED THEN DELETE", "!MERGE"),
        ("MERGE INTO products p USING prices q ON p.id = q.id WHEN MATCHED THEN DELETE", "all"),
        (
            "MERGE INTO products p USING prices q ON p.id = q.id WHEN NOT MATCHED THEN INSERT (id, added) VALUES (q.id, now())",
            "moment",
        ),
        ("MERGE INTO products p USING n ON p.id = n.k WHEN MATCHED THEN DELETE", "sources"),
        ("DELETE FROM products USING n WHERE id = k", "sources"),
    ]);
}

#[test]
fn writes_of_reference_tables() {
    check(&[
        ("INSERT INTO prices VALUES (1, 2)", "all"),
        ("INSERT INTO products (id, name, added) VALUES (1, 'x', '2020-01-01')", "all"),
        ("UPDATE prices SET price = price * 2", "all"),
        ("DELETE FROM prices WHERE id = 5", "all"),
        ("DELETE FROM prices WHERE id IN (SELECT id FROM products)", "all"),
        ("INSERT INTO prices SELECT id, 5 FROM products", "all"),
        ("INSERT INTO products (id, name) VALUES (1, 'x')", "!default of column \"added\""),
        ("INSERT INTO products VALUES (1, 'x', DEFAULT)", "!default of column \"added\""),
        ("INSERT INTO products (id, name, added) VALUES (1, 'x', now())", "moment"),
        ("INSERT INTO products (id, name, added) VALUES (1, 'x', 'now')", "!may be another one"),
        ("INSERT INTO products (id, name, added) VALUES (1, 'x', CURRENT_DATE)", "moment"),
        ("UPDATE products SET added = DEFAULT", "!another value on each shard"),
        ("UPDATE prices SET price = random()", "!another value on each shard"),
        (
            "UPDATE prices SET price = p.id FROM products p",
            "=MERGE INTO prices USING products p ON true WHEN MATCHED THEN UPDATE SET price = p.id",
        ),
        ("UPDATE prices SET price = p.id FROM products p RETURNING 1", "!may differ"),
        ("UPDATE prices SET price = k FROM n", "sources"),
        ("INSERT INTO prices SELECT id, 5 FROM products LIMIT 5", "collect"),
        ("INSERT INTO prices SELECT k, v FROM n WHERE k = 5", "collect"),
        ("DELETE FROM prices WHERE ctid = '(0,1)'", "!ctid"),
        ("EXPLAIN DELETE FROM prices", "!plans of all shards"),
        ("DELETE FROM pg_class", "!system catalogs"),
    ]);
}

#[test]
fn data_definition() {
    check(&[
        ("CREATE TABLE n (k int PRIMARY KEY, v int)", "all"),
        ("CREATE TABLE n (k int, v int, UNIQUE (v, k))", "all"),
        ("CREATE TABLE products (id int PRIMARY KEY)", "all"),
        ("CREATE TABLE lines (customer_id int8, product_id int REFERENCES products)", "all"),
        ("CREATE TABLE elsewhere (k int)", "!no place in the shard map"),
        ("CREATE TABLE n (v int)", "!lacks its key column"),
        ("CREATE TABLE n (k int, v int PRIMARY KEY)", "!PRIMARY KEY on a sharded table"),
        ("CREATE TABLE n (k int, v int UNIQUE)", "!UNIQUE on a sharded table"),
        ("CREATE TABLE n (k int, EXCLUDE USING gist (k WITH &&))", "!EXCLUDE on a sharded table"),
        ("CREATE TABLE n (k int, v serial)", "all"),
        ("CREATE TABLE n (k int, v int GENERATED BY DEFAULT AS IDENTITY)", "all"),
        ("CREATE TABLE n (k int DEFAULT nextval('s'))", "all"),
        ("CREATE TABLE n (k int, v int DEFAULT nextval('s') * 2)", "!computes with a sequence"),
        ("CREATE TABLE products (id serial)", "all"),
        ("CREATE TABLE n (LIKE m)", "!LIKE"),
        ("CREATE TABLE n (k int) PARTITION BY HASH (k)", "!PARTITION BY"),
        ("CREATE TABLE n AS SELECT 1", "!wants its rows on several shards"),
        ("SELECT 1 INTO n", "!wants its rows on several shards"),
        ("SELECT k INTO TEMP q FROM n", "made on 0"),
        ("CREATE TABLE nowhere AS SELECT 1", "!no place"),
        ("CREATE TEMP TABLE own AS SELECT * FROM n", "made on 0"),
        ("CREATE TEMP TABLE own AS SELECT * FROM n WITH NO DATA", "0"),
        ("CREATE TEMP TABLE IF NOT EXISTS own AS SELECT * FROM n", "!IF NOT EXISTS"),
        ("CREATE TEMP TABLE n (k int)", "home"),
        ("CREATE TABLE products (id int REFERENCES customers)", "!cannot refer to a table that is not on every shard"),
        ("CREATE TABLE lines (customer_id int8 REFERENCES customers)", "all"),
        ("CREATE TABLE lines (customer_id int8 REFERENCES customers (id))", "all"),
        ("CREATE TABLE lines (customer_id int8, o int REFERENCES customers)", "!must include their shard keys"),
        ("CREATE TABLE lines (customer_id int8 REFERENCES customers (name))", "!must include their shard keys"),
        ("CREATE TABLE lines (customer_id int8 REFERENCES n (k))", "!must include their shard keys"),
        ("CREATE TABLE n (k int REFERENCES products ON UPDATE CASCADE)", "!must not change a shard key"),
        ("ALTER TABLE n ADD COLUMN w int", "all"),
        ("ALTER TABLE n ADD COLUMN w int DEFAULT 5", "all"),
        ("ALTER TABLE n ADD COLUMN w timestamptz DEFAULT now()", "moment"),
        ("ALTER TABLE n ADD COLUMN w text DEFAULT current_user", "!fill a column differently"),
        ("ALTER TABLE n ADD COLUMN w serial", "!cannot number rows"),
        ("ALTER TABLE n ADD UNIQUE (v)", "!UNIQUE on a sharded table"),
        ("ALTER TABLE n ADD PRIMARY KEY (k)", "all"),
        ("ALTER TABLE n ADD PRIMARY KEY USING INDEX i", "!USING INDEX"),
        ("ALTER TABLE n DROP COLUMN v", "all"),
        ("ALTER TABLE n DROP COLUMN k", "!alter the shard key"),
        ("ALTER TABLE n RENAME COLUMN k TO kk", "!alter the shard key"),
        ("ALTER TABLE n ALTER k TYPE int8", "!alter the shard key"),
        ("ALTER TABLE n ALTER k SET DEFAULT 5", "!alter the shard key"),
        ("ALTER TABLE n RENAME TO nn", "!cannot rename"),
        ("ALTER TABLE n SET SCHEMA other", "!cannot rename"),
        ("ALTER TABLE n ATTACH PARTITION m DEFAULT", "!AT_AttachPartition"),
        ("CREATE INDEX ON n (v)", "all"),
        ("CREATE UNIQUE INDEX ON n (v)", "!UNIQUE on a sharded table"),
        ("CREATE UNIQUE INDEX ON n (k, v)", "all"),
        ("CREATE UNIQUE INDEX ON products (name)", "all"),
        ("CREATE INDEX ON stray (k)", "!no place in the shard map"),
        ("TRUNCATE n, products", "all"),
        ("ALTER TABLE vn OWNER TO app", "all"),
        ("ALTER TABLE some_sequence OWNER TO app", "all"),
        ("ALTER TABLE stray OWNER TO app", "!no place in the shard map"),
        ("ALTER TABLE some_sequence ADD COLUMN x int", "all"),
        ("ALTER TABLE some_sequence ADD UNIQUE (x)", "!no place in the shard map"),
        ("TRUNCATE stray", "!no place in the shard map"),
        ("TRUNCATE n RESTART IDENTITY", "!RESTART IDENTITY"),
        ("DROP TABLE n", "all"),
        ("CREATE TYPE mood AS ENUM ('a')", "all"),
        ("GRANT SELECT ON n TO public", "all"),
        ("CREATE INDEX CONCURRENTLY ON n (v)", "shard by shard"),
        ("CREATE UNIQUE INDEX CONCURRENTLY ON n (v)", "!must include its shard key"),
        ("CREATE INDEX CONCURRENTLY ON stray (v)", "!no place in the shard map"),
        ("DROP INDEX CONCURRENTLY i", "shard by shard"),
        ("VACUUM n", "shard by shard"),
        ("REINDEX TABLE CONCURRENTLY n", "shard by shard"),
        ("CREATE DATABASE d", "!one server"),
    ]);
}

#[test]
fn sessions_and_refusals() {
    check(&[
        ("SET work_mem = '1MB'", "session"),
        ("SET LOCAL work_mem = '1MB'", "session"),
        ("SET TRANSACTION READ ONLY", "session"),
        ("RESET ALL", "session"),
        ("DISCARD ALL", "session"),
        ("BEGIN", "session"),
        ("SET search_path TO x", "session"),
        ("SET search_path TO x, pg_catalog", "!search_path"),
        ("SET ROLE x", "!role"),
        ("SET SESSION AUTHORIZATION x", "!session_authorization"),
        ("SELECT set_config('work_mem', '1MB', false)", "home"),
        ("SELECT set_config('work_mem', NULL, false)", "session"),
        ("SELECT set_config('work_mem', '1MB', true)", "session"),
        ("SELECT set_config('search_path', '', false)", "session"),
        ("SELECT set_config('role', 'x', false)", "!role"),
        ("SELECT set_config('work_mem', '1MB', false), 1", "home"),
        ("SELECT now() AS old, set_config('jit', 'off', false) AS new", "home"),
        ("SELECT set_config('work_mem', '1MB', true), 1", "!set_config"),
        ("SELECT set_config('work_mem', '1MB', 1 > 0)", "!set_config"),
        ("SELECT set_config('work_' || 'mem', '1MB', false)", "!set_config"),
        ("SELECT set_config('work_mem', lower('1MB'), false)", "!set_config"),
        ("SELECT set_config('work_mem', '1MB', false) FROM n WHERE k = 150", "!set_config"),
        ("SELECT set_config('Search_Path', 'x', false), 1", "!search_path"),
        ("SELECT set_config('datestyle', 'SQL', false), 1", "!ISO form"),
        ("SELECT set_config('weir.shard', 'two', false), 1", "!set_config"),
        ("PREPARE TRANSACTION 'g'", "session"),
        ("PREPARE p AS SELECT 1", "prepare"),
        ("/* weir.shard: a */ PREPARE p(int) AS SELECT * FROM users WHERE id = $1", "prepare"),
        ("EXECUTE p(1, now())", "execute"),
        ("EXPLAIN EXECUTE p", "execute"),
        ("EXECUTE p(opaque())", "!cannot run code"),
        ("CREATE TABLE t AS EXECUTE p", "!cannot route"),
        ("EXECUTE p", "execute"),
        ("DECLARE c CURSOR FOR SELECT 1", "cursor"),
        ("FETCH c", "cursor"),
        ("LOCK TABLE n", "all"),
        ("LOCK TABLE stray", "!no place in the shard map"),
        ("COPY n FROM STDIN", "copy"),
        ("COPY n (v, k) FROM STDIN WHERE v > 5", "copy"),
        ("COPY n (v) FROM STDIN", "!shard key"),
        ("COPY n FROM STDIN (ENCODING 'latin1')", "!encoding"),
        ("COPY n FROM '/tmp/n'", "!file or program"),
        ("COPY prices FROM STDIN", "copy"),
        ("COPY prices FROM STDIN WHERE price > random()", "!another value"),
        ("COPY products (id, name, added) FROM STDIN", "copy"),
        ("COPY products (id, name) FROM STDIN", "!default of column \"added\""),
        ("COPY products FROM STDIN", "copy"),
        ("COPY fresh FROM STDIN", "!not been read"),
        ("COPY fresh (v, k) FROM STDIN", "copy"),
        ("COPY stray FROM STDIN", "!no place"),
        ("COPY feelings FROM STDIN", "copy"),
        ("COPY feelings FROM STDIN BINARY", "!binary format"),
        ("DO $$ begin end $$", "!DO, CALL"),
        ("CALL mine()", "!DO, CALL"),
        ("SELECT mine()", "!mine()"),
        ("SELECT mine(), * FROM n WHERE k = 150", "!mine()"),
        ("SELEKT 1", "!grammar"),
        ("SELECT * FROM stray", "!no place in the shard map"),
        ("SELECT * FROM nowhere WHERE k = 5", "!no place in the shard map"),
        ("SELECT * FROM other.n WHERE k = 5", "!no place in the shard map"),
        // What only the home shard can answer.
        ("SELECT nextval('s') FROM n WHERE k = 150", "!home shard"),
        ("SELECT nextval('s') FROM n WHERE k = 50", "home"),
        ("SELECT pg_advisory_xact_lock(1) FROM n WHERE k = 150", "!home shard"),
        ("SELECT * FROM n, pg_class WHERE n.k = 150", "!system catalogs"),
        ("SELECT * FROM n, products WHERE n.k = 150 FOR UPDATE", "!reference table"),
        ("SELECT * FROM feelings WHERE k = 150", "1"),
        ("SELECT * FROM feelings WHERE k = 50", "home"),
        ("SELECT 'x'::mood FROM n WHERE k = 150", "1"),
        ("SELECT k FROM strange WHERE k = 150", "!no type public.odd"),
        ("SELECT k FROM strange WHERE k = 50", "home"),
        ("COPY (SELECT * FROM feelings WHERE k = 150) TO STDOUT", "1"),
        ("COPY (SELECT * FROM feelings WHERE k = 150) TO STDOUT (FORMAT binary)", "!binary format"),
        ("COPY (SELECT * FROM feelings WHERE k = 50) TO STDOUT (FORMAT binary)", "home"),
        ("COPY (SELECT * FROM feelings WHERE k = 350) TO STDOUT (FORMAT binary)", "2"),
    ]);
}

#[test]
fn labels_of_an_enum_are_keys_however_they_are_typed() {
    check(&[
        ("SELECT * FROM moods WHERE mood = 'ok'", "1"),
        ("SELECT * FROM moods WHERE mood = 'ok'::mood", "1"),
        ("SELECT * FROM moods WHERE mood = 'happy'::public.mood", "2"),
        ("SELECT * FROM moods WHERE mood = CAST('sad' AS mood)", "home"),
        ("SELECT * FROM moods WHERE mood = ANY ('{ok}')", "1"),
        ("SELECT * FROM moods WHERE mood = ANY ('{ok,happy}'::mood[]) AND mood <> 'ok'", "several"),
        ("SELECT * FROM moods WHERE mood = ANY ('{ok}'::mood[])", "1"),
        ("SELECT * FROM moods WHERE mood = ANY (ARRAY['ok', 'ok']::mood[])", "1"),
        ("SELECT * FROM moods WHERE mood IN ('ok'::mood, 'ok')", "1"),
        ("INSERT INTO moods VALUES ('happy', 1)", "2"),
        ("INSERT INTO moods VALUES ('happy'::mood, 1)", "2"),
        // Of these the server may make anything.
        ("SELECT * FROM moods WHERE mood = 'ok'::other", "several"),
        ("SELECT * FROM moods WHERE mood = 'ok'::other.mood", "several"),
        ("SELECT * FROM moods WHERE mood > 'ok'", "several"),
        ("SELECT * FROM moods WHERE mood::text = 'ok'", "several"),
        ("SELECT * FROM s WHERE k = 'house'::mood", "several"),
    ]);
    let array = |oid: u32| {
        let words = [1, 0, oid, 1, 1, 2];
        words.into_iter().flat_map(u32::to_be_bytes).chain(*b"ok").collect::<Vec<u8>>()
    };
    let (own, other) = (array(MOOD), array(MOODS));
    let bound = |type_oid, format, value| [Parameter { type_oid, format, value: Some(value) }];
    let equal = "SELECT * FROM moods WHERE mood = $1";
    let any = "SELECT * FROM moods WHERE mood = ANY ($1)";
    for (text, parameters, expected) in [
        (equal, bound(MOOD, Format::Binary, &b"ok"[..]), "1"),
        (equal, bound(0, Format::Binary, b"happy"), "2"),
        (equal, bound(0, Format::Text, b"sad"), "home"),
        (any, bound(MOODS, Format::Binary, &own), "1"),
        (any, bound(MOODS, Format::Text, b"{ok}"), "1"),
        (any, bound(0, Format::Binary, &own), "1"),
        (any, bound(MOODS, Format::Binary, &other), "several"),
        ("SELECT * FROM moods WHERE mood = $1::mood", bound(0, Format::Text, b"ok"), "1"),
    ] {
        let actual = outcome(route_with(text, &parameters, &schema()));
        assert_outcome(text, expected, &actual);
    }
}

fn text(type_oid: u32, value: &'static str) -> Parameter<'static> {
    Parameter { type_oid, format: Format::Text, value: Some(value.as_bytes()) }
}

/// An int4 array with 150 and NULL.
const INT4_ARRAY: &[u8] =
    &[0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 23, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0, 150, 255, 255, 255, 255];

fn binary(type_oid: u32, value: &'static [u8]) -> Parameter<'static> {
    Parameter { type_oid, format: Format::Binary, value: Some(value) }
}

#[test]
fn parameters() {
    let null = Parameter { type_oid: 0, format: Format::Text, value: None };
    let cases: &[(&str, &[Parameter<'_>], &str)] = &[
        ("SELECT * FROM n WHERE k = $1", &[text(0, "150")], "1"),
        ("SELECT * FROM n WHERE k = $1", &[text(INT4, "150")], "1"),
        ("SELECT * FROM n WHERE k = $1", &[text(INT8, "350")], "2"),
        ("SELECT * FROM n WHERE k = $1", &[binary(0, &[0, 0, 0, 150])], "1"),
        ("SELECT * FROM n WHERE k = $1", &[binary(INT8, &[0, 0, 0, 0, 0, 0, 0, 150])], "1"),
        ("SELECT * FROM n WHERE k = $1", &[null], "home"),
        ("SELECT * FROM n WHERE k IN ($1, $2)", &[text(0, "150"), text(0, "160")], "1"),
        ("SELECT * FROM n WHERE k IN ($1, 160)", &[text(0, "150")], "1"),
        ("SELECT * FROM n WHERE k = $2 AND v = $1", &[text(0, "1"), text(0, "150")], "1"),
        ("SELECT * FROM n WHERE k = $1::int8", &[text(0, "150")], "1"),
        ("SELECT * FROM n JOIN m ON m.k = $1 WHERE n.k = $1", &[text(0, "150")], "1"),
        ("SELECT * FROM s WHERE k = $1", &[text(0, "house")], "1"),
        ("SELECT * FROM s WHERE k = $1", &[text(TEXT, "house")], "1"),
        ("SELECT * FROM s WHERE k = $1", &[binary(VARCHAR, b"house")], "1"),
        ("INSERT INTO n (k, v) VALUES ($1, $2)", &[text(0, "150"), text(0, "5")], "1"),
        ("INSERT INTO n VALUES ($1)", &[text(0, "150")], "1"),
        ("INSERT INTO n VALUES ($1)", &[null], "!null value"),
        ("UPDATE n SET v = $2 WHERE k = $1", &[text(0, "150"), text(0, "5")], "1"),
        ("SELECT * FROM n WHERE k = $1", &[text(NUMERIC, "150.0")], "1"),
        // Not certain.
        ("SELECT * FROM n WHERE k = $1", &[], "several"),
        ("SELECT * FROM n WHERE k = $1 + 1", &[text(0, "150")], "1"),
        ("SELECT * FROM n WHERE k = $1", &[text(FLOAT8, "150")], "several"),
        ("SELECT * FROM n WHERE k = $1", &[text(NUMERIC, "150.5")], "several"),
        ("SELECT * FROM n WHERE k = $1", &[text(TEXT, "150")], "several"),
        ("SELECT * FROM n WHERE f = $1 AND k = $1", &[text(0, "150")], "several"),
        ("SELECT * FROM n WHERE k = $1 AND $1 > 5.5", &[text(0, "150")], "several"),
        ("SELECT * FROM n WHERE k IN ($1, 1.5)", &[text(0, "150")], "several"),
        ("SELECT * FROM n WHERE k = $1::float8", &[text(0, "150")], "several"),
        ("SELECT * FROM n WHERE k = ANY ($1)", &[text(0, "{150,NULL,160}")], "1"),
        ("SELECT * FROM n WHERE k = ANY ($1)", &[text(1007, "{150}")], "1"),
        ("SELECT * FROM n WHERE k = ANY ($1)", &[text(1016, "{150}")], "1"),
        ("SELECT * FROM n WHERE k = ANY ($1::int8[])", &[text(0, "{150}")], "1"),
        ("SELECT * FROM n WHERE k = ANY (ARRAY[$1, $2]::int8[])", &[text(0, "150"), text(0, "160")], "1"),
        ("SELECT * FROM n WHERE k = ANY (ARRAY[$1, $2]::float8[])", &[text(0, "150"), text(0, "160")], "several"),
        ("SELECT * FROM n WHERE k = ANY ($1)", &[text(0, "{}")], "home"),
        ("SELECT * FROM n WHERE k = ANY ($1)", &[null], "home"),
        ("SELECT * FROM n WHERE k = ANY ($1)", &[binary(0, INT4_ARRAY)], "1"),
        ("SELECT * FROM n WHERE k = ANY ($1)", &[binary(1007, INT4_ARRAY)], "1"),
        ("SELECT * FROM s WHERE k = ANY ($1)", &[text(0, "{house,\"i j\"}")], "1"),
        ("SELECT * FROM n WHERE k = ANY ($1)", &[text(0, "{150,50}")], "several"),
        ("SELECT * FROM n WHERE k = ANY ($1)", &[text(0, "{{150}}")], "several"),
        ("SELECT * FROM n WHERE k = ANY ($1)", &[text(1231, "{150}")], "several"),
        ("SELECT * FROM n WHERE k = ANY ($1)", &[text(1022, "{150}")], "several"),
        ("SELECT * FROM n WHERE k = ANY ($1) AND $1 IS NOT NULL", &[text(0, "{150}")], "several"),
        ("SELECT * FROM n WHERE k <> ALL ($1)", &[text(0, "{150}")], "several"),
        ("SELECT * FROM n WHERE k BETWEEN $1 AND $2", &[text(0, "150"), text(0, "160")], "1"),
        ("SELECT * FROM n WHERE k > $1 AND k < $2", &[text(0, "150"), text(INT8, "200")], "1"),
        ("SELECT * FROM n WHERE k < $1", &[text(FLOAT8, "20")], "several"),
        ("SELECT * FROM n WHERE k < $1", &[null], "home"),
        ("SELECT * FROM n WHERE k IS NOT DISTINCT FROM $1", &[text(0, "150")], "1"),
        ("SELECT * FROM n WHERE k IS NOT DISTINCT FROM $1", &[null], "several"),
        ("SELECT * FROM n WHERE (k, v) = ($1, $2)", &[text(0, "150"), text(0, "5")], "1"),
        ("SELECT * FROM n WHERE (k, v) IN (($1, 1), ($2, 2))", &[text(0, "150"), text(0, "160")], "1"),
        ("SELECT * FROM n WHERE k = $1 + 100", &[text(INT4, "50")], "1"),
        ("SELECT * FROM n WHERE k = $1 + 100", &[text(0, "50")], "1"),
        ("SELECT * FROM n WHERE k = 200 - $1", &[text(0, "50")], "1"),
        ("SELECT * FROM n WHERE k = -50 + $1 * 2", &[text(0, "100")], "1"),
        ("SELECT * FROM n WHERE k = $1 + $2", &[text(0, "50"), text(0, "100")], "several"),
        ("SELECT * FROM n WHERE k = $1 + $2::int8", &[text(0, "50"), text(0, "100")], "1"),
        ("SELECT * FROM n WHERE k = $1 + 100.0", &[text(0, "50")], "several"),
        ("SELECT * FROM n WHERE k = $1 / 2", &[text(0, "300")], "several"),
        ("SELECT * FROM n WHERE k = $1 + v", &[text(0, "50")], "several"),
        ("SELECT * FROM n WHERE k + $1 = 150", &[text(0, "50")], "several"),
        ("SELECT * FROM n WHERE f = $1 AND k = $1 + 100", &[text(0, "50")], "several"),
        ("SELECT * FROM n WHERE v = $1 AND k = $1 + 100", &[text(0, "50")], "1"),
        ("SELECT * FROM n WHERE k = $1 + 100", &[text(0, "x")], "several"),
        ("SELECT * FROM n WHERE k = $1 + 100", &[binary(0, &[0, 0, 0, 50])], "1"),
        ("SELECT * FROM n WHERE k = $1 + 100", &[binary(0, &[0, 0, 0, 0, 0, 0, 0, 50])], "several"),
        ("SELECT * FROM n WHERE k BETWEEN $1 - 10 AND $1 + 10", &[text(0, "150")], "1"),
        ("UPDATE n SET v = v + 1 WHERE k = $1 + 100", &[text(0, "50")], "1"),
        ("INSERT INTO n (k) VALUES ($1 + 100)", &[text(0, "50")], "1"),
        ("SELECT * FROM n WHERE k = $1::int4 * 3", &[text(0, "50")], "1"),
        ("SELECT * FROM s WHERE k = $1 || 'use'", &[text(TEXT, "ho")], "1"),
        // NULL of another type makes all values of a list that type.
        ("SELECT * FROM n WHERE k IN (150, $1)", &[Parameter { type_oid: FLOAT8, ..null }], "several"),
        ("SELECT * FROM n WHERE k IN (150, $1)", &[Parameter { type_oid: INT4, ..null }], "1"),
        ("SELECT * FROM n WHERE k = $1", &[Parameter { type_oid: FLOAT8, ..null }], "home"),
        ("SELECT * FROM n WHERE k = $1", &[text(0, "x")], "several"),
        ("SELECT * FROM n WHERE k = $1", &[binary(0, &[1, 2])], "several"),
        ("SELECT * FROM s WHERE k = $1", &[text(1042, "house")], "several"),
        ("INSERT INTO n (k) VALUES ($1)", &[text(FLOAT8, "150")], "compute"),
        ("INSERT INTO products (id, added) VALUES (1, $1)", &[text(0, "now")], "!may be another one"),
    ];
    for (statement, parameters, expected) in cases {
        assert_outcome(statement, expected, &outcome(route_with(statement, parameters, &schema())));
    }
}

#[test]
fn the_routing_table() {
    let cases: Vec<(&str, &str)> = include_str!("tests/statements.txt")
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| line.split_once(": ").map(|(expected, text)| (text, expected)).expect(line))
        .collect();
    assert!(cases.len() >= 150, "{} statements", cases.len());
    check(&cases);
}

#[test]
fn what_the_catalogs_say_counts() {
    let mut changed = schema();
    changed.has_nondeterministic_collations = true;
    let at = |text: &str, schema: &Schema| outcome(route_with(text, &[], schema));
    assert_outcome("collations", "several", &at("SELECT * FROM s WHERE k = 'house'", &changed));
    assert_outcome("integers", "1", &at("SELECT * FROM n WHERE k = 150", &changed));

    let mut foreign = schema();
    foreign.other_paths = ["app".to_owned()].into();
    assert_outcome("a path of its own", "!search_path of its own", &at("SELECT * FROM n WHERE k = 150", &foreign));
    assert_outcome("a path of its own", "!search_path of its own", &at("CREATE TABLE n (k int)", &foreign));
    assert_outcome("qualified names", "1", &at("SELECT * FROM public.n WHERE k = 150", &foreign));
    assert_outcome("system catalogs", "home", &at("SELECT * FROM pg_class", &foreign));

    let mut domain = schema();
    if let Some(relation) = domain.relations.get_mut(&("public".into(), "n".into())) {
        relation.columns[0].type_oid = 90000;
    }
    assert_outcome("a domain", "several", &at("SELECT * FROM n WHERE k = 150", &domain));
    assert_outcome("a domain", "!its type", &at("INSERT INTO n (k) VALUES (150)", &domain));
}

#[test]
fn a_named_shard_replaces_the_search_and_no_check() {
    for (text, expected) in [
        ("SELECT * FROM n", "1"),
        ("SELECT * FROM n WHERE k = 50", "1"),
        ("SELECT * FROM stray", "1"),
        ("SELECT mine() FROM n", "1"),
        ("SELECT mine()", "1"),
        ("SELECT * FROM pg_class", "1"),
        ("EXPLAIN SELECT * FROM n", "1"),
        ("DO $$ begin end $$", "1"),
        ("CALL mine()", "1"),
        ("SELEKT 1", "1"),
        ("UPDATE n SET v = 1", "1"),
        ("DELETE FROM n", "1"),
        ("INSERT INTO n VALUES (150, 1)", "1"),
        ("INSERT INTO n VALUES (50, 1)", "!do not belong to shard"),
        ("INSERT INTO n VALUES (v())", "!not known before"),
        ("INSERT INTO n SELECT 1 FROM stray", "!no place"),
        ("UPDATE n SET k = 5", "!change the shard key"),
        ("UPDATE prices SET price = 1", "!on a named shard"),
        ("DELETE FROM pg_class", "!on a named shard"),
        ("SELECT nextval('s')", "!home shard"),
        ("SELECT * FROM feelings", "1"),
        ("SELECT * FROM strange", "!no type public.odd"),
        ("SELECT set_config('a.b', 'x', false)", "session"),
        ("WITH q AS (DELETE FROM n RETURNING *) SELECT * FROM q", "several"),
        ("LOAD 'x'", "!LOAD"),
        ("COPY n FROM STDIN", "copy"),
        ("LOCK TABLE n", "all"),
        ("LOCK TABLE stray", "!no place in the shard map"),
        ("CREATE TABLE n (k int)", "all"),
        ("TRUNCATE n", "all"),
        ("SET work_mem = '1MB'", "session"),
        ("BEGIN", "session"),
    ] {
        assert_outcome(text, expected, &outcome(route_named(text, &[], &schema(), Some(ShardId(1)))));
    }
}

#[test]
fn code_runs_where_it_is_proven_or_declared_to_do_no_harm() {
    use crate::sql::code::{CodeClasses, Definition, Unit, read};
    let mut known = schema();
    let class = FunctionClass { builtin: false, ..FunctionClass::built_in(Volatility::Stable) };
    let bodies = [
        ("twice", "SELECT $1 * 2"),
        ("four_times", "BEGIN RETURN twice(twice($1)); END"),
        ("counts", "SELECT count(*) FROM n"),
        ("calls", "SELECT counts()"),
        ("dynamic", "BEGIN EXECUTE $1; END"),
        ("numbers", "SELECT nextval('s')"),
        ("catalogs", "SELECT count(*) FROM pg_class"),
        ("names", "SELECT 'n'::regclass::text"),
        ("report", "SELECT count(*) FROM n"),
    ];
    known.functions.extend(bodies.map(|(name, _)| (name.to_owned(), class)));
    let definition = |unit, body| Definition { unit, code: read(body), runs: Vec::new() };
    let functions = bodies.map(|(name, body)| definition(Unit::Function(name.to_owned()), body));
    let tables = ["n", "m"].map(|table| definition(Unit::Reading(table.to_owned()), ""));
    known.code = CodeClasses::of(functions.into_iter().chain(tables).collect());
    known.shard_local = ["report".to_owned()].into();
    for (text, expected) in [
        ("SELECT twice(4)", "home"),
        ("SELECT four_times(v) FROM n WHERE k = 150", "1"),
        ("SELECT four_times(v) FROM n", "several"),
        ("INSERT INTO n (k, v) VALUES (150, twice(2))", "1"),
        ("INSERT INTO n (k, v) VALUES (twice(75), 2)", "compute"),
        ("INSERT INTO prices VALUES (1, twice(2))", "compute"),
        ("SELECT counts() FROM n WHERE k = 150", "!counts()"),
        ("SELECT calls()", "!calls()"),
        ("SELECT dynamic('x')", "!dynamic()"),
        ("SELECT numbers()", "!numbers()"),
        ("SELECT catalogs()", "!catalogs()"),
        ("SELECT names()", "!names()"),
        ("SELECT report() FROM n WHERE k = 150", "1"),
        ("DELETE FROM n WHERE k = 150 AND v = report()", "1"),
        ("SELECT report()", "!shard_local"),
        ("SELECT report() FROM n", "!shard_local"),
        ("UPDATE prices SET price = report()", "!shard_local"),
    ] {
        assert_outcome(text, expected, &outcome(route_with(text, &[], &known)));
    }
    let refusal = route_with("SELECT counts()", &[], &known).expect_err("refused");
    assert!(refusal.hint.as_ref().is_some_and(|hint| hint.contains("counts") && hint.contains("shard_local")));
}

#[test]
fn errors_have_fitting_kinds() {
    let kind = |text: &str| route(text).expect_err(text).kind;
    assert_eq!(kind("INSERT INTO n (k) VALUES (NULL)"), Kind::NullKey);
    assert_eq!(kind("INSERT INTO n (k) VALUES (250)"), Kind::InvalidValue);
    assert_eq!(kind("EXPLAIN UPDATE n SET v = 1"), Kind::NotSupported);
    let refusal = route("EXPLAIN UPDATE n SET v = 1").expect_err("refused");
    assert_eq!(refusal.hint.as_deref(), Some("Restrict the shard key by a value: n.k."));
}

#[test]
fn access_of_one_shard() {
    let access = |text: &str| match route(text).expect(text).action {
        Action::One { access, .. } => access,
        other => panic!("{other:?}"),
    };
    let cases = [
        ("SELECT * FROM n WHERE k = 150", Access::Read),
        ("SELECT now()", Access::Read),
        ("SELECT * FROM pg_class", Access::Read),
        ("EXPLAIN SELECT 1", Access::Read),
        ("SELECT random()", Access::Primary { writes: true }),
        ("SELECT * FROM n WHERE k = 150 FOR SHARE", Access::Primary { writes: false }),
        ("SELECT * FROM pg_locks", Access::Primary { writes: false }),
        ("SELECT * FROM fresh WHERE k = 150", Access::Primary { writes: false }),
        ("COPY products TO STDOUT", Access::Primary { writes: false }),
        ("SHOW work_mem", Access::Primary { writes: false }),
        ("LISTEN c", Access::Primary { writes: false }),
        ("NOTIFY c", Access::Primary { writes: true }),
        ("DELETE FROM n WHERE k = 150", Access::Primary { writes: true }),
        ("EXPLAIN DELETE FROM n WHERE k = 150", Access::Primary { writes: true }),
    ];
    for (text, expected) in cases {
        assert_eq!(access(text), expected, "{text}");
    }
    assert_eq!(route("SELECT 1").expect("plan").epoch, Epoch(7));
}
