//! The tables of SHOW. PgBouncer's columns stand first, in its order and with its types; what only Weir knows follows.
//! Columns for what Weir does not have (such as `min_pool_size` or counts of cancel requests) are left out.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;

use super::command::{MAP_COMMANDS, Subject};
use super::table::{Column, Value, int4, int8, numeric, put_table, some, text};
use super::timestamp::utc;
use crate::sql::facts::PinReason;
use crate::telemetry::{
    ClientInfo, Counter, Counts, DatabaseInfo, Distribution, InDoubtInfo, ListenerInfo, PoolInfo, Reading, ServerInfo,
    ShardLoad, Snapshot, shard_loads,
};
use crate::types::Role;
use crate::wire::replication::Replication;

/// A row and the name of its shard.
struct Sharded<T> {
    row: T,
    shard: String,
}

const POOLS: &[Column<Sharded<PoolInfo>>] = &[
    text("database", |pool| some(&pool.row.key.database)),
    text("user", |pool| some(&pool.row.key.user)),
    int4("cl_active", |pool| some(pool.row.cl_active)),
    int4("cl_waiting", |pool| some(pool.row.cl_waiting)),
    int4("sv_active", |pool| some(pool.row.sv_active)),
    int4("sv_idle", |pool| some(pool.row.sv_idle)),
    int4("sv_used", |pool| some(pool.row.sv_used)),
    int4("sv_tested", |pool| some(pool.row.sv_tested)),
    int4("sv_login", |pool| some(pool.row.sv_login)),
    int4("maxwait", |pool| some(pool.row.maxwait.as_secs())),
    int4("maxwait_us", |pool| some(pool.row.maxwait.subsec_micros())),
    text("pool_mode", |pool| some(pool.row.pool_mode)),
    text("shard", |pool| some(&pool.shard)),
    text("role", |pool| some(pool.row.key.role.as_str())),
];

pub(super) fn pools(snapshot: &Snapshot, out: &mut BytesMut) {
    let rows = snapshot.merged_pools().into_values().map(|row| {
        let shard = snapshot.shard_name(&row.key.database, row.key.shard);
        Sharded { row, shard }
    });
    put_table(out, POOLS, rows);
}

const CLIENTS: &[Column<ClientInfo>] = &[
    text("type", |_| some("C")),
    text("user", |client| some(&client.user)),
    text("database", |client| some(&client.database)),
    text("replication", |client| some(client.replication.map_or("none", Replication::as_str))),
    text("state", |client| some(client.state.as_str())),
    text("addr", |client| some(client.addr.ip())),
    int4("port", |client| some(client.addr.port())),
    text("local_addr", |client| some(client.local_addr.ip())),
    int4("local_port", |client| some(client.local_addr.port())),
    text("connect_time", |client| some(utc(client.connect_time))),
    text("request_time", |client| client.request_time.map(utc)),
    int4("wait", |client| some(client.wait.as_secs())),
    int4("wait_us", |client| some(client.wait.subsec_micros())),
    int4("close_needed", |_| some(0)),
    text("ptr", |client| some(client_name(client.id))),
    text("link", |client| some(client.links.iter().copied().map(server_name).collect::<Vec<_>>().join(","))),
    int4("remote_pid", |_| some(0)),
    text("tls", |_| some("")),
    text("application_name", |client| some(&client.application_name)),
    int4("prepared_statements", |client| some(client.prepared_statements)),
    int8("id", |client| some(client.id)),
    text("pinned_by", |client| client.pinned_by.map(PinReason::as_str).and_then(some)),
    int4("channels", |client| some(client.channels)),
];

pub(super) fn clients(snapshot: &Snapshot, out: &mut BytesMut) {
    put_table(out, CLIENTS, snapshot.clients.iter().cloned());
}

const SERVERS: &[Column<Sharded<ServerInfo>>] = &[
    text("type", |_| some("S")),
    text("user", |server| some(&server.row.key.user)),
    text("database", |server| some(&server.row.key.database)),
    text("replication", |server| some(server.row.replication.map_or("none", Replication::as_str))),
    text("state", |server| some(server.row.state.as_str())),
    text("addr", |server| some(&server.row.addr.0)),
    int4("port", |server| some(server.row.addr.1)),
    text("local_addr", |server| server.row.local_addr.as_ref().map(SocketAddr::ip).and_then(some)),
    int4("local_port", |server| server.row.local_addr.as_ref().map(SocketAddr::port).and_then(some)),
    text("connect_time", |server| some(utc(server.row.connect_time))),
    text("request_time", |server| server.row.request_time.map(utc)),
    int4("wait", |_| some(0)),
    int4("wait_us", |_| some(0)),
    int4("close_needed", |server| some(u8::from(server.row.close_needed))),
    text("ptr", |server| some(server_name(server.row.id))),
    text("link", |server| some(server.row.link.map(client_name).unwrap_or_default())),
    int4("remote_pid", |server| some(server.row.remote_pid)),
    text("tls", |_| some("")),
    text("application_name", |server| some(&server.row.application_name)),
    int4("prepared_statements", |server| some(server.row.prepared_statements)),
    int8("id", |server| some(server.row.id)),
    text("shard", |server| some(&server.shard)),
    text("role", |server| some(server.row.key.role.as_str())),
];

pub(super) fn servers(snapshot: &Snapshot, out: &mut BytesMut) {
    let rows = snapshot.servers.iter().map(|row| {
        let shard = snapshot.shard_name(&row.key.database, row.key.shard);
        Sharded { row: row.clone(), shard }
    });
    put_table(out, SERVERS, rows);
}

/// PgBouncer names a connection by its address in memory; Weir by a letter and its id. `link` speaks of the same names.
fn client_name(id: u64) -> String {
    format!("C{id}")
}

fn server_name(id: u64) -> String {
    format!("S{id}")
}

struct DatabaseRow {
    info: DatabaseInfo,
    shard_count: usize,
    servers: u64,
    clients: u64,
}

const DATABASES: &[Column<DatabaseRow>] = &[
    text("name", |database| some(&database.info.name)),
    text("host", |database| some(&database.info.host)),
    int4("port", |database| some(database.info.port)),
    text("database", |database| some(&database.info.dbname)),
    text("force_user", |_| None),
    int4("pool_size", |database| some(database.info.pool_size)),
    int4("server_lifetime", |database| some(database.info.server_lifetime.as_secs())),
    text("pool_mode", |database| some(database.info.pool_mode)),
    int4("current_connections", |database| some(database.servers)),
    int4("max_client_connections", |database| some(database.info.max_client_connections)),
    int4("current_client_connections", |database| some(database.clients)),
    text("read_write_split", |database| some(if database.info.read_write_split { "on" } else { "off" })),
    int4("shards", |database| some(database.shard_count)),
    int8("epoch", |database| database.info.epoch.and_then(some)),
];

pub(super) fn databases(snapshot: &Snapshot, out: &mut BytesMut) {
    let rows = snapshot.databases.iter().map(|info| {
        let pools = || snapshot.pools.iter().filter(|pool| *pool.key.database == *info.name);
        DatabaseRow {
            info: info.clone(),
            shard_count: snapshot.shards.iter().filter(|shard| shard.database == info.name).count(),
            servers: pools().map(PoolInfo::servers).sum(),
            clients: pools().map(PoolInfo::clients).sum(),
        }
    });
    put_table(out, DATABASES, rows);
}

#[derive(Default)]
struct StatsRow {
    database: String,
    total: Counts<Counter>,
    recent: Counts<Counter>,
    recent_period: Duration,
    query_times: Distribution,
}

impl StatsRow {
    fn total(&self, counter: Counter) -> Value {
        some(self.total.get(counter))
    }

    fn per_second(&self, counter: Counter) -> Value {
        some(self.recent.get(counter) / self.recent_period.as_secs().max(1))
    }

    /// The recent sum of `time` divided by the recent number of `events`, 0 if there were none.
    fn each(&self, time: Counter, events: Counter) -> Value {
        some(self.recent.get(time).checked_div(self.recent.get(events)).unwrap_or(0))
    }

    fn query_time_us(&self, part: f64) -> Value {
        self.query_times.quantile(part).map(|time| time.as_micros()).and_then(some)
    }
}

const STATS: &[Column<StatsRow>] = &[
    text("database", |stats| some(&stats.database)),
    int8("total_xact_count", |stats| stats.total(Counter::XactCount)),
    int8("total_query_count", |stats| stats.total(Counter::QueryCount)),
    int8("total_server_assignment_count", |stats| stats.total(Counter::ServerAssignmentCount)),
    int8("total_received", |stats| stats.total(Counter::Received)),
    int8("total_sent", |stats| stats.total(Counter::Sent)),
    int8("total_xact_time", |stats| stats.total(Counter::XactTime)),
    int8("total_query_time", |stats| stats.total(Counter::QueryTime)),
    int8("total_wait_time", |stats| stats.total(Counter::WaitTime)),
    int8("avg_xact_count", |stats| stats.per_second(Counter::XactCount)),
    int8("avg_query_count", |stats| stats.per_second(Counter::QueryCount)),
    int8("avg_server_assignment_count", |stats| stats.per_second(Counter::ServerAssignmentCount)),
    int8("avg_recv", |stats| stats.per_second(Counter::Received)),
    int8("avg_sent", |stats| stats.per_second(Counter::Sent)),
    int8("avg_xact_time", |stats| stats.each(Counter::XactTime, Counter::XactCount)),
    int8("avg_query_time", |stats| stats.each(Counter::QueryTime, Counter::QueryCount)),
    int8("avg_wait_time", |stats| stats.each(Counter::WaitTime, Counter::ServerAssignmentCount)),
    int8("p50_query_time", |stats| stats.query_time_us(0.5)),
    int8("p99_query_time", |stats| stats.query_time_us(0.99)),
];

pub(super) fn stats(snapshot: &Snapshot, reading: &Reading, out: &mut BytesMut) {
    let mut rows: BTreeMap<&str, StatsRow> = BTreeMap::new();
    for info in &snapshot.databases {
        rows.entry(&info.name).or_default();
    }
    for (key, pool) in &reading.pools {
        let row = rows.entry(&key.database).or_default();
        row.total.absorb(&pool.counters);
        row.query_times.absorb(&pool.query_times);
    }
    for (key, recent) in &reading.recent {
        rows.entry(&key.database).or_default().recent.absorb(recent);
    }
    let rows = rows.into_iter().map(|(database, row)| StatsRow {
        database: database.to_owned(),
        recent_period: reading.recent_period,
        ..row
    });
    put_table(out, STATS, rows);
}

const SHARDS: &[Column<ShardLoad>] = &[
    text("database", |load| some(&load.info.database)),
    text("shard", |load| some(&load.info.name)),
    text("primary", |load| some(load.info.addresses(Role::Primary))),
    text("replicas", |load| some(load.info.addresses(Role::Replica))),
    int4("servers", |load| some(load.servers)),
    int8("total_query_count", |load| some(load.total.get(Counter::QueryCount))),
    int8("total_query_time", |load| some(load.total.get(Counter::QueryTime))),
    numeric("query_percent", |load| load.total_share.queries_percent.and_then(percent)),
    numeric("time_percent", |load| load.total_share.time_percent.and_then(percent)),
    numeric("recent_query_percent", |load| load.recent_share.queries_percent.and_then(percent)),
    numeric("recent_time_percent", |load| load.recent_share.time_percent.and_then(percent)),
];

pub(super) fn shards(snapshot: &Snapshot, reading: &Reading, out: &mut BytesMut) {
    put_table(out, SHARDS, shard_loads(snapshot, reading));
}

fn percent(value: f64) -> Value {
    some(format_args!("{value:.1}"))
}

const LISTENERS: &[Column<ListenerInfo>] = &[
    text("database", |listener| some(&listener.database)),
    int4("clients", |listener| some(listener.clients)),
    int4("channels", |listener| some(listener.channels)),
    int8("notifications", |listener| some(listener.notifications)),
    int8("connects", |listener| some(listener.connects)),
    int8("losses", |listener| some(listener.losses)),
];

pub(super) fn listeners(snapshot: &Snapshot, out: &mut BytesMut) {
    put_table(out, LISTENERS, snapshot.listeners.iter().cloned());
}

const TWO_PHASE: &[Column<InDoubtInfo>] = &[
    text("gid", |transaction| some(&transaction.gid)),
    text("database", |transaction| some(&transaction.database)),
    text("shards", |transaction| some(transaction.shards.join(","))),
    text("started_at", |transaction| some(utc(transaction.started_at))),
    numeric("age", |transaction| some(transaction.age.as_secs_f64())),
    text("decision", |transaction| some(transaction.outcome.as_str())),
];

pub(super) fn two_phase(snapshot: &Snapshot, out: &mut BytesMut) {
    put_table(out, TWO_PHASE, snapshot.in_doubt.iter().cloned());
}

const VERSION: &[Column<()>] = &[text("version", |()| some(concat!("Weir ", env!("CARGO_PKG_VERSION"))))];

pub(super) fn version(out: &mut BytesMut) {
    put_table(out, VERSION, [()]);
}

const HELP: &[Column<(String, &'static str)>] =
    &[text("command", |(command, _)| some(command)), text("description", |(_, description)| some(description))];

pub(super) fn help(out: &mut BytesMut) {
    let shown = Subject::ALL.iter().map(|subject| (format!("SHOW {}", subject.name()), subject.description()));
    let others = MAP_COMMANDS.iter().map(|(command, description)| ((*command).to_owned(), *description));
    put_table(out, HELP, shown.chain(others));
}
