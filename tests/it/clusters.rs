//! The servers that all other tests stand on: they start, stream, survive what tests do to them, and leave nothing behind.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use weir::wire::backend::tag;

use crate::harness::{Shard, endpoint_of, root, servers, start_primary, unique, users_of};

#[test]
fn shared_servers_take_queries_and_stream() {
    let name = unique("stream");
    for shard in [&servers().app, &servers().shop[0], &servers().shop[1]] {
        shard.create_database(&name);
        endpoint_of(&shard.primary, &name).execute("CREATE TABLE t AS SELECT generate_series(1, 100) AS n");
        shard.await_replay();
        let replica = endpoint_of(&shard.replica, &name);
        assert_eq!(replica.value("SELECT pg_is_in_recovery(), sum(n) FROM t"), "t|5050");
    }
    assert_eq!(endpoint_of(&servers().reference, "postgres").value("SHOW max_prepared_transactions"), "100");
}

#[test]
fn a_killed_server_comes_back_on_its_port_with_what_was_committed() {
    let mut node = start_primary("killed");
    let postgres = endpoint_of(&node, "postgres");
    postgres.execute("CREATE TABLE t (n int); INSERT INTO t VALUES (42)");
    node.kill();
    assert!(!node.is_running());
    assert_ne!(postgres.script("SELECT 1").status, 0);
    node.start().unwrap();
    assert_eq!(postgres.value("SELECT n FROM t"), "42");
    node.stop().unwrap();
    assert!(!node.is_running());
}

#[test]
fn a_paused_server_is_silent_until_it_resumes() {
    let node = start_primary("paused");
    let postgres = endpoint_of(&node, "postgres");
    let mut client = postgres.raw();
    node.pause();
    thread::scope(|scope| {
        let answer = scope.spawn(|| client.query("SELECT 1"));
        thread::sleep(Duration::from_millis(200));
        assert!(!answer.is_finished());
        node.resume();
        assert_eq!(answer.join().unwrap().last().unwrap().tag, tag::READY_FOR_QUERY);
    });
}

#[test]
fn a_replica_follows_again_after_both_were_killed() {
    let Shard { mut primary, mut replica } = Shard::start("both");
    replica.kill();
    primary.kill();
    primary.start().unwrap();
    replica.start().unwrap();
    let shard = Shard { primary, replica };
    shard.create_database("again");
}

#[test]
fn a_server_that_cannot_start_shows_its_log() {
    let mut node = start_primary("broken");
    node.stop().unwrap();
    std::fs::write(node.dir().join("data/postgresql.conf"), "no_such_setting = on\n").unwrap();
    let error = node.start().unwrap_err();
    assert!(error.to_string().contains("no_such_setting"), "{error}");
}

#[tokio::test]
async fn tokio_postgres_connects() {
    let client = endpoint_of(&servers().reference, "postgres").connect().await.unwrap();
    assert_eq!(client.query_one("SELECT 40 + $1::int4", &[&2_i32]).await.unwrap().get::<_, i32>(0), 42);
}

/// Set for the process that is going to be killed.
const VICTIM: &str = "WEIR_TEST_VICTIM";

/// Not a test of its own: the victim of the one below, which runs it in another process and kills that.
#[test]
#[ignore = "only the test below runs it"]
fn victim() {
    if std::env::var_os(VICTIM).is_none() {
        return;
    }
    let node = start_primary("victim");
    node.pause();
    println!("victim {}", root().display());
    loop {
        thread::park();
    }
}

#[test]
fn nothing_stays_when_the_test_process_is_killed() {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "clusters::victim", "--ignored", "--nocapture"]).env(VICTIM, "1");
    let mut victim = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(victim.stdout.take().unwrap()).lines();
    let line = lines.find_map(|line| line.unwrap().split_once("victim ").map(|(_, root)| root.to_owned())).unwrap();
    let root = Path::new(&line);
    assert!(!users_of(root).is_empty());
    victim.kill().unwrap();
    victim.wait().unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while root.exists() || !users_of(root).is_empty() {
        assert!(Instant::now() < deadline, "left over: {} {:?}", root.display(), users_of(root));
        thread::sleep(Duration::from_millis(50));
    }
}
