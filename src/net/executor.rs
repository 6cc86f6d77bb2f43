//! The tasks of one thread, and what wakes them: its sockets, each other, and other threads.
//!
//! A worker runs its own executor rather than tokio's: for a transaction's two messages tokio executed as much as Weir
//! did. Whatever is not traffic (timers, the catalog, the console) still is tokio's, on the main thread's runtime. An
//! executor's thread is inside that runtime's context, so that `tokio::time` and the like work here, too.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_task::{Runnable, Task};
use rustix::event::{EventfdFlags, eventfd};

use super::outbox;
use super::reactor::{Reactor, Source};

/// Tasks that run before the sockets are looked at again.
const TURN: usize = 64;

/// Reads that a task may do before others have their turn.
const READS: u8 = 64;

/// What other threads know of an executor.
#[derive(Debug)]
struct Outside {
    bell: OwnedFd,
    woken: Mutex<Vec<Runnable>>,
}

/// One thread's executor.
struct Executor {
    outside: Arc<Outside>,
    reactor: Reactor,
    woken: RefCell<VecDeque<Runnable>>,
    /// Tasks that let others go first: woken once the sockets have been looked at.
    yielded: RefCell<Vec<Waker>>,
    /// Reads that the task at hand may still do.
    reads: Cell<u8>,
}

thread_local! {
    static HERE: RefCell<Option<Rc<Executor>>> = const { RefCell::new(None) };
    /// The address of this thread's [`Outside`].
    static OUTSIDE: Cell<*const Outside> = const { Cell::new(std::ptr::null()) };
}

/// Runs `future` on this thread, and whatever it spawns, until it is done. Tasks that are not done by then never are:
/// they are left as they are, and what they have goes with the process.
///
/// # Errors
/// The kernel gives no epoll instance, or one that fails; or `future` panicked.
pub fn block_on<F: Future + 'static>(future: F) -> io::Result<F::Output> {
    let bell = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
    let reactor = Reactor::new(&bell)?;
    let executor = Rc::new(Executor {
        outside: Arc::new(Outside { bell, woken: Mutex::default() }),
        reactor,
        woken: RefCell::default(),
        yielded: RefCell::default(),
        reads: Cell::new(0),
    });
    let _entered = Entered::new(&executor);
    let result = Rc::new(RefCell::new(None));
    let place = Rc::clone(&result);
    let task = executor.start(async move {
        let output = future.await;
        place.replace(Some(output));
    });
    while !task.is_finished() {
        executor.run_woken();
        outbox::send();
        if !task.is_finished() {
            executor.await_events()?;
        }
    }
    result.take().ok_or_else(|| io::Error::other("what a thread runs has panicked"))
}

/// Runs `future` on this thread's executor beside what runs there.
///
/// # Panics
/// This thread runs no executor.
pub fn spawn(future: impl Future<Output = ()> + 'static) {
    let Some(executor) = HERE.with_borrow(Option::clone) else { panic!("no executor runs on this thread") };
    executor.start(future).detach();
}

/// Lets the others of this thread run, with what has arrived on their sockets by now.
pub async fn yield_now() {
    let mut waited = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut waited, true) {
            return Poll::Ready(());
        }
        HERE.with_borrow(|here| match here {
            Some(executor) => executor.yielded.borrow_mut().push(cx.waker().clone()),
            None => cx.waker().wake_by_ref(),
        });
        Poll::Pending
    })
    .await;
}

/// Counts a read of the task at hand. Pending when it has had its share: it goes on when others had theirs.
pub fn poll_read_share(cx: &Context<'_>) -> Poll<()> {
    HERE.with_borrow(|here| {
        let Some(executor) = here else { return Poll::Ready(()) };
        match executor.reads.get().checked_sub(1) {
            Some(left) => {
                executor.reads.set(left);
                Poll::Ready(())
            }
            None => {
                executor.yielded.borrow_mut().push(cx.waker().clone());
                Poll::Pending
            }
        }
    })
}

/// Whether the task at hand is, so far, the last of its turn.
pub fn is_last_of_turn() -> bool {
    HERE.with_borrow(|here| here.as_ref().is_none_or(|executor| executor.woken.borrow().is_empty()))
}

/// Registers a socket with this thread's executor.
///
/// # Errors
/// The kernel's limits. This thread runs no executor.
pub fn register(socket: impl AsFd) -> io::Result<Rc<Source>> {
    HERE.with_borrow(|here| match here {
        Some(executor) => executor.reactor.register(socket),
        None => Err(io::Error::other("no executor runs on this thread")),
    })
}

/// Forgets a socket of this thread's executor, which is closed now or was [`release`]d.
pub fn forget(source: &Source) {
    // On a thread that ends there may be none any more.
    let here = HERE.try_with(|here| here.borrow().clone()).ok().flatten();
    if let Some(executor) = here {
        executor.reactor.forget(source);
    }
}

/// Lets go of a socket that stays open, for another thread's executor.
pub fn release(socket: impl AsFd) -> io::Result<()> {
    HERE.with_borrow(|here| here.as_ref().map_or(Ok(()), |executor| executor.reactor.release(socket)))
}

impl Outside {
    /// Makes a task run, on the executor's own thread.
    fn schedule(&self, runnable: Runnable) {
        if std::ptr::eq(OUTSIDE.get(), self) {
            HERE.with_borrow(|here| match here {
                Some(executor) => executor.woken.borrow_mut().push_back(runnable),
                None => drop(runnable),
            });
            return;
        }
        let mut woken = self.woken.lock().unwrap_or_else(PoisonError::into_inner);
        let was_empty = woken.is_empty();
        woken.push(runnable);
        drop(woken);
        if was_empty {
            // It fails only when the bell has rung more often than a counter holds, and nobody heard it.
            let _rings_already = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
        }
    }
}

impl Executor {
    fn start(&self, future: impl Future<Output = ()> + 'static) -> Task<()> {
        let outside = Arc::clone(&self.outside);
        let (runnable, task) = async_task::spawn_local(future, move |runnable| outside.schedule(runnable));
        runnable.schedule();
        task
    }

    /// Runs the tasks that were woken, some of them when they are many.
    fn run_woken(&self) {
        for _ in 0..TURN {
            let Some(runnable) = self.woken.borrow_mut().pop_front() else { return };
            self.reads.set(READS);
            // A task that panics is gone, and the others go on.
            let _panicked = catch_unwind(AssertUnwindSafe(|| runnable.run()));
        }
    }

    /// Looks for what has happened; waits for it if nothing is to be done now.
    fn await_events(&self) -> io::Result<()> {
        let busy = !self.woken.borrow().is_empty() || !self.yielded.borrow().is_empty();
        if self.reactor.wait(busy.then_some(Duration::ZERO))? {
            let others = std::mem::take(&mut *self.outside.woken.lock().unwrap_or_else(PoisonError::into_inner));
            self.woken.borrow_mut().extend(others);
        }
        if !self.yielded.borrow().is_empty() {
            self.yielded.take().into_iter().for_each(Waker::wake);
        }
        Ok(())
    }
}

/// This thread runs an executor.
struct Entered;

impl Entered {
    fn new(executor: &Rc<Executor>) -> Self {
        let before = HERE.replace(Some(Rc::clone(executor)));
        assert!(before.is_none(), "one executor runs on a thread");
        OUTSIDE.set(Arc::as_ptr(&executor.outside));
        Self
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        OUTSIDE.set(std::ptr::null());
        // Tasks that are left never run again: what would wake them leads nowhere.
        if let Some(executor) = HERE.take() {
            std::mem::forget(executor);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::thread;

    use tokio::sync::{mpsc, oneshot};

    use super::*;
    use crate::net::Conn;

    /// Both ends of a connection.
    fn pair() -> [TcpStream; 2] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        [near, listener.accept().unwrap().0]
    }

    async fn receive(conn: &mut Conn, len: usize) -> Vec<u8> {
        while conn.input.len() < len {
            assert_ne!(conn.fill().await.unwrap(), 0, "the end after {} bytes", conn.input.len());
        }
        conn.take_input(len).to_vec()
    }

    async fn echo(socket: TcpStream) {
        let mut conn = Conn::from_std(socket).unwrap();
        while conn.fill().await.is_ok_and(|len| len > 0) {
            let bytes = conn.take_input(conn.input.len());
            conn.send(&bytes).await.unwrap();
        }
    }

    #[test]
    fn many_tasks_talk_over_sockets() {
        let sums = block_on(async {
            let (sender, mut sums) = mpsc::unbounded_channel();
            for _ in 0..100 {
                let [near, far] = pair();
                let sender = sender.clone();
                spawn(echo(far));
                spawn(async move {
                    let mut conn = Conn::from_std(near).unwrap();
                    let mut sum = 0;
                    for n in 0..100u32 {
                        conn.send(&n.to_be_bytes()).await.unwrap();
                        sum += u32::from_be_bytes(receive(&mut conn, 4).await.try_into().unwrap());
                    }
                    sender.send(sum).unwrap();
                });
            }
            drop(sender);
            let mut all = Vec::new();
            while let Some(sum) = sums.recv().await {
                all.push(sum);
            }
            all
        });
        assert_eq!(sums.unwrap(), [4950; 100]);
    }

    /// More than both sockets' buffers, so that each side waits until it may write, too.
    #[test]
    fn what_a_socket_does_not_take_is_sent_later() {
        const MANY: usize = 30_000_000;
        let bytes: Vec<u8> = (0..MANY).map(|at| (at % 251) as u8).collect();
        let wanted = bytes.clone();
        let got = block_on(async move {
            let [near, far] = pair();
            spawn(async move {
                let mut conn = Conn::from_std(near).unwrap();
                conn.send(&bytes).await.unwrap();
            });
            let mut conn = Conn::from_std(far).unwrap();
            yield_now().await;
            receive(&mut conn, MANY).await
        });
        assert!(got.unwrap() == wanted);
    }

    #[test]
    fn other_threads_wake_tasks() {
        let (sender, mut receiver) = mpsc::unbounded_channel();
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let sender = sender.clone();
                thread::spawn(move || {
                    for _ in 0..1000 {
                        let (asked, answered) = oneshot::channel();
                        sender.send(asked).unwrap();
                        answered.blocking_recv().unwrap();
                    }
                })
            })
            .collect();
        drop(sender);
        let count = block_on(async move {
            let mut count = 0;
            while let Some(asked) = receiver.recv().await {
                let _gone = asked.send(());
                count += 1;
            }
            count
        });
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(count.unwrap(), 4000);
    }

    #[test]
    fn a_task_that_panics_is_the_only_one_that_ends() {
        let answer = block_on(async {
            let (sender, receiver) = oneshot::channel();
            spawn(async { panic!("a task's own fault") });
            spawn(async move { sender.send(7).unwrap() });
            receiver.await.unwrap()
        });
        assert_eq!(answer.unwrap(), 7);
        assert!(block_on(async { panic!("the first task's fault") }).is_err());
    }

    /// A task whose peer always has more does not keep the thread.
    #[test]
    fn who_always_can_read_lets_others_run() {
        block_on(async {
            let [near, far] = pair();
            let stop = Rc::new(Cell::new(false));
            let stopped = Rc::clone(&stop);
            let feeder = thread::spawn(move || {
                use std::io::Write;
                let mut near = near;
                while near.write_all(&[0; 65536]).is_ok() {}
            });
            spawn(async move {
                let mut conn = Conn::from_std(far).unwrap();
                while !stopped.get() {
                    conn.fill().await.unwrap();
                    conn.input.clear();
                }
            });
            for _ in 0..100 {
                yield_now().await;
            }
            stop.set(true);
            while !feeder.is_finished() {
                yield_now().await;
            }
        })
        .unwrap();
    }

    #[test]
    fn a_socket_moves_to_another_thread() {
        let [near, far] = pair();
        let (sender, receiver) = oneshot::channel();
        let other = thread::spawn(move || {
            block_on(async move {
                let far: TcpStream = receiver.await.unwrap();
                echo(far).await;
            })
        });
        let answer = block_on(async move {
            let mut conn = Conn::from_std(near).unwrap();
            conn.send(b"one").await.unwrap();
            let mut far = Conn::from_std(far).unwrap();
            assert_eq!(receive(&mut far, 3).await, b"one");
            sender.send(far.into_std().unwrap()).unwrap();
            conn.send(b"two").await.unwrap();
            receive(&mut conn, 3).await
        });
        assert_eq!(answer.unwrap(), b"two");
        other.join().unwrap().unwrap();
    }

    /// Sees to it that the task at hand is not the last of its turn, so that it posts what it sends.
    fn not_the_last() {
        spawn(async {});
        assert!(!is_last_of_turn());
    }

    /// Writes numbered messages to two sockets in each turn, until each has more than it takes, and then does nothing more:
    /// what the kernel did not take of them is sent when there is room. Gives whether the messages arrived.
    fn fills_two_sockets() -> bool {
        const MESSAGE: usize = 4000;
        let message = |number: u32| [number.to_be_bytes(); MESSAGE / 4].concat();
        block_on(async move {
            let ends = [pair(), pair()].map(|ends| ends.map(|end| Conn::from_std(end).unwrap()));
            let mut cx = Context::from_waker(Waker::noop());
            let mut conns = ends.map(|[near, far]| (near, far, 0));
            while conns.iter().any(|(near, ..)| near.unsent() == 0) {
                not_the_last();
                for (near, _, sent) in conns.iter_mut().filter(|(near, ..)| near.unsent() == 0) {
                    near.poll_send(&mut cx, &message(*sent)).unwrap();
                    *sent += 1;
                }
                yield_now().await;
            }
            let mut right = true;
            for (near, far, sent) in &mut conns {
                for number in 0..*sent {
                    right &= receive(far, MESSAGE).await == message(number);
                }
                right &= near.unsent() == 0;
            }
            right
        })
        .unwrap()
    }

    #[test]
    fn what_was_posted_and_not_taken_is_sent_later() {
        assert!(fills_two_sockets());
        let without_ring = thread::spawn(|| {
            outbox::disable();
            // Nothing is posted then: who sends has to see to the rest.
            block_on(async {
                let [near, far] = pair();
                spawn(echo(far));
                let mut conn = Conn::from_std(near).unwrap();
                conn.send(b"one by one").await.unwrap();
                assert!(conn.is_all_sent(), "without a ring a message is sent at once");
                receive(&mut conn, 10).await
            })
        });
        assert_eq!(without_ring.join().unwrap().unwrap(), b"one by one");
    }

    #[test]
    fn messages_of_one_turn_arrive_in_order_and_before_the_end() {
        let got = block_on(async {
            let ends = [pair(), pair()].map(|ends| ends.map(|end| Conn::from_std(end).unwrap()));
            let [[mut near, mut far], [mut other_near, mut other_far]] = ends;
            not_the_last();
            for number in 0..100u8 {
                near.send(&[number]).await.unwrap();
                other_near.send(&[number, number]).await.unwrap();
            }
            near.send(&vec![100; 100_000]).await.unwrap();
            drop((near, other_near));
            let got = [receive(&mut far, 100_100).await, receive(&mut other_far, 200).await];
            assert_eq!((far.fill().await.unwrap(), other_far.fill().await.unwrap()), (0, 0));
            got
        });
        let [one, other] = got.unwrap();
        assert!(one.iter().copied().eq((0..100).chain([100; 100_000])));
        assert!(other.iter().copied().eq((0..100).flat_map(|number| [number, number])));
    }

    #[test]
    fn a_peer_that_is_gone_costs_the_others_nothing() {
        let got = block_on(async {
            let [[gone, far], [near, other]] = [pair(), pair()];
            let [mut to_gone, mut near, mut other] = [far, near, other].map(|end| Conn::from_std(end).unwrap());
            // With bytes that it has not read the kernel resets the connection.
            not_the_last();
            to_gone.send(b"never read").await.unwrap();
            near.send(b"one").await.unwrap();
            yield_now().await;
            drop(gone);
            for _ in 0..3 {
                not_the_last();
                let _reset = to_gone.send(b"lost").await;
                near.send(b"more").await.unwrap();
                yield_now().await;
            }
            let end = to_gone.fill().await;
            assert!(!matches!(end, Ok(1..)), "{end:?}");
            receive(&mut other, 15).await
        });
        assert_eq!(got.unwrap(), b"onemoremoremore");
    }

    /// The kernel tells of the last bytes and of the end at once.
    #[test]
    fn the_end_is_seen_behind_the_last_bytes() {
        let ends = block_on(async {
            let [near, far] = pair();
            let mut conn = Conn::from_std(far).unwrap();
            spawn(async move {
                use std::io::Write;
                let mut near = near;
                near.write_all(b"last").unwrap();
            });
            (conn.fill().await.unwrap(), conn.fill().await.unwrap())
        });
        assert_eq!(ends.unwrap(), (4, 0));
    }

    #[test]
    fn what_is_left_at_the_end_harms_nobody() {
        let (sender, receiver) = oneshot::channel::<()>();
        block_on(async move {
            let [near, _far] = pair();
            spawn(async move {
                let _conn = Conn::from_std(near).unwrap();
                let _sender_gone = receiver.await;
                panic!("nobody runs this any more");
            });
            yield_now().await;
        })
        .unwrap();
        sender.send(()).unwrap();
        assert_eq!(block_on(async { 1 }).unwrap(), 1, "the next one on this thread");
    }
}
