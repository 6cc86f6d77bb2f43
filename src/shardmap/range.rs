//! Range keyspaces: ordered half-open ranges of keys.

use std::cmp::Ordering;
use std::fmt;

use super::key::{KeyValue, Shown};
use crate::types::{Error, Kind, Origin, Result, ShardId};

/// Ranges in ascending order, none of which overlap. Text is ordered by its bytes (collation "C").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ranges(Vec<Range>);

/// The keys from `from` (included) to `to` (excluded).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    pub from: Bound,
    pub to: Bound,
    pub shard: ShardId,
}

/// An end of a range. MINVALUE is less than every key, MAXVALUE greater, as in PostgreSQL's own partitions.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bound {
    MinValue,
    /// The values of the key's first columns, at least of one: less than every key that begins with them.
    Key(Vec<KeyValue<'static>>),
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

    pub(super) fn for_each_shard(&mut self, change: &impl Fn(&mut ShardId)) {
        self.0.iter_mut().for_each(|range| change(&mut range.shard));
    }

    /// The owner of a key, or `None` when it lies in no range.
    pub fn shard_of(&self, key: &[KeyValue<'_>]) -> Option<ShardId> {
        let candidate = self.0.partition_point(|range| range.to.compare(key) != Ordering::Greater);
        let range = self.0.get(candidate)?;
        (range.from.compare(key) != Ordering::Greater).then_some(range.shard)
    }

    /// The owners of all keys that begin with these values.
    pub fn shards_of_prefix<'r>(&'r self, prefix: &'r [KeyValue<'r>]) -> impl Iterator<Item = ShardId> + 'r {
        self.shards_between(End::Included(prefix), End::Included(prefix))
    }

    /// The owners of all keys whose first columns lie between the ends.
    pub fn shards_between<'r>(&'r self, from: End<'r>, to: End<'r>) -> impl Iterator<Item = ShardId> + 'r {
        let overlaps = move |range: &&Range| !range.ends_before(from) && !range.begins_behind(to);
        self.0.iter().filter(overlaps).map(|range| range.shard)
    }
}

/// An end of an interval of keys, given by the values of their first columns.
#[derive(Clone, Copy, Debug)]
pub enum End<'k> {
    Open,
    Included(&'k [KeyValue<'k>]),
    Excluded(&'k [KeyValue<'k>]),
}

impl Range {
    /// Whether no value lies in the range.
    pub fn is_empty(&self) -> bool {
        self.from >= self.to
    }

    /// Whether every key of the range is less than those that the interval begins with.
    fn ends_before(&self, from: End<'_>) -> bool {
        match from {
            End::Open => false,
            // All keys of the range are less than `to`, and `to` is at most the first wanted one.
            End::Included(first) | End::Excluded(first) => self.to.compare(first) != Ordering::Greater,
        }
    }

    /// Whether every key of the range is greater than those that the interval ends with.
    fn begins_behind(&self, to: End<'_>) -> bool {
        match to {
            End::Open => false,
            End::Included(last) => self.from.compare_start(last) == Ordering::Greater,
            End::Excluded(last) => self.from.compare(last) != Ordering::Less,
        }
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}, {})", self.from, self.to)
    }
}

impl Bound {
    /// The order of the bound and a key; values that are not given stand in front of all others.
    fn compare(&self, key: &[KeyValue<'_>]) -> Ordering {
        match self {
            Self::MinValue => Ordering::Less,
            Self::Key(bound) => bound.as_slice().cmp(key),
            Self::MaxValue => Ordering::Greater,
        }
    }

    /// As [`Bound::compare`], but equal to every key of which one is the beginning of the other.
    fn compare_start(&self, key: &[KeyValue<'_>]) -> Ordering {
        match self {
            Self::Key(bound) => {
                let shared = bound.len().min(key.len());
                bound[..shared].cmp(&key[..shared])
            }
            Self::MinValue | Self::MaxValue => self.compare(key),
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MinValue => f.write_str("MINVALUE"),
            Self::Key(key) => write!(f, "{}", Shown(key)),
            Self::MaxValue => f.write_str("MAXVALUE"),
        }
    }
}
