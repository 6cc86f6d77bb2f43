//! Cutting a byte stream into tagged messages.

use crate::types::{Error, Kind, Origin, Result, limits};

/// Tag byte and length word.
pub const HEADER_LEN: usize = 5;

/// The first five bytes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub tag: u8,
    /// Bytes of the whole message: tag, length word and body.
    pub total_len: usize,
}

/// One complete message, borrowed from a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    pub tag: u8,
    pub body: &'a [u8],
    /// The message with its header, for forwarding as it is.
    pub raw: &'a [u8],
}

/// Who sent the bytes; decides the limit of a message's length and whose fault a breach is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    Client,
    Server,
}

impl Sender {
    fn message_max(self, tag: u8) -> usize {
        match self {
            Self::Server => limits::SERVER_MESSAGE_MAX,
            Self::Client => match tag {
                b'Q' | b'P' | b'B' | b'F' | b'd' => limits::LARGE_MESSAGE_MAX,
                _ => limits::SMALL_MESSAGE_MAX,
            },
        }
    }

    #[cold]
    fn bad_length(self, tag: u8, declared: usize) -> Error {
        let message = format!("invalid message length {declared} for message type {:?}", tag as char);
        match self {
            Self::Client => Error::protocol(message),
            Self::Server => Error::new(Origin::Weir, Kind::ServerLost, message)
                .detail("A server sent bytes that are not the PostgreSQL protocol; its connection is closed."),
        }
    }
}

/// Reads a header. `Ok(None)` when fewer than five bytes are there.
#[inline]
pub fn header(buf: &[u8], sender: Sender) -> Result<Option<Header>> {
    let Some(&[tag, a, b, c, d]) = buf.first_chunk::<HEADER_LEN>() else {
        return Ok(None);
    };
    let declared = u32::from_be_bytes([a, b, c, d]) as usize;
    if declared < 4 || declared > sender.message_max(tag) {
        return Err(sender.bad_length(tag, declared));
    }
    Ok(Some(Header { tag, total_len: declared + 1 }))
}

/// Reads the first complete message. `Ok(None)` when more bytes are needed.
#[inline]
pub fn first(buf: &[u8], sender: Sender) -> Result<Option<Frame<'_>>> {
    let Some(header) = header(buf, sender)? else {
        return Ok(None);
    };
    Ok(buf.get(..header.total_len).map(|raw| Frame { tag: header.tag, body: &raw[HEADER_LEN..], raw }))
}

/// Where messages end in a stream of bytes that is passed on in pieces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Boundary {
    header: [u8; HEADER_LEN],
    /// Bytes of the header that were seen.
    header_len: usize,
    /// Bytes of the body that were not seen yet.
    body_left: usize,
}

impl Boundary {
    /// These bytes were passed on.
    pub fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let body = self.body_left.min(bytes.len());
            self.body_left -= body;
            bytes = &bytes[body..];
            let header = (HEADER_LEN - self.header_len).min(bytes.len());
            self.header[self.header_len..self.header_len + header].copy_from_slice(&bytes[..header]);
            self.header_len += header;
            bytes = &bytes[header..];
            if self.header_len == HEADER_LEN {
                let [_, a, b, c, d] = self.header;
                self.body_left = (u32::from_be_bytes([a, b, c, d]) as usize).saturating_sub(4);
                self.header_len = 0;
            }
        }
    }

    /// Whether something else can be said now.
    pub fn is_between_messages(&self) -> bool {
        self.header_len == 0 && self.body_left == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boundaries_are_found_however_the_bytes_are_cut() {
        let bytes = b"Z\0\0\0\x05Id\0\0\0\x04c\0\0\0\x07abc";
        let ends = [0, 6, 11, bytes.len()];
        for piece in 1..=bytes.len() {
            let mut boundary = Boundary::default();
            let mut at = 0;
            for part in bytes.chunks(piece) {
                boundary.pass(part);
                at += part.len();
                assert_eq!(boundary.is_between_messages(), ends.contains(&at), "{piece} {at}");
            }
        }
    }
}
