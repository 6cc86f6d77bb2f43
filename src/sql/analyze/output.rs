//! The columns of a query, and where their values come from.

use pg_query::protobuf::SetOperation;
use pg_query::{Node, NodeEnum, protobuf as pg};

use super::scope::{Bound, Scope, column_path};
use super::{Analyzer, inner, string, strings};
use crate::sql::facts::{ColumnUse, Effects};

/// What is known of a query's columns.
pub(super) struct Output {
    pub columns: Vec<OutputColumn>,
    /// The columns are in the query's own order.
    pub ordered: bool,
}

/// A column of a query.
#[derive(Clone, Debug)]
pub(super) struct OutputColumn {
    /// `None`: the name is not known.
    pub name: Option<String>,
    /// Where its values come from: one column, or one for each branch of a set operation; empty when that is not known.
    pub columns: Vec<ColumnUse>,
    /// Rows of those columns' relations may be left out when no row of the query with their values is wanted.
    pub pushable: bool,
}

/// What a query level does with its rows beyond selecting them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Shape {
    pub aggregates: bool,
    /// Window functions, LIMIT, DISTINCT ON, locks: one row's presence decides on others.
    pub cuts: bool,
}

impl OutputColumn {
    pub fn of(relation: usize, column: &str) -> Self {
        let columns = vec![ColumnUse { relation, column: column.to_owned() }];
        Self { name: Some(column.to_owned()), columns, pushable: true }
    }

    pub fn bound(name: Option<String>, bound: Option<&Bound>) -> Self {
        match bound {
            // A column of a query further out is a constant here; rows there are not this query's to leave out.
            Some(bound) => {
                Self { name, columns: bound.columns.clone(), pushable: bound.pushable && bound.place.level == 0 }
            }
            None => Self { name, columns: Vec::new(), pushable: false },
        }
    }
}

impl Output {
    /// The columns under other names, as an alias with a column list gives them.
    pub fn renamed(mut self, names: &[Node]) -> Option<Vec<OutputColumn>> {
        if names.is_empty() {
            return Some(self.columns);
        }
        if !self.ordered || names.len() > self.columns.len() {
            return None;
        }
        for (column, name) in self.columns.iter_mut().zip(names) {
            column.name = Some(string(name)?.to_owned());
        }
        Some(self.columns)
    }
}

impl Analyzer<'_> {
    /// The columns of a SELECT that is no set operation.
    pub(super) fn output(&self, select: &pg::SelectStmt, scope: &Scope<'_>) -> Option<Output> {
        let mut output = Output { columns: Vec::new(), ordered: true };
        if let Some(row) = select.values_lists.first().and_then(inner) {
            let NodeEnum::List(row) = row else { return None };
            let names = (1..=row.items.len()).map(|number| Some(format!("column{number}")));
            output.columns.extend(names.map(|name| OutputColumn::bound(name, None)));
            return Some(output);
        }
        output = self.targets(&select.target_list, scope)?;
        let shape = self.shape;
        let keeps_rows = self.statement.effects.contains(Effects::VOLATILE) || self.has_escaping_aggregate;
        let grouped = select.group_clause.iter().filter_map(|item| self.plain_column(item, scope));
        let grouped: Vec<ColumnUse> = grouped.flatten().collect();
        let is_grouped = shape.aggregates || !select.group_clause.is_empty() || select.having_clause.is_some();
        for column in &mut output.columns {
            let is_key = || column.columns.iter().all(|used| grouped.contains(used));
            column.pushable &= !shape.cuts && !keeps_rows && (!is_grouped || is_key());
        }
        Some(output)
    }

    /// The columns of a list of targets.
    pub(super) fn targets(&self, targets: &[Node], scope: &Scope<'_>) -> Option<Output> {
        let mut output = Output { columns: Vec::new(), ordered: true };
        for target in targets {
            let Some(NodeEnum::ResTarget(target)) = inner(target) else { return None };
            self.output_target(target, scope, &mut output)?;
        }
        Some(output)
    }

    /// The column that an item of GROUP BY is; grouping sets are none.
    fn plain_column(&self, item: &Node, scope: &Scope<'_>) -> Option<Vec<ColumnUse>> {
        match inner(item)? {
            NodeEnum::ColumnRef(reference) => scope.bind(reference).map(|bound| bound.columns),
            _ => None,
        }
    }

    fn output_target(&self, target: &pg::ResTarget, scope: &Scope<'_>, output: &mut Output) -> Option<()> {
        let alias = (!target.name.is_empty()).then(|| target.name.clone());
        match target.val.as_deref().and_then(inner)? {
            NodeEnum::ColumnRef(reference) => match column_path(reference) {
                Some(path) => {
                    let name = alias.or_else(|| path.last().map(|name| (*name).to_owned()));
                    output.columns.push(OutputColumn::bound(name, scope.bind(reference).as_ref()));
                }
                None => output_star(reference, scope, output)?,
            },
            _ => output.columns.push(OutputColumn::bound(alias, None)),
        }
        Some(())
    }

    /// The columns of UNION, INTERSECT or EXCEPT. Values of different types are compared as a third one.
    pub(super) fn combined(
        &self,
        select: &pg::SelectStmt,
        left: Option<Output>,
        right: Option<Output>,
    ) -> Option<Output> {
        let (left, right) = (left?, right?);
        if !left.ordered || !right.ordered || left.columns.len() != right.columns.len() {
            return None;
        }
        let cuts = select.limit_count.is_some() || select.limit_offset.is_some() || !select.locking_clause.is_empty();
        let only_left = select.op() == SetOperation::SetopExcept;
        let column = |(left, right): (OutputColumn, OutputColumn)| {
            let mut types = left.columns.iter().chain(&right.columns).map(|used| self.type_of(used));
            let first = types.next().flatten();
            let known = !left.columns.is_empty() && !right.columns.is_empty();
            if !known || first.is_none() || types.any(|other| other != first) {
                return OutputColumn { name: left.name, columns: Vec::new(), pushable: false };
            }
            let pushable = left.pushable && right.pushable && !cuts;
            let mut columns = left.columns;
            if pushable || !only_left {
                columns.extend(right.columns);
            }
            OutputColumn { name: left.name, columns, pushable }
        };
        let columns = left.columns.into_iter().zip(right.columns).map(column).collect();
        Some(Output { columns, ordered: true })
    }
}

fn output_star(reference: &pg::ColumnRef, scope: &Scope<'_>, output: &mut Output) -> Option<()> {
    let (columns, ordered) = match strings(&reference.fields).as_slice() {
        [] => scope.star()?,
        [name] => (scope.star_of(None, name)?, true),
        [schema, name] => (scope.star_of(Some(schema), name)?, true),
        _ => return None,
    };
    output.columns.extend(columns);
    output.ordered &= ordered;
    Some(())
}
