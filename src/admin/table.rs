//! Tables as messages. A column is one line of code: its name, its type, and how its value comes from a row.

use std::fmt::Display;

use bytes::BytesMut;

use crate::wire::backend;

/// The text of a value, `None` for NULL.
pub(super) type Value = Option<String>;

/// A column of a table whose rows are made from `R`.
pub(super) struct Column<R> {
    name: &'static str,
    data_type: Type,
    value: fn(&R) -> Value,
}

/// The types that PgBouncer's console uses, and numeric.
#[derive(Clone, Copy)]
enum Type {
    Int4,
    Int8,
    Text,
    Numeric,
}

impl Type {
    /// OID and size in bytes (-1: variable). Source: PostgreSQL's catalog `pg_type`.
    fn oid_and_size(self) -> (u32, i16) {
        match self {
            Self::Int8 => (20, 8),
            Self::Int4 => (23, 4),
            Self::Text => (25, -1),
            Self::Numeric => (1700, -1),
        }
    }
}

pub(super) const fn int4<R>(name: &'static str, value: fn(&R) -> Value) -> Column<R> {
    Column { name, data_type: Type::Int4, value }
}

pub(super) const fn int8<R>(name: &'static str, value: fn(&R) -> Value) -> Column<R> {
    Column { name, data_type: Type::Int8, value }
}

pub(super) const fn text<R>(name: &'static str, value: fn(&R) -> Value) -> Column<R> {
    Column { name, data_type: Type::Text, value }
}

pub(super) const fn numeric<R>(name: &'static str, value: fn(&R) -> Value) -> Column<R> {
    Column { name, data_type: Type::Numeric, value }
}

/// A value that is not NULL.
pub(super) fn some(value: impl Display) -> Value {
    Some(value.to_string())
}

/// Appends RowDescription, DataRows and CommandComplete. The command tag is `SHOW`, as PgBouncer's and PostgreSQL's.
pub(super) fn put_table<R>(out: &mut BytesMut, columns: &[Column<R>], rows: impl IntoIterator<Item = R>) {
    let described: Vec<_> = columns.iter().map(describe).collect();
    backend::row_description(out, &described);
    for row in rows {
        let values: Vec<Value> = columns.iter().map(|column| (column.value)(&row)).collect();
        backend::data_row(out, values.iter().map(|value| value.as_ref().map(String::as_bytes)));
    }
    backend::command_complete(out, "SHOW");
}

fn describe<R>(column: &Column<R>) -> backend::Column {
    let (type_oid, type_size) = column.data_type.oid_and_size();
    backend::Column {
        name: column.name.as_bytes().to_vec(),
        table_oid: 0,
        attribute: 0,
        type_oid,
        type_size,
        type_modifier: -1,
        format: 0,
    }
}
