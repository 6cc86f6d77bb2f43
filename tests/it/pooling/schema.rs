//! What Weir knows of the code in a database, and when it cannot know.

use super::{Front, eventually};
use crate::harness::{Database, endpoint_of, servers, unique};

/// A function that leaves something in its session, so that nobody may go on before Weir knows of it.
const REMEMBER: &str = "CREATE FUNCTION remember(int) RETURNS text LANGUAGE plpgsql AS \
    $$ BEGIN RETURN set_config('app.memory', $1::text, false); END $$";

fn front() -> Front {
    let front = Front::new(3);
    front.direct.execute("CREATE TABLE t (n int); CREATE VIEW v AS SELECT n FROM t");
    front
}

/// Looking at the view waits for the table's lock, as Weir's reading of the schema does.
fn reading_waits(front: &Front) -> bool {
    front.sessions_of_weir("wait_event_type = 'Lock'") > 0
}

#[test]
fn a_block_whose_locks_hold_up_the_reading_of_new_code_goes_on() {
    let front = front();
    let (mut blocking, mut defining) = (front.app.raw(), front.app.raw());
    blocking.run("BEGIN; LOCK TABLE t");
    defining.run(REMEMBER);
    eventually("the reading waits for the table", || reading_waits(&front));
    assert_eq!(blocking.value("SELECT count(*) FROM v"), "0");
    blocking.run("COMMIT");
    assert_eq!(defining.value("SELECT remember(3)"), "3");
}

#[test]
fn a_lock_that_stays_does_not_keep_clients_from_running() {
    let front = front();
    let (mut blocking, mut defining) = (front.direct.raw(), front.app.raw());
    blocking.run("BEGIN; LOCK TABLE t");
    defining.run(REMEMBER);
    assert_eq!(defining.value("SELECT remember(3)"), "3");
    assert_eq!(front.app.value("SELECT current_setting('app.memory', true)"), "");
    assert_eq!(defining.value("SELECT current_setting('app.memory', true)"), "3");
}

/// Weir with a second database, "other", where a client has left an idle server.
fn front_with_other(name: &str) -> Front {
    let primary = &servers().app.primary;
    endpoint_of(primary, "postgres").execute(&format!("CREATE DATABASE {name}"));
    let front = Front::with(2, |setup| setup.database(Database::new("other").nodes("main", primary, &[], name)));
    assert_eq!(front.weir.endpoint("other").value("SELECT 1"), "1");
    front
}

#[test]
fn servers_that_are_idle_do_not_keep_a_database_from_being_changed_and_dropped() {
    let (name, copy, renamed) = (unique("other"), unique("copy"), unique("renamed"));
    let front = front_with_other(&name);
    let mut client = front.app.raw();
    client.run(&format!("CREATE DATABASE {copy} TEMPLATE {name}"));
    client.run(&format!("DROP DATABASE {copy}"));
    assert_eq!(front.weir.endpoint("other").value("SELECT 2"), "2");
    client.run(&format!("ALTER DATABASE {name} RENAME TO {renamed}"));
    client.run(&format!("ALTER DATABASE {renamed} RENAME TO {name}"));
    assert_eq!(front.weir.endpoint("other").value("SELECT 3"), "3");
    client.run(&format!("DROP DATABASE {name}"));
}

#[test]
fn a_session_that_is_in_use_keeps_its_database() {
    let name = unique("other");
    let front = front_with_other(&name);
    let mut user = front.weir.endpoint("other").raw();
    user.run("BEGIN");
    assert_eq!(front.app.raw().failure(&format!("DROP DATABASE {name}")), "55006");
    user.run("COMMIT");
}
