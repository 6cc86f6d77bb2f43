//! The server that runs a statement over gathered rows, while it does.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};

use super::super::client::Client;
use super::super::exchange::{Reply, next_reply};
use super::super::handle::{CANCEL_LIMIT, Handle};
use super::super::links::until_gone;
use super::super::outcome::{Step, Stop};
use crate::net::{Conn, executor};
use crate::pool::local::Local;
use crate::pool::server::{self, Server, lost};
use crate::pool::shared::NodeIndex;
use crate::route::HOME;
use crate::route::plan::Gather;
use crate::telemetry::PoolStats;
use crate::types::{Error, Kind, Result, ShardId};
use crate::wire::frontend;

/// Temporary tables that a server keeps, before they are all dropped.
const TABLES_KEPT: usize = 64;

/// Rows are rolled back, which leaves them dead in their table. One with so many bytes of them is emptied: that changes the
/// catalogs and costs milliseconds, and small ones do without.
const DEAD_MAX: usize = 256 * 1024;

/// How the transaction begins. The client's may be read-only, and temporary tables are written all the same.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;\n";

/// What is behind this is undone: rows, and settings. The tables stay.
const SAVEPOINT: &str = "SAVEPOINT weir_gather";

const ROLL_BACK: &str = "ROLLBACK TO SAVEPOINT weir_gather;\n";

/// A server that gathers for a client. Dropped, it stops what it does, and its connection ends.
pub struct Gatherer {
    server: Option<Box<Server>>,
    pool: Rc<Local>,
    stats: Arc<PoolStats>,
    handle: Rc<Handle>,
    began: Instant,
    /// The client's settings reached it otherwise than all servers': they may leave traces.
    has_own_settings: bool,
}

impl Client {
    /// Takes a server of the shard from the pool of those that gather, and brings it to the client's settings.
    pub async fn take_gatherer(&mut self, shard: ShardId) -> Step<Gatherer> {
        let mut gatherer = self.next_gatherer(shard).await?;
        match self.bring_settings(&mut gatherer).await {
            Err(Stop::Failed(error)) if error.kind == Kind::Reported => {
                // Some settings cannot be changed once there are temporary tables. A server without any decides.
                drop(gatherer);
                let mut fresh = self.next_gatherer(shard).await?;
                self.bring_settings(&mut fresh).await?;
                Ok(fresh)
            }
            brought => brought.map(|()| gatherer),
        }
    }

    async fn next_gatherer(&mut self, shard: ShardId) -> Step<Gatherer> {
        let (pool, stats) = self.pool(shard, NodeIndex::GATHER)?;
        let wanted = self.state.wanted();
        let idle = pool.check_out_now(|server| server.session.suits(wanted));
        let (server, waited) = match idle {
            Some(server) => (server, std::time::Duration::ZERO),
            None => Box::pin(self.wait_for_server(&pool)).await?,
        };
        stats.server_assigned(waited);
        self.handle.hold(&server, &pool, self.now);
        let (handle, began) = (Rc::clone(&self.handle), Instant::now());
        Ok(Gatherer { server: Some(server), pool, stats, handle, began, has_own_settings: false })
    }

    async fn bring_settings(&mut self, gatherer: &mut Gatherer) -> Step {
        let server = gatherer.server()?;
        // Whether they may be refused does not matter: the answer is waited for.
        let _adopted = server.session.adopt_settings(server.conn.queue(), self.state.wanted());
        match server.finish_own_queries().await {
            Ok(_) => Ok(()),
            Err(error) => Err(Stop::Failed(error)),
        }
    }

    /// Begins the transaction, makes the tables that are not there yet, and says what the client's session has set since.
    pub async fn open_gatherer(&mut self, gatherer: &mut Gatherer, gather: &Gather) -> Step {
        let mut script = String::new();
        let kept = &gatherer.server()?.session.gathered;
        let has = |name: &String| kept.contains_key(name);
        let is_full = kept.len() + gather.loads.len() > TABLES_KEPT;
        if is_full {
            script.push_str("DISCARD TEMP;\n");
        }
        script.push_str(BEGIN);
        for load in gather.loads.iter().filter(|load| is_full || !has(&load.table.temporary)) {
            script.push_str(&load.table.creation());
            script.push_str(";\n");
        }
        script.push_str(SAVEPOINT);
        let in_block = self.block.iter().flat_map(|block| block.settings());
        for setting in self.lasting.statements().chain(in_block) {
            gatherer.has_own_settings = true;
            script.push_str(";\n");
            script.push_str(setting);
        }
        gatherer.begin_exchange(|out| frontend::query(out, &script)).await?;
        if let Some(error) = gatherer.drain(&mut self.conn).await? {
            return Err(self.passed_on(&super::answer::without_places(&error)));
        }
        let kept = &mut gatherer.server()?.session.gathered;
        if is_full {
            kept.clear();
        }
        for load in &gather.loads {
            kept.entry(load.table.temporary.clone()).or_insert(0);
        }
        Ok(())
    }
}

impl Gatherer {
    pub fn server(&mut self) -> Result<&mut Server> {
        self.server.as_deref_mut().ok_or_else(|| Error::internal("a server that gathers was given back too early"))
    }

    /// Whether the server owes nothing to anybody.
    pub fn is_settled(&self) -> bool {
        self.server.as_ref().is_some_and(|server| {
            let ledger = &server.session.ledger;
            ledger.owes_nothing() && !ledger.is_in_own_exchange() && server.conn.unsent() == 0
        })
    }

    /// Rows of so many bytes went into a temporary table.
    pub fn note_rows(&mut self, temporary: &str, bytes: usize) -> Result<()> {
        if let Some(dead) = self.server()?.session.gathered.get_mut(temporary) {
            *dead += bytes;
        }
        Ok(())
    }

    /// Queues what begins an exchange that Weir reads to its end, and sends it.
    pub async fn begin_exchange(&mut self, write: impl FnOnce(&mut BytesMut)) -> Result<()> {
        let server = self.server()?;
        server.session.ledger.begin_own_exchange();
        server.session.unnamed_statement_lost();
        write(server.conn.queue());
        self.flush().await
    }

    /// Sends what is queued.
    pub async fn flush(&mut self) -> Result<()> {
        let server = self.server()?;
        server.conn.flush().await.map_err(|error| lost(HOME, error))
    }

    /// The server's next reply. The client's connection is watched meanwhile.
    pub async fn reply(&mut self, client: &mut Conn) -> Step<Reply> {
        let server = self.server()?;
        tokio::select! {
            biased;
            reply = next_reply(server) => reply.map_err(Stop::Failed),
            () = until_gone(client) => Err(Stop::Gone),
        }
    }

    /// Reads replies up to ReadyForQuery. Gives the first ErrorResponse, if there is one.
    pub async fn drain(&mut self, client: &mut Conn) -> Step<Option<Bytes>> {
        let mut failure = None;
        loop {
            match self.reply(client).await? {
                Reply::Ready(_) => return Ok(failure),
                Reply::Error(body) => drop(failure.get_or_insert(body)),
                _ => {}
            }
        }
    }

    /// Gives the server back to its pool, once its transaction has ended. The client does not wait for that.
    pub fn give_back(mut self, now: Instant) {
        let Some(mut server) = self.server.take() else { return };
        self.handle.let_go(server.cancel_key);
        self.stats.query_done(now.saturating_duration_since(self.began));
        if self.handle.has_cancels() {
            // A cancel that is on its way could hit what the server does next.
            return server::close(server);
        }
        let (pool, may_stay) = (Rc::clone(&self.pool), !self.has_own_settings);
        executor::spawn(async move {
            let end = end(&mut server.session.gathered);
            server.session.own_query(server.conn.queue(), end);
            match server.finish_own_queries().await {
                Ok(_) if may_stay => pool.check_in(server, Instant::now()),
                Ok(_) => server::close(server),
                Err(error) => {
                    tracing::warn!(%error, "a server did not end its gathering; its connection is closed");
                    server::close(server);
                }
            }
        });
    }
}

/// What ends the transaction: no row stays, and tables with many dead ones are emptied.
fn end(kept: &mut HashMap<String, usize>) -> String {
    let full: Vec<String> = kept.iter().filter(|(_, dead)| **dead > DEAD_MAX).map(|(name, _)| name.clone()).collect();
    let mut script = ROLL_BACK.to_owned();
    for name in full {
        script.push_str(&format!("TRUNCATE pg_temp.\"{name}\";\n"));
        kept.insert(name, 0);
    }
    script + "COMMIT"
}

impl Drop for Gatherer {
    fn drop(&mut self) {
        let Some(server) = self.server.take() else { return };
        self.handle.let_go(server.cancel_key);
        let address = Arc::clone(&self.pool.shared.address);
        executor::spawn(async move {
            // What it does for nobody must stop, before its place is somebody else's.
            if let Err(error) = server::cancel(&address, server.cancel_key, CANCEL_LIMIT).await {
                tracing::debug!(%error, "a gathering that nobody waits for could not be cancelled");
            }
            server::close(server);
        });
    }
}
