//! Statements about the session, and those that a sharded database does not do.

use std::borrow::Cow;

use postgres_protocol::escape::escape_literal;

use super::plan::Action;
use super::{OWN_SETTINGS, Parameter};
use crate::sql::analyze::{Argument, assignments, set_config_call, syntax_error};
use crate::sql::facts::StatementKind;
use crate::types::{Error, Kind, Origin, Result};

/// The schemas in which names are looked up.
pub const SEARCH_PATH: &str = "search_path";

/// Settings that change as whom a statement runs: plans would be wrong under them.
const ROLE_SETTINGS: &[&str] = &["role", "session_authorization"];

/// What a StartupMessage's parameter may change on a sharded database.
///
/// # Errors
/// Refuses settings under which a plan, or a merge of rows in text format, would be wrong.
pub fn check_startup(name: &str, value: &str) -> Result<()> {
    if name == SEARCH_PATH {
        return Err(cannot_change(name, NAMING).hint(NAMING_HINT));
    }
    check_setting(name, Some(value))
}

const NAMING: &str = "It changes which relations and functions names stand for.";
const NAMING_HINT: &str = "Qualify names with their schema, or set it for the role with ALTER ROLE.";

/// What a SET or RESET may change on a sharded database. Under another `search_path` names of tables must be qualified.
///
/// # Errors
/// As [`check_startup`].
pub fn check_setting(name: &str, value: Option<&str>) -> Result<()> {
    if ROLE_SETTINGS.contains(&name) {
        return Err(cannot_change(name, NAMING).hint(NAMING_HINT));
    }
    if name == SEARCH_PATH && value.is_some_and(hides_system_names) {
        return Err(cannot_change(name, "PostgreSQL's own functions and types would not be found first."));
    }
    if name == "transaction_snapshot" {
        return Err(cannot_change(name, "A snapshot belongs to one server."));
    }
    match value.and_then(|value| misreading(name, value)) {
        None => Ok(()),
        Some(detail) => Err(cannot_change(name, detail)),
    }
}

/// Whether a search path has pg_catalog behind another schema; where it does not name it, it is searched first.
fn hides_system_names(path: &str) -> bool {
    path.split(',').skip(1).any(|schema| schema.trim().trim_matches(['"', '\'']) == "pg_catalog")
}

/// Why texts of statements or of results would be misread, or rows of several shards seen at different times.
fn misreading(name: &str, value: &str) -> Option<&'static str> {
    let words = || value.split(',').map(|word| word.trim().trim_matches(['\'', '"']).to_ascii_lowercase());
    match name {
        "standard_conforming_strings" if !words().all(|word| matches!(&*word, "on" | "true" | "yes" | "1")) => {
            Some("Weir reads a backslash in a string as itself.")
        }
        "client_encoding" if !words().all(|word| is_readable_encoding(&word)) => {
            Some("Weir reads statements as UTF8, or as ASCII.")
        }
        "datestyle" if words().any(|word| ["sql", "german"].contains(&&*word) || word.starts_with("postgres")) => {
            Some("Dates and times are merged in their ISO form.")
        }
        "bytea_output" if words().any(|word| word != "hex") => {
            Some("Values of type bytea are merged in their hex form.")
        }
        "extra_float_digits" if !words().all(|word| word.parse::<i32>().is_ok_and(|digits| digits > 0)) => {
            Some("Floating-point values are merged by all their digits.")
        }
        "transform_null_equals" if words().any(|word| word != "off" && word != "false") => {
            Some("A comparison with NULL would find rows.")
        }
        "default_transaction_isolation" if !words().all(|word| is_per_statement(&word)) => {
            Some("REPEATABLE READ and SERIALIZABLE need one snapshot, which shards do not share.")
        }
        _ => None,
    }
}

/// Whether every statement of this isolation level has a snapshot of its own.
pub fn is_per_statement(isolation: &str) -> bool {
    ["read committed", "read uncommitted"].iter().any(|level| isolation.eq_ignore_ascii_case(level))
}

/// PostgreSQL compares names of encodings by their letters and digits.
fn is_readable_encoding(name: &str) -> bool {
    let plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    matches!(plain.as_str(), "utf8" | "unicode" | "sqlascii")
}

fn cannot_change(name: &str, detail: &'static str) -> Error {
    Error::refuse(format!("setting \"{name}\" cannot be changed in this way on a sharded database"), detail)
}

/// SET and RESET; `text` is the statement's own.
pub(super) fn set(text: &str) -> Result<Action> {
    let mut assignments = assignments(text).into_iter();
    assignments.try_for_each(|set| check_setting(&set.name, set.value.as_deref()))?;
    Ok(Action::Session)
}

/// What a call of set_config() sets, its arguments known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configured {
    pub name: String,
    /// `None` for NULL.
    pub value: Option<String>,
    pub local: bool,
}

/// The setting that a statement sets by being nothing but a call of set_config(); `None` for any other statement.
pub fn configured(text: &str, parameters: &[Parameter<'_>]) -> Option<Configured> {
    let call = set_config_call(text)?;
    let known = |argument: Argument| match argument {
        Argument::Null => Some(None),
        Argument::Text(text) => Some(Some(text)),
        Argument::Parameter(number) => {
            let parameter = parameters.get(usize::from(number).checked_sub(1)?)?;
            match parameter.value {
                None => Some(None),
                Some(bytes) => std::str::from_utf8(bytes).ok().map(|text| Some(text.to_owned())),
            }
        }
    };
    let (name, value) = (known(call.name)??.to_ascii_lowercase(), known(call.value)?);
    Some(Configured { name, value, local: call.local })
}

/// SELECT set_config(...) and nothing else: as good as SET. `None` where it may run on the home shard as any other
/// statement does, after which the other servers are told of what it set.
pub(super) fn set_config(text: &str, parameters: &[Parameter<'_>], on_home: bool) -> Option<Result<Action>> {
    let Configured { name, value, local } = configured(text, parameters)?;
    if name.starts_with(OWN_SETTINGS) {
        let detail = "Weir's own settings are read from SET and RESET.";
        return Some(Err(cannot_change(&name, detail).hint(format!("Use SET {name}."))));
    }
    // These are as good as in SET TRANSACTION and its kin.
    let is_known =
        !matches!(name.as_str(), "transaction_isolation" | "transaction_read_only" | "transaction_deferrable");
    let checked = match is_known {
        true => check_setting(&name, value.as_deref()),
        false => Err(cannot_change(&name, "It belongs to the transaction.").hint("Use SET TRANSACTION.")),
    };
    let may_run = on_home && !local && value.is_some() && name != SEARCH_PATH;
    if may_run && checked.is_ok() { None } else { Some(checked.map(|()| Action::Session)) }
}

impl Configured {
    /// The text of a call that sets this.
    pub fn sql(&self) -> String {
        let value = self.value.as_deref().map_or(Cow::Borrowed("NULL"), |value| Cow::Owned(escape_literal(value)));
        format!("SELECT pg_catalog.set_config({}, {value}, {})", escape_literal(&self.name), self.local)
    }
}

/// The error for a text that cannot be read: PostgreSQL's own words, as far as its grammar has any.
pub(super) fn unparsed(text: &str) -> Error {
    match syntax_error(text) {
        Some(message) => Error::new(Origin::Client, Kind::Syntax, message)
            .detail("On a sharded database every statement must be read before it runs; Weir knows the grammar of PostgreSQL 18."),
        None => refusal(&StatementKind::Unparsed),
    }
}

/// The refusal of a kind of statement that is not done on a sharded database.
pub(super) fn refusal(kind: &StatementKind) -> Error {
    let (what, detail) = match kind {
        StatementKind::Standalone => {
            ("this command", "It is about databases, tablespaces, settings or replication of one server.")
        }
        StatementKind::Opaque => ("DO, CALL or LOAD", "It cannot be seen what the code reads or writes."),
        StatementKind::Unparsed => ("this statement", "PostgreSQL 18's grammar does not know the text."),
        _ => ("this command", "It is not known what the command does on several shards."),
    };
    let error = Error::refuse(format!("{what} is not supported on a sharded database"), detail);
    match kind {
        StatementKind::Standalone => error.hint("Run it on the servers themselves."),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_mislead_are_refused() {
        for (name, value) in [
            ("search_path", Some("a, pg_catalog")),
            ("search_path", Some("\"$user\",\"pg_catalog\"")),
            ("role", None),
            ("session_authorization", Some("weir")),
            ("transaction_snapshot", None),
            ("standard_conforming_strings", Some("off")),
            ("client_encoding", Some("SJIS")),
            ("client_encoding", Some("'latin1'")),
            ("datestyle", Some("ISO, German")),
            ("datestyle", Some("Postgres")),
            ("bytea_output", Some("escape")),
            ("extra_float_digits", Some("0")),
            ("extra_float_digits", Some("many")),
            ("transform_null_equals", Some("on")),
            ("default_transaction_isolation", Some("repeatable read")),
        ] {
            let error = check_setting(name, value).unwrap_err();
            assert_eq!(error.kind, Kind::NotSupported, "{name} = {value:?}");
        }
    }

    #[test]
    fn settings_that_only_change_what_servers_do_follow_to_every_shard() {
        for (name, value) in [
            ("timezone", Some("Asia/Tokyo")),
            ("search_path", Some("")),
            ("search_path", Some("pg_catalog, a")),
            ("search_path", None),
            ("datestyle", Some("ISO, DMY")),
            ("datestyle", None),
            ("client_encoding", Some("UTF-8")),
            ("client_encoding", Some("'utf8'")),
            ("client_encoding", Some("SQL_ASCII")),
            ("standard_conforming_strings", Some("ON")),
            ("extra_float_digits", Some("3")),
            ("default_transaction_isolation", Some("read committed")),
            ("transaction_isolation", Some("serializable")),
            ("intervalstyle", Some("iso_8601")),
        ] {
            assert!(check_setting(name, value).is_ok(), "{name} = {value:?}");
        }
    }

    #[test]
    fn set_config_alone_is_as_good_as_set() {
        let parameter = |value: &'static str| Parameter {
            type_oid: 0,
            format: crate::wire::frontend::Format::Text,
            value: Some(value.as_bytes()),
        };
        let parameters = [parameter("TimeZone"), parameter("O'Hara")];
        for (text, expected) in [
            ("SELECT set_config('TimeZone', 'UTC', false)", "SELECT pg_catalog.set_config('timezone', 'UTC', false)"),
            (
                "SELECT pg_catalog.set_config($1, $2::text, true) AS x",
                "SELECT pg_catalog.set_config('timezone', 'O''Hara', true)",
            ),
            ("SELECT set_config('a.b', NULL, false);", "SELECT pg_catalog.set_config('a.b', NULL, false)"),
        ] {
            assert_eq!(configured(text, &parameters).unwrap().sql(), expected, "{text}");
        }
        for text in [
            "SELECT set_config('a', 'b', false), 1",
            "SELECT set_config('a', 'b', false) FROM t",
            "SELECT set_config('a', 'b', x > 1)",
            "SELECT set_config('a', 'b' || 'c', false)",
            "SELECT set_config($3, 'b', false)",
            "SELECT set_config('a', 'b', false) UNION SELECT '1'",
            "SELECT mine.set_config('a', 'b', false)",
        ] {
            assert_eq!(configured(text, &parameters), None, "{text}");
        }
        assert!(matches!(set_config("SELECT set_config('role', 'x', false)", &[], false), Some(Err(_))));
        assert!(matches!(set_config("SELECT set_config('weir.shard', 'x', false)", &[], false), Some(Err(_))));
        assert!(matches!(set_config("SELECT set_config('search_path', '', false)", &[], false), Some(Ok(_))));
    }

    #[test]
    fn every_spelling_of_set_names_its_settings() {
        for (text, expected) in [
            ("SET Work_Mem = '1MB'", "work_mem=1MB"),
            ("SET LOCAL datestyle TO iso, dmy", "datestyle=iso,dmy"),
            ("SET extra_float_digits = -3", "extra_float_digits=-3"),
            ("SET NAMES 'latin1'", "client_encoding=latin1"),
            ("SET ROLE NONE", "role=none"),
            ("RESET role", "role"),
            ("SET x.y TO DEFAULT", "x.y"),
            ("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", "transaction_isolation=serializable"),
            ("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", "default_transaction_read_only=1"),
            ("SET TRANSACTION SNAPSHOT '00000003-0000001B-1'", "transaction_snapshot"),
            ("SELECT 1", ""),
        ] {
            let found = assignments(text).into_iter().map(|set| match set.value {
                Some(value) => format!("{}={value}", set.name),
                None => set.name,
            });
            assert_eq!(found.collect::<Vec<_>>().join(";"), expected, "{text}");
        }
    }
}
