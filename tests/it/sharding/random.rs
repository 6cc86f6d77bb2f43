//! Random statements about the shop, the same for the same seed.

use std::collections::BTreeMap;

use super::answer::Order;
use super::corpus::{Case, Refusal, cut_at};

/// A source of statements.
pub struct Generator {
    dice: Dice,
    mix: BTreeMap<&'static str, usize>,
}

/// SplitMix64: numbers that are the same on every machine and in every version of every library.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).expect("below a usize")
    }

    /// True in so many of a hundred cases.
    pub fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }

    pub fn pick<'t, T: ?Sized>(&mut self, items: &[&'t T]) -> &'t T {
        items[self.below(items.len())]
    }
}

/// A FROM clause and what can be said about its rows.
struct From {
    clause: &'static str,
    /// The columns that tell rows apart.
    primary_key: &'static str,
    /// The shard key, empty for reference tables.
    key: &'static str,
    /// Columns whose equal values are spelled alike, in a form that ORDER BY can use over shards.
    plain: &'static [&'static str],
    /// Expressions that only the select list has.
    other: &'static [&'static str],
    /// Numbers that can be summed.
    numbers: &'static [&'static str],
    conditions: &'static [&'static str],
}

const CUSTOMERS: From = From {
    clause: "customers c",
    primary_key: "c.customer_id",
    key: "c.customer_id",
    plain: &["c.customer_id", "c.born", "c.active", "c.joined", "c.uid", "c.customer_id % 5", "c.name COLLATE \"C\""],
    other: &[
        "c.credit",
        "c.score",
        "c.name",
        "c.email",
        "c.*",
        "upper(c.name)",
        "c.credit * 2",
        "coalesce(c.name, 'none')",
    ],
    numbers: &["c.customer_id % 1000", "length(c.name)"],
    conditions: &[
        "c.active",
        "c.name IS NULL",
        "c.credit > 5",
        "c.born < '1975-05-05'",
        "c.name = 'Ada'",
        "c.score <> 0",
        "c.region = 'EU'",
        "c.customer_id % 10 = 3",
        "c.name > 'b'",
        "c.name IN ('Ada', 'eve')",
    ],
};

const ORDERS: From = From {
    clause: "orders o",
    primary_key: "o.customer_id, o.order_id",
    key: "o.customer_id",
    plain: &["o.order_id", "o.customer_id", "o.placed", "o.priority", "o.status COLLATE \"C\"", "o.order_id + 1"],
    other: &["o.total", "o.status", "o.*", "o.total * 2", "o.status || '.'"],
    numbers: &["o.total", "o.order_id", "o.priority", "o.total + 1"],
    conditions: &[
        "o.total > 12",
        "o.status = 'paid'",
        "o.priority IS NULL",
        "o.order_id = 1",
        "o.order_id IN (1, 2)",
        "o.placed < '2024-01-15'",
        "o.total IS NOT NULL",
        "o.status <> 'new'",
        "o.total BETWEEN 1 AND 50",
    ],
};

const LINES: From = From {
    clause: "lines l JOIN products p USING (product_id)",
    primary_key: "l.customer_id, l.order_id, l.line_no",
    key: "l.customer_id",
    plain: &[
        "l.line_no",
        "l.quantity",
        "l.tag",
        "l.weight",
        "product_id",
        "p.launched",
        "p.name COLLATE \"C\"",
        "l.price",
    ],
    other: &["l.price", "p.name", "l.*", "l.quantity * p.price", "p.category", "*"],
    numbers: &["l.quantity", "l.price", "p.price * l.quantity"],
    conditions: &[
        "l.quantity > 3",
        "p.category = 'cat1'",
        "p.category IS NULL",
        "l.line_no = 1",
        "l.weight < 3",
        "p.price > 5",
        "l.quantity = p.product_id",
        "product_id IN (3, 4, 5)",
    ],
};

const JOINED: From = From {
    clause: "customers c JOIN orders o ON o.customer_id = c.customer_id",
    primary_key: "c.customer_id, o.order_id",
    key: "c.customer_id",
    plain: &["c.customer_id", "o.order_id", "o.priority", "c.active", "c.born", "o.placed"],
    other: &["c.name", "o.total", "o.status", "c.credit", "o.*"],
    numbers: &["o.total", "o.order_id", "o.order_id * 2"],
    conditions: &[
        "o.total > 12",
        "c.active",
        "o.customer_id = 14",
        "c.name = 'Ada'",
        "o.order_id = c.customer_id",
        "o.priority IS NULL OR c.active",
        "c.born < o.placed",
    ],
};

const OUTER: From = From {
    clause: "customers c LEFT JOIN orders o ON o.customer_id = c.customer_id AND o.order_id > 1",
    primary_key: "c.customer_id, o.order_id",
    key: "c.customer_id",
    plain: &["c.customer_id", "o.order_id", "o.priority", "c.active", "o.placed"],
    other: &["c.name", "o.total", "o.status", "o.customer_id"],
    numbers: &["o.total", "o.order_id", "c.customer_id % 10"],
    conditions: &["o.order_id IS NULL", "o.total > 12", "c.active", "o.customer_id = 14", "c.name IS NOT NULL"],
};

const STRAYED: From = From {
    clause: "orders o LEFT JOIN customers c ON c.customer_id = 5",
    primary_key: "o.customer_id, o.order_id",
    key: "o.customer_id",
    plain: &["o.order_id", "o.priority"],
    other: &["c.name", "o.total"],
    numbers: &["o.total", "o.order_id"],
    conditions: &["c.customer_id = 5", "c.customer_id IS NULL", "o.total > 12"],
};

const VISITS: From = From {
    clause: "visits v",
    primary_key: "v.token COLLATE \"C\"",
    key: "v.token",
    plain: &["v.hits", "v.seconds", "v.customer_id", "v.token COLLATE \"C\""],
    other: &["v.*", "v.token || '?'", "length(v.token)"],
    numbers: &["v.hits", "v.customer_id"],
    conditions: &["v.hits > 4", "v.seconds < '12:00'", "v.customer_id = 3", "v.token LIKE 'a%'", "v.token > 'a1'"],
};

const PRODUCTS: From = From {
    clause: "products p",
    primary_key: "p.product_id",
    key: "",
    plain: &["p.product_id", "p.launched", "p.name COLLATE \"C\"", "p.category"],
    other: &["p.*", "p.price", "lower(p.name)"],
    numbers: &["p.price", "p.product_id"],
    conditions: &["p.price > 5", "p.category IS NULL", "p.product_id IN (1, 2)", "p.name LIKE '%1%'"],
};

const FROMS: &[&From] =
    &[&CUSTOMERS, &CUSTOMERS, &ORDERS, &ORDERS, &LINES, &LINES, &JOINED, &JOINED, &OUTER, &VISITS, &PRODUCTS, &STRAYED];

const NUMBERS: &[&str] =
    &["1", "2", "5", "11", "14", "19", "25", "33", "0", "-7", "9007199254740993", "777", "3.0", "2.5"];
const TOKENS: &[&str] = &["a0", "M5", "z14", "é27", "nothing", "a 0"];

/// A WHERE clause with the values of its parameters.
#[derive(Default)]
struct Filter {
    text: String,
    values: Vec<Option<String>>,
}

impl Generator {
    pub fn new(seed: u64) -> Self {
        Self { dice: Dice(seed), mix: BTreeMap::new() }
    }

    /// How many statements of each kind were made.
    pub fn mix(&self) -> &BTreeMap<&'static str, usize> {
        &self.mix
    }

    /// The next statement.
    pub fn statement(&mut self) -> Case {
        match self.dice.below(100) {
            0..40 => self.rows(),
            40..60 => self.aggregates(),
            60..82 => self.groups(),
            82..90 => self.trap(),
            _ => self.write(),
        }
    }

    fn count(&mut self, kind: &'static str) {
        *self.mix.entry(kind).or_default() += 1;
    }

    fn rows(&mut self) -> Case {
        let from = *self.dice.pick(&FROMS.iter().collect::<Vec<_>>());
        let filter = self.filter(from);
        let sorted: Vec<&str> = (0..self.dice.below(3)).map(|_| self.dice.pick(from.plain)).collect();
        let mut list: Vec<&str> = sorted.clone();
        list.extend(
            (0..=self.dice.below(3))
                .map(|_| if self.dice.percent(50) { self.dice.pick(from.plain) } else { self.dice.pick(from.other) }),
        );
        let mut sql = format!("SELECT {} FROM {}{}", list.join(", "), from.clause, filter.text);
        let order = self.order_by(&mut sql, from, sorted.len());
        let cut = self.limit(&mut sql);
        self.count(if sorted.is_empty() { "rows" } else { "ordered rows" });
        case(sql, filter, order, cut)
    }

    /// Adds ORDER BY the first columns, or these and the primary key.
    fn order_by(&mut self, sql: &mut String, from: &From, sorted: usize) -> Order {
        let mut items: Vec<String> = (1..=sorted).map(|place| format!("{place}{}", self.direction())).collect();
        let total = self.dice.percent(50);
        if total {
            items.push(from.primary_key.to_owned());
        }
        if !items.is_empty() {
            sql.push_str(&format!(" ORDER BY {}", items.join(", ")));
        }
        if total { Order::Total } else { Order::Keys { sorted } }
    }

    fn direction(&mut self) -> &'static str {
        self.dice.pick(&["", "", " DESC", " ASC", " NULLS FIRST", " DESC NULLS LAST"])
    }

    /// Adds LIMIT and OFFSET; says whether it did.
    fn limit(&mut self, sql: &mut String) -> bool {
        if !self.dice.percent(35) {
            return false;
        }
        sql.push_str(&format!(" LIMIT {}", self.dice.below(12)));
        if self.dice.percent(40) {
            sql.push_str(&format!(" OFFSET {}", self.dice.below(9)));
        }
        true
    }

    fn aggregates(&mut self) -> Case {
        let from = *self.dice.pick(&FROMS.iter().collect::<Vec<_>>());
        let filter = self.filter(from);
        let list: Vec<String> = (0..=self.dice.below(3)).map(|_| self.aggregate(from)).collect();
        self.count("aggregates");
        let sql = format!("SELECT {} FROM {}{}", list.join(", "), from.clause, filter.text);
        case(sql, filter, Order::Total, false)
    }

    fn aggregate(&mut self, from: &From) -> String {
        let number = self.dice.pick(from.numbers);
        match self.dice.below(6) {
            0 => "count(*)".to_owned(),
            1 => format!("count({number})"),
            2 => format!("sum({number})"),
            3 => format!("avg({number})"),
            4 => format!("min({})", from.plain[0]),
            _ => format!("max({})", from.plain[0]),
        }
    }

    fn groups(&mut self) -> Case {
        let from = *self.dice.pick(&FROMS.iter().collect::<Vec<_>>());
        let filter = self.filter(from);
        let mut columns: Vec<&str> = (0..=self.dice.below(2)).map(|_| self.dice.pick(from.plain)).collect();
        columns.dedup();
        let mut list: Vec<String> = columns.iter().map(|&column| column.to_owned()).collect();
        list.extend((0..=self.dice.below(2)).map(|_| self.aggregate(from)));
        let by = if self.dice.percent(50) { columns.join(", ") } else { ordinals(columns.len()) };
        let mut sql = format!("SELECT {} FROM {}{} GROUP BY {by}", list.join(", "), from.clause, filter.text);
        let ordered = self.dice.percent(60);
        if ordered {
            sql.push_str(&format!(" ORDER BY {}", ordinals(columns.len())));
        }
        let cut = self.limit(&mut sql);
        self.count("groups");
        case(sql, filter, if ordered { Order::Total } else { Order::Keys { sorted: 0 } }, cut)
    }

    fn filter(&mut self, from: &From) -> Filter {
        let mut filter = Filter::default();
        let mut terms = Vec::new();
        if !from.key.is_empty() && self.dice.percent(70) {
            terms.push(self.key_condition(from, &mut filter.values));
        }
        for _ in 0..self.dice.below(3) {
            terms.push(self.dice.pick(from.conditions).to_owned());
        }
        if terms.len() > 1 && self.dice.percent(15) {
            filter.text = format!(" WHERE {}", terms.join(" OR "));
        } else if !terms.is_empty() {
            let terms: Vec<String> = terms.iter().map(|term| format!("({term})")).collect();
            filter.text = format!(" WHERE {}", terms.join(" AND "));
        }
        filter
    }

    /// Something about the key, which restricts it or only seems to.
    fn key_condition(&mut self, from: &From, values: &mut Vec<Option<String>>) -> String {
        let key = from.key;
        let text = key == "v.token";
        let mut value = || self.key_value(text, values);
        let (a, b) = (value(), value());
        match self.dice.below(12) {
            0..4 => format!("{key} = {a}"),
            4 => format!("{a} = {key}"),
            5 => format!("{key} IN ({a}, {b})"),
            6 => format!("{key} = {a} OR {key} = {b}"),
            7 => format!("{key} <= {a}"),
            8 => format!("{key} BETWEEN {a} AND {b}"),
            9 => format!("NOT ({key} = {a})"),
            10 => format!("({key} = {a}) IS NOT TRUE"),
            _ => format!("{key} = {a} AND {key} = {b}"),
        }
    }

    fn key_value(&mut self, text: bool, values: &mut Vec<Option<String>>) -> String {
        let value = if text { self.dice.pick(TOKENS) } else { self.dice.pick(NUMBERS) };
        let fits = text || !value.contains('.');
        match self.dice.below(10) {
            0..3 if fits => {
                values.push(Some(value.to_owned()));
                format!("${}", values.len())
            }
            3 => "NULL".to_owned(),
            4 if fits => format!("'{value}'"),
            5 if !text => format!("{value}::int8"),
            _ if text => format!("'{value}'"),
            _ => value.to_owned(),
        }
    }

    /// What other routers answered wrongly.
    fn trap(&mut self) -> Case {
        let key = self.dice.pick(NUMBERS);
        let other = self.dice.pick(NUMBERS);
        let sql = match self.dice.below(10) {
            0 => format!(
                "SELECT name FROM customers WHERE customer_id = {key} UNION SELECT name FROM customers WHERE customer_id = {other}"
            ),
            1 => format!(
                "SELECT name FROM customers c WHERE EXISTS (SELECT 1 FROM orders o WHERE o.customer_id = {key})"
            ),
            2 => format!("SELECT customer_id = {key}, name FROM customers"),
            3 => format!("SELECT count(*) FILTER (WHERE customer_id = {key}) FROM customers"),
            4 => format!(
                "SELECT c.name, o.total FROM customers c LEFT JOIN orders o ON o.customer_id = {key} AND o.customer_id = c.customer_id"
            ),
            5 => format!(
                "SELECT name FROM customers WHERE customer_id = {key} AND customer_id IN (SELECT customer_id FROM orders WHERE customer_id = {other})"
            ),
            6 => format!(
                "SELECT (SELECT count(*) FROM orders o WHERE o.customer_id = {other}) FROM customers WHERE customer_id = {key}"
            ),
            7 => format!("SELECT name FROM (SELECT * FROM customers WHERE customer_id = {key}) s"),
            8 => format!(
                "WITH c AS (SELECT * FROM customers WHERE customer_id = {key}) SELECT c.name, o.total FROM c JOIN orders o USING (customer_id) WHERE o.customer_id = {other}"
            ),
            _ => format!(
                "SELECT a.name, b.name FROM customers a, customers b WHERE a.customer_id = {key} AND b.customer_id = {other}"
            ),
        };
        self.count("traps");
        case(sql, Filter::default(), Order::Keys { sorted: 0 }, false)
    }

    fn write(&mut self) -> Case {
        let from = self.dice.pick(&[&CUSTOMERS, &ORDERS, &VISITS]);
        let number = self.dice.below(1000);
        let sql = match self.dice.below(8) {
            0 => format!("INSERT INTO customers (customer_id, name) VALUES ({}, 'n{number}')", 1000 + number),
            1 => format!(
                "INSERT INTO customers (customer_id, name) VALUES ({0}, 'n{number}') ON CONFLICT (customer_id) DO UPDATE SET name = 'again'",
                self.dice.pick(NUMBERS)
            ),
            2 => format!(
                "INSERT INTO orders (customer_id, order_id, total) VALUES ({}, {number}, {number}.5) RETURNING total",
                self.dice.pick(NUMBERS)
            ),
            3 => format!("UPDATE products SET price = {number} WHERE product_id = {}", number % 14),
            4 => format!("DELETE FROM customers WHERE customer_id = {}", 1000 + number),
            _ => return self.update(from, number),
        };
        self.count("writes");
        case(sql, Filter::default(), Order::Total, false)
    }

    fn update(&mut self, from: &From, number: usize) -> Case {
        let filter = self.filter(from);
        let set = match from.key {
            "c.customer_id" => format!("name = 'n{number}'"),
            "o.customer_id" => format!("total = {number}"),
            _ => format!("hits = {number}"),
        };
        self.count("updates");
        case(format!("UPDATE {} SET {set}{}", from.clause, filter.text), filter, Order::Total, false)
    }
}

fn ordinals(count: usize) -> String {
    (1..=count).map(|place| place.to_string()).collect::<Vec<_>>().join(", ")
}

fn case(sql: String, filter: Filter, order: Order, cut: bool) -> Case {
    let uncut = (cut && order != Order::Total).then(|| sql[..cut_at(&sql)].to_owned());
    let values = (!filter.values.is_empty()).then_some(filter.values);
    Case { sql, values, order, uncut, refusal: Refusal::Maybe }
}
