//! Facts, parameters and the shard map become a plan: where a statement runs, and how its rows become one result.
//! What is not recognised is refused; a key counts only where it truly restricts its relation.
//!
//! * [`plan`] is for sharded databases, [`unsharded`] for the others.
//! * [`prune`] finds the shards that can hold the rows that a statement needs, [`value`] and [`array`] the values of keys.
//! * [`rows`] plans reads, [`write`] writes, [`copy`] COPY FROM STDIN, [`schema_change`] DDL, [`session`] what is about the session.
//! * [`fan`] is for reads of several shards whose rows are merged, [`gather`] for the others, [`spread`] for writes of rows on
//!   several shards, [`fixed`] for statements whose shard the client names.
//!   [`numbering`] finds rows that need numbers of sequences. [`target`] looks relations up in the map,
//!   [`access`] says whether a replica may
//!   answer. [`one_key`] is a short cut for the most frequent read.

mod access;
mod array;
mod computed;
pub mod copy;
mod explain;
mod fan;
mod fixed;
mod gather;
mod made_table;
mod named;
mod numbering;
mod one_key;
pub mod plan;
mod prune;
mod rows;
mod schema_change;
mod session;
mod spread;
mod target;
mod value;
mod write;

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeSet;

use self::plan::{Access, Action, Part, Plan};
use self::target::Target;
use crate::shardmap::{Key, KeyValue, Keyspace, ShardMap};
use crate::sql::facts::{Ddl, Effects, Facets, Operand, RelationName, SetConfig, Statement, StatementKind};
use crate::sql::moment::names_moment;
use crate::sql::scan::LiteralSpan;
use crate::sql::schema::{Resolved, Schema};
use crate::types::{Error, Result, ShardId};
use crate::wire::frontend::Format;

pub use access::unsharded;
pub use named::{Named, OWN_SETTINGS};
pub use one_key::by_one_key;
pub use schema_change::{changes_columns, may_stand_in_block};
pub use session::{SEARCH_PATH, check_setting, check_startup, configured, is_per_statement};
pub use target::describer;

/// The shard that answers what belongs to no shard, and holds sequences, advisory locks and notifications.
pub const HOME: ShardId = ShardId(0);

/// A bound parameter.
#[derive(Clone, Copy, Debug)]
pub struct Parameter<'a> {
    /// The type that the client declared, 0 if it left that to the server.
    pub type_oid: u32,
    pub format: Format,
    /// `None` for NULL.
    pub value: Option<&'a [u8]>,
}

impl Parameter<'_> {
    /// Whether a server could read the parameter as a date or time that depends on the clock. Binary forms never do.
    fn names_moment(&self) -> bool {
        let is_text = [oid::TEXT, oid::VARCHAR].contains(&self.type_oid);
        let text = self.value.filter(|_| self.format == Format::Text && !is_text);
        text.is_some_and(|text| names_moment(&String::from_utf8_lossy(text)))
    }
}

/// Types whose values stay texts. Source: PostgreSQL's `pg_type.dat`.
mod oid {
    pub const TEXT: u32 = 25;
    pub const VARCHAR: u32 = 1043;
}

/// A statement of a sharded database, with all that decides where it runs.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// The text that the facts are of.
    pub text: &'a str,
    /// One of the text's statements.
    pub statement: &'a Statement,
    /// All literals of the text.
    pub literals: &'a [LiteralSpan],
    /// Empty for a simple query.
    pub parameters: &'a [Parameter<'a>],
    pub map: &'a ShardMap,
    pub schema: &'a Schema,
    /// The shard that the client names.
    pub named: Option<ShardId>,
    /// The role that the statement runs as.
    pub role: &'a str,
    /// The session has a search path of its own choice.
    pub has_own_path: bool,
    /// Names of the session's temporary relations, which live on the home shard and are found before all others.
    pub temporary: &'a BTreeSet<String>,
}

/// Where a statement runs.
///
/// # Errors
/// - [`crate::types::Kind::NotSupported`] with DETAIL for everything that cannot be proven to give one PostgreSQL's answer.
/// - [`crate::types::Kind::NullKey`] for an INSERT of a NULL key, [`crate::types::Kind::InvalidValue`] for one that no
///   shard owns.
pub fn plan(request: &Request<'_>) -> Result<Plan> {
    plan_noting(request, &mut Vec::new())
}

/// As [`plan`], and notes the keys that no shard owns: the outcome, be it a plan or an error, holds only if nobody has
/// given them an owner meanwhile.
///
/// # Errors
/// As [`plan`].
pub fn plan_noting(request: &Request<'_>, unowned: &mut Vec<UnownedKey>) -> Result<Plan> {
    if let Some(shard) = by_one_key(request) {
        let action = Action::One { part: Part::untouched(shard), access: unsharded(request.statement) };
        return Ok(Plan { epoch: request.map.epoch(), action, explanation: Vec::new() });
    }
    plan_in_full(request, unowned)
}

fn plan_in_full(request: &Request<'_>, unowned: &mut Vec<UnownedKey>) -> Result<Plan> {
    let noted = RefCell::default();
    let mut router = Router { request: *request, targets: Vec::new(), unowned: &noted };
    let action = router.action();
    let explanation = router.explanation(action.as_ref().ok());
    unowned.append(&mut noted.borrow_mut());
    Ok(Plan { epoch: request.map.epoch(), action: action?, explanation: explanation? })
}

/// How a SELECT that needs rows of several shards is answered over gathered rows, where they cannot be merged.
///
/// # Errors
/// As [`plan`].
pub fn plan_gathered(request: &Request<'_>) -> Result<Plan> {
    let mut router = Router { request: *request, targets: Vec::new(), unowned: &RefCell::default() };
    router.resolve()?;
    let action = router.gather(&router.needed(None)?)?;
    Ok(Plan { epoch: request.map.epoch(), action, explanation: Vec::new() })
}

/// A key that a statement needs and no shard owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnownedKey {
    pub keyspace: String,
    pub key: Key,
    /// The statement would add a row or a table with it.
    pub is_new: bool,
}

/// A request with its relations looked up.
struct Router<'a> {
    request: Request<'a>,
    /// By index into [`Statement::relations`].
    targets: Vec<Target<'a>>,
    unowned: &'a RefCell<Vec<UnownedKey>>,
}

impl<'a> Router<'a> {
    fn action(&mut self) -> Result<Action> {
        let statement = self.statement();
        if matches!(statement.kind, StatementKind::Prepare { .. }) {
            return Ok(Action::Prepare);
        }
        if statement.executes.is_some() {
            self.check_understood()?;
            return Ok(Action::Execute);
        }
        if statement.kind == StatementKind::Select
            && !statement.set_configs.is_empty()
            && let Some(action) = session::set_config(
                statement.text(self.request.text),
                self.request.parameters,
                self.request.named.is_none(),
            )
        {
            return action;
        }
        if let Some(action) = self.numbering()? {
            return Ok(action);
        }
        if let Some(shard) = self.request.named
            && let Some(action) = self.on_named_shard(shard)?
        {
            return Ok(action);
        }
        match &statement.kind {
            StatementKind::Transaction(_)
            | StatementKind::ResetAll
            | StatementKind::Discard(_)
            | StatementKind::Deallocate { .. } => Ok(Action::Session),
            StatementKind::Set { .. } | StatementKind::Reset { .. } => session::set(statement.text(self.request.text)),
            StatementKind::Show | StatementKind::Listen | StatementKind::Unlisten | StatementKind::Notify => {
                Ok(self.one(HOME))
            }
            StatementKind::Prepare { .. }
            | StatementKind::Execute
            | StatementKind::Opaque
            | StatementKind::Other(_) => Err(session::refusal(&statement.kind)),
            StatementKind::DeclareCursor { .. } | StatementKind::Fetch | StatementKind::CloseCursor => {
                Ok(Action::Cursor)
            }
            StatementKind::Unparsed => Err(session::unparsed(self.request.text)),
            StatementKind::Ddl => {
                self.check_understood()?;
                self.note_schemas(matches!(statement.ddl, Some(Ddl::CreateTable { .. } | Ddl::CreateTableAs { .. })));
                if let Some(Ddl::CreateTableAs { temporary, with_data }) = statement.ddl {
                    return self.table_from_query(temporary, with_data);
                }
                if let Some(Ddl::CreateTable { temporary, .. }) = &statement.ddl {
                    match temporary {
                        true => return Ok(self.on_home()),
                        false => self.check_not_hidden()?,
                    }
                }
                self.targets = target::resolve_existing(&self.request);
                self.schema_change()
            }
            StatementKind::Standalone | StatementKind::Lock => {
                self.check_understood()?;
                self.targets = target::resolve_existing(&self.request);
                if statement.kind == StatementKind::Lock { self.lock() } else { self.shard_by_shard() }
            }
            StatementKind::Select | StatementKind::CopyTo | StatementKind::Explain { .. } => {
                self.resolve()?;
                if statement.effects.contains(Effects::WRITES_ROWS) { self.write() } else { self.read() }
            }
            StatementKind::Insert | StatementKind::Update | StatementKind::Delete | StatementKind::Merge => {
                self.resolve()?;
                self.write()
            }
            StatementKind::CopyFrom => {
                self.resolve()?;
                self.copy_from()
            }
        }
    }

    fn note_unowned(&self, keyspace: &Keyspace, keys: Vec<Key>, is_new: bool) {
        let noted = keys.into_iter().map(|key| UnownedKey { keyspace: keyspace.name.clone(), key, is_new });
        self.unowned.borrow_mut().extend(noted);
    }

    fn statement(&self) -> &'a Statement {
        self.request.statement
    }

    fn has(&self, effects: Effects) -> bool {
        self.statement().effects.intersects(effects)
    }

    /// Looks the relations up, once it is certain that the facts tell everything.
    fn resolve(&mut self) -> Result<()> {
        self.check_understood()?;
        self.note_schemas(false);
        self.targets = target::resolve(&self.request)?;
        Ok(())
    }

    /// A name without its schema must mean what the map takes it for.
    fn check_names(&self) -> Result<()> {
        let statement = self.statement();
        let role = self.request.role;
        let detail = match self.request.schema.other_paths.contains(role) {
            _ if self.request.has_own_path => "The session has changed its search_path.".to_owned(),
            true => format!("Role \"{role}\" has a search_path of its own."),
            false => return Ok(()),
        };
        let referenced = match &statement.ddl {
            Some(Ddl::CreateTable { foreign_keys, .. } | Ddl::AlterTable { foreign_keys, .. }) => {
                foreign_keys.as_slice()
            }
            _ => &[],
        };
        let names = statement.relations.iter().map(|used| &used.name);
        let mut names = names.chain(referenced.iter().map(|foreign_key| &foreign_key.referenced));
        match names.find(|name| self.depends_on_path(name)) {
            Some(name) => Err(Error::refuse(format!("cannot tell which relation \"{}\" is", name.name), detail)
                .hint("Qualify names with their schema.")),
            None => Ok(()),
        }
    }

    /// Whether a name may lead to another relation under another search path.
    fn depends_on_path(&self, name: &RelationName) -> bool {
        let schema = self.request.schema;
        let is_users = || schema.relations.keys().any(|(_, own)| *own == name.name);
        name.schema.is_none() && (!matches!(schema.resolve(name), Resolved::System) || is_users())
    }

    /// Notes the schemas of relations that have no place, where schemas are keys.
    fn note_schemas(&self, is_new: bool) {
        let Some(keyspace) = self.request.map.schemas() else { return };
        let names = self.statement().relations.iter().map(|used| &used.name);
        let homeless = names.filter(|name| matches!(target::lookup(&self.request, name), Target::Unmapped));
        let schemas = homeless.filter_map(|name| name.schema.as_ref().or(self.request.schema.search_path.first()));
        let keys = schemas.map(|schema| vec![KeyValue::Text(schema.clone().into())]).collect();
        self.note_unowned(keyspace, keys, is_new);
    }

    fn check_understood(&self) -> Result<()> {
        self.check_names()?;
        let statement = self.statement();
        if let Some(part) = &statement.unknown {
            return Err(Error::refuse("cannot route the statement", format!("The statement contains {part}.")));
        }
        if let Some(name) = statement.opaque_names.first() {
            let names = statement.opaque_names.join(", ");
            return Err(Error::refuse(
                "cannot run code that may touch several shards",
                format!("It cannot be seen what {names} reads or writes."),
            )
            .hint(code_hint(name)));
        }
        self.check_session_state()
    }

    /// Session state that one shard cannot keep.
    fn check_session_state(&self) -> Result<()> {
        let statement = self.statement();
        let is_table = matches!(
            statement.ddl,
            Some(Ddl::CreateTable { temporary: true, .. } | Ddl::CreateTableAs { temporary: true, .. })
        );
        if statement.makes.contains(Facets::TEMPORARY) && !is_table {
            return Err(Error::refuse(
                "temporary relations other than tables are not supported on a sharded database",
                "The relation would live on the home shard, and what it is made from perhaps elsewhere.",
            )
            .hint("CREATE TEMPORARY TABLE with columns works; fill it with INSERT."));
        }
        statement.set_configs.iter().try_for_each(|call| self.check_set_config(call))
    }

    /// What set_config() sets can be told to the other shards' servers if it is plain to see, and lasts.
    fn check_set_config(&self, call: &SetConfig) -> Result<()> {
        let statement = self.statement();
        let is_plain = statement.kind == StatementKind::Select && statement.relations.is_empty();
        match (self.plain_text(&call.name), self.plain_text(&call.value)) {
            (Some(name), Some(_)) if name.eq_ignore_ascii_case(session::SEARCH_PATH) => Err(Error::refuse(
                "search_path cannot be set beside other things on a sharded database",
                "Which tables are meant would change while the statement runs.",
            )
            .hint("Use SET, or call set_config() in a statement of its own.")),
            (Some(name), Some(value)) if is_plain && call.local == Some(false) && !name.starts_with(OWN_SETTINGS) => {
                check_setting(&name.to_ascii_lowercase(), Some(&value))
            }
            _ => Err(Error::refuse(
                "set_config() is not supported in this way on a sharded database",
                "The setting would change on one shard only.",
            )
            .hint(
                "Use SET or SET LOCAL, or call set_config() with plain values in a statement of its own. To dump the \
                 database, let pg_dump work on the shards themselves.",
            )),
        }
    }

    /// A text that is a literal or a parameter; it has one form in both formats.
    fn plain_text(&self, operand: &Operand) -> Option<Cow<'a, str>> {
        match operand {
            Operand::Literal { slot, negated: false } => self.request.literals.get(*slot)?.value(self.request.text),
            Operand::Parameter(number) => {
                let parameter = self.request.parameters.get(usize::from(*number).checked_sub(1)?)?;
                std::str::from_utf8(parameter.value?).ok().map(Cow::Borrowed)
            }
            _ => None,
        }
    }

    /// Code that is declared to stay on its shard needs a shard to stay on.
    fn check_shard_local(&self) -> Result<()> {
        match self.statement().shard_local_names.first() {
            None => Ok(()),
            Some(name) => Err(Error::refuse(
                format!("cannot tell the shard of {name}"),
                "The function is declared shard_local: it runs where the rows of the statement's sharded tables are, if that is one shard.",
            )
            .hint("Restrict a shard key by a value, or name the shard: SET weir.shard = 'name'.")),
        }
    }

    /// A statement about temporary tables.
    fn on_home(&self) -> Action {
        Action::One { part: Part::untouched(HOME), access: Access::Primary { writes: true } }
    }

    /// A new table's name must not mean a temporary one.
    fn check_not_hidden(&self) -> Result<()> {
        let mut names = self.statement().relations.iter().map(|used| &used.name);
        match names.find(|name| name.schema.is_none() && self.request.temporary.contains(&name.name)) {
            None => Ok(()),
            Some(name) => Err(Error::refuse(
                format!("\"{}\" is the name of a temporary table of this session", name.name),
                "The statement would make another table of that name.",
            )
            .hint("Name the new table's schema.")),
        }
    }

    /// The statement as it is, on one shard.
    fn one(&self, shard: ShardId) -> Action {
        Action::One { part: Part::untouched(shard), access: self.access() }
    }

    fn access(&self) -> Access {
        match access::unsharded(self.statement()) {
            // set_config() is volatile, and writes nothing.
            Access::Primary { .. } if self.only_sets() => Access::Primary { writes: false },
            access => access,
        }
    }

    fn only_sets(&self) -> bool {
        let statement = self.statement();
        !statement.set_configs.is_empty() && statement.relations.is_empty() && !self.has(Effects::HOME_ONLY)
    }

    /// The statement as it is, on every shard or none.
    fn everywhere(&self, changes_schema: bool) -> Action {
        Action::Everywhere { parts: self.request.map.shard_ids().map(Part::untouched).collect(), changes_schema }
    }
}

/// The way around for code that cannot be seen into.
fn code_hint(name: &str) -> String {
    match name.strip_suffix("()") {
        Some(function) => format!(
            "If {function} touches only the shard that it runs on, add it, with its schema, to shard_local of the \
             database in weir.toml; or name the shard: SET weir.shard = 'name'."
        ),
        None => "Name the shard: SET weir.shard = 'name'.".to_owned(),
    }
}

#[cfg(test)]
mod tests;
