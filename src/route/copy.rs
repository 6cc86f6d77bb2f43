//! COPY FROM STDIN: each row of a sharded table goes to the shard that owns its key, each row of a reference table to all.

use super::numbering::numbers_differ;
use super::plan::Action;
use super::target::Target;
use super::value::find_column;
use super::write::{CLOCK_TYPES, differing_default, differs, is_rounded, null_key, uncertain_key};
use super::{Router, UnownedKey};
use crate::shardmap::{KeyType, KeyValue, Keyspace, ShardMap};
use crate::sql::analyze::{CopyData, copy_data};
use crate::sql::facts::Effects;
use crate::sql::moment::names_moment;
use crate::sql::schema::Relation;
use crate::types::{Error, Result, ShardId};
use crate::wire::copy::{CopyFormat, Field};

/// What is to be done with the rows of a COPY.
#[derive(Clone, Debug)]
pub struct CopyIn {
    pub format: CopyFormat,
    /// The first line is no row.
    pub header: bool,
    pub rows: CopyRows,
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
                let fields = columns.iter().zip(&keyspace.key);
                let fields = fields.map(|(column, key_type)| self.key_field(column, *key_type, &data, relation));
                let rows =
                    CopyRows::Owned { keyspace: Box::new(keyspace.clone()), key: fields.collect::<Result<_>>()? };
                keyspace.shards().into_iter().try_for_each(|shard| self.check_takes(&data, shard))?;
                check_numbers(&data, relation)?;
                Ok(copy_in(data, rows))
            }
            Some(Target::Reference { relation }) => {
                let data = copy_data(text)?;
                let relation = relation.ok_or_else(not_read)?;
                let rows = self.alike(&data, relation)?;
                Ok(copy_in(data, rows))
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
        relation: Option<&Relation>,
    ) -> Result<KeyField> {
        let place = match &data.columns {
            Some(columns) => columns.iter().position(|listed| listed == column),
            None => place_in_table(column, relation)?,
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

    /// Rows for every shard: they must come out alike.
    fn alike(&self, data: &CopyData, relation: &Relation) -> Result<CopyRows> {
        if self.has(Effects::VOLATILE | Effects::STABLE) {
            return Err(differs("A function in its WHERE may give another value on each shard."));
        }
        let columns = match &data.columns {
            Some(columns) => columns.clone(),
            None if relation.columns.iter().any(|column| column.computed_default) => return Err(unlisted()),
            None => relation.columns.iter().map(|column| column.name.clone()).collect(),
        };
        let mut computed = relation.columns.iter().filter(|column| column.computed_default);
        if let Some(column) = computed.find(|column| !columns.contains(&column.name)) {
            return Err(differing_default(&column.name));
        }
        let is_of_clock = |name: &String| {
            find_column(&relation.columns, name).is_some_and(|column| CLOCK_TYPES.contains(&column.type_oid))
        };
        let clock = columns.iter().enumerate().filter(|(_, name)| is_of_clock(name)).map(|(place, _)| place).collect();
        let shards: Vec<ShardId> = self.request.map.shard_ids().collect();
        shards.iter().try_for_each(|shard| self.check_takes(data, *shard))?;
        Ok(CopyRows::Alike { shards, clock })
    }
}

/// Rows must bring the numbers of their sequences: each shard would take them for itself.
fn check_numbers(data: &CopyData, relation: Option<&Relation>) -> Result<()> {
    let Some(given) = &data.columns else { return Ok(()) };
    let mut columns = relation.into_iter().flat_map(|relation| &relation.columns);
    match columns.find(|column| column.sequence.is_some() && !given.contains(&column.name)) {
        None => Ok(()),
        Some(column) => Err(numbers_differ(&column.name)),
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

fn copy_in(data: CopyData, rows: CopyRows) -> Action {
    Action::CopyIn(Box::new(CopyIn { format: data.format, header: data.header, rows }))
}

/// The place of a column in rows of a statement that lists none.
fn place_in_table(column: &str, relation: Option<&Relation>) -> Result<Option<usize>> {
    let columns = &relation.ok_or_else(not_read)?.columns;
    let place = columns.iter().position(|known| known.name == column);
    // A generated column is not in the data, and the catalogs as they were read do not tell it from a default.
    match columns.iter().take(place.unwrap_or(0)).any(|before| before.computed_default) {
        true => Err(unlisted()),
        false => Ok(place),
    }
}

fn unlisted() -> Error {
    Error::refuse(
        "cannot tell the columns of the data",
        "Some columns of the table are computed, and may not be in it.",
    )
    .hint("Name the columns: COPY table (columns) FROM stdin.")
}

fn not_read() -> Error {
    Error::refuse("cannot copy into the table yet", "Its columns have not been read from the catalogs.")
        .hint("Name the columns, or try again in a moment.")
}
