//! Reads of several shards.

use std::sync::Arc;

use super::plan::{Access, Action, Part, PartText};
use super::target::{Target, lookup};
use super::{Parameter, Request};
use crate::sql::analyze::copy_out;
use crate::sql::distribute::{Distributed, TablePlacement, distribute};
use crate::sql::facts::{Effects, RelationName};
use crate::types::{Error, Result, ShardId};
use crate::wire::frontend::Format;

/// The plan of a SELECT that needs rows of all of `shards`.
///
/// # Errors
/// A refusal when it cannot be proven that the shards' rows can be merged into one PostgreSQL's result.
pub(super) fn plan_fan(request: &Request<'_>, shards: &[ShardId]) -> Result<Action> {
    let statement = request.statement;
    if statement.effects.contains(Effects::WRITES_ROWS) {
        return Err(Error::refuse(
            "a statement that writes rows of several shards in WITH is not supported",
            format!("It concerns {} of {} shards.", shards.len(), request.map.shards().len()),
        )
        .hint("Restrict the shard key by a value."));
    }
    if request.parameters.iter().any(Parameter::names_moment) {
        return Err(Error::refuse(
            "a date or time such as 'now' cannot be a parameter of a statement for several shards",
            "Each shard could read it as a time of its own.",
        )
        .hint("Send the time itself."));
    }
    let placement = |name: &RelationName| placement(request, name);
    let row_counts = |number| row_count(request, number);
    let distributed = distribute(statement.text(request.text), request.schema, &placement, &row_counts)?;
    let text: Arc<str> = distributed.shard_text.into();
    let part = |shard: &ShardId| Part { shard: *shard, text: PartText::Rewritten(Arc::clone(&text)), ownership: None };
    let locks = statement.effects.contains(Effects::LOCKS);
    let access = if locks { Access::Primary { writes: true } } else { Access::Read };
    Ok(Action::Fan { parts: shards.iter().map(part).collect(), merge: Arc::new(distributed.merge), access })
}

/// What every shard would run for a SELECT whose rows are merged, and how they are.
///
/// # Errors
/// As [`plan_fan`].
pub(super) fn distributed(request: &Request<'_>, select: &str) -> Result<Distributed> {
    let placement = |name: &RelationName| placement(request, name);
    distribute(select, request.schema, &placement, &|number| row_count(request, number))
}

/// The plan of a COPY TO STDOUT of rows of all of `shards`.
///
/// # Errors
/// As [`plan_fan`], and the refusal of a query whose rows cannot be sent as the shards send them.
pub(super) fn plan_copy_out(request: &Request<'_>, shards: &[ShardId]) -> Result<Action> {
    let copy = copy_out(request.statement.text(request.text))?;
    let text = match &copy.query {
        None => PartText::Untouched,
        Some(query) => {
            let placement = |name: &RelationName| placement(request, name);
            let distributed = distribute(query, request.schema, &placement, &|number| row_count(request, number))?;
            if !distributed.merge.is_concatenation() {
                return Err(Error::refuse(
                    "COPY of rows of several shards must not order, limit or group them",
                    "Each shard writes its own rows in COPY's format, and Weir passes them on.",
                )
                .hint("Copy the rows as they are, or use SELECT."));
            }
            PartText::Rewritten(copy.with_query(&distributed.shard_text)?.into())
        }
    };
    let part = |shard: &ShardId| Part { shard: *shard, text: text.clone(), ownership: None };
    let (is_binary, header) = (copy.is_binary, copy.header);
    Ok(Action::CopyOut { parts: shards.iter().map(part).collect(), is_binary, header })
}

/// The number that a parameter of LIMIT or OFFSET holds; `None` for NULL.
fn row_count(request: &Request<'_>, number: i32) -> Result<Option<i64>> {
    let place = usize::try_from(number).ok().and_then(|number| number.checked_sub(1));
    let Some(parameter) = place.and_then(|place| request.parameters.get(place)) else {
        return Err(Error::refuse("cannot tell how many rows are wanted", format!("There is no parameter ${number}.")));
    };
    let Some(value) = parameter.value else { return Ok(None) };
    let is_integer = matches!(parameter.type_oid, 0 | oid::INT2 | oid::INT4 | oid::INT8);
    let read = match (parameter.format, value) {
        _ if !is_integer => None,
        (Format::Text, text) => std::str::from_utf8(text).ok().and_then(|text| text.trim().parse().ok()),
        (Format::Binary, [a, b]) => Some(i16::from_be_bytes([*a, *b]).into()),
        (Format::Binary, [a, b, c, d]) => Some(i32::from_be_bytes([*a, *b, *c, *d]).into()),
        (Format::Binary, bytes) => bytes.try_into().ok().map(i64::from_be_bytes),
    };
    read.map(Some).ok_or_else(|| {
        Error::refuse(
            "cannot tell how many rows are wanted",
            format!("${number} is not an integer that Weir can read."),
        )
    })
}

/// Types of parameters. Source: PostgreSQL's `pg_type.dat`.
mod oid {
    pub const INT8: u32 = 20;
    pub const INT2: u32 = 21;
    pub const INT4: u32 = 23;
}

pub(super) fn placement(request: &Request<'_>, name: &RelationName) -> TablePlacement {
    match lookup(request, name) {
        Target::System => TablePlacement::System,
        Target::Sharded { keyspace, columns, .. } => {
            TablePlacement::Sharded { keyspace: keyspace.name.clone(), key_columns: columns.to_vec() }
        }
        Target::Reference { .. } => TablePlacement::Reference,
        Target::Single { shard, .. } => TablePlacement::Single { shard: request.map.shard_name(shard).to_owned() },
        Target::Expanded | Target::Unmapped => TablePlacement::Unmapped,
    }
}
