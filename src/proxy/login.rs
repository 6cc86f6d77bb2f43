//! From a connection's first packet to its first ReadyForQuery.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use rand::Rng;

use super::client::Client;
use super::handle::Handle;
use super::instance::{Admission, User};
use super::leave::clean;
use super::links::check_out;
use super::replication::Walsender;
use super::worker::{Reports, Worker};
use super::{cancel, keys, replication};
use crate::auth::{ClientLogin, ClientStep, Randomness};
use crate::config::CONSOLE_DATABASE;
use crate::net::{Conn, executor};
use crate::pool::database::{Database, SchemaRead};
use crate::pool::server::{self, Server};
use crate::pool::shared::NodeIndex;
use crate::route;
use crate::session::settings::Settings;
use crate::types::{Error, Kind, Origin, Result, ShardId};
use crate::wire::backend::{self, Severity};
use crate::wire::frame::{self, Sender};
use crate::wire::replication::Replication;
use crate::wire::startup::{self, PROTOCOL_3_2, Packet, StartupMessage};
use crate::wire::{TransactionStatus, frontend};

/// How long a client that is refused may take to read why.
const FAREWELL_LIMIT: Duration = Duration::from_secs(2);

/// How long a client waits for the schema of a database that was not read yet.
const SCHEMA_LIMIT: Duration = Duration::from_secs(10);

/// Serves a connection to its end.
pub async fn serve(worker: Rc<Worker>, socket: std::net::TcpStream) {
    // In a box, for it is over when the client's life begins: a client's task is to be small.
    if let Some((mut client, _place)) = Box::pin(begin(worker, socket)).await {
        client.run().await;
    }
}

/// Gives the client that a connection turns out to be; serves what is no client.
async fn begin(worker: Rc<Worker>, socket: std::net::TcpStream) -> Option<(Box<Client>, Admission)> {
    let mut conn = Conn::from_std(socket).ok()?;
    let limit = worker.instance.config.pool.client_login_timeout;
    let opening = open(&worker, &mut conn);
    let opened = match limit {
        Some(limit) => tokio::time::timeout(limit, opening).await.unwrap_or_else(|_| Err(Refusal::Silent)),
        None => opening.await,
    };
    match opened {
        Ok(Opened::Client(login)) => return login.into_client(worker, conn).await,
        Ok(Opened::Replication(walsender)) => walsender.run(worker, conn).await,
        Ok(Opened::Console(_place)) => super::console::run(&worker, conn).await,
        Ok(Opened::Cancel) | Err(Refusal::Silent) => {}
        Err(Refusal::Told(error)) => {
            worker.count_error(error.kind);
            backend::error_response(conn.queue(), Severity::Fatal, &error);
            let _unsent = tokio::time::timeout(FAREWELL_LIMIT, conn.flush_now()).await;
        }
    }
    None
}

/// What a connection turned out to be.
enum Opened {
    Client(Box<LoggedIn>),
    Console(Admission),
    Replication(Box<Walsender>),
    Cancel,
}

/// Why a connection came to nothing.
enum Refusal {
    Told(Error),
    /// The peer is gone, or too slow.
    Silent,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Told(error)
    }
}

impl From<std::io::Error> for Refusal {
    fn from(_: std::io::Error) -> Self {
        Self::Silent
    }
}

/// A client that has shown who it is, and whose settings a server accepted.
struct LoggedIn {
    admission: Admission,
    /// The version that the client speaks.
    protocol: u32,
    database: Arc<Database>,
    user: Arc<User>,
    settings: Arc<Settings>,
    reports: Reports,
}

async fn open(worker: &Rc<Worker>, conn: &mut Conn) -> Result<Opened, Refusal> {
    let startup = match first_packet(conn).await? {
        Packet::Cancel(key) => {
            cancel::cancel(&worker.instance, key).await;
            return Ok(Opened::Cancel);
        }
        Packet::Startup(startup) => startup,
        Packet::Ssl | Packet::Gssenc => return Err(Error::protocol("encryption was asked for too often").into()),
    };
    let protocol = negotiate(conn, &startup);
    let admission = worker.instance.admit().ok_or_else(|| {
        Error::new(Origin::Weir, Kind::TooManyConnections, "sorry, too many clients already")
            .detail("max_client_conn is reached.")
    })?;
    let user = authenticate(worker, conn, &startup).await?;
    let name = startup.get("database").unwrap_or(&user.name);
    if name == CONSOLE_DATABASE {
        return open_console(&user, admission).map_err(Refusal::Told);
    }
    if let Some(kind) = Replication::asked(&startup)? {
        let opened = replication::open(worker, admission, protocol, user, &startup, kind).await?;
        return Ok(Opened::Replication(Box::new(opened)));
    }
    let database = worker.instance.database(name).cloned().ok_or_else(|| {
        Error::new(Origin::Client, Kind::UnknownDatabase, format!("database \"{name}\" does not exist"))
            .hint("The databases that Weir serves are those of its configuration.")
    })?;
    let settings = Arc::new(Settings::from_startup(&startup)?);
    if database.is_sharded() {
        settings.iter().try_for_each(|(name, value)| route::check_startup(name, value))?;
    }
    let (settings, reports) = accept_settings(worker, &database, &user, settings).await?;
    if database.is_sharded() {
        check_reports(&reports)?;
    }
    Ok(Opened::Client(Box::new(LoggedIn { admission, protocol, database, user, settings, reports })))
}

fn open_console(user: &User, place: Admission) -> Result<Opened> {
    if user.may_administer {
        return Ok(Opened::Console(place));
    }
    Err(Error::new(Origin::Client, Kind::InvalidAuthorization, "not allowed to use the console")
        .hint("Name the user in admin_users."))
}

/// Reads packets until one is no request for encryption, which Weir declines.
async fn first_packet(conn: &mut Conn) -> Result<Packet, Refusal> {
    let mut declined = 0;
    loop {
        if let Some((packet, len)) = startup::read(&conn.input)? {
            let _used = conn.input.split_to(len);
            // A client asks once for TLS and once for GSSAPI, in either order.
            if !matches!(packet, Packet::Ssl | Packet::Gssenc) || declined == 2 {
                return Ok(packet);
            }
            declined += 1;
            conn.send(b"N").await?;
        } else if conn.fill().await? == 0 {
            return Err(Refusal::Silent);
        }
    }
}

/// Gives the version of the protocol that is spoken. Newer minor versions and protocol options are answered as
/// PostgreSQL does: with the newest version that is known, and the options, none of which is.
fn negotiate(conn: &mut Conn, startup: &StartupMessage) -> u32 {
    let options: Vec<&str> =
        startup.parameters.iter().map(|(name, _)| name.as_str()).filter(|name| name.starts_with("_pq_.")).collect();
    let spoken = startup.protocol.min(PROTOCOL_3_2);
    if startup.protocol > spoken || !options.is_empty() {
        backend::negotiate_protocol_version(conn.queue(), spoken, &options);
    }
    spoken
}

async fn authenticate(worker: &Worker, conn: &mut Conn, startup: &StartupMessage) -> Result<Arc<User>, Refusal> {
    let name = startup.get("user").filter(|name| !name.is_empty()).ok_or_else(|| {
        Error::new(Origin::Client, Kind::InvalidAuthorization, "no PostgreSQL user name specified in startup packet")
    })?;
    let user = worker.instance.user(name);
    let mut rng = rand::rng();
    let randomness =
        Randomness { scram_nonce: rng.random(), md5_salt: rng.random(), mock_key: worker.instance.mock_key };
    let mut out = BytesMut::new();
    let mut step = ClientLogin::start(name, user.map(|user| &user.credential), &randomness, &mut out);
    loop {
        conn.queue().extend_from_slice(&out.split());
        match step {
            ClientStep::Done => break,
            ClientStep::Continue(login) => {
                conn.flush().await?;
                let body = password_message(conn).await?;
                step = login.password_message(&body, &mut out)?;
            }
        }
    }
    user.cloned().ok_or_else(|| Error::internal("an unknown user logged in").into())
}

async fn password_message(conn: &mut Conn) -> Result<BytesMut, Refusal> {
    loop {
        if let Some(header) = frame::header(&conn.input, Sender::Client)? {
            // Looked at before the body is there: nobody shall have Weir read much before it is known who he is.
            if header.tag != frontend::tag::PASSWORD {
                let message = format!("expected password response, got message type {}", header.tag);
                return Err(Error::protocol(message).into());
            }
            if header.total_len <= conn.input.len() {
                return Ok(conn.input.split_to(header.total_len).split_off(frame::HEADER_LEN));
            }
        }
        if conn.fill().await? == 0 {
            return Err(Refusal::Silent);
        }
    }
}

/// Makes sure that a server accepts the settings, and learns what it reports with them.
async fn accept_settings(
    worker: &Rc<Worker>,
    database: &Arc<Database>,
    user: &Arc<User>,
    settings: Arc<Settings>,
) -> Result<(Arc<Settings>, Reports)> {
    let (pool, _) = worker.pool(database, user, ShardId(0), NodeIndex::PRIMARY)?;
    if let Some(known) = worker.known_reports(database, user, &settings)
        && known.1.version == pool.reports_version()
    {
        return Ok(known);
    }
    wait_for_schema(database).await?;
    let mut server = check_out(&pool, &settings).await?;
    // What its last client left there may be in the way, such as a limit of time. Another server decides.
    let is_plain = server.session.has_no_settings();
    let mut result = take_settings(&mut server, &settings).await;
    if result.is_err() && !is_plain {
        server::close(server);
        server = check_out(&pool, &settings).await?;
        result = take_settings(&mut server, &settings).await;
    }
    let reports = Reports { parameters: Rc::new(server.session.parameters().clone()), version: pool.reports_version() };
    match result {
        Ok(()) => pool.check_in(server, Instant::now()),
        Err(error) => {
            executor::spawn(clean(pool, server, true));
            return Err(error);
        }
    }
    worker.keep_reports(database, user, &settings, &reports);
    Ok((settings, reports))
}

async fn take_settings(server: &mut Server, settings: &Arc<Settings>) -> Result<()> {
    let _answered_below = server.session.adopt_settings(server.conn.queue(), settings);
    server.finish_own_queries().await.map(drop)
}

/// On a sharded database the servers' own settings must not make Weir misread texts either.
fn check_reports(reports: &Reports) -> Result<()> {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let mut reports = reports.parameters.iter().map(|(name, value)| (text(name).to_ascii_lowercase(), text(value)));
    reports.try_for_each(|(name, value)| match name.as_str() {
        "client_encoding" | "datestyle" | "standard_conforming_strings" => route::check_startup(&name, &value),
        _ => Ok(()),
    })
}

async fn wait_for_schema(database: &Database) -> Result<()> {
    if database.schema().is_some() {
        return Ok(());
    }
    let read = tokio::time::timeout(SCHEMA_LIMIT, database.schema_as_of(1)).await;
    if read == Ok(SchemaRead::Done) {
        return Ok(());
    }
    let message = format!("database \"{}\" cannot be read yet", database.name);
    Err(Error::new(Origin::Weir, Kind::ServerUnavailable, message)
        .detail("Weir has not been able to read its catalogs from every shard's primary.")
        .hint("Try again; the operator's log says which server is missing."))
}

/// An identifier's length in bytes: PostgreSQL's `NAMEDATALEN`, less the terminating zero.
const IDENTIFIER_MAX: usize = 63;

/// Tells a client that its name is too long, as a server does at login.
fn notice_truncation(conn: &mut Conn, name: &str) {
    let kept = (0..=IDENTIFIER_MAX).rev().find_map(|end| name.get(..end)).unwrap_or_default();
    if name.len() > IDENTIFIER_MAX {
        let text = format!("identifier \"{name}\" will be truncated to \"{kept}\"");
        backend::notice(conn.queue(), "42622", &text);
    }
}

impl LoggedIn {
    /// Tells the client that it is in. Gives `None` when it is gone already.
    async fn into_client(self: Box<Self>, worker: Rc<Worker>, mut conn: Conn) -> Option<(Box<Client>, Admission)> {
        let Self { admission, protocol, database, user, settings, reports } = *self;
        let (address, local_address) = (conn.peer()?, conn.local()?);
        let number = worker.instance.client_number();
        let key = keys::make(admission.process_id, protocol);
        notice_truncation(&mut conn, settings.get("application_name").unwrap_or_default());
        for (name, value) in reports.parameters.iter() {
            backend::parameter_status(conn.queue(), name, value);
        }
        backend::backend_key_data(conn.queue(), key.process_id, &key.secret);
        backend::ready_for_query(conn.queue(), TransactionStatus::Idle);
        conn.flush().await.ok()?;
        let handle = Rc::new(Handle::new(
            number as u64,
            key,
            Arc::clone(&user.name),
            Arc::clone(&database.name),
            settings.get("application_name").unwrap_or_default().to_owned(),
            address,
            local_address,
        ));
        worker.remember(&handle);
        let client = Client::new(conn, worker, database, user, handle, settings, reports.parameters);
        Some((Box::new(client), admission))
    }
}
