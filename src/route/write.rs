//! Writes: rows of a sharded table on the one shard that owns them, rows of a reference table on every shard alike.

use std::sync::Arc;

use super::plan::Action;
use super::prune::Shards;
use super::target::{self, Target};
use super::value::{Family, Value, find_column};
use super::{HOME, Parameter, Router};
use crate::shardmap::{KeyType, KeyValue, Keyspace, Known};
use crate::sql::collected::collect;
use crate::sql::facts::{
    ColumnUse, Effects, InsertShape, InsertSource, Operand, RelationName, RelationUse, Selected, StatementKind,
};
use crate::sql::merge_defaults::{defaults_of_merge, with_defaults};
use crate::sql::moment::{Moment, fixed, names_moment};
use crate::sql::schema::{Column, Relation, Resolved};
use crate::sql::sources::{MergeNumbers, sources};
use crate::sql::subqueries::subqueries;
use crate::sql::update_as_merge::as_merge;
use crate::types::{Error, Kind, Origin, Result, ShardId};

/// OIDs of date, time, timestamp, timestamptz and timetz.
pub(super) const CLOCK_TYPES: &[u32] = &[1082, 1083, 1114, 1184, 1266];

/// How a table is sharded.
pub(super) struct ShardKey<'k> {
    pub keyspace: &'k Keyspace,
    pub columns: &'k [String],
    pub relation: Option<&'k Relation>,
}

impl<'a> Router<'a> {
    pub(super) fn write(&self) -> Result<Action> {
        let relations = self.statement().relations.iter().enumerate();
        let written: Vec<usize> = relations.filter(|(_, used)| used.written).map(|(index, _)| index).collect();
        match written.as_slice() {
            [index] => match self.write_to(*index) {
                Err(error) if error.kind == Kind::NotSupported && self.reads_moment(*index) => Ok(Action::Moment),
                Err(error) if error.kind == Kind::NotSupported => {
                    let first = match self.shared_values(*index)? {
                        None => self.subqueries(*index)?,
                        values => values,
                    };
                    match first {
                        Some(action) => Ok(action),
                        None => self.collect_after(*index, error).or_else(|error| self.sources_after(*index, error)),
                    }
                }
                other => other,
            },
            several => self.write_to_several(several),
        }
    }

    /// The subqueries of a write that cannot be done with them in it.
    fn subqueries(&self, index: usize) -> Result<Option<Action>> {
        let statement = self.statement();
        let is_write = matches!(statement.kind, StatementKind::Insert | StatementKind::Update | StatementKind::Delete);
        let text = statement.text(self.request.text);
        if !is_write || self.has_collations(index) {
            return Ok(None);
        }
        let queries = subqueries(text)?;
        Ok((!queries.is_empty()).then(|| Action::Subqueries(queries.into())))
    }

    /// Whether a value of other relations than the one at `index` may have a collation of its own, which it would not have any
    /// more where it was asked for first.
    fn has_collations(&self, index: usize) -> bool {
        // Those of temporary tables are not known here, but to their server.
        let has_collation = |used: &RelationUse| match self.request.schema.resolve(&used.name) {
            Resolved::User { relation, .. } => relation.columns.iter().any(|column| column.own_collation),
            Resolved::System => true,
            Resolved::Unknown => false,
        };
        let statement = self.statement();
        let text = statement.text(self.request.text);
        let mut others = statement.relations.iter().enumerate().filter(|(other, _)| *other != index);
        text.to_ascii_uppercase().contains("COLLATE") || others.any(|(_, used)| has_collation(used))
    }

    /// The plan of a write that meets rows which not every shard has, as `error` says: those are asked for first.
    fn sources_after(&self, index: usize, error: Error) -> Result<Action> {
        self.sources(index, &[])?.ok_or(error)
    }

    /// The rows that a write meets are asked for first; those of a MERGE come with a number for each of these columns. `None` if
    /// that cannot be.
    pub(super) fn sources(&self, index: usize, numbered: &[&Column]) -> Result<Option<Action>> {
        let statement = self.statement();
        let meets = matches!(statement.kind, StatementKind::Update | StatementKind::Delete | StatementKind::Merge);
        if !meets || self.has_collations(index) {
            return Ok(None);
        }
        let target = self.targets.get(index).copied();
        let can_follow = match target {
            Some(Target::Sharded { columns, .. }) => self.check_assigned(index, columns).is_ok(),
            Some(Target::Reference { .. }) => as_merge(statement.text(self.request.text)).is_ok(),
            _ => true,
        };
        if !can_follow {
            return Ok(None);
        }
        // Of rows that every shard has MERGE could tell only matches, and a table of one shard is met by none of the others.
        let meets_copies = matches!(target, Some(Target::Sharded { .. })) && statement.kind != StatementKind::Merge;
        let stays = |name: &RelationName| {
            meets_copies && matches!(target::lookup(&self.request, name), Target::Reference { .. })
        };
        let relation = target.as_ref().and_then(Target::relation);
        let numbers = relation.map(|relation| MergeNumbers::new(relation, numbered));
        let sources = sources(statement.text(self.request.text), &stays)?;
        Ok(sources.map(|sources| Action::Sources(Arc::new(sources.with_numbers(numbers)))))
    }

    /// The plan of a write that cannot be done where its rows are read, as `error` says: they are read first.
    fn collect_after(&self, index: usize, error: Error) -> Result<Action> {
        let statement = self.statement();
        let Some(relation) = self.targets.get(index).and_then(Target::relation) else { return Err(error) };
        let key = match self.targets.get(index) {
            Some(Target::Sharded { columns, .. }) => *columns,
            _ => &[],
        };
        let is_query = || matches!(&statement.insert, Some(InsertShape { source: InsertSource::Select(_), .. }));
        let moves = || match self.targets.get(index) {
            Some(Target::Sharded { keyspace, columns, .. }) => {
                let assigned = |column: &String| self.check_assigned(index, std::slice::from_ref(column)).is_err();
                let leaves_region = keyspace.has_residents() && columns.first().is_some_and(assigned);
                // Equal numerics may be spelled in several ways.
                let is_spelled_alike = !keyspace.key.contains(&KeyType::Numeric);
                columns.iter().any(assigned) && !leaves_region && is_spelled_alike
            }
            _ => false,
        };
        match statement.kind {
            StatementKind::Insert if is_query() => self.collect(relation, &[]),
            StatementKind::Update if moves() => self.collect(relation, key),
            _ => Err(error),
        }
    }

    /// The statement in two steps: its rows, and then an INSERT of them.
    pub(super) fn collect(&self, relation: &Relation, key: &[String]) -> Result<Action> {
        Ok(Action::Collect(Arc::new(collect(self.statement().text(self.request.text), relation, key)?)))
    }

    /// Whether a write of rows of several shards calls now() or its kin where one time can be put in place of the call.
    fn reads_moment(&self, index: usize) -> bool {
        let statement = self.statement();
        let is_write = matches!(
            statement.kind,
            StatementKind::Insert | StatementKind::Update | StatementKind::Delete | StatementKind::Merge
        );
        let has_several = matches!(self.targets.get(index), Some(Target::Sharded { .. } | Target::Reference { .. }));
        has_several
            && is_write
            && self.has(Effects::STABLE)
            && fixed(statement.text(self.request.text), &Moment::default()).is_some()
    }

    /// Data-modifying WITH queries: everything must be on one shard.
    fn write_to_several(&self, written: &[usize]) -> Result<Action> {
        for index in written {
            match self.targets.get(*index) {
                Some(Target::Sharded { columns, .. }) => self.check_assigned(*index, columns)?,
                Some(Target::Single { .. }) => {}
                _ => {
                    return Err(Error::refuse("cannot route the statement", "It writes more than one relation.")
                        .hint("Use a statement for each."));
                }
            }
        }
        self.on_only(&self.needed_and_new()?)
    }

    /// The shards of the rows that the statement needs, or adds.
    fn needed_and_new(&self) -> Result<Shards> {
        let inserted_into = self.statement().insert.as_ref().map(|shape| shape.relation);
        let is_sharded = |index: &usize| matches!(self.targets.get(*index), Some(Target::Sharded { .. }));
        let mut shards = self.needed(inserted_into.filter(is_sharded))?;
        shards.extend(self.new_owners()?);
        shards.sort_unstable();
        shards.dedup();
        Ok(shards)
    }

    fn write_to(&self, index: usize) -> Result<Action> {
        match self.targets.get(index).copied() {
            Some(Target::Sharded { columns, .. }) => {
                self.check_assigned(index, columns)?;
                let shards = match self.needed_and_new() {
                    Ok(shards) => shards,
                    Err(error) => {
                        return match self.computed_keys(&error) {
                            Some(action) => Ok(action),
                            None => self.push_down_after(index, error),
                        };
                    }
                };
                match shards.as_slice() {
                    every if self.statement().kind == StatementKind::Merge => self.spread(index, every),
                    few @ ([] | [_]) => self.on_only(few),
                    several => self.spread(index, several),
                }
            }
            Some(Target::Reference { .. })
                if matches!(self.statement().kind, StatementKind::Select | StatementKind::CopyTo) =>
            {
                Err(differs("It stands in a WITH query, whose other parts each shard would run for itself."))
            }
            Some(Target::Reference { relation }) => self.write_reference(index, relation),
            Some(Target::Single { .. }) => self.write_single(),
            Some(Target::System | Target::Expanded | Target::Unmapped) | None => {
                Err(Error::refuse("cannot write system catalogs", "A sharded database has catalogs on every shard."))
            }
        }
    }

    /// A row whose key changes would have to move.
    pub(super) fn check_assigned(&self, index: usize, key: &[String]) -> Result<()> {
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

    /// The shards of the rows that the statement adds to a sharded table.
    pub(super) fn new_owners(&self) -> Result<Shards> {
        let Some(shape) = &self.statement().insert else { return Ok(Shards::new()) };
        match self.targets.get(shape.relation).copied() {
            Some(Target::Sharded { keyspace, columns, relation }) => {
                self.inserted_into(shape, &ShardKey { keyspace, columns, relation })
            }
            _ => Ok(Shards::new()),
        }
    }

    /// A table that lives on one shard: the statement must find there whatever else it reads.
    fn write_single(&self) -> Result<Action> {
        self.on_only(&self.needed(None)?)
    }

    pub(super) fn on_only(&self, shards: &[ShardId]) -> Result<Action> {
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
        let positions = || -> Result<Vec<usize>> {
            key.columns.iter().map(|column| key_position(shape, column, key.relation)).collect()
        };
        match &shape.source {
            InsertSource::Values(rows) => {
                let positions = positions()?;
                rows.iter().map(|row| self.owner(row, &positions, key)).collect()
            }
            InsertSource::Select(Some(selected)) => self.selected_into(selected, &positions()?, key),
            InsertSource::Select(None) | InsertSource::DefaultValues => Err(computed_rows()),
        }
    }

    /// The shards of new rows that a query makes.
    fn selected_into(&self, selected: &[Selected], positions: &[usize], key: &ShardKey<'_>) -> Result<Shards> {
        let columns = positions.iter().zip(key.columns).zip(&key.keyspace.key);
        let known: Vec<Known<'_>> = columns
            .map(|((position, column), key_type)| match selected.get(*position) {
                None => Err(missing_key(column)),
                Some(Selected::Value(Operand::Computed)) => Err(computed_rows()),
                Some(Selected::Value(operand)) => {
                    let value = self.new_value(Some(operand), column, *key_type, key.relation)?;
                    Ok(Known::OneOf(vec![value]))
                }
                Some(Selected::From(from)) => self.selected_from(from, column, *key_type, key.relation),
            })
            .collect::<Result<_>>()?;
        let owners = key.keyspace.owners(&known)?;
        match owners.unowned.first() {
            None => Ok(owners.shards),
            // A row with such a key must not slip in.
            Some(_) => Err(computed_rows()),
        }
    }

    /// What is known of one column of new keys that are values of these columns.
    fn selected_from(
        &self,
        from: &[ColumnUse],
        column: &str,
        key_type: KeyType,
        relation: Option<&Relation>,
    ) -> Result<Known<'a>> {
        let stored = relation.and_then(|relation| find_column(&relation.columns, column));
        let keeps = |stored: &Column| {
            let family = self.request.schema.key_type(stored.type_oid).map(Family::of);
            stored.type_modifier < 0 && family == Some(Family::of(key_type))
        };
        match from {
            _ if !stored.is_some_and(keeps) => Err(uncertain_key(column, "storing it may change it")),
            [from] => match self.known_of(from, key_type) {
                Known::OneOf(values) => Ok(Known::OneOf(values)),
                // NULL may be among them.
                Known::Any | Known::Between(..) => Err(computed_rows()),
            },
            _ => Err(computed_rows()),
        }
    }

    /// The shard of one new row.
    pub(super) fn owner(&self, row: &[Operand], positions: &[usize], key: &ShardKey<'_>) -> Result<ShardId> {
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
    pub(super) fn new_value(
        &self,
        operand: Option<&Operand>,
        column: &str,
        key_type: KeyType,
        relation: Option<&Relation>,
    ) -> Result<KeyValue<'a>> {
        let operand = operand.ok_or_else(|| missing_key(column))?;
        let stored = relation.and_then(|relation| find_column(&relation.columns, column));
        let actual = self.stored_type(stored, column, key_type)?;
        match self.value(operand, actual) {
            Value::Null => Err(null_key(column)),
            Value::Unknown => Err(uncertain_key(column, "its value is not known before the statement runs")),
            Value::Known(value) if stored.is_some_and(|stored| is_rounded(&value, stored.type_modifier)) => {
                Err(uncertain_key(column, "the column's precision may round it"))
            }
            Value::Known(value) => Ok(value),
        }
    }

    /// The type of a key's column: the keyspace's own, or one that hashes alike.
    pub(super) fn stored_type(&self, stored: Option<&Column>, column: &str, key_type: KeyType) -> Result<KeyType> {
        match stored.map(|stored| self.request.schema.key_type(stored.type_oid)) {
            None => Ok(key_type),
            Some(Some(actual)) if Family::of(actual) == Family::of(key_type) => Ok(actual),
            Some(_) => Err(uncertain_key(column, "its type is not the keyspace's")),
        }
    }

    fn write_reference(&self, index: usize, relation: Option<&Relation>) -> Result<Action> {
        self.check_reference_effects(index)?;
        let relation = relation.ok_or_else(|| not_inspected(&self.statement().relations[index].name.name))?;
        let statement = self.statement();
        let text = statement.text(self.request.text);
        match &statement.insert {
            Some(shape) => check_defaults(shape, relation)?,
            None if statement.kind == StatementKind::Merge => {
                let defaults = defaults_of_merge(text, relation)?;
                if defaults.iter().any(|column| column.moment_default && column.default.is_some()) {
                    return self.with_moments(relation, &defaults);
                }
                if let Some(column) = defaults.iter().find(|column| column.computed_default && !column.is_generated) {
                    return Err(differing_default(&column.name));
                }
            }
            None if statement.kind == StatementKind::Update => {
                if let Some(merge) = as_merge(text)? {
                    return Ok(Action::Instead(merge.into()));
                }
            }
            None => {}
        }
        self.check_clock(relation)?;
        self.request.map.shard_ids().try_for_each(|shard| self.check_shard(shard))?;
        if let StatementKind::Explain { .. } = self.statement().kind {
            return Err(differs("EXPLAIN would have to show the plans of all shards."));
        }
        Ok(self.everywhere(false))
    }

    /// A MERGE with those of its defaults written out that read the time.
    pub(super) fn with_moments(&self, relation: &Relation, defaults: &[&Column]) -> Result<Action> {
        let moments: Vec<&Column> =
            defaults.iter().filter(|column| column.moment_default && column.default.is_some()).copied().collect();
        let text = with_defaults(self.statement().text(self.request.text), relation, &moments)?;
        Ok(Action::Instead(text.into()))
    }

    /// Every shard must come to the same rows.
    fn check_reference_effects(&self, index: usize) -> Result<()> {
        self.check_shard_local()?;
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
        let picks = self.has(Effects::SHAPES_RESULT);
        if others().next().is_some() && picks {
            return Err(differs("Which of several rows it takes may differ from shard to shard."));
        }
        Ok(())
    }

    /// A string such as 'now' becomes another time on each shard.
    fn check_clock(&self, relation: &Relation) -> Result<()> {
        let has_clock = relation.columns.iter().any(|column| CLOCK_TYPES.contains(&column.type_oid));
        if !has_clock && !self.has(Effects::READS_DATES) {
            return Ok(());
        }
        let mut literals = self.request.literals.iter().filter_map(|literal| literal.value(self.request.text));
        if literals.any(|text| names_moment(&text)) || self.request.parameters.iter().any(Parameter::names_moment) {
            return Err(differs("A date or time such as 'now' may be another one on each shard."));
        }
        Ok(())
    }
}

/// The columns that the values of an INSERT's rows are for.
pub(super) fn given_columns(shape: &InsertShape, relation: &Relation, rows: &[Vec<Operand>]) -> Vec<String> {
    match &shape.columns {
        Some(columns) => columns.clone(),
        None => {
            let width = rows.first().map_or(0, Vec::len);
            relation.columns.iter().take(width).map(|column| column.name.clone()).collect()
        }
    }
}

/// The position of the key in the rows of VALUES.
pub(super) fn key_position(shape: &InsertShape, column: &str, relation: Option<&Relation>) -> Result<usize> {
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

pub(super) fn uncertain_key(column: &str, reason: &str) -> Error {
    Error::refuse(
        format!("cannot tell the shard of a new row from its key \"{column}\""),
        format!("The key cannot be computed in advance: {reason}."),
    )
    .hint("Give the key as a literal or a parameter of the column's type.")
}

pub(super) fn null_key(column: &str) -> Error {
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
pub(super) fn differs(detail: &'static str) -> Error {
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
        Some((_, column)) => Err(differing_default(&column.name)),
    }
}

pub(super) fn differing_default(column: &str) -> Error {
    Error::refuse(
        "cannot write a reference table in this way",
        format!("The default of column \"{column}\" may come out differently on each shard."),
    )
    .hint("Give the column a value.")
}

pub(super) fn is_given_by(source: &InsertSource, position: usize) -> bool {
    match source {
        InsertSource::Values(rows) => {
            rows.iter().all(|row| row.get(position).is_some_and(|value| *value != Operand::Default))
        }
        // How many columns a query has is not known here.
        InsertSource::Select(_) | InsertSource::DefaultValues => false,
    }
}

/// Whether a column with this modifier may store another value than the one that is given.
pub(super) fn is_rounded(value: &KeyValue<'_>, type_modifier: i32) -> bool {
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
