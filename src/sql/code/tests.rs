//! Bodies and what they may leave.

use super::*;

fn leaves(text: &str) -> Leaves {
    read(text).class.leaves
}

#[test]
fn plain_bodies_leave_nothing() {
    let bodies = [
        "SELECT count(*) FROM t WHERE n > $1",
        "BEGIN UPDATE t SET n = n + 1 WHERE id = NEW.id; RETURN NEW; END",
        "BEGIN INSERT INTO t VALUES (1) ON CONFLICT (id) DO UPDATE SET n = 2; END",
        "BEGIN IF a THEN UPDATE t SET a = 1; ELSE UPDATE t SET a = 2; END IF; END",
        "BEGIN RAISE NOTICE 'please SET app.x = 1, or EXECUTE %', 1; PERFORM pg_notify('c', 'x'); END",
        "BEGIN PERFORM pg_advisory_xact_lock(1); /* SET work_mem = 1 */ RETURN current_setting('app.x'); END -- TEMP",
        "BEGIN EXECUTE 'SELECT 1' INTO x; FOR r IN EXECUTE 'SELECT 1' USING 1 LOOP NULL; END LOOP; END",
        r"BEGIN RAISE NOTICE E'two\nlines'; END",
        "DECLARE load int; BEGIN load := 1; END",
    ];
    for body in bodies {
        assert_eq!(leaves(body), Leaves::Nothing, "{body}");
    }
}

#[test]
fn what_the_server_shows_is_visible() {
    let bodies = [
        "SELECT set_config('app.tenant', $1, false)",
        "BEGIN SET work_mem = '1MB'; END",
        "BEGIN IF a THEN SET LOCAL app.tenant = '7'; END IF; END",
        "BEGIN RESET work_mem; END",
        "BEGIN CREATE TEMP TABLE t (n int); END",
        "BEGIN CREATE TABLE t (n int); END",
        "BEGIN INSERT INTO pg_temp.t VALUES (1); END",
        "SELECT pg_advisory_lock(1)",
        "BEGIN EXECUTE 'SET work_mem = 1'; END",
        "BEGIN EXECUTE 'LISTEN news'; EXECUTE $q$PREPARE s AS SELECT 1$q$; END",
    ];
    for body in bodies {
        assert_eq!(leaves(body), Leaves::Visible, "{body}");
    }
}

#[test]
fn what_nobody_can_know_is_unknowable() {
    let bodies = [
        "SELECT set_config($1, 'x', false)",
        "SELECT set_config('app.' || $1, 'x', false)",
        r"SELECT set_config(E'app\x2etenant', 'x', false)",
        "BEGIN EXECUTE format('SET %s = 1', name); END",
        "BEGIN EXECUTE 'SET ' || name; END",
        "BEGIN EXECUTE statement; END",
        r"BEGIN EXECUTE E'\x53ET app.x = 1'; END",
        "BEGIN LOAD 'auto_explain'; END",
        "SELECT setseed(0.5)",
        "SELECT query_to_xml($1, true, true, '')",
        "SELECT U&\"set\\005fconfig\"('a.b', 'x', false)",
        "SELECT 'unterminated",
    ];
    for body in bodies {
        assert_eq!(leaves(body), Leaves::Unknowable, "{body}");
    }
}

#[test]
fn names_of_custom_settings_are_collected() {
    let body = "BEGIN PERFORM set_config('App.Tenant', 'x', true); SET app.user = 'y'; EXECUTE 'SET LOCAL a.b TO 1'; \
                PERFORM set_config('work_mem', '1MB', false); END";
    let names: Vec<String> = read(body).custom_settings.into_iter().collect();
    assert_eq!(names, ["a.b", "app.tenant", "app.user"]);
}

#[test]
fn the_memory_of_sequences_is_told_apart() {
    for (body, sequences) in [
        ("SELECT nextval('s')", Effects::ADVANCES_SEQUENCE),
        ("SELECT lastval()", Effects::READS_SEQUENCE),
        ("BEGIN EXECUTE 'SELECT currval(''s'')'; PERFORM setval('s', 1); END", Effects::SEQUENCES),
    ] {
        assert_eq!(read(body).class, CodeClass { sequences, ..CodeClass::default() }, "{body}");
    }
}

#[test]
fn a_definition_is_as_good_as_the_bodies_in_it() {
    let cases = [
        ("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'", Leaves::Nothing),
        ("CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$", Leaves::Nothing),
        ("CREATE FUNCTION f() RETURNS int LANGUAGE sql SET app.x = '1' AS 'SELECT 1'", Leaves::Visible),
        ("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $$ SELECT set_config('a.b', 'c', false) $$", Leaves::Visible),
        ("CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $$ BEGIN EXECUTE x; END $$", Leaves::Unknowable),
        ("CREATE TRIGGER t BEFORE INSERT ON a FOR EACH ROW EXECUTE FUNCTION f()", Leaves::Nothing),
        // That the view itself stays in the session is known from the statement, and is nothing that its code does.
        ("CREATE TEMP VIEW v AS SELECT 1", Leaves::Nothing),
        ("CREATE FUNCTION f() RETURNS void LANGUAGE sql AS 'CREATE TEMP TABLE t ()'", Leaves::Visible),
    ];
    for (text, leaves) in cases {
        assert_eq!(read_definition(text).class.leaves, leaves, "{text}");
    }
}

fn classes(definitions: &[(Unit, &str)]) -> CodeClasses {
    let definition =
        |(unit, text): &(Unit, &str)| Definition { unit: unit.clone(), code: read(text), runs: vec![Unit::Types] };
    CodeClasses::of(definitions.iter().map(definition).collect())
}

fn function(name: &str) -> Unit {
    Unit::Function(name.to_owned())
}

fn writing(name: &str) -> Unit {
    Unit::Writing(name.to_owned())
}

#[test]
fn a_caller_leaves_what_its_callees_leave() {
    let classes = classes(&[
        (function("proven"), "SELECT upper($1)"),
        (function("caller"), "SELECT proven($1), middle($1)"),
        (function("middle"), "SELECT recursive($1)"),
        (function("recursive"), "BEGIN RETURN recursive(n - 1) + lowest(n); END"),
        (function("lowest"), "BEGIN SET work_mem = '1MB'; END"),
    ]);
    for name in ["caller", "middle", "recursive", "lowest"] {
        assert_eq!(classes.function(name).leaves, Leaves::Visible, "{name}");
    }
    assert_eq!(classes.function("proven"), CodeClass::default());
}

#[test]
fn overloads_count_together() {
    let classes = classes(&[(function("f"), "SELECT 1"), (function("f"), "BEGIN EXECUTE $1; END")]);
    assert_eq!(classes.function("f").leaves, Leaves::Unknowable);
}

#[test]
fn a_function_runs_the_triggers_and_policies_of_the_tables_that_it_names() {
    let reading = Unit::Reading("guarded".to_owned());
    let classes = classes(&[
        (function("audit"), "BEGIN PERFORM set_config('app.audited', 'yes', false); RETURN NEW; END"),
        (writing("orders"), "EXECUTE FUNCTION audit()"),
        (reading, "(owner = last_owner())"),
        (function("last_owner"), "SELECT set_config('app.owner', 'x', false)"),
        (function("writes"), "BEGIN INSERT INTO orders VALUES (1); END"),
        (function("reads"), "SELECT count(*) FROM guarded"),
        (function("neither"), "SELECT count(*) FROM others"),
    ]);
    assert_eq!(classes.relation("orders", true).leaves, Leaves::Visible);
    assert_eq!(classes.relation("orders", false).leaves, Leaves::Nothing);
    assert_eq!(classes.relation("guarded", false).leaves, Leaves::Visible);
    assert_eq!(classes.function("writes").leaves, Leaves::Visible);
    assert_eq!(classes.function("reads").leaves, Leaves::Visible);
    assert_eq!(classes.function("neither").leaves, Leaves::Nothing);
    assert!(classes.custom_settings.contains("app.audited"));
}

#[test]
fn operators_and_types_of_users_are_code_too() {
    let classes = classes(&[
        (function("<=>"), "compare"),
        (function("compare"), "SELECT pg_advisory_lock(1)"),
        (function("uses"), "SELECT a <=> b FROM t"),
        (Unit::Types, "CHECK (looks_good(VALUE))"),
        (function("looks_good"), "SELECT lastval() > 0"),
    ]);
    assert_eq!(
        classes.function("uses"),
        CodeClass { leaves: Leaves::Visible, sequences: Effects::READS_SEQUENCE, ..CodeClass::default() }
    );
}

#[test]
fn numbers_for_new_rows_count_only_where_rows_may_be_new() {
    let numbered = CodeClass { numbers_rows: true, ..CodeClass::default() };
    let table = Definition { unit: writing("t"), code: Code::of_class(numbered), runs: Vec::new() };
    let body = Definition { unit: function("f"), code: read("INSERT INTO t DEFAULT VALUES"), runs: Vec::new() };
    let classes = CodeClasses::of(vec![table, body]);
    assert_eq!(classes.relation("t", true), numbered);
    assert_eq!(classes.function("f"), CodeClass { sequences: Effects::ADVANCES_SEQUENCE, ..CodeClass::default() });
}

#[test]
fn a_do_block_is_judged_by_its_own_text() {
    let classes = classes(&[(function("f"), "BEGIN SET work_mem = 1; END")]);
    assert_eq!(classes.judge(&read("BEGIN PERFORM f(); END")).leaves, Leaves::Visible);
    assert_eq!(classes.judge(&read("BEGIN PERFORM 1; END")).leaves, Leaves::Nothing);
}

#[test]
fn an_aggregate_is_its_functions() {
    assert_eq!(read("int4pl - - - - - - -").class, CodeClass::default());
}
