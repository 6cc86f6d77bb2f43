//! Weir under test: the real binary, with a configuration made for the test.

use std::fmt::Write;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use weir::cli::cluster::child::{Child, Endings};
use weir::cli::cluster::{Node, PASSWORD, SUPERUSER};

use super::{Endpoint, Shard, fresh_dir};

/// How long Weir may take to listen, or to stop.
const PATIENCE: Duration = Duration::from_secs(30);
/// What `weir serve` prints in front of the address that it listens on.
const LISTENING: &str = "listening on ";

/// A configuration in the making.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    weir: Vec<String>,
    pool: Vec<String>,
    peers: Vec<String>,
    users: Vec<String>,
    databases: Vec<Database>,
}

/// A database of a configuration in the making.
#[derive(Clone, Debug)]
pub struct Database {
    name: String,
    options: Vec<String>,
    shard_map: Option<String>,
    shards: Vec<String>,
}

impl Setup {
    /// Weir on a free port, with the user that every server knows.
    pub fn new() -> Self {
        Self::default().weir("listen = \"127.0.0.1:0\"").user(&format!("name = {SUPERUSER:?}\npassword = {PASSWORD:?}"))
    }

    /// Listens on this port instead of a free one.
    pub fn listening_on(mut self, port: u16) -> Self {
        self.weir.retain(|line| !line.starts_with("listen"));
        self.weir(&format!("listen = \"127.0.0.1:{port}\""))
    }

    /// Adds a line to section `[peers]`.
    pub fn peer(mut self, id: u8, address: SocketAddr) -> Self {
        self.peers.push(format!("{id} = \"{address}\""));
        self
    }

    /// Adds a line to section `[weir]`.
    pub fn weir(mut self, line: &str) -> Self {
        self.weir.push(line.to_owned());
        self
    }

    /// Adds a line to section `[pool]`.
    pub fn pool(mut self, line: &str) -> Self {
        self.pool.push(line.to_owned());
        self
    }

    /// Adds a `[[users]]` entry with these lines.
    pub fn user(mut self, lines: &str) -> Self {
        self.users.push(lines.to_owned());
        self
    }

    /// Adds a database.
    pub fn database(mut self, database: Database) -> Self {
        self.databases.push(database);
        self
    }

    /// Writes weir.toml and its shard maps into `dir`; gives the path of weir.toml.
    pub fn write(&self, dir: &Path) -> PathBuf {
        fs::create_dir_all(dir).expect("the test root is ours");
        let mut text =
            format!("[weir]\nstate_dir = \"state\"\n{}\n\n[pool]\n{}\n", lines(&self.weir), lines(&self.pool));
        if !self.peers.is_empty() {
            let _ = write!(text, "\n[peers]\n{}\n", lines(&self.peers));
        }
        for user in &self.users {
            let _ = write!(text, "\n[[users]]\n{user}\n");
        }
        for database in &self.databases {
            text.push_str(&database.render());
            if let Some(map) = &database.shard_map {
                fs::write(dir.join(database.map_file()), map).expect("the directory is ours");
            }
        }
        let path = dir.join("weir.toml");
        fs::write(&path, text).expect("the directory is ours");
        path
    }
}

impl Database {
    /// A database of that name; add its shards.
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), options: Vec::new(), shard_map: None, shards: Vec::new() }
    }

    /// Makes the database sharded by this shard map (TOML).
    pub fn sharded_by(mut self, shard_map: &str) -> Self {
        self.shard_map = Some(shard_map.to_owned());
        self
    }

    /// Adds a line to the database's section.
    pub fn option(mut self, line: &str) -> Self {
        self.options.push(line.to_owned());
        self
    }

    /// Adds a shard with its replica; `dbname` is the database's name on the servers.
    pub fn shard(self, name: &str, shard: &Shard, dbname: &str) -> Self {
        self.nodes(name, &shard.primary, &[&shard.replica], dbname)
    }

    /// Adds a shard of these nodes.
    pub fn nodes(mut self, name: &str, primary: &Node, replicas: &[&Node], dbname: &str) -> Self {
        let replicas: Vec<String> = replicas.iter().map(|replica| replica.address().to_string()).collect();
        let primary = primary.address().to_string();
        self.shards
            .push(format!("name = {name:?}\nprimary = {primary:?}\nreplicas = {replicas:?}\ndbname = {dbname:?}"));
        self
    }

    /// Adds a shard whose primary is reached at this address, where a test stands between.
    pub fn primary_at(mut self, name: &str, address: SocketAddr, dbname: &str) -> Self {
        self.shards.push(format!("name = {name:?}\nprimary = \"{address}\"\ndbname = {dbname:?}"));
        self
    }

    fn map_file(&self) -> String {
        format!("{}.map.toml", self.name)
    }

    fn render(&self) -> String {
        let Self { name, .. } = self;
        let mut text = format!("\n[databases.{name}]\n{}\n", lines(&self.options));
        if self.shard_map.is_some() {
            let _ = writeln!(text, "shard_map = {:?}", self.map_file());
        }
        for shard in &self.shards {
            let _ = write!(text, "\n[[databases.{name}.shards]]\n{shard}\n");
        }
        text
    }
}

/// Where files say at which points Weir stops.
const FAULT_POINTS: &str = "faults";

/// A running Weir. Dropping it ends it; its log is shown when the test fails.
#[derive(Debug)]
pub struct Weir {
    process: Child,
    dir: PathBuf,
    address: SocketAddr,
}

impl Weir {
    /// Starts `weir serve` and waits until it listens.
    pub fn start(setup: &Setup) -> Self {
        Self::start_in(&fresh_dir("weir"), setup)
    }

    /// Starts Weir in a directory of the caller's choice, to keep its state over a restart.
    pub fn start_in(dir: &Path, setup: &Setup) -> Self {
        let config = setup.write(dir);
        let log = fs::File::create(dir.join("log")).expect("the directory is ours");
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command.arg("serve").arg("--config").arg(config).current_dir(dir);
        fs::create_dir_all(dir.join(FAULT_POINTS)).expect("the directory is ours");
        command.env("WEIR_FAULT_POINTS", dir.join(FAULT_POINTS));
        command.stdout(log.try_clone().expect("a file")).stderr(log);
        let process =
            Child::spawn(command, Endings { dropped: libc::SIGKILL, orphaned: libc::SIGKILL }).expect("weir runs");
        let address = await_address(&process, dir);
        Self { process, dir: dir.to_owned(), address }
    }

    /// Where Weir takes clients.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A database behind this Weir.
    pub fn endpoint(&self, database: &str) -> Endpoint {
        Endpoint::new(self.address, database)
    }

    /// The directory with weir.toml, state and log.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What Weir has printed so far.
    pub fn log(&self) -> String {
        read_log(&self.dir)
    }

    /// Makes Weir stop at a named point of its code, from the next time that it comes there.
    pub fn stop_at(&self, point: &str) {
        let _none = fs::remove_file(self.dir.join(FAULT_POINTS).join(format!("{point}.reached")));
        fs::write(self.dir.join(FAULT_POINTS).join(point), "").expect("the directory is ours");
    }

    /// Waits until Weir has stopped at a point.
    pub fn await_stop_at(&self, point: &str) {
        let reached = self.dir.join(FAULT_POINTS).join(format!("{point}.reached"));
        let deadline = Instant::now() + PATIENCE;
        while !reached.exists() {
            assert!(Instant::now() < deadline, "weir does not come to {point}\n{}", self.log());
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Lets Weir go on from a point.
    pub fn go_on_from(&self, point: &str) {
        fs::remove_file(self.dir.join(FAULT_POINTS).join(point)).expect("Weir was stopped there");
    }

    /// The process's id.
    pub fn pid(&self) -> libc::pid_t {
        self.process.pid()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: libc::c_int) {
        self.process.signal(signal);
    }

    /// Asks Weir to stop (SIGTERM) and gives its exit status.
    pub fn stop(self) -> ExitStatus {
        self.process.signal(libc::SIGTERM);
        self.process.wait(PATIENCE).unwrap_or_else(|| panic!("weir did not stop\n{}", self.log()))
    }
}

impl Drop for Weir {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("---- log of Weir in {}\n{}----", self.dir.display(), self.log());
        }
    }
}

/// The address that Weir prints when it listens for PostgreSQL clients (the first one).
fn await_address(process: &Child, dir: &Path) -> SocketAddr {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let log = read_log(dir);
        // Only whole lines: the last one may still be being written.
        let line = log.split_inclusive('\n').find(|line| line.contains(LISTENING) && line.ends_with('\n'));
        if let Some((_, address)) = line.and_then(|line| line.split_once(LISTENING)) {
            let address = address.split_whitespace().next().and_then(|word| word.parse().ok());
            return address.unwrap_or_else(|| panic!("no address after {LISTENING:?}\n{log}"));
        }
        assert!(process.ended().is_none(), "weir ended at its start\n{log}");
        assert!(Instant::now() < deadline, "weir does not listen\n{log}");
        thread::sleep(Duration::from_millis(10));
    }
}

fn read_log(dir: &Path) -> String {
    fs::read_to_string(dir.join("log")).unwrap_or_default()
}

fn lines(lines: &[String]) -> String {
    lines.join("\n")
}
