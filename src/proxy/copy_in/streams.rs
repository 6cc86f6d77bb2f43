//! The shards' side of a COPY FROM STDIN.

use bytes::{Bytes, BytesMut};

use super::super::client::Client;
use super::super::exchange::{Question, Reply};
use super::super::links::until_gone;
use super::super::outcome::{Step, Stop};
use super::super::sharded::HOME;
use super::super::{answer::pass, everywhere::not_the_same};
use super::{Copying, PIECE_BYTES, rows_copied};
use crate::route::copy::CopyRows;
use crate::route::plan::Access;
use crate::types::{Error, Result, ShardId};
use crate::wire::backend::{ErrorFields, tag};
use crate::wire::copy::{Lines, named_line};
use crate::wire::frontend;

/// How much of the home shard's rows is held back while it is asked for values. Then it gets them, in a COPY of their own.
const HELD_BYTES: usize = 32 << 20;

/// A shard that takes rows.
pub struct Stream {
    pub shard: ShardId,
    /// A server is in COPY.
    pub is_open: bool,
    /// Rows that were not sent yet.
    pending: BytesMut,
    /// What of the client's data its COPY was given.
    lines: Lines,
    /// The rows that it said it has.
    count: u64,
}

/// What a shard said of bad data.
pub struct Failure {
    /// Where in the client's data.
    line: Option<u64>,
    /// The body of its ErrorResponse.
    body: Bytes,
}

impl Stream {
    /// The COPY begins with this heading, which is `line_count` lines.
    pub fn begin(&mut self, heading: &[u8], line_count: u64) {
        self.pending.extend_from_slice(heading);
        if line_count > 0 {
            self.lines.add(line_count, line_count);
        }
    }
}

impl Client {
    /// Begins the COPY on a shard; gives the body of CopyInResponse.
    pub(super) async fn open_stream(&mut self, copying: &mut Copying<'_>, shard: ShardId) -> Step<Bytes> {
        copying.stream(shard);
        self.note_write(shard)?;
        self.link(shard, Access::Primary { writes: true }).await?;
        self.ask(shard, &Question::query(copying.text)).await?;
        loop {
            match self.reply(shard).await? {
                Reply::CopyIn(body) => {
                    copying.stream(shard).is_open = true;
                    return Ok(body);
                }
                other => self.heed_copy(copying, shard, other).await?,
            }
        }
    }

    /// What a server says of a COPY before it is complete.
    pub(super) async fn heed_copy(&mut self, copying: &mut Copying<'_>, shard: ShardId, reply: Reply) -> Step {
        match reply {
            Reply::Notice(body) => pass(self.conn.queue(), tag::NOTICE_RESPONSE, &body),
            Reply::Nothing => {}
            Reply::Error(body) => {
                copying.stream(shard).is_open = false;
                copying.note_failure(shard, body)?;
                self.drain(shard).await?;
                return Err(Stop::Told);
            }
            other => return Err(Error::internal(format!("a shard takes no rows: {other:?}")).into()),
        }
        Ok(())
    }

    /// Gives a shard a row, which ends on this line of the client's data.
    pub(super) async fn give_to(&mut self, copying: &mut Copying<'_>, shard: ShardId, row: &[u8], line: u64) -> Step {
        let is_held = copying.holds_back(shard);
        if !is_held && !copying.stream(shard).is_open {
            self.open_stream(copying, shard).await?;
        }
        let count = copying.copy.format.line_count(row);
        let stream = copying.stream(shard);
        stream.pending.extend_from_slice(row);
        stream.lines.add(count, line);
        match stream.pending.len() {
            HELD_BYTES.. if is_held => self.give_held(copying, shard).await,
            PIECE_BYTES.. if !is_held => self.send_pending(copying, shard).await,
            _ => Ok(()),
        }
    }

    /// Gives a shard the rows that were held back.
    async fn give_held(&mut self, copying: &mut Copying<'_>, shard: ShardId) -> Step {
        self.open_stream(copying, shard).await?;
        self.end_stream(copying, shard).await?;
        let Copying { heading, heading_lines, streams, .. } = copying;
        if let Some(stream) = streams.iter_mut().find(|stream| stream.shard == shard) {
            stream.lines = Lines::default();
            stream.begin(heading, *heading_lines);
        }
        Ok(())
    }

    async fn send_pending(&mut self, copying: &mut Copying<'_>, shard: ShardId) -> Step {
        let pending = copying.stream(shard).pending.split();
        if pending.is_empty() {
            return Ok(());
        }
        let mut message = BytesMut::with_capacity(pending.len() + 5);
        frontend::copy_data(&mut message, &pending);
        self.send_copy(shard, &message).await
    }

    pub async fn send_copy(&mut self, shard: ShardId, bytes: &[u8]) -> Step {
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
    pub(super) async fn end_streams(&mut self, copying: &mut Copying<'_>) -> Step<u64> {
        let shards: Vec<ShardId> = copying.streams.iter().map(|stream| stream.shard).collect();
        for shard in &shards {
            if !copying.stream(*shard).is_open {
                self.open_stream(copying, *shard).await?;
            }
            self.finish_stream(copying, *shard).await?;
        }
        for shard in &shards {
            self.await_end(copying, *shard).await?;
        }
        let mut counts = copying.streams.iter().map(|stream| stream.count);
        match copying.copy.rows {
            CopyRows::Owned { .. } => Ok(counts.sum()),
            CopyRows::Alike { .. } => {
                let first = counts.next().unwrap_or(0);
                if counts.all(|count| count == first) { Ok(first) } else { Err(not_the_same().into()) }
            }
        }
    }

    async fn end_stream(&mut self, copying: &mut Copying<'_>, shard: ShardId) -> Step {
        self.finish_stream(copying, shard).await?;
        self.await_end(copying, shard).await
    }

    /// Sends the last of a shard's rows, and that they are the last.
    async fn finish_stream(&mut self, copying: &mut Copying<'_>, shard: ShardId) -> Step {
        let ending = copying.copy.format.ending();
        copying.stream(shard).pending.extend_from_slice(ending);
        self.send_pending(copying, shard).await?;
        let mut message = BytesMut::new();
        frontend::copy_done(&mut message);
        self.send_copy(shard, &message).await
    }

    async fn await_end(&mut self, copying: &mut Copying<'_>, shard: ShardId) -> Step {
        loop {
            match self.reply(shard).await? {
                Reply::Complete(body) => copying.stream(shard).count += rows_copied(&body)?,
                Reply::Ready(_) => {
                    copying.stream(shard).is_open = false;
                    return Ok(());
                }
                other => self.heed_copy(copying, shard, other).await?,
            }
        }
    }

    /// The error of the first bad line, when one is known to be bad: `own` is Weir's, of a row that shards were given, too.
    pub(super) async fn first_error(&mut self, copying: &mut Copying<'_>, own: Option<Error>) -> Stop {
        // Rows that were held back can only be judged by a COPY of theirs.
        let shards: Vec<ShardId> = copying.streams.iter().map(|stream| stream.shard).collect();
        for shard in shards {
            let is_held = copying.holds_back(shard) && !copying.failures.iter().any(|failure| failure.line.is_none());
            let judged = match copying.stream(shard) {
                Stream { is_open: true, .. } => self.end_stream(copying, shard).await,
                Stream { pending, .. } if is_held && !pending.is_empty() => self.give_held(copying, shard).await,
                _ => Ok(()),
            };
            match judged {
                Ok(()) | Err(Stop::Told) => {}
                Err(stop) => return stop,
            }
        }
        let first = copying.failures.iter().min_by_key(|failure| failure.line.unwrap_or(u64::MAX));
        match (first, own) {
            (Some(failure), Some(own)) if failure.line.is_none_or(|line| Some(line) > copying.bad_line) => own.into(),
            (Some(failure), _) => {
                let body = failure.body.clone();
                self.passed_on(&body)
            }
            (None, Some(own)) => own.into(),
            (None, None) => Error::internal("a COPY failed without an error").into(),
        }
    }

    /// Ends the COPY on the shards that still take rows.
    pub(super) async fn give_up(&mut self, copying: &Copying<'_>) {
        let mut fail = BytesMut::new();
        frontend::copy_fail(&mut fail, "another shard refused its rows, or Weir did");
        for Stream { shard, .. } in &copying.streams {
            let own = |link: &super::super::links::Link| link.server.shard() == *shard;
            let Some(at) = self.links.iter().position(own) else { continue };
            // A server that is lost here has undone everything.
            if self.links[at].server.session.ledger.is_in_own_exchange() && self.send_copy(*shard, &fail).await.is_ok()
            {
                let _lost = self.drain(*shard).await;
            }
        }
    }
}

impl Copying<'_> {
    /// The stream of a shard, which begins with the heading.
    fn stream(&mut self, shard: ShardId) -> &mut Stream {
        let place = self.streams.iter().position(|stream| stream.shard == shard).unwrap_or_else(|| {
            let (pending, lines) = (BytesMut::new(), Lines::default());
            let mut stream = Stream { shard, is_open: false, pending, lines, count: 0 };
            stream.begin(&self.heading, self.heading_lines);
            self.streams.push(stream);
            self.streams.len() - 1
        });
        &mut self.streams[place]
    }

    /// Whether a shard is asked for values while rows come, so that it cannot take any.
    fn holds_back(&self, shard: ShardId) -> bool {
        self.copy.added.is_some() && shard == HOME
    }

    fn note_failure(&mut self, shard: ShardId, body: Bytes) -> Result<()> {
        let fields = ErrorFields::read(&body)?;
        let context = fields.get(b'W').unwrap_or_default().into_owned();
        let Some((number, place)) = named_line(&context, &self.copy.table) else {
            self.failures.push(Failure { line: None, body });
            return Ok(());
        };
        let line = self.stream(shard).lines.client_line(number);
        // A number that means nothing to the client is worse than none.
        let context = line.map(|line| format!("{}{line}{}", &context[..place.start], &context[place.end..]));
        let body = fields.replaced(b'W', context.as_deref());
        self.failures.push(Failure { line, body });
        Ok(())
    }
}
