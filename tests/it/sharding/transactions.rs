//! Random transactions: one PostgreSQL against Weir over three shards. Every answer is compared, and in the end every table.

mod statements;

use std::collections::BTreeMap;

use self::statements::{Generator, SETUP, SHARD_MAP, Statement, TABLES};
use super::answer::{Answer, Order, ask, extended};
use super::copy_in::copy;
use super::shop::must;
use crate::harness::{Database, RawClient, Setup, Weir, endpoint_of, servers, unique};

/// Weir over three shards and one PostgreSQL with the same tables.
struct Bench {
    _weir: Weir,
    sharded: RawClient,
    single: RawClient,
    shards: Vec<RawClient>,
}

impl Bench {
    fn start() -> Self {
        let names = ["one", "two", "three"].map(|name| unique(&format!("transactions_{name}")));
        let homes = [&servers().shop[0], &servers().shop[1], &servers().shop[0]];
        let mut database = Database::new("transactions").sharded_by(SHARD_MAP);
        for ((shard, home), name) in ["one", "two", "three"].iter().zip(homes).zip(&names) {
            home.create_database(name);
            database = database.shard(shard, home, name);
        }
        let weir = Weir::start(&Setup::new().database(database));
        let single = unique("transactions");
        let reference = &servers().reference;
        endpoint_of(reference, "postgres").execute(&format!("CREATE DATABASE {single}"));
        let mut bench = Self {
            sharded: weir.endpoint("transactions").raw(),
            single: endpoint_of(reference, &single).raw(),
            shards: homes.iter().zip(&names).map(|(home, name)| endpoint_of(&home.primary, name).raw()).collect(),
            _weir: weir,
        };
        for sql in SETUP {
            must(&mut bench.sharded, sql);
            must(&mut bench.single, sql);
        }
        bench
    }

    /// Every row of every table must be the same, and nothing may be left prepared.
    fn compare_tables(&mut self) {
        for (table, key) in TABLES {
            let sql = format!("SELECT * FROM {table} ORDER BY {key}");
            let (sharded, single) = (ask(&mut self.sharded, &sql), ask(&mut self.single, &sql));
            assert_eq!(sharded.difference(&single, Order::Total), None, "{sql}");
        }
        for shard in &mut self.shards {
            let left = ask(shard, "SELECT count(*) FROM pg_prepared_xacts WHERE database = current_database()");
            assert_eq!(left.brief(), "0");
        }
    }
}

fn run(client: &mut RawClient, statement: &Statement) -> Answer {
    match (&statement.data, &statement.values) {
        (Some(data), _) => copy(client, &statement.sql, data),
        (None, Some(values)) => {
            let values: Vec<Option<&str>> = values.iter().map(Option::as_deref).collect();
            extended(client, &statement.sql, &values)
        }
        (None, None) => ask(client, &statement.sql),
    }
}

/// What differs, if anything does. Of two errors in one statement the shards may meet another one first than PostgreSQL,
/// but one of the same class.
fn difference(ours: &Answer, theirs: &Answer, order: Order) -> Option<String> {
    match (ours.sqlstate(), theirs.sqlstate()) {
        (Some(ours), Some(theirs)) if ours[..2] == theirs[..2] => None,
        _ => ours.difference(theirs, order),
    }
}

/// Runs so many statements on both sides; every form must occur `each` times.
fn compare(seed: u64, count: usize, each: usize) {
    let mut bench = Bench::start();
    let mut generator = Generator::new(seed);
    let mut refused: BTreeMap<String, usize> = BTreeMap::new();
    let (mut errors, mut wrong): (BTreeMap<String, usize>, Vec<String>) = (BTreeMap::new(), Vec::new());
    for number in 0..count {
        let statement = generator.statement();
        let ours = run(&mut bench.sharded, &statement);
        if let Some(refusal) = ours.refusal() {
            *refused.entry(format!("{}: {}: {}", statement.form, refusal.message, refusal.detail)).or_default() += 1;
            if generator.is_in_block() {
                // The block has failed; so must the other one.
                ask(&mut bench.single, "SELECT 1 / 0");
            }
            generator.heed(&statement, true);
            continue;
        }
        let theirs = run(&mut bench.single, &statement);
        if let Some(code) = theirs.sqlstate() {
            *errors.entry(code.to_owned()).or_default() += 1;
        }
        if let Some(difference) = difference(&ours, &theirs, statement.order) {
            wrong
                .push(format!("{number}: {} {:?} ({}): {difference}", statement.sql, statement.values, statement.form));
            break;
        }
        generator.heed(&statement, theirs.error.is_some());
    }
    let refusals: usize = refused.values().sum();
    println!("{count} statements in transactions, seed {seed}: {refusals} refused, {} wrong", wrong.len());
    println!("mix: {:?}", generator.mix);
    println!("errors: {errors:?}");
    refused.iter().for_each(|(reason, count)| println!("{count:6} x {reason}"));
    assert!(wrong.is_empty(), "seed {seed}:\n{}", wrong.join("\n"));
    assert!(refusals * 50 <= count, "{refusals} of {count} were refused");
    for form in Generator::forms() {
        let made = generator.mix.get(form).copied().unwrap_or_default();
        assert!(made >= each, "{form}: {made}");
    }
    must(&mut bench.sharded, "ROLLBACK");
    must(&mut bench.single, "ROLLBACK");
    bench.compare_tables();
}

#[test]
fn transactions_over_shards_are_as_those_of_one_server() {
    compare(21, 1_200, 2);
}

/// `SEED` repeats a run, `STATEMENTS` makes it shorter or longer; five sets of tables share them.
#[test]
#[ignore = "soak"]
fn many_transactions_over_shards() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let seed = number("SEED").unwrap_or(2000);
    let count = usize::try_from(number("STATEMENTS").unwrap_or(50_000)).expect("a count");
    (0..5).for_each(|turn| compare(seed + turn, count / 5, count / 2500));
}
