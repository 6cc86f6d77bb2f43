//! Weir talks to a server by itself: for statements over several shards, whose replies no client sees as they are.

use std::borrow::Cow;
use std::time::Instant;

use bytes::{Bytes, BytesMut};

use super::batch::Request;
use super::client::Client;
use super::links::until_gone;
use super::outcome::{Step, Stop};
use super::sharded::{Asked, Task};
use crate::pool::server::{self, Server, ended, lost};
use crate::route::plan::{Part, PartText};
use crate::session::ledger::Event;
use crate::session::numbered;
use crate::session::statements::Prepared;
use crate::types::{Error, Result, ShardId};
use crate::wire::TransactionStatus;
use crate::wire::backend::{self, Column, ErrorFields, tag};
use crate::wire::frame::{self, Sender};
use crate::wire::frontend::{self, Bind, Format, Target};
use crate::wire::oids::Translation;

/// A server's reply, its body kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    RowDescription(Bytes),
    ParameterDescription(Bytes),
    Row(Bytes),
    /// The command tag, with its terminating zero.
    Complete(Bytes),
    /// All rows that were asked for came; there may be more.
    Suspended,
    Error(Bytes),
    Notice(Bytes),
    /// CopyInResponse: the server takes rows.
    CopyIn(Bytes),
    /// CopyOutResponse: the server gives rows.
    CopyOut(Bytes),
    /// CopyData: a row, in PostgreSQL.
    CopyData(Bytes),
    CopyDone,
    Ready(TransactionStatus),
    /// ParseComplete, BindComplete, NoData and others that say nothing new.
    Nothing,
}

/// What the text that a server is asked gives beyond the client's own statement, and how much of it is wanted.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Columns behind the client's own.
    pub hidden_columns: usize,
    /// Zero: all rows.
    pub rows_max: u32,
    /// The types of the client's parameters, where the text may not tell them; else those that the client declared.
    pub parameter_types: Option<Vec<u32>>,
    pub formats: ResultFormats,
}

/// In which format values come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ResultFormats {
    /// As the client asks for them.
    #[default]
    Own,
    Text,
}

/// What of a client's statement is another one for a server.
#[derive(Clone, Copy, Debug)]
pub struct Changed<'c> {
    /// The types of parameters.
    pub types: &'c [u32],
    /// Everything in Bind behind the names.
    pub arguments: &'c [u8],
}

/// What several servers are asked alike.
pub struct Question {
    bytes: Bytes,
}

impl Question {
    /// Messages up to a Sync.
    pub fn messages(bytes: BytesMut) -> Self {
        Self { bytes: bytes.freeze() }
    }

    /// A simple Query.
    pub fn query(text: &str) -> Self {
        let mut bytes = BytesMut::new();
        frontend::query(&mut bytes, text);
        Self { bytes: bytes.freeze() }
    }

    /// The task's statement with another text, in the protocol that the client used, for a server whose OIDs stand for
    /// those of the client as `translation` says.
    ///
    /// # Errors
    /// The client asked for what the server does not have.
    pub fn of(task: &Task<'_>, text: &str, wanted: &Wanted, translation: Option<&Translation>) -> Result<Self> {
        let Asked::Batch(requests) = task.asked else { return Ok(Self::query(text)) };
        let (prepared, bind) = bound(requests)?;
        let types = wanted.parameter_types.as_ref().unwrap_or(&prepared.parameter_types);
        let definition = Cow::Owned(frontend::definition(text, types).to_vec());
        Self::bound(definition, prepared, &bind, wanted, translation)
    }

    fn bound(
        definition: Cow<'_, [u8]>,
        prepared: &Prepared,
        bind: &Bind<'_>,
        wanted: &Wanted,
        translation: Option<&Translation>,
    ) -> Result<Self> {
        let (definition, arguments) = match translation {
            None => (definition, Cow::Borrowed(bind.arguments)),
            Some(translation) => {
                let arguments = numbered::arguments(translation, prepared, bind)?;
                (numbered::definition(translation, definition)?, arguments)
            }
        };
        let mut bytes = BytesMut::new();
        frontend::parse(&mut bytes, b"", &definition);
        frontend::describe(&mut bytes, Target::Statement(b""));
        let arguments = match wanted.formats {
            ResultFormats::Own => bind.with_more_columns(arguments.into_owned(), wanted.hidden_columns),
            ResultFormats::Text => bind.for_text(arguments.into_owned()),
        };
        frontend::bind(&mut bytes, b"", b"", &arguments);
        frontend::execute(&mut bytes, b"", wanted.rows_max);
        frontend::sync(&mut bytes);
        Ok(Self { bytes: bytes.freeze() })
    }
}

impl Client {
    /// What the server of a part's shard, which the client holds, is to be asked.
    ///
    /// # Errors
    /// As [`Question::of`].
    pub fn question_for(&self, part: &Part, task: &Task<'_>) -> Result<Question> {
        self.question_wanting(part, &Wanted::default(), task)
    }

    /// As [`Client::question_for`], for a text that gives more than the client's own.
    ///
    /// # Errors
    /// As [`Question::of`].
    pub fn question_wanting(&self, part: &Part, wanted: &Wanted, task: &Task<'_>) -> Result<Question> {
        let text = match &part.text {
            PartText::Untouched => task.text,
            PartText::Rewritten(text) => text,
        };
        let ledger = &self.links[self.place(part.shard)?].server.session.ledger;
        Question::of(task, text, wanted, ledger.translation().map(|translation| &**translation))
    }

    /// A statement of the extended protocol with another text, other types of parameters, and these arguments of Bind.
    ///
    /// # Errors
    /// As [`Question::of`].
    pub fn question_with(
        &self,
        shard: ShardId,
        text: &str,
        prepared: &Prepared,
        with: &Changed<'_>,
    ) -> Result<Question> {
        let ledger = &self.links[self.place(shard)?].server.session.ledger;
        let bind = Bind::of(b"", b"", with.arguments)?;
        let definition = Cow::Owned(frontend::definition(text, with.types).to_vec());
        Question::bound(definition, prepared, &bind, &Wanted::default(), ledger.translation().map(|own| &**own))
    }

    /// Sends a question to the server of a shard that the client holds.
    pub async fn ask(&mut self, shard: ShardId, question: &Question) -> Step {
        let at = self.place(shard)?;
        if !self.links[at].server.session.ledger.owes_nothing() {
            self.own_replies(at).await?;
        }
        if let Some(block) = &mut self.block {
            block.ask();
        }
        let link = &mut self.links[at];
        link.stats.received(question.bytes.len());
        let server = &mut link.server;
        server.session.ledger.begin_own_exchange();
        link.asked = Some(Instant::now());
        server.session.unnamed_statement_lost();
        match server.conn.send(&question.bytes).await {
            Ok(()) => Ok(()),
            Err(error) => Err(self.lose(at, lost(shard, error))),
        }
    }

    /// The next reply of the server of a shard. The client's own connection is watched meanwhile.
    pub async fn reply(&mut self, shard: ShardId) -> Step<Reply> {
        let at = self.place(shard)?;
        let Self { conn, links, .. } = self;
        let result = tokio::select! {
            biased;
            reply = next_reply(&mut links[at].server) => reply,
            () = until_gone(conn) => return Err(Stop::Gone),
        };
        let reply = result.map_err(|error| self.lose(at, error))?;
        if let Reply::Ready(_) = reply
            && let Some(asked) = self.links[at].asked.take()
        {
            self.now = Instant::now();
            self.links[at].stats.query_done(self.now - asked);
        }
        Ok(reply)
    }

    /// Reads replies up to ReadyForQuery. Gives the first ErrorResponse, if there is one.
    pub async fn drain(&mut self, shard: ShardId) -> Step<Option<Bytes>> {
        let mut failure = None;
        loop {
            match self.reply(shard).await? {
                Reply::Ready(_) => return Ok(failure),
                Reply::Error(body) => drop(failure.get_or_insert(body)),
                _ => {}
            }
        }
    }

    /// As [`Client::drain`], also when the client is gone meanwhile: what is asked is not the client's to break off.
    pub async fn drain_alone(&mut self, shard: ShardId) -> Step<Option<Bytes>> {
        let mut failure = None;
        loop {
            let at = self.place(shard)?;
            let reply = Box::pin(next_reply(&mut self.links[at].server)).await;
            match reply.map_err(|error| self.lose(at, error))? {
                Reply::Ready(_) => return Ok(failure),
                Reply::Error(body) => drop(failure.get_or_insert(body)),
                _ => {}
            }
        }
    }

    /// Reads what the server of a shard still has to say, if it was asked something.
    pub async fn drain_asked(&mut self, shard: ShardId) -> Step {
        let held = self.place(shard).ok();
        if held.is_some_and(|at| self.links[at].server.session.ledger.is_in_own_exchange()) {
            self.drain(shard).await?;
        }
        Ok(())
    }

    /// Stops what the servers of these shards still do, and reads the rest of their replies.
    pub async fn stop_all(&mut self, shards: &[ShardId]) {
        for shard in shards {
            let Ok(at) = self.place(*shard) else { continue };
            let server = &self.links[at].server;
            if !server.session.ledger.is_in_own_exchange() {
                continue;
            }
            let (address, limit) = (server.shared().address.clone(), server.shared().limits.connect_timeout);
            if let Err(error) = server::cancel(&address, server.cancel_key, limit).await {
                tracing::warn!(%error, "a query on another shard could not be cancelled");
            }
            // A server that is lost here was of no more use; `lose` has removed it.
            let _rest = self.drain_alone(*shard).await;
        }
    }

    /// The body of a RowDescription or ParameterDescription that a shard's server sent, with the home shard's OIDs.
    ///
    /// # Errors
    /// Refuses a type that the home shard does not have.
    pub fn with_home_oids(&self, shard: ShardId, kind: u8, body: Bytes) -> Result<Bytes> {
        let ledger = &self.links[self.place(shard)?].server.session.ledger;
        Ok(ledger.translate_description(kind, &body)?.unwrap_or(body))
    }

    /// The columns, described in the numbers of a shard's server, whose binary values hold OIDs that clients know by
    /// others.
    pub fn numbered_columns(&self, shard: ShardId, columns: &[Column]) -> Result<Vec<(usize, u32)>> {
        let ledger = &self.links[self.place(shard)?].server.session.ledger;
        let Some(translation) = ledger.translation() else { return Ok(Vec::new()) };
        let is_numbered = |column: &Column| {
            column.format == Format::Binary.code() && translation.to_home().is_numbered(column.type_oid)
        };
        let places = columns.iter().enumerate().filter(|(_, column)| is_numbered(column));
        Ok(places.map(|(place, column)| (place, column.type_oid)).collect())
    }

    /// The body of a DataRow of a shard's server, with the home shard's OIDs in these columns.
    ///
    /// # Errors
    /// Refuses a type that the home shard does not have.
    pub fn translated_row(&self, shard: ShardId, numbered: &[(usize, u32)], body: &[u8]) -> Result<Bytes> {
        let ledger = &self.links[self.place(shard)?].server.session.ledger;
        let mut row = BytesMut::from(body);
        if let Some(translation) = ledger.translation() {
            translation.to_home().data_row(numbered, &mut row)?;
        }
        Ok(row.freeze())
    }

    /// The place of a shard's server among those that the client holds.
    pub fn place(&self, shard: ShardId) -> Result<usize> {
        let own = |link: &super::links::Link| link.server.shard() == shard;
        self.links.iter().position(own).ok_or_else(|| Error::internal(format!("no server of shard {shard} is held")))
    }
}

/// The statement that a batch binds, and how.
pub fn bound<'r>(requests: &'r [Request<'_>]) -> Result<(&'r Prepared, Bind<'r>)> {
    let bound = requests.iter().find_map(|request| match request {
        Request::Bind { prepared, body, .. } => Some((prepared, *body)),
        _ => None,
    });
    let (prepared, body) = bound.ok_or_else(|| Error::internal("a batch without Bind"))?;
    Ok((prepared, Bind::read(body)?))
}

/// Reads the next reply. Not cancel safe across replies, but each call either takes a whole message or none.
pub async fn next_reply(server: &mut Server) -> Result<Reply> {
    loop {
        if let Some(frame) = frame::first(&server.conn.input, Sender::Server)? {
            let (kind, len) = (frame.tag, frame.raw.len());
            let body = server.conn.input.split_to(len).freeze().slice(frame::HEADER_LEN..);
            return reply(server, kind, body);
        }
        match server.conn.fill().await {
            Ok(1..) => {}
            Ok(0) => return Err(lost(server.shard(), std::io::ErrorKind::UnexpectedEof.into())),
            Err(error) => return Err(lost(server.shard(), error)),
        }
    }
}

fn reply(server: &mut Server, kind: u8, body: Bytes) -> Result<Reply> {
    Ok(match kind {
        tag::ROW_DESCRIPTION => Reply::RowDescription(body),
        tag::PARAMETER_DESCRIPTION => Reply::ParameterDescription(body),
        tag::DATA_ROW => Reply::Row(body),
        tag::COMMAND_COMPLETE | tag::EMPTY_QUERY_RESPONSE => Reply::Complete(body),
        tag::PORTAL_SUSPENDED => Reply::Suspended,
        tag::NOTICE_RESPONSE => Reply::Notice(body),
        tag::COPY_IN_RESPONSE => Reply::CopyIn(body),
        tag::COPY_OUT_RESPONSE => Reply::CopyOut(body),
        tag::COPY_DATA => Reply::CopyData(body),
        tag::COPY_DONE => Reply::CopyDone,
        tag::ERROR_RESPONSE => {
            let fields = ErrorFields::read(&body)?;
            if fields.is_fatal() {
                return Err(ended(server.shard(), &body));
            }
            let instead = server.session.ledger.instead_of(&fields);
            Reply::Error(instead.map_or(body, |message| message.slice(frame::HEADER_LEN..)))
        }
        tag::PARAMETER_STATUS => {
            let (name, value) = backend::read_parameter_status(&body)?;
            server.session.note(&Event::Parameter { name: name.to_vec(), value: value.to_vec() });
            Reply::Nothing
        }
        tag::PARSE_COMPLETE | tag::BIND_COMPLETE | tag::NO_DATA | tag::CLOSE_COMPLETE => Reply::Nothing,
        tag::READY_FOR_QUERY => {
            let status = backend::read_ready_for_query(&body)
                .ok_or_else(|| lost(server.shard(), std::io::ErrorKind::InvalidData.into()))?;
            server.session.ledger.end_own_exchange(status);
            Reply::Ready(status)
        }
        // What was never asked for.
        _ => return Err(lost(server.shard(), std::io::ErrorKind::InvalidData.into())),
    })
}
