//! Statement pooling: a server goes back after each statement, so nothing may stay open between two.

use super::client::Client;
use super::outcome::{Step, Stop};
use crate::config::PoolMode;
use crate::sql::facts::{Statement, StatementKind, TransactionCommand};
use crate::types::{Error, Kind, Origin, Result};

impl Client {
    /// Refuses a unit that would leave a transaction block open under statement pooling. A block that begins and ends
    /// within one unit is one statement to the pool.
    pub fn fits_mode<'s>(&self, statements: impl Iterator<Item = &'s Statement>) -> Result<()> {
        if self.pool_mode == PoolMode::Statement && leaves_block_open(statements) { Err(no_blocks()) } else { Ok(()) }
    }

    /// Sends a client away that has a block open all the same: its text could not be read.
    pub fn end_stray_block(&mut self) -> Step {
        if self.batch_open || !self.in_transaction() { Ok(()) } else { Err(Stop::Fatal(no_blocks())) }
    }
}

fn leaves_block_open<'s>(statements: impl Iterator<Item = &'s Statement>) -> bool {
    use TransactionCommand::{Begin, Commit, Rollback};
    statements.fold(false, |open, statement| match &statement.kind {
        StatementKind::Transaction(Begin { .. }) => true,
        StatementKind::Transaction(Commit { chain } | Rollback { chain }) => *chain,
        _ => open,
    })
}

/// PgBouncer's words.
fn no_blocks() -> Error {
    Error::new(Origin::Client, Kind::NotSupported, "transaction blocks not allowed in statement pooling mode")
        .detail("With pool_mode = \"statement\" each statement may run on another server.")
        .hint("Send BEGIN and COMMIT in one query together with the statements, or use transaction pooling.")
}
