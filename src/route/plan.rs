//! Plans.

use std::sync::Arc;

use super::copy::CopyIn;
use crate::merge::spec::MergeSpec;
use crate::sql::collected::Collected;
use crate::sql::computed::Computed;
use crate::sql::facts::{RelationName, Statement, StatementKind};
use crate::sql::gather::GatheredTable;
use crate::sql::made_table::MadeTable;
use crate::sql::numbering::Numbering;
use crate::sql::sources::Sources;
use crate::types::{Epoch, Error, Result, ShardId};

/// What is to be done with one statement.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The shard map that the plan was made for; checked again when a server is taken.
    pub epoch: Epoch,
    pub action: Action,
    /// For EXPLAIN: where the statement runs and why, line by line.
    pub explanation: Vec<String>,
}

#[derive(Clone, Debug)]
pub enum Action {
    /// The statement runs on one shard.
    One { part: Part, access: Access },
    /// The statement runs on several shards and their rows are merged. Nothing is written, but rows may be locked, as
    /// `access` says.
    Fan { parts: Vec<Part>, merge: Arc<MergeSpec>, access: Access },
    /// The rows that the statement needs are loaded into one PostgreSQL, which runs it. Reads only.
    Gather(Arc<Gather>),
    /// An EXPLAIN of a statement over several shards: these lines, and then what the shards say that have a part in it.
    Explanation { lines: Vec<String>, parts: Vec<Part> },
    /// The statement runs on every shard or on none: DDL, and writes to reference tables.
    Everywhere { parts: Vec<Part>, changes_schema: bool },
    /// The statement runs on one shard after the other, since it cannot run in a transaction block. `index`: the name of the
    /// index that it creates.
    ShardByShard { parts: Vec<Part>, index: Option<RelationName> },
    /// A write on several shards reads the time: one time for all of them is put into it; then it is planned again.
    Moment,
    /// The new rows are those of a query, or of other shards: they are read first, and then inserted.
    Collect(Arc<Collected>),
    /// These subqueries of a write are asked first; then the statement is planned again with their answers.
    Subqueries(Arc<[String]>),
    /// The statement says the same as this one, which is planned instead.
    Instead(Arc<str>),
    /// These queries give the rows that a write meets; they are asked first, and then the statement is planned again with
    /// their rows in it.
    Sources(Arc<Sources>),
    /// Keys of new rows are computed: that is done first, and then the statement is planned again.
    Compute(Arc<Computed>),
    /// Rows of an INSERT take numbers from sequences of the home shard; then it is planned again.
    Number(Numbering),
    /// COPY TO STDOUT: the shards' rows, one shard after the other. `header`: the first line of each is none.
    CopyOut { parts: Vec<Part>, is_binary: bool, header: bool },
    /// Rows of several shards are written; each part is independent of the others, and all count or none.
    Spread(Box<Spread>),
    /// The client sends rows, and each goes to its shards.
    CopyIn(Box<CopyIn>),
    /// CREATE TABLE AS: the table is made, and filled with the rows that Weir reads.
    MakeTable(Box<MakeTable>),
    /// DECLARE, FETCH, MOVE and CLOSE: Weir keeps the rows of cursors.
    Cursor,
    /// PREPARE: the client keeps the statement under its name.
    Prepare,
    /// EXECUTE, or EXPLAIN of one: what it executes is planned when its values are known.
    Execute,
    /// Session state (SET and its kin): on every server that the session has or gets.
    Session,
}

/// A table that is made from a query, on the one shard where it has its place.
#[derive(Clone, Debug)]
pub struct MakeTable {
    pub shard: ShardId,
    pub made: MadeTable,
    /// It is the session's own.
    pub temporary: bool,
}

/// A statement over gathered rows.
#[derive(Clone, Debug)]
pub struct Gather {
    /// The shard whose server knows all the tables.
    pub at: ShardId,
    /// The statement over temporary tables.
    pub text: String,
    pub loads: Vec<Load>,
    /// What in the statement reads the time at which the transaction began.
    pub moment: Option<String>,
    /// The statement names views, whose privileges are not those of their tables.
    pub has_views: bool,
    /// COPY TO STDOUT of the rows.
    pub copy: Option<GatheredCopy>,
}

/// A COPY of gathered rows.
#[derive(Clone, Debug)]
pub struct GatheredCopy {
    /// The client's query.
    pub query: String,
    /// The COPY of it over temporary tables.
    pub text: String,
}

impl Gather {
    /// The shards that are read, in ascending order.
    pub fn shards(&self) -> Vec<ShardId> {
        let mut shards: Vec<ShardId> = self.loads.iter().flat_map(|load| &load.shards).copied().collect();
        shards.sort_unstable();
        shards.dedup();
        shards
    }
}

/// A table whose rows are gathered.
#[derive(Clone, Debug)]
pub struct Load {
    pub table: GatheredTable,
    /// The shards that have rows of it which can matter.
    pub shards: Vec<ShardId>,
    pub format: LoadFormat,
}

/// How rows go from a shard to the server that gathers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadFormat {
    Binary,
    /// Binary values would have OIDs in them that the shards number each in its own way.
    Text,
}

impl LoadFormat {
    /// The word that COPY has for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Binary => "binary",
            Self::Text => "text",
        }
    }
}

/// A write of rows on several shards.
#[derive(Clone, Debug)]
pub struct Spread {
    /// In the order in which errors count: the first of several parts that fail is what the client reads.
    pub parts: Vec<Part>,
    /// The parameters that each part names, where they are not all.
    pub parameters: Option<Vec<Vec<u16>>>,
    /// Parameters whose type the server must have said: their places in one part could give them another one.
    pub typed: Vec<u16>,
    /// The word in front of the number of rows in the command tag.
    pub verb: &'static str,
    pub order: RowOrder,
}

impl Spread {
    /// A write that one shard does, by a text that is not the client's own.
    ///
    /// # Errors
    /// A statement that is no such write, which would be a bug.
    pub fn on_one(shard: ShardId, text: &str, statement: &Statement) -> Result<Self> {
        let verb = match &statement.kind {
            StatementKind::Insert => "INSERT 0",
            StatementKind::Update => "UPDATE",
            StatementKind::Delete => "DELETE",
            StatementKind::Merge => "MERGE",
            other => return Err(Error::internal(format!("a write of one shard is none: {other:?}"))),
        };
        let part = Part { text: PartText::Rewritten(text.into()), ..Part::untouched(shard) };
        let named = statement.parameters.iter().map(|used| used.number).collect();
        Ok(Self { parts: vec![part], parameters: Some(vec![named]), typed: Vec::new(), verb, order: RowOrder::ByPart })
    }
}

/// The order of the rows that a write returns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowOrder {
    /// Any.
    ByPart,
    /// That of an INSERT's rows, which come from these parts.
    OfInput(Vec<usize>),
}

/// What one shard is asked.
#[derive(Clone, Debug)]
pub struct Part {
    pub shard: ShardId,
    pub text: PartText,
    /// Rows of this shard that the statement may see; `None` when every row of the shard is its own or the
    /// statement's key fixes the owner. Moves set it (a shard may hold rows that it does not own yet, or no longer).
    pub ownership: Option<OwnershipPredicate>,
}

impl Part {
    /// The statement as it is.
    pub fn untouched(shard: ShardId) -> Self {
        Self { shard, text: PartText::Untouched, ownership: None }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PartText {
    /// The client's own bytes.
    Untouched,
    Rewritten(Arc<str>),
}

/// An SQL condition on one relation that selects exactly the rows that a shard owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnershipPredicate {
    pub relation: String,
    pub condition: Arc<str>,
}

/// Whether a replica may answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Known to be free of effects.
    Read,
    /// Anything else.
    Primary { writes: bool },
}

impl Access {
    /// What two statements on one server need together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Read, access) | (access, Self::Read) => access,
            (Self::Primary { writes: one }, Self::Primary { writes: two }) => Self::Primary { writes: one || two },
        }
    }
}
