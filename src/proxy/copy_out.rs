//! COPY TO STDOUT of rows of several shards: all of them begin at once, and the client gets one shard's rows after the
//! other's, as the shards write them.

use bytes::Bytes;

use super::answer::{Preface, pass};
use super::client::Client;
use super::copy_in::rows_copied;
use super::exchange::Reply;
use super::outcome::{Step, Stop};
use super::sharded::Task;
use crate::route::plan::{Access, Part};
use crate::types::{Error, ShardId};
use crate::wire::backend::{self, tag};

/// Signature, flags and length of the extension, which begin data in binary format. Source: PostgreSQL manual, COPY.
const BINARY_HEADING: usize = 19;

/// What ends data in binary format.
const BINARY_ENDING: &[u8] = &[0xff, 0xff];

impl Client {
    /// Runs the parts, and gives the client their rows as one COPY.
    pub async fn copy_out(&mut self, parts: &[Part], is_binary: bool, header: bool, task: &Task<'_>) -> Step {
        let shards: Vec<ShardId> = parts.iter().map(|part| part.shard).collect();
        match self.copy_parts(parts, is_binary, header, task).await {
            Ok(()) => self.answered(task),
            Err(Stop::Gone) => Err(Stop::Gone),
            Err(stop) => {
                self.stop_all(&shards).await;
                self.fail_block();
                self.refused(stop, task)
            }
        }
    }

    async fn copy_parts(&mut self, parts: &[Part], is_binary: bool, header: bool, task: &Task<'_>) -> Step {
        for part in parts {
            self.link(part.shard, Access::Read).await?;
        }
        for part in parts {
            self.ask(part.shard, &self.question_for(part, task)?).await?;
        }
        let mut format = None;
        for part in parts {
            let own = self.copy_opening(part.shard).await?;
            if *format.get_or_insert_with(|| own.clone()) != own {
                let detail = format!("Shard {} has other columns.", part.shard);
                return Err(Error::refuse("the shards answer with different columns", detail)
                    .hint("Compare the table's definitions on the shards.")
                    .into());
            }
        }
        self.preface(task, &Preface::default());
        pass(self.conn.queue(), tag::COPY_OUT_RESPONSE, &format.unwrap_or_default());
        let mut count = 0;
        for (number, part) in parts.iter().enumerate() {
            let place = Place { is_first: number == 0, is_last: number + 1 == parts.len() };
            count += self.copy_shard(part.shard, place, is_binary, header).await?;
        }
        backend::bare(self.conn.queue(), tag::COPY_DONE);
        self.complete(&format!("COPY {count}"));
        Ok(())
    }

    /// Waits for a shard's CopyOutResponse.
    async fn copy_opening(&mut self, shard: ShardId) -> Step<Bytes> {
        loop {
            match self.reply(shard).await? {
                Reply::CopyOut(body) => return Ok(body),
                Reply::Error(body) => return Err(self.passed_on(&body)),
                Reply::Notice(_) | Reply::Nothing | Reply::ParameterDescription(_) => {}
                other => return Err(Error::internal(format!("a shard does not copy its rows: {other:?}")).into()),
            }
        }
    }

    /// Passes one shard's rows on; gives their number.
    async fn copy_shard(&mut self, shard: ShardId, place: Place, is_binary: bool, header: bool) -> Step<u64> {
        let mut count = 0;
        let mut is_heading = true;
        loop {
            match self.reply(shard).await? {
                Reply::CopyData(body) => {
                    let heading = std::mem::take(&mut is_heading);
                    if let Some(rows) = place.rows(body, heading, is_binary, header) {
                        pass(self.conn.queue(), tag::COPY_DATA, &rows);
                    }
                    self.make_room_if_needed().await?;
                }
                Reply::Complete(body) => count = rows_copied(&body)?,
                Reply::Ready(_) => return Ok(count),
                Reply::Error(body) => return Err(self.passed_on(&body)),
                Reply::Notice(_) | Reply::Nothing | Reply::CopyDone => {}
                other => return Err(Error::internal(format!("a shard broke off its COPY: {other:?}")).into()),
            }
        }
    }
}

/// Where a shard's rows stand among those of all.
#[derive(Clone, Copy)]
struct Place {
    is_first: bool,
    is_last: bool,
}

impl Place {
    /// What of a CopyData message is part of the whole: one heading and one ending are enough. `heading`: it is the
    /// shard's first message. A server sends each line and each row in a message of its own, the binary heading in front
    /// of what comes first.
    fn rows(self, body: Bytes, heading: bool, is_binary: bool, header: bool) -> Option<Bytes> {
        if !is_binary {
            return (self.is_first || !heading || !header).then_some(body);
        }
        let has_heading = heading && !self.is_first && body.len() >= BINARY_HEADING;
        let rows = if has_heading { body.slice(BINARY_HEADING..) } else { body };
        let ending = rows.len() - if rows.ends_with(BINARY_ENDING) { BINARY_ENDING.len() } else { 0 };
        let is_only_ending = ending == 0 || (heading && self.is_first && ending == BINARY_HEADING);
        let rows = if is_only_ending && !self.is_last { rows.slice(..ending) } else { rows };
        (!rows.is_empty()).then_some(rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Place = Place { is_first: true, is_last: false };
    const MIDDLE: Place = Place { is_first: false, is_last: false };
    const LAST: Place = Place { is_first: false, is_last: true };

    #[test]
    fn lines_have_one_header() {
        let line = || Bytes::from_static(b"a,b\n");
        for (place, heading, header, kept) in [
            (FIRST, true, true, true),
            (MIDDLE, true, true, false),
            (MIDDLE, true, false, true),
            (LAST, false, true, true),
        ] {
            assert_eq!(place.rows(line(), heading, false, header).is_some(), kept);
        }
    }

    #[test]
    fn binary_data_has_one_heading_and_one_ending() {
        let heading = vec![7; BINARY_HEADING];
        let with = |rest: &[u8]| Bytes::from([&heading[..], rest].concat());
        let rows =
            |place: Place, body: Bytes, first: bool| place.rows(body, first, true, false).map(|rows| rows.to_vec());
        assert_eq!(rows(FIRST, with(b"row"), true), Some(with(b"row").to_vec()));
        assert_eq!(rows(MIDDLE, with(b"row"), true), Some(b"row".to_vec()));
        assert_eq!(rows(MIDDLE, Bytes::from_static(BINARY_ENDING), false), None);
        assert_eq!(rows(LAST, Bytes::from_static(BINARY_ENDING), false), Some(BINARY_ENDING.to_vec()));
        // No rows at all.
        assert_eq!(rows(FIRST, with(BINARY_ENDING), true), Some(heading.clone()));
        assert_eq!(rows(MIDDLE, with(BINARY_ENDING), true), None);
        assert_eq!(rows(LAST, with(BINARY_ENDING), true), Some(BINARY_ENDING.to_vec()));
        // A row may end like an ending.
        assert_eq!(rows(MIDDLE, Bytes::from_static(b"\x00\x01\xff\xff"), false), Some(b"\x00\x01\xff\xff".to_vec()));
    }
}
