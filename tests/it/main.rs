//! Weir and its tools between real clients and real PostgreSQL servers. One binary, so that the servers start once.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod catalogs;
mod clusters;
mod demo;
#[allow(dead_code, unused_imports, reason = "a harness offers more than the tests of a moment use")]
mod harness;
mod pooling;
mod sharding;
