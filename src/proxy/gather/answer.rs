//! The statement itself: described as the client wrote it, run over the gathered rows, its answer passed on.

use bytes::Bytes;

use super::super::answer::{self, Preface};
use super::super::client::Client;
use super::super::exchange::{Reply, bound};
use super::super::outcome::Step;
use super::super::sharded::{Asked, Task, rows_max};
use super::gatherer::Gatherer;
use crate::route::plan::Gather;
use crate::types::{Error, Result};
use crate::wire::backend::{self, Column, ErrorFields, tag};
use crate::wire::frontend::{self, Bind, Target};
use crate::wire::reader::Reader;

/// Arguments of a Bind without parameters, whose results are texts.
const NO_ARGUMENTS: &[u8] = &[0; 6];

/// Fields of an ErrorResponse that speak of texts and tables which the client did not write: position, internal position
/// and query, context. Source: PostgreSQL manual, "Error and Notice Message Fields".
const PLACES: &[u8] = b"PpqW";

/// What PostgreSQL says of the client's own statement.
pub struct Described {
    /// The body of ParameterDescription.
    parameters: Bytes,
    columns: Vec<Column>,
}

impl Client {
    /// Has the statement prepared as the client wrote it: its mistakes are PostgreSQL's to tell, and its columns and
    /// parameters what the client gets to know.
    pub async fn describe_own(&mut self, gatherer: &mut Gatherer, text: &str, task: &Task<'_>) -> Step<Described> {
        let definition = frontend::definition(text, declared_types(task)?);
        gatherer
            .begin_exchange(|out| {
                frontend::parse(out, b"", &definition);
                frontend::describe(out, Target::Statement(b""));
                frontend::sync(out);
            })
            .await?;
        let (mut parameters, mut columns, mut failure) = (Bytes::new(), Vec::new(), None);
        loop {
            match gatherer.reply(&mut self.conn).await? {
                Reply::ParameterDescription(body) => parameters = body,
                Reply::RowDescription(body) => columns = backend::read_row_description(&body)?,
                Reply::Error(body) => failure = Some(body),
                Reply::Ready(_) => break,
                Reply::Nothing | Reply::Notice(_) => {}
                other => return Err(Error::internal(format!("a statement was described otherwise: {other:?}")).into()),
            }
        }
        match failure {
            None => Ok(Described { parameters, columns }),
            Some(error) => Err(self.passed_on(&error)),
        }
    }

    /// Lets PostgreSQL check what the role may read, as it does when a statement begins: that of EXPLAIN does, and reads
    /// nothing.
    pub async fn check_privileges(
        &mut self,
        gatherer: &mut Gatherer,
        described: &Described,
        select: &str,
        task: &Task<'_>,
    ) -> Step {
        let text = format!("EXPLAIN {select}");
        let definition = frontend::definition(&text, &described.parameter_types()?);
        let bind = bind(task)?;
        let arguments = bind.map_or_else(|| NO_ARGUMENTS.to_vec(), |bind| values_only(&bind));
        gatherer
            .begin_exchange(|out| {
                frontend::parse(out, b"", &definition);
                frontend::bind(out, b"", b"", &arguments);
                frontend::execute(out, b"", 0);
                frontend::sync(out);
            })
            .await?;
        self.succeed_gathering(gatherer).await
    }

    /// Copies the rows of a query over the gathered rows to the client, ReadyForQuery apart.
    pub async fn copy_gathered(
        &mut self,
        gatherer: &mut Gatherer,
        (query, copy): (&str, &str),
        described: &Described,
        task: &Task<'_>,
    ) -> Step {
        let over_gathered = self.describe_own(gatherer, query, task).await?;
        described.check(&over_gathered.columns)?;
        gatherer.begin_exchange(|out| frontend::query(out, copy)).await?;
        let mut failure = None;
        loop {
            match gatherer.reply(&mut self.conn).await? {
                Reply::CopyOut(body) => {
                    self.preface(task, &Preface::default());
                    answer::pass(self.conn.queue(), tag::COPY_OUT_RESPONSE, &body);
                }
                Reply::CopyData(body) => {
                    answer::pass(self.conn.queue(), tag::COPY_DATA, &body);
                    self.make_room_if_needed().await?;
                }
                Reply::CopyDone => backend::bare(self.conn.queue(), tag::COPY_DONE),
                Reply::Complete(body) => answer::pass(self.conn.queue(), tag::COMMAND_COMPLETE, &body),
                Reply::Error(body) => failure = Some(body),
                Reply::Ready(_) => break,
                Reply::Nothing => {}
                Reply::Notice(body) => answer::pass(self.conn.queue(), tag::NOTICE_RESPONSE, &without_places(&body)),
                other => return Err(Error::internal(format!("a COPY was answered otherwise: {other:?}")).into()),
            }
        }
        match failure {
            None => Ok(()),
            Some(error) => Err(self.passed_on(&without_places(&error))),
        }
    }

    /// Runs the statement over the gathered rows and gives the client its answer, ReadyForQuery apart.
    pub async fn run_and_answer(
        &mut self,
        gatherer: &mut Gatherer,
        gather: &Gather,
        described: &Described,
        lines: &[String],
        task: &Task<'_>,
    ) -> Step {
        let definition = frontend::definition(&gather.text, &described.parameter_types()?);
        let bind = bind(task)?;
        let arguments = bind.map_or(NO_ARGUMENTS, |bind| bind.arguments);
        gatherer
            .begin_exchange(|out| {
                frontend::parse(out, b"", &definition);
                frontend::describe(out, Target::Statement(b""));
                frontend::bind(out, b"", b"", arguments);
                frontend::execute(out, b"", wanted_rows(task));
                frontend::sync(out);
            })
            .await?;
        let mut failure = None;
        loop {
            match gatherer.reply(&mut self.conn).await? {
                Reply::RowDescription(body) => {
                    described.check(&backend::read_row_description(&body)?)?;
                    self.preface(task, &described.preface());
                    lines.iter().for_each(|line| self.plan_line(line));
                }
                Reply::Row(body) => {
                    answer::pass(self.conn.queue(), tag::DATA_ROW, &body);
                    self.make_room_if_needed().await?;
                }
                Reply::Complete(body) => answer::pass(self.conn.queue(), tag::COMMAND_COMPLETE, &body),
                Reply::Suspended => backend::bare(self.conn.queue(), tag::PORTAL_SUSPENDED),
                Reply::Error(body) => failure = Some(body),
                Reply::Ready(_) => break,
                Reply::ParameterDescription(_) | Reply::Nothing => {}
                Reply::Notice(body) => answer::pass(self.conn.queue(), tag::NOTICE_RESPONSE, &without_places(&body)),
                other => return Err(Error::internal(format!("a statement was answered otherwise: {other:?}")).into()),
            }
        }
        match failure {
            None => Ok(()),
            Some(error) => Err(self.passed_on(&without_places(&error))),
        }
    }
}

impl Described {
    fn parameter_types(&self) -> Result<Vec<u32>> {
        let mut reader = Reader::new(&self.parameters);
        let count = reader.count()?;
        (0..count).map(|_| reader.u32()).collect()
    }

    /// The statement over temporary tables must give what the client's own does.
    fn check(&self, columns: &[Column]) -> Result<()> {
        let look = |column: &Column| (column.name.clone(), column.type_oid, column.type_modifier);
        match self.columns.iter().map(look).eq(columns.iter().map(look)) {
            true => Ok(()),
            false => Err(Error::refuse(
                "the statement cannot be answered from several shards",
                "Over the gathered rows it has columns of other types.",
            )
            .hint("If tables were changed on the servers themselves, restart Weir.")),
        }
    }

    fn preface(&self) -> Preface {
        let columns = Some(backend::row_description_body(&self.columns));
        Preface { parameters: Some(self.parameters.clone()), columns }
    }
}

/// What the client's Bind says, where there is one.
fn bind<'m>(task: &Task<'m>) -> Result<Option<Bind<'m>>> {
    match task.asked {
        Asked::Batch(requests) => Ok(Some(bound(requests)?.1)),
        Asked::Query(_) | Asked::Step => Ok(None),
    }
}

/// A Bind's arguments for a statement with other columns.
fn values_only(bind: &Bind<'_>) -> Vec<u8> {
    let formats_len = 2 + 2 * bind.result_formats.len();
    let kept = bind.arguments.len().saturating_sub(formats_len);
    [bind.arguments.get(..kept).unwrap_or_default(), &[0, 0]].concat()
}

/// How many rows the client wants; zero: all.
fn wanted_rows(task: &Task<'_>) -> u32 {
    match task.asked {
        Asked::Batch(requests) => rows_max(requests),
        Asked::Query(_) | Asked::Step => 0,
    }
}

/// The types that the client declared for its parameters.
fn declared_types<'m>(task: &Task<'m>) -> Result<&'m [u32]> {
    match task.asked {
        Asked::Batch(requests) => Ok(bound(requests)?.0.parameter_types.as_slice()),
        Asked::Query(_) | Asked::Step => Ok(&[]),
    }
}

/// An ErrorResponse or NoticeResponse without what it says of places in texts.
pub fn without_places(body: &[u8]) -> Bytes {
    match ErrorFields::read(body) {
        Ok(fields) => fields.without(PLACES),
        Err(_) => Bytes::copy_from_slice(body),
    }
}
