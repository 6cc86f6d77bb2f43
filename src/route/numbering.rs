//! New rows that take numbers from sequences by default: which, and from where.

use super::plan::Action;
use super::target::{self, Target};
use super::write::given_columns;
use super::{HOME, Router};
use crate::sql::facts::{Effects, InsertSource, Operand, StatementKind};
use crate::sql::numbering::{Numbered, Numbering};
use crate::sql::schema::Relation;
use crate::types::{Error, Result};

impl Router<'_> {
    /// What is to be done before an INSERT can be routed: numbers are taken at home. `None` if it needs none.
    ///
    /// # Errors
    /// Refuses statements whose new numbers each shard would take for itself.
    pub(super) fn numbering(&self) -> Result<Option<Action>> {
        let statement = self.statement();
        if !statement.effects.contains(Effects::ADVANCES_SEQUENCE) {
            return Ok(None);
        }
        if let Some(column) = self.default_assigned() {
            return Err(numbers_differ(&column));
        }
        let Some(shape) = &statement.insert else { return Ok(None) };
        let Some(used) = statement.relations.get(shape.relation) else { return Ok(None) };
        let relation = match target::lookup(&self.request, &used.name) {
            Target::Sharded { relation, .. } | Target::Reference { relation } => relation,
            Target::Single { shard, relation } if shard != HOME => relation,
            Target::Single { .. } | Target::System | Target::Expanded | Target::Unmapped => None,
        };
        let Some(relation) = relation.filter(|relation| relation.columns.iter().any(|one| one.sequence.is_some()))
        else {
            return Ok(None);
        };
        let rows = match &shape.source {
            InsertSource::Values(rows) => rows.as_slice(),
            InsertSource::DefaultValues => &[Vec::new()],
            InsertSource::Select(_) => {
                let left_out = |name: &String| shape.columns.as_ref().is_none_or(|given| !given.contains(name));
                let mut columns = relation.columns.iter().filter(|column| column.sequence.is_some());
                return match columns.find(|column| left_out(&column.name)) {
                    Some(column) if statement.kind != StatementKind::Insert => Err(numbers_differ(&column.name)),
                    Some(_) => self.collect(relation, &[]).map(Some),
                    None => Ok(None),
                };
            }
        };
        let given = given_columns(shape, relation, rows);
        let columns = numbered(relation, &given, rows);
        if columns.is_empty() {
            return Ok(None);
        }
        if let Some(column) = columns.iter().find(|column| column.sequence.is_empty()) {
            return Err(numbers_differ(&column.name));
        }
        check_identities(relation, &columns, self.request.text)?;
        if statement.kind != StatementKind::Insert {
            return Err(numbers_differ(&columns[0].name));
        }
        Ok(Some(Action::Number(Numbering { given, columns })))
    }

    /// A column with a sequence that UPDATE or ON CONFLICT sets to its default.
    fn default_assigned(&self) -> Option<String> {
        let statement = self.statement();
        if statement.assigned.is_empty() || !statement.text(self.request.text).to_ascii_lowercase().contains("default")
        {
            return None;
        }
        let with_sequence = statement.assigned.iter().find(|used| {
            let name = statement.relations.get(used.relation).map(|relation| &relation.name);
            let relation = name.and_then(|name| target::lookup(&self.request, name).relation());
            let mut columns = relation.into_iter().flat_map(|relation| &relation.columns);
            columns.any(|column| column.name == used.column && column.sequence.is_some())
        });
        with_sequence.map(|used| used.column.clone())
    }
}

/// The columns that take numbers, and in which rows.
fn numbered(relation: &Relation, given: &[String], rows: &[Vec<Operand>]) -> Vec<Numbered> {
    let column = |column: &crate::sql::schema::Column| {
        let sequence = column.sequence.as_ref()?;
        let place = given.iter().position(|name| *name == column.name);
        let needs = |row: &Vec<Operand>| place.is_none_or(|place| row.get(place) == Some(&Operand::Default));
        let rows: Vec<usize> =
            rows.iter().enumerate().filter(|(_, row)| needs(row)).map(|(number, _)| number).collect();
        let (name, sequence, always) = (column.name.clone(), sequence.name.clone(), sequence.always);
        (!rows.is_empty()).then_some(Numbered { name, sequence, always, rows })
    };
    relation.columns.iter().filter_map(column).collect()
}

/// OVERRIDING SYSTEM VALUE, which lets the numbers in, must let nothing in that the client gave.
fn check_identities(relation: &Relation, columns: &[Numbered], text: &str) -> Result<()> {
    let text = text.to_ascii_lowercase();
    let always = relation.columns.iter().filter(|column| column.sequence.as_ref().is_some_and(|own| own.always));
    let numbered = columns.iter().filter(|column| column.always);
    let is_mixed = numbered.clone().count() > 0 && always.count() != numbered.count();
    let words: Vec<&str> = text.split_whitespace().collect();
    if is_mixed || words.windows(2).any(|pair| pair == ["overriding", "user"]) {
        return Err(Error::refuse(
            "cannot number new rows in this way on a sharded database",
            "The statement has OVERRIDING USER VALUE, or gives some identity columns values and leaves others to their \
             sequences.",
        )
        .hint("Leave identity columns out of the statement."));
    }
    Ok(())
}

pub(super) fn numbers_differ(column: &str) -> Error {
    Error::refuse(
        format!("cannot take numbers for column \"{column}\" from its sequence in this statement"),
        "Each shard would take them from a sequence of its own.",
    )
    .hint("Insert the rows with VALUES, or give the column values.")
}
