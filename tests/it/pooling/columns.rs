//! A prepared statement stays what its client knows it to be, whatever becomes of the schema: through Weir as without.

use bytes::BytesMut;
use weir::wire::frontend::{self, Target};

use super::twins::{Ddl, Twins};

/// Bind and Execute.
fn run(name: &str) -> impl Fn(&mut BytesMut) {
    move |out| {
        frontend::bind(out, b"", name.as_bytes(), &[0; 6]);
        frontend::execute(out, b"", 0);
        frontend::sync(out);
    }
}

/// The same, asking for the columns.
fn run_described(name: &str) -> impl Fn(&mut BytesMut) {
    move |out| {
        frontend::bind(out, b"", name.as_bytes(), &[0; 6]);
        frontend::describe(out, Target::Portal(b""));
        frontend::execute(out, b"", 0);
        frontend::sync(out);
    }
}

fn describe(name: &str) -> impl Fn(&mut BytesMut) {
    move |out| {
        frontend::describe(out, Target::Statement(name.as_bytes()));
        frontend::sync(out);
    }
}

const CHANGED: &str = "E 0A000 cached plan must not change result type; Z I";

/// Changes of `t (a int, b text)`, and whether `SELECT * FROM t` is another statement then.
const CHANGES: &[(&str, bool)] = &[
    ("ALTER TABLE t ADD COLUMN c int DEFAULT 7", true),
    ("ALTER TABLE t ALTER COLUMN a TYPE int8", true),
    ("ALTER TABLE t ALTER COLUMN b TYPE varchar(7)", true),
    ("ALTER TABLE t RENAME COLUMN b TO bb", true),
    ("ALTER TABLE t DROP COLUMN b", true),
    ("DROP TABLE t; CREATE TABLE t (a int, b text)", false),
    ("DROP TABLE t; CREATE TABLE t (b text, a int)", true),
    ("ALTER TABLE t ADD PRIMARY KEY (a)", false),
];

/// Every pool size and way of changing the schema.
fn everywhere(check: impl Fn(&Twins)) {
    for pool_size in [1, 2] {
        for ddl in [Ddl::ThroughWeir, Ddl::Directly] {
            check(&Twins::new(pool_size, ddl));
        }
    }
}

#[test]
fn a_statement_does_not_change_its_columns() {
    everywhere(|twins| {
        for (change, differs) in CHANGES {
            twins.ddl("DROP TABLE IF EXISTS t; CREATE TABLE t (a int, b text); INSERT INTO t VALUES (1, 'one')");
            let mut client = twins.client();
            client.prepare("s", "SELECT * FROM t");
            assert_eq!(client.same(run("s")), "2; D 1|one; C; Z I");
            twins.ddl(change);
            for _ in 0..4 {
                let answer = client.same(run("s"));
                assert_eq!(answer == CHANGED, *differs, "{change}: {answer}");
                let answer = client.same(describe("s"));
                assert_eq!(answer.contains("E 0A000"), *differs, "{change}: {answer}");
            }
            // In a transaction, which fails.
            client.query("BEGIN");
            client.same(run("s"));
            client.query("SELECT 1");
            client.query("ROLLBACK");
            // Who prepares it again has it as it is now.
            client.close("s");
            client.prepare("s", "SELECT * FROM t");
            for _ in 0..4 {
                assert!(client.same(run("s")).starts_with("2; "), "{change}");
            }
        }
    });
}

#[test]
fn who_prepares_after_a_change_does_not_meet_the_statements_of_others() {
    everywhere(|twins| {
        for (change, differs) in CHANGES {
            twins.ddl("DROP TABLE IF EXISTS t; CREATE TABLE t (a int, b text); INSERT INTO t VALUES (1, 'one')");
            let (mut old, mut idle) = (twins.client(), twins.client());
            for client in [&mut old, &mut idle] {
                client.prepare("s", "SELECT * FROM t");
                client.same(run("s"));
            }
            twins.ddl(change);
            let (mut new, mut newer) = (twins.client(), twins.client());
            new.prepare("fresh", "SELECT * FROM t");
            // Without a question about its columns.
            newer.same(|out| {
                frontend::parse(out, b"fresh", &frontend::definition("SELECT * FROM t", &[]));
                frontend::sync(out);
            });
            for _ in 0..3 {
                assert!(newer.same(run("fresh")).starts_with("2; "), "{change}");
                assert!(new.same(run("fresh")).starts_with("2; "), "{change}");
                assert_eq!(old.same(run("s")) == CHANGED, *differs, "{change}");
            }
            assert_eq!(idle.same(describe("s")).contains(CHANGED), *differs, "{change}");
        }
    });
}

/// Direct PostgreSQL refuses; through Weir a client that asks for the columns anew may get them, where the server has to
/// be given the statement anyway.
#[test]
fn a_portal_that_is_described_anew_may_have_other_columns() {
    for pool_size in [1, 3] {
        let twins = Twins::new(pool_size, Ddl::Directly);
        twins.ddl("CREATE TABLE t (a int)");
        twins.ddl("INSERT INTO t VALUES (1)");
        let mut client = twins.client();
        client.prepare("s", "SELECT * FROM t");
        twins.ddl("ALTER TABLE t ADD COLUMN b int DEFAULT 2");
        let healed = "2; T a:23,b:23; D 1|2; C; Z I";
        let answers: Vec<_> = (0..6).map(|_| client.each(run_described("s")).0).collect();
        assert!(answers.iter().all(|answer| answer == CHANGED || answer == healed), "{answers:?}");
        assert_eq!(answers.contains(&healed.to_owned()), pool_size > 1, "{answers:?}");
    }
}

#[test]
fn a_statement_that_writes_is_not_run_before_its_columns_are_compared() {
    let twins = Twins::new(2, Ddl::Directly);
    twins.ddl("CREATE TABLE t (a int)");
    let mut client = twins.client();
    client.prepare("s", "INSERT INTO t VALUES (1) RETURNING *");
    twins.ddl("ALTER TABLE t ADD COLUMN b int");
    for _ in 0..4 {
        assert_eq!(client.same(run("s")), CHANGED);
    }
    // Nor in the middle of a batch; what stands in front is undone.
    for _ in 0..2 {
        let answer = client.same(|out| {
            frontend::parse(out, b"", &frontend::definition("INSERT INTO t VALUES (2)", &[]));
            frontend::bind(out, b"", b"", &[0; 6]);
            frontend::execute(out, b"", 0);
            run("s")(out);
        });
        assert_eq!(answer, format!("1; 2; C; {CHANGED}"));
    }
    assert_eq!(client.query("SELECT count(*) FROM t"), "T count:20; D 0; C; Z I");
}

/// PostgreSQL infers a parameter's type once.
#[test]
fn parameters_keep_their_types() {
    let with_parameter = |name: &'static str, value: &'static str| {
        move |out: &mut BytesMut| {
            let mut arguments = vec![0, 0, 0, 1];
            arguments.extend_from_slice(&u32::try_from(value.len()).unwrap().to_be_bytes());
            arguments.extend_from_slice(value.as_bytes());
            arguments.extend_from_slice(&[0, 0]);
            frontend::bind(out, b"", name.as_bytes(), &arguments);
            frontend::execute(out, b"", 0);
            frontend::sync(out);
        }
    };
    for described in [true, false] {
        let twins = Twins::new(3, Ddl::Directly);
        twins.ddl("CREATE TABLE t (a int)");
        let mut client = twins.client();
        client.same(|out| {
            frontend::parse(out, b"s", &frontend::definition("INSERT INTO t VALUES ($1)", &[]));
            if described {
                frontend::describe(out, Target::Statement(b"s"));
            }
            frontend::sync(out);
        });
        twins.ddl("ALTER TABLE t ALTER COLUMN a TYPE text");
        for _ in 0..3 {
            assert_eq!(client.same(with_parameter("s", "007")), "2; C; Z I");
            assert!(client.same(with_parameter("s", "seven")).starts_with("E 22P02"));
        }
        assert_eq!(client.query("SELECT DISTINCT a FROM t"), "T a:25; D 7; C; Z I");
    }
}

/// A client that keeps the unnamed statement over transactions.
#[test]
fn the_unnamed_statement_does_not_change_either() {
    everywhere(|twins| {
        twins.ddl("CREATE TABLE t (a int); INSERT INTO t VALUES (1)");
        let (mut client, mut other) = (twins.client(), twins.client());
        client.prepare("", "SELECT * FROM t");
        other.prepare("", "SELECT 'other'");
        assert_eq!(client.same(run("")), "2; D 1; C; Z I");
        twins.ddl("ALTER TABLE t ADD COLUMN b int DEFAULT 2");
        for _ in 0..3 {
            other.same(run(""));
            assert_eq!(client.same(run("")), CHANGED);
            // PostgreSQL keeps the statement.
        }
        client.prepare("", "SELECT * FROM t");
        for _ in 0..3 {
            other.same(run(""));
            assert_eq!(client.same(run("")), "2; D 1|2; C; Z I");
        }
    });
}

#[test]
fn a_transaction_sees_its_own_changes() {
    let twins = Twins::new(2, Ddl::ThroughWeir);
    twins.ddl("CREATE TABLE t (a int); INSERT INTO t VALUES (1)");
    let (mut other, mut client) = (twins.client(), twins.client());
    for client in [&mut other, &mut client] {
        client.prepare("s", "SELECT * FROM t");
        client.same(run("s"));
    }
    client.query("BEGIN");
    client.query("ALTER TABLE t ADD COLUMN b int DEFAULT 2");
    client.prepare("fresh", "SELECT * FROM t");
    assert_eq!(client.same(run("fresh")), "2; D 1|2; C; Z T");
    client.query("ROLLBACK");
    assert_eq!(client.same(run("fresh")), CHANGED);
    for _ in 0..3 {
        assert_eq!(client.same(run("s")), "2; D 1; C; Z I");
        assert_eq!(other.same(run("s")), "2; D 1; C; Z I");
    }
}

/// A table that is gone: the server's own words, whether it has the statement or not.
#[test]
fn a_table_that_is_gone_is_missed() {
    everywhere(|twins| {
        twins.ddl("CREATE TABLE t (a int)");
        let mut client = twins.client();
        client.prepare("s", "SELECT a FROM t");
        twins.ddl("DROP TABLE t");
        for _ in 0..3 {
            assert!(client.same(run("s")).starts_with("E 42P01"));
        }
        let mut late = twins.client();
        late.same(run("s"));
        twins.ddl("CREATE TABLE t (a int)");
        for _ in 0..3 {
            assert_eq!(client.same(run("s")), "2; C; Z I");
        }
        drop(late);
        assert_eq!(twins.front.shown("SHOW CLIENTS", "pinned_by").concat(), "");
    });
}

/// Another server reads a statement again, whose constants mean what the settings say. Most settings say nothing about them.
#[test]
fn settings_of_a_transaction_that_do_not_matter_to_constants() {
    let twins = Twins::new(2, Ddl::Directly);
    let mut first = twins.client();
    first.query("SET TimeZone = 'Asia/Tokyo'");
    // The servers take turns: one has the statement, and the other is to have it in the transaction.
    let make = |number: usize, client: &mut super::twins::Both| {
        let name = format!("s{number}");
        client.prepare(&name, &format!("SELECT {number}, '2020-01-02 03:00'::timestamptz AT TIME ZONE 'UTC'"));
        name
    };
    let settings = [
        "SET LOCAL work_mem = '8MB'",
        "SET jit = off",
        "SELECT set_config('search_path', 'public', true)",
        "RESET work_mem",
        "SET LOCAL ROLE pg_monitor",
    ];
    for (number, set) in settings.iter().enumerate() {
        let name = make(number, &mut first);
        for _ in 0..2 {
            first.query("BEGIN");
            first.query(set);
            assert!(first.same(run_described(&name)).contains("2020-01-01 18:00:00"), "{set}");
            first.query("ROLLBACK");
        }
    }
    // What `=` means beside NULL is decided when a statement is prepared, too.
    first.query("SET transform_null_equals = on");
    first.prepare("of_null", "SELECT $1::int = NULL");
    let of_null = |out: &mut BytesMut| {
        frontend::bind(out, b"", b"of_null", &[0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0, 0]);
        frontend::execute(out, b"", 0);
        frontend::sync(out);
    };
    assert!(first.same(of_null).contains("D t"));
    first.query("RESET transform_null_equals");
    (0..2).for_each(|_| assert!(first.same(of_null).contains("D t")));
    let decisive = [
        "SET LOCAL TimeZone = 'UTC'",
        "SET DateStyle = 'German'",
        "SELECT set_config('timezone', 'UTC', true)",
        "RESET TimeZone",
        "SELECT set_config(lower('TIMEZONE'), 'UTC', true)",
    ];
    for (number, set) in decisive.iter().enumerate() {
        let name = make(100 + number, &mut first);
        let mut refused = 0;
        for _ in 0..2 {
            first.query("BEGIN");
            first.query(set);
            let (weir, direct) = first.each(run_described(&name));
            let is_refusal = weir.starts_with("E 0A000 a prepared statement cannot be read again");
            assert!(is_refusal || weir == direct, "{set}: {weir}");
            refused += usize::from(is_refusal);
            first.query("ROLLBACK");
        }
        assert!(refused > 0, "{set}: one of two servers has it");
    }
}
