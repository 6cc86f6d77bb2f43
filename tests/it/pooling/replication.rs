//! Replication connections: PostgreSQL's own programs stream through Weir.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use weir::cli::cluster::{PASSWORD, SUPERUSER};
use weir::wire::backend::tag;
use weir::wire::{frontend, startup};

use super::cancel::{SLEEP, SLEEPING, cancel, key};
use super::{Front, eventually, rows, sqlstate, tags};
use crate::harness::{Database, Endpoint, Message, RawClient, Run, Setup, Weir, fresh_dir, servers, unique};

/// A raw client that has sent a StartupMessage for replication.
fn ask(endpoint: &Endpoint, user: &str, replication: &str) -> RawClient {
    let mut client = RawClient::connect(endpoint.address);
    let parameters = [
        ("user", user),
        ("database", &endpoint.database),
        ("application_name", "the walreceiver"),
        ("replication", replication),
    ];
    client.send_with(|out| startup::startup_message(out, parameters));
    client
}

/// The same, logged in.
fn connect(endpoint: &Endpoint, replication: &str) -> RawClient {
    let mut client = ask(endpoint, SUPERUSER, replication);
    client.finish_login(PASSWORD);
    client
}

/// The error that a login ends with.
fn refusal(endpoint: &Endpoint, user: &str, replication: &str) -> Message {
    let mut client = ask(endpoint, user, replication);
    let error = client.try_authenticate(PASSWORD).err().unwrap_or_else(|| client.next().expect("an error"));
    assert_eq!(error.tag, tag::ERROR_RESPONSE, "{error:?}");
    error
}

/// Runs a program to its end.
fn run(mut command: Command) -> Run {
    Run::of(command.stdin(Stdio::null()).output().expect("the program runs"))
}

fn succeeds(command: Command) -> String {
    let shown = format!("{command:?}");
    let done = run(command);
    assert_eq!(done.status, 0, "{shown}\n{}", done.stderr);
    done.stdout
}

fn with_arguments(mut command: Command, arguments: &[&str]) -> Command {
    command.args(arguments);
    command
}

/// A directory that PostgreSQL's programs may write to: they do not run as root.
fn open_dir(stem: &str) -> PathBuf {
    let dir = fresh_dir(stem);
    fs::create_dir(&dir).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o777)).unwrap();
    dir
}

/// A slot on the shared server; dropped with the guard.
struct Slot<'f> {
    front: &'f Front,
    name: String,
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        let sql = format!(
            "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = '{0}' AND active; \
             SELECT pg_sleep(0.2); SELECT pg_drop_replication_slot('{0}')",
            self.name
        );
        let _gone_already = self.front.direct.script(&sql);
    }
}

fn slot<'f>(front: &'f Front) -> Slot<'f> {
    Slot { front, name: unique("slot") }
}

#[test]
fn pg_recvlogical_streams_what_is_written() {
    let front = Front::new(1);
    front.app.execute("CREATE TABLE t (n int PRIMARY KEY)");
    let slot = slot(&front);
    let recvlogical = |more: &[&str]| {
        let command = front.app.command("pg_recvlogical");
        with_arguments(command, &[&["-d", "app", "-S", slot.name.as_str()], more].concat())
    };
    succeeds(recvlogical(&["--create-slot", "-P", "test_decoding"]));
    // The pool's only server stays free for others while the slot is streamed.
    let dir = open_dir("recvlogical");
    let file = dir.join("changes");
    let path = file.to_str().unwrap();
    let mut streaming = recvlogical(&["--start", "-f", path, "-o", "skip-empty-xacts=1", "-s", "1"]);
    let mut streaming = streaming.current_dir(&dir).stdin(Stdio::null()).spawn().unwrap();
    eventually("the slot is streamed", || {
        front.direct.value(&format!("SELECT active FROM pg_replication_slots WHERE slot_name = '{}'", slot.name)) == "t"
    });
    assert_eq!(front.shown("SHOW CLIENTS", "replication").iter().filter(|kind| *kind == "logical").count(), 1);
    assert_eq!(front.shown("SHOW SERVERS", "replication").iter().filter(|kind| *kind == "logical").count(), 1);
    front.app.execute("INSERT INTO t SELECT generate_series(1, 1000)");
    let changes = || fs::read_to_string(&file).unwrap_or_default();
    eventually("the changes arrive", || changes().matches("INSERT").count() == 1000);
    assert!(changes().contains("table public.t: INSERT: n[integer]:1000"));
    streaming.kill().unwrap();
    streaming.wait().unwrap();
    eventually("the server has let go", || {
        front.direct.value(&format!("SELECT active FROM pg_replication_slots WHERE slot_name = '{}'", slot.name)) == "f"
    });
    eventually("Weir has, too", || !front.shown("SHOW CLIENTS", "replication").iter().any(|kind| kind == "logical"));
    succeeds(recvlogical(&["--drop-slot"]));
}

#[test]
fn pg_basebackup_takes_a_backup() {
    let front = Front::new(1);
    let dir = open_dir("basebackup").join("data");
    let path = dir.to_str().unwrap();
    let backup = front.app.command("pg_basebackup");
    succeeds(with_arguments(backup, &["-D", path, "-X", "stream", "-c", "fast", "--no-sync"]));
    succeeds(with_arguments(front.app.command("pg_verifybackup"), &[path]));
}

#[test]
fn pg_receivewal_receives_wal() {
    let front = Front::new(1);
    let dir = open_dir("receivewal");
    let path = dir.to_str().unwrap();
    let slot = slot(&front);
    front.direct.execute(&format!("SELECT pg_create_physical_replication_slot('{}', true)", slot.name));
    front.app.execute("CREATE TABLE received ()");
    let end = front.direct.value("SELECT pg_current_wal_lsn()");
    let segment = front.direct.value(&format!("SELECT pg_walfile_name('{end}')"));
    front.app.execute("CREATE TABLE beyond ()");
    let receive = front.app.command("pg_receivewal");
    let arguments = ["-S", &slot.name, "-D", path, "--endpos", &end, "--no-loop", "-s", "1", "--no-sync"];
    succeeds(with_arguments(receive, &arguments));
    let received = [segment.clone(), format!("{segment}.partial")].map(|name| dir.join(name)).map(|file| file.exists());
    assert_ne!(received, [false, false], "{segment} is not there");
}

#[test]
fn what_the_server_says_passes_as_it_is() {
    let front = Front::new(1);
    let queries =
        ["SHOW wal_level", "SELECT 1, 'two'", "CREATE TABLE r (n int); INSERT INTO r VALUES (1)", "SELECT 1/0"];
    let told = |endpoint: &Endpoint| {
        let mut client = connect(endpoint, "database");
        let mut all: Vec<Vec<Message>> = queries.iter().map(|sql| client.query(sql)).collect();
        client.run("DROP TABLE r");
        // The extended protocol is no part of it.
        client.send_with(|out| frontend::parse(out, b"", &frontend::definition("SELECT 1", &[])));
        all.push(vec![client.expect(tag::ERROR_RESPONSE)]);
        all
    };
    assert_eq!(told(&front.app), told(&front.direct));
    let mut physical = connect(&front.app, "true");
    let system = rows(&physical.query("IDENTIFY_SYSTEM"));
    let identifier = front.direct.value("SELECT system_identifier FROM pg_control_system()");
    assert!(system[0].starts_with(&identifier), "{system:?}");
    assert_eq!(sqlstate(&physical.query("SELECT 1")).as_deref(), Some("0A000"), "no database, no SQL");
    assert_eq!(front.sessions("application_name = 'the walreceiver'"), 0, "a physical one has no database");
}

#[test]
fn what_cannot_be_replicated_is_refused_with_the_reason() {
    let user = unique("nobody");
    let front = Front::with(1, |setup| {
        setup.user(&format!("name = {user:?}\npassword = {PASSWORD:?}")).user("name = \"unknown\"\npassword = \"weir\"")
    });
    front.direct.execute(&format!("CREATE ROLE {user} LOGIN PASSWORD '{PASSWORD}'"));
    let told = |error: &Message| [b'V', b'C', b'M', b'H'].map(|code| error.field(code));
    for replication in ["database", "true", "maybe"] {
        let (weir, direct) = (refusal(&front.app, &user, replication), refusal(&front.direct, &user, replication));
        assert_eq!(told(&weir), told(&direct), "{replication}");
    }
    assert_eq!(refusal(&front.app, &user, "database").field(b'C').as_deref(), Some("42501"));
    let nowhere = Endpoint { database: "nowhere".to_owned(), ..front.app.clone() };
    assert_eq!(refusal(&nowhere, SUPERUSER, "database").field(b'C').as_deref(), Some("3D000"));
    // The server does not know this user: its words could name hosts, and stay in the log.
    let error = refusal(&front.app, "unknown", "true");
    assert_eq!(error.field(b'C').as_deref(), Some("28P01"));
    assert_eq!(error.field(b'M').as_deref(), Some("a server of shard 0 refused the login"));
    front.direct.execute(&format!("DROP ROLE {user}"));
}

#[test]
fn a_physical_connection_needs_one_server() {
    let primaries = servers().shop.each_ref().map(|shard| &shard.primary);
    let setup = Setup::new();
    let setup = setup.database(Database::new("one").nodes("main", primaries[0], &[], "postgres"));
    let setup = setup.database(Database::new("two").nodes("main", primaries[1], &[], "postgres"));
    let weir = Weir::start(&setup);
    let error = refusal(&weir.endpoint("replication"), SUPERUSER, "true");
    assert_eq!(error.field(b'C').as_deref(), Some("3D000"));
    assert!(error.field(b'D').unwrap().contains("on several servers"));
    for (name, primary) in [("one", primaries[0]), ("two", primaries[1])] {
        let identifier =
            Endpoint::new(primary.address(), "postgres").value("SELECT system_identifier FROM pg_control_system()");
        let mut client = connect(&weir.endpoint(name), "true");
        assert!(rows(&client.query("IDENTIFY_SYSTEM"))[0].starts_with(&identifier), "{name}");
    }
}

#[test]
fn no_more_than_max_wal_senders_connect() {
    let name = unique("app");
    let primary = &servers().app.primary;
    Endpoint::new(primary.address(), "postgres").execute(&format!("CREATE DATABASE {name}"));
    let database = Database::new("app").option("pool_size = 1\nmax_wal_senders = 1").nodes("main", primary, &[], &name);
    let weir = Weir::start(&Setup::new().database(database));
    let app = weir.endpoint("app");
    let first = connect(&app, "database");
    let error = refusal(&app, SUPERUSER, "database");
    assert_eq!(error.field(b'C').as_deref(), Some("53300"));
    let text = "number of requested standby connections exceeds max_wal_senders (currently 1)";
    assert_eq!(error.field(b'M').as_deref(), Some(text));
    assert_eq!(app.value("SELECT 'others are served'"), "others are served");
    drop(first);
    eventually("the place is free", || ask(&app, SUPERUSER, "database").try_authenticate(PASSWORD).is_ok());
}

#[test]
fn a_query_of_a_replication_connection_is_canceled() {
    let front = Front::new(1);
    let mut client = connect(&front.app, "database");
    client.send_with(|out| frontend::query(out, SLEEP));
    eventually("it sleeps", || {
        front.direct.value(&format!("SELECT count(*) FROM pg_stat_activity WHERE {SLEEPING} AND datname = current_database() AND backend_type = 'walsender'")) == "1"
    });
    cancel(&front.app, &key(&client));
    assert_eq!(sqlstate(&client.until_ready()).as_deref(), Some("57014"));
    assert_eq!(rows(&client.query("SELECT 1")), ["1"]);
}

#[test]
fn the_end_of_either_side_is_the_end_of_the_other() {
    let front = Front::new(1);
    let senders = || {
        let mut observer = front.direct.clone();
        observer.database = "postgres".to_owned();
        let database = &front.direct.database;
        observer.value(&format!(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}' AND backend_type = 'walsender'"
        ))
    };
    let mut ended = connect(&front.app, "database");
    front.direct.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'walsender' AND datname = current_database()");
    let messages = ended.until_end();
    assert_eq!((tags(&messages).as_str(), sqlstate(&messages).as_deref()), ("E", Some("57P01")));
    let leaving = connect(&front.app, "database");
    assert_eq!(senders(), "1");
    drop(leaving);
    eventually("the server's side has ended", || senders() == "0");
    let mut stopped = connect(&front.app, "database");
    assert!(front.weir.stop().success());
    let messages = stopped.until_end();
    assert_eq!((tags(&messages).as_str(), sqlstate(&messages).as_deref()), ("E", Some("57P01")));
}
