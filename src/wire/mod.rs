//! The PostgreSQL wire protocol, version 3, as frames and messages. Pure: bytes in, bytes out.
//!
//! "Need more bytes" is `Ok(None)`, never an error. Every length is checked against a stated maximum before
//! anything is kept. Bodies stay slices: a DataRow is not parsed unless somebody asks.
//! Source of all layouts: PostgreSQL manual, "Message Formats".

pub mod array;
pub mod backend;
pub mod copy;
pub mod frame;
pub mod frontend;
pub mod oids;
pub mod reader;
pub mod replication;
pub mod startup;

pub use frame::{Frame, Header};

/// PostgreSQL's transaction status, the body of ReadyForQuery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionStatus {
    Idle,
    InTransaction,
    Failed,
}

impl TransactionStatus {
    /// Reads the indicator byte; `None` for a byte that PostgreSQL never sends.
    pub fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            b'I' => Some(Self::Idle),
            b'T' => Some(Self::InTransaction),
            b'E' => Some(Self::Failed),
            _ => None,
        }
    }

    /// The indicator byte.
    pub fn as_byte(self) -> u8 {
        match self {
            Self::Idle => b'I',
            Self::InTransaction => b'T',
            Self::Failed => b'E',
        }
    }
}
