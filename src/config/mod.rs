//! Configuration: `weir.toml` and the shard maps it names, as real types, with every mistake reported at once.
//!
//! Settings have PgBouncer's names where PgBouncer has them. Durations, sizes and addresses are read at this edge and
//! nowhere else. This module does no I/O: the caller passes the function that reads a file.

mod mistake;
mod peers;
mod section;
mod settings;
mod shard_map;
mod units;

use core::net::SocketAddr;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::shardmap::ShardMap;
use crate::types::PeerId;

pub use mistake::Mistake;
pub use shard_map::shard_map_text;

/// Where Weir listens unless it is told where.
const WEIR_PORT: u16 = 6432;

/// The database name that leads to the console.
pub const CONSOLE_DATABASE: &str = "weir";

/// Everything that `weir.toml` says, defaults filled in.
#[derive(Clone, Debug)]
pub struct Config {
    pub general: General,
    pub pool: Pool,
    /// In the order of the file; names are unique.
    pub users: Vec<User>,
    /// In the order of the file; names are unique.
    pub databases: Vec<Database>,
    /// Where the other Weirs behind the same address are; this one may be among them.
    pub peers: BTreeMap<PeerId, NodeAddress>,
}

/// `[weir]`: the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct General {
    /// Where clients connect. At least one.
    pub listen: Vec<SocketAddr>,
    /// Where metrics are served.
    pub http_listen: Option<SocketAddr>,
    /// Threads that serve clients; `None`: one per core.
    pub workers: Option<NonZeroUsize>,
    /// Whether messages go to the kernel by io_uring, where it has that.
    pub io_uring: bool,
    /// Where the catalog lives, unless [`General::catalog`] says otherwise.
    pub state_dir: PathBuf,
    /// The PostgreSQL database that has the catalog, as a URL; it may hold a password.
    pub catalog: Option<Secret>,
    /// Who may use the console. Each is one of [`Config::users`].
    pub admin_users: Vec<String>,
    pub log_level: LogLevel,
    /// Which of [`Config::peers`] this Weir is.
    pub peer_id: Option<PeerId>,
}

/// `[pool]`: what holds for every pool that does not say otherwise, and the limits of the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    pub pool_mode: PoolMode,
    /// Servers per user, database and node.
    pub default_pool_size: usize,
    /// Clients of the whole process.
    pub max_client_conn: usize,
    /// A server older than this is closed when it is idle; zero: after one use.
    pub server_lifetime: Duration,
    /// A server idle for longer is closed.
    pub server_idle_timeout: Option<Duration>,
    /// How long a query waits for a server.
    pub query_wait_timeout: Option<Duration>,
    /// How long connecting and logging in to a server may take.
    pub server_connect_timeout: Duration,
    /// How long a client may take to log in.
    pub client_login_timeout: Option<Duration>,
    /// Prepared statements that are kept on one server; at least one is.
    pub max_prepared_statements: usize,
    /// Idle servers are used in turn; otherwise the one used last comes first.
    pub server_round_robin: bool,
    /// What one statement's merge of several shards' rows may hold in memory, in bytes.
    pub merge_memory: usize,
    /// Servers per user and database for statements that run over gathered rows: so many run at a time.
    pub gather_pool_size: usize,
    /// Rows that one statement may gather.
    pub gather_rows: usize,
    /// What these rows may come to, in bytes.
    pub gather_bytes: usize,
    /// How long clients have to finish when Weir stops.
    pub shutdown_timeout: Duration,
}

/// When a server goes back to its pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PoolMode {
    /// When the client disconnects.
    Session,
    /// When the transaction ends.
    Transaction,
    /// After each statement; transaction blocks are refused.
    Statement,
}

/// What is done for `currval()` and `lastval()`, which read what the session's own `nextval()` left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SequenceState {
    /// The client gets the same server again where that is free; else the memory is gone, and PostgreSQL says so.
    Affinity,
    /// The client keeps its server.
    Pin,
}

/// Whether a transaction may write several shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TwoPhaseMode {
    /// A transaction writes one shard.
    Off,
    /// One that wrote several shards is committed in two phases.
    Auto,
    /// The same, and nothing is written at all while a server could not take part in that.
    Required,
}

/// How far a REPEATABLE READ transaction sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RepeatableRead {
    /// It may use one shard.
    OneShard,
    /// It has a snapshot of all shards, taken at one moment.
    AllShards,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// `[[users]]`: who may log in, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub auth: AuthMethod,
    /// Present unless `auth` is trust.
    pub password: Option<Password>,
    /// What Weir logs in to servers with, when it differs from a plain `password`.
    pub server_password: Option<Secret>,
    /// In place of the database's, when the user has one.
    pub pool_mode: Option<PoolMode>,
}

/// What a client must show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthMethod {
    ScramSha256,
    Md5,
    Trust,
}

/// How Weir knows a user's password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Password {
    Plain(Secret),
    /// A `SCRAM-SHA-256$...` secret as in `pg_authid.rolpassword`: enough to check a client, not to log in to a server.
    Scram(Secret),
}

/// Text that must not reach a log: `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// `[databases.NAME]`
#[derive(Clone, Debug)]
pub struct Database {
    pub name: String,
    pub pool_mode: PoolMode,
    /// Servers per user and node.
    pub pool_size: usize,
    /// Replication connections per user.
    pub max_wal_senders: usize,
    /// Reads without effects may go to replicas.
    pub read_write_split: bool,
    /// Functions, as `schema.name`, that leave nothing in a session, whatever Weir can prove.
    pub harmless_functions: BTreeSet<String>,
    /// Functions, as `schema.name`, that touch only the shard that they run on, and rows of reference tables to read.
    pub shard_local: BTreeSet<String>,
    pub sequence_state: SequenceState,
    pub two_phase: TwoPhaseMode,
    pub repeatable_read: RepeatableRead,
    /// At least one, exactly one without a shard map. A shard's place is its [`crate::types::ShardId`]; the first is
    /// the home shard.
    pub shards: Vec<Shard>,
    /// Present: the database is sharded. As declared in its file; the catalog's map is the truth once it exists.
    pub shard_map: Option<ShardMap>,
}

/// `[[databases.NAME.shards]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shard {
    pub name: String,
    pub primary: NodeAddress,
    pub replicas: Vec<NodeAddress>,
    /// The database's name on the servers.
    pub dbname: String,
}

/// Where a PostgreSQL server listens. The host is a name or an address, without brackets.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeAddress {
    pub host: String,
    pub port: u16,
}

/// Reads `weir.toml` at `path` and the shard maps it names. Relative paths in it are relative to its own directory;
/// `read` is asked for each file's text (`std::fs::read_to_string`, or a test's table).
///
/// # Errors
/// Every mistake in every file, ordered by file and line.
pub fn load(path: &Path, read: impl Fn(&Path) -> io::Result<String>) -> Result<Config, Vec<Mistake>> {
    let mistakes = mistake::Mistakes::default();
    let config = settings::read_config(path, &read, &mistakes);
    match (config, mistakes.into_sorted()) {
        (Some(config), none) if none.is_empty() => Ok(config),
        (_, mistakes) => Err(mistakes),
    }
}

/// Reads a shard map file on its own; it must list its `shards`.
///
/// # Errors
/// As [`load`].
pub fn load_shard_map(path: &Path, read: impl Fn(&Path) -> io::Result<String>) -> Result<ShardMap, Vec<Mistake>> {
    let mistakes = mistake::Mistakes::default();
    let map = shard_map::read_alone(path, &read, &mistakes);
    match (map, mistakes.into_sorted()) {
        (Some(map), none) if none.is_empty() => Ok(map),
        (_, mistakes) => Err(mistakes),
    }
}

impl Config {
    pub fn user(&self, name: &str) -> Option<&User> {
        self.users.iter().find(|user| user.name == name)
    }

    pub fn database(&self, name: &str) -> Option<&Database> {
        self.databases.iter().find(|database| database.name == name)
    }
}

impl User {
    /// What Weir logs in to servers with: `server_password`, else a plain `password`, else nothing.
    pub fn login_password(&self) -> Option<&Secret> {
        match (&self.server_password, &self.password) {
            (Some(secret), _) | (None, Some(Password::Plain(secret))) => Some(secret),
            (None, Some(Password::Scram(_)) | None) => None,
        }
    }
}

impl Database {
    pub fn is_sharded(&self) -> bool {
        self.shard_map.is_some()
    }
}

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for a login only.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for NodeAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

impl PoolMode {
    /// PgBouncer's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Transaction => "transaction",
            Self::Statement => "statement",
        }
    }
}

impl LogLevel {
    /// The word that log filters understand.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

#[cfg(test)]
mod tests;
