//! Facts about statements: everything that pooling and routing want to know, free of the parser's own types.

use std::ops::Range;
use std::sync::Arc;

use bitflags::bitflags;

use super::code::CodeClass;
use super::scan::LiteralClass;

/// The facts of one text, which may hold several statements (or none).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    pub statements: Vec<Statement>,
}

impl Facts {
    /// What is assumed of a text that nobody can read: not UTF-8, or nothing that the grammar knows.
    pub fn unreadable() -> Self {
        Self { statements: vec![Statement::unreadable()] }
    }
}

/// Functions of large objects by their fixed OIDs, which libpq and drivers call by FunctionCall. Open ones end with the
/// transaction. Source: `pg_proc.dat`.
const LARGE_OBJECT_FUNCTIONS: [u32; 13] = [715, 952, 953, 954, 955, 956, 957, 958, 964, 1004, 3170, 3171, 3172];

impl Facts {
    /// What a FunctionCall of this function may do.
    pub fn of_function_call(oid: u32) -> Self {
        let mut statement = Statement::new(StatementKind::Opaque);
        statement.effects = Effects::OPAQUE | Effects::WRITES_ROWS;
        if !LARGE_OBJECT_FUNCTIONS.contains(&oid) {
            statement.effects |= Effects::SEQUENCES | Effects::NOTIFIES;
            statement.makes = Facets::SHOWN | Facets::HIDDEN;
        }
        Self { statements: vec![statement] }
    }
}

/// The facts of one statement.
#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    /// Where the statement stands in the text, in bytes, without its semicolon. `None` for the only statement of a text:
    /// its facts are shared by texts of one shape, whose lengths differ. [`Statement::text`] knows both.
    pub range: Option<Range<usize>>,
    pub kind: StatementKind,
    pub effects: Effects,
    /// The statement that it executes, in EXECUTE, EXPLAIN EXECUTE or CREATE TABLE AS EXECUTE: what that does is not in
    /// this one's facts.
    pub executes: Option<String>,
    /// What made the statement [`Effects::OPAQUE`]: functions by name, tables with the reason.
    pub opaque_names: Vec<String>,
    /// Functions that are declared to touch only the shard that they run on.
    pub shard_local_names: Vec<String>,
    /// What of the session's state the statement may make or change, so that it outlives the transaction.
    pub makes: Facets,
    /// What of the session's state the statement may end.
    pub ends: Facets,
    /// Settings that the statement sets by a function call: the names, as far as they are known.
    pub set_configs: Vec<SetConfig>,
    /// What code that the statement defines may do when it runs.
    pub defines: CodeClass,
    /// A database that must have no sessions but this one: DROP DATABASE and its kin.
    pub vacates: Option<String>,
    /// Every occurrence of a table or view, wherever it stands in the statement; not CTE names.
    pub relations: Vec<RelationUse>,
    /// What rows must satisfy to have any influence on the result.
    pub restrictions: Vec<Restriction>,
    /// Rows of `to` whose column does not equal a contributing row's column of `from` cannot influence the result.
    /// An inner join gives two of these, an outer join one (towards the nullable side).
    pub carries: Vec<Carry>,
    /// The rows of an INSERT.
    pub insert: Option<InsertShape>,
    /// Every place of a `$n` in the statement. A parameter whose type the client does not declare has the type that its
    /// places give it, so a value of it is certain only if they all agree.
    pub parameters: Vec<ParameterUse>,
    /// Columns assigned by UPDATE, by MERGE or by ON CONFLICT DO UPDATE, with the index of the relation they belong to.
    pub assigned: Vec<ColumnUse>,
    /// Something in the statement that the analysis does not know. Pooling goes on without it; a sharded database refuses.
    pub unknown: Option<String>,
    /// DDL on tables, as far as a sharded database must look into it.
    pub ddl: Option<Ddl>,
}

impl Statement {
    /// A statement of which only the kind is known yet.
    pub fn new(kind: StatementKind) -> Self {
        Self {
            range: None,
            kind,
            effects: Effects::empty(),
            executes: None,
            opaque_names: Vec::new(),
            shard_local_names: Vec::new(),
            makes: Facets::empty(),
            ends: Facets::empty(),
            set_configs: Vec::new(),
            defines: CodeClass::default(),
            vacates: None,
            relations: Vec::new(),
            restrictions: Vec::new(),
            carries: Vec::new(),
            insert: None,
            parameters: Vec::new(),
            assigned: Vec::new(),
            unknown: None,
            ddl: None,
        }
    }

    /// A statement that may do anything.
    fn unreadable() -> Self {
        let mut statement = Self::new(StatementKind::Unparsed);
        statement.effects = Effects::OPAQUE | Effects::WRITES_ROWS | Effects::SEQUENCES | Effects::NOTIFIES;
        statement.makes = Facets::SHOWN | Facets::UNREADABLE;
        statement.unknown = Some("text that PostgreSQL 18's grammar does not know".to_owned());
        statement
    }

    /// The statement's own part of the text that the facts were asked for.
    pub fn text<'t>(&self, text: &'t str) -> &'t str {
        self.range.clone().and_then(|range| text.get(range)).unwrap_or(text)
    }
}

/// The kind of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StatementKind {
    Select,
    Insert,
    Update,
    Delete,
    Merge,
    CopyFrom,
    CopyTo,
    /// EXPLAIN of an optimizable statement; the statement's own facts are merged into this one's.
    Explain {
        analyze: bool,
        /// The statement names a format.
        formatted: bool,
    },
    Transaction(TransactionCommand),
    /// SET; `local` for SET LOCAL and SET TRANSACTION.
    Set {
        name: String,
        local: bool,
    },
    /// RESET of one name, or SET of one TO DEFAULT.
    Reset {
        name: String,
    },
    ResetAll,
    Show,
    Discard(DiscardTarget),
    /// PREPARE; the facts of what it prepares are merged into this one's, and hold when that is executed.
    Prepare {
        name: String,
    },
    Execute,
    /// `None`: DEALLOCATE ALL.
    Deallocate {
        name: Option<String>,
    },
    DeclareCursor {
        hold: bool,
    },
    Fetch,
    CloseCursor,
    Listen,
    Unlisten,
    Notify,
    Lock,
    /// Data definition that may run in a transaction block.
    Ddl,
    /// CREATE INDEX CONCURRENTLY, VACUUM, CREATE DATABASE and others that PostgreSQL runs outside transaction blocks only.
    Standalone,
    /// DO, CALL, LOAD: code whose effects cannot be seen.
    Opaque,
    /// The parser does not know the text: newer syntax, or an error that the server shall report.
    Unparsed,
    /// Any other statement, by the name of its parse node.
    Other(String),
}

/// Transaction control.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransactionCommand {
    /// BEGIN or START TRANSACTION.
    Begin {
        isolation: Option<Isolation>,
        read_only: bool,
    },
    /// COMMIT or END; `chain` for AND CHAIN.
    Commit {
        chain: bool,
    },
    /// ROLLBACK or ABORT.
    Rollback {
        chain: bool,
    },
    Savepoint(String),
    Release(String),
    RollbackTo(String),
    /// PREPARE TRANSACTION.
    Prepare,
    /// COMMIT PREPARED or ROLLBACK PREPARED.
    FinishPrepared {
        commit: bool,
        gid: String,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    ReadUncommitted,
    ReadCommitted,
    RepeatableRead,
    Serializable,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiscardTarget {
    All,
    Plans,
    Sequences,
    Temp,
}

bitflags! {
    /// What a statement may do beyond returning rows.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Effects: u32 {
        /// Writes table rows, or may (data-modifying CTEs included).
        const WRITES_ROWS = 1;
        /// FOR UPDATE and its kin, LOCK TABLE.
        const LOCKS = 1 << 1;
        /// Calls a built-in function that is volatile (random(), nextval(), clock_timestamp(), ...).
        const VOLATILE = 1 << 2;
        /// Calls a built-in function that is stable (now(), current_setting(), ...), SQL keywords like CURRENT_DATE included.
        const STABLE = 1 << 3;
        /// Runs code that cannot be read from the text: user functions, DO, CALL, tables with triggers, user views, ...
        const OPAQUE = 1 << 4;
        /// Changes the schema.
        const DDL = 1 << 5;
        /// Must run on a primary although it looks like a read (sequences, pg_stat_*, pg_locks, WAL functions, ...).
        const PRIMARY_ONLY = 1 << 6;
        /// Calls an aggregate or window function, or has GROUP BY, DISTINCT, LIMIT and the like: more than a plain scan.
        const SHAPES_RESULT = 1 << 7;
        /// Names a type that is not in pg_catalog.
        const USER_TYPE = 1 << 8;
        /// Reads tables or views of pg_catalog or information_schema.
        const SYSTEM_RELATIONS = 1 << 9;
        /// Calls a function whose state lives on the home shard: sequences, advisory locks, notifications, large objects.
        const HOME_ONLY = 1 << 10;
        /// Names ctid, xmin or another system column: what they hold is one server's own.
        const SYSTEM_COLUMNS = 1 << 11;
        /// May enter something in the session's memory of sequences: nextval(), setval(), new rows with numbers.
        const ADVANCES_SEQUENCE = 1 << 12;
        /// May read that memory: currval(), lastval().
        const READS_SEQUENCE = 1 << 13;
        /// May notify.
        const NOTIFIES = 1 << 14;
        /// Reads the list of the session's prepared statements.
        const READS_STATEMENTS = 1 << 15;
        /// COPY in binary format.
        const COPIES_BINARY = 1 << 16;
        /// Reads literals or parameters as dates or times: the same on each server, except for words such as 'now'.
        const READS_DATES = 1 << 17;
        /// Both.
        const SEQUENCES = Self::ADVANCES_SEQUENCE.bits() | Self::READS_SEQUENCE.bits();
    }
}

bitflags! {
    /// The parts of a session's state that outlive a transaction.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Facets: u16 {
        /// Run-time parameters, the role, the session's user.
        const SETTINGS = 1;
        /// Statements that SQL's PREPARE made.
        const STATEMENTS = 1 << 1;
        /// Channels that are listened to; whoever only looks at them is said to end them.
        const CHANNELS = 1 << 2;
        /// Temporary objects.
        const TEMPORARY = 1 << 3;
        /// Advisory locks of the session.
        const LOCKS = 1 << 4;
        /// Cursors WITH HOLD.
        const CURSORS = 1 << 5;
        /// What the server shows when it is asked.
        const SHOWN = Self::SETTINGS.bits() | Self::STATEMENTS.bits() | Self::CHANNELS.bits()
            | Self::TEMPORARY.bits() | Self::LOCKS.bits() | Self::CURSORS.bits();
        /// What a survey asks for. Channels are asked for by themselves, since they can follow the client.
        const SURVEYED = Self::SHOWN.bits() & !Self::CHANNELS.bits();
        /// A prepared statement with constants that only its own moment could read.
        const CONSTANTS = 1 << 9;
        /// What no catalog shows, left by code that cannot be seen into.
        const HIDDEN = 1 << 6;
        /// Libraries that LOAD brought in.
        const LIBRARIES = 1 << 7;
        /// Whatever a text did that nobody can read.
        const UNREADABLE = 1 << 8;
        /// What lasts as long as the server.
        const INDELIBLE = Self::HIDDEN.bits() | Self::LIBRARIES.bits() | Self::UNREADABLE.bits();
    }
}

/// One call of `set_config()`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetConfig {
    pub name: Operand,
    pub value: Operand,
    /// The third argument, if it is plain: whether the value ends with the transaction.
    pub local: Option<bool>,
}

/// Why a client keeps its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PinReason {
    /// SET or RESET outlives the transaction.
    Setting,
    /// SQL-level PREPARE.
    Prepare,
    TemporaryTable,
    AdvisoryLock,
    /// nextval, currval, lastval, setval.
    Sequence,
    HoldCursor,
    Load,
    /// Code whose effects cannot be seen.
    Opaque,
    /// The text could not be parsed.
    Unparsed,
}

impl PinReason {
    /// Every reason, in the order of the declaration; the last one must stay the last.
    pub const ALL: [Self; Self::Unparsed as usize + 1] = [
        Self::Setting,
        Self::Prepare,
        Self::TemporaryTable,
        Self::AdvisoryLock,
        Self::Sequence,
        Self::HoldCursor,
        Self::Load,
        Self::Opaque,
        Self::Unparsed,
    ];

    /// The word that SHOW CLIENTS and the metrics use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Setting => "setting",
            Self::Prepare => "prepare",
            Self::TemporaryTable => "temporary_table",
            Self::AdvisoryLock => "advisory_lock",
            Self::Sequence => "sequence",
            Self::HoldCursor => "hold_cursor",
            Self::Load => "load",
            Self::Opaque => "opaque_code",
            Self::Unparsed => "unparsed",
        }
    }
}

/// A table's or view's name as the statement gives it, unquoted and folded.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RelationName {
    pub schema: Option<String>,
    pub name: String,
}

/// One occurrence of a relation in a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelationUse {
    pub name: RelationName,
    /// The target of INSERT, UPDATE, DELETE, MERGE, COPY FROM, TRUNCATE, LOCK or DDL.
    pub written: bool,
    /// A view whose query was analysed in its place: the relations that it reads are listed, too.
    pub expanded: bool,
}

/// A column of an occurrence: `relation` is an index into [`Statement::relations`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnUse {
    pub relation: usize,
    pub column: String,
}

/// What truly restricts occurrences: rows of `relations` for which `condition` is not true cannot influence the result.
#[derive(Clone, Debug, PartialEq)]
pub struct Restriction {
    pub relations: Vec<usize>,
    pub condition: Condition,
}

/// As much of a condition as routing can use. Whatever it leaves out only makes it true of more rows.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    All(Vec<Condition>),
    /// Of no row, if there is nothing in it.
    Any(Vec<Condition>),
    Compared(Compared),
    /// It may be true of any row.
    Open,
}

/// A column compared with values by PostgreSQL's own operator.
#[derive(Clone, Debug, PartialEq)]
pub struct Compared {
    /// Where the compared value comes from: one column, or one for each branch of a set operation.
    pub columns: Vec<ColumnUse>,
    pub comparison: Comparison,
    pub values: Values,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    Equal,
    /// IS NOT DISTINCT FROM.
    NotDistinct,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

/// What a column is compared with: any one of these.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    List(Vec<Operand>),
    /// The elements of one array.
    Array(Operand),
}

/// Equality carried from one occurrence to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carry {
    pub from: ColumnUse,
    pub to: ColumnUse,
}

/// A value that is known when the statement is routed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operand {
    /// The n-th literal of the text, from zero, as [`super::scan`] finds them; negated when a minus sign stands in front.
    Literal {
        slot: usize,
        negated: bool,
    },
    /// `$n`, counted from 1.
    Parameter(u16),
    /// The operand cast to a type by its catalog name in pg_catalog (`int4`, `int8`, `text`, `varchar`, `uuid`, ...).
    Cast {
        operand: Box<Operand>,
        type_name: Arc<str>,
    },
    Null,
    /// TRUE or FALSE.
    Boolean(bool),
    /// A literal that stands in the definition of a view, not in the text.
    Fixed {
        value: Arc<str>,
        class: LiteralClass,
        negated: bool,
    },
    /// `+`, `-` or `*` of two integers.
    Arithmetic {
        operator: Arithmetic,
        left: Box<Operand>,
        right: Box<Operand>,
    },
    /// `||` of two strings.
    Concatenated(Box<Operand>, Box<Operand>),
    /// Anything else: it may have any value.
    Computed,
    /// DEFAULT in a VALUES row.
    Default,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arithmetic {
    Add,
    Subtract,
    Multiply,
}

/// One place of a parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterUse {
    /// `$n`, counted from 1.
    pub number: u16,
    pub context: ParameterContext,
}

/// What its place says about the type of a parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParameterContext {
    /// Compared with this column, or inserted into it: the parameter takes the column's type.
    Column(ColumnUse),
    /// Compared with this column by `= ANY`: the parameter is an array of the column's type.
    ArrayOf(ColumnUse),
    /// Inserted into the target's column of this position, counted from zero, of a statement without a column list.
    Position(usize),
    /// Cast to this type of pg_catalog.
    Cast(Arc<str>),
    /// Cast to an array of this type.
    ArrayCast(Arc<str>),
    /// Anything else.
    Unknown,
}

/// The rows that an INSERT adds.
#[derive(Clone, Debug, PartialEq)]
pub struct InsertShape {
    /// Index into [`Statement::relations`].
    pub relation: usize,
    /// The column list, `None` when the statement gives none.
    pub columns: Option<Vec<String>>,
    pub source: InsertSource,
    /// ON CONFLICT DO UPDATE.
    pub upsert: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub enum InsertSource {
    Values(Vec<Vec<Operand>>),
    DefaultValues,
    /// A query, and what is known of its columns, if their places are.
    Select(Option<Vec<Selected>>),
}

/// A column of an INSERT's query.
#[derive(Clone, Debug, PartialEq)]
pub enum Selected {
    /// The values of these columns.
    From(Vec<ColumnUse>),
    Value(Operand),
}

/// What a sharded database must know of data definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ddl {
    CreateTable {
        temporary: bool,
        columns: Vec<String>,
        constraints: Vec<Uniqueness>,
        foreign_keys: Vec<ForeignKey>,
        /// Columns whose default takes numbers from a sequence (serial types, identity, nextval).
        sequences: Vec<String>,
        /// A part that cannot be judged from the text (LIKE, INHERITS, PARTITION, AS, OF).
        inexplicable: Option<String>,
    },
    /// A table that is made from a query.
    CreateTableAs {
        temporary: bool,
        /// The query's rows are put into it.
        with_data: bool,
    },
    AlterTable {
        added_constraints: Vec<Uniqueness>,
        foreign_keys: Vec<ForeignKey>,
        /// New columns that number the rows which are there from a sequence.
        sequences: Vec<String>,
        /// Columns dropped, renamed, retyped or given another default.
        touched_columns: Vec<String>,
        inexplicable: Option<String>,
    },
    CreateIndex {
        unique: Option<Uniqueness>,
        /// Its name, if it is given one; the schema is the table's, if that is named.
        name: Option<RelationName>,
    },
    Truncate,
    /// A table gets another name or schema.
    RenameTable,
    /// DROP, COMMENT, GRANT, CREATE TYPE, CREATE SCHEMA and what else may run on every shard alike, in its own words.
    Other {
        command: String,
    },
}

/// A FOREIGN KEY constraint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignKey {
    pub columns: Vec<String>,
    pub referenced: RelationName,
    /// Empty when the statement leaves them out: those of the primary key.
    pub referenced_columns: Vec<String>,
    /// ON UPDATE CASCADE, SET NULL or SET DEFAULT, or ON DELETE SET NULL or SET DEFAULT: the server itself may assign
    /// the columns.
    pub assigns: bool,
}

/// A PRIMARY KEY, UNIQUE or EXCLUDE constraint, or a unique index: the plain columns that it spans.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uniqueness {
    /// The constraint's own words, such as `PRIMARY KEY`.
    pub kind: &'static str,
    pub columns: Vec<String>,
}
