//! A client's life after login: one unit after another.
//!
//! A *unit* is what a client sends before it waits for ReadyForQuery: a Query, a FunctionCall, or a batch of the
//! extended protocol up to its Sync. A batch also comes in pieces when the client flushes, or when it is very long.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tokio::sync::OwnedRwLockReadGuard;

use super::handle::{Handle, State};
use super::instance::User;
use super::links::Link;
use super::listening::{Heed, Listening};
use super::outcome::{Step, Stop};
use super::relay::{Listen, Seen};
use super::sql_names::Mentioned;
use super::temporary::Temporary;
use super::worker::{Known, Pools, Worker};
use crate::config::PoolMode;
use crate::net::Conn;
use crate::pool::database::{Database, SchemaRead};
use crate::pool::freshness::Mark;
use crate::session::cursors::Cursors;
use crate::session::deadlock::Verdict;
use crate::session::parameters::Parameters;
use crate::session::settings::Settings;
use crate::session::state::SessionState;
use crate::session::statements::Names;
use crate::session::transaction::{Lasting, Transaction};
use crate::sql::code::CodeClass;
use crate::types::{Error, Kind, Origin, ShardId};
use crate::wire::backend::{self, Severity};
use crate::wire::frame::{self, Sender};
use crate::wire::frontend::tag;
use crate::wire::{Frame, TransactionStatus};

/// Complete messages of an unsharded batch are passed on when they come to this many bytes without a Sync.
pub const BATCH_PIECE: usize = 64 * 1024;

/// A batch for a sharded database is looked at whole; it may have this many bytes.
const SHARDED_BATCH_MAX: usize = 256 * 1024 * 1024;

/// A client that is logged in.
pub struct Client {
    pub conn: Conn,
    pub worker: Rc<Worker>,
    /// What the worker knows of the database's statements.
    pub known: Rc<Known>,
    pub database: Arc<Database>,
    pub user: Arc<User>,
    /// When the client's servers go back to their pools.
    pub pool_mode: PoolMode,
    pub handle: Rc<Handle>,
    /// What the session holds beyond its transaction.
    pub state: SessionState,
    /// The run-time parameters that the client was told.
    pub told: Rc<Parameters>,
    pub names: Names,
    /// What the unit at hand mentions of them in SQL.
    pub mentioned: Mentioned,
    /// The pools of the client's database and user on this worker.
    pub pools: Rc<Pools>,
    /// The servers that the client holds now: at most one per shard.
    pub links: Vec<Link>,
    /// The open transaction block, where Weir itself keeps it: on a sharded database, and after the server of an
    /// open block was lost.
    pub block: Option<Transaction>,
    /// SET statements that every server of the session must have, on a sharded database.
    pub lasting: Lasting,
    /// What a replica of each shard must have replayed; empty where no replica is read.
    pub marks: Vec<Mark>,
    /// An extended batch is open: no Sync yet.
    pub batch_open: bool,
    /// The unnamed portal was bound to a statement that several shards answered.
    pub unnamed_was_merged: bool,
    /// Something of the batch failed: the rest is ignored, and what was done is undone.
    pub batch_failed: bool,
    /// The open batch failed before a server took part: everything up to Sync is ignored.
    pub skip_to_sync: bool,
    /// SQL cursors that Weir keeps, on a sharded database.
    pub cursors: Option<Box<Cursors>>,
    /// What is queued for the client belongs to a part of its statement, and is not sent yet.
    pub keeps_output: bool,
    /// Bytes of the client's next message that nobody wants any more.
    pub unwanted: usize,
    /// The schema changed in the open transaction.
    pub schema_touched: bool,
    /// While it changes the schema, the shard map stays as it is.
    pub schema_hold: Option<OwnedRwLockReadGuard<()>>,
    /// What code may do that was defined in the open transaction, so that the schema does not know it.
    pub defined: CodeClass,
    /// The open transaction may have run code of users.
    pub ran_code: bool,
    /// What is known of the database's code may be out of date.
    pub doubts_code: bool,
    /// A cancel came while the unit at hand waited for the schema.
    pub canceled: bool,
    /// The open transaction had settings of its own when the unit came.
    pub own_settings: bool,
    /// They may decide how constants are read.
    pub own_reading: bool,
    /// It could not be read; it is not waited for again.
    code_unread: bool,
    /// SET LOCAL was used in the open transaction.
    pub local_settings: bool,
    /// When the clock was last read for the client. Clocks are not free: what happens at one go has one time.
    pub now: Instant,
    /// When the open transaction began, for statistics.
    pub transaction_began: Option<Instant>,
    /// What the client hears; `None` for the many that do not listen.
    pub listening: Option<Box<Listening>>,
    /// What the open transaction may have to do with notifications.
    pub heed: Heed,
    /// The session's temporary tables, on a sharded database.
    pub temporary: Temporary,
    /// The open transaction is on several shards; where it is said if it is the victim of a deadlock.
    pub entangled: Option<Arc<Verdict>>,
    /// How the server of the open block was lost, when the client does not know it yet.
    pub loss: Option<Error>,
}

/// What a client sent.
pub enum Unit {
    Query(BytesMut),
    FunctionCall(BytesMut),
    /// Messages of a batch; `complete` when the last one is Sync.
    Batch {
        messages: BytesMut,
        complete: bool,
    },
    /// The beginning of a long message for an unsharded database, and how many bytes are to come.
    Begun {
        message: BytesMut,
        rest: usize,
    },
    Terminate,
}

impl Client {
    /// A client that has just logged in.
    #[allow(clippy::too_many_arguments, reason = "given once, by login")]
    pub fn new(
        conn: Conn,
        worker: Rc<Worker>,
        database: Arc<Database>,
        user: Arc<User>,
        handle: Rc<Handle>,
        settings: Arc<Settings>,
        told: Rc<Parameters>,
    ) -> Self {
        let known = worker.known(&database, &settings, reads_standard_strings(&told));
        let pool_mode = worker.instance.pool_mode(&database, &user.name);
        let marks = if database.read_write_split { vec![Mark::Nothing; database.shards.len()] } else { Vec::new() };
        let pools = worker.pools_of(&database, &user);
        Self {
            conn,
            worker,
            known,
            database,
            user,
            pool_mode,
            handle,
            state: SessionState::new(settings),
            told,
            names: Names::default(),
            mentioned: Mentioned::default(),
            pools,
            links: Vec::new(),
            block: None,
            lasting: Lasting::default(),
            marks,
            batch_open: false,
            unnamed_was_merged: false,
            batch_failed: false,
            skip_to_sync: false,
            cursors: None,
            keeps_output: false,
            unwanted: 0,
            schema_touched: false,
            schema_hold: None,
            entangled: None,
            temporary: Temporary::default(),
            defined: CodeClass::default(),
            ran_code: false,
            doubts_code: false,
            canceled: false,
            own_settings: false,
            own_reading: false,
            code_unread: false,
            local_settings: false,
            now: Instant::now(),
            transaction_began: None,
            listening: None,
            heed: Heed::default(),
            loss: None,
        }
    }

    /// Serves the client until it leaves.
    pub async fn run(&mut self) {
        let end = loop {
            match self.serve_unit().await {
                Ok(true) => {}
                Ok(false) | Err(Stop::Gone | Stop::Told) => break None,
                Err(Stop::Failed(error) | Stop::Fatal(error)) => break Some(error),
            }
        };
        if let Some(error) = end {
            self.worker.count_error(error.kind);
            backend::error_response(self.conn.queue(), Severity::Fatal, &error);
        }
        if !self.conn.is_all_sent() {
            let _unsent = Box::pin(tokio::time::timeout(FAREWELL_LIMIT, self.conn.flush_now())).await;
        }
        self.leave();
    }

    /// Serves one unit; false when the client said goodbye.
    async fn serve_unit(&mut self) -> Step<bool> {
        let unit = self.next_unit().await?;
        if matches!(unit, Unit::Terminate) {
            return Ok(false);
        }
        // In a box, which is there only while the client has something to do: its task is small while it has not.
        Box::pin(self.serve(unit)).await?;
        Ok(true)
    }

    async fn serve(&mut self, unit: Unit) -> Step {
        self.now = Instant::now();
        self.handle.state.set(State::Active(self.now));
        self.transaction_began.get_or_insert(self.now);
        self.canceled = false;
        match self.database.unknown_code() {
            Some(ticket) => Box::pin(self.learn_code(ticket)).await,
            None => (self.doubts_code, self.code_unread) = (false, false),
        }
        self.look_at_settings();
        // What is rare has a box of its own, too.
        let result = match &unit {
            Unit::Query(message) => self.query(message).await,
            Unit::FunctionCall(message) => Box::pin(self.function_call(message)).await,
            Unit::Batch { messages, complete } => self.batch(messages, *complete).await,
            Unit::Begun { message, rest } => Box::pin(self.begun(message, *rest)).await,
            Unit::Terminate => Ok(()),
        };
        if let Unit::Query(used) | Unit::FunctionCall(used) | Unit::Batch { messages: used, .. } = unit {
            self.conn.reuse(used);
        }
        self.end_unit(result).await
    }

    /// Waits until it is known what changes of the schema do to sessions. Where that cannot be read, the worst is assumed
    /// until it can: the reading may wait for a lock that this client's own block holds. A client that keeps its server
    /// anyway needs no wait. A cancel ends the wait, and fails the unit when it comes to a server.
    async fn learn_code(&mut self, ticket: u64) {
        let waits = self.pool_mode != PoolMode::Session;
        if waits && !self.code_unread {
            let handle = Rc::clone(&self.handle);
            let state = handle.state.replace(State::Waiting(self.now));
            let read = tokio::select! {
                biased;
                read = self.database.schema_as_of(ticket) => Some(read),
                () = handle.canceled_waiting() => None,
            };
            handle.state.set(state);
            self.canceled = read.is_none();
            self.code_unread = read == Some(SchemaRead::Failed);
        }
        self.doubts_code = !waits || self.code_unread || self.canceled;
    }

    /// Answers a unit that failed, gives servers back, and sends what is left to send.
    async fn end_unit(&mut self, result: Step) -> Step {
        let failed = matches!(&result, Err(Stop::Failed(_) | Stop::Told));
        match result {
            Ok(()) | Err(Stop::Told) => {}
            Err(Stop::Failed(error)) => self.answer_failure(&error),
            Err(stop) => return Err(stop),
        }
        self.handle.prepared.set(self.names.len());
        self.mentioned = Mentioned::default();
        if !self.batch_open && self.has_open_batches() {
            Box::pin(self.end_open_batches(failed || self.batch_failed)).await?;
        }
        if self.pool_mode == PoolMode::Statement {
            self.end_stray_block()?;
        }
        let held = self.links.iter_mut().find_map(|link| link.server.session.ledger.take_held_ready());
        self.leave_or_lose_servers().await?;
        if let Some(status) = held {
            backend::ready_for_query(self.conn.queue(), status);
        }
        // A client that listens is given what came meanwhile.
        if self.listening.is_some() && self.may_leave() {
            Box::pin(self.deliver()).await?;
        }
        self.conn.flush().await.map_err(|_| Stop::Gone)?;
        if !self.batch_open {
            self.handle.state.set(State::Idle);
        }
        Ok(())
    }

    /// Gives servers back. One that is lost meanwhile owed answers to Weir alone: between transactions the client has
    /// nothing there any more, unless it must keep its servers. In a block, the next statement learns of the loss.
    async fn leave_or_lose_servers(&mut self) -> Step {
        while let Err(stop) = self.leave_servers().await {
            match stop {
                Stop::Failed(error) if error.kind == Kind::Reported => return Err(Stop::Failed(error)),
                Stop::Failed(error) if self.in_transaction() => self.loss = Some(error),
                Stop::Failed(error) => tracing::debug!(%error, "a server was lost after its client's transaction"),
                stop => return Err(stop),
            }
        }
        Ok(())
    }

    /// Whether the client is between transactions and between messages.
    fn may_leave(&self) -> bool {
        !self.batch_open && !self.in_transaction()
    }

    /// Queues an ErrorResponse, and ReadyForQuery where the client waits for it.
    fn answer_failure(&mut self, error: &Error) {
        self.worker.count_error(error.kind);
        if let Some(block) = &mut self.block {
            block.fail();
        }
        backend::error_response(self.conn.queue(), Severity::Error, error);
        if self.batch_open {
            (self.skip_to_sync, self.batch_failed) = (true, true);
        } else {
            let status = self.status();
            backend::ready_for_query(self.conn.queue(), status);
        }
    }

    /// The transaction status as the client sees it.
    pub fn status(&self) -> TransactionStatus {
        match (&self.block, self.links.first()) {
            (Some(block), _) => block.status(),
            (None, Some(link)) => link.server.session.ledger.status(),
            (None, None) => TransactionStatus::Idle,
        }
    }

    pub fn in_transaction(&self) -> bool {
        self.status() != TransactionStatus::Idle
    }

    /// Waits for the client's next unit.
    async fn next_unit(&mut self) -> Step<Unit> {
        loop {
            if let Some(at) = (0..self.links.len()).find(|at| self.takes_copy_data(*at)) {
                self.pass_copy(at)?;
                if !self.takes_copy_data(at) {
                    continue;
                }
            } else if let Some(unit) = self.cut_unit().map_err(Stop::Fatal)? {
                return Ok(unit);
            }
            self.await_client().await?;
        }
    }

    /// Waits until the client sends something. When Weir stops, a client outside of transactions is sent away.
    async fn await_client(&mut self) -> Step {
        let may_leave = self.may_leave();
        if self.listening.is_some() && may_leave {
            return Box::pin(self.await_client_or_news()).await;
        }
        if let Some(at) = self.link_to_watch() {
            let handle = Rc::clone(&self.handle);
            return tokio::select! {
                biased;
                sent = Box::pin(self.watch(at)) => sent,
                () = handle.stop.heard(), if may_leave => Err(Stop::Fatal(shutting_down())),
            };
        }
        self.rest();
        poll_fn(|cx| match self.conn.poll_fill(cx) {
            Poll::Ready(Ok(1..)) => Poll::Ready(Ok(())),
            Poll::Ready(_) => Poll::Ready(Err(Stop::Gone)),
            Poll::Pending if may_leave => self.handle.stop.poll_heard(cx).map(|()| Err(Stop::Fatal(shutting_down()))),
            Poll::Pending => Poll::Pending,
        })
        .await
    }

    /// The same for a client that listens: it is given what comes.
    async fn await_client_or_news(&mut self) -> Step {
        let handle = Rc::clone(&self.handle);
        while let Some(mailbox) = self.listening.as_ref().map(|listening| listening.mailbox()) {
            tokio::select! {
                biased;
                sent = self.client_sends() => return sent,
                () = handle.stop.heard() => return Err(Stop::Fatal(shutting_down())),
                () = mailbox.news() => self.deliver().await?,
            }
        }
        Ok(())
    }

    async fn client_sends(&mut self) -> Step {
        if let Some(at) = self.link_to_watch() {
            return self.watch(at).await;
        }
        self.rest();
        match self.conn.fill().await {
            Ok(1..) => Ok(()),
            Ok(0) | Err(_) => Err(Stop::Gone),
        }
    }

    /// A client that waits and holds no server holds no buffers either.
    fn rest(&mut self) {
        if self.links.is_empty() {
            self.conn.release_buffers();
        }
    }

    /// The server that may have something to say while the client is silent: it owes replies of an open batch, or it is
    /// the client's only one.
    fn link_to_watch(&self) -> Option<usize> {
        let owing = |link: &Link| !link.server.session.ledger.owes_nothing();
        self.links.iter().position(owing).or_else(|| (self.links.len() == 1).then_some(0))
    }

    /// Passes on what a server says (replies to Flush, notices, notifications) until the client sends something.
    async fn watch(&mut self, at: usize) -> Step {
        self.conn.release_large_buffers();
        let mut seen = Seen { stalled: self.conn.input.len(), ..Seen::default() };
        match self.relay(at, Listen::Always, &mut seen).await {
            Ok(_) => Ok(()),
            Err(Stop::Failed(error)) if self.batch_open => {
                self.answer_failure(&error);
                self.conn.flush().await.map_err(|_| Stop::Gone)
            }
            Err(Stop::Failed(error)) => {
                self.loss = Some(error);
                Ok(())
            }
            Err(stop) => Err(stop),
        }
    }

    /// Cuts the next unit off what the client has sent; `None` when it is not complete.
    fn cut_unit(&mut self) -> Result<Option<Unit>, Error> {
        loop {
            if self.unwanted > 0 {
                self.drop_unwanted();
            }
            let Some(first) = frame::first(&self.conn.input, Sender::Client)? else {
                return Ok(self.cut_begun()?.map(|(message, rest)| Unit::Begun { message, rest }));
            };
            let len = first.raw.len();
            match first.tag {
                tag::QUERY => return Ok(Some(Unit::Query(self.conn.take_input(len)))),
                tag::FUNCTION_CALL => return Ok(Some(Unit::FunctionCall(self.conn.take_input(len)))),
                tag::TERMINATE => return Ok(Some(Unit::Terminate)),
                // A COPY that failed on the server: the client learns of it while its data is still on the way.
                tag::COPY_DATA | tag::COPY_DONE | tag::COPY_FAIL => drop(self.conn.input.split_to(len)),
                tag if is_extended(tag) => return self.cut_batch(),
                other => return Err(Error::protocol(format!("invalid frontend message type {other}"))),
            }
        }
    }

    fn cut_batch(&mut self) -> Result<Option<Unit>, Error> {
        let mut len = 0;
        let mut whole = None;
        while let Some(Frame { tag, raw, .. }) = frame::first(&self.conn.input[len..], Sender::Client)? {
            if !is_extended(tag) {
                whole = Some((len, false));
                break;
            }
            len += raw.len();
            if matches!(tag, tag::SYNC | tag::FLUSH) {
                whole = Some((len, tag == tag::SYNC));
                break;
            }
        }
        let goes_on = len >= BATCH_PIECE && !self.database.is_sharded() || self.may_begin(&self.conn.input[len..])?;
        if whole.is_none() && goes_on {
            whole = Some((len, false));
        }
        if self.database.is_sharded() && len > SHARDED_BATCH_MAX {
            return Err(Error::new(Origin::Client, Kind::LimitExceeded, "a batch is too long for a sharded database")
                .detail(format!("It has more than {SHARDED_BATCH_MAX} bytes without a Sync."))
                .hint("Send Sync more often."));
        }
        Ok(whole.map(|(len, complete)| Unit::Batch { messages: self.conn.take_input(len), complete }))
    }

    /// What a replica of the shard must have replayed for this client.
    pub fn mark(&mut self, shard: ShardId) -> Option<&mut Mark> {
        self.marks.get_mut(shard.index())
    }
}

/// Whether texts are read with standard_conforming_strings on, as a server reported it.
pub fn reads_standard_strings(told: &Parameters) -> bool {
    told.get(b"standard_conforming_strings") != Some(b"off")
}

/// How long a client that is sent away may take to read why.
const FAREWELL_LIMIT: Duration = Duration::from_secs(2);

fn is_extended(message: u8) -> bool {
    matches!(message, tag::PARSE | tag::BIND | tag::DESCRIBE | tag::EXECUTE | tag::CLOSE | tag::SYNC | tag::FLUSH)
}

/// What a client reads when Weir stops.
pub fn shutting_down() -> Error {
    Error::new(Origin::Weir, Kind::Shutdown, "terminating connection due to administrator command")
}
