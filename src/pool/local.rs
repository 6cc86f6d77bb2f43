//! One worker's part of a pool.
//!
//! A worker serves its own clients first, in the order they came. A server crosses over to another worker, which costs
//! more than a query does, only when somebody waits there, and
//! * that worker has less than its share, and this one more than its own or nobody who waits, or
//! * nobody waits here, and one of the servers here has had nothing to do for a while ([`RESTED`]), or
//! * somebody there has waited much longer than everybody here ([`UNFAIR_MAX`]).

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::server::{self, InTransit, Server};
use super::shared::{Mail, Need, Place, Shared};
use crate::net::executor;
use crate::session::parameters::Parameters;
use crate::types::{Error, Kind, Origin, Result};

/// How much longer somebody may wait on another worker before a server crosses over to it although somebody waits here.
/// Crossing over costs some microseconds, so that it must not happen for every transaction.
const UNFAIR_MAX: Duration = Duration::from_millis(20);

/// A server that was idle for this long is not needed where it is: most transactions are over sooner, and their servers
/// would be missed when the next ones begin.
const RESTED: Duration = Duration::from_millis(10);

/// What a waiting client gets.
type Answer = Result<Box<Server>>;

/// The servers of one pool that live on this worker, and the clients that wait for one.
#[derive(Debug)]
pub struct Local {
    pub shared: Arc<Shared>,
    worker: usize,
    idle: RefCell<VecDeque<Box<Server>>>,
    waiting: RefCell<VecDeque<Waiter>>,
    /// A task will look again whether another worker needs a server.
    looks_again: Cell<bool>,
    /// A task looks after the time limit of those who wait.
    queue_is_watched: Cell<bool>,
    connecting: Cell<usize>,
    /// The run-time parameters that the newest server reported when it was opened, and how often they changed.
    reported: RefCell<Parameters>,
    reports_version: Cell<u64>,
}

#[derive(Debug)]
struct Waiter {
    since: Instant,
    slot: Rc<Slot>,
}

/// Where a waiting client finds its answer.
#[derive(Debug, Default)]
struct Slot {
    answer: RefCell<Option<Answer>>,
    client: RefCell<Option<Waker>>,
    /// The client does not wait any more.
    left: Cell<bool>,
}

impl Slot {
    /// Puts an answer in, unless the client has left.
    fn fill(&self, answer: Answer) -> Result<(), Answer> {
        if self.left.get() {
            return Err(answer);
        }
        self.answer.replace(Some(answer));
        if let Some(client) = self.client.take() {
            client.wake();
        }
        Ok(())
    }

    fn poll(&self, cx: &Context<'_>) -> Poll<Answer> {
        match self.answer.take() {
            Some(answer) => Poll::Ready(answer),
            None => {
                self.client.replace(Some(cx.waker().clone()));
                Poll::Pending
            }
        }
    }
}

/// Numbers for the console.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub idle: usize,
    pub used: usize,
    pub connecting: usize,
    pub waiting: usize,
    /// How long the first in the queue has waited.
    pub longest_wait: Duration,
}

impl Local {
    pub fn new(shared: Arc<Shared>, worker: usize) -> Self {
        Self {
            shared,
            worker,
            idle: RefCell::default(),
            waiting: RefCell::default(),
            looks_again: Cell::new(false),
            queue_is_watched: Cell::new(false),
            connecting: Cell::new(0),
            reported: RefCell::default(),
            reports_version: Cell::new(0),
        }
    }

    /// Takes an idle server that fits, unless others wait for one.
    pub fn check_out_now(self: &Rc<Self>, fits: impl Fn(&Server) -> bool) -> Option<Box<Server>> {
        if self.waiting.borrow().is_empty() { self.take_idle(fits) } else { None }
    }

    /// Takes a server, opens one if there is room, or waits for one.
    /// Cancel safe: a server that was about to be given goes to the next in the queue.
    pub async fn check_out(self: &Rc<Self>) -> Answer {
        if let Some(server) = self.check_out_now(|_| true) {
            return Ok(server);
        }
        if self.waiting.borrow().is_empty()
            && let Some(place) = self.shared.reserve(self.worker)
        {
            return self.open_server(place).await;
        }
        self.wait().await
    }

    /// Takes a server back, at the time `now`. It goes to whoever waits, to another worker in need, to the idle ones, or
    /// is closed.
    pub fn check_in(self: &Rc<Self>, mut server: Box<Server>, now: Instant) {
        debug_assert!(Arc::ptr_eq(server.shared(), &self.shared), "a server came back to another pool");
        server.session.end_claim();
        server.shown.clear();
        if !server.is_reusable() || now.saturating_duration_since(server.opened) > self.shared.limits.lifetime {
            server::close(server);
            return;
        }
        server.conn.release_large_buffers();
        server.since = now;
        match self.worker_to_help(now) {
            Some(worker) => self.hand_over(server, worker),
            None => self.give(server),
        }
    }

    /// A server arrived from another worker.
    pub fn arrived(self: &Rc<Self>, server: InTransit) {
        if let Some(server) = server.arrive(self.worker) {
            self.give(server);
        }
        if !self.waiting.borrow().is_empty() {
            self.shared.ask_others(self.worker);
        }
    }

    /// Somebody waits on another worker: gives an idle server away, now or when it has rested.
    pub fn wanted_elsewhere(self: &Rc<Self>) {
        if let Some(worker) = self.worker_to_help(Instant::now()) {
            if let Some(server) = self.take_idle(|_| true) {
                self.hand_over(server, worker);
            }
        } else if !self.idle.borrow().is_empty() && !self.looks_again.replace(true) {
            let pool = Rc::clone(self);
            executor::spawn(async move {
                tokio::time::sleep(RESTED).await;
                pool.looks_again.set(false);
                if pool.shared.in_need(pool.worker, Need::Hungry).is_some() {
                    pool.wanted_elsewhere();
                }
            });
        }
    }

    /// A place is free: opens a server for the first in the queue.
    pub fn place_became_free(self: &Rc<Self>) {
        if self.waiting.borrow().is_empty() {
            return;
        }
        if let Some(place) = self.shared.reserve(self.worker) {
            let pool = Rc::clone(self);
            executor::spawn(async move {
                match pool.open_server(place).await {
                    Ok(server) => pool.give(server),
                    Err(error) => pool.refuse_first(error),
                }
            });
        }
    }

    /// Closes idle servers that have been idle or open for too long.
    pub fn sweep(self: &Rc<Self>) {
        let limits = &self.shared.limits;
        let is_old = |server: &Server| {
            server.opened.elapsed() > limits.lifetime
                || (!limits.idle_timeout.is_zero() && server.since.elapsed() > limits.idle_timeout)
                || server.conn.has_news()
        };
        let (old, kept): (VecDeque<_>, VecDeque<_>) = self.idle.take().into_iter().partition(|server| is_old(server));
        self.idle.replace(kept);
        self.say_idle();
        old.into_iter().for_each(server::close);
    }

    /// Closes all idle servers.
    pub fn close_idle(self: &Rc<Self>) {
        self.idle.take().into_iter().for_each(server::close);
        self.say_idle();
    }

    /// Changes when servers begin to report other run-time parameters: another version, another configuration.
    pub fn reports_version(&self) -> u64 {
        self.reports_version.get()
    }

    pub fn counts(&self) -> Counts {
        let idle = self.idle.borrow().len();
        let waiting = self.waiting.borrow();
        Counts {
            idle,
            used: self.open().saturating_sub(idle + self.connecting.get()),
            connecting: self.connecting.get(),
            waiting: waiting.len(),
            longest_wait: waiting.front().map_or(Duration::ZERO, |waiter| waiter.since.elapsed()),
        }
    }

    /// Lets `visit` look at each idle server.
    pub fn for_each_idle(&self, mut visit: impl FnMut(&Server)) {
        self.idle.borrow().iter().for_each(|server| visit(server));
    }

    /// An idle server that fits and is still connected: the one that was used last, or with round robin the first.
    fn take_idle(self: &Rc<Self>, fits: impl Fn(&Server) -> bool) -> Option<Box<Server>> {
        loop {
            let server = {
                let mut idle = self.idle.borrow_mut();
                let at = if self.shared.limits.round_robin {
                    idle.iter().position(|server| fits(server))
                } else {
                    idle.iter().rposition(|server| fits(server))
                };
                at.and_then(|at| idle.remove(at))
            }?;
            self.say_idle();
            // A server that sends something while idle was stopped, or tells of a changed parameter: not worth the doubt.
            if !server.conn.has_news() {
                return Some(server);
            }
            server::close(server);
        }
    }

    /// Servers on this worker: idle, in use, or being opened.
    fn open(&self) -> usize {
        self.shared.open_on(self.worker)
    }

    async fn open_server(self: &Rc<Self>, place: Place) -> Answer {
        let connecting = Connecting::new(self);
        // Boxed: it is large, rare, and would else be a part of every client's task.
        let server = Box::pin(Server::open(place)).await?;
        drop(connecting);
        if *self.reported.borrow() != *server.session.parameters() {
            self.reported.replace(server.session.parameters().clone());
            self.reports_version.set(self.reports_version.get() + 1);
        }
        Ok(server)
    }

    async fn wait(self: &Rc<Self>) -> Answer {
        let waiting = Waiting { pool: self, slot: Rc::default() };
        self.waiting.borrow_mut().push_back(Waiter { since: Instant::now(), slot: Rc::clone(&waiting.slot) });
        self.say_need();
        // A place that became free before the need was said was not told to anybody.
        self.place_became_free();
        // Those who come later are in need already; each server that comes from another worker asks for one more.
        if self.waiting.borrow().len() == 1 {
            self.shared.ask_others(self.worker);
        }
        self.watch_queue();
        let answer = poll_fn(|cx| waiting.slot.poll(cx)).await;
        waiting.slot.left.set(true);
        answer
    }

    /// Sees to it that nobody waits for longer than `query_wait_timeout`. The queue has one timer: one for each client
    /// that waits would cost more than all the rest of waiting.
    fn watch_queue(self: &Rc<Self>) {
        let limit = self.shared.limits.wait_timeout;
        if limit.is_zero() || self.queue_is_watched.replace(true) {
            return;
        }
        let pool = Rc::clone(self);
        executor::spawn(async move {
            while let Some(since) = pool.first_waits_since() {
                tokio::time::sleep_until((since + limit).into()).await;
                pool.refuse_overdue(limit);
            }
            pool.queue_is_watched.set(false);
        });
    }

    fn first_waits_since(&self) -> Option<Instant> {
        self.waiting.borrow().front().map(|waiter| waiter.since)
    }

    fn refuse_overdue(&self, limit: Duration) {
        while self.first_waits_since().is_some_and(|since| since.elapsed() >= limit) {
            self.refuse_first(self.timed_out(limit));
        }
    }

    fn timed_out(&self, limit: Duration) -> Error {
        let id = &self.shared.id;
        Error::new(Origin::Weir, Kind::TooManyConnections, "no server became free in time")
            .detail(format!(
                "All {} servers of database \"{}\" for user \"{}\" on shard {} were in use for query_wait_timeout ({} s).",
                self.shared.limits.size,
                id.database,
                id.user,
                id.shard,
                limit.as_secs_f32()
            ))
            .hint("Try again, or ask for a larger default_pool_size.")
    }

    /// Gives a server to the first who waits, else keeps it idle.
    fn give(self: &Rc<Self>, server: Box<Server>) {
        let mut answer = Ok(server);
        loop {
            let Some(waiter) = self.waiting.borrow_mut().pop_front() else { break };
            match waiter.slot.fill(answer) {
                Ok(()) => {
                    self.say_need();
                    return;
                }
                // That client gave up waiting.
                Err(unclaimed) => answer = unclaimed,
            }
        }
        self.say_need();
        if let Ok(server) = answer {
            self.idle.borrow_mut().push_back(server);
            self.say_idle();
        }
    }

    /// Tells the other workers whether servers are idle here, and looks whether one of them waits for that.
    fn say_idle(self: &Rc<Self>) {
        let idle = !self.idle.borrow().is_empty();
        if self.shared.set_idle(self.worker, idle) && self.shared.in_need(self.worker, Need::Hungry).is_some() {
            self.wanted_elsewhere();
        }
    }

    fn refuse_first(&self, error: Error) {
        if let Some(waiter) = self.waiting.borrow_mut().pop_front() {
            let _gave_up = waiter.slot.fill(Err(error));
        }
        self.say_need();
    }

    /// A worker that shall have one of this one's servers, at the time `now`.
    fn worker_to_help(&self, now: Instant) -> Option<usize> {
        // Nobody waits anywhere else: so it is for nearly every transaction.
        self.shared.in_need(self.worker, Need::Hungry)?;
        let somebody_waits = !self.waiting.borrow().is_empty();
        if somebody_waits && self.open() <= self.shared.share() {
            return self.shared.longer_in_need(self.worker, UNFAIR_MAX);
        }
        let rested = |server: &Server| now.saturating_duration_since(server.since) >= RESTED;
        let to_spare = !somebody_waits && self.idle.borrow().front().is_some_and(|server| rested(server));
        let needed = self.shared.in_need(self.worker, if to_spare { Need::Hungry } else { Need::BelowShare });
        needed.or_else(|| self.shared.longer_in_need(self.worker, UNFAIR_MAX))
    }

    fn hand_over(self: &Rc<Self>, server: Box<Server>, worker: usize) {
        if let Some(server) = server.into_transit() {
            self.shared.mail(worker, Mail::Handover(Box::new(server)));
        }
    }

    fn say_need(&self) {
        let need = match (self.waiting.borrow().is_empty(), self.open() < self.shared.share()) {
            (true, _) => Need::None,
            (false, false) => Need::Hungry,
            (false, true) => Need::BelowShare,
        };
        self.shared.set_need(self.worker, need, self.waiting.borrow().front().map(|waiter| waiter.since));
    }
}

/// Counts a server that is being opened, also when the client leaves meanwhile.
struct Connecting<'p>(&'p Local);

impl<'p> Connecting<'p> {
    fn new(pool: &'p Local) -> Self {
        pool.connecting.set(pool.connecting.get() + 1);
        Self(pool)
    }
}

impl Drop for Connecting<'_> {
    fn drop(&mut self) {
        self.0.connecting.set(self.0.connecting.get() - 1);
    }
}

/// A client in the queue. One that leaves gives back what it was given in the last moment.
struct Waiting<'p> {
    pool: &'p Rc<Local>,
    slot: Rc<Slot>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.slot.left.replace(true) {
            return;
        }
        if let Some(Ok(server)) = self.slot.answer.take() {
            self.pool.check_in(server, Instant::now());
        }
        self.pool.waiting.borrow_mut().retain(|waiter| !waiter.slot.left.get());
        self.pool.say_need();
    }
}
