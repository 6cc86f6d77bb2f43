//! Expressions that give on every shard what they would give on one server: made of columns, literals, parameters and
//! built-ins whose result depends on their arguments and the session's settings only.

use pg_query::NodeEnum;
use pg_query::protobuf::{AConst, AExpr, AExprKind, ColumnRef, FuncCall, Node, TypeCast, TypeName, a_const};

use super::super::moment::names_moment;
use super::super::schema::{FunctionClass, Volatility};
use super::refuse;
use super::scope::{Bound, Scope};
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
    "bpchar",
    "bytea",
    "char",
    "cidr",
    "date",
    "float4",
    "float8",
    "inet",
    "int2",
    "int4",
    "int8",
    "interval",
    "json",
    "jsonb",
    "macaddr",
    "name",
    "numeric",
    "text",
    "time",
    "timestamp",
    "timestamptz",
    "timetz",
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
    Normalizer { scope }.node(&mut normal)?;
    Ok(normal)
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

struct Normalizer<'a, 's> {
    scope: &'a Scope<'s>,
}

impl Normalizer<'_, '_> {
    fn node(&self, node: &mut Node) -> Result<()> {
        match &mut node.node {
            Some(NodeEnum::ColumnRef(column)) => self.column(column),
            Some(NodeEnum::ParamRef(parameter)) => {
                parameter.location = 0;
                Ok(())
            }
            Some(NodeEnum::AConst(constant)) => literal(constant),
            Some(NodeEnum::TypeCast(cast)) => self.cast(cast),
            Some(NodeEnum::FuncCall(call)) => self.function(call),
            Some(NodeEnum::AExpr(operation)) => self.operation(operation),
            Some(NodeEnum::List(list)) => self.nodes(&mut list.items),
            Some(other) => self.construct(other),
            None => Err(refuse("an empty part of an expression")),
        }
    }

    /// Constructs of the grammar that only combine other expressions.
    fn construct(&self, node: &mut NodeEnum) -> Result<()> {
        match node {
            NodeEnum::BoolExpr(bool) => {
                bool.location = 0;
                self.nodes(&mut bool.args)
            }
            NodeEnum::NullTest(test) => {
                test.location = 0;
                self.optional(&mut test.arg)
            }
            NodeEnum::BooleanTest(test) => {
                test.location = 0;
                self.optional(&mut test.arg)
            }
            NodeEnum::CaseExpr(case) => {
                case.location = 0;
                self.optional(&mut case.arg)?;
                self.nodes(&mut case.args)?;
                self.optional(&mut case.defresult)
            }
            NodeEnum::CaseWhen(when) => {
                when.location = 0;
                self.optional(&mut when.expr)?;
                self.optional(&mut when.result)
            }
            NodeEnum::CoalesceExpr(coalesce) => {
                coalesce.location = 0;
                self.nodes(&mut coalesce.args)
            }
            NodeEnum::MinMaxExpr(extreme) => {
                extreme.location = 0;
                self.nodes(&mut extreme.args)
            }
            NodeEnum::AArrayExpr(array) => {
                (array.location, array.list_start, array.list_end) = (0, 0, 0);
                self.nodes(&mut array.elements)
            }
            NodeEnum::RowExpr(row) => {
                row.location = 0;
                self.nodes(&mut row.args)
            }
            NodeEnum::CollateClause(collate) => {
                collate.location = 0;
                self.optional(&mut collate.arg)
            }
            NodeEnum::AIndirection(indirection) => {
                self.optional(&mut indirection.arg)?;
                self.nodes(&mut indirection.indirection)
            }
            NodeEnum::AIndices(indices) => {
                self.optional(&mut indices.lidx)?;
                self.optional(&mut indices.uidx)
            }
            other => Err(refuse(describe(other))),
        }
    }

    fn nodes(&self, nodes: &mut [Node]) -> Result<()> {
        nodes.iter_mut().try_for_each(|node| self.node(node))
    }

    fn optional(&self, node: &mut Option<Box<Node>>) -> Result<()> {
        node.as_mut().map_or(Ok(()), |node| self.node(node))
    }

    fn column(&self, column: &mut ColumnRef) -> Result<()> {
        let bound = bind(column, self.scope)?;
        let alias = &self.scope.relations[bound.relation].alias;
        column.fields = vec![string_node(alias), string_node(bound.column)];
        column.location = 0;
        Ok(())
    }

    fn operation(&self, operation: &mut AExpr) -> Result<()> {
        if operation.kind() == AExprKind::Undefined {
            return Err(refuse("an operation of an unknown kind"));
        }
        // BETWEEN carries its own words for a name; PostgreSQL turns them into comparisons.
        let is_between = matches!(
            operation.kind(),
            AExprKind::AexprBetween
                | AExprKind::AexprNotBetween
                | AExprKind::AexprBetweenSym
                | AExprKind::AexprNotBetweenSym
        );
        if !is_between {
            operator(operation)?;
        }
        (operation.location, operation.rexpr_list_start, operation.rexpr_list_end) = (0, 0, 0);
        self.optional(&mut operation.lexpr)?;
        self.optional(&mut operation.rexpr)
    }

    fn cast(&self, cast: &mut TypeCast) -> Result<()> {
        cast.location = 0;
        if let Some(type_name) = &mut cast.type_name {
            self.type_name(type_name)?;
        }
        self.optional(&mut cast.arg)
    }

    fn type_name(&self, type_name: &mut TypeName) -> Result<()> {
        type_name.location = 0;
        if !type_name.setof && !type_name.pct_type && self.names_enum(type_name)? {
            return Ok(());
        }
        let name = built_in_name(&type_name.names)?;
        if type_name.setof || type_name.pct_type || !CAST_TYPES.contains(&name) {
            return Err(refuse(format!("a cast to the type {name}")));
        }
        self.nodes(&mut type_name.typmods)
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
        call.location = 0;
        if call.over.is_some() {
            return Err(refuse("a window function"));
        }
        let (name, class) = built_in_function(call, self.scope)?;
        if class.aggregate {
            return Err(refuse(format!("the aggregate {name}() as part of an expression or outside the select list")));
        }
        if class.window {
            return Err(refuse(format!("the window function {name}()")));
        }
        // It makes several rows of one row of VALUES, but only where that is the only one.
        if self.scope.evaluated_by_row && class.returns_set {
            return Err(refuse(format!("the function {name}(), which gives a set of rows")));
        }
        let by_row = self.scope.evaluated_by_row && BY_ROW_FUNCTIONS.contains(&name);
        if class.volatility != Volatility::Immutable && !STEADY_FUNCTIONS.contains(&name) && !by_row {
            return Err(refuse(format!("the function {name}(), which each shard would evaluate for itself")));
        }
        self.nodes(&mut call.args)
    }
}

/// Refuses a string that a date or time type would read as the current moment: each shard has another one.
fn literal(constant: &mut AConst) -> Result<()> {
    constant.location = 0;
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
