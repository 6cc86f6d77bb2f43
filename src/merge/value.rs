//! Values, read once per row into something that orders and compares exactly as PostgreSQL does.

use super::numeric::Numeric;
use super::{binary, datetime, oid};
use crate::types::{Error, Result};
use crate::wire::backend::Column;
use crate::wire::frontend::Format;

/// A value that is not NULL. Only values read by the same [`ValueType`] are compared with each other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Value {
    Integer(i64),
    Float(Float),
    Numeric(Numeric),
    Bytes(Box<[u8]>),
}

impl Value {
    /// An estimate of the bytes that the value occupies on the heap.
    pub fn heap_bytes(&self) -> usize {
        match self {
            Self::Integer(_) | Self::Float(_) => 0,
            Self::Numeric(value) => value.heap_bytes(),
            Self::Bytes(bytes) => bytes.len(),
        }
    }
}

/// A floating-point value in PostgreSQL's order, kept as bits that order the same way: -0 equals 0, and NaN equals
/// itself and is greater than Infinity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Float(i64);

impl From<f64> for Float {
    fn from(value: f64) -> Self {
        let canonical = match value {
            nan if nan.is_nan() => f64::NAN.abs(),
            0.0 => 0.0,
            other => other,
        };
        let bits = canonical.to_bits().cast_signed();
        // Negative numbers have their magnitude bits flipped, as in `f64::total_cmp`.
        Self(if bits < 0 { bits ^ i64::MAX } else { bits })
    }
}

/// How far the texts of a result can be trusted to stand for their values: settings of the client's session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextFidelity {
    /// Texts are equal only if their bytes are: no collation of the database is nondeterministic.
    pub deterministic_collations: bool,
    /// Floating-point values are written with all their digits: `extra_float_digits` is at least 1.
    pub exact_floats: bool,
}

/// What the values of a column stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueType {
    Bool,
    Integer,
    Oid,
    Float4,
    Float8,
    Numeric,
    Date,
    Time,
    Timestamp,
    TimestampTz,
    Uuid,
    Bytea,
    /// The one-byte type `"char"`.
    Char,
    /// text, varchar or name, compared by bytes.
    Text,
    /// char(n): trailing blanks do not count.
    Bpchar,
    /// An enum's label. Its place in the enum is known to PostgreSQL only.
    Label,
}

impl ValueType {
    /// The type of a column whose values are to be *ordered*; `bytewise` says that text is ordered under "C".
    ///
    /// # Errors
    /// Refuses types whose order is not known exactly.
    fn ordered(column: &Column, bytewise: bool, fidelity: TextFidelity) -> Result<Self> {
        match Self::find(column, fidelity)? {
            Self::Bpchar => Err(unknown_order("values of type character(n)")),
            Self::Label => Err(unknown_order("an enum's values")),
            Self::Text if !bytewise => Err(unknown_order("text under the database's collation")
                .hint("Order by the expression with COLLATE \"C\", which orders by bytes on every server.")),
            exact => Ok(exact),
        }
    }

    /// The type of a column whose values are to be tested for *equality*.
    ///
    /// # Errors
    /// Refuses types whose equality is not known exactly.
    fn equatable(column: &Column, fidelity: TextFidelity) -> Result<Self> {
        match Self::find(column, fidelity)? {
            Self::Text | Self::Bpchar if !fidelity.deterministic_collations => Err(cannot_merge(
                "The database has a nondeterministic collation, under which texts with different bytes can be equal.",
            )),
            exact => Ok(exact),
        }
    }

    fn find(column: &Column, fidelity: TextFidelity) -> Result<Self> {
        let found = match column.type_oid {
            oid::BOOL => Self::Bool,
            oid::INT2 | oid::INT4 | oid::INT8 => Self::Integer,
            oid::OID => Self::Oid,
            oid::FLOAT4 => Self::Float4,
            oid::FLOAT8 => Self::Float8,
            oid::NUMERIC => Self::Numeric,
            oid::DATE => Self::Date,
            oid::TIME => Self::Time,
            oid::TIMESTAMP => Self::Timestamp,
            oid::TIMESTAMPTZ => Self::TimestampTz,
            oid::UUID => Self::Uuid,
            oid::BYTEA => Self::Bytea,
            oid::CHAR => Self::Char,
            oid::TEXT | oid::VARCHAR | oid::NAME => Self::Text,
            oid::BPCHAR => Self::Bpchar,
            oid::ANYENUM => Self::Label,
            other => {
                return Err(cannot_merge(format!(
                    "Values of the type with OID {other} cannot be compared exactly outside PostgreSQL."
                )));
            }
        };
        match found {
            Self::Float4 | Self::Float8 if !fidelity.exact_floats && column.format == 0 => {
                Err(cannot_merge("Floating-point values are shown with fewer digits than they have.")
                    .hint("SET extra_float_digits = 1"))
            }
            exact => Ok(exact),
        }
    }

    fn read_text(self, text: &[u8]) -> Option<Value> {
        Some(match self {
            Self::Bool => Value::Integer(read_bool(text)?),
            Self::Integer | Self::Oid => Value::Integer(ascii(text)?.parse().ok()?),
            Self::Float4 => Value::Float(f64::from(ascii(text)?.parse::<f32>().ok()?).into()),
            Self::Float8 => Value::Float(ascii(text)?.parse::<f64>().ok()?.into()),
            Self::Numeric => Value::Numeric(Numeric::parse(text)?),
            Self::Date => Value::Integer(datetime::date(text)?),
            Self::Time => Value::Integer(datetime::time(text)?),
            Self::Timestamp => Value::Integer(datetime::timestamp(text)?),
            Self::TimestampTz => Value::Integer(datetime::timestamptz(text)?),
            Self::Uuid => Value::Bytes(read_uuid(text)?.into()),
            Self::Bytea => Value::Bytes(read_hex(text)?.into()),
            Self::Char => Value::Integer(read_char(text)?),
            Self::Text | Self::Label => Value::Bytes(text.into()),
            Self::Bpchar => Value::Bytes(without_trailing_blanks(text).into()),
        })
    }

    /// PostgreSQL's name of the type, or of the group of types that are read alike.
    fn name(self) -> &'static str {
        match self {
            Self::Bool => "boolean",
            Self::Integer => "bigint",
            Self::Oid => "oid",
            Self::Float4 => "real",
            Self::Float8 => "double precision",
            Self::Numeric => "numeric",
            Self::Date => "date",
            Self::Time => "time",
            Self::Timestamp => "timestamp",
            Self::TimestampTz => "timestamp with time zone",
            Self::Uuid => "uuid",
            Self::Bytea => "bytea",
            Self::Char => "\"char\"",
            Self::Text => "text",
            Self::Bpchar => "character",
            Self::Label => "enum",
        }
    }
}

/// How the values of one column are read.
#[derive(Clone, Copy, Debug)]
pub struct Codec {
    value_type: ValueType,
    format: Format,
}

impl Codec {
    /// For a column whose values are to be *ordered*; `bytewise` says that text is ordered under "C".
    ///
    /// # Errors
    /// Refuses types whose order is not known exactly.
    pub fn ordered(column: &Column, bytewise: bool, fidelity: TextFidelity) -> Result<Self> {
        Ok(Self { value_type: ValueType::ordered(column, bytewise, fidelity)?, format: format(column)? })
    }

    /// For a column whose values are to be tested for *equality*.
    ///
    /// # Errors
    /// Refuses types whose equality is not known exactly.
    pub fn equatable(column: &Column, fidelity: TextFidelity) -> Result<Self> {
        Ok(Self { value_type: ValueType::equatable(column, fidelity)?, format: format(column)? })
    }

    /// Reads a value.
    ///
    /// # Errors
    /// Refuses bytes that the type never has (in text: under DateStyle ISO and bytea_output hex).
    pub fn read(self, bytes: &[u8]) -> Result<Value> {
        let value = match self.format {
            Format::Text => self.value_type.read_text(bytes),
            Format::Binary => binary::read(self.value_type, bytes),
        };
        value.ok_or_else(|| {
            cannot_merge(format!("A value of type {} is not in the expected output format.", self.value_type.name()))
                .hint("Merging needs DateStyle ISO and bytea_output hex.")
        })
    }
}

/// The format in which a column's values come.
pub fn format(column: &Column) -> Result<Format> {
    Format::from_code(column.format)
}

/// The refusal of this module: what several shards gave cannot become one result with certainty.
pub fn cannot_merge(detail: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::refuse("the rows of several shards cannot be merged", detail)
}

fn unknown_order(what: &str) -> Error {
    cannot_merge(format!("The order of {what} is known to PostgreSQL only."))
}

fn ascii(text: &[u8]) -> Option<&str> {
    std::str::from_utf8(text).ok()
}

fn read_bool(text: &[u8]) -> Option<i64> {
    match text {
        b"t" => Some(1),
        b"f" => Some(0),
        _ => None,
    }
}

/// The text of a uuid orders as its bytes do: lower-case digits, and hyphens always in the same places.
fn read_uuid(text: &[u8]) -> Option<&[u8]> {
    let shaped = text.len() == 36
        && text.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => is_hex_digit(*byte),
        });
    shaped.then_some(text)
}

/// The digits of a bytea in hex format: they order as the bytes do.
fn read_hex(text: &[u8]) -> Option<&[u8]> {
    let digits = text.strip_prefix(b"\\x")?;
    (digits.len() % 2 == 0 && digits.iter().all(|byte| is_hex_digit(*byte))).then_some(digits)
}

fn is_hex_digit(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

/// `"char"` is empty for the zero byte, and three octal digits behind a backslash for a byte that is not ASCII.
fn read_char(text: &[u8]) -> Option<i64> {
    match text {
        [] => Some(0),
        [byte] => Some(i64::from(*byte)),
        [b'\\', high, middle, low] => [high, middle, low].iter().try_fold(0, |value, digit| match digit {
            b'0'..=b'7' => Some(value * 8 + i64::from(*digit - b'0')),
            _ => None,
        }),
        _ => None,
    }
}

pub fn without_trailing_blanks(text: &[u8]) -> &[u8] {
    let len = text.iter().rposition(|byte| *byte != b' ').map_or(0, |last| last + 1);
    &text[..len]
}
