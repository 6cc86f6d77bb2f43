//! A fixed slice of what the fuzz targets check (`make fuzz` runs them for long), and what they have found.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "these are tests")]
#[path = "../fuzz/src/lib.rs"]
mod targets;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, RngSeed};

use targets::{client_side, scanner, server_side, session};

/// The same cases in every run.
fn fixed(cases: u32) -> Config {
    Config {
        cases,
        rng_algorithm: RngAlgorithm::ChaCha,
        rng_seed: RngSeed::Fixed(7),
        failure_persistence: None,
        ..Config::default()
    }
}

/// Bytes that look like messages often enough.
fn message() -> impl Strategy<Value = Vec<u8>> {
    let tag = proptest::sample::select(b"QPBEDCSHdcfFpXTDZEItn12s3GHWKRNAVv".to_vec());
    let word =
        prop_oneof![vec(any::<u8>(), 0..12), vec(proptest::sample::select(b"\0\0\0\x01\x02SPVC".to_vec()), 0..24)];
    (tag, word).prop_map(|(tag, body)| {
        let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
        [&[tag], length.as_slice(), &body].concat()
    })
}

proptest! {
    #![proptest_config(fixed(2_000))]

    #[test]
    fn a_clients_bytes_are_read_without_a_panic(bytes in vec(any::<u8>(), 0..200), sent in vec(message(), 0..6)) {
        client_side::check(&bytes);
        client_side::check(&sent.concat());
    }

    #[test]
    fn a_servers_bytes_are_read_without_a_panic(owed in vec(any::<u8>(), 0..8), sent in vec(message(), 0..6)) {
        server_side::check(&owed);
        server_side::check(&[&[owed.len() as u8], owed.as_slice(), &sent.concat()].concat());
    }

    #[test]
    fn a_client_sees_the_same_with_weir_in_between(steps in vec(any::<u8>(), 0..120)) {
        session::check(&steps);
    }

    #[test]
    fn the_scanner_agrees_with_postgres(text in r#"[a'"$/*\-0-9eExX. \n\\U&;:]{0,24}"#) {
        scanner::check(text.as_bytes());
    }
}
