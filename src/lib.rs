//! Weir: a sharded database router and connection-pooling proxy for PostgreSQL.
//!
//! ARCHITECTURE.md is the map. Each module below uses only modules that stand above it in this list;
//! `tests/architecture.rs` guards that. Everything up to `session` is pure: no sockets, no clock, no globals.

pub mod types;

pub mod shardmap;
pub mod wire;

pub mod config;

pub mod auth;
pub mod merge;

pub mod sql;

pub mod route;

pub mod session;

// ---------------------------------------------------------------- the I/O line

pub mod telemetry;

pub mod net;

pub mod catalog;
pub mod pool;

pub mod proxy;

pub mod admin;
pub mod http;

pub mod cli;
