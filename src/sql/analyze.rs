//! From a text to its facts: PostgreSQL's own parser, then a walk over the whole tree.
//!
//! Two rules hold everywhere. *Effects* are collected from every node, and a node that the walk does not know makes the
//! statement opaque. *Inference* (restrictions and carries) looks only at conditions that truly restrict; what it does
//! not recognise there gives no inference, which is always sound.

mod command;
mod compare;
mod condition;
mod copy;
mod cte;
mod expression;
mod from;
mod function;
pub(super) mod names;
mod operand;
mod output;
mod query;
mod scope;
mod setting;
mod table;
mod view;

use std::collections::HashMap;
use std::rc::Rc;

use pg_query::{NodeEnum, ParserOptions, protobuf as pg};

pub use self::copy::{CopyData, copy_data, copy_out, with_columns};
pub use self::setting::{Argument, Assignment, SetConfigCall, assignments, set_config_call};

use self::output::{Output, Shape};
use self::scope::{Bound, Env, Sources};
use super::code::{CodeClass, Leaves};
use super::facts::{
    Effects, Facets, Facts, ParameterContext, ParameterUse, RelationName, RelationUse, Statement, StatementKind,
};
use super::scan::{LiteralSpan, scan};
use super::schema::{Relation, Resolved, Schema};
use super::tree;

/// The facts of `text`. A text that does not parse is one statement of kind [`StatementKind::Unparsed`].
pub fn analyze(text: &str, standard_conforming_strings: bool, schema: &Schema) -> Facts {
    let (mut key, mut literals) = (Vec::new(), Vec::new());
    if scan(text, standard_conforming_strings, &mut key, &mut literals).is_err() {
        literals.clear();
    }
    analyze_scanned(text, &literals, standard_conforming_strings, schema)
}

/// As [`analyze`], with the literals of the text already known. Literals that are not listed are computed values.
pub fn analyze_scanned(
    text: &str,
    literals: &[LiteralSpan],
    standard_conforming_strings: bool,
    schema: &Schema,
) -> Facts {
    let options = if standard_conforming_strings {
        ParserOptions::DEFAULT
    } else {
        ParserOptions::DISABLE_STANDARD_CONFORMING_STRINGS
    };
    match pg_query::parse(text, options) {
        Ok(parsed) => statements(&parsed.protobuf.stmts, text, literals, schema),
        Err(_) => Facts::unreadable(),
    }
}

/// What PostgreSQL's grammar says about a text that it does not know; `None` if it knows the text.
pub fn syntax_error(text: &str) -> Option<String> {
    pg_query::parse(text, ParserOptions::DEFAULT).err().map(|error| match error {
        pg_query::Error::Parse(message) => message,
        other => other.to_string(),
    })
}

fn statements(parsed: &[pg::RawStmt], text: &str, literals: &[LiteralSpan], schema: &Schema) -> Facts {
    let alone = parsed.len() == 1;
    let statements = parsed.iter().map(|raw| {
        let mut analyzer = Analyzer::new(text, literals, schema);
        analyzer.raw(raw);
        let range = (!alone).then(|| raw_range(raw, text.len()));
        Statement { range, ..analyzer.statement }
    });
    Facts { statements: statements.collect() }
}

fn raw_range(raw: &pg::RawStmt, length: usize) -> std::ops::Range<usize> {
    let start = usize::try_from(raw.stmt_location).unwrap_or(0);
    // A length of zero means the rest of the text.
    match usize::try_from(raw.stmt_len) {
        Ok(0) | Err(_) => start..length,
        Ok(len) => start..start + len,
    }
}

/// Collects the facts of one statement.
struct Analyzer<'a> {
    text: &'a str,
    literals: &'a [LiteralSpan],
    schema: &'a Schema,
    statement: Statement,
    /// `text` and `literals` are those of a view's definition.
    in_view: bool,
    /// What the query level at hand does with its rows.
    shape: Shape,
    /// An aggregate of a subquery belongs to a query around it: no level is known to be without aggregates.
    has_escaping_aggregate: bool,
    /// Columns may be NULL where no row of their relation is: outer joins, grouping sets.
    makes_nulls: bool,
    /// How many references to WITH queries and views were followed.
    expansions: usize,
    /// The columns that the data modification at hand returns.
    returned: Option<Output>,
    /// Queries in expressions that were analysed: where the values of their columns come from.
    sublinks: HashMap<*const pg::SubLink, Vec<Option<Bound>>>,
    /// Queries in EXISTS: the sources whose rows count only if there is a row.
    wanted: HashMap<*const pg::SubLink, Sources>,
    /// Parsed views: the maps above hold their places.
    views: Vec<Rc<pg::ParseResult>>,
}

impl<'a> Analyzer<'a> {
    fn new(text: &'a str, literals: &'a [LiteralSpan], schema: &'a Schema) -> Self {
        Self {
            text,
            literals,
            schema,
            statement: Statement::new(StatementKind::Unparsed),
            in_view: false,
            shape: Shape::default(),
            has_escaping_aggregate: false,
            makes_nulls: false,
            expansions: 0,
            returned: None,
            sublinks: HashMap::new(),
            wanted: HashMap::new(),
            views: Vec::new(),
        }
    }

    fn raw(&mut self, raw: &pg::RawStmt) {
        match raw.stmt.as_deref().and_then(inner) {
            Some(node) => self.statement.kind = self.command(node, Env::TOP),
            None => self.unknown("an empty statement"),
        }
    }

    fn effect(&mut self, effects: Effects) {
        self.statement.effects |= effects;
    }

    /// State of the session may be made or changed.
    fn makes(&mut self, facets: Facets) {
        self.statement.makes |= facets;
    }

    /// State of the session may end.
    fn ends(&mut self, facets: Facets) {
        self.statement.ends |= facets;
    }

    /// Code of users runs.
    fn runs_unseen(&mut self) {
        self.effect(Effects::OPAQUE);
        self.ends(Facets::SHOWN);
    }

    /// Code runs of which nothing is known but its name.
    fn opaque(&mut self, name: String) {
        self.runs_unseen();
        if !self.statement.opaque_names.contains(&name) {
            self.statement.opaque_names.push(name);
        }
    }

    /// Code of that class runs.
    fn runs(&mut self, class: CodeClass) {
        self.effect(class.sequences);
        if class.notifies {
            self.effect(Effects::NOTIFIES);
        }
        self.makes(match class.leaves {
            Leaves::Nothing => Facets::empty(),
            Leaves::Visible => Facets::SHOWN,
            Leaves::Unknowable => Facets::SHOWN | Facets::HIDDEN,
        });
    }

    /// A part of the statement that the analysis does not know: it may do anything.
    fn unknown(&mut self, what: impl Into<String>) {
        self.effect(Effects::OPAQUE);
        self.runs(CodeClass::UNKNOWABLE);
        self.refused(what);
    }

    /// A part that the analysis knows, but not well enough for a sharded database.
    fn refused(&mut self, what: impl Into<String>) {
        self.statement.unknown.get_or_insert(what.into());
    }

    fn parameter(&mut self, number: i32, context: ParameterContext) {
        match u16::try_from(number) {
            Ok(number) => self.statement.parameters.push(ParameterUse { number, context }),
            Err(_) => self.unknown("a parameter number that the protocol does not know"),
        }
    }

    /// Records an occurrence of a relation with what reading or writing it does; returns its index.
    fn relation(&mut self, range: &pg::RangeVar, written: bool) -> usize {
        let name = self.relation_name(range);
        self.relation_effects(&name, written);
        self.statement.relations.push(RelationUse { name, written, expanded: false });
        self.statement.relations.len() - 1
    }

    /// New rows in a relation may take numbers from a sequence.
    fn new_rows(&mut self, range: Option<&pg::RangeVar>) {
        let numbers = |range: &pg::RangeVar| self.schema.code.relation(&range.relname, true).numbers_rows;
        if range.is_some_and(numbers) {
            self.effect(Effects::ADVANCES_SEQUENCE);
        }
    }

    /// Records a relation that DDL speaks of: neither its triggers nor its policies run.
    fn defined_relation(&mut self, range: &pg::RangeVar) {
        let name = self.relation_name(range);
        self.statement.relations.push(RelationUse { name, written: true, expanded: false });
    }

    fn relation_name(&mut self, range: &pg::RangeVar) -> RelationName {
        if range.relpersistence == "t" || range.schemaname.starts_with("pg_temp") {
            self.makes(Facets::TEMPORARY);
        }
        tree::relation_name(range)
    }

    fn relation_effects(&mut self, name: &RelationName, written: bool) {
        let code = self.schema.code.relation(&name.name, written);
        self.runs(code);
        match self.schema.resolve(name) {
            Resolved::System => {
                self.effect(Effects::SYSTEM_RELATIONS);
                if names::is_primary_only_relation(&name.name) {
                    self.effect(Effects::PRIMARY_ONLY);
                }
                if name.name == "pg_prepared_statements" {
                    self.effect(Effects::READS_STATEMENTS | Effects::PRIMARY_ONLY);
                }
            }
            Resolved::User { relation, .. } => self.user_relation_effects(name, relation, written),
            // It may have been created a moment ago. Nothing is known against it, but a replica may not have it yet.
            Resolved::Unknown => self.effect(Effects::PRIMARY_ONLY),
        }
    }

    fn user_relation_effects(&mut self, name: &RelationName, relation: &Relation, written: bool) {
        if relation.unlogged {
            self.effect(Effects::PRIMARY_ONLY);
        }
        if relation.is_view {
            // What it reads may be another thing on a replica (statistics, sequences).
            self.effect(Effects::PRIMARY_ONLY);
        }
        if relation.view.is_some() && !written {
            // Its query speaks for itself.
            return;
        }
        let reason = if written { &relation.opaque_write } else { &relation.opaque_read };
        if let Some(reason) = reason {
            self.opaque(format!("{} ({reason})", name.name));
        }
    }
}

/// The node in its wrapper; PostgreSQL leaves the wrapper empty for a NULL pointer in a list.
fn inner(node: &pg::Node) -> Option<&NodeEnum> {
    node.node.as_ref()
}

/// The strings of a list of names (`pg_catalog`, `int4`); anything else in the list is left out of no name, as the
/// grammar puts only strings there.
fn strings(nodes: &[pg::Node]) -> Vec<&str> {
    nodes.iter().filter_map(string).collect()
}

fn string(node: &pg::Node) -> Option<&str> {
    match inner(node) {
        Some(NodeEnum::String(string)) => Some(&string.sval),
        _ => None,
    }
}

/// The parser's name of a node, for messages.
fn node_name(node: &NodeEnum) -> String {
    let debug = format!("{node:?}");
    debug.split(['(', ' ']).next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests;
