//! Facts are computed once per shape of a statement and kept.

use std::sync::Arc;

use hashlink::LruCache;
use rustc_hash::FxBuildHasher;

use super::analyze::analyze_scanned;
use super::facts::{Effects, Facts, Statement, StatementKind};
use super::scan::{LiteralSpan, scan};
use super::schema::Schema;
use super::template::Templates;

/// What one statement's facts are taken to occupy beside their lists, in bytes.
const STATEMENT_BYTES: usize = std::mem::size_of::<Statement>() + 256;

/// Texts longer than this are analysed each time: they are mostly data (INSERTs of many rows) that never comes again.
const CACHED_TEXT_BYTES_MAX: usize = 64 * 1024;

/// Facts by shape. One thread's own: no locks. The least recently used shapes leave first.
pub struct FactsCache {
    entries: LruCache<Box<[u8]>, Arc<Facts>, FxBuildHasher>,
    /// Texts of late, in front of the entries.
    templates: Templates,
    /// The key of the text at hand; kept for its memory.
    key: Vec<u8>,
    schema_version: u64,
    bytes: usize,
    bytes_max: usize,
    hits: u64,
    misses: u64,
}

/// How well a cache does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStats {
    pub hits: u64,
    pub misses: u64,
    pub entries: usize,
    pub bytes: usize,
}

impl FactsCache {
    /// A cache of about `bytes_max` bytes.
    pub fn new(bytes_max: usize) -> Self {
        Self {
            entries: LruCache::with_hasher(usize::MAX, FxBuildHasher),
            templates: Templates::default(),
            key: Vec::new(),
            schema_version: 0,
            bytes: 0,
            bytes_max,
            hits: 0,
            misses: 0,
        }
    }

    /// The facts of `text`; `literals` is filled with the text's own literals, which the facts refer to by number.
    /// A hit allocates nothing (once `literals` has grown).
    pub fn get(
        &mut self,
        text: &str,
        schema: &Schema,
        standard_conforming_strings: bool,
        literals: &mut Vec<LiteralSpan>,
    ) -> Arc<Facts> {
        self.follow(schema);
        literals.clear();
        if let Some(facts) = self.templates.find(text, standard_conforming_strings, literals) {
            self.hits += 1;
            return Arc::clone(facts);
        }
        self.key.clear();
        // A text means something else under the other setting, even where its key would be the same.
        self.key.push(u8::from(standard_conforming_strings));
        if scan(text, standard_conforming_strings, &mut self.key, literals).is_err() {
            literals.clear();
            return Arc::new(analyze_scanned(text, literals, standard_conforming_strings, schema));
        }
        if let Some(facts) = self.entries.get(self.key.as_slice()) {
            self.hits += 1;
            self.templates.remember(text, literals, standard_conforming_strings, facts);
            return Arc::clone(facts);
        }
        self.misses += 1;
        let facts = Arc::new(analyze_scanned(text, literals, standard_conforming_strings, schema));
        if text.len() <= CACHED_TEXT_BYTES_MAX && is_shareable(&facts) {
            self.insert(Arc::clone(&facts));
        }
        facts
    }

    pub fn stats(&self) -> CacheStats {
        CacheStats { hits: self.hits, misses: self.misses, entries: self.entries.len(), bytes: self.bytes }
    }

    /// What another version of the schema said is forgotten.
    fn follow(&mut self, schema: &Schema) {
        if self.schema_version != schema.version {
            self.entries.clear();
            self.templates.forget_all();
            self.bytes = 0;
            self.schema_version = schema.version;
        }
    }

    fn insert(&mut self, facts: Arc<Facts>) {
        self.bytes += weight(&self.key, &facts);
        self.entries.insert(self.key.as_slice().into(), facts);
        while self.bytes > self.bytes_max {
            let Some((key, facts)) = self.entries.remove_lru() else { break };
            self.bytes -= weight(&key, &facts);
        }
    }
}

/// The places of several statements in their text differ from text to text, and so does code in literals.
fn is_shareable(facts: &Facts) -> bool {
    let holds_code =
        |statement: &Statement| statement.kind == StatementKind::Opaque || statement.effects.contains(Effects::DDL);
    matches!(facts.statements.as_slice(), [only] if !holds_code(only))
}

/// An entry's size in bytes, about: lists in facts grow with the text that they come from.
fn weight(key: &[u8], facts: &Facts) -> usize {
    key.len() * 4 + facts.statements.len() * STATEMENT_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::facts::{Condition, Operand, Values};

    fn get(cache: &mut FactsCache, text: &str) -> (Arc<Facts>, Vec<LiteralSpan>) {
        let mut literals = Vec::new();
        let facts = cache.get(text, &Schema::default(), true, &mut literals);
        (facts, literals)
    }

    #[test]
    fn texts_of_one_shape_share_facts_and_keep_their_own_literals() {
        let mut cache = FactsCache::new(1 << 20);
        let (first, _) = get(&mut cache, "SELECT * FROM t WHERE k = 5");
        let text = "SELECT *  FROM t\nWHERE k = 678 -- again";
        let (second, literals) = get(&mut cache, text);
        assert!(Arc::ptr_eq(&first, &second));
        assert_eq!(literals[0].value(text).as_deref(), Some("678"));
        assert_eq!(cache.stats().hits, 1);
    }

    #[test]
    fn classes_signs_and_parameters_do_not_share() {
        let mut cache = FactsCache::new(1 << 20);
        for value in ["5", "3000000000", "5.0", "'5'", "-5", "- -5", "$1", "5::int8", "NULL"] {
            get(&mut cache, &format!("SELECT * FROM t WHERE k = {value}"));
        }
        assert_eq!(cache.stats().hits, 0);
    }

    /// `-0` and `-7` have one shape: the sign must not come from the value.
    #[test]
    fn a_sign_is_a_matter_of_the_text() {
        let mut cache = FactsCache::new(1 << 20);
        let (facts, _) = get(&mut cache, "SELECT * FROM t WHERE k = -0");
        let Condition::Compared(compared) = &facts.statements[0].restrictions[0].condition else { panic!("no key") };
        assert_eq!(compared.values, Values::List(vec![Operand::Literal { slot: 0, negated: true }]));
    }

    #[test]
    fn several_statements_are_not_kept() {
        let mut cache = FactsCache::new(1 << 20);
        for _ in 0..2 {
            let (facts, _) = get(&mut cache, "SELECT 1; SELECT 22");
            assert_eq!(facts.statements[1].text("SELECT 1; SELECT 22"), "SELECT 22");
        }
        assert_eq!(cache.stats().entries, 0);
    }

    #[test]
    fn unscannable_texts_have_no_literals() {
        let mut cache = FactsCache::new(1 << 20);
        let (facts, literals) = get(&mut cache, "SELECT * FROM t WHERE k = 5 AND x = 1abc");
        assert!(literals.is_empty());
        assert!(facts.statements.iter().all(|statement| statement.restrictions.is_empty()));
    }

    #[test]
    fn the_oldest_leave_when_it_is_full() {
        let mut cache = FactsCache::new(20 * STATEMENT_BYTES);
        for column in 0..100 {
            get(&mut cache, &format!("SELECT c{column} FROM t"));
        }
        let stats = cache.stats();
        assert!(stats.bytes <= 20 * STATEMENT_BYTES && stats.entries < 20 && stats.entries > 5, "{stats:?}");
    }

    #[test]
    fn a_new_schema_empties_it() {
        let mut cache = FactsCache::new(1 << 20);
        get(&mut cache, "SELECT 1");
        let newer = Schema { version: 2, ..Schema::default() };
        cache.get("SELECT 1", &newer, true, &mut Vec::new());
        assert_eq!(cache.stats().hits, 0);
    }
}
