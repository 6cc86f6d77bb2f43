//! Messages that break the protocol: an error for who sent them, and nothing for anybody else.

use bytes::BufMut;
use weir::wire::frontend;

use super::{Front, sqlstate, status, tags};

#[test]
fn a_message_that_no_client_sends_ends_the_connection() {
    let front = Front::new(1);
    let cases: [(&str, &[u8]); 6] = [
        ("an unknown type", b"!\0\0\0\x04"),
        ("a length below four", b"Q\0\0\0\x03"),
        ("a length beyond the maximum", b"Q\x7f\xff\xff\xff"),
        ("a Sync of a gigabyte", b"S\x3f\xff\xff\xf0"),
        ("a password after the login", b"p\0\0\0\x05\0"),
        ("a server's message", b"Z\0\0\0\x05I"),
    ];
    for (what, bytes) in cases {
        let mut client = front.app.raw();
        assert_eq!(client.value("SELECT 1"), "1");
        client.send(bytes);
        let messages = client.until_end();
        assert_eq!((tags(&messages).as_str(), sqlstate(&messages).as_deref()), ("E", Some("08P01")), "{what}");
        assert_eq!(messages[0].field(b'V').as_deref(), Some("FATAL"), "{what}");
        assert_eq!(front.app.value("SELECT 1"), "1", "{what}");
    }
}

#[test]
fn a_broken_message_in_the_middle_of_a_transaction_rolls_it_back() {
    let front = Front::new(1);
    front.direct.execute("CREATE TABLE t (n int)");
    let mut client = front.app.raw();
    client.run("BEGIN; INSERT INTO t VALUES (1)");
    client.send(b"!\0\0\0\x04");
    client.until_end();
    assert_eq!(front.app.value("SELECT count(*) FROM t"), "0");
}

#[test]
fn a_malformed_body_fails_the_message_and_not_the_connection() {
    let front = Front::new(1);
    let mut client = front.app.raw();
    client.send(b"Q\0\0\0\x0aSELECT");
    let messages = client.until_ready();
    assert_eq!((tags(&messages).as_str(), sqlstate(&messages).as_deref()), ("EZ", Some("08P01")));
    let bodies: [(u8, &[u8]); 9] = [
        (b'P', b""),
        (b'P', b"name\0SELECT 1\0\0\x02\0\0\0\x17"),
        (b'B', b"portal without a statement"),
        (b'B', b"\0\0\0\0\xff\xff"),
        (b'D', b"Xname\0"),
        (b'C', b""),
        (b'E', b"\0\0"),
        (b'E', b"no such portal\0\0\0\0\0"),
        (b'D', b"Sno such statement\0"),
    ];
    for (tag, body) in bodies {
        client.send_with(|out| {
            frontend::message(out, tag, |out| out.put_slice(body));
            frontend::sync(out);
        });
        let messages = client.until_ready();
        assert_eq!(tags(&messages), "EZ", "{}: {body:?}", tag as char);
        assert_eq!(status(&messages), 'I');
        assert_eq!(client.value("SELECT 1"), "1");
    }
}

#[test]
fn messages_may_come_byte_by_byte() {
    let front = Front::new(1);
    let mut client = front.app.raw();
    let mut bytes = bytes::BytesMut::new();
    frontend::query(&mut bytes, "SELECT 'a'");
    frontend::parse(&mut bytes, b"", &frontend::definition("SELECT $1::text", &[]));
    frontend::bind(&mut bytes, b"", b"", b"\0\0\0\x01\0\0\0\x01b\0\0");
    frontend::execute(&mut bytes, b"", 0);
    frontend::sync(&mut bytes);
    for byte in &bytes {
        client.send(&[*byte]);
    }
    assert_eq!(super::rows(&client.until_ready()), ["a"]);
    assert_eq!(super::rows(&client.until_ready()), ["b"]);
}

#[test]
fn units_sent_in_one_piece_are_answered_in_order() {
    let front = Front::new(1);
    let mut client = front.app.raw();
    client.send_with(|out| (0..100).for_each(|n| frontend::query(out, &format!("SELECT {n}"))));
    for n in 0..100 {
        assert_eq!(super::rows(&client.until_ready()), [n.to_string()]);
    }
}

#[test]
fn a_function_call_is_passed_on() {
    let front = Front::new(1);
    let mut client = front.app.raw();
    let oid: u32 = client.value("SELECT 'int4pl'::regproc::oid").parse().unwrap();
    client.send_with(|out| {
        frontend::message(out, frontend::tag::FUNCTION_CALL, |body| {
            body.put_u32(oid);
            body.put_slice(&[0, 0, 0, 2, 0, 0, 0, 2, b'4', b'0', 0, 0, 0, 1, b'2', 0, 0]);
        });
    });
    let messages = client.until_ready();
    assert_eq!(tags(&messages), "VZ");
    assert_eq!(messages[0].body, b"\0\0\0\x0242");
}
