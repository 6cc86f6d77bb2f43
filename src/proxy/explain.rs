//! EXPLAIN on a sharded database: PostgreSQL's plan, with Weir's in front.

use bytes::BufMut;

use super::answer::{self, Preface};
use super::client::Client;
use super::exchange::Reply;
use super::outcome::{Step, Stop};
use super::sharded::Task;
use crate::route::plan::{Access, Part};
use crate::types::Error;
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

    /// Answers an EXPLAIN by lines of Weir's own.
    pub fn explain(&mut self, lines: &[String], task: &Task<'_>) -> Step {
        let column = Column { name: b"QUERY PLAN".to_vec(), ..Column::TEXT };
        let columns = Some(backend::row_description_body(&[column]));
        self.preface(task, &Preface { parameters: None, columns });
        lines.iter().for_each(|line| self.plan_line(line));
        self.complete("EXPLAIN");
        self.answered(task)
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
