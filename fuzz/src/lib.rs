//! What the fuzz targets check, as plain functions of bytes: `tests/fuzzed.rs` runs a fixed slice of the same.

pub mod client_side;
mod model;
pub mod scanner;
pub mod server_side;
pub mod session;
