//! Answers that Weir gives itself, in the shape that the client's protocol asks for.

use bytes::{Bytes, BytesMut};

use super::batch::Request;
use super::client::Client;
use super::exchange::bound;
use super::outcome::{Step, Stop};
use super::sharded::{Asked, Task};
use crate::types::{Error, Kind, Origin};
use crate::wire::backend::{self, tag};

/// Unsent bytes towards the client above which no more rows are read.
pub const HIGH_WATER: usize = 64 * 1024;

/// What is known of an answer before its first row.
#[derive(Clone, Debug, Default)]
pub struct Preface {
    /// The body of ParameterDescription.
    pub parameters: Option<Bytes>,
    /// The body of the statement's RowDescription; `None` for an answer without rows.
    pub columns: Option<Bytes>,
}

impl Client {
    /// Queues everything that the client reads in front of the rows and the command tag.
    pub fn preface(&mut self, task: &Task<'_>, preface: &Preface) {
        let out = self.conn.queue();
        match (&task.asked, &preface.columns) {
            (Asked::Batch(requests), columns) => {
                let columns = columns.as_deref().map(|columns| portal_columns(columns, requests));
                requests.iter().for_each(|request| reply(out, request, preface, columns.as_deref()));
            }
            (Asked::Query(_) | Asked::Step, Some(columns)) => pass(out, tag::ROW_DESCRIPTION, columns),
            (Asked::Query(_) | Asked::Step, None) => {}
        }
    }

    /// Adds ReadyForQuery where the client waits for it.
    pub fn answered(&mut self, task: &Task<'_>) -> Step {
        match task.asked {
            Asked::Step => {}
            Asked::Query(_) | Asked::Batch(_) => self.ready(),
        }
        Ok(())
    }

    /// Sends what waits for the client, which is much; what belongs to a part of a statement is kept, as far as memory goes.
    ///
    /// # Errors
    /// The client is gone, or the rows need more memory than they may.
    pub async fn make_room(&mut self) -> Step {
        let memory_max = self.worker.instance.config.pool.merge_memory;
        match self.keeps_output {
            false => self.conn.flush().await.map_err(|_| Stop::Gone),
            true if self.conn.unsent() <= memory_max => Ok(()),
            true => Err(Error::new(
                Origin::Client,
                Kind::LimitExceeded,
                "a statement reads too many rows to write them on other shards",
            )
            .detail(format!("Weir keeps at most {memory_max} bytes of them (merge_memory in [pool])."))
            .hint("Write fewer rows at a time, or copy them: COPY (query) TO, and COPY FROM.")
            .into()),
        }
    }

    /// Sends rows to the client where many wait.
    pub async fn make_room_if_needed(&mut self) -> Step {
        if self.conn.unsent() > HIGH_WATER { self.make_room().await } else { Ok(()) }
    }

    /// Queues ReadyForQuery.
    pub fn ready(&mut self) {
        let status = self.status();
        backend::ready_for_query(self.conn.queue(), status);
    }
}

/// Appends a message whose body another server wrote.
pub fn pass(out: &mut BytesMut, tag: u8, body: &[u8]) {
    backend::message(out, tag, |out| out.extend_from_slice(body));
}

/// A statement's RowDescription as its portal has it: in the formats that Bind asks for.
fn portal_columns(columns: &[u8], requests: &[Request<'_>]) -> Bytes {
    let described = bound(requests).and_then(|(_, bind)| {
        let mut columns = backend::read_row_description(columns)?;
        let formats = columns.iter_mut().enumerate();
        formats.for_each(|(place, column)| column.format = bind.result_format(place).code());
        Ok(backend::row_description_body(&columns))
    });
    // Both were read before.
    described.unwrap_or_else(|_| Bytes::copy_from_slice(columns))
}

/// The reply to one request of a batch whose statement Weir answers. Execute's own reply is not among them.
fn reply(out: &mut BytesMut, request: &Request<'_>, preface: &Preface, portal_columns: Option<&[u8]>) {
    match request {
        Request::Parse { .. } => backend::bare(out, tag::PARSE_COMPLETE),
        Request::Bind { .. } => backend::bare(out, tag::BIND_COMPLETE),
        Request::DescribeStatement { .. } => {
            match &preface.parameters {
                Some(body) => pass(out, tag::PARAMETER_DESCRIPTION, body),
                None => backend::parameter_description(out, &[]),
            }
            describe(out, preface.columns.as_deref());
        }
        Request::DescribePortal { .. } => describe(out, portal_columns),
        Request::CloseStatement => backend::bare(out, tag::CLOSE_COMPLETE),
        Request::Execute { .. }
        | Request::ClosePortal { .. }
        | Request::Flush
        | Request::Sync
        | Request::Refused(_) => {}
    }
}

fn describe(out: &mut BytesMut, columns: Option<&[u8]>) {
    match columns {
        Some(columns) => pass(out, tag::ROW_DESCRIPTION, columns),
        None => backend::bare(out, tag::NO_DATA),
    }
}
