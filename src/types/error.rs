//! The one error type: who failed, what kind of failure, whether trying again is safe, and the words for the client.

use std::borrow::Cow;
use std::fmt;
use std::ops::{Deref, DerefMut};

use super::ids::ShardId;
use super::sqlstate::SqlState;

/// Shorthand for a result with Weir's error.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Whose fault it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The application: bad bytes, a statement that cannot be done, a wrong password.
    Client,
    /// A PostgreSQL server of this shard.
    Server(ShardId),
    /// Weir itself.
    Weir,
    /// The store of the shard map and of two-phase decisions.
    Catalog,
}

/// What went wrong. Also the label of the error in metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Bytes that the protocol does not allow here.
    Protocol,
    /// Something that would need what Weir cannot prove or do.
    NotSupported,
    /// The text is no SQL that PostgreSQL's grammar knows.
    Syntax,
    /// A password or role that is not accepted.
    InvalidPassword,
    /// A login without what it needs (no user name, for example).
    InvalidAuthorization,
    /// A database that is not configured.
    UnknownDatabase,
    /// No connection slot for a client, or no server in time.
    TooManyConnections,
    /// No connection to a server could be made.
    ServerUnavailable,
    /// A server went away in the middle of an exchange.
    ServerLost,
    /// The client asked to cancel.
    Canceled,
    /// The transaction already failed.
    InFailedTransaction,
    /// The command is not allowed inside a transaction block.
    ActiveTransaction,
    /// The command is allowed inside a transaction block only.
    NoActiveTransaction,
    /// A savepoint that does not exist.
    Savepoint,
    /// A prepared statement that does not exist.
    UnknownStatement,
    /// A prepared statement's name that is taken.
    DuplicateStatement,
    /// A value that a parameter or setting does not accept.
    InvalidValue,
    /// A shard key that is NULL.
    NullKey,
    /// Data of a COPY that is not in its format.
    BadCopyData,
    /// A number that leaves its type's range.
    OutOfRange,
    /// A cursor that does not exist.
    UnknownCursor,
    /// A cursor's name that is taken.
    DuplicateCursor,
    /// Something is not in the state that the command needs.
    NotInPrerequisiteState,
    /// Several rows where one is wanted.
    Cardinality,
    /// A name that is not known (a shard, a console command's object).
    UnknownObject,
    /// A configured limit (memory of a merge, for example) is reached.
    LimitExceeded,
    /// The shard map moved on while the statement ran.
    StaleEpoch,
    /// No snapshot of all shards can be taken now.
    NoSnapshot,
    /// Transactions wait for each other on different shards.
    Deadlock,
    /// Nobody knows yet whether a transaction is committed.
    InDoubt,
    /// Weir is stopping.
    Shutdown,
    /// What a server reported for a statement of Weir's own; [`Error::reported`] has its SQLSTATE.
    Reported,
    /// A bug or an unexpected failure of Weir's own. Keep it last: [`Kind::ALL`] counts on it.
    Internal,
}

impl Kind {
    /// Every kind, in the order of the declaration.
    pub const ALL: [Self; Self::Internal as usize + 1] = [
        Self::Protocol,
        Self::NotSupported,
        Self::Syntax,
        Self::InvalidPassword,
        Self::InvalidAuthorization,
        Self::UnknownDatabase,
        Self::TooManyConnections,
        Self::ServerUnavailable,
        Self::ServerLost,
        Self::Canceled,
        Self::InFailedTransaction,
        Self::ActiveTransaction,
        Self::NoActiveTransaction,
        Self::Savepoint,
        Self::UnknownStatement,
        Self::DuplicateStatement,
        Self::InvalidValue,
        Self::NullKey,
        Self::BadCopyData,
        Self::OutOfRange,
        Self::UnknownCursor,
        Self::DuplicateCursor,
        Self::NotInPrerequisiteState,
        Self::Cardinality,
        Self::UnknownObject,
        Self::LimitExceeded,
        Self::StaleEpoch,
        Self::NoSnapshot,
        Self::Deadlock,
        Self::InDoubt,
        Self::Shutdown,
        Self::Reported,
        Self::Internal,
    ];

    /// The word that metrics use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Protocol => "protocol",
            Self::NotSupported => "not_supported",
            Self::Syntax => "syntax",
            Self::InvalidPassword => "invalid_password",
            Self::InvalidAuthorization => "invalid_authorization",
            Self::UnknownDatabase => "unknown_database",
            Self::TooManyConnections => "too_many_connections",
            Self::ServerUnavailable => "server_unavailable",
            Self::ServerLost => "server_lost",
            Self::Canceled => "canceled",
            Self::InFailedTransaction => "in_failed_transaction",
            Self::ActiveTransaction => "active_transaction",
            Self::NoActiveTransaction => "no_active_transaction",
            Self::Savepoint => "savepoint",
            Self::UnknownStatement => "unknown_statement",
            Self::DuplicateStatement => "duplicate_statement",
            Self::InvalidValue => "invalid_value",
            Self::NullKey => "null_key",
            Self::BadCopyData => "bad_copy_data",
            Self::OutOfRange => "out_of_range",
            Self::UnknownCursor => "unknown_cursor",
            Self::DuplicateCursor => "duplicate_cursor",
            Self::NotInPrerequisiteState => "not_in_prerequisite_state",
            Self::Cardinality => "cardinality",
            Self::UnknownObject => "unknown_object",
            Self::LimitExceeded => "limit_exceeded",
            Self::StaleEpoch => "stale_epoch",
            Self::NoSnapshot => "no_snapshot",
            Self::Deadlock => "deadlock",
            Self::InDoubt => "in_doubt",
            Self::Shutdown => "shutdown",
            Self::Reported => "reported_by_server",
            Self::Internal => "internal",
        }
    }
}

/// An error with everything that the client, the operator and the metrics need. In a box: what may fail then carries a
/// pointer where it does not.
#[derive(Debug)]
pub struct Error(Box<Told>);

/// What an [`Error`] says.
#[derive(Debug)]
pub struct Told {
    pub origin: Origin,
    pub kind: Kind,
    /// One sentence in PostgreSQL's style: lower case, no full stop.
    pub message: Cow<'static, str>,
    /// What exactly cannot be done, or what was seen.
    pub detail: Option<Cow<'static, str>>,
    /// What the reader can do about it.
    pub hint: Option<Cow<'static, str>>,
    /// Where it happened, in PostgreSQL's words.
    pub context: Option<Box<str>>,
    /// The SQLSTATE of an error that a server reported; it is passed on instead of the kind's own.
    pub reported: Option<SqlState>,
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error with a message only. Cold: the ways that lead here stand apart from those that lead to an answer.
    #[cold]
    pub fn new(origin: Origin, kind: Kind, message: impl Into<Cow<'static, str>>) -> Self {
        let message = message.into();
        let told =
            Told { origin, kind, message, detail: None, hint: None, context: None, reported: None, source: None };
        Self(Box::new(told))
    }

    /// A statement that Weir refuses because it cannot prove the answer; `detail` names the part.
    pub fn refuse(message: impl Into<Cow<'static, str>>, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Origin::Client, Kind::NotSupported, message).detail(detail)
    }

    /// A breach of the wire protocol by a client.
    pub fn protocol(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Origin::Client, Kind::Protocol, message)
    }

    /// A failure that should not happen; the message is for whoever reports it.
    pub fn internal(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Origin::Weir, Kind::Internal, message)
    }

    #[must_use]
    pub fn detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    #[must_use]
    pub fn context(mut self, context: impl Into<Box<str>>) -> Self {
        self.context = Some(context.into());
        self
    }

    #[must_use]
    pub fn source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The SQLSTATE that the client reads.
    pub fn sqlstate(&self) -> SqlState {
        self.reported.unwrap_or_else(|| self.kind.sqlstate())
    }
}

impl Kind {
    /// The SQLSTATE of this kind.
    fn sqlstate(self) -> SqlState {
        match self {
            Kind::Protocol => SqlState::PROTOCOL_VIOLATION,
            Kind::NotSupported => SqlState::FEATURE_NOT_SUPPORTED,
            Kind::Syntax => SqlState::SYNTAX_ERROR,
            Kind::InvalidPassword => SqlState::INVALID_PASSWORD,
            Kind::InvalidAuthorization => SqlState::INVALID_AUTHORIZATION,
            Kind::UnknownDatabase => SqlState::INVALID_CATALOG_NAME,
            Kind::TooManyConnections => SqlState::TOO_MANY_CONNECTIONS,
            Kind::ServerUnavailable => SqlState::CANNOT_CONNECT_NOW,
            Kind::ServerLost => SqlState::CONNECTION_FAILURE,
            Kind::Canceled => SqlState::QUERY_CANCELED,
            Kind::InFailedTransaction => SqlState::IN_FAILED_SQL_TRANSACTION,
            Kind::ActiveTransaction => SqlState::ACTIVE_SQL_TRANSACTION,
            Kind::NoActiveTransaction => SqlState::NO_ACTIVE_SQL_TRANSACTION,
            Kind::Savepoint => SqlState::SAVEPOINT_EXCEPTION,
            Kind::UnknownStatement => SqlState::INVALID_SQL_STATEMENT_NAME,
            Kind::DuplicateStatement => SqlState::DUPLICATE_PREPARED_STATEMENT,
            Kind::InvalidValue => SqlState::INVALID_PARAMETER_VALUE,
            Kind::NullKey => SqlState::NOT_NULL_VIOLATION,
            Kind::BadCopyData => SqlState::BAD_COPY_FILE_FORMAT,
            Kind::OutOfRange => SqlState::NUMERIC_VALUE_OUT_OF_RANGE,
            Kind::UnknownCursor => SqlState::INVALID_CURSOR_NAME,
            Kind::DuplicateCursor => SqlState::DUPLICATE_CURSOR,
            Kind::NotInPrerequisiteState => SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
            Kind::Cardinality => SqlState::CARDINALITY_VIOLATION,
            Kind::UnknownObject => SqlState::UNDEFINED_OBJECT,
            Kind::LimitExceeded => SqlState::CONFIGURATION_LIMIT_EXCEEDED,
            Kind::StaleEpoch | Kind::NoSnapshot => SqlState::SERIALIZATION_FAILURE,
            Kind::Deadlock => SqlState::DEADLOCK_DETECTED,
            Kind::InDoubt => SqlState::TRANSACTION_RESOLUTION_UNKNOWN,
            Kind::Shutdown => SqlState::ADMIN_SHUTDOWN,
            Kind::Reported | Kind::Internal => SqlState::INTERNAL_ERROR,
        }
    }
}

impl Deref for Error {
    type Target = Told;

    fn deref(&self) -> &Told {
        &self.0
    }
}

impl DerefMut for Error {
    fn deref_mut(&mut self) -> &mut Told {
        &mut self.0
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(detail) = &self.detail {
            write!(f, " ({detail})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
