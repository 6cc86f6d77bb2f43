//! Weir in front of the demo's servers: its configuration, its process, and the proof that it answers.

use std::fmt::Write;
use std::fs::{self, File};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::Duration;

use tokio_postgres::{Client, Config, NoTls};

use super::place::{NodeEntry, Place, Role};
use super::servers::{APP, SHOP};
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
    pub fn start(place: &Place, port: u16, nodes: &[NodeEntry]) -> Result<Self> {
        let http_port = port.checked_add(1).filter(|next| is_free(*next)).map_or_else(free_port, Ok)?;
        place.write(MAP_FILE, SHARD_MAP)?;
        place.write(CONFIG_FILE, &configuration(port, http_port, nodes))?;
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

fn configuration(port: u16, http_port: u16, nodes: &[NodeEntry]) -> String {
    let mut text = format!(
        "# Written by `weir demo` at each start.\n\n\
         [weir]\nlisten = \"{HOST}:{port}\"\nhttp_listen = \"{HOST}:{http_port}\"\nstate_dir = \"state\"\n\
         admin_users = [\"{SUPERUSER}\"]\n\n\
         [pool]\nshutdown_timeout = \"5s\"\n\n\
         [[users]]\nname = \"{SUPERUSER}\"\npassword = \"{PASSWORD}\"\n\n\
         [databases.{SHOP}]\nread_write_split = true\nshard_map = \"{MAP_FILE}\"\n"
    );
    push_shards(&mut text, SHOP, nodes);
    let _ = write!(text, "\n[databases.{APP}]\nread_write_split = false\n");
    push_shards(&mut text, APP, nodes);
    text
}

fn push_shards(text: &mut String, database: &str, nodes: &[NodeEntry]) {
    let address = |node: &NodeEntry| format!("{}:{}", node.host, node.port);
    let of_role = |role| nodes.iter().filter(move |node| node.database == database && node.role == role);
    for primary in of_role(Role::Primary) {
        let replicas: Vec<_> = of_role(Role::Replica).filter(|node| node.shard == primary.shard).map(address).collect();
        // Writing into a String cannot fail.
        let _ = write!(
            text,
            "\n[[databases.{database}.shards]]\nname = \"{}\"\nprimary = \"{}\"\nreplicas = {replicas:?}\n\
             dbname = \"{}\"\n",
            primary.shard,
            address(primary),
            primary.dbname
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn node(database: &str, shard: &str, role: Role, port: u16) -> NodeEntry {
        let [database, shard, host, dbname] = [database, shard, HOST, database].map(str::to_owned);
        NodeEntry { database, shard, role, host, port, dbname }
    }

    #[test]
    fn the_configuration_is_one_that_weir_accepts() {
        let nodes = [
            node(SHOP, "shard0", Role::Primary, 25_000),
            node(SHOP, "shard0", Role::Replica, 25_001),
            node(SHOP, "shard1", Role::Primary, 25_002),
            node(APP, "shard0", Role::Primary, 25_000),
            node(APP, "shard0", Role::Replica, 25_001),
        ];
        let text = configuration(6432, 6433, &nodes);
        let file = |path: &std::path::Path| Ok(if path.ends_with(MAP_FILE) { SHARD_MAP } else { &text }.to_owned());
        let config = config::load(CONFIG_FILE.as_ref(), file).unwrap();
        let replicas = |database| config.database(database).unwrap().shards.iter().map(|shard| shard.replicas.len());
        assert_eq!(replicas(SHOP).collect::<Vec<_>>(), [1, 0]);
        assert_eq!(replicas(APP).collect::<Vec<_>>(), [1]);
        assert!(config.database(SHOP).unwrap().is_sharded() && !config.database(APP).unwrap().is_sharded());
    }
}
