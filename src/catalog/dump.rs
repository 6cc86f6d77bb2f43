//! The whole catalog as a text that can be read, kept, and restored.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Catalog, Decision, failed, maps};
use crate::config;
use crate::types::{Epoch, Error, Kind, Origin, Result};

/// The version of the format.
const VERSION: u32 = 1;

/// What a catalog holds.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Dump {
    version: u32,
    #[serde(default)]
    databases: BTreeMap<String, DumpedMap>,
    #[serde(default)]
    two_phase: Vec<DumpedTransaction>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DumpedMap {
    epoch: u64,
    /// A shard map file.
    shard_map: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DumpedTransaction {
    id: String,
    database: String,
    #[serde(default)]
    user: String,
    shards: Vec<String>,
    decision: Option<String>,
}

impl Catalog {
    /// Everything that the catalog holds, as TOML.
    ///
    /// # Errors
    /// [`Kind::Internal`] when the store fails.
    pub async fn dump(&self) -> Result<String> {
        let mut dump = Dump { version: VERSION, databases: BTreeMap::new(), two_phase: Vec::new() };
        for database in self.databases().await? {
            if let Some(map) = self.load(&database).await? {
                let shard_map = config::shard_map_text(&map);
                dump.databases.insert(database, DumpedMap { epoch: map.epoch().0, shard_map });
            }
        }
        for transaction in self.two_phase_transactions().await? {
            dump.two_phase.push(DumpedTransaction {
                id: transaction.id,
                database: transaction.database,
                user: transaction.user,
                shards: transaction.shards,
                decision: transaction.decision.map(|decision| decision.as_str().to_owned()),
            });
        }
        toml::to_string_pretty(&dump).map_err(|error| Error::internal("the catalog cannot be written").source(error))
    }

    /// Makes the maps and decisions of a dump the catalog's. A database gets an epoch above the one that the catalog
    /// and the dump have, so that every Weir sees the change; databases that the dump does not have stay as they are.
    /// Gives the names of the databases that were restored.
    ///
    /// # Errors
    /// [`Kind::InvalidValue`]: the text is no dump. Nothing is changed then.
    pub async fn restore(&self, text: &str) -> Result<Vec<String>> {
        let dump: Dump = toml::from_str(text).map_err(|error| no_dump(error.to_string()))?;
        if dump.version != VERSION {
            return Err(no_dump(format!("its version is {}, not {VERSION}", dump.version)));
        }
        let mut restored = Vec::new();
        for (database, dumped) in &dump.databases {
            let name = format!("database {database}");
            let map = config::load_shard_map(Path::new(&name), |_| Ok(dumped.shard_map.clone()))
                .map_err(|mistakes| no_dump(mistakes.iter().map(|found| format!("{found}\n")).collect()))?;
            let known = self.epoch(database).await?.map_or(0, |epoch| epoch.0);
            restored.push((database.clone(), map.with_epoch(Epoch(known.max(dumped.epoch) + 1))));
        }
        let decisions = dump.two_phase.iter().map(|transaction| {
            let decision = transaction.decision.as_deref().map(Decision::from_str).transpose();
            decision.map(|decision| (transaction, decision))
        });
        let decisions: Vec<_> = decisions.collect::<Result<_>>()?;
        let failed = failed("restore the catalog");
        let mut transaction = self.pool.begin().await.map_err(failed)?;
        for (database, map) in &restored {
            maps::overwrite(&mut transaction, database, map).await?;
        }
        transaction.commit().await.map_err(failed)?;
        let known = self.two_phase_transactions().await?;
        for (found, decision) in decisions {
            if !known.iter().any(|known| known.id == found.id) {
                let shards: Vec<&str> = found.shards.iter().map(String::as_str).collect();
                self.begin_two_phase(&found.id, &found.database, &found.user, &shards).await?;
            }
            if let Some(decision) = decision {
                self.decide(&found.id, decision).await?;
            }
        }
        Ok(restored.into_iter().map(|(database, _)| database).collect())
    }
}

fn no_dump(why: String) -> Error {
    Error::new(Origin::Client, Kind::InvalidValue, "this is no dump of a catalog").detail(why)
}
