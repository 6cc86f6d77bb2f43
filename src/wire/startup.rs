//! The untagged packets that open a connection.

use bytes::{BufMut, BytesMut};

use super::backend::CancelKey;
use super::reader::Reader;
use crate::types::{Error, Kind, Origin, Result, limits};

const CANCEL_REQUEST: u32 = 80_877_102;
const SSL_REQUEST: u32 = 80_877_103;
const GSSENC_REQUEST: u32 = 80_877_104;

/// Major version 3, minor version 0.
pub const PROTOCOL_3_0: u32 = 3 << 16;

/// The first packet of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    Ssl,
    Gssenc,
    Cancel(CancelKey),
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
        CANCEL_REQUEST => Ok(Packet::Cancel(CancelKey { process_id: reader.i32()?, secret: reader.u32()? })),
        protocol if protocol >> 16 == 3 => {
            Ok(Packet::Startup(StartupMessage { protocol, parameters: read_parameters(reader)? }))
        }
        other => Err(Error::new(
            Origin::Client,
            Kind::NotSupported,
            format!("unsupported frontend protocol {}.{}: server supports 3.0 to 3.0", other >> 16, other & 0xffff),
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

/// Appends a StartupMessage.
pub fn startup_message<'p>(out: &mut BytesMut, parameters: impl IntoIterator<Item = (&'p str, &'p str)>) {
    untagged(out, |body| {
        body.put_u32(PROTOCOL_3_0);
        for (name, value) in parameters {
            for text in [name, value] {
                body.put_slice(text.as_bytes());
                body.put_u8(0);
            }
        }
        body.put_u8(0);
    });
}

/// Appends a CancelRequest.
pub fn cancel_request(out: &mut BytesMut, key: CancelKey) {
    untagged(out, |body| {
        body.put_u32(CANCEL_REQUEST);
        body.put_i32(key.process_id);
        body.put_u32(key.secret);
    });
}

fn untagged(out: &mut BytesMut, write: impl FnOnce(&mut BytesMut)) {
    let length_at = out.len();
    out.put_u32(0);
    write(out);
    let len = u32::try_from(out.len() - length_at).unwrap_or(u32::MAX);
    out[length_at..length_at + 4].copy_from_slice(&len.to_be_bytes());
}
