//! Bytes between a client and one server, until the server owes nothing.
//!
//! The decisions are the ledger's; this loop only moves bytes. It reads no more than it can pass on: when the client
//! does not take its rows, the server is not read, and when the server does not take its data, the client is not.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::BytesMut;

use crate::net::Conn;
use crate::pool::database::Database;
use crate::pool::server::{Server, ended, lost};
use crate::session::ledger::Event;
use crate::types::Error;

/// Unsent bytes towards one side above which the other side is not read.
const HIGH_WATER: usize = 256 * 1024;

/// Bytes read from a client while its server works.
const READ_AHEAD: usize = 64 * 1024;

/// Whether the client's next messages end the relay before the server has answered everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listen {
    /// The unit is complete: only data for a COPY.
    No,
    /// The same, until the server has answered what it was sent of a batch so far.
    Open,
    /// Nothing is owed to the client before it sends something.
    Always,
}

/// Why the relay stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The server owes nothing. Bytes for the client may still be unsent.
    Settled,
    /// The client sent something that is wanted.
    ClientSent,
    /// The client closed its connection or it broke.
    ClientGone,
}

/// What the relay saw besides bytes.
#[derive(Debug, Default)]
pub struct Seen {
    pub events: Vec<Event>,
    /// Bytes that went to the client.
    pub sent: usize,
    /// Bytes from the client that were looked at and are of no use without more.
    pub stalled: usize,
    /// The database whose code changes when the server has answered everything: that must be known before the client has
    /// the answer, for it may tell others.
    pub changes_code: Option<Arc<Database>>,
}

/// Relays until the server owes nothing, the client sends what is wanted, or one of them is gone.
///
/// # Errors
/// The server went away or broke the protocol; it must be closed.
pub async fn relay(client: &mut Conn, server: &mut Server, listen: Listen, seen: &mut Seen) -> Result<End, Error> {
    let mut out = BytesMut::new();
    poll_fn(|cx| poll_relay(cx, client, server, listen, seen, &mut out)).await
}

fn poll_relay(
    cx: &mut Context<'_>,
    client: &mut Conn,
    server: &mut Server,
    listen: Listen,
    seen: &mut Seen,
    out: &mut BytesMut,
) -> Poll<Result<End, Error>> {
    loop {
        let unread = server.conn.input.len();
        let ledger = &server.session.ledger;
        if (unread > 0 || ledger.gives_by_itself() || ledger.has_events() || ledger.owes_nothing())
            && pass_on(cx, client, server, seen, out)?.is_err()
        {
            return Poll::Ready(Ok(End::ClientGone));
        }
        if listen == Listen::Open && server.session.ledger.has_answered() {
            return Poll::Ready(Ok(End::Settled));
        }
        if server.session.ledger.owes_nothing() {
            if listen == Listen::No {
                return Poll::Ready(Ok(End::Settled));
            }
            // What came behind an answer is looked at by itself.
            if (1..unread).contains(&server.conn.input.len()) {
                continue;
            }
        }
        if server.conn.unsent() > 0
            && let Poll::Ready(Err(error)) = server.conn.poll_flush(cx)
        {
            return Poll::Ready(Err(lost(server.shard(), error)));
        }
        if client.unsent() > 0 && matches!(client.poll_flush(cx), Poll::Ready(Err(_))) {
            return Poll::Ready(Ok(End::ClientGone));
        }
        if client.unsent() < HIGH_WATER {
            match server.conn.poll_fill(cx) {
                Poll::Ready(Ok(0)) => {
                    return Poll::Ready(Err(lost(server.shard(), std::io::ErrorKind::UnexpectedEof.into())));
                }
                Poll::Ready(Ok(_)) => continue,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(lost(server.shard(), error))),
                Poll::Pending => {}
            }
        }
        let wanted = listen == Listen::Always || server.session.ledger.takes_copy_data();
        if wanted && client.input.len() > seen.stalled {
            return Poll::Ready(Ok(End::ClientSent));
        }
        let room = server.conn.unsent() < HIGH_WATER && (wanted || client.input.len() < READ_AHEAD);
        if room {
            match client.poll_fill(cx) {
                Poll::Ready(Ok(1..)) if wanted => return Poll::Ready(Ok(End::ClientSent)),
                Poll::Ready(Ok(1..)) => continue,
                Poll::Ready(_) => return Poll::Ready(Ok(End::ClientGone)),
                Poll::Pending => {}
            }
        }
        return Poll::Pending;
    }
}

/// Gives the client what the server sent. The inner error means that the client's connection broke.
fn pass_on(
    cx: &mut Context<'_>,
    client: &mut Conn,
    server: &mut Server,
    seen: &mut Seen,
    out: &mut BytesMut,
) -> Result<std::io::Result<()>, Error> {
    let scanned = server.session.ledger.scan(&server.conn.input, out)?;
    if server.session.ledger.owes_nothing()
        && let Some(database) = seen.changes_code.take()
    {
        database.code_changed();
    }
    let bytes = match &scanned.verbatim {
        Some(range) => &server.conn.input[range.clone()],
        None => &out[..],
    };
    seen.sent += bytes.len();
    let result = if bytes.is_empty() { Ok(()) } else { client.poll_send(cx, bytes) };
    out.clear();
    server.conn.use_up(scanned.consumed);
    note_events(server, seen)?;
    Ok(result)
}

/// Takes note of what happened. Comes after the bytes were passed on: the last ones may end a row that the client has
/// got a part of.
fn note_events(server: &mut Server, seen: &mut Seen) -> Result<(), Error> {
    if !server.session.ledger.has_events() {
        return Ok(());
    }
    for event in server.session.ledger.take_events() {
        server.session.note(&event);
        if let Event::Fatal(body) = &event {
            return Err(ended(server.shard(), body));
        }
        seen.events.push(event);
    }
    Ok(())
}
