//! INSERTs whose rows take numbers from sequences by default. On a sharded database all numbers come from the home shard's
//! sequences, as from one PostgreSQL's: they are taken there first, and written into the statement.

use super::tree::{ValuesInsert, integer};
use crate::types::Result;

/// SQL for the next number of a sequence, whose name is as SQL writes it.
pub fn next_number(sequence: &str) -> String {
    format!("pg_catalog.nextval({})", postgres_protocol::escape::escape_literal(sequence))
}

/// A query of these values for so many rows.
pub fn values_for(rows: usize, values: &[String]) -> String {
    format!("SELECT {} FROM pg_catalog.generate_series(1, {rows})", values.join(", "))
}

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
        let mut insert = ValuesInsert::read(text, &self.given)?;
        for (column, numbers) in self.columns.iter().zip(numbers) {
            for (row, number) in column.rows.iter().zip(numbers) {
                insert.put(*row, &column.name, integer(*number))?;
            }
        }
        insert.written(self.columns.iter().any(|column| column.always))
    }
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
