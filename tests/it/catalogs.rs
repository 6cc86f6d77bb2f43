//! The catalog, in an SQLite file and in a PostgreSQL database: the same tests for both.

use std::path::{Path, PathBuf};

use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};
use weir::catalog::{Catalog, Decision};
use weir::config;
use weir::shardmap::{Change, Distribution, KeyType, KeyValue, Method, ShardMap, Table, UnmappedTables};
use weir::types::{Epoch, Kind, Origin, ShardId};

use crate::harness::{endpoint_of, fresh_dir, servers, unique};

/// Where a catalog is; it can be opened again.
#[derive(Clone, Debug)]
enum Place {
    Sqlite(PathBuf),
    Postgres(String),
}

impl Place {
    /// A new place of each kind.
    fn both() -> [Self; 2] {
        let name = unique("catalog");
        let reference = &servers().reference;
        endpoint_of(reference, "postgres").execute(&format!("CREATE DATABASE {name}"));
        // A path with what a URL gives a meaning to.
        let dir = fresh_dir("catalog").join("state 1?#%41");
        [Self::Sqlite(dir), Self::Postgres(format!("postgres://weir:weir@{}/{name}", reference.address()))]
    }

    async fn open(&self) -> Catalog {
        match self {
            Self::Sqlite(dir) => Catalog::open(dir).await.unwrap(),
            Self::Postgres(url) => Catalog::open_postgres(url).await.unwrap(),
        }
    }
}

fn example(name: &str) -> ShardMap {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("shardmaps").join(name);
    config::load_shard_map(&path, |path| std::fs::read_to_string(path)).unwrap()
}

/// The map of a file with the shards `one` and `two`.
fn map(text: &str) -> ShardMap {
    let text = format!("shards = [\"one\", \"two\"]\n{text}");
    config::load_shard_map(Path::new("map.toml"), |_| Ok(text.clone())).unwrap()
}

const HASHED: &str = r#"
keyspaces.k = { method = "hash", key_type = "int8", buckets = 16 }
tables.t = { keyspace = "k", key = "id" }
tables.r = { reference = true }
"#;

/// Everything that a map can say.
const EVERYTHING: &str = r#"
unmapped_tables = "home"
[keyspaces.h]
method = "hash"
key_type = ["text", "numeric"]
buckets = 4
[keyspaces.r]
method = "range"
key_type = ["timestamptz", "int4"]
allow_gaps = true
ranges = [
    { from = "MINVALUE", to = ["2024-01-01 00:00:00.5+02"], shard = "one" },
    { from = [2023-12-31T22:00:00.5Z], to = ["2024-01-02 00:00:00Z", -7], shard = "two" },
]
[keyspaces.d]
method = "directory"
key_type = "text"
default_shard = "two"
values = { one = ["it's", "a \"quoted\" \\ text", "two\nlines", ""] }
[keyspaces.a]
method = "directory"
key_type = ["bool", "bytea"]
unknown = "assign"
shards = ["two"]
values = { one = [[true, '\x00ff']] }
[keyspaces.s]
method = "directory"
key_type = "schema"
values = { two = ["acme"] }
[keyspaces.g]
method = "geo"
key_type = "uuid"
region_type = "enum"
region_column = "region"
buckets = 2
regions = { eu = { shards = ["one"], resident = true }, us = { shards = ["one", "two"] } }
[tables]
t = { keyspace = "h", key = ["name", "n"] }
"Sales.x y" = { keyspace = "g", key = "id" }
r = { reference = true }
alone = { shard = "two" }
"#;

#[tokio::test]
async fn a_map_comes_back_as_it_was_stored() {
    for place in Place::both() {
        let catalog = place.open().await;
        let maps = ["hash", "range", "directory", "geo", "shop"];
        let mut declared: Vec<(&str, ShardMap)> =
            maps.iter().filter(|name| **name != "shop").map(|name| (*name, example(&format!("{name}.toml")))).collect();
        declared.push(("everything", map(EVERYTHING)));
        for (name, declared) in &declared {
            assert_eq!(catalog.load_or_seed(name, declared).await.unwrap(), *declared, "{place:?}");
        }
        let again = place.open().await;
        for (name, declared) in &declared {
            assert_eq!(again.load(name).await.unwrap().as_ref(), Some(declared), "{place:?}");
            assert_eq!(again.drift(name, declared).await.unwrap(), [""; 0]);
        }
        assert_eq!(again.load("unknown").await.unwrap(), None);
        assert_eq!(again.databases().await.unwrap(), ["directory", "everything", "geo", "hash", "range"]);
    }
}

#[tokio::test]
async fn a_catalog_that_is_only_looked_at_is_not_changed() {
    let [place, _] = Place::both();
    let Place::Sqlite(dir) = &place else { panic!("{place:?}") };
    assert!(Catalog::open_existing(dir).await.unwrap().is_none());
    place.open().await;
    let looked_at = Catalog::open_existing(dir).await.unwrap().unwrap();
    assert_eq!(looked_at.databases().await.unwrap(), [""; 0]);
    assert_eq!(looked_at.decide("x", Decision::Commit).await.unwrap_err().origin, Origin::Catalog);
}

#[tokio::test]
async fn the_catalog_wins_over_the_file_and_tells() {
    for place in Place::both() {
        let catalog = place.open().await;
        assert_eq!(catalog.drift("d", &map(HASHED)).await.unwrap(), [""; 0]);
        let seeded = catalog.load_or_seed("d", &map(HASHED)).await.unwrap();
        let changed = map(r#"
[keyspaces.k]
method = "hash"
key_type = "int4"
buckets = 16
placement = [{ first = 0, last = 6, shard = "one" }, { first = 7, last = 15, shard = "two" }]
[keyspaces.new]
method = "range"
key_type = "int4"
ranges = [{ from = "MINVALUE", to = "MAXVALUE", shard = "one" }]
[tables]
t = { reference = true }
n = { keyspace = "new", key = "id" }
"#);
        assert_eq!(catalog.load_or_seed("d", &changed).await.unwrap(), seeded);
        assert_eq!(
            catalog.drift("d", &changed).await.unwrap(),
            [
                "keyspace k has keys of type int8 in the catalog, int4 in the file",
                "keyspace k has 1 of 16 buckets on other shards than the file says",
                "keyspace new is in the file, not in the catalog",
                "table public.r is in the catalog, not in the file",
                "table public.t is sharded by id in keyspace k in the catalog, a reference table in the file",
                "table public.n is in the file, not in the catalog",
            ]
        );
    }
}

#[tokio::test]
async fn shards_are_known_by_name() {
    for place in Place::both() {
        let catalog = place.open().await;
        let seeded = catalog.load_or_seed("d", &map(HASHED)).await.unwrap();
        let owners = |map: &ShardMap| -> Vec<String> {
            let Method::Hash(hash) = &map.keyspaces()[0].method else { panic!() };
            hash.placement().iter().map(|shard| map.shard_name(*shard).to_owned()).collect()
        };
        let with_shards = |names: &[&str]| {
            let names = names.iter().map(|name| (*name).to_owned()).collect();
            ShardMap::new(Epoch(1), names, Vec::new(), Vec::new()).unwrap()
        };
        let reordered = catalog.load_or_seed("d", &with_shards(&["two", "three", "one"])).await.unwrap();
        assert_eq!(reordered.shards(), ["two", "three", "one"]);
        assert_eq!(reordered.shard_ids().collect::<Vec<_>>(), [ShardId(0), ShardId(2)]);
        assert_eq!(owners(&reordered), owners(&seeded));

        let error = catalog.load_or_seed("d", &with_shards(&["one", "three"])).await.unwrap_err();
        assert_eq!((error.origin, error.kind), (Origin::Catalog, Kind::UnknownObject));
        let drift = catalog.drift("d", &with_shards(&["one", "three"])).await.unwrap();
        assert!(drift.contains(&"shard two is in the catalog, not in the file".to_owned()), "{drift:?}");
    }
}

#[tokio::test]
async fn a_change_is_the_next_epoch_and_only_one_of_two_wins() {
    for place in Place::both() {
        let (left, right) = (place.open().await, place.open().await);
        let old = left.load_or_seed("d", &map(EVERYTHING)).await.unwrap();
        let table = |name: &str| Table {
            schema: "public".to_owned(),
            name: name.to_owned(),
            distribution: Distribution::Reference,
        };
        let with = |name: &str| old.changed(&Change::Place(table(name))).unwrap();
        let (one, two) = (with("from_left").with_unmapped_tables(UnmappedTables::Refuse), with("from_right"));
        let (a, b) = tokio::join!(left.replace("d", &old, &one), right.replace("d", &old, &two));
        let error = match (a, b) {
            (Ok(()), Err(error)) | (Err(error), Ok(())) => error,
            both => panic!("{place:?}: {both:?}"),
        };
        assert_eq!(error.kind, Kind::StaleEpoch, "{error}");
        let stored = left.load("d").await.unwrap().unwrap();
        assert_eq!(stored.epoch(), Epoch(2));
        assert_eq!(left.epoch("d").await.unwrap(), Some(Epoch(2)));
        assert_eq!(stored.entries().count(), old.entries().count());

        // Entries come with a change, and go with their keyspace only.
        let key = vec![KeyValue::Text("later".into())];
        let more = Change::AddValue { keyspace: "s".to_owned(), key, shard: ShardId(0) };
        right.replace("d", &stored, &stored.changed(&more).unwrap()).await.unwrap();
        let stored = left.load("d").await.unwrap().unwrap();
        assert_eq!(stored.entries().count(), old.entries().count() + 1);
        let without = stored.changed(&Change::DropKeyspace("a".to_owned())).unwrap();
        left.replace("d", &stored, &without).await.unwrap();
        let stored = left.load("d").await.unwrap().unwrap();
        assert_eq!((stored.entries().count(), stored.epoch()), (old.entries().count(), Epoch(4)));
    }
}

#[tokio::test]
async fn a_key_is_assigned_once() {
    for place in Place::both() {
        let (left, right) = (place.open().await, place.open().await);
        left.load_or_seed("d", &map(EVERYTHING)).await.unwrap();
        let types = [KeyType::Bool, KeyType::Bytea];
        for number in 0..20_u8 {
            let key = [KeyValue::Bool(false), KeyValue::Bytes(vec![number, 0].into())];
            assert_eq!(left.entry("d", "a", &types, &key).await.unwrap(), None);
            let (one, two) =
                tokio::join!(left.assign("d", "a", &types, &key, "one"), right.assign("d", "a", &types, &key, "two"));
            let standing = one.unwrap();
            assert_eq!(standing, two.unwrap(), "{place:?}");
            assert_eq!(right.entry("d", "a", &types, &key).await.unwrap(), Some(standing));
        }
        let stored = left.load("d").await.unwrap().unwrap();
        assert_eq!((stored.entries().count(), stored.epoch()), (26, Epoch(1)));
    }
}

#[tokio::test]
async fn a_dump_is_restored_over_whatever_is_there() {
    for place in Place::both() {
        let catalog = place.open().await;
        let map = catalog.load_or_seed("d", &map(EVERYTHING)).await.unwrap();
        catalog.load_or_seed("other", &self::map(HASHED)).await.unwrap();
        catalog.begin_two_phase("x", "d", "weir", &["one", "two"]).await.unwrap();
        catalog.decide("x", Decision::Commit).await.unwrap();
        catalog.begin_two_phase("y", "d", "weir", &["one"]).await.unwrap();
        let dump = catalog.dump().await.unwrap();

        let stored = map.changed(&Change::Forget { schema: "public".to_owned(), name: "r".to_owned() }).unwrap();
        catalog.replace("d", &map, &stored).await.unwrap();
        assert_eq!(catalog.restore(&dump).await.unwrap(), ["d", "other"]);
        assert_eq!(catalog.load("d").await.unwrap(), Some(map.clone().with_epoch(Epoch(3))));

        // Into a catalog of the other kind, or a lost one.
        for fresh in Place::both() {
            let fresh = fresh.open().await;
            fresh.restore(&dump).await.unwrap();
            assert_eq!(fresh.load("d").await.unwrap(), Some(map.clone().with_epoch(Epoch(2))));
            let decided: Vec<_> = fresh.two_phase_transactions().await.unwrap();
            let decided: Vec<_> = decided.iter().map(|found| (found.id.as_str(), found.decision)).collect();
            assert_eq!(decided.len(), 2);
            assert!(decided.contains(&("x", Some(Decision::Commit))) && decided.contains(&("y", None)), "{decided:?}");
        }
        for bad in ["", "version = 2", "version = 1\n[databases.d]\nepoch = 1\nshard_map = 'shards = []'", "x"] {
            assert_eq!(catalog.restore(bad).await.unwrap_err().kind, Kind::InvalidValue, "{bad}");
        }
        assert_eq!(catalog.epoch("d").await.unwrap(), Some(Epoch(3)));
    }
}

#[tokio::test]
async fn the_first_decision_stands() {
    for place in Place::both() {
        let catalog = place.open().await;
        catalog.begin_two_phase("a", "shop", "weir", &["one", "two"]).await.unwrap();
        assert_eq!(catalog.decide("a", Decision::Commit).await.unwrap(), Decision::Commit);
        assert_eq!(catalog.decide("a", Decision::Abort).await.unwrap(), Decision::Commit);
        assert_eq!(catalog.decide("unknown", Decision::Abort).await.unwrap(), Decision::Abort);
        drop(catalog);
        let catalog = place.open().await;
        assert_eq!(catalog.decide("a", Decision::Abort).await.unwrap(), Decision::Commit);
        assert_eq!(catalog.decide("unknown", Decision::Commit).await.unwrap(), Decision::Abort);
    }
}

#[tokio::test]
async fn two_processes_agree_on_one_decision() {
    for place in Place::both() {
        let (left, right) = (place.open().await, place.open().await);
        for number in 0..50 {
            let id = number.to_string();
            let (left, right) = tokio::join!(left.decide(&id, Decision::Commit), right.decide(&id, Decision::Abort));
            assert_eq!(left.unwrap(), right.unwrap());
        }
    }
}

#[tokio::test]
async fn leftovers_are_listed_until_they_are_forgotten() {
    for place in Place::both() {
        let catalog = place.open().await;
        catalog.begin_two_phase("b", "shop", "weir", &["two", "one"]).await.unwrap();
        catalog.begin_two_phase("a", "shop", "weir", &["one"]).await.unwrap();
        catalog.decide("a", Decision::Abort).await.unwrap();
        assert!(catalog.begin_two_phase("a", "shop", "weir", &[]).await.is_err());
        let listed = catalog.two_phase_transactions().await.unwrap();
        let shown: Vec<_> =
            listed.iter().map(|found| (found.id.as_str(), found.shards.join(" "), found.decision)).collect();
        assert_eq!(shown, [("b", "two one".to_owned(), None), ("a", "one".to_owned(), Some(Decision::Abort))]);
        assert!(listed[0].started_at.elapsed().unwrap().as_secs() < 60);
        catalog.forget_two_phase("a").await.unwrap();
        assert_eq!(catalog.two_phase_transactions().await.unwrap().len(), 1);
        assert_eq!(catalog.decide("a", Decision::Commit).await.unwrap(), Decision::Commit);
    }
}

/// A catalog as the first version of its tables had it.
async fn older_catalog(dir: &Path) {
    let first = dir.join("migrations");
    std::fs::create_dir_all(&first).unwrap();
    let name = "0001_catalog.sql";
    let migrations = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations/sqlite");
    std::fs::copy(migrations.join(name), first.join(name)).unwrap();
    let options = SqliteConnectOptions::new().filename(dir.join("catalog.sqlite")).create_if_missing(true);
    let pool = SqlitePool::connect_with(options).await.unwrap();
    Migrator::new(first).await.unwrap().run(&pool).await.unwrap();
    let rows = "
        INSERT INTO sharded_database VALUES ('d', 7), ('bare', 1);
        INSERT INTO shard VALUES ('d', 'one', 0), ('d', 'two', 1), ('bare', 'one', 0);
        INSERT INTO keyspace VALUES ('d', 'h', 0, 'int8', 'hash', 'xxh3', NULL, NULL),
            ('d', 'r', 1, 'timestamptz', 'range', NULL, NULL, NULL),
            ('d', 'it''s \"d\"', 2, 'text', 'directory', NULL, 'two', NULL),
            ('d', 'g', 3, 'int4', 'geo', 'postgres', NULL, 'region');
        INSERT INTO region VALUES ('d', 'g', 'eu', 0, 1), ('d', 'g', 'us', 1, 0);
        INSERT INTO bucket_run VALUES ('d', 'h', '', 0, 1, 'one'), ('d', 'h', '', 2, 3, 'two'),
            ('d', 'g', 'eu', 0, 1, 'one'), ('d', 'g', 'us', 0, 0, 'one'), ('d', 'g', 'us', 1, 1, 'two');
        INSERT INTO key_range VALUES ('d', 'r', NULL, '2024-01-01 00:00:00+00', 'one'),
            ('d', 'r', '2024-01-01 00:00:00+00', NULL, 'two');
        INSERT INTO directory_entry VALUES ('d', 'it''s \"d\"', 'a \"b\" \\ c', 'one');
        INSERT INTO mapped_table VALUES ('d', 'public', 't', 'h', 'id'), ('d', 'public', 'players', 'g', 'id'),
            ('d', 'sales', 'r', NULL, NULL)";
    sqlx::raw_sql(rows).execute(&pool).await.unwrap();
    pool.close().await;
}

/// What an older catalog says about placement must outlive its tables; a look at it leaves it as it is.
#[tokio::test]
async fn an_older_catalog_keeps_its_placement() {
    let dir = fresh_dir("older");
    older_catalog(&dir).await;
    let file = || std::fs::read(dir.join("catalog.sqlite")).unwrap();
    let before = file();
    let looked_at = Catalog::open_existing(&dir).await.unwrap().unwrap();
    assert_eq!(looked_at.load("d").await.unwrap(), Some(older_map().with_epoch(Epoch(7))));
    assert!(looked_at.dump().await.unwrap().contains("xxh3"));
    assert_eq!(file(), before);
    let catalog = Catalog::open(&dir).await.unwrap();
    assert_eq!(catalog.load("d").await.unwrap(), Some(older_map().with_epoch(Epoch(7))));
    assert_eq!(catalog.load("bare").await.unwrap().unwrap().tables().count(), 0);
}

#[tokio::test]
async fn a_catalog_of_a_newer_weir_is_not_read() {
    let dir = fresh_dir("newer");
    Catalog::open(&dir).await.unwrap();
    let options = SqliteConnectOptions::new().filename(dir.join("catalog.sqlite"));
    let pool = SqlitePool::connect_with(options).await.unwrap();
    let newer = "INSERT INTO _sqlx_migrations VALUES (9999, 'newer', current_timestamp, true, x'00', 0)";
    sqlx::raw_sql(newer).execute(&pool).await.unwrap();
    pool.close().await;
    for error in [Catalog::open(&dir).await.unwrap_err(), Catalog::open_existing(&dir).await.unwrap_err()] {
        assert!(error.to_string().contains("9999"), "{error}");
    }
}

#[tokio::test]
async fn a_shared_catalog_is_looked_at_as_it_is() {
    let [_, place] = Place::both();
    let Place::Postgres(url) = &place else { panic!("{place:?}") };
    assert!(Catalog::open_existing_postgres(url).await.unwrap().is_none());
    place.open().await;
    assert!(Catalog::open_existing_postgres(url).await.unwrap().is_some());
    let pool = sqlx::PgPool::connect(url).await.unwrap();
    sqlx::raw_sql("DELETE FROM _sqlx_migrations WHERE version > 1; DROP TABLE schema_changes; ALTER TABLE two_phase DROP username")
        .execute(&pool)
        .await
        .unwrap();
    let error = Catalog::open_existing_postgres(url).await.unwrap_err();
    assert!(error.to_string().contains("another version"), "{error}");
    assert_eq!(place.open().await.schema_changes("d").await.unwrap(), 0);
}

#[tokio::test]
async fn changes_of_a_schema_are_counted() {
    for place in Place::both() {
        let catalog = place.open().await;
        assert_eq!(catalog.schema_changes("d").await.unwrap(), 0);
        for number in 1..=3 {
            assert_eq!(catalog.count_schema_change("d").await.unwrap(), number);
        }
        assert_eq!(catalog.count_schema_change("e").await.unwrap(), 1);
        assert_eq!(place.open().await.schema_changes("d").await.unwrap(), 3);
    }
}

/// The map of that catalog's database "d".
fn older_map() -> ShardMap {
    map(r#"
[keyspaces.h]
method = "hash"
key_type = "int8"
function = "xxh3"
buckets = 4
[keyspaces.r]
method = "range"
key_type = "timestamptz"
ranges = [
    { from = "MINVALUE", to = 2024-01-01T00:00:00Z, shard = "one" },
    { from = 2024-01-01T00:00:00Z, to = "MAXVALUE", shard = "two" },
]
[keyspaces."it's \"d\""]
method = "directory"
key_type = "text"
default_shard = "two"
values = { one = ["a \"b\" \\ c"] }
[keyspaces.g]
method = "geo"
key_type = "int4"
region_column = "region"
buckets = 2
regions = { eu = { shards = ["one"], resident = true }, us = { shards = ["one", "two"] } }
[tables]
t = { keyspace = "h", key = "id" }
players = { keyspace = "g", key = "id" }
"sales.r" = { reference = true }
"#)
}
