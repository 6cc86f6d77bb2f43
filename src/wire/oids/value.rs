//! Binary values that have OIDs in them, as PostgreSQL's send functions write them: `array_send`, `record_send`,
//! `range_send`, `multirange_send`.
//!
//! ```text
//!   array       dimensions, flags, the elements' type; per dimension its size and first index; elements
//!   record      the number of columns; per column its type and its value
//!   range       flags (one byte), then the bounds that it has
//!   multirange  the number of ranges, then those
//! ```
//! Elements, values, bounds and ranges have their lengths in front, -1 for NULL.

use super::{Direction, FIRST_NORMAL_OID, Flaw, Form, INVALID};

/// Values in values that are followed.
pub const LEVELS_MAX: usize = 100;

/// The dimensions that an array may have: `MAXDIM`.
const DIMENSIONS_MAX: u32 = 6;

impl Direction {
    /// Translates a value of the type with this OID on the server that wrote it.
    pub(super) fn value(&self, oid: u32, value: &mut [u8]) -> Result<(), Flaw> {
        self.nested(oid, value, LEVELS_MAX)
    }

    fn nested(&self, oid: u32, value: &mut [u8], levels: usize) -> Result<(), Flaw> {
        let levels = levels.checked_sub(1).ok_or(Flaw::Deep)?;
        let mut rest = Cursor::new(value);
        match self.form(oid)? {
            Form::Plain => return Ok(()),
            Form::Domain(base) => return self.nested(base, rest.0, levels),
            Form::Array(_) => self.array(&mut rest, levels)?,
            Form::Record => self.record(&mut rest, levels)?,
            Form::Range(bound) => {
                let _flags = rest.array::<1>()?;
                self.values(bound, &mut rest, levels)?;
            }
            Form::Multirange(range) => {
                let _count = rest.array::<4>()?;
                self.values(range, &mut rest, levels)?;
            }
            Form::TypeOid => self.oid(&mut rest, |oid| self.find_type(oid))?,
            Form::RelationOid => self.oid(&mut rest, |oid| match self.relation(oid) {
                INVALID if oid != INVALID => Err(Flaw::Unknown(oid)),
                other => Ok(other),
            })?,
            Form::OtherOid => {
                self.oid(&mut rest, |oid| if oid < FIRST_NORMAL_OID { Ok(oid) } else { Err(Flaw::Unknown(oid)) })?;
            }
        }
        if rest.is_empty() { Ok(()) } else { Err(Flaw::Malformed) }
    }

    fn oid(&self, rest: &mut Cursor<'_>, other: impl Fn(u32) -> Result<u32, Flaw>) -> Result<(), Flaw> {
        let bytes = rest.array::<4>()?;
        *bytes = other(u32::from_be_bytes(*bytes))?.to_be_bytes();
        Ok(())
    }

    fn array(&self, rest: &mut Cursor<'_>, levels: usize) -> Result<(), Flaw> {
        let dimensions = u32::from_be_bytes(*rest.array()?);
        if dimensions > DIMENSIONS_MAX {
            return Err(Flaw::Malformed);
        }
        let _flags = rest.array::<4>()?;
        let element = self.own_type(rest)?;
        for _ in 0..dimensions {
            let _size_and_first_index = rest.array::<8>()?;
        }
        self.values(element, rest, levels)
    }

    fn record(&self, rest: &mut Cursor<'_>, levels: usize) -> Result<(), Flaw> {
        for _ in 0..u32::from_be_bytes(*rest.array()?) {
            let column = self.own_type(rest)?;
            if let Some(value) = rest.value()? {
                self.nested(column, value, levels)?;
            }
        }
        Ok(())
    }

    /// All values that follow, which are of one type.
    fn values(&self, oid: u32, rest: &mut Cursor<'_>, levels: usize) -> Result<(), Flaw> {
        while !rest.is_empty() {
            if let Some(value) = rest.value()? {
                self.nested(oid, value, levels)?;
            }
        }
        Ok(())
    }

    /// Translates the type that comes next; gives what it was.
    fn own_type(&self, rest: &mut Cursor<'_>) -> Result<u32, Flaw> {
        let bytes = rest.array::<4>()?;
        let own = u32::from_be_bytes(*bytes);
        *bytes = self.find_type(own)?.to_be_bytes();
        Ok(own)
    }
}

/// Bytes that are read, and written over, from their beginning.
pub(super) struct Cursor<'b>(&'b mut [u8]);

impl<'b> Cursor<'b> {
    pub fn new(bytes: &'b mut [u8]) -> Self {
        Self(bytes)
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn bytes(&mut self, len: usize) -> Result<&'b mut [u8], Flaw> {
        let rest = std::mem::take(&mut self.0);
        let (head, tail) = rest.split_at_mut_checked(len).ok_or(Flaw::Malformed)?;
        self.0 = tail;
        Ok(head)
    }

    pub fn array<const N: usize>(&mut self) -> Result<&'b mut [u8; N], Flaw> {
        self.bytes(N)?.first_chunk_mut().ok_or(Flaw::Malformed)
    }

    pub fn count(&mut self) -> Result<usize, Flaw> {
        Ok(usize::from(u16::from_be_bytes(*self.array()?)))
    }

    pub fn cstr(&mut self) -> Result<(), Flaw> {
        let len = self.0.iter().position(|byte| *byte == 0).ok_or(Flaw::Malformed)?;
        self.bytes(len + 1)?;
        Ok(())
    }

    /// A value with its length in front; `None` for NULL.
    pub fn value(&mut self) -> Result<Option<&'b mut [u8]>, Flaw> {
        match i32::from_be_bytes(*self.array()?) {
            -1 => Ok(None),
            len => Ok(Some(self.bytes(usize::try_from(len).map_err(|_| Flaw::Malformed)?)?)),
        }
    }
}
