//! Counters by the members of a closed set: an array of atomics to count in, and a plain copy to reckon with.

use std::fmt;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::sql::facts::PinReason;
use crate::types::Kind;

/// A closed set of things that are counted, each on its own.
pub trait Counted: Copy + 'static {
    /// All members, each at its own index.
    const ALL: &'static [Self];

    /// The member's place in `ALL`.
    fn index(self) -> usize;

    /// The member's word in metrics.
    fn name(self) -> &'static str;
}

impl Counted for Kind {
    const ALL: &'static [Self] = &Self::ALL;

    fn index(self) -> usize {
        self as usize
    }

    fn name(self) -> &'static str {
        self.as_str()
    }
}

impl Counted for PinReason {
    const ALL: &'static [Self] = &Self::ALL;

    fn index(self) -> usize {
        self as usize
    }

    fn name(self) -> &'static str {
        self.as_str()
    }
}

/// One atomic counter per member of `K`. They only grow.
pub struct Tally<K> {
    cells: Box<[AtomicU64]>,
    keys: PhantomData<fn(K)>,
}

impl<K: Counted> Tally<K> {
    pub fn add(&self, key: K, amount: u64) {
        self.cells[key.index()].fetch_add(amount, Ordering::Relaxed);
    }

    /// The same for a tally that one thread alone adds to: no locked instruction.
    pub fn add_alone(&self, key: K, amount: u64) {
        add_alone(&self.cells[key.index()], amount);
    }

    /// The counts as they are now. Counters that move meanwhile may be caught before or after.
    pub fn read(&self) -> Counts<K> {
        let values = self.cells.iter().map(|cell| cell.load(Ordering::Relaxed)).collect();
        Counts { values, keys: PhantomData }
    }
}

/// Adds to a counter that no other thread writes.
pub(super) fn add_alone(cell: &AtomicU64, amount: u64) {
    cell.store(cell.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
}

impl<K: Counted> Default for Tally<K> {
    fn default() -> Self {
        Self { cells: K::ALL.iter().map(|_| AtomicU64::new(0)).collect(), keys: PhantomData }
    }
}

impl<K: Counted> fmt::Debug for Tally<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.read().fmt(f)
    }
}

/// Counts by member of `K`, standing still.
pub struct Counts<K> {
    values: Box<[u64]>,
    keys: PhantomData<fn(K)>,
}

impl<K: Counted> Counts<K> {
    pub fn get(&self, key: K) -> u64 {
        self.values[key.index()]
    }

    /// Every member with its count.
    pub fn iter(&self) -> impl Iterator<Item = (K, u64)> + '_ {
        K::ALL.iter().copied().zip(self.values.iter().copied())
    }

    /// Adds another's counts to this one's.
    pub fn absorb(&mut self, other: &Self) {
        for (value, more) in self.values.iter_mut().zip(&other.values) {
            *value += more;
        }
    }

    /// What was counted since an earlier reading of the same counters.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let pairs = self.values.iter().zip(&earlier.values);
        Self { values: pairs.map(|(now, then)| now.saturating_sub(*then)).collect(), keys: PhantomData }
    }
}

impl<K: Counted> Default for Counts<K> {
    fn default() -> Self {
        Self { values: K::ALL.iter().map(|_| 0).collect(), keys: PhantomData }
    }
}

impl<K> Clone for Counts<K> {
    fn clone(&self) -> Self {
        Self { values: self.values.clone(), keys: PhantomData }
    }
}

impl<K: Counted> fmt::Debug for Counts<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counted = self.iter().filter(|(_, count)| *count > 0);
        f.debug_map().entries(counted.map(|(key, count)| (key.name(), count))).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::telemetry::Counter;

    fn check_set<K: Counted>() {
        for (place, member) in K::ALL.iter().enumerate() {
            assert_eq!(member.index(), place, "{}", member.name());
        }
        let names: HashSet<_> = K::ALL.iter().map(|member| member.name()).collect();
        assert_eq!(names.len(), K::ALL.len());
    }

    #[test]
    fn every_set_lists_each_member_once_at_its_index() {
        check_set::<Kind>();
        check_set::<PinReason>();
        check_set::<Counter>();
    }

    #[test]
    fn counts_add_up_and_differ() {
        let tally = Tally::default();
        tally.add(Kind::Syntax, 2);
        let earlier = tally.read();
        tally.add(Kind::Syntax, 3);
        tally.add(Kind::Internal, 1);
        let mut counts = tally.read();
        assert_eq!(counts.since(&earlier).get(Kind::Syntax), 3);
        counts.absorb(&earlier);
        assert_eq!(format!("{counts:?}"), r#"{"syntax": 7, "internal": 1}"#);
    }
}
