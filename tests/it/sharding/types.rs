//! Types of users whose OIDs differ between the shards: clients see the home shard's, whatever the format.

use bytes::BytesMut;
use tokio_postgres::types::{FromSql, IsNull, Kind, ToSql, Type, to_sql_checked};
use weir::wire::backend::{self, tag};
use weir::wire::frontend::{self, Target};

use super::answer::{Answer, Order, answers, arguments, ask, extended, story};
use super::keyspaces::Three;
use super::shop::must;
use crate::harness::{Endpoint, Message, RawClient};

const MAP: &str = r#"
[keyspaces.number]
method = "directory"
key_type = "int8"
values = { one = [1, 4, 7, 101, 104, 107], two = [2, 5, 8, 102, 105, 108], three = [3, 6, 9, 103, 106, 109] }
[tables]
things = { keyspace = "number", key = "id" }
kinds = { reference = true }
alone = { shard = "two" }
extended = { keyspace = "number", key = "id" }
"#;

/// Types that rest on each other, each in a group that may be made in any order.
const TYPES: &[&str] =
    &["CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy')", "CREATE DOMAIN years AS int4 CHECK (VALUE >= 0)"];
const MADE_OF_TYPES: &[&str] = &[
    "CREATE TYPE pair AS (m mood, n int4)",
    "CREATE TYPE span AS RANGE (subtype = mood)",
    "CREATE DOMAIN moods AS mood[] CHECK (cardinality(VALUE) < 9)",
    "CREATE TYPE reach AS RANGE (subtype = float8)",
];

const TABLES: &[&str] = &[
    "CREATE TYPE nest AS (p pair, ms mood[], s span, y years)",
    "CREATE TABLE things (id int8 PRIMARY KEY, m mood, y years, p pair, ms mood[], ps pair[], s span, ss span_multirange,
        d moods, n nest, ns nest[], ys years[], r reach)",
    "CREATE TABLE kinds (m mood PRIMARY KEY, p pair)",
    "CREATE TABLE alone (m mood, p pair)",
];

/// Every column's value in text format, but the key's.
const VALUES: &[(&str, &str)] = &[
    ("m", "ok"),
    ("y", "7"),
    ("p", "(happy,1)"),
    ("ms", "{sad,NULL,happy}"),
    ("ps", "{\"(sad,2)\",NULL,\"(,)\"}"),
    ("s", "[sad,ok)"),
    ("ss", "{[sad,ok),[happy,happy]}"),
    ("d", "{ok,ok}"),
    ("n", "(\"(ok,3)\",\"{sad,ok}\",\"[ok,happy]\",8)"),
    ("ns", "{\"(\\\"(ok,3)\\\",{sad},\\\"(,happy]\\\",)\",NULL}"),
    ("ys", "{1,NULL,3}"),
    ("r", "[1.5,2.5)"),
];

/// Servers that number the same types in ways of their own.
fn apart() -> Three {
    let mut three = Three::start(MAP);
    make_apart(&three, &[TYPES, MADE_OF_TYPES]);
    TABLES.iter().for_each(|sql| three.both(sql));
    for name in ["mood", "pair", "span", "mood[]", "nest"] {
        let mut numbers = [0, 1, 2].map(|shard| number(&three.shard(shard), name));
        numbers.sort_unstable();
        assert!(numbers[0] < numbers[1] && numbers[1] < numbers[2], "{name}: {numbers:?}");
    }
    three
}

/// Makes the same things in the one PostgreSQL and on every shard, on each from other numbers on and in another order
/// within a group.
fn make_apart(three: &Three, groups: &[&[&str]]) {
    let servers = [three.reference.clone(), three.shard(0), three.shard(1), three.shard(2)];
    servers[0].execute("CREATE TYPE filler AS ENUM ()");
    let newest = servers.iter().map(|server| {
        server.execute("DROP TYPE IF EXISTS filler; CREATE TYPE filler AS ENUM ()");
        number(server, "filler")
    });
    let newest: Vec<u32> = newest.collect();
    let highest = newest.iter().max().unwrap();
    for (place, server) in servers.iter().enumerate() {
        let wanted = highest + 200 * u32::try_from(place).unwrap();
        // Each label of an enum takes a number.
        let labels: Vec<String> = (newest[place]..wanted).map(|label| format!("'{label}'")).collect();
        server
            .execute(&format!("DROP TYPE filler; CREATE TYPE filler AS ENUM ({}); DROP TYPE filler", labels.join(",")));
        for group in groups {
            let (first, last) = group.split_at(place % group.len());
            last.iter().chain(first).for_each(|sql| drop(server.execute(sql)));
        }
    }
}

fn number(endpoint: &Endpoint, name: &str) -> u32 {
    endpoint.value(&format!("SELECT '{name}'::regtype::oid")).parse().unwrap()
}

fn columns() -> String {
    VALUES.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

fn placeholders(from: usize) -> String {
    (from..from + VALUES.len()).map(|n| format!("${n}")).collect::<Vec<_>>().join(", ")
}

/// Rows with these values on every shard: those with small keys the same, the others of few columns.
fn fill(three: &mut Three) {
    let insert = |id: i64| {
        let values: Vec<String> = VALUES.iter().map(|(_, value)| format!("'{}'", value.replace('\'', "''"))).collect();
        format!("INSERT INTO things (id, {}) VALUES ({id}, {})", columns(), values.join(", "))
    };
    (1..=3).for_each(|id| three.both(&insert(id)));
    for (id, mood) in (4..=9).zip(["sad", "ok", "happy", "sad", "sad", "ok"]) {
        three.both(&format!("INSERT INTO things (id, m, y) VALUES ({id}, '{mood}', {id})"));
    }
    three.both("INSERT INTO kinds VALUES ('ok', '(sad,1)'), ('sad', NULL)");
    three.both("INSERT INTO alone VALUES ('ok', '(sad,1)')");
}

/// The answer with the names of types in place of their OIDs, as the catalogs that the client sees have them.
fn named(client: &mut RawClient, mut answer: Answer) -> Answer {
    for (name, oid, _) in answer.columns.iter_mut().filter(|(_, oid, _)| *oid >= 16384) {
        let type_name = ask(client, &format!("SELECT {oid}::oid::regtype::text")).brief();
        assert!(!type_name.chars().all(|digit| digit.is_ascii_digit()), "no type has OID {oid}");
        (*name, *oid) = (format!("{name} {type_name}"), 0);
    }
    answer
}

/// Runs a statement in both protocols on both sides, which must be answered alike.
fn alike(three: &mut Three, sql: &str) {
    for run in [
        |client: &mut RawClient, sql: &str| ask(client, sql),
        |client: &mut RawClient, sql: &str| extended(client, sql, &[]),
    ] {
        let (ours, theirs) = (run(&mut three.sharded, sql), run(&mut three.single, sql));
        assert_eq!(ours.error, None, "{sql}");
        let ours = named(&mut three.sharded, ours);
        let theirs = named(&mut three.single, theirs);
        assert_eq!(ours.difference(&theirs, Order::Keys { sorted: 0 }), None, "{sql}");
    }
}

#[test]
fn results_in_text_have_the_home_shards_oids() {
    let mut three = apart();
    fill(&mut three);
    for id in 1..=9 {
        alike(&mut three, &format!("SELECT * FROM things WHERE id = {id}"));
    }
    for sql in [
        // One shard.
        "SELECT t, t.p, (t.p).m, ROW(m, y) FROM things t WHERE id = 2",
        "SELECT array_agg(t) FROM things t WHERE id IN (2, 5)",
        "SELECT m, count(*) FROM things WHERE id IN (2, 5, 8) GROUP BY m ORDER BY m",
        "SELECT ms || 'sad'::mood, 'ok'::mood, NULL::nest FROM things WHERE id = 3",
        "SELECT max(m), min(m), enum_range(NULL::mood) FROM things WHERE id IN (3, 6, 9)",
        "SELECT k.m, t.id FROM things t JOIN kinds k USING (m) WHERE t.id IN (2, 5, 8)",
        "UPDATE things SET m = 'happy' WHERE id = 5 RETURNING id, m, p",
        "SELECT * FROM alone",
        "SELECT * FROM kinds",
        "SELECT 'ok'::mood, ROW('ok', 1)::pair",
        // Several.
        "SELECT * FROM things",
        "SELECT id, m, ps FROM things ORDER BY id DESC LIMIT 4",
        "SELECT id, 'ok'::mood FROM things WHERE id IN (2, 3, 6) ORDER BY id",
        "SELECT y, count(*) FROM things GROUP BY y ORDER BY y",
        "SELECT m, count(*), max(y) FROM things GROUP BY m",
        "SELECT m, count(*), sum(id) FROM things GROUP BY m ORDER BY 2, sum(id)",
        "SELECT y, m, sum(id) FROM things WHERE id > 3 GROUP BY m, y ORDER BY y",
        "SELECT count(*) FROM things t JOIN kinds k USING (m)",
        "SELECT id FROM things WHERE m = 'ok' ORDER BY y",
        // What PostgreSQL alone can order or compare, over gathered rows.
        "SELECT id FROM things ORDER BY m, id",
        "SELECT p, count(*) FROM things GROUP BY p",
        "SELECT max(m) FROM things",
        "SELECT array_agg(p ORDER BY id), max(ms) FROM things",
        "SELECT t.id, t.p, k.p FROM things t LEFT JOIN kinds k ON k.m > t.m ORDER BY t.id, k.m",
        // Every one.
        "INSERT INTO kinds VALUES ('happy', '(ok,2)') RETURNING *",
        "DELETE FROM kinds WHERE m = 'happy' RETURNING p",
        // The catalogs.
        "SELECT count(*) FROM pg_type WHERE oid = 'mood'::regtype",
        "SELECT 'mood'::regtype, 'things'::regclass",
    ] {
        if sql.starts_with("SELECT") {
            alike(&mut three, sql);
            continue;
        }
        let (ours, theirs) = (ask(&mut three.sharded, sql), ask(&mut three.single, sql));
        let ours = named(&mut three.sharded, ours);
        let theirs = named(&mut three.single, theirs);
        assert_eq!(ours.difference(&theirs, Order::Total), None, "{sql}");
    }
    // What PostgreSQL alone can order or compare.
    for sql in [
        "SELECT m, id FROM things ORDER BY m, id",
        "SELECT max(m), min(m) FROM things",
        "SELECT m, count(*) FROM things GROUP BY m HAVING m > 'sad' ORDER BY m DESC",
    ] {
        let (ours, theirs) = (ask(&mut three.sharded, sql), ask(&mut three.single, sql));
        let (ours, theirs) = (named(&mut three.sharded, ours), named(&mut three.single, theirs));
        assert_eq!(ours.difference(&theirs, Order::Total), None, "{sql}");
    }
}

/// The table that a column of a result comes from, and its number there.
#[test]
fn columns_are_of_the_home_shards_tables() {
    let mut three = apart();
    fill(&mut three);
    let origins = |client: &mut RawClient, sql: &str| {
        let description = client.query(sql).into_iter().find(|message| message.tag == tag::ROW_DESCRIPTION).unwrap();
        let columns = backend::read_row_description(&description.body).unwrap();
        columns.iter().map(|column| (column.table_oid, column.attribute)).collect::<Vec<_>>()
    };
    let mut home = three.shard(0).raw();
    let one = "SELECT id, m, id + 1 FROM things WHERE id = ";
    let expected = origins(&mut home, &format!("{one}1"));
    assert!(expected[0].0 >= 16384 && expected[2] == (0, 0), "{expected:?}");
    for sql in [1, 2, 3].map(|id| format!("{one}{id}")).iter().chain(&["SELECT id, m, id + 1 FROM things".to_owned()]) {
        assert_eq!(origins(&mut three.sharded, sql), expected, "{sql}");
    }
    // The home shard has no such table.
    assert_eq!(origins(&mut three.sharded, "SELECT m FROM alone"), [(0, 0)]);
}

/// A statement with parameters, in the ways in which drivers send it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Sent {
    /// Parse, Bind, Describe of the portal, Execute, Sync.
    AtOnce,
    /// Parse and Describe of the statement, Sync; then Bind, Execute, Sync.
    Described,
    /// Parse of a named statement, Sync; then Bind, Execute, Sync.
    Named,
    /// Parse, Bind, Execute, Sync.
    Undescribed,
}

const ALL_WAYS: [Sent; 4] = [Sent::AtOnce, Sent::Described, Sent::Named, Sent::Undescribed];

/// Runs a statement with values in binary format and results in binary format. Gives all messages.
fn binary(client: &mut RawClient, sql: &str, types: &[u32], values: &[Option<Vec<u8>>], sent: Sent) -> Vec<Message> {
    let count = |len: usize| u16::try_from(len).unwrap().to_be_bytes();
    let mut bound = [&[0, 1, 0, 1][..], &count(values.len())].concat();
    for value in values {
        let len = value.as_ref().map_or(-1, |value| i32::try_from(value.len()).unwrap());
        bound.extend(len.to_be_bytes());
        bound.extend(value.as_deref().unwrap_or_default());
    }
    bound.extend([0, 1, 0, 1]);
    let name: &[u8] = if sent == Sent::Named { b"named" } else { b"" };
    let mut seen = Vec::new();
    if sent == Sent::Named || sent == Sent::Described {
        client.send_with(|out| {
            if sent == Sent::Named {
                frontend::close(out, Target::Statement(name));
            }
            frontend::parse(out, name, &frontend::definition(sql, types));
            if sent == Sent::Described {
                frontend::describe(out, Target::Statement(name));
            }
            frontend::sync(out);
        });
        seen.extend(client.until_ready());
    }
    client.send_with(|out| {
        if sent == Sent::AtOnce || sent == Sent::Undescribed {
            frontend::parse(out, name, &frontend::definition(sql, types));
        }
        frontend::bind(out, b"", name, &bound);
        if sent == Sent::AtOnce {
            frontend::describe(out, Target::Portal(b""));
        }
        frontend::execute(out, b"", 0);
        frontend::sync(out);
    });
    seen.extend(client.until_ready());
    seen
}

/// The rows, or the error.
fn rows(messages: &[Message]) -> Vec<Vec<Option<Vec<u8>>>> {
    if let Some(error) = messages.iter().find(|message| message.tag == tag::ERROR_RESPONSE) {
        panic!("{:?} {:?}", error.field(b'M'), error.field(b'D'));
    }
    let rows = messages.iter().filter(|message| message.tag == tag::DATA_ROW);
    rows.map(|row| {
        backend::read_data_row(&row.body).unwrap().into_iter().map(|value| value.map(<[u8]>::to_vec)).collect()
    })
    .collect()
}

/// The binary form of every value, on the home shard; and the OIDs of their types there.
fn home_values(three: &Three) -> (Vec<Option<Vec<u8>>>, Vec<u32>) {
    let sql = format!("SELECT {} FROM things WHERE id = 1", columns());
    let mut home = three.shard(0).raw();
    let messages = binary(&mut home, &sql, &[], &[], Sent::AtOnce);
    let values = rows(&messages).remove(0);
    let declared = |name: &str| {
        let sql =
            format!("SELECT atttypid FROM pg_attribute WHERE attrelid = 'things'::regclass AND attname = '{name}'");
        three.shard(0).value(&sql).parse().unwrap()
    };
    (values, VALUES.iter().map(|(name, _)| declared(name)).collect())
}

#[test]
fn results_in_binary_have_the_home_shards_oids() {
    let mut three = apart();
    fill(&mut three);
    let (expected, _) = home_values(&three);
    for sent in ALL_WAYS {
        for id in 1..=3 {
            let sql = format!("SELECT {} FROM things WHERE id = {id}", columns());
            assert_eq!(
                rows(&binary(&mut three.sharded, &sql, &[], &[], sent)),
                std::slice::from_ref(&expected),
                "{id} {sent:?}"
            );
        }
    }
    // From all shards at once.
    let sql = format!("SELECT {} FROM things WHERE id IN (1, 2, 3) ORDER BY id", columns());
    for sent in ALL_WAYS {
        let all = rows(&binary(&mut three.sharded, &sql, &[], &[], sent));
        assert_eq!(all, vec![expected.clone(); 3], "{sent:?}");
    }
    // Values that say themselves what they are made of, and OIDs as values.
    let mut home = three.shard(0).raw();
    let other = |id: i64| {
        format!(
            "SELECT ROW(m, p, ns, ROW(n)), array_agg(ROW(m, 1)), array_agg(p), pg_typeof(m), ARRAY[pg_typeof(p)], \
             'things'::regclass, NULL::pair FROM things WHERE id IN ({id}) GROUP BY m, p, ns, n, id"
        )
    };
    let expected = rows(&binary(&mut home, &other(1), &[], &[], Sent::AtOnce));
    for id in 1..=3 {
        assert_eq!(rows(&binary(&mut three.sharded, &other(id), &[], &[], Sent::AtOnce)), expected, "{id}");
    }
    // No number of another kind of object is known.
    for shard in 0..3 {
        three.shard(shard).execute("CREATE FUNCTION own() RETURNS int LANGUAGE sql AS 'SELECT 1'");
    }
    let sql = "SELECT 'own'::regproc FROM things WHERE id = ";
    for (id, code) in [(1, None), (2, Some("0A000"))] {
        let messages = binary(&mut three.sharded, &format!("{sql}{id}"), &[], &[], Sent::AtOnce);
        let error = messages.iter().find(|message| message.tag == tag::ERROR_RESPONSE);
        assert_eq!(error.and_then(|error| error.field(b'C')).as_deref(), code, "{error:?}");
    }
    story(&mut three.sharded, &[("SELECT 'own'::regproc FROM things WHERE id = 2", "own")]);
}

#[test]
fn parameters_in_binary_have_the_home_shards_oids() {
    let mut three = apart();
    fill(&mut three);
    let (values, types) = home_values(&three);
    let sql =
        format!("INSERT INTO things (id, {}) VALUES ($1, {}) RETURNING {}", columns(), placeholders(2), columns());
    let int8 = |id: i64| Some(id.to_be_bytes().to_vec());
    for sent in ALL_WAYS {
        for (shard, id) in (0..3).zip(4_i64..) {
            for declared in [true, false] {
                must(&mut three.sharded, &format!("DELETE FROM things WHERE id = {id}"));
                let types: Vec<u32> = std::iter::once(20).chain(types.iter().copied()).filter(|_| declared).collect();
                let bound = [vec![int8(id)], values.clone()].concat();
                let returned = rows(&binary(&mut three.sharded, &sql, &types, &bound, sent));
                assert_eq!(returned, std::slice::from_ref(&values), "{sent:?} {id} {declared}");
                let row = |id: i64| format!("SELECT ROW({})::text FROM things WHERE id = {id}", columns());
                let [new, old] = [id, id - 3].map(|id| three.shard(shard).value(&row(id)));
                assert_eq!(new, old, "{sent:?} {id} {declared}");
            }
        }
    }
    // A name that is dropped in the batch that makes and uses it.
    for id in 1..=3 {
        three.sharded.send_with(|out| {
            let sql = format!("SELECT ms FROM things WHERE id = {id} AND ms = $1");
            let value = values[3].as_deref().unwrap();
            let len = u32::try_from(value.len()).unwrap().to_be_bytes();
            frontend::parse(out, b"brief", &frontend::definition(&sql, &[]));
            frontend::bind(out, b"", b"brief", &[&[0, 1, 0, 1, 0, 1][..], &len, value, &[0, 1, 0, 1]].concat());
            frontend::execute(out, b"", 0);
            frontend::close(out, Target::Statement(b"brief"));
            frontend::sync(out);
        });
        assert_eq!(rows(&three.sharded.until_ready()), [[values[3].clone()]], "{id}");
    }
    // A parameter's type is told in the same numbers.
    for id in 1..=3 {
        let client = &mut three.sharded;
        client.send_with(|out| {
            let sql = format!("SELECT 1 FROM things WHERE id = {id} AND m = $1 AND p = $2 AND ms = $3 AND y = $4");
            frontend::parse(out, b"", &frontend::definition(&sql, &[]));
            frontend::describe(out, Target::Statement(b""));
            frontend::sync(out);
        });
        let messages = client.until_ready();
        let told = messages.iter().find(|message| message.tag == tag::PARAMETER_DESCRIPTION).unwrap();
        let expected = [types[0], 2249, types[3], 23].map(u32::to_be_bytes).concat();
        assert_eq!(told.body[2..], expected, "{id}");
    }
}

/// Several shards get each its own numbers.
#[test]
fn parameters_for_several_shards_have_each_ones_own_oids() {
    let mut three = apart();
    fill(&mut three);
    let (values, types) = home_values(&three);
    let sql = "SELECT id FROM things WHERE ms = $1 AND p = $2 ORDER BY id";
    let mut run = |types: &[u32]| {
        let (ms, p) = (values[3].clone().unwrap(), values[2].clone().unwrap());
        let sized = |value: &[u8]| [&u32::try_from(value.len()).unwrap().to_be_bytes(), value].concat();
        let bound = [&[0, 1, 0, 1, 0, 2][..], &sized(&ms), &sized(&p), &[0, 0]].concat();
        three.sharded.send_with(|out| {
            frontend::parse(out, b"", &frontend::definition(sql, types));
            frontend::bind(out, b"", b"", &bound);
            frontend::describe(out, Target::Portal(b""));
            frontend::execute(out, b"", 0);
            frontend::sync(out);
        });
        answers(&three.sharded.until_ready()).remove(0)
    };
    assert_eq!(run(&[types[3], types[2]]).brief(), "1,2,3");
    let refused = run(&[]);
    assert!(refused.refusal().is_some(), "{refused:?}");
    // A reference table is written on every shard.
    let insert = "INSERT INTO kinds VALUES ('happy', $1)";
    let written = binary(&mut three.sharded, insert, &[types[2]], &[values[2].clone()], Sent::AtOnce);
    assert_eq!(answers(&written)[0].error, None);
    for shard in 0..3 {
        assert_eq!(three.shard(shard).value("SELECT p FROM kinds WHERE m = 'happy'"), "(happy,1)");
    }
}

/// A portal whose rows come in parts, over several batches of a block, beside another one.
#[test]
fn portals_keep_what_their_rows_have() {
    let mut three = apart();
    fill(&mut three);
    must(&mut three.sharded, "UPDATE things SET ps = '{\"(ok,1)\"}', m = 'ok' WHERE id IN (5, 8)");
    let mut expected = Vec::new();
    for place in [0, 1] {
        let mut client = if place == 0 { three.shard(0).raw() } else { three.weir.endpoint("shop").raw() };
        if place == 0 {
            client.query("UPDATE things SET ps = '{\"(ok,1)\"}', m = 'ok' WHERE id IN (4, 7)");
        }
        let ids = if place == 0 { "4, 7" } else { "5, 8" };
        must(&mut client, "BEGIN");
        client.send_with(|out: &mut BytesMut| {
            let sql = format!("SELECT ps, m FROM things WHERE id IN ({ids}) ORDER BY id");
            frontend::parse(out, b"s", &frontend::definition(&sql, &[]));
            frontend::bind(out, b"a", b"s", &arguments(&[], 1));
            frontend::bind(out, b"b", b"s", &arguments(&[], 0));
            frontend::execute(out, b"a", 1);
            frontend::sync(out);
        });
        let mut seen = client.until_ready();
        client.send_with(|out| {
            frontend::execute(out, b"b", 1);
            frontend::execute(out, b"a", 1);
            frontend::execute(out, b"b", 0);
            frontend::sync(out);
        });
        seen.extend(client.until_ready());
        must(&mut client, "COMMIT");
        let rows = rows(&seen);
        assert_eq!(rows.len(), 4);
        if place == 0 { expected = rows } else { assert_eq!(rows, expected) }
    }
}

#[test]
fn what_has_no_number_at_home_is_refused() {
    let mut three = apart();
    fill(&mut three);
    three.shard(1).execute("CREATE TYPE odd AS ENUM ('x'); ALTER TABLE alone ADD COLUMN o odd");
    three.shard(1).execute("CREATE TABLE strange (o odd, v int); INSERT INTO strange VALUES ('x', 1)");
    // The schema is read after a change that comes through Weir.
    must(&mut three.sharded, "COMMENT ON TABLE kinds IS 'of moods'");
    for sql in ["SELECT * FROM alone", "SELECT m FROM alone", "INSERT INTO alone VALUES ('ok')"] {
        let answer = ask(&mut three.sharded, sql);
        let refusal = answer.refusal().unwrap_or_else(|| panic!("{sql}: {answer:?}"));
        assert!(refusal.detail.contains("no type public.odd"), "{refusal:?}");
    }
    // A statement that does not show it is found out by its description.
    let sql = "SELECT 'x'::odd FROM things WHERE id = 2";
    for answer in [ask(&mut three.sharded, sql), extended(&mut three.sharded, sql, &[])] {
        let refusal = answer.refusal().unwrap_or_else(|| panic!("{answer:?}"));
        assert!(refusal.message.contains("type public.odd of shard \"two\""), "{refusal:?}");
        assert!(!refusal.hint.is_empty());
    }
    story(
        &mut three.sharded,
        &[
            ("SELECT y FROM things WHERE id = 2", "7"),
            ("BEGIN", "BEGIN"),
            ("UPDATE things SET y = 9 WHERE id = 2", "UPDATE 1"),
            ("SELECT 'x'::odd FROM things WHERE id = 2", "0A000"),
            ("SELECT 1", "25P02"),
            ("COMMIT", "ROLLBACK"),
            ("SELECT y FROM things WHERE id = 2", "7"),
        ],
    );
    let unknown = binary(&mut three.sharded, "SELECT $1 FROM things WHERE id = 2", &[4_000_000], &[None], Sent::AtOnce);
    let error = unknown.iter().find(|message| message.tag == tag::ERROR_RESPONSE).unwrap();
    assert_eq!(error.field(b'C').as_deref(), Some("0A000"), "{error:?}");
    assert!(error.field(b'M').is_some_and(|text| text.contains("OID 4000000 of the home shard")), "{error:?}");
    story(&mut three.sharded, &[("SELECT y FROM things WHERE id = 2", "7")]);
}

#[test]
fn copy_in_binary_is_refused_where_numbers_differ() {
    let mut three = apart();
    fill(&mut three);
    let psql = |sql: &str| three.weir.endpoint("shop").psql(["-Atc", sql]);
    let copy = |id: i64, format: &str| {
        format!("COPY (SELECT id, m, p FROM things WHERE id = {id}) TO STDOUT (FORMAT {format})")
    };
    for id in 1..=3 {
        assert_eq!(psql(&copy(id, "csv")).stdout, format!("{id},ok,\"(happy,1)\"\n"));
        let run = psql(&copy(id, "binary"));
        assert_eq!(run.status == 0, id == 1, "{run:?}");
        assert!(id == 1 || run.stderr.contains("COPY in binary format"), "{run:?}");
    }
    assert!(psql("COPY alone TO STDOUT (FORMAT binary)").stderr.contains("COPY in binary format"));
}

/// Extensions have types, too, and functions of which nothing is known: their shard must be named.
#[test]
fn types_of_extensions_have_the_home_shards_oids() {
    let mut three = Three::start(MAP);
    make_apart(&three, &[&["CREATE EXTENSION hstore", "CREATE EXTENSION citext"]]);
    three.both("CREATE TABLE extended (id int8 PRIMARY KEY, h hstore, c citext, hs hstore[], cs citext[])");
    for id in 1..=3 {
        three.both(&format!(
            "INSERT INTO extended VALUES ({id}, 'a=>1, b=>NULL', 'MiXed', ARRAY['a=>2'::hstore], '{{A,NULL,b}}')"
        ));
    }
    alike(&mut three, "SELECT * FROM extended");
    let mut home = three.shard(0).raw();
    let sql = "SELECT h, c, hs, cs, ROW(h, c) FROM extended WHERE c = 'mixed'";
    let expected = binary(&mut home, sql, &[], &[], Sent::AtOnce);
    for shard in ["one", "two", "three"] {
        must(&mut three.sharded, &format!("SET weir.shard = '{shard}'"));
        let found = binary(&mut three.sharded, sql, &[], &[], Sent::AtOnce);
        assert_eq!(rows(&found), rows(&expected), "{shard}");
        let types = ["hstore", "citext[]"].map(|name| number(&three.shard(0), name));
        let values = [0, 3].map(|column| rows(&expected)[0][column].clone());
        let sql = "SELECT id FROM extended WHERE h = $1 AND cs = $2";
        assert_eq!(rows(&binary(&mut three.sharded, sql, &types, &values, Sent::AtOnce)).len(), 1, "{shard}");
    }
}

/// Types that change are known by their new numbers, also to a client that was there before.
#[test]
fn types_that_are_made_anew_are_read_anew() {
    let mut three = apart();
    fill(&mut three);
    let mut other = three.weir.endpoint("shop").raw();
    for (labels, label) in [("'a', 'b'", "a"), ("'b', 'c', 'd'", "d")] {
        three.shard(2).execute("CREATE TYPE filler AS ENUM ('x'); DROP TYPE filler");
        must(&mut three.sharded, &format!("CREATE TYPE fresh AS ENUM ({labels})"));
        must(&mut three.sharded, "ALTER TABLE things ADD COLUMN f fresh[]");
        for id in 1..=3 {
            must(&mut other, &format!("UPDATE things SET f = '{{{label}}}' WHERE id = {id}"));
            let sql = format!("SELECT f, ARRAY[m] FROM things WHERE id = {id}");
            let found = rows(&binary(&mut other, &sql, &[], &[], Sent::AtOnce)).remove(0);
            let number = number(&three.shard(0), "fresh").to_be_bytes();
            assert_eq!(found[0].as_ref().unwrap()[8..12], number, "{id}");
        }
        must(&mut three.sharded, "ALTER TABLE things DROP COLUMN f");
        must(&mut three.sharded, "DROP TYPE fresh");
    }
}

/// A value as it is on the wire, of whatever type.
#[derive(Debug, Clone, PartialEq)]
struct Raw(Vec<u8>);

impl<'a> FromSql<'a> for Raw {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(raw.to_vec()))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

impl ToSql for Raw {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        out.extend_from_slice(&self.0);
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// tokio-postgres asks the catalogs what the types are that it meets, and keeps the answer.
#[tokio::test]
async fn tokio_postgres_finds_the_types_that_it_meets() {
    let three = tokio::task::spawn_blocking(|| {
        let mut three = apart();
        fill(&mut three);
        three
    });
    let three = three.await.unwrap();
    let client = three.weir.endpoint("shop").connect().await.unwrap();
    let all = format!("SELECT {} FROM things WHERE id = $1", columns());
    let by_key = client.prepare(&all).await.unwrap();
    let type_of = |name: &str| by_key.columns().iter().find(|column| column.name() == name).unwrap().type_();
    assert!(matches!(type_of("m").kind(), Kind::Enum(labels) if *labels == ["sad", "ok", "happy"]));
    assert!(
        matches!(type_of("ps").kind(), Kind::Array(pair) if matches!(pair.kind(), Kind::Composite(fields) if fields.len() == 2))
    );
    assert!(matches!(type_of("s").kind(), Kind::Range(mood) if mood.name() == "mood"));
    let mut seen = Vec::new();
    for id in 1..=3_i64 {
        let row = client.query_one(&by_key, &[&id]).await.unwrap();
        seen.push((0..row.len()).map(|at| row.get::<_, Raw>(at)).collect::<Vec<Raw>>());
    }
    assert!(seen.iter().all(|row| *row == seen[0]), "{seen:?}");
    let insert = format!("INSERT INTO things (id, {}) VALUES ($1, {})", columns(), placeholders(2));
    let insert = client.prepare(&insert).await.unwrap();
    client.execute("DELETE FROM things WHERE id = 5", &[]).await.unwrap();
    let id = 5_i64;
    let values = std::iter::once(&id as &(dyn ToSql + Sync)).chain(seen[0].iter().map(|value| value as _));
    assert_eq!(client.execute(&insert, &values.collect::<Vec<_>>()).await.unwrap(), 1);
    let row = client.query_one(&by_key, &[&5_i64]).await.unwrap();
    assert_eq!((0..row.len()).map(|at| row.get::<_, Raw>(at)).collect::<Vec<Raw>>(), seen[0]);
}

/// Drivers that look types up by the numbers that they meet, and keep what they found.
#[test]
fn python_drivers_find_the_types_that_they_meet() {
    let mut three = apart();
    fill(&mut three);
    let dsn = |endpoint: &Endpoint| {
        let Endpoint { address, database, user, password } = endpoint;
        format!("postgresql://{user}:{password}@{address}/{database}")
    };
    let weir = three.weir.endpoint("shop");
    weir.drive("types_test.py", &[("WEIR_DSN", &dsn(&weir)), ("DIRECT_DSN", &dsn(&three.reference))]);
}

const KEYS: &str = r#"
[keyspaces.mood]
method = "directory"
key_type = "enum"
values = { one = ["sad"], two = ["ok"] }
default_shard = "three"
[keyspaces.fresh]
method = "directory"
key_type = ["enum", "bool"]
unknown = "assign"
shards = ["two", "three"]
[keyspaces.player]
method = "geo"
key_type = "int8"
region_type = "enum"
region_column = "region"
buckets = 16
regions = { eu = { shards = ["one"] }, us = { shards = ["two", "three"] } }
[keyspaces.side]
method = "geo"
key_type = "int8"
region_type = "bool"
region_column = "is_left"
buckets = 16
regions = { true = { shards = ["one", "three"] }, false = { shards = ["two"] } }
[tables]
feelings = { keyspace = "mood", key = "mood" }
cells = { keyspace = "fresh", key = ["mood", "active"] }
players = { keyspace = "player", key = "id" }
sides = { keyspace = "side", key = "id" }
"#;

#[test]
fn labels_of_enums_and_bools_are_keys() {
    let mut three = Three::start(KEYS);
    make_apart(
        &three,
        &[&["CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy')", "CREATE TYPE region AS ENUM ('eu', 'us')"]],
    );
    three.both("CREATE TABLE feelings (mood mood, v int, PRIMARY KEY (mood, v))");
    three.both("INSERT INTO feelings VALUES ('sad', 1)");
    three.both("INSERT INTO feelings VALUES ('ok'::mood, 2), (CAST('ok' AS public.mood), 3)");
    three.both_extended("INSERT INTO feelings VALUES ($1, 4)", &[Some("happy")]);
    assert_eq!(three.counts("feelings"), ["1", "2", "1"]);
    let numbers = [0, 1, 2].map(|shard| number(&three.shard(shard), "mood"));
    assert!(numbers[0] != numbers[1] && numbers[1] != numbers[2], "{numbers:?}");
    for (label, shard) in [("sad", "one"), ("ok", "two"), ("happy", "three")] {
        for sql in [
            format!("SELECT mood, v FROM feelings WHERE mood = '{label}'"),
            format!("SELECT mood, v FROM feelings WHERE mood = '{label}'::mood"),
            format!("SELECT mood, v FROM feelings WHERE mood = ANY ('{{{label}}}'::mood[])"),
        ] {
            assert_eq!(three.route(&sql), shard, "{sql}");
            alike(&mut three, &sql);
        }
        // By the enum's number, in binary format.
        let value = Some(label.as_bytes().to_vec());
        let text = "SELECT v FROM feelings WHERE mood = $1 AND v > 0";
        for types in [&numbers[..1], &[]] {
            for sent in ALL_WAYS {
                let found = rows(&binary(&mut three.sharded, text, types, std::slice::from_ref(&value), sent));
                assert_eq!(found.len(), if label == "ok" { 2 } else { 1 }, "{label} {sent:?}");
            }
        }
        let array_oid = number(&three.shard(0), "mood[]");
        let array = [1, 0, numbers[0], 1, 1, u32::try_from(label.len()).unwrap()].map(u32::to_be_bytes).concat();
        let array = [&array, label.as_bytes()].concat();
        let text = "UPDATE feelings SET v = v + 0 WHERE mood = ANY ($1) RETURNING mood";
        let found = rows(&binary(&mut three.sharded, text, &[array_oid], &[Some(array)], Sent::AtOnce));
        assert!(found.iter().all(|row| row[0].as_deref() == Some(label.as_bytes())) && !found.is_empty(), "{label}");
    }
    alike(&mut three, "SELECT mood, v FROM feelings");
    alike(&mut three, "SELECT mood, count(*) FROM feelings GROUP BY mood");
    alike(&mut three, "SELECT mood FROM feelings WHERE v > 1 ORDER BY v");
    three.both("DELETE FROM feelings WHERE mood = 'ok'");
    assert_eq!(three.counts("feelings"), ["1", "0", "1"]);
    story(&mut three.sharded, &[("SELECT * FROM feelings WHERE mood = 'angry'", "22P02")]);

    three.both("CREATE TABLE cells (mood mood, active bool, v int, PRIMARY KEY (mood, active))");
    for (mood, active) in [("sad", "t"), ("sad", "f"), ("ok", "t"), ("happy", "f")] {
        three.both_extended("INSERT INTO cells VALUES ($1, $2, 1)", &[Some(mood), Some(active)]);
        three.both(&format!("UPDATE cells SET v = 2 WHERE mood = '{mood}'::mood AND active = {}", active == "t"));
    }
    assert_eq!(three.counts("cells"), ["0", "2", "2"]);
    alike(&mut three, "SELECT mood, v FROM cells WHERE active");

    three.both("CREATE TABLE players (region region, id int8, name text, PRIMARY KEY (region, id))");
    three.both("CREATE TABLE sides (is_left bool, id int8, PRIMARY KEY (is_left, id))");
    for id in 0..24 {
        let region = ["eu", "us", "us"][usize::try_from(id % 3).unwrap()];
        three.both(&format!("INSERT INTO players VALUES ('{region}'::region, {id}, 'p')"));
        three.both_extended(
            "INSERT INTO sides VALUES ($1, $2)",
            &[Some(&(id % 3 == 0).to_string()), Some(&id.to_string())],
        );
        three.both(&format!("SELECT name FROM players WHERE region = '{region}' AND id = {id}"));
    }
    let counts = [three.counts("players"), three.counts("sides")];
    assert_eq!((counts[0][0].as_str(), counts[1][1].as_str()), ("8", "16"), "{counts:?}");
    assert!(counts.iter().flatten().all(|count| count != "0"), "{counts:?}");
    assert_eq!(three.route("SELECT * FROM players WHERE region = 'us'::region"), "two,three");
    assert_eq!(three.route("SELECT * FROM sides WHERE is_left"), "one,three");
    alike(&mut three, "SELECT region, count(*) FROM players WHERE region = 'eu' GROUP BY region");
    alike(&mut three, "SELECT * FROM players ORDER BY id");
}
