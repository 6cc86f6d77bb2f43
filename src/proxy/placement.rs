//! What a running Weir learns from the catalog: new epochs, entries of directories, and that another Weir changed the schema.

use std::sync::Arc;
use std::time::Duration;

use super::instance::Instance;
use crate::pool::database::Database;
use crate::route::UnownedKey;
use crate::shardmap::{Keyspace, ShardMap};
use crate::types::{Epoch, Error, Kind, Origin, Result};

/// How often the catalog is asked for a new epoch: another Weir, or `weir catalog restore`, may have written one.
pub const POLL_PERIOD: Duration = Duration::from_millis(500);

impl Instance {
    /// Looks up keys that `map` gives no owner, and gives new ones an owner where their directory says so. `Some` if the
    /// database has another map now.
    ///
    /// # Errors
    /// [`Origin::Catalog`] when the catalog cannot be asked: nothing is certain about the keys then.
    pub async fn learn(
        &self,
        database: &Database,
        map: &ShardMap,
        keys: &[UnownedKey],
    ) -> Result<Option<Arc<ShardMap>>> {
        let mut changed = self.follow_epoch(database, map.epoch()).await?;
        for key in keys {
            let Some(keyspace) = map.keyspace(&key.keyspace) else { continue };
            let Some(owner) = self.entry(database, map, keyspace, key).await? else { continue };
            let current = database.map().ok_or_else(no_map)?;
            let shard = current.shard_named(&owner).ok_or_else(|| unknown_shard(&owner))?;
            database.learn_entry(&key.keyspace, &key.key, shard);
            changed = true;
        }
        Ok(if changed { database.map() } else { None })
    }

    /// The shard that a directory's entry in the catalog names, or is given now.
    async fn entry(
        &self,
        database: &Database,
        map: &ShardMap,
        keyspace: &Keyspace,
        key: &UnownedKey,
    ) -> Result<Option<String>> {
        let Some(directory) = keyspace.directory() else { return Ok(None) };
        match directory.shard_for_new().filter(|_| key.is_new) {
            Some(shard) => {
                let name = map.shard_name(shard);
                let standing = self.catalog.assign(&database.name, &keyspace.name, &keyspace.key, &key.key, name);
                standing.await.map(Some)
            }
            None => self.catalog.entry(&database.name, &keyspace.name, &keyspace.key, &key.key).await,
        }
    }

    async fn follow_catalog(&self, database: &Database, known: Epoch) -> Result<()> {
        database.follow_schema_changes(self.catalog.schema_changes(&database.name).await?);
        self.follow_epoch(database, known).await.map(drop)
    }

    /// Takes over the catalog's map if it is another one than that of `known`. Whether it was.
    ///
    /// # Errors
    /// [`Origin::Catalog`] when the catalog cannot be read, or places something on a shard that is not configured.
    pub async fn follow_epoch(&self, database: &Database, known: Epoch) -> Result<bool> {
        if self.catalog.epoch(&database.name).await? == Some(known) {
            return Ok(false);
        }
        let Some(stored) = self.catalog.load(&database.name).await? else { return Ok(false) };
        let names: Vec<String> = database.shards.iter().map(|shard| shard.name.to_string()).collect();
        let map = stored.numbered_by(&names)?;
        tracing::info!(database = &*database.name, epoch = %map.epoch(), "the shard map has a new epoch");
        database.set_map(map);
        // Tables may have come into the map whose columns matter now.
        database.want_schema();
        Ok(true)
    }
}

/// Follows the catalog's epochs and changes of the schema, for ever.
pub async fn follow_catalog(instance: Arc<Instance>, database: Arc<Database>) {
    let mut told = String::new();
    loop {
        tokio::time::sleep(POLL_PERIOD).await;
        let Some(map) = database.map() else { return };
        match instance.follow_catalog(&database, map.epoch()).await {
            Ok(()) => told.clear(),
            Err(error) if told != error.to_string() => {
                tracing::warn!(database = &*database.name, %error, "the catalog cannot be followed; trying again");
                told = error.to_string();
            }
            Err(_) => {}
        }
    }
}

fn no_map() -> Error {
    Error::internal("a sharded database without a shard map")
}

fn unknown_shard(name: &str) -> Error {
    Error::new(Origin::Catalog, Kind::UnknownObject, format!("the database has no shard {name}"))
        .detail("A directory of the catalog places a key on it.")
        .hint("Put the shard into weir.toml and start this Weir again.")
}
