//! SQL's PREPARE, EXECUTE and DEALLOCATE over servers.
//!
//! A client's text goes to its server as it is, so its names must mean there what the client means. In front of a unit
//! that mentions a name the server is brought to the client's view of it: it gets the client's statement, or loses that
//! of another client. What a PREPARE makes is known when it has succeeded; what code makes, or a text that failed half
//! way, is asked from the server once the transaction is over, and pins.

use std::rc::Rc;

use super::batch::Request;
use super::client::Client;
use super::outcome::Step;
use super::relay::{Listen, Seen};
use super::sharded::is_plain;
use super::values::Values;
use crate::session::request::Brought;
use crate::session::statements::{Made, Prepared};
use crate::sql::facts::{Effects, Facets, Statement, StatementKind};
use crate::types::{Error, Result};
use crate::wire::TransactionStatus;

/// What a unit mentions of the session's prepared statements.
#[derive(Debug, Default)]
pub struct Mentioned {
    names: Vec<String>,
    reach: Reach,
    /// What the unit prepares, and may run itself.
    prepares: Vec<String>,
}

/// How far a unit may look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Reach {
    /// No further than the names that it mentions.
    #[default]
    Names,
    /// Code may use any name.
    AnyName,
    /// It reads the list of all statements.
    List,
}

/// Whether a batch that is open on a server lets Weir in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Paused {
    Yes,
    /// The batch has failed: its server ignores the rest.
    Failed,
    /// What was sent of it already would not be the same.
    No,
}

impl Mentioned {
    fn name(&mut self, name: &str) {
        if !self.names.iter().any(|own| own == name) {
            self.names.push(name.to_owned());
        }
    }

    fn is_empty(&self) -> bool {
        self.names.is_empty() && self.reach == Reach::Names
    }
}

impl Client {
    /// Takes note of the names that a statement mentions, and of what the statement does that it executes.
    pub fn note_names(&mut self, statement: &Statement) {
        if let StatementKind::Prepare { name } | StatementKind::Deallocate { name: Some(name) } = &statement.kind {
            self.mentioned.name(name);
        }
        if statement.effects.contains(Effects::READS_STATEMENTS) {
            self.mentioned.reach = Reach::List;
        } else if statement.makes.contains(Facets::STATEMENTS) {
            self.mentioned.reach = self.mentioned.reach.max(Reach::AnyName);
        }
        if let Some(name) = &statement.executes {
            self.mentioned.name(name);
            self.note_executed(name);
        }
    }

    fn note_executed(&mut self, name: &str) {
        let found = self.schema().and_then(|schema| self.statement(&schema, name.as_bytes()));
        match found {
            Ok(prepared) => self.note_prepared(&prepared),
            // Its effects count with its PREPARE.
            Err(_) if self.mentioned.prepares.iter().any(|own| own == name) => {}
            // The server knows the name, if anybody does: its statement may do anything.
            Err(_) if self.may_have_unknown_names() => {
                self.state.touch(Facets::SHOWN | Facets::HIDDEN, Facets::empty());
                self.state.sequences.asked |= Effects::SEQUENCES;
                self.heed_anything();
            }
            Err(_) => {}
        }
    }

    /// Takes note of what a prepared statement will do.
    fn note_prepared(&mut self, prepared: &Prepared) {
        let text = prepared.text.as_deref().unwrap_or_default();
        let values = Values { text, literals: &prepared.literals, bound: None };
        prepared.facts.statements.iter().for_each(|statement| self.note_effects(statement, &values));
    }

    /// Takes note of what a request has to do with names of SQL. Gives whether it runs a statement that SQL prepared.
    pub fn note_request_names(&mut self, request: &Request<'_>) -> bool {
        let (name, prepared) = match request {
            Request::Parse { name, prepared }
            | Request::Bind { name, prepared, .. }
            | Request::DescribeStatement { name, prepared } => (*name, prepared),
            _ => return false,
        };
        if prepared.made == Made::ByParse {
            let executed = prepared.facts.statements.iter().filter_map(|statement| statement.executes.as_deref());
            executed.for_each(|name| self.mentioned.name(name));
            return false;
        }
        self.mentioned.name(&String::from_utf8_lossy(name));
        if matches!(request, Request::Bind { .. }) {
            self.note_prepared(prepared);
        }
        true
    }

    /// The statements of a unit that are not the only one of it may make and drop names that only the server knows, and
    /// use them. To be called before anything else is noted of them.
    pub fn note_several<'s>(&mut self, statements: impl Iterator<Item = &'s Statement>) {
        for statement in statements {
            if let StatementKind::Prepare { name } = &statement.kind {
                self.state.touch(Facets::STATEMENTS, Facets::empty());
                self.mentioned.prepares.push(name.clone());
            }
        }
    }

    /// Whether what a statement does counts as done now: what PREPARE prepares has effects when it is executed.
    pub fn has_effects_now(&self, statement: &Statement) -> bool {
        !self.mentioned.prepares.is_empty() || !matches!(statement.kind, StatementKind::Prepare { .. })
    }

    /// Whether the session may have names that only its server knows.
    pub fn may_have_unknown_names(&self) -> bool {
        (self.state.touched() | self.state.held()).contains(Facets::STATEMENTS)
    }

    /// Brings a server to the client's view of what the unit mentions.
    pub async fn bring_statements(&mut self, at: usize) -> Step {
        self.links[at].server.session.begin_unit();
        if self.mentioned.is_empty() {
            return Ok(());
        }
        Box::pin(self.bring_mentioned(at)).await
    }

    async fn bring_mentioned(&mut self, at: usize) -> Step {
        let Mentioned { names, reach, .. } = std::mem::take(&mut self.mentioned);
        let ledger = &self.links[at].server.session.ledger;
        if self.database.is_sharded() || ledger.status() == TransactionStatus::Failed {
            return Ok(());
        }
        if let Some(name) = names.iter().find(|name| is_reserved(name)) {
            return Err(reserved(name).into());
        }
        let names = self.to_bring(at, names, reach);
        let session = &self.links[at].server.session;
        let closes = reach == Reach::List && session.prepared_count() > 0;
        if (closes || !names.is_empty()) && session.ledger.is_unsynced() {
            match self.pause_batch(at).await? {
                Paused::Yes => {}
                Paused::Failed => return Ok(()),
                Paused::No => return Err(unsynced().into()),
            }
        }
        if reach == Reach::List {
            let server = &mut self.links[at].server;
            server.session.close_own(server.conn.queue());
        }
        for name in names {
            self.bring_name(at, &name).await?;
        }
        Ok(())
    }

    /// Brings a server whose batch is open to where Weir can ask something of its own: everything is answered and, by a
    /// Sync of Weir's, outside of the batch. The client does not notice that where the batch has only named statements.
    pub async fn pause_batch(&mut self, at: usize) -> Step<Paused> {
        let server = &mut self.links[at].server;
        if !server.session.ledger.is_unsynced() {
            return Ok(Paused::Yes);
        }
        server.session.flush(server.conn.queue());
        self.relay(at, Listen::Open, &mut Seen::default()).await?;
        let server = &mut self.links[at].server;
        if server.session.ledger.is_skipping() {
            return Ok(Paused::Failed);
        }
        // An unnamed statement is given again where something destroys it, and may not mean the same then.
        let may_be_repeated = self.names.get(b"").is_none_or(|unnamed| unnamed.is_repeatable());
        if !server.session.ledger.has_only_named() || !may_be_repeated {
            return Ok(Paused::No);
        }
        server.session.own_sync(server.conn.queue());
        self.own_replies(at).await?;
        Ok(Paused::Yes)
    }

    /// The names that stand for something else on the server than for the client, as far as the unit reaches.
    fn to_bring(&self, at: usize, mut names: Vec<String>, reach: Reach) -> Vec<String> {
        let session = &self.links[at].server.session;
        if reach > Reach::Names {
            // What other clients left, first of all.
            names.extend(session.sql_names().map(|(name, _)| name.to_owned()));
            let own = self.names.iter().filter(|(_, prepared)| reach.needs(prepared.made));
            names.extend(own.map(|(name, _)| String::from_utf8_lossy(name).into_owned()));
        }
        names.retain(|name| match self.names.get(name.as_bytes()) {
            Some(own) => !session.knows_name(name, own.id),
            None => true,
        });
        names
    }

    async fn bring_name(&mut self, at: usize, name: &str) -> Step {
        let wanted = self.names.get(name.as_bytes()).cloned();
        let server = &mut self.links[at].server;
        let Some(prepared) = wanted else {
            let _closed = server.session.bring(server.conn.queue(), name, None);
            return Ok(());
        };
        let back = match self.reads_otherwise(&prepared) {
            true => self.read_as_before(at, &prepared).await?,
            false => None,
        };
        let server = &mut self.links[at].server;
        let brought = server.session.bring(server.conn.queue(), name, Some(&prepared));
        back.iter().for_each(|back| server.session.own_query(server.conn.queue(), back));
        if brought == Brought::Perhaps {
            self.own_replies(at).await?;
            self.links[at].server.session.has_name(name, prepared.id);
        }
        Ok(())
    }

    /// After a statement of that text has run: what PREPARE made is the client's.
    pub fn keep_prepared(&mut self, at: usize, statement: &Statement, text: &str) -> Result<()> {
        let StatementKind::Prepare { name } = &statement.kind else { return Ok(()) };
        if self.database.is_sharded() {
            return Ok(());
        }
        let born = self.database.schema_changes();
        let sharing = self.sharing();
        let schema = self.schema()?;
        let prepared = self.known.prepared_by_sql(&self.worker.instance.statement_ids, &schema, text, sharing, born);
        drop(schema);
        self.keep_constants(&prepared);
        self.links[at].server.session.has_name(name, prepared.id);
        self.names.set(name.as_bytes(), prepared);
        Ok(())
    }

    /// The name stands for nothing any more, on the server either.
    pub fn name_dropped(&mut self, name: &str) {
        self.names.remove(name.as_bytes());
        self.links.iter_mut().for_each(|link| link.server.session.lost_name(name));
    }
}

impl Reach {
    /// Whether all of the client's statements made in that way must be on the server.
    fn needs(self, made: Made) -> bool {
        match self {
            Self::Names => false,
            Self::AnyName => made == Made::BySql,
            Self::List => true,
        }
    }
}

/// The only statement that a batch runs, with its text, where nothing of the batch is left to later ones.
pub fn only_run<'r>(requests: &'r [Request<'_>], complete: bool) -> Option<(&'r Statement, &'r str)> {
    let mut bound = requests.iter().filter_map(|request| match request {
        Request::Bind { prepared, .. } => Some(prepared),
        _ => None,
    });
    let prepared: &Rc<Prepared> = bound.next().filter(|_| complete && is_plain(requests))?;
    match (prepared.made, prepared.facts.statements.as_slice(), bound.next()) {
        (Made::ByParse, [statement], None) => Some((statement, prepared.text.as_deref()?)),
        _ => None,
    }
}

/// Servers know Weir's own statements by such names.
fn is_reserved(name: &str) -> bool {
    name.strip_prefix("weir_").is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
}

fn reserved(name: &str) -> Error {
    Error::refuse(
        format!("prepared statement name \"{name}\" is reserved"),
        "Weir gives such names to the statements that it prepares on its servers.",
    )
    .hint("Use another name.")
}

fn unsynced() -> Error {
    Error::refuse(
        "a statement of SQL's PREPARE is used in the middle of a batch",
        "Its server may have to be given the statement first, and a batch without Sync is open there.",
    )
    .hint("Send Sync first.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weirs_own_names_are_reserved() {
        for (name, wanted) in [("weir_7", true), ("weir_", false), ("weir_x", false), ("weir_7a", false), ("s", false)]
        {
            assert_eq!(is_reserved(name), wanted, "{name}");
        }
    }
}
