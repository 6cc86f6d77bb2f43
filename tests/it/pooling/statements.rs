//! Prepared statements follow their client over servers.

use weir::wire::frontend::{self, Target};

use super::memory::resident_kib;
use super::{Front, endpoint_of, rows, sqlstate, tags, unique};
use crate::harness::{RawClient, servers};

fn prepare(client: &mut RawClient, name: &str, sql: &str) {
    client.send_with(|out| {
        frontend::parse(out, name.as_bytes(), &frontend::definition(sql, &[]));
        frontend::sync(out);
    });
    assert_eq!(tags(&client.until_ready()), "1Z");
}

fn run(client: &mut RawClient, name: &str) -> Vec<crate::harness::Message> {
    client.send_with(|out| {
        frontend::bind(out, b"", name.as_bytes(), &[0; 6]);
        frontend::execute(out, b"", 0);
        frontend::sync(out);
    });
    client.until_ready()
}

/// How many statements a server has: what a client reads by itself are its own.
const KEPT: &str =
    "CREATE FUNCTION kept() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM pg_prepared_statements'";

/// Servers take turns, so that a client meets all of them.
pub fn round_robin(pool_size: usize) -> Front {
    Front::with(pool_size, |setup| setup.pool("server_round_robin = true").weir("workers = 1"))
}

/// Opens all servers of a pool: as many clients are in transactions at once.
pub fn open_all(front: &Front, pool_size: usize) {
    let mut clients: Vec<_> = (0..pool_size).map(|_| front.app.raw()).collect();
    clients.iter_mut().for_each(|client| client.run("BEGIN"));
    clients.iter_mut().for_each(|client| client.run("COMMIT"));
    assert_eq!(front.sessions("true"), pool_size);
}

#[test]
fn a_statement_works_on_every_server() {
    let front = round_robin(3);
    open_all(&front, 3);
    let mut client = front.app.raw();
    prepare(&mut client, "s", "SELECT pg_backend_pid()");
    let mut backends: Vec<_> = (0..12).map(|_| rows(&run(&mut client, "s")).remove(0)).collect();
    backends.sort();
    backends.dedup();
    assert_eq!(backends.len(), 3, "{backends:?}");
}

#[test]
fn clients_have_names_of_their_own() {
    let front = round_robin(2);
    open_all(&front, 2);
    let (mut first, mut second) = (front.app.raw(), front.app.raw());
    prepare(&mut first, "s", "SELECT 'first'");
    prepare(&mut second, "s", "SELECT 'second'");
    for _ in 0..6 {
        assert_eq!(rows(&run(&mut first, "s")), ["first"]);
        assert_eq!(rows(&run(&mut second, "s")), ["second"]);
    }
    drop(second);
    assert_eq!(rows(&run(&mut first, "s")), ["first"]);
}

#[test]
fn clients_with_the_same_statement_share_it_on_a_server() {
    let front = round_robin(1);
    front.app.execute(KEPT);
    let mut clients: Vec<_> = (0..5).map(|_| front.app.raw()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        prepare(client, &format!("name_{number}"), "SELECT kept()");
        assert_eq!(rows(&run(client, &format!("name_{number}"))), ["1"]);
    }
}

#[test]
fn a_server_keeps_no_more_than_max_prepared_statements() {
    let front = Front::with(1, |setup| setup.pool("max_prepared_statements = 5"));
    front.app.execute(KEPT);
    let mut client = front.app.raw();
    for round in 0..2 {
        for number in 0..20 {
            let name = format!("s{number}");
            if round == 0 {
                prepare(&mut client, &name, &format!("SELECT {number}"));
            }
            assert_eq!(rows(&run(&mut client, &name)), [number.to_string()]);
            let kept = client.value("SELECT kept()");
            assert!(kept.parse::<usize>().unwrap() <= 5, "{kept}");
        }
    }
}

#[test]
fn a_batch_may_use_more_statements_than_a_server_keeps() {
    let front = Front::with(1, |setup| setup.pool("max_prepared_statements = 2"));
    let mut client = front.app.raw();
    client.send_with(|out| {
        for number in 0..6 {
            frontend::parse(out, &[b'a' + number], &frontend::definition(&format!("SELECT {number}"), &[]));
        }
        for number in 0..6 {
            frontend::bind(out, b"", &[b'a' + number], &[0; 6]);
            frontend::execute(out, b"", 0);
        }
        frontend::sync(out);
    });
    assert_eq!(rows(&client.until_ready()), ["0", "1", "2", "3", "4", "5"]);
}

#[test]
fn deallocate_forgets_a_name_or_all() {
    let front = round_robin(2);
    open_all(&front, 2);
    let mut client = front.app.raw();
    for name in ["a", "b", "c"] {
        prepare(&mut client, name, &format!("SELECT '{name}'"));
    }
    let messages = client.query("DEALLOCATE a");
    assert_eq!((tags(&messages).as_str(), messages[0].body.as_slice()), ("CZ", b"DEALLOCATE\0".as_slice()));
    assert_eq!(sqlstate(&run(&mut client, "a")).as_deref(), Some("26000"));
    assert_eq!(rows(&run(&mut client, "b")), ["b"]);
    assert_eq!(client.failure("DEALLOCATE a"), "26000");
    let messages = client.query("DEALLOCATE ALL");
    assert_eq!((tags(&messages).as_str(), messages[0].body.as_slice()), ("CZ", b"DEALLOCATE ALL\0".as_slice()));
    for name in ["b", "c"] {
        assert_eq!(sqlstate(&run(&mut client, name)).as_deref(), Some("26000"));
    }
    prepare(&mut client, "a", "SELECT 'again'");
    assert_eq!(rows(&run(&mut client, "a")), ["again"]);
}

#[test]
fn deallocate_over_the_extended_protocol() {
    let front = Front::new(1);
    let mut client = front.app.raw();
    for (name, sql) in [("a", "DEALLOCATE a"), ("b", "DEALLOCATE ALL")] {
        prepare(&mut client, name, "SELECT 1");
        client.send_with(|out| {
            frontend::parse(out, b"", &frontend::definition(sql, &[]));
            frontend::bind(out, b"", b"", &[0; 6]);
            frontend::describe(out, Target::Portal(b""));
            frontend::execute(out, b"", 0);
            frontend::sync(out);
        });
        assert_eq!(tags(&client.until_ready()), "12nCZ", "{sql}");
        assert_eq!(sqlstate(&run(&mut client, name)).as_deref(), Some("26000"));
    }
}

#[test]
fn discard_all_forgets_every_statement_of_its_client_only() {
    let front = Front::new(1);
    let (mut client, mut other) = (front.app.raw(), front.app.raw());
    prepare(&mut client, "s", "SELECT 'mine'");
    prepare(&mut other, "s", "SELECT 'other'");
    client.run("DISCARD ALL");
    assert_eq!(sqlstate(&run(&mut client, "s")).as_deref(), Some("26000"));
    assert_eq!(rows(&run(&mut other, "s")), ["other"]);
}

#[tokio::test]
async fn drivers_prepare_while_others_disturb() {
    let front = round_robin(2);
    let (client, other) = (front.app.connect().await.unwrap(), front.app.connect().await.unwrap());
    let statement = client.prepare("SELECT $1::text || '!'").await.unwrap();
    for n in 0..50 {
        let text = n.to_string();
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 2] = [&text, &n];
        let (row, disturbed) = tokio::join!(
            client.query_one(&statement, &parameters[..1]),
            other.query_one("SELECT $1::int", &parameters[1..])
        );
        assert_eq!(row.unwrap().get::<_, String>(0), format!("{n}!"));
        assert_eq!(disturbed.unwrap().get::<_, i32>(0), n);
    }
}

/// tokio-postgres compares what it was told when it prepared with what it gets.
#[tokio::test]
async fn a_driver_is_told_of_changed_columns_as_without_weir() {
    let front = round_robin(2);
    let twin = unique("twin");
    endpoint_of(&servers().app.primary, "postgres").execute(&format!("CREATE DATABASE {twin}"));
    let mut told = Vec::new();
    for endpoint in [front.app.clone(), endpoint_of(&servers().app.primary, &twin)] {
        let (client, other) = (endpoint.connect().await.unwrap(), endpoint.connect().await.unwrap());
        other.batch_execute("CREATE TABLE t (a int); INSERT INTO t VALUES (1)").await.unwrap();
        let statement = client.prepare("SELECT * FROM t").await.unwrap();
        let mut answers = Vec::new();
        for change in ["", "ALTER TABLE t ADD b int", "ALTER TABLE t DROP b", "ALTER TABLE t ALTER a TYPE text"] {
            other.batch_execute(change).await.unwrap();
            for _ in 0..3 {
                let answer = client.query(&statement, &[]).await;
                answers.push(answer.map(|rows| rows[0].len()).map_err(|error| error.code().cloned()));
            }
        }
        told.push(answers);
    }
    assert_eq!(told[0], told[1], "through Weir, and direct");
}

/// Prepares `n0`, `n1` and so on, in batches.
fn prepare_many(client: &mut RawClient, many: usize) {
    for first in (0..many).step_by(1000) {
        client.send_with(|out| {
            for n in first..first + 1000 {
                let sql = format!("SELECT {n} AS number_of_the_statement");
                frontend::parse(out, format!("n{n}").as_bytes(), &frontend::definition(&sql, &[]));
            }
            frontend::sync(out);
        });
        assert_eq!(tags(&client.until_ready()), "1".repeat(1000) + "Z");
    }
}

/// What a client's prepared statement may take of Weir's memory, beside the server's share of it.
const STATEMENT_MAX_BYTES: usize = 2048;

/// Far more than a server keeps, or a cache.
#[test]
fn many_statements_cost_little_and_work() {
    const MANY: usize = 100_000;
    let front = Front::with(1, |setup| setup.weir("workers = 1"));
    let before = resident_kib(&front);
    let mut grown = [0; 3];
    for grown in &mut grown {
        let mut client = front.app.raw();
        prepare_many(&mut client, MANY);
        *grown = (resident_kib(&front) - before) * 1024 / MANY;
        for n in [0, MANY / 2, MANY - 1] {
            assert_eq!(rows(&run(&mut client, &format!("n{n}"))), [n.to_string()]);
        }
    }
    assert!(grown[0] < STATEMENT_MAX_BYTES, "{grown:?} bytes for each statement");
    assert!(grown[2] < grown[0] * 3 / 2, "those of clients that left are kept: {grown:?} bytes for each statement");
}
