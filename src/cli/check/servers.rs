//! Asks every server whether it is what the configuration says it is, and has what the configuration needs.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio_postgres::{Client, NoTls};

use crate::config::{Config, Database, NodeAddress, Secret, Shard, User};
use crate::pool::attach::{self, Finding, Inventory, Severity};
use crate::shardmap::{Placement, ShardMap};
use crate::types::ShardId;

/// The oldest PostgreSQL that Weir works with, as `server_version_num`.
const VERSION_MIN: i32 = 140_000;

/// One server with what is to be found there.
#[derive(Clone, Debug)]
struct Node {
    /// How a finding names the server.
    label: String,
    database: String,
    /// The shard's place in the database's list.
    shard: usize,
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

/// What the servers answered.
#[derive(Debug, Default)]
pub struct Answers {
    /// How many servers were asked.
    pub nodes: usize,
    /// What must be put right, a line each, in the order of the configuration.
    pub wrong: Vec<String>,
    /// What should be known.
    pub notes: Vec<String>,
}

/// What one server said.
#[derive(Debug, Default)]
struct Examined {
    wrong: Vec<String>,
    /// Of the primary of a sharded database.
    inventory: Option<Inventory>,
}

/// Asks all servers at once, and compares the shards with each other.
pub async fn check(config: &Config) -> Answers {
    let nodes = nodes(config);
    let mut asked = JoinSet::new();
    for (place, node) in nodes.iter().cloned().enumerate() {
        asked.spawn(async move { (place, examine(&node).await) });
    }
    let mut examined = asked.join_all().await;
    examined.sort_by_key(|(place, _)| *place);
    let examined: Vec<Examined> = examined.into_iter().map(|(_, examined)| examined).collect();
    let mut answers = Answers { nodes: nodes.len(), ..Answers::default() };
    for (node, own) in nodes.iter().zip(&examined) {
        answers.wrong.extend(own.wrong.iter().map(|finding| format!("{}: {finding}", node.label)));
        let (Some(map), Some(inventory)) = (&node.map, &own.inventory) else { continue };
        if !takes_part(map, node.shard) {
            continue;
        }
        let mut found = attach::examine(map, inventory, None);
        let is_home = |other: &Node| other.database == node.database && other.shard == 0 && node.shard != 0;
        let home = nodes.iter().zip(&examined).filter(|(other, _)| is_home(other));
        for home in home.filter_map(|(_, home)| home.inventory.as_ref()) {
            found.extend(attach::compare(map, home, inventory, None));
        }
        answers.wrong.extend(missing(map, node.shard, inventory).map(|finding| format!("{}: {finding}", node.label)));
        answers.add(&node.label, found);
    }
    answers
}

impl Answers {
    fn add(&mut self, label: &str, findings: Vec<Finding>) {
        for finding in findings {
            match finding.severity {
                Severity::Wrong => self.wrong.push(format!("{label}: {finding}")),
                Severity::Limits | Severity::Notice => self.notes.push(format!("{label}: {finding}")),
            }
        }
    }
}

fn takes_part(map: &ShardMap, shard: usize) -> bool {
    map.shard_ids().any(|member| member.index() == shard)
}

/// The tables of the map that a shard should have and lacks; what the home shard has is compared anyway.
fn missing<'m>(map: &'m ShardMap, shard: usize, inventory: &'m Inventory) -> impl Iterator<Item = String> + 'm {
    let belongs = move |placement: Placement<'_>| match placement {
        Placement::Sharded { .. } | Placement::Reference => shard == 0,
        Placement::Single(owner) => owner == ShardId(u16::try_from(shard).unwrap_or(u16::MAX)),
        Placement::Unmapped => false,
    };
    let expected = map.tables().filter(move |(.., placement)| belongs(*placement));
    let lacks = move |(schema, name, _): &(&str, &str, Placement<'_>)| {
        !inventory.tables.contains_key(&((*schema).to_owned(), (*name).to_owned()))
    };
    expected.filter(lacks).map(|(schema, name, _)| format!("table {schema}.{name} does not exist"))
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
    let node = |place: usize, shard: &Shard, address: &NodeAddress, role: Role| Node {
        database: database.name.clone(),
        shard: place,
        label: format!("database {}, shard {}, {} {address}", database.name, shard.name, role.as_str()),
        address: address.clone(),
        role,
        dbname: shard.dbname.clone(),
        login: login.clone(),
        connect_timeout,
        map: database.shard_map.clone(),
    };
    let of_shard = |(place, shard): (usize, &Shard)| {
        let replicas = shard.replicas.iter().map(|address| node(place, shard, address, Role::Replica));
        std::iter::once(node(place, shard, &shard.primary, Role::Primary)).chain(replicas).collect::<Vec<_>>()
    };
    database.shards.iter().enumerate().flat_map(of_shard).collect()
}

impl Role {
    fn as_str(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Replica => "replica",
        }
    }
}

/// What one server says, and what is wrong with it.
async fn examine(node: &Node) -> Examined {
    match tokio::time::timeout(node.connect_timeout, ask(node)).await {
        Ok(Ok(examined)) => examined,
        Ok(Err(error)) => Examined { wrong: vec![explained(&error)], inventory: None },
        Err(_) => Examined { wrong: vec![format!("no answer within {:?}", node.connect_timeout)], inventory: None },
    }
}

async fn ask(node: &Node) -> Result<Examined, tokio_postgres::Error> {
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

async fn question(node: &Node, client: &Client) -> Result<Examined, tokio_postgres::Error> {
    let properties = properties(client).await?;
    let wrong = property_findings(node.role, node.map.as_ref(), &properties);
    let inventory = match (node.role, &node.map) {
        (Role::Primary, Some(_)) => Some(Inventory::read(client).await?),
        (Role::Primary, None) | (Role::Replica, _) => None,
    };
    Ok(Examined { wrong, inventory })
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
