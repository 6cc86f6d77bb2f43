//! Random statements about random tables over the four methods: one PostgreSQL against Weir over three shards.

mod statements;
mod tables;

use std::collections::BTreeMap;

use self::statements::{Bound, FORMS, Generator, Statement};
use super::answer::{Answer, Order, answers, ask};
use super::shop::must;
use crate::harness::{Database, RawClient, Setup, Weir, endpoint_of, servers, unique};
use weir::wire::frontend::{self, Target};

/// Weir over three shards, the shards themselves, and one PostgreSQL with the same rows.
struct Bench {
    _weir: Weir,
    sharded: RawClient,
    shards: Vec<RawClient>,
    single: RawClient,
}

impl Bench {
    fn start(generator: &Generator) -> Self {
        let names = ["one", "two", "three"].map(|name| unique(&format!("routed_{name}")));
        let homes = [&servers().shop[0], &servers().shop[1], &servers().shop[0]];
        let mut database = Database::new("routed").sharded_by(&tables::shard_map(&generator.spaces));
        for ((shard, home), name) in ["one", "two", "three"].iter().zip(homes).zip(&names) {
            home.create_database(name);
            database = database.shard(shard, home, name);
        }
        let weir = Weir::start(&Setup::new().database(database));
        let single = unique("routed");
        let reference = &servers().reference;
        endpoint_of(reference, "postgres").execute(&format!("CREATE DATABASE {single}"));
        let mut bench = Self {
            sharded: weir.endpoint("routed").raw(),
            shards: homes.iter().zip(&names).map(|(home, name)| endpoint_of(&home.primary, name).raw()).collect(),
            single: endpoint_of(reference, &single).raw(),
            _weir: weir,
        };
        for sql in tables::setup(&generator.spaces) {
            must(&mut bench.sharded, &sql);
            must(&mut bench.single, &sql);
        }
        bench
    }

    /// The shard that has rows of a key.
    fn owner(&mut self, generator: &Generator, (place, value): (usize, &str)) -> usize {
        let space = &generator.spaces[place];
        let sql = format!("SELECT count(*) FROM {}_a WHERE k = {}", space.name, tables::literal(value));
        let has_rows = |shard: &mut RawClient| ask(shard, &sql).brief() != "0";
        self.shards.iter_mut().position(has_rows).expect("an owner")
    }
}

/// How a statement is sent, and its rows come back.
#[derive(Clone, Copy)]
struct Way {
    simple: bool,
    binary_results: bool,
}

fn run(client: &mut RawClient, statement: &Statement, way: Way) -> Answer {
    if way.simple {
        return ask(client, &statement.sql);
    }
    let types: Vec<u32> = statement.parameters.iter().map(|bound| bound.oid).collect();
    client.send_with(|out| {
        frontend::parse(out, b"", &frontend::definition(&statement.sql, &types));
        frontend::bind(out, b"", b"", &arguments(&statement.parameters, way.binary_results));
        frontend::describe(out, Target::Portal(b""));
        frontend::execute(out, b"", 0);
        frontend::sync(out);
    });
    let mut answers = answers(&client.until_ready());
    assert_eq!(answers.len(), 1, "{}: {answers:?}", statement.sql);
    answers.remove(0)
}

fn arguments(parameters: &[Bound], binary_results: bool) -> Vec<u8> {
    let count = i16::try_from(parameters.len()).expect("few").to_be_bytes();
    let mut bytes = count.to_vec();
    bytes.extend(parameters.iter().flat_map(|bound| i16::from(bound.is_binary).to_be_bytes()));
    bytes.extend(count);
    for bound in parameters {
        bytes.extend(i32::try_from(bound.value.len()).expect("short").to_be_bytes());
        bytes.extend(&bound.value);
    }
    bytes.extend([0, 1]);
    bytes.extend(i16::from(binary_results).to_be_bytes());
    bytes
}

/// Runs so many statements on both sides. Every form must occur `each` times.
fn compare(seed: u64, count: usize, each: usize) {
    let mut generator = Generator::new(seed);
    let mut bench = Bench::start(&generator);
    let (mut with_rows, mut wrong) = (0, Vec::new());
    let mut refused: BTreeMap<String, usize> = BTreeMap::new();
    for _ in 0..count {
        let statement = generator.statement();
        let simple = statement.parameters.is_empty() && generator.percent(60);
        let way = Way { simple, binary_results: !simple && generator.percent(40) };
        let ours = run(&mut bench.sharded, &statement, way);
        if let Some(refusal) = ours.refusal() {
            let reason = format!("{}: {}: {}", statement.form, refusal.message, refusal.detail);
            *refused.entry(reason).or_default() += 1;
            continue;
        }
        let theirs = run(&mut bench.single, &statement, way);
        with_rows += usize::from(!theirs.rows.is_empty());
        if let Some(difference) = ours.difference(&theirs, Order::Keys { sorted: 0 }) {
            wrong.push(format!("{} ({}): {difference}", statement.sql, statement.form));
        }
    }
    let refusals: usize = refused.values().sum();
    println!("{count} statements, seed {seed}: {with_rows} with rows, {refusals} refused, {} wrong", wrong.len());
    let kinds: Vec<String> =
        generator.spaces.iter().map(|space| format!("{} {}", space.name, space.kind.name)).collect();
    println!("keys: {}; mix: {:?}", kinds.join(", "), generator.mix);
    refused.iter().for_each(|(reason, count)| println!("{count:6} x {reason}"));
    assert!(wrong.is_empty(), "seed {seed}: {} statements\n{}", wrong.len(), wrong[..wrong.len().min(20)].join("\n"));
    assert!(refusals * 50 <= count, "{refusals} of {count} were refused");
    assert!(with_rows * 2 >= count, "only {with_rows} of {count} gave rows");
    for (form, _) in FORMS {
        let made = generator.mix.get(form).copied().unwrap_or_default();
        assert!(made >= each, "{form}: {made}");
    }
}

#[test]
fn statements_of_one_shard_answer_as_one_server() {
    compare(11, 1500, 3);
    compare(12, 1500, 3);
}

/// `SEED` repeats a run, `STATEMENTS` makes it shorter or longer; ten sets of tables share them.
#[test]
#[ignore = "soak"]
fn many_statements_of_one_shard() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let seed = number("SEED").unwrap_or(1000);
    let count = usize::try_from(number("STATEMENTS").unwrap_or(100_000)).expect("a count");
    (0..10).for_each(|turn| compare(seed + turn, count / 10, count / 2000));
}

/// What a router does for which the first equality wins. The comparison must see what is wrong with it.
#[test]
fn a_broken_router_is_caught() {
    let mut generator = Generator::new(13);
    let mut bench = Bench::start(&generator);
    let (mut caught, mut traps) = (0, 0);
    while traps < 10 {
        let statement = generator.statement();
        if statement.form != "trap" {
            continue;
        }
        traps += 1;
        let owner = bench.owner(&generator, statement.first);
        let way = Way { simple: false, binary_results: false };
        let theirs = run(&mut bench.single, &statement, way);
        let broken = run(&mut bench.shards[owner], &statement, way);
        caught += usize::from(broken.difference(&theirs, Order::Keys { sorted: 0 }).is_some());
    }
    assert!(caught >= 5, "only {caught} of {traps} were seen");
}
