//! COPY FROM STDIN into tables of several shards: the client's rows are given to their shards, and kept by all of them or
//! by none.
//!
//! Outside of a block they have a transaction of their own, in a block they are part of the client's.

use std::future::poll_fn;
use std::task::Poll;

use bytes::{Bytes, BytesMut};

use super::answer::{Preface, pass};
use super::client::Client;
use super::exchange::{Question, Reply};
use super::links::until_gone;
use super::outcome::{Step, Stop};
use super::sharded::{Asked, Task};
use crate::pool::server::{lost, server_error};
use crate::route::copy::{CopyIn, CopyRows, Destination};
use crate::route::plan::Access;
use crate::types::{Error, Kind, Origin, Result, ShardId};
use crate::wire::backend::tag;
use crate::wire::copy::{Piece, Rows};
use crate::wire::frame::{self, Sender};
use crate::wire::frontend;

/// Rows for one shard that are sent in one message.
const PIECE_BYTES: usize = 64 * 1024;

/// A COPY that is under way.
struct Copying<'t> {
    copy: CopyIn,
    text: &'t str,
    rows: Rows,
    heading: Bytes,
    streams: Vec<Stream>,
}

/// The shard that takes rows, and those that were not sent yet.
struct Stream {
    shard: ShardId,
    pending: BytesMut,
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
        let rows = Rows::new(copy.format.clone(), copy.header);
        let mut copying = Copying { copy, text: task.text, rows, heading: Bytes::new(), streams: Vec::new() };
        let own = self.begin_own();
        let copied = self.copy_rows(&mut copying, task).await;
        if !matches!(copied, Ok(_) | Err(Stop::Gone)) {
            self.give_up(&copying).await;
        }
        let count = self.end_own(own, copied).await?;
        self.complete(&format!("COPY {count}"));
        if matches!(task.asked, Asked::Query(_)) {
            self.ready();
        }
        Ok(())
    }

    /// Everything but the answer; gives the number of rows.
    async fn copy_rows(&mut self, copying: &mut Copying<'_>, task: &Task<'_>) -> Step<u64> {
        let first = self.first_shard(&copying.copy)?;
        let takes = self.open_stream(copying, first).await?;
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
                    return Err(Error::new(Origin::Client, Kind::Canceled, message).into());
                }
                None => self.await_copy(copying).await?,
            }
        }
        self.give_rows(copying, true).await?;
        self.end_streams(copying).await
    }

    /// The shard that says first whether the COPY is possible: one that the block uses anyway, if it may have rows.
    fn first_shard(&self, copy: &CopyIn) -> Result<ShardId> {
        let shards = copy.shards();
        let used = |shard: &&ShardId| self.links.iter().any(|link| link.server.shard() == **shard);
        let first = shards.iter().find(used).copied().or_else(|| shards.first().copied());
        first.ok_or_else(|| Error::refuse("no shard takes rows of this table", "Its keyspace has no shards."))
    }

    /// Begins the COPY on a shard; gives the body of CopyInResponse.
    async fn open_stream(&mut self, copying: &mut Copying<'_>, shard: ShardId) -> Step<Bytes> {
        self.note_write(shard)?;
        self.link(shard, Access::Primary { writes: true }).await?;
        copying.streams.push(Stream { shard, pending: BytesMut::from(&copying.heading[..]) });
        self.ask(shard, &Question::query(copying.text)).await?;
        loop {
            match self.reply(shard).await? {
                Reply::CopyIn(body) => return Ok(body),
                other => self.heed_copy(shard, other).await?,
            }
        }
    }

    /// What a server says of a COPY before it is complete.
    async fn heed_copy(&mut self, shard: ShardId, reply: Reply) -> Step {
        match reply {
            Reply::Notice(body) => pass(self.conn.queue(), tag::NOTICE_RESPONSE, &body),
            Reply::Nothing => {}
            Reply::Error(body) => {
                self.drain(shard).await?;
                return Err(Stop::Failed(server_error(shard, &body)));
            }
            other => return Err(Error::internal(format!("a shard takes no rows: {other:?}")).into()),
        }
        Ok(())
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
    async fn await_copy(&mut self, copying: &Copying<'_>) -> Step {
        self.conn.flush().await.map_err(|_| Stop::Gone)?;
        let Self { conn, links, .. } = self;
        let news = poll_fn(|cx| {
            for stream in &copying.streams {
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
                self.heed_copy(shard, reply).await
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
        while let Some(piece) = copying.rows.piece(at_end)? {
            match piece {
                Piece::Heading(heading) => {
                    copying.streams.iter_mut().for_each(|stream| stream.pending.extend_from_slice(&heading));
                    copying.heading = heading;
                }
                Piece::Row(row) => {
                    for shard in self.shards_of_row(copying, &row).await? {
                        self.give_row(copying, shard, &row).await?;
                    }
                }
            }
        }
        Ok(())
    }

    async fn shards_of_row(&mut self, copying: &mut Copying<'_>, row: &[u8]) -> Step<Vec<ShardId>> {
        match copying.copy.destination(row)? {
            Destination::Shard(shard) => Ok(vec![shard]),
            Destination::Everywhere => Ok(copying.copy.shards()),
            Destination::Unowned(key, error) => {
                let map =
                    self.database.map().ok_or_else(|| Error::internal("a sharded database without a shard map"))?;
                if let Some(map) = self.worker.instance.learn(&self.database, &map, &[key]).await? {
                    copying.copy.follow(&map);
                }
                match copying.copy.destination(row)? {
                    Destination::Shard(shard) => Ok(vec![shard]),
                    Destination::Everywhere | Destination::Unowned(..) => Err(error.into()),
                }
            }
        }
    }

    async fn give_row(&mut self, copying: &mut Copying<'_>, shard: ShardId, row: &[u8]) -> Step {
        if !copying.streams.iter().any(|stream| stream.shard == shard) {
            self.open_stream(copying, shard).await?;
        }
        let Some(stream) = copying.streams.iter_mut().find(|stream| stream.shard == shard) else { return Ok(()) };
        stream.pending.extend_from_slice(row);
        if stream.pending.len() < PIECE_BYTES {
            return Ok(());
        }
        let pending = stream.pending.split();
        let mut message = BytesMut::new();
        frontend::copy_data(&mut message, &pending);
        self.send_copy(shard, &message).await
    }

    async fn send_copy(&mut self, shard: ShardId, bytes: &[u8]) -> Step {
        let Self { conn, links, .. } = self;
        let link = links.iter_mut().find(|link| link.server.shard() == shard);
        let Some(link) = link else { return Err(Error::internal("a shard that takes rows is not held").into()) };
        link.stats.received(bytes.len());
        let sent = tokio::select! {
            biased;
            sent = link.server.conn.send(bytes) => sent,
            () = until_gone(conn) => return Err(Stop::Gone),
        };
        sent.map_err(|error| self.lose_shard(shard, error))
    }

    /// Ends the COPY on every shard; gives the number of rows.
    async fn end_streams(&mut self, copying: &mut Copying<'_>) -> Step<u64> {
        let ending = copying.copy.format.ending();
        for stream in &mut copying.streams {
            stream.pending.extend_from_slice(ending);
            let pending = stream.pending.split();
            let mut messages = BytesMut::new();
            if !pending.is_empty() {
                frontend::copy_data(&mut messages, &pending);
            }
            frontend::copy_done(&mut messages);
            self.send_copy(stream.shard, &messages).await?;
        }
        let mut counts = Vec::with_capacity(copying.streams.len());
        for stream in &copying.streams {
            counts.push(self.end_stream(stream.shard).await?);
        }
        match copying.copy.rows {
            CopyRows::Owned { .. } => Ok(counts.iter().sum()),
            CopyRows::Alike { .. } if counts.windows(2).any(|pair| pair[0] != pair[1]) => {
                Err(super::everywhere::not_the_same().into())
            }
            CopyRows::Alike { .. } => Ok(counts.first().copied().unwrap_or(0)),
        }
    }

    async fn end_stream(&mut self, shard: ShardId) -> Step<u64> {
        let mut count = 0;
        loop {
            match self.reply(shard).await? {
                Reply::Complete(body) => count = rows_copied(&body)?,
                Reply::Ready(_) => return Ok(count),
                other => self.heed_copy(shard, other).await?,
            }
        }
    }

    /// Ends the COPY on the shards that still take rows.
    async fn give_up(&mut self, copying: &Copying<'_>) {
        let mut fail = BytesMut::new();
        frontend::copy_fail(&mut fail, "another shard refused its rows, or Weir did");
        for Stream { shard, .. } in &copying.streams {
            let own = |link: &super::links::Link| link.server.shard() == *shard;
            let Some(at) = self.links.iter().position(own) else { continue };
            // A server that is lost here has undone everything.
            if self.links[at].server.session.ledger.is_in_own_exchange() && self.send_copy(*shard, &fail).await.is_ok()
            {
                let _lost = self.drain(*shard).await;
            }
        }
    }
}

/// The number in the command tag `COPY n`.
pub fn rows_copied(body: &[u8]) -> Result<u64> {
    let tag = String::from_utf8_lossy(body);
    let count = tag.trim_end_matches('\0').strip_prefix("COPY ").and_then(|count| count.parse().ok());
    count.ok_or_else(|| Error::internal(format!("a COPY was completed as {tag:?}")))
}
