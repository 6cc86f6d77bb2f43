//! Weir in front of the demo's servers: its configuration, its process, and the proof that it answers.

use std::fmt::Write;
use std::fs::{self, File};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::Duration;

use tokio_postgres::{Client, Config, NoTls};

use super::place::Place;
use super::servers::{APP, SHOP, Shard};
use super::{failure, progress};
use crate::cli::cluster::child::{Child, Endings};
use crate::cli::cluster::{HOST, PASSWORD, SUPERUSER, free_port, is_free};
use crate::types::Result;

/// The database name that leads to Weir's console.
pub const CONSOLE: &str = "weir";

const CONFIG_FILE: &str = "weir.toml";
const MAP_FILE: &str = "shardmaps/shop.toml";
const LOG_FILE: &str = "weir.log";

/// How often, and how long apart, Weir is asked whether it answers.
const ATTEMPTS: usize = 300;
const ATTEMPT_INTERVAL: Duration = Duration::from_millis(100);
/// One attempt's limit.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// How the shop's tables are placed. The shards are those of the database.
const SHARD_MAP: &str = include_str!("../../../shardmaps/shop.toml");

/// The running Weir of a demo.
#[derive(Debug)]
pub struct Front {
    process: Child,
    log: std::path::PathBuf,
    pub address: Address,
    pub http_port: u16,
}

/// An error when somebody else listens on the port that Weir is to have.
pub fn check_port(port: u16) -> Result<()> {
    let listener = TcpListener::bind((HOST, port)).map(drop);
    let taken = |error| failure(format!("cannot listen on {HOST}:{port} ({error})")).hint("--port names another port.");
    listener.map_err(taken)
}

/// Where a Weir listens.
#[derive(Clone, Debug)]
pub struct Address {
    pub host: String,
    pub port: u16,
}

/// Connects to a database through Weir.
pub async fn connect(weir: &Address, database: &str) -> Result<Client, tokio_postgres::Error> {
    let mut config = Config::new();
    config
        .host(&weir.host)
        .port(weir.port)
        .user(SUPERUSER)
        .password(PASSWORD)
        .dbname(database)
        .connect_timeout(ANSWER_MAX);
    let (client, connection) = config.connect(NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// Waits until all databases of a demo answer. `check` says whether there is still something to wait for.
pub async fn await_answers(weir: &Address, check: impl Fn() -> Result<()>) -> Result<()> {
    for _ in 1..ATTEMPTS {
        check()?;
        if answers(weir).await.is_ok() {
            return Ok(());
        }
        tokio::time::sleep(ATTEMPT_INTERVAL).await;
    }
    answers(weir).await.map_err(|error| failure("Weir does not answer").detail(error_text(&error)))
}

async fn answers(weir: &Address) -> Result<(), tokio_postgres::Error> {
    for (database, question) in [(SHOP, "SELECT 1"), (APP, "SELECT 1"), (CONSOLE, "SHOW DATABASES")] {
        connect(weir, database).await?.simple_query(question).await?;
    }
    Ok(())
}

impl Front {
    /// Writes Weir's configuration and starts `weir serve` with it.
    pub fn start(place: &Place, port: u16, shards: &[Shard]) -> Result<Self> {
        let http_port = port.checked_add(1).filter(|next| is_free(*next)).map_or_else(free_port, Ok)?;
        place.write(MAP_FILE, SHARD_MAP)?;
        place.write(CONFIG_FILE, &configuration(port, http_port, shards))?;
        progress(&format!("starting Weir on {HOST}:{port}"));
        let address = Address { host: HOST.to_owned(), port };
        Ok(Self { process: spawn(place)?, log: place.path(LOG_FILE), address, http_port })
    }

    /// An error when Weir has ended by itself.
    pub fn check(&self) -> Result<()> {
        match self.process.ended() {
            None => Ok(()),
            Some(status) => Err(failure(format!("Weir ended ({status})")).detail(self.log_text())),
        }
    }

    fn log_text(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default().trim_end().to_owned()
    }
}

/// The whole of what a driver's error says, the server's message included.
pub fn error_text(error: &tokio_postgres::Error) -> String {
    error.as_db_error().map_or_else(
        || error.to_string(),
        |error| {
            let detail = error.detail().map(|detail| format!(" ({detail})")).unwrap_or_default();
            format!("{}: {}{detail}", error.code().code(), error.message())
        },
    )
}

fn spawn(place: &Place) -> Result<Child> {
    let unable = |error| failure("could not start Weir").source(error);
    let program = std::env::current_exe().map_err(unable)?;
    let log = File::create(place.path(LOG_FILE)).map_err(unable)?;
    let mut command = Command::new(program);
    command.arg("serve").arg("--config").arg(place.path(CONFIG_FILE));
    command.stdin(Stdio::null()).stdout(log.try_clone().map_err(unable)?).stderr(log);
    // Without its servers there is nothing to finish; with them, open transactions get their time.
    let endings = Endings { dropped: libc::SIGTERM, orphaned: libc::SIGKILL };
    Child::spawn(command, endings).map_err(unable)
}

fn configuration(port: u16, http_port: u16, shards: &[Shard]) -> String {
    let mut text = format!(
        "# Written by `weir demo` at each start.\n\n\
         [weir]\nlisten = \"{HOST}:{port}\"\nhttp_listen = \"{HOST}:{http_port}\"\nstate_dir = \"state\"\n\
         admin_users = [\"{SUPERUSER}\"]\n\n\
         [pool]\nshutdown_timeout = \"5s\"\n\n\
         [[users]]\nname = \"{SUPERUSER}\"\npassword = \"{PASSWORD}\"\n\n\
         [databases.{SHOP}]\nread_write_split = true\nshard_map = \"{MAP_FILE}\"\n"
    );
    shards.iter().for_each(|shard| push_shard(&mut text, SHOP, shard));
    let _ = write!(text, "\n[databases.{APP}]\nread_write_split = false\n");
    shards.iter().take(1).for_each(|shard| push_shard(&mut text, APP, shard));
    text
}

fn push_shard(text: &mut String, database: &str, shard: &Shard) {
    let replicas: Vec<String> = shard.replicas.iter().map(|replica| replica.address().to_string()).collect();
    let (name, primary) = (&shard.name, shard.primary.address());
    // Writing into a String cannot fail.
    let _ = write!(
        text,
        "\n[[databases.{database}.shards]]\nname = \"{name}\"\nprimary = \"{primary}\"\nreplicas = {replicas:?}\n\
         dbname = \"{database}\"\n"
    );
}
