//! Shard maps that change while Weir runs: by commands on the console, by another Weir, by a restored dump.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use super::answer::{ask, story};
use super::keyspaces::Three;
use crate::harness::{Database, Endpoint, RawClient, Setup, Weir, endpoint_of, fresh_dir, servers, unique};

fn empty() -> Three {
    Three::with(Setup::new(), Database::new("shop").option("sharded = true"))
}

/// Runs a command on the console that must succeed.
fn operate(console: &mut RawClient, sql: &str) {
    let answer = ask(console, sql);
    assert_eq!(answer.error, None, "{sql}");
}

/// What an error says, in one text.
fn refused(client: &mut RawClient, sql: &str) -> String {
    let error = ask(client, sql).error.unwrap_or_else(|| panic!("{sql} succeeded"));
    format!("{} {} {} {}", error.sqlstate, error.message, error.detail, error.hint)
}

#[test]
fn a_map_is_made_on_the_console_and_followed_at_once() {
    let mut three = empty();
    let mut console = three.console();
    // A session that was there before sees every change, and so does one of another worker.
    three.both("CREATE TABLE notes (id int PRIMARY KEY)");
    for command in [
        "CREATE KEYSPACE customer HASH (int8) BUCKETS 64",
        "CREATE KEYSPACE tenant DIRECTORY (text) VALUES ('acme') ON two",
        "ALTER TABLE customers SHARD BY (id) IN customer",
        "ALTER TABLE orders SHARD BY (customer) IN customer FOR DATABASE shop",
        "ALTER TABLE tasks SHARD BY (tenant) IN tenant",
        "ALTER TABLE products SET REFERENCE",
        "ALTER TABLE settings SET SHARD three",
    ] {
        operate(&mut console, command);
    }
    three.both("CREATE TABLE products (id int PRIMARY KEY)");
    three.both("CREATE TABLE customers (id int8 PRIMARY KEY, name text)");
    three.both("CREATE TABLE orders (customer int8 REFERENCES customers, no int, PRIMARY KEY (customer, no))");
    three.both("CREATE TABLE tasks (tenant text PRIMARY KEY)");
    three.both("CREATE TABLE settings (name text PRIMARY KEY)");
    three.both("INSERT INTO products VALUES (1), (2)");
    three.both("INSERT INTO settings VALUES ('a')");
    for id in 1..=12 {
        three.both(&format!("INSERT INTO customers VALUES ({id}, 'c{id}')"));
        three.both(&format!("INSERT INTO orders VALUES ({id}, 1), ({id}, 2)"));
    }
    assert!(refused(&mut three.sharded, "INSERT INTO tasks VALUES ('globex')").contains("22023"));
    operate(&mut console, "ALTER KEYSPACE tenant ADD VALUE 'globex' ON three");
    three.both("INSERT INTO tasks VALUES ('globex')");
    three.both("SELECT c.name, o.no FROM customers c JOIN orders o ON o.customer = c.id WHERE c.id = 7");
    three.both("SELECT count(*) FROM orders");
    assert_eq!(three.counts("products"), ["2", "2", "2"]);
    assert_eq!(three.shard(2).value("SELECT count(*) FROM settings, tasks"), "1");
    let spread = three.counts("customers");
    assert!(spread.iter().all(|count| count != "0"), "{spread:?}");

    let tables = ask(&mut console, "SHOW TABLES").brief();
    assert!(tables.contains("shop|public|orders|sharded|customer|customer|NULL"), "{tables}");
    assert!(tables.contains("shop|public|settings|single|NULL|NULL|three"), "{tables}");
    let keyspaces = ask(&mut console, "SHOW KEYSPACES").brief();
    let bucket = "(hash_record_extended(ROW(\"key1\"), 0) & 63)";
    assert!(keyspaces.contains(&format!("shop|customer|hash|int8|refuse|one, two, three|2|{bucket}")), "{keyspaces}");
    let map = ask(&mut console, "SHOW SHARD MAP").brief();
    assert!(map.contains("|customer|buckets 0 to 21|one|NULL"), "{map}");
    assert!(map.contains("|tenant|value globex|three|NULL"), "{map}");
    assert_eq!(three.route("SELECT * FROM tasks WHERE tenant = 'globex'"), "three");

    // All of it is there after a crash.
    let (dir, setup) = (three.weir.dir().to_owned(), three.setup.clone());
    three.weir.signal(libc::SIGKILL);
    let again = Weir::start_in(&dir, &setup);
    assert_eq!(again.endpoint("shop").value("SELECT name FROM customers WHERE id = 5"), "c5");
    assert_eq!(again.endpoint("shop").value("SELECT tenant FROM tasks WHERE tenant = 'globex'"), "globex");
}

#[test]
fn the_console_refuses_what_would_not_be_true() {
    let mut three = empty();
    let mut console = three.console();
    operate(&mut console, "CREATE KEYSPACE customer HASH (int8)");
    three.both("CREATE TABLE accounts (id int8 PRIMARY KEY, mail text UNIQUE)");
    let cases = [
        ("ALTER TABLE accounts SHARD BY (id) IN customer", "unique constraint accounts_mail_key lacks the shard key"),
        ("ALTER TABLE accounts SHARD BY (mail) IN customer", "column mail has type text, the keyspace says int8"),
        ("ALTER TABLE accounts SHARD BY (nix) IN customer", "column nix does not exist"),
        ("ALTER TABLE accounts SHARD BY (id) IN customer", "shard two: table public.accounts: it does not exist"),
        ("ALTER TABLE accounts SET REFERENCE", "shard three: table public.accounts: it does not exist"),
        ("ALTER TABLE accounts SHARD BY (id) IN nix", "names the unknown keyspace nix"),
        ("CREATE KEYSPACE customer HASH (int8)", "keyspace customer is given twice"),
        ("CREATE KEYSPACE k HASH (int8) ON (four)", "there is no shard four"),
        ("ALTER TABLE accounts SHARD (id)", "42601 expected SHARD BY"),
        ("DROP KEYSPACE customer FOR DATABASE nix", "3D000 there is no sharded database nix"),
        ("ALTER DATABASE shop ADD SHARD two", "takes part already"),
        ("EXPLAIN ROUTE SELEC 1", "syntax error"),
    ];
    for (command, words) in cases {
        let error = refused(&mut console, command);
        assert!(error.contains(words), "{command}: {error}");
    }

    // Rows that would be lost from sight.
    for shard in 0..3 {
        three.shard(shard).execute("CREATE TABLE numbers (id int8 PRIMARY KEY); INSERT INTO numbers VALUES (1), (2)");
    }
    let error = refused(&mut console, "ALTER TABLE numbers SHARD BY (id) IN customer");
    assert!(error.contains("it has rows that would belong to another shard"), "{error}");
    operate(&mut console, "ALTER TABLE numbers SET REFERENCE");
    three.shard(1).execute("UPDATE numbers SET id = 3 WHERE id = 2");
    let error = refused(&mut console, "ALTER TABLE numbers SET REFERENCE");
    assert!(error.contains("shard two: table public.numbers: its rows are not those of the home shard"), "{error}");

    // Code that could change a key; the same on all shards.
    for shard in 0..3 {
        three.shard(shard).execute(
            "CREATE TABLE guarded (id int8 PRIMARY KEY, parent int8 REFERENCES guarded ON UPDATE CASCADE);
             CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.id = 1; RETURN NEW; END';
             CREATE TRIGGER t BEFORE INSERT ON guarded FOR EACH ROW EXECUTE FUNCTION f();
             CREATE RULE r AS ON DELETE TO guarded DO INSTEAD NOTHING;
             CREATE TABLE open (id int8 GENERATED ALWAYS AS (1) STORED);
             CREATE TABLE hidden (id int8); ALTER TABLE hidden ENABLE ROW LEVEL SECURITY;
             CREATE POLICY p ON hidden USING (true)",
        );
    }
    let error = refused(&mut console, "ALTER TABLE guarded SHARD BY (id) IN customer");
    for words in ["BEFORE ROW trigger t", "rule r rewrites", "foreign key guarded_parent_fkey leads to"] {
        assert!(error.contains(words), "{words}: {error}");
    }
    assert!(refused(&mut console, "ALTER TABLE open SHARD BY (id) IN customer").contains("column id is generated"));
    let notices = three.weir.endpoint("weir").psql(["-c", "ALTER TABLE hidden SHARD BY (id) IN customer"]).stderr;
    for words in ["row level security (p)", "replica identity lacks the shard key"] {
        assert!(notices.contains(words), "{notices}");
    }
}

#[test]
fn the_map_is_dumped_and_restored() {
    let three = empty();
    let mut console = three.console();
    operate(&mut console, "CREATE KEYSPACE tenant DIRECTORY (text) VALUES ('it''s', 'b') ON two");
    let catalog = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        let config = three.weir.dir().join("weir.toml");
        let output = command.arg("catalog").args(arguments).arg("--config").arg(config).output().expect("weir runs");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        (output.status.success(), text(output.stdout) + &text(output.stderr))
    };
    let (ok, dump) = catalog(&["dump"]);
    assert!(ok && dump.contains("it's"), "{dump}");
    operate(&mut console, "DROP KEYSPACE tenant");
    operate(&mut console, "CREATE KEYSPACE other HASH (int8)");
    assert_eq!(ask(&mut console, "SHOW KEYSPACES").rows.len(), 1);

    let file = three.weir.dir().join("dump.toml");
    std::fs::write(&file, &dump).expect("the directory is ours");
    let (ok, told) = catalog(&["restore", file.to_str().expect("a path")]);
    assert!(ok && told.contains("restored the shard map of shop"), "{told}");
    // The running Weir follows.
    await_answer(&three.weir.endpoint("weir"), "SHOW KEYSPACES", "tenant|directory");
    let map = ask(&mut console, "SHOW SHARD MAP").brief();
    assert!(map.contains("value it's|two"), "{map}");

    std::fs::write(&file, "version = 1\nnonsense = 1").expect("the directory is ours");
    let (ok, told) = catalog(&["restore", file.to_str().expect("a path")]);
    assert!(!ok && told.contains("this is no dump of a catalog"), "{told}");
    let broken = dump.replace("directory", "dirctory");
    std::fs::write(&file, broken).expect("the directory is ours");
    let (ok, told) = catalog(&["restore", file.to_str().expect("a path")]);
    assert!(!ok && told.contains("unknown value"), "{told}");
    assert!(ask(&mut console, "SHOW KEYSPACES").brief().contains("tenant"));
}

/// Waits until a query's answer holds the words.
fn await_answer(endpoint: &Endpoint, query: &str, words: &str) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let answer = endpoint.execute(query);
        if answer.contains(words) {
            return;
        }
        assert!(Instant::now() < deadline, "{query}: {answer}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn weirs_of_a_fleet_share_one_catalog() {
    let name = unique("catalog");
    let reference = &servers().reference;
    endpoint_of(reference, "postgres").execute(&format!("CREATE DATABASE {name}"));
    let url = format!("catalog = \"postgres://weir:weir@{}/{name}\"", reference.address());
    let mut three = Three::with(Setup::new().weir(&url), Database::new("shop").option("sharded = true"));
    let mut console = three.console();
    operate(
        &mut console,
        "CREATE KEYSPACE tenant DIRECTORY (text) VALUES ('acme') ON two UNKNOWN ASSIGN ON (one, three)",
    );
    operate(&mut console, "ALTER TABLE tasks SHARD BY (tenant) IN tenant");
    three.both("CREATE TABLE tasks (tenant text, id int, PRIMARY KEY (tenant, id))");
    // A Weir reads columns when it starts, at a new epoch, and after DDL that came through it.
    let other = Weir::start_in(&fresh_dir("fleet"), &three.setup);
    let mut client = other.endpoint("shop").raw();

    // A tenant that one Weir has assigned is found by the other at once, and nobody assigns it again.
    for id in 0..8 {
        let (one, two) = (format!("a{id}"), format!("b{id}"));
        three.both(&format!("INSERT INTO tasks VALUES ('{one}', 1)"));
        story(&mut client, &[(&format!("SELECT id FROM tasks WHERE tenant = '{one}'"), "1")]);
        story(&mut client, &[(&format!("INSERT INTO tasks VALUES ('{one}', 2)"), "INSERT 0 1")]);
        story(&mut client, &[(&format!("INSERT INTO tasks VALUES ('{two}', 1)"), "INSERT 0 1")]);
        story(&mut three.sharded, &[(&format!("SELECT id FROM tasks WHERE tenant = '{two}'"), "1")]);
    }
    story(&mut three.sharded, &[("SELECT count(*) FROM tasks", "24")]);
    story(&mut client, &[("SELECT count(*) FROM tasks", "24")]);
    let entries = endpoint_of(reference, &name).value("SELECT count(*) FROM directory_entry");
    assert_eq!(entries, "17");

    // Two operators at once: both changes are there, or the second is told.
    let mut second = other.endpoint("weir").raw();
    operate(&mut console, "CREATE KEYSPACE x HASH (int8)");
    operate(&mut second, "CREATE KEYSPACE y HASH (int8)");
    await_answer(&three.weir.endpoint("weir"), "SHOW KEYSPACES", "|y|hash");
    assert!(ask(&mut console, "SHOW KEYSPACES").brief().contains("|x|hash"));
}

#[test]
fn an_entry_leaves_its_directory_when_nothing_has_its_key() {
    let mut three = empty();
    let mut console = three.console();
    for command in [
        "CREATE KEYSPACE tenant DIRECTORY (text, int4) VALUES (('acme', 1), ('it''s', 2)) ON two UNKNOWN ASSIGN ON (three)",
        "CREATE KEYSPACE space DIRECTORY SCHEMA VALUES ('old') ON two",
        "ALTER TABLE tasks SHARD BY (tenant, part) IN tenant",
        "ALTER TABLE notes SHARD BY (tenant, part) IN tenant",
    ] {
        operate(&mut console, command);
    }
    three.both("CREATE TABLE tasks (tenant varchar(20), part int, id int, PRIMARY KEY (tenant, part, id))");
    three.both("CREATE TABLE notes (tenant text, part int, text text)");
    three.both("INSERT INTO tasks VALUES ('acme', 1, 1)");
    three.both("INSERT INTO notes VALUES ('it''s', 2, 'x')");
    let entries = |three: &Three| ask(&mut three.console(), "SHOW SHARD MAP").brief();
    for (command, words) in [
        ("ALTER KEYSPACE tenant DROP VALUE ('acme', 1)", "table public.tasks has rows"),
        ("ALTER KEYSPACE tenant RENAME VALUE ('it''s', 2) TO ('its', 2)", "table public.notes has rows"),
        ("ALTER KEYSPACE tenant DROP VALUE ('nobody', 1)", "has no entry"),
    ] {
        let error = refused(&mut console, command);
        assert!(error.contains(words), "{command}: {error}");
    }
    three.both("DELETE FROM tasks WHERE tenant = 'acme' AND part = 1");
    three.both("DELETE FROM notes WHERE tenant = 'it''s' AND part = 2");
    operate(&mut console, "ALTER KEYSPACE tenant RENAME VALUE ('it''s', 2) TO ('its', 3)");
    operate(&mut console, "ALTER KEYSPACE tenant DROP VALUE ('acme', 1)");
    assert!(!entries(&three).contains("acme") && entries(&three).contains("its"), "{}", entries(&three));
    // The old key is new again, and the renamed one is where the entry was.
    three.both("INSERT INTO tasks VALUES ('acme', 1, 1)");
    three.both("INSERT INTO tasks VALUES ('its', 3, 1)");
    assert_eq!(three.counts("tasks"), ["0", "1", "1"]);

    let mut writer = three.weir.endpoint("shop").raw();
    story(&mut writer, &[("BEGIN", "BEGIN"), ("INSERT INTO notes VALUES ('its', 3, 'late')", "INSERT 0 1")]);
    three.both("DELETE FROM tasks WHERE tenant = 'its' AND part = 3");
    let waiting = thread::spawn({
        let mut console = three.console();
        move || refused(&mut console, "ALTER KEYSPACE tenant DROP VALUE ('its', 3)")
    });
    // The search waits for the writer, and finds its row.
    let locks = "SELECT count(*) FROM pg_locks WHERE NOT granted AND database = \
                 (SELECT oid FROM pg_database WHERE datname = current_database())";
    await_answer(&three.shard(1), locks, "1");
    story(&mut writer, &[("COMMIT", "COMMIT")]);
    let error = waiting.join().expect("an answer");
    assert!(error.contains("table public.notes has rows"), "{error}");
    assert!(entries(&three).contains("its"));

    three.both("CREATE SCHEMA old");
    three.both("CREATE TABLE old.t (id int)");
    let error = refused(&mut console, "ALTER KEYSPACE space DROP VALUE 'old'");
    assert!(error.contains("schema old has relations"), "{error}");
    three.both("DROP TABLE old.t");
    operate(&mut console, "ALTER KEYSPACE space RENAME VALUE 'old' TO 'new'");
    assert!(entries(&three).contains("new"));
}

#[test]
fn a_weir_learns_that_another_one_changed_the_schema() {
    let name = unique("catalog");
    let reference = &servers().reference;
    endpoint_of(reference, "postgres").execute(&format!("CREATE DATABASE {name}"));
    let url = format!("catalog = \"postgres://weir:weir@{}/{name}\"", reference.address());
    let mut three = Three::with(Setup::new().weir(&url), Database::new("shop").option("sharded = true"));
    let mut console = three.console();
    operate(&mut console, "CREATE KEYSPACE customer HASH (int8)");
    operate(&mut console, "ALTER TABLE customers SHARD BY (id) IN customer");
    let other = Weir::start_in(&fresh_dir("fleet"), &three.setup);
    let shop = other.endpoint("shop");
    assert_eq!(shop.value("SELECT 'it serves'"), "it serves");
    three.both("CREATE TABLE customers (name text, id int8 PRIMARY KEY)");
    // Without its columns the other one could not tell the key.
    let insert = "INSERT INTO customers VALUES ('a', 1) ON CONFLICT DO NOTHING RETURNING 'taken'";
    await_success(&shop, insert);
    three.both("CREATE FUNCTION noted() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'");
    three.both("CREATE TRIGGER noted AFTER INSERT ON customers EXECUTE FUNCTION noted()");
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut client = shop.raw();
    // What it takes for harmless until then is refused when it knows of the trigger.
    while ask(&mut client, "INSERT INTO customers VALUES ('b', 2) ON CONFLICT DO NOTHING").sqlstate() != Some("0A000") {
        assert!(Instant::now() < deadline);
        thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until a statement succeeds.
fn await_success(endpoint: &Endpoint, sql: &str) {
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut client = endpoint.raw();
    while let Some(error) = ask(&mut client, sql).error {
        assert!(Instant::now() < deadline, "{sql}: {error:?}");
        thread::sleep(Duration::from_millis(20));
    }
}
