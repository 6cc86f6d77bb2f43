use super::*;
use crate::merge::spec::{Aggregate, ColumnRef, Combine, SortKey, Ties};
use crate::sql::schema::{Column, FunctionClass, Relation, Volatility};
use crate::types::Kind;

const INT8: u32 = 20;
const TEXT: u32 = 25;
const NUMERIC: u32 = 1700;
const TIMESTAMPTZ: u32 = 1184;

/// A shop: customers, orders and order_lines are sharded by customer, carts by a text, visits in a keyspace of its own.
fn schema() -> Schema {
    let mut schema = Schema { search_path: vec!["public".into()], ..Schema::default() };
    let tables: [(&str, &[(&str, u32)]); 7] = [
        ("customers", &[("id", INT8), ("name", TEXT), ("region", TEXT), ("month", INT8)]),
        ("orders", &[("customer_id", INT8), ("id", INT8), ("total", NUMERIC), ("at", TIMESTAMPTZ), ("status", TEXT)]),
        ("order_lines", &[("customer_id", INT8), ("order_id", INT8), ("sku", TEXT), ("quantity", INT8)]),
        ("products", &[("sku", TEXT), ("title", TEXT), ("price", NUMERIC)]),
        ("carts", &[("code", TEXT), ("x", INT8)]),
        ("visits", &[("customer_id", INT8), ("page", TEXT)]),
        ("stray", &[("x", INT8)]),
    ];
    for (table, columns) in tables {
        let columns = columns
            .iter()
            .map(|(name, type_oid)| Column {
                name: (*name).into(),
                type_oid: *type_oid,
                computed_default: false,
                is_generated: false,
                default: None,
                moment_default: false,
                sequence: None,
                ordered_by_bytes: false,
                own_collation: false,
                not_null: false,
                type_modifier: -1,
            })
            .collect();
        schema.relations.insert(("public".into(), table.into()), Relation { columns, ..Relation::default() });
    }
    let view = Relation { is_view: true, ..Relation::default() };
    schema.relations.insert(("public".into(), "big_orders".into()), view);
    for (names, volatility, aggregate, window, builtin) in [
        (
            "lower upper length abs round like_escape unnest generate_series jsonb_array_elements",
            Volatility::Immutable,
            false,
            false,
            true,
        ),
        ("now date_trunc to_char concat extract", Volatility::Stable, false, false, true),
        ("random nextval", Volatility::Volatile, false, false, true),
        ("count sum min max avg bool_and string_agg", Volatility::Immutable, true, false, true),
        ("rank", Volatility::Immutable, false, true, true),
        ("mine", Volatility::Immutable, false, false, false),
    ] {
        for name in names.split(' ') {
            schema
                .functions
                .insert(name.into(), FunctionClass { builtin, volatility, aggregate, window, returns_set: false });
        }
    }
    schema
}

fn placement(name: &RelationName) -> TablePlacement {
    let sharded = |keyspace: &str, key: &str| TablePlacement::Sharded {
        keyspace: keyspace.into(),
        key_columns: vec![key.into()],
    };
    match name.name.as_str() {
        "customers" => sharded("customer", "id"),
        "orders" | "order_lines" => sharded("customer", "customer_id"),
        "carts" => sharded("cart", "code"),
        "visits" => sharded("visit", "customer_id"),
        "products" => TablePlacement::Reference,
        name if name.starts_with("pg_") => TablePlacement::System,
        _ => TablePlacement::Unmapped,
    }
}

/// What every parameter of LIMIT and OFFSET holds.
fn ten(_number: i32) -> Result<Option<i64>> {
    Ok(Some(10))
}

fn accept(text: &str) -> Distributed {
    distribute(text, &schema(), &placement, &ten).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// A short form of a recipe, for tables of cases: `rows` or `groups(columns; aggregates)`, then keys, then the window.
fn recipe(merge: &MergeSpec) -> String {
    let mut text = match &merge.combine {
        Combine::Rows => "rows".to_owned(),
        Combine::Groups { group_columns, aggregates } => {
            let groups: Vec<_> = group_columns.iter().map(place).collect();
            let aggregates: Vec<_> = aggregates.iter().map(|(column, kind)| aggregate(column, kind)).collect();
            format!("groups({}; {})", groups.join(" "), aggregates.join(" "))
        }
        Combine::Distinct => "distinct".to_owned(),
    };
    for key in &merge.sort {
        text += &sort_key(key);
    }
    if merge.hidden_columns > 0 {
        text += &format!(" hidden {}", merge.hidden_columns);
    }
    if merge.offset > 0 {
        text += &format!(" offset {}", merge.offset);
    }
    if let Some(limit) = merge.limit {
        text += &format!(" limit {limit}");
    }
    if merge.ties == Ties::Kept {
        text += " with ties";
    }
    if merge.distinct_keys > 0 {
        text += &format!(" distinct on {}", merge.distinct_keys);
    }
    if let Some(outer) = &merge.outer {
        text += &format!(" then {}", outer.text);
    }
    text
}

fn place(column: &ColumnRef) -> String {
    match column {
        ColumnRef::Visible(place) => format!("v{place}"),
        ColumnRef::Hidden(place) => format!("h{place}"),
    }
}

fn aggregate(column: &ColumnRef, kind: &Aggregate) -> String {
    let name = match kind {
        Aggregate::Count => "count".to_owned(),
        Aggregate::Sum => "sum".to_owned(),
        Aggregate::Min => "min".to_owned(),
        Aggregate::Max => "max".to_owned(),
        Aggregate::Average { sum, count } => format!("avg[{}/{}]", place(sum), place(count)),
        other => format!("{other:?}"),
    };
    format!("{}={name}", place(column))
}

fn sort_key(key: &SortKey) -> String {
    let direction = if key.descending { "desc" } else { "asc" };
    let nulls = if key.nulls_first == key.descending { "" } else { " nulls swapped" };
    let bytes = if key.bytewise { " bytes" } else { "" };
    format!(" by {} {direction}{nulls}{bytes}", place(&key.column))
}

#[test]
fn rows_keep_their_statement() {
    let cases = [
        ("SELECT * FROM orders", "rows", "SELECT * FROM orders"),
        (
            "SELECT id, total * 2 FROM orders o WHERE total > $1",
            "rows",
            "SELECT id, total * 2 FROM orders o WHERE total > $1",
        ),
        ("SELECT id FROM orders ORDER BY id", "rows by v0 asc", "SELECT id FROM orders ORDER BY id"),
        (
            "SELECT id FROM orders ORDER BY total DESC, 1 NULLS FIRST LIMIT 10 OFFSET 5",
            "rows by h0 desc by v0 asc nulls swapped hidden 1 offset 5 limit 10",
            "SELECT id, total AS weir_hidden_1 FROM orders ORDER BY total DESC, 1 NULLS FIRST LIMIT 15",
        ),
        (
            "SELECT * FROM orders ORDER BY total DESC NULLS LAST",
            "rows by h0 desc nulls swapped hidden 1",
            "SELECT *, total AS weir_hidden_1 FROM orders ORDER BY total DESC NULLS LAST",
        ),
        // An output name stands before a column of the table in ORDER BY.
        (
            "SELECT id AS total FROM orders ORDER BY total",
            "rows by v0 asc",
            "SELECT id AS total FROM orders ORDER BY total",
        ),
        (
            "SELECT lower(status) FROM orders ORDER BY lower",
            "rows by v0 asc",
            "SELECT lower(status) FROM orders ORDER BY lower",
        ),
        // In an expression it does not.
        (
            "SELECT id AS total FROM orders ORDER BY total + 1",
            "rows by h0 asc hidden 1",
            "SELECT id AS total, total + 1 AS weir_hidden_1 FROM orders ORDER BY total + 1",
        ),
        (
            "SELECT status COLLATE \"C\" AS s FROM orders ORDER BY s, total",
            "rows by v0 asc bytes by h0 asc hidden 1",
            "SELECT status COLLATE \"C\" AS s, total AS weir_hidden_1 FROM orders ORDER BY s, total",
        ),
        // The same column by another spelling is no hidden one.
        ("SELECT o.id FROM orders o ORDER BY id", "rows by v0 asc", "SELECT o.id FROM orders o ORDER BY id"),
        ("SELECT id FROM orders LIMIT ALL OFFSET 3", "rows offset 3", "SELECT id FROM orders"),
        ("SELECT id FROM orders LIMIT 0", "rows limit 0", "SELECT id FROM orders LIMIT 0"),
        (
            "SELECT id FROM orders LIMIT 9223372036854775807 OFFSET 1",
            "rows offset 1 limit 9223372036854775807",
            "SELECT id FROM orders",
        ),
        (
            "SELECT id AS weir_hidden_1 FROM orders ORDER BY total",
            "rows by h0 asc hidden 1",
            "SELECT id AS weir_hidden_1, total AS weir_hidden__1 FROM orders ORDER BY total",
        ),
    ];
    check(&cases);
}

#[test]
fn groups_are_combined() {
    let cases = [
        ("SELECT count(*) FROM orders", "groups(; v0=count)", "SELECT count(*) FROM orders"),
        (
            "SELECT status, count(*), sum(total) FROM orders GROUP BY status ORDER BY count(*) DESC LIMIT 10",
            "groups(v0; v1=count v2=sum) by v1 desc limit 10",
            "SELECT status, count(*), sum(total) FROM orders GROUP BY status",
        ),
        (
            "SELECT avg(total) AS mean, min(id), max(id) FROM orders",
            "groups(; v0=avg[h0/h1] v1=min v2=max) hidden 2",
            "SELECT avg(total) AS mean, min(id), max(id), sum(total) AS weir_hidden_1, count(total) AS weir_hidden_2 FROM orders",
        ),
        // What is grouped by but not selected still keeps groups apart.
        (
            "SELECT count(*) FROM orders GROUP BY status, total",
            "groups(h0 h1; v0=count) hidden 2",
            "SELECT count(*), status AS weir_hidden_1, total AS weir_hidden_2 FROM orders GROUP BY status, total",
        ),
        (
            "SELECT total / 10 AS bin, count(*) FROM orders GROUP BY bin ORDER BY bin",
            "groups(v0; v1=count) by v0 asc",
            "SELECT total / 10 AS bin, count(*) FROM orders GROUP BY bin",
        ),
        (
            "SELECT date_trunc('month', at), sum(total) FROM orders GROUP BY 1 ORDER BY 1",
            "groups(v0; v1=sum) by v0 asc",
            "SELECT date_trunc('month', at), sum(total) FROM orders GROUP BY 1",
        ),
        (
            "SELECT sum(total) FROM orders GROUP BY status ORDER BY status COLLATE \"C\"",
            "groups(h0; v0=sum) by h0 asc bytes hidden 1",
            "SELECT sum(total), status AS weir_hidden_1 FROM orders GROUP BY status",
        ),
        (
            "SELECT status, count(*) FROM orders GROUP BY 1 ORDER BY 2 DESC, status COLLATE \"C\" DESC",
            "groups(v0; v1=count) by v1 desc by v0 desc bytes",
            "SELECT status, count(*) FROM orders GROUP BY 1",
        ),
        (
            "SELECT o.status, count(*) FROM orders o GROUP BY status ORDER BY o.status",
            "groups(v0; v1=count) by v0 asc",
            "SELECT o.status, count(*) FROM orders o GROUP BY status",
        ),
        ("SELECT status FROM orders GROUP BY status", "groups(v0; )", "SELECT status FROM orders GROUP BY status"),
    ];
    check(&cases);
}

/// What stands around groups is computed over the combined ones, never on a shard.
#[test]
fn what_remains_is_computed_over_the_whole() {
    let groups = "SELECT status AS weir_hidden_1, count(*) AS weir_hidden_2 FROM orders GROUP BY status";
    let cases = [
        (
            "SELECT status, count(*) FROM orders GROUP BY status HAVING count(*) > $1",
            "groups(h0; h1=count) hidden 2 then SELECT weir_hidden_1, weir_hidden_2 FROM weir_hidden_rows WHERE weir_hidden_2 > $1",
            groups,
        ),
        (
            "SELECT coalesce(sum(total), 0) / nullif(count(*), 0), avg(total) * 2 FROM orders",
            "groups(; h0=sum h1=count h2=avg[h2/h3]) hidden 4 then SELECT COALESCE(weir_hidden_1, 0) / NULLIF(weir_hidden_2, 0), weir_hidden_3 * 2 FROM weir_hidden_rows",
            "SELECT sum(total) AS weir_hidden_1, count(*) AS weir_hidden_2, sum(total) AS weir_hidden_3, count(total) AS weir_hidden_4 FROM orders",
        ),
        (
            "SELECT status, rank() OVER (ORDER BY count(*) DESC) AS r FROM orders GROUP BY status ORDER BY r, 1 OFFSET 2",
            "groups(h0; h1=count) hidden 2 then SELECT weir_hidden_1, rank() OVER (ORDER BY weir_hidden_2 DESC) FROM weir_hidden_rows ORDER BY 2, 1 OFFSET 2",
            groups,
        ),
        (
            "SELECT count(DISTINCT status) FILTER (WHERE id > 1), max(id) FROM orders GROUP BY total + 1",
            "groups(h0; h1=Distinct(Count) h2=max) hidden 3 then SELECT weir_hidden_2, weir_hidden_3 FROM weir_hidden_rows",
            "SELECT total + 1 AS weir_hidden_1, CASE WHEN id > 1 THEN status END AS weir_hidden_2, max(id) AS weir_hidden_3 FROM orders GROUP BY total + 1, CASE WHEN id > 1 THEN status END",
        ),
        (
            "SELECT id, sum(total) OVER (ORDER BY at) FROM orders WHERE total > 5",
            "rows hidden 3 then SELECT weir_hidden_1, sum(weir_hidden_2) OVER (ORDER BY weir_hidden_3) FROM weir_hidden_rows",
            "SELECT id AS weir_hidden_1, total AS weir_hidden_2, at AS weir_hidden_3 FROM orders WHERE total > 5",
        ),
    ];
    check(&cases);
}

/// What the shards can do by themselves they do: a key keeps together what belongs together.
#[test]
fn what_holds_the_key_is_computed_by_the_shards() {
    for text in [
        "SELECT customer_id, count(*), string_agg(status, ',' ORDER BY id) FROM orders GROUP BY customer_id HAVING count(*) > 2",
        "SELECT c.name, sum(o.total) FROM customers c JOIN orders o ON o.customer_id = c.id GROUP BY c.id",
        "SELECT DISTINCT customer_id, status FROM orders",
        "SELECT DISTINCT * FROM orders",
        "SELECT id, rank() OVER (PARTITION BY status, customer_id ORDER BY total) FROM orders",
        "SELECT id, rank() OVER w FROM orders WINDOW w AS (v ORDER BY total), v AS (PARTITION BY customer_id)",
        "SELECT customer_id, count(DISTINCT status) FROM orders GROUP BY 1",
    ] {
        let found = accept(text);
        assert_eq!(recipe(&found.merge), "rows", "{text}");
        assert_eq!(shape(&found.shard_text), shape(text), "{text}\n{}", found.shard_text);
    }
    // Of an outer join's other side, rows without a partner have no key; they are one group from all shards.
    let nullable = "FROM customers c LEFT JOIN orders o ON o.customer_id = c.id";
    for text in [
        format!("SELECT o.customer_id, count(*) {nullable} GROUP BY o.customer_id HAVING count(*) > 1"),
        format!("SELECT rank() OVER (PARTITION BY o.customer_id) {nullable}"),
        "SELECT rank() OVER (PARTITION BY customer_id + 0) FROM orders".to_owned(),
        "SELECT rank() OVER (PARTITION BY customer_id), count(*) OVER () FROM orders".to_owned(),
    ] {
        assert!(accept(&text).merge.outer.is_some(), "{text}");
    }
    assert_eq!(recipe(&accept(&format!("SELECT DISTINCT o.customer_id {nullable}")).merge), "distinct");
}

#[test]
fn distinct_rows_and_ties() {
    let cases = [
        (
            "SELECT DISTINCT status FROM orders LIMIT $1",
            "distinct limit 10",
            "SELECT DISTINCT status FROM orders LIMIT 10",
        ),
        (
            "SELECT DISTINCT ON (status) id FROM orders ORDER BY status, total DESC OFFSET 1",
            "rows by h0 asc by h1 desc hidden 2 offset 1 distinct on 1",
            "SELECT DISTINCT ON (status) id, status AS weir_hidden_1, total AS weir_hidden_2 FROM orders ORDER BY status, total DESC",
        ),
        (
            "SELECT DISTINCT ON (status) id FROM orders",
            "rows by h0 asc hidden 1 distinct on 1",
            "SELECT DISTINCT ON (status) id, status AS weir_hidden_1 FROM orders ORDER BY status",
        ),
        (
            "SELECT id FROM orders ORDER BY id OFFSET 1 FETCH FIRST 3 ROWS WITH TIES",
            "rows by v0 asc offset 1 limit 3 with ties",
            "SELECT id FROM orders ORDER BY id FETCH FIRST 4 ROWS WITH TIES",
        ),
        ("SELECT id FROM orders LIMIT 2 * 3 + $1::int8", "rows limit 16", "SELECT id FROM orders LIMIT 16"),
    ];
    check(&cases);
}

fn check(cases: &[(&str, &str, &str)]) {
    for (text, expected_recipe, expected_text) in cases {
        let found = accept(text);
        assert_eq!(recipe(&found.merge), *expected_recipe, "{text}");
        assert_eq!(found.shard_text, *expected_text, "{text}");
    }
}

#[test]
fn joins_within_shards() {
    for text in [
        "SELECT o.id FROM orders o JOIN order_lines l ON l.customer_id = o.customer_id AND l.order_id = o.id",
        "SELECT o.id FROM orders o, order_lines l WHERE l.customer_id = o.customer_id",
        "SELECT o.id FROM orders o JOIN order_lines l USING (customer_id)",
        "SELECT c.name FROM customers c, orders o, order_lines l WHERE c.id = o.customer_id AND o.customer_id = l.customer_id",
        "SELECT 1 FROM customers c JOIN orders o ON o.customer_id = c.id JOIN order_lines l USING (customer_id)",
        "SELECT c.name, o.id FROM customers c LEFT JOIN orders o ON o.customer_id = c.id AND o.total > 5",
        "SELECT c.name FROM orders o RIGHT JOIN customers c ON o.customer_id = c.id",
        "SELECT 1 FROM customers c LEFT JOIN (orders o JOIN order_lines l USING (customer_id)) ON o.customer_id = c.id",
        "SELECT 1 FROM orders a JOIN orders b USING (customer_id) LEFT JOIN order_lines l USING (customer_id)",
        "SELECT l.quantity * p.price FROM order_lines l JOIN products p ON p.sku = l.sku",
        "SELECT 1 FROM order_lines l LEFT JOIN products p USING (sku)",
        "SELECT 1 FROM products p CROSS JOIN orders o",
        "SELECT 1 FROM products p LEFT JOIN products q USING (sku), orders o",
    ] {
        accept(text);
    }
}

/// Each statement with a part of the DETAIL that refuses it.
const REFUSED: &[(&str, &str)] = &[
    ("SELECT 1 FROM orders UNION SELECT 2 FROM orders", "UNION"),
    ("WITH x AS (SELECT 1) SELECT id FROM orders", "WITH"),
    ("SELECT id FROM orders LIMIT 5 FOR UPDATE", "FOR UPDATE"),
    ("SELECT id INTO x FROM orders", "INTO"),
    ("VALUES (1)", "VALUES"),
    ("UPDATE orders SET total = 1", "not a plain SELECT"),
    ("SELECT id FROM orders TABLESAMPLE system (1)", "TABLESAMPLE"),
    ("SELECT status, count(*) FROM orders GROUP BY ROLLUP (status)", "GROUPING SETS"),
    ("SELECT status, count(*) FROM orders GROUP BY DISTINCT status", "GROUP BY DISTINCT"),
    ("SELECT count(*) FROM orders GROUP BY (status, total)", "GROUP BY a row"),
    ("SELECT id FROM orders LIMIT -1", "LIMIT"),
    ("SELECT id FROM orders LIMIT 2.5", "LIMIT"),
    ("SELECT id FROM orders OFFSET '2'", "OFFSET"),
    ("SELECT id FROM orders ORDER BY $1", "ORDER BY $1"),
    ("SELECT id FROM orders ORDER BY id USING <", "USING"),
    ("SELECT id FROM orders ORDER BY 2", "column number 2"),
    ("SELECT *, id FROM orders ORDER BY 6", "column number 6"),
    ("SELECT *, id FROM orders ORDER BY 2", "behind *"),
    ("SELECT id FROM orders ORDER BY 'id'", "constant"),
    ("SELECT id AS x, total AS x FROM orders ORDER BY x", "several columns"),
    ("SELECT id FROM orders ORDER BY count(*)", "the column \"id\", which is neither grouped by"),
    ("SELECT * FROM orders GROUP BY status", "*"),
    ("SELECT *, rank() OVER (ORDER BY id) FROM orders", "*"),
    ("SELECT sum(total) + string_agg(status, ',') FROM orders", "string_agg"),
    ("SELECT sum(rank() OVER ()) FROM orders", "window"),
    ("SELECT rank(5) WITHIN GROUP (ORDER BY total) FROM orders", "rank() with ORDER BY"),
    ("SELECT count(DISTINCT 1) FROM orders", "count() with DISTINCT"),
    ("SELECT id FROM orders LIMIT 1.5 * 2", "LIMIT"),
    ("SELECT id FROM orders LIMIT 2000000000 + 2000000000", "LIMIT"),
    ("SELECT id FROM orders LIMIT (SELECT 1)", "LIMIT"),
    ("SELECT DISTINCT ON (status) id FROM orders ORDER BY id, status", "DISTINCT ON"),
    ("SELECT count(*) FROM orders GROUP BY $1", "GROUP BY $1"),
    ("SELECT count(*) FROM orders GROUP BY 'x'", "constant"),
    ("SELECT count(*) FROM orders GROUP BY 1", "aggregate"),
    // Aggregates that cannot be told from their parts.
    ("SELECT string_agg(status, ',' ORDER BY id) FROM orders", "string_agg"),
    ("SELECT sum(count(*)) FROM orders", "aggregate count()"),
    // `month` is a column of the table here: the alias of the same name is not what is grouped by.
    ("SELECT lower(name) AS month, count(*) FROM customers GROUP BY month", "\"name\""),
    ("SELECT status, count(*) FROM orders GROUP BY status ORDER BY total", "the column \"total\""),
    ("SELECT id FROM orders WHERE count(*) > 1", "aggregate count()"),
    // What each shard would see in its own way.
    ("SELECT id FROM orders WHERE at < now()", "now()"),
    ("SELECT current_date FROM orders", "CURRENT_TIMESTAMP"),
    ("SELECT id FROM orders WHERE at > 'yesterday'", "'yesterday'"),
    ("SELECT id FROM orders WHERE at > 'Today 10:00'", "Today"),
    ("SELECT random() FROM orders", "random()"),
    ("SELECT mine(id) FROM orders", "not built in"),
    ("SELECT public.lower(status) FROM orders", "schema"),
    ("SELECT unheard(id) FROM orders", "not built in"),
    ("SELECT id OPERATOR(public.+) 1 FROM orders", "schema"),
    ("SELECT id <-> 1 FROM orders", "operator <->"),
    ("SELECT 'orders'::regclass FROM orders", "regclass"),
    ("SELECT id::my_domain FROM orders", "my_domain"),
    ("SELECT ctid FROM orders", "ctid"),
    ("SELECT orders.tableoid FROM orders", "tableoid"),
    ("SELECT orders FROM orders", "orders"),
    ("SELECT count(orders.*) FROM orders", "*"),
    // Subqueries that need rows of other shards, or that may give other rows there.
    ("SELECT (SELECT max(id) FROM orders) FROM orders", "subquery"),
    ("SELECT id FROM orders o WHERE EXISTS (SELECT FROM visits v WHERE v.customer_id = o.customer_id)", "subquery"),
    ("SELECT id FROM orders o WHERE EXISTS (SELECT FROM order_lines l WHERE l.order_id = o.id)", "subquery"),
    (
        "SELECT id FROM orders o WHERE EXISTS (SELECT FROM order_lines l WHERE l.customer_id = o.customer_id OR true)",
        "subquery",
    ),
    ("SELECT id FROM orders o WHERE EXISTS (SELECT FROM order_lines l WHERE customer_id = customer_id)", "subquery"),
    ("SELECT id FROM orders o WHERE EXISTS (SELECT FROM orders o WHERE o.customer_id = o.customer_id)", "subquery"),
    ("SELECT id FROM customers WHERE id IN (SELECT customer_id FROM orders LIMIT 5)", "subquery"),
    ("SELECT id FROM customers WHERE id IN (SELECT max(customer_id) FROM orders GROUP BY status)", "subquery"),
    ("SELECT id FROM customers WHERE id IN (SELECT customer_id + 1 FROM orders)", "subquery"),
    ("SELECT id FROM customers WHERE id > ANY (SELECT customer_id FROM orders)", "subquery"),
    ("SELECT id FROM customers WHERE id <> ALL (SELECT customer_id FROM orders)", "subquery"),
    ("SELECT id FROM customers WHERE name IN (SELECT status FROM orders)", "subquery"),
    ("SELECT id FROM orders WHERE 'a' = (SELECT title FROM products LIMIT 1)", "subquery that picks"),
    ("SELECT (SELECT sum(o.total)) FROM orders o", "statement's own rows"),
    (
        "SELECT id FROM orders o WHERE EXISTS (SELECT FROM order_lines l WHERE l.customer_id = o.customer_id FOR UPDATE)",
        "locking",
    ),
    (
        "SELECT id FROM orders o WHERE EXISTS (SELECT FROM order_lines l WHERE l.customer_id = o.customer_id UNION SELECT)",
        "UNION",
    ),
    ("SELECT (SELECT now()) FROM orders", "now()"),
    ("SELECT 1 FROM orders JOIN order_lines USING (customer_id) WHERE EXISTS (SELECT 1 FROM products)", "USING"),
    (
        "SELECT 1 FROM products p LEFT JOIN order_lines l ON true WHERE EXISTS (SELECT FROM orders o WHERE o.customer_id = l.customer_id)",
        "preserves a reference table",
    ),
    (
        "SELECT 1 FROM customers c LEFT JOIN order_lines l ON l.customer_id = c.id
         WHERE EXISTS (SELECT FROM orders o WHERE o.customer_id = l.customer_id)",
        "subquery",
    ),
    // FROM.
    ("SELECT 1", "no sharded table"),
    ("SELECT sku FROM products", "no sharded table"),
    ("SELECT 1 FROM pg_class, orders", "system catalog"),
    ("SELECT 1 FROM stray, orders", "not in the shard map"),
    ("SELECT 1 FROM unheard, orders", "not known"),
    ("SELECT 1 FROM big_orders", "view"),
    ("SELECT 1 FROM (SELECT * FROM orders) o", "subquery in FROM"),
    ("SELECT 1 FROM orders, generate_series(1, 3)", "function in FROM"),
    ("SELECT 1 FROM orders o, jsonb_array_elements('[1]') e", "function in FROM"),
    ("SELECT 1 FROM orders o, generate_series(1, o.id) g", "\"o\""),
    ("SELECT 1 FROM orders o, unnest(ARRAY[now()]) AS v (at)", "now()"),
    ("SELECT 1 FROM orders o, (VALUES (1)) v (id) WHERE v.nothing = 1", "no column"),
    ("SELECT 1 FROM orders o, (VALUES (1) LIMIT 1) v (id)", "subquery in FROM"),
    ("SELECT 1 FROM orders o, (SELECT id FROM orders) s", "subquery in FROM"),
    ("SELECT 1 FROM orders o, (SELECT count(*) FROM products) s", "subquery in FROM"),
    ("SELECT 1 FROM orders o, (SELECT DISTINCT title FROM products) s", "subquery in FROM"),
    ("SELECT 1 FROM orders o, (SELECT title FROM products LIMIT 1) s", "subquery in FROM"),
    ("SELECT 1 FROM orders o, (SELECT random() AS r) s", "random()"),
    ("SELECT 1 FROM orders o, LATERAL (SELECT o.id AS id) s", "\"o\""),
    ("SELECT 1 FROM orders o, (SELECT id FROM orders ORDER BY 1) s", "subquery in FROM"),
    ("SELECT 1 FROM orders o, (VALUES ('now'::timestamptz)) v (at)", "'now'"),
    ("SELECT 1 FROM orders o, LATERAL (VALUES (o.id)) v (id)", "\"o\""),
    ("SELECT 1 FROM (VALUES (1)) v (id) LEFT JOIN orders o ON o.id = v.id", "preserves a reference table"),
    ("SELECT 1 FROM orders NATURAL JOIN order_lines", "NATURAL"),
    ("SELECT 1 FROM orders o (a, b)", "column aliases"),
    ("SELECT 1 FROM (orders o JOIN products p ON true) j", "alias of a join"),
    ("SELECT 1 FROM orders, order_lines", "shard keys"),
    ("SELECT 1 FROM orders o JOIN order_lines l ON l.order_id = o.id", "shard keys"),
    ("SELECT 1 FROM orders o JOIN order_lines l ON l.customer_id = o.id", "shard keys"),
    ("SELECT 1 FROM orders o JOIN order_lines l ON l.customer_id = o.customer_id OR l.order_id = o.id", "shard keys"),
    ("SELECT 1 FROM orders o JOIN order_lines l ON NOT (l.customer_id = o.customer_id)", "shard keys"),
    ("SELECT 1 FROM orders o JOIN order_lines l ON l.customer_id = o.customer_id + 1", "shard keys"),
    ("SELECT 1 FROM orders o JOIN visits v ON v.customer_id = o.customer_id", "shard keys"),
    ("SELECT 1 FROM orders o LEFT JOIN order_lines l ON l.order_id = o.id", "outer join whose ON"),
    // An equality in WHERE is too late for the rows that found no partner.
    (
        "SELECT 1 FROM orders o LEFT JOIN order_lines l ON true WHERE o.customer_id = l.customer_id",
        "outer join whose ON",
    ),
    ("SELECT 1 FROM products p LEFT JOIN order_lines l ON l.sku = p.sku", "preserves a reference table"),
    ("SELECT 1 FROM order_lines l RIGHT JOIN products p ON l.sku = p.sku", "preserves a reference table"),
    ("SELECT 1 FROM orders FULL JOIN order_lines USING (customer_id)", "FULL JOIN"),
    // Both keys equal the third one's, but only where there is a third one.
    (
        "SELECT 1 FROM (orders a JOIN orders b ON true) LEFT JOIN order_lines l
         ON l.customer_id = a.customer_id AND l.customer_id = b.customer_id",
        "shard keys",
    ),
    ("SELECT id FROM orders o JOIN customers c ON o.customer_id = c.id", "\"id\""),
    ("SELECT a.* FROM orders a JOIN order_lines b USING (customer_id) ORDER BY nothing", "\"nothing\""),
];

#[test]
fn subqueries_that_stay_on_a_rows_shard_go_there_with_it() {
    for text in [
        "SELECT id FROM orders WHERE id IN (SELECT 1)",
        "SELECT id FROM orders WHERE EXISTS (SELECT 1 FROM products) AND total > (SELECT max(price) FROM products)",
        "SELECT id FROM orders o WHERE EXISTS (SELECT * FROM order_lines l WHERE l.customer_id = o.customer_id)",
        "SELECT id FROM orders o WHERE NOT EXISTS (SELECT FROM order_lines l WHERE l.customer_id = o.customer_id AND l.order_id = o.id)",
        "SELECT id FROM customers WHERE id IN (SELECT customer_id FROM orders WHERE total > 5)",
        "SELECT id FROM customers WHERE id NOT IN (SELECT customer_id FROM orders)",
        "SELECT id FROM customers WHERE (name, id) = ANY (SELECT status, customer_id FROM orders)",
        "SELECT id FROM customers WHERE id IN (SELECT customer_id FROM orders GROUP BY customer_id HAVING sum(total) > 5)",
        "SELECT id, (SELECT count(*) FROM orders WHERE customer_id = c.id) FROM customers c",
        "SELECT id, ARRAY(SELECT o.id FROM orders o WHERE o.customer_id = c.id ORDER BY total DESC LIMIT 3) FROM customers c",
        "SELECT id FROM customers c ORDER BY (SELECT max(at) FROM orders WHERE orders.customer_id = c.id)",
        "SELECT id FROM customers c WHERE EXISTS (SELECT FROM orders o LEFT JOIN order_lines l ON l.customer_id = o.customer_id
             WHERE o.customer_id = c.id AND o.total > (SELECT avg(p.total) FROM orders p WHERE p.customer_id = o.customer_id))",
        "SELECT sum(total) FROM orders o WHERE total > ALL (SELECT quantity FROM order_lines l WHERE l.customer_id = o.customer_id)",
    ] {
        accept(text);
    }
    let names = accept(
        "SELECT EXISTS (SELECT 1), ARRAY(SELECT 1), (SELECT 1), (SELECT title FROM products), (SELECT 1 AS one)::text FROM orders ORDER BY \"exists\", title, one",
    );
    assert_eq!(recipe(&names.merge), "rows by v0 asc by v3 asc by v4 asc");
}

#[test]
fn rows_that_the_statement_gives_are_the_same_everywhere() {
    for text in [
        "SELECT o.id, v.name FROM orders o JOIN (VALUES (1, 'a'), ($1, upper('b'))) v (id, name) ON v.id = o.customer_id",
        "SELECT o.id FROM orders o, (VALUES (1), (2)) AS v WHERE v.column1 = o.id ORDER BY v.column1",
        "SELECT o.id, g FROM orders o CROSS JOIN generate_series(1, $1) g",
        "SELECT o.id FROM orders o JOIN unnest($1::int8[], '{a,b}'::text[]) AS v (id, name) ON v.id = o.customer_id AND o.status = v.name",
        "SELECT count(*) FROM orders o LEFT JOIN (VALUES (1)) v (id) ON v.id = o.id WHERE v.id IS NULL",
        "SELECT o.id, s.two FROM orders o JOIN (SELECT 1 AS id, 'b' AS two) s ON s.id = o.id",
        "SELECT o.id, s.b FROM orders o JOIN (SELECT p.*, upper(title) FROM products p WHERE title > 'a') s (a, b) ON s.a = o.id",
        "SELECT o.id FROM orders o JOIN (SELECT v.id FROM products p JOIN (VALUES (1), (2)) v (id) ON v.id > p.price) s ON s.id = o.id",
        "SELECT o.id FROM orders o, (SELECT generate_series(1, 3) AS n) s WHERE s.n = o.id",
    ] {
        accept(text);
    }
}

#[test]
fn what_cannot_be_proven_is_refused() {
    let mut wrong = Vec::new();
    for (text, part) in REFUSED {
        match distribute(text, &schema(), &placement, &ten) {
            Ok(found) => wrong.push(format!("{text} is accepted as {}: {}", found.shard_text, recipe(&found.merge))),
            Err(error) => {
                let detail = error.detail.as_deref().unwrap_or_default();
                if error.kind != Kind::NotSupported || !detail.contains(part) || error.hint.is_none() {
                    wrong.push(format!("{text}: {error}: {detail}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn ordering_by_a_column_of_a_star() {
    // Both tables have `customer_id`; the one that is selected is the one that orders.
    let joined = "FROM orders a JOIN order_lines b ON a.customer_id = b.customer_id";
    let found = accept(&format!("SELECT b.* {joined} ORDER BY customer_id"));
    assert_eq!(found.shard_text, format!("SELECT b.*, b.customer_id AS weir_hidden_1 {joined} ORDER BY customer_id"));
    let both = distribute(&format!("SELECT * {joined} ORDER BY customer_id"), &schema(), &placement, &ten);
    assert!(both.is_err());
}

#[test]
fn text_keys_join_only_under_deterministic_collations() {
    let text = "SELECT 1 FROM carts a JOIN carts b USING (code)";
    accept(text);
    let schema = Schema { has_nondeterministic_collations: true, ..schema() };
    assert!(distribute(text, &schema, &placement, &ten).is_err());
}

/// A tree without the positions in its text, so that two trees can be compared.
fn shape(text: &str) -> String {
    let tree = format!("{:?}", pg_query::parse(text, 0).unwrap().protobuf.stmts[0].stmt);
    ["location: ", "list_start: ", "list_end: "].into_iter().fold(tree, |tree, position| {
        let is_number = |c: char| c == '-' || c.is_ascii_digit();
        tree.split(position).map(|part| part.trim_start_matches(is_number)).collect()
    })
}

#[test]
fn the_rewritten_text_is_the_same_statement() {
    for text in [
        "SELECT -id, - - id, (id - 1) - (2 - id), NOT (id = 1 AND total = 2 OR total < 3) FROM orders",
        "SELECT E'a\\nb', 'it''s', $1::int4, 1.50, 1e10, B'01', X'1F', TRUE, NULL::text FROM orders",
        "SELECT CASE WHEN id = 1 THEN 'a' ELSE 'b' END, CASE id WHEN 1 THEN 2 END FROM orders WHERE id BETWEEN 1 AND 2",
        "SELECT status || 'x' || 'y', status LIKE 'a%' ESCAPE '!', status NOT ILIKE 'b', id IS NOT NULL FROM orders",
        "SELECT at AT TIME ZONE 'UTC', interval '1 day', at + interval '1' hour, total::numeric(10, 2) FROM orders",
        "SELECT id IS DISTINCT FROM 1, (total > 1) IS NOT TRUE, coalesce(total, 0), greatest(id, 2), nullif(id, 1) FROM orders",
        "SELECT ARRAY[1, id], (ARRAY[id])[1], id = ANY (ARRAY[1, 2]), id = ALL ($1), (id, total) < (1, 2) FROM orders",
        "SELECT \"id\" AS \"Odd Name\", orders.status COLLATE \"C\" FROM public.orders WHERE id IN (1, 2) OR id NOT IN (3)",
        "SELECT extract(year FROM at), 2 ^ 3 ^ 2, (2 ^ 3) ^ 2, 1 - (2 + 3), -(2 ^ 2), 5 % 3 FROM ONLY orders AS orders",
    ] {
        let mut schema = schema();
        let timezone = schema.functions["extract"];
        schema.functions.insert("timezone".into(), timezone);
        let found = distribute(text, &schema, &placement, &ten).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(shape(&found.shard_text), shape(text), "{text}\n{}", found.shard_text);
    }
}
