//! A small Weir for tests of those who show telemetry: database `shop` with two shards, one client, one server.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::{
    ClientInfo, ClientState, DatabaseInfo, InDoubtInfo, Inspect, ListenerInfo, NodeInfo, Outcome, PoolInfo, PoolKey,
    Scope, ServerInfo, ServerState, ShardInfo, Snapshot, SnapshotFuture, Telemetry,
};
use crate::sql::facts::PinReason;
use crate::types::{Epoch, Kind, Role, ShardId};
use crate::wire::replication::Replication;

pub(crate) struct Sample;

impl Inspect for Sample {
    fn snapshot(&self, scope: Scope) -> SnapshotFuture<'_> {
        Box::pin(async move { snapshot(scope) })
    }
}

/// Counters of three queries on the primary of shard `west` and one on that of `east`, of 1 ms each.
pub(crate) fn telemetry() -> Arc<Telemetry> {
    let telemetry = Telemetry::new(Instant::now());
    for shard in [0, 0, 0, 1] {
        let stats = telemetry.register(&pool_key(shard));
        stats.server_assigned(Duration::from_micros(20));
        stats.query_done(Duration::from_millis(1));
        stats.transaction_done(Duration::from_millis(2));
        stats.received(100);
        stats.sent(1000);
    }
    let stats = telemetry.register(&pool_key(0));
    stats.pinned(PinReason::TemporaryTable);
    stats.error(Kind::ServerLost);
    telemetry.error(Kind::InvalidPassword);
    Arc::new(telemetry)
}

pub(crate) fn pool_key(shard: u16) -> PoolKey {
    PoolKey { database: "shop".into(), user: "ann".into(), shard: ShardId(shard), role: Role::Primary }
}

fn at(second: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_795_317_700 + second)
}

fn snapshot(scope: Scope) -> Snapshot {
    let everything = Snapshot {
        // Shard 0 has a pool on each of two workers.
        pools: vec![pool(0), pool(0), pool(1)],
        clients: vec![client()],
        servers: vec![server()],
        databases: vec![database()],
        shards: vec![shard(0, "west"), shard(1, "east")],
        in_doubt: vec![in_doubt()],
        listeners: vec![listener()],
    };
    match scope {
        Scope::Connections => everything,
        Scope::Pools => Snapshot { clients: Vec::new(), servers: Vec::new(), ..everything },
    }
}

fn pool(shard: u16) -> PoolInfo {
    PoolInfo {
        key: pool_key(shard),
        pool_mode: "transaction",
        cl_active: 1,
        cl_waiting: 0,
        sv_active: 1,
        sv_idle: 2,
        sv_used: 0,
        sv_tested: 0,
        sv_login: 0,
        maxwait: Duration::from_micros(2_000_005),
    }
}

fn client() -> ClientInfo {
    ClientInfo {
        id: 7,
        user: "ann".into(),
        database: "shop".into(),
        state: ClientState::Active,
        addr: ([10, 0, 0, 9], 50_000).into(),
        local_addr: ([10, 0, 0, 1], 6432).into(),
        connect_time: at(1),
        request_time: Some(at(8)),
        wait: Duration::ZERO,
        links: vec![3, 4],
        application_name: "psql".to_owned(),
        prepared_statements: 2,
        replication: Some(Replication::Logical),
        pinned_by: Some(PinReason::Setting),
        channels: 3,
    }
}

fn server() -> ServerInfo {
    ServerInfo {
        id: 3,
        key: pool_key(1),
        state: ServerState::New,
        addr: ("10.0.1.2".into(), 5432),
        local_addr: None,
        connect_time: at(2),
        request_time: None,
        close_needed: true,
        link: Some(7),
        remote_pid: 4711,
        application_name: "psql".to_owned(),
        prepared_statements: 0,
        replication: None,
    }
}

fn database() -> DatabaseInfo {
    DatabaseInfo {
        name: "shop".to_owned(),
        host: "10.0.1.1".to_owned(),
        port: 5432,
        dbname: "shop_west".to_owned(),
        pool_mode: "transaction",
        pool_size: 20,
        server_lifetime: Duration::from_secs(3600),
        max_client_connections: 1000,
        read_write_split: true,
        epoch: Some(Epoch(5)),
    }
}

fn shard(number: u16, name: &str) -> ShardInfo {
    let node = |role, port| NodeInfo { role, host: format!("10.0.1.{}", number + 1), port };
    ShardInfo {
        database: "shop".to_owned(),
        shard: ShardId(number),
        name: name.to_owned(),
        nodes: vec![node(Role::Primary, 5432), node(Role::Replica, 5433)],
    }
}

fn listener() -> ListenerInfo {
    ListenerInfo { database: "shop".to_owned(), clients: 2, channels: 5, notifications: 40, connects: 3, losses: 1 }
}

fn in_doubt() -> InDoubtInfo {
    InDoubtInfo {
        gid: "weir_42".to_owned(),
        database: "shop".to_owned(),
        shards: vec!["west".to_owned(), "east".to_owned()],
        started_at: at(3),
        age: Duration::from_millis(7500),
        outcome: Outcome::Commit,
    }
}
