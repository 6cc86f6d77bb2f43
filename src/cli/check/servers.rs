//! Asks every server whether it is what the configuration says it is, and has what the configuration needs.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio_postgres::{Client, NoTls};

use super::inventory::{self, Columns};
use crate::config::{Config, Database, NodeAddress, Secret, Shard, User};
use crate::shardmap::ShardMap;

/// The oldest PostgreSQL that Weir works with, as `server_version_num`.
const VERSION_MIN: i32 = 140_000;

/// One server with what is to be found there.
#[derive(Clone, Debug)]
struct Node {
    /// How a finding names the server.
    label: String,
    address: NodeAddress,
    role: Role,
    dbname: String,
    login: Login,
    connect_timeout: Duration,
    map: Option<ShardMap>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Primary,
    Replica,
}

#[derive(Clone, Debug)]
struct Login {
    user: String,
    password: Option<Secret>,
}

/// What a server says of itself.
struct Properties {
    version: i32,
    in_recovery: bool,
    wal_level: String,
    max_prepared_transactions: i32,
    encoding: String,
}

/// Asks all servers at once. Gives their number.
///
/// # Errors
/// What is wrong, a line each, in the order of the configuration.
pub async fn check(config: &Config) -> Result<usize, Vec<String>> {
    let nodes = nodes(config);
    let count = nodes.len();
    let mut asked = JoinSet::new();
    for (place, node) in nodes.into_iter().enumerate() {
        asked.spawn(async move { (place, examine(&node).await) });
    }
    let mut answers = asked.join_all().await;
    answers.sort_by_key(|(place, _)| *place);
    let found: Vec<String> = answers.into_iter().flat_map(|(_, found)| found).collect();
    if found.is_empty() { Ok(count) } else { Err(found) }
}

fn nodes(config: &Config) -> Vec<Node> {
    let login = login(config);
    let of_database = |database| nodes_of(database, &login, config.pool.server_connect_timeout);
    config.databases.iter().flat_map(of_database).collect()
}

/// The first user that Weir has a password for, console users before others; else the first user at all.
fn login(config: &Config) -> Login {
    let admins = config.general.admin_users.iter().filter_map(|name| config.user(name));
    let candidates: Vec<&User> = admins.chain(&config.users).collect();
    let chosen = candidates.iter().find(|user| user.login_password().is_some()).or(candidates.first());
    Login {
        user: chosen.map_or_else(String::new, |user| user.name.clone()),
        password: chosen.and_then(|user| user.login_password().cloned()),
    }
}

fn nodes_of(database: &Database, login: &Login, connect_timeout: Duration) -> Vec<Node> {
    let node = |shard: &Shard, address: &NodeAddress, role: Role| Node {
        label: format!("database {}, shard {}, {} {address}", database.name, shard.name, role.as_str()),
        address: address.clone(),
        role,
        dbname: shard.dbname.clone(),
        login: login.clone(),
        connect_timeout,
        map: database.shard_map.clone(),
    };
    let of_shard = |shard: &Shard| {
        let replicas = shard.replicas.iter().map(|address| node(shard, address, Role::Replica));
        std::iter::once(node(shard, &shard.primary, Role::Primary)).chain(replicas).collect::<Vec<_>>()
    };
    database.shards.iter().flat_map(of_shard).collect()
}

impl Role {
    fn as_str(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Replica => "replica",
        }
    }
}

/// What is wrong with one server, each line naming it.
async fn examine(node: &Node) -> Vec<String> {
    let found = match tokio::time::timeout(node.connect_timeout, ask(node)).await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => vec![explained(&error)],
        Err(_) => vec![format!("no answer within {:?}", node.connect_timeout)],
    };
    found.into_iter().map(|finding| format!("{}: {finding}", node.label)).collect()
}

async fn ask(node: &Node) -> Result<Vec<String>, tokio_postgres::Error> {
    let mut settings = tokio_postgres::Config::new();
    settings.host(&node.address.host).port(node.address.port).dbname(&node.dbname).user(&node.login.user);
    settings.application_name("weir check");
    if let Some(password) = &node.login.password {
        settings.password(password.reveal());
    }
    let (client, connection) = settings.connect(NoTls).await?;
    let connection = tokio::spawn(connection);
    let found = question(node, &client).await;
    drop(client);
    // The questions have told already whether the connection was good; this only waits for its goodbye.
    let _ = connection.await;
    found
}

async fn question(node: &Node, client: &Client) -> Result<Vec<String>, tokio_postgres::Error> {
    let properties = properties(client).await?;
    let mut found = property_findings(node.role, node.map.as_ref(), &properties);
    if let (Role::Primary, Some(map)) = (node.role, &node.map) {
        found.extend(inventory::findings(map, &Columns::read(client).await?));
    }
    Ok(found)
}

async fn properties(client: &Client) -> Result<Properties, tokio_postgres::Error> {
    let row = client
        .query_one(
            "SELECT current_setting('server_version_num')::int4, pg_is_in_recovery(), current_setting('wal_level'), \
             current_setting('max_prepared_transactions')::int4, current_setting('server_encoding')",
            &[],
        )
        .await?;
    Ok(Properties {
        version: row.try_get(0)?,
        in_recovery: row.try_get(1)?,
        wal_level: row.try_get(2)?,
        max_prepared_transactions: row.try_get(3)?,
        encoding: row.try_get(4)?,
    })
}

fn property_findings(role: Role, map: Option<&ShardMap>, properties: &Properties) -> Vec<String> {
    let Properties { version, in_recovery, wal_level, max_prepared_transactions, encoding } = properties;
    let several_shards = map.is_some_and(|map| map.shards().len() > 1);
    let rules = [
        (*version < VERSION_MIN, format!("PostgreSQL {} is too old, Weir needs 14", version / 10_000)),
        (role == Role::Primary && *in_recovery, "is in recovery: a standby, not a primary".to_owned()),
        (role == Role::Replica && !in_recovery, "is not in recovery: a primary, not a replica".to_owned()),
        (
            several_shards && *max_prepared_transactions == 0,
            "max_prepared_transactions is 0, but a transaction over several shards prepares".to_owned(),
        ),
        (map.is_some() && wal_level != "logical", format!("wal_level is {wal_level}, but moving data needs logical")),
        (map.is_some() && encoding != "UTF8", format!("the encoding is {encoding}, but keys are routed as UTF8")),
    ];
    rules.into_iter().filter_map(|(broken, finding)| broken.then_some(finding)).collect()
}

/// A refusal in the server's words, or why there was no connection.
fn explained(error: &tokio_postgres::Error) -> String {
    match (error.as_db_error(), std::error::Error::source(error)) {
        (Some(refusal), _) => format!("refused: {} ({})", refusal.message(), refusal.code().code()),
        (None, Some(source)) => format!("{error}: {source}"),
        (None, None) => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Epoch;

    fn good(role: Role) -> Properties {
        Properties {
            version: 150_004,
            in_recovery: role == Role::Replica,
            wal_level: "logical".to_owned(),
            max_prepared_transactions: 100,
            encoding: "UTF8".to_owned(),
        }
    }

    fn map(shards: usize) -> ShardMap {
        let shards = (0..shards).map(|shard| shard.to_string()).collect();
        ShardMap::new(Epoch(1), shards, Vec::new(), Vec::new()).unwrap()
    }

    #[test]
    fn a_server_must_be_what_the_configuration_says() {
        for role in [Role::Primary, Role::Replica] {
            let other = Properties { in_recovery: role == Role::Primary, ..good(role) };
            assert_eq!(property_findings(role, None, &good(role)), [""; 0]);
            assert_eq!(property_findings(role, None, &other).len(), 1);
        }
        let old = Properties { version: 130_012, ..good(Role::Primary) };
        assert_eq!(property_findings(Role::Primary, None, &old), ["PostgreSQL 13 is too old, Weir needs 14"]);
    }

    #[test]
    fn only_sharded_databases_need_more() {
        let plain = Properties {
            wal_level: "replica".to_owned(),
            max_prepared_transactions: 0,
            encoding: "LATIN1".to_owned(),
            ..good(Role::Primary)
        };
        for (map, findings) in [(None, 0), (Some(map(1)), 2), (Some(map(2)), 3)] {
            assert_eq!(property_findings(Role::Primary, map.as_ref(), &plain).len(), findings);
        }
    }
}
