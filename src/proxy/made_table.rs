//! CREATE TABLE AS of rows of several shards: the table's shard makes it without rows, Weir reads them, and it is given them,
//! all in one transaction.

use bytes::BytesMut;

use super::answer::Preface;
use super::client::Client;
use super::copy_in::{PIECE_BYTES, rows_copied};
use super::exchange::{Question, Reply};
use super::outcome::{Step, Stop};
use super::sharded::{Task, parameters};
use super::steps::{Form, Said};
use crate::pool::server::server_error;
use crate::route::plan::{Access, Action, MakeTable, Part, PartText};
use crate::sql::made_table::MadeTable;
use crate::sql::schema::Schema;
use crate::types::{Error, ShardId};
use crate::wire::backend;
use crate::wire::copy::put_text_row;
use crate::wire::frontend;

impl Client {
    /// Makes the table, and answers.
    pub async fn make_table(&mut self, schema: &Schema, make: MakeTable, task: &Task<'_>) -> Step {
        let MakeTable { shard, made, temporary } = make;
        if self.has_rows_of(schema, shard, &made, task).await? {
            self.note(task.statement, &task.values);
            self.everywhere(&[Part::untouched(shard)], !temporary, task).await?;
            return self.answered(task);
        }
        if !temporary {
            self.hold_schema().await?;
        }
        let own = self.begin_own();
        let filled = self.make_and_fill(schema, shard, &made, task).await;
        if !temporary {
            self.note_schema_change(task.statement);
        }
        match self.end_own(own, filled).await {
            Ok(count) => {
                self.preface(task, &Preface::default());
                self.complete(&format!("SELECT {count}"));
                self.answered(task)
            }
            Err(stop) => self.refused(stop, task),
        }
    }

    /// Whether a shard can answer the query by itself.
    async fn has_rows_of(&mut self, schema: &Schema, shard: ShardId, made: &MadeTable, task: &Task<'_>) -> Step<bool> {
        let mut literals = Vec::new();
        let facts = self.known.facts(schema, &made.query, &mut literals);
        let [statement] = facts.statements.as_slice() else {
            return Err(Error::internal("a query of a table is not one").into());
        };
        let plan = self.plan(schema, statement, &made.query, &literals, &parameters(task)?).await?;
        Ok(
            matches!(plan.action, Action::One { part: Part { shard: only, text: PartText::Untouched, .. }, .. } if only == shard),
        )
    }

    async fn make_and_fill(&mut self, schema: &Schema, shard: ShardId, made: &MadeTable, task: &Task<'_>) -> Step<u64> {
        self.note_write(shard)?;
        self.link(shard, Access::Primary { writes: true }).await?;
        self.note(task.statement, &task.values);
        self.ask(shard, &Question::query(&made.without_data)).await?;
        self.answer(shard).await?;
        let rows = self.step(schema, &made.query, Form::Text, None, task).await?;
        self.fill(shard, made, rows).await
    }

    /// Puts rows into a new table.
    async fn fill(&mut self, shard: ShardId, made: &MadeTable, said: Said) -> Step<u64> {
        self.ask(shard, &Question::query(&made.copy)).await?;
        let mut failure = None;
        let mut count = 0;
        loop {
            match self.reply(shard).await? {
                Reply::CopyIn(_) => self.send_rows(shard, &said).await?,
                Reply::Complete(body) => count = rows_copied(&body)?,
                Reply::Error(body) => drop(failure.get_or_insert(body)),
                Reply::Ready(_) => break,
                _ => {}
            }
        }
        match failure {
            Some(body) => Err(Stop::Failed(server_error(shard, &body))),
            None => Ok(count),
        }
    }

    async fn send_rows(&mut self, shard: ShardId, said: &Said) -> Step {
        let (mut piece, mut message) = (BytesMut::new(), BytesMut::new());
        for (place, row) in said.rows.iter().enumerate() {
            put_text_row(&mut piece, &backend::read_data_row(row)?);
            if piece.len() >= PIECE_BYTES || place + 1 == said.rows.len() {
                frontend::copy_data(&mut message, &piece);
                self.send_copy(shard, &message).await?;
                piece.clear();
                message.clear();
            }
        }
        frontend::copy_done(&mut message);
        self.send_copy(shard, &message).await
    }
}
