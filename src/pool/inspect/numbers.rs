//! The numbers that a server gave to the types and relations of users.

use tokio_postgres::{Client, Row};

use super::rows;
use crate::types::{Error, Result};
use crate::wire::oids::{Form, Numbered, Relation, Type};

/// Types that are not PostgreSQL's own; 16384 is its FirstNormalObjectId. An array goes by the name of its elements' type,
/// since its own depends on the names that were taken when it was made.
const TYPES: &str = "
    SELECT CASE WHEN e.oid IS NULL THEN quote_ident(n.nspname) || '.' || quote_ident(t.typname)
                ELSE quote_ident(en.nspname) || '.' || quote_ident(e.typname) || '[]' END,
           t.oid, t.typtype::text, e.oid, coalesce(r.rngsubtype, m.rngtypid, t.typbasetype)
      FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
      LEFT JOIN pg_catalog.pg_type e ON e.typarray = t.oid
      LEFT JOIN pg_catalog.pg_namespace en ON en.oid = e.typnamespace
      LEFT JOIN pg_catalog.pg_range r ON r.rngtypid = t.oid
      LEFT JOIN pg_catalog.pg_range m ON m.rngmultitypid = t.oid
     WHERE t.oid >= 16384 AND n.nspname !~ '^pg_(toast|temp)'";

/// Relations whose columns a result may have, with the numbers of all columns.
const RELATIONS: &str = "
    SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname), c.oid,
           coalesce(string_agg(a.attnum || ' ' || quote_ident(a.attname), ',' ORDER BY a.attnum), '')
      FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
      LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
     WHERE c.oid >= 16384 AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND n.nspname !~ '^pg_(toast|temp)'
     GROUP BY n.nspname, c.relname, c.oid";

/// Reads what users made on a server, for [`crate::wire::oids::Translation::between`].
pub async fn numbered(client: &Client) -> Result<Numbered> {
    let types = rows(client, TYPES).await?.iter().map(type_of).collect::<Result<_>>()?;
    let relation = |row: &Row| Relation { name: row.get(0), oid: row.get(1), columns: row.get(2) };
    Ok(Numbered { types, relations: rows(client, RELATIONS).await?.iter().map(relation).collect() })
}

fn type_of(row: &Row) -> Result<Type> {
    let name: String = row.get(0);
    let (kind, element, part): (&str, Option<u32>, u32) = (row.get(2), row.get(3), row.get(4));
    let form = match (kind, element) {
        ("b", Some(element)) => Form::Array(element),
        // Base types of users have no OIDs in their binary form.
        ("b" | "e" | "p", None) => Form::Plain,
        ("c", None) => Form::Record,
        ("d", None) => Form::Domain(part),
        ("r", None) => Form::Range(part),
        ("m", None) => Form::Multirange(part),
        (other, _) => return Err(Error::internal(format!("type {name} is of a kind that is not known: \"{other}\""))),
    };
    Ok(Type { name, oid: row.get(1), form })
}
