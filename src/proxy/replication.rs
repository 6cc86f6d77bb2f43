//! Replication connections: each has a server connection of its own, with the client's own start-up parameters, that
//! never goes to a pool. Bytes are passed on both ways as they are.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::client::shutting_down;
use super::handle::{Handle, State};
use super::instance::{Admission, Instance, User};
use super::keys;
use super::worker::Worker;
use crate::net::Conn;
use crate::pool::database::Database;
use crate::pool::local::Local;
use crate::pool::server::{self, Server};
use crate::types::{Error, Kind, Origin, Result};
use crate::wire::TransactionStatus;
use crate::wire::backend::{self, Severity};
use crate::wire::frame::Boundary;
use crate::wire::replication::Replication;
use crate::wire::startup::StartupMessage;

/// Unsent bytes towards one side above which the other side is not read.
const HIGH_WATER: usize = 256 * 1024;

/// How long a client that is sent away may take to read why.
const FAREWELL_LIMIT: Duration = Duration::from_secs(2);

/// Parameters of the StartupMessage that the server gets from Weir.
const OWN_PARAMETERS: [&str; 2] = ["user", "database"];

/// A replication connection whose server is there.
pub struct Walsender {
    admission: Admission,
    protocol: u32,
    user: Arc<User>,
    application_name: String,
    kind: Replication,
    server: Box<Server>,
}

/// Connects the client to the server that it asks for.
///
/// # Errors
/// No such database, one with several servers, no place, or what the server says, a missing right among it.
pub async fn open(
    worker: &Worker,
    admission: Admission,
    protocol: u32,
    user: Arc<User>,
    startup: &StartupMessage,
    kind: Replication,
) -> Result<Walsender> {
    let name = startup.get("database").unwrap_or(&user.name);
    let database = database(&worker.instance, name, kind)?;
    let mail = &worker.instance.pool_mail;
    let shared = database
        .replication_pool(&user.name, user.server_password.as_ref(), mail)
        .ok_or_else(|| Error::internal("a database has no primary"))?;
    let place = shared.reserve(worker.index).ok_or_else(|| no_place(shared.limits.size))?;
    let is_passed = |name: &str| !OWN_PARAMETERS.contains(&name) && !name.starts_with("_pq_.");
    let parameters = startup.parameters.iter().filter(|(name, _)| is_passed(name));
    let parameters: Vec<_> = parameters.map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let server = Server::open_for_replication(place, &parameters).await?;
    let application_name = startup.get("application_name").unwrap_or_default().to_owned();
    Ok(Walsender { admission, protocol, user, application_name, kind, server })
}

/// The database that is meant. Physical replication names none (libpq's programs say "replication"); where all databases
/// are on one server, that one is meant.
fn database(instance: &Instance, name: &str, kind: Replication) -> Result<Arc<Database>> {
    let named = instance.database(name).cloned();
    let found = named.or_else(|| if kind == Replication::Physical { only_server(instance) } else { None });
    let database = found.ok_or_else(|| unknown(name, kind))?;
    if database.shards.len() > 1 {
        return Err(Error::refuse(
            "a sharded database cannot be replicated through one connection",
            format!("The database \"{}\" is on several servers.", database.name),
        )
        .hint("Configure a database of its own for the shard, or connect to the server itself."));
    }
    Ok(database)
}

/// A database of the one server that has them all.
fn only_server(instance: &Instance) -> Option<Arc<Database>> {
    let databases = instance.databases();
    let first = databases.iter().find(|database| database.shards.len() == 1)?;
    let address = |database: &Database| Some(database.shards.first()?.nodes.first()?.address.clone());
    let is_one = databases.iter().all(|database| database.shards.len() == 1 && address(database) == address(first));
    is_one.then(|| Arc::clone(first))
}

fn unknown(name: &str, kind: Replication) -> Error {
    let error = Error::new(Origin::Client, Kind::UnknownDatabase, format!("database \"{name}\" does not exist"));
    match kind {
        Replication::Logical => error.hint("The databases that Weir serves are those of its configuration."),
        Replication::Physical => error
            .detail("Weir's databases are on several servers, and a physical replication connection streams from one.")
            .hint("Name a database of the configuration, or configure one of this name."),
    }
}

fn no_place(max: usize) -> Error {
    let message = format!("number of requested standby connections exceeds max_wal_senders (currently {max})");
    Error::new(Origin::Weir, Kind::TooManyConnections, message).hint("It is a setting of the database in Weir.")
}

/// Why the relay ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// One side closed its connection, or it broke.
    Closed,
    /// The operator or a shutdown ends it.
    Stopped,
}

impl Walsender {
    /// Tells the client that it is in, and passes bytes on until one side leaves.
    pub async fn run(self, worker: Rc<Worker>, mut client: Conn) {
        let Self { admission, protocol, user, application_name, kind, mut server } = self;
        let (Some(address), Some(local_address)) = (client.peer(), client.local()) else { return };
        let key = keys::make(admission.process_id, protocol);
        for (name, value) in server.session.parameters().iter() {
            backend::parameter_status(client.queue(), name, value);
        }
        backend::backend_key_data(client.queue(), key.process_id, &key.secret);
        backend::ready_for_query(client.queue(), TransactionStatus::Idle);
        let id = worker.instance.client_number() as u64;
        let (user, database) = (Arc::clone(&user.name), Arc::clone(&server.shared().id.database));
        let handle = Rc::new(Handle::new(id, key, user, database, application_name, address, local_address));
        let now = Instant::now();
        handle.replication.set(Some(kind));
        handle.state.set(State::Active(now));
        handle.hold(&server, &Rc::new(Local::new(Arc::clone(server.shared()), worker.index)), now);
        worker.remember(&handle);
        let mut boundary = Boundary::default();
        let end = tokio::select! {
            biased;
            () = handle.stop.heard() => End::Stopped,
            () = relay(&mut client, &mut server.conn, &mut boundary) => End::Closed,
        };
        if end == End::Stopped && boundary.is_between_messages() {
            backend::error_response(client.queue(), Severity::Fatal, &shutting_down());
        }
        let _unsent = tokio::time::timeout(FAREWELL_LIMIT, client.flush_now()).await;
        worker.forget(&handle);
        server::close(server);
        drop(admission);
    }
}

/// Passes bytes on both ways until one side closes or breaks; what a side has said before is passed on first.
async fn relay(client: &mut Conn, server: &mut Conn, boundary: &mut Boundary) {
    poll_fn(|cx| poll_relay(cx, client, server, boundary)).await;
}

fn poll_relay(cx: &mut Context<'_>, client: &mut Conn, server: &mut Conn, boundary: &mut Boundary) -> Poll<()> {
    let (flushed, sent) = (client.poll_flush(cx), server.poll_flush(cx));
    if matches!((flushed, sent), (Poll::Ready(Err(_)), _) | (_, Poll::Ready(Err(_)))) {
        return Poll::Ready(());
    }
    loop {
        let from_server = pass(cx, server, client, |bytes| boundary.pass(bytes));
        let from_client = pass(cx, client, server, |_| {});
        match (from_server, from_client) {
            (Passed::Closed, _) | (_, Passed::Closed) => return Poll::Ready(()),
            (Passed::Nothing, Passed::Nothing) => return Poll::Pending,
            _ => {}
        }
    }
}

/// What became of one attempt to pass bytes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Passed {
    Some,
    /// Nothing is there, or the other side does not take what it has.
    Nothing,
    Closed,
}

fn pass(cx: &mut Context<'_>, from: &mut Conn, to: &mut Conn, mut look: impl FnMut(&[u8])) -> Passed {
    if to.unsent() >= HIGH_WATER {
        return Passed::Nothing;
    }
    match from.poll_fill(cx) {
        Poll::Pending if from.input.is_empty() => return Passed::Nothing,
        Poll::Pending | Poll::Ready(Ok(1..)) => {}
        Poll::Ready(Ok(0) | Err(_)) => return Passed::Closed,
    }
    look(&from.input);
    let sent = to.poll_send(cx, &from.input);
    from.input.clear();
    if sent.is_ok() { Passed::Some } else { Passed::Closed }
}
