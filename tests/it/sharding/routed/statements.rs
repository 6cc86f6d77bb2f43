//! Random statements for one shard, and a few for several.

use std::collections::BTreeMap;

use super::super::random::Dice;
use super::tables::{Space, literal};

/// A statement with its parameters.
pub struct Statement {
    pub form: &'static str,
    pub sql: String,
    pub parameters: Vec<Bound>,
    /// The keyspace and the value of the first key that it names.
    pub first: (usize, &'static str),
}

pub struct Bound {
    /// 0: not declared.
    pub oid: u32,
    pub is_binary: bool,
    pub value: Vec<u8>,
}

/// Every form, with its weight.
pub const FORMS: &[(&str, usize)] = &[
    ("equality", 4),
    ("in", 3),
    ("any of an array", 3),
    ("any of a literal", 3),
    ("any of a parameter", 3),
    ("not distinct", 3),
    ("row equality", 3),
    ("row in", 3),
    ("between", 1),
    ("range", 1),
    ("or", 3),
    ("not", 3),
    ("folded", 3),
    ("join on", 4),
    ("join using", 3),
    ("natural join", 3),
    ("left join", 3),
    ("reference join", 3),
    ("with", 3),
    ("recursive", 3),
    ("subquery in from", 3),
    ("exists", 3),
    ("in a query", 3),
    ("scalar subquery", 3),
    ("union", 3),
    ("lateral", 3),
    ("view", 4),
    ("grouped", 3),
    ("window", 3),
    ("several keys", 1),
    ("trap", 1),
];

pub struct Generator {
    dice: Dice,
    pub spaces: Vec<Space>,
    pub mix: BTreeMap<&'static str, usize>,
    bag: Vec<&'static str>,
    place: usize,
    parameters: Vec<Bound>,
    with_parameters: bool,
}

impl Generator {
    pub fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let spaces = Space::all(&mut dice);
        let bag = FORMS.iter().flat_map(|(form, weight)| std::iter::repeat_n(*form, *weight)).collect();
        let (mix, parameters) = (BTreeMap::new(), Vec::new());
        Self { dice, spaces, mix, bag, place: 0, parameters, with_parameters: false }
    }

    pub fn percent(&mut self, chance: usize) -> bool {
        self.dice.percent(chance)
    }

    pub fn statement(&mut self) -> Statement {
        let form = self.bag[self.dice.below(self.bag.len())];
        *self.mix.entry(form).or_default() += 1;
        self.place = self.dice.below(self.spaces.len());
        self.with_parameters = form == "any of a parameter" || self.dice.percent(50);
        self.parameters.clear();
        let value = self.value();
        let sql = self.text(form, value);
        Statement { form, sql, parameters: std::mem::take(&mut self.parameters), first: (self.place, value) }
    }

    fn space(&self) -> &Space {
        &self.spaces[self.place]
    }

    fn value(&mut self) -> &'static str {
        let values = self.space().kind.values;
        values[self.dice.below(values.len())]
    }

    /// A value as a literal, a cast, or a parameter.
    fn operand(&mut self, value: &str) -> String {
        let kind = self.space().kind;
        let is_number = kind.name.starts_with("int") || kind.name == "numeric";
        match self.dice.below(4) {
            _ if self.with_parameters => self.parameter(value),
            0 if is_number => value.to_owned(),
            1 => format!("{}::{}", literal(value), kind.name),
            2 if kind.name == "int4" => format!("{}::int8", literal(value)),
            _ => literal(value),
        }
    }

    fn parameter(&mut self, value: &str) -> String {
        let kind = self.space().kind;
        let is_declared = self.dice.percent(60);
        let binary = binary(kind.name, value).filter(|_| is_declared && self.dice.percent(50));
        let oid = if is_declared { kind.oid } else { 0 };
        self.bind(oid, binary.is_some(), binary.unwrap_or_else(|| value.as_bytes().to_vec()))
    }

    fn bind(&mut self, oid: u32, is_binary: bool, value: Vec<u8>) -> String {
        self.parameters.push(Bound { oid, is_binary, value });
        format!("${}", self.parameters.len())
    }

    fn in_region(&self, alias: &str, value: &str) -> String {
        let space = self.space();
        if space.is_geo { format!("{alias}.region = '{}' AND ", space.region(value)) } else { String::new() }
    }

    /// The key has this value.
    fn is(&mut self, alias: &str, value: &str) -> String {
        let (region, operand) = (self.in_region(alias, value), self.operand(value));
        if self.dice.percent(20) {
            format!("{region}{operand} = {alias}.k")
        } else {
            format!("{region}{alias}.k = {operand}")
        }
    }

    /// Rows of two tables with one key.
    fn same(&self, one: &str, other: &str) -> String {
        let region = if self.space().is_geo { format!("{one}.region = {other}.region AND ") } else { String::new() };
        format!("{region}{one}.k = {other}.k")
    }

    fn array(value: &str) -> String {
        let escaped = value.replace('\\', "\\\\").replace('"', "\\\"");
        format!("{{\"{escaped}\",NULL,\"{escaped}\"}}")
    }

    fn text(&mut self, form: &str, value: &'static str) -> String {
        let Space { name, is_geo, kind } = self.space().clone();
        let key = self.space().key();
        let region = self.in_region("a", value);
        match form {
            "equality" => format!("SELECT * FROM {name}_a a WHERE {}", self.is("a", value)),
            "in" => format!(
                "SELECT * FROM {name}_a a WHERE {region}a.k IN ({}, {})",
                self.operand(value),
                self.operand(value)
            ),
            "any of an array" => {
                let (one, two) = (self.operand(value), self.operand(value));
                format!("SELECT * FROM {name}_a a WHERE {region}a.k = ANY (ARRAY[{one}, {two}]::{}[])", kind.name)
            }
            "any of a literal" => {
                format!("SELECT * FROM {name}_a a WHERE {region}a.k = ANY ({})", literal(&Self::array(value)))
            }
            "any of a parameter" => {
                let oid = if self.dice.percent(50) { kind.array_oid } else { 0 };
                let array = self.bind(oid, false, Self::array(value).into_bytes());
                format!("SELECT * FROM {name}_a a WHERE {region}a.k = ANY ({array})")
            }
            "not distinct" => {
                format!("SELECT * FROM {name}_a a WHERE {region}a.k IS NOT DISTINCT FROM {}", self.operand(value))
            }
            "row equality" => {
                format!("SELECT * FROM {name}_a a WHERE {region}(a.k, a.x) = ({}, 2)", self.operand(value))
            }
            "row in" => {
                let (one, two) = (self.operand(value), self.operand(value));
                format!("SELECT * FROM {name}_a a WHERE {region}(a.k, a.x) IN (({one}, 1), ({two}, 2))")
            }
            "between" => {
                let (one, two) = (self.operand(value), self.operand(value));
                format!("SELECT * FROM {name}_a a WHERE {region}a.k BETWEEN {one} AND {two}")
            }
            "range" => {
                let (one, two) = (self.operand(value), self.operand(value));
                format!("SELECT * FROM {name}_a a WHERE {region}a.k >= {one} AND NOT (a.k > {two})")
            }
            "or" => {
                let (one, two) = (self.is("a", value), self.is("a", value));
                format!("SELECT * FROM {name}_a a WHERE ({one} AND a.x = 1) OR ({two} AND a.y = 'y2')")
            }
            "not" => format!("SELECT * FROM {name}_a a WHERE {region}NOT (a.k <> {} OR a.x < 1)", self.operand(value)),
            "folded" => self.folded(value),
            "join on" => {
                let (same, is) = (self.same("a", "b"), self.is("b", value));
                format!("SELECT a.y, b.z FROM {name}_a a JOIN {name}_b b ON {same} WHERE {is} AND a.x <= b.x")
            }
            "join using" => {
                format!("SELECT * FROM {name}_a a JOIN {name}_b b USING ({key}, x) WHERE {}", self.is("a", value))
            }
            "natural join" => format!("SELECT * FROM {name}_a a NATURAL JOIN {name}_b b WHERE {}", self.is("b", value)),
            "left join" => {
                let (same, is) = (self.same("a", "b"), self.is("a", value));
                format!("SELECT a.x, b.z FROM {name}_a a LEFT JOIN {name}_b b ON {same} AND b.x = a.x WHERE {is}")
            }
            "reference join" => format!("SELECT * FROM {name}_a a LEFT JOIN r USING (x) WHERE {}", self.is("a", value)),
            "with" => {
                format!("WITH q AS (SELECT * FROM {name}_a) SELECT q.x, q.y FROM q WHERE {}", self.is("q", value))
            }
            "recursive" => {
                let (one, two) = (self.is("a", value), self.is("a", value));
                format!(
                    "WITH RECURSIVE t AS (SELECT a.x FROM {name}_a a WHERE {one} AND a.x = 0 UNION ALL \
                     SELECT a.x FROM {name}_a a JOIN t ON a.x = t.x + 1 WHERE {two}) SELECT x FROM t"
                )
            }
            "subquery in from" => {
                let is = self.is("q", value);
                format!("SELECT q.x, count(*) FROM (SELECT DISTINCT {key}, x FROM {name}_a) q WHERE {is} GROUP BY 1")
            }
            "exists" => {
                let (same, is) = (self.same("b", "a"), self.is("b", value));
                format!(
                    "SELECT a.x FROM {name}_a a WHERE EXISTS (SELECT 1 FROM {name}_b b WHERE {same} AND {is} AND b.x = a.x)"
                )
            }
            "in a query" => {
                let columns = if is_geo { "(a.region, a.k)" } else { "a.k" };
                format!(
                    "SELECT a.x FROM {name}_a a WHERE {columns} IN (SELECT {key} FROM {name}_b b WHERE {})",
                    self.is("b", value)
                )
            }
            "scalar subquery" => {
                let (same, is) = (self.same("b", "a"), self.is("a", value));
                format!(
                    "SELECT a.x, (SELECT max(b.z) FROM {name}_b b WHERE {same} AND b.x > a.x) FROM {name}_a a WHERE {is}"
                )
            }
            "union" => {
                let (one, two) = (self.is("a", value), self.is("b", value));
                format!("SELECT x, y FROM {name}_a a WHERE {one} UNION SELECT x, z FROM {name}_b b WHERE {two}")
            }
            "lateral" => {
                let (same, is) = (self.same("b", "a"), self.is("a", value));
                format!(
                    "SELECT a.x, q.z FROM {name}_a a, LATERAL (SELECT b.z FROM {name}_b b WHERE {same} AND b.x > a.x \
                     ORDER BY b.x LIMIT 1) q WHERE {is}"
                )
            }
            "view" => format!("SELECT v.x, v.y FROM {name}_v v WHERE {}", self.is("v", value)),
            "grouped" => {
                format!(
                    "SELECT a.y, count(*), sum(a.x) FROM {name}_a a WHERE {} GROUP BY a.y HAVING count(*) > 0",
                    self.is("a", value)
                )
            }
            "window" => {
                format!("SELECT a.x, lag(a.x) OVER (ORDER BY a.x) FROM {name}_a a WHERE {}", self.is("a", value))
            }
            "several keys" => {
                let other = self.value();
                let (one, two) = (self.is("a", value), self.is("a", other));
                format!("SELECT a.x, a.y FROM {name}_a a WHERE ({one}) OR ({two})")
            }
            _ => self.trap(value),
        }
    }

    fn folded(&mut self, value: &'static str) -> String {
        let Space { name, kind, .. } = self.space().clone();
        let region = self.in_region("a", value);
        let split = (1..value.len()).find(|at| value.is_char_boundary(*at));
        let folded = match (kind.name, split) {
            ("int2" | "int4", _) => format!("{value} * 2 - ({value})"),
            ("text" | "varchar", Some(at)) => format!("{} || {}", literal(&value[..at]), literal(&value[at..])),
            _ => self.operand(value),
        };
        format!("SELECT * FROM {name}_a a WHERE {region}a.k = {folded}")
    }

    /// The first equality is not the one that decides.
    fn trap(&mut self, value: &'static str) -> String {
        let name = self.space().name;
        let (other, is) = (self.value(), self.is("b", value));
        match self.dice.below(5) {
            0 => {
                let second = self.is("b", other);
                format!("SELECT b.x FROM {name}_b b WHERE {is} UNION ALL SELECT b.x FROM {name}_b b WHERE {second}")
            }
            1 => format!("SELECT a.x FROM {name}_a a WHERE EXISTS (SELECT 1 FROM {name}_b b WHERE {is})"),
            2 => format!("SELECT ({is}), b.x FROM {name}_b b"),
            3 => format!("SELECT a.x, b.z FROM {name}_a a LEFT JOIN {name}_b b ON {is} AND a.x = b.x"),
            _ => format!("SELECT b.x FROM {name}_b b WHERE NOT ({is})"),
        }
    }
}

/// The binary form, where it is simple.
fn binary(kind: &str, value: &str) -> Option<Vec<u8>> {
    match kind {
        "int2" => value.parse::<i16>().ok().map(|value| value.to_be_bytes().to_vec()),
        "int4" => value.parse::<i32>().ok().map(|value| value.to_be_bytes().to_vec()),
        "int8" => value.parse::<i64>().ok().map(|value| value.to_be_bytes().to_vec()),
        "text" | "varchar" => Some(value.as_bytes().to_vec()),
        "uuid" => {
            let digits: String = value.chars().filter(char::is_ascii_hexdigit).collect();
            u128::from_str_radix(&digits, 16).ok().map(|value| value.to_be_bytes().to_vec())
        }
        _ => None,
    }
}
