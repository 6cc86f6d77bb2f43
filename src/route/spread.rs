//! Writes of rows on several shards: UPDATE and DELETE run as they are on each of them, an INSERT's rows are given to
//! their owners.

use std::sync::Arc;

use super::fan::placement;
use super::numbering::numbers_differ;
use super::plan::{Action, Part, PartText, RowOrder, Spread};
use super::target::Target;
use super::value::find_column;
use super::write::{CLOCK_TYPES, ShardKey, is_given_by, key_position};
use super::{HOME, Parameter, Router};
use crate::sql::distribute::{OwnedMerge, prove_write};
use crate::sql::facts::{
    Effects, InsertShape, InsertSource, Operand, ParameterContext, ParameterUse, RelationName, StatementKind,
};
use crate::sql::merge_defaults::defaults_of_merge;
use crate::sql::moment::names_moment;
use crate::sql::schema::{Column, Relation};
use crate::sql::values::{self, RowText, ValuesText};
use crate::types::{Error, Kind, Result, ShardId};

/// The OID of type unknown, which a server replaces as if nothing had been declared.
const UNKNOWN: u32 = 705;

impl Router<'_> {
    /// The plan of a write to the relation at `index` whose rows are on several shards.
    pub(super) fn spread(&self, index: usize, shards: &[ShardId]) -> Result<Action> {
        self.check_shard_local()?;
        shards.iter().try_for_each(|shard| self.check_shard(*shard))?;
        self.check_parts()?;
        let statement = self.statement();
        match (&statement.kind, &statement.insert) {
            (StatementKind::Insert, Some(InsertShape { source: InsertSource::Select(_), .. })) => {
                self.push_down(index).unwrap_or_else(|| Err(self.needs_several("a write", shards)))
            }
            (StatementKind::Insert, Some(shape)) => self.insert_by_owner(shape),
            (StatementKind::Merge, _) => self.merge(index, shards),
            (StatementKind::Update, None) => self.on_each("UPDATE", index, shards),
            (StatementKind::Delete, None) => self.on_each("DELETE", index, shards),
            _ => Err(self.needs_several("a write", shards)),
        }
    }

    /// The plan of an INSERT whose query makes rows of the shards that it reads; `None` for any other statement.
    pub(super) fn push_down(&self, index: usize) -> Option<Result<Action>> {
        let statement = self.statement();
        let shape = statement.insert.as_ref().filter(|_| statement.kind == StatementKind::Insert)?;
        let InsertSource::Select(_) = shape.source else { return None };
        let relation = self.targets.get(index).and_then(Target::relation)?;
        Some(self.checked_on_each("INSERT 0", index, || check_moments(shape, relation)))
    }

    /// As [`Router::push_down`], for a statement whose new rows are not known in advance, as `error` says.
    pub(super) fn push_down_after(&self, index: usize, error: Error) -> Result<Action> {
        match self.push_down(index) {
            Some(Ok(action)) => Ok(action),
            Some(Err(_)) | None => Err(error),
        }
    }

    fn checked_on_each(&self, verb: &'static str, index: usize, check: impl FnOnce() -> Result<()>) -> Result<Action> {
        let shards = self.needed(Some(index))?;
        self.check_shard_local()?;
        shards.iter().try_for_each(|shard| self.check_shard(*shard))?;
        self.check_parts()?;
        check()?;
        let spread = self.on_each(verb, index, &shards)?;
        match shards.as_slice() {
            // Where no row is read, somebody must say so.
            few @ ([] | [_]) => self.on_only(few),
            _ => Ok(spread),
        }
    }

    /// Every shard merges its own rows, also if there is only one: what is added must stay there.
    fn merge(&self, index: usize, shards: &[ShardId]) -> Result<Action> {
        let relation = self.targets.get(index).and_then(Target::relation).ok_or_else(computed)?;
        let defaults = defaults_of_merge(self.statement().text(self.request.text), relation)?;
        if defaults.iter().any(|column| column.moment_default && column.default.is_some()) {
            return self.with_moments(relation, &defaults);
        }
        let is_numbered =
            |column: &&Column| defaults.iter().any(|one| one.sequence.is_some() && one.name == column.name);
        let numbered: Vec<&Column> = relation.columns.iter().filter(is_numbered).collect();
        if let Some(column) = numbered.first() {
            let differ = || numbers_differ(&column.name);
            let has_own =
                numbered.iter().all(|column| column.sequence.as_ref().is_some_and(|own| !own.name.is_empty()));
            return if has_own { self.sources(index, &numbered)?.ok_or_else(differ) } else { Err(differ()) };
        }
        if let Some(column) = defaults.iter().find(|column| column.moment_default) {
            return Err(moment_default(&column.name));
        }
        match self.on_each("MERGE", index, shards) {
            Err(error) if error.kind == Kind::NotSupported => {
                let is_refused = |other: &Error| other.kind == Kind::NotSupported;
                self.merge_by_owner(index).map_err(|other| if is_refused(&other) { error } else { other })
            }
            other => other,
        }
    }

    /// Each row of the source, which stand in the statement, to the shard that owns its key.
    fn merge_by_owner(&self, index: usize) -> Result<Action> {
        let Some(Target::Sharded { keyspace, columns, relation }) = self.targets.get(index).copied() else {
            return Err(computed());
        };
        let text = self.statement().text(self.request.text);
        let placement = |name: &RelationName| placement(&self.request, name);
        let merge = OwnedMerge::read(text, self.request.schema, &placement)?;
        let key = ShardKey { keyspace, columns, relation };
        let places: Vec<usize> = (0..columns.len()).collect();
        let mut by_owner = ByOwner::default();
        let takes_no_null = relation.is_some_and(|relation| {
            columns.iter().all(|column| find_column(&relation.columns, column).is_some_and(|own| own.not_null))
        });
        for (number, row) in merge.keys().enumerate() {
            let owner = match row.contains(&Operand::Null) {
                // It matches nowhere, and no server takes it.
                true if takes_no_null => HOME,
                _ => self.owner(&row, &places, &key)?,
            };
            by_owner.add(owner, number);
        }
        if by_owner.parts.is_empty() {
            // Where there is nothing to merge, somebody must say so.
            by_owner.parts.push((HOME, Vec::new()));
        }
        let part = |(shard, rows): &(ShardId, Vec<usize>)| {
            let text = PartText::Rewritten(Arc::from(merge.with_rows(rows)?));
            Ok(Part { text, ..Part::untouched(*shard) })
        };
        Ok(Action::Spread(Box::new(Spread {
            parts: by_owner.parts.iter().map(part).collect::<Result<_>>()?,
            parameters: None,
            typed: Vec::new(),
            verb: "MERGE",
            order: RowOrder::ByPart,
        })))
    }

    /// What is one value in one statement must not become several.
    fn check_parts(&self) -> Result<()> {
        if self.request.parameters.iter().any(Parameter::names_moment) {
            return Err(Error::refuse(
                "a date or time such as 'now' cannot be a parameter of a statement for several shards",
                "Each shard could read it as a time of its own.",
            )
            .hint("Send the time itself."));
        }
        if self.has(Effects::SEQUENCES & Effects::READS_SEQUENCE) {
            return Err(Error::refuse(
                "a statement for several shards cannot read the session's values of sequences",
                "Each shard would read its own.",
            ));
        }
        Ok(())
    }

    /// The statement as it is, on each shard.
    fn on_each(&self, verb: &'static str, index: usize, shards: &[ShardId]) -> Result<Action> {
        let statement = self.statement();
        prove_write(statement.text(self.request.text), self.request.schema, &|name: &RelationName| {
            placement(&self.request, name)
        })?;
        self.check_assigned_moments(index)?;
        Ok(Action::Spread(Box::new(Spread {
            parts: shards.iter().copied().map(Part::untouched).collect(),
            parameters: None,
            typed: Vec::new(),
            verb,
            order: RowOrder::ByPart,
        })))
    }

    /// DEFAULT may be assigned to a column.
    fn check_assigned_moments(&self, index: usize) -> Result<()> {
        let Some(relation) = self.targets.get(index).and_then(Target::relation) else { return Ok(()) };
        let is_assigned = |name: &str| self.statement().assigned.iter().any(|used| used.column == name);
        let mut moments = relation.columns.iter().filter(|column| column.moment_default);
        match moments.find(|column| self.has(Effects::ADVANCES_SEQUENCE) && is_assigned(&column.name)) {
            None => Ok(()),
            Some(column) => Err(moment_default(&column.name)),
        }
    }

    /// Each row to the shard that owns its key.
    fn insert_by_owner(&self, shape: &InsertShape) -> Result<Action> {
        let (Some(Target::Sharded { keyspace, columns, relation: Some(relation) }), InsertSource::Values(rows)) =
            (self.targets.get(shape.relation).copied(), &shape.source)
        else {
            return Err(computed());
        };
        let key = ShardKey { keyspace, columns, relation: Some(relation) };
        let positions =
            columns.iter().map(|column| key_position(shape, column, key.relation)).collect::<Result<Vec<usize>>>()?;
        check_moments(shape, relation)?;
        self.check_assigned_moments(shape.relation)?;
        self.check_literals(relation)?;
        let text = self.cut(rows)?;
        self.prove_rows(&text, rows)?;
        let mut by_owner = ByOwner::default();
        let mut order = Vec::with_capacity(rows.len());
        for (row, row_text) in rows.iter().zip(&text.rows) {
            order.push(by_owner.add(self.owner(row, &positions, &key)?, row_text));
        }
        let part = |(shard, rows): &(ShardId, Vec<&RowText>)| Part {
            shard: *shard,
            text: PartText::Rewritten(Arc::from(text.with_rows(self.request.text, rows.iter().copied()))),
            ownership: None,
        };
        let named = |(_, rows): &(ShardId, Vec<&RowText>)| {
            let all = text.parameters.iter().chain(rows.iter().flat_map(|row| &row.parameters));
            all.copied().collect()
        };
        Ok(Action::Spread(Box::new(Spread {
            parts: by_owner.parts.iter().map(part).collect(),
            parameters: Some(by_owner.parts.iter().map(named).collect()),
            typed: self.ambiguous_parameters(),
            verb: "INSERT 0",
            order: RowOrder::OfInput(order),
        })))
    }

    fn cut(&self, rows: &[Vec<Operand>]) -> Result<ValuesText> {
        let range = self.statement().range.clone().unwrap_or(0..self.request.text.len());
        let widths: Vec<usize> = rows.iter().map(Vec::len).collect();
        values::cut(self.request.text, range, self.request.literals, &widths).ok_or_else(|| {
            Error::refuse(
                "cannot tell the rows of VALUES apart",
                "The text has something that Weir's scanner does not follow.",
            )
        })
    }

    /// Rows of plain values need no proof; one of them stands for all.
    fn prove_rows(&self, text: &ValuesText, rows: &[Vec<Operand>]) -> Result<()> {
        let is_computed = |row: &Vec<Operand>| !row.iter().all(is_plain);
        let doubtful = rows.iter().zip(&text.rows).filter(|(row, _)| is_computed(row)).map(|(_, text)| text);
        let proven = text.with_rows(self.request.text, text.rows.iter().take(1).chain(doubtful));
        prove_write(&proven, self.request.schema, &|name: &RelationName| placement(&self.request, name))
    }

    /// A string such as 'now' becomes another time on each shard.
    fn check_literals(&self, relation: &Relation) -> Result<()> {
        if !relation.columns.iter().any(|column| CLOCK_TYPES.contains(&column.type_oid)) {
            return Ok(());
        }
        let mut literals = self.request.literals.iter().filter_map(|literal| literal.value(self.request.text));
        match literals.find(|text| names_moment(text)) {
            None => Ok(()),
            Some(text) => Err(Error::refuse(
                "cannot insert rows on several shards in this way",
                format!("'{text}' may be another date or time on each shard."),
            )
            .hint("Send the date or time itself.")),
        }
    }

    /// The parameters that nobody declared and whose places do not agree on a type.
    fn ambiguous_parameters(&self) -> Vec<u16> {
        let is_declared = |number: u16| {
            let declared = usize::from(number).checked_sub(1).and_then(|at| self.request.parameters.get(at));
            declared.is_some_and(|parameter| !matches!(parameter.type_oid, 0 | UNKNOWN))
        };
        let mut ambiguous = Vec::new();
        let mut first: std::collections::HashMap<u16, &ParameterContext> = std::collections::HashMap::new();
        for ParameterUse { number, context } in &self.statement().parameters {
            let known = *first.entry(*number).or_insert(context);
            let agrees = std::ptr::eq(known, context) || (known == context && *context != ParameterContext::Unknown);
            if !agrees && !is_declared(*number) && !ambiguous.contains(number) {
                ambiguous.push(*number);
            }
        }
        ambiguous
    }
}

/// New rows by the shards that own them, which come in the order of their first rows.
#[derive(Debug)]
struct ByOwner<R> {
    parts: Vec<(ShardId, Vec<R>)>,
}

impl<R> Default for ByOwner<R> {
    fn default() -> Self {
        Self { parts: Vec::new() }
    }
}

impl<R> ByOwner<R> {
    /// Adds a row, and gives the number of its part.
    fn add(&mut self, owner: ShardId, row: R) -> usize {
        let part = self.parts.iter().position(|(shard, _)| *shard == owner).unwrap_or(self.parts.len());
        match self.parts.get_mut(part) {
            Some((_, rows)) => rows.push(row),
            None => self.parts.push((owner, vec![row])),
        }
        part
    }
}

/// What needs no look at the parse tree: its value depends on nothing but itself.
fn is_plain(operand: &Operand) -> bool {
    match operand {
        Operand::Literal { .. } | Operand::Parameter(_) | Operand::Null | Operand::Boolean(_) | Operand::Default => {
            true
        }
        Operand::Cast { .. }
        | Operand::Fixed { .. }
        | Operand::Arithmetic { .. }
        | Operand::Concatenated(..)
        | Operand::Computed => false,
    }
}

/// Each shard would evaluate such a default at a moment of its own.
fn check_moments(shape: &InsertShape, relation: &Relation) -> Result<()> {
    let mut columns = relation.columns.iter().enumerate().filter(|(_, column)| column.moment_default);
    let is_given = |position: usize, name: &str| match &shape.columns {
        None => is_given_by(&shape.source, position),
        Some(listed) => {
            listed.iter().position(|listed| listed == name).is_some_and(|place| is_given_by(&shape.source, place))
        }
    };
    match columns.find(|(position, column)| !is_given(*position, &column.name)) {
        None => Ok(()),
        Some((_, column)) => Err(moment_default(&column.name)),
    }
}

fn moment_default(column: &str) -> Error {
    Error::refuse(
        "cannot write rows on several shards in this way",
        format!(
            "The default of column \"{column}\" is one value for the whole statement, and each shard has another one."
        ),
    )
    .hint("Give the column a value, or send a statement for each shard.")
}

fn computed() -> Error {
    Error::refuse(
        "cannot tell the rows of several shards apart",
        "The new rows are not given by VALUES, or the table's columns have not been read from the catalogs.",
    )
    .hint("Insert the rows with VALUES.")
}
