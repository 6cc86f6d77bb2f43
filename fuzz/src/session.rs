//! The session machine: a client's requests through a [`ServerSession`] to a server, and the same requests to a server
//! without Weir. Whatever the order of requests, replies and pieces: the client sees the same, and in the end the server
//! owes nothing.

use std::rc::Rc;
use std::sync::Arc;

use bytes::{Buf, BytesMut};
use weir::session::ledger::Event;
use weir::session::request::ServerSession;
use weir::session::settings::Settings;
use weir::session::statements::{Made, Prepared, StatementId};
use weir::sql::facts::Facts;
use weir::types::Error;
use weir::wire::frame::{self, Sender};
use weir::wire::frontend::{self, Target, tag};
use weir::wire::startup::{PROTOCOL_3_0, StartupMessage};

use super::model::Model;

/// What statements do is said in [`super::model`].
const TEXTS: [&str; 8] = ["a", "b", "c", "d", "x fails", "! cannot be parsed", "< copies in", "> copies out"];

const NAMES: [&[u8]; 3] = [b"", b"one", b"two"];

/// Statements kept on the server: few, so that they make room for each other.
const PREPARED_MAX: usize = 2;

/// Every two bytes are one thing that happens.
pub fn check(data: &[u8]) {
    let mut run = Run::new();
    for step in data.chunks_exact(2) {
        run.step(step[0], step[1]);
    }
    run.end();
}

struct Run {
    session: ServerSession,
    server: Model,
    to_server: BytesMut,
    from_server: BytesMut,
    /// What the client got through Weir.
    seen: BytesMut,
    /// The server without Weir, and what it answered.
    direct: Model,
    expected: BytesMut,
    batch_open: bool,
}

impl Run {
    fn new() -> Self {
        Self {
            session: ServerSession::new(PREPARED_MAX),
            server: Model::default(),
            to_server: BytesMut::new(),
            from_server: BytesMut::new(),
            seen: BytesMut::new(),
            direct: Model::default(),
            expected: BytesMut::new(),
            batch_open: false,
        }
    }

    fn step(&mut self, kind: u8, choice: u8) {
        let name = NAMES[usize::from(choice) % NAMES.len()];
        let text = TEXTS[usize::from(choice >> 4) % TEXTS.len()];
        match kind % 16 {
            0 if !self.batch_open => self.query(text, choice),
            1 | 2 => self.parse(name, text),
            3 | 4 => self.bind(name),
            5 => self.describe_statement(name),
            6 => self.ask(|out| frontend::describe(out, Target::Portal(b"")), ServerSession::describe_portal),
            7 | 8 => self.execute(choice),
            9 => self.ask(|out| frontend::close(out, Target::Portal(b"")), ServerSession::close_portal),
            10 => self.close_statement(name),
            11 => self.session.flush(&mut self.to_server),
            12 | 13 if self.batch_open => self.sync(),
            14 => self.own_request(choice),
            _ => self.move_some(usize::from(choice)),
        }
    }

    /// A simple Query, answered before the next step.
    fn query(&mut self, text: &str, choice: u8) {
        let mut raw = BytesMut::new();
        frontend::query(&mut raw, text);
        self.session.query(&mut self.to_server, &raw);
        self.tell_direct(&raw);
        self.copy_if_asked(choice);
        self.settle();
    }

    fn parse(&mut self, name: &[u8], text: &str) {
        let statement = prepared(text);
        let known = !name.is_empty() && self.direct.text(name).is_some();
        let mut raw = BytesMut::new();
        frontend::parse(&mut raw, name, &statement.definition);
        self.begin(&raw);
        if known {
            return self.refuse();
        }
        let _parsed = self.session.parse(&mut self.to_server, name, &statement);
    }

    fn bind(&mut self, name: &[u8]) {
        let statement = self.direct.text(name).map(of_text);
        let mut raw = BytesMut::new();
        frontend::bind(&mut raw, b"", name, &[0; 6]);
        self.begin(&raw);
        match statement {
            Some(statement) => self.session.bind(&mut self.to_server, b"", name, &statement, &[0; 6]),
            None => self.refuse(),
        }
    }

    fn describe_statement(&mut self, name: &[u8]) {
        let statement = self.direct.text(name).map(of_text);
        let mut raw = BytesMut::new();
        frontend::describe(&mut raw, Target::Statement(name));
        self.begin(&raw);
        match statement {
            Some(statement) => self.session.describe_statement(&mut self.to_server, name, &statement),
            None => self.refuse(),
        }
    }

    fn close_statement(&mut self, name: &[u8]) {
        let mut raw = BytesMut::new();
        frontend::close(&mut raw, Target::Statement(name));
        self.begin(&raw);
        self.session.close_statement();
    }

    fn execute(&mut self, choice: u8) {
        let max_rows = u32::from(choice & 1);
        self.ask(|out| frontend::execute(out, b"", max_rows), |session, out, raw| session.execute(out, b"", raw));
        self.copy_if_asked(choice);
    }

    /// A request that is forwarded as it is.
    fn ask(
        &mut self,
        write: impl FnOnce(&mut BytesMut),
        forward: impl FnOnce(&mut ServerSession, &mut BytesMut, &[u8]),
    ) {
        let mut raw = BytesMut::new();
        write(&mut raw);
        self.begin(&raw);
        forward(&mut self.session, &mut self.to_server, &raw);
    }

    fn refuse(&mut self) {
        self.session.refuse(&mut self.to_server, &Error::internal("refused"));
    }

    /// A Sync; everything is answered before the next step.
    fn sync(&mut self) {
        let mut raw = BytesMut::new();
        frontend::sync(&mut raw);
        self.tell_direct(&raw);
        self.session.sync(&mut self.to_server);
        self.batch_open = false;
        self.settle();
    }

    /// The client's data, where its statement asks for it. The client may have sent a Sync already, which the server
    /// ignores.
    fn copy_if_asked(&mut self, choice: u8) {
        if !self.direct.is_copying() {
            return;
        }
        if self.batch_open && choice & 2 != 0 {
            self.session.sync(&mut self.to_server);
        }
        self.drive();
        assert!(self.session.ledger.takes_copy_data(), "the client is asked for data");
        let mut data = BytesMut::new();
        frontend::message(&mut data, tag::COPY_DATA, |body| body.extend_from_slice(b"line\n"));
        for part in [&data[..3], &data[3..]] {
            if self.session.ledger.copy_data_left() == 0 {
                self.session.ledger.begin_copy_data(data.len());
            }
            self.session.ledger.pass_copy_data(part.len());
            self.to_server.extend_from_slice(part);
        }
        let mut end = BytesMut::new();
        match choice & 4 {
            0 => frontend::message(&mut end, tag::COPY_DONE, |_| {}),
            _ => frontend::copy_fail(&mut end, "no more"),
        }
        self.session.ledger.copy_ended_by_client();
        self.to_server.extend_from_slice(&end);
        self.tell_direct(&end);
    }

    /// Weir's own work between two units, in front of the next one's bytes.
    fn own_request(&mut self, choice: u8) {
        if self.batch_open {
            return;
        }
        match choice % 3 {
            0 => self.session.own_query(&mut self.to_server, "own"),
            choice => {
                let wanted = settings(if choice == 1 { "-c work_mem=1MB" } else { "" });
                let _in_order = self.session.adopt_settings(&mut self.to_server, &wanted);
            }
        }
    }

    fn begin(&mut self, raw: &[u8]) {
        self.batch_open = true;
        self.tell_direct(raw);
    }

    fn tell_direct(&mut self, raw: &[u8]) {
        self.direct.serve(raw, &mut self.expected);
    }

    /// Moves everything until nobody has anything to say, and checks what must hold then.
    fn settle(&mut self) {
        self.drive();
        assert!(self.session.ledger.owes_nothing(), "everything is answered: {:?}", self.session.ledger);
        assert!(self.session.ledger.is_settled(), "no batch is open: {:?}", self.session.ledger);
        assert!(self.session.prepared_count() <= PREPARED_MAX);
        assert_eq!(messages(&self.seen), messages(&self.expected));
    }

    fn drive(&mut self) {
        while !self.to_server.is_empty() || !self.from_server.is_empty() {
            let before = (self.to_server.len(), self.from_server.len());
            self.move_some(usize::MAX);
            assert_ne!(before, (self.to_server.len(), self.from_server.len()), "nothing moves");
        }
    }

    /// Lets the server read some of what it was sent, and Weir some of the answer.
    fn move_some(&mut self, amount: usize) {
        let sent = self.to_server.len().min(amount.saturating_mul(4));
        let used = self.server.serve(&self.to_server[..sent], &mut self.from_server);
        self.to_server.advance(used);
        let answered = self.from_server.len().min(amount);
        let mut out = BytesMut::new();
        let scanned = self.session.ledger.scan(&self.from_server[..answered], &mut out).expect("what was asked for");
        match scanned.verbatim {
            Some(shown) => self.seen.extend_from_slice(&self.from_server[shown]),
            None => self.seen.extend_from_slice(&out),
        }
        self.from_server.advance(scanned.consumed);
        for event in self.session.ledger.take_events() {
            assert!(!matches!(event, Event::OwnError(_) | Event::Fatal(_)), "{event:?}");
            self.session.note(&event);
        }
    }

    /// The client leaves: an open batch is given up, and the server is as good as new.
    fn end(&mut self) {
        self.drive();
        if self.batch_open {
            self.session.end_batch(&mut self.to_server, true);
        }
        self.settle();
    }
}

/// The messages as they are, but for the wording of errors, and for reports of settings.
fn messages(bytes: &[u8]) -> Vec<(char, &[u8])> {
    let (mut found, mut at) = (Vec::new(), 0);
    while let Some(message) = frame::first(&bytes[at..], Sender::Server).expect("well-formed messages") {
        at += message.raw.len();
        let body = if message.tag == b'E' { &[] } else { message.body };
        found.push((message.tag as char, body));
    }
    assert_eq!(at, bytes.len(), "the client got a part of a message");
    found
}

fn prepared(text: &str) -> Prepared {
    let id = TEXTS.iter().position(|own| *own == text).expect("one of ours") as u64;
    Prepared {
        id: StatementId(id),
        made: Made::ByParse,
        server_name: StatementId(id).server_name().into_bytes(),
        definition: frontend::definition(text, &[]).freeze(),
        text: Some(text.into()),
        parameter_types: Vec::new(),
        schema_version: 0,
        facts: Arc::new(Facts::default()),
        literals: Vec::new(),
        standing: Rc::default(),
    }
}

fn of_text(text: &[u8]) -> Prepared {
    prepared(std::str::from_utf8(text).expect("one of ours"))
}

fn settings(options: &str) -> Arc<Settings> {
    let parameters = vec![("options".to_owned(), options.to_owned())];
    let startup = StartupMessage { protocol: PROTOCOL_3_0, parameters };
    Arc::new(Settings::from_startup(&startup).expect("well-formed options"))
}
