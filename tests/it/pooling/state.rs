//! The state of a session in transaction pooling: what follows the client to another server, what keeps its server, who
//! sees it, and when it is gone.

use weir::wire::backend::tag;
use weir::wire::frontend;

use super::{Front, eventually, rows, sqlstate};
use crate::harness::RawClient;

/// State that follows its client.
struct Follower {
    make: &'static str,
    ask: &'static str,
    with: &'static str,
    without: &'static str,
    /// What takes it away, and what the question gives then.
    reset: &'static str,
    after_reset: &'static str,
}

const fn follower(make: &'static str, ask: &'static str, with: &'static str, without: &'static str) -> Follower {
    Follower { make, ask, with, without, reset: "RESET ALL", after_reset: without }
}

const TENANT: &str = "SELECT current_setting('app.tenant', true)";
const CODE: &str = "SELECT current_setting('app.memory', true)";
/// The servers of the tests are in UTC, by whatever name.
const HOUR: &str = "SELECT extract(hour FROM '2024-01-01 12:00+00'::timestamptz)";
const IDENTITY: &str = "SELECT current_user || '/' || session_user";

const FOLLOWERS: &[Follower] = &[
    follower("SET work_mem = '7MB'", "SHOW work_mem", "7MB", "4MB"),
    Follower { reset: "RESET work_mem", ..follower("SET work_mem = '7MB'", "SHOW work_mem", "7MB", "4MB") },
    Follower { reset: "SET work_mem TO DEFAULT", ..follower("SET work_mem = '7MB'", "SHOW work_mem", "7MB", "4MB") },
    Follower { reset: "DISCARD ALL", ..follower("SET work_mem = '7MB'", "SHOW work_mem", "7MB", "4MB") },
    follower("BEGIN; SET work_mem = '7MB'; COMMIT", "SHOW work_mem", "7MB", "4MB"),
    follower("SELECT set_config('work_mem', '7MB', false)", "SELECT current_setting('work_mem')", "7MB", "4MB"),
    follower("SET DateStyle = 'German'", "SHOW DateStyle", "German, DMY", "ISO, MDY"),
    follower("SET DateStyle = 'DMY'", "SHOW DateStyle", "ISO, DMY", "ISO, MDY"),
    follower("SET TIME ZONE INTERVAL '+02:00' HOUR TO MINUTE", HOUR, "14", "12"),
    follower("SET TIME ZONE 'Asia/Tokyo'", HOUR, "21", "12"),
    follower(
        "SET search_path = \"$user\", 'a b', public",
        "SHOW search_path",
        "\"$user\", \"a b\", public",
        "\"$user\", public",
    ),
    follower("SET SCHEMA 'pg_catalog'", "SELECT current_schema()", "pg_catalog", "public"),
    follower("SET search_path = 'schön', 'it''s'", "SHOW search_path", "\"schön\", \"it's\"", "\"$user\", public"),
    follower("SET application_name = 'a''b\\c'", "SHOW application_name", "a'b\\c", ""),
    follower("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", "SHOW transaction_read_only", "on", "off"),
    follower("SET statement_timeout = 12345; SET lock_timeout = '3s'", "SHOW statement_timeout", "12345ms", "0"),
    Follower { after_reset: "", ..follower("SET app.tenant = '7'", TENANT, "7", "-") },
    Follower { reset: "DISCARD ALL", after_reset: "", ..follower("SET app.tenant = '7'", TENANT, "7", "-") },
    Follower { after_reset: "", ..follower("SELECT set_config('app.tenant', '7', false)", TENANT, "7", "-") },
    Follower { after_reset: "", ..follower("BEGIN; SET LOCAL app.tenant = '7'; COMMIT", TENANT, "", "-") },
    Follower { after_reset: "", ..follower("BEGIN; SET app.tenant = '7'; ROLLBACK", TENANT, "", "-") },
    Follower { after_reset: "", ..follower("SELECT remember('7')", CODE, "7", "-") },
    Follower {
        after_reset: "",
        ..follower("DO $$ BEGIN PERFORM set_config('app.memory', '7', false); END $$", CODE, "7", "-")
    },
    Follower { after_reset: "", ..follower("INSERT INTO noted VALUES ('7')", CODE, "7", "-") },
    Follower { reset: "RESET ROLE", ..follower("SET ROLE pg_monitor", IDENTITY, "pg_monitor/weir", "weir/weir") },
    Follower { reset: "SET ROLE NONE", ..follower("SET ROLE pg_monitor", IDENTITY, "pg_monitor/weir", "weir/weir") },
    Follower { reset: "DISCARD ALL", ..follower("SET ROLE pg_monitor", IDENTITY, "pg_monitor/weir", "weir/weir") },
    Follower {
        reset: "RESET SESSION AUTHORIZATION",
        ..follower("SET SESSION AUTHORIZATION pg_monitor", IDENTITY, "pg_monitor/pg_monitor", "weir/weir")
    },
    Follower {
        reset: "SET SESSION AUTHORIZATION DEFAULT",
        ..follower(
            "SET work_mem = '7MB'; SET SESSION AUTHORIZATION pg_monitor; SET ROLE pg_monitor",
            IDENTITY,
            "pg_monitor/pg_monitor",
            "weir/weir",
        )
    },
];

/// A database with code that sets settings.
fn front(pool_size: usize) -> Front {
    let front = Front::new(pool_size);
    front.app.execute(
        "CREATE FUNCTION remember(text) RETURNS text LANGUAGE plpgsql AS \
         $$ BEGIN RETURN set_config('app.memory', $1, false); END $$; \
         CREATE TABLE noted (what text); \
         CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS \
         $$ BEGIN PERFORM remember(NEW.what); RETURN NEW; END $$; \
         CREATE TRIGGER note BEFORE INSERT ON noted FOR EACH ROW EXECUTE FUNCTION note(); \
         CREATE SEQUENCE numbers; CREATE SEQUENCE others; CREATE TABLE numbered (id serial)",
    );
    front
}

/// Runs statements one by one.
fn run_all(client: &mut RawClient, sql: &str) {
    match sql.starts_with("DO") {
        true => client.run(sql),
        false => sql.split("; ").for_each(|statement| client.run(statement)),
    }
}

/// Why clients keep their servers; nothing for those who do not.
fn pins(front: &Front) -> Vec<String> {
    front.shown("SHOW CLIENTS", "pinned_by").into_iter().filter(|reason| !reason.is_empty()).collect()
}

/// A search_path leads to the temporary schema, too, and not only in the text that uses it.
#[test]
fn an_object_is_temporary_by_the_search_path() {
    let front = Front::new(2);
    let (mut owner, mut other) = (front.app.raw(), front.app.raw());
    for set in ["BEGIN; SET LOCAL search_path = pg_temp", "SET search_path = pg_temp; BEGIN"] {
        owner.run(set);
        owner.run("CREATE TYPE mine AS ENUM ('a')");
        owner.run("COMMIT");
        assert_eq!(other.value(TEMPORARY_TYPE), "f", "{set}");
        assert_eq!(other.value(TEMPORARY_TYPE), "f", "{set}");
        assert_eq!(owner.value(TEMPORARY_TYPE), "t", "{set}");
        owner.run("DROP TYPE pg_temp.mine");
    }
}

#[test]
fn state_that_follows_is_the_clients_own_on_one_server() {
    let front = front(1);
    for Follower { make, ask, with, without, reset, after_reset } in FOLLOWERS {
        let (mut owner, mut other) = (front.app.raw(), front.app.raw());
        assert_eq!(other.value(ask), *without, "before {make}");
        run_all(&mut owner, make);
        for _ in 0..2 {
            assert_eq!(other.value(ask), *without, "{make}");
            assert_eq!(owner.value(ask), *with, "{make}");
        }
        assert_eq!(pins(&front), [""; 0], "{make}");
        owner.run(reset);
        assert_eq!(owner.value(ask), *after_reset, "{reset} after {make}");
        assert_eq!(other.value(ask), *without, "{reset} after {make}");
        assert_eq!(owner.value(ask), *after_reset, "{reset} after {make}");
        assert_eq!(front.sessions("true"), 1);
    }
}

#[test]
fn state_that_follows_survives_the_end_of_its_server() {
    let front = front(1);
    for Follower { make, ask, with, .. } in FOLLOWERS {
        let mut owner = front.app.raw();
        run_all(&mut owner, make);
        let server = front.direct.value(
            "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity \
             WHERE datname = current_database() AND backend_type = 'client backend' \
             AND pid <> pg_backend_pid() AND state = 'idle' AND application_name <> 'weir'",
        );
        assert_eq!(server, "t", "{make}");
        assert_eq!(owner.value(ask), *with, "{make}");
    }
}

/// State that keeps its client's server until it is gone.
struct Keeper {
    make: &'static str,
    ask: &'static str,
    reason: &'static str,
    end: &'static str,
}

const TEMPORARY: &str = "SELECT to_regclass('pg_temp.mine') IS NOT NULL";
const TEMPORARY_TYPE: &str = "SELECT to_regtype('pg_temp.mine') IS NOT NULL";
const LOCKS: &str =
    "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid() AND objid = 42)";
const CURSORS: &str = "SELECT EXISTS (SELECT FROM pg_cursors WHERE name = 'mine')";

const KEEPERS: &[Keeper] = &[
    Keeper { make: "CREATE TEMP TABLE mine ()", ask: TEMPORARY, reason: "temporary_table", end: "DROP TABLE mine" },
    Keeper {
        make: "CREATE TEMP VIEW mine AS SELECT 1",
        ask: TEMPORARY,
        reason: "temporary_table",
        end: "DISCARD TEMP",
    },
    Keeper { make: "SELECT 1 AS n INTO TEMP mine", ask: TEMPORARY, reason: "temporary_table", end: "DISCARD ALL" },
    Keeper {
        make: "DO $$ BEGIN CREATE TEMP TABLE mine (); END $$",
        ask: TEMPORARY,
        reason: "temporary_table",
        end: "DO $$ BEGIN DROP TABLE mine; END $$",
    },
    Keeper {
        make: "BEGIN; CREATE TEMP TABLE mine (); COMMIT",
        ask: TEMPORARY,
        reason: "temporary_table",
        end: "BEGIN; SAVEPOINT s; DROP TABLE mine; RELEASE s; COMMIT",
    },
    Keeper {
        make: "CREATE TYPE pg_temp.mine AS ENUM ('a')",
        ask: TEMPORARY_TYPE,
        reason: "temporary_table",
        end: "DROP TYPE pg_temp.mine",
    },
    Keeper {
        make: "BEGIN; SET LOCAL search_path = pg_temp; CREATE DOMAIN mine AS int; COMMIT",
        ask: TEMPORARY_TYPE,
        reason: "temporary_table",
        end: "DROP DOMAIN pg_temp.mine",
    },
    Keeper {
        make: "CREATE FUNCTION pg_temp.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        ask: "SELECT to_regproc('pg_temp.mine') IS NOT NULL",
        reason: "temporary_table",
        end: "DROP FUNCTION pg_temp.mine",
    },
    Keeper {
        make: "SELECT pg_advisory_lock(42)",
        ask: LOCKS,
        reason: "advisory_lock",
        end: "SELECT pg_advisory_unlock(42)",
    },
    Keeper {
        make: "SELECT pg_try_advisory_lock_shared(42)",
        ask: LOCKS,
        reason: "advisory_lock",
        end: "SELECT pg_advisory_unlock_all()",
    },
    Keeper { make: "SELECT lock_it(42)", ask: LOCKS, reason: "advisory_lock", end: "DISCARD ALL" },
    Keeper {
        make: "BEGIN; DECLARE mine CURSOR WITH HOLD FOR SELECT 1; COMMIT",
        ask: CURSORS,
        reason: "hold_cursor",
        end: "CLOSE mine",
    },
    Keeper {
        make: "BEGIN; DECLARE mine CURSOR WITH HOLD FOR SELECT 1; COMMIT",
        ask: CURSORS,
        reason: "hold_cursor",
        end: "CLOSE ALL",
    },
];

#[test]
fn state_that_cannot_follow_keeps_the_server_until_it_is_gone() {
    let front = front(2);
    front.app.execute(
        "CREATE FUNCTION lock_it(int) RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_lock($1); END $$",
    );
    for Keeper { make, ask, reason, end } in KEEPERS {
        let (mut owner, mut other) = (front.app.raw(), front.app.raw());
        run_all(&mut owner, make);
        assert_eq!(pins(&front), [*reason], "{make}");
        let server = owner.backend();
        for _ in 0..2 {
            assert_eq!(owner.value(ask), "t", "{make}");
            assert_eq!(other.value(ask), "f", "{make}");
            assert_ne!(other.backend(), server, "{make}");
        }
        run_all(&mut owner, end);
        assert_eq!(pins(&front), [""; 0], "{end} after {make}");
        assert_eq!(owner.value(ask), "f", "{end} after {make}");
    }
}

#[test]
fn state_that_cannot_follow_is_gone_after_its_client() {
    let front = front(1);
    front.app.execute(
        "CREATE FUNCTION lock_it(int) RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_lock($1); END $$",
    );
    for Keeper { make, ask, .. } in KEEPERS {
        let mut owner = front.app.raw();
        run_all(&mut owner, make);
        drop(owner);
        assert_eq!(front.app.value(ask), "f", "{make}");
    }
}

#[test]
fn what_a_transaction_takes_back_leaves_nothing() {
    let front = front(1);
    let mut client = front.app.raw();
    for (sql, ask, expected) in [
        ("BEGIN; SET work_mem = '7MB'; ROLLBACK", "SHOW work_mem", "4MB"),
        (
            "BEGIN; SET work_mem = '7MB'; SAVEPOINT s; SET work_mem = '8MB'; ROLLBACK TO s; COMMIT",
            "SHOW work_mem",
            "7MB",
        ),
        (
            "BEGIN; SAVEPOINT s; SET work_mem = '9MB'; RELEASE s; SET LOCAL work_mem = '1MB'; COMMIT",
            "SHOW work_mem",
            "9MB",
        ),
        ("BEGIN; RESET work_mem; ROLLBACK", "SHOW work_mem", "9MB"),
        ("BEGIN; RESET work_mem; COMMIT", "SHOW work_mem", "4MB"),
        ("BEGIN; CREATE TEMP TABLE mine (); ROLLBACK", TEMPORARY, "f"),
        ("BEGIN; CREATE TEMP TABLE mine () ON COMMIT DROP; COMMIT", TEMPORARY, "f"),
        ("BEGIN; SET ROLE pg_monitor; ROLLBACK", "SELECT current_user", "weir"),
    ] {
        run_all(&mut client, sql);
        assert_eq!(pins(&front), [""; 0], "{sql}");
        assert_eq!(front.app.value("SHOW work_mem"), "4MB", "{sql}");
        assert_eq!(client.value(ask), expected, "{sql}");
    }
}

#[test]
fn several_statements_in_one_text_are_asked_about_together() {
    let front = front(1);
    let mut client = front.app.raw();
    client.run("SET work_mem = '7MB'; COMMIT; BEGIN; SET work_mem = '8MB'; ROLLBACK; SET app.tenant = '1'");
    let messages = client.query("SET work_mem = '9MB'; SELECT 1/0");
    assert_eq!(sqlstate(&messages).as_deref(), Some("22012"));
    assert_eq!(front.app.value("SHOW work_mem"), "4MB");
    assert_eq!((client.value("SHOW work_mem"), client.value(TENANT)), ("7MB".into(), "1".into()));
}

/// A parameter of set_config() is seen in both formats; a name that is computed keeps the server.
#[test]
fn the_name_of_a_setting_may_be_a_parameter() {
    let front = front(1);
    let mut client = front.app.raw();
    for format in [0, 1] {
        let value = format!("seven{format}");
        bind(&mut client, "SELECT set_config($1, $2, false)", format, &["app.tenant", &value]);
        assert_eq!(front.app.value(TENANT), "");
        assert_eq!(client.value(TENANT), value);
    }
    assert_eq!(pins(&front), [""; 0]);
    client.run("SELECT set_config('app.' || 'tenant', '8', false)");
    assert_eq!(pins(&front), ["opaque_code"]);
}

fn bind(client: &mut RawClient, sql: &str, format: u8, values: &[&str]) {
    let mut arguments = vec![0, 1, 0, format, 0, u8::try_from(values.len()).expect("few values")];
    for value in values {
        arguments.extend_from_slice(&i32::try_from(value.len()).expect("a short value").to_be_bytes());
        arguments.extend_from_slice(value.as_bytes());
    }
    arguments.extend_from_slice(&[0, 0]);
    client.send_with(|out| {
        frontend::parse(out, b"", &frontend::definition(sql, &[]));
        frontend::bind(out, b"", b"", &arguments);
        frontend::execute(out, b"", 0);
        frontend::sync(out);
    });
    let messages = client.until_ready();
    assert_eq!(sqlstate(&messages), None, "{messages:?}");
}

/// The case that row-level security is made of: a setting names the tenant, in functions and policies.
#[test]
fn row_level_security_by_a_custom_setting() {
    let front = front(1);
    front.app.execute(
        "CREATE TABLE orders (tenant text, n int); INSERT INTO orders VALUES ('a', 1), ('b', 2), ('b', 3); \
         GRANT ALL ON orders TO pg_monitor; ALTER TABLE orders ENABLE ROW LEVEL SECURITY; \
         CREATE POLICY own ON orders USING (tenant = current_setting('app.tenant', true)); \
         CREATE FUNCTION enter(text) RETURNS void LANGUAGE plpgsql AS \
         $$ BEGIN PERFORM set_config('app.tenant', $1, false); CREATE TEMP TABLE IF NOT EXISTS entered (); END $$",
    );
    let count = "SELECT count(*) FROM orders";
    let (mut a, mut b) = (front.app.raw(), front.app.raw());
    let mut nobody = front.app.raw();
    a.run("SET app.tenant = 'a'");
    b.run("SET app.tenant = 'b'");
    for client in [&mut a, &mut b, &mut nobody] {
        client.run("SET ROLE pg_monitor");
    }
    for _ in 0..3 {
        assert_eq!((a.value(count), b.value(count), nobody.value(count)), ("1".into(), "2".into(), "0".into()));
    }
    for client in [&mut a, &mut b, &mut nobody] {
        client.run("RESET ROLE");
    }
    assert_eq!(pins(&front), [""; 0]);
    a.run("SELECT enter('b')");
    assert_eq!(pins(&front), ["temporary_table"]);
    a.run("SET ROLE pg_monitor");
    assert_eq!(a.value(count), "2");
    a.run("RESET ROLE; DROP TABLE entered");
    nobody.run("SET ROLE pg_monitor");
    assert_eq!(nobody.value(count), "0");
}

/// PostgreSQL reads a constant once, when its statement is prepared.
#[test]
fn constants_of_a_prepared_statement_stay_what_they_were() {
    let front = front(1);
    front.app.execute("CREATE TABLE dates (d date)");
    let mut client = front.app.raw();
    client.run("SET DateStyle = 'SQL, DMY'");
    client.send_with(|out| {
        frontend::parse(out, b"read", &frontend::definition("SELECT date '01/02/2024'", &[]));
        frontend::parse(out, b"write", &frontend::definition("INSERT INTO dates VALUES ('01/02/2024')", &[]));
        frontend::sync(out);
    });
    assert_eq!(sqlstate(&client.until_ready()), None);
    client.run("SET DateStyle = 'ISO, MDY'");
    for _ in 0..2 {
        let ended = front.direct.value(
            "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity \
             WHERE datname = current_database() AND backend_type = 'client backend' \
             AND pid <> pg_backend_pid() AND state = 'idle' AND application_name <> 'weir'",
        );
        assert_eq!(ended, "t");
        for (name, answer) in [("read", vec!["2024-02-01".to_owned()]), ("write", vec![])] {
            client.send_with(|out| {
                frontend::bind(out, b"", name.as_bytes(), &[0; 6]);
                frontend::execute(out, b"", 0);
                frontend::sync(out);
            });
            let messages = client.until_ready();
            assert_eq!((sqlstate(&messages), rows(&messages)), (None, answer), "{name}");
        }
        assert_eq!(client.value("SHOW DateStyle"), "ISO, MDY");
    }
    assert_eq!(front.app.value("SELECT string_agg(d::text, ' ') FROM dates"), "2024-02-01 2024-02-01");
    assert_eq!(pins(&front), [""; 0]);
}

/// libpq's functions for large objects are FunctionCalls; what they open ends with the transaction.
#[test]
fn function_calls_of_large_objects_do_not_pin() {
    let front = front(1);
    let mut client = front.app.raw();
    let call = |client: &mut RawClient, oid: u32, argument: i32| {
        let mut body = oid.to_be_bytes().to_vec();
        body.extend_from_slice(&[0, 1, 0, 1, 0, 1, 0, 0, 0, 4]);
        body.extend_from_slice(&argument.to_be_bytes());
        body.extend_from_slice(&[0, 1]);
        client.send_with(|out| {
            weir::wire::backend::message(out, frontend::tag::FUNCTION_CALL, |out| out.extend_from_slice(&body))
        });
        client.until_ready()
    };
    // lo_creat(-1)
    assert_eq!(sqlstate(&call(&mut client, 957, -1)), None);
    assert_eq!(pins(&front), [""; 0]);
    assert_eq!(front.app.value("SELECT count(*) FROM pg_largeobject_metadata"), "1");
    // abs(-1): of other functions nothing is known by their OIDs.
    assert_eq!(sqlstate(&call(&mut client, 1397, -1)), None);
    assert_eq!(pins(&front), ["opaque_code"]);
}

/// A function of users that hides a built-in one under the session's own search_path.
#[test]
fn a_function_that_hides_a_builtin_one_is_asked_about() {
    let front = front(1);
    front.app.execute(
        "CREATE SCHEMA own; CREATE FUNCTION own.lower(text) RETURNS text LANGUAGE sql AS \
         $$ SELECT set_config('work_mem', '7MB', false) $$",
    );
    let mut client = front.app.raw();
    client.run("SET search_path = own, pg_catalog");
    assert_eq!(client.value("SELECT lower('A'::text)"), "7MB");
    assert_eq!(front.app.value("SHOW work_mem"), "4MB");
    assert_eq!(client.value("SHOW work_mem"), "7MB");
}

#[test]
fn a_setting_that_the_next_server_refuses_is_an_error() {
    let front = front(1);
    let role = crate::harness::unique("passing");
    front.app.execute(&format!("CREATE ROLE {role}"));
    let mut client = front.app.raw();
    client.run(&format!("SET ROLE {role}"));
    assert_eq!(front.app.value("SELECT current_user"), "weir");
    front.app.execute(&format!("DROP ROLE {role}"));
    assert_eq!(client.failure("SELECT current_user"), "22023");
    assert_eq!(client.failure("SELECT current_user"), "22023", "never as somebody else");
    assert_eq!(front.app.value("SELECT current_user"), "weir");
}

/// The client's own limits apply to its statements; where they end Weir's question, the server is kept until it is answered.
#[test]
fn a_question_that_fails_keeps_the_server() {
    let front = front(2);
    let mut client = front.app.raw();
    client.run("SET statement_timeout = 1");
    for _ in 0..20 {
        // Whether the question was in time or not, nobody else sees the limit, and the client does.
        assert_eq!(front.app.value("SHOW statement_timeout"), "0");
        let messages = client.query("SHOW statement_timeout");
        assert!(rows(&messages) == ["1ms"] || sqlstate(&messages).as_deref() == Some("57014"), "{messages:?}");
    }
    eventually("the limit can be lifted", || sqlstate(&client.query("SET statement_timeout = 0")).is_none());
    assert_eq!(client.value("SHOW statement_timeout"), "0");
}

#[test]
fn reports_are_those_of_one_server() {
    let front = front(1);
    let (mut client, mut other) = (front.app.raw(), front.app.raw());
    let reports = |messages: &[crate::harness::Message]| -> Vec<(String, String)> {
        messages
            .iter()
            .filter(|message| message.tag == tag::PARAMETER_STATUS)
            .map(|message| message.parameter())
            .collect()
    };
    let report = |value: &str| vec![("TimeZone".to_owned(), value.to_owned())];
    assert_eq!(reports(&client.query("SET TimeZone = 'Asia/Tokyo'")), report("Asia/Tokyo"));
    assert_eq!(reports(&other.query("SELECT 1")), []);
    assert_eq!(reports(&client.query("SET TimeZone = 'Europe/Rome'")).last(), report("Europe/Rome").last());
    assert_eq!(reports(&other.query("SET TimeZone = 'Europe/Oslo'")).last(), report("Europe/Oslo").last());
    let own = front.direct.value("SHOW TimeZone");
    assert_eq!(reports(&client.query("RESET TimeZone")).last(), report(&own).last());
}

#[test]
fn the_scanner_follows_standard_conforming_strings() {
    let front = front(1);
    let mut client = front.app.raw();
    client.run("SET standard_conforming_strings = off; SET backslash_quote = on; SET escape_string_warning = off");
    assert_eq!(front.app.value("SELECT 'a\\'"), "a\\");
    assert_eq!(client.value("SELECT 'it\\'s; SET work_mem = 1'"), "it's; SET work_mem = 1");
    assert_eq!(pins(&front), [""; 0]);
    client.run("RESET standard_conforming_strings");
    assert_eq!(client.value("SELECT 'a\\'"), "a\\");
}

#[test]
fn values_of_sequences_are_the_clients_own() {
    let front = front(1);
    let (mut first, mut second) = (front.app.raw(), front.app.raw());
    assert_eq!(first.value("SELECT nextval('numbers')"), "1");
    assert_eq!(first.value("SELECT currval('numbers')"), "1");
    assert_eq!(pins(&front), [""; 0]);
    assert_eq!(second.failure("SELECT currval('numbers')"), "55000");
    assert_eq!(second.failure("SELECT lastval()"), "55000");
    // The second one's question took them away, which the first one is told.
    assert_eq!(first.failure("SELECT lastval()"), "55000");
    // From now on the first client is known to ask.
    assert_eq!(first.value("SELECT nextval('numbers')"), "2");
    assert_eq!(pins(&front), ["sequence"]);
    assert_eq!(first.value("SELECT lastval()"), "2");
    first.run("DISCARD SEQUENCES");
    assert_eq!(pins(&front), [""; 0]);
    assert_eq!(first.failure("SELECT currval('numbers')"), "55000");
}

#[test]
fn an_old_value_of_a_sequence_is_never_given() {
    let front = front(2);
    let mut client = front.app.raw();
    assert_eq!(client.value("SELECT nextval('numbers')"), "1");
    let first = client.backend();
    let mut blockers = [front.app.raw(), front.app.raw()];
    for blocker in &mut blockers {
        blocker.run("BEGIN");
    }
    for blocker in &mut blockers {
        if blocker.backend() != first {
            blocker.run("ROLLBACK");
        }
    }
    assert_eq!(client.value("SELECT nextval('numbers')"), "2");
    assert_ne!(client.backend(), first);
    drop(blockers);
    let mut other = front.app.raw();
    other.run("BEGIN");
    // Whatever server the client has now: the last value, or none.
    let messages = client.query("SELECT currval('numbers')");
    assert!(rows(&messages) == ["2"] || sqlstate(&messages).as_deref() == Some("55000"), "{messages:?}");
}

#[test]
fn a_default_that_reads_a_sequence_finds_no_old_value() {
    let front = Front::with(2, |setup| setup.weir("workers = 1").pool("server_round_robin = true"));
    front.direct.execute("CREATE SEQUENCE numbers");
    let table = "CREATE TABLE twice (n int DEFAULT nextval('numbers'), again int DEFAULT currval('numbers'))";
    front.app.raw().run(table);
    let mut client = front.app.raw();
    let mut blockers = [front.app.raw(), front.app.raw()];
    for turn in ["BEGIN", "ROLLBACK"] {
        blockers.iter_mut().for_each(|blocker| blocker.run(turn));
    }
    assert_ne!(client.backend(), client.backend());
    client.run("SELECT nextval('numbers')");
    client.run("SELECT nextval('numbers')");
    let messages = client.query("INSERT INTO twice (n) VALUES (0) RETURNING again");
    assert!(rows(&messages) == ["2"] || sqlstate(&messages).as_deref() == Some("55000"), "{messages:?}");
}

#[test]
fn new_rows_with_numbers_do_not_pin_those_who_never_ask() {
    let front = front(1);
    let (mut first, mut second) = (front.app.raw(), front.app.raw());
    for _ in 0..3 {
        first.run("INSERT INTO numbered DEFAULT VALUES");
        second.run("INSERT INTO numbered DEFAULT VALUES");
    }
    assert_eq!(pins(&front), [""; 0]);
    assert_eq!(first.failure("SELECT lastval()"), "55000", "both clients' numbers are in there");
    first.run("INSERT INTO numbered DEFAULT VALUES");
    assert_eq!(first.value("SELECT lastval()"), "7");
}

/// A function that only takes numbers is no question for them.
#[test]
fn code_that_takes_numbers_does_not_pin() {
    let front = front(1);
    front.app.execute(
        "CREATE FUNCTION number() RETURNS int8 LANGUAGE plpgsql AS $$ BEGIN RETURN nextval('numbers'); END $$; \
         CREATE FUNCTION last_number() RETURNS int8 LANGUAGE sql AS $$ SELECT currval('numbers') $$",
    );
    let mut client = front.app.raw();
    assert_eq!((client.value("SELECT number()"), client.value("SELECT number()")), ("1".into(), "2".into()));
    assert_eq!(pins(&front), [""; 0]);
    assert_eq!(front.app.raw().failure("SELECT last_number()"), "55000");
    assert_eq!((client.failure("SELECT last_number()"), client.value("SELECT number()")), ("55000".into(), "3".into()));
    assert_eq!(pins(&front), ["sequence"]);
    assert_eq!(client.value("SELECT last_number()"), "3");
}

#[test]
fn sequence_state_can_be_kept_from_the_first_value_on() {
    let front = Front::with_option(2, "sequence_state = \"pin\"");
    front.direct.execute("CREATE SEQUENCE numbers");
    let (mut first, mut second) = (front.app.raw(), front.app.raw());
    assert_eq!(first.value("SELECT nextval('numbers')"), "1");
    assert_eq!(pins(&front), ["sequence"]);
    assert_eq!(second.value("SELECT nextval('numbers')"), "2");
    assert_eq!((first.value("SELECT lastval()"), second.value("SELECT lastval()")), ("1".into(), "2".into()));
}
