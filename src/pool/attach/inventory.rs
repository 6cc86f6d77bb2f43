//! The tables of a shard, as its catalogs describe them.

use std::collections::{BTreeMap, BTreeSet};

use tokio_postgres::{Client, Row};

/// Schema and name.
pub type TableName = (String, String);

/// A shard's tables, and what they rest on.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    pub tables: BTreeMap<TableName, TableFacts>,
    /// User types with their OIDs, as `schema.name`.
    pub types: BTreeMap<String, u32>,
    /// LC_COLLATE, LC_CTYPE and the version of the database's collation, as far as the server knows it.
    pub collation: String,
}

/// One table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableFacts {
    pub columns: BTreeMap<String, ColumnFacts>,
    pub unique: Vec<Unique>,
    pub foreign_keys: Vec<Reference>,
    /// Columns that the replica identity includes; `None`: none is set, so rows cannot be told apart.
    pub identity: Option<BTreeSet<String>>,
    /// BEFORE ROW triggers for INSERT or UPDATE.
    pub before_row: Vec<String>,
    pub rules: Vec<String>,
    pub policies: Vec<String>,
    /// Row level security is on.
    pub row_security: bool,
    /// Every column, constraint and index in the server's own words.
    pub definition: BTreeSet<String>,
}

/// A column, as far as keys are concerned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ColumnFacts {
    pub type_oid: u32,
    /// The type as a definition spells it.
    pub type_name: String,
    pub is_enum: bool,
    /// The type has a modifier: a length or a precision.
    pub has_modifier: bool,
    /// Equal values of the column's collation have equal bytes.
    pub deterministic: bool,
    pub generated: bool,
    /// Its default takes numbers from a sequence, of which each shard has its own.
    pub numbered: bool,
}

/// A primary key, a unique constraint or a unique index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unique {
    pub name: String,
    /// What a message calls it.
    pub kind: &'static str,
    /// Its plain columns; expressions are left out.
    pub columns: Vec<String>,
}

/// A foreign key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    pub name: String,
    pub columns: Vec<String>,
    pub referenced: TableName,
    pub referenced_columns: Vec<String>,
    /// ON UPDATE or ON DELETE may assign the columns.
    pub assigns: bool,
}

/// What `c` must be to be a table of users; `n` is its schema.
macro_rules! user_tables {
    () => {
        "c.relkind IN ('r', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)'"
    };
}

const TABLES: &str = concat!(
    "SELECT n.nspname::text, c.relname::text, c.relrowsecurity,
        CASE c.relreplident WHEN 'f' THEN (SELECT array_agg(a.attname::text) FROM pg_attribute a
                                            WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)
        ELSE (SELECT array_agg(a.attname::text) FROM pg_index i JOIN pg_attribute a
                  ON a.attrelid = c.oid AND a.attnum = ANY (i.indkey)
               WHERE i.indrelid = c.oid AND (c.relreplident = 'i' AND i.indisreplident
                                             OR c.relreplident = 'd' AND i.indisprimary)) END,
        ARRAY(SELECT t.tgname::text FROM pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal
               AND t.tgtype & 3 = 3 AND t.tgtype & 20 <> 0 ORDER BY 1),
        ARRAY(SELECT r.rulename::text FROM pg_rewrite r WHERE r.ev_class = c.oid AND r.rulename <> '_RETURN' ORDER BY 1),
        ARRAY(SELECT p.polname::text FROM pg_policy p WHERE p.polrelid = c.oid ORDER BY 1)
   FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE ",
    user_tables!()
);

const COLUMNS: &str = concat!(
    "SELECT n.nspname::text, c.relname::text, a.attname::text, a.atttypid, format_type(a.atttypid, a.atttypmod),
        a.atttypmod >= 0, coalesce(l.collisdeterministic, true),
        EXISTS (SELECT FROM pg_type t WHERE t.oid = a.atttypid AND t.typtype = 'e'), a.attgenerated <> '',
        a.attidentity <> '' OR coalesce(pg_get_expr(d.adbin, d.adrelid) LIKE 'nextval(%', false),
        a.attnotnull, coalesce(pg_get_expr(d.adbin, d.adrelid), ''), coalesce(l.collname::text, '')
   FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
   JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
   LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
   LEFT JOIN pg_collation l ON l.oid = a.attcollation WHERE ",
    user_tables!()
);

const UNIQUE: &str = concat!(
    "SELECT n.nspname::text, c.relname::text, x.relname::text, i.indisprimary, k.conname IS NOT NULL, k.contype = 'x',
        ARRAY(SELECT a.attname::text FROM unnest(i.indkey[:i.indnkeyatts - 1]) AS u(attnum)
                JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = u.attnum)
   FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace
   JOIN pg_class x ON x.oid = i.indexrelid
   LEFT JOIN pg_constraint k ON k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x')
  WHERE (i.indisunique OR k.contype = 'x') AND ",
    user_tables!(),
    " ORDER BY 3"
);

const FOREIGN_KEYS: &str = concat!(
    "SELECT n.nspname::text, c.relname::text, k.conname::text,
        ARRAY(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY AS u(attnum, place)
                JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.attnum ORDER BY u.place),
        rn.nspname::text, r.relname::text,
        ARRAY(SELECT a.attname::text FROM unnest(k.confkey) WITH ORDINALITY AS u(attnum, place)
                JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.attnum ORDER BY u.place),
        k.confupdtype IN ('c', 'n', 'd') OR k.confdeltype IN ('n', 'd')
   FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
   JOIN pg_class r ON r.oid = k.confrelid JOIN pg_namespace rn ON rn.oid = r.relnamespace
  WHERE k.contype = 'f' AND ",
    user_tables!(),
    " ORDER BY 3"
);

/// Constraints and indexes as definitions, so that two shards can be compared.
const DEFINITIONS: &str = concat!(
    "SELECT n.nspname::text, c.relname::text, 'constraint ' || k.conname || ' ' || pg_get_constraintdef(k.oid)
   FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE ",
    user_tables!(),
    " UNION ALL SELECT n.nspname::text, c.relname::text, pg_get_indexdef(i.indexrelid)
   FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE ",
    user_tables!()
);

const TYPES: &str = "SELECT n.nspname::text || '.' || t.typname::text, t.oid
    FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
   WHERE t.oid >= 16384 AND t.typtype IN ('e', 'd', 'r', 'c') AND n.nspname !~ '^pg_(toast|temp)'
     AND NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = t.typrelid AND c.relkind <> 'c')";

/// Servers before 15 know no version of the database's collation.
const COLLATION: &str =
    "SELECT d.datcollate || ' ' || d.datctype || ' ' || coalesce(to_jsonb(d) ->> 'datcollversion', '')
    FROM pg_database d WHERE d.datname = current_database()";

impl Inventory {
    /// Reads the catalogs of one shard.
    ///
    /// # Errors
    /// Whatever the server answers.
    pub async fn read(client: &Client) -> Result<Self, tokio_postgres::Error> {
        let mut inventory = Self { collation: client.query_one(COLLATION, &[]).await?.try_get(0)?, ..Self::default() };
        for row in client.query(TYPES, &[]).await? {
            inventory.types.insert(row.try_get(0)?, row.try_get(1)?);
        }
        for row in client.query(TABLES, &[]).await? {
            let identity: Option<Vec<String>> = row.try_get(3)?;
            let facts = TableFacts {
                row_security: row.try_get(2)?,
                identity: identity.map(|columns| columns.into_iter().collect()),
                before_row: row.try_get(4)?,
                rules: row.try_get(5)?,
                policies: row.try_get(6)?,
                ..TableFacts::default()
            };
            inventory.tables.insert(name(&row)?, facts);
        }
        inventory.read_columns(client).await?;
        inventory.read_constraints(client).await?;
        Ok(inventory)
    }

    async fn read_columns(&mut self, client: &Client) -> Result<(), tokio_postgres::Error> {
        for row in client.query(COLUMNS, &[]).await? {
            let Some(table) = self.tables.get_mut(&name(&row)?) else { continue };
            let column: String = row.try_get(2)?;
            let facts = ColumnFacts {
                type_oid: row.try_get(3)?,
                type_name: row.try_get(4)?,
                has_modifier: row.try_get(5)?,
                deterministic: row.try_get(6)?,
                is_enum: row.try_get(7)?,
                generated: row.try_get(8)?,
                numbered: row.try_get(9)?,
            };
            let (not_null, default, collation): (bool, String, String) =
                (row.try_get(10)?, row.try_get(11)?, row.try_get(12)?);
            let null = if not_null { "NOT NULL" } else { "NULL" };
            table.definition.insert(format!("column {column} {} {null} {default} {collation}", facts.type_name));
            table.columns.insert(column, facts);
        }
        Ok(())
    }

    async fn read_constraints(&mut self, client: &Client) -> Result<(), tokio_postgres::Error> {
        for row in client.query(UNIQUE, &[]).await? {
            let Some(table) = self.tables.get_mut(&name(&row)?) else { continue };
            let kind = match (row.try_get(3)?, row.try_get(4)?, row.try_get::<_, Option<bool>>(5)?) {
                (_, _, Some(true)) => "exclusion constraint",
                (true, ..) => "primary key",
                (false, true, _) => "unique constraint",
                (false, false, _) => "unique index",
            };
            table.unique.push(Unique { name: row.try_get(2)?, kind, columns: row.try_get(6)? });
        }
        for row in client.query(FOREIGN_KEYS, &[]).await? {
            let Some(table) = self.tables.get_mut(&name(&row)?) else { continue };
            table.foreign_keys.push(Reference {
                name: row.try_get(2)?,
                columns: row.try_get(3)?,
                referenced: (row.try_get(4)?, row.try_get(5)?),
                referenced_columns: row.try_get(6)?,
                assigns: row.try_get(7)?,
            });
        }
        for row in client.query(DEFINITIONS, &[]).await? {
            if let Some(table) = self.tables.get_mut(&name(&row)?) {
                table.definition.insert(row.try_get(2)?);
            }
        }
        Ok(())
    }
}

fn name(row: &Row) -> Result<TableName, tokio_postgres::Error> {
    Ok((row.try_get(0)?, row.try_get(1)?))
}
