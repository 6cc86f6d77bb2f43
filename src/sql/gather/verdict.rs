//! What would mean another thing over gathered rows, once the whole statement is known.

use super::condition::{Level, LevelItem};
use super::query::{FromName, Reader};
use super::refuse;
use crate::types::Result;

/// # Errors
/// Refuses names that would lead elsewhere.
pub fn check(reader: &Reader<'_>) -> Result<()> {
    reader.with_schema.iter().try_for_each(|(schema, table)| check_schema(reader, schema, table))
}

/// A table's row has the table's own type, which the temporary one's has not.
///
/// # Errors
/// Refuses rows of a level's tables and views as values, and functions of them.
pub fn check_rows(reader: &Reader<'_>, level: &Level) -> Result<()> {
    level.items.iter().try_for_each(|item| check_row(reader, item))
}

fn check_row(reader: &Reader<'_>, item: &LevelItem) -> Result<()> {
    let Some(columns) = &item.row else { return Ok(()) };
    if reader.bare.contains(&item.name) && !columns.contains(&item.name) {
        return Err(refuse(format!("the row of \"{}\" as a value", item.name)));
    }
    let of_this = reader.qualified.iter().filter(|(name, _)| *name == item.name);
    for (_, column) in of_this {
        // `t.f` may be written for `f(t)`.
        if !columns.contains(column) && reader.schema.functions.contains_key(column) {
            return Err(refuse(format!("the function {column}() of the row of \"{}\"", item.name)));
        }
    }
    Ok(())
}

/// `schema.table.column` leads to a table that has no alias; behind the change, `table.column` must lead there, too.
fn check_schema(reader: &Reader<'_>, schema: &str, table: &str) -> Result<()> {
    let is_other = |from: &&FromName| {
        let is_meant = from.relation.as_ref().is_some_and(|(own, name)| own == schema && name == table);
        from.name == table && !is_meant
    };
    match reader.from_names.iter().find(is_other) {
        Some(_) => Err(refuse(format!("a column of {schema}.{table} beside another item called \"{table}\""))),
        None => Ok(()),
    }
}

/// Two tables of one name, from different schemas, stand side by side without aliases. They cannot once they have one.
///
/// # Errors
/// Refuses them.
pub fn check_level(names: &[FromName]) -> Result<()> {
    for (place, from) in names.iter().enumerate() {
        let is_twin = |other: &FromName| {
            other.name == from.name && matches!((&other.relation, &from.relation), (Some(one), Some(two)) if one != two)
        };
        if names.iter().skip(place + 1).any(is_twin) {
            return Err(refuse(format!("two tables called \"{}\" without aliases", from.name)));
        }
    }
    Ok(())
}
