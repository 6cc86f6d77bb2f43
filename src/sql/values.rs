//! The rows of an INSERT's VALUES as they stand in its text, so that they can be inserted by statements of their own.

use std::ops::Range;

use super::scan::{LiteralSpan, comment_end, line_end, quote_end};

/// An INSERT's text, cut at its rows. All places are bytes of the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValuesText {
    /// In the order of the text; at least one.
    pub rows: Vec<RowText>,
    /// The parameters in front of the rows and behind them.
    pub parameters: Vec<u16>,
    start: usize,
    end: usize,
}

/// One row, with its parentheses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowText {
    pub place: Range<usize>,
    /// The numbers of its parameters.
    pub parameters: Vec<u16>,
}

impl ValuesText {
    /// The statement with only these of its rows.
    pub fn with_rows<'r>(&self, text: &str, rows: impl Iterator<Item = &'r RowText>) -> String {
        let Some((first, last)) = self.rows.first().zip(self.rows.last()) else { return text.to_owned() };
        let rows: Vec<&str> = rows.map(|row| &text[row.place.clone()]).collect();
        [&text[self.start..first.place.start], &rows.join(", "), &text[last.place.end..self.end]].concat()
    }
}

/// Cuts an INSERT whose VALUES has so many rows of so many values; `range` is the statement's place in the text,
/// `literals` are those of the whole text. `None` if no such rows can be made out.
pub fn cut(text: &str, range: Range<usize>, literals: &[LiteralSpan], widths: &[usize]) -> Option<ValuesText> {
    let tokens = Tokens { text, at: range.start, end: range.end, literals }.collect::<Option<Vec<_>>>()?;
    let mut depth = 0_usize;
    for (place, token) in tokens.iter().enumerate() {
        match token.kind {
            Kind::Open => depth += 1,
            Kind::Close => depth = depth.checked_sub(1)?,
            Kind::Word if depth == 0 && text[token.place.clone()].eq_ignore_ascii_case("values") => {
                // A table may be called so, too: its columns are no such rows.
                if let Some((rows, behind)) = rows(&tokens[place + 1..], widths) {
                    let around = tokens[..=place].iter().chain(behind);
                    let parameters = around.filter_map(Token::parameter).collect();
                    return Some(ValuesText { rows, parameters, start: range.start, end: range.end });
                }
            }
            Kind::Word | Kind::Comma | Kind::Parameter(_) | Kind::Other => {}
        }
    }
    None
}

/// Reads so many rows, and gives what is behind them.
fn rows<'t>(tokens: &'t [Token], widths: &[usize]) -> Option<(Vec<RowText>, &'t [Token])> {
    let mut rows = Vec::with_capacity(widths.len());
    let mut rest = tokens;
    for (number, width) in widths.iter().enumerate() {
        if number > 0 {
            rest = rest.split_first().filter(|(comma, _)| comma.kind == Kind::Comma)?.1;
        }
        let row_end = row_end(rest, *width)?;
        let (row, behind) = rest.split_at(row_end);
        let place = row.first()?.place.start..row.last()?.place.end;
        rows.push(RowText { place, parameters: row.iter().filter_map(Token::parameter).collect() });
        rest = behind;
    }
    rest.first().is_none_or(|next| next.kind != Kind::Comma).then_some((rows, rest))
}

/// How many tokens a row of so many values has.
fn row_end(tokens: &[Token], width: usize) -> Option<usize> {
    let mut depth = 0_usize;
    let mut values = 1;
    for (place, token) in tokens.iter().enumerate() {
        match token.kind {
            Kind::Open => depth += 1,
            Kind::Close if depth == 1 => return (values == width).then_some(place + 1),
            Kind::Close => depth = depth.checked_sub(1)?,
            Kind::Comma if depth == 1 => values += 1,
            _ if depth == 0 => return None,
            Kind::Comma | Kind::Word | Kind::Parameter(_) | Kind::Other => {}
        }
    }
    None
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// `(` or `[`.
    Open,
    /// `)` or `]`.
    Close,
    Comma,
    Word,
    Parameter(u16),
    /// A literal, an operator, or a quoted name.
    Other,
}

struct Token {
    kind: Kind,
    place: Range<usize>,
}

impl Token {
    fn parameter(&self) -> Option<u16> {
        match self.kind {
            Kind::Parameter(number) => Some(number),
            Kind::Open | Kind::Close | Kind::Comma | Kind::Word | Kind::Other => None,
        }
    }
}

/// The tokens of a text whose literals are known; `None` for one that cannot be made out.
struct Tokens<'t> {
    text: &'t str,
    at: usize,
    end: usize,
    literals: &'t [LiteralSpan],
}

impl Iterator for Tokens<'_> {
    type Item = Option<Token>;

    fn next(&mut self) -> Option<Self::Item> {
        let bytes = &self.text.as_bytes()[..self.end];
        loop {
            let start = self.at;
            let byte = *bytes.get(start)?;
            let next = bytes.get(start + 1);
            self.at = match (byte, next) {
                (b'-', Some(b'-')) => line_end(bytes, start),
                (b'/', Some(b'*')) => match comment_end(bytes, start) {
                    Ok(end) => end,
                    Err(_) => return self.give_up(),
                },
                _ if byte.is_ascii_whitespace() || byte == 0x0b => start + 1,
                _ => return Some(self.token(bytes, start)),
            };
        }
    }
}

impl Tokens<'_> {
    fn give_up(&mut self) -> Option<Option<Token>> {
        self.at = self.end;
        Some(None)
    }

    fn token(&mut self, bytes: &[u8], start: usize) -> Option<Token> {
        let passed = self.literals.partition_point(|literal| (literal.start as usize) < start);
        self.literals = &self.literals[passed..];
        let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | 0x80..);
        let word_end = || start + bytes[start..].iter().take_while(|byte| is_part(byte)).count();
        let (kind, end) = match bytes[start] {
            _ if self.literals.first().is_some_and(|literal| literal.start as usize == start) => {
                (Kind::Other, self.literals.first()?.end as usize)
            }
            b'(' | b'[' => (Kind::Open, start + 1),
            b')' | b']' => (Kind::Close, start + 1),
            b',' => (Kind::Comma, start + 1),
            b'"' => (Kind::Other, quote_end(bytes, start, false).ok()?),
            // A quote that is no literal belongs to a text that was not understood.
            b'\'' => return None,
            b'$' => {
                let digits = bytes[start + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
                let end = start + 1 + digits;
                (Kind::Parameter(self.text.get(start + 1..end)?.parse().ok()?), end)
            }
            byte if is_part(&byte) => (Kind::Word, word_end()),
            _ => (Kind::Other, start + 1),
        };
        self.at = end;
        Some(Token { kind, place: start..end })
    }
}

#[cfg(test)]
mod tests {
    use super::super::scan::scan;
    use super::*;

    fn cut_whole(text: &str, widths: &[usize]) -> Option<ValuesText> {
        let mut literals = Vec::new();
        scan(text, true, &mut Vec::new(), &mut literals).expect("a text that can be scanned");
        cut(text, 0..text.len(), &literals, widths)
    }

    fn row_texts(text: &str, widths: &[usize]) -> Vec<String> {
        let cut = cut_whole(text, widths).unwrap_or_else(|| panic!("{text}"));
        cut.rows.iter().map(|row| text[row.place.clone()].to_owned()).collect()
    }

    #[test]
    fn rows_are_told_apart_whatever_stands_in_them() {
        let text = "INSERT INTO t (a, b) VALUES (1, 'it''s ), ('), /* ( */ (f(2, 3), $tag$ ) $tag$) , (ARRAY[4, 5], \
                    \"odd ), (\") -- (\n RETURNING a";
        assert_eq!(
            row_texts(text, &[2, 2, 2]),
            ["(1, 'it''s ), (')", "(f(2, 3), $tag$ ) $tag$)", "(ARRAY[4, 5], \"odd ), (\")"]
        );
        let cut = cut_whole(text, &[2, 2, 2]).unwrap();
        let last = cut.with_rows(text, cut.rows.iter().skip(2));
        assert_eq!(last, "INSERT INTO t (a, b) VALUES (ARRAY[4, 5], \"odd ), (\") -- (\n RETURNING a");
        assert_eq!(
            cut.with_rows(text, cut.rows.iter().filter(|row| row.place.start != cut.rows[1].place.start)),
            "INSERT INTO t (a, b) VALUES (1, 'it''s ), ('), (ARRAY[4, 5], \"odd ), (\") -- (\n RETURNING a"
        );
    }

    #[test]
    fn a_table_may_be_called_values() {
        assert_eq!(row_texts("INSERT INTO values (a) VALUES (1), (2)", &[1, 1]), ["(1)", "(2)"]);
        assert_eq!(row_texts("insert into x as values(a) values(1),(2);", &[1, 1]), ["(1)", "(2)"]);
    }

    #[test]
    fn parameters_are_listed_where_they_stand() {
        let text = "INSERT INTO t VALUES ($1, '$9'), ($12, $1) ON CONFLICT (a) DO UPDATE SET b = $2";
        let cut = cut_whole(text, &[2, 2]).unwrap();
        assert_eq!(cut.rows[0].parameters, [1]);
        assert_eq!(cut.rows[1].parameters, [12, 1]);
        assert_eq!(cut.parameters, [2]);
    }

    #[test]
    fn other_rows_than_those_expected_are_not_cut() {
        let text = "INSERT INTO t VALUES (1, 2), (3, 4)";
        for widths in [&[2][..], &[2, 1], &[2, 2, 2], &[1, 2]] {
            assert_eq!(cut_whole(text, widths), None, "{widths:?}");
        }
        assert_eq!(cut_whole("INSERT INTO t SELECT 1", &[1]), None);
    }

    #[test]
    fn one_of_several_statements_is_cut() {
        let text = "SELECT 'values'; INSERT INTO t VALUES ('a'), ('b'); SELECT 2";
        let mut literals = Vec::new();
        scan(text, true, &mut Vec::new(), &mut literals).unwrap();
        let end = text.rfind(';').unwrap();
        let cut = cut(text, 16..end, &literals, &[1, 1]).unwrap();
        assert_eq!(cut.with_rows(text, cut.rows.iter().skip(1)), " INSERT INTO t VALUES ('b')");
    }
}
