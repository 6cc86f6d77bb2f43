//! Stated maximums of single messages, in bytes. Other limits stand where they are kept, as constants or settings.

/// A StartupMessage, length word included. PostgreSQL's own `MAX_STARTUP_PACKET_LENGTH`.
pub const STARTUP_PACKET_MAX: usize = 10_000;

/// A client's Query, Parse, Bind, FunctionCall or CopyData. PostgreSQL's `PQ_LARGE_MESSAGE_LIMIT`.
pub const LARGE_MESSAGE_MAX: usize = 0x3fff_ffff - 1;

/// Any other message of a client. PostgreSQL's `PQ_SMALL_MESSAGE_LIMIT`.
pub const SMALL_MESSAGE_MAX: usize = 10_000;

/// A message of a server: its length word is a signed 32-bit number.
pub const SERVER_MESSAGE_MAX: usize = 0x7fff_ffff;
