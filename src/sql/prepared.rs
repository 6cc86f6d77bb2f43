//! What PREPARE and EXECUTE say, and a prepared statement with values in the places of its parameters.

use std::fmt::Write as _;

use pg_query::NodeEnum;
use pg_query::protobuf::{Node, ScanToken, Token, a_const};
use postgres_protocol::escape::{escape_identifier, escape_literal};

use super::schema::Schema;
use super::tree::{leading_comments, parse_one, select, target, written};
use super::type_names::type_names;
use crate::types::{Error, Result};

/// PostgreSQL's int4, int8, int2, numeric and float8: types whose values are read from the digits of a whole number as that
/// number is converted to them.
const WHOLE_NUMBERS: &[u32] = &[INT4, 20, 21, 1700, 701];

const INT4: u32 = 23;
const BOOL: u32 = 16;

/// The name of a column that has none.
const NAMELESS: &str = "?column?";

/// A PREPARE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepare {
    pub name: String,
    /// The statement that it prepares.
    pub query: String,
    /// The PREPARE itself, under the name that was asked for.
    pub renamed: String,
}

/// An EXECUTE, or what stands in another command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Execute {
    pub name: String,
    pub arguments: Vec<Argument>,
}

/// An argument of EXECUTE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Argument {
    Null,
    /// A literal whose type is that of its parameter.
    Literal(String),
    /// A whole number, by its digits.
    Whole(String),
    Bool(bool),
    Expression(String),
}

/// Reads a PREPARE.
///
/// # Errors
/// A text that is none, which would be a bug.
pub fn prepare(text: &str, other_name: &str) -> Result<Prepare> {
    let NodeEnum::PrepareStmt(mut prepare) = parse_one(text)? else { return Err(none()) };
    let mut query = prepare.query.as_ref().and_then(|query| query.node.clone()).ok_or_else(none)?;
    let name = std::mem::replace(&mut prepare.name, other_name.to_owned());
    let renamed = written(NodeEnum::PrepareStmt(prepare))?;
    with_column_names(&mut query);
    Ok(Prepare { name, query: written(query)?, renamed })
}

/// Reads an EXECUTE, EXPLAIN EXECUTE or CREATE TABLE AS EXECUTE.
///
/// # Errors
/// A text that is none, which would be a bug.
pub fn execute(text: &str) -> Result<Execute> {
    let mut statement = parse_one(text)?;
    let Some(NodeEnum::ExecuteStmt(execute)) = place(&mut statement) else { return Err(none()) };
    let arguments = std::mem::take(&mut execute.params).into_iter().map(argument).collect::<Result<_>>()?;
    Ok(Execute { name: std::mem::take(&mut execute.name), arguments })
}

/// The text of an EXECUTE with what it executes in its place: `query` with the values, in text format, of its parameters.
///
/// # Errors
/// [`Kind::NotSupported`] for a parameter of a type that cannot be named.
pub fn executed(text: &str, query: &str, types: &[u32], values: &[Option<String>], schema: &Schema) -> Result<String> {
    let query = with_values(query, types, values, schema)?;
    let comments = leading_comments(text);
    let mut statement = parse_one(text)?;
    if matches!(statement, NodeEnum::ExecuteStmt(_)) {
        return Ok(format!("{comments}{query}"));
    }
    *place(&mut statement).ok_or_else(none)? = parse_one(&query)?;
    Ok(format!("{comments}{}", written(statement)?))
}

/// A PREPARE under a name of ours that takes parameters of such types and gives them, and the EXECUTE of it.
///
/// # Errors
/// As [`executed`].
pub fn coercion(name: &str, types: &[u32], arguments: &[Argument], schema: &Schema) -> Result<[String; 2]> {
    let types = types.iter().map(|oid| type_name(*oid, schema)).collect::<Result<Vec<_>>>()?;
    let parameters = (1..=types.len()).map(|number| format!("${number}")).collect::<Vec<_>>();
    let name = escape_identifier(name);
    let prepare = format!("PREPARE {name}({}) AS SELECT {}", types.join(", "), parameters.join(", "));
    let arguments = arguments.iter().map(Argument::written).collect::<Vec<_>>();
    Ok([prepare, format!("EXECUTE {name}({})", arguments.join(", "))])
}

impl Argument {
    /// Its value in text format for a parameter of the type, where that is plain to see; `None` where PostgreSQL must say.
    pub fn value(&self, parameter: u32) -> Option<Option<String>> {
        match self {
            Self::Null => Some(None),
            Self::Literal(text) => Some(Some(text.clone())),
            Self::Whole(digits) if WHOLE_NUMBERS.contains(&parameter) => Some(Some(digits.clone())),
            Self::Bool(value) if parameter == BOOL => Some(Some(value.to_string())),
            Self::Whole(_) | Self::Bool(_) | Self::Expression(_) => None,
        }
    }

    fn written(&self) -> String {
        match self {
            Self::Null => "NULL".to_owned(),
            Self::Literal(text) => escape_literal(text),
            Self::Whole(text) | Self::Expression(text) => text.clone(),
            Self::Bool(value) => value.to_string(),
        }
    }
}

fn argument(node: Node) -> Result<Argument> {
    if let Some(NodeEnum::AConst(constant)) = &node.node {
        match &constant.val {
            _ if constant.isnull => return Ok(Argument::Null),
            Some(a_const::Val::Sval(text)) => return Ok(Argument::Literal(text.sval.clone())),
            Some(a_const::Val::Ival(number)) => return Ok(Argument::Whole(number.ival.to_string())),
            Some(a_const::Val::Boolval(value)) => return Ok(Argument::Bool(value.boolval)),
            _ => {}
        }
    }
    let select = select(vec![target("", node.node)])?;
    let expression = select.strip_prefix("SELECT ").ok_or_else(none)?;
    Ok(Argument::Expression(expression.to_owned()))
}

/// Where the EXECUTE stands in a command.
fn place(statement: &mut NodeEnum) -> Option<&mut NodeEnum> {
    match statement {
        NodeEnum::ExecuteStmt(_) => Some(statement),
        NodeEnum::ExplainStmt(explain) => explain.query.as_mut().and_then(|query| query.node.as_mut()),
        NodeEnum::CreateTableAsStmt(create) => create.query.as_mut().and_then(|query| query.node.as_mut()),
        _ => None,
    }
}

/// The query with the names of its columns that are bare parameters: a value would give the column its type's name.
fn with_column_names(query: &mut NodeEnum) {
    let targets = match query {
        NodeEnum::SelectStmt(select) => match &mut select.larg {
            // The first of several queries names the columns.
            Some(first) => {
                let mut first_query = NodeEnum::SelectStmt(std::mem::take(first));
                with_column_names(&mut first_query);
                if let NodeEnum::SelectStmt(named) = first_query {
                    *first = named;
                }
                return;
            }
            None => Some(&mut select.target_list),
        },
        NodeEnum::InsertStmt(insert) => insert.returning_clause.as_mut().map(|returning| &mut returning.exprs),
        NodeEnum::UpdateStmt(update) => update.returning_clause.as_mut().map(|returning| &mut returning.exprs),
        NodeEnum::DeleteStmt(delete) => delete.returning_clause.as_mut().map(|returning| &mut returning.exprs),
        NodeEnum::MergeStmt(merge) => merge.returning_clause.as_mut().map(|returning| &mut returning.exprs),
        _ => None,
    };
    for target in targets.into_iter().flatten() {
        if let Some(NodeEnum::ResTarget(target)) = &mut target.node
            && target.name.is_empty()
            && target.val.as_deref().is_some_and(is_nameless)
        {
            target.name = NAMELESS.to_owned();
        }
    }
}

/// Whether an expression is a parameter with nothing around it that gives a column a name.
fn is_nameless(expression: &Node) -> bool {
    match &expression.node {
        Some(NodeEnum::ParamRef(_)) => true,
        Some(NodeEnum::CollateClause(collate)) => collate.arg.as_deref().is_some_and(is_nameless),
        Some(NodeEnum::AIndirection(indirection)) => indirection.arg.as_deref().is_some_and(is_nameless),
        _ => false,
    }
}

/// The query with values in the places of its parameters. They are constants of the parameters' types, and in parentheses, so
/// that none is taken for the number of a column.
///
/// # Errors
/// [`Kind::NotSupported`] for a parameter of a type that cannot be named.
pub fn with_values(query: &str, types: &[u32], values: &[Option<String>], schema: &Schema) -> Result<String> {
    let scanned = pg_query::scan(query).map_err(|error| none().source(error))?;
    let mut text = String::with_capacity(query.len());
    let mut copied = 0;
    for token in scanned.tokens.iter().filter(|token| token.token() == Token::Param) {
        let (start, end) = (token.start as usize, token.end as usize);
        let number: usize = query.get(start + 1..end).and_then(|digits| digits.parse().ok()).ok_or_else(none)?;
        let at = number.checked_sub(1).ok_or_else(none)?;
        let (Some(oid), Some(value)) = (types.get(at), values.get(at)) else { return Err(none()) };
        text.push_str(&query[copied..start]);
        let value = value.as_deref().map_or_else(|| "NULL".to_owned(), |value| escape_literal(value).trim().to_owned());
        let _infallible = write!(text, "({value}::{})", type_name(*oid, schema)?);
        copied = end;
    }
    text.push_str(&query[copied..]);
    Ok(text)
}

/// How many parameters a query has.
///
/// # Errors
/// A text that cannot be scanned, which would be a bug.
pub fn parameter_count(query: &str) -> Result<usize> {
    let scanned = pg_query::scan(query).map_err(|error| none().source(error))?;
    let parameters = scanned.tokens.iter().filter(|token| token.token() == Token::Param);
    let number = |token: &ScanToken| query.get(token.start as usize + 1..token.end as usize)?.parse().ok();
    Ok(parameters.filter_map(number).max().unwrap_or(0))
}

fn type_name(oid: u32, schema: &Schema) -> Result<String> {
    let names = type_names(oid, schema).ok_or_else(|| {
        Error::refuse(
            "EXECUTE with this type of parameter is not supported on a sharded database",
            format!("The type with the OID {oid} is none of PostgreSQL's own and no enum."),
        )
        .hint("Prepare the statement by the protocol's own means, or send it with its values.")
    })?;
    Ok(names.written())
}

fn none() -> Error {
    Error::internal("a statement about prepared statements is none")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Kind;

    fn execute_of(text: &str) -> Execute {
        execute(text).unwrap()
    }

    #[test]
    fn a_prepare_is_read() {
        let read = prepare("PREPARE \"My p\"(int, text) AS SELECT $1, f($2) FROM t WHERE a = $1", "other").unwrap();
        assert_eq!(read.name, "My p");
        assert_eq!(read.query, "SELECT $1 AS \"?column?\", f($2) FROM t WHERE a = $1");
        assert_eq!(read.renamed, "PREPARE other(int, text) AS SELECT $1, f($2) FROM t WHERE a = $1");
    }

    #[test]
    fn parameters_keep_their_columns_nameless() {
        for (query, named) in [
            (
                "SELECT $1 COLLATE \"C\", $2[1], $3::int",
                "SELECT $1 COLLATE \"C\" AS \"?column?\", $2[1] AS \"?column?\", $3::int",
            ),
            ("SELECT $1 AS a UNION ALL SELECT $2", "SELECT $1 AS a UNION ALL SELECT $2"),
            ("SELECT $1 UNION ALL SELECT $2", "SELECT $1 AS \"?column?\" UNION ALL SELECT $2"),
            ("INSERT INTO t VALUES ($1) RETURNING $1", "INSERT INTO t VALUES ($1) RETURNING $1 AS \"?column?\""),
            (
                "DELETE FROM t WHERE a = $1 RETURNING a, $2",
                "DELETE FROM t WHERE a = $1 RETURNING a, $2 AS \"?column?\"",
            ),
        ] {
            assert_eq!(prepare(&format!("PREPARE p AS {query}"), "o").unwrap().query, named);
        }
    }

    #[test]
    fn arguments_are_read() {
        let read = execute_of("EXECUTE p(1, -2, 'it''s', NULL, true, 1.5, now() - interval '1 day', '7'::int)");
        let value = |at: usize, oid: u32| read.arguments[at].value(oid);
        let some = |text: &str| Some(Some(text.to_owned()));
        assert_eq!(read.name, "p");
        assert_eq!((value(0, INT4), value(0, 20), value(0, 25)), (some("1"), some("1"), None));
        assert_eq!((value(1, 1700), value(2, 25), value(2, INT4)), (some("-2"), some("it's"), some("it's")));
        assert_eq!((value(3, 25), value(4, BOOL), value(4, 25)), (Some(None), some("true"), None));
        assert_eq!((value(5, 1700), value(6, 1184), value(7, INT4)), (None, None, None));
        assert_eq!(execute_of("EXPLAIN (COSTS OFF) EXECUTE q").name, "q");
        assert_eq!(execute_of("CREATE TABLE t AS EXECUTE q(1)").arguments.len(), 1);
    }

    #[test]
    fn values_stand_where_parameters_stood() {
        let schema = Schema::default();
        let run = |text: &str, query: &str, types: &[u32], values: &[Option<&str>]| {
            let values: Vec<_> = values.iter().map(|value| value.map(str::to_owned)).collect();
            executed(text, query, types, &values, &schema).unwrap()
        };
        assert_eq!(
            run(
                "/* weir.shard: a */ EXECUTE p(1, 'x')",
                "SELECT '$1', $1, \"$2\" FROM t WHERE a = $2 ORDER BY $1",
                &[23, 25],
                &[Some("1"), Some("it's \\ $1")]
            ),
            "/* weir.shard: a */SELECT '$1', ('1'::\"pg_catalog\".\"int4\"), \"$2\" FROM t WHERE a = \
             (E'it''s \\\\ $1'::\"pg_catalog\".\"text\") ORDER BY ('1'::\"pg_catalog\".\"int4\")"
        );
        assert_eq!(run("EXPLAIN EXECUTE p", "SELECT $1", &[1042], &[None]), "EXPLAIN SELECT NULL::bpchar");
        let error = executed("EXECUTE p(1)", "SELECT $1", &[99999], &[None], &schema).unwrap_err();
        assert_eq!(error.kind, Kind::NotSupported);
    }

    #[test]
    fn postgresql_is_asked_for_the_rest() {
        let arguments = execute_of("EXECUTE p(1.5, 'x')").arguments;
        assert_eq!(
            coercion("o", &[23, 25], &arguments, &Schema::default()).unwrap(),
            [
                "PREPARE \"o\"(\"pg_catalog\".\"int4\", \"pg_catalog\".\"text\") AS SELECT $1, $2",
                "EXECUTE \"o\"(1.5, 'x')"
            ]
        );
    }
}
