//! Many clients over few servers.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use super::{Front, sqlstate};

const CLIENTS: usize = 200;
const SERVERS: usize = 10;

/// Runs `work` while looking, again and again, how many sessions the database has; gives the most that were seen.
fn most_sessions(front: &Front, work: impl FnOnce()) -> usize {
    let (most, done) = (AtomicUsize::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                most.fetch_max(front.sessions("true"), Ordering::Relaxed);
            }
        });
        work();
        done.store(true, Ordering::Relaxed);
    });
    most.into_inner()
}

#[test]
fn two_hundred_clients_over_ten_servers() {
    let front = Front::new(SERVERS);
    assert_eq!(front.app.pgbench(["-i", "-q", "-I", "dtGvp", "-s", "1"]).status, 0);
    for mode in ["simple", "extended", "prepared"] {
        let clients = CLIENTS.to_string();
        let arguments = ["-n", "-S", "-M", mode, "-c", &clients, "-j", "2", "-t", "20"];
        let most = most_sessions(&front, || {
            let run = front.app.pgbench(arguments);
            assert_eq!(run.status, 0, "{mode}: {}", run.stderr);
            assert!(run.stdout.contains("number of failed transactions: 0"), "{mode}: {}", run.stdout);
            let processed = format!("actually processed: {}/{}", CLIENTS * 20, CLIENTS * 20);
            assert!(run.stdout.contains(&processed), "{mode}: {}", run.stdout);
        });
        assert!((1..=SERVERS).contains(&most), "{mode}: {most} servers");
    }
}

#[test]
fn transactions_that_write_add_up() {
    let front = Front::new(SERVERS);
    assert_eq!(front.app.pgbench(["-i", "-q", "-s", "1"]).status, 0);
    for mode in ["simple", "extended", "prepared"] {
        let run = front.app.pgbench(["-n", "-M", mode, "-c", "20", "-j", "2", "-t", "20"]);
        assert_eq!(run.status, 0, "{mode}: {}", run.stderr);
    }
    let sums = "SELECT count(*), sum(delta) = (SELECT sum(abalance) FROM pgbench_accounts) FROM pgbench_history";
    assert_eq!(front.app.value(sums), "1200|t");
}

/// However few servers there are, and on whichever worker they are: nobody waits for ever while others are served.
#[test]
fn nobody_starves() {
    for pool_size in [1, 2, 3] {
        let front = Front::with(pool_size, |setup| setup.weir("workers = 2"));
        let busy = AtomicBool::new(true);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let mut client = front.app.raw();
                    while busy.load(Ordering::Relaxed) {
                        client.run("SELECT 1");
                    }
                });
            }
            // These have to get through although the others never pause. Both workers get some of them.
            let late = [(); 4].map(|()| scope.spawn(|| (0..5).for_each(|_| front.app.raw().run("SELECT 2"))));
            let results = late.map(|late| late.join());
            busy.store(false, Ordering::Relaxed);
            results.into_iter().for_each(|result| result.unwrap());
        });
        assert!(front.sessions("true") <= pool_size);
    }
}

#[test]
fn a_client_that_waits_too_long_is_told_so_and_goes_on() {
    let front = Front::with(1, |setup| setup.pool("query_wait_timeout = \"200ms\""));
    let mut holder = front.app.raw();
    let mut waiting = front.app.raw();
    holder.run("BEGIN");
    for _ in 0..2 {
        let messages = waiting.query("SELECT 1");
        assert_eq!(sqlstate(&messages).as_deref(), Some("53300"), "{messages:?}");
        assert!(messages[0].field(b'D').unwrap().contains("query_wait_timeout"), "{messages:?}");
    }
    holder.run("COMMIT");
    assert_eq!(waiting.value("SELECT 1"), "1");
}

#[test]
fn clients_are_served_in_the_order_they_came() {
    let front = Front::with(1, |setup| setup.weir("workers = 1"));
    front.direct.execute("CREATE TABLE arrivals (place serial, client int)");
    let mut holder = front.app.raw();
    let mut clients: Vec<_> = (0..10).map(|_| front.app.raw()).collect();
    holder.run("BEGIN");
    for (number, client) in clients.iter_mut().enumerate() {
        let sql = format!("INSERT INTO arrivals (client) VALUES ({number})");
        client.send_with(|out| weir::wire::frontend::query(out, &sql));
        let queue = (number + 1).to_string();
        super::eventually("the client queues", || front.shown("SHOW POOLS", "cl_waiting") == [queue.clone()]);
    }
    holder.run("COMMIT");
    clients.iter_mut().for_each(|client| drop(client.until_ready()));
    assert_eq!(front.direct.value("SELECT array_agg(client ORDER BY place) FROM arrivals"), "{0,1,2,3,4,5,6,7,8,9}");
}

#[test]
fn a_pool_that_was_full_fills_again_when_servers_close() {
    let front = Front::with(2, |setup| setup.pool("server_lifetime = \"0s\""));
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let mut client = front.app.raw();
                (0..10).for_each(|_| client.run("SELECT 1"));
            });
        }
    });
}
