//! What happens to a statement over several shards when a server, the client or the memory is lost on the way.
//!
//! A lock that the test takes on the second shard holds such a statement up for as long as the test likes.

use std::thread;
use std::time::{Duration, Instant};

use weir::wire::backend::tag;
use weir::wire::{frontend, startup};

use super::answer::{answer, ask, story};
use super::shop::{RANGE, Shop, fill};
use crate::harness::{Database, Endpoint, RawClient, Setup, Weir, endpoint_of, start_primary, unique};

const COUNT: &str = "SELECT count(*) FROM customers";

/// How long a client may wait for what should come at once.
const AT_ONCE: Duration = Duration::from_secs(10);

fn lock(endpoint: &Endpoint) -> RawClient {
    let mut blocker = endpoint.raw();
    story(&mut blocker, &[("BEGIN", "BEGIN"), ("LOCK TABLE customers", "LOCK TABLE")]);
    blocker
}

/// Sends a Query and waits until it waits for the lock.
fn send_and_hang(client: &mut RawClient, sql: &str, shard: &Endpoint) {
    client.send_with(|out| frontend::query(out, sql));
    shard.await_value(WAITING, "1", AT_ONCE);
}

const WAITING: &str =
    "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";

fn cancel(shop: &Shop, client: &RawClient) {
    let key = client.cancel_key.clone().expect("a key");
    RawClient::connect(shop.weir.address()).send_with(|out| startup::cancel_request_for_client(out, &key));
}

#[test]
fn a_cancel_stops_all_shards() {
    let shop = Shop::small();
    let mut client = shop.client();
    for sql in [
        COUNT,
        "SELECT * FROM customers ORDER BY customer_id",
        "UPDATE customers SET name = 'x' WHERE customer_id = 11",
    ] {
        let mut blocker = lock(&shop.shard(1));
        send_and_hang(&mut client, sql, &shop.shard(1));
        cancel(&shop, &client);
        assert_eq!(answer(&mut client).sqlstate(), Some("57014"), "{sql}");
        shop.shard(1).await_value(WAITING, "0", AT_ONCE);
        story(&mut blocker, &[("ROLLBACK", "ROLLBACK")]);
        story(&mut client, &[(COUNT, "4")]);
    }
    let mut blocker = lock(&shop.shard(1));
    story(&mut client, &[("BEGIN", "BEGIN"), ("UPDATE customers SET name = 'x' WHERE customer_id = 1", "UPDATE 1")]);
    send_and_hang(&mut client, COUNT, &shop.shard(1));
    cancel(&shop, &client);
    assert_eq!(answer(&mut client).sqlstate(), Some("57014"));
    story(&mut blocker, &[("ROLLBACK", "ROLLBACK")]);
    story(
        &mut client,
        &[(COUNT, "25P02"), ("COMMIT", "ROLLBACK"), ("SELECT name FROM customers WHERE customer_id = 1", "Ada")],
    );
}

#[test]
fn a_client_that_leaves_stops_all_shards() {
    let shop = Shop::small();
    let mut blocker = lock(&shop.shard(1));
    let mut client = shop.client();
    send_and_hang(&mut client, COUNT, &shop.shard(1));
    drop(client);
    shop.shard(1).await_value(WAITING, "0", AT_ONCE);
    story(&mut blocker, &[("ROLLBACK", "ROLLBACK")]);
    story(&mut shop.client(), &[(COUNT, "4")]);
}

#[test]
fn a_statement_timeout_is_the_servers_own_error() {
    let shop = Shop::small();
    let mut blocker = lock(&shop.shard(1));
    let mut client = shop.client();
    story(
        &mut client,
        &[
            ("SET lock_timeout = '50ms'", "SET"),
            (COUNT, "55P03"),
            ("BEGIN", "BEGIN"),
            (COUNT, "55P03"),
            (COUNT, "25P02"),
            ("ROLLBACK", "ROLLBACK"),
        ],
    );
    story(&mut blocker, &[("ROLLBACK", "ROLLBACK")]);
    story(&mut client, &[(COUNT, "4")]);
}

#[test]
fn a_lost_server_is_an_error_at_once_and_the_rest_goes_on() {
    let [one, mut two] = thread::scope(|scope| {
        ["lost0", "lost1"].map(|name| scope.spawn(move || start_primary(name))).map(|node| node.join().unwrap())
    });
    let dbname = unique("shop");
    for node in [&one, &two] {
        endpoint_of(node, "postgres").execute(&format!("CREATE DATABASE {dbname}"));
    }
    let database = Database::new("shop").sharded_by(RANGE);
    let database = database.nodes("one", &one, &[], &dbname).nodes("two", &two, &[], &dbname);
    let weir = Weir::start(&Setup::new().database(database));
    let shop = weir.endpoint("shop");
    let mut client = shop.raw();
    fill(&mut client);
    let home = endpoint_of(&one, &dbname);
    // The first shard would give rows for a long time; the second one waits for a lock.
    home.execute(
        "INSERT INTO customers (customer_id, name) SELECT -g, repeat('x', 1000) FROM generate_series(1, 50000) g",
    );
    for sql in [COUNT, "SELECT * FROM customers ORDER BY customer_id"] {
        let _blocker = lock(&endpoint_of(&two, &dbname));
        send_and_hang(&mut client, sql, &endpoint_of(&two, &dbname));
        let began = Instant::now();
        two.kill();
        let lost = answer(&mut client);
        assert!(lost.sqlstate().is_some_and(|code| code.starts_with("08") || code.starts_with("57P")), "{lost:?}");
        assert!(began.elapsed() < AT_ONCE);
        let busy = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'active' AND query LIKE '%customers%' AND pid <> pg_backend_pid()";
        home.await_value(busy, "0", AT_ONCE);
        // What needs the lost shard fails, what does not goes on.
        let failed = ask(&mut client, "SELECT name FROM customers WHERE customer_id = 11");
        assert!(failed.sqlstate().is_some_and(|code| code.starts_with("08") || code.starts_with("57P")), "{failed:?}");
        story(&mut client, &[("SELECT name FROM customers WHERE customer_id = 1", "Ada"), ("BEGIN", "BEGIN")]);
        story(&mut client, &[("UPDATE customers SET name = 'lost' WHERE customer_id = 1", "UPDATE 1")]);
        assert!(ask(&mut client, COUNT).error.is_some());
        story(
            &mut client,
            &[
                ("SELECT 1", "25P02"),
                ("COMMIT", "ROLLBACK"),
                ("SELECT name FROM customers WHERE customer_id = 1", "Ada"),
            ],
        );
        two.start().unwrap();
        story(&mut client, &[("SELECT name FROM customers WHERE customer_id = 11", "Cid"), (COUNT, "50004")]);
    }
}

#[test]
fn groups_beyond_the_budget_are_gathered_up_to_a_limit_with_numbers() {
    let shop = Shop::small_with(Setup::new().pool("merge_memory = \"64kB\"").pool("gather_rows = 5500"));
    let mut client = shop.client();
    // Such keys live on the first shard.
    let more = |from: i32, to: i32| {
        let sql = format!(
            "INSERT INTO customers (customer_id, name) SELECT -g, 'n' || g FROM generate_series({from}, {to}) g"
        );
        shop.shard(0).execute(&sql);
    };
    more(1, 5000);
    let total = "SELECT count(*) FROM (SELECT 1) x";
    for groups in [
        "SELECT customer_id % 4000, count(*) FROM customers GROUP BY 1",
        "SELECT customer_id % 4000, count(*) FROM customers GROUP BY 1 HAVING count(*) > 0",
        "SELECT DISTINCT customer_id % 4000 FROM customers",
        "SELECT name FROM customers ORDER BY name",
    ] {
        let answer = ask(&mut client, groups);
        let rows = if groups.contains("4000") { 4004 } else { 5004 };
        assert_eq!((answer.error, answer.rows.len()), (None, rows), "{groups}");
        story(&mut client, &[("BEGIN", "BEGIN"), (total, "1")]);
        assert_eq!(ask(&mut client, groups).rows.len(), rows, "{groups} in a block");
        story(&mut client, &[("COMMIT", "COMMIT")]);
    }
    more(5001, 6000);
    let groups = ask(&mut client, "SELECT customer_id % 4000, count(*) FROM customers GROUP BY 1");
    assert_eq!(groups.sqlstate(), Some("53400"), "{groups:?}");
    let error = groups.error.unwrap();
    assert!(error.detail.contains("5500") && error.hint.contains("gather_rows"), "{error:?}");
    story(
        &mut client,
        &[("SELECT customer_id % 2, count(*) FROM customers GROUP BY 1 ORDER BY 1", "-1|3000,0|3002,1|2")],
    );
    let rows = ask(&mut client, "SELECT name FROM customers ORDER BY customer_id");
    assert_eq!(rows.rows.len(), 6004);
}

/// A client that reads nothing holds the servers up, not Weir's memory; when it leaves they are free.
#[test]
fn a_client_that_does_not_read_is_waited_for() {
    let shop = Shop::small();
    shop.shard(0).execute(
        "INSERT INTO customers (customer_id, name) SELECT -g, repeat('x', 1000) FROM generate_series(1, 60000) g",
    );
    let mut client = shop.client();
    client.send_with(|out| frontend::query(out, "SELECT * FROM customers ORDER BY customer_id"));
    client.expect(tag::ROW_DESCRIPTION);
    let writing =
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'ClientWrite' AND datname = current_database()";
    shop.shard(0).await_value(writing, "1", AT_ONCE);
    let rest = client.until_ready();
    assert_eq!(rest.iter().filter(|message| message.tag == tag::DATA_ROW).count(), 60004);
    let mut leaver = shop.client();
    leaver.send_with(|out| frontend::query(out, "SELECT * FROM customers ORDER BY customer_id"));
    leaver.expect(tag::ROW_DESCRIPTION);
    shop.shard(0).await_value(writing, "1", AT_ONCE);
    drop(leaver);
    shop.shard(0).await_value(writing, "0", AT_ONCE);
    story(&mut client, &[(COUNT, "60004")]);
}

/// What a block did on a server that is lost does not come back with a savepoint.
#[test]
fn a_savepoint_does_not_outlive_a_lost_server() {
    let shop = Shop::small();
    let mut client = shop.client();
    let name = "SELECT name FROM customers WHERE customer_id = 11";
    story(&mut client, &[("BEGIN", "BEGIN"), ("UPDATE customers SET name = 'x' WHERE customer_id = 11", "UPDATE 1")]);
    story(&mut client, &[("SAVEPOINT s", "SAVEPOINT"), ("SELECT name FROM customers WHERE customer_id = 1", "Ada")]);
    shop.shard(1).execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
          WHERE datname = current_database() AND state LIKE 'idle in transaction%'",
    );
    let lost = ask(&mut client, name);
    assert!(lost.sqlstate().is_some_and(|code| code.starts_with("08") || code.starts_with("57P")), "{lost:?}");
    story(&mut client, &[("ROLLBACK TO s", "25P02"), (name, "25P02"), ("COMMIT", "ROLLBACK"), (name, "Cid")]);
}
