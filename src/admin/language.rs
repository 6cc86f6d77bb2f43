//! The console's language for shard maps, read with SQL's own lexical rules. See README.md, "The shard map on the console".

mod keyspaces;
mod reader;

use crate::shardmap::{Change, Distribution, ShardMap, Table, UnmappedTables};
use crate::types::Result;
use reader::Reader;

/// A command that changes a shard map, read as far as that goes without the map.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct MapCommand {
    /// `None`: there is only one that can be meant.
    pub database: Option<String>,
    /// The command tag that answers it.
    pub tag: &'static str,
    reader: Reader,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    CreateKeyspace,
    AlterKeyspace,
    DropKeyspace,
    AlterTable,
    AlterDatabase,
}

/// The schema of a table whose name has none.
const SCHEMA_DEFAULT: &str = "public";

impl MapCommand {
    /// `None` when the tokens begin no command of this language.
    pub fn begin(tokens: Vec<sqlparser::tokenizer::Token>) -> Option<Result<Self>> {
        let mut reader = Reader::new(tokens);
        let (kind, tag) = if reader.words(&["CREATE", "KEYSPACE"]) {
            (Kind::CreateKeyspace, "CREATE KEYSPACE")
        } else if reader.words(&["ALTER", "KEYSPACE"]) {
            (Kind::AlterKeyspace, "ALTER KEYSPACE")
        } else if reader.words(&["DROP", "KEYSPACE"]) {
            (Kind::DropKeyspace, "DROP KEYSPACE")
        } else if reader.words(&["ALTER", "TABLE"]) {
            (Kind::AlterTable, "ALTER TABLE")
        } else if reader.words(&["ALTER", "DATABASE"]) {
            (Kind::AlterDatabase, "ALTER DATABASE")
        } else {
            return None;
        };
        let database = match kind {
            Kind::AlterDatabase => reader.name("the name of a database").map(Some),
            _ => reader.take_database(),
        };
        Some(database.map(|database| Self { database, tag, reader, kind }))
    }

    /// The change, in the terms of this map.
    pub fn change(&self, map: &ShardMap) -> Result<Change> {
        let mut reader = self.reader.clone();
        let change = match self.kind {
            Kind::CreateKeyspace => keyspaces::create(&mut reader, map),
            Kind::AlterKeyspace => keyspaces::alter(&mut reader, map),
            Kind::DropKeyspace => reader.name("the name of a keyspace").map(Change::DropKeyspace),
            Kind::AlterTable => alter_table(&mut reader, map),
            Kind::AlterDatabase => alter_database(&mut reader, map),
        };
        let change = change?;
        reader.end()?;
        Ok(change)
    }
}

fn alter_table(reader: &mut Reader, map: &ShardMap) -> Result<Change> {
    let first = reader.name("the name of a table")?;
    let (schema, name) = match reader.symbol('.') {
        true => (first, reader.name("the name of a table")?),
        false => (SCHEMA_DEFAULT.to_owned(), first),
    };
    if schema.contains('.') || name.contains('.') {
        return Err(reader.wrong("a name without a dot"));
    }
    let place = |distribution| Ok(Change::Place(Table { schema: schema.clone(), name: name.clone(), distribution }));
    if reader.words(&["SHARD", "BY"]) {
        let columns = reader.list(|reader| reader.name("the name of a column"))?;
        reader.expect("IN")?;
        let keyspace = reader.name("the name of a keyspace")?;
        return place(Distribution::Sharded { keyspace, columns });
    }
    if reader.words(&["SET", "REFERENCE"]) {
        return place(Distribution::Reference);
    }
    if reader.words(&["SET", "SHARD"]) {
        let shard = reader.shard(map)?;
        return place(Distribution::Single(shard));
    }
    if reader.words(&["FORGET"]) {
        return Ok(Change::Forget { schema, name });
    }
    Err(reader.wrong("SHARD BY, SET REFERENCE, SET SHARD or FORGET"))
}

fn alter_database(reader: &mut Reader, map: &ShardMap) -> Result<Change> {
    if reader.words(&["ADD", "SHARD"]) {
        return reader.shard(map).map(Change::AddShard);
    }
    if reader.words(&["SET", "UNMAPPED", "TABLES", "REFUSE"]) {
        return Ok(Change::SetUnmappedTables(UnmappedTables::Refuse));
    }
    if reader.words(&["SET", "UNMAPPED", "TABLES", "HOME"]) {
        return Ok(Change::SetUnmappedTables(UnmappedTables::Home));
    }
    Err(reader.wrong("ADD SHARD, SET UNMAPPED TABLES REFUSE or SET UNMAPPED TABLES HOME"))
}

#[cfg(test)]
mod tests;
