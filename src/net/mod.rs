//! Sockets: listeners, connections with their buffers, time limits on opening them.

pub mod conn;
pub mod listen;
mod spare;

pub use conn::Conn;
