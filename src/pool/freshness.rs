//! How far replicas are, so that a session's reads see what the session has seen and written.
//!
//! After a session used a primary, its next read may go to a replica only when that replica has replayed everything
//! that was in the primary's WAL at a moment after the primary's answer. Nobody asks the primary on the way of a
//! query: a *monitor* takes numbered samples of `pg_current_wal_insert_lsn()`, and a session only remembers which
//! sample comes late enough. (The *written* position would not do: with asynchronous commit it lags behind.)
//! While nobody needs a sample, none is taken.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Notify;

/// A position in the WAL, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lsn(pub u64);

impl Lsn {
    /// Reads PostgreSQL's notation, such as `16/B374D848`.
    pub fn parse(text: &str) -> Option<Self> {
        let (high, low) = text.split_once('/')?;
        let high = u64::from(u32::from_str_radix(high, 16).ok()?);
        let low = u64::from(u32::from_str_radix(low, 16).ok()?);
        Some(Self(high << 32 | low))
    }
}

/// What a session needs a replica to have replayed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mark {
    /// The session has not used the primary yet.
    #[default]
    Nothing,
    /// Whatever the sample with this number, or a later one, will say.
    Sample(u64),
    /// This position.
    Position(Lsn),
}

/// One shard's samples and replicas.
#[derive(Debug)]
pub struct Freshness {
    /// The number of the last sample that was begun.
    begun: AtomicU64,
    /// The highest sample that a session needs.
    wanted: AtomicU64,
    last: Mutex<Sample>,
    /// What every session needs, since the schema changed: a sample that was not taken yet (0: none), then its position.
    floor_sample: AtomicU64,
    floor: AtomicU64,
    replicas: Box<[Replica]>,
    /// The monitor sleeps until [`Freshness::wake`].
    asleep: AtomicBool,
    wake: Notify,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sample {
    number: u64,
    position: Lsn,
}

#[derive(Debug, Default)]
struct Replica {
    replayed: AtomicU64,
    /// The highest position that a session needs.
    wanted: AtomicU64,
    usable: AtomicBool,
}

impl Freshness {
    pub fn new(replicas: usize) -> Self {
        Self {
            begun: AtomicU64::new(0),
            wanted: AtomicU64::new(0),
            last: Mutex::default(),
            floor_sample: AtomicU64::new(0),
            floor: AtomicU64::new(0),
            replicas: (0..replicas).map(|_| Replica::default()).collect(),
            asleep: AtomicBool::new(true),
            wake: Notify::new(),
        }
    }

    /// The mark of a session to which the primary has just answered.
    pub fn mark(&self) -> Mark {
        Mark::Sample(self.want_sample())
    }

    /// From now on replicas serve only sessions, whatever their marks, that see what the primary has done so far: its
    /// schema changed, and everybody may use what is new.
    pub fn raise_floor(&self) {
        self.floor_sample.fetch_max(self.want_sample(), Ordering::SeqCst);
    }

    /// The number of the next sample, which will be taken.
    fn want_sample(&self) -> u64 {
        let needed = self.begun.load(Ordering::SeqCst) + 1;
        if self.wanted.fetch_max(needed, Ordering::SeqCst) < needed {
            self.rouse();
        }
        needed
    }

    /// Whether a replica (numbered from 0) may serve a session; resolves the session's mark when its sample is there.
    pub fn admits(&self, mark: &mut Mark, replica: usize) -> bool {
        let Some(state) = self.replicas.get(replica).filter(|state| state.usable.load(Ordering::Relaxed)) else {
            return false;
        };
        if self.floor_sample.load(Ordering::SeqCst) != 0 {
            self.rouse();
            return false;
        }
        let floor = Lsn(self.floor.load(Ordering::SeqCst));
        match self.resolve(mark).map(|needed| needed.max(floor)) {
            None => false,
            Some(needed) if state.replayed.load(Ordering::Acquire) >= needed.0 => true,
            Some(needed) => {
                state.wanted.fetch_max(needed.0, Ordering::SeqCst);
                self.rouse();
                false
            }
        }
    }

    /// The position that a mark stands for; `None` while its sample is not there.
    fn resolve(&self, mark: &mut Mark) -> Option<Lsn> {
        if let Mark::Sample(number) = *mark {
            let last = *self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if last.number < number {
                self.rouse();
                return None;
            }
            *mark = Mark::Position(last.position);
        }
        match *mark {
            Mark::Position(position) => Some(position),
            Mark::Nothing | Mark::Sample(_) => Some(Lsn::default()),
        }
    }

    pub fn replica_count(&self) -> usize {
        self.replicas.len()
    }

    fn rouse(&self) {
        if self.asleep.load(Ordering::SeqCst) {
            self.wake.notify_one();
        }
    }

    // ---- the monitor's side

    /// Begins a sample; the query for the position must be sent after this returns.
    pub fn begin_sample(&self) -> u64 {
        self.begun.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Gives the result of a sample.
    pub fn finish_sample(&self, number: u64, position: Lsn) {
        *self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Sample { number, position };
        let pending = self.floor_sample.load(Ordering::SeqCst);
        if (1..=number).contains(&pending) {
            self.floor.fetch_max(position.0, Ordering::SeqCst);
            // A floor that was raised meanwhile waits for a later sample.
            let _raised = self.floor_sample.compare_exchange(pending, 0, Ordering::SeqCst, Ordering::SeqCst);
        }
    }

    /// A replica answered that it has replayed this much.
    pub fn replayed(&self, replica: usize, position: Lsn) {
        if let Some(state) = self.replicas.get(replica) {
            state.replayed.store(position.0, Ordering::Release);
            state.usable.store(true, Ordering::Relaxed);
        }
    }

    /// A replica cannot be used now.
    pub fn unusable(&self, replica: usize) {
        if let Some(state) = self.replicas.get(replica) {
            state.usable.store(false, Ordering::Relaxed);
        }
    }

    /// Whether a session needs a sample that was not taken yet.
    pub fn needs_sample(&self) -> bool {
        self.wanted.load(Ordering::SeqCst) > self.begun.load(Ordering::SeqCst)
    }

    /// Whether a session waits for a sample, or for a replica that works.
    pub fn has_business(&self) -> bool {
        let waits_for = |replica: &Replica| {
            replica.usable.load(Ordering::Relaxed)
                && replica.wanted.load(Ordering::SeqCst) > replica.replayed.load(Ordering::Relaxed)
        };
        self.needs_sample() || self.replicas.iter().any(waits_for)
    }

    /// Sleeps until a session needs something, or `limit` has passed.
    pub async fn sleep(&self, limit: std::time::Duration) {
        self.asleep.store(true, Ordering::SeqCst);
        // A session that saw the monitor awake did not wake it, so look once more.
        if !self.has_business() {
            let _timeout = tokio::time::timeout(limit, self.wake.notified()).await;
        }
        self.asleep.store(false, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_that_used_the_primary_waits_for_a_later_sample() {
        let freshness = Freshness::new(1);
        freshness.replayed(0, Lsn(10));
        let early = freshness.begin_sample();
        let mut mark = freshness.mark();
        freshness.finish_sample(early, Lsn(5));
        assert!(!freshness.admits(&mut mark, 0), "a sample that began before the answer proves nothing");
        let late = freshness.begin_sample();
        freshness.finish_sample(late, Lsn(20));
        assert!(!freshness.admits(&mut mark, 0), "the replica has not replayed the position");
        assert_eq!(mark, Mark::Position(Lsn(20)));
        assert!(freshness.has_business());
        freshness.replayed(0, Lsn(20));
        assert!(freshness.admits(&mut mark, 0));
    }

    #[test]
    fn a_change_of_the_schema_concerns_every_session() {
        let freshness = Freshness::new(1);
        freshness.replayed(0, Lsn(10));
        let early = freshness.begin_sample();
        freshness.raise_floor();
        freshness.finish_sample(early, Lsn(5));
        assert!(!freshness.admits(&mut Mark::Nothing, 0), "that sample began before the change");
        let late = freshness.begin_sample();
        freshness.finish_sample(late, Lsn(20));
        assert!(!freshness.admits(&mut Mark::Nothing, 0), "the replica does not have the change");
        freshness.replayed(0, Lsn(20));
        assert!(freshness.admits(&mut Mark::Nothing, 0));
    }

    #[test]
    fn a_replica_that_was_never_seen_serves_nobody() {
        let freshness = Freshness::new(1);
        assert!(!freshness.admits(&mut Mark::Nothing, 0));
        freshness.replayed(0, Lsn(1));
        assert!(freshness.admits(&mut Mark::Nothing, 0));
        freshness.unusable(0);
        assert!(!freshness.admits(&mut Mark::Nothing, 0));
    }

    #[test]
    fn positions_are_read_in_postgresql_s_notation() {
        assert_eq!(Lsn::parse("16/B374D848"), Some(Lsn(0x16_B374_D848)));
        assert_eq!(Lsn::parse("0/0"), Some(Lsn(0)));
        assert_eq!(Lsn::parse("x"), None);
    }
}
