//! Transfers between accounts on three shards while Weir and the shards' servers are killed: the total never changes, what
//! was acknowledged is there, what failed is not, and nothing stays in doubt. Who looks at all shards as of one moment sees no
//! transfer by half.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use tokio_postgres::{Client, Error, SimpleQueryMessage};
use weir::cli::cluster::Node;

use crate::harness::{Database, Endpoint, Setup, Weir, endpoint_of, fresh_dir, start_primary};

const ACCOUNTS: i64 = 30;
const OPENING_BALANCE: i64 = 1000;
const TELLERS: usize = 4;
const NAMES: [&str; 3] = ["one", "two", "three"];

const MAP: &str = r#"
[keyspaces.account]
method = "hash"
key_type = "int8"

[tables]
accounts = { keyspace = "account", key = "account" }
moves = { keyspace = "account", key = "account" }
"#;

/// What a teller knows of a transfer when it goes on to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// COMMIT was acknowledged.
    Done,
    /// It failed before COMMIT, or COMMIT said so.
    Undone,
    /// The connection ended, or said that it does not know.
    Open,
}

/// Weir, three shards, and the book in which tellers write what became of their transfers.
struct Bank {
    shards: Vec<Node>,
    dir: PathBuf,
    setup: Setup,
    weir: Weir,
    /// Where tellers find the Weir of now.
    door: Arc<Mutex<Endpoint>>,
    book: Arc<Mutex<HashMap<i64, Fate>>>,
    next: Arc<AtomicI64>,
}

impl Bank {
    fn open() -> Self {
        let shards: Vec<Node> = NAMES.iter().map(|name| start_primary(name)).collect();
        let database = Database::new("bank").sharded_by(MAP).option("repeatable_read = \"all_shards\"");
        let database = shards.iter().zip(NAMES).fold(database, |made, (node, name)| {
            endpoint_of(node, "postgres").execute("CREATE DATABASE bank");
            made.nodes(name, node, &[], "bank")
        });
        let setup = Setup::new().weir("admin_users = [\"weir\"]").database(database);
        let dir = fresh_dir("bank");
        let weir = Weir::start_in(&dir, &setup);
        let door = Arc::new(Mutex::new(weir.endpoint("bank")));
        let bank = Self { shards, dir, setup, weir, door, book: Arc::default(), next: Arc::default() };
        let endpoint = bank.weir.endpoint("bank");
        endpoint.execute("CREATE TABLE accounts (account int8 PRIMARY KEY, balance int8 NOT NULL)");
        endpoint
            .execute("CREATE TABLE moves (account int8, transfer int8, amount int8, PRIMARY KEY (account, transfer))");
        for account in 1..=ACCOUNTS {
            endpoint.execute(&format!("INSERT INTO accounts VALUES ({account}, {OPENING_BALANCE})"));
        }
        bank
    }

    /// Tellers work until `stop` says so.
    fn tellers(&self, seed: u64, stop: &Arc<AtomicBool>) -> Vec<thread::JoinHandle<()>> {
        let teller = |number: usize| {
            let (stop, book, next) = (Arc::clone(stop), Arc::clone(&self.book), Arc::clone(&self.next));
            let door = Arc::clone(&self.door);
            let random = StdRng::seed_from_u64(seed * 100 + number as u64);
            thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
                runtime.block_on(work(&door, &stop, &book, &next, random));
            })
        };
        (0..TELLERS).map(teller).collect()
    }

    /// Somebody looks at all accounts as of one moment until `stop` says so. Gives how often that could be done.
    fn onlooker(&self, stop: &Arc<AtomicBool>) -> thread::JoinHandle<usize> {
        let (stop, door) = (Arc::clone(stop), Arc::clone(&self.door));
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(watch(&door, &stop))
        })
    }

    /// The same once, while nobody does harm: it can be done.
    fn look_at_rest(&self, what: &str) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let deadline = Instant::now() + Duration::from_secs(60);
            loop {
                let client = self.weir.endpoint("bank").connect().await.expect("Weir is there");
                match look(&client).await {
                    Ok(seen) => return assert_eq!(seen, whole(), "{what}"),
                    Err(error) => assert!(Instant::now() < deadline, "{what}: {error:?}\n{}", self.weir.log()),
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
    }

    /// Does some harm, at a random moment or at a point of somebody's commit, and mends it.
    fn harm(&mut self, random: &mut StdRng) -> String {
        let points = ["begun", "prepared", "decided", "committed_one"];
        let point = points.choose(random).copied().filter(|_| cfg!(debug_assertions) && random.random_bool(0.7));
        match point {
            Some(point) => {
                self.weir.stop_at(point);
                self.weir.await_stop_at(point);
            }
            None => thread::sleep(Duration::from_millis(random.random_range(0..300))),
        }
        let kills_weir = random.random_bool(0.6);
        let killed: Vec<usize> = (0..self.shards.len()).filter(|_| random.random_bool(0.25)).collect();
        for shard in &killed {
            self.shards[*shard].kill();
        }
        if kills_weir {
            self.weir.signal(libc::SIGKILL);
        }
        if let Some(point) = point {
            self.weir.go_on_from(point);
        }
        // Sometimes Weir is back before the servers are.
        let early = random.random_bool(0.5);
        if kills_weir && early {
            self.restart_weir();
        }
        thread::sleep(Duration::from_millis(random.random_range(0..300)));
        for shard in &killed {
            self.shards[*shard].start().expect("the server starts again");
        }
        if kills_weir && !early {
            self.restart_weir();
        }
        format!("point {point:?}, Weir killed: {kills_weir}, servers killed: {killed:?}")
    }

    fn restart_weir(&mut self) {
        self.weir = Weir::start_in(&self.dir, &self.setup);
        *self.door.lock().expect("no teller panicked") = self.weir.endpoint("bank");
    }

    /// Everything must be settled and add up.
    fn audit(&self, what: &str) {
        let endpoints: Vec<Endpoint> = self.shards.iter().map(|node| endpoint_of(node, "bank")).collect();
        let deadline = Instant::now() + Duration::from_secs(60);
        while !self.weir.endpoint("weir").value("SHOW TWO_PHASE").is_empty() {
            assert!(Instant::now() < deadline, "{what}: transactions stay in doubt\n{}", self.weir.log());
            thread::sleep(Duration::from_millis(20));
        }
        let mut sides: HashMap<i64, usize> = HashMap::new();
        let mut total = 0;
        for endpoint in &endpoints {
            assert_eq!(endpoint.value("SELECT count(*) FROM pg_prepared_xacts"), "0", "{what}");
            total += endpoint.value("SELECT coalesce(sum(balance), 0) FROM accounts").parse::<i64>().expect("a number");
            for transfer in endpoint.value("SELECT transfer FROM moves").lines() {
                *sides.entry(transfer.parse().expect("a number")).or_default() += 1;
            }
        }
        assert_eq!(total, ACCOUNTS * OPENING_BALANCE, "{what}");
        let book = self.book.lock().expect("no teller panicked");
        for (transfer, fate) in book.iter() {
            let found = sides.remove(transfer).unwrap_or(0);
            let fits = match fate {
                Fate::Done => found == 2,
                Fate::Undone => found == 0,
                Fate::Open => found == 0 || found == 2,
            };
            assert!(
                fits,
                "{what}: transfer {transfer} is {fate:?}, and {found} sides of it are there\n{}",
                self.weir.log()
            );
        }
        assert!(sides.is_empty(), "{what}: nobody made these transfers: {sides:?}");
    }
}

/// Transfers until it is told to stop; connects anew whenever a connection is lost.
async fn work(
    door: &Mutex<Endpoint>,
    stop: &AtomicBool,
    book: &Mutex<HashMap<i64, Fate>>,
    next: &AtomicI64,
    mut random: StdRng,
) {
    while let Some(client) = next_client(door, stop).await {
        while !stop.load(Ordering::Relaxed) && !client.is_closed() {
            let transfer = next.fetch_add(1, Ordering::Relaxed);
            let fate = attempt(&client, transfer, &mut random).await;
            book.lock().expect("no teller panicked").insert(transfer, fate);
        }
    }
}

/// A connection to the Weir of now; `None` when it is time to stop.
async fn next_client(door: &Mutex<Endpoint>, stop: &AtomicBool) -> Option<Client> {
    while !stop.load(Ordering::Relaxed) {
        let endpoint = door.lock().expect("no teller panicked").clone();
        if let Ok(client) = endpoint.connect().await {
            return Some(client);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    None
}

/// Looks at all accounts in REPEATABLE READ transactions: the total never wavers, and no transfer has one side.
async fn watch(door: &Mutex<Endpoint>, stop: &AtomicBool) -> usize {
    let mut looks = 0;
    while let Some(client) = next_client(door, stop).await {
        while !stop.load(Ordering::Relaxed) && !client.is_closed() {
            let seen = look(&client).await;
            let _perhaps_lost = client.simple_query("ROLLBACK").await;
            if let Ok(seen) = seen {
                assert_eq!(seen, whole());
                looks += 1;
            }
        }
    }
    looks
}

/// What is seen when nothing is seen by half: the total, and no transfer with one side.
fn whole() -> [String; 2] {
    [(ACCOUNTS * OPENING_BALANCE).to_string(), "0".to_owned()]
}

async fn look(client: &Client) -> Result<[String; 2], Error> {
    client.simple_query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    let total = first_value(client, "SELECT sum(balance) FROM accounts").await?;
    let one_sided = "SELECT count(*) FROM (SELECT transfer FROM moves GROUP BY transfer HAVING count(*) <> 2) t";
    Ok([total, first_value(client, one_sided).await?])
}

async fn first_value(client: &Client, sql: &str) -> Result<String, Error> {
    let answer = client.simple_query(sql).await?;
    let row = answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    Ok(row.expect("a row").to_owned())
}

async fn attempt(client: &Client, transfer: i64, random: &mut StdRng) -> Fate {
    let amount = random.random_range(1..50_i64);
    let mut accounts = [random.random_range(1..=ACCOUNTS), random.random_range(1..=ACCOUNTS)];
    if accounts[0] == accounts[1] {
        accounts[1] = accounts[0] % ACCOUNTS + 1;
    }
    // Mostly in one order, so that deadlocks are few.
    if random.random_bool(0.95) {
        accounts.sort_unstable();
    }
    let [from, to] = accounts;
    let steps = [
        "BEGIN".to_owned(),
        format!("UPDATE accounts SET balance = balance - {amount} WHERE account = {from}"),
        format!("UPDATE accounts SET balance = balance + {amount} WHERE account = {to}"),
        format!("INSERT INTO moves VALUES ({from}, {transfer}, -{amount})"),
        format!("INSERT INTO moves VALUES ({to}, {transfer}, {amount})"),
    ];
    for step in &steps {
        if client.simple_query(step).await.is_err() {
            let _perhaps_lost = client.simple_query("ROLLBACK").await;
            return Fate::Undone;
        }
    }
    match client.simple_query("COMMIT").await {
        Ok(answer) => match answer.first() {
            Some(SimpleQueryMessage::CommandComplete(_)) => Fate::Done,
            other => panic!("COMMIT is answered with {other:?}"),
        },
        Err(error) if is_certain(&error) => Fate::Undone,
        Err(_) => Fate::Open,
    }
}

/// Whether an error of COMMIT says that nothing was committed: any but those of the connection (class 08) and its end.
fn is_certain(error: &Error) -> bool {
    error.code().is_some_and(|code| !code.code().starts_with("08") && !code.code().starts_with("57P"))
}

fn rounds(seed: u64, count: u64) {
    let mut bank = Bank::open();
    let mut random = StdRng::seed_from_u64(seed);
    let mut looks = 0;
    for round in 0..count {
        let stop = Arc::new(AtomicBool::new(false));
        let tellers = bank.tellers(seed + round, &stop);
        let onlooker = bank.onlooker(&stop);
        thread::sleep(Duration::from_millis(random.random_range(100..600)));
        let harm = bank.harm(&mut random);
        stop.store(true, Ordering::Relaxed);
        tellers.into_iter().for_each(|teller| teller.join().expect("a teller's work ends"));
        looks += onlooker.join().expect("what the onlooker saw adds up");
        let what = format!("seed {seed}, round {round}, {harm}");
        bank.audit(&what);
        bank.look_at_rest(&what);
    }
    let book = bank.book.lock().expect("no teller panicked");
    let count_of = |fate: Fate| book.values().filter(|known| **known == fate).count();
    let (done, undone, open) = (count_of(Fate::Done), count_of(Fate::Undone), count_of(Fate::Open));
    println!(
        "{count} rounds: {done} transfers acknowledged, {undone} failed, {open} with an open end; {looks} looks meanwhile"
    );
    assert!(done > 0);
}

#[test]
fn transfers_survive_kills() {
    rounds(1, 4);
}

/// `SEED` repeats a run, `ROUNDS` makes it shorter or longer. Fault points exist in debug builds only.
#[test]
#[ignore = "soak"]
fn transfers_survive_kills_for_long() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    rounds(number("SEED").unwrap_or(1000), number("ROUNDS").unwrap_or(300));
}
