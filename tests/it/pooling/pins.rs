//! A client whose session holds state keeps its server; nobody else sees the state, and nothing of it stays.

use super::{Front, eventually};
use crate::harness::RawClient;

/// A statement that leaves state, a question that shows it, and the answers with the state and without.
struct State {
    make: &'static str,
    ask: &'static str,
    with: &'static str,
    without: &'static str,
}

const STATES: [State; 13] = [
    State { make: "SET work_mem = '7MB'", ask: "SHOW work_mem", with: "7MB", without: "4MB" },
    State {
        make: "SELECT set_config('work_mem', '7MB', false)",
        ask: "SELECT current_setting('work_mem')",
        with: "7MB",
        without: "4MB",
    },
    State { make: "SET app.tenant = '7'", ask: "SELECT current_setting('app.tenant', true)", with: "7", without: "-" },
    State {
        make: "SELECT set_config('app.tenant', '7', false)",
        ask: "SELECT current_setting('app.tenant', true)",
        with: "7",
        without: "-",
    },
    State {
        make: "SELECT set_config('app.' || 'tenant', '7', false)",
        ask: "SELECT current_setting('app.tenant', true)",
        with: "7",
        without: "-",
    },
    State { make: "SELECT remember('7')", ask: "SELECT current_setting('app.memory', true)", with: "7", without: "-" },
    State {
        make: "DO $$ BEGIN PERFORM set_config('app.memory', '7', false); END $$",
        ask: "SELECT current_setting('app.memory', true)",
        with: "7",
        without: "-",
    },
    State {
        make: "PREPARE mine AS SELECT 1",
        ask: "SELECT count(*) FROM pg_prepared_statements WHERE from_sql",
        with: "1",
        without: "0",
    },
    State { make: "LISTEN news", ask: "SELECT count(*) FROM pg_listening_channels()", with: "1", without: "0" },
    State {
        make: "CREATE TEMP TABLE mine AS SELECT 1",
        ask: "SELECT to_regclass('pg_temp.mine') IS NOT NULL",
        with: "t",
        without: "f",
    },
    State {
        make: "SELECT pg_advisory_lock(42)",
        ask: "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()",
        with: "1",
        without: "0",
    },
    State {
        make: "BEGIN; DECLARE mine CURSOR WITH HOLD FOR SELECT 1; COMMIT",
        ask: "SELECT count(*) FROM pg_cursors",
        with: "1",
        without: "0",
    },
    State { make: "SET ROLE pg_monitor", ask: "SELECT current_user", with: "pg_monitor", without: "weir" },
];

fn front() -> Front {
    let front = Front::new(2);
    front.direct.execute(
        "CREATE FUNCTION remember(text) RETURNS text LANGUAGE plpgsql AS \
         $$ BEGIN RETURN set_config('app.memory', $1, false); END $$; CREATE SEQUENCE numbers",
    );
    front
}

/// What each of the two servers of the pool says.
fn on_both_servers(front: &Front, ask: &str) -> [String; 2] {
    let (mut first, mut second) = (front.app.raw(), front.app.raw());
    first.run("BEGIN");
    second.run("BEGIN");
    assert_ne!(first.backend(), second.backend());
    [first.value(ask), second.value(ask)]
}

#[test]
fn state_stays_with_its_client_and_is_gone_after_it() {
    let front = front();
    for State { make, ask, with, without } in STATES {
        let (mut owner, mut other) = (front.app.raw(), front.app.raw());
        owner.run(make);
        let server = owner.backend();
        for _ in 0..3 {
            assert_eq!(owner.value(ask), with, "{make}");
            assert_eq!(other.value(ask), without, "{make}");
            assert_eq!(owner.backend(), server, "{make}");
            assert_ne!(other.backend(), server, "{make}");
        }
        drop(owner);
        drop(other);
        eventually("both servers are free", || front.sessions("state = 'idle'") == front.sessions("true"));
        assert_eq!(on_both_servers(&front, ask), [without, without], "{make}");
    }
}

#[test]
fn state_of_a_transaction_ends_with_it() {
    let front = front();
    let mut client = front.app.raw();
    for (make, ask, without) in [
        ("BEGIN; SET LOCAL work_mem = '7MB'; COMMIT", "SHOW work_mem", "4MB"),
        ("BEGIN; SET LOCAL app.tenant = '7'; COMMIT", "SELECT current_setting('app.tenant', true)", "-"),
        ("SELECT set_config('app.tenant', '7', true)", "SELECT current_setting('app.tenant', true)", "-"),
    ] {
        client.run(make);
        drop(std::mem::replace(&mut client, front.app.raw()));
        eventually("both servers are free", || front.sessions("state = 'idle'") == front.sessions("true"));
        assert_eq!(on_both_servers(&front, ask), [without, without], "{make}");
    }
}

#[test]
fn sequence_values_are_the_clients_own() {
    let front = front();
    let (mut first, mut second) = (front.app.raw(), front.app.raw());
    assert_eq!(first.value("SELECT nextval('numbers')"), "1");
    assert_eq!(second.failure("SELECT currval('numbers')"), "55000");
    assert_eq!(first.value("SELECT currval('numbers')"), "1");
    assert_eq!(first.value("SELECT lastval()"), "1");
}

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
    for make in ["SET work_mem = '7MB'", "CREATE TEMP TABLE t ()", "SELECT pg_advisory_lock(1)"] {
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
    let front = front();
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
