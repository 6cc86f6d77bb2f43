//! Requests for servers whose OIDs are not those that clients know.

use std::borrow::Cow;

use super::ledger::NumberedColumns;
use super::statements::Prepared;
use crate::types::{Error, Result};
use crate::wire::frontend::{self, Bind, Format};
use crate::wire::oids::{FIRST_NORMAL_OID, Translation};
use crate::wire::reader::Reader;

/// A statement's definition in the numbers of a server.
///
/// # Errors
/// Refuses a type that the server does not have.
pub fn definition<'d>(translation: &Translation, definition: Cow<'d, [u8]>) -> Result<Cow<'d, [u8]>> {
    let mut reader = Reader::new(&definition);
    let _text = reader.cstr()?;
    let types: Vec<u32> = (0..reader.count()?).map(|_| reader.u32()).collect::<Result<_>>()?;
    if types.iter().all(|oid| *oid < FIRST_NORMAL_OID) {
        return Ok(definition);
    }
    let own: Vec<u32> = types.iter().map(|oid| translation.to_shard().type_oid(*oid)).collect::<Result<_>>()?;
    Ok(Cow::Owned(frontend::redefined(&definition, own.into_iter()).to_vec()))
}

/// Whether the types of a statement must be asked for, since a Bind has values in binary format of types that nobody told:
/// there may be OIDs in them.
pub fn must_ask(prepared: &Prepared, bind: &Bind<'_>) -> Result<bool> {
    let values = bind.values()?;
    let is_open = |(at, (format, value)): (usize, &frontend::Value<'_>)| {
        *format == Format::Binary && value.is_some() && prepared.parameter_type(at).is_none()
    };
    let wants_binary = bind.result_formats.contains(&Format::Binary);
    Ok(wants_binary && prepared.column_types().is_none() || values.iter().enumerate().any(is_open))
}

/// The arguments of a Bind in the numbers of a server.
///
/// # Errors
/// Refuses what the server does not have, and a binary value of a type that is not known.
pub fn arguments<'b>(translation: &Translation, prepared: &Prepared, bind: &Bind<'b>) -> Result<Cow<'b, [u8]>> {
    let values = bind.values()?;
    if values.iter().all(|(format, value)| *format == Format::Text || value.is_none()) {
        return Ok(Cow::Borrowed(bind.arguments));
    }
    let type_of = |(at, (format, value)): (usize, &frontend::Value<'_>)| match prepared.parameter_type(at) {
        Some(oid) => Ok(oid),
        None if *format == Format::Text || value.is_none() => Ok(0),
        None => Err(undeclared(at)),
    };
    let types: Vec<u32> = values.iter().enumerate().map(type_of).collect::<Result<_>>()?;
    let direction = translation.to_shard();
    if !types.iter().any(|oid| direction.is_numbered(*oid)) {
        return Ok(Cow::Borrowed(bind.arguments));
    }
    let mut arguments = bind.arguments.to_vec();
    direction.bind_arguments(&types, &mut arguments)?;
    Ok(Cow::Owned(arguments))
}

/// The columns that a Bind asks for in binary format and that have OIDs in their values.
///
/// # Errors
/// Refuses a type that the server does not have, and columns of types that are not known.
pub fn columns(translation: &Translation, prepared: &Prepared, bind: &Bind<'_>) -> Result<Option<NumberedColumns>> {
    if !bind.result_formats.contains(&Format::Binary) {
        return Ok(None);
    }
    let types = prepared.column_types().ok_or_else(|| Error::internal("the columns of a statement are not known"))?;
    let is_binary = |place: usize| match bind.result_formats.as_slice() {
        [all] => *all == Format::Binary,
        each => each.get(place) == Some(&Format::Binary),
    };
    let mut columns = Vec::new();
    for (place, oid) in types.iter().enumerate().filter(|(place, _)| is_binary(*place)) {
        let own = translation.to_shard().type_oid(*oid)?;
        if translation.to_home().is_numbered(own) {
            columns.push((place, own));
        }
    }
    Ok(if columns.is_empty() { None } else { Some(columns.into()) })
}

fn undeclared(at: usize) -> Error {
    Error::refuse(
        format!("cannot tell the type of parameter ${}", at + 1),
        "Its value is in binary format, and OIDs in it may differ from shard to shard.",
    )
    .hint("Declare the parameter's type, or send the value in text format.")
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;
    use std::sync::Arc;

    use bytes::BytesMut;

    use super::*;
    use crate::session::ledger::Event;
    use crate::session::request::ServerSession;
    use crate::session::shape::Shape;
    use crate::session::statements::{Described, Standing};
    use crate::wire::backend;
    use crate::wire::frame::{self, Sender};
    use crate::wire::oids::{Form, Numbered, Type};

    const HOME: u32 = 20_000;
    const SHARD: u32 = 30_000;

    fn session() -> ServerSession {
        let numbered = |first| Numbered {
            types: vec![
                Type { name: "s.mood".into(), oid: first, form: Form::Plain },
                Type { name: "s.mood[]".into(), oid: first + 1, form: Form::Array(first) },
            ],
            relations: Vec::new(),
        };
        let mut more = numbered(HOME);
        more.types.push(Type { name: "s.own".into(), oid: HOME + 2, form: Form::Plain });
        let translation = Translation::between(&more, &numbered(SHARD), "two").unwrap();
        let mut session = ServerSession::new(10);
        session.set_translation(Some(&Arc::new(translation)));
        session
    }

    fn statement(declared: &[u32]) -> Prepared {
        let definition = frontend::definition("SELECT 1", declared).freeze();
        Prepared { definition, parameter_types: declared.to_vec(), ..Prepared::sample(1) }
    }

    fn described(parameters: &[u32], columns: &[u32]) -> Rc<Standing> {
        let shape = Shape::read(parameters, None).unwrap();
        let standing = Standing::default();
        standing.learn(Described { shape, parameter_types: parameters.into(), column_types: columns.into() });
        Rc::new(standing)
    }

    /// The bodies of the messages of one type.
    fn bodies(out: &BytesMut, tag: u8) -> Vec<Vec<u8>> {
        let (mut found, mut rest) = (Vec::new(), &out[..]);
        while let Some(frame) = frame::first(rest, Sender::Client).unwrap() {
            rest = &rest[frame.raw.len()..];
            if frame.tag == tag {
                found.push(frame.body.to_vec());
            }
        }
        found
    }

    fn moods(element: u32) -> Vec<u8> {
        [1, 0, element, 1, 1, 2].into_iter().flat_map(u32::to_be_bytes).chain(*b"ok").collect()
    }

    /// One binary value, results in this format.
    fn arguments(value: &[u8], result: u8) -> Vec<u8> {
        [&[0, 1, 0, 1, 0, 1][..], &u32::try_from(value.len()).unwrap().to_be_bytes(), value, &[0, 1, 0, result]]
            .concat()
    }

    #[test]
    fn a_statement_is_prepared_with_the_servers_numbers() {
        for (declared, sent) in
            [(vec![23, HOME + 1], vec![23, SHARD + 1]), (vec![0, 23], vec![0, 23]), (vec![], vec![])]
        {
            let (mut session, mut out) = (session(), BytesMut::new());
            let _parsed = session.parse(&mut out, b"", &statement(&declared));
            assert_eq!(bodies(&out, b'P'), [[&[0][..], &frontend::definition("SELECT 1", &sent)].concat()]);
        }
        // What was once inferred stays, in the numbers of whichever server.
        let (mut session, mut out) = (session(), BytesMut::new());
        let inferred = Prepared { standing: described(&[HOME], &[]), ..statement(&[]) };
        session.bind(&mut out, b"", b"", &inferred, &arguments(b"ok", 0));
        assert_eq!(bodies(&out, b'P'), [[&[0][..], &frontend::definition("SELECT 1", &[SHARD])].concat()]);
    }

    #[test]
    fn a_type_that_the_server_lacks_is_refused_in_its_place() {
        let (mut session, mut out) = (session(), BytesMut::new());
        let _parsed = session.parse(&mut out, b"s", &statement(&[HOME + 2]));
        session.sync(&mut out);
        assert!(bodies(&out, b'P').is_empty(), "nothing is prepared");
        let (mut reply, mut seen) = (BytesMut::new(), BytesMut::new());
        backend::error_response(&mut reply, backend::Severity::Error, &Error::internal("no such statement"));
        backend::ready_for_query(&mut reply, crate::wire::TransactionStatus::Idle);
        session.ledger.scan(&reply, &mut seen).unwrap();
        assert!(String::from_utf8_lossy(&seen).contains("cannot translate type s.own of the home shard"), "{seen:?}");
        let events = session.ledger.take_events();
        let is_forgotten =
            |event: &Event| matches!(event, Event::NotPrepared(gives) if gives.name.as_deref() == Some(b"s"));
        assert!(events.iter().any(is_forgotten), "{events:?}");
    }

    #[test]
    fn binary_values_get_the_servers_numbers_and_rows_are_marked() {
        let known = Prepared { standing: described(&[HOME + 1], &[25, HOME + 1]), ..statement(&[0]) };
        let (mut session, mut out) = (session(), BytesMut::new());
        assert!(!session.must_ask(&known, &arguments(&moods(HOME), 1)).unwrap());
        session.bind(&mut out, b"p", b"", &known, &arguments(&moods(HOME), 1));
        session.execute(&mut out, b"p", b"");
        session.execute(&mut out, b"q", b"");
        assert_eq!(bodies(&out, b'B'), [[b"p\0\0", &arguments(&moods(SHARD), 1)[..]].concat()]);
        let mut row = BytesMut::new();
        backend::data_row(&mut row, [None, Some(&moods(SHARD)[..])].into_iter());
        let mut replies = BytesMut::new();
        for tag in [b'1', b'2'] {
            backend::bare(&mut replies, tag);
        }
        replies.extend_from_slice(&row);
        backend::command_complete(&mut replies, "SELECT 1");
        replies.extend_from_slice(&row);
        let mut seen = BytesMut::new();
        session.ledger.scan(&replies, &mut seen).unwrap();
        let mut translated = BytesMut::new();
        backend::data_row(&mut translated, [None, Some(&moods(HOME)[..])].into_iter());
        let count = |wanted: &[u8]| seen.windows(wanted.len()).filter(|window| *window == wanted).count();
        assert_eq!((count(&translated), count(&row)), (1, 1), "the other portal's rows are as they were");
    }

    #[test]
    fn types_that_nobody_told_are_asked_for() {
        let session = session();
        let arrays = described(&[HOME + 1], &[HOME + 1]);
        for (declared, standing, result, asks) in [
            (vec![], None, 0, true),
            (vec![0], None, 0, true),
            (vec![705], None, 0, true),
            (vec![HOME], None, 0, false),
            (vec![HOME], None, 1, true),
            (vec![], Some(Rc::clone(&arrays)), 1, false),
            (vec![HOME], Some(arrays), 1, false),
        ] {
            let statement = Prepared { standing: standing.unwrap_or_default(), ..statement(&declared) };
            assert_eq!(session.must_ask(&statement, &arguments(b"ok", result)).unwrap(), asks, "{declared:?} {result}");
        }
        let in_text = [0, 0, 0, 1, 0, 0, 0, 1, b'x', 0, 0];
        assert!(!session.must_ask(&statement(&[]), &in_text).unwrap(), "text has no numbers");
        assert!(
            !ServerSession::new(1).must_ask(&statement(&[]), &arguments(b"ok", 1)).unwrap(),
            "nothing to translate"
        );
    }
}
