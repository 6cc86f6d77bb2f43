//! The walk over expressions: which columns they name, and what in them would mean another thing over gathered rows.

use pg_query::protobuf::{AIndirection, ColumnRef, FuncCall, SqlValueFunctionOp, SubLink, SubLinkType, a_const};
use pg_query::{Node, NodeEnum, protobuf as pg};

use super::query::{Env, Reader, Stars, is_star, string};
use super::refuse;
use crate::sql::analyze::names;
use crate::sql::moment::names_moment;
use crate::types::Result;

/// Functions that speak of how values are stored, or of the session that they run in.
const OF_THE_SERVER: &[&str] =
    &["pg_column_compression", "pg_column_size", "pg_column_toast_chunk_id", "pg_export_snapshot", "setseed"];

/// Functions that read the time at which the transaction, or the statement, began.
const MOMENTS: &[&str] = &["now", "statement_timestamp", "transaction_timestamp"];

/// Functions that look at the columns of a row and at nothing else of it.
const OF_ANY_ROW: &[&str] = &["count", "json_agg", "jsonb_agg", "row_to_json", "to_json", "to_jsonb"];

impl Reader<'_> {
    pub fn expressions(&mut self, nodes: &[Node], env: &Env<'_>) -> Result<()> {
        nodes.iter().try_for_each(|node| self.optional(Some(node), env))
    }

    pub fn optional(&mut self, node: Option<&Node>, env: &Env<'_>) -> Result<()> {
        match node.and_then(|node| node.node.as_ref()) {
            Some(node) => self.expression(node, env),
            None => Ok(()),
        }
    }

    fn expression(&mut self, node: &NodeEnum, env: &Env<'_>) -> Result<()> {
        match node {
            NodeEnum::SetToDefault(_)
            | NodeEnum::AStar(_)
            | NodeEnum::String(_)
            | NodeEnum::Integer(_)
            | NodeEnum::ParamRef(_)
            | NodeEnum::TypeName(_)
            | NodeEnum::ColumnDef(_) => Ok(()),
            NodeEnum::AConst(constant) => {
                self.constant(constant);
                Ok(())
            }
            NodeEnum::ColumnRef(reference) => self.column(reference),
            NodeEnum::FuncCall(call) => self.call_function(call, env),
            NodeEnum::SubLink(link) => self.sublink(link, env),
            NodeEnum::AIndirection(indirection) => self.indirection(indirection, env),
            NodeEnum::SqlvalueFunction(function) => {
                self.value_function(function.op());
                Ok(())
            }
            NodeEnum::RowExpr(row) => row.args.iter().try_for_each(|value| self.member(value, env)),
            _ => self.composite(node, env),
        }
    }

    /// Nodes that only hold other expressions.
    fn composite(&mut self, node: &NodeEnum, env: &Env<'_>) -> Result<()> {
        match node {
            NodeEnum::List(list) => self.expressions(&list.items, env),
            NodeEnum::AExpr(operation) => {
                self.note_compared(operation);
                self.optional(operation.lexpr.as_deref(), env)?;
                self.optional(operation.rexpr.as_deref(), env)
            }
            NodeEnum::BoolExpr(expr) => self.expressions(&expr.args, env),
            NodeEnum::AArrayExpr(expr) => self.expressions(&expr.elements, env),
            NodeEnum::CoalesceExpr(expr) => self.expressions(&expr.args, env),
            NodeEnum::MinMaxExpr(expr) => self.expressions(&expr.args, env),
            NodeEnum::NullTest(test) => self.optional(test.arg.as_deref(), env),
            NodeEnum::BooleanTest(test) => self.optional(test.arg.as_deref(), env),
            NodeEnum::CollateClause(collate) => self.optional(collate.arg.as_deref(), env),
            NodeEnum::TypeCast(cast) => self.optional(cast.arg.as_deref(), env),
            NodeEnum::NamedArgExpr(named) => self.optional(named.arg.as_deref(), env),
            NodeEnum::SortBy(sort) => self.optional(sort.node.as_deref(), env),
            NodeEnum::ResTarget(target) => self.optional(target.val.as_deref(), env),
            NodeEnum::CaseExpr(case) => {
                self.optional(case.arg.as_deref(), env)?;
                self.expressions(&case.args, env)?;
                self.optional(case.defresult.as_deref(), env)
            }
            NodeEnum::CaseWhen(when) => {
                self.optional(when.expr.as_deref(), env)?;
                self.optional(when.result.as_deref(), env)
            }
            NodeEnum::AIndices(indices) => {
                self.optional(indices.lidx.as_deref(), env)?;
                self.optional(indices.uidx.as_deref(), env)
            }
            NodeEnum::WindowDef(window) => self.window(window, env),
            NodeEnum::GroupingFunc(grouping) => self.expressions(&grouping.args, env),
            NodeEnum::GroupingSet(set) => self.expressions(&set.content, env),
            NodeEnum::XmlExpr(xml) => {
                self.expressions(&xml.named_args, env)?;
                self.expressions(&xml.args, env)
            }
            NodeEnum::XmlSerialize(xml) => self.optional(xml.expr.as_deref(), env),
            _ => Err(refuse("an expression of a kind that is not known")),
        }
    }

    fn window(&mut self, window: &pg::WindowDef, env: &Env<'_>) -> Result<()> {
        self.expressions(&window.partition_clause, env)?;
        self.expressions(&window.order_clause, env)?;
        self.optional(window.start_offset.as_deref(), env)?;
        self.optional(window.end_offset.as_deref(), env)
    }

    /// A date or time that is a word is read when the statement is.
    fn constant(&mut self, constant: &pg::AConst) {
        if let Some(a_const::Val::Sval(text)) = &constant.val
            && names_moment(&text.sval)
        {
            self.moment.get_or_insert_with(|| format!("'{}'", text.sval));
        }
    }

    fn value_function(&mut self, function: SqlValueFunctionOp) {
        use SqlValueFunctionOp::*;
        match function {
            SvfopCurrentRole | SvfopCurrentUser | SvfopUser | SvfopSessionUser | SvfopCurrentCatalog
            | SvfopCurrentSchema => {}
            SqlvalueFunctionOpUndefined
            | SvfopCurrentDate
            | SvfopCurrentTime
            | SvfopCurrentTimeN
            | SvfopCurrentTimestamp
            | SvfopCurrentTimestampN
            | SvfopLocaltime
            | SvfopLocaltimeN
            | SvfopLocaltimestamp
            | SvfopLocaltimestampN => {
                let word = function.as_str_name().trim_start_matches("SVFOP_");
                self.moment.get_or_insert_with(|| word.trim_end_matches("_N").to_owned());
            }
        }
    }

    fn call_function(&mut self, call: &FuncCall, env: &Env<'_>) -> Result<()> {
        let name = call.funcname.last().and_then(string).unwrap_or_default();
        if OF_THE_SERVER.contains(&name) || names::is_primary_only_function(name) {
            return Err(refuse(format!("the function {name}(), which speaks of one server")));
        }
        if MOMENTS.contains(&name) || (name == "age" && call.args.len() == 1) {
            self.moment.get_or_insert_with(|| format!("{name}()"));
        }
        let takes_rows = OF_ANY_ROW.contains(&name) && call.funcname.len() == 1 && self.is_builtin(name);
        for argument in &call.args {
            match row_name(argument).filter(|_| takes_rows) {
                Some(row) => {
                    self.names.insert(row.to_owned());
                    self.rows.insert(row.to_owned());
                }
                None => self.optional(Some(argument), env)?,
            }
        }
        self.expressions(&call.agg_order, env)?;
        self.optional(call.agg_filter.as_deref(), env)?;
        match &call.over {
            Some(window) => self.window(window, env),
            None => Ok(()),
        }
    }

    fn is_builtin(&self, function: &str) -> bool {
        self.schema.functions.get(function).is_some_and(|class| class.builtin)
    }

    fn sublink(&mut self, link: &SubLink, env: &Env<'_>) -> Result<()> {
        self.optional(link.testexpr.as_deref(), env)?;
        self.has_scalar_subquery |= link.sub_link_type() == SubLinkType::ExprSublink;
        self.has_exists |= link.sub_link_type() == SubLinkType::ExistsSublink;
        let stars = match link.sub_link_type() {
            SubLinkType::ExistsSublink => Stars::Ignored,
            _ => Stars::Count,
        };
        match link.subselect.as_deref() {
            Some(query) => self.subquery(query, env, stars),
            None => Ok(()),
        }
    }

    /// Remembers the columns of `column = column`.
    fn note_compared(&mut self, operation: &pg::AExpr) {
        let is_equality = matches!(operation.name.as_slice(), [name] if string(name) == Some("="));
        let column = |side: Option<&Node>| match side.and_then(|node| node.node.as_ref()) {
            Some(NodeEnum::ColumnRef(column)) => column.fields.last().and_then(string).map(str::to_owned),
            _ => None,
        };
        match (column(operation.lexpr.as_deref()), column(operation.rexpr.as_deref())) {
            (Some(left), Some(right)) if is_equality => self.compared.extend([left, right]),
            (Some(_), Some(_)) => self.compares_otherwise = true,
            _ => {}
        }
    }

    /// `(t).column` names a column of an item of FROM.
    fn indirection(&mut self, indirection: &AIndirection, env: &Env<'_>) -> Result<()> {
        let first = indirection.indirection.first();
        match (indirection.arg.as_deref().and_then(row_name), first.and_then(string)) {
            (Some(row), Some(column)) => {
                self.names.extend([row.to_owned(), column.to_owned()]);
                self.qualified.insert((row.to_owned(), column.to_owned()));
            }
            _ => self.optional(indirection.arg.as_deref(), env)?,
        }
        indirection
            .indirection
            .iter()
            .filter(|part| string(part).is_none())
            .try_for_each(|part| self.optional(Some(part), env))
    }

    /// A member of ROW(...) or VALUES, where `t.*` stands for columns.
    fn member(&mut self, value: &Node, env: &Env<'_>) -> Result<()> {
        match &value.node {
            Some(NodeEnum::ColumnRef(reference)) if is_star(reference) => self.star_of(reference),
            _ => self.optional(Some(value), env),
        }
    }

    /// A row of VALUES.
    pub fn row(&mut self, row: &Node, env: &Env<'_>) -> Result<()> {
        match &row.node {
            Some(NodeEnum::List(list)) => list.items.iter().try_for_each(|value| self.member(value, env)),
            _ => self.optional(Some(row), env),
        }
    }

    /// `t.*`, where it stands for the columns of t.
    pub fn star_of(&mut self, reference: &ColumnRef) -> Result<()> {
        let fields: Vec<&str> = reference.fields.iter().filter_map(string).collect();
        match fields.as_slice() {
            [table] => drop(self.starred.insert((*table).to_owned())),
            [schema, table] => {
                self.starred.insert((*table).to_owned());
                self.drop_schema(reference, schema, table)?;
            }
            _ => return Err(refuse("`*` with the name of a database")),
        }
        Ok(())
    }

    fn column(&mut self, reference: &ColumnRef) -> Result<()> {
        self.note_names(reference);
        let fields: Vec<&str> = reference.fields.iter().filter_map(string).collect();
        match (fields.as_slice(), is_star(reference)) {
            ([name], false) => drop(self.bare.insert((*name).to_owned())),
            // Not in a list of columns: the row as a value.
            ([name], true) => return Err(refuse(format!("the row of \"{name}\" as a value"))),
            ([table, column], false) => drop(self.qualified.insert(((*table).to_owned(), (*column).to_owned()))),
            ([schema, table, column], false) => {
                self.qualified.insert(((*table).to_owned(), (*column).to_owned()));
                self.drop_schema(reference, schema, table)?;
            }
            _ => return Err(refuse("a column's name of this form")),
        }
        Ok(())
    }

    fn drop_schema(&mut self, reference: &ColumnRef, schema: &str, table: &str) -> Result<()> {
        self.with_schema.insert((schema.to_owned(), table.to_owned()));
        self.text.drop_schema(reference)
    }

    /// Notes what a reference may name.
    pub fn note_names(&mut self, reference: &ColumnRef) {
        self.names.extend(reference.fields.last().and_then(string).map(str::to_owned));
    }

    pub fn column_names(&mut self, names: &[Node]) {
        self.names.extend(names.iter().filter_map(string).map(str::to_owned));
    }
}

/// `t` or `t.*`, which may be the row of an item of FROM.
fn row_name(node: &Node) -> Option<&str> {
    let Some(NodeEnum::ColumnRef(reference)) = &node.node else { return None };
    match reference.fields.as_slice() {
        [name] => string(name),
        [name, _] if is_star(reference) => string(name),
        _ => None,
    }
}
