use super::*;
use crate::sql::schema::{Column, FunctionClass, Relation, View, Volatility};

const INT8: u32 = 20;

fn schema() -> Schema {
    let mut schema = Schema { search_path: vec!["public".into()], ..Schema::default() };
    let tables: &[(&str, &str, &[&str], &[&str])] = &[
        ("public", "a", &["k", "x", "y"], &["k"]),
        ("public", "b", &["k", "z", "a"], &["k", "z"]),
        ("other", "a", &["k", "w"], &[]),
        ("public", "Odd Name", &["k", "Col"], &[]),
    ];
    for (place, name, columns, key) in tables {
        let column = |name: &&str| Column {
            name: (*name).to_owned(),
            type_oid: INT8,
            type_modifier: -1,
            computed_default: false,
            is_generated: false,
            default: None,
            moment_default: false,
            sequence: None,
            ordered_by_bytes: false,
            own_collation: false,
            not_null: false,
        };
        let relation = Relation {
            columns: columns.iter().map(column).collect(),
            primary_key: key.iter().map(|name| (*name).to_owned()).collect(),
            ..Relation::default()
        };
        schema.relations.insert(((*place).to_owned(), (*name).to_owned()), relation);
    }
    for (name, definition) in [
        ("v", " SELECT a.k,\n    a.x AS doubled\n   FROM public.a\n  WHERE (a.y > 3);"),
        ("vv", " SELECT v.k, b.z FROM (public.v JOIN public.b USING (k));"),
    ] {
        let column = |name: &str| Column {
            name: name.to_owned(),
            type_oid: INT8,
            type_modifier: -1,
            computed_default: false,
            is_generated: false,
            default: None,
            moment_default: false,
            sequence: None,
            ordered_by_bytes: false,
            own_collation: false,
            not_null: false,
        };
        let columns = if name == "v" { ["k", "doubled"] } else { ["k", "z"] };
        let view = Relation {
            columns: columns.into_iter().map(column).collect(),
            is_view: true,
            view: View::new(definition.to_owned()),
            ..Relation::default()
        };
        schema.relations.insert(("public".into(), name.into()), view);
    }
    for name in ["count", "row_to_json", "now", "f", "rank", "md5", "date"] {
        let class = FunctionClass { builtin: name != "f", ..FunctionClass::built_in(Volatility::Stable) };
        schema.functions.insert(name.into(), class);
    }
    schema
}

/// The statement with short names for its temporary tables, and behind it what is loaded into them.
fn shown(sql: &str) -> String {
    let gathered = match gather(sql, &schema()) {
        Ok(gathered) => gathered,
        Err(error) => return format!("refused: {}", error.detail.as_deref().unwrap_or_default()),
    };
    let mut text = gathered.text;
    let mut tables = Vec::new();
    for (number, table) in gathered.tables.iter().enumerate() {
        text = text.replace(&format!("pg_temp.\"{}\"", table.temporary), &format!("T{number}"));
        let key =
            if table.primary_key.is_empty() { String::new() } else { format!(" key {}", table.primary_key.join(",")) };
        let condition = table.condition.iter().map(|condition| format!(" where {condition}")).collect::<String>();
        let only = if table.only { "only " } else { "" };
        tables.push(format!("{only}{}.{}({}){key}{condition}", table.schema, table.name, table.columns.join(",")));
    }
    let moment = gathered.moment.map(|moment| format!(" at {moment}")).unwrap_or_default();
    format!("{text} <- {}{moment}", tables.join(" "))
}

#[test]
fn tables_are_replaced_under_their_names() {
    let cases = [
        ("SELECT x FROM a", "SELECT x FROM T0 AS \"a\" <- public.a(x)"),
        ("SELECT a.x FROM a WHERE a.y = 1", "SELECT a.x FROM T0 AS \"a\" WHERE a.y = 1 <- public.a(x,y) where (y = 1)"),
        ("SELECT q.x FROM a q", "SELECT q.x FROM T0 q <- public.a(x)"),
        ("SELECT q.x FROM a AS q", "SELECT q.x FROM T0 AS q <- public.a(x)"),
        ("SELECT count(*) FROM a", "SELECT count(*) FROM T0 AS \"a\" <- public.a()"),
        ("SELECT * FROM a", "SELECT * FROM T0 AS \"a\" <- public.a(k,x,y)"),
        ("TABLE a", "SELECT * FROM T0 AS \"a\" <- public.a(k,x,y)"),
        ("TABLE ONLY a", "SELECT * FROM T0 AS \"a\" <- only public.a(k,x,y)"),
        ("SELECT x FROM ONLY a", "SELECT x FROM T0 AS \"a\" <- only public.a(x)"),
        ("SELECT x FROM ONLY (a), b", "SELECT x FROM T0 AS \"a\", T1 AS \"b\" <- only public.a(x) public.b()"),
        ("SELECT x FROM a * WHERE x > 1", "SELECT x FROM T0 AS \"a\" WHERE x > 1 <- public.a(x) where (x > 1)"),
        ("SELECT x FROM /* a */ a -- a", "SELECT x FROM /* a */ T0 AS \"a\" -- a <- public.a(x)"),
        (
            "SELECT \"Odd Name\".\"Col\" FROM \"Odd Name\"",
            "SELECT \"Odd Name\".\"Col\" FROM T0 AS \"Odd Name\" <- public.Odd Name(Col)",
        ),
        ("SELECT 'é', x FROM A", "SELECT 'é', x FROM T0 AS \"a\" <- public.a(x)"),
        ("SELECT w FROM other . a", "SELECT w FROM T0 AS \"a\" <- other.a(w)"),
    ];
    for (sql, expected) in cases {
        assert_eq!(shown(sql), expected, "{sql}");
    }
}

#[test]
fn occurrences_of_one_table_share_its_rows() {
    let cases = [
        ("SELECT p.x FROM a p JOIN a q ON p.k = q.y", "SELECT p.x FROM T0 p JOIN T0 q ON p.k = q.y <- public.a(k,x,y)"),
        (
            "SELECT x FROM a UNION ALL SELECT z FROM b EXCEPT SELECT k FROM a ORDER BY x",
            "SELECT x FROM T0 AS \"a\" UNION ALL SELECT z FROM T1 AS \"b\" EXCEPT SELECT k FROM T0 AS \"a\" ORDER BY x \
             <- public.a(k,x) public.b(k,z)",
        ),
        ("SELECT p.*, q.x FROM a p, a q", "SELECT p.*, q.x FROM T0 p, T0 q <- public.a(k,x,y)"),
    ];
    for (sql, expected) in cases {
        assert_eq!(shown(sql), expected, "{sql}");
    }
}

#[test]
fn names_of_with_queries_are_not_tables() {
    let cases = [
        (
            "WITH a AS (SELECT k FROM a) SELECT * FROM a",
            "WITH a AS (SELECT k FROM T0 AS \"a\") SELECT * FROM a <- public.a(k)",
        ),
        (
            "WITH RECURSIVE a AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM a WHERE n < 5) SELECT n FROM a, b",
            "WITH RECURSIVE a AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM a WHERE n < 5) SELECT n FROM a, T0 AS \"b\" \
             <- public.b()",
        ),
        (
            "WITH q AS (SELECT x FROM a), a AS (SELECT x FROM q) SELECT x FROM a, public.a p",
            "WITH q AS (SELECT x FROM T0 AS \"a\"), a AS (SELECT x FROM q) SELECT x FROM a, T0 p <- public.a(x)",
        ),
        (
            "SELECT x FROM a WHERE k IN (WITH a AS (SELECT 1 AS k) SELECT k FROM a)",
            "SELECT x FROM T0 AS \"a\" WHERE k IN (WITH a AS (SELECT 1 AS k) SELECT k FROM a) <- public.a(k,x)",
        ),
        (
            "SELECT x FROM (WITH a AS (SELECT z AS x FROM b) SELECT x FROM a) s, a",
            "SELECT x FROM (WITH a AS (SELECT z AS x FROM T0 AS \"b\") SELECT x FROM a) s, T1 AS \"a\" \
             <- public.b(z) public.a(x)",
        ),
    ];
    for (sql, expected) in cases {
        assert_eq!(shown(sql), expected, "{sql}");
    }
}

#[test]
fn schemas_leave_the_names_of_columns() {
    let cases = [
        (
            "SELECT public.a.x, public . a . y FROM public.a WHERE public.a.k = 1",
            "SELECT a.x, a . y FROM T0 AS \"a\" WHERE a.k = 1 <- public.a(k,x,y)",
        ),
        ("SELECT public.a.* FROM a", "SELECT a.* FROM T0 AS \"a\" <- public.a(k,x,y)"),
        (
            "SELECT 1 FROM public.a WHERE EXISTS (SELECT 1 FROM b AS a WHERE a.z = public.a.x)",
            "refused: Not supported over the gathered rows of several shards: a column of public.a beside another item \
             called \"a\".",
        ),
        (
            "SELECT public.a.k FROM public.a, other.a",
            "refused: Not supported over the gathered rows of several shards: two tables called \"a\" without aliases.",
        ),
        ("SELECT p.k FROM public.a p, other.a", "SELECT p.k FROM T0 p, T1 AS \"a\" <- public.a(k) other.a(k)"),
        (
            "SELECT U&\"\\0061\".x FROM U&\"\\0061\"",
            "refused: Not supported over the gathered rows of several shards: a name that is written in an unusual way.",
        ),
    ];
    for (sql, expected) in cases {
        assert_eq!(shown(sql), expected, "{sql}");
    }
}

#[test]
fn columns_that_somebody_looks_at_are_loaded() {
    let cases = [
        ("SELECT 1 FROM a JOIN b USING (k)", "a(k) public.b(k)"),
        ("SELECT 1 FROM a NATURAL JOIN b", "a(k,x,y) public.b(k,z,a)"),
        ("SELECT p FROM a AS q(p)", "a(k,x,y)"),
        ("SELECT j.* FROM (a JOIN b ON true) j", "a(k,x,y) public.b(k,z,a)"),
        ("SELECT j.x FROM (a JOIN b ON true) j", "a(x) public.b()"),
        ("SELECT m FROM (a JOIN b ON true) AS j(l, m)", "a(k,x,y) public.b(k,z,a)"),
        ("SELECT * FROM (SELECT x FROM a) s", "a(x)"),
        ("SELECT x FROM a WHERE EXISTS (SELECT * FROM b WHERE b.k = a.k)", "a(k,x) public.b(k)"),
        ("SELECT x FROM a WHERE y IN (SELECT z FROM b WHERE b.k = a.k)", "a(k,x,y) public.b(k,z)"),
        ("SELECT s.z FROM a, LATERAL (SELECT z FROM b WHERE b.k = a.x) s", "a(k,x) public.b(k,z)"),
        ("SELECT count(a) FROM a", "a(k,x,y)"),
        ("SELECT row_to_json(q.*) FROM a q", "a(k,x,y)"),
        ("SELECT (q).x FROM a q", "a(x)"),
        ("SELECT ROW(q.*) FROM a q", "a(k,x,y)"),
        ("SELECT x FROM a GROUP BY GROUPING SETS ((x), (y))", "a(x,y)"),
        ("SELECT x, y FROM a GROUP BY k", "a(k,x,y) key k"),
        ("SELECT z FROM b GROUP BY k, z", "b(k,z) key k,z"),
        ("SELECT k FROM b GROUP BY k", "b(k)"),
        ("SELECT count(*) AS a FROM a GROUP BY x ORDER BY a", "a(x)"),
        ("SELECT rank() OVER w FROM a WINDOW w AS (PARTITION BY x ORDER BY y)", "a(x,y)"),
        ("EXPLAIN ANALYZE SELECT x FROM a", "a(x)"),
        ("SELECT x FROM a TABLESAMPLE bernoulli (50)", "a(x)"),
        ("SELECT f(x) FROM a ORDER BY md5(y::text)", "a(x,y)"),
        ("SELECT CASE WHEN x > 1 THEN y ELSE coalesce(k, 1) END FROM a", "a(k,x,y)"),
        ("SELECT x FROM a WHERE now() > '2020-01-01'", "a(x) at now()"),
        ("SELECT x FROM a WHERE 'today'::date > current_date", "a(x) at 'today'"),
        ("SELECT CURRENT_TIMESTAMP(3), x FROM a", "a(x) at CURRENT_TIMESTAMP"),
        ("VALUES ((SELECT max(x) FROM a))", "a(x)"),
    ];
    for (sql, expected) in cases {
        let shown = shown(sql);
        assert_eq!(shown.split(" <- public.").nth(1), Some(expected), "{sql}: {shown}");
    }
}

#[test]
fn views_become_their_queries() {
    let cases = [
        (
            "SELECT doubled FROM v WHERE k = 1",
            "SELECT doubled FROM ( SELECT a.k,\n    a.x AS doubled\n   FROM T0 AS \"a\"\n  WHERE (a.y > 3)) AS \"v\" \
             WHERE k = 1 <- public.a(k,x,y) where (y > 3)",
        ),
        (
            "SELECT q.z FROM public.vv q",
            "SELECT q.z FROM ( SELECT v.k, b.z FROM (( SELECT a.k,\n    a.x AS doubled\n   FROM T0 AS \"a\"\n  WHERE \
             (a.y > 3)) AS \"v\" JOIN T1 AS \"b\" USING (k))) q <- public.a(k,x,y) where (y > 3) public.b(k,z)",
        ),
        (
            "WITH a AS (SELECT 1 AS k) SELECT k FROM v JOIN a USING (k)",
            "WITH a AS (SELECT 1 AS k) SELECT k FROM ( SELECT a.k,\n    a.x AS doubled\n   FROM T0 AS \"a\"\n  WHERE \
             (a.y > 3)) AS \"v\" JOIN a USING (k) <- public.a(k,x,y) where (y > 3)",
        ),
    ];
    for (sql, expected) in cases {
        assert_eq!(shown(sql), expected, "{sql}");
    }
}

#[test]
fn what_would_mean_another_thing_is_refused() {
    let cases = [
        ("SELECT a FROM a", "the row of \"a\" as a value"),
        ("SELECT q FROM a q", "the row of \"q\" as a value"),
        ("SELECT f(q) FROM a q", "the row of \"q\" as a value"),
        ("SELECT f(q.*) FROM a q", "the row of \"q\" as a value"),
        ("SELECT (q.*) IS NULL FROM a q", "the row of \"q\" as a value"),
        ("SELECT q.f FROM a q", "the function f() of the row of \"q\""),
        ("SELECT (q).f FROM a q", "the function f() of the row of \"q\""),
        ("SELECT x FROM a FOR UPDATE", "FOR UPDATE or another locking clause"),
        ("SELECT x INTO c FROM a", "SELECT INTO"),
        ("SELECT x FROM a, pg_class", "the system catalog \"pg_class\""),
        ("SELECT x FROM a, nowhere", "the table \"nowhere\", whose columns are not known"),
        ("SELECT pg_backend_pid(), x FROM a", "the function pg_backend_pid(), which speaks of one server"),
        ("SELECT setseed(0.5), x FROM a", "the function setseed(), which speaks of one server"),
        ("WITH d AS (DELETE FROM a RETURNING x) SELECT x FROM d", "a query that writes"),
        (
            "SELECT x FROM a TABLESAMPLE bernoulli (50) REPEATABLE (1)",
            "TABLESAMPLE with REPEATABLE, which depends on where the rows are stored",
        ),
        ("DELETE FROM a", "a statement that is not a SELECT"),
    ];
    for (sql, expected) in cases {
        let expected = format!("refused: Not supported over the gathered rows of several shards: {expected}.");
        assert_eq!(shown(sql), expected, "{sql}");
    }
    for sql in [
        "SELECT 1 FROM b WHERE EXISTS (SELECT q FROM a q WHERE q.k = b.k)",
        "SELECT (SELECT max(z) FROM b WHERE q IS NULL) FROM a q",
        "SELECT 1 FROM a q, LATERAL (SELECT q) s",
        "SELECT s.v FROM (SELECT v FROM v) s",
        "SELECT q FROM a q TABLESAMPLE bernoulli (50)",
    ] {
        assert!(shown(sql).contains("as a value"), "{sql}");
    }
    // A column of that name is no row, and a table inside is not seen outside.
    assert!(shown("SELECT a FROM (SELECT x AS a FROM a) s ORDER BY length(a)").starts_with("SELECT a FROM (SELECT"));
    assert!(shown("SELECT q.date FROM (SELECT x AS date FROM a q) q").starts_with("SELECT q.date"));
    assert!(shown("SELECT a FROM b a").starts_with("SELECT a FROM T0 a <-"));
}

#[test]
fn conditions_that_rows_must_satisfy_go_to_the_shards() {
    let cases = [
        ("SELECT x FROM a WHERE x = 1 AND y <> 2 AND x + 1 = 2", "a: (x = 1) AND (y <> 2)"),
        ("SELECT x FROM a WHERE x < y AND (x = 1 OR NOT y = 2)", "a: (x < y) AND (x = 1 OR NOT y = 2)"),
        ("SELECT x FROM a WHERE x IN (1, 2) AND y BETWEEN 3 AND 4", "a: (x IN (1, 2)) AND (y BETWEEN 3 AND 4)"),
        (
            "SELECT x FROM a WHERE y NOT BETWEEN 3 AND 4 AND x = ANY (ARRAY[1, 2])",
            "a: (y NOT BETWEEN 3 AND 4) AND (x = ANY(ARRAY[1, 2]))",
        ),
        (
            "SELECT x FROM a WHERE x = -1 AND y < date '2020-01-01' - interval '1 day'",
            "a: (x = -1) AND (y < '2020-01-01'::date - '1 day'::interval)",
        ),
        ("SELECT x FROM a WHERE 'a' LIKE 'b' AND x LIKE 'é%' AND y LIKE 'a\\'", "a: (x LIKE 'é%')"),
        ("SELECT q.x FROM a q, b r WHERE q.x = 1 AND r.z = 2 AND q.k = r.k", "a: (x = 1); b: (z = 2)"),
        ("SELECT x FROM a, b WHERE x = 1 AND z = 2 AND k = 3", "a: (x = 1); b: (z = 2)"),
        ("SELECT x FROM a q JOIN b r ON q.k = r.k AND q.x = 1 AND z = 2", "a: (x = 1); b: (z = 2)"),
        ("SELECT x FROM a q LEFT JOIN b r ON q.k = r.k AND q.x = 1 AND z = 2", "b: (z = 2)"),
        ("SELECT x FROM a q RIGHT JOIN b r ON q.k = r.k AND q.x = 1 AND z = 2", "a: (x = 1)"),
        ("SELECT x FROM a q FULL JOIN b r ON q.k = r.k AND q.x = 1 AND z = 2", ""),
        ("SELECT x FROM a q LEFT JOIN b r ON q.k = r.k WHERE q.x = 1 AND z = 2", "a: (x = 1); b: (z = 2)"),
        ("SELECT x FROM a q LEFT JOIN b r ON q.k = r.k WHERE z IS NULL OR z = 2", ""),
        ("SELECT x FROM a q LEFT JOIN b r ON true WHERE z IS NOT DISTINCT FROM 2 OR (z = 2) IS NOT TRUE", ""),
        ("SELECT x FROM a WHERE x = 1 OR EXISTS (SELECT 1 FROM b WHERE z = 2 AND a.y = 3)", "b: (z = 2)"),
        ("SELECT x FROM a WHERE x = (SELECT max(z) FROM b WHERE k = 1)", "b: (k = 1)"),
        ("SELECT x FROM a WHERE EXISTS (SELECT 1 FROM b WHERE x = 1 AND z = 2)", "b: (z = 2)"),
        ("SELECT x FROM a WHERE x = 1 UNION SELECT x FROM a WHERE x = 2", "a: (x = 1) OR (x = 2)"),
        ("SELECT x FROM a WHERE x = 1 UNION SELECT x FROM a WHERE x = 1", "a: (x = 1)"),
        ("SELECT x FROM a WHERE x = 1 UNION SELECT x FROM a", ""),
        ("SELECT count(*) FILTER (WHERE x = 1) FROM a HAVING max(y) = 1", ""),
        ("SELECT x FROM a WHERE x = $1 AND y = NULL AND k IN (1, NULL)", ""),
        ("SELECT x FROM a WHERE y < now() AND x = 'today' AND k = length('a') AND x OPERATOR(public.=) 1", ""),
        ("SELECT x FROM a WHERE y < 'now'::date AND x = 'a'::own AND k = '1'::timestamptz", ""),
        ("SELECT k FROM a JOIN b USING (k) WHERE k = 1 AND b.k = 2", "b: (k = 2)"),
        ("SELECT x FROM a NATURAL JOIN b WHERE x = 1 AND z = 2 AND b.z = 3", "b: (z = 3)"),
        ("SELECT x FROM (a JOIN b ON true) j WHERE x = 1 AND j.z = 1", ""),
        ("SELECT p FROM a AS q (p) WHERE p = 1 AND q.x = 2", ""),
        ("SELECT x FROM a TABLESAMPLE bernoulli (50) WHERE x = 1", ""),
        ("SELECT x FROM a, a AS r WHERE r.x = 1", ""),
        ("SELECT s.x FROM (SELECT x FROM a WHERE y = 1) s WHERE s.x = 2", "a: (y = 1)"),
        ("SELECT x FROM a, LATERAL (SELECT z FROM b WHERE b.k = a.k AND b.z = 4) s WHERE s.z = 5", "b: (z = 4)"),
        ("SELECT x FROM a WHERE 1 = 1 AND x = 1::bigint", "a: (x = 1::bigint)"),
    ];
    for (sql, expected) in cases {
        let gathered = gather(sql, &schema()).unwrap();
        let shown =
            gathered.tables.iter().filter_map(|table| Some(format!("{}: {}", table.name, table.condition.as_ref()?)));
        assert_eq!(shown.collect::<Vec<_>>().join("; "), expected, "{sql}");
    }
    let schema = Schema { user_operators: ["=".to_owned()].into(), ..schema() };
    assert_eq!(gather("SELECT x FROM a WHERE x = 1", &schema).unwrap().tables[0].condition, None);
}

#[test]
fn an_explain_is_about_its_statement() {
    for explain in [
        "EXPLAIN",
        "explain analyze",
        "EXPLAIN ANALYZE VERBOSE",
        "EXPLAIN (ANALYZE, COSTS off)",
        "/* a */ EXPLAIN (VERBOSE true) -- b\n",
    ] {
        for query in
            ["SELECT 1", "WITH a AS (SELECT 1) SELECT 2", "(SELECT 1)", "((SELECT 1)) UNION SELECT 2", "TABLE a"]
        {
            assert_eq!(explained(&format!("{explain} {query}")).unwrap(), query, "{explain}");
        }
    }
    assert!(explained("SELECT 1").is_err() && explained("EXPLAIN").is_err());
}

#[test]
fn a_temporary_tables_name_says_what_it_is() {
    let name = |sql: &str, version: u64| {
        let schema = Schema { version, ..schema() };
        gather(sql, &schema).unwrap().tables[0].temporary.clone()
    };
    let one = name("SELECT x FROM a", 1);
    assert_eq!(one, name("SELECT 5 FROM a WHERE x > 1", 1));
    for (other, version) in [("SELECT x FROM a", 2), ("SELECT x, y FROM a", 1), ("SELECT x FROM ONLY a", 1)] {
        assert_ne!(one, name(other, version), "{other}");
    }
    assert!(one.starts_with(TEMPORARY_PREFIX) && one.len() < 64);
}

#[test]
fn what_a_subquery_looks_up_can_have_an_index() {
    let indexing = |sql: &str| {
        let gathered = gather(sql, &schema()).unwrap();
        let columns = gathered.tables.iter().map(|table| table.looked_up.join(","));
        columns.collect::<Vec<_>>().join(" ")
    };
    let correlated = "SELECT x FROM a WHERE y > (SELECT count(*) FROM b WHERE b.z = a.x)";
    assert_eq!(indexing(correlated), "x z");
    let table = &gather(correlated, &schema()).unwrap().tables[1];
    assert_eq!(table.indexing(), format!("CREATE INDEX ON {} (\"z\");\n", table.temporary_name()));
    // Joins and EXISTS are done over whole tables.
    assert_eq!(indexing("SELECT x FROM a JOIN b ON b.z = a.x"), " ");
    assert_eq!(indexing("SELECT x FROM a WHERE EXISTS (SELECT FROM b WHERE b.z = a.x)"), " ");
    assert_eq!(indexing("SELECT x FROM a WHERE EXISTS (SELECT FROM b WHERE b.z = a.x AND b.k <> a.k)"), "x z");
}
