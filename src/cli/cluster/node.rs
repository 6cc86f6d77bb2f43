//! One PostgreSQL server with its data directory: created, started, stopped, and hurt on purpose.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::child::{Child, Endings, await_ends};
use super::settings::{Settings, Upstream};
use super::{Durability, HOST, Installation, PASSWORD, SUPERUSER, failure};
use crate::types::{Error, Result};

/// How long a server may take to answer (a standby first replays), or to stop.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at a starting server.
const GLANCE: Duration = Duration::from_millis(10);
/// Ports below Linux's range of ephemeral ports: a server can always come back to its own.
const PORTS: std::ops::Range<u16> = 20_000..32_000;
/// How often another free port is tried when somebody took the chosen one in between.
const PORT_ATTEMPTS: usize = 5;
/// Lines of a server's log that an error shows.
const LOG_TAIL_LINES: usize = 15;
/// Our own settings, included by the data directory's postgresql.conf and written at each start.
const SETTINGS_FILE: &str = "weir.conf";

/// Where the data directory of a new primary comes from.
#[derive(Clone, Copy, Debug)]
pub enum DataSource<'a> {
    /// A new cluster, with a system identifier of its own.
    Initdb,
    /// A copy of a data directory that [`Node::initdb`] made. Quicker; copies share their system identifier.
    Template(&'a Path),
}

/// A PostgreSQL server, running or not. Dropping it ends the server at once (like a crash) and leaves the data.
#[derive(Debug)]
pub struct Node {
    installation: Installation,
    /// Holds `data`, `log` and the Unix socket.
    dir: PathBuf,
    port: u16,
    durability: Durability,
    upstream: Option<Upstream>,
    process: Option<Child>,
}

impl Node {
    /// Makes a data directory at `dir`/data for the superuser [`SUPERUSER`], UTF8, locale C.UTF-8, SCRAM passwords.
    /// Gives its path.
    pub fn initdb(installation: &Installation, dir: &Path) -> Result<PathBuf> {
        installation.create_dir(dir)?;
        let (data, password_file) = (dir.join("data"), dir.join("password"));
        installation.write(&password_file, PASSWORD)?;
        let done = installation.run("initdb", initdb_arguments(&data, &password_file));
        fs::remove_file(&password_file).map_err(|error| failure("could not remove the password file", error))?;
        done?;
        include_settings(&data)?;
        Ok(data)
    }

    /// Creates a primary in the new directory `dir` and starts it on a free port.
    pub fn create_primary(
        installation: &Installation,
        dir: &Path,
        source: DataSource<'_>,
        durability: Durability,
    ) -> Result<Self> {
        match source {
            DataSource::Initdb => Self::initdb(installation, dir).map(drop)?,
            DataSource::Template(data) => {
                installation.create_dir(dir)?;
                installation.copy(data, &dir.join("data"))?;
            }
        }
        Self::open(installation, dir, durability, None, None)
    }

    /// Creates a standby of this running primary in the new directory `dir`, starts it on a free port, and waits until
    /// it takes queries. It streams through a replication slot that has the directory's name.
    pub fn create_standby(&self, dir: &Path) -> Result<Self> {
        let upstream = self.upstream_of(dir);
        self.installation.create_dir(dir)?;
        self.base_backup(&dir.join("data"), &upstream.slot)?;
        self.installation.write(&dir.join("data/standby.signal"), "")?;
        Self::open(&self.installation, dir, self.durability, Some(upstream), None)
    }

    /// Starts the primary that an earlier [`Node::create_primary`] left in `dir`, on `port` if that is free.
    pub fn reopen_primary(
        installation: &Installation,
        dir: &Path,
        durability: Durability,
        port: Option<u16>,
    ) -> Result<Self> {
        Self::open(installation, dir, durability, None, port)
    }

    /// Starts the standby that an earlier [`Node::create_standby`] of this primary left in `dir`.
    pub fn reopen_standby(&self, dir: &Path, port: Option<u16>) -> Result<Self> {
        Self::open(&self.installation, dir, self.durability, Some(self.upstream_of(dir)), port)
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// The TCP port on 127.0.0.1; it stays the same over restarts.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A connection string of libpq's for the superuser.
    pub fn conninfo(&self, database: &str) -> String {
        format!("host={HOST} port={} user={SUPERUSER} password={PASSWORD} dbname={database}", self.port)
    }

    /// The directory that holds `data` and `log`.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Starts the server on its port and waits until it takes queries. The log's tail is in the error.
    pub fn start(&mut self) -> Result<()> {
        self.stop()?;
        self.await_predecessor()?;
        self.write_settings()?;
        let process = self.spawn()?;
        self.await_ready(&process)?;
        self.process = Some(process);
        Ok(())
    }

    /// Stops the server as `pg_ctl stop -m fast` does: transactions roll back, the data directory is consistent.
    pub fn stop(&mut self) -> Result<()> {
        let Some(process) = self.process.take() else { return Ok(()) };
        process.signal(libc::SIGCONT);
        process.signal(libc::SIGINT);
        process.wait(PATIENCE).map(drop).ok_or_else(|| self.failed("did not stop"))
    }

    /// Kills the server and all its processes with SIGKILL, as a crash of its machine would, and waits for their ends:
    /// a server process closes its connection only then.
    pub fn kill(&mut self) {
        if let Some(process) = self.process.take() {
            let family = process.signal_family(libc::SIGKILL);
            process.wait(PATIENCE);
            await_ends(&family, PATIENCE);
        }
    }

    /// Freezes the server and all its processes: connections stay open, nothing answers.
    pub fn pause(&self) {
        if let Some(process) = &self.process {
            process.signal_family(libc::SIGSTOP);
        }
    }

    /// Ends a [`Node::pause`].
    pub fn resume(&self) {
        if let Some(process) = &self.process {
            process.signal_family(libc::SIGCONT);
        }
    }

    /// Has the server read its configuration files again.
    pub fn reload(&self) {
        if let Some(process) = &self.process {
            process.signal(libc::SIGHUP);
        }
    }

    /// Whether the server's process runs (it may be paused).
    pub fn is_running(&self) -> bool {
        self.process.as_ref().is_some_and(|process| process.ended().is_none())
    }

    /// The last lines of the server's log.
    pub fn log_tail(&self) -> String {
        tail(&fs::read_to_string(self.dir.join("log")).unwrap_or_default(), LOG_TAIL_LINES)
    }

    /// Starts the server of an existing data directory on `port` where that is free, else on another.
    fn open(
        installation: &Installation,
        dir: &Path,
        durability: Durability,
        upstream: Option<Upstream>,
        port: Option<u16>,
    ) -> Result<Self> {
        let port = port.filter(|port| is_free(*port)).map_or_else(free_port, Ok)?;
        let (installation, dir) = (installation.clone(), dir.to_owned());
        let mut node = Self { installation, dir, port, durability, upstream, process: None };
        for _ in 1..PORT_ATTEMPTS {
            match node.start() {
                // Somebody took the port after it was found free.
                Err(_) if !is_free(node.port) => node.port = free_port()?,
                outcome => return outcome.map(|()| node),
            }
        }
        node.start().map(|()| node)
    }

    /// The slot of a standby is named after its directory.
    fn upstream_of(&self, standby_dir: &Path) -> Upstream {
        let name = standby_dir.file_name().unwrap_or_default().to_string_lossy();
        let slot = name.to_lowercase().replace(|letter: char| !letter.is_ascii_alphanumeric(), "_");
        Upstream { port: self.port, slot }
    }

    fn base_backup(&self, data: &Path, slot: &str) -> Result<()> {
        let conninfo = self.conninfo("replication");
        let data = data.display().to_string();
        let arguments = ["-d", &conninfo, "-D", &data, "-c", "fast", "-X", "stream", "-C", "-S", slot, "--no-sync"];
        self.installation.run("pg_basebackup", arguments)
    }

    fn write_settings(&self) -> Result<()> {
        let Self { port, durability, .. } = *self;
        let settings = Settings { port, socket_dir: &self.dir, durability, upstream: self.upstream.as_ref() };
        self.installation.write(&self.dir.join("data").join(SETTINGS_FILE), &settings.render())
    }

    fn spawn(&self) -> Result<Child> {
        let log = fs::File::options().create(true).append(true).open(self.dir.join("log"));
        let log = log.map_err(|error| failure("could not open the server's log", error))?;
        let mut command = self.installation.command("postgres");
        command.arg("-D").arg(self.dir.join("data")).stdout(std::process::Stdio::null()).stderr(log);
        // PostgreSQL's immediate shutdown.
        let endings = Endings { dropped: libc::SIGQUIT, orphaned: libc::SIGQUIT };
        Child::spawn(command, endings).map_err(|error| failure("could not start PostgreSQL", error))
    }

    /// Waits for the processes of a server that was killed a moment ago: PostgreSQL refuses to start beside them.
    fn await_predecessor(&self) -> Result<()> {
        let data = self.dir.join("data");
        let deadline = Instant::now() + PATIENCE;
        while let Some(pid) = user_of(&data) {
            if Instant::now() > deadline {
                return Err(self.failed(&format!("is used by another PostgreSQL server (process {pid})")));
            }
            thread::sleep(GLANCE);
        }
        Ok(())
    }

    /// Waits until the postmaster itself says that it takes connections: on a standby, that is once it is consistent.
    fn await_ready(&self, process: &Child) -> Result<()> {
        let data = self.dir.join("data");
        let deadline = Instant::now() + PATIENCE;
        loop {
            if LockFile::read(&data).is_some_and(|lock| lock.pid == process.pid() && lock.ready) {
                return Ok(());
            }
            if let Some(status) = process.ended() {
                return Err(self.failed(&format!("ended at its start ({status})")));
            }
            if Instant::now() > deadline {
                return Err(self.failed("did not answer in time"));
            }
            thread::sleep(GLANCE);
        }
    }

    fn failed(&self, what: &str) -> Error {
        failure(format!("the PostgreSQL server in {} {what}", self.dir.display()), self.log_tail())
    }
}

/// What `postmaster.pid` says. Source: PostgreSQL's `src/include/utils/pidfile.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct LockFile {
    pid: libc::pid_t,
    /// The last line says that connections are taken.
    ready: bool,
}

impl LockFile {
    fn read(data: &Path) -> Option<Self> {
        Self::parse(&fs::read_to_string(data.join("postmaster.pid")).ok()?)
    }

    /// `None` while the file is still being written.
    fn parse(text: &str) -> Option<Self> {
        let pid = text.lines().next()?.trim().parse().ok()?;
        Some(Self { pid, ready: text.lines().nth(7).is_some_and(|status| status.trim() == "ready") })
    }
}

/// The pid of a process of a server that uses this data directory: that is its working directory.
fn user_of(data: &Path) -> Option<String> {
    let data = data.canonicalize().ok()?;
    let mut processes = fs::read_dir("/proc").ok()?.flatten();
    let user = processes.find(|process| fs::read_link(process.path().join("cwd")).is_ok_and(|cwd| cwd == data))?;
    Some(user.file_name().to_string_lossy().into_owned())
}

fn initdb_arguments(data: &Path, password_file: &Path) -> Vec<String> {
    let fixed = ["--no-sync", "--encoding=UTF8", "--locale=C.UTF-8", "--auth=scram-sha-256"];
    let mut arguments = fixed.map(str::to_owned).to_vec();
    arguments.push(format!("--username={SUPERUSER}"));
    arguments.push(format!("--pwfile={}", password_file.display()));
    arguments.push(format!("--pgdata={}", data.display()));
    arguments
}

fn include_settings(data: &Path) -> Result<()> {
    let file = fs::File::options().append(true).open(data.join("postgresql.conf"));
    let written = file.and_then(|mut file| {
        use std::io::Write;
        writeln!(file, "include = '{SETTINGS_FILE}'")
    });
    written.map_err(|error| failure("could not write postgresql.conf", error))
}

/// A port of [`HOST`] on which nobody listens, below the ephemeral ones.
pub fn free_port() -> Result<u16> {
    let mut candidates = (0..1_000).map(|_| rand::random_range(PORTS));
    candidates.find(|port| is_free(*port)).ok_or_else(|| failure("no free port", format!("tried many of {PORTS:?}")))
}

/// Whether nobody listens on that port of [`HOST`].
pub fn is_free(port: u16) -> bool {
    TcpListener::bind((HOST, port)).is_ok()
}

fn tail(text: &str, lines: usize) -> String {
    let skipped = text.lines().count().saturating_sub(lines);
    text.lines().skip(skipped).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_file_tells_pid_and_readiness() {
        let starting = "4711\n/data\n1700000000\n25000\n/tmp\n127.0.0.1\n  1 2\nstarting\n";
        let ready = starting.replace("starting", "ready   ");
        assert_eq!(LockFile::parse(starting), Some(LockFile { pid: 4711, ready: false }));
        assert_eq!(LockFile::parse(&ready), Some(LockFile { pid: 4711, ready: true }));
        assert_eq!(LockFile::parse(&starting.replace("starting", "standby ")).map(|lock| lock.ready), Some(false));
        assert_eq!(LockFile::parse("4711\n/data\n").map(|lock| lock.ready), Some(false));
        assert_eq!(LockFile::parse(""), None);
    }

    #[test]
    fn a_tail_is_the_last_lines() {
        assert_eq!(tail("a\nb\nc\n", 2), "b\nc");
        assert_eq!(tail("a\n", 2), "a");
    }
}
