//! What the console and the metrics are told about clients and servers.

use std::time::{Duration, Instant, SystemTime};

use super::handle::{Handle, Held, State};
use crate::pool::local::Local;
use crate::pool::server::Server;
use crate::pool::shared::{PoolId, Shared};
use crate::telemetry::{ClientInfo, ClientState, PoolInfo, PoolKey, ServerInfo, ServerState};

/// The key under which a pool is counted.
pub fn pool_key(id: &PoolId) -> PoolKey {
    PoolKey { database: id.database.clone(), user: id.user.clone(), shard: id.shard, role: id.node.role() }
}

/// One worker's part of a pool; `clients` are those that wait and those that do not.
pub fn pool_info(pool: &Local, pool_mode: &'static str, clients: (u64, u64)) -> PoolInfo {
    let counts = pool.counts();
    let (waiting, active) = clients;
    PoolInfo {
        key: pool_key(&pool.shared.id),
        pool_mode,
        cl_active: active,
        cl_waiting: waiting,
        sv_active: counts.used as u64,
        sv_idle: counts.idle as u64,
        sv_used: 0,
        sv_tested: 0,
        sv_login: counts.connecting as u64,
        maxwait: counts.longest_wait,
    }
}

/// A client's row of SHOW CLIENTS.
pub fn client_info(handle: &Handle) -> ClientInfo {
    let servers = handle.servers();
    let (state, wait, since) = match handle.state.get() {
        State::Waiting(since) => (ClientState::Waiting, since.elapsed(), Some(since)),
        State::Active(since) => (ClientState::Active, Duration::ZERO, Some(since)),
        State::Idle if servers.is_empty() => (ClientState::Idle, Duration::ZERO, None),
        State::Idle => (ClientState::Active, Duration::ZERO, None),
    };
    ClientInfo {
        id: handle.id,
        user: handle.user.clone(),
        database: handle.database.clone(),
        state,
        addr: handle.address,
        local_addr: handle.local_address,
        connect_time: handle.connected,
        request_time: since.map(clock_time),
        wait,
        links: servers.iter().map(server_id).collect(),
        application_name: handle.application_name.clone(),
        prepared_statements: handle.prepared.get(),
        replication: handle.replication.get(),
        pinned_by: handle.pinned.get(),
        channels: handle.channels.get(),
    }
}

/// A server that waits in its pool.
pub fn idle_server(server: &Server) -> ServerInfo {
    ServerInfo {
        state: ServerState::Idle,
        local_addr: server.conn.local(),
        close_needed: server.retired.is_some(),
        prepared_statements: server.session.prepared_count(),
        ..server_info(server.shared(), server.cancel_key.process_id, server.opened, server.since)
    }
}

/// A server that a client holds.
pub fn held_server(handle: &Handle, held: &Held) -> ServerInfo {
    ServerInfo {
        link: Some(handle.id),
        application_name: handle.application_name.clone(),
        replication: handle.replication.get(),
        ..server_info(&held.pool.shared, held.key.process_id, held.opened, held.since)
    }
}

fn server_info(shared: &Shared, process_id: i32, opened: Instant, since: Instant) -> ServerInfo {
    ServerInfo {
        id: u64::from(process_id.unsigned_abs()),
        key: pool_key(&shared.id),
        state: ServerState::Active,
        addr: host_and_port(&shared.address),
        local_addr: None,
        connect_time: clock_time(opened),
        request_time: Some(clock_time(since)),
        close_needed: false,
        link: None,
        remote_pid: process_id,
        application_name: String::new(),
        prepared_statements: 0,
        replication: None,
    }
}

/// Splits `host:port`.
pub fn host_and_port(address: &str) -> (String, u16) {
    let (host, port) = address.rsplit_once(':').unwrap_or((address, ""));
    (host.trim_matches(['[', ']']).to_owned(), port.parse().unwrap_or(0))
}

fn server_id(held: &Held) -> u64 {
    u64::from(held.key.process_id.unsigned_abs())
}

/// The wall clock at a moment of the steady clock.
fn clock_time(moment: Instant) -> SystemTime {
    SystemTime::now() - moment.elapsed()
}
