//! What conditions say about rows: restrictions and carries.
//!
//! A condition that stands in WHERE or ON becomes a tree of comparisons; what is not recognised in it is open, which
//! only means that nothing is inferred from it. Every comparison here is strict: it is not true where the column is
//! NULL. So a row of an outer join's nullable side that is left out, and leaves a row of NULLs behind, changes nothing.

use pg_query::protobuf::{BoolExprType, BoolTestType, SubLinkType, a_const};
use pg_query::{Node, NodeEnum, protobuf as pg};

use super::compare::{self, Side};
use super::scope::{Bound, Scope, Sources};
use super::{Analyzer, inner};
use crate::sql::facts::{Carry, ColumnUse, Compared, Condition, Operand, Restriction, Values};
use crate::sql::schema::Resolved;

/// What a condition filters: the sources of its scope whose rows must satisfy it to have any influence.
pub(super) struct Filter {
    pub restricts: Sources,
    /// Sources one query level further out: those of a query that wants a row to exist.
    pub outside: Sources,
}

impl Filter {
    /// WHERE: every source of the scope.
    pub fn all(scope: &Scope<'_>) -> Self {
        Self { restricts: Sources(0, scope.sources.len()), outside: scope.env.wanted_by }
    }

    /// ON: some sources of the scope.
    pub fn some(restricts: Sources) -> Self {
        Self { restricts, outside: Sources::default() }
    }

    fn restricts(&self, bound: &Bound) -> bool {
        bound.pushable
            && match bound.place.level {
                0 => self.restricts.contains(bound.place.source),
                1 => self.outside.contains(bound.place.source),
                _ => false,
            }
    }

    /// The occurrences whose rows the condition restricts.
    fn relations(&self, scope: &Scope<'_>) -> Vec<usize> {
        let of = |scope: &Scope<'_>, sources: Sources| -> Vec<usize> {
            let sources = scope.sources.iter().enumerate().filter(|(place, _)| sources.contains(*place));
            sources.flat_map(|(_, source)| source.relations()).collect()
        };
        let mut relations = of(scope, self.restricts);
        relations.extend(scope.env.outer.map(|outer| of(outer, self.outside)).unwrap_or_default());
        relations.sort_unstable();
        relations.dedup();
        relations
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
            Some(NodeEnum::BooleanTest(test)) if test.booltesttype() == BoolTestType::IsTrue => {
                self.conditions(test.arg.as_deref(), filter, scope);
            }
            Some(NodeEnum::SubLink(link)) => self.membership_in_query(link, filter, scope),
            Some(NodeEnum::AExpr(comparison)) if self.equal_columns(comparison, filter, scope) => {}
            Some(node) => match self.condition(node, false, scope) {
                Condition::Open => {}
                condition => self.restrict(condition, filter, scope),
            },
            None => {}
        }
    }

    fn restrict(&mut self, condition: Condition, filter: &Filter, scope: &Scope<'_>) {
        let relations = filter.relations(scope);
        if !relations.is_empty() {
            self.statement.restrictions.push(Restriction { relations, condition });
        }
    }

    /// Records that both columns are equal in every row that counts.
    pub(super) fn carry(&mut self, left: &Bound, right: &Bound, filter: &Filter) {
        for (from, to) in [(left, right), (right, left)] {
            self.carry_to(from, to, filter);
        }
    }

    fn carry_to(&mut self, from: &Bound, to: &Bound, filter: &Filter) {
        if let ([from], true) = (from.columns.as_slice(), filter.restricts(to)) {
            let carries = to.columns.iter().map(|to| Carry { from: from.clone(), to: to.clone() });
            self.statement.carries.extend(carries);
        }
    }

    /// `a.x = b.y`, alone or in a comparison of rows, or `a.x = (SELECT ...)`. False if it is none of these.
    fn equal_columns(&mut self, comparison: &pg::AExpr, filter: &Filter, scope: &Scope<'_>) -> bool {
        if !compare::is_plain_equality(comparison) {
            return false;
        }
        let (Some(left), Some(right)) = (&comparison.lexpr, &comparison.rexpr) else { return false };
        if let (Some(NodeEnum::RowExpr(left)), Some(NodeEnum::RowExpr(right))) = (inner(left), inner(right)) {
            let pairs: Vec<_> = left.args.iter().zip(&right.args).collect();
            for (left, right) in pairs {
                self.equal_pair(left, right, filter, scope);
            }
            return false;
        }
        self.equal_pair(left, right, filter, scope)
    }

    fn equal_pair(&mut self, left: &Node, right: &Node, filter: &Filter, scope: &Scope<'_>) -> bool {
        let (left_column, right_column) = (self.column(left, scope), self.column(right, scope));
        match (left_column, right_column) {
            (Some(left), Some(right)) => self.carry(&left, &right, filter),
            (Some(column), None) => return self.equal_to_query(&column, right, filter),
            (None, Some(column)) => return self.equal_to_query(&column, left, filter),
            (None, None) => return false,
        }
        true
    }

    /// `a.x = (SELECT ...)`: the column has the query's value.
    fn equal_to_query(&mut self, column: &Bound, node: &Node, filter: &Filter) -> bool {
        let Some(NodeEnum::SubLink(link)) = inner(node) else { return false };
        if link.sub_link_type() != SubLinkType::ExprSublink {
            return false;
        }
        if let Some([value]) = self.query_columns(link) {
            self.carry_to(&value, column, filter);
        }
        true
    }

    /// `column IN (SELECT ...)`, `column = ANY (SELECT ...)`, or rows of columns.
    fn membership_in_query(&mut self, link: &pg::SubLink, filter: &Filter, scope: &Scope<'_>) {
        let is_equality = link.oper_name.is_empty() || compare::is_builtin(&link.oper_name, "=");
        if link.sub_link_type() != SubLinkType::AnySublink || !is_equality {
            return;
        }
        let tested: Vec<Option<Bound>> = match link.testexpr.as_deref().and_then(inner) {
            Some(NodeEnum::RowExpr(row)) => row.args.iter().map(|node| self.column(node, scope)).collect(),
            Some(_) => vec![link.testexpr.as_deref().and_then(|node| self.column(node, scope))],
            None => return,
        };
        let Some(values) = self.sublinks.get(&std::ptr::from_ref(link)).cloned() else { return };
        for (column, value) in tested.iter().zip(values) {
            let (Some(column), Some(value)) = (column, value) else { continue };
            self.carry_to(&value, column, filter);
            // Rows of the query that equal no row here find nothing.
            if let ([from], true, true) = (column.columns.as_slice(), value.pushable, filter.restricts(column)) {
                let carries = value.columns.iter().map(|to| Carry { from: from.clone(), to: to.clone() });
                self.statement.carries.extend(carries);
            }
        }
    }

    /// The columns of a query in an expression, if there are as many.
    fn query_columns<const N: usize>(&self, link: &pg::SubLink) -> Option<[Bound; N]> {
        let columns: Option<Vec<Bound>> = self.sublinks.get(&std::ptr::from_ref(link))?.iter().cloned().collect();
        columns?.try_into().ok()
    }

    /// As much of a condition as routing can use; with `negated` of its negation.
    fn condition(&self, node: &NodeEnum, negated: bool, scope: &Scope<'_>) -> Condition {
        match node {
            NodeEnum::BoolExpr(expr) => self.connected(expr, negated, scope),
            NodeEnum::BooleanTest(test) => match (test.booltesttype(), negated) {
                (BoolTestType::IsTrue, false) | (BoolTestType::IsNotTrue, true) => {
                    self.of(test.arg.as_deref(), false, scope)
                }
                (BoolTestType::IsFalse, false) | (BoolTestType::IsNotFalse, true) => {
                    self.of(test.arg.as_deref(), true, scope)
                }
                _ => Condition::Open,
            },
            NodeEnum::AConst(constant) => match &constant.val {
                Some(a_const::Val::Boolval(value)) if value.boolval == negated => Condition::Any(Vec::new()),
                None if constant.isnull => Condition::Any(Vec::new()),
                _ => Condition::Open,
            },
            NodeEnum::ColumnRef(reference) => match scope.bind(reference) {
                Some(bound) => compared(&bound, compare::equal(Operand::Boolean(!negated))),
                None => Condition::Open,
            },
            NodeEnum::AExpr(comparison) => self.comparison(comparison, negated, scope),
            _ => Condition::Open,
        }
    }

    fn of(&self, node: Option<&Node>, negated: bool, scope: &Scope<'_>) -> Condition {
        node.and_then(inner).map_or(Condition::Open, |node| self.condition(node, negated, scope))
    }

    fn connected(&self, expr: &pg::BoolExpr, negated: bool, scope: &Scope<'_>) -> Condition {
        let mut parts = expr.args.iter().map(|part| self.of(Some(part), negated, scope));
        match (expr.boolop(), negated) {
            (BoolExprType::NotExpr, _) => self.of(expr.args.first(), !negated, scope),
            (BoolExprType::AndExpr, false) | (BoolExprType::OrExpr, true) => all(parts),
            (BoolExprType::OrExpr, false) | (BoolExprType::AndExpr, true) => any(parts),
            (BoolExprType::Undefined, _) => parts.next().map_or(Condition::Open, |_| Condition::Open),
        }
    }

    fn comparison(&self, comparison: &pg::AExpr, negated: bool, scope: &Scope<'_>) -> Condition {
        let (Some(left), Some(right)) = (comparison.lexpr.as_deref(), comparison.rexpr.as_deref()) else {
            return Condition::Open;
        };
        match compare::kind(comparison, negated) {
            Some(compare::Kind::Operator(comparison)) => self.compared_sides(left, comparison, right, scope),
            Some(compare::Kind::In) => match inner(right) {
                Some(NodeEnum::List(list)) => self.member(left, &list.items, scope),
                _ => Condition::Open,
            },
            Some(compare::Kind::AnyOf) => self.member_of_array(left, right, scope),
            Some(compare::Kind::Between { symmetric }) => match inner(right) {
                Some(NodeEnum::List(list)) => self.between(left, &list.items, symmetric, scope),
                _ => Condition::Open,
            },
            None => Condition::Open,
        }
    }

    fn compared_sides(
        &self,
        left: &Node,
        comparison: compare::Comparison,
        right: &Node,
        scope: &Scope<'_>,
    ) -> Condition {
        if let (Some(NodeEnum::RowExpr(left)), Some(NodeEnum::RowExpr(right))) = (inner(left), inner(right)) {
            return self.compared_rows(&left.args, comparison, &right.args, scope);
        }
        match (self.column(left, scope), self.column(right, scope)) {
            (Some(column), None) => self.compared_with(&column, comparison, right),
            (None, Some(column)) => self.compared_with(&column, compare::flipped(comparison), left),
            _ => Condition::Open,
        }
    }

    fn compared_with(&self, column: &Bound, comparison: compare::Comparison, value: &Node) -> Condition {
        match self.operand(value) {
            Operand::Computed | Operand::Default => Condition::Open,
            operand => compared(column, (comparison, Values::List(vec![operand]))),
        }
    }

    /// Rows are equal if all their parts are; otherwise the first part decides, or equals.
    fn compared_rows(
        &self,
        left: &[Node],
        comparison: compare::Comparison,
        right: &[Node],
        scope: &Scope<'_>,
    ) -> Condition {
        use compare::Comparison::*;
        let pairs = || left.iter().zip(right);
        let first = |comparison| match pairs().next() {
            Some((left, right)) => self.compared_sides(left, comparison, right, scope),
            None => Condition::Open,
        };
        match comparison {
            Equal => all(pairs().map(|(left, right)| self.compared_sides(left, Equal, right, scope))),
            NotDistinct => Condition::Open,
            Less | LessEqual => first(LessEqual),
            Greater | GreaterEqual => first(GreaterEqual),
        }
    }

    fn member(&self, left: &Node, items: &[Node], scope: &Scope<'_>) -> Condition {
        if let Some(NodeEnum::RowExpr(row)) = inner(left) {
            return any(items.iter().map(|item| match inner(item) {
                Some(NodeEnum::RowExpr(item)) => {
                    self.compared_rows(&row.args, compare::Comparison::Equal, &item.args, scope)
                }
                _ => Condition::Open,
            }));
        }
        match self.column(left, scope) {
            Some(column) => self.member_of(&column, items.iter().map(|item| self.operand(item)).collect()),
            None => Condition::Open,
        }
    }

    fn member_of(&self, column: &Bound, operands: Vec<Operand>) -> Condition {
        if operands.iter().any(|operand| matches!(operand, Operand::Computed | Operand::Default)) {
            return Condition::Open;
        }
        compared(column, (compare::Comparison::Equal, Values::List(operands)))
    }

    fn member_of_array(&self, left: &Node, right: &Node, scope: &Scope<'_>) -> Condition {
        let Some(column) = self.column(left, scope) else { return Condition::Open };
        match self.array(right) {
            Some(Values::List(operands)) => self.member_of(&column, operands),
            Some(values) => compared(&column, (compare::Comparison::Equal, values)),
            None => Condition::Open,
        }
    }

    fn between(&self, left: &Node, bounds: &[Node], symmetric: bool, scope: &Scope<'_>) -> Condition {
        use compare::Comparison::{GreaterEqual, LessEqual};
        let ([low, high], Some(column)) = (bounds, self.column(left, scope)) else { return Condition::Open };
        let within = |low: &Node, high: &Node| {
            let bounds = [(GreaterEqual, low), (LessEqual, high)];
            all(bounds.into_iter().map(|(comparison, bound)| self.compared_with(&column, comparison, bound)))
        };
        if symmetric { any([within(low, high), within(high, low)].into_iter()) } else { within(low, high) }
    }

    /// The OID of a column's type, as far as the catalogs tell it.
    pub(super) fn type_of(&self, used: &ColumnUse) -> Option<u32> {
        let name = &self.statement.relations.get(used.relation)?.name;
        match self.schema.resolve(name) {
            Resolved::User { relation, .. } => {
                relation.columns.iter().find(|column| column.name == used.column).map(|column| column.type_oid)
            }
            Resolved::System | Resolved::Unknown => None,
        }
    }

    /// The column that an operand is. A cast to a wider integer, or from one kind of text to the other, is without effect
    /// on comparisons.
    pub(super) fn column(&self, node: &Node, scope: &Scope<'_>) -> Option<Bound> {
        match inner(node)? {
            NodeEnum::ColumnRef(reference) => scope.bind(reference),
            NodeEnum::TypeCast(cast) => {
                let Side::Column(reference) = compare::cast_side(cast)? else { return None };
                let bound = scope.bind(reference)?;
                let mut types = bound.columns.iter().map(|used| self.type_of(used));
                types.all(|actual| compare::is_faithful(actual, cast)).then_some(bound)
            }
            _ => None,
        }
    }
}

fn compared(bound: &Bound, (comparison, values): (compare::Comparison, Values)) -> Condition {
    if !bound.pushable {
        return Condition::Open;
    }
    Condition::Compared(Compared { columns: bound.columns.clone(), comparison, values })
}

/// Parts that are open say nothing.
fn all(parts: impl Iterator<Item = Condition>) -> Condition {
    let mut known: Vec<Condition> = parts.filter(|part| *part != Condition::Open).collect();
    match known.len() {
        0 => Condition::Open,
        1 => known.swap_remove(0),
        _ => Condition::All(known),
    }
}

/// One part that is open opens all.
fn any(parts: impl Iterator<Item = Condition>) -> Condition {
    let parts: Vec<Condition> = parts.collect();
    if parts.contains(&Condition::Open) { Condition::Open } else { Condition::Any(parts) }
}
