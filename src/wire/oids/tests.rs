use bytes::BytesMut;
use proptest::prelude::*;

use super::*;
use crate::wire::backend::{self, Column};

/// The types of a server whose numbers begin with `first`.
fn numbered(first: u32) -> Numbered {
    let part = |at: u32| first + at;
    let forms = [
        ("s.mood", Form::Plain),
        ("s.mood[]", Form::Array(part(0))),
        ("s.pair", Form::Record),
        ("s.pair[]", Form::Array(part(2))),
        ("s.years", Form::Domain(23)),
        ("s.span", Form::Range(part(0))),
        ("s.spans", Form::Multirange(part(5))),
        ("s.pairs", Form::Range(part(2))),
        ("s.many", Form::Domain(part(1))),
        ("s.years[]", Form::Array(part(4))),
    ];
    let types = (0..).zip(forms).map(|(at, (name, form))| Type { name: name.into(), oid: part(at), form });
    let relation =
        |name: &str, at, columns: &str| Relation { name: name.into(), oid: part(at), columns: columns.into() };
    let relations =
        vec![relation("s.t", 100, "1 a,2 b"), relation("s.u", 101, if first == HOME { "1 a" } else { "2 a" })];
    Numbered { types: types.collect(), relations }
}

const HOME: u32 = 20_000;
const SHARD: u32 = 30_000;

fn translation() -> Translation {
    Translation::between(&numbered(HOME), &numbered(SHARD), "two").unwrap()
}

/// A value with its length in front.
fn with_length(value: &[u8]) -> Vec<u8> {
    [&i32::try_from(value.len()).unwrap().to_be_bytes(), value].concat()
}

const NULL: [u8; 4] = [255; 4];

fn array(element: u32, elements: &[&[u8]]) -> Vec<u8> {
    let header = [1, 0, element, u32::try_from(elements.len()).unwrap(), 1].map(u32::to_be_bytes).concat();
    [header, elements.iter().flat_map(|element| with_length(element)).collect()].concat()
}

fn record(columns: &[(u32, Option<&[u8]>)]) -> Vec<u8> {
    let column = |(oid, value): &(u32, Option<&[u8]>)| {
        [oid.to_be_bytes().to_vec(), value.map_or(NULL.to_vec(), with_length)].concat()
    };
    [u32::try_from(columns.len()).unwrap().to_be_bytes().to_vec(), columns.iter().flat_map(column).collect()].concat()
}

/// A value that has OIDs wherever they may stand, on the server whose numbers begin with `first`.
fn nested(first: u32) -> Vec<u8> {
    let moods = array(first, &[b"sad", b"ok"]);
    let span = [&[2][..], &with_length(b"sad"), &with_length(b"ok")].concat();
    let spans = [&[0, 0, 0, 1][..], &with_length(&span)].concat();
    let years = array(first + 4, &[&[0, 0, 0, 7]]);
    let kind = (first + 1).to_be_bytes();
    let table = (first + 100).to_be_bytes();
    let inner = record(&[(first, Some(b"sad")), (first + 1, Some(&moods)), (25, None)]);
    record(&[
        (23, Some(&[0, 0, 0, 1])),
        (first + 1, Some(&moods)),
        (first + 2, Some(&inner)),
        (first + 3, Some(&array(first + 2, &[&inner, &inner]))),
        (first + 4, None),
        (first + 5, Some(&span)),
        (first + 6, Some(&spans)),
        (first + 7, Some(&[&[2][..], &with_length(&inner), &with_length(&inner)].concat())),
        (first + 8, Some(&moods)),
        (first + 9, Some(&years)),
        (2249, Some(&inner)),
        (2287, Some(&array(2249, &[&inner]))),
        (2206, Some(&kind)),
        (2205, Some(&table)),
        (2211, Some(&array(2206, &[&kind, &[0, 0, 0, 23]]))),
    ])
}

#[test]
fn equal_numbers_need_no_translation() {
    assert!(Translation::between(&numbered(HOME), &numbered(HOME), "two").is_none());
    let mut more = numbered(HOME);
    more.types.push(Type { name: "s.more".into(), oid: 1_000_000, form: Form::Plain });
    assert!(Translation::between(&more, &numbered(HOME), "two").is_none(), "the shard sends no such number");
    assert!(Translation::between(&numbered(HOME), &more, "two").is_some());
}

#[test]
fn every_number_in_a_value_is_translated_both_ways() {
    let translation = translation();
    let mut value = nested(SHARD);
    translation.to_home().value(2249, &mut value).unwrap();
    assert_eq!(value, nested(HOME));
    translation.to_shard().value(2249, &mut value).unwrap();
    assert_eq!(value, nested(SHARD));
}

#[test]
fn a_value_that_is_cut_off_is_malformed() {
    let whole = nested(SHARD);
    for len in 0..whole.len() {
        assert_eq!(translation().to_home().value(2249, &mut whole[..len].to_vec()), Err(Flaw::Malformed), "{len}");
    }
    let longer = [&whole[..], &[0]].concat();
    assert_eq!(translation().to_home().value(2249, &mut longer.clone()), Err(Flaw::Malformed));
}

#[test]
fn values_in_values_are_followed_up_to_a_limit() {
    let mut value = Vec::new();
    for _ in 0..=value::LEVELS_MAX {
        value = record(&[(2249, Some(&value))]);
    }
    assert_eq!(translation().to_home().value(2249, &mut value), Err(Flaw::Deep));
}

#[test]
fn only_types_that_may_hold_numbers_are_looked_into() {
    let translation = translation();
    let numbered = [1, 2, 3, 7, 8, 9].map(|at| SHARD + at);
    let plain = [0, 4, 5, 6].map(|at| SHARD + at);
    for oid in numbered.into_iter().chain([2249, 2287, 2205, 2206, 24]) {
        assert!(translation.to_home().is_numbered(oid), "{oid}");
    }
    for oid in plain.into_iter().chain([23, 25, 1007, 3904, 26]) {
        assert!(!translation.to_home().is_numbered(oid), "{oid}");
    }
}

#[test]
fn what_the_other_server_lacks_is_refused_by_its_name() {
    let mut fewer = numbered(HOME);
    fewer.types.retain(|one| one.name != "s.mood");
    fewer.types.iter_mut().filter(|one| one.name == "s.pair").for_each(|one| one.form = Form::Plain);
    let translation = Translation::between(&fewer, &numbered(SHARD), "two").unwrap();
    for (oid, words) in [
        (
            SHARD,
            "cannot translate type s.mood of shard \"two\" (Clients know types by the home shard's OIDs, and the home shard has no such type.)",
        ),
        (
            SHARD + 2,
            "cannot translate type s.pair of shard \"two\" (Clients know types by the home shard's OIDs, and the home shard has no such type.)",
        ),
        (
            99_999,
            "cannot translate OID 99999 of shard \"two\" (Clients know types by the home shard's OIDs, and it is not among the types that Weir has read from the catalogs.)",
        ),
    ] {
        let error = translation.to_home().type_oid(oid).unwrap_err();
        assert_eq!((error.to_string().as_str(), error.kind), (words, Kind::NotSupported));
        assert!(error.hint.is_some());
    }
    let mut value = array(SHARD, &[b"sad"]);
    assert_eq!(translation.to_home().value(SHARD + 1, &mut value), Err(Flaw::Unknown(SHARD)));
    assert_eq!(translation.to_home().type_oid(SHARD + 1).unwrap(), HOME + 1);
    // Of other catalogs no numbers are known.
    let function = 20_500_u32.to_be_bytes();
    assert_eq!(translation.to_home().value(24, &mut function.to_vec()), Err(Flaw::Unknown(20_500)));
    assert_eq!(translation.to_home().value(24, &mut 1242_u32.to_be_bytes().to_vec()), Ok(()));
}

fn column(type_oid: u32, table_oid: u32) -> Column {
    let attribute = if table_oid == 0 { 0 } else { 3 };
    Column { type_oid, table_oid, attribute, ..Column::of_text("c") }
}

#[test]
fn descriptions_are_translated() {
    let described = |columns: &[Column]| backend::row_description_body(columns);
    let mut body = BytesMut::from(&*described(&[
        column(SHARD, SHARD + 100),
        column(23, SHARD + 101),
        column(SHARD + 3, 1259),
        column(25, 77_777),
    ]));
    translation().to_home().row_description(&mut body).unwrap();
    // Columns that are numbered otherwise, or of a table that the home shard lacks, belong to none.
    let expected = [column(HOME, HOME + 100), column(23, 0), column(HOME + 3, 1259), column(25, 0)];
    assert_eq!(body, described(&expected));
    let parameters = |first: u32| [&[0, 3][..], &[23, first, first + 9].map(u32::to_be_bytes).concat()].concat();
    let mut body = parameters(SHARD);
    translation().to_home().parameter_description(&mut body).unwrap();
    assert_eq!(body, parameters(HOME));
    let error = translation().to_home().row_description(&mut described(&[column(SHARD + 50, 0)]).to_vec()).unwrap_err();
    assert_eq!(error.kind, Kind::NotSupported);
}

#[test]
fn only_the_columns_that_are_named_change_in_a_row() {
    let row = |first: u32, last: u32| {
        let mut out = BytesMut::new();
        let moods = |first| array(first, &[b"sad"]);
        backend::data_row(&mut out, [Some(&moods(first)[..]), Some(b"x"), None, Some(&moods(last)[..])].into_iter());
        out.split_off(5)
    };
    let mut body = row(SHARD, SHARD);
    translation().to_home().data_row(&[(0, SHARD + 1), (2, SHARD + 1)], &mut body).unwrap();
    assert_eq!(body, row(HOME, SHARD));
    let error = translation().to_home().data_row(&[(4, SHARD + 1)], &mut body).unwrap_err();
    assert_eq!(error.kind, Kind::ServerLost);
    let error = translation().to_home().data_row(&[(1, SHARD + 1)], &mut row(SHARD, SHARD)).unwrap_err();
    assert_eq!(error.kind, Kind::ServerLost);
}

#[test]
fn binary_parameters_are_translated_and_bad_ones_left_to_the_server() {
    let arguments = |formats: &[u8], first: u32| {
        let value = with_length(&array(first, &[b"sad"]));
        let formats = formats.iter().flat_map(|format| [0, *format]);
        let count = u8::try_from(formats.clone().count() / 2).unwrap();
        [&[0, count][..], &formats.collect::<Vec<u8>>(), &[0, 3], &value, &NULL, &with_length(b"bad"), &[0, 1, 0, 1]]
            .concat()
    };
    let types = [HOME + 1; 3];
    for (formats, translated) in
        [(&[][..], false), (&[0], false), (&[1], true), (&[1, 1, 1], true), (&[0, 1, 1], false)]
    {
        let mut bytes = arguments(formats, HOME);
        translation().to_shard().bind_arguments(&types, &mut bytes).unwrap();
        assert_eq!(bytes, arguments(formats, if translated { SHARD } else { HOME }), "{formats:?}");
    }
    let error = translation().to_shard().bind_arguments(&types, &mut arguments(&[1], HOME + 70)).unwrap_err();
    assert!(error.message.contains("OID 20070 of the home shard"), "{error}");
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), at in 0_u32..10) {
        let translation = translation();
        let columns = [(0, SHARD + at), (3, 2249)];
        let _ = translation.to_home().value(SHARD + at, &mut bytes.clone());
        let _ = translation.to_home().value(2249, &mut bytes.clone());
        let _ = translation.to_home().row_description(&mut bytes.clone());
        let _ = translation.to_home().parameter_description(&mut bytes.clone());
        let _ = translation.to_home().data_row(&columns, &mut bytes.clone());
        let _ = translation.to_shard().bind_arguments(&[HOME + at, 2249], &mut bytes.clone());
    }
}
