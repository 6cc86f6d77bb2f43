//! Units of the extended protocol.
//!
//! A batch for an unsharded database goes to one server, message by message. A batch for a sharded one is looked at
//! whole first (see [`super::sharded`]) and comes here once its shard is known.

use std::rc::Rc;

use bytes::BytesMut;

use super::answer::Preface;
use super::client::{BATCH_PIECE, Client};
use super::outcome::Step;
use super::prepare::{first_use, redescribes};
use super::sharded::{Asked, Task, is_plain};
use super::simple::Ended;
use super::sql_names::only_run;
use super::values::Values;
use super::worker::Sharing;
use crate::net::executor;
use crate::route::{self, plan::Access};
use crate::session::request::{Parsed, ServerSession};
use crate::session::statements::Prepared;
use crate::sql::facts::{Facets, Statement, StatementKind};
use crate::sql::schema::Schema;
use crate::types::{Error, Kind, Origin, Result, ShardId};
use crate::wire::TransactionStatus;
use crate::wire::backend;
use crate::wire::frame::{self, Frame, Sender};
use crate::wire::frontend::{Bind, Parse, Target, tag};

/// One message of a batch, its names resolved.
pub enum Request<'m> {
    Parse {
        name: &'m [u8],
        prepared: Rc<Prepared>,
    },
    Bind {
        portal: &'m [u8],
        name: &'m [u8],
        prepared: Rc<Prepared>,
        arguments: &'m [u8],
        body: &'m [u8],
    },
    DescribeStatement {
        name: &'m [u8],
        prepared: Rc<Prepared>,
    },
    DescribePortal {
        portal: &'m [u8],
        raw: &'m [u8],
    },
    Execute {
        portal: &'m [u8],
        max_rows: u32,
        raw: &'m [u8],
    },
    CloseStatement,
    ClosePortal {
        raw: &'m [u8],
    },
    Flush,
    Sync,
    /// The message cannot be done; everything after it up to Sync is void.
    Refused(Error),
}

impl Client {
    /// Serves the messages of a batch; `complete` when they end with Sync.
    pub async fn batch(&mut self, messages: &[u8], complete: bool) -> Step {
        if self.skip_to_sync {
            return Box::pin(self.skip(complete)).await;
        }
        let schema = self.schema()?;
        // Set before anything can fail, so that a failure knows whether a Sync is still to come.
        let was_open = std::mem::replace(&mut self.batch_open, !complete);
        self.batch_failed &= was_open;
        let requests = self.resolve(&schema, messages)?;
        if !was_open && complete && self.links.is_empty() && self.needs_no_server(&requests) {
            self.answer_here(&requests);
            return Ok(());
        }
        self.fits_mode(bound_statements(&requests))?;
        if self.database.is_sharded() {
            let by_key = if complete && !was_open { self.batch_by_key(&schema, &requests)? } else { None };
            let Some(found) = by_key else {
                return Box::pin(self.sharded_batch(&schema, messages, requests, complete)).await;
            };
            drop(schema);
            self.admit_by_key(found).await?;
            self.unnamed_was_merged = false;
            self.send_batch(found.shard, found.access, &requests, messages.len(), complete).await?;
            self.follow_block_status();
            return Ok(());
        }
        drop(schema);
        let only = if complete && !was_open && is_plain(&requests) { bound_statements(&requests).next() } else { None };
        if self.end_lost_block(only, Asked::Batch(&requests))? || self.deallocate_only(only, &requests)? {
            return Ok(());
        }
        let split = self.database.read_write_split && complete && !was_open;
        let access = if split { access_of(&requests) } else { Access::Primary { writes: true } };
        self.send_batch(ShardId(0), access, &requests, messages.len(), complete).await
    }

    /// Sends the requests to a server of the shard and relays the replies.
    pub async fn send_batch(
        &mut self,
        shard: ShardId,
        access: Access,
        requests: &[Request<'_>],
        received: usize,
        complete: bool,
    ) -> Step {
        let before = self.state.mark();
        let only = only_run(requests, complete);
        if only.is_none() {
            self.note_several(bound_statements(requests));
        }
        requests.iter().for_each(|request| self.note_request(request));
        let at = match self.link_with_statements(shard, access).await {
            Ok(at) => at,
            Err(stop) => {
                self.forget_parsed(requests);
                return Err(stop);
            }
        };
        self.links[at].stats.received(received);
        let untried = if complete { self.untried_use(at, requests) } else { None };
        if untried.is_some() {
            self.links[at].server.session.ledger.withhold();
        }
        let mut ended = self.write_requests(at, requests, None).await?;
        if !complete {
            // The replies are passed on while the rest is awaited. A client that always has more to send must not keep them
            // from being heard: it may stop at an error.
            if received >= BATCH_PIECE {
                executor::yield_now().await;
            }
            return Ok(());
        }
        ended = ended.then(self.finish(at).await?);
        if ended.withheld
            && let Some((place, name, old)) = untried
        {
            let renewed = self.renew(name, old, None)?;
            ended = self.write_requests(at, &requests[place..], Some(&renewed)).await?;
            ended = ended.then(self.finish(at).await?);
        }
        ended.failed |= self.batch_failed;
        self.after(bound_statements(requests), ended, before);
        if self.database.is_sharded() && !ended.failed {
            for request in requests {
                self.spread_bound(shard, request).await?;
            }
        }
        match only.filter(|_| !ended.failed) {
            Some((statement, text)) => Ok(self.keep_prepared(at, statement, text)?),
            None => Ok(()),
        }
    }

    async fn link_with_statements(&mut self, shard: ShardId, access: Access) -> Step<usize> {
        let at = self.link(shard, access).await?;
        self.bring_statements(at).await?;
        Ok(at)
    }

    /// No server saw the requests: what they would have prepared is not there.
    fn forget_parsed(&mut self, requests: &[Request<'_>]) {
        for request in requests {
            if let Request::Parse { name, .. } = request {
                self.names.remove(name);
            }
        }
    }

    /// The first use of a statement whose Parse no server has seen, where a failure of it may be made good: nothing ran
    /// before it.
    fn untried_use<'r>(&self, at: usize, requests: &'r [Request<'_>]) -> Option<(usize, &'r [u8], &'r Rc<Prepared>)> {
        let ledger = &self.links[at].server.session.ledger;
        let may_be_repeated = !ledger.is_unsynced() && ledger.status() == TransactionStatus::Idle;
        first_use(requests).filter(|(place, name, _)| {
            may_be_repeated
                && (self.names.is_untried(name) || requests[..*place].iter().any(|request| parses(request, name)))
        })
    }

    /// Writes requests for a server; `renewed` stands in for the statement of the first one.
    async fn write_requests(
        &mut self,
        at: usize,
        requests: &[Request<'_>],
        renewed: Option<&Rc<Prepared>>,
    ) -> Step<Ended> {
        let mut ended = Ended::default();
        let old = requests.first().and_then(used).map(|(_, prepared)| prepared.id);
        for (place, request) in requests.iter().enumerate() {
            let mut changed = None;
            if let Some((name, prepared)) = used(request) {
                self.names.mark_tried(name);
                changed = match renewed {
                    Some(renewed) if Some(prepared.id) == old => Some(Rc::clone(renewed)),
                    _ => self.prepare(at, name, prepared, redescribes(&requests[place..]), &mut ended).await?,
                };
                if let Request::Bind { arguments, .. } = request {
                    let prepared = changed.as_ref().unwrap_or(prepared);
                    self.learn_types(at, name, prepared, arguments, &mut ended).await?;
                }
            }
            let server = &mut self.links[at].server;
            let parsed = write(&mut server.session, server.conn.queue(), request, changed.as_ref());
            if let (Request::Parse { name, .. }, Parsed::Elided) = (request, parsed) {
                self.names.mark_untried(name);
            }
        }
        Ok(ended)
    }

    fn note_request(&mut self, request: &Request<'_>) {
        if self.note_request_names(request) {
            return;
        }
        if let Request::Bind { prepared, body, .. } = request {
            let text = prepared.text.as_deref().unwrap_or_default();
            let values = Values { text, literals: &prepared.literals, bound: Some(body) };
            prepared.facts.statements.iter().for_each(|statement| self.note(statement, &values));
        }
    }

    /// Reads the messages, resolving the client's names.
    pub fn resolve<'m>(&mut self, schema: &Schema, messages: &'m [u8]) -> Result<Vec<Request<'m>>> {
        let mut requests = Vec::with_capacity(6);
        let mut at = 0;
        let mut void = false;
        while let Some(frame) = frame::first(&messages[at..], Sender::Client)? {
            at += frame.raw.len();
            if void && frame.tag != tag::SYNC {
                continue;
            }
            let request = self.resolve_one(schema, &frame).unwrap_or_else(Request::Refused);
            void = matches!(request, Request::Refused(_));
            requests.push(request);
        }
        Ok(requests)
    }

    fn resolve_one<'m>(&mut self, schema: &Schema, frame: &Frame<'m>) -> Result<Request<'m>> {
        let Frame { tag, body, raw } = *frame;
        Ok(match tag {
            tag::PARSE => self.resolve_parse(schema, body)?,
            tag::BIND => {
                let (portal, statement, arguments) = Bind::names(body)?;
                let prepared = self.statement(schema, statement)?;
                Request::Bind { portal, name: statement, prepared, arguments, body }
            }
            tag::DESCRIBE => match Target::read(body)? {
                Target::Statement(name) => Request::DescribeStatement { name, prepared: self.statement(schema, name)? },
                Target::Portal(portal) => Request::DescribePortal { portal, raw },
            },
            tag::CLOSE => match Target::read(body)? {
                Target::Statement(name) => {
                    self.names.remove(name);
                    Request::CloseStatement
                }
                Target::Portal(_) => Request::ClosePortal { raw },
            },
            tag::EXECUTE => {
                let mut reader = crate::wire::reader::Reader::new(body);
                Request::Execute { portal: reader.cstr()?, max_rows: reader.u32()?, raw }
            }
            tag::FLUSH => Request::Flush,
            tag::SYNC => Request::Sync,
            other => return Err(Error::internal(format!("message type {other} in a batch"))),
        })
    }

    /// With whom a statement that the client prepares now may be shared.
    pub fn sharing(&self) -> Sharing {
        match self.state.is_pinned() || self.schema_touched || self.own_settings {
            _ if self.own_reading => Sharing::OwnReading,
            true => Sharing::Own,
            false => Sharing::Shared,
        }
    }

    /// A statement that another server would read otherwise, at another moment or under other settings, stays where it is.
    pub fn keep_constants(&mut self, prepared: &Prepared) {
        if !prepared.is_repeatable() || self.own_reading && prepared.has_constants() {
            self.state.hold(Facets::CONSTANTS);
            self.show_pin();
        }
    }

    fn resolve_parse<'m>(&mut self, schema: &Schema, body: &'m [u8]) -> Result<Request<'m>> {
        let parse = Parse::read(body)?;
        if !parse.name.is_empty() && self.names.contains(parse.name) {
            let message = format!("prepared statement \"{}\" already exists", String::from_utf8_lossy(parse.name));
            return Err(Error::new(Origin::Client, Kind::DuplicateStatement, message));
        }
        let sharing = self.sharing();
        let born = self.database.schema_changes();
        let prepared = self.known.prepared(&self.worker.instance.statement_ids, schema, &parse, sharing, born)?;
        if !parse.name.is_empty() {
            self.keep_constants(&prepared);
        }
        self.names.set(parse.name, Rc::clone(&prepared));
        Ok(Request::Parse { name: parse.name, prepared })
    }

    /// The client's statement of that name, its facts read against the schema of now.
    pub fn statement(&mut self, schema: &Schema, name: &[u8]) -> Result<Rc<Prepared>> {
        let prepared = Rc::clone(self.names.get(name).ok_or_else(|| unknown_statement(name))?);
        if prepared.schema_version == schema.version {
            return Ok(prepared);
        }
        let refreshed = self.known.refreshed(schema, &prepared);
        self.names.set(name, Rc::clone(&refreshed));
        Ok(refreshed)
    }

    /// Ignores what follows a failure, up to Sync. What the batch did before is undone then.
    async fn skip(&mut self, complete: bool) -> Step {
        if complete {
            self.skip_to_sync = false;
            self.batch_open = false;
            self.end_open_batches(true).await?;
            let status = self.status();
            backend::ready_for_query(self.conn.queue(), status);
        }
        Ok(())
    }

    /// A lone Sync (drivers ask so whether the connection lives), names that are forgotten, and, outside of blocks,
    /// statements that some server has accepted before: a client that only prepares must not wait for a server.
    fn needs_no_server(&self, requests: &[Request<'_>]) -> bool {
        requests.iter().all(|request| match request {
            Request::Parse { name, prepared } => {
                self.block.is_none() && !name.is_empty() && prepared.standing.proven.get()
            }
            Request::CloseStatement | Request::Flush | Request::Sync => true,
            _ => false,
        })
    }

    /// Answers DEALLOCATE of a statement that Weir keeps for the client. Gives false when a server must be asked.
    fn deallocate_only(&mut self, only: Option<&Statement>, requests: &[Request<'_>]) -> Result<bool> {
        let Some(statement) = only else { return Ok(false) };
        let StatementKind::Deallocate { name: Some(name) } = &statement.kind else { return Ok(false) };
        if self.status() == TransactionStatus::Failed || !self.names.contains(name.as_bytes()) {
            return Ok(false);
        }
        let task = Task { statement, text: "", asked: Asked::Batch(requests), values: Values::default() };
        self.preface(&task, &Preface::default());
        self.deallocate(Some(name))?;
        self.ready();
        Ok(true)
    }

    /// Answers requests that need no server.
    fn answer_here(&mut self, requests: &[Request<'_>]) {
        let status = self.status();
        let out = self.conn.queue();
        for request in requests {
            match request {
                Request::Parse { name, .. } => {
                    self.names.mark_untried(name);
                    backend::bare(out, backend::tag::PARSE_COMPLETE);
                }
                Request::CloseStatement => backend::bare(out, backend::tag::CLOSE_COMPLETE),
                Request::Sync => backend::ready_for_query(out, status),
                _ => {}
            }
        }
    }
}

fn parses(request: &Request<'_>, wanted: &[u8]) -> bool {
    matches!(request, Request::Parse { name, .. } if !name.is_empty() && *name == wanted)
}

/// The statement that a request uses, with the client's name for it.
fn used<'r>(request: &'r Request<'_>) -> Option<(&'r [u8], &'r Rc<Prepared>)> {
    match request {
        Request::Bind { name, prepared, .. } | Request::DescribeStatement { name, prepared } => Some((name, prepared)),
        _ => None,
    }
}

/// Writes a request for the server that gets it; `renewed` stands in for the statement that it names.
fn write(
    session: &mut ServerSession,
    out: &mut BytesMut,
    request: &Request<'_>,
    renewed: Option<&Rc<Prepared>>,
) -> Parsed {
    match request {
        Request::Parse { name, prepared } => return session.parse(out, name, prepared),
        Request::Bind { portal, name, prepared, arguments, .. } => {
            session.bind(out, portal, name, renewed.unwrap_or(prepared), arguments);
        }
        Request::DescribeStatement { name, prepared } => {
            session.describe_statement(out, name, renewed.unwrap_or(prepared));
        }
        Request::DescribePortal { raw, .. } => session.describe_portal(out, raw),
        Request::Execute { portal, raw, .. } => session.execute(out, portal, raw),
        Request::CloseStatement => session.close_statement(),
        Request::ClosePortal { raw } => session.close_portal(out, raw),
        Request::Flush => session.flush(out),
        Request::Sync => session.sync(out),
        Request::Refused(error) => session.refuse(out, error),
    }
    Parsed::Sent
}

/// The statements that a batch binds.
pub fn bound_statements<'r>(requests: &'r [Request<'_>]) -> impl Iterator<Item = &'r Statement> {
    requests.iter().flat_map(|request| match request {
        Request::Bind { prepared, .. } => prepared.facts.statements.as_slice(),
        _ => &[],
    })
}

fn access_of(requests: &[Request<'_>]) -> Access {
    let mut statements = bound_statements(requests).peekable();
    if statements.peek().is_none() {
        return Access::Primary { writes: false };
    }
    statements.map(route::unsharded).fold(Access::Read, Access::and)
}

fn unknown_statement(name: &[u8]) -> Error {
    let message = match name {
        b"" => "unnamed prepared statement does not exist".to_owned(),
        name => format!("prepared statement \"{}\" does not exist", String::from_utf8_lossy(name)),
    };
    Error::new(Origin::Client, Kind::UnknownStatement, message)
}
