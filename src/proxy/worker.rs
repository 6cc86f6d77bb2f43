//! One thread with one single-threaded runtime. A client lives on one worker, and so does everything it needs for a
//! query: pools, cached facts, prepared statements. Nothing of that is locked.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustc_hash::FxHashMap;
use tokio::sync::mpsc::UnboundedReceiver;

use super::handle::{Handle, State};
use super::instance::{Instance, Order, Place, User, WorkerReport};
use super::{control, login, report as reports};
use crate::net::{executor, outbox};
use crate::pool::database::Database;
use crate::pool::local::Local;
use crate::pool::shared::{Mail, NodeIndex, PoolId};
use crate::session::parameters::Parameters;
use crate::session::settings::Settings;
use crate::session::statements::{Described, Made, Prepared, Registry, Standing, StatementId, StatementIds};
use crate::sql::cache::FactsCache;
use crate::sql::facts::{Facts, Statement};
use crate::sql::scan::LiteralSpan;
use crate::sql::schema::Schema;
use crate::telemetry::{PoolKey, PoolStats, Scope};
use crate::types::{Error, Kind, Result, ShardId};
use crate::wire::backend::ClientKey;
use crate::wire::frontend::{self, Parse};

/// Bytes of cached facts that a worker keeps.
const FACTS_CACHE_BYTES: usize = 32 * 1024 * 1024;

/// How often idle servers are looked after.
const SWEEP_PERIOD: Duration = Duration::from_secs(5);

/// A pool on this worker and this worker's counters for it.
pub type PoolHere = (Rc<Local>, Arc<PoolStats>);

/// The pools of one database and user on this worker, as far as they were used.
pub type Pools = RefCell<FxHashMap<(ShardId, NodeIndex), PoolHere>>;

type DatabaseAndUser = (Arc<str>, Arc<str>);

/// What logins have in common that report the same: database, user, settings.
type LoginKey = (Arc<str>, Arc<str>, Arc<Settings>);

/// What a login needs to know of the servers' run-time parameters, as the client wants them set.
#[derive(Clone)]
pub struct Reports {
    pub parameters: Rc<Parameters>,
    /// [`Local::reports_version`] of the pool that they came from.
    pub version: u64,
}

/// A worker's own things.
pub struct Worker {
    pub index: usize,
    pub instance: Arc<Instance>,
    pools: RefCell<HashMap<PoolId, PoolHere>>,
    by_user: RefCell<HashMap<DatabaseAndUser, Rc<Pools>>>,
    databases: RefCell<FxHashMap<Arc<str>, Here>>,
    handles: RefCell<FxHashMap<i32, Rc<Handle>>>,
    reports: RefCell<HashMap<LoginKey, Reports>>,
    stopping: Cell<bool>,
    literals: Cell<Vec<LiteralSpan>>,
}

/// A database on one worker.
struct Here {
    facts: Rc<RefCell<FactsCache>>,
    by_settings: HashMap<(Settings, bool), Rc<Known>>,
}

impl Default for Here {
    fn default() -> Self {
        Self { facts: Rc::new(RefCell::new(FactsCache::new(FACTS_CACHE_BYTES))), by_settings: HashMap::new() }
    }
}

/// What one worker knows of the statements of clients that parse alike: same database, same settings.
pub struct Known {
    facts: Rc<RefCell<FactsCache>>,
    statements: RefCell<Registry>,
    standard_conforming_strings: bool,
    /// The settings that decide how constants are read.
    pub reading: Arc<Settings>,
}

/// Whether a client's statements may be shared with others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// The session is as its settings say.
    Shared,
    /// The session has state of its own, which decides what a text means.
    Own,
    /// The open transaction has settings of its own, which may decide how constants are read.
    OwnReading,
}

impl Known {
    /// The facts of a text, from the cache where that is possible; `literals` gets the text's literals.
    pub fn facts(&self, schema: &Schema, text: &str, literals: &mut Vec<LiteralSpan>) -> Arc<Facts> {
        self.facts.borrow_mut().get(text, schema, self.standard_conforming_strings, literals)
    }

    /// The prepared statement of a definition. `born` says how far changes of the schema have come: a statement from
    /// before is not given to those who prepare it now.
    pub fn prepared(
        &self,
        ids: &StatementIds,
        schema: &Schema,
        parse: &Parse<'_>,
        sharing: Sharing,
        born: u64,
    ) -> Result<Rc<Prepared>> {
        let found = match sharing {
            Sharing::Shared => self.statements.borrow().find(parse.definition),
            Sharing::Own | Sharing::OwnReading => None,
        };
        match found.filter(|found| found.standing.stands(born)) {
            Some(found) if found.schema_version == schema.version => return Ok(found),
            Some(stale) => return Ok(self.refreshed(schema, &stale)),
            None => {}
        }
        let text = std::str::from_utf8(parse.query).ok().map(Arc::from);
        let definition = Bytes::copy_from_slice(parse.definition);
        let standing = Rc::new(self.standing(born, sharing));
        let prepared = self.prepare(schema, ids.next(), definition, text, parse.parameter_types()?, standing);
        Ok(self.keep(prepared, sharing))
    }

    /// The statement of SQL's PREPARE, by its text.
    pub fn prepared_by_sql(
        &self,
        ids: &StatementIds,
        schema: &Schema,
        text: &str,
        sharing: Sharing,
        born: u64,
    ) -> Rc<Prepared> {
        // No Parse of a text has a definition that begins with a zero.
        let definition = Bytes::from([&[0], text.as_bytes()].concat());
        let found = self.statements.borrow().find(&definition).filter(|_| sharing == Sharing::Shared);
        if let Some(found) = found.filter(|found| found.standing.stands(born)) {
            return if found.schema_version == schema.version { found } else { self.refreshed(schema, &found) };
        }
        let standing = Rc::new(self.standing(born, sharing));
        let mut prepared = self.prepare(schema, ids.next(), definition, Some(text.into()), Vec::new(), standing);
        prepared.made = Made::BySql;
        self.keep(prepared, sharing)
    }

    fn standing(&self, born: u64, sharing: Sharing) -> Standing {
        let reading = (sharing != Sharing::OwnReading).then(|| Arc::clone(&self.reading));
        Standing::new(born, reading)
    }

    fn keep(&self, prepared: Prepared, sharing: Sharing) -> Rc<Prepared> {
        let executes = |statement: &Statement| statement.executes.is_some();
        let means_the_same = prepared.is_repeatable() && !prepared.facts.statements.iter().any(executes);
        if sharing == Sharing::Shared && means_the_same {
            return self.statements.borrow_mut().insert(prepared);
        }
        Rc::new(prepared)
    }

    /// The same text as another statement, which takes and gives what `described` says, or a server has yet to say: the
    /// schema changed under the old one, and those who have that keep it. Whoever prepares the definition from now on
    /// gets the new one.
    pub fn renewed(
        &self,
        ids: &StatementIds,
        schema: &Schema,
        old: &Prepared,
        described: Option<Described>,
    ) -> Rc<Prepared> {
        let standing = Rc::new(Standing::new(old.standing.born, Some(Arc::clone(&self.reading))));
        described.into_iter().for_each(|described| standing.learn(described));
        let types = old.parameter_types.clone();
        let mut renewed = self.prepare(schema, ids.next(), old.definition.clone(), old.text.clone(), types, standing);
        renewed.made = old.made;
        old.standing.outdated.set(true);
        let mut statements = self.statements.borrow_mut();
        match statements.find(&old.definition) {
            Some(shared) if shared.id == old.id => statements.insert(renewed),
            _ => Rc::new(renewed),
        }
    }

    /// The same statement with facts read against the schema of now.
    pub fn refreshed(&self, schema: &Schema, stale: &Prepared) -> Rc<Prepared> {
        let types = stale.parameter_types.clone();
        let standing = Rc::clone(&stale.standing);
        let mut fresh = self.prepare(schema, stale.id, stale.definition.clone(), stale.text.clone(), types, standing);
        fresh.made = stale.made;
        let mut statements = self.statements.borrow_mut();
        match statements.find(&stale.definition) {
            Some(shared) if shared.id == stale.id => statements.insert(fresh),
            _ => Rc::new(fresh),
        }
    }

    /// A statement that no server and no client knows by a name. `id` is that of the statement which it is a part of.
    pub fn in_passing(&self, schema: &Schema, id: StatementId, text: &str, parameter_types: &[u32]) -> Prepared {
        let definition = frontend::definition(text, parameter_types).freeze();
        self.prepare(schema, id, definition, Some(text.into()), parameter_types.to_vec(), Rc::default())
    }

    fn prepare(
        &self,
        schema: &Schema,
        id: StatementId,
        definition: Bytes,
        text: Option<Arc<str>>,
        parameter_types: Vec<u32>,
        standing: Rc<Standing>,
    ) -> Prepared {
        let mut literals = Vec::new();
        let facts = match &text {
            Some(text) => self.facts(schema, text, &mut literals),
            None => Arc::new(Facts::unreadable()),
        };
        let server_name = id.server_name().into_bytes();
        let schema_version = schema.version;
        let made = Made::ByParse;
        Prepared { id, made, server_name, definition, text, parameter_types, schema_version, facts, literals, standing }
    }
}

/// What a worker receives.
pub struct Inbox {
    pub orders: UnboundedReceiver<Order>,
    pub mail: UnboundedReceiver<Mail>,
}

/// Runs a worker on this thread until all senders of orders are gone or it was stopped and its clients left. `runtime`
/// has its timers, and does what is not traffic.
pub fn run(
    index: usize,
    instance: Arc<Instance>,
    inbox: Inbox,
    runtime: &tokio::runtime::Handle,
) -> std::io::Result<()> {
    let _context = runtime.enter();
    if !instance.config.general.io_uring {
        outbox::disable();
    }
    let worker = Rc::new(Worker {
        index,
        instance,
        pools: RefCell::default(),
        by_user: RefCell::default(),
        databases: RefCell::default(),
        handles: RefCell::default(),
        reports: RefCell::default(),
        stopping: Cell::new(false),
        literals: Cell::default(),
    });
    executor::block_on(worker.work(inbox))
}

impl Worker {
    async fn work(self: Rc<Self>, mut inbox: Inbox) {
        let mut sweep = tokio::time::interval(SWEEP_PERIOD);
        sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                order = inbox.orders.recv() => match order {
                    Some(order) => self.follow(order),
                    None => return,
                },
                Some(mail) = inbox.mail.recv() => self.read_mail(mail),
                _ = sweep.tick() => self.sweep(),
            }
            if self.stopping.get() && self.handles.borrow().is_empty() {
                return;
            }
        }
    }

    fn follow(self: &Rc<Self>, order: Order) {
        match order {
            Order::Serve(socket) => executor::spawn(login::serve(Rc::clone(self), socket)),
            Order::Listen(database) => {
                let instance = Arc::clone(&self.instance);
                executor::spawn(control::hear_notifications(instance, database));
            }
            Order::Cancel(key, done) => {
                let worker = Rc::clone(self);
                executor::spawn(async move {
                    worker.cancel(&key).await;
                    let _asker_left = done.send(());
                });
            }
            Order::Report(scope, answer) => {
                let _asker_left = answer.send(self.report(scope));
            }
            Order::CloseIdle(place) => self.close_idle(&place),
            Order::Stop => {
                self.stopping.set(true);
                self.handles.borrow().values().for_each(|handle| handle.stop.say());
            }
        }
    }

    fn read_mail(&self, mail: Mail) {
        let id = match &mail {
            Mail::Handover(server) => server.shared().id.clone(),
            Mail::Wanted(shared) | Mail::PlaceFree(shared) => shared.id.clone(),
        };
        let Some((pool, _)) = self.pools.borrow().get(&id).cloned() else { return };
        match mail {
            Mail::Handover(server) => pool.arrived(*server),
            Mail::Wanted(_) => pool.wanted_elsewhere(),
            Mail::PlaceFree(_) => pool.place_became_free(),
        }
    }

    fn sweep(&self) {
        self.locals().iter().for_each(Local::sweep);
    }

    fn close_idle(&self, place: &Place) {
        let is_there = |pool: &&Rc<Local>| pool.shared.address == place.address && *pool.shared.dbname == *place.dbname;
        self.locals().iter().filter(is_there).for_each(Local::close_idle);
    }

    fn locals(&self) -> Vec<Rc<Local>> {
        self.pools.borrow().values().map(|(pool, _)| Rc::clone(pool)).collect()
    }

    /// This worker's part of a pool, and its counters.
    pub fn pool(&self, database: &Database, user: &User, shard: ShardId, node: NodeIndex) -> Result<PoolHere> {
        let id = PoolId { database: Arc::clone(&database.name), user: Arc::clone(&user.name), shard, node };
        if let Some(here) = self.pools.borrow().get(&id) {
            return Ok(here.clone());
        }
        let shared = database
            .pool(&user.name, user.server_password.as_ref(), shard, node, &self.instance.pool_mail)
            .ok_or_else(|| Error::internal(format!("shard {shard} of \"{}\" has no such node", database.name)))?;
        let key = PoolKey { database: id.database.clone(), user: id.user.clone(), shard, role: node.role() };
        let here = (Rc::new(Local::new(shared, self.index)), self.instance.telemetry.register(&key));
        self.pools.borrow_mut().insert(id, here.clone());
        Ok(here)
    }

    /// What the clients of a database and user share, to find their pools fast.
    pub fn pools_of(&self, database: &Database, user: &User) -> Rc<Pools> {
        let key = (Arc::clone(&database.name), Arc::clone(&user.name));
        Rc::clone(self.by_user.borrow_mut().entry(key).or_default())
    }

    /// What this worker knows of the statements of clients with these settings.
    pub fn known(&self, database: &Database, settings: &Settings, standard_conforming_strings: bool) -> Rc<Known> {
        let mut databases = self.databases.borrow_mut();
        let here = databases.entry(Arc::clone(&database.name)).or_default();
        let (settings, reading) = (settings.for_parsing(), settings.for_constants());
        if here.by_settings.len() >= SETTINGS_MAX {
            here.by_settings.retain(|_, known| Rc::strong_count(known) > 1);
        }
        let make = || {
            Rc::new(Known {
                facts: Rc::clone(&here.facts),
                statements: RefCell::default(),
                standard_conforming_strings,
                reading: Arc::new(reading),
            })
        };
        Rc::clone(here.by_settings.entry((settings, standard_conforming_strings)).or_insert_with(make))
    }

    pub fn remember(&self, handle: &Rc<Handle>) {
        self.handles.borrow_mut().insert(handle.key.process_id, Rc::clone(handle));
        if self.stopping.get() {
            handle.stop.say();
        }
    }

    pub fn forget(&self, handle: &Handle) {
        self.handles.borrow_mut().remove(&handle.key.process_id);
    }

    /// An empty list for the literals of a text: with room, if no other client of this worker has that now.
    pub fn spare_literals(&self) -> Vec<LiteralSpan> {
        self.literals.take()
    }

    /// Takes a list back from [`Worker::spare_literals`].
    pub fn return_literals(&self, mut literals: Vec<LiteralSpan>) {
        if literals.capacity() <= LITERALS_KEPT {
            literals.clear();
            self.literals.set(literals);
        }
    }

    pub fn count_error(&self, kind: Kind) {
        self.instance.count_error(kind);
    }

    /// The run-time parameters that a login with these settings reports, if a login like it was seen before.
    pub fn known_reports(
        &self,
        database: &Database,
        user: &User,
        settings: &Arc<Settings>,
    ) -> Option<(Arc<Settings>, Reports)> {
        let key = (Arc::clone(&database.name), Arc::clone(&user.name), Arc::clone(settings));
        self.reports.borrow().get_key_value(&key).map(|(key, reports)| (Arc::clone(&key.2), reports.clone()))
    }

    pub fn keep_reports(&self, database: &Database, user: &User, settings: &Arc<Settings>, reports: &Reports) {
        let key = (Arc::clone(&database.name), Arc::clone(&user.name), Arc::clone(settings));
        let mut all = self.reports.borrow_mut();
        if all.len() >= REPORTS_MAX {
            all.clear();
        }
        all.insert(key, reports.clone());
    }

    async fn cancel(&self, key: &ClientKey) {
        let handle = self.handles.borrow().get(&key.process_id).filter(|handle| handle.key.admits(key)).cloned();
        if let Some(handle) = handle {
            handle.cancel().await;
        }
    }

    fn report(&self, scope: Scope) -> WorkerReport {
        let mut report = WorkerReport::default();
        for (local, stats_key) in self.pools.borrow().values().map(|(local, _)| (local, &local.shared.id)) {
            report.pools.push(reports::pool_info(local, self.pool_mode(stats_key), self.waiting_and_active(stats_key)));
            if scope == Scope::Connections {
                local.for_each_idle(|server| report.servers.push(reports::idle_server(server)));
            }
        }
        if scope == Scope::Connections {
            for handle in self.handles.borrow().values() {
                report.clients.push(reports::client_info(handle));
                report.servers.extend(handle.servers().iter().map(|held| reports::held_server(handle, held)));
            }
        }
        report
    }

    fn pool_mode(&self, pool: &PoolId) -> &'static str {
        let database = self.instance.database(&pool.database);
        database.map_or("", |database| self.instance.pool_mode(database, &pool.user).as_str())
    }

    /// Clients of a pool's database and user that wait, and that are connected.
    fn waiting_and_active(&self, pool: &PoolId) -> (u64, u64) {
        let handles = self.handles.borrow();
        let own = handles.values().filter(|handle| handle.database == pool.database && handle.user == pool.user);
        own.fold((0, 0), |(waiting, active), handle| match handle.state.get() {
            State::Waiting(_) => (waiting + 1, active),
            State::Active(_) | State::Idle => (waiting, active + 1),
        })
    }
}

/// Different settings that statements are shared by, before those without clients are dropped.
const SETTINGS_MAX: usize = 256;

/// Literals that a worker keeps room for.
const LITERALS_KEPT: usize = 1024;

/// Different settings that logins are remembered for.
const REPORTS_MAX: usize = 1024;
