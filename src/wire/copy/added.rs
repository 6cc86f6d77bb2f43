//! Fields that a row of COPY is given behind its own.

use std::borrow::Cow;

use bytes::{BufMut, Bytes, BytesMut};

use super::{CopyFormat, bad};
use crate::types::Result;

/// Source: `MAX_COPY_DATA_DISPLAY` in PostgreSQL's `copyfrom.c`.
const SHOWN_MAX: usize = 100;

impl CopyFormat {
    /// A row of `given` fields with these values behind them, each in the form that the format has for values. A row of
    /// fewer fields is given none: its server says what it lacks.
    ///
    /// # Errors
    /// [`Kind::BadCopyData`], in PostgreSQL's words: the row has more fields, or is none.
    pub fn with_fields(&self, row: &Bytes, given: usize, values: &[Option<&[u8]>]) -> Result<Bytes> {
        match self.field_count(row)? {
            count if count == given => {}
            count if self.is_binary() => {
                return Err(bad(format!("row field count is {count}, expected {given}")));
            }
            count if count > given => return Err(bad("extra data after last expected column")),
            _ => return Ok(row.clone()),
        }
        let line_end = self.line_end(row);
        let mut out = BytesMut::with_capacity(row.len() + 24 * values.len());
        match self {
            Self::Binary => {
                let count = i16::try_from(given + values.len()).unwrap_or(i16::MAX);
                out.put_i16(count);
                out.put_slice(row.get(2..).unwrap_or_default());
                values.iter().for_each(|value| put_binary(&mut out, *value));
            }
            Self::Text { delimiter, null } => {
                out.put_slice(&row[..row.len() - line_end.len()]);
                for value in values {
                    out.put_u8(*delimiter);
                    put_text(&mut out, *value, *delimiter, null);
                }
            }
            Self::Csv { delimiter, null, quote, escape } => {
                out.put_slice(&row[..row.len() - line_end.len()]);
                for value in values {
                    out.put_u8(*delimiter);
                    match value {
                        Some(value) => put_quoted(&mut out, value, *quote, *escape),
                        None => out.put_slice(null),
                    }
                }
            }
        }
        out.put_slice(line_end);
        Ok(out.freeze())
    }

    fn field_count(&self, row: &[u8]) -> Result<usize> {
        match self {
            Self::Binary => {
                let count = row.first_chunk().and_then(|count| usize::try_from(i16::from_be_bytes(*count)).ok());
                count.ok_or_else(|| bad("unexpected EOF in COPY data"))
            }
            Self::Text { .. } | Self::Csv { .. } => Ok(self.all_fields(row)?.len()),
        }
    }

    /// A row as PostgreSQL shows it in the CONTEXT of an error; `None` for binary data.
    pub fn shown<'r>(&self, row: &'r [u8]) -> Option<Cow<'r, str>> {
        if self.is_binary() {
            return None;
        }
        let line = &row[..row.len() - self.line_end(row).len()];
        let text = String::from_utf8_lossy(line);
        Some(match text.len() {
            ..=SHOWN_MAX => text,
            _ => {
                let mut end = SHOWN_MAX;
                while !text.is_char_boundary(end) {
                    end -= 1;
                }
                format!("{}...", &text[..end]).into()
            }
        })
    }
}

/// Appends a row of the text format with its usual delimiter and sign of NULL.
pub fn put_text_row(out: &mut BytesMut, values: &[Option<&[u8]>]) {
    for (place, value) in values.iter().enumerate() {
        if place > 0 {
            out.put_u8(b'\t');
        }
        put_text(out, *value, b'\t', b"\\N");
    }
    out.put_u8(b'\n');
}

fn put_binary(out: &mut BytesMut, value: Option<&[u8]>) {
    match value {
        Some(value) => {
            out.put_i32(i32::try_from(value.len()).unwrap_or(i32::MAX));
            out.put_slice(value);
        }
        None => out.put_i32(-1),
    }
}

fn put_text(out: &mut BytesMut, value: Option<&[u8]>, delimiter: u8, null: &[u8]) {
    let Some(value) = value else { return out.put_slice(null) };
    let start = out.len();
    for byte in value {
        match byte {
            b'\n' => out.put_slice(b"\\n"),
            b'\r' => out.put_slice(b"\\r"),
            b'\t' => out.put_slice(b"\\t"),
            b'\\' => out.put_slice(b"\\\\"),
            byte if *byte == delimiter => out.put_slice(&[b'\\', delimiter]),
            byte => out.put_u8(*byte),
        }
    }
    // A value that reads like NULL is spelled in another way.
    if out[start..] == *null
        && let Some((first, rest)) = value.split_first()
    {
        out.truncate(start);
        out.put_slice(format!("\\x{first:02x}").as_bytes());
        out.put_slice(rest);
    }
}

fn put_quoted(out: &mut BytesMut, value: &[u8], quote: u8, escape: u8) {
    out.put_u8(quote);
    for byte in value {
        if *byte == quote || *byte == escape {
            out.put_u8(escape);
        }
        out.put_u8(*byte);
    }
    out.put_u8(quote);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn added(format: &CopyFormat, row: &'static [u8], given: usize, values: &[Option<&[u8]>]) -> String {
        match format.with_fields(&Bytes::from_static(row), given, values) {
            Ok(row) => String::from_utf8_lossy(&row).into_owned(),
            Err(error) => error.message.to_string(),
        }
    }

    #[test]
    fn values_stand_behind_the_rows_own() {
        let text = CopyFormat::Text { delimiter: b'\t', null: b"\\N".to_vec() };
        assert_eq!(added(&text, b"a\tb\n", 2, &[Some(b"7"), None]), "a\tb\t7\t\\N\n");
        assert_eq!(added(&text, b"a\tb\r\n", 2, &[Some(b"x\ty\\")]), "a\tb\tx\\ty\\\\\r\n");
        assert_eq!(added(&text, b"a\\\tb\n", 1, &[Some(b"7")]), "a\\\tb\t7\n");
        assert_eq!(added(&text, b"a", 1, &[Some(b"7")]), "a\t7");
        assert_eq!(added(&text, b"a\n", 2, &[Some(b"7")]), "a\n", "the server says which column is missing");
        assert_eq!(added(&text, b"a\tb\n", 1, &[Some(b"7")]), "extra data after last expected column");
        assert_eq!(added(&CopyFormat::Binary, b"\0\x01\xff\xff\xff\xff", 2, &[]), "row field count is 1, expected 2");
        let bars = CopyFormat::Text { delimiter: b'|', null: b"nix".to_vec() };
        assert_eq!(added(&bars, b"a\n", 1, &[Some(b"nix"), Some(b"|"), None]), "a|\\x6eix|\\||nix\n");
        let csv = CopyFormat::Csv { delimiter: b',', null: Vec::new(), quote: b'"', escape: b'"' };
        assert_eq!(added(&csv, b"\"a,\n\",b\n", 2, &[Some(b"x\"y"), None, Some(b"")]), "\"a,\n\",b,\"x\"\"y\",,\"\"\n");
        let binary = CopyFormat::Binary;
        assert_eq!(
            binary.with_fields(&Bytes::from_static(b"\0\x01\0\0\0\x01a"), 1, &[Some(b"\0\0\0\x07"), None]).unwrap()[..],
            *b"\0\x03\0\0\0\x01a\0\0\0\x04\0\0\0\x07\xff\xff\xff\xff"
        );
    }

    #[test]
    fn a_long_row_is_shown_in_part() {
        let text = CopyFormat::Text { delimiter: b'\t', null: b"\\N".to_vec() };
        assert_eq!(text.shown(b"a\tb\n").unwrap(), "a\tb");
        let long = format!("{}é\n", "x".repeat(99));
        assert_eq!(text.shown(long.as_bytes()).unwrap(), format!("{}...", "x".repeat(99)));
        assert_eq!(CopyFormat::Binary.shown(b"\0\0"), None);
    }
}
