//! INSERTs whose rows take numbers from sequences by default. On a sharded database all numbers come from the home shard's
//! sequences, as from one PostgreSQL's: they are taken there first, and written into the statement.

use pg_query::protobuf::{
    AConst, Float, InsertStmt, LimitOption, List, Node, OverridingKind, ParseResult, RawStmt, SelectStmt, SetOperation,
    a_const,
};
use pg_query::{DeparseOptions, NodeEnum, ParserOptions};

use crate::types::{Error, Result};

/// The numbers that an INSERT needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Numbering {
    /// The columns that the rows' values are for, also where the statement names none.
    pub given: Vec<String>,
    pub columns: Vec<Numbered>,
}

/// A column that takes numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Numbered {
    pub name: String,
    /// The sequence's name, with its schema, as SQL writes it.
    pub sequence: String,
    /// GENERATED ALWAYS: a value is taken only if the statement insists.
    pub always: bool,
    /// The rows that need one, in order.
    pub rows: Vec<usize>,
}

impl Numbering {
    /// An INSERT with its numbers written in; `numbers` has as many for each column as that has rows.
    ///
    /// # Errors
    /// A text that is not the INSERT which this was made for, which would be a bug.
    pub fn fill(&self, text: &str, numbers: &[Vec<i64>]) -> Result<String> {
        let mut insert = parse(text)?;
        if insert.cols.is_empty() {
            insert.cols = self.given.iter().map(|name| target(name)).collect();
        }
        let mut rows = take_rows(&mut insert)?;
        for (column, numbers) in self.columns.iter().zip(numbers) {
            let place = self.given.iter().position(|given| *given == column.name);
            if place.is_none() {
                insert.cols.push(target(&column.name));
            }
            for (row, number) in column.rows.iter().zip(numbers) {
                let row = rows.get_mut(*row).ok_or_else(|| Error::internal("a row to number is missing"))?;
                match place {
                    None => row.items.push(constant(*number)),
                    Some(place) => match row.items.get_mut(place) {
                        Some(value) => *value = constant(*number),
                        None => return Err(Error::internal("a value to number is missing")),
                    },
                }
            }
        }
        if self.columns.iter().any(|column| column.always) {
            insert.set_override(OverridingKind::OverridingSystemValue);
        }
        let values_lists = rows.into_iter().map(|row| Node { node: Some(NodeEnum::List(row)) }).collect();
        let mut values = SelectStmt { values_lists, ..SelectStmt::default() };
        // The grammar's own values: a zero is none, and ends the process where it is written as text.
        values.set_op(SetOperation::SetopNone);
        values.set_limit_option(LimitOption::Default);
        insert.select_stmt = Some(Box::new(Node { node: Some(NodeEnum::SelectStmt(Box::new(values))) }));
        let written = written(insert)?;
        // A comment in front may name the shard.
        Ok(format!("{}{written}", leading_comments(text)))
    }
}

fn parse(text: &str) -> Result<InsertStmt> {
    let failed = || Error::internal("an INSERT that is none");
    let parsed = pg_query::parse(text, ParserOptions::DEFAULT).map_err(|_| failed())?;
    let node = parsed.protobuf.stmts.into_iter().next().and_then(|raw| raw.stmt).and_then(|node| node.node);
    match node {
        Some(NodeEnum::InsertStmt(insert)) => Ok(*insert),
        _ => Err(failed()),
    }
}

/// The rows of VALUES; DEFAULT VALUES is one without values.
fn take_rows(insert: &mut InsertStmt) -> Result<Vec<List>> {
    let Some(source) = insert.select_stmt.take() else { return Ok(vec![List::default()]) };
    let Some(NodeEnum::SelectStmt(select)) = source.node else {
        return Err(Error::internal("an INSERT without rows"));
    };
    let list = |node: Node| match node.node {
        Some(NodeEnum::List(list)) => Ok(list),
        _ => Err(Error::internal("a row that is none")),
    };
    select.values_lists.into_iter().map(list).collect()
}

fn target(name: &str) -> Node {
    let target = pg_query::protobuf::ResTarget { name: name.to_owned(), ..Default::default() };
    Node { node: Some(NodeEnum::ResTarget(Box::new(target))) }
}

/// A literal; the grammar has a Float for integers beyond 32 bits, and both are written alike.
fn constant(number: i64) -> Node {
    let val = Some(a_const::Val::Fval(Float { fval: number.to_string() }));
    Node { node: Some(NodeEnum::AConst(AConst { val, ..AConst::default() })) }
}

fn written(insert: InsertStmt) -> Result<String> {
    let stmt = Some(Box::new(Node { node: Some(NodeEnum::InsertStmt(Box::new(insert))) }));
    let tree = ParseResult { version: 0, stmts: vec![RawStmt { stmt, ..RawStmt::default() }] };
    pg_query::deparse(&tree, DeparseOptions::default())
        .map_err(|error| Error::internal("an INSERT that was read cannot be written as text").source(error))
}

fn leading_comments(text: &str) -> &str {
    let mut end = 0;
    while let Some(rest) = text.get(end..) {
        let blank = rest.len() - rest.trim_start().len();
        match rest.trim_start().strip_prefix("/*").and_then(|comment| comment.find("*/")) {
            Some(length) => end += blank + length + 4,
            None => break,
        }
    }
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(name: &str, always: bool, rows: &[usize]) -> Numbered {
        Numbered { name: name.into(), sequence: "public.s".into(), always, rows: rows.to_vec() }
    }

    fn fill(text: &str, given: &[&str], columns: &[Numbered], numbers: &[&[i64]]) -> String {
        let given = given.iter().map(|name| (*name).to_owned()).collect();
        let numbering = Numbering { given, columns: columns.to_vec() };
        numbering.fill(text, &numbers.iter().map(|list| list.to_vec()).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn numbers_stand_where_the_default_would() {
        for (text, given, column, numbers, expected) in [
            (
                "INSERT INTO t (a) VALUES ('x'), ($1) RETURNING id",
                &["a"][..],
                numbered("id", false, &[0, 1]),
                &[7, 8][..],
                "INSERT INTO t (a, id) VALUES ('x', 7), ($1, 8) RETURNING id",
            ),
            (
                "INSERT INTO s.\"T\" VALUES (DEFAULT, 1), (5, 2), (DEFAULT, 3) ON CONFLICT DO NOTHING",
                &["id", "a"],
                numbered("id", false, &[0, 2]),
                &[-9, i64::MAX],
                "INSERT INTO s.\"T\" (id, a) VALUES (-9, 1), (5, 2), (9223372036854775807, 3) ON CONFLICT DO NOTHING",
            ),
            (
                "/* weir.shard = 'one' */ INSERT INTO t DEFAULT VALUES",
                &[],
                numbered("id", true, &[0]),
                &[1],
                "/* weir.shard = 'one' */INSERT INTO t (id) OVERRIDING SYSTEM VALUE VALUES (1)",
            ),
        ] {
            assert_eq!(fill(text, given, &[column], &[numbers]), expected, "{text}");
        }
        let two = [numbered("id", false, &[0]), numbered("n", false, &[0])];
        assert_eq!(
            fill("INSERT INTO t (a) VALUES (1)", &["a"], &two, &[&[2], &[3]]),
            "INSERT INTO t (a, id, n) VALUES (1, 2, 3)"
        );
    }
}
