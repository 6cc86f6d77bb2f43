//! What the tasks of a turn send, given to the kernel in one call.
//!
//! A send wakes the peer, and whoever is woken on the same core runs as soon as the sender is back from the kernel. A
//! thread that sends one by one so loses the core for each message. With io_uring one call sends them all: with 64 clients
//! on two cores that is a third of a transaction's CPU time (docs/performance.md). Sends here never wait in the kernel:
//! when the call is back each has been done as far as the socket takes it, and nothing of them outlives the turn.
//!
//! What would be alone is sent at once, and so is everything where the kernel has no io_uring, or forbids it as containers
//! often do.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Once;

use io_uring::{IoUring, opcode, types};

use super::executor;
use super::reactor::Source;

/// Sends of one call.
const POSTED_MAX: usize = 64;

/// Bytes of one message: larger ones are sent by themselves, without a copy.
const MESSAGE_MAX: usize = 8 * 1024;

/// Bytes that are copied before they are sent.
const BYTES_MAX: usize = 256 * 1024;

/// This thread's messages of this turn.
struct Outbox {
    posted: Vec<Posted>,
    /// The messages' bytes, one behind the other.
    bytes: Vec<u8>,
    /// What there is once it is known: `None` where the kernel has none for us, or it is not wanted.
    ring: Option<IoUring>,
    is_known: bool,
}

/// A message to one socket. It begins where the one before it ends.
struct Posted {
    source: Rc<Source>,
    end: usize,
    /// What the kernel said: how many bytes it took, or an error.
    result: Option<i32>,
}

thread_local! {
    static OUTBOX: RefCell<Outbox> =
        const { RefCell::new(Outbox { posted: Vec::new(), bytes: Vec::new(), ring: None, is_known: false }) };
}

/// From now on this thread sends each message by itself.
pub fn disable() {
    OUTBOX.with_borrow_mut(|outbox| (outbox.ring, outbox.is_known) = (None, true));
}

/// Has `bytes` sent to a socket at the end of the turn. False when they have to be sent otherwise: behind those that were
/// posted, see [`send_if_posted`].
pub fn post(source: &Rc<Source>, bytes: &[u8]) -> bool {
    bytes.len() <= MESSAGE_MAX && OUTBOX.with_borrow_mut(|outbox| outbox.post(source, bytes))
}

/// Sends what was posted. Called at the end of each turn.
pub fn send() {
    OUTBOX.with_borrow_mut(Outbox::send);
}

/// Sends what was posted if something of it is for this socket: before its connection is closed, or sends otherwise.
pub fn send_if_posted(source: &Source) {
    if source.is_posted() {
        // On a thread that ends there may be none any more.
        let _ended = OUTBOX.try_with(|outbox| outbox.borrow_mut().send());
    }
}

impl Outbox {
    fn post(&mut self, source: &Rc<Source>, bytes: &[u8]) -> bool {
        // With nothing to go along with, the peer is better woken at once, while this thread does the rest.
        let would_be_alone = self.posted.is_empty() && executor::is_last_of_turn();
        if would_be_alone || !self.has_ring() || !source.takes_posts() {
            return false;
        }
        // Two sends to one socket in one call: when the first is cut short the second would come in the middle.
        let follows = self.posted.last().is_some_and(|last| Rc::ptr_eq(&last.source, source));
        let is_full = self.posted.len() == POSTED_MAX || self.bytes.len() + bytes.len() > BYTES_MAX;
        if is_full || source.is_posted() && !follows {
            self.send();
            if !source.takes_posts() {
                return false;
            }
        }
        self.bytes.extend_from_slice(bytes);
        let end = self.bytes.len();
        match self.posted.last_mut().filter(|_| source.is_posted()) {
            Some(last) => last.end = end,
            None => {
                source.set_posted(true);
                self.posted.push(Posted { source: Rc::clone(source), end, result: None });
            }
        }
        true
    }

    fn has_ring(&mut self) -> bool {
        if !self.is_known {
            (self.ring, self.is_known) = (open_ring(), true);
        }
        self.ring.is_some()
    }

    fn send(&mut self) {
        if self.posted.len() > 1 {
            self.submit();
        }
        let mut start = 0;
        for Posted { source, end, result } in self.posted.drain(..) {
            let bytes = &self.bytes[start..end];
            start = end;
            source.set_posted(false);
            match result {
                Some(sent) if sent >= 0 => source.send_or_keep(&bytes[sent as usize..]),
                Some(error) if is_no_failure(error) => source.send_or_keep(bytes),
                Some(_) => source.fail(),
                None => source.send_or_keep(bytes),
            }
        }
        self.bytes.clear();
    }

    /// Gives all messages to the kernel and takes its results. Where a result is missing, nothing was sent.
    fn submit(&mut self) {
        let Some(ring) = &mut self.ring else { return };
        let mut start = 0;
        let mut queue = ring.submission();
        for (number, posted) in self.posted.iter().enumerate() {
            let bytes = &self.bytes[start..posted.end];
            start = posted.end;
            let send = opcode::Send::new(types::Fd(posted.source.socket()), bytes.as_ptr(), bytes.len() as u32)
                .flags(libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL)
                .build()
                .user_data(number as u64);
            // SAFETY: the bytes stay where they are until the results are there, at the end of this function; the socket
            // is open, for what is posted is sent before it is closed. The queue has room for POSTED_MAX.
            let pushed = unsafe { queue.push(&send) };
            debug_assert!(pushed.is_ok(), "the ring is as large as the outbox");
        }
        drop(queue);
        let submitted = ring.submit_and_wait(self.posted.len());
        // What was taken and has no result may have been sent or not: such a connection is not to be trusted.
        let taken = submitted.as_ref().copied().unwrap_or(0);
        self.posted.iter_mut().take(taken).for_each(|posted| posted.result = Some(-libc::EIO));
        for done in ring.completion() {
            if let Some(posted) = self.posted.get_mut(done.user_data() as usize) {
                posted.result = Some(done.result());
            }
        }
        if taken < self.posted.len() {
            // What the kernel has not taken stays in the ring, and must not be sent twice: the ring goes.
            tracing::warn!(?submitted, "io_uring failed; this thread sends without it from now on");
            self.ring = None;
        }
    }
}

/// A ring for this thread alone.
fn open_ring() -> Option<IoUring> {
    static TOLD: Once = Once::new();
    let ring = IoUring::builder().setup_single_issuer().setup_defer_taskrun().build(POSTED_MAX as u32);
    if let Err(error) = &ring {
        TOLD.call_once(
            || tracing::info!(%error, "no io_uring (Linux 6.1 or newer has it): messages are sent one by one"),
        );
    }
    ring.ok()
}

/// What is no failure, but has to be tried again, or later.
fn is_no_failure(result: i32) -> bool {
    let error = io::Error::from_raw_os_error(-result);
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
