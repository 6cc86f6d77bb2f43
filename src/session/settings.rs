//! Run-time parameters that follow the client: what it asked for in its StartupMessage.
//!
//! A server remembers which settings it has; when a client with others gets it, the difference is sent in front of
//! the client's query, in the same write.

use std::fmt::Write as _;

use crate::types::{Error, Kind, Origin, Result};
use crate::wire::startup::StartupMessage;

/// Settings by name, sorted; names are folded to lower case as PostgreSQL compares them without case.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Settings {
    pairs: Vec<(String, String)>,
}

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

    fn set(&mut self, name: &str, value: String) {
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
        let means_something = |(name, _): &&(String, String)| name != "application_name";
        Self { pairs: self.pairs.iter().filter(means_something).cloned().collect() }
    }

    /// All settings, name and value.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The names of settings that PostgreSQL knows nothing of: those with a dot.
    pub fn custom_names(&self) -> impl Iterator<Item = &str> {
        self.pairs.iter().map(|(name, _)| name.as_str()).filter(|name| name.contains('.'))
    }

    /// All settings but one.
    pub fn without(&self, name: &str) -> Self {
        Self { pairs: self.pairs.iter().filter(|(own, _)| own != name).cloned().collect() }
    }

    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// The statements that turn a server with the settings `self` into one with `wanted`; empty when nothing differs.
    pub fn difference(&self, wanted: &Self) -> String {
        let mut sql = String::new();
        for (name, _) in &self.pairs {
            if wanted.get(name).is_none() {
                let _ = write!(sql, "RESET {};", quote_name(name));
            }
        }
        for (name, value) in &wanted.pairs {
            if self.get(name) != Some(value) {
                // set_config() reads the value as a StartupMessage does; SET would take a list such as search_path for one name.
                let _ =
                    write!(sql, "SELECT pg_catalog.set_config({}, {}, false);", quote_value(name), quote_value(value));
            }
        }
        sql
    }
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
    name.split('.').map(|part| format!("\"{}\"", part.replace('"', "\"\""))).collect::<Vec<_>>().join(".")
}

/// A value as an SQL literal that means the same whatever standard_conforming_strings says.
fn quote_value(value: &str) -> String {
    let quoted = value.replace('\'', "''");
    if quoted.contains('\\') { format!(" E'{}'", quoted.replace('\\', "\\\\")) } else { format!("'{quoted}'") }
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
