//! The value of a key, where it is certain before the statement runs.
//!
//! A value prunes only if PostgreSQL would compare it with the key's own equality, coerced to the key's own type: an
//! integer key with integers, a text key with text, any other key with its very type. Whatever else is [`Value::Unknown`].

use std::borrow::Cow;

use super::target::Target;
use super::{Parameter, Router, array};
use crate::shardmap::{Decimal, KeyType, KeyValue};
use crate::sql::facts::{Arithmetic, ColumnUse, Operand, ParameterContext};
use crate::sql::scan::{LiteralClass, LiteralSpan};
use crate::sql::schema::Column;
use crate::wire::frontend::Format;

/// What is known of a value.
pub(super) enum Value<'a> {
    Null,
    Known(KeyValue<'a>),
    Unknown,
}

impl<'a> From<Option<KeyValue<'a>>> for Value<'a> {
    fn from(value: Option<KeyValue<'a>>) -> Self {
        value.map_or(Self::Unknown, Self::Known)
    }
}

impl Value<'_> {
    /// The value as PostgreSQL compares it with a key of another type of numbers.
    fn into_type(self, key_type: KeyType) -> Self {
        match self {
            Self::Known(value) => value.into_type(key_type).into(),
            other => other,
        }
    }
}

/// Types whose values are equal where their operators say so, and hash alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Integer,
    Text,
    Only(KeyType),
}

/// Whether PostgreSQL compares an operand of one type with a key of another by an equality that the key's own type
/// shares: within a family, and integers with numerics.
fn compares_exactly(operand: KeyType, key_type: KeyType) -> bool {
    let is_number = |of: KeyType| of == KeyType::Numeric || Family::of(of) == Family::Integer;
    Family::of(operand) == Family::of(key_type) || is_number(operand) && is_number(key_type)
}

impl Family {
    pub fn of(key_type: KeyType) -> Self {
        match key_type {
            KeyType::Int2 | KeyType::Int4 | KeyType::Int8 => Self::Integer,
            KeyType::Text | KeyType::Varchar => Self::Text,
            KeyType::Uuid
            | KeyType::Date
            | KeyType::Timestamp
            | KeyType::Timestamptz
            | KeyType::Numeric
            | KeyType::Bytea
            | KeyType::Bool
            | KeyType::Enum => Self::Only(key_type),
        }
    }
}

impl<'a> Router<'a> {
    /// The value of an operand that is compared with, or assigned to, a column of `key_type`.
    pub(super) fn value(&self, operand: &Operand, key_type: KeyType) -> Value<'a> {
        match operand {
            Operand::Null => Value::Null,
            Operand::Literal { slot, negated } => match self.request.literals.get(*slot) {
                Some(literal) => self.literal(literal, *negated, key_type).into(),
                None => Value::Unknown,
            },
            Operand::Fixed { value, class, negated } => {
                literal_value(value.as_ref().into(), *class, *negated, key_type).map(KeyValue::into_owned).into()
            }
            Operand::Arithmetic { .. } => match Family::of(key_type) {
                Family::Integer => self.integer(operand).map(KeyValue::Int).into(),
                Family::Text | Family::Only(_) => Value::Unknown,
            },
            Operand::Concatenated(..) => match Family::of(key_type) {
                Family::Text => self.string(operand).and_then(|text| owned_text(key_type, text.into())).into(),
                Family::Integer | Family::Only(_) => Value::Unknown,
            },
            Operand::Parameter(number) => self.parameter(*number, key_type),
            Operand::Cast { operand, type_name } => match KeyType::from_name(type_name) {
                Some(cast) if compares_exactly(cast, key_type) => self.value(operand, cast).into_type(key_type),
                _ => Value::Unknown,
            },
            Operand::Boolean(value) if key_type == KeyType::Bool => Value::Known(KeyValue::Bool(*value)),
            Operand::Boolean(_) | Operand::Computed | Operand::Default => Value::Unknown,
        }
    }

    /// Whether an operand is NULL, of whatever type.
    pub(super) fn is_null(&self, operand: &Operand) -> bool {
        match operand {
            Operand::Null => true,
            Operand::Cast { operand, .. } => self.is_null(operand),
            Operand::Parameter(number) => {
                self.bound_parameter(*number).is_some_and(|parameter| parameter.value.is_none())
            }
            _ => false,
        }
    }

    /// The value of an expression of integers. What overflows fails on the server, wherever it runs.
    fn integer(&self, operand: &Operand) -> Option<i64> {
        match operand {
            Operand::Arithmetic { operator, left, right } => {
                let (left, right) = (self.integer(left)?, self.integer(right)?);
                match operator {
                    Arithmetic::Add => left.checked_add(right),
                    Arithmetic::Subtract => left.checked_sub(right),
                    Arithmetic::Multiply => left.checked_mul(right),
                }
            }
            _ if !self.is_typed(operand, Family::Integer) => None,
            _ => match self.value(operand, KeyType::Int8) {
                Value::Known(KeyValue::Int(value)) => Some(value),
                _ => None,
            },
        }
    }

    /// The value of an expression of strings.
    fn string(&self, operand: &Operand) -> Option<String> {
        match operand {
            Operand::Concatenated(left, right) => Some(self.string(left)? + &self.string(right)?),
            _ if !self.is_typed(operand, Family::Text) => None,
            _ => match self.value(operand, KeyType::Text) {
                Value::Known(KeyValue::Text(text)) => Some(text.into_owned()),
                _ => None,
            },
        }
    }

    /// Whether an operand is of these types wherever it stands: nothing around it decides.
    fn is_typed(&self, operand: &Operand, family: Family) -> bool {
        let by_class = |class| match class {
            LiteralClass::Int4 | LiteralClass::Int8 => family == Family::Integer,
            // Two strings concatenated are texts.
            LiteralClass::String | LiteralClass::EscapeString => family == Family::Text,
            _ => false,
        };
        match operand {
            Operand::Literal { slot, .. } => self.request.literals.get(*slot).is_some_and(|one| by_class(one.class)),
            Operand::Fixed { class, .. } => by_class(*class),
            Operand::Cast { type_name, .. } => KeyType::from_name(type_name).map(Family::of) == Some(family),
            Operand::Parameter(number) => {
                let known = self.bound_parameter(*number).and_then(|parameter| self.parameter_type(*number, parameter));
                known.map(Family::of) == Some(family)
            }
            _ => false,
        }
    }

    /// The type that a parameter has: as declared, or as its places give it.
    fn parameter_type(&self, number: u16, parameter: &Parameter<'_>) -> Option<KeyType> {
        match parameter.type_oid {
            0 => self.inferred(number, |context| self.context_type(context)),
            oid => self.request.schema.key_type(oid),
        }
    }

    /// The elements of an array that keys of `key_type` are compared with; `None` when one of them is not certain.
    pub(super) fn array(&self, operand: &Operand, key_type: KeyType) -> Option<Vec<KeyValue<'static>>> {
        if self.is_null(operand) {
            return Some(Vec::new());
        }
        match operand {
            Operand::Literal { slot, negated: false } => {
                let literal = self.request.literals.get(*slot).filter(|literal| is_string(literal.class))?;
                array::text_elements(&literal.value(self.request.text)?, key_type)
            }
            Operand::Fixed { value, class, negated: false } if is_string(*class) => {
                array::text_elements(value, key_type)
            }
            Operand::Cast { operand, type_name } => {
                let element = KeyType::from_name(type_name).filter(|name| Family::of(*name) == Family::of(key_type))?;
                self.array(operand, element)
            }
            Operand::Parameter(number) => {
                let (parameter, schema) = (self.bound_parameter(*number)?, self.request.schema);
                let element = match parameter.type_oid {
                    0 => self.inferred(*number, |context| self.element_type(context))?,
                    oid if schema.enum_of_array(oid).is_some() => KeyType::Enum,
                    oid => array::element_type(oid)?,
                };
                let is_element = |oid| schema.key_type(oid) == Some(element);
                array::elements(parameter.value?, parameter.format, element, key_type, is_element)
            }
            _ => None,
        }
    }

    fn bound_parameter(&self, number: u16) -> Option<&Parameter<'a>> {
        usize::from(number).checked_sub(1).and_then(|index| self.request.parameters.get(index))
    }

    fn literal(&self, literal: &LiteralSpan, negated: bool, key_type: KeyType) -> Option<KeyValue<'a>> {
        literal_value(literal.value(self.request.text)?, literal.class, negated, key_type)
    }

    fn parameter(&self, number: u16, key_type: KeyType) -> Value<'a> {
        let Some(parameter) = self.bound_parameter(number) else { return Value::Unknown };
        let value = match (self.parameter_type(number, parameter), parameter.value, parameter.format) {
            (None, ..) => return Value::Unknown,
            (Some(declared), ..) if !compares_exactly(declared, key_type) => return Value::Unknown,
            (Some(_), None, _) => return Value::Null,
            (Some(declared), Some(bytes), Format::Binary) => KeyValue::from_binary(declared, bytes),
            (Some(declared), Some(bytes), Format::Text) => {
                std::str::from_utf8(bytes).ok().and_then(|text| KeyValue::from_text(declared, text))
            }
        };
        Value::from(value).into_type(key_type)
    }

    /// The type that the server gives a parameter which the client did not declare, if all its places agree on it.
    fn inferred(&self, number: u16, type_of: impl Fn(&ParameterContext) -> Option<KeyType>) -> Option<KeyType> {
        let uses = self.request.statement.parameters.iter().filter(|used| used.number == number);
        let mut types = uses.map(|used| type_of(&used.context));
        let first = types.next()??;
        types.all(|other| other == Some(first)).then_some(first)
    }

    /// The element type of an array's place.
    fn element_type(&self, context: &ParameterContext) -> Option<KeyType> {
        match context {
            ParameterContext::ArrayOf(column) => match self.column_type(column)? {
                // Equality of varchar is that of text.
                KeyType::Varchar => Some(KeyType::Text),
                other => Some(other),
            },
            ParameterContext::ArrayCast(name) => KeyType::from_name(name),
            ParameterContext::Column(_)
            | ParameterContext::Position(_)
            | ParameterContext::Cast(_)
            | ParameterContext::Unknown => None,
        }
    }

    fn context_type(&self, context: &ParameterContext) -> Option<KeyType> {
        match context {
            ParameterContext::Column(column) => self.column_type(column),
            ParameterContext::Position(position) => {
                let insert = self.request.statement.insert.as_ref()?;
                let columns = &self.targets.get(insert.relation)?.relation()?.columns;
                self.request.schema.key_type(columns.get(*position)?.type_oid)
            }
            ParameterContext::Cast(name) => KeyType::from_name(name),
            ParameterContext::ArrayOf(_) | ParameterContext::ArrayCast(_) | ParameterContext::Unknown => None,
        }
    }

    /// A column's type: the catalogs', or the map's for a key column that they did not tell yet.
    pub(super) fn column_type(&self, used: &ColumnUse) -> Option<KeyType> {
        let target = self.targets.get(used.relation)?;
        match (target.relation(), target) {
            (Some(relation), _) => self.request.schema.key_type(find_column(&relation.columns, &used.column)?.type_oid),
            (None, Target::Sharded { keyspace, columns, .. }) => {
                let place = columns.iter().position(|column| *column == used.column)?;
                keyspace.key.get(place).copied()
            }
            (None, _) => None,
        }
    }
}

pub(super) fn find_column<'c>(columns: &'c [Column], name: &str) -> Option<&'c Column> {
    columns.iter().find(|column| column.name == name)
}

fn literal_value<'v>(
    text: Cow<'v, str>,
    class: LiteralClass,
    negated: bool,
    key_type: KeyType,
) -> Option<KeyValue<'v>> {
    match class {
        LiteralClass::Int4 | LiteralClass::Int8 | LiteralClass::Numeric => number(&text, negated, key_type),
        LiteralClass::String | LiteralClass::EscapeString if !negated => owned_text(key_type, text),
        _ => None,
    }
}

/// A literal number as a value of a key of numbers.
fn number(text: &str, negated: bool, key_type: KeyType) -> Option<KeyValue<'static>> {
    match (key_type, Family::of(key_type)) {
        (_, Family::Integer) => integer(text, negated),
        (KeyType::Numeric, _) => {
            let sign = if negated { "-" } else { "" };
            Decimal::parse(&format!("{sign}{text}")).map(KeyValue::Numeric)
        }
        _ => None,
    }
}

fn is_string(class: LiteralClass) -> bool {
    matches!(class, LiteralClass::String | LiteralClass::EscapeString)
}

/// An integer, or a number that equals one: `5`, `5.0`, `5.`.
fn integer(text: &str, negated: bool) -> Option<KeyValue<'static>> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !fraction.bytes().all(|digit| digit == b'0') {
        return None;
    }
    let value: i128 = whole.parse().ok()?;
    i64::try_from(if negated { -value } else { value }).ok().map(KeyValue::Int)
}

fn owned_text(key_type: KeyType, text: Cow<'_, str>) -> Option<KeyValue<'_>> {
    match text {
        Cow::Borrowed(text) => KeyValue::from_text(key_type, text),
        Cow::Owned(text) => KeyValue::from_text(key_type, &text).map(KeyValue::into_owned),
    }
}
