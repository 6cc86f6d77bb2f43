//! What an inventory says against a shard map, each finding with what to do.

use std::fmt;

use super::inventory::{ColumnFacts, Inventory, Reference, TableFacts};
use crate::shardmap::{KeyType, Keyspace, Placement, ShardMap};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Answers or data would be wrong: the place in the map is refused.
    Wrong,
    /// Something is refused, or cannot be done later.
    Limits,
    /// It is so, and does no harm.
    Notice,
}

/// Something that an operator should know, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub severity: Severity,
    /// `schema.table`.
    pub table: String,
    pub what: String,
    pub remedy: &'static str,
}

/// `table schema.name: what (remedy)`
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "table {}: {}", self.table, self.what)?;
        if self.remedy.is_empty() { Ok(()) } else { write!(f, " ({})", self.remedy) }
    }
}

/// The findings of one table.
struct Report {
    table: String,
    findings: Vec<Finding>,
}

impl Report {
    fn wrong(&mut self, what: String, remedy: &'static str) {
        self.add(Severity::Wrong, what, remedy);
    }

    fn limits(&mut self, what: String, remedy: &'static str) {
        self.add(Severity::Limits, what, remedy);
    }

    fn add(&mut self, severity: Severity, what: String, remedy: &'static str) {
        self.findings.push(Finding { severity, table: self.table.clone(), what, remedy });
    }
}

/// What one shard's tables say against a map; of one table if `only` names it. Tables that the shard does not have are
/// passed over.
pub fn examine(map: &ShardMap, inventory: &Inventory, only: Option<(&str, &str)>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for ((schema, name), facts) in &inventory.tables {
        if only.is_some_and(|only| only != (schema.as_str(), name.as_str())) {
            continue;
        }
        let mut report = Report { table: format!("{schema}.{name}"), findings: Vec::new() };
        match map.placement(schema, name) {
            Placement::Sharded { keyspace, columns } => {
                key(&mut report, facts, keyspace, columns);
                constraints(&mut report, map, facts, keyspace, columns);
                code(&mut report, facts);
                identity(&mut report, facts, columns);
            }
            Placement::Reference => {
                reference(&mut report, map, facts);
                code(&mut report, facts);
            }
            Placement::Single(_) => single(&mut report, map, facts, map.placement(schema, name)),
            Placement::Unmapped => {}
        }
        findings.append(&mut report.findings);
    }
    findings
}

fn key(report: &mut Report, facts: &TableFacts, keyspace: &Keyspace, columns: &[String]) {
    for (name, key_type) in columns.iter().zip(&keyspace.key) {
        match facts.columns.get(name) {
            None => report.wrong(format!("column {name} does not exist"), "add it, or shard by another column"),
            Some(column) => key_column(report, name, *key_type, column),
        }
    }
}

fn key_column(report: &mut Report, name: &str, key_type: KeyType, column: &ColumnFacts) {
    let type_name = &column.type_name;
    let actual = if column.is_enum { Some(KeyType::Enum) } else { KeyType::from_oid(column.type_oid) };
    if !actual.is_some_and(|actual| actual.is_comparable(key_type)) {
        report.wrong(
            format!("column {name} has type {type_name}, the keyspace says {key_type}"),
            "use a keyspace of the column's type",
        );
    }
    if column.has_modifier && matches!(key_type, KeyType::Timestamp | KeyType::Timestamptz) {
        report.wrong(
            format!("column {name} has type {type_name}: a key that is rounded when stored cannot be routed"),
            "drop the precision",
        );
    }
    if !column.deterministic {
        report.wrong(
            format!("column {name} has a nondeterministic collation: equal keys would be routed apart"),
            "use a deterministic collation",
        );
    }
    if column.generated {
        report.wrong(
            format!("column {name} is generated: its value is not in the statement that inserts a row"),
            "shard by a plain column",
        );
    }
    if column.numbered {
        report.limits(
            format!("column {name} takes its default from a sequence, and the home shard's gives the numbers"),
            "set that above the numbers of all shards",
        );
    }
}

fn constraints(report: &mut Report, map: &ShardMap, facts: &TableFacts, keyspace: &Keyspace, columns: &[String]) {
    for unique in &facts.unique {
        if let Some(missing) = columns.iter().find(|column| !unique.columns.contains(column)) {
            report.wrong(
                format!("{} {} lacks the shard key column {missing}", unique.kind, unique.name),
                "shards check uniqueness each for itself; add the key's columns to it, or drop it",
            );
        }
    }
    for foreign_key in &facts.foreign_keys {
        let name = &foreign_key.name;
        if foreign_key.assigns && foreign_key.columns.iter().any(|column| columns.contains(column)) {
            report.wrong(
                format!("foreign key {name} may change a shard key (ON UPDATE or ON DELETE)"),
                "use NO ACTION or RESTRICT",
            );
        }
        let (schema, table) = &foreign_key.referenced;
        let stays = match map.placement(schema, table) {
            Placement::Reference => true,
            Placement::Sharded { keyspace: other, columns: theirs } => {
                other.name == keyspace.name && pairs(foreign_key, columns, theirs)
            }
            Placement::Single(_) | Placement::Unmapped => false,
        };
        if !stays {
            report.wrong(
                format!("foreign key {name} leads to {schema}.{table}, whose row may be on another shard"),
                "shard both tables in one keyspace and include the key, make the other one a reference table, or drop it",
            );
        }
    }
}

/// Whether a foreign key makes every column of a key refer to the same column of the other key.
fn pairs(foreign_key: &Reference, columns: &[String], theirs: &[String]) -> bool {
    let referred = |column: &String| {
        let place = foreign_key.columns.iter().position(|own| own == column)?;
        foreign_key.referenced_columns.get(place)
    };
    columns.iter().zip(theirs).all(|(column, theirs)| referred(column) == Some(theirs))
}

fn reference(report: &mut Report, map: &ShardMap, facts: &TableFacts) {
    for foreign_key in &facts.foreign_keys {
        let (schema, table) = &foreign_key.referenced;
        if map.placement(schema, table) != Placement::Reference {
            report.wrong(
                format!("foreign key {} leads to {schema}.{table}, which is not on every shard", foreign_key.name),
                "make that a reference table, too, or drop the foreign key",
            );
        }
    }
    for (name, _) in facts.columns.iter().filter(|(_, column)| column.numbered) {
        report.limits(
            format!("column {name} takes its default from a sequence, and the home shard's gives the numbers"),
            "set that above the numbers of all shards",
        );
    }
}

fn single(report: &mut Report, map: &ShardMap, facts: &TableFacts, place: Placement<'_>) {
    for foreign_key in &facts.foreign_keys {
        let (schema, table) = &foreign_key.referenced;
        let other = map.placement(schema, table);
        if other != Placement::Reference && other != place {
            report.wrong(
                format!(
                    "foreign key {} leads to {schema}.{table}, whose row may be on another shard",
                    foreign_key.name
                ),
                "place both tables on one shard, or drop the foreign key",
            );
        }
    }
}

fn code(report: &mut Report, facts: &TableFacts) {
    let list = |names: &[String]| names.join(", ");
    if !facts.before_row.is_empty() {
        report.wrong(
            format!("BEFORE ROW trigger {} could change the shard key", list(&facts.before_row)),
            "drop it, or make it an AFTER trigger",
        );
    }
    if !facts.rules.is_empty() {
        report.wrong(format!("rule {} rewrites statements", list(&facts.rules)), "drop it");
    }
    if facts.row_security {
        report.limits(
            format!(
                "row level security ({}) may read other tables; statements on it are refused",
                list(&facts.policies)
            ),
            "disable it on the shards",
        );
    }
}

fn identity(report: &mut Report, facts: &TableFacts, columns: &[String]) {
    let includes =
        |identity: &std::collections::BTreeSet<String>| columns.iter().all(|column| identity.contains(column));
    if !facts.identity.as_ref().is_some_and(includes) {
        report.limits(
            "its replica identity lacks the shard key: its rows cannot be moved to another shard".to_owned(),
            "add a primary key that includes it, or ALTER TABLE ... REPLICA IDENTITY FULL",
        );
    }
}

/// How a shard differs from the home shard in what both must have alike.
pub fn compare(map: &ShardMap, home: &Inventory, other: &Inventory, only: Option<(&str, &str)>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let concerned = |schema: &str, name: &str| only.is_none_or(|only| only == (schema, name));
    for (schema, name, placement) in map.tables().filter(|(schema, name, _)| concerned(schema, name)) {
        if matches!(placement, Placement::Single(_)) {
            continue;
        }
        let table = (schema.to_owned(), name.to_owned());
        let mut report = Report { table: format!("{schema}.{name}"), findings: Vec::new() };
        match (home.tables.get(&table), other.tables.get(&table)) {
            (None, None) => {}
            (Some(_), None) => report.wrong("it does not exist".to_owned(), "create it as on the home shard"),
            (None, Some(_)) => report.wrong("the home shard does not have it".to_owned(), "create it there, too"),
            (Some(ours), Some(theirs)) => differences(&mut report, ours, theirs),
        }
        findings.append(&mut report.findings);
    }
    if only.is_none() {
        findings.extend(environment(home, other));
    }
    findings
}

fn differences(report: &mut Report, ours: &TableFacts, theirs: &TableFacts) {
    let missing = ours.definition.difference(&theirs.definition).map(|part| format!("lacks: {part}"));
    let more = theirs.definition.difference(&ours.definition).map(|part| format!("has of its own: {part}"));
    for difference in missing.chain(more) {
        report.wrong(difference, "make it the same as on the home shard");
    }
}

/// Differences that concern no single table.
fn environment(home: &Inventory, other: &Inventory) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut add = |severity, what, remedy| {
        findings.push(Finding { severity, table: "(all)".to_owned(), what, remedy });
    };
    if home.collation != other.collation {
        add(
            Severity::Wrong,
            format!(
                "the database's collation is \"{}\", on the home shard \"{}\"",
                other.collation.trim(),
                home.collation.trim()
            ),
            "text would be sorted and indexed differently: use the same locale and version of the C library or ICU",
        );
    }
    for name in home.types.keys().filter(|name| !other.types.contains_key(*name)) {
        add(Severity::Wrong, format!("type {name} does not exist"), "create it as on the home shard");
    }
    let differs = |(name, oid): &(&String, &u32)| other.types.get(*name).is_some_and(|theirs| theirs != *oid);
    match home.types.iter().filter(differs).map(|(name, _)| name.as_str()).collect::<Vec<_>>().as_slice() {
        [] => {}
        names => add(
            Severity::Notice,
            format!("other OIDs than on the home shard: type {}", names.join(", ")),
            "nothing is to be done: clients see the home shard's",
        ),
    }
    findings
}

#[cfg(test)]
mod tests;
