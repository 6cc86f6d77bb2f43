//! An UPDATE with FROM as the MERGE that does the same, or fails where a row is met by several.

use pg_query::NodeEnum;
use pg_query::protobuf::{
    CmdType, JoinExpr, JoinType, MergeMatchKind, MergeStmt, MergeWhenClause, Node, OverridingKind,
};

use super::subqueries::boolean;
use super::tree::{leading_comments, parse_one, written};
use crate::types::{Error, Result};

/// An UPDATE with FROM may find several rows for one of its own, and takes any of them. As a MERGE it does the same, or fails
/// where there are several. `None` for any other statement.
///
/// # Errors
/// Refuses RETURNING, which MERGE has not.
pub fn as_merge(text: &str) -> Result<Option<String>> {
    let NodeEnum::UpdateStmt(update) = parse_one(text)? else { return Ok(None) };
    let update = *update;
    let Some(source) = update.from_clause.into_iter().reduce(cross_join) else { return Ok(None) };
    if update.returning_clause.is_some() {
        return Err(Error::refuse(
            "cannot write a reference table in this way",
            "Which of several rows of FROM it takes may differ from shard to shard.",
        )
        .hint("Leave RETURNING out, and read the rows afterwards."));
    }
    let mut action = MergeWhenClause { target_list: update.target_list, ..MergeWhenClause::default() };
    action.set_match_kind(MergeMatchKind::MergeWhenMatched);
    action.set_command_type(CmdType::CmdUpdate);
    // The grammar's own value: a zero is none, and ends the process where it is written as text.
    action.set_override(OverridingKind::OverridingNotSet);
    let merge = MergeStmt {
        relation: update.relation,
        source_relation: Some(Box::new(source)),
        join_condition: Some(update.where_clause.unwrap_or_else(|| Box::new(Node { node: Some(boolean(true)) }))),
        merge_when_clauses: vec![Node { node: Some(NodeEnum::MergeWhenClause(Box::new(action))) }],
        with_clause: update.with_clause,
        ..MergeStmt::default()
    };
    Ok(Some(format!("{}{}", leading_comments(text), written(NodeEnum::MergeStmt(Box::new(merge)))?)))
}

fn cross_join(left: Node, right: Node) -> Node {
    let mut join = JoinExpr { larg: Some(Box::new(left)), rarg: Some(Box::new(right)), ..JoinExpr::default() };
    join.set_jointype(JoinType::JoinInner);
    Node { node: Some(NodeEnum::JoinExpr(Box::new(join))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_becomes_a_merge() {
        for (text, merge) in [
            (
                "/* c */ UPDATE ONLY t AS x SET a = u.b, (b, c) = (1, DEFAULT) FROM u WHERE x.k = u.k OR $1",
                Some(
                    "/* c */MERGE INTO ONLY t x USING u ON x.k = u.k OR $1 WHEN MATCHED THEN UPDATE SET a = u.b, (b, c) = (1, DEFAULT)",
                ),
            ),
            (
                "WITH w AS (SELECT 1) UPDATE t SET a = 1 FROM w, u LEFT JOIN v USING (k), (VALUES (1)) s (z)",
                Some(
                    "WITH w AS (SELECT 1) MERGE INTO t USING w CROSS JOIN (u LEFT JOIN v USING (k)) CROSS JOIN (VALUES (1)) s(z) ON true \
                      WHEN MATCHED THEN UPDATE SET a = 1",
                ),
            ),
            ("UPDATE t SET a = 1", None),
            ("DELETE FROM t USING u", None),
        ] {
            assert_eq!(as_merge(text).unwrap().as_deref(), merge, "{text}");
        }
        assert!(as_merge("UPDATE t SET a = 1 FROM u RETURNING 1").is_err());
    }
}
