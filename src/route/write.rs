//! Writes: rows of a sharded table on the one shard that owns them, rows of a reference table on every shard alike.

use super::plan::Action;
use super::prune::Shards;
use super::target::Target;
use super::value::{Family, Value, find_column};
use super::{HOME, Parameter, Router};
use crate::shardmap::{KeyType, KeyValue, Keyspace};
use crate::sql::facts::{ColumnUse, Effects, InsertShape, InsertSource, Operand, Selected, StatementKind};
use crate::sql::moment::names_moment;
use crate::sql::schema::{Column, Relation};
use crate::types::{Error, Kind, Origin, Result, ShardId};

/// OIDs of date, time, timestamp, timestamptz and timetz.
const CLOCK_TYPES: &[u32] = &[1082, 1083, 1114, 1184, 1266];

impl<'a> Router<'a> {
    pub(super) fn write(&self) -> Result<Action> {
        let relations = &self.statement().relations;
        let mut written = relations.iter().enumerate().filter(|(_, used)| used.written).map(|(index, _)| index);
        match (written.next(), written.next()) {
            (Some(index), None) => self.write_to(index),
            _ => Err(Error::refuse("cannot route the statement", "It writes more than one relation.")),
        }
    }

    fn write_to(&self, index: usize) -> Result<Action> {
        match self.targets.get(index).copied() {
            Some(Target::Sharded { keyspace, column, relation }) => {
                self.check_assigned(index, column)?;
                self.write_sharded(index, keyspace, column, relation)
            }
            Some(Target::Reference { relation }) => self.write_reference(index, relation),
            Some(Target::System | Target::Expanded | Target::Unmapped) | None => {
                Err(Error::refuse("cannot write system catalogs", "A sharded database has catalogs on every shard."))
            }
        }
    }

    /// A row whose key changes would have to move.
    fn check_assigned(&self, index: usize, key: &str) -> Result<()> {
        if self.statement().assigned.iter().any(|used| used.relation == index && used.column == key) {
            return Err(Error::refuse(
                format!("cannot change the shard key \"{key}\""),
                format!("Column \"{key}\" decides on which shard the row lives."),
            )
            .hint("Delete the row and insert it with the new key."));
        }
        Ok(())
    }

    fn write_sharded(
        &self,
        index: usize,
        keyspace: &Keyspace,
        column: &str,
        relation: Option<&Relation>,
    ) -> Result<Action> {
        let shards = match &self.statement().insert {
            Some(shape) => {
                let mut shards = self.needed(Some(index))?;
                shards.extend(self.inserted_into(shape, keyspace, column, relation)?);
                shards.sort_unstable();
                shards.dedup();
                shards
            }
            None => self.needed(None)?,
        };
        match shards.as_slice() {
            [] => self.on_shard(HOME),
            [shard] => self.on_shard(*shard),
            several => Err(self.needs_several("a write", several)),
        }
    }

    fn on_shard(&self, shard: ShardId) -> Result<Action> {
        self.check_shard(shard)?;
        Ok(self.one(shard))
    }

    /// The shards of the rows that an INSERT adds.
    fn inserted_into(
        &self,
        shape: &InsertShape,
        keyspace: &Keyspace,
        column: &str,
        relation: Option<&Relation>,
    ) -> Result<Shards> {
        let position = || key_position(shape, column, relation);
        match &shape.source {
            InsertSource::Values(rows) => {
                let position = position()?;
                rows.iter().map(|row| self.owner(row.get(position), keyspace, column, relation)).collect()
            }
            InsertSource::Select(Some(selected)) => match selected.get(position()?) {
                Some(Selected::Value(Operand::Computed)) => Err(computed_rows()),
                Some(Selected::Value(operand)) => Ok(vec![self.owner(Some(operand), keyspace, column, relation)?]),
                Some(Selected::From(columns)) => self.selected_from(columns, keyspace, column, relation),
                None => Err(missing_key(column)),
            },
            InsertSource::Select(None) | InsertSource::DefaultValues => Err(computed_rows()),
        }
    }

    /// The shards of new rows whose keys are values of these columns.
    fn selected_from(
        &self,
        columns: &[ColumnUse],
        keyspace: &Keyspace,
        column: &str,
        relation: Option<&Relation>,
    ) -> Result<Shards> {
        let stored = relation.and_then(|relation| find_column(&relation.columns, column));
        let keeps = |stored: &Column| {
            let family = KeyType::from_oid(stored.type_oid).map(Family::of);
            stored.type_modifier < 0 && family == Some(Family::of(keyspace.key_type))
        };
        if !stored.is_some_and(keeps) {
            return Err(uncertain_key(column, "storing it may change it"));
        }
        let mut shards = Shards::new();
        for selected in columns {
            shards.extend(self.candidates(selected.relation, keyspace, &selected.column)?);
        }
        Ok(shards)
    }

    /// The shard of one new row.
    fn owner(
        &self,
        key: Option<&Operand>,
        keyspace: &Keyspace,
        column: &str,
        relation: Option<&Relation>,
    ) -> Result<ShardId> {
        let operand = key.ok_or_else(|| missing_key(column))?;
        let stored = relation.and_then(|relation| find_column(&relation.columns, column));
        let key_type = match stored.map(|stored| KeyType::from_oid(stored.type_oid)) {
            None => keyspace.key_type,
            Some(Some(actual)) if Family::of(actual) == Family::of(keyspace.key_type) => actual,
            Some(_) => return Err(uncertain_key(column, "its type is not the keyspace's")),
        };
        match self.value(operand, key_type) {
            Value::Null => Err(null_key(column)),
            Value::Unknown => Err(uncertain_key(column, "its value is not known before the statement runs")),
            Value::Known(value) if stored.is_some_and(|stored| stored.type_modifier >= 0) && is_fractional(&value) => {
                Err(uncertain_key(column, "the column's precision may round it"))
            }
            Value::Known(value) => keyspace.shard_of(&value),
        }
    }

    fn write_reference(&self, index: usize, relation: Option<&Relation>) -> Result<Action> {
        self.check_reference_effects(index)?;
        let relation = relation.ok_or_else(|| not_inspected(&self.statement().relations[index].name.name))?;
        if let Some(shape) = &self.statement().insert {
            check_defaults(shape, relation)?;
        }
        self.check_clock(relation)?;
        self.request.map.shard_ids().try_for_each(|shard| self.check_shard(shard))?;
        if let StatementKind::Explain { .. } = self.statement().kind {
            return Err(differs("EXPLAIN would have to show the plans of all shards."));
        }
        Ok(self.everywhere(false))
    }

    /// Every shard must come to the same rows.
    fn check_reference_effects(&self, index: usize) -> Result<()> {
        if self.has(Effects::VOLATILE | Effects::STABLE) {
            return Err(differs("A function in it may give another value on each shard.")
                .hint("Send the value as a literal or a parameter."));
        }
        if self.has(Effects::SYSTEM_COLUMNS) {
            return Err(differs("System columns such as ctid hold other values on each shard."));
        }
        let others = || self.targets.iter().enumerate().filter(|(other, _)| *other != index);
        if others().any(|(_, target)| !matches!(target, Target::Reference { .. } | Target::Expanded)) {
            return Err(differs("It reads a relation whose rows are not the same on every shard."));
        }
        let picks = self.has(Effects::SHAPES_RESULT) || self.statement().kind == StatementKind::Update;
        if others().next().is_some() && picks {
            return Err(differs("Which of several rows it takes may differ from shard to shard."));
        }
        Ok(())
    }

    /// A string such as 'now' becomes another time on each shard.
    fn check_clock(&self, relation: &Relation) -> Result<()> {
        if !relation.columns.iter().any(|column| CLOCK_TYPES.contains(&column.type_oid)) {
            return Ok(());
        }
        let mut literals = self.request.literals.iter().filter_map(|literal| literal.value(self.request.text));
        if literals.any(|text| names_moment(&text)) || self.request.parameters.iter().any(Parameter::names_moment) {
            return Err(differs("A date or time such as 'now' may be another one on each shard."));
        }
        Ok(())
    }
}

/// The position of the key in the rows of VALUES.
fn key_position(shape: &InsertShape, column: &str, relation: Option<&Relation>) -> Result<usize> {
    match (&shape.columns, relation) {
        (Some(columns), _) => columns.iter().position(|name| name == column).ok_or_else(|| missing_key(column)),
        (None, Some(relation)) => relation
            .columns
            .iter()
            .position(|known| known.name == column)
            .ok_or_else(|| uncertain_key(column, "the table has no such column")),
        (None, None) => Err(uncertain_key(column, "the table's columns are not known yet")
            .hint("Name the columns: INSERT INTO table (columns) VALUES ...")),
    }
}

fn computed_rows() -> Error {
    Error::refuse(
        "cannot tell the shard of rows that a query makes",
        "The keys of the new rows are not known before they are computed.",
    )
    .hint("Insert the rows with VALUES.")
}

fn missing_key(column: &str) -> Error {
    Error::refuse(
        "cannot insert a row without its shard key",
        format!("The statement gives no value for column \"{column}\", which decides on which shard the row lives."),
    )
}

fn uncertain_key(column: &str, reason: &str) -> Error {
    Error::refuse(
        format!("cannot tell the shard of a new row from its key \"{column}\""),
        format!("The key cannot be computed in advance: {reason}."),
    )
    .hint("Give the key as a literal or a parameter of the column's type.")
}

fn null_key(column: &str) -> Error {
    Error::new(Origin::Client, Kind::NullKey, format!("null value in shard key column \"{column}\""))
        .detail("A row without a key belongs to no shard.")
}

fn not_inspected(table: &str) -> Error {
    Error::refuse(
        format!("cannot write reference table \"{table}\" yet"),
        "Its columns have not been read from the catalogs.",
    )
    .hint("Try again in a moment.")
}

/// The refusal of a write whose rows might differ between the copies of a reference table.
fn differs(detail: &'static str) -> Error {
    Error::refuse("cannot write a reference table in this way", detail)
}

/// A default that is computed may come out differently on each shard.
fn check_defaults(shape: &InsertShape, relation: &Relation) -> Result<()> {
    let is_given = |position: usize, name: &str| match (&shape.columns, &shape.source) {
        (_, InsertSource::DefaultValues) => false,
        (Some(columns), source) => {
            let listed = columns.iter().position(|listed| listed == name);
            listed.is_some_and(|listed| is_given_by(source, listed))
        }
        (None, source) => is_given_by(source, position),
    };
    let mut columns = relation.columns.iter().enumerate();
    match columns.find(|(position, column)| column.computed_default && !is_given(*position, &column.name)) {
        None => Ok(()),
        Some((_, column)) => Err(Error::refuse(
            "cannot write a reference table in this way",
            format!("The default of column \"{}\" may come out differently on each shard.", column.name),
        )
        .hint("Give the column a value.")),
    }
}

fn is_given_by(source: &InsertSource, position: usize) -> bool {
    match source {
        InsertSource::Values(rows) => {
            rows.iter().all(|row| row.get(position).is_some_and(|value| *value != Operand::Default))
        }
        // How many columns a query has is not known here.
        InsertSource::Select(_) | InsertSource::DefaultValues => false,
    }
}

fn is_fractional(value: &KeyValue<'_>) -> bool {
    matches!(value, KeyValue::Timestamp(microseconds) if microseconds % 1_000_000 != 0)
}
