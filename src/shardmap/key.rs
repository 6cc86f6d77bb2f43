//! Key types and key values: what may be in a shard key column, and the spellings whose meaning is certain.

mod bytea;
mod calendar;
mod decimal;

use std::borrow::Cow;
use std::fmt;

pub use decimal::Decimal;

/// The type of a shard key column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyType {
    Int2,
    Int4,
    Int8,
    Text,
    Varchar,
    Uuid,
    Date,
    Timestamp,
    Timestamptz,
    Numeric,
    Bytea,
    Bool,
    /// Any enum: its labels are the values.
    Enum,
}

/// A value of a shard key column. Values of one variant are ordered as PostgreSQL orders them (text under "C").
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyValue<'a> {
    /// int2, int4, int8: equal numbers are equal whatever their types.
    Int(i64),
    /// text, varchar; UTF-8.
    Text(Cow<'a, str>),
    Uuid([u8; 16]),
    /// Days since 2000-01-01.
    Date(i32),
    /// Microseconds since 2000-01-01 00:00:00, in UTC for timestamptz.
    Timestamp(i64),
    Numeric(Decimal),
    Bytes(Cow<'a, [u8]>),
    Bool(bool),
    /// An enum's label. Labels have no order here: the server's is that of the type's definition.
    Label(Cow<'a, str>),
}

impl KeyType {
    pub const ALL: [Self; 13] = [
        Self::Int2,
        Self::Int4,
        Self::Int8,
        Self::Text,
        Self::Varchar,
        Self::Uuid,
        Self::Date,
        Self::Timestamp,
        Self::Timestamptz,
        Self::Numeric,
        Self::Bytea,
        Self::Bool,
        Self::Enum,
    ];

    /// The type's name in pg_catalog; `enum` for every enum.
    pub fn name(self) -> &'static str {
        match self {
            Self::Int2 => "int2",
            Self::Int4 => "int4",
            Self::Int8 => "int8",
            Self::Text => "text",
            Self::Varchar => "varchar",
            Self::Uuid => "uuid",
            Self::Date => "date",
            Self::Timestamp => "timestamp",
            Self::Timestamptz => "timestamptz",
            Self::Numeric => "numeric",
            Self::Bytea => "bytea",
            Self::Bool => "bool",
            Self::Enum => "enum",
        }
    }

    /// The type of this name: pg_catalog's or the SQL standard's.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "int2" | "smallint" => Self::Int2,
            "int4" | "int" | "integer" => Self::Int4,
            "int8" | "bigint" => Self::Int8,
            "text" => Self::Text,
            "varchar" | "character varying" => Self::Varchar,
            "uuid" => Self::Uuid,
            "date" => Self::Date,
            "timestamp" | "timestamp without time zone" => Self::Timestamp,
            "timestamptz" | "timestamp with time zone" => Self::Timestamptz,
            "numeric" | "decimal" => Self::Numeric,
            "bytea" => Self::Bytea,
            "bool" | "boolean" => Self::Bool,
            "enum" => Self::Enum,
            _ => return None,
        })
    }

    /// The type's name in pg_catalog; `None` for an enum.
    pub fn pg_name(self) -> Option<&'static str> {
        Some(match self {
            Self::Int2 => "int2",
            Self::Int4 => "int4",
            Self::Int8 => "int8",
            Self::Text => "text",
            Self::Varchar => "varchar",
            Self::Uuid => "uuid",
            Self::Date => "date",
            Self::Timestamp => "timestamp",
            Self::Timestamptz => "timestamptz",
            Self::Numeric => "numeric",
            Self::Bytea => "bytea",
            Self::Bool => "bool",
            Self::Enum => return None,
        })
    }

    /// The type's OID in every PostgreSQL server (`pg_type.dat`); `None` for an enum, which each database numbers anew.
    pub fn oid(self) -> Option<u32> {
        Some(match self {
            Self::Int2 => 21,
            Self::Int4 => 23,
            Self::Int8 => 20,
            Self::Text => 25,
            Self::Varchar => 1043,
            Self::Uuid => 2950,
            Self::Date => 1082,
            Self::Timestamp => 1114,
            Self::Timestamptz => 1184,
            Self::Numeric => 1700,
            Self::Bytea => 17,
            Self::Bool => 16,
            Self::Enum => return None,
        })
    }

    /// The key type with this OID. Domains, char(n), enums and all other types have none.
    pub fn from_oid(oid: u32) -> Option<Self> {
        Some(match oid {
            21 => Self::Int2,
            23 => Self::Int4,
            20 => Self::Int8,
            25 => Self::Text,
            1043 => Self::Varchar,
            2950 => Self::Uuid,
            1082 => Self::Date,
            1114 => Self::Timestamp,
            1184 => Self::Timestamptz,
            1700 => Self::Numeric,
            17 => Self::Bytea,
            16 => Self::Bool,
            _ => return None,
        })
    }

    /// Whether a value can be compared with keys of this type. Integers of any size can be compared with each other.
    pub fn admits(self, value: &KeyValue<'_>) -> bool {
        match value {
            KeyValue::Int(_) => matches!(self, Self::Int2 | Self::Int4 | Self::Int8),
            KeyValue::Text(_) => matches!(self, Self::Text | Self::Varchar),
            KeyValue::Uuid(_) => self == Self::Uuid,
            KeyValue::Date(_) => self == Self::Date,
            KeyValue::Timestamp(_) => matches!(self, Self::Timestamp | Self::Timestamptz),
            KeyValue::Numeric(_) => self == Self::Numeric,
            KeyValue::Bytes(_) => self == Self::Bytea,
            KeyValue::Bool(_) => self == Self::Bool,
            KeyValue::Label(_) => self == Self::Enum,
        }
    }

    /// Whether PostgreSQL compares values of the two types by an equality that both take for their own: equal values
    /// have equal hashes.
    pub fn is_comparable(self, other: Self) -> bool {
        use KeyType::{Int2, Int4, Int8, Text, Varchar};
        let both = |types: &[Self]| types.contains(&self) && types.contains(&other);
        self == other || both(&[Int2, Int4, Int8]) || both(&[Text, Varchar])
    }

    /// Whether a publication's row filter and any server can compute a hash of it: not of enums, whose labels a server
    /// hashes by their numbers, and not of the two values of bool, which are too few to spread.
    pub fn can_be_hashed(self) -> bool {
        !matches!(self, Self::Bool | Self::Enum)
    }

    /// Whether its values have the same order in every database.
    pub fn can_be_ranged(self) -> bool {
        self.can_be_hashed()
    }
}

impl fmt::Display for KeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl<'a> KeyValue<'a> {
    /// Reads a value's text form as a server would that coerces it to `key_type`.
    ///
    /// `None` when the meaning is not certain from the text alone: other spellings than the plain one, what depends
    /// on DateStyle, TimeZone or the clock, what the type cannot hold, and what the column's length could still
    /// change (blanks at the end of a varchar, which an INSERT into a shorter column drops).
    pub fn from_text(key_type: KeyType, text: &'a str) -> Option<Self> {
        match key_type {
            KeyType::Int2 => {
                integer(text).and_then(|value| i16::try_from(value).ok()).map(|value| Self::Int(value.into()))
            }
            KeyType::Int4 => {
                integer(text).and_then(|value| i32::try_from(value).ok()).map(|value| Self::Int(value.into()))
            }
            KeyType::Int8 => integer(text).map(Self::Int),
            KeyType::Text => string(text),
            KeyType::Varchar if text.ends_with(' ') => None,
            KeyType::Varchar => string(text),
            KeyType::Uuid => uuid(text).map(Self::Uuid),
            KeyType::Date => calendar::date(text).map(Self::Date),
            KeyType::Timestamp => calendar::timestamp(text).map(Self::Timestamp),
            KeyType::Timestamptz => calendar::timestamptz(text).map(Self::Timestamp),
            KeyType::Numeric => Decimal::parse(text).map(Self::Numeric),
            KeyType::Bytea => bytea::parse(text).map(|bytes| Self::Bytes(Cow::Owned(bytes))),
            KeyType::Bool => boolean(text).map(Self::Bool),
            KeyType::Enum => label(text),
        }
    }

    /// Reads a value's binary form. `None` when the bytes are not a value of `key_type`, or as in
    /// [`KeyValue::from_text`].
    pub fn from_binary(key_type: KeyType, bytes: &'a [u8]) -> Option<Self> {
        match key_type {
            KeyType::Int2 => bytes.try_into().ok().map(|bytes| Self::Int(i16::from_be_bytes(bytes).into())),
            KeyType::Int4 => bytes.try_into().ok().map(|bytes| Self::Int(i32::from_be_bytes(bytes).into())),
            KeyType::Int8 => bytes.try_into().ok().map(|bytes| Self::Int(i64::from_be_bytes(bytes))),
            KeyType::Text | KeyType::Varchar => Self::from_text(key_type, std::str::from_utf8(bytes).ok()?),
            KeyType::Uuid => bytes.try_into().ok().map(Self::Uuid),
            KeyType::Date => bytes.try_into().ok().map(|bytes| Self::Date(i32::from_be_bytes(bytes))),
            KeyType::Timestamp | KeyType::Timestamptz => {
                bytes.try_into().ok().map(|bytes| Self::Timestamp(i64::from_be_bytes(bytes)))
            }
            KeyType::Numeric => Decimal::from_binary(bytes).map(Self::Numeric),
            KeyType::Bytea => Some(Self::Bytes(Cow::Borrowed(bytes))),
            KeyType::Bool => match bytes {
                [0] => Some(Self::Bool(false)),
                [1] => Some(Self::Bool(true)),
                _ => None,
            },
            KeyType::Enum => Self::from_text(key_type, std::str::from_utf8(bytes).ok()?),
        }
    }

    /// The value as one of `key_type`, where PostgreSQL would compare it as such: an integer with a numeric key, an
    /// integral numeric with an integer key.
    pub fn into_type(self, key_type: KeyType) -> Option<Self> {
        let value = match self {
            Self::Int(value) if key_type == KeyType::Numeric => Self::Numeric(Decimal::from(value)),
            Self::Numeric(value) if key_type.is_comparable(KeyType::Int8) => Self::Int(value.to_integer()?),
            other => other,
        };
        key_type.admits(&value).then_some(value)
    }

    /// The spelling that [`KeyValue::from_text`] reads back as the same value.
    pub fn to_text(&self, key_type: KeyType) -> String {
        match key_type {
            KeyType::Timestamptz => format!("{self}+00"),
            _ => self.to_string(),
        }
    }

    /// The same value with text of its own.
    pub fn into_owned(self) -> KeyValue<'static> {
        match self {
            Self::Int(value) => KeyValue::Int(value),
            Self::Text(text) => KeyValue::Text(Cow::Owned(text.into_owned())),
            Self::Uuid(bytes) => KeyValue::Uuid(bytes),
            Self::Date(days) => KeyValue::Date(days),
            Self::Timestamp(micros) => KeyValue::Timestamp(micros),
            Self::Numeric(value) => KeyValue::Numeric(value),
            Self::Bytes(bytes) => KeyValue::Bytes(Cow::Owned(bytes.into_owned())),
            Self::Bool(value) => KeyValue::Bool(value),
            Self::Label(label) => KeyValue::Label(Cow::Owned(label.into_owned())),
        }
    }
}

/// The value as PostgreSQL prints it under DateStyle ISO; timestamps without their zone.
impl fmt::Display for KeyValue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(value) => write!(f, "{value}"),
            Self::Text(text) => f.write_str(text),
            Self::Uuid(bytes) => write_uuid(f, bytes),
            Self::Date(days) => calendar::write_date(f, *days),
            Self::Timestamp(micros) => calendar::write_timestamp(f, *micros),
            Self::Numeric(value) => write!(f, "{value}"),
            Self::Bytes(bytes) => bytea::write(f, bytes),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Label(label) => f.write_str(label),
        }
    }
}

/// The values of a key of one or more columns: the value itself, or all in parentheses.
pub struct Shown<'k>(pub &'k [KeyValue<'k>]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [value] => write!(f, "{value}"),
            values => write!(f, "({})", values.iter().map(KeyValue::to_string).collect::<Vec<_>>().join(", ")),
        }
    }
}

fn integer(text: &str) -> Option<i64> {
    // `parse` takes what PostgreSQL takes without blanks, hexadecimals and underscores: an optional sign and digits.
    text.parse().ok()
}

/// Text without the zero byte, which PostgreSQL refuses.
fn string(text: &str) -> Option<KeyValue<'_>> {
    (!text.contains('\0')).then_some(KeyValue::Text(Cow::Borrowed(text)))
}

/// The words that every server reads as a boolean; it takes other cases and unique beginnings, too.
fn boolean(text: &str) -> Option<bool> {
    match text {
        "t" | "true" | "1" | "on" | "yes" | "y" => Some(true),
        "f" | "false" | "0" | "off" | "no" | "n" => Some(false),
        _ => None,
    }
}

/// A label of an enum. PostgreSQL's labels have at most 63 bytes, and are compared as they are.
fn label(text: &str) -> Option<KeyValue<'_>> {
    (!text.is_empty() && text.len() < 64 && !text.contains('\0')).then_some(KeyValue::Label(Cow::Borrowed(text)))
}

/// Where the hyphens of a uuid stand.
const UUID_HYPHENS: [usize; 4] = [8, 13, 18, 23];

/// Eight, four, four, four and twelve hexadecimal digits with hyphens between.
fn uuid(text: &str) -> Option<[u8; 16]> {
    let bytes: &[u8; 36] = text.as_bytes().try_into().ok()?;
    let mut digits = [0; 32];
    let mut filled = digits.iter_mut();
    for (position, byte) in bytes.iter().enumerate() {
        match (UUID_HYPHENS.contains(&position), byte) {
            (true, b'-') => {}
            (true, _) => return None,
            (false, byte) => *filled.next()? = char::from(*byte).to_digit(16)? as u8,
        }
    }
    Some(std::array::from_fn(|index| digits[2 * index] << 4 | digits[2 * index + 1]))
}

fn write_uuid(f: &mut fmt::Formatter<'_>, bytes: &[u8; 16]) -> fmt::Result {
    for (index, byte) in bytes.iter().enumerate() {
        let hyphen = if matches!(index, 4 | 6 | 8 | 10) { "-" } else { "" };
        write!(f, "{hyphen}{byte:02x}")?;
    }
    Ok(())
}
