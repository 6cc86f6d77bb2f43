//! Who is connected, and to whom: plain data that the console and the metrics show.
//! The words are PgBouncer's where it has one (SHOW POOLS, SHOW CLIENTS, SHOW SERVERS, SHOW DATABASES).

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::pool_stats::PoolKey;
use crate::sql::facts::PinReason;
use crate::types::{Epoch, Role, ShardId};
use crate::wire::replication::Replication;

/// How much a snapshot shall hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everything but the lists of clients and servers, which can be long.
    Pools,
    /// Everything.
    Connections,
}

/// A future that gives a snapshot.
pub type SnapshotFuture<'a> = Pin<Box<dyn Future<Output = Snapshot> + Send + 'a>>;

/// Whoever can say what the workers are doing.
pub trait Inspect: Send + Sync {
    /// The state of all workers, each at some moment between the call and the answer.
    fn snapshot(&self, scope: Scope) -> SnapshotFuture<'_>;
}

/// The state of all workers.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Several entries may have the same key, one per worker; readers add them up.
    pub pools: Vec<PoolInfo>,
    pub clients: Vec<ClientInfo>,
    pub servers: Vec<ServerInfo>,
    pub databases: Vec<DatabaseInfo>,
    pub shards: Vec<ShardInfo>,
    pub in_doubt: Vec<InDoubtInfo>,
    /// One for each database.
    pub listeners: Vec<ListenerInfo>,
}

impl Snapshot {
    /// One entry per pool, over all workers, in the order of their keys.
    pub fn merged_pools(&self) -> BTreeMap<PoolKey, PoolInfo> {
        let mut merged = BTreeMap::<PoolKey, PoolInfo>::new();
        for pool in &self.pools {
            match merged.entry(pool.key.clone()) {
                Entry::Vacant(entry) => drop(entry.insert(pool.clone())),
                Entry::Occupied(entry) => entry.into_mut().absorb(pool),
            }
        }
        merged
    }

    /// The shard's name, or its number if the snapshot does not know it.
    pub fn shard_name(&self, database: &str, shard: ShardId) -> String {
        let info = self.shards.iter().find(|info| info.database == database && info.shard == shard);
        info.map_or_else(|| shard.to_string(), |info| info.name.clone())
    }
}

/// A pool's gauges on one worker.
#[derive(Clone, Debug)]
pub struct PoolInfo {
    pub key: PoolKey,
    pub pool_mode: &'static str,
    /// Clients that are linked to a server of this pool; those that have nothing to do count for the primary of the
    /// home shard.
    pub cl_active: u64,
    /// Clients that wait for a server of this pool.
    pub cl_waiting: u64,
    /// Servers linked to a client.
    pub sv_active: u64,
    /// Servers ready for a client.
    pub sv_idle: u64,
    /// Servers that must be checked before they are used again.
    pub sv_used: u64,
    /// Servers that are being reset or checked.
    pub sv_tested: u64,
    /// Servers that are being connected or logged in to.
    pub sv_login: u64,
    /// How long the client that waits longest has waited.
    pub maxwait: Duration,
}

impl PoolInfo {
    /// All connections to servers.
    pub fn servers(&self) -> u64 {
        self.sv_active + self.sv_idle + self.sv_used + self.sv_tested + self.sv_login
    }

    /// All connections of clients.
    pub fn clients(&self) -> u64 {
        self.cl_active + self.cl_waiting
    }

    /// Adds another pool or another worker's part of the same one; the longest wait counts.
    pub fn absorb(&mut self, other: &Self) {
        self.cl_active += other.cl_active;
        self.cl_waiting += other.cl_waiting;
        self.sv_active += other.sv_active;
        self.sv_idle += other.sv_idle;
        self.sv_used += other.sv_used;
        self.sv_tested += other.sv_tested;
        self.sv_login += other.sv_login;
        self.maxwait = self.maxwait.max(other.maxwait);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientState {
    /// Linked to at least one server.
    Active,
    /// Nothing to do.
    Idle,
    /// Waits for a server.
    Waiting,
}

impl ClientState {
    /// PgBouncer's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Idle => "idle",
            Self::Waiting => "waiting",
        }
    }
}

/// A client's connection.
#[derive(Clone, Debug)]
pub struct ClientInfo {
    /// Unique in the process.
    pub id: u64,
    pub user: Arc<str>,
    pub database: Arc<str>,
    pub state: ClientState,
    pub addr: SocketAddr,
    pub local_addr: SocketAddr,
    pub connect_time: SystemTime,
    /// When the latest request came; `None` before the first.
    pub request_time: Option<SystemTime>,
    /// How long it has been waiting for a server.
    pub wait: Duration,
    /// The ids of the servers that it holds, one per shard that its transaction touches.
    pub links: Vec<u64>,
    pub application_name: String,
    pub prepared_statements: usize,
    /// What it streams, where it is a replication connection.
    pub replication: Option<Replication>,
    /// Why it keeps its servers beyond its transaction.
    pub pinned_by: Option<PinReason>,
    /// Channels that a listener hears for it.
    pub channels: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerState {
    /// Linked to a client.
    Active,
    /// Ready for a client.
    Idle,
    /// To be checked before it is used again.
    Used,
    /// Being reset or checked.
    Tested,
    /// Being connected or logged in to.
    New,
}

impl ServerState {
    /// PgBouncer's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Idle => "idle",
            Self::Used => "used",
            Self::Tested => "tested",
            Self::New => "new",
        }
    }
}

/// A connection to a server.
#[derive(Clone, Debug)]
pub struct ServerInfo {
    /// Unique in the process.
    pub id: u64,
    pub key: PoolKey,
    pub state: ServerState,
    /// Host and port as configured.
    pub addr: (String, u16),
    /// `None` while the connection is being made.
    pub local_addr: Option<SocketAddr>,
    pub connect_time: SystemTime,
    pub request_time: Option<SystemTime>,
    /// It will be closed as soon as its client lets go of it.
    pub close_needed: bool,
    /// The id of the client that holds it.
    pub link: Option<u64>,
    /// The process id of the server's backend; 0 until it is known.
    pub remote_pid: i32,
    /// The linked client's `application_name`.
    pub application_name: String,
    pub prepared_statements: usize,
    /// What the linked client streams, where it is a replication connection.
    pub replication: Option<Replication>,
}

/// A configured database.
#[derive(Clone, Debug)]
pub struct DatabaseInfo {
    pub name: String,
    /// The primary of the home shard.
    pub host: String,
    pub port: u16,
    /// The database's name on the home shard's primary.
    pub dbname: String,
    pub pool_mode: &'static str,
    /// Servers per pool.
    pub pool_size: usize,
    pub server_lifetime: Duration,
    /// Clients that may be connected at once.
    pub max_client_connections: usize,
    pub read_write_split: bool,
    /// The current epoch of the shard map; `None` for an unsharded database.
    pub epoch: Option<Epoch>,
}

/// A shard of a database and its nodes.
#[derive(Clone, Debug)]
pub struct ShardInfo {
    pub database: String,
    pub shard: ShardId,
    pub name: String,
    /// The primary first.
    pub nodes: Vec<NodeInfo>,
}

impl ShardInfo {
    /// The addresses of the nodes with this role, `host:port`, separated by commas.
    pub fn addresses(&self, role: Role) -> String {
        let nodes = self.nodes.iter().filter(|node| node.role == role);
        nodes.map(|node| format!("{}:{}", node.host, node.port)).collect::<Vec<_>>().join(",")
    }
}

/// One PostgreSQL server of a shard.
#[derive(Clone, Debug)]
pub struct NodeInfo {
    pub role: Role,
    pub host: String,
    pub port: u16,
}

/// A database's connection that listens for its clients.
#[derive(Clone, Debug)]
pub struct ListenerInfo {
    pub database: String,
    /// Clients that it listens for now.
    pub clients: u64,
    /// Channels that it hears.
    pub channels: u64,
    /// Notifications that came, once for each client they were for.
    pub notifications: u64,
    /// Connections that were opened.
    pub connects: u64,
    /// Connections that were lost while somebody listened.
    pub losses: u64,
}

/// What was decided about a transaction over several shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Undecided,
    Commit,
    Abort,
}

impl Outcome {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Undecided => "undecided",
            Self::Commit => "commit",
            Self::Abort => "abort",
        }
    }
}

/// A two-phase transaction that is not finished on all of its shards.
#[derive(Clone, Debug)]
pub struct InDoubtInfo {
    /// What its names in `pg_prepared_xacts` begin with.
    pub gid: String,
    pub database: String,
    /// The names of the shards that take part.
    pub shards: Vec<String>,
    pub started_at: SystemTime,
    /// How long ago that was.
    pub age: Duration,
    pub outcome: Outcome,
}
