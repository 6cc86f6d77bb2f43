//! Random SELECTs over two shards, compared with one PostgreSQL.

mod generator;

use std::collections::BTreeMap;

use super::answer::{Answer, Order, ask, extended_in};
use super::shop::{HASH, Pair, RANGE};
use crate::harness::RawClient;
use generator::{Generator, Select};

/// Tables whose names and states have an order of their own, which is not that of their bytes.
fn start(shard_map: &str) -> Pair {
    let mut pair = Pair::start(shard_map);
    for (table, column) in [("customers", "name"), ("orders", "status")] {
        pair.must_both(&format!("ALTER TABLE {table} ALTER {column} TYPE text COLLATE \"en-x-icu\""));
    }
    pair
}

/// How a SELECT is sent.
#[derive(Clone, Copy, Debug)]
enum Way {
    Simple,
    Extended { result_format: i16 },
}

fn run(client: &mut RawClient, select: &Select, way: Way) -> Answer {
    let values: Vec<Option<&str>> = select.values.iter().map(|value| Some(value.as_str())).collect();
    let answer = match way {
        Way::Simple => ask(client, &select.sql),
        Way::Extended { result_format } => extended_in(client, &select.sql, &values, result_format),
    };
    // The last digits of floating-point sums depend on the order in which they were added up.
    if select.sql.contains("sum(") || select.sql.contains("avg(") { answer.with_rounded_floats() } else { answer }
}

/// Runs so many SELECTs on both sides. Each feature must occur `each` times.
fn compare(shard_map: &str, seed: u64, count: usize, each: usize) {
    let mut pair = start(shard_map);
    let mut generator = Generator::new(seed);
    let (mut with_rows, mut wrong) = (0, Vec::new());
    let mut refused: BTreeMap<String, usize> = BTreeMap::new();
    for _ in 0..count {
        let select = generator.select();
        let way = match generator.below(3) {
            0 if select.values.is_empty() => Way::Simple,
            number => Way::Extended { result_format: i16::from(number == 1) },
        };
        let ours = run(&mut pair.sharded, &select, way);
        if let Some(refusal) = ours.refusal() {
            *refused
                .entry(format!("{}: {}: {}", refusal.message, refusal.detail, select.features.join(", ")))
                .or_default() += 1;
            continue;
        }
        let theirs = run(&mut pair.single, &select, way);
        with_rows += usize::from(!theirs.rows.is_empty());
        if let Some(difference) = ours.difference(&theirs, select.order) {
            wrong.push(format!("{} {:?} {way:?}\n    {difference}", select.sql, select.values));
        }
    }
    let refusals: usize = refused.values().sum();
    println!("{count} SELECTs, seed {seed}: {with_rows} with rows, {refusals} refused, {} wrong", wrong.len());
    println!("mix: {:?}", generator.mix);
    refused.iter().for_each(|(reason, count)| println!("{count:6} x {reason}"));
    assert!(wrong.is_empty(), "seed {seed}: {} SELECTs\n{}", wrong.len(), wrong[..wrong.len().min(12)].join("\n"));
    assert!(refusals * 50 <= count, "{refusals} of {count} were refused");
    assert!(with_rows * 2 >= count, "only {with_rows} of {count} gave rows");
    for (feature, made) in &generator.mix {
        assert!(*made >= each, "{feature}: {made}");
    }
}

#[test]
fn random_selects_over_a_hash_key() {
    compare(HASH, 21, 900, 3);
}

#[test]
fn random_selects_over_a_range_key() {
    compare(RANGE, 22, 900, 3);
}

/// `SEED` repeats a run, `STATEMENTS` makes it shorter or longer.
#[test]
#[ignore = "soak"]
fn many_random_selects() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let seed = number("SEED").unwrap_or(2000);
    let count = usize::try_from(number("STATEMENTS").unwrap_or(200_000)).expect("a count");
    compare(HASH, seed, count / 2, count / 400);
    compare(RANGE, seed + 1, count / 2, count / 400);
}

/// What merges do that are wrong; the generator must make SELECTs, and the comparison have eyes, that see each of them.
#[test]
fn broken_merges_are_caught() {
    let mut pair = start(HASH);
    let mut shards = [pair.shop.shard(0).raw(), pair.shop.shard(1).raw()];
    let mut generator = Generator::new(23);
    let mut caught: BTreeMap<&str, usize> = BTreeMap::new();
    for _ in 0..1500 {
        let select = generator.select();
        let has = |feature: &str| select.features.contains(&feature);
        let way = Way::Extended { result_format: 0 };
        let right = run(&mut pair.single, &select, way);
        if right.error.is_some() {
            continue;
        }
        let mut note = |flaw: &'static str, broken: &Answer| {
            *caught.entry(flaw).or_default() += usize::from(broken.difference(&right, select.order).is_some());
        };
        if has("HAVING") || has("LIMIT") || has("DISTINCT") || has("window function") {
            // Each shard by itself, and the answers one behind the other.
            let [mut one, other] = [0, 1].map(|place: usize| run(&mut shards[place], &select, way));
            one.rows.extend(other.rows);
            one.command = format!("SELECT {}", one.rows.len());
            for flaw in ["HAVING", "LIMIT", "DISTINCT", "window function"].into_iter().filter(|flaw| has(flaw)) {
                note(flaw, &one);
            }
        }
        if let Some((head, tail)) = select.sql.rsplit_once(" ORDER BY ")
            && select.order == Order::Total
        {
            let by_bytes = tail.replace("en-x-icu", "C").replace("c.name,", "c.name COLLATE \"C\",");
            let sql = format!("{head} ORDER BY {by_bytes}");
            let bytewise = Select { sql, values: select.values.clone(), order: select.order, features: Vec::new() };
            let answer = run(&mut pair.single, &bytewise, way);
            if answer.error.is_none() {
                note("text by its bytes", &answer);
            }
        }
        if has("aggregates alone")
            && (select.sql.starts_with("SELECT avg(") || select.sql.starts_with("SELECT round(avg("))
        {
            let averages = [0, 1].map(|place: usize| run(&mut shards[place], &select, way));
            let mut broken = averages[0].clone();
            let value = |answer: &Answer| answer.rows[0][0].as_ref().and_then(|text| text.parse::<f64>().ok());
            if let (Some(a), Some(b), Some(c)) = (value(&averages[0]), value(&averages[1]), value(&right)) {
                let mean = (a + b) / 2.0;
                broken.rows[0].clone_from(&right.rows[0]);
                if (mean - c).abs() > 1e-9 {
                    broken.rows[0][0] = Some(mean.to_string());
                }
                note("average of averages", &broken);
            }
        }
    }
    println!("caught: {caught:?}");
    for flaw in ["HAVING", "LIMIT", "DISTINCT", "window function", "text by its bytes", "average of averages"] {
        assert!(caught.get(flaw).is_some_and(|times| *times > 0), "{flaw} was not seen: {caught:?}");
    }
}
