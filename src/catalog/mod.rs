//! The catalog: the store of shard maps and of two-phase decisions. An SQLite file in the state directory, or, for several
//! Weirs that serve the same databases, a PostgreSQL database.
//!
//! A shard map file seeds a database's placement at the first start. From then on the catalog is the truth: nothing
//! in a file changes placement, and [`Catalog::drift`] tells where file and catalog differ.

mod drift;
mod dump;
mod maps;
mod schema_changes;
mod two_phase;

use std::path::Path;
use std::sync::Once;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::migrate::Migrator;
use sqlx::{AnyPool, Executor};

use crate::config::General;
use crate::types::{Error, Kind, Origin, Result};

pub use two_phase::{Decision, TwoPhase};

/// The catalog's file in the state directory.
const FILE_NAME: &str = "catalog.sqlite";

/// Connections to a PostgreSQL catalog.
const POSTGRES_CONNECTIONS: u32 = 4;

static SQLITE_MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");
static POSTGRES_MIGRATIONS: Migrator = sqlx::migrate!("migrations/postgres");

/// What an SQLite connection is told first. FULL: what was written survives a crash of the machine.
const SQLITE_SETTINGS: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; \
                               PRAGMA busy_timeout = 5000";

/// An open catalog. Clones share it.
#[derive(Clone, Debug)]
pub struct Catalog {
    pool: AnyPool,
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
        let catalog =
            Self::connect_sqlite(&format!("{}?mode=rwc", sqlite_url(&state_dir.join(FILE_NAME))), true).await?;
        catalog.migrate(&SQLITE_MIGRATIONS).await
    }

    /// Opens the catalog that a configuration names, making it where it is missing.
    ///
    /// # Errors
    /// As [`Catalog::open`] and [`Catalog::open_postgres`].
    pub async fn open_configured(general: &General) -> Result<Self> {
        match &general.catalog {
            Some(url) => Self::open_postgres(url.reveal()).await,
            None => Self::open(&general.state_dir).await,
        }
    }

    /// Opens the catalog that a configuration names, if there is one, to look at it.
    ///
    /// # Errors
    /// As [`Catalog::open_existing`] and [`Catalog::open_existing_postgres`].
    pub async fn open_configured_existing(general: &General) -> Result<Option<Self>> {
        match &general.catalog {
            Some(url) => Self::open_existing_postgres(url.reveal()).await,
            None => Self::open_existing(&general.state_dir).await,
        }
    }

    /// Opens the catalog of a state directory for reading only; `None` when there is none. The file is not changed, even
    /// if an older Weir made it: then a copy is brought to this version and read.
    ///
    /// # Errors
    /// [`Origin::Catalog`] when the file cannot be opened, or a newer Weir made it.
    pub async fn open_existing(state_dir: &Path) -> Result<Option<Self>> {
        let path = state_dir.join(FILE_NAME);
        if !path.exists() {
            return Ok(None);
        }
        let catalog = Self::connect_sqlite(&format!("{}?mode=ro", sqlite_url(&path)), false).await?;
        match catalog.is_of_version(&SQLITE_MIGRATIONS).await? {
            true => Ok(Some(catalog)),
            false => catalog.copied().await.map(Some),
        }
    }

    /// Opens the catalog in a PostgreSQL database to look at it, and leaves it as it is; `None` when there is none.
    ///
    /// # Errors
    /// [`Origin::Catalog`] when the database cannot be reached, or a Weir of another version made the tables.
    pub async fn open_existing_postgres(url: &str) -> Result<Option<Self>> {
        let catalog = Self::connect_postgres(url).await?;
        let exists: bool = sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NOT NULL")
            .fetch_one(&catalog.pool)
            .await
            .map_err(failed("look for the catalog"))?;
        match exists {
            false => Ok(None),
            true if catalog.is_of_version(&POSTGRES_MIGRATIONS).await? => Ok(Some(catalog)),
            true => Err(Error::new(Origin::Catalog, Kind::Internal, "the catalog is of another version of Weir")
                .detail("Only a Weir that serves brings it to its own version.")
                .hint("Use the version of the Weirs that serve.")),
        }
    }

    async fn is_of_version(&self, migrations: &Migrator) -> Result<bool> {
        let last: Option<i64> = sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations")
            .fetch_one(&self.pool)
            .await
            .map_err(failed("read the version of the catalog"))?;
        Ok(last == migrations.iter().map(|migration| migration.version).max())
    }

    /// A copy of this version, which nobody else sees and which is gone when it is closed.
    async fn copied(&self) -> Result<Self> {
        let failed = failed("copy the catalog of another version");
        let path = std::env::temp_dir().join(format!("weir-{:032x}.sqlite", rand::random::<u128>()));
        let copying = sqlx::query("VACUUM INTO $1").bind(path.to_string_lossy().into_owned()).execute(&self.pool);
        copying.await.map_err(failed)?;
        let copy = Self::connect_sqlite(&format!("{}?mode=rw", sqlite_url(&path)), false).await;
        let copy = match copy {
            Ok(copy) => copy.migrate(&SQLITE_MIGRATIONS).await,
            Err(error) => Err(error),
        };
        // The connection that is open keeps it.
        std::fs::remove_file(&path).map_err(|error| {
            Error::new(Origin::Catalog, Kind::Internal, format!("cannot remove {}", path.display())).source(error)
        })?;
        copy
    }

    /// Opens the catalog in a PostgreSQL database (`postgres://user:password@host:port/database`), making its tables
    /// where they are missing.
    ///
    /// # Errors
    /// [`Origin::Catalog`] when the database cannot be reached, or a newer Weir made the tables.
    pub async fn open_postgres(url: &str) -> Result<Self> {
        Self::connect_postgres(url).await?.migrate(&POSTGRES_MIGRATIONS).await
    }

    async fn connect_postgres(url: &str) -> Result<Self> {
        let pool = AnyPoolOptions::new().max_connections(POSTGRES_CONNECTIONS).connect_with(options(url)?);
        Ok(Self { pool: pool.await.map_err(failed("open the catalog"))? })
    }

    /// One connection: writes are few, and SQLite makes them wait for each other anyway. It stays open:
    /// nothing is gained by another one.
    async fn connect_sqlite(url: &str, writes: bool) -> Result<Self> {
        let pool = AnyPoolOptions::new().max_connections(1).min_connections(1).idle_timeout(None).max_lifetime(None);
        let pool = pool.after_connect(move |connection, _| {
            Box::pin(async move {
                if writes {
                    connection.execute(SQLITE_SETTINGS).await?;
                }
                Ok(())
            })
        });
        Ok(Self { pool: pool.connect_with(options(url)?).await.map_err(failed("open the catalog"))? })
    }

    async fn migrate(self, migrations: &Migrator) -> Result<Self> {
        migrations.run(&self.pool).await.map_err(|error| {
            Error::new(Origin::Catalog, Kind::Internal, "cannot bring the catalog to this version")
                .detail(error.to_string())
                .source(error)
        })?;
        Ok(self)
    }
}

fn options(url: &str) -> Result<AnyConnectOptions> {
    // The drivers are known to the process once and for all; there is nothing in them that changes.
    static DRIVERS: Once = Once::new();
    DRIVERS.call_once(sqlx::any::install_default_drivers);
    url.parse().map_err(failed("read the address of the catalog"))
}

/// The address of a file; what a URL gives a meaning to is escaped.
fn sqlite_url(path: &Path) -> String {
    let escaped = path.as_os_str().as_encoded_bytes().iter().map(|byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => char::from(*byte).to_string(),
        byte => format!("%{byte:02X}"),
    });
    format!("sqlite://{}", escaped.collect::<String>())
}

/// Makes an error of the store an error of the catalog: what could not be done, and why.
fn failed(what: &'static str) -> impl Fn(sqlx::Error) -> Error + Copy {
    move |error| {
        Error::new(Origin::Catalog, Kind::Internal, format!("cannot {what}")).detail(error.to_string()).source(error)
    }
}
