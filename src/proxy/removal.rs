//! Entries that leave a directory: nothing may be left under their keys, or it would not be found any more.
//!
//! 1. On the entry's shard the keyspace's tables are locked in SHARE mode, which waits for the transactions that write
//!    them and holds up new ones, and are searched for the key.
//! 2. The map without the entry is stored as the next epoch and followed while the locks are held. Statements that are
//!    planned from then on know it; one that was planned before and gets its server later is refused (`Client::link`).
//! 3. The locks are released. What had been sent already, here or by another Weir that follows a moment later, may write now.
//! 4. When every Weir that reaches the catalog follows, the tables are locked and searched again. If the key is there,
//!    the entry is put back, as one more epoch, and the command fails.

use std::time::Duration;

use postgres_protocol::escape::escape_identifier;
use tokio_postgres::Client;

use super::instance::Instance;
use super::placement::POLL_PERIOD;
use crate::pool::database::Database;
use crate::pool::inspect;
use crate::shardmap::{Change, Key, KeyType, Keyspace, Method, Placement, ShardMap, Shown};
use crate::types::{Error, Kind, Origin, Result, ShardId};

/// How long every Weir may take to follow an epoch.
const FOLLOW_LIMIT: Duration = Duration::from_millis(2 * POLL_PERIOD.as_millis() as u64);

/// How long the locks are waited for. Who writes the tables waits behind that.
const LOCKS_LIMIT: &str = "SET lock_timeout = '5s'";

/// An entry that is to leave its directory.
#[derive(Clone)]
pub struct Entry {
    keyspace: Keyspace,
    key: Key,
    shard: ShardId,
    shard_name: String,
    /// The tables that may have rows with the key: schema, name, and the key's columns.
    tables: Vec<(String, String, Vec<String>)>,
}

/// The locks of a search that found nothing. They end with it.
pub struct Held {
    _client: Client,
}

impl Entry {
    /// The entry that a change takes from a map; `None` for a change that takes none.
    pub fn taken_by(change: &Change, map: &ShardMap) -> Result<Option<Self>> {
        let (Change::DropValue { keyspace, key } | Change::RenameValue { keyspace, key, .. }) = change else {
            return Ok(None);
        };
        let shard = map.entry(keyspace, key)?;
        let Some(found) = map.keyspace(keyspace) else { return Ok(None) };
        let of_keyspace = |(schema, name, placement): (&str, &str, Placement<'_>)| match placement {
            Placement::Sharded { keyspace: own, columns } if own.name == *keyspace => {
                Some((schema.to_owned(), name.to_owned(), columns.to_vec()))
            }
            _ => None,
        };
        let tables = map.tables().filter_map(of_keyspace).collect();
        let shard_name = map.shard_name(shard).to_owned();
        Ok(Some(Self { keyspace: found.clone(), key: key.clone(), shard, shard_name, tables }))
    }

    /// What puts the entry back into its directory.
    fn restored_by(&self, change: &Change) -> Vec<Change> {
        let keyspace = self.keyspace.name.clone();
        let back = Change::AddValue { keyspace: keyspace.clone(), key: self.key.clone(), shard: self.shard };
        match change {
            Change::RenameValue { renamed, .. } => vec![Change::DropValue { keyspace, key: renamed.clone() }, back],
            _ => vec![back],
        }
    }

    fn still_used(&self, by: &str) -> Error {
        Error::new(Origin::Weir, Kind::InvalidValue, format!("key value {} is in use", Shown(&self.key)))
            .detail(format!("Shard {}: {by}.", self.shard_name))
            .hint("Delete or move what has the key first. Writes of it must have stopped.")
    }
}

impl Instance {
    /// Locks and searches what may have the entry's key.
    ///
    /// # Errors
    /// [`Kind::InvalidValue`]: something has it. [`Kind::ServerUnavailable`]: the shard cannot be asked, or gives no locks.
    pub async fn search(&self, database: &Database, entry: &Entry) -> Result<Held> {
        let node = database.shards.get(entry.shard.index()).and_then(|shard| shard.nodes.first());
        let node = node.ok_or_else(|| Error::internal(format!("shard {} has no primary", entry.shard)))?;
        let client = self.connect(entry.shard, node).await?;
        let failed = |error| inspect::failed(entry.shard, error);
        client.batch_execute(LOCKS_LIMIT).await.map_err(failed)?;
        client.batch_execute("BEGIN").await.map_err(failed)?;
        let found = match entry.keyspace.method {
            Method::Schemas(_) => schema_in_use(&client, &entry.key).await,
            _ => rows_with_key(&client, entry).await,
        };
        match found.map_err(failed)? {
            Some(by) => Err(entry.still_used(&by)),
            None => Ok(Held { _client: client }),
        }
    }

    /// Looks again, when every Weir follows the map without the entry; puts it back if something has its key now.
    pub async fn confirm(&self, database: &Database, entry: &Entry, change: &Change) -> Result<()> {
        tokio::time::sleep(FOLLOW_LIMIT).await;
        let Err(found) = self.search(database, entry).await else { return Ok(()) };
        for back in entry.restored_by(change) {
            let map = database.map().ok_or_else(|| Error::internal("a sharded database without a shard map"))?;
            self.catalog.replace(&database.name, &map, &map.changed(&back)?).await?;
            self.follow_epoch(database, map.epoch()).await?;
        }
        Err(found)
    }
}

/// A table with rows that have the key.
async fn rows_with_key(client: &Client, entry: &Entry) -> Result<Option<String>, tokio_postgres::Error> {
    for (schema, name, columns) in &entry.tables {
        let table = format!("{}.{}", escape_identifier(schema), escape_identifier(name));
        let is_there = client.query_one("SELECT to_regclass($1) IS NOT NULL", &[&table]).await?;
        if !is_there.try_get::<_, bool>(0)? {
            continue;
        }
        client.batch_execute(&format!("LOCK TABLE {table} IN SHARE MODE")).await?;
        let condition = entry.keyspace.has_key(&entry.key, columns);
        let sql = format!("SELECT EXISTS (SELECT FROM {table} WHERE {condition})");
        if client.query_one(&sql, &[]).await?.try_get(0)? {
            return Ok(Some(format!("table {schema}.{name} has rows with it")));
        }
    }
    Ok(None)
}

/// Whether the key is the name of a schema that has relations.
async fn schema_in_use(client: &Client, key: &Key) -> Result<Option<String>, tokio_postgres::Error> {
    let schema = key.first().map(|name| name.to_text(KeyType::Text)).unwrap_or_default();
    let sql = "SELECT EXISTS (SELECT FROM pg_catalog.pg_class WHERE relnamespace = to_regnamespace(quote_ident($1)))";
    let used: bool = client.query_one(sql, &[&schema]).await?.try_get(0)?;
    Ok(used.then(|| format!("schema {schema} has relations")))
}
