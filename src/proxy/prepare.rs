//! Statements that a server is given for a client that knows them.
//!
//! PostgreSQL keeps a statement's columns and parameter types for its session. Over servers Weir keeps that promise: a
//! server that is given a statement anew describes it before it runs, and what differs from what clients know is refused
//! in PostgreSQL's words.

use std::rc::Rc;

use super::batch::Request;
use super::client::Client;
use super::outcome::Step;
use super::relay::{Listen, Seen};
use super::simple::Ended;
use super::sql_names::Paused;
use crate::session::ledger::{Asker, Event, Look};
use crate::session::statements::{Described, Made, Prepared};
use crate::sql::facts::Facets;
use crate::types::{Error, Result};

/// Whether a client asks for a portal's columns before it reads rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redescribes {
    Yes,
    No,
}

/// Whether the portal of the Bind that `requests` begin with is described before it is executed.
pub fn redescribes(requests: &[Request<'_>]) -> Redescribes {
    let Some((Request::Bind { portal: bound, .. }, rest)) = requests.split_first() else { return Redescribes::No };
    let first = rest.iter().find_map(|request| match request {
        Request::DescribePortal { portal, .. } if portal == bound => Some(Redescribes::Yes),
        Request::Execute { portal, .. } | Request::Bind { portal, .. } if portal == bound => Some(Redescribes::No),
        _ => None,
    });
    first.unwrap_or(Redescribes::No)
}

/// The place of the first request that needs a server, if it uses a statement; those in front only name statements.
pub fn first_use<'r>(requests: &'r [Request<'_>]) -> Option<(usize, &'r [u8], &'r Rc<Prepared>)> {
    let only_names =
        |request: &Request<'_>| matches!(request, Request::Parse { .. } | Request::CloseStatement | Request::Flush);
    let place = requests.iter().position(|request| !only_names(request))?;
    match &requests[place] {
        Request::Bind { name, prepared, .. } | Request::DescribeStatement { name, prepared } => {
            Some((place, name, prepared))
        }
        _ => None,
    }
}

impl Client {
    /// Has a server prepare a statement that it lacks, and waits until it is known whether it is the statement that the
    /// client knows. If it is not, the client reads so; or it gets the statement as it is now, where it asks for the
    /// columns anew: what is to be used then is given.
    pub async fn prepare(
        &mut self,
        at: usize,
        name: &[u8],
        prepared: &Prepared,
        redescribes: Redescribes,
        ended: &mut Ended,
    ) -> Step<Option<Rc<Prepared>>> {
        let misreads = self.misreads(at, name, prepared);
        let server = &mut self.links[at].server;
        if !misreads && !server.session.must_compare(name, prepared) {
            return Ok(None);
        }
        let back = if misreads { self.read_as_before(at, prepared).await? } else { None };
        let server = &mut self.links[at].server;
        server.session.prepare(server.conn.queue(), name, prepared);
        let mut seen = Seen::default();
        self.relay(at, Listen::Open, &mut seen).await?;
        if let Some(back) = back {
            let server = &mut self.links[at].server;
            server.session.own_query(server.conn.queue(), &back);
        }
        seen.events.iter().for_each(|event| ended.note(event));
        let changed = seen.events.into_iter().find_map(|event| match event {
            Event::Described(look, described) if look.statement == prepared.id => Some(described),
            _ => None,
        });
        let Some(described) = changed else { return Ok(None) };
        if redescribes == Redescribes::Yes {
            return Ok(Some(self.renew(name, prepared, Some(described))?));
        }
        let server = &mut self.links[at].server;
        server.session.refuse_changed(server.conn.queue());
        Ok(None)
    }

    /// A server that has OIDs of its own is asked for the types of a statement that nobody has told yet, where OIDs may stand
    /// in the values of a Bind or of its rows.
    pub async fn learn_types(
        &mut self,
        at: usize,
        name: &[u8],
        prepared: &Prepared,
        arguments: &[u8],
        ended: &mut Ended,
    ) -> Step {
        let server = &mut self.links[at].server;
        if server.session.must_ask(prepared, arguments)? {
            server.session.ask_types(server.conn.queue(), name, prepared);
            let mut seen = Seen::default();
            self.relay(at, Listen::Open, &mut seen).await?;
            for event in &seen.events {
                ended.note(event);
                // The client's name may be gone already: a Close of it can stand behind in the same batch.
                if let Event::Described(look, described) = event
                    && look.statement == prepared.id
                {
                    prepared.standing.learn(described.clone());
                }
            }
        }
        Ok(())
    }

    /// Whether a server that lacks the statement would read its constants otherwise than the server that had it first: the
    /// client has other settings now.
    fn misreads(&self, at: usize, name: &[u8], prepared: &Prepared) -> bool {
        !self.links[at].server.session.has(name, prepared)
            && prepared.made == Made::ByParse
            && self.reads_otherwise(prepared)
    }

    /// Whether the statement's constants would be read under other settings now.
    pub fn reads_otherwise(&self, prepared: &Prepared) -> bool {
        prepared.has_constants()
            && (self.own_reading || prepared.standing.reading.as_ref() != Some(&self.known.reading))
    }

    /// Gives the server the settings under which the statement's constants were read. Gives what takes them back, if the
    /// server takes anything: in a batch that has failed it does not.
    pub async fn read_as_before(&mut self, at: usize, prepared: &Prepared) -> Step<Option<String>> {
        let Some(then) = prepared.standing.reading.as_ref().filter(|_| !self.own_reading) else {
            return Err(unreadable().into());
        };
        match self.pause_batch(at).await? {
            Paused::Yes => {}
            Paused::Failed => return Ok(None),
            Paused::No => return Err(unreadable().into()),
        }
        let now = &self.known.reading;
        let server = &mut self.links[at].server;
        server.session.own_query(server.conn.queue(), now.difference(then));
        Ok(Some(then.difference(now)))
    }

    /// Looks, before a unit, whether the open transaction has settings of its own: what the unit's own statements set
    /// comes after their constants were read.
    pub fn look_at_settings(&mut self) {
        self.own_settings = self.local_settings || self.state.touched().contains(Facets::SETTINGS);
        self.own_reading = self.state.may_read_otherwise();
    }

    /// Takes note of how a server describes a statement: for the first time, or otherwise than clients know it.
    pub fn described(&mut self, look: &Look, described: &Described) -> Result<()> {
        let own = self.names.get(&look.name).filter(|prepared| prepared.id == look.statement);
        let Some(prepared) = own.cloned() else { return Ok(()) };
        match (look.expected, look.asker) {
            (None, _) => prepared.standing.learn(described.clone()),
            (Some(_), Asker::Weir) => prepared.standing.outdated.set(true),
            (Some(_), Asker::Client) => drop(self.renew(&look.name, &prepared, Some(described.clone()))?),
        }
        Ok(())
    }

    /// The client's name stands for the statement as it is now.
    pub fn renew(&mut self, name: &[u8], old: &Prepared, described: Option<Described>) -> Result<Rc<Prepared>> {
        let schema = self.schema()?;
        let renewed = self.known.renewed(&self.worker.instance.statement_ids, &schema, old, described);
        drop(schema);
        self.names.set(name, Rc::clone(&renewed));
        Ok(renewed)
    }
}

fn unreadable() -> Error {
    Error::refuse(
        "a prepared statement cannot be read again under other settings",
        "The server of the moment does not have it, and its constants were read under other settings.",
    )
    .hint("Prepare the statement again.")
}
