//! Python drivers, each in a script of its own under `tests/drivers`.

use super::{Front, endpoint_of, unique};
use crate::harness::servers;

/// Runs a driver's script against Weir with few servers. It has a database without Weir to compare with, too.
fn run(script: &str) {
    let front = Front::with(2, |setup| setup.pool("server_round_robin = true"));
    let twin = unique("twin");
    endpoint_of(&servers().app.primary, "postgres").execute(&format!("CREATE DATABASE {twin}"));
    let port = front.direct.address.port().to_string();
    front.app.drive(script, &[("DIRECT_PORT", &port), ("DIRECT_DB", &twin)]);
}

#[test]
fn psycopg() {
    run("psycopg_test.py");
}

#[test]
fn libpq_18() {
    run("libpq_test.py");
}

#[test]
fn asyncpg() {
    run("asyncpg_test.py");
}
