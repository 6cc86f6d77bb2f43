//! What a client's transaction left in its session: asked from the server once the transaction is over, so that settings
//! can follow the client and what cannot follow is known.

use std::sync::Arc;

use super::batch::Request;
use super::client::{Client, reads_standard_strings};
use super::outcome::{Step, Stop};
use super::values::Values;
use crate::config::{PoolMode, SequenceState};
use crate::route::HOME;
use crate::session::request::SequenceMemory;
use crate::session::settings::{quote_value, write_set};
use crate::session::survey::{self, Survey};
use crate::sql::facts::{Effects, Facets, Statement};
use crate::types::{Error, Kind, ShardId};
use crate::wire::TransactionStatus;

impl Client {
    /// Asks the client's server what of the session's state is there, if any of it may have changed.
    ///
    /// # Errors
    /// The server was lost, and the session's state with it.
    pub async fn survey(&mut self) -> Step {
        if !self.will_survey() {
            return Ok(());
        }
        let touched = self.state.touched();
        if self.database.is_sharded() && touched != Facets::SETTINGS {
            // Which shard's server has it is not known; the client keeps them all.
            self.state.hold(touched);
            self.show_pin();
            return Ok(());
        }
        match Box::pin(self.ask_survey(touched)).await {
            Ok(survey) => self.learn(survey),
            Err(error) if error.kind == Kind::Reported => {
                // Cancelled, or out of time: the server is asked again after the next transaction, and kept until then.
                tracing::debug!(%error, "a server could not say what a session holds");
                self.state.hold(touched);
            }
            Err(error) => {
                self.state.hold(touched);
                return Err(self.lose(0, error));
            }
        }
        self.show_pin();
        Ok(())
    }

    /// Whether there is something to ask when the transaction is over.
    pub fn will_survey(&self) -> bool {
        self.pool_mode != PoolMode::Session && !self.state.touched().is_empty()
    }

    async fn ask_survey(&mut self, touched: Facets) -> Result<Survey, Error> {
        let schema = self.schema()?;
        let customs = schema.code.custom_settings.iter().map(String::as_str);
        let names = self.links.first().into_iter().flat_map(|link| link.server.session.sql_names());
        let statements = names.map(|(name, id)| {
            let own = self.names.get(name.as_bytes()).filter(|own| own.id == id);
            (name, own.and_then(|own| own.text.as_deref()).unwrap_or_default())
        });
        let question = self.state.question(customs, statements);
        drop(schema);
        let (Some(question), Some(link)) = (question, self.links.first_mut()) else {
            return Err(Error::internal("there is nobody to ask about a session"));
        };
        let row = link.server.run(&question).await?;
        survey::read(touched, &self.user.name, &row)
    }

    fn learn(&mut self, survey: Survey) {
        self.forget_gone(&survey.gone);
        let Some(has) = self.state.learn(survey) else { return };
        // On a sharded database every server of the session was told the same.
        self.lasting.followed();
        for link in &mut self.links {
            link.server.session.has_settings(Arc::clone(&has));
            let wanted = self.state.wanted();
            if !Arc::ptr_eq(&has, wanted) {
                let _in_order = link.server.session.adopt_settings(link.server.conn.queue(), wanted);
            }
        }
        self.follow_settings();
    }

    /// What set_config() has set on one server of the session is told to the others, and to those that join later. The
    /// server is asked what the value is now: it may be spelt in another way, or not have been set.
    pub async fn spread_settings(&mut self, shard: ShardId, statement: &Statement, values: &Values<'_>) -> Step {
        for call in statement.set_configs.iter().filter(|call| call.local == Some(false)) {
            let name = values.text(&call.name).map(|name| name.to_ascii_lowercase());
            // Where the name is not plain to see, code runs on a shard that the client named: its server is kept.
            let Some(name) = name else { continue };
            let Some(at) = self.links.iter().position(|link| link.server.shard() == shard) else { return Ok(()) };
            let question = format!("SELECT pg_catalog.current_setting({}, true)", quote_value(&name));
            let row = self.links[at].server.run(&question).await.map_err(uncertain_settings)?;
            let Some(value) = row.first().and_then(Option::as_ref) else { continue };
            let mut sql = String::new();
            write_set(&mut sql, &name, &String::from_utf8_lossy(value));
            self.tell_others(at, &sql).await?;
            self.tell_later(&name, &sql, false);
        }
        Ok(())
    }

    /// Tells the session's other servers what a bound statement has set on its own.
    pub async fn spread_bound(&mut self, shard: ShardId, request: &Request<'_>) -> Step {
        let Request::Bind { prepared, body, .. } = request else { return Ok(()) };
        let text = prepared.text.as_deref().unwrap_or_default();
        let values = Values { text, literals: &prepared.literals, bound: Some(body) };
        for statement in &prepared.facts.statements {
            self.spread_settings(shard, statement, &values).await?;
        }
        Ok(())
    }

    /// Code dropped statements of these places among those that the server was known to have.
    fn forget_gone(&mut self, places: &[usize]) {
        let Some(link) = self.links.first_mut().filter(|_| !places.is_empty()) else { return };
        let session = &mut link.server.session;
        let known: Vec<_> = session.sql_names().map(|(name, id)| (name.to_owned(), id)).collect();
        for (name, id) in places.iter().filter_map(|place| known.get(*place)) {
            session.lost_name(name);
            if self.names.get(name.as_bytes()).is_some_and(|own| own.id == *id) {
                self.names.remove(name.as_bytes());
            }
        }
    }

    /// The session's settings decide what texts mean, and with whom statements are shared.
    pub fn follow_settings(&mut self) {
        let standard_strings = reads_standard_strings(&self.told);
        self.known = self.worker.known(&self.database, self.state.wanted(), standard_strings);
    }

    // ---- the memory of sequences

    /// What a server's memory is where the unit at hand may read values of sequences that the client has on some server.
    pub fn sequences_wanted(&self, shard: ShardId) -> Option<SequenceMemory> {
        let sequences = &self.state.sequences;
        (sequences.remembers && sequences.asked.contains(Effects::READS_SEQUENCE)).then(|| self.own_sequences(shard))
    }

    fn own_sequences(&self, shard: ShardId) -> SequenceMemory {
        SequenceMemory::Client { id: self.handle.id, turn: self.state.sequences.turns[turn_of(shard)] }
    }

    /// Sees to it that the unit finds the client's own values of sequences in the server's memory, or none.
    pub fn use_sequences(&mut self, at: usize) {
        let asked = std::mem::take(&mut self.state.sequences.asked);
        if asked.is_empty() {
            return;
        }
        self.state.sequences.reads |= asked.contains(Effects::READS_SEQUENCE);
        let exact = self.state.sequences.reads || self.database.sequence_state == SequenceState::Pin;
        let has_others = ![self.own_sequences(self.links[at].server.shard()), SequenceMemory::Nobody]
            .contains(self.sequence_memory(at));
        if exact && has_others && !self.is_failed() {
            let server = &mut self.links[at].server;
            server.session.discard_sequences(server.conn.queue());
        }
        if asked.contains(Effects::ADVANCES_SEQUENCE) {
            self.remember_sequences(at);
            self.state.sequences.pinned |= exact && self.pool_mode != PoolMode::Session;
            self.show_pin();
        }
    }

    fn is_failed(&self) -> bool {
        self.status() == TransactionStatus::Failed
    }

    fn sequence_memory(&mut self, at: usize) -> &mut SequenceMemory {
        &mut self.links[at].server.session.sequences
    }

    /// The server gets values of the client's.
    fn remember_sequences(&mut self, at: usize) {
        self.state.sequences.remembers = true;
        let shard = self.links[at].server.shard();
        let own = self.own_sequences(shard);
        if *self.sequence_memory(at) == own {
            return;
        }
        // Values on the server where the client was before are out of date from now on.
        let turn = &mut self.state.sequences.turns[turn_of(shard)];
        *turn = turn.wrapping_add(1);
        let own = self.own_sequences(shard);
        let memory = self.sequence_memory(at);
        *memory = if *memory == SequenceMemory::Nobody { own } else { SequenceMemory::Several };
    }

    /// DISCARD SEQUENCES.
    pub fn sequences_discarded(&mut self) {
        self.state.sequences.forget();
        self.links.iter_mut().for_each(|link| link.server.session.sequences = SequenceMemory::Nobody);
        self.show_pin();
    }
}

/// The place of a shard's count among [`Sequences::turns`](crate::session::state::Sequences).
fn turn_of(shard: ShardId) -> usize {
    usize::from(shard != HOME)
}

/// A server that did not say what a setting is now.
fn uncertain_settings(error: Error) -> Stop {
    Stop::Fatal(error.hint("Connect again: the session's settings are not certain."))
}
