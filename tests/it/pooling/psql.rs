//! What people do with psql.

use super::Front;

const TABLE: &str = "CREATE TABLE fruit (id int PRIMARY KEY, name text NOT NULL DEFAULT 'apple');\n\
    COMMENT ON TABLE fruit IS 'what we eat'; CREATE INDEX ON fruit (name); INSERT INTO fruit VALUES (1), (2)";

#[test]
fn output_is_the_same_as_without_weir() {
    let front = Front::new(2);
    front.direct.execute(TABLE);
    let cases: &[&[&str]] = &[
        &["-c", "\\d"],
        &["-c", "\\d fruit"],
        &["-c", "\\d+"],
        &["-c", "\\dt+"],
        // Other tests make databases meanwhile.
        &["-c", "\\l template*"],
        &["-c", "\\du"],
        &["-c", "\\df"],
        &["-c", "\\dn+"],
        &["-c", "SELECT * FROM fruit ORDER BY id"],
        &["-c", "SELECT 1; SELECT 2, NULL; SELECT 'three' WHERE false"],
        &["-c", "SELECT 1; SELECT 1/0; SELECT 2"],
        &["-c", "SELECT FROM WHERE"],
        &["-c", ""],
        &["-c", ";;"],
        &["-c", "-- nothing but a comment"],
        &["-c", "INSERT INTO fruit VALUES (1)"],
        &["-c", "BEGIN", "-c", "SELECT 1/0", "-c", "SELECT 1", "-c", "COMMIT"],
        &["-c", "BEGIN; INSERT INTO fruit VALUES (7); ROLLBACK; SELECT count(*) FROM fruit"],
        &["-c", "COMMIT"],
        &["-c", "DO $$ BEGIN RAISE NOTICE 'hello'; RAISE WARNING 'careful'; END $$"],
        &["-c", "\\set FETCH_COUNT 2", "-c", "SELECT * FROM generate_series(1, 5)"],
        &["-c", "EXPLAIN (COSTS OFF) SELECT * FROM fruit WHERE id = 1"],
        &["-c", "SHOW server_version", "-c", "SHOW no_such_thing"],
        &["-c", "\\copy (SELECT * FROM fruit ORDER BY id) TO STDOUT"],
        &["-c", "VACUUM fruit"],
        &["-c", "\\gdesc", "-c", "SELECT 1 AS one \\gdesc"],
    ];
    for arguments in cases {
        let arguments = arguments.iter().copied();
        let through_weir = front.app.psql(arguments.clone());
        let direct = front.direct.psql(arguments.clone());
        let arguments: Vec<_> = arguments.collect();
        assert_eq!(through_weir.stdout, direct.stdout, "{arguments:?}");
        assert_eq!(through_weir.stderr, direct.stderr, "{arguments:?}");
        assert_eq!(through_weir.status, direct.status, "{arguments:?}");
    }
}

#[test]
fn a_transaction_keeps_one_server_and_is_seen_after_its_commit() {
    let front = Front::new(2);
    front.direct.execute(TABLE);
    let script = "BEGIN;\nSELECT pg_backend_pid() AS a \\gset\nSAVEPOINT s;\nINSERT INTO fruit VALUES (3);\n\
        SELECT pg_backend_pid() = :a;\nROLLBACK TO s;\nINSERT INTO fruit VALUES (4);\nCOMMIT;\n\
        SELECT array_agg(id ORDER BY id) FROM fruit;\n";
    assert_eq!(front.app.execute(script), "t\n{1,2,4}\n");
}

#[test]
fn a_script_of_many_statements_in_one_query_is_one_transaction() {
    let front = Front::new(2);
    front.direct.execute(TABLE);
    let run = front.app.psql(["-c", "INSERT INTO fruit VALUES (5); INSERT INTO fruit VALUES (1)"]);
    assert!(run.stderr.contains("duplicate key"), "{}", run.stderr);
    assert_eq!(front.app.value("SELECT count(*) FROM fruit"), "2");
}
