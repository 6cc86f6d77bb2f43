//! Between texts and parse trees of one statement.

use pg_query::protobuf::{
    AConst, AStar, BoolExprType, ColumnRef, Float, InsertStmt, LimitOption, List, Node, OverridingKind, ParseResult,
    RangeVar, RawStmt, ResTarget, SelectStmt, SetOperation, a_const,
};
use pg_query::{DeparseOptions, NodeEnum, ParserOptions};

use super::facts::RelationName;
use crate::types::{Error, Kind, Origin, Result};

/// The tree of the only statement of a text.
///
/// # Errors
/// [`Kind::Syntax`] for a text that is no SQL, [`Kind::Internal`] for one that holds not exactly one statement.
pub fn parse_one(text: &str) -> Result<NodeEnum> {
    let parsed = pg_query::parse(text, ParserOptions::DEFAULT)
        .map_err(|error| Error::new(Origin::Client, Kind::Syntax, "the statement cannot be parsed").source(error))?;
    let mut statements = parsed.protobuf.stmts.into_iter();
    match (statements.next().and_then(|raw| raw.stmt).and_then(|node| node.node), statements.next()) {
        (Some(statement), None) => Ok(statement),
        _ => Err(Error::internal("a text does not hold exactly one statement")),
    }
}

/// The text of a tree.
///
/// # Errors
/// A tree that cannot be written, which would be a bug.
pub fn written(statement: NodeEnum) -> Result<String> {
    let stmt = Some(Box::new(Node { node: Some(statement) }));
    let tree = ParseResult { version: 0, stmts: vec![RawStmt { stmt, ..RawStmt::default() }] };
    pg_query::deparse(&tree, DeparseOptions::default())
        .map_err(|error| Error::internal("a statement cannot be written as text").source(error))
}

/// The name of a table in a statement.
pub fn relation_name(table: &RangeVar) -> RelationName {
    let schema = (!table.schemaname.is_empty()).then(|| table.schemaname.clone());
    RelationName { schema, name: table.relname.clone() }
}

/// The conditions that AND connects.
pub fn and_terms(condition: &Node) -> Vec<&Node> {
    match &condition.node {
        Some(NodeEnum::BoolExpr(bool)) if bool.boolop() == BoolExprType::AndExpr => {
            bool.args.iter().flat_map(and_terms).collect()
        }
        _ => vec![condition],
    }
}

/// The clause of a query, if it has one, that makes other rows of those of FROM and WHERE, or leaves some out.
pub fn clause_beyond_rows(select: &SelectStmt) -> Option<&'static str> {
    let clauses = [
        (select.op() != SetOperation::SetopNone, "UNION, INTERSECT or EXCEPT"),
        (select.with_clause.is_some(), "WITH"),
        (!select.distinct_clause.is_empty(), "DISTINCT"),
        (!select.group_clause.is_empty() || select.having_clause.is_some(), "GROUP BY or HAVING"),
        (!select.window_clause.is_empty(), "WINDOW"),
        (select.limit_count.is_some() || select.limit_offset.is_some(), "LIMIT or OFFSET"),
        (!select.sort_clause.is_empty(), "ORDER BY"),
        (!select.locking_clause.is_empty(), "FOR UPDATE or another locking clause"),
    ];
    clauses.into_iter().find(|(present, _)| *present).map(|(_, clause)| clause)
}

/// Whether DEFAULT stands in the place of a value.
pub fn is_default(value: &Node) -> bool {
    matches!(value.node, Some(NodeEnum::SetToDefault(_)))
}

/// Whether an assigned value is one of a row that has DEFAULT in it: `(a, b) = (1, DEFAULT)`.
pub fn is_of_row_with_default(value: &Node) -> bool {
    let Some(NodeEnum::MultiAssignRef(assigned)) = &value.node else { return false };
    match assigned.source.as_deref() {
        Some(Node { node: Some(NodeEnum::RowExpr(row)) }) => row.args.iter().any(is_default),
        _ => false,
    }
}

/// A literal of any size; the grammar has a Float for integers beyond 32 bits, and both are written alike.
pub fn integer(value: i64) -> Node {
    let val = Some(a_const::Val::Fval(Float { fval: value.to_string() }));
    Node { node: Some(NodeEnum::AConst(AConst { val, ..AConst::default() })) }
}

/// A name, or a part of one.
pub fn string(text: &str) -> Node {
    Node { node: Some(NodeEnum::String(pg_query::protobuf::String { sval: text.to_owned() })) }
}

/// A column of an INSERT, or an expression of a list of results; where it has a name, under that.
pub fn target(name: &str, value: Option<NodeEnum>) -> Node {
    let val = value.map(|value| Box::new(Node { node: Some(value) }));
    let target = ResTarget { name: name.to_owned(), val, ..ResTarget::default() };
    Node { node: Some(NodeEnum::ResTarget(Box::new(target))) }
}

/// `*`, as an item of a list of results.
pub fn all_columns() -> Node {
    let star = Node { node: Some(NodeEnum::AStar(AStar {})) };
    target("", Some(NodeEnum::ColumnRef(ColumnRef { fields: vec![star], location: 0 })))
}

/// VALUES of these rows.
pub fn values(rows: Vec<Node>) -> Node {
    let values = SelectStmt { values_lists: rows, ..plain_select(Vec::new(), Vec::new()) };
    Node { node: Some(NodeEnum::SelectStmt(Box::new(values))) }
}

/// A SELECT of these targets from these items of FROM.
pub fn plain_select(target_list: Vec<Node>, from_clause: Vec<Node>) -> SelectStmt {
    let mut select = SelectStmt { target_list, from_clause, ..SelectStmt::default() };
    // The grammar's own values: a zero is none, and ends the process where it is written as text.
    select.set_op(SetOperation::SetopNone);
    select.set_limit_option(LimitOption::Default);
    select
}

/// A SELECT of these targets and nothing else.
///
/// # Errors
/// As [`written`].
pub fn select(target_list: Vec<Node>) -> Result<String> {
    written(NodeEnum::SelectStmt(Box::new(plain_select(target_list, Vec::new()))))
}

/// The tree of an expression.
///
/// # Errors
/// As [`parse_one`], and for a text that is something else.
pub fn expression(text: &str) -> Result<Node> {
    only_target(&format!("SELECT {text}"))
}

/// The expression that a SELECT gives first.
///
/// # Errors
/// As [`expression`].
pub fn only_target(select: &str) -> Result<Node> {
    let unlike = || Error::internal("a text that was to be an expression is none");
    let NodeEnum::SelectStmt(select) = parse_one(select)? else { return Err(unlike()) };
    match select.target_list.into_iter().next().and_then(|target| target.node) {
        Some(NodeEnum::ResTarget(target)) => target.val.map(|value| *value).ok_or_else(unlike),
        _ => Err(unlike()),
    }
}

/// The comments in front of a statement, which may name its shard.
pub fn leading_comments(text: &str) -> &str {
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

/// An INSERT of VALUES that is given more of them.
pub struct ValuesInsert {
    comments: String,
    insert: InsertStmt,
    columns: Vec<String>,
    rows: Vec<List>,
}

impl ValuesInsert {
    /// Reads it; `columns` are those that the rows' values are for, also where the statement names none.
    ///
    /// # Errors
    /// A text that is no such INSERT, which would be a bug.
    pub fn read(text: &str, columns: &[String]) -> Result<Self> {
        let NodeEnum::InsertStmt(mut insert) = parse_one(text)? else {
            return Err(Error::internal("an INSERT that is none"));
        };
        if insert.cols.is_empty() {
            insert.cols = columns.iter().map(|name| target(name, None)).collect();
        }
        let rows = take_rows(&mut insert)?;
        Ok(Self { comments: leading_comments(text).to_owned(), insert: *insert, columns: columns.to_vec(), rows })
    }

    /// Whether WITH stands in front of it.
    pub fn has_with(&self) -> bool {
        self.insert.with_clause.is_some()
    }

    /// The values of each row.
    pub fn rows(&self) -> impl Iterator<Item = &[Node]> {
        self.rows.iter().map(|row| row.items.as_slice())
    }

    /// The value that a row has for a column, if it has one.
    pub fn value(&self, row: usize, column: &str) -> Option<&Node> {
        let place = self.columns.iter().position(|own| own == column)?;
        self.rows.get(row)?.items.get(place)
    }

    /// Gives a row a value for a column. A column that the statement does not name must be given to all rows.
    ///
    /// # Errors
    /// There is no such row.
    pub fn put(&mut self, row: usize, column: &str, value: Node) -> Result<()> {
        let place = self.columns.iter().position(|own| own == column).unwrap_or(self.columns.len());
        if place == self.columns.len() {
            self.columns.push(column.to_owned());
            self.insert.cols.push(target(column, None));
        }
        let items = &mut self.rows.get_mut(row).ok_or_else(|| Error::internal("a row to fill is missing"))?.items;
        if place > items.len() {
            return Err(Error::internal("a value to fill is missing"));
        }
        items.splice(place..items.len().min(place + 1), [value]);
        Ok(())
    }

    /// Its text. `overrides`: values for identity columns count.
    ///
    /// # Errors
    /// As [`written`].
    pub fn written(mut self, overrides: bool) -> Result<String> {
        if overrides {
            self.insert.set_override(OverridingKind::OverridingSystemValue);
        }
        let rows = self.rows.into_iter().map(|row| Node { node: Some(NodeEnum::List(row)) }).collect();
        self.insert.select_stmt = Some(Box::new(values(rows)));
        Ok(format!("{}{}", self.comments, written(NodeEnum::InsertStmt(Box::new(self.insert)))?))
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
