//! What conditions say about keys: restrictions and carries.
//!
//! Only conjuncts at the top of WHERE or ON count, and of these only equality, `IN`, `= ANY (ARRAY[...])` and OR over
//! one column. Everything else is passed over here, which only means that nothing is inferred from it.

use std::ops::Range;

use pg_query::protobuf::{AExprKind, BoolExprType};
use pg_query::{Node, NodeEnum, protobuf as pg};

use super::scope::{Bound, Scope};
use super::{Analyzer, inner, strings};
use crate::sql::facts::{Carry, Operand, Restriction};

/// What a condition filters: the sources of its scope whose rows must satisfy it to have any influence.
pub(super) struct Filter {
    pub restricts: Range<usize>,
}

impl Filter {
    /// WHERE: every source of the scope.
    pub fn all(scope: &Scope<'_>) -> Self {
        Self { restricts: 0..scope.sources.len() }
    }

    fn restricts(&self, bound: &Bound) -> bool {
        bound.source.is_some_and(|source| self.restricts.contains(&source))
    }
}

impl Analyzer<'_> {
    /// Takes restrictions and carries from a condition that stands in WHERE or ON.
    pub(super) fn conditions(&mut self, condition: Option<&Node>, filter: &Filter, scope: &Scope<'_>) {
        match condition.and_then(inner) {
            Some(NodeEnum::BoolExpr(and)) if and.boolop() == BoolExprType::AndExpr => {
                for conjunct in &and.args {
                    self.conditions(Some(conjunct), filter, scope);
                }
            }
            Some(NodeEnum::BoolExpr(or)) if or.boolop() == BoolExprType::OrExpr => {
                if let Some((bound, one_of)) = self.any_of(&or.args, scope) {
                    self.restrict(bound, one_of, filter);
                }
            }
            Some(NodeEnum::AExpr(comparison)) => self.comparison(comparison, filter, scope),
            _ => {}
        }
    }

    fn comparison(&mut self, comparison: &pg::AExpr, filter: &Filter, scope: &Scope<'_>) {
        if let Some((left, right)) = column_equality(comparison, scope) {
            self.carry(&left, &right, filter);
        } else if let Some((bound, one_of)) = self.membership(comparison, scope) {
            self.restrict(bound, one_of, filter);
        }
    }

    /// Records that both columns are equal in every row that counts.
    pub(super) fn carry(&mut self, left: &Bound, right: &Bound, filter: &Filter) {
        for (from, to) in [(left, right), (right, left)] {
            if filter.restricts(to) {
                self.statement.carries.push(Carry { from: from.column.clone(), to: to.column.clone() });
            }
        }
    }

    fn restrict(&mut self, bound: Bound, one_of: Vec<Operand>, filter: &Filter) {
        if filter.restricts(&bound) {
            self.statement.restrictions.push(Restriction { column: bound.column, one_of });
        }
    }

    /// OR whose every branch compares one and the same column.
    fn any_of(&self, branches: &[Node], scope: &Scope<'_>) -> Option<(Bound, Vec<Operand>)> {
        let mut found: Option<(Bound, Vec<Operand>)> = None;
        for branch in branches {
            let Some(NodeEnum::AExpr(comparison)) = inner(branch) else { return None };
            let (bound, one_of) = self.membership(comparison, scope)?;
            match &mut found {
                None => found = Some((bound, one_of)),
                Some((known, operands)) if known.column == bound.column => operands.extend(one_of),
                Some(_) => return None,
            }
        }
        found
    }

    /// `column = value`, `value = column`, `column IN (...)`, `column = ANY (ARRAY[...])`, if every value is known
    /// when the statement is routed.
    fn membership(&self, comparison: &pg::AExpr, scope: &Scope<'_>) -> Option<(Bound, Vec<Operand>)> {
        let (column, values) = membership_parts(comparison)?;
        let bound = scope.bind(column)?;
        let one_of: Vec<Operand> = values.iter().map(|value| self.operand(value)).collect();
        let known = |operand: &Operand| !matches!(operand, Operand::Computed | Operand::Default);
        one_of.iter().all(known).then_some((bound, one_of))
    }
}

/// The two columns of `a.x = b.y`.
fn column_equality(comparison: &pg::AExpr, scope: &Scope<'_>) -> Option<(Bound, Bound)> {
    if comparison.kind() != AExprKind::AexprOp || !is_equality(comparison) {
        return None;
    }
    let side = |node: &Option<Box<Node>>| match node.as_deref().and_then(inner) {
        Some(NodeEnum::ColumnRef(column)) => scope.bind(column),
        _ => None,
    };
    Some((side(&comparison.lexpr)?, side(&comparison.rexpr)?))
}

/// A comparison of one column with values: the column, and the values whether certain or not.
pub(super) fn membership_parts(comparison: &pg::AExpr) -> Option<(&pg::ColumnRef, &[Node])> {
    if !is_equality(comparison) {
        return None;
    }
    let (left, right) = (comparison.lexpr.as_deref()?, comparison.rexpr.as_deref()?);
    match (comparison.kind(), inner(left)?, inner(right)?) {
        (AExprKind::AexprOp, NodeEnum::ColumnRef(column), _) => Some((column, std::slice::from_ref(right))),
        (AExprKind::AexprOp, _, NodeEnum::ColumnRef(column)) => Some((column, std::slice::from_ref(left))),
        (AExprKind::AexprIn, NodeEnum::ColumnRef(column), NodeEnum::List(list)) => Some((column, &list.items)),
        (AExprKind::AexprOpAny, NodeEnum::ColumnRef(column), NodeEnum::AArrayExpr(array)) => {
            Some((column, &array.elements))
        }
        _ => None,
    }
}

/// Whether the operator is PostgreSQL's own `=`. An unqualified one finds pg_catalog's first.
fn is_equality(comparison: &pg::AExpr) -> bool {
    matches!(strings(&comparison.name).as_slice(), ["="] | ["pg_catalog", "="])
}
