//! What stands around aggregates and window functions: HAVING, expressions, DISTINCT and ORDER BY of groups.
//!
//! The shards give what the statement is made of: its groups and the partial results of its aggregates, or plain columns.
//! The merge combines them, and a server evaluates the rest, the *outer* statement, over the combined rows: there every
//! aggregate, and every expression that is grouped by, is a column.

use pg_query::NodeEnum;
use pg_query::protobuf::{
    AConst, ColumnRef as Reference, FuncCall, Integer, Node, RangeVar, ResTarget, SelectStmt, SortBy, a_const,
};

use super::aggregate::AggregateCall;
use super::expression::{Contents, built_in_function, column_reference, is_aggregate, parts_mut, string, whole_form};
use super::group::Group;
use super::order::{SortItem, resolve};
use super::rewrite::Rewrite;
use super::scope::Scope;
use super::targets::{Target, Targets};
use super::{Distributed, Window, refuse};
use crate::merge::spec::{Aggregate, ColumnRef, Combine, Outer, Ties};
use crate::sql::tree::{integer, written};
use crate::types::Result;

/// What a row of the shards is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// A row of the tables.
    OfTables,
    /// A whole group: all its rows are on one shard.
    WholeGroups,
    /// A part of a group.
    PartsOfGroups,
}

/// Divides a statement into what the shards do, and what is done with their combined rows.
///
/// # Errors
/// Refuses aggregates that cannot be combined, and `*`.
pub fn distribute_outer(
    mut rewrite: Rewrite,
    targets: &Targets,
    scope: &Scope<'_>,
    (groups, sort): (&[Group], &[SortItem]),
    rows: Rows,
) -> Result<Distributed> {
    let select = rewrite.select.clone();
    leave_groups(&mut rewrite.select, groups);
    let mut division = Division { scope, rewrite, rows, columns: Vec::new() };
    for group in groups {
        let column = division.rewrite.hide(group.expression.clone());
        division.columns.push(Column { normal: group.normal.clone(), column, aggregate: None });
    }
    let outer = division.outer(select, targets, sort)?;
    division.finish(outer)
}

/// Leaves of a statement what its groups need, for the shards to run.
fn leave_groups(select: &mut SelectStmt, groups: &[Group]) {
    select.target_list.clear();
    select.distinct_clause.clear();
    select.having_clause = None;
    select.window_clause.clear();
    select.sort_clause.clear();
    // Names and numbers of columns that are not selected any more mean nothing.
    select.group_clause = groups.iter().map(|group| group.expression.clone()).collect();
}

struct Division<'a, 's> {
    scope: &'a Scope<'s>,
    rewrite: Rewrite,
    rows: Rows,
    columns: Vec<Column>,
}

/// A column of the combined rows.
struct Column {
    /// What it stands for.
    normal: Node,
    column: ColumnRef,
    aggregate: Option<Aggregate>,
}

impl Division<'_, '_> {
    /// The statement over the combined rows. Its names do not matter: the client reads the description of its own.
    fn outer(&mut self, mut select: SelectStmt, targets: &Targets, sort: &[SortItem]) -> Result<SelectStmt> {
        for node in &mut select.distinct_clause {
            if node.node.is_some() {
                *node = match resolve(Some(node), targets, self.scope)? {
                    (_, Some(place)) => ordinal(place)?,
                    (expression, None) => self.remaining(&expression)?,
                };
            }
        }
        select.target_list = targets.list.iter().map(|target| self.target(target)).collect::<Result<_>>()?;
        let having = select.having_clause.take();
        select.where_clause = having.map(|having| self.remaining(&having).map(Box::new)).transpose()?;
        for window in &mut select.window_clause {
            *window = self.remaining(window)?;
        }
        for (node, item) in select.sort_clause.iter_mut().zip(sort) {
            let Some(NodeEnum::SortBy(clause)) = &mut node.node else {
                return Err(refuse("an unknown item of ORDER BY"));
            };
            let expression = match item.target {
                Some(place) => ordinal(place)?,
                None => self.remaining(&item.expression)?,
            };
            **clause = SortBy { node: Some(Box::new(expression)), ..(**clause).clone() };
        }
        select.group_clause.clear();
        select.from_clause = vec![self.rows_reference()];
        Ok(select)
    }

    fn target(&mut self, target: &Target) -> Result<Node> {
        match target {
            Target::Star(_) => Err(refuse("* beside aggregates or window functions")),
            Target::Value(target) => {
                let val = Some(Box::new(self.remaining(&target.expression)?));
                Ok(Node { node: Some(NodeEnum::ResTarget(Box::new(ResTarget { val, ..ResTarget::default() }))) })
            }
        }
    }

    fn rows_reference(&self) -> Node {
        let relname = self.rewrite.rows_name();
        let table = RangeVar { relname, inh: true, relpersistence: "p".to_owned(), ..RangeVar::default() };
        Node { node: Some(NodeEnum::RangeVar(table)) }
    }

    /// What remains of an expression when the combined columns stand for their parts.
    fn remaining(&mut self, expression: &Node) -> Result<Node> {
        let (normal, contents) = whole_form(expression, self.scope)?;
        if let Some(found) = self.columns.iter().find(|column| column.normal == normal) {
            return Ok(self.reference(found.column));
        }
        if let Some(column) = self.combined(expression, &normal, contents)? {
            return Ok(self.reference(column));
        }
        let mut remaining = expression.clone();
        if let Some(construct) = &mut remaining.node {
            for part in parts_mut(construct)? {
                *part = self.remaining(part)?;
            }
        }
        Ok(remaining)
    }

    /// The new column that stands for an expression; `None` for one that is made of others.
    fn combined(&mut self, expression: &Node, normal: &Node, contents: Contents) -> Result<Option<ColumnRef>> {
        let found = match &expression.node {
            Some(NodeEnum::ColumnRef(reference)) => Some((self.column(expression, reference)?, None)),
            Some(NodeEnum::FuncCall(call)) if contents.aggregate => self.aggregate(expression, call)?,
            _ => None,
        };
        Ok(found.map(|(column, aggregate)| {
            self.columns.push(Column { normal: normal.clone(), column, aggregate });
            column
        }))
    }

    fn column(&mut self, expression: &Node, reference: &Reference) -> Result<ColumnRef> {
        match self.rows {
            Rows::OfTables => Ok(self.rewrite.hide(expression.clone())),
            Rows::WholeGroups | Rows::PartsOfGroups => {
                let name = reference.fields.iter().map(string).collect::<Result<Vec<_>>>()?.join(".");
                Err(refuse(format!("the column \"{name}\", which is neither grouped by nor part of an aggregate")))
            }
        }
    }

    fn aggregate(&mut self, expression: &Node, call: &FuncCall) -> Result<Option<(ColumnRef, Option<Aggregate>)>> {
        let (_, class) = built_in_function(call, self.scope)?;
        if !is_aggregate(call, class) {
            return Ok(None);
        }
        if self.rows == Rows::WholeGroups {
            return Ok(Some((self.rewrite.hide(expression.clone()), None)));
        }
        let call = AggregateCall::read(expression, self.scope)?;
        Ok(call.map(|call| call.hide(&mut self.rewrite)).map(|(column, aggregate)| (column, Some(aggregate))))
    }

    fn reference(&self, column: ColumnRef) -> Node {
        column_reference(None, &self.rewrite.hidden_name(column))
    }

    /// The shards' text and the recipe.
    fn finish(mut self, outer: SelectStmt) -> Result<Distributed> {
        if self.rewrite.hidden_columns() == 0 {
            // Rows without columns cannot be counted.
            let column = self.rewrite.hide(integer(1));
            self.columns.push(Column { normal: Node::default(), column, aggregate: None });
        }
        let column = |column: &Column| column.column;
        let (grouped, aggregated): (Vec<&Column>, Vec<&Column>) =
            self.columns.iter().partition(|column| column.aggregate.is_none());
        let names = grouped.iter().chain(&aggregated).map(|own| self.rewrite.hidden_name(own.column)).collect();
        let combine = match self.rows {
            Rows::OfTables | Rows::WholeGroups => Combine::Rows,
            Rows::PartsOfGroups => Combine::Groups {
                group_columns: grouped.iter().map(|own| column(own)).collect(),
                aggregates: aggregated.iter().filter_map(|own| Some((own.column, own.aggregate?))).collect(),
            },
        };
        let text = written(NodeEnum::SelectStmt(Box::new(outer)))?;
        self.rewrite.outer = Some(Outer { text, rows_name: self.rewrite.rows_name(), columns: names });
        self.rewrite.limit(None, Ties::Cut);
        self.rewrite.finish(combine, Vec::new(), Window::default())
    }
}

/// The number of a column of the select list.
fn ordinal(place: usize) -> Result<Node> {
    let number = i32::try_from(place + 1).map_err(|_| refuse("a select list of so many columns"))?;
    let val = Some(a_const::Val::Ival(Integer { ival: number }));
    let constant = AConst { val, ..AConst::default() };
    Ok(Node { node: Some(NodeEnum::AConst(constant)) })
}
