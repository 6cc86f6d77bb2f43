//! Units of the simple protocol, and what all units share: effects of statements, COPY from the client.

use std::sync::Arc;

use arc_swap::Guard;

use super::answer::Preface;
use super::client::Client;
use super::links::Link;
use super::outcome::{Step, Stop};
use super::relay::{End, Listen, Seen};
use super::sharded::{Asked, Task};
use super::temporary::Temporary;
use super::values::Values;
use crate::route::{self, plan::Access};
use crate::session::ledger::{Attempt, Event};
use crate::session::request::SequenceMemory;
use crate::session::state::Mark;
use crate::session::transaction::aborted;
use crate::sql::code::{CodeClass, Leaves};
use crate::sql::facts::{DiscardTarget, Effects, Facets, Facts, Statement, StatementKind, TransactionCommand};
use crate::sql::schema::Schema;
use crate::types::{Error, Result, ShardId};
use crate::wire::TransactionStatus;
use crate::wire::backend;
use crate::wire::frame::{self, Sender};
use crate::wire::frontend::{self, tag};

/// How a complete exchange with a server ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// The client read an ErrorResponse.
    pub failed: bool,
    /// The server refused the text before it ran anything of it.
    pub refused: bool,
    /// A statement did not stand any more, and the client does not know it.
    pub withheld: bool,
}

/// What a Query means to a batch that no Sync has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BatchEnd {
    /// It ends it: the next ReadyForQuery is the Query's.
    Ended,
    /// The batch has failed, and everything up to Sync is ignored.
    Ignored,
}

impl Ended {
    /// How a unit ended of which this is the first part.
    pub fn then(self, rest: Self) -> Self {
        Self { withheld: rest.withheld, ..if self.failed { self } else { rest } }
    }

    /// Takes note of an error that the client has read.
    pub fn note(&mut self, event: &Event) {
        match event {
            Event::ClientError(attempt) => (self.failed, self.refused) = (true, *attempt == Attempt::Refused),
            Event::PrepareError(_) => (self.failed, self.refused) = (true, false),
            Event::Withheld => self.withheld = true,
            _ => {}
        }
    }
}

impl Client {
    /// Serves a simple Query.
    pub async fn query(&mut self, message: &[u8]) -> Step {
        if self.ends_batch() == BatchEnd::Ignored {
            return Ok(());
        }
        self.names.clear_unnamed();
        let schema = self.schema()?;
        let text = frontend::query_text(&message[frame::HEADER_LEN..])?;
        let Ok(text) = std::str::from_utf8(text) else {
            return self.forward_query(message, &Facts::unreadable(), &Values::default()).await;
        };
        let mut literals = self.worker.spare_literals();
        let facts = self.known.facts(&schema, text, &mut literals);
        let values = Values { text, literals: &literals, bound: None };
        if self.database.is_sharded() {
            match self.shard_by_key(&schema, &facts, &values) {
                Some(found) => self.on_shard_by_key(found, message, &facts, &values).await?,
                None => Box::pin(self.sharded_query(&schema, message, &facts, values)).await?,
            }
            self.worker.return_literals(literals);
            return Ok(());
        }
        drop(schema);
        self.fits_mode(facts.statements.iter())?;
        if self.answer_deallocate(&facts) {
            return Ok(());
        }
        self.forward_query(message, &facts, &values).await?;
        self.worker.return_literals(literals);
        Ok(())
    }

    /// Forwards a Query as it is to the only shard.
    async fn forward_query(&mut self, message: &[u8], facts: &Facts, values: &Values<'_>) -> Step {
        if self.database.is_sharded() {
            return Err(Error::refuse(
                "a text that is not valid UTF-8 cannot be routed",
                "The statement's encoding does not let Weir read its literals.",
            )
            .hint("Set client_encoding to UTF8.")
            .into());
        }
        let only = <&[Statement; 1]>::try_from(facts.statements.as_slice()).ok().map(|[only]| only);
        if self.end_lost_block(only, Asked::Query(message))? {
            return Ok(());
        }
        let access = facts.statements.iter().map(route::unsharded).fold(Access::Read, Access::and);
        let before = self.state.mark();
        if only.is_none() {
            self.note_several(facts.statements.iter());
        }
        facts.statements.iter().for_each(|statement| self.note(statement, values));
        let at = self.link(ShardId(0), access).await?;
        self.bring_statements(at).await?;
        let link = &mut self.links[at];
        link.stats.received(message.len());
        link.server.session.query(link.server.conn.queue(), message);
        let ended = self.finish(at).await?;
        self.after(facts.statements.iter(), ended, before);
        if !ended.failed {
            facts.statements.iter().try_for_each(|statement| {
                let own = if only.is_some() { values.text } else { statement.text(values.text) };
                self.keep_prepared(at, statement, own)
            })?;
        }
        Ok(())
    }

    /// A Query or a FunctionCall comes where a batch may be open that was flushed and not synced.
    fn ends_batch(&mut self) -> BatchEnd {
        let skips = |link: &Link| link.server.session.ledger.is_skipping();
        if self.batch_open && (self.skip_to_sync || self.links.iter().any(skips)) {
            return BatchEnd::Ignored;
        }
        self.batch_open = false;
        BatchEnd::Ended
    }

    /// Serves a FunctionCall: a function by its OID, about which nothing is known.
    pub async fn function_call(&mut self, message: &[u8]) -> Step {
        if self.ends_batch() == BatchEnd::Ignored {
            return Ok(());
        }
        if self.database.is_sharded() {
            return Err(Error::refuse("a FunctionCall cannot be routed", "The function's arguments name no shard.")
                .hint("Call the function with SELECT.")
                .into());
        }
        self.end_lost_block(None, Asked::Query(message))?;
        let facts = called_function(message);
        let before = self.state.mark();
        facts.statements.iter().for_each(|statement| self.note(statement, &Values::default()));
        let at = self.link(ShardId(0), Access::Primary { writes: true }).await?;
        self.bring_statements(at).await?;
        let server = &mut self.links[at].server;
        server.session.query(server.conn.queue(), message);
        let ended = self.finish(at).await?;
        self.after(facts.statements.iter(), ended, before);
        Ok(())
    }

    /// The schema of now. Login made sure that it was read.
    pub fn schema(&self) -> Result<Guard<Arc<Schema>>> {
        self.database.schema().ok_or_else(|| Error::internal("the schema has not been read yet"))
    }

    /// Relays until the server owes nothing, passing the data of a COPY on, or until it turns out that the client has
    /// another Sync to send: then the batch is open again.
    pub async fn finish(&mut self, at: usize) -> Step<Ended> {
        let mut ended = Ended::default();
        let hold = self.will_survey() || self.holds_ready();
        self.links[at].server.session.ledger.hold_ready(hold);
        let changes_code = (self.defined != CodeClass::default()).then(|| Arc::clone(&self.database));
        let mut seen = Seen { changes_code, ..Seen::default() };
        loop {
            let end = self.relay(at, Listen::No, &mut seen).await?;
            for event in seen.events.drain(..) {
                ended.note(&event);
            }
            if end != End::ClientSent || self.batch_open {
                return Ok(ended);
            }
            self.pass_copy(at)?;
            seen.stalled = if self.takes_copy_data(at) { self.conn.input.len() } else { 0 };
        }
    }

    /// Whether the server of a link takes what the client sends as data of a COPY.
    pub fn takes_copy_data(&self, at: usize) -> bool {
        self.links[at].server.session.ledger.takes_copy_data()
    }

    /// Passes what the client sent for a COPY on to the server, as far as it is complete.
    pub fn pass_copy(&mut self, at: usize) -> Step {
        loop {
            self.pass_copy_data(at);
            if !self.takes_copy_data(at) || self.conn.input.is_empty() {
                return Ok(());
            }
            let Some(header) = frame::header(&self.conn.input, Sender::Client).map_err(Stop::Fatal)? else {
                return Ok(());
            };
            match header.tag {
                tag::COPY_DATA => self.links[at].server.session.ledger.begin_copy_data(header.total_len),
                tag::COPY_DONE | tag::COPY_FAIL if header.total_len <= self.conn.input.len() => {
                    let bytes = self.conn.input.split_to(header.total_len);
                    let server = &mut self.links[at].server;
                    server.session.ledger.copy_ended_by_client();
                    server.conn.queue().extend_from_slice(&bytes);
                }
                tag::COPY_DONE | tag::COPY_FAIL => return Ok(()),
                // PostgreSQL ignores these two while it waits for data.
                tag::FLUSH | tag::SYNC if header.total_len <= self.conn.input.len() => {
                    drop(self.conn.input.split_to(header.total_len));
                }
                tag::FLUSH | tag::SYNC => return Ok(()),
                tag::TERMINATE => return Err(Stop::Gone),
                other => {
                    let message = format!("unexpected message type {other:#04x} during COPY from stdin");
                    return Err(Stop::Fatal(Error::protocol(message)));
                }
            }
        }
    }

    /// Passes on what is there of a CopyData that has begun.
    fn pass_copy_data(&mut self, at: usize) {
        let server = &mut self.links[at].server;
        let part = self.conn.input.len().min(server.session.ledger.copy_data_left());
        if part > 0 {
            server.session.ledger.pass_copy_data(part);
            server.conn.queue().extend_from_slice(&self.conn.input.split_to(part));
        }
    }

    /// After the server of an open block was lost, nothing but the block's end is accepted. Gives whether this was it, and
    /// is answered; `statement` is the unit's only one.
    pub fn end_lost_block(&mut self, statement: Option<&Statement>, asked: Asked<'_>) -> Step<bool> {
        use TransactionCommand::{Commit, Rollback};
        if self.block.is_none() {
            return Ok(false);
        }
        let Some(statement) = statement.filter(|statement| {
            matches!(statement.kind, StatementKind::Transaction(Commit { chain: false } | Rollback { chain: false }))
        }) else {
            return Err(self.why_failed().into());
        };
        self.block = None;
        if let (StatementKind::Transaction(Commit { .. }), Some(loss)) = (&statement.kind, self.loss.take()) {
            return Err(loss.into());
        }
        let task = Task { statement, text: "", asked, values: Values::default() };
        self.preface(&task, &Preface::default());
        self.complete("ROLLBACK");
        self.answered(&task)?;
        Ok(true)
    }

    /// Why the open block accepts nothing but its end: the first statement learns of a loss itself. A COMMIT does so too:
    /// it must not end a block in silence that the client believes in.
    pub fn why_failed(&mut self) -> Error {
        self.loss.take().unwrap_or_else(aborted)
    }

    /// DEALLOCATE of a statement that Weir keeps for the client. Gives false when a server must be asked.
    fn answer_deallocate(&mut self, facts: &Facts) -> bool {
        let [Statement { kind: StatementKind::Deallocate { name }, .. }] = facts.statements.as_slice() else {
            return false;
        };
        if self.status() == TransactionStatus::Failed || self.block.is_some() {
            return false;
        }
        let tag = match name {
            // What only the server knows goes there.
            _ if self.may_have_unknown_names() => return false,
            Some(name) if !self.names.remove(name.as_bytes()) => return false,
            Some(_) => "DEALLOCATE",
            // A pinned client may have statements of its own on its server; the server drops them all.
            None if self.state.is_pinned() => return false,
            None => {
                self.names.clear();
                "DEALLOCATE ALL"
            }
        };
        let status = self.status();
        backend::command_complete(self.conn.queue(), tag);
        backend::ready_for_query(self.conn.queue(), status);
        true
    }

    /// Takes note of what a statement will do to the session, before it is sent.
    pub fn note(&mut self, statement: &Statement, values: &Values<'_>) {
        self.note_names(statement);
        if self.has_effects_now(statement) {
            self.note_effects(statement, values);
        }
    }

    /// Takes note of what a statement will do, beside what it has to do with prepared statements.
    pub fn note_effects(&mut self, statement: &Statement, values: &Values<'_>) {
        self.heed(statement);
        let named = matches!(statement.kind, StatementKind::Set { .. } | StatementKind::Reset { .. });
        let any_setting = if named { Facets::empty() } else { Facets::SETTINGS };
        self.state.touch(statement.makes & (any_setting | !Facets::SETTINGS), statement.ends);
        if let Some(dbname) = &statement.vacates {
            self.vacate(dbname);
        }
        match &statement.kind {
            StatementKind::Set { name, local } => {
                self.local_settings |= *local;
                self.state.touch_setting(name, *local);
            }
            StatementKind::Reset { name } => self.state.touch_setting(name, false),
            _ => {}
        }
        for call in &statement.set_configs {
            let local = call.local == Some(true);
            self.local_settings |= local;
            match values.text(&call.name) {
                Some(name) => self.state.touch_setting(&name, local),
                // Any setting, custom ones included, whose names no catalog shows.
                None => self.state.touch(Facets::SETTINGS | Facets::HIDDEN, Facets::empty()),
            }
        }
        self.state.sequences.asked |= statement.effects & Effects::SEQUENCES;
        if statement.effects.contains(Effects::DDL) {
            self.schema_touched = true;
            if self.local_settings || self.state.makes_temporary_objects() {
                self.state.touch(Facets::TEMPORARY, Facets::empty());
            }
        }
        if (self.doubts_code || self.defined.leaves > Leaves::Nothing) && may_run_code(statement) {
            self.state.touch(Facets::SHOWN | Facets::HIDDEN, Facets::empty());
            self.state.sequences.asked |= Effects::SEQUENCES;
        }
        self.defined = self.defined.and(statement.defines);
        self.ran_code |= may_run_code(statement);
        self.show_pin();
    }

    /// Whether the statement may run code that was changed a moment ago, and of which no fact tells.
    pub fn may_surprise(&self, statement: &Statement) -> bool {
        (self.doubts_code || self.defined != CodeClass::default()) && may_run_code(statement)
    }

    /// Lets others see what keeps the client's server.
    pub fn show_pin(&self) {
        self.handle.pinned.set(self.state.pin_reason());
    }

    /// Takes note of what statements did to the session, after they ran. `before` is the state without them.
    pub fn after<'s>(&mut self, statements: impl Iterator<Item = &'s Statement>, ended: Ended, before: Mark) {
        if ended.refused {
            self.state.go_back(before);
            self.show_pin();
        }
        if ended.failed {
            return;
        }
        for statement in statements {
            if let Some(dbname) = &statement.vacates {
                self.want_schema_of(dbname);
            }
            match &statement.kind {
                StatementKind::Discard(DiscardTarget::All) => self.discard_all(),
                StatementKind::Discard(DiscardTarget::Sequences) => self.sequences_discarded(),
                StatementKind::Deallocate { name: Some(name) } => self.name_dropped(name),
                StatementKind::Deallocate { name: None } => {
                    self.names.clear();
                    self.links.iter_mut().for_each(|link| link.server.session.forget_statements());
                }
                StatementKind::ResetAll => self.restore_settings(None),
                StatementKind::Reset { name } => self.restore_settings(Some(name)),
                _ => {}
            }
        }
    }

    /// RESET went back to the server's own values, where the client's session goes back to what it connected with.
    fn restore_settings(&mut self, name: Option<&str>) {
        let sql = self.state.startup().restoring(name);
        if sql.is_empty() || self.status() == TransactionStatus::Failed {
            return;
        }
        for Link { server, .. } in &mut self.links {
            server.session.own_query(server.conn.queue(), &sql);
        }
    }

    pub fn discard_all(&mut self) {
        self.names.clear();
        self.lasting.clear();
        self.temporary = Temporary::default();
        self.state.discard_all();
        self.listening = None;
        self.handle.channels.set(0);
        self.show_pin();
        for Link { server, .. } in &mut self.links {
            server.session.forget_statements();
            server.session.forget_settings();
            server.session.sequences = SequenceMemory::Nobody;
            let _in_order = server.session.adopt_settings(server.conn.queue(), self.state.wanted());
        }
    }
}

/// The facts of a FunctionCall, of which at least the beginning is there.
pub fn called_function(message: &[u8]) -> Facts {
    let oid = message.get(frame::HEADER_LEN..).and_then(|body| body.first_chunk());
    oid.map_or_else(Facts::unreadable, |oid| Facts::of_function_call(u32::from_be_bytes(*oid)))
}

/// Whether code that was defined a moment ago may run with a statement, however the schema was before.
fn may_run_code(statement: &Statement) -> bool {
    !statement.relations.is_empty() || statement.effects.intersects(Effects::OPAQUE | Effects::USER_TYPE)
}
