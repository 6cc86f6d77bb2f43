//! GROUP BY and aggregates: every shard groups its own rows, the merge makes one group of equal ones.
//!
//! ORDER BY, LIMIT and OFFSET speak of whole groups, so no shard may apply them.

use pg_query::NodeEnum;
use pg_query::protobuf::Node;

use super::expression::{bare_name, normal_form};
use super::order::{SortItem, refuse_parameter, sort_items};
use super::rewrite::Rewrite;
use super::scope::Scope;
use super::targets::{AggregateCall, AggregateFunction, Target, Targets, ValueTarget};
use super::{Distributed, Literal, Window, integer_literal, refuse};
use crate::merge::spec::{Aggregate, ColumnRef, Combine};
use crate::types::Result;

/// One expression of GROUP BY and the column that holds it.
struct GroupColumn {
    normal: Node,
    column: ColumnRef,
}

pub fn distribute_groups(
    mut rewrite: Rewrite,
    targets: &Targets,
    scope: &Scope<'_>,
    window: Window,
) -> Result<Distributed> {
    let groups = group_columns(&mut rewrite, targets, scope)?;
    let aggregates = aggregates(&mut rewrite, targets, &groups)?;
    let mut sort = Vec::new();
    for item in sort_items(&rewrite.select.sort_clause, targets, scope)? {
        sort.push(item.key(sort_column(&item, targets, &groups)?)?);
    }
    rewrite.select.sort_clause.clear();
    rewrite.limit(None);
    let group_columns = groups.into_iter().map(|group| group.column).collect();
    rewrite.finish(Combine::Groups { group_columns, aggregates }, sort, window)
}

/// What the rows are grouped by; what the select list lacks becomes a hidden column.
fn group_columns(rewrite: &mut Rewrite, targets: &Targets, scope: &Scope<'_>) -> Result<Vec<GroupColumn>> {
    let mut groups: Vec<GroupColumn> = Vec::new();
    for item in rewrite.select.group_clause.clone() {
        let expression = group_expression(&item, targets, scope)?;
        let normal = normal_form(&expression, scope)?;
        if groups.iter().any(|group| group.normal == normal) {
            continue;
        }
        let column = match targets.equal_to(&normal) {
            Some((place, _)) => ColumnRef::Visible(place),
            None => rewrite.hide(expression),
        };
        groups.push(GroupColumn { normal, column });
    }
    Ok(groups)
}

/// The expression that an item of GROUP BY means. A bare name means a column of the tables before one of the result.
fn group_expression(item: &Node, targets: &Targets, scope: &Scope<'_>) -> Result<Node> {
    match &item.node {
        Some(NodeEnum::GroupingSet(_)) => return Err(refuse("GROUPING SETS, ROLLUP or CUBE")),
        Some(NodeEnum::RowExpr(_)) => return Err(refuse("GROUP BY a row")),
        _ => refuse_parameter(item, "GROUP BY")?,
    }
    if let Some(literal) = integer_literal(item) {
        let Literal::Integer(ordinal) = literal else {
            return Err(refuse("GROUP BY a constant"));
        };
        return targets.ordinal(ordinal).map(|(_, target)| target.expression.clone());
    }
    match bare_name(item) {
        Some(name) if !scope.has_column(name) => match targets.named(name)? {
            Some((_, target)) => Ok(target.expression.clone()),
            None => Ok(item.clone()),
        },
        _ => Ok(item.clone()),
    }
}

/// The aggregates of the select list, every other column of which must be grouped by.
fn aggregates(rewrite: &mut Rewrite, targets: &Targets, groups: &[GroupColumn]) -> Result<Vec<(ColumnRef, Aggregate)>> {
    let mut aggregates = Vec::new();
    for (place, target) in targets.list.iter().enumerate() {
        match target {
            Target::Star(_) => return Err(refuse("* together with GROUP BY or an aggregate")),
            Target::Value(target) => match &target.aggregate {
                Some(call) => aggregates.push((ColumnRef::Visible(place), combination(rewrite, call))),
                None => require_grouped(target, groups)?,
            },
        }
    }
    Ok(aggregates)
}

fn require_grouped(target: &ValueTarget, groups: &[GroupColumn]) -> Result<()> {
    if groups.iter().any(|group| group.normal == target.normal) {
        return Ok(());
    }
    Err(refuse(format!(
        "the column \"{}\" of the select list, which is neither an aggregate nor in GROUP BY",
        target.name
    )))
}

/// How an aggregate's partial results are combined; an average needs two more of them.
fn combination(rewrite: &mut Rewrite, call: &AggregateCall) -> Aggregate {
    match call.function {
        AggregateFunction::Count => Aggregate::Count,
        AggregateFunction::Sum => Aggregate::Sum,
        AggregateFunction::Min => Aggregate::Min,
        AggregateFunction::Max => Aggregate::Max,
        AggregateFunction::Average => {
            let sum = rewrite.hide(call.with_function("sum"));
            let count = rewrite.hide(call.with_function("count"));
            Aggregate::Average { sum, count }
        }
    }
}

/// The column of the groups that ORDER BY means. COLLATE changes the order, not the column.
fn sort_column(item: &SortItem, targets: &Targets, groups: &[GroupColumn]) -> Result<ColumnRef> {
    let wanted = without_collation(&item.normal);
    let target = item.target.or_else(|| targets.equal_to(wanted).map(|(place, _)| place));
    let group = groups.iter().find(|group| group.normal == *wanted || group.normal == item.normal);
    target
        .map(ColumnRef::Visible)
        .or(group.map(|group| group.column))
        .ok_or_else(|| refuse("ORDER BY an expression that is neither in GROUP BY nor in the select list"))
}

fn without_collation(expression: &Node) -> &Node {
    match &expression.node {
        Some(NodeEnum::CollateClause(collate)) => collate.arg.as_deref().unwrap_or(expression),
        _ => expression,
    }
}
