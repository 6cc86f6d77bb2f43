use std::collections::BTreeMap;
use std::path::Path;

use super::*;
use crate::config;
use crate::pool::attach::inventory::Unique;

fn map() -> ShardMap {
    let text = r#"
        shards = ["one", "two"]
        keyspaces.h = { method = "hash", key_type = "int8" }
        keyspaces.t = { method = "hash", key_type = ["text", "int8"] }
        keyspaces.s = { method = "hash", key_type = "timestamptz" }
        tables.h = { keyspace = "h", key = "id" }
        tables.t = { keyspace = "t", key = ["name", "id"] }
        tables.s = { keyspace = "s", key = "id" }
        tables.r = { reference = true }
        tables.alone = { shard = "two" }
    "#;
    config::load_shard_map(Path::new("map.toml"), |_| Ok(text.to_owned())).unwrap()
}

fn column(key_type: KeyType) -> ColumnFacts {
    let type_name = key_type.name().to_owned();
    ColumnFacts { type_oid: key_type.oid().unwrap_or(99_999), type_name, deterministic: true, ..ColumnFacts::default() }
}

fn table(columns: &[(&str, ColumnFacts)], primary_key: &[&str]) -> TableFacts {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    TableFacts {
        columns: columns.iter().map(|(name, column)| ((*name).to_owned(), column.clone())).collect(),
        unique: vec![Unique { name: "pk".to_owned(), kind: "primary key", columns: names(primary_key) }],
        identity: Some(names(primary_key).into_iter().collect()),
        definition: names(primary_key).into_iter().collect(),
        ..TableFacts::default()
    }
}

fn inventory(tables: &[(&str, TableFacts)]) -> Inventory {
    let tables = tables.iter().map(|(name, facts)| (("public".to_owned(), (*name).to_owned()), facts.clone()));
    Inventory { tables: tables.collect(), types: BTreeMap::new(), collation: "C C ".to_owned() }
}

fn foreign_key(columns: &[&str], table: &str, referenced: &[&str]) -> Reference {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    Reference {
        name: "fk".to_owned(),
        columns: names(columns),
        referenced: ("public".to_owned(), table.to_owned()),
        referenced_columns: names(referenced),
        assigns: false,
    }
}

fn found(facts: &[(&str, TableFacts)]) -> Vec<String> {
    examine(&map(), &inventory(facts), None).iter().map(Finding::to_string).collect()
}

/// One finding that begins with these words.
fn check(name: &str, facts: TableFacts, words: &str) {
    let found = found(&[(name, facts)]);
    assert!(matches!(found.as_slice(), [only] if only.contains(words)), "{words}: {found:?}");
}

fn plain() -> TableFacts {
    table(&[("id", column(KeyType::Int4))], &["id"])
}

#[test]
fn what_fits_the_map_has_no_findings() {
    let mut with_reference = plain();
    with_reference.foreign_keys = vec![foreign_key(&["x"], "r", &["id"]), foreign_key(&["id"], "h", &["id"])];
    let composite = table(&[("name", column(KeyType::Varchar)), ("id", column(KeyType::Int8))], &["id", "name"]);
    let tables = [
        ("h", with_reference),
        ("t", composite),
        ("s", table(&[("id", column(KeyType::Timestamptz))], &["id"])),
        ("r", table(&[("id", column(KeyType::Int8))], &["id"])),
        ("alone", table(&[], &[])),
        ("unknown", TableFacts { row_security: true, ..TableFacts::default() }),
    ];
    assert_eq!(found(&tables), [""; 0]);
}

#[test]
fn every_danger_is_named_with_its_remedy() {
    let wrong_type = table(&[("id", column(KeyType::Text))], &["id"]);
    check("h", wrong_type, "table public.h: column id has type text, the keyspace says int8");
    let missing = table(&[("name", column(KeyType::Text))], &["id", "name"]);
    check("t", missing, "column id does not exist");
    let precise = ColumnFacts { has_modifier: true, ..column(KeyType::Timestamptz) };
    check("s", table(&[("id", precise)], &["id"]), "rounded when stored");
    let vague = ColumnFacts { deterministic: false, ..column(KeyType::Text) };
    check("t", table(&[("name", vague), ("id", column(KeyType::Int8))], &["name", "id"]), "nondeterministic collation");
    let generated = ColumnFacts { generated: true, ..column(KeyType::Int8) };
    check("h", table(&[("id", generated)], &["id"]), "column id is generated");
    let numbered = ColumnFacts { numbered: true, ..column(KeyType::Int8) };
    check("h", table(&[("id", numbered)], &["id"]), "from a sequence");

    let mut narrow = plain();
    narrow.unique.push(Unique { name: "mail".to_owned(), kind: "unique index", columns: vec!["mail".to_owned()] });
    check("h", narrow, "unique index mail lacks the shard key column id (shards check uniqueness each for itself");
    for (columns, table, referenced) in [(["id"], "t", ["id"]), (["x"], "h", ["id"]), (["id"], "alone", ["id"])] {
        let foreign_keys = vec![foreign_key(&columns, table, &referenced)];
        check("h", TableFacts { foreign_keys, ..plain() }, &format!("foreign key fk leads to public.{table}"));
    }
    let cascades = vec![Reference { assigns: true, ..foreign_key(&["id"], "h", &["id"]) }];
    check("h", TableFacts { foreign_keys: cascades, ..plain() }, "may change a shard key");
    let to_sharded = vec![foreign_key(&["id"], "h", &["id"])];
    check("r", TableFacts { foreign_keys: to_sharded.clone(), ..plain() }, "which is not on every shard");
    check("alone", TableFacts { foreign_keys: to_sharded, ..plain() }, "whose row may be on another shard");

    let names = || vec!["code".to_owned()];
    check("h", TableFacts { before_row: names(), ..plain() }, "BEFORE ROW trigger code");
    check("r", TableFacts { rules: names(), ..plain() }, "rule code");
    check("h", TableFacts { row_security: true, policies: names(), ..plain() }, "row level security (code)");
    check("h", TableFacts { identity: None, ..plain() }, "replica identity lacks the shard key");
    let other = Some(["x".to_owned()].into());
    check("h", TableFacts { identity: other, ..plain() }, "replica identity lacks the shard key");
}

#[test]
fn shards_must_have_the_same() {
    let compared = |home: &Inventory, other: &Inventory| -> Vec<String> {
        compare(&map(), home, other, None).iter().map(Finding::to_string).collect()
    };
    let home = inventory(&[("h", plain()), ("alone", plain()), ("unknown", plain())]);
    assert_eq!(compared(&home, &inventory(&[("h", plain())])), [""; 0]);
    assert_eq!(
        compared(&home, &inventory(&[])),
        ["table public.h: it does not exist (create it as on the home shard)"]
    );
    let wider = table(&[], &["id", "x"]);
    let differing = compared(&home, &inventory(&[("h", wider)]));
    assert_eq!(differing, ["table public.h: has of its own: x (make it the same as on the home shard)"]);

    let with_types = |types: &[(&str, u32)], collation: &str| Inventory {
        types: types.iter().map(|(name, oid)| ((*name).to_owned(), *oid)).collect(),
        collation: collation.to_owned(),
        ..inventory(&[("h", plain())])
    };
    let home = with_types(&[("public.mood", 20_000), ("public.pair", 20_001)], "de de 2.36");
    let found = compared(&home, &with_types(&[("public.mood", 20_009)], "de de 2.31"));
    assert!(found[0].contains("collation is \"de de 2.31\", on the home shard \"de de 2.36\""), "{found:?}");
    assert!(found[1].contains("type public.pair does not exist"), "{found:?}");
    assert!(found[2].contains("other OIDs than on the home shard: type public.mood"), "{found:?}");
    let renumbered = with_types(&[("public.mood", 20_001), ("public.pair", 20_000)], "de de 2.36");
    let found = compare(&map(), &home, &renumbered, None);
    assert_eq!(found.iter().map(|one| one.severity).collect::<Vec<_>>(), [Severity::Notice]);
}
