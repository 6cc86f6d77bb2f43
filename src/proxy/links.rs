//! The servers that a client holds: getting them, bringing them to the client's state, and leaving them.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::client::Client;
use super::handle::{Cancels, State};
use super::outcome::{Step, Stop};
use super::relay::{self, End, Listen, Seen};
use super::worker::PoolHere;
use crate::config::PoolMode;
use crate::net::Conn;
use crate::pool::entangled;
use crate::pool::local::Local;
use crate::pool::server::{self, Server};
use crate::pool::shared::NodeIndex;
use crate::route::HOME;
use crate::route::plan::Access;
use crate::session::ledger::Event;
use crate::session::request::Adopted;
use crate::session::settings::Settings;
use crate::session::transaction::{Snapshots, Transaction};
use crate::sql::code::CodeClass;
use crate::sql::facts::Facets;
use crate::telemetry::PoolStats;
use crate::types::{Error, Kind, Origin, Result, ShardId};
use crate::wire::{TransactionStatus, backend};

/// A server that works for the client, and the pool it came from.
#[derive(Debug)]
pub struct Link {
    pub server: Box<Server>,
    pub pool: Rc<Local>,
    pub stats: Arc<PoolStats>,
    /// When Weir itself asked the server something.
    pub asked: Option<Instant>,
}

impl Link {
    /// Whether the server is inside a transaction block, as far as it has answered.
    pub fn is_in_transaction(&self) -> bool {
        self.server.session.ledger.status() != TransactionStatus::Idle
    }

    /// Whether the server is inside a transaction block, or will be when it has read what is on its way.
    pub fn has_begun(&self) -> bool {
        self.is_in_transaction() || self.server.conn.unsent() > 0
    }

    /// Whether something is to be sent or to be answered still.
    fn is_unsettled(&self) -> bool {
        self.server.conn.unsent() > 0 || !self.server.session.ledger.is_settled()
    }

    /// Whether this is the server that has the database's notifications.
    pub fn is_home(&self) -> bool {
        self.server.shard() == ShardId(0) && self.is_primary()
    }

    fn is_primary(&self) -> bool {
        self.pool.shared.id.node.is_primary()
    }
}

/// How far a server is that a client is to be linked to.
enum Linked {
    /// It is there.
    Ready(usize),
    /// It is there, and is to be brought to the client's state.
    New(usize),
    /// Something is to be waited for first.
    No,
}

/// Bytes read from a client that waits for a server.
const READ_AHEAD: usize = 64 * 1024;

impl Client {
    /// The place in `links` of the server of the shard that runs the client's next statement.
    ///
    /// # Errors
    /// As [`Client::link_apart`], and the refusal of a shard that the open block must not use, or of one for which the
    /// shard map changed while a server was waited for.
    pub async fn link(&mut self, shard: ShardId, access: Access) -> Step<usize> {
        if self.block.is_some() {
            self.cut_if_wanted().await?;
            self.block.as_mut().map_or(Ok(()), |block| block.take_part(shard))?;
        }
        let planned = self.database.epoch();
        let at = self.link_apart(shard, access).await?;
        if self.database.epoch() == planned { Ok(at) } else { Err(stale_plan().into()) }
    }

    /// The place in `links` of a server of the shard, which joins the open block; takes one from its pool if the client
    /// holds none.
    pub async fn link_apart(&mut self, shard: ShardId, access: Access) -> Step<usize> {
        let at = match self.link_now(shard, access)? {
            Linked::Ready(at) => at,
            Linked::New(at) => Box::pin(self.bring_up_or_replace(at, access)).await?,
            Linked::No => Box::pin(self.link_later(shard, access)).await?,
        };
        self.use_numbers(at)?;
        self.use_sequences(at);
        self.claim_server(at);
        Ok(at)
    }

    /// Links a server as far as that can be done at once: mostly there is nothing to wait for.
    fn link_now(&mut self, shard: ShardId, access: Access) -> Result<Linked> {
        let waits = self.canceled || self.block.is_some() || self.heeds() || self.needs_listener(shard);
        if waits || !self.lasting.is_empty() {
            return Ok(Linked::No);
        }
        if let Some(at) = self.place_of(shard) {
            return Ok(if self.is_out_of_place(at, access) { Linked::No } else { Linked::Ready(at) });
        }
        let node = self.node_for(shard, access);
        let (pool, stats) = self.pool(shard, node)?;
        let Some(server) = self.idle_server(&pool, shard) else { return Ok(Linked::No) };
        stats.server_assigned(Duration::ZERO);
        let has_settings = server.session.has_exactly(self.state.wanted());
        let at = self.add(Link { server, pool, stats, asked: None });
        Ok(if has_settings { Linked::Ready(at) } else { Linked::New(at) })
    }

    /// Links a server where something is to be waited for.
    async fn link_later(&mut self, shard: ShardId, access: Access) -> Step<usize> {
        let mut held = self.place_of(shard);
        if let Some(at) = held.filter(|at| self.is_out_of_place(*at, access)) {
            self.leave_replica(at).await?;
            held = None;
        }
        if std::mem::take(&mut self.canceled) {
            return Err(self.cancel_unsent(held).await);
        }
        if self.needs_listener(shard) {
            self.reach_listener(held).await?;
        }
        let Some(at) = held else {
            let at = self.add_server(shard, access).await?;
            return self.bring_up_or_replace(at, access).await;
        };
        if self.heeds() {
            self.heed_before(at).await?;
        }
        if !self.links[at].is_in_transaction() {
            self.join_block(at).await?;
        }
        Ok(at)
    }

    /// Whether a held server is a replica that an earlier statement of the unit read from, and the next one needs the
    /// primary: it writes, or a block has begun in between, which may write yet.
    fn is_out_of_place(&self, at: usize, access: Access) -> bool {
        let link = &self.links[at];
        let wants_primary = access != Access::Read || self.block.is_some();
        wants_primary && !link.is_primary() && !link.is_in_transaction() && !self.keeps_servers()
    }

    /// Gives a replica back in the middle of a unit.
    async fn leave_replica(&mut self, at: usize) -> Step {
        if self.links[at].is_unsettled() {
            self.own_replies(at).await?;
        }
        if self.handle.has_cancels() {
            self.await_cancels().await;
        }
        let link = self.links.swap_remove(at);
        self.leave_server(link);
        Ok(())
    }

    fn place_of(&self, shard: ShardId) -> Option<usize> {
        self.links.iter().position(|link| link.server.shard() == shard)
    }

    /// The server's OIDs stand for the home shard's as the schema of now says.
    fn use_numbers(&mut self, at: usize) -> Result<()> {
        let shard = self.links[at].server.shard();
        if shard != HOME {
            let schema = self.schema()?;
            self.links[at].server.session.set_translation(schema.translation(shard));
        }
        Ok(())
    }

    /// A unit was canceled before its server, if the client holds one, saw anything of it.
    #[cold]
    async fn cancel_unsent(&mut self, held: Option<usize>) -> Stop {
        match held {
            Some(at) => match Box::pin(self.fail_transaction(at)).await {
                Ok(()) => Stop::Failed(canceled()),
                Err(stop) => stop,
            },
            None => Stop::Failed(canceled()),
        }
    }

    async fn add_server(&mut self, shard: ShardId, access: Access) -> Step<usize> {
        let link = self.take_server(shard, access).await?;
        Ok(self.add(link))
    }

    fn add(&mut self, link: Link) -> usize {
        self.handle.hold(&link.server, &link.pool, self.now);
        self.links.reserve_exact(1);
        self.links.push(link);
        let at = self.links.len() - 1;
        self.claim_notifications(at);
        at
    }

    /// A server that did not take the client's state is of no use to anybody.
    fn drop_doubtful(&mut self, shard: ShardId) {
        if let Some(at) = self.place_of(shard) {
            let link = self.links.swap_remove(at);
            self.handle.let_go(link.server.cancel_key);
            server::close(link.server);
        }
    }

    /// Brings a server that has just been taken to the client's state, or a second one where that one refuses. Gives the
    /// place of the one that can be used.
    async fn bring_up_or_replace(&mut self, at: usize, access: Access) -> Step<usize> {
        let shard = self.links[at].server.shard();
        let Err(stop) = self.bring_up(at).await else { return Ok(at) };
        self.drop_doubtful(shard);
        if !is_refusal(&stop) {
            return Err(stop);
        }
        // What its last client left may be in the way: a limit of time, or of memory. A second server decides.
        let at = self.add_server(shard, access).await?;
        if let Err(stop) = self.bring_up(at).await {
            self.drop_doubtful(shard);
            return Err(stop);
        }
        Ok(at)
    }

    /// Brings a server that has just been taken to the client's state.
    async fn bring_up(&mut self, at: usize) -> Step {
        let Self { links, state, lasting, .. } = self;
        let Server { conn, session, .. } = &mut *links[at].server;
        let adopted = session.adopt_settings(conn.queue(), state.wanted());
        lasting.statements().for_each(|sql| session.own_query(conn.queue(), sql));
        if adopted == Adopted::Perhaps || !lasting.is_empty() {
            self.own_replies(at).await?;
        }
        if self.heeds() {
            self.heed_before(at).await?;
        }
        self.join_block(at).await
    }

    /// Makes a server part of the open block, if there is one.
    async fn join_block(&mut self, at: usize) -> Step {
        let Some(block) = &self.block else { return Ok(()) };
        let prelude = block.prelude();
        let Server { conn, session, .. } = &mut *self.links[at].server;
        prelude.iter().for_each(|sql| session.own_query(conn.queue(), sql));
        if self.links.len() > 1 {
            self.entangle();
        }
        // A plain BEGIN cannot fail, so it goes in one write with the statement. Anything more is waited for.
        if prelude.len() > 1 { self.own_replies(at).await } else { Ok(()) }
    }

    /// Makes it known that the block is open on several shards: it may wait there for others who wait for it.
    fn entangle(&mut self) {
        let verdict = Arc::clone(self.entangled.get_or_insert_default());
        let process = |link: &mut Link| {
            link.server.session.ledger.may_be_victim(Some(Arc::clone(&verdict)));
            (link.server.shard(), link.server.cancel_key.process_id)
        };
        let processes = self.links.iter_mut().map(process).collect();
        let client = Arc::new(self.handle.key.clone());
        let transaction = entangled::Transaction { since: Instant::now(), processes, client, verdict };
        self.database.entangled.enter(self.handle.id, transaction);
    }

    /// The transaction that may have been open on several shards is over.
    pub fn disentangle(&mut self) {
        if self.entangled.take().is_some() {
            self.database.entangled.leave(self.handle.id);
            self.links.iter_mut().for_each(|link| link.server.session.ledger.may_be_victim(None));
        }
    }

    /// Waits for the replies to Weir's own queries on a link. What comes for the client meanwhile, it gets.
    pub async fn own_replies(&mut self, at: usize) -> Step {
        let result = Box::pin(self.links[at].server.finish_own_queries()).await;
        let shown = &mut self.links[at].server.shown;
        if !shown.is_empty() {
            self.conn.queue().extend_from_slice(&std::mem::take(shown));
        }
        match result {
            Ok(_) => Ok(()),
            Err(error) if error.kind == Kind::Reported => Err(Stop::Failed(error)),
            Err(error) => Err(self.lose(at, error)),
        }
    }

    /// Takes a server of the shard: a replica where that is allowed and keeps the session's view, else the primary.
    async fn take_server(&mut self, shard: ShardId, access: Access) -> Step<Link> {
        let node = self.node_for(shard, access);
        match self.take_from(shard, node).await {
            Err(Stop::Failed(error)) if !node.is_primary() && error.kind == Kind::ServerUnavailable => {
                self.database.shards[shard.index()].freshness.unusable(usize::from(node.0) - 1);
                self.take_from(shard, NodeIndex::PRIMARY).await
            }
            other => other,
        }
    }

    /// The node of the shard that a server is to be of.
    fn node_for(&mut self, shard: ShardId, access: Access) -> NodeIndex {
        let replica = if access == Access::Read { self.replica_for(shard) } else { None };
        replica.unwrap_or(NodeIndex::PRIMARY)
    }

    /// The replica that this session may read from now. A session has one replica of a shard, so that it never goes
    /// back in time by changing to another one.
    fn replica_for(&mut self, shard: ShardId) -> Option<NodeIndex> {
        let free =
            self.database.read_write_split && !self.state.is_pinned() && !self.in_transaction() && !self.batch_open;
        if !free || self.pool_mode == PoolMode::Session {
            return None;
        }
        let database = Arc::clone(&self.database);
        let freshness = &database.shards.get(shard.index())?.freshness;
        let replica = usize::try_from(self.handle.id).ok()?.checked_rem(freshness.replica_count())?;
        let mark = self.mark(shard)?;
        let node = u16::try_from(replica + 1).ok()?;
        freshness.admits(mark, replica).then_some(NodeIndex(node))
    }

    async fn take_from(&mut self, shard: ShardId, node: NodeIndex) -> Step<Link> {
        let (pool, stats) = self.pool(shard, node)?;
        let (server, waited) = match self.idle_server(&pool, shard) {
            Some(server) => (server, Duration::ZERO),
            None => self.wait_for_server(&pool).await?,
        };
        stats.server_assigned(waited);
        Ok(Link { server, pool, stats, asked: None })
    }

    /// An idle server on which the client finds nothing of others; the one that has its values of sequences, where the unit
    /// may read them.
    fn idle_server(&mut self, pool: &Rc<Local>, shard: ShardId) -> Option<Box<Server>> {
        let wanted = self.state.wanted();
        if let Some(own) = self.sequences_wanted(shard) {
            let server = pool.check_out_now(|server| server.session.sequences == own && server.session.suits(wanted));
            if server.is_some() {
                return server;
            }
        }
        pool.check_out_now(|server| server.session.suits(wanted))
    }

    pub fn pool(&mut self, shard: ShardId, node: NodeIndex) -> Result<PoolHere> {
        if let Some(here) = self.pools.borrow().get(&(shard, node)) {
            return Ok(here.clone());
        }
        let here = self.worker.pool(&self.database, &self.user, shard, node)?;
        self.pools.borrow_mut().insert((shard, node), here.clone());
        Ok(here)
    }

    /// Waits for a server to be opened or to become free. Gives how long that took, too.
    pub async fn wait_for_server(&mut self, pool: &Rc<Local>) -> Step<(Box<Server>, Duration)> {
        let began = Instant::now();
        let may_leave = !self.in_transaction();
        let state = self.handle.state.replace(State::Waiting(began));
        let result = tokio::select! {
            biased;
            result = check_out(pool, self.state.wanted()) => result.map_err(Stop::Failed),
            () = self.handle.canceled_waiting() => Err(Stop::Failed(canceled())),
            () = until_gone(&mut self.conn) => Err(Stop::Gone),
            () = self.handle.stop.heard(), if may_leave => Err(Stop::Fatal(super::client::shutting_down())),
        };
        self.handle.state.set(state);
        self.now = Instant::now();
        Ok((result?, self.now - began))
    }

    /// Relays between the client and a server until the server owes nothing, or the client sends what is wanted.
    pub async fn relay(&mut self, at: usize, listen: Listen, seen: &mut Seen) -> Step<End> {
        let link = &mut self.links[at];
        let result = relay::relay(&mut self.conn, &mut link.server, listen, seen).await;
        link.stats.sent(std::mem::take(&mut seen.sent));
        if !seen.events.is_empty() {
            self.heed_events(at, &seen.events)?;
        }
        match result {
            Ok(End::ClientGone) => Err(Stop::Gone),
            Ok(End::Settled) => {
                let began = std::mem::replace(&mut self.now, Instant::now());
                self.links[at].stats.query_done(self.now - began);
                Ok(End::Settled)
            }
            Ok(End::ClientSent) => Ok(End::ClientSent),
            Err(error) => Err(self.lose(at, error)),
        }
    }

    /// Does what follows from what a server told.
    fn heed_events(&mut self, at: usize, events: &[Event]) -> Step {
        let mut texts_read_otherwise = false;
        for event in events {
            match event {
                Event::Prepared(gives) => {
                    if let Some(prepared) = gives.name.as_ref().and_then(|name| self.names.get(name)) {
                        prepared.standing.proven.set(true);
                    }
                }
                Event::NotPrepared(gives) => {
                    if let Some(name) = &gives.name {
                        self.names.remove(name);
                    }
                }
                Event::OwnError(body) => {
                    let error = server::server_error(self.links[at].server.shard(), body);
                    tracing::error!(%error, "a server did not accept a client's state");
                    self.links[at].server.retire("its state is not certain");
                    return Err(Stop::Fatal(
                        error.hint("Connect again: the session's settings could not be restored."),
                    ));
                }
                Event::Described(look, described) => self.described(look, described)?,
                Event::Doubted(statement) => self.names.doubt(*statement),
                Event::SyncIgnored => self.batch_open = true,
                Event::SyncCounted => self.batch_open = false,
                Event::Parameter { name, value } => {
                    Rc::make_mut(&mut self.told).report(name, value);
                    texts_read_otherwise |= name == b"standard_conforming_strings";
                }
                Event::ClientError(_) | Event::PrepareError(_) => self.batch_failed = true,
                Event::Withheld | Event::NotEvicted(_) | Event::OwnParameter { .. } | Event::Fatal(_) => {}
            }
        }
        if texts_read_otherwise {
            self.follow_settings();
        }
        Ok(())
    }

    /// A server went away. Says how that ends for the client.
    pub fn lose(&mut self, at: usize, error: Error) -> Stop {
        let link = self.links.swap_remove(at);
        self.handle.let_go(link.server.cancel_key);
        link.stats.error(error.kind);
        self.unwanted += link.server.session.ledger.copy_data_left();
        let inside_message = link.server.session.ledger.is_inside_message();
        let in_transaction = link.server.session.ledger.status() != TransactionStatus::Idle;
        drop(link);
        // Session locks do not end with the transaction that took them: the client must learn that they are gone.
        if inside_message || self.keeps_servers() || self.state.touched().contains(Facets::LOCKS) {
            return Stop::Fatal(error.hint("Connect again: what the session had on this server is lost."));
        }
        if in_transaction && self.block.is_none() {
            self.block = Some(Transaction::begin("BEGIN", Snapshots::PerStatement));
        }
        if let Some(block) = &mut self.block {
            block.lose();
        }
        Stop::Failed(error)
    }

    pub fn has_open_batches(&self) -> bool {
        self.links.iter().any(|link| link.server.session.ledger.is_unsynced())
    }

    /// Ends batches that the client's last unit left open on a server: it flushed there, and its Sync was answered
    /// without that server.
    pub async fn end_open_batches(&mut self, give_up: bool) -> Step {
        while let Some(at) = self.links.iter().position(|link| link.server.session.ledger.is_unsynced()) {
            let server = &mut self.links[at].server;
            server.session.end_batch(server.conn.queue(), give_up);
            // A server that is lost here holds nothing of the client's any more.
            if let Err(stop @ (Stop::Fatal(_) | Stop::Gone)) = self.own_replies(at).await {
                return Err(stop);
            }
        }
        Ok(())
    }

    /// Gives back the servers that the client does not need any more.
    pub async fn leave_servers(&mut self) -> Step {
        if self.batch_open {
            return Ok(());
        }
        let in_transaction = self.in_transaction();
        if self.must_settle(in_transaction) {
            Box::pin(self.settle(in_transaction)).await?;
        }
        if in_transaction {
            self.tell_parameters();
            return Ok(());
        }
        self.forget_heed();
        if self.links.is_empty() {
            self.transaction_began = None;
            self.schema_hold = None;
            self.disentangle();
            return Ok(());
        }
        self.tell_parameters();
        self.transaction_ended();
        if self.keeps_servers() {
            return Ok(());
        }
        if self.handle.has_cancels() {
            Box::pin(self.await_cancels()).await;
        }
        while let Some(link) = self.links.pop() {
            self.leave_server(link);
        }
        self.state.left_server();
        self.ran_code = false;
        Ok(())
    }

    /// Whether [`Client::settle`] has something to do.
    fn must_settle(&self, in_transaction: bool) -> bool {
        let asks = !in_transaction && (self.heed.notifies || self.heeds() || self.will_survey());
        !self.links.is_empty() && (asks || self.links.iter().any(Link::is_unsettled))
    }

    /// Brings the servers to rest. Asks what a transaction that is over has left in the session.
    async fn settle(&mut self, in_transaction: bool) -> Step {
        if in_transaction {
            return self.settle_links().await;
        }
        self.end_claims();
        self.survey().await?;
        self.settle_links().await?;
        if self.heeds() {
            self.heed_end().await?;
        }
        Ok(())
    }

    /// Waits until no cancel can hit what the servers do next; where that is not certain, nobody gets them.
    async fn await_cancels(&mut self) {
        let handle = Rc::clone(&self.handle);
        if handle.cancels_done().await == Cancels::InDoubt {
            self.links.iter_mut().for_each(|link| link.server.retire("a cancel for its last client may reach it"));
        }
    }

    /// Tells the client of run-time parameters that changed where it did not see it: another server, a new configuration,
    /// Weir's own questions. Those of a replica are not the session's.
    fn tell_parameters(&mut self) {
        let Some(link) = self.links.first().filter(|link| link.is_primary()) else { return };
        let parameters = link.server.session.parameters();
        if *self.told == *parameters {
            return;
        }
        for (name, value) in self.told.news(parameters) {
            backend::parameter_status(self.conn.queue(), name, value);
        }
        self.told = Rc::new(parameters.clone());
        self.follow_settings();
    }

    /// Sends what Weir still has to say to the servers, and reads the answers.
    async fn settle_links(&mut self) -> Step {
        while let Some(at) = self.links.iter().position(Link::is_unsettled) {
            self.own_replies(at).await?;
            // A server that owes nothing and is not at rest would be waited for without end, and the worker with it.
            if self.links.get(at).is_some_and(Link::is_unsettled) {
                return Err(self.lose(at, Error::internal("a server does not come to rest")));
            }
        }
        Ok(())
    }

    pub fn keeps_servers(&self) -> bool {
        self.state.is_pinned() || self.pool_mode == PoolMode::Session
    }

    /// Statistics, the marks of replicas and the schema, once the client's transaction is over.
    fn transaction_ended(&mut self) {
        if let (Some(began), Some(link)) = (self.transaction_began.take(), self.links.first()) {
            link.stats.transaction_done(self.now.saturating_duration_since(began));
            if let Some(reason) = self.state.pin_reason() {
                link.stats.pinned(reason);
            }
        }
        self.local_settings = false;
        self.schema_hold = None;
        self.disentangle();
        self.state.transaction_ended();
        if std::mem::take(&mut self.schema_touched) {
            match std::mem::take(&mut self.defined) == CodeClass::default() {
                true => drop(self.database.want_schema()),
                false => self.database.code_changed(),
            }
        }
        if self.database.read_write_split {
            for link in self.links.iter().filter(|link| link.is_primary()) {
                let shard = link.server.shard();
                if let (Some(state), Some(mark)) =
                    (self.database.shards.get(shard.index()), self.marks.get_mut(shard.index()))
                {
                    *mark = state.freshness.mark();
                }
            }
        }
    }

    fn leave_server(&self, mut link: Link) {
        self.handle.let_go(link.server.cancel_key);
        if self.state.is_indelible() {
            link.server.retire("its client left on it what no command takes away");
        }
        if self.ran_code && self.database.unknown_code().is_some() {
            link.server.retire("code of the database changed while it may have run");
        }
        link.pool.check_in(link.server, self.now);
    }
}

/// The refusal of a statement that was planned for another version of the shard map.
pub fn stale_plan() -> Error {
    Error::new(Origin::Weir, Kind::StaleEpoch, "the shard map changed while the statement was planned")
        .hint("Run the statement again.")
}

/// Whether a server said no to what Weir asked of it.
fn is_refusal(stop: &Stop) -> bool {
    matches!(stop, Stop::Failed(error) if error.kind == Kind::Reported)
}

/// Takes a server that holds nothing of other clients'. Cancel safe, as [`Local::check_out`] is.
pub async fn check_out(pool: &Rc<Local>, settings: &Settings) -> Result<Box<Server>> {
    loop {
        let server = pool.check_out().await?;
        if server.session.suits(settings) {
            return Ok(server);
        }
        // A custom setting was set on it.
        server::close(server);
    }
}

/// Reads ahead until the client's connection ends.
pub async fn until_gone(conn: &mut Conn) {
    loop {
        if conn.input.len() >= READ_AHEAD {
            std::future::pending::<()>().await;
        }
        if !matches!(conn.fill().await, Ok(1..)) {
            return;
        }
    }
}

fn canceled() -> Error {
    Error::new(Origin::Client, Kind::Canceled, "canceling statement due to user request")
}
