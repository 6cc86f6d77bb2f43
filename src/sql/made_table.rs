//! CREATE TABLE AS, taken apart: the table, its rows, and how they come into it.

use pg_query::NodeEnum;
use pg_query::protobuf::{CreateTableAsStmt, Node, ObjectType, RangeVar, SelectStmt};

use super::facts::RelationName;
use super::tree::{leading_comments, parse_one, relation_name, written};
use crate::types::{Error, Result};

/// A table that is made from a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MadeTable {
    pub name: RelationName,
    /// The query, with the comments in front of the statement.
    pub query: String,
    /// The statement that makes the table and puts nothing into it: columns, types and collations are the query's own.
    pub without_data: String,
    /// A COPY FROM STDIN of its rows.
    pub copy: String,
}

/// SELECT INTO as the CREATE TABLE AS that it is; `None` for any other SELECT, and for those that set operations connect.
pub(super) fn as_create_table(select: &SelectStmt) -> Option<CreateTableAsStmt> {
    select.into_clause.as_ref()?;
    let mut query = select.clone();
    let into = query.into_clause.take();
    let query = Some(Box::new(Node { node: Some(NodeEnum::SelectStmt(Box::new(query))) }));
    let mut create = CreateTableAsStmt { query, into, ..CreateTableAsStmt::default() };
    create.set_objtype(ObjectType::ObjectTable);
    Some(create)
}

/// Takes the text of a CREATE TABLE AS, or of a SELECT INTO, apart.
///
/// # Errors
/// Refuses IF NOT EXISTS: the rows must not go into a table that is there.
pub fn made_table(text: &str) -> Result<MadeTable> {
    let mut create = match parse_one(text)? {
        NodeEnum::CreateTableAsStmt(create) => create,
        NodeEnum::SelectStmt(select) => Box::new(as_create_table(&select).ok_or_else(unlike)?),
        _ => return Err(unlike()),
    };
    if create.if_not_exists {
        return Err(Error::refuse(
            "CREATE TABLE IF NOT EXISTS ... AS cannot be done with rows of several shards",
            "The rows must not go into a table that is there.",
        )
        .hint("Leave IF NOT EXISTS out, or create the table first and fill it by INSERT ... SELECT."));
    }
    let query = create.query.as_deref().and_then(|query| query.node.clone()).ok_or_else(unlike)?;
    let into = create.into.as_deref_mut().ok_or_else(unlike)?;
    into.skip_data = true;
    let table = into.rel.as_ref().ok_or_else(unlike)?;
    let name = relation_name(table);
    let copy = format!("COPY {} FROM STDIN", quoted(table));
    let query = format!("{}{}", leading_comments(text), written(query)?);
    Ok(MadeTable { name, query, without_data: written(NodeEnum::CreateTableAsStmt(create))?, copy })
}

fn quoted(table: &RangeVar) -> String {
    let names = [&table.schemaname, &table.relname].into_iter().filter(|name| !name.is_empty());
    names.map(|name| postgres_protocol::escape::escape_identifier(name)).collect::<Vec<_>>().join(".")
}

fn unlike() -> Error {
    Error::internal("a CREATE TABLE AS that is none")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_and_its_rows_are_told_apart() {
        let made =
            made_table("/* x */ CREATE TEMP TABLE \"T\" (a, b) ON COMMIT DROP AS SELECT k, 'x' FROM t ORDER BY 1")
                .unwrap();
        assert_eq!((made.name.schema.as_deref(), made.name.name.as_str()), (None, "T"));
        assert_eq!(made.query, "/* x */SELECT k, 'x' FROM t ORDER BY 1");
        assert_eq!(made.copy, "COPY \"T\" FROM STDIN");
        let empty = made_table(&made.without_data).unwrap();
        assert_eq!((empty.name, empty.without_data), (made.name, made.without_data.clone()));
        for part in ["TEMP", "\"T\"", "(a, b)", "ON COMMIT DROP", "WITH NO DATA"] {
            assert!(made.without_data.contains(part), "{}", made.without_data);
        }
        assert_eq!(made_table("CREATE UNLOGGED TABLE s.t AS VALUES (1)").unwrap().copy, "COPY \"s\".\"t\" FROM STDIN");
        let made = made_table("SELECT k, 'x' INTO TEMP \"T\" FROM t WHERE a = 1").unwrap();
        assert_eq!(made.query, "SELECT k, 'x' FROM t WHERE a = 1");
        assert_eq!(made.without_data, "CREATE TEMPORARY TABLE \"T\" AS SELECT k, 'x' FROM t WHERE a = 1  WITH NO DATA");
        assert!(made_table("SELECT k FROM t").is_err());
        assert!(made_table("CREATE TABLE IF NOT EXISTS t AS SELECT 1").is_err());
    }
}
