//! Values of type numeric in their one normal form: equal numbers are equal values, whatever their scale.

use std::cmp::Ordering;
use std::fmt;

/// The base of a digit, as in PostgreSQL's own format (`NBASE` in `numeric.c`).
const BASE_DIGITS: i64 = 4;

/// The most decimal digits, and the largest exponent, that a text may have: far above what a key needs, and little
/// enough for a value to be printed.
const DIGITS_MAX: usize = 1000;

/// `sign` of the binary format (`numeric.c`).
const SIGN_POSITIVE: u16 = 0x0000;
const SIGN_NEGATIVE: u16 = 0x4000;
const SIGN_NAN: u16 = 0xC000;
const SIGN_INFINITY: u16 = 0xD000;
const SIGN_NEGATIVE_INFINITY: u16 = 0xF000;

/// A numeric. The order of the variants is PostgreSQL's order of the values.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Decimal {
    NegativeInfinity,
    Finite(Finite),
    Infinity,
    NaN,
}

/// A number: the sum of `digits[i] * 10000^(weight - i)`, without zeros at either end.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Finite {
    negative: bool,
    weight: i32,
    digits: Vec<u16>,
}

impl Decimal {
    /// Reads `[+-]digits[.digits][e[+-]digits]`, `NaN`, `Infinity` or `-Infinity`.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "NaN" => Some(Self::NaN),
            "Infinity" => Some(Self::Infinity),
            "-Infinity" => Some(Self::NegativeInfinity),
            number => Finite::parse(number).map(Self::Finite),
        }
    }

    /// Reads the binary format.
    pub fn from_binary(bytes: &[u8]) -> Option<Self> {
        let mut words = bytes.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
        let (count, weight, sign, _scale) = (words.next()?, words.next()?, words.next()?, words.next()?);
        let digits: Vec<u16> = words.collect();
        if !bytes.len().is_multiple_of(2)
            || digits.len() != usize::from(count)
            || digits.iter().any(|digit| *digit > 9999)
        {
            return None;
        }
        // The weight is signed.
        let finite = |negative| Some(Self::Finite(Finite::new(negative, i32::from(weight.cast_signed()), &digits)));
        match sign {
            SIGN_POSITIVE => finite(false),
            SIGN_NEGATIVE => finite(true),
            SIGN_NAN => Some(Self::NaN),
            SIGN_INFINITY => Some(Self::Infinity),
            SIGN_NEGATIVE_INFINITY => Some(Self::NegativeInfinity),
            _ => None,
        }
    }

    /// The same number as an integer, if it is one.
    pub fn to_integer(&self) -> Option<i64> {
        match self {
            Self::Finite(finite) if finite.fraction_digits() == 0 && finite.weight < 5 => self.to_string().parse().ok(),
            Self::Finite(_) | Self::NegativeInfinity | Self::Infinity | Self::NaN => None,
        }
    }

    /// The decimal digits behind the point, zeros at the end left out.
    pub fn fraction_digits(&self) -> usize {
        match self {
            Self::Finite(finite) => finite.fraction_digits(),
            Self::NegativeInfinity | Self::Infinity | Self::NaN => 0,
        }
    }

    /// Weight and digits to the base of 10000 of a number; `None` for what is none.
    pub(in crate::shardmap) fn digits(&self) -> Option<(i32, &[u16])> {
        match self {
            Self::Finite(finite) => Some((finite.weight, &finite.digits)),
            Self::NegativeInfinity | Self::Infinity | Self::NaN => None,
        }
    }
}

impl From<i64> for Decimal {
    fn from(value: i64) -> Self {
        let mut rest = value.unsigned_abs();
        let mut digits = Vec::new();
        while rest > 0 {
            // A remainder of 10000 fits.
            digits.push((rest % 10_000) as u16);
            rest /= 10_000;
        }
        digits.reverse();
        let weight = digits.len() as i32 - 1;
        Self::Finite(Finite::new(value < 0, weight, &digits))
    }
}

impl Finite {
    /// Brings digits into the normal form.
    fn new(negative: bool, weight: i32, digits: &[u16]) -> Self {
        let Some(first) = digits.iter().position(|digit| *digit != 0) else {
            return Self { negative: false, weight: 0, digits: Vec::new() };
        };
        let end = digits.iter().rposition(|digit| *digit != 0).map_or(digits.len(), |last| last + 1);
        // A message holds less than 2^31 digits.
        Self { negative, weight: weight - first as i32, digits: digits[first..end].to_vec() }
    }

    fn parse(text: &str) -> Option<Self> {
        let (negative, unsigned) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
            None => (unsigned, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let decimals: Vec<u8> = whole.bytes().chain(fraction.bytes()).collect();
        let plain = decimals.iter().all(u8::is_ascii_digit) && (1..=DIGITS_MAX).contains(&decimals.len());
        if !plain || exponent.unsigned_abs() > DIGITS_MAX as u64 {
            return None;
        }
        let point = whole.len() as i64 + exponent;
        Some(Self::from_decimals(negative, decimals, point))
    }

    /// Groups decimal digits, `point` of which stand in front of the point.
    fn from_decimals(negative: bool, mut decimals: Vec<u8>, point: i64) -> Self {
        let leading = (-point).rem_euclid(BASE_DIGITS);
        decimals.splice(0..0, std::iter::repeat_n(b'0', leading as usize));
        let groups = decimals.chunks(BASE_DIGITS as usize).map(|group| {
            let padded = group.iter().copied().chain(std::iter::repeat(b'0')).take(BASE_DIGITS as usize);
            padded.fold(0, |number, digit| number * 10 + u16::from(digit - b'0'))
        });
        // Bounded by DIGITS_MAX.
        let weight = ((point + leading) / BASE_DIGITS - 1) as i32;
        Self::new(negative, weight, &groups.collect::<Vec<_>>())
    }

    fn fraction_digits(&self) -> usize {
        let last_weight = self.weight - self.digits.len() as i32 + 1;
        let zeros = match self.digits.last() {
            Some(last) if last % 1000 == 0 => 3,
            Some(last) if last % 100 == 0 => 2,
            Some(last) if last % 10 == 0 => 1,
            Some(_) => 0,
            None => return 0,
        };
        usize::try_from(-last_weight).map_or(0, |groups| (groups * BASE_DIGITS as usize).saturating_sub(zeros))
    }

    fn digit(&self, weight: i32) -> u16 {
        usize::try_from(self.weight - weight).ok().and_then(|place| self.digits.get(place)).copied().unwrap_or(0)
    }

    /// The order of the absolute values.
    fn compare_size(&self, other: &Self) -> Ordering {
        match (self.digits.is_empty(), other.digits.is_empty()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
            (false, false) => self.weight.cmp(&other.weight).then_with(|| self.digits.cmp(&other.digits)),
        }
    }
}

impl Ord for Finite {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.negative, other.negative) {
            (false, false) => self.compare_size(other),
            (true, true) => other.compare_size(self),
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
        }
    }
}

impl PartialOrd for Finite {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// As PostgreSQL prints it, without zeros at the end of the fraction.
impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NegativeInfinity => f.write_str("-Infinity"),
            Self::Infinity => f.write_str("Infinity"),
            Self::NaN => f.write_str("NaN"),
            Self::Finite(finite) => finite.fmt(f),
        }
    }
}

impl fmt::Display for Finite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.negative {
            f.write_str("-")?;
        }
        let top = self.weight.max(0);
        write!(f, "{}", self.digit(top))?;
        for weight in (0..top).rev() {
            write!(f, "{:04}", self.digit(weight))?;
        }
        let fraction_digits = self.fraction_digits();
        if fraction_digits == 0 {
            return Ok(());
        }
        let groups = fraction_digits.div_ceil(BASE_DIGITS as usize) as i32;
        let fraction: String = (1..=groups).map(|place| format!("{:04}", self.digit(-place))).collect();
        write!(f, ".{}", &fraction[..fraction_digits])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(text: &str) -> Decimal {
        Decimal::parse(text).unwrap_or_else(|| panic!("{text}"))
    }

    #[test]
    fn one_number_has_one_form() {
        let cases: &[(&str, &[&str])] = &[
            ("0", &["-0", "0.00", "+0e5", "000", ".0", "0."]),
            ("1.5", &["1.50", "+1.5", "01.500", "15e-1", "0.15e1", "1500E-3"]),
            ("-12345678.9", &["-12345678.90000", "-123456789e-1"]),
            ("10000", &["1e4", "10000.0000", "0.1e5"]),
            ("0.00001", &["1e-5", "0.000010"]),
            ("100000000", &["1e8", "+100000000."]),
            ("0.12345", &[".12345", "12345e-5"]),
        ];
        for (shown, spellings) in cases {
            assert_eq!(decimal(shown).to_string(), *shown);
            for spelling in *spellings {
                assert_eq!(decimal(spelling), decimal(shown), "{spelling}");
            }
        }
        assert_eq!(decimal("NaN").to_string(), "NaN");
        assert_eq!(decimal("-Infinity").to_string(), "-Infinity");
    }

    #[test]
    fn other_spellings_are_left_to_the_server() {
        for text in ["", ".", "-", "1 ", " 1", "1_000", "0x10", "nan", "inf", "1e", "1e1001", "--1", "1.2.3", "٣"] {
            assert_eq!(Decimal::parse(text), None, "{text:?}");
        }
        assert_eq!(Decimal::parse(&"1".repeat(DIGITS_MAX + 1)), None);
    }

    #[test]
    fn numbers_are_ordered_as_numbers() {
        let ordered = [
            "-Infinity",
            "-10000",
            "-9999.5",
            "-2",
            "-1.5",
            "-0.0001",
            "0",
            "0.0001",
            "0.1",
            "1",
            "1.05",
            "1.5",
            "2",
            "9999.5",
            "10000",
            "10000.5",
            "Infinity",
            "NaN",
        ];
        assert!(ordered.map(decimal).is_sorted());
        assert!(ordered.map(decimal).windows(2).all(|pair| pair[0] != pair[1]));
    }

    #[test]
    fn binary_values_are_read_or_refused() {
        let words = |words: &[u16]| words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<u8>>();
        assert_eq!(Decimal::from_binary(&words(&[2, 0, 0, 2, 1, 5000])), Some(decimal("1.5")));
        assert_eq!(Decimal::from_binary(&words(&[3, 1, 0x4000, 2, 0, 7, 0])), Some(decimal("-7")));
        assert_eq!(Decimal::from_binary(&words(&[1, 0xffff, 0, 4, 1])), Some(decimal("0.0001")));
        assert_eq!(Decimal::from_binary(&words(&[0, 0, 0xC000, 0])), Some(Decimal::NaN));
        for bad in [&[1, 0, 0, 0][..], &[1, 0, 0, 0, 10_000], &[0, 0, 0x1234, 0], &[0, 0, 0]] {
            assert_eq!(Decimal::from_binary(&words(bad)), None, "{bad:?}");
        }
        assert_eq!(Decimal::from_binary(&[0; 9]), None);
    }

    #[test]
    fn integers_are_numbers() {
        for integer in [0, 1, -1, 10_000, 123_456_789_012, i64::MAX, i64::MIN] {
            assert_eq!(Decimal::from(integer), decimal(&integer.to_string()));
            assert_eq!(Decimal::from(integer).to_integer(), Some(integer));
        }
        for other in ["1.5", "9223372036854775808", "NaN", "1e300"] {
            assert_eq!(decimal(other).to_integer(), None, "{other}");
        }
    }
}
