//! Which client sent a notification that a server sends.
//!
//! PostgreSQL names the process that notified. A client knows another one by the process id that Weir told that one, and
//! servers go from client to client; so it must be found out who had the server when the notification was committed.
//!
//! A server's *claim* says who may notify there: from which moment on nobody else's can come, and when it ended. What was
//! committed after a moment that lies between the two was sent by that client. Of a notification that arrives it is known
//! that it was committed after whatever its connection had to hear before: PostgreSQL sends what was committed before
//! it answers anything that was asked later. Where the two do not meet, nobody is named.
//!
//! Process ids come again. What a session hears at once is no older process's, since no id comes again at once; what a
//! session had to wait for may be.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustc_hash::FxHashMap;

/// A moment, as far as it comes before or after the ends of claims.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

/// How a notification came to who hears it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// As soon as it was committed.
    AtOnce,
    /// When a transaction or a statement was over, however long that took.
    Kept,
}

/// The servers of a database that may notify, over all workers.
#[derive(Debug, Default)]
pub struct Notifiers {
    moment: AtomicU64,
    /// By their process ids.
    servers: Mutex<FxHashMap<i32, Arc<Mutex<Claim>>>>,
}

/// Who may notify on a server.
#[derive(Clone, Copy, Debug)]
struct Claim {
    /// The process id that the client was told; `None` before there was one.
    client: Option<i32>,
    /// When the server was opened.
    opened: Moment,
    /// All other clients' ended before.
    from: Moment,
    /// `None` while the client may notify.
    until: Option<Moment>,
}

/// A server's place among those that may notify; it ends with the server.
#[derive(Debug)]
pub struct Notifier {
    process_id: i32,
    all: Arc<Notifiers>,
    claim: Arc<Mutex<Claim>>,
    /// Who may notify, for a look without the lock.
    open_for: Option<i32>,
}

impl Notifiers {
    /// The moment of now: what is asked from now on is answered behind everything that claims that have ended sent.
    pub fn now(&self) -> Moment {
        Moment(self.moment.load(Ordering::SeqCst))
    }

    /// A server that has just been opened.
    pub fn register(self: &Arc<Self>, process_id: i32) -> Notifier {
        let (opened, nobody_before) = (self.advance(), Moment::default());
        let claim = Claim { client: None, opened, from: nobody_before, until: Some(nobody_before) };
        let claim = Arc::new(Mutex::new(claim));
        lock(&self.servers).insert(process_id, Arc::clone(&claim));
        Notifier { process_id, all: Arc::clone(self), claim, open_for: None }
    }

    /// The process id that a client was told who sent a notification from this process that was committed after a moment;
    /// `None` when that is not certain.
    pub fn client_of(&self, process_id: i32, after: Moment, arrival: Arrival) -> Option<i32> {
        let claim = lock(&self.servers).get(&process_id).cloned()?;
        let Claim { client, opened, from, until } = *lock(&claim);
        let is_this_process = arrival == Arrival::AtOnce || opened <= after;
        client.filter(|_| is_this_process && from <= after && until.is_none_or(|until| after < until))
    }

    /// Something has ended.
    fn advance(&self) -> Moment {
        Moment(self.moment.fetch_add(1, Ordering::SeqCst) + 1)
    }
}

impl Notifier {
    /// From now on the client with this process id may notify, and nobody else.
    pub fn claim(&mut self, client: i32) {
        if self.open_for == Some(client) {
            return;
        }
        self.end();
        self.open_for = Some(client);
        let mut claim = lock(&self.claim);
        if claim.client != Some(client) {
            claim.from = claim.until.unwrap_or_default();
        }
        (claim.client, claim.until) = (Some(client), None);
    }

    /// The client's transaction is over: until the next claim nobody notifies. Gives whether there was one.
    pub fn end(&mut self) -> bool {
        let was_open = self.open_for.take().is_some();
        if was_open {
            lock(&self.claim).until = Some(self.all.advance());
        }
        was_open
    }
}

impl Drop for Notifier {
    fn drop(&mut self) {
        let mut servers = lock(&self.all.servers);
        if servers.get(&self.process_id).is_some_and(|claim| Arc::ptr_eq(claim, &self.claim)) {
            servers.remove(&self.process_id);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_named_for_what_was_committed_while_only_it_could_notify() {
        let notifiers = Arc::new(Notifiers::default());
        let early = notifiers.now();
        let mut server = notifiers.register(7);
        let opened = notifiers.now();
        let client_of = |process_id, after| notifiers.client_of(process_id, after, Arrival::Kept);
        assert_eq!(client_of(7, opened), None);
        server.claim(70);
        assert_eq!(client_of(7, early), None, "an older process may have had the id");
        assert_eq!(notifiers.client_of(7, early, Arrival::AtOnce), Some(70));
        assert_eq!(client_of(7, opened), Some(70));
        assert!(server.end() && !server.end());
        let first_ended = notifiers.now();
        assert_eq!(client_of(7, opened), Some(70), "what comes late");
        assert_eq!(client_of(7, first_ended), None, "nobody that is known");
        server.claim(70);
        assert_eq!(client_of(7, opened), Some(70), "it was nobody's meanwhile");
        assert_eq!(client_of(7, first_ended), Some(70));
        server.end();
        server.claim(80);
        assert_eq!(client_of(7, first_ended), None, "one of two");
        assert_eq!(client_of(7, notifiers.now()), Some(80));
        assert_eq!(client_of(8, notifiers.now()), None);
    }

    #[test]
    fn a_server_that_is_gone_notifies_no_more() {
        let notifiers = Arc::new(Notifiers::default());
        let mut server = notifiers.register(7);
        server.claim(70);
        let mut next = notifiers.register(7);
        drop(server);
        next.claim(80);
        assert_eq!(notifiers.client_of(7, notifiers.now(), Arrival::AtOnce), Some(80));
        drop(next);
        assert_eq!(notifiers.client_of(7, notifiers.now(), Arrival::AtOnce), None);
        assert!(lock(&notifiers.servers).is_empty());
    }
}
