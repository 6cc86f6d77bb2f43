//! Random SELECTs that need rows of several shards.
//!
//! What PostgreSQL leaves open is not asked for: which of equal numbers with other scales is shown, which of tied rows comes
//! first, and which rows a LIMIT without a total order leaves.

use std::collections::BTreeMap;

use super::super::answer::Order;
use super::super::random::Dice;

/// A SELECT, its parameters in text format, and how much of its order is determined.
pub struct Select {
    pub sql: String,
    pub values: Vec<String>,
    pub order: Order,
    /// What is in it.
    pub features: Vec<&'static str>,
}

/// Where rows come from.
struct Source {
    from: &'static str,
    feature: &'static str,
    /// What tells rows apart.
    primary_key: &'static str,
    /// The shard key, if the rows are those of one table or joined by it.
    key: Option<&'static str>,
    /// Whose equal values are spelled alike.
    plain: &'static [&'static str],
    /// Exact numbers.
    numbers: &'static [&'static str],
    /// Floating-point numbers.
    floats: &'static [&'static str],
    texts: &'static [&'static str],
    conditions: &'static [&'static str],
}

const SOURCES: &[Source] = &[
    Source {
        from: "customers c",
        feature: "one table",
        primary_key: "c.customer_id",
        key: Some("c.customer_id"),
        plain: &[
            "c.customer_id",
            "c.born",
            "c.active",
            "c.joined",
            "c.uid",
            "c.customer_id % 5",
            "round(c.credit, 2)",
            "c.region",
            "extract(year FROM c.born)",
        ],
        numbers: &["c.customer_id % 100", "length(c.name)", "c.credit"],
        floats: &["c.score"],
        texts: &[
            "c.name",
            "c.email",
            "lower(c.name)",
            "coalesce(c.name, 'none')",
            "c.name COLLATE \"C\"",
            "c.name COLLATE \"en-x-icu\"",
        ],
        conditions: &[
            "c.active",
            "c.name IS NULL",
            "c.credit > 5",
            "c.born < '1975-05-05'",
            "c.name > 'b'",
            "c.score <> 0",
            "c.customer_id % 3 = 1",
            "c.name LIKE '%e%'",
        ],
    },
    Source {
        from: "orders o",
        feature: "one table",
        primary_key: "o.customer_id, o.order_id",
        key: Some("o.customer_id"),
        plain: &["o.order_id", "o.priority", "o.placed", "o.customer_id", "round(o.total, 3)", "o.priority IS NULL"],
        numbers: &["o.total", "o.order_id", "o.priority", "o.total * 2 + o.order_id"],
        floats: &["o.total::float8"],
        texts: &["o.status", "upper(o.status)", "o.status || o.order_id", "o.status COLLATE \"en-x-icu\""],
        conditions: &[
            "o.total > 12",
            "o.status = 'paid'",
            "o.priority IS NULL",
            "o.order_id IN (1, 2)",
            "o.placed < '2024-01-15'",
            "o.status <> 'new' OR o.total = 0",
        ],
    },
    Source {
        from: "customers c JOIN orders o ON o.customer_id = c.customer_id",
        feature: "join by the key",
        primary_key: "o.customer_id, o.order_id",
        key: Some("c.customer_id"),
        plain: &["c.customer_id", "o.order_id", "o.priority", "c.active", "c.born", "c.region"],
        numbers: &["o.total", "o.order_id", "c.customer_id % 10"],
        floats: &["c.score"],
        texts: &["c.name", "o.status", "c.email"],
        conditions: &[
            "o.total > 12",
            "c.active",
            "o.order_id = 2",
            "c.born < o.placed",
            "o.priority IS NULL OR c.active",
        ],
    },
    Source {
        from: "customers c LEFT JOIN orders o ON o.customer_id = c.customer_id AND o.order_id > 1",
        feature: "outer join",
        primary_key: "c.customer_id, o.order_id",
        key: Some("c.customer_id"),
        plain: &["c.customer_id", "o.customer_id", "o.order_id", "o.priority", "c.active", "o.placed"],
        numbers: &["o.total", "o.order_id", "c.customer_id % 10"],
        floats: &["c.score"],
        texts: &["c.name", "o.status"],
        conditions: &["o.order_id IS NULL", "o.total > 12", "c.active", "c.name IS NOT NULL"],
    },
    Source {
        from: "lines l JOIN products p USING (product_id)",
        feature: "reference table",
        primary_key: "l.customer_id, l.order_id, l.line_no",
        key: Some("l.customer_id"),
        plain: &["l.line_no", "l.quantity", "l.tag", "product_id", "p.launched", "l.price", "p.price"],
        numbers: &["l.quantity", "l.price", "p.price * l.quantity"],
        floats: &["l.weight::float8", "l.weight"],
        texts: &["p.name COLLATE \"en-x-icu\"", "p.category"],
        conditions: &["l.quantity > 3", "p.category = 'cat1'", "p.category IS NULL", "l.line_no = 1", "l.weight < 3"],
    },
    Source {
        from: "visits v",
        feature: "text key",
        primary_key: "v.token",
        key: Some("v.token"),
        plain: &["v.hits", "v.seconds", "v.customer_id"],
        numbers: &["v.hits", "v.customer_id"],
        floats: &["v.hits / 2.0::float8"],
        texts: &["v.token", "v.token || '?'", "substr(v.token, 1, 1)", "v.token COLLATE \"en-x-icu\""],
        conditions: &["v.hits > 4", "v.seconds < '12:00'", "v.token LIKE 'a%'", "v.token > 'a1'"],
    },
    Source {
        from: "orders o JOIN visits v ON v.hits = o.order_id",
        feature: "join by other columns",
        primary_key: "o.customer_id, o.order_id, v.token",
        key: None,
        plain: &["v.hits", "o.priority", "o.order_id", "v.seconds"],
        numbers: &["o.total", "v.customer_id"],
        floats: &["v.hits / 2.0::float8"],
        texts: &["v.token", "o.status"],
        conditions: &["v.customer_id > 3", "o.total > 12", "v.token < 'n'", "o.status IS NULL"],
    },
    Source {
        from: "(SELECT * FROM orders WHERE order_id < 4) o",
        feature: "subquery in FROM",
        primary_key: "o.customer_id, o.order_id",
        key: None,
        plain: &["o.order_id", "o.priority", "o.placed", "o.customer_id"],
        numbers: &["o.total", "o.order_id"],
        floats: &["o.total::float8"],
        texts: &["o.status"],
        conditions: &["o.total > 12", "o.status = 'paid'", "o.priority IS NULL"],
    },
];

/// A source of SELECTs, the same for the same seed.
pub struct Generator {
    dice: Dice,
    pub mix: BTreeMap<&'static str, usize>,
    features: Vec<&'static str>,
    values: Vec<String>,
}

impl Generator {
    pub fn new(seed: u64) -> Self {
        Self { dice: Dice::new(seed), mix: BTreeMap::new(), features: Vec::new(), values: Vec::new() }
    }

    pub fn below(&mut self, limit: usize) -> usize {
        self.dice.below(limit)
    }

    /// The next SELECT.
    pub fn select(&mut self) -> Select {
        self.features.clear();
        self.values.clear();
        let place = if self.dice.percent(93) { self.dice.below(6) } else { 6 + self.dice.below(2) };
        let source = &SOURCES[place];
        self.note(source.feature);
        let (sql, order) = match self.dice.below(100) {
            0..24 => self.rows(source),
            24..36 => self.distinct(source),
            36..42 => self.distinct_on(source),
            42..56 => self.aggregates(source),
            56..82 => self.groups(source),
            82..90 => self.windows(source),
            90..94 => self.set_operation(source),
            94..98 => self.subquery(source),
            _ => self.with(source),
        };
        for feature in &self.features {
            *self.mix.entry(feature).or_default() += 1;
        }
        Select { sql, order, values: std::mem::take(&mut self.values), features: std::mem::take(&mut self.features) }
    }

    fn note(&mut self, feature: &'static str) {
        self.features.push(feature);
    }

    fn parameter(&mut self, value: impl ToString) -> String {
        self.note("parameters");
        self.values.push(value.to_string());
        format!("${}", self.values.len())
    }

    /// A column or expression.
    fn column(&mut self, source: &Source) -> &'static str {
        if self.dice.percent(30) { self.text(source) } else { self.dice.pick(source.plain) }
    }

    fn text(&mut self, source: &Source) -> &'static str {
        self.note("text under a collation");
        self.dice.pick(source.texts)
    }

    fn columns(&mut self, source: &Source) -> Vec<&'static str> {
        let mut columns: Vec<_> = (0..=self.dice.below(2)).map(|_| self.column(source)).collect();
        columns.sort_unstable();
        columns.dedup();
        columns
    }

    fn filter(&mut self, source: &Source) -> String {
        let mut terms: Vec<String> = Vec::new();
        if self.dice.percent(45) {
            terms.push(self.dice.pick(source.conditions).to_owned());
        }
        if self.dice.percent(20) {
            let number = self.dice.below(20);
            let wanted = self.parameter(number);
            terms.push(format!("{} <> {wanted}::numeric", self.dice.pick(source.numbers)));
        }
        if terms.is_empty() {
            String::new()
        } else {
            format!(" WHERE {}", terms.join(if self.dice.percent(80) { " AND " } else { " OR " }))
        }
    }

    /// ORDER BY that determines every row's place, and perhaps a part of the rows.
    fn total_order(&mut self, items: &[&str], unique: &str) -> String {
        self.note("ORDER BY");
        let mut order: Vec<String> = Vec::new();
        for item in items {
            order.push(format!("{item}{}", self.direction()));
        }
        order.push(unique.to_owned());
        format!(" ORDER BY {}{}", order.join(", "), self.limit())
    }

    fn direction(&mut self) -> &'static str {
        self.dice.pick(&["", "", " DESC", " NULLS FIRST", " DESC NULLS LAST"])
    }

    fn limit(&mut self) -> String {
        if self.dice.percent(45) {
            return String::new();
        }
        self.note("LIMIT");
        let (limit, offset) = (self.dice.below(12), self.dice.below(6));
        match self.dice.below(6) {
            0 => format!(" LIMIT {}", self.parameter(limit)),
            1 => format!(" LIMIT {} OFFSET {}", self.parameter(limit), self.parameter(offset)),
            2 => format!(" LIMIT {limit} + 1 OFFSET {offset}"),
            3 => {
                self.note("WITH TIES");
                format!(" OFFSET {offset} FETCH FIRST {} ROWS WITH TIES", limit + 1)
            }
            _ => format!(" LIMIT {limit} OFFSET {offset}"),
        }
    }

    fn rows(&mut self, source: &Source) -> (String, Order) {
        let filter = self.filter(source);
        let mut columns = self.columns(source);
        if self.dice.percent(30) {
            columns.push(self.dice.pick(source.floats));
        }
        let list = columns.join(", ");
        if self.dice.percent(35) {
            return (format!("SELECT {list} FROM {}{filter}", source.from), Order::Keys { sorted: 0 });
        }
        let items: Vec<&str> = (0..self.dice.below(3)).map(|_| self.column(source)).collect();
        let order = self.total_order(&items, source.primary_key);
        (format!("SELECT {list} FROM {}{filter}{order}", source.from), Order::Total)
    }

    fn distinct(&mut self, source: &Source) -> (String, Order) {
        self.note("DISTINCT");
        let filter = self.filter(source);
        let columns = self.columns(source);
        let sql = format!("SELECT DISTINCT {} FROM {}{filter}", columns.join(", "), source.from);
        if self.dice.percent(40) {
            return (sql, Order::Keys { sorted: 0 });
        }
        let ordinals: Vec<String> = (1..=columns.len()).map(|place| place.to_string()).collect();
        (format!("{sql}{}", self.total_order(&[], &ordinals.join(", "))), Order::Total)
    }

    fn distinct_on(&mut self, source: &Source) -> (String, Order) {
        self.note("DISTINCT ON");
        let filter = self.filter(source);
        let (on, other) = (self.column(source), self.column(source));
        let order = self.total_order(&[on], source.primary_key);
        (format!("SELECT DISTINCT ON ({on}) {on}, {other} FROM {}{filter}{order}", source.from), Order::Total)
    }

    /// One call of an aggregate.
    fn aggregate(&mut self, source: &Source) -> String {
        let number = self.dice.pick(source.numbers);
        let plain = self.dice.pick(source.plain);
        let call = match self.dice.below(16) {
            0..3 => "count(*)".to_owned(),
            3 => format!("count({number})"),
            4..6 => format!("sum({number})"),
            6 => format!("avg({number})"),
            7 => {
                self.note("sum of floats");
                format!("sum({})", self.dice.pick(source.floats))
            }
            8 => format!("min({})", self.text(source)),
            9 => format!("max({})", self.text(source)),
            10 => format!("max(round({number}, 2))"),
            11 => format!("bool_or({})", self.dice.pick(source.conditions)),
            12 => {
                self.note("aggregate of DISTINCT");
                return format!("count(DISTINCT {plain})");
            }
            13 => {
                self.note("aggregate of DISTINCT");
                return format!("sum(DISTINCT round({number}, 2))");
            }
            14 => {
                self.note("ordered aggregate");
                let key = source.primary_key;
                return format!("string_agg({}::text, ',' ORDER BY {key})", self.text(source));
            }
            _ => format!("bit_and(length({}))", self.text(source)),
        };
        if self.dice.percent(20) {
            self.note("FILTER");
            return format!("{call} FILTER (WHERE {})", self.dice.pick(source.conditions));
        }
        call
    }

    /// An aggregate, or an expression of some.
    fn computed(&mut self, source: &Source) -> String {
        let (a, b) = (self.aggregate(source), self.dice.pick(source.numbers));
        // The last digits of a sum of floats are not determined, so they must not become a text.
        if self.dice.percent(55) || source.floats.iter().any(|float| a.contains(&format!("sum({float})"))) {
            return a;
        }
        self.note("expression of aggregates");
        match self.dice.below(5) {
            0 => format!("coalesce(sum({b}), 0) / nullif(count(*), 0)"),
            1 => format!("round(avg({b}), 2)"),
            2 => format!("({a})::text || '/' || count(*)"),
            3 => format!("CASE WHEN count(*) > 3 THEN ({a})::text END"),
            _ => format!("coalesce(({a})::text, 'none')"),
        }
    }

    fn aggregates(&mut self, source: &Source) -> (String, Order) {
        self.note("aggregates alone");
        let filter = self.filter(source);
        let list: Vec<String> = (0..=self.dice.below(2)).map(|_| self.computed(source)).collect();
        (format!("SELECT {} FROM {}{filter}", list.join(", "), source.from), Order::Total)
    }

    fn groups(&mut self, source: &Source) -> (String, Order) {
        self.note("GROUP BY");
        let filter = self.filter(source);
        let mut columns = self.columns(source);
        if let Some(key) = source.key.filter(|_| self.dice.percent(15)) {
            self.note("GROUP BY the key");
            columns.push(key);
            columns.sort_unstable();
            columns.dedup();
        }
        let mut list: Vec<String> = columns.iter().map(|&column| column.to_owned()).collect();
        list.extend((0..=self.dice.below(2)).map(|_| self.computed(source)));
        if self.dice.percent(12) {
            self.note("window over groups");
            list.push(format!("rank() OVER (ORDER BY count(*) DESC, {})", columns.join(", ")));
        }
        let mut sql =
            format!("SELECT {} FROM {}{filter} GROUP BY {}", list.join(", "), source.from, columns.join(", "));
        if self.dice.percent(40) {
            self.note("HAVING");
            let number = self.dice.below(3);
            sql.push_str(&match self.dice.below(3) {
                0 => format!(" HAVING count(*) > {}", self.parameter(number)),
                1 => format!(" HAVING sum({}) > {number}", self.dice.pick(source.numbers)),
                _ => format!(" HAVING max({}) IS NOT NULL AND count(*) < 9", self.dice.pick(source.texts)),
            });
        }
        if self.dice.percent(40) {
            return (sql, Order::Keys { sorted: 0 });
        }
        let by = if self.dice.percent(50) { vec!["count(*)"] } else { Vec::new() };
        let order = self.total_order(&by, &columns.join(", "));
        (format!("{sql}{order}"), Order::Total)
    }

    fn windows(&mut self, source: &Source) -> (String, Order) {
        self.note("window function");
        let filter = self.filter(source);
        let key = source.primary_key;
        let partition = match source.key {
            Some(own) if self.dice.percent(40) => own,
            _ => self.column(source),
        };
        let number = self.dice.pick(source.numbers);
        let call = match self.dice.below(4) {
            0 => format!("row_number() OVER (PARTITION BY {partition} ORDER BY {key})"),
            1 => format!("sum({number}) OVER (PARTITION BY {partition})"),
            2 => format!("lag({}) OVER (ORDER BY {key})", self.column(source)),
            _ => format!("rank() OVER (ORDER BY {partition} NULLS FIRST)"),
        };
        (format!("SELECT {key}, {call} FROM {}{filter}", source.from), Order::Keys { sorted: 0 })
    }

    fn set_operation(&mut self, source: &Source) -> (String, Order) {
        self.note("set operation");
        let column = self.column(source);
        let (one, other) = (self.filter(source), self.filter(source));
        let operation = self.dice.pick(&["UNION ALL", "UNION", "INTERSECT", "EXCEPT"]);
        let from = source.from;
        (
            format!("SELECT {column} FROM {from}{one} {operation} SELECT {column} FROM {from}{other}"),
            Order::Keys { sorted: 0 },
        )
    }

    fn subquery(&mut self, source: &Source) -> (String, Order) {
        self.note("subquery");
        let (column, from, number) = (self.column(source), source.from, self.dice.pick(source.numbers));
        let sql = match self.dice.below(3) {
            0 => format!("SELECT {column} FROM {from} WHERE {number} > (SELECT avg(hits) FROM visits)"),
            1 => format!(
                "SELECT {column} FROM {from} WHERE {number} IN (SELECT order_id FROM orders WHERE status = 'paid')"
            ),
            _ => format!("SELECT {column}, (SELECT count(*) FROM visits x WHERE x.hits = 3) FROM {from}"),
        };
        (sql, Order::Keys { sorted: 0 })
    }

    fn with(&mut self, source: &Source) -> (String, Order) {
        self.note("WITH");
        let (column, number, filter) = (self.column(source), self.dice.pick(source.numbers), self.filter(source));
        let from = source.from;
        let sql = format!(
            "WITH w AS (SELECT {column} AS a, {number} AS b FROM {from}{filter}) SELECT a, count(*), sum(b) FROM w GROUP BY a"
        );
        (sql, Order::Keys { sorted: 0 })
    }
}
