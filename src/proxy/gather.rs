//! Statements over gathered rows: a server of the home shard, in a pool of its own, is given the rows that a statement
//! needs, and runs it. The client reads its answer as it comes.
//!
//! The rows are read over the client's own servers, so its transaction sees what it wrote. The server that gathers is no
//! part of that transaction: what happens there ends with the statement, and only empty temporary tables stay.
//!
//! ```text
//!     gatherer:     BEGIN; the temporary tables that are not there yet; SAVEPOINT; the client's settings
//!                   the client's statement as it is, prepared and described     its errors, its columns, its parameters
//!     every shard:  COPY (SELECT ...) TO STDOUT, one after the other            in one snapshot, outside of a block
//!     gatherer:     COPY ... FROM STDIN for each table; ANALYZE of large ones
//!                   the statement over the temporary tables                     must be described as the client's own
//!     gatherer:     ROLLBACK TO SAVEPOINT; COMMIT                               the tables are empty again
//! ```

mod answer;
mod gatherer;
mod rows;

pub use answer::without_places;

use std::fmt::Write;

use self::gatherer::Gatherer;
use super::client::Client;
use super::exchange::Question;
use super::outcome::{Step, Stop};
use super::sharded::Task;
use crate::route::plan::{Access, Gather};
use crate::sql::gather::explained;
use crate::types::{Error, ShardId};
use crate::wire::TransactionStatus;

impl Client {
    /// Runs a statement over gathered rows and answers it; `lines` come in front of the rows.
    pub async fn gather(&mut self, gather: &Gather, lines: &[String], task: &Task<'_>) -> Step {
        let shards = gather.shards();
        match self.gather_and_run(gather, &shards, lines, task).await {
            Ok(()) => self.answered(task),
            Err(Stop::Gone) => Err(Stop::Gone),
            Err(stop) => {
                self.stop_all(&shards).await;
                let ended = self.end_reading().await;
                self.fail_block();
                ended.and(self.refused(stop, task))
            }
        }
    }

    async fn gather_and_run(&mut self, gather: &Gather, shards: &[ShardId], lines: &[String], task: &Task<'_>) -> Step {
        self.may_gather(gather)?;
        for shard in shards {
            self.link(*shard, Access::Read).await?;
        }
        // The servers first: whoever has a place among those that gather must not wait for somebody who waits for one.
        let mut gatherer = self.take_gatherer(gather.at).await?;
        let result = self.run_gathered(&mut gatherer, gather, shards, lines, task).await;
        match result {
            Ok(()) => gatherer.give_back(self.now),
            // The client has read the server's own error, and the server is well.
            Err(Stop::Told) if gatherer.is_settled() => gatherer.give_back(self.now),
            Err(_) => drop(gatherer),
        }
        result
    }

    async fn run_gathered(
        &mut self,
        gatherer: &mut Gatherer,
        gather: &Gather,
        shards: &[ShardId],
        lines: &[String],
        task: &Task<'_>,
    ) -> Step {
        self.open_gatherer(gatherer, gather).await?;
        let own = gather.copy.as_ref().map_or(task.text, |copy| &copy.query);
        let described = self.describe_own(gatherer, own, task).await?;
        if gather.has_views {
            let select = if lines.is_empty() { own } else { explained(own)? };
            self.check_privileges(gatherer, &described, select, task).await?;
        }
        for shard in shards {
            let script = self.script(gather, *shard);
            self.ask(*shard, &Question::query(&script)).await?;
        }
        self.load_all(gatherer, gather).await?;
        for shard in shards {
            if let Some(error) = self.drain(*shard).await? {
                return Err(self.passed_on(&error));
            }
        }
        match &gather.copy {
            None => self.run_and_answer(gatherer, gather, &described, lines, task).await,
            Some(copy) => self.copy_gathered(gatherer, (&gather.text, &copy.text), &described, task).await,
        }
    }

    /// What gathering cannot keep equal.
    fn may_gather(&self, gather: &Gather) -> Step {
        if self.block.is_none() {
            return Ok(());
        }
        if let Some(moment) = &gather.moment {
            return Err(Error::refuse(
                "the statement cannot be answered from several shards in a transaction block",
                format!("{moment} would be the time of this statement, and not that of the block's beginning."),
            )
            .hint("Run it outside of BEGIN ... COMMIT, or send the time itself.")
            .into());
        }
        if self.schema_touched {
            return Err(Error::refuse(
                "the statement cannot be answered from several shards behind DDL in the same transaction",
                "The server that is given their rows does not see tables that are not committed yet.",
            )
            .hint("Commit first.")
            .into());
        }
        Ok(())
    }

    /// What a shard is asked: the rows of each table, in the order of the plan.
    fn script(&self, gather: &Gather, shard: ShardId) -> String {
        let mut script = String::new();
        let is_alone = self.block.is_none();
        if is_alone {
            // All tables in one snapshot.
            script.push_str("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;\n");
        }
        for load in gather.loads.iter().filter(|load| load.shards.contains(&shard)) {
            let (query, format) = (load.table.query_of_rows(), load.format.word());
            let _infallible = writeln!(script, "COPY ({query}) TO STDOUT (FORMAT {format});");
        }
        if is_alone {
            script.push_str("COMMIT");
        }
        script
    }

    /// Ends what was begun on the shards to read them, after a failure.
    async fn end_reading(&mut self) -> Step {
        if self.block.is_some() {
            return Ok(());
        }
        let is_open = |link: &super::links::Link| link.server.session.ledger.status() != TransactionStatus::Idle;
        while let Some(at) = self.links.iter().position(is_open) {
            let server = &mut self.links[at].server;
            server.session.own_query(server.conn.queue(), "ROLLBACK");
            if let Err(stop @ (Stop::Fatal(_) | Stop::Gone)) = self.own_replies(at).await {
                return Err(stop);
            }
            if self.links.get(at).is_some_and(is_open) {
                return Err(self.lose(at, Error::internal("a server does not end its transaction")));
            }
        }
        Ok(())
    }
}
