//! GROUP BY over several shards: groups that are equal become one, their aggregates are combined, and only then is
//! the result ordered.

use std::collections::HashMap;
use std::mem::size_of;

use bytes::Bytes;

use super::MergeOptions;
use super::aggregate::{Accumulator, Combination};
use super::memory::Memory;
use super::order::{Order, SortValues};
use super::row::{self, Layout};
use super::spec::{Aggregate, ColumnRef};
use super::value::{Codec, TextFidelity, Value};
use crate::types::{Error, Result};
use crate::wire::backend::Column;

/// What makes two rows one group. 1.0 and 1.00 are equal here, and so are NULLs.
type GroupKey = Vec<Option<Value>>;

/// All groups seen so far, in the order of their first row.
#[derive(Debug)]
pub struct Groups {
    layout: Layout,
    order: Order,
    keys: Vec<(usize, Codec)>,
    combinations: Vec<Combination>,
    places: HashMap<GroupKey, usize>,
    groups: Vec<Group>,
    memory: Memory,
}

#[derive(Debug)]
struct Group {
    /// The group's first row: where its columns other than the aggregates come from.
    row: Box<[u8]>,
    accumulators: Vec<Accumulator>,
}

impl Groups {
    /// # Errors
    /// Refuses group columns whose equality, and aggregates whose combination, is not known exactly.
    pub fn new(
        group_columns: &[ColumnRef],
        aggregates: &[(ColumnRef, Aggregate)],
        order: Order,
        columns: &[Column],
        layout: Layout,
        options: &MergeOptions,
    ) -> Result<Self> {
        let fidelity = options.fidelity;
        let keys = group_columns.iter().map(|column| group_key(*column, layout, columns, fidelity));
        let combinations = aggregates
            .iter()
            .map(|(column, aggregate)| Combination::new(*column, *aggregate, layout, columns, fidelity));
        Ok(Self {
            layout,
            order,
            keys: keys.collect::<Result<_>>()?,
            combinations: combinations.collect::<Result<_>>()?,
            places: HashMap::new(),
            groups: Vec::new(),
            memory: Memory::new(options.memory_max),
        })
    }

    /// Takes in one shard's row of one group.
    ///
    /// # Errors
    /// The memory budget is used up, a sum leaves its range, or a value cannot be read.
    pub fn push(&mut self, row: &[u8]) -> Result<()> {
        let values = self.layout.read(row)?;
        let key: GroupKey = self
            .keys
            .iter()
            .map(|(place, codec)| values[*place].map(|value| codec.read(value)).transpose())
            .collect::<Result<_>>()?;
        let index = match self.places.get(&key) {
            Some(index) => *index,
            None => self.add_group(key, row)?,
        };
        let accumulators = self.groups[index].accumulators.iter_mut();
        for (accumulator, combination) in accumulators.zip(&self.combinations) {
            let before = accumulator.heap_bytes();
            combination.add(accumulator, &values)?;
            self.memory.resize(before, accumulator.heap_bytes())?;
        }
        Ok(())
    }

    fn add_group(&mut self, key: GroupKey, row: &[u8]) -> Result<usize> {
        let key_bytes: usize = key.iter().flatten().map(Value::heap_bytes).sum();
        let fixed_bytes = size_of::<Group>()
            + size_of::<(GroupKey, usize)>()
            + self.keys.len() * size_of::<Option<Value>>()
            + self.combinations.len() * size_of::<Accumulator>();
        self.memory.resize(0, fixed_bytes + key_bytes + row.len())?;
        let index = self.groups.len();
        self.places.insert(key, index);
        self.groups
            .push(Group { row: row.into(), accumulators: self.combinations.iter().map(Combination::start).collect() });
        Ok(index)
    }

    /// The finished rows, hidden columns included, in the result's order.
    ///
    /// # Errors
    /// No row at all where an aggregate without GROUP BY has one, and a finished value that cannot be read again for
    /// the order; both would be bugs.
    pub fn finish(self) -> Result<impl Iterator<Item = Bytes> + use<>> {
        drop(self.places);
        if self.keys.is_empty() && self.groups.is_empty() {
            return Err(Error::internal("no shard gave the row that an aggregate without GROUP BY always has"));
        }
        let mut rows: Vec<(SortValues, Bytes)> = Vec::with_capacity(self.groups.len());
        for group in self.groups {
            let row = group.finish(&self.combinations, self.layout)?;
            let sort_values = self.order.read(&self.layout.read(&row)?)?;
            rows.push((sort_values, row));
        }
        rows.sort_by(|(a, _), (b, _)| self.order.compare(a, b));
        Ok(rows.into_iter().map(|(_, row)| row))
    }
}

impl Group {
    /// The group's row with its aggregates put in.
    fn finish(self, combinations: &[Combination], layout: Layout) -> Result<Bytes> {
        let results: Vec<_> =
            self.accumulators.iter().zip(combinations).map(|(state, own)| state.finish(own.format)).collect();
        let mut values = layout.read(&self.row)?;
        for (combination, result) in combinations.iter().zip(&results) {
            values[combination.place] = result.as_deref();
        }
        Ok(row::body(values.into_iter()))
    }
}

fn group_key(column: ColumnRef, layout: Layout, columns: &[Column], fidelity: TextFidelity) -> Result<(usize, Codec)> {
    let place = layout.place(column)?;
    Ok((place, Codec::equatable(&columns[place], fidelity)?))
}
