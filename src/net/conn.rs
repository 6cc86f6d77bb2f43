//! A connection with its buffers.
//!
//! There is no `AsyncRead` and no `AsyncWrite` here on purpose: bytes go out through [`Conn::send`] and come in
//! through [`Conn::poll_fill`], so that nobody writes past the framing. An idle connection holds no buffers.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Bytes asked for with one read.
const READ_SIZE: usize = 16 * 1024;
/// After a read that filled its buffer the next one asks for this much.
const READ_SIZE_LARGE: usize = 128 * 1024;

/// A TCP connection, the bytes that came in and were not used yet, and the bytes that could not be sent yet.
#[derive(Debug)]
pub struct Conn {
    stream: TcpStream,
    pub input: BytesMut,
    output: BytesMut,
    read_size: usize,
}

impl Conn {
    /// Wraps a connected stream and switches Nagle's algorithm off: every write here is a whole answer.
    pub fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self { stream, input: BytesMut::new(), output: BytesMut::new(), read_size: READ_SIZE })
    }

    /// Connects to `host:port`, within `limit`.
    pub async fn connect(address: &str, limit: Duration) -> io::Result<Self> {
        let stream = tokio::time::timeout(limit, TcpStream::connect(address))
            .await
            .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "connection timed out"))??;
        Self::new(stream)
    }

    /// The connection's socket, for handing it to another runtime. Buffers must be empty.
    pub fn into_std(self) -> io::Result<std::net::TcpStream> {
        debug_assert!(self.input.is_empty() && self.output.is_empty(), "bytes would be lost");
        self.stream.into_std()
    }

    /// Registers a socket with this thread's runtime.
    pub fn from_std(stream: std::net::TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Self::new(TcpStream::from_std(stream)?)
    }

    pub fn peer(&self) -> Option<SocketAddr> {
        self.stream.peer_addr().ok()
    }

    pub fn local(&self) -> Option<SocketAddr> {
        self.stream.local_addr().ok()
    }

    /// Reads once into `input`. `Ok(0)` is the end of the stream.
    pub fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        ready!(self.stream.poll_read_ready(cx))?;
        self.input.reserve(self.read_size);
        let spare = self.input.spare_capacity_mut();
        let offered = spare.len();
        let mut buf = ReadBuf::uninit(spare);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buf))?;
        let read = buf.filled().len();
        // SAFETY: `ReadBuf` guarantees that its filled part, the first `read` bytes of the spare capacity, is initialised.
        unsafe { self.input.set_len(self.input.len() + read) };
        self.read_size = if read == offered { READ_SIZE_LARGE } else { READ_SIZE };
        Poll::Ready(Ok(read))
    }

    /// Waits for bytes and reads once. `Ok(0)` is the end of the stream.
    pub async fn fill(&mut self) -> io::Result<usize> {
        poll_fn(|cx| self.poll_fill(cx)).await
    }

    /// True when something waits to be read (or the peer closed), as far as this runtime has heard.
    pub fn has_news(&self) -> bool {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        self.stream.poll_read_ready(&mut cx).is_ready()
    }

    /// Sends `bytes`, or keeps what the socket does not take now; [`Conn::poll_flush`] sends the rest.
    pub fn poll_send(&mut self, cx: &mut Context<'_>, mut bytes: &[u8]) -> io::Result<()> {
        if self.output.is_empty() {
            while !bytes.is_empty() {
                match Pin::new(&mut self.stream).poll_write(cx, bytes) {
                    Poll::Ready(sent) => bytes = &bytes[nonzero(sent?)?..],
                    Poll::Pending => break,
                }
            }
        }
        self.output.extend_from_slice(bytes);
        Ok(())
    }

    /// Appends bytes that the next flush sends.
    pub fn queue(&mut self) -> &mut BytesMut {
        &mut self.output
    }

    /// Bytes that wait to be sent.
    pub fn unsent(&self) -> usize {
        self.output.len()
    }

    /// Sends what waits. Ready when nothing waits any more.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.output.is_empty() {
            let sent = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.output))?;
            self.output.advance(nonzero(sent)?);
        }
        self.release_output();
        Poll::Ready(Ok(()))
    }

    /// Sends everything that waits.
    pub async fn flush(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_flush(cx)).await
    }

    /// Sends what waits and `bytes` behind it.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.output.extend_from_slice(bytes);
        self.flush().await
    }

    /// Gives buffers back that hold nothing. To be called before a connection waits for long.
    pub fn release_buffers(&mut self) {
        if self.input.is_empty() {
            self.input = BytesMut::new();
        }
        self.release_output();
    }

    fn release_output(&mut self) {
        if self.output.is_empty() && self.output.capacity() > READ_SIZE {
            self.output = BytesMut::new();
        }
    }
}

/// A write of nothing means that the connection is gone.
fn nonzero(sent: usize) -> io::Result<usize> {
    if sent == 0 { Err(io::ErrorKind::WriteZero.into()) } else { Ok(sent) }
}
