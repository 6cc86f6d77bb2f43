//! Whatever a server sends: every message's reader, and a ledger that owes anything. Nothing panics.

use bytes::{Bytes, BytesMut};
use weir::session::ledger::{Asker, Entry, Gives, Ledger, Look};
use weir::session::statements::StatementId;
use weir::wire::backend::{self, Authentication, ErrorFields};
use weir::wire::frame::{self, Sender};

/// Reads the bytes as messages of a server; the first ones say what the server owes.
pub fn check(data: &[u8]) {
    bodies(data);
    let (owed, bytes) = data.split_at(data.len().min(usize::from(data.first().copied().unwrap_or(0) % 8)));
    let mut ledger = Ledger::default();
    for kind in owed {
        let _entered = ledger.enter(entry(*kind));
    }
    let _refused = feed(&mut ledger, bytes);
}

/// Every reader must cope with every body.
fn bodies(body: &[u8]) {
    if let Ok(fields) = ErrorFields::read(body) {
        let _texts = (fields.message(), fields.sqlstate(), fields.is_fatal());
    }
    if let Ok(columns) = backend::read_row_description(body) {
        assert_eq!(backend::read_row_description(&backend::row_description_body(&columns)).ok(), Some(columns));
    }
    let _read = (backend::read_data_row(body), backend::read_parameter_status(body), Authentication::read(body));
    let _read = (backend::read_backend_key_data(body), backend::read_ready_for_query(body));
}

fn entry(kind: u8) -> Entry {
    let asker = if kind & 0x80 == 0 { Asker::Client } else { Asker::Weir };
    match kind & 0x0f {
        0 | 1 => Entry::Query(asker),
        2 => Entry::Step,
        3 => Entry::Parse(asker, Gives::default()),
        4 => Entry::ParseElided(Gives::default()),
        5 | 6 => Entry::Bind(StatementId(0)),
        7 => Entry::Describe(asker, (kind & 0x40 != 0).then(look)),
        8 | 9 => Entry::Execute(None),
        10 if kind & 0x40 == 0 => Entry::Close(asker),
        10 => Entry::Evict(StatementId(0)),
        11 => Entry::Insert(Bytes::from_static(b"3\0\0\0\x04")),
        12 => Entry::Refuse(Bytes::from_static(b"E\0\0\0\x05\0")),
        13 => Entry::GiveUp,
        _ => Entry::Sync(asker),
    }
}

fn look() -> Look {
    Look { asker: Asker::Weir, statement: StatementId(0), name: Box::default(), expected: None }
}

/// Lets a ledger read the bytes, first in two pieces and then the rest of what it did not use.
fn feed(ledger: &mut Ledger, bytes: &[u8]) -> weir::types::Result<()> {
    let mut at = 0;
    for end in [bytes.len() / 2, bytes.len()] {
        let input = &bytes[at..end];
        let mut out = BytesMut::new();
        let scanned = ledger.scan(input, &mut out)?;
        assert!(scanned.consumed <= input.len());
        if let Some(shown) = scanned.verbatim {
            assert!(shown.end <= scanned.consumed && out.is_empty(), "bytes both as they are and copied");
        }
        // What is left begins with a message that is not complete, or is the server's end behind a complete answer.
        let left = frame::first(&input[scanned.consumed..], Sender::Server)?;
        let is_end = |tag| tag == backend::tag::ERROR_RESPONSE && ledger.owes_nothing();
        assert!(left.is_none_or(|frame| is_end(frame.tag)));
        at += scanned.consumed;
        ledger.take_events();
    }
    Ok(())
}
