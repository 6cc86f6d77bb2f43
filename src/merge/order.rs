//! The order of a result: which columns of a row decide, and how two rows compare.

use std::cmp::Ordering;

use super::row::Layout;
use super::spec::{MergeSpec, SortKey};
use super::value::{Codec, TextFidelity, Value};
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
    codec: Codec,
    descending: bool,
    nulls_first: bool,
}

impl Order {
    /// # Errors
    /// Refuses a key whose type has no order that is known exactly.
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
        self.keys.iter().map(|key| row[key.place].map(|text| key.codec.read(text)).transpose()).collect()
    }

    /// How two rows of this order compare.
    pub fn compare(&self, a: &[Option<Value>], b: &[Option<Value>]) -> Ordering {
        self.compare_first(self.keys.len(), a, b)
    }

    /// How they compare in the first keys.
    pub fn compare_first(&self, keys: usize, a: &[Option<Value>], b: &[Option<Value>]) -> Ordering {
        self.keys
            .iter()
            .take(keys)
            .zip(a.iter().zip(b))
            .map(|(key, (a, b))| key.compare(a.as_ref(), b.as_ref()))
            .find(|ordering| ordering.is_ne())
            .unwrap_or(Ordering::Equal)
    }
}

impl Key {
    fn new(key: &SortKey, layout: Layout, columns: &[Column], fidelity: TextFidelity) -> Result<Self> {
        let place = layout.place(key.column)?;
        let codec = Codec::ordered(&columns[place], key.bytewise, fidelity)?;
        Ok(Self { place, codec, descending: key.descending, nulls_first: key.nulls_first })
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
