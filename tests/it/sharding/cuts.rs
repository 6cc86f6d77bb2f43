//! REPEATABLE READ over several shards: one snapshot of all of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::answer::{ask, simple, story};
use super::shop::{RANGE, Shop, fill, must};
use crate::harness::RawClient;

const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ";
const NAMES: &str = "SELECT name FROM customers ORDER BY customer_id";
/// Over gathered rows.
const RANKED: &str = "SELECT name, rank() OVER (ORDER BY name DESC) FROM customers ORDER BY name LIMIT 1";

fn start() -> Shop {
    let shop = Shop::empty(RANGE, &["repeatable_read = \"all_shards\""]);
    fill(&mut shop.client());
    shop
}

#[test]
fn all_statements_see_all_shards_as_of_the_first() {
    let shop = start();
    let mut other = shop.client();
    must(&mut other, "CREATE SEQUENCE numbers");
    for begin in [
        vec![BEGIN],
        vec!["BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"],
        vec!["BEGIN", "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"],
        vec![BEGIN, "SELECT set_config('work_mem', '5MB', true)"],
        vec![BEGIN, "SELECT nextval('numbers')"],
        vec!["BEGIN", "SET LOCAL work_mem = '5MB'", "SET transaction_isolation = 'repeatable read'", "SAVEPOINT s"],
    ] {
        let mut client = shop.client();
        begin.iter().for_each(|sql| must(&mut client, sql));
        // The first statement is about one shard, and all are seen as of then.
        story(&mut client, &[("SELECT name FROM customers WHERE customer_id = 1", "Ada")]);
        must(&mut other, "UPDATE customers SET name = 'Zoe' WHERE customer_id IN (1, 11)");
        must(&mut other, "DELETE FROM customers WHERE customer_id = 12");
        story(&mut client, &[(NAMES, "Ada,Ben,Cid,Dee"), ("SELECT count(*) FROM customers", "4"), (RANKED, "Ada|4")]);
        story(&mut client, &[("COMMIT", "COMMIT"), (NAMES, "Zoe,Ben,Zoe")]);
        for sql in [
            "UPDATE customers SET name = 'Ada' WHERE customer_id = 1",
            "UPDATE customers SET name = 'Cid' WHERE customer_id = 11",
            "INSERT INTO customers (customer_id, name) VALUES (12, 'Dee')",
        ] {
            must(&mut other, sql);
        }
    }
}

#[test]
fn writes_meet_what_others_wrote_meanwhile() {
    let shop = start();
    let (mut client, mut other) = (shop.client(), shop.client());
    must(&mut client, BEGIN);
    story(&mut client, &[(NAMES, "Ada,Ben,Cid,Dee")]);
    must(&mut other, "UPDATE customers SET name = 'Zoe' WHERE customer_id = 11");
    must(&mut client, "UPDATE customers SET name = 'Una' WHERE customer_id = 1");
    assert_eq!(ask(&mut client, "UPDATE customers SET name = 'Una' WHERE customer_id = 11").sqlstate(), Some("40001"));
    story(&mut client, &[("ROLLBACK", "ROLLBACK"), (NAMES, "Ada,Ben,Zoe,Dee"), (BEGIN, "BEGIN")]);
    must(&mut client, "UPDATE customers SET name = 'Una' WHERE customer_id IN (1, 11)");
    story(&mut client, &[("COMMIT", "COMMIT"), (NAMES, "Una,Ben,Una,Dee")]);
}

#[test]
fn what_has_no_such_snapshot_is_refused() {
    let shop = start();
    let mut client = shop.client();
    must(&mut client, "BEGIN ISOLATION LEVEL SERIALIZABLE");
    story(&mut client, &[("SELECT name FROM customers WHERE customer_id = 1", "Ada"), (NAMES, "0A000")]);
    must(&mut client, "ROLLBACK");
    let plain = Shop::small();
    let mut client = plain.client();
    must(&mut client, BEGIN);
    story(&mut client, &[("SELECT name FROM customers WHERE customer_id = 1", "Ada"), (NAMES, "0A000")]);
}

/// A transaction that is committed on one of its two shards is waited for, and not for long.
#[test]
fn nothing_is_seen_by_half() {
    // Fault points exist in debug builds only.
    if !cfg!(debug_assertions) {
        return;
    }
    let shop = start();
    let write = |client: &mut RawClient, name: &str| {
        let sql = format!("UPDATE customers SET name = '{name}' WHERE customer_id IN (1, 11)");
        must(client, &sql);
    };
    let mut client = shop.client();
    shop.weir.stop_at("committed_one");
    let mut writer = shop.client();
    let writing = thread::spawn(move || write(&mut writer, "Zoe"));
    shop.weir.await_stop_at("committed_one");
    must(&mut client, BEGIN);
    let refused = ask(&mut client, NAMES).error.expect("one shard has committed");
    assert_eq!((refused.sqlstate.as_str(), refused.detail.contains("being committed")), ("40001", true), "{refused:?}");
    story(
        &mut client,
        &[("ROLLBACK", "ROLLBACK"), ("SELECT name FROM customers WHERE customer_id = 2", "Ben"), (BEGIN, "BEGIN")],
    );
    shop.weir.go_on_from("committed_one");
    story(&mut client, &[(NAMES, "Zoe,Ben,Zoe,Dee"), ("COMMIT", "COMMIT")]);
    writing.join().expect("the write succeeds");
}

/// What follows from a commit is never seen without it: the second shard's number is written when that of the first has been
/// acknowledged, by autocommit, in blocks, and in one query string.
#[test]
fn nothing_is_seen_without_its_cause() {
    let shop = start();
    must(&mut shop.client(), "UPDATE customers SET credit = 0");
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = [(1, 11, 0), (12, 2, 1), (13, 3, 2)]
        .map(|(cause, effect, way)| {
            let (mut client, stop) = (shop.client(), Arc::clone(&stop));
            must(
                &mut client,
                "INSERT INTO customers (customer_id, credit) VALUES (3, 0), (13, 0) ON CONFLICT DO NOTHING",
            );
            thread::spawn(move || {
                let mut number = 0;
                while !stop.load(Ordering::Relaxed) {
                    number += 1;
                    let [first, second] = [cause, effect]
                        .map(|id| format!("UPDATE customers SET credit = {number} WHERE customer_id = {id}"));
                    match way {
                        0 => [first, second].iter().for_each(|sql| must(&mut client, sql)),
                        1 => ["BEGIN", &first, "COMMIT", "BEGIN", &second, "COMMIT"]
                            .iter()
                            .for_each(|sql| must(&mut client, sql)),
                        _ => {
                            let answers =
                                simple(&mut client, &format!("BEGIN; {first}; COMMIT; BEGIN; {second}; COMMIT"));
                            assert!(answers.iter().all(|answer| answer.error.is_none()), "{answers:?}");
                        }
                    }
                }
            })
        })
        .into_iter()
        .collect();
    let mut client = shop.client();
    let mut looks = 0;
    let mut last = Vec::new();
    while writers.iter().all(|writer| !writer.is_finished()) && (looks < 300 || last.iter().any(|number| *number < 20))
    {
        must(&mut client, BEGIN);
        let answer = ask(&mut client, "SELECT customer_id, credit FROM customers WHERE credit IS NOT NULL");
        must(&mut client, "COMMIT");
        let credit = |id: &str| -> i64 {
            let row = answer.rows.iter().find(|row| row[0].as_deref() == Some(id)).expect("a row");
            row[1].as_deref().expect("a number").parse().expect("a number")
        };
        for (cause, effect) in [("1", "11"), ("12", "2"), ("13", "3")] {
            let (cause, effect) = (credit(cause), credit(effect));
            assert!((effect..=effect + 1).contains(&cause), "{effect} is seen, and {cause}, look {looks}");
        }
        last = ["11", "2", "3"].map(credit).to_vec();
        looks += 1;
    }
    stop.store(true, Ordering::Relaxed);
    writers.into_iter().for_each(|writer| writer.join().expect("the writes succeed"));
}
