//! The demo's PostgreSQL servers: the shards of `shop`. The first of them also holds the unsharded database `app`.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use super::place::{NodeEntry, Place, Role};
use super::{failure, progress};
use crate::cli::cluster::{DataSource, Durability, HOST, Installation, Node};
use crate::types::Result;

/// The sharded database.
pub const SHOP: &str = "shop";
/// The unsharded database.
pub const APP: &str = "app";

/// A primary with its replicas.
#[derive(Debug)]
pub struct Shard {
    pub name: String,
    pub primary: Node,
    pub replicas: Vec<Node>,
}

/// The ports of a shard in the last run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Ports {
    primary: Option<u16>,
    replicas: Vec<u16>,
}

/// Starts the servers that an earlier run left in the directory, or creates them.
pub fn start(place: &Place, shards: usize, replicas: usize) -> Result<Vec<Shard>> {
    let installation = Installation::find()?;
    let names: Vec<String> = (0..shards).map(|number| format!("shard{number}")).collect();
    match place.read_nodes()? {
        None => {
            progress(&format!("creating {shards} shards in {}", place.dir().display()));
            for_each(&names, |name| create(&installation, place, name, replicas))
        }
        Some(nodes) => {
            check_shape(place, &nodes, shards, replicas)?;
            progress(&format!("starting the shards of the last run in {}", place.dir().display()));
            for_each(&names, |name| reopen(&installation, place, name, &ports_of(&nodes, name)))
        }
    }
}

/// Stops all servers; the first error is given after all were tried.
pub fn stop(shards: Vec<Shard>) -> Result<()> {
    let stopping = shards.into_iter().map(|mut shard| {
        thread::spawn(move || {
            let replicas = shard.replicas.iter_mut().try_for_each(Node::stop);
            replicas.and(shard.primary.stop())
        })
    });
    let stopping: Vec<_> = stopping.collect();
    let outcomes: Vec<Result<()>> = stopping.into_iter().map(join).collect();
    outcomes.into_iter().collect()
}

/// An error when a server has ended by itself.
pub fn check(shards: &[Shard]) -> Result<()> {
    let nodes = shards.iter().flat_map(|shard| std::iter::once(&shard.primary).chain(&shard.replicas));
    match nodes.into_iter().find(|node| !node.is_running()) {
        None => Ok(()),
        Some(node) => {
            let message = format!("the PostgreSQL server in {} ended", node.dir().display());
            Err(failure(message).detail(node.log_tail()))
        }
    }
}

/// The list of all databases on all nodes.
pub fn nodes(shards: &[Shard]) -> Vec<NodeEntry> {
    let of_shop = shards.iter().flat_map(|shard| entries(SHOP, shard));
    let of_app = shards.first().into_iter().flat_map(|shard| entries(APP, shard));
    of_shop.chain(of_app).collect()
}

fn entries(database: &str, shard: &Shard) -> Vec<NodeEntry> {
    let entry = |role, node: &Node| NodeEntry {
        database: database.to_owned(),
        shard: shard.name.clone(),
        role,
        host: HOST.to_owned(),
        port: node.port(),
        dbname: database.to_owned(),
    };
    let replicas = shard.replicas.iter().map(|replica| entry(Role::Replica, replica));
    std::iter::once(entry(Role::Primary, &shard.primary)).chain(replicas).collect()
}

fn create(installation: &Installation, place: &Place, name: &str, replicas: usize) -> Result<Shard> {
    let dir = place.path(name);
    if dir.exists() {
        // An earlier run ended before all of its servers existed, so there is nothing in it.
        fs::remove_dir_all(&dir)
            .map_err(|error| failure(format!("could not remove {}", dir.display())).source(error))?;
    }
    installation.create_dir(&dir)?;
    let primary = Node::create_primary(installation, &dir.join("primary"), DataSource::Initdb, Durability::Kept)?;
    for database in databases_of(name) {
        installation.run("createdb", ["--maintenance-db", &primary.conninfo("postgres"), database])?;
    }
    let replicas = (1..=replicas).map(|number| primary.create_standby(&replica_dir(&dir, number)));
    let replicas = replicas.collect::<Result<_>>()?;
    Ok(started(name, primary, replicas))
}

fn reopen(installation: &Installation, place: &Place, name: &str, ports: &Ports) -> Result<Shard> {
    let dir = place.path(name);
    let primary = Node::reopen_primary(installation, &dir.join("primary"), Durability::Kept, ports.primary)?;
    let replicas = ports.replicas.iter().zip(1..);
    let replicas = replicas.map(|(port, number)| primary.reopen_standby(&replica_dir(&dir, number), Some(*port)));
    let replicas = replicas.collect::<Result<_>>()?;
    Ok(started(name, primary, replicas))
}

fn started(name: &str, primary: Node, replicas: Vec<Node>) -> Shard {
    let addresses: String = replicas.iter().map(|replica| format!(", replica {}", replica.address())).collect();
    progress(&format!("{name} runs: primary {}{addresses}", primary.address()));
    Shard { name: name.to_owned(), primary, replicas }
}

/// The databases that a new shard holds; the first shard is `app`'s too.
fn databases_of(name: &str) -> &'static [&'static str] {
    if name == "shard0" { &[SHOP, APP] } else { &[SHOP] }
}

fn replica_dir(shard: &Path, number: usize) -> PathBuf {
    shard.join(format!("replica{number}"))
}

fn ports_of(nodes: &[NodeEntry], shard: &str) -> Ports {
    let ports = |role| {
        let of_role = move |node: &&NodeEntry| node.database == SHOP && node.shard == shard && node.role == role;
        nodes.iter().filter(of_role).map(|node| node.port)
    };
    Ports { primary: ports(Role::Primary).next(), replicas: ports(Role::Replica).collect() }
}

/// The servers of the last run must be those that are asked for.
fn check_shape(place: &Place, nodes: &[NodeEntry], shards: usize, replicas: usize) -> Result<()> {
    let count = |role| nodes.iter().filter(|node| node.database == SHOP && node.role == role).count();
    let (primaries, standbys) = (count(Role::Primary), count(Role::Replica));
    if (primaries, standbys) == (shards, shards * replicas) {
        return Ok(());
    }
    let message = format!("{} holds a demo with {primaries} shards and {standbys} replicas", place.dir().display());
    let detail = format!("asked for are {shards} shards with {replicas} replicas each");
    Err(failure(message).detail(detail).hint("`weir demo clean` removes it, and --dir names another directory."))
}

/// Calls `act` for all names at once.
fn for_each(names: &[String], act: impl Fn(&str) -> Result<Shard> + Sync) -> Result<Vec<Shard>> {
    thread::scope(|scope| {
        let act = &act;
        let running: Vec<_> = names.iter().map(|name| scope.spawn(move || act(name))).collect();
        running.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Err(panicked()))).collect()
    })
}

fn join(thread: thread::JoinHandle<Result<()>>) -> Result<()> {
    thread.join().unwrap_or_else(|_| Err(panicked()))
}

fn panicked() -> crate::types::Error {
    failure("a thread of the demo panicked")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(shard: &str, role: Role, port: u16) -> NodeEntry {
        let [database, dbname] = [SHOP; 2].map(str::to_owned);
        NodeEntry { database, shard: shard.to_owned(), role, host: HOST.to_owned(), port, dbname }
    }

    #[test]
    fn the_last_run_is_recognised() {
        let nodes = [
            node("shard0", Role::Primary, 1),
            node("shard0", Role::Replica, 2),
            node("shard1", Role::Primary, 3),
            node("shard1", Role::Replica, 4),
        ];
        assert_eq!(ports_of(&nodes, "shard1"), Ports { primary: Some(3), replicas: vec![4] });
        assert_eq!(ports_of(&nodes, "shard2"), Ports::default());
        let place = Place::new(Path::new("/nowhere")).unwrap();
        assert!(check_shape(&place, &nodes, 2, 1).is_ok());
        for (shards, replicas) in [(1, 1), (2, 0), (2, 2), (3, 1)] {
            assert!(check_shape(&place, &nodes, shards, replicas).is_err());
        }
    }
}
