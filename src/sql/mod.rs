//! What a statement is and does: scanning, parsing, facts, rewriting. The only module that names the parser crate.
//!
//! * [`scan`] takes the literals out of a text, so that statements of one shape share their facts.
//! * [`analyze`] parses and finds the facts, [`cache`] keeps them.
//! * [`facts`] says what a statement does: its kind, its effects on the session, the relations that it reads and
//!   writes, and what truly restricts each of them.
//! * [`numbering`] writes numbers of sequences into INSERTs.
//! * [`collected`] takes writes apart whose rows a query makes.
//! * [`computed`] writes computed keys into INSERTs.
//! * [`merge_defaults`] writes defaults into the rows that a MERGE inserts.
//! * [`subqueries`] writes the answers of subqueries into writes, [`sources`] the rows of the tables that they read.
//! * [`update_as_merge`] makes MERGEs of UPDATEs.
//! * [`cursor`] reads statements about cursors.
//! * [`schema`] is what is known of the database that the statement speaks of: functions, relations, types.
//! * `tree` reads and writes the tree of one statement.
//! * [`moment`]: literals that are read from the clock.
//! * [`values`] cuts an INSERT at its rows.
//! * [`distribute`] rewrites a SELECT for several shards and says how their rows become one result.
//! * [`gather`] rewrites a SELECT for one PostgreSQL that is given the rows of several shards.

pub mod analyze;
pub mod cache;
pub mod code;
pub mod collected;
pub mod computed;
pub mod cursor;
pub mod distribute;
pub mod facts;
pub mod gather;
pub mod made_table;
pub mod merge_defaults;
pub mod moment;
pub mod numbering;
pub mod prepared;
pub mod scan;
pub mod schema;
pub mod sources;
pub mod subqueries;
mod template;
mod tree;
pub mod type_names;
pub mod update_as_merge;
pub mod values;
