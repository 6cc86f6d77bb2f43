//! INSERTs of VALUES that wait for values: keys without which no shard is known, and values that must be the same on all
//! shards.

use std::sync::Arc;

use super::Router;
use super::plan::Action;
use super::target::Target;
use super::value::find_column;
use super::write::given_columns;
use crate::sql::computed::{Cell, Computed, open_values};
use crate::sql::facts::{InsertSource, Operand, StatementKind};
use crate::sql::schema::Column;
use crate::sql::type_names::{TypeNames, type_names};
use crate::types::{Error, Kind, Result};

impl Router<'_> {
    /// The keys of an INSERT's rows that cannot be told before they are computed, as `error` says; `None` where computing
    /// them does not help.
    pub(super) fn computed_keys(&self, error: &Error) -> Option<Action> {
        let shape = self.statement().insert.as_ref()?;
        let Some(Target::Sharded { keyspace, columns, relation: Some(relation) }) = self.targets.get(shape.relation)
        else {
            return None;
        };
        let rows = match &shape.source {
            InsertSource::Values(rows) => rows.as_slice(),
            InsertSource::DefaultValues => &[Vec::new()],
            InsertSource::Select(_) => return None,
        };
        if error.kind != Kind::NotSupported || self.statement().kind != StatementKind::Insert {
            return None;
        }
        let given = given_columns(shape, relation, rows);
        let mut cells = Vec::new();
        for (column, key_type) in columns.iter().zip(&keyspace.key) {
            let stored = find_column(&relation.columns, column)?;
            let type_name = self.stored_type(Some(stored), column, *key_type).ok()?.pg_name()?;
            let place = given.iter().position(|name| name == column);
            for (row, values) in rows.iter().enumerate() {
                let value = place.and_then(|place| values.get(place)).filter(|value| **value != Operand::Default);
                let cell = |default| {
                    let names = ["pg_catalog".to_owned(), type_name.to_owned()];
                    let type_names = TypeNames { names, is_array: false, is_enum: false };
                    Cell { row, column: column.clone(), type_names, default }
                };
                match (value, &stored.default) {
                    (Some(value), _) if is_settled(value, type_name) => {}
                    (Some(value), _) => {
                        if self.new_value(Some(value), column, *key_type, Some(relation)).is_err() {
                            cells.push(cell(None));
                        }
                    }
                    (None, Some(default)) => cells.push(cell(Some(default.clone()))),
                    (None, None) => {}
                }
            }
        }
        (!cells.is_empty()).then(|| Action::Compute(Arc::new(Computed { given, cells })))
    }

    /// The values of an INSERT's rows that shards could not compute alike: defaults that are one moment for all rows; in a
    /// reference table all computed ones. `None` if there are none.
    ///
    /// # Errors
    /// A text that is not the statement which is routed, which would be a bug.
    pub(super) fn shared_values(&self, index: usize) -> Result<Option<Action>> {
        let statement = self.statement();
        let Some(shape) = statement.insert.as_ref().filter(|_| statement.kind == StatementKind::Insert) else {
            return Ok(None);
        };
        let (relation, is_reference) = match self.targets.get(index) {
            Some(Target::Sharded { relation: Some(relation), .. }) => (*relation, false),
            Some(Target::Reference { relation: Some(relation) }) => (*relation, true),
            _ => return Ok(None),
        };
        let rows = match &shape.source {
            InsertSource::Values(rows) => rows.as_slice(),
            InsertSource::DefaultValues => &[Vec::new()],
            InsertSource::Select(_) => return Ok(None),
        };
        let given = given_columns(shape, relation, rows);
        let text = statement.text(self.request.text);
        let open = if is_reference { open_values(text, &given)? } else { Vec::new() };
        let must_be_shared = |column: &Column| match is_reference {
            true => column.computed_default && column.sequence.is_none() && !column.is_generated,
            false => column.moment_default,
        };
        let mut cells = Vec::new();
        for column in &relation.columns {
            let place = given.iter().position(|name| *name == column.name);
            let default = column.default.as_ref().filter(|_| must_be_shared(column));
            for (row, values) in rows.iter().enumerate() {
                let value = place.and_then(|place| values.get(place)).filter(|value| **value != Operand::Default);
                let default = match (value, default) {
                    (Some(_), _) if place.is_some_and(|place| open.contains(&(row, place))) => None,
                    (None, Some(default)) => Some(default.clone()),
                    _ => continue,
                };
                let Some(type_names) = type_names(column.type_oid, self.request.schema) else { return Ok(None) };
                cells.push(Cell { row, column: column.name.clone(), type_names, default });
            }
        }
        Ok((!cells.is_empty()).then(|| Action::Compute(Arc::new(Computed { given, cells }))))
    }
}

/// A literal of this very type, or NULL: computing it gives nothing else.
fn is_settled(value: &Operand, type_name: &str) -> bool {
    match value {
        Operand::Null => true,
        Operand::Cast { operand, type_name: own } => {
            matches!(**operand, Operand::Literal { .. } | Operand::Null) && **own == *type_name
        }
        _ => false,
    }
}
