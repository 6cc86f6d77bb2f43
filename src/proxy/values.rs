//! Values that a statement takes from its literals and parameters, as far as they are plain to see.

use std::borrow::Cow;

use crate::sql::facts::Operand;
use crate::sql::scan::LiteralSpan;
use crate::wire::frontend::Bind;

/// Where a statement's values are.
#[derive(Clone, Copy, Default)]
pub struct Values<'v> {
    pub text: &'v str,
    pub literals: &'v [LiteralSpan],
    /// The body of the Bind, for a statement of the extended protocol.
    pub bound: Option<&'v [u8]>,
}

impl<'v> Values<'v> {
    /// The value of an operand that is a text; `None` when it is not certain. Text has one form in both formats.
    pub fn text(&self, operand: &Operand) -> Option<Cow<'v, str>> {
        match operand {
            Operand::Literal { slot, negated: false } => self.literals.get(*slot)?.value(self.text),
            Operand::Cast { operand, type_name } if matches!(&**type_name, "text" | "varchar") => self.text(operand),
            Operand::Parameter(number) => self.parameter(*number).map(Cow::Borrowed),
            Operand::Literal { .. }
            | Operand::Fixed { .. }
            | Operand::Cast { .. }
            | Operand::Arithmetic { .. }
            | Operand::Concatenated(..)
            | Operand::Boolean(_)
            | Operand::Null
            | Operand::Computed
            | Operand::Default => None,
        }
    }

    fn parameter(&self, number: u16) -> Option<&'v str> {
        let values = Bind::read(self.bound?).ok()?.values().ok()?;
        let (_, value) = values.into_iter().nth(usize::from(number).checked_sub(1)?)?;
        std::str::from_utf8(value?).ok()
    }
}
