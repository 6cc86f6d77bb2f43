//! GROUP BY and aggregates: every shard groups its own rows, the merge makes one group of equal ones.
//!
//! ORDER BY, LIMIT and OFFSET speak of whole groups, so no shard may apply them.

use pg_query::NodeEnum;
use pg_query::protobuf::{Node, SelectStmt};

use super::aggregate::AggregateCall;
use super::expression::{bare_name, normal_form};
use super::order::{SortItem, refuse_parameter};
use super::rewrite::Rewrite;
use super::scope::Scope;
use super::targets::{Target, Targets, ValueTarget};
use super::{Distributed, Literal, Window, integer_literal, refuse};
use crate::merge::spec::{Aggregate, ColumnRef, Combine, Ties};
use crate::types::Result;

/// One expression of GROUP BY.
pub struct Group {
    pub expression: Node,
    pub normal: Node,
}

impl Group {
    /// What the rows are grouped by; what is named twice counts once.
    pub fn read_all(select: &SelectStmt, targets: &Targets, scope: &Scope<'_>) -> Result<Vec<Self>> {
        let mut groups: Vec<Self> = Vec::new();
        for item in &select.group_clause {
            let expression = group_expression(item, targets, scope)?;
            let normal = normal_form(&expression, scope)?;
            if !groups.iter().any(|group| group.normal == normal) {
                groups.push(Self { expression, normal });
            }
        }
        Ok(groups)
    }
}

/// A group's expression and the column that holds it.
struct GroupColumn<'g> {
    group: &'g Group,
    column: ColumnRef,
}

/// Groups whose every column is grouped by, or an aggregate.
///
/// # Errors
/// Refuses anything else in the select list or ORDER BY.
pub fn distribute_groups(
    mut rewrite: Rewrite,
    targets: &Targets,
    scope: &Scope<'_>,
    (groups, sort): (&[Group], &[SortItem]),
    window: Window,
) -> Result<Distributed> {
    let groups = group_columns(&mut rewrite, targets, groups);
    let mut group_columns: Vec<ColumnRef> = groups.iter().map(|group| group.column).collect();
    let aggregates = aggregates(&mut rewrite, targets, scope, &groups, &mut group_columns)?;
    let mut keys = Vec::new();
    for item in sort {
        keys.push(item.key(sort_column(item, targets, &groups)?)?);
    }
    rewrite.select.sort_clause.clear();
    rewrite.limit(None, Ties::Cut);
    rewrite.finish(Combine::Groups { group_columns, aggregates }, keys, window)
}

/// The columns of the groups; what the select list lacks becomes a hidden one.
fn group_columns<'g>(rewrite: &mut Rewrite, targets: &Targets, groups: &'g [Group]) -> Vec<GroupColumn<'g>> {
    let column = |group: &Group| match targets.equal_to(&group.normal) {
        Some((place, _)) => ColumnRef::Visible(place),
        None => rewrite.hide(group.expression.clone()),
    };
    let columns: Vec<ColumnRef> = groups.iter().map(column).collect();
    groups.iter().zip(columns).map(|(group, column)| GroupColumn { group, column }).collect()
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
        return targets.ordinal(ordinal).and_then(|(_, target)| grouped_target(target));
    }
    match bare_name(item) {
        Some(name) if !scope.has_column(name) => match targets.named(name)? {
            Some((_, target)) => grouped_target(target),
            None => Ok(item.clone()),
        },
        _ => Ok(item.clone()),
    }
}

/// A column of the select list as an expression of GROUP BY, which must not be taken for the number of a column.
fn grouped_target(target: &ValueTarget) -> Result<Node> {
    match &target.expression.node {
        Some(NodeEnum::AConst(_)) => Err(refuse("GROUP BY a constant")),
        _ => refuse_parameter(&target.expression, "GROUP BY").map(|()| target.expression.clone()),
    }
}

/// The aggregates of the select list, every other column of which must be grouped by.
fn aggregates(
    rewrite: &mut Rewrite,
    targets: &Targets,
    scope: &Scope<'_>,
    groups: &[GroupColumn<'_>],
    group_columns: &mut Vec<ColumnRef>,
) -> Result<Vec<(ColumnRef, Aggregate)>> {
    let mut aggregates = Vec::new();
    for (place, target) in targets.list.iter().enumerate() {
        let Target::Value(target) = target else {
            return Err(refuse("* together with GROUP BY or an aggregate"));
        };
        let column = ColumnRef::Visible(place);
        match AggregateCall::read(&target.expression, scope)? {
            Some(call) if call.is_plain() => aggregates.push((column, call.combination(rewrite)?)),
            Some(_) => return Err(refuse("an aggregate with DISTINCT")),
            None => {
                require_grouped(target, groups)?;
                if !group_columns.contains(&column) {
                    group_columns.push(column);
                }
            }
        }
    }
    Ok(aggregates)
}

fn require_grouped(target: &ValueTarget, groups: &[GroupColumn<'_>]) -> Result<()> {
    if groups.iter().any(|own| own.group.normal == target.normal) {
        return Ok(());
    }
    Err(refuse(format!(
        "the column \"{}\" of the select list, which is neither an aggregate nor in GROUP BY",
        target.name
    )))
}

/// The column of the groups that ORDER BY means. COLLATE changes the order, not the column.
fn sort_column(item: &SortItem, targets: &Targets, groups: &[GroupColumn<'_>]) -> Result<ColumnRef> {
    let wanted = without_collation(&item.normal);
    let target = item.target.or_else(|| targets.equal_to(wanted).map(|(place, _)| place));
    let group = groups.iter().find(|own| own.group.normal == *wanted || own.group.normal == item.normal);
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
