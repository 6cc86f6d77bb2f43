//! INSERTs of VALUES some of whose values must be known before they can be routed, or must be the same on several shards: a
//! shard key that an expression or the column's default gives, a default that is one moment for all rows, what a row of a
//! reference table computes. They are asked for first, and written into the statement.

use pg_query::NodeEnum;
use pg_query::protobuf::Node;

use super::tree::{ValuesInsert, expression, select, target};
use super::type_names::TypeNames;
use crate::types::{Error, Result};

/// The values that must be known before an INSERT can be routed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Computed {
    /// The columns that the rows' values are for, also where the statement names none.
    pub given: Vec<String>,
    pub cells: Vec<Cell>,
}

/// A value of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    pub row: usize,
    pub column: String,
    /// The column's type.
    pub type_names: TypeNames,
    /// The column's default, where the row has no value of its own.
    pub default: Option<String>,
}

/// A SELECT of one row that gives the values of some cells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Which, in the order of its columns.
    pub cells: Vec<usize>,
    pub text: String,
}

impl Computed {
    /// Whether the client's own expressions are among the values: only its own statement tells whether they may be stored.
    pub fn has_expressions(&self) -> bool {
        self.cells.iter().any(|cell| cell.default.is_none())
    }

    /// SELECTs of the values, each as the type of its column. Parameters keep their numbers. What reads tables is asked for
    /// by itself: it may have to be asked of other shards.
    ///
    /// # Errors
    /// A text that is not the INSERT which this was made for, or a default that cannot be read, which would be bugs.
    pub fn questions(&self, text: &str) -> Result<Vec<Question>> {
        let insert = ValuesInsert::read(text, &self.given)?;
        let (mut plain, mut reading) = (Vec::new(), Vec::new());
        for (at, cell) in self.cells.iter().enumerate() {
            let value = match &cell.default {
                Some(default) => expression(default)?,
                None => insert.value(cell.row, &cell.column).cloned().ok_or_else(missing)?,
            };
            let value = cell.type_names.cast(value, false);
            let has_query =
                cell.default.is_none() && select(vec![target("", Some(value.clone()))])?.contains("(SELECT ");
            if has_query && insert.has_with() {
                return Err(Error::refuse(
                    "cannot compute values of new rows first",
                    "The statement has WITH, and a subquery in VALUES that may read it.",
                )
                .hint("Use INSERT ... SELECT."));
            }
            if has_query { &mut reading } else { &mut plain }.push((at, target("", Some(value))));
        }
        let question = |cells: Vec<(usize, Node)>| {
            let (cells, targets) = cells.into_iter().unzip();
            Ok(Question { cells, text: select(targets)? })
        };
        [plain, reading].into_iter().filter(|cells| !cells.is_empty()).map(question).collect()
    }

    /// The INSERT with these values, in the order of the cells.
    ///
    /// # Errors
    /// As [`Computed::questions`].
    pub fn fill(&self, text: &str, values: &[Option<String>]) -> Result<String> {
        let mut insert = ValuesInsert::read(text, &self.given)?;
        for (cell, value) in self.cells.iter().zip(values) {
            let value = match value {
                Some(value) => Node { node: Some(cell.type_names.cast(literal(value), false)) },
                None => null(),
            };
            insert.put(cell.row, &cell.column, value)?;
        }
        insert.written(false)
    }
}

/// The values of an INSERT's rows, as row and place, that are more than a constant, a parameter, a cast of one, or DEFAULT.
///
/// # Errors
/// As [`Computed::questions`].
pub fn open_values(text: &str, given: &[String]) -> Result<Vec<(usize, usize)>> {
    let insert = ValuesInsert::read(text, given)?;
    let rows = insert.rows().enumerate();
    let places = |(row, values): (usize, &[Node])| {
        let open = values.iter().enumerate().filter(|(_, value)| !is_constant(value));
        open.map(|(place, _)| (row, place)).collect::<Vec<_>>()
    };
    Ok(rows.flat_map(places).collect())
}

fn is_constant(value: &Node) -> bool {
    match &value.node {
        Some(NodeEnum::AConst(_) | NodeEnum::ParamRef(_) | NodeEnum::SetToDefault(_)) => true,
        Some(NodeEnum::TypeCast(cast)) => cast.arg.as_deref().is_some_and(is_constant),
        _ => false,
    }
}

fn missing() -> Error {
    Error::internal("a value to compute is missing")
}

fn literal(value: &str) -> Node {
    use pg_query::protobuf::{AConst, String, a_const::Val};
    let val = Some(Val::Sval(String { sval: value.to_owned() }));
    Node { node: Some(NodeEnum::AConst(AConst { val, ..AConst::default() })) }
}

fn null() -> Node {
    use pg_query::protobuf::AConst;
    Node { node: Some(NodeEnum::AConst(AConst { isnull: true, ..AConst::default() })) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(computed: &Computed, text: &str) -> String {
        let questions = computed.questions(text).unwrap();
        questions.iter().map(|question| question.text.as_str()).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn keys_are_asked_for_and_written_in() {
        let cell = |row, column: &str, default: Option<&str>| Cell {
            row,
            column: column.into(),
            type_names: TypeNames { names: ["pg_catalog".into(), "int8".into()], is_array: false, is_enum: false },
            default: default.map(str::to_owned),
        };
        let text = "INSERT INTO t (a, k) VALUES ($1, length($2)), (2, 5), (3, DEFAULT) RETURNING k";
        let computed = Computed {
            given: vec!["a".into(), "k".into()],
            cells: vec![cell(0, "k", None), cell(2, "k", Some("nextval('s'::regclass)"))],
        };
        assert_eq!(asked(&computed, text), "SELECT length($2)::bigint, nextval('s'::regclass)::bigint");
        assert_eq!(
            computed.fill(text, &[Some("7".into()), None]).unwrap(),
            "INSERT INTO t (a, k) VALUES ($1, '7'::bigint), (2, 5), (3, NULL) RETURNING k"
        );
        let text = "INSERT INTO t (a, k) VALUES (1, (SELECT max(k) FROM t)), (2, 1 + 1)";
        let two = Computed { cells: vec![cell(0, "k", None), cell(1, "k", None)], ..computed };
        assert_eq!(asked(&two, text), "SELECT (1 + 1)::bigint; SELECT (SELECT max(k) FROM t)::bigint");
        assert_eq!(two.questions(text).unwrap()[1].cells, [0]);
        let text = "/* here */ INSERT INTO t DEFAULT VALUES";
        let computed = Computed { given: Vec::new(), cells: vec![cell(0, "k", Some("1 + 1"))] };
        assert_eq!(asked(&computed, text), "SELECT (1 + 1)::bigint");
        assert_eq!(
            computed.fill(text, &[Some("2".into())]).unwrap(),
            "/* here */INSERT INTO t (k) VALUES ('2'::bigint)"
        );
    }
}
