//! A transaction block over several shards: what a server must be told before it may take part.
//!
//! BEGIN reaches a server only when the transaction first needs its shard. What came before (BEGIN, savepoints, SET)
//! is kept as the *prelude* and told to every server that joins later.

use std::collections::BTreeSet;

use postgres_protocol::escape::escape_identifier;

use crate::route::OWN_SETTINGS;
use crate::sql::facts::Isolation;
use crate::types::{Error, Kind, Origin, Result, ShardId};
use crate::wire::TransactionStatus;

/// One step of the prelude.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Begin(String),
    Savepoint {
        name: String,
    },
    /// SET, RESET, SET LOCAL. One that outlives the transaction is kept when it commits.
    Setting {
        name: String,
        sql: String,
        outlives: bool,
    },
}

/// A transaction block as the client sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    steps: Vec<Step>,
    failed: bool,
    /// A server of the block was lost, and with it what the block did there: no savepoint brings that back.
    lost: bool,
    /// The shards that may have been written, in the order of their first writes.
    writers: Vec<ShardId>,
    /// Names of relations whose columns it may have changed, which nobody else sees before it commits.
    altered: BTreeSet<String>,
    snapshots: Snapshots,
    seen: Seen,
    /// Weir itself asked a server of the block something, which took a snapshot there.
    asked: bool,
}

/// How many snapshots a transaction has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Snapshots {
    /// READ COMMITTED: one for each statement and shard.
    PerStatement,
    /// REPEATABLE READ.
    Repeatable,
    /// SERIALIZABLE.
    Serializable,
}

/// What a transaction has snapshots of. Settings and savepoints take none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Nothing,
    /// The first shard on which a statement ran.
    One(ShardId),
    /// All shards, as of one moment.
    Cut,
}

impl Snapshots {
    /// As the isolation level says that BEGIN names.
    pub fn of(isolation: Option<Isolation>) -> Self {
        match isolation {
            None | Some(Isolation::ReadUncommitted | Isolation::ReadCommitted) => Self::PerStatement,
            Some(Isolation::RepeatableRead) => Self::Repeatable,
            Some(Isolation::Serializable) => Self::Serializable,
        }
    }
}

impl Transaction {
    /// A block that the client opened with `begin`, its own words.
    pub fn begin(begin: &str, snapshots: Snapshots) -> Self {
        Self {
            steps: vec![Step::Begin(begin.to_owned())],
            failed: false,
            lost: false,
            writers: Vec::new(),
            altered: BTreeSet::new(),
            snapshots,
            seen: Seen::Nothing,
            asked: false,
        }
    }

    pub fn status(&self) -> TransactionStatus {
        if self.failed { TransactionStatus::Failed } else { TransactionStatus::InTransaction }
    }

    /// A statement failed: nothing but ROLLBACK, or ROLLBACK TO a savepoint, is accepted any more.
    pub fn fail(&mut self) {
        self.failed = true;
    }

    /// A server that took part is gone: nothing but ROLLBACK is accepted any more.
    pub fn lose(&mut self) {
        self.failed = true;
        self.lost = true;
    }

    pub fn is_failed(&self) -> bool {
        self.failed
    }

    /// The block's isolation changed after BEGIN.
    pub fn isolate(&mut self, snapshots: Snapshots) {
        self.snapshots = snapshots;
    }

    /// Whether it is to see one snapshot, which may be of all shards, and has seen nothing yet.
    pub fn is_unseen_repeatable(&self) -> bool {
        self.snapshots == Snapshots::Repeatable && self.seen == Seen::Nothing && !self.asked
    }

    /// Weir itself asks a server of the block something.
    pub fn ask(&mut self) {
        self.asked = true;
    }

    /// All shards have a snapshot of one moment.
    pub fn have_cut(&mut self) {
        self.seen = Seen::Cut;
    }

    /// The shards that may have been written, in the order of their first writes.
    pub fn writers(&self) -> &[ShardId] {
        &self.writers
    }

    /// What a joining server is told, in order; each is a statement without its semicolon.
    pub fn prelude(&self) -> Vec<String> {
        self.steps
            .iter()
            .filter_map(|step| match step {
                Step::Setting { name, .. } if name.starts_with(OWN_SETTINGS) => None,
                Step::Begin(sql) | Step::Setting { sql, .. } => Some(sql.clone()),
                Step::Savepoint { name } => Some(format!("SAVEPOINT {}", escape_identifier(name))),
            })
            .collect()
    }

    /// What the block has said about settings, in order; nothing that servers never see.
    pub fn settings(&self) -> impl Iterator<Item = &str> {
        self.steps.iter().filter_map(|step| match step {
            Step::Setting { name, sql, .. } if !name.starts_with(OWN_SETTINGS) => Some(sql.as_str()),
            Step::Setting { .. } | Step::Begin(_) | Step::Savepoint { .. } => None,
        })
    }

    /// The block's last statement about a setting.
    pub fn setting(&self, name: &str) -> Option<&str> {
        self.steps.iter().rev().find_map(|step| match step {
            Step::Setting { name: own, sql, .. } if own == name => Some(sql.as_str()),
            _ => None,
        })
    }

    /// Notes that a statement of the transaction runs on `shard`, or says why it must not.
    pub fn take_part(&mut self, shard: ShardId) -> Result<()> {
        match self.seen {
            Seen::One(first) if first != shard && self.snapshots != Snapshots::PerStatement => Err(Error::refuse(
                "a REPEATABLE READ or SERIALIZABLE transaction cannot read a second shard",
                format!("The transaction has a snapshot of shard {first}, this statement needs shard {shard}."),
            )
            .hint(
                "Use READ COMMITTED, which takes one snapshot per statement and shard, or REPEATABLE READ with \
                 repeatable_read = \"all_shards\" in the database's configuration.",
            )),
            Seen::One(_) | Seen::Cut => Ok(()),
            Seen::Nothing => {
                self.seen = Seen::One(shard);
                Ok(())
            }
        }
    }

    /// Notes that the transaction may write `shard`.
    pub fn write(&mut self, shard: ShardId) {
        if !self.writers.contains(&shard) {
            self.writers.push(shard);
        }
    }

    /// Notes that the transaction may have changed the columns of a relation of this name, in whichever schema.
    pub fn alter(&mut self, name: &str) {
        self.altered.insert(name.to_owned());
    }

    /// Whether the transaction may have changed the columns of relations of this name.
    pub fn has_altered(&self, name: &str) -> bool {
        self.altered.contains(name)
    }

    /// Whether the transaction may have changed the columns of any relation.
    pub fn has_altered_any(&self) -> bool {
        !self.altered.is_empty()
    }

    /// How many savepoints there are.
    pub fn savepoints(&self) -> usize {
        self.steps.iter().filter(|step| matches!(step, Step::Savepoint { .. })).count()
    }

    pub fn savepoint(&mut self, name: &str) {
        self.steps.push(Step::Savepoint { name: name.to_owned() });
    }

    /// RELEASE: the savepoint and those after it are gone, their effects stay.
    pub fn release(&mut self, name: &str) -> Result<()> {
        let at = self.find(name)?;
        let kept: Vec<Step> = self.steps.drain(at..).filter(|step| !matches!(step, Step::Savepoint { .. })).collect();
        self.steps.extend(kept);
        Ok(())
    }

    /// ROLLBACK TO: everything after the savepoint is undone, the savepoint stays, the block is usable again.
    ///
    /// # Errors
    /// There is no such savepoint, or a server of the block was lost.
    pub fn rollback_to(&mut self, name: &str) -> Result<()> {
        if self.lost {
            return Err(aborted().detail("A server that took part in the transaction was lost.").hint("Use ROLLBACK."));
        }
        let at = self.find(name)?;
        self.steps.truncate(at + 1);
        self.failed = false;
        Ok(())
    }

    /// A SET inside the block.
    pub fn set(&mut self, name: &str, sql: &str, outlives: bool) {
        self.steps.push(Step::Setting { name: name.to_owned(), sql: sql.to_owned(), outlives });
    }

    /// Adds the settings that stay when the block commits.
    pub fn commit_settings(self, lasting: &mut Lasting) {
        for step in self.steps {
            if let Step::Setting { name, sql, outlives: true } = step {
                lasting.keep(&name, &sql);
            }
        }
    }

    fn find(&self, name: &str) -> Result<usize> {
        self.steps
            .iter()
            .rposition(|step| matches!(step, Step::Savepoint { name: own } if own == name))
            .ok_or_else(|| Error::new(Origin::Client, Kind::Savepoint, format!("savepoint \"{name}\" does not exist")))
    }
}

/// SET statements that every server of a session must have, until the settings are asked for: the last one of each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lasting {
    by_name: Vec<(String, String)>,
}

impl Lasting {
    /// Keeps a statement; it replaces an earlier one about the same setting.
    pub fn keep(&mut self, name: &str, sql: &str) {
        self.by_name.retain(|(own, _)| own != name);
        self.by_name.push((name.to_owned(), sql.to_owned()));
    }

    /// The statements for servers, in the order they were given.
    pub fn statements(&self) -> impl Iterator<Item = &str> {
        let for_servers = self.by_name.iter().filter(|(name, _)| !name.starts_with(OWN_SETTINGS));
        for_servers.map(|(_, sql)| sql.as_str())
    }

    /// The statement about one setting.
    pub fn setting(&self, name: &str) -> Option<&str> {
        self.by_name.iter().find(|(own, _)| own == name).map(|(_, sql)| sql.as_str())
    }

    /// Whether servers need be told nothing.
    pub fn is_empty(&self) -> bool {
        self.statements().next().is_none()
    }

    /// RESET.
    pub fn forget(&mut self, name: &str) {
        self.by_name.retain(|(own, _)| own != name);
    }

    /// Servers are told otherwise from now on; what they never see stays.
    pub fn followed(&mut self) {
        self.by_name.retain(|(name, _)| name.starts_with(OWN_SETTINGS));
    }

    /// RESET ALL and DISCARD ALL.
    pub fn clear(&mut self) {
        self.by_name.clear();
    }
}

/// The error that PostgreSQL gives for a statement in a failed block.
pub fn aborted() -> Error {
    Error::new(
        Origin::Client,
        Kind::InFailedTransaction,
        "current transaction is aborted, commands ignored until end of transaction block",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: ShardId = ShardId(0);
    const TWO: ShardId = ShardId(1);

    fn block() -> Transaction {
        Transaction::begin("BEGIN READ WRITE", Snapshots::PerStatement)
    }

    #[test]
    fn a_server_that_joins_late_is_told_what_still_holds() {
        let mut block = block();
        block.savepoint("a");
        block.set("work_mem", "SET work_mem = '1MB'", true);
        block.savepoint("b\"c");
        block.set("timezone", "SET LOCAL timezone = 'UTC'", false);
        assert_eq!(
            block.prelude(),
            [
                "BEGIN READ WRITE",
                "SAVEPOINT \"a\"",
                "SET work_mem = '1MB'",
                "SAVEPOINT \"b\"\"c\"",
                "SET LOCAL timezone = 'UTC'"
            ]
        );
        block.rollback_to("b\"c").unwrap();
        block.release("a").unwrap();
        assert_eq!(block.prelude(), ["BEGIN READ WRITE", "SET work_mem = '1MB'"]);
        assert_eq!(block.rollback_to("a").unwrap_err().kind, Kind::Savepoint);
        let mut lasting = Lasting::default();
        block.commit_settings(&mut lasting);
        assert_eq!(lasting.statements().collect::<Vec<_>>(), ["SET work_mem = '1MB'"]);
    }

    #[test]
    fn written_shards_are_known_once_each() {
        let mut block = block();
        for shard in [TWO, TWO, ONE, TWO] {
            block.write(shard);
        }
        assert_eq!(block.writers(), [TWO, ONE]);
    }

    #[test]
    fn one_snapshot_is_one_shard() {
        let mut block = block();
        block.take_part(ONE).unwrap();
        block.take_part(TWO).unwrap();
        let mut strict = Transaction::begin("BEGIN ISOLATION LEVEL SERIALIZABLE", Snapshots::Serializable);
        strict.take_part(TWO).unwrap();
        strict.take_part(TWO).unwrap();
        assert_eq!(strict.take_part(ONE).unwrap_err().kind, Kind::NotSupported);
        let mut later = Transaction::begin("BEGIN", Snapshots::PerStatement);
        assert!(!later.is_unseen_repeatable());
        later.isolate(Snapshots::Repeatable);
        assert!(later.is_unseen_repeatable());
        let mut cut = later.clone();
        let mut asked = later.clone();
        asked.ask();
        assert!(!asked.is_unseen_repeatable());
        later.take_part(ONE).unwrap();
        assert!(!later.is_unseen_repeatable());
        assert_eq!(later.take_part(TWO).unwrap_err().kind, Kind::NotSupported);
        cut.have_cut();
        cut.take_part(ONE).unwrap();
        cut.take_part(TWO).unwrap();
        assert!(!cut.is_unseen_repeatable());
    }

    #[test]
    fn a_savepoint_mends_a_failure_but_no_loss() {
        let mut block = block();
        block.savepoint("a");
        block.fail();
        assert_eq!(block.status(), TransactionStatus::Failed);
        block.rollback_to("a").unwrap();
        assert_eq!(block.status(), TransactionStatus::InTransaction);
        block.lose();
        assert_eq!(block.rollback_to("a").unwrap_err().kind, Kind::InFailedTransaction);
        assert!(block.is_failed());
    }
    #[test]
    fn the_last_statement_about_a_setting_lasts() {
        let mut lasting = Lasting::default();
        for (name, sql) in [("x", "SET x = 0"), ("y", "SET y = 0"), ("x", "SET x = 1")] {
            lasting.keep(name, sql);
        }
        assert_eq!(lasting.statements().collect::<Vec<_>>(), ["SET y = 0", "SET x = 1"]);
        lasting.forget("y");
        assert_eq!(lasting.statements().collect::<Vec<_>>(), ["SET x = 1"]);
        lasting.keep("weir.shard", "SET weir.shard = 'one'");
        lasting.followed();
        assert!(lasting.is_empty() && lasting.setting("weir.shard").is_some());
        lasting.clear();
        assert!(lasting.is_empty());
    }
}
