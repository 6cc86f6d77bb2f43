//! What Weir knows of the code in a database, and when it cannot know.

use super::{Front, eventually};

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
