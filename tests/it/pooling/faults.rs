//! Servers and clients that go away in the middle of something.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use weir::wire::backend::tag;
use weir::wire::frontend;

use super::{Front, eventually, rows, sqlstate, status};
use crate::harness::{Database, RawClient, Setup, Weir, endpoint_of, servers, start_primary};

const SLEEPING: &str = "query LIKE '%pg_sleep%' AND state = 'active'";

fn terminate(front: &Front, condition: &str) {
    let Front { direct, .. } = front;
    direct.execute(&format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE datname = '{}' AND pid <> pg_backend_pid() AND ({condition})",
        direct.database
    ));
}

#[test]
fn a_client_that_leaves_takes_its_query_with_it() {
    let front = Front::new(1);
    let mut client = front.app.raw();
    client.send_with(|out| frontend::query(out, "SELECT pg_sleep(1000)"));
    front.await_sessions(SLEEPING, 1);
    drop(client);
    front.await_sessions(SLEEPING, 0);
    assert_eq!(front.app.value("SELECT 1"), "1");
}

#[test]
fn a_client_that_leaves_takes_its_transaction_with_it() {
    let front = Front::new(1);
    front.direct.execute("CREATE TABLE t (n int)");
    for how in ["politely", "rudely", "in a failed block", "in a batch"] {
        let mut client = front.app.raw();
        client.run("BEGIN; INSERT INTO t VALUES (1)");
        match how {
            "politely" => client.send_with(frontend::terminate),
            "in a failed block" => drop(client.failure("SELECT 1/0")),
            "in a batch" => client.send_with(|out| {
                frontend::parse(out, b"", &frontend::definition("INSERT INTO t VALUES (2)", &[]));
                frontend::flush(out);
            }),
            _ => {}
        }
        drop(client);
        assert_eq!(front.app.value("SELECT count(*) FROM t"), "0", "{how}");
        front.await_sessions("state LIKE 'idle in transaction%'", 0);
    }
}

#[test]
fn a_client_that_leaves_while_it_waits_gives_its_turn_away() {
    let front = Front::new(1);
    let (mut holder, mut leaving, mut staying) = (front.app.raw(), front.app.raw(), front.app.raw());
    holder.run("BEGIN");
    leaving.send_with(|out| frontend::query(out, "SELECT 1"));
    staying.send_with(|out| frontend::query(out, "SELECT 2"));
    drop(leaving);
    holder.run("COMMIT");
    assert_eq!(rows(&staying.until_ready()), ["2"]);
}

#[test]
fn a_terminated_query_is_an_error_and_the_client_goes_on() {
    let front = Front::new(1);
    let mut client = front.app.raw();
    thread::scope(|scope| {
        let answer = scope.spawn(|| client.query("SELECT pg_sleep(1000)"));
        front.await_sessions(SLEEPING, 1);
        terminate(&front, SLEEPING);
        let messages = answer.join().unwrap();
        assert_eq!((sqlstate(&messages).as_deref(), status(&messages)), (Some("57P01"), 'I'));
    });
    assert_eq!(client.value("SELECT 1"), "1");
}

#[test]
fn a_server_lost_in_a_transaction_fails_the_block_until_it_ends() {
    let front = Front::new(1);
    for (end, how) in [("ROLLBACK", "query"), ("COMMIT", "query"), ("ROLLBACK", "batch"), ("ROLLBACK", "idle")] {
        let mut client = front.app.raw();
        client.run("BEGIN");
        if how == "idle" {
            terminate(&front, "state = 'idle in transaction'");
            front.await_sessions("state = 'idle in transaction'", 0);
        } else {
            thread::scope(|scope| {
                let answer = scope.spawn(|| match how {
                    "query" => client.query("SELECT pg_sleep(1000)"),
                    _ => batch(&mut client, "SELECT pg_sleep(1000)"),
                });
                front.await_sessions(SLEEPING, 1);
                terminate(&front, SLEEPING);
                let messages = answer.join().unwrap();
                assert_eq!((sqlstate(&messages).as_deref(), status(&messages)), (Some("57P01"), 'E'), "{how}");
            });
        }
        let messages = client.query("SELECT 1");
        // The first statement after a silent loss may still name the loss itself.
        assert!(matches!(sqlstate(&messages).as_deref(), Some("25P02" | "57P01" | "08006")), "{how}: {messages:?}");
        for messages in [client.query("SELECT 1"), batch(&mut client, "SELECT 1")] {
            assert_eq!((sqlstate(&messages).as_deref(), status(&messages)), (Some("25P02"), 'E'), "{how}");
        }
        client.send_with(frontend::sync);
        assert_eq!(status(&client.until_ready()), 'E');
        let messages = if how == "batch" { batch(&mut client, end) } else { client.query(end) };
        let complete = messages.iter().find(|message| message.tag == tag::COMMAND_COMPLETE).unwrap();
        assert_eq!(
            (complete.body.as_slice(), status(&messages)),
            (b"ROLLBACK\0".as_slice(), 'I'),
            "{how}: {messages:?}"
        );
        assert_eq!(client.value("SELECT 1"), "1");
    }
}

fn batch(client: &mut RawClient, sql: &str) -> Vec<crate::harness::Message> {
    client.send_with(|out| {
        frontend::parse(out, b"", &frontend::definition(sql, &[]));
        frontend::bind(out, b"", b"", &[0; 6]);
        frontend::execute(out, b"", 0);
        frontend::sync(out);
    });
    client.until_ready()
}

#[test]
fn a_client_that_loses_its_session_is_sent_away() {
    let front = Front::new(1);
    for (query, condition) in [(Some("SELECT pg_sleep(1000)"), SLEEPING), (None, "state = 'idle'")] {
        let mut client = front.app.raw();
        client.run("CREATE TEMP TABLE mine ()");
        if let Some(query) = query {
            client.send_with(|out| frontend::query(out, query));
        }
        front.await_sessions(condition, 1);
        terminate(&front, condition);
        let messages = client.until_end();
        let error = messages.last().unwrap();
        assert_eq!([error.field(b'V').as_deref(), error.field(b'C').as_deref()], [Some("FATAL"), Some("57P01")]);
    }
}

/// The lock outlives its transaction, so that rolling that back would not tell of its loss.
#[test]
fn a_client_that_loses_a_session_lock_in_a_block_is_sent_away() {
    let front = Front::new(1);
    let mut client = front.app.raw();
    client.run("BEGIN");
    client.run("SELECT pg_advisory_lock(1)");
    terminate(&front, "state = 'idle in transaction'");
    let error = client.until_end().pop().unwrap();
    assert_eq!([error.field(b'V').as_deref(), error.field(b'C').as_deref()], [Some("FATAL"), Some("57P01")]);
}

/// A COMMIT that answered ROLLBACK, as PostgreSQL's does in a failed block, would be taken for a success by most drivers.
#[test]
fn a_commit_after_a_loss_that_the_client_does_not_know_of_is_an_error() {
    let front = Front::new(1);
    front.direct.execute("CREATE TABLE t (n int)");
    for how in ["query", "batch"] {
        let mut client = front.app.raw();
        client.run("BEGIN; INSERT INTO t VALUES (1)");
        terminate(&front, "state = 'idle in transaction'");
        front.await_sessions("state = 'idle in transaction'", 0);
        let messages = if how == "batch" { batch(&mut client, "COMMIT") } else { client.query("COMMIT") };
        let state = sqlstate(&messages).unwrap_or_else(|| panic!("{how}: {messages:?}"));
        assert!(["57P01", "08006"].contains(&state.as_str()) && status(&messages) == 'I', "{how}: {messages:?}");
        assert_eq!(client.value("SELECT count(*) FROM t"), "0");
    }
}

/// The answer and the server's last words arrive together: the answer is the client's, and the words are not a second one.
#[test]
fn an_end_behind_an_answer_is_not_a_second_answer() {
    let front = Front::new(1);
    for pinned in [false, true] {
        let mut client = front.app.raw();
        client.run(if pinned { "CREATE TEMP TABLE mine (n int)" } else { "BEGIN" });
        client.send_with(|out| frontend::query(out, "SELECT pg_sleep(0.5)"));
        front.await_sessions(SLEEPING, 1);
        front.weir.signal(libc::SIGSTOP);
        let over = if pinned { "state = 'idle'" } else { "state = 'idle in transaction'" };
        front.await_sessions(over, 1);
        terminate(&front, over);
        front.await_sessions("true", 0);
        front.weir.signal(libc::SIGCONT);
        assert_eq!(super::tags(&client.until_ready()), "TDCZ");
        if pinned {
            assert_eq!(sqlstate(&client.until_end()).as_deref(), Some("57P01"));
        } else {
            assert_eq!(client.failure("SELECT 1"), "57P01");
            client.run("ROLLBACK");
            assert_eq!(client.value("SELECT 2"), "2");
        }
    }
}

#[test]
fn a_crash_is_an_error_at_once_and_the_next_query_works_after_the_restart() {
    let mut node = start_primary("crashing");
    endpoint_of(&node, "postgres").execute("CREATE DATABASE app");
    let front = Front::before(&node, "app", 2, |setup| setup.pool("server_connect_timeout = \"5s\""));
    let (mut busy, mut idle, mut pinned) = (front.app.raw(), front.app.raw(), front.app.raw());
    idle.run("SELECT 1");
    pinned.run("LISTEN news");
    busy.send_with(|out| frontend::query(out, "SELECT pg_sleep(1000)"));
    front.await_sessions(SLEEPING, 1);
    node.kill();
    let messages = busy.until_ready();
    assert_eq!((sqlstate(&messages).as_deref(), status(&messages)), (Some("08006"), 'I'), "{messages:?}");
    assert_eq!(sqlstate(&pinned.until_end()).as_deref(), Some("08006"));
    let refused = idle.failure("SELECT 1");
    assert!(["57P03", "08006"].contains(&refused.as_str()), "{refused}");
    node.start().unwrap();
    for client in [&mut busy, &mut idle] {
        assert_eq!(client.value("SELECT 1"), "1");
    }
}

#[test]
fn nobody_notices_a_restart_while_idle() {
    let mut node = start_primary("restarting");
    let front = Front::before(&node, "postgres", 2, |setup| setup);
    let mut clients: Vec<_> = (0..5).map(|_| front.app.raw()).collect();
    clients.iter_mut().for_each(|client| client.run("SELECT 1"));
    node.stop().unwrap();
    node.start().unwrap();
    clients.iter_mut().for_each(|client| client.run("SELECT 1"));
}

#[test]
fn weir_starts_before_its_server() {
    let mut node = start_primary("late");
    node.stop().unwrap();
    let database = Database::new("app").nodes("main", &node, &[], "postgres");
    let weir = Weir::start(&Setup::new().database(database));
    node.start().unwrap();
    eventually("a client gets in", || weir.endpoint("app").script("SELECT 1").status == 0);
    assert_eq!(endpoint_of(&node, "postgres").value("SELECT 1"), "1");
}

/// A man in the middle that passes bytes on in both directions until it is told to cut the line.
struct Line {
    address: std::net::SocketAddr,
    ends: std::sync::mpsc::Receiver<[TcpStream; 2]>,
    /// The connection is cut whose next bytes towards the target contain this. It happens once.
    trap: Arc<Mutex<Option<&'static str>>>,
}

impl Line {
    fn to(target: std::net::SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, ends) = std::sync::mpsc::channel();
        let trap = Arc::new(Mutex::new(None));
        let none = Arc::new(Mutex::new(None));
        let laid = Arc::clone(&trap);
        thread::spawn(move || {
            while let Ok((near, _)) = listener.accept() {
                let far = TcpStream::connect(target).unwrap();
                for (from, to, trap) in [(&near, &far, &laid), (&far, &near, &none)] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    let trap = Arc::clone(trap);
                    thread::spawn(move || pass_on(from, to, &trap));
                }
                if sender.send([near, far]).is_err() {
                    return;
                }
            }
        });
        Self { address, ends, trap }
    }

    /// Cuts the first connection.
    fn cut(&self) {
        for end in self.ends.recv().unwrap() {
            let _gone = end.shutdown(std::net::Shutdown::Both);
        }
    }
}

fn pass_on(mut from: TcpStream, mut to: TcpStream, trap: &Mutex<Option<&'static str>>) {
    let mut chunk = [0; 4096];
    while let Ok(len @ 1..) = from.read(&mut chunk) {
        let text = String::from_utf8_lossy(&chunk[..len]);
        if trap.lock().unwrap().take_if(|cut| text.contains(*cut)).is_some() {
            for end in [&from, &to] {
                let _gone = end.shutdown(std::net::Shutdown::Both);
            }
            return;
        }
        if to.write_all(&chunk[..len]).is_err() {
            return;
        }
    }
}

#[test]
fn a_client_whose_line_is_cut_in_the_middle_of_a_message_harms_nobody() {
    let front = Front::new(1);
    front.direct.execute("CREATE TABLE t (n int)");
    let line = Line::to(front.app.address);
    let mut endpoint = front.app.clone();
    endpoint.address = line.address;
    let mut client = endpoint.raw();
    client.run("BEGIN; INSERT INTO t VALUES (1)");
    client.send(b"Q\0\0\0\x20SELECT");
    line.cut();
    assert_eq!(front.app.value("SELECT count(*) FROM t"), "0");
}

/// After DISCARD ALL Weir tells the server once more what the client connected with. The server is lost at
/// that moment: the client's own statement was answered, and nothing of its session is gone.
#[test]
fn a_server_lost_while_only_weir_talks_to_it_costs_the_client_nothing() {
    let primary = &servers().app.primary;
    let line = Line::to(endpoint_of(primary, "postgres").address);
    let database = Database::new("app").option("pool_size = 1").primary_at("main", line.address, "postgres");
    let weir = Weir::start(&Setup::new().database(database));
    let app = weir.endpoint("app");
    let mut client = RawClient::connect(app.address);
    client.log_in_with(&app.user, &app.password, &app.database, &[("work_mem", "7161")]);
    client.run("SET work_mem = 7777");
    *line.trap.lock().unwrap() = Some("7161");
    let messages = client.query("DISCARD ALL");
    assert_eq!((sqlstate(&messages), status(&messages)), (None, 'I'), "{messages:?}");
    assert_eq!(client.value("SHOW work_mem"), "7161kB");
}
