//! Expressions whose value is known when a statement is routed.

use std::sync::Arc;

use pg_query::protobuf::{AExprKind, a_const};
use pg_query::{Node, NodeEnum, protobuf as pg};

use super::{Analyzer, inner, names, strings};
use crate::shardmap::KeyType;
use crate::sql::facts::{Arithmetic, Operand, Values};

impl Analyzer<'_> {
    /// What is known of an expression's value.
    pub(super) fn operand(&self, node: &Node) -> Operand {
        match inner(node) {
            Some(NodeEnum::AConst(constant)) => self.constant(constant),
            Some(NodeEnum::ParamRef(parameter)) => {
                u16::try_from(parameter.number).map_or(Operand::Computed, Operand::Parameter)
            }
            Some(NodeEnum::TypeCast(cast)) => self.cast(cast),
            Some(NodeEnum::AExpr(operation)) => self.folded(operation),
            Some(NodeEnum::SetToDefault(_)) => Operand::Default,
            _ => Operand::Computed,
        }
    }

    fn constant(&self, constant: &pg::AConst) -> Operand {
        if constant.isnull {
            return Operand::Null;
        }
        if let Some(a_const::Val::Boolval(value)) = &constant.val {
            return Operand::Boolean(value.boolval);
        }
        match self.literal_at(constant.location) {
            Some((slot, negated)) if self.in_view => self.fixed(slot, negated),
            Some((slot, negated)) => Operand::Literal { slot, negated },
            None => Operand::Computed,
        }
    }

    /// A literal of a view's definition.
    fn fixed(&self, slot: usize, negated: bool) -> Operand {
        let literal = self.literals.get(slot);
        match literal.and_then(|literal| Some((literal.value(self.text)?, literal.class))) {
            Some((value, class)) => Operand::Fixed { value: Arc::from(value.as_ref()), class, negated },
            None => Operand::Computed,
        }
    }

    /// Operations whose result Weir can compute as exactly as PostgreSQL.
    fn folded(&self, operation: &pg::AExpr) -> Operand {
        let side = |node: &Option<Box<Node>>| match node.as_deref().map(|node| self.operand(node)) {
            Some(Operand::Computed | Operand::Default) | None => None,
            Some(operand) => Some(Box::new(operand)),
        };
        let (Some(left), Some(right)) = (side(&operation.lexpr), side(&operation.rexpr)) else {
            return Operand::Computed;
        };
        let arithmetic = |operator, left, right| Operand::Arithmetic { operator, left, right };
        match (operation.kind(), strings(&operation.name).as_slice()) {
            (AExprKind::AexprOp, ["+"]) => arithmetic(Arithmetic::Add, left, right),
            (AExprKind::AexprOp, ["-"]) => arithmetic(Arithmetic::Subtract, left, right),
            (AExprKind::AexprOp, ["*"]) => arithmetic(Arithmetic::Multiply, left, right),
            (AExprKind::AexprOp, ["||"]) => Operand::Concatenated(left, right),
            _ => Operand::Computed,
        }
    }

    /// The elements of an array: each of a constructor's, or those of one value. `None` when they are not known.
    pub(super) fn array(&self, node: &Node) -> Option<Values> {
        match inner(node)? {
            NodeEnum::AArrayExpr(array) => {
                Some(Values::List(array.elements.iter().map(|element| self.operand(element)).collect()))
            }
            NodeEnum::TypeCast(cast) => {
                let element = self.array_element(cast.type_name.as_ref())?;
                let cast_to = |operand| Operand::Cast { operand: Box::new(operand), type_name: Arc::clone(&element) };
                Some(match self.array(cast.arg.as_deref()?)? {
                    Values::List(operands) => Values::List(operands.into_iter().map(cast_to).collect()),
                    Values::Array(operand) => Values::Array(cast_to(operand)),
                })
            }
            NodeEnum::AConst(_) | NodeEnum::ParamRef(_) => match self.operand(node) {
                Operand::Computed | Operand::Default => None,
                operand => Some(Values::Array(operand)),
            },
            _ => None,
        }
    }

    /// The literal that starts at `location`, or behind the minus signs that start there: the grammar folds those into
    /// the constant and gives it the place of the first. The sign is read from the text, never from the value, because
    /// the facts are shared by other values.
    fn literal_at(&self, location: i32) -> Option<(usize, bool)> {
        let location = u32::try_from(location).ok()?;
        let slot = self.literals.partition_point(|literal| literal.start < location);
        let start = self.literals.get(slot)?.start;
        let between = self.text.get(location as usize..start as usize)?;
        let minus_signs = between.bytes().filter(|&byte| byte == b'-').count();
        let only_signs = between.bytes().all(|byte| byte == b'-' || byte.is_ascii_whitespace());
        (only_signs && !between.contains("--")).then_some((slot, minus_signs % 2 == 1))
    }

    fn cast(&self, cast: &pg::TypeCast) -> Operand {
        match (cast.arg.as_deref().map(|arg| self.operand(arg)), self.key_type(cast.type_name.as_ref())) {
            (Some(Operand::Computed | Operand::Default) | None, _) | (_, None) => Operand::Computed,
            (Some(operand), Some(type_name)) => Operand::Cast { operand: Box::new(operand), type_name },
        }
    }

    /// The name of a type that keys may have: that of pg_catalog, or `enum` for any enum.
    pub(super) fn key_type(&self, name: Option<&pg::TypeName>) -> Option<Arc<str>> {
        builtin_type(name).or_else(|| self.enum_type(name?))
    }

    fn enum_type(&self, name: &pg::TypeName) -> Option<Arc<str>> {
        let is_enum = match strings(&name.names).as_slice() {
            [name] => self.schema.names_enum(None, name),
            [schema, name] => self.schema.names_enum(Some(schema), name),
            _ => false,
        };
        (is_enum && is_plain(name)).then(|| Arc::from(KeyType::Enum.name()))
    }

    /// The same for the elements of a one-dimensional array.
    pub(super) fn array_element(&self, name: Option<&pg::TypeName>) -> Option<Arc<str>> {
        let name = name.filter(|name| name.array_bounds.len() == 1)?;
        self.key_type(Some(&pg::TypeName { array_bounds: Vec::new(), ..name.clone() }))
    }
}

/// The catalog name of a plain type of pg_catalog.
pub(super) fn builtin_type(name: Option<&pg::TypeName>) -> Option<Arc<str>> {
    let name = name?;
    match strings(&name.names).as_slice() {
        ["pg_catalog", known] if is_plain(name) => Some(Arc::from(*known)),
        [known] if is_plain(name) && names::is_builtin_type(known) => Some(Arc::from(*known)),
        _ => None,
    }
}

/// Whether values of the type are stored as they are. A type with a modifier is none: `varchar(2)` cuts, `timestamp(0)`
/// rounds.
fn is_plain(name: &pg::TypeName) -> bool {
    name.typmods.is_empty() && name.array_bounds.is_empty() && !name.setof && !name.pct_type
}
