//! The literal scanner: takes the literals out of a text, so that statements of one shape share their facts.
//!
//! It follows PostgreSQL's own lexer (`src/backend/parser/scan.l`) exactly, and gives up ([`Unscannable`]) on whatever
//! that lexer rejects or where server versions differ. Nothing is rewritten from what it finds: the result is a key and
//! the places of values.

use std::borrow::Cow;

/// The text holds something that this scanner does not follow; it must be parsed without the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unscannable;

/// What PostgreSQL's grammar makes of a literal. Literals of one class in one place lead to the same facts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum LiteralClass {
    /// An integer that fits `int4`.
    Int4 = 1,
    /// An integer that fits `int8` only.
    Int8 = 2,
    /// Any other number.
    Numeric = 3,
    /// `'...'` without escapes, or a dollar-quoted string.
    String = 4,
    /// `E'...'`, or `'...'` where `standard_conforming_strings` is off.
    EscapeString = 5,
    /// `U&'...'`
    UnicodeString = 6,
    /// `B'...'`
    BitString = 7,
    /// `X'...'`
    HexString = 8,
}

/// One literal of a text: its place in bytes (quotes and prefix included, a minus sign not) and its class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiteralSpan {
    pub start: u32,
    pub end: u32,
    pub class: LiteralClass,
}

impl LiteralSpan {
    /// The literal as it stands in `text`, the text that was scanned.
    pub fn raw<'t>(&self, text: &'t str) -> &'t str {
        text.get(self.start as usize..self.end as usize).unwrap_or_default()
    }

    /// The string's content or the number's decimal spelling; `text` is the text that was scanned.
    /// `None` where the value is not certain: `U&''` (UESCAPE may follow), bit strings, numeric escapes in `E''`.
    pub fn value<'t>(&self, text: &'t str) -> Option<Cow<'t, str>> {
        let source = text.get(self.start as usize..self.end as usize)?;
        match self.class {
            LiteralClass::Int4 | LiteralClass::Int8 | LiteralClass::Numeric => number_value(source),
            LiteralClass::String if source.starts_with('$') => dollar_value(source),
            LiteralClass::String => unquote(source, false),
            LiteralClass::EscapeString => unquote(source.trim_start_matches(['e', 'E']), true),
            LiteralClass::UnicodeString | LiteralClass::BitString | LiteralClass::HexString => None,
        }
    }
}

/// Scans `text`, appending to `key` the text with each literal replaced by its class and with white space and comments
/// made one blank, and to `literals` every literal in order. `standard_conforming_strings` is the session's setting.
/// On an error both hold rubbish.
pub fn scan(
    text: &str,
    standard_conforming_strings: bool,
    key: &mut Vec<u8>,
    literals: &mut Vec<LiteralSpan>,
) -> Result<(), Unscannable> {
    let start = key.len();
    key.reserve(text.len());
    let mut scanner = Scanner { bytes: text.as_bytes(), at: 0, standard_conforming_strings, key, literals };
    while scanner.at < scanner.bytes.len() {
        scanner.token()?;
    }
    // Blanks at the end mean nothing. A quoted identifier ends with its quote.
    if key.len() > start {
        key.pop_if(|last| *last == b' ');
    }
    Ok(())
}

struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
    standard_conforming_strings: bool,
    key: &'a mut Vec<u8>,
    literals: &'a mut Vec<LiteralSpan>,
}

impl Scanner<'_> {
    fn token(&mut self) -> Result<(), Unscannable> {
        match self.bytes[self.at] {
            byte if is_identifier_start(byte) => self.word(),
            byte if is_space(byte) => self.blank(),
            b'-' if self.peek(1) == Some(b'-') => self.blank(),
            b'/' if self.peek(1) == Some(b'*') => self.blank(),
            b'\'' => self.plain_string(),
            b'"' => self.quoted_identifier(),
            b'$' => self.dollar(),
            b'.' if self.peek(1) == Some(b'.') => self.copy_to(self.at + 2),
            b'.' if self.peek(1).is_some_and(|next| next.is_ascii_digit()) => self.number(),
            b'0'..=b'9' => self.number(),
            byte if is_operator(byte) => self.operator(),
            byte if is_self(byte) => self.copy_to(self.at + 1),
            _ => Err(Unscannable),
        }
    }

    fn peek(&self, ahead: usize) -> Option<u8> {
        self.bytes.get(self.at + ahead).copied()
    }

    /// Copies the bytes up to `end` to the key as they are.
    fn copy_to(&mut self, end: usize) -> Result<(), Unscannable> {
        self.key.extend_from_slice(self.bytes.get(self.at..end).ok_or(Unscannable)?);
        self.at = end;
        Ok(())
    }

    /// Records the bytes up to `end` as a literal.
    fn literal_to(&mut self, end: usize, class: LiteralClass) -> Result<(), Unscannable> {
        let start = u32::try_from(self.at).map_err(|_| Unscannable)?;
        self.literals.push(LiteralSpan { start, end: u32::try_from(end).map_err(|_| Unscannable)?, class });
        self.key.push(class as u8);
        self.at = end;
        Ok(())
    }

    /// White space and comments: one blank in the key.
    fn blank(&mut self) -> Result<(), Unscannable> {
        if self.bytes[self.at] == b' ' && self.peek(1).is_some_and(|next| is_a(next, IDENTIFIER_PART | SELF)) {
            // One blank, and no comment behind it: so it is mostly.
            self.at += 1;
            self.key.push(b' ');
            return Ok(());
        }
        loop {
            match self.peek(0) {
                Some(byte) if is_space(byte) => self.at += 1,
                Some(b'-') if self.peek(1) == Some(b'-') => self.at = line_end(self.bytes, self.at),
                Some(b'/') if self.peek(1) == Some(b'*') => self.at = comment_end(self.bytes, self.at)?,
                _ => break,
            }
        }
        self.key.push(b' ');
        Ok(())
    }

    fn plain_string(&mut self) -> Result<(), Unscannable> {
        if self.standard_conforming_strings {
            self.string(0, false, LiteralClass::String)
        } else {
            self.string(0, true, LiteralClass::EscapeString)
        }
    }

    /// A string whose quote stands `prefix` bytes ahead, with its continuations on later lines.
    fn string(&mut self, prefix: usize, escapes: bool, class: LiteralClass) -> Result<(), Unscannable> {
        let mut end = quote_end(self.bytes, self.at + prefix, escapes)?;
        while let Some(quote) = continuation(self.bytes, end) {
            end = quote_end(self.bytes, quote, escapes)?;
        }
        self.literal_to(end, class)
    }

    fn quoted_identifier(&mut self) -> Result<(), Unscannable> {
        let end = quote_end(self.bytes, self.at, false)?;
        self.copy_to(end)
    }

    /// A parameter or a dollar-quoted string.
    fn dollar(&mut self) -> Result<(), Unscannable> {
        if self.peek(1).is_some_and(|byte| byte.is_ascii_digit()) {
            let end = skip_while(self.bytes, self.at + 1, |byte| byte.is_ascii_digit());
            return if self.starts_word(end) { Err(Unscannable) } else { self.copy_to(end) };
        }
        let tag_end = self.dollar_tag_end().ok_or(Unscannable)?;
        let tag = &self.bytes[self.at..tag_end];
        let body = &self.bytes[tag_end..];
        let length = body.windows(tag.len()).position(|window| window == tag).ok_or(Unscannable)?;
        self.literal_to(tag_end + length + tag.len(), LiteralClass::String)
    }

    /// The end of `$tag$`.
    fn dollar_tag_end(&self) -> Option<usize> {
        let start = self.at + 1;
        if self.bytes.get(start).is_some_and(u8::is_ascii_digit) {
            return None;
        }
        let end = skip_while(self.bytes, start, |byte| is_identifier_part(byte) && byte != b'$');
        (self.bytes.get(end) == Some(&b'$')).then_some(end + 1)
    }

    /// An identifier or keyword, or the prefix of a string.
    fn word(&mut self) -> Result<(), Unscannable> {
        match (self.bytes[self.at], self.peek(1), self.peek(2)) {
            (b'e' | b'E', Some(b'\''), _) => self.string(1, true, LiteralClass::EscapeString),
            (b'b' | b'B', Some(b'\''), _) => self.bits(LiteralClass::BitString),
            (b'x' | b'X', Some(b'\''), _) => self.bits(LiteralClass::HexString),
            (b'u' | b'U', Some(b'&'), Some(b'\'')) => self.unicode_string(),
            (b'u' | b'U', Some(b'&'), Some(b'"')) => {
                let end = quote_end(self.bytes, self.at + 2, false)?;
                self.copy_to(end)
            }
            _ => {
                let end = skip_while(self.bytes, self.at, is_identifier_part);
                self.copy_to(end)
            }
        }
    }

    /// Bit strings know no doubled quote: what looks like one would be the start of another literal.
    fn bits(&mut self, class: LiteralClass) -> Result<(), Unscannable> {
        let mut end = bits_end(self.bytes, self.at + 1)?;
        while let Some(quote) = continuation(self.bytes, end) {
            end = bits_end(self.bytes, quote)?;
        }
        self.literal_to(end, class)
    }

    fn unicode_string(&mut self) -> Result<(), Unscannable> {
        if self.standard_conforming_strings {
            self.string(2, false, LiteralClass::UnicodeString)
        } else {
            Err(Unscannable)
        }
    }

    fn operator(&mut self) -> Result<(), Unscannable> {
        let run = skip_while(self.bytes, self.at, is_operator);
        let comment = (self.at + 1..run).find(|&at| matches!(self.bytes.get(at..at + 2), Some(b"--" | b"/*")));
        self.copy_to(comment.unwrap_or(run))
    }

    fn number(&mut self) -> Result<(), Unscannable> {
        let (end, class) = match (self.bytes[self.at], self.peek(1)) {
            (b'0', Some(b'x' | b'X' | b'o' | b'O' | b'b' | b'B')) => self.radix_number()?,
            _ => self.decimal_number()?,
        };
        if self.starts_word(end) { Err(Unscannable) } else { self.literal_to(end, class) }
    }

    /// PostgreSQL rejects a number or parameter with an identifier right behind it ("trailing junk").
    fn starts_word(&self, at: usize) -> bool {
        self.bytes.get(at).is_some_and(|&byte| is_identifier_start(byte))
    }

    fn radix_number(&self) -> Result<(usize, LiteralClass), Unscannable> {
        let end = skip_while(self.bytes, self.at + 2, |byte| byte.is_ascii_hexdigit() || byte == b'_');
        let source = std::str::from_utf8(&self.bytes[self.at..end]).map_err(|_| Unscannable)?;
        let value = parse_radix(source).ok_or(Unscannable)?;
        Ok((end, integer_class(value)))
    }

    fn decimal_number(&self) -> Result<(usize, LiteralClass), Unscannable> {
        let whole = digits_end(self.bytes, self.at);
        let mut end = whole;
        // Two dots behind an integer are the range operator of PL/pgSQL, not a decimal point.
        if self.bytes.get(end) == Some(&b'.') && self.bytes.get(end + 1) != Some(&b'.') {
            end = digits_end(self.bytes, end + 1);
        }
        if matches!(self.bytes.get(end), Some(b'e' | b'E')) {
            end = self.exponent_end(end)?;
        }
        let class = if end == whole { self.decimal_class(whole) } else { LiteralClass::Numeric };
        Ok((end, class))
    }

    fn exponent_end(&self, at: usize) -> Result<usize, Unscannable> {
        let signed = matches!(self.bytes.get(at + 1), Some(b'+' | b'-'));
        let start = at + 1 + usize::from(signed);
        let end = digits_end(self.bytes, start);
        if end == start { Err(Unscannable) } else { Ok(end) }
    }

    fn decimal_class(&self, end: usize) -> LiteralClass {
        let mut value: i64 = 0;
        for digit in self.bytes[self.at..end].iter().filter(|byte| byte.is_ascii_digit()) {
            let shifted = value.checked_mul(10).and_then(|value| value.checked_add(i64::from(digit - b'0')));
            match shifted {
                Some(shifted) => value = shifted,
                None => return LiteralClass::Numeric,
            }
        }
        integer_class(value)
    }
}

fn integer_class(value: i64) -> LiteralClass {
    if i32::try_from(value).is_ok() { LiteralClass::Int4 } else { LiteralClass::Int8 }
}

/// `0x1F`, `0o17`, `0b1`; `None` beyond int8 or where underscores stand wrong.
fn parse_radix(source: &str) -> Option<i64> {
    let radix = match source.as_bytes().get(1)? {
        b'x' | b'X' => 16,
        b'o' | b'O' => 8,
        b'b' | b'B' => 2,
        _ => return None,
    };
    let digits = source.get(2..)?;
    if digits.ends_with('_') || digits.contains("__") {
        return None;
    }
    i64::from_str_radix(&digits.replace('_', ""), radix).ok()
}

fn skip_while(bytes: &[u8], start: usize, accept: impl Fn(u8) -> bool) -> usize {
    bytes[start.min(bytes.len())..].iter().position(|&byte| !accept(byte)).map_or(bytes.len(), |length| start + length)
}

/// Digits, with single underscores between them.
fn digits_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start;
    loop {
        match (bytes.get(at), bytes.get(at + 1)) {
            (Some(b'0'..=b'9'), _) => at += 1,
            (Some(b'_'), Some(b'0'..=b'9')) if at > start => at += 2,
            _ => return at,
        }
    }
}

pub(super) fn line_end(bytes: &[u8], start: usize) -> usize {
    skip_while(bytes, start, |byte| byte != b'\n' && byte != b'\r')
}

/// The end of the comment that starts at `start`; comments nest.
pub(super) fn comment_end(bytes: &[u8], start: usize) -> Result<usize, Unscannable> {
    let mut at = start;
    let mut depth = 0usize;
    loop {
        match bytes.get(at..at + 2).ok_or(Unscannable)? {
            b"/*" => {
                depth += 1;
                at += 2;
            }
            b"*/" => {
                depth -= 1;
                at += 2;
            }
            _ => at += 1,
        }
        if depth == 0 {
            return Ok(at);
        }
    }
}

/// The end of the quoted text whose quote is at `start`; a doubled quote stands for itself, and so does what follows a
/// backslash if `escapes`.
pub(super) fn quote_end(bytes: &[u8], start: usize, escapes: bool) -> Result<usize, Unscannable> {
    let quote = *bytes.get(start).ok_or(Unscannable)?;
    let mut at = start + 1;
    loop {
        match *bytes.get(at).ok_or(Unscannable)? {
            byte if byte == quote && bytes.get(at + 1) == Some(&quote) => at += 2,
            byte if byte == quote => return Ok(at + 1),
            b'\\' if escapes => at += 2,
            _ => at += 1,
        }
    }
}

/// The end of one part of a bit string, which begins with a quote.
fn bits_end(bytes: &[u8], quote: usize) -> Result<usize, Unscannable> {
    let end = skip_while(bytes, quote + 1, |byte| byte != b'\'');
    if end == bytes.len() || bytes.get(end + 1) == Some(&b'\'') { Err(Unscannable) } else { Ok(end + 1) }
}

/// Where a string goes on: the next quote, if only white space with a line break and `--` comments stand before it.
fn continuation(bytes: &[u8], end: usize) -> Option<usize> {
    let mut at = end;
    let mut broken = false;
    loop {
        match *bytes.get(at)? {
            b'\n' | b'\r' => {
                broken = true;
                at += 1;
            }
            byte if is_space(byte) => at += 1,
            b'-' if bytes.get(at + 1) == Some(&b'-') => at = line_end(bytes, at),
            b'\'' if broken => return Some(at),
            _ => return None,
        }
    }
}

/// What a byte may be, by the classes of PostgreSQL's lexer, as bits.
const SPACE: u8 = 1;
const IDENTIFIER_START: u8 = 2;
const IDENTIFIER_PART: u8 = 4;
const OPERATOR: u8 = 8;
const SELF: u8 = 16;

/// The classes of every byte. A look into a table is what makes the scanner fast.
const CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let is = byte as u8;
        if matches!(is, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c) {
            classes[byte] |= SPACE;
        }
        if is.is_ascii_alphabetic() || is == b'_' || is >= 0x80 {
            classes[byte] |= IDENTIFIER_START | IDENTIFIER_PART;
        }
        if is.is_ascii_digit() || is == b'$' {
            classes[byte] |= IDENTIFIER_PART;
        }
        if matches!(is, b'~' | b'!' | b'@' | b'#' | b'^' | b'&' | b'|' | b'`' | b'?') {
            classes[byte] |= OPERATOR;
        }
        if matches!(is, b'+' | b'-' | b'*' | b'/' | b'%' | b'<' | b'>' | b'=') {
            classes[byte] |= OPERATOR;
        }
        if matches!(is, b',' | b'(' | b')' | b'[' | b']' | b'.' | b';' | b':') {
            classes[byte] |= SELF;
        }
        byte += 1;
    }
    classes
};

fn is_a(byte: u8, class: u8) -> bool {
    CLASSES[usize::from(byte)] & class != 0
}

fn is_space(byte: u8) -> bool {
    is_a(byte, SPACE)
}

fn is_identifier_start(byte: u8) -> bool {
    is_a(byte, IDENTIFIER_START)
}

fn is_identifier_part(byte: u8) -> bool {
    is_a(byte, IDENTIFIER_PART)
}

fn is_operator(byte: u8) -> bool {
    is_a(byte, OPERATOR)
}

fn is_self(byte: u8) -> bool {
    is_a(byte, SELF)
}

fn number_value(source: &str) -> Option<Cow<'_, str>> {
    match source.as_bytes() {
        [b'0', b'x' | b'X' | b'o' | b'O' | b'b' | b'B', ..] => Some(parse_radix(source)?.to_string().into()),
        _ if source.contains('_') => Some(source.replace('_', "").into()),
        _ => Some(source.into()),
    }
}

fn dollar_value(source: &str) -> Option<Cow<'_, str>> {
    let tag = source.get(1..)?.find('$')? + 2;
    source.get(tag..source.len().checked_sub(tag)?).map(Cow::Borrowed)
}

/// The content of a quoted string with its continuations.
fn unquote(source: &str, escapes: bool) -> Option<Cow<'_, str>> {
    let bytes = source.as_bytes();
    let first = quote_end(bytes, 0, escapes).ok()?;
    let content = source.get(1..first - 1)?;
    let special = content.contains('\'') || (escapes && content.contains('\\'));
    if first == source.len() && !special {
        return Some(content.into());
    }
    let mut value = String::with_capacity(source.len());
    let mut quote = 0;
    loop {
        let end = quote_end(bytes, quote, escapes).ok()?;
        unescape(source.get(quote + 1..end - 1)?, escapes, &mut value)?;
        match continuation(bytes, end) {
            Some(next) => quote = next,
            None => return Some(value.into()),
        }
    }
}

fn unescape(content: &str, escapes: bool, value: &mut String) -> Option<()> {
    let mut chars = content.chars();
    while let Some(char) = chars.next() {
        match char {
            '\'' => value.extend(chars.next()),
            '\\' if escapes => value.push(escaped(chars.next()?)?),
            _ => value.push(char),
        }
    }
    Some(())
}

/// What a backslash and this character stand for; `None` for numeric escapes.
fn escaped(char: char) -> Option<char> {
    match char {
        'b' => Some('\u{8}'),
        'f' => Some('\u{c}'),
        'n' => Some('\n'),
        'r' => Some('\r'),
        't' => Some('\t'),
        'v' => Some('\u{b}'),
        'x' | 'u' | 'U' | '0'..='7' => None,
        other => Some(other),
    }
}

#[cfg(test)]
mod tests;
