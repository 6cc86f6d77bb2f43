//! Whether a replica may answer, and whether a statement may write.

use super::plan::Access;
use crate::sql::facts::{Effects, Statement, StatementKind};

/// What does no harm on a replica: its answer is the primary's, as far as it has replayed.
const HARMLESS: Effects = Effects::STABLE
    .union(Effects::READS_DATES)
    .union(Effects::SHAPES_RESULT)
    .union(Effects::SYSTEM_RELATIONS)
    .union(Effects::SYSTEM_COLUMNS);

/// What may write: volatile built-in functions count, as some of them do.
const MAY_WRITE: Effects = Effects::WRITES_ROWS.union(Effects::OPAQUE).union(Effects::DDL).union(Effects::VOLATILE);

/// Where a statement may run on one shard, or on the only one of an unsharded database.
pub fn unsharded(statement: &Statement) -> Access {
    if is_free_of_effects(statement) { Access::Read } else { Access::Primary { writes: may_write(statement) } }
}

fn is_free_of_effects(statement: &Statement) -> bool {
    matches!(statement.kind, StatementKind::Select | StatementKind::Explain { .. })
        && HARMLESS.contains(statement.effects)
        && statement.makes.is_empty()
        && statement.set_configs.is_empty()
        && statement.unknown.is_none()
}

fn may_write(statement: &Statement) -> bool {
    match &statement.kind {
        StatementKind::Select
        | StatementKind::CopyTo
        | StatementKind::Explain { .. }
        | StatementKind::Show
        | StatementKind::Set { .. }
        | StatementKind::Reset { .. }
        | StatementKind::ResetAll
        | StatementKind::Discard(_)
        | StatementKind::Transaction(_)
        | StatementKind::Prepare { .. }
        | StatementKind::Deallocate { .. }
        | StatementKind::DeclareCursor { .. }
        | StatementKind::Fetch
        | StatementKind::CloseCursor
        | StatementKind::Listen
        | StatementKind::Unlisten
        | StatementKind::Lock => statement.effects.intersects(MAY_WRITE),
        StatementKind::Insert
        | StatementKind::Update
        | StatementKind::Delete
        | StatementKind::Merge
        | StatementKind::CopyFrom
        | StatementKind::Execute
        | StatementKind::Notify
        | StatementKind::Ddl
        | StatementKind::Standalone
        | StatementKind::Opaque
        | StatementKind::Unparsed
        | StatementKind::Other(_) => true,
    }
}
