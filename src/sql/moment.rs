//! Words that a date or time type reads as the current moment. Every server has a moment of its own, and a constant with
//! such a word is read when its statement is parsed, so that a second parse of the same text is another statement.

mod columns;
mod words;

pub use self::columns::with_moment_defaults;
use self::words::DATE_WORDS;

/// Source: PostgreSQL manual, "Special Values" of date and time types.
const MOMENTS: &[&str] = &["now", "today", "tomorrow", "yesterday"];

/// How many words a date or time with such a word can have: it, a time of day, AM or PM, and a zone, with AT or ON.
const WORDS_MAX: usize = 6;

/// Whether a string could be read as a date or time that depends on the clock.
pub fn names_moment(text: &str) -> bool {
    text.split_whitespace().count() <= WORDS_MAX && is_mentioned(text) && could_be_dates(text)
}

/// Whether nothing stands in a text that no date, no range or array of dates can have.
fn could_be_dates(text: &str) -> bool {
    // A row may have a date among other things.
    let is_between = |letter: char| letter.is_whitespace() || ",;\"{}[])".contains(letter);
    text.contains('(') || text.split(is_between).all(could_be_of_date)
}

fn could_be_of_date(word: &str) -> bool {
    // Numbers, signs and zones of several words are not looked at closely.
    let is_plain = word.chars().all(char::is_alphabetic);
    let is_known = || DATE_WORDS.binary_search(&word.to_ascii_lowercase().as_str()).is_ok();
    word.is_empty() || !is_plain && word.is_ascii() || is_known()
}

/// Whether one of the words stands anywhere in a text, which may be a whole statement.
pub fn is_mentioned(text: &str) -> bool {
    let mut words = text.split(|c: char| !c.is_ascii_alphabetic() && c != '_');
    words.any(|word| MOMENTS.iter().any(|moment| word.eq_ignore_ascii_case(moment)))
}

/// One moment in the forms that functions give it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// As a `timestamptz`, a `timestamp` and a `date`.
    pub with_zone: String,
    pub local: String,
    pub date: String,
}

/// The statement with a moment in the place of each call of `now()` and its kin; `None` if it has none, or has one whose
/// place gives a column of the result its name.
pub fn fixed(text: &str, moment: &Moment) -> Option<String> {
    let tokens = pg_query::scan_tokens(text).ok()?;
    let place = |at: usize| -> Option<std::ops::Range<usize>> {
        let token = tokens.get(at)?;
        Some(usize::try_from(token.start).ok()?..usize::try_from(token.end).ok()?)
    };
    let word = |at: usize| place(at).and_then(|place| text.get(place)).map(str::to_ascii_lowercase);
    let is = |at: usize, wanted: &str| word(at).as_deref() == Some(wanted);
    let mut out = String::with_capacity(text.len() + 64);
    let (mut copied, mut at, mut returning) = (0, 0, false);
    while at < tokens.len() {
        returning |= is(at, "returning");
        let is_call = is(at + 1, "(") && is(at + 2, ")");
        let behind_dot = at > 0 && is(at - 1, ".");
        let (value, count) = match word(at)?.as_str() {
            "now" | "transaction_timestamp" if is_call && !behind_dot => {
                (format!("'{}'::pg_catalog.timestamptz", moment.with_zone), 3)
            }
            "current_timestamp" if !is(at + 1, "(") => (format!("'{}'::pg_catalog.timestamptz", moment.with_zone), 1),
            "localtimestamp" if !is(at + 1, "(") => (format!("'{}'::pg_catalog.timestamp", moment.local), 1),
            "current_date" => (format!("'{}'::pg_catalog.date", moment.date), 1),
            _ => {
                at += 1;
                continue;
            }
        };
        if returning {
            return None;
        }
        out.push_str(text.get(copied..place(at)?.start)?);
        out.push_str(&format!("({value})"));
        copied = place(at + count - 1)?.end;
        at += count;
    }
    out.push_str(text.get(copied..)?);
    (copied > 0).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_of_now_become_one_moment() {
        let moment = Moment { with_zone: "Z".into(), local: "L".into(), date: "D".into() };
        for (text, expected) in [
            ("UPDATE t SET a = now(), b = 'now()'", "UPDATE t SET a = ('Z'::pg_catalog.timestamptz), b = 'now()'"),
            (
                "DELETE FROM t WHERE a < NOW ( ) - interval '1 day' -- now()",
                "DELETE FROM t WHERE a < ('Z'::pg_catalog.timestamptz) - interval '1 day' -- now()",
            ),
            (
                "UPDATE t SET d = CURRENT_DATE, l = localtimestamp, c = current_timestamp",
                "UPDATE t SET d = ('D'::pg_catalog.date), l = ('L'::pg_catalog.timestamp), c = ('Z'::pg_catalog.timestamptz)",
            ),
        ] {
            assert_eq!(fixed(text, &moment).as_deref(), Some(expected), "{text}");
        }
        for text in [
            "UPDATE t SET now = 1",
            "UPDATE t SET a = other.now()",
            "UPDATE t SET a = \"now\"",
            "UPDATE t SET a = 1 RETURNING now()",
            "UPDATE t SET a = current_timestamp(3)",
            "UPDATE t SET a = clock_timestamp()",
        ] {
            assert_eq!(fixed(text, &moment), None, "{text}");
        }
    }

    #[test]
    fn moments_are_found_among_what_a_date_may_have_beside_them() {
        for text in
            ["now", " NOW ", "today", "tomorrow 10:00 PM PST", "yesterday allballs", "now()", "{2020-01-01,today}"]
        {
            assert!(names_moment(text), "{text}");
        }
        for text in [
            "now America/New_York",
            "today AT 10:00 utc",
            "[now,infinity]",
            "(now,Zoé)",
            "{today,\"tomorrow 10:00 Zulu\"}",
            "now+02",
        ] {
            assert!(names_moment(text), "{text}");
        }
        for text in [
            "",
            "2020-01-01",
            "known",
            "now_and_then",
            "todays",
            "we meet now and we part tomorrow",
            "Buy now",
            "Tomorrow never dies",
            "now or never",
            "ça va now",
        ] {
            assert!(!names_moment(text), "{text}");
        }
        assert!(DATE_WORDS.is_sorted());
    }

    #[test]
    fn a_statement_may_mention_a_moment_anywhere() {
        assert!(is_mentioned("SELECT count(*) FROM t WHERE a = 1 AND b = 2 AND day = 'today'::date"));
        assert!(!is_mentioned("SELECT known FROM todays"));
    }
}
