//! Keys inferred where none restricts, for keys of every type and method: each statement is asked of Weir over three shards
//! and of one PostgreSQL. Sent to one shard it would give too few rows in silence.

use super::answer::{Order, ask, extended, story};
use super::keyspaces::Three;
use super::shop::Shop;

/// A table of keys of one kind: `a` and `b` are of one keyspace.
struct Keys {
    name: &'static str,
    /// The keyspace, as a shard map file has it.
    keyspace: String,
    /// The columns of the key with their types.
    columns: &'static [(&'static str, &'static str)],
    /// Keys, each a literal for each column. The first and the second are on different shards, the first and the third
    /// on one.
    values: Vec<Vec<&'static str>>,
}

impl Keys {
    /// `(k) = (value)`, or as many conditions as the key has columns.
    fn is(&self, alias: &str, value: usize) -> String {
        let equal = self.columns.iter().zip(&self.values[value]);
        let equal: Vec<String> = equal.map(|((column, _), literal)| format!("{alias}.{column} = {literal}")).collect();
        format!("({})", equal.join(" AND "))
    }

    fn same(&self, one: &str, other: &str) -> String {
        let equal = self.columns.iter().map(|(column, _)| format!("{one}.{column} = {other}.{column}"));
        equal.collect::<Vec<_>>().join(" AND ")
    }

    fn list(&self) -> String {
        self.columns.iter().map(|(column, _)| *column).collect::<Vec<_>>().join(", ")
    }

    fn row(&self, value: usize) -> String {
        self.values[value].join(", ")
    }

    /// The traps of the statements' texts.
    fn traps(&self) -> Vec<String> {
        let name = self.name;
        let (first, second) = (self.is("a", 0), self.is("a", 1));
        let (b_first, same, list) = (self.is("b", 0), self.same("a", "b"), self.list());
        vec![
            format!("SELECT x FROM {name}_a a WHERE {first} UNION SELECT x + 10 FROM {name}_a a WHERE {second}"),
            format!("SELECT x FROM {name}_a a WHERE {first} UNION ALL SELECT x FROM {name}_a a"),
            format!("SELECT x FROM {name}_a a EXCEPT ALL SELECT x FROM {name}_a a WHERE {first}"),
            format!("SELECT a.x FROM {name}_a a WHERE EXISTS (SELECT 1 FROM {name}_b b WHERE {b_first})"),
            format!(
                "SELECT a.x FROM {name}_a a WHERE NOT EXISTS (SELECT 1 FROM {name}_b b WHERE {same} AND {b_first})"
            ),
            format!("SELECT {first}, x FROM {name}_a a"),
            format!("SELECT count(*) FILTER (WHERE {first}) FROM {name}_a a"),
            format!("SELECT a.x, b.x FROM {name}_a a LEFT JOIN {name}_b b ON {b_first} AND a.x = b.x"),
            format!("SELECT a.x, b.x FROM {name}_a a LEFT JOIN {name}_b b ON {same} AND {first} AND a.x = b.x"),
            format!("SELECT a.x, b.x FROM {name}_a a RIGHT JOIN {name}_b b ON {same} AND {first} AND a.x = b.x"),
            format!("SELECT x FROM {name}_a a ORDER BY {first}, x"),
            format!("SELECT x, count(*) FROM {name}_a a GROUP BY {first}, x"),
            format!("SELECT x FROM {name}_a a WHERE {first} OR x = 1"),
            format!("SELECT x FROM {name}_a a WHERE NOT {first}"),
            format!("SELECT x FROM {name}_a a WHERE {first} IS NOT TRUE"),
            format!("SELECT x FROM {name}_a a WHERE ({list}) NOT IN (({}))", self.row(0)),
            format!("SELECT x FROM {name}_a a WHERE ({list}) IN (({}), ({}))", self.row(0), self.row(1)),
            format!("SELECT x FROM {name}_a a WHERE ({list}) IN (({}), (SELECT {}))", self.row(0), self.row(1)),
            format!("SELECT x FROM {name}_a a WHERE ({list}) IS DISTINCT FROM ({})", self.row(0)),
            format!("SELECT x FROM {name}_a a WHERE ({list}) <= ({})", self.row(1)),
            format!("SELECT x FROM {name}_a a WHERE {first} AND {second}"),
            format!(
                "SELECT q.x FROM (SELECT * FROM {name}_a a ORDER BY x, {list} LIMIT 3) q WHERE {}",
                self.is("q", 0)
            ),
            format!(
                "SELECT q.n FROM (SELECT {list}, count(*) OVER () AS n FROM {name}_a a) q WHERE {}",
                self.is("q", 0)
            ),
            format!("WITH q AS (SELECT {list} FROM {name}_a a WHERE {first}) SELECT b.x FROM {name}_b b, q"),
            format!(
                "WITH RECURSIVE r AS (SELECT {list}, x FROM {name}_a a WHERE {first} AND x = 0 UNION ALL \
                 SELECT {}, r.x + 1 FROM {name}_b b JOIN r ON b.x = r.x + 1) SELECT r.x FROM r",
                self.columns.iter().map(|(column, _)| format!("b.{column}")).collect::<Vec<_>>().join(", ")
            ),
            format!("SELECT a.x FROM {name}_a a, {name}_b b WHERE {first} AND {}", self.is("b", 1)),
            format!("SELECT a.x, b.x FROM {name}_a a, {name}_b b WHERE {first} AND a.x = b.x"),
            format!("UPDATE {name}_a a SET x = x WHERE NOT {first}"),
            format!("DELETE FROM {name}_a a USING {name}_b b WHERE {b_first} AND a.x = b.x + 100"),
        ]
    }

    /// Statements whose rows are on one shard.
    fn pruned(&self) -> Vec<String> {
        let name = self.name;
        let (first, third) = (self.is("a", 0), self.is("a", 2));
        let (same, list) = (self.same("a", "b"), self.list());
        vec![
            format!("SELECT x FROM {name}_a a WHERE {first}"),
            format!("SELECT x FROM {name}_a a WHERE {first} OR {third}"),
            format!("SELECT x FROM {name}_a a WHERE ({list}) IN (({}), ({}))", self.row(0), self.row(2)),
            format!("SELECT a.x, b.x FROM {name}_a a JOIN {name}_b b ON {same} WHERE {first}"),
            format!("SELECT a.x, b.x FROM {name}_a a LEFT JOIN {name}_b b ON {same} AND b.x > a.x WHERE {first}"),
            format!(
                "SELECT a.x FROM {name}_a a WHERE EXISTS (SELECT 1 FROM {name}_b b WHERE {same} AND {})",
                self.is("b", 0)
            ),
            format!("SELECT q.x FROM (SELECT DISTINCT {list}, x FROM {name}_a) q WHERE {}", self.is("q", 0)),
            format!(
                "SELECT x FROM {name}_a a WHERE {first} UNION ALL SELECT x FROM {name}_b b WHERE {}",
                self.is("b", 2)
            ),
            format!(
                "WITH RECURSIVE r AS (SELECT {list}, x FROM {name}_a a WHERE {first} AND x = 0 UNION ALL \
                 SELECT {}, b.x FROM {name}_b b JOIN r ON {} AND b.x = r.x + 1) SELECT r.x FROM r",
                self.columns.iter().map(|(column, _)| format!("b.{column}")).collect::<Vec<_>>().join(", "),
                self.same("b", "r")
            ),
            format!(
                "WITH d AS (DELETE FROM {name}_a a WHERE {third} AND x = 2 RETURNING *) \
                 SELECT d.x, b.x FROM d JOIN {name}_b b ON {}",
                self.same("b", "d")
            ),
            format!("INSERT INTO {name}_a SELECT {list}, x + 50 FROM {name}_b b WHERE {} RETURNING x", self.is("b", 0)),
            format!(
                "UPDATE {name}_a a SET x = a.x + 7 FROM {name}_b b WHERE {same} AND {first} AND a.x = b.x RETURNING a.x"
            ),
        ]
    }
}

fn hash(name: &'static str, key: &'static str, values: &[&'static str]) -> Keys {
    let columns = std::iter::once(("k", key)).collect::<Vec<_>>().leak();
    let keyspace = format!("method = \"hash\"\nkey_type = \"{key}\"\nbuckets = 64");
    Keys { name, keyspace, columns, values: values.iter().map(|value| vec![*value]).collect() }
}

fn directory(name: &'static str, key: &'static str, values: [&'static str; 3], map: &str) -> Keys {
    let columns = std::iter::once(("k", key)).collect::<Vec<_>>().leak();
    let key_type = if key == "mood" { "enum" } else { key };
    let keyspace = format!("method = \"directory\"\nkey_type = \"{key_type}\"\n{map}");
    Keys { name, keyspace, columns, values: values.map(|value| vec![value]).into() }
}

/// Keys of every type. Of hashed ones the values are put in order when their shards are known.
fn all() -> Vec<Keys> {
    vec![
        hash("i2", "int2", &["-7", "0", "7", "8", "9", "10", "11"]),
        hash("i4", "int4", &["-7", "0", "7", "8", "9", "10", "11"]),
        hash("i8", "int8", &["-7", "0", "7", "9007199254740993", "9007199254740992", "10", "11"]),
        hash("tx", "text", &["''", "'a'", "'A'", "'\u{e9}'", "'it''s'", "'b'", "'c'"]),
        hash("vc", "varchar", &["''", "'a'", "'A'", "'\u{e9}'", "'it''s'", "'b'", "'c'"]),
        hash(
            "uu",
            "uuid",
            &[
                "'00000000-0000-0000-0000-000000000000'",
                "'6ba7b810-9dad-11d1-80b4-00c04fd430c8'",
                "'7ba7b810-9dad-11d1-80b4-00c04fd430c8'",
                "'8ba7b810-9dad-11d1-80b4-00c04fd430c8'",
                "'9ba7b810-9dad-11d1-80b4-00c04fd430c8'",
            ],
        ),
        hash("da", "date", &["'1999-12-31'", "'2000-01-01'", "'2024-02-29'", "'2025-01-01'", "'2026-01-01'"]),
        hash(
            "ts",
            "timestamp",
            &[
                "'1999-12-31 23:59:59.999999'",
                "'2000-01-01 00:00:00'",
                "'2001-01-01 00:00:00'",
                "'2002-01-01 00:00:00'",
                "'2003-01-01 00:00:00'",
            ],
        ),
        hash(
            "tz",
            "timestamptz",
            &[
                "'1999-12-31 23:59:59.999999+00'",
                "'2000-01-01 00:00:00+02'",
                "'2001-01-01 00:00:00+00'",
                "'2002-01-01 00:00:00+00'",
                "'2003-01-01 00:00:00+00'",
            ],
        ),
        hash("nu", "numeric", &["1.50", "-2", "12345678901234567890.5", "0", "7.0", "8", "9"]),
        hash("by", "bytea", &["'\\x'", "'\\x00'", "'\\x0102'", "'\\xff'", "'abc'", "'abcd'", "'abcde'"]),
        directory("bo", "bool", ["true", "false", "true"], "values = { two = [true], three = [false] }"),
        directory("en", "mood", ["'sad'", "'ok'", "'gone'"], "values = { one = [\"sad\", \"gone\"], two = [\"ok\"] }"),
        directory("dt", "text", ["'a'", "'b'", "'c'"], "default_shard = \"three\"\nvalues = { one = [\"a\", \"c\"] }"),
        Keys {
            name: "co",
            keyspace: "method = \"hash\"\nkey_type = [\"int4\", \"bytea\"]\nbuckets = 64".to_owned(),
            columns: &[("k", "int4"), ("l", "bytea")],
            values: ["1", "2", "3", "4", "5", "6"].map(|k| vec![k, "'\\x01'"]).into(),
        },
        Keys {
            name: "ra",
            keyspace: "method = \"range\"\nkey_type = [\"text\", \"int4\"]\nranges = [\n\
                       { from = \"MINVALUE\", to = [\"m\", 5], shard = \"one\" },\n\
                       { from = [\"m\", 5], to = \"MAXVALUE\", shard = \"two\" },\n]"
                .to_owned(),
            columns: &[("k", "text COLLATE \"C\""), ("l", "int4")],
            values: vec![vec!["'m'", "4"], vec!["'m'", "5"], vec!["'M'", "9"]],
        },
        Keys {
            name: "ge",
            keyspace: "method = \"geo\"\nkey_type = \"int8\"\nregion_column = \"region\"\nbuckets = 16\n\
                       regions = { eu = { shards = [\"one\"] }, us = { shards = [\"two\", \"three\"] } }"
                .to_owned(),
            columns: &[("region", "text"), ("k", "int8")],
            values: vec![vec!["'eu'", "1"], vec!["'us'", "1"], vec!["'eu'", "2"]],
        },
    ]
}

fn start(kinds: &[Keys]) -> Three {
    let mut map = String::new();
    for kind in kinds {
        map.push_str(&format!("[keyspaces.{}]\n{}\n", kind.name, kind.keyspace));
    }
    map.push_str("[tables]\n");
    for Keys { name, columns, .. } in kinds {
        let columns: Vec<String> = columns.iter().map(|(column, _)| format!("\"{column}\"")).collect();
        // A map names the region's column of a geo keyspace itself.
        let columns: Vec<String> = columns.into_iter().filter(|column| column != "\"region\"").collect();
        for table in ["a", "b"] {
            map.push_str(&format!("{name}_{table} = {{ keyspace = \"{name}\", key = [{}] }}\n", columns.join(", ")));
        }
    }
    Three::start(&map)
}

/// Puts a hashed key first that shares its shard with the third and not with the second.
fn arrange(three: &Three, kind: &mut Keys) {
    let routes: Vec<String> = (0..kind.values.len())
        .map(|value| three.route(&format!("SELECT x FROM {}_a a WHERE {}", kind.name, kind.is("a", value))))
        .collect();
    assert!(routes.iter().all(|route| ["one", "two", "three"].contains(&route.as_str())), "{}: {routes:?}", kind.name);
    let pairs = (0..routes.len()).flat_map(|one| (0..one).map(move |other| (other, one)));
    let (first, third) = pairs.clone().find(|(one, other)| routes[*one] == routes[*other]).expect("two on one shard");
    let second = (0..routes.len()).find(|place| routes[*place] != routes[first]).expect("one elsewhere");
    let of = |place: usize| kind.values[place].clone();
    kind.values = vec![of(first), of(second), of(third)];
}

#[test]
fn no_key_is_inferred_where_none_restricts() {
    let mut kinds = all();
    let mut three = start(&kinds);
    three.both("CREATE TYPE mood AS ENUM ('sad', 'ok', 'gone')");
    for kind in &mut kinds {
        let columns =
            kind.columns.iter().map(|(column, of)| format!("{column} {of} NOT NULL")).collect::<Vec<_>>().join(", ");
        for table in ["a", "b"] {
            three.both(&format!("CREATE TABLE {}_{table} ({columns}, x int4)", kind.name));
        }
        if kind.keyspace.contains("method = \"hash\"") {
            arrange(&three, kind);
        }
        let distinct = if kind.values[0] == kind.values[2] { 2 } else { 3 };
        for value in 0..distinct {
            for table in ["a", "b"] {
                let rows: Vec<String> = (0..3).map(|x| format!("({}, {x})", kind.row(value))).collect();
                let insert = format!("INSERT INTO {}_{table} VALUES {}", kind.name, rows.join(", "));
                // A type of users may have other numbers on other shards than at home; then Weir does not go there.
                if kind.name == "en" && value == 1 { three.put(1, &insert) } else { three.both(&insert) }
            }
        }
    }
    let mut refused = 0;
    for kind in &kinds {
        for sql in kind.traps() {
            let (ours, theirs) = three.ask_both(&sql);
            match ours.refusal() {
                Some(_) => refused += 1,
                None => assert_eq!(ours.difference(&theirs, Order::Keys { sorted: 0 }), None, "{sql}"),
            }
        }
        for sql in kind.pruned() {
            let route = three.route(&sql);
            assert!(["one", "two", "three"].contains(&&*route), "{sql}: {route}");
            three.both(&sql);
        }
    }
    println!("{} kinds of keys, {refused} statements refused", kinds.len());
}

#[test]
fn ranges_of_texts_follow_the_columns_collation() {
    let map = "[keyspaces.word]\nmethod = \"range\"\nkey_type = \"text\"\nranges = [\n\
               { from = \"MINVALUE\", to = \"h\", shard = \"one\" },\n\
               { from = \"h\", to = \"p\", shard = \"two\" },\n\
               { from = \"p\", to = \"MAXVALUE\", shard = \"three\" },\n]\n[tables]\n\
               bytes = { keyspace = \"word\", key = \"k\" }\nwords = { keyspace = \"word\", key = \"k\" }\n";
    let mut three = Three::start(map);
    three.both("CREATE TABLE bytes (k text COLLATE \"C\" PRIMARY KEY)");
    three.both("CREATE TABLE words (k text COLLATE \"en-x-icu\" PRIMARY KEY)");
    for word in ["Apple", "apple", "House", "house", "\u{e9}clair", "Pear", "pear", "zoo", "Zoo", "_", ""] {
        for table in ["bytes", "words"] {
            three.both(&format!("INSERT INTO {table} VALUES ('{word}')"));
        }
    }
    for (condition, route) in [
        ("k < 'h'", "one"),
        ("k >= 'h' AND k < 'p'", "two"),
        ("k BETWEEN 'pear' AND 'zoo'", "three"),
        ("k BETWEEN 'H' AND 'Z'", "one"),
        ("k > 'P' AND k < 'a'", "one"),
        ("k >= '\u{e9}'", "three"),
        ("NOT (k < 'h' OR k >= 'p')", "two"),
    ] {
        for table in ["bytes", "words"] {
            three.both(&format!("SELECT k FROM {table} WHERE {condition}"));
            three.both(&format!("SELECT count(*) FROM {table} WHERE {condition}"));
        }
        assert_eq!(three.route(&format!("SELECT k FROM bytes WHERE {condition}")), route, "{condition}");
        assert_eq!(three.route(&format!("SELECT k FROM words WHERE {condition}")), "one,two,three", "{condition}");
    }
    three.both("SELECT k FROM bytes WHERE k COLLATE \"en-x-icu\" > 'P'");
    three.both("SELECT k FROM words WHERE k COLLATE \"C\" > 'P'");
}

#[test]
fn parameters_in_sums_find_their_rows() {
    let map =
        "[keyspaces.n]\nmethod = \"hash\"\nkey_type = \"int8\"\n[tables]\nt = { keyspace = \"n\", key = \"k\" }\n";
    let mut three = Three::start(map);
    three.both("CREATE TABLE t (k int8 PRIMARY KEY, v int4)");
    for k in 0..20 {
        three.both(&format!("INSERT INTO t VALUES ({k}, {k})"));
    }
    for value in ["3", "-3", "2147483647", "x", "4"] {
        for sql in [
            "SELECT v FROM t WHERE k = $1 + 1",
            "SELECT v FROM t WHERE k = 10 - $1",
            "SELECT v FROM t WHERE k = $1 * 2 + 1",
            "SELECT v FROM t WHERE k = $1 - 3000000000",
            "SELECT v FROM t WHERE k = $1 + v",
            "UPDATE t SET v = v + 1 WHERE k = $1 + 1",
        ] {
            let (ours, theirs) = three.extended_both(sql, &[Some(value)]);
            if ours.refusal().is_none() {
                assert_eq!(ours.difference(&theirs, Order::Keys { sorted: 0 }), None, "{sql} {value}");
            }
        }
    }
    assert_eq!(ask(&mut three.sharded, "SELECT sum(v) FROM t").brief(), "192");
    assert_eq!(extended(&mut three.sharded, "SELECT v FROM t WHERE k = $1 + 1", &[Some("9")]).brief(), "10");
}

/// Statements whose parts are asked apart mean what they mean as a whole.
#[test]
fn what_is_asked_first_keeps_its_type_its_names_and_its_order() {
    let shop = Shop::small();
    let mut client = shop.client();
    story(
        &mut client,
        &[
            // A type without a length is not one of length 1.
            ("ALTER TABLE products ADD COLUMN code char(5)", "ALTER TABLE"),
            ("ALTER TABLE products ALTER COLUMN code SET DEFAULT lpad('7', 3, '0')", "ALTER TABLE"),
            ("INSERT INTO products (product_id, name) VALUES (2, 'b')", "INSERT 0 1"),
            (
                "INSERT INTO products (product_id, name, code) VALUES (3, 'c', left(md5(random()::text), 4))",
                "INSERT 0 1",
            ),
            ("SELECT length(code) FROM products WHERE product_id > 1 ORDER BY 1", "3,4"),
            // WITH is read by what stands around it.
            (
                "WITH w AS (SELECT 5 AS k) INSERT INTO customers (customer_id, name) VALUES ((SELECT k FROM w), 'x')",
                "0A000",
            ),
            (
                "WITH w AS (SELECT 1 AS a, 'cte' AS b) UPDATE customers SET (credit, name) = (SELECT a, b FROM w)
                 WHERE name IN (SELECT name FROM customers WHERE customer_id > 1)",
                "0A000",
            ),
            // Rows whose new keys are others' old ones.
            ("UPDATE customers SET customer_id = customer_id + 1.0", "0A000"),
            ("UPDATE visits v SET token = w.token || 'x' FROM visits w WHERE w.token = v.token RETURNING *", "0A000"),
            // A window is over all rows.
            (
                "SELECT count(*) FROM customers c WHERE (c.customer_id, 1) IN
                 (SELECT d.customer_id, count(*) OVER () FROM customers d GROUP BY d.customer_id)",
                "0",
            ),
            ("BEGIN", "BEGIN"),
            ("DECLARE c CURSOR FOR SELECT name FROM customers FOR UPDATE", "0A000"),
            ("ROLLBACK", "ROLLBACK"),
            ("DECLARE h CURSOR WITH HOLD FOR SELECT count(*) FROM customers", "DECLARE CURSOR"),
            ("BEGIN", "BEGIN"),
            ("DISCARD ALL", "25001"),
            ("ROLLBACK", "ROLLBACK"),
            ("FETCH h", "4"),
        ],
    );
}
