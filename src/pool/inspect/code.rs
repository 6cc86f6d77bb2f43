//! Reads the code of users out of a database's catalogs, for [`crate::sql::code`] to judge.

use std::collections::BTreeSet;

use postgres_protocol::escape::escape_identifier;
use tokio_postgres::{Client, Row};

use super::{query, rows};
use crate::sql::code::{Code, CodeClass, CodeClasses, Definition, Leaves, Unit, read, read_definition};
use crate::sql::facts::Effects;
use crate::types::Result;

/// Functions of users with their bodies; 16384 is PostgreSQL's FirstNormalObjectId. Bodies in SQL's own form are kept
/// parsed, and an aggregate is as good as the functions that it is made of.
const FUNCTIONS: &str = r"
    SELECT p.proname::text, n.nspname::text || '.' || p.proname::text,
           CASE WHEN p.prokind = 'a' THEN 'sql' ELSE l.lanname::text END,
           p.provolatile = 'i', e.extname::text,
           concat_ws(' ; ', CASE
               WHEN p.prokind = 'a' THEN (
                   SELECT concat_ws(' ', a.aggtransfn, a.aggfinalfn, a.aggcombinefn, a.aggserialfn, a.aggdeserialfn,
                                    a.aggmtransfn, a.aggminvtransfn, a.aggmfinalfn)
                     FROM pg_catalog.pg_aggregate a WHERE a.aggfnoid = p.oid)
               WHEN l.lanname = 'sql' AND p.prosrc = ''
               THEN regexp_replace(pg_catalog.pg_get_functiondef(p.oid), '^.*?\n(BEGIN ATOMIC|RETURN )', '\1')
               ELSE p.prosrc END,
               pg_catalog.pg_get_expr(p.proargdefaults, 0)),
           p.proconfig
      FROM pg_catalog.pg_proc p
      JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
      JOIN pg_catalog.pg_language l ON l.oid = p.prolang
      LEFT JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_proc'::regclass AND d.objid = p.oid
                                      AND d.refclassid = 'pg_catalog.pg_extension'::regclass AND d.deptype = 'e'
      LEFT JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid
     WHERE p.oid >= 16384";

/// Operators of users, each with its function's name.
const OPERATORS: &str = "
    SELECT o.oprname::text, p.proname::text
      FROM pg_catalog.pg_operator o JOIN pg_catalog.pg_proc p ON p.oid = o.oprcode
     WHERE o.oid >= 16384";

/// What runs wherever a type of users occurs: functions of casts, checks and defaults of domains, functions that sort.
const TYPES: &str = "
    SELECT p.proname::text
      FROM pg_catalog.pg_cast k JOIN pg_catalog.pg_proc p ON p.oid = k.castfunc WHERE p.oid >= 16384
    UNION ALL
    SELECT p.proname::text
      FROM pg_catalog.pg_amproc k JOIN pg_catalog.pg_proc p ON p.oid = k.amproc WHERE p.oid >= 16384
    UNION ALL
    SELECT pg_catalog.pg_get_constraintdef(k.oid) FROM pg_catalog.pg_constraint k WHERE k.contypid <> 0 AND k.oid >= 16384
    UNION ALL
    SELECT pg_catalog.pg_get_expr(t.typdefaultbin, 0)
      FROM pg_catalog.pg_type t WHERE t.oid >= 16384 AND t.typtype = 'd' AND t.typdefaultbin IS NOT NULL";

const EVENT_TRIGGERS: &str = "
    SELECT p.proname::text FROM pg_catalog.pg_event_trigger t JOIN pg_catalog.pg_proc p ON p.oid = t.evtfoid";

/// Relations of users: what runs when they are read, when they are written, and for a new row; which other relations a
/// write can reach (partitions, children, and those that refer to it with CASCADE or SET); what else must be known.
/// `$1`: foreign data wrappers that are known to leave nothing.
const RELATIONS: &str = "
    SELECT c.relname::text,
           concat_ws(' ; ', CASE WHEN c.relkind = 'v' THEN pg_catalog.pg_get_viewdef(c.oid) END,
               (SELECT string_agg(concat_ws(' ', pg_catalog.pg_get_expr(p.polqual, p.polrelid),
                                                 pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid)), ' ; ')
                  FROM pg_catalog.pg_policy p WHERE p.polrelid = c.oid AND c.relrowsecurity)),
           concat_ws(' ; ', CASE WHEN c.relkind = 'm' THEN pg_catalog.pg_get_viewdef(c.oid) END,
               (SELECT string_agg(pg_catalog.pg_get_triggerdef(t.oid), ' ; ')
                  FROM pg_catalog.pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal),
               (SELECT string_agg(pg_catalog.pg_get_ruledef(r.oid), ' ')
                  FROM pg_catalog.pg_rewrite r WHERE r.ev_class = c.oid AND r.rulename <> '_RETURN'),
               (SELECT string_agg(pg_catalog.pg_get_constraintdef(k.oid), ' ; ')
                  FROM pg_catalog.pg_constraint k WHERE k.conrelid = c.oid AND k.contype IN ('c', 'x')),
               (SELECT string_agg(concat_ws(' ', pg_catalog.pg_get_expr(i.indexprs, i.indrelid),
                                                 pg_catalog.pg_get_expr(i.indpred, i.indrelid)), ' ; ')
                  FROM pg_catalog.pg_index i
                 WHERE i.indrelid = c.oid AND (i.indexprs IS NOT NULL OR i.indpred IS NOT NULL))),
           (SELECT string_agg(pg_catalog.pg_get_expr(d.adbin, d.adrelid), ' ; ')
              FROM pg_catalog.pg_attrdef d WHERE d.adrelid = c.oid),
           ARRAY(SELECT r.relname::text FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class r ON r.oid = i.inhrelid
                  WHERE i.inhparent = c.oid
                 UNION ALL
                 SELECT r.relname::text FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_class r ON r.oid = k.conrelid
                  WHERE k.confrelid = c.oid AND (k.confdeltype IN ('c', 'n', 'd') OR k.confupdtype IN ('c', 'n', 'd'))),
           EXISTS (SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attidentity <> ''),
           EXISTS (SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND a.atttypid >= 16384),
           c.relkind = 'f' AND NOT EXISTS (
               SELECT FROM pg_catalog.pg_foreign_table t
                 JOIN pg_catalog.pg_foreign_server s ON s.oid = t.ftserver
                 JOIN pg_catalog.pg_foreign_data_wrapper w ON w.oid = s.srvfdw
                WHERE t.ftrelid = c.oid AND w.fdwname::text = ANY ($1))
      FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     WHERE c.oid >= 16384 AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname !~ '^pg_(toast|temp)'";

/// Extensions of PostgreSQL's own distribution, and pgvector, whose functions in C keep nothing in the session. Those that
/// do (`set_limit` of pg_trgm, `isn_weak` of isn) are told apart by not being here.
const HARMLESS_EXTENSIONS: &[&str] = &[
    "btree_gin",
    "btree_gist",
    "citext",
    "cube",
    "earthdistance",
    "fuzzystrmatch",
    "hstore",
    "intarray",
    "ltree",
    "pg_stat_statements",
    "pgcrypto",
    "seg",
    "unaccent",
    "uuid-ossp",
    "vector",
];

/// Their connections to other servers belong to no statement, and their transactions end with it.
const HARMLESS_WRAPPERS: &[&str] = &["file_fdw", "postgres_fdw"];

/// Reads and judges all code of users. Functions in `harmless` (`schema.name`) are taken for proven.
pub(super) async fn classes(client: &Client, harmless: &BTreeSet<String>) -> Result<CodeClasses> {
    let mut definitions = Vec::new();
    definitions.extend(rows(client, FUNCTIONS).await?.iter().map(|row| function(row, harmless)));
    for row in rows(client, OPERATORS).await? {
        let (name, function): (String, String) = (row.get(0), row.get(1));
        definitions.push(Definition {
            unit: Unit::Function(name),
            code: read(&escape_identifier(&function)),
            runs: Vec::new(),
        });
    }
    for row in rows(client, TYPES).await? {
        definitions.push(plain(Unit::Types, row.get(0)));
    }
    for row in rows(client, EVENT_TRIGGERS).await? {
        definitions.push(plain(Unit::SchemaChanges, row.get(0)));
    }
    for row in query(client, RELATIONS, &[&HARMLESS_WRAPPERS]).await? {
        definitions.extend(relation(&row));
    }
    Ok(CodeClasses::of(definitions))
}

fn plain(unit: Unit, text: &str) -> Definition {
    Definition { unit, code: read(text), runs: Vec::new() }
}

fn function(row: &Row, harmless: &BTreeSet<String>) -> Definition {
    let (language, is_immutable): (&str, bool) = (row.get(2), row.get(3));
    let is_harmless = harmless.contains(row.get::<_, &str>(1));
    let extension_is_harmless = row.get::<_, Option<&str>>(4).is_some_and(|name| HARMLESS_EXTENSIONS.contains(&name));
    let mut code = match language {
        _ if is_harmless => declared_harmless(language, row.get(5)),
        "sql" | "plpgsql" => read(row.get(5)),
        "c" | "internal" if is_immutable => Code::default(),
        "c" | "internal" if extension_is_harmless => {
            Code { reads_unseen: row.get::<_, Option<&str>>(4) == Some("pg_stat_statements"), ..Code::default() }
        }
        _ => Code::of_class(CodeClass::UNKNOWABLE),
    };
    set_around(&mut code, row.get::<_, Option<Vec<String>>>(6).unwrap_or_default());
    Definition { unit: Unit::Function(row.get(0)), code, runs: if is_harmless { vec![] } else { vec![Unit::Types] } }
}

/// A function that the configuration declares to leave nothing; it may notify all the same.
fn declared_harmless(language: &str, body: &str) -> Code {
    let notifies = !matches!(language, "sql" | "plpgsql") || read(body).class.notifies;
    // Harmless to its session; what it reads nobody said.
    Code { reads_unseen: true, ..Code::of_class(CodeClass { notifies, ..CodeClass::default() }) }
}

/// The SET clauses of a function are undone when it returns, but a custom setting's name stays.
fn set_around(code: &mut Code, clauses: Vec<String>) {
    for clause in clauses {
        let name = clause.split('=').next().unwrap_or_default();
        if name.contains('.') {
            code.class.leaves = code.class.leaves.max(Leaves::Visible);
            code.custom_settings.insert(name.to_ascii_lowercase());
        }
    }
}

fn relation(row: &Row) -> [Definition; 2] {
    let (name, reading, writing): (String, &str, &str) = (row.get(0), row.get(1), row.get(2));
    let (defaults, reached): (Option<&str>, Vec<String>) = (row.get(3), row.get(4));
    let (is_identity, has_user_types, is_foreign): (bool, bool, bool) = (row.get(5), row.get(6), row.get(7));
    let mut types = if has_user_types { vec![Unit::Types] } else { vec![] };
    let mut reads = read(reading);
    let mut writes = read_definition(writing);
    writes.add(reads.clone());
    let mut fresh = read(defaults.unwrap_or_default());
    fresh.class.numbers_rows = fresh.class.sequences.contains(Effects::ADVANCES_SEQUENCE) || is_identity;
    fresh.class.sequences -= Effects::ADVANCES_SEQUENCE;
    writes.add(fresh);
    if is_foreign {
        reads.add(Code::of_class(CodeClass::UNKNOWABLE));
        writes.add(Code::of_class(CodeClass::UNKNOWABLE));
    }
    let read = Definition { unit: Unit::Reading(name.clone()), code: reads, runs: types.clone() };
    types.extend(reached.into_iter().map(Unit::Writing));
    [read, Definition { unit: Unit::Writing(name), code: writes, runs: types }]
}
