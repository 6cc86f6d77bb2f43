//! COPY FROM STDIN into tables of several shards: the client's rows are given to their shards, and kept by all of them or
//! by none.
//!
//! Outside of a block they have a transaction of their own, in a block they are part of the client's. Values that the rows
//! lack and that must come from one place, such as numbers of sequences, are asked from the home shard while rows come; that
//! server cannot take rows meanwhile, so its own are held back.
//!
//! PostgreSQL fails at the first bad line. Here each shard fails at its own first; all are let say theirs, and the client
//! reads the error of the line that comes first in its data, with the number that the line has there. A row that Weir cannot
//! give to a shard goes to any, which says what is wrong with it.

mod streams;

use std::future::poll_fn;
use std::task::Poll;

use bytes::{Bytes, BytesMut};

use self::streams::{Failure, Stream};
use super::answer::{Preface, pass};
use super::client::Client;
use super::exchange::Question;
use super::outcome::{Step, Stop};
use super::sharded::{Asked, HOME, Task};
use crate::pool::server::lost;
use crate::route::copy::{Added, CopyIn, Destination};
use crate::types::{Error, Kind, Origin, Result, ShardId};
use crate::wire::backend::{self, tag};
use crate::wire::copy::{Piece, Rows};
use crate::wire::frame::{self, Sender};
use crate::wire::frontend;

/// Rows that go on together: to a server in one message, or to the home shard with the question for their values.
pub const PIECE_BYTES: usize = 64 * 1024;

/// A COPY that is under way.
struct Copying<'t> {
    copy: CopyIn,
    /// The shards' COPY.
    text: &'t str,
    rows: Rows,
    heading: Bytes,
    heading_lines: u64,
    /// The number of the last line of what was cut off `rows`.
    line: u64,
    streams: Vec<Stream>,
    /// Rows that lack values, each with the number of its last line.
    incomplete: Vec<(Bytes, u64)>,
    incomplete_bytes: usize,
    failures: Vec<Failure>,
    /// Where Weir itself found the data to be wrong.
    bad_line: Option<u64>,
}

/// What a client sends after COPY FROM STDIN.
enum Sent {
    Data(BytesMut),
    Done,
    Fail(String),
}

/// Who has something to say.
enum News {
    Client,
    ClientGone,
    Server(ShardId),
    ServerLost(ShardId, std::io::Error),
}

impl Client {
    /// Runs a COPY FROM STDIN, and answers.
    pub async fn copy_in(&mut self, copy: CopyIn, task: &Task<'_>) -> Step {
        if matches!(task.asked, Asked::Step) {
            return Err(Error::refuse(
                "COPY FROM of a sharded table cannot stand among other statements of one query",
                "Its rows may need more than one shard.",
            )
            .hint("Send the statements one by one.")
            .into());
        }
        let text = copy.added.as_ref().map(|added| added.text.clone());
        let mut copying = Copying {
            text: text.as_deref().unwrap_or(task.text),
            rows: Rows::new(copy.format.clone(), copy.header),
            copy,
            heading: Bytes::new(),
            heading_lines: 0,
            line: 0,
            streams: Vec::new(),
            incomplete: Vec::new(),
            incomplete_bytes: 0,
            failures: Vec::new(),
            bad_line: None,
        };
        let own = self.begin_own();
        let copied = match self.copy_rows(&mut copying, task).await {
            Err(Stop::Failed(error)) if copying.bad_line.is_some() => {
                Err(self.first_error(&mut copying, Some(error)).await)
            }
            Err(Stop::Told) => Err(self.first_error(&mut copying, None).await),
            Err(stop @ (Stop::Failed(_) | Stop::Fatal(_))) => {
                self.give_up(&copying).await;
                Err(stop)
            }
            other => other,
        };
        match self.end_own(own, copied).await {
            Ok(count) => {
                self.complete(&format!("COPY {count}"));
                if !self.batch_open {
                    self.ready();
                }
                Ok(())
            }
            Err(Stop::Told) if self.batch_open => {
                (self.skip_to_sync, self.batch_failed) = (true, true);
                Err(Stop::Told)
            }
            Err(stop) => self.refused(stop, task),
        }
    }

    /// Everything but the answer; gives the number of rows.
    async fn copy_rows(&mut self, copying: &mut Copying<'_>, task: &Task<'_>) -> Step<u64> {
        let takes = self.begin_copy(copying).await?;
        self.preface(task, &Preface::default());
        pass(self.conn.queue(), tag::COPY_IN_RESPONSE, &takes);
        // A Sync that was sent with the COPY is void: the client sends another one behind its rows.
        self.batch_open = matches!(task.asked, Asked::Batch(_));
        self.conn.flush().await.map_err(|_| Stop::Gone)?;
        loop {
            match self.cut_copy()? {
                Some(Sent::Data(data)) => {
                    copying.rows.push(&data);
                    self.give_rows(copying, false).await?;
                }
                Some(Sent::Done) => break,
                Some(Sent::Fail(reason)) => {
                    let message = format!("COPY from stdin failed: {reason}");
                    let context = format!("COPY {}, line {}", copying.copy.table, copying.line + 1);
                    return Err(Error::new(Origin::Client, Kind::Canceled, message).context(context).into());
                }
                None => self.await_copy(copying).await?,
            }
        }
        self.give_rows(copying, true).await?;
        self.end_streams(copying).await
    }

    /// Begins the COPY on a shard, which says whether it is possible; gives the body of the client's CopyInResponse.
    async fn begin_copy(&mut self, copying: &mut Copying<'_>) -> Step<Bytes> {
        let shards = copying.copy.shards();
        let holds_back = copying.copy.added.is_some();
        // One that the block uses anyway, if it may have rows.
        let used = |shard: &&ShardId| self.links.iter().any(|link| link.server.shard() == **shard);
        let mut takers = shards.iter().filter(|shard| !holds_back || **shard != HOME);
        let first = takers.clone().find(used).or_else(|| takers.next()).copied();
        let given = copying.copy.added.as_ref().map(|added| added.given);
        match (first, given) {
            (Some(first), None) => self.open_stream(copying, first).await,
            (Some(first), Some(given)) => {
                self.open_stream(copying, first).await?;
                Ok(copy_in_response(copying, given))
            }
            (None, Some(given)) if !shards.is_empty() => Ok(copy_in_response(copying, given)),
            (None, _) => Err(Error::refuse("no shard takes rows of this table", "Its keyspace has no shards.").into()),
        }
    }

    /// Cuts the client's next message of the COPY off; `None` when it is not complete.
    fn cut_copy(&mut self) -> Step<Option<Sent>> {
        loop {
            let Some(first) = frame::first(&self.conn.input, Sender::Client).map_err(Stop::Fatal)? else {
                return Ok(None);
            };
            let (kind, len) = (first.tag, first.raw.len());
            let mut message = self.conn.take_input(len);
            match kind {
                frontend::tag::COPY_DATA => return Ok(Some(Sent::Data(message.split_off(frame::HEADER_LEN)))),
                frontend::tag::COPY_DONE => return Ok(Some(Sent::Done)),
                frontend::tag::COPY_FAIL => {
                    let reason = String::from_utf8_lossy(&message[frame::HEADER_LEN..]);
                    return Ok(Some(Sent::Fail(reason.trim_end_matches('\0').to_owned())));
                }
                // PostgreSQL ignores these two while it waits for data.
                frontend::tag::FLUSH | frontend::tag::SYNC => {}
                frontend::tag::TERMINATE => return Err(Stop::Gone),
                other => {
                    let message = format!("unexpected message type {other:#04x} during COPY from stdin");
                    return Err(Stop::Fatal(Error::protocol(message)));
                }
            }
        }
    }

    /// Waits until the client has sent more, or a server says that the COPY failed.
    async fn await_copy(&mut self, copying: &mut Copying<'_>) -> Step {
        self.conn.flush().await.map_err(|_| Stop::Gone)?;
        let Self { conn, links, .. } = self;
        let news = poll_fn(|cx| {
            for stream in copying.streams.iter().filter(|stream| stream.is_open) {
                let link = links.iter_mut().find(|link| link.server.shard() == stream.shard);
                match link.map(|link| link.server.conn.poll_fill(cx)) {
                    Some(Poll::Ready(Ok(1..))) => return Poll::Ready(News::Server(stream.shard)),
                    Some(Poll::Ready(Ok(0))) | None => {
                        let error = std::io::ErrorKind::UnexpectedEof.into();
                        return Poll::Ready(News::ServerLost(stream.shard, error));
                    }
                    Some(Poll::Ready(Err(error))) => return Poll::Ready(News::ServerLost(stream.shard, error)),
                    Some(Poll::Pending) => {}
                }
            }
            match conn.poll_fill(cx) {
                Poll::Ready(Ok(1..)) => Poll::Ready(News::Client),
                Poll::Ready(_) => Poll::Ready(News::ClientGone),
                Poll::Pending => Poll::Pending,
            }
        });
        match news.await {
            News::Client => Ok(()),
            News::ClientGone => Err(Stop::Gone),
            News::Server(shard) => {
                let reply = self.reply(shard).await?;
                self.heed_copy(copying, shard, reply).await
            }
            News::ServerLost(shard, error) => Err(self.lose_shard(shard, error)),
        }
    }

    fn lose_shard(&mut self, shard: ShardId, error: std::io::Error) -> Stop {
        match self.links.iter().position(|link| link.server.shard() == shard) {
            Some(at) => self.lose(at, lost(shard, error)),
            None => Stop::Failed(lost(shard, error)),
        }
    }

    /// Gives the rows that are complete to their shards; `at_end`: no more come.
    async fn give_rows(&mut self, copying: &mut Copying<'_>, at_end: bool) -> Step {
        loop {
            let piece = match copying.rows.piece(at_end) {
                Ok(Some(piece)) => piece,
                Ok(None) => break,
                Err(error) => {
                    let line = copying.line + 1;
                    return Err(copying.bad_row(line, None, error));
                }
            };
            match piece {
                Piece::Heading(heading) => {
                    let format = &copying.copy.format;
                    copying.heading_lines = if format.is_binary() { 0 } else { format.line_count(&heading) };
                    copying.line = copying.heading_lines;
                    copying.streams.iter_mut().for_each(|stream| stream.begin(&heading, copying.heading_lines));
                    copying.heading = heading;
                }
                Piece::Row(row) => {
                    copying.line += copying.copy.format.line_count(&row);
                    let line = copying.line;
                    if copying.copy.added.is_none() {
                        self.give_row(copying, row, line).await?;
                        continue;
                    }
                    copying.incomplete_bytes += row.len();
                    copying.incomplete.push((row, line));
                    if copying.incomplete_bytes >= PIECE_BYTES {
                        self.complete_rows(copying).await?;
                    }
                }
            }
        }
        if at_end { self.complete_rows(copying).await } else { Ok(()) }
    }

    /// Asks for the values that rows lack, and gives the rows to their shards.
    async fn complete_rows(&mut self, copying: &mut Copying<'_>) -> Step {
        let rows = std::mem::take(&mut copying.incomplete);
        copying.incomplete_bytes = 0;
        let Some(added) = copying.copy.added.as_ref().filter(|_| !rows.is_empty()) else { return Ok(()) };
        let given = added.given;
        let answers = self.values_for(added, rows.len(), copying.copy.format.is_binary()).await?;
        for ((row, line), values) in rows.into_iter().zip(answers) {
            match copying.copy.format.with_fields(&row, given, &backend::read_data_row(&values)?) {
                Ok(row) => self.give_row(copying, row, line).await?,
                Err(error) => return Err(copying.bad_row(line, Some(&row), error)),
            }
        }
        Ok(())
    }

    /// The values of columns that rows leave out, a DataRow for each row.
    async fn values_for(&mut self, added: &Added, rows: usize, is_binary: bool) -> Step<Vec<Bytes>> {
        if added.may_write {
            self.note_write(HOME)?;
        }
        let mut messages = BytesMut::new();
        frontend::parse(&mut messages, b"", &frontend::definition(&added.question(rows), &[]));
        // No parameters; one format for all columns.
        frontend::bind(&mut messages, b"", b"", &[0, 0, 0, 0, 0, 1, 0, u8::from(is_binary)]);
        frontend::execute(&mut messages, b"", 0);
        frontend::sync(&mut messages);
        self.values_at_home(&Question::messages(messages)).await
    }

    /// Gives a row, which ends on this line of the client's data, to its shards.
    async fn give_row(&mut self, copying: &mut Copying<'_>, row: Bytes, line: u64) -> Step {
        match self.destination(copying, &row).await {
            Ok(Destination::Shard(shard)) => self.give_to(copying, shard, &row, line).await,
            Ok(Destination::Everywhere) => {
                for shard in copying.copy.shards() {
                    self.give_to(copying, shard, &row, line).await?;
                }
                Ok(())
            }
            Ok(Destination::Unowned(_, error)) | Err(Stop::Failed(error)) => {
                let first = copying.streams.first().map(|stream| stream.shard);
                if let Some(shard) = first.or_else(|| copying.copy.shards().first().copied()) {
                    self.give_to(copying, shard, &row, line).await?;
                }
                Err(copying.bad_row(line, None, error))
            }
            Err(stop) => Err(stop),
        }
    }

    /// Where a row goes; a key that nobody owns may get an owner.
    async fn destination(&mut self, copying: &mut Copying<'_>, row: &[u8]) -> Step<Destination> {
        let (key, error) = match copying.copy.destination(row)? {
            Destination::Unowned(key, error) => (key, error),
            known => return Ok(known),
        };
        let map = self.database.map().ok_or_else(|| Error::internal("a sharded database without a shard map"))?;
        let learned = self.worker.instance.learn(&self.database, &map, std::slice::from_ref(&key)).await?;
        let Some(map) = learned else { return Ok(Destination::Unowned(key, error)) };
        copying.copy.follow(&map);
        Ok(copying.copy.destination(row)?)
    }
}

impl Copying<'_> {
    /// The data is wrong on this line, where a row ends that may be shown.
    fn bad_row(&mut self, line: u64, row: Option<&[u8]>, error: Error) -> Stop {
        self.bad_line = Some(line);
        let shown = row.and_then(|row| self.copy.format.shown(row)).map(|row| format!(": \"{row}\""));
        error.context(format!("COPY {}, line {line}{}", self.copy.table, shown.unwrap_or_default())).into()
    }
}

/// The body of a CopyInResponse for so many columns. Source: PostgreSQL manual, "Message Formats".
fn copy_in_response(copying: &Copying<'_>, columns: usize) -> Bytes {
    let is_binary = u8::from(copying.copy.format.is_binary());
    let mut body = BytesMut::from(&[is_binary][..]);
    body.extend_from_slice(&u16::try_from(columns).unwrap_or(u16::MAX).to_be_bytes());
    body.extend((0..columns).flat_map(|_| [0, is_binary]));
    body.freeze()
}

/// The number in the command tag `COPY n`.
pub fn rows_copied(body: &[u8]) -> Result<u64> {
    let tag = String::from_utf8_lossy(body);
    let count = tag.trim_end_matches('\0').strip_prefix("COPY ").and_then(|count| count.parse().ok());
    count.ok_or_else(|| Error::internal(format!("a COPY was completed as {tag:?}")))
}
