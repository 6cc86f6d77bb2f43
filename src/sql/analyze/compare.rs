//! Comparisons, as the grammar has them.

use pg_query::protobuf::AExprKind;
use pg_query::{Node, NodeEnum, protobuf as pg};

use super::operand::builtin_type;
use super::{inner, strings};
pub(super) use crate::sql::facts::Comparison;
use crate::sql::facts::{Operand, Values};

/// OIDs of `pg_type.dat`.
const INT8: u32 = 20;
const INT2: u32 = 21;
const INT4: u32 = 23;
const TEXT: u32 = 25;
const VARCHAR: u32 = 1043;

/// What a comparison is, its negation taken into account.
pub(super) enum Kind {
    Operator(Comparison),
    In,
    AnyOf,
    Between { symmetric: bool },
}

/// What is under a cast.
pub(super) enum Side<'n> {
    Column(&'n pg::ColumnRef),
    Other,
}

/// The kind of a comparison, or of its negation; `None` for all that says nothing about single values.
pub(super) fn kind(comparison: &pg::AExpr, negated: bool) -> Option<Kind> {
    let operator = || builtin_operator(&comparison.name);
    match (comparison.kind(), negated) {
        (AExprKind::AexprOp, _) => comparison_of(operator()?, negated).map(Kind::Operator),
        (AExprKind::AexprIn, _) => match (operator()?, negated) {
            ("=", false) | ("<>", true) => Some(Kind::In),
            _ => None,
        },
        (AExprKind::AexprOpAny, false) if operator()? == "=" => Some(Kind::AnyOf),
        // `k <> ALL (array)`, negated.
        (AExprKind::AexprOpAll, true) if operator()? == "<>" => Some(Kind::AnyOf),
        (AExprKind::AexprNotDistinct, false) | (AExprKind::AexprDistinct, true) => {
            Some(Kind::Operator(Comparison::NotDistinct))
        }
        (AExprKind::AexprBetween, false) | (AExprKind::AexprNotBetween, true) => {
            Some(Kind::Between { symmetric: false })
        }
        (AExprKind::AexprBetweenSym, false) | (AExprKind::AexprNotBetweenSym, true) => {
            Some(Kind::Between { symmetric: true })
        }
        _ => None,
    }
}

fn comparison_of(operator: &str, negated: bool) -> Option<Comparison> {
    use Comparison::*;
    match (operator, negated) {
        ("=", false) | ("<>" | "!=", true) => Some(Equal),
        ("<", false) | (">=", true) => Some(Less),
        ("<=", false) | (">", true) => Some(LessEqual),
        (">", false) | ("<=", true) => Some(Greater),
        (">=", false) | ("<", true) => Some(GreaterEqual),
        _ => None,
    }
}

/// The comparison with its sides exchanged.
pub(super) fn flipped(comparison: Comparison) -> Comparison {
    use Comparison::*;
    match comparison {
        Equal | NotDistinct => comparison,
        Less => Greater,
        LessEqual => GreaterEqual,
        Greater => Less,
        GreaterEqual => LessEqual,
    }
}

pub(super) fn equal(operand: Operand) -> (Comparison, Values) {
    (Comparison::Equal, Values::List(vec![operand]))
}

/// An operator of PostgreSQL's own. An unqualified name finds pg_catalog's first.
fn builtin_operator(name: &[Node]) -> Option<&str> {
    match strings(name).as_slice() {
        [name] | ["pg_catalog", name] => Some(*name),
        _ => None,
    }
}

pub(super) fn is_builtin(name: &[Node], operator: &str) -> bool {
    builtin_operator(name) == Some(operator)
}

/// `left = right`.
pub(super) fn is_plain_equality(comparison: &pg::AExpr) -> bool {
    comparison.kind() == AExprKind::AexprOp && is_builtin(&comparison.name, "=")
}

/// A comparison whose values may be parameters that take the type of the column on the other side.
pub(super) struct Typed<'n> {
    /// The column, or the row of columns.
    pub column: &'n Node,
    pub values: &'n [Node],
    pub share: Share,
}

/// What the values of a comparison have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Share {
    /// Each is compared for itself.
    Nothing,
    /// They take one type, which may not be the column's.
    Type,
    /// They are the elements of one value.
    Array,
}

pub(super) fn typed(comparison: &pg::AExpr) -> Option<Typed<'_>> {
    let (left, right) = (comparison.lexpr.as_deref()?, comparison.rexpr.as_deref()?);
    builtin_operator(&comparison.name).filter(|name| name.contains("BETWEEN") || COMPARING.contains(name))?;
    let typed = |column, values, share| Some(Typed { column, values, share });
    let is_column = |node: &NodeEnum| matches!(node, NodeEnum::ColumnRef(_) | NodeEnum::RowExpr(_));
    match (comparison.kind(), inner(left)?, inner(right)?) {
        (AExprKind::AexprIn, NodeEnum::RowExpr(_), NodeEnum::List(list)) => typed(left, &list.items, Share::Nothing),
        (AExprKind::AexprIn, _, NodeEnum::List(list)) => typed(left, &list.items, Share::Type),
        (AExprKind::AexprOpAny | AExprKind::AexprOpAll, _, NodeEnum::AArrayExpr(array)) => {
            typed(left, &array.elements, Share::Type)
        }
        (AExprKind::AexprOpAny | AExprKind::AexprOpAll, _, _) => typed(left, std::slice::from_ref(right), Share::Array),
        (AExprKind::AexprOp | AExprKind::AexprNotDistinct | AExprKind::AexprDistinct, a, b) => {
            if is_column(a) {
                typed(left, std::slice::from_ref(right), Share::Nothing)
            } else if is_column(b) {
                typed(right, std::slice::from_ref(left), Share::Nothing)
            } else {
                None
            }
        }
        (_, _, NodeEnum::List(list)) => typed(left, &list.items, Share::Nothing),
        _ => None,
    }
}

const COMPARING: &[&str] = &["=", "<>", "<", "<=", ">", ">="];

pub(super) fn cast_side(cast: &pg::TypeCast) -> Option<Side<'_>> {
    match inner(cast.arg.as_deref()?)? {
        NodeEnum::ColumnRef(reference) => Some(Side::Column(reference)),
        _ => Some(Side::Other),
    }
}

/// Whether a column of this type (by its OID) compares under a cast as it does without.
pub(super) fn is_faithful(actual: Option<u32>, cast: &pg::TypeCast) -> bool {
    let target = builtin_type(cast.type_name.as_ref());
    matches!(
        (actual, target.as_deref()),
        (Some(INT2), Some("int2" | "int4" | "int8"))
            | (Some(INT4), Some("int4" | "int8"))
            | (Some(INT8), Some("int8"))
            | (Some(TEXT | VARCHAR), Some("text" | "varchar"))
    )
}
