//! Statements about the session, and those that a sharded database does not do.

use super::plan::Action;
use crate::sql::facts::StatementKind;
use crate::types::Error;

/// Settings that change what names mean, or as whom a statement runs: plans would be wrong under them.
const NAMING_SETTINGS: &[&str] = &["role", "search_path", "session_authorization"];

/// SET and RESET of one setting.
pub(super) fn set(name: &str) -> Result<Action, Error> {
    if !NAMING_SETTINGS.contains(&name) {
        return Ok(Action::Session);
    }
    Err(Error::refuse(
        format!("setting \"{name}\" cannot be changed on a sharded database"),
        "It changes which relations and functions names stand for.",
    )
    .hint("Qualify names with their schema, or set it for the role with ALTER ROLE."))
}

/// The refusal of a kind of statement that is not done on a sharded database.
pub(super) fn refusal(kind: &StatementKind) -> Error {
    let (what, detail) = match kind {
        StatementKind::Prepare => ("PREPARE", "The prepared statement would exist on one shard only."),
        StatementKind::Execute => ("EXECUTE", "What the prepared statement does is not in the text."),
        StatementKind::DeclareCursor { .. } => ("DECLARE CURSOR", "The cursor would exist on one shard only."),
        StatementKind::Fetch => ("FETCH", "There are no SQL-level cursors on a sharded database."),
        StatementKind::CloseCursor => ("CLOSE", "There are no SQL-level cursors on a sharded database."),
        StatementKind::Lock => ("LOCK", "A lock on one shard does not guard the others."),
        StatementKind::CopyFrom => ("COPY FROM", "The rows would have to be sent to their shards one by one."),
        StatementKind::Merge => ("MERGE", "It is not worked out which rows MERGE needs and adds."),
        StatementKind::Standalone => {
            ("this command", "It cannot run in a transaction block, so it cannot be done on every shard or none.")
        }
        StatementKind::Opaque => ("DO, CALL or LOAD", "It cannot be seen what the code reads or writes."),
        StatementKind::Unparsed => ("this statement", "PostgreSQL 18's grammar does not know the text."),
        _ => ("this command", "It is not known what the command does on several shards."),
    };
    let error = Error::refuse(format!("{what} is not supported on a sharded database"), detail);
    match kind {
        StatementKind::Prepare | StatementKind::Execute => error.hint("Use protocol-level prepared statements."),
        StatementKind::CopyFrom => error.hint("Use INSERT, or COPY on the shards themselves."),
        _ => error,
    }
}
