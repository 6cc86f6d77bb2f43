//! COPY in both directions and both protocols, ended well and badly.

use bytes::{BufMut, BytesMut};
use futures_util::SinkExt;
use weir::wire::backend::tag;
use weir::wire::frontend;

use super::{Front, rows, sqlstate, status, tags};
use crate::harness::{Message, RawClient};

const TABLE: &str = "CREATE TABLE t (n int PRIMARY KEY, s text)";

fn data(out: &mut BytesMut, rows: &str) {
    frontend::message(out, tag::COPY_DATA, |body| body.put_slice(rows.as_bytes()));
}

fn done(out: &mut BytesMut) {
    frontend::message(out, frontend::tag::COPY_DONE, |_| {});
}

/// Starts a COPY and waits until the server wants data.
fn start_copy(client: &mut RawClient, sql: &str) {
    client.send_with(|out| frontend::query(out, sql));
    client.expect(tag::COPY_IN_RESPONSE);
}

/// Starts a COPY over the extended protocol, with its Sync at once as libpq sends it.
fn start_extended_copy(client: &mut RawClient, sql: &str) {
    client.send_with(|out| {
        frontend::parse(out, b"", &frontend::definition(sql, &[]));
        frontend::bind(out, b"", b"", &[0; 6]);
        frontend::execute(out, b"", 0);
        frontend::sync(out);
    });
    client.expect(tag::PARSE_COMPLETE);
    client.expect(tag::BIND_COMPLETE);
    client.expect(tag::COPY_IN_RESPONSE);
}

/// A front with one server, and a check that the server is in order afterwards.
fn with_table(test: impl FnOnce(&Front, &mut RawClient)) {
    let front = Front::new(1);
    front.direct.execute(TABLE);
    let mut client = front.app.raw();
    client.run("INSERT INTO t VALUES (0, 'zero')");
    test(&front, &mut client);
    assert_eq!(client.value("SELECT 'the client goes on'"), "the client goes on");
    assert_eq!(front.app.value("SELECT 'so do others'"), "so do others");
}

fn failed(messages: &[Message], wanted: &str) {
    assert_eq!(sqlstate(messages).as_deref(), Some(wanted), "{messages:?}");
    assert_eq!(status(messages), 'I');
}

#[test]
fn psql_copies_in_and_out() {
    let front = Front::new(1);
    front.direct.execute(TABLE);
    let script = "\\copy t FROM STDIN\n1\tone\n2\ttwo\n\\.\nCOPY t FROM STDIN WITH (FORMAT csv);\n3,three\n\\.\n\
        COPY (SELECT * FROM t ORDER BY n) TO STDOUT;\nSELECT count(*) FROM t;\n";
    assert_eq!(front.app.execute(script), "1\tone\n2\ttwo\n3\tthree\n3\n");
}

#[test]
fn a_bad_row_ends_the_copy_with_postgresqls_error() {
    let front = Front::new(1);
    front.direct.execute(TABLE);
    let script = "COPY t FROM STDIN;\n1\tone\nx\tbad\n3\tthree\n\\.\n";
    let (through_weir, direct) = (front.app.script(script), front.direct.script(script));
    assert_eq!((through_weir.status, &through_weir.stderr), (3, &direct.stderr));
    assert!(direct.stderr.contains("invalid input syntax for type integer"), "{}", direct.stderr);
    assert_eq!(front.app.value("SELECT count(*) FROM t"), "0");
}

#[test]
fn a_bad_row_in_the_middle_of_much_data() {
    with_table(|_, client| {
        start_copy(client, "COPY t FROM STDIN");
        client.send_with(|out| {
            (0..50_000)
                .for_each(|n| data(out, &format!("{}\tsome text that takes room\n", if n == 100 { 0 } else { n })));
            done(out);
        });
        failed(&client.until_ready(), "23505");
        assert_eq!(client.value("SELECT count(*) FROM t"), "1");
    });
}

#[test]
fn an_error_while_a_message_is_half_sent() {
    with_table(|front, client| {
        start_copy(client, "COPY t FROM STDIN");
        let long = "y".repeat(1_000_000);
        let mut half = BytesMut::new();
        data(&mut half, "0\tduplicate\nx\tnot a number\n");
        data(&mut half, &long);
        let (sent, rest) = half.split_at(500_000);
        client.send(sent);
        let mut answer = vec![client.expect(tag::ERROR_RESPONSE)];
        answer.extend(client.until_ready());
        failed(&answer, "22P02");
        client.send(rest);
        client.send_with(done);
        assert_eq!(front.app.value("SELECT 1"), "1");
        assert_eq!(client.value("SELECT count(*) FROM t"), "1");
    });
}

#[test]
fn the_client_can_give_up() {
    with_table(|_, client| {
        start_copy(client, "COPY t FROM STDIN");
        client.send_with(|out| {
            data(out, "1\tone\n");
            frontend::copy_fail(out, "changed my mind");
        });
        let messages = client.until_ready();
        failed(&messages, "57014");
        assert_eq!(messages[0].field(b'M').as_deref(), Some("COPY from stdin failed: changed my mind"));
        assert_eq!(client.value("SELECT count(*) FROM t"), "1");
    });
}

#[test]
fn a_client_that_leaves_in_the_middle_leaves_nothing() {
    with_table(|front, _| {
        let mut leaving = front.app.raw();
        start_copy(&mut leaving, "COPY t FROM STDIN");
        leaving.send_with(|out| data(out, "1\tone\n"));
        front.await_sessions("query LIKE 'COPY t%' AND state = 'active'", 1);
        drop(leaving);
        front.await_sessions("query LIKE 'COPY t%' AND state = 'active'", 0);
        assert_eq!(front.app.value("SELECT count(*) FROM t"), "1");
    });
}

#[test]
fn flush_and_sync_are_ignored_while_data_is_awaited() {
    with_table(|_, client| {
        start_copy(client, "COPY t FROM STDIN");
        client.send_with(|out| {
            data(out, "1\tone\n");
            frontend::sync(out);
            frontend::flush(out);
            data(out, "2\ttwo\n");
            done(out);
        });
        assert_eq!(tags(&client.until_ready()), "CZ");
        assert_eq!(client.value("SELECT count(*) FROM t"), "3");
    });
}

#[test]
fn another_message_during_copy_ends_the_connection() {
    let front = Front::new(1);
    front.direct.execute(TABLE);
    let mut client = front.app.raw();
    start_copy(&mut client, "COPY t FROM STDIN");
    client.send_with(|out| frontend::query(out, "SELECT 1"));
    assert_eq!(sqlstate(&client.until_end()).as_deref(), Some("08P01"));
    assert_eq!(front.app.value("SELECT count(*) FROM t"), "0");
}

#[test]
fn several_copies_in_one_query() {
    with_table(|_, client| {
        start_copy(
            client,
            "COPY t FROM STDIN; SELECT 'between'; COPY t FROM STDIN; COPY (SELECT n FROM t ORDER BY 1) TO STDOUT",
        );
        client.send_with(|out| {
            data(out, "1\tone\n");
            done(out);
        });
        for wanted in [tag::COMMAND_COMPLETE, tag::ROW_DESCRIPTION, tag::DATA_ROW, tag::COMMAND_COMPLETE] {
            client.expect(wanted);
        }
        client.expect(tag::COPY_IN_RESPONSE);
        client.send_with(|out| {
            data(out, "2\ttwo\n");
            done(out);
        });
        assert_eq!(tags(&client.until_ready()), "CHdddcCZ");
    });
}

#[test]
fn extended_copy() {
    with_table(|_, client| {
        start_extended_copy(client, "COPY t FROM STDIN");
        client.send_with(|out| {
            data(out, "1\tone\n");
            done(out);
            frontend::sync(out);
        });
        assert_eq!(tags(&client.until_ready()), "CZ");
        assert_eq!(client.value("SELECT count(*) FROM t"), "2");
    });
}

#[test]
fn extended_copy_with_a_bad_row() {
    with_table(|_, client| {
        start_extended_copy(client, "COPY t FROM STDIN");
        client.send_with(|out| {
            data(out, "0\tduplicate\n");
            data(out, "x\tbad\n");
            done(out);
            frontend::sync(out);
        });
        failed(&client.until_ready(), "22P02");
    });
}

#[test]
fn extended_copy_that_the_client_gives_up() {
    with_table(|_, client| {
        start_extended_copy(client, "COPY t FROM STDIN");
        client.send_with(|out| {
            frontend::copy_fail(out, "no");
            frontend::sync(out);
        });
        failed(&client.until_ready(), "57014");
    });
}

#[test]
fn extended_copy_that_fails_before_it_reads() {
    with_table(|front, client| {
        front.direct.execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no rows today'; END $$;
             CREATE TRIGGER refuse BEFORE INSERT ON t EXECUTE FUNCTION refuse()",
        );
        start_extended_copy(client, "COPY t FROM STDIN");
        // The first Sync counts here: the server had stopped reading data when it came.
        failed(&client.until_ready(), "P0001");
    });
}

#[test]
fn copy_out_over_the_extended_protocol() {
    with_table(|_, client| {
        client.send_with(|out| {
            frontend::parse(out, b"", &frontend::definition("COPY t TO STDOUT", &[]));
            frontend::bind(out, b"", b"", &[0; 6]);
            frontend::execute(out, b"", 0);
            frontend::sync(out);
        });
        let messages = client.until_ready();
        assert_eq!((tags(&messages).as_str(), rows(&messages).len()), ("12HdcCZ", 0));
    });
}

#[tokio::test]
async fn a_driver_copies() {
    let front = Front::new(1);
    front.direct.execute(TABLE);
    let client = front.app.connect().await.unwrap();
    for (rows, outcome) in [("1\tone\n", Ok(1)), ("x\tbad\n", Err("22P02")), ("2\ttwo\n", Ok(1))] {
        let mut sink = Box::pin(client.copy_in("COPY t FROM STDIN").await.unwrap());
        sink.send(bytes::Bytes::from(rows)).await.unwrap();
        let result = sink.as_mut().finish().await;
        assert_eq!(result.map_err(|error| error.code().unwrap().code().to_owned()), outcome.map_err(str::to_owned));
    }
    assert_eq!(client.query_one("SELECT count(*) FROM t", &[]).await.unwrap().get::<_, i64>(0), 2);
}
