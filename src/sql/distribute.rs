//! A SELECT over several shards: one text that every shard runs, and the recipe that makes one result of their rows.
//!
//! Only what is provably mergeable is accepted; everything else is refused with a DETAIL that names the part. The steps:
//! [`from`] proves that rows which meet in a join live on the same shard, [`expression`] that every expression gives on
//! a shard what it would give on one server, [`targets`], [`group`] and [`order`] find out what the result consists of,
//! and [`rewrite`] adds the hidden columns that the merge needs.

mod expression;
mod from;
mod group;
mod order;
mod rewrite;
mod scope;
mod targets;
#[cfg(test)]
mod tests;
mod write;

use std::borrow::Cow;

use pg_query::NodeEnum;
use pg_query::protobuf::{LimitOption, Node, SelectStmt, SetOperation, a_const};

use super::facts::RelationName;
use super::schema::Schema;
use crate::merge::spec::MergeSpec;
use crate::types::{Error, Kind, Origin, Result};
use rewrite::Rewrite;
use targets::Targets;

pub use write::prove_write;

/// Where the rows of a table are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TablePlacement {
    /// Split by key columns; rows of one keyspace with equal keys are on the same shard.
    Sharded { keyspace: String, key_columns: Vec<String> },
    /// One shard has all of it.
    Single { shard: String },
    /// The same rows on every shard.
    Reference,
    /// A catalog of PostgreSQL's own: every shard has its own rows.
    System,
    /// The shard map does not name it.
    Unmapped,
}

/// A SELECT ready for several shards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distributed {
    /// What each shard runs.
    pub shard_text: String,
    /// How the shards' rows become the result.
    pub merge: MergeSpec,
}

/// Makes a SELECT ready for several shards. `text` holds exactly one statement, `placement` tells where tables are.
///
/// # Errors
/// Refuses every statement whose result cannot be proven to be what one server holding all rows would give.
pub fn distribute(
    text: &str,
    schema: &Schema,
    placement: &dyn Fn(&RelationName) -> TablePlacement,
) -> Result<Distributed> {
    let select = parse_select(text)?;
    refuse_clauses(&select)?;
    let scope = from::resolve(&select, schema, placement)?;
    if let Some(condition) = &select.where_clause {
        expression::normal_form(condition, &scope)?;
    }
    let window = Window::read(&select)?;
    let targets = Targets::read(&select.target_list, &scope)?;
    let rewrite = Rewrite::new(select, text);
    if rewrite.select.group_clause.is_empty() && !targets.have_aggregates() {
        order::distribute_rows(rewrite, &targets, &scope, window)
    } else {
        group::distribute_groups(rewrite, &targets, &scope, window)
    }
}

/// OFFSET and LIMIT, in rows.
#[derive(Clone, Copy, Debug)]
struct Window {
    offset: u64,
    limit: Option<u64>,
}

impl Window {
    fn read(select: &SelectStmt) -> Result<Self> {
        if select.limit_option() == LimitOption::WithTies {
            return Err(refuse("FETCH FIRST ... WITH TIES"));
        }
        let offset = row_count(select.limit_offset.as_deref(), "OFFSET")?.unwrap_or(0);
        Ok(Self { offset, limit: row_count(select.limit_count.as_deref(), "LIMIT")? })
    }

    /// How many rows of one shard can be needed; `None`: all of them.
    fn rows_per_shard(self) -> Option<i64> {
        i64::try_from(self.limit?.checked_add(self.offset)?).ok()
    }
}

/// The argument of LIMIT or OFFSET; `None` when there is none, or it is ALL or NULL.
fn row_count(argument: Option<&Node>, clause: &str) -> Result<Option<u64>> {
    let Some(node) = argument else {
        return Ok(None);
    };
    match integer_literal(node) {
        Some(Literal::Integer(value)) if value >= 0 => Ok(Some(value.unsigned_abs())),
        Some(Literal::Null) => Ok(None),
        Some(Literal::Integer(_) | Literal::Other) | None => {
            Err(refuse(format!("{clause} with anything but a non-negative integer literal")))
        }
    }
}

/// A bare constant, as far as clauses that count look at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Literal {
    Integer(i64),
    Null,
    Other,
}

/// The bare constant that a node is; `None` for any other expression.
fn integer_literal(node: &Node) -> Option<Literal> {
    let Some(NodeEnum::AConst(constant)) = &node.node else {
        return None;
    };
    Some(match &constant.val {
        _ if constant.isnull => Literal::Null,
        Some(a_const::Val::Ival(integer)) => Literal::Integer(i64::from(integer.ival)),
        // An integer beyond 32 bits is a Float in the grammar.
        Some(a_const::Val::Fval(float)) => float.fval.parse().map_or(Literal::Other, Literal::Integer),
        Some(a_const::Val::Boolval(_) | a_const::Val::Sval(_) | a_const::Val::Bsval(_)) | None => Literal::Other,
    })
}

fn parse_select(text: &str) -> Result<SelectStmt> {
    let parsed = pg_query::parse(text, 0)
        .map_err(|error| Error::new(Origin::Client, Kind::Syntax, "the statement cannot be parsed").source(error))?;
    let mut statements = parsed.protobuf.stmts.into_iter();
    let (Some(statement), None) = (statements.next(), statements.next()) else {
        return Err(Error::internal("a text to distribute does not hold exactly one statement"));
    };
    match statement.stmt.and_then(|node| node.node) {
        Some(NodeEnum::SelectStmt(select)) => Ok(*select),
        _ => Err(refuse("a statement that is not a plain SELECT")),
    }
}

/// Refuses the clauses for which shards' rows do not determine the result, or not by the rules of this module.
fn refuse_clauses(select: &SelectStmt) -> Result<()> {
    let clauses = [
        (select.op() != SetOperation::SetopNone, "UNION, INTERSECT or EXCEPT"),
        (select.with_clause.is_some(), "WITH"),
        (select.into_clause.is_some(), "SELECT INTO"),
        (!select.values_lists.is_empty(), "VALUES"),
        (!select.distinct_clause.is_empty(), "DISTINCT"),
        (select.having_clause.is_some(), "HAVING"),
        (!select.window_clause.is_empty(), "WINDOW"),
        (!select.locking_clause.is_empty(), "FOR UPDATE or another locking clause"),
        (select.group_distinct, "GROUP BY DISTINCT"),
    ];
    match clauses.into_iter().find(|(present, _)| *present) {
        Some((_, clause)) => Err(refuse(clause)),
        None => Ok(()),
    }
}

/// The refusal of this module; `part` is what the statement has and several shards cannot answer.
fn refuse(part: impl Into<Cow<'static, str>>) -> Error {
    let detail = format!("Not supported across shards: {}.", part.into());
    Error::refuse("the statement cannot be answered from several shards", detail)
        .hint("Restrict the statement to one shard by an equality on the shard key.")
}
