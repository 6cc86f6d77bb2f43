//! What others may know of a client, and do to it: the console looks, a cancel request aims.
//!
//! A handle lives on its client's worker and is shared by tasks of that worker only.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::Notify;

use crate::net::executor;
use crate::pool::local::Local;
use crate::pool::server::{self, Server};
use crate::sql::facts::PinReason;
use crate::wire::backend::{CancelKey, ClientKey};
use crate::wire::replication::Replication;

/// The client's part that others see.
#[derive(Debug)]
pub struct Handle {
    pub id: u64,
    pub key: ClientKey,
    pub user: Arc<str>,
    pub database: Arc<str>,
    pub application_name: String,
    pub address: std::net::SocketAddr,
    pub local_address: std::net::SocketAddr,
    pub connected: SystemTime,
    pub state: Cell<State>,
    pub pinned: Cell<Option<PinReason>>,
    pub prepared: Cell<usize>,
    /// Channels that the client listens to.
    pub channels: Cell<usize>,
    /// What it streams, where it is a replication connection.
    pub replication: Cell<Option<Replication>>,
    /// The servers that work for the client now, where a cancel goes.
    servers: RefCell<Vec<Held>>,
    /// Cancels that are on their way. A server is not given to anybody else meanwhile.
    cancels: Cell<usize>,
    cancels_done: Notify,
    /// A cancel may still be on its way to a server that the client holds: the server did not say that it dealt with it.
    doubt: Cell<bool>,
    /// A cancel came while the client waited for a server.
    canceled_waiting: Word,
    /// The operator or a shutdown ends the client.
    pub stop: Word,
}

/// What a client is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Idle,
    Waiting(Instant),
    Active(Instant),
}

/// A server that a client holds.
#[derive(Clone, Debug)]
pub struct Held {
    pub pool: Rc<Local>,
    pub key: CancelKey,
    pub opened: Instant,
    pub since: Instant,
}

/// What became of the cancels that were sent to servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancels {
    Done,
    /// One of them may be dealt with at any later time.
    InDoubt,
}

/// A word to one task of this thread. Said once, it stays said, until it is taken back. Waiting for it costs next to
/// nothing, which a [`Notify`] and its list of waiters does not.
#[derive(Debug, Default)]
pub struct Word {
    said: Cell<bool>,
    listener: RefCell<Option<Waker>>,
}

impl Word {
    pub fn say(&self) {
        self.said.set(true);
        if let Some(listener) = self.listener.take() {
            listener.wake();
        }
    }

    /// Forgets that the word was said.
    pub fn take_back(&self) {
        self.said.set(false);
    }

    /// Waits until the word is said.
    pub async fn heard(&self) {
        poll_fn(|cx| self.poll_heard(cx)).await;
    }

    /// Ready when the word is said.
    pub fn poll_heard(&self, cx: &Context<'_>) -> Poll<()> {
        if self.said.get() {
            return Poll::Ready(());
        }
        let mut listener = self.listener.borrow_mut();
        if !listener.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            *listener = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

/// How long a cancel request to a server may take.
pub const CANCEL_LIMIT: Duration = Duration::from_secs(5);

impl Handle {
    /// A handle for a client that has just logged in.
    #[allow(clippy::too_many_arguments, reason = "plain data, given once")]
    pub fn new(
        id: u64,
        key: ClientKey,
        user: Arc<str>,
        database: Arc<str>,
        application_name: String,
        address: std::net::SocketAddr,
        local_address: std::net::SocketAddr,
    ) -> Self {
        Self {
            id,
            key,
            user,
            database,
            application_name,
            address,
            local_address,
            connected: SystemTime::now(),
            state: Cell::new(State::Idle),
            pinned: Cell::new(None),
            prepared: Cell::new(0),
            channels: Cell::new(0),
            replication: Cell::new(None),
            servers: RefCell::default(),
            cancels: Cell::new(0),
            cancels_done: Notify::new(),
            doubt: Cell::new(false),
            canceled_waiting: Word::default(),
            stop: Word::default(),
        }
    }

    /// The client got a server, at the time `now`.
    pub fn hold(&self, server: &Server, pool: &Rc<Local>, now: Instant) {
        let held = Held { pool: Rc::clone(pool), key: server.cancel_key, opened: server.opened, since: now };
        let mut servers = self.servers.borrow_mut();
        // Mostly there is one, and the room for it is kept.
        servers.reserve_exact(1);
        servers.push(held);
    }

    /// A server no longer works for the client.
    pub fn let_go(&self, key: CancelKey) {
        self.servers.borrow_mut().retain(|held| held.key != key);
    }

    /// The servers that work for the client.
    pub fn servers(&self) -> Vec<Held> {
        self.servers.borrow().clone()
    }

    /// Whether [`Handle::cancels_done`] has something to wait for or to say.
    pub fn has_cancels(&self) -> bool {
        self.cancels.get() > 0 || self.doubt.get()
    }

    /// Waits until no cancel is on its way, so that none can hit what the servers do next. Where that is not certain,
    /// the servers must not be used again.
    pub async fn cancels_done(&self) -> Cancels {
        while self.cancels.get() > 0 {
            self.cancels_done.notified().await;
        }
        if self.doubt.take() { Cancels::InDoubt } else { Cancels::Done }
    }

    /// Waits until a cancel comes while no server works for the client.
    pub async fn canceled_waiting(&self) {
        self.canceled_waiting.take_back();
        self.canceled_waiting.heard().await;
    }

    /// Cancels what the client runs now, on every server; does nothing when it runs nothing.
    pub async fn cancel(self: Rc<Self>) {
        if self.state.get() == State::Idle {
            // A busy worker can come to the cancel first although the query was there before it.
            let_others_read().await;
        }
        if matches!(self.state.get(), State::Waiting(_)) {
            self.canceled_waiting.say();
            return;
        }
        if self.state.get() == State::Idle {
            return;
        }
        self.cancels.set(self.cancels.get() + 1);
        for held in self.servers() {
            let address = &held.pool.shared.address;
            if let Err(error) = server::cancel(address, held.key, CANCEL_LIMIT).await {
                self.doubt.set(true);
                tracing::warn!(address = &**address, %error, "a cancel request was not dealt with by a server");
            }
        }
        self.cancels.set(self.cancels.get() - 1);
        self.cancels_done.notify_waiters();
    }
}

/// Lets the other tasks of this thread have what has arrived on their sockets.
async fn let_others_read() {
    // The first turn looks for what has arrived, the second one lets those read it who were woken by that.
    for _ in 0..2 {
        executor::yield_now().await;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::net::Conn;

    fn handle() -> Rc<Handle> {
        let key = ClientKey { process_id: 1, secret: Box::default() };
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
        Rc::new(Handle::new(1, key, "weir".into(), "app".into(), String::new(), address, address))
    }

    #[test]
    fn a_cancel_hits_a_query_that_came_before_it_and_is_not_read_yet() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        let run = async move {
            let handle = handle();
            let serving = Rc::clone(&handle);
            let mut server = Conn::from_std(server).unwrap();
            executor::spawn(async move {
                server.fill().await.unwrap();
                serving.state.set(State::Waiting(Instant::now()));
            });
            executor::yield_now().await;
            client.write_all(b"Q").unwrap();
            Rc::clone(&handle).cancel().await;
            handle.canceled_waiting.heard().await;
        };
        executor::block_on(run).unwrap();
    }
}
