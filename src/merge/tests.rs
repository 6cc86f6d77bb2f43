use std::cmp::Ordering;

use bytes::{Bytes, BytesMut};

use super::spec::{Aggregate, ColumnRef, SortKey};
use super::value::{Codec, Value};
use super::*;
use crate::types::Kind;
use crate::wire::backend;

const EXACT: TextFidelity = TextFidelity { deterministic_collations: true, exact_floats: true };
const OPTIONS: MergeOptions = MergeOptions { memory_max: 1 << 20, fidelity: EXACT };

type Row<'v> = &'v [Option<&'v str>];

fn columns(type_oids: &[u32]) -> Vec<Column> {
    type_oids
        .iter()
        .enumerate()
        .map(|(place, type_oid)| Column {
            name: format!("c{place}").into_bytes(),
            table_oid: 0,
            attribute: 0,
            type_oid: *type_oid,
            type_size: -1,
            type_modifier: -1,
            format: 0,
        })
        .collect()
}

fn row(values: Row<'_>) -> Bytes {
    row::body(values.iter().map(|value| value.map(str::as_bytes)))
}

fn rows_spec() -> MergeSpec {
    MergeSpec::default()
}

fn ascending(column: ColumnRef) -> SortKey {
    SortKey { column, descending: false, nulls_first: false, bytewise: false, collation: None }
}

/// Runs a merge over whole shards, feeding only what it asks for, and gives the rows that a client would read.
fn run(spec: &MergeSpec, types: &[u32], shards: &[&[Row<'_>]]) -> Result<Vec<String>> {
    let mut merge = Merge::new(spec, 0, &columns(types), shards.len(), &OPTIONS)?;
    let mut fed = vec![0; shards.len()];
    let mut out = BytesMut::new();
    loop {
        match merge.next(&mut out)? {
            Step::Row => {}
            Step::Done => break,
            Step::NeedRow(source) => match shards[source].get(fed[source]) {
                Some(values) => {
                    fed[source] += 1;
                    merge.push(source, row(values))?;
                }
                None => merge.finish(source),
            },
        }
    }
    let rows = sent_rows(&out);
    assert_eq!(merge.row_count(), rows.len() as u64);
    Ok(rows)
}

fn sent_rows(mut out: &[u8]) -> Vec<String> {
    let mut rows = Vec::new();
    while let Some((header, rest)) = out.split_first_chunk::<5>() {
        assert_eq!(header[0], backend::tag::DATA_ROW);
        let len = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize - 4;
        let values = backend::read_data_row(&rest[..len]).unwrap();
        let shown: Vec<_> = values.iter().map(|value| value.map_or("NULL".into(), String::from_utf8_lossy)).collect();
        rows.push(shown.join("|"));
        out = &rest[len..];
    }
    rows
}

/// Texts of each type in strictly ascending order, as PostgreSQL orders them.
#[test]
fn values_stand_in_postgresqls_order() {
    let cases: &[(u32, &[&str])] = &[
        (oid::BOOL, &["f", "t"]),
        (oid::INT8, &["-9223372036854775808", "-10", "-9", "0", "9", "10", "9223372036854775807"]),
        (oid::OID, &["0", "9", "4294967295"]),
        (oid::FLOAT8, &["-Infinity", "-1e+308", "-1.5", "-1e-300", "0", "5e-324", "1", "1e+20", "Infinity", "NaN"]),
        (oid::FLOAT4, &["-Infinity", "-0.1", "0", "1e-45", "0.1", "0.10000001", "NaN"]),
        (
            oid::NUMERIC,
            &[
                "-Infinity",
                "-123456789012345678901234567890.5",
                "-0.001",
                "0",
                "0.0000000000000000000000000000001",
                "9.99",
                "10",
                "123456789012345678901234567890",
                "Infinity",
                "NaN",
            ],
        ),
        (
            oid::DATE,
            &[
                "-infinity",
                "4713-01-01 BC",
                "0001-12-31 BC",
                "0001-01-01",
                "1999-12-31",
                "2000-02-29",
                "2000-03-01",
                "12000-01-01",
                "infinity",
            ],
        ),
        (oid::TIME, &["00:00:00", "09:59:59.999999", "10:00:00", "24:00:00"]),
        (
            oid::TIMESTAMP,
            &[
                "-infinity",
                "0044-03-15 12:00:00 BC",
                "2024-02-29 23:59:59.999999",
                "2024-03-01 00:00:00",
                "2024-03-01 00:00:00.000001",
                "2024-03-01 00:00:00.1",
                "294276-12-31 23:59:59.999999",
                "infinity",
            ],
        ),
        (
            oid::TIMESTAMPTZ,
            &[
                "-infinity",
                "1890-01-01 00:00:00+00:53:28",
                "2024-10-27 02:30:00+02",
                "2024-10-27 02:30:00+01",
                "2024-10-27 02:00:00+00",
                "2024-10-27 02:00:00.5+00",
                "2024-10-26 20:30:00-06:30",
                "infinity",
            ],
        ),
        (
            oid::UUID,
            &[
                "00000000-0000-0000-0000-000000000000",
                "0fffffff-ffff-ffff-ffff-ffffffffffff",
                "a0000000-0000-0000-0000-000000000000",
            ],
        ),
        (oid::BYTEA, &["\\x", "\\x00", "\\x0000", "\\x01", "\\x0a", "\\xa0", "\\xff"]),
        (oid::CHAR, &["", "A", "a", "\\200", "\\377"]),
        (oid::TEXT, &["", "A", "B", "a", "é"]),
    ];
    for (type_oid, texts) in cases {
        let codec = Codec::ordered(&columns(&[*type_oid])[0], true, EXACT).unwrap();
        let values: Vec<Value> = texts
            .iter()
            .map(|text| codec.read(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}")))
            .collect();
        for (pair, texts) in values.windows(2).zip(texts.windows(2)) {
            assert_eq!(pair[0].cmp(&pair[1]), Ordering::Less, "{texts:?}");
        }
    }
}

#[test]
fn equal_values_have_many_spellings() {
    let cases: &[(u32, &str, &str)] = &[
        (oid::NUMERIC, "1.0", "1.00"),
        (oid::NUMERIC, "0", "0.000"),
        (oid::NUMERIC, "100", "100.0"),
        (oid::NUMERIC, "-20.50", "-20.5"),
        (oid::FLOAT8, "0", "-0"),
        (oid::FLOAT4, "0", "-0"),
        (oid::BPCHAR, "ab", "ab   "),
        (oid::ANYENUM, "ok", "ok"),
        (oid::TIMESTAMPTZ, "2024-06-01 12:00:00+02", "2024-06-01 10:00:00+00"),
    ];
    for (type_oid, a, b) in cases {
        let codec = Codec::equatable(&columns(&[*type_oid])[0], EXACT).unwrap();
        let groups: std::collections::HashSet<Value> =
            [a, b].iter().map(|text| codec.read(text.as_bytes()).unwrap()).collect();
        assert_eq!(groups.len(), 1, "{a} {b}");
    }
}

#[test]
fn other_output_styles_are_refused() {
    let cases: &[(u32, &str)] = &[
        (oid::BOOL, "true"),
        (oid::INT8, "1.0"),
        (oid::INT8, "9223372036854775808"),
        (oid::FLOAT8, "one"),
        (oid::NUMERIC, "1e5"),
        (oid::NUMERIC, "1_000"),
        (oid::NUMERIC, ".5"),
        (oid::NUMERIC, "-"),
        (oid::DATE, "01/02/2024"),
        (oid::DATE, "02.01.2024"),
        (oid::DATE, "2024-1-2"),
        (oid::DATE, "2024-13-02"),
        (oid::DATE, "2024-01-02 00:00:00"),
        (oid::TIME, "10:00:00+02"),
        (oid::TIMESTAMP, "Mon Jan 01 00:00:00 2024"),
        (oid::TIMESTAMP, "2024-01-02 00:00:00+00"),
        (oid::TIMESTAMP, "2024-01-02T00:00:00"),
        (oid::TIMESTAMP, "2024-01-02 00:00:00.1234567"),
        (oid::TIMESTAMPTZ, "2024-01-02 00:00:00"),
        (oid::TIMESTAMPTZ, "2024-01-02 00:00:00 CET"),
        (oid::UUID, "00000000000000000000000000000000"),
        (oid::UUID, "A0000000-0000-0000-0000-000000000000"),
        (oid::BYTEA, "abc"),
        (oid::BYTEA, "\\\\x00"),
        (oid::BYTEA, "\\x0"),
        (oid::CHAR, "ab"),
    ];
    for (type_oid, text) in cases {
        let codec = Codec::ordered(&columns(&[*type_oid])[0], true, EXACT).unwrap();
        let error = codec.read(text.as_bytes()).expect_err(text);
        assert_eq!(error.kind, Kind::NotSupported, "{text}");
    }
}

#[test]
fn types_without_an_exact_order_are_refused_before_any_row() {
    const INTERVAL: u32 = 1186;
    const JSONB: u32 = 3802;
    for type_oid in [oid::TEXT, oid::VARCHAR, oid::NAME, oid::BPCHAR, oid::ANYENUM, INTERVAL, JSONB, 16_500] {
        let spec = MergeSpec { sort: vec![ascending(ColumnRef::Visible(0))], ..rows_spec() };
        let error = Merge::new(&spec, 0, &columns(&[type_oid]), 2, &OPTIONS).expect_err("no exact order");
        assert_eq!(error.kind, Kind::NotSupported, "{type_oid}");
    }
    for type_oid in [INTERVAL, JSONB, 16_500] {
        let combine = Combine::Groups { group_columns: vec![ColumnRef::Visible(0)], aggregates: Vec::new() };
        assert!(Merge::new(&MergeSpec { combine, ..rows_spec() }, 0, &columns(&[type_oid]), 2, &OPTIONS).is_err());
    }
    let vague = [
        (oid::TEXT, TextFidelity { deterministic_collations: false, ..EXACT }),
        (oid::FLOAT8, TextFidelity { exact_floats: false, ..EXACT }),
    ];
    for (type_oid, fidelity) in vague {
        assert!(Codec::equatable(&columns(&[type_oid])[0], fidelity).is_err(), "{type_oid}");
    }
}

#[test]
fn concatenation_passes_every_type_and_cuts() {
    let shards: &[&[Row<'_>]] = &[&[&[Some("a"), None], &[Some("b"), Some("")]], &[], &[&[Some("c"), Some("x")]]];
    assert_eq!(run(&rows_spec(), &[9999, oid::TEXT], shards).unwrap(), ["a|NULL", "b|", "c|x"]);
    let cut = MergeSpec { offset: 1, limit: Some(1), ..rows_spec() };
    assert_eq!(run(&cut, &[9999, oid::TEXT], shards).unwrap(), ["b|"]);
    let nothing = MergeSpec { limit: Some(0), ..rows_spec() };
    assert!(run(&nothing, &[9999, oid::TEXT], shards).unwrap().is_empty());
}

#[test]
fn sorted_rows_interleave_and_hide_their_keys() {
    let key = SortKey { descending: true, nulls_first: true, ..ascending(ColumnRef::Hidden(0)) };
    let spec = MergeSpec {
        hidden_columns: 1,
        sort: vec![key, ascending(ColumnRef::Visible(0))],
        offset: 1,
        limit: Some(4),
        ..rows_spec()
    };
    let shards: &[&[Row<'_>]] = &[
        &[&[Some("1"), None], &[Some("2"), Some("10")], &[Some("3"), Some("9")]],
        &[&[Some("4"), Some("100.0")], &[Some("0"), Some("10.00")], &[Some("9"), Some("1")]],
    ];
    assert_eq!(run(&spec, &[oid::INT4, oid::NUMERIC], shards).unwrap(), ["4", "0", "2", "3"]);
}

#[test]
fn a_sorted_merge_streams() {
    let spec = MergeSpec { sort: vec![ascending(ColumnRef::Visible(0))], ..rows_spec() };
    let mut merge = Merge::new(&spec, 0, &columns(&[oid::INT4]), 2, &OPTIONS).unwrap();
    let mut out = BytesMut::new();
    assert_eq!(merge.next(&mut out).unwrap(), Step::NeedRow(0));
    merge.push(0, row(&[Some("1")])).unwrap();
    assert_eq!(merge.next(&mut out).unwrap(), Step::NeedRow(1));
    merge.push(1, row(&[Some("2")])).unwrap();
    assert_eq!(merge.next(&mut out).unwrap(), Step::Row);
    assert_eq!(merge.next(&mut out).unwrap(), Step::NeedRow(0));
    merge.finish(0);
    assert_eq!(merge.next(&mut out).unwrap(), Step::Row);
    assert_eq!(merge.next(&mut out).unwrap(), Step::NeedRow(1));
    merge.finish(1);
    assert_eq!(merge.next(&mut out).unwrap(), Step::Done);
    assert_eq!(sent_rows(&out), ["1", "2"]);
}

#[test]
fn a_shard_that_orders_otherwise_is_found_out() {
    let spec = MergeSpec { sort: vec![ascending(ColumnRef::Visible(0))], ..rows_spec() };
    let error = run(&spec, &[oid::INT4], &[&[&[Some("2")], &[Some("1")]]]).expect_err("out of order");
    assert_eq!(error.kind, Kind::Internal);
}

/// count, sum of int4, sum of numeric, min and max, and an average from its parts, per group.
fn groups_spec() -> MergeSpec {
    let visible = ColumnRef::Visible;
    let average = Aggregate::Average { sum: ColumnRef::Hidden(0), count: ColumnRef::Hidden(1) };
    MergeSpec {
        hidden_columns: 2,
        combine: Combine::Groups {
            group_columns: vec![visible(0)],
            aggregates: vec![
                (visible(1), Aggregate::Count),
                (visible(2), Aggregate::Sum),
                (visible(3), Aggregate::Sum),
                (visible(4), Aggregate::Min),
                (visible(5), Aggregate::Max),
                (visible(6), average),
            ],
        },
        sort: vec![SortKey { descending: true, nulls_first: true, ..ascending(visible(1)) }, ascending(visible(0))],
        offset: 0,
        limit: None,
        ..MergeSpec::default()
    }
}

const GROUP_TYPES: &[u32] =
    &[oid::NUMERIC, oid::INT8, oid::INT8, oid::NUMERIC, oid::DATE, oid::FLOAT8, oid::NUMERIC, oid::NUMERIC, oid::INT8];

#[test]
fn equal_groups_become_one() {
    let shards: &[&[Row<'_>]] = &[
        &[
            &[
                Some("1.0"),
                Some("2"),
                Some("5"),
                Some("0.10"),
                Some("2024-01-02"),
                Some("-0.5"),
                Some("9"),
                Some("3"),
                Some("2"),
            ],
            &[None, Some("1"), None, None, None, None, None, None, Some("0")],
        ],
        &[
            &[
                Some("1.00"),
                Some("1"),
                Some("-7"),
                Some("1.005"),
                Some("0044-03-15 BC"),
                Some("NaN"),
                Some("9"),
                Some("7"),
                Some("1"),
            ],
            &[Some("7"), Some("1"), Some("1"), Some("1"), None, None, Some("1"), Some("1"), Some("1")],
            &[None, Some("4"), Some("8"), Some("NaN"), None, Some("3"), Some("2"), Some("8"), Some("4")],
        ],
    ];
    let expected = [
        "NULL|5|8|NaN|NULL|3|2.0000000000000000",
        "1.0|3|-2|1.105|0044-03-15 BC|NaN|3.3333333333333333",
        "7|1|1|1|NULL|NULL|1.00000000000000000000",
    ];
    assert_eq!(run(&groups_spec(), GROUP_TYPES, shards).unwrap(), expected);
    let cut = MergeSpec { offset: 1, limit: Some(1), ..groups_spec() };
    assert_eq!(run(&cut, GROUP_TYPES, shards).unwrap(), expected[1..2]);
}

#[test]
fn an_aggregate_without_groups_gives_one_row() {
    let aggregates = vec![(ColumnRef::Visible(0), Aggregate::Count), (ColumnRef::Visible(1), Aggregate::Sum)];
    let spec = MergeSpec { combine: Combine::Groups { group_columns: Vec::new(), aggregates }, ..rows_spec() };
    let types = &[oid::INT8, oid::INT8];
    let empty: &[Row<'_>] = &[&[Some("0"), None]];
    assert_eq!(run(&spec, types, &[empty, empty]).unwrap(), ["0|NULL"]);
    let full: &[Row<'_>] = &[&[Some("2"), Some("9223372036854775807")]];
    assert_eq!(run(&spec, types, &[full, empty]).unwrap(), ["2|9223372036854775807"]);
    let error = run(&spec, types, &[full, full]).expect_err("overflow");
    assert_eq!((error.kind, error.message.as_ref()), (Kind::OutOfRange, "bigint out of range"));
    assert_eq!(run(&spec, types, &[&[], &[]]).expect_err("no row").kind, Kind::Internal);
}

#[test]
fn aggregates_that_are_not_exact_are_refused() {
    let average = Aggregate::Average { sum: ColumnRef::Visible(0), count: ColumnRef::Visible(1) };
    let cases = [
        (Aggregate::Sum, oid::FLOAT8),
        (Aggregate::Sum, oid::FLOAT4),
        (average, oid::FLOAT8),
        (Aggregate::Min, oid::TEXT),
        (Aggregate::Max, oid::BPCHAR),
    ];
    for (aggregate, type_oid) in cases {
        let combine =
            Combine::Groups { group_columns: Vec::new(), aggregates: vec![(ColumnRef::Visible(0), aggregate)] };
        let error = Merge::new(&MergeSpec { combine, ..rows_spec() }, 0, &columns(&[type_oid, oid::INT8]), 2, &OPTIONS)
            .expect_err("not exact");
        assert_eq!(error.kind, Kind::NotSupported, "{aggregate:?} {type_oid}");
    }
}

#[test]
fn groups_stay_within_their_memory() {
    let combine = Combine::Groups { group_columns: vec![ColumnRef::Visible(0)], aggregates: Vec::new() };
    let options = MergeOptions { memory_max: 10_000, ..OPTIONS };
    let mut merge = Merge::new(&MergeSpec { combine, ..rows_spec() }, 0, &columns(&[oid::TEXT]), 1, &options).unwrap();
    for _ in 0..100_000 {
        merge.push(0, row(&[Some("the same group")])).unwrap();
    }
    let error = (0..1000).find_map(|n| merge.push(0, row(&[Some(&n.to_string())])).err()).expect("over the budget");
    assert_eq!(error.kind, Kind::LimitExceeded);
    assert!(error.hint.as_ref().is_some_and(|hint| hint.contains("merge_memory")));
}

#[test]
fn rows_that_do_not_fit_their_description_are_errors() {
    let mut merge = Merge::new(&rows_spec(), 0, &columns(&[oid::TEXT]), 1, &OPTIONS).unwrap();
    merge.push(0, row(&[Some("a"), Some("b")])).unwrap();
    assert!(merge.next(&mut BytesMut::new()).is_err());
    let spec = MergeSpec { sort: vec![ascending(ColumnRef::Visible(0))], ..rows_spec() };
    let mut merge = Merge::new(&spec, 0, &columns(&[oid::INT8]), 1, &OPTIONS).unwrap();
    assert!(merge.push(0, Bytes::from_static(b"\0\x01\0\0\0\x09")).is_err());
    let hidden = MergeSpec { hidden_columns: 2, ..rows_spec() };
    assert!(Merge::new(&hidden, 0, &columns(&[oid::INT8]), 1, &OPTIONS).is_err());
}

/// Sums and averages as a PostgreSQL 15 server printed them.
#[test]
fn averages_have_postgresqls_digits() {
    let cases: &[(&str, i64, &str)] = &[
        ("0", 3, "0.00000000000000000000"),
        ("1", 3, "0.33333333333333333333"),
        ("10", 4, "2.5000000000000000"),
        ("-10", 3, "-3.3333333333333333"),
        ("20000", 3, "6666.6666666666666667"),
        ("1000000000000", 7, "142857142857.14285714"),
        ("0.00001", 3, "0.000003333333333333333333"),
        ("NaN", 2, "NaN"),
        ("-Infinity", 2, "-Infinity"),
    ];
    for (sum, count, expected) in cases {
        let sum = numeric::Numeric::parse(sum.as_bytes()).unwrap();
        assert_eq!(sum.average(*count).to_string(), *expected, "{sum} / {count}");
    }
}

/// Values in text, and the bytes that PostgreSQL 15 sends for them in binary format.
const BINARY: &[(u32, &str, &[u8])] = &[
    (oid::BOOL, "t", &[1]),
    (oid::INT2, "-2", &[0xff, 0xfe]),
    (oid::INT4, "258", &[0, 0, 1, 2]),
    (oid::INT8, "-1", &[0xff; 8]),
    (oid::OID, "4294967295", &[0xff; 4]),
    (oid::FLOAT4, "1.5", &[0x3f, 0xc0, 0, 0]),
    (oid::FLOAT8, "-0", &[0x80, 0, 0, 0, 0, 0, 0, 0]),
    (oid::DATE, "1999-12-31", &[0xff; 4]),
    (oid::DATE, "infinity", &[0x7f, 0xff, 0xff, 0xff]),
    (oid::TIME, "00:00:00.000001", &[0, 0, 0, 0, 0, 0, 0, 1]),
    (oid::TIMESTAMP, "-infinity", &[0x80, 0, 0, 0, 0, 0, 0, 0]),
    (oid::TIMESTAMPTZ, "2000-01-01 01:00:00+01", &[0; 8]),
    (oid::CHAR, "A", b"A"),
    (oid::NUMERIC, "0", &[0, 0, 0, 0, 0, 0, 0, 0]),
    (oid::NUMERIC, "0.00", &[0, 0, 0, 0, 0, 0, 0, 2]),
    (oid::NUMERIC, "1.0", &[0, 1, 0, 0, 0, 0, 0, 1, 0, 1]),
    (oid::NUMERIC, "-12345.678", &[0, 3, 0, 1, 0x40, 0, 0, 3, 0, 1, 0x09, 0x29, 0x1a, 0x7c]),
    (oid::NUMERIC, "0.00001", &[0, 1, 0xff, 0xfe, 0, 0, 0, 5, 0x03, 0xe8]),
    (oid::NUMERIC, "100000000", &[0, 1, 0, 2, 0, 0, 0, 0, 0, 1]),
    (oid::NUMERIC, "NaN", &[0, 0, 0, 0, 0xc0, 0, 0, 0]),
    (oid::NUMERIC, "Infinity", &[0, 0, 0, 0, 0xd0, 0, 0, 0x20]),
    (oid::NUMERIC, "-Infinity", &[0, 0, 0, 0, 0xf0, 0, 0, 0x20]),
];

#[test]
fn a_value_is_the_same_in_both_formats() {
    for (type_oid, text, bytes) in BINARY {
        let mut column = columns(&[*type_oid]).remove(0);
        let of_text = Codec::ordered(&column, true, EXACT).unwrap().read(text.as_bytes()).unwrap();
        column.format = 1;
        let codec = Codec::ordered(&column, true, EXACT).unwrap();
        assert_eq!(codec.read(bytes).unwrap(), of_text, "{text}");
        if *type_oid == oid::NUMERIC {
            let Value::Numeric(value) = &of_text else { panic!("{text}") };
            assert_eq!(binary::write_numeric(value), *bytes, "{text}");
            assert_eq!(binary::read_numeric(bytes).unwrap().to_string(), *text);
        }
        let longer = [bytes, &[0][..]].concat();
        assert_eq!(codec.read(&longer).expect_err(text).kind, Kind::NotSupported, "{text}");
    }
}

#[test]
fn aggregates_are_combined_in_the_format_that_the_client_asks_for() {
    let mut columns = columns(&[oid::INT8, oid::NUMERIC, oid::INT4, oid::NUMERIC, oid::NUMERIC, oid::INT8]);
    columns.iter_mut().for_each(|column| column.format = 1);
    let visible = ColumnRef::Visible;
    let average = Aggregate::Average { sum: ColumnRef::Hidden(0), count: ColumnRef::Hidden(1) };
    let aggregates = vec![
        (visible(0), Aggregate::Count),
        (visible(1), Aggregate::Sum),
        (visible(2), Aggregate::Max),
        (visible(3), average),
    ];
    let combine = Combine::Groups { group_columns: Vec::new(), aggregates };
    let spec = MergeSpec { combine, hidden_columns: 2, ..rows_spec() };
    let mut merge = Merge::new(&spec, 0, &columns, 2, &OPTIONS).unwrap();
    let number = |text: &str| binary::write_numeric(&numeric::Numeric::parse(text.as_bytes()).unwrap());
    for (source, (count, sum, max)) in [(2_i64, "1.50", 7_i32), (1, "0.5", -7)].into_iter().enumerate() {
        let (count, sum, max) = (count.to_be_bytes(), number(sum), max.to_be_bytes());
        let values: [&[u8]; 6] = [&count, &sum, &max, b"not looked at", &sum, &count];
        merge.push(source, row::body(values.into_iter().map(Some))).unwrap();
        merge.finish(source);
    }
    let mut out = BytesMut::new();
    assert_eq!(merge.next(&mut out).unwrap(), Step::Row);
    let values = backend::read_data_row(&out[5..]).unwrap();
    let expected: [&[u8]; 4] =
        [&3_i64.to_be_bytes(), &number("2.00"), &7_i32.to_be_bytes(), &number("0.66666666666666666667")];
    assert_eq!(values, expected.map(Some));
}
