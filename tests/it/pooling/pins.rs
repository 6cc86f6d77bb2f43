//! What keeps a client's server and what does not: code of users, texts that nobody can read, plain work.

use super::{Front, eventually};
use crate::harness::RawClient;

/// Whether the only client keeps a server between transactions.
fn is_pinned(front: &Front) -> bool {
    let [pinned_by] = front.shown("SHOW CLIENTS", "pinned_by").try_into().expect("one client");
    !pinned_by.is_empty()
}

#[test]
fn a_statement_that_was_never_tried_does_not_pin() {
    let front = Front::new(1);
    let mut client = front.app.raw();
    let cases = [
        ("SELEKT 1", "42601"),
        ("SELECT FROM WHERE", "42601"),
        ("SET x.y = 1; SELEKT", "42601"),
        ("SELECT no_such_function()", "42883"),
        ("SELECT * FROM no_such_table", "42P01"),
        ("CALL no_such_procedure()", "42883"),
        ("INSERT INTO no_such_table VALUES (1)", "42P01"),
    ];
    for (sql, sqlstate) in cases {
        assert_eq!(client.failure(sql), sqlstate, "{sql}");
        assert!(!is_pinned(&front), "{sql}");
        assert_eq!(extended_failure(&mut client, sql), sqlstate, "{sql}");
        assert!(!is_pinned(&front), "{sql}");
    }
    assert_eq!(front.app.value("SELECT 1"), "1");
    assert_eq!(front.sessions("true"), 1);
}

fn extended_failure(client: &mut RawClient, sql: &str) -> String {
    use weir::wire::frontend;
    client.send_with(|out| {
        frontend::parse(out, b"", &frontend::definition(sql, &[]));
        frontend::bind(out, b"", b"", &[0; 6]);
        frontend::execute(out, b"", 0);
        frontend::sync(out);
    });
    super::sqlstate(&client.until_ready()).expect("an error")
}

#[test]
fn code_that_ran_before_an_error_pins() {
    let front = Front::new(2);
    front.direct.execute(
        "CREATE FUNCTION lock_and_fail() RETURNS void LANGUAGE plpgsql AS \
         $$ BEGIN PERFORM pg_advisory_lock(7); EXECUTE 'SELEKT'; END $$",
    );
    for sql in ["SELECT lock_and_fail()", "SELECT pg_advisory_lock(8), 'nowhere'::text::regclass"] {
        let mut client = front.app.raw();
        client.failure(sql);
        assert!(is_pinned(&front), "{sql}");
        assert_eq!(
            client.value("SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"),
            "t"
        );
        drop(client);
        eventually("the locks are gone", || {
            front.direct.value("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == "0"
        });
    }
}

/// Functions whose bodies show what they leave in a session, each with whether it pins.
const FUNCTIONS: &str = "
    CREATE TABLE t (n int);
    CREATE TABLE audited (n int);
    CREATE FUNCTION plain(int) RETURNS int LANGUAGE sql AS 'SELECT $1 + 1';
    CREATE FUNCTION modern(int) RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT plain($1); END;
    CREATE FUNCTION writes(int) RETURNS int LANGUAGE plpgsql AS
        $$ BEGIN UPDATE t SET n = $1; INSERT INTO t VALUES (plain($1)); RETURN modern($1); END $$;
    CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.n := plain(NEW.n); RETURN NEW; END $$;
    CREATE TRIGGER stamp BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION stamp();
    CREATE AGGREGATE total (int) (SFUNC = int4pl, STYPE = int, INITCOND = '0');
    CREATE PROCEDURE work() LANGUAGE plpgsql AS $$ BEGIN PERFORM writes(1); END $$;
    CREATE VIEW seen AS SELECT plain(n) FROM t;
    CREATE FUNCTION dynamic(text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE $1; END $$;
    CREATE FUNCTION by_name(text) RETURNS text LANGUAGE sql AS $$ SELECT set_config($1, 'x', false) $$;
    CREATE FUNCTION caller(text) RETURNS text LANGUAGE sql AS $$ SELECT by_name($1) $$;
    CREATE FUNCTION note_audit() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM dynamic('SET app.audited = 1'); RETURN NEW; END $$;
    CREATE TRIGGER audit AFTER INSERT ON audited FOR EACH ROW EXECUTE FUNCTION note_audit();
    CREATE VIEW opens AS SELECT by_name('app.x') AS x";

#[test]
fn code_that_is_proven_to_leave_nothing_does_not_pin() {
    let front = Front::new(1);
    front.app.execute(FUNCTIONS);
    let mut client = front.app.raw();
    for sql in [
        "SELECT plain(1), modern(2), writes(3)",
        "INSERT INTO t VALUES (1)",
        "SELECT total(n) FROM t",
        "CALL work()",
        "SELECT * FROM seen",
        "DO $$ BEGIN PERFORM writes(1); END $$",
        "SELECT * FROM audited",
    ] {
        client.run(sql);
        assert!(!is_pinned(&front), "{sql}");
    }
    for (sql, made) in [("SELECT dynamic('SET app.x = 1')", "1"), ("SELECT caller('app.x')", "x"), ("TABLE opens", "x")]
    {
        let mut client = front.app.raw();
        client.run(sql);
        assert!(front.shown("SHOW CLIENTS", "pinned_by").contains(&"opaque_code".to_owned()), "{sql}");
        assert_eq!(client.value("SELECT current_setting('app.x', true)"), made, "{sql}");
        drop(client);
        assert_eq!(front.app.value("SELECT current_setting('app.x', true) IS NULL"), "t", "{sql}");
    }
    client.run("INSERT INTO audited VALUES (1)");
    assert!(is_pinned(&front));
}

#[test]
fn a_function_that_is_declared_harmless_does_not_pin() {
    let front = Front::with_option(1, "harmless_functions = [\"public.dynamic\"]");
    front.app.execute(FUNCTIONS);
    let mut client = front.app.raw();
    client.run("SELECT dynamic('SELECT 1')");
    assert!(!is_pinned(&front));
    client.run("INSERT INTO audited VALUES (1)");
    assert!(!is_pinned(&front), "the function that calls it is proven then");
    client.run("SELECT by_name('app.x')");
    assert!(is_pinned(&front));
}

#[test]
fn code_that_is_changed_through_weir_is_known_at_once() {
    let front = Front::new(2);
    let (mut author, mut user) = (front.app.raw(), front.app.raw());
    author.run("CREATE FUNCTION f() RETURNS text LANGUAGE sql AS $$ SELECT 'plain' $$");
    for round in 0..5 {
        author.run("CREATE OR REPLACE FUNCTION f() RETURNS text LANGUAGE sql AS $$ SELECT 'plain' $$");
        author.run(
            "CREATE OR REPLACE FUNCTION f() RETURNS text LANGUAGE plpgsql AS \
             $$ BEGIN EXECUTE 'SET app.' || 'x = 7'; RETURN 'set'; END $$",
        );
        assert_eq!(user.value("SELECT f()"), "set", "round {round}");
        assert_eq!(user.value("SELECT current_setting('app.x')"), "7", "round {round}");
        assert_eq!(author.value("SELECT current_setting('app.x', true) IS NULL"), "t", "round {round}");
        drop(std::mem::replace(&mut user, front.app.raw()));
    }
    author.run("BEGIN; CREATE TABLE made (n int)");
    author.run(
        "CREATE FUNCTION g() RETURNS trigger LANGUAGE plpgsql AS \
         $$ BEGIN PERFORM set_config('app.' || 'x', '8', false); RETURN NEW; END $$",
    );
    author.run("CREATE TRIGGER g BEFORE INSERT ON made FOR EACH ROW EXECUTE FUNCTION g()");
    author.run("INSERT INTO made VALUES (1); COMMIT");
    assert_eq!(author.value("SELECT current_setting('app.x')"), "8");
    assert_eq!(user.value("SELECT current_setting('app.x', true) IS NULL"), "t");
}

#[test]
fn discard_all_unpins() {
    let front = Front::new(1);
    let mut client = front.app.raw();
    for make in ["CREATE TEMP TABLE t ()", "SELECT pg_advisory_lock(1)", "SET SEED TO 0.5"] {
        client.run(make);
        assert!(is_pinned(&front), "{make}");
        client.run("DISCARD ALL");
        assert!(!is_pinned(&front), "{make}");
        assert_eq!(front.app.value("SHOW work_mem"), "4MB");
    }
}

#[test]
fn plain_work_does_not_pin() {
    let front = Front::new(1);
    front.direct.execute("CREATE TABLE t (n int PRIMARY KEY); CREATE VIEW v AS SELECT * FROM t");
    let mut client = front.app.raw();
    let statements = [
        "SELECT 1, now(), random(), current_setting('work_mem')",
        "BEGIN; INSERT INTO t VALUES (1), (2); UPDATE t SET n = n + 10; DELETE FROM t WHERE n = 11; COMMIT",
        "BEGIN; SET LOCAL work_mem = '7MB'; SELECT pg_advisory_xact_lock(1); COMMIT",
        "BEGIN; DECLARE c CURSOR FOR SELECT * FROM t; FETCH c; COMMIT",
        "CREATE TABLE fresh (n int)",
        "NOTIFY news",
        "SHOW work_mem",
        "VACUUM t",
        // What asyncpg sends when a connection comes back to its pool.
        "SELECT pg_advisory_unlock_all(); CLOSE ALL; UNLISTEN *; RESET ALL",
    ];
    for sql in statements {
        for statement in sql.split("; ") {
            client.run(statement);
        }
        assert!(!is_pinned(&front), "{sql}");
    }
}

#[test]
fn a_table_that_the_client_made_is_known_at_once() {
    let front = Front::new(1);
    let mut client = front.app.raw();
    client.run("CREATE TABLE fresh (n int)");
    client.run("INSERT INTO fresh VALUES (1)");
    assert_eq!(client.value("SELECT n FROM fresh"), "1");
    assert!(!is_pinned(&front));
}

#[test]
fn a_table_that_somebody_else_made_becomes_known() {
    let front = Front::new(1);
    front.app.execute("SELECT 1");
    front.direct.execute("CREATE TABLE surprise (n int)");
    eventually("reading it does not pin any more", || {
        let mut client = front.app.raw();
        client.run("SELECT * FROM surprise");
        !is_pinned(&front)
    });
}

#[test]
fn notifications_reach_a_listening_client_while_it_is_idle() {
    let front = Front::new(2);
    let mut listener = front.app.raw();
    listener.run("LISTEN news");
    front.app.execute("NOTIFY news, 'extra'");
    let notification = listener.expect(weir::wire::backend::tag::NOTIFICATION_RESPONSE);
    assert!(notification.body.ends_with(b"news\0extra\0"), "{notification:?}");
    assert_eq!(listener.value("SELECT 1"), "1");
}

#[test]
fn session_pooling_keeps_the_server_until_the_client_leaves() {
    let front = Front::with(1, |setup| setup.pool("pool_mode = \"session\""));
    let mut client = front.app.raw();
    let server = client.backend();
    client.run("SET work_mem = '7MB'");
    assert_eq!((client.backend(), client.value("SHOW work_mem")), (server.clone(), "7MB".to_owned()));
    drop(client);
    let mut next = front.app.raw();
    assert_eq!((next.backend(), next.value("SHOW work_mem")), (server, "4MB".to_owned()));
}
