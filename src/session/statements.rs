//! Prepared statements that follow the client over servers.
//!
//! A client's statement is known by its definition (text and parameter types). Clients that prepare the same
//! definition under the same settings share one entry, and every server that has it knows it by the same name, so that
//! a statement which one client prepared on a server serves all. Settings count because constants are read when a
//! statement is parsed: `'2020-01-02 03:00'::timestamptz` means what the TimeZone of that moment says.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use rustc_hash::FxHashMap;

use crate::sql::facts::Facts;
use crate::sql::moment;
use crate::sql::scan::LiteralSpan;

/// A statement's number, unique in the process: servers cross over between workers and keep their statements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StatementId(pub u64);

impl StatementId {
    /// The name by which servers know the statement.
    pub fn server_name(self) -> String {
        format!("weir_{}", self.0)
    }
}

/// Gives out statement numbers; one for all workers.
#[derive(Debug, Default)]
pub struct StatementIds(AtomicU64);

impl StatementIds {
    pub fn next(&self) -> StatementId {
        StatementId(self.0.fetch_add(1, Ordering::Relaxed))
    }
}

/// A prepared statement's definition and what is known of it.
#[derive(Debug)]
pub struct Prepared {
    pub id: StatementId,
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
    /// Some server has accepted the statement, so that a Parse of it needs none.
    pub proven: Cell<bool>,
}

impl Prepared {
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

#[cfg(test)]
impl Prepared {
    /// A statement for tests: `SELECT id`.
    pub(super) fn sample(id: u64) -> Self {
        let text = format!("SELECT {id}");
        Self {
            id: StatementId(id),
            server_name: StatementId(id).server_name().into_bytes(),
            definition: crate::wire::frontend::definition(&text, &[]).freeze(),
            text: Some(text.into()),
            parameter_types: Vec::new(),
            schema_version: 0,
            facts: Arc::new(Facts::default()),
            literals: Vec::new(),
            proven: Cell::new(false),
        }
    }
}

/// The statements of those clients of one worker that parse alike: same database, same settings.
#[derive(Debug, Default)]
pub struct Registry {
    by_definition: FxHashMap<Bytes, Rc<Prepared>>,
}

/// Above this many entries, those that no client holds are dropped.
const SWEEP_AT: usize = 4096;

impl Registry {
    /// Finds a definition that was seen before.
    pub fn find(&self, definition: &[u8]) -> Option<Rc<Prepared>> {
        self.by_definition.get(definition).cloned()
    }

    /// Keeps a new definition.
    pub fn insert(&mut self, prepared: Prepared) -> Rc<Prepared> {
        if self.by_definition.len() >= SWEEP_AT && self.by_definition.len().is_power_of_two() {
            self.by_definition.retain(|_, held| Rc::strong_count(held) > 1);
        }
        let prepared = Rc::new(prepared);
        self.by_definition.insert(prepared.definition.clone(), Rc::clone(&prepared));
        prepared
    }

    pub fn len(&self) -> usize {
        self.by_definition.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_definition.is_empty()
    }
}

/// The statements of one client, by the names that the client gave them.
#[derive(Debug, Default)]
pub struct Names {
    named: FxHashMap<Vec<u8>, Rc<Prepared>>,
    unnamed: Option<Rc<Prepared>>,
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

    /// Forgets a name. Gives whether it was known.
    pub fn remove(&mut self, name: &[u8]) -> bool {
        if name.is_empty() { self.unnamed.take().is_some() } else { self.named.remove(name).is_some() }
    }

    /// A server refused the definition: every name that stands for it is gone.
    pub fn remove_id(&mut self, id: StatementId) {
        self.named.retain(|_, prepared| prepared.id != id);
    }

    /// A simple Query destroys the unnamed statement.
    pub fn clear_unnamed(&mut self) {
        self.unnamed = None;
    }

    /// DEALLOCATE ALL and DISCARD ALL.
    pub fn clear(&mut self) {
        self.named.clear();
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
        names.remove_id(StatementId(1));
        assert!(names.is_empty());
    }

    #[test]
    fn a_registry_drops_what_nobody_holds() {
        let mut registry = Registry::default();
        let held = registry.insert(Prepared::sample(0));
        (1..=SWEEP_AT as u64).for_each(|id| drop(registry.insert(Prepared::sample(id))));
        assert_eq!(registry.len(), 2, "the held one and the last one");
        assert!(registry.find(&held.definition).is_some());
        assert!(registry.find(&Prepared::sample(1).definition).is_none());
    }

    #[test]
    fn numbers_are_never_given_twice() {
        let ids = StatementIds::default();
        assert_ne!(ids.next(), ids.next());
        assert_eq!(StatementId(7).server_name(), "weir_7");
    }
}
