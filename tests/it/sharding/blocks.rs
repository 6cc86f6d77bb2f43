//! Transaction blocks over two shards. Customers 1 and 2 live on the first, 11 and 12 on the second.

use super::answer::{ask, extended, simple, story};
use super::shop::{Shop, must};

const NAME_1: &str = "SELECT name FROM customers WHERE customer_id = 1";
const NAME_2: &str = "SELECT name FROM customers WHERE customer_id = 2";
const NAME_11: &str = "SELECT name FROM customers WHERE customer_id = 11";
const NAME_12: &str = "SELECT name FROM customers WHERE customer_id = 12";
const ALL: &str = "SELECT name FROM customers WHERE credit < 100 ORDER BY customer_id";
const RENAME_1: &str = "UPDATE customers SET name = 'Eva' WHERE customer_id = 1";
const RENAME_2: &str = "UPDATE customers SET name = 'Fay' WHERE customer_id = 2";
const RENAME_12: &str = "UPDATE customers SET name = 'Hal' WHERE customer_id = 12";
const RENAME_11: &str = "UPDATE customers SET name = 'Gus' WHERE customer_id = 11";

#[test]
fn a_block_reads_and_writes_several_shards() {
    let shop = Shop::small();
    let (mut client, mut other) = (shop.client(), shop.client());
    story(&mut client, &[("BEGIN", "BEGIN"), (NAME_11, "Cid"), (ALL, "Ada,Ben,Cid,Dee"), (RENAME_1, "UPDATE 1")]);
    story(&mut client, &[(RENAME_2, "UPDATE 1"), (RENAME_11, "UPDATE 1"), (ALL, "Eva,Fay,Gus,Dee")]);
    story(&mut other, &[(ALL, "Ada,Ben,Cid,Dee")]);
    story(&mut client, &[("COMMIT", "COMMIT"), (ALL, "Eva,Fay,Gus,Dee")]);
    story(&mut other, &[(ALL, "Eva,Fay,Gus,Dee")]);
}

#[test]
fn rollback_undoes_on_all_shards() {
    let shop = Shop::small();
    let mut client = shop.client();
    story(&mut client, &[("BEGIN", "BEGIN"), (NAME_1, "Ada"), (RENAME_11, "UPDATE 1"), (NAME_11, "Gus")]);
    story(&mut client, &[("ROLLBACK", "ROLLBACK"), (NAME_11, "Cid"), ("ROLLBACK", "ROLLBACK"), ("COMMIT", "COMMIT")]);
    story(&mut client, &[("BEGIN", "BEGIN"), ("BEGIN", "BEGIN"), ("ABORT", "ROLLBACK"), (ALL, "Ada,Ben,Cid,Dee")]);
}

#[test]
fn savepoints_hold_for_shards_that_joined_before_and_after() {
    let shop = Shop::small();
    let mut client = shop.client();
    story(&mut client, &[("BEGIN", "BEGIN"), (NAME_1, "Ada"), ("SAVEPOINT a", "SAVEPOINT"), (RENAME_11, "UPDATE 1")]);
    story(
        &mut client,
        &[("SAVEPOINT \"B c\"", "SAVEPOINT"), ("UPDATE customers SET name = 'Hal' WHERE customer_id = 12", "UPDATE 1")],
    );
    story(
        &mut client,
        &[("ROLLBACK TO \"B c\"", "ROLLBACK"), (ALL, "Ada,Ben,Gus,Dee"), ("RELEASE \"B c\"", "RELEASE")],
    );
    story(&mut client, &[("ROLLBACK TO SAVEPOINT a", "ROLLBACK"), (ALL, "Ada,Ben,Cid,Dee"), (RENAME_11, "UPDATE 1")]);
    story(
        &mut client,
        &[("ROLLBACK TO nowhere", "3B001"), (NAME_1, "25P02"), ("ROLLBACK TO a", "ROLLBACK"), (NAME_11, "Cid")],
    );
    story(
        &mut client,
        &[
            ("RELEASE SAVEPOINT a", "RELEASE"),
            ("RELEASE a", "3B001"),
            ("ROLLBACK", "ROLLBACK"),
            ("SAVEPOINT a", "25P01"),
        ],
    );
}

/// Where its rows are is not known any more, however short the way to a shard is otherwise.
#[test]
fn a_table_whose_columns_changed_is_not_asked_by_its_key_in_the_block() {
    let shop = Shop::small();
    let mut client = shop.client();
    let rename = "ALTER TABLE customers RENAME name TO called";
    let by_key = "SELECT customer_id FROM customers WHERE customer_id = $1";
    story(&mut client, &[("BEGIN", "BEGIN"), (NAME_11, "Cid"), (rename, "ALTER TABLE"), (NAME_11, "0A000")]);
    story(&mut client, &[("ROLLBACK", "ROLLBACK"), ("BEGIN", "BEGIN"), (rename, "ALTER TABLE")]);
    assert_eq!(extended(&mut client, by_key, &[Some("11")]).brief(), "0A000");
    story(&mut client, &[("ROLLBACK", "ROLLBACK"), (NAME_11, "Cid")]);
    assert_eq!(extended(&mut client, by_key, &[Some("11")]).brief(), "11");
}

/// What was written after a savepoint and undone is undone on every shard.
#[test]
fn a_savepoint_undoes_writes_on_all_shards() {
    let shop = Shop::small();
    let mut client = shop.client();
    story(
        &mut client,
        &[("BEGIN", "BEGIN"), (RENAME_2, "UPDATE 1"), ("SAVEPOINT a", "SAVEPOINT"), (RENAME_1, "UPDATE 1")],
    );
    story(
        &mut client,
        &[
            (RENAME_11, "UPDATE 1"),
            ("SELECT 1/0", "22012"),
            (RENAME_11, "25P02"),
            ("ROLLBACK TO a", "ROLLBACK"),
            (ALL, "Ada,Fay,Cid,Dee"),
            ("COMMIT", "COMMIT"),
        ],
    );
    story(&mut client, &[(ALL, "Ada,Fay,Cid,Dee")]);
}

#[test]
fn an_error_on_one_shard_fails_the_block_on_all() {
    let shop = Shop::small();
    let mut client = shop.client();
    let failing = "SELECT 1 / (customer_id - 11) FROM customers WHERE customer_id = 11";
    let fan = "SELECT customer_id FROM customers WHERE 1 / (customer_id - 11) = 7";
    for error in [failing, fan] {
        story(
            &mut client,
            &[("BEGIN", "BEGIN"), (RENAME_1, "UPDATE 1"), ("SAVEPOINT s", "SAVEPOINT"), (error, "22012")],
        );
        story(&mut client, &[(NAME_1, "25P02"), (NAME_12, "25P02"), (ALL, "25P02"), ("ROLLBACK TO s", "ROLLBACK")]);
        story(
            &mut client,
            &[(NAME_1, "Eva"), (NAME_12, "Dee"), (error, "22012"), ("COMMIT", "ROLLBACK"), (NAME_1, "Ada")],
        );
    }
}

#[test]
fn an_error_outside_of_a_block_leaves_nothing_behind() {
    let shop = Shop::small();
    let mut client = shop.client();
    let fan = "SELECT customer_id FROM customers WHERE 1 / (customer_id - 11) = 7";
    for _ in 0..3 {
        story(&mut client, &[(fan, "22012"), (ALL, "Ada,Ben,Cid,Dee"), (NAME_11, "Cid")]);
    }
}

#[test]
fn a_constraint_that_fails_at_commit_rolls_back() {
    let shop = Shop::small();
    let mut client = shop.client();
    must(
        &mut client,
        "ALTER TABLE orders ADD CONSTRAINT late FOREIGN KEY (customer_id) REFERENCES customers
        DEFERRABLE INITIALLY DEFERRED",
    );
    must(&mut client, "ALTER TABLE orders DROP CONSTRAINT orders_customer_id_fkey");
    story(&mut client, &[("BEGIN", "BEGIN"), (NAME_1, "Ada"), ("INSERT INTO orders VALUES (17, 1)", "INSERT 0 1")]);
    story(&mut client, &[("COMMIT", "23503"), ("SELECT count(*) FROM orders", "0"), (NAME_1, "Ada")]);
    story(
        &mut client,
        &[
            ("BEGIN", "BEGIN"),
            ("INSERT INTO orders VALUES (17, 1)", "INSERT 0 1"),
            ("SET CONSTRAINTS ALL IMMEDIATE", "23503"),
        ],
    );
    story(&mut client, &[(NAME_1, "25P02"), ("END", "ROLLBACK"), ("SELECT count(*) FROM orders", "0")]);
}

#[test]
fn one_snapshot_does_not_span_shards() {
    let shop = Shop::small();
    let mut client = shop.client();
    let openings: [&[&str]; 5] = [
        &["BEGIN ISOLATION LEVEL REPEATABLE READ"],
        &["START TRANSACTION ISOLATION LEVEL SERIALIZABLE"],
        &["BEGIN", "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"],
        &["BEGIN", "SET transaction_isolation = 'serializable'"],
        &["BEGIN", "SET LOCAL transaction_isolation TO 'repeatable read'"],
    ];
    for opening in openings {
        opening.iter().for_each(|sql| must(&mut client, sql));
        story(
            &mut client,
            &[(NAME_1, "Ada"), (NAME_2, "Ben"), (NAME_11, "0A000"), (NAME_1, "25P02"), ("ROLLBACK", "ROLLBACK")],
        );
        opening.iter().for_each(|sql| must(&mut client, sql));
        story(&mut client, &[(ALL, "0A000"), ("ROLLBACK", "ROLLBACK")]);
    }
    story(
        &mut client,
        &[("BEGIN ISOLATION LEVEL READ COMMITTED", "BEGIN"), (ALL, "Ada,Ben,Cid,Dee"), ("COMMIT", "COMMIT")],
    );
}

#[test]
fn settings_follow_to_every_shard() {
    let shop = Shop::small();
    let mut client = shop.client();
    // A server shows its setting by what it makes of a timestamp.
    let home = "SELECT current_setting('timezone')";
    let shown = |id: i32| format!("SELECT name || current_setting('timezone') FROM customers WHERE customer_id = {id}");
    let (one, two) = (shown(1), shown(11));
    story(
        &mut client,
        &[
            ("SET timezone = 'Asia/Tokyo'", "SET"),
            (home, "Asia/Tokyo"),
            (&one, "AdaAsia/Tokyo"),
            (&two, "CidAsia/Tokyo"),
        ],
    );
    story(&mut client, &[("BEGIN", "BEGIN"), (&one, "AdaAsia/Tokyo"), ("SET LOCAL timezone = 'Europe/Paris'", "SET")]);
    story(
        &mut client,
        &[
            (&one, "AdaEurope/Paris"),
            (&two, "CidEurope/Paris"),
            ("COMMIT", "COMMIT"),
            (&two, "CidAsia/Tokyo"),
            (&one, "AdaAsia/Tokyo"),
        ],
    );
    story(
        &mut client,
        &[
            ("BEGIN", "BEGIN"),
            (&one, "AdaAsia/Tokyo"),
            ("SET timezone = 'Asia/Kolkata'", "SET"),
            (&two, "CidAsia/Kolkata"),
        ],
    );
    story(&mut client, &[("ROLLBACK", "ROLLBACK"), (&one, "AdaAsia/Tokyo"), (&two, "CidAsia/Tokyo")]);
    story(
        &mut client,
        &[
            ("BEGIN", "BEGIN"),
            ("SET timezone = 'Asia/Kolkata'", "SET"),
            (&two, "CidAsia/Kolkata"),
            ("COMMIT", "COMMIT"),
        ],
    );
    story(&mut client, &[(&one, "AdaAsia/Kolkata"), (&two, "CidAsia/Kolkata"), (home, "Asia/Kolkata")]);
    story(
        &mut client,
        &[("BEGIN", "BEGIN"), ("SAVEPOINT s", "SAVEPOINT"), ("SET timezone = 'UTC'", "SET"), (&one, "AdaUTC")],
    );
    story(
        &mut client,
        &[("ROLLBACK TO s", "ROLLBACK"), (&one, "AdaAsia/Kolkata"), (&two, "CidAsia/Kolkata"), ("COMMIT", "COMMIT")],
    );
    let default = ask(&mut shop.client(), home).brief();
    let (one_default, two_default) = (format!("Ada{default}"), format!("Cid{default}"));
    story(
        &mut client,
        &[("RESET timezone", "RESET"), (&one, &one_default), (&two, &two_default), ("SET nosuch = 1", "42704")],
    );
    story(
        &mut client,
        &[("SET timezone = 'UTC'", "SET"), ("DISCARD ALL", "DISCARD ALL"), (&one, &one_default), (&two, &two_default)],
    );
    story(&mut shop.client(), &[(&one, &one_default), (&two, &two_default)]);
}

#[test]
fn several_statements_in_one_query() {
    let shop = Shop::small();
    let mut client = shop.client();
    let mut all = |text: &str| simple(&mut client, text).iter().map(|answer| answer.brief()).collect::<Vec<_>>();
    assert_eq!(all(&format!("{NAME_1}; {NAME_11}; {ALL}")), ["Ada", "Cid", "Ada,Ben,Cid,Dee"]);
    assert_eq!(
        all(&format!("BEGIN; {RENAME_1}; {NAME_11}; COMMIT; {NAME_1}")),
        ["BEGIN", "UPDATE 1", "Cid", "COMMIT", "Eva"]
    );
    assert_eq!(all(&format!("{NAME_11}; SELECT 1/0; {NAME_1}")), ["Cid", "22012"]);
    assert_eq!(all(&format!("{RENAME_11}; {NAME_1}; SELECT 1/0")), ["UPDATE 1", "Eva", "22012"]);
    assert_eq!(all(&format!("{RENAME_12}; SELECT 1/0 FROM customers WHERE customer_id = 1")), ["UPDATE 1", "22012"]);
    assert_eq!(all(ALL), ["Eva,Ben,Cid,Dee"]);
    assert_eq!(all(&format!("{RENAME_11}; {RENAME_2}; {ALL}")), ["UPDATE 1", "UPDATE 1", "Eva,Fay,Gus,Dee"]);
    assert_eq!(all("CREATE INDEX ON customers (born); SELECT 1"), ["0A000"]);
    assert_eq!(all(&format!("BEGIN; {NAME_1}; COMMIT; {RENAME_11}; {RENAME_1}")), ["0A000"]);
    assert_eq!(all(&format!("{RENAME_11}; SELECT 1/0 FROM customers WHERE customer_id = 11")), ["UPDATE 1", "22012"]);
    assert_eq!(all(ALL), ["Eva,Fay,Gus,Dee"]);
    assert_eq!(all(&format!("BEGIN; {RENAME_1}; SELECT 1/0; {NAME_1}")), ["BEGIN", "UPDATE 1", "22012"]);
    assert_eq!(all(NAME_11), ["25P02"]);
    assert_eq!(all("ROLLBACK; "), ["ROLLBACK"]);
    assert_eq!(all(&format!("{NAME_1};;{NAME_11};")), ["Eva", "Gus"]);
}

#[test]
fn blocks_through_the_extended_protocol() {
    let shop = Shop::small();
    let mut client = shop.client();
    let mut run = |sql: &str, values: &[Option<&str>]| extended(&mut client, sql, values).brief();
    let rename = "UPDATE customers SET name = $2 WHERE customer_id = $1";
    assert_eq!(run("BEGIN", &[]), "BEGIN");
    assert_eq!(run(rename, &[Some("1"), Some("Ina")]), "UPDATE 1");
    assert_eq!(run("SELECT name FROM customers WHERE customer_id = $1", &[Some("11")]), "Cid");
    assert_eq!(run("SELECT customer_id FROM customers WHERE name = $1 AND customer_id < 50", &[Some("Ina")]), "1");
    assert_eq!(run(rename, &[Some("11"), Some("Joe")]), "UPDATE 1");
    assert_eq!(run("COMMIT", &[]), "COMMIT");
    assert_eq!(run(ALL, &[]), "Ina,Ben,Joe,Dee");
}

#[test]
fn rows_of_several_shards_are_locked_until_the_block_ends() {
    let shop = Shop::small();
    let (mut client, mut other) = (shop.client(), shop.client());
    let lock = "SELECT name FROM customers WHERE customer_id IN (1, 11) ORDER BY customer_id FOR UPDATE";
    story(&mut client, &[("BEGIN", "BEGIN"), (lock, "Ada,Cid")]);
    for id in [1, 11] {
        let nowait = format!("SELECT name FROM customers WHERE customer_id = {id} FOR UPDATE NOWAIT");
        assert_eq!(ask(&mut other, &nowait).sqlstate(), Some("55P03"), "{id}");
    }
    let skip = "SELECT name FROM customers ORDER BY customer_id FOR UPDATE SKIP LOCKED";
    story(&mut other, &[(&format!("{lock} NOWAIT"), "55P03"), (skip, "Ben,Dee")]);
    story(
        &mut client,
        &[("UPDATE customers SET name = name || '!' WHERE customer_id = 11", "UPDATE 1"), ("COMMIT", "COMMIT")],
    );
    story(&mut other, &[(&format!("{lock} NOWAIT"), "Ada,Cid!")]);
}
