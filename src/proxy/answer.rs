//! Answers that Weir gives itself, in the shape that the client's protocol asks for.

use bytes::{Bytes, BytesMut};

use super::batch::Request;
use super::client::Client;
use super::outcome::Step;
use super::sharded::{Asked, Task};
use crate::wire::backend::{self, tag};

/// What is known of an answer before its first row.
#[derive(Clone, Debug, Default)]
pub struct Preface {
    /// The body of ParameterDescription.
    pub parameters: Option<Bytes>,
    /// The body of RowDescription; `None` for an answer without rows.
    pub columns: Option<Bytes>,
}

impl Client {
    /// Queues everything that the client reads in front of the rows and the command tag.
    pub fn preface(&mut self, task: &Task<'_>, preface: &Preface) {
        let out = self.conn.queue();
        match (&task.asked, &preface.columns) {
            (Asked::Batch(requests), _) => requests.iter().for_each(|request| reply(out, request, preface)),
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

/// The reply to one request of a batch whose statement Weir answers. Execute's own reply is not among them.
fn reply(out: &mut BytesMut, request: &Request<'_>, preface: &Preface) {
    match request {
        Request::Parse { .. } => backend::bare(out, tag::PARSE_COMPLETE),
        Request::Bind { .. } => backend::bare(out, tag::BIND_COMPLETE),
        Request::DescribeStatement { .. } => {
            match &preface.parameters {
                Some(body) => pass(out, tag::PARAMETER_DESCRIPTION, body),
                None => backend::parameter_description(out, &[]),
            }
            describe(out, preface);
        }
        Request::DescribePortal { .. } => describe(out, preface),
        Request::CloseStatement => backend::bare(out, tag::CLOSE_COMPLETE),
        Request::Execute { .. }
        | Request::ClosePortal { .. }
        | Request::Flush
        | Request::Sync
        | Request::Refused(_) => {}
    }
}

fn describe(out: &mut BytesMut, preface: &Preface) {
    match &preface.columns {
        Some(columns) => pass(out, tag::ROW_DESCRIPTION, columns),
        None => backend::bare(out, tag::NO_DATA),
    }
}
