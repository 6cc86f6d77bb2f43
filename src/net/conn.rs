//! A connection with its buffers.
//!
//! There is no `AsyncRead` and no `AsyncWrite` here on purpose: bytes go out through [`Conn::send`] and come in
//! through [`Conn::poll_fill`], so that nobody writes past the framing. An idle connection holds no buffers.

use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::reactor::{Ready, Source};
use super::{executor, outbox, spare};

/// Bytes asked for with one read: few at first, which is all that a point query needs, then as many as the peer's bursts
/// call for.
const READ_SIZE_MIN: usize = 4 * 1024;
const READ_SIZE_MAX: usize = 128 * 1024;

/// What an empty buffer of a connection that waits only shortly may keep.
const KEPT_MAX: usize = 16 * 1024;

/// A TCP connection, the bytes that came in and were not used yet, and the bytes that could not be sent yet.
#[derive(Debug)]
pub struct Conn {
    stream: TcpStream,
    source: Rc<Source>,
    pub input: BytesMut,
    output: BytesMut,
    read_size: usize,
}

impl Conn {
    /// Connects to `host:port`, within `limit`.
    pub async fn connect(address: &str, limit: Duration) -> io::Result<Self> {
        let stream = tokio::time::timeout(limit, tokio::net::TcpStream::connect(address))
            .await
            .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "connection timed out"))??;
        Self::from_std(stream.into_std()?)
    }

    /// Registers a connected socket with this thread's executor, and switches Nagle's algorithm off: every write here is
    /// a whole answer.
    pub fn from_std(stream: TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let source = executor::register(&stream)?;
        Ok(Self { stream, source, input: BytesMut::new(), output: BytesMut::new(), read_size: READ_SIZE_MIN })
    }

    /// The connection's socket, for handing it to another thread. Buffers must be empty.
    ///
    /// # Errors
    /// The socket has not taken everything yet, or it could not be unregistered.
    pub fn into_std(mut self) -> io::Result<TcpStream> {
        debug_assert!(self.input.is_empty() && self.output.is_empty(), "bytes would be lost");
        self.take_back();
        if !self.output.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        executor::release(&self.stream)?;
        self.stream.try_clone()
    }

    pub fn peer(&self) -> Option<SocketAddr> {
        self.stream.peer_addr().ok()
    }

    pub fn local(&self) -> Option<SocketAddr> {
        self.stream.local_addr().ok()
    }

    /// Reads once into `input`. `Ok(0)` is the end of the stream. A peer that always has more does not keep the thread from
    /// others: each read counts for the task's share.
    pub fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.source.poll_ready(cx, Ready::READ));
            ready!(executor::poll_read_share(cx));
            match self.try_fill() {
                Err(error) if is_no_error(&error) => {}
                result => return Poll::Ready(result),
            }
        }
    }

    /// Reads what is there.
    fn try_fill(&mut self) -> io::Result<usize> {
        let Self { stream, source, input, read_size, .. } = self;
        if input.capacity() == 0 {
            *input = spare::take();
        }
        input.reserve(*read_size);
        let room = input.spare_capacity_mut();
        let offered = room.len();
        let read = source.attempt(Ready::READ, || Ok(recv(&*stream, room, RecvFlags::empty())?.1))?;
        // There was less than asked for: the socket is empty now, which need not be asked again.
        if (1..offered).contains(&read) {
            source.used_up(Ready::READ);
        }
        // SAFETY: the kernel has written the first `read` bytes of the spare capacity.
        unsafe { self.input.set_len(self.input.len() + read) };
        self.adapt_read_size(read, offered);
        Ok(read)
    }

    fn adapt_read_size(&mut self, read: usize, offered: usize) {
        if read == offered {
            self.read_size = (self.read_size * 4).min(READ_SIZE_MAX);
        } else if read < self.read_size / 8 {
            self.read_size = (self.read_size / 4).max(READ_SIZE_MIN);
        }
    }

    /// Waits for bytes and reads once. `Ok(0)` is the end of the stream.
    pub async fn fill(&mut self) -> io::Result<usize> {
        poll_fn(|cx| self.poll_fill(cx)).await
    }

    /// Takes the first `len` bytes of what came in.
    pub fn take_input(&mut self, len: usize) -> BytesMut {
        // Splitting makes two owners of one buffer, which costs an allocation; mostly there is nothing to split.
        if len == self.input.len() { std::mem::take(&mut self.input) } else { self.input.split_to(len) }
    }

    /// Drops the first `len` bytes of what came in.
    pub fn use_up(&mut self, len: usize) {
        use_up(&mut self.input, len);
    }

    /// Takes a buffer from [`Conn::take_input`] back, for the next bytes.
    pub fn reuse(&mut self, mut buffer: BytesMut) {
        if self.input.capacity() == 0 && buffer.capacity() <= KEPT_MAX {
            buffer.clear();
            self.input = buffer;
        }
    }

    /// True when something waits to be read (or the peer closed), as far as this thread has heard.
    pub fn has_news(&self) -> bool {
        // After a read that took all there was, to the last byte of the buffer, more is still expected.
        let look = || Ok(recv(&self.stream, &mut [0u8], RecvFlags::PEEK)?);
        !self.source.attempt(Ready::READ, look).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Sends `bytes`, at the end of the executor's turn if they are few, or keeps what the socket does not take;
    /// [`Conn::poll_flush`] sends the rest.
    pub fn poll_send(&mut self, cx: &mut Context<'_>, mut bytes: &[u8]) -> io::Result<()> {
        if self.output.is_empty() && outbox::post(&self.source, bytes) {
            return Ok(());
        }
        self.take_back();
        if self.output.is_empty() {
            while !bytes.is_empty() {
                match self.poll_write(cx, bytes) {
                    Poll::Ready(sent) => bytes = &bytes[sent?..],
                    Poll::Pending => break,
                }
            }
        }
        self.output.extend_from_slice(bytes);
        Ok(())
    }

    /// Sends a part of `bytes`.
    fn poll_write(&self, cx: &Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let send = || Ok(send(&self.stream, bytes, SendFlags::NOSIGNAL)?);
        loop {
            ready!(self.source.poll_ready(cx, Ready::WRITE));
            match self.source.attempt(Ready::WRITE, send) {
                Err(error) if is_no_error(&error) => {}
                // A write of nothing means that the connection is gone.
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                result => return Poll::Ready(result),
            }
        }
    }

    /// Appends bytes that the next flush sends.
    pub fn queue(&mut self) -> &mut BytesMut {
        &mut self.output
    }

    /// Bytes that wait to be sent, longer than for the executor's turn.
    pub fn unsent(&self) -> usize {
        self.output.len() + self.source.left_len()
    }

    /// Whether the kernel has everything.
    pub fn is_all_sent(&self) -> bool {
        self.unsent() == 0 && !self.source.is_posted()
    }

    /// Takes back what was posted and not sent: the kernel has the rest.
    fn take_back(&mut self) {
        outbox::send_if_posted(&self.source);
        if let Some(mut left) = self.source.take_left() {
            left.extend_from_slice(&self.output);
            self.output = left;
        }
    }

    /// Sends what waits, at the end of the executor's turn if it is little. Ready when nothing waits any longer than
    /// that.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.unsent() > 0 {
            if !outbox::post(&self.source, &self.output) {
                return self.poll_flush_now(cx);
            }
            self.output.clear();
        }
        release_large(&mut self.output);
        Poll::Ready(Ok(()))
    }

    /// Sends what waits. Ready when the kernel has everything.
    fn poll_flush_now(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.take_back();
        while !self.output.is_empty() {
            let sent = ready!(self.poll_write(cx, &self.output))?;
            use_up(&mut self.output, sent);
        }
        release_large(&mut self.output);
        Poll::Ready(Ok(()))
    }

    /// Sends everything that waits, at the end of the executor's turn if it is little.
    pub async fn flush(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_flush(cx)).await
    }

    /// Sends everything that waits, and returns when the kernel has it: for last words.
    pub async fn flush_now(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_flush_now(cx)).await
    }

    /// Sends what waits and `bytes` behind it.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.output.extend_from_slice(bytes);
        self.flush().await
    }

    /// Gives buffers back that hold nothing. To be called before a connection waits for long.
    pub fn release_buffers(&mut self) {
        for buffer in [&mut self.input, &mut self.output] {
            if buffer.is_empty() && buffer.capacity() > 0 {
                spare::give(std::mem::take(buffer));
            }
        }
    }

    /// Gives large buffers back that hold nothing. To be called before a connection waits.
    pub fn release_large_buffers(&mut self) {
        release_large(&mut self.input);
        release_large(&mut self.output);
    }
}

fn release_large(buffer: &mut BytesMut) {
    if buffer.is_empty() && buffer.capacity() > KEPT_MAX {
        *buffer = BytesMut::new();
    }
}

/// Drops the first `len` bytes. A buffer that is empty then begins at its beginning again, which advancing would not do.
fn use_up(buffer: &mut BytesMut, len: usize) {
    if len == buffer.len() { buffer.clear() } else { buffer.advance(len) }
}

/// What is no failure, but has to be tried again.
fn is_no_error(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

impl Drop for Conn {
    fn drop(&mut self) {
        outbox::send_if_posted(&self.source);
        executor::forget(&self.source);
    }
}
