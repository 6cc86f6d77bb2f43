//! What the workers share of one pool: its identity, its limit, and who is in need.
//!
//! Nothing here is locked, and nothing is written on the way of a query that finds a server on its own worker.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering, fence};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;

use super::server::InTransit;
use crate::auth::Password;
use crate::session::notifiers::Notifiers;
use crate::types::{Role, ShardId};

/// Which servers a pool has: those of one node, for one database and one user.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PoolId {
    pub database: Arc<str>,
    pub user: Arc<str>,
    pub shard: ShardId,
    pub node: NodeIndex,
}

/// A node of a shard: 0 is the primary, then come the replicas in the order of the configuration. The last number is the
/// primary again, with servers of its own for statements over gathered rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeIndex(pub u16);

impl NodeIndex {
    pub const PRIMARY: Self = Self(0);
    pub const GATHER: Self = Self(u16::MAX);

    pub fn is_primary(self) -> bool {
        self == Self::PRIMARY
    }

    pub fn role(self) -> Role {
        match self {
            Self::PRIMARY => Role::Primary,
            Self::GATHER => Role::Gather,
            Self(_) => Role::Replica,
        }
    }
}

/// The limits of one pool.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Servers over all workers.
    pub size: usize,
    /// Replication connections over all workers.
    pub wal_senders: usize,
    /// Servers for statements over gathered rows, over all workers.
    pub gatherers: usize,
    pub connect_timeout: Duration,
    /// How long a client waits for a server. Zero: for ever.
    pub wait_timeout: Duration,
    /// Age at which a server is closed when it comes back.
    pub lifetime: Duration,
    /// How long a server may stay idle. Zero: for ever.
    pub idle_timeout: Duration,
    /// Prepared statements kept on a server.
    pub prepared_max: usize,
    /// Serve the server that has been idle longest first, instead of the one used last.
    pub round_robin: bool,
}

/// What a worker tells another one about a pool.
#[derive(Debug)]
pub enum Mail {
    /// A server for whoever waits there.
    Handover(Box<InTransit>),
    /// Somebody waits on another worker: hand over an idle server, if there is one.
    Wanted(Arc<Shared>),
    /// A place became free: open a server if somebody waits.
    PlaceFree(Arc<Shared>),
}

/// Sends [`Mail`] to a worker.
pub type MailSender = UnboundedSender<Mail>;

/// A worker's need for servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Need {
    None = 0,
    /// Clients wait.
    Hungry = 1,
    /// Clients wait, and the worker has fewer servers than its share.
    BelowShare = 2,
}

/// One pool as all workers see it.
#[derive(Debug)]
pub struct Shared {
    pub id: PoolId,
    /// `host:port`.
    pub address: Arc<str>,
    /// The database's name on the server.
    pub dbname: Arc<str>,
    pub password: Option<Password>,
    pub limits: Limits,
    /// Those who may notify, where the pool's servers are among them.
    pub notifiers: Option<Arc<Notifiers>>,
    /// Servers that are open or being opened, over all workers.
    open: AtomicUsize,
    workers: Box<[WorkerShare]>,
    /// What [`WorkerShare::waiting_since`] counts from.
    created: Instant,
}

/// What the others may know of one worker.
#[derive(Debug)]
struct WorkerShare {
    /// Servers of this pool on this worker, open or being opened.
    open: AtomicUsize,
    /// See [`Need`].
    need: AtomicU8,
    /// Servers are idle there.
    idle: AtomicBool,
    /// Since when the first client of the queue has waited, in microseconds; [`NOBODY`] when there is none.
    waiting_since: AtomicU64,
    mail: MailSender,
}

/// See [`WorkerShare::waiting_since`].
const NOBODY: u64 = u64::MAX;

/// A server's place among the servers that its pool may have. Dropping it frees the place and tells who waits.
#[derive(Debug)]
pub struct Place {
    shared: Arc<Shared>,
    worker: usize,
}

impl Place {
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The server moved to another worker.
    pub fn move_to(&mut self, worker: usize) {
        self.shared.workers[self.worker].open.fetch_sub(1, Ordering::Relaxed);
        self.shared.workers[worker].open.fetch_add(1, Ordering::Relaxed);
        self.worker = worker;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.workers[self.worker].open.fetch_sub(1, Ordering::Relaxed);
        // Ordered against set_need() and reserve(): either this sees the need, or the needy sees the free place.
        self.shared.open.fetch_sub(1, Ordering::SeqCst);
        for worker in &self.shared.workers {
            if worker.need.load(Ordering::SeqCst) != Need::None as u8 {
                let _gone = worker.mail.send(Mail::PlaceFree(Arc::clone(&self.shared)));
            }
        }
    }
}

impl Shared {
    /// A pool without servers. `mail` reaches every worker, in their order.
    pub fn new(
        id: PoolId,
        address: Arc<str>,
        dbname: Arc<str>,
        password: Option<Password>,
        limits: Limits,
        notifiers: Option<Arc<Notifiers>>,
        mail: &[MailSender],
    ) -> Self {
        let share = |mail: &MailSender| WorkerShare {
            open: AtomicUsize::new(0),
            need: AtomicU8::new(Need::None as u8),
            idle: AtomicBool::new(false),
            waiting_since: AtomicU64::new(NOBODY),
            mail: mail.clone(),
        };
        let workers = mail.iter().map(share).collect();
        let (open, created) = (AtomicUsize::new(0), Instant::now());
        Self { id, address, dbname, password, limits, notifiers, open, workers, created }
    }

    /// Takes a place for one more server on `worker`; `None` when the pool is full.
    pub fn reserve(self: &Arc<Self>, worker: usize) -> Option<Place> {
        let more = |open: usize| (open < self.limits.size).then_some(open + 1);
        self.open.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).ok()?;
        self.workers[worker].open.fetch_add(1, Ordering::Relaxed);
        Some(Place { shared: Arc::clone(self), worker })
    }

    /// Servers that are open or being opened, over all workers.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Servers that are open or being opened on one worker.
    pub fn open_on(&self, worker: usize) -> usize {
        self.workers[worker].open.load(Ordering::Relaxed)
    }

    /// The servers that a worker may keep while others wait.
    pub fn share(&self) -> usize {
        self.limits.size.div_ceil(self.workers.len().max(1))
    }

    /// Says what a worker needs, and since when the first client of its queue has waited.
    pub fn set_need(&self, worker: usize, need: Need, waiting_since: Option<Instant>) {
        let own = &self.workers[worker];
        let micros = |since: Instant| u64::try_from(since.duration_since(self.created).as_micros()).unwrap_or(NOBODY);
        let since = waiting_since.map_or(NOBODY, micros);
        // Most of the time nothing changes; then other cores' copies of these words stay valid.
        if own.waiting_since.load(Ordering::Relaxed) != since {
            own.waiting_since.store(since, Ordering::Relaxed);
        }
        if own.need.load(Ordering::Relaxed) != need as u8 {
            own.need.store(need as u8, Ordering::SeqCst);
        }
    }

    /// The other worker whose first client has waited longest, if it came more than `margin` before this worker's first.
    pub fn longer_in_need(&self, worker: usize, margin: Duration) -> Option<usize> {
        let since = |worker: usize| self.workers[worker].waiting_since.load(Ordering::Relaxed);
        let first = (0..self.workers.len()).filter(|other| *other != worker).min_by_key(|other| since(*other))?;
        let margin = u64::try_from(margin.as_micros()).unwrap_or(NOBODY);
        (since(first).saturating_add(margin) < since(worker)).then_some(first)
    }

    /// Another worker in need: any, or only one that has less than its share.
    pub fn in_need(&self, except: usize, at_least: Need) -> Option<usize> {
        self.workers
            .iter()
            .enumerate()
            .position(|(worker, share)| worker != except && share.need.load(Ordering::Relaxed) >= at_least as u8)
    }

    /// Sends mail to a worker. A worker that is gone has no clients that could wait.
    pub fn mail(&self, worker: usize, mail: Mail) {
        let _gone = self.workers[worker].mail.send(mail);
    }

    /// Asks the other workers for a server that they do not need. The caller has said its own need.
    ///
    /// Either this sees that a server is idle elsewhere, or whoever called [`Shared::set_idle`] there sees the need: both
    /// write, then read what the other one wrote, with a fence between.
    pub fn ask_others(self: &Arc<Self>, worker: usize) {
        fence(Ordering::SeqCst);
        for (other, share) in self.workers.iter().enumerate() {
            if other != worker && share.idle.load(Ordering::Relaxed) {
                self.mail(other, Mail::Wanted(Arc::clone(self)));
            }
        }
    }

    /// Says whether servers are idle on a worker. True when they just became so: then the caller looks who is in need.
    pub fn set_idle(&self, worker: usize, idle: bool) -> bool {
        let own = &self.workers[worker].idle;
        if own.load(Ordering::Relaxed) == idle {
            return false;
        }
        own.store(idle, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        idle
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

    use super::*;

    /// A pool of that size over some workers, and their mail.
    fn pool(size: usize, workers: usize) -> (Arc<Shared>, Vec<UnboundedReceiver<Mail>>) {
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..workers).map(|_| unbounded_channel()).unzip();
        let id = PoolId { database: "d".into(), user: "u".into(), shard: ShardId(0), node: NodeIndex::PRIMARY };
        let limits = Limits {
            size,
            wal_senders: 0,
            gatherers: 1,
            connect_timeout: Duration::ZERO,
            wait_timeout: Duration::ZERO,
            lifetime: Duration::ZERO,
            idle_timeout: Duration::ZERO,
            prepared_max: 1,
            round_robin: false,
        };
        (Arc::new(Shared::new(id, "host:1".into(), "d".into(), None, limits, None, &senders)), receivers)
    }

    #[test]
    fn places_are_counted_and_come_back() {
        let (shared, _mail) = pool(2, 2);
        let (first, mut second) = (shared.reserve(0).unwrap(), shared.reserve(0).unwrap());
        assert!(shared.reserve(1).is_none());
        assert_eq!((shared.open(), shared.open_on(0), shared.open_on(1)), (2, 2, 0));
        second.move_to(1);
        assert_eq!((shared.open(), shared.open_on(0), shared.open_on(1)), (2, 1, 1));
        drop(first);
        assert_eq!((shared.open(), shared.open_on(0), shared.open_on(1)), (1, 0, 1));
        assert!(shared.reserve(0).is_some());
    }

    #[test]
    fn a_free_place_is_told_to_those_in_need() {
        let (shared, mut mail) = pool(1, 3);
        let place = shared.reserve(0).unwrap();
        shared.set_need(1, Need::Hungry, Some(Instant::now()));
        drop(place);
        let told: Vec<bool> = mail.iter_mut().map(|inbox| matches!(inbox.try_recv(), Ok(Mail::PlaceFree(_)))).collect();
        assert_eq!(told, [false, true, false]);
    }

    #[test]
    fn need_is_seen_by_the_others() {
        let (shared, _mail) = pool(4, 2);
        assert_eq!(shared.in_need(0, Need::Hungry), None);
        shared.set_need(1, Need::Hungry, Some(Instant::now()));
        assert_eq!(shared.in_need(0, Need::Hungry), Some(1));
        assert_eq!(shared.in_need(0, Need::BelowShare), None);
        assert_eq!(shared.in_need(1, Need::Hungry), None);
        shared.set_need(1, Need::None, None);
        assert_eq!(shared.in_need(0, Need::Hungry), None);
    }

    #[test]
    fn whoever_waited_much_longer_comes_first() {
        let (shared, _mail) = pool(1, 3);
        let margin = Duration::from_millis(20);
        let first = Instant::now();
        assert_eq!(shared.longer_in_need(0, margin), None);
        shared.set_need(1, Need::Hungry, Some(first));
        shared.set_need(0, Need::Hungry, Some(first + margin));
        assert_eq!(shared.longer_in_need(0, margin), None, "not longer than the margin");
        shared.set_need(0, Need::Hungry, Some(first + margin + Duration::from_millis(1)));
        assert_eq!(shared.longer_in_need(0, margin), Some(1));
        assert_eq!(shared.longer_in_need(1, margin), None);
    }
}
