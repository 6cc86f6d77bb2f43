//! Words that a date or time type reads as the current moment. Every server has a moment of its own, and a constant with
//! such a word is read when its statement is parsed, so that a second parse of the same text is another statement.

/// Source: PostgreSQL manual, "Special Values" of date and time types.
const MOMENTS: &[&str] = &["now", "today", "tomorrow", "yesterday"];

/// How many words a date or time with such a word can have: it, a time of day, AM or PM, and a zone, with AT or ON.
const WORDS_MAX: usize = 6;

/// Whether a string could be read as a date or time that depends on the clock.
pub fn names_moment(text: &str) -> bool {
    text.split_whitespace().count() <= WORDS_MAX && is_mentioned(text)
}

/// Whether one of the words stands anywhere in a text, which may be a whole statement.
pub fn is_mentioned(text: &str) -> bool {
    let mut words = text.split(|c: char| !c.is_ascii_alphabetic() && c != '_');
    words.any(|word| MOMENTS.iter().any(|moment| word.eq_ignore_ascii_case(moment)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_found_among_what_a_date_may_have_beside_them() {
        for text in
            ["now", " NOW ", "today", "tomorrow 10:00 PM PST", "yesterday allballs", "now()", "{2020-01-01,today}"]
        {
            assert!(names_moment(text), "{text}");
        }
        for text in ["", "2020-01-01", "known", "now_and_then", "todays", "we meet now and we part tomorrow"] {
            assert!(!names_moment(text), "{text}");
        }
    }

    #[test]
    fn a_statement_may_mention_a_moment_anywhere() {
        assert!(is_mentioned("SELECT count(*) FROM t WHERE a = 1 AND b = 2 AND day = 'today'::date"));
        assert!(!is_mentioned("SELECT known FROM todays"));
    }
}
