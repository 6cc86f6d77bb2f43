//! What an operator asks for on the console: changes of shard maps, and how a statement would be routed.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use postgres_protocol::escape::escape_identifier;
use tokio_postgres::Client;

use super::instance::Instance;
use super::removal::Entry;
use crate::pool::attach::{self, Finding, Inventory, Severity};
use crate::pool::database::Database;
use crate::pool::inspect;
use crate::route::plan::{Action, Gather, Part, PartText};
use crate::route::{self, HOME, Request};
use crate::shardmap::{Change, Distribution, ShardMap};
use crate::sql::analyze::analyze;
use crate::sql::scan::scan;
use crate::types::{Error, Kind, Origin, Result, ShardId};

/// What is still to be done, for whoever asked.
pub type Asked<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + 'a>>;

/// Makes a change in the terms of the map that it is to change.
pub type MakeChange<'a> = &'a dyn Fn(&ShardMap) -> Result<Change>;

/// Who changes shard maps and explains them.
pub trait Operate: Send + Sync {
    /// The sharded databases with their maps, by name.
    fn maps(&self) -> Vec<(String, Arc<ShardMap>)>;

    /// Changes a database's map, once the shards agree; gives what the operator should know about it.
    fn change<'a>(&'a self, database: &'a str, make: MakeChange<'a>) -> Asked<'a, Vec<String>>;

    /// Where a text's statements would run.
    fn explain(&self, database: &str, sql: &str) -> Result<Vec<Routed>>;
}

/// How long a change of the shard map waits for transactions that change the schema.
const SCHEMA_TURN_LIMIT: Duration = Duration::from_secs(10);
const SCHEMA_TURN_PAUSE: Duration = Duration::from_millis(10);

/// A part of a routed statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routed {
    /// Which of the text's statements, from 1.
    pub statement: usize,
    /// What Weir does with it.
    pub engine: &'static str,
    /// `None`: every server of the session.
    pub shard: Option<String>,
    /// What the shard runs.
    pub text: String,
}

impl Operate for Instance {
    fn maps(&self) -> Vec<(String, Arc<ShardMap>)> {
        let with_map = |database: &&Arc<Database>| Some((database.name.to_string(), database.map()?));
        self.databases().iter().filter_map(with_map).collect()
    }

    fn change<'a>(&'a self, database: &'a str, make: MakeChange<'a>) -> Asked<'a, Vec<String>> {
        Box::pin(async move {
            let found = self.database(database).ok_or_else(|| unknown_database(database))?;
            // Statements that change the schema wait, and so do other changes.
            let _turn = schema_turn(found).await?;
            let map = || found.map().ok_or_else(|| unknown_database(database));
            self.follow_epoch(found, map()?.epoch()).await?;
            let old = map()?;
            let change = make(&old)?;
            let new = old.changed(&change)?;
            let notices = self.check(found, &new, &change).await?;
            let taken = Entry::taken_by(&change, &old)?;
            let held = match &taken {
                Some(entry) => Some(self.search(found, entry).await?),
                None => None,
            };
            self.catalog.replace(database, &old, &new).await?;
            self.follow_epoch(found, old.epoch()).await?;
            drop(held);
            if let Some(entry) = taken {
                self.confirm(found, &entry, &change).await?;
            }
            Ok(notices)
        })
    }

    fn explain(&self, database: &str, sql: &str) -> Result<Vec<Routed>> {
        let found = self.database(database).ok_or_else(|| unknown_database(database))?;
        let (Some(map), Some(schema)) = (found.map(), found.schema()) else {
            return Err(Error::new(Origin::Weir, Kind::ServerUnavailable, "the schema has not been read yet"));
        };
        let mut literals = Vec::new();
        // What cannot be scanned has no literals, and is refused below.
        let _scanned = scan(sql, true, &mut Vec::new(), &mut literals);
        let facts = analyze(sql, true, &schema);
        let mut routed = Vec::new();
        for (number, statement) in (1..).zip(&facts.statements) {
            let request = Request {
                text: sql,
                statement,
                literals: &literals,
                parameters: &[],
                map: &map,
                schema: &schema,
                named: None,
                role: "",
                has_own_path: false,
                temporary: &BTreeSet::new(),
            };
            let plan = route::plan(&request)?;
            routed.extend(described(number, statement.text(sql), plan.action, &map));
        }
        Ok(routed)
    }
}

fn described(statement: usize, text: &str, action: Action, map: &ShardMap) -> Vec<Routed> {
    let part = |engine: &'static str, part: &Part| Routed {
        statement,
        engine,
        shard: Some(map.shard_name(part.shard).to_owned()),
        text: match &part.text {
            PartText::Untouched => text.trim().to_owned(),
            PartText::Rewritten(text) => text.to_string(),
        },
    };
    let whole = |engine| Routed { statement, engine, shard: None, text: text.trim().to_owned() };
    match action {
        Action::One { part: only, .. } => vec![part("one shard", &only)],
        Action::Fan { parts, .. } => parts.iter().map(|each| part("merge", each)).collect(),
        Action::Explanation { lines, parts } => {
            let line = |text: String| Routed { statement, engine: "explain", shard: None, text };
            lines.into_iter().map(line).chain(parts.iter().map(|each| part("explain", each))).collect()
        }
        Action::Gather(gather) => gathered(statement, &gather, map),
        Action::Spread(spread) => spread.parts.iter().map(|each| part("each shard its rows", each)).collect(),
        Action::Everywhere { parts, .. } => parts.iter().map(|each| part("two-phase", each)).collect(),
        Action::ShardByShard { parts, .. } => parts.iter().map(|each| part("shard by shard", each)).collect(),
        Action::Moment => {
            let home = map.shard_name(route::HOME).to_owned();
            let text = text.trim().to_owned();
            vec![Routed { statement, engine: "the time from home, then as a write", shard: Some(home), text }]
        }
        Action::Collect(collected) => {
            let text = collected.source.clone();
            vec![Routed { statement, engine: "its rows, then as an INSERT of them", shard: None, text }]
        }
        Action::MakeTable(make) => {
            let shard = Some(map.shard_name(make.shard).to_owned());
            vec![Routed { statement, engine: "made there of its query's rows", shard, text: make.made.query }]
        }
        Action::Subqueries(queries) => {
            let line =
                |text: &String| Routed { statement, engine: "its subqueries first", shard: None, text: text.clone() };
            queries.iter().map(line).collect()
        }
        Action::Instead(text) => {
            vec![Routed { statement, engine: "as another statement", shard: None, text: text.to_string() }]
        }
        Action::Sources(sources) => {
            let line =
                |text: &String| Routed { statement, engine: "its sources first", shard: None, text: text.clone() };
            sources.queries.iter().map(line).collect()
        }
        Action::Compute(_) => {
            let text = text.trim().to_owned();
            vec![Routed { statement, engine: "the keys first, then by key", shard: None, text }]
        }
        Action::Number(_) => {
            let home = map.shard_name(route::HOME).to_owned();
            let text = text.trim().to_owned();
            vec![Routed { statement, engine: "numbers from home, then by key", shard: Some(home), text }]
        }
        Action::CopyOut { parts, .. } => parts.iter().map(|each| part("copy", each)).collect(),
        Action::CopyIn(copy) => copy.shards().into_iter().map(|shard| part("copy", &Part::untouched(shard))).collect(),
        Action::Cursor => vec![whole("cursor")],
        Action::Prepare => vec![whole("kept for the session")],
        Action::Execute => vec![whole("as what it executes")],
        Action::Session => vec![whole("session")],
    }
}

/// What is read on each shard, and what runs over it on the home shard.
fn gathered(statement: usize, gather: &Gather, map: &ShardMap) -> Vec<Routed> {
    let line = |shard: ShardId, text: String| Routed {
        statement,
        engine: "gather",
        shard: Some(map.shard_name(shard).to_owned()),
        text,
    };
    let reads =
        gather.loads.iter().flat_map(|load| load.shards.iter().map(|shard| line(*shard, load.table.query_of_rows())));
    reads.chain([line(HOME, gather.text.trim().to_owned())]).collect()
}

/// One shard, as far as a change is checked against it.
struct Examined {
    shard: ShardId,
    name: String,
    client: Client,
    inventory: Inventory,
}

impl Instance {
    /// Asks the shards whether a change is true to what they hold.
    async fn check(&self, database: &Database, map: &ShardMap, change: &Change) -> Result<Vec<String>> {
        match change {
            Change::Place(table) => {
                let shards = self.examined(database, map, map.shard_ids()).await?;
                let name = (table.schema.as_str(), table.name.as_str());
                check_table(map, &shards, name, table.distribution == Distribution::Reference).await
            }
            Change::AddShard(shard) => {
                let home = map.shard_ids().next().into_iter();
                let shards = self.examined(database, map, home.chain([*shard])).await?;
                check_new_shard(map, &shards).await
            }
            Change::CreateKeyspace(_)
            | Change::DropKeyspace(_)
            | Change::AddValue { .. }
            | Change::DropValue { .. }
            | Change::RenameValue { .. }
            | Change::AddRange { .. }
            | Change::AddRegion { .. }
            | Change::Forget { .. }
            | Change::SetUnmappedTables(_) => Ok(Vec::new()),
        }
    }

    async fn examined(
        &self,
        database: &Database,
        map: &ShardMap,
        shards: impl Iterator<Item = ShardId>,
    ) -> Result<Vec<Examined>> {
        let mut examined = Vec::new();
        for shard in shards {
            let node = database.shards.get(shard.index()).and_then(|shard| shard.nodes.first());
            let node = node.ok_or_else(|| Error::internal(format!("shard {shard} has no primary")))?;
            let client = self.connect(shard, node).await?;
            let inventory = Inventory::read(&client).await.map_err(|error| inspect::failed(shard, error))?;
            examined.push(Examined { shard, name: map.shard_name(shard).to_owned(), client, inventory });
        }
        Ok(examined)
    }
}

/// The findings against a table's new place.
async fn check_table(
    map: &ShardMap,
    shards: &[Examined],
    name: (&str, &str),
    is_reference: bool,
) -> Result<Vec<String>> {
    let table = (name.0.to_owned(), name.1.to_owned());
    let mut report = Report::default();
    let Some((home, others)) = shards.split_first() else { return Ok(Vec::new()) };
    for shard in shards {
        report.add(shard, attach::examine(map, &shard.inventory, Some(name)));
        if shard.inventory.tables.contains_key(&table) && report.wrong.is_empty() {
            report.rows(map, shard, name).await?;
        }
    }
    for other in others {
        report.add(other, attach::compare(map, &home.inventory, &other.inventory, Some(name)));
    }
    if is_reference && report.wrong.is_empty() && home.inventory.tables.contains_key(&table) {
        report.same_rows(home, others, name).await?;
    }
    if !shards.iter().any(|shard| shard.inventory.tables.contains_key(&table)) {
        report.notices.push(format!("table {}.{} does not exist yet", name.0, name.1));
    }
    report.finish(&format!("table {}.{} cannot have this place", name.0, name.1))
}

/// The findings against a shard that is to take part: the second of `shards`, the first being the home shard.
async fn check_new_shard(map: &ShardMap, shards: &[Examined]) -> Result<Vec<String>> {
    let [home, new] = shards else { return Err(Error::internal("a shard to add, and none to compare it with")) };
    let mut report = Report::default();
    report.add(new, attach::compare(map, &home.inventory, &new.inventory, None));
    let prepared = "SELECT current_setting('max_prepared_transactions')::int4";
    let row = new.client.query_one(prepared, &[]).await.map_err(|error| inspect::failed(new.shard, error))?;
    if row.get::<_, i32>(0) == 0 {
        report.wrong.push(format!("shard {}: max_prepared_transactions is 0 (set it to 100 and restart)", new.name));
    }
    if report.wrong.is_empty() {
        for (schema, table, placement) in map.tables() {
            let is_there = new.inventory.tables.contains_key(&(schema.to_owned(), table.to_owned()));
            match placement.to_distribution() {
                _ if !is_there => {}
                Some(Distribution::Reference) => {
                    report.same_rows(home, std::slice::from_ref(new), (schema, table)).await?;
                }
                Some(Distribution::Sharded { .. } | Distribution::Single(_)) => {
                    report.rows(map, new, (schema, table)).await?;
                }
                None => {}
            }
        }
    }
    report.finish(&format!("shard {} cannot take part yet", new.name))
}

/// What was found, in sentences.
#[derive(Default)]
struct Report {
    wrong: Vec<String>,
    notices: Vec<String>,
}

impl Report {
    fn add(&mut self, shard: &Examined, findings: Vec<Finding>) {
        for finding in findings {
            let sentence = format!("shard {}: {finding}", shard.name);
            match finding.severity {
                Severity::Wrong => self.wrong.push(sentence),
                Severity::Limits | Severity::Notice => self.notices.push(sentence),
            }
        }
    }

    /// Rows that would be on the wrong shard.
    async fn rows(&mut self, map: &ShardMap, shard: &Examined, name: (&str, &str)) -> Result<()> {
        let misplaced = attach::misplaced(&shard.client, map, shard.shard, name).await;
        if misplaced.map_err(|error| inspect::failed(shard.shard, error))? {
            self.wrong.push(format!(
                "shard {}: table {}.{}: it has rows that would belong to another shard, or to none",
                shard.name, name.0, name.1
            ));
        }
        Ok(())
    }

    /// A reference table must hold the same rows on every shard.
    async fn same_rows(&mut self, home: &Examined, others: &[Examined], name: (&str, &str)) -> Result<()> {
        let first = fingerprint(home, name).await?;
        for other in others {
            if fingerprint(other, name).await? != first {
                self.wrong.push(format!(
                    "shard {}: table {}.{}: its rows are not those of the home shard (copy them)",
                    other.name, name.0, name.1
                ));
            }
        }
        Ok(())
    }

    fn finish(self, message: &str) -> Result<Vec<String>> {
        if self.wrong.is_empty() {
            return Ok(self.notices);
        }
        Err(Error::new(Origin::Weir, Kind::InvalidValue, message.to_owned()).detail(self.wrong.join("\n")))
    }
}

/// A number of rows and a sum of hashes, by which two copies of a table can be told apart.
async fn fingerprint(shard: &Examined, (schema, name): (&str, &str)) -> Result<String> {
    let sql = format!(
        "SELECT count(*) || ' ' || coalesce(sum(hashtextextended(t::text, 0)::numeric), 0) FROM {}.{} t",
        escape_identifier(schema),
        escape_identifier(name)
    );
    let row = shard.client.query_one(&sql, &[]).await.map_err(|error| inspect::failed(shard.shard, error))?;
    Ok(row.get(0))
}

/// Waits until no transaction changes the schema, and keeps others from it. Not in the lock's own queue: those who come
/// later must not wait behind somebody who waits for a transaction that waits for them.
async fn schema_turn(database: &Database) -> Result<tokio::sync::OwnedRwLockWriteGuard<()>> {
    let began = std::time::Instant::now();
    loop {
        match Arc::clone(&database.schema_gate).try_write_owned() {
            Ok(turn) => return Ok(turn),
            Err(_) if began.elapsed() < SCHEMA_TURN_LIMIT => tokio::time::sleep(SCHEMA_TURN_PAUSE).await,
            Err(_) => {
                return Err(Error::new(Origin::Client, Kind::ActiveTransaction, "the schema is being changed")
                    .detail("An open transaction has changed the schema, and the shard map is compared with that.")
                    .hint("Try again when the transaction is over."));
            }
        }
    }
}

fn unknown_database(name: &str) -> Error {
    Error::new(Origin::Client, Kind::UnknownDatabase, format!("there is no sharded database {name}"))
        .hint("SHOW DATABASES lists all.")
}
