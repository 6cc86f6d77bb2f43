//! Expressions that give on every shard what they would give on one server: made of columns, literals, parameters and
//! built-ins whose result depends on their arguments and the session's settings only.

use std::cell::Cell;

use pg_query::NodeEnum;
use pg_query::protobuf::{AConst, AExpr, AExprKind, ColumnRef, FuncCall, Node, TypeCast, TypeName, WindowDef, a_const};

use super::super::moment::names_moment;
use super::super::schema::{FunctionClass, Volatility};
use super::refuse;
use super::scope::{Bound, Scope};
use super::subquery::prove_local;
use crate::types::Result;

/// Built-in functions of which some overload is STABLE, but only because it depends on settings of the session
/// (TimeZone, DateStyle, lc_time, ...), on the encoding or on types' output functions: the same on every shard.
const STEADY_FUNCTIONS: &[&str] = &[
    "array_to_string",
    "concat",
    "concat_ws",
    "date",
    "date_part",
    "date_trunc",
    "extract",
    "format",
    "generate_series",
    "length",
    "make_timestamptz",
    "overlaps",
    "quote_literal",
    "quote_nullable",
    "timezone",
    "to_char",
    "to_date",
    "to_number",
    "to_timestamp",
];

/// Volatile built-ins that know nothing of the server and the session that evaluate them.
const BY_ROW_FUNCTIONS: &[&str] = &["clock_timestamp", "gen_random_uuid", "random", "timeofday"];

/// PostgreSQL's own operators. A user may have defined others, with any effect.
const OPERATORS: &[&str] = &[
    "=", "<>", "<", "<=", ">", ">=", "+", "-", "*", "/", "%", "^", "|/", "||/", "@", "&", "|", "#", "~", "<<", ">>",
    "||", "~~", "!~~", "~~*", "!~~*", "~*", "!~", "!~*", "^@", "->", "->>", "#>", "#>>", "#-", "@>", "<@", "?", "?|",
    "?&", "@?", "@@", "&&", "&<", "&>", "-|-",
];

/// Types that a value may be cast to: input and output of the same value are the same on every shard. The reg* types
/// are not among them (OIDs differ between shards), nor are domains and other types of users.
const CAST_TYPES: &[&str] = &[
    "bit",
    "bool",
    "box",
    "bpchar",
    "bytea",
    "char",
    "cidr",
    "circle",
    "date",
    "datemultirange",
    "daterange",
    "float4",
    "float8",
    "inet",
    "int2",
    "int4",
    "int4multirange",
    "int4range",
    "int8",
    "int8multirange",
    "int8range",
    "interval",
    "json",
    "jsonb",
    "line",
    "lseg",
    "macaddr",
    "macaddr8",
    "name",
    "numeric",
    "nummultirange",
    "numrange",
    "path",
    "point",
    "polygon",
    "text",
    "time",
    "timestamp",
    "timestamptz",
    "timetz",
    "tsmultirange",
    "tsrange",
    "tstzmultirange",
    "tstzrange",
    "tsvector",
    "uuid",
    "varbit",
    "varchar",
];

/// Checks an expression and gives it in a form in which two of them are equal exactly if they mean the same: columns
/// carry their relation's alias, and positions in the text are gone.
///
/// # Errors
/// Refuses what may differ between shards, and aggregates, which are no part of row expressions.
pub fn normal_form(expression: &Node, scope: &Scope<'_>) -> Result<Node> {
    let mut normal = expression.clone();
    Normalizer { scope, calls: Calls::OfRows, contents: Cell::default() }.node(&mut normal)?;
    Ok(normal)
}

/// As [`normal_form`] for an expression that may call aggregates and window functions; says whether it does.
///
/// # Errors
/// Refuses what may differ between shards.
pub fn whole_form(expression: &Node, scope: &Scope<'_>) -> Result<(Node, Contents)> {
    let mut normal = expression.clone();
    let normalizer = Normalizer { scope, calls: Calls::Any, contents: Cell::default() };
    normalizer.node(&mut normal)?;
    Ok((normal, normalizer.contents.get()))
}

/// What an expression calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    pub aggregate: bool,
    pub window: bool,
}

impl Contents {
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { aggregate: self.aggregate || other.aggregate, window: self.window || other.window }
    }
}

/// Binds a column reference.
pub fn bind<'n>(column: &'n ColumnRef, scope: &Scope<'_>) -> Result<Bound<'n>> {
    match column.fields.as_slice() {
        [name] => scope.bind(None, string(name)?),
        [alias, name] => scope.bind(Some(string(alias)?), string(name)?),
        _ => Err(refuse("a column name of more than two parts").hint("Give the table an alias.")),
    }
}

/// The name of a column reference without qualifier.
pub fn bare_name(node: &Node) -> Option<&str> {
    match &node.node {
        Some(NodeEnum::ColumnRef(column)) => match column.fields.as_slice() {
            [name] => string(name).ok(),
            _ => None,
        },
        _ => None,
    }
}

/// The reference `alias.name`, or `name`.
pub fn column_reference(alias: Option<&str>, name: &str) -> Node {
    let fields = alias.into_iter().chain([name]).map(string_node).collect();
    Node { node: Some(NodeEnum::ColumnRef(ColumnRef { fields, location: 0 })) }
}

/// The text of a String node, which names are made of.
pub fn string(node: &Node) -> Result<&str> {
    match &node.node {
        Some(NodeEnum::String(string)) => Ok(&string.sval),
        Some(NodeEnum::AStar(_)) => Err(refuse("* inside an expression")),
        _ => Err(refuse("a name that is not a plain identifier")),
    }
}

pub fn string_node(text: &str) -> Node {
    Node { node: Some(NodeEnum::String(pg_query::protobuf::String { sval: text.to_owned() })) }
}

/// The name of an operator of PostgreSQL's own.
pub fn operator(operation: &AExpr) -> Result<&str> {
    let name = built_in_name(&operation.name)?;
    if OPERATORS.contains(&name) { Ok(name) } else { Err(refuse(format!("the operator {name}"))) }
}

/// A name without schema, or with pg_catalog for its schema.
pub fn built_in_name(names: &[Node]) -> Result<&str> {
    match names {
        [name] => string(name),
        [schema, name] if string(schema)? == "pg_catalog" => string(name),
        _ => Err(refuse("a function, operator or type with a schema")),
    }
}

/// The class of a function that is built in.
///
/// # Errors
/// Refuses functions of users, and names that are not known.
pub fn built_in_function<'n>(call: &'n FuncCall, scope: &Scope<'_>) -> Result<(&'n str, FunctionClass)> {
    let name = built_in_name(&call.funcname)?;
    match scope.schema.functions.get(name) {
        Some(class) if class.builtin => Ok((name, *class)),
        _ => Err(refuse(format!("the function {name}(), which is not built in"))),
    }
}

/// Clears the positions that a construct of expressions has in its text, and gives the expressions that it is made of.
///
/// # Errors
/// Refuses constructs that are not known.
pub fn parts_mut(node: &mut NodeEnum) -> Result<Vec<&mut Node>> {
    let mut parts: Vec<&mut Node> = Vec::new();
    match node {
        NodeEnum::ColumnRef(column) => column.location = 0,
        NodeEnum::ParamRef(parameter) => parameter.location = 0,
        NodeEnum::AConst(constant) => constant.location = 0,
        NodeEnum::TypeCast(cast) => {
            cast.location = 0;
            parts.extend(cast.arg.as_deref_mut());
        }
        NodeEnum::FuncCall(call) => {
            call.location = 0;
            parts.extend(call.args.iter_mut().chain(&mut call.agg_order));
            parts.extend(call.agg_filter.as_deref_mut());
            parts.extend(call.over.as_deref_mut().into_iter().flat_map(window_parts_mut));
        }
        NodeEnum::AExpr(operation) => {
            (operation.location, operation.rexpr_list_start, operation.rexpr_list_end) = (0, 0, 0);
            parts.extend(operation.lexpr.as_deref_mut());
            parts.extend(operation.rexpr.as_deref_mut());
        }
        NodeEnum::List(list) => parts.extend(&mut list.items),
        NodeEnum::BoolExpr(bool) => {
            bool.location = 0;
            parts.extend(&mut bool.args);
        }
        NodeEnum::NullTest(test) => {
            test.location = 0;
            parts.extend(test.arg.as_deref_mut());
        }
        NodeEnum::BooleanTest(test) => {
            test.location = 0;
            parts.extend(test.arg.as_deref_mut());
        }
        NodeEnum::CaseExpr(case) => {
            case.location = 0;
            parts.extend(case.arg.as_deref_mut());
            parts.extend(&mut case.args);
            parts.extend(case.defresult.as_deref_mut());
        }
        NodeEnum::CaseWhen(when) => {
            when.location = 0;
            parts.extend(when.expr.as_deref_mut());
            parts.extend(when.result.as_deref_mut());
        }
        NodeEnum::CoalesceExpr(coalesce) => {
            coalesce.location = 0;
            parts.extend(&mut coalesce.args);
        }
        NodeEnum::MinMaxExpr(extreme) => {
            extreme.location = 0;
            parts.extend(&mut extreme.args);
        }
        NodeEnum::AArrayExpr(array) => {
            (array.location, array.list_start, array.list_end) = (0, 0, 0);
            parts.extend(&mut array.elements);
        }
        NodeEnum::RowExpr(row) => {
            row.location = 0;
            parts.extend(&mut row.args);
        }
        NodeEnum::CollateClause(collate) => {
            collate.location = 0;
            parts.extend(collate.arg.as_deref_mut());
        }
        NodeEnum::AIndirection(indirection) => {
            parts.extend(indirection.arg.as_deref_mut());
            parts.extend(&mut indirection.indirection);
        }
        NodeEnum::AIndices(indices) => {
            parts.extend(indices.lidx.as_deref_mut());
            parts.extend(indices.uidx.as_deref_mut());
        }
        // A field of a composite value.
        NodeEnum::String(_) => {}
        NodeEnum::SortBy(item) => {
            if !item.use_op.is_empty() {
                return Err(refuse("ORDER BY ... USING"));
            }
            item.location = 0;
            parts.extend(item.node.as_deref_mut());
        }
        NodeEnum::WindowDef(window) => parts.extend(window_parts_mut(window)),
        other => return Err(refuse(describe(other))),
    }
    Ok(parts)
}

/// The expressions of a window's definition.
fn window_parts_mut(window: &mut WindowDef) -> Vec<&mut Node> {
    window.location = 0;
    let offsets = window.start_offset.as_deref_mut().into_iter().chain(window.end_offset.as_deref_mut());
    window.partition_clause.iter_mut().chain(&mut window.order_clause).chain(offsets).collect()
}

/// Which calls an expression may have.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Calls {
    OfRows,
    Any,
}

/// Whether a call aggregates rows. A window function without OVER is one that has an aggregate of its name:
/// `rank(5) WITHIN GROUP (ORDER BY x)`.
pub fn is_aggregate(call: &FuncCall, class: FunctionClass) -> bool {
    call.over.is_none() && (class.aggregate || class.window)
}

struct Normalizer<'a, 's> {
    scope: &'a Scope<'s>,
    calls: Calls,
    contents: Cell<Contents>,
}

impl Normalizer<'_, '_> {
    fn node(&self, node: &mut Node) -> Result<()> {
        let Some(construct) = &mut node.node else { return Err(refuse("an empty part of an expression")) };
        match construct {
            NodeEnum::ColumnRef(column) => self.column(column)?,
            NodeEnum::AConst(constant) => literal(constant)?,
            NodeEnum::TypeCast(cast) => self.cast(cast)?,
            NodeEnum::FuncCall(call) => self.function(call)?,
            NodeEnum::AExpr(operation) => check_operator(operation)?,
            NodeEnum::SubLink(link) => {
                prove_local(link, self.scope)?;
                return link.testexpr.as_deref_mut().map_or(Ok(()), |compared| self.node(compared));
            }
            NodeEnum::String(_) => return Err(refuse("a field of a composite value")),
            NodeEnum::SortBy(_) | NodeEnum::WindowDef(_) if self.calls == Calls::OfRows => {
                return Err(refuse(describe(construct)));
            }
            _ => {}
        }
        parts_mut(construct)?.into_iter().try_for_each(|part| self.node(part))
    }

    fn column(&self, column: &mut ColumnRef) -> Result<()> {
        let bound = bind(column, self.scope)?;
        let alias = &self.scope.relations[bound.relation].alias;
        column.fields = vec![string_node(alias), string_node(bound.column)];
        Ok(())
    }

    fn cast(&self, cast: &mut TypeCast) -> Result<()> {
        cast.type_name.as_mut().map_or(Ok(()), |type_name| self.type_name(type_name))
    }

    fn type_name(&self, type_name: &mut TypeName) -> Result<()> {
        type_name.location = 0;
        if !type_name.setof && !type_name.pct_type && self.names_enum(type_name)? {
            return Ok(());
        }
        let name = built_in_name(&type_name.names)?;
        // An array's name is its elements' behind a dash.
        let is_known = CAST_TYPES.contains(&name.strip_prefix('_').unwrap_or(name));
        if type_name.setof || type_name.pct_type || !is_known {
            return Err(refuse(format!("a cast to the type {name}")));
        }
        type_name.typmods.iter_mut().try_for_each(|modifier| self.node(modifier))
    }

    /// Labels are read by nothing but the enum's definition.
    fn names_enum(&self, type_name: &TypeName) -> Result<bool> {
        let schema = self.scope.schema;
        Ok(match type_name.names.as_slice() {
            [name] => schema.names_enum(None, string(name)?),
            [own, name] => schema.names_enum(Some(string(own)?), string(name)?),
            _ => false,
        })
    }

    fn function(&self, call: &mut FuncCall) -> Result<()> {
        let (name, class) = built_in_function(call, self.scope)?;
        let called = Contents { aggregate: is_aggregate(call, class), window: call.over.is_some() };
        if called != Contents::default() {
            return self.call_of_many_rows(name, called).map(|()| {
                // A name with its schema means the same.
                let last = call.funcname.len().saturating_sub(1);
                drop(call.funcname.drain(..last));
            });
        }
        // It makes several rows of one row of VALUES, but only where that is the only one.
        if self.scope.evaluated_by_row && class.returns_set {
            return Err(refuse(format!("the function {name}(), which gives a set of rows")));
        }
        let by_row = self.scope.evaluated_by_row && BY_ROW_FUNCTIONS.contains(&name);
        if class.volatility != Volatility::Immutable && !STEADY_FUNCTIONS.contains(&name) && !by_row {
            return Err(refuse(format!("the function {name}(), which each shard would evaluate for itself")));
        }
        Ok(())
    }

    fn call_of_many_rows(&self, name: &str, called: Contents) -> Result<()> {
        match self.calls {
            Calls::Any => {
                self.contents.set(self.contents.get().and(called));
                Ok(())
            }
            Calls::OfRows if called.window => Err(refuse("a window function")),
            Calls::OfRows => {
                Err(refuse(format!("the aggregate {name}() as part of an expression or outside the select list")))
            }
        }
    }
}

fn check_operator(operation: &AExpr) -> Result<()> {
    match operation.kind() {
        AExprKind::Undefined => Err(refuse("an operation of an unknown kind")),
        // BETWEEN carries its own words for a name; PostgreSQL turns them into comparisons.
        AExprKind::AexprBetween
        | AExprKind::AexprNotBetween
        | AExprKind::AexprBetweenSym
        | AExprKind::AexprNotBetweenSym => Ok(()),
        _ => operator(operation).map(drop),
    }
}

/// Refuses a string that a date or time type would read as the current moment: each shard has another one.
fn literal(constant: &AConst) -> Result<()> {
    match &constant.val {
        Some(a_const::Val::Sval(string)) if names_moment(&string.sval) => {
            Err(refuse(format!("the literal '{}', which each shard could read as a time of its own", string.sval)))
        }
        _ => Ok(()),
    }
}

/// The words for a construct that is refused; the parse node's name where no better ones are at hand.
fn describe(node: &NodeEnum) -> String {
    match node {
        NodeEnum::SubLink(_) => "a subquery".to_owned(),
        NodeEnum::SqlvalueFunction(_) => {
            "CURRENT_TIMESTAMP, CURRENT_USER or another value that each shard would take for itself".to_owned()
        }
        NodeEnum::NamedArgExpr(_) => "a function argument by name".to_owned(),
        NodeEnum::GroupingFunc(_) => "GROUPING()".to_owned(),
        NodeEnum::SetToDefault(_) => "DEFAULT".to_owned(),
        other => {
            let debug = format!("{other:?}");
            format!("the construct {}", debug.split('(').next().unwrap_or_default())
        }
    }
}
