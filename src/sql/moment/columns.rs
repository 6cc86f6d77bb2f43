//! ALTER TABLE ... ADD COLUMN with a default such as now(): rows that are there get the time of the statement, later ones their
//! own.

use pg_query::NodeEnum;
use pg_query::protobuf::{AlterTableCmd, AlterTableType, ColumnDef, ConstrType, DropBehavior, Node};

use super::{Moment, fixed};
use crate::sql::tree::{only_target, parse_one, select, target, written};
use crate::types::Result;

/// The statement with a moment as the default of its new columns, and behind that the default that it gives them; `None` if
/// no default reads the time.
///
/// # Errors
/// A text that cannot be parsed.
pub fn with_moment_defaults(text: &str, moment: &Moment) -> Result<Option<String>> {
    let NodeEnum::AlterTableStmt(mut alter) = parse_one(text)? else { return Ok(None) };
    let mut afterwards = Vec::new();
    for command in &mut alter.cmds {
        let Some(NodeEnum::AlterTableCmd(command)) = &mut command.node else { continue };
        // Where the column is there already, nothing may change.
        if command.subtype() != AlterTableType::AtAddColumn || command.missing_ok {
            continue;
        }
        let Some(NodeEnum::ColumnDef(column)) = command.def.as_mut().and_then(|def| def.node.as_mut()) else {
            continue;
        };
        let Some(default) = default_of(column) else { continue };
        let Some(at_moment) = fixed(&select(vec![target("", default.node.clone())])?, moment) else { continue };
        let own = std::mem::replace(default, only_target(&at_moment)?);
        let mut set =
            AlterTableCmd { name: column.colname.clone(), def: Some(Box::new(own)), ..AlterTableCmd::default() };
        set.set_subtype(AlterTableType::AtColumnDefault);
        // The grammar's own value: a zero is none, and ends the process where it is written as text.
        set.set_behavior(DropBehavior::DropRestrict);
        afterwards.push(Node { node: Some(NodeEnum::AlterTableCmd(Box::new(set))) });
    }
    if afterwards.is_empty() {
        return Ok(None);
    }
    alter.cmds.append(&mut afterwards);
    written(NodeEnum::AlterTableStmt(alter)).map(Some)
}

fn default_of(column: &mut ColumnDef) -> Option<&mut Node> {
    column.constraints.iter_mut().find_map(|constraint| match &mut constraint.node {
        Some(NodeEnum::Constraint(constraint)) if constraint.contype() == ConstrType::ConstrDefault => {
            constraint.raw_expr.as_deref_mut()
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn added(text: &str) -> String {
        let moment = Moment { with_zone: "Z".into(), local: "L".into(), date: "D".into() };
        with_moment_defaults(text, &moment).unwrap().unwrap_or_default()
    }

    #[test]
    fn rows_that_are_there_get_one_moment() {
        assert_eq!(
            added(
                "ALTER TABLE s.t ADD COLUMN at timestamptz NOT NULL DEFAULT now(), ADD d date DEFAULT current_date - 1, ADD n int DEFAULT 5"
            ),
            "ALTER TABLE s.t ADD COLUMN at timestamptz NOT NULL DEFAULT 'Z'::timestamp with time zone, ADD COLUMN d date DEFAULT 'D'::pg_catalog.date - 1, \
             ADD COLUMN n int DEFAULT 5, ALTER COLUMN at SET DEFAULT now(), ALTER COLUMN d SET DEFAULT current_date - 1"
        );
        for text in [
            "ALTER TABLE t ADD COLUMN n int DEFAULT 5",
            "ALTER TABLE t ADD COLUMN IF NOT EXISTS at timestamptz DEFAULT now()",
            "ALTER TABLE t ALTER COLUMN at SET DEFAULT now()",
            "ALTER TABLE t ADD COLUMN at timestamptz DEFAULT clock_timestamp()",
            "UPDATE t SET at = now()",
        ] {
            assert_eq!(added(text), "", "{text}");
        }
    }
}
