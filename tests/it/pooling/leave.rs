//! Clients that leave in the middle of something: it is stopped and undone, and the server stays.

use bytes::{BufMut, BytesMut};
use weir::wire::backend::tag;
use weir::wire::frontend;

use super::{Front, eventually, rows};
use crate::harness::{Endpoint, RawClient};

const PID: &str = "SELECT pg_backend_pid()";

/// What a client is in the middle of when it leaves.
struct Leaving {
    what: &'static str,
    begin: fn(&mut RawClient),
}

fn ask(client: &mut RawClient, sql: &str) {
    client.send_with(|out| frontend::query(out, sql));
}

/// Reads until a message of that kind.
fn until(client: &mut RawClient, tag: u8) {
    while client.next().expect("a message").tag != tag {}
}

fn batch(client: &mut RawClient, sql: &str, end: fn(&mut BytesMut)) {
    client.send_with(|out| {
        frontend::parse(out, b"", &frontend::definition(sql, &[]));
        frontend::bind(out, b"", b"", &[0; 6]);
        frontend::execute(out, b"", 0);
        end(out);
    });
}

fn copy_in(client: &mut RawClient) {
    ask(client, "COPY t FROM STDIN");
    until(client, tag::COPY_IN_RESPONSE);
    client.send_with(|out| frontend::message(out, tag::COPY_DATA, |body| body.put_slice(b"7\n8\n")));
}

const LEAVINGS: [Leaving; 10] = [
    Leaving { what: "a block", begin: |client| client.run("BEGIN; INSERT INTO t VALUES (1)") },
    Leaving {
        what: "a failed block",
        begin: |client| {
            client.run("BEGIN; INSERT INTO t VALUES (1)");
            drop(client.failure("SELECT 1/0"));
        },
    },
    Leaving { what: "a query", begin: |client| ask(client, "INSERT INTO t SELECT 1 FROM pg_sleep(1000)") },
    Leaving {
        what: "a query in a block",
        begin: |client| {
            client.run("BEGIN; INSERT INTO t VALUES (1)");
            ask(client, "SELECT pg_sleep(1000)");
        },
    },
    Leaving {
        what: "a large result",
        begin: |client| {
            ask(client, "INSERT INTO t VALUES (1); SELECT repeat('x', 10000) FROM generate_series(1, 100000)");
            until(client, tag::DATA_ROW);
        },
    },
    Leaving {
        what: "a batch without its Sync",
        begin: |client| {
            batch(client, "INSERT INTO t VALUES (2)", frontend::flush);
            until(client, tag::COMMAND_COMPLETE);
        },
    },
    Leaving { what: "a batch", begin: |client| batch(client, "SELECT pg_sleep(1000)", frontend::sync) },
    Leaving { what: "COPY from the client", begin: copy_in },
    Leaving {
        what: "COPY from the client in a batch",
        begin: |client| {
            batch(client, "COPY t FROM STDIN", frontend::sync);
            until(client, tag::COPY_IN_RESPONSE);
        },
    },
    Leaving {
        what: "COPY to the client",
        begin: |client| {
            ask(client, "COPY (SELECT repeat('x', 10000) FROM generate_series(1, 100000)) TO STDOUT");
            until(client, tag::COPY_DATA);
        },
    },
];

#[test]
fn the_server_of_a_client_that_left_is_brought_to_rest_and_stays() {
    let front = Front::new(1);
    front.direct.execute("CREATE TABLE t (n int)");
    let server = front.app.value(PID);
    for Leaving { what, begin } in &LEAVINGS {
        let mut client = front.app.raw();
        begin(&mut client);
        drop(client);
        assert_eq!(front.app.value(PID), server, "{what}");
        assert_eq!(front.app.value("SELECT count(*) FROM t"), "0", "{what}");
    }
}

#[test]
fn a_server_that_waits_for_the_rest_of_a_row_is_closed() {
    let front = Front::new(1);
    front.direct.execute("CREATE TABLE t (n int)");
    let server = front.app.value(PID);
    let mut client = front.app.raw();
    copy_in(&mut client);
    let half = [tag::COPY_DATA, 0, 0, 1, 0, b'9'];
    client.send(&half);
    front.await_sessions("query LIKE 'COPY%' AND wait_event = 'ClientRead'", 1);
    drop(client);
    assert_ne!(front.app.value(PID), server);
    assert_eq!(front.app.value("SELECT count(*) FROM t"), "0");
}

#[test]
fn a_killed_psql_leaves_its_server_in_order() {
    let front = Front::new(1);
    let server = front.app.value(PID);
    let mut psql = front.app.command("psql").args(["-c", "SELECT pg_sleep(1000)"]).spawn().expect("psql");
    front.await_sessions("query LIKE '%pg_sleep%' AND state = 'active'", 1);
    psql.kill().expect("a running psql");
    psql.wait().expect("a killed psql");
    assert_eq!(front.app.value(PID), server);
}

/// The cancel of a query whose client is gone must not hit the query of the client that has the server next.
#[test]
fn nobody_pays_for_a_client_that_left() {
    let front = Front::new(1);
    let mut staying = front.app.raw();
    for round in 0..40 {
        let mut leaving = front.app.raw();
        ask(&mut leaving, "SELECT pg_sleep(0.001)");
        staying.send_with(|out| frontend::query(out, "SELECT 'here' FROM pg_sleep(0.002)"));
        drop(leaving);
        assert_eq!(rows(&staying.until_ready()), ["here"], "round {round}");
    }
}

/// The text of the first error that psql shows.
fn refusal(endpoint: &Endpoint, sql: &str) -> String {
    endpoint.psql(["-c", sql]).stderr
}

#[test]
fn statement_pooling_refuses_what_would_stay_open() {
    let front = Front::with(1, |setup| setup.pool("pool_mode = \"statement\""));
    front.direct.execute("CREATE TABLE t (n int)");
    for open in ["BEGIN", "START TRANSACTION READ ONLY", "BEGIN; SELECT 1", "SELECT 1; BEGIN; COMMIT AND CHAIN"] {
        let error = refusal(&front.app, open);
        assert!(error.contains("transaction blocks not allowed in statement pooling mode"), "{open}: {error}");
    }
    let mut client = front.app.raw();
    client.run("BEGIN; INSERT INTO t VALUES (1); COMMIT");
    assert_eq!(client.value("SELECT count(*) FROM t"), "1");
    batch(&mut client, "BEGIN", frontend::sync);
    let messages = client.until_ready();
    assert!(messages.iter().any(|message| message.tag == tag::ERROR_RESPONSE), "{messages:?}");
    assert_eq!(client.value("SELECT 'goes on'"), "goes on");
}

#[test]
fn a_user_may_pool_otherwise_than_the_database() {
    let front = Front::with(2, |setup| setup.user("name = \"stays\"\npassword = \"stays\"\npool_mode = \"session\""));
    front
        .direct
        .execute("DO $$ BEGIN CREATE ROLE stays LOGIN PASSWORD 'stays'; EXCEPTION WHEN duplicate_object THEN END $$");
    let stays = front.app.clone().with_user("stays", "stays");
    let mut client = stays.raw();
    client.run("SELECT 1");
    assert_eq!(front.shown("SHOW POOLS", "pool_mode"), ["session"]);
    eventually("a server that is held", || front.shown("SHOW POOLS", "sv_active") == ["1"]);
    assert_eq!(front.app.value("SELECT 1"), "1");
    let mut modes = front.shown("SHOW POOLS", "pool_mode");
    modes.sort();
    assert_eq!(modes, ["session", "transaction"]);
}
