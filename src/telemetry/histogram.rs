//! Latencies in log-linear buckets: each power of two of microseconds is cut into sixteen equal parts, so that a bucket
//! is never wider than a sixteenth of its values. Recording is two additions.

use std::array;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::count::add_alone;

/// Buckets per power of two, as a power of two.
const SUB_BUCKET_BITS: u32 = 4;
const SUB_BUCKETS: usize = 1 << SUB_BUCKET_BITS;
/// Values of this many bits or more (about 19 hours in microseconds) are counted in the last bucket.
const VALUE_BITS_MAX: u32 = 36;
const BUCKETS: usize = SUB_BUCKETS * (VALUE_BITS_MAX - SUB_BUCKET_BITS + 1) as usize;

/// A histogram that one thread records in; any may read it.
#[derive(Debug)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    sum_us: AtomicU64,
}

impl Histogram {
    pub fn record(&self, duration: Duration) {
        let value_us = micros(duration);
        add_alone(&self.buckets[bucket_of(value_us)], 1);
        add_alone(&self.sum_us, value_us);
    }

    /// The recorded values as they are now.
    pub fn read(&self) -> Distribution {
        Distribution {
            buckets: self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect(),
            sum_us: self.sum_us.load(Ordering::Relaxed),
        }
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: array::from_fn(|_| AtomicU64::new(0)), sum_us: AtomicU64::new(0) }
    }
}

/// Recorded durations, standing still.
#[derive(Clone, Debug)]
pub struct Distribution {
    buckets: Box<[u64]>,
    sum_us: u64,
}

impl Distribution {
    /// How many values were recorded.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The sum of all recorded values.
    pub fn sum(&self) -> Duration {
        Duration::from_micros(self.sum_us)
    }

    /// Adds another's values to this one's.
    pub fn absorb(&mut self, other: &Self) {
        for (bucket, more) in self.buckets.iter_mut().zip(&other.buckets) {
            *bucket += more;
        }
        self.sum_us += other.sum_us;
    }

    /// A duration that at least this part (0 to 1) of the values do not exceed: the upper end of the bucket in which
    /// that value lies. `None` when nothing was recorded.
    pub fn quantile(&self, part: f64) -> Option<Duration> {
        let rank = ((self.count() as f64 * part).ceil() as u64).max(1);
        let mut seen = 0;
        let bucket = self.buckets.iter().position(|count| {
            seen += count;
            seen >= rank
        })?;
        Some(Duration::from_micros(lower_bound_us(bucket + 1)))
    }

    /// The values per octave: pairs of an upper bound, a power of two of microseconds, and the number of values below it
    /// and not below the bound before.
    pub fn octaves(&self) -> impl Iterator<Item = (Duration, u64)> + '_ {
        let octaves = self.buckets.chunks(SUB_BUCKETS).enumerate();
        octaves.map(|(octave, counts)| {
            let upper_us = lower_bound_us((octave + 1) * SUB_BUCKETS);
            (Duration::from_micros(upper_us), counts.iter().sum())
        })
    }
}

impl Default for Distribution {
    fn default() -> Self {
        Self { buckets: [0; BUCKETS].into(), sum_us: 0 }
    }
}

/// Whole microseconds of a duration.
pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn bucket_of(value_us: u64) -> usize {
    let value = value_us.min((1 << VALUE_BITS_MAX) - 1);
    let Some(shift) = (value >> SUB_BUCKET_BITS).checked_ilog2() else {
        return value as usize;
    };
    // The first octave above the linear part has shift 0 and starts at bucket SUB_BUCKETS.
    shift as usize * SUB_BUCKETS + (value >> shift) as usize
}

/// The least value of a bucket; of the bucket after the last one, the bound of all.
fn lower_bound_us(bucket: usize) -> u64 {
    if bucket < SUB_BUCKETS {
        return bucket as u64;
    }
    let shift = bucket / SUB_BUCKETS - 1;
    ((SUB_BUCKETS + bucket % SUB_BUCKETS) as u64) << shift
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn buckets_follow_each_other_without_gap() {
        assert_eq!(lower_bound_us(0), 0);
        for bucket in 0..BUCKETS {
            assert_eq!(bucket_of(lower_bound_us(bucket)), bucket);
            assert_eq!(bucket_of(lower_bound_us(bucket + 1) - 1), bucket);
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    proptest! {
        #[test]
        fn a_bucket_is_at_most_a_sixteenth_wide(value in 0_u64..1 << VALUE_BITS_MAX) {
            let bucket = bucket_of(value);
            let (lower, upper) = (lower_bound_us(bucket), lower_bound_us(bucket + 1));
            prop_assert!((lower..upper).contains(&value));
            prop_assert!(upper - lower <= (lower / 16).max(1));
        }
    }

    #[test]
    fn quantiles_and_octaves_of_a_thousand_values() {
        let histogram = Histogram::default();
        for value_us in 1..=1000 {
            histogram.record(Duration::from_micros(value_us));
        }
        let distribution = histogram.read();
        assert_eq!((distribution.count(), distribution.sum()), (1000, Duration::from_micros(500_500)));
        for (part, exact_us) in [(0.0, 1), (0.5, 500), (0.99, 990), (1.0, 1000)] {
            let found_us = distribution.quantile(part).unwrap().as_micros() as u64;
            assert!((exact_us..=exact_us + exact_us / 16 + 1).contains(&found_us), "{part}: {found_us}");
        }
        let octaves: Vec<_> = distribution.octaves().take(8).collect();
        let expected = [(16, 15), (32, 16), (64, 32), (128, 64), (256, 128), (512, 256), (1024, 489), (2048, 0)];
        assert_eq!(octaves, expected.map(|(upper_us, count)| (Duration::from_micros(upper_us), count)));
    }

    #[test]
    fn nothing_recorded_has_no_quantile() {
        assert_eq!(Distribution::default().quantile(0.5), None);
    }
}
