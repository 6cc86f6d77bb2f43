//! Writes whose new rows a query makes, and which may belong to other shards than the rows that they are made of: INSERT of
//! a query's rows, and UPDATE of a shard key. Such a statement is taken apart: its *source* gives the rows, and then they are
//! inserted by VALUES, so that all that holds for rows of VALUES holds for them.

use std::collections::HashMap;
use std::fmt::Write;

use pg_query::NodeEnum;
use pg_query::protobuf::{
    AConst, ColumnRef, DeleteStmt, InsertStmt, Node, OverridingKind, ReturningClause, SelectStmt, SetOperation,
    UpdateStmt,
};

use super::schema::{Relation, Schema};
use super::tree::{leading_comments, parse_one, string, target, values, written};
use super::type_names::type_names;
use crate::types::{Error, Result};

/// A write in two steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collected {
    /// Gives the rows: a SELECT, or a DELETE with RETURNING. Its parameters have the numbers of the statement's own.
    pub source: String,
    /// All rows must be written by one statement: what ON CONFLICT DO UPDATE does depends on it.
    pub at_once: bool,
    /// The INSERT, up to its rows.
    head: String,
    /// What stands behind them.
    tail: String,
    /// The values of a new row, in order.
    values: Vec<Value>,
    /// The types of the columns that they are for.
    types: Vec<u32>,
    /// The places of the new shard key in the source's rows, where the rows had another one: that follows at their ends.
    moved: Vec<usize>,
}

/// Where a value of a new row comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value {
    /// A column of the source.
    Column,
    /// A column that is a string without a type, which takes the one of its place.
    Constant,
    /// All columns of some tables.
    Star,
    /// It is the column's default, and no column of the source.
    Default,
}

/// Types whose equal values have the same text: smallint, integer and bigint; text and varchar.
const INTEGERS: &[u32] = &[21, 23, 20];
const TEXTS: &[u32] = &[25, 1043];

/// A row of the source, its values in text format.
pub type SourceRow<'r> = Vec<Option<&'r [u8]>>;

/// The two steps of an INSERT or UPDATE that writes rows of `relation`, whose shard key is `key`.
///
/// # Errors
/// Refuses what cannot be taken apart, and says which part of it.
pub fn collect(text: &str, relation: &Relation, key: &[String]) -> Result<Collected> {
    let collected = match parse_one(text)? {
        NodeEnum::InsertStmt(insert) => of_insert(*insert, relation),
        NodeEnum::UpdateStmt(update) => of_update(*update, relation, key),
        _ => Err(refuse("It is neither INSERT nor UPDATE.")),
    }?;
    let comments = leading_comments(text);
    let (source, head) = (format!("{comments}{}", collected.source), format!("{comments}{}", collected.head));
    Ok(Collected { source, head, ..collected })
}

fn of_insert(mut insert: InsertStmt, relation: &Relation) -> Result<Collected> {
    let source = insert.select_stmt.take().and_then(|source| source.node);
    let Some(NodeEnum::SelectStmt(mut select)) = source else {
        return Err(refuse("Its rows are not those of a query."));
    };
    let values = selected(&select);
    let types = match insert.cols.as_slice() {
        [] => relation.columns.iter().map(|column| column.type_oid).collect(),
        listed => listed.iter().map(|listed| listed_type(listed, relation)).collect::<Result<_>>()?,
    };
    let at_once = insert.on_conflict_clause.is_some();
    let with = insert.with_clause.take();
    let (head, tail) = around_rows(insert)?;
    if with.is_some() {
        if select.with_clause.is_some() {
            return Err(refuse("It has WITH twice."));
        }
        // Conservative: the word may stand in a string, too.
        if tail.to_ascii_uppercase().contains("SELECT") {
            return Err(refuse("It has WITH, and a subquery behind its rows."));
        }
        select.with_clause = with;
    }
    let source = written(NodeEnum::SelectStmt(select))?;
    Ok(Collected { source, at_once, head, tail, values, types, moved: Vec::new() })
}

/// DELETE gives the rows as they are to be, and INSERT puts them back.
fn of_update(update: UpdateStmt, relation: &Relation, key: &[String]) -> Result<Collected> {
    if let Some(reason) = &relation.immovable {
        return Err(refuse(&format!("Its rows would be deleted and inserted to move to another shard, and {reason}.")));
    }
    if update.with_clause.is_some() {
        return Err(refuse("It has WITH."));
    }
    if !update.from_clause.is_empty() && update.returning_clause.is_some() {
        return Err(refuse("It changes shard keys and has both FROM and RETURNING."));
    }
    let target_table = update.relation.ok_or_else(|| refuse("It has no target."))?;
    let name = target_table.alias.as_ref().map_or(&target_table.relname, |alias| &alias.aliasname).clone();
    let mut assigned = Vec::with_capacity(update.target_list.len());
    for node in update.target_list {
        match node.node {
            Some(NodeEnum::ResTarget(one)) if one.indirection.is_empty() => {
                let value = one.val.and_then(|value| value.node).and_then(assigned_value);
                assigned.push((one.name, value.ok_or_else(|| refuse("It assigns the columns of a subquery."))?));
            }
            _ => return Err(refuse("It assigns a part of a column.")),
        }
    }
    let own =
        |column: &str| NodeEnum::ColumnRef(ColumnRef { fields: vec![string(&name), string(column)], location: 0 });
    let (mut exprs, mut cols, mut values, mut types) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut moved, mut old) = (Vec::new(), Vec::new());
    for column in relation.columns.iter().filter(|column| !column.is_generated) {
        let given = assigned.iter().find(|(name, _)| *name == column.name).map(|(_, value)| value);
        let value = given.map_or(Value::Column, value_of);
        cols.push(target(&column.name, None));
        types.push(column.type_oid);
        values.push(value);
        if key.contains(&column.name) {
            if value == Value::Default {
                return Err(refuse("The new shard key is a default."));
            }
            moved.push(exprs.len());
            old.push(target("", Some(own(&column.name))));
        }
        if value != Value::Default {
            exprs.push(target("", Some(given.cloned().unwrap_or_else(|| own(&column.name)))));
        }
    }
    exprs.append(&mut old);
    let delete = DeleteStmt {
        relation: Some(target_table.clone()),
        using_clause: update.from_clause,
        where_clause: update.where_clause,
        returning_clause: Some(ReturningClause { exprs, ..ReturningClause::default() }),
        ..DeleteStmt::default()
    };
    let mut insert = InsertStmt {
        relation: Some(target_table),
        cols,
        returning_clause: update.returning_clause,
        ..InsertStmt::default()
    };
    insert.set_override(OverridingKind::OverridingSystemValue);
    let (head, tail) = around_rows(insert)?;
    let source = written(NodeEnum::DeleteStmt(Box::new(delete)))?;
    Ok(Collected { source, at_once: false, head, tail, values, types, moved })
}

/// The value that one column gets; `None` if it comes from a subquery for several.
fn assigned_value(value: NodeEnum) -> Option<NodeEnum> {
    let NodeEnum::MultiAssignRef(part) = value else { return Some(value) };
    match part.source.and_then(|source| source.node) {
        Some(NodeEnum::RowExpr(row)) => {
            let place = usize::try_from(part.colno).ok()?.checked_sub(1)?;
            row.args.into_iter().nth(place).and_then(|value| value.node)
        }
        _ => None,
    }
}

/// What stands in front of an INSERT's rows, and behind them.
fn around_rows(mut insert: InsertStmt) -> Result<(String, String)> {
    const ROW: &str = "(NULL)";
    insert.select_stmt = Some(Box::new(values(vec![null_row()])));
    let mut bare = insert.clone();
    bare.on_conflict_clause = None;
    bare.returning_clause = None;
    let bare = written(NodeEnum::InsertStmt(Box::new(bare)))?;
    let whole = written(NodeEnum::InsertStmt(Box::new(insert)))?;
    match (bare.strip_suffix(ROW), whole.strip_prefix(&bare)) {
        (Some(head), Some(tail)) => Ok((head.to_owned(), tail.to_owned())),
        _ => Err(Error::internal("an INSERT is written otherwise without its last clauses")),
    }
}

fn null_row() -> Node {
    let null = Node { node: Some(NodeEnum::AConst(AConst { isnull: true, ..AConst::default() })) };
    Node { node: Some(NodeEnum::List(pg_query::protobuf::List { items: vec![null] })) }
}

/// What a query's list gives.
fn selected(select: &SelectStmt) -> Vec<Value> {
    // The branches of UNION and its kin agree on types among themselves.
    if select.op() != SetOperation::SetopNone {
        return vec![Value::Star];
    }
    let value = |node: &Node| match &node.node {
        Some(NodeEnum::ResTarget(target)) => target.val.as_ref().and_then(|value| value.node.as_ref()).map(value_of),
        _ => None,
    };
    select.target_list.iter().map(|node| value(node).unwrap_or(Value::Column)).collect()
}

fn value_of(value: &NodeEnum) -> Value {
    use pg_query::protobuf::a_const::Val::Sval;
    match value {
        NodeEnum::SetToDefault(_) => Value::Default,
        NodeEnum::AConst(AConst { val: Some(Sval(_)), .. }) => Value::Constant,
        NodeEnum::ColumnRef(column)
            if column.fields.iter().any(|field| matches!(field.node, Some(NodeEnum::AStar(_)))) =>
        {
            Value::Star
        }
        _ => Value::Column,
    }
}

fn listed_type(listed: &Node, relation: &Relation) -> Result<u32> {
    match &listed.node {
        Some(NodeEnum::ResTarget(target)) if target.indirection.is_empty() => {
            let column = relation.columns.iter().find(|column| column.name == target.name);
            // A column that does not exist is the server's to tell of.
            Ok(column.map_or(0, |column| column.type_oid))
        }
        _ => Err(refuse("It inserts a part of a column.")),
    }
}

impl Collected {
    /// The rows to insert, out of those that the source gave with columns of these types.
    ///
    /// # Errors
    /// Refuses rows that take the keys of each other: whether PostgreSQL finds that they are unique depends on the order in
    /// which it changes them.
    pub fn new_rows<'r>(&self, columns: &mut Vec<u32>, mut rows: Vec<SourceRow<'r>>) -> Result<Vec<SourceRow<'r>>> {
        if self.moved.is_empty() {
            return Ok(rows);
        }
        let width = columns.len().saturating_sub(self.moved.len());
        let own = columns.get(width..).unwrap_or_default();
        let is_spelled_alike = self.moved.iter().zip(own).all(|(place, own)| {
            columns.get(*place).is_some_and(|new| {
                new == own || [INTEGERS, TEXTS].iter().any(|alike| alike.contains(new) && alike.contains(own))
            })
        });
        if rows.len() > 1 && !is_spelled_alike {
            return Err(refuse("Several rows get shard keys of another type than the column's."));
        }
        columns.truncate(width);
        let old: HashMap<SourceRow<'r>, usize> =
            rows.iter().enumerate().map(|(number, row)| (row[width.min(row.len())..].to_vec(), number)).collect();
        for (number, row) in rows.iter().enumerate() {
            let new: SourceRow<'r> = self.moved.iter().map(|place| row.get(*place).copied().flatten()).collect();
            // Of several rows with this old key only the last one is known here; one of them is not this one.
            if old.get(&new).is_some_and(|other| *other != number) {
                return Err(refuse("A row would get the shard key that another row of the statement has had."));
            }
        }
        rows.iter_mut().for_each(|row| row.truncate(width));
        Ok(rows)
    }

    /// The INSERT of these rows, which come with columns of these types.
    ///
    /// # Errors
    /// Refuses types that cannot be named.
    pub fn insert(&self, columns: &[u32], rows: &[SourceRow<'_>], schema: &Schema) -> Result<String> {
        let values = self.values_of_row(columns.len());
        let mut casts = Vec::with_capacity(values.len());
        let mut own = columns.iter();
        for (place, value) in values.iter().enumerate() {
            let cast = match value {
                Value::Default => None,
                Value::Constant => own.next().map(|_| String::new()),
                Value::Column | Value::Star => own
                    .next()
                    .map(|oid| if self.types.get(place) == Some(oid) { Ok(String::new()) } else { cast(*oid, schema) })
                    .transpose()?,
            };
            casts.push(cast);
        }
        let mut text = self.head.clone();
        for (number, row) in rows.iter().enumerate() {
            text.push_str(if number == 0 { "(" } else { ", (" });
            let mut own = row.iter();
            for (place, cast) in casts.iter().enumerate() {
                if place > 0 {
                    text.push_str(", ");
                }
                match (cast, cast.as_ref().and_then(|_| own.next())) {
                    (None, _) => text.push_str("DEFAULT"),
                    (Some(cast), Some(Some(value))) => {
                        let value = std::str::from_utf8(value).map_err(|_| refuse("A value of it is not in UTF-8."))?;
                        let _infallible = write!(text, "{}{cast}", literal(value));
                    }
                    (Some(_), _) => text.push_str("NULL"),
                }
            }
            text.push(')');
        }
        text.push_str(&self.tail);
        Ok(text)
    }

    /// The values of a row where the source has so many columns.
    fn values_of_row(&self, width: usize) -> Vec<Value> {
        let is_star = |value: &&Value| **value == Value::Star;
        let plain = self.values.iter().filter(|value| !matches!(value, Value::Star | Value::Default)).count();
        if self.values.iter().filter(is_star).count() != 1 {
            // Without stars this is what it is; with several nobody can tell where a constant is.
            let has_stars = self.values.contains(&Value::Star);
            return if has_stars { vec![Value::Column; width] } else { self.values.clone() };
        }
        let expand = |value: &Value| match value {
            Value::Star => vec![Value::Column; width.saturating_sub(plain)],
            other => vec![*other],
        };
        self.values.iter().flat_map(expand).collect()
    }
}

/// A string, whatever `standard_conforming_strings` says.
fn literal(value: &str) -> String {
    let quoted = postgres_protocol::escape::escape_literal(value);
    quoted.trim_start().to_owned()
}

/// `::type` for a type that a column of a query has.
fn cast(oid: u32, schema: &Schema) -> Result<String> {
    let known = type_names(oid, schema).ok_or_else(|| {
        refuse("A column of its query is of a type of users, and not of the type that it is stored as.")
    })?;
    Ok(format!("::{}", known.written()))
}

fn refuse(detail: &str) -> Error {
    Error::refuse("cannot write rows on other shards than those they are read from", detail.to_owned())
        .hint("Read the rows first, and insert them with VALUES.")
}

#[cfg(test)]
mod tests {
    use super::super::schema::Column;
    use super::*;

    fn relation() -> Relation {
        let column = |name: &str, type_oid| Column { name: name.into(), type_oid, ..Column::plain() };
        let generated = Column { is_generated: true, ..column("twice", 23) };
        Relation {
            columns: vec![column("k", 20), column("d", 1082), generated, column("v", 25)],
            ..Relation::default()
        }
    }

    fn taken_apart(text: &str, columns: &[u32], rows: &[SourceRow<'_>]) -> (String, String) {
        let collected = collect(text, &relation(), &["k".to_owned()]).unwrap();
        let mut columns = columns.to_vec();
        let rows = collected.new_rows(&mut columns, rows.to_vec()).unwrap();
        (collected.insert(&columns, &rows, &Schema::default()).unwrap(), collected.source)
    }

    #[test]
    fn an_insert_is_its_query_and_then_its_rows() {
        let row: SourceRow<'_> = vec![Some(b"7"), Some(b"2020-01-01"), None, Some(b"it's \\")];
        for (text, columns, source, insert) in [
            (
                "INSERT INTO t SELECT * FROM u WHERE a = $1",
                &[20, 1082, 23, 25][..],
                "SELECT * FROM u WHERE a = $1",
                r"INSERT INTO t VALUES ('7', '2020-01-01', NULL, E'it''s \\')",
            ),
            (
                "INSERT INTO s.t AS x (k, d, v, twice) SELECT a, '2020-01-01', NULL, b FROM u ORDER BY 1 RETURNING x.k + $1",
                &[23, 25, 25, 25],
                "SELECT a, '2020-01-01', NULL, b FROM u ORDER BY 1",
                r#"INSERT INTO s.t AS x (k, d, v, twice) VALUES ('7'::"pg_catalog"."int4", '2020-01-01', NULL, E'it''s \\'::"pg_catalog"."text") RETURNING x.k + $1"#,
            ),
            (
                "WITH w AS (SELECT 1) INSERT INTO t (k, d, twice, v) OVERRIDING USER VALUE SELECT *, 'x' FROM w ON CONFLICT DO NOTHING",
                &[1700, 1082, 23, 25],
                "WITH w AS (SELECT 1) SELECT *, 'x' FROM w",
                r#"INSERT INTO t (k, d, twice, v) OVERRIDING USER VALUE VALUES ('7'::"pg_catalog"."numeric", '2020-01-01', NULL, E'it''s \\') ON CONFLICT DO NOTHING"#,
            ),
        ] {
            assert_eq!(
                taken_apart(text, columns, std::slice::from_ref(&row)),
                (insert.into(), source.into()),
                "{text}"
            );
        }
    }

    #[test]
    fn an_update_takes_rows_away_and_puts_them_back() {
        let rows: [SourceRow<'_>; 2] =
            [vec![Some(b"5"), Some(b"2020-01-01"), Some(b"3")], vec![Some(b"5"), None, Some(b"3")]];
        assert_eq!(
            taken_apart("UPDATE t SET (k, v) = ($1, DEFAULT) WHERE t.k = 3 RETURNING *", &[20, 1082, 20], &rows),
            (
                "INSERT INTO t (k, d, v) OVERRIDING SYSTEM VALUE VALUES ('5', '2020-01-01', DEFAULT), ('5', NULL, DEFAULT) \
                 RETURNING *"
                    .into(),
                "DELETE FROM t WHERE t.k = 3 RETURNING $1, t.d, t.k".into()
            )
        );
    }

    #[test]
    fn what_cannot_be_taken_apart_is_refused() {
        let immovable = Relation { immovable: Some("it has triggers".into()), ..relation() };
        for (text, relation, part) in [
            ("UPDATE t SET k = 1", &immovable, "it has triggers"),
            ("UPDATE t SET (k, d) = (SELECT 1, NULL)", &relation(), "columns of a subquery"),
            ("WITH w AS (SELECT 1 AS k) UPDATE t SET k = 1", &relation(), "WITH"),
            ("WITH w AS (SELECT 1) INSERT INTO t WITH w AS (SELECT 2) SELECT * FROM w", &relation(), "twice"),
            (
                "WITH w AS (SELECT 1 AS k) INSERT INTO t (k) SELECT k FROM w RETURNING (SELECT k FROM w)",
                &relation(),
                "behind its rows",
            ),
            ("INSERT INTO t (v[1]) SELECT 1", &relation(), "part of a column"),
        ] {
            let error = collect(text, relation, &[]).unwrap_err();
            assert!(error.detail.as_deref().is_some_and(|detail| detail.contains(part)), "{text}: {error:?}");
        }
        let collected = collect("UPDATE t SET k = 3 - k, d = NULL, v = NULL", &relation(), &["k".to_owned()]).unwrap();
        let row = |new: &'static [u8], old: &'static [u8]| -> SourceRow<'_> { vec![Some(new), None, None, Some(old)] };
        assert!(collected.new_rows(&mut vec![20, 1082, 25, 20], vec![row(b"2", b"1"), row(b"1", b"2")]).is_err());
        assert!(collected.new_rows(&mut vec![20, 1082, 25, 20], vec![row(b"2", b"1"), row(b"0", b"3")]).is_ok());
        let collected = collect("INSERT INTO t (k) SELECT a FROM u", &relation(), &[]).unwrap();
        assert!(collected.insert(&[16_500], &[vec![None]], &Schema::default()).is_err());
    }
}
