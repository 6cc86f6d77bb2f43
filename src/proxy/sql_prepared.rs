//! SQL's PREPARE and EXECUTE on a sharded database.
//!
//! No server keeps what PREPARE makes: the client has it under its name, as if Parse had made it. EXECUTE is the
//! statement's text with values in the places of its parameters, which is planned and done as if the client had sent it.

use bytes::BytesMut;

use super::answer::Preface;
use super::client::Client;
use super::exchange::{Question, Reply};
use super::gather::without_places;
use super::outcome::Step;
use super::sharded::{Asked, HOME, Task};
use super::steps::{Described, description};
use super::values::Values;
use crate::route::plan::Access;
use crate::session::statements::Prepared;
use crate::sql::facts::Statement;
use crate::sql::prepared::{self, Argument, Execute, Prepare};
use crate::sql::schema::Schema;
use crate::types::{Error, Kind, Origin, Result, ShardId};
use crate::wire::backend;
use crate::wire::frontend::{self, Parse, Target};

/// The name of what a server is asked to prepare while it is asked about it.
const IN_PASSING: &str = "weir_prepared";

/// The arguments of a Bind that has none.
const NO_ARGUMENTS: &[u8] = &[0; 6];

impl Client {
    /// Does a PREPARE, and answers it.
    pub async fn prepare_by_sql(&mut self, schema: &Schema, task: &Task<'_>) -> Step {
        match self.keep_by_sql(schema, task).await {
            Ok(()) => {
                self.preface(task, &Preface::default());
                self.complete("PREPARE");
                self.answered(task)
            }
            Err(stop) => {
                self.fail_block();
                self.refused(stop, task)
            }
        }
    }

    async fn keep_by_sql(&mut self, schema: &Schema, task: &Task<'_>) -> Step {
        let Prepare { name, query, renamed } = prepared::prepare(task.text, IN_PASSING)?;
        if self.names.contains(name.as_bytes()) {
            let message = format!("prepared statement \"{name}\" already exists");
            return Err(Error::new(Origin::Client, Kind::DuplicateStatement, message).into());
        }
        let shard = self.describer_of(schema, &query)?;
        self.link(shard, Access::Primary { writes: false }).await?;
        let described = self.described_here(shard, prepared_by_sql(&renamed)).await?;
        self.prove_values(schema, shard, &query, &described).await?;
        let definition = frontend::definition(&query, &described.parameter_types);
        let body = [name.as_bytes(), b"\0", &definition].concat();
        let (sharing, born) = (self.sharing(), self.database.schema_changes());
        let prepared =
            self.known.prepared(&self.worker.instance.statement_ids, schema, &Parse::read(&body)?, sharing, born)?;
        if !prepared.is_repeatable() {
            return Err(Error::refuse(
                "PREPARE of a constant that is read from the clock is not supported on a sharded database",
                "The statement may have a literal such as 'now' or 'today', which PostgreSQL reads once.",
            )
            .hint("Use now(), CURRENT_DATE or a parameter.")
            .into());
        }
        self.names.set(name.as_bytes(), prepared);
        Ok(())
    }

    /// As [`Client::described_by`]; places in the text, which is not the client's, are left out of an error.
    async fn described_here(&mut self, shard: ShardId, messages: BytesMut) -> Step<Described> {
        match self.described_by(shard, messages).await? {
            Ok(described) => Ok(described),
            Err(error) => Err(self.passed_on(&without_places(&error))),
        }
    }

    /// The shard that knows all tables of a text.
    fn describer_of(&self, schema: &Schema, text: &str) -> Result<ShardId> {
        let mut literals = Vec::new();
        let facts = self.known.facts(schema, text, &mut literals);
        let values = Values { text, literals: &literals, bound: None };
        let task = Task { statement: only(&facts.statements)?, text, asked: Asked::Step, values };
        self.describer(schema, &task)
    }

    /// A server sees the statement with constants of the parameters' types in it, and says that it gives the same columns.
    async fn prove_values(&mut self, schema: &Schema, shard: ShardId, query: &str, described: &Described) -> Step {
        let types = &described.parameter_types;
        let text = prepared::with_values(query, types, &vec![None; types.len()], schema)?;
        let with_values = self.described_here(shard, description(&text, &[])).await?;
        if with_values.preface.columns == described.preface.columns {
            return Ok(());
        }
        Err(Error::refuse(
            "PREPARE of this statement is not supported on a sharded database",
            "A column would have another name or type with a value in the place of a parameter.",
        )
        .hint("Give the columns of all subqueries names.")
        .into())
    }

    /// Does an EXECUTE, or an EXPLAIN of one, and answers it.
    pub async fn execute_by_sql(&mut self, schema: &Schema, task: &Task<'_>) -> Step {
        if let Asked::Batch(_) = task.asked {
            return Err(Error::refuse(
                "EXECUTE by the extended protocol is not supported on a sharded database",
                "What the prepared statement gives is not described by the text.",
            )
            .hint("Send EXECUTE as a simple query, or bind the prepared statement itself.")
            .into());
        }
        let text = match self.executed_text(schema, task).await {
            Ok(text) => text,
            Err(stop) => {
                self.fail_block();
                return self.refused(stop, task);
            }
        };
        let mut literals = Vec::new();
        let facts = self.known.facts(schema, &text, &mut literals);
        let statement = only(&facts.statements)?;
        let mut message = BytesMut::new();
        frontend::query(&mut message, &text);
        let asked = if let Asked::Query(_) = task.asked { Asked::Query(&message) } else { task.asked };
        let plan = self.plan(schema, statement, &text, &literals, &[]).await?;
        let values = Values { text: &text, literals: &literals, bound: None };
        let task = Task { statement, text: &text, asked, values };
        Box::pin(self.perform(schema, plan, &task)).await
    }

    async fn executed_text(&mut self, schema: &Schema, task: &Task<'_>) -> Step<String> {
        let Execute { name, arguments } = prepared::execute(task.text)?;
        let prepared = self.statement(schema, name.as_bytes())?;
        self.check_constants(&name, &prepared)?;
        let query = prepared.text.as_deref().unwrap_or_default();
        let types = self.parameter_types(schema, &prepared, query).await?;
        if arguments.len() != types.len() {
            let message = format!("wrong number of parameters for prepared statement \"{name}\"");
            let detail = format!("Expected {} parameters but got {}.", types.len(), arguments.len());
            return Err(Error::new(Origin::Client, Kind::Syntax, message).detail(detail).into());
        }
        let plain = arguments.iter().zip(&types).map(|(argument, oid)| argument.value(*oid)).collect();
        let values = match plain {
            Some(values) => values,
            None => self.coerced(schema, &types, &arguments).await?,
        };
        Ok(prepared::executed(task.text, query, &types, &values, schema)?)
    }

    /// Constants are read as the session's settings said when the statement was prepared.
    fn check_constants(&self, name: &str, prepared: &Prepared) -> Result<()> {
        let reads_alike = !self.own_reading && prepared.standing.reading.as_ref() == Some(&self.known.reading);
        if reads_alike || !prepared.has_constants() {
            return Ok(());
        }
        Err(Error::refuse(
            format!("cannot execute prepared statement \"{name}\" under other settings"),
            "Settings that say how constants are read have changed since PREPARE.",
        )
        .hint("Deallocate the statement and prepare it again, or set the settings back."))
    }

    /// The types of all parameters. A client that prepares by Parse may leave them to the server.
    async fn parameter_types(&mut self, schema: &Schema, prepared: &Prepared, query: &str) -> Step<Vec<u32>> {
        let declared = &prepared.parameter_types;
        if declared.len() >= prepared::parameter_count(query)? && !declared.contains(&0) {
            return Ok(declared.clone());
        }
        let shard = self.describer_of(schema, query)?;
        self.link(shard, Access::Primary { writes: false }).await?;
        Ok(self.described_here(shard, description(query, declared)).await?.parameter_types)
    }

    /// The arguments' values in text format, as PostgreSQL makes them the parameters'.
    async fn coerced(&mut self, schema: &Schema, types: &[u32], arguments: &[Argument]) -> Step<Vec<Option<String>>> {
        let [prepare, execute] = prepared::coercion(IN_PASSING, types, arguments, schema)?;
        self.link(HOME, Access::Primary { writes: false }).await?;
        let mut bytes = BytesMut::new();
        run(&mut bytes, &prepare);
        run(&mut bytes, &execute);
        forget(&mut bytes);
        self.ask(HOME, &Question::messages(bytes)).await?;
        let (mut values, mut failure) = (Vec::new(), None);
        loop {
            match self.reply(HOME).await? {
                Reply::Row(body) => values = texts(&body)?,
                Reply::Error(body) => drop(failure.get_or_insert(body)),
                Reply::Ready(_) => break,
                _ => {}
            }
        }
        let Some(error) = failure else { return Ok(values) };
        let mut bytes = BytesMut::new();
        forget(&mut bytes);
        self.ask(HOME, &Question::messages(bytes)).await?;
        self.drain(HOME).await?;
        Err(self.passed_on(&without_places(&error)))
    }
}

fn only(statements: &[Statement]) -> Result<&Statement> {
    match statements {
        [statement] => Ok(statement),
        _ => Err(Error::internal("what is prepared is not one statement")),
    }
}

/// The messages that prepare a statement by SQL, ask what it takes and gives, and forget it.
fn prepared_by_sql(prepare: &str) -> BytesMut {
    let mut bytes = BytesMut::new();
    run(&mut bytes, prepare);
    frontend::describe(&mut bytes, Target::Statement(IN_PASSING.as_bytes()));
    forget(&mut bytes);
    bytes
}

fn run(bytes: &mut BytesMut, text: &str) {
    frontend::parse(bytes, b"", &frontend::definition(text, &[]));
    frontend::bind(bytes, b"", b"", NO_ARGUMENTS);
    frontend::execute(bytes, b"", 0);
}

/// Ends a batch. What was prepared does not stay with the server.
fn forget(bytes: &mut BytesMut) {
    frontend::close(bytes, Target::Statement(IN_PASSING.as_bytes()));
    frontend::sync(bytes);
}

fn texts(row: &[u8]) -> Result<Vec<Option<String>>> {
    let text = |value: &[u8]| {
        String::from_utf8(value.to_vec()).map_err(|_| Error::internal("an argument's value is not in UTF-8"))
    };
    backend::read_data_row(row)?.into_iter().map(|value| value.map(text).transpose()).collect()
}
