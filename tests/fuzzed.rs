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

/// What longer runs have found.
mod found {
    use super::*;

    #[test]
    fn a_bit_string_that_goes_on_knows_no_doubled_quote_either() {
        for text in ["x''\n'''a'", "b'1'\n''''", "SELECT x'1F'\n'2E''a'"] {
            scanner::check(text.as_bytes());
        }
    }

    #[test]
    fn an_end_behind_a_complete_answer_is_left() {
        server_side::check(b"\xfb\xdb\x2b\x44\0\0\0\x08\xc0\x25\x50\x91\x45\0\0\0\x08\0\x0a\0\x44\x45\0\0\0\x08\x30\0\0\0\x45\x0b\0\x08\0\x05");
    }

    #[test]
    fn a_doubtful_statement_stays_on_a_server_that_ignores_its_close() {
        session::check(
            b"\x01\x08RR=R]`RRRRR!R=`RR!\xd2Y\xb2\x85\xe8\x02\x014\xf5rrrr\x85\x8d\x8d\x8dr\xf5\xf5\xf5\x08r!!",
        );
    }
}
