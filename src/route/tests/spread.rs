//! Writes of rows on several shards.

use super::*;
use crate::route::plan::{PartText, RowOrder, Spread};

fn spread(text: &str, parameters: &[Parameter<'_>]) -> Spread {
    match route_with(text, parameters, &schema()).map(|plan| plan.action) {
        Ok(Action::Spread(spread)) => *spread,
        other => panic!("{text}: {other:?}"),
    }
}

/// Each part as its shard and text.
fn parts(spread: &Spread) -> Vec<(u16, &str)> {
    let text = |text| match text {
        &PartText::Untouched => "",
        PartText::Rewritten(text) => text,
    };
    spread.parts.iter().map(|part| (part.shard.0, text(&part.text))).collect()
}

#[test]
fn rows_go_to_their_owners() {
    let text = "INSERT INTO n (v, k) VALUES (1, 350), (2, 50), (3, 150), (4, 51) RETURNING k";
    let spread = spread(text, &[]);
    assert_eq!(
        parts(&spread),
        [
            (2, "INSERT INTO n (v, k) VALUES (1, 350) RETURNING k"),
            (0, "INSERT INTO n (v, k) VALUES (2, 50), (4, 51) RETURNING k"),
            (1, "INSERT INTO n (v, k) VALUES (3, 150) RETURNING k"),
        ]
    );
    assert_eq!(spread.order, RowOrder::OfInput(vec![0, 1, 2, 1]));
}

#[test]
fn a_part_knows_which_parameters_it_names() {
    let value = |text: &'static str| Parameter { type_oid: 0, format: Format::Text, value: Some(text.as_bytes()) };
    let values = ["50", "1", "150", "2"].map(value);
    let text = "INSERT INTO n (k, v) VALUES ($1, $2), ($3, $4), ($3, $2) ON CONFLICT (k) DO UPDATE SET v = $4 + 0";
    let spread = spread(text, &values);
    assert_eq!(spread.parameters, Some(vec![vec![4, 1, 2], vec![4, 3, 4, 3, 2]]));
    // $4 is a value of v in one place, and an operand in the other.
    assert_eq!(spread.typed, [4]);
}

#[test]
fn updates_and_deletes_run_as_they_are() {
    for (text, shards) in [
        ("UPDATE n SET v = v + 1", vec![0, 1, 2]),
        ("UPDATE n SET v = 1 WHERE k IN (50, 350) RETURNING *", vec![0, 2]),
        ("UPDATE n SET v = m.w FROM m WHERE m.k = n.k", vec![0, 1, 2]),
        ("UPDATE n SET v = id FROM products WHERE products.id = n.v", vec![0, 1, 2]),
        ("DELETE FROM n WHERE v = 5", vec![0, 1, 2]),
        ("INSERT INTO n (k, v) SELECT k, w FROM m", vec![0, 1, 2]),
        ("INSERT INTO n (k, v) SELECT k, w FROM m WHERE k IN (50, 350)", vec![0, 2]),
        ("MERGE INTO n USING m ON n.k = m.k WHEN NOT MATCHED THEN INSERT (k) VALUES (m.k)", vec![0, 1, 2]),
        ("DELETE FROM n USING m WHERE m.k = n.k AND m.k IN (150, 350)", vec![1, 2]),
    ] {
        let spread = spread(text, &[]);
        assert_eq!(parts(&spread), shards.into_iter().map(|shard| (shard, "")).collect::<Vec<_>>(), "{text}");
    }
}

#[test]
fn what_shards_would_not_do_alike_is_refused() {
    check(&[
        ("INSERT INTO n (k, v) VALUES (50, 1), (150, (SELECT 1))", "subqueries"),
        ("INSERT INTO n (k, v) VALUES (50, nextval('s')), (150, 1)", "!cannot run on shard"),
        ("INSERT INTO n (k) VALUES (50), (150) RETURNING ctid", "!ctid"),
        ("INSERT INTO n (k) VALUES (50), (150), (250)", "!no shard"),
        ("INSERT INTO n (k) VALUES (50), (150), (NULL)", "!null value in shard key"),
        ("INSERT INTO n (k) VALUES (50), (150), (DEFAULT)", "!not known before"),
        ("INSERT INTO n (k) VALUES (50), (150), (v)", "compute"),
        ("INSERT INTO d VALUES ('1999-01-01', 'today'), ('2000-01-02', NULL)", "!'today'"),
        ("EXPLAIN INSERT INTO n (k) VALUES (50), (150)", "!several shards"),
        ("WITH x AS (SELECT 1) UPDATE n SET v = 1", "!WITH"),
        ("UPDATE n SET k = 5", "collect"),
        ("UPDATE n SET v = pg_advisory_xact_lock(1)", "!cannot run on shard"),
        ("UPDATE n SET v = 1 WHERE f < now()", "moment"),
        ("UPDATE n SET v = 1 WHERE f < now() RETURNING now()", "!now()"),
        ("DELETE FROM n USING m WHERE m.w = n.v", "sources"),
        ("INSERT INTO n (k) SELECT w FROM m", "collect"),
        ("INSERT INTO n (k) SELECT k FROM m LIMIT 5", "collect"),
        ("INSERT INTO n (k) SELECT NULL FROM m", "!null value in shard key"),
        ("INSERT INTO n (k) SELECT id FROM products", "collect"),
        ("MERGE INTO n USING m ON n.k = m.k WHEN MATCHED THEN UPDATE SET k = 5", "!cannot change the shard key"),
        ("MERGE INTO n USING m ON n.v = m.w WHEN MATCHED THEN DELETE", "sources"),
        ("MERGE INTO n USING products p ON n.k = p.id WHEN NOT MATCHED THEN INSERT (k) VALUES (p.id)", "sources"),
    ]);
}
