//! Dates and timestamps in the one spelling that no setting changes: ISO 8601 with four digits for the year.

use std::fmt;

/// Days from 0000-03-01, the start of the calendar below, to 2000-01-01.
const EPOCH_DAYS: i64 = 730_425;
const MICROS_PER_DAY: i64 = 86_400_000_000;
const MICROS_PER_SECOND: i64 = 1_000_000;

/// `yyyy-mm-dd`: days since 2000-01-01.
pub fn date(text: &str) -> Option<i32> {
    let mut cursor = Cursor(text.as_bytes());
    let days = cursor.date()?;
    cursor.end()?;
    i32::try_from(days).ok()
}

/// `yyyy-mm-dd` or `yyyy-mm-dd hh:mm:ss[.f{1,6}]` (also with a T between): microseconds since 2000-01-01.
pub fn timestamp(text: &str) -> Option<i64> {
    let mut cursor = Cursor(text.as_bytes());
    let days = cursor.date()?;
    let time = if cursor.0.is_empty() { 0 } else { cursor.time()? };
    cursor.end()?;
    Some(days * MICROS_PER_DAY + time)
}

/// `yyyy-mm-dd hh:mm:ss[.f{1,6}]` with `Z` or an offset (`+hh`, `+hh:mm`): microseconds since 2000-01-01 in UTC.
/// Without an offset the session's TimeZone would decide.
pub fn timestamptz(text: &str) -> Option<i64> {
    let mut cursor = Cursor(text.as_bytes());
    let days = cursor.date()?;
    let time = cursor.time()?;
    let offset = cursor.offset()?;
    cursor.end()?;
    Some(days * MICROS_PER_DAY + time - offset)
}

/// The rest of a text.
struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    /// A date of the years 1 to 9999: days since 2000-01-01.
    fn date(&mut self) -> Option<i64> {
        let year = self.number(4, 1..=9999)?;
        self.expect(b"-")?;
        let month = self.number(2, 1..=12)?;
        self.expect(b"-")?;
        let day = self.number(2, 1..=days_in_month(year, month))?;
        Some(days_from_civil(year, month, day))
    }

    /// A blank or T and a time of day: microseconds since midnight.
    fn time(&mut self) -> Option<i64> {
        self.expect(b" T")?;
        let hour = self.number(2, 0..=23)?;
        self.expect(b":")?;
        let minute = self.number(2, 0..=59)?;
        self.expect(b":")?;
        let second = self.number(2, 0..=59)?;
        Some(((hour * 60 + minute) * 60 + second) * MICROS_PER_SECOND + self.fraction()?)
    }

    /// Up to six digits behind a point: microseconds. More would be rounded.
    fn fraction(&mut self) -> Option<i64> {
        if self.expect(b".").is_none() {
            return Some(0);
        }
        let digits = self.0.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits == 0 || digits > 6 {
            return None;
        }
        let scale = (digits..6).fold(1, |scale, _| scale * 10);
        Some(self.number(digits, 0..=999_999)? * scale)
    }

    /// A time zone's offset: microseconds east of UTC. PostgreSQL allows less than 16 hours.
    fn offset(&mut self) -> Option<i64> {
        let sign = match self.expect(b"Z+-")? {
            b'Z' => return Some(0),
            b'-' => -1,
            _ => 1,
        };
        let hours = self.number(2, 0..=15)?;
        let minutes = if self.expect(b":").is_some() { self.number(2, 0..=59)? } else { 0 };
        Some(sign * (hours * 60 + minutes) * 60 * MICROS_PER_SECOND)
    }

    /// Exactly `digits` digits whose value is in `allowed`.
    fn number(&mut self, digits: usize, allowed: std::ops::RangeInclusive<i64>) -> Option<i64> {
        let (number, rest) = self.0.split_at_checked(digits)?;
        let value = number
            .iter()
            .try_fold(0, |value, byte| byte.is_ascii_digit().then(|| value * 10 + i64::from(byte - b'0')))?;
        self.0 = rest;
        allowed.contains(&value).then_some(value)
    }

    /// One byte out of `any`, which is taken and returned.
    fn expect(&mut self, any: &[u8]) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        any.contains(first).then(|| {
            self.0 = rest;
            *first
        })
    }

    fn end(&self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

fn days_in_month(year: i64, month: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 2000-01-01 of a date in the proleptic Gregorian calendar. Years are counted from March, so that the
/// leap day is the last of its year; a cycle of 400 years has 146,097 days.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let march_year = if month <= 2 { year - 1 } else { year };
    let march_month = (month + 9) % 12;
    let day_of_year = (153 * march_month + 2) / 5 + day - 1;
    let leap_days = march_year.div_euclid(4) - march_year.div_euclid(100) + march_year.div_euclid(400);
    march_year * 365 + leap_days + day_of_year - EPOCH_DAYS
}

/// The reverse of [`days_from_civil`]: year, month, day.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + EPOCH_DAYS;
    let cycle = days.div_euclid(146_097);
    let day_of_cycle = days.rem_euclid(146_097);
    let year_of_cycle = (day_of_cycle - day_of_cycle / 1460 + day_of_cycle / 36_524 - day_of_cycle / 146_096) / 365;
    let day_of_year = day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = (march_month + 2) % 12 + 1;
    let year = cycle * 400 + year_of_cycle + i64::from(month <= 2);
    (year, month, day)
}

/// `yyyy-mm-dd`, years before 1 with BC, the ends as `infinity`.
pub fn write_date(f: &mut fmt::Formatter<'_>, days: i32) -> fmt::Result {
    match days {
        i32::MAX => f.write_str("infinity"),
        i32::MIN => f.write_str("-infinity"),
        days => write_civil(f, i64::from(days), ""),
    }
}

/// `yyyy-mm-dd hh:mm:ss[.f]`, otherwise as [`write_date`].
pub fn write_timestamp(f: &mut fmt::Formatter<'_>, micros: i64) -> fmt::Result {
    match micros {
        i64::MAX => f.write_str("infinity"),
        i64::MIN => f.write_str("-infinity"),
        micros => write_civil(f, micros.div_euclid(MICROS_PER_DAY), &time_of_day(micros.rem_euclid(MICROS_PER_DAY))),
    }
}

fn write_civil(f: &mut fmt::Formatter<'_>, days: i64, time: &str) -> fmt::Result {
    let (year, month, day) = civil_from_days(days);
    let (shown_year, era) = if year > 0 { (year, "") } else { (1 - year, " BC") };
    write!(f, "{shown_year:04}-{month:02}-{day:02}{time}{era}")
}

/// A blank and `hh:mm:ss[.f]` without zeros at the end.
fn time_of_day(micros: i64) -> String {
    let seconds = micros / MICROS_PER_SECOND;
    let time = format!(" {:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    match micros % MICROS_PER_SECOND {
        0 => time,
        fraction => format!("{time}.{fraction:06}").trim_end_matches('0').to_owned(),
    }
}
