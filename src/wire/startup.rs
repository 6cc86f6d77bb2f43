//! The untagged packets that open a connection.

use bytes::{BufMut, BytesMut};

use super::backend::{CancelKey, ClientKey, read_client_key};
use super::reader::Reader;
use crate::types::{Error, Kind, Origin, Result, limits};

const CANCEL_REQUEST: u32 = 80_877_102;
const SSL_REQUEST: u32 = 80_877_103;
const GSSENC_REQUEST: u32 = 80_877_104;

/// Major version 3, minor version 0.
pub const PROTOCOL_3_0: u32 = 3 << 16;

/// The newest version that Weir speaks with clients. It differs from 3.0 in the length of cancel keys.
pub const PROTOCOL_3_2: u32 = 3 << 16 | 2;

/// The first packet of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    Ssl,
    Gssenc,
    Cancel(ClientKey),
    Startup(StartupMessage),
}

/// A StartupMessage: its protocol version and its parameters in the order sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartupMessage {
    pub protocol: u32,
    pub parameters: Vec<(String, String)>,
}

impl StartupMessage {
    /// The value of a parameter, the last one if it was sent twice.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.parameters.iter().rev().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }
}

/// Reads the first packet. Gives the packet and its length in bytes; `Ok(None)` when more bytes are needed.
pub fn read(buf: &[u8]) -> Result<Option<(Packet, usize)>> {
    let Some(length) = buf.first_chunk::<4>() else {
        return Ok(None);
    };
    let total_len = u32::from_be_bytes(*length) as usize;
    if !(8..=limits::STARTUP_PACKET_MAX).contains(&total_len) {
        return Err(Error::protocol("invalid length of startup packet"));
    }
    let Some(packet) = buf.get(4..total_len) else {
        return Ok(None);
    };
    Ok(Some((read_packet(packet)?, total_len)))
}

fn read_packet(packet: &[u8]) -> Result<Packet> {
    let mut reader = Reader::new(packet);
    match reader.u32()? {
        SSL_REQUEST => Ok(Packet::Ssl),
        GSSENC_REQUEST => Ok(Packet::Gssenc),
        CANCEL_REQUEST => Ok(Packet::Cancel(read_client_key(reader.rest())?)),
        protocol if protocol >> 16 == 3 => {
            Ok(Packet::Startup(StartupMessage { protocol, parameters: read_parameters(reader)? }))
        }
        other => Err(Error::new(
            Origin::Client,
            Kind::NotSupported,
            format!("unsupported frontend protocol {}.{}: server supports 3.0 to 3.2", other >> 16, other & 0xffff),
        )),
    }
}

fn read_parameters(mut reader: Reader<'_>) -> Result<Vec<(String, String)>> {
    let malformed = |_| Error::protocol("invalid startup packet layout: expected terminator as last byte");
    let mut parameters = Vec::new();
    loop {
        let name = reader.cstr().map_err(malformed)?;
        if name.is_empty() {
            return if reader.is_empty() {
                Ok(parameters)
            } else {
                Err(Error::protocol("invalid startup packet layout: expected terminator as last byte"))
            };
        }
        let value = reader.cstr().map_err(malformed)?;
        parameters.push((utf8(name)?, utf8(value)?));
    }
}

fn utf8(bytes: &[u8]) -> Result<String> {
    String::from_utf8(bytes.to_vec()).map_err(|_| Error::protocol("a startup parameter is not UTF-8"))
}

/// Appends a StartupMessage of version 3.0, which is what Weir speaks with servers.
pub fn startup_message<'p>(out: &mut BytesMut, parameters: impl IntoIterator<Item = (&'p str, &'p str)>) {
    startup_message_of(out, PROTOCOL_3_0, parameters);
}

/// Appends a StartupMessage.
pub fn startup_message_of<'p>(
    out: &mut BytesMut,
    protocol: u32,
    parameters: impl IntoIterator<Item = (&'p str, &'p str)>,
) {
    untagged(out, |body| {
        body.put_u32(protocol);
        for (name, value) in parameters {
            for text in [name, value] {
                body.put_slice(text.as_bytes());
                body.put_u8(0);
            }
        }
        body.put_u8(0);
    });
}

/// Appends a CancelRequest for a server.
pub fn cancel_request(out: &mut BytesMut, key: CancelKey) {
    put_cancel(out, key.process_id, &key.secret.to_be_bytes());
}

/// Appends a CancelRequest for a Weir.
pub fn cancel_request_for_client(out: &mut BytesMut, key: &ClientKey) {
    put_cancel(out, key.process_id, &key.secret);
}

fn put_cancel(out: &mut BytesMut, process_id: i32, secret: &[u8]) {
    untagged(out, |body| {
        body.put_u32(CANCEL_REQUEST);
        body.put_i32(process_id);
        body.put_slice(secret);
    });
}

fn untagged(out: &mut BytesMut, write: impl FnOnce(&mut BytesMut)) {
    let length_at = out.len();
    out.put_u32(0);
    write(out);
    let len = u32::try_from(out.len() - length_at).unwrap_or(u32::MAX);
    out[length_at..length_at + 4].copy_from_slice(&len.to_be_bytes());
}
