//! Reads a database's catalogs into a [`Schema`], and compares its shards.

mod code;
mod numbers;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use rustc_hash::FxHashMap;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row};

use crate::sql::schema::{Column, Enum, FunctionClass, Relation, Schema, Sequence, View, Volatility};
use crate::types::{Error, Kind, Origin, Result, ShardId};
use crate::wire::oids::{FIRST_NORMAL_OID, Translation};

/// Function names with what their overloads have in common; the most harmful one counts.
const FUNCTIONS: &str = "
    SELECT p.proname::text,
           bool_and(n.nspname IN ('pg_catalog', 'information_schema') AND p.oid < 16384),
           max(CASE p.provolatile WHEN 'i' THEN 0 WHEN 's' THEN 1 ELSE 2 END),
           bool_or(p.prokind = 'a'),
           bool_or(p.prokind = 'w'),
           bool_or(p.proretset)
      FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
     GROUP BY 1";

/// Views, each with every relation that it reads, itself included; and which of them run code that a reader cannot see.
/// Built-in functions leave no trace in pg_depend, so those that change a session are looked for in the definition.
const OPAQUE_VIEWS: &str = "
    WITH RECURSIVE reads (view, relation) AS (
        SELECT c.oid, c.oid FROM pg_catalog.pg_class c WHERE c.relkind = 'v'
        UNION
        SELECT s.view, d.refobjid
          FROM reads s
          JOIN pg_catalog.pg_rewrite r ON r.ev_class = s.relation
          JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.objid = r.oid
                                     AND d.refclassid = 'pg_catalog.pg_class'::regclass
         WHERE r.rulename = '_RETURN'
    )
    SELECT DISTINCT s.view
      FROM reads s
      JOIN pg_catalog.pg_class c ON c.oid = s.relation AND c.oid >= 16384
     WHERE c.relrowsecurity OR c.relkind = 'f'
        OR c.relkind = 'v' AND pg_catalog.pg_get_viewdef(c.oid)
           ~ '(set_config|nextval|setval|currval|lastval|advisory|query_to|table_to|dblink|lo_|pg_notify)'
        OR EXISTS (SELECT FROM pg_catalog.pg_rewrite r JOIN pg_catalog.pg_depend d
                      ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.objid = r.oid
                   WHERE r.ev_class = c.oid AND d.refclassid IN ('pg_catalog.pg_proc'::regclass,
                                                                 'pg_catalog.pg_operator'::regclass))";

/// User relations, and why reading or writing them may run code that statements do not show.
///
/// A view without such code is as good as its text. `$1`: the views that have it.
const RELATIONS: &str = "
    SELECT n.nspname::text, c.relname::text, c.relkind = 'v', c.relpersistence = 'u',
           CASE WHEN c.relkind = 'f' THEN 'it is a foreign table'
                WHEN c.relrowsecurity THEN 'it has row level security'
                WHEN c.oid = ANY ($1) THEN 'a view that runs code of its own'
           END,
           CASE WHEN c.relkind = 'v' THEN 'it is a view'
                WHEN c.relkind = 'f' THEN 'it is a foreign table'
                WHEN c.relrowsecurity THEN 'it has row level security'
                WHEN EXISTS (SELECT FROM pg_catalog.pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal)
                THEN 'it has triggers'
                WHEN EXISTS (SELECT FROM pg_catalog.pg_rewrite r WHERE r.ev_class = c.oid AND r.rulename <> '_RETURN')
                THEN 'it has rules'
                WHEN EXISTS (SELECT FROM pg_catalog.pg_depend d
                              WHERE d.refclassid = 'pg_catalog.pg_proc'::regclass
                                AND (d.classid = 'pg_catalog.pg_attrdef'::regclass
                                     AND d.objid IN (SELECT a.oid FROM pg_catalog.pg_attrdef a WHERE a.adrelid = c.oid)
                                  OR d.classid = 'pg_catalog.pg_constraint'::regclass
                                     AND d.objid IN (SELECT k.oid FROM pg_catalog.pg_constraint k WHERE k.conrelid = c.oid)
                                  OR d.classid = 'pg_catalog.pg_class'::regclass
                                     AND d.objid IN (SELECT i.indexrelid FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid)))
                THEN 'a default, check constraint or index of it calls a user function'
           END,
           CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal)
                THEN 'it has triggers'
                WHEN c.relrowsecurity THEN 'it has row level security'
                WHEN EXISTS (SELECT FROM pg_catalog.pg_rewrite r WHERE r.ev_class = c.oid) THEN 'it has rules'
                WHEN EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.confrelid = c.oid AND k.contype = 'f')
                THEN 'foreign keys lead to it'
                WHEN c.relkind <> 'p' AND EXISTS (SELECT FROM pg_catalog.pg_inherits i WHERE i.inhparent = c.oid)
                THEN 'other tables inherit from it'
           END
      FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname NOT IN ('pg_catalog', 'information_schema')
       AND n.nspname !~ '^pg_(toast|temp)'";

/// Their columns. A column without a default has that of its domain. A default is computed unless the stored expression is
/// a bare constant, and evaluated once for a statement if it calls a stable function or has a keyword such as CURRENT_DATE.
/// The collations "C" and "POSIX" have the OIDs 950 and 951, the database's has 100, which is theirs if libc provides it under
/// one of their names (before version 15 there is no other provider).
const COLUMNS: &str = "
    SELECT n.nspname::text, c.relname::text, a.attname::text, a.atttypid, a.atttypmod,
           a.attidentity <> '' OR a.attgenerated <> '' OR coalesce(x.bin::text NOT LIKE '{CONST %', false),
           a.attcollation IN (950, 951) OR a.attcollation = 100 AND (
               SELECT b.datcollate IN ('C', 'POSIX') AND coalesce(to_jsonb(b) ->> 'datlocprovider', 'c') = 'c'
                 FROM pg_catalog.pg_database b WHERE b.datname = pg_catalog.current_database()),
           a.attgenerated = '' AND coalesce(x.bin::text ~ '{SQLVALUEFUNCTION ' OR EXISTS (
               SELECT FROM pg_catalog.regexp_matches(x.bin::text, ':funcid ([0-9]+)', 'g') f, pg_catalog.pg_proc p
                WHERE p.oid = f[1]::oid AND p.provolatile = 's'), false),
           CASE WHEN a.attidentity <> '' OR d.adbin IS NOT NULL AND pg_catalog.pg_get_expr(d.adbin, d.adrelid) ~ '^nextval[(]''[^'']*''::regclass[)]$'
                THEN (SELECT pg_catalog.format('%I.%I', sn.nspname, s.relname)
                        FROM pg_catalog.pg_depend p
                        JOIN pg_catalog.pg_class s ON s.relkind = 'S'
                             AND s.oid = CASE WHEN a.attidentity <> '' THEN p.objid ELSE p.refobjid END
                        JOIN pg_catalog.pg_namespace sn ON sn.oid = s.relnamespace
                       WHERE CASE WHEN a.attidentity <> ''
                                  THEN p.classid = 'pg_catalog.pg_class'::regclass AND p.deptype = 'i'
                                       AND p.refclassid = 'pg_catalog.pg_class'::regclass
                                       AND p.refobjid = a.attrelid AND p.refobjsubid = a.attnum
                                  ELSE p.classid = 'pg_catalog.pg_attrdef'::regclass AND p.objid = d.oid
                                       AND p.refclassid = 'pg_catalog.pg_class'::regclass END
                       LIMIT 1)
                WHEN pg_catalog.pg_get_expr(x.bin, a.attrelid) ~ 'nextval[(]' THEN ''
           END,
           a.attidentity = 'a', a.attgenerated <> '',
           CASE WHEN a.attgenerated = '' THEN pg_catalog.pg_get_expr(x.bin, a.attrelid) END,
           a.attcollation NOT IN (0, 100) AND (t.typtype = 'd' OR a.attcollation <> t.typcollation),
           a.attnotnull
      FROM pg_catalog.pg_attribute a
      JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
      JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
      JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
      LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
      CROSS JOIN LATERAL (SELECT coalesce(d.adbin, t.typdefaultbin) AS bin) x
     WHERE a.attnum > 0 AND NOT a.attisdropped
       AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname NOT IN ('pg_catalog', 'information_schema')
       AND n.nspname !~ '^pg_(toast|temp)'
     ORDER BY a.attrelid, a.attnum";

/// The columns of primary keys that GROUP BY may rely on.
const PRIMARY_KEYS: &str = "
    SELECT n.nspname::text, c.relname::text, a.attname::text
      FROM pg_catalog.pg_constraint k
      JOIN pg_catalog.pg_class c ON c.oid = k.conrelid
      JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     CROSS JOIN LATERAL unnest(k.conkey) WITH ORDINALITY AS u(number, place)
      JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = u.number
     WHERE k.contype = 'p' AND NOT k.condeferrable AND n.nspname !~ '^pg_(toast|temp)'
     ORDER BY c.oid, u.place";

/// Views with their queries, whose names are qualified if the search path is empty.
const VIEWS: &str = "
    SELECT n.nspname::text, c.relname::text, pg_catalog.pg_get_viewdef(c.oid)
      FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relkind = 'v' AND c.oid >= 16384 AND n.nspname !~ '^pg_(toast|temp)'";

const USER_FUNCTIONS: &str = "
    SELECT p.proname::text, n.nspname::text || '.' || p.proname::text
      FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
     WHERE n.nspname NOT IN ('pg_catalog', 'information_schema')";

const SEARCH_PATH: &str = "SELECT s FROM unnest(pg_catalog.current_schemas(false)) WITH ORDINALITY AS u(s, n)
    WHERE s <> 'pg_catalog' ORDER BY n";

/// Login roles with the search path that a session of theirs starts with; `$1` for those that have none of their own.
const PATHS: &str = "
    SELECT r.rolname::text, coalesce(
               (SELECT substr(c, 13) FROM pg_catalog.pg_db_role_setting s, unnest(s.setconfig) c
                 WHERE c LIKE 'search_path=%' AND s.setrole IN (r.oid, 0) AND s.setdatabase IN (d.oid, 0)
                 ORDER BY s.setrole = 0, s.setdatabase = 0 LIMIT 1),
               $1)
      FROM pg_catalog.pg_roles r JOIN pg_catalog.pg_database d ON d.datname = pg_catalog.current_database()
     WHERE r.rolcanlogin";

/// The setting of the server's own files, as far as this session can tell it.
const SERVER_PATH: &str = "
    SELECT CASE WHEN source IN ('default', 'configuration file', 'command line', 'environment variable')
                THEN reset_val ELSE boot_val END
      FROM pg_catalog.pg_settings WHERE name = 'search_path'";

/// Which schemas of users each login role may use.
const USABLE: &str = "
    SELECT r.rolname::text, n.nspname::text
      FROM pg_catalog.pg_roles r, pg_catalog.pg_namespace n
     WHERE r.rolcanlogin AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
       AND pg_catalog.has_schema_privilege(r.oid, n.oid, 'USAGE')";

/// Operators outside pg_catalog.
const OPERATORS: &str = "
    SELECT DISTINCT o.oprname::text
      FROM pg_catalog.pg_operator o JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace
     WHERE n.nspname <> 'pg_catalog'";

const NONDETERMINISTIC: &str = "SELECT EXISTS (SELECT FROM pg_catalog.pg_collation WHERE NOT collisdeterministic)";

const CANNOT_PREPARE: &str = "SELECT pg_catalog.current_setting('max_prepared_transactions') = '0'";

const ENUMS: &str = "
    SELECT t.oid, n.nspname::text, t.typname::text, t.typarray
      FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
     WHERE t.typtype = 'e'";

/// What the configuration says of a database.
pub struct Declared<'d> {
    pub is_sharded: bool,
    /// Functions (`schema.name`) that are taken for proven to leave nothing in a session.
    pub harmless: &'d BTreeSet<String>,
    /// Functions that touch only the shard that they run on.
    pub shard_local: &'d BTreeSet<String>,
}

/// A shard whose catalogs are read.
pub struct Member {
    pub shard: ShardId,
    pub name: Arc<str>,
    /// Connected to its primary.
    pub client: Client,
}

/// Reads the catalogs of the home shard (the first of `members`), and how the numbers of the others stand for its own.
pub async fn inspect(version: u64, members: &[Member], declared: &Declared<'_>) -> Result<Schema> {
    let Some((Member { client: home, .. }, others)) = members.split_first() else {
        return Err(Error::internal("a database without shards cannot be inspected"));
    };
    let mut schema = Schema {
        version,
        functions: functions(home).await?,
        relations: relations(home).await?,
        code: code::classes(home, declared.harmless).await?,
        shard_local: shard_local(home, declared.shard_local).await?,
        user_operators: rows(home, OPERATORS).await?.iter().map(|row| row.get(0)).collect(),
        search_path: rows(home, SEARCH_PATH).await?.iter().map(|row| row.get(0)).collect(),
        other_paths: HashSet::new(),
        has_nondeterministic_collations: rows(home, NONDETERMINISTIC).await?.iter().any(|row| row.get(0)),
        translations: HashMap::new(),
        cannot_prepare: HashSet::new(),
        enums: rows(home, ENUMS).await?.iter().map(|row| (row.get(0), enum_of(row))).collect(),
    };
    if declared.is_sharded {
        views(home, &mut schema).await?;
        schema.other_paths = other_paths(home, &schema.search_path).await?;
    }
    for Member { shard, client, .. } in members.iter().filter(|_| declared.is_sharded) {
        if rows(client, CANNOT_PREPARE).await?.iter().any(|row| row.get(0)) {
            schema.cannot_prepare.insert(*shard);
        }
    }
    if others.is_empty() {
        return Ok(schema);
    }
    let own = numbers::numbered(home).await?;
    for Member { shard, name, client } in others {
        let translation = Translation::between(&own, &numbers::numbered(client).await?, name);
        add_relations(&mut schema, relations(client).await?, translation.as_ref());
        schema.translations.extend(translation.map(|translation| (*shard, Arc::new(translation))));
    }
    Ok(schema)
}

/// Adds relations that only another shard has.
fn add_relations(
    schema: &mut Schema,
    others: FxHashMap<(String, String), Relation>,
    translation: Option<&Translation>,
) {
    for (name, mut relation) in others {
        if schema.relations.contains_key(&name) {
            continue;
        }
        if let Some(translation) = translation {
            number_as_at_home(&mut relation, translation);
        }
        relation.is_away = true;
        schema.relations.insert(name, relation);
    }
}

/// Gives the columns the home shard's numbers of their types. Zero is no type's.
fn number_as_at_home(relation: &mut Relation, translation: &Translation) {
    for column in relation.columns.iter_mut().filter(|column| column.type_oid >= FIRST_NORMAL_OID) {
        match translation.to_home().type_oid(column.type_oid) {
            Ok(oid) => column.type_oid = oid,
            Err(_) => {
                relation.homeless_type = Some(translation.to_home().type_name(column.type_oid));
                column.type_oid = 0;
            }
        }
    }
}

fn enum_of(row: &Row) -> Enum {
    Enum { schema: row.get(1), name: row.get(2), array_oid: row.get(3) }
}

async fn functions(client: &Client) -> Result<HashMap<String, FunctionClass>> {
    let class = |row: &Row| FunctionClass {
        builtin: row.get(1),
        volatility: match row.get::<_, i32>(2) {
            0 => Volatility::Immutable,
            1 => Volatility::Stable,
            _ => Volatility::Volatile,
        },
        aggregate: row.get(3),
        window: row.get(4),
        returns_set: row.get(5),
    };
    Ok(rows(client, FUNCTIONS).await?.iter().map(|row| (row.get(0), class(row))).collect())
}

async fn relations(client: &Client) -> Result<FxHashMap<(String, String), Relation>> {
    let mut relations = FxHashMap::default();
    let opaque_views: Vec<u32> = rows(client, OPAQUE_VIEWS).await?.iter().map(|row| row.get(0)).collect();
    for row in query(client, RELATIONS, &[&opaque_views]).await? {
        let relation = Relation {
            columns: Vec::new(),
            is_view: row.get(2),
            view: None,
            unlogged: row.get(3),
            opaque_read: row.get(4),
            opaque_write: row.get(5),
            immovable: row.get(6),
            homeless_type: None,
            primary_key: Vec::new(),
            is_away: false,
        };
        relations.insert((row.get(0), row.get(1)), relation);
    }
    for row in rows(client, COLUMNS).await? {
        // A relation that was created between the two queries is found by the next refresh.
        if let Some(relation) = relations.get_mut(&(row.get(0), row.get(1))) {
            relation.columns.push(Column {
                name: row.get(2),
                type_oid: row.get(3),
                type_modifier: row.get(4),
                computed_default: row.get(5),
                is_generated: row.get(10),
                default: row.get(11),
                own_collation: row.get(12),
                not_null: row.get(13),
                ordered_by_bytes: row.get(6),
                moment_default: row.get(7),
                sequence: row.get::<_, Option<String>>(8).map(|name| Sequence { name, always: row.get(9) }),
            });
        }
    }
    for row in rows(client, PRIMARY_KEYS).await? {
        if let Some(relation) = relations.get_mut(&(row.get(0), row.get(1))) {
            relation.primary_key.push(row.get(2));
        }
    }
    Ok(relations)
}

/// The login roles whose own search path leads elsewhere.
async fn other_paths(client: &Client, path: &[String]) -> Result<HashSet<String>> {
    let mut usable: HashMap<String, HashSet<String>> = HashMap::new();
    for row in rows(client, USABLE).await? {
        usable.entry(row.get(0)).or_default().insert(row.get(1));
    }
    let server = rows(client, SERVER_PATH).await?;
    let server: String = server.first().map(|row| row.get(0)).unwrap_or_default();
    let mut others = HashSet::new();
    for row in query(client, PATHS, &[&server]).await? {
        let (role, setting): (String, &str) = (row.get(0), row.get(1));
        let own = usable.remove(&role).unwrap_or_default();
        let schemas = setting.split(',').map(|name| schema_name(name, &role)).filter(|name| own.contains(name));
        if !schemas.eq(path.iter().cloned()) {
            others.insert(role);
        }
    }
    Ok(others)
}

/// A schema as `search_path` names it: folded, or quoted.
fn schema_name(name: &str, role: &str) -> String {
    let name = name.trim();
    let plain = match name.strip_prefix('"').and_then(|name| name.strip_suffix('"')) {
        Some(quoted) => quoted.replace("\"\"", "\""),
        None => name.to_lowercase(),
    };
    if plain == "$user" { role.to_owned() } else { plain }
}

/// The names that only declared functions have: an unqualified call could mean any function of its name.
async fn shard_local(client: &Client, declared: &BTreeSet<String>) -> Result<HashSet<String>> {
    if declared.is_empty() {
        return Ok(HashSet::new());
    }
    let found = rows(client, USER_FUNCTIONS).await?;
    let is_declared = |row: &&Row| declared.contains(row.get::<_, &str>(1));
    let mut names: HashSet<String> = found.iter().filter(is_declared).map(|row| row.get(0)).collect();
    for other in found.iter().filter(|row| !is_declared(row)) {
        names.remove(other.get::<_, &str>(0));
    }
    Ok(names)
}

async fn views(client: &Client, schema: &mut Schema) -> Result<()> {
    let failed = |error| failed(ShardId(0), error);
    client.batch_execute("BEGIN READ ONLY; SET LOCAL search_path = ''").await.map_err(failed)?;
    for row in rows(client, VIEWS).await? {
        // A view that was created between the two queries is found by the next refresh.
        if let Some(relation) = schema.relations.get_mut(&(row.get(0), row.get(1))) {
            relation.view = View::new(row.get(2));
        }
    }
    client.batch_execute("COMMIT").await.map_err(failed)
}

async fn rows(client: &Client, sql: &str) -> Result<Vec<Row>> {
    query(client, sql, &[]).await
}

async fn query(client: &Client, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>> {
    client.query(sql, parameters).await.map_err(|error| failed(ShardId(0), error))
}

/// A query of Weir's own that failed on a server.
pub fn failed(shard: ShardId, error: tokio_postgres::Error) -> Error {
    Error::new(Origin::Server(shard), Kind::ServerUnavailable, format!("cannot query a server of shard {shard}"))
        .source(error)
}
