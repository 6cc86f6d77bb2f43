//! ORDER BY and DISTINCT, and the SELECTs whose result is made of rows of the shards as they are.

use pg_query::NodeEnum;
use pg_query::protobuf::{CollateClause, Node, SortBy, SortByDir, SortByNulls};

use super::expression::{Contents, bare_name, built_in_name, string, whole_form};
use super::rewrite::Rewrite;
use super::scope::Scope;
use super::targets::Targets;
use super::{Distributed, Literal, Window, integer_literal, refuse};
use crate::merge::spec::{ColumnRef, Combine, SortKey};
use crate::types::Result;

/// One item of ORDER BY, its name or number resolved.
pub struct SortItem {
    pub expression: Node,
    pub normal: Node,
    pub contents: Contents,
    /// The place in the select list of the column that it equals.
    pub target: Option<usize>,
    descending: bool,
    nulls_first: bool,
}

/// Every shard orders and limits its own rows, the merge keeps the order and cuts again. [`Combine::Rows`] passes rows
/// through, also those that are groups, or distinct, as long as each comes from one shard; for [`Combine::Distinct`] every
/// shard leaves out what it has twice, and the merge what several shards have.
pub fn distribute_rows(
    mut rewrite: Rewrite,
    targets: &Targets,
    sort: &[SortItem],
    window: Window,
    combine: Combine,
) -> Result<Distributed> {
    let keys = sort_columns(&mut rewrite, targets, sort)?;
    rewrite.limit(window.rows_per_shard(), window.ties);
    rewrite.finish(combine, keys, window)
}

/// SELECT DISTINCT ON: in the order that the statement gives, or in that of the expressions, the first row of each shard
/// and then the first of all.
pub fn distribute_distinct_on(
    mut rewrite: Rewrite,
    targets: &Targets,
    scope: &Scope<'_>,
    window: Window,
) -> Result<Distributed> {
    let mut distinct: Vec<Node> = Vec::new();
    for node in rewrite.select.distinct_clause.clone() {
        let (expression, _) = resolve(Some(&node), targets, scope)?;
        let (normal, _) = whole_form(&expression, scope)?;
        if !distinct.contains(&normal) {
            distinct.push(normal);
        }
    }
    if rewrite.select.sort_clause.is_empty() {
        let items = rewrite.select.distinct_clause.clone().into_iter().map(ascending);
        rewrite.select.sort_clause = items.collect();
    }
    let sort = sort_items(&rewrite.select.sort_clause, targets, scope)?;
    let first: Vec<&Node> = sort.iter().take(distinct.len()).map(|item| &item.normal).collect();
    if first.len() < distinct.len() || !distinct.iter().all(|normal| first.contains(&normal)) {
        return Err(refuse("DISTINCT ON expressions that are not the first ones of ORDER BY"));
    }
    let keys = sort_columns(&mut rewrite, targets, &sort)?;
    rewrite.limit(window.rows_per_shard(), window.ties);
    rewrite.distinct_keys = distinct.len();
    rewrite.finish(Combine::Rows, keys, window)
}

fn ascending(node: Node) -> Node {
    let item = SortBy {
        node: Some(Box::new(node)),
        sortby_dir: SortByDir::SortbyDefault.into(),
        sortby_nulls: SortByNulls::SortbyNullsDefault.into(),
        ..SortBy::default()
    };
    Node { node: Some(NodeEnum::SortBy(Box::new(item))) }
}

/// The columns that the items stand in. What the select list lacks becomes a hidden column.
fn sort_columns(rewrite: &mut Rewrite, targets: &Targets, sort: &[SortItem]) -> Result<Vec<SortKey>> {
    let is_distinct = matches!(rewrite.select.distinct_clause.as_slice(), [Node { node: None }]);
    let mut keys = Vec::with_capacity(sort.len());
    for item in sort {
        let column = match item.target.and_then(|place| targets.visible(place)) {
            Some(place) => ColumnRef::Visible(place),
            None if is_distinct => {
                return Err(refuse("DISTINCT ordered by a column behind *, or one that is not selected"));
            }
            None => rewrite.hide(item.expression.clone()),
        };
        keys.push(item.key(column)?);
    }
    Ok(keys)
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
        let (normal, contents) = whole_form(&expression, scope)?;
        let target = target.or_else(|| targets.equal_to(&normal).map(|(place, _)| place));
        Ok(Self { expression, normal, contents, target, descending, nulls_first })
    }

    /// The merge's key for this item, which stands in `column`.
    ///
    /// # Errors
    /// Refuses a collation with a schema other than pg_catalog.
    pub fn key(&self, column: ColumnRef) -> Result<SortKey> {
        let (bytewise, collation) = match &self.expression.node {
            Some(NodeEnum::CollateClause(collate)) => (is_bytewise(collate)?, Some(collation_name(collate)?)),
            _ => (false, None),
        };
        let (descending, nulls_first) = (self.descending, self.nulls_first);
        Ok(SortKey { column, descending, nulls_first, bytewise, collation })
    }
}

/// The expression that an item means, and its place in the select list if it is named or numbered there. A bare name
/// means a column of the result before one of the tables, as in SQL-92.
pub fn resolve(node: Option<&Node>, targets: &Targets, scope: &Scope<'_>) -> Result<(Node, Option<usize>)> {
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

/// A collation's name as it stands in SQL.
fn collation_name(collate: &CollateClause) -> Result<String> {
    let quoted = |name: &Node| string(name).map(|name| format!("\"{}\"", name.replace('"', "\"\"")));
    Ok(collate.collname.iter().map(quoted).collect::<Result<Vec<_>>>()?.join("."))
}
