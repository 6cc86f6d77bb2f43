//! The shortest way to a plan: a read of one sharded table whose key is compared with one value. Nothing is allocated on it
//! for a plain literal. What it does not recognise goes the long way, which would come to the same shard.

use std::cell::RefCell;

use super::target::{Target, lookup};
use super::value::{Family, Value, find_column};
use super::{Request, Router, access};
use crate::route::plan::Access;
use crate::sql::facts::{Comparison, Condition, Effects, Operand, Statement, StatementKind, Values};
use crate::types::ShardId;

/// What may have to be refused on one shard, and so goes the long way.
const LOOKED_AT: Effects = Effects::SYSTEM_RELATIONS.union(Effects::SYSTEM_COLUMNS);

/// The only shard that a read needs, where a look at its one table and its one key tells.
pub fn by_one_key(request: &Request<'_>) -> Option<ShardId> {
    let statement = request.statement;
    let [used] = statement.relations.as_slice() else { return None };
    if !is_plain_read(statement) || used.expanded || has_other_names(request) {
        return None;
    }
    let Target::Sharded { keyspace, columns: [column], relation: Some(relation) } = lookup(request, &used.name) else {
        return None;
    };
    let [key_type] = *keyspace.key.as_slice() else { return None };
    let family = Family::of(key_type);
    let actual = request.schema.key_type(find_column(&relation.columns, column)?.type_oid)?;
    let is_prunable =
        family == Family::of(actual) && (family != Family::Text || !request.schema.has_nondeterministic_collations);
    if !is_prunable || relation.is_view || relation.homeless_type.is_some() {
        return None;
    }
    let restrictions = statement.restrictions.iter().filter(|restriction| restriction.relations.contains(&0));
    let operand = restrictions.filter_map(|restriction| equal_to(&restriction.condition, column)).next()?;
    let target = Target::Sharded { keyspace, columns: std::slice::from_ref(column), relation: Some(relation) };
    // Only a parameter's type may have to be told from its places.
    let targets = if let Operand::Parameter(_) = operand { vec![target] } else { Vec::new() };
    let router = Router { request: *request, targets, unowned: &RefCell::default() };
    match router.value(operand, key_type) {
        Value::Known(value) => keyspace.shard_of(&[value]).ok(),
        Value::Null | Value::Unknown => None,
    }
}

/// A SELECT of which nothing is to be known but where its rows are.
fn is_plain_read(statement: &Statement) -> bool {
    statement.kind == StatementKind::Select
        && access::unsharded(statement) == Access::Read
        && !statement.effects.intersects(LOOKED_AT)
        && statement.executes.is_none()
        && statement.opaque_names.is_empty()
        && statement.shard_local_names.is_empty()
}

/// Whether the client names a shard, or names may lead elsewhere than the map takes them to.
fn has_other_names(request: &Request<'_>) -> bool {
    request.named.is_some() || request.has_own_path || request.schema.other_paths.contains(request.role)
}

/// What a column of the only table must equal for the condition to be true.
fn equal_to<'c>(condition: &'c Condition, column: &str) -> Option<&'c Operand> {
    match condition {
        Condition::All(parts) => parts.iter().find_map(|part| equal_to(part, column)),
        Condition::Compared(compared) if compared.comparison == Comparison::Equal => match &compared.values {
            Values::List(operands) => match (compared.columns.as_slice(), operands.as_slice()) {
                ([of], [operand]) if of.relation == 0 && of.column == column => Some(operand),
                _ => None,
            },
            Values::Array(_) => None,
        },
        Condition::Compared(_) | Condition::Any(_) | Condition::Open => None,
    }
}
