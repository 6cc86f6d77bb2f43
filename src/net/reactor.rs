//! Which sockets of this thread are ready: one epoll instance, edge-triggered, so that a socket is registered once and
//! never again asked about. It is remembered for each socket what the kernel has said and the socket has not used up.

use std::cell::{Cell, RefCell};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bitflags::bitflags;
use bytes::BytesMut;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::net::{SendFlags, Shutdown, send, shutdown};

/// Events that are taken from the kernel at one go.
const EVENTS_MAX: usize = 256;

/// The number of the bell's events; no socket gets it.
const BELL: u64 = u64::MAX;

bitflags! {
    /// What a socket may be able to do.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Ready: u8 {
        const READ = 1;
        const WRITE = 2;
        /// The peer sends no more, or the connection failed. That stays, and the kernel says it only once.
        const READ_ENDED = 4;
        /// The connection failed.
        const WRITE_ENDED = 8;
    }
}

/// Waits for the sockets of one thread.
#[derive(Debug)]
pub struct Reactor {
    epoll: OwnedFd,
    sources: RefCell<Sources>,
}

/// The registered sockets by their numbers, which are used again, and so come with a count.
#[derive(Debug, Default)]
struct Sources {
    slots: Vec<(u32, Option<Rc<Source>>)>,
    free: Vec<u32>,
}

/// A registered socket.
#[derive(Debug)]
pub struct Source {
    id: u64,
    /// Open for as long as the source is registered.
    socket: RawFd,
    ready: Cell<Ready>,
    reader: RefCell<Option<Waker>>,
    writer: RefCell<Option<Waker>>,
    /// Whether the outbox has bytes for this socket.
    posted: Cell<bool>,
    /// What the outbox had for this socket and the kernel did not take. In a box, since it is rare.
    left: RefCell<Option<Box<BytesMut>>>,
}

impl Reactor {
    /// `bell` is an eventfd that wakes the thread from outside.
    pub fn new(bell: impl AsFd) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&epoll, bell, epoll::EventData::new_u64(BELL), flags)?;
        Ok(Self { epoll, sources: RefCell::default() })
    }

    /// Registers a socket, which may be ready for anything.
    pub fn register(&self, socket: impl AsFd) -> io::Result<Rc<Source>> {
        let source = self.sources.borrow_mut().add(socket.as_fd());
        let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::RDHUP | epoll::EventFlags::ET;
        if let Err(error) = epoll::add(&self.epoll, socket, epoll::EventData::new_u64(source.id), flags) {
            self.forget(&source);
            return Err(error.into());
        }
        Ok(source)
    }

    /// Forgets a socket; nobody waits for it any more. The kernel forgets it when it is closed.
    pub fn forget(&self, source: &Source) {
        let removed = self.sources.borrow_mut().remove(source);
        // A waker may be the last of a task that has sockets itself: it goes when nothing is borrowed.
        drop(removed);
        let _nobody = (source.reader.take(), source.writer.take());
    }

    /// Tells the kernel to forget a socket that stays open.
    pub fn release(&self, socket: impl AsFd) -> io::Result<()> {
        Ok(epoll::delete(&self.epoll, socket)?)
    }

    /// Waits for events, for at most so long, and wakes the tasks that waited for them. Gives whether the bell rang.
    pub fn wait(&self, limit: Option<Duration>) -> io::Result<bool> {
        let mut events = [const { MaybeUninit::<epoll::Event>::uninit() }; EVENTS_MAX];
        let limit = limit.and_then(|limit| Timespec::try_from(limit).ok());
        let (events, _) = match epoll::wait(&self.epoll, &mut events, limit.as_ref()) {
            Ok(happened) => happened,
            Err(Errno::INTR) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        let mut rang = false;
        for event in events {
            let id = event.data.u64();
            rang |= id == BELL;
            // Waking runs nothing, so that the sources stay as they are.
            if let Some(source) = self.sources.borrow().get(id) {
                source.happened(event.flags);
            }
        }
        Ok(rang)
    }
}

impl Sources {
    fn add(&mut self, socket: BorrowedFd<'_>) -> Rc<Source> {
        let at = self.free.pop().unwrap_or(self.slots.len() as u32);
        if at as usize == self.slots.len() {
            self.slots.push((0, None));
        }
        let (count, slot) = &mut self.slots[at as usize];
        let source = Rc::new(Source {
            id: u64::from(*count) << 32 | u64::from(at),
            socket: socket.as_raw_fd(),
            ready: Cell::new(Ready::READ | Ready::WRITE),
            reader: RefCell::default(),
            writer: RefCell::default(),
            posted: Cell::new(false),
            left: RefCell::default(),
        });
        *slot = Some(Rc::clone(&source));
        source
    }

    fn remove(&mut self, source: &Source) -> Option<Rc<Source>> {
        let at = source.id as u32;
        let (count, slot) = &mut self.slots[at as usize];
        // With fewer bits than the bell's number has.
        *count = (*count + 1) & (u32::MAX >> 1);
        self.free.push(at);
        slot.take()
    }

    fn get(&self, id: u64) -> Option<&Source> {
        let (_, source) = self.slots.get(id as u32 as usize)?;
        source.as_deref().filter(|source| source.id == id)
    }
}

impl Source {
    fn happened(&self, flags: epoll::EventFlags) {
        use epoll::EventFlags as Flags;
        let failed = flags.intersects(Flags::HUP | Flags::ERR);
        let ended = failed || flags.contains(Flags::RDHUP);
        let mut ready = self.ready.get();
        ready.set(Ready::READ_ENDED, ready.contains(Ready::READ_ENDED) || ended);
        ready.set(Ready::WRITE_ENDED, ready.contains(Ready::WRITE_ENDED) || failed);
        if ended || flags.contains(Flags::IN) {
            ready |= Ready::READ;
            wake(&self.reader);
        }
        if failed || flags.contains(Flags::OUT) {
            ready |= Ready::WRITE;
            wake(&self.writer);
        }
        self.ready.set(ready);
        if ready.contains(Ready::WRITE) && self.left_len() > 0 {
            self.send_left();
        }
    }

    /// Does `attempt` if the socket may be ready for it. When it would block, the socket is not ready any more.
    pub fn attempt<T>(&self, what: Ready, attempt: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        if !self.ready.get().contains(what) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let result = attempt();
        if result.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
            self.used_up(what);
        }
        result
    }

    /// The socket has nothing more until the kernel says so.
    pub fn used_up(&self, what: Ready) {
        let ready = self.ready.get();
        let ended = if what == Ready::READ { Ready::READ_ENDED } else { Ready::WRITE_ENDED };
        if !ready.contains(ended) {
            self.ready.set(ready - what);
        }
    }

    /// Ready when the socket may be; else the task is woken once it is.
    pub fn poll_ready(&self, cx: &Context<'_>, what: Ready) -> Poll<()> {
        if self.ready.get().contains(what) {
            return Poll::Ready(());
        }
        let waiting = if what == Ready::READ { &self.reader } else { &self.writer };
        let mut waiting = waiting.borrow_mut();
        let before = match &*waiting {
            Some(waker) if waker.will_wake(cx.waker()) => None,
            _ => waiting.replace(cx.waker().clone()),
        };
        drop(waiting);
        drop(before);
        Poll::Pending
    }
}

/// What was sent through the outbox.
impl Source {
    pub fn socket(&self) -> RawFd {
        self.socket
    }

    /// Whether bytes may be posted: the socket may take them, and none wait that would have to go first.
    pub fn takes_posts(&self) -> bool {
        self.ready.get().contains(Ready::WRITE) && self.left.borrow().is_none()
    }

    pub fn is_posted(&self) -> bool {
        self.posted.get()
    }

    pub fn set_posted(&self, posted: bool) {
        self.posted.set(posted);
    }

    /// Sends `bytes` as far as the socket takes them; the rest is kept, and goes when the kernel says that it may. On a
    /// connection that has failed they are lost: it is shut down, of which whoever reads from it hears.
    pub fn send_or_keep(&self, mut bytes: &[u8]) {
        // SAFETY: the socket is open while the source is registered, and only then is anything sent.
        let socket = unsafe { BorrowedFd::borrow_raw(self.socket) };
        while !bytes.is_empty() {
            match self.attempt(Ready::WRITE, || Ok(send(socket, bytes, SendFlags::NOSIGNAL)?)) {
                Ok(sent @ 1..) => bytes = &bytes[sent..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return drop(self.left.replace(Some(Box::new(BytesMut::from(bytes)))));
                }
                Ok(0) | Err(_) => return self.fail(),
            }
        }
    }

    /// Ends a connection to which bytes could not be sent.
    pub fn fail(&self) {
        // SAFETY: as above.
        let socket = unsafe { BorrowedFd::borrow_raw(self.socket) };
        // It fails when the connection is gone already, which the kernel then tells as well.
        let _gone = shutdown(socket, Shutdown::Both);
    }

    fn send_left(&self) {
        let left = self.left.take();
        left.into_iter().for_each(|left| self.send_or_keep(&left));
    }

    /// How many bytes the kernel has not taken.
    pub fn left_len(&self) -> usize {
        self.left.borrow().as_ref().map_or(0, |left| left.len())
    }

    /// The bytes that the kernel has not taken; whoever asks sends them.
    pub fn take_left(&self) -> Option<BytesMut> {
        self.left.take().map(|left| *left)
    }
}

/// The waker stays, mostly for the same task. Waking by reference runs nothing: it only marks the task.
fn wake(waiting: &RefCell<Option<Waker>>) {
    if let Some(waker) = &*waiting.borrow() {
        waker.wake_by_ref();
    }
}
