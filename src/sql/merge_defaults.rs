//! Defaults of the rows that a MERGE inserts, written into it where every shard would evaluate them for itself.

use pg_query::NodeEnum;
use pg_query::protobuf::{CmdType, MergeStmt, MergeWhenClause, Node, OverridingKind};

use super::schema::{Column, Relation};
use super::tree::{expression, is_default, is_of_row_with_default, leading_comments, parse_one, target, written};
use crate::types::{Error, Result};

/// The columns of a MERGE's target that it sets, or leaves, to their defaults, each once for every action.
///
/// # Errors
/// Refuses DEFAULT as a part of a row that is assigned.
pub fn defaults_of_merge<'r>(text: &str, relation: &'r Relation) -> Result<Vec<&'r Column>> {
    let merge = parse_merge(text)?;
    let mut defaults = Vec::new();
    for action in merge.merge_when_clauses.iter().filter_map(action) {
        if action.target_list.iter().filter_map(assigned_value).any(is_of_row_with_default) {
            return Err(Error::refuse(
                "the statement cannot be done by several shards",
                "It assigns DEFAULT as a part of a row.",
            )
            .hint("Assign the columns one by one."));
        }
        let gets_default = |(place, column): &(usize, &Column)| match value_of(action, column, *place) {
            Some(value) => is_default(value),
            None => action.command_type() == CmdType::CmdInsert,
        };
        defaults.extend(relation.columns.iter().enumerate().filter(gets_default).map(|(_, column)| column));
    }
    Ok(defaults)
}

/// The MERGE with the defaults of `columns` written into its actions.
///
/// # Errors
/// A default that Weir does not know, and a text that is no MERGE.
pub fn with_defaults(text: &str, relation: &Relation, columns: &[&Column]) -> Result<String> {
    let mut merge = parse_merge(text)?;
    for column in columns {
        let default = column.default.as_deref().ok_or_else(|| Error::internal("a default is not known"))?;
        put(&mut merge, relation, column, &expression(default)?);
    }
    Ok(format!("{}{}", leading_comments(text), written(NodeEnum::MergeStmt(Box::new(merge)))?))
}

/// Gives a column a value in all actions that set it, or leave it, to its default.
pub(super) fn put(merge: &mut MergeStmt, relation: &Relation, column: &Column, value: &Node) {
    let Some(own_place) = relation.columns.iter().position(|own| own.name == column.name) else { return };
    for action in merge.merge_when_clauses.iter_mut().filter_map(action_mut) {
        match action.command_type() {
            CmdType::CmdInsert => put_into_row(action, relation, own_place, value),
            _ => put_into_assignment(action, &column.name, value),
        }
    }
}

fn put_into_row(action: &mut MergeWhenClause, relation: &Relation, own_place: usize, value: &Node) {
    let column = &relation.columns[own_place];
    if action.target_list.is_empty() {
        let listed = relation.columns.iter().take(action.values.len());
        action.target_list = listed.map(|column| target(&column.name, None)).collect();
    }
    match action.target_list.iter().position(|listed| is_named(listed, &column.name)) {
        None => {
            action.target_list.push(target(&column.name, None));
            action.values.push(value.clone());
        }
        Some(place) => match action.values.get_mut(place) {
            Some(own) if is_default(own) => *own = value.clone(),
            Some(_) | None => return,
        },
    }
    if column.sequence.as_ref().is_some_and(|sequence| sequence.always) {
        action.set_override(OverridingKind::OverridingSystemValue);
    }
}

fn put_into_assignment(action: &mut MergeWhenClause, column: &str, value: &Node) {
    for target in action.target_list.iter_mut().filter(|target| is_named(target, column)) {
        if let Some(NodeEnum::ResTarget(target)) = &mut target.node
            && let Some(own) = target.val.as_deref_mut()
            && is_default(own)
        {
            *own = value.clone();
        }
    }
}

/// The value that an action gives a column, if it does. `place`: of the column in its table.
fn value_of<'m>(action: &'m MergeWhenClause, column: &Column, place: usize) -> Option<&'m Node> {
    if action.command_type() != CmdType::CmdInsert {
        return action.target_list.iter().find(|target| is_named(target, &column.name)).and_then(assigned_value);
    }
    let place = match action.target_list.as_slice() {
        [] => place,
        listed => listed.iter().position(|listed| is_named(listed, &column.name))?,
    };
    action.values.get(place)
}

fn parse_merge(text: &str) -> Result<MergeStmt> {
    match parse_one(text)? {
        NodeEnum::MergeStmt(merge) => Ok(*merge),
        _ => Err(Error::internal("a statement that was to be a MERGE is none")),
    }
}

fn action(clause: &Node) -> Option<&MergeWhenClause> {
    match &clause.node {
        Some(NodeEnum::MergeWhenClause(action)) => Some(action),
        _ => None,
    }
}

fn action_mut(clause: &mut Node) -> Option<&mut MergeWhenClause> {
    match &mut clause.node {
        Some(NodeEnum::MergeWhenClause(action)) => Some(action),
        _ => None,
    }
}

fn is_named(target: &Node, name: &str) -> bool {
    matches!(&target.node, Some(NodeEnum::ResTarget(target)) if target.name == name && target.indirection.is_empty())
}

fn assigned_value(target: &Node) -> Option<&Node> {
    match &target.node {
        Some(NodeEnum::ResTarget(target)) => target.val.as_deref(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::schema::Sequence;
    use super::*;

    fn relation() -> Relation {
        let column = |name: &str, default: Option<&str>| Column {
            name: name.into(),
            default: default.map(str::to_owned),
            ..Column::plain()
        };
        let number = Column { sequence: Some(Sequence { name: "public.s".into(), always: true }), ..column("n", None) };
        Relation { columns: vec![column("k", None), column("at", Some("now()")), number], ..Relation::default() }
    }

    #[test]
    fn defaults_are_found_and_written_out() {
        let relation = relation();
        for (text, defaults, filled) in [
            (
                "MERGE INTO t USING u ON t.k = u.k WHEN NOT MATCHED THEN INSERT (k) VALUES (u.k)",
                &["at", "n"][..],
                "MERGE INTO t USING u ON t.k = u.k WHEN NOT MATCHED THEN INSERT (k, at) VALUES (u.k, now())",
            ),
            (
                "MERGE INTO t USING u ON t.k = u.k WHEN NOT MATCHED THEN INSERT VALUES (u.k) WHEN MATCHED THEN UPDATE SET k = 1, at = DEFAULT",
                &["at", "n", "at"],
                "MERGE INTO t USING u ON t.k = u.k WHEN NOT MATCHED THEN INSERT (k, at) VALUES (u.k, now()) WHEN MATCHED THEN UPDATE SET k = 1, at = now()",
            ),
            (
                "MERGE INTO t USING u ON t.k = u.k WHEN NOT MATCHED THEN INSERT (at, n) VALUES (DEFAULT, 7) WHEN MATCHED THEN DELETE",
                &["k", "at"],
                "MERGE INTO t USING u ON t.k = u.k WHEN NOT MATCHED THEN INSERT (at, n) VALUES (now(), 7) WHEN MATCHED THEN DELETE",
            ),
            (
                "MERGE INTO t USING u ON t.k = u.k WHEN NOT MATCHED THEN INSERT DEFAULT VALUES",
                &["k", "at", "n"],
                "MERGE INTO t USING u ON t.k = u.k WHEN NOT MATCHED THEN INSERT (at) VALUES (now())",
            ),
        ] {
            let found: Vec<&str> =
                defaults_of_merge(text, &relation).unwrap().iter().map(|one| one.name.as_str()).collect();
            assert_eq!(found, defaults, "{text}");
            assert_eq!(with_defaults(text, &relation, &[&relation.columns[1]]).unwrap(), filled, "{text}");
        }
    }

    #[test]
    fn numbers_of_identity_columns_override_the_system() {
        let relation = relation();
        let mut merge =
            parse_merge("MERGE INTO t USING u ON t.k = u.k WHEN NOT MATCHED THEN INSERT (k) VALUES (u.k)").unwrap();
        put(&mut merge, &relation, &relation.columns[2], &expression("u.number").unwrap());
        assert_eq!(
            written(NodeEnum::MergeStmt(Box::new(merge))).unwrap(),
            "MERGE INTO t USING u ON t.k = u.k WHEN NOT MATCHED THEN INSERT (k, n) OVERRIDING SYSTEM VALUE VALUES (u.k, u.number)"
        );
    }
}
