//! Writes: rows of a sharded table on the one shard that owns them, rows of a reference table on every shard alike.

use super::plan::Action;
use super::prune::Shards;
use super::target::Target;
use super::value::{Family, Value, find_column};
use super::{HOME, Parameter, Router};
use crate::shardmap::{KeyType, KeyValue, Keyspace};
use crate::sql::facts::{Effects, InsertShape, InsertSource, Operand, StatementKind};
use crate::sql::moment::names_moment;
use crate::sql::schema::Relation;
use crate::types::{Error, Kind, Origin, Result, ShardId};

/// OIDs of date, time, timestamp, timestamptz and timetz.
const CLOCK_TYPES: &[u32] = &[1082, 1083, 1114, 1184, 1266];

/// How a table is sharded.
struct ShardKey<'k> {
    keyspace: &'k Keyspace,
    columns: &'k [String],
    relation: Option<&'k Relation>,
}

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
            Some(Target::Sharded { keyspace, columns, relation }) => {
                self.check_assigned(index, columns)?;
                self.write_sharded(index, &ShardKey { keyspace, columns, relation })
            }
            Some(Target::Reference { relation }) => self.write_reference(index, relation),
            Some(Target::Single { .. }) => self.write_single(),
            Some(Target::System | Target::Unmapped) | None => {
                Err(Error::refuse("cannot write system catalogs", "A sharded database has catalogs on every shard."))
            }
        }
    }

    /// A row whose key changes would have to move.
    fn check_assigned(&self, index: usize, key: &[String]) -> Result<()> {
        let mut assigned = self.statement().assigned.iter().filter(|used| used.relation == index);
        if let Some(key) = assigned.find(|used| key.contains(&used.column)).map(|used| &used.column) {
            return Err(Error::refuse(
                format!("cannot change the shard key \"{key}\""),
                format!("Column \"{key}\" decides on which shard the row lives."),
            )
            .hint("Delete the row and insert it with the new key."));
        }
        Ok(())
    }

    fn write_sharded(&self, index: usize, key: &ShardKey<'_>) -> Result<Action> {
        let shards = match &self.statement().insert {
            Some(shape) => {
                let mut shards = self.needed(Some(index))?;
                shards.extend(self.inserted_into(shape, key)?);
                shards.sort_unstable();
                shards.dedup();
                shards
            }
            None => self.needed(None)?,
        };
        self.on_only(&shards)
    }

    /// A table that lives on one shard: the statement must find there whatever else it reads.
    fn write_single(&self) -> Result<Action> {
        self.on_only(&self.needed(None)?)
    }

    fn on_only(&self, shards: &[ShardId]) -> Result<Action> {
        match shards {
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
    fn inserted_into(&self, shape: &InsertShape, key: &ShardKey<'_>) -> Result<Shards> {
        let InsertSource::Values(rows) = &shape.source else {
            return Err(Error::refuse(
                "INSERT into a sharded table needs VALUES",
                "The shard of the new rows is not known before they are computed.",
            ));
        };
        let positions: Vec<usize> =
            key.columns.iter().map(|column| key_position(shape, column, key.relation)).collect::<Result<_>>()?;
        rows.iter().map(|row| self.owner(row, &positions, key)).collect()
    }

    /// The shard of one new row.
    fn owner(&self, row: &[Operand], positions: &[usize], key: &ShardKey<'_>) -> Result<ShardId> {
        let columns = positions.iter().zip(key.columns).zip(&key.keyspace.key);
        let values: Vec<KeyValue<'_>> = columns
            .map(|((position, column), key_type)| self.new_value(row.get(*position), column, *key_type, key.relation))
            .collect::<Result<_>>()?;
        let owner = key.keyspace.shard_of(&values);
        if owner.is_err() {
            self.note_unowned(key.keyspace, vec![values.into_iter().map(KeyValue::into_owned).collect()], true);
        }
        owner
    }

    /// What one column of the key holds in a new row.
    fn new_value(
        &self,
        operand: Option<&Operand>,
        column: &str,
        key_type: KeyType,
        relation: Option<&Relation>,
    ) -> Result<KeyValue<'a>> {
        let operand = operand.ok_or_else(|| missing_key(column))?;
        let stored = relation.and_then(|relation| find_column(&relation.columns, column));
        let actual = match stored.map(|stored| self.request.schema.key_type(stored.type_oid)) {
            None => key_type,
            Some(Some(actual)) if Family::of(actual) == Family::of(key_type) => actual,
            Some(_) => return Err(uncertain_key(column, "its type is not the keyspace's")),
        };
        match self.value(operand, actual) {
            Value::Null => Err(null_key(column)),
            Value::Unknown => Err(uncertain_key(column, "its value is not known before the statement runs")),
            Value::Known(value) if stored.is_some_and(|stored| is_rounded(&value, stored.type_modifier)) => {
                Err(uncertain_key(column, "the column's precision may round it"))
            }
            Value::Known(value) => Ok(value),
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
        if others().any(|(_, target)| !matches!(target, Target::Reference { .. })) {
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
        InsertSource::Select | InsertSource::DefaultValues => false,
    }
}

/// Whether a column with this modifier may store another value than the one that is given.
fn is_rounded(value: &KeyValue<'_>, type_modifier: i32) -> bool {
    match value {
        _ if type_modifier < 0 => false,
        KeyValue::Timestamp(microseconds) => microseconds % 1_000_000 != 0,
        KeyValue::Numeric(number) => number.fraction_digits() > numeric_scale(type_modifier),
        _ => false,
    }
}

/// The digits behind the point that numeric(p, s) keeps. Source: `numeric_typmod_scale` in PostgreSQL's `numeric.c`; a
/// negative scale, which rounds in front of the point, counts as if every number were rounded by it.
fn numeric_scale(type_modifier: i32) -> usize {
    let scale = (((type_modifier - 4) & 0x7ff) ^ 1024) - 1024;
    usize::try_from(scale).unwrap_or(0)
}
