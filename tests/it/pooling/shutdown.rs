//! SIGTERM: transactions finish, then their clients are sent away.

use weir::wire::backend::tag;

use super::{Front, eventually, sqlstate};
use crate::harness::RawClient;

/// Asks Weir to stop and returns when it has begun to.
fn begin_to_stop(front: &Front, witness: &mut RawClient) {
    front.weir.signal(libc::SIGTERM);
    assert_eq!(sqlstate(&witness.until_end()).as_deref(), Some("57P01"));
}

#[test]
fn transactions_finish_first() {
    let front = Front::new(3);
    front.direct.execute("CREATE TABLE t (n int)");
    let (mut idle, mut open, mut batch) = (front.app.raw(), front.app.raw(), front.app.raw());
    open.run("BEGIN");
    open.run("INSERT INTO t VALUES (1)");
    batch.send_with(|out| {
        weir::wire::frontend::parse(out, b"", &weir::wire::frontend::definition("INSERT INTO t VALUES (4)", &[]));
        weir::wire::frontend::flush(out);
    });
    batch.expect(tag::PARSE_COMPLETE);
    begin_to_stop(&front, &mut idle);
    open.run("INSERT INTO t VALUES (2)");
    open.run("COMMIT");
    batch.send_with(|out| {
        weir::wire::frontend::bind(out, b"", b"", &[0; 6]);
        weir::wire::frontend::execute(out, b"", 0);
        weir::wire::frontend::sync(out);
    });
    assert_eq!(super::tags(&batch.until_ready()), "2CZ");
    for mut client in [open, batch] {
        assert_eq!(sqlstate(&client.until_end()).as_deref(), Some("57P01"));
    }
    assert!(front.weir.stop().success());
    assert_eq!(front.direct.value("SELECT sum(n) FROM t"), "7");
}

#[test]
fn a_query_that_runs_is_answered() {
    let front = Front::new(2);
    let (mut idle, mut running) = (front.app.raw(), front.app.raw());
    running.send_with(|out| weir::wire::frontend::query(out, "SELECT pg_sleep(1), 'done'"));
    front.await_sessions("query LIKE '%pg_sleep%' AND state = 'active'", 1);
    begin_to_stop(&front, &mut idle);
    assert_eq!(super::rows(&running.until_ready()), ["|done"]);
    assert_eq!(sqlstate(&running.until_end()).as_deref(), Some("57P01"));
    assert!(front.weir.stop().success());
}

#[test]
fn nobody_is_waited_for_longer_than_shutdown_timeout() {
    let front = Front::with(2, |setup| setup.pool("shutdown_timeout = \"200ms\""));
    let (mut idle, mut open) = (front.app.raw(), front.app.raw());
    open.run("BEGIN");
    begin_to_stop(&front, &mut idle);
    let Front { weir, direct, .. } = front;
    let open_blocks = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = '{}' AND state = 'idle in transaction'",
        direct.database
    );
    assert!(weir.stop().success());
    assert_eq!(open.until_end(), []);
    eventually("its transaction is gone", || direct.value(&open_blocks) == "0");
}

#[test]
fn new_clients_are_not_taken() {
    let front = Front::new(2);
    let (mut idle, mut open) = (front.app.raw(), front.app.raw());
    open.run("BEGIN");
    begin_to_stop(&front, &mut idle);
    assert_ne!(front.app.script("SELECT 1").status, 0);
    open.run("COMMIT");
}
