//! Messages that a server sends: decoded as far as Weir needs them, and encoded where Weir answers itself.

use std::borrow::Cow;

use bytes::{BufMut, Bytes, BytesMut};

use super::TransactionStatus;
use super::reader::Reader;
use crate::types::{Error, Result};

/// Message type bytes of the server's side.
pub mod tag {
    pub const AUTHENTICATION: u8 = b'R';
    pub const BACKEND_KEY_DATA: u8 = b'K';
    pub const BIND_COMPLETE: u8 = b'2';
    pub const CLOSE_COMPLETE: u8 = b'3';
    pub const COMMAND_COMPLETE: u8 = b'C';
    pub const COPY_DATA: u8 = b'd';
    pub const COPY_DONE: u8 = b'c';
    pub const COPY_IN_RESPONSE: u8 = b'G';
    pub const COPY_OUT_RESPONSE: u8 = b'H';
    pub const COPY_BOTH_RESPONSE: u8 = b'W';
    pub const DATA_ROW: u8 = b'D';
    pub const EMPTY_QUERY_RESPONSE: u8 = b'I';
    pub const ERROR_RESPONSE: u8 = b'E';
    pub const FUNCTION_CALL_RESPONSE: u8 = b'V';
    pub const NEGOTIATE_PROTOCOL_VERSION: u8 = b'v';
    pub const NO_DATA: u8 = b'n';
    pub const NOTICE_RESPONSE: u8 = b'N';
    pub const NOTIFICATION_RESPONSE: u8 = b'A';
    pub const PARAMETER_DESCRIPTION: u8 = b't';
    pub const PARAMETER_STATUS: u8 = b'S';
    pub const PARSE_COMPLETE: u8 = b'1';
    pub const PORTAL_SUSPENDED: u8 = b's';
    pub const READY_FOR_QUERY: u8 = b'Z';
    pub const ROW_DESCRIPTION: u8 = b'T';
}

/// One column of a RowDescription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: Vec<u8>,
    pub table_oid: u32,
    pub attribute: i16,
    pub type_oid: u32,
    pub type_size: i16,
    pub type_modifier: i32,
    pub format: i16,
}

impl Column {
    /// A column of type text that is no table's, without its name.
    pub const TEXT: Self = Self {
        name: Vec::new(),
        table_oid: 0,
        attribute: 0,
        type_oid: 25,
        type_size: -1,
        type_modifier: -1,
        format: 0,
    };
}

#[cfg(test)]
impl Column {
    /// A column of type text that is no table's, for tests.
    pub fn of_text(name: &str) -> Self {
        Self { name: name.as_bytes().to_vec(), ..Self::TEXT }
    }
}

/// Reads the body of a RowDescription.
pub fn read_row_description(body: &[u8]) -> Result<Vec<Column>> {
    let mut reader = Reader::new(body);
    let count = reader.count()?;
    (0..count)
        .map(|_| {
            Ok(Column {
                name: reader.cstr()?.to_vec(),
                table_oid: reader.u32()?,
                attribute: reader.i16()?,
                type_oid: reader.u32()?,
                type_size: reader.i16()?,
                type_modifier: reader.i32()?,
                format: reader.i16()?,
            })
        })
        .collect()
}

/// Appends a RowDescription.
pub fn row_description(out: &mut BytesMut, columns: &[Column]) {
    message(out, tag::ROW_DESCRIPTION, |body| put_columns(body, columns));
}

/// The body of a RowDescription.
pub fn row_description_body(columns: &[Column]) -> Bytes {
    let mut body = BytesMut::new();
    put_columns(&mut body, columns);
    body.freeze()
}

fn put_columns(body: &mut BytesMut, columns: &[Column]) {
    body.put_u16(count_u16(columns.len()));
    for column in columns {
        put_cstr(body, &column.name);
        body.put_u32(column.table_oid);
        body.put_i16(column.attribute);
        body.put_u32(column.type_oid);
        body.put_i16(column.type_size);
        body.put_i32(column.type_modifier);
        body.put_i16(column.format);
    }
}

/// Reads the types in the body of a ParameterDescription.
pub fn read_parameter_description(body: &[u8]) -> Result<Vec<u32>> {
    let mut reader = Reader::new(body);
    let count = reader.count()?;
    (0..count).map(|_| reader.u32()).collect()
}

/// Reads the values of a DataRow; `None` for NULL.
pub fn read_data_row(body: &[u8]) -> Result<Vec<Option<&[u8]>>> {
    let mut reader = Reader::new(body);
    let count = reader.count()?;
    (0..count).map(|_| reader.value()).collect()
}

/// Appends a DataRow.
pub fn data_row<'v>(out: &mut BytesMut, values: impl ExactSizeIterator<Item = Option<&'v [u8]>>) {
    message(out, tag::DATA_ROW, |body| {
        body.put_u16(count_u16(values.len()));
        for value in values {
            match value {
                None => body.put_i32(-1),
                Some(bytes) => {
                    body.put_u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
                    body.put_slice(bytes);
                }
            }
        }
    });
}

/// The fields of an ErrorResponse or NoticeResponse, by their one-byte codes.
/// Source: PostgreSQL manual, "Error and Notice Message Fields".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorFields<'a> {
    fields: Vec<(u8, Cow<'a, [u8]>)>,
}

impl<'a> ErrorFields<'a> {
    pub fn read(body: &'a [u8]) -> Result<Self> {
        let mut reader = Reader::new(body);
        let mut fields = Vec::new();
        loop {
            match reader.u8()? {
                0 => return Ok(Self { fields }),
                code => fields.push((code, Cow::Borrowed(reader.cstr()?))),
            }
        }
    }

    /// The field's text, lossily decoded.
    pub fn get(&self, code: u8) -> Option<Cow<'_, str>> {
        self.fields.iter().find(|(own, _)| *own == code).map(|(_, text)| String::from_utf8_lossy(text))
    }

    /// The SQLSTATE (field C).
    pub fn sqlstate(&self) -> Option<Cow<'_, str>> {
        self.get(b'C')
    }

    /// Whether the server ends the connection with this error (field V, or S from servers before 9.6).
    pub fn is_fatal(&self) -> bool {
        matches!(self.get(b'V').or_else(|| self.get(b'S')).as_deref(), Some("FATAL" | "PANIC"))
    }

    /// The body of a message with all fields but these.
    pub fn without(&self, codes: &[u8]) -> Bytes {
        let mut body = BytesMut::new();
        for (code, text) in self.fields.iter().filter(|(code, _)| !codes.contains(code)) {
            body.put_u8(*code);
            put_cstr(&mut body, text);
        }
        body.put_u8(0);
        body.freeze()
    }

    /// The body of a message with another text in the place of a field, or without that field.
    pub fn replaced(&self, code: u8, text: Option<&str>) -> Bytes {
        let mut body = BytesMut::new();
        for (own, old) in &self.fields {
            let text = if *own == code { text.map(str::as_bytes) } else { Some(&**old) };
            if let Some(text) = text {
                body.put_u8(*own);
                put_cstr(&mut body, text);
            }
        }
        body.put_u8(0);
        body.freeze()
    }

    /// The primary message (field M).
    pub fn message(&self) -> Cow<'_, str> {
        self.get(b'M').unwrap_or(Cow::Borrowed("(no message)"))
    }
}

/// How grave an ErrorResponse is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The statement failed; the session goes on.
    Error,
    /// The session ends.
    Fatal,
}

/// Appends an ErrorResponse for one of Weir's own errors.
pub fn error_response(out: &mut BytesMut, severity: Severity, error: &Error) {
    let severity = match severity {
        Severity::Error => "ERROR",
        Severity::Fatal => "FATAL",
    };
    let sqlstate = error.sqlstate();
    let fields = [
        (b'S', Some(severity)),
        (b'V', Some(severity)),
        (b'C', Some(sqlstate.as_str())),
        (b'M', Some(error.message.as_ref())),
        (b'D', error.detail.as_deref()),
        (b'H', error.hint.as_deref()),
        (b'W', error.context.as_deref()),
    ];
    put_fields(out, tag::ERROR_RESPONSE, &fields);
}

/// Appends a NoticeResponse of severity WARNING.
pub fn warning(out: &mut BytesMut, sqlstate: &str, text: &str) {
    let fields = [(b'S', Some("WARNING")), (b'V', Some("WARNING")), (b'C', Some(sqlstate)), (b'M', Some(text))];
    put_fields(out, tag::NOTICE_RESPONSE, &fields);
}

/// Appends a NoticeResponse of severity NOTICE.
pub fn notice(out: &mut BytesMut, sqlstate: &str, text: &str) {
    let fields = [(b'S', Some("NOTICE")), (b'V', Some("NOTICE")), (b'C', Some(sqlstate)), (b'M', Some(text))];
    put_fields(out, tag::NOTICE_RESPONSE, &fields);
}

fn put_fields(out: &mut BytesMut, tag: u8, fields: &[(u8, Option<&str>)]) {
    message(out, tag, |body| {
        for (code, text) in fields {
            if let Some(text) = text {
                body.put_u8(*code);
                put_cstr(body, text.as_bytes());
            }
        }
        body.put_u8(0);
    });
}

/// Appends ReadyForQuery.
pub fn ready_for_query(out: &mut BytesMut, status: TransactionStatus) {
    message(out, tag::READY_FOR_QUERY, |body| body.put_u8(status.as_byte()));
}

/// Reads the body of ReadyForQuery; `None` for a status that PostgreSQL does not know.
pub fn read_ready_for_query(body: &[u8]) -> Option<TransactionStatus> {
    match body {
        [status] => TransactionStatus::from_byte(*status),
        _ => None,
    }
}

/// Appends CommandComplete with its command tag, such as `SELECT 3`.
pub fn command_complete(out: &mut BytesMut, command_tag: &str) {
    message(out, tag::COMMAND_COMPLETE, |body| put_cstr(body, command_tag.as_bytes()));
}

/// Appends a message without a body, such as ParseComplete.
pub fn bare(out: &mut BytesMut, tag: u8) {
    message(out, tag, |_| {});
}

/// Appends ParameterDescription.
pub fn parameter_description(out: &mut BytesMut, type_oids: &[u32]) {
    message(out, tag::PARAMETER_DESCRIPTION, |body| put_types(body, type_oids));
}

/// The body of a ParameterDescription.
pub fn parameter_description_body(type_oids: &[u32]) -> Bytes {
    let mut body = BytesMut::new();
    put_types(&mut body, type_oids);
    body.freeze()
}

fn put_types(body: &mut BytesMut, type_oids: &[u32]) {
    body.put_u16(count_u16(type_oids.len()));
    for oid in type_oids {
        body.put_u32(*oid);
    }
}

/// Reads the body of ParameterStatus: name and value.
pub fn read_parameter_status(body: &[u8]) -> Result<(&[u8], &[u8])> {
    let mut reader = Reader::new(body);
    Ok((reader.cstr()?, reader.cstr()?))
}

/// Appends ParameterStatus.
pub fn parameter_status(out: &mut BytesMut, name: &[u8], value: &[u8]) {
    message(out, tag::PARAMETER_STATUS, |body| {
        put_cstr(body, name);
        put_cstr(body, value);
    });
}

/// The body of a NotificationResponse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notification<'a> {
    /// The process id of the server that it was sent from.
    pub process_id: i32,
    pub channel: &'a [u8],
    pub payload: &'a [u8],
}

impl<'a> Notification<'a> {
    pub fn read(body: &'a [u8]) -> Result<Self> {
        let mut reader = Reader::new(body);
        Ok(Self { process_id: reader.i32()?, channel: reader.cstr()?, payload: reader.cstr()? })
    }

    /// Appends the message.
    pub fn write(&self, out: &mut BytesMut) {
        message(out, tag::NOTIFICATION_RESPONSE, |body| {
            body.put_i32(self.process_id);
            put_cstr(body, self.channel);
            put_cstr(body, self.payload);
        });
    }

    /// The message by itself.
    pub fn message(&self) -> Bytes {
        let mut bytes = BytesMut::new();
        self.write(&mut bytes);
        bytes.freeze()
    }
}

/// The key that a server gave Weir, to cancel a query: process id and secret. Weir speaks version 3.0 with servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CancelKey {
    pub process_id: i32,
    pub secret: u32,
}

/// The key that Weir gave a client, or what a CancelRequest shows as one. The secret has four bytes in protocol version
/// 3.0 and up to 256 from 3.2 on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientKey {
    pub process_id: i32,
    pub secret: Box<[u8]>,
}

impl ClientKey {
    /// Whether `shown` is this key, in a time that does not tell where they differ.
    pub fn admits(&self, shown: &Self) -> bool {
        let differences = self.secret.iter().zip(&shown.secret).fold(0, |all, (own, other)| all | (own ^ other));
        self.process_id == shown.process_id && self.secret.len() == shown.secret.len() && differences == 0
    }
}

/// Reads a key as BackendKeyData and CancelRequest have it.
pub fn read_client_key(body: &[u8]) -> Result<ClientKey> {
    let mut reader = Reader::new(body);
    Ok(ClientKey { process_id: reader.i32()?, secret: reader.rest().into() })
}

/// Reads the body of BackendKeyData (protocol 3.0: a secret of four bytes).
pub fn read_backend_key_data(body: &[u8]) -> Result<CancelKey> {
    let mut reader = Reader::new(body);
    Ok(CancelKey { process_id: reader.i32()?, secret: reader.u32()? })
}

/// Appends BackendKeyData.
pub fn backend_key_data(out: &mut BytesMut, process_id: i32, secret: &[u8]) {
    message(out, tag::BACKEND_KEY_DATA, |body| {
        body.put_i32(process_id);
        body.put_slice(secret);
    });
}

/// Appends NegotiateProtocolVersion: the version that is spoken, and the options that are not known.
pub fn negotiate_protocol_version(out: &mut BytesMut, version: u32, unknown_options: &[&str]) {
    message(out, tag::NEGOTIATE_PROTOCOL_VERSION, |body| {
        body.put_u32(version);
        body.put_u32(u32::try_from(unknown_options.len()).unwrap_or(u32::MAX));
        for option in unknown_options {
            put_cstr(body, option.as_bytes());
        }
    });
}

/// What an Authentication message asks for.
/// Source: PostgreSQL manual, "Message Formats", Authentication*.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authentication<'a> {
    Ok,
    CleartextPassword,
    Md5Password {
        salt: [u8; 4],
    },
    Sasl {
        mechanisms: Vec<&'a str>,
    },
    SaslContinue(&'a [u8]),
    SaslFinal(&'a [u8]),
    /// A method that Weir cannot answer, by its number.
    Unsupported(i32),
}

impl<'a> Authentication<'a> {
    pub fn read(body: &'a [u8]) -> Result<Self> {
        let mut reader = Reader::new(body);
        Ok(match reader.i32()? {
            0 => Self::Ok,
            3 => Self::CleartextPassword,
            5 => Self::Md5Password { salt: [reader.u8()?, reader.u8()?, reader.u8()?, reader.u8()?] },
            10 => {
                let mut mechanisms = Vec::new();
                loop {
                    match reader.cstr()? {
                        b"" => break,
                        name => mechanisms.push(
                            std::str::from_utf8(name)
                                .map_err(|_| Error::protocol("a SASL mechanism's name is not UTF-8"))?,
                        ),
                    }
                }
                Self::Sasl { mechanisms }
            }
            11 => Self::SaslContinue(reader.rest()),
            12 => Self::SaslFinal(reader.rest()),
            other => Self::Unsupported(other),
        })
    }

    /// Appends the message.
    pub fn write(&self, out: &mut BytesMut) {
        message(out, tag::AUTHENTICATION, |body| match self {
            Self::Ok => body.put_i32(0),
            Self::CleartextPassword => body.put_i32(3),
            Self::Md5Password { salt } => {
                body.put_i32(5);
                body.put_slice(salt);
            }
            Self::Sasl { mechanisms } => {
                body.put_i32(10);
                for mechanism in mechanisms {
                    put_cstr(body, mechanism.as_bytes());
                }
                body.put_u8(0);
            }
            Self::SaslContinue(data) => {
                body.put_i32(11);
                body.put_slice(data);
            }
            Self::SaslFinal(data) => {
                body.put_i32(12);
                body.put_slice(data);
            }
            Self::Unsupported(code) => body.put_i32(*code),
        });
    }
}

/// Appends a message: tag, length word, and a body that `write` appends.
pub fn message(out: &mut BytesMut, tag: u8, write: impl FnOnce(&mut BytesMut)) {
    out.put_u8(tag);
    let length_at = out.len();
    out.put_u32(0);
    write(out);
    let len = u32::try_from(out.len() - length_at).unwrap_or(u32::MAX);
    out[length_at..length_at + 4].copy_from_slice(&len.to_be_bytes());
}

fn put_cstr(out: &mut BytesMut, text: &[u8]) {
    out.put_slice(text);
    out.put_u8(0);
}

/// PostgreSQL has at most 1,664 columns and 65,535 parameters, so a count always fits.
fn count_u16(count: usize) -> u16 {
    u16::try_from(count).unwrap_or(u16::MAX)
}
