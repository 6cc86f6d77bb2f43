//! The `replication` parameter of a StartupMessage. Source: PostgreSQL manual, "Streaming Replication Protocol".

use super::startup::StartupMessage;
use crate::types::{Error, Kind, Origin, Result};

/// What a connection that asks for replication streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replication {
    /// The WAL of the whole server; no database is named.
    Physical,
    /// What one database's changes decode to.
    Logical,
}

impl Replication {
    /// What the client asks for; `None` for an ordinary connection.
    ///
    /// # Errors
    /// A value that PostgreSQL does not take, with its own words.
    pub fn asked(startup: &StartupMessage) -> Result<Option<Self>> {
        let Some(value) = startup.get("replication") else { return Ok(None) };
        if value == "database" {
            return Ok(Some(Self::Logical));
        }
        let wanted = boolean(value).ok_or_else(|| {
            let message = format!("invalid value for parameter \"replication\": \"{value}\"");
            Error::new(Origin::Client, Kind::InvalidValue, message)
                .hint("Valid values are: \"false\", 0, \"true\", 1, \"database\".")
        })?;
        Ok(wanted.then_some(Self::Physical))
    }

    /// PgBouncer's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Physical => "physical",
            Self::Logical => "logical",
        }
    }
}

/// A boolean as PostgreSQL reads it: a word or as much of it as is unambiguous.
fn boolean(value: &str) -> Option<bool> {
    const WORDS: [(&str, usize, bool); 8] = [
        ("true", 1, true),
        ("yes", 1, true),
        ("on", 2, true),
        ("1", 1, true),
        ("false", 1, false),
        ("no", 1, false),
        ("off", 2, false),
        ("0", 1, false),
    ];
    let value = value.to_ascii_lowercase();
    let means = |(word, shortest, _): &&(&str, usize, bool)| value.len() >= *shortest && word.starts_with(&value);
    WORDS.iter().find(means).map(|(_, _, meaning)| *meaning)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(value: &str) -> Result<Option<Replication>> {
        let parameters = vec![("replication".to_owned(), value.to_owned())];
        Replication::asked(&StartupMessage { protocol: 3 << 16, parameters })
    }

    #[test]
    fn values_mean_what_they_mean_to_postgresql() {
        for value in ["true", "TRUE", "t", "tr", "yes", "y", "on", "1"] {
            assert_eq!(asked(value).unwrap(), Some(Replication::Physical), "{value}");
        }
        for value in ["false", "F", "no", "n", "off", "of", "0"] {
            assert_eq!(asked(value).unwrap(), None, "{value}");
        }
        assert_eq!(asked("database").unwrap(), Some(Replication::Logical));
        for value in ["", "o", "2", "Database", "truely", "01"] {
            assert_eq!(asked(value).unwrap_err().kind, Kind::InvalidValue, "{value}");
        }
    }
}
