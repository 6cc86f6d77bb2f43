//! PostgreSQL's dates and times as it writes them with DateStyle ISO, read into numbers that order as the values do.
//!
//! Every function gives `None` for a text in any other style: nothing is guessed. Days and microseconds count from
//! 2000-01-01 in the proleptic Gregorian calendar, as PostgreSQL's own do, so that every value fits.

const MICROSECONDS_PER_SECOND: i64 = 1_000_000;
const MICROSECONDS_PER_DAY: i64 = 86_400 * MICROSECONDS_PER_SECOND;

/// A date in days; infinities are the ends of the range.
pub fn date(text: &[u8]) -> Option<i64> {
    infinite(text).or_else(|| {
        let mut scanner = Scanner(text);
        let date = scanner.date()?;
        date.days(scanner.era_and_end()?)
    })
}

/// A time of day in microseconds; 24:00:00 is the greatest.
pub fn time(text: &[u8]) -> Option<i64> {
    let mut scanner = Scanner(text);
    let time = scanner.time()?;
    scanner.is_at_end().then_some(time)
}

/// A timestamp without time zone in microseconds.
pub fn timestamp(text: &[u8]) -> Option<i64> {
    infinite(text).or_else(|| {
        let mut scanner = Scanner(text);
        let date = scanner.date()?;
        let time = scanner.eat(b' ').then(|| scanner.time())??;
        microseconds(date.days(scanner.era_and_end()?)?, time)
    })
}

/// A timestamp with time zone in microseconds of UTC: the offset in the text is applied.
pub fn timestamptz(text: &[u8]) -> Option<i64> {
    infinite(text).or_else(|| {
        let mut scanner = Scanner(text);
        let date = scanner.date()?;
        let time = scanner.eat(b' ').then(|| scanner.time())??;
        let offset = scanner.offset()?;
        microseconds(date.days(scanner.era_and_end()?)?, time)?.checked_sub(offset)
    })
}

fn infinite(text: &[u8]) -> Option<i64> {
    match text {
        b"infinity" => Some(i64::MAX),
        b"-infinity" => Some(i64::MIN),
        _ => None,
    }
}

fn microseconds(days: i64, time: i64) -> Option<i64> {
    days.checked_mul(MICROSECONDS_PER_DAY)?.checked_add(time)
}

/// Which way the years count.
#[derive(Clone, Copy)]
enum Era {
    BeforeChrist,
    AnnoDomini,
}

/// A calendar date as written; the era stands at the end of the text, so the days are only known there.
struct CalendarDate {
    year: i64,
    month: i64,
    day: i64,
}

impl CalendarDate {
    /// Days since 2000-01-01. Months are counted from March, so that the leap day is the last of its year.
    fn days(&self, era: Era) -> Option<i64> {
        let in_range = (1..=12).contains(&self.month) && (1..=31).contains(&self.day) && self.year > 0;
        if !in_range {
            return None;
        }
        let astronomical_year = match era {
            Era::AnnoDomini => self.year,
            Era::BeforeChrist => 1 - self.year,
        };
        let year = astronomical_year - i64::from(self.month <= 2);
        let months_since_march = (self.month + 9) % 12;
        let day_of_year = (153 * months_since_march + 2) / 5 + self.day - 1;
        let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
        Some(year * 365 + leap_days + day_of_year - DAYS_FROM_MARCH_OF_YEAR_0_TO_2000)
    }
}

const DAYS_FROM_MARCH_OF_YEAR_0_TO_2000: i64 = 730_425;

/// A cursor over a date or time.
struct Scanner<'a>(&'a [u8]);

impl Scanner<'_> {
    fn is_at_end(&self) -> bool {
        self.0.is_empty()
    }

    fn eat(&mut self, byte: u8) -> bool {
        match self.0.split_first() {
            Some((first, rest)) if *first == byte => {
                self.0 = rest;
                true
            }
            _ => false,
        }
    }

    /// Reads all digits that follow; `None` unless there are `min..=max` of them. Gives the number and how many.
    fn digits(&mut self, min: usize, max: usize) -> Option<(i64, usize)> {
        let len = self.0.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if !(min..=max).contains(&len) {
            return None;
        }
        let (digits, rest) = self.0.split_at(len);
        self.0 = rest;
        Some((digits.iter().fold(0, |value, digit| value * 10 + i64::from(digit - b'0')), len))
    }

    /// Two digits below `limit`.
    fn pair(&mut self, limit: i64) -> Option<i64> {
        self.digits(2, 2).map(|(value, _)| value).filter(|value| *value < limit)
    }

    fn date(&mut self) -> Option<CalendarDate> {
        let (year, _) = self.digits(4, 7)?;
        let month = self.eat(b'-').then(|| self.pair(13))??;
        let day = self.eat(b'-').then(|| self.pair(32))??;
        Some(CalendarDate { year, month, day })
    }

    fn time(&mut self) -> Option<i64> {
        let hours = self.pair(25)?;
        let minutes = self.eat(b':').then(|| self.pair(60))??;
        let seconds = self.eat(b':').then(|| self.pair(60))??;
        let fraction = if self.eat(b'.') { self.fraction()? } else { 0 };
        Some(((hours * 60 + minutes) * 60 + seconds) * MICROSECONDS_PER_SECOND + fraction)
    }

    fn fraction(&mut self) -> Option<i64> {
        let (value, len) = self.digits(1, 6)?;
        Some(value * 10i64.pow(u32::try_from(6 - len).ok()?))
    }

    /// The offset from UTC in microseconds, east positive: `+02`, `-03:30` or `+00:53:28`.
    fn offset(&mut self) -> Option<i64> {
        let sign = if self.eat(b'+') {
            1
        } else if self.eat(b'-') {
            -1
        } else {
            return None;
        };
        let hours = self.pair(25)?;
        let minutes = if self.eat(b':') { self.pair(60)? } else { 0 };
        let seconds = if self.eat(b':') { self.pair(60)? } else { 0 };
        Some(sign * ((hours * 60 + minutes) * 60 + seconds) * MICROSECONDS_PER_SECOND)
    }

    fn era_and_end(&mut self) -> Option<Era> {
        match self.0 {
            b"" => Some(Era::AnnoDomini),
            b" BC" => Some(Era::BeforeChrist),
            _ => None,
        }
    }
}
