//! One running Weir: what all its workers share. Several may run in one process.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rand::Rng;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

use super::console::Operator;
use super::keys::ProcessIds;
use super::recovery::Recovery;
use crate::auth::{Credential, Method, Password};
use crate::catalog::Catalog;
use crate::config::{self, AuthMethod, Config, PoolMode};
use crate::pool::database::{Database, Node, Shard};
use crate::pool::freshness::Freshness;
use crate::pool::shared::{Limits, MailSender};
use crate::session::statements::StatementIds;
use crate::telemetry::{ClientInfo, PoolInfo, Scope, ServerInfo, Telemetry};
use crate::types::{Kind, Result};
use crate::wire::backend::ClientKey;

/// A user that may log in.
#[derive(Debug)]
pub struct User {
    pub name: Arc<str>,
    /// What the client's proof is checked against.
    pub credential: Credential,
    /// What Weir logs in to servers with.
    pub server_password: Option<Password>,
    /// In place of the database's.
    pub pool_mode: Option<PoolMode>,
    pub may_administer: bool,
}

/// What a worker can be told.
#[derive(Debug)]
pub enum Order {
    /// Serve this connection.
    Serve(std::net::TcpStream),
    /// Listen for notifications to the clients of this database, on whatever worker they are.
    Listen(Arc<Database>),
    /// Cancel what the client with this key runs; answers when that is done.
    Cancel(Arc<ClientKey>, oneshot::Sender<()>),
    /// Report what lives on the worker.
    Report(Scope, oneshot::Sender<WorkerReport>),
    /// Close the servers that are idle in a database.
    CloseIdle(Arc<Place>),
    /// Disconnect every client that is idle, now and when it becomes so.
    Stop,
}

/// A database on a PostgreSQL server.
#[derive(Debug)]
pub struct Place {
    /// `host:port`.
    pub address: Arc<str>,
    pub dbname: String,
}

/// What lives on one worker.
#[derive(Debug, Default)]
pub struct WorkerReport {
    pub pools: Vec<PoolInfo>,
    pub clients: Vec<ClientInfo>,
    pub servers: Vec<ServerInfo>,
}

/// Everything that the workers of one Weir share.
pub struct Instance {
    pub config: Config,
    databases: HashMap<String, Arc<Database>>,
    users: HashMap<String, Arc<User>>,
    pub catalog: Catalog,
    pub telemetry: Arc<Telemetry>,
    pub statement_ids: StatementIds,
    pub recovery: Recovery,
    /// One per worker.
    pub orders: Vec<UnboundedSender<Order>>,
    /// One per worker.
    pub pool_mail: Vec<MailSender>,
    /// Decides what unknown users are shown in a SCRAM exchange.
    pub mock_key: [u8; 32],
    process_ids: ProcessIds,
    clients: AtomicUsize,
    next_client: AtomicUsize,
    operator: OnceLock<Arc<dyn Operator>>,
}

impl Instance {
    /// Puts an instance together; opens no connection. The catalog gives each sharded database its map.
    ///
    /// # Errors
    /// A credential that cannot be used, or a catalog that cannot be read.
    pub async fn new(
        config: Config,
        catalog: Catalog,
        telemetry: Arc<Telemetry>,
        orders: Vec<UnboundedSender<Order>>,
        pool_mail: Vec<MailSender>,
    ) -> Result<Self> {
        let users = config.users.iter().map(|user| make_user(user, &config)).collect::<Result<_>>()?;
        let mut databases = HashMap::new();
        for database in &config.databases {
            let made = make_database(database, &config, &catalog).await?;
            databases.insert(database.name.clone(), Arc::new(made));
        }
        let process_ids = ProcessIds::new(config.general.peer_id);
        Ok(Self {
            config,
            databases,
            users,
            catalog,
            telemetry,
            statement_ids: StatementIds::default(),
            recovery: Recovery::default(),
            orders,
            pool_mail,
            mock_key: rand::rng().random(),
            process_ids,
            clients: AtomicUsize::new(0),
            next_client: AtomicUsize::new(1),
            operator: OnceLock::new(),
        })
    }

    pub fn database(&self, name: &str) -> Option<&Arc<Database>> {
        self.databases.get(name)
    }

    /// All databases, in the order of their names.
    pub fn databases(&self) -> Vec<&Arc<Database>> {
        let mut databases: Vec<_> = self.databases.values().collect();
        databases.sort_by(|a, b| a.name.cmp(&b.name));
        databases
    }

    pub fn user(&self, name: &str) -> Option<&Arc<User>> {
        self.users.get(name)
    }

    /// Whom Weir logs in as for queries of its own: the first user whose password it has, else the first.
    pub fn own_user(&self) -> Option<&config::User> {
        let with_password = |user: &&config::User| user.login_password().is_some();
        self.config.users.iter().find(with_password).or_else(|| self.config.users.first())
    }

    /// Who answers on the console; `None` until it was given.
    pub fn operator(&self) -> Option<&Arc<dyn Operator>> {
        self.operator.get()
    }

    /// Says who answers on the console. The first one stays.
    pub fn set_operator(&self, operator: Arc<dyn Operator>) {
        let _first_stays = self.operator.set(operator);
    }

    /// Counts a client in; `None` when there are too many.
    pub fn admit(self: &Arc<Self>) -> Option<Admission> {
        let max = self.config.pool.max_client_conn;
        let more = |clients: usize| (clients < max).then_some(clients + 1);
        self.clients.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Admission { instance: Arc::clone(self), process_id: self.process_ids.take() })
    }

    /// How a user's clients pool on a database: the user's own mode before the database's.
    pub fn pool_mode(&self, database: &Database, user: &str) -> PoolMode {
        self.users.get(user).and_then(|user| user.pool_mode).unwrap_or(database.pool_mode)
    }

    /// A number for a client, never used twice.
    pub fn client_number(&self) -> usize {
        self.next_client.fetch_add(1, Ordering::Relaxed)
    }

    pub fn clients(&self) -> usize {
        self.clients.load(Ordering::Relaxed)
    }

    pub fn count_error(&self, kind: Kind) {
        self.telemetry.error(kind);
    }
}

/// A client's place among those that Weir admits; freed when dropped.
pub struct Admission {
    instance: Arc<Instance>,
    /// What the client is told as its server's process id.
    pub process_id: i32,
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.instance.process_ids.give_back(self.process_id);
        self.instance.clients.fetch_sub(1, Ordering::Relaxed);
    }
}

fn make_user(user: &config::User, config: &Config) -> Result<(String, Arc<User>)> {
    let method = match user.auth {
        AuthMethod::ScramSha256 => Method::ScramSha256,
        AuthMethod::Md5 => Method::Md5,
        AuthMethod::Trust => Method::Trust,
    };
    let proof = match &user.password {
        Some(config::Password::Plain(secret) | config::Password::Scram(secret)) => Password::new(secret.reveal()),
        None => Password::new(""),
    };
    let made = User {
        name: user.name.as_str().into(),
        credential: Credential::new(method, &user.name, &proof, &rand::rng().random())?,
        server_password: user.login_password().map(|secret| Password::new(secret.reveal())),
        pool_mode: user.pool_mode,
        may_administer: config.general.admin_users.contains(&user.name),
    };
    Ok((user.name.clone(), Arc::new(made)))
}

async fn make_database(database: &config::Database, config: &Config, catalog: &Catalog) -> Result<Database> {
    let limits = Limits {
        size: database.pool_size,
        wal_senders: database.max_wal_senders,
        gatherers: config.pool.gather_pool_size,
        connect_timeout: config.pool.server_connect_timeout,
        wait_timeout: config.pool.query_wait_timeout.unwrap_or(Duration::ZERO),
        lifetime: config.pool.server_lifetime,
        idle_timeout: config.pool.server_idle_timeout.unwrap_or(Duration::ZERO),
        prepared_max: config.pool.max_prepared_statements,
        round_robin: config.pool.server_round_robin,
    };
    let map = match &database.shard_map {
        Some(declared) => Some(catalog.load_or_seed(&database.name, declared).await?),
        None => None,
    };
    let shards = database.shards.iter().map(make_shard).collect();
    let made = Database::new(database, limits, shards, map);
    if made.is_sharded() {
        // What was changed so far is read with the schema; nothing was, so far.
        made.follow_schema_changes(catalog.schema_changes(&database.name).await?);
    }
    Ok(made)
}

fn make_shard(shard: &config::Shard) -> Shard {
    let node = |address: &config::NodeAddress| Node {
        address: address.to_string().into(),
        dbname: shard.dbname.as_str().into(),
    };
    Shard {
        name: shard.name.as_str().into(),
        nodes: std::iter::once(&shard.primary).chain(&shard.replicas).map(node).collect(),
        freshness: Freshness::new(shard.replicas.len()),
    }
}
