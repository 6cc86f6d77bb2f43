//! Window functions: when each of their partitions is on one shard.

use pg_query::NodeEnum;
use pg_query::protobuf::{Node, SelectStmt, WindowDef};

use super::expression::{parts_mut, whole_form};
use super::order::SortItem;
use super::scope::Scope;
use super::targets::Targets;
use crate::types::Result;

/// Whether every window of a SELECT is partitioned by a shard key, so that each shard can compute it.
///
/// # Errors
/// Refuses what the partitions are made of, if that may differ between shards.
pub fn are_local(select: &SelectStmt, targets: &Targets, sort: &[SortItem], scope: &Scope<'_>) -> Result<bool> {
    let mut windows = Vec::new();
    let expressions = targets.values().map(|(_, target)| &target.expression);
    for expression in expressions.chain(sort.iter().map(|item| &item.expression)) {
        collect(&mut expression.clone(), &mut windows)?;
    }
    for window in &windows {
        if !is_local(window, select, scope)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The windows of all calls in an expression.
fn collect(node: &mut Node, windows: &mut Vec<WindowDef>) -> Result<()> {
    let Some(construct) = &mut node.node else { return Ok(()) };
    if let NodeEnum::FuncCall(call) = construct {
        windows.extend(call.over.as_deref().cloned());
    }
    parts_mut(construct)?.into_iter().try_for_each(|part| collect(part, windows))
}

fn is_local(window: &WindowDef, select: &SelectStmt, scope: &Scope<'_>) -> Result<bool> {
    let mut partition: Vec<Node> = Vec::new();
    let mut next = Some(window);
    // Definitions refer to others, never in a circle; if they do, PostgreSQL says so.
    for _ in 0..=select.window_clause.len() {
        let Some(window) = next else { break };
        for expression in &window.partition_clause {
            partition.push(whole_form(expression, scope)?.0);
        }
        next = referred(window, select);
    }
    Ok(scope.keeps_together(&partition.iter().collect::<Vec<_>>()))
}

/// The definition that another one builds on: `OVER w` has its name, `OVER (w ORDER BY ...)` refers to it.
fn referred<'s>(window: &WindowDef, select: &'s SelectStmt) -> Option<&'s WindowDef> {
    let wanted = if window.refname.is_empty() { &window.name } else { &window.refname };
    let definitions = select.window_clause.iter().filter_map(|node| match &node.node {
        Some(NodeEnum::WindowDef(definition)) => Some(definition.as_ref()),
        // The grammar has nothing else there.
        _ => None,
    });
    definitions.filter(|_| !wanted.is_empty()).find(|definition| definition.name == *wanted)
}
