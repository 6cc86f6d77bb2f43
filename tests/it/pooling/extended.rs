//! The extended protocol: what Weir answers is compared, byte by byte, with what the server answers without it.

use bytes::{BufMut, BytesMut};
use weir::wire::frontend::{self, Target};

use super::Front;
use super::statements::{open_all, round_robin};
use super::twins::{Ddl, Twins};
use crate::harness::{Message, RawClient};

/// The body of Bind behind its names: text parameters, text results.
fn arguments(values: &[Option<&str>]) -> BytesMut {
    let mut out = BytesMut::new();
    out.put_u16(0);
    out.put_u16(u16::try_from(values.len()).unwrap());
    for value in values {
        match value {
            None => out.put_i32(-1),
            Some(text) => {
                out.put_u32(u32::try_from(text.len()).unwrap());
                out.put_slice(text.as_bytes());
            }
        }
    }
    out.put_u16(0);
    out
}

/// One message of a script.
#[derive(Clone, Copy, Debug)]
enum Say {
    /// A statement's name and text.
    Parse(&'static str, &'static str),
    /// Portal, statement, parameters.
    Bind(&'static str, &'static str, &'static [Option<&'static str>]),
    DescribeStatement(&'static str),
    DescribePortal(&'static str),
    /// Portal and the rows to fetch at most.
    Execute(&'static str, u32),
    CloseStatement(&'static str),
    ClosePortal(&'static str),
    Flush,
    Sync,
    Query(&'static str),
}

use Say::*;

impl Say {
    fn write(self, out: &mut BytesMut) {
        match self {
            Parse(name, text) => frontend::parse(out, name.as_bytes(), &frontend::definition(text, &[])),
            Bind(portal, name, values) => frontend::bind(out, portal.as_bytes(), name.as_bytes(), &arguments(values)),
            DescribeStatement(name) => frontend::describe(out, Target::Statement(name.as_bytes())),
            DescribePortal(name) => frontend::describe(out, Target::Portal(name.as_bytes())),
            Execute(portal, max_rows) => frontend::execute(out, portal.as_bytes(), max_rows),
            CloseStatement(name) => frontend::close(out, Target::Statement(name.as_bytes())),
            ClosePortal(name) => frontend::close(out, Target::Portal(name.as_bytes())),
            Flush => frontend::flush(out),
            Sync => frontend::sync(out),
            Query(text) => frontend::query(out, text),
        }
    }
}

/// Sends the script and reads as many ReadyForQuery as it asks for.
fn play(client: &mut RawClient, script: &[Say]) -> Vec<Message> {
    client.send_with(|out| script.iter().for_each(|message| message.write(out)));
    let ends = script.iter().filter(|message| matches!(message, Sync | Query(_)));
    ends.flat_map(|_| client.until_ready()).collect()
}

/// What a client reads, without what depends on where it is connected.
fn readable(messages: &[Message]) -> Vec<String> {
    let text = |message: &Message| match message.tag {
        b'E' | b'N' => format!("{} {:?} {:?}", message.tag as char, message.field(b'C'), message.field(b'M')),
        tag => format!("{} {}", tag as char, message.body.escape_ascii()),
    };
    messages.iter().map(text).collect()
}

/// Plays each script over one connection, as units in their own turn, and compares.
fn compare(front: &Front, scripts: &[&[Say]]) {
    let (mut through_weir, mut direct) = (front.app.raw(), front.direct.raw());
    for script in scripts {
        let wanted = readable(&play(&mut direct, script));
        assert_eq!(readable(&play(&mut through_weir, script)), wanted, "{script:?}");
    }
}

const ONE: &[Option<&str>] = &[Some("1")];
const NONE: &[Option<&str>] = &[];

#[test]
fn single_statements() {
    compare(
        &Front::new(1),
        &[
            &[Parse("", "SELECT $1::int + 1"), Bind("", "", ONE), DescribePortal(""), Execute("", 0), Sync],
            &[Parse("", "SELECT $1::int, $2::text"), DescribeStatement(""), Sync],
            &[Bind("", "", &[Some("7"), None]), Execute("", 0), Sync],
            &[Parse("", ""), Bind("", "", NONE), DescribePortal(""), Execute("", 0), Sync],
            &[Parse("", "CREATE TEMP TABLE t (n int PRIMARY KEY)"), Bind("", "", NONE), Execute("", 0), Sync],
            &[Parse("", "INSERT INTO t VALUES ($1)"), DescribeStatement(""), Bind("", "", ONE), Execute("", 0), Sync],
            &[Parse("", "INSERT INTO t VALUES ($1)"), Bind("", "", ONE), Execute("", 0), Sync],
            &[Parse("", "SELECT 1; SELECT 2"), Sync],
            &[Parse("", "SELECT nonsense FROM nowhere"), Sync],
            &[Parse("", "SELEKT"), Bind("", "", NONE), Execute("", 0), Sync],
            &[Sync],
            &[Flush, Sync],
            &[Sync, Sync, Sync],
        ],
    );
}

#[test]
fn named_statements() {
    compare(
        &Front::new(1),
        &[
            &[Parse("s", "SELECT $1::int"), Sync],
            &[DescribeStatement("s"), Sync],
            &[Bind("", "s", ONE), Execute("", 0), Sync],
            &[Bind("", "s", ONE), DescribePortal(""), Execute("", 0), Bind("", "s", &[None]), Execute("", 0), Sync],
            &[Parse("s", "SELECT 2"), Bind("", "s", NONE), Execute("", 0), Sync],
            &[Bind("", "s", ONE), Execute("", 0), Sync],
            &[Query("SELECT 'a simple query does not hurt named ones'"), Bind("", "s", ONE), Execute("", 0), Sync],
            &[CloseStatement("s"), Sync],
            &[CloseStatement("s"), CloseStatement("never was"), Sync],
            &[Bind("", "s", ONE), Execute("", 0), Sync],
            &[DescribeStatement("s"), Sync],
            &[Parse("s", "SELECT 3"), Bind("", "s", NONE), Execute("", 0), Sync],
            &[CloseStatement("s"), Parse("s", "SELECT 4"), Bind("", "s", NONE), Execute("", 0), Sync],
            &[Parse("bad", "SELECT nonsense"), Sync],
            &[Bind("", "bad", NONE), Sync],
            &[Parse("bad", "SELECT 5"), Bind("", "bad", NONE), Execute("", 0), Sync],
        ],
    );
}

#[test]
fn the_unnamed_statement() {
    compare(
        &Front::new(1),
        &[
            &[Bind("", "", NONE), Sync],
            &[Parse("", "SELECT 1"), Sync],
            &[Bind("", "", NONE), Execute("", 0), Sync],
            &[Query("SELECT 'this destroys it'")],
            &[Bind("", "", NONE), Execute("", 0), Sync],
            &[Parse("", "SELECT 1"), Sync],
            &[CloseStatement(""), Sync],
            &[Bind("", "", NONE), Execute("", 0), Sync],
        ],
    );
}

#[test]
fn portals() {
    compare(
        &Front::new(1),
        &[
            &[Query("BEGIN")],
            &[Parse("", "SELECT generate_series(1, 5)"), Bind("p", "", NONE), Execute("p", 2), Sync],
            &[Execute("p", 2), DescribePortal("p"), Sync],
            &[Execute("p", 2), Execute("p", 2), Sync],
            &[ClosePortal("p"), Sync],
            &[Execute("p", 0), Sync],
            &[Query("ROLLBACK")],
            &[Parse("", "SELECT generate_series(1, 3)"), Bind("", "", NONE), Execute("", 2), Execute("", 2), Sync],
            &[Bind("outlives", "", NONE), Sync],
            &[Execute("outlives", 0), Sync],
            &[ClosePortal("unknown"), Sync],
            &[Query("BEGIN"), Parse("", "SELECT 1"), Bind("p", "", NONE), Bind("p", "", NONE), Sync, Query("ROLLBACK")],
            &[
                Query("BEGIN; DECLARE c CURSOR FOR SELECT generate_series(1, 4)"),
                Execute("c", 3),
                Sync,
                Query("COMMIT"),
            ],
        ],
    );
}

#[test]
fn errors_in_the_middle_of_a_batch() {
    let failing = Parse("", "SELECT 1/$1::int");
    compare(
        &Front::new(1),
        &[
            &[failing, Bind("", "", &[Some("0")]), Execute("", 0), Parse("s", "SELECT 1"), Bind("", "s", NONE), Sync],
            &[Bind("", "s", NONE), Sync],
            &[Parse("s", "SELECT 1"), failing, Bind("", "", &[Some("0")]), Execute("", 0), Sync],
            &[Bind("", "s", NONE), Execute("", 0), Sync],
            &[
                Bind("", "unknown", NONE),
                Execute("", 0),
                Parse("s", "SELECT 'ignored, though the name is taken'"),
                Sync,
            ],
            &[Query("BEGIN")],
            &[Bind("", "unknown", NONE), Sync],
            &[Parse("", "SELECT 1"), Sync],
            &[Parse("", "ROLLBACK"), Bind("", "", NONE), Execute("", 0), Sync],
            &[Parse("", "SELECT 1"), Bind("", "", NONE), Execute("", 0), Sync],
            &[Execute("no portal", 0), Sync],
            &[DescribePortal("no portal"), Sync],
        ],
    );
}

/// PostgreSQL describes in a failed transaction what returns no rows, binds what ends it, and closes anything.
#[test]
fn statements_in_a_failed_transaction() {
    for pool_size in [1, 2] {
        let front = round_robin(pool_size);
        open_all(&front, pool_size);
        front.direct.execute("CREATE TABLE t (n int)");
        let prepare = [Parse("s", "SELECT 1"), Parse("i", "INSERT INTO t VALUES ($1)"), Parse("end", "ROLLBACK"), Sync];
        compare(
            &front,
            &[
                &prepare,
                &[Query("BEGIN")],
                &[Query("SELECT 1/0")],
                &[DescribeStatement("s"), Sync],
                // What a server does not have yet it cannot be given there: another one refuses it as it does the others.
                if pool_size == 1 { &[DescribeStatement("i"), Sync] } else { &[] },
                &[DescribeStatement("end"), Sync],
                &[DescribeStatement("unknown"), Sync],
                &[CloseStatement("unknown"), ClosePortal("unknown"), Sync],
                &[Bind("", "s", NONE), Execute("", 0), Sync],
                &[Bind("", "i", ONE), Execute("", 0), Sync],
                &[Parse("new", "SELECT 1"), Sync],
                &[CloseStatement("s"), Sync],
                &[DescribeStatement("s"), Sync],
                &[Bind("", "end", NONE), DescribePortal(""), Execute("", 0), Sync],
                &[DescribeStatement("s"), Sync],
                &[Bind("", "i", ONE), Execute("", 0), Sync],
            ],
        );
    }
}

#[test]
fn pipelines() {
    let (insert, error) = (Parse("", "INSERT INTO t VALUES (1)"), Parse("", "SELECT 1/0"));
    let go = [Bind("", "", NONE), Execute("", 0)];
    let front = Front::new(1);
    front.direct.execute("CREATE TABLE t (n int)");
    compare(
        &front,
        &[
            // Everything between two Syncs is one transaction.
            &[insert, go[0], go[1], error, go[0], go[1], Sync, insert, go[0], go[1], Sync],
            &[Query("SELECT count(*) FROM t")],
            &[Parse("a", "SELECT 1"), Sync, Bind("", "a", NONE), Execute("", 0), Sync, CloseStatement("a"), Sync],
            &[Query("SELECT 1"), insert, go[0], go[1], Sync, Query("SELECT 2"), Query("SELECT 1/0"), Query("SELECT 3")],
            &[Flush, insert, Flush, go[0], Flush, go[1], Flush, Sync],
            &[Parse("", "BEGIN"), go[0], go[1], insert, go[0], go[1], Sync, Parse("", "COMMIT"), go[0], go[1], Sync],
            &[insert, Query("SELECT 'a Query ends a batch without Sync'"), Sync],
        ],
    );
}

#[test]
fn the_answer_to_flush_comes_before_sync() {
    let front = Front::new(1);
    for endpoint in [&front.direct, &front.app] {
        let mut client = endpoint.raw();
        let steps: [(&[Say], &str); 5] = [
            (&[Parse("s", "SELECT $1::int"), DescribeStatement("s"), Flush], "1tT"),
            (&[Bind("", "s", ONE), Flush], "2"),
            (&[Execute("", 0), Flush], "DC"),
            (&[Parse("s", "SELECT 'taken'"), Flush], "E"),
            (&[Bind("", "s", ONE), Flush, Execute("", 0), Flush, Sync], "Z"),
        ];
        for (script, wanted) in steps {
            client.send_with(|out| script.iter().for_each(|message| message.write(out)));
            wanted.bytes().for_each(|tag| drop(client.expect(tag)));
        }
        assert_eq!(client.value("SELECT 1"), "1");
    }
}

#[test]
fn a_batch_without_end_keeps_its_server_until_sync() {
    let front = Front::new(1);
    let (mut first, mut second) = (front.app.raw(), front.app.raw());
    first.send_with(|out| {
        let script = [Parse("", "SELECT pg_backend_pid()"), Bind("", "", NONE), Execute("", 0), Flush];
        script.into_iter().for_each(|message| message.write(out));
    });
    "12DC".bytes().for_each(|tag| drop(first.expect(tag)));
    second.send_with(|out| Query("SELECT 'second'").write(out));
    first.send_with(|out| {
        [Bind("", "", NONE), Execute("", 0), Sync].into_iter().for_each(|message| message.write(out));
    });
    assert_eq!(super::tags(&first.until_ready()), "2DCZ");
    assert_eq!(super::rows(&second.until_ready()), ["second"]);
}

#[test]
fn a_long_batch_is_passed_on_in_pieces() {
    let front = Front::new(1);
    let mut client = front.app.raw();
    let text: &'static str = "x".repeat(1_000).leak();
    let values: &'static [Option<&'static str>] = vec![Some(text)].leak();
    let mut script = vec![Parse("s", "SELECT length($1::text)")];
    script.extend((0..2_000).flat_map(|_| [Bind("", "s", values), Execute("", 0)]));
    script.push(Sync);
    assert_eq!(super::rows(&play(&mut client, &script)), vec!["1000"; 2_000]);
}

#[tokio::test]
async fn a_driver_pipelines_over_one_connection() {
    let front = Front::new(2);
    let client = front.app.connect().await.unwrap();
    let statement = client.prepare("SELECT $1::int8 * 2").await.unwrap();
    let questions = (0..500_i64).map(|n| {
        let (client, statement) = (&client, &statement);
        async move { client.query_one(statement, &[&n]).await.unwrap().get::<_, i64>(0) }
    });
    let answers = futures_util::future::join_all(questions).await;
    assert_eq!(answers, (0..500).map(|n| n * 2).collect::<Vec<_>>());
}

/// A Query ends a batch that was flushed and not synced: the server is free again.
#[test]
fn a_query_behind_a_flush_ends_the_batch() {
    let front = Front::new(1);
    let (mut client, mut other) = (front.app.raw(), front.app.raw());
    for query in ["SELECT 'query'", "DEALLOCATE s"] {
        client.send_with(|out| {
            frontend::parse(out, b"s", &frontend::definition("SELECT 1", &[]));
            frontend::describe(out, Target::Statement(b"s"));
            frontend::flush(out);
        });
        assert_eq!(super::tags(&[client.next().unwrap(), client.next().unwrap(), client.next().unwrap()]), "1tT");
        client.run(query);
        assert_eq!(other.value("SELECT 'free'"), "free");
        if query != "DEALLOCATE s" {
            client.run("DEALLOCATE s");
        }
    }
}

#[test]
fn a_query_behind_a_failed_batch_is_ignored() {
    let twins = Twins::new(1, Ddl::Directly);
    let mut client = twins.client();
    client.part(1, |out| {
        frontend::parse(out, b"", &frontend::definition("SELECT nonsense", &[]));
        frontend::flush(out);
    });
    let ignored = client.same(|out| {
        frontend::query(out, "SELECT 'ignored'");
        frontend::sync(out);
    });
    assert_eq!(ignored, "Z I");
    assert!(client.query("SELECT 'heard'").contains("D heard"));
}
