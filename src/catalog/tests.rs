use super::*;
use crate::config;
use crate::shardmap::{Distribution, Keyspace, ShardMap, Table};
use crate::types::Epoch;

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

#[tokio::test]
async fn a_map_comes_back_as_it_was_stored() {
    let state = tempfile::tempdir().unwrap();
    let examples = ["hash.toml", "range.toml", "directory.toml", "geo.toml"];
    for name in examples {
        let catalog = Catalog::open(&state.path().join("made")).await.unwrap();
        assert_eq!(catalog.load_or_seed(name, &example(name)).await.unwrap(), example(name));
    }
    assert!(Catalog::open_existing(state.path()).await.unwrap().is_none());
    let catalog = Catalog::open_existing(&state.path().join("made")).await.unwrap().unwrap();
    assert!(catalog.decide("read-only", Decision::Commit).await.is_err());
    let catalog_again = Catalog::open(&state.path().join("made")).await.unwrap();
    for name in examples {
        assert_eq!(catalog_again.load_or_seed(name, &example(name)).await.unwrap(), example(name));
        assert_eq!(catalog.drift(name, &example(name)).await.unwrap(), [""; 0]);
    }
}

#[tokio::test]
async fn timestamps_with_time_zone_come_back() {
    let declared = map(r#"
[keyspaces.k]
method = "range"
key_type = "timestamptz"
ranges = [
    { from = "MINVALUE", to = "2024-01-01 00:00:00.5+02", shard = "one" },
    { from = 2023-12-31T22:00:00.5Z, to = "MAXVALUE", shard = "two" },
]
"#);
    let catalog = Catalog::open_in_memory().await.unwrap();
    catalog.load_or_seed("d", &declared).await.unwrap();
    assert_eq!(catalog.load_or_seed("d", &map(HASHED)).await.unwrap(), declared);
}

#[tokio::test]
async fn the_catalog_wins_over_the_file_and_tells() {
    let catalog = Catalog::open_in_memory().await.unwrap();
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

#[tokio::test]
async fn shards_are_known_by_name() {
    let catalog = Catalog::open_in_memory().await.unwrap();
    let seeded = catalog.load_or_seed("d", &map(HASHED)).await.unwrap();
    let owners = |map: &ShardMap| -> Vec<String> {
        let crate::shardmap::Method::Hash(hash) = &map.keyspaces()[0].method else { panic!() };
        hash.placement().iter().map(|shard| map.shards()[shard.index()].clone()).collect()
    };
    let with_shards = |names: &[&str]| {
        let keyspace = Keyspace { name: "k".to_owned(), ..seeded.keyspaces()[0].clone() };
        let distribution = Distribution::Sharded { keyspace: "k".to_owned(), columns: vec!["id".to_owned()] };
        let table = Table { schema: "public".to_owned(), name: "t".to_owned(), distribution };
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        ShardMap::new(Epoch(1), names, vec![keyspace], vec![table]).unwrap()
    };
    let reordered = catalog.load_or_seed("d", &with_shards(&["two", "three", "one"])).await.unwrap();
    assert_eq!(reordered.shards(), ["two", "three", "one"]);
    assert_eq!(owners(&reordered), owners(&seeded));

    let error = catalog.load_or_seed("d", &with_shards(&["one", "three"])).await.unwrap_err();
    assert_eq!((error.origin, error.kind), (Origin::Catalog, Kind::UnknownObject));
    let drift = catalog.drift("d", &with_shards(&["one", "three"])).await.unwrap();
    assert!(drift.contains(&"shard two is in the catalog, not in the file".to_owned()), "{drift:?}");
}

#[tokio::test]
async fn the_first_decision_stands() {
    let state = tempfile::tempdir().unwrap();
    let catalog = Catalog::open(state.path()).await.unwrap();
    catalog.begin_two_phase("a", "shop", &["one", "two"]).await.unwrap();
    assert_eq!(catalog.decide("a", Decision::Commit).await.unwrap(), Decision::Commit);
    assert_eq!(catalog.decide("a", Decision::Abort).await.unwrap(), Decision::Commit);
    assert_eq!(catalog.decide("unknown", Decision::Abort).await.unwrap(), Decision::Abort);
    drop(catalog);

    let catalog = Catalog::open(state.path()).await.unwrap();
    assert_eq!(catalog.decide("a", Decision::Abort).await.unwrap(), Decision::Commit);
    assert_eq!(catalog.decide("unknown", Decision::Commit).await.unwrap(), Decision::Abort);
}

#[tokio::test]
async fn two_processes_agree_on_one_decision() {
    let state = tempfile::tempdir().unwrap();
    let (left, right) = (Catalog::open(state.path()).await.unwrap(), Catalog::open(state.path()).await.unwrap());
    for number in 0..50 {
        let id = number.to_string();
        let (left, right) = tokio::join!(left.decide(&id, Decision::Commit), right.decide(&id, Decision::Abort));
        assert_eq!(left.unwrap(), right.unwrap());
    }
}

#[tokio::test]
async fn leftovers_are_listed_until_they_are_forgotten() {
    let catalog = Catalog::open_in_memory().await.unwrap();
    catalog.begin_two_phase("b", "shop", &["two", "one"]).await.unwrap();
    catalog.begin_two_phase("a", "shop", &["one"]).await.unwrap();
    catalog.decide("a", Decision::Abort).await.unwrap();
    assert!(catalog.begin_two_phase("a", "shop", &[]).await.is_err());

    let listed = catalog.two_phase_transactions().await.unwrap();
    let shown: Vec<_> =
        listed.iter().map(|found| (found.id.as_str(), found.shards.join(" "), found.decision)).collect();
    assert_eq!(shown, [("b", "two one".to_owned(), None), ("a", "one".to_owned(), Some(Decision::Abort))]);
    assert!(listed[0].started_at.elapsed().unwrap().as_secs() < 60);

    catalog.forget_two_phase("a").await.unwrap();
    assert_eq!(catalog.two_phase_transactions().await.unwrap().len(), 1);
    assert_eq!(catalog.decide("a", Decision::Commit).await.unwrap(), Decision::Commit);
}
