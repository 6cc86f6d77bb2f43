//! The value of a key, where it is certain before the statement runs.
//!
//! A value prunes only if PostgreSQL would compare it with the key's own equality, coerced to the key's own type: an
//! integer key with integers, a text key with text, any other key with its very type. Whatever else is [`Value::Unknown`].

use std::borrow::Cow;

use super::Router;
use super::target::Target;
use crate::shardmap::{Decimal, KeyType, KeyValue};
use crate::sql::facts::{ColumnUse, Operand, ParameterContext};
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
            Operand::Parameter(number) => self.parameter(*number, key_type),
            Operand::Cast { operand, type_name } => match KeyType::from_name(type_name) {
                Some(cast) if compares_exactly(cast, key_type) => self.value(operand, cast).into_type(key_type),
                _ => Value::Unknown,
            },
            Operand::Computed | Operand::Default => Value::Unknown,
        }
    }

    fn literal(&self, literal: &LiteralSpan, negated: bool, key_type: KeyType) -> Option<KeyValue<'a>> {
        let text = literal.value(self.request.text)?;
        match literal.class {
            LiteralClass::Int4 | LiteralClass::Int8 | LiteralClass::Numeric => number(&text, negated, key_type),
            LiteralClass::String | LiteralClass::EscapeString if !negated => owned_text(key_type, text),
            _ => None,
        }
    }

    fn parameter(&self, number: u16, key_type: KeyType) -> Value<'a> {
        let Some(parameter) = usize::from(number).checked_sub(1).and_then(|index| self.request.parameters.get(index))
        else {
            return Value::Unknown;
        };
        let Some(bytes) = parameter.value else { return Value::Null };
        let declared = match parameter.type_oid {
            0 => self.inferred_type(number),
            oid => self.request.schema.key_type(oid),
        };
        let value = match (declared, parameter.format) {
            (Some(declared), _) if !compares_exactly(declared, key_type) => None,
            (Some(declared), Format::Binary) => KeyValue::from_binary(declared, bytes),
            (Some(declared), Format::Text) => {
                std::str::from_utf8(bytes).ok().and_then(|text| KeyValue::from_text(declared, text))
            }
            (None, _) => None,
        };
        Value::from(value).into_type(key_type)
    }

    /// The type that the server gives a parameter which the client did not declare, if all its places agree on it.
    fn inferred_type(&self, number: u16) -> Option<KeyType> {
        let uses = self.request.statement.parameters.iter().filter(|used| used.number == number);
        let mut types = uses.map(|used| self.context_type(&used.context));
        let first = types.next()??;
        types.all(|other| other == Some(first)).then_some(first)
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
            ParameterContext::Unknown => None,
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
