//! What waits for one client that listens: notifications, in the order in which they were committed, and marks.
//!
//! The task that listens puts in, the client's own task takes out, each on its own thread. Only clients that listen have
//! one, so that nobody else's query ever sees its lock.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use bytes::Bytes;

use crate::types::{Error, Kind, Origin, ShardId};

/// Bytes of notifications that may wait for one client. PostgreSQL keeps gigabytes for a session that does not read, and
/// then lets NOTIFY fail for everybody; here it is that client that ends.
pub const WAITING_BYTES_MAX: usize = 8 * 1024 * 1024;

/// What a notification is taken to occupy beside its bytes.
const NOTIFICATION_BYTES: usize = 64;

/// Something that came for a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A NotificationResponse with its header.
    Notification(Bytes),
    /// The place that an order was to mark.
    Mark(u64),
}

/// Why nothing more comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// No connection that listens could be made, for this reason.
    Unreachable(String),
    /// The connection that listened was lost, for this reason: notifications may have been missed.
    Lost(String),
    /// More waited than [`WAITING_BYTES_MAX`].
    Overflown,
}

/// A client's mailbox.
#[derive(Debug)]
pub struct Mailbox {
    /// No other mailbox of the process has it.
    pub id: u64,
    inside: Mutex<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    items: VecDeque<Item>,
    /// Bytes of items, and of those that were taken and not yet given to the client.
    bytes: usize,
    end: Option<End>,
    waker: Option<Waker>,
}

impl End {
    /// What the client reads.
    pub fn into_error(self) -> Error {
        match self {
            Self::Unreachable(reason) => Error::new(
                Origin::Server(ShardId(0)),
                Kind::ServerUnavailable,
                "cannot listen: no connection to a server",
            )
            .detail(format!("{reason}."))
            .hint("Try again; the operator's log says which server it is."),
            Self::Lost(reason) => Error::new(
                Origin::Server(ShardId(0)),
                Kind::ServerLost,
                "terminating connection because notifications may have been missed",
            )
            .detail(format!("The connection that listened for this session was lost ({reason})."))
            .hint("Connect again, LISTEN again, and look at what the notifications are about."),
            Self::Overflown => Error::new(
                Origin::Client,
                Kind::LimitExceeded,
                "terminating connection because it does not read its notifications",
            )
            .detail(format!("More than {} bytes of them waited.", WAITING_BYTES_MAX))
            .hint("Read them more often, and do not stay in transactions for long."),
        }
    }
}

impl Mailbox {
    pub fn new(id: u64) -> Self {
        Self { id, inside: Mutex::default() }
    }

    /// Puts in a notification. Gives false when nothing more comes for this client.
    pub fn put(&self, message: &Bytes) -> bool {
        let mut inside = self.lock();
        if inside.end.is_some() {
            return false;
        }
        inside.bytes += size(message);
        if inside.bytes > WAITING_BYTES_MAX {
            inside.finish(End::Overflown);
            return false;
        }
        inside.add(Item::Notification(message.clone()));
        true
    }

    /// Marks the place of now.
    pub fn mark(&self, mark: u64) {
        self.lock().add(Item::Mark(mark));
    }

    /// Nothing more comes. What has not been taken is dropped: a client that is told of a loss must not believe that it
    /// has everything up to it.
    pub fn end(&self, end: End) {
        self.lock().finish(end);
    }

    /// Whether there is something to take.
    pub fn has_news(&self) -> bool {
        let inside = self.lock();
        inside.end.is_some() || !inside.items.is_empty()
    }

    /// Waits until there is something to take.
    pub async fn news(&self) {
        self.await_that(|inside| inside.end.is_some() || !inside.items.is_empty()).await;
    }

    /// Waits until nothing more comes.
    pub async fn ended(&self) {
        self.await_that(|inside| inside.end.is_some()).await;
    }

    async fn await_that(&self, holds: impl Fn(&Inside) -> bool) {
        poll_fn(|cx| {
            let mut inside = self.lock();
            if holds(&inside) {
                return Poll::Ready(());
            }
            if !inside.waker.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
                inside.waker = Some(cx.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }

    /// Takes everything that is there; the notifications count as waiting until [`Mailbox::given`] says otherwise.
    ///
    /// # Errors
    /// Nothing more comes.
    pub fn take(&self) -> Result<VecDeque<Item>, End> {
        let mut inside = self.lock();
        match &inside.end {
            Some(end) => Err(end.clone()),
            None => Ok(std::mem::take(&mut inside.items)),
        }
    }

    /// A notification was given to the client, or is not for it any more.
    pub fn given(&self, message: &Bytes) {
        let mut inside = self.lock();
        inside.bytes = inside.bytes.saturating_sub(size(message));
    }

    /// A notification waits that came another way.
    pub fn charge(&self, message: &Bytes) {
        self.lock().bytes += size(message);
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inside {
    fn add(&mut self, item: Item) {
        if self.end.is_none() {
            self.items.push_back(item);
            self.wake();
        }
    }

    fn finish(&mut self, end: End) {
        self.end.get_or_insert(end);
        self.items = VecDeque::new();
        self.wake();
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

fn size(message: &Bytes) -> usize {
    message.len() + NOTIFICATION_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_is_taken_in_order() {
        let mailbox = Mailbox::new(1);
        assert!(!mailbox.has_news());
        assert!(mailbox.put(&Bytes::from_static(b"one")));
        mailbox.mark(7);
        assert!(mailbox.put(&Bytes::from_static(b"two")));
        let [one, two] = [b"one", b"two"].map(|text| Item::Notification(Bytes::from_static(text)));
        assert_eq!(mailbox.take().unwrap(), [one, Item::Mark(7), two]);
        assert!(!mailbox.has_news());
    }

    #[test]
    fn what_waits_is_bounded_whether_taken_or_not() {
        let message = Bytes::from(vec![0; 8000]);
        let most = WAITING_BYTES_MAX / size(&message);
        let mailbox = Mailbox::new(1);
        for _ in 0..2 * most {
            assert!(mailbox.put(&message));
            mailbox.take().unwrap();
            mailbox.given(&message);
        }
        for _ in 0..most {
            assert!(mailbox.put(&message));
            mailbox.take().unwrap();
        }
        assert!(!mailbox.put(&message));
        assert_eq!(mailbox.take(), Err(End::Overflown));
    }

    #[test]
    fn the_first_end_stays_and_nothing_comes_behind_it() {
        let mailbox = Mailbox::new(1);
        assert!(mailbox.put(&Bytes::from_static(b"one")));
        mailbox.end(End::Lost("it ended".to_owned()));
        mailbox.end(End::Overflown);
        mailbox.mark(1);
        assert!(!mailbox.put(&Bytes::from_static(b"two")));
        assert!(mailbox.has_news());
        assert_eq!(mailbox.take(), Err(End::Lost("it ended".to_owned())));
    }
}
