//! The FROM clause: which tables a SELECT reads, and a proof that rows which meet in a join live on the same shard.
//!
//! The proof: sharded tables that are joined by inner joins must be connected, directly or over each other, by
//! equalities of their shard keys. The nullable side of an outer join is proven for itself, and must be tied to the
//! preserved side by an equality of shard keys in its ON; an equality anywhere else would keep the right pairs, but
//! not the right rows that found no partner. Reference tables have all their rows on every shard, so they may stand
//! anywhere but on the preserved side of a join with sharded tables: their unmatched rows would come once per shard. So may
//! rows that the statement itself gives (VALUES, functions of constants and parameters), and subqueries of nothing but such.

use std::borrow::Cow;

use pg_query::NodeEnum;
use pg_query::protobuf::{
    AExprKind, Alias, ColumnRef, JoinExpr, JoinType, Node, RangeFunction, RangeSubselect, RangeVar, SelectStmt,
};

use super::super::facts::RelationName;
use super::super::schema::{Column, Resolved, Schema};
use super::expression;
use super::expression::Contents;
use super::scope::{Bound, Placement, Scope, ScopeRelation, ShardKey};
use super::targets::{Target, Targets};
use super::{TablePlacement, refuse};
use crate::sql::tree::{and_terms, clause_beyond_rows, relation_name};
use crate::types::{Error, Result};

/// Reads the FROM clause of a SELECT with at least one sharded table.
///
/// # Errors
/// Refuses joins that are not proven to stay within shards, and anything in FROM but plain tables and given rows.
pub fn resolve<'s>(select: &SelectStmt, schema: &'s Schema, placement: Placement<'s>) -> Result<Scope<'s>> {
    let mut reader = Reader { scope: Scope::new(schema), placement };
    reader.scope.placement = Some(placement);
    let mut whole = Side::default();
    for item in &select.from_clause {
        whole = whole.inner_join(reader.item(item)?);
    }
    if whole.core.is_empty() {
        return Err(refuse("a SELECT that reads no sharded table"));
    }
    whole.equalities.extend(reader.key_equalities(select.where_clause.as_deref())?);
    reader.prove_connected(&whole)?;
    reader.scope.core = whole.core;
    Ok(reader.scope)
}

/// Reads the FROM clause of a subquery of a statement with the names `outer`. `tied`: columns of the statement around it that
/// equal columns of the subquery in every row that matters.
///
/// # Errors
/// As [`resolve`], and refuses sharded tables that are not connected with the statement's own.
pub fn resolve_subquery<'s>(
    select: &SelectStmt,
    outer: &Scope<'s>,
    tied: &[(&ColumnRef, &ColumnRef)],
) -> Result<Scope<'s>> {
    let placement = outer.placement.ok_or_else(|| refuse("a subquery"))?;
    let mut reader = Reader { scope: outer.nested()?, placement };
    let around = outer.core.windows(2).map(|pair| (pair[0], pair[1])).collect();
    let mut whole =
        Side { members: Vec::new(), core: outer.core.clone(), sharded: outer.core.clone(), equalities: around };
    for item in &select.from_clause {
        whole = whole.inner_join(reader.item(item)?);
    }
    if outer.core.is_empty() && !whole.sharded.is_empty() {
        return Err(refuse("a subquery over sharded tables in a place that no row of such a table belongs to"));
    }
    let mut equal_columns = reader.equal_columns(select.where_clause.as_deref())?;
    for (around, own) in tied {
        equal_columns.push((expression::bind(around, outer)?, expression::bind(own, &reader.scope)?));
    }
    whole.equalities.extend(reader.equal_keys(&equal_columns));
    reader.prove_connected(&whole).map_err(|_| {
        refuse("a subquery that does not equate its tables' shard keys with those of the statement around it")
            .hint("Compare the shard keys in its WHERE.")
    })?;
    reader.scope.core = whole.core;
    Ok(reader.scope)
}

/// Functions that give rows of one column.
const ONE_COLUMN: &[&str] = &[
    "generate_series",
    "generate_subscripts",
    "json_array_elements",
    "json_array_elements_text",
    "jsonb_array_elements",
    "jsonb_array_elements_text",
    "json_object_keys",
    "jsonb_object_keys",
    "regexp_split_to_table",
    "string_to_table",
];

/// One side of a join, or the whole of FROM. Numbers are places in [`Scope::relations`].
#[derive(Default)]
struct Side {
    members: Vec<usize>,
    /// Sharded tables whose rows no outer join replaces by NULLs within this side.
    core: Vec<usize>,
    /// All sharded tables.
    sharded: Vec<usize>,
    /// Pairs of tables whose shard keys are equal in every row of this side.
    equalities: Vec<(usize, usize)>,
}

impl Side {
    fn inner_join(mut self, other: Self) -> Self {
        self.members.extend(other.members);
        self.core.extend(other.core);
        self.sharded.extend(other.sharded);
        self.equalities.extend(other.equalities);
        self
    }

    /// This side preserved, the other one nullable: nothing that holds within the other side holds in every row.
    fn left_join(mut self, nullable: Self) -> Self {
        self.members.extend(nullable.members);
        self.sharded.extend(nullable.sharded);
        self
    }
}

struct Reader<'s> {
    scope: Scope<'s>,
    placement: Placement<'s>,
}

impl<'s> Reader<'s> {
    fn item(&mut self, item: &Node) -> Result<Side> {
        match &item.node {
            Some(NodeEnum::RangeVar(table)) => self.table(table),
            Some(NodeEnum::JoinExpr(join)) => self.join(join),
            Some(NodeEnum::RangeSubselect(query)) => self.subquery(query),
            Some(NodeEnum::RangeFunction(function)) => self.function(function),
            Some(NodeEnum::RangeTableSample(_)) => Err(refuse("TABLESAMPLE")),
            _ => Err(refuse("an item of FROM that is not a table")),
        }
    }

    fn table(&mut self, table: &RangeVar) -> Result<Side> {
        let name = relation_name(table);
        let columns = self.columns(&name)?;
        let shard_key = self.shard_key(&name, columns)?;
        let place = self.scope.relations.len();
        let sharded: Vec<usize> = shard_key.iter().map(|_| place).collect();
        let columns = Cow::Borrowed(columns);
        self.scope.relations.push(ScopeRelation { alias: alias(table)?, columns, shard_key });
        Ok(Side { members: vec![place], core: sharded.clone(), sharded, equalities: Vec::new() })
    }

    /// VALUES and other subqueries in FROM for which every shard has the same rows.
    fn subquery(&mut self, query: &RangeSubselect) -> Result<Side> {
        let refused = || refuse("a subquery in FROM");
        let Some(NodeEnum::SelectStmt(select)) = query.subquery.as_ref().and_then(|query| query.node.as_ref()) else {
            return Err(refused());
        };
        if clause_beyond_rows(select).is_some() || select.into_clause.is_some() {
            return Err(refused());
        }
        let columns = match select.values_lists.as_slice() {
            [] => self.same_everywhere(select)?,
            rows => self.values(rows)?,
        };
        self.given_rows(query.alias.as_ref(), columns).ok_or_else(refused)
    }

    /// The columns of VALUES.
    fn values(&self, rows: &[Node]) -> Result<Vec<Column>> {
        let mut width = 0;
        for row in rows {
            let Some(NodeEnum::List(row)) = &row.node else { return Err(refuse("a row that is none")) };
            width = row.items.len();
            row.items.iter().try_for_each(|value| self.depends_on_nothing(value))?;
        }
        Ok((1..=width).map(|number| Column::of_name(format!("column{number}"))).collect())
    }

    /// The columns of a subquery that reads nothing but rows which every shard has.
    fn same_everywhere(&self, select: &SelectStmt) -> Result<Vec<Column>> {
        let refused = || refuse("a subquery in FROM");
        let mut inner = Self { scope: Scope::new(self.scope.schema), placement: self.placement };
        for item in &select.from_clause {
            if !inner.item(item)?.sharded.is_empty() {
                return Err(refused());
            }
        }
        if let Some(condition) = &select.where_clause {
            expression::normal_form(condition, &inner.scope)?;
        }
        let targets = Targets::read(&select.target_list, &inner.scope)?;
        if targets.contents() != Contents::default() {
            return Err(refused());
        }
        let columns = |relation: &ScopeRelation<'s>| relation.columns.to_vec();
        let mut all = Vec::new();
        for target in targets.list {
            match target {
                Target::Star(Some(relation)) => all.extend(columns(&inner.scope.relations[relation])),
                // What USING merges comes once.
                Target::Star(None) if inner.scope.relations.len() == 1 => {
                    all.extend(columns(&inner.scope.relations[0]))
                }
                Target::Star(None) => return Err(refused()),
                Target::Value(value) => {
                    all.push(Column { name: value.name.clone(), ..inner.column_of(&value.expression) });
                }
            }
        }
        Ok(all)
    }

    /// The column that an expression is, or one that nothing is known of.
    fn column_of(&self, expression: &Node) -> Column {
        let bound = match &expression.node {
            Some(NodeEnum::ColumnRef(column)) => expression::bind(column, &self.scope).ok(),
            _ => None,
        };
        let known = bound.and_then(|bound| {
            self.scope.relations[bound.relation].columns.iter().find(|column| column.name == bound.column)
        });
        known.cloned().unwrap_or_else(|| Column::of_name(String::new()))
    }

    /// A function in FROM whose arguments are constants and parameters: every shard comes to the same rows.
    fn function(&mut self, function: &RangeFunction) -> Result<Side> {
        let refused = || refuse("a function in FROM");
        let [Node { node: Some(NodeEnum::List(only)) }] = function.functions.as_slice() else { return Err(refused()) };
        let Some(call @ Node { node: Some(NodeEnum::FuncCall(named)) }) = only.items.first() else {
            return Err(refused());
        };
        // Of others only the catalogs know how many columns they have.
        let columns_are_known = expression::built_in_name(&named.funcname).is_ok_and(|name| match name {
            "unnest" => {
                let listed = function.alias.as_ref().map_or(0, |alias| alias.colnames.len());
                listed == named.args.len() || named.args.len() == 1
            }
            name => ONE_COLUMN.contains(&name),
        });
        if function.is_rowsfrom
            || function.ordinality
            || !columns_are_known
            || !function.coldeflist.is_empty()
            || only.items.get(1).is_some_and(|list| list.node.is_some())
        {
            return Err(refused());
        }
        self.depends_on_nothing(call)?;
        // What other functions call their columns only the catalogs know.
        let is_series = expression::built_in_name(&named.funcname).is_ok_and(|name| name == "generate_series");
        let own = function.alias.as_ref().map(|alias| alias.aliasname.clone()).filter(|_| is_series);
        self.given_rows(function.alias.as_ref(), own.into_iter().map(Column::of_name).collect()).ok_or_else(refused)
    }

    fn depends_on_nothing(&self, expression: &Node) -> Result<()> {
        expression::normal_form(expression, &Scope::new(self.scope.schema)).map(drop)
    }

    /// Rows that the statement itself gives; `None` where they have no name, or no names for their columns.
    fn given_rows(&mut self, alias: Option<&Alias>, mut columns: Vec<Column>) -> Option<Side> {
        let alias = alias?;
        for (place, name) in alias.colnames.iter().enumerate() {
            let name = expression::string(name).ok()?.to_owned();
            match columns.get_mut(place) {
                Some(column) => column.name = name,
                None => columns.push(Column::of_name(name)),
            }
        }
        if columns.is_empty() {
            return None;
        }
        let place = self.scope.relations.len();
        let alias = alias.aliasname.clone();
        self.scope.relations.push(ScopeRelation { alias, columns: Cow::Owned(columns), shard_key: None });
        Some(Side { members: vec![place], ..Side::default() })
    }

    fn columns(&self, name: &RelationName) -> Result<&'s [Column]> {
        match self.scope.schema.resolve(name) {
            Resolved::User { relation, .. } if relation.is_view => Err(refuse(format!("the view \"{}\"", name.name))),
            Resolved::User { relation, .. } => Ok(&relation.columns),
            Resolved::System => Err(refuse(format!("the system catalog \"{}\"", name.name))),
            Resolved::Unknown => Err(refuse(format!("the table \"{}\", whose columns are not known", name.name))),
        }
    }

    /// How a table is sharded; `None` for a reference table.
    fn shard_key(&self, name: &RelationName, columns: &[Column]) -> Result<Option<ShardKey>> {
        match (self.placement)(name) {
            TablePlacement::Reference => Ok(None),
            TablePlacement::System => Err(refuse(format!("the system catalog \"{}\"", name.name))),
            TablePlacement::Unmapped => {
                Err(refuse(format!("the table \"{}\", which is not in the shard map", name.name))
                    .hint("Name the table in the shard map."))
            }
            TablePlacement::Single { shard } => {
                Err(refuse(format!("the table \"{}\", which lives on shard \"{shard}\" only", name.name)))
            }
            TablePlacement::Sharded { keyspace, key_columns } => {
                let typed = |key: String| {
                    let column = columns.iter().find(|column| column.name == key)?;
                    Some((key, column.type_oid))
                };
                match key_columns.into_iter().map(typed).collect() {
                    Some(columns) => Ok(Some(ShardKey { keyspace, columns })),
                    None => Err(refuse(format!("the table \"{}\", which lacks its shard key", name.name))),
                }
            }
        }
    }

    fn join(&mut self, join: &JoinExpr) -> Result<Side> {
        if join.is_natural {
            return Err(refuse("NATURAL JOIN").hint("Name the columns with USING or ON."));
        }
        if join.alias.is_some() || join.join_using_alias.is_some() {
            return Err(refuse("an alias of a join"));
        }
        let left = self.item(side(join.larg.as_deref())?)?;
        let right = self.item(side(join.rarg.as_deref())?)?;
        match join.jointype() {
            JoinType::JoinInner => {
                let equalities = self.condition(join, &left, &right)?;
                let mut joined = left.inner_join(right);
                joined.equalities.extend(equalities);
                Ok(joined)
            }
            JoinType::JoinLeft => self.outer_join(join, left, right),
            JoinType::JoinRight => self.outer_join(join, right, left),
            JoinType::JoinFull => Err(refuse("FULL JOIN")),
            _ => Err(refuse("a join of an unknown kind")),
        }
    }

    fn outer_join(&mut self, join: &JoinExpr, preserved: Side, nullable: Side) -> Result<Side> {
        let equalities = self.condition(join, &preserved, &nullable)?;
        if nullable.core.is_empty() {
            return Ok(preserved.left_join(nullable));
        }
        if preserved.sharded.is_empty() {
            return Err(refuse("an outer join that preserves a reference table and may find no row of a sharded one"));
        }
        self.prove_connected(&nullable)?;
        let ties = |(a, b): &(usize, usize)| preserved.sharded.contains(a) && nullable.core.contains(b);
        if !equalities.iter().any(|(a, b)| ties(&(*a, *b)) || ties(&(*b, *a))) {
            return Err(refuse("an outer join whose ON does not equate the shard keys of both sides"));
        }
        Ok(preserved.left_join(nullable))
    }

    /// Checks a join's condition and gives the equalities of shard keys in it. A preserved side is given first.
    fn condition(&mut self, join: &JoinExpr, first: &Side, second: &Side) -> Result<Vec<(usize, usize)>> {
        let mut equal_columns = self.equal_columns(join.quals.as_deref())?;
        for column in &join.using_clause {
            let column = expression::string(column)?;
            let (a, b) =
                (self.scope.bind_on_side(&first.members, column)?, self.scope.bind_on_side(&second.members, column)?);
            equal_columns.push((Bound { relation: a, column }, Bound { relation: b, column }));
            self.scope.merge(column, a, b);
        }
        if let Some(condition) = &join.quals {
            expression::normal_form(condition, &self.scope)?;
        }
        Ok(self.equal_keys(&equal_columns))
    }

    /// The pairs of tables whose shard keys a condition equates in the terms that AND connects.
    fn key_equalities(&self, condition: Option<&Node>) -> Result<Vec<(usize, usize)>> {
        Ok(self.equal_keys(&self.equal_columns(condition)?))
    }

    /// The pairs of columns that a condition equates.
    fn equal_columns<'n>(&self, condition: Option<&'n Node>) -> Result<Vec<(Bound<'n>, Bound<'n>)>> {
        let pairs = condition.map(column_equalities).unwrap_or_default().into_iter();
        pairs.map(|(a, b)| Ok((expression::bind(a, &self.scope)?, expression::bind(b, &self.scope)?))).collect()
    }

    /// The pairs of tables whose whole shard keys these equalities equate, so that equal rows are on the same shard.
    fn equal_keys(&self, equal: &[(Bound<'_>, Bound<'_>)]) -> Vec<(usize, usize)> {
        let mut pairs: Vec<(usize, usize)> = equal.iter().map(|(a, b)| (a.relation, b.relation)).collect();
        pairs.sort_unstable();
        pairs.dedup();
        pairs.retain(|(a, b)| self.keys_are_equal(*a, *b, equal));
        pairs
    }

    fn keys_are_equal(&self, a: usize, b: usize, equal: &[(Bound<'_>, Bound<'_>)]) -> bool {
        let key = |relation: usize| self.scope.relations[relation].shard_key.as_ref();
        let (Some(of_a), Some(of_b)) = (key(a), key(b)) else { return false };
        let is_equated = |of_a: &str, of_b: &str| {
            let (one, other) = (Bound { relation: a, column: of_a }, Bound { relation: b, column: of_b });
            equal.iter().any(|pair| *pair == (one, other) || *pair == (other, one))
        };
        let columns = || of_a.columns.iter().zip(&of_b.columns);
        of_a.keyspace == of_b.keyspace
            && columns().all(|((a, a_type), (b, b_type))| {
                is_equated(a, b) && self.scope.equal_means_same_shard(*a_type, *b_type)
            })
    }

    /// Proves that all sharded tables that are inner-joined on this side meet on one shard.
    fn prove_connected(&self, side: &Side) -> Result<()> {
        let Some(first) = side.core.first() else {
            return Ok(());
        };
        let mut reached = vec![*first];
        while let Some(next) = next_reached(&side.equalities, &reached) {
            reached.push(next);
        }
        match side.core.iter().find(|relation| !reached.contains(relation)) {
            None => Ok(()),
            Some(relation) => Err(self.unconnected(*first, *relation)),
        }
    }

    fn unconnected(&self, a: usize, b: usize) -> Error {
        let (a, b) = (&self.scope.relations[a], &self.scope.relations[b]);
        refuse(format!("a join of \"{}\" and \"{}\" that does not equate their shard keys", a.alias, b.alias))
            .hint("Join the tables on their shard keys.")
    }
}

/// A table that an equality connects with one of those reached.
fn next_reached(equalities: &[(usize, usize)], reached: &[usize]) -> Option<usize> {
    let both_ways = equalities.iter().flat_map(|(a, b)| [(*a, *b), (*b, *a)]);
    both_ways.into_iter().find(|(from, to)| reached.contains(from) && !reached.contains(to)).map(|(_, to)| to)
}

/// The pairs of columns that a condition equates by `=`, among the terms that AND connects.
pub(super) fn column_equalities(condition: &Node) -> Vec<(&ColumnRef, &ColumnRef)> {
    and_terms(condition).into_iter().filter_map(equated_columns).collect()
}

/// Any other condition than an equality equates nothing that could be relied on.
fn equated_columns(term: &Node) -> Option<(&ColumnRef, &ColumnRef)> {
    let Some(NodeEnum::AExpr(operation)) = &term.node else { return None };
    let is_equality =
        operation.kind() == AExprKind::AexprOp && expression::operator(operation).is_ok_and(|operator| operator == "=");
    let sides = (operation.lexpr.as_ref()?.node.as_ref()?, operation.rexpr.as_ref()?.node.as_ref()?);
    match sides {
        (NodeEnum::ColumnRef(left), NodeEnum::ColumnRef(right)) if is_equality => Some((left, right)),
        _ => None,
    }
}

fn side(node: Option<&Node>) -> Result<&Node> {
    node.ok_or_else(|| Error::internal("a join without one of its sides"))
}

/// The name that columns of a table are qualified with.
fn alias(table: &RangeVar) -> Result<String> {
    match &table.alias {
        None => Ok(table.relname.clone()),
        Some(alias) if alias.colnames.is_empty() => Ok(alias.aliasname.clone()),
        Some(_) => Err(refuse("column aliases of a table")),
    }
}
