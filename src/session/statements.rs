//! Prepared statements that follow the client over servers.
//!
//! A client's statement is known by its definition (text and parameter types). Clients that prepare the same
//! definition under the same settings share one entry, and every server that has it knows it by the same name, so that
//! a statement which one client prepared on a server serves all. Settings count because constants are read when a
//! statement is parsed: `'2020-01-02 03:00'::timestamptz` means what the TimeZone of that moment says.

use std::borrow::Cow;
use std::cell::{Cell, OnceCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use rustc_hash::{FxHashMap, FxHashSet};

use super::settings::Settings;
use super::shape::Shape;
use crate::sql::facts::Facts;
use crate::sql::moment;
use crate::sql::scan::LiteralSpan;
use crate::wire::frontend;

/// A statement's number, unique in the process: servers cross over between workers and keep their statements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StatementId(pub u64);

impl StatementId {
    /// The name by which servers know the statement.
    pub fn server_name(self) -> String {
        format!("weir_{}", self.0)
    }
}

/// The OID of type unknown: a parameter that is declared so gets its type from its place, as one that is not declared.
const UNKNOWN: u32 = 705;

/// Gives out statement numbers; one for all workers.
#[derive(Debug, Default)]
pub struct StatementIds(AtomicU64);

impl StatementIds {
    pub fn next(&self) -> StatementId {
        StatementId(self.0.fetch_add(1, Ordering::Relaxed))
    }
}

/// How a client prepared a statement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Made {
    /// By Parse. Servers know it by a name of Weir's.
    #[default]
    ByParse,
    /// By SQL's PREPARE, which is the statement's text. Servers know it by the client's own name.
    BySql,
}

/// A prepared statement's definition and what is known of it.
#[derive(Debug)]
pub struct Prepared {
    pub id: StatementId,
    pub made: Made,
    pub server_name: Vec<u8>,
    /// Text, its terminating zero, and parameter types, as in the body of Parse behind the name.
    pub definition: Bytes,
    /// `None` when the text is not UTF-8.
    pub text: Option<Arc<str>>,
    pub parameter_types: Vec<u32>,
    /// The version of the schema that the facts were read against.
    pub schema_version: u64,
    pub facts: Arc<Facts>,
    pub literals: Vec<LiteralSpan>,
    /// What servers said of the statement; shared with copies of other facts.
    pub standing: Rc<Standing>,
}

/// What servers said of a statement.
#[derive(Debug, Default)]
pub struct Standing {
    /// Some server has accepted the statement, so that a Parse of it needs none.
    pub proven: Cell<bool>,
    /// The schema may have changed under the statement. It stands for those who have it, as PostgreSQL keeps a statement
    /// for its session; who prepares the same definition from now on gets a fresh one.
    pub outdated: Cell<bool>,
    /// How far changes of the schema had come when the statement was first prepared.
    pub born: u64,
    /// The settings under which its constants were read; `None` where they are not known.
    pub reading: Option<Arc<Settings>>,
    /// What the statement takes and gives. It stays what it was, whatever becomes of the schema.
    described: OnceCell<Described>,
}

/// A statement's description as a server gave it first, in the numbers that clients know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    pub shape: Shape,
    /// The types of all parameters, those included that the server inferred.
    pub parameter_types: Box<[u32]>,
    /// The types of its columns; none for a statement that gives no rows.
    pub column_types: Box<[u32]>,
}

impl Standing {
    pub fn new(born: u64, reading: Option<Arc<Settings>>) -> Self {
        Self { born, reading, ..Self::default() }
    }

    /// Whether the statement may be given to those who prepare it now; `born` as in the field.
    pub fn stands(&self, born: u64) -> bool {
        self.born == born && !self.outdated.get()
    }

    /// What the statement takes and gives, once that is known.
    pub fn shape(&self) -> Option<Shape> {
        self.described.get().map(|described| described.shape)
    }

    /// Keeps a description. The first one stays.
    pub fn learn(&self, described: Described) {
        let _known = self.described.set(described);
    }
}

impl Prepared {
    /// The definition for a server that is to have the statement as others have it: with the parameter types that were
    /// once inferred, since PostgreSQL never infers them again for a statement that it has.
    pub fn settled_definition(&self) -> Cow<'_, [u8]> {
        let Some(described) = self.standing.described.get() else { return Cow::Borrowed(&self.definition) };
        let settled = |at: usize, oid: u32| match self.parameter_types.get(at) {
            Some(&declared) if declared != 0 => declared,
            _ => oid,
        };
        let types = described.parameter_types.iter().enumerate().map(|(at, &oid)| settled(at, oid));
        Cow::Owned(frontend::redefined(&self.definition, types).to_vec())
    }

    /// The type of a parameter: as the client declared it, or as a server inferred it; `None` while nobody has.
    pub fn parameter_type(&self, at: usize) -> Option<u32> {
        match self.parameter_types.get(at) {
            Some(&declared) if !matches!(declared, 0 | UNKNOWN) => Some(declared),
            _ => self.standing.described.get()?.parameter_types.get(at).copied(),
        }
    }

    /// The types of the columns, once they are known.
    pub fn column_types(&self) -> Option<&[u32]> {
        self.standing.described.get().map(|described| &*described.column_types)
    }

    /// Whether the text may have constants that are read when it is prepared, as the settings of that moment say.
    pub fn has_constants(&self) -> bool {
        self.text.as_deref().is_none_or(|text| may_quote(text) || mentions_null(text))
    }

    /// Whether a second Parse of the definition gives the same statement. A literal like `'now'` is read when the
    /// statement is parsed.
    pub fn is_repeatable(&self) -> bool {
        let Some(text) = self.text.as_deref() else { return false };
        if self.literals.is_empty() {
            // There are none, or the text has something that the scanner does not follow.
            return !text.contains(['\'', '$']) || !moment::is_mentioned(text);
        }
        // An escape could spell the word in another way.
        let mut literals = self.literals.iter().map(|literal| literal.raw(text));
        !literals.any(|literal| moment::names_moment(literal) || literal.contains('\\'))
    }
}

/// Whether a text has a quote: an apostrophe, or a dollar that begins no parameter.
fn may_quote(text: &str) -> bool {
    let mut after_dollars = text.split('$').skip(1);
    text.contains('\'') || after_dollars.any(|rest| !rest.starts_with(|first: char| first.is_ascii_digit()))
}

/// Whether a text may have the constant NULL, with which `=` means what `transform_null_equals` says.
fn mentions_null(text: &str) -> bool {
    text.as_bytes().windows(4).any(|word| word.eq_ignore_ascii_case(b"null"))
}

#[cfg(test)]
impl Prepared {
    /// A statement for tests: `SELECT id`.
    pub(super) fn sample(id: u64) -> Self {
        let text = format!("SELECT {id}");
        Self {
            id: StatementId(id),
            made: Made::ByParse,
            server_name: StatementId(id).server_name().into_bytes(),
            definition: crate::wire::frontend::definition(&text, &[]).freeze(),
            text: Some(text.into()),
            parameter_types: Vec::new(),
            schema_version: 0,
            facts: Arc::new(Facts::default()),
            literals: Vec::new(),
            standing: Rc::default(),
        }
    }
}

/// The statements of those clients of one worker that parse alike: same database, same settings.
#[derive(Debug, Default)]
pub struct Registry {
    by_definition: FxHashMap<Bytes, Rc<Prepared>>,
    /// Bytes of definitions that came since the last sweep, and those that it left.
    fresh_bytes: usize,
    held_bytes: usize,
}

/// Definitions that no client holds are dropped when this many bytes of new ones have come, or as many as there are.
const SWEEP_BYTES: usize = 4 * 1024 * 1024;

/// What a statement is taken to occupy beside its definition.
const STATEMENT_BYTES: usize = 1024;

impl Registry {
    /// Finds a definition that was seen before.
    pub fn find(&self, definition: &[u8]) -> Option<Rc<Prepared>> {
        self.by_definition.get(definition).cloned()
    }

    /// Keeps a new definition.
    pub fn insert(&mut self, prepared: Prepared) -> Rc<Prepared> {
        self.fresh_bytes += weight(&prepared);
        if self.fresh_bytes > SWEEP_BYTES.max(self.held_bytes) {
            self.sweep();
        }
        let prepared = Rc::new(prepared);
        self.by_definition.insert(prepared.definition.clone(), Rc::clone(&prepared));
        prepared
    }

    /// Drops what no client holds.
    fn sweep(&mut self) {
        self.by_definition.retain(|_, held| Rc::strong_count(held) > 1);
        self.by_definition.shrink_to(2 * self.by_definition.len());
        self.held_bytes = self.by_definition.values().map(|held| weight(held)).sum();
        self.fresh_bytes = 0;
    }

    pub fn len(&self) -> usize {
        self.by_definition.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_definition.is_empty()
    }
}

fn weight(prepared: &Prepared) -> usize {
    STATEMENT_BYTES + 2 * prepared.definition.len()
}

/// The statements of one client, by the names that the client gave them.
#[derive(Debug, Default)]
pub struct Names {
    named: FxHashMap<Vec<u8>, Rc<Prepared>>,
    unnamed: Option<Rc<Prepared>>,
    /// Names whose Parse no server has seen, and that have not been used since.
    untried: FxHashSet<Vec<u8>>,
}

impl Names {
    pub fn get(&self, name: &[u8]) -> Option<&Rc<Prepared>> {
        if name.is_empty() { self.unnamed.as_ref() } else { self.named.get(name) }
    }

    pub fn set(&mut self, name: &[u8], prepared: Rc<Prepared>) {
        if name.is_empty() {
            self.unnamed = Some(prepared);
        } else {
            self.named.insert(name.to_vec(), prepared);
        }
    }

    pub fn contains(&self, name: &[u8]) -> bool {
        self.get(name).is_some()
    }

    /// A Parse of that name was answered without a server.
    pub fn mark_untried(&mut self, name: &[u8]) {
        self.untried.insert(name.to_vec());
    }

    pub fn is_untried(&self, name: &[u8]) -> bool {
        !self.untried.is_empty() && self.untried.contains(name)
    }

    /// The client used a name, and knows what it stands for.
    pub fn mark_tried(&mut self, name: &[u8]) {
        if !self.untried.is_empty() {
            self.untried.remove(name);
        }
    }

    /// Forgets a name. Gives whether it was known.
    pub fn remove(&mut self, name: &[u8]) -> bool {
        self.mark_tried(name);
        if name.is_empty() { self.unnamed.take().is_some() } else { self.named.remove(name).is_some() }
    }

    /// All names but the unnamed one, with what they stand for.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &Rc<Prepared>)> {
        self.named.iter().map(|(name, prepared)| (name.as_slice(), prepared))
    }

    /// A server says that the schema has changed under a statement.
    pub fn doubt(&self, id: StatementId) {
        let all = self.named.values().chain(&self.unnamed);
        all.filter(|prepared| prepared.id == id).for_each(|doubted| doubted.standing.outdated.set(true));
    }

    /// A simple Query destroys the unnamed statement.
    pub fn clear_unnamed(&mut self) {
        self.unnamed = None;
    }

    /// DEALLOCATE ALL and DISCARD ALL.
    pub fn clear(&mut self) {
        self.named.clear();
        self.untried.clear();
        self.unnamed = None;
    }

    pub fn len(&self) -> usize {
        self.named.len()
    }

    pub fn is_empty(&self) -> bool {
        self.named.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_no_constant() {
        assert!(!may_quote("INSERT INTO t VALUES ($1, $22::json)"));
        for text in ["SELECT 'a'", "SELECT $$a$$", "SELECT $1, $tag$a$tag$", "SELECT $"] {
            assert!(may_quote(text), "{text}");
        }
        assert!(mentions_null("SELECT a = Null") && !mentions_null("SELECT a = $1"));
    }

    #[test]
    fn names_are_kept_until_they_are_forgotten() {
        let mut names = Names::default();
        names.set(b"a", Rc::new(Prepared::sample(1)));
        names.set(b"b", Rc::new(Prepared::sample(1)));
        names.set(b"c", Rc::new(Prepared::sample(2)));
        names.set(b"", Rc::new(Prepared::sample(3)));
        assert_eq!(names.get(b"c").map(|found| found.id), Some(StatementId(2)));
        assert!(names.remove(b"c") && !names.remove(b"c"));
        names.clear_unnamed();
        assert!(!names.contains(b"") && names.len() == 2);
        names.doubt(StatementId(1));
        assert!(names.get(b"a").is_some_and(|doubted| doubted.standing.outdated.get()));
        names.clear();
        assert!(names.is_empty());
    }

    #[test]
    fn a_registry_drops_what_nobody_holds() {
        let mut registry = Registry::default();
        let held: Vec<_> = (0..3).map(|id| registry.insert(Prepared::sample(id))).collect();
        for id in 3..100_000 {
            registry.insert(Prepared::sample(id));
            assert!(registry.len() <= SWEEP_BYTES / STATEMENT_BYTES + held.len());
        }
        assert!(held.iter().all(|held| registry.find(&held.definition).is_some()));
        assert!(registry.find(&Prepared::sample(3).definition).is_none());
    }

    #[test]
    fn numbers_are_never_given_twice() {
        let ids = StatementIds::default();
        assert_ne!(ids.next(), ids.next());
        assert_eq!(StatementId(7).server_name(), "weir_7");
    }
}
