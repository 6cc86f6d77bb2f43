//! Messages that a client sends, decoded as far as Weir needs them, and encoded where Weir itself is a client.

use bytes::{BufMut, BytesMut};

use super::reader::Reader;
use crate::types::{Error, Result};

/// Message type bytes of the client's side.
pub mod tag {
    pub const QUERY: u8 = b'Q';
    pub const PARSE: u8 = b'P';
    pub const BIND: u8 = b'B';
    pub const DESCRIBE: u8 = b'D';
    pub const EXECUTE: u8 = b'E';
    pub const CLOSE: u8 = b'C';
    pub const SYNC: u8 = b'S';
    pub const FLUSH: u8 = b'H';
    pub const COPY_DATA: u8 = b'd';
    pub const COPY_DONE: u8 = b'c';
    pub const COPY_FAIL: u8 = b'f';
    pub const FUNCTION_CALL: u8 = b'F';
    pub const PASSWORD: u8 = b'p';
    pub const TERMINATE: u8 = b'X';
}

/// What Describe and Close speak of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    Statement(&'a [u8]),
    Portal(&'a [u8]),
}

impl<'a> Target<'a> {
    /// Reads the body of Describe or Close.
    pub fn read(body: &'a [u8]) -> Result<Self> {
        let mut reader = Reader::new(body);
        match reader.u8()? {
            b'S' => Ok(Self::Statement(reader.cstr()?)),
            b'P' => Ok(Self::Portal(reader.cstr()?)),
            other => Err(Error::protocol(format!("invalid Describe or Close target {:?}", other as char))),
        }
    }
}

/// Parse: a statement's name, its text, and the parameter types that the client declares (0: not declared).
#[derive(Clone, Debug)]
pub struct Parse<'a> {
    pub name: &'a [u8],
    pub query: &'a [u8],
    /// Everything after the name: text, count and types. Two statements with equal bytes here are the same statement.
    pub definition: &'a [u8],
    parameter_types: Reader<'a>,
    parameter_count: usize,
}

impl<'a> Parse<'a> {
    pub fn read(body: &'a [u8]) -> Result<Self> {
        let mut reader = Reader::new(body);
        let name = reader.cstr()?;
        let definition = reader.rest();
        let query = reader.cstr()?;
        let parameter_count = reader.count()?;
        let parameter_types = reader.clone();
        reader.bytes(parameter_count * 4)?;
        Ok(Self { name, query, definition, parameter_types, parameter_count })
    }

    /// The declared parameter types as OIDs, 0 where the server shall infer.
    pub fn parameter_types(&self) -> Result<Vec<u32>> {
        let mut reader = self.parameter_types.clone();
        (0..self.parameter_count).map(|_| reader.u32()).collect()
    }
}

/// The format of a value on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Text,
    Binary,
}

impl Format {
    /// The code that stands for the format in messages.
    pub fn code(self) -> i16 {
        match self {
            Self::Text => 0,
            Self::Binary => 1,
        }
    }

    /// Reads a format code; anything but 0 and 1 is a breach of the protocol.
    pub fn from_code(code: i16) -> Result<Self> {
        match code {
            0 => Ok(Self::Text),
            1 => Ok(Self::Binary),
            other => Err(Error::protocol(format!("unsupported format code: {other}"))),
        }
    }
}

/// A value on the wire: its format and its bytes, `None` for NULL.
pub type Value<'a> = (Format, Option<&'a [u8]>);

/// Bind: which statement becomes which portal, with which values.
#[derive(Clone, Debug)]
pub struct Bind<'a> {
    pub portal: &'a [u8],
    pub statement: &'a [u8],
    /// Everything after the statement's name.
    pub arguments: &'a [u8],
    formats: Vec<Format>,
    values: Reader<'a>,
    pub value_count: usize,
    pub result_formats: Vec<Format>,
}

impl<'a> Bind<'a> {
    /// Reads only the two names and what follows them: enough to forward the message.
    pub fn names(body: &'a [u8]) -> Result<(&'a [u8], &'a [u8], &'a [u8])> {
        let mut reader = Reader::new(body);
        let portal = reader.cstr()?;
        let statement = reader.cstr()?;
        Ok((portal, statement, reader.rest()))
    }

    pub fn read(body: &'a [u8]) -> Result<Self> {
        let (portal, statement, arguments) = Self::names(body)?;
        Self::of(portal, statement, arguments)
    }

    /// From the two names and what follows them.
    pub fn of(portal: &'a [u8], statement: &'a [u8], arguments: &'a [u8]) -> Result<Self> {
        let mut reader = Reader::new(arguments);
        let formats = read_formats(&mut reader)?;
        let value_count = reader.count()?;
        let values = reader.clone();
        for _ in 0..value_count {
            reader.value()?;
        }
        let result_formats = read_formats(&mut reader)?;
        if !reader.is_empty() {
            return Err(Error::protocol("invalid message format"));
        }
        if formats.len() > 1 && formats.len() != value_count {
            return Err(Error::protocol(format!(
                "bind message has {} parameter formats but {value_count} parameters",
                formats.len()
            )));
        }
        Ok(Self { portal, statement, arguments, formats, values, value_count, result_formats })
    }

    /// `arguments`, which are as long as [`Bind::arguments`], for a result with so many more columns behind the client's.
    /// They are asked for in the one format of all columns, or in text where each has its own.
    pub fn with_more_columns(&self, mut arguments: Vec<u8>, more: usize) -> Vec<u8> {
        if self.result_formats.len() > 1 {
            let count_at = self.arguments.len() - 2 - 2 * self.result_formats.len();
            let count = u16::try_from(self.result_formats.len() + more).unwrap_or(u16::MAX);
            arguments[count_at..count_at + 2].copy_from_slice(&count.to_be_bytes());
            arguments.extend(std::iter::repeat_n(0, 2 * more));
        }
        arguments
    }

    /// The arguments with NULL for every parameter, counted from zero, that is not wanted.
    pub fn only_values(&self, is_wanted: impl Fn(usize) -> bool) -> Result<Vec<u8>> {
        let mut out = BytesMut::with_capacity(self.arguments.len());
        let count = |len: usize| u16::try_from(len).unwrap_or(u16::MAX);
        out.put_u16(count(self.formats.len()));
        self.formats.iter().for_each(|format| out.put_i16(format.code()));
        out.put_u16(count(self.value_count));
        for (at, (_, value)) in self.values()?.into_iter().enumerate() {
            match value.filter(|_| is_wanted(at)) {
                None => out.put_i32(-1),
                Some(bytes) => {
                    out.put_u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
                    out.put_slice(bytes);
                }
            }
        }
        out.put_u16(count(self.result_formats.len()));
        self.result_formats.iter().for_each(|format| out.put_i16(format.code()));
        Ok(out.to_vec())
    }

    /// `arguments`, which are as long as [`Bind::arguments`], with all results asked for in text format.
    pub fn for_text(&self, mut arguments: Vec<u8>) -> Vec<u8> {
        let formats_len = 2 + 2 * self.result_formats.len();
        arguments.truncate(self.arguments.len() - formats_len);
        arguments.extend_from_slice(&[0, 0]);
        arguments
    }

    /// As [`Bind::for_text`], in binary format.
    pub fn for_binary(&self, arguments: Vec<u8>) -> Vec<u8> {
        let mut arguments = self.for_text(arguments);
        arguments.truncate(arguments.len() - 2);
        arguments.extend_from_slice(&[0, 1, 0, 1]);
        arguments
    }

    /// The format in which the value of a column is asked for.
    pub fn result_format(&self, column: usize) -> Format {
        match self.result_formats.as_slice() {
            [all] => *all,
            each => each.get(column).copied().unwrap_or(Format::Text),
        }
    }

    /// The parameters.
    pub fn values(&self) -> Result<Vec<Value<'a>>> {
        self.each_value().collect()
    }

    /// The parameters, one after the other.
    pub fn each_value(&self) -> impl Iterator<Item = Result<Value<'a>>> {
        let mut reader = self.values.clone();
        (0..self.value_count).map(move |index| {
            let format = match self.formats.as_slice() {
                [] => Format::Text,
                [all] => *all,
                each => each[index],
            };
            Ok((format, reader.value()?))
        })
    }
}

fn read_formats(reader: &mut Reader<'_>) -> Result<Vec<Format>> {
    let count = reader.count()?;
    (0..count).map(|_| Format::from_code(reader.i16()?)).collect()
}

/// The text of a simple Query, without its terminating zero.
pub fn query_text(body: &[u8]) -> Result<&[u8]> {
    Reader::new(body).cstr()
}

/// Appends a message: tag, length word, and a body that `write` appends.
pub fn message(out: &mut BytesMut, tag: u8, write: impl FnOnce(&mut BytesMut)) {
    super::backend::message(out, tag, write);
}

/// Appends a simple Query.
pub fn query(out: &mut BytesMut, text: &str) {
    query_bytes(out, text.as_bytes());
}

/// The same for a text in whatever encoding.
pub fn query_bytes(out: &mut BytesMut, text: &[u8]) {
    message(out, tag::QUERY, |body| put_cstr(body, text));
}

/// The bytes of [`Parse::definition`] for a text and parameter types.
pub fn definition(text: &str, parameter_types: &[u32]) -> BytesMut {
    let mut bytes = BytesMut::with_capacity(text.len() + 3 + 4 * parameter_types.len());
    put_cstr(&mut bytes, text.as_bytes());
    bytes.put_u16(u16::try_from(parameter_types.len()).unwrap_or(u16::MAX));
    parameter_types.iter().for_each(|oid| bytes.put_u32(*oid));
    bytes
}

/// A definition with other parameter types: the text stays.
pub fn redefined(definition: &[u8], parameter_types: impl ExactSizeIterator<Item = u32>) -> BytesMut {
    let text = definition.split_inclusive(|&byte| byte == 0).next().unwrap_or_default();
    let mut bytes = BytesMut::with_capacity(text.len() + 2 + 4 * parameter_types.len());
    bytes.put_slice(text);
    bytes.put_u16(u16::try_from(parameter_types.len()).unwrap_or(u16::MAX));
    parameter_types.for_each(|oid| bytes.put_u32(oid));
    bytes
}

/// Appends Parse from a name and the bytes of [`Parse::definition`].
pub fn parse(out: &mut BytesMut, name: &[u8], definition: &[u8]) {
    message(out, tag::PARSE, |body| {
        put_cstr(body, name);
        body.put_slice(definition);
    });
}

/// Appends Bind from its two names and the bytes of [`Bind::arguments`].
pub fn bind(out: &mut BytesMut, portal: &[u8], statement: &[u8], arguments: &[u8]) {
    message(out, tag::BIND, |body| {
        put_cstr(body, portal);
        put_cstr(body, statement);
        body.put_slice(arguments);
    });
}

/// Appends the beginning of a Bind: `rest` bytes of its arguments are to follow.
pub fn begin_bind(out: &mut BytesMut, portal: &[u8], statement: &[u8], arguments: &[u8], rest: usize) {
    let len = 4 + portal.len() + 1 + statement.len() + 1 + arguments.len() + rest;
    out.put_u8(tag::BIND);
    out.put_u32(u32::try_from(len).unwrap_or(u32::MAX));
    put_cstr(out, portal);
    put_cstr(out, statement);
    out.put_slice(arguments);
}

/// Appends Describe.
pub fn describe(out: &mut BytesMut, target: Target<'_>) {
    put_target(out, tag::DESCRIBE, target);
}

/// Appends Close.
pub fn close(out: &mut BytesMut, target: Target<'_>) {
    put_target(out, tag::CLOSE, target);
}

/// Appends Execute; `max_rows` 0 asks for all rows.
pub fn execute(out: &mut BytesMut, portal: &[u8], max_rows: u32) {
    message(out, tag::EXECUTE, |body| {
        put_cstr(body, portal);
        body.put_u32(max_rows);
    });
}

/// Appends Sync.
pub fn sync(out: &mut BytesMut) {
    message(out, tag::SYNC, |_| {});
}

/// Appends Flush.
pub fn flush(out: &mut BytesMut) {
    message(out, tag::FLUSH, |_| {});
}

/// Appends Terminate.
pub fn terminate(out: &mut BytesMut) {
    message(out, tag::TERMINATE, |_| {});
}

/// Appends CopyData.
pub fn copy_data(out: &mut BytesMut, data: &[u8]) {
    message(out, tag::COPY_DATA, |body| body.put_slice(data));
}

/// Appends CopyDone.
pub fn copy_done(out: &mut BytesMut) {
    message(out, tag::COPY_DONE, |_| {});
}

/// Appends CopyFail with a reason.
pub fn copy_fail(out: &mut BytesMut, reason: &str) {
    message(out, tag::COPY_FAIL, |body| put_cstr(body, reason.as_bytes()));
}

fn put_target(out: &mut BytesMut, tag: u8, target: Target<'_>) {
    let (kind, name) = match target {
        Target::Statement(name) => (b'S', name),
        Target::Portal(name) => (b'P', name),
    };
    message(out, tag, |body| {
        body.put_u8(kind);
        put_cstr(body, name);
    });
}

fn put_cstr(out: &mut BytesMut, text: &[u8]) {
    out.put_slice(text);
    out.put_u8(0);
}
