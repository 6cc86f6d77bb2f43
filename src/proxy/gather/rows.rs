//! Rows on their way from the shards to the server that gathers them.

use bytes::Bytes;

use super::super::client::Client;
use super::super::exchange::Reply;
use super::super::outcome::Step;
use super::answer::without_places;
use super::gatherer::Gatherer;
use crate::route::plan::{Gather, Load, LoadFormat};
use crate::types::{Error, Kind, Origin, Result, ShardId};
use crate::wire::frontend;

/// What stands in front of binary rows: a signature, flags, and the length of an extension, which is empty.
/// Source: PostgreSQL manual, COPY, "Binary Format".
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// What stands behind binary rows: a row of minus one columns.
const TRAILER: &[u8] = &[0xff, 0xff];

/// Unsent bytes towards the server above which no more rows are read.
const HIGH_WATER: usize = 256 * 1024;

/// A table with this many rows is analysed before the statement is planned.
const ANALYZED_FROM: usize = 1000;

/// A table with this many rows gets indexes, where a subquery may look rows up in it one by one.
const INDEXED_FROM: usize = 5000;

/// What was gathered so far.
#[derive(Default)]
struct Amount {
    rows: usize,
    bytes: usize,
}

impl Client {
    /// Loads the rows of every table.
    pub async fn load_all(&mut self, gatherer: &mut Gatherer, gather: &Gather) -> Step {
        let mut amount = Amount::default();
        let mut large = Vec::new();
        let mut indexing = String::new();
        for load in &gather.loads {
            let before = amount.rows;
            self.load(gatherer, load, &mut amount).await?;
            if amount.rows - before >= ANALYZED_FROM {
                large.push(load.table.temporary_name());
            }
            if amount.rows - before >= INDEXED_FROM {
                indexing.push_str(&load.table.indexing());
            }
        }
        if !large.is_empty() {
            let analyze = format!("{indexing}ANALYZE {}", large.join(", "));
            gatherer.begin_exchange(|out| frontend::query(out, &analyze)).await?;
            self.succeed_gathering(gatherer).await?;
        }
        Ok(())
    }

    async fn load(&mut self, gatherer: &mut Gatherer, load: &Load, amount: &mut Amount) -> Step {
        if load.shards.is_empty() {
            return Ok(());
        }
        let (name, format) = (load.table.temporary_name(), load.format.word());
        let copy = format!("COPY {name} FROM STDIN (FORMAT {format})");
        gatherer
            .begin_exchange(|out| {
                frontend::query(out, &copy);
                if load.format == LoadFormat::Binary {
                    frontend::copy_data(out, HEADER);
                }
            })
            .await?;
        for shard in &load.shards {
            let before = amount.bytes;
            let loaded = self.load_from(gatherer, *shard, load.format, amount).await;
            gatherer.note_rows(&load.table.temporary, amount.bytes - before)?;
            loaded?;
        }
        let out = gatherer.server()?.conn.queue();
        if load.format == LoadFormat::Binary {
            frontend::copy_data(out, TRAILER);
        }
        frontend::copy_done(out);
        gatherer.flush().await?;
        self.succeed_gathering(gatherer).await
    }

    /// Passes on what one COPY of a shard gives.
    async fn load_from(
        &mut self,
        gatherer: &mut Gatherer,
        shard: ShardId,
        format: LoadFormat,
        amount: &mut Amount,
    ) -> Step {
        let mut is_first = true;
        let mut is_open = false;
        loop {
            match self.reply(shard).await? {
                Reply::CopyOut(_) => is_open = true,
                Reply::CopyData(data) => {
                    let Some(row) = row(data, format, std::mem::take(&mut is_first))? else { continue };
                    self.count(amount, row.len())?;
                    let out = gatherer.server()?.conn.queue();
                    frontend::copy_data(out, &row);
                    if gatherer.server()?.conn.unsent() > HIGH_WATER {
                        gatherer.flush().await?;
                    }
                }
                // That of BEGIN comes first.
                Reply::Complete(_) if is_open => return Ok(()),
                Reply::Complete(_) | Reply::CopyDone | Reply::Notice(_) | Reply::Nothing => {}
                Reply::Error(body) => return Err(self.passed_on(&body)),
                other => return Err(Error::internal(format!("a shard broke off its rows: {other:?}")).into()),
            }
        }
    }

    fn count(&self, amount: &mut Amount, len: usize) -> Result<()> {
        amount.rows += 1;
        amount.bytes += len;
        let limits = &self.worker.instance.config.pool;
        if amount.rows > limits.gather_rows {
            return Err(too_much(format!("more than {} rows", limits.gather_rows), "gather_rows"));
        }
        if amount.bytes > limits.gather_bytes {
            return Err(too_much(format!("rows of more than {} bytes", limits.gather_bytes), "gather_bytes"));
        }
        Ok(())
    }

    /// Reads replies to statements of Weir's own up to ReadyForQuery; an error ends the client's statement.
    pub async fn succeed_gathering(&mut self, gatherer: &mut Gatherer) -> Step {
        match gatherer.drain(&mut self.conn).await? {
            None => Ok(()),
            Some(error) => Err(self.passed_on(&without_places(&error))),
        }
    }
}

/// A row without what stands around the rows of one COPY; `None` if there is none in it.
fn row(data: Bytes, format: LoadFormat, is_first: bool) -> Result<Option<Bytes>> {
    if format == LoadFormat::Text {
        return Ok(Some(data));
    }
    let row = match is_first {
        false => data,
        true if data.starts_with(HEADER) => data.slice(HEADER.len()..),
        true => return Err(Error::internal("binary rows begin otherwise than PostgreSQL's manual says")),
    };
    Ok((row.as_ref() != TRAILER && !row.is_empty()).then_some(row))
}

fn too_much(what: String, setting: &str) -> Error {
    Error::new(Origin::Weir, Kind::LimitExceeded, "a statement over several shards needs too many rows")
        .detail(format!("It would gather {what} on one server ({setting} in [pool])."))
        .hint(format!("Restrict the statement by conditions on its tables, or raise {setting}."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_one_copy_lose_what_stands_around_them() {
        let binary = |bytes: &[u8], is_first| row(Bytes::copy_from_slice(bytes), LoadFormat::Binary, is_first);
        let first = [HEADER, &[0, 1, 0, 0, 0, 0]].concat();
        assert_eq!(binary(&first, true).unwrap().unwrap().as_ref(), [0, 1, 0, 0, 0, 0]);
        assert_eq!(binary(&[0, 0], false).unwrap().unwrap().as_ref(), [0, 0]);
        assert_eq!(binary(TRAILER, false).unwrap(), None);
        assert_eq!(binary(&[HEADER, TRAILER].concat(), true).unwrap(), None);
        assert!(binary(&[0, 0], true).is_err());
        let text = row(Bytes::from_static(b"\\N\n"), LoadFormat::Text, true).unwrap();
        assert_eq!(text.unwrap().as_ref(), b"\\N\n");
    }
}
