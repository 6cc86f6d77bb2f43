//! One connection to a server.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use super::shared::{Place, Shared};
use crate::auth::{ServerLogin, ServerStep};
use crate::net::Conn;
use crate::session::ledger::Event;
use crate::session::request::ServerSession;
use crate::types::{Error, Kind, Origin, Result, ShardId, SqlState};
use crate::wire::backend::{self, Authentication, CancelKey, ErrorFields, tag};
use crate::wire::frame::{self, Frame, Sender};
use crate::wire::{TransactionStatus, frontend, startup};

/// A server connection with its protocol state. Dropping it closes it and gives its place in the pool back.
#[derive(Debug)]
pub struct Server {
    pub conn: Conn,
    pub session: ServerSession,
    pub cancel_key: CancelKey,
    pub opened: Instant,
    /// Since when the server has been idle, while it is.
    pub since: Instant,
    /// What came for the client while Weir itself had asked something: notifications.
    pub shown: BytesMut,
    /// Why the server must not be given to another client, if it must not.
    pub retired: Option<&'static str>,
    place: Place,
}

/// A server on its way to another worker: its socket belongs to no runtime.
#[derive(Debug)]
pub struct InTransit {
    socket: std::net::TcpStream,
    session: ServerSession,
    cancel_key: CancelKey,
    opened: Instant,
    place: Place,
}

impl Server {
    /// Opens a connection and logs in, within the pool's `server_connect_timeout`. The server comes in a box, because it
    /// goes from hand to hand: from its pool to a client and back, once per transaction.
    pub async fn open(place: Place) -> Result<Box<Self>> {
        Self::open_as(place, Purpose::Pool).await
    }

    /// The same for a replication connection, with these parameters of its client's. What the server says once it knows
    /// the user is passed on.
    pub async fn open_for_replication(place: Place, parameters: &[(&str, &str)]) -> Result<Box<Self>> {
        Self::open_as(place, Purpose::Replication(parameters)).await
    }

    /// The same for a connection that listens: what it sends is in the database's own encoding.
    pub async fn open_to_listen(place: Place) -> Result<Box<Self>> {
        Self::open_as(place, Purpose::Listening).await
    }

    async fn open_as(place: Place, purpose: Purpose<'_>) -> Result<Box<Self>> {
        let limit = place.shared().limits.connect_timeout;
        match tokio::time::timeout(limit, Self::log_in(place, purpose)).await {
            Ok(result) => result.map(Box::new),
            Err(_) => Err(Error::new(Origin::Weir, Kind::ServerUnavailable, "a server did not answer in time")
                .detail(format!("The login took longer than server_connect_timeout ({} s).", limit.as_secs_f32()))),
        }
    }

    async fn log_in(place: Place, purpose: Purpose<'_>) -> Result<Self> {
        let shared = Arc::clone(place.shared());
        let shard = shared.id.shard;
        let mut conn = Conn::connect(&shared.address, shared.limits.connect_timeout)
            .await
            .map_err(|error| unavailable(shard, &shared.address, error))?;
        let names = [("user", &*shared.id.user), ("database", &*shared.dbname)];
        startup::startup_message(conn.queue(), names.into_iter().chain(purpose.parameters().iter().copied()));
        conn.flush().await.map_err(|error| unavailable(shard, &shared.address, error))?;
        let mut login = Login::new(&shared, purpose);
        loop {
            while let Some(frame) = frame::first(&conn.input, Sender::Server)? {
                let len = frame.raw.len();
                let done = login.message(frame).await?;
                let _used = conn.input.split_to(len);
                if done {
                    return Ok(login.finish(conn, place));
                }
            }
            if !login.answer.is_empty() {
                let answer = login.answer.split();
                conn.send(&answer).await.map_err(|error| unavailable(shard, &shared.address, error))?;
            }
            match conn.fill().await {
                Ok(0) => return Err(unavailable(shard, &shared.address, std::io::ErrorKind::UnexpectedEof.into())),
                Ok(_) => {}
                Err(error) => return Err(unavailable(shard, &shared.address, error)),
            }
        }
    }

    /// What the pool of this server is.
    pub fn shared(&self) -> &Arc<Shared> {
        self.place.shared()
    }

    pub fn shard(&self) -> ShardId {
        self.place.shared().id.shard
    }

    /// Marks the server as not to be used by anybody else. The first reason stays.
    pub fn retire(&mut self, reason: &'static str) {
        self.retired.get_or_insert(reason);
    }

    /// Whether the server owes nothing, is outside of transactions, and may serve somebody else.
    pub fn is_reusable(&self) -> bool {
        self.retired.is_none()
            && !self.session.listens
            && self.session.ledger.is_settled()
            && self.session.ledger.status() == TransactionStatus::Idle
            && self.conn.input.is_empty()
            && self.conn.unsent() == 0
    }

    /// Runs a query of Weir's own to its end and gives each column of its last row, as text.
    /// Not cancel safe: a dropped future leaves the server in the middle of an answer, so that it cannot be reused.
    pub async fn run(&mut self, sql: &str) -> Result<Vec<Option<Bytes>>> {
        self.session.own_query(self.conn.queue(), sql);
        self.finish_own_queries().await
    }

    /// Reads until the server owes nothing. The first error among the replies is the result, else the last row.
    pub async fn finish_own_queries(&mut self) -> Result<Vec<Option<Bytes>>> {
        let mut failure = None;
        let mut row = Vec::new();
        let shard = self.shard();
        self.conn.flush().await.map_err(|error| lost(shard, error))?;
        while !self.session.ledger.owes_nothing() {
            if let Some(later) = last_row(&self.conn.input)? {
                row = later;
            }
            let scanned = self.session.ledger.scan(&self.conn.input, &mut self.shown)?;
            if let Some(shown) = scanned.verbatim {
                self.shown.extend_from_slice(&self.conn.input[shown]);
            }
            let _used = self.conn.input.split_to(scanned.consumed);
            for event in self.session.ledger.take_events() {
                self.session.note(&event);
                match event {
                    Event::OwnError(body) | Event::PrepareError(body) => drop(failure.get_or_insert(body)),
                    Event::Fatal(body) => return Err(ended(shard, &body)),
                    Event::ClientError(_)
                    | Event::SyncIgnored
                    | Event::SyncCounted
                    | Event::Prepared(_)
                    | Event::NotPrepared(_)
                    | Event::NotEvicted(_)
                    | Event::Described(..)
                    | Event::Doubted(_)
                    | Event::Withheld
                    | Event::Parameter { .. }
                    | Event::OwnParameter { .. } => {}
                }
            }
            if !self.session.ledger.owes_nothing() && self.conn.fill().await.map_err(|error| lost(shard, error))? == 0 {
                return Err(lost(shard, std::io::ErrorKind::UnexpectedEof.into()));
            }
        }
        match failure {
            Some(body) => Err(server_error(shard, &body)),
            None => Ok(row),
        }
    }

    /// Takes the server off this thread's runtime. Gives `None`, and closes the server, when that fails.
    pub fn into_transit(self: Box<Self>) -> Option<InTransit> {
        let Self { conn, session, cancel_key, opened, place, .. } = *self;
        conn.into_std().ok().map(|socket| InTransit { socket, session, cancel_key, opened, place })
    }
}

impl InTransit {
    /// Puts the server on the runtime of `worker`, this thread's. Gives `None`, and closes the server, when that fails.
    pub fn arrive(self, worker: usize) -> Option<Box<Server>> {
        let Self { socket, session, cancel_key, opened, mut place } = self;
        place.move_to(worker);
        let conn = Conn::from_std(socket).ok()?;
        Some(Box::new(Server {
            conn,
            session,
            cancel_key,
            opened,
            since: Instant::now(),
            shown: BytesMut::new(),
            retired: None,
            place,
        }))
    }

    /// The pool that the server belongs to.
    pub fn shared(&self) -> &Arc<Shared> {
        self.place.shared()
    }
}

/// What a server is opened for.
#[derive(Clone, Copy, Debug)]
enum Purpose<'p> {
    /// A pool.
    Pool,
    /// Weir listens.
    Listening,
    /// One replication connection, with its client's parameters.
    Replication(&'p [(&'p str, &'p str)]),
}

impl<'p> Purpose<'p> {
    fn parameters(self) -> &'p [(&'p str, &'p str)] {
        match self {
            Self::Pool => &[],
            Self::Listening => &[("application_name", "weir"), ("client_encoding", "SQL_ASCII")],
            Self::Replication(parameters) => parameters,
        }
    }
}

/// The part of a connection's life between StartupMessage and the first ReadyForQuery.
struct Login<'p> {
    purpose: Purpose<'p>,
    shard: ShardId,
    exchange: Option<ServerLogin>,
    answer: BytesMut,
    session: ServerSession,
    cancel_key: CancelKey,
}

impl<'p> Login<'p> {
    fn new(shared: &Shared, purpose: Purpose<'p>) -> Self {
        Self {
            purpose,
            shard: shared.id.shard,
            exchange: Some(ServerLogin::new(shared.id.shard, &shared.id.user, shared.password.clone())),
            answer: BytesMut::new(),
            session: ServerSession::new(shared.limits.prepared_max),
            cancel_key: CancelKey { process_id: 0, secret: 0 },
        }
    }

    /// Takes one message; true when the server is ready.
    async fn message(&mut self, frame: Frame<'_>) -> Result<bool> {
        match frame.tag {
            tag::AUTHENTICATION => self.authentication(frame.body).await?,
            tag::PARAMETER_STATUS => {
                let (name, value) = backend::read_parameter_status(frame.body)?;
                self.session.report(name, value);
            }
            tag::BACKEND_KEY_DATA => self.cancel_key = backend::read_backend_key_data(frame.body)?,
            tag::ERROR_RESPONSE => return Err(self.refusal(frame.body)),
            tag::NOTICE_RESPONSE | tag::NEGOTIATE_PROTOCOL_VERSION => {}
            tag::READY_FOR_QUERY if self.exchange.is_none() => return Ok(true),
            other => {
                return Err(Error::new(
                    Origin::Server(self.shard),
                    Kind::ServerUnavailable,
                    format!("unexpected message type {:?} while logging in to a server", other as char),
                ));
            }
        }
        Ok(false)
    }

    /// The server's own words reach the client only where they answer its own parameters.
    fn refusal(&self, body: &[u8]) -> Error {
        match self.purpose {
            Purpose::Pool | Purpose::Listening => login_error(self.shard, body),
            Purpose::Replication(_) if self.exchange.is_none() => server_error(self.shard, body),
            Purpose::Replication(_) => {
                let mut error = login_error(self.shard, body);
                error.reported = Some(server_error(self.shard, body).sqlstate());
                error.hint("The operator's log says why. Does pg_hba.conf have a line for replication?")
            }
        }
    }

    async fn authentication(&mut self, body: &[u8]) -> Result<()> {
        let exchange = self.exchange.take().ok_or_else(|| {
            Error::new(Origin::Server(self.shard), Kind::ServerUnavailable, "a server authenticated twice")
        })?;
        let step = if exchange.proves_next() { self.prove(exchange, body).await? } else { self.step(exchange, body)? };
        match step {
            ServerStep::Continue(exchange) => self.exchange = Some(exchange),
            ServerStep::Done => {}
        }
        Ok(())
    }

    fn step(&mut self, exchange: ServerLogin, body: &[u8]) -> Result<ServerStep> {
        exchange.authentication(&Authentication::read(body)?, &mut self.answer)
    }

    /// The same on another thread: thousands of rounds of a hash, for which the other connections of this one do not wait.
    async fn prove(&mut self, exchange: ServerLogin, body: &[u8]) -> Result<ServerStep> {
        let body = body.to_vec();
        let mut answer = self.answer.split();
        let proving = tokio::task::spawn_blocking(move || {
            let step = exchange.authentication(&Authentication::read(&body)?, &mut answer)?;
            Ok((step, answer))
        });
        let proved = proving.await.map_err(|error| Error::internal("a SCRAM proof broke off").source(error))?;
        let (step, answer) = proved?;
        self.answer = answer;
        Ok(step)
    }

    fn finish(mut self, conn: Conn, place: Place) -> Server {
        let now = Instant::now();
        if let (Purpose::Pool, Some(notifiers)) = (self.purpose, &place.shared().notifiers) {
            self.session.notifier = Some(notifiers.register(self.cancel_key.process_id));
        }
        Server {
            conn,
            session: self.session,
            cancel_key: self.cancel_key,
            opened: now,
            since: now,
            shown: BytesMut::new(),
            retired: None,
            place,
        }
    }
}

/// Asks the server at `address` to cancel what the holder of `key` runs. Returns when the server has dealt with it:
/// PostgreSQL closes the connection only after the signal was sent.
pub async fn cancel(address: &str, key: CancelKey, limit: Duration) -> std::io::Result<()> {
    request_cancel(address, limit, |out| startup::cancel_request(out, key)).await
}

/// Sends the CancelRequest that `write` appends to whoever is at `address`, and waits until it was dealt with.
pub async fn request_cancel(address: &str, limit: Duration, write: impl FnOnce(&mut BytesMut)) -> std::io::Result<()> {
    let mut conn = Conn::connect(address, limit).await?;
    write(conn.queue());
    conn.flush().await?;
    let closed = async {
        while conn.fill().await? > 0 {
            conn.input.clear();
        }
        Ok(())
    };
    tokio::time::timeout(limit, closed).await.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
}

/// Says goodbye as libpq does, as far as the socket takes it at once, and closes.
pub fn close(mut server: Box<Server>) {
    let mut goodbye = BytesMut::new();
    frontend::terminate(&mut goodbye);
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    let _best_effort = server.conn.poll_send(&mut cx, &goodbye);
}

/// The last DataRow in `input`, if a whole one is there.
fn last_row(mut input: &[u8]) -> Result<Option<Vec<Option<Bytes>>>> {
    let mut last = None;
    while let Some(frame) = frame::first(input, Sender::Server)? {
        if frame.tag == tag::DATA_ROW {
            last = Some(frame.body);
        }
        input = &input[frame.raw.len()..];
    }
    let Some(body) = last else { return Ok(None) };
    let values = backend::read_data_row(body)?;
    Ok(Some(values.into_iter().map(|value| value.map(Bytes::copy_from_slice)).collect()))
}

fn unavailable(shard: ShardId, address: &str, error: std::io::Error) -> Error {
    tracing::warn!(%shard, address, %error, "cannot connect to a server: is it running, and is its address right?");
    Error::new(Origin::Server(shard), Kind::ServerUnavailable, format!("cannot connect to a server of shard {shard}"))
        .detail(format!("{error}."))
        .hint("Try again; the operator's log says which server it is.")
}

/// A server went away in the middle of an exchange.
pub fn lost(shard: ShardId, error: std::io::Error) -> Error {
    Error::new(Origin::Server(shard), Kind::ServerLost, format!("the connection to a server of shard {shard} was lost"))
        .detail(format!("{error}."))
        .hint("Whether the statement took effect is not known, unless it only reads.")
}

/// An ErrorResponse to something that Weir asked for. Server text is kept: it speaks of statements, not of logins.
pub fn server_error(shard: ShardId, body: &[u8]) -> Error {
    let fields = match ErrorFields::read(body) {
        Ok(fields) => fields,
        Err(error) => return error,
    };
    let mut error = Error::new(Origin::Server(shard), Kind::Reported, fields.message().into_owned());
    error.reported = fields.sqlstate().and_then(|code| SqlState::parse(&code));
    error.detail = fields.get(b'D').map(|text| text.into_owned().into());
    error.hint = fields.get(b'H').map(|text| text.into_owned().into());
    error
}

/// The server said why it ends the connection.
pub fn ended(shard: ShardId, body: &[u8]) -> Error {
    let mut error = server_error(shard, body);
    error.kind = Kind::ServerLost;
    error
}

/// An ErrorResponse to a login. Its text can name hosts and roles, so it goes to the log only.
fn login_error(shard: ShardId, body: &[u8]) -> Error {
    let reported = server_error(shard, body);
    tracing::warn!(%shard, error = %reported, "a server refused Weir's login: check server_password and pg_hba.conf");
    let kind = match reported.sqlstate() {
        SqlState::TOO_MANY_CONNECTIONS => Kind::TooManyConnections,
        _ => Kind::ServerUnavailable,
    };
    Error::new(Origin::Server(shard), kind, format!("a server of shard {shard} refused the login"))
        .hint("The operator's log says why.")
}
