//! Expressions whose value is known when a statement is routed.

use std::sync::Arc;

use pg_query::{Node, NodeEnum, protobuf as pg};

use super::{Analyzer, inner, names, strings};
use crate::sql::facts::Operand;

impl Analyzer<'_> {
    /// What is known of an expression's value.
    pub(super) fn operand(&self, node: &Node) -> Operand {
        match inner(node) {
            Some(NodeEnum::AConst(constant)) => self.constant(constant),
            Some(NodeEnum::ParamRef(parameter)) => {
                u16::try_from(parameter.number).map_or(Operand::Computed, Operand::Parameter)
            }
            Some(NodeEnum::TypeCast(cast)) => self.cast(cast),
            Some(NodeEnum::SetToDefault(_)) => Operand::Default,
            _ => Operand::Computed,
        }
    }

    fn constant(&self, constant: &pg::AConst) -> Operand {
        if constant.isnull {
            return Operand::Null;
        }
        match self.literal_at(constant.location) {
            Some((slot, negated)) => Operand::Literal { slot, negated },
            None => Operand::Computed,
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
        match (cast.arg.as_deref().map(|arg| self.operand(arg)), builtin_type(cast.type_name.as_ref())) {
            (Some(Operand::Null), _) => Operand::Null,
            (Some(Operand::Computed | Operand::Default) | None, _) | (_, None) => Operand::Computed,
            (Some(operand), Some(type_name)) => Operand::Cast { operand: Box::new(operand), type_name },
        }
    }
}

/// The catalog name of a plain type of pg_catalog. A type with a modifier is none: `varchar(2)` cuts, `timestamp(0)`
/// rounds.
pub(super) fn builtin_type(name: Option<&pg::TypeName>) -> Option<Arc<str>> {
    let name = name?;
    let plain = name.typmods.is_empty() && name.array_bounds.is_empty() && !name.setof && !name.pct_type;
    match strings(&name.names).as_slice() {
        ["pg_catalog", name] if plain => Some(Arc::from(*name)),
        [name] if plain && names::is_builtin_type(name) => Some(Arc::from(*name)),
        _ => None,
    }
}
