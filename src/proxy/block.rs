//! Transaction blocks on a sharded database: Weir keeps the block, servers join when they are needed.

use postgres_protocol::escape::escape_literal;

use super::client::Client;
use super::exchange::Question;
use super::links::Link;
use super::outcome::{Step, Stop};
use super::sharded::Task;
use crate::route::HOME;
use crate::route::plan::Access;
use crate::session::cursors::Cursors;
use crate::session::transaction::{Snapshots, Transaction};
use crate::sql::code::CodeClass;
use crate::sql::facts::{Isolation, TransactionCommand};
use crate::types::{Error, Kind, Origin, Result, ShardId};
use crate::wire::backend;

/// SQLSTATEs of the warnings that PostgreSQL gives about blocks.
const ACTIVE_TRANSACTION: &str = "25001";
const NO_ACTIVE_TRANSACTION: &str = "25P01";

/// Whether a transaction has a number, which it gets with its first write (or lock of a row).
const HAS_WRITTEN: &str = "SELECT pg_catalog.pg_current_xact_id_if_assigned() IS NOT NULL";

impl Client {
    /// Does a transaction command and answers it, ReadyForQuery apart.
    pub async fn block_command(&mut self, command: &TransactionCommand, task: &Task<'_>) -> Step {
        match command {
            TransactionCommand::Begin { isolation, .. } => {
                if self.block.is_none() {
                    self.end_cursors(false);
                }
                self.begin(task.text, *isolation)?;
            }
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
            TransactionCommand::Prepare => self.prepare_transaction(task.text).await?,
            TransactionCommand::FinishPrepared { commit, gid } => {
                let verb = if *commit { "COMMIT PREPARED" } else { "ROLLBACK PREPARED" };
                self.finish_named(verb, gid).await?;
            }
        }
        Ok(())
    }

    fn begin(&mut self, text: &str, isolation: Option<Isolation>) -> Result<()> {
        match &self.block {
            Some(block) if block.is_failed() => return Err(self.why_failed()),
            Some(_) => self.warn(ACTIVE_TRANSACTION, "there is already a transaction in progress"),
            None => {
                self.block = Some(Transaction::begin(text, Snapshots::of(isolation)));
            }
        }
        self.complete("BEGIN");
        Ok(())
    }

    async fn commit(&mut self) -> Step {
        let Some(block) = self.block.take() else {
            self.warn(NO_ACTIVE_TRANSACTION, "there is no transaction in progress");
            self.complete("COMMIT");
            return Ok(());
        };
        if block.is_failed() {
            self.end_cursors(false);
            self.end_on_all("ROLLBACK").await;
            if let Some(loss) = self.loss.take() {
                return Err(loss.into());
            }
            self.complete("ROLLBACK");
            return Ok(());
        }
        let committed = self.commit_block(block).await;
        self.end_cursors(committed.is_ok());
        committed?;
        self.complete("COMMIT");
        Ok(())
    }

    /// PREPARE TRANSACTION: of one shard, by the client's name.
    async fn prepare_transaction(&mut self, text: &str) -> Step {
        if self.block.is_none() {
            self.warn(NO_ACTIVE_TRANSACTION, "there is no transaction in progress");
        }
        let Some(block) = self.block.take().filter(|block| !block.is_failed()) else {
            self.end_on_all("ROLLBACK").await;
            self.complete("ROLLBACK");
            return Ok(());
        };
        let prepared = self.prepare_on_one(&block, text).await;
        self.block = None;
        // As in PostgreSQL, a transaction that cannot be prepared is rolled back.
        self.end_on_all(if prepared.is_ok() { "COMMIT" } else { "ROLLBACK" }).await;
        self.end_cursors(false);
        prepared?;
        block.commit_settings(&mut self.lasting);
        self.complete("PREPARE TRANSACTION");
        Ok(())
    }

    async fn prepare_on_one(&mut self, block: &Transaction, text: &str) -> Step {
        let shard = match self.written(block.writers()).await?.as_slice() {
            [] => self.links.iter().find(|link| link.has_begun()).map_or(HOME, |link| link.server.shard()),
            [only] => *only,
            _ => {
                return Err(Error::refuse(
                    "a transaction that wrote several shards cannot be prepared",
                    "Its parts would have to be finished together, which Weir does by itself for COMMIT.",
                )
                .hint("Use COMMIT: it is done on all shards or none.")
                .into());
            }
        };
        self.block = Some(block.clone());
        let linked = self.link(shard, Access::Primary { writes: true }).await;
        self.block = None;
        linked?;
        self.ask(shard, &Question::query(text)).await?;
        self.succeed(shard).await
    }

    /// COMMIT PREPARED or ROLLBACK PREPARED, on the shard that has a transaction of this name.
    async fn finish_named(&mut self, verb: &str, gid: &str) -> Step {
        if self.block.is_some() {
            let message = format!("{verb} cannot run inside a transaction block");
            return Err(Error::new(Origin::Client, Kind::ActiveTransaction, message).into());
        }
        let map = self.database.map().ok_or_else(|| Error::internal("a sharded database without a shard map"))?;
        let gid = escape_literal(gid);
        let question = format!(
            "SELECT EXISTS (SELECT FROM pg_catalog.pg_prepared_xacts WHERE gid = {gid} \
             AND database = pg_catalog.current_database())"
        );
        let mut found = HOME;
        for shard in map.shard_ids() {
            self.link(shard, Access::Primary { writes: false }).await?;
            self.ask(shard, &Question::query(&question)).await?;
            if self.answer(shard).await?.is_true() {
                found = shard;
                break;
            }
        }
        self.ask(found, &Question::query(&format!("{verb} {gid}"))).await?;
        self.succeed(found).await?;
        self.complete(verb);
        Ok(())
    }

    /// Opens a block for a statement that needs several shards, unless the client has one open. Gives whether it did.
    pub fn begin_own(&mut self) -> bool {
        let own = self.block.is_none();
        if own {
            self.block = Some(Transaction::begin("BEGIN", Snapshots::PerStatement));
        }
        own
    }

    /// Ends a statement behind [`Client::begin_own`]. A block of its own is committed, or rolled back if the statement
    /// failed; the client's block fails with it.
    pub async fn end_own<T>(&mut self, own: bool, result: Step<T>) -> Step<T> {
        match result {
            Err(Stop::Gone) => Err(Stop::Gone),
            Err(stop) => {
                let shards: Vec<ShardId> = self.links.iter().map(|link| link.server.shard()).collect();
                self.stop_all(&shards).await;
                if own {
                    self.block = None;
                    self.end_on_all("ROLLBACK").await;
                } else {
                    self.fail_block();
                }
                Err(stop)
            }
            Ok(value) => {
                if own && let Some(block) = self.block.take() {
                    self.commit_block(block).await?;
                }
                Ok(value)
            }
        }
    }

    /// Notes that the open block may write a shard.
    ///
    /// # Errors
    /// It has written another one, and two-phase commit is off, or a server cannot take part in it.
    pub fn note_write(&mut self, shard: ShardId) -> Result<()> {
        self.database.may_write()?;
        let Some(block) = &mut self.block else { return Ok(()) };
        if let Some(first) = block.writers().iter().find(|writer| **writer != shard) {
            self.database.may_write_both(*first, shard)?;
        }
        block.write(shard);
        Ok(())
    }

    /// Commits what a block did, on all shards that it wrote or on none; then on those that were only read.
    async fn commit_block(&mut self, block: Transaction) -> Step {
        let committed = match self.announce_schema().await {
            Ok(()) => self.commit_written(&block).await,
            Err(error) => Err(error.into()),
        };
        if let Err(stop) = committed {
            self.block = None;
            self.end_on_all("ROLLBACK").await;
            return Err(stop);
        }
        self.end_on_all("COMMIT").await;
        block.commit_settings(&mut self.lasting);
        if std::mem::take(&mut self.schema_touched) {
            // What the block has defined is known from now on, as after DDL of its own.
            self.defined = CodeClass::default();
            self.await_schema().await;
        }
        Ok(())
    }

    /// Lets other Weirs know of a change of the schema before it is committed.
    async fn announce_schema(&mut self) -> Result<()> {
        if self.schema_touched { self.tell_fleet().await } else { Ok(()) }
    }

    async fn commit_written(&mut self, block: &Transaction) -> Step {
        let written = self.written(block.writers()).await?;
        if let [only] = written.as_slice() {
            let Some(at) = self.links.iter().position(|link| link.server.shard() == *only) else { return Ok(()) };
            let server = &mut self.links[at].server;
            server.session.own_query(server.conn.queue(), "COMMIT");
            return self.own_replies(at).await;
        }
        self.commit_everywhere(&written).await
    }

    /// Which of the shards that may have been written were: where it matters, their servers are asked.
    async fn written(&mut self, writers: &[ShardId]) -> Step<Vec<ShardId>> {
        let open = |shard: &&ShardId| self.links.iter().any(|link| link.server.shard() == **shard && link.has_begun());
        let candidates: Vec<ShardId> = writers.iter().filter(open).copied().collect();
        if candidates.len() < 2 {
            return Ok(candidates);
        }
        for shard in &candidates {
            self.ask(*shard, &Question::query(HAS_WRITTEN)).await?;
        }
        let mut written = Vec::new();
        for shard in candidates {
            if self.answer(shard).await?.is_true() {
                written.push(shard);
            }
        }
        Ok(written)
    }

    async fn roll_back(&mut self) {
        self.loss = None;
        self.end_cursors(false);
        if self.block.take().is_none() {
            self.warn(NO_ACTIVE_TRANSACTION, "there is no transaction in progress");
        }
        self.end_on_all("ROLLBACK").await;
        self.complete("ROLLBACK");
    }

    /// Ends the transaction on every server that still has it open. Nothing depends on the outcome: these servers
    /// were only read, or are rolled back; one that fails is lost and closed.
    async fn end_on_all(&mut self, command: &str) {
        let open = Link::has_begun;
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
        self.cursors_follow(Cursors::release);
        self.complete("RELEASE");
        Ok(())
    }

    async fn roll_back_to(&mut self, name: &str, task: &Task<'_>) -> Step {
        let mut block = self.block.clone().ok_or_else(no_block)?;
        block.rollback_to(name)?;
        self.on_all(task.text).await?;
        self.block = Some(block);
        self.cursors_follow(Cursors::roll_back_to);
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
