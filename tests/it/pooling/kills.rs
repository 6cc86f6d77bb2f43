//! Many clients under load while servers are killed at random: who is not on a killed server notices nothing.

use std::collections::HashSet;
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use weir::cli::cluster::Node;
use weir::wire::backend::tag;
use weir::wire::{frontend, startup};

use super::{Front, eventually, rows, sqlstate};
use crate::harness::{Endpoint, Message, RawClient, endpoint_of, start_primary};

const CLIENTS: usize = 500;
const SERVERS: usize = 20;
/// Every so many clients, one has a temporary table and so a server of its own.
const PINNED_EACH: usize = 250;
const ACCOUNTS: u32 = 1_000;
/// One backend is killed each time, and not before the clients have done so many transactions more.
const KILL_EACH: Duration = Duration::from_millis(50);
const WORK_EACH: usize = 20;
/// What a client that failed waits before it goes on.
const REST: Duration = Duration::from_millis(20);

/// What a loss may be called: the server says that it was told to end, or its connection breaks.
const LOSSES: [&str; 2] = ["57P01", "08006"];

/// File descriptors that Weir may have besides those of clients and servers, more than before the load: connections of
/// its own that come and go.
const MORE_DESCRIPTORS_MAX: usize = 10;
/// What Weir may use more at the end of the load than after its first quarter. A leak of anything per statement or per
/// killed server comes to more in ten minutes.
const MORE_MEMORY_MAX_KIB: usize = 16 * 1024;

/// What the clients did, told by themselves.
#[derive(Debug, Default)]
struct Tally {
    /// Units and blocks that succeeded.
    done: AtomicUsize,
    /// Statements, blocks and pinned sessions that failed; each was on one server.
    lost: AtomicUsize,
    /// Those that failed while PostgreSQL itself was down.
    lost_in_crash: AtomicUsize,
    /// Rows whose INSERT or COMMIT was acknowledged, and those of which nothing is known.
    acknowledged: Mutex<HashSet<u64>>,
    uncertain: Mutex<HashSet<u64>>,
}

/// What all threads share.
struct Soak {
    app: Endpoint,
    tally: Tally,
    over: AtomicBool,
    /// Held to write while PostgreSQL is down. A failure counts as one of the crash when it began, or ended, then.
    crash: RwLock<usize>,
}

/// How a request ended.
enum Answer {
    Done(Vec<Message>),
    /// An error, and the session goes on.
    Failed(String),
    /// The connection ended.
    Gone,
}

/// One client's thread.
struct Loader<'s> {
    soak: &'s Soak,
    client: RawClient,
    /// As the last ReadyForQuery said.
    in_block: bool,
    number: u64,
    next_row: u64,
    random: SmallRng,
}

impl Soak {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// The number of crashes so far; `None` while there is one.
    fn crashes(&self) -> Option<usize> {
        self.crash.try_read().ok().map(|count| *count)
    }

    /// Counts something that failed and began after that many crashes.
    fn lose(&self, began: Option<usize>, state: &str) {
        if began.is_none() || began != self.crashes() {
            self.tally.lost_in_crash.fetch_add(1, Ordering::Relaxed);
            return;
        }
        assert!(LOSSES.contains(&state), "a statement failed with {state}");
        self.tally.lost.fetch_add(1, Ordering::Relaxed);
    }
}

impl Loader<'_> {
    fn run(mut self) -> RawClient {
        while !self.soak.is_over() {
            let began = self.soak.crashes();
            if let Err(state) = self.unit() {
                self.soak.lose(began, &state);
                thread::sleep(REST);
            } else {
                self.soak.tally.done.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.client
    }

    /// One transaction. The error is the SQLSTATE of what failed first.
    fn unit(&mut self) -> Result<(), String> {
        if self.number.is_multiple_of(PINNED_EACH as u64) {
            return self.pinned();
        }
        match self.random.random_range(0..4) {
            0 => self.read_prepared(),
            1 => self.insert(),
            2 => self.block(),
            _ => self.read(),
        }
    }

    fn read(&mut self) -> Result<(), String> {
        let account = self.random.random_range(1..=ACCOUNTS);
        let answer = self.query(&format!("SELECT aid FROM accounts WHERE aid = {account}"));
        self.expect_row(answer, account)
    }

    fn read_prepared(&mut self) -> Result<(), String> {
        let account = self.random.random_range(1..=ACCOUNTS);
        let text = account.to_string();
        let answer = self.ask(|out| {
            frontend::parse(out, b"", &frontend::definition("SELECT aid FROM accounts WHERE aid = $1::int", &[]));
            let len = u32::try_from(text.len()).unwrap().to_be_bytes();
            frontend::bind(out, b"", b"", &[&[0, 0, 0, 1], len.as_slice(), text.as_bytes(), &[0, 0]].concat());
            frontend::execute(out, b"", 0);
            frontend::sync(out);
        });
        self.expect_row(answer, account)
    }

    fn expect_row(&mut self, answer: Answer, account: u32) -> Result<(), String> {
        let messages = self.survive(answer)?;
        assert_eq!(rows(&messages), [account.to_string()], "the answer to another question");
        Ok(())
    }

    fn insert(&mut self) -> Result<(), String> {
        let row = self.row();
        let answer = self.query(&format!("INSERT INTO log VALUES ({row})"));
        let result = self.survive(answer).map(drop);
        self.record(row, result.is_ok());
        result
    }

    fn block(&mut self) -> Result<(), String> {
        let (row, account) = (self.row(), self.random.random_range(1..=ACCOUNTS));
        let statements = [
            "BEGIN".to_owned(),
            format!("UPDATE accounts SET balance = balance + 1 WHERE aid = {account}"),
            format!("INSERT INTO log VALUES ({row})"),
        ];
        for sql in &statements {
            let answer = self.query(sql);
            self.survive(answer).inspect_err(|_| self.roll_back())?;
        }
        let answer = self.query("COMMIT");
        let result = self.survive(answer).and_then(committed);
        if result.is_err() {
            self.roll_back();
        }
        self.record(row, result.is_ok());
        result
    }

    /// Ends a block whose server is lost. Weir answers that itself. Where BEGIN was lost, or COMMIT told of the loss, there
    /// is no block any more, and a ROLLBACK would be a statement of its own on another server.
    fn roll_back(&mut self) {
        if !self.in_block {
            return;
        }
        match self.query("ROLLBACK") {
            Answer::Done(_) => {}
            Answer::Failed(state) => assert!(self.soak.crashes().is_none_or(|count| count > 0), "{state}"),
            Answer::Gone => panic!("gone"),
        }
    }

    /// Makes a temporary table where there is none, and fills it. A session that loses it is closed by Weir.
    fn pinned(&mut self) -> Result<(), String> {
        let answer = self.query("CREATE TEMP TABLE IF NOT EXISTS mine (n int); INSERT INTO mine VALUES (1)");
        match answer {
            Answer::Done(_) => {
                thread::sleep(REST);
                Ok(())
            }
            Answer::Failed(state) => Err(state),
            Answer::Gone => {
                self.reconnect();
                Err(LOSSES[0].to_owned())
            }
        }
    }

    /// The answer of a session that must go on whatever happens to its server.
    fn survive(&mut self, answer: Answer) -> Result<Vec<Message>, String> {
        match answer {
            Answer::Done(messages) => Ok(messages),
            Answer::Failed(state) => Err(state),
            Answer::Gone => panic!("a client that was not pinned was sent away"),
        }
    }

    fn reconnect(&mut self) {
        while !self.soak.is_over() {
            thread::sleep(REST);
            if let Some(client) = log_in(&self.soak.app) {
                self.client = client;
                return;
            }
        }
    }

    fn row(&mut self) -> u64 {
        self.next_row += 1;
        (self.number << 32) + self.next_row
    }

    fn record(&self, row: u64, acknowledged: bool) {
        let Tally { acknowledged: known, uncertain, .. } = &self.soak.tally;
        let set = if acknowledged { known } else { uncertain };
        set.lock().unwrap().insert(row);
    }

    fn query(&mut self, sql: &str) -> Answer {
        self.ask(|out| frontend::query(out, sql))
    }

    fn ask(&mut self, write: impl FnOnce(&mut bytes::BytesMut)) -> Answer {
        let (answer, status) = ask(&mut self.client, write);
        self.in_block = status.is_some_and(|status| status != b'I');
        answer
    }
}

/// The answer, and the status that its ReadyForQuery told.
fn ask(client: &mut RawClient, write: impl FnOnce(&mut bytes::BytesMut)) -> (Answer, Option<u8>) {
    let mut out = bytes::BytesMut::new();
    write(&mut out);
    // A connection that has ended says so when it is read.
    let _ended = client.sender().write_all(&out);
    let mut messages = Vec::new();
    while let Some(message) = client.next() {
        let status = (message.tag == tag::READY_FOR_QUERY).then(|| message.body[0]);
        messages.push(message);
        if status.is_some() {
            return (sqlstate(&messages).map_or_else(|| Answer::Done(messages), Answer::Failed), status);
        }
    }
    (Answer::Gone, None)
}

/// COMMIT of a failed block is a ROLLBACK.
fn committed(messages: Vec<Message>) -> Result<(), String> {
    let complete = messages.iter().find(|message| message.tag == tag::COMMAND_COMPLETE).expect("CommandComplete");
    if complete.body == b"COMMIT\0" { Ok(()) } else { Err("25P02".to_owned()) }
}

/// A session of the user who needs no password, or `None` when there is none to be had now.
fn log_in(app: &Endpoint) -> Option<RawClient> {
    let mut client = RawClient::connect(app.address);
    let parameters = [("user", app.user.as_str()), ("database", app.database.as_str())];
    client.send_with(|out| startup::startup_message(out, parameters));
    while let Some(message) = client.next() {
        match message.tag {
            tag::READY_FOR_QUERY => return Some(client),
            tag::ERROR_RESPONSE => return None,
            _ => {}
        }
    }
    None
}

/// Weir over one PostgreSQL of the test's own, and its database for a user who needs no password: 500 logins shall not
/// take long.
fn front(node: &Node) -> (Front, Endpoint) {
    let direct = endpoint_of(node, "postgres");
    direct.execute("CREATE ROLE clerk LOGIN PASSWORD 'clerk'");
    direct.execute("CREATE DATABASE app OWNER clerk");
    let user = "name = \"clerk\"\nauth = \"trust\"\nserver_password = \"clerk\"";
    let front = Front::before(node, "app", SERVERS, |setup| setup.user(user));
    let app = front.app.clone().with_user("clerk", "clerk");
    app.execute(&format!(
        "CREATE TABLE accounts AS SELECT aid, 0 AS balance FROM generate_series(1, {ACCOUNTS}) AS aid; \
         ALTER TABLE accounts ADD PRIMARY KEY (aid); CREATE TABLE log (row bigint)"
    ));
    (front, app)
}

/// Kills one backend of the pool. Gives how many that were.
fn kill_one(observer: &mut RawClient) -> usize {
    let count = observer.value(
        "SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM (SELECT pid FROM pg_stat_activity \
         WHERE usename = 'clerk' AND state IS NOT NULL ORDER BY random() LIMIT 1) AS one",
    );
    count.parse().expect("a number")
}

/// Kills PostgreSQL altogether, and starts it again.
fn crash(soak: &Soak, node: &mut Node) {
    let mut count = soak.crash.write().unwrap();
    *count += 1;
    node.kill();
    node.start().unwrap();
    endpoint_of(node, "app").value("SELECT 1");
    // Those who failed last, and what Weir still has to find out about its servers.
    thread::sleep(REST * 10);
}

/// Lets the clients work for a while.
fn await_work(soak: &Soak) {
    let done = || soak.tally.done.load(Ordering::Relaxed) + soak.tally.lost.load(Ordering::Relaxed);
    let before = done();
    thread::sleep(KILL_EACH);
    eventually("the clients get on", || done() >= before + WORK_EACH);
}

fn descriptors(front: &Front) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", front.weir.pid())).unwrap().count()
}

/// How long a soak is: whatever comes last.
#[derive(Clone, Copy, Debug)]
struct Length {
    kills: usize,
    time: Duration,
    /// PostgreSQL itself is killed after every so many kills.
    crash_each: usize,
}

/// Loads Weir and kills a server again and again.
fn soak(length: Length) {
    let mut node = start_primary("soaking");
    let (front, app) = front(&node);
    let soak = Soak { app, tally: Tally::default(), over: AtomicBool::new(false), crash: RwLock::new(0) };
    let clients: Vec<_> = (0..CLIENTS).map(|_| log_in(&soak.app).expect("a session")).collect();
    let descriptors_before = descriptors(&front);
    let (mut kills, mut memory) = (0, 0);
    let mut clients: Vec<RawClient> = thread::scope(|scope| {
        let start = |(number, client)| {
            let number = number as u64;
            let random = SmallRng::seed_from_u64(number);
            let loader = Loader { soak: &soak, client, in_block: false, number, next_row: 0, random };
            thread::Builder::new().stack_size(256 * 1024).spawn_scoped(scope, || loader.run()).unwrap()
        };
        let threads: Vec<_> = clients.into_iter().enumerate().map(start).collect();
        let began = Instant::now();
        let mut observer = front.direct.raw();
        // A client that panics ends the test at once.
        while (kills < length.kills || began.elapsed() < length.time) && !threads.iter().any(|one| one.is_finished()) {
            await_work(&soak);
            kills += kill_one(&mut observer);
            if memory == 0 && kills > length.kills / 4 && began.elapsed() > length.time / 4 {
                memory = super::memory::resident_kib(&front);
            }
            if kills % length.crash_each == 0 {
                crash(&soak, &mut node);
                observer = front.direct.raw();
            }
        }
        soak.over.store(true, Ordering::Relaxed);
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
    let (done, lost) = (count(&soak.tally.done), count(&soak.tally.lost));
    println!(
        "{kills} servers killed, {} crashes: {done} transactions done, {lost} lost, {} more while PostgreSQL was down",
        soak.crashes().unwrap(),
        count(&soak.tally.lost_in_crash)
    );
    assert!(lost <= kills, "{lost} transactions were lost on {kills} servers");
    everybody_goes_on(&mut clients, &soak);
    let memory_after = super::memory::resident_kib(&front);
    assert!(memory_after < memory + MORE_MEMORY_MAX_KIB, "{memory} KiB after a quarter, {memory_after} KiB at the end");
    let most = descriptors_before + SERVERS + MORE_DESCRIPTORS_MAX;
    eventually("descriptors are given back", || descriptors(&front) <= most);
    nothing_was_lost(&front, &soak.tally);
    drop(clients);
    every_server_is_given_back(&front);
}

fn everybody_goes_on(clients: &mut [RawClient], soak: &Soak) {
    for (number, client) in clients.iter_mut().enumerate() {
        match ask(client, |out| frontend::query(out, "SELECT 1")).0 {
            Answer::Done(_) => {}
            // Killed when everybody had stopped.
            Answer::Gone if number.is_multiple_of(PINNED_EACH) => *client = log_in(&soak.app).expect("a session"),
            Answer::Failed(state) => panic!("client {number} fails: {state}"),
            Answer::Gone => panic!("client {number} is gone"),
        }
    }
}

/// What was acknowledged is there, and nothing else but what may be there.
fn nothing_was_lost(front: &Front, tally: &Tally) {
    let output = front.direct.execute("SELECT row FROM log");
    let rows: Vec<u64> = output.lines().map(|line| line.parse().unwrap()).collect();
    let found: HashSet<u64> = rows.iter().copied().collect();
    assert_eq!(rows.len(), found.len(), "a row was written twice");
    let (acknowledged, uncertain) = (tally.acknowledged.lock().unwrap(), tally.uncertain.lock().unwrap());
    assert_eq!(acknowledged.difference(&found).next(), None, "an acknowledged row is missing");
    let explained = |row: &&u64| acknowledged.contains(row) || uncertain.contains(row);
    assert_eq!(found.iter().find(|row| !explained(row)), None, "a row that nobody can have committed");
}

/// Nobody has a server any more, and the pool's numbers are PostgreSQL's.
fn every_server_is_given_back(front: &Front) {
    let sum = |column: &str| -> usize {
        front.shown("SHOW POOLS", column).iter().map(|number| number.parse::<usize>().unwrap()).sum()
    };
    eventually("nobody waits or works", || sum("cl_waiting") + sum("sv_active") == 0);
    eventually("every server is a session", || front.sessions("usename = 'clerk'") == sum("sv_idle"));
    assert!(sum("sv_idle") <= SERVERS);
}

#[test]
fn five_hundred_clients_while_servers_are_killed() {
    soak(Length { kills: 60, time: Duration::ZERO, crash_each: 40 });
}

/// `SECONDS` makes it shorter or longer.
#[test]
#[ignore = "soak"]
fn five_hundred_clients_for_ten_minutes_while_servers_are_killed() {
    let seconds = std::env::var("SECONDS").map_or(600, |text| text.parse().expect("a number"));
    soak(Length { kills: 0, time: Duration::from_secs(seconds), crash_each: 500 });
}
