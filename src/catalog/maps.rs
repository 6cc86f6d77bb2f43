//! Shard maps in the catalog: one document for each database, in the language of shard map files, and the entries of
//! its directories as rows, which are added without a new epoch.

use std::path::Path;

use sqlx::{Any, AnyConnection, Transaction};

use super::{Catalog, drift, failed};
use crate::config;
use crate::shardmap::{Key, KeyType, KeyValue, Keyspace, ShardMap};
use crate::types::{Epoch, Error, Kind, Origin, Result};

impl Catalog {
    /// The placement of a database: as the catalog has it, or, when it has none yet, as `declared`, which it then
    /// keeps. Shards are numbered in the order of `declared`.
    ///
    /// # Errors
    /// - [`Kind::UnknownObject`]: the catalog places something on a shard that `declared` does not have.
    /// - [`Kind::Internal`]: the store fails, or does not hold what it should.
    pub async fn load_or_seed(&self, database: &str, declared: &ShardMap) -> Result<ShardMap> {
        let failed = failed("store the shard map");
        let mut transaction = self.pool.begin().await.map_err(failed)?;
        // Of two processes that start at once, one seeds.
        let seeded = insert_document(&mut transaction, database, declared).await?;
        if seeded {
            insert_entries(&mut transaction, database, declared, None).await?;
        }
        transaction.commit().await.map_err(failed)?;
        let stored = self.load(database).await?.ok_or_else(|| corrupt(format!("the map of {database} is gone")))?;
        stored.numbered_by(declared.shards())
    }

    /// The stored map of a database, its shards numbered as the catalog lists them; `None` when there is none.
    ///
    /// # Errors
    /// [`Kind::Internal`] as in [`Catalog::load_or_seed`].
    pub async fn load(&self, database: &str) -> Result<Option<ShardMap>> {
        let mut connection = self.pool.acquire().await.map_err(failed("read the shard map"))?;
        load(&mut connection, database).await
    }

    /// The epoch of a database's stored map.
    ///
    /// # Errors
    /// [`Kind::Internal`] when the store fails.
    pub async fn epoch(&self, database: &str) -> Result<Option<Epoch>> {
        let epoch: Option<i64> = sqlx::query_scalar("SELECT epoch FROM shard_map WHERE database = $1")
            .bind(database)
            .fetch_optional(&self.pool)
            .await
            .map_err(failed("read the epoch of the shard map"))?;
        epoch.map(to_epoch).transpose()
    }

    /// Puts a changed map in the place of the one that it was made from, as the next epoch. Entries of directories are
    /// added; those go that the changed map has not any more.
    ///
    /// # Errors
    /// [`Kind::StaleEpoch`]: the stored map is no longer the one that was changed.
    pub async fn replace(&self, database: &str, old: &ShardMap, new: &ShardMap) -> Result<()> {
        let failed = failed("store the shard map");
        let next = Epoch(old.epoch().0 + 1);
        let mut transaction = self.pool.begin().await.map_err(failed)?;
        let updated = sqlx::query("UPDATE shard_map SET epoch = $1, document = $2 WHERE database = $3 AND epoch = $4")
            .bind(from_epoch(next))
            .bind(document(new))
            .bind(database)
            .bind(from_epoch(old.epoch()))
            .execute(&mut *transaction)
            .await
            .map_err(failed)?;
        if updated.rows_affected() == 0 {
            return Err(Error::new(Origin::Weir, Kind::StaleEpoch, "the shard map was changed by somebody else")
                .hint("Look at it again, and repeat the command if it is still wanted."));
        }
        let gone = old.keyspaces().iter().filter(|keyspace| new.keyspace(&keyspace.name).is_none());
        for keyspace in gone {
            sqlx::query("DELETE FROM directory_entry WHERE database = $1 AND keyspace = $2")
                .bind(database)
                .bind(&keyspace.name)
                .execute(&mut *transaction)
                .await
                .map_err(failed)?;
        }
        let is_left =
            |keyspace: &Keyspace, key: &Key| new.keyspace(&keyspace.name).is_some_and(|kept| !kept.has_entry(key));
        for (keyspace, key, _) in old.entries().filter(|(keyspace, key, _)| is_left(keyspace, key)) {
            sqlx::query("DELETE FROM directory_entry WHERE database = $1 AND keyspace = $2 AND entry = $3")
                .bind(database)
                .bind(&keyspace.name)
                .bind(entry_text(&keyspace.key, key))
                .execute(&mut *transaction)
                .await
                .map_err(failed)?;
        }
        insert_entries(&mut transaction, database, new, Some(old)).await?;
        transaction.commit().await.map_err(failed)
    }

    /// Gives a key its entry in a directory, unless it has one: the first stands. Returns the shard's name of the one
    /// that stands.
    ///
    /// # Errors
    /// [`Kind::Internal`] when the store fails.
    pub async fn assign(
        &self,
        database: &str,
        keyspace: &str,
        types: &[KeyType],
        key: &[KeyValue<'_>],
        shard: &str,
    ) -> Result<String> {
        // The empty update makes RETURNING give the row that was there first.
        sqlx::query_scalar(
            "INSERT INTO directory_entry (database, keyspace, entry, shard) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (database, keyspace, entry) DO UPDATE SET shard = directory_entry.shard RETURNING shard",
        )
        .bind(database)
        .bind(keyspace)
        .bind(entry_text(types, key))
        .bind(shard)
        .fetch_one(&self.pool)
        .await
        .map_err(failed("store the directory's entry"))
    }

    /// The name of the shard that a key's entry in a directory says; `None` when it has none.
    ///
    /// # Errors
    /// [`Kind::Internal`] when the store fails.
    pub async fn entry(
        &self,
        database: &str,
        keyspace: &str,
        types: &[KeyType],
        key: &[KeyValue<'_>],
    ) -> Result<Option<String>> {
        sqlx::query_scalar("SELECT shard FROM directory_entry WHERE database = $1 AND keyspace = $2 AND entry = $3")
            .bind(database)
            .bind(keyspace)
            .bind(entry_text(types, key))
            .fetch_optional(&self.pool)
            .await
            .map_err(failed("read the directory"))
    }

    /// The databases that have a stored map, by name.
    ///
    /// # Errors
    /// [`Kind::Internal`] when the store fails.
    pub async fn databases(&self) -> Result<Vec<String>> {
        sqlx::query_scalar("SELECT database FROM shard_map ORDER BY database")
            .fetch_all(&self.pool)
            .await
            .map_err(failed("list the shard maps"))
    }

    /// Where the catalog's placement of a database differs from the declared one, a sentence each. Nothing when the
    /// catalog has none yet.
    ///
    /// # Errors
    /// [`Kind::Internal`] as in [`Catalog::load_or_seed`].
    pub async fn drift(&self, database: &str, declared: &ShardMap) -> Result<Vec<String>> {
        let Some(stored) = self.load(database).await? else { return Ok(Vec::new()) };
        let stored_shards = stored.shards().to_vec();
        let stored = stored.numbered_by(&drift::all_shards(declared.shards(), &stored_shards))?;
        Ok(drift::differences(&stored, &stored_shards, declared))
    }
}

/// Stores a map with its epoch in place of whatever is there, entries included.
pub(super) async fn overwrite(transaction: &mut Transaction<'_, Any>, database: &str, map: &ShardMap) -> Result<()> {
    for statement in ["DELETE FROM shard_map WHERE database = $1", "DELETE FROM directory_entry WHERE database = $1"] {
        let deleted = sqlx::query(statement).bind(database).execute(&mut **transaction).await;
        deleted.map_err(failed("replace the shard map"))?;
    }
    insert_document(transaction, database, map).await?;
    insert_entries(transaction, database, map, None).await
}

/// The stored map of a database; see [`Catalog::load`].
pub(super) async fn load(connection: &mut AnyConnection, database: &str) -> Result<Option<ShardMap>> {
    let failed = failed("read the shard map");
    let row: Option<(i64, String)> = sqlx::query_as("SELECT epoch, document FROM shard_map WHERE database = $1")
        .bind(database)
        .fetch_optional(&mut *connection)
        .await
        .map_err(failed)?;
    let Some((epoch, document)) = row else { return Ok(None) };
    let entries: Vec<(String, String, String)> =
        sqlx::query_as("SELECT keyspace, entry, shard FROM directory_entry WHERE database = $1")
            .bind(database)
            .fetch_all(&mut *connection)
            .await
            .map_err(failed)?;
    let mut map = parse(&document)?.with_epoch(to_epoch(epoch)?);
    for (keyspace, entry, shard) in entries {
        add_entry(&mut map, &keyspace, &entry, &shard)?;
    }
    Ok(Some(map))
}

fn parse(document: &str) -> Result<ShardMap> {
    config::load_shard_map(Path::new("catalog"), |_| Ok(document.to_owned()))
        .map_err(|mistakes| corrupt(mistakes.iter().map(|mistake| mistake.to_string()).collect::<Vec<_>>().join("; ")))
}

fn add_entry(map: &mut ShardMap, keyspace: &str, entry: &str, shard: &str) -> Result<()> {
    let wrong = || corrupt(format!("the entry {entry} of keyspace {keyspace} on shard {shard}"));
    let types = &map.keyspace(keyspace).ok_or_else(wrong)?.key;
    let key = read_entry(types, entry).ok_or_else(wrong)?;
    let shard = map.shard_named(shard).ok_or_else(wrong)?;
    map.add_entry(keyspace, key, shard).map_err(|_| wrong())
}

/// Whether the database had no map.
async fn insert_document(connection: &mut AnyConnection, database: &str, map: &ShardMap) -> Result<bool> {
    let inserted = sqlx::query(
        "INSERT INTO shard_map (database, epoch, document) VALUES ($1, $2, $3) ON CONFLICT (database) DO NOTHING",
    )
    .bind(database)
    .bind(from_epoch(map.epoch()))
    .bind(document(map))
    .execute(connection)
    .await
    .map_err(failed("store the shard map"))?;
    Ok(inserted.rows_affected() > 0)
}

/// Adds the directories' entries that `known` does not have.
async fn insert_entries(
    connection: &mut AnyConnection,
    database: &str,
    map: &ShardMap,
    known: Option<&ShardMap>,
) -> Result<()> {
    for (keyspace, key, shard) in map.entries() {
        let is_known = known.and_then(|known| known.keyspace(&keyspace.name)).is_some_and(|old| old.has_entry(key));
        if is_known {
            continue;
        }
        sqlx::query(
            "INSERT INTO directory_entry (database, keyspace, entry, shard) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (database, keyspace, entry) DO NOTHING",
        )
        .bind(database)
        .bind(&keyspace.name)
        .bind(entry_text(&keyspace.key, key))
        .bind(map.shard_name(shard))
        .execute(&mut *connection)
        .await
        .map_err(failed("store the directory's entry"))?;
    }
    Ok(())
}

/// What is stored of a map beside its directories' entries.
fn document(map: &ShardMap) -> String {
    config::shard_map_text(&map.without_entries())
}

/// A key as a JSON list of its values' texts.
fn entry_text(types: &[KeyType], key: &[KeyValue<'_>]) -> String {
    let texts = types.iter().zip(key).map(|(key_type, value)| value.to_text(*key_type));
    serde_json::Value::from(texts.collect::<Vec<_>>()).to_string()
}

fn read_entry(types: &[KeyType], entry: &str) -> Option<Key> {
    let texts: Vec<String> = serde_json::from_str(entry).ok()?;
    let value = |(key_type, text): (&KeyType, &String)| KeyValue::from_text(*key_type, text).map(KeyValue::into_owned);
    if texts.len() == types.len() { types.iter().zip(&texts).map(value).collect() } else { None }
}

fn to_epoch(epoch: i64) -> Result<Epoch> {
    u64::try_from(epoch).map(Epoch).map_err(|_| corrupt(format!("epoch {epoch}")))
}

fn from_epoch(epoch: Epoch) -> i64 {
    i64::try_from(epoch.0).unwrap_or(i64::MAX)
}

fn corrupt(what: String) -> Error {
    Error::new(Origin::Catalog, Kind::Internal, "the catalog does not hold a valid shard map")
        .detail(what)
        .hint("Restore the catalog from a backup: weir catalog restore.")
}
