//! Transactions that wrote several shards: on all of them or on none, whoever dies meanwhile.

use std::time::Duration;

use weir::wire::frontend;

use super::answer::{answer, ask, story};
use super::shop::{RANGE, Shop, database, fill, must};
use crate::harness::{RawClient, Setup, Shard, Weir, endpoint_of, servers, unique};

const NAMES: &str = "SELECT name FROM customers WHERE customer_id IN (1, 11) ORDER BY customer_id";
const RENAME_1: &str = "UPDATE customers SET name = 'Eva' WHERE customer_id = 1";
const RENAME_11: &str = "UPDATE customers SET name = 'Gus' WHERE customer_id = 11";

/// How long what others finish may take.
const PATIENCE: Duration = Duration::from_secs(30);

const PREPARED: &str = "SELECT count(*) FROM pg_prepared_xacts WHERE database = current_database()";

/// Waits until no transaction is in doubt and no part of one is left on a shard.
fn await_rest(shop: &Shop) {
    shop.weir.endpoint("weir").await_value("SHOW TWO_PHASE", "", PATIENCE);
    for index in 0..2 {
        assert_eq!(shop.shard(index).value(PREPARED), "0");
    }
}

/// Opens a block that has written both shards.
fn write_both(client: &mut RawClient) {
    story(client, &[("BEGIN", "BEGIN"), (RENAME_1, "UPDATE 1"), (RENAME_11, "UPDATE 1")]);
}

fn send(client: &mut RawClient, sql: &str) {
    client.send_with(|out| frontend::query(out, sql));
}

/// A constraint that a shard checks at the end only fails the transaction on both.
#[test]
fn a_shard_that_cannot_commit_undoes_the_other() {
    let shop = Shop::small();
    let mut client = shop.client();
    must(
        &mut client,
        "ALTER TABLE orders ADD CONSTRAINT late FOREIGN KEY (customer_id) REFERENCES customers
        DEFERRABLE INITIALLY DEFERRED",
    );
    must(&mut client, "ALTER TABLE orders DROP CONSTRAINT orders_customer_id_fkey");
    for (fine, failing) in [(11, 5), (1, 15)] {
        let fine = format!("INSERT INTO orders VALUES ({fine}, 1)");
        let failing = format!("INSERT INTO orders VALUES ({failing}, 1)");
        story(&mut client, &[("BEGIN", "BEGIN"), (&fine, "INSERT 0 1"), (&failing, "INSERT 0 1")]);
        story(&mut client, &[("COMMIT", "23503"), ("SELECT count(*) FROM orders", "0"), ("SELECT 1", "1")]);
    }
    await_rest(&shop);
}

/// What PREPARE TRANSACTION refuses is an error with the server's own words, and undone everywhere.
#[test]
fn what_cannot_be_prepared_is_undone() {
    let shop = Shop::small();
    let mut client = shop.client();
    write_both(&mut client);
    story(&mut client, &[("NOTIFY told", "NOTIFY"), ("COMMIT", "0A000"), (NAMES, "Ada,Cid")]);
    await_rest(&shop);
    // Who wrote one shard only commits as ever.
    story(&mut client, &[("BEGIN", "BEGIN"), (RENAME_11, "UPDATE 1"), ("NOTIFY told", "NOTIFY"), ("COMMIT", "COMMIT")]);
    story(&mut client, &[(NAMES, "Ada,Gus")]);
}

#[test]
fn two_phase_off_keeps_a_transaction_to_one_shard() {
    let mut shop = Shop::small();
    let [one, two] = &servers().shop;
    let off = database(RANGE, [one, two], &shop.dbname).option("two_phase = \"off\"");
    shop.weir = Weir::start(&Setup::new().weir("admin_users = [\"weir\"]").database(off));
    let mut client = shop.client();
    story(&mut client, &[("BEGIN", "BEGIN"), (RENAME_1, "UPDATE 1"), (RENAME_11, "0A000"), (NAMES, "25P02")]);
    story(&mut client, &[("COMMIT", "ROLLBACK"), (NAMES, "Ada,Cid"), (RENAME_11, "UPDATE 1"), (NAMES, "Ada,Gus")]);
    let refusal = ask(&mut client, "UPDATE products SET name = 'x'");
    assert_eq!(refusal.sqlstate(), Some("0A000"), "{refusal:?}");
}

/// A server that prepares nothing: no second shard is written, or nothing at all if the configuration says so.
#[test]
fn a_server_that_cannot_prepare_is_found_out_before_the_commit() {
    let name = unique("shop");
    let mut shards = [Shard::start("plain"), Shard::start("plain")];
    shards.iter().for_each(|shard| shard.create_database(&name));
    let weir = Weir::start(&Setup::new().database(database(RANGE, [&shards[0], &shards[1]], &name)));
    fill(&mut weir.endpoint("shop").raw());
    // Its replica would not start with less than its primary has.
    shards[1].replica.stop().expect("it stops");
    endpoint_of(&shards[1].primary, "postgres").execute("ALTER SYSTEM SET max_prepared_transactions = 0");
    shards[1].primary.start().expect("it starts again");
    for (mode, one_write) in [("auto", "UPDATE 1"), ("required", "0A000")] {
        let declared = database(RANGE, [&shards[0], &shards[1]], &name).option(&format!("two_phase = \"{mode}\""));
        let weir = Weir::start(&Setup::new().database(declared));
        let mut client = weir.endpoint("shop").raw();
        story(
            &mut client,
            &[
                (RENAME_1, one_write),
                (RENAME_11, one_write),
                (NAMES, if mode == "auto" { "Eva,Gus" } else { "Ada,Cid" }),
            ],
        );
        story(&mut client, &[("UPDATE customers SET name = 'Ada' WHERE customer_id = 1", one_write)]);
        story(&mut client, &[("UPDATE customers SET name = 'Cid' WHERE customer_id = 11", one_write)]);
        if mode == "auto" {
            story(
                &mut client,
                &[("BEGIN", "BEGIN"), (RENAME_1, "UPDATE 1"), (RENAME_11, "0A000"), ("ROLLBACK", "ROLLBACK")],
            );
        }
        story(&mut client, &[("UPDATE customers SET name = 'x'", "0A000"), (NAMES, "Ada,Cid")]);
    }
}

/// The points of a two-phase commit at which it can be stopped; whether it is decided there.
const POINTS: &[(&str, bool)] = &[("begun", false), ("prepared", false), ("decided", true), ("committed_one", true)];

/// Weir is killed at every point of a commit: what it had decided is completed by the next Weir, what not is undone.
#[test]
fn a_weir_that_is_killed_leaves_nothing_in_doubt() {
    let mut shop = Shop::small();
    for (point, decided) in POINTS {
        let mut client = shop.client();
        must(&mut client, "UPDATE customers SET name = 'Ada' WHERE customer_id = 1");
        must(&mut client, "UPDATE customers SET name = 'Cid' WHERE customer_id = 11");
        write_both(&mut client);
        shop.weir.stop_at(point);
        send(&mut client, "COMMIT");
        shop.weir.await_stop_at(point);
        shop.weir.signal(libc::SIGKILL);
        shop.weir.go_on_from(point);
        shop.restart();
        await_rest(&shop);
        story(&mut shop.client(), &[(NAMES, if *decided { "Eva,Gus" } else { "Ada,Cid" })]);
    }
}

/// A shard's server dies at every point of a commit and comes back: the client is told what became of its transaction.
#[test]
fn a_server_that_dies_during_a_commit_catches_up() {
    let name = unique("shop");
    let mut shards = [Shard::start("fragile"), Shard::start("fragile")];
    shards.iter().for_each(|shard| shard.create_database(&name));
    let setup =
        Setup::new().weir("admin_users = [\"weir\"]").database(database(RANGE, [&shards[0], &shards[1]], &name));
    let weir = Weir::start(&setup);
    let endpoint = weir.endpoint("shop");
    fill(&mut endpoint.raw());
    for (round, (point, decided)) in POINTS.iter().enumerate() {
        let dying = round % 2;
        must(&mut endpoint.raw(), "UPDATE customers SET name = 'Ada' WHERE customer_id = 1");
        must(&mut endpoint.raw(), "UPDATE customers SET name = 'Cid' WHERE customer_id = 11");
        let mut client = endpoint.raw();
        write_both(&mut client);
        weir.stop_at(point);
        send(&mut client, "COMMIT");
        weir.await_stop_at(point);
        shards[dying].primary.kill();
        weir.go_on_from(point);
        let told = answer(&mut client);
        // Before the decision a prepared shard can still commit: only a server that had not prepared undoes the other.
        let committed = *decided || *point == "prepared";
        assert_eq!(told.error.is_none(), committed, "{point}: {told:?}");
        shards[dying].primary.start().expect("it starts again");
        weir.endpoint("weir").await_value("SHOW TWO_PHASE", "", PATIENCE);
        for shard in &shards {
            assert_eq!(endpoint_of(&shard.primary, &name).value(PREPARED), "0");
        }
        let names = endpoint.value(NAMES).replace('\n', ",");
        assert_eq!(names, if committed { "Eva,Gus" } else { "Ada,Cid" }, "{point}");
    }
}

/// Two transactions that wait for each other on different shards: the younger one is ended, in PostgreSQL's words.
#[test]
fn a_deadlock_over_shards_ends_with_one_victim() {
    let shop = Shop::small();
    let (mut older, mut younger) = (shop.client(), shop.client());
    let again = "UPDATE customers SET credit = 7 WHERE customer_id = 11";
    for _ in 0..2 {
        story(&mut older, &[("BEGIN", "BEGIN"), (RENAME_1, "UPDATE 1")]);
        story(&mut younger, &[("BEGIN", "BEGIN"), (RENAME_11, "UPDATE 1"), ("SAVEPOINT s", "SAVEPOINT")]);
        send(&mut older, again);
        await_waiters(&shop, 1);
        send(&mut younger, RENAME_1);
        let told = answer(&mut younger).error.expect("it is the victim");
        assert_eq!((told.sqlstate.as_str(), told.message.as_str()), ("40P01", "deadlock detected"));
        assert!(told.detail.contains("On shard \"one\" process"), "{told:?}");
        assert!(told.detail.contains("On shard \"two\" process"), "{told:?}");
        // As in PostgreSQL, a savepoint brings the victim back, and what it holds from before stays locked.
        story(&mut younger, &[(NAMES, "25P02"), ("ROLLBACK TO s", "ROLLBACK"), ("SELECT 1", "1")]);
        story(&mut younger, &[("ROLLBACK", "ROLLBACK")]);
        assert_eq!(answer(&mut older).brief(), "UPDATE 1");
        story(&mut older, &[("COMMIT", "COMMIT")]);
    }
    await_rest(&shop);
}

/// The same where the victim's statement is for all shards, so that Weir asks its servers itself.
#[test]
fn a_statement_for_all_shards_can_be_the_victim() {
    let shop = Shop::small();
    let (mut older, mut younger) = (shop.client(), shop.client());
    story(&mut older, &[("BEGIN", "BEGIN"), ("UPDATE products SET name = 'x'", "UPDATE 1")]);
    story(&mut younger, &[("BEGIN", "BEGIN"), (RENAME_11, "UPDATE 1")]);
    send(&mut older, RENAME_11);
    await_waiters(&shop, 1);
    send(&mut younger, "UPDATE products SET name = 'y'");
    assert_eq!(answer(&mut younger).sqlstate(), Some("40P01"));
    story(&mut younger, &[(NAMES, "25P02"), ("COMMIT", "ROLLBACK")]);
    assert_eq!(answer(&mut older).brief(), "UPDATE 1");
    story(&mut older, &[("COMMIT", "COMMIT"), ("SELECT name FROM products", "x"), (NAMES, "Ada,Gus")]);
    await_rest(&shop);
}

/// Waits until so many processes of the second shard wait for a lock.
fn await_waiters(shop: &Shop, count: usize) {
    let waiting = "SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted AND pid IN
        (SELECT pid FROM pg_stat_activity WHERE datname = current_database())";
    shop.shard(1).await_value(waiting, &count.to_string(), PATIENCE);
}
