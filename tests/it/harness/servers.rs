//! The PostgreSQL servers of the tests.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};

use weir::cli::cluster::{DataSource, Durability, Installation, Node};

use super::{Endpoint, fresh_dir, root, unique};

/// How long a replica may take to replay what its primary has written.
const REPLAY_MAX: Duration = Duration::from_secs(20);

/// Servers that all tests share. Nobody stops or reconfigures them.
#[derive(Debug)]
pub struct Servers {
    /// One PostgreSQL: what Weir's answers are compared with.
    pub reference: Node,
    /// One primary with a replica, for unsharded databases.
    pub app: Shard,
    /// Two shards.
    pub shop: [Shard; 2],
}

/// A primary and its streaming replica.
#[derive(Debug)]
pub struct Shard {
    pub primary: Node,
    pub replica: Node,
}

/// The shared servers, started by whoever asks first.
pub fn servers() -> &'static Servers {
    static SERVERS: LazyLock<Servers> = LazyLock::new(start_servers);
    &SERVERS
}

/// PostgreSQL's programs.
pub fn installation() -> &'static Installation {
    static INSTALLATION: LazyLock<Installation> = LazyLock::new(|| Installation::find().expect("PostgreSQL is there"));
    &INSTALLATION
}

/// Starts a primary of the caller's own.
pub fn start_primary(stem: &str) -> Node {
    start_in(&fresh_dir(stem))
}

/// A node's database as a place to connect to.
pub fn endpoint_of(node: &Node, database: &str) -> Endpoint {
    Endpoint::new(node.address(), database)
}

impl Shard {
    /// Starts a primary and a replica of the caller's own, which it may hurt.
    pub fn start(stem: &str) -> Self {
        let name = unique(stem);
        let primary = start_in(&root().join(format!("{name}_primary")));
        let replica = primary.create_standby(&root().join(format!("{name}_replica"))).expect("a standby starts");
        Self { primary, replica }
    }

    /// Creates a database on the primary and waits until the replica has it.
    pub fn create_database(&self, name: &str) {
        endpoint_of(&self.primary, "postgres").execute(&format!("CREATE DATABASE {name}"));
        self.await_replay();
    }

    /// Waits until the replica has replayed everything that the primary has written so far.
    pub fn await_replay(&self) {
        let lsn = endpoint_of(&self.primary, "postgres").value("SELECT pg_current_wal_insert_lsn()");
        let replica = endpoint_of(&self.replica, "postgres");
        let question = format!("SELECT pg_last_wal_replay_lsn() >= '{lsn}'");
        let deadline = Instant::now() + REPLAY_MAX;
        while replica.value(&question) != "t" {
            assert!(Instant::now() < deadline, "the replica does not catch up to {lsn}");
            thread::sleep(Duration::from_millis(10));
        }
    }
}

fn start_servers() -> Servers {
    thread::scope(|scope| {
        let reference = scope.spawn(|| start_primary("reference"));
        let [app, shop0, shop1] = ["app", "shop0", "shop1"].map(|name| scope.spawn(move || Shard::start(name)));
        let started = "a server starts";
        Servers {
            reference: reference.join().expect(started),
            app: app.join().expect(started),
            shop: [shop0.join().expect(started), shop1.join().expect(started)],
        }
    })
}

fn start_in(dir: &Path) -> Node {
    let source = DataSource::Template(template());
    Node::create_primary(installation(), dir, source, Durability::Thrown).expect("a primary starts")
}

/// A data directory that initdb made once for this process.
fn template() -> &'static Path {
    static TEMPLATE: LazyLock<PathBuf> =
        LazyLock::new(|| Node::initdb(installation(), &root().join("template")).expect("initdb works"));
    &TEMPLATE
}
