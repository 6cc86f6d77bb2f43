//! What is nobody's query: reading schemas, watching replicas, answering for the console. It runs on the thread that
//! started Weir; its queries go over connections of its own, never over a pool's.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use tokio::sync::oneshot;
use tokio_postgres::{Client, NoTls};

use super::instance::{Instance, Order, WorkerReport};
use super::report::host_and_port;
use crate::catalog::Decision;
use crate::config;
use crate::pool::database::{Database, Node};
use crate::pool::freshness::Lsn;
use crate::pool::inspect::{self, Declared, Member};
use crate::pool::listener;
use crate::telemetry::{
    DatabaseInfo, InDoubtInfo, Inspect, ListenerInfo, NodeInfo, Outcome, Scope, ShardInfo, Snapshot, SnapshotFuture,
};
use crate::types::{Error, Kind, Origin, Result, Role, ShardId};

/// How long to wait before a server that could not be reached is tried again.
const RETRY_PERIOD: Duration = Duration::from_millis(500);

/// How long a connection that has read the schema is kept for the next reading. Changes of the schema come in rows, and a
/// new session has the catalogs' caches to fill first.
const READER_IDLE: Duration = Duration::from_secs(1);

/// Looking at a view's definition locks the tables that it reads. Clients wait for the reading, so that it must not wait
/// for as long as somebody has such a table locked.
const LOCKS_ARE_BRIEF: &str = "SET lock_timeout = '300ms'";

/// How often replicas are looked at while sessions wait for one of them to catch up.
const WATCH_PERIOD: Duration = Duration::from_millis(20);

/// How often replicas are looked at while nobody waits.
const IDLE_PERIOD: Duration = Duration::from_secs(5);

/// How often the counters are marked, so that recent rates can be told.
const MARK_PERIOD: Duration = Duration::from_secs(60);

impl Instance {
    /// Opens a connection of Weir's own to a node. The connection ends when the client is dropped.
    pub(super) async fn connect(&self, shard: ShardId, node: &Node) -> Result<Client> {
        let user = self.own_user().ok_or_else(|| Error::internal("no user is configured"))?;
        self.log_in(user, shard, node).await
    }

    /// The same as a certain user, if that is configured.
    pub(super) async fn connect_as(&self, user: &str, shard: ShardId, node: &Node) -> Result<Client> {
        match self.config.users.iter().find(|known| known.name == user) {
            Some(user) => self.log_in(user, shard, node).await,
            None => self.connect(shard, node).await,
        }
    }

    async fn log_in(&self, user: &config::User, shard: ShardId, node: &Node) -> Result<Client> {
        let (host, port) = host_and_port(&node.address);
        let mut config = tokio_postgres::Config::new();
        config.host(&host).port(port).user(&user.name).dbname(&*node.dbname).application_name("weir");
        config.connect_timeout(self.config.pool.server_connect_timeout);
        if let Some(password) = user.login_password() {
            config.password(password.reveal());
        }
        let (client, connection) = config.connect(NoTls).await.map_err(|error| {
            let message = format!("cannot connect to {} (shard {shard})", node.address);
            Error::new(Origin::Server(shard), Kind::ServerUnavailable, message).source(error)
        })?;
        tokio::spawn(connection);
        Ok(client)
    }
}

/// An error with everything that caused it, for the operator's log.
fn with_causes(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Reads a database's schema whenever somebody wants it, for ever.
pub async fn keep_schema(instance: Arc<Instance>, database: Arc<Database>) {
    let mut told = String::new();
    let mut members = Vec::new();
    loop {
        let ticket = match tokio::time::timeout(READER_IDLE, database.schema_wanted()).await {
            Ok(ticket) => ticket,
            Err(_) => {
                members.clear();
                database.schema_wanted().await
            }
        };
        match read_schema(&instance, &database, &mut members, ticket).await {
            Ok(()) => told.clear(),
            Err(error) => {
                members.clear();
                let reason = with_causes(&error);
                if told != reason {
                    tracing::warn!(database = &*database.name, reason, "the schema cannot be read; trying again");
                    told = reason;
                }
                database.schema_failed();
                tokio::time::sleep(RETRY_PERIOD).await;
            }
        }
    }
}

async fn read_schema(instance: &Instance, database: &Database, members: &mut Vec<Member>, ticket: u64) -> Result<()> {
    // A connection has the search_path that held when it was opened. Routing over shards needs that of now.
    if database.is_sharded() || members.iter().any(|member| member.client.is_closed()) {
        members.clear();
    }
    if members.is_empty() {
        *members = connect_readers(instance, database).await?;
    }
    let declared = Declared {
        is_sharded: database.is_sharded(),
        harmless: &database.harmless_functions,
        shard_local: &database.shard_local,
    };
    let schema = inspect::inspect(ticket, members, &declared).await?;
    database.set_schema(schema, ticket);
    Ok(())
}

/// A connection to each shard's primary.
async fn connect_readers(instance: &Instance, database: &Database) -> Result<Vec<Member>> {
    let mut readers = Vec::with_capacity(database.shards.len());
    for id in members(database) {
        let Some(shard) = database.shards.get(id.index()) else { continue };
        let Some(primary) = shard.nodes.first() else { continue };
        let client = instance.connect(id, primary).await?;
        client.batch_execute(LOCKS_ARE_BRIEF).await.map_err(|error| inspect::failed(id, error))?;
        readers.push(Member { shard: id, name: Arc::clone(&shard.name), client });
    }
    Ok(readers)
}

/// Listens for a database's clients, for ever.
pub async fn hear_notifications(instance: Arc<Instance>, database: Arc<Database>) {
    let Some(user) = instance.own_user().and_then(|user| instance.user(&user.name)) else { return };
    let place = database.listener_place(&user.name, user.server_password.as_ref(), &instance.pool_mail);
    if let Some(place) = place {
        listener::run(&database.listener, place).await;
    }
}

/// The shards whose schemas count: those that take part in a sharded database.
fn members(database: &Database) -> Vec<ShardId> {
    match database.map() {
        Some(map) => map.shard_ids().collect(),
        None => (0..database.shards.len()).map(shard_id).collect(),
    }
}

/// Watches the replicas of one shard, for ever.
pub async fn watch_replicas(instance: Arc<Instance>, database: Arc<Database>, shard: ShardId) {
    let Some(state) = database.shards.get(shard.index()) else { return };
    let mut clients: Vec<Option<Client>> = state.nodes.iter().map(|_| None).collect();
    let mut failed = false;
    loop {
        failed = look(&instance, &database, shard, &mut clients, !failed).await.is_err();
        let busy = state.freshness.has_business();
        match (failed, busy) {
            (true, _) => tokio::time::sleep(RETRY_PERIOD).await,
            (false, true) => tokio::time::sleep(WATCH_PERIOD).await,
            (false, false) => state.freshness.sleep(IDLE_PERIOD).await,
        }
    }
}

/// One look: a sample of the primary if somebody needs one, and how far the replicas are.
async fn look(
    instance: &Instance,
    database: &Database,
    shard: ShardId,
    clients: &mut [Option<Client>],
    tell: bool,
) -> Result<()> {
    let state = &database.shards[shard.index()];
    let mut outcome = Ok(());
    for (index, node) in state.nodes.iter().enumerate() {
        if index == 0 && !state.freshness.needs_sample() {
            continue;
        }
        let result = look_at(instance, database, shard, index, node, &mut clients[index]).await;
        if let Err(error) = result {
            clients[index] = None;
            if let Some(replica) = index.checked_sub(1) {
                state.freshness.unusable(replica);
            }
            if tell {
                let reason = with_causes(&error);
                tracing::warn!(%shard, address = &*node.address, reason, "a server cannot be watched; trying again");
            }
            outcome = Err(error);
        }
    }
    outcome
}

async fn look_at(
    instance: &Instance,
    database: &Database,
    shard: ShardId,
    index: usize,
    node: &Node,
    client: &mut Option<Client>,
) -> Result<()> {
    let freshness = &database.shards[shard.index()].freshness;
    let connected = match client.take() {
        Some(connected) if !connected.is_closed() => connected,
        _ => instance.connect(shard, node).await?,
    };
    let connected = client.insert(connected);
    match index.checked_sub(1) {
        None => {
            let number = freshness.begin_sample();
            let position = position(connected, shard, "SELECT pg_current_wal_insert_lsn()::text").await?;
            freshness.finish_sample(number, position);
        }
        Some(replica) => {
            let sql = "SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()::text END";
            freshness.replayed(replica, position(connected, shard, sql).await?);
        }
    }
    Ok(())
}

async fn position(client: &Client, shard: ShardId, sql: &str) -> Result<Lsn> {
    let row = client.query_one(sql, &[]).await.map_err(|error| inspect::failed(shard, error))?;
    let text: Option<String> = row.get(0);
    text.as_deref().and_then(Lsn::parse).ok_or_else(|| {
        Error::new(Origin::Server(shard), Kind::ServerUnavailable, "a replica is not replaying any WAL")
            .detail("It is no standby, or it has not received anything yet.")
    })
}

/// Marks the counters every minute, for ever.
pub async fn mark_counters(instance: Arc<Instance>) {
    loop {
        tokio::time::sleep(MARK_PERIOD).await;
        instance.telemetry.mark(std::time::Instant::now());
    }
}

impl Inspect for Instance {
    fn snapshot(&self, scope: Scope) -> SnapshotFuture<'_> {
        Box::pin(async move {
            let mut snapshot =
                Snapshot { databases: self.database_infos(), shards: self.shard_infos(), ..Snapshot::default() };
            for report in self.reports(scope).await {
                snapshot.pools.extend(report.pools);
                snapshot.clients.extend(report.clients);
                snapshot.servers.extend(report.servers);
            }
            snapshot.in_doubt = self.in_doubt().await;
            snapshot.listeners = self.listener_infos();
            snapshot
        })
    }
}

impl Instance {
    async fn reports(&self, scope: Scope) -> Vec<WorkerReport> {
        let mut reports = Vec::with_capacity(self.orders.len());
        for orders in &self.orders {
            let (answer, wait) = oneshot::channel();
            if orders.send(Order::Report(scope, answer)).is_ok() {
                reports.extend(wait.await);
            }
        }
        reports
    }

    async fn in_doubt(&self) -> Vec<InDoubtInfo> {
        let transactions = match self.catalog.two_phase_transactions().await {
            Ok(transactions) => transactions,
            Err(error) => {
                tracing::error!(%error, "the catalog could not list two-phase transactions");
                return Vec::new();
            }
        };
        let now = SystemTime::now();
        let info = |transaction: crate::catalog::TwoPhase| InDoubtInfo {
            gid: transaction.id,
            database: transaction.database,
            shards: transaction.shards,
            started_at: transaction.started_at,
            age: now.duration_since(transaction.started_at).unwrap_or_default(),
            outcome: match transaction.decision {
                None => Outcome::Undecided,
                Some(Decision::Commit) => Outcome::Commit,
                Some(Decision::Abort) => Outcome::Abort,
            },
        };
        transactions.into_iter().map(info).collect()
    }

    fn database_infos(&self) -> Vec<DatabaseInfo> {
        let info = |database: &&Arc<Database>| {
            let primary = database.shards.first().and_then(|shard| shard.nodes.first());
            let (host, port) = primary.map(|node| host_and_port(&node.address)).unwrap_or_default();
            DatabaseInfo {
                name: database.name.to_string(),
                host,
                port,
                dbname: primary.map(|node| node.dbname.to_string()).unwrap_or_default(),
                pool_mode: database.pool_mode.as_str(),
                pool_size: database.limits.size,
                server_lifetime: database.limits.lifetime,
                max_client_connections: self.config.pool.max_client_conn,
                read_write_split: database.read_write_split,
                epoch: database.epoch(),
            }
        };
        self.databases().iter().map(info).collect()
    }

    fn listener_infos(&self) -> Vec<ListenerInfo> {
        let info = |database: &&Arc<Database>| {
            let counts = database.listener.counts();
            ListenerInfo {
                database: database.name.to_string(),
                clients: counts.clients.load(Ordering::Relaxed) as u64,
                channels: counts.channels.load(Ordering::Relaxed) as u64,
                notifications: counts.delivered.load(Ordering::Relaxed),
                connects: counts.connects.load(Ordering::Relaxed),
                losses: counts.losses.load(Ordering::Relaxed),
            }
        };
        self.databases().iter().map(info).collect()
    }

    fn shard_infos(&self) -> Vec<ShardInfo> {
        let databases = self.databases();
        let shards = databases.iter().flat_map(|database| {
            database.shards.iter().enumerate().map(|(index, shard)| ShardInfo {
                database: database.name.to_string(),
                shard: shard_id(index),
                name: shard.name.to_string(),
                nodes: shard.nodes.iter().enumerate().map(node_info).collect(),
            })
        });
        shards.collect()
    }
}

fn node_info((index, node): (usize, &Node)) -> NodeInfo {
    let (host, port) = host_and_port(&node.address);
    NodeInfo { role: if index == 0 { Role::Primary } else { Role::Replica }, host, port }
}

/// A database has at most 65,535 shards; the configuration sees to that.
fn shard_id(index: usize) -> ShardId {
    ShardId(u16::try_from(index).unwrap_or(u16::MAX))
}
