//! Python drivers, each in a script of its own under `tests/drivers`.

use super::{Front, endpoint_of, unique};
use crate::harness::{driver_script, servers};

/// Runs a driver's script against Weir with few servers.
fn run(script: &str) {
    let front = Front::with(2, |setup| setup.pool("server_round_robin = true"));
    let mut command = driver_script(script);
    command.env("PGHOST", front.app.address.ip().to_string()).env("PGPORT", front.app.address.port().to_string());
    command.env("PGUSER", &front.app.user).env("PGPASSWORD", &front.app.password).env("PGDATABASE", "app");
    // A database without Weir to compare with, of the same user.
    let twin = unique("twin");
    endpoint_of(&servers().app.primary, "postgres").execute(&format!("CREATE DATABASE {twin}"));
    command.env("DIRECT_PORT", front.direct.address.port().to_string()).env("DIRECT_DB", twin);
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
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
