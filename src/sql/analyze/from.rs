//! FROM: its items become the sources of a scope, its joins become restrictions and carries.

use std::ops::Range;

use pg_query::protobuf::JoinType;
use pg_query::{Node, NodeEnum, protobuf as pg};

use super::condition::Filter;
use super::cte::Ctes;
use super::output::{Output, OutputColumn};
use super::scope::{Bound, Columns, Scope, Source, Sources};
use super::{Analyzer, inner, node_name, string, strings};
use crate::sql::facts::Effects;
use crate::sql::schema::Resolved;

/// How many references to WITH queries and views of one statement are followed; those beyond give no inference.
pub(super) const EXPANSIONS_MAX: usize = 100;

impl<'a> Analyzer<'a> {
    /// Adds every item of a FROM (or USING) list to the scope.
    pub(super) fn add_items<'e>(&mut self, items: &[Node], scope: &mut Scope<'e>)
    where
        'a: 'e,
    {
        for item in items.iter().filter_map(inner) {
            self.add_item(item, scope);
        }
    }

    /// Adds one item; returns the places of its sources.
    pub(super) fn add_item<'e>(&mut self, item: &NodeEnum, scope: &mut Scope<'e>) -> Range<usize>
    where
        'a: 'e,
    {
        let start = scope.sources.len();
        match item {
            NodeEnum::RangeVar(range) => self.add_relation(range, scope),
            NodeEnum::RangeSubselect(subselect) => self.add_subselect(subselect, scope),
            NodeEnum::RangeFunction(function) => self.add_function(function, scope),
            NodeEnum::RangeTableFunc(function) => self.add_table_function(function, scope),
            NodeEnum::RangeTableSample(sample) => self.add_sample(sample, scope),
            NodeEnum::JoinExpr(join) => self.add_join(join, scope),
            other => {
                self.unknown(node_name(other));
                scope.sources.push(Source::opaque(Some(String::new())));
            }
        }
        start..scope.sources.len()
    }

    fn add_relation<'e>(&mut self, range: &pg::RangeVar, scope: &mut Scope<'e>)
    where
        'a: 'e,
    {
        let cte = if range.schemaname.is_empty() { scope.env.cte(&range.relname) } else { None };
        let source = match cte {
            Some((level, place)) => self.cte_source(range, level, place),
            None => self.source(range, false),
        };
        scope.sources.push(source);
    }

    /// The source that a reference to a WITH query makes.
    fn cte_source<'e>(&mut self, range: &pg::RangeVar, level: &Ctes<'_>, place: usize) -> Source<'e> {
        let name = range.alias.as_ref().map_or(&range.relname, |alias| &alias.aliasname);
        let columns = self.cte_columns(level, place);
        Source::derived(name.clone(), columns.and_then(|columns| renamed(columns, range.alias.as_ref())))
    }

    fn cte_columns(&mut self, level: &Ctes<'_>, place: usize) -> Option<Output> {
        let cte = level.queries.get(place)?;
        if cte.stands_alone {
            return cte.columns.borrow().clone().map(|columns| Output { columns, ordered: true });
        }
        if self.expansions >= EXPANSIONS_MAX {
            return None;
        }
        self.expansions += 1;
        cte.uses.set(cte.uses.get() + 1);
        let output = self.subquery(cte.query?, level.inside(place, false))?;
        let ordered = output.ordered;
        output.renamed(cte.column_names).map(|columns| Output { columns, ordered })
    }

    /// The source that a relation makes, and its occurrence. A view is as good as its query.
    pub(super) fn source<'e>(&mut self, range: &pg::RangeVar, written: bool) -> Source<'e>
    where
        'a: 'e,
    {
        let index = self.relation(range, written);
        let used = &self.statement.relations[index];
        let (schema, name) = match &range.alias {
            Some(alias) => (None, alias.aliasname.clone()),
            None => (used.name.schema.clone(), used.name.name.clone()),
        };
        let relation = match self.schema.resolve(&used.name) {
            Resolved::User { relation, .. } => Some(relation),
            Resolved::System | Resolved::Unknown => None,
        };
        let view = relation.filter(|_| !written).and_then(|relation| Some((relation.view.as_ref()?, relation)));
        let columns = match view {
            Some((view, relation)) => {
                self.view_columns(index, view, relation).map_or(Columns::Unknown, Columns::Derived)
            }
            None => Columns::Relation { index, columns: relation.map(|relation| relation.columns.as_slice()) },
        };
        let source = Source { name: Some(name), schema, columns };
        match &range.alias {
            Some(alias) if !alias.colnames.is_empty() => {
                let output = source.output().map(|columns| Output { columns, ordered: true });
                let columns = output.and_then(|output| output.renamed(&alias.colnames));
                Source { columns: columns.map_or(Columns::Unknown, Columns::Derived), ..source }
            }
            _ => source,
        }
    }

    fn add_subselect<'e>(&mut self, subselect: &pg::RangeSubselect, scope: &mut Scope<'e>) {
        let query = subselect.subquery.as_deref().and_then(inner);
        let output = query.and_then(|query| {
            // Without LATERAL the items beside it are not visible, those around the whole level are.
            let env = if subselect.lateral { scope.inside() } else { scope.env.unwanted() };
            self.subquery(query, env)
        });
        let name = alias_name(subselect.alias.as_ref()).unwrap_or_default();
        scope.sources.push(Source::derived(name, output.and_then(|output| renamed(output, subselect.alias.as_ref()))));
    }

    /// Functions in FROM: each item is a list of the call and its column definitions.
    fn add_function(&mut self, function: &pg::RangeFunction, scope: &mut Scope<'_>) {
        for item in &function.functions {
            match inner(item) {
                Some(NodeEnum::List(list)) => self.expressions(&list.items, scope),
                _ => self.optional(Some(item), scope),
            }
        }
        self.expressions(&function.coldeflist, scope);
        self.effect(Effects::SHAPES_RESULT);
        scope.sources.push(Source::opaque(alias_name(function.alias.as_ref())));
    }

    /// XMLTABLE.
    fn add_table_function(&mut self, function: &pg::RangeTableFunc, scope: &mut Scope<'_>) {
        self.optional(function.docexpr.as_deref(), scope);
        self.optional(function.rowexpr.as_deref(), scope);
        self.expressions(&function.namespaces, scope);
        for column in &function.columns {
            match inner(column) {
                Some(NodeEnum::RangeTableFuncCol(column)) => {
                    self.type_name(column.type_name.as_ref());
                    self.optional(column.colexpr.as_deref(), scope);
                    self.optional(column.coldefexpr.as_deref(), scope);
                }
                _ => self.unknown("a column of XMLTABLE"),
            }
        }
        self.effect(Effects::SHAPES_RESULT);
        scope.sources.push(Source::opaque(alias_name(function.alias.as_ref())));
    }

    fn add_sample<'e>(&mut self, sample: &pg::RangeTableSample, scope: &mut Scope<'e>)
    where
        'a: 'e,
    {
        let method = strings(&sample.method).join(".");
        if !matches!(method.as_str(), "bernoulli" | "system" | "pg_catalog.bernoulli" | "pg_catalog.system") {
            self.opaque(method);
        }
        self.effect(Effects::SHAPES_RESULT | Effects::VOLATILE);
        self.expressions(&sample.args, scope);
        self.optional(sample.repeatable.as_deref(), scope);
        if let Some(relation) = sample.relation.as_deref().and_then(inner) {
            self.add_item(relation, scope);
        }
    }

    fn add_join<'e>(&mut self, join: &pg::JoinExpr, scope: &mut Scope<'e>)
    where
        'a: 'e,
    {
        let left = self.join_side(join.larg.as_deref(), scope);
        let right = self.join_side(join.rarg.as_deref(), scope);
        self.makes_nulls |= join.jointype() != JoinType::JoinInner;
        let filter = Filter::some(restricted_side(join.jointype(), &left, &right));
        let mut merged: Vec<String> = join.using_clause.iter().filter_map(string).map(str::to_owned).collect();
        if join.is_natural {
            match scope.common_columns(left.clone(), right.clone()) {
                Some(common) => merged = common,
                None => scope.natural = true,
            }
        }
        for column in &merged {
            self.join_using(column, join.jointype(), &filter, scope, (left.clone(), right.clone()));
        }
        self.join_condition(join, &filter, left.start, scope);
        if let Some(alias) = &join.alias {
            scope.hide_from(left.start);
            scope.sources.push(Source::opaque(Some(alias.aliasname.clone())));
        }
        if let Some(alias) = &join.join_using_alias {
            scope.sources.push(Source::opaque(Some(alias.aliasname.clone())));
        }
    }

    fn join_side<'e>(&mut self, side: Option<&Node>, scope: &mut Scope<'e>) -> Range<usize>
    where
        'a: 'e,
    {
        match side.and_then(inner) {
            Some(item) => self.add_item(item, scope),
            None => scope.sources.len()..scope.sources.len(),
        }
    }

    fn join_condition(&mut self, join: &pg::JoinExpr, filter: &Filter, first: usize, scope: &mut Scope<'_>) {
        let around = std::mem::replace(&mut scope.visible_from, first);
        self.note_wanted(join.quals.as_deref(), filter.restricts);
        self.optional(join.quals.as_deref(), scope);
        self.conditions(join.quals.as_deref(), filter, scope);
        scope.visible_from = around;
    }

    /// `JOIN ... USING (column)`: equality of the two sides, and one column instead of two.
    fn join_using(
        &mut self,
        column: &str,
        kind: JoinType,
        filter: &Filter,
        scope: &mut Scope<'_>,
        (left, right): (Range<usize>, Range<usize>),
    ) {
        let first = left.start;
        let (left, right) = scope.using(column, left, right);
        if let (Some(left), Some(right)) = (&left, &right) {
            self.carry(left, right, filter);
        }
        scope.merge(column, first, merged_binding(kind, left, right));
    }
}

/// Whose rows a join condition restricts: both sides of an inner join, the nullable side of an outer one, neither of a
/// full one.
fn restricted_side(kind: JoinType, left: &Range<usize>, right: &Range<usize>) -> Sources {
    match kind {
        JoinType::JoinInner => Sources(left.start, right.end),
        JoinType::JoinLeft => right.clone().into(),
        JoinType::JoinRight => left.clone().into(),
        _ => Sources::default(),
    }
}

/// A query's columns as an item of FROM has them.
fn renamed(output: Output, alias: Option<&pg::Alias>) -> Option<Vec<OutputColumn>> {
    output.renamed(alias.map_or(&[], |alias| alias.colnames.as_slice()))
}

/// The side whose value the merged column of USING has in every row.
fn merged_binding(kind: JoinType, left: Option<Bound>, right: Option<Bound>) -> Option<Bound> {
    match kind {
        JoinType::JoinInner | JoinType::JoinLeft => left,
        JoinType::JoinRight => right,
        _ => None,
    }
}

fn alias_name(alias: Option<&pg::Alias>) -> Option<String> {
    // An item without an alias still is an item: its columns have bare names.
    Some(alias.map(|alias| alias.aliasname.clone()).unwrap_or_default())
}
