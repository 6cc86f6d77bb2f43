//! A SELECT whose rows are gathered: the rows that it needs are loaded into temporary tables of one PostgreSQL, which runs
//! the statement itself. So the answer is PostgreSQL's own; what is to be shown is only that the statement over these
//! tables means what it means over the client's.
//!
//! The statement stays as it is written, but for the names of tables: each becomes the temporary table's, under the alias
//! that it had; a view becomes its query. [`query`] walks over queries and finds the tables, [`expression`] over
//! expressions and finds the columns, [`condition`] finds conditions that rows must satisfy to matter, [`text`] has the text and what is put in its place, [`verdict`] refuses what would
//! mean another thing.

mod condition;
mod expression;
mod query;
mod text;
mod verdict;

use std::borrow::Cow;
use std::fmt::Write;

use pg_query::protobuf::Token;
use pg_query::{NodeEnum, ParserOptions};
use postgres_protocol::escape::escape_identifier;
use xxhash_rust::xxh3::xxh3_128;

use self::query::{Occurrence, Reader};
use super::schema::Schema;
use crate::types::{Error, Kind, Origin, Result};

/// A statement over gathered rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gathered {
    /// The statement, its tables replaced by temporary ones.
    pub text: String,
    pub tables: Vec<GatheredTable>,
    /// What in the statement reads the time at which the transaction began.
    pub moment: Option<String>,
    /// Views whose queries stand in their places now: whoever may read a view need not be allowed to read its tables, and
    /// the other way round.
    pub has_views: bool,
}

/// A table whose rows are gathered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatheredTable {
    pub schema: String,
    pub name: String,
    /// FROM ONLY: no rows of tables that inherit from it.
    pub only: bool,
    /// The columns that the statement may look at, in the table's own order.
    pub columns: Vec<String>,
    /// The primary key's columns, where a GROUP BY of the statement may rely on it; else empty.
    pub primary_key: Vec<String>,
    /// Columns that a subquery for each row may look its rows up by.
    pub looked_up: Vec<String>,
    /// What rows must satisfy to matter, as SQL on the table's own columns.
    pub condition: Option<String>,
    /// The temporary table, in the schema pg_temp. Tables of equal columns have equal names.
    pub temporary: String,
}

impl GatheredTable {
    /// The statements that make the temporary table: its columns have the types and collations of the table's.
    pub fn creation(&self) -> String {
        let name = self.temporary_name();
        let mut sql = format!("CREATE TEMPORARY TABLE {name} AS {} WITH NO DATA", self.query());
        if !self.primary_key.is_empty() {
            let _infallible = write!(sql, ";\nALTER TABLE {name} ADD PRIMARY KEY ({})", listed(&self.primary_key));
        }
        sql
    }

    /// The statements that make the rows quick to look up, once they are there. The indexes end with the transaction.
    pub fn indexing(&self) -> String {
        let name = self.temporary_name();
        let index = |column: &String| format!("CREATE INDEX ON {name} ({});\n", escape_identifier(column));
        self.looked_up.iter().map(index).collect()
    }

    /// The query that gives all rows on a shard.
    pub fn query(&self) -> String {
        let only = if self.only { "ONLY " } else { "" };
        let (schema, name) = (escape_identifier(&self.schema), escape_identifier(&self.name));
        format!("SELECT {} FROM {only}{schema}.{name}", listed(&self.columns))
    }

    /// The query that gives the rows on a shard which can matter.
    pub fn query_of_rows(&self) -> String {
        match &self.condition {
            Some(condition) => format!("{} WHERE {condition}", self.query()),
            None => self.query(),
        }
    }

    /// The name of the temporary table, as SQL has it.
    pub fn temporary_name(&self) -> String {
        format!("pg_temp.{}", escape_identifier(&self.temporary))
    }
}

fn listed(names: &[String]) -> String {
    names.iter().map(|name| escape_identifier(name)).collect::<Vec<_>>().join(", ")
}

/// The beginning of temporary tables' names.
pub const TEMPORARY_PREFIX: &str = "weir_";

/// Makes a SELECT (or the EXPLAIN of one) one over gathered rows. `text` holds exactly one statement.
///
/// # Errors
/// Refuses statements that would mean another thing over temporary tables.
pub fn gather(text: &str, schema: &Schema) -> Result<Gathered> {
    let parsed = pg_query::parse(text, ParserOptions::DEFAULT)
        .map_err(|error| Error::new(Origin::Client, Kind::Syntax, "the statement cannot be parsed").source(error))?;
    let [statement] = parsed.protobuf.stmts.as_slice() else {
        return Err(Error::internal("a text to gather for does not hold exactly one statement"));
    };
    let mut reader = Reader::new(text, schema)?;
    match statement.stmt.as_deref().and_then(|node| node.node.as_ref()) {
        Some(NodeEnum::SelectStmt(select)) => reader.statement(select)?,
        Some(NodeEnum::ExplainStmt(explain)) => match explain.query.as_deref().and_then(|node| node.node.as_ref()) {
            Some(NodeEnum::SelectStmt(select)) => reader.statement(select)?,
            _ => return Err(refuse("a statement that is not a SELECT")),
        },
        _ => return Err(refuse("a statement that is not a SELECT")),
    }
    verdict::check(&reader)?;
    finish(reader, schema)
}

/// The statement that an EXPLAIN explains.
///
/// # Errors
/// A text that is no EXPLAIN.
pub fn explained(text: &str) -> Result<&str> {
    let tokens = text::tokens(text)?;
    let kind = |at: usize| tokens.get(at).map(pg_query::protobuf::ScanToken::token);
    let begins_query = |at: usize| {
        matches!(kind(at), Some(Token::Select | Token::With | Token::Values | Token::Table | Token::Ascii40))
    };
    let mut at = 1;
    if kind(1) == Some(Token::Ascii40) && !begins_query(2) {
        // Options, which hold no parentheses of their own.
        at = (2..tokens.len()).find(|at| kind(*at) == Some(Token::Ascii41)).map_or(at, |end| end + 1);
    }
    while matches!(kind(at), Some(Token::Analyze | Token::Analyse | Token::Verbose)) {
        at += 1;
    }
    let start = tokens.get(at).and_then(|token| usize::try_from(token.start).ok());
    let query = start.filter(|_| kind(0) == Some(Token::Explain)).and_then(|start| text.get(start..));
    query.ok_or_else(|| Error::internal("a statement that is no EXPLAIN"))
}

fn finish(reader: Reader<'_>, schema: &Schema) -> Result<Gathered> {
    let mut tables: Vec<GatheredTable> = Vec::new();
    let mut places = Vec::with_capacity(reader.occurrences.len());
    for occurrence in &reader.occurrences {
        let columns = reader.needed(occurrence);
        places.push(match tables.iter().position(|table| table.is_of(occurrence)) {
            Some(place) => {
                tables[place].add(columns, occurrence);
                place
            }
            None => {
                tables.push(GatheredTable::new(occurrence, columns));
                tables.len() - 1
            }
        });
    }
    for (occurrence, place) in reader.occurrences.iter().zip(&places) {
        let (table, key) = (&mut tables[*place], &occurrence.relation.primary_key);
        if reader.groups && !table.only && key.iter().all(|column| table.columns.contains(column)) {
            table.primary_key.clone_from(key);
        }
    }
    for (place, table) in tables.iter_mut().enumerate() {
        let own = reader.occurrences.iter().zip(&places).filter(|(_, own)| **own == place);
        table.condition = any_of(own.map(|(occurrence, _)| occurrence.conditions.as_slice()));
        // Such a subquery may be evaluated for each row outside. EXISTS is a join, unless more than equality is asked.
        if reader.has_scalar_subquery || (reader.has_exists && reader.compares_otherwise) {
            table.looked_up =
                table.columns.iter().filter(|column| reader.compared.contains(*column)).cloned().collect();
        }
        table.name_by_definition(schema);
    }
    let name = |occurrence: usize| tables[places[occurrence]].temporary.as_str();
    let text = reader.text.render(&name);
    Ok(Gathered { text, moment: reader.moment, has_views: reader.has_views, tables })
}

/// What rows must satisfy that matter to any of the occurrences; each has conditions that must all hold.
fn any_of<'c>(occurrences: impl Iterator<Item = &'c [String]>) -> Option<String> {
    let mut alternatives: Vec<String> = Vec::new();
    for conditions in occurrences {
        let all: Vec<String> = conditions.iter().map(|condition| format!("({condition})")).collect();
        match all.is_empty() {
            // Every row matters to this one.
            true => return None,
            false => alternatives.push(all.join(" AND ")),
        }
    }
    alternatives.sort();
    alternatives.dedup();
    Some(alternatives.join(" OR ")).filter(|condition| !condition.is_empty())
}

impl GatheredTable {
    fn new(occurrence: &Occurrence<'_>, columns: Vec<String>) -> Self {
        Self {
            schema: occurrence.schema.to_owned(),
            name: occurrence.name.to_owned(),
            only: occurrence.only,
            columns,
            primary_key: Vec::new(),
            looked_up: Vec::new(),
            condition: None,
            temporary: String::new(),
        }
    }

    fn is_of(&self, occurrence: &Occurrence<'_>) -> bool {
        self.schema == occurrence.schema && self.name == occurrence.name && self.only == occurrence.only
    }

    /// Adds columns and keeps the table's own order.
    fn add(&mut self, more: Vec<String>, occurrence: &Occurrence<'_>) {
        let is_wanted = |name: &String| self.columns.contains(name) || more.contains(name);
        let all = occurrence.relation.columns.iter().map(|column| column.name.clone());
        self.columns = all.filter(is_wanted).collect();
    }

    /// Names the temporary table by what it is, so that a connection which has one can use it again.
    fn name_by_definition(&mut self, schema: &Schema) {
        let mut definition = format!("{} {:?} {:?}", schema.version, self.schema, self.name);
        let _infallible = write!(definition, " {} {:?} {:?}", self.only, self.columns, self.primary_key);
        self.temporary = format!("{TEMPORARY_PREFIX}{:032x}", xxh3_128(definition.as_bytes()));
    }
}

/// The refusal of this module; `part` is what cannot be done over gathered rows.
fn refuse(part: impl Into<Cow<'static, str>>) -> Error {
    let detail = format!("Not supported over the gathered rows of several shards: {}.", part.into());
    Error::refuse("the statement cannot be answered from several shards", detail)
        .hint("Restrict the statement to one shard by an equality on the shard key.")
}

#[cfg(test)]
mod tests;
