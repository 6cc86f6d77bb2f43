//! What one server still owes, in the order it was asked, and what of it the client sees.
//!
//! Every message that makes a server answer is entered here. The server's bytes are then read against the entries:
//! most are forwarded as they are, replies to Weir's own messages are dropped, and replies that no server needs to
//! give (a Parse of a statement that the server has already) are put in at their place.
//!
//! ```text
//!   request            entry        reply that settles it
//!   Query              Query        ReadyForQuery
//!   Parse              Parse        ParseComplete
//!   Bind               Bind         BindComplete
//!   Describe           Describe     RowDescription | NoData
//!   Execute            Execute      CommandComplete | EmptyQueryResponse | PortalSuspended
//!   Close              Close        CloseComplete
//!   Sync               Sync         ReadyForQuery
//!   (none)             Insert       at once, when it comes to stand first
//! ```
//! An ErrorResponse in the extended protocol cancels every entry up to the next Sync, as the server does.

mod notifications;
mod pass;
#[cfg(test)]
mod tests;
mod translated;

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

pub use self::notifications::{KEPT_BYTES_MAX, Kept, Notifications, Rule};
pub use self::pass::Scanned;
pub use self::translated::NumberedColumns;

use self::pass::Pass;
use super::deadlock::Verdict;
use super::notifiers::Arrival;
use super::shape::{self, Shape};
use super::statements::{Described, StatementId};
use crate::types::{Error, Kind, Origin, Result};
use crate::wire::TransactionStatus;
use crate::wire::backend::{self, ErrorFields, tag};
use crate::wire::frame::{self, Sender};
use crate::wire::oids::Translation;

/// Who asked, and so who sees the replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    Client,
    Weir,
}

/// One thing that the server owes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A simple Query or a FunctionCall; settled by ReadyForQuery.
    Query(Asker),
    /// A simple Query that is one of several steps of the client's: its ReadyForQuery stays hidden.
    Step,
    /// A Parse; what it gives is lost when it fails.
    Parse(Asker, Gives),
    /// A Parse of a named statement that the server has already: the client gets its ParseComplete from Weir.
    ParseElided(Gives),
    /// A Bind of that statement.
    Bind(StatementId),
    /// A Describe, with what it is to tell of a statement.
    Describe(Asker, Option<Look>),
    /// An Execute, with what its rows have that is to be translated.
    Execute(Option<NumberedColumns>),
    /// A client's Close of a portal, or Weir's own of a name that clients chose.
    Close(Asker),
    /// A Close of Weir's own, which makes room for another statement.
    Evict(StatementId),
    Sync(Asker),
    /// Bytes for the client that no server gives.
    Insert(Bytes),
    /// A request that Weir made fail on purpose ([`super::request::REFUSED_STATEMENT`]), so that the server's
    /// transaction fails as it should; the client reads these bytes in place of the server's ErrorResponse.
    Refuse(Bytes),
    /// The same, without anything for the client to read: a batch is given up.
    GiveUp,
}

/// What a Parse gives when it succeeds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gives {
    /// A named statement on the server.
    pub statement: Option<StatementId>,
    /// A name of the client's.
    pub name: Option<Box<[u8]>>,
}

/// What is to be learned of a statement from its description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// Who prepares or describes the statement: for a client that does so itself, what the server says now is true.
    pub asker: Asker,
    pub statement: StatementId,
    /// The client's name for it; empty for the unnamed statement.
    pub name: Box<[u8]>,
    /// What the statement took and gave so far, if that is known.
    pub expected: Option<Shape>,
}

/// What the server was sent of a batch that no Sync has ended yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Batch {
    /// There is none.
    #[default]
    Ended,
    /// Statements were prepared, described or closed: a Sync behind that changes nothing for what follows.
    Named,
    /// Something was bound or run.
    Used,
}

/// Whether a COPY is under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Copying {
    #[default]
    No,
    /// The server waits for CopyData.
    In,
    Out,
    Both,
}

/// What happened while replies were read, for those who keep the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A Parse of a named statement succeeded.
    Prepared(Gives),
    /// A Parse failed or was ignored.
    NotPrepared(Gives),
    /// A Close of Weir's own was ignored: the server still has the statement.
    NotEvicted(StatementId),
    /// A server described a statement for the first time, or otherwise than before.
    Described(Look, Described),
    /// The statement may not stand any more as it was prepared: the server does not bind or describe it.
    Doubted(StatementId),
    /// The client has not been told that a statement does not stand any more, see [`Ledger::withhold`].
    Withheld,
    /// The server reported a run-time parameter, and the client saw it.
    Parameter { name: Vec<u8>, value: Vec<u8> },
    /// The same, but the client did not see it.
    OwnParameter { name: Vec<u8>, value: Vec<u8> },
    /// An error of the client's own request.
    ClientError(Attempt),
    /// An error in something that Weir asked for; the body of the ErrorResponse.
    OwnError(Bytes),
    /// A server did not take a statement that Weir prepared for the client's own request. The client reads the
    /// ErrorResponse in place of the reply to that; this is its body.
    PrepareError(Bytes),
    /// A COPY from the client began in a batch whose Sync was already sent: PostgreSQL ignores that Sync, and the
    /// client sends another one behind its data.
    SyncIgnored,
    /// That COPY failed before it read anything, so that the Sync counted after all.
    SyncCounted,
    /// The server ends the connection; the body of the ErrorResponse, which the client does not see: its own
    /// connection goes on.
    Fatal(Bytes),
}

/// Whether anything of a request that failed was run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// The server's parser or analyzer refused the text: nothing ran.
    Refused,
    /// Something ran, or may have.
    Ran,
}

/// The entries of one server, and where in the protocol it stands.
#[derive(Debug)]
pub struct Ledger {
    entries: VecDeque<Entry>,
    status: TransactionStatus,
    copying: Copying,
    /// An error was seen and no Sync has been sent yet: the server ignores everything up to it.
    skipping: bool,
    /// What was sent without a Sync behind it: the server holds a transaction open for it.
    batch: Batch,
    /// Weir talks to the server by itself; the replies are not read here.
    own_exchange: bool,
    /// The client's next ReadyForQuery is kept back: Weir has a question first.
    holds_ready: bool,
    held_ready: Option<TransactionStatus>,
    /// A Sync stands behind a COPY from the client, and it is not known yet whether the COPY swallowed it.
    sync_in_doubt: bool,
    /// A statement of the request that is being answered was completed.
    completed: bool,
    /// See [`Ledger::withhold`].
    withholds: bool,
    /// A ParameterDescription that the client gets when it is certain that the statement stands.
    withheld: BytesMut,
    /// The parameter types that the Describe at hand was answered with.
    parameter_types: Box<[u32]>,
    /// Bytes of a DataRow, CopyData or FunctionCallResponse that are still to come.
    passing: usize,
    /// Bytes of a client's CopyData, or another long message, that the server has not been sent yet.
    sending: usize,
    events: Vec<Event>,
    /// See [`Ledger::translation`].
    translation: Option<Arc<Translation>>,
    /// See [`Ledger::may_be_victim`].
    verdict: Option<Arc<Verdict>>,
    /// What becomes of notifications that the server sends.
    pub notifications: Notifications,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            entries: VecDeque::new(),
            status: TransactionStatus::Idle,
            copying: Copying::No,
            skipping: false,
            batch: Batch::Ended,
            own_exchange: false,
            holds_ready: false,
            held_ready: None,
            sync_in_doubt: false,
            completed: false,
            withholds: false,
            withheld: BytesMut::new(),
            parameter_types: Box::default(),
            passing: 0,
            sending: 0,
            events: Vec::new(),
            translation: None,
            verdict: None,
            notifications: Notifications::default(),
        }
    }
}

impl Ledger {
    /// Whether the server works for a transaction that may become the victim of a deadlock, and where that is said.
    pub fn may_be_victim(&mut self, verdict: Option<Arc<Verdict>>) {
        self.verdict = verdict;
    }

    /// The ErrorResponse that the client gets in place of a server's, if that one is not what it seems.
    pub fn instead_of(&self, error: &ErrorFields<'_>) -> Option<Bytes> {
        self.verdict.as_ref()?.instead_of(error)
    }

    /// Enters a request that goes to the server. Gives false when the server is known to ignore it (an earlier
    /// request of the batch failed): then it need not be sent, and nothing is owed.
    #[must_use]
    pub fn enter(&mut self, entry: Entry) -> bool {
        if self.skipping {
            match entry {
                Entry::Sync(_) => self.skipping = false,
                Entry::Parse(_, gives) => {
                    self.events.push(Event::NotPrepared(gives));
                    return false;
                }
                Entry::ParseElided(Gives { name, .. }) => {
                    self.events.push(Event::NotPrepared(Gives { statement: None, name }));
                    return false;
                }
                _ => return false,
            }
        }
        if self.entries.is_empty() {
            self.notifications.ask();
        }
        self.batch = match entry {
            Entry::Query(_) | Entry::Step | Entry::Sync(_) => Batch::Ended,
            Entry::ParseElided(_) | Entry::Insert(_) => self.batch,
            Entry::Parse(..) | Entry::Describe(_, Some(_)) | Entry::Close(Asker::Weir) | Entry::Evict(_) => {
                self.batch.max(Batch::Named)
            }
            Entry::Bind(_)
            | Entry::Describe(_, None)
            | Entry::Execute(_)
            | Entry::Close(Asker::Client)
            | Entry::Refuse(_)
            | Entry::GiveUp => Batch::Used,
        };
        self.entries.push_back(entry);
        true
    }

    /// A Parse is not sent: what it would give is not there.
    pub fn give_nothing(&mut self, gives: Gives) {
        self.events.push(Event::NotPrepared(gives));
    }

    /// True when the server owes nothing, no COPY is under way and no batch is open.
    pub fn is_settled(&self) -> bool {
        self.owes_nothing() && !self.is_unsynced() && !self.sync_in_doubt
    }

    /// True when a batch is open on the server: a Sync is still to be sent.
    pub fn is_unsynced(&self) -> bool {
        self.batch != Batch::Ended
    }

    /// True when the open batch has only named statements so far. A Sync there ends nothing that the rest of the batch
    /// could miss: no row was read or written, no portal is there, and prepared statements do not care for transactions.
    pub fn has_only_named(&self) -> bool {
        self.batch == Batch::Named
    }

    /// Until the next Bind or Describe of the client's has an answer: if that is an error that says that the schema left
    /// the statement behind, the client learns nothing of it, nor of the ReadyForQuery behind it. The batch is complete.
    pub fn withhold(&mut self) {
        self.withholds = true;
    }

    /// True when the server ignores what it is sent, up to the next Sync.
    pub fn is_skipping(&self) -> bool {
        self.skipping
    }

    /// True when everything that was asked is answered.
    pub fn owes_nothing(&self) -> bool {
        self.has_answered() && !self.skipping && !self.own_exchange
    }

    /// True when no answer is to come before the server is sent something more: everything is answered, or it ignores
    /// what it is sent up to Sync.
    pub fn has_answered(&self) -> bool {
        self.entries.is_empty() && self.copying == Copying::No && self.passing == 0 && self.sending == 0
    }

    /// The transaction status of the last ReadyForQuery.
    pub fn status(&self) -> TransactionStatus {
        self.status
    }

    pub fn copying(&self) -> Copying {
        self.copying
    }

    /// True while the client's CopyData is awaited, or the server has been sent a part of a long message.
    pub fn takes_copy_data(&self) -> bool {
        self.copying == Copying::In || self.sending > 0
    }

    /// Bytes of the client's message that the server has not been sent yet.
    pub fn copy_data_left(&self) -> usize {
        self.sending
    }

    /// `len` more bytes of a message are going to be sent to the server as they come: a CopyData with its header, or the
    /// rest of a long message.
    pub fn begin_copy_data(&mut self, len: usize) {
        self.sending = len;
    }

    /// The server was sent `len` of those bytes.
    pub fn pass_copy_data(&mut self, len: usize) {
        self.sending -= len;
    }

    /// A row of a result is on its way and not complete: nothing else can be told to the client now.
    pub fn is_inside_message(&self) -> bool {
        self.passing > 0
    }

    /// Weir begins to talk to the server by itself: until [`Ledger::end_own_exchange`] the server is not settled.
    pub fn begin_own_exchange(&mut self) {
        debug_assert!(self.owes_nothing(), "the server still owes something");
        self.own_exchange = true;
    }

    /// True between [`Ledger::begin_own_exchange`] and [`Ledger::end_own_exchange`].
    pub fn is_in_own_exchange(&self) -> bool {
        self.own_exchange
    }

    /// The server said ReadyForQuery with this status, and owes nothing.
    pub fn end_own_exchange(&mut self, status: TransactionStatus) {
        self.own_exchange = false;
        self.batch = Batch::Ended;
        self.status = status;
    }

    /// True when the client gets something next that no byte of the server's is needed for.
    pub fn gives_by_itself(&self) -> bool {
        matches!(self.entries.front(), Some(Entry::Insert(_) | Entry::ParseElided(_)))
    }

    /// Whether the client's next ReadyForQuery is kept back until [`Ledger::take_held_ready`].
    pub fn hold_ready(&mut self, hold: bool) {
        self.holds_ready = hold;
    }

    /// The status of a ReadyForQuery that the client is still to be told, if one was kept back.
    pub fn take_held_ready(&mut self) -> Option<TransactionStatus> {
        self.holds_ready = false;
        self.held_ready.take()
    }

    /// The number of entries, for limits.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Takes what happened since the last call.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    pub fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// Reads the server's bytes. What the client shall see is either a range of `input` or is appended to `out`.
    pub fn scan(&mut self, input: &[u8], out: &mut BytesMut) -> Result<Scanned> {
        let mut pass = Pass::new(input, out);
        self.insert_ready(&mut pass);
        loop {
            if self.passing > 0 {
                let step = self.passing.min(input.len() - pass.at);
                self.passing -= step;
                pass.at += step;
            }
            let Some(header) = frame::header(&input[pass.at..], Sender::Server)? else { break };
            let available = input.len() - pass.at;
            if header.total_len <= available {
                let body = &input[pass.at + frame::HEADER_LEN..pass.at + header.total_len];
                // An end that came behind a complete answer is no part of it: whoever asks next hears of it.
                if header.tag == tag::ERROR_RESPONSE && pass.at > 0 && self.owes_nothing() {
                    break;
                }
                self.reply(header.tag, body, header.total_len, &mut pass)?;
            } else if self.may_pass_in_parts(header.tag) {
                self.passing = header.total_len - available;
                pass.at = input.len();
                break;
            } else {
                break;
            }
        }
        Ok(pass.finish())
    }

    fn may_pass_in_parts(&self, tag: u8) -> bool {
        matches!(tag, tag::DATA_ROW | tag::COPY_DATA | tag::FUNCTION_CALL_RESPONSE)
            && self.asker() == Asker::Client
            && !self.gives_numbered_rows()
    }

    /// Who asked for the reply that comes next.
    fn asker(&self) -> Asker {
        match self.entries.front() {
            Some(
                Entry::Query(asker)
                | Entry::Parse(asker, _)
                | Entry::Describe(asker, _)
                | Entry::Close(asker)
                | Entry::Sync(asker),
            ) => *asker,
            Some(Entry::GiveUp | Entry::Evict(_)) => Asker::Weir,
            Some(
                Entry::Step
                | Entry::Bind(_)
                | Entry::Execute(_)
                | Entry::ParseElided(_)
                | Entry::Insert(_)
                | Entry::Refuse(_),
            )
            | None => Asker::Client,
        }
    }

    fn reply(&mut self, tag: u8, body: &[u8], len: usize, pass: &mut Pass<'_>) -> Result<()> {
        let asker = self.asker();
        match tag {
            tag::PARAMETER_DESCRIPTION | tag::ROW_DESCRIPTION | tag::NO_DATA => {
                self.description(tag, body, len, asker, pass)?;
            }
            tag::DATA_ROW if self.gives_numbered_rows() => self.numbered_row(body, len, pass)?,
            tag::DATA_ROW
            | tag::COPY_DATA
            | tag::COMMAND_COMPLETE
            | tag::EMPTY_QUERY_RESPONSE
            | tag::PORTAL_SUSPENDED
            | tag::COPY_DONE
            | tag::FUNCTION_CALL_RESPONSE
            | tag::NOTICE_RESPONSE => pass.show(len, asker),
            tag::NOTIFICATION_RESPONSE => {
                let waits = self.entries.is_empty() && self.status == TransactionStatus::Idle;
                let arrival = if waits { Arrival::AtOnce } else { Arrival::Kept };
                self.notifications.pass(arrival, body, len, pass)?;
            }
            tag::COPY_IN_RESPONSE => self.begin_copy(Copying::In, len, pass),
            tag::COPY_OUT_RESPONSE => self.begin_copy(Copying::Out, len, pass),
            tag::COPY_BOTH_RESPONSE => self.begin_copy(Copying::Both, len, pass),
            tag::PARSE_COMPLETE | tag::BIND_COMPLETE | tag::CLOSE_COMPLETE => pass.show(len, asker),
            tag::PARAMETER_STATUS => self.parameter(body, len, pass)?,
            tag::ERROR_RESPONSE => return self.error(body, len, asker, pass),
            tag::READY_FOR_QUERY => return self.ready(body, len, pass),
            other => return Err(unexpected(other)),
        }
        self.settle(tag, pass)
    }

    /// Strikes off the first entry when `tag` is the reply that settles it.
    fn settle(&mut self, tag: u8, pass: &mut Pass<'_>) -> Result<()> {
        let settled = match (self.entries.front(), tag) {
            (Some(Entry::Parse(_, gives)), tag::PARSE_COMPLETE) => {
                if gives.name.is_some() {
                    self.events.push(Event::Prepared(gives.clone()));
                }
                true
            }
            (Some(Entry::Bind(_)), tag::BIND_COMPLETE)
            | (Some(Entry::Describe(..)), tag::ROW_DESCRIPTION | tag::NO_DATA) => {
                self.withholds &= self.asker() == Asker::Weir;
                true
            }
            (Some(Entry::Close(_) | Entry::Evict(_)), tag::CLOSE_COMPLETE) => true,
            (Some(Entry::Execute(_)), tag::COMMAND_COMPLETE | tag::EMPTY_QUERY_RESPONSE | tag::PORTAL_SUSPENDED) => {
                self.complete_statement();
                true
            }
            (Some(Entry::Query(_) | Entry::Step), tag::COMMAND_COMPLETE) => {
                self.complete_statement();
                false
            }
            (_, tag::PARSE_COMPLETE | tag::BIND_COMPLETE | tag::CLOSE_COMPLETE) => return Err(unexpected(tag)),
            _ => false,
        };
        if settled {
            self.entries.pop_front();
            self.insert_ready(pass);
        }
        Ok(())
    }

    fn description(&mut self, tag: u8, body: &[u8], len: usize, asker: Asker, pass: &mut Pass<'_>) -> Result<()> {
        let translated = self.translate_description(tag, body)?;
        let body = translated.as_deref().unwrap_or(body);
        self.look(tag, body)?;
        let is_withheld = tag == tag::PARAMETER_DESCRIPTION && self.withholds && asker == Asker::Client;
        if is_withheld {
            backend::message(&mut self.withheld, tag, |message| message.extend_from_slice(body));
            pass.show(len, Asker::Weir);
            return Ok(());
        }
        self.give_withheld(pass);
        if translated.is_none() || asker == Asker::Weir {
            pass.show(len, asker);
            return Ok(());
        }
        pass.show(len, Asker::Weir);
        pass.insert_with(|out| backend::message(out, tag, |message| message.extend_from_slice(body)));
        Ok(())
    }

    /// Compares a statement's description with what it was.
    fn look(&mut self, tag: u8, body: &[u8]) -> Result<()> {
        let Some(Entry::Describe(_, Some(look))) = self.entries.front() else { return Ok(()) };
        if tag == tag::PARAMETER_DESCRIPTION {
            self.parameter_types = shape::read_parameter_types(body)?;
            return Ok(());
        }
        let parameter_types = std::mem::take(&mut self.parameter_types);
        let columns = (tag == tag::ROW_DESCRIPTION).then_some(body);
        let shape = Shape::read(&parameter_types, columns)?;
        if look.expected != Some(shape) {
            let column_types = columns.map(shape::read_column_types).transpose()?.unwrap_or_default();
            self.events.push(Event::Described(look.clone(), Described { shape, parameter_types, column_types }));
        }
        Ok(())
    }

    fn complete_statement(&mut self) {
        self.copying = Copying::No;
        self.sync_in_doubt = false;
        self.completed = true;
    }

    fn begin_copy(&mut self, copying: Copying, len: usize, pass: &mut Pass<'_>) {
        self.copying = copying;
        pass.show(len, Asker::Client);
        if copying == Copying::In && matches!(self.entries.front(), Some(Entry::Execute(_))) {
            let owed = self.entries.len();
            self.entries.retain(|entry| !matches!(entry, Entry::Sync(_)));
            if self.entries.len() < owed {
                self.batch = Batch::Used;
                self.sync_in_doubt = true;
                self.events.push(Event::SyncIgnored);
            }
        }
    }

    /// A report that a query of Weir's own brings about says nothing new to the client, or is told in the end.
    fn parameter(&mut self, body: &[u8], len: usize, pass: &mut Pass<'_>) -> Result<()> {
        let (name, value) = backend::read_parameter_status(body)?;
        self.events.push(match self.asker() {
            Asker::Client => Event::Parameter { name: name.to_vec(), value: value.to_vec() },
            Asker::Weir => Event::OwnParameter { name: name.to_vec(), value: value.to_vec() },
        });
        pass.show(len, self.asker());
        Ok(())
    }

    fn error(&mut self, body: &[u8], len: usize, asker: Asker, pass: &mut Pass<'_>) -> Result<()> {
        let fields = ErrorFields::read(body)?;
        if fields.is_fatal() {
            self.events.push(Event::Fatal(Bytes::copy_from_slice(body)));
            pass.show(len, Asker::Weir);
            return Ok(());
        }
        let event = match (self.entries.front(), asker) {
            (Some(Entry::GiveUp), _) => None,
            (Some(Entry::Parse(Asker::Weir, _) | Entry::Describe(Asker::Weir, _)), _) => {
                Some(Event::PrepareError(Bytes::copy_from_slice(body)))
            }
            (_, Asker::Client) => Some(Event::ClientError(self.attempt(&fields))),
            (_, Asker::Weir) => Some(Event::OwnError(Bytes::copy_from_slice(body))),
        };
        if let Some(statement) = self.doubted(&fields) {
            self.events.push(Event::Doubted(statement));
            if asker == Asker::Client && std::mem::take(&mut self.withholds) {
                self.withhold_error(len, pass);
                return Ok(());
            }
        }
        self.give_withheld(pass);
        self.events.extend(event);
        match self.entries.front() {
            // What Weir prepares fails on the client's behalf: its Bind cannot run, and the reason is this error.
            Some(Entry::Parse(..) | Entry::Describe(..)) => pass.show(len, Asker::Client),
            Some(Entry::Refuse(bytes)) => {
                pass.show(len, Asker::Weir);
                pass.insert(bytes);
            }
            _ => match self.instead_of(&fields) {
                Some(message) => {
                    pass.show(len, Asker::Weir);
                    pass.insert(&message);
                }
                None => pass.show(len, asker),
            },
        }
        // An error with a line of the COPY's data: the server has read data, and so the Sync in front of it.
        if fields.get(b'W').is_some_and(|context| context.lines().any(|line| line.starts_with("COPY "))) {
            self.sync_in_doubt = false;
        }
        self.copying = Copying::No;
        self.cancel_to_sync();
        Ok(())
    }

    /// The statement that a server does not bind or describe because of a name or a type: the schema changed.
    fn doubted(&self, fields: &ErrorFields<'_>) -> Option<StatementId> {
        let is_about_schema = fields.sqlstate().is_some_and(|code| code.starts_with("42") || code == "0A000");
        match self.entries.front() {
            Some(Entry::Bind(statement)) if is_about_schema => Some(*statement),
            Some(Entry::Describe(_, Some(look))) if is_about_schema => Some(look.statement),
            _ => None,
        }
    }

    fn give_withheld(&mut self, pass: &mut Pass<'_>) {
        if !self.withheld.is_empty() {
            pass.insert(&std::mem::take(&mut self.withheld));
        }
    }

    fn withhold_error(&mut self, len: usize, pass: &mut Pass<'_>) {
        pass.show(len, Asker::Weir);
        self.withheld.clear();
        self.cancel_to_sync();
        if let Some(Entry::Sync(asker)) = self.entries.front_mut() {
            *asker = Asker::Weir;
        }
        self.events.push(Event::Withheld);
    }

    /// PostgreSQL tells a place in the client's text (P, without W and q) when it refuses the text, before it runs any
    /// of it. Statements in front may have been completed.
    fn attempt(&self, fields: &ErrorFields<'_>) -> Attempt {
        let is_about_text = fields.get(b'P').is_some() && fields.get(b'W').is_none() && fields.get(b'q').is_none();
        let is_syntax_or_name = fields.sqlstate().is_some_and(|code| code.starts_with("42"));
        if is_about_text && is_syntax_or_name && !self.completed { Attempt::Refused } else { Attempt::Ran }
    }

    /// After an error in the extended protocol the server ignores everything up to Sync.
    fn cancel_to_sync(&mut self) {
        if matches!(self.entries.front(), None | Some(Entry::Query(_) | Entry::Step)) {
            return;
        }
        let sync = self.entries.iter().position(|entry| matches!(entry, Entry::Sync(_)));
        self.skipping = sync.is_none();
        // The last one first: what was put in and taken out again is then as it was before.
        for entry in self.entries.drain(..sync.unwrap_or(self.entries.len())).rev() {
            match entry {
                Entry::Parse(_, gives) => self.events.push(Event::NotPrepared(gives)),
                Entry::ParseElided(Gives { name, .. }) => {
                    self.events.push(Event::NotPrepared(Gives { statement: None, name }));
                }
                Entry::Evict(statement) => self.events.push(Event::NotEvicted(statement)),
                _ => {}
            }
        }
    }

    fn ready(&mut self, body: &[u8], len: usize, pass: &mut Pass<'_>) -> Result<()> {
        self.status = backend::read_ready_for_query(body).ok_or_else(|| unexpected(tag::READY_FOR_QUERY))?;
        self.copying = Copying::No;
        self.completed = false;
        self.withholds &= self.asker() == Asker::Weir;
        match self.entries.pop_front() {
            Some(Entry::Query(Asker::Client) | Entry::Sync(Asker::Client)) => self.show_ready(len, pass),
            Some(Entry::Query(Asker::Weir) | Entry::Sync(Asker::Weir)) => pass.show(len, Asker::Weir),
            Some(Entry::Step) => pass.show(len, Asker::Weir),
            None if self.sync_in_doubt && self.skipping => {
                (self.sync_in_doubt, self.skipping, self.batch) = (false, false, Batch::Ended);
                self.events.push(Event::SyncCounted);
                self.show_ready(len, pass);
            }
            _ => return Err(unexpected(tag::READY_FOR_QUERY)),
        }
        if self.entries.is_empty() && self.status == TransactionStatus::Idle {
            self.notifications.answered();
        }
        self.insert_ready(pass);
        Ok(())
    }

    fn show_ready(&mut self, len: usize, pass: &mut Pass<'_>) {
        if self.holds_ready {
            self.held_ready = Some(self.status);
            pass.show(len, Asker::Weir);
        } else {
            pass.show(len, Asker::Client);
        }
    }

    /// Gives the client what was to be inserted and has come to stand first.
    fn insert_ready(&mut self, pass: &mut Pass<'_>) {
        loop {
            match self.entries.front() {
                Some(Entry::Insert(bytes)) => pass.insert(bytes),
                Some(Entry::ParseElided(_)) => pass.insert(PARSE_COMPLETE),
                _ => return,
            }
            self.entries.pop_front();
        }
    }

    /// The client sent CopyDone or CopyFail: the server waits for no more data.
    pub fn copy_ended_by_client(&mut self) {
        if self.copying == Copying::In {
            self.copying = Copying::No;
        }
    }
}

/// ParseComplete as bytes.
const PARSE_COMPLETE: &[u8] = &[tag::PARSE_COMPLETE, 0, 0, 0, 4];

fn unexpected(tag: u8) -> Error {
    Error::new(Origin::Weir, Kind::ServerLost, format!("unexpected message type {:?} from a server", tag as char))
        .detail("The server's connection is closed.")
}
