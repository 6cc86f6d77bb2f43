//! SET and its kin on a sharded database: on every server that the session has, kept for those that it gets.

use super::answer::Preface;
use super::client::Client;
use super::exchange::{Question, Wanted};
use super::links::Link;
use super::outcome::Step;
use super::sharded::{HOME, Task, parameters};
use super::simple::Ended;
use super::values::Values;
use crate::route::plan::Access;
use crate::route::{self, Named, OWN_SETTINGS};
use crate::session::transaction::Snapshots;
use crate::sql::analyze::{Assignment, assignments};
use crate::sql::facts::{DiscardTarget, Statement, StatementKind};
use crate::types::{Error, Kind, Origin, Result};
use crate::wire::backend;

impl Client {
    /// Does such a statement, and answers.
    pub async fn session_statement(&mut self, task: &Task<'_>) -> Step {
        if task.statement.kind != StatementKind::Select {
            self.preface(task, &Preface::default());
        }
        match &task.statement.kind {
            StatementKind::Deallocate { name } => self.deallocate(name.as_deref())?,
            StatementKind::Discard(DiscardTarget::All) => {
                self.discard_everywhere().await?;
                self.cursors = None;
            }
            StatementKind::Set { name, .. } | StatementKind::Reset { name } if name.starts_with(OWN_SETTINGS) => {
                self.own_setting(name, task)?;
            }
            StatementKind::Select => self.set_config(task).await?,
            _ => {
                let ended = self.set_everywhere(task).await?;
                self.follow_block_status();
                self.told(ended, task)?;
            }
        }
        self.answered(task)
    }

    /// Forgets a statement's name, or all, and answers that.
    pub fn deallocate(&mut self, name: Option<&str>) -> Result<()> {
        let tag = match name {
            None => {
                self.names.clear();
                "DEALLOCATE ALL"
            }
            Some(name) if self.names.remove(name.as_bytes()) => "DEALLOCATE",
            Some(name) => {
                let message = format!("prepared statement \"{name}\" does not exist");
                return Err(Error::new(Origin::Client, Kind::UnknownStatement, message));
            }
        };
        backend::command_complete(self.conn.queue(), tag);
        Ok(())
    }

    async fn discard_everywhere(&mut self) -> Step {
        if self.block.is_some() {
            return Err(Error::new(
                Origin::Client,
                Kind::ActiveTransaction,
                "DISCARD ALL cannot run inside a transaction block",
            )
            .into());
        }
        for at in 0..self.links.len() {
            let server = &mut self.links[at].server;
            server.session.own_query(server.conn.queue(), "DISCARD ALL");
            self.own_replies(at).await?;
        }
        self.discard_all();
        backend::command_complete(self.conn.queue(), "DISCARD ALL");
        Ok(())
    }

    /// Runs SET or RESET on every server of the block, or of the session; the client sees the first one's answer. Servers
    /// that come later are told then.
    async fn set_everywhere(&mut self, task: &Task<'_>) -> Step<Ended> {
        let first = self.first_concerned().await?;
        let server = &mut self.links[first].server;
        server.session.query_step(server.conn.queue(), task.text);
        let ended = self.finish(first).await?;
        if ended.failed {
            return Ok(ended);
        }
        self.tell_others(first, task.text).await?;
        self.keep_setting(task);
        Ok(ended)
    }

    /// The server that answers for all of the block, or of the session.
    async fn first_concerned(&mut self) -> Step<usize> {
        let in_block = self.block.is_some();
        match self.links.iter().position(|link| is_concerned(link, in_block)) {
            Some(at) => Ok(at),
            None => self.link_apart(HOME, Access::Primary { writes: false }).await,
        }
    }

    /// Tells the other servers of the block, or of the session, what one of them has been told.
    pub async fn tell_others(&mut self, first: usize, sql: &str) -> Step {
        for at in 0..self.links.len() {
            if at != first && is_concerned(&self.links[at], self.block.is_some()) {
                let server = &mut self.links[at].server;
                server.session.own_query(server.conn.queue(), sql);
                self.own_replies(at).await?;
            }
        }
        Ok(())
    }

    /// Servers that come later are told this, too; what is local only those of the block.
    pub fn tell_later(&mut self, name: &str, sql: &str, local: bool) {
        match &mut self.block {
            Some(block) => block.set(name, sql, !local),
            None if local => {}
            None => self.lasting.keep(name, sql),
        }
    }

    fn keep_setting(&mut self, task: &Task<'_>) {
        let before = self.state.mark();
        self.note(task.statement, &Values::default());
        let (name, local) = match &task.statement.kind {
            StatementKind::Set { name, local } => (name.as_str(), *local),
            StatementKind::Reset { name } if self.block.is_some() => (name.as_str(), false),
            StatementKind::Reset { .. } | StatementKind::ResetAll => {
                self.forget_lasting(task.statement);
                self.after(std::iter::once(task.statement), Ended::default(), before);
                return;
            }
            _ => return,
        };
        if let Some(block) = &mut self.block
            && let Some(snapshots) = assignments(task.text).iter().find_map(isolates)
        {
            block.isolate(snapshots);
        }
        self.tell_later(name, task.text, local);
    }

    /// A call of set_config() that is a statement of its own: as SET, but it gives a row.
    async fn set_config(&mut self, task: &Task<'_>) -> Step {
        let parameters = parameters(task)?;
        let configured = route::configured(task.text, &parameters);
        let configured = configured.ok_or_else(|| Error::internal("a call of set_config() that is none"))?;
        let sql = configured.sql();
        self.cut_if_wanted().await?;
        let first = self.first_concerned().await?;
        let server = &self.links[first].server;
        let question =
            Question::of(task, task.text, &Wanted::default(), server.session.ledger.translation().map(|oids| &**oids))?;
        let shard = server.shard();
        self.ask(shard, &question).await?;
        let answer = self.answer(shard).await?;
        self.tell_others(first, &sql).await?;
        self.show(task, answer);
        self.local_settings |= configured.local;
        self.state.touch_setting(&configured.name, configured.local);
        self.show_pin();
        self.tell_later(&configured.name, &sql, configured.local);
        Ok(())
    }

    fn forget_lasting(&mut self, reset: &Statement) {
        match &reset.kind {
            StatementKind::Reset { name } => self.lasting.forget(name),
            _ => self.lasting.clear(),
        }
    }

    /// SET and RESET of a setting that servers never see.
    fn own_setting(&mut self, name: &str, task: &Task<'_>) -> Result<()> {
        let value = assignments(task.text).pop().and_then(|set| set.value);
        let map = self.database.map().ok_or_else(|| Error::internal("a sharded database without a shard map"))?;
        if let Some(named) = Named::by_setting(name, value.as_deref())? {
            named.shard(&map)?;
        }
        let (tag, local) = match task.statement.kind {
            StatementKind::Set { local, .. } => ("SET", local),
            _ => ("RESET", false),
        };
        self.tell_later(name, task.text, local);
        backend::command_complete(self.conn.queue(), tag);
        Ok(())
    }
}

/// In a block its own servers are concerned, else all of the session.
fn is_concerned(link: &Link, in_block: bool) -> bool {
    !in_block || link.is_in_transaction()
}

/// What REPEATABLE READ and SERIALIZABLE ask for, whether by SET TRANSACTION or by name. A level that is not known may be either.
fn isolates(set: &Assignment) -> Option<Snapshots> {
    match set.value.as_deref() {
        _ if set.name != "transaction_isolation" => None,
        Some(level) if route::is_per_statement(level) => None,
        Some(level) if level.eq_ignore_ascii_case("repeatable read") => Some(Snapshots::Repeatable),
        _ => Some(Snapshots::Serializable),
    }
}
