//! Sockets: listeners, connections with their buffers, time limits on opening them; and what runs the tasks that use them.

pub mod conn;
pub mod executor;
pub mod listen;
pub mod outbox;
mod reactor;
mod spare;

pub use conn::Conn;
