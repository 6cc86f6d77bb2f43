//! What others may know of a client, and do to it: the console looks, a cancel request aims.
//!
//! A handle lives on its client's worker and is shared by tasks of that worker only.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::Notify;

use crate::pool::server;
use crate::sql::facts::PinReason;
use crate::wire::backend::CancelKey;

/// The client's part that others see.
#[derive(Debug)]
pub struct Handle {
    pub id: u64,
    pub key: CancelKey,
    pub user: Arc<str>,
    pub database: Arc<str>,
    pub application_name: String,
    pub address: std::net::SocketAddr,
    pub local_address: std::net::SocketAddr,
    pub connected: SystemTime,
    pub state: Cell<State>,
    pub pinned: Cell<Option<PinReason>>,
    pub prepared: Cell<usize>,
    /// The servers that work for the client now, where a cancel goes.
    targets: RefCell<Vec<Target>>,
    /// Cancels that are on their way. A server is not given to anybody else meanwhile.
    cancels: Cell<usize>,
    cancels_done: Notify,
    /// A cancel came while the client waited for a server.
    canceled_waiting: Notify,
    /// The operator or a shutdown ends the client.
    pub stop: Notify,
}

/// What a client is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Idle,
    Waiting(Instant),
    Active(Instant),
}

/// A server that works for a client.
#[derive(Clone, Debug)]
struct Target {
    address: Arc<str>,
    key: CancelKey,
}

/// How long a cancel request to a server may take.
const CANCEL_LIMIT: Duration = Duration::from_secs(5);

impl Handle {
    /// A handle for a client that has just logged in.
    #[allow(clippy::too_many_arguments, reason = "plain data, given once")]
    pub fn new(
        id: u64,
        key: CancelKey,
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
            targets: RefCell::default(),
            cancels: Cell::new(0),
            cancels_done: Notify::new(),
            canceled_waiting: Notify::new(),
            stop: Notify::new(),
        }
    }

    /// A server begins to work for the client.
    pub fn aim(&self, address: &Arc<str>, key: CancelKey) {
        self.targets.borrow_mut().push(Target { address: Arc::clone(address), key });
    }

    /// A server no longer works for the client.
    pub fn unaim(&self, key: CancelKey) {
        self.targets.borrow_mut().retain(|target| target.key != key);
    }

    /// The process ids of the servers that work for the client.
    pub fn server_pids(&self) -> Vec<i32> {
        self.targets.borrow().iter().map(|target| target.key.process_id).collect()
    }

    pub fn has_cancels(&self) -> bool {
        self.cancels.get() > 0
    }

    /// Waits until no cancel is on its way, so that none can hit what the server does next.
    pub async fn cancels_done(&self) {
        while self.has_cancels() {
            self.cancels_done.notified().await;
        }
    }

    /// Waits until a cancel comes while no server works for the client.
    pub async fn canceled_waiting(&self) {
        self.canceled_waiting.notified().await;
    }

    /// Cancels what the client runs now, on every server; does nothing when it runs nothing.
    pub async fn cancel(self: Rc<Self>) {
        if matches!(self.state.get(), State::Waiting(_)) {
            self.canceled_waiting.notify_waiters();
            return;
        }
        if self.state.get() == State::Idle {
            return;
        }
        self.cancels.set(self.cancels.get() + 1);
        let targets = self.targets.borrow().clone();
        for target in targets {
            if let Err(error) = server::cancel(&target.address, target.key, CANCEL_LIMIT).await {
                tracing::warn!(address = &*target.address, %error, "a cancel request did not reach a server");
            }
        }
        self.cancels.set(self.cancels.get() - 1);
        self.cancels_done.notify_waiters();
    }
}
