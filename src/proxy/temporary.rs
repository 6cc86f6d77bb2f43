//! Temporary tables on a sharded database: they live on the home shard, whose server the client keeps.

use std::collections::BTreeSet;

use super::client::Client;
use super::exchange::Question;
use super::outcome::Step;
use crate::route::HOME;
use crate::sql::facts::{Facets, Statement};
use crate::types::{Error, Result};
use crate::wire::TransactionStatus;
use crate::wire::backend;

/// The session's temporary relations, by what its server says.
const NAMES: &str = "SELECT relname FROM pg_catalog.pg_class
    WHERE relnamespace = pg_catalog.pg_my_temp_schema() AND relkind IN ('r', 'p', 'v', 'S')";

/// What is known of a session's temporary relations.
#[derive(Debug, Default)]
pub struct Temporary {
    /// The session has made some, and may have them still.
    pub used: bool,
    /// Those that there were when the unit at hand began.
    pub names: BTreeSet<String>,
}

impl Client {
    /// Asks the home shard's server for the session's temporary relations, before a unit is planned: DROP, ON COMMIT and a
    /// rollback may have changed them. A session that never made any asks nothing.
    pub async fn learn_temporary(&mut self) -> Step {
        if !self.temporary.used {
            return Ok(());
        }
        let home = self.links.iter().find(|link| link.server.shard() == HOME);
        match home.map(|link| link.server.session.ledger.status()) {
            // Nothing runs there but what ends the failure.
            Some(TransactionStatus::Failed) => Ok(()),
            Some(TransactionStatus::Idle | TransactionStatus::InTransaction) => {
                self.cut_if_wanted().await?;
                self.ask(HOME, &Question::query(NAMES)).await?;
                let rows = self.answer(HOME).await?.into_rows();
                self.temporary.names = rows.iter().map(|row| name(row)).collect::<Result<_>>()?;
                Ok(())
            }
            // Its server is gone, and they with it.
            None => {
                self.temporary = Temporary::default();
                Ok(())
            }
        }
    }

    /// Refuses to make or drop temporary tables among other statements, which are planned before that is done.
    pub fn check_alone<'s>(&self, mut statements: impl Iterator<Item = &'s Statement>) -> Result<()> {
        let changes = |statement: &Statement| {
            statement.makes.contains(Facets::TEMPORARY)
                || (self.temporary.used && statement.ends.contains(Facets::TEMPORARY))
        };
        if statements.any(changes) {
            return Err(Error::refuse(
                "temporary tables cannot be made or dropped among other statements of one unit",
                "The statements behind it would be routed by the names that were known before.",
            )
            .hint("Send the statements one by one."));
        }
        Ok(())
    }
}

fn name(row: &[u8]) -> Result<String> {
    let values = backend::read_data_row(row)?;
    let name = values.first().copied().flatten().unwrap_or_default();
    Ok(String::from_utf8_lossy(name).into_owned())
}
