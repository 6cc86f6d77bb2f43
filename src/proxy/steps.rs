//! Statements that are done in steps: a query gives rows or values, which Weir keeps, and then they are written where they
//! belong. Each step is planned and done like a statement of the client's; what is said to the client meanwhile is kept and
//! read.

use std::rc::Rc;

use bytes::{Bytes, BytesMut};

use super::answer::{Preface, pass};
use super::batch::Request;
use super::client::Client;
use super::exchange::{Question, Reply, bound};
use super::gather::without_places;
use super::outcome::{Step, Stop};
use super::sharded::{Asked, HOME, Task, parameters};
use super::spread::rows_affected;
use super::values::Values;
use crate::merge::spec::MergeSpec;
use crate::route::plan::{Access, Action, Spread};
use crate::session::statements::StatementId;
use crate::sql::collected::{Collected, SourceRow};
use crate::sql::computed::{self, Computed};
use crate::sql::facts::{Effects, RelationName, StatementKind};
use crate::sql::schema::Schema;
use crate::sql::sources::{SourceRows, Sources};
use crate::sql::subqueries::{Answer, answered};
use crate::types::{Error, Kind, Origin, Result, ShardId};
use crate::wire::backend::{self, tag};
use crate::wire::frame::{self, Sender};
use crate::wire::frontend::{self, Bind, Target};

/// How many rows one INSERT gets; more are inserted by several, in the same transaction.
const ROWS_PER_INSERT: usize = 1000;

/// The statement of a step that is a part of none which has a number.
const NO_STATEMENT: StatementId = StatementId(0);

/// The body of a Bind without parameters.
const NO_ARGUMENTS: &[u8] = &[0; 8];

/// How many rows a statement gets that needs all of them at once.
const ROWS_AT_ONCE_MAX: usize = 50_000;

/// What a statement takes and gives.
pub struct Described {
    pub preface: Preface,
    pub parameter_types: Vec<u32>,
}

/// What one step said.
#[derive(Default)]
pub struct Said {
    /// The body of its RowDescription.
    pub description: Option<Bytes>,
    /// The types of its columns.
    columns: Vec<u32>,
    /// The bodies of its DataRows.
    pub rows: Vec<Bytes>,
    /// The number in its command tag.
    count: u64,
    /// The body of its ErrorResponse.
    error: Option<Bytes>,
    /// The bodies of its NoticeResponses.
    notices: Vec<Bytes>,
}

/// In which form a step's rows come.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Text,
    Binary,
    /// As the client asks for the rows of its own statement.
    Own,
}

impl Client {
    /// Does both steps, and answers.
    pub async fn collected(&mut self, schema: &Schema, collected: &Collected, task: &Task<'_>) -> Step {
        let own = self.begin_own();
        let written = self.collect_and_insert(schema, collected, task).await;
        self.answer_written(own, written, task).await
    }

    /// Does another statement that means the same, and answers as the client's own.
    pub async fn instead(&mut self, schema: &Schema, text: &str, task: &Task<'_>) -> Step {
        let facts = self.known.facts(schema, text, &mut Vec::new());
        if facts.statements.first().is_some_and(|statement| statement.kind == task.statement.kind) {
            return self.filled(schema, text.to_owned(), task).await;
        }
        let own = self.begin_own();
        let written = self.describe_and_do(schema, text, task).await;
        self.answer_written(own, written, task).await
    }

    async fn describe_and_do(&mut self, schema: &Schema, text: &str, task: &Task<'_>) -> Step<(Preface, Said)> {
        let described = self.described_first(schema, task.text, task).await?;
        let said = self.step(schema, text, Form::Own, Some(&described), task).await?;
        Ok((described.preface, said))
    }

    /// Asks the subqueries of a write, writes their answers into it, and does that.
    pub async fn with_subqueries(&mut self, schema: &Schema, queries: &[String], task: &Task<'_>) -> Step {
        let own = self.begin_own();
        let written = self.ask_subqueries_and_write(schema, queries, task).await;
        self.answer_written(own, written, task).await
    }

    async fn ask_subqueries_and_write(
        &mut self,
        schema: &Schema,
        queries: &[String],
        task: &Task<'_>,
    ) -> Step<(Preface, Said)> {
        let described = self.described_first(schema, task.text, task).await?;
        let said = self.ask_all(schema, queries, &described, task).await?;
        let answers: Vec<Answer<'_>> = said.iter().map(Said::answer).collect::<Result<_>>()?;
        let text = answered(task.text, &answers, schema)?;
        drop(said);
        let said = self.step(schema, &text, Form::Own, Some(&described), task).await?;
        Ok((described.preface, said))
    }

    /// Asks the sources of a write for their rows, writes them into it, and does that.
    pub async fn with_sources(&mut self, schema: &Schema, sources: &Sources, task: &Task<'_>) -> Step {
        // What has looked at temporary tables cannot be prepared; and nobody else changes the session's own meanwhile.
        let apart = self.block.is_none() && self.reads_only_temporary(schema, &sources.queries);
        let asked = if apart { self.ask_sources(schema, sources, task).await.map(Some) } else { Ok(None) };
        let own = self.begin_own();
        let written = match asked {
            Ok(asked) => self.meet_and_write(schema, sources, asked, task).await,
            Err(stop) => Err(stop),
        };
        self.answer_written(own, written, task).await
    }

    /// Whether queries read temporary tables and nothing else.
    fn reads_only_temporary(&mut self, schema: &Schema, queries: &[String]) -> bool {
        let is_temporary = |name: &RelationName| {
            name.schema.as_deref().is_none_or(|schema| schema == "pg_temp") && self.temporary.names.contains(&name.name)
        };
        queries.iter().all(|query| {
            let facts = self.known.facts(schema, query, &mut Vec::new());
            let mut relations = facts.statements.iter().flat_map(|statement| &statement.relations).peekable();
            relations.peek().is_some() && relations.all(|used| is_temporary(&used.name))
        })
    }

    async fn ask_sources(
        &mut self,
        schema: &Schema,
        sources: &Sources,
        task: &Task<'_>,
    ) -> Step<(Described, Vec<Said>)> {
        let described = self.described_first(schema, task.text, task).await?;
        let said = self.ask_all(schema, &sources.queries, &described, task).await?;
        Ok((described, said))
    }

    async fn meet_and_write(
        &mut self,
        schema: &Schema,
        sources: &Sources,
        asked: Option<(Described, Vec<Said>)>,
        task: &Task<'_>,
    ) -> Step<(Preface, Said)> {
        let (described, said) = match asked {
            Some(asked) => asked,
            None => self.ask_sources(schema, sources, task).await?,
        };
        let rows: Vec<SourceRows<'_>> = said.iter().map(source_rows).collect::<Result<_>>()?;
        let count = rows.first().map_or(0, |source| source.answer.rows.len());
        let numbers = match sources.numbers.as_ref().and_then(|numbers| numbers.question(count)) {
            Some(question) => self.values_at_home(&Question::query(&question)).await?,
            None => Vec::new(),
        };
        let numbers: Vec<_> = numbers.iter().map(|row| backend::read_data_row(row)).collect::<Result<_>>()?;
        let text = sources.with_rows(task.text, rows, &numbers, schema)?;
        drop((said, numbers));
        let said = self.step(schema, &text, Form::Own, Some(&described), task).await?;
        Ok((described.preface, said))
    }

    /// What each of some queries says, which are parts of a statement.
    ///
    /// # Errors
    /// Refuses temporary tables whose columns have collations of their own: what they gave would not have them any more.
    async fn ask_all(
        &mut self,
        schema: &Schema,
        queries: &[String],
        described: &Described,
        task: &Task<'_>,
    ) -> Step<Vec<Said>> {
        if let Some(question) = self.collations_of_temporary(task) {
            self.link(HOME, Access::Primary { writes: false }).await?;
            self.ask(HOME, &Question::query(&question)).await?;
            if !self.answer(HOME).await?.into_rows().is_empty() {
                return Err(collated_temporary().into());
            }
        }
        let mut said = Vec::with_capacity(queries.len());
        for query in queries {
            said.push(self.step(schema, query, Form::Text, Some(described), task).await?);
        }
        Ok(said)
    }

    /// A query that gives rows if temporary tables of the statement have columns with collations of their own.
    fn collations_of_temporary(&self, task: &Task<'_>) -> Option<String> {
        let names = task.statement.relations.iter().map(|used| &used.name.name);
        let names: Vec<String> = names
            .filter(|name| self.temporary.names.contains(*name))
            .map(|name| postgres_protocol::escape::escape_literal(name))
            .collect();
        (!names.is_empty()).then(|| {
            format!(
                "SELECT 1 FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid \
                 JOIN pg_catalog.pg_type t ON t.oid = a.atttypid WHERE c.relnamespace = pg_catalog.pg_my_temp_schema() \
                 AND c.relname::text IN ({}) AND a.attcollation NOT IN (0, 100) \
                 AND (t.typtype = 'd' OR a.attcollation <> t.typcollation) LIMIT 1",
                names.join(", ")
            )
        })
    }

    /// Ends a write that was done in a transaction of its own, and answers.
    async fn answer_written(&mut self, own: bool, written: Step<(Preface, Said)>, task: &Task<'_>) -> Step {
        let verb = match task.statement.kind {
            StatementKind::Insert => "INSERT 0",
            StatementKind::Update => "UPDATE",
            StatementKind::Merge => "MERGE",
            _ => "DELETE",
        };
        let (preface, said) = match self.end_own(own, written).await {
            Ok(written) => written,
            Err(stop) => return self.refused(stop, task),
        };
        self.preface(task, &preface);
        for row in &said.rows {
            pass(self.conn.queue(), tag::DATA_ROW, row);
        }
        self.complete(&format!("{verb} {}", said.count));
        self.answered(task)
    }

    /// Asks for values of an INSERT's rows, writes them into it, and does that.
    pub async fn computed(&mut self, schema: &Schema, computed: &Computed, task: &Task<'_>) -> Step {
        let questions = computed.questions(task.text)?;
        let reads_tables = questions.iter().any(|question| {
            let facts = self.known.facts(schema, &question.text, &mut Vec::new());
            facts.statements.iter().any(|statement| !statement.relations.is_empty())
        });
        let takes_parameters = questions.iter().any(|question| question.text.contains('$'));
        // What is read and what is written belong to one transaction, and parameters may be needed by the question only.
        if reads_tables || takes_parameters {
            let own = self.begin_own();
            let written = self.compute_and_insert(schema, computed, &questions, task).await;
            return self.answer_written(own, written, task).await;
        }
        match self.compute(schema, computed, &questions, None, task).await {
            Ok(text) => self.filled(schema, text, task).await,
            Err(stop) => {
                self.fail_block();
                self.refused(stop, task)
            }
        }
    }

    async fn compute_and_insert(
        &mut self,
        schema: &Schema,
        computed: &Computed,
        questions: &[computed::Question],
        task: &Task<'_>,
    ) -> Step<(Preface, Said)> {
        let described = self.described_first(schema, task.text, task).await?;
        let text = self.compute(schema, computed, questions, Some(&described), task).await?;
        let said = self.step(schema, &text, Form::Own, Some(&described), task).await?;
        Ok((described.preface, said))
    }

    /// The statement with its values in it.
    async fn compute(
        &mut self,
        schema: &Schema,
        computed: &Computed,
        questions: &[computed::Question],
        described: Option<&Described>,
        task: &Task<'_>,
    ) -> Step<String> {
        self.link(HOME, Access::Primary { writes: false }).await?;
        if described.is_none() && computed.has_expressions() {
            self.described_first(schema, task.text, task).await?;
        }
        let mut values = vec![None; computed.cells.len()];
        for question in questions {
            let said = self.step(schema, &question.text, Form::Text, described, task).await?;
            let row = said.rows.first().map(|row| backend::read_data_row(row)).transpose()?.unwrap_or_default();
            for (cell, value) in question.cells.iter().zip(row) {
                let text = value.map(|value| String::from_utf8(value.to_vec())).transpose();
                values[*cell] = text.map_err(|_| Error::internal("a computed value is not in UTF-8"))?;
            }
        }
        Ok(computed.fill(task.text, &values)?)
    }

    async fn collect_and_insert(
        &mut self,
        schema: &Schema,
        collected: &Collected,
        task: &Task<'_>,
    ) -> Step<(Preface, Said)> {
        let described = self.described_first(schema, task.text, task).await?;
        let mut source = self.step(schema, &collected.source, Form::Text, Some(&described), task).await?;
        let rows: Vec<SourceRow<'_>> =
            source.rows.iter().map(|row| backend::read_data_row(row)).collect::<Result<_>>()?;
        let rows = collected.new_rows(&mut source.columns, rows)?;
        let at_once = if collected.at_once { ROWS_AT_ONCE_MAX } else { ROWS_PER_INSERT };
        if collected.at_once && rows.len() > at_once {
            return Err(too_many_at_once(rows.len()).into());
        }
        let mut all = Said::default();
        for some in rows.chunks(at_once) {
            let text = collected.insert(&source.columns, some, schema)?;
            let said = self.step(schema, &text, Form::Own, Some(&described), task).await?;
            all.rows.extend(said.rows);
            all.count += said.count;
        }
        Ok((described.preface, all))
    }

    /// What a statement with the client's parameters takes and gives, by the word of a server that knows all its tables. It finds
    /// mistakes, too, that the steps do not have.
    pub async fn described_first(&mut self, schema: &Schema, text: &str, task: &Task<'_>) -> Step<Described> {
        let shard = self.describer(schema, task)?;
        self.link(shard, Access::Primary { writes: false }).await?;
        let declared = match task.asked {
            Asked::Batch(requests) => bound(requests)?.0.parameter_types.clone(),
            Asked::Query(_) | Asked::Step => Vec::new(),
        };
        match self.described_by(shard, description(text, &declared)).await? {
            Ok(described) => Ok(described),
            Err(error) => Err(self.passed_on(&error)),
        }
    }

    /// What the only statement that messages describe takes and gives, by the word of a shard's server; or the body of the
    /// server's ErrorResponse.
    pub async fn described_by(&mut self, shard: ShardId, messages: BytesMut) -> Step<Result<Described, Bytes>> {
        self.ask(shard, &Question::messages(messages)).await?;
        let mut preface = Preface::default();
        let mut failure = None;
        loop {
            match self.reply(shard).await? {
                Reply::ParameterDescription(body) => {
                    preface.parameters = Some(self.with_home_oids(shard, tag::PARAMETER_DESCRIPTION, body)?);
                }
                Reply::RowDescription(body) => {
                    preface.columns = Some(self.with_home_oids(shard, tag::ROW_DESCRIPTION, body)?);
                }
                Reply::Error(body) => drop(failure.get_or_insert(body)),
                Reply::Ready(_) => break,
                _ => {}
            }
        }
        if let Some(error) = failure {
            return Ok(Err(error));
        }
        let parameter_types = match &preface.parameters {
            Some(body) => backend::read_parameter_description(body)?,
            None => Vec::new(),
        };
        Ok(Ok(Described { preface, parameter_types }))
    }

    /// Does a statement that is a part of the client's own, with the parameters of that where those were `described`.
    pub async fn step(
        &mut self,
        schema: &Schema,
        text: &str,
        form: Form,
        described: Option<&Described>,
        task: &Task<'_>,
    ) -> Step<Said> {
        let unsent = std::mem::take(self.conn.queue());
        self.keeps_output = true;
        let done = self.plan_and_perform(schema, text, form, described, task).await;
        self.keeps_output = false;
        let said = std::mem::replace(self.conn.queue(), unsent);
        let said = read(said.freeze())?;
        said.notices.iter().for_each(|body| pass(self.conn.queue(), tag::NOTICE_RESPONSE, body));
        match (&said.error, done) {
            (Some(error), Ok(()) | Err(Stop::Told)) => Err(self.passed_on(&without_places(error))),
            (_, Err(stop)) => Err(stop),
            (None, Ok(())) => Ok(said),
        }
    }

    async fn plan_and_perform(
        &mut self,
        schema: &Schema,
        text: &str,
        form: Form,
        described: Option<&Described>,
        task: &Task<'_>,
    ) -> Step {
        let (id, bind, described) = match (task.asked, described) {
            (Asked::Batch(requests), Some(described)) => {
                let (own, bind) = bound(requests)?;
                (own.id, bind, described)
            }
            // Only the extended protocol can ask for it.
            (_, Some(described)) if form == Form::Binary => (NO_STATEMENT, Bind::read(NO_ARGUMENTS)?, described),
            _ => return self.perform_step(schema, text, None, Asked::Step).await,
        };
        let prepared = Rc::new(self.known.in_passing(schema, id, text, &described.parameter_types));
        let arguments = match form {
            Form::Text => bind.for_text(bind.arguments.to_vec()),
            Form::Binary => bind.for_binary(bind.arguments.to_vec()),
            Form::Own => bind.arguments.to_vec(),
        };
        // No portal, no name.
        let body = [&[0, 0], arguments.as_slice()].concat();
        let requests = [
            Request::Bind { portal: b"", name: b"", prepared, arguments: &arguments, body: &body },
            Request::DescribePortal { portal: b"", raw: b"" },
            Request::Execute { portal: b"", max_rows: 0, raw: b"" },
            Request::Sync,
        ];
        self.perform_step(schema, text, Some(&body), Asked::Batch(&requests)).await
    }

    async fn perform_step(&mut self, schema: &Schema, text: &str, bound: Option<&[u8]>, asked: Asked<'_>) -> Step {
        let mut literals = Vec::new();
        let facts = self.known.facts(schema, text, &mut literals);
        let [statement] = facts.statements.as_slice() else {
            return Err(Error::internal("a part of a statement is not one").into());
        };
        let values = Values { text, literals: &literals, bound };
        let task = Task { statement, text, asked, values };
        let plan = self.plan(schema, statement, text, &literals, &parameters(&task)?).await?;
        match plan.action {
            Action::One { part, access } if statement.kind == StatementKind::Select => {
                if statement.effects.contains(Effects::WRITES_ROWS) {
                    return Err(writing_query().into());
                }
                self.note(statement, &task.values);
                Box::pin(self.fan(schema, &[part], &MergeSpec::default(), access, &task)).await
            }
            Action::One { part, .. } => {
                Box::pin(self.spread(&Spread::on_one(part.shard, text, statement)?, &task)).await
            }
            _ => Box::pin(self.perform(schema, plan, &task)).await,
        }
    }
}

/// The messages that ask what a text takes and gives.
pub fn description(text: &str, declared: &[u32]) -> BytesMut {
    let mut bytes = BytesMut::new();
    frontend::parse(&mut bytes, b"", &frontend::definition(text, declared));
    frontend::describe(&mut bytes, Target::Statement(b""));
    frontend::sync(&mut bytes);
    bytes
}

impl Said {
    /// Its rows as values.
    fn answer(&self) -> Result<Answer<'_>> {
        let rows = self.rows.iter().map(|row| backend::read_data_row(row)).collect::<Result<_>>()?;
        Ok(Answer { columns: self.columns.clone(), rows })
    }
}

/// The rows that a source gave, with their columns' names.
fn source_rows(said: &Said) -> Result<SourceRows<'_>> {
    if said.rows.len() > ROWS_AT_ONCE_MAX {
        return Err(too_many_met(said.rows.len()));
    }
    let columns = said.description.as_deref().map(backend::read_row_description).transpose()?.unwrap_or_default();
    let name = |column: backend::Column| String::from_utf8_lossy(&column.name).into_owned();
    Ok(SourceRows { names: columns.into_iter().map(name).collect(), answer: said.answer()? })
}

/// What a step said, message by message.
fn read(mut bytes: Bytes) -> Result<Said> {
    let mut said = Said::default();
    while let Some(frame) = frame::first(&bytes, Sender::Server)? {
        let (kind, len) = (frame.tag, frame.raw.len());
        let body = bytes.split_to(len).slice(frame::HEADER_LEN..);
        match kind {
            tag::ROW_DESCRIPTION => {
                said.columns = backend::read_row_description(&body)?.iter().map(|column| column.type_oid).collect();
                said.description = Some(body);
            }
            tag::DATA_ROW => said.rows.push(body),
            tag::COMMAND_COMPLETE => said.count = rows_affected(&body)?,
            tag::ERROR_RESPONSE => drop(said.error.get_or_insert(body)),
            tag::NOTICE_RESPONSE => said.notices.push(body),
            _ => {}
        }
    }
    Ok(said)
}

fn too_many_at_once(count: usize) -> Error {
    Error::new(Origin::Client, Kind::LimitExceeded, "too many rows for one INSERT with ON CONFLICT")
        .detail(format!("The query gives {count} rows; {ROWS_AT_ONCE_MAX} can be inserted at once on other shards."))
        .hint("Insert fewer rows at a time.")
}

fn collated_temporary() -> Error {
    Error::refuse(
        "cannot ask for the rows of other tables before they are written",
        "A temporary table has a column with a collation of its own.",
    )
    .hint("Read the rows first, and send them as VALUES.")
}

fn too_many_met(count: usize) -> Error {
    Error::new(Origin::Client, Kind::LimitExceeded, "too many rows for a write that meets rows of other shards")
        .detail(format!("A source of it gives {count} rows; {ROWS_AT_ONCE_MAX} can be sent to other shards at once."))
        .hint("Restrict the source, or write fewer rows at a time.")
}

fn writing_query() -> Error {
    Error::refuse(
        "cannot write rows on other shards than those they are read from",
        "The query that gives the rows writes.",
    )
    .hint("Read the rows first, and insert them with VALUES.")
}
