//! DECLARE, FETCH, MOVE and CLOSE on a sharded database: Weir keeps the rows, see [`crate::session::cursors`].

use bytes::Bytes;

use super::answer::{Preface, pass};
use super::batch::Request;
use super::client::Client;
use super::exchange::bound;
use super::outcome::Step;
use super::sharded::{Asked, Task, rows_max};
use super::steps::Form;
use super::values::Values;
use crate::session::cursors::{Cursor, CursorKind, Cursors};
use crate::session::transaction::Transaction;
use crate::sql::cursor::{CursorStatement, Direction, cursor_statement};
use crate::sql::facts::{Effects, Statement, StatementKind};
use crate::sql::schema::Schema;
use crate::types::{Error, Kind, Origin, Result, ShardId};
use crate::wire::backend::{self, tag};
use crate::wire::frame;
use crate::wire::frontend::{Format, Target};

/// Types whose values are the same bytes in text and in binary format: char, name, text, json, xml, unknown, char(n) and
/// varchar. Source: PostgreSQL's `pg_type.dat`, and the functions that it names.
const ALIKE_IN_BOTH_FORMATS: &[u32] = &[18, 19, 25, 114, 142, 705, 1042, 1043];

impl Client {
    /// Whether a statement is about a cursor that Weir keeps.
    pub fn is_about_own_cursor(&self, statement: &Statement, text: &str) -> bool {
        let Some(cursors) = self.cursors.as_ref().filter(|cursors| !cursors.is_empty()) else { return false };
        match statement.kind {
            StatementKind::Fetch | StatementKind::CloseCursor => match cursor_statement(statement.text(text)) {
                Ok(CursorStatement::Fetch { name, .. } | CursorStatement::Close { name: Some(name) }) => {
                    cursors.contains(&name)
                }
                Ok(CursorStatement::Close { name: None }) => true,
                Ok(CursorStatement::Declare { .. }) | Err(_) => false,
            },
            _ => false,
        }
    }

    /// Does a statement about cursors, and answers it.
    pub async fn cursor(&mut self, schema: &Schema, task: &Task<'_>) -> Step {
        match cursor_statement(task.text)? {
            CursorStatement::Declare { name, query, binary, scroll, hold } => {
                let kind = CursorKind { binary, scroll, hold };
                match self.declare(schema, (&name, &query), kind, task).await {
                    Ok(preface) => {
                        self.preface(task, &preface);
                        self.complete("DECLARE CURSOR");
                    }
                    Err(stop) => {
                        self.fail_block();
                        return self.refused(stop, task);
                    }
                }
            }
            CursorStatement::Fetch { name, direction, moves } => self.fetch(&name, direction, moves, task)?,
            CursorStatement::Close { name } => {
                let cursors = self.cursors.get_or_insert_default();
                let command = match &name {
                    Some(name) => {
                        cursors.close(name)?;
                        "CLOSE CURSOR"
                    }
                    None => {
                        cursors.close_all();
                        "CLOSE CURSOR ALL"
                    }
                };
                self.preface(task, &Preface::default());
                self.complete(command);
            }
        }
        self.answered(task)
    }

    /// Answers a batch that prepares and describes a FETCH of a cursor that Weir keeps, and does nothing else. Gives false for
    /// any other batch.
    ///
    /// # Errors
    /// There is no such cursor any more.
    pub fn describe_fetch(&mut self, requests: &[Request<'_>]) -> Result<bool> {
        if self.cursors.is_none() {
            return Ok(false);
        }
        let described = requests.iter().find_map(|request| match request {
            Request::DescribeStatement { prepared, .. } => Some(prepared),
            _ => None,
        });
        let only = |request: &Request<'_>| {
            matches!(
                request,
                Request::Parse { .. } | Request::DescribeStatement { .. } | Request::Flush | Request::Sync
            )
        };
        let (Some(prepared), true) = (described, requests.iter().all(only)) else { return Ok(false) };
        let text = prepared.text.as_deref().unwrap_or_default();
        let [statement] = prepared.facts.statements.as_slice() else { return Ok(false) };
        if statement.kind != StatementKind::Fetch || !self.is_about_own_cursor(statement, text) {
            return Ok(false);
        }
        let CursorStatement::Fetch { name, moves, .. } = cursor_statement(statement.text(text))? else {
            return Ok(false);
        };
        let columns = self.cursors.get_or_insert_default().named(&name)?.columns.clone();
        let preface = Preface { parameters: None, columns: (!moves).then_some(columns) };
        let task = Task { statement, text, asked: Asked::Batch(requests), values: Values::default() };
        self.preface(&task, &preface);
        if requests.iter().any(|request| matches!(request, Request::Sync)) {
            self.ready();
        }
        Ok(true)
    }

    async fn declare(
        &mut self,
        schema: &Schema,
        (name, query): (&str, &str),
        kind: CursorKind,
        task: &Task<'_>,
    ) -> Step<Preface> {
        if !kind.hold && self.block.is_none() {
            let message = "DECLARE CURSOR can only be used in transaction blocks";
            return Err(Error::new(Origin::Client, Kind::NoActiveTransaction, message).into());
        }
        if task.statement.effects.contains(Effects::LOCKS) {
            return Err(Error::refuse(
                "DECLARE CURSOR ... FOR UPDATE is not supported on a sharded database",
                "Weir keeps a cursor's rows, and would give them as they were when it was declared.",
            )
            .hint("Lock the rows by SELECT ... FOR UPDATE.")
            .into());
        }
        let cursors = self.cursors.get_or_insert_default();
        cursors.check_new(name)?;
        let form = if kind.binary || wants_binary(task)? { Form::Binary } else { Form::Text };
        let described = self.described_first(schema, query, task).await?;
        let rows = self.step(schema, query, form, Some(&described), task).await?;
        let Some(columns) = rows.description else {
            return Err(Error::refuse("DECLARE CURSOR needs a query that gives rows", "The query gives none.").into());
        };
        self.keep_cursor(name, kind, columns, rows.rows)?;
        Ok(Preface { parameters: described.preface.parameters, columns: None })
    }

    fn keep_cursor(&mut self, name: &str, kind: CursorKind, columns: Bytes, rows: Vec<Bytes>) -> Result<()> {
        let savepoints = self.block.as_ref().map(Transaction::savepoints);
        let cursor = Cursor::new(columns, rows, kind, savepoints);
        let memory_max = self.worker.instance.config.pool.merge_memory;
        let cursors = self.cursors.get_or_insert_default();
        if cursors.size().saturating_add(cursor.size()) > memory_max {
            return Err(Error::new(
                Origin::Client,
                Kind::LimitExceeded,
                "a cursor on a sharded database has too many rows",
            )
            .detail(format!("Weir keeps at most {memory_max} bytes of a session's cursors (merge_memory in [pool])."))
            .hint("Read the rows without a cursor, close others, or raise merge_memory."));
        }
        cursors.add(name, cursor);
        Ok(())
    }

    /// The shard whose server has the portal that a batch is about.
    pub fn portal_elsewhere(&self, requests: &[Request<'_>]) -> Option<ShardId> {
        let cursors = self.cursors.as_ref()?;
        requests.iter().find_map(|request| {
            let name = match request {
                Request::Execute { portal, .. } | Request::DescribePortal { portal, .. } => {
                    String::from_utf8_lossy(portal).into_owned()
                }
                other => closed_portal(other)?,
            };
            cursors.elsewhere(&name)
        })
    }

    /// Notes the portals that a batch opens on a shard, which later ones in the same block may be about.
    pub fn note_portals(&mut self, requests: &[Request<'_>], shard: ShardId) {
        for request in requests.iter().filter(|_| self.block.is_some()) {
            if let Request::Bind { portal, .. } = request
                && !portal.is_empty()
            {
                self.cursors.get_or_insert_default().note_elsewhere(&String::from_utf8_lossy(portal), shard);
            }
        }
    }

    /// Whether a batch opens a portal from which the client means to take rows more than once.
    pub fn opens_portal(&self, requests: &[Request<'_>]) -> bool {
        let is_named = |request: &Request<'_>| matches!(request, Request::Bind { portal, .. } if !portal.is_empty());
        self.block.is_some() && rows_max(requests) > 0 && requests.iter().any(is_named)
    }

    /// Opens such a portal over several shards, and gives its first rows.
    pub async fn open_portal(&mut self, schema: &Schema, task: &Task<'_>) -> Step {
        match self.fill_portal(schema, task).await {
            Ok((name, preface)) => {
                self.preface(task, &preface);
                let Asked::Batch(requests) = task.asked else {
                    return Err(Error::internal("a portal of a Query").into());
                };
                self.execute_portal(&name, rows_max(requests))?;
                self.answered(task)
            }
            Err(stop) => {
                self.fail_block();
                self.refused(stop, task)
            }
        }
    }

    async fn fill_portal(&mut self, schema: &Schema, task: &Task<'_>) -> Step<(String, Preface)> {
        let Asked::Batch(requests) = task.asked else { return Err(Error::internal("a portal of a Query").into()) };
        let name = requests.iter().find_map(|request| match request {
            Request::Bind { portal, .. } => Some(String::from_utf8_lossy(portal).into_owned()),
            _ => None,
        });
        let name = name.unwrap_or_default();
        self.cursors.get_or_insert_default().check_new(&name)?;
        let described = self.described_first(schema, task.text, task).await?;
        let rows = self.step(schema, task.text, Form::Own, Some(&described), task).await?;
        let columns = rows.description.ok_or_else(|| Error::internal("a portal of a statement without rows"))?;
        let kind = CursorKind { scroll: Some(false), ..CursorKind::default() };
        self.keep_cursor(&name, kind, columns, rows.rows)?;
        Ok((name, described.preface))
    }

    /// The next rows of a portal, zero standing for all, and how that ended.
    fn execute_portal(&mut self, name: &str, rows_max: u32) -> Result<()> {
        let cursor = self.cursors.get_or_insert_default().named(name)?;
        let rows = cursor.fetch(Direction::Forward((rows_max > 0).then_some(i64::from(rows_max))))?;
        for row in &rows {
            pass(self.conn.queue(), tag::DATA_ROW, row);
        }
        if rows_max > 0 && usize::try_from(rows_max) == Ok(rows.len()) {
            backend::bare(self.conn.queue(), tag::PORTAL_SUSPENDED);
        } else {
            self.complete(&format!("SELECT {}", rows.len()));
        }
        Ok(())
    }

    /// Answers what a batch asks of portals that Weir keeps: those that it closes first, and all of it if it does nothing
    /// else. Gives whether it did nothing else.
    ///
    /// # Errors
    /// The block has failed.
    pub fn serve_portals(&mut self, requests: &mut Vec<Request<'_>>) -> Result<bool> {
        let Some(cursors) = self.cursors.as_mut().filter(|cursors| !cursors.is_empty()) else { return Ok(false) };
        let mut closed = 0;
        while let Some(name) = requests.get(closed).and_then(closed_portal).filter(|name| cursors.contains(name)) {
            cursors.close(&name)?;
            backend::bare(self.conn.queue(), tag::CLOSE_COMPLETE);
            closed += 1;
        }
        drop(requests.drain(..closed));
        let is_own = |request: &Request<'_>| match request {
            Request::Execute { portal, .. } | Request::DescribePortal { portal, .. } => {
                cursors.contains(&String::from_utf8_lossy(portal))
            }
            Request::ClosePortal { .. } => closed_portal(request).is_some_and(|name| cursors.contains(&name)),
            Request::Flush | Request::Sync => true,
            _ => false,
        };
        let asks = requests.iter().any(|request| !matches!(request, Request::Flush | Request::Sync));
        if !(asks || closed > 0) || !requests.iter().all(is_own) {
            return Ok(false);
        }
        if asks && self.block.as_ref().is_some_and(Transaction::is_failed) {
            return Err(self.why_failed());
        }
        for request in requests.iter() {
            match request {
                Request::Execute { portal, max_rows, .. } => {
                    self.execute_portal(&String::from_utf8_lossy(portal), *max_rows)?;
                }
                Request::DescribePortal { portal, .. } => {
                    let cursor = self.cursors.get_or_insert_default().named(&String::from_utf8_lossy(portal))?;
                    let columns = cursor.columns.clone();
                    pass(self.conn.queue(), tag::ROW_DESCRIPTION, &columns);
                }
                Request::ClosePortal { .. } => {
                    let name = closed_portal(request).unwrap_or_default();
                    self.cursors.get_or_insert_default().close(&name)?;
                    backend::bare(self.conn.queue(), tag::CLOSE_COMPLETE);
                }
                Request::Sync => self.ready(),
                _ => {}
            }
        }
        Ok(true)
    }

    fn fetch(&mut self, name: &str, direction: Direction, moves: bool, task: &Task<'_>) -> Result<()> {
        let cursor = self.cursors.get_or_insert_default().named(name)?;
        let columns = (!moves).then(|| asked_columns(cursor, task)).transpose()?;
        let rows = cursor.fetch(direction)?;
        self.preface(task, &Preface { parameters: None, columns });
        for row in rows.iter().filter(|_| !moves) {
            pass(self.conn.queue(), tag::DATA_ROW, row);
        }
        let verb = if moves { "MOVE" } else { "FETCH" };
        self.complete(&format!("{verb} {}", rows.len()));
        Ok(())
    }

    /// A transaction of the client's ended.
    pub fn end_cursors(&mut self, committed: bool) {
        if let Some(cursors) = &mut self.cursors {
            cursors.end_transaction(committed);
        }
    }

    /// What becomes of cursors where the open transaction lost savepoints.
    pub fn cursors_follow(&mut self, change: impl Fn(&mut Cursors, usize)) {
        if let (Some(cursors), Some(block)) = (&mut self.cursors, &self.block) {
            change(cursors, block.savepoints());
        }
    }
}

/// The name of the portal that a request closes.
fn closed_portal(request: &Request<'_>) -> Option<String> {
    let Request::ClosePortal { raw } = request else { return None };
    match Target::read(raw.get(frame::HEADER_LEN..)?).ok()? {
        Target::Portal(name) => Some(String::from_utf8_lossy(name).into_owned()),
        Target::Statement(_) => None,
    }
}

/// Whether the client asks for binary results where it declares a cursor: those of its rows will be asked for so, too.
fn wants_binary(task: &Task<'_>) -> Result<bool> {
    let Asked::Batch(requests) = task.asked else { return Ok(false) };
    Ok(bound(requests)?.1.result_formats == [Format::Binary])
}

/// The RowDescription of a cursor's rows.
///
/// # Errors
/// Refuses another format than that in which they are kept.
fn asked_columns(cursor: &Cursor, task: &Task<'_>) -> Result<Bytes> {
    let kept = &cursor.columns;
    let bind = match task.asked {
        Asked::Batch(requests) => Some(bound(requests)?.1),
        Asked::Query(_) | Asked::Step if cursor.kind.binary => return Ok(kept.clone()),
        Asked::Query(_) | Asked::Step => None,
    };
    let columns = backend::read_row_description(kept)?;
    let differs = |(place, column): (usize, &backend::Column)| {
        let asked = bind.as_ref().map_or(Format::Text, |bind| bind.result_format(place));
        asked.code() != column.format && !ALIKE_IN_BOTH_FORMATS.contains(&column.type_oid)
    };
    match columns.iter().enumerate().find(|(place, column)| differs((*place, column))) {
        None => Ok(kept.clone()),
        Some((_, column)) => Err(Error::refuse(
            "a cursor on a sharded database gives its rows in one format",
            format!(
                "Column \"{}\" was declared in another format than it is asked for.",
                String::from_utf8_lossy(&column.name)
            ),
        )
        .hint("Declare the cursor with BINARY for results in binary format, and without it for results as text.")),
    }
}
