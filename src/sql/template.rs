//! Texts that differ from an earlier one in plain literals only are recognised by comparing what stands between.
//!
//! An application sends the same few statements with other values. Scanning each text byte by byte to find out costs more
//! than all else that is done with a short one. Where an earlier text's literals were plain numbers or strings, and a new
//! text has the same bytes between, plain literals of the same classes in the same places make the lexer take the
//! same way through both: the new text has the same key, and so the same facts.

use std::sync::Arc;

use super::facts::Facts;
use super::scan::{LiteralClass, LiteralSpan};

/// Texts that are remembered; of those that begin alike only the last one is.
const TEMPLATES: usize = 64;

/// Longer texts are scanned: there are few of them in a second.
const TEXT_BYTES_MAX: usize = 2048;

/// Where a text's place is told from: at most as many words of eight bytes, up to the first byte that may begin a literal.
const BEGINNING: usize = 6;

/// How often a text is not met where one like it was expected, before another one takes its place.
const PATIENCE: u8 = 8;

/// Digits of a number that is an `int4`, whichever they are.
const DIGITS_MAX: usize = 9;

/// The last texts of one thread.
pub struct Templates {
    places: Box<[Option<Template>]>,
}

/// A text that was scanned.
struct Template {
    text: Box<str>,
    literals: Box<[LiteralSpan]>,
    standard_conforming_strings: bool,
    facts: Arc<Facts>,
    patience: u8,
}

impl Default for Templates {
    fn default() -> Self {
        Self { places: (0..TEMPLATES).map(|_| None).collect() }
    }
}

impl Templates {
    /// The facts of a text like an earlier one; `literals`, which is empty, gets the text's own.
    pub fn find(
        &mut self,
        text: &str,
        standard_conforming_strings: bool,
        literals: &mut Vec<LiteralSpan>,
    ) -> Option<&Arc<Facts>> {
        let template = self.places[place(text.as_bytes())].as_mut()?;
        let is_like = template.standard_conforming_strings == standard_conforming_strings
            && text.len() <= TEXT_BYTES_MAX
            && template.fill(text.as_bytes(), literals);
        if !is_like {
            literals.clear();
            template.patience = template.patience.saturating_sub(1);
            return None;
        }
        template.patience = PATIENCE;
        Some(&template.facts)
    }

    /// Remembers a text whose literals are these, if others can be recognised by it.
    pub fn remember(
        &mut self,
        text: &str,
        literals: &[LiteralSpan],
        standard_conforming_strings: bool,
        facts: &Arc<Facts>,
    ) {
        let bytes = text.as_bytes();
        if bytes.len() > TEXT_BYTES_MAX || !literals.iter().all(|literal| is_plain(bytes, literal)) {
            return;
        }
        let place = &mut self.places[place(bytes)];
        if place.as_ref().is_some_and(|template| template.patience > 0) {
            return;
        }
        *place = Some(Template {
            text: text.into(),
            literals: literals.into(),
            standard_conforming_strings,
            facts: Arc::clone(facts),
            patience: PATIENCE,
        });
    }

    pub fn forget_all(&mut self) {
        self.places.iter_mut().for_each(|place| *place = None);
    }
}

impl Template {
    /// Whether the text is like this one; `literals` gets those of the text.
    fn fill(&self, text: &[u8], literals: &mut Vec<LiteralSpan>) -> bool {
        let own = self.text.as_bytes();
        let (mut own_at, mut at) = (0, 0);
        for literal in &self.literals {
            let between = &own[own_at..literal.start as usize];
            if !text[at..].starts_with(between) {
                return false;
            }
            let start = at + between.len();
            let Some(end) = plain_end(text, start, literal.class) else { return false };
            literals.push(LiteralSpan { start: start as u32, end: end as u32, class: literal.class });
            (own_at, at) = (literal.end as usize, end);
        }
        text[at..] == own[own_at..]
    }
}

/// Whether another literal of the class can stand in this one's place and change nothing but the value.
fn is_plain(text: &[u8], literal: &LiteralSpan) -> bool {
    let end = literal.end as usize;
    // What follows must belong to no number or string, whatever stood in front of it.
    let ends = match (literal.class, text.get(end)) {
        (_, None) => true,
        (LiteralClass::Int4, Some(next)) => next.is_ascii_whitespace() || b",);+-*/<>=|:".contains(next),
        (LiteralClass::String, Some(next)) => *next != b'\'',
        _ => false,
    };
    ends && plain_end(text, literal.start as usize, literal.class) == Some(end)
}

/// The end of a decimal number of few digits, or of a string in single quotes without any inside.
fn plain_end(text: &[u8], start: usize, class: LiteralClass) -> Option<usize> {
    let rest = text.get(start..)?;
    match class {
        LiteralClass::Int4 => {
            let digits = rest.iter().take(DIGITS_MAX + 1).take_while(|byte| byte.is_ascii_digit()).count();
            (1..=DIGITS_MAX).contains(&digits).then_some(start + digits)
        }
        LiteralClass::String => {
            let inside = rest.strip_prefix(b"'")?;
            let length = memchr::memchr(b'\'', inside)?;
            (inside.get(length + 1) != Some(&b'\'')).then_some(start + length + 2)
        }
        _ => None,
    }
}

/// The place of a text and of all that begin like it.
fn place(text: &[u8]) -> usize {
    let (words, rest) = text.as_chunks::<{ size_of::<u64>() }>();
    let mut hash = 0;
    for word in words.iter().take(BEGINNING) {
        let (mixed, ends) = mix(hash, u64::from_le_bytes(*word));
        hash = mixed;
        if ends {
            return hash as usize % TEMPLATES;
        }
    }
    if words.len() < BEGINNING {
        let last = rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
        hash = mix(hash, last).0;
    }
    hash as usize % TEMPLATES
}

/// Adds a word to a hash, up to what may begin a literal. Gives whether something does.
fn mix(hash: u64, word: u64) -> (u64, bool) {
    let stop = zero_bytes((word & each(0xf0)) ^ each(0x30)) | zero_bytes(word ^ each(b'\''));
    // The lowest mark is exact, those above it need not be.
    let mask = 1u64.checked_shl(stop.trailing_zeros() & !7).map_or(u64::MAX, |bit| bit - 1);
    let mixed = (hash ^ (word & mask)).wrapping_mul(0x517c_c1b7_2722_0a95);
    // What stands in a word's last bytes is in the product's highest bits only, and must come down from there.
    (mixed ^ (mixed >> 32), stop != 0)
}

/// A word of eight times this byte.
const fn each(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; size_of::<u64>()])
}

/// Marks the highest bit of the lowest byte that is zero, and perhaps of some above it.
/// (Mycroft's test, as in Warren, Hacker's Delight, 6-1.)
const fn zero_bytes(word: u64) -> u64 {
    word.wrapping_sub(each(0x01)) & !word & each(0x80)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::scan::scan;
    use super::*;

    fn scanned(text: &str) -> Option<(Vec<u8>, Vec<LiteralSpan>)> {
        let (mut key, mut literals) = (Vec::new(), Vec::new());
        scan(text, true, &mut key, &mut literals).ok().map(|()| (key, literals))
    }

    /// Whether `text` is taken for one like `template`; checks that the scanner agrees.
    fn is_like(template: &str, text: &str) -> bool {
        let Some((key, literals)) = scanned(template) else { return false };
        let mut templates = Templates::default();
        templates.remember(template, &literals, true, &Arc::new(Facts::unreadable()));
        let mut found = Vec::new();
        let like = templates.find(text, true, &mut found).is_some();
        if like {
            assert_eq!(scanned(text), Some((key, found)), "{template:?} and {text:?}");
        }
        like
    }

    #[test]
    fn other_values_of_the_same_classes_are_recognised() {
        for (template, text) in [
            ("SELECT 1", "SELECT 999999999"),
            ("SELECT * FROM t WHERE a = 1 AND b = 'x'", "SELECT * FROM t WHERE a = 0042 AND b = ''"),
            ("SELECT f(1,'a',2);", "SELECT f(77,'it is',3);"),
            ("SELECT 'a' || 'b'", "SELECT 'ü' || '--'"),
            ("SELECT 1+2", "SELECT 3+4"),
            ("SELECT 1::int8", "SELECT 345::int8"),
            ("BEGIN", "BEGIN"),
        ] {
            assert!(is_like(template, text), "{template} and {text}");
        }
    }

    #[test]
    fn what_may_be_another_token_is_not() {
        for (template, text) in [
            ("SELECT 1", "SELECT 2147483648"),
            ("SELECT 1", "SELECT 1.5"),
            ("SELECT 1", "SELECT -1"),
            ("SELECT 1", "SELECT '1'"),
            ("SELECT 1", "SELECT 1, 2"),
            ("SELECT 1", "SELECT "),
            ("SELECT 1 ", "SELECT 1"),
            ("SELECT 'a'", "SELECT 'it''s'"),
            ("SELECT 'a'", "SELECT 'a"),
            ("SELECT 'a'\n", "SELECT 'a'\n'b'"),
            ("SELECT E'a'", "SELECT E'b'"),
            ("SELECT $$a$$", "SELECT $$b$$"),
            ("SELECT 1.5", "SELECT 1.6"),
            ("SELECT 0x1F", "SELECT 0x2F"),
            ("SELECT 1AS x", "SELECT 2AS x"),
        ] {
            assert!(!is_like(template, text), "{template} and {text}");
        }
    }

    #[test]
    fn the_settings_of_strings_count() {
        let mut templates = Templates::default();
        let (_, literals) = scanned("SELECT 'a'").unwrap();
        templates.remember("SELECT 'a'", &literals, true, &Arc::new(Facts::unreadable()));
        assert!(templates.find("SELECT 'b'", true, &mut Vec::new()).is_some());
        assert!(templates.find("SELECT 'b'", false, &mut Vec::new()).is_none());
        templates.forget_all();
        assert!(templates.find("SELECT 'b'", true, &mut Vec::new()).is_none());
    }

    #[test]
    fn a_text_that_does_not_come_again_makes_place() {
        let mut templates = Templates::default();
        let [old, new] = ["SELECT a FROM t WHERE k = 1", "SELECT a FROM t WHERE k = 1 AND x"];
        let facts = Arc::new(Facts::unreadable());
        let mut remembered = |text: &str| {
            templates.remember(text, &scanned(text).unwrap().1, true, &facts);
            templates.find(text, true, &mut Vec::new()).is_some()
        };
        assert!(remembered(old));
        let tries = (0..100).position(|_| remembered(new)).unwrap();
        assert_eq!(tries, usize::from(PATIENCE));
    }

    #[test]
    fn values_do_not_change_the_place() {
        for (one, other) in [
            ("SELECT 1", "SELECT 2345678901234567"),
            ("SELECT 'a'", "SELECT 'bc'"),
            ("SELECT abcdefgh 1 FROM t", "SELECT abcdefgh 234567 FROM t"),
            ("12345678", "1"),
        ] {
            assert_eq!(place(one.as_bytes()), place(other.as_bytes()), "{one} and {other}");
        }
        let places: std::collections::HashSet<_> =
            (b'a'..=b'z').map(|letter| place(format!("SELECT {} FROM t", letter as char).as_bytes())).collect();
        assert!(places.len() > 15, "{places:?}");
    }

    /// Texts of pieces that tokens are made of.
    fn text() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(vec![
            "1",
            "23",
            "0",
            "999999999",
            "2147483648",
            "'a'",
            "''",
            "'it''s'",
            "'",
            "\"",
            "e",
            "E'",
            "U&'",
            "x'",
            "$",
            "$$",
            "$1",
            ".",
            "..",
            "_",
            "-",
            "--",
            "/*",
            "*/",
            " ",
            "\n",
            ",",
            "(",
            ")",
            ";",
            "a",
            "::",
            "+",
            "\\",
            "ü",
        ]);
        prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        /// A text that is recognised is one that the scanner finds to have the same key.
        #[test]
        fn the_scanner_agrees(pieces in prop::collection::vec(
            prop::sample::select(vec!["1 ", "22,", "'a' ", "''\n", "'b'", "7", "x", "e", " ", "\n", ".", "'", "--", "$$", "+"]), 0..7),
            changes in prop::collection::vec((0usize..8, prop::sample::select(
                vec!["1 ", "345,", "'cc' ", "'a''b'", "'b'", "'", "8", "1.5", " ", "", "--", "e1", "_1", "9999999999"])), 1..3)
        ) {
            let mut changed = pieces.clone();
            for (at, piece) in changes {
                if let Some(place) = changed.get_mut(at) {
                    *place = piece;
                }
            }
            is_like(&pieces.concat(), &changed.concat());
        }

        #[test]
        fn the_scanner_agrees_on_any_two(template in text(), other in text()) {
            is_like(&template, &other);
            is_like(&template, &template);
        }
    }
}
