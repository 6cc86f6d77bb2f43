//! DDL on a sharded database: on every shard or none, and only what keeps the shard map true.

use super::plan::{Action, Part};
use super::target::{Target, lookup, unmapped};
use super::{Request, Router, session};
use crate::sql::facts::{Ddl, Effects, ForeignKey, Statement, Uniqueness};
use crate::sql::moment::{Moment, with_moment_defaults};
use crate::sql::schema::Resolved;
use crate::types::{Error, Result, ShardId};

/// The parts of CREATE TABLE and ALTER TABLE that are checked alike.
struct TableChange<'d> {
    constraints: &'d [Uniqueness],
    foreign_keys: &'d [ForeignKey],
    sequences: &'d [String],
    inexplicable: Option<&'d String>,
}

impl TableChange<'_> {
    fn is_empty(&self) -> bool {
        self.constraints.is_empty()
            && self.foreign_keys.is_empty()
            && self.sequences.is_empty()
            && self.inexplicable.is_none()
    }
}

impl Router<'_> {
    pub(super) fn schema_change(&self) -> Result<Action> {
        match &self.statement().ddl {
            Some(Ddl::CreateTable { columns, constraints, foreign_keys, inexplicable, .. }) => {
                let inexplicable = inexplicable.as_ref();
                self.check_table(&TableChange { constraints, foreign_keys, sequences: &[], inexplicable })?;
                self.check_key_column(columns)?;
            }
            Some(Ddl::AlterTable { added_constraints, foreign_keys, sequences, touched_columns, inexplicable }) => {
                let inexplicable = inexplicable.as_ref();
                if self.adds_moment()? {
                    return Ok(Action::Moment);
                }
                self.check_alter(touched_columns)?;
                let constraints = added_constraints;
                let change = TableChange { constraints, foreign_keys, sequences, inexplicable };
                // Dumps change the owners of views and sequences in this way.
                if !(change.is_empty() && touched_columns.is_empty() && self.is_no_table()) {
                    self.check_table(&change)?;
                }
            }
            Some(Ddl::CreateIndex { unique, .. }) => {
                self.check_mapped()?;
                unique.iter().try_for_each(|unique| self.check_uniqueness(unique))?;
            }
            Some(Ddl::Truncate) => self.check_mapped()?,
            Some(Ddl::RenameTable) => self.check_rename()?,
            Some(Ddl::Other { .. }) => {}
            Some(Ddl::CreateTableAs { .. }) => return Err(Error::internal("CREATE TABLE AS has a plan of its own")),
            None => return Err(Error::internal("DDL without its description")),
        }
        Ok(match self.only_shard()? {
            Some(shard) => Action::Everywhere { parts: vec![Part::untouched(shard)], changes_schema: true },
            None => self.everywhere(true),
        })
    }

    /// What cannot run in a transaction block: each shard does it for itself, one after the other.
    pub(super) fn shard_by_shard(&self) -> Result<Action> {
        let index = match &self.statement().ddl {
            Some(Ddl::CreateIndex { unique, name }) => {
                self.check_mapped()?;
                unique.iter().try_for_each(|unique| self.check_uniqueness(unique))?;
                name.clone()
            }
            Some(_) => None,
            None => return Err(session::refusal(&self.statement().kind)),
        };
        let parts = match self.only_shard()? {
            Some(shard) => vec![Part::untouched(shard)],
            None => self.request.map.shard_ids().map(Part::untouched).collect(),
        };
        Ok(Action::ShardByShard { parts, index })
    }

    /// LOCK TABLE: the tables of every shard.
    pub(super) fn lock(&self) -> Result<Action> {
        self.check_mapped()?;
        Ok(match self.only_shard()? {
            Some(shard) => Action::Everywhere { parts: vec![Part::untouched(shard)], changes_schema: false },
            None => self.everywhere(false),
        })
    }

    /// The shard that a statement about tables which live on one shard concerns; `None` for all others.
    fn only_shard(&self) -> Result<Option<ShardId>> {
        let of = |target: &Target<'_>| match target {
            Target::Single { shard, .. } => Some(*shard),
            Target::Sharded { .. }
            | Target::Reference { .. }
            | Target::System
            | Target::Expanded
            | Target::Unmapped => None,
        };
        let mut shards: Vec<Option<ShardId>> = self.targets.iter().map(of).collect();
        shards.dedup();
        match shards.as_slice() {
            [] | [None] => Ok(None),
            [Some(shard)] => Ok(Some(*shard)),
            _ => Err(Error::refuse(
                "cannot change tables on different shards in one statement",
                "Some of them live on one shard, the others on another one or on all.",
            )
            .hint("Use a statement for each.")),
        }
    }

    /// The table that the statement is about; CREATE, ALTER and RENAME have exactly one.
    fn table(&self) -> Option<Target<'_>> {
        self.targets.first().copied()
    }

    fn check_mapped(&self) -> Result<()> {
        let unknown = self.targets.iter().zip(&self.statement().relations).find(|(target, _)| match target {
            Target::Unmapped | Target::System | Target::Expanded => true,
            Target::Sharded { .. } | Target::Reference { .. } | Target::Single { .. } => false,
        });
        match unknown {
            Some((_, used)) => Err(unmapped(&used.name)),
            None => Ok(()),
        }
    }

    fn check_key_column(&self, columns: &[String]) -> Result<()> {
        match self.table() {
            Some(Target::Sharded { columns: key, .. }) => match missing(key, columns) {
                None => Ok(()),
                Some(column) => Err(Error::refuse(
                    format!("the sharded table lacks its key column \"{column}\""),
                    format!("The shard map says that column \"{column}\" decides on which shard a row lives."),
                )),
            },
            _ => Ok(()),
        }
    }

    /// Whether ALTER TABLE is about a view, a sequence or an index, which every shard has.
    fn is_no_table(&self) -> bool {
        self.statement().relations.first().is_some_and(|used| match self.request.schema.resolve(&used.name) {
            Resolved::User { relation, .. } => relation.is_view,
            Resolved::Unknown => true,
            Resolved::System => false,
        })
    }

    fn check_table(&self, change: &TableChange<'_>) -> Result<()> {
        self.check_mapped()?;
        if let Some(part) = change.inexplicable {
            return Err(Error::refuse(
                "cannot change tables in this way on a sharded database",
                format!("It is not worked out what {part} means for the shards."),
            ));
        }
        let one_shard = matches!(self.table(), Some(Target::Single { .. }));
        if let Some(column) = change.sequences.first().filter(|_| !one_shard) {
            return Err(Error::refuse(
                "cannot number rows that are there on a sharded database",
                format!("Each shard would number column \"{column}\" of its rows for itself."),
            )
            .hint(
                "Add the column without its default, give the rows values, and let the default follow: ALTER COLUMN ... SET \
                 DEFAULT nextval(...).",
            ));
        }
        change.constraints.iter().try_for_each(|unique| self.check_uniqueness(unique))?;
        change.foreign_keys.iter().try_for_each(|foreign_key| self.check_foreign_key(foreign_key))
    }

    /// Shards check uniqueness for themselves, which is enough only if equal rows are on one shard.
    fn check_uniqueness(&self, unique: &Uniqueness) -> Result<()> {
        match self.table() {
            Some(Target::Sharded { columns, .. }) => match missing(columns, &unique.columns) {
                None => Ok(()),
                Some(column) => Err(Error::refuse(
                    format!("{} on a sharded table must include its shard key", unique.kind),
                    format!("Without column \"{column}\" equal rows could be on different shards."),
                )
                .hint(format!("Add \"{column}\" to the columns of the constraint."))),
            },
            _ => Ok(()),
        }
    }

    fn check_foreign_key(&self, foreign_key: &ForeignKey) -> Result<()> {
        let referenced = lookup(&self.request, &foreign_key.referenced);
        match (self.table(), referenced) {
            (_, Target::Unmapped | Target::System) => Err(unmapped(&foreign_key.referenced)),
            (Some(Target::Reference { .. }), Target::Sharded { .. } | Target::Single { .. }) => Err(Error::refuse(
                "a reference table cannot refer to a table that is not on every shard",
                "The referenced row would be on one shard, the referring one on all.",
            )),
            (Some(Target::Single { shard, .. }), Target::Single { shard: other, .. }) if shard == other => Ok(()),
            (Some(Target::Single { .. }), Target::Sharded { .. } | Target::Single { .. })
            | (Some(Target::Sharded { .. }), Target::Single { .. }) => Err(Error::refuse(
                "a foreign key must not lead to another shard",
                format!(
                    "The row of \"{}\" that is referred to could be on another shard.",
                    foreign_key.referenced.name
                ),
            )),
            (Some(Target::Sharded { columns, .. }), _)
                if foreign_key.assigns && columns.iter().any(|column| foreign_key.columns.contains(column)) =>
            {
                let column = columns.iter().find(|column| foreign_key.columns.contains(column));
                let column = column.map_or("", String::as_str);
                Err(Error::refuse(
                    "a foreign key must not change a shard key",
                    format!(
                        "ON UPDATE or ON DELETE would assign column \"{column}\", which decides on the row's shard."
                    ),
                )
                .hint("Use NO ACTION or RESTRICT."))
            }
            (
                Some(Target::Sharded { keyspace, columns, .. }),
                Target::Sharded { keyspace: other_keyspace, columns: other_columns, .. },
            ) if keyspace.name != other_keyspace.name || !pairs_all(foreign_key, columns, other_columns) => {
                let (column, other_column) = (columns.join(", "), other_columns.join(", "));
                Err(Error::refuse(
                    "a foreign key between sharded tables must include their shard keys",
                    format!(
                        "The row of \"{}\" that is referred to could be on another shard.",
                        foreign_key.referenced.name
                    ),
                )
                .hint(format!("Let \"{column}\" refer to \"{other_column}\" in the constraint, in one keyspace.")))
            }
            _ => Ok(()),
        }
    }

    /// Whether rows that are there get the time of the statement, which shards would read each for itself.
    fn adds_moment(&self) -> Result<bool> {
        if !self.has(Effects::STABLE) || self.has(Effects::VOLATILE) {
            return Ok(false);
        }
        let text = self.statement().text(self.request.text);
        Ok(with_moment_defaults(text, &Moment::default())?.is_some())
    }

    fn check_alter(&self, touched: &[String]) -> Result<()> {
        match self.table() {
            Some(Target::Sharded { columns, .. }) if touched.iter().any(|name| columns.contains(name)) => {
                let column = touched.iter().find(|name| columns.contains(name)).map_or("", String::as_str);
                return Err(Error::refuse(
                    format!("cannot alter the shard key \"{column}\""),
                    "The shard map names the column, and its values decide where the rows live.",
                ));
            }
            _ => {}
        }
        if self.has(Effects::VOLATILE | Effects::STABLE) {
            return Err(Error::refuse(
                "cannot fill a column differently on each shard",
                "The expression that fills the rows may give another value on each shard.",
            )
            .hint("Add the column without the default, then set the default and update the rows."));
        }
        Ok(())
    }

    fn check_rename(&self) -> Result<()> {
        match (self.table(), self.statement().relations.first()) {
            (Some(Target::Sharded { .. } | Target::Reference { .. } | Target::Single { .. }), Some(used)) => {
                Err(Error::refuse(
                    format!("cannot rename table \"{}\"", used.name.name),
                    "The shard map knows the table by its name and schema.",
                ))
            }
            _ => Ok(()),
        }
    }
}

/// Whether DDL of one shard may be a part of the client's own transaction. What it defines is not known before it is
/// committed: it must not make code run with statements that follow it in the block.
pub fn may_stand_in_block(request: &Request<'_>) -> bool {
    let is_plain = match &request.statement.ddl {
        Some(Ddl::Other { command }) => PLAIN_IN_BLOCK.contains(&command.as_str()),
        Some(_) => true,
        None => false,
    };
    let text = request.statement.text(request.text).to_ascii_lowercase();
    let mut words = text.split(|character: char| !(character.is_alphanumeric() || "_$".contains(character)));
    let runs_code = |word: &str| {
        ["trigger", "policy", "security", "rule"].contains(&word)
            || request.schema.functions.get(word).is_some_and(|class| !class.builtin)
    };
    is_plain && !words.any(runs_code)
}

/// Whether a statement may change the columns of the relations that it names.
pub fn changes_columns(statement: &Statement) -> bool {
    match &statement.ddl {
        Some(Ddl::CreateTable { .. } | Ddl::CreateTableAs { .. } | Ddl::AlterTable { .. } | Ddl::RenameTable) => true,
        Some(Ddl::Other { command }) => command == "DROP TABLE",
        Some(Ddl::CreateIndex { .. } | Ddl::Truncate) | None => false,
    }
}

/// Commands that define no code.
const PLAIN_IN_BLOCK: &[&str] = &["COMMENT", "DROP TABLE", "GRANT or REVOKE", "CREATE SEQUENCE", "ALTER SEQUENCE"];

/// The first of the key's columns that is not among `columns`.
fn missing<'k>(key: &'k [String], columns: &[String]) -> Option<&'k str> {
    key.iter().find(|column| !columns.contains(column)).map(String::as_str)
}

/// Whether a foreign key makes every column of a key refer to the same column of the other key.
fn pairs_all(foreign_key: &ForeignKey, columns: &[String], others: &[String]) -> bool {
    columns.iter().zip(others).all(|(column, other)| pairs(foreign_key, column, other))
}

/// Whether a foreign key makes `column` refer to `other`. A primary key that is not spelled out includes its table's
/// shard key, as every unique constraint must.
fn pairs(foreign_key: &ForeignKey, column: &str, other: &str) -> bool {
    let mut places = foreign_key.columns.iter().enumerate().filter(|(_, own)| *own == column);
    match foreign_key.referenced_columns.as_slice() {
        [] => places.next().is_some(),
        referenced => places.any(|(place, _)| referenced.get(place).is_some_and(|name| name == other)),
    }
}
