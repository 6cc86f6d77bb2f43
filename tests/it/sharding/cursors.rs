//! SQL cursors over several shards, beside those of one PostgreSQL.

use weir::wire::backend::{self, tag};
use weir::wire::frontend::{self, Target};

use super::answer::{Answer, arguments, ask, extended, extended_in, simple};
use super::shop::{Pair, RANGE, Shop, fill};
use crate::harness::{Message, RawClient, Setup};

/// Statements with their parameters; each is one that both sides answer alike.
const STATEMENTS: &[(&str, &[&str])] = &[
    ("DECLARE c CURSOR FOR SELECT customer_id FROM customers ORDER BY customer_id", &[]),
    ("FETCH c", &[]),
    ("CLOSE c", &[]),
    ("BEGIN", &[]),
    ("DECLARE c CURSOR FOR SELECT customer_id, name, joined FROM customers ORDER BY customer_id", &[]),
    ("FETCH 3 FROM c", &[]),
    ("FETCH c", &[]),
    ("FETCH BACKWARD 2 FROM c", &[]),
    ("FETCH PRIOR IN c", &[]),
    ("FETCH ABSOLUTE 5 FROM c", &[]),
    ("FETCH RELATIVE -1 FROM c", &[]),
    ("FETCH 0 FROM c", &[]),
    ("FETCH LAST FROM c", &[]),
    ("FETCH NEXT FROM c", &[]),
    ("MOVE FIRST IN c", &[]),
    ("MOVE 7 IN c", &[]),
    ("MOVE BACKWARD ALL IN c", &[]),
    ("FETCH ALL FROM c", &[]),
    (
        "DECLARE \"Two\" NO SCROLL CURSOR FOR SELECT string_agg(name, ',' ORDER BY customer_id) FROM customers GROUP BY region ORDER BY 1",
        &[],
    ),
    ("FETCH 2 FROM \"Two\"", &[]),
    ("SAVEPOINT s", &[]),
    ("FETCH BACKWARD 1 FROM \"Two\"", &[]),
    ("ROLLBACK TO s", &[]),
    ("FETCH ALL FROM \"Two\"", &[]),
    ("SAVEPOINT t", &[]),
    ("DECLARE c CURSOR FOR SELECT 1", &[]),
    ("ROLLBACK TO t", &[]),
    ("DECLARE inner_one CURSOR FOR SELECT order_id, total FROM orders WHERE customer_id = 4 ORDER BY 1", &[]),
    ("FETCH ALL IN inner_one", &[]),
    ("ROLLBACK TO t", &[]),
    ("FETCH inner_one", &[]),
    ("ROLLBACK TO t", &[]),
    (
        "DECLARE bound CURSOR FOR SELECT customer_id, credit FROM customers WHERE customer_id > $1 AND name <> $2 ORDER BY 1",
        &["3", "x"],
    ),
    ("FETCH 2 FROM bound", &[]),
    ("RELEASE t", &[]),
    ("CLOSE bound", &[]),
    ("SAVEPOINT u", &[]),
    ("CLOSE nosuch", &[]),
    ("ROLLBACK TO u", &[]),
    ("DECLARE kept CURSOR WITH HOLD FOR SELECT token FROM visits ORDER BY token COLLATE \"C\"", &[]),
    ("FETCH kept", &[]),
    ("COMMIT", &[]),
    ("FETCH 2 FROM kept", &[]),
    ("FETCH c", &[]),
    ("DECLARE outside CURSOR WITH HOLD FOR SELECT count(*), max(total) FROM orders", &[]),
    ("FETCH ALL FROM outside", &[]),
    ("DECLARE outside CURSOR WITH HOLD FOR SELECT 1", &[]),
    ("BEGIN", &[]),
    ("DECLARE gone CURSOR WITH HOLD FOR SELECT 1", &[]),
    ("UPDATE customers SET name = 'changed' WHERE customer_id IN (1, 11)", &[]),
    ("DECLARE seen CURSOR FOR SELECT customer_id FROM customers WHERE name = 'changed' ORDER BY 1", &[]),
    ("UPDATE customers SET name = 'again' WHERE customer_id IN (1, 11)", &[]),
    ("FETCH ALL FROM seen", &[]),
    ("ROLLBACK", &[]),
    ("FETCH gone", &[]),
    ("FETCH kept", &[]),
    ("BEGIN", &[]),
    ("DECLARE bad CURSOR FOR SELECT nosuch FROM customers", &[]),
    ("FETCH bad", &[]),
    ("COMMIT", &[]),
    ("CLOSE ALL", &[]),
    ("FETCH kept", &[]),
    ("DECLARE last CURSOR WITH HOLD FOR SELECT 1", &[]),
    ("DISCARD ALL", &[]),
    ("FETCH last", &[]),
];

#[test]
fn cursors_are_as_those_of_one_postgresql() {
    for in_extended in [false, true] {
        let mut pair = Pair::start(RANGE);
        for (sql, values) in STATEMENTS {
            let values: Vec<Option<&str>> = values.iter().map(|value| Some(*value)).collect();
            let run = |client: &mut _| match in_extended || !values.is_empty() {
                true => extended(client, sql, &values),
                false => ask(client, sql),
            };
            let (ours, theirs) = (run(&mut pair.sharded), run(&mut pair.single));
            assert_eq!(ours.sqlstate(), theirs.sqlstate(), "{sql}: {ours:?}");
            // PostgreSQL describes some rows before it fails.
            let described = |columns| if theirs.error.is_none() { columns } else { Vec::new() };
            assert_eq!((&ours.rows, &ours.command), (&theirs.rows, &theirs.command), "{sql}");
            assert_eq!(described(ours.columns), described(theirs.columns.clone()), "{sql}");
        }
    }
}

/// Several statements of one query are one transaction, which is over with the query.
const TOGETHER: &[&str] = &[
    "DECLARE c CURSOR FOR SELECT customer_id FROM customers ORDER BY 1; FETCH 2 FROM c; FETCH 1 FROM c",
    "FETCH c",
    "DECLARE c CURSOR FOR SELECT customer_id FROM customers ORDER BY 1; FETCH 1 FROM c; CLOSE c; FETCH c",
    "DECLARE c CURSOR WITH HOLD FOR SELECT customer_id FROM customers ORDER BY 1; FETCH 1 FROM c",
    "BEGIN; FETCH 1 FROM c; DECLARE d CURSOR WITH HOLD FOR SELECT max(total) FROM orders; COMMIT",
    "FETCH 1 FROM c; FETCH 1 FROM d; CLOSE ALL",
    "DECLARE c CURSOR WITH HOLD FOR SELECT 1; SELECT 1/0 FROM customers",
    "FETCH c",
    "DECLARE c SCROLL CURSOR WITH HOLD FOR SELECT count(*) FROM customers WHERE name = 'Zoe'; \
     UPDATE customers SET name = 'Zoe' WHERE customer_id IN (1, 11); FETCH c; SELECT count(*) FROM customers WHERE name = 'Zoe'",
    "FETCH PRIOR FROM c",
    "SELECT count(*) FROM customers; BEGIN; DECLARE e SCROLL CURSOR FOR SELECT 1; FETCH e",
    "FETCH PRIOR FROM e; UPDATE customers SET name = 'Una' WHERE customer_id IN (1, 11); COMMIT",
    "FETCH e",
];

#[test]
fn cursors_of_several_statements_end_with_them() {
    let mut pair = Pair::start(RANGE);
    for sql in TOGETHER {
        let [ours, theirs] = [&mut pair.sharded, &mut pair.single].map(|client| simple(client, sql));
        let told = |answers: &[Answer]| -> Vec<_> {
            let told =
                |answer: &Answer| (answer.rows.clone(), answer.command.clone(), answer.sqlstate().map(str::to_owned));
            answers.iter().map(told).collect()
        };
        assert_eq!(told(&ours), told(&theirs), "{sql}");
    }
}

#[test]
fn binary_cursors_give_binary_values() {
    let mut pair = Pair::start(RANGE);
    let declare =
        "DECLARE b BINARY CURSOR WITH HOLD FOR SELECT customer_id, credit, born, uid FROM customers ORDER BY 1";
    pair.must_both(declare);
    for client in [&mut pair.sharded, &mut pair.single] {
        let rows = simple(client, "FETCH 5 FROM b");
        assert_eq!(rows[0].rows.len(), 5);
    }
    let fetch = "FETCH 5 FROM b";
    let (ours, theirs) = (extended_in(&mut pair.sharded, fetch, &[], 1), extended_in(&mut pair.single, fetch, &[], 1));
    assert_eq!((&ours.rows, &ours.columns, ours.error), (&theirs.rows, &theirs.columns, None));
    // Texts of them would have to be made anew.
    let refused = extended_in(&mut pair.sharded, fetch, &[], 0);
    assert!(refused.refusal().is_some_and(|refusal| refusal.hint.contains("BINARY")), "{refused:?}");
}

#[test]
fn a_cursor_has_the_memory_that_it_may_have() {
    let shop = Shop::with(Setup::new().pool("merge_memory = \"64kB\""), RANGE, &[]);
    let mut client = shop.client();
    fill(&mut client);
    let large = "DECLARE c CURSOR WITH HOLD FOR SELECT repeat('x', 1000) FROM generate_series(1, 100)";
    let refused = ask(&mut client, large).error.expect("too much");
    assert_eq!((refused.sqlstate.as_str(), refused.detail.contains("merge_memory")), ("53400", true), "{refused:?}");
    let small = "DECLARE c CURSOR WITH HOLD FOR SELECT repeat('x', 1000) FROM generate_series(1, 40)";
    assert_eq!(ask(&mut client, small).error, None);
    assert_eq!(ask(&mut client, &small.replace(" c ", " d ")).sqlstate(), Some("53400"));
    assert_eq!(ask(&mut client, "MOVE ALL IN c").command, "MOVE 40");
}

/// What came up to ReadyForQuery: each message's kind, with its body where a client reads that; of errors the SQLSTATE.
fn replies(client: &mut RawClient) -> Vec<(char, String)> {
    let told = |message: &Message| match message.tag {
        tag::ERROR_RESPONSE => message.field(b'C').unwrap_or_default(),
        tag::ROW_DESCRIPTION => format!(
            "{:?}",
            backend::read_row_description(&message.body)
                .expect("columns")
                .iter()
                .map(|column| (&column.name, column.type_oid, column.format))
                .collect::<Vec<_>>()
        ),
        _ => format!("{:?}", message.body),
    };
    let messages = client.until_ready();
    let kept = messages.iter().filter(|message| message.tag != tag::PARAMETER_STATUS);
    kept.map(|message| (char::from(message.tag), told(message))).collect()
}

#[test]
fn portals_give_their_rows_bit_by_bit() {
    let mut pair = Pair::start(RANGE);
    let statement = b"streamed";
    let both = |pair: &mut Pair, what: &str, write: &dyn Fn(&mut bytes::BytesMut)| {
        let ask = |client: &mut RawClient| {
            client.send_with(|out| {
                write(out);
                frontend::sync(out);
            });
            replies(client)
        };
        assert_eq!(ask(&mut pair.sharded), ask(&mut pair.single), "{what}");
    };
    let text = "SELECT customer_id, credit, joined FROM customers WHERE customer_id > $1 ORDER BY customer_id";
    both(&mut pair, "prepare", &|out| {
        frontend::parse(out, statement, &frontend::definition(text, &[]));
        frontend::describe(out, Target::Statement(statement));
    });
    pair.must_both("BEGIN");
    for (portal, format) in [("one", 0), ("two", 1)] {
        both(&mut pair, "open", &|out| {
            frontend::bind(out, portal.as_bytes(), statement, &arguments(&[Some("2")], format));
            frontend::describe(out, Target::Portal(portal.as_bytes()));
            frontend::execute(out, portal.as_bytes(), 5);
        });
    }
    for (what, portal, rows_max) in [
        ("more", "one", 7),
        ("of the other", "two", 3),
        ("more again", "one", 1),
        ("the rest", "one", 0),
        ("nothing", "one", 4),
    ] {
        both(&mut pair, what, &|out| frontend::execute(out, portal.as_bytes(), rows_max));
    }
    both(&mut pair, "describe", &|out| frontend::describe(out, Target::Portal(b"two")));
    both(&mut pair, "another statement", &|out| {
        frontend::close(out, Target::Portal(b"one"));
        frontend::parse(out, b"", &frontend::definition("SELECT count(*) FROM customers", &[]));
        frontend::bind(out, b"", b"", &arguments(&[], 0));
        frontend::describe(out, Target::Portal(b""));
        frontend::execute(out, b"", 0);
    });
    both(&mut pair, "the other goes on", &|out| frontend::execute(out, b"two", 2));
    both(&mut pair, "its name is taken", &|out| {
        frontend::bind(out, b"two", statement, &arguments(&[Some("2")], 0));
        frontend::execute(out, b"two", 5);
    });
    both(&mut pair, "the block has failed", &|out| frontend::execute(out, b"two", 2));
    pair.must_both("ROLLBACK");
    // One that a single shard has, which is not the first of the block.
    let text = "SELECT order_id, total FROM orders WHERE customer_id = $1 ORDER BY order_id";
    both(&mut pair, "prepare", &|out| frontend::parse(out, b"near", &frontend::definition(text, &[])));
    for sql in ["BEGIN", "UPDATE customers SET name = 'x' WHERE customer_id = 4"] {
        pair.must_both(sql);
    }
    both(&mut pair, "open", &|out| {
        frontend::bind(out, b"near", b"near", &arguments(&[Some("14")], 0));
        frontend::execute(out, b"near", 2);
    });
    both(&mut pair, "on another shard", &|out| frontend::execute(out, b"near", 2));
    pair.must_both("ROLLBACK");
    both(&mut pair, "it is gone", &|out| frontend::execute(out, b"two", 2));
}

/// The rest of an unnamed portal's rows is on no single server.
#[test]
fn an_unnamed_portal_over_several_shards_is_not_continued() {
    let shop = Shop::small();
    let mut client = shop.client();
    let execute = |client: &mut RawClient, sql: Option<&str>| {
        client.send_with(|out| {
            if let Some(sql) = sql {
                frontend::parse(out, b"", &frontend::definition(sql, &[]));
                frontend::bind(out, b"", b"", &arguments(&[], 0));
            }
            frontend::execute(out, b"", 1);
            frontend::sync(out);
        });
        client.until_ready()
    };
    let rows = |messages: &[Message]| messages.iter().filter(|message| message.tag == tag::DATA_ROW).count();
    let refused = |messages: &[Message]| messages.iter().find_map(|message| message.field(b'C'));
    ask(&mut client, "BEGIN");
    // One shard's goes on.
    execute(&mut client, Some("SELECT generate_series(1, 3)"));
    assert_eq!(rows(&execute(&mut client, None)), 1);
    assert_eq!(rows(&execute(&mut client, Some("SELECT name FROM customers"))), 1);
    let more = execute(&mut client, None);
    assert_eq!((rows(&more), refused(&more).as_deref()), (0, Some("0A000")));
}
