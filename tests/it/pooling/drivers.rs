//! Python drivers, each in a script of its own under `tests/drivers`.

use super::Front;

/// Runs a driver's script against Weir with few servers.
fn run(script: &str) {
    Front::with(2, |setup| setup.pool("server_round_robin = true")).app.drive(script);
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
