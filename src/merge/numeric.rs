//! PostgreSQL's `numeric`: exact values of any length, their order, their sums and their averages.

use std::fmt;

use bigdecimal::num_bigint::{BigInt, Sign};
use bigdecimal::{BigDecimal, Zero};

/// Significant decimal digits that a quotient has at least. Source: PostgreSQL, `NUMERIC_MIN_SIG_DIGITS`.
const QUOTIENT_DIGITS_MIN: i64 = 16;

/// Digits behind the point that a quotient has at most. Source: PostgreSQL, `NUMERIC_MAX_DISPLAY_SCALE`.
const QUOTIENT_SCALE_MAX: i64 = 1000;

/// Decimal digits in one of the groups (base 10,000) that PostgreSQL computes with.
const GROUP_DIGITS: usize = 4;

/// A numeric value; the variants stand in PostgreSQL's order. 1.0 and 1.00 are equal and hash alike.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Numeric {
    NegativeInfinity,
    Finite(BigDecimal),
    Infinity,
    NaN,
}

impl Numeric {
    /// Reads what PostgreSQL writes for a numeric or an integer; `None` for any other text.
    pub fn parse(text: &[u8]) -> Option<Self> {
        match text {
            b"NaN" => Some(Self::NaN),
            b"Infinity" => Some(Self::Infinity),
            b"-Infinity" => Some(Self::NegativeInfinity),
            _ => parse_finite(text).map(Self::Finite),
        }
    }

    /// The sum, with the larger of both scales.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::Finite(a), Self::Finite(b)) => {
                let scale = a.fractional_digit_count().max(b.fractional_digit_count());
                Self::Finite((a + b).with_scale(scale))
            }
            (Self::NaN, _) | (_, Self::NaN) => Self::NaN,
            (Self::Infinity, Self::NegativeInfinity) | (Self::NegativeInfinity, Self::Infinity) => Self::NaN,
            (Self::Finite(_), infinite) | (infinite, _) => infinite.clone(),
        }
    }

    /// What PostgreSQL's avg() gives for this sum over `count` values (more than zero), to the last digit.
    #[must_use]
    pub fn average(&self, count: i64) -> Self {
        match self {
            Self::Finite(sum) => Self::Finite(quotient(sum, count)),
            special => special.clone(),
        }
    }

    /// An estimate of the bytes that the value occupies on the heap.
    pub fn heap_bytes(&self) -> usize {
        match self {
            Self::Finite(value) => usize::try_from(value.digits()).unwrap_or(usize::MAX) / 2,
            Self::NegativeInfinity | Self::Infinity | Self::NaN => 0,
        }
    }
}

impl From<i64> for Numeric {
    fn from(value: i64) -> Self {
        Self::Finite(BigDecimal::from(value))
    }
}

impl fmt::Display for Numeric {
    /// PostgreSQL's own output: no exponent, every digit of the scale.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NegativeInfinity => f.write_str("-Infinity"),
            Self::Infinity => f.write_str("Infinity"),
            Self::NaN => f.write_str("NaN"),
            Self::Finite(value) => {
                let (sign, whole, fraction) = decimal_parts(value);
                let minus = if sign == Sign::Minus { "-" } else { "" };
                let whole = if whole.is_empty() { "0" } else { &whole };
                let point = if fraction.is_empty() { "" } else { "." };
                write!(f, "{minus}{whole}{point}{fraction}")
            }
        }
    }
}

fn parse_finite(text: &[u8]) -> Option<BigDecimal> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let plain = digits.first()?.is_ascii_digit()
        && digits.last()?.is_ascii_digit()
        && digits.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.');
    if !plain {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Divides as PostgreSQL's `numeric_div` does for avg(): the scale by [`quotient_scale`], rounded half away from zero.
fn quotient(sum: &BigDecimal, count: i64) -> BigDecimal {
    let divisor = BigInt::from(count);
    let scale = quotient_scale(sum, &BigDecimal::from(divisor.clone()));
    let (digits, sum_scale) = sum.as_bigint_and_exponent();
    let shift = scale - sum_scale;
    let numerator = digits * power_of_ten(shift);
    let denominator = divisor * power_of_ten(-shift);
    BigDecimal::new(divide_half_away(&numerator, &denominator), scale)
}

/// How many digits behind the point the quotient of two numerics has: enough for sixteen significant ones, judged by
/// the weights and the leading groups of both, and never fewer than either operand shows.
fn quotient_scale(dividend: &BigDecimal, divisor: &BigDecimal) -> i64 {
    let (weight, leading) = leading_group(dividend);
    let (divisor_weight, divisor_leading) = leading_group(divisor);
    let borrow = i64::from(leading <= divisor_leading);
    let quotient_weight = weight - divisor_weight - borrow;
    (QUOTIENT_DIGITS_MIN - quotient_weight * GROUP_DIGITS as i64)
        .max(dividend.fractional_digit_count())
        .max(divisor.fractional_digit_count())
        .clamp(0, QUOTIENT_SCALE_MAX)
}

/// The weight (a power of 10,000) and the value of the first group of four digits that is not zero; (0, 0) for zero.
fn leading_group(value: &BigDecimal) -> (i64, u32) {
    let (_, whole, fraction) = decimal_parts(value);
    if !whole.is_empty() {
        let first_len = (whole.len() - 1) % GROUP_DIGITS + 1;
        return (((whole.len() - 1) / GROUP_DIGITS) as i64, number(&whole.as_bytes()[..first_len]));
    }
    fraction
        .as_bytes()
        .chunks(GROUP_DIGITS)
        .map(|group| number(group) * 10u32.pow((GROUP_DIGITS - group.len()) as u32))
        .zip(1i64..)
        .find(|(group, _)| *group != 0)
        .map_or((0, 0), |(group, place)| (-place, group))
}

/// The number that up to four digits spell.
fn number(digits: &[u8]) -> u32 {
    digits.iter().fold(0, |value, digit| value * 10 + u32::from(digit - b'0'))
}

/// Sign, digits before the point without leading zeros (none for a fraction), digits behind it (as many as the scale).
pub fn decimal_parts(value: &BigDecimal) -> (Sign, String, String) {
    let scale = value.fractional_digit_count().max(0);
    let (digits, _) = value.with_scale(scale).into_bigint_and_exponent();
    let scale = usize::try_from(scale).unwrap_or(0);
    let mut whole = if digits.is_zero() { String::new() } else { digits.magnitude().to_string() };
    if whole.len() < scale {
        whole.insert_str(0, &"0".repeat(scale - whole.len()));
    }
    let fraction = whole.split_off(whole.len() - scale);
    (digits.sign(), whole, fraction)
}

/// Ten to the power of `exponent`; one for negative exponents.
fn power_of_ten(exponent: i64) -> BigInt {
    BigInt::from(10).pow(u32::try_from(exponent.max(0)).unwrap_or(u32::MAX))
}

fn divide_half_away(numerator: &BigInt, denominator: &BigInt) -> BigInt {
    let half_up = (numerator.magnitude() * 2u32 + denominator.magnitude()) / (denominator.magnitude() * 2u32);
    BigInt::from_biguint(numerator.sign(), half_up)
}
