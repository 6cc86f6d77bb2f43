//! COPY FROM STDIN into sharded and reference tables: every row on its shard, all of them or none.

use weir::wire::backend::tag;
use weir::wire::frontend;

use super::answer::{Answer, Order, answers, simple, story};
use super::sequences::Both;
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
        ("21\ta\n31\tb\nx\tc\n", "22P02"),
        ("21\ta\n31\tb\n11\tagain\n", "23505"),
        ("21\ta\n31\tb\n32\n", "22P04"),
        ("21\ta\n31\tb\tmore\n", "22P04"),
        ("21\ta\n31\tb\r\n", "22P04"),
        ("21\ta\r31\tb\r", "0A000"),
        ("21\ta\n99999999999999999999\tb\n", "22003"),
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

/// A COPY of the same data on both sides, which must be answered alike: rows, command tags, and all that an error says.
fn same_copy(both: &mut Both, sql: &str, data: &[u8]) -> Answer {
    let ours = copy_in_parts(&mut both.sharded, sql, data, 100);
    let theirs = copy_in_parts(&mut both.single, sql, data, 100);
    assert_eq!((&ours.command, &ours.error), (&theirs.command, &theirs.error), "{sql}");
    ours
}

fn same_tables(both: &mut Both) {
    for table in ["customers", "orders", "products"] {
        both.same(&format!("SELECT * FROM {table} ORDER BY 1, 2"));
    }
}

#[test]
fn rows_get_the_numbers_and_times_that_they_leave_out() {
    let mut both = Both::start();
    for (sql, data) in [
        ("COPY customers (name) FROM stdin", "a\nb\nc\n\\N\n\\\\x\n"),
        ("COPY orders (customer_id, status) FROM stdin", "1\tnew\n11\told\n2\tx\n21\ty\n"),
        ("COPY orders (status, customer_id) FROM stdin CSV HEADER", "s,c\n\"a\n,\",1\n,12\n\"\",3\n"),
        ("COPY orders (status, customer_id) FROM stdin CSV HEADER", "s,c\r\n\"a\r\n,\",1\r\n,12\r\n\"\",3\r\n"),
        ("COPY orders (customer_id, n) FROM stdin (DELIMITER '|') WHERE customer_id <> 11", "1|7\n11|8\n12|9\n"),
        ("COPY orders (customer_id, order_id) FROM stdin", "1\t100\n11\t100\n"),
        ("COPY products (name) FROM stdin", "lamp\nbed"),
        ("COPY products (name) FROM stdin", ""),
    ] {
        assert_eq!(same_copy(&mut both, sql, data.as_bytes()).error, None, "{sql}");
        same_tables(&mut both);
    }
    let mut binary = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0".to_vec();
    for id in 8_i64..13 {
        binary.extend(b"\0\x01\0\0\0\x08");
        binary.extend(id.to_be_bytes());
    }
    binary.extend(b"\xff\xff");
    same_copy(&mut both, "COPY orders (customer_id) FROM stdin BINARY", &binary);
    same_tables(&mut both);
    both.same("SELECT currval('orders_n_seq'), lastval()");
    both.same("INSERT INTO orders (customer_id) VALUES (13) RETURNING *");
    // In a block that has used the home shard, and one that fails.
    both.same("BEGIN");
    both.same("UPDATE customers SET name = 'x' WHERE customer_id = 1");
    same_copy(&mut both, "COPY customers (name) FROM stdin", b"d\ne\n");
    both.same("COMMIT");
    same_tables(&mut both);
    same_copy(&mut both, "COPY customers (name) FROM stdin", b"f\ng\th\n");
    same_tables(&mut both);
    assert_eq!(
        copy(&mut both.sharded, "COPY orders (customer_id) FROM stdin (HEADER match)", "customer_id\n1\n").brief(),
        "0A000"
    );
    // What the time is, only one server says.
    must(&mut both.sharded, "ALTER TABLE customers ADD COLUMN at timestamptz");
    must(&mut both.sharded, "ALTER TABLE customers ALTER COLUMN at SET DEFAULT now()");
    must(&mut both.sharded, "ALTER TABLE products ADD COLUMN tag uuid");
    must(&mut both.sharded, "ALTER TABLE products ALTER COLUMN tag SET DEFAULT gen_random_uuid()");
    copy(&mut both.sharded, "COPY customers (customer_id, name) FROM stdin", "401\ta\n-402\tb\n403\tc\n");
    story(&mut both.sharded, &[("SELECT count(at), count(DISTINCT at) FROM customers", "3|1")]);
    copy(&mut both.sharded, "COPY products (name) FROM stdin", "x\ny\n");
    let all = "SELECT string_agg(p::text, ',' ORDER BY product_id) FROM products p";
    assert_eq!(both.shop.shard(0).value(all), both.shop.shard(1).value(all));
    story(&mut both.sharded, &[("SELECT count(tag), count(DISTINCT tag) FROM products", "2|2")]);
}

#[test]
fn an_error_speaks_of_the_clients_line() {
    let mut both = Both::start();
    same_copy(&mut both, "COPY customers FROM stdin", b"1\ta\n11\tb\n");
    both.same("SELECT setval('customers_customer_id_seq', 50)");
    both.same("ALTER TABLE customers ADD CHECK (name <> 'bad')");
    let text = "COPY customers FROM stdin";
    let csv = "COPY customers (name, customer_id) FROM stdin CSV HEADER";
    for (sql, data) in [
        (text, "2\ta\n12\tb\n3\tc\n13\td\nx\te\n"),
        (text, "2\ta\n12\tb\n\\N\tc\n"),
        (text, "2\ta\n12\tb\n3\n"),
        (text, "2\ta\n12\tb\n\n"),
        (text, "2\ta\n12\tb\tc\n13\tc\n"),
        (text, "2\ta\n12\tb\n3\tc\n11\tagain\n4\td\n"),
        (text, "2\ta\n12\tb\n13\tbad\n3\tbad\n"),
        (text, "2\ta\n12\tb\n3\tbad\n13\tbad\n"),
        (text, "2\ta\n12\tb\n99999999999999999999\tbad\n"),
        (csv, "n,c\na,2\n\"b\nb\",12\n\"c\n\n\",3\nbad,13\nz,z\n"),
        (csv, "n,c\r\na,2\r\n\"b\r\nb\",12\r\nbad,3\r\nbad,13\r\n"),
        ("COPY customers (name) FROM stdin", "a\nb\tc\n"),
        ("COPY customers (name) FROM stdin CSV", "a\nb,\n"),
        ("COPY products FROM stdin", "1\ta\n2\tb\n1\tc\n"),
        ("COPY products FROM stdin", "1\ta\nx\tb\n"),
    ] {
        let answer = same_copy(&mut both, sql, data.as_bytes());
        assert!(answer.error.is_some_and(|error| error.context.contains(", line ")), "{sql} {data:?}");
        same_tables(&mut both);
    }
    // Where the row was given a number, it is shown with it.
    let numbered = copy(&mut both.sharded, "COPY customers (name) FROM stdin", "a\nb\nbad\n").error.unwrap();
    assert_eq!(numbered.sqlstate, "23514");
    assert!(numbered.context.starts_with("COPY customers, line 3: \"bad\t"), "{numbered:?}");
    // What PostgreSQL would read is not lost in silence, either; Weir's own words have the line, too.
    let odd = copy(&mut both.sharded, "COPY customers (customer_id) FROM stdin", "2\n12\n 3 \n").error.unwrap();
    assert_eq!((odd.sqlstate.as_str(), odd.context.as_str()), ("0A000", "COPY customers, line 3"));
    both.single.send_with(|out| frontend::query(out, text));
    both.sharded.send_with(|out| frontend::query(out, text));
    for client in [&mut both.single, &mut both.sharded] {
        client.expect(tag::COPY_IN_RESPONSE);
        client.send_with(|out| {
            frontend::copy_data(out, b"2\ta\n12\tb\n");
            frontend::copy_fail(out, "changed my mind");
        });
    }
    let (ours, theirs) = (told(&both.sharded.until_ready()), told(&both.single.until_ready()));
    assert_eq!(ours.error, theirs.error);
    same_tables(&mut both);
}

#[test]
fn much_for_the_home_shard_is_held_back_in_parts() {
    let shop = Shop::small();
    let mut client = shop.client();
    must(&mut client, "ALTER TABLE customers ALTER COLUMN joined SET DEFAULT now()");
    let name = "x".repeat(20_000);
    let row = |id: i64| format!("{id}\t{name}\n");
    let data: String = (0..4000).map(|id| row(if id % 2 == 0 { -1000 - id } else { 1000 + id })).collect();
    let sql = "COPY customers (customer_id, name) FROM stdin";
    assert_eq!(copy_in_parts(&mut client, sql, data.as_bytes(), 100_000).brief(), "COPY 4000");
    story(&mut client, &[("SELECT count(*), count(joined), count(DISTINCT joined) FROM customers", "4004|4000|1")]);
    let data: String = (0..4000).map(|id| if id == 3999 { row(1) } else { row(-10_000 - id) }).collect();
    let again = copy_in_parts(&mut client, sql, data.as_bytes(), 100_000).error.unwrap();
    assert_eq!((again.sqlstate.as_str(), again.context.as_str()), ("23505", "COPY customers, line 4000"));
    story(&mut client, &[("SELECT count(*) FROM customers", "4004")]);
}
