//! Literals that PostgreSQL reads from the clock: `'now'`, `'today'` and their kin become a constant when a statement
//! is parsed, so that a second parse of the same text is another statement.

/// Words that a date or time type reads as the current moment. Source: PostgreSQL manual, "Special Values".
pub const WORDS: &[&str] = &["now", "today", "tomorrow", "yesterday"];

/// Whether one of the words stands in a text by itself.
pub fn is_mentioned(text: &[u8]) -> bool {
    let mut words = text.split(|byte| !byte.is_ascii_alphabetic());
    words.any(|word| WORDS.iter().any(|moment| word.eq_ignore_ascii_case(moment.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_count_when_they_stand_alone() {
        for text in ["now", "'Today'", "today 10:00", "-- yesterday"] {
            assert!(is_mentioned(text.as_bytes()), "{text}");
        }
        for text in ["", "know", "nowhere", "todays"] {
            assert!(!is_mentioned(text.as_bytes()), "{text}");
        }
    }
}
