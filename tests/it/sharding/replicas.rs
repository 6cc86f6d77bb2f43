//! Reads on replicas: never behind the session's own writes, and never anything that only a primary can answer.

use std::thread;
use std::time::{Duration, Instant};

use super::answer::{ask, story};
use super::shop::{RANGE, database, fill, must};
use crate::harness::{Endpoint, RawClient, Setup, Shard, Weir, endpoint_of, unique};

const NAMES: &str = "SELECT name FROM customers WHERE customer_id IN (1, 11) ORDER BY customer_id";

/// A shop over two shards of its own, whose reads are split.
struct Split {
    shards: [Shard; 2],
    dbname: String,
    weir: Weir,
}

impl Split {
    fn start() -> Self {
        let shards = thread::scope(|scope| {
            ["split0", "split1"].map(|name| scope.spawn(move || Shard::start(name))).map(|shard| shard.join().unwrap())
        });
        let dbname = unique("shop");
        shards.iter().for_each(|shard| shard.create_database(&dbname));
        let [one, two] = &shards;
        let setup = Setup::new().database(database(RANGE, [one, two], &dbname).option("read_write_split = true"));
        let split = Self { weir: Weir::start(&setup), shards, dbname };
        fill(&mut split.client());
        split.shards.iter().for_each(Shard::await_replay);
        split
    }

    fn client(&self) -> RawClient {
        self.weir.endpoint("shop").raw()
    }

    fn on_replicas(&self, sql: &str) {
        for shard in &self.shards {
            endpoint_of(&shard.replica, &self.dbname).execute(sql);
        }
    }

    /// What is there, past Weir.
    fn primary(&self, index: usize) -> Endpoint {
        endpoint_of(&self.shards[index].primary, &self.dbname)
    }
}

/// Asks new sessions until one is answered like that: a replica serves nobody before Weir has seen it.
fn await_answer(split: &Split, sql: &str, expected: &str) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let answer = ask(&mut split.client(), sql).brief();
        if answer == expected {
            return;
        }
        assert!(Instant::now() < deadline, "{sql} gives {answer}, not {expected}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn reads_of_replicas_see_the_sessions_own_writes() {
    let split = Split::start();
    let mut writer = split.client();
    must(&mut writer, "SELECT 1");
    split.on_replicas("SELECT pg_wal_replay_pause()");
    for (id, name) in [(1, "Eva"), (11, "Flo")] {
        must(&mut writer, &format!("UPDATE customers SET name = '{name}' WHERE customer_id = {id}"));
        story(&mut writer, &[(&format!("SELECT name FROM customers WHERE customer_id = {id}"), name)]);
    }
    story(&mut writer, &[(NAMES, "Eva,Flo")]);
    // Another session's reads come from the replicas, and may be behind: the documented exception.
    await_answer(&split, NAMES, "Ada,Cid");
    await_answer(&split, "SELECT name FROM customers WHERE customer_id = 11", "Cid");
    story(&mut writer, &[(NAMES, "Eva,Flo")]);
    primary_only(&split);
    split.on_replicas("SELECT pg_wal_replay_resume()");
    await_answer(&split, NAMES, "Eva,Flo");
    story(&mut writer, &[(NAMES, "Eva,Flo")]);
    blocks_behind_reads(&split);
    new_tables(&split);
    lost_replicas(split);
}

/// While the replicas stand still, these see what only the primaries have.
fn primary_only(split: &Split) {
    for sql in [
        "SELECT name FROM customers WHERE customer_id = 1 AND random() < 2",
        "SELECT name FROM customers WHERE customer_id = 1 FOR UPDATE",
        "SELECT name FROM customers WHERE customer_id = 1 AND NOT pg_is_in_recovery()",
        "SELECT name FROM customers WHERE customer_id = 1 AND clock_timestamp() > '2000-01-01'",
        "BEGIN; SELECT name FROM customers WHERE customer_id = 1; COMMIT",
    ] {
        let mut client = split.client();
        let answers = super::answer::simple(&mut client, sql);
        assert!(answers.iter().any(|answer| answer.brief() == "Eva"), "{sql}: {answers:?}");
    }
    split.primary(0).execute("CREATE SEQUENCE numbers");
    story(&mut split.client(), &[("SELECT nextval('numbers')", "1"), ("SELECT nextval('numbers')", "2")]);
    story(&mut split.client(), &[("SELECT pg_is_in_recovery()", "f"), ("SELECT pg_try_advisory_xact_lock(1)", "t")]);
}

/// A read in front of BEGIN in one query string may be a replica's; the block is the primaries'.
fn blocks_behind_reads(split: &Split) {
    for (id, name) in [(1, "Hal"), (11, "Ivo")] {
        let read = format!("SELECT name FROM customers WHERE customer_id = {id}");
        let write = format!("UPDATE customers SET name = '{name}' WHERE customer_id = {id}");
        for sql in [
            format!("{read}; BEGIN; {write}; {read}; COMMIT"),
            format!("{NAMES}; BEGIN; {write}; {NAMES}; COMMIT"),
            format!("{NAMES}; BEGIN; {NAMES}; {write}; COMMIT"),
            format!("{NAMES}; SET work_mem = '5MB'; BEGIN; {read}; {write}; COMMIT; {NAMES}"),
        ] {
            let mut client = split.client();
            await_answer(split, "SELECT count(*) FROM customers", "4");
            let answers = super::answer::simple(&mut client, &sql);
            assert!(answers.iter().any(|answer| answer.command == "UPDATE 1"), "{sql}: {answers:?}");
            assert_eq!(answers.last().map(|answer| answer.error.clone()), Some(None), "{sql}: {answers:?}");
            story(&mut client, &[(&read, name)]);
        }
    }
    let mut client = split.client();
    must(&mut client, "UPDATE customers SET name = 'Eva' WHERE customer_id = 1");
    must(&mut client, "UPDATE customers SET name = 'Flo' WHERE customer_id = 11");
    await_answer(split, NAMES, "Eva,Flo");
}

/// A table that was just made can be read by anybody, however far the replicas are.
fn new_tables(split: &Split) {
    split.on_replicas("SELECT pg_wal_replay_pause()");
    must(&mut split.client(), "ALTER TABLE customers ADD COLUMN fresh int4 DEFAULT 7");
    story(
        &mut split.client(),
        &[("SELECT fresh FROM customers WHERE customer_id = 1", "7"), ("SELECT sum(fresh) FROM customers", "28")],
    );
    split.on_replicas("SELECT pg_wal_replay_resume()");
}

/// Reads go on without replicas.
fn lost_replicas(mut split: Split) {
    let mut before = split.client();
    await_answer(&split, NAMES, "Eva,Flo");
    story(&mut before, &[(NAMES, "Eva,Flo")]);
    split.shards.iter_mut().for_each(|shard| shard.replica.kill());
    story(&mut before, &[(NAMES, "Eva,Flo"), ("SELECT name FROM customers WHERE customer_id = 11", "Flo")]);
    for _ in 0..5 {
        story(&mut split.client(), &[(NAMES, "Eva,Flo"), ("SELECT name FROM customers WHERE customer_id = 1", "Eva")]);
    }
    split.shards.iter_mut().for_each(|shard| shard.replica.start().unwrap());
    story(
        &mut before,
        &[
            (NAMES, "Eva,Flo"),
            ("UPDATE customers SET name = 'Gil' WHERE customer_id = 11", "UPDATE 1"),
            (NAMES, "Eva,Gil"),
        ],
    );
    await_answer(&split, NAMES, "Eva,Gil");
}
