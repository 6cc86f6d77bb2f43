//! Run-time parameters that follow the client: what it asked for in its StartupMessage.
//!
//! A server remembers which settings it has; when a client with others gets it, the difference is sent in front of
//! the client's query, in the same write.

use std::fmt::Write as _;

use postgres_protocol::escape::escape_identifier;

use super::survey::{ROLE, SESSION_AUTHORIZATION};
use crate::types::{Error, Kind, Origin, Result};
use crate::wire::startup::StartupMessage;

/// Settings by name, sorted; names are folded to lower case as PostgreSQL compares them without case.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Settings {
    pairs: Vec<(String, String)>,
}

/// What PostgreSQL's lexer, its parser and the input functions of its types look at.
const READS_CONSTANTS: [&str; 14] = [
    "array_nulls",
    "backslash_quote",
    "client_encoding",
    "datestyle",
    "intervalstyle",
    "lc_ctype",
    "lc_monetary",
    "lc_numeric",
    "lc_time",
    "standard_conforming_strings",
    "timezone",
    "timezone_abbreviations",
    "transform_null_equals",
    "xmloption",
];

/// Parameters of a StartupMessage that are no settings.
const NOT_SETTINGS: [&str; 4] = ["user", "database", "options", "replication"];

impl Settings {
    /// The settings that a StartupMessage asks for: its parameters, and `-c name=value` in its `options`.
    /// Protocol options (`_pq_.`) are left out: they are negotiated.
    pub fn from_startup(startup: &StartupMessage) -> Result<Self> {
        let mut settings = Self::default();
        if let Some(options) = startup.get("options") {
            for (name, value) in parse_options(options)? {
                settings.set(&name, value);
            }
        }
        for (name, value) in &startup.parameters {
            if !NOT_SETTINGS.contains(&name.as_str()) && !name.starts_with("_pq_.") {
                settings.set(name, value.clone());
            }
        }
        Ok(settings)
    }

    /// Sets one; names are compared without case.
    pub fn set(&mut self, name: &str, value: String) {
        let name = name.to_ascii_lowercase();
        match self.pairs.binary_search_by(|(own, _)| own.as_str().cmp(&name)) {
            Ok(at) => self.pairs[at].1 = value,
            Err(at) => self.pairs.insert(at, (name, value)),
        }
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// The settings without those that mean nothing to the parser: what prepared statements are shared by.
    pub fn for_parsing(&self) -> Self {
        let means_something = |(name, _): &&(String, String)| !name.contains('.') && !INERT.contains(&name.as_str());
        Self { pairs: self.pairs.iter().filter(means_something).cloned().collect() }
    }

    /// The settings that decide what constants of a text mean when it is prepared. What names mean is looked up anew
    /// whenever the statement runs.
    pub fn for_constants(&self) -> Self {
        let decides = |(name, _): &&(String, String)| decides_constants(name);
        Self { pairs: self.pairs.iter().filter(decides).cloned().collect() }
    }

    /// All settings, name and value.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The names of settings that PostgreSQL knows nothing of: those with a dot.
    pub fn custom_names(&self) -> impl Iterator<Item = &str> {
        self.pairs.iter().map(|(name, _)| name.as_str()).filter(|name| name.contains('.'))
    }

    /// Takes one out.
    pub fn remove(&mut self, name: &str) {
        self.pairs.retain(|(own, _)| own != name);
    }

    /// Whether the other settings have all names of these.
    pub fn is_covered_by(&self, other: &Self) -> bool {
        self.pairs.iter().all(|(name, _)| other.get(name).is_some())
    }

    /// These settings, and those of `fallback` that are missing.
    #[must_use]
    pub fn or(mut self, fallback: &Self) -> Self {
        for (name, value) in &fallback.pairs {
            if self.get(name).is_none() {
                self.set(name, value.clone());
            }
        }
        self
    }

    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// The statements that turn a server with the settings `self` into one with `wanted`; empty when nothing differs.
    ///
    /// Who the session is comes last, since others may set less; it goes back to what the login said before anything
    /// else changes.
    pub fn difference(&self, wanted: &Self) -> String {
        let mut sql = String::new();
        if self == wanted {
            return sql;
        }
        if self.has_identity() {
            sql.push_str("RESET ROLE;RESET SESSION AUTHORIZATION;");
        }
        for (name, _) in self.plain_pairs() {
            if wanted.get(name).is_none() {
                let _ = write!(sql, "RESET {};", quote_name(name));
            }
        }
        for (name, value) in wanted.plain_pairs() {
            if self.get(name) != Some(value) {
                write_set(&mut sql, name, value);
            }
        }
        for name in IDENTITY {
            if let Some(value) = wanted.get(name) {
                write_set(&mut sql, name, value);
            }
        }
        sql
    }

    /// The statements that set all of these, or only `name`.
    pub fn restoring(&self, name: Option<&str>) -> String {
        let mut sql = String::new();
        for (own, value) in self.iter().filter(|(own, _)| name.is_none_or(|name| name == *own)) {
            write_set(&mut sql, own, value);
        }
        sql
    }

    /// Whether a server with these settings may refuse those of `wanted`, though another one took them: what they name may
    /// be gone there. `known` are custom settings that it took before.
    pub fn may_be_refused(&self, wanted: &Self, known: impl Fn(&str) -> bool) -> bool {
        let is_doubtful = |name: &str| REFUSABLE.contains(&name) || name.contains('.') && !known(name);
        let differs = |name: &str, value: &str| self.get(name) != Some(value);
        let hinders = |name: &&str| self.get(name).is_some() && self.get(name) != wanted.get(name);
        wanted.has_identity()
            || HINDERING.iter().any(hinders)
            || wanted.iter().any(|(name, value)| differs(name, value) && is_doubtful(name))
    }

    fn has_identity(&self) -> bool {
        IDENTITY.iter().any(|name| self.get(name).is_some())
    }

    /// The settings that do not say who the session is.
    fn plain_pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.iter().filter(|(name, _)| !IDENTITY.contains(name))
    }
}

/// Whether the setting, its name in lower case, decides what constants of a text mean when it is prepared.
pub fn decides_constants(name: &str) -> bool {
    READS_CONSTANTS.contains(&name)
}

/// The settings that say who the session is, in the order in which they are set: the user's change takes the role away.
const IDENTITY: [&str; 2] = [SESSION_AUTHORIZATION, ROLE];

/// Settings that never decide what a text means.
const INERT: &[&str] = &[
    "application_name",
    "client_min_messages",
    "default_transaction_isolation",
    "default_transaction_read_only",
    "extra_float_digits",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
    "lock_timeout",
    "maintenance_work_mem",
    "statement_timeout",
    "synchronous_commit",
    "tcp_keepalives_idle",
    "tcp_user_timeout",
    "work_mem",
];

/// Settings that could end the very statement which changes them.
const HINDERING: &[&str] = &["max_stack_depth", "statement_timeout", "transaction_timeout"];

/// Settings whose values name objects of the database or the machine, or that some state of the server forbids.
const REFUSABLE: &[&str] = &[
    "client_encoding",
    "default_table_access_method",
    "default_tablespace",
    "default_text_search_config",
    "dynamic_library_path",
    "lc_messages",
    "lc_monetary",
    "lc_numeric",
    "lc_time",
    "local_preload_libraries",
    "session_preload_libraries",
    "temp_buffers",
    "temp_tablespaces",
    "timezone_abbreviations",
];

/// Appends a statement that gives a setting its value. set_config() reads it as a StartupMessage does; SET would take a list such as search_path for one name.
pub fn write_set(sql: &mut String, name: &str, value: &str) {
    let _ = write!(sql, "SELECT pg_catalog.set_config({}, {}, false);", quote_value(name), quote_value(value));
}

/// Reads the `options` of a StartupMessage: `-c name=value` and `--name=value`, words split at spaces, a backslash
/// quoting the next character. Source: PostgreSQL manual, libpq `options` and "postgres" command line.
fn parse_options(options: &str) -> Result<Vec<(String, String)>> {
    let words = split_words(options);
    let mut words = words.iter().map(String::as_str);
    let mut pairs = Vec::new();
    while let Some(word) = words.next() {
        let assignment = match word.strip_prefix("--").or_else(|| word.strip_prefix("-c")) {
            Some("") => words.next(),
            other => other,
        };
        let (name, value) = assignment.and_then(|text| text.split_once('=')).ok_or_else(|| {
            Error::new(Origin::Client, Kind::InvalidValue, format!("unsupported startup option: \"{word}\""))
                .hint("Weir understands \"-c name=value\" and \"--name=value\".")
        })?;
        pairs.push((name.replace('-', "_"), value.to_owned()));
    }
    Ok(pairs)
}

fn split_words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => word.extend(chars.next()),
            c if c.is_ascii_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            c => word.push(c),
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// A setting's name as SQL: each part between dots quoted.
fn quote_name(name: &str) -> String {
    name.split('.').map(escape_identifier).collect::<Vec<_>>().join(".")
}

/// A value as an SQL literal that means the same whatever standard_conforming_strings and client_encoding say.
pub fn quote_value(value: &str) -> String {
    if value.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\' || byte == b' ') {
        return format!("'{}'", value.replace('\'', "''"));
    }
    let mut quoted = String::from(" E'");
    for c in value.chars() {
        match c {
            '\'' => quoted.push_str("''"),
            '\\' => quoted.push_str("\\\\"),
            ' '..='~' => quoted.push(c),
            _ => {
                let _ = write!(quoted, "\\U{:08X}", u32::from(c));
            }
        }
    }
    quoted.push('\'');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn startup(parameters: &[(&str, &str)]) -> StartupMessage {
        StartupMessage {
            protocol: crate::wire::startup::PROTOCOL_3_0,
            parameters: parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        }
    }

    #[test]
    fn constants_depend_on_few_settings() {
        let some = [("jit", "off"), ("search_path", "a"), ("role", "b"), ("DateStyle", "German"), ("app.x", "1")];
        let settings = Settings::from_startup(&startup(&some)).unwrap();
        assert_eq!(settings.for_constants().iter().collect::<Vec<_>>(), [("datestyle", "German")]);
    }

    #[test]
    fn a_startup_message_gives_settings() {
        let message = startup(&[
            ("user", "u"),
            ("database", "d"),
            ("application_name", "psql"),
            ("options", r"-c statement_timeout=5s --search-path=a\ b -cwork_mem=1MB"),
            ("_pq_.something", "1"),
        ]);
        let settings = Settings::from_startup(&message).unwrap();
        assert_eq!(settings.get("application_name"), Some("psql"));
        assert_eq!(settings.get("statement_timeout"), Some("5s"));
        assert_eq!(settings.get("search_path"), Some("a b"));
        assert_eq!(settings.get("work_mem"), Some("1MB"));
        assert_eq!(settings.get("user"), None);
        assert_eq!(settings.get("_pq_.something"), None);
    }

    #[test]
    fn an_option_that_is_not_understood_is_an_error() {
        for options in ["-x", "-c", "-c novalue", "--"] {
            let error = Settings::from_startup(&startup(&[("options", options)])).unwrap_err();
            assert_eq!(error.kind, Kind::InvalidValue, "{options}");
        }
    }

    #[test]
    fn the_difference_sets_what_is_new_and_resets_what_is_gone() {
        let old = Settings::from_startup(&startup(&[("application_name", "a"), ("datestyle", "ISO")])).unwrap();
        let new = Settings::from_startup(&startup(&[("application_name", "it's"), ("app.tenant", r"x\y")])).unwrap();
        assert_eq!(
            old.difference(&new),
            "RESET \"datestyle\";SELECT pg_catalog.set_config('app.tenant',  E'x\\\\y', false);\
             SELECT pg_catalog.set_config('application_name', 'it''s', false);"
        );
        assert_eq!(new.difference(&new), "");
    }
}
