//! SQL's PREPARE, EXECUTE and DEALLOCATE over servers: clients that share a server find what they would find without
//! Weir, and nobody keeps it.

use bytes::BytesMut;
use weir::wire::frontend::{self, Target};

use super::twins::{Both, Ddl, Twins};
use super::{Front, rows};

/// Two clients of one server, which take turns, and the same two with a server each.
fn pair() -> (Twins, Both, Both) {
    let twins = Twins::new(1, Ddl::Directly);
    let (first, second) = (twins.client(), twins.client());
    (twins, first, second)
}

fn is_pinned(front: &Front) -> bool {
    front.shown("SHOW CLIENTS", "pinned_by").iter().any(|reason| !reason.is_empty())
}

fn extended(sql: &str) -> impl Fn(&mut BytesMut) {
    move |out| {
        frontend::parse(out, b"", &frontend::definition(sql, &[]));
        frontend::bind(out, b"", b"", &[0; 6]);
        frontend::describe(out, Target::Portal(b""));
        frontend::execute(out, b"", 0);
        frontend::sync(out);
    }
}

fn run_named(name: &str) -> impl Fn(&mut BytesMut) {
    move |out| {
        frontend::bind(out, b"", name.as_bytes(), &[0; 6]);
        frontend::describe(out, Target::Portal(b""));
        frontend::execute(out, b"", 0);
        frontend::sync(out);
    }
}

#[test]
fn two_clients_of_one_server_have_their_own_names() {
    let (twins, mut first, mut second) = pair();
    first.query("PREPARE s (int) AS SELECT 'first', $1");
    second.query("PREPARE s AS SELECT 'second'");
    for _ in 0..3 {
        assert!(first.query("EXECUTE s(1)").contains("D first|1"));
        assert!(second.query("EXECUTE s").contains("D second"));
        first.same(extended("EXECUTE s(2)"));
        second.same(extended("EXECUTE s"));
        assert!(first.query("EXECUTE s").starts_with("E 42601"));
        assert!(first.query("EXPLAIN (COSTS OFF) EXECUTE s(1)").contains("D Result"));
        second.query("EXPLAIN (COSTS OFF) EXECUTE s");
    }
    assert!(first.query("PREPARE s AS SELECT 1").starts_with("E 42P05"));
    first.query("DEALLOCATE s");
    assert!(first.query("EXECUTE s").starts_with("E 26000"));
    assert!(first.query("DEALLOCATE s").starts_with("E 26000"));
    assert!(second.query("EXECUTE s").contains("D second"));
    second.query("CREATE TABLE made AS EXECUTE s");
    first.query("PREPARE s AS SELECT 'again'");
    second.query("DEALLOCATE ALL");
    assert!(second.query("EXECUTE s").starts_with("E 26000"));
    assert!(first.query("EXECUTE s").contains("D again"));
    first.query("DISCARD ALL");
    assert!(first.query("EXECUTE s").starts_with("E 26000"));
    assert!(!is_pinned(&twins.front));
}

#[test]
fn statements_of_sql_and_of_the_protocol_share_their_names() {
    let (twins, mut first, mut second) = pair();
    first.prepare("p", "SELECT 'by Parse'");
    second.query("PREPARE p AS SELECT 'of another'");
    first.query("PREPARE q AS SELECT 'by PREPARE'");
    for _ in 0..3 {
        assert!(first.query("EXECUTE p").contains("D by Parse"));
        assert!(second.query("EXECUTE p").contains("D of another"));
        assert!(first.same(run_named("q")).contains("D by PREPARE"));
        assert!(second.same(run_named("q")).starts_with("E 26000"));
        first.same(|out| {
            frontend::describe(out, Target::Statement(b"q"));
            frontend::sync(out);
        });
    }
    assert!(first.query("PREPARE p AS SELECT 1").starts_with("E 42P05"));
    first.same(|out| {
        frontend::parse(out, b"q", &frontend::definition("SELECT 1", &[]));
        frontend::sync(out);
    });
    first.close("q");
    assert!(first.query("EXECUTE q").starts_with("E 26000"));
    first.query("DEALLOCATE p");
    assert!(first.same(run_named("p")).starts_with("E 26000"));
    assert!(second.same(run_named("p")).contains("D of another"));
    assert!(!is_pinned(&twins.front));
}

/// PREPARE and DEALLOCATE do not care for the end of their transaction.
#[test]
fn names_survive_a_rollback() {
    let (twins, mut first, mut second) = pair();
    second.query("PREPARE kept AS SELECT 'of another'");
    second.query("PREPARE failed AS SELECT 'of another'");
    for sql in [
        "BEGIN",
        "PREPARE kept AS SELECT 'kept'",
        "EXECUTE kept",
        "PREPARE failed AS SELECT nonsense",
        "EXECUTE kept",
        "PREPARE late AS SELECT 1",
        "DEALLOCATE kept",
        "ROLLBACK",
    ] {
        first.query(sql);
    }
    second.query("EXECUTE kept");
    assert!(first.query("EXECUTE kept").contains("D kept"));
    assert!(first.query("EXECUTE failed").starts_with("E 26000"));
    assert!(first.query("EXECUTE late").starts_with("E 26000"));
    for sql in ["BEGIN", "DEALLOCATE kept", "ROLLBACK", "EXECUTE kept"] {
        first.query(sql);
        if first.query("SELECT 1").ends_with("Z I") {
            second.query("EXECUTE kept");
        }
    }
    assert!(!is_pinned(&twins.front));
}

#[test]
fn the_list_of_statements_shows_the_clients_own() {
    let (twins, mut first, mut second) = pair();
    let list = "SELECT name, statement, parameter_types, from_sql FROM pg_prepared_statements ORDER BY name";
    first.prepare("by_parse", "SELECT 1 AS one");
    second.prepare("of_another", "SELECT 2");
    second.query("PREPARE s AS SELECT 'second'");
    for _ in 0..2 {
        assert!(second.query(list).contains("D of_another|SELECT 2|{}|f; D s|PREPARE s AS SELECT 'second'|{}|t"));
        assert!(first.query(list).contains("D by_parse|SELECT 1 AS one|{}|f; C"));
        second.query("EXECUTE s");
    }
    first.query("PREPARE s (int, text) AS SELECT $1, $2;");
    let both = "D by_parse|SELECT 1 AS one|{}|f; D s|PREPARE s (int, text) AS SELECT $1, $2;|{integer,text}|t; C";
    assert!(first.query(list).contains(both));
    first.same(extended(list));
    assert_eq!(rows(&twins.front.app.raw().query(list)).len(), 0);
    assert!(second.query("SELECT count(*) FROM pg_prepared_statement()").contains("D 2"));
    assert!(!is_pinned(&twins.front));
}

/// What the server says of a statement that it cannot be given any more.
#[test]
fn a_statement_whose_table_is_gone_fails_as_it_would() {
    let (twins, mut first, mut second) = pair();
    twins.ddl("CREATE TABLE t (a int); INSERT INTO t VALUES (1)");
    first.query("PREPARE s AS SELECT * FROM t");
    second.query("PREPARE s AS SELECT 'other'");
    twins.ddl("DROP TABLE t");
    for _ in 0..2 {
        second.query("EXECUTE s");
        assert!(first.query("EXECUTE s").starts_with("E 42P01"));
        first.query("BEGIN");
        assert_eq!(first.query("EXECUTE s"), "E 42P01 relation \"t\" does not exist; Z E");
        first.query("ROLLBACK");
    }
    twins.ddl("CREATE TABLE t (a int); INSERT INTO t VALUES (2)");
    second.query("EXECUTE s");
    assert!(first.query("EXECUTE s").contains("D 2"));
}

#[test]
fn what_an_executed_statement_does_is_noted() {
    let (twins, mut first, mut second) = pair();
    twins.ddl("CREATE SEQUENCE numbers");
    first.query("PREPARE harmless AS SELECT set_config('work_mem', '7MB', true)");
    first.query("PREPARE lasting AS SELECT set_config('work_mem', '7MB', false)");
    first.query("EXECUTE harmless");
    assert!(second.query("SHOW work_mem").contains("D 4MB"));
    first.query("EXECUTE lasting");
    assert!(second.query("SHOW work_mem").contains("D 4MB"));
    assert!(first.query("SHOW work_mem").contains("D 7MB"));
    assert!(!is_pinned(&twins.front), "settings follow the client");
    first.query("PREPARE locks AS SELECT pg_advisory_lock(42)");
    assert!(!is_pinned(&twins.front), "it was not executed");
    first.weir.run("EXECUTE locks");
    assert!(is_pinned(&twins.front));
    first.weir.run("SELECT pg_advisory_unlock(42)");
    assert!(!is_pinned(&twins.front));
}

#[test]
fn several_statements_in_one_text() {
    let (twins, mut first, mut second) = pair();
    second.query("PREPARE a AS SELECT 'of another'; PREPARE c AS SELECT 'c'");
    first.query(
        "PREPARE a AS SELECT 'a'; EXECUTE a; PREPARE b AS SELECT 'b'; DEALLOCATE a; PREPARE a AS SELECT 'newer'",
    );
    for _ in 0..2 {
        assert!(first.query("EXECUTE a; EXECUTE b").contains("D newer; C; T"));
        assert!(second.query("EXECUTE a; EXECUTE b").contains("D of another; C; E 26000"));
    }
    first.query("BEGIN; PREPARE d AS SELECT 'd'; EXECUTE d");
    first.query("EXECUTE d");
    first.query("ROLLBACK");
    second.query("EXECUTE d");
    assert!(first.query("EXECUTE d").contains("D d"));
    first.query("DEALLOCATE d; SELECT 1");
    assert!(first.query("EXECUTE d").starts_with("E 26000"));
    assert!(!is_pinned(&twins.front));
}

/// What cannot be told from outside stays with its server.
#[test]
fn names_that_only_the_server_knows_pin() {
    for (sql, sqlstate) in [
        ("DO $$ BEGIN EXECUTE 'PREPARE a AS SELECT ''a'''; END $$", None),
        ("PREPARE a AS SELECT 'a'; SELECT 1/0", Some("22012")),
        ("PREPARE a AS SELECT 'now'::timestamptz > 'epoch', 'a'", None),
    ] {
        let front = Front::new(2);
        let (mut client, mut other) = (front.app.raw(), front.app.raw());
        other.run("PREPARE a AS SELECT 'of another'");
        assert_eq!(super::sqlstate(&client.query(sql)).as_deref(), sqlstate, "{sql}");
        assert!(is_pinned(&front), "{sql}");
        for _ in 0..2 {
            assert!(rows(&client.query("EXECUTE a"))[0].ends_with('a'), "{sql}");
            assert_eq!(rows(&other.query("EXECUTE a")), ["of another"], "{sql}");
        }
        client.run("DISCARD ALL");
        assert_eq!(client.failure("EXECUTE a"), "26000", "{sql}");
        assert!(!is_pinned(&front), "{sql}");
    }
}

#[test]
fn code_does_not_find_names_of_others() {
    let front = Front::new(1);
    let (mut client, mut other) = (front.app.raw(), front.app.raw());
    other.run("PREPARE theirs AS SELECT 1");
    client.run("PREPARE mine AS SELECT 2");
    client.run("DO $$ BEGIN EXECUTE 'DEALLOCATE mine'; END $$");
    assert_eq!(client.failure("DO $$ BEGIN EXECUTE 'DEALLOCATE theirs'; END $$"), "26000");
    assert_eq!(rows(&other.query("EXECUTE theirs")), ["1"]);
}

#[test]
fn what_code_drops_is_gone_on_every_server() {
    let twins = Twins::new(2, Ddl::Directly);
    let mut client = twins.client();
    client.query("PREPARE kept AS SELECT 'kept'; PREPARE other AS SELECT 'other'");
    client.query("PREPARE dropped AS SELECT 'dropped'");
    client.prepare("by_parse", "SELECT 'by Parse'");
    for sql in [
        "EXECUTE by_parse",
        "DO $$BEGIN DEALLOCATE dropped; END$$",
        "EXECUTE dropped",
        "EXECUTE dropped",
        "EXECUTE kept",
        "EXECUTE other",
        "PREPARE dropped AS SELECT 'again'",
        "EXECUTE dropped",
        "EXECUTE dropped",
    ] {
        client.query(sql);
    }
    assert_eq!(twins.front.shown("SHOW CLIENTS", "pinned_by"), [""]);
    // A name that code gives to another statement is one that only the server knows.
    client.query("DO $$BEGIN DEALLOCATE kept; PREPARE kept AS SELECT 1234; END$$");
    assert!(is_pinned(&twins.front));
    for _ in 0..3 {
        assert!(client.query("EXECUTE kept").contains("D 1234"));
    }
    client.query("DISCARD ALL");
    client.query("EXECUTE kept");
    assert!(!is_pinned(&twins.front));
}

#[test]
fn names_of_weirs_own_are_refused() {
    let front = Front::new(1);
    let mut client = front.app.raw();
    for sql in ["PREPARE weir_1 AS SELECT 1", "EXECUTE weir_1", "DEALLOCATE weir_1"] {
        assert_eq!(client.failure(sql), "0A000", "{sql}");
    }
    client.run("PREPARE weir_one AS SELECT 1");
}

#[test]
fn a_server_keeps_no_more_names_than_statements() {
    let front = Front::with(1, |setup| setup.pool("max_prepared_statements = 5"));
    // Through Weir, which knows it then.
    front.app.execute(
        "CREATE FUNCTION kept() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM pg_prepared_statements WHERE from_sql'",
    );
    let mut clients: Vec<_> = (0..8).map(|_| front.app.raw()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.run(&format!("PREPARE s{number} AS SELECT {number}"));
    }
    for _ in 0..2 {
        for (number, client) in clients.iter_mut().enumerate() {
            assert_eq!(client.value(&format!("EXECUTE s{number}")), number.to_string());
            let kept: usize = client.value("SELECT kept()").parse().unwrap();
            assert!(kept <= 6, "{kept}");
        }
    }
}

/// What drivers send that look at a statement before they bind it, and send no Sync between.
fn prepare_and_flush(name: &str, sql: &str) -> impl Fn(&mut BytesMut) {
    move |out| {
        frontend::parse(out, name.as_bytes(), &frontend::definition(sql, &[]));
        frontend::describe(out, Target::Statement(name.as_bytes()));
        frontend::flush(out);
    }
}

const LIST: &str = "SELECT name, from_sql FROM pg_prepared_statements ORDER BY name";

#[test]
fn names_are_used_in_the_middle_of_a_batch() {
    for mode in ["transaction", "session"] {
        let twins = Twins::pooling(if mode == "session" { 2 } else { 1 }, Ddl::Directly, mode);
        let (mut first, mut second) = (twins.client(), twins.client());
        second.query("PREPARE foo AS SELECT 'of another'");
        first.part(3, prepare_and_flush("foo", "SELECT 'by Parse'"));
        first.part(3, prepare_and_flush("s", "EXECUTE foo"));
        assert!(first.same(run_named("s")).contains("D by Parse"));
        second.query("EXECUTE foo");
        first.part(3, prepare_and_flush("l", LIST));
        assert!(first.same(run_named("l")).contains("D foo|f; D l|f; D s|f; C"));
        first.part(3, prepare_and_flush("", "SELECT count(*) FROM pg_prepared_statements"));
        assert!(first.same(run_named("")).contains("D 3"));
        second.query("EXECUTE foo");
        first.query("PREPARE sql AS SELECT 'by PREPARE'");
        second.query("PREPARE sql AS SELECT 'of another'");
        first.part(3, prepare_and_flush("t", "EXECUTE sql"));
        assert!(first.same(run_named("t")).contains("D by PREPARE"));
        second.query("EXECUTE sql");
        // All at once: what is prepared is not yet answered when the name is used.
        let at_once = first.same(|out| {
            prepare_and_flush("new", "SELECT 'new'")(out);
            prepare_and_flush("u", "EXECUTE sql")(out);
            prepare_and_flush("v", LIST)(out);
            frontend::bind(out, b"", b"u", &[0; 6]);
            frontend::execute(out, b"", 0);
            run_named("v")(out);
        });
        assert!(at_once.contains("D by PREPARE") && at_once.contains("D new|f"), "{at_once}");
        // In a block, which a Sync does not end.
        for (sql, name) in [("EXECUTE sql", "w"), (LIST, "x")] {
            second.query("EXECUTE sql");
            first.query("BEGIN");
            first.part(3, prepare_and_flush("inside", "SELECT 'inside'"));
            first.part(3, prepare_and_flush(name, sql));
            assert!(first.same(run_named(name)).ends_with("Z T"));
            first.query("DEALLOCATE inside");
            first.query("COMMIT");
        }
        // A batch that has failed stays so.
        second.query("EXECUTE sql");
        first.part(1, prepare_and_flush("bad", "SELECT nonsense"));
        first.same(|out| {
            prepare_and_flush("y", "EXECUTE sql")(out);
            run_named("y")(out);
        });
        assert!(first.same(run_named("y")).starts_with("E 26000"));
        assert!(!is_pinned(&twins.front));
    }
}

/// A Sync of Weir's would end what has run already.
#[test]
fn a_name_is_refused_behind_what_has_run_in_the_batch() {
    let front = Front::new(1);
    front.direct.execute("CREATE TABLE t (n int)");
    let (mut client, mut other) = (front.app.raw(), front.app.raw());
    client.run("PREPARE s AS SELECT 'mine'");
    other.run("PREPARE s AS SELECT 'of another'");
    client.send_with(|out| {
        frontend::parse(out, b"", &frontend::definition("INSERT INTO t VALUES (1)", &[]));
        frontend::bind(out, b"", b"", &[0; 6]);
        frontend::execute(out, b"", 0);
        frontend::flush(out);
        prepare_and_flush("e", "EXECUTE s")(out);
        run_named("e")(out);
    });
    let messages = client.until_ready();
    assert_eq!((super::tags(&messages).as_str(), super::sqlstate(&messages).as_deref()), ("12CEZ", Some("0A000")));
    assert_eq!(client.value("SELECT count(*) FROM t"), "0");
    assert_eq!(rows(&client.query("EXECUTE s")), ["mine"]);
    client.send_with(|out| {
        frontend::parse(out, b"e", &frontend::definition("SELECT 'nobody had e'", &[]));
        run_named("e")(out);
    });
    assert_eq!(rows(&client.until_ready()), ["nobody had e"]);
}

/// What is prepared and executed in one text or batch has its effects, too.
#[test]
fn what_a_unit_prepares_and_executes_is_noted() {
    let front = Front::new(2);
    let texts = [
        "PREPARE l AS SELECT pg_advisory_lock(42); EXECUTE l",
        "DEALLOCATE l; PREPARE l AS SELECT pg_advisory_lock(42); EXECUTE l",
    ];
    for sql in texts {
        let (mut client, mut other) = (front.app.raw(), front.app.raw());
        if sql.starts_with("DEALLOCATE") {
            client.run("PREPARE l AS SELECT 1");
        }
        client.run(sql);
        for _ in 0..4 {
            assert_eq!(other.value("SELECT pg_try_advisory_xact_lock(42)"), "f", "{sql}");
        }
        assert_eq!(client.value("SELECT pg_advisory_unlock(42)"), "t", "{sql}");
    }
}

#[test]
fn what_a_failed_batch_ignores_has_no_effect() {
    let (_twins, mut first, _) = pair();
    first.prepare("kept", "SELECT 'kept'");
    first.part(2, |out| {
        frontend::parse(out, b"", &frontend::definition("SELECT 1 / 0", &[]));
        frontend::bind(out, b"", b"", &[0; 6]);
        frontend::execute(out, b"", 0);
        frontend::flush(out);
    });
    first.same(extended("DEALLOCATE ALL"));
    assert!(first.same(run_named("kept")).contains("D kept"));
}
