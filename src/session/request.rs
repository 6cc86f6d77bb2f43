//! A client's requests, written for the server that gets them: statement names become the server's own, what the
//! server lacks is prepared on the way, and every request is entered in the ledger.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use hashlink::LinkedHashMap;

use super::ledger::{Asker, Entry, Event, Gives, Ledger, Look, NumberedColumns};
use super::notifiers::Notifier;
use super::numbered;
use super::parameters::Parameters;
use super::settings::Settings;
use super::shape;
use super::statements::{Made, Prepared, StatementId};
use crate::types::{Error, Result};
use crate::wire::TransactionStatus;
use crate::wire::backend::{self, Severity};
use crate::wire::frontend::{self, Bind, Target};
use crate::wire::oids::Translation;

/// A statement that no server has. Binding it makes a server's transaction fail on purpose.
pub const REFUSED_STATEMENT: &[u8] = b"weir_refused";

/// Whose values the server's session remembers for `currval()` and `lastval()`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SequenceMemory {
    #[default]
    Nobody,
    /// Those of this client's `turn`.
    Client { id: u64, turn: u32 },
    /// Those of several clients.
    Several,
}

/// Whether the server is certain to take the settings that it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Adopted {
    Surely,
    /// Its answer must be waited for.
    Perhaps,
}

/// What one server has and owes, as far as the protocol goes.
#[derive(Debug)]
pub struct ServerSession {
    pub ledger: Ledger,
    /// Statements that the server has, the least recently used first.
    prepared: LinkedHashMap<StatementId, Worth>,
    prepared_max: usize,
    /// Statements that the server has by names which clients chose, the least recently used first: SQL's PREPARE and
    /// EXECUTE know no others. They stay for as long as no other client wants the name.
    sql_names: LinkedHashMap<Box<str>, StatementId>,
    /// The unit at hand reads the list of statements: what it uses is known by the client's names alone.
    lists: bool,
    /// The definition behind the server's unnamed statement, when it is known.
    unnamed: Option<StatementId>,
    /// Portals, by their names, whose rows have OIDs of the server's in them.
    numbered: Vec<(Box<[u8]>, NumberedColumns)>,
    /// The settings that the server has.
    settings: Arc<Settings>,
    /// Custom settings that the server ever had: after RESET they read as '' where a fresh session has NULL.
    custom: Vec<String>,
    /// Temporary tables that the server keeps for statements over gathered rows, and the bytes of dead rows in them.
    pub gathered: HashMap<String, usize>,
    /// Whose values of sequences the server's session remembers.
    pub sequences: SequenceMemory,
    /// The server may listen to channels of its client's, and is to stop before anybody else gets it.
    pub listens: bool,
    /// Who may notify on the server, where clients hear that.
    pub notifier: Option<Notifier>,
    /// The run-time parameters that the server reported.
    parameters: Parameters,
}

/// What became of a client's Parse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    Sent,
    /// The server has the statement already.
    Elided,
}

/// Whether a server has what a client's name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Brought {
    Surely,
    /// Its answer must be waited for.
    Perhaps,
}

/// What a statement on a server is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Worth {
    /// It is as it was prepared first.
    True,
    /// It may be another one than its clients know: it is closed before it is prepared again.
    Doubtful,
}

impl ServerSession {
    /// A fresh server. `prepared_max` limits the statements that are kept on it.
    pub fn new(prepared_max: usize) -> Self {
        Self {
            ledger: Ledger::default(),
            prepared: LinkedHashMap::new(),
            prepared_max: prepared_max.max(1),
            sql_names: LinkedHashMap::new(),
            lists: false,
            unnamed: None,
            numbered: Vec::new(),
            settings: Arc::default(),
            custom: Vec::new(),
            listens: false,
            gathered: HashMap::new(),
            sequences: SequenceMemory::default(),
            notifier: None,
            parameters: Parameters::default(),
        }
    }

    /// Nobody notifies on the server any more, up to the next claim. Gives whether somebody could.
    pub fn end_claim(&mut self) -> bool {
        self.notifier.as_mut().is_some_and(Notifier::end)
    }

    /// Run-time parameters as the server reported them.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// Keeps what a ParameterStatus said.
    pub fn report(&mut self, name: &[u8], value: &[u8]) {
        self.parameters.report(name, value);
    }

    /// Whether a client with these settings would find nothing of another client's on the server.
    pub fn suits(&self, wanted: &Settings) -> bool {
        self.custom.iter().all(|name| wanted.get(name).is_some())
    }

    /// From now on the server's OIDs stand for those that clients know as `translation` says; `None` where they are the same.
    pub fn set_translation(&mut self, translation: Option<&Arc<Translation>>) {
        self.ledger.set_translation(translation);
        let has_no_portals = self.ledger.status() == TransactionStatus::Idle && !self.ledger.is_unsynced();
        if has_no_portals {
            self.numbered.clear();
        }
    }

    /// Brings the server to the settings that its next client wants, in front of that client's own request.
    pub fn adopt_settings(&mut self, out: &mut BytesMut, wanted: &Arc<Settings>) -> Adopted {
        if Arc::ptr_eq(&self.settings, wanted) {
            return Adopted::Surely;
        }
        let difference = self.settings.difference(wanted);
        let known = |name: &str| self.custom.iter().any(|own| own == name);
        let doubtful = !difference.is_empty() && self.settings.may_be_refused(wanted, known);
        if !difference.is_empty() {
            self.own_query(out, &difference);
        }
        self.has_settings(Arc::clone(wanted));
        if doubtful { Adopted::Perhaps } else { Adopted::Surely }
    }

    /// Whether the server has just these settings, as far as it can be seen at once.
    pub fn has_exactly(&self, wanted: &Arc<Settings>) -> bool {
        Arc::ptr_eq(&self.settings, wanted)
    }

    /// Whether the server's settings are those that it started with.
    pub fn has_no_settings(&self) -> bool {
        self.settings.is_empty()
    }

    /// The settings that the server has, as it said itself or is going to have been told.
    pub fn has_settings(&mut self, settings: Arc<Settings>) {
        for name in settings.custom_names() {
            if !self.custom.iter().any(|own| own == name) {
                self.custom.push(name.to_owned());
            }
        }
        self.settings = settings;
    }

    /// A simple Query of Weir's own; its replies stay hidden, an error in it becomes an event.
    pub fn own_query(&mut self, out: &mut BytesMut, sql: impl AsRef<[u8]>) {
        self.unnamed = None;
        if self.ledger.enter(Entry::Query(Asker::Weir)) {
            frontend::query_bytes(out, sql.as_ref());
        }
    }

    /// A client's simple Query or FunctionCall, forwarded as it is.
    pub fn query(&mut self, out: &mut BytesMut, raw: &[u8]) {
        self.unnamed = None;
        if self.ledger.enter(Entry::Query(Asker::Client)) {
            out.extend_from_slice(raw);
        }
    }

    /// The beginning of a client's Query or FunctionCall, of which `rest` bytes are to come. False when the server
    /// ignores it, and so does not get the rest.
    pub fn begin_query(&mut self, out: &mut BytesMut, head: &[u8], rest: usize) -> bool {
        self.unnamed = None;
        let entered = self.ledger.enter(Entry::Query(Asker::Client));
        if entered {
            out.extend_from_slice(head);
            self.ledger.begin_copy_data(rest);
        }
        entered
    }

    /// One of several steps of a client's simple Query: its ReadyForQuery stays hidden.
    pub fn query_step(&mut self, out: &mut BytesMut, sql: &str) {
        self.unnamed = None;
        if self.ledger.enter(Entry::Step) {
            frontend::query(out, sql);
        }
    }

    /// A client's Parse. `name` is the client's name for it, empty for the unnamed statement.
    pub fn parse(&mut self, out: &mut BytesMut, name: &[u8], prepared: &Prepared) -> Parsed {
        if name.is_empty() {
            self.parse_unnamed(out, Asker::Client, prepared);
            return Parsed::Sent;
        }
        let gives = Gives { statement: Some(prepared.id), name: Some(name.into()) };
        // In a failed transaction the server itself says so.
        let is_there = self.touch(prepared.id) || self.is_listed(name, prepared);
        if is_there && self.ledger.status() != TransactionStatus::Failed {
            let _entered = self.ledger.enter(Entry::ParseElided(gives));
            return Parsed::Elided;
        }
        self.parse_named(out, Asker::Client, gives, name, prepared);
        Parsed::Sent
    }

    /// Whether the server would have to prepare a statement whose columns clients know: then it must be compared with
    /// what they know before it runs. `name` is the client's.
    pub fn must_compare(&self, name: &[u8], prepared: &Prepared) -> bool {
        prepared.made == Made::ByParse
            && !self.has(name, prepared)
            && prepared.standing.shape().is_some_and(|shape| shape.gives_rows())
    }

    /// Whether the server has the statement as its clients know it.
    pub fn has(&self, name: &[u8], prepared: &Prepared) -> bool {
        match name {
            b"" => self.unnamed == Some(prepared.id),
            _ => self.prepared.get(&prepared.id) == Some(&Worth::True) || self.is_listed(name, prepared),
        }
    }

    /// Prepares a statement of the client's and has it compared with what clients know of it. Whether the server
    /// [has](Self::has) it then, shows when it has answered.
    pub fn prepare(&mut self, out: &mut BytesMut, name: &[u8], prepared: &Prepared) {
        let _name = self.ensure(out, name, prepared);
        if name.is_empty() {
            self.look(out, Asker::Weir, name, b"", prepared);
        }
        frontend::flush(out);
    }

    /// Has the server describe a statement of the client's, whether it has it already or not.
    pub fn ask_types(&mut self, out: &mut BytesMut, name: &[u8], prepared: &Prepared) {
        let server_name = self.ensure(out, name, prepared);
        self.look(out, Asker::Weir, name, server_name, prepared);
        frontend::flush(out);
    }

    /// The statement would give other columns than its client knows: the client reads what PostgreSQL says then.
    pub fn refuse_changed(&mut self, out: &mut BytesMut) {
        self.refuse_with(out, shape::changed_result());
    }

    /// The names that clients chose, of statements that Weir knows of.
    pub fn sql_names(&self) -> impl Iterator<Item = (&str, StatementId)> {
        self.sql_names.iter().map(|(name, id)| (&**name, *id))
    }

    /// Brings the server to what a client's name stands for: that statement, or none.
    pub fn bring(&mut self, out: &mut BytesMut, name: &str, wanted: Option<&Prepared>) -> Brought {
        let has = self.sql_names.to_back(name).copied();
        if has.is_some() && has == wanted.map(|prepared| prepared.id) {
            return Brought::Surely;
        }
        let mut taken = has.is_some() && self.take_name(out, name);
        while self.sql_names.len() >= self.prepared_max {
            let Some(oldest) = self.sql_names.front().map(|(name, _)| name.clone()) else { break };
            taken |= self.take_name(out, &oldest);
        }
        let Some(wanted) = wanted else {
            if taken {
                self.own_sync(out);
            }
            return Brought::Surely;
        };
        // Whatever it stands for there, the name is free.
        self.take_name(out, name);
        match (wanted.made, wanted.text.as_deref()) {
            (Made::BySql, Some(text)) => {
                self.own_sync(out);
                self.own_query(out, text);
            }
            _ => {
                if self.ledger.enter(Entry::Parse(Asker::Weir, Gives::default())) {
                    frontend::parse(out, name.as_bytes(), &wanted.settled_definition());
                }
                self.own_sync(out);
            }
        }
        Brought::Perhaps
    }

    /// The server has the statement by that name now.
    pub fn has_name(&mut self, name: &str, id: StatementId) {
        self.sql_names.insert(name.into(), id);
    }

    /// The server has no statement by that name any more.
    pub fn lost_name(&mut self, name: &str) {
        self.sql_names.remove(name);
    }

    /// A unit begins.
    pub fn begin_unit(&mut self) {
        self.lists = false;
    }

    /// Whether the server knows the statement by the client's name.
    pub fn knows_name(&self, name: &str, id: StatementId) -> bool {
        self.sql_names.get(name) == Some(&id)
    }

    /// Closes all statements that the server knows by names of Weir's, so that the unit does not see them.
    pub fn close_own(&mut self, out: &mut BytesMut) {
        self.lists = true;
        if self.prepared.is_empty() {
            return;
        }
        while let Some((&oldest, _)) = self.prepared.front() {
            if !self.evict(out, oldest) {
                return;
            }
        }
        self.own_sync(out);
    }

    fn is_listed(&self, name: &[u8], prepared: &Prepared) -> bool {
        self.lists && std::str::from_utf8(name).is_ok_and(|name| self.knows_name(name, prepared.id))
    }

    /// Closes what the name stands for on the server.
    fn take_name(&mut self, out: &mut BytesMut, name: &str) -> bool {
        self.sql_names.remove(name);
        let entered = self.ledger.enter(Entry::Close(Asker::Weir));
        if entered {
            frontend::close(out, Target::Statement(name.as_bytes()));
        }
        entered
    }

    /// Ends what is open of a batch; the client does not see it.
    pub fn own_sync(&mut self, out: &mut BytesMut) {
        if self.ledger.enter(Entry::Sync(Asker::Weir)) {
            frontend::sync(out);
        }
    }

    /// A client's Bind; `name` is the client's name for the statement, empty for the unnamed one.
    pub fn bind(&mut self, out: &mut BytesMut, portal: &[u8], name: &[u8], prepared: &Prepared, arguments: &[u8]) {
        let statement = self.ensure(out, name, prepared);
        let arguments = match self.number_bind(portal, prepared, arguments) {
            Ok(arguments) => arguments,
            Err(error) => return self.refuse(out, &error),
        };
        if self.ledger.enter(Entry::Bind(prepared.id)) {
            frontend::bind(out, portal, statement, &arguments);
        }
    }

    /// Whether the server must have told the types of a statement before it gets a Bind with these arguments.
    pub fn must_ask(&self, prepared: &Prepared, arguments: &[u8]) -> Result<bool> {
        match self.ledger.translation() {
            None => Ok(false),
            Some(_) => numbered::must_ask(prepared, &Bind::of(b"", b"", arguments)?),
        }
    }

    /// The arguments of a Bind with the server's own OIDs. Keeps in mind what the portal's rows have of those.
    fn number_bind<'b>(&mut self, portal: &[u8], prepared: &Prepared, arguments: &'b [u8]) -> Result<Cow<'b, [u8]>> {
        let Some(translation) = self.ledger.translation().filter(|_| !self.ledger.is_skipping()) else {
            return Ok(Cow::Borrowed(arguments));
        };
        let bind = Bind::of(b"", b"", arguments)?;
        let columns = numbered::columns(translation, prepared, &bind)?;
        let arguments = numbered::arguments(translation, prepared, &bind)?;
        self.numbered.retain(|(known, _)| **known != *portal);
        self.numbered.extend(columns.map(|columns| (portal.into(), columns)));
        Ok(arguments)
    }

    /// The beginning of a client's Bind, of whose arguments `rest` bytes are to come. False when the server ignores it,
    /// and so does not get the rest.
    pub fn begin_bind(
        &mut self,
        out: &mut BytesMut,
        portal: &[u8],
        name: &[u8],
        prepared: &Prepared,
        arguments: &[u8],
        rest: usize,
    ) -> bool {
        let statement = self.ensure(out, name, prepared);
        let entered = self.ledger.enter(Entry::Bind(prepared.id));
        if entered {
            frontend::begin_bind(out, portal, statement, arguments, rest);
            self.ledger.begin_copy_data(rest);
        }
        entered
    }

    /// A client's Describe of a statement.
    pub fn describe_statement(&mut self, out: &mut BytesMut, name: &[u8], prepared: &Prepared) {
        let statement = self.ensure(out, name, prepared);
        let look = look(Asker::Client, name, prepared);
        if self.ledger.enter(Entry::Describe(Asker::Client, Some(look))) {
            frontend::describe(out, Target::Statement(statement));
        }
    }

    /// A client's Describe of a portal, forwarded as it is.
    pub fn describe_portal(&mut self, out: &mut BytesMut, raw: &[u8]) {
        self.forward(out, Entry::Describe(Asker::Client, None), raw);
    }

    /// A client's Execute, forwarded as it is.
    pub fn execute(&mut self, out: &mut BytesMut, portal: &[u8], raw: &[u8]) {
        let columns =
            self.numbered.iter().find(|(known, _)| **known == *portal).map(|(_, columns)| Arc::clone(columns));
        self.forward(out, Entry::Execute(columns), raw);
    }

    /// A client's Close of a portal, forwarded as it is.
    pub fn close_portal(&mut self, out: &mut BytesMut, raw: &[u8]) {
        self.forward(out, Entry::Close(Asker::Client), raw);
    }

    /// A client's Close of a statement: the server keeps it for others.
    pub fn close_statement(&mut self) {
        let mut bytes = BytesMut::new();
        backend::bare(&mut bytes, backend::tag::CLOSE_COMPLETE);
        let _entered = self.ledger.enter(Entry::Insert(bytes.freeze()));
    }

    /// A client's Sync.
    pub fn sync(&mut self, out: &mut BytesMut) {
        if self.ledger.enter(Entry::Sync(Asker::Client)) {
            frontend::sync(out);
        }
    }

    /// A client's Flush.
    pub fn flush(&mut self, out: &mut BytesMut) {
        if !self.ledger.is_empty() {
            frontend::flush(out);
        }
    }

    /// Weir refuses a request in the middle of a batch: the server is made to fail where the request would stand.
    pub fn refuse(&mut self, out: &mut BytesMut, error: &Error) {
        self.refuse_with(out, error_bytes(error));
    }

    fn refuse_with(&mut self, out: &mut BytesMut, error: Bytes) {
        if self.ledger.enter(Entry::Refuse(error)) {
            frontend::bind(out, b"", REFUSED_STATEMENT, &[0; 6]);
        }
    }

    /// Ends the batch that is open on the server. With `give_up` what it did is undone, else it is kept.
    pub fn end_batch(&mut self, out: &mut BytesMut, give_up: bool) {
        if give_up && self.ledger.enter(Entry::GiveUp) {
            frontend::bind(out, b"", REFUSED_STATEMENT, &[0; 6]);
        }
        if self.ledger.enter(Entry::Sync(Asker::Weir)) {
            frontend::sync(out);
        }
    }

    /// The server dropped all its statements (DISCARD ALL, DEALLOCATE ALL).
    pub fn forget_statements(&mut self) {
        self.prepared.clear();
        self.sql_names.clear();
        self.unnamed = None;
    }

    /// Makes the server forget values of sequences; `next` is the client that gets a clean memory.
    pub fn discard_sequences(&mut self, out: &mut BytesMut) {
        self.own_query(out, "DISCARD SEQUENCES");
        self.sequences = SequenceMemory::Nobody;
    }

    /// The server's settings went back to what it started with (DISCARD ALL).
    pub fn forget_settings(&mut self) {
        self.settings = Arc::default();
    }

    /// Takes note of an event of this server's ledger.
    pub fn note(&mut self, event: &Event) {
        match event {
            Event::NotPrepared(Gives { statement, .. }) => {
                if let Some(id) = statement {
                    self.prepared.remove(id);
                }
                self.unnamed = None;
            }
            Event::NotEvicted(id) => {
                self.prepared.insert(*id, Worth::Doubtful);
                self.prepared.to_front(id);
            }
            Event::Described(look, _) if look.expected.is_some() => self.distrust(look),
            Event::Parameter { name, value } | Event::OwnParameter { name, value } => self.report(name, value),
            Event::SyncIgnored
            | Event::SyncCounted
            | Event::Prepared(_)
            | Event::Described(..)
            | Event::Doubted(_)
            | Event::Withheld => {}
            Event::ClientError(_) | Event::OwnError(_) | Event::PrepareError(_) | Event::Fatal(_) => {
                self.unnamed = None;
            }
        }
    }

    /// The server has another statement than its clients know.
    fn distrust(&mut self, look: &Look) {
        if look.name.is_empty() && self.unnamed == Some(look.statement) {
            self.unnamed = None;
        }
        if let Some(worth) = self.prepared.get_mut(&look.statement) {
            *worth = Worth::Doubtful;
        }
    }

    /// Something replaced or destroyed the server's unnamed statement.
    pub fn unnamed_statement_lost(&mut self) {
        self.unnamed = None;
    }

    /// How many statements the server has.
    pub fn prepared_count(&self) -> usize {
        self.prepared.len()
    }

    fn forward(&mut self, out: &mut BytesMut, entry: Entry, raw: &[u8]) {
        if self.ledger.enter(entry) {
            out.extend_from_slice(raw);
        }
    }

    /// Makes sure that the server has the statement; gives the name to bind.
    fn ensure<'p>(&mut self, out: &mut BytesMut, name: &'p [u8], prepared: &'p Prepared) -> &'p [u8] {
        if prepared.made == Made::BySql || self.is_listed(name, prepared) {
            return name;
        }
        if name.is_empty() {
            if self.unnamed != Some(prepared.id) {
                self.parse_unnamed(out, Asker::Weir, prepared);
            }
            return b"";
        }
        if !self.touch(prepared.id) {
            let gives = Gives { statement: Some(prepared.id), name: None };
            self.parse_named(out, Asker::Weir, gives, name, prepared);
        }
        &prepared.server_name
    }

    /// Prepares a named statement and looks at what it takes and gives.
    fn parse_named(&mut self, out: &mut BytesMut, asker: Asker, mut gives: Gives, name: &[u8], prepared: &Prepared) {
        let definition = match self.definition(asker, prepared) {
            Ok(definition) => definition,
            Err(error) => return self.refuse_parse(out, gives, &error),
        };
        if self.prepared.contains_key(&prepared.id) && !self.evict(out, prepared.id) {
            // The server ignores all of it: it keeps the statement that it has.
            gives.statement = None;
        }
        self.make_room(out);
        if self.ledger.enter(Entry::Parse(asker, gives)) {
            frontend::parse(out, &prepared.server_name, &definition);
            self.prepared.insert(prepared.id, Worth::True);
            self.look(out, asker, name, &prepared.server_name, prepared);
        }
    }

    fn parse_unnamed(&mut self, out: &mut BytesMut, asker: Asker, prepared: &Prepared) {
        let definition = match self.definition(asker, prepared) {
            Ok(definition) => definition,
            Err(error) => return self.refuse_parse(out, Gives::default(), &error),
        };
        if self.ledger.enter(Entry::Parse(asker, Gives::default())) {
            frontend::parse(out, b"", &definition);
            self.unnamed = Some(prepared.id);
        }
    }

    /// The server does not have what a statement's definition names.
    fn refuse_parse(&mut self, out: &mut BytesMut, gives: Gives, error: &Error) {
        self.ledger.give_nothing(gives);
        self.refuse(out, error);
    }

    /// The definition to send: a client's own Parse stays as it is, what Weir prepares again is to be as it was.
    fn definition<'p>(&self, asker: Asker, prepared: &'p Prepared) -> Result<Cow<'p, [u8]>> {
        let definition = match asker {
            Asker::Client => Cow::Borrowed(&*prepared.definition),
            Asker::Weir => prepared.settled_definition(),
        };
        match self.ledger.translation() {
            None => Ok(definition),
            Some(translation) => numbered::definition(translation, definition),
        }
    }

    /// Has the server describe a statement that it has just been given; the client does not see it.
    fn look(&mut self, out: &mut BytesMut, asker: Asker, name: &[u8], server_name: &[u8], prepared: &Prepared) {
        if self.ledger.enter(Entry::Describe(Asker::Weir, Some(look(asker, name, prepared)))) {
            frontend::describe(out, Target::Statement(server_name));
        }
    }

    /// Whether the server has the statement; if so it counts as just used.
    fn touch(&mut self, id: StatementId) -> bool {
        self.prepared.to_back(&id) == Some(&mut Worth::True)
    }

    fn make_room(&mut self, out: &mut BytesMut) {
        while self.prepared.len() >= self.prepared_max {
            let Some((&oldest, _)) = self.prepared.front() else { return };
            if !self.evict(out, oldest) {
                return;
            }
        }
    }

    /// Closes a statement on the server. Gives false when the server ignores it.
    fn evict(&mut self, out: &mut BytesMut, id: StatementId) -> bool {
        let entered = self.ledger.enter(Entry::Evict(id));
        if entered {
            frontend::close(out, Target::Statement(id.server_name().as_bytes()));
            self.prepared.remove(&id);
        }
        entered
    }
}

/// What is to be found out when a statement is described.
fn look(asker: Asker, name: &[u8], prepared: &Prepared) -> Look {
    Look { asker, statement: prepared.id, name: name.into(), expected: prepared.standing.shape() }
}

/// The bytes of an ErrorResponse for one of Weir's own errors.
pub fn error_bytes(error: &Error) -> Bytes {
    let mut bytes = BytesMut::new();
    backend::error_response(&mut bytes, Severity::Error, error);
    bytes.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::frame::{self, Sender};
    use crate::wire::startup::{PROTOCOL_3_0, StartupMessage};

    /// The messages as tag and the names in them, such as `P weir_1` and `B portal weir_1`.
    fn written(out: &BytesMut) -> Vec<String> {
        let (mut messages, mut rest) = (Vec::new(), &out[..]);
        while let Some(frame) = frame::first(rest, Sender::Client).unwrap() {
            let names = match frame.tag {
                b'B' => 2,
                b'P' | b'D' | b'C' | b'Q' => 1,
                _ => 0,
            };
            let texts = frame.body.split(|byte| *byte == 0).take(names).map(String::from_utf8_lossy);
            let words = texts.filter(|text| !text.is_empty()).map(|text| format!(" {text}"));
            messages.push(format!("{}{}", frame.tag as char, words.collect::<String>()));
            rest = &rest[frame.raw.len()..];
        }
        messages
    }

    /// What `work` makes the server read.
    fn sent(session: &mut ServerSession, work: impl FnOnce(&mut ServerSession, &mut BytesMut)) -> Vec<String> {
        let mut out = BytesMut::new();
        work(session, &mut out);
        written(&out)
    }

    fn parse(session: &mut ServerSession, out: &mut BytesMut, name: &[u8], prepared: &Prepared) {
        let _parsed = session.parse(out, name, prepared);
    }

    #[test]
    fn a_statement_is_prepared_once_on_a_server() {
        let mut session = ServerSession::new(10);
        let statement = Prepared::sample(1);
        let parse = |session: &mut ServerSession, out: &mut BytesMut| parse(session, out, b"s", &statement);
        assert_eq!(sent(&mut session, parse), ["P weir_1", "D Sweir_1"]);
        assert_eq!(sent(&mut session, parse), [""; 0]);
        let bind = |session: &mut ServerSession, out: &mut BytesMut| session.bind(out, b"p", b"s", &statement, &[0; 6]);
        assert_eq!(sent(&mut session, bind), ["B p weir_1"]);
        session.forget_statements();
        assert_eq!(sent(&mut session, bind), ["P weir_1", "D Sweir_1", "B p weir_1"]);
        let describe =
            |session: &mut ServerSession, out: &mut BytesMut| session.describe_statement(out, b"s", &statement);
        assert_eq!(sent(&mut session, describe), ["D Sweir_1"]);
    }

    #[test]
    fn the_least_recently_used_statement_makes_room() {
        let mut session = ServerSession::new(2);
        let [a, b, c] = [1, 2, 3].map(Prepared::sample);
        let use_it = |session: &mut ServerSession, statement: &Prepared| {
            sent(session, |session, out| session.bind(out, b"", b"s", statement, &[0; 6]))
        };
        for statement in [&a, &b, &a] {
            use_it(&mut session, statement);
        }
        assert_eq!(use_it(&mut session, &c), ["C Sweir_2", "P weir_3", "D Sweir_3", "B weir_3"]);
        assert_eq!(use_it(&mut session, &a), ["B weir_1"]);
        assert_eq!(session.prepared_count(), 2);
    }

    #[test]
    fn a_close_that_the_server_ignored_leaves_the_statement_there() {
        let mut session = ServerSession::new(1);
        let [a, b] = [1, 2].map(Prepared::sample);
        let use_it = |session: &mut ServerSession, statement: &Prepared| {
            sent(session, |session, out| session.bind(out, b"", b"s", statement, &[0; 6]))
        };
        use_it(&mut session, &a);
        assert_eq!(use_it(&mut session, &b), ["C Sweir_1", "P weir_2", "D Sweir_2", "B weir_2"]);
        // Statement 1 is parsed; its Bind fails, and everything behind it is ignored.
        let mut answer = BytesMut::new();
        backend::bare(&mut answer, backend::tag::PARSE_COMPLETE);
        backend::error_response(&mut answer, Severity::Error, &Error::internal("wrong"));
        session.ledger.scan(&answer, &mut BytesMut::new()).unwrap();
        session.ledger.take_events().iter().for_each(|event| session.note(event));
        assert_eq!(use_it(&mut session, &b), [""; 0], "while the server ignores requests");
        sent(&mut session, ServerSession::sync);
        // Whether it is still as it was is not asked: it is prepared anew.
        assert_eq!(use_it(&mut session, &a), ["C Sweir_1", "P weir_1", "D Sweir_1", "B weir_1"]);
        assert_eq!(use_it(&mut session, &b), ["C Sweir_1", "P weir_2", "D Sweir_2", "B weir_2"]);
    }

    /// Lets a server answer the last description that it was asked for with one column of this name.
    fn describe_as(session: &mut ServerSession, before: &str, name: &str) -> Vec<Event> {
        let mut answer: BytesMut = BytesMut::new();
        before.bytes().for_each(|tag| backend::bare(&mut answer, tag));
        let column = backend::Column::of_text(name);
        backend::parameter_description(&mut answer, &[23]);
        backend::row_description(&mut answer, &[column]);
        session.ledger.scan(&answer, &mut BytesMut::new()).unwrap();
        let events = session.ledger.take_events();
        events.iter().for_each(|event| session.note(event));
        events
    }

    #[test]
    fn a_statement_that_gives_other_columns_is_not_kept() {
        let statement = Prepared::sample(1);
        let (mut first, mut second) = (ServerSession::new(10), ServerSession::new(10));
        sent(&mut first, |session, out| parse(session, out, b"s", &statement));
        let events = describe_as(&mut first, "1", "a");
        let [_, Event::Described(look, described)] = &events[..] else { panic!("{events:?}") };
        assert_eq!((look.asker, look.expected), (Asker::Client, None));
        statement.standing.learn(described.clone());
        assert!(first.has(b"s", &statement) && !first.must_compare(b"s", &statement));
        // Another server is asked first, with the types that were inferred.
        assert!(second.must_compare(b"s", &statement));
        assert_eq!(*statement.settled_definition(), *frontend::definition("SELECT 1", &[23]));
        let prepare = |session: &mut ServerSession, out: &mut BytesMut| session.prepare(out, b"s", &statement);
        assert_eq!(sent(&mut second, prepare), ["P weir_1", "D Sweir_1", "H"]);
        assert_eq!(describe_as(&mut second, "1", "a"), []);
        assert!(second.has(b"s", &statement));
        // A third has another table.
        let mut third = ServerSession::new(10);
        sent(&mut third, prepare);
        assert!(matches!(&describe_as(&mut third, "1", "b")[..], [Event::Described(..)]));
        assert!(!third.has(b"s", &statement));
        assert_eq!(sent(&mut third, prepare), ["C Sweir_1", "P weir_1", "D Sweir_1", "H"]);
    }

    #[test]
    fn a_statement_that_failed_is_prepared_again() {
        let mut session = ServerSession::new(10);
        let statement = Prepared::sample(1);
        sent(&mut session, |session, out| parse(session, out, b"s", &statement));
        session.note(&Event::NotPrepared(Gives { statement: Some(statement.id), name: None }));
        assert_eq!(session.prepared_count(), 0);
    }

    #[test]
    fn the_unnamed_statement_is_parsed_again_when_something_destroyed_it() {
        let statement = Prepared::sample(1);
        let bind = |session: &mut ServerSession, out: &mut BytesMut| session.bind(out, b"", b"", &statement, &[0; 6]);
        let destroyers: [fn(&mut ServerSession, &mut BytesMut); 6] = [
            |session, out| session.own_query(out, "SELECT 1"),
            |session, out| session.query_step(out, "SELECT 1"),
            |session, out| session.query(out, b"Q\0\0\0\x05\0"),
            |session, out| parse(session, out, b"", &Prepared::sample(2)),
            |session, _| session.unnamed_statement_lost(),
            |session, _| session.note(&Event::ClientError(crate::session::ledger::Attempt::Ran)),
        ];
        for destroy in destroyers {
            let mut session = ServerSession::new(10);
            assert_eq!(sent(&mut session, bind), ["P", "B"]);
            assert_eq!(sent(&mut session, bind), ["B"]);
            sent(&mut session, destroy);
            assert_eq!(sent(&mut session, bind), ["P", "B"]);
        }
    }

    #[test]
    fn after_an_error_only_sync_is_sent() {
        let mut session = ServerSession::new(10);
        let statement = Prepared::sample(1);
        sent(&mut session, |session, out| session.bind(out, b"", b"", &statement, &[0; 6]));
        let mut answer = BytesMut::new();
        backend::error_response(&mut answer, Severity::Error, &Error::internal("wrong"));
        session.ledger.scan(&answer, &mut BytesMut::new()).unwrap();
        let all = |session: &mut ServerSession, out: &mut BytesMut| {
            parse(session, out, b"s", &statement);
            session.bind(out, b"", b"s", &statement, &[0; 6]);
            session.describe_portal(out, b"D\0\0\0\x06P\0");
            session.execute(out, b"", b"E\0\0\0\x09\0\0\0\0\0");
            session.close_statement();
            session.close_portal(out, b"C\0\0\0\x06P\0");
            session.flush(out);
            session.sync(out);
        };
        assert_eq!(sent(&mut session, all), ["S"]);
        assert_eq!(session.prepared_count(), 0);
    }

    fn settings(options: &str) -> Arc<Settings> {
        let parameters = vec![("options".to_owned(), options.to_owned())];
        Arc::new(Settings::from_startup(&StartupMessage { protocol: PROTOCOL_3_0, parameters }).unwrap())
    }

    #[test]
    fn settings_are_sent_when_they_differ() {
        let mut session = ServerSession::new(10);
        let wanted = settings("-c work_mem=1MB");
        let adopt = |session: &mut ServerSession, out: &mut BytesMut| {
            assert_eq!(session.adopt_settings(out, &wanted), Adopted::Surely);
        };
        let sets = "Q SELECT pg_catalog.set_config('work_mem', '1MB', false);";
        assert_eq!(sent(&mut session, adopt), [sets]);
        assert_eq!(sent(&mut session, adopt), [""; 0]);
        session.forget_settings();
        assert_eq!(sent(&mut session, adopt), [sets]);
        let others = settings("");
        let adopt_others = |session: &mut ServerSession, out: &mut BytesMut| {
            assert_eq!(session.adopt_settings(out, &others), Adopted::Surely);
        };
        assert_eq!(sent(&mut session, adopt_others), ["Q RESET \"work_mem\";"]);
    }

    #[test]
    fn a_custom_setting_stays_with_those_who_have_it() {
        let mut session = ServerSession::new(10);
        assert!(session.suits(&settings("")));
        assert_eq!(session.adopt_settings(&mut BytesMut::new(), &settings("-c app.tenant=7")), Adopted::Perhaps);
        assert!(session.suits(&settings("-c app.tenant=8")));
        session.forget_settings();
        assert!(!session.suits(&settings("-c work_mem=1MB")));
    }
}
