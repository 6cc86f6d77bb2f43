//! A place where PostgreSQL clients connect, and the clients.

use std::ffi::OsStr;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tokio_postgres::{Client, Config, NoTls};
use weir::cli::cluster::{PASSWORD, SUPERUSER};

use super::{RawClient, installation};

/// An address, a database and a user. A server and Weir look the same here.
#[derive(Clone, Debug)]
pub struct Endpoint {
    pub address: SocketAddr,
    pub database: String,
    pub user: String,
    pub password: String,
}

/// What a client program did.
#[derive(Debug)]
pub struct Run {
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Endpoint {
    /// The superuser's view of a database.
    pub fn new(address: SocketAddr, database: &str) -> Self {
        let [database, user, password] = [database, SUPERUSER, PASSWORD].map(str::to_owned);
        Self { address, database, user, password }
    }

    /// The same place for another user.
    pub fn with_user(mut self, user: &str, password: &str) -> Self {
        (self.user, self.password) = (user.to_owned(), password.to_owned());
        self
    }

    /// A client program of PostgreSQL's that connects here.
    pub fn command(&self, program: &str) -> Command {
        let mut command = installation().command(program);
        command.env("PGHOST", self.address.ip().to_string()).env("PGPORT", self.address.port().to_string());
        command.env("PGUSER", &self.user).env("PGPASSWORD", &self.password).env("PGDATABASE", &self.database);
        command.env("PGCONNECT_TIMEOUT", "20").env("PSQL_HISTORY", "/dev/null").env("LC_ALL", "C.UTF-8");
        command
    }

    /// Runs a script of `tests/drivers` with the Python that `make setup` made; it must succeed. `more` is
    /// what it finds in its environment beside the way to here.
    pub fn drive(&self, script: &str, more: &[(&str, &str)]) {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let python = root.join(".venv/bin/python");
        assert!(python.exists(), "{} is missing: run make setup", python.display());
        let mut command = Command::new(python);
        command.arg(root.join("tests/drivers").join(script));
        command.env("PGHOST", self.address.ip().to_string()).env("PGPORT", self.address.port().to_string());
        command.env("PGUSER", &self.user).env("PGPASSWORD", &self.password).env("PGDATABASE", &self.database);
        command.envs(more.iter().copied());
        let run = Run::of(command.output().expect("Python runs"));
        assert!(run.status == 0, "{}{}", run.stdout, run.stderr);
    }

    /// Runs psql with these arguments; `-X` is given.
    pub fn psql(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Run {
        Run::of(self.command("psql").arg("-X").args(arguments).output().expect("psql runs"))
    }

    /// Feeds a script to psql, which prints unaligned tuples and stops at the first error.
    pub fn script(&self, text: &str) -> Run {
        let mut command = self.command("psql");
        command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"]);
        let mut psql =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("psql");
        let mut stdin = psql.stdin.take().expect("stdin is piped");
        // psql may stop reading after an error; its output says which.
        let _ = stdin.write_all(text.as_bytes());
        drop(stdin);
        Run::of(psql.wait_with_output().expect("psql ends"))
    }

    /// Runs SQL that must succeed; gives psql's output, unaligned and without headers.
    pub fn execute(&self, sql: &str) -> String {
        let run = self.script(sql);
        assert_eq!(run.status, 0, "{sql}\n{}", run.stderr);
        run.stdout
    }

    /// The single value that a query gives.
    pub fn value(&self, query: &str) -> String {
        self.execute(query).trim_end_matches('\n').to_owned()
    }

    /// Waits until a query gives a value, but not longer than `limit`.
    pub fn await_value(&self, query: &str, expected: &str, limit: Duration) {
        let deadline = Instant::now() + limit;
        loop {
            let value = self.value(query);
            if value == expected {
                return;
            }
            assert!(Instant::now() < deadline, "{query} does not become {expected:?}, but is {value:?}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Runs pgbench.
    pub fn pgbench(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Run {
        Run::of(self.command("pgbench").args(arguments).output().expect("pgbench runs"))
    }

    /// Connects with tokio-postgres; the connection's task ends with the client.
    pub async fn connect(&self) -> Result<Client, tokio_postgres::Error> {
        let mut config = Config::new();
        config.host(self.address.ip().to_string()).port(self.address.port());
        config.user(&self.user).password(&self.password).dbname(&self.database);
        let (client, connection) = config.connect(NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    /// Connects a client that sends and receives single messages, and logs in.
    pub fn raw(&self) -> RawClient {
        let mut client = RawClient::connect(self.address);
        client.log_in(&self.user, &self.password, &self.database);
        client
    }
}

impl Run {
    /// From what a process left behind.
    pub fn of(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self { status: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}
