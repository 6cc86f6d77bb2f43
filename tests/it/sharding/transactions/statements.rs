//! Random statements that write, and the commands of transactions around them.

use std::collections::BTreeMap;

use super::super::answer::Order;
use super::super::random::Dice;

pub const SHARD_MAP: &str = r#"
[keyspaces.account]
method = "hash"
key_type = "int8"

[keyspaces.token]
method = "range"
key_type = "text"
ranges = [
    { from = "MINVALUE", to = "g", shard = "three" },
    { from = "g", to = "p", shard = "one" },
    { from = "p", to = "MAXVALUE", shard = "two" },
]

[tables]
accounts = { keyspace = "account", key = "k" }
entries = { keyspace = "account", key = "k" }
tokens = { keyspace = "token", key = "t" }
kinds = { reference = true }
"#;

pub const SETUP: &[&str] = &[
    "CREATE TABLE kinds (id int4 PRIMARY KEY, label text NOT NULL)",
    "CREATE TABLE accounts (k int8 PRIMARY KEY, kind int4 REFERENCES kinds, v int4 DEFAULT 7 CHECK (v < 10000),
        s varchar(12))",
    "CREATE TABLE entries (k int8, x int4, n numeric(12,2) DEFAULT 0, s text, PRIMARY KEY (k, x),
        FOREIGN KEY (k) REFERENCES accounts ON DELETE CASCADE)",
    "CREATE TABLE tokens (t text COLLATE \"C\" PRIMARY KEY, hits int4 NOT NULL DEFAULT 0, at date, d numeric)",
    "INSERT INTO kinds VALUES (0, 'zero'), (1, 'one'), (2, 'two')",
];

/// Tables with the columns of their primary keys.
pub const TABLES: &[(&str, &str)] = &[("kinds", "id"), ("accounts", "k"), ("entries", "k, x"), ("tokens", "t")];

/// Every form of statement, with its weight.
const FORMS: &[(&str, usize)] = &[
    ("insert", 4),
    ("insert rows", 8),
    ("insert rows returning", 5),
    ("insert parameters", 5),
    ("insert colocated", 5),
    ("insert tokens", 5),
    ("upsert", 6),
    ("upsert nothing", 4),
    ("insert select", 3),
    ("insert moved", 4),
    ("insert gathered", 3),
    ("insert computed", 3),
    ("change of key", 5),
    ("merge", 5),
    ("merge rows", 6),
    ("merge moved", 5),
    ("update one", 4),
    ("update some", 6),
    ("update all", 3),
    ("update returning", 4),
    ("update from", 4),
    ("update met", 4),
    ("update reference", 1),
    ("delete one", 3),
    ("delete some", 5),
    ("delete using", 3),
    ("delete met", 3),
    ("copy in", 4),
    ("copy of a bad line", 2),
    ("null key", 1),
    ("broken check", 2),
    ("broken reference", 2),
    ("bad literal", 1),
    ("division by zero", 2),
    ("too long", 1),
    ("no such column", 1),
    ("read", 5),
    ("count", 2),
];

/// Commands of transactions.
const COMMANDS: &[&str] = &["begin", "commit", "rollback", "savepoint", "rollback to", "release"];

pub struct Statement {
    pub form: &'static str,
    pub sql: String,
    /// `None`: a simple Query.
    pub values: Option<Vec<Option<String>>>,
    /// What a COPY is sent.
    pub data: Option<String>,
    pub order: Order,
}

pub struct Generator {
    dice: Dice,
    bag: Vec<&'static str>,
    pub mix: BTreeMap<&'static str, usize>,
    in_block: bool,
    failed: bool,
    savepoints: Vec<String>,
    named: usize,
    fresh: i64,
}

const ANY: Order = Order::Keys { sorted: 0 };

impl Generator {
    pub fn new(seed: u64) -> Self {
        let bag = FORMS.iter().flat_map(|(form, weight)| std::iter::repeat_n(*form, *weight)).collect();
        let (mix, savepoints) = (BTreeMap::new(), Vec::new());
        Self { dice: Dice::new(seed), bag, mix, in_block: false, failed: false, savepoints, named: 0, fresh: 0 }
    }

    pub fn forms() -> impl Iterator<Item = &'static str> {
        FORMS.iter().map(|(form, _)| *form).chain(COMMANDS.iter().copied())
    }

    pub fn is_in_block(&self) -> bool {
        self.in_block
    }

    /// Follows what became of a statement.
    pub fn heed(&mut self, statement: &Statement, failed: bool) {
        match statement.form {
            "begin" if !failed => self.in_block = true,
            "commit" | "rollback" => {
                (self.in_block, self.failed) = (false, false);
                self.savepoints.clear();
            }
            "savepoint" if !failed => {
                let name = statement.sql.rsplit(' ').next().unwrap_or_default().to_owned();
                self.savepoints.push(name);
            }
            "release" if !failed => self.forget(&statement.sql, 0),
            "rollback to" if !failed => {
                self.failed = false;
                self.forget(&statement.sql, 1);
            }
            _ => {}
        }
        self.failed |= failed && self.in_block;
    }

    /// Forgets the savepoints behind the one that a command names, and that one unless `kept` is one.
    fn forget(&mut self, sql: &str, kept: usize) {
        let name = sql.rsplit(' ').next().unwrap_or_default();
        if let Some(at) = self.savepoints.iter().rposition(|own| own == name) {
            self.savepoints.truncate(at + kept);
        }
    }

    pub fn statement(&mut self) -> Statement {
        let statement = match self.command() {
            Some(command) => self.plain(command.0, command.1),
            None => {
                let form = self.bag[self.dice.below(self.bag.len())];
                self.write(form)
            }
        };
        *self.mix.entry(statement.form).or_default() += 1;
        statement
    }

    fn command(&mut self) -> Option<(&'static str, String)> {
        let savepoint = |dice: &mut Dice, all: &[String]| all[dice.below(all.len())].clone();
        match (self.in_block, self.failed, self.savepoints.is_empty()) {
            (false, ..) => self.dice.percent(25).then(|| ("begin", "BEGIN".to_owned())),
            (true, true, false) if self.dice.percent(60) => {
                Some(("rollback to", format!("ROLLBACK TO {}", savepoint(&mut self.dice, &self.savepoints))))
            }
            (true, true, _) if self.dice.percent(60) => Some(("rollback", "ROLLBACK".to_owned())),
            (true, true, _) if self.dice.percent(60) => Some(("commit", "COMMIT".to_owned())),
            (true, true, _) => None,
            (true, false, none) => match self.dice.below(100) {
                0..10 => Some(("commit", "COMMIT".to_owned())),
                10..13 => Some(("rollback", "ROLLBACK".to_owned())),
                13..23 => {
                    self.named += 1;
                    Some(("savepoint", format!("SAVEPOINT s{}", self.named % 5)))
                }
                23..26 if !none => {
                    Some(("rollback to", format!("ROLLBACK TO {}", savepoint(&mut self.dice, &self.savepoints))))
                }
                26..33 if !none => {
                    Some(("release", format!("RELEASE {}", savepoint(&mut self.dice, &self.savepoints))))
                }
                _ => None,
            },
        }
    }

    fn plain(&self, form: &'static str, sql: String) -> Statement {
        Statement { form, sql, values: None, data: None, order: ANY }
    }

    fn with_values(&self, form: &'static str, sql: String, values: Vec<Option<String>>) -> Statement {
        Statement { values: Some(values), ..self.plain(form, sql) }
    }

    fn key(&mut self) -> i64 {
        let key = i64::try_from(self.dice.below(60)).expect("small");
        if self.dice.percent(10) { -key * 1_000_000_007 } else { key }
    }

    /// Different keys.
    fn keys(&mut self, count: usize) -> Vec<i64> {
        let mut keys = Vec::new();
        while keys.len() < count {
            let key = self.key();
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        keys
    }

    fn some_keys(&mut self) -> Vec<i64> {
        let count = 2 + self.dice.below(7);
        self.keys(count)
    }

    /// Keys that few rows have.
    fn new_keys(&mut self) -> Vec<i64> {
        self.some_keys().into_iter().map(|key| key.abs() + 5_000_000_000_000).collect()
    }

    /// Keys that no statement has named before.
    fn fresh_keys(&mut self) -> Vec<i64> {
        let count = i64::try_from(2 + self.dice.below(7)).expect("small");
        self.fresh += count;
        (self.fresh..self.fresh + count).map(|number| number + 7_000_000_000_000).collect()
    }

    fn list(keys: &[i64]) -> String {
        keys.iter().map(i64::to_string).collect::<Vec<_>>().join(", ")
    }

    fn kind(&mut self) -> &'static str {
        ["0", "1", "2", "NULL"][self.dice.below(4)]
    }

    fn number(&mut self) -> usize {
        self.dice.below(100)
    }

    fn value(&mut self) -> String {
        let number = self.number();
        match self.dice.below(5) {
            0 => "DEFAULT".to_owned(),
            1 => "NULL".to_owned(),
            2 => format!("{number} + 1"),
            _ => number.to_string(),
        }
    }

    fn word(&mut self) -> String {
        match self.dice.below(4) {
            0 => "'it''s, (x)'".to_owned(),
            1 => "upper('abc')".to_owned(),
            2 => "NULL".to_owned(),
            _ => format!("'w{}'", self.number()),
        }
    }

    fn token(&mut self) -> String {
        let letter = ["a", "f", "g", "m", "p", "z"][self.dice.below(6)];
        format!("{letter}{}", self.dice.below(8))
    }

    fn account_rows(&mut self, keys: &[i64]) -> String {
        let rows: Vec<String> =
            keys.iter().map(|key| format!("({key}, {}, {}, {})", self.kind(), self.value(), self.word())).collect();
        rows.join(", ")
    }

    fn write(&mut self, form: &'static str) -> Statement {
        match form {
            "insert" => {
                let key = self.key();
                let sql = format!("INSERT INTO accounts VALUES {}", self.account_rows(&[key]));
                self.plain(form, sql)
            }
            "insert rows" => {
                let keys = self.some_keys();
                let sql = format!("INSERT INTO accounts VALUES {}", self.account_rows(&keys));
                self.plain(form, sql)
            }
            "insert rows returning" => {
                let keys = self.new_keys_or_some();
                let sql = format!(
                    "INSERT INTO accounts AS a (k, kind, v, s) VALUES {} RETURNING k, a.v, coalesce(s, '-') AS word, *",
                    self.account_rows(&keys)
                );
                Statement { order: Order::Total, ..self.plain(form, sql) }
            }
            "insert parameters" => self.insert_parameters(form),
            "insert colocated" => self.insert_colocated(form),
            "insert tokens" => {
                let rows: Vec<String> = (0..2 + self.dice.below(4))
                    .map(|_| {
                        format!("('{}', {}, '2024-02-{:02}')", self.token(), self.number(), 1 + self.dice.below(29))
                    })
                    .collect();
                self.plain(form, format!("INSERT INTO tokens (t, hits, at) VALUES {}", rows.join(", ")))
            }
            "upsert" => self.upsert(form),
            "upsert nothing" => {
                let keys = self.some_keys();
                let returning = if self.dice.percent(50) { " RETURNING k, s" } else { "" };
                let sql = format!(
                    "INSERT INTO accounts VALUES {} ON CONFLICT DO NOTHING{returning}",
                    self.account_rows(&keys)
                );
                self.plain(form, sql)
            }
            "insert select" => self.insert_select(form),
            "insert moved" => self.insert_moved(form),
            "insert gathered" => self.insert_gathered(form),
            "insert computed" => self.insert_computed(form),
            "change of key" => self.change_of_key(form),
            "merge" => self.merge(form),
            "merge rows" => self.merge_rows(form),
            "merge moved" => self.merge_moved(form),
            "update met" | "delete met" => self.met(form),
            _ if form.starts_with("update") => self.update(form),
            _ if form.starts_with("delete") => self.delete(form),
            _ if form.starts_with("copy") => self.copy(form),
            "read" => self.read(form),
            "count" => self.plain(form, "SELECT count(*), sum(v), min(k), max(k) FROM accounts".to_owned()),
            _ => self.mistake(form),
        }
    }

    /// Rows of a query that belong to other shards.
    fn insert_moved(&mut self, form: &'static str) -> Statement {
        let (step, number, limit) = (1 + self.number(), self.number(), 1 + self.dice.below(6));
        let conflict =
            ["", " ON CONFLICT DO NOTHING", " ON CONFLICT (k) DO UPDATE SET v = excluded.v + 1"][self.dice.below(3)];
        let returning = ["", " RETURNING k, v, s"][self.dice.below(2)];
        let query = match self.dice.below(3) {
            0 => format!("SELECT k + {step}, kind, v, 'm' || k % 100 FROM accounts WHERE abs(k) < {number}"),
            1 => format!("SELECT k - {step}, 1, {number}, s FROM accounts ORDER BY k DESC LIMIT {limit}"),
            _ => format!("SELECT n * 3 + {number}, n % 3, n, 'serie' FROM generate_series(1, {limit}) n"),
        };
        self.plain(form, format!("INSERT INTO accounts (k, kind, v, s) {query}{conflict}{returning}"))
    }

    /// Rows that only one PostgreSQL can make of those of several shards.
    fn insert_gathered(&mut self, form: &'static str) -> Statement {
        let number = self.number();
        let sql = match self.dice.below(3) {
            0 => format!(
                "INSERT INTO tokens (t, hits, d) SELECT 'g' || kind, count(*), sum(v) FROM accounts WHERE v < {number} \
                 GROUP BY kind HAVING kind IS NOT NULL ON CONFLICT (t) DO UPDATE SET hits = tokens.hits + excluded.hits \
                 RETURNING t, hits, d"
            ),
            1 => format!(
                "WITH top AS (SELECT k, max(x) AS x FROM entries GROUP BY k) INSERT INTO tokens (t, hits) \
                 SELECT 'top' || a.v, t.x FROM top t JOIN accounts a ON a.v = t.k WHERE t.x < {number}"
            ),
            _ => format!(
                "INSERT INTO kinds SELECT 100 + v % 50, max(s) FROM accounts WHERE v = {number} AND s <> '' GROUP BY v"
            ),
        };
        self.plain(form, sql)
    }

    fn insert_computed(&mut self, form: &'static str) -> Statement {
        let (number, key) = (self.number(), self.key());
        match self.dice.below(3) {
            0 => self.plain(form, format!("INSERT INTO accounts VALUES (length('abc') * {number}, 1, 2, 'c'), ({key}, 1, 2, 'd')")),
            1 => self.plain(
                form,
                format!("INSERT INTO accounts (k, v) VALUES ((SELECT coalesce(max(k), 0) + 1 FROM accounts WHERE k < {number}), 1) RETURNING k, v"),
            ),
            _ => {
                let values = vec![Some(number.to_string()), Some("x".to_owned()), Some(self.number().to_string())];
                let sql = "INSERT INTO tokens (hits, t) VALUES ($1, lower($2) || $3) RETURNING t".to_owned();
                self.with_values(form, sql, values)
            }
        }
    }

    fn change_of_key(&mut self, form: &'static str) -> Statement {
        let (token, other, number) = (self.token(), self.token(), self.number());
        match self.dice.below(4) {
            0 => self.plain(form, format!("UPDATE tokens SET t = '{token}', hits = hits + 1 WHERE t = '{other}'")),
            1 => {
                let sql = format!(
                    "UPDATE tokens AS o SET t = 'n' || o.t, d = {number} WHERE hits < {number} AND t < 'g' RETURNING o.t, hits"
                );
                self.plain(form, sql)
            }
            2 => {
                let values = vec![Some(token), Some(number.to_string())];
                self.with_values(form, "UPDATE tokens SET (t, at) = ($1, DEFAULT) WHERE hits = $2".to_owned(), values)
            }
            _ => {
                let (from, to) = (self.key(), self.key());
                self.plain(
                    form,
                    format!("UPDATE entries SET k = {to}, x = x + {number} WHERE k = {from} AND x < 3 RETURNING *"),
                )
            }
        }
    }

    fn new_keys_or_some(&mut self) -> Vec<i64> {
        if self.dice.percent(50) { self.new_keys() } else { self.some_keys() }
    }

    fn insert_parameters(&mut self, form: &'static str) -> Statement {
        let keys = self.some_keys();
        let (mut rows, mut values) = (Vec::new(), Vec::new());
        for key in keys {
            let at = values.len();
            rows.push(format!("(${}, 1, ${}, ${})", at + 1, at + 2, at + 3));
            values.push(Some(key.to_string()));
            values.push((!self.dice.percent(20)).then(|| self.number().to_string()));
            values.push((!self.dice.percent(20)).then(|| format!("p'{}", self.number())));
        }
        let tail = ["", " RETURNING v, k", " ON CONFLICT (k) DO UPDATE SET s = excluded.s"][self.dice.below(3)];
        let sql = format!("INSERT INTO accounts (k, kind, v, s) VALUES {}{tail}", rows.join(", "));
        self.with_values(form, sql, values)
    }

    fn insert_colocated(&mut self, form: &'static str) -> Statement {
        let keys = self.some_keys();
        let rows: Vec<String> = keys
            .iter()
            .map(|key| format!("({key}, {}, {}.{})", self.dice.below(6), self.number(), self.dice.below(100)))
            .collect();
        self.plain(form, format!("INSERT INTO entries (k, x, n) VALUES {}", rows.join(", ")))
    }

    fn upsert(&mut self, form: &'static str) -> Statement {
        let keys = self.some_keys();
        let rows = self.account_rows(&keys);
        let set = [
            "v = accounts.v + 1",
            "v = excluded.v, s = left(accounts.s || excluded.s, 12)",
            "(v, s) = (3, 'both')",
            "v = DEFAULT WHERE accounts.v > 20",
        ][self.dice.below(4)];
        let returning = if self.dice.percent(50) { " RETURNING *" } else { "" };
        let sql = format!("INSERT INTO accounts VALUES {rows} ON CONFLICT (k) DO UPDATE SET {set}{returning}");
        self.plain(form, sql)
    }

    fn insert_select(&mut self, form: &'static str) -> Statement {
        let (x, keys) = (self.dice.below(8), self.some_keys());
        let sql = match self.dice.below(3) {
            0 => format!(
                "INSERT INTO entries (k, x, n) SELECT k, {x}, v FROM accounts WHERE k IN ({})",
                Self::list(&keys)
            ),
            1 => format!("INSERT INTO entries SELECT a.k, {x} FROM accounts a WHERE a.v > 50 ON CONFLICT DO NOTHING"),
            _ => format!(
                "INSERT INTO entries (s, k, x) SELECT label || a.s, a.k, {x} FROM accounts a JOIN kinds ON id = kind \
                 ON CONFLICT (k, x) DO UPDATE SET s = excluded.s, n = entries.n + 1 RETURNING k, s"
            ),
        };
        self.plain(form, sql)
    }

    fn merge(&mut self, form: &'static str) -> Statement {
        let (x, number) = (self.dice.below(8), self.number());
        let sql = match self.dice.below(3) {
            0 => format!(
                "MERGE INTO entries e USING accounts a ON e.k = a.k AND e.x = {x} WHEN MATCHED AND a.v > {number} THEN \
                 DELETE WHEN MATCHED THEN UPDATE SET n = a.v, s = DEFAULT WHEN NOT MATCHED AND a.v < 50 THEN INSERT \
                 (x, k, s) VALUES ({x}, a.k, a.s)"
            ),
            1 => format!(
                "MERGE INTO accounts a USING entries e ON e.k = a.k AND e.x = {x} WHEN MATCHED THEN UPDATE SET \
                 v = a.v + {number} WHEN NOT MATCHED THEN DO NOTHING"
            ),
            _ => "MERGE INTO accounts USING kinds ON kind = id WHEN MATCHED AND v < 90 THEN UPDATE SET s = label"
                .to_owned(),
        };
        self.plain(form, sql)
    }

    /// Rows that the statement gives, some of which are there.
    fn merge_rows(&mut self, form: &'static str) -> Statement {
        let (mut keys, number) = (self.some_keys(), self.number());
        if self.dice.percent(10) {
            keys.push(keys[0]);
        }
        let actions = "WHEN MATCHED AND s.v % 5 = 1 THEN DELETE WHEN MATCHED THEN UPDATE SET v = s.v, s = DEFAULT \
                       WHEN NOT MATCHED THEN INSERT (v, k, kind) VALUES (s.v, s.k, 1)";
        if self.dice.percent(40) {
            let sql = format!(
                "MERGE INTO accounts a USING (SELECT unnest($1::int8[]) AS k, $2::int4 AS v) s ON s.k = a.k {actions}"
            );
            let list = format!("{{{}}}", Self::list(&keys).replace(' ', ""));
            return self.with_values(form, sql, vec![Some(list), Some(number.to_string())]);
        }
        let row = |key: &i64| format!("({key}, {})", (number + key.unsigned_abs() as usize) % 100);
        let rows: Vec<String> = keys.iter().map(row).collect();
        self.plain(
            form,
            format!("MERGE INTO accounts a USING (VALUES {}) s (k, v) ON a.k = s.k {actions}", rows.join(", ")),
        )
    }

    /// Rows of tables that are sharded otherwise.
    fn merge_moved(&mut self, form: &'static str) -> Statement {
        let list = Self::list(&self.some_keys());
        let sql = match self.dice.below(4) {
            0 => format!(
                "MERGE INTO tokens USING (SELECT 'm' || k AS t, v FROM accounts WHERE k IN ({list})) s ON tokens.t = s.t \
                 WHEN MATCHED AND s.v < 20 THEN DELETE WHEN MATCHED THEN UPDATE SET hits = s.v WHEN NOT MATCHED THEN \
                 INSERT (t, hits) VALUES (s.t, coalesce(s.v, 1))"
            ),
            1 => "MERGE INTO accounts a USING (SELECT x * 7 AS k, count(*) AS n, max(s) AS s FROM entries GROUP BY x) e ON a.k = e.k \
                  WHEN MATCHED THEN UPDATE SET s = e.s WHEN NOT MATCHED AND n > 0 THEN INSERT (k, v) VALUES (e.k, e.n)"
                .to_owned(),
            2 => format!(
                "MERGE INTO kinds USING (SELECT k, s FROM accounts WHERE k IN ({list}) AND k BETWEEN 3 AND 9) a ON a.k = id \
                 WHEN MATCHED THEN UPDATE SET label = coalesce(a.s, label) WHEN NOT MATCHED THEN INSERT VALUES (a.k, a.s)"
            ),
            _ => "MERGE INTO accounts a USING kinds ON a.k = kinds.id WHEN MATCHED AND a.v > 80 THEN DO NOTHING WHEN MATCHED \
                  THEN UPDATE SET s = label WHEN NOT MATCHED THEN INSERT (k, kind) VALUES (kinds.id, kinds.id)"
                .to_owned(),
        };
        self.plain(form, sql)
    }

    fn met(&mut self, form: &'static str) -> Statement {
        let (number, x) = (self.number(), self.dice.below(8));
        let sql = match (form, self.dice.below(2)) {
            ("update met", 0) => format!(
                "UPDATE accounts a SET v = e.n, s = e.s FROM (SELECT x, count(*) AS n, max(s) AS s FROM entries GROUP BY x) e \
                 WHERE e.x = a.k AND a.v > {number} RETURNING a.k, a.s, e.n"
            ),
            ("update met", _) => format!(
                "UPDATE tokens t SET d = e.n FROM entries e JOIN accounts a USING (k) WHERE 'm' || e.k = t.t AND e.x = {x} \
                 RETURNING t.t, e.n, a.v"
            ),
            (_, 0) => format!(
                "DELETE FROM tokens t USING accounts a WHERE t.t = 'm' || a.k AND a.v > {number} RETURNING t.t, a.v"
            ),
            _ => format!(
                "DELETE FROM kinds USING accounts a WHERE a.k = kinds.id AND kinds.id > 2 AND a.v > {number} RETURNING id"
            ),
        };
        self.plain(form, sql)
    }

    fn update(&mut self, form: &'static str) -> Statement {
        let (keys, number) = (self.some_keys(), self.number());
        let list = Self::list(&keys);
        let sql = match form {
            "update one" => format!("UPDATE accounts SET v = v + 1, s = {} WHERE k = {}", self.word(), keys[0]),
            "update some" if self.dice.percent(30) => {
                let sql = "UPDATE accounts SET v = $1 WHERE k IN ($2, $3, $4) AND s IS NOT NULL".to_owned();
                let values = [i64::try_from(number).expect("small"), keys[0], keys[1], keys[0] + 1];
                return self.with_values(form, sql, values.iter().map(|value| Some(value.to_string())).collect());
            }
            "update some" => format!("UPDATE entries SET n = n * 2, s = {} WHERE k IN ({list}) AND x < 4", self.word()),
            "update all" => format!("UPDATE tokens SET hits = hits + {number}, d = hits / 7.0 WHERE hits < {number}"),
            "update returning" => {
                format!("UPDATE accounts a SET v = DEFAULT WHERE v > {number} RETURNING a.*, v + 1 AS next")
            }
            "update from" => [
                "UPDATE entries e SET s = a.s || kinds.label FROM accounts a JOIN kinds ON kinds.id = a.kind \
                 WHERE a.k = e.k AND e.x = 1 RETURNING e.k, e.s",
                "UPDATE accounts SET s = label FROM kinds WHERE kinds.id = kind AND v < 30",
            ][self.dice.below(2)]
            .to_owned(),
            _ => format!("UPDATE kinds SET label = 'l{number}' WHERE id = {}", self.dice.below(4)),
        };
        self.plain(form, sql)
    }

    fn delete(&mut self, form: &'static str) -> Statement {
        let keys = self.some_keys();
        let list = Self::list(&keys);
        let sql = match form {
            "delete one" => format!("DELETE FROM accounts WHERE k = {} RETURNING v", keys[0]),
            "delete some" => match self.dice.below(4) {
                0 => format!("DELETE FROM accounts WHERE k IN ({list}) RETURNING *"),
                1 => "DELETE FROM accounts WHERE k > 1000000000000".to_owned(),
                2 => format!("DELETE FROM tokens WHERE t >= '{}' AND hits % 3 = 1", self.token()),
                _ => format!("DELETE FROM entries WHERE k IN ({list})"),
            },
            _ => "DELETE FROM entries USING accounts a WHERE a.k = entries.k AND (a.v < 5 OR a.s LIKE 'p%') \
                  RETURNING x, a.kind"
                .to_owned(),
        };
        self.plain(form, sql)
    }

    fn copy(&mut self, form: &'static str) -> Statement {
        // A key that is taken is found only when the rows are stored.
        let keys = if form == "copy in" { self.some_keys() } else { self.fresh_keys() };
        let mut data: String =
            keys.iter().map(|key| format!("{key}\t{}\tc\\\\{}\n", self.number(), self.number())).collect();
        if form == "copy of a bad line" {
            data.push_str("7\tmany\tx\n");
        }
        Statement { data: Some(data), ..self.plain(form, "COPY accounts (k, v, s) FROM STDIN".to_owned()) }
    }

    fn read(&mut self, form: &'static str) -> Statement {
        let sql = match self.dice.below(3) {
            0 => "SELECT * FROM accounts ORDER BY k".to_owned(),
            1 => "SELECT e.*, a.v FROM entries e JOIN accounts a USING (k) ORDER BY e.k, x".to_owned(),
            _ => format!("SELECT * FROM tokens WHERE t > '{}' ORDER BY t", self.token()),
        };
        Statement { order: Order::Total, ..self.plain(form, sql) }
    }

    /// What PostgreSQL refuses for one of several rows.
    fn mistake(&mut self, form: &'static str) -> Statement {
        let keys = self.fresh_keys();
        let at = self.dice.below(keys.len());
        let rows = |bad: &str, good: &str| {
            let row = |(place, key): (usize, &i64)| format!("({key}, {})", if place == at { bad } else { good });
            keys.iter().enumerate().map(row).collect::<Vec<_>>().join(", ")
        };
        let sql = match form {
            "null key" => format!("INSERT INTO accounts (k, v) VALUES {}, (NULL, 1)", rows("1", "1")),
            "broken check" => format!("INSERT INTO accounts (k, v) VALUES {}", rows("10001", "1")),
            "broken reference" => format!("INSERT INTO accounts (k, kind) VALUES {}", rows("99", "1")),
            "bad literal" => format!("INSERT INTO accounts (k, v) VALUES {}", rows("'many'", "'1'")),
            "too long" => format!("INSERT INTO accounts (k, s) VALUES {}", rows("'much too long a word'", "'short'")),
            "no such column" => "UPDATE accounts SET w = 1".to_owned(),
            _ => format!("UPDATE accounts SET v = 100 / (k - {}) WHERE k < 1000", self.key()),
        };
        self.plain(form, sql)
    }
}
