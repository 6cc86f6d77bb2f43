//! The shortest way to a plan: a SELECT, UPDATE or DELETE of one sharded table whose key is compared with one value. Nothing is
//! allocated on it for a plain literal. What it does not recognise goes the long way, which would come to the same shard.

use std::cell::RefCell;

use super::target::{Target, lookup};
use super::value::{Family, Value, find_column};
use super::{Request, Router};
use crate::sql::facts::{Comparison, Condition, Effects, Operand, Statement, StatementKind, Values};
use crate::types::ShardId;

/// What no shard minds; anything else may have to be refused there.
const PASSED: Effects =
    Effects::WRITES_ROWS.union(Effects::STABLE).union(Effects::SHAPES_RESULT).union(Effects::READS_DATES);

/// The only shard that a statement needs, where a look at its one table and its one key tells.
pub fn by_one_key(request: &Request<'_>) -> Option<ShardId> {
    let statement = request.statement;
    let [used] = statement.relations.as_slice() else { return None };
    if !is_plain(statement) || used.expanded || has_other_names(request) {
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
    let moves_rows = statement.assigned.iter().any(|assigned| assigned.column == *column);
    if moves_rows || !is_prunable || relation.is_view || relation.homeless_type.is_some() {
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

/// A statement of which nothing is to be known but where its rows are.
fn is_plain(statement: &Statement) -> bool {
    matches!(statement.kind, StatementKind::Select | StatementKind::Update | StatementKind::Delete)
        && PASSED.contains(statement.effects)
        && statement.makes.is_empty()
        && statement.set_configs.is_empty()
        && statement.unknown.is_none()
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
