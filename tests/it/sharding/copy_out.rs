//! COPY TO STDOUT of rows of several shards: what one PostgreSQL writes, but for the order of the rows.

use weir::wire::backend::tag;
use weir::wire::frontend;

use super::answer::{Answer, answers, ask, story};
use super::shop::{HASH, Pair, RANGE, Shop};
use crate::harness::RawClient;

/// Everything that a COPY gives: its rows, and how it ended.
fn copied(client: &mut RawClient, sql: &str) -> (Vec<Vec<u8>>, Answer) {
    let messages = client.query(sql);
    let rows = messages.iter().filter(|message| message.tag == tag::COPY_DATA).map(|message| message.body.clone());
    (rows.collect(), answers(&messages).remove(0))
}

/// Lines, the header first if there is one, and the others in order.
fn lines(rows: &[Vec<u8>], has_header: bool) -> Vec<Vec<u8>> {
    let mut lines = rows.to_vec();
    lines[usize::from(has_header)..].sort();
    lines
}

#[test]
fn every_row_is_copied_once_in_every_format() {
    for map in [RANGE, HASH] {
        let mut pair = Pair::start(map);
        for (sql, has_header) in [
            ("COPY customers TO STDOUT", false),
            ("COPY orders (status, total) TO STDOUT (DELIMITER '|', NULL 'nix')", false),
            ("COPY lines TO STDOUT (FORMAT csv, HEADER)", true),
            ("COPY visits TO STDOUT CSV HEADER FORCE QUOTE token", true),
            ("COPY customers (name) TO STDOUT (HEADER)", true),
            ("COPY (SELECT customer_id, upper(name) FROM customers WHERE active) TO STDOUT", false),
            (
                "COPY (SELECT c.name, o.total FROM customers c JOIN orders o USING (customer_id) WHERE o.total > 10) TO STDOUT CSV",
                false,
            ),
            ("COPY products TO STDOUT", false),
        ] {
            let ((ours, our_end), (theirs, their_end)) =
                (copied(&mut pair.sharded, sql), copied(&mut pair.single, sql));
            assert_eq!(our_end, their_end, "{sql}");
            assert!(theirs.len() > 5, "{sql}");
            assert_eq!(lines(&ours, has_header), lines(&theirs, has_header), "{sql}");
        }
        for sql in ["COPY lines TO STDOUT BINARY", "COPY customers (joined, uid, region) TO STDOUT (FORMAT binary)"] {
            let ((ours, our_end), (theirs, their_end)) =
                (copied(&mut pair.sharded, sql), copied(&mut pair.single, sql));
            assert_eq!(our_end, their_end, "{sql}");
            // The heading stands in front of the first row, whichever that is; then there is one ending.
            let heading = &theirs[0][..19];
            assert!(ours[0].starts_with(heading) && ours.last() == theirs.last(), "{sql}");
            let bare = |rows: &[Vec<u8>]| {
                let mut rows = rows.to_vec();
                rows[0].drain(..19);
                rows.sort();
                rows
            };
            assert_eq!(bare(&ours), bare(&theirs), "{sql}");
        }
        // Only one PostgreSQL can answer these, and their rows have an order.
        for sql in [
            "COPY (SELECT * FROM customers ORDER BY name DESC, customer_id) TO STDOUT",
            "COPY (SELECT region, string_agg(name, ',' ORDER BY customer_id) FROM customers GROUP BY 1 ORDER BY 1) TO STDOUT CSV HEADER",
            "COPY (SELECT o.status, count(*) OVER () FROM orders o JOIN visits v ON v.hits = o.priority ORDER BY 1, 2) TO STDOUT (FORMAT binary)",
            "COPY (SELECT customer_id, joined FROM customers ORDER BY joined, 1 LIMIT 9) TO STDOUT (DELIMITER '|', NULL 'nix')",
            "COPY (SELECT 1 / (order_id - 2) FROM orders ORDER BY customer_id) TO STDOUT",
            "COPY (SELECT nosuch FROM customers ORDER BY 1) TO STDOUT",
        ] {
            let ((ours, our_end), (theirs, their_end)) =
                (copied(&mut pair.sharded, sql), copied(&mut pair.single, sql));
            assert_eq!((our_end.sqlstate(), &our_end.command), (their_end.sqlstate(), &their_end.command), "{sql}");
            assert!(our_end.error.is_some() || ours == theirs, "{sql}");
        }
        // What was copied out can be copied in.
        let (rows, _) = copied(&mut pair.sharded, "COPY visits TO STDOUT BINARY");
        assert_eq!(ask(&mut pair.sharded, "TRUNCATE visits").error, None);
        pair.sharded.send_with(|out| frontend::query(out, "COPY visits FROM STDIN BINARY"));
        pair.sharded.expect(tag::COPY_IN_RESPONSE);
        rows.iter().for_each(|row| pair.sharded.send_with(|out| frontend::copy_data(out, row)));
        pair.sharded.send_with(frontend::copy_done);
        assert_eq!(answers(&pair.sharded.until_ready())[0].brief(), "COPY 30");
        pair.compare_tables();
    }
}

#[test]
fn an_error_on_one_shard_ends_the_copy() {
    let shop = Shop::small();
    let mut client = shop.client();
    let failing = "COPY (SELECT 1 / (customer_id - 12) FROM customers) TO STDOUT";
    for _ in 0..3 {
        assert_eq!(copied(&mut client, failing).1.sqlstate(), Some("22012"));
        story(&mut client, &[("SELECT count(*) FROM customers", "4")]);
    }
    story(&mut client, &[("BEGIN", "BEGIN"), ("UPDATE customers SET name = 'x' WHERE customer_id = 11", "UPDATE 1")]);
    let (rows, end) = copied(&mut client, "COPY (SELECT name FROM customers) TO STDOUT");
    assert!(rows.contains(&b"x\n".to_vec()), "the block's own rows: {rows:?}");
    assert_eq!(end.brief(), "COPY 4");
    assert_eq!(copied(&mut client, failing).1.sqlstate(), Some("22012"));
    story(&mut client, &[("SELECT 1", "25P02"), ("ROLLBACK", "ROLLBACK")]);
    let answer = ask(&mut client, "COPY (SELECT ctid FROM customers) TO STDOUT");
    assert!(answer.refusal().is_some_and(|refusal| !refusal.hint.is_empty()), "{answer:?}");
}
