//! Versions of the protocol: what is negotiated, and what differs between them.

use weir::cli::cluster::{PASSWORD, SUPERUSER};
use weir::wire::backend::tag;
use weir::wire::frontend;
use weir::wire::startup::{self, PROTOCOL_3_0, PROTOCOL_3_2};

use super::cancel::{SLEEP, SLEEPING, cancel};
use super::{Front, sqlstate};
use crate::harness::{Endpoint, RawClient};

/// A client that asks for a version of the protocol and sends these parameters besides its names.
fn ask(endpoint: &Endpoint, protocol: u32, more: &[(&str, &str)]) -> RawClient {
    let mut client = RawClient::connect(endpoint.address);
    let names = [("user", SUPERUSER), ("database", &endpoint.database)];
    client.send_with(|out| startup::startup_message_of(out, protocol, names.iter().chain(more).copied()));
    client
}

/// The same, logged in.
fn speak(endpoint: &Endpoint, protocol: u32) -> RawClient {
    let mut client = ask(endpoint, protocol, &[]);
    client.finish_login(PASSWORD);
    client
}

#[test]
fn versions_that_are_known_are_spoken_as_they_are() {
    let front = Front::new(2);
    for (minor, secret_len) in [(0, 4), (1, 4), (2, 32)] {
        let mut client = speak(&front.app, PROTOCOL_3_0 + minor);
        assert_eq!(client.cancel_key.as_ref().map(|key| key.secret.len()), Some(secret_len), "3.{minor}");
        assert_eq!(client.value("SELECT 1"), "1");
    }
}

#[test]
fn a_newer_minor_version_is_negotiated_down() {
    let front = Front::new(2);
    for minor in [3, 9, 9999] {
        let mut client = ask(&front.app, PROTOCOL_3_0 + minor, &[]);
        assert_eq!(client.expect(tag::NEGOTIATE_PROTOCOL_VERSION).body, b"\0\x03\0\x02\0\0\0\0");
        client.finish_login(PASSWORD);
        assert_eq!(client.cancel_key.as_ref().map(|key| key.secret.len()), Some(32), "3.{minor}");
        assert_eq!(client.value("SELECT 1"), "1");
    }
}

#[test]
fn options_that_are_not_known_are_named() {
    let front = Front::new(2);
    let options = [("_pq_.unheard_of", "1"), ("_pq_.other", "")];
    // A server that knows no newer version than this answers the same bytes.
    let answers = [&front.app, &front.direct].map(|endpoint| {
        let mut client = ask(endpoint, PROTOCOL_3_0, &options);
        let answer = client.expect(tag::NEGOTIATE_PROTOCOL_VERSION);
        client.finish_login(PASSWORD);
        assert_eq!(client.value("SELECT 1"), "1");
        answer.body
    });
    assert_eq!(answers[0], b"\0\x03\0\0\0\0\0\x02_pq_.unheard_of\0_pq_.other\0");
    assert_eq!(answers[0], answers[1]);
    let mut newer = ask(&front.app, PROTOCOL_3_2, &options[..1]);
    assert_eq!(newer.expect(tag::NEGOTIATE_PROTOCOL_VERSION).body, b"\0\x03\0\x02\0\0\0\x01_pq_.unheard_of\0");
    newer.finish_login(PASSWORD);
}

#[test]
fn another_major_version_is_refused() {
    let front = Front::new(2);
    for protocol in [2 << 16, 4 << 16, PROTOCOL_3_0 - 1] {
        let messages = ask(&front.app, protocol, &[]).until_end();
        assert_eq!(sqlstate(&messages).as_deref(), Some("0A000"), "{protocol:#x}");
        let text = format!(
            "unsupported frontend protocol {}.{}: server supports 3.0 to 3.2",
            protocol >> 16,
            protocol & 0xffff
        );
        assert_eq!(messages[0].field(b'M'), Some(text));
    }
}

#[test]
fn a_long_key_cancels_and_a_part_of_it_does_not() {
    let front = Front::new(1);
    let mut client = speak(&front.app, PROTOCOL_3_2);
    let key = client.cancel_key.clone().unwrap();
    client.send_with(|out| frontend::query(out, SLEEP));
    front.await_sessions(SLEEPING, 1);
    let mut wrong = [&key.secret[..4], &key.secret[..31], b""].map(|part| part.to_vec()).to_vec();
    wrong.push([&key.secret[..], b"x"].concat());
    wrong.push(key.secret.iter().map(|byte| byte ^ 1).collect());
    wrong.push(vec![0; 256]);
    wrong.push(vec![0; 257]);
    for secret in wrong {
        cancel(&front.app, &weir::wire::backend::ClientKey { secret: secret.into(), ..key.clone() });
    }
    assert_eq!(front.sessions(SLEEPING), 1);
    cancel(&front.app, &key);
    assert_eq!(sqlstate(&client.until_ready()).as_deref(), Some("57014"));
    assert_eq!(client.value("SELECT 1"), "1");
}
