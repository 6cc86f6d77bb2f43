//! The catalog: the store of shard maps and of two-phase decisions, an SQLite file in the state directory.
//!
//! A shard map file seeds a database's placement at the first start. From then on the catalog is the truth: nothing
//! in a file changes placement, and [`Catalog::drift`] tells where file and catalog differ.

mod drift;
mod placement;
mod two_phase;

use std::path::Path;

use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

use crate::shardmap::ShardMap;
use crate::types::{Error, Kind, Origin, Result};

pub use two_phase::{Decision, TwoPhase};

/// The catalog's file in the state directory.
const FILE_NAME: &str = "catalog.sqlite";

/// An open catalog. Clones share it.
#[derive(Clone, Debug)]
pub struct Catalog {
    /// One connection: writes are few, and SQLite makes them wait for each other anyway.
    pool: SqlitePool,
}

impl Catalog {
    /// Opens the catalog of a state directory, making both where they are missing.
    ///
    /// What a method of the catalog has written when it returns survives a crash of the machine.
    ///
    /// # Errors
    /// [`Origin::Catalog`] when the directory or the file cannot be made or opened, or a newer Weir made the file.
    pub async fn open(state_dir: &Path) -> Result<Self> {
        std::fs::create_dir_all(state_dir).map_err(|error| {
            Error::new(Origin::Catalog, Kind::Internal, format!("cannot create {}", state_dir.display())).source(error)
        })?;
        Self::connect(SqliteConnectOptions::new().filename(state_dir.join(FILE_NAME))).await
    }

    /// Opens the catalog of a state directory for reading only; `None` when there is none.
    ///
    /// # Errors
    /// [`Origin::Catalog`] when the file cannot be opened.
    pub async fn open_existing(state_dir: &Path) -> Result<Option<Self>> {
        let file = state_dir.join(FILE_NAME);
        if !file.exists() {
            return Ok(None);
        }
        let options = SqliteConnectOptions::new().filename(file).read_only(true);
        let pool = one_connection().connect_with(options).await.map_err(failed("open the catalog"))?;
        Ok(Some(Self { pool }))
    }

    /// A catalog that is gone when it is dropped: for tests, and for looking at a configuration without a state.
    ///
    /// # Errors
    /// As [`Catalog::open`].
    pub async fn open_in_memory() -> Result<Self> {
        Self::connect(SqliteConnectOptions::new().in_memory(true)).await
    }

    async fn connect(options: SqliteConnectOptions) -> Result<Self> {
        let options = options
            .create_if_missing(true)
            .foreign_keys(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full);
        let pool = one_connection().connect_with(options).await.map_err(failed("open the catalog"))?;
        sqlx::migrate!().run(&pool).await.map_err(|error| {
            Error::new(Origin::Catalog, Kind::Internal, "cannot bring the catalog to this version").source(error)
        })?;
        Ok(Self { pool })
    }

    /// The placement of a database: as the catalog has it, or, when it has none yet, as `declared`, which it then
    /// keeps. Shards are numbered in the order of `declared`.
    ///
    /// # Errors
    /// - [`Kind::UnknownObject`]: the catalog places something on a shard that `declared` does not have.
    /// - [`Kind::Internal`]: the store fails, or does not hold what it should.
    pub async fn load_or_seed(&self, database: &str, declared: &ShardMap) -> Result<ShardMap> {
        let failed = failed("read the shard map");
        // Immediate: two processes that start at once must not both seed.
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
        if let Some(map) = placement::load(&mut transaction, database, declared.shards()).await? {
            return Ok(map);
        }
        placement::seed(&mut transaction, database, declared).await?;
        transaction.commit().await.map_err(failed)?;
        Ok(declared.clone())
    }

    /// Where the catalog's placement of a database differs from the declared one, a sentence each. Nothing when the
    /// catalog has none yet.
    ///
    /// # Errors
    /// [`Kind::Internal`] as in [`Catalog::load_or_seed`].
    pub async fn drift(&self, database: &str, declared: &ShardMap) -> Result<Vec<String>> {
        let mut connection = self.pool.acquire().await.map_err(failed("read the shard map"))?;
        let stored_shards = placement::load_shards(&mut connection, database).await?;
        let shards = drift::all_shards(declared.shards(), &stored_shards);
        let stored = placement::load(&mut connection, database, &shards).await?;
        Ok(stored.map_or_else(Vec::new, |stored| drift::differences(&stored, &stored_shards, declared)))
    }
}

/// The connection stays open: an in-memory catalog lives as long as it, and nothing is gained by another one.
fn one_connection() -> SqlitePoolOptions {
    SqlitePoolOptions::new().max_connections(1).min_connections(1).idle_timeout(None).max_lifetime(None)
}

/// Makes an error of the store an error of the catalog: what could not be done, and why.
fn failed(what: &'static str) -> impl Fn(sqlx::Error) -> Error + Copy {
    move |error| {
        Error::new(Origin::Catalog, Kind::Internal, format!("cannot {what}")).detail(error.to_string()).source(error)
    }
}

#[cfg(test)]
mod tests;
