//! Rows of several shards become one result, for the closed list of cases where that is provably what one PostgreSQL
//! would give. Pure: rows in, rows out; memory is budgeted.
//!
//! [`Merge`] is told about rows and ends of shards, and says what to send and whose rows it needs. Concatenation and ORDER BY
//! stream; GROUP BY and DISTINCT keep rows. What it cannot do exactly, [`Finish`] has PostgreSQL do.

use std::fmt;

use bytes::{Bytes, BytesMut};

use crate::types::Result;
use crate::wire::backend::Column;

mod aggregate;
mod array;
mod binary;
mod datetime;
mod finish;
mod groups;
mod memory;
mod numeric;
mod oid;
mod order;
mod row;
mod sorted;
pub mod spec;
#[cfg(test)]
mod tests;
mod value;

pub use array::Array;
pub use finish::Finish;
pub use oid::ANYENUM;
pub use value::TextFidelity;

use groups::Groups;
use order::{Order, SortValues};
use row::Layout;
use sorted::{Concatenation, SortedMerge};
use spec::{ColumnRef, Combine, MergeSpec, Ties};

/// What a merge may use and rely on.
#[derive(Clone, Copy, Debug)]
pub struct MergeOptions {
    /// Bytes that the groups of one statement may take (`merge_memory`).
    pub memory_max: usize,
    /// What the client's session and the database say about texts.
    pub fidelity: TextFidelity,
}

/// What [`Merge::next`] did or needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// One DataRow was appended.
    Row,
    /// Nothing more can be said before this source gives a row or ends. Rows of other sources may be pushed as well.
    NeedRow(usize),
    /// The result is complete. Rows that sources still have are not needed; pushing them is allowed and does nothing.
    Done,
}

/// The merge of one statement's rows.
#[derive(Debug)]
pub struct Merge {
    layout: Layout,
    engine: Engine,
    /// Per source, whether it gave its last row.
    finished: Vec<bool>,
    /// Rows of the result that OFFSET still passes over.
    skip: u64,
    /// Rows of the result that LIMIT still lets through.
    remaining: Option<u64>,
    /// What FETCH FIRST ... WITH TIES compares, and the last row that LIMIT let through.
    ties: Option<(Order, Option<SortValues>)>,
    /// Rows that the client still wants.
    wanted: Option<u64>,
    row_count: u64,
}

enum Engine {
    Concatenation(Concatenation),
    Sorted(SortedMerge),
    Groups(Box<Groups>),
    /// Groups that are complete, in order.
    Finished(Box<dyn Iterator<Item = Bytes> + Send>),
}

/// What an engine has next, before OFFSET and LIMIT.
enum Next {
    Row(Bytes),
    NeedRow(usize),
    End,
}

impl Next {
    /// What comes after the rows at hand: the first source that has more, or the end.
    fn after_rows(finished: &[bool]) -> Self {
        finished.iter().position(|done| !done).map_or(Self::End, Self::NeedRow)
    }
}

impl Merge {
    /// A merge of `sources` shards whose rows have these columns, hidden ones included. The client asks for so many rows,
    /// or for all of them (0).
    ///
    /// # Errors
    /// Refuses, before any row is seen, types whose order, equality or sums are not known exactly.
    pub fn new(
        spec: &MergeSpec,
        rows_max: u32,
        columns: &[Column],
        sources: usize,
        options: &MergeOptions,
    ) -> Result<Self> {
        let layout = Layout::new(spec, columns)?;
        let order = Order::new(spec, columns, options.fidelity)?;
        let engine = match &spec.combine {
            Combine::Rows if order.is_empty() => Engine::Concatenation(Concatenation::default()),
            Combine::Rows => Engine::Sorted(SortedMerge::new(order, layout, sources, spec.distinct_keys)),
            Combine::Distinct => {
                let all: Vec<ColumnRef> = (0..layout.visible).map(ColumnRef::Visible).collect();
                Engine::Groups(Box::new(Groups::new(&all, &[], order, columns, layout, options)?))
            }
            Combine::Groups { group_columns, aggregates } => {
                Engine::Groups(Box::new(Groups::new(group_columns, aggregates, order, columns, layout, options)?))
            }
        };
        let finished = vec![false; sources];
        let ties = match spec.ties {
            Ties::Cut => None,
            Ties::Kept => Some((Order::new(spec, columns, options.fidelity)?, None)),
        };
        let wanted = (rows_max > 0).then_some(u64::from(rows_max));
        Ok(Self { layout, engine, finished, skip: spec.offset, remaining: spec.limit, ties, wanted, row_count: 0 })
    }

    /// The columns that the client sees, out of those given to [`Merge::new`].
    pub fn visible_columns<'c>(&self, columns: &'c [Column]) -> &'c [Column] {
        columns.get(..self.layout.visible).unwrap_or(columns)
    }

    /// How many rows the client got: the number of the command tag.
    pub fn row_count(&self) -> u64 {
        self.row_count
    }

    /// Takes the body of a DataRow that a source sent.
    ///
    /// # Errors
    /// A row that does not fit its description or the expected order, or that the memory budget has no room for.
    pub fn push(&mut self, source: usize, row: Bytes) -> Result<()> {
        if self.is_done() {
            return Ok(());
        }
        match &mut self.engine {
            Engine::Concatenation(rows) => rows.push(row),
            Engine::Sorted(merge) => merge.push(source, row)?,
            Engine::Groups(groups) => groups.push(&row)?,
            Engine::Finished(_) => return Err(crate::types::Error::internal("a source sent a row after its end")),
        }
        Ok(())
    }

    /// A source gave its last row.
    pub fn finish(&mut self, source: usize) {
        self.finished[source] = true;
    }

    /// Appends the next DataRow of the result to `out`, or says what is missing.
    ///
    /// # Errors
    /// A row that does not fit its description.
    pub fn next(&mut self, out: &mut BytesMut) -> Result<Step> {
        while !self.is_done() {
            match self.next_before_limit()? {
                Next::NeedRow(source) => return Ok(Step::NeedRow(source)),
                Next::End => break,
                Next::Row(_) if self.skip > 0 => self.skip -= 1,
                Next::Row(row) if self.lets_through(&row)? => {
                    self.layout.send(&row, out)?;
                    self.wanted = self.wanted.map(|wanted| wanted - 1);
                    self.row_count += 1;
                    return Ok(Step::Row);
                }
                Next::Row(_) => break,
            }
        }
        Ok(Step::Done)
    }

    /// Whether no row can follow any more.
    fn is_done(&self) -> bool {
        let has_tie = self.ties.as_ref().is_some_and(|(_, last)| last.is_some());
        self.wanted == Some(0) || (self.remaining == Some(0) && !has_tie)
    }

    /// Whether LIMIT lets a row of the result through, or it equals the last one that came through.
    fn lets_through(&mut self, row: &[u8]) -> Result<bool> {
        let values = match &self.ties {
            Some((order, _)) => Some(order.read(&self.layout.read(row)?)?),
            None => None,
        };
        let passes = match (self.remaining, &self.ties, &values) {
            (Some(0), Some((order, Some(last))), Some(values)) => order.compare(last, values).is_eq(),
            (Some(0), ..) => false,
            _ => true,
        };
        self.remaining = self.remaining.map(|remaining| remaining.saturating_sub(1));
        match (&mut self.ties, passes) {
            (Some((_, last)), true) => *last = values,
            (ties, _) => *ties = None,
        }
        Ok(passes)
    }

    fn next_before_limit(&mut self) -> Result<Next> {
        match &mut self.engine {
            Engine::Concatenation(rows) => Ok(rows.next(&self.finished)),
            Engine::Sorted(merge) => Ok(merge.next(&self.finished)),
            Engine::Groups(_) => match Next::after_rows(&self.finished) {
                Next::End => self.finish_groups(),
                need => Ok(need),
            },
            Engine::Finished(rows) => Ok(rows.next().map_or(Next::End, Next::Row)),
        }
    }

    /// Every source has ended: the groups are complete.
    fn finish_groups(&mut self) -> Result<Next> {
        let engine = std::mem::replace(&mut self.engine, Engine::Finished(Box::new(std::iter::empty())));
        if let Engine::Groups(groups) = engine {
            self.engine = Engine::Finished(Box::new(groups.finish()?));
        }
        self.next_before_limit()
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Concatenation(_) => "Concatenation",
            Self::Sorted(_) => "Sorted",
            Self::Groups(_) => "Groups",
            Self::Finished(_) => "Finished",
        })
    }
}
