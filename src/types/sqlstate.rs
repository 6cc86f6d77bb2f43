//! The SQLSTATEs that Weir itself reports.
//! Source: PostgreSQL manual, appendix "PostgreSQL Error Codes".

use std::fmt;

/// A five-character SQLSTATE.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SqlState(pub [u8; 5]);

impl SqlState {
    pub const CONNECTION_FAILURE: Self = Self(*b"08006");
    pub const TRANSACTION_RESOLUTION_UNKNOWN: Self = Self(*b"08007");
    pub const PROTOCOL_VIOLATION: Self = Self(*b"08P01");
    pub const FEATURE_NOT_SUPPORTED: Self = Self(*b"0A000");
    pub const OBJECT_NOT_IN_PREREQUISITE_STATE: Self = Self(*b"55000");
    pub const INVALID_CURSOR_NAME: Self = Self(*b"34000");
    pub const DUPLICATE_CURSOR: Self = Self(*b"42P03");
    pub const CARDINALITY_VIOLATION: Self = Self(*b"21000");
    pub const NUMERIC_VALUE_OUT_OF_RANGE: Self = Self(*b"22003");
    pub const INVALID_PARAMETER_VALUE: Self = Self(*b"22023");
    pub const BAD_COPY_FILE_FORMAT: Self = Self(*b"22P04");
    pub const NOT_NULL_VIOLATION: Self = Self(*b"23502");
    pub const ACTIVE_SQL_TRANSACTION: Self = Self(*b"25001");
    pub const NO_ACTIVE_SQL_TRANSACTION: Self = Self(*b"25P01");
    pub const IN_FAILED_SQL_TRANSACTION: Self = Self(*b"25P02");
    pub const INVALID_SQL_STATEMENT_NAME: Self = Self(*b"26000");
    pub const INVALID_AUTHORIZATION: Self = Self(*b"28000");
    pub const INVALID_PASSWORD: Self = Self(*b"28P01");
    pub const INVALID_CATALOG_NAME: Self = Self(*b"3D000");
    pub const SAVEPOINT_EXCEPTION: Self = Self(*b"3B001");
    pub const SERIALIZATION_FAILURE: Self = Self(*b"40001");
    pub const DEADLOCK_DETECTED: Self = Self(*b"40P01");
    pub const SYNTAX_ERROR: Self = Self(*b"42601");
    pub const DUPLICATE_PREPARED_STATEMENT: Self = Self(*b"42P05");
    pub const UNDEFINED_OBJECT: Self = Self(*b"42704");
    pub const OUT_OF_MEMORY: Self = Self(*b"53200");
    pub const TOO_MANY_CONNECTIONS: Self = Self(*b"53300");
    pub const CONFIGURATION_LIMIT_EXCEEDED: Self = Self(*b"53400");
    pub const QUERY_CANCELED: Self = Self(*b"57014");
    pub const ADMIN_SHUTDOWN: Self = Self(*b"57P01");
    pub const CANNOT_CONNECT_NOW: Self = Self(*b"57P03");
    pub const INTERNAL_ERROR: Self = Self(*b"XX000");

    /// Reads a code as a server sends it; `None` unless it has five characters.
    pub fn parse(code: &str) -> Option<Self> {
        code.as_bytes().try_into().ok().map(Self)
    }

    /// The code as text, for a message or a log line.
    pub fn as_str(&self) -> &str {
        // Every constructor above and every server's code is ASCII; anything else shows as unknown.
        std::str::from_utf8(&self.0).unwrap_or("?????")
    }
}

impl fmt::Debug for SqlState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for SqlState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
