//! Range keyspaces: ordered half-open ranges of key values.

use std::cmp::Ordering;
use std::fmt;

use super::key::KeyValue;
use crate::types::{Error, Kind, Origin, Result, ShardId};

/// Ranges in ascending order, none of which overlap. Text is ordered by its bytes (collation "C").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ranges(Vec<Range>);

/// The values from `from` (included) to `to` (excluded).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    pub from: Bound,
    pub to: Bound,
    pub shard: ShardId,
}

/// An end of a range. MINVALUE is less than every value, MAXVALUE greater, as in PostgreSQL's own partitions.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bound {
    MinValue,
    Value(KeyValue<'static>),
    MaxValue,
}

impl Ranges {
    /// Sorts the ranges.
    ///
    /// # Errors
    /// [`Kind::InvalidValue`] when a range is empty or two overlap. Values between ranges belong to no shard.
    pub fn new(mut ranges: Vec<Range>) -> Result<Self> {
        let invalid = |message: String| Err(Error::new(Origin::Weir, Kind::InvalidValue, message));
        ranges.sort_by(|left, right| left.from.cmp(&right.from));
        if let Some(empty) = ranges.iter().find(|range| range.is_empty()) {
            return invalid(format!("the range {empty} is empty"));
        }
        if let Some(pair) = ranges.windows(2).find(|pair| pair[0].to > pair[1].from) {
            return invalid(format!("the ranges {} and {} overlap", pair[0], pair[1]));
        }
        Ok(Self(ranges))
    }

    /// The ranges in ascending order.
    pub fn iter(&self) -> std::slice::Iter<'_, Range> {
        self.0.iter()
    }

    /// The owner of a value, or `None` when it lies in no range.
    pub fn shard_of(&self, value: &KeyValue<'_>) -> Option<ShardId> {
        let candidate = self.0.partition_point(|range| range.to.compare(value) != Ordering::Greater);
        let range = self.0.get(candidate)?;
        (range.from.compare(value) != Ordering::Greater).then_some(range.shard)
    }
}

impl Range {
    /// Whether no value lies in the range.
    pub fn is_empty(&self) -> bool {
        self.from >= self.to
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}, {})", self.from, self.to)
    }
}

impl Bound {
    fn compare(&self, value: &KeyValue<'_>) -> Ordering {
        match self {
            Self::MinValue => Ordering::Less,
            Self::Value(bound) => bound.cmp(value),
            Self::MaxValue => Ordering::Greater,
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MinValue => f.write_str("MINVALUE"),
            Self::Value(value) => write!(f, "{value}"),
            Self::MaxValue => f.write_str("MAXVALUE"),
        }
    }
}
