//! The fixed statements of the differential tests, read from SQL files.
//!
//! A line is a statement, or several of one simple Query. `<-` is followed by values of its parameters, separated by
//! a comma and a blank. A line that starts with `---` says how the answers to those below it are compared:
//! - `rows`: rows in any order; `total`: ORDER BY determines every row's place;
//! - `keys N`: ORDER BY the first N columns leaves ties open;
//! - `limit N`: as `keys`, and LIMIT or OFFSET cuts where the order leaves open which rows are left;
//! - `refused`: Weir must refuse the statement. If it can answer it one day, this file learns of it.

use super::answer::Order;

/// A statement and what it determines.
#[derive(Clone, Debug)]
pub struct Case {
    pub sql: String,
    /// `None`: a simple Query.
    pub values: Option<Vec<Option<String>>>,
    pub order: Order,
    /// The statement without its last LIMIT and OFFSET, if these cut among rows that the order does not tell apart.
    pub uncut: Option<String>,
    pub refusal: Refusal,
}

/// Whether Weir may refuse a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    Never,
    Maybe,
    Always,
}

impl Case {
    /// The values of the parameters; none for a simple Query.
    pub fn values(&self) -> Vec<Option<&str>> {
        self.values.iter().flatten().map(Option::as_deref).collect()
    }
}

/// Reads the cases of a file.
pub fn cases(text: &str) -> Vec<Case> {
    let mut mode = "rows";
    let mut cases = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if let Some(new) = line.strip_prefix("---") {
            mode = new.trim();
        } else if !line.starts_with("--") {
            cases.push(case(line, mode));
        }
    }
    cases
}

fn case(line: &str, mode: &str) -> Case {
    let (sql, values) = match line.split_once(" <- ") {
        Some((sql, values)) => (sql, Some(values.split(", ").map(value).collect())),
        None => (line, None),
    };
    let (order, cut) = match mode.split_once(' ') {
        Some((kind @ ("keys" | "limit"), sorted)) => (Order::Keys { sorted: sorted.parse().unwrap() }, kind == "limit"),
        _ if mode == "total" => (Order::Total, false),
        _ => (Order::Keys { sorted: 0 }, false),
    };
    let uncut = cut.then(|| sql[..cut_at(sql)].to_owned());
    let refusal = if mode == "refused" { Refusal::Always } else { Refusal::Never };
    Case { sql: sql.to_owned(), values, order, uncut, refusal }
}

fn value(text: &str) -> Option<String> {
    let text = text.trim();
    (text != "NULL").then(|| text.to_owned())
}

/// Where the last LIMIT or OFFSET clause begins.
pub fn cut_at(sql: &str) -> usize {
    let clause = [" LIMIT ", " OFFSET ", " FETCH "].into_iter().filter_map(|word| sql.rfind(word)).min();
    clause.expect("a LIMIT, OFFSET or FETCH clause")
}
