//! What a session may ask of a sharded database besides statements: settings at login, formats, prepared statements; and
//! objects that Weir must not trust.

use weir::wire::backend::tag;
use weir::wire::frontend::{self, Target};

use super::answer::{Answer, answers, arguments, ask, extended, simple, story};
use super::shop::{Shop, must};
use crate::harness::{Endpoint, RawClient, Setup, endpoint_of, servers, unique};

const ALL: &str = "SELECT name FROM customers WHERE customer_id > $1 ORDER BY customer_id";

#[test]
fn settings_that_would_mislead_weir_are_refused_at_login() {
    let shop = Shop::small();
    let login = |name: &str, value: &str| {
        let mut psql = shop.endpoint().command("psql");
        psql.args(["-XAtc", "SELECT count(*) FROM customers"]).env(name, value);
        let output = psql.output().unwrap();
        (
            output.status.success(),
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr),
        )
    };
    for options in [
        "-c search_path=pg_catalog",
        "-c role=postgres",
        "--standard-conforming-strings=off",
        "-c DateStyle=SQL",
        "-c bytea_output=escape",
        "-c extra_float_digits=0",
        "-c default_transaction_isolation=serializable",
        "-c client_encoding=latin1",
    ] {
        let (success, said) = login("PGOPTIONS", options);
        assert!(!success && said.contains("sharded"), "{options}: {said}");
    }
    let (success, said) = login("PGCLIENTENCODING", "SJIS");
    assert!(!success && said.contains("client_encoding"), "{said}");
    for options in
        ["-c extra_float_digits=3", "-c DateStyle=ISO,DMY", "-c TimeZone=Asia/Tokyo", "-c statement_timeout=9s"]
    {
        assert_eq!(login("PGOPTIONS", options), (true, "4\n".to_owned()), "{options}");
    }
    assert_eq!(login("PGCLIENTENCODING", "UTF8"), (true, "4\n".to_owned()));
}

/// A database whose own settings mislead is refused like a client that asks for them.
#[test]
fn settings_of_the_database_itself_count_too() {
    let mut shop = Shop::small();
    shop.shard(0).execute(&format!("ALTER DATABASE {} SET datestyle = 'German'", shop.dbname));
    shop.restart();
    let refused = shop.endpoint().psql(["-c", "SELECT 1"]);
    assert!(refused.status != 0 && refused.stderr.contains("datestyle"), "{refused:?}");
    shop.shard(0).execute(&format!("ALTER DATABASE {} RESET datestyle", shop.dbname));
    shop.restart();
    assert_eq!(shop.endpoint().value("SELECT count(*) FROM customers"), "4");
}

#[test]
fn prepared_statements_run_over_several_shards() {
    let shop = Shop::small();
    let mut client = shop.client();
    client.send_with(|out| {
        frontend::parse(out, b"all", &frontend::definition(ALL, &[]));
        frontend::describe(out, Target::Statement(b"all"));
        frontend::sync(out);
    });
    let described = client.until_ready();
    let tags: Vec<u8> = described.iter().map(|message| message.tag).collect();
    assert_eq!(tags, [tag::PARSE_COMPLETE, tag::PARAMETER_DESCRIPTION, tag::ROW_DESCRIPTION, tag::READY_FOR_QUERY]);
    assert_eq!(described[1].body, [0, 1, 0, 0, 0, 20], "the key is an int8");
    for (from, expected) in [("0", "Ada,Ben,Cid,Dee"), ("1", "Ben,Cid,Dee"), ("11", "Dee"), ("40", "")] {
        let (answer, tags) = execute(&mut client, from, 0, 0);
        assert_eq!(answer.rows.iter().flatten().flatten().cloned().collect::<Vec<_>>().join(","), expected);
        assert_eq!(tags.first(), Some(&tag::BIND_COMPLETE));
        assert_eq!(tags.iter().filter(|tag| **tag == tag::ROW_DESCRIPTION).count(), 0, "nobody asked for it");
    }
    assert_eq!(execute(&mut client, "0", 1, 0).0.rows.len(), 4, "binary results");
    assert_eq!(execute(&mut client, "x", 0, 0).0.sqlstate(), Some("22P02"));
    assert_eq!(execute(&mut client, "11", 0, 0).0.rows.len(), 1);
    story(&mut client, &[("DEALLOCATE \"all\"", "DEALLOCATE")]);
    assert_eq!(execute(&mut client, "11", 0, 0).0.sqlstate(), Some("26000"));
}

/// Several statements before one Sync succeed or fail together, so they must need one shard.
#[test]
fn a_pipeline_runs_on_one_shard_or_not_at_all() {
    let shop = Shop::small();
    let mut client = shop.client();
    let rename = "UPDATE customers SET name = $2 WHERE customer_id = $1";
    let mut pipeline = |renames: &[(&str, &str)]| {
        client.send_with(|out| {
            frontend::parse(out, b"", &frontend::definition(rename, &[]));
            for (id, name) in renames {
                frontend::bind(out, b"", b"", &arguments(&[Some(id), Some(name)], 0));
                frontend::execute(out, b"", 0);
            }
            frontend::sync(out);
        });
        answers(&client.until_ready()).iter().map(Answer::brief).collect::<Vec<_>>()
    };
    assert_eq!(pipeline(&[("1", "Eva"), ("2", "Fay")]), ["UPDATE 1", "UPDATE 1"]);
    assert_eq!(pipeline(&[("1", "Gus"), ("11", "Hal")]), ["0A000"]);
    assert_eq!(pipeline(&[("11", "Hal")]), ["UPDATE 1"]);
    let names = "SELECT name FROM customers ORDER BY customer_id";
    story(&mut client, &[(names, "Eva,Fay,Hal,Dee")]);
}

#[test]
fn copy_gives_rows() {
    let shop = Shop::small();
    let copy = |sql: &str| shop.endpoint().psql(["-Atc", sql]);
    assert_eq!(copy("COPY (SELECT name FROM customers WHERE customer_id = 11) TO STDOUT").stdout, "Cid\n");
    assert_eq!(copy("COPY products (name) TO STDOUT").stdout, "pen\n");
    assert_eq!(copy("COPY customers (name) TO STDOUT").stdout, "Ada\nBen\nCid\nDee\n");
}

/// Binds and executes the prepared statement; gives the answer and the tags of all messages.
fn execute(client: &mut RawClient, from: &str, result_format: i16, max_rows: u32) -> (Answer, Vec<u8>) {
    client.send_with(|out| {
        frontend::bind(out, b"", b"all", &arguments(&[Some(from)], result_format));
        frontend::execute(out, b"", max_rows);
        frontend::sync(out);
    });
    let messages = client.until_ready();
    let mut answers = answers(&messages);
    assert_eq!(answers.len(), 1, "{messages:?}");
    (answers.remove(0), messages.iter().map(|message| message.tag).collect())
}

#[tokio::test]
async fn a_driver_that_wants_binary_results_is_served() {
    let shop = Shop::small();
    let client = shop.endpoint().connect().await.unwrap();
    let by_key = client.prepare("SELECT name, customer_id FROM customers WHERE customer_id = $1").await.unwrap();
    for (id, name) in [(1_i64, "Ada"), (11, "Cid"), (2, "Ben"), (12, "Dee")] {
        let row = client.query_one(&by_key, &[&id]).await.unwrap();
        assert_eq!((row.get::<_, &str>(0), row.get::<_, i64>(1)), (name, id));
    }
    for sql in ["SELECT name FROM customers", "SELECT name FROM customers ORDER BY name"] {
        let rows = client.query(sql, &[]).await.unwrap();
        let mut names: Vec<&str> = rows.iter().map(|row| row.get(0)).collect();
        names.sort_unstable();
        assert_eq!(names, ["Ada", "Ben", "Cid", "Dee"], "{sql}");
    }
    let everywhere =
        "SELECT name, sum(customer_id) FROM customers WHERE customer_id < $1 GROUP BY name ORDER BY name LIMIT $2";
    let rows = client.query(everywhere, &[&12_i64, &2_i64]).await.unwrap();
    let rows: Vec<(&str, String)> = rows.iter().map(|row| (row.get(0), row.columns()[1].type_().to_string())).collect();
    assert_eq!(rows, [("Ada", "numeric".to_owned()), ("Ben", "numeric".to_owned())]);
    assert_eq!(
        client.execute("INSERT INTO customers (customer_id, name) VALUES ($1, $2)", &[&17_i64, &"Hal"]).await.unwrap(),
        1
    );
    let rows = client.simple_query("SELECT count(*) FROM customers").await.unwrap();
    assert!(
        rows.iter().any(|row| matches!(row, tokio_postgres::SimpleQueryMessage::Row(row) if row.get(0) == Some("5")))
    );
}

#[test]
fn code_that_statements_do_not_show_is_refused() {
    let shop = Shop::small();
    let mut client = shop.client();
    must(
        &mut client,
        "CREATE FUNCTION other_rows() RETURNS int8 STABLE LANGUAGE sql AS 'SELECT count(*) FROM customers'",
    );
    must(&mut client, "CREATE VIEW rich AS SELECT * FROM customers WHERE credit > 5");
    for sql in ["SELECT other_rows()", "SELECT other_rows() FROM customers WHERE customer_id = 1"] {
        assert!(ask(&mut client, sql).refusal().is_some(), "{sql}");
    }
    story(&mut client, &[("SELECT name FROM rich WHERE customer_id = 11", "Cid")]);
    story(&mut client, &[("SELECT count(*) FROM rich", "2")]);
    must(&mut client, "CREATE VIEW counted AS SELECT *, other_rows() FROM customers");
    let refusal = ask(&mut client, "SELECT * FROM counted WHERE customer_id = 1");
    assert!(refusal.refusal().is_some_and(|refusal| refusal.detail.contains("other_rows()")), "{refusal:?}");
    must(&mut client, "DROP VIEW counted");
    must(&mut client, "CREATE POLICY own ON customers USING (name = current_user)");
    must(&mut client, "ALTER TABLE customers ENABLE ROW LEVEL SECURITY");
    for sql in [
        "SELECT * FROM customers",
        "SELECT * FROM customers WHERE customer_id = 1",
        "DELETE FROM customers WHERE customer_id = 1",
    ] {
        assert!(ask(&mut client, sql).refusal().is_some(), "{sql}");
    }
    must(&mut client, "ALTER TABLE customers DISABLE ROW LEVEL SECURITY");
    must(
        &mut client,
        "CREATE FUNCTION move() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.customer_id := 12; RETURN NEW; END'",
    );
    must(&mut client, "CREATE TRIGGER move BEFORE INSERT ON customers FOR EACH ROW EXECUTE FUNCTION move()");
    assert!(ask(&mut client, "INSERT INTO customers (customer_id) VALUES (3)").refusal().is_some());
    story(
        &mut client,
        &[
            ("SELECT count(*) FROM customers", "4"),
            ("DROP TRIGGER move ON customers", "DROP TRIGGER"),
            ("INSERT INTO customers (customer_id) VALUES (3)", "INSERT 0 1"),
        ],
    );
}

/// Settings follow the client on a sharded database, too: set in a block or outside, taken back, reset; whichever shard
/// answers, and whoever used its server in between.
#[test]
fn settings_follow_to_every_shard_without_a_pin() {
    let shop = Shop::small();
    let (mut client, mut other) = (shop.client(), shop.client());
    let ask_all = |client: &mut RawClient| {
        let mut zones: Vec<String> = (1..=20)
            .map(|id| {
                let sql = format!(
                    "SELECT extract(hour FROM timestamptz '2024-01-01 12:00+00') || current_setting('work_mem') \
                     FROM customers WHERE customer_id = {id}"
                );
                ask(client, &sql).brief()
            })
            .collect();
        // There need not be a customer of each number.
        zones.retain(|zone| !zone.is_empty());
        zones.dedup();
        zones
    };
    let [before] = ask_all(&mut other).try_into().expect("the shards agree");
    const ON_TWO: &str = "SELECT name FROM customers WHERE customer_id = 11";
    for (make, has) in [
        (vec!["SET TimeZone = 'Asia/Tokyo'"], "214MB"),
        (vec!["BEGIN", "SET work_mem = '7MB'", "SELECT * FROM customers WHERE customer_id = 1", "COMMIT"], "217MB"),
        (vec!["BEGIN", "SELECT * FROM customers ORDER BY customer_id", "SET TimeZone = 'UTC'", "ROLLBACK"], "217MB"),
        (vec!["RESET TimeZone"], "127MB"),
        (vec!["SELECT set_config('work_mem', '6MB', false)"], "126MB"),
        (vec!["SELECT current_setting('work_mem'), set_config('work_mem', NULLIF('5MB', '5MB'), false)"], "126MB"),
        (vec!["BEGIN", ON_TWO, "SELECT set_config('work_mem', '5MB', false)", ON_TWO, "ROLLBACK"], "126MB"),
        (vec!["BEGIN", ON_TWO, "SELECT set_config('Work_Mem', '5120kB', false)", "COMMIT"], "125MB"),
        (
            vec!["SELECT set_config('timezone', 'Asia/Tokyo', false)", "SELECT set_config('work_mem', '7MB', false)"],
            "217MB",
        ),
        (vec!["SELECT 1 FROM (SELECT 1) a WHERE false AND set_config('work_mem', '3MB', false) = ''"], "217MB"),
        (vec!["SELECT 1 FROM (SELECT 1) a WHERE false AND set_config('never.set', '3MB', false) = ''"], "217MB"),
        (vec!["SELECT set_config('timezone', 'UTC', false); SELECT 1"], "127MB"),
        (vec!["RESET ALL"], "124MB"),
        (vec!["SET work_mem = '8MB'", "BEGIN", "RESET work_mem", "COMMIT"], "124MB"),
        (vec!["SET work_mem = '8MB'"], "128MB"),
        (vec!["DISCARD ALL"], "124MB"),
    ] {
        make.iter().for_each(|sql| drop(simple(&mut client, sql)));
        for _ in 0..2 {
            assert_eq!(ask_all(&mut other), std::slice::from_ref(&before), "{make:?}");
            let [own] = ask_all(&mut client).try_into().expect("every shard says the same");
            assert!(own.contains(has), "{make:?}: {own}");
        }
        let pinned = crate::harness::Endpoint { database: "weir".to_owned(), ..shop.endpoint() }
            .psql(["-At", "-c", "SHOW CLIENTS"])
            .stdout;
        assert!(!pinned.contains("setting"), "{make:?}: {pinned}");
    }
}

#[test]
fn set_config_is_no_write_and_must_be_plain() {
    let shop = Shop::small();
    let mut client = shop.client();
    story(
        &mut client,
        &[
            ("BEGIN", "BEGIN"),
            ("SELECT current_setting('jit'), set_config('jit', 'off', false)", "on|off"),
            ("UPDATE customers SET credit = 5 WHERE customer_id = 11", "UPDATE 1"),
            ("SHOW jit", "off"),
            ("COMMIT", "COMMIT"),
            ("SELECT current_setting('jit') FROM customers WHERE customer_id = 11", "off"),
            ("SELECT set_config('jit', 'on', true), 1", "0A000"),
            ("SELECT set_config('jit', 'on', false) FROM customers WHERE customer_id = 11", "0A000"),
            ("SELECT set_config('search_path', 'x', false), 1", "0A000"),
            ("SELECT set_config('jit', 'perhaps', false)", "22023"),
            ("SHOW jit", "off"),
        ],
    );
    let bound = extended(&mut client, "SELECT set_config($1, $2, false)", &[Some("jit"), Some("on")]);
    assert_eq!(bound.brief(), "on");
    story(&mut client, &[("SELECT current_setting('jit') FROM customers WHERE customer_id = 11", "on")]);
}

#[test]
fn a_client_may_name_the_shard() {
    let shop = Shop::small();
    let mut client = shop.client();
    must(
        &mut client,
        "CREATE FUNCTION other_rows() RETURNS int8 STABLE LANGUAGE sql AS 'SELECT count(*) FROM customers'",
    );
    must(&mut client, "CREATE FUNCTION twice(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1 * 2'");
    story(
        &mut client,
        &[
            ("SELECT twice(4)", "8"),
            ("SELECT twice(4), name FROM customers WHERE customer_id = 11", "8|Cid"),
            ("SELECT other_rows()", "0A000"),
            ("SET weir.shard = 'three'", "22023"),
            ("SET weir.other = 'three'", "22023"),
            ("SET weir.shard = 'two'", "SET"),
            ("SELECT other_rows()", "2"),
            ("SELECT min(name) FROM customers", "Cid"),
            ("DO $$ BEGIN UPDATE customers SET credit = 3 WHERE customer_id = 12; END $$", "DO"),
            ("INSERT INTO customers (customer_id, name) VALUES (3, 'elsewhere')", "0A000"),
            ("UPDATE products SET price = 0", "0A000"),
            ("/* weir shard=one */ SELECT min(name) FROM customers", "Ada"),
            ("/* weir sharding_key=11 */ SELECT min(name) FROM customers", "22023"),
            ("/* weir sharding_key=customer:11 */ SELECT min(name) FROM customers", "Cid"),
            ("/* weir somewhere */ SELECT 1", "22023"),
            ("RESET weir.shard", "RESET"),
            ("SELECT count(*) FROM customers", "4"),
            ("SELECT credit FROM customers WHERE customer_id = 12", "3"),
            ("BEGIN", "BEGIN"),
            ("SET LOCAL weir.shard = 'one'", "SET"),
            ("SELECT count(*) FROM customers", "2"),
            ("SAVEPOINT s", "SAVEPOINT"),
            ("SET weir.shard = 'two'", "SET"),
            ("SELECT min(name) FROM customers", "Cid"),
            ("ROLLBACK TO s", "ROLLBACK"),
            ("SELECT min(name) FROM customers", "Ada"),
            ("COMMIT", "COMMIT"),
            ("SELECT count(*) FROM customers", "4"),
            ("DISCARD ALL", "DISCARD ALL"),
        ],
    );
}

#[test]
fn explain_tells_the_route_in_front_of_the_plan() {
    let shop = Shop::small();
    let mut client = shop.client();
    let plan =
        ask(&mut client, "EXPLAIN (COSTS off) SELECT * FROM customers JOIN products ON true WHERE customer_id = 11");
    let lines: Vec<String> = plan.rows.into_iter().flatten().flatten().collect();
    assert_eq!(
        lines[..3],
        [
            "Weir: shard two, the statement as it is",
            "  customers: range of customer_id in keyspace customer: shard two",
            "  products: a reference table, on every shard",
        ]
    );
    assert!(lines.len() > 3 && plan.command == "EXPLAIN", "{lines:?}");
    let json = ask(&mut client, "EXPLAIN (FORMAT json) SELECT * FROM customers WHERE customer_id = 11");
    assert!(json.rows[0][0].as_ref().is_some_and(|text| text.starts_with('[')), "{json:?}");
    assert_eq!(ask(&mut client, "EXPLAIN SELECT nowhere FROM customers WHERE customer_id = 11").brief(), "42703");
    story(
        &mut client,
        &[
            ("SELECT name FROM customers WHERE customer_id = 11", "Cid"),
            ("BEGIN", "BEGIN"),
            ("EXPLAIN SELECT nowhere FROM customers WHERE customer_id = 11", "42703"),
            ("SELECT 1", "25P02"),
            ("ROLLBACK", "ROLLBACK"),
        ],
    );
}

#[test]
fn a_named_shard_outlives_other_settings() {
    let shop = Shop::small();
    let mut client = shop.client();
    story(
        &mut client,
        &[
            ("SET weir.shard = 'two'", "SET"),
            ("SELECT count(*) FROM customers", "2"),
            ("SET work_mem = '1MB'", "SET"),
            ("SELECT count(*) FROM customers", "2"),
            ("RESET weir.shard", "RESET"),
            ("SELECT count(*) FROM customers", "4"),
        ],
    );
}

#[test]
fn a_role_with_a_path_of_its_own_must_qualify_names() {
    let role = unique("pathfinder");
    for shard in &servers().shop {
        let sql = format!(
            "CREATE ROLE {role} SUPERUSER LOGIN PASSWORD 'weir'; ALTER ROLE {role} SET search_path = elsewhere, public"
        );
        endpoint_of(&shard.primary, "postgres").execute(&sql);
    }
    let setup = Setup::new().weir("admin_users = [\"weir\"]").user(&format!("name = {role:?}\npassword = \"weir\""));
    let shop = Shop::small_with(setup);
    let mut client = Endpoint { user: role, ..shop.endpoint() }.raw();
    story(
        &mut client,
        &[
            ("SELECT name FROM customers WHERE customer_id = 11", "Cid"),
            ("CREATE SCHEMA elsewhere", "CREATE SCHEMA"),
            ("SELECT name FROM customers WHERE customer_id = 11", "0A000"),
            ("SELECT name FROM public.customers WHERE customer_id = 11", "Cid"),
            ("SELECT count(*) FROM pg_class WHERE relname = 'customers'", "1"),
            ("DROP SCHEMA elsewhere", "DROP SCHEMA"),
            ("SELECT name FROM customers WHERE customer_id = 11", "Cid"),
        ],
    );
}

#[test]
fn notifications_are_those_of_the_home_shard() {
    let shop = Shop::small();
    let notified = |messages: &[crate::harness::Message]| -> Vec<String> {
        let all = messages.iter().filter(|message| message.tag == tag::NOTIFICATION_RESPONSE);
        all.map(|message| String::from_utf8_lossy(&message.body[4..]).replace('\0', ":")).collect()
    };
    let [mut a, mut b] = [(); 2].map(|()| shop.client());
    must(&mut a, "LISTEN news");
    must(&mut b, "SELECT name FROM customers WHERE customer_id = 1");
    must(&mut b, "NOTIFY news, 'one'");
    assert_eq!(notified(&[a.next().unwrap()]), ["news:one:"]);
    for commit in ["COMMIT", "END"] {
        for sql in ["BEGIN", "SELECT count(*) FROM customers", "LISTEN weather", "NOTIFY news, 'own'"] {
            assert_eq!(notified(&a.query(sql)), [""; 0]);
        }
        let messages = a.query(commit);
        assert_eq!(notified(&messages), ["news:own:"], "before ReadyForQuery: {messages:?}");
    }
    must(&mut a, "BEGIN");
    must(&mut a, "UNLISTEN *");
    must(&mut a, "ROLLBACK");
    must(&mut b, "NOTIFY weather");
    must(&mut b, "NOTIFY news, 'two'");
    assert_eq!(notified(&[a.next().unwrap(), a.next().unwrap()]), ["weather::", "news:two:"]);
    assert_eq!(answers(&a.query("SELECT pg_listening_channels()"))[0].rows.len(), 2);
    must(&mut a, "DISCARD ALL");
    must(&mut b, "NOTIFY news, 'nobody'");
    assert_eq!(notified(&a.query("SELECT 1")), [""; 0]);
}
