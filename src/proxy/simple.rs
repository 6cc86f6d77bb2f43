//! Units of the simple protocol, and what all units share: effects of statements, COPY from the client.

use std::sync::Arc;

use bytes::BytesMut;

use super::client::Client;
use super::outcome::{Step, Stop};
use super::relay::{End, Listen, Seen};
use crate::route::{self, plan::Access};
use crate::session::ledger::{Copying, Event};
use crate::session::transaction::aborted;
use crate::sql::facts::{DiscardTarget, Effects, Facts, PinReason, Statement, StatementKind, TransactionCommand};
use crate::sql::schema::Schema;
use crate::types::{Error, Result, ShardId};
use crate::wire::backend;
use crate::wire::frame::{self, Sender};
use crate::wire::frontend::{self, tag};

/// How a complete exchange with a server ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// The client read an ErrorResponse.
    pub failed: bool,
}

impl Client {
    /// Serves a simple Query.
    pub async fn query(&mut self, message: BytesMut) -> Step {
        self.names.clear_unnamed();
        let schema = self.schema()?;
        let text = frontend::query_text(&message[frame::HEADER_LEN..])?;
        let Ok(text) = std::str::from_utf8(text) else {
            return self.forward_query(&message, &Facts::unreadable()).await;
        };
        if self.database.is_sharded() {
            return self.sharded_query(&schema, &message, text).await;
        }
        let mut literals = Vec::new();
        let facts = self.known.facts(&schema, text, &mut literals);
        if self.answer_deallocate(&facts) {
            return Ok(());
        }
        self.forward_query(&message, &facts).await
    }

    /// Forwards a Query as it is to the only shard.
    async fn forward_query(&mut self, message: &[u8], facts: &Facts) -> Step {
        if self.database.is_sharded() {
            return Err(Error::refuse(
                "a text that is not valid UTF-8 cannot be routed",
                "The statement's encoding does not let Weir read its literals.",
            )
            .hint("Set client_encoding to UTF8.")
            .into());
        }
        self.leave_lost_block(facts.statements.first())?;
        let access = facts.statements.iter().map(route::unsharded).fold(Access::Read, Access::and);
        facts.statements.iter().for_each(|statement| self.note(statement));
        let at = self.link(ShardId(0), access).await?;
        let link = &mut self.links[at];
        link.stats.received(message.len());
        link.server.session.query(link.server.conn.queue(), message);
        let ended = self.finish(at, Listen::No).await?;
        self.after(facts.statements.iter(), ended);
        Ok(())
    }

    /// Serves a FunctionCall: a function by its OID, about which nothing is known.
    pub async fn function_call(&mut self, message: BytesMut) -> Step {
        if self.database.is_sharded() {
            return Err(Error::refuse("a FunctionCall cannot be routed", "The function's arguments name no shard.")
                .hint("Call the function with SELECT.")
                .into());
        }
        self.leave_lost_block(None)?;
        self.pin(PinReason::Opaque);
        let at = self.link(ShardId(0), Access::Primary { writes: true }).await?;
        let server = &mut self.links[at].server;
        server.session.query(server.conn.queue(), &message);
        self.finish(at, Listen::No).await?;
        Ok(())
    }

    /// The schema of now. Login made sure that it was read.
    pub fn schema(&self) -> Result<Arc<Schema>> {
        self.database.schema().ok_or_else(|| Error::internal("the schema has not been read yet"))
    }

    /// Relays until the server owes nothing, passing the data of a COPY on. With [`Listen::ForBatch`] it also returns
    /// when the client sends its next messages.
    pub async fn finish(&mut self, at: usize, listen: Listen) -> Step<Ended> {
        let mut ended = Ended::default();
        let mut seen = Seen::default();
        loop {
            let end = self.relay(at, listen, &mut seen).await?;
            for event in seen.events.drain(..) {
                match event {
                    Event::ClientError => ended.failed = true,
                    Event::SyncIgnored => self.batch_open = true,
                    Event::Prepared(_)
                    | Event::NotPrepared(_)
                    | Event::Parameter { .. }
                    | Event::OwnError(_)
                    | Event::Fatal(_) => {}
                }
            }
            match end {
                End::ClientSent if self.links[at].server.session.ledger.copying() == Copying::In => {
                    seen.stalled = self.pass_copy(at)?;
                }
                End::Settled | End::ClientSent | End::ClientGone => return Ok(ended),
            }
        }
    }

    /// Passes what the client sent for a COPY on to the server. Gives the bytes that must wait for more.
    fn pass_copy(&mut self, at: usize) -> Step<usize> {
        loop {
            if self.copy_passing > 0 {
                let part = self.conn.input.len().min(self.copy_passing);
                self.copy_passing -= part;
                let bytes = self.conn.input.split_to(part);
                self.links[at].server.conn.queue().extend_from_slice(&bytes);
            }
            let Some(header) = frame::header(&self.conn.input, Sender::Client).map_err(Stop::Fatal)? else { break };
            match header.tag {
                tag::COPY_DATA => self.copy_passing = header.total_len,
                tag::COPY_DONE | tag::COPY_FAIL if header.total_len <= self.conn.input.len() => {
                    self.copy_passing = header.total_len;
                    self.links[at].server.session.ledger.copy_ended_by_client();
                    let bytes = self.conn.input.split_to(std::mem::take(&mut self.copy_passing));
                    self.links[at].server.conn.queue().extend_from_slice(&bytes);
                    return Ok(0);
                }
                tag::COPY_DONE | tag::COPY_FAIL => break,
                // PostgreSQL ignores these two while it waits for data.
                tag::FLUSH | tag::SYNC if header.total_len <= self.conn.input.len() => {
                    drop(self.conn.input.split_to(header.total_len));
                }
                tag::FLUSH | tag::SYNC => break,
                tag::TERMINATE => return Err(Stop::Gone),
                other => {
                    let message = format!("unexpected message type {other:#04x} during COPY from stdin");
                    return Err(Stop::Fatal(Error::protocol(message)));
                }
            }
        }
        Ok(self.conn.input.len())
    }

    /// After the server of an open block was lost, nothing but the block's end is accepted.
    pub fn leave_lost_block(&mut self, first: Option<&Statement>) -> Step {
        if self.block.is_none() {
            return Ok(());
        }
        let ends = matches!(
            first.map(|statement| &statement.kind),
            Some(StatementKind::Transaction(TransactionCommand::Commit { .. } | TransactionCommand::Rollback { .. }))
        );
        if !ends {
            return Err(aborted().into());
        }
        // A server that is outside of a block answers the block's end with a warning and the right command tag.
        self.block = None;
        Ok(())
    }

    /// DEALLOCATE of a statement that Weir keeps for the client. Gives false when a server must be asked.
    fn answer_deallocate(&mut self, facts: &Facts) -> bool {
        let [Statement { kind: StatementKind::Deallocate { name }, .. }] = facts.statements.as_slice() else {
            return false;
        };
        if self.status() == crate::wire::TransactionStatus::Failed || self.block.is_some() {
            return false;
        }
        let tag = match name {
            Some(name) if !self.names.remove(name.as_bytes()) => return false,
            Some(_) => "DEALLOCATE",
            // A pinned client may have statements of its own on its server; the server drops them all.
            None if self.pinned.is_some() => return false,
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
    pub fn note(&mut self, statement: &Statement) {
        if let Some(reason) = statement.pin {
            self.pin(reason);
        }
        if matches!(&statement.kind, StatementKind::Set { name, .. } if name.contains('.')) {
            // PostgreSQL keeps the setting's name for ever: it reads as '' where a fresh session has NULL.
            self.indelible = Some("a custom setting was set on it");
        }
        self.local_settings |= matches!(statement.kind, StatementKind::Set { local: true, .. });
        self.schema_touched |= statement.effects.contains(Effects::DDL);
    }

    pub fn pin(&mut self, reason: PinReason) {
        if matches!(reason, PinReason::Opaque | PinReason::Unparsed | PinReason::Load) {
            self.indelible = Some("code whose effects cannot be seen ran on it");
        }
        self.pinned.get_or_insert(reason);
        self.handle.pinned.set(self.pinned);
    }

    /// Takes note of what statements did to the session, after they ran.
    pub fn after<'s>(&mut self, statements: impl Iterator<Item = &'s Statement>, ended: Ended) {
        if ended.failed {
            return;
        }
        for statement in statements {
            match &statement.kind {
                StatementKind::Discard(DiscardTarget::All) => self.discard_all(),
                StatementKind::Deallocate { name: None } => {
                    self.names.clear();
                    self.links.iter_mut().for_each(|link| link.server.session.forget_statements());
                }
                StatementKind::ResetAll => {
                    // The client's own settings are adopted again in front of its next statement.
                    self.links.iter_mut().for_each(|link| link.server.session.forget_settings());
                }
                _ => {}
            }
        }
    }

    pub fn discard_all(&mut self) {
        self.names.clear();
        self.lasting.clear();
        self.pinned = None;
        self.handle.pinned.set(None);
        for link in &mut self.links {
            link.server.session.forget_statements();
            link.server.session.forget_settings();
        }
    }
}
