//! Values in binary format, as the types' send functions of PostgreSQL write them.

use bigdecimal::BigDecimal;
use bigdecimal::num_bigint::{BigInt, Sign};
use bytes::{BufMut, BytesMut};

use super::numeric::{self, Numeric};
use super::value::{Value, ValueType};
use crate::wire::reader::Reader;

/// Decimal digits in one digit of a numeric, whose base is 10,000.
const GROUP_DIGITS: usize = 4;

/// The words that a numeric has for its sign. Source: PostgreSQL's `numeric.c`.
mod sign {
    pub const POSITIVE: u16 = 0x0000;
    pub const NEGATIVE: u16 = 0x4000;
    pub const NAN: u16 = 0xC000;
    pub const INFINITY: u16 = 0xD000;
    pub const NEGATIVE_INFINITY: u16 = 0xF000;
}

/// What PostgreSQL sends for an infinity's scale: the bits of its header that tell it from NaN.
const INFINITY_SCALE: u16 = 0x20;

/// Reads a value of a type; `None` for bytes that the type never has.
pub fn read(value_type: ValueType, bytes: &[u8]) -> Option<Value> {
    Some(match value_type {
        ValueType::Bool => Value::Integer(match bytes {
            [0] => 0,
            [1] => 1,
            _ => return None,
        }),
        ValueType::Integer => Value::Integer(integer(bytes)?),
        ValueType::Oid => Value::Integer(u32::from_be_bytes(bytes.try_into().ok()?).into()),
        ValueType::Float4 => Value::Float(f64::from(f32::from_be_bytes(bytes.try_into().ok()?)).into()),
        ValueType::Float8 => Value::Float(f64::from_be_bytes(bytes.try_into().ok()?).into()),
        ValueType::Numeric => Value::Numeric(read_numeric(bytes)?),
        ValueType::Date => Value::Integer(date(i32::from_be_bytes(bytes.try_into().ok()?))),
        ValueType::Time | ValueType::Timestamp | ValueType::TimestampTz => {
            Value::Integer(i64::from_be_bytes(bytes.try_into().ok()?))
        }
        ValueType::Uuid if bytes.len() != 16 => return None,
        ValueType::Uuid | ValueType::Bytea | ValueType::Text | ValueType::Label => Value::Bytes(bytes.into()),
        ValueType::Char => match bytes {
            [byte] => Value::Integer((*byte).into()),
            _ => return None,
        },
        ValueType::Bpchar => Value::Bytes(super::value::without_trailing_blanks(bytes).into()),
    })
}

/// An integer of two, four or eight bytes.
pub fn integer(bytes: &[u8]) -> Option<i64> {
    match *bytes {
        [a, b] => Some(i16::from_be_bytes([a, b]).into()),
        [a, b, c, d] => Some(i32::from_be_bytes([a, b, c, d]).into()),
        _ => Some(i64::from_be_bytes(bytes.try_into().ok()?)),
    }
}

/// A date's infinities are the ends of its own range.
fn date(days: i32) -> i64 {
    match days {
        i32::MAX => i64::MAX,
        i32::MIN => i64::MIN,
        finite => finite.into(),
    }
}

/// Reads a numeric: how many digits of base 10,000, the weight of the first one, sign, scale, and the digits.
pub fn read_numeric(bytes: &[u8]) -> Option<Numeric> {
    let mut reader = Reader::new(bytes);
    let count = reader.count().ok()?;
    let weight = reader.i16().ok()?;
    let sign = reader.i16().ok()?.cast_unsigned();
    let scale = reader.count().ok()?;
    let sign = match sign {
        sign::POSITIVE => Sign::Plus,
        sign::NEGATIVE => Sign::Minus,
        special => return special_numeric(special).filter(|_| reader.is_empty()),
    };
    let mut digits = String::with_capacity(count * GROUP_DIGITS);
    for _ in 0..count {
        let group = reader.i16().ok().filter(|group| (0..10_000).contains(group))?;
        digits.push_str(&format!("{group:04}"));
    }
    if !reader.is_empty() {
        return None;
    }
    let magnitude: BigInt = if digits.is_empty() { BigInt::ZERO } else { digits.parse().ok()? };
    let signed = if sign == Sign::Minus { -magnitude } else { magnitude };
    let digits_behind_point = (i64::try_from(count).ok()? - 1 - i64::from(weight)) * GROUP_DIGITS as i64;
    let value = BigDecimal::new(signed, digits_behind_point).with_scale(i64::try_from(scale).ok()?);
    Some(Numeric::Finite(value))
}

fn special_numeric(sign: u16) -> Option<Numeric> {
    match sign {
        sign::NAN => Some(Numeric::NaN),
        sign::INFINITY => Some(Numeric::Infinity),
        sign::NEGATIVE_INFINITY => Some(Numeric::NegativeInfinity),
        _ => None,
    }
}

/// Writes a numeric as PostgreSQL does: without digits that are zero at either end.
pub fn write_numeric(value: &Numeric) -> Vec<u8> {
    let (sign, weight, scale, digits) = match value {
        Numeric::NaN => (sign::NAN, 0, 0, Vec::new()),
        Numeric::Infinity => (sign::INFINITY, 0, INFINITY_SCALE, Vec::new()),
        Numeric::NegativeInfinity => (sign::NEGATIVE_INFINITY, 0, INFINITY_SCALE, Vec::new()),
        Numeric::Finite(value) => finite(value),
    };
    let mut bytes = BytesMut::with_capacity(8 + 2 * digits.len());
    bytes.put_u16(u16::try_from(digits.len()).unwrap_or(u16::MAX));
    bytes.put_i16(weight);
    bytes.put_u16(sign);
    bytes.put_u16(scale);
    digits.iter().for_each(|digit| bytes.put_u16(*digit));
    bytes.to_vec()
}

fn finite(value: &BigDecimal) -> (u16, i16, u16, Vec<u16>) {
    let (sign, whole, fraction) = numeric::decimal_parts(value);
    let scale = u16::try_from(fraction.len()).unwrap_or(u16::MAX);
    let filled_front = whole.len().next_multiple_of(GROUP_DIGITS);
    let filled_back = fraction.len().next_multiple_of(GROUP_DIGITS);
    let digits = format!("{whole:0>filled_front$}{fraction:0<filled_back$}");
    let groups: Vec<u16> = digits.as_bytes().chunks(GROUP_DIGITS).map(group).collect();
    let Some(first) = groups.iter().position(|group| *group != 0) else {
        return (sign::POSITIVE, 0, scale, Vec::new());
    };
    let last = groups.iter().rposition(|group| *group != 0).unwrap_or(first);
    let weight = (filled_front / GROUP_DIGITS) as i64 - 1 - first as i64;
    let sign = if sign == Sign::Minus { sign::NEGATIVE } else { sign::POSITIVE };
    (sign, i16::try_from(weight).unwrap_or(i16::MAX), scale, groups[first..=last].to_vec())
}

fn group(digits: &[u8]) -> u16 {
    digits.iter().fold(0, |value, digit| value * 10 + u16::from(digit - b'0'))
}
