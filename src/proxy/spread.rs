//! Writes of rows on several shards: all parts run at once, in the client's block or in a transaction of their own. Rows
//! that are returned flow on as they come; what they are worth is known from the command tag, as always.

use bytes::Bytes;

use super::answer::{Preface, pass};
use super::client::Client;
use super::exchange::{Changed, Question, Reply, bound};
use super::fan::{same_types, set_formats};
use super::gather::without_places;
use super::outcome::Step;
use super::sharded::{Asked, Task};
use crate::route::plan::{Access, PartText, RowOrder, Spread};
use crate::types::{Error, Result, ShardId};
use crate::wire::backend::{self, Column, tag};
use crate::wire::frontend::Bind;
use crate::wire::reader::Reader;

/// The type of a parameter that a part does not name, and gets NULL for.
const TEXT: u32 = 25;

/// What a shard says, one piece at a time.
struct Source {
    shard: ShardId,
    /// The text is not the client's own, so that places in it mean nothing to the client.
    rewritten: bool,
    parameters: Option<Bytes>,
    columns: Option<Vec<Column>>,
    numbered: Vec<(usize, u32)>,
    /// A row that came before it was wanted.
    row: Option<Bytes>,
    /// The number of rows in its command tag, once that came.
    count: Option<u64>,
}

impl Client {
    /// Writes rows on several shards, and answers.
    pub async fn spread(&mut self, spread: &Spread, task: &Task<'_>) -> Step {
        self.note(task.statement, &task.values);
        // One part alone is a transaction by itself.
        let own = spread.parts.len() > 1 && self.begin_own();
        let written = self.write_parts(spread, task).await;
        match self.end_own(own, written).await {
            Ok(count) => {
                self.complete(&format!("{} {count}", spread.verb));
                self.answered(task)
            }
            Err(stop) => self.refused(stop, task),
        }
    }

    async fn write_parts(&mut self, spread: &Spread, task: &Task<'_>) -> Step<u64> {
        for part in &spread.parts {
            self.note_write(part.shard)?;
            self.link(part.shard, Access::Primary { writes: true }).await?;
        }
        for place in 0..spread.parts.len() {
            self.ask(spread.parts[place].shard, &self.part_of_spread(spread, place, task)?).await?;
        }
        let bind = match &task.asked {
            Asked::Batch(requests) => Some(bound(requests)?.1),
            Asked::Query(_) | Asked::Step => None,
        };
        let mut sources: Vec<Source> = spread.parts.iter().map(|part| Source::new(part.shard, &part.text)).collect();
        for source in &mut sources {
            self.advance(source, bind.as_ref()).await?;
        }
        self.preface(task, &preface(spread, &sources)?);
        self.pass_rows(&spread.order, &mut sources, bind.as_ref()).await?;
        for source in &sources {
            self.succeed(source.shard).await?;
        }
        Ok(sources.iter().filter_map(|source| source.count).sum())
    }

    /// One part as a question. Parameters that it does not name are not sent, and given a type all the same: a server wants
    /// to know it.
    fn part_of_spread(&self, spread: &Spread, place: usize, task: &Task<'_>) -> Result<Question> {
        let part = &spread.parts[place];
        let (Asked::Batch(requests), Some(named)) = (task.asked, &spread.parameters) else {
            return self.question_for(part, task);
        };
        let PartText::Rewritten(text) = &part.text else { return self.question_for(part, task) };
        let (prepared, bind) = bound(requests)?;
        let is_named = |at: usize| u16::try_from(at + 1).is_ok_and(|number| named[place].contains(&number));
        let unknown = |number: &&u16| prepared.parameter_type(usize::from(**number).saturating_sub(1)).is_none();
        if let Some(number) = spread.typed.iter().find(unknown) {
            return Err(Error::refuse(
                "the type of a parameter is not known",
                format!("${number} stands in several places, and a shard may not see the one that gives it its type."),
            )
            .hint("Declare the types of parameters, or describe the statement first."));
        }
        let types: Vec<u32> = (0..bind.value_count)
            .map(|at| match prepared.parameter_type(at) {
                Some(oid) => oid,
                None if is_named(at) => 0,
                None => TEXT,
            })
            .collect();
        let arguments = bind.only_values(is_named)?;
        self.question_with(part.shard, text, prepared, &Changed { types: &types, arguments: &arguments })
    }

    /// Reads on until a row or the command tag comes.
    async fn advance(&mut self, source: &mut Source, bind: Option<&Bind<'_>>) -> Step {
        while source.row.is_none() && source.count.is_none() {
            match self.reply(source.shard).await? {
                Reply::RowDescription(body) => {
                    let mut own = backend::read_row_description(&body)?;
                    set_formats(&mut own, 0, bind);
                    source.numbered = self.numbered_columns(source.shard, &own)?;
                    let body = self.with_home_oids(source.shard, tag::ROW_DESCRIPTION, body)?;
                    source.columns = Some(backend::read_row_description(&body)?);
                }
                Reply::ParameterDescription(body) => {
                    source.parameters = Some(self.with_home_oids(source.shard, tag::PARAMETER_DESCRIPTION, body)?);
                }
                Reply::Row(body) if source.numbered.is_empty() => source.row = Some(body),
                Reply::Row(body) => {
                    source.row = Some(self.translated_row(source.shard, &source.numbered, &body)?);
                }
                Reply::Complete(body) => source.count = Some(rows_affected(&body)?),
                Reply::Error(body) if source.rewritten => return Err(self.passed_on(&without_places(&body))),
                Reply::Error(body) => return Err(self.passed_on(&body)),
                Reply::Notice(body) => pass(self.conn.queue(), tag::NOTICE_RESPONSE, &body),
                Reply::Nothing => {}
                other => return Err(Error::internal(format!("a write was answered otherwise: {other:?}")).into()),
            }
        }
        Ok(())
    }

    /// Gives the client the rows in their order, and reads all command tags.
    async fn pass_rows(&mut self, order: &RowOrder, sources: &mut [Source], bind: Option<&Bind<'_>>) -> Step {
        if let RowOrder::OfInput(order) = order {
            for place in order {
                self.pass_row(&mut sources[*place], bind).await?;
            }
        }
        for source in sources {
            while source.count.is_none() {
                self.pass_row(source, bind).await?;
            }
        }
        Ok(())
    }

    async fn pass_row(&mut self, source: &mut Source, bind: Option<&Bind<'_>>) -> Step {
        if let Some(row) = source.row.take() {
            pass(self.conn.queue(), tag::DATA_ROW, &row);
            self.make_room_if_needed().await?;
        }
        self.advance(source, bind).await
    }
}

impl Source {
    fn new(shard: ShardId, text: &PartText) -> Self {
        Self {
            shard,
            rewritten: matches!(text, PartText::Rewritten(_)),
            parameters: None,
            columns: None,
            numbered: Vec::new(),
            row: None,
            count: None,
        }
    }
}

/// What the client reads in front of the rows. The shards must agree about columns; a parameter's type is what a part says
/// that names it.
fn preface(spread: &Spread, sources: &[Source]) -> Result<Preface> {
    let Some((first, others)) = sources.split_first() else {
        return Err(Error::internal("a plan without shards"));
    };
    let is_same = |other: &Source| match (&first.columns, &other.columns) {
        (Some(one), Some(other)) => same_types(one, other),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    };
    if !others.iter().all(is_same) {
        return Err(Error::refuse("the shards answer with different columns", "They describe the rows differently.")
            .hint("Compare the table's definition on the shards."));
    }
    Ok(Preface {
        parameters: described_parameters(spread, sources)?,
        columns: first.columns.as_deref().map(backend::row_description_body),
    })
}

fn described_parameters(spread: &Spread, sources: &[Source]) -> Result<Option<Bytes>> {
    let (Some(named), Some(first)) = (&spread.parameters, sources.first()) else {
        return Ok(sources.first().and_then(|source| source.parameters.clone()));
    };
    let Some(mut types) = first.parameters.as_deref().map(read_types).transpose()? else { return Ok(None) };
    for (source, named) in sources.iter().zip(named).skip(1) {
        let Some(own) = source.parameters.as_deref().map(read_types).transpose()? else { continue };
        for at in named.iter().map(|number| usize::from(*number).saturating_sub(1)) {
            if let (Some(of_all), Some(own)) = (types.get_mut(at), own.get(at)) {
                *of_all = *own;
            }
        }
    }
    Ok(Some(backend::parameter_description_body(&types)))
}

fn read_types(body: &[u8]) -> Result<Vec<u32>> {
    let mut reader = Reader::new(body);
    (0..reader.count()?).map(|_| reader.u32()).collect()
}

/// The number at the end of a command tag.
pub fn rows_affected(body: &[u8]) -> Result<u64> {
    let tag = String::from_utf8_lossy(body);
    let count = tag.trim_end_matches('\0').rsplit(' ').next().and_then(|count| count.parse().ok());
    count.ok_or_else(|| Error::internal(format!("a write was completed as {tag:?}")))
}
