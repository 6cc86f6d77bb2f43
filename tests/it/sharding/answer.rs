//! What a client is answered, and when two answers are the same.

use std::collections::HashMap;

use weir::wire::backend::{self, tag};
use weir::wire::frontend::{self, Target};

use crate::harness::{Message, RawClient};

/// A row's values as texts, those in binary format as digits; `None` for NULL.
pub type Row = Vec<Option<String>>;

/// The answer to one statement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Name, type and type modifier.
    pub columns: Vec<(String, u32, i32)>,
    pub rows: Vec<Row>,
    /// The command tag; empty after an error.
    pub command: String,
    pub error: Option<Failure>,
}

/// An ErrorResponse.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failure {
    pub sqlstate: String,
    pub message: String,
    pub detail: String,
    pub hint: String,
    pub context: String,
}

/// How much of the order of its rows a statement determines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The rows form a multiset; so do their first `sorted` columns' values in this very sequence.
    Keys { sorted: usize },
    /// Every row has its place.
    Total,
}

impl Failure {
    fn read(message: &Message) -> Self {
        let field = |code| message.field(code).unwrap_or_default();
        let (sqlstate, message, detail) = (field(b'C'), field(b'M'), field(b'D'));
        Self { sqlstate, message, detail, hint: field(b'H'), context: field(b'W') }
    }
}

impl Answer {
    /// The statement was refused as not supported; why.
    pub fn refusal(&self) -> Option<&Failure> {
        self.error.as_ref().filter(|error| error.sqlstate == "0A000")
    }

    pub fn sqlstate(&self) -> Option<&str> {
        self.error.as_ref().map(|error| error.sqlstate.as_str())
    }

    /// The values of an answer with one column, joined by commas; an error's SQLSTATE.
    pub fn brief(&self) -> String {
        if let Some(error) = &self.error {
            return error.sqlstate.clone();
        }
        if self.columns.is_empty() {
            return self.command.clone();
        }
        let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "NULL".to_owned());
        let row = |row: &Row| row.iter().map(value).collect::<Vec<_>>().join("|");
        self.rows.iter().map(row).collect::<Vec<_>>().join(",")
    }

    /// Says how `other` differs from this answer; `None` when a client cannot tell them apart. An error's rows do not
    /// count: how many came before it is left open.
    pub fn difference(&self, other: &Self, order: Order) -> Option<String> {
        match (self.sqlstate(), other.sqlstate()) {
            (None, None) => {}
            (own, theirs) if own == theirs => return None,
            (own, theirs) => {
                return Some(format!(
                    "SQLSTATE {own:?} and {theirs:?}: {:?}",
                    self.error.as_ref().or(other.error.as_ref())
                ));
            }
        }
        if self.columns != other.columns {
            return Some(format!("columns {:?} and {:?}", self.columns, other.columns));
        }
        if self.command != other.command {
            return Some(format!("command tags {} and {}", self.command, other.command));
        }
        if self.in_order(order) != other.in_order(order) {
            return Some(format!("the rows come in another order: {} and {}", self.brief(), other.brief()));
        }
        (counted(&self.rows) != counted(&other.rows)).then(|| format!("rows {} and {}", self.brief(), other.brief()))
    }

    /// With floating-point values of ten digits: the last ones of a sum depend on the order in which it was added up.
    pub fn with_rounded_floats(&self) -> Self {
        let mut rounded = self.clone();
        for row in &mut rounded.rows {
            let floats = row.iter_mut().zip(&self.columns).filter(|(_, (_, oid, _))| [700, 701].contains(oid));
            for value in floats.filter_map(|(value, _)| value.as_mut()) {
                *value = round(value);
            }
        }
        rounded
    }

    /// Whether every row is one of `other`'s, counting equal ones.
    pub fn is_part_of(&self, other: &Self) -> bool {
        let theirs = counted(&other.rows);
        counted(&self.rows).into_iter().all(|(row, count)| theirs.get(row).is_some_and(|there| count <= *there))
    }

    /// What the order determines.
    fn in_order(&self, order: Order) -> Vec<&[Option<String>]> {
        let columns = |row: &Row| match order {
            Order::Total => row.len(),
            Order::Keys { sorted } => sorted.min(row.len()),
        };
        self.rows.iter().map(|row| &row[..columns(row)]).collect()
    }
}

/// A floating-point value in text, or the digits of its binary form.
fn round(value: &str) -> String {
    let number = match (value.len(), u64::from_str_radix(value, 16)) {
        (16, Ok(bits)) => f64::from_bits(bits),
        (8, Ok(bits)) => f32::from_bits(u32::try_from(bits).expect("eight digits")).into(),
        _ => value.parse().expect("a floating-point value"),
    };
    format!("{number:.9e}")
}

fn counted(rows: &[Row]) -> HashMap<&Row, usize> {
    let mut counts = HashMap::new();
    rows.iter().for_each(|row| *counts.entry(row).or_default() += 1);
    counts
}

/// Sends a simple Query; gives the answer to each of its statements, up to the first error.
pub fn simple(client: &mut RawClient, text: &str) -> Vec<Answer> {
    answers(&client.query(text))
}

/// Sends a simple Query of one statement.
pub fn ask(client: &mut RawClient, text: &str) -> Answer {
    let mut answers = simple(client, text);
    assert_eq!(answers.len(), 1, "{text}: {answers:?}");
    answers.remove(0)
}

/// The answer to one statement that was sent before.
pub fn answer(client: &mut RawClient) -> Answer {
    let mut answers = answers(&client.until_ready());
    assert_eq!(answers.len(), 1, "{answers:?}");
    answers.remove(0)
}

/// Runs statements one by one; each must be answered like that: values, command tag or SQLSTATE.
pub fn story(client: &mut RawClient, steps: &[(&str, &str)]) {
    for (number, (sql, expected)) in steps.iter().enumerate() {
        let answer = ask(client, sql);
        assert_eq!(answer.brief(), *expected, "step {number}: {sql}: {:?}", answer.error);
    }
}

/// Prepares and runs a statement with values in text format, of types that the server infers.
pub fn extended(client: &mut RawClient, text: &str, values: &[Option<&str>]) -> Answer {
    extended_in(client, text, values, 0)
}

/// As [`extended`], with results in this format.
pub fn extended_in(client: &mut RawClient, text: &str, values: &[Option<&str>], result_format: i16) -> Answer {
    client.send_with(|out| {
        frontend::parse(out, b"", &frontend::definition(text, &[]));
        frontend::bind(out, b"", b"", &arguments(values, result_format));
        frontend::describe(out, Target::Portal(b""));
        frontend::execute(out, b"", 0);
        frontend::sync(out);
    });
    let mut answers = answers(&client.until_ready());
    assert_eq!(answers.len(), 1, "{text}: {answers:?}");
    answers.remove(0)
}

/// The arguments of Bind: values in text format, results in this format.
pub fn arguments(values: &[Option<&str>], result_format: i16) -> Vec<u8> {
    let count = |len: usize| u16::try_from(len).expect("few values").to_be_bytes();
    let mut bytes = vec![0, 0];
    bytes.extend(count(values.len()));
    for value in values {
        let len = value.map_or(-1, |value| i32::try_from(value.len()).expect("short values"));
        bytes.extend(len.to_be_bytes());
        bytes.extend(value.unwrap_or_default().as_bytes());
    }
    bytes.extend([0, 1]);
    bytes.extend(result_format.to_be_bytes());
    bytes
}

/// Reads the answers out of everything that came up to ReadyForQuery.
pub fn answers(messages: &[Message]) -> Vec<Answer> {
    let mut answers = Vec::new();
    let mut answer = Answer::default();
    let mut formats = Vec::new();
    for message in messages {
        match message.tag {
            tag::ROW_DESCRIPTION => (answer.columns, formats) = columns(&message.body),
            tag::DATA_ROW => answer.rows.push(row(&message.body, &formats)),
            tag::COMMAND_COMPLETE => {
                answer.command = String::from_utf8_lossy(&message.body).trim_end_matches('\0').to_owned();
                answers.push(std::mem::take(&mut answer));
            }
            tag::EMPTY_QUERY_RESPONSE => answers.push(std::mem::take(&mut answer)),
            tag::ERROR_RESPONSE => {
                answer.error = Some(Failure::read(message));
                answers.push(std::mem::take(&mut answer));
            }
            _ => {}
        }
    }
    answers
}

fn columns(body: &[u8]) -> (Vec<(String, u32, i32)>, Vec<i16>) {
    let columns = backend::read_row_description(body).expect("a row description");
    let name = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
    let described = columns.iter().map(|column| (name(&column.name), column.type_oid, column.type_modifier));
    (described.collect(), columns.iter().map(|column| column.format).collect())
}

fn row(body: &[u8], formats: &[i16]) -> Row {
    let values = backend::read_data_row(body).expect("a row").into_iter();
    let text = |(place, value): (usize, &[u8])| match formats.get(place) {
        Some(1) => value.iter().map(|byte| format!("{byte:02x}")).collect(),
        _ => String::from_utf8_lossy(value).into_owned(),
    };
    values.enumerate().map(|(place, value)| value.map(|value| text((place, value)))).collect()
}

/// The differential tests are only as good as their eyes.
#[test]
fn every_kind_of_difference_is_seen() {
    let text = |values: &[&str]| values.iter().map(|value| Some((*value).to_owned())).collect::<Row>();
    let good = Answer {
        columns: vec![("a".to_owned(), 23, -1), ("b".to_owned(), 25, -1)],
        rows: vec![text(&["1", "x"]), text(&["1", "y"]), text(&["2", "z"])],
        command: "SELECT 3".to_owned(),
        error: None,
    };
    let keys = |sorted| Order::Keys { sorted };
    let tampered = |change: fn(&mut Answer)| {
        let mut answer = good.clone();
        change(&mut answer);
        answer
    };
    assert_eq!(good.difference(&good, Order::Total), None);
    let swapped_ties = tampered(|answer| answer.rows.swap(0, 1));
    assert_eq!(good.difference(&swapped_ties, keys(1)), None);
    assert!(good.difference(&swapped_ties, Order::Total).is_some());
    let unsorted = tampered(|answer| answer.rows.swap(0, 2));
    assert_eq!(good.difference(&unsorted, keys(0)), None);
    assert!(good.difference(&unsorted, keys(1)).is_some());
    let changes: [fn(&mut Answer); 8] = [
        |answer| answer.rows[0][1] = Some("X".to_owned()),
        |answer| answer.rows[0][1] = None,
        |answer| drop(answer.rows.pop()),
        |answer| answer.rows.push(answer.rows[0].clone()),
        |answer| answer.rows[2] = answer.rows[0].clone(),
        |answer| answer.columns[0].1 = 20,
        |answer| answer.columns[0].0 = "c".to_owned(),
        |answer| answer.command = "SELECT 2".to_owned(),
    ];
    for change in changes {
        let bad = tampered(change);
        assert!(good.difference(&bad, keys(0)).is_some(), "{bad:?}");
        assert!(bad.difference(&good, keys(0)).is_some(), "{bad:?}");
    }
    let failed = Answer {
        error: Some(Failure {
            sqlstate: "42601".to_owned(),
            message: String::new(),
            detail: String::new(),
            hint: String::new(),
            context: String::new(),
        }),
        ..Answer::default()
    };
    assert!(good.difference(&failed, keys(0)).is_some());
    assert_eq!(failed.difference(&failed, keys(0)), None);
    assert!(tampered(|answer| drop(answer.rows.pop())).is_part_of(&good));
    assert!(!tampered(|answer| answer.rows[0] = answer.rows[1].clone()).is_part_of(&good));
}
