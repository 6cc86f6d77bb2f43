//! Rows of several shards that one server finishes: see [`crate::merge::Finish`].

use std::borrow::Cow;

use bytes::{BufMut, Bytes, BytesMut};

use super::answer::{self, Preface};
use super::client::Client;
use super::exchange::{Question, Reply, bound};
use super::fan::{Opening, Run, Source};
use super::outcome::Step;
use super::sharded::{Asked, Task};
use crate::merge::{Array, Finish};
use crate::route::plan::PartText;
use crate::session::numbered;
use crate::types::{Error, Result};
use crate::wire::backend::{self, Column, tag};
use crate::wire::frontend::{self, Bind, Target};
use crate::wire::oids::Translation;

impl Client {
    /// What the client's own statement takes and gives, by the word of the first shard's server.
    pub async fn own_description(&mut self, run: &Run<'_>) -> Step<Opening> {
        let shard = run.shards[0];
        let question = {
            let ledger = &self.links[self.place(shard)?].server.session.ledger;
            describe(run.task, ledger.translation().map(|translation| &**translation))?
        };
        self.ask(shard, &question).await?;
        let opening = self.opening(shard, 0, None).await?;
        self.finish_part(shard).await?;
        Ok(opening)
    }

    /// Takes all rows in, and has the first shard's server finish them; what it will give must be as it is `described`.
    pub async fn finish_rows(
        &mut self,
        run: &Run<'_>,
        mut finish: Finish,
        sources: &[Source],
        described: &Opening,
    ) -> Step<Source> {
        for source in sources {
            self.take_rows(source, &mut finish).await?;
        }
        for shard in run.shards {
            self.finish_part(*shard).await?;
        }
        let shard = run.shards[0];
        let question = {
            let ledger = &self.links[self.place(shard)?].server.session.ledger;
            finishing(run, &finish, described, ledger.translation().map(|translation| &**translation))?
        };
        drop(finish);
        self.ask(shard, &question).await?;
        let given = self.opening(shard, 0, run.bind.as_ref()).await?;
        if !types(&given.columns).eq(types(&described.columns)) {
            return Err(Error::refuse(
                "the rows of several shards cannot be merged",
                "The combined rows have other types than those of the statement.",
            )
            .into());
        }
        Ok(Source { shard, numbered: given.numbered })
    }

    async fn take_rows(&mut self, source: &Source, finish: &mut Finish) -> Step {
        loop {
            match self.reply(source.shard).await? {
                Reply::Row(body) => finish.push(&body)?,
                Reply::Complete(_) | Reply::Suspended => return Ok(()),
                Reply::Error(body) => return Err(self.passed_on(&body)),
                Reply::Notice(_) | Reply::Nothing => {}
                other => return Err(Error::internal(format!("a shard broke off: {other:?}")).into()),
            }
        }
    }

    /// Gives the client what the finishing server says.
    pub async fn finished_rows(&mut self, run: &Run<'_>, given: &Source, described: &Opening) -> Step {
        let columns = Some(backend::row_description_body(&described.columns));
        self.preface(run.task, &Preface { parameters: described.parameters.clone(), columns });
        loop {
            match self.reply(given.shard).await? {
                Reply::Row(body) => {
                    let body = self.with_home_row(given, body)?;
                    answer::pass(self.conn.queue(), tag::DATA_ROW, &body);
                    self.make_room_if_needed().await?;
                }
                Reply::Complete(body) => answer::pass(self.conn.queue(), tag::COMMAND_COMPLETE, &body),
                Reply::Suspended => backend::bare(self.conn.queue(), tag::PORTAL_SUSPENDED),
                Reply::Error(body) => return Err(self.passed_on(&body)),
                Reply::Ready(_) => return Ok(()),
                Reply::Notice(_) | Reply::Nothing => {}
                other => return Err(Error::internal(format!("a server finished otherwise: {other:?}")).into()),
            }
        }
    }
}

/// Parse and Describe of the client's own statement.
fn describe(task: &Task<'_>, translation: Option<&Translation>) -> Result<Question> {
    let types = match task.asked {
        Asked::Batch(requests) => &*bound(requests)?.0.parameter_types,
        Asked::Query(_) | Asked::Step => &[],
    };
    let mut bytes = BytesMut::new();
    put_statement(&mut bytes, task.text, types, translation)?;
    frontend::sync(&mut bytes);
    Ok(Question::messages(bytes))
}

/// The finishing statement: the client's parameters, and the arrays behind them.
fn finishing(
    run: &Run<'_>,
    finish: &Finish,
    described: &Opening,
    translation: Option<&Translation>,
) -> Result<Question> {
    let PartText::Rewritten(shard_text) = &run.parts[0].text else {
        return Err(Error::internal("a plan for several shards with the client's own text"));
    };
    let mut types = described.parameter_types()?;
    let arguments = match (&run.task.asked, translation, &run.bind) {
        (Asked::Batch(requests), Some(translation), Some(bind)) => {
            numbered::arguments(translation, bound(requests)?.0, bind)?
        }
        (_, _, Some(bind)) => Cow::Borrowed(bind.arguments),
        (_, _, None) => Cow::Borrowed(&[0; 6][..]),
    };
    let bind = Bind::of(b"", b"", &arguments)?;
    types.resize(bind.value_count, 0);
    let text = finish.statement(run.spec, shard_text, bind.value_count)?;
    types.extend(finish.arrays().iter().map(|array| array.type_oid));
    let mut bytes = BytesMut::new();
    put_statement(&mut bytes, &text, &types, translation)?;
    let element_oid = |oid| translation.map_or(Ok(oid), |translation| translation.to_shard().type_oid(oid));
    frontend::bind(&mut bytes, b"", b"", &with_arrays(&bind, finish.arrays(), &element_oid)?);
    frontend::execute(&mut bytes, b"", run.rows_max);
    frontend::sync(&mut bytes);
    Ok(Question::messages(bytes))
}

fn put_statement(bytes: &mut BytesMut, text: &str, types: &[u32], translation: Option<&Translation>) -> Result<()> {
    let definition = Cow::Owned(frontend::definition(text, types).to_vec());
    let definition = match translation {
        None => definition,
        Some(translation) => numbered::definition(translation, definition)?,
    };
    frontend::parse(bytes, b"", &definition);
    frontend::describe(bytes, Target::Statement(b""));
    Ok(())
}

/// The arguments of a Bind with arrays behind its own values.
fn with_arrays(bind: &Bind<'_>, arrays: &[Array], element_oid: &dyn Fn(u32) -> Result<u32>) -> Result<BytesMut> {
    let values = bind.values()?;
    let count = u16::try_from(values.len() + arrays.len())
        .map_err(|_| Error::refuse("the rows of several shards cannot be merged", "They have too many columns."))?;
    let mut out = BytesMut::new();
    out.put_u16(count);
    let formats = values.iter().map(|(format, _)| *format).chain(arrays.iter().map(|array| array.format));
    formats.for_each(|format| out.put_i16(format.code()));
    out.put_u16(count);
    for (_, value) in &values {
        put_value(&mut out, *value)?;
    }
    for array in arrays {
        put_value(&mut out, Some(&array.value(element_oid)?))?;
    }
    out.put_u16(u16::try_from(bind.result_formats.len()).unwrap_or(u16::MAX));
    bind.result_formats.iter().for_each(|format| out.put_i16(format.code()));
    Ok(out)
}

fn put_value(out: &mut BytesMut, value: Option<&[u8]>) -> Result<()> {
    let Some(bytes) = value else {
        out.put_i32(-1);
        return Ok(());
    };
    let len = i32::try_from(bytes.len())
        .map_err(|_| Error::refuse("the rows of several shards cannot be merged", "They take more than 2 GB."))?;
    out.put_i32(len);
    out.put_slice(bytes);
    Ok(())
}

fn types(columns: &[Column]) -> impl Iterator<Item = u32> {
    columns.iter().map(|column| column.type_oid)
}

impl Opening {
    /// The types of the statement's parameters.
    fn parameter_types(&self) -> Result<Vec<u32>> {
        self.parameters.as_ref().map_or(Ok(Vec::new()), |body: &Bytes| backend::read_parameter_description(body))
    }

    /// What the client is told of a result with hidden columns.
    pub fn without_hidden(&self, hidden: usize) -> Self {
        let visible = self.columns.len().saturating_sub(hidden);
        let columns = self.columns[..visible].to_vec();
        Self { columns, parameters: self.parameters.clone(), numbered: Vec::new() }
    }

    /// As a statement's columns are described: in no format yet.
    pub fn in_text(mut self) -> Self {
        self.columns.iter_mut().for_each(|column| column.format = 0);
        self
    }
}
