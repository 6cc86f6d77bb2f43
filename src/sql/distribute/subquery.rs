//! Subqueries in expressions that a shard can answer for itself: those over reference tables alone, and those that give, for a
//! row of the statement, only what rows with the same shard key are made of.
//!
//! The proof is that of a join: a subquery's sharded tables must be connected with those of the statement around it by
//! equalities of shard keys, in its WHERE or, for `IN`, between its column and the compared one. Then all rows that matter to a
//! row are on that row's shard, whatever the subquery makes of them: it may group, order and cut them.

use pg_query::NodeEnum;
use pg_query::protobuf::{ColumnRef, Node, SelectStmt, SubLink, SubLinkType};

use super::expression::{self, normal_form, parts_mut, string, whole_form};
use super::from;
use super::scope::Scope;
use super::{refuse, refuse_clauses};
use crate::types::Result;

/// Proves that a subquery gives on a row's shard what it would give on one server.
///
/// # Errors
/// Refuses every other subquery.
pub fn prove_local(link: &SubLink, scope: &Scope<'_>) -> Result<()> {
    let Some(NodeEnum::SelectStmt(select)) = link.subselect.as_ref().and_then(|query| query.node.as_ref()) else {
        return Err(refuse("a subquery that is no SELECT"));
    };
    let kind = link.sub_link_type();
    if !matches!(
        kind,
        SubLinkType::ExistsSublink
            | SubLinkType::ExprSublink
            | SubLinkType::ArraySublink
            | SubLinkType::AnySublink
            | SubLinkType::AllSublink
    ) {
        return Err(refuse("a subquery that is compared with a row"));
    }
    refuse_clauses(select)?;
    if !select.locking_clause.is_empty() {
        return Err(refuse("FOR UPDATE or another locking clause in a subquery"));
    }
    let tied = if kind == SubLinkType::AnySublink { tied_columns(link, select) } else { Vec::new() };
    let inner = from::resolve_subquery(select, scope, &tied)?;
    let picks = select.limit_count.is_some() || select.limit_offset.is_some() || !select.distinct_clause.is_empty();
    if picks && inner.core.len() == scope.core.len() {
        return Err(refuse("a subquery that picks rows of reference tables, which may be others on each shard"));
    }
    for clause in [&select.where_clause, &select.limit_count, &select.limit_offset] {
        if let Some(expression) = clause.as_deref() {
            normal_form(expression, &inner)?;
        }
    }
    for target in &select.target_list {
        check_target(target, kind, &inner)?;
    }
    let clauses = select.having_clause.as_deref().into_iter().chain(&select.group_clause);
    let clauses = clauses.chain(&select.sort_clause).chain(&select.window_clause);
    // The grammar has an empty item for DISTINCT without ON.
    let distinct = select.distinct_clause.iter().filter(|item| item.node.is_some());
    clauses.chain(distinct).try_for_each(|expression| check(expression, &inner))
}

fn check_target(target: &Node, kind: SubLinkType, inner: &Scope<'_>) -> Result<()> {
    let Some(NodeEnum::ResTarget(target)) = &target.node else {
        return Err(refuse("an item of the select list that is not an expression"));
    };
    match target.val.as_deref() {
        Some(Node { node: Some(NodeEnum::ColumnRef(column)) }) if is_star(column) => match kind {
            SubLinkType::ExistsSublink => Ok(()),
            _ => Err(refuse("* in a subquery")),
        },
        Some(expression) => check(expression, inner),
        // EXISTS (SELECT FROM ...) has none.
        None => Ok(()),
    }
}

fn is_star(column: &ColumnRef) -> bool {
    column.fields.iter().any(|field| matches!(field.node, Some(NodeEnum::AStar(_))))
}

fn check(expression: &Node, inner: &Scope<'_>) -> Result<()> {
    whole_form(expression, inner)?;
    refuse_outer_aggregates(&mut expression.clone(), inner)
}

/// An aggregate of nothing but columns of the statement around is one of that statement.
fn refuse_outer_aggregates(node: &mut Node, inner: &Scope<'_>) -> Result<()> {
    let Some(construct) = &mut node.node else { return Ok(()) };
    match construct {
        NodeEnum::SubLink(_) => return Ok(()),
        NodeEnum::FuncCall(call) => {
            let (_, class) = expression::built_in_function(call, inner)?;
            if expression::is_aggregate(call, class) {
                let mut levels = Vec::new();
                collect_levels(&mut Node { node: Some(NodeEnum::FuncCall(call.clone())) }, inner, &mut levels)?;
                if !levels.is_empty() && levels.iter().all(|is_inner| !is_inner) {
                    return Err(refuse("an aggregate of the statement's own rows in a subquery"));
                }
            }
        }
        _ => {}
    }
    parts_mut(construct)?.into_iter().try_for_each(|part| refuse_outer_aggregates(part, inner))
}

/// For each column in an expression, whether it is the subquery's own.
fn collect_levels(node: &mut Node, inner: &Scope<'_>, levels: &mut Vec<bool>) -> Result<()> {
    let Some(construct) = &mut node.node else { return Ok(()) };
    match construct {
        NodeEnum::SubLink(_) => return Err(refuse("a subquery in an aggregate")),
        NodeEnum::ColumnRef(column) => levels.push(inner.is_innermost(expression::bind(column, inner)?.relation)),
        _ => {}
    }
    parts_mut(construct)?.into_iter().try_for_each(|part| collect_levels(part, inner, levels))
}

/// The pairs of a compared column and the subquery's that `IN` equates before the subquery makes anything of its rows.
fn tied_columns<'n>(link: &'n SubLink, select: &'n SelectStmt) -> Vec<(&'n ColumnRef, &'n ColumnRef)> {
    let is_equality = match link.oper_name.as_slice() {
        [] => true,
        [name] => string(name).is_ok_and(|name| name == "="),
        _ => false,
    };
    let compared: Vec<&Node> = match link.testexpr.as_deref() {
        Some(Node { node: Some(NodeEnum::RowExpr(row)) }) => row.args.iter().collect(),
        other => other.into_iter().collect(),
    };
    let given: Vec<Option<&Node>> = select
        .target_list
        .iter()
        .map(|target| match &target.node {
            Some(NodeEnum::ResTarget(target)) => target.val.as_deref(),
            _ => None,
        })
        .collect();
    let makes_other_rows = select.limit_count.is_some()
        || select.limit_offset.is_some()
        || !select.window_clause.is_empty()
        || has_window_function(select)
        || select.distinct_clause.iter().any(|item| item.node.is_some());
    if !is_equality || makes_other_rows || compared.len() != given.len() {
        return Vec::new();
    }
    let columns = |(compared, given): (&'n Node, &Option<&'n Node>)| match (&compared.node, (*given)?.node.as_ref()?) {
        (Some(NodeEnum::ColumnRef(compared)), NodeEnum::ColumnRef(given)) => Some((compared, given)),
        _ => None,
    };
    let pairs = compared.into_iter().zip(&given).filter_map(columns);
    // What is grouped by a column is the same for each of its values, whichever others there are.
    let is_grouped = |given: &ColumnRef| {
        select.group_clause.iter().any(|item| match &item.node {
            Some(NodeEnum::ColumnRef(column)) => same_names(column, given),
            _ => false,
        })
    };
    let groups = !select.group_clause.is_empty() || select.having_clause.is_some() || calls(select);
    pairs.filter(|(_, given)| !groups || is_grouped(given)).collect()
}

fn same_names(one: &ColumnRef, other: &ColumnRef) -> bool {
    let names = |column: &ColumnRef| {
        column.fields.iter().filter_map(|field| string(field).ok().map(str::to_owned)).collect::<Vec<_>>()
    };
    names(one) == names(other)
}

/// Whether the select list or ORDER BY calls a function: it could be an aggregate, or a window function.
fn calls(select: &SelectStmt) -> bool {
    mentions(select, "FuncCall")
}

/// Whether the select list or ORDER BY calls a window function, whose value depends on all rows.
fn has_window_function(select: &SelectStmt) -> bool {
    mentions(select, "over: Some")
}

/// Whether a word stands in the trees of the select list or ORDER BY.
fn mentions(select: &SelectStmt, word: &str) -> bool {
    let mut all = select.target_list.iter().chain(&select.sort_clause);
    all.any(|node| node.node.as_ref().is_some_and(|node| format!("{node:?}").contains(word)))
}
