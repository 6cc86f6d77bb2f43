//! Messages of hundreds of megabytes: they pass while they come, and whatever happens meanwhile, the next message is read
//! from its beginning.

use std::io::{Read, Write};

use bytes::{BufMut, BytesMut};
use weir::wire::backend::tag;
use weir::wire::frontend;

use super::memory::{MORE_MAX_KIB, resident_kib};
use super::{Front, eventually, rows, sqlstate, status, tags};
use crate::harness::{Message, RawClient};

/// More than Weir may use for it.
const LONG: usize = 150_000_000;

/// As much as PostgreSQL takes, for the long tests.
const LONGEST: usize = 1_000_000_000;

/// The header of a message whose body is sent in pieces, and the beginning of that body.
fn begin(tag: u8, head: &[u8], rest: usize) -> BytesMut {
    let mut out = BytesMut::new();
    out.put_u8(tag);
    out.put_u32(u32::try_from(4 + head.len() + rest).unwrap());
    out.put_slice(head);
    out
}

/// A Bind of the unnamed statement with one parameter of that many bytes, up to the parameter itself.
fn begin_bind(statement: &[u8], len: usize) -> BytesMut {
    let head = [b"\0", statement, b"\0\0\0\0\x01", u32::try_from(len).unwrap().to_be_bytes().as_slice()].concat();
    begin(frontend::tag::BIND, &head, len + 2)
}

/// Sends `len` times `x`; gives the most memory that Weir used meanwhile.
fn send_many(front: &Front, client: &mut RawClient, len: usize) -> usize {
    let piece = vec![b'x'; 1_000_000];
    let mut most = 0;
    for at in (0..len).step_by(piece.len()) {
        client.send(&piece[..piece.len().min(len - at)]);
        if at % 20_000_000 == 0 {
            most = most.max(resident_kib(front));
        }
    }
    most
}

fn parse_length(client: &mut RawClient) {
    client.send_with(|out| frontend::parse(out, b"", &frontend::definition("SELECT length($1::text)", &[])));
}

fn execute(client: &mut RawClient) {
    client.send_with(|out| {
        frontend::execute(out, b"", 0);
        frontend::sync(out);
    });
}

#[test]
fn a_long_parameter_passes_while_it_comes() {
    a_parameter_of(LONG);
}

#[test]
#[ignore = "long"]
fn a_parameter_of_a_gigabyte_passes_while_it_comes() {
    a_parameter_of(LONGEST);
}

/// A parameter of that many bytes.
fn a_parameter_of(len: usize) {
    let front = Front::new(1);
    let mut client = front.app.raw();
    let before = resident_kib(&front);
    parse_length(&mut client);
    client.send(&begin_bind(b"", len));
    let most = send_many(&front, &mut client, len);
    client.send(&[0, 0]);
    execute(&mut client);
    assert_eq!(rows(&client.until_ready()), [len.to_string()]);
    assert!(most < before + MORE_MAX_KIB, "{before} KiB before, {most} KiB at most");
    assert_eq!(client.value("SELECT 1"), "1");
}

#[test]
fn a_long_query_passes_while_it_comes() {
    let front = Front::new(2);
    let mut client = front.app.raw();
    let before = resident_kib(&front);
    client.send(&begin(frontend::tag::QUERY, b"SELECT length('", LONG + 3));
    let most = send_many(&front, &mut client, LONG);
    client.send(b"')\0");
    assert_eq!(rows(&client.until_ready()), [LONG.to_string()]);
    assert!(most < before + MORE_MAX_KIB, "{before} KiB before, {most} KiB at most");
    assert_eq!(front.app.value("SELECT 'and others'"), "and others");
}

#[test]
#[ignore = "long"]
fn a_field_of_a_gigabyte_passes_while_it_comes() {
    let front = Front::new(1);
    let mut client = front.app.raw();
    let before = resident_kib(&front);
    client.send_with(|out| frontend::query(out, &format!("SELECT repeat('x', {LONGEST})")));
    client.expect(tag::ROW_DESCRIPTION);
    let (mut stream, mut left, mut most) = (client.sender(), LONGEST - 1_000_000, 0);
    let mut chunk = vec![0; 4_000_000];
    while left > 0 {
        let read = stream.read(&mut chunk).unwrap();
        assert!(read > 0, "the connection ended");
        left = left.saturating_sub(read);
        most = most.max(resident_kib(&front));
    }
    drop((stream, client));
    assert!(most < before + MORE_MAX_KIB, "{before} KiB before, {most} KiB at most");
    eventually("the client is forgotten", || front.app.value("SELECT 1") == "1");
}

#[test]
fn a_long_function_call_and_its_result_pass_while_they_come() {
    const ARGUMENT: usize = LONG;
    let front = Front::new(1);
    let mut client = front.app.raw();
    let oid: u32 = client.value("SELECT 'pg_catalog.reverse(text)'::regprocedure::oid").parse().unwrap();
    let before = resident_kib(&front);
    let length = u32::try_from(ARGUMENT).unwrap().to_be_bytes();
    let head = [oid.to_be_bytes().as_slice(), &[0, 0, 0, 1], &length].concat();
    client.send(&begin(frontend::tag::FUNCTION_CALL, &head, ARGUMENT + 2));
    let sending = send_many(&front, &mut client, ARGUMENT);
    client.send(&[0, 0]);
    front.await_sessions("wait_event = 'ClientWrite'", 1);
    let waiting = resident_kib(&front);
    let messages = client.until_ready();
    assert_eq!(tags(&messages), "VZ");
    assert_eq!(messages[0].body.len(), ARGUMENT + 4);
    assert!(sending.max(waiting) < before + MORE_MAX_KIB, "{before} KiB before, {sending} and {waiting} KiB");
}

#[test]
fn a_long_message_that_nobody_wants_is_dropped() {
    const UNWANTED: usize = 100_000_000;
    let front = Front::new(1);
    let mut client = front.app.raw();
    let before = resident_kib(&front);
    let spoiled: [fn(&mut RawClient); 2] = [
        |_| {},
        // Another request of the batch has failed already, before a server took part.
        |client| client.send_with(|out| frontend::bind(out, b"", b"no such statement", &[0; 6])),
    ];
    for spoil in spoiled {
        spoil(&mut client);
        client.send(&begin_bind(b"unknown", UNWANTED));
        let most = send_many(&front, &mut client, UNWANTED);
        client.send(&[0, 0]);
        execute(&mut client);
        let messages = client.until_ready();
        assert_eq!((tags(&messages).as_str(), sqlstate(&messages).as_deref()), ("EZ", Some("26000")));
        assert!(most < before + MORE_MAX_KIB, "{before} KiB before, {most} KiB at most");
        assert_eq!(client.value("SELECT 1"), "1");
    }
}

#[test]
fn data_for_a_copy_that_failed_is_dropped_while_it_comes() {
    const UNWANTED: usize = 100_000_000;
    let front = Front::new(1);
    let mut client = front.app.raw();
    client.send_with(|out| frontend::query(out, "COPY no_such_table FROM STDIN"));
    assert_eq!(tags(&client.until_ready()), "EZ");
    let before = resident_kib(&front);
    client.send(&begin(tag::COPY_DATA, b"", UNWANTED));
    let most = send_many(&front, &mut client, UNWANTED);
    client.send_with(|out| frontend::message(out, frontend::tag::COPY_DONE, |_| {}));
    assert_eq!(client.value("SELECT 1"), "1");
    assert!(most < before + MORE_MAX_KIB, "{before} KiB before, {most} KiB at most");
}

/// The server's last words, or that there were none: they are lost when Weir is still sending.
fn is_loss(messages: &[Message]) -> bool {
    sqlstate(messages).is_some_and(|code| ["57P01", "08006"].contains(&code.as_str()))
}

/// A server that ends in the middle of what it is sent: the rest is dropped, and the next message is understood.
#[test]
fn a_server_lost_in_the_middle_of_a_long_message() {
    const HALF: usize = 20_000_000;
    let front = Front::new(1);
    front.direct.execute("CREATE TABLE t (s text)");
    let lose = || {
        let others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                      WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name <> 'weir'";
        front.direct.execute(others);
    };
    let mut client = front.app.raw();
    parse_length(&mut client);
    client.send(&begin_bind(b"", 2 * HALF));
    send_many(&front, &mut client, HALF);
    lose();
    send_many(&front, &mut client, HALF);
    client.send(&[0, 0]);
    execute(&mut client);
    let messages = client.until_ready();
    assert!(is_loss(&messages), "{messages:?}");
    assert_eq!((status(&messages), client.value("SELECT 1").as_str()), ('I', "1"));

    client.send_with(|out| frontend::query(out, "COPY t FROM STDIN"));
    client.expect(tag::COPY_IN_RESPONSE);
    client.send(&begin(tag::COPY_DATA, b"", 2 * HALF));
    send_many(&front, &mut client, HALF);
    lose();
    send_many(&front, &mut client, HALF);
    client.send_with(|out| frontend::message(out, frontend::tag::COPY_DONE, |_| {}));
    let messages = client.until_ready();
    assert!(is_loss(&messages), "{messages:?}");
    assert_eq!(client.value("SELECT count(*) FROM t"), "0");
}

/// Half a message, and then nothing more, or the end of the connection.
#[test]
fn half_a_message_holds_nobody_up() {
    let front = Front::new(1);
    let halves: [&[u8]; 5] = [b"Q", b"Q\0\0\0\x20SELECT", b"P\0\0\0\x20name", b"B\0\0\0\x40\0\0", b"X\0\0"];
    let silent: Vec<_> = halves
        .iter()
        .map(|half| {
            let mut client = front.app.raw();
            client.send(half);
            client
        })
        .collect();
    // Enough of a long message that a server takes part in it.
    let mut halfway = front.app.raw();
    parse_length(&mut halfway);
    halfway.send(&begin_bind(b"", 50_000_000));
    halfway.sender().write_all(&vec![b'x'; 10_000_000]).unwrap();
    front.await_sessions("state <> 'idle' OR wait_event = 'ClientRead'", 1);
    drop(halfway);
    assert_eq!(front.app.value("SELECT 1"), "1");
    drop(silent);
    assert_eq!(front.app.value("SELECT 2"), "2");
}
