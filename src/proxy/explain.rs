//! EXPLAIN on a sharded database: PostgreSQL's plan, with Weir's in front.

use bytes::{BufMut, Bytes};

use super::answer::{self, Preface};
use super::client::Client;
use super::exchange::Reply;
use super::outcome::{Step, Stop};
use super::sharded::Task;
use crate::route::plan::{Access, Part};
use crate::sql::facts::Effects;
use crate::types::{Error, Result, ShardId};
use crate::wire::backend::{self, Column, tag};

impl Client {
    /// Runs an EXPLAIN on its shard; `lines` come in front of the rows.
    pub async fn explained(&mut self, part: &Part, access: Access, lines: &[String], task: &Task<'_>) -> Step {
        match self.explain_on(part, access, lines, task).await {
            Ok(()) => self.answered(task),
            Err(Stop::Gone) => Err(Stop::Gone),
            Err(stop) => {
                self.stop_all(&[part.shard]).await;
                self.fail_block();
                self.refused(stop, task)
            }
        }
    }

    /// Answers an EXPLAIN by lines of Weir's own, and what each shard says of its part behind them.
    pub async fn explain(&mut self, lines: &[String], parts: &[Part], task: &Task<'_>) -> Step {
        let plans = match self.plans_of(parts, task).await {
            Ok(plans) => plans,
            Err(Stop::Gone) => return Err(Stop::Gone),
            Err(stop) => {
                let shards: Vec<ShardId> = parts.iter().map(|part| part.shard).collect();
                self.stop_all(&shards).await;
                self.fail_block();
                return self.refused(stop, task);
            }
        };
        let column = Column { name: b"QUERY PLAN".to_vec(), ..Column::TEXT };
        let columns = Some(backend::row_description_body(&[column]));
        self.preface(task, &Preface { parameters: None, columns });
        lines.iter().for_each(|line| self.plan_line(line));
        let map = self.database.map();
        for (part, plan) in parts.iter().zip(&plans) {
            let name = map.as_ref().map_or("", |map| map.shard_name(part.shard));
            self.plan_line(&format!("Shard {name}:"));
            plan.iter().for_each(|line| self.plan_line(&format!("  {line}")));
        }
        self.complete("EXPLAIN");
        self.answered(task)
    }

    /// The lines of each part's plan.
    async fn plans_of(&mut self, parts: &[Part], task: &Task<'_>) -> Step<Vec<Vec<String>>> {
        let access = if task.statement.effects.contains(Effects::LOCKS) {
            Access::Primary { writes: true }
        } else {
            Access::Read
        };
        for part in parts {
            if access != Access::Read {
                self.note_write(part.shard)?;
            }
            self.link(part.shard, access).await?;
        }
        for part in parts {
            self.ask(part.shard, &self.question_for(part, task)?).await?;
        }
        let mut plans = Vec::with_capacity(parts.len());
        for part in parts {
            let rows = self.answer(part.shard).await?.into_rows();
            let line = |row: &Bytes| {
                let values = backend::read_data_row(row)?;
                Ok(String::from_utf8_lossy(values.first().copied().flatten().unwrap_or_default()).into_owned())
            };
            plans.push(rows.iter().map(line).collect::<Result<_>>()?);
        }
        Ok(plans)
    }

    async fn explain_on(&mut self, part: &Part, access: Access, lines: &[String], task: &Task<'_>) -> Step {
        self.link(part.shard, access).await?;
        self.ask(part.shard, &self.question_for(part, task)?).await?;
        loop {
            match self.reply(part.shard).await? {
                Reply::RowDescription(columns) => {
                    self.preface(task, &Preface { parameters: None, columns: Some(columns) });
                    lines.iter().for_each(|line| self.plan_line(line));
                }
                Reply::Row(body) => answer::pass(self.conn.queue(), tag::DATA_ROW, &body),
                Reply::Complete(body) => answer::pass(self.conn.queue(), tag::COMMAND_COMPLETE, &body),
                Reply::Error(body) => return Err(self.passed_on(&body)),
                Reply::Ready(_) => return Ok(()),
                Reply::Notice(_) | Reply::Nothing => {}
                other @ (Reply::ParameterDescription(_)
                | Reply::Suspended
                | Reply::CopyIn(_)
                | Reply::CopyOut(_)
                | Reply::CopyData(_)
                | Reply::CopyDone) => {
                    return Err(Error::internal(format!("EXPLAIN was answered otherwise: {other:?}")).into());
                }
            }
        }
    }

    /// A row of the only column, QUERY PLAN.
    pub fn plan_line(&mut self, line: &str) {
        backend::message(self.conn.queue(), tag::DATA_ROW, |body| {
            body.put_u16(1);
            body.put_u32(u32::try_from(line.len()).unwrap_or_default());
            body.put_slice(line.as_bytes());
        });
    }
}
