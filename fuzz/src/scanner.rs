//! The literal scanner against PostgreSQL's own lexer: whatever it accepts, the lexer must read in the same way.

use pg_query::protobuf::Token;
use weir::sql::scan::scan;

const LITERALS: [Token; 6] =
    [Token::Iconst, Token::Fconst, Token::Sconst, Token::Usconst, Token::Bconst, Token::Xconst];

/// Compares the places of the literals in a text.
pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (mut key, mut literals) = (Vec::new(), Vec::new());
    let found = scan(text, true, &mut key, &mut literals);
    literals.iter().for_each(|literal| drop(literal.value(text)));
    let (mut escaping_key, mut escaping) = (Vec::new(), Vec::new());
    let _other_setting = scan(text, false, &mut escaping_key, &mut escaping);
    // The lexer's C string ends with the first zero.
    if found.is_err() || text.contains('\0') {
        return;
    }
    let Ok(tokens) = pg_query::scan(text) else { return };
    let expected = tokens.tokens.iter().filter(|token| LITERALS.iter().any(|literal| *literal as i32 == token.token));
    // A continued string is reported up to some byte inside; its start is what counts.
    let starts: Vec<_> = expected.map(|token| u32::try_from(token.start).expect("a place in the text")).collect();
    assert_eq!(literals.iter().map(|literal| literal.start).collect::<Vec<_>>(), starts, "{text:?}");
}
