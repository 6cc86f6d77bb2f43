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
