//! What one client's session holds beyond its transaction, as far as Weir knows.
//!
//! *Touched* is what may have changed since the server was last asked ([`super::survey`]); *held* is what is known to be
//! there and cannot follow the client to another server. Settings follow: they are what the client *wants*.

use std::sync::Arc;

use super::settings::{self, Settings};
use super::survey::{self, KnownStatement, Survey};
use crate::sql::facts::{Effects, Facets, PinReason};

/// A client's session.
#[derive(Clone, Debug)]
pub struct SessionState {
    /// What the client asked for in its StartupMessage: RESET goes back to it.
    startup: Arc<Settings>,
    wanted: Arc<Settings>,
    touched: Facets,
    held: Facets,
    /// The server has, or may have, what no command takes away.
    indelible: bool,
    /// Custom settings that the touched ones may be, beside those that the client wants.
    customs: Vec<Box<str>>,
    /// Any custom setting that the database's code sets may be touched.
    any_custom: bool,
    /// The open transaction may have set what decides how constants are read.
    reads_otherwise: bool,
    pub sequences: Sequences,
}

/// What the client does with the memory of sequences that a server keeps for a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sequences {
    /// What the unit at hand may do with it.
    pub asked: Effects,
    /// The client has values on the server that knows this turn.
    pub remembers: bool,
    /// Counts the servers that got to have values of the client's, on the home shard and on the others: those on an
    /// earlier one are out of date. A database has one set of sequences, the home shard's; what code does with those of
    /// another shard makes nothing of them out of date.
    pub turns: [u32; 2],
    /// The client reads them, so that it is better kept where they are.
    pub reads: bool,
    /// The client keeps its server for them.
    pub pinned: bool,
}

impl Sequences {
    /// The client's values are gone.
    pub fn forget(&mut self) {
        (self.remembers, self.pinned) = (false, false);
        self.turns = self.turns.map(|turn| turn.wrapping_add(1));
    }
}

/// The state at some moment, for the case that what came then had no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    touched: Facets,
    held: Facets,
    indelible: bool,
    reads_otherwise: bool,
    sequences: Sequences,
}

impl SessionState {
    /// A session that has just begun with these settings.
    pub fn new(startup: Arc<Settings>) -> Self {
        Self {
            wanted: Arc::clone(&startup),
            startup,
            touched: Facets::empty(),
            held: Facets::empty(),
            indelible: false,
            customs: Vec::new(),
            any_custom: false,
            reads_otherwise: false,
            sequences: Sequences::default(),
        }
    }

    /// The settings that the client's servers are to have.
    pub fn wanted(&self) -> &Arc<Settings> {
        &self.wanted
    }

    /// Whether objects that no schema is named for may become temporary, by the search_path or by one that the open
    /// transaction may have set.
    pub fn makes_temporary_objects(&self) -> bool {
        self.touched.contains(Facets::SETTINGS)
            || self.wanted.get("search_path").is_some_and(|path| path.contains("pg_temp"))
    }

    /// What RESET goes back to.
    pub fn startup(&self) -> &Arc<Settings> {
        &self.startup
    }

    pub fn touched(&self) -> Facets {
        self.touched
    }

    pub fn held(&self) -> Facets {
        self.held
    }

    /// A statement may make these, or end them. What is not there cannot end. Settings are any settings:
    /// [`SessionState::touch_setting`] is for one of a known name.
    pub fn touch(&mut self, makes: Facets, ends: Facets) {
        self.touched |= (makes & Facets::SURVEYED) | (ends & self.held);
        self.hold(makes & Facets::INDELIBLE);
        self.any_custom |= makes.contains(Facets::SHOWN);
        self.reads_otherwise |= makes.contains(Facets::SETTINGS);
    }

    /// A statement may set this setting. One that the transaction sets for itself is gone with it, but the name of a
    /// custom one stays.
    pub fn touch_setting(&mut self, name: &str, local: bool) {
        let name = name.to_ascii_lowercase();
        let custom = name.contains('.');
        self.reads_otherwise |= settings::decides_constants(&name);
        if local && (!custom || self.wanted.get(&name).is_some()) {
            return;
        }
        self.touched |= Facets::SETTINGS;
        if custom && !self.customs.iter().any(|own| **own == *name) {
            self.customs.push(name.into());
        }
    }

    /// The client's server is the only place for this state from now on.
    pub fn hold(&mut self, facets: Facets) {
        self.held |= facets;
        self.indelible |= facets.intersects(Facets::INDELIBLE);
    }

    /// Whether something may be on the server that no command takes away: its next client must not find it.
    pub fn is_indelible(&self) -> bool {
        self.indelible || self.any_custom || !self.customs.is_empty()
    }

    /// The client gave its server back.
    pub fn left_server(&mut self) {
        self.indelible = false;
    }

    pub fn mark(&self) -> Mark {
        Mark {
            touched: self.touched,
            held: self.held,
            indelible: self.indelible,
            reads_otherwise: self.reads_otherwise,
            sequences: self.sequences,
        }
    }

    /// Nothing came of what was noted since the mark.
    pub fn go_back(&mut self, mark: Mark) {
        (self.touched, self.held, self.indelible) = (mark.touched, mark.held, mark.indelible);
        self.sequences = mark.sequences;
        if self.touched.is_empty() {
            self.forget_touched();
        }
        self.reads_otherwise = mark.reads_otherwise;
    }

    /// Whether the open transaction may have set what decides how constants are read.
    pub fn may_read_otherwise(&self) -> bool {
        self.reads_otherwise
    }

    /// The transaction is over: what it set for itself is gone. What it set for the session is known, or still to be asked.
    pub fn transaction_ended(&mut self) {
        self.reads_otherwise &= self.touched.contains(Facets::SETTINGS);
    }

    /// What to ask the server now that the transaction is over; `None` when nothing was touched. `code` are the custom
    /// settings that the database's code sets, `statements` what Weir knows of prepared statements.
    pub fn question<'n>(
        &'n self,
        code: impl Iterator<Item = &'n str>,
        statements: impl Iterator<Item = KnownStatement<'n>>,
    ) -> Option<String> {
        if self.touched.is_empty() {
            return None;
        }
        let wanted = self.wanted.custom_names().filter(|name| !self.customs.iter().any(|own| **own == **name));
        let names: Vec<&str> = self.customs.iter().map(|name| &**name).chain(wanted).collect();
        let code = code.filter(|name| self.any_custom && !names.contains(name));
        Some(survey::question(self.touched, names.iter().copied().chain(code), statements))
    }

    /// The server's answer. Gives the settings that it has now, if it was asked for them.
    pub fn learn(&mut self, survey: Survey) -> Option<Arc<Settings>> {
        self.held = (self.held - self.touched) | survey.present;
        self.forget_touched();
        let has = Arc::new(survey.settings?);
        // A setting that went back to the server's own value goes back to what the client connected with.
        self.wanted = match self.startup.is_covered_by(&has) {
            true => Arc::clone(&has),
            false => Arc::new(Settings::clone(&has).or(&self.startup)),
        };
        Some(has)
    }

    /// DISCARD ALL: the session is as it was when it began. The names of custom settings stay, with no value.
    pub fn discard_all(&mut self) {
        let mut wanted = Settings::clone(&self.startup);
        for name in self.wanted.custom_names().filter(|name| self.startup.get(name).is_none()) {
            wanted.set(name, String::new());
        }
        self.wanted = Arc::new(wanted);
        self.held = Facets::empty();
        self.indelible |= self.any_custom || !self.customs.is_empty();
        self.forget_touched();
        self.sequences.forget();
    }

    fn forget_touched(&mut self) {
        self.touched = Facets::empty();
        self.customs.clear();
        self.any_custom = false;
        self.reads_otherwise = false;
    }

    /// Whether the client has to keep its server.
    pub fn is_pinned(&self) -> bool {
        !self.held.is_empty() || self.sequences.pinned
    }

    /// Why the client keeps its server.
    pub fn pin_reason(&self) -> Option<PinReason> {
        let reasons = [
            (Facets::SETTINGS, PinReason::Setting),
            (Facets::STATEMENTS, PinReason::Prepare),
            (Facets::CONSTANTS, PinReason::Prepare),
            (Facets::TEMPORARY, PinReason::TemporaryTable),
            (Facets::LOCKS, PinReason::AdvisoryLock),
            (Facets::CURSORS, PinReason::HoldCursor),
            (Facets::LIBRARIES, PinReason::Load),
            (Facets::UNREADABLE, PinReason::Unparsed),
            (Facets::HIDDEN, PinReason::Opaque),
        ];
        let held = reasons.into_iter().find(|(facet, _)| self.held.contains(*facet)).map(|(_, reason)| reason);
        held.or(self.sequences.pinned.then_some(PinReason::Sequence))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> Settings {
        let mut settings = Settings::default();
        pairs.iter().for_each(|(name, value)| settings.set(name, (*value).to_owned()));
        settings
    }

    fn session(startup: &[(&str, &str)]) -> SessionState {
        SessionState::new(Arc::new(settings(startup)))
    }

    fn wanted(state: &SessionState) -> Vec<(&str, &str)> {
        state.wanted().iter().collect()
    }

    #[test]
    fn nothing_is_asked_when_nothing_was_touched() {
        let mut state = session(&[]);
        assert_eq!(state.question(std::iter::empty(), std::iter::empty()), None);
        state.touch(Facets::empty(), Facets::TEMPORARY | Facets::CURSORS);
        assert_eq!(state.question(std::iter::empty(), std::iter::empty()), None, "what is not there cannot end");
        state.touch_setting("work_mem", true);
        assert_eq!(
            state.question(std::iter::empty(), std::iter::empty()),
            None,
            "a local setting ends with its transaction"
        );
    }

    #[test]
    fn settings_follow_and_reset_goes_back_to_what_the_client_connected_with() {
        let mut state = session(&[("work_mem", "1MB")]);
        state.touch_setting("DateStyle", false);
        let has = state.learn(Survey { settings: Some(settings(&[("datestyle", "SQL, DMY")])), ..Survey::default() });
        assert_eq!(has.unwrap().iter().collect::<Vec<_>>(), [("datestyle", "SQL, DMY")]);
        assert_eq!(wanted(&state), [("datestyle", "SQL, DMY"), ("work_mem", "1MB")]);
        assert!(!state.is_pinned() && state.touched().is_empty());
    }

    #[test]
    fn the_name_of_a_custom_setting_is_asked_for_once() {
        let mut state = session(&[]);
        state.touch_setting("App.Tenant", true);
        let question = state.question(["app.code"].into_iter(), std::iter::empty()).unwrap();
        assert!(question.contains("'app.tenant'") && !question.contains("app.code"), "{question}");
        state.learn(Survey { settings: Some(settings(&[("app.tenant", "")])), ..Survey::default() });
        state.touch_setting("app.tenant", true);
        assert_eq!(state.question(std::iter::empty(), std::iter::empty()), None);
        state.touch(Facets::SHOWN, Facets::empty());
        let question = state.question(["app.code"].into_iter(), std::iter::empty()).unwrap();
        assert!(question.contains("'app.tenant'") && question.contains("'app.code'"), "{question}");
    }

    #[test]
    fn what_cannot_follow_pins_until_it_is_gone() {
        let mut state = session(&[]);
        state.touch(Facets::TEMPORARY, Facets::empty());
        state.learn(Survey { settings: None, present: Facets::TEMPORARY, ..Survey::default() });
        assert_eq!(state.pin_reason(), Some(PinReason::TemporaryTable));
        state.touch(Facets::empty(), Facets::TEMPORARY | Facets::LOCKS);
        assert_eq!(state.touched(), Facets::TEMPORARY);
        state.learn(Survey::default());
        assert!(!state.is_pinned());
    }

    #[test]
    fn what_no_catalog_shows_lasts() {
        let mut state = session(&[]);
        state.touch(Facets::SHOWN | Facets::HIDDEN, Facets::empty());
        state.learn(Survey { settings: Some(Settings::default()), ..Survey::default() });
        assert_eq!(state.pin_reason(), Some(PinReason::Opaque));
        state.discard_all();
        assert!(state.is_indelible() && !state.is_pinned(), "nobody else gets the server, and the client may");
        state.left_server();
        assert!(!state.is_indelible());
    }

    #[test]
    fn what_had_no_effect_is_taken_back() {
        let mut state = session(&[]);
        let mark = state.mark();
        state.touch(Facets::SHOWN | Facets::UNREADABLE, Facets::empty());
        assert!(state.is_pinned());
        state.go_back(mark);
        assert!(!state.is_pinned() && state.question(std::iter::empty(), std::iter::empty()).is_none());
    }

    #[test]
    fn discard_all_leaves_the_names_of_custom_settings() {
        let mut state = session(&[("app.a", "1"), ("work_mem", "1MB")]);
        let has = settings(&[("app.a", "2"), ("app.b", "3"), ("work_mem", "2MB")]);
        state.touch_setting("app.b", false);
        state.learn(Survey { settings: Some(has), ..Survey::default() });
        state.discard_all();
        assert_eq!(wanted(&state), [("app.a", "1"), ("app.b", ""), ("work_mem", "1MB")]);
    }
}
