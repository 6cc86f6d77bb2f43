//! What becomes of the servers of a client that is gone: what they do for it is stopped and undone, and they go back to
//! their pool; one that cannot be brought to rest is closed.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};

use super::client::Client;
use super::handle::Cancels;
use super::links::Link;
use crate::net::executor;
use crate::pool::local::Local;
use crate::pool::server::{self, Server, ended, lost};
use crate::session::ledger::{Copying, Event};
use crate::session::request::SequenceMemory;
use crate::types::{Result, ShardId};
use crate::wire::{TransactionStatus, frontend};

/// How long bringing a server to rest may take after its client left.
const CLEANING_LIMIT: Duration = Duration::from_secs(5);

impl Client {
    /// The client is gone: its servers are brought to rest and given back, or closed.
    pub fn leave(&mut self) {
        self.worker.forget(&self.handle);
        self.disentangle();
        let dirty = self.keeps_servers() || !self.state.touched().is_empty();
        for Link { server, pool, .. } in std::mem::take(&mut self.links) {
            self.handle.let_go(server.cancel_key);
            let may_stay = !self.state.is_indelible();
            executor::spawn(tidy(pool, server, Rc::clone(&self.handle), may_stay.then_some(dirty)));
        }
    }
}

/// Stops what a server does for a client that left, undoes it, and gives the server back: with DISCARD ALL when it is
/// dirty, not at all when `dirty` is `None`.
async fn tidy(pool: Rc<Local>, mut server: Box<Server>, handle: Rc<super::handle::Handle>, dirty: Option<bool>) {
    // A cancel of the client's own that is still on its way must not hit what comes next.
    if handle.cancels_done().await == Cancels::InDoubt {
        server::close(server);
        return;
    }
    let is_busy = !server.session.ledger.is_settled() || server.conn.unsent() > 0;
    if is_busy && !stop(&mut server, &pool.shared.address).await {
        server::close(server);
        return;
    }
    match dirty {
        Some(dirty) => clean(pool, server, dirty).await,
        None => server::close(server),
    }
}

/// Cancels what the server runs, and reads until it owes nothing. Gives whether that worked.
async fn stop(server: &mut Server, address: &Arc<str>) -> bool {
    if !give_up(server) {
        cancel(server, address).await;
        return false;
    }
    let rest = async {
        // The server may wait for Weir to take its rows, and the cancel for the server: both go on at once.
        let (_, settled) = tokio::join!(cancel_key(server.cancel_key, address), settle(server));
        settled
    };
    match tokio::time::timeout(CLEANING_LIMIT, rest).await {
        Ok(Ok(())) => server.session.ledger.is_settled(),
        Ok(Err(error)) => {
            tracing::debug!(%error, "a server was lost after its client left");
            false
        }
        Err(_) => {
            tracing::debug!("a server did not come to rest after its client left, and is closed");
            cancel(server, address).await;
            false
        }
    }
}

async fn cancel(server: &Server, address: &Arc<str>) {
    cancel_key(server.cancel_key, address).await;
}

async fn cancel_key(key: crate::wire::backend::CancelKey, address: &Arc<str>) {
    if let Err(error) = server::cancel(address, key, CLEANING_LIMIT).await {
        tracing::debug!(%error, "the query of a client that left could not be cancelled");
    }
}

/// Ends what waits for the client: its COPY and its batch. False when the server waits for the rest of a message, or for
/// what only the client knows.
fn give_up(server: &mut Server) -> bool {
    let Server { session, conn, .. } = server;
    if session.ledger.copy_data_left() > 0 || session.ledger.copying() == Copying::Both {
        return false;
    }
    if session.ledger.takes_copy_data() {
        session.ledger.copy_ended_by_client();
        frontend::copy_fail(conn.queue(), "the client disconnected");
    }
    if session.ledger.is_unsynced() {
        session.end_batch(conn.queue(), true);
    }
    true
}

/// Reads and drops replies, and sends what waits, until the server owes nothing. The cancel may come too late: then the
/// query has ended by itself.
async fn settle(server: &mut Server) -> Result<()> {
    let mut out = BytesMut::new();
    poll_fn(|cx| poll_settle(server, &mut out, cx)).await
}

fn poll_settle(server: &mut Server, out: &mut BytesMut, cx: &mut Context<'_>) -> Poll<Result<()>> {
    let shard = server.shard();
    loop {
        drop_replies(server, out, shard)?;
        let flushed = server.conn.poll_flush(cx).map_err(|error| lost(shard, error))?;
        if flushed.is_ready() && server.session.ledger.owes_nothing() {
            return Poll::Ready(Ok(()));
        }
        if ready!(server.conn.poll_fill(cx)).map_err(|error| lost(shard, error))? == 0 {
            return Poll::Ready(Err(lost(shard, std::io::ErrorKind::UnexpectedEof.into())));
        }
    }
}

fn drop_replies(server: &mut Server, out: &mut BytesMut, shard: ShardId) -> Result<()> {
    let scanned = server.session.ledger.scan(&server.conn.input, out)?;
    server.conn.input.advance(scanned.consumed);
    out.clear();
    for event in server.session.ledger.take_events() {
        server.session.note(&event);
        if let Event::Fatal(body) = &event {
            return Err(ended(shard, body));
        }
    }
    Ok(())
}

/// Undoes what a client left on its server, and gives the server back.
pub async fn clean(pool: Rc<Local>, mut server: Box<Server>, dirty: bool) {
    let cleaned = tokio::time::timeout(CLEANING_LIMIT, async {
        if server.session.ledger.status() != TransactionStatus::Idle {
            server.run("ROLLBACK").await?;
        }
        if dirty {
            server.run("DISCARD ALL").await?;
            server.session.forget_statements();
            server.session.forget_settings();
            server.session.sequences = SequenceMemory::Nobody;
        } else if server.session.listens {
            server.run("UNLISTEN *").await?;
        }
        server.session.listens = false;
        Ok::<_, crate::types::Error>(())
    });
    match cleaned.await {
        Ok(Ok(())) => pool.check_in(server, Instant::now()),
        Ok(Err(error)) => tracing::debug!(%error, "a server could not be cleaned and is closed"),
        Err(_) => tracing::debug!("a server could not be cleaned in time and is closed"),
    }
}
