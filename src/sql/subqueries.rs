//! Writes with subqueries that a shard cannot answer for itself. A subquery that does not depend on the statement's own rows
//! gives the same whenever it is asked, so it is asked first, and its answer is written in its place.

use pg_query::NodeEnum;
use pg_query::protobuf::{
    AConst, AExpr, AExprKind, Boolean, List, Node, RowExpr, SubLink, SubLinkType, WithClause, a_const,
};

use super::schema::Schema;
use super::tree::{leading_comments, parse_one, string, written};
use super::type_names::{BOX, type_names};
use crate::types::{Error, Kind, Origin, Result};
use crate::wire;

/// What a subquery gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer<'a> {
    /// The types of its columns.
    pub columns: Vec<u32>,
    /// Values in text format.
    pub rows: Vec<Vec<Option<&'a [u8]>>>,
}

/// The subqueries of an INSERT of VALUES, an UPDATE or a DELETE whose places are such that a value can stand there instead;
/// none for any other statement. Their parameters have the numbers of the statement's own.
///
/// # Errors
/// A tree that cannot be written, which would be a bug.
pub fn subqueries(text: &str) -> Result<Vec<String>> {
    let mut statement = parse_one(text)?;
    let with = statement_with(&statement);
    let mut queries = Vec::new();
    each_subquery(&mut statement, &mut |node| {
        let Some(NodeEnum::SubLink(link)) = &node.node else { return Ok(()) };
        if let Some(query) = link.subselect.as_ref().and_then(|query| query.node.clone()) {
            queries.push(query);
        }
        Ok(())
    })?;
    if let Some(with) = with {
        // What a WITH query gives it gives once.
        let [NodeEnum::SelectStmt(select)] = queries.as_mut_slice() else { return Ok(Vec::new()) };
        if select.with_clause.is_some() || !can_lose_with(&statement)? {
            return Ok(Vec::new());
        }
        select.with_clause = Some(with);
    }
    queries.into_iter().map(written).collect()
}

/// The statement with the answers in the places of its subqueries, in their order.
///
/// # Errors
/// - [`Kind::NotSupported`] for types that cannot be written as texts.
/// - [`Kind::Cardinality`] for several rows where one value is wanted.
pub fn answered(text: &str, answers: &[Answer<'_>], schema: &Schema) -> Result<String> {
    let mut statement = parse_one(text)?;
    let mut answers = answers.iter();
    each_subquery(&mut statement, &mut |node| {
        let Some(NodeEnum::SubLink(link)) = node.node.take() else { return Ok(()) };
        let answer = answers.next().ok_or_else(|| Error::internal("a subquery was not answered"))?;
        node.node = Some(in_place_of(*link, answer, schema)?);
        Ok(())
    })?;
    drop_with(&mut statement);
    Ok(format!("{}{}", leading_comments(text), written(statement)?))
}

/// The WITH of a write.
pub(super) fn statement_with(statement: &NodeEnum) -> Option<WithClause> {
    match statement {
        NodeEnum::InsertStmt(insert) => insert.with_clause.clone(),
        NodeEnum::UpdateStmt(update) => update.with_clause.clone(),
        NodeEnum::DeleteStmt(delete) => delete.with_clause.clone(),
        NodeEnum::MergeStmt(merge) => merge.with_clause.clone(),
        _ => None,
    }
}

pub(super) fn drop_with(statement: &mut NodeEnum) {
    match statement {
        NodeEnum::InsertStmt(insert) => insert.with_clause = None,
        NodeEnum::UpdateStmt(update) => update.with_clause = None,
        NodeEnum::DeleteStmt(delete) => delete.with_clause = None,
        NodeEnum::MergeStmt(merge) => merge.with_clause = None,
        _ => {}
    }
}

/// Whether nothing but the subqueries that were found can name a WITH query.
fn can_lose_with(statement: &NodeEnum) -> Result<bool> {
    let others = match statement {
        NodeEnum::InsertStmt(_) => &[][..],
        NodeEnum::UpdateStmt(update) => update.from_clause.as_slice(),
        NodeEnum::DeleteStmt(delete) => delete.using_clause.as_slice(),
        _ => return Ok(false),
    };
    let mut rest = statement.clone();
    each_subquery(&mut rest, &mut |node| {
        node.node = Some(boolean(false));
        Ok(())
    })?;
    drop_with(&mut rest);
    // Conservative: the word may stand in a string, too.
    Ok(others.is_empty() && !written(rest)?.to_ascii_uppercase().contains("SELECT"))
}

/// Visits the outermost subqueries of a statement's expressions, always in the same order.
fn each_subquery(statement: &mut NodeEnum, visit: &mut dyn FnMut(&mut Node) -> Result<()>) -> Result<()> {
    match statement {
        NodeEnum::InsertStmt(insert) => {
            if let Some(NodeEnum::SelectStmt(select)) = insert.select_stmt.as_mut().and_then(|one| one.node.as_mut()) {
                in_all(&mut select.values_lists, visit)?;
            }
            if let Some(conflict) = &mut insert.on_conflict_clause {
                in_all(&mut conflict.target_list, visit)?;
                in_one(conflict.where_clause.as_deref_mut(), visit)?;
            }
            Ok(())
        }
        NodeEnum::UpdateStmt(update) => {
            in_all(&mut update.target_list, visit)?;
            in_one(update.where_clause.as_deref_mut(), visit)
        }
        NodeEnum::DeleteStmt(delete) => in_one(delete.where_clause.as_deref_mut(), visit),
        _ => Ok(()),
    }
}

fn in_all(nodes: &mut [Node], visit: &mut dyn FnMut(&mut Node) -> Result<()>) -> Result<()> {
    nodes.iter_mut().try_for_each(|node| in_expression(node, visit))
}

fn in_one(node: Option<&mut Node>, visit: &mut dyn FnMut(&mut Node) -> Result<()>) -> Result<()> {
    node.map_or(Ok(()), |node| in_expression(node, visit))
}

/// What stands in other nodes stays, and is refused where it was.
fn in_expression(node: &mut Node, visit: &mut dyn FnMut(&mut Node) -> Result<()>) -> Result<()> {
    match &mut node.node {
        Some(NodeEnum::SubLink(link)) if replaceable(link) => visit(node),
        Some(NodeEnum::BoolExpr(bool)) => in_all(&mut bool.args, visit),
        Some(NodeEnum::AExpr(expression)) => {
            in_one(expression.lexpr.as_deref_mut(), visit)?;
            in_one(expression.rexpr.as_deref_mut(), visit)
        }
        Some(NodeEnum::NullTest(test)) => in_one(test.arg.as_deref_mut(), visit),
        Some(NodeEnum::BooleanTest(test)) => in_one(test.arg.as_deref_mut(), visit),
        Some(NodeEnum::FuncCall(call)) => in_all(&mut call.args, visit),
        Some(NodeEnum::CoalesceExpr(coalesce)) => in_all(&mut coalesce.args, visit),
        Some(NodeEnum::MinMaxExpr(extreme)) => in_all(&mut extreme.args, visit),
        Some(NodeEnum::CaseExpr(case)) => {
            in_one(case.arg.as_deref_mut(), visit)?;
            in_all(&mut case.args, visit)?;
            in_one(case.defresult.as_deref_mut(), visit)
        }
        Some(NodeEnum::CaseWhen(when)) => {
            in_one(when.expr.as_deref_mut(), visit)?;
            in_one(when.result.as_deref_mut(), visit)
        }
        Some(NodeEnum::TypeCast(cast)) => in_one(cast.arg.as_deref_mut(), visit),
        Some(NodeEnum::CollateClause(collate)) => in_one(collate.arg.as_deref_mut(), visit),
        Some(NodeEnum::RowExpr(row)) => in_all(&mut row.args, visit),
        Some(NodeEnum::AArrayExpr(array)) => in_all(&mut array.elements, visit),
        Some(NodeEnum::List(list)) => in_all(&mut list.items, visit),
        Some(NodeEnum::ResTarget(target)) => in_one(target.val.as_deref_mut(), visit),
        _ => Ok(()),
    }
}

fn replaceable(link: &SubLink) -> bool {
    let compares_rows =
        matches!(link.testexpr.as_ref().and_then(|test| test.node.as_ref()), Some(NodeEnum::RowExpr(_)));
    match link.sub_link_type() {
        SubLinkType::ExistsSublink | SubLinkType::ExprSublink | SubLinkType::ArraySublink => true,
        // Rows are compared for equality only: IN has no operator's name.
        SubLinkType::AnySublink => !compares_rows || link.oper_name.is_empty(),
        SubLinkType::AllSublink => !compares_rows,
        _ => false,
    }
}

/// What stands for a subquery that gave this.
fn in_place_of(link: SubLink, answer: &Answer<'_>, schema: &Schema) -> Result<NodeEnum> {
    let first = || answer.columns.first().copied().ok_or_else(|| refuse("A subquery of it has no columns."));
    match link.sub_link_type() {
        SubLinkType::ExistsSublink => Ok(boolean(!answer.rows.is_empty())),
        SubLinkType::ExprSublink => match answer.rows.as_slice() {
            [] => value(first()?, None, schema),
            [row] => value(first()?, row.first().copied().flatten(), schema),
            _ => Err(Error::new(
                Origin::Client,
                Kind::Cardinality,
                "more than one row returned by a subquery used as an expression",
            )),
        },
        SubLinkType::ArraySublink => array(first()?, answer, schema),
        SubLinkType::AnySublink if answer.columns.len() > 1 => in_rows(link, answer, schema),
        kind => {
            let name = if link.oper_name.is_empty() { vec![string("=")] } else { link.oper_name };
            let rexpr = Some(Box::new(Node { node: Some(array(first()?, answer, schema)?) }));
            let mut compared = AExpr { name, lexpr: link.testexpr, rexpr, ..AExpr::default() };
            compared.set_kind(if kind == SubLinkType::AllSublink {
                AExprKind::AexprOpAll
            } else {
                AExprKind::AexprOpAny
            });
            Ok(NodeEnum::AExpr(Box::new(compared)))
        }
    }
}

/// `(a, b) IN ((1, 2), ...)`.
fn in_rows(link: SubLink, answer: &Answer<'_>, schema: &Schema) -> Result<NodeEnum> {
    if answer.rows.is_empty() {
        return Ok(boolean(false));
    }
    let row = |row: &Vec<Option<&[u8]>>| {
        let values =
            answer.columns.iter().zip(row).map(|(oid, one)| Ok(Node { node: Some(value(*oid, *one, schema)?) }));
        let mut row = RowExpr { args: values.collect::<Result<_>>()?, ..RowExpr::default() };
        row.set_row_format(pg_query::protobuf::CoercionForm::CoerceImplicitCast);
        Ok(Node { node: Some(NodeEnum::RowExpr(Box::new(row))) })
    };
    let items = answer.rows.iter().map(row).collect::<Result<_>>()?;
    let rexpr = Some(Box::new(Node { node: Some(NodeEnum::List(List { items })) }));
    let mut compared = AExpr { name: vec![string("=")], lexpr: link.testexpr, rexpr, ..AExpr::default() };
    compared.set_kind(AExprKind::AexprIn);
    Ok(NodeEnum::AExpr(Box::new(compared)))
}

pub(super) fn boolean(value: bool) -> NodeEnum {
    let val = Some(a_const::Val::Boolval(Boolean { boolval: value }));
    NodeEnum::AConst(AConst { val, ..AConst::default() })
}

/// A value of this type.
fn value(oid: u32, value: Option<&[u8]>, schema: &Schema) -> Result<NodeEnum> {
    let constant = match value {
        Some(value) => {
            let sval = std::str::from_utf8(value).map_err(|_| refuse("A value of it is not in UTF-8."))?.to_owned();
            AConst { val: Some(a_const::Val::Sval(pg_query::protobuf::String { sval })), ..AConst::default() }
        }
        None => AConst { isnull: true, ..AConst::default() },
    };
    cast(constant, oid, schema, false)
}

/// The first column's values as an array.
fn array(oid: u32, answer: &Answer<'_>, schema: &Schema) -> Result<NodeEnum> {
    cast(array_of_column(answer, 0)?, oid, schema, true)
}

/// The values of a column as an array, without its type.
pub(super) fn array_of_column(answer: &Answer<'_>, column: usize) -> Result<AConst> {
    let values = answer.rows.iter().map(|row| row.get(column).copied().flatten());
    let sval = String::from_utf8(wire::array::array(values)).map_err(|_| refuse("A value of it is not in UTF-8."))?;
    Ok(AConst { val: Some(a_const::Val::Sval(pg_query::protobuf::String { sval })), ..AConst::default() })
}

fn cast(constant: AConst, oid: u32, schema: &Schema, is_array: bool) -> Result<NodeEnum> {
    let known = type_names(oid, schema).filter(|known| !is_array || !known.is_array && oid != BOX);
    let known =
        known.ok_or_else(|| refuse("A subquery of it gives values of a type that cannot be written as text."))?;
    Ok(known.cast(Node { node: Some(NodeEnum::AConst(constant)) }, is_array))
}

fn refuse(detail: &str) -> Error {
    Error::refuse("cannot compute the subqueries of a write first", detail.to_owned())
        .hint("Send their values as literals or parameters.")
}

#[cfg(test)]
mod tests {
    use super::*;

    const INT4: u32 = 23;
    const TEXT: u32 = 25;

    fn asked(text: &str) -> Vec<String> {
        subqueries(text).unwrap()
    }

    #[test]
    fn what_can_be_asked_first_is_found() {
        for (text, expected) in [
            (
                "UPDATE t SET a = (SELECT max(x) FROM u WHERE y = $1) WHERE k = 1",
                &["SELECT max(x) FROM u WHERE y = $1"][..],
            ),
            (
                "DELETE FROM t WHERE NOT (k IN (SELECT k FROM u) OR EXISTS (SELECT FROM v)) AND coalesce(b, (SELECT 1)) > 0",
                &["SELECT k FROM u", "SELECT FROM v", "SELECT 1"],
            ),
            (
                "INSERT INTO t VALUES (1, ARRAY(SELECT x FROM u)), (2, (SELECT ARRAY[1]))",
                &["SELECT x FROM u", "SELECT ARRAY[1]"],
            ),
            (
                "WITH w AS (SELECT 1) DELETE FROM t WHERE k IN (SELECT * FROM w)",
                &["WITH w AS (SELECT 1) SELECT * FROM w"],
            ),
            ("WITH w AS (SELECT 1) DELETE FROM t USING w WHERE k IN (SELECT * FROM w)", &[]),
            ("WITH w AS (SELECT 1) DELETE FROM t WHERE k IN (SELECT * FROM w) RETURNING (SELECT 1 FROM w)", &[]),
            ("UPDATE t SET (a, b) = (SELECT 1, 2)", &[]),
            ("DELETE FROM t WHERE k = 1 RETURNING (SELECT 1)", &[]),
            ("SELECT (SELECT 1)", &[]),
        ] {
            assert_eq!(asked(text), expected, "{text}");
        }
    }

    #[test]
    fn answers_stand_in_the_places_of_subqueries() {
        let one = |oid, values: &[Option<&'static str>]| Answer {
            columns: vec![oid],
            rows: values.iter().map(|value| vec![value.map(str::as_bytes)]).collect(),
        };
        let pairs =
            Answer { columns: vec![INT4, TEXT], rows: vec![vec![Some(b"1"), Some(b"it's")], vec![None, Some(b"b")]] };
        for (text, answer, expected) in [
            (
                "DELETE FROM t WHERE k IN (SELECT 1)",
                one(INT4, &[Some("1"), None]),
                r#"DELETE FROM t WHERE k = ANY('{"1",NULL}'::int[])"#,
            ),
            (
                "DELETE FROM t WHERE k NOT IN (SELECT 1)",
                one(TEXT, &[Some(r#"a"\"#)]),
                r#"DELETE FROM t WHERE NOT k = ANY(E'{"a\\"\\\\"}'::pg_catalog.text[])"#,
            ),
            ("DELETE FROM t WHERE k <> ALL (SELECT 1)", one(INT4, &[]), "DELETE FROM t WHERE k <> ALL('{}'::int[])"),
            (
                "DELETE FROM t WHERE (a, b) IN (SELECT 1, 'x')",
                pairs,
                "DELETE FROM t WHERE (a, b) IN (('1'::int, 'it''s'::pg_catalog.text), (NULL::int, 'b'::pg_catalog.text))",
            ),
            (
                "DELETE FROM t WHERE (a, b) IN (SELECT 1, 'x')",
                Answer { columns: vec![INT4, TEXT], rows: Vec::new() },
                "DELETE FROM t WHERE false",
            ),
            ("UPDATE t SET a = (SELECT 1) + 1", one(INT4, &[]), "UPDATE t SET a = NULL::int + 1"),
            ("UPDATE t SET a = ARRAY(SELECT 1)", one(INT4, &[Some("5")]), r#"UPDATE t SET a = '{"5"}'::int[]"#),
            ("DELETE FROM t WHERE EXISTS (SELECT 1)", one(INT4, &[None]), "DELETE FROM t WHERE true"),
        ] {
            assert_eq!(answered(text, &[answer], &Schema::default()).unwrap(), expected, "{text}");
        }
        let two = answered("UPDATE t SET a = (SELECT 1)", &[one(INT4, &[None, None])], &Schema::default()).unwrap_err();
        assert_eq!(two.kind, Kind::Cardinality);
        assert!(answered("UPDATE t SET a = ARRAY(SELECT 1)", &[one(1007, &[None])], &Schema::default()).is_err());
        assert!(answered("UPDATE t SET a = (SELECT 1)", &[one(16_500, &[None])], &Schema::default()).is_err());
    }
}
