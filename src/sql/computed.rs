//! INSERTs of VALUES whose shard keys are computed: by an expression, or by the column's default. The keys are asked for
//! first, and written into the statement.

use pg_query::NodeEnum;
use pg_query::protobuf::{LimitOption, Node, SelectStmt, SetOperation, TypeCast, TypeName};

use super::tree::{ValuesInsert, parse_one, string, target, written};
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
    /// The column's type by its name in pg_catalog.
    pub type_name: &'static str,
    /// The column's default, where the row has no value of its own.
    pub default: Option<String>,
}

impl Computed {
    /// A SELECT of the values, each as the type of its column. Parameters keep their numbers.
    ///
    /// # Errors
    /// A text that is not the INSERT which this was made for, or a default that cannot be read, which would be bugs.
    pub fn question(&self, text: &str) -> Result<String> {
        let insert = ValuesInsert::read(text, &self.given)?;
        let target_list = self.cells.iter().map(|cell| {
            let value = match &cell.default {
                Some(default) => expression(default)?,
                None => insert.value(cell.row, &cell.column).cloned().ok_or_else(missing)?,
            };
            Ok(target("", Some(cast(value, cell.type_name))))
        });
        let mut select = SelectStmt { target_list: target_list.collect::<Result<_>>()?, ..SelectStmt::default() };
        select.set_op(SetOperation::SetopNone);
        select.set_limit_option(LimitOption::Default);
        written(NodeEnum::SelectStmt(Box::new(select)))
    }

    /// The INSERT with these values, in the order of the cells.
    ///
    /// # Errors
    /// As [`Computed::question`].
    pub fn fill(&self, text: &str, values: &[Option<String>]) -> Result<String> {
        let mut insert = ValuesInsert::read(text, &self.given)?;
        for (cell, value) in self.cells.iter().zip(values) {
            let value = match value {
                Some(value) => Node { node: Some(cast(literal(value), cell.type_name)) },
                None => null(),
            };
            insert.put(cell.row, &cell.column, value)?;
        }
        insert.written(false)
    }
}

fn missing() -> Error {
    Error::internal("a value to compute is missing")
}

/// The tree of an expression.
fn expression(text: &str) -> Result<Node> {
    let NodeEnum::SelectStmt(select) = parse_one(&format!("SELECT {text}"))? else { return Err(missing()) };
    match select.target_list.into_iter().next().and_then(|target| target.node) {
        Some(NodeEnum::ResTarget(target)) => target.val.map(|value| *value).ok_or_else(missing),
        _ => Err(missing()),
    }
}

fn cast(value: Node, type_name: &str) -> NodeEnum {
    let names = vec![string("pg_catalog"), string(type_name)];
    let type_name = Some(TypeName { names, typemod: -1, ..TypeName::default() });
    NodeEnum::TypeCast(Box::new(TypeCast { arg: Some(Box::new(value)), type_name, location: 0 }))
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

    #[test]
    fn keys_are_asked_for_and_written_in() {
        let cell = |row, column: &str, default: Option<&str>| Cell {
            row,
            column: column.into(),
            type_name: "int8",
            default: default.map(str::to_owned),
        };
        let text = "INSERT INTO t (a, k) VALUES ($1, length($2)), (2, 5), (3, DEFAULT) RETURNING k";
        let computed = Computed {
            given: vec!["a".into(), "k".into()],
            cells: vec![cell(0, "k", None), cell(2, "k", Some("nextval('s'::regclass)"))],
        };
        assert_eq!(computed.question(text).unwrap(), "SELECT length($2)::bigint, nextval('s'::regclass)::bigint");
        assert_eq!(
            computed.fill(text, &[Some("7".into()), None]).unwrap(),
            "INSERT INTO t (a, k) VALUES ($1, '7'::bigint), (2, 5), (3, NULL) RETURNING k"
        );
        let text = "/* here */ INSERT INTO t DEFAULT VALUES";
        let computed = Computed { given: Vec::new(), cells: vec![cell(0, "k", Some("1 + 1"))] };
        assert_eq!(computed.question(text).unwrap(), "SELECT (1 + 1)::bigint");
        assert_eq!(
            computed.fill(text, &[Some("2".into())]).unwrap(),
            "/* here */INSERT INTO t (k) VALUES ('2'::bigint)"
        );
    }
}
