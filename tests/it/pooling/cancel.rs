//! Cancel requests hit the query of the client that they name, and no other.

use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use weir::wire::backend::{ClientKey, tag};
use weir::wire::{frontend, startup};

use super::{Front, rows, sqlstate, status};
use crate::harness::{Database, Endpoint, RawClient, Setup, Weir};

pub const SLEEPING: &str = "query LIKE '%pg_sleep%' AND state = 'active'";
pub const SLEEP: &str = "SELECT pg_sleep(100)";
/// A question of a sleeping client that another one answers by a lock.
const WAIT_FOR_LOCK: &str = "LOCK TABLE gate";

/// Sends a CancelRequest and returns when it was dealt with.
pub fn cancel(endpoint: &Endpoint, key: &ClientKey) {
    let mut connection = RawClient::connect(endpoint.address);
    connection.send_with(|out| startup::cancel_request_for_client(out, key));
    assert_eq!(connection.until_end(), [], "nothing is answered to a CancelRequest");
}

pub fn key(client: &RawClient) -> ClientKey {
    client.cancel_key.clone().unwrap()
}

#[test]
fn ctrl_c_in_psql_cancels_its_query() {
    let front = Front::new(2);
    let mut command = front.app.command("psql");
    command.args(["-X", "-c", SLEEP, "-c", "SELECT 'after'"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let psql = command.spawn().unwrap();
    front.await_sessions(SLEEPING, 1);
    // SAFETY: a signal to a process that this test started and has not waited for.
    unsafe { libc::kill(libc::pid_t::try_from(psql.id()).unwrap(), libc::SIGINT) };
    let output = psql.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("canceling statement due to user request"), "{stderr}");
    assert_eq!(front.app.value("SELECT 1"), "1");
}

#[test]
fn a_cancel_hits_the_query_of_its_client_only() {
    let front = Front::new(2);
    front.direct.execute("CREATE TABLE gate ()");
    let mut gatekeeper = front.direct.raw();
    gatekeeper.run("BEGIN; LOCK TABLE gate");
    let (mut hit, mut spared) = (front.app.raw(), front.app.raw());
    for client in [&mut hit, &mut spared] {
        client.send_with(|out| frontend::query(out, &format!("BEGIN; {WAIT_FOR_LOCK}; SELECT 'through'; COMMIT")));
    }
    front.await_sessions("wait_event_type = 'Lock'", 2);
    cancel(&front.app, &key(&hit));
    assert_eq!(sqlstate(&hit.until_ready()).as_deref(), Some("57014"));
    front.await_sessions("wait_event_type = 'Lock'", 1);
    gatekeeper.run("ROLLBACK");
    assert_eq!(rows(&spared.until_ready()), ["through"]);
    hit.run("ROLLBACK");
    assert_eq!(hit.value("SELECT 1"), "1");
}

#[test]
fn a_cancel_leaves_the_transaction_to_its_client() {
    let front = Front::new(1);
    let mut client = front.app.raw();
    client.run("BEGIN");
    let key = key(&client);
    thread::scope(|scope| {
        let answer = scope.spawn(|| client.query(SLEEP));
        front.await_sessions(SLEEPING, 1);
        cancel(&front.app, &key);
        let messages = answer.join().unwrap();
        assert_eq!((sqlstate(&messages).as_deref(), status(&messages)), (Some("57014"), 'E'));
    });
    client.run("ROLLBACK");
    assert_eq!(client.value("SELECT 1"), "1");
}

#[test]
fn a_client_that_waits_for_a_server_can_be_canceled() {
    let front = Front::new(1);
    let (mut holder, mut waiting) = (front.app.raw(), front.app.raw());
    holder.run("BEGIN");
    let key = key(&waiting);
    thread::scope(|scope| {
        let answer = scope.spawn(|| {
            let messages = waiting.query("SELECT 1");
            (messages, waiting)
        });
        // The request may come before the client queues: it is repeated until it finds the client there.
        super::eventually("the waiting client is canceled", || {
            cancel(&front.app, &key);
            answer.is_finished()
        });
        let (messages, mut waiting) = answer.join().unwrap();
        assert_eq!((sqlstate(&messages).as_deref(), status(&messages)), (Some("57014"), 'I'));
        holder.run("COMMIT");
        assert_eq!(waiting.value("SELECT 2"), "2");
    });
}

/// What a function may do to a session is read anew when it has changed; everybody waits for that.
#[test]
fn a_client_that_waits_for_the_schema_can_be_canceled() {
    let front = Front::new(3);
    front.direct.execute("CREATE TABLE t (n int); CREATE VIEW v AS SELECT n FROM t");
    let (mut blocking, mut defining) = (front.direct.raw(), front.app.raw());
    let mut inside = front.app.raw();
    inside.run("BEGIN");
    blocking.run("BEGIN; LOCK TABLE t");
    defining.run("CREATE FUNCTION f() RETURNS text LANGUAGE sql AS $$SELECT set_config('app.f', '', false)$$");
    let hit = |client: &mut RawClient| {
        let key = key(client);
        thread::scope(|scope| {
            let answer = scope.spawn(|| client.query("SELECT 1"));
            super::eventually("the waiting client is answered", || {
                cancel(&front.app, &key);
                answer.is_finished()
            });
            let messages = answer.join().unwrap();
            (sqlstate(&messages), status(&messages))
        })
    };
    // A reading that waits for the lock is given up after a moment, and then nobody waits for it.
    let canceled = |wanted: char, client: &mut dyn FnMut() -> (Option<String>, char)| {
        let all: Vec<_> = (0..10).map(|_| client()).collect();
        assert!(all.contains(&(Some("57014".to_owned()), wanted)), "{all:?}");
    };
    canceled('E', &mut || hit(&mut inside));
    canceled('I', &mut || hit(&mut front.app.raw()));
    inside.run("ROLLBACK");
    blocking.run("ROLLBACK");
    assert_eq!(inside.value("SELECT 1"), "1");
}

#[test]
fn a_cancel_between_queries_does_nothing() {
    let front = Front::new(1);
    let (mut idle, mut other) = (front.app.raw(), front.app.raw());
    let key = key(&idle);
    assert_eq!(idle.value("SELECT 1"), "1");
    thread::scope(|scope| {
        let answer = scope.spawn(|| other.query("SELECT pg_sleep(1)"));
        front.await_sessions(SLEEPING, 1);
        // The server that the idle client had last now works for the other one.
        cancel(&front.app, &key);
        assert_eq!(sqlstate(&answer.join().unwrap()), None);
    });
    idle.run("BEGIN");
    cancel(&front.app, &key);
    assert_eq!(idle.value("SELECT 2"), "2");
}

#[test]
fn a_wrong_key_cancels_nothing() {
    let front = Front::new(1);
    let mut client = front.app.raw();
    let right = key(&client);
    thread::scope(|scope| {
        let answer = scope.spawn(|| client.query("SELECT pg_sleep(1), 'slept'"));
        front.await_sessions(SLEEPING, 1);
        let mut secret = right.secret.clone();
        secret[3] ^= 1;
        cancel(&front.app, &ClientKey { secret, ..right.clone() });
        cancel(&front.app, &ClientKey { process_id: right.process_id + 1, ..right.clone() });
        cancel(&front.app, &ClientKey { secret: right.secret[..3].into(), ..right });
        assert_eq!(rows(&answer.join().unwrap()), ["|slept"]);
    });
}

#[test]
fn a_batch_is_canceled_as_a_whole() {
    let front = Front::new(1);
    let mut client = front.app.raw();
    client.send_with(|out| {
        for sql in [SLEEP, "SELECT 'never'"] {
            frontend::parse(out, b"", &frontend::definition(sql, &[]));
            frontend::bind(out, b"", b"", &[0; 6]);
            frontend::execute(out, b"", 0);
        }
        frontend::sync(out);
    });
    front.await_sessions(SLEEPING, 1);
    cancel(&front.app, &key(&client));
    let messages = client.until_ready();
    assert_eq!((super::tags(&messages).as_str(), sqlstate(&messages).as_deref()), ("12EZ", Some("57014")));
    assert_eq!(client.value("SELECT 1"), "1");
}

#[test]
fn a_copy_is_canceled() {
    let front = Front::new(1);
    front.direct.execute("CREATE TABLE t (n int)");
    let mut client = front.app.raw();
    client.send_with(|out| frontend::query(out, "COPY t FROM STDIN"));
    client.expect(tag::COPY_IN_RESPONSE);
    cancel(&front.app, &key(&client));
    // The server looks at the cancel between two messages.
    client.send_with(|out| frontend::message(out, tag::COPY_DATA, |body| body.extend_from_slice(b"1\n")));
    assert_eq!(sqlstate(&client.until_ready()).as_deref(), Some("57014"));
    assert_eq!(front.app.value("SELECT 1"), "1");
}

/// Cancels of one client from many sides, while others use the only server: they must not notice.
#[test]
fn a_hundred_racing_cancels_hit_their_client_or_nobody() {
    const ROUNDS: usize = 10;
    let front = Front::new(1);
    let mut victim = front.app.raw();
    let key = key(&victim);
    let (over, hits) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                match sqlstate(&victim.query("SELECT pg_sleep(0.005)")).as_deref() {
                    None => {}
                    Some("57014") => drop(hits.fetch_add(1, Ordering::Relaxed)),
                    other => panic!("{other:?}"),
                }
            }
        });
        for number in 0..4 {
            let (app, over) = (&front.app, &over);
            scope.spawn(move || {
                let mut bystander = app.raw();
                let own = format!("bystander {number}");
                while !over.load(Ordering::Relaxed) {
                    assert_eq!(
                        rows(&bystander.query(&format!("SELECT '{own}', pg_sleep(0.002)"))),
                        [format!("{own}|")]
                    );
                    bystander.run("BEGIN");
                    assert_eq!(bystander.value("SELECT 1 FROM pg_sleep(0.001)"), "1");
                    bystander.run("COMMIT");
                }
            });
        }
        for _ in 0..ROUNDS {
            thread::scope(|burst| {
                for _ in 0..100 {
                    burst.spawn(|| cancel(&front.app, &key));
                }
            });
        }
        over.store(true, Ordering::Relaxed);
    });
    assert!(hits.load(Ordering::Relaxed) > 0, "no cancel has hit");
    assert_eq!(victim.value("SELECT 1"), "1");
}

#[test]
fn a_cancel_passes_when_weir_takes_no_more_clients_and_its_pool_is_full() {
    let front = Front::with(1, |setup| setup.pool("max_client_conn = 2"));
    let (mut busy, mut waiting) = (front.app.raw(), front.app.raw());
    busy.send_with(|out| frontend::query(out, SLEEP));
    front.await_sessions(SLEEPING, 1);
    waiting.send_with(|out| frontend::query(out, "SELECT 'through'"));
    assert!(front.app.script("SELECT 1").stderr.contains("too many clients"));
    cancel(&front.app, &key(&busy));
    assert_eq!(sqlstate(&busy.until_ready()).as_deref(), Some("57014"));
    assert_eq!(rows(&waiting.until_ready()), ["through"]);
}

/// Stands between Weir and a server, and deals with no CancelRequest before `late` has passed. Ends with the tests.
fn delay_cancels(server: SocketAddr, late: Duration) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for client in listener.incoming() {
            let client = client.unwrap();
            thread::spawn(move || relay_late(&client, server, late));
        }
    });
    address
}

fn relay_late(client: &TcpStream, server: SocketAddr, late: Duration) {
    let mut head = [0; 8];
    while client.peek(&mut head).is_ok_and(|len| len < head.len()) {}
    if head == [0, 0, 0, 16, 4, 210, 22, 46] {
        thread::sleep(late);
    }
    let server = TcpStream::connect(server).unwrap();
    thread::scope(|scope| {
        for (mut from, mut to) in [(client, &server), (&server, client)] {
            scope.spawn(move || {
                let _cut = std::io::copy(&mut from, &mut to);
                let _closed = to.shutdown(Shutdown::Write);
            });
        }
    });
}

/// Longer than Weir waits for a server that deals with a cancel.
const TOO_LATE: Duration = Duration::from_secs(7);

#[test]
fn a_cancel_that_comes_too_late_hits_nobody_else() {
    let behind = Front::new(1);
    let address = delay_cancels(behind.direct.address, TOO_LATE);
    let database = Database::new("app").option("pool_size = 1").primary_at("main", address, &behind.direct.database);
    let weir = Weir::start(&Setup::new().database(database));
    let app = weir.endpoint("app");
    let (mut canceled, mut other) = (app.raw(), app.raw());
    let pid = canceled.value("SELECT pg_backend_pid()");
    let key = key(&canceled);
    thread::scope(|scope| {
        canceled.send_with(|out| frontend::query(out, "SELECT pg_sleep(1)"));
        behind.await_sessions(SLEEPING, 1);
        scope.spawn(|| cancel(&app, &key));
        assert_eq!(sqlstate(&canceled.until_ready()), None, "its query is over before the cancel comes");
        assert_ne!(other.value("SELECT pg_backend_pid()"), pid, "the server is not used again");
        assert_eq!(sqlstate(&other.query("SELECT pg_sleep(3)")), None);
    });
}
