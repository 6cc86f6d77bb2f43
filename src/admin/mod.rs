//! The operator's console: a database that is not there, spoken to with psql. It takes the text of a simple Query and
//! gives back messages, like a server would.

mod command;
mod show;
mod table;
#[cfg(test)]
mod tests;
mod timestamp;

use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;

use crate::telemetry::{Inspect, Telemetry};
use crate::types::Result;
use crate::wire::backend::{self, Severity, tag};
use command::{Command, Subject};

/// The console of one Weir.
pub struct Console {
    telemetry: Arc<Telemetry>,
    inspect: Arc<dyn Inspect>,
}

impl Console {
    pub fn new(telemetry: Arc<Telemetry>, inspect: Arc<dyn Inspect>) -> Self {
        Self { telemetry, inspect }
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
        for Command::Show(subject) in commands {
            self.show(subject, out).await;
        }
        Ok(())
    }

    async fn show(&self, subject: Subject, out: &mut BytesMut) {
        let snapshot = self.inspect.snapshot(subject.scope()).await;
        let reading = self.telemetry.read(Instant::now());
        match subject {
            Subject::Clients => show::clients(&snapshot, out),
            Subject::Databases => show::databases(&snapshot, out),
            Subject::Help => show::help(out),
            Subject::Listeners => show::listeners(&snapshot, out),
            Subject::Pools => show::pools(&snapshot, out),
            Subject::Servers => show::servers(&snapshot, out),
            Subject::Shards => show::shards(&snapshot, &reading, out),
            Subject::Stats => show::stats(&snapshot, &reading, out),
            Subject::TwoPhase => show::two_phase(&snapshot, out),
            Subject::Version => show::version(out),
        }
    }
}
