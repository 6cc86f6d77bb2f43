//! Tables over the four methods, with key types by the seed, and their rows.

use super::super::random::Dice;

/// A type of keys: a few values in ascending order, as a server prints them.
#[derive(Clone, Copy, Debug)]
pub struct KeyKind {
    pub name: &'static str,
    pub oid: u32,
    pub array_oid: u32,
    pub values: &'static [&'static str],
}

const INTEGERS: &[&str] = &["-7", "0", "5", "42", "150", "777", "30000"];

pub const KINDS: &[KeyKind] = &[
    KeyKind { name: "int2", oid: 21, array_oid: 1005, values: INTEGERS },
    KeyKind { name: "int4", oid: 23, array_oid: 1007, values: INTEGERS },
    KeyKind {
        name: "int8",
        oid: 20,
        array_oid: 1016,
        values: &["-9223372036854775808", "-7", "0", "5", "150", "9007199254740992", "9007199254740993"],
    },
    KeyKind {
        name: "text",
        oid: 25,
        array_oid: 1009,
        values: &["", "Ada", "O'Hara", "back\\slash", "m 5", "zoo", "\u{e9}t\u{e9}"],
    },
    KeyKind { name: "varchar", oid: 1043, array_oid: 1015, values: &["A", "B2", "a", "b", "c d", "x", "\u{3b6}"] },
    KeyKind {
        name: "uuid",
        oid: 2950,
        array_oid: 2951,
        values: &[
            "00000000-0000-0000-0000-000000000001",
            "11111111-2222-3333-4444-555555555555",
            "40000000-0000-4000-8000-000000000000",
            "7fffffff-ffff-ffff-ffff-ffffffffffff",
            "aaaaaaaa-0000-0000-0000-000000000000",
            "f0000000-0000-0000-0000-00000000000a",
        ],
    },
    KeyKind {
        name: "date",
        oid: 1082,
        array_oid: 1182,
        values: &["1969-12-31", "1999-12-31", "2000-01-01", "2000-02-29", "2024-06-01", "9999-12-31"],
    },
    KeyKind {
        name: "timestamp",
        oid: 1114,
        array_oid: 1115,
        values: &[
            "1969-12-31 23:59:59.999999",
            "2000-01-01 00:00:00",
            "2000-01-01 00:00:00.000001",
            "2012-06-30 12:00:00",
            "2024-02-29 01:02:03.5",
        ],
    },
    KeyKind {
        name: "timestamptz",
        oid: 1184,
        array_oid: 1185,
        values: &[
            "1969-12-31 23:59:59+00",
            "2000-01-01 00:00:00+00",
            "2012-06-30 12:00:00+00",
            "2024-02-29 01:02:03.5+00",
        ],
    },
    KeyKind {
        name: "numeric",
        oid: 1700,
        array_oid: 1231,
        values: &["-3.5", "0", "1.5", "100", "12345678901234567890", "12345678901234567890.5"],
    },
];

/// The tables of one keyspace: `<name>_a` and `<name>_b`, and the view `<name>_v` of the first.
#[derive(Clone, Debug)]
pub struct Space {
    pub name: &'static str,
    pub kind: KeyKind,
    /// The key has the column `region` in front.
    pub is_geo: bool,
}

const REGIONS: [&str; 2] = ["eu", "us"];

impl Space {
    /// One for each method.
    pub fn all(dice: &mut Dice) -> Vec<Self> {
        let space = |name, dice: &mut Dice| Self { name, kind: KINDS[dice.below(KINDS.len())], is_geo: name == "geo" };
        ["hash", "range", "dir", "geo"].map(|name| space(name, dice)).into()
    }

    pub fn region(&self, value: &str) -> &'static str {
        let place = self.kind.values.iter().position(|known| *known == value).unwrap_or(0);
        REGIONS[place % 2]
    }

    /// The columns of the key.
    pub fn key(&self) -> &'static str {
        if self.is_geo { "region, k" } else { "k" }
    }

    fn keyspace(&self) -> String {
        let kind = self.kind;
        let name = self.name;
        let quoted = |value: &str| format!("'''{value}'''");
        let method = match name {
            "hash" => "method = \"hash\"".to_owned(),
            "range" => {
                let (low, high) = (quoted(kind.values[2]), quoted(kind.values[3]));
                format!(
                    "method = \"range\"\nranges = [\n{{ from = \"MINVALUE\", to = {low}, shard = \"one\" }},\n\
                     {{ from = {low}, to = {high}, shard = \"two\" }},\n\
                     {{ from = {high}, to = \"MAXVALUE\", shard = \"three\" }},\n]"
                )
            }
            "dir" => format!(
                "method = \"directory\"\ndefault_shard = \"three\"\nvalues = {{ one = [{}, {}], two = [{}] }}",
                quoted(kind.values[0]),
                quoted(kind.values[1]),
                quoted(kind.values[2])
            ),
            _ => "method = \"geo\"\nregion_column = \"region\"\nbuckets = 64\n\
                  regions = { eu = { shards = [\"one\", \"two\"] }, us = { shards = [\"three\"] } }"
                .to_owned(),
        };
        format!("[keyspaces.{name}]\nkey_type = \"{}\"\n{method}\n", kind.name)
    }

    fn create(&self) -> Vec<String> {
        let (name, kind) = (self.name, self.kind.name);
        let region = if self.is_geo { "region text NOT NULL, " } else { "" };
        let key = self.key();
        let mut tables = vec![
            format!(
                "CREATE TABLE {name}_a ({region}k {kind} NOT NULL, x int4, y text, f float8, PRIMARY KEY ({key}, x))"
            ),
            format!("CREATE TABLE {name}_b ({region}k {kind} NOT NULL, x int4, z text, PRIMARY KEY ({key}, x))"),
            format!("CREATE VIEW {name}_v AS SELECT {key}, x, y FROM {name}_a WHERE x >= 0 AND y <> 'none'"),
        ];
        for value in self.kind.values {
            let region = if self.is_geo { format!("'{}', ", self.region(value)) } else { String::new() };
            let literal = literal(value);
            let row = |x: usize, rest: &str| format!("({region}{literal}, {x}, {rest})");
            let a: Vec<String> = (0..4).map(|x| row(x, &format!("'y{}', {x}.5", x % 3))).collect();
            let b: Vec<String> = (1..4).map(|x| row(x, &format!("'z{x}'"))).collect();
            tables.push(format!("INSERT INTO {name}_a VALUES {}", a.join(", ")));
            tables.push(format!("INSERT INTO {name}_b VALUES {}", b.join(", ")));
        }
        tables
    }
}

pub fn literal(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}

pub fn shard_map(spaces: &[Space]) -> String {
    let mut map: String = spaces.iter().map(Space::keyspace).collect();
    map.push_str("[tables]\nr = { reference = true }\n");
    for Space { name, .. } in spaces {
        for table in ["a", "b"] {
            map.push_str(&format!("{name}_{table} = {{ keyspace = \"{name}\", key = \"k\" }}\n"));
        }
    }
    map
}

/// What makes the tables and fills them.
pub fn setup(spaces: &[Space]) -> Vec<String> {
    let mut all = vec![
        "CREATE TABLE r (x int4 PRIMARY KEY, label text)".to_owned(),
        "INSERT INTO r VALUES (0, 'zero'), (1, 'one'), (2, 'two')".to_owned(),
    ];
    all.extend(spaces.iter().flat_map(Space::create));
    all
}
