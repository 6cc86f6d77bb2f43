//! Shard maps as rows: writing one, and reading it back.

use std::collections::BTreeMap;

use sqlx::{FromRow, SqliteConnection};

use super::failed;
use crate::shardmap::{
    Bound, Directory, Distribution, Geo, Hash, HashFunction, KeyType, KeyValue, Keyspace, Method, Placement, Range,
    Ranges, Region, ShardMap, Table, UnknownValue,
};
use crate::types::{Epoch, Error, Kind, Origin, Result, ShardId};

/// The region of a hash keyspace's buckets.
const NO_REGION: &str = "";

// ---------------------------------------------------------------- writing

/// Writes the map of a database that has none.
pub(super) async fn seed(connection: &mut SqliteConnection, database: &str, map: &ShardMap) -> Result<()> {
    let mut writer = Writer { connection, database, shards: map.shards() };
    writer.write(map).await.map_err(failed("store the shard map"))
}

struct Writer<'w> {
    connection: &'w mut SqliteConnection,
    database: &'w str,
    shards: &'w [String],
}

impl<'w> Writer<'w> {
    async fn write(&mut self, map: &ShardMap) -> sqlx::Result<()> {
        sqlx::query("INSERT INTO sharded_database (name, epoch) VALUES (?, ?)")
            .bind(self.database)
            .bind(i64::try_from(map.epoch().0).unwrap_or(i64::MAX))
            .execute(&mut *self.connection)
            .await?;
        for (position, shard) in (0..).zip(map.shards()) {
            self.shard(position, shard).await?;
        }
        for (position, keyspace) in (0..).zip(map.keyspaces()) {
            self.keyspace(position, keyspace).await?;
        }
        for (schema, name, placement) in map.tables() {
            self.table(schema, name, placement).await?;
        }
        Ok(())
    }

    async fn shard(&mut self, position: i64, name: &str) -> sqlx::Result<()> {
        sqlx::query("INSERT INTO shard (database, name, position) VALUES (?, ?, ?)")
            .bind(self.database)
            .bind(name)
            .bind(position)
            .execute(&mut *self.connection)
            .await?;
        Ok(())
    }

    async fn keyspace(&mut self, position: i64, keyspace: &Keyspace) -> sqlx::Result<()> {
        let (function, default_shard, region_column) = match &keyspace.method {
            Method::Hash(hash) => (Some(hash.function()), None, None),
            Method::Range(_) => (None, None, None),
            Method::Directory(directory) => (None, self.default_shard(directory), None),
            Method::Geo(geo) => (Some(geo.function), None, Some(&geo.region_column)),
        };
        sqlx::query(
            "INSERT INTO keyspace (database, name, position, key_type, method, hash_function, default_shard, \
             region_column) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(self.database)
        .bind(&keyspace.name)
        .bind(position)
        .bind(keyspace.key_type.name())
        .bind(keyspace.method.name())
        .bind(function.map(HashFunction::name))
        .bind(default_shard)
        .bind(region_column)
        .execute(&mut *self.connection)
        .await?;
        self.method(keyspace).await
    }

    async fn method(&mut self, keyspace: &Keyspace) -> sqlx::Result<()> {
        match &keyspace.method {
            Method::Hash(hash) => self.buckets(&keyspace.name, NO_REGION, hash).await,
            Method::Range(ranges) => self.ranges(keyspace, ranges).await,
            Method::Directory(directory) => self.entries(keyspace, directory).await,
            Method::Geo(geo) => self.regions(keyspace, geo).await,
        }
    }

    async fn buckets(&mut self, keyspace: &str, region: &str, hash: &Hash) -> sqlx::Result<()> {
        let mut first = 0;
        for run in hash.placement().chunk_by(|left, right| left == right) {
            let next = first + run.len() as i64;
            sqlx::query(
                "INSERT INTO bucket_run (database, keyspace, region, first, last, shard) VALUES (?, ?, ?, ?, ?, ?)",
            )
            .bind(self.database)
            .bind(keyspace)
            .bind(region)
            .bind(first)
            .bind(next - 1)
            .bind(self.name(run[0]))
            .execute(&mut *self.connection)
            .await?;
            first = next;
        }
        Ok(())
    }

    async fn ranges(&mut self, keyspace: &Keyspace, ranges: &Ranges) -> sqlx::Result<()> {
        for range in ranges.iter() {
            sqlx::query("INSERT INTO key_range (database, keyspace, lower, upper, shard) VALUES (?, ?, ?, ?, ?)")
                .bind(self.database)
                .bind(&keyspace.name)
                .bind(bound_text(keyspace.key_type, &range.from))
                .bind(bound_text(keyspace.key_type, &range.to))
                .bind(self.name(range.shard))
                .execute(&mut *self.connection)
                .await?;
        }
        Ok(())
    }

    async fn entries(&mut self, keyspace: &Keyspace, directory: &Directory) -> sqlx::Result<()> {
        for (value, shard) in &directory.entries {
            sqlx::query("INSERT INTO directory_entry (database, keyspace, value, shard) VALUES (?, ?, ?, ?)")
                .bind(self.database)
                .bind(&keyspace.name)
                .bind(value.to_text(keyspace.key_type))
                .bind(self.name(*shard))
                .execute(&mut *self.connection)
                .await?;
        }
        Ok(())
    }

    async fn regions(&mut self, keyspace: &Keyspace, geo: &Geo) -> sqlx::Result<()> {
        for (position, region) in (0_i64..).zip(&geo.regions) {
            sqlx::query("INSERT INTO region (database, keyspace, name, position, resident) VALUES (?, ?, ?, ?, ?)")
                .bind(self.database)
                .bind(&keyspace.name)
                .bind(&region.name)
                .bind(position)
                .bind(region.resident)
                .execute(&mut *self.connection)
                .await?;
            self.buckets(&keyspace.name, &region.name, &region.hash).await?;
        }
        Ok(())
    }

    async fn table(&mut self, schema: &str, name: &str, placement: Placement<'_>) -> sqlx::Result<()> {
        let (keyspace, column) = match placement {
            Placement::Sharded { keyspace, column } => (Some(&keyspace.name), Some(column)),
            Placement::Reference => (None, None),
            Placement::Unmapped => return Ok(()),
        };
        sqlx::query("INSERT INTO mapped_table (database, schema, name, keyspace, key_column) VALUES (?, ?, ?, ?, ?)")
            .bind(self.database)
            .bind(schema)
            .bind(name)
            .bind(keyspace)
            .bind(column)
            .execute(&mut *self.connection)
            .await?;
        Ok(())
    }

    fn name(&self, shard: ShardId) -> &'w str {
        // A shard map has no ids beyond its own list.
        &self.shards[shard.index()]
    }

    fn default_shard(&self, directory: &Directory) -> Option<&'w str> {
        match directory.unknown {
            UnknownValue::Refuse => None,
            UnknownValue::Default(shard) => Some(self.name(shard)),
        }
    }
}

/// `None` for both open ends: which one it is shows in the column that it stands in.
fn bound_text(key_type: KeyType, bound: &Bound) -> Option<String> {
    match bound {
        Bound::MinValue | Bound::MaxValue => None,
        Bound::Value(value) => Some(value.to_text(key_type)),
    }
}

// ---------------------------------------------------------------- reading

/// The names of the shards as they were stored.
pub(super) async fn load_shards(connection: &mut SqliteConnection, database: &str) -> Result<Vec<String>> {
    sqlx::query_scalar("SELECT name FROM shard WHERE database = ? ORDER BY position")
        .bind(database)
        .fetch_all(connection)
        .await
        .map_err(failed("read the shard map"))
}

/// The stored map of a database, numbered by `shards`; `None` when there is none.
pub(super) async fn load(
    connection: &mut SqliteConnection,
    database: &str,
    shards: &[String],
) -> Result<Option<ShardMap>> {
    let mut reader = Reader { connection, database, shards };
    let Some(epoch) = reader.epoch().await? else { return Ok(None) };
    let keyspaces = reader.keyspaces().await?;
    let tables = reader.tables().await?;
    ShardMap::new(epoch, shards.to_vec(), keyspaces, tables).map(Some).map_err(|error| corrupt(error.to_string()))
}

struct Reader<'r> {
    connection: &'r mut SqliteConnection,
    database: &'r str,
    shards: &'r [String],
}

#[derive(FromRow)]
struct KeyspaceRow {
    name: String,
    key_type: String,
    method: String,
    hash_function: Option<String>,
    default_shard: Option<String>,
    region_column: Option<String>,
}

#[derive(FromRow)]
struct BucketRun {
    first: i64,
    last: i64,
    shard: String,
}

#[derive(FromRow)]
struct RangeRow {
    lower: Option<String>,
    upper: Option<String>,
    shard: String,
}

#[derive(FromRow)]
struct TableRow {
    schema: String,
    name: String,
    keyspace: Option<String>,
    key_column: Option<String>,
}

impl Reader<'_> {
    async fn epoch(&mut self) -> Result<Option<Epoch>> {
        let epoch: Option<i64> = sqlx::query_scalar("SELECT epoch FROM sharded_database WHERE name = ?")
            .bind(self.database)
            .fetch_optional(&mut *self.connection)
            .await
            .map_err(failed("read the shard map"))?;
        epoch.map(|epoch| u64::try_from(epoch).map(Epoch).map_err(|_| corrupt(format!("epoch {epoch}")))).transpose()
    }

    async fn keyspaces(&mut self) -> Result<Vec<Keyspace>> {
        let rows: Vec<KeyspaceRow> = sqlx::query_as(
            "SELECT name, key_type, method, hash_function, default_shard, region_column FROM keyspace \
             WHERE database = ? ORDER BY position",
        )
        .bind(self.database)
        .fetch_all(&mut *self.connection)
        .await
        .map_err(failed("read the shard map"))?;
        let mut keyspaces = Vec::with_capacity(rows.len());
        for row in rows {
            keyspaces.push(self.keyspace(row).await?);
        }
        Ok(keyspaces)
    }

    async fn keyspace(&mut self, row: KeyspaceRow) -> Result<Keyspace> {
        let key_type =
            KeyType::from_name(&row.key_type).ok_or_else(|| corrupt(format!("key type {}", row.key_type)))?;
        let method = match row.method.as_str() {
            "hash" => Method::Hash(self.hash(&row.name, NO_REGION, hash_function(&row)?).await?),
            "range" => Method::Range(self.ranges(&row.name, key_type).await?),
            "directory" => Method::Directory(self.directory(&row, key_type).await?),
            "geo" => Method::Geo(self.geo(&row).await?),
            other => return Err(corrupt(format!("method {other}"))),
        };
        Ok(Keyspace { name: row.name, key_type, method })
    }

    async fn hash(&mut self, keyspace: &str, region: &str, function: HashFunction) -> Result<Hash> {
        let runs: Vec<BucketRun> = sqlx::query_as(
            "SELECT first, last, shard FROM bucket_run WHERE database = ? AND keyspace = ? AND region = ? \
             ORDER BY first",
        )
        .bind(self.database)
        .bind(keyspace)
        .bind(region)
        .fetch_all(&mut *self.connection)
        .await
        .map_err(failed("read the shard map"))?;
        let mut placement = Vec::new();
        for run in runs {
            self.append(&mut placement, &run).ok_or_else(|| corrupt(format!("buckets of {keyspace}")))??;
        }
        Hash::new(function, placement).map_err(|error| corrupt(error.to_string()))
    }

    /// Appends a run that begins where the placement ends; `None` when it does not.
    fn append(&self, placement: &mut Vec<ShardId>, run: &BucketRun) -> Option<Result<()>> {
        let first = usize::try_from(run.first).ok().filter(|first| *first == placement.len())?;
        let last =
            usize::try_from(run.last).ok().filter(|last| (first..crate::shardmap::BUCKETS_MAX).contains(last))?;
        Some(self.shard(&run.shard).map(|shard| placement.resize(last + 1, shard)))
    }

    async fn ranges(&mut self, keyspace: &str, key_type: KeyType) -> Result<Ranges> {
        let rows: Vec<RangeRow> =
            sqlx::query_as("SELECT lower, upper, shard FROM key_range WHERE database = ? AND keyspace = ?")
                .bind(self.database)
                .bind(keyspace)
                .fetch_all(&mut *self.connection)
                .await
                .map_err(failed("read the shard map"))?;
        let ranges: Result<Vec<Range>> = rows.iter().map(|row| self.range(key_type, row)).collect();
        Ranges::new(ranges?).map_err(|error| corrupt(error.to_string()))
    }

    fn range(&self, key_type: KeyType, row: &RangeRow) -> Result<Range> {
        let bound = |text: &Option<String>, open_end| match text {
            None => Ok(open_end),
            Some(text) => key_value(key_type, text).map(Bound::Value),
        };
        Ok(Range {
            from: bound(&row.lower, Bound::MinValue)?,
            to: bound(&row.upper, Bound::MaxValue)?,
            shard: self.shard(&row.shard)?,
        })
    }

    async fn directory(&mut self, row: &KeyspaceRow, key_type: KeyType) -> Result<Directory> {
        let rows: Vec<(String, String)> =
            sqlx::query_as("SELECT value, shard FROM directory_entry WHERE database = ? AND keyspace = ?")
                .bind(self.database)
                .bind(&row.name)
                .fetch_all(&mut *self.connection)
                .await
                .map_err(failed("read the shard map"))?;
        let entries: Result<BTreeMap<_, _>> =
            rows.iter().map(|(value, shard)| Ok((key_value(key_type, value)?, self.shard(shard)?))).collect();
        let unknown = match &row.default_shard {
            None => UnknownValue::Refuse,
            Some(shard) => UnknownValue::Default(self.shard(shard)?),
        };
        Ok(Directory { entries: entries?, unknown })
    }

    async fn geo(&mut self, row: &KeyspaceRow) -> Result<Geo> {
        let function = hash_function(row)?;
        let rows: Vec<(String, bool)> =
            sqlx::query_as("SELECT name, resident FROM region WHERE database = ? AND keyspace = ? ORDER BY position")
                .bind(self.database)
                .bind(&row.name)
                .fetch_all(&mut *self.connection)
                .await
                .map_err(failed("read the shard map"))?;
        let mut regions = Vec::with_capacity(rows.len());
        for (name, resident) in rows {
            let hash = self.hash(&row.name, &name, function).await?;
            regions.push(Region { name, resident, hash });
        }
        let region_column = row.region_column.clone().ok_or_else(|| corrupt(format!("keyspace {}", row.name)))?;
        Ok(Geo { region_column, function, regions })
    }

    async fn tables(&mut self) -> Result<Vec<Table>> {
        let rows: Vec<TableRow> =
            sqlx::query_as("SELECT schema, name, keyspace, key_column FROM mapped_table WHERE database = ?")
                .bind(self.database)
                .fetch_all(&mut *self.connection)
                .await
                .map_err(failed("read the shard map"))?;
        rows.into_iter().map(table).collect()
    }

    fn shard(&self, name: &str) -> Result<ShardId> {
        let position = self.shards.iter().position(|shard| shard == name);
        position.and_then(|index| u16::try_from(index).ok()).map(ShardId).ok_or_else(|| {
            let message = format!("database {} has no shard {name}", self.database);
            Error::new(Origin::Catalog, Kind::UnknownObject, message)
                .detail("The catalog places rows on it.")
                .hint("Put the shard back into weir.toml, under the name that it had.")
        })
    }
}

fn table(row: TableRow) -> Result<Table> {
    let distribution = match (row.keyspace, row.key_column) {
        (Some(keyspace), Some(column)) => Distribution::Sharded { keyspace, column },
        (None, None) => Distribution::Reference,
        (Some(_), None) | (None, Some(_)) => return Err(corrupt(format!("table {}.{}", row.schema, row.name))),
    };
    Ok(Table { schema: row.schema, name: row.name, distribution })
}

fn hash_function(row: &KeyspaceRow) -> Result<HashFunction> {
    let function = row.hash_function.as_deref().and_then(HashFunction::from_name);
    function.ok_or_else(|| corrupt(format!("hash function of keyspace {}", row.name)))
}

fn key_value(key_type: KeyType, text: &str) -> Result<KeyValue<'static>> {
    let value = KeyValue::from_text(key_type, text).map(KeyValue::into_owned);
    value.ok_or_else(|| corrupt(format!("key value {text:?} of type {key_type}")))
}

fn corrupt(what: String) -> Error {
    Error::new(Origin::Catalog, Kind::Internal, "the catalog does not hold a valid shard map")
        .detail(what)
        .hint("Restore the catalog from a backup.")
}
