//! How the rows of several shards become one result.

/// The recipe that travels with a distributed plan.
///
/// Each shard's rows hold the client's own columns first and `hidden_columns` more behind them, which the client
/// never sees. Because the client's columns are the statement's own, their names, types and modifiers need no forging.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MergeSpec {
    pub hidden_columns: usize,
    pub combine: Combine,
    /// Order of the result. Rows of each shard already come in this order unless `combine` groups them.
    pub sort: Vec<SortKey>,
    pub offset: u64,
    pub limit: Option<u64>,
}

impl MergeSpec {
    /// How many rows of each shard are needed for so many rows of the result; zero stands for all.
    pub fn rows_per_shard(&self, rows_max: u32) -> u32 {
        match (&self.combine, u32::try_from(self.offset)) {
            (Combine::Rows, Ok(offset)) if rows_max > 0 => rows_max.checked_add(offset).unwrap_or(0),
            _ => 0,
        }
    }
}

impl MergeSpec {
    /// Whether the result is all rows of all shards, as they are and in any order.
    pub fn is_concatenation(&self) -> bool {
        self.combine == Combine::Rows
            && self.hidden_columns == 0
            && self.sort.is_empty()
            && self.offset == 0
            && self.limit.is_none()
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Combine {
    /// Every row of every shard is a row of the result.
    Rows,
    /// Rows with equal group columns become one. No group columns: always exactly one row.
    Groups { group_columns: Vec<ColumnRef>, aggregates: Vec<(ColumnRef, Aggregate)> },
}

/// A column of a shard's row: counted from the front among the client's, from zero, or among the hidden ones behind them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ColumnRef {
    Visible(usize),
    Hidden(usize),
}

/// How partial results of one aggregate are combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aggregate {
    /// Sum of the shards' counts.
    Count,
    Sum,
    Min,
    Max,
    /// The visible column is avg(x); these hold the shards' sum(x) and count(x).
    Average {
        sum: ColumnRef,
        count: ColumnRef,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SortKey {
    pub column: ColumnRef,
    pub descending: bool,
    pub nulls_first: bool,
    /// The statement itself says COLLATE "C" (or the type has no collation): bytes decide.
    pub bytewise: bool,
}
