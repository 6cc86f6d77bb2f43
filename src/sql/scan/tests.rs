//! The scanner against PostgreSQL's own lexer, and by table.

use pg_query::protobuf::Token;
use proptest::prelude::*;

use super::*;

fn literals(text: &str, standard: bool) -> Result<Vec<LiteralSpan>, Unscannable> {
    let (mut key, mut literals) = (Vec::new(), Vec::new());
    scan(text, standard, &mut key, &mut literals).map(|()| literals)
}

fn key(text: &str) -> Vec<u8> {
    let (mut key, mut literals) = (Vec::new(), Vec::new());
    scan(text, true, &mut key, &mut literals).expect("scannable");
    key
}

/// The literals that PostgreSQL's lexer finds; `None` where it rejects the text.
fn reference(text: &str) -> Option<Vec<(u32, u32)>> {
    let literal = [Token::Iconst, Token::Fconst, Token::Sconst, Token::Usconst, Token::Bconst, Token::Xconst]
        .map(|token| token as i32);
    let tokens = pg_query::scan(text).ok()?.tokens;
    let literals = tokens.iter().filter(|token| literal.contains(&token.token));
    Some(literals.map(|token| (token.start as u32, token.end as u32)).collect())
}

/// Whatever the scanner accepts, PostgreSQL's lexer must see in the same way.
fn agrees(text: &str) {
    let Ok(found) = literals(text, true) else { return };
    let Some(expected) = reference(text) else { return };
    let found: Vec<_> = found.iter().map(|literal| (literal.start, literal.end)).collect();
    // libpg_query reports a continued string only up to some byte inside; its start is what counts.
    let starts = |spans: &[(u32, u32)]| spans.iter().map(|span| span.0).collect::<Vec<_>>();
    assert_eq!(starts(&found), starts(&expected), "{text:?}");
}

const TEXTS: &[&str] = &[
    "SELECT 1, 2.5, .5, 1., 1e10, 1.5E-3, 'a', 'it''s', E'a\\'b', $$x$$, $t$ $$ $t$, B'01', X'1F', U&'\\0041'",
    "select * from \"a'b\" where \"x\"\"y\" = 'z'",
    "select 1 -- 'comment'\n, 2 /* 'nested' /* 3 */ 4 */ , 5",
    "select 'a'\n  'b', 'c' -- d\n 'e'",
    "select a+-1, a<-2, a@>'x', a||'b', a->>'c', a*/* 7 */8, a+--9\n10",
    "select $1, $2::int8, x$3, \"$4\"",
    "select 0x1F, 0o17, 0b11, 1_000, 1_0.0_1",
    "select 2147483647, 2147483648, 9223372036854775807, 9223372036854775808",
    "select a1, _2, é3, n'national', interval '1' year, date'2020-01-01'",
    "select arr[1:2], arr[1..2]",
    "select 'unfinished",
    "select 123abc, $1a, 1e, 0x",
    "do $body$ begin perform 'x'; end $body$",
    "select e'\\\\', e'\\'', 'plain\\'",
    "insert into t values (1,'a'),(2,'b');select 3",
    "select U&'a' UESCAPE '!', U&\"d!0061t\" UESCAPE '!'",
];

#[test]
fn agrees_with_postgres() {
    for text in TEXTS {
        agrees(text);
    }
}

#[test]
fn classes() {
    use LiteralClass::*;
    let cases: &[(&str, &[LiteralClass])] = &[
        ("1 2147483648 9223372036854775808 1.0 1e3 .5", &[Int4, Int8, Numeric, Numeric, Numeric, Numeric]),
        ("0xFF 0b1 0o7 1_000", &[Int4, Int4, Int4, Int4]),
        ("'a' E'b' $$c$$ U&'d' B'1' X'F'", &[String, EscapeString, String, UnicodeString, BitString, HexString]),
        ("a1 $1 \"2\" -- 3\n/* 4 */", &[]),
    ];
    for (text, expected) in cases {
        let found: Vec<_> = literals(text, true).expect(text).iter().map(|literal| literal.class).collect();
        assert_eq!(&found, expected, "{text}");
    }
    assert_eq!(literals("'a\\'b'", false).expect("escapes")[0].class, EscapeString);
}

#[test]
fn values() {
    let cases = [
        ("42", Some("42")),
        ("1_000", Some("1000")),
        ("0x1F", Some("31")),
        ("'it''s'", Some("it's")),
        ("'a'\n'b'", Some("ab")),
        ("$q$a'b$q$", Some("a'b")),
        ("$$$$", Some("")),
        ("E'a\\tb\\'c'", Some("a\tb'c")),
        ("E'a\\x41'", None),
        ("U&'\\0041'", None),
        ("B'1'", None),
    ];
    for (text, expected) in cases {
        let literal = literals(text, true).expect(text)[0];
        assert_eq!(literal.value(text).as_deref(), expected, "{text}");
    }
}

#[test]
fn unscannable() {
    for text in ["'a", "\"a", "/* /* */", "$q$ x", "1abc", "$1a", "1e", "0xZ", "0x", "\u{1}", "a \\ b", "{"] {
        assert_eq!(literals(text, true), Err(Unscannable), "{text:?}");
    }
}

#[test]
fn keys() {
    let same = [
        ("select 1", "select 2"),
        ("select  1", "select\n2"),
        ("select 'a' /* c */ from t", "select 'b' -- d\n from t"),
        ("select 'a'", "select $$b$$"),
    ];
    for (left, right) in same {
        assert_eq!(key(left), key(right), "{left} | {right}");
    }
    let different = [
        ("select 1", "select 3000000000"),
        ("select 1", "select 1.0"),
        ("select 1", "select '1'"),
        ("select 'a'", "select E'a'"),
        ("select 1", "select $1"),
        ("select $1", "select $2"),
        ("select a b", "select ab"),
        ("select \"a b\"", "select \"a  b\""),
        ("select -1", "select 1"),
    ];
    for (left, right) in different {
        assert_ne!(key(left), key(right), "{left} | {right}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn random_pieces_agree_with_postgres(pieces in proptest::collection::vec(piece(), 0..12)) {
        agrees(&pieces.concat());
    }

    #[test]
    fn any_text_is_safe(text in "[ -~\\n\u{80}-\u{ff}]{0,40}", standard: bool) {
        let _ = literals(&text, standard);
    }
}

fn piece() -> impl Strategy<Value = String> {
    let fixed = prop_oneof![
        Just("'"),
        Just("''"),
        Just("\""),
        Just("$"),
        Just("$$"),
        Just("$a$"),
        Just("E'"),
        Just("U&'"),
        Just("b'"),
        Just("\\"),
        Just("--"),
        Just("/*"),
        Just("*/"),
        Just("\n"),
        Just(" "),
        Just("1"),
        Just("1.5"),
        Just("."),
        Just("e"),
        Just("0x"),
        Just("_"),
        Just("a"),
        Just("é"),
        Just("+"),
        Just("-"),
        Just("<"),
        Just("("),
        Just("::"),
        Just("$1"),
        Just("x'"),
        Just("n"),
        Just("@"),
        Just("'a'"),
        Just(";"),
    ];
    fixed.prop_map(str::to_owned)
}
