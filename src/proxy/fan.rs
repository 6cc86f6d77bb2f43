//! Reads over several shards: all are asked at once, their rows are merged as they come.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};

use super::answer::{self, HIGH_WATER, Preface};
use super::client::Client;
use super::exchange::{Reply, ResultFormats, Wanted, bound};
use super::outcome::{Step, Stop};
use super::sharded::{Asked, Task, rows_max};
use crate::merge::spec::MergeSpec;
use crate::merge::{self, ANYENUM, Finish, Merge, MergeOptions, TextFidelity};
use crate::route::plan::{Access, Part};
use crate::sql::schema::Schema;
use crate::types::{Error, Kind, Result, ShardId};
use crate::wire::backend::{self, Column, tag};
use crate::wire::frontend::{Bind, Format};

/// What a statement takes and gives: what a shard said before its first row.
pub struct Opening {
    pub columns: Vec<Column>,
    /// The body of ParameterDescription.
    pub parameters: Option<Bytes>,
    /// The columns whose binary values hold OIDs that the client knows by other numbers.
    pub numbered: Vec<(usize, u32)>,
}

/// One shard's part of a result.
pub struct Source {
    pub shard: ShardId,
    pub numbered: Vec<(usize, u32)>,
}

/// A statement over several shards, on its way.
pub struct Run<'r> {
    schema: &'r Schema,
    pub parts: &'r [Part],
    pub shards: &'r [ShardId],
    pub spec: &'r MergeSpec,
    pub access: Access,
    pub task: &'r Task<'r>,
    /// The client's Bind; `None` for a simple Query.
    pub bind: Option<Bind<'r>>,
    /// How many rows the client asks for; zero: all.
    pub rows_max: u32,
}

/// A statement whose shards have described their rows, and what makes one result of them.
enum Opened {
    Merge {
        merge: Box<Merge>,
        /// The DataRow of the first row, if there is one.
        first: BytesMut,
        opening: Opening,
        sources: Vec<Source>,
    },
    /// The rows have come already; a server finishes them.
    Finish { given: Source, described: Opening },
}

impl Client {
    /// Runs a plan's parts and gives the client their rows as one result.
    pub async fn fan(
        &mut self,
        schema: &Schema,
        parts: &[Part],
        spec: &MergeSpec,
        access: Access,
        task: &Task<'_>,
    ) -> Step {
        let shards: Vec<ShardId> = parts.iter().map(|part| part.shard).collect();
        let (bind, rows_max) = match &task.asked {
            Asked::Batch(requests) => (Some(bound(requests)?.1), rows_max(requests)),
            Asked::Query(_) | Asked::Step => (None, 0),
        };
        let run = Run { schema, parts, shards: &shards, spec, access, task, bind, rows_max };
        let result = match self.open_parts(&run).await {
            // The rows are of types that only PostgreSQL can merge, or too many; the client has read nothing yet.
            Err(Stop::Failed(refusal))
                if access == Access::Read && matches!(refusal.kind, Kind::NotSupported | Kind::LimitExceeded) =>
            {
                self.leave_parts(&shards).await?;
                return self.gather_instead(schema, task).await;
            }
            Err(stop) => Err(stop),
            Ok(Opened::Merge { mut merge, first, opening, sources }) => {
                self.stream(&run, &mut merge, (&first, opening), &sources).await
            }
            Ok(Opened::Finish { given, described }) => self.finished_rows(&run, &given, &described).await,
        };
        match result {
            Ok(()) => self.answered(task),
            Err(Stop::Gone) => Err(Stop::Gone),
            Err(stop) => {
                self.stop_all(&shards).await;
                self.fail_block();
                self.refused(stop, task)
            }
        }
    }

    /// Asks the shards, and reads what each says before its rows; all rows, where a server has to finish them.
    async fn open_parts(&mut self, run: &Run<'_>) -> Step<Opened> {
        for part in run.parts {
            if run.access == (Access::Primary { writes: true }) {
                self.note_write(part.shard)?;
            }
            self.link(part.shard, run.access).await?;
        }
        let own = if run.needs_description()? { Some(Box::pin(self.own_description(run)).await?) } else { None };
        let types = own.as_ref().and_then(|own| own.parameters.as_ref());
        let wanted = Wanted {
            hidden_columns: run.spec.hidden_columns,
            rows_max: run.spec.rows_per_shard(run.rows_max),
            parameter_types: types.map(|body| backend::read_parameter_description(body)).transpose()?,
            formats: if run.spec.outer.is_some() { ResultFormats::Text } else { ResultFormats::Own },
        };
        for part in run.parts {
            self.ask(part.shard, &self.question_wanting(part, &wanted, run.task)?).await?;
        }
        let bind = run.bind.as_ref().filter(|_| run.spec.outer.is_none());
        let (mut opening, sources) = self.openings(run, bind).await?;
        let parameters = own.as_ref().and_then(|own| own.parameters.clone());
        opening.parameters = parameters.or(opening.parameters);
        let options = self.merge_options(run);
        let unmerged = match own.filter(|_| run.spec.outer.is_some()) {
            Some(own) => own,
            None => match run.merge(&opening.columns, &options) {
                Ok(merge) => {
                    let mut merge = Box::new(merge);
                    let first = self.first_row(&mut merge, &sources).await?;
                    return Ok(Opened::Merge { merge, first, opening, sources });
                }
                Err(_) => opening.without_hidden(run.spec.hidden_columns),
            },
        };
        let described = unmerged.in_text();
        let finish = run.finish(&opening.columns, &options)?;
        let given = Box::pin(self.finish_rows(run, finish, &sources, &described)).await?;
        Ok(Opened::Finish { given, described })
    }

    /// Has the shards end what they were asked. A cancel would fail an open block.
    async fn leave_parts(&mut self, shards: &[ShardId]) -> Step {
        if self.block.is_none() {
            self.stop_all(shards).await;
            return Ok(());
        }
        for shard in shards {
            self.drain_asked(*shard).await?;
        }
        Ok(())
    }

    fn merge_options(&self, run: &Run<'_>) -> MergeOptions {
        MergeOptions {
            memory_max: self.worker.instance.config.pool.merge_memory,
            fidelity: TextFidelity {
                deterministic_collations: !run.schema.has_nondeterministic_collations,
                // Settings that cut digits off are refused; the default since version 12 shows them all.
                exact_floats: true,
            },
        }
    }

    /// Gives the client the merged rows as they come, the first one in front.
    async fn stream(
        &mut self,
        run: &Run<'_>,
        merge: &mut Merge,
        (first, opening): (&[u8], Opening),
        sources: &[Source],
    ) -> Step {
        let mut columns = merge.visible_columns(&opening.columns).to_vec();
        columns.iter_mut().for_each(|column| column.format = Format::Text.code());
        let columns = Some(backend::row_description_body(&columns));
        self.preface(run.task, &Preface { parameters: opening.parameters, columns });
        self.conn.queue().extend_from_slice(first);
        self.merge_rows(merge, sources).await?;
        for shard in run.shards {
            // With a LIMIT the shards may have more to say than was needed.
            self.finish_part(*shard).await?;
        }
        if run.rows_max > 0 && merge.row_count() == u64::from(run.rows_max) {
            backend::bare(self.conn.queue(), tag::PORTAL_SUSPENDED);
        } else {
            backend::command_complete(self.conn.queue(), &format!("SELECT {}", merge.row_count()));
        }
        Ok(())
    }

    /// Reads what each shard says before its rows; they must agree.
    async fn openings(&mut self, run: &Run<'_>, bind: Option<&Bind<'_>>) -> Step<(Opening, Vec<Source>)> {
        let mut first: Option<Opening> = None;
        let mut sources = Vec::with_capacity(run.shards.len());
        for shard in run.shards {
            let mut opening = self.opening(*shard, run.spec.hidden_columns, bind).await?;
            sources.push(Source { shard: *shard, numbered: std::mem::take(&mut opening.numbered) });
            match &first {
                None => first = Some(opening),
                Some(first) if same_types(&first.columns, &opening.columns) => {}
                Some(_) => {
                    return Err(Error::refuse(
                        "the shards answer with different columns",
                        format!("Shard {shard} and shard {} describe the rows differently.", run.shards[0]),
                    )
                    .hint("Compare the tables' definitions on both shards.")
                    .into());
                }
            }
        }
        match first {
            Some(opening) => Ok((opening, sources)),
            None => Err(Error::internal("a plan without shards").into()),
        }
    }

    /// Reads what a shard says before its rows, which come as `bind` asks for them, with so many hidden columns.
    pub async fn opening(&mut self, shard: ShardId, hidden: usize, bind: Option<&Bind<'_>>) -> Step<Opening> {
        let mut parameters = None;
        loop {
            match self.reply(shard).await? {
                Reply::RowDescription(body) => {
                    let mut own = backend::read_row_description(&body)?;
                    set_formats(&mut own, hidden, bind);
                    let numbered = self.numbered_columns(shard, &own)?;
                    let body = self.with_home_oids(shard, tag::ROW_DESCRIPTION, body)?;
                    let mut columns = backend::read_row_description(&body)?;
                    set_formats(&mut columns, hidden, bind);
                    return Ok(Opening { columns, parameters, numbered });
                }
                Reply::ParameterDescription(body) => {
                    parameters = Some(self.with_home_oids(shard, tag::PARAMETER_DESCRIPTION, body)?);
                }
                Reply::Error(body) => return Err(self.passed_on(&body)),
                Reply::Notice(_) | Reply::Nothing => {}
                other => return Err(Error::internal(format!("a shard did not describe its rows: {other:?}")).into()),
            }
        }
    }

    async fn merge_rows(&mut self, merge: &mut Merge, sources: &[Source]) -> Step {
        loop {
            match merge.next(self.conn.queue())? {
                merge::Step::Row if self.conn.unsent() > HIGH_WATER => {
                    self.make_room().await?;
                }
                merge::Step::Row => {}
                merge::Step::Done => return Ok(()),
                merge::Step::NeedRow(source) => self.take_reply(merge, source, &sources[source]).await?,
            }
        }
    }

    /// Merges up to the first row. Groups are all there then, so that the client has read nothing of what needs more memory
    /// than it may.
    async fn first_row(&mut self, merge: &mut Merge, sources: &[Source]) -> Step<BytesMut> {
        let mut first = BytesMut::new();
        loop {
            match merge.next(&mut first)? {
                merge::Step::Row | merge::Step::Done => return Ok(first),
                merge::Step::NeedRow(source) => self.take_reply(merge, source, &sources[source]).await?,
            }
        }
    }

    /// Hands the next reply of a source, which has the number `place`, to the merge.
    async fn take_reply(&mut self, merge: &mut Merge, place: usize, source: &Source) -> Step {
        match self.reply(source.shard).await? {
            Reply::Row(body) => merge.push(place, self.with_home_row(source, body)?)?,
            Reply::Complete(_) | Reply::Suspended => merge.finish(place),
            Reply::Error(body) => return Err(self.passed_on(&body)),
            Reply::Notice(_) | Reply::Nothing => {}
            other => return Err(Error::internal(format!("a shard broke off: {other:?}")).into()),
        }
        Ok(())
    }

    /// A row with the home shard's OIDs in it.
    pub fn with_home_row(&self, source: &Source, body: Bytes) -> Result<Bytes> {
        if source.numbered.is_empty() { Ok(body) } else { self.translated_row(source.shard, &source.numbered, &body) }
    }

    /// Reads the rest of what a shard says.
    pub async fn finish_part(&mut self, shard: ShardId) -> Step {
        match self.drain(shard).await? {
            None => Ok(()),
            Some(body) => Err(self.passed_on(&body)),
        }
    }

    /// Gives the client a server's ErrorResponse as it is.
    pub fn passed_on(&mut self, body: &[u8]) -> Stop {
        answer::pass(self.conn.queue(), tag::ERROR_RESPONSE, body);
        Stop::Told
    }

    /// An error on one shard fails the whole block.
    pub fn fail_block(&mut self) {
        if let Some(block) = &mut self.block {
            block.fail();
        }
    }

    /// Ends a statement whose error the client may have read already.
    pub fn refused(&mut self, stop: Stop, task: &Task<'_>) -> Step {
        match (stop, &task.asked) {
            (Stop::Told, Asked::Step) => Err(Stop::Told),
            (Stop::Told, Asked::Query(_) | Asked::Batch(_)) => self.answered(task),
            (other, _) => Err(other),
        }
    }
}

impl Run<'_> {
    /// Whether the client's own statement must be described: the shards' texts tell neither its columns nor all of its
    /// parameters.
    fn needs_description(&self) -> Result<bool> {
        let Asked::Batch(requests) = self.task.asked else { return Ok(self.spec.outer.is_some()) };
        let (prepared, bind) = bound(requests)?;
        let is_open = |place| prepared.parameter_types.get(place).is_none_or(|oid| *oid == 0);
        Ok(self.spec.outer.is_some() || self.spec.drops_parameters && (0..bind.value_count).any(is_open))
    }

    fn merge(&self, columns: &[Column], options: &MergeOptions) -> Result<Merge> {
        Merge::new(self.spec, self.rows_max, &as_merged(columns, self.schema), self.shards.len(), options)
    }

    fn finish(&self, columns: &[Column], options: &MergeOptions) -> Result<Finish> {
        let array_of_enum = |oid| self.schema.enums.get(&oid).map(|found| found.array_oid);
        Finish::new(self.spec, columns, &array_of_enum, options)
    }
}

/// The columns as the merge knows their types: any enum is alike to it.
fn as_merged<'c>(columns: &'c [Column], schema: &Schema) -> Cow<'c, [Column]> {
    let is_enum = |column: &Column| schema.enums.contains_key(&column.type_oid);
    if !columns.iter().any(is_enum) {
        return Cow::Borrowed(columns);
    }
    let mut merged = columns.to_vec();
    merged.iter_mut().filter(|column| is_enum(column)).for_each(|column| column.type_oid = ANYENUM);
    Cow::Owned(merged)
}

/// Columns are described in text format; these are the formats that the client's Bind asks for. Hidden ones come in the
/// one format of all, or in text.
pub fn set_formats(columns: &mut [Column], hidden: usize, bind: Option<&Bind<'_>>) {
    let Some(bind) = bind else { return };
    let visible = columns.len().saturating_sub(hidden);
    for (place, column) in columns.iter_mut().enumerate() {
        let is_own = place < visible || bind.result_formats.len() < 2;
        column.format = if is_own { bind.result_format(place) } else { Format::Text }.code();
    }
}

pub fn same_types(one: &[Column], other: &[Column]) -> bool {
    let type_of = |column: &Column| (column.type_oid, column.type_modifier);
    one.iter().map(type_of).eq(other.iter().map(type_of))
}
