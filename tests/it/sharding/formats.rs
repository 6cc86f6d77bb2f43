//! Results of several shards in binary format, and in a format for each column.

use weir::wire::backend::tag;
use weir::wire::frontend::{self, Target};

use super::answer::{Answer, answers};
use super::shop::{HASH, Pair};
use crate::harness::{Message, RawClient};

/// Runs a statement whose Bind asks for these formats.
fn formatted(client: &mut RawClient, sql: &str, formats: &[i16]) -> Answer {
    answers(&executed(client, sql, formats, 0)).remove(0)
}

/// The same with an Execute for so many rows. Gives all messages.
fn executed(client: &mut RawClient, sql: &str, formats: &[i16], max_rows: u32) -> Vec<Message> {
    let count = u16::try_from(formats.len()).unwrap();
    let asked = count.to_be_bytes().into_iter().chain(formats.iter().flat_map(|format| format.to_be_bytes()));
    let arguments: Vec<u8> = [0, 0, 0, 0].into_iter().chain(asked).collect();
    client.send_with(|out| {
        frontend::parse(out, b"", &frontend::definition(sql, &[]));
        frontend::bind(out, b"", b"", &arguments);
        frontend::describe(out, Target::Portal(b""));
        frontend::execute(out, b"", max_rows);
        frontend::sync(out);
    });
    client.until_ready()
}

const STATEMENTS: &[&str] = &[
    "SELECT customer_id, order_id, total, placed FROM orders ORDER BY customer_id, order_id",
    "SELECT total, status, priority, placed FROM orders ORDER BY customer_id DESC, order_id LIMIT 7 OFFSET 2",
    "SELECT count(*), sum(total), avg(total), max(placed) FROM orders",
    "SELECT priority, count(*), avg(order_id), min(placed) FROM orders GROUP BY priority ORDER BY 1 NULLS FIRST",
    "SELECT tag, weight, price, line_no FROM lines ORDER BY tag, weight, customer_id, order_id, line_no",
    "SELECT uid, score, born, joined FROM customers ORDER BY uid, customer_id",
];

#[test]
fn every_column_comes_in_the_format_that_was_asked_for() {
    let mut pair = Pair::start(HASH);
    for sql in STATEMENTS {
        for formats in [&[][..], &[0], &[1], &[1, 0, 1, 0], &[0, 1, 0, 1], &[1, 1, 1, 0], &[1, 1, 1, 1]] {
            let [sharded, single] = [&mut pair.sharded, &mut pair.single].map(|client| formatted(client, sql, formats));
            assert_eq!(sharded, single, "{sql} {formats:?}");
        }
        for formats in [&[1, 0][..], &[0, 0, 0, 0, 0]] {
            let [sharded, single] = [&mut pair.sharded, &mut pair.single].map(|client| formatted(client, sql, formats));
            assert_eq!(sharded.sqlstate(), Some("08P01"), "{sql} {formats:?}");
            assert_eq!(sharded.sqlstate(), single.sqlstate(), "{sql} {formats:?}");
        }
    }
}

#[test]
fn execute_gives_as_many_rows_as_it_was_asked_for() {
    let mut pair = Pair::start(HASH);
    for sql in [
        "SELECT customer_id, name FROM customers ORDER BY customer_id",
        "SELECT customer_id, name FROM customers ORDER BY customer_id OFFSET 3",
        "SELECT customer_id, name FROM customers ORDER BY customer_id LIMIT 2",
        "SELECT priority, count(*) FROM orders GROUP BY priority ORDER BY 1",
        "SELECT count(*) FROM orders",
    ] {
        for max_rows in [1, 2, 3, 1000] {
            let [sharded, single] =
                [&mut pair.sharded, &mut pair.single].map(|client| executed(client, sql, &[1], max_rows));
            // With "more rows" or the command tag at the end, as PostgreSQL has it.
            let seen = |messages: &[Message]| {
                let shown = messages.iter().filter(|message| message.tag != tag::ROW_DESCRIPTION);
                shown.map(|message| (message.tag, message.body.to_vec())).collect::<Vec<_>>()
            };
            assert_eq!(seen(&sharded), seen(&single), "{sql} {max_rows}");
        }
    }
}

#[test]
fn drivers_that_ask_in_binary_get_rows_of_all_shards() {
    let pair = Pair::start(HASH);
    pair.shop.endpoint().drive("sharded_test.py", &[]);
}
