use proptest::prelude::*;

use super::*;

/// Values and what PostgreSQL 15 says of `hash_record_extended(ROW(value), 0)`.
const GOLDEN: &[(KeyType, &str, i64)] = &[
    (KeyType::Int2, "-32768", 8455483389771436374),
    (KeyType::Int2, "-1", -1888257769727981238),
    (KeyType::Int2, "0", 4154612158245552303),
    (KeyType::Int2, "1", -3670598878359251130),
    (KeyType::Int2, "32767", 1790040721271588170),
    (KeyType::Int4, "-2147483648", 1977219185673256887),
    (KeyType::Int4, "-32769", -8825591814415878124),
    (KeyType::Int4, "42", 8010225493015854792),
    (KeyType::Int4, "2147483647", -9109110466470504941),
    (KeyType::Int8, "-9223372036854775808", -9109110466470504941),
    (KeyType::Int8, "-4294967297", 495194309054116481),
    (KeyType::Int8, "-1", -1888257769727981238),
    (KeyType::Int8, "42", 8010225493015854792),
    (KeyType::Int8, "4294967296", -3670598878359251130),
    (KeyType::Int8, "9223372036854775807", 1977219185673256887),
    (KeyType::Text, "", -6939563903564495251),
    (KeyType::Text, "a", 3591986179850072241),
    (KeyType::Text, "ab", 2833316173711343549),
    (KeyType::Text, "abc", -6747756470228489321),
    (KeyType::Text, "abcd", -1038429303365892052),
    (KeyType::Text, "abcde", 3076356108696143428),
    (KeyType::Text, "abcdef", 290958262752763840),
    (KeyType::Text, "abcdefg", -6158032784613548338),
    (KeyType::Text, "abcdefgh", -8882191227074733005),
    (KeyType::Text, "abcdefghi", -3278210106038014113),
    (KeyType::Text, "abcdefghij", -3183301415634409076),
    (KeyType::Text, "abcdefghijk", 3112909444737856467),
    (KeyType::Text, "abcdefghijkl", -7556637188122330412),
    (KeyType::Text, "abcdefghijklm", 8871624171452417744),
    (KeyType::Text, "abcdefghijklmn", 4973135103275945525),
    (KeyType::Text, "abcdefghijklmno", 9043359162837317271),
    (KeyType::Text, "abcdefghijklmnop", 878954068520307163),
    (KeyType::Text, "abcdefghijklmnopq", 981995727863167554),
    (KeyType::Text, "abcdefghijklmnopqr", 484589330715449564),
    (KeyType::Text, "abcdefghijklmnopqrs", -232611774418841497),
    (KeyType::Text, "abcdefghijklmnopqrst", 772495730612720881),
    (KeyType::Text, "abcdefghijklmnopqrstu", 7996419909667933074),
    (KeyType::Text, "abcdefghijklmnopqrstuv", 5065299895581918398),
    (KeyType::Text, "abcdefghijklmnopqrstuvw", -1198571854151947912),
    (KeyType::Text, "abcdefghijklmnopqrstuvwx", -1933194731779935345),
    (KeyType::Text, "abcdefghijklmnopqrstuvwxy", 5649064133428767341),
    (KeyType::Text, "abcdefghijklmnopqrstuvwxyz", -6612928417832572997),
    (KeyType::Text, "abcdefghijklmnopqrstuvwxyz0", -2380771206696995028),
    (KeyType::Text, "abcdefghijklmnopqrstuvwxyz01", 6812267027916543695),
    (KeyType::Text, "abcdefghijklmnopqrstuvwxyz012", 945567879077619982),
    (KeyType::Text, "abcdefghijklmnopqrstuvwxyz0123", -6220525620039254070),
    (KeyType::Text, "abcdefghijklmnopqrstuvwxyz01234", 2158826814634153154),
    (KeyType::Text, "abcdefghijklmnopqrstuvwxyz012345", 3549018472450668904),
    (KeyType::Text, "abcdefghijklmnopqrstuvwxyz0123456", 5090768811159989509),
    (KeyType::Text, "abcdefghijklmnopqrstuvwxyz01234567", 8980361962424279172),
    (KeyType::Text, "abcdefghijklmnopqrstuvwxyz012345678", -7327977299585643623),
    (KeyType::Text, "abcdefghijklmnopqrstuvwxyz0123456789", -9049552497159076100),
    (KeyType::Text, "abcdefghijklmnopqrstuvwxyz0123456789A", 3585635575684526821),
    (KeyType::Text, "abcdefghijklmnopqrstuvwxyz0123456789AB", -7945884355249891368),
    (KeyType::Text, "abcdefghijklmnopqrstuvwxyz0123456789ABC", 4463852556669114991),
    (KeyType::Text, "abcdefghijklmnopqrstuvwxyz0123456789ABCD", 7005817330312134559),
    (KeyType::Varchar, "müller", 8861782393884280094),
    (KeyType::Varchar, "漢字", 5510981731381295353),
    (KeyType::Uuid, "00000000-0000-0000-0000-000000000000", -6859010066814654381),
    (KeyType::Uuid, "6ba7b810-9dad-11d1-80b4-00c04fd430c8", -7660212938568749411),
    (KeyType::Date, "0001-01-01", 1587041295697442648),
    (KeyType::Date, "1999-12-31", -1888257769727981238),
    (KeyType::Date, "2000-02-29", 6288838266438381261),
    (KeyType::Date, "2024-12-31", 2567744645939603125),
    (KeyType::Date, "9999-12-31", 8913858878020421528),
    (KeyType::Timestamp, "0001-01-01 00:00:00", -6687948877792058550),
    (KeyType::Timestamp, "1999-12-31 23:59:59.999999", -1888257769727981238),
    (KeyType::Timestamp, "2024-02-29 12:34:56.5", -355907613791770573),
    (KeyType::Timestamptz, "2024-02-29 12:34:56.5+00", -355907613791770573),
    (KeyType::Timestamptz, "2024-02-29 07:04:56.5+00", 4744038752748458538),
];

fn value(key_type: KeyType, text: &str) -> KeyValue<'_> {
    KeyValue::from_text(key_type, text).unwrap_or_else(|| panic!("{key_type} {text:?}"))
}

fn int8(name: &str, method: Method) -> Keyspace {
    Keyspace { name: name.to_owned(), key: vec![KeyType::Int8], method }
}

fn even(buckets: usize, shards: u16) -> Hash {
    let shards: Vec<ShardId> = (0..shards).map(ShardId).collect();
    Hash::even(HashFunction::Postgres, buckets, &shards).unwrap()
}

fn range(from: Option<i64>, to: Option<i64>, shard: u16) -> Range {
    let bound = |value: Option<i64>, end| value.map_or(end, |value| Bound::Key(vec![KeyValue::Int(value)]));
    Range { from: bound(from, Bound::MinValue), to: bound(to, Bound::MaxValue), shard: ShardId(shard) }
}

#[test]
fn hashes_are_the_servers() {
    for (key_type, text, hash) in GOLDEN {
        assert_eq!(hash_extended(&[value(*key_type, text)]) as i64, *hash, "{key_type} {text:?}");
    }
}

#[test]
fn texts_are_printed_as_they_were_read() {
    for (key_type, text, _) in GOLDEN.iter().filter(|(key_type, ..)| *key_type != KeyType::Timestamptz) {
        assert_eq!(value(*key_type, text).to_string(), *text);
    }
}

#[test]
fn xxh3_is_taken_over_the_printed_text() {
    let hash = Hash::new(HashFunction::Xxh3, vec![ShardId(0); 4096]).unwrap();
    let bucket = |text: &str| (xxhash_rust::xxh3::xxh3_64(text.as_bytes()) % 4096) as usize;
    assert_eq!(hash.bucket_of(&[KeyValue::Int(-7)]).unwrap(), bucket("-7"));
    assert_eq!(hash.bucket_of(&[value(KeyType::Text, "M\u{fc}ller")]).unwrap(), bucket("M\u{fc}ller"));
    let uuid = value(KeyType::Uuid, "6BA7B810-9DAD-11D1-80B4-00C04FD430C8");
    assert_eq!(hash.bucket_of(&[uuid]).unwrap(), bucket("6ba7b810-9dad-11d1-80b4-00c04fd430c8"));
    assert_eq!(hash.bucket_of(&[KeyValue::Date(0)]).unwrap_err().kind, Kind::Internal);
}

#[test]
fn only_certain_spellings_are_read() {
    use KeyType::*;
    let cases: &[(KeyType, &[&str])] = &[
        (Int2, &["", " 1", "1 ", "32768", "-32769", "1.0", "1e3", "0x10", "1_000", "one"]),
        (Int4, &["2147483648", "-2147483649"]),
        (Int8, &["9223372036854775808", "-9223372036854775809", "+", "-"]),
        (Text, &["a\0b"]),
        (Varchar, &["a\0b", "a ", " "]),
        (Uuid, &["", "6ba7b8109dad11d180b400c04fd430c8", "{6ba7b810-9dad-11d1-80b4-00c04fd430c8}"]),
        (Uuid, &["6ba7b810-9dad-11d1-80b4-00c04fd430cg", "6ba7b8109-dad-11d1-80b4-00c04fd430c8"]),
        (Date, &["now", "today", "infinity", "01/02/2020", "2020-1-2", "20200102", "2020-01-02 BC", "0000-01-01"]),
        (
            Date,
            &[
                "2020-02-30",
                "2021-02-29",
                "1900-02-29",
                "2020-13-01",
                "2020-00-01",
                "12020-01-01",
                "2020-01-02 00:00:00",
            ],
        ),
        (
            Timestamp,
            &["now", "2020-01-02 24:00:00", "2020-01-02 23:59:60", "2020-01-02 10:00", "2020-01-02 10:00:00.1234567"],
        ),
        (Timestamp, &["2020-01-02 10:00:00+00", "2020-01-02 10:00:00Z", "2020-01-02 10:00:00.", "2020-01-02 "]),
        (
            Timestamptz,
            &["2020-01-02", "2020-01-02 10:00:00", "2020-01-02 10:00:00 Europe/Paris", "2020-01-02 10:00:00+16"],
        ),
        (Bytea, &["\\x0", "\\x0g", "\\x00 01", "\\", "\\9", "\\400", "a\\00"]),
        (Bool, &["", "T", " t", "tr", "2"]),
        (Enum, &["", "a\0b"]),
        (Timestamptz, &["2020-01-02 10:00:00+1", "2020-01-02 10:00:00+01:60", "2020-01-02 10:00:00+01:00:00"]),
    ];
    for (key_type, texts) in cases {
        for text in *texts {
            assert_eq!(KeyValue::from_text(*key_type, text), None, "{key_type} {text:?}");
        }
    }
}

#[test]
fn one_moment_has_several_certain_spellings() {
    let moment = value(KeyType::Timestamptz, "2024-02-29 12:00:00+00");
    for text in ["2024-02-29T12:00:00Z", "2024-02-29 17:30:00.000+05:30", "2024-02-28 22:00:00-14:00"] {
        assert_eq!(value(KeyType::Timestamptz, text), moment, "{text}");
    }
    assert_eq!(value(KeyType::Timestamp, "2024-02-29"), value(KeyType::Timestamp, "2024-02-29T00:00:00"));
    assert_eq!(value(KeyType::Int8, "+0042"), KeyValue::Int(42));
}

#[test]
fn binary_values_need_their_types_length() {
    for key_type in KeyType::ALL {
        let lengths: Vec<usize> =
            (0..20).filter(|length| KeyValue::from_binary(key_type, &vec![b'1'; *length]).is_some()).collect();
        let expected = match key_type {
            KeyType::Int2 => vec![2],
            KeyType::Int4 | KeyType::Date => vec![4],
            KeyType::Int8 | KeyType::Timestamp | KeyType::Timestamptz => vec![8],
            KeyType::Uuid => vec![16],
            KeyType::Text | KeyType::Varchar | KeyType::Bytea => (0..20).collect(),
            KeyType::Enum => (1..20).collect(),
            // Of these bytes '1' neither is a value.
            KeyType::Numeric | KeyType::Bool => vec![],
        };
        assert_eq!(lengths, expected, "{key_type}");
    }
    assert_eq!(KeyValue::from_binary(KeyType::Int4, &[0xff; 4]), Some(KeyValue::Int(-1)));
    assert_eq!(KeyValue::from_binary(KeyType::Text, &[0xff]), None);
    assert_eq!(KeyValue::from_binary(KeyType::Bool, &[1]), Some(KeyValue::Bool(true)));
}

#[test]
fn even_placement_is_contiguous_and_fair() {
    for (buckets, shards) in [(1, 1), (4, 3), (4096, 2), (4096, 3), (4096, 7), (4, 4)] {
        let hash = even(buckets, shards);
        assert!(hash.placement().is_sorted());
        let shares: Vec<usize> =
            (0..shards).map(|shard| hash.placement().iter().filter(|owner| owner.0 == shard).count()).collect();
        let (least, most) = (shares.iter().min().unwrap(), shares.iter().max().unwrap());
        assert!(*least > 0 && most - least <= 1, "{buckets} buckets over {shards} shards: {shares:?}");
    }
}

#[test]
fn buckets_are_a_power_of_two() {
    for buckets in [0, 3, 1000, BUCKETS_MAX * 2] {
        assert_eq!(Hash::new(HashFunction::Postgres, vec![ShardId(0); buckets]).unwrap_err().kind, Kind::InvalidValue);
    }
    assert!(Hash::even(HashFunction::Postgres, 16, &[]).is_err());
}

#[test]
fn ranges_are_half_open() {
    let ranges = Ranges::new(vec![range(Some(10), None, 2), range(None, Some(0), 0), range(Some(0), Some(5), 1)]);
    let ranges = ranges.unwrap();
    let owners = [(i64::MIN, Some(0)), (-1, Some(0)), (0, Some(1)), (4, Some(1)), (5, None), (9, None), (10, Some(2))];
    for (key, owner) in owners {
        assert_eq!(ranges.shard_of(&[KeyValue::Int(key)]), owner.map(ShardId), "{key}");
    }
    let keyspace = int8("k", Method::Range(ranges));
    let error = keyspace.shard_of(&[KeyValue::Int(7)]).unwrap_err();
    assert_eq!((error.kind, error.origin), (Kind::InvalidValue, Origin::Client));
}

#[test]
fn ranges_must_not_overlap() {
    for ranges in [
        vec![range(None, Some(5), 0), range(Some(4), None, 1)],
        vec![range(None, None, 0), range(Some(4), Some(5), 1)],
        vec![range(Some(5), Some(5), 0)],
        vec![range(Some(5), Some(4), 0)],
    ] {
        assert!(Ranges::new(ranges.clone()).is_err(), "{ranges:?}");
    }
}

fn owners(keyspace: &Keyspace, known: &[Known<'_>]) -> Vec<u16> {
    keyspace.owners(known).unwrap().shards.into_iter().map(|shard| shard.0).collect()
}

fn one_of<'k>(values: &[KeyValue<'k>]) -> Known<'k> {
    Known::OneOf(values.to_vec())
}

#[test]
fn a_directory_looks_up_every_key() {
    let text = |text: &'static str| value(KeyType::Text, text);
    let entries = [(vec![text("a")], ShardId(0)), (vec![text("b")], ShardId(2))];
    let with = |unknown| {
        let directory = Directory { entries: entries.clone().into(), unknown };
        Keyspace { name: "d".to_owned(), key: vec![KeyType::Text], method: Method::Directory(directory) }
    };
    let refuse = with(UnknownKey::Refuse);
    assert_eq!(refuse.shard_of(&[text("b")]).unwrap(), ShardId(2));
    assert_eq!(refuse.shard_of(&[text("c")]).unwrap_err().kind, Kind::InvalidValue);
    assert_eq!(refuse.shards(), [ShardId(0), ShardId(2)]);
    let found = refuse.owners(&[one_of(&[text("a"), text("c")])]).unwrap();
    assert_eq!(found, Owners { shards: vec![ShardId(0)], unowned: vec![vec![text("c")]] });
    let default = with(UnknownKey::Default(ShardId(1)));
    assert_eq!(owners(&default, &[one_of(&[text("a"), text("c")])]), [0, 1]);
    assert_eq!(owners(&default, &[Known::Any]), [0, 1, 2]);
    assert_eq!(owners(&default, &[one_of(&[])]), [0; 0]);
    // A row may be on any shard that keys are assigned to, even if this map does not know it yet.
    let assign = with(UnknownKey::Assign(vec![ShardId(3), ShardId(0)]));
    assert_eq!(owners(&assign, &[Known::Any]), [0, 2, 3]);
    assert_eq!(assign.directory().unwrap().shard_for_new(), Some(ShardId(3)));
}

#[test]
fn a_region_is_hashed_over_its_own_shards() {
    let region = |name: &'static str, shards: &[u16]| {
        let shards: Vec<ShardId> = shards.iter().copied().map(ShardId).collect();
        let hash = Hash::even(HashFunction::Postgres, 16, &shards).unwrap();
        Region { value: KeyValue::Text(name.into()), resident: true, hash }
    };
    let geo = Geo { function: HashFunction::Postgres, regions: vec![region("eu", &[0, 2]), region("us", &[1])] };
    let keyspace = Keyspace { name: "g".to_owned(), key: vec![KeyType::Text, KeyType::Int8], method: Method::Geo(geo) };
    let text = |text: &'static str| KeyValue::Text(text.into());
    let in_eu = keyspace.shard_of(&[text("eu"), KeyValue::Int(7)]).unwrap();
    assert!([ShardId(0), ShardId(2)].contains(&in_eu));
    assert_eq!(keyspace.shard_of(&[text("us"), KeyValue::Int(7)]).unwrap(), ShardId(1));
    assert_eq!(keyspace.shard_of(&[text("mars"), KeyValue::Int(7)]).unwrap_err().kind, Kind::InvalidValue);
    assert_eq!(owners(&keyspace, &[one_of(&[text("eu")]), Known::Any]), [0, 2]);
    assert_eq!(owners(&keyspace, &[one_of(&[text("us"), text("mars")]), Known::Any]), [1]);
    assert_eq!(owners(&keyspace, &[one_of(&[text("eu")]), one_of(&[KeyValue::Int(7)])]), [in_eu.0]);
    assert_eq!(owners(&keyspace, &[Known::Any, one_of(&[KeyValue::Int(7)])]), [0, 1, 2]);
    assert_eq!(owners(&keyspace, &[Known::Any, one_of(&[])]), [0; 0]);
}

#[test]
fn a_key_of_several_columns_is_one_key() {
    let key = vec![KeyType::Text, KeyType::Int4];
    let hashed = Keyspace { name: "h".to_owned(), key: key.clone(), method: Method::Hash(even(64, 5)) };
    let text = |text: &'static str| KeyValue::Text(text.into());
    let shard = |name, number| hashed.shard_of(&[text(name), KeyValue::Int(number)]).unwrap().0;
    let both = owners(&hashed, &[one_of(&[text("a"), text("b")]), one_of(&[KeyValue::Int(1), KeyValue::Int(2)])]);
    let mut expected = vec![shard("a", 1), shard("a", 2), shard("b", 1), shard("b", 2)];
    expected.sort_unstable();
    expected.dedup();
    assert_eq!(both, expected);
    assert_eq!(owners(&hashed, &[one_of(&[text("a")]), Known::Any]), [0, 1, 2, 3, 4]);
    assert_eq!(hashed.shard_of(&[text("a")]).unwrap_err().kind, Kind::Internal);

    let part = |from, to, shard| Range { from, to, shard: ShardId(shard) };
    let at =
        |name, number: Option<i64>| Bound::Key([text(name)].into_iter().chain(number.map(KeyValue::Int)).collect());
    let ranges = vec![
        part(Bound::MinValue, at("b", None), 0),
        part(at("b", None), at("b", Some(10)), 1),
        part(at("b", Some(10)), at("d", None), 2),
        part(at("d", None), Bound::MaxValue, 3),
    ];
    let ranged = Keyspace { name: "r".to_owned(), key, method: Method::Range(Ranges::new(ranges).unwrap()) };
    for (name, number, owner) in [("a", 99, 0), ("b", -5, 1), ("b", 9, 1), ("b", 10, 2), ("c", 0, 2), ("d", -1, 3)] {
        assert_eq!(ranged.shard_of(&[text(name), KeyValue::Int(number)]).unwrap(), ShardId(owner), "{name} {number}");
    }
    assert_eq!(owners(&ranged, &[one_of(&[text("b")]), Known::Any]), [1, 2]);
    assert_eq!(owners(&ranged, &[one_of(&[text("d")]), Known::Any]), [3]);
    let between = |from, to| owners(&ranged, &[Known::Between(from, to), Known::Any]);
    assert_eq!(between(ColumnEnd::Open, ColumnEnd::Excluded(text("b"))), [0]);
    assert_eq!(between(ColumnEnd::Open, ColumnEnd::Included(text("b"))), [0, 1, 2]);
    assert_eq!(between(ColumnEnd::Included(text("c")), ColumnEnd::Excluded(text("d"))), [2]);
    assert_eq!(between(ColumnEnd::Excluded(text("b")), ColumnEnd::Open), [1, 2, 3]);
}

#[test]
fn a_tenants_schema_decides_for_its_tables() {
    let directory =
        Directory { entries: [(vec![KeyValue::Text("acme".into())], ShardId(1))].into(), unknown: UnknownKey::Refuse };
    let schemas = Keyspace { name: "s".to_owned(), key: vec![KeyType::Text], method: Method::Schemas(directory) };
    let shards = || vec!["a".to_owned(), "b".to_owned()];
    let shared = Table { schema: "acme".to_owned(), name: "plans".to_owned(), distribution: Distribution::Reference };
    let map = ShardMap::new(Epoch(1), shards(), vec![schemas.clone()], vec![shared]).unwrap();
    assert_eq!(map.placement("acme", "orders"), Placement::Single(ShardId(1)));
    assert_eq!(map.placement("acme", "plans"), Placement::Reference);
    assert_eq!(map.placement("globex", "orders"), Placement::Unmapped);
    let map = map.with_unmapped_tables(UnmappedTables::Home);
    assert_eq!(map.placement("globex", "orders"), Placement::Single(ShardId(0)));
    let twice = vec![schemas.clone(), Keyspace { name: "t".to_owned(), ..schemas }];
    assert!(ShardMap::new(Epoch(1), shards(), twice, Vec::new()).is_err());
}

#[test]
fn shards_are_renumbered_with_everything_on_them() {
    let table = Table { schema: "p".to_owned(), name: "t".to_owned(), distribution: Distribution::Single(ShardId(1)) };
    let shards = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let keyspaces = vec![int8("k", Method::Hash(even(4, 2)))];
    let map = ShardMap::new(Epoch(3), shards(&["a", "b"]), keyspaces, vec![table]).unwrap();
    let again = map.clone().numbered_by(&shards(&["b", "new", "a"])).unwrap();
    assert_eq!(again.placement("p", "t"), Placement::Single(ShardId(0)));
    assert_eq!(again.shard_ids().collect::<Vec<_>>(), [ShardId(0), ShardId(2)]);
    let Method::Hash(hash) = &again.keyspaces()[0].method else { panic!() };
    assert_eq!(hash.placement(), [2, 2, 0, 0].map(ShardId));
    assert_eq!(again.with_member(ShardId(1)).shard_ids().count(), 3);
    assert_eq!(map.clone().numbered_by(&shards(&["a"])).unwrap_err().kind, Kind::UnknownObject);
    assert_eq!(map.numbered_by(&shards(&["new", "a", "b"])).unwrap_err().kind, Kind::UnknownObject);
}

#[test]
fn a_key_of_another_type_is_an_error() {
    let keyspace = int8("k", Method::Hash(even(16, 2)));
    assert_eq!(keyspace.shard_of(&[value(KeyType::Text, "1")]).unwrap_err().kind, Kind::Internal);
}

#[test]
fn tables_are_placed_by_schema_and_name() {
    let table = |name: &str, distribution| Table { schema: "public".to_owned(), name: name.to_owned(), distribution };
    let sharded =
        |keyspace: &str| Distribution::Sharded { keyspace: keyspace.to_owned(), columns: vec!["id".to_owned()] };
    let build = |shards: &[&str], tables| {
        let shards = shards.iter().map(|shard| (*shard).to_owned()).collect();
        ShardMap::new(Epoch(3), shards, vec![int8("k", Method::Hash(even(16, 2)))], tables)
    };
    let map = build(&["a", "b"], vec![table("t", sharded("k")), table("r", Distribution::Reference)]).unwrap();
    let id = ["id".to_owned()];
    assert_eq!(map.placement("public", "t"), Placement::Sharded { keyspace: &map.keyspaces()[0], columns: &id });
    assert_eq!(map.placement("public", "r"), Placement::Reference);
    assert_eq!(map.placement("other", "t"), Placement::Unmapped);
    assert_eq!(map.tables().map(|(_, name, _)| name).collect::<Vec<_>>(), ["r", "t"]);
    assert_eq!(map.shard_ids().collect::<Vec<_>>(), [ShardId(0), ShardId(1)]);

    for (shards, tables) in [
        (&["a", "b"][..], vec![table("t", sharded("unknown"))]),
        (&["a", "b"], vec![table("t", Distribution::Reference), table("t", Distribution::Reference)]),
        (&["a", "a"], vec![]),
        (&["a"], vec![]),
        (&[], vec![]),
    ] {
        assert!(build(shards, tables).is_err());
    }
}

proptest! {
    #[test]
    fn every_key_has_a_bucket_and_its_owner(key in any::<i64>(), exponent in 0_u32..=12, shards in 1_u16..9) {
        let hash = even(1 << exponent, shards);
        let bucket = hash.bucket_of(&[KeyValue::Int(key)]).unwrap();
        prop_assert_eq!(hash.shard_of(&[KeyValue::Int(key)]).unwrap(), hash.placement()[bucket]);
    }

    #[test]
    fn a_range_owns_what_a_scan_of_all_ranges_finds(mut ends in prop::collection::btree_set(-50_i64..50, 2..9), key in -60_i64..60) {
        let first = ends.pop_first().unwrap();
        let mut from = first;
        let mut parts = Vec::new();
        for (index, to) in ends.into_iter().enumerate() {
            // Every third stretch is a gap.
            if index % 3 != 2 {
                parts.push((from, to, index as u16));
            }
            from = to;
        }
        let ranges = parts.iter().map(|(from, to, shard)| range(Some(*from), Some(*to), *shard)).collect();
        let expected = parts.iter().find(|(from, to, _)| (*from..*to).contains(&key)).map(|part| ShardId(part.2));
        prop_assert_eq!(Ranges::new(ranges).unwrap().shard_of(&[KeyValue::Int(key)]), expected);
    }

    #[test]
    fn reading_any_text_ends_well(text in ".{0,40}") {
        for key_type in KeyType::ALL {
            if let Some(value) = KeyValue::from_text(key_type, &text) {
                prop_assert!(key_type.admits(&value));
            }
        }
    }
}
