//! The operator's console: a database that is not there, spoken to with psql. It takes the text of a simple Query and
//! gives back messages, like a server would.

mod command;
mod language;
mod maps;
mod show;
mod table;
#[cfg(test)]
mod tests;
mod timestamp;

use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;

use crate::proxy::operate::Operate;
use crate::shardmap::ShardMap;
use crate::telemetry::{Inspect, Telemetry};
use crate::types::{Error, Kind, Origin, Result};
use crate::wire::backend::{self, Severity, tag};
use command::{Command, Subject};
use language::MapCommand;

/// The console of one Weir.
pub struct Console {
    telemetry: Arc<Telemetry>,
    inspect: Arc<dyn Inspect>,
    operate: Arc<dyn Operate>,
}

impl Console {
    pub fn new(telemetry: Arc<Telemetry>, inspect: Arc<dyn Inspect>, operate: Arc<dyn Operate>) -> Self {
        Self { telemetry, inspect, operate }
    }

    /// Runs the text of a simple Query, which may hold several commands separated by semicolons, and appends the whole
    /// answer except ReadyForQuery. Whether the user may use the console is for the caller to know.
    pub async fn execute(&self, sql: &str, out: &mut BytesMut) {
        if let Err(error) = self.run(sql, out).await {
            backend::error_response(out, Severity::Error, &error);
        }
    }

    /// Like PostgreSQL, reads all commands before it runs the first one.
    async fn run(&self, sql: &str, out: &mut BytesMut) -> Result<()> {
        let commands = command::parse(sql)?;
        if commands.is_empty() {
            backend::bare(out, tag::EMPTY_QUERY_RESPONSE);
        }
        for command in commands {
            match command {
                Command::Show(subject) => self.show(subject, out).await,
                Command::Change(change) => self.change(&change, out).await?,
                Command::ExplainRoute { database, sql } => {
                    let (database, _) = self.sharded(database.as_deref())?;
                    maps::route(self.operate.explain(&database, &sql)?, out);
                }
            }
        }
        Ok(())
    }

    async fn change(&self, command: &MapCommand, out: &mut BytesMut) -> Result<()> {
        let (database, _) = self.sharded(command.database.as_deref())?;
        for notice in self.operate.change(&database, &|map| command.change(map)).await? {
            backend::notice(out, "00000", &notice);
        }
        backend::command_complete(out, command.tag);
        Ok(())
    }

    /// The sharded database that a command means: the one of that name, or the only one.
    fn sharded(&self, name: Option<&str>) -> Result<(String, Arc<ShardMap>)> {
        let mut databases = self.operate.maps();
        let names: Vec<String> = databases.iter().map(|(name, _)| name.clone()).collect();
        let known = || format!("Sharded databases: {}.", names.join(", "));
        if let Some(name) = name {
            databases.retain(|(known, _)| known == name);
        }
        match (databases.len(), name) {
            (1, _) => Ok(databases.remove(0)),
            (0, Some(name)) => {
                let message = format!("there is no sharded database {name}");
                Err(Error::new(Origin::Client, Kind::UnknownDatabase, message).detail(known()))
            }
            (0, None) => Err(Error::new(Origin::Client, Kind::UnknownDatabase, "no database is sharded")
                .hint("A database becomes one by shard_map or sharded = true in weir.toml.")),
            _ => Err(Error::new(Origin::Client, Kind::UnknownDatabase, "several databases are sharded")
                .detail(known())
                .hint("End the command with FOR DATABASE name.")),
        }
    }

    async fn show(&self, subject: Subject, out: &mut BytesMut) {
        let snapshot = self.inspect.snapshot(subject.scope()).await;
        let reading = self.telemetry.read(Instant::now());
        match subject {
            Subject::Clients => show::clients(&snapshot, out),
            Subject::Databases => show::databases(&snapshot, out),
            Subject::Help => show::help(out),
            Subject::Keyspaces => maps::keyspaces(&self.operate.maps(), out),
            Subject::Listeners => show::listeners(&snapshot, out),
            Subject::Pools => show::pools(&snapshot, out),
            Subject::Servers => show::servers(&snapshot, out),
            Subject::ShardMap => maps::shard_map(&self.operate.maps(), out),
            Subject::Shards => show::shards(&snapshot, &reading, out),
            Subject::Stats => show::stats(&snapshot, &reading, out),
            Subject::Tables => maps::tables(&self.operate.maps(), out),
            Subject::TwoPhase => show::two_phase(&snapshot, out),
            Subject::Version => show::version(out),
        }
    }
}
