//! Aggregates whose partial results determine the whole.

use pg_query::NodeEnum;
use pg_query::protobuf::{CaseExpr, CaseWhen, FuncCall, Node};

use super::expression::{self, normal_form, string_node};
use super::refuse;
use super::rewrite::Rewrite;
use super::scope::Scope;
use crate::merge::spec::{Aggregate, ColumnRef, DistinctAggregate};
use crate::types::Result;

/// A call of an aggregate that can be combined from partial results.
pub struct AggregateCall {
    function: Function,
    /// The call as it stands in the text.
    call: FuncCall,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Function {
    /// One partial result gives the whole.
    Plain(Aggregate),
    Average,
    Distinct(DistinctAggregate),
}

impl AggregateCall {
    /// The aggregate that an expression is; `None` if it is none.
    ///
    /// # Errors
    /// Refuses aggregates that partial results do not determine.
    pub fn read(expression: &Node, scope: &Scope<'_>) -> Result<Option<Self>> {
        let Some(NodeEnum::FuncCall(call)) = &expression.node else {
            return Ok(None);
        };
        let (name, class) = expression::built_in_function(call, scope)?;
        if !expression::is_aggregate(call, class) {
            return Ok(None);
        }
        let parts = call.args.iter().chain(call.agg_filter.as_deref());
        parts.map(|part| normal_form(part, scope)).try_for_each(|part| part.map(drop))?;
        refuse_modifiers(name, call)?;
        let function = function(name, call).ok_or_else(|| {
            refuse(format!("the aggregate {name}(){}", if call.agg_distinct { " with DISTINCT" } else { "" }))
        })?;
        Ok(Some(Self { function, call: call.as_ref().clone() }))
    }

    /// Whether the partial results are grouped by what the client groups by, and nothing else.
    pub fn is_plain(&self) -> bool {
        !matches!(self.function, Function::Distinct(_))
    }

    /// Hides what an average needs, and says how the partial results of the call, which stand in `column`, are combined.
    pub fn combination(&self, rewrite: &mut Rewrite) -> Result<Aggregate> {
        match self.function {
            Function::Plain(aggregate) => Ok(aggregate),
            Function::Average => {
                let sum = rewrite.hide(self.with_function("sum"));
                let count = rewrite.hide(self.with_function("count"));
                Ok(Aggregate::Average { sum, count })
            }
            Function::Distinct(_) => Err(refuse("an aggregate with DISTINCT")),
        }
    }

    /// Hides all columns that the partial results need: the first of them, and how they are combined.
    pub fn hide(&self, rewrite: &mut Rewrite) -> (ColumnRef, Aggregate) {
        match self.function {
            Function::Plain(aggregate) => {
                let call = NodeEnum::FuncCall(Box::new(self.call.clone()));
                (rewrite.hide(Node { node: Some(call) }), aggregate)
            }
            Function::Average => {
                let sum = rewrite.hide(self.with_function("sum"));
                let count = rewrite.hide(self.with_function("count"));
                (sum, Aggregate::Average { sum, count })
            }
            Function::Distinct(function) => {
                let value = self.filtered_argument();
                rewrite.select.group_clause.push(value.clone());
                (rewrite.hide(value), Aggregate::Distinct(function))
            }
        }
    }

    /// A call of another aggregate with the same argument.
    fn with_function(&self, name: &str) -> Node {
        let call = FuncCall { funcname: vec![string_node(name)], ..self.call.clone() };
        Node { node: Some(NodeEnum::FuncCall(Box::new(call))) }
    }

    /// The argument, or NULL where FILTER leaves a row out: these aggregates pass over NULLs.
    fn filtered_argument(&self) -> Node {
        let argument = self.call.args.first().cloned().unwrap_or_default();
        let Some(filter) = &self.call.agg_filter else { return argument };
        let when = CaseWhen { expr: Some(filter.clone()), result: Some(Box::new(argument)), ..CaseWhen::default() };
        let when = Node { node: Some(NodeEnum::CaseWhen(Box::new(when))) };
        let case = CaseExpr { args: vec![when], ..CaseExpr::default() };
        Node { node: Some(NodeEnum::CaseExpr(Box::new(case))) }
    }
}

fn function(name: &str, call: &FuncCall) -> Option<Function> {
    use Function::{Average, Distinct, Plain};
    Some(match (name, call.args.len(), call.agg_distinct) {
        ("count", 0, false) if call.agg_star => Plain(Aggregate::Count),
        ("count", 1, false) => Plain(Aggregate::Count),
        ("sum", 1, false) => Plain(Aggregate::Sum),
        // Repeated values change nothing in these.
        ("min", 1, _) => Plain(Aggregate::Min),
        ("max", 1, _) => Plain(Aggregate::Max),
        ("bool_and" | "every", 1, _) => Plain(Aggregate::BoolAnd),
        ("bool_or", 1, _) => Plain(Aggregate::BoolOr),
        ("bit_and", 1, _) => Plain(Aggregate::BitAnd),
        ("bit_or", 1, _) => Plain(Aggregate::BitOr),
        ("bit_xor", 1, false) => Plain(Aggregate::BitXor),
        ("avg", 1, false) => Average,
        ("count", 1, true) if is_computed(&call.args) => Distinct(DistinctAggregate::Count),
        ("sum", 1, true) if is_computed(&call.args) => Distinct(DistinctAggregate::Sum),
        ("avg", 1, true) if is_computed(&call.args) => Distinct(DistinctAggregate::Average),
        _ => return None,
    })
}

/// Whether GROUP BY would read an argument as what it is: not as the number of a column.
fn is_computed(arguments: &[Node]) -> bool {
    !arguments.iter().any(|node| matches!(node.node, Some(NodeEnum::AConst(_) | NodeEnum::ParamRef(_))))
}

fn refuse_modifiers(name: &str, call: &FuncCall) -> Result<()> {
    let modifiers = [
        (!call.agg_order.is_empty(), "ORDER BY"),
        (call.agg_within_group, "WITHIN GROUP"),
        (call.func_variadic, "VARIADIC"),
    ];
    match modifiers.into_iter().find(|(present, _)| *present) {
        Some((_, modifier)) => Err(refuse(format!("the aggregate {name}() with {modifier}"))),
        None => Ok(()),
    }
}
