//! The data of COPY FROM STDIN, cut into rows, and rows into fields. Source: PostgreSQL's `copyfromparse.c`.
//!
//! As in PostgreSQL, the first line says how lines end: with a newline, or with a carriage return in front of it. What
//! PostgreSQL reads by rules of its own (lines that end with a carriage return alone, an end-of-data mark inside a row) is
//! refused: a row that is cut otherwise than by the server would go to another row's shard.

mod added;
mod lines;

use std::borrow::Cow;

use bytes::{Buf, Bytes, BytesMut};

pub use self::added::put_text_row;
pub use self::lines::{Lines, named_line};
use crate::types::{Error, Kind, Origin, Result};

/// How the data is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CopyFormat {
    Text { delimiter: u8, null: Vec<u8> },
    Csv { delimiter: u8, null: Vec<u8>, quote: u8, escape: u8 },
    Binary,
}

/// A part of the data that is not divided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// What stands in front of the rows: whoever reads a part of them needs it.
    Heading(Bytes),
    /// A row with its line end.
    Row(Bytes),
}

/// The value of a field; `None` for NULL.
pub type Field<'r> = Option<Cow<'r, [u8]>>;

/// Cuts data into pieces as it comes.
#[derive(Debug)]
pub struct Rows {
    format: CopyFormat,
    buffer: BytesMut,
    /// The heading is still to come.
    wants_heading: bool,
    /// The end-of-data mark was seen: what follows means nothing.
    is_over: bool,
    /// How far `buffer` was looked at without finding the end of a piece, and the state there.
    looked_at: usize,
    quotes: Quotes,
    /// How the first line ended.
    line_end: Option<LineEnd>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LineEnd {
    Newline,
    /// A carriage return and a newline.
    Both,
}

/// Where in quotes a line of CSV is.
#[derive(Clone, Copy, Debug, Default)]
struct Quotes {
    inside: bool,
    escaped: bool,
}

const BINARY_SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";

/// Signature, flags, and the length of the extension behind them.
const BINARY_HEADING_LEN: usize = BINARY_SIGNATURE.len() + 8;

/// The field count that ends binary data.
const BINARY_END: [u8; 2] = [0xff, 0xff];

/// The line that ends textual data.
const END_MARK: &[u8] = b"\\.";

impl CopyFormat {
    pub fn is_binary(&self) -> bool {
        *self == Self::Binary
    }

    /// What stands behind the last row.
    pub fn ending(&self) -> &'static [u8] {
        if self.is_binary() { &BINARY_END } else { &[] }
    }

    /// The fields of a row at these places, counted from zero.
    ///
    /// # Errors
    /// [`Kind::BadCopyData`]: the row has fewer fields, or is none.
    pub fn fields<'r>(&self, row: &'r [u8], places: &[usize]) -> Result<Vec<Field<'r>>> {
        let mut fields = self.all_fields(row)?;
        let mut field = |place: &usize| fields.get_mut(*place).map(std::mem::take).ok_or_else(missing_data);
        places.iter().map(&mut field).collect()
    }

    fn all_fields<'r>(&self, row: &'r [u8]) -> Result<Vec<Field<'r>>> {
        let line = &row[..row.len() - self.line_end(row).len()];
        Ok(match self {
            Self::Text { delimiter, null } => text_fields(line, *delimiter, null),
            Self::Csv { delimiter, null, quote, escape } => {
                CsvLine { rest: line, delimiter: *delimiter, null, quote: *quote, escape: *escape }.fields()?
            }
            Self::Binary => binary_fields(row)?,
        })
    }

    /// The end of a row's last line.
    fn line_end(&self, row: &[u8]) -> &'static [u8] {
        let Some(line) = row.strip_suffix(b"\n").filter(|_| !self.is_binary()) else { return b"" };
        match line.strip_suffix(b"\r") {
            // Behind a backslash it is a part of the last field.
            Some(line) if matches!(self, Self::Text { .. }) && ends_in_escape(line) => b"\n",
            Some(_) => b"\r\n",
            None => b"\n",
        }
    }

    /// How many lines a row has, as PostgreSQL counts them.
    pub fn line_count(&self, row: &[u8]) -> u64 {
        match self {
            Self::Text { .. } | Self::Binary => 1,
            Self::Csv { .. } => {
                let ends = memchr::memchr_iter(b'\n', row).count() as u64;
                if row.ends_with(b"\n") { ends } else { ends + 1 }
            }
        }
    }
}

impl Rows {
    /// `header`: the first line of textual data is no row.
    pub fn new(format: CopyFormat, header: bool) -> Self {
        let wants_heading = header || format.is_binary();
        let (looked_at, quotes) = (0, Quotes::default());
        Self { format, buffer: BytesMut::new(), wants_heading, is_over: false, looked_at, quotes, line_end: None }
    }

    /// Takes more data.
    pub fn push(&mut self, data: &[u8]) {
        if !self.is_over {
            self.buffer.extend_from_slice(data);
        }
    }

    /// The next piece; `None` when more data is needed, or nothing is left and `at_end` says that no more comes.
    ///
    /// # Errors
    /// [`Kind::BadCopyData`] for what is no such data, [`Kind::NotSupported`] for what PostgreSQL might cut otherwise.
    pub fn piece(&mut self, at_end: bool) -> Result<Option<Piece>> {
        if self.is_over {
            return Ok(None);
        }
        let found = match self.format {
            CopyFormat::Text { .. } => self.text_end(at_end)?,
            CopyFormat::Csv { quote, escape, .. } => self.csv_end(quote, escape, at_end)?,
            CopyFormat::Binary => return self.binary_piece(at_end),
        };
        let end = match found {
            Some(end) => end,
            None if at_end && !self.buffer.is_empty() => self.buffer.len(),
            None => return Ok(None),
        };
        (self.looked_at, self.quotes) = (0, Quotes::default());
        let line = self.buffer.split_to(end).freeze();
        if line[..line.len() - self.format.line_end(&line).len()] == *END_MARK {
            return self.end_mark();
        }
        Ok(Some(self.line(line)))
    }

    fn line(&mut self, line: Bytes) -> Piece {
        if std::mem::take(&mut self.wants_heading) { Piece::Heading(line) } else { Piece::Row(line) }
    }

    fn end_mark(&mut self) -> Result<Option<Piece>> {
        match self.format {
            CopyFormat::Csv { .. } => {
                Err(unclear("a line \"\\.\", which ends CSV data for some versions of PostgreSQL"))
            }
            CopyFormat::Text { .. } | CopyFormat::Binary => {
                self.is_over = true;
                self.buffer.clear();
                Ok(None)
            }
        }
    }

    /// The end of the first line: one that no backslash stands before.
    fn text_end(&mut self, at_end: bool) -> Result<Option<usize>> {
        while let Some(byte) = self.buffer.get(self.looked_at) {
            match byte {
                b'\\' => match self.buffer.get(self.looked_at + 1) {
                    None => return Ok(None),
                    Some(b'.') if self.looked_at > 0 => return Err(unclear("\"\\.\" inside a row")),
                    Some(_) => self.looked_at += 2,
                },
                b'\r' | b'\n' => return self.line_end(self.looked_at, at_end),
                _ => self.looked_at += 1,
            }
        }
        Ok(None)
    }

    /// The end of the first line: one outside of quotes.
    fn csv_end(&mut self, quote: u8, escape: u8, at_end: bool) -> Result<Option<usize>> {
        // As in PostgreSQL, an escape that is the quote itself needs no care: two quotes are out and in again.
        let escape = (escape != quote).then_some(escape);
        while let Some(byte) = self.buffer.get(self.looked_at).copied() {
            if matches!(byte, b'\r' | b'\n') && !self.quotes.inside {
                return self.line_end(self.looked_at, at_end);
            }
            self.looked_at += 1;
            let is_escape = Some(byte) == escape;
            if self.quotes.inside && is_escape {
                self.quotes.escaped = !self.quotes.escaped;
            }
            if byte == quote && !self.quotes.escaped {
                self.quotes.inside = !self.quotes.inside;
            }
            if !is_escape {
                self.quotes.escaped = false;
            }
        }
        Ok(None)
    }

    /// The end of the line whose end begins at `at`; `None` when more is needed to tell. All must end alike.
    fn line_end(&mut self, at: usize, at_end: bool) -> Result<Option<usize>> {
        let found = match (self.buffer.get(at), self.buffer.get(at + 1)) {
            (Some(b'\r'), Some(b'\n')) => LineEnd::Both,
            (Some(b'\r'), None) if !at_end => return Ok(None),
            (Some(b'\r'), _) if self.line_end.is_none() => {
                return Err(unclear("lines that end with a carriage return, or one that is not written as \\r"));
            }
            (Some(b'\r'), _) => return Err(self.stray("carriage return")),
            _ => LineEnd::Newline,
        };
        if *self.line_end.get_or_insert(found) != found {
            return Err(self.stray(if found == LineEnd::Both { "carriage return" } else { "newline" }));
        }
        Ok(Some(at + if found == LineEnd::Both { 2 } else { 1 }))
    }

    /// PostgreSQL's own words.
    fn stray(&self, what: &str) -> Error {
        let how = if matches!(self.format, CopyFormat::Csv { .. }) { "unquoted" } else { "literal" };
        Error::new(Origin::Client, Kind::BadCopyData, format!("{how} {what} found in data"))
    }

    fn binary_piece(&mut self, at_end: bool) -> Result<Option<Piece>> {
        let length = if self.wants_heading { binary_heading_len(&self.buffer)? } else { binary_row_len(&self.buffer)? };
        match length {
            Some(0) => {
                self.is_over = true;
                self.buffer.clear();
                Ok(None)
            }
            Some(length) if length <= self.buffer.len() => {
                let piece = self.buffer.split_to(length).freeze();
                Ok(Some(self.line(piece)))
            }
            _ if at_end => Err(bad("unexpected EOF in COPY data")),
            _ => Ok(None),
        }
    }
}

/// Whether a backslash at the end of a line is none that stands for itself.
fn ends_in_escape(line: &[u8]) -> bool {
    line.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
}

fn text_fields<'r>(line: &'r [u8], delimiter: u8, null: &[u8]) -> Vec<Field<'r>> {
    let mut fields = Vec::new();
    let (mut start, mut at) = (0, 0);
    loop {
        match line.get(at) {
            Some(b'\\') => at += 2,
            Some(byte) if *byte != delimiter => at += 1,
            end => {
                let raw = &line[start..at.min(line.len())];
                fields.push((raw != null).then(|| unescaped(raw)));
                if end.is_none() {
                    return fields;
                }
                at += 1;
                start = at;
            }
        }
    }
}

/// A field of the text format without its escapes.
fn unescaped(raw: &[u8]) -> Cow<'_, [u8]> {
    if !raw.contains(&b'\\') {
        return Cow::Borrowed(raw);
    }
    let mut value = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((byte, behind)) = rest.split_first() {
        rest = behind;
        if *byte != b'\\' {
            value.push(*byte);
        } else if let Some((escaped, behind)) = rest.split_first() {
            rest = behind;
            value.push(escape(*escaped, &mut rest));
        }
    }
    Cow::Owned(value)
}

/// What a character behind a backslash stands for, with the digits that belong to it.
fn escape(escaped: u8, rest: &mut &[u8]) -> u8 {
    match escaped {
        b'b' => 0x08,
        b'f' => 0x0c,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'v' => 0x0b,
        b'0'..=b'7' => digits(u32::from(escaped - b'0'), 8, rest),
        b'x' if rest.first().is_some_and(u8::is_ascii_hexdigit) => digits(0, 16, rest),
        other => other,
    }
}

/// At most two more digits.
fn digits(first: u32, radix: u32, rest: &mut &[u8]) -> u8 {
    let mut value = first;
    for _ in 0..2 {
        let Some(digit) = rest.first().and_then(|byte| char::from(*byte).to_digit(radix)) else { break };
        value = value * radix + digit;
        *rest = &rest[1..];
    }
    // PostgreSQL keeps the low eight bits, too.
    (value & 0xff) as u8
}

/// A line of CSV that is read field by field.
struct CsvLine<'r, 'n> {
    rest: &'r [u8],
    delimiter: u8,
    null: &'n [u8],
    quote: u8,
    escape: u8,
}

impl<'r> CsvLine<'r, '_> {
    fn fields(mut self) -> Result<Vec<Field<'r>>> {
        let mut fields = Vec::new();
        loop {
            let (field, is_last) = self.field()?;
            fields.push(field);
            if is_last {
                return Ok(fields);
            }
        }
    }

    /// The next field, and whether it is the last one.
    fn field(&mut self) -> Result<(Field<'r>, bool)> {
        let start = self.rest;
        let mut value = Vec::new();
        let mut quoted = false;
        let is_last = loop {
            match self.take() {
                None => break true,
                Some(byte) if byte == self.delimiter => break false,
                Some(byte) if byte == self.quote => {
                    quoted = true;
                    self.quoted_part(&mut value)?;
                }
                Some(byte) => value.push(byte),
            }
        };
        let raw = &start[..start.len() - self.rest.len() - usize::from(!is_last)];
        let field = (quoted || raw != self.null).then_some(Cow::Owned(value));
        Ok((field, is_last))
    }

    fn quoted_part(&mut self, value: &mut Vec<u8>) -> Result<()> {
        loop {
            let byte = self.take().ok_or_else(|| bad("unterminated CSV quoted field"))?;
            let next = self.rest.first().copied();
            if byte == self.escape && (next == Some(self.escape) || next == Some(self.quote)) {
                value.extend(self.take());
            } else if byte == self.quote {
                return Ok(());
            } else {
                value.push(byte);
            }
        }
    }

    fn take(&mut self) -> Option<u8> {
        let (byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*byte)
    }
}

/// The length of the heading; `None` when more is needed to tell.
fn binary_heading_len(data: &[u8]) -> Result<Option<usize>> {
    let seen = data.len().min(BINARY_SIGNATURE.len());
    if data[..seen] != BINARY_SIGNATURE[..seen] {
        return Err(bad("COPY file signature not recognized"));
    }
    let Some(mut lengths) = data.get(BINARY_SIGNATURE.len()..BINARY_HEADING_LEN) else { return Ok(None) };
    let (_flags, extension) = (lengths.get_u32(), lengths.get_i32());
    let extension = usize::try_from(extension).map_err(|_| bad("invalid COPY file header (wrong length)"))?;
    Ok(Some(BINARY_HEADING_LEN + extension))
}

/// The length of a row; 0 for the end of the data, `None` when more is needed to tell.
fn binary_row_len(data: &[u8]) -> Result<Option<usize>> {
    let Some(count) = data.first_chunk() else { return Ok(None) };
    if *count == BINARY_END {
        return Ok(Some(0));
    }
    let mut at = count.len();
    for _ in 0..i16::from_be_bytes(*count) {
        let Some(length) = data.get(at..).and_then(<[u8]>::first_chunk) else { return Ok(None) };
        at += 4 + field_len(*length)?.unwrap_or(0);
    }
    Ok(Some(at))
}

/// The length of a field; `None` for NULL.
fn field_len(length: [u8; 4]) -> Result<Option<usize>> {
    match i32::from_be_bytes(length) {
        -1 => Ok(None),
        length => usize::try_from(length).map(Some).map_err(|_| bad("invalid field size")),
    }
}

fn binary_fields(row: &[u8]) -> Result<Vec<Field<'_>>> {
    let mut rest = row.get(2..).unwrap_or_default();
    let mut fields = Vec::new();
    while let Some((length, behind)) = rest.split_first_chunk() {
        let Some(length) = field_len(*length)? else {
            fields.push(None);
            rest = behind;
            continue;
        };
        let (value, behind) = behind.split_at_checked(length).ok_or_else(missing_data)?;
        fields.push(Some(Cow::Borrowed(value)));
        rest = behind;
    }
    Ok(fields)
}

fn missing_data() -> Error {
    bad("missing data for a column of the shard key")
}

fn bad(message: impl Into<Cow<'static, str>>) -> Error {
    Error::new(Origin::Client, Kind::BadCopyData, message)
}

fn unclear(what: &str) -> Error {
    Error::refuse(
        "cannot cut the data of COPY into rows",
        format!("Weir sends each row to its shard, and the data has {what}."),
    )
    .hint("End lines with a newline alone, and write other control characters as escapes.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text() -> CopyFormat {
        CopyFormat::Text { delimiter: b'\t', null: b"\\N".to_vec() }
    }

    fn csv(escape: u8) -> CopyFormat {
        CopyFormat::Csv { delimiter: b',', null: Vec::new(), quote: b'"', escape }
    }

    /// The pieces of data that comes in parts of this many bytes.
    fn pieces(format: &CopyFormat, header: bool, data: &[u8], step: usize) -> Result<Vec<Piece>> {
        let mut rows = Rows::new(format.clone(), header);
        let mut found = Vec::new();
        for part in data.chunks(step) {
            rows.push(part);
            while let Some(piece) = rows.piece(false)? {
                found.push(piece);
            }
        }
        while let Some(piece) = rows.piece(true)? {
            found.push(piece);
        }
        Ok(found)
    }

    fn row(bytes: &'static [u8]) -> Piece {
        Piece::Row(Bytes::from_static(bytes))
    }

    fn heading(bytes: &'static [u8]) -> Piece {
        Piece::Heading(Bytes::from_static(bytes))
    }

    fn is_cut(format: &CopyFormat, header: bool, data: &[u8], expected: &[Piece]) {
        for step in 1..=data.len() {
            assert_eq!(pieces(format, header, data, step).unwrap(), expected, "in parts of {step}");
        }
    }

    #[test]
    fn rows_are_cut_however_the_data_comes() {
        is_cut(
            &text(),
            false,
            b"1\ta\n2\tb\\\nc\n3\\\\\n4",
            &[row(b"1\ta\n"), row(b"2\tb\\\nc\n"), row(b"3\\\\\n"), row(b"4")],
        );
        is_cut(&text(), false, b"1\n\\.\nrubbish\r", &[row(b"1\n")]);
        is_cut(&text(), true, b"k\r\n1\\\r\r\n\\.\r\n", &[heading(b"k\r\n"), row(b"1\\\r\r\n")]);
        is_cut(&csv(b'"'), false, b"1,\"\r\n\n\"\r\n2,", &[row(b"1,\"\r\n\n\"\r\n"), row(b"2,")]);
        is_cut(&text(), true, b"k\n1\n", &[heading(b"k\n"), row(b"1\n")]);
        is_cut(
            &csv(b'"'),
            true,
            b"k,v\n1,\"a\nb\"\"\r\n\"\n2,\n",
            &[heading(b"k,v\n"), row(b"1,\"a\nb\"\"\r\n\"\n"), row(b"2,\n")],
        );
        is_cut(&csv(b'\\'), false, b"1,\"a\\\"\n\"\n2,\\\n", &[row(b"1,\"a\\\"\n\"\n"), row(b"2,\\\n")]);
        let mut binary = BINARY_SIGNATURE.to_vec();
        binary.extend(b"\0\0\0\0\0\0\0\x02xy\0\x02\0\0\0\x01a\xff\xff\xff\xff\0\x01\0\0\0\0\xff\xff");
        is_cut(
            &CopyFormat::Binary,
            false,
            &binary,
            &[
                heading(b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\x02xy"),
                row(b"\0\x02\0\0\0\x01a\xff\xff\xff\xff"),
                row(b"\0\x01\0\0\0\0"),
            ],
        );
    }

    #[test]
    fn what_may_be_cut_otherwise_is_refused() {
        for (format, data, kind) in [
            (text(), b"1\r2\r".as_slice(), Kind::NotSupported),
            (text(), b"1\r", Kind::NotSupported),
            (text(), b"1\r\n2\n", Kind::BadCopyData),
            (text(), b"1\n2\r\n", Kind::BadCopyData),
            (text(), b"1\n2\r3\n", Kind::BadCopyData),
            (csv(b'"'), b"1\r\n2\n", Kind::BadCopyData),
            (text(), b"1\\.\n", Kind::NotSupported),
            (csv(b'"'), b"1\r", Kind::NotSupported),
            (csv(b'"'), b"\\.\n", Kind::NotSupported),
            (CopyFormat::Binary, b"PGCOPX\n", Kind::BadCopyData),
            (CopyFormat::Binary, b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0\0\x01\0", Kind::BadCopyData),
            (CopyFormat::Binary, b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0\0\x01\xff\xff\xff\xf0", Kind::BadCopyData),
        ] {
            assert_eq!(pieces(&format, false, data, 3).unwrap_err().kind, kind, "{data:?}");
        }
    }

    fn shown(format: &CopyFormat, row: &[u8], places: &[usize]) -> String {
        match format.fields(row, places) {
            Ok(fields) => {
                let text = |field: &Field<'_>| match field {
                    Some(value) => format!("{:?}", String::from_utf8_lossy(value)),
                    None => "NULL".to_owned(),
                };
                fields.iter().map(text).collect::<Vec<_>>().join(" ")
            }
            Err(error) => error.message.to_string(),
        }
    }

    #[test]
    fn fields_are_what_the_server_reads() {
        let missing = "missing data for a column of the shard key";
        for (format, row, places, expected) in [
            (text(), b"1\tab\t\\N\n".as_slice(), &[1, 2, 0][..], r#""ab" NULL "1""#),
            (text(), b"\t\n", &[0, 1], r#""" """#),
            (text(), b"a\\tb\\\tc\\x41\\101\\q\\\\\n", &[0], r#""a\tb\tcAAq\\""#),
            (text(), b"\\xg\\8\\N x\n", &[0], r#""xg8N x""#),
            (text(), b"1", &[1], missing),
            (text(), b"1\t2\r\n", &[1], r#""2""#),
            (text(), b"1\t2\\\r\n", &[1], r#""2\r""#),
            (csv(b'"'), b"1,2\r\n", &[1], r#""2""#),
            (csv(b'"'), b"1,,\"\",\"a\"\"b,\"c\n", &[1, 2, 3], r#"NULL "" "a\"b,c""#),
            (csv(b'\\'), b"\"a\\\"b\\c\"\n", &[0], r#""a\"b\\c""#),
            (csv(b'"'), b"1,\"a\n", &[0], "unterminated CSV quoted field"),
            (CopyFormat::Binary, b"\0\x02\0\0\0\x01a\xff\xff\xff\xff", &[1, 0], r#"NULL "a""#),
            (CopyFormat::Binary, b"\0\0", &[0], missing),
        ] {
            assert_eq!(shown(&format, row, places), expected, "{row:?}");
        }
    }
}
