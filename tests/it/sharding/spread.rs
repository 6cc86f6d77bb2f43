//! Writes of rows on several shards: all of them or none, with the words and the order of one PostgreSQL.

use super::answer::{arguments, ask, extended, story};
use super::shop::{HASH, RANGE, Shop, fill, must};
use crate::harness::{RawClient, endpoint_of, servers};
use weir::wire::backend::tag;
use weir::wire::frontend::{self, Target};

/// What a shard itself has.
fn count(shop: &Shop, shard: usize, sql: &str) -> String {
    ask(&mut shop.shard(shard).raw(), sql).brief()
}

#[test]
fn an_error_on_one_shard_undoes_all_and_is_told_in_its_own_words() {
    let shop = Shop::small();
    let mut client = shop.client();
    must(&mut client, "INSERT INTO orders (customer_id, order_id) VALUES (11, 1)");
    story(
        &mut client,
        &[
            ("INSERT INTO customers (customer_id, name) VALUES (3, 'c'), (13, 'd'), (12, 'taken')", "23505"),
            ("INSERT INTO customers (customer_id, name) VALUES (3, 'c'), (13, 'd'), (NULL, 'e')", "23502"),
            ("DELETE FROM customers", "23503"),
            ("UPDATE customers SET credit = 1 / (customer_id - 11)", "22012"),
            ("SELECT count(*), sum(credit) FROM customers", "4|28.0"),
        ],
    );
    let answer = ask(&mut client, "INSERT INTO customers (customer_id, name) VALUES (3, 'c'), (12, 'taken')");
    let error = answer.error.expect("an error");
    assert_eq!(error.message, "duplicate key value violates unique constraint \"customers_pkey\"");
    assert_eq!(error.detail, "Key (customer_id)=(12) already exists.");
    for shard in [0, 1] {
        assert_eq!(count(&shop, shard, "SELECT count(*) FROM customers"), "2");
        assert_eq!(
            count(&shop, shard, "SELECT count(*) FROM pg_prepared_xacts WHERE database = current_database()"),
            "0"
        );
    }
}

#[test]
fn a_block_has_them_until_it_ends() {
    let shop = Shop::small();
    let (mut client, mut other) = (shop.client(), shop.client());
    story(
        &mut client,
        &[
            ("BEGIN", "BEGIN"),
            ("INSERT INTO customers (customer_id, name) VALUES (3, 'c'), (13, 'd')", "INSERT 0 2"),
            ("SAVEPOINT a", "SAVEPOINT"),
            ("UPDATE customers SET name = name || '!'", "UPDATE 6"),
            ("INSERT INTO customers (customer_id, name) VALUES (4, 'e'), (13, 'taken'), (14, 'f')", "23505"),
            ("SELECT 1", "25P02"),
            ("ROLLBACK TO a", "ROLLBACK"),
            ("DELETE FROM customers WHERE customer_id IN (1, 11) RETURNING name", "Ada,Cid"),
        ],
    );
    assert_eq!(ask(&mut other, "SELECT count(*) FROM customers").brief(), "4");
    story(&mut client, &[("COMMIT", "COMMIT"), ("SELECT name FROM customers ORDER BY customer_id", "Ben,c,Dee,d")]);
    story(
        &mut client,
        &[
            ("BEGIN", "BEGIN"),
            ("UPDATE customers SET name = 'x'", "UPDATE 4"),
            ("ROLLBACK", "ROLLBACK"),
            ("SELECT count(*) FROM customers WHERE name = 'x'", "0"),
        ],
    );
}

#[test]
fn several_statements_of_one_query_are_one_transaction() {
    let shop = Shop::small();
    let mut client = shop.client();
    let both = "UPDATE customers SET name = 'x'; INSERT INTO customers (customer_id) VALUES (3), (13), (12)";
    let answers = super::answer::simple(&mut client, both);
    assert_eq!(answers.iter().map(|answer| answer.brief()).collect::<Vec<_>>(), ["UPDATE 4", "23505"]);
    assert_eq!(ask(&mut client, "SELECT count(*) FROM customers WHERE name = 'x'").brief(), "0");
}

/// Sends a statement as drivers do that ask for binary results.
fn in_binary(client: &mut RawClient, text: &str, types: &[u32], values: &[Option<&str>]) -> Vec<Vec<u8>> {
    client.send_with(|out| {
        frontend::parse(out, b"", &frontend::definition(text, types));
        frontend::describe(out, Target::Statement(b""));
        frontend::bind(out, b"", b"", &arguments(values, 1));
        frontend::execute(out, b"", 0);
        frontend::sync(out);
    });
    let messages = client.until_ready();
    let wanted = [tag::PARAMETER_DESCRIPTION, tag::DATA_ROW, tag::COMMAND_COMPLETE, tag::ERROR_RESPONSE];
    messages.into_iter().filter(|message| wanted.contains(&message.tag)).map(|message| message.body.to_vec()).collect()
}

#[test]
fn drivers_that_describe_and_want_binary_results_are_served() {
    let shop = Shop::small();
    let single = crate::harness::unique("spread");
    endpoint_of(&servers().reference, "postgres").execute(&format!("CREATE DATABASE {single}"));
    let mut single = endpoint_of(&servers().reference, &single).raw();
    fill(&mut single);
    let mut client = shop.client();
    for (text, types, values) in [
        (
            "INSERT INTO customers (customer_id, name, credit) VALUES ($1, $2, $3), ($4, $5, $6), ($7, $2, 4.5)
             RETURNING customer_id, credit, name",
            &[][..],
            &[Some("3"), Some("c"), Some("1.25"), Some("13"), None, None, Some("4")][..],
        ),
        (
            "INSERT INTO customers (customer_id) VALUES ($2), ($1), ($3)",
            &[20, 20, 20],
            &[Some("15"), Some("5"), Some("6")],
        ),
        ("UPDATE customers SET credit = credit + $1 WHERE customer_id <> $2", &[], &[Some("1"), Some("1")]),
        ("DELETE FROM customers WHERE name = $1", &[25], &[Some("c")]),
        ("DELETE FROM customers WHERE customer_id = ANY ($1) RETURNING customer_id", &[], &[Some("{5,15}")]),
    ] {
        let (ours, theirs) = (in_binary(&mut client, text, types, values), in_binary(&mut single, text, types, values));
        assert_eq!(ours, theirs, "{text}");
    }
}

#[test]
fn a_parameter_of_two_types_needs_a_declaration() {
    let shop = Shop::small();
    let mut client = shop.client();
    let text = "INSERT INTO customers (customer_id, name, email) VALUES (3, $1, 'c'), (13, 'd', $1)";
    let answer = extended(&mut client, text, &[Some("x")]);
    assert_eq!(answer.refusal().map(|refusal| refusal.message.as_str()), Some("the type of a parameter is not known"));
    assert_eq!(ask(&mut client, "SELECT count(*) FROM customers").brief(), "4");
    must(&mut client, "DELETE FROM customers WHERE customer_id IN (3, 13)");
}

#[test]
fn rows_come_back_in_the_order_of_the_input() {
    for map in [HASH, RANGE] {
        let shop = Shop::empty(map, &[]);
        let mut client = shop.client();
        fill(&mut client);
        let ids: Vec<i64> = (100..160).map(|id| if id % 3 == 0 { id } else { id - 150 }).collect();
        let rows: Vec<String> =
            ids.iter().map(|id| format!("({id}, '{}{id}')", if *id > 0 { 'a' } else { 'z' })).collect();
        let sql = format!("INSERT INTO visits (customer_id, token) VALUES {} RETURNING customer_id", rows.join(", "));
        let answer = ask(&mut client, &sql);
        assert_eq!(answer.command, "INSERT 0 60");
        let expected: Vec<String> = ids.iter().map(i64::to_string).collect();
        assert_eq!(answer.brief(), expected.join(","));
        for shard in [0, 1] {
            assert_ne!(count(&shop, shard, "SELECT count(*) FROM visits"), "0");
        }
    }
}

#[test]
fn a_large_result_flows() {
    let shop = Shop::small();
    let mut client = shop.client();
    for base in [0, 10] {
        let rows: Vec<String> = (2..6000).map(|id| format!("({}, {id}, '{}')", base + 1, "s".repeat(100))).collect();
        must(&mut client, &format!("INSERT INTO orders (customer_id, order_id, status) VALUES {}", rows.join(", ")));
    }
    let answer = ask(&mut client, "UPDATE orders SET status = status || 'x' RETURNING *");
    assert_eq!((answer.rows.len(), answer.command.as_str()), (11_996, "UPDATE 11996"));
}

#[test]
fn a_server_that_is_lost_meanwhile_leaves_nothing_behind() {
    let shop = Shop::small();
    let (mut client, mut blocker) = (shop.client(), shop.client());
    must(&mut blocker, "BEGIN");
    must(&mut blocker, "UPDATE customers SET name = 'held' WHERE customer_id = 11");
    client.send_with(|out| frontend::query(out, "UPDATE customers SET name = 'all'"));
    let mut shard = shop.shard(1).raw();
    let waiting = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let pid = loop {
        let pid = ask(&mut shard, waiting).brief();
        if !pid.is_empty() {
            break pid;
        }
    };
    must(&mut shard, &format!("SELECT pg_terminate_backend({pid})"));
    let messages = client.until_ready();
    let answers = super::answer::answers(&messages);
    assert!(answers[0].error.is_some(), "{answers:?}");
    must(&mut blocker, "ROLLBACK");
    assert_eq!(ask(&mut client, "SELECT count(*) FROM customers WHERE name = 'all'").brief(), "0");
    assert_eq!(ask(&mut client, "UPDATE customers SET name = 'all'").brief(), "UPDATE 4");
}

#[test]
fn a_default_that_is_one_moment_for_all_rows_is_not_made_several() {
    let shop = Shop::small();
    let mut client = shop.client();
    must(&mut client, "ALTER TABLE customers ALTER COLUMN joined SET DEFAULT now()");
    story(
        &mut client,
        &[
            ("INSERT INTO customers (customer_id, joined) VALUES (3, '2024-01-01'), (13, NULL)", "INSERT 0 2"),
            (
                "INSERT INTO customers (customer_id, joined) VALUES (3, NULL), (13, NULL)
                 ON CONFLICT (customer_id) DO UPDATE SET joined = DEFAULT",
                "0A000",
            ),
            ("UPDATE customers SET joined = DEFAULT", "0A000"),
            ("UPDATE customers SET joined = DEFAULT WHERE customer_id = 3", "UPDATE 1"),
            ("INSERT INTO customers (customer_id) VALUES (4), (5)", "INSERT 0 2"),
            ("SELECT count(*), count(joined) FROM customers", "8|3"),
        ],
    );
}
