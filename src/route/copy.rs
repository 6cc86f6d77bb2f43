//! COPY FROM STDIN: each row of a sharded table goes to the shard that owns its key, each row of a reference table to all.

use super::plan::Action;
use super::target::Target;
use super::value::find_column;
use super::write::{CLOCK_TYPES, differing_default, differs, is_rounded, null_key, uncertain_key};
use super::{HOME, Router, UnownedKey};
use crate::shardmap::{KeyType, KeyValue, Keyspace, ShardMap};
use crate::sql::analyze::{CopyData, copy_data, with_columns};
use crate::sql::facts::Effects;
use crate::sql::moment::names_moment;
use crate::sql::numbering::{next_number, values_for};
use crate::sql::schema::{Column, Relation};
use crate::sql::type_names::type_names;
use crate::types::{Error, Result, ShardId};
use crate::wire::copy::{CopyFormat, Field};

/// What is to be done with the rows of a COPY.
#[derive(Clone, Debug)]
pub struct CopyIn {
    /// The table's name, without its schema.
    pub table: String,
    pub format: CopyFormat,
    /// The first line is no row.
    pub header: bool,
    pub rows: CopyRows,
    pub added: Option<Added>,
}

/// Columns that the data leaves out, and whose values the home shard gives for all shards.
#[derive(Clone, Debug)]
pub struct Added {
    /// The COPY whose data has them behind its own.
    pub text: String,
    /// How many columns the client's data has.
    pub given: usize,
    columns: Vec<String>,
    /// SQL that gives the value of each of them for a new row.
    values: Vec<String>,
    /// More than numbers: what a default does may be a write.
    pub may_write: bool,
}

impl Added {
    /// A query of the values for so many rows.
    pub fn question(&self, rows: usize) -> String {
        values_for(rows, &self.values)
    }
}

#[derive(Clone, Debug)]
pub enum CopyRows {
    /// Each goes to the shard that owns its key.
    Owned { keyspace: Box<Keyspace>, key: Vec<KeyField> },
    /// All go to each of these shards. `clock`: fields of dates and times, which must not depend on the moment.
    Alike { shards: Vec<ShardId>, clock: Vec<usize> },
}

/// A column of the key in the data.
#[derive(Clone, Debug)]
pub struct KeyField {
    /// The field's place in a row.
    place: usize,
    column: String,
    /// The column's own type, and its modifier.
    stored: KeyType,
    type_modifier: i32,
    key_type: KeyType,
}

/// Where a row goes.
#[derive(Debug)]
pub enum Destination {
    Shard(ShardId),
    Everywhere,
    /// No shard owns its key, unless somebody gives it an owner now; else this error.
    Unowned(UnownedKey, Error),
}

impl Router<'_> {
    pub(super) fn copy_from(&self) -> Result<Action> {
        let statement = self.statement();
        let text = statement.text(self.request.text);
        match self.targets.first().copied() {
            Some(Target::Sharded { keyspace, columns, relation }) => {
                let data = copy_data(text)?;
                let shards = keyspace.shards();
                // The home shard alone has no need to be asked for its own numbers and times.
                let is_spread = shards.iter().any(|shard| *shard != HOME);
                let added = self.added(text, &data, relation, |column| {
                    columns.contains(&column.name) || is_spread && (column.sequence.is_some() || column.moment_default)
                })?;
                let fields = columns.iter().zip(&keyspace.key);
                let fields =
                    fields.map(|(column, key_type)| self.key_field(column, *key_type, &data, added.as_ref(), relation));
                let rows =
                    CopyRows::Owned { keyspace: Box::new(keyspace.clone()), key: fields.collect::<Result<_>>()? };
                shards.into_iter().try_for_each(|shard| self.check_takes(&data, shard))?;
                Ok(copy_in(data, rows, added))
            }
            Some(Target::Reference { relation }) => {
                let data = copy_data(text)?;
                let relation = relation.ok_or_else(not_read)?;
                let rows = self.alike(&data, relation)?;
                let added = self.added(text, &data, Some(relation), |column| {
                    column.sequence.is_some() || column.computed_default
                })?;
                Ok(copy_in(data, rows, added))
            }
            Some(Target::Single { shard, .. }) => {
                self.check_shard(shard)?;
                Ok(self.one(shard))
            }
            Some(Target::System | Target::Expanded | Target::Unmapped) | None => {
                Err(Error::refuse("cannot write system catalogs", "A sharded database has catalogs on every shard."))
            }
        }
    }

    /// Whether a shard takes the data. Types have their names in the catalogs and their numbers only in binary data.
    fn check_takes(&self, data: &CopyData, shard: ShardId) -> Result<()> {
        self.check_home_only(shard)?;
        if data.format.is_binary() { self.check_types(shard) } else { Ok(()) }
    }

    fn key_field(
        &self,
        column: &str,
        key_type: KeyType,
        data: &CopyData,
        added: Option<&Added>,
        relation: Option<&Relation>,
    ) -> Result<KeyField> {
        let place = match &data.columns {
            Some(columns) => {
                let mut all = columns.iter().chain(added.iter().flat_map(|added| &added.columns));
                all.position(|listed| listed == column)
            }
            None => columns_of(relation.ok_or_else(not_read)?).position(|known| known.name == *column),
        };
        let place = place.ok_or_else(|| {
            Error::refuse(
                "cannot insert rows without their shard key",
                format!("The data has no column \"{column}\", which decides on which shard a row lives."),
            )
        })?;
        let stored = relation.and_then(|relation| find_column(&relation.columns, column));
        let actual = self.stored_type(stored, column, key_type)?;
        let type_modifier = stored.map_or(-1, |stored| stored.type_modifier);
        Ok(KeyField { place, column: column.to_owned(), stored: actual, type_modifier, key_type })
    }

    /// The columns that the data leaves out and that are `wanted` from the home shard.
    fn added(
        &self,
        text: &str,
        data: &CopyData,
        relation: Option<&Relation>,
        wanted: impl Fn(&Column) -> bool,
    ) -> Result<Option<Added>> {
        let (Some(given), Some(relation)) = (&data.columns, relation) else { return Ok(None) };
        let is_left_out = |column: &&Column| !given.contains(&column.name);
        let has_default =
            |column: &&Column| column.computed_default || column.sequence.is_some() || column.default.is_some();
        let columns: Vec<&Column> =
            columns_of(relation).filter(is_left_out).filter(has_default).filter(|column| wanted(column)).collect();
        if columns.is_empty() {
            return Ok(None);
        }
        if data.header_names {
            return Err(Error::refuse(
                "cannot tell whether the header of the data is right",
                format!("The shards are given column \"{}\", too, which the data leaves out.", columns[0].name),
            )
            .hint("Use HEADER without MATCH."));
        }
        let names = || columns.iter().map(|column| column.name.as_str());
        Ok(Some(Added {
            text: with_columns(text, names())?,
            given: given.len(),
            columns: names().map(str::to_owned).collect(),
            values: columns.iter().map(|column| self.default_of(column)).collect::<Result<_>>()?,
            may_write: columns.iter().any(|column| numbers_of(column).is_none()),
        }))
    }

    /// SQL for the value that a column gets by default, in the column's type.
    fn default_of(&self, column: &Column) -> Result<String> {
        let value = match (numbers_of(column), &column.default) {
            (Some(sequence), _) => next_number(sequence),
            (None, Some(default)) => default.clone(),
            (None, None) => return Err(differing_default(&column.name)),
        };
        let names = type_names(column.type_oid, self.request.schema).ok_or_else(|| differing_default(&column.name))?;
        Ok(format!("({value})::{}", names.written()))
    }

    /// Rows for every shard: they must come out alike.
    fn alike(&self, data: &CopyData, relation: &Relation) -> Result<CopyRows> {
        let mut literals = self.request.literals.iter().filter_map(|literal| literal.value(self.request.text));
        let reads_clock = self.has(Effects::READS_DATES) && literals.any(|text| names_moment(&text));
        if reads_clock || self.has(Effects::VOLATILE | Effects::STABLE) {
            return Err(differs("A function in its WHERE may give another value on each shard."));
        }
        let columns = match &data.columns {
            Some(columns) => columns.clone(),
            None => columns_of(relation).map(|column| column.name.clone()).collect(),
        };
        let is_of_clock = |name: &String| {
            find_column(&relation.columns, name).is_some_and(|column| CLOCK_TYPES.contains(&column.type_oid))
        };
        let clock = columns.iter().enumerate().filter(|(_, name)| is_of_clock(name)).map(|(place, _)| place).collect();
        let shards: Vec<ShardId> = self.request.map.shard_ids().collect();
        shards.iter().try_for_each(|shard| self.check_takes(data, *shard))?;
        Ok(CopyRows::Alike { shards, clock })
    }
}

impl CopyIn {
    /// Where a row goes.
    ///
    /// # Errors
    /// The row is not in the format, its key is NULL, or what shard it belongs to is not certain.
    pub fn destination(&self, row: &[u8]) -> Result<Destination> {
        match &self.rows {
            CopyRows::Owned { keyspace, key } => self.owner(keyspace, key, row),
            CopyRows::Alike { clock, .. } => {
                let fields = if self.format.is_binary() { Vec::new() } else { self.format.fields(row, clock)? };
                match fields.iter().flatten().any(|field| names_moment(&String::from_utf8_lossy(field))) {
                    true => Err(differs("A date or time such as 'now' may be another one on each shard.")),
                    false => Ok(Destination::Everywhere),
                }
            }
        }
    }

    /// The shards that rows may go to.
    pub fn shards(&self) -> Vec<ShardId> {
        match &self.rows {
            CopyRows::Owned { keyspace, .. } => keyspace.shards(),
            CopyRows::Alike { shards, .. } => shards.clone(),
        }
    }

    /// Goes on with a map that knows more owners.
    pub fn follow(&mut self, map: &ShardMap) {
        if let CopyRows::Owned { keyspace, .. } = &mut self.rows
            && let Some(known) = map.keyspace(&keyspace.name)
        {
            **keyspace = known.clone();
        }
    }

    fn owner(&self, keyspace: &Keyspace, key: &[KeyField], row: &[u8]) -> Result<Destination> {
        let places: Vec<usize> = key.iter().map(|field| field.place).collect();
        let fields = self.format.fields(row, &places)?;
        let values: Vec<KeyValue<'_>> =
            key.iter().zip(&fields).map(|(of, field)| of.value(field, &self.format)).collect::<Result<_>>()?;
        match keyspace.shard_of(&values) {
            Ok(shard) => Ok(Destination::Shard(shard)),
            Err(error) => {
                let key = values.into_iter().map(KeyValue::into_owned).collect();
                Ok(Destination::Unowned(UnownedKey { keyspace: keyspace.name.clone(), key, is_new: true }, error))
            }
        }
    }
}

impl KeyField {
    fn value<'r>(&self, field: &'r Field<'_>, format: &CopyFormat) -> Result<KeyValue<'r>> {
        let bytes = field.as_deref().ok_or_else(|| null_key(&self.column))?;
        let value = match format.is_binary() {
            true => KeyValue::from_binary(self.stored, bytes),
            false => std::str::from_utf8(bytes).ok().and_then(|text| KeyValue::from_text(self.stored, text)),
        };
        match value.and_then(|value| value.into_type(self.key_type)) {
            None => Err(uncertain_key(&self.column, "its value is not in PostgreSQL's plain spelling")),
            Some(value) if is_rounded(&value, self.type_modifier) => {
                Err(uncertain_key(&self.column, "the column's precision may round it"))
            }
            Some(value) => Ok(value),
        }
    }
}

fn copy_in(data: CopyData, rows: CopyRows, added: Option<Added>) -> Action {
    let CopyData { table, format, header, .. } = data;
    Action::CopyIn(Box::new(CopyIn { table, format, header, rows, added }))
}

/// The columns of rows of a statement that lists none.
fn columns_of(relation: &Relation) -> impl Iterator<Item = &Column> {
    relation.columns.iter().filter(|column| !column.is_generated)
}

/// The sequence whose next number is a column's default.
fn numbers_of(column: &Column) -> Option<&str> {
    column.sequence.as_ref().map(|sequence| sequence.name.as_str()).filter(|name| !name.is_empty())
}

fn not_read() -> Error {
    Error::refuse("cannot copy into the table yet", "Its columns have not been read from the catalogs.")
        .hint("Name the columns, or try again in a moment.")
}
