//! Rows that pass one by one: as they come, or in the order that every shard already keeps.

use std::collections::VecDeque;

use bytes::Bytes;

use super::Next;
use super::order::{Order, SortValues};
use super::row::Layout;
use crate::types::{Error, Result};

/// Every row of every shard, in the order of their arrival.
#[derive(Debug, Default)]
pub struct Concatenation {
    waiting: VecDeque<Bytes>,
}

impl Concatenation {
    pub fn push(&mut self, row: Bytes) {
        self.waiting.push_back(row);
    }

    pub fn next(&mut self, finished: &[bool]) -> Next {
        match self.waiting.pop_front() {
            Some(row) => Next::Row(row),
            None => Next::after_rows(finished),
        }
    }
}

/// A k-way merge of shards whose rows each come in the same order. Among equal rows, the earlier shard goes first.
#[derive(Debug)]
pub struct SortedMerge {
    order: Order,
    layout: Layout,
    sources: Vec<Source>,
    /// Of rows that are equal in so many keys, only the first one passes; zero: all do.
    distinct_keys: usize,
    /// What the last row that passed sorts by, where that matters.
    passed: Option<SortValues>,
}

#[derive(Debug, Default)]
struct Source {
    waiting: VecDeque<(SortValues, Bytes)>,
    /// What the last row that left sorts by.
    last: Option<SortValues>,
}

impl Source {
    /// What the row before the next one to arrive sorts by.
    fn newest(&self) -> Option<&SortValues> {
        self.waiting.back().map(|(values, _)| values).or(self.last.as_ref())
    }
}

impl SortedMerge {
    pub fn new(order: Order, layout: Layout, sources: usize, distinct_keys: usize) -> Self {
        let sources = (0..sources).map(|_| Source::default()).collect();
        Self { order, layout, sources, distinct_keys, passed: None }
    }

    /// # Errors
    /// A value that cannot be read, and a row out of order: the shard orders otherwise than Weir does, so that no
    /// merge of its rows could be trusted.
    pub fn push(&mut self, source: usize, row: Bytes) -> Result<()> {
        let values = self.order.read(&self.layout.read(&row)?)?;
        let source = &mut self.sources[source];
        if source.newest().is_some_and(|last| self.order.compare(last, &values).is_gt()) {
            return Err(Error::internal("a shard's rows do not come in the order that the merge expects"));
        }
        source.waiting.push_back((values, row));
        Ok(())
    }

    pub fn next(&mut self, finished: &[bool]) -> Next {
        loop {
            let empty = self.sources.iter().zip(finished).position(|(source, done)| source.waiting.is_empty() && !done);
            if let Some(source) = empty {
                return Next::NeedRow(source);
            }
            match self.least().and_then(|source| self.take(source)) {
                Some((_, true)) => {}
                Some((row, false)) => return Next::Row(row),
                None => return Next::End,
            }
        }
    }

    /// The first row of a source, and whether it repeats the one that passed before it.
    fn take(&mut self, source: usize) -> Option<(Bytes, bool)> {
        let source = &mut self.sources[source];
        let (values, row) = source.waiting.pop_front()?;
        let repeats = |passed: &SortValues| self.order.compare_first(self.distinct_keys, passed, &values).is_eq();
        let is_repetition = self.distinct_keys > 0 && self.passed.as_ref().is_some_and(repeats);
        if self.distinct_keys > 0 && !is_repetition {
            self.passed = Some(values.clone());
        }
        source.last = Some(values);
        Some((row, is_repetition))
    }

    /// The source whose first row stands before all others.
    fn least(&self) -> Option<usize> {
        let heads = self.sources.iter().enumerate().filter_map(|(at, source)| Some((at, &source.waiting.front()?.0)));
        heads.min_by(|(_, a), (_, b)| self.order.compare(a, b)).map(|(at, _)| at)
    }
}
