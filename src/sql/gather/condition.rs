//! Conditions that go to the shards: rows that cannot matter are not gathered.
//!
//! A condition goes if it is a comparison (or AND, OR and NOT of comparisons) of columns of one occurrence with each other or
//! with constants, by operators of PostgreSQL's own that never fail and are not true of NULL. It stands in WHERE, or in the
//! ON of a join whose side it restricts. Since it is not true of NULL, it may restrict the nullable side of an outer join
//! from WHERE: a row without its partner does not come through, either.

use std::ops::Range;

use pg_query::protobuf::{
    AExpr, AExprKind, BoolExpr, ColumnRef, JoinType, LimitOption, SelectStmt, SetOperation, TypeCast, TypeName, a_const,
};
use pg_query::{Node, NodeEnum};

use super::query::{Reader, string};
use crate::sql::moment::names_moment;
use crate::sql::tree::{and_terms, written};
use crate::types::{Error, Result};

/// One query level's items of FROM, in order.
#[derive(Default)]
pub struct Level {
    pub items: Vec<LevelItem>,
    /// Columns that USING made one of two.
    pub merged: Vec<String>,
    /// A NATURAL join merged columns.
    pub is_natural: bool,
}

/// An item of FROM.
pub struct LevelItem {
    pub name: String,
    /// The occurrence, if it is a table whose columns have their own names.
    pub occurrence: Option<usize>,
    /// A join around it has another name.
    pub is_hidden: bool,
    /// The columns of a table or view, as the statement calls them: its row has a type of its own.
    pub row: Option<Vec<String>>,
}

/// Operators that compare, and never fail.
const COMPARISONS: &[&str] = &["=", "<>", "!=", "<", "<=", ">", ">="];

/// Types of constants whose input and sums depend on nothing but settings that all servers of a session share.
const CONSTANT_TYPES: &[&str] = &[
    "bool",
    "bpchar",
    "date",
    "float4",
    "float8",
    "int2",
    "int4",
    "int8",
    "interval",
    "numeric",
    "text",
    "time",
    "timestamp",
    "uuid",
    "varchar",
];

/// The part of a join whose rows its ON restricts; `start`, `middle` and `end` are places in [`Level::items`].
pub fn restricted(kind: JoinType, start: usize, middle: usize, end: usize) -> Range<usize> {
    match kind {
        JoinType::JoinInner => start..end,
        JoinType::JoinLeft => middle..end,
        JoinType::JoinRight => start..middle,
        _ => 0..0,
    }
}

impl Reader<'_> {
    /// Notes what of a condition can go to the shards. Names lead to the items in `visible`, rows of those in `restricted`
    /// do not count where it is not true.
    ///
    /// # Errors
    /// A tree that cannot be written as text, which would be a bug.
    pub fn restrict(
        &mut self,
        condition: Option<&Node>,
        level: &Level,
        visible: &Range<usize>,
        restricted: &Range<usize>,
    ) -> Result<()> {
        let mut terms = condition.map(and_terms).unwrap_or_default().into_iter();
        terms.try_for_each(|term| self.restrict_by(term, level, visible, restricted))
    }

    fn restrict_by(
        &mut self,
        term: &Node,
        level: &Level,
        visible: &Range<usize>,
        restricted: &Range<usize>,
    ) -> Result<()> {
        let mut search = Search { reader: self, level, visible, found: None };
        let Some(local) = search.condition(term) else { return Ok(()) };
        let Some(place) = search.found.filter(|place| restricted.contains(place)) else { return Ok(()) };
        let occurrence = level.items.get(place).and_then(|item| item.occurrence);
        if let Some(occurrence) = occurrence.and_then(|occurrence| self.occurrences.get_mut(occurrence)) {
            occurrence.conditions.push(deparse(local)?);
        }
        Ok(())
    }
}

/// The search for the one item that a condition is about.
struct Search<'s, 'a> {
    reader: &'s Reader<'a>,
    level: &'s Level,
    visible: &'s Range<usize>,
    /// Its place in [`Level::items`].
    found: Option<usize>,
}

impl Search<'_, '_> {
    /// The condition with bare names of columns; `None` if it cannot go.
    fn condition(&mut self, node: &Node) -> Option<Node> {
        match node.node.as_ref()? {
            NodeEnum::BoolExpr(expr) => {
                let args = expr.args.iter().map(|arg| self.condition(arg)).collect::<Option<Vec<_>>>()?;
                let expr = BoolExpr { args, ..(**expr).clone() };
                Some(of(NodeEnum::BoolExpr(Box::new(expr))))
            }
            NodeEnum::AExpr(comparison) => self.comparison(comparison),
            _ => None,
        }
    }

    fn comparison(&mut self, comparison: &AExpr) -> Option<Node> {
        let operator = self.operator(&comparison.name)?;
        let is_allowed = match comparison.kind() {
            AExprKind::AexprOp => COMPARISONS.contains(&operator),
            AExprKind::AexprIn | AExprKind::AexprOpAny => matches!(operator, "=" | "<>"),
            AExprKind::AexprBetween | AExprKind::AexprNotBetween => true,
            AExprKind::AexprLike => is_plain_pattern(comparison.rexpr.as_deref()?),
            _ => false,
        };
        if !is_allowed {
            return None;
        }
        let (left, right) = (comparison.lexpr.as_deref()?, comparison.rexpr.as_deref()?);
        let (left, right) = (self.term(left)?, self.term(right)?);
        // Which type a constant takes depends on the column beside it.
        let has_column = is_column(&left) || is_column(&right);
        let comparison = AExpr { lexpr: Some(Box::new(left)), rexpr: Some(Box::new(right)), ..comparison.clone() };
        has_column.then(|| of(NodeEnum::AExpr(Box::new(comparison))))
    }

    fn operator<'n>(&self, name: &'n [Node]) -> Option<&'n str> {
        match name {
            [name] => string(name).filter(|name| !self.reader.schema.user_operators.contains(*name)),
            _ => None,
        }
    }

    fn term(&mut self, node: &Node) -> Option<Node> {
        match node.node.as_ref()? {
            NodeEnum::ColumnRef(reference) => self.column(reference),
            NodeEnum::List(list) => list.items.iter().all(is_constant).then(|| node.clone()),
            _ => is_constant(node).then(|| node.clone()),
        }
    }

    fn column(&mut self, reference: &ColumnRef) -> Option<Node> {
        let names = reference.fields.iter().map(string).collect::<Option<Vec<_>>>()?;
        let (place, column) = match names.as_slice() {
            [column] => (self.owner_of(column)?, *column),
            [item, column] => (self.called(item)?, *column),
            _ => return None,
        };
        if !self.has(place, column) || self.found.is_some_and(|found| found != place) {
            return None;
        }
        self.found = Some(place);
        let fields = vec![of(NodeEnum::String(pg_query::protobuf::String { sval: column.to_owned() }))];
        Some(of(NodeEnum::ColumnRef(ColumnRef { fields, ..reference.clone() })))
    }

    /// The only item of that name.
    fn called(&self, name: &str) -> Option<usize> {
        only(self.items().filter(|place| self.level.items[*place].name == name))
    }

    /// The only table with that column. If an item that is no table had it too, the name would be ambiguous, and an error.
    fn owner_of(&self, column: &str) -> Option<usize> {
        if self.level.is_natural || self.level.merged.iter().any(|merged| merged == column) {
            return None;
        }
        only(self.items().filter(|place| self.has(*place, column)))
    }

    fn items(&self) -> impl Iterator<Item = usize> {
        let is_visible = |place: &usize| self.level.items.get(*place).is_some_and(|item| !item.is_hidden);
        self.visible.clone().filter(is_visible)
    }

    fn has(&self, place: usize, column: &str) -> bool {
        let occurrence = self.level.items.get(place).and_then(|item| item.occurrence);
        let occurrence = occurrence.and_then(|occurrence| self.reader.occurrences.get(occurrence));
        occurrence.is_some_and(|found| found.relation.columns.iter().any(|known| known.name == column))
    }
}

fn only(mut places: impl Iterator<Item = usize>) -> Option<usize> {
    places.next().filter(|_| places.next().is_none())
}

fn is_column(node: &Node) -> bool {
    matches!(node.node, Some(NodeEnum::ColumnRef(_)))
}

/// Whether an expression is the same on every server, and reads no clock.
fn is_constant(node: &Node) -> bool {
    match &node.node {
        Some(NodeEnum::AConst(constant)) => match &constant.val {
            Some(a_const::Val::Sval(text)) => !names_moment(&text.sval),
            Some(a_const::Val::Ival(_) | a_const::Val::Fval(_) | a_const::Val::Boolval(_)) => true,
            Some(a_const::Val::Bsval(_)) | None => false,
        },
        Some(NodeEnum::TypeCast(cast)) => is_constant_cast(cast),
        Some(NodeEnum::AArrayExpr(array)) => array.elements.iter().all(is_constant),
        Some(NodeEnum::AExpr(sum)) => {
            let operands = [&sum.lexpr, &sum.rexpr];
            let is_sum = sum.kind() == AExprKind::AexprOp
                && matches!(sum.name.as_slice(), [name] if matches!(string(name), Some("+" | "-")));
            // A sign stands in front of one operand.
            is_sum && sum.rexpr.is_some() && operands.into_iter().flatten().all(|operand| is_constant(operand))
        }
        _ => false,
    }
}

fn is_constant_cast(cast: &TypeCast) -> bool {
    let is_known = |name: &TypeName| {
        let names = name.names.iter().map(string).collect::<Option<Vec<_>>>();
        match names.as_deref() {
            Some(["pg_catalog", name] | [name]) => CONSTANT_TYPES.contains(name),
            _ => false,
        }
    };
    cast.type_name.as_ref().is_some_and(is_known) && cast.arg.as_deref().is_some_and(is_constant)
}

/// A pattern without an escape, which could stand at its end.
fn is_plain_pattern(node: &Node) -> bool {
    match &node.node {
        Some(NodeEnum::AConst(constant)) => {
            matches!(&constant.val, Some(a_const::Val::Sval(text)) if !text.sval.contains('\\'))
        }
        _ => false,
    }
}

fn of(node: NodeEnum) -> Node {
    Node { node: Some(node) }
}

/// A condition as SQL.
fn deparse(condition: Node) -> Result<String> {
    let mut select = SelectStmt { where_clause: Some(Box::new(condition)), ..SelectStmt::default() };
    // What the grammar gives, where a default of the tree's means nothing.
    select.set_op(SetOperation::SetopNone);
    select.set_limit_option(LimitOption::Default);
    let text = written(NodeEnum::SelectStmt(Box::new(select)))?;
    match text.split_once("WHERE ") {
        Some((_, condition)) => Ok(condition.to_owned()),
        None => Err(Error::internal("a condition was written otherwise than as one")),
    }
}
