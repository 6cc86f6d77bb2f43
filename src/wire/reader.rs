//! Reading the fields of a message body; every read checks that the bytes are there.

use std::ffi::CStr;

use crate::types::{Error, Result};

/// A cursor over a message body.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn new(body: &'a [u8]) -> Self {
        Self { rest: body }
    }

    /// What has not been read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `len` bytes.
    pub fn bytes(&mut self, len: usize) -> Result<&'a [u8]> {
        let (head, tail) = self.rest.split_at_checked(len).ok_or_else(too_short)?;
        self.rest = tail;
        Ok(head)
    }

    pub fn u8(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    pub fn i16(&mut self) -> Result<i16> {
        Ok(i16::from_be_bytes(self.array()?))
    }

    /// A 16-bit count; the protocol's counts are unsigned.
    pub fn count(&mut self) -> Result<usize> {
        Ok(usize::from(u16::from_be_bytes(self.array()?)))
    }

    pub fn i32(&mut self) -> Result<i32> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    pub fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    /// A string up to its terminating zero, which is read too.
    pub fn cstr(&mut self) -> Result<&'a [u8]> {
        let text = CStr::from_bytes_until_nul(self.rest).map_err(|_| too_short())?.to_bytes();
        self.rest = &self.rest[text.len() + 1..];
        Ok(text)
    }

    /// A value with its 32-bit length in front; `None` for SQL NULL (length -1).
    pub fn value(&mut self) -> Result<Option<&'a [u8]>> {
        let len = self.i32()?;
        match usize::try_from(len) {
            Ok(len) => self.bytes(len).map(Some),
            Err(_) if len == -1 => Ok(None),
            Err(_) => Err(Error::protocol(format!("invalid value length {len}"))),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (head, tail) = self.rest.split_first_chunk::<N>().ok_or_else(too_short)?;
        self.rest = tail;
        Ok(*head)
    }
}

fn too_short() -> Error {
    Error::protocol("insufficient data left in message")
}
