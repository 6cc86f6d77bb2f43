//! Transaction blocks on a sharded database: Weir keeps the block, servers join when they are needed.

use super::client::Client;
use super::links::Link;
use super::outcome::Step;
use super::sharded::Task;
use crate::session::transaction::Transaction;
use crate::sql::code::CodeClass;
use crate::sql::facts::{Isolation, TransactionCommand};
use crate::types::{Error, Kind, Origin, Result};
use crate::wire::TransactionStatus;
use crate::wire::backend;

/// SQLSTATEs of the warnings that PostgreSQL gives about blocks.
const ACTIVE_TRANSACTION: &str = "25001";
const NO_ACTIVE_TRANSACTION: &str = "25P01";

impl Client {
    /// Does a transaction command and answers it, ReadyForQuery apart.
    pub async fn block_command(&mut self, command: &TransactionCommand, task: &Task<'_>) -> Step {
        match command {
            TransactionCommand::Begin { isolation, .. } => self.begin(task.text, *isolation)?,
            TransactionCommand::Commit { chain: true } | TransactionCommand::Rollback { chain: true } => {
                return Err(Error::refuse(
                    "AND CHAIN is not supported on a sharded database",
                    "The command chains blocks.",
                )
                .hint("Send BEGIN after the command.")
                .into());
            }
            TransactionCommand::Commit { .. } => self.commit().await?,
            TransactionCommand::Rollback { .. } => self.roll_back().await,
            TransactionCommand::Savepoint(name) => self.savepoint(name, task).await?,
            TransactionCommand::Release(name) => self.release(name, task).await?,
            TransactionCommand::RollbackTo(name) => self.roll_back_to(name, task).await?,
            TransactionCommand::TwoPhase => {
                return Err(Error::refuse(
                    "two-phase commands are not supported on a sharded database",
                    "PREPARE TRANSACTION names a transaction of one server.",
                )
                .into());
            }
        }
        Ok(())
    }

    fn begin(&mut self, text: &str, isolation: Option<Isolation>) -> Result<()> {
        match &self.block {
            Some(block) if block.is_failed() => return Err(self.why_failed()),
            Some(_) => self.warn(ACTIVE_TRANSACTION, "there is already a transaction in progress"),
            None => {
                let one_snapshot = matches!(isolation, Some(Isolation::RepeatableRead | Isolation::Serializable));
                self.block = Some(Transaction::begin(text, one_snapshot));
            }
        }
        self.complete("BEGIN");
        Ok(())
    }

    /// Commits on the shard that was written, then on those that were only read.
    async fn commit(&mut self) -> Step {
        let Some(block) = self.block.take() else {
            self.warn(NO_ACTIVE_TRANSACTION, "there is no transaction in progress");
            self.complete("COMMIT");
            return Ok(());
        };
        if block.is_failed() {
            self.end_on_all("ROLLBACK").await;
            if let Some(loss) = self.loss.take() {
                return Err(loss.into());
            }
            self.complete("ROLLBACK");
            return Ok(());
        }
        if self.schema_touched
            && let Err(error) = self.tell_fleet().await
        {
            self.end_on_all("ROLLBACK").await;
            return Err(error.into());
        }
        let writer = block.writer().and_then(|shard| self.links.iter().position(|link| link.server.shard() == shard));
        if let Some(at) = writer {
            let server = &mut self.links[at].server;
            server.session.own_query(server.conn.queue(), "COMMIT");
            if let Err(stop) = self.own_replies(at).await {
                self.block = None;
                self.end_on_all("ROLLBACK").await;
                return Err(stop);
            }
        }
        self.end_on_all("COMMIT").await;
        block.commit_settings(&mut self.lasting);
        if std::mem::take(&mut self.schema_touched) {
            // What the block has defined is known from now on, as after DDL of its own.
            self.defined = CodeClass::default();
            self.await_schema().await;
        }
        self.complete("COMMIT");
        Ok(())
    }

    async fn roll_back(&mut self) {
        self.loss = None;
        if self.block.take().is_none() {
            self.warn(NO_ACTIVE_TRANSACTION, "there is no transaction in progress");
        }
        self.end_on_all("ROLLBACK").await;
        self.complete("ROLLBACK");
    }

    /// Ends the transaction on every server that still has it open. Nothing depends on the outcome: these servers
    /// were only read, or are rolled back; one that fails is lost and closed.
    async fn end_on_all(&mut self, command: &str) {
        let open = |link: &Link| {
            link.server.session.ledger.status() != TransactionStatus::Idle || link.server.conn.unsent() > 0
        };
        while let Some(at) = self.links.iter().position(open) {
            let server = &mut self.links[at].server;
            server.session.own_query(server.conn.queue(), command);
            if let Err(stop) = self.own_replies(at).await {
                tracing::warn!(?stop, command, "a server did not end its transaction; its connection is closed");
                self.links.retain(|link| !open(link));
                self.block = None;
            }
        }
    }

    async fn savepoint(&mut self, name: &str, task: &Task<'_>) -> Step {
        self.usable_block()?;
        self.on_all(task.text).await?;
        if let Some(block) = &mut self.block {
            block.savepoint(name);
        }
        self.complete("SAVEPOINT");
        Ok(())
    }

    async fn release(&mut self, name: &str, task: &Task<'_>) -> Step {
        let mut block = self.usable_block()?.clone();
        block.release(name)?;
        self.on_all(task.text).await?;
        self.block = Some(block);
        self.complete("RELEASE");
        Ok(())
    }

    async fn roll_back_to(&mut self, name: &str, task: &Task<'_>) -> Step {
        let mut block = self.block.clone().ok_or_else(no_block)?;
        block.rollback_to(name)?;
        self.on_all(task.text).await?;
        self.block = Some(block);
        self.complete("ROLLBACK");
        Ok(())
    }

    /// Runs a command on every server of the block. Others that the session has learn of it when they join.
    async fn on_all(&mut self, sql: &str) -> Step {
        for at in 0..self.links.len() {
            if !self.links[at].is_in_transaction() {
                continue;
            }
            let server = &mut self.links[at].server;
            server.session.own_query(server.conn.queue(), sql);
            self.own_replies(at).await?;
        }
        Ok(())
    }

    /// The open block, unless it failed.
    fn usable_block(&mut self) -> Result<&Transaction> {
        if self.block.as_ref().is_some_and(Transaction::is_failed) {
            return Err(self.why_failed());
        }
        self.block.as_ref().ok_or_else(no_block)
    }

    fn warn(&mut self, sqlstate: &str, text: &str) {
        backend::warning(self.conn.queue(), sqlstate, text);
    }

    pub fn complete(&mut self, command_tag: &str) {
        backend::command_complete(self.conn.queue(), command_tag);
    }
}

fn no_block() -> Error {
    Error::new(Origin::Client, Kind::NoActiveTransaction, "savepoints can only be used in transaction blocks")
}
