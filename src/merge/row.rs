//! Rows as they arrive: DataRow bodies, looked into only where a merge has to.

use bytes::{BufMut, Bytes, BytesMut};

use super::spec::{ColumnRef, MergeSpec};
use crate::types::{Error, Result};
use crate::wire::backend::{self, Column};
use crate::wire::reader::Reader;

/// The columns of a shard's rows: the client's first, hidden ones behind them.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    pub visible: usize,
    pub total: usize,
}

impl Layout {
    /// # Errors
    /// A row description with fewer columns than the plan hides.
    pub fn new(spec: &MergeSpec, columns: &[Column]) -> Result<Self> {
        let total = columns.len();
        let visible = total
            .checked_sub(spec.hidden_columns)
            .ok_or_else(|| Error::internal("a shard's result lacks the hidden columns of its plan"))?;
        Ok(Self { visible, total })
    }

    /// The place of a column in the whole row, from zero.
    pub fn place(self, column: ColumnRef) -> Result<usize> {
        let (place, end) = match column {
            ColumnRef::Visible(index) => (index, self.visible),
            ColumnRef::Hidden(index) => (self.visible.saturating_add(index), self.total),
        };
        if place < end { Ok(place) } else { Err(Error::internal("a merge names a column that its rows do not have")) }
    }

    /// The values of a row, all columns.
    pub fn read(self, row: &[u8]) -> Result<Vec<Option<&[u8]>>> {
        let values = backend::read_data_row(row)?;
        if values.len() == self.total { Ok(values) } else { Err(wrong_count()) }
    }

    /// Appends the DataRow message of the client's columns.
    pub fn send(self, row: &[u8], out: &mut BytesMut) -> Result<()> {
        let visible = self.visible_part(row)?;
        let count = u16::try_from(self.visible).map_err(|_| wrong_count())?;
        backend::message(out, backend::tag::DATA_ROW, |body| {
            body.put_u16(count);
            body.put_slice(visible);
        });
        Ok(())
    }

    /// The bytes of the client's values, without the count in front of them.
    fn visible_part(self, row: &[u8]) -> Result<&[u8]> {
        let mut reader = Reader::new(row);
        if reader.count()? != self.total {
            return Err(wrong_count());
        }
        let values = reader.rest();
        for _ in 0..self.visible {
            reader.value()?;
        }
        let (visible, _hidden) = values.split_at(values.len() - reader.rest().len());
        Ok(visible)
    }
}

/// A DataRow body of these values.
pub fn body<'v>(values: impl ExactSizeIterator<Item = Option<&'v [u8]>>) -> Bytes {
    const HEADER_LEN: usize = 5;
    let mut message = BytesMut::new();
    backend::data_row(&mut message, values);
    message.freeze().slice(HEADER_LEN..)
}

fn wrong_count() -> Error {
    Error::internal("a shard's row does not have the columns of its row description")
}
