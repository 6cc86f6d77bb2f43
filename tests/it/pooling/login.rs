//! From the first packet to the first ReadyForQuery.

use bytes::BufMut;
use weir::cli::cluster::{PASSWORD, SUPERUSER};
use weir::wire::{backend::tag, startup};

use super::{Front, eventually};
use crate::harness::{Endpoint, Message, RawClient};

const SSL_REQUEST: u32 = 80_877_103;
const GSSENC_REQUEST: u32 = 80_877_104;

/// The error that ends a login with these parameters.
fn refusal(endpoint: &Endpoint, parameters: &[(&str, &str)], password: &str) -> Message {
    let mut client = RawClient::connect(endpoint.address);
    client.send_with(|out| startup::startup_message(out, parameters.iter().copied()));
    let error = client.try_authenticate(password).err().unwrap_or_else(|| client.next().expect("an error"));
    assert_eq!(error.tag, tag::ERROR_RESPONSE, "{error:?}");
    assert_eq!(client.until_end(), []);
    error
}

/// Severity, SQLSTATE and message.
fn told(error: &Message) -> [Option<String>; 3] {
    [b'V', b'C', b'M'].map(|code| error.field(code))
}

#[test]
fn refusals_are_postgresqls_own() {
    let front = Front::new(2);
    let cases: [(&[(&str, &str)], &str); 4] = [
        (&[("user", SUPERUSER), ("database", "app")], "wrong"),
        (&[("user", "nobody"), ("database", "app")], PASSWORD),
        (&[("user", SUPERUSER), ("database", "nowhere")], PASSWORD),
        (&[("user", SUPERUSER), ("database", "app"), ("DateStyle", "nonsense")], PASSWORD),
    ];
    for (parameters, password) in cases {
        let through_weir = refusal(&front.app, parameters, password);
        let parameters: Vec<_> = parameters
            .iter()
            .map(|(name, value)| (*name, if *value == "app" { front.direct.database.as_str() } else { *value }))
            .collect();
        assert_eq!(told(&through_weir), told(&refusal(&front.direct, &parameters, password)), "{parameters:?}");
    }
}

#[test]
fn a_name_that_is_too_long_is_truncated_with_a_notice() {
    let front = Front::new(2);
    let name = "ä".repeat(40);
    for endpoint in [&front.direct, &front.app] {
        let mut client = RawClient::connect(endpoint.address);
        let database = endpoint.database.as_str();
        let parameters = [("user", SUPERUSER), ("database", database), ("application_name", name.as_str())];
        client.send_with(|out| startup::startup_message(out, parameters));
        client.authenticate(PASSWORD);
        let messages = client.until_ready();
        let notice = messages.iter().find(|message| message.tag == tag::NOTICE_RESPONSE).expect("a notice");
        assert_eq!([b'V', b'C'].map(|code| notice.field(code).unwrap()), ["NOTICE", "42622"]);
        let text = format!("identifier \"{name}\" will be truncated to \"{}\"", "ä".repeat(31));
        assert_eq!(notice.field(b'M'), Some(text));
    }
}

#[test]
fn psql_shows_a_wrong_password() {
    let front = Front::new(2);
    let run = front.app.clone().with_user(SUPERUSER, "wrong").script("SELECT 1");
    assert_eq!(run.status, 2);
    assert!(run.stderr.contains("FATAL:  password authentication failed for user \"weir\""), "{}", run.stderr);
}

#[test]
fn a_login_without_a_user_is_refused() {
    let front = Front::new(2);
    let mut client = RawClient::connect(front.app.address);
    client.send_with(|out| startup::startup_message(out, [("database", "app")]));
    let messages = client.until_end();
    assert_eq!(told(&messages[0])[1].as_deref(), Some("28000"), "{messages:?}");
}

#[test]
fn encryption_is_declined_and_the_login_goes_on() {
    let front = Front::new(2);
    for requests in [vec![SSL_REQUEST], vec![GSSENC_REQUEST], vec![GSSENC_REQUEST, SSL_REQUEST]] {
        let mut client = RawClient::connect(front.app.address);
        for request in &requests {
            client.send_with(|out| {
                out.put_u32(8);
                out.put_u32(*request);
            });
            assert_eq!(client.bytes(1), b"N", "{requests:?}");
        }
        client.log_in(SUPERUSER, PASSWORD, "app");
        assert_eq!(client.value("SELECT 1"), "1");
    }
    let prefer = front.app.command("psql").env("PGSSLMODE", "prefer").args(["-XAtc", "SELECT 1"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&prefer.stdout), "1\n");
    let require = front.app.command("psql").env("PGSSLMODE", "require").args(["-XAtc", "SELECT 1"]).output().unwrap();
    let stderr = String::from_utf8_lossy(&require.stderr);
    assert!(stderr.contains("server does not support SSL, but SSL was required"), "{stderr}");
}

#[test]
fn packets_that_no_client_sends_harm_nobody() {
    let front = Front::new(2);
    let mut bystander = front.app.raw();
    let long = {
        let mut packet = 10_001_u32.to_be_bytes().to_vec();
        packet.extend_from_slice(&[0; 100]);
        packet
    };
    let unterminated = b"\0\0\0\x0d\0\x03\0\0user\0";
    let cases: [(&[u8], &str); 6] = [
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "08P01"),
        (&long, "08P01"),
        (b"\0\0\0\x07\0\x03\0", "08P01"),
        (b"\0\0\0\x08\0\x02\0\0", "0A000"),
        (b"\0\0\0\x09\0\x04\0\0\0", "0A000"),
        (unterminated, "08P01"),
    ];
    for (packet, sqlstate) in cases {
        let mut client = RawClient::connect(front.app.address);
        client.send(packet);
        let messages = client.until_end();
        assert_eq!(super::sqlstate(&messages).as_deref(), Some(sqlstate), "{packet:?}: {messages:?}");
        assert_eq!(bystander.value("SELECT 1"), "1");
    }
}

#[test]
fn only_a_password_is_read_before_the_login() {
    let front = Front::new(2);
    let mut client = RawClient::connect(front.app.address);
    client.send_with(|out| startup::startup_message(out, [("user", SUPERUSER), ("database", "app")]));
    client.expect(tag::AUTHENTICATION);
    // The head of a Query of a gigabyte: refused at once, not awaited.
    client.send(b"Q\x3f\xff\xff\xf0SELECT");
    assert_eq!(super::sqlstate(&client.until_end()).as_deref(), Some("08P01"));
}

#[test]
fn clients_beyond_max_client_conn_are_refused_until_one_leaves() {
    let front = Front::with(2, |setup| setup.pool("max_client_conn = 2"));
    let (mut first, second) = (front.app.raw(), front.app.raw());
    let run = front.app.script("SELECT 1");
    assert!(run.stderr.contains("FATAL:  sorry, too many clients already"), "{}", run.stderr);
    assert_eq!(first.value("SELECT 1"), "1");
    drop(second);
    eventually("a place becomes free", || front.app.script("SELECT 1").status == 0);
}

#[test]
fn a_silent_connection_is_closed_in_the_end() {
    let front = Front::with(2, |setup| setup.pool("client_login_timeout = \"1s\""));
    let mut client = RawClient::connect(front.app.address);
    client.send(&[0, 0]);
    assert_eq!(client.until_end(), []);
}
