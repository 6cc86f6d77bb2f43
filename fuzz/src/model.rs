//! A PostgreSQL server as far as the protocol goes: which reply follows which message. What a statement does is written
//! in its text, so that the same statement does the same on every server.
//!
//! The first byte of a text decides: `!` cannot be parsed, `x` fails when it runs, `<` copies in, `>` copies out, any
//! other gives a row. An Execute's row limit of 1 suspends its portal.

use std::collections::HashMap;

use bytes::{BufMut, BytesMut};
use weir::wire::TransactionStatus;
use weir::wire::backend;
use weir::wire::frame::{self, Sender};
use weir::wire::frontend::{Bind, Parse, Target, query_text, tag};

/// The state of one session.
#[derive(Debug, Default)]
pub struct Model {
    statements: HashMap<Vec<u8>, Vec<u8>>,
    /// The unnamed portal's text.
    portal: Option<Vec<u8>>,
    copying: Option<Copying>,
    skipping: bool,
}

/// A COPY from the client is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Copying {
    Simple,
    Extended,
}

impl Model {
    /// Reads complete messages off `input` and appends the replies; gives what was used.
    pub fn serve(&mut self, input: &[u8], out: &mut BytesMut) -> usize {
        let mut at = 0;
        while let Some(found) = frame::first(&input[at..], Sender::Client).expect("Weir writes well-formed messages") {
            at += found.raw.len();
            self.message(found.tag, found.body, out);
        }
        at
    }

    /// Whether the session waits for CopyData.
    pub fn is_copying(&self) -> bool {
        self.copying.is_some()
    }

    /// The text behind a statement's name.
    pub fn text(&self, name: &[u8]) -> Option<&[u8]> {
        self.statements.get(name).map(Vec::as_slice)
    }

    fn message(&mut self, message: u8, body: &[u8], out: &mut BytesMut) {
        if self.copying.is_some() {
            return self.copy_message(message, out);
        }
        match message {
            tag::SYNC => {
                (self.skipping, self.portal) = (false, None);
                ready(out);
            }
            tag::COPY_DATA | tag::COPY_DONE | tag::COPY_FAIL | tag::FLUSH => {}
            _ if self.skipping => {}
            tag::QUERY => self.query(query_text(body).expect("a text"), out),
            tag::PARSE => self.parse(body, out),
            tag::BIND => self.bind(body, out),
            tag::DESCRIBE => self.describe(body, out),
            tag::EXECUTE => self.execute(body, out),
            tag::CLOSE => self.close(body, out),
            other => panic!("Weir sent {:?}", other as char),
        }
    }

    fn query(&mut self, text: &[u8], out: &mut BytesMut) {
        self.statements.remove(b"".as_slice());
        self.portal = None;
        match text.first() {
            Some(b'!' | b'x') => error(out),
            Some(b'<') => {
                self.copying = Some(Copying::Simple);
                return backend::message(out, backend::tag::COPY_IN_RESPONSE, |body| body.put_slice(&[0, 0, 0]));
            }
            Some(b'>') => copy_out(out),
            Some(_) => {
                backend::row_description(out, &[]);
                row(out, text);
                backend::command_complete(out, "SELECT 1");
            }
            None => backend::bare(out, backend::tag::EMPTY_QUERY_RESPONSE),
        }
        ready(out);
    }

    fn parse(&mut self, body: &[u8], out: &mut BytesMut) {
        let parse = Parse::read(body).expect("a Parse");
        if parse.name.is_empty() {
            self.statements.remove(b"".as_slice());
        }
        if parse.query.first() == Some(&b'!') || self.statements.contains_key(parse.name) {
            return self.fail(out);
        }
        self.statements.insert(parse.name.to_vec(), parse.query.to_vec());
        backend::bare(out, backend::tag::PARSE_COMPLETE);
    }

    fn bind(&mut self, body: &[u8], out: &mut BytesMut) {
        let (_, statement, _) = Bind::names(body).expect("a Bind");
        match self.statements.get(statement).cloned() {
            None => self.fail(out),
            text => {
                self.portal = text;
                backend::bare(out, backend::tag::BIND_COMPLETE);
            }
        }
    }

    fn describe(&mut self, body: &[u8], out: &mut BytesMut) {
        match Target::read(body).expect("a target") {
            Target::Statement(name) if self.statements.contains_key(name) => {
                backend::parameter_description(out, &[]);
                backend::row_description(out, &[]);
            }
            Target::Portal(_) if self.portal.is_some() => backend::bare(out, backend::tag::NO_DATA),
            Target::Statement(_) | Target::Portal(_) => self.fail(out),
        }
    }

    fn execute(&mut self, body: &[u8], out: &mut BytesMut) {
        let suspends = body.last() == Some(&1);
        match self.portal.clone().as_deref().map(|text| (text.first(), text)) {
            None | Some((Some(b'x'), _)) => self.fail(out),
            Some((Some(b'<'), _)) => {
                self.copying = Some(Copying::Extended);
                backend::message(out, backend::tag::COPY_IN_RESPONSE, |body| body.put_slice(&[0, 0, 0]));
            }
            Some((Some(b'>'), _)) => copy_out(out),
            Some((Some(_), text)) => {
                row(out, text);
                match suspends {
                    true => backend::bare(out, backend::tag::PORTAL_SUSPENDED),
                    false => backend::command_complete(out, "SELECT 1"),
                }
            }
            Some((None, _)) => backend::bare(out, backend::tag::EMPTY_QUERY_RESPONSE),
        }
    }

    fn close(&mut self, body: &[u8], out: &mut BytesMut) {
        match Target::read(body).expect("a target") {
            Target::Statement(name) => drop(self.statements.remove(name)),
            Target::Portal(_) => self.portal = None,
        }
        backend::bare(out, backend::tag::CLOSE_COMPLETE);
    }

    fn copy_message(&mut self, message: u8, out: &mut BytesMut) {
        match message {
            tag::COPY_DATA | tag::FLUSH | tag::SYNC => return,
            tag::COPY_DONE => backend::command_complete(out, "COPY 0"),
            tag::COPY_FAIL => {
                self.skipping = self.copying == Some(Copying::Extended);
                self.portal = None;
                error_with(out, b"WPL/pgSQL function f() line 1\nCOPY t, line 1\0");
            }
            other => panic!("Weir sent {:?} into a COPY", other as char),
        }
        if self.copying.take() == Some(Copying::Simple) {
            ready(out);
        }
    }

    /// An error in the extended protocol.
    fn fail(&mut self, out: &mut BytesMut) {
        (self.skipping, self.portal) = (true, None);
        error(out);
    }
}

fn row(out: &mut BytesMut, text: &[u8]) {
    backend::data_row(out, [Some(text)].into_iter());
}

fn copy_out(out: &mut BytesMut) {
    backend::message(out, backend::tag::COPY_OUT_RESPONSE, |body| body.put_slice(&[0, 0, 0]));
    backend::message(out, backend::tag::COPY_DATA, |body| body.put_slice(b"line\n"));
    backend::bare(out, backend::tag::COPY_DONE);
    backend::command_complete(out, "COPY 1");
}

fn error(out: &mut BytesMut) {
    error_with(out, b"");
}

fn error_with(out: &mut BytesMut, field: &[u8]) {
    backend::message(out, backend::tag::ERROR_RESPONSE, |body| {
        body.put_slice(b"SERROR\0VERROR\0C22012\0Mwrong\0");
        body.put_slice(field);
        body.put_u8(0);
    });
}

fn ready(out: &mut BytesMut) {
    backend::ready_for_query(out, TransactionStatus::Idle);
}
