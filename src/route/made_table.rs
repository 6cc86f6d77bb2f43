//! CREATE TABLE AS: a table from a query lives on one shard, and is given its rows by Weir where others have them.

use super::plan::{Action, MakeTable, Part};
use super::target::{Target, lookup, unmapped};
use super::{HOME, Router};
use crate::sql::made_table::made_table;
use crate::types::{Error, Result};

impl Router<'_> {
    /// The plan of a CREATE TABLE AS.
    ///
    /// # Errors
    /// Refuses tables that the shard map wants on several shards: how their rows are spread is only known when they are there.
    pub(super) fn table_from_query(&self, temporary: bool, with_data: bool) -> Result<Action> {
        if !self.statement().parameters.is_empty() {
            return Err(Error::refuse(
                "CREATE TABLE AS cannot have parameters here",
                "Its table is made first, by a statement of its own.",
            )
            .hint("Write the values into the statement."));
        }
        let made = made_table(self.statement().text(self.request.text))?;
        let shard = match temporary {
            true => HOME,
            false => {
                self.check_not_hidden()?;
                match lookup(&self.request, &made.name) {
                    Target::Single { shard, .. } => shard,
                    Target::Sharded { .. } | Target::Reference { .. } => {
                        return Err(Error::refuse(
                            format!("cannot make table \"{}\" from a query", made.name.name),
                            "The shard map wants its rows on several shards.",
                        )
                        .hint("Create the table first, and fill it by INSERT ... SELECT."));
                    }
                    Target::Unmapped | Target::System | Target::Expanded => return Err(unmapped(&made.name)),
                }
            }
        };
        Ok(match with_data {
            true => Action::MakeTable(Box::new(MakeTable { shard, made, temporary })),
            false if temporary => self.on_home(),
            false => Action::Everywhere { parts: vec![Part::untouched(shard)], changes_schema: true },
        })
    }
}
