//! A configured database at run time.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use arc_swap::{ArcSwap, Guard};
use tokio::sync::Notify;

use super::cuts::Cuts;
use super::entangled::Entangled;
use super::freshness::Freshness;
use super::listener::Listener;
use super::shared::{Limits, MailSender, NodeIndex, PoolId, Shared};
use crate::auth::Password;
use crate::config::{self, PoolMode, RepeatableRead, SequenceState, TwoPhaseMode};
use crate::shardmap::{Key, ShardMap};
use crate::sql::schema::Schema;
use crate::types::{Epoch, Error, Result, ShardId};

/// What helps where a server prepares no transactions.
const NO_PREPARING: &str = "Set max_prepared_transactions above 0 on that server, and restart it and Weir.";

/// One PostgreSQL server of a shard.
#[derive(Clone, Debug)]
pub struct Node {
    /// `host:port`.
    pub address: Arc<str>,
    /// The database's name there.
    pub dbname: Arc<str>,
}

/// One shard: its primary, then its replicas, and how far these are.
#[derive(Debug)]
pub struct Shard {
    pub name: Arc<str>,
    pub nodes: Vec<Node>,
    pub freshness: Freshness,
}

/// A database that clients can name.
#[derive(Debug)]
pub struct Database {
    pub name: Arc<str>,
    pub pool_mode: PoolMode,
    pub read_write_split: bool,
    /// See [`config::Database::harmless_functions`].
    pub harmless_functions: BTreeSet<String>,
    /// See [`config::Database::shard_local`].
    pub shard_local: BTreeSet<String>,
    pub sequence_state: SequenceState,
    pub two_phase: TwoPhaseMode,
    pub repeatable_read: RepeatableRead,
    /// Keeps others out while a snapshot of all shards is taken.
    pub cuts: Cuts,
    pub limits: Limits,
    pub shards: Vec<Shard>,
    /// The shard map; `None` for an unsharded database.
    map: Option<ArcSwap<ShardMap>>,
    /// Of version 0 before it was read for the first time.
    schema: ArcSwap<Schema>,
    /// Counts requests to read the schema anew, and those that were fulfilled.
    schema_wanted: AtomicU64,
    schema_read: AtomicU64,
    /// The ticket of the newest change that decides what statements do to their sessions.
    code_changed: AtomicU64,
    /// Counts readings that failed.
    schema_failures: AtomicU64,
    /// The number of the last change of the schema in the catalog that this Weir knows of.
    schema_change: AtomicU64,
    schema_wake: Notify,
    schema_done: Notify,
    pools: Mutex<HashMap<PoolId, Arc<Shared>>>,
    /// Replication connections are counted like servers of a pool, and never pooled.
    replication: Mutex<HashMap<PoolId, Arc<Shared>>>,
    /// Transactions that are open on several shards.
    pub entangled: Entangled,
    /// Hears notifications for all clients.
    pub listener: Listener,
    /// Read by transactions that change the schema, written by changes of the shard map, which is compared with the schema.
    pub schema_gate: Arc<tokio::sync::RwLock<()>>,
}

/// How waiting for the schema ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchemaRead {
    Done,
    Failed,
}

impl Database {
    pub fn new(declared: &config::Database, limits: Limits, shards: Vec<Shard>, map: Option<ShardMap>) -> Self {
        Self {
            name: declared.name.as_str().into(),
            pool_mode: declared.pool_mode,
            read_write_split: declared.read_write_split,
            harmless_functions: declared.harmless_functions.clone(),
            shard_local: declared.shard_local.clone(),
            sequence_state: declared.sequence_state,
            two_phase: declared.two_phase,
            repeatable_read: declared.repeatable_read,
            cuts: Cuts::default(),
            limits,
            shards,
            map: map.map(ArcSwap::from_pointee),
            schema: ArcSwap::default(),
            schema_wanted: AtomicU64::new(1),
            schema_read: AtomicU64::new(0),
            code_changed: AtomicU64::new(0),
            schema_failures: AtomicU64::new(0),
            schema_change: AtomicU64::new(0),
            schema_wake: Notify::new(),
            schema_done: Notify::new(),
            pools: Mutex::default(),
            replication: Mutex::default(),
            entangled: Entangled::default(),
            listener: Listener::default(),
            schema_gate: Arc::default(),
        }
    }

    /// The shard map of now; `None` for an unsharded database.
    pub fn map(&self) -> Option<Arc<ShardMap>> {
        self.map.as_ref().map(ArcSwap::load_full)
    }

    /// The same, to look at: workers that do so at one time do not disturb each other, as they would by counting references.
    pub fn map_here(&self) -> Option<Guard<Arc<ShardMap>>> {
        self.map.as_ref().map(ArcSwap::load)
    }

    /// The version of the shard map of now.
    pub fn epoch(&self) -> Option<Epoch> {
        self.map.as_ref().map(|map| map.load().epoch())
    }

    /// Puts another version of the shard map in place, unless a newer one is there. Every statement that is planned from
    /// now on follows it.
    pub fn set_map(&self, map: ShardMap) {
        if let Some(current) = &self.map {
            let map = Arc::new(map);
            current.rcu(|now| if now.epoch() > map.epoch() { Arc::clone(now) } else { Arc::clone(&map) });
        }
    }

    /// Adds an entry of a directory to the map, which keeps its epoch: no plan has relied on the key having a shard.
    pub fn learn_entry(&self, keyspace: &str, key: &Key, shard: ShardId) {
        if let Some(current) = &self.map {
            current.rcu(|map| {
                let mut map = ShardMap::clone(map);
                // A keyspace that is gone needs no entries.
                let _gone = map.add_entry(keyspace, key.clone(), shard);
                map
            });
        }
    }

    pub fn is_sharded(&self) -> bool {
        self.map.is_some()
    }

    /// Whether anything may be written now.
    ///
    /// # Errors
    /// Two-phase commit is required, and not possible on a shard.
    pub fn may_write(&self) -> Result<()> {
        if self.two_phase != TwoPhaseMode::Required {
            return Ok(());
        }
        match self.schema.load().cannot_prepare.iter().next() {
            None => Ok(()),
            Some(shard) => {
                let name = self.shard_name(*shard);
                let detail = format!("two_phase is required, and the server of shard \"{name}\" cannot take part.");
                Err(Error::refuse("nothing can be written to this database now", detail).hint(NO_PREPARING))
            }
        }
    }

    /// Whether one transaction may write these two shards.
    ///
    /// # Errors
    /// Two-phase commit is off, or not possible on one of them.
    pub fn may_write_both(&self, first: ShardId, second: ShardId) -> Result<()> {
        let refusal = |detail: String| Error::refuse("a transaction cannot write to more than one shard", detail);
        if self.two_phase == TwoPhaseMode::Off {
            let detail = format!(
                "The transaction has written to shard \"{}\", this statement writes to shard \"{}\", and two_phase is off.",
                self.shard_name(first),
                self.shard_name(second)
            );
            return Err(refusal(detail).hint("Commit first, or keep rows that change together under one shard key."));
        }
        let schema = self.schema.load();
        match [first, second].into_iter().find(|shard| schema.cannot_prepare.contains(shard)) {
            None => Ok(()),
            Some(shard) => {
                let detail =
                    format!("The server of shard \"{}\" has max_prepared_transactions = 0.", self.shard_name(shard));
                Err(refusal(detail).hint(NO_PREPARING))
            }
        }
    }

    fn shard_name(&self, shard: ShardId) -> &str {
        self.shards.get(shard.index()).map_or("", |shard| &*shard.name)
    }

    /// What is known of the schema; `None` before it was read for the first time. Workers that look at it do not
    /// disturb each other, as they would by counting references.
    pub fn schema(&self) -> Option<Guard<Arc<Schema>>> {
        let schema = self.schema.load();
        (schema.version > 0).then_some(schema)
    }

    /// The pool of a node for a user, made when it is first asked for.
    pub fn pool(
        &self,
        user: &Arc<str>,
        password: Option<&Password>,
        shard: ShardId,
        node: NodeIndex,
        mail: &[MailSender],
    ) -> Option<Arc<Shared>> {
        let id = PoolId { database: Arc::clone(&self.name), user: Arc::clone(user), shard, node };
        let limits = match node {
            NodeIndex::GATHER => &Limits { size: self.limits.gatherers, ..self.limits.clone() },
            _ => &self.limits,
        };
        self.find_or_make(&self.pools, id, password, limits, mail)
    }

    /// What counts a user's replication connections to the home shard's primary.
    pub fn replication_pool(
        &self,
        user: &Arc<str>,
        password: Option<&Password>,
        mail: &[MailSender],
    ) -> Option<Arc<Shared>> {
        self.beside_pools(&self.replication, user, password, self.limits.wal_senders, mail)
    }

    /// The one place for the connection that listens, on the home shard's primary.
    pub fn listener_place(
        &self,
        user: &Arc<str>,
        password: Option<&Password>,
        mail: &[MailSender],
    ) -> Option<Arc<Shared>> {
        self.beside_pools(&Mutex::default(), user, password, 1, mail)
    }

    /// What counts connections to the home shard's primary that are in no pool.
    fn beside_pools(
        &self,
        counted: &Mutex<HashMap<PoolId, Arc<Shared>>>,
        user: &Arc<str>,
        password: Option<&Password>,
        size: usize,
        mail: &[MailSender],
    ) -> Option<Arc<Shared>> {
        let (shard, node) = (ShardId(0), NodeIndex::PRIMARY);
        let id = PoolId { database: Arc::clone(&self.name), user: Arc::clone(user), shard, node };
        let limits = Limits { size, ..self.limits.clone() };
        self.find_or_make(counted, id, password, &limits, mail)
    }

    fn find_or_make(
        &self,
        pools: &Mutex<HashMap<PoolId, Arc<Shared>>>,
        id: PoolId,
        password: Option<&Password>,
        limits: &Limits,
        mail: &[MailSender],
    ) -> Option<Arc<Shared>> {
        let node = if id.node == NodeIndex::GATHER { NodeIndex::PRIMARY } else { id.node };
        let place = self.shards.get(id.shard.index())?.nodes.get(usize::from(node.0))?;
        let mut pools = pools.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (address, dbname) = (Arc::clone(&place.address), Arc::clone(&place.dbname));
        // The home shard's primary has the database's notifications.
        let is_home = id.shard == ShardId(0) && id.node.is_primary();
        let notifiers = is_home.then(|| Arc::clone(self.listener.notifiers()));
        let (password, limits) = (password.cloned(), limits.clone());
        let make = |id: &PoolId| Arc::new(Shared::new(id.clone(), address, dbname, password, limits, notifiers, mail));
        Some(Arc::clone(pools.entry(id).or_insert_with_key(make)))
    }

    /// All pools that were ever asked for.
    pub fn pools(&self) -> Vec<Arc<Shared>> {
        self.pools.lock().unwrap_or_else(std::sync::PoisonError::into_inner).values().cloned().collect()
    }

    // ---- the schema's refresh: clients ask, one reader per database reads

    /// The schema changed: asks for it to be read anew, and keeps reads from replicas that do not have the change yet.
    /// Gives a ticket for [`Database::schema_as_of`].
    pub fn want_schema(&self) -> u64 {
        self.shards.iter().for_each(|shard| shard.freshness.raise_floor());
        let ticket = self.schema_wanted.fetch_add(1, Ordering::SeqCst) + 1;
        self.schema_wake.notify_one();
        ticket
    }

    /// The catalog has counted a change of this Weir's own, which it reads anyway.
    pub fn own_schema_change(&self, number: u64) {
        // Another Weir's may have come in between; then both are read again.
        let _is_next = self.schema_change.compare_exchange(number - 1, number, Ordering::SeqCst, Ordering::SeqCst);
    }

    /// The number of the last change in the catalog; what another Weir has changed is read.
    pub fn follow_schema_changes(&self, number: u64) {
        if self.schema_change.swap(number, Ordering::SeqCst) != number {
            self.want_schema();
        }
    }

    /// How many changes of the schema have been asked for.
    pub fn schema_changes(&self) -> u64 {
        self.schema_wanted.load(Ordering::Relaxed)
    }

    /// As [`Database::want_schema`], for a change that decides what statements do to their sessions: none is to run before
    /// the change is known.
    pub fn code_changed(&self) {
        let ticket = self.want_schema();
        self.code_changed.fetch_max(ticket, Ordering::SeqCst);
    }

    /// The ticket of a change that statements must wait for, if there is one.
    pub fn unknown_code(&self) -> Option<u64> {
        let ticket = self.code_changed.load(Ordering::Relaxed);
        (ticket > self.schema_read.load(Ordering::Relaxed)).then_some(ticket)
    }

    /// Waits until a reading of the schema that began after `ticket` was given is there, or a reading fails.
    pub async fn schema_as_of(&self, ticket: u64) -> SchemaRead {
        let failures = self.schema_failures.load(Ordering::SeqCst);
        loop {
            let done = self.schema_done.notified();
            if self.schema_read.load(Ordering::SeqCst) >= ticket {
                return SchemaRead::Done;
            }
            if self.schema_failures.load(Ordering::SeqCst) > failures {
                return SchemaRead::Failed;
            }
            done.await;
        }
    }

    /// A reading failed; whoever waits is told at once, and the reader tries again.
    pub fn schema_failed(&self) {
        self.schema_failures.fetch_add(1, Ordering::SeqCst);
        self.schema_done.notify_waiters();
    }

    /// Waits until somebody wants the schema; gives the ticket that a reading begun now fulfils.
    pub async fn schema_wanted(&self) -> u64 {
        loop {
            let wanted = self.schema_wanted.load(Ordering::SeqCst);
            if wanted > self.schema_read.load(Ordering::SeqCst) {
                return wanted;
            }
            self.schema_wake.notified().await;
        }
    }

    /// Keeps a schema that was read to fulfil `ticket`.
    pub fn set_schema(&self, schema: Schema, ticket: u64) {
        self.schema.store(Arc::new(schema));
        self.schema_read.fetch_max(ticket, Ordering::SeqCst);
        self.schema_done.notify_waiters();
    }
}
