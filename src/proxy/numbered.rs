//! Statements that take values from the home shard first: INSERTs whose rows take numbers from sequences, and writes on
//! several shards that read the time. They go on with the values in their texts.

use super::answer::{Preface, pass};
use super::batch::Request;
use super::client::Client;
use super::exchange::{Question, Reply};
use super::outcome::Step;
use super::sharded::{Asked, Task, bound_parameters};
use super::values::Values;
use crate::route::HOME;
use crate::route::plan::{Access, Action, Part, PartText};
use crate::session::statements::Prepared;
use crate::sql::facts::Effects;
use crate::sql::moment::{Moment, fixed};
use crate::sql::numbering::{Numbered, Numbering};
use crate::sql::schema::Schema;
use crate::types::{Error, Result, ShardId};
use crate::wire::backend::{self, tag};

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
        self.link_apart(HOME, Access::Primary { writes: false }).await?;
        self.ask(HOME, &Question::query(MOMENT)).await?;
        let rows = self.answer(HOME).await?.into_rows();
        let values = rows.first().map(|row| backend::read_data_row(row)).transpose()?.unwrap_or_default();
        let text = |place: usize| values.get(place).copied().flatten().map(String::from_utf8_lossy).unwrap_or_default();
        let moment = Moment { with_zone: text(0).into(), local: text(1).into(), date: text(2).into() };
        let text =
            fixed(task.text, &moment).ok_or_else(|| Error::internal("a statement without now() was to have it"))?;
        self.filled(schema, text, task).await
    }

    /// Plans a statement whose values are complete now, and does it.
    async fn filled(&mut self, schema: &Schema, text: String, task: &Task<'_>) -> Step {
        let mut literals = Vec::new();
        let facts = self.known.facts(schema, &text, &mut literals);
        let [statement] = facts.statements.as_slice() else {
            return Err(Error::internal("a statement that was completed is not one").into());
        };
        let parameters = match bound(task) {
            Some((prepared, body)) => bound_parameters(prepared, body)?,
            None => Vec::new(),
        };
        let plan = self.plan(schema, statement, &text, &literals, &parameters).await?;
        let values = Values { text: &text, literals: &literals, bound: task.values.bound };
        let task = Task { statement, text: &text, asked: task.asked, values };
        match plan.action {
            Action::One { part, access } => {
                let part = Part { text: PartText::Rewritten(text.as_str().into()), ..part };
                match self.on_one_shard(&part, access, &task).await {
                    Ok(()) => self.answered(&task),
                    Err(stop) => {
                        self.fail_block();
                        self.refused(stop, &task)
                    }
                }
            }
            _ => Box::pin(self.perform(schema, plan, &task)).await,
        }
    }

    /// The next numbers of a sequence, as the client's session would take them.
    async fn take_numbers(&mut self, column: &Numbered) -> Step<Vec<i64>> {
        self.state.sequences.asked |= Effects::ADVANCES_SEQUENCE;
        // No rows are read, so that a snapshot of another shard is in nobody's way.
        self.link_apart(HOME, Access::Primary { writes: true }).await?;
        let sequence = postgres_protocol::escape::escape_literal(&column.sequence);
        let count = column.rows.len();
        let question = format!("SELECT pg_catalog.nextval({sequence}) FROM pg_catalog.generate_series(1, {count})");
        self.ask(HOME, &Question::query(&question)).await?;
        let rows = match self.answer(HOME).await {
            Ok(answer) => answer.into_rows(),
            Err(stop) => {
                self.follow_block_status();
                return Err(stop);
            }
        };
        Ok(rows.iter().map(|row| number(row)).collect::<Result<_>>()?)
    }

    /// Runs a part and gives the client what it answers, ReadyForQuery apart.
    async fn on_one_shard(&mut self, part: &Part, access: Access, task: &Task<'_>) -> Step {
        if access == (Access::Primary { writes: true }) {
            self.note_write(part.shard)?;
        }
        self.link(part.shard, access).await?;
        self.ask(part.shard, &self.question_for(part, task)?).await?;
        self.pass_answer(part.shard, task).await
    }

    async fn pass_answer(&mut self, shard: ShardId, task: &Task<'_>) -> Step {
        let mut preface = Some(Preface::default());
        let mut failure = None;
        loop {
            match self.reply(shard).await? {
                Reply::ParameterDescription(body) => {
                    let body = self.with_home_oids(shard, tag::PARAMETER_DESCRIPTION, body)?;
                    preface.get_or_insert_default().parameters = Some(body);
                }
                Reply::RowDescription(body) => {
                    let body = self.with_home_oids(shard, tag::ROW_DESCRIPTION, body)?;
                    preface.get_or_insert_default().columns = Some(body);
                }
                Reply::Row(body) => {
                    if let Some(preface) = preface.take() {
                        self.preface(task, &preface);
                    }
                    pass(self.conn.queue(), tag::DATA_ROW, &body);
                }
                Reply::Notice(body) => pass(self.conn.queue(), tag::NOTICE_RESPONSE, &body),
                Reply::Complete(body) => {
                    if let Some(preface) = preface.take() {
                        self.preface(task, &preface);
                    }
                    pass(self.conn.queue(), tag::COMMAND_COMPLETE, &body);
                }
                Reply::Error(body) => failure = Some(body),
                Reply::Nothing => {}
                Reply::Ready(_) => break,
                other => return Err(Error::internal(format!("an INSERT was answered otherwise: {other:?}")).into()),
            }
        }
        match failure {
            None => Ok(()),
            Some(body) => Err(self.passed_on(&body)),
        }
    }
}

/// The statement and the Bind of a batch.
fn bound<'t>(task: &Task<'t>) -> Option<(&'t Prepared, &'t [u8])> {
    let Asked::Batch(requests) = task.asked else { return None };
    requests.iter().find_map(|request| match request {
        Request::Bind { prepared, body, .. } => Some((&**prepared, *body)),
        _ => None,
    })
}

/// The number in a row of one column.
fn number(row: &[u8]) -> Result<i64> {
    let values = backend::read_data_row(row)?;
    let text = values.first().copied().flatten().and_then(|value| std::str::from_utf8(value).ok());
    text.and_then(|text| text.parse().ok()).ok_or_else(|| Error::internal("a sequence gave no number"))
}
