//! Long messages of a client, which pass while they come: Weir holds no more of them than of any other stream. Only for
//! unsharded databases; a sharded one needs a message whole to find its shard.

use std::rc::Rc;

use bytes::BytesMut;

use super::batch::Request;
use super::client::Client;
use super::outcome::Step;
use super::prepare::Redescribes;
use super::sharded::Asked;
use super::simple::{Ended, called_function};
use super::values::Values;
use crate::route::plan::Access;
use crate::sql::facts::Facts;
use crate::types::{Result, ShardId};
use crate::wire::frame::{self, Sender};
use crate::wire::frontend::{Bind, tag};

/// A Bind or FunctionCall of more bytes is passed on in parts.
const LARGE_MIN: usize = 1024 * 1024;

/// A Query of more bytes is not read either: it counts as a text that nobody can read.
const LARGE_QUERY_MIN: usize = 16 * 1024 * 1024;

/// Any statement's server: what is not read may write.
const ANY: Access = Access::Primary { writes: true };

impl Client {
    /// What has come of a long message whose end has not, and the bytes that are to come.
    pub fn cut_begun(&mut self) -> Result<Option<(BytesMut, usize)>> {
        let Some(header) = frame::header(&self.conn.input, Sender::Client)? else { return Ok(None) };
        let rest = header.total_len.saturating_sub(self.conn.input.len());
        if matches!(header.tag, tag::COPY_DATA | tag::COPY_DONE | tag::COPY_FAIL) {
            // Data for a COPY that has failed on the server.
            self.unwanted = rest;
            self.conn.input.clear();
            return Ok(None);
        }
        if !self.may_begin(&self.conn.input)? {
            return Ok(None);
        }
        Ok(Some((self.conn.take_input(self.conn.input.len()), rest)))
    }

    /// Whether `input` begins with a message that is passed on in parts, and enough of it is there.
    pub fn may_begin(&self, input: &[u8]) -> Result<bool> {
        let Some(header) = frame::header(input, Sender::Client)? else { return Ok(false) };
        Ok(!self.database.is_sharded()
            && match header.tag {
                tag::BIND => header.total_len > LARGE_MIN && Bind::names(&input[frame::HEADER_LEN..]).is_ok(),
                tag::FUNCTION_CALL => header.total_len > LARGE_MIN,
                tag::QUERY => header.total_len > LARGE_QUERY_MIN,
                _ => false,
            })
    }

    /// Drops what has come of bytes that nobody wants.
    pub fn drop_unwanted(&mut self) {
        let here = self.unwanted.min(self.conn.input.len());
        drop(self.conn.input.split_to(here));
        self.unwanted -= here;
    }

    /// Serves a long message of which `rest` bytes are to come.
    pub async fn begun(&mut self, message: &[u8], rest: usize) -> Step {
        // Until a server takes them.
        self.unwanted = rest;
        if message.first() == Some(&tag::BIND) {
            self.begun_bind(message, rest).await
        } else {
            self.begun_request(message, rest).await
        }
    }

    /// A Query or a FunctionCall.
    async fn begun_request(&mut self, message: &[u8], rest: usize) -> Step {
        self.names.clear_unnamed();
        self.end_lost_block(None, Asked::Query(message))?;
        let facts = match message.first() {
            Some(&tag::FUNCTION_CALL) => called_function(message),
            _ => Facts::unreadable(),
        };
        let before = self.state.mark();
        facts.statements.iter().for_each(|statement| self.note(statement, &Values::default()));
        let at = self.link(ShardId(0), ANY).await?;
        self.bring_statements(at).await?;
        let link = &mut self.links[at];
        link.stats.received(message.len() + rest);
        if link.server.session.begin_query(link.server.conn.queue(), message, rest) {
            self.unwanted = 0;
        }
        let ended = self.finish(at).await?;
        self.after(facts.statements.iter(), ended, before);
        Ok(())
    }

    async fn begun_bind(&mut self, message: &[u8], rest: usize) -> Step {
        if self.skip_to_sync {
            return Ok(());
        }
        let schema = self.schema()?;
        self.batch_failed &= std::mem::replace(&mut self.batch_open, true);
        let (portal, name, arguments) = Bind::names(&message[frame::HEADER_LEN..])?;
        let prepared = match self.statement(&schema, name) {
            Ok(prepared) => prepared,
            Err(error) => {
                return self.send_batch(ShardId(0), ANY, &[Request::Refused(error)], message.len(), false).await;
            }
        };
        drop(schema);
        self.end_lost_block(None, Asked::Batch(&[]))?;
        self.fits_mode(prepared.facts.statements.iter())?;
        let text = prepared.text.as_deref().unwrap_or_default();
        let values = Values { text, literals: &prepared.literals, bound: None };
        self.note_request_names(&Request::DescribeStatement { name, prepared: Rc::clone(&prepared) });
        prepared.facts.statements.iter().for_each(|statement| self.note_effects(statement, &values));
        let at = self.link(ShardId(0), ANY).await?;
        self.bring_statements(at).await?;
        self.prepare(at, name, &prepared, Redescribes::No, &mut Ended::default()).await?;
        let link = &mut self.links[at];
        link.stats.received(message.len() + rest);
        let out = link.server.conn.queue();
        if link.server.session.begin_bind(out, portal, name, &prepared, arguments, rest) {
            self.unwanted = 0;
        }
        Ok(())
    }
}
