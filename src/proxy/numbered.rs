//! Statements that take values from the home shard first: INSERTs whose rows take numbers from sequences, and writes on
//! several shards that read the time. They go on with the values in their texts.

use bytes::Bytes;

use super::client::Client;
use super::exchange::Question;
use super::outcome::Step;
use super::sharded::{Task, parameters};
use super::values::Values;
use crate::route::HOME;
use crate::route::plan::{Access, Action, Spread};
use crate::sql::facts::{Effects, StatementKind};
use crate::sql::moment::{Moment, fixed, with_moment_defaults};
use crate::sql::numbering::{Numbered, Numbering, next_number, values_for};
use crate::sql::schema::Schema;
use crate::types::{Error, Result};
use crate::wire::backend;

/// The time at which the transaction began, with all its digits.
const MOMENT: &str = "SELECT pg_catalog.now()::text, LOCALTIMESTAMP::text, CURRENT_DATE::text";

impl Client {
    /// Takes the numbers, writes them into the statement, and does that.
    pub async fn numbered(&mut self, schema: &Schema, numbering: &Numbering, task: &Task<'_>) -> Step {
        let mut numbers = Vec::with_capacity(numbering.columns.len());
        for column in &numbering.columns {
            numbers.push(self.take_numbers(column).await?);
        }
        self.filled(schema, numbering.fill(task.text, &numbers)?, task).await
    }

    /// Puts the time at which the transaction began on the home shard into a statement, and does that.
    pub async fn at_one_moment(&mut self, schema: &Schema, task: &Task<'_>) -> Step {
        // No rows are read, so that a snapshot of another shard is in nobody's way.
        self.cut_if_wanted().await?;
        self.link_apart(HOME, Access::Primary { writes: false }).await?;
        self.ask(HOME, &Question::query(MOMENT)).await?;
        let rows = self.answer(HOME).await?.into_rows();
        let values = rows.first().map(|row| backend::read_data_row(row)).transpose()?.unwrap_or_default();
        let text = |place: usize| values.get(place).copied().flatten().map(String::from_utf8_lossy).unwrap_or_default();
        let moment = Moment { with_zone: text(0).into(), local: text(1).into(), date: text(2).into() };
        let text = match task.statement.kind {
            StatementKind::Ddl => with_moment_defaults(task.text, &moment)?,
            _ => fixed(task.text, &moment),
        };
        let text = text.ok_or_else(|| Error::internal("a statement without now() was to have it"))?;
        self.filled(schema, text, task).await
    }

    /// Plans a statement whose values are complete now, and does it.
    pub async fn filled(&mut self, schema: &Schema, text: String, task: &Task<'_>) -> Step {
        let mut literals = Vec::new();
        let facts = self.known.facts(schema, &text, &mut literals);
        let [statement] = facts.statements.as_slice() else {
            return Err(Error::internal("a statement that was completed is not one").into());
        };
        let plan = self.plan(schema, statement, &text, &literals, &parameters(task)?).await?;
        let values = Values { text: &text, literals: &literals, bound: task.values.bound };
        let task = Task { statement, text: &text, asked: task.asked, values };
        match plan.action {
            Action::One { part, .. } => self.spread(&Spread::on_one(part.shard, &text, statement)?, &task).await,
            _ => Box::pin(self.perform(schema, plan, &task)).await,
        }
    }

    /// The next numbers of a sequence, as the client's session would take them.
    async fn take_numbers(&mut self, column: &Numbered) -> Step<Vec<i64>> {
        let question = values_for(column.rows.len(), &[next_number(&column.sequence)]);
        let rows = self.values_at_home(&Question::query(&question)).await?;
        Ok(rows.iter().map(|row| number(row)).collect::<Result<_>>()?)
    }

    /// What the home shard's server gives new rows: numbers of sequences, as the client's session would take them, among it.
    /// DataRows.
    pub async fn values_at_home(&mut self, question: &Question) -> Step<Vec<Bytes>> {
        self.state.sequences.asked |= Effects::ADVANCES_SEQUENCE;
        // No rows are read, so that a snapshot of another shard is in nobody's way.
        self.cut_if_wanted().await?;
        self.link_apart(HOME, Access::Primary { writes: true }).await?;
        self.ask(HOME, question).await?;
        match self.answer(HOME).await {
            Ok(answer) => Ok(answer.into_rows()),
            Err(stop) => {
                self.follow_block_status();
                Err(stop)
            }
        }
    }
}

/// The number in a row of one column.
fn number(row: &[u8]) -> Result<i64> {
    let values = backend::read_data_row(row)?;
    let text = values.first().copied().flatten().and_then(|value| std::str::from_utf8(value).ok());
    text.and_then(|text| text.parse().ok()).ok_or_else(|| Error::internal("a sequence gave no number"))
}
