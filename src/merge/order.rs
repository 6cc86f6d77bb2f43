//! The order of a result: which columns of a row decide, and how two rows compare.

use std::cmp::Ordering;

use super::row::Layout;
use super::spec::{MergeSpec, SortKey};
use super::value::{TextFidelity, Value, ValueType, cannot_merge};
use crate::types::Result;
use crate::wire::backend::Column;

/// What ORDER BY compares, read from one row once; `None` for NULL.
pub type SortValues = Vec<Option<Value>>;

/// An ORDER BY whose types are known to be exact.
#[derive(Debug)]
pub struct Order {
    keys: Vec<Key>,
}

#[derive(Debug)]
struct Key {
    place: usize,
    value_type: ValueType,
    descending: bool,
    nulls_first: bool,
}

impl Order {
    /// # Errors
    /// Refuses a key whose type has no order that is known exactly, and values in binary format.
    pub fn new(spec: &MergeSpec, columns: &[Column], fidelity: TextFidelity) -> Result<Self> {
        let layout = Layout::new(spec, columns)?;
        let keys = spec.sort.iter().map(|key| Key::new(key, layout, columns, fidelity)).collect::<Result<_>>()?;
        Ok(Self { keys })
    }

    /// Whether the result has any order at all.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Reads what decides about a row; `row` holds all its columns.
    pub fn read(&self, row: &[Option<&[u8]>]) -> Result<SortValues> {
        self.keys.iter().map(|key| row[key.place].map(|text| key.value_type.read(text)).transpose()).collect()
    }

    /// How two rows of this order compare.
    pub fn compare(&self, a: &[Option<Value>], b: &[Option<Value>]) -> Ordering {
        self.keys
            .iter()
            .zip(a.iter().zip(b))
            .map(|(key, (a, b))| key.compare(a.as_ref(), b.as_ref()))
            .find(|ordering| ordering.is_ne())
            .unwrap_or(Ordering::Equal)
    }
}

impl Key {
    fn new(key: &SortKey, layout: Layout, columns: &[Column], fidelity: TextFidelity) -> Result<Self> {
        let place = layout.place(key.column)?;
        let value_type = ValueType::ordered(text_column(&columns[place])?, key.bytewise, fidelity)?;
        Ok(Self { place, value_type, descending: key.descending, nulls_first: key.nulls_first })
    }

    fn compare(&self, a: Option<&Value>, b: Option<&Value>) -> Ordering {
        match (a, b) {
            (Some(a), Some(b)) if self.descending => b.cmp(a),
            (Some(a), Some(b)) => a.cmp(b),
            (None, None) => Ordering::Equal,
            (None, Some(_)) => self.null_against_value(),
            (Some(_), None) => self.null_against_value().reverse(),
        }
    }

    fn null_against_value(&self) -> Ordering {
        if self.nulls_first { Ordering::Less } else { Ordering::Greater }
    }
}

/// The type of a column that a merge looks into.
///
/// # Errors
/// Refuses values in binary format.
pub fn text_column(column: &Column) -> Result<u32> {
    match column.format {
        0 => Ok(column.type_oid),
        _ => Err(cannot_merge("The client asked for values in binary format.")
            .hint("Ask for text format, or restrict the statement to one shard.")),
    }
}
