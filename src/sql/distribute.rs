//! A SELECT over several shards: one text that every shard runs, and the recipe that makes one result of their rows.
//!
//! Only what is provably mergeable is accepted; everything else is refused with a DETAIL that names the part. The steps:
//! [`from`] proves that rows which meet in a join live on the same shard, [`expression`] that every expression gives on
//! a shard what it would give on one server, [`targets`], [`group`], [`order`] and [`window`] find out what the result
//! consists of, and [`rewrite`] adds the hidden columns that the merge needs. There are three ways:
//!
//! 1. Each row of the result is computed on one shard: rows, groups that hold their shard key, windows partitioned by it.
//!    The shards do all of it, [`order`] merges.
//! 2. Groups have parts on several shards: [`group`] combines them, if their columns are plain.
//! 3. Around combined groups or rows something is left to compute: [`outer`] makes a statement of that.

mod aggregate;
mod expression;
mod from;
mod group;
mod merge;
mod order;
mod outer;
mod rewrite;
mod scope;
mod subquery;
mod targets;
#[cfg(test)]
mod tests;
mod window;
mod write;

use std::borrow::Cow;
use std::cell::Cell;

use pg_query::NodeEnum;
use pg_query::protobuf::{AExprKind, LimitOption, Node, SelectStmt, SetOperation, a_const};

use super::facts::RelationName;
use super::schema::Schema;
use super::tree::parse_one;
use crate::merge::spec::{Combine, MergeSpec, Ties};
use crate::types::{Error, Result};
use expression::Contents;
use group::Group;
use order::SortItem;
use outer::Rows;
use rewrite::Rewrite;
use scope::Scope;
use targets::Targets;

pub use merge::OwnedMerge;
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

/// The value of a parameter that stands in LIMIT or OFFSET, by its number; `None` for NULL.
pub type RowCounts<'p> = &'p dyn Fn(i32) -> Result<Option<i64>>;

/// Makes a SELECT ready for several shards. `text` holds exactly one statement, `placement` tells where tables are.
///
/// # Errors
/// Refuses every statement whose result cannot be proven to be what one server holding all rows would give.
pub fn distribute(
    text: &str,
    schema: &Schema,
    placement: &dyn Fn(&RelationName) -> TablePlacement,
    row_counts: RowCounts<'_>,
) -> Result<Distributed> {
    let select = parse_select(text)?;
    refuse_clauses(&select)?;
    if !select.locking_clause.is_empty() && (select.limit_count.is_some() || select.limit_offset.is_some()) {
        return Err(refuse(
            "FOR UPDATE or another locking clause with LIMIT, which would lock more rows than it returns",
        ));
    }
    let scope = from::resolve(&select, schema, placement)?;
    if let Some(condition) = &select.where_clause {
        expression::normal_form(condition, &scope)?;
    }
    let window = Window::read(&select, row_counts)?;
    let targets = Targets::read(&select.target_list, &scope)?;
    let groups = Group::read_all(&select, &targets, &scope)?;
    let sort = order::sort_items(&select.sort_clause, &targets, &scope)?;
    let contents = contents(&select, &targets, &sort, &scope)?;
    let is_grouped = contents.aggregate || !groups.is_empty() || select.having_clause.is_some();
    let normals: Vec<&Node> = groups.iter().map(|group| &group.normal).collect();
    let rows = match is_grouped {
        false => Rows::OfTables,
        true if scope.keeps_together(&normals) => Rows::WholeGroups,
        true => Rows::PartsOfGroups,
    };
    let windows_are_local = !contents.window || window::are_local(&select, &targets, &sort, &scope)?;
    let distinct = Distinct::of(&select);
    let is_plain = select.having_clause.is_none() && !contents.window && distinct == Distinct::No;
    let rewrite = Rewrite::new(select, text);
    let parts = (groups.as_slice(), sort.as_slice());
    match rows {
        Rows::OfTables | Rows::WholeGroups if windows_are_local => {
            whole_rows(rewrite, &targets, &scope, &sort, (distinct, window))
        }
        Rows::PartsOfGroups if is_plain => {
            let select = rewrite.select.clone();
            group::distribute_groups(rewrite, &targets, &scope, parts, window)
                .or_else(|_| outer::distribute_outer(Rewrite::new(select, text), &targets, &scope, parts, rows))
        }
        _ => outer::distribute_outer(rewrite, &targets, &scope, parts, rows),
    }
}

/// Rows that one shard each computes.
fn whole_rows(
    rewrite: Rewrite,
    targets: &Targets,
    scope: &Scope<'_>,
    sort: &[SortItem],
    (distinct, window): (Distinct, Window),
) -> Result<Distributed> {
    match distinct {
        Distinct::Rows if !targets.keep_together(scope) => {
            order::distribute_rows(rewrite, targets, sort, window, Combine::Distinct)
        }
        Distinct::On => order::distribute_distinct_on(rewrite, targets, scope, window),
        Distinct::Rows | Distinct::No => order::distribute_rows(rewrite, targets, sort, window, Combine::Rows),
    }
}

/// What a SELECT calls outside of WHERE, all of which is checked.
fn contents(select: &SelectStmt, targets: &Targets, sort: &[SortItem], scope: &Scope<'_>) -> Result<Contents> {
    let mut contents = sort.iter().fold(targets.contents(), |all, item| all.and(item.contents));
    for clause in select.having_clause.as_deref().into_iter().chain(&select.window_clause) {
        contents = contents.and(expression::whole_form(clause, scope)?.1);
    }
    Ok(contents)
}

/// Which rows DISTINCT leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Distinct {
    No,
    Rows,
    On,
}

impl Distinct {
    fn of(select: &SelectStmt) -> Self {
        match select.distinct_clause.as_slice() {
            [] => Self::No,
            // The grammar has an empty item for DISTINCT without ON.
            [Node { node: None }] => Self::Rows,
            _ => Self::On,
        }
    }
}

/// OFFSET and LIMIT, in rows.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    offset: u64,
    limit: Option<u64>,
    ties: Ties,
    /// Some of it was told by parameters.
    has_parameters: bool,
}

impl Window {
    fn read(select: &SelectStmt, row_counts: RowCounts<'_>) -> Result<Self> {
        let ties = if select.limit_option() == LimitOption::WithTies { Ties::Kept } else { Ties::Cut };
        let has_parameters = Cell::new(false);
        let noted = |number| {
            has_parameters.set(true);
            row_counts(number)
        };
        let offset = row_count(select.limit_offset.as_deref(), "OFFSET", &noted)?.unwrap_or(0);
        let limit = row_count(select.limit_count.as_deref(), "LIMIT", &noted)?;
        Ok(Self { offset, limit, ties, has_parameters: has_parameters.get() })
    }

    /// How many rows of one shard can be needed; `None`: all of them.
    fn rows_per_shard(self) -> Option<i64> {
        i64::try_from(self.limit?.checked_add(self.offset)?).ok()
    }
}

/// The argument of LIMIT or OFFSET; `None` when there is none, or it is ALL or NULL.
fn row_count(argument: Option<&Node>, clause: &str, row_counts: RowCounts<'_>) -> Result<Option<u64>> {
    let Some(node) = argument else {
        return Ok(None);
    };
    match constant(node, row_counts)? {
        None => Ok(None),
        Some(value) => u64::try_from(value).map(Some).map_err(|_| refuse(format!("{clause} with a negative number"))),
    }
}

/// The integer that an expression of literals and parameters is; `None` for NULL.
///
/// # Errors
/// Refuses whatever could mean something else to a server.
fn constant(node: &Node, row_counts: RowCounts<'_>) -> Result<Option<i64>> {
    let refused = || refuse("LIMIT or OFFSET with anything but integers, parameters, and their sums or products");
    match (&node.node, integer_literal(node)) {
        (_, Some(Literal::Integer(value))) => Ok(Some(value)),
        (_, Some(Literal::Null)) => Ok(None),
        (Some(NodeEnum::ParamRef(parameter)), _) => row_counts(parameter.number),
        (Some(NodeEnum::TypeCast(cast)), _) => {
            let names = cast.type_name.as_ref().map_or(&[][..], |name| &name.names);
            let value = constant(cast.arg.as_deref().ok_or_else(refused)?, row_counts)?;
            match expression::built_in_name(names)? {
                "int8" => Ok(value),
                "int4" if value.is_none_or(|value| i32::try_from(value).is_ok()) => Ok(value),
                _ => Err(refused()),
            }
        }
        (Some(NodeEnum::AExpr(operation)), _) if operation.kind() == AExprKind::AexprOp => {
            let (Some(left), Some(right)) = (&operation.lexpr, &operation.rexpr) else { return Err(refused()) };
            let (left, right) = (constant(left, row_counts)?, constant(right, row_counts)?);
            let (Some(left), Some(right)) = (left, right) else { return Ok(None) };
            let value = match expression::operator(operation)? {
                "+" => left.checked_add(right),
                "-" => left.checked_sub(right),
                "*" => left.checked_mul(right),
                _ => None,
            };
            // Beyond 32 bits PostgreSQL would compute with the types of the operands, and may overflow.
            value.filter(|value| i32::try_from(*value).is_ok()).map(Some).ok_or_else(refused)
        }
        _ => Err(refused()),
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
    match parse_one(text)? {
        NodeEnum::SelectStmt(select) => Ok(*select),
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
