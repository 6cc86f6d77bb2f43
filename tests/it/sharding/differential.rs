//! The same statements against one PostgreSQL and against Weir over two shards.
//!
//! A difference fails. A refusal (SQLSTATE 0A000) is counted, and allowed where the corpus says so.

use std::collections::BTreeMap;

use super::answer::{Answer, Order, ask, extended, extended_in, simple};
use super::corpus::{Case, Refusal, cases};
use super::random::Generator;
use super::shop::{HASH, Pair, RANGE};
use crate::harness::{endpoint_of, servers};

/// What became of the statements of a run.
#[derive(Debug, Default)]
struct Tally {
    same: usize,
    /// By message and DETAIL, how many were refused.
    refused: BTreeMap<String, usize>,
    failures: Vec<String>,
}

/// How a statement is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Simple,
    Extended,
    /// The extended one, with results in binary format.
    Binary,
}

impl Tally {
    fn fail(&mut self, case: &Case, why: impl std::fmt::Display) {
        self.failures.push(format!("{}\n    {why}", case.sql));
    }

    /// Prints the counts; fails when anything differed.
    fn close(self, title: &str) {
        let refused: usize = self.refused.values().sum();
        println!("{title}: {} alike, {refused} refused, {} wrong", self.same, self.failures.len());
        for (reason, count) in &self.refused {
            println!("{count:6} x {reason}");
        }
        assert!(self.failures.is_empty(), "{title}: {} statements\n{}", self.failures.len(), self.failures.join("\n"));
    }
}

impl Pair {
    /// Weir's answers and PostgreSQL's. What Weir refused does not reach PostgreSQL, so that both keep the same rows.
    fn answers(&mut self, case: &Case, protocol: Protocol) -> (Vec<Answer>, Option<Vec<Answer>>) {
        let run = |client: &mut _| match protocol {
            Protocol::Simple => simple(client, &case.sql),
            Protocol::Extended => vec![extended(client, &case.sql, &case.values())],
            Protocol::Binary => vec![extended_in(client, &case.sql, &case.values(), 1)],
        };
        let sharded = run(&mut self.sharded);
        let refused = sharded.iter().any(|answer| answer.refusal().is_some());
        let single = (!refused).then(|| run(&mut self.single));
        if case.has_sums() {
            let rounded = |answers: Vec<Answer>| answers.iter().map(Answer::with_rounded_floats).collect();
            return (rounded(sharded), single.map(rounded));
        }
        (sharded, single)
    }

    /// Runs a case on both sides and compares.
    fn judge(&mut self, case: &Case, protocol: Protocol, tally: &mut Tally) {
        let (sharded, single) = self.answers(case, protocol);
        let Some(single) = single else {
            return note_refusal(case, &sharded, tally);
        };
        if case.refusal == Refusal::Always {
            tally.fail(case, format!("was not refused: {sharded:?}"));
        } else if sharded.len() != single.len() {
            tally.fail(case, format!("{} answers instead of {}: {sharded:?}", sharded.len(), single.len()));
        } else if let Some(difference) = self.difference(case, protocol, &sharded, &single) {
            tally.fail(case, format!("{protocol:?}: {difference}"));
        } else {
            tally.same += 1;
        }
    }

    fn difference(&mut self, case: &Case, protocol: Protocol, sharded: &[Answer], single: &[Answer]) -> Option<String> {
        let Some(uncut) = &case.uncut else {
            return sharded.iter().zip(single).find_map(|(ours, theirs)| ours.difference(theirs, case.order));
        };
        let mut whole = match protocol {
            Protocol::Simple => ask(&mut self.single, uncut),
            Protocol::Extended => extended(&mut self.single, uncut, &case.values()),
            Protocol::Binary => extended_in(&mut self.single, uncut, &case.values(), 1),
        };
        if case.has_sums() {
            whole = whole.with_rounded_floats();
        }
        let (ours, theirs) = (&sharded[0], &single[0]);
        if !ours.is_part_of(&whole) {
            return Some(format!("rows that are not in the whole result: {}", ours.brief()));
        }
        // Which rows are left may differ; how many, and what they sort by, may not.
        let keys = |answer: &Answer| {
            let Order::Keys { sorted } = case.order else { return answer.clone() };
            let rows = answer.rows.iter().map(|row| row[..sorted].to_vec()).collect();
            Answer { rows, ..answer.clone() }
        };
        keys(ours).difference(&keys(theirs), Order::Total)
    }

    /// Runs every case once.
    fn run(&mut self, cases: &[Case], tally: &mut Tally) {
        for case in cases {
            self.judge(case, case.first_protocol(), tally);
        }
    }

    /// Runs every case, none of which changes anything, in every way that it can be sent.
    fn run_in_all_ways(&mut self, cases: &[Case], tally: &mut Tally) {
        self.run(cases, tally);
        for case in cases.iter().filter(|case| !case.sql.contains(';')) {
            if case.first_protocol() == Protocol::Simple {
                self.judge(case, Protocol::Extended, tally);
            }
            self.judge(case, Protocol::Binary, tally);
        }
    }
}

impl Case {
    /// Whether sums are part of the answer, which are rounded where they are of floating-point values.
    fn has_sums(&self) -> bool {
        self.sql.contains("sum(") || self.sql.contains("avg(")
    }

    /// Only the extended protocol has parameters.
    fn first_protocol(&self) -> Protocol {
        if self.values.is_some() { Protocol::Extended } else { Protocol::Simple }
    }
}

fn note_refusal(case: &Case, sharded: &[Answer], tally: &mut Tally) {
    let Some(refusal) = sharded.iter().find_map(Answer::refusal) else { return };
    if case.refusal == Refusal::Never {
        tally.fail(case, format!("was refused: {refusal:?}"));
    }
    *tally.refused.entry(format!("{}: {}", refusal.message, refusal.detail)).or_default() += 1;
}

fn corpus(title: &str, shard_map: &str) {
    let mut pair = Pair::start(shard_map);
    let mut tally = Tally::default();
    pair.run_in_all_ways(&cases(include_str!("reads.sql")), &mut tally);
    pair.run_in_all_ways(&cases(include_str!("gathered.sql")), &mut tally);
    pair.run_in_all_ways(&cases(include_str!("refused.sql")), &mut tally);
    pair.run(&cases(include_str!("writes.sql")), &mut tally);
    tally.close(title);
    pair.compare_tables();
}

#[test]
fn the_corpus_over_a_hash_key() {
    corpus("corpus, hash", HASH);
}

#[test]
fn the_corpus_over_a_range_key() {
    corpus("corpus, range", RANGE);
}

/// How many statements `make test` tries, and a soak run.
const SLICE: usize = 2_000;
const SOAK: usize = 100_000;

fn random(shard_map: &str, seed: u64, count: usize) {
    println!("{count} random statements, seed {seed}");
    let mut pair = Pair::start(shard_map);
    let mut tally = Tally::default();
    let mut generator = Generator::new(seed);
    for number in 0..count {
        let case = generator.statement();
        let protocol = if number % 3 == 0 { Protocol::Binary } else { case.first_protocol() };
        pair.judge(&case, protocol, &mut tally);
    }
    println!("mix: {:?}", generator.mix());
    tally.close(&format!("{count} random statements, seed {seed}"));
    pair.compare_tables();
}

#[test]
fn random_statements_over_a_hash_key() {
    random(HASH, 1, SLICE);
}

#[test]
fn random_statements_over_a_range_key() {
    random(RANGE, 2, SLICE);
}

/// `SEED` repeats a run, `STATEMENTS` makes it shorter or longer.
#[test]
#[ignore = "soak"]
fn many_random_statements() {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let seed = number("SEED").unwrap_or(now.as_secs());
    let count = number("STATEMENTS").map_or(SOAK, |count| usize::try_from(count).unwrap());
    random(HASH, seed, count);
    random(RANGE, seed + 1, count);
}

/// The shards' own answers put one behind the other: what a router does that does not merge. The comparison must see
/// what is wrong with it.
#[test]
fn a_broken_merge_is_caught() {
    let mut pair = Pair::start(HASH);
    let mut shards = [pair.shop.shard(0).raw(), pair.shop.shard(1).raw()];
    let traps = [
        "SELECT count(*) FROM customers",
        "SELECT avg(total) FROM orders",
        "SELECT * FROM customers ORDER BY customer_id",
        "SELECT * FROM customers ORDER BY customer_id LIMIT 5",
        "SELECT * FROM customers ORDER BY customer_id OFFSET 3",
        "SELECT status, count(*) FROM orders GROUP BY status ORDER BY status COLLATE \"C\"",
        "SELECT * FROM products ORDER BY product_id",
    ];
    for sql in traps {
        let [mut first, second] = [0, 1].map(|index: usize| ask(&mut shards[index], sql));
        first.rows.extend(second.rows);
        first.command = format!("SELECT {}", first.rows.len());
        let single = ask(&mut pair.single, sql);
        assert!(first.difference(&single, Order::Total).is_some(), "{sql}");
    }
}

/// PostgreSQL's own list: none is forgotten in the corpus.
#[test]
fn every_aggregate_and_window_function_is_in_the_corpus() {
    let corpus = include_str!("gathered.sql");
    let reference = endpoint_of(&servers().reference, "postgres");
    let names = reference.value("SELECT DISTINCT proname FROM pg_proc WHERE prokind IN ('a', 'w') AND oid < 16384");
    let missing: Vec<&str> = names.lines().filter(|name| !corpus.contains(&format!("{name}("))).collect();
    assert!(names.lines().count() > 50 && missing.is_empty(), "{missing:?}");
    let count = cases(corpus).len();
    assert!(count >= 400, "{count}");
}
