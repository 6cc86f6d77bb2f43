//! COPY FROM STDIN into sharded and reference tables: every row on its shard, all of them or none.

use weir::wire::backend::tag;
use weir::wire::frontend;

use super::answer::{Answer, Order, answers, simple, story};
use super::shop::{Pair, RANGE, Shop, must};
use crate::harness::{Message, RawClient};

/// Runs a COPY whose data comes in parts of this many bytes.
fn copy_in_parts(client: &mut RawClient, sql: &str, data: &[u8], step: usize) -> Answer {
    client.send_with(|out| frontend::query(out, sql));
    let first = client.next().expect("an answer");
    if first.tag != tag::COPY_IN_RESPONSE {
        let mut messages = vec![first];
        messages.extend(client.until_ready());
        return told(&messages);
    }
    for part in data.chunks(step) {
        client.send_with(|out| frontend::copy_data(out, part));
    }
    client.send_with(frontend::copy_done);
    told(&client.until_ready())
}

fn told(messages: &[Message]) -> Answer {
    answers(messages).remove(0)
}

pub fn copy(client: &mut RawClient, sql: &str, data: &str) -> Answer {
    copy_in_parts(client, sql, data.as_bytes(), 1000)
}

#[test]
fn rows_go_to_their_shards_however_they_are_written() {
    let mut pair = Pair::start(RANGE);
    let mut binary = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0".to_vec();
    for id in 300_i64..310 {
        binary.extend(b"\0\x02\0\0\0\x08");
        binary.extend((id % 2 * 20 + id).to_be_bytes());
        binary.extend(b"\0\0\0\x04\xc3\xa9\n\\");
    }
    binary.extend(b"\xff\xff");
    let text: String = (101..200).chain(-50..-40).map(|id| format!("{id}\tname\\t{id}\t\\N\n")).collect();
    let csv = "customer_id,name\n215,\"a \"\"b\"\"\nc\"\n-205,\n225,\"\"\n\"-235\",d\n";
    let cases: &[(&str, &[u8])] = &[
        ("COPY customers (customer_id, name, email) FROM stdin", text.as_bytes()),
        (
            "COPY customers (name, customer_id) FROM stdin (DELIMITER '|', NULL 'nix')",
            b"a\\|b|401\nnix|402\n\\x41\\102|0403\n",
        ),
        ("COPY customers (customer_id, name) FROM stdin CSV HEADER", csv.as_bytes()),
        ("COPY public.customers (customer_id, name) FROM stdin BINARY", &binary),
        ("COPY customers (customer_id) FROM stdin WHERE customer_id % 2 = 0", b"501\n502\n-503\n-504\n"),
        ("COPY customers (customer_id) FROM stdin", b""),
        ("COPY customers (customer_id) FROM stdin", b"601\n-602"),
        ("COPY customers (customer_id) FROM stdin", b"701\n-702\n\\.\n"),
        ("COPY visits (token, hits) FROM stdin", b"aaa\t1\nzzz\t2\n\\\\N\t3\n"),
        ("COPY products (product_id, name, launched) FROM stdin", b"101\tlamp\t2020-01-01\n102\tbed\t\\N\n"),
    ];
    // Through Weir on its side: a replica may show what others deleted for a while longer.
    let clean = [
        "DELETE FROM customers WHERE customer_id BETWEEN 101 AND 999 OR customer_id BETWEEN -999 AND -20",
        "DELETE FROM products WHERE product_id > 100",
        "DELETE FROM visits WHERE token IN ('aaa', 'zzz', E'\\\\N')",
    ];
    for (sql, data) in cases {
        for step in [1, 7, 100_000] {
            let ours = copy_in_parts(&mut pair.sharded, sql, data, step);
            let theirs = copy_in_parts(&mut pair.single, sql, data, step);
            assert_eq!(ours.sqlstate(), None, "{sql}: {ours:?}");
            assert_eq!(ours.difference(&theirs, Order::Total), None, "{sql} in parts of {step}");
            pair.compare_tables();
            clean.iter().for_each(|sql| pair.must_both(sql));
        }
    }
    copy(&mut pair.sharded, cases[0].0, &text);
    let odd = "SELECT count(*) FROM customers WHERE customer_id BETWEEN 10 AND 19 OR customer_id >= 30";
    assert_eq!(pair.shop.shard(0).value(odd), "0");
}

#[test]
fn a_copy_that_fails_leaves_nothing_on_any_shard() {
    let shop = Shop::small();
    let mut client = shop.client();
    let refused = |client: &mut RawClient, sql: &str, data: &str, expected: &str| {
        let answer = copy(client, sql, data);
        assert_eq!(answer.sqlstate(), Some(expected), "{sql} {data:?}: {answer:?}");
        story(client, &[("SELECT count(*) FROM customers", "4"), ("SELECT count(*) FROM products", "1")]);
    };
    for (data, expected) in [
        ("21\ta\n\\N\tb\n", "23502"),
        ("21\ta\n31\tb\nx\tc\n", "0A000"),
        ("21\ta\n31\tb\n11\tagain\n", "23505"),
        ("21\ta\n31\tb\n32\n", "22P04"),
        ("21\ta\n31\tb\tmore\n", "22P04"),
        ("21\ta\n31\tb\r\n", "0A000"),
        ("21\ta\n99999999999999999999\tb\n", "0A000"),
    ] {
        refused(&mut client, "COPY customers (customer_id, name) FROM stdin", data, expected);
    }
    refused(&mut client, "COPY customers (name) FROM stdin", "a\n", "0A000");
    refused(&mut client, "COPY customers (customer_id, nowhere) FROM stdin", "21\ta\n", "42703");
    refused(&mut client, "COPY customers FROM '/tmp/customers'", "", "0A000");
    refused(&mut client, "COPY products (product_id, name, launched) FROM stdin", "2\ta\ttoday\n", "0A000");
    refused(&mut client, "COPY products (product_id, name) FROM stdin", "2\ta\n1\tb\n", "23505");
    refused(&mut client, "COPY orders (customer_id, order_id) FROM stdin", "1\t1\n11\t1\n21\t1\n", "23503");

    client.send_with(|out| frontend::query(out, "COPY customers (customer_id) FROM stdin"));
    client.expect(tag::COPY_IN_RESPONSE);
    client.send_with(|out| {
        frontend::copy_data(out, b"21\n31\n");
        frontend::copy_fail(out, "changed my mind");
    });
    let answer = told(&client.until_ready());
    assert_eq!(answer.sqlstate(), Some("57014"), "{answer:?}");
    // A client that goes away in the middle takes its rows with it.
    let mut other = shop.client();
    other.send_with(|out| frontend::query(out, "COPY customers (customer_id) FROM stdin"));
    other.expect(tag::COPY_IN_RESPONSE);
    other.send_with(|out| frontend::copy_data(out, b"21\n31\n"));
    drop(other);
    // It waits for its turn until that one has ended.
    assert_eq!(copy(&mut client, "COPY customers (customer_id) FROM stdin", "22\n32\n").brief(), "COPY 2");
    story(&mut client, &[("SELECT count(*) FROM customers", "6")]);
    for shard in [0, 1] {
        assert_eq!(
            shop.shard(shard).value("SELECT count(*) FROM pg_prepared_xacts WHERE database = current_database()"),
            "0"
        );
    }
}

#[test]
fn a_copy_in_a_block_is_part_of_it() {
    let shop = Shop::small();
    let mut client = shop.client();
    let sql = "COPY customers (customer_id) FROM stdin";
    must(&mut client, "BEGIN");
    must(&mut client, "UPDATE customers SET name = 'x' WHERE customer_id = 11");
    assert_eq!(copy(&mut client, sql, "12345\n13\n").brief(), "COPY 2");
    story(&mut client, &[("SELECT count(*) FROM customers", "6"), ("ROLLBACK", "ROLLBACK")]);
    story(&mut client, &[("SELECT count(*) FROM customers", "4"), ("BEGIN", "BEGIN")]);
    assert_eq!(copy(&mut client, sql, "13\n14\n").brief(), "COPY 2");
    story(&mut client, &[("COMMIT", "COMMIT"), ("SELECT count(*) FROM customers", "6"), ("BEGIN", "BEGIN")]);
    assert_eq!(copy(&mut client, sql, "15\n5\n").brief(), "COPY 2");
    story(&mut client, &[("SELECT count(*) FROM customers", "8"), ("SAVEPOINT s", "SAVEPOINT")]);
    assert_eq!(copy(&mut client, sql, "16\n6\n16\n").brief(), "23505");
    story(&mut client, &[("SELECT 1", "25P02"), ("ROLLBACK TO s", "ROLLBACK"), ("COMMIT", "COMMIT")]);
    story(&mut client, &[("SELECT count(*) FROM customers", "8"), ("BEGIN", "BEGIN")]);
    assert_eq!(copy(&mut client, "COPY products (product_id, name) FROM stdin", "2\ta\n").brief(), "COPY 1");
    story(&mut client, &[("SELECT count(*) FROM products", "2"), ("ROLLBACK", "ROLLBACK")]);
    story(&mut client, &[("SELECT count(*) FROM products", "1")]);
    let among = simple(&mut client, "SELECT 1; COPY customers (customer_id) FROM stdin");
    assert_eq!(among[1].sqlstate(), Some("0A000"), "{among:?}");
    story(&mut client, &[("SELECT count(*) FROM customers", "8")]);
}

#[test]
fn a_copy_over_the_extended_protocol_has_two_syncs() {
    let shop = Shop::small();
    let mut client = shop.client();
    let start = |client: &mut RawClient| {
        client.send_with(|out| {
            frontend::parse(out, b"", &frontend::definition("COPY customers (customer_id) FROM stdin", &[]));
            frontend::bind(out, b"", b"", &[0; 6]);
            frontend::execute(out, b"", 0);
            frontend::sync(out);
        });
        client.expect(tag::PARSE_COMPLETE);
        client.expect(tag::BIND_COMPLETE);
        client.expect(tag::COPY_IN_RESPONSE);
    };
    for (data, expected) in [("21\n31\n", None), ("22\n31\n", Some("23505")), ("23\n33\n", None)] {
        start(&mut client);
        client.send_with(|out| {
            frontend::copy_data(out, data.as_bytes());
            frontend::copy_done(out);
            frontend::sync(out);
        });
        let answer = told(&client.until_ready());
        assert_eq!(answer.sqlstate(), expected, "{answer:?}");
    }
    story(&mut client, &[("SELECT count(*) FROM customers", "8")]);
}
