//! Rows that stand in a statement: a subquery in FROM that unnests one array for each column. Whatever their number, that is far
//! less to parse than so many rows of VALUES, and no rows are rows, too.

use pg_query::NodeEnum;
use pg_query::protobuf::{
    AConst, Alias, CoercionForm, ColumnRef, FuncCall, List, Node, RangeFunction, RangeSubselect, SelectStmt, TypeCast,
    a_const,
};

use super::{SourceRows, nameless, refuse};
use crate::sql::schema::Schema;
use crate::sql::subqueries::{Answer, array_of_column};
use crate::sql::tree::{clause_beyond_rows, plain_select, string, target};
use crate::sql::type_names::{BOX, TypeNames, type_names};
use crate::types::Result;

/// What the rows are called inside of the query that gives them.
const ROWS: &str = "given";

/// The OID of text, in whose arrays any value can stand.
const TEXT: u32 = 25;

/// Rows as an item of FROM that goes by this name.
///
/// # Errors
/// Refuses rows without a name or columns, and types that cannot be written as texts.
pub(super) fn given(name: Option<&str>, rows: &SourceRows<'_>, schema: &Schema) -> Result<Node> {
    let name = name.ok_or_else(nameless)?;
    if rows.names.is_empty() {
        return Err(refuse("A source of it has no columns."));
    }
    let (mut arrays, mut targets, mut inner_names) = (Vec::new(), Vec::new(), Vec::new());
    for (place, (column, oid)) in rows.names.iter().zip(&rows.answer.columns).enumerate() {
        let inner = inner_name(place + 1);
        let (array, value) = column_of(&rows.answer, place, *oid, &inner, schema)?;
        arrays.push(array);
        targets.push(target(column, Some(value)));
        inner_names.push(string(&inner));
    }
    // Only without a schema it may have several arguments.
    let mut call = FuncCall { funcname: vec![string("unnest")], args: arrays, ..FuncCall::default() };
    call.set_funcformat(CoercionForm::CoerceExplicitCall);
    let call = Node { node: Some(NodeEnum::FuncCall(Box::new(call))) };
    let function = RangeFunction {
        functions: vec![Node { node: Some(NodeEnum::List(List { items: vec![call, Node { node: None }] })) }],
        alias: Some(Alias { aliasname: ROWS.to_owned(), colnames: inner_names }),
        ..RangeFunction::default()
    };
    let from = Node { node: Some(NodeEnum::RangeFunction(function)) };
    let select = plain_select(targets, vec![from]);
    let query = RangeSubselect {
        subquery: Some(Box::new(Node { node: Some(NodeEnum::SelectStmt(Box::new(select))) })),
        alias: Some(Alias { aliasname: name.to_owned(), colnames: Vec::new() }),
        ..RangeSubselect::default()
    };
    Ok(Node { node: Some(NodeEnum::RangeSubselect(Box::new(query))) })
}

/// A column's values as an array, and what gives a value of the column's type of an element that is called so.
fn column_of(answer: &Answer<'_>, place: usize, oid: u32, name: &str, schema: &Schema) -> Result<(Node, NodeEnum)> {
    let types = named(oid, schema)?;
    // Arrays of arrays are read as arrays of more dimensions.
    let as_text = types.is_array || oid == BOX;
    let elements = if as_text { named(TEXT, schema)? } else { types.clone() };
    let array = Node { node: Some(NodeEnum::AConst(array_of_column(answer, place)?)) };
    let array = Node { node: Some(elements.cast(array, true)) };
    let element = NodeEnum::ColumnRef(ColumnRef { fields: vec![string(ROWS), string(name)], location: 0 });
    let value = if as_text { types.cast(Node { node: Some(element) }, false) } else { element };
    Ok((array, value))
}

fn named(oid: u32, schema: &Schema) -> Result<TypeNames> {
    type_names(oid, schema)
        .ok_or_else(|| refuse("A source of it has a column of a type that cannot be written as text."))
}

/// Whether rows stand there.
pub fn is_given(source: &Node) -> bool {
    given_select(source).is_some()
}

/// The values of rows that stand there, as an array's text for each column, in the order of the columns. `None` for any other
/// source.
pub fn given_arrays(source: &mut Node) -> Option<Vec<&mut String>> {
    given_select(source)?;
    let Some(NodeEnum::RangeSubselect(query)) = &mut source.node else { return None };
    let Some(NodeEnum::SelectStmt(select)) = query.subquery.as_mut()?.node.as_mut() else { return None };
    let Some(NodeEnum::RangeFunction(function)) = &mut select.from_clause.first_mut()?.node else { return None };
    let Some(NodeEnum::List(only)) = &mut function.functions.first_mut()?.node else { return None };
    let Some(NodeEnum::FuncCall(call)) = only.items.first_mut()?.node.as_mut() else { return None };
    call.args.iter_mut().map(array_text).collect()
}

fn array_text(array: &mut Node) -> Option<&mut String> {
    let Some(NodeEnum::TypeCast(cast)) = &mut array.node else { return None };
    match cast.arg.as_mut()?.node.as_mut()? {
        NodeEnum::AConst(AConst { val: Some(a_const::Val::Sval(text)), .. }) => Some(&mut text.sval),
        _ => None,
    }
}

/// The names of the types of the columns, as far as they are those of the arrays' elements.
pub fn given_types(source: &Node) -> Option<Vec<Option<String>>> {
    let (select, call) = given_select(source)?;
    let columns = select.target_list.iter().zip(&call.args);
    Some(columns.map(|(target, array)| element_type(array).filter(|_| is_bare(target))).collect())
}

fn element_type(array: &Node) -> Option<String> {
    let Some(NodeEnum::TypeCast(cast)) = &array.node else { return None };
    match cast.type_name.as_ref()?.names.last()?.node.as_ref()? {
        NodeEnum::String(name) => Some(name.sval.clone()),
        _ => None,
    }
}

/// The query that gives rows, and the call of `unnest` in it, if it is just what [`given`] makes: nobody else's may be taken for
/// it.
fn given_select(source: &Node) -> Option<(&SelectStmt, &FuncCall)> {
    let Some(NodeEnum::RangeSubselect(query)) = &source.node else { return None };
    let Some(NodeEnum::SelectStmt(select)) = query.subquery.as_ref()?.node.as_ref() else { return None };
    let [Node { node: Some(NodeEnum::RangeFunction(function)) }] = select.from_clause.as_slice() else { return None };
    let call = unnest_alone(function)?;
    let names: Vec<Node> = (1..=call.args.len()).map(|place| string(&inner_name(place))).collect();
    let is_plain = !query.lateral
        && query.alias.as_ref().is_some_and(|alias| alias.colnames.is_empty())
        && clause_beyond_rows(select).is_none()
        && select.where_clause.is_none()
        && select.into_clause.is_none();
    let is_named = function.alias.as_ref().is_some_and(|alias| alias.aliasname == ROWS && alias.colnames == names);
    let gives = select.target_list.len() == names.len()
        && select.target_list.iter().enumerate().all(|(place, target)| is_value_of(target, place + 1));
    (is_plain && is_named && gives).then_some((select, call))
}

/// The call of `unnest`, if that is all that a function in FROM does.
fn unnest_alone(function: &RangeFunction) -> Option<&FuncCall> {
    let is_more = function.lateral || function.ordinality || function.is_rowsfrom || !function.coldeflist.is_empty();
    let [Node { node: Some(NodeEnum::List(only)) }] = function.functions.as_slice() else { return None };
    let [Node { node: Some(NodeEnum::FuncCall(call)) }, Node { node: None }] = only.items.as_slice() else {
        return None;
    };
    let is_plain = call.funcname == [string("unnest")] && call.over.is_none() && !call.func_variadic;
    let is_array = |argument: &Node| match &argument.node {
        Some(NodeEnum::TypeCast(cast)) => {
            let text = cast.arg.as_ref().and_then(|value| value.node.as_ref());
            let is_text = matches!(text, Some(NodeEnum::AConst(AConst { val: Some(a_const::Val::Sval(_)), .. })));
            is_text && has_no_modifier(cast)
        }
        _ => false,
    };
    (is_plain && !is_more && call.args.iter().all(is_array)).then_some(call.as_ref())
}

/// Whether a target is the column of the rows at this place, perhaps cast to its type.
fn is_value_of(target: &Node, place: usize) -> bool {
    let is_own = |value: &Node| match &value.node {
        Some(NodeEnum::ColumnRef(column)) => column.fields == [string(ROWS), string(&inner_name(place))],
        _ => false,
    };
    let Some(NodeEnum::ResTarget(target)) = &target.node else { return false };
    match target.val.as_deref() {
        Some(Node { node: Some(NodeEnum::TypeCast(cast)) }) => {
            has_no_modifier(cast) && cast.arg.as_deref().is_some_and(is_own)
        }
        Some(value) => is_own(value),
        None => false,
    }
}

fn has_no_modifier(cast: &TypeCast) -> bool {
    cast.type_name.as_ref().is_some_and(|type_name| type_name.typmods.is_empty())
}

fn is_bare(target: &Node) -> bool {
    match &target.node {
        Some(NodeEnum::ResTarget(target)) => {
            matches!(target.val.as_deref(), Some(Node { node: Some(NodeEnum::ColumnRef(_)) }))
        }
        _ => false,
    }
}

/// What a column of the rows is called inside.
fn inner_name(place: usize) -> String {
    format!("c{place}")
}
