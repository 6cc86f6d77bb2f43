//! Statements over gathered rows: what a transaction sees, limits, what stays behind, and what is lost on the way.

use std::thread;
use std::time::Duration;

use weir::wire::{frontend, startup};

use super::answer::{Answer, answer, ask, extended, simple, story};
use super::shop::{RANGE, Shop, fill, must};
use crate::harness::{RawClient, Setup};

/// A statement that only one PostgreSQL can answer, over all rows.
const NAMES: &str = "SELECT string_agg(name, ',' ORDER BY name) FROM customers";

/// One that holds its server up.
const SLEEP: &str = "SELECT count(DISTINCT name) FROM customers, pg_sleep(100)";

/// Its backend on the server that gathers.
const SLEEPING: &str = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND wait_event = 'PgSleep'
    AND datname = current_database()";

const AT_ONCE: Duration = Duration::from_secs(10);

/// A small shop with these lines in `[pool]`.
fn shop(pool: &[&str]) -> Shop {
    let setup = Setup::new().weir("admin_users = [\"weir\"]");
    let setup = pool.iter().fold(setup, |setup, line| setup.pool(line));
    let shop = Shop::with(setup, RANGE, &[]);
    fill(&mut shop.client());
    shop
}

#[test]
fn a_transaction_sees_its_own_rows_and_nobody_elses() {
    let shop = shop(&[]);
    let (mut client, mut other) = (shop.client(), shop.client());
    story(
        &mut client,
        &[
            (NAMES, "Ada,Ben,Cid,Dee"),
            ("BEGIN", "BEGIN"),
            ("INSERT INTO customers (customer_id, name) VALUES (3, 'Eve')", "INSERT 0 1"),
            ("SAVEPOINT s", "SAVEPOINT"),
            ("UPDATE customers SET name = 'Zoe' WHERE customer_id = 11", "UPDATE 1"),
            (NAMES, "Ada,Ben,Dee,Eve,Zoe"),
        ],
    );
    story(&mut other, &[(NAMES, "Ada,Ben,Cid,Dee")]);
    story(
        &mut client,
        &[
            ("ROLLBACK TO s", "ROLLBACK"),
            (NAMES, "Ada,Ben,Cid,Dee,Eve"),
            ("SELECT DISTINCT 1 / length(name) FROM customers", "0"),
            ("SELECT 1 / count(DISTINCT nosuch) FROM customers", "42703"),
            (NAMES, "25P02"),
            ("ROLLBACK TO s", "ROLLBACK"),
            (NAMES, "Ada,Ben,Cid,Dee,Eve"),
            ("SELECT 1 / (count(DISTINCT name) - 5) FROM customers", "22012"),
            ("COMMIT", "ROLLBACK"),
            (NAMES, "Ada,Ben,Cid,Dee"),
            ("BEGIN READ ONLY", "BEGIN"),
            (NAMES, "Ada,Ben,Cid,Dee"),
            ("COMMIT", "COMMIT"),
            ("SET default_transaction_read_only = on", "SET"),
            (NAMES, "Ada,Ben,Cid,Dee"),
        ],
    );
    // The row is of that transaction, whose time is not that of the gathering.
    let mut client = shop.client();
    must(&mut client, "BEGIN");
    let refused = ask(&mut client, "SELECT now(), rank() OVER (ORDER BY name) FROM customers");
    assert!(refused.refusal().is_some_and(|refusal| refusal.detail.contains("now()")), "{refused:?}");
    must(&mut client, "ROLLBACK");
    let mut several = simple(&mut client, &format!("SELECT 1; {NAMES}; SELECT 1 / 0; {NAMES}"));
    assert_eq!(several.pop().unwrap().sqlstate(), Some("22012"));
    assert_eq!(several.iter().map(Answer::brief).collect::<Vec<_>>(), ["1", "Ada,Ben,Cid,Dee"]);
}

#[test]
fn settings_follow_the_client_and_stay_with_it() {
    let shop = shop(&["gather_pool_size = 1"]);
    let zone = "SELECT DISTINCT current_setting('TimeZone') || length(max(name)) FROM customers";
    let custom = "SELECT DISTINCT current_setting('shop.x', true) || length(max(name)) FROM customers";
    let (mut client, mut other) = (shop.client(), shop.client());
    let usual = ask(&mut other, zone).brief();
    story(
        &mut client,
        &[
            ("SET TimeZone = 'Asia/Tokyo'", "SET"),
            (zone, "Asia/Tokyo3"),
            ("BEGIN", "BEGIN"),
            ("SET LOCAL TimeZone = 'Asia/Kathmandu'", "SET"),
            ("SET shop.x = 'own'", "SET"),
            (zone, "Asia/Kathmandu3"),
            (custom, "own3"),
            ("SAVEPOINT s", "SAVEPOINT"),
            ("SET LOCAL TimeZone = 'UTC'", "SET"),
            (zone, "UTC3"),
            ("ROLLBACK TO s", "ROLLBACK"),
            (zone, "Asia/Kathmandu3"),
            ("COMMIT", "COMMIT"),
            (zone, "Asia/Tokyo3"),
            (custom, "own3"),
        ],
    );
    story(&mut other, &[(zone, &usual), (custom, "NULL"), ("SET temp_buffers = '2MB'", "SET"), (zone, &usual)]);
    story(&mut client, &[(zone, "Asia/Tokyo3")]);
}

#[test]
fn what_is_asked_again_leaves_nothing_in_the_catalogs() {
    let shop = shop(&["gather_pool_size = 1"]);
    let mut client = shop.client();
    let home = shop.shard(0);
    let kept = "SELECT count(*) FROM pg_class WHERE relname LIKE 'weir\\_%' AND relkind = 'r'";
    let rows = "SELECT max(oid::int8) FROM pg_class";
    let statements = [
        NAMES,
        "SELECT count(*) FROM customers a JOIN customers b ON a.name < b.name",
        "SELECT array_agg(customer_id ORDER BY name) FROM customers c",
    ];
    statements.iter().for_each(|sql| must(&mut client, sql));
    let (tables, newest) = (home.value(kept), home.value(rows));
    assert_eq!(tables, "2");
    for _ in 0..50 {
        statements.iter().for_each(|sql| must(&mut client, sql));
    }
    assert_eq!((home.value(kept), home.value(rows)), (tables, newest));
    // Empty again, and the transaction is over.
    home.await_value(
        "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in%' AND datname = current_database()",
        "0",
        AT_ONCE,
    );
    // Too many are not kept.
    for column in 0..20 {
        must(&mut client, &format!("ALTER TABLE customers ADD COLUMN more{column} int"));
        must(&mut client, &format!("SELECT array_agg(more{column}), string_agg(name, '') FROM customers"));
        must(&mut client, &format!("SELECT DISTINCT more{column} FROM customers, orders, lines"));
    }
    let kept: usize = home.value(kept).parse().unwrap();
    assert!((1..=64).contains(&kept), "{kept}");
    story(&mut client, &[(NAMES, "Ada,Ben,Cid,Dee")]);
}

#[test]
fn limits_are_errors_that_say_which() {
    let shop = shop(&["gather_rows = 4", "gather_bytes = \"200B\"", "gather_pool_size = 1"]);
    let mut client = shop.client();
    story(&mut client, &[(NAMES, "Ada,Ben,Cid,Dee")]);
    must(&mut client, "INSERT INTO customers (customer_id, name) VALUES (3, 'Eve')");
    for (sql, limit) in [
        (NAMES, "more than 4 rows"),
        ("SELECT * FROM (SELECT * FROM customers WHERE customer_id < 99) c", "rows of more than 200 bytes"),
    ] {
        let error = ask(&mut client, sql).error.unwrap();
        assert_eq!(error.sqlstate, "53400", "{error:?}");
        assert!(error.detail.contains(limit) && error.hint.contains("raise gather_"), "{error:?}");
    }
    must(&mut client, "DELETE FROM customers WHERE customer_id = 3");
    story(&mut client, &[(NAMES, "Ada,Ben,Cid,Dee"), ("BEGIN", "BEGIN"), (NAMES, "Ada,Ben,Cid,Dee")]);
}

/// A block holds the only server of each shard, and gathers all the same.
#[test]
fn small_pools_do_not_lock_each_other_out() {
    let shop = shop(&["default_pool_size = 1", "gather_pool_size = 1", "query_wait_timeout = \"20s\""]);
    let mut holder = shop.client();
    story(&mut holder, &[("BEGIN", "BEGIN"), ("SELECT count(*) FROM customers", "4"), (NAMES, "Ada,Ben,Cid,Dee")]);
    thread::scope(|scope| {
        let others: Vec<_> = (0..6)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = shop.client();
                    (0..20).for_each(|_| story(&mut client, &[(NAMES, "Ada,Ben,Cid,Dee")]));
                })
            })
            .collect();
        (0..20).for_each(|_| story(&mut holder, &[(NAMES, "Ada,Ben,Cid,Dee")]));
        story(&mut holder, &[("COMMIT", "COMMIT")]);
        others.into_iter().for_each(|other| other.join().unwrap());
    });
}

#[test]
fn a_cancel_stops_the_statement_and_the_next_is_not_hit() {
    let shop = shop(&["gather_pool_size = 1"]);
    let mut client = shop.client();
    for _ in 0..3 {
        client.send_with(|out| frontend::query(out, SLEEP));
        shop.shard(0).await_value(SLEEPING, "1", AT_ONCE);
        let key = client.cancel_key.clone().unwrap();
        RawClient::connect(shop.weir.address()).send_with(|out| startup::cancel_request_for_client(out, &key));
        assert_eq!(answer(&mut client).sqlstate(), Some("57014"));
        story(&mut client, &[(NAMES, "Ada,Ben,Cid,Dee")]);
    }
    // While the rows are read.
    let mut blocker = shop.shard(1).raw();
    story(&mut blocker, &[("BEGIN", "BEGIN"), ("LOCK TABLE customers", "LOCK TABLE")]);
    client.send_with(|out| frontend::query(out, NAMES));
    let waiting =
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
    shop.shard(1).await_value(waiting, "1", AT_ONCE);
    let key = client.cancel_key.clone().unwrap();
    RawClient::connect(shop.weir.address()).send_with(|out| startup::cancel_request_for_client(out, &key));
    assert_eq!(answer(&mut client).sqlstate(), Some("57014"));
    story(&mut blocker, &[("ROLLBACK", "ROLLBACK")]);
    story(&mut client, &[(NAMES, "Ada,Ben,Cid,Dee")]);
}

#[test]
fn a_client_that_leaves_stops_its_statement() {
    let shop = shop(&["gather_pool_size = 1", "default_pool_size = 1"]);
    let mut client = shop.client();
    client.send_with(|out| frontend::query(out, SLEEP));
    shop.shard(0).await_value(SLEEPING, "1", AT_ONCE);
    drop(client);
    shop.shard(0).await_value(SLEEPING, "0", AT_ONCE);
    story(&mut shop.client(), &[(NAMES, "Ada,Ben,Cid,Dee")]);
}

#[test]
fn an_error_or_a_loss_ends_the_statement_and_nothing_else() {
    let shop = shop(&["gather_pool_size = 1"]);
    let mut client = shop.client();
    story(&mut client, &[(NAMES, "Ada,Ben,Cid,Dee")]);
    // One shard's own error.
    shop.shard(1).execute("ALTER TABLE customers RENAME COLUMN email TO mail");
    let error = ask(&mut client, "SELECT string_agg(DISTINCT email, '') FROM customers").error.unwrap();
    assert_eq!((error.sqlstate.as_str(), error.message.as_str()), ("42703", "column \"email\" does not exist"));
    shop.shard(1).execute("ALTER TABLE customers RENAME COLUMN mail TO email");
    story(&mut client, &[("SELECT string_agg(DISTINCT email, '') FROM customers", "NULL"), (NAMES, "Ada,Ben,Cid,Dee")]);
    // The server that gathers.
    client.send_with(|out| frontend::query(out, SLEEP));
    shop.shard(0).await_value(SLEEPING, "1", AT_ONCE);
    let kill = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()";
    shop.shard(0).execute(kill);
    assert!(answer(&mut client).error.is_some());
    story(&mut client, &[(NAMES, "Ada,Ben,Cid,Dee")]);
    // A server that gives rows, in a block.
    story(&mut client, &[("BEGIN", "BEGIN"), (NAMES, "Ada,Ben,Cid,Dee")]);
    let kill = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE state LIKE 'idle in%' AND datname = current_database()";
    shop.shard(1).execute(kill);
    assert!(ask(&mut client, NAMES).error.is_some());
    story(&mut client, &[("ROLLBACK", "ROLLBACK"), (NAMES, "Ada,Ben,Cid,Dee")]);
}

#[test]
fn roles_read_what_they_may() {
    let setup = Setup::new().user("name = \"gatherer\"\npassword = \"gatherer\"");
    let shop = Shop::with(setup, RANGE, &[]);
    let mut owner = shop.client();
    fill(&mut owner);
    for shard in [0, 1] {
        let create = "DO $$ BEGIN CREATE ROLE gatherer LOGIN PASSWORD 'gatherer'; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$";
        shop.shard(shard).execute(create);
    }
    must(&mut owner, "CREATE VIEW everybody AS SELECT name FROM customers");
    must(&mut owner, "GRANT SELECT (name, customer_id) ON customers TO gatherer");
    let mut client = shop.endpoint().with_user("gatherer", "gatherer").raw();
    let view = "SELECT count(DISTINCT name) FROM everybody";
    story(
        &mut client,
        &[
            (NAMES, "Ada,Ben,Cid,Dee"),
            ("SELECT DISTINCT credit FROM customers", "42501"),
            ("SELECT DISTINCT status FROM orders", "42501"),
            // Who may read the table need not be allowed to read the view.
            (view, "42501"),
        ],
    );
    must(&mut owner, "GRANT SELECT ON everybody TO gatherer");
    story(&mut client, &[(view, "4")]);
}

#[test]
fn explain_says_what_is_read_where_and_why() {
    let shop = shop(&[]);
    let mut client = shop.client();
    let mut lines = |sql: &str| -> Vec<String> {
        let answer = ask(&mut client, sql);
        assert_eq!((answer.columns[0].0.as_str(), answer.command.as_str()), ("QUERY PLAN", "EXPLAIN"), "{answer:?}");
        answer.rows.into_iter().flatten().flatten().collect()
    };
    let gathered = "SELECT DISTINCT o.status FROM orders o JOIN visits v ON v.hits = o.priority \
                    WHERE o.customer_id < 30 AND o.total > 5 AND v.token = 'z'";
    let expected = [
        "Weir: rows gathered on shard one, which runs the statement",
        "  orders (customer_id, status, total, priority) from every shard where (customer_id < 30) AND (total > 5)",
        "  visits (token, customer_id, hits) from shard one where (token = 'z')",
    ];
    let plain = lines(&format!("EXPLAIN {gathered}"));
    assert_eq!(plain[..3], expected);
    assert!(plain[3].starts_with("  not merged: Not supported across shards: "), "{plain:?}");
    let run = lines(&format!("EXPLAIN (ANALYZE, COSTS off, TIMING off) {gathered}"));
    assert_eq!(run[..3], expected);
    assert!(run.iter().any(|line| line.contains("actual rows=0")), "{run:?}");
    let merged = lines("EXPLAIN VERBOSE SELECT count(*) FROM customers");
    assert_eq!(merged[0], "Weir: rows of every shard, merged");
    assert!(merged[2].starts_with("  each runs: SELECT count(*)"), "{merged:?}");
    let run = lines(
        "EXPLAIN (ANALYZE, COSTS off) SELECT name FROM customers WHERE customer_id < 100 ORDER BY customer_id LIMIT 3",
    );
    for shard in ["Shard one:", "Shard two:"] {
        let at = run.iter().position(|line| line == shard).unwrap_or_else(|| panic!("{run:?}"));
        assert!(run[at + 1].starts_with("  Limit (actual time="), "{run:?}");
        let behind = |line: &String| line.starts_with("  Execution Time: ");
        assert!(run[at + 1..].iter().take_while(|line| line.starts_with("  ")).any(behind), "{run:?}");
    }
    let answer =
        extended(&mut shop.client(), "EXPLAIN SELECT count(*) FROM customers WHERE customer_id > $1", &[Some("1")]);
    assert!(answer.brief().contains("Shard two:,  Aggregate"), "{answer:?}");
    let mut console = shop.weir.endpoint("weir").raw();
    let routed = ask(&mut console, &format!("EXPLAIN ROUTE {gathered}"));
    assert!(routed.brief().contains("gather") && routed.rows.len() == 4, "{routed:?}");
}

/// Rolled back rows stay in their table's file until it is emptied, which happens before there are many.
#[test]
fn dead_rows_do_not_pile_up() {
    let shop = shop(&["gather_pool_size = 1"]);
    let rows: String = (0..3000).map(|row| format!("{row:0200}\t{row}\n")).collect();
    shop.endpoint().execute(&format!("COPY visits (token, hits) FROM STDIN;\n{rows}\\.\n"));
    let mut client = shop.client();
    let size = "SELECT sum(pg_relation_size(oid)) FROM pg_class WHERE relname LIKE 'weir\\_%' AND relkind = 'r'";
    for _ in 0..5 {
        story(
            &mut client,
            &[(
                "SELECT count(DISTINCT length(v.token || w.token)) FROM visits v JOIN visits w ON w.hits = v.hits + 1",
                "1",
            )],
        );
        shop.shard(0).await_value(size, "0", AT_ONCE);
    }
    for _ in 0..40 {
        story(&mut client, &[(NAMES, "Ada,Ben,Cid,Dee")]);
    }
    shop.shard(0).await_value(size, "8192", AT_ONCE);
}

#[test]
fn a_temporary_table_is_not_taken_for_another_of_its_name() {
    let shop = shop(&[]);
    let mut client = shop.client();
    let joined = "SELECT string_agg(name, status ORDER BY name) FROM customers JOIN orders ON order_id < 3";
    story(&mut client, &[(joined, "NULL"), ("CREATE TEMP TABLE orders (order_id int, status text)", "CREATE TABLE")]);
    story(
        &mut client,
        &[("INSERT INTO orders VALUES (1, '-')", "INSERT 0 1"), (joined, "0A000"), (NAMES, "Ada,Ben,Cid,Dee")],
    );
}
