//! The unsharded path: real clients, Weir, and one PostgreSQL server behind it. One file per theme.

mod cancel;
mod columns;
mod copy;
mod drivers;
mod extended;
mod faults;
mod kills;
mod large;
mod leave;
mod listen;
mod load;
mod login;
mod memory;
mod peers;
mod pins;
mod protocol;
mod psql;
mod replication;
mod schema;
mod settings;
mod shutdown;
mod sql_prepare;
mod state;
mod statements;
mod twins;
mod wire;

use std::thread;
use std::time::{Duration, Instant};

use weir::cli::cluster::Node;
use weir::wire::backend::{read_data_row, tag};

use crate::harness::{Database, Endpoint, Message, RawClient, Setup, Weir, endpoint_of, servers, unique};

/// Against hangs only: nothing here is expected to take even a tenth of it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A Weir of a test's own in front of one database.
struct Front {
    weir: Weir,
    /// The database through Weir.
    app: Endpoint,
    /// The same database without Weir.
    direct: Endpoint,
}

impl Front {
    /// Weir with that many servers for a new database of the shared server.
    fn new(pool_size: usize) -> Self {
        Self::with(pool_size, |setup| setup)
    }

    /// The same with more configuration.
    fn with(pool_size: usize, more: impl FnOnce(Setup) -> Setup) -> Self {
        let name = unique("app");
        let primary = &servers().app.primary;
        endpoint_of(primary, "postgres").execute(&format!("CREATE DATABASE {name}"));
        Self::before(primary, &name, pool_size, more)
    }

    /// The same with one more line about the database.
    fn with_option(pool_size: usize, option: &str) -> Self {
        let name = unique("app");
        let primary = &servers().app.primary;
        endpoint_of(primary, "postgres").execute(&format!("CREATE DATABASE {name}"));
        let database = Database::new("app").option(option).option(&format!("pool_size = {pool_size}"));
        Self::serving(primary, &name, database, |setup| setup)
    }

    /// Weir in front of a database of any server.
    fn before(node: &Node, name: &str, pool_size: usize, more: impl FnOnce(Setup) -> Setup) -> Self {
        let database = Database::new("app").option(&format!("pool_size = {pool_size}"));
        Self::serving(node, name, database, more)
    }

    fn serving(node: &Node, name: &str, database: Database, more: impl FnOnce(Setup) -> Setup) -> Self {
        let database = database.nodes("main", node, &[], name);
        let setup = Setup::new().weir("admin_users = [\"weir\"]").database(database);
        let weir = Weir::start(&more(setup));
        let app = weir.endpoint("app");
        Self { weir, app, direct: endpoint_of(node, name) }
    }

    /// The number that a query about the sessions of the database gives; asked from elsewhere, and not counting Weir's own.
    fn sessions(&self, condition: &str) -> usize {
        self.count_sessions(&format!("application_name <> 'weir' AND ({condition})"))
    }

    /// The same of Weir's own sessions.
    fn sessions_of_weir(&self, condition: &str) -> usize {
        self.count_sessions(&format!("application_name = 'weir' AND ({condition})"))
    }

    fn count_sessions(&self, condition: &str) -> usize {
        let Endpoint { database, .. } = &self.direct;
        let mut observer = self.direct.clone();
        observer.database = "postgres".to_owned();
        let question = format!(
            "SELECT count(*) FROM pg_stat_activity \
             WHERE datname = '{database}' AND backend_type = 'client backend' AND {condition}"
        );
        observer.value(&question).parse().expect("a number")
    }

    /// A column of what the console shows about the database.
    fn shown(&self, command: &str, column: &str) -> Vec<String> {
        let console = Endpoint { database: "weir".to_owned(), ..self.app.clone() };
        let output = console.psql(["-A", "-P", "footer=off", "-c", command]).stdout;
        let mut lines = output.lines().map(|line| line.split('|').collect::<Vec<_>>());
        let header = lines.next().expect("a header");
        let place = |name: &str| header.iter().position(|column| *column == name).expect("a column");
        let (database, wanted) = (place("database"), place(column));
        lines.filter(|line| line[database] == "app").map(|line| line[wanted].to_owned()).collect()
    }

    /// Waits until that many sessions of the database meet the condition.
    fn await_sessions(&self, condition: &str, wanted: usize) {
        eventually(&format!("{wanted} sessions with {condition}"), || self.sessions(condition) == wanted);
    }
}

/// Looks again and again until `holds` is true.
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// The tags of messages as text, such as `TDCZ`.
fn tags(messages: &[Message]) -> String {
    messages.iter().map(|message| message.tag as char).collect()
}

/// The rows among messages, values joined with `|`, NULL as `-`.
fn rows(messages: &[Message]) -> Vec<String> {
    let rows = messages.iter().filter(|message| message.tag == tag::DATA_ROW);
    let text = |value: Option<&[u8]>| value.map_or("-".to_owned(), |text| String::from_utf8_lossy(text).into_owned());
    rows.map(|row| read_data_row(&row.body).unwrap().into_iter().map(text).collect::<Vec<_>>().join("|")).collect()
}

/// The SQLSTATE of the first ErrorResponse.
fn sqlstate(messages: &[Message]) -> Option<String> {
    messages.iter().find(|message| message.tag == tag::ERROR_RESPONSE)?.field(b'C')
}

/// The transaction status of the ReadyForQuery at the end.
fn status(messages: &[Message]) -> char {
    let ready = messages.last().expect("ReadyForQuery");
    assert_eq!(ready.tag, tag::READY_FOR_QUERY);
    ready.body[0] as char
}

impl RawClient {
    /// The single value of a query that must succeed.
    fn value(&mut self, sql: &str) -> String {
        let messages = self.query(sql);
        let rows = rows(&messages);
        assert_eq!((sqlstate(&messages), rows.len()), (None, 1), "{sql}: {messages:?}");
        rows[0].clone()
    }

    /// Runs SQL that must succeed.
    fn run(&mut self, sql: &str) {
        let messages = self.query(sql);
        assert_eq!(sqlstate(&messages), None, "{sql}: {messages:?}");
    }

    /// Runs SQL that must fail, and gives the SQLSTATE.
    fn failure(&mut self, sql: &str) -> String {
        let messages = self.query(sql);
        sqlstate(&messages).unwrap_or_else(|| panic!("{sql} succeeded: {messages:?}"))
    }

    /// The process that serves the client now.
    fn backend(&mut self) -> String {
        self.value("SELECT pg_backend_pid()")
    }
}
