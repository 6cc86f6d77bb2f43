//! ORDER BY, and with it the SELECTs whose result is every row of every shard.

use pg_query::NodeEnum;
use pg_query::protobuf::{CollateClause, Node, SortBy, SortByDir, SortByNulls};

use super::expression::{bare_name, built_in_name};
use super::rewrite::Rewrite;
use super::scope::Scope;
use super::targets::{Targets, normal_target};
use super::{Distributed, Literal, Window, integer_literal, refuse};
use crate::merge::spec::{ColumnRef, Combine, SortKey};
use crate::types::Result;

/// One item of ORDER BY, its name or number resolved.
pub struct SortItem {
    pub expression: Node,
    pub normal: Node,
    /// The place in the select list of the column that it equals.
    pub target: Option<usize>,
    is_aggregate: bool,
    descending: bool,
    nulls_first: bool,
}

/// Rows pass through: every shard orders and limits its own, the merge keeps the order and cuts again.
pub fn distribute_rows(
    mut rewrite: Rewrite,
    targets: &Targets,
    scope: &Scope<'_>,
    window: Window,
) -> Result<Distributed> {
    let mut sort = Vec::new();
    for item in sort_items(&rewrite.select.sort_clause, targets, scope)? {
        if item.is_aggregate {
            return Err(refuse("an aggregate in ORDER BY only"));
        }
        let visible = item.target.and_then(|place| targets.visible(place));
        let column = match visible {
            Some(place) => ColumnRef::Visible(place),
            None => rewrite.hide(item.expression.clone()),
        };
        sort.push(item.key(column)?);
    }
    rewrite.limit(window.rows_per_shard());
    rewrite.finish(Combine::Rows, sort, window)
}

/// Resolves the items of ORDER BY.
pub fn sort_items(sort_clause: &[Node], targets: &Targets, scope: &Scope<'_>) -> Result<Vec<SortItem>> {
    sort_clause
        .iter()
        .map(|node| match &node.node {
            Some(NodeEnum::SortBy(item)) => SortItem::read(item, targets, scope),
            _ => Err(refuse("an unknown item of ORDER BY")),
        })
        .collect()
}

impl SortItem {
    fn read(item: &SortBy, targets: &Targets, scope: &Scope<'_>) -> Result<Self> {
        let descending = match item.sortby_dir() {
            SortByDir::SortbyDefault | SortByDir::SortbyAsc => false,
            SortByDir::SortbyDesc => true,
            SortByDir::SortbyUsing | SortByDir::Undefined => return Err(refuse("ORDER BY ... USING")),
        };
        let nulls_first = match item.sortby_nulls() {
            SortByNulls::SortbyNullsDefault => descending,
            SortByNulls::SortbyNullsFirst => true,
            SortByNulls::SortbyNullsLast => false,
            SortByNulls::Undefined => return Err(refuse("an unknown item of ORDER BY")),
        };
        let (expression, target) = resolve(item.node.as_deref(), targets, scope)?;
        let (normal, aggregate) = normal_target(&expression, scope)?;
        let target = target.or_else(|| targets.equal_to(&normal).map(|(place, _)| place));
        Ok(Self { expression, normal, target, is_aggregate: aggregate.is_some(), descending, nulls_first })
    }

    /// The merge's key for this item, which stands in `column`.
    ///
    /// # Errors
    /// Refuses a collation with a schema other than pg_catalog.
    pub fn key(&self, column: ColumnRef) -> Result<SortKey> {
        let bytewise = match &self.expression.node {
            Some(NodeEnum::CollateClause(collate)) => is_bytewise(collate)?,
            _ => false,
        };
        Ok(SortKey { column, descending: self.descending, nulls_first: self.nulls_first, bytewise })
    }
}

/// The expression that an item means, and its place in the select list if it is named or numbered there. A bare name
/// means a column of the result before one of the tables, as in SQL-92.
fn resolve(node: Option<&Node>, targets: &Targets, scope: &Scope<'_>) -> Result<(Node, Option<usize>)> {
    let node = node.ok_or_else(|| refuse("an unknown item of ORDER BY"))?;
    refuse_parameter(node, "ORDER BY")?;
    if let Some(literal) = integer_literal(node) {
        let Literal::Integer(ordinal) = literal else {
            return Err(refuse("ORDER BY a constant"));
        };
        let (place, target) = targets.ordinal(ordinal)?;
        return Ok((target.expression.clone(), Some(place)));
    }
    let Some(name) = bare_name(node) else {
        return Ok((node.clone(), None));
    };
    match (targets.named(name)?, targets.starred(name, scope)?) {
        (Some((place, target)), _) => Ok((target.expression.clone(), Some(place))),
        (None, Some(column)) => Ok((column, None)),
        (None, None) => Ok((node.clone(), None)),
    }
}

/// A parameter alone is a constant for ORDER BY and GROUP BY, never a column number.
pub fn refuse_parameter(node: &Node, clause: &str) -> Result<()> {
    match &node.node {
        Some(NodeEnum::ParamRef(parameter)) => Err(refuse(format!("{clause} ${}", parameter.number))),
        _ => Ok(()),
    }
}

/// Whether a collation orders by bytes on every server.
fn is_bytewise(collate: &CollateClause) -> Result<bool> {
    Ok(matches!(built_in_name(&collate.collname)?, "C" | "POSIX"))
}
