//! How the rows of several shards become one result.

/// The recipe that travels with a distributed plan.
///
/// Each shard's rows hold the client's own columns first and `hidden_columns` more behind them, which the client
/// never sees. Because the client's columns are the statement's own, their names, types and modifiers need no forging.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MergeSpec {
    pub hidden_columns: usize,
    pub combine: Combine,
    /// Order of the result. Rows of each shard already come in this order unless `combine` groups them.
    pub sort: Vec<SortKey>,
    /// Only the first of rows that are equal in so many sort keys is a row of the result (DISTINCT ON); zero: every row.
    pub distinct_keys: usize,
    pub offset: u64,
    pub limit: Option<u64>,
    pub ties: Ties,
    /// What remains to be computed from the combined columns, which are all hidden then.
    pub outer: Option<Outer>,
    /// The shards' text lacks parameters that the client's has, so that a server cannot infer their types from it.
    pub drops_parameters: bool,
}

impl MergeSpec {
    /// How many rows of each shard are needed for so many rows of the result; zero stands for all.
    pub fn rows_per_shard(&self, rows_max: u32) -> u32 {
        match (&self.combine, u32::try_from(self.offset)) {
            (Combine::Rows, Ok(offset)) if rows_max > 0 && self.distinct_keys == 0 && self.outer.is_none() => {
                rows_max.checked_add(offset).unwrap_or(0)
            }
            _ => 0,
        }
    }

    /// Whether the result is all rows of all shards, as they are and in any order.
    pub fn is_concatenation(&self) -> bool {
        self.combine == Combine::Rows
            && self.hidden_columns == 0
            && self.sort.is_empty()
            && self.offset == 0
            && self.limit.is_none()
            && self.distinct_keys == 0
            && self.outer.is_none()
    }
}

/// Whether rows that equal the last one under LIMIT come, too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ties {
    #[default]
    Cut,
    Kept,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Combine {
    /// Every row of every shard is a row of the result.
    #[default]
    Rows,
    /// Rows with equal visible columns become one.
    Distinct,
    /// Rows with equal group columns become one. No group columns: always exactly one row.
    Groups { group_columns: Vec<ColumnRef>, aggregates: Vec<(ColumnRef, Aggregate)> },
}

/// A statement over the combined rows: what the client's own would give, computed by PostgreSQL itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outer {
    /// Reads `rows_name`, which does not exist yet: a WITH query of that name goes in front.
    pub text: String,
    pub rows_name: String,
    /// The names of the combined columns: group columns, then aggregates; for [`Combine::Rows`] all hidden ones.
    pub columns: Vec<String>,
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
    /// The column is avg(x), or of no meaning; these hold the shards' sum(x) and count(x).
    Average {
        sum: ColumnRef,
        count: ColumnRef,
    },
    BoolAnd,
    BoolOr,
    BitAnd,
    BitOr,
    BitXor,
    /// The column holds the values themselves, which the shards' rows are grouped by, too.
    Distinct(DistinctAggregate),
}

/// An aggregate of distinct values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DistinctAggregate {
    Count,
    Sum,
    Average,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SortKey {
    pub column: ColumnRef,
    pub descending: bool,
    pub nulls_first: bool,
    /// The statement itself says COLLATE "C" (or the type has no collation): bytes decide.
    pub bytewise: bool,
    /// The collation that the statement names, as it stands in SQL.
    pub collation: Option<String>,
}
