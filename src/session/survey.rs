//! The one question that Weir asks a server about the session that a client's transaction left on it.
//!
//! Rollback, savepoints, several statements in one text, functions and DO need no model: the server knows what is left.
//! Everything in the question is qualified, since the session's `search_path` may name anything.

use std::fmt::Write as _;

use bytes::Bytes;

use super::settings::{Settings, quote_value};
use crate::sql::facts::Facets;
use crate::types::{Error, Result};

/// What a session has, as its server says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Every setting that the session has set, the role and the session's user included; of the custom ones, those that
    /// were asked for. `None` when settings were not asked for.
    pub settings: Option<Settings>,
    /// Other parts of the session that are there, of those that were asked for.
    pub present: Facets,
    /// The statements that Weir knew of and that are not there any more, by their places in the question.
    pub gone: Vec<usize>,
}

/// A prepared statement that Weir knows of: its name on the server, and its text, empty where that is not known.
pub type KnownStatement<'k> = (&'k str, &'k str);

/// Settings of the session. A setting that a transaction set for itself is gone when it is asked for.
const SETTINGS: &str = "(SELECT pg_catalog.json_object_agg(s.name, s.setting) FROM pg_catalog.pg_settings s \
     WHERE s.source OPERATOR(pg_catalog.=) 'session'::pg_catalog.text \
     AND s.context OPERATOR(pg_catalog.<>) 'internal'::pg_catalog.text)";

/// Both follow no rule of the other settings, and no catalog shows them.
const IDENTITY: &str =
    "pg_catalog.json_build_object('session_authorization', session_user, 'role', pg_catalog.current_setting('role'))";

/// Statements that SQL made, beside those that Weir knows of.
const STATEMENTS: &str = "EXISTS (SELECT FROM pg_catalog.pg_prepared_statements p WHERE p.from_sql \
     AND NOT EXISTS (SELECT FROM {known} WHERE {same}))";

/// Statements that Weir knows of and the server does not: code drops names, too, and gives them to others.
const GONE: &str = "(SELECT pg_catalog.string_agg(k.place::pg_catalog.text, ',') FROM {known} \
     WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_prepared_statements p WHERE {same}))";

/// The server keeps the whole text of the Query that PREPARE came in.
const SAME: &str =
    "p.name OPERATOR(pg_catalog.=) k.name AND pg_catalog.strpos(p.statement, k.text) OPERATOR(pg_catalog.>) 0";

/// Everything in a schema depends on it.
const TEMPORARY: &str = "EXISTS (SELECT FROM pg_catalog.pg_depend d \
     WHERE d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_namespace'::pg_catalog.regclass \
     AND d.refobjid OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema())";

/// Those of the transaction are gone with it.
const LOCKS: &str = "EXISTS (SELECT FROM pg_catalog.pg_locks l \
     WHERE l.locktype OPERATOR(pg_catalog.=) 'advisory'::pg_catalog.text \
     AND l.pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid())";

/// Outside of transactions only those WITH HOLD are left.
const CURSORS: &str = "EXISTS (SELECT FROM pg_catalog.pg_cursors c WHERE c.is_holdable)";

/// The facets that a yes or no tells, in the order of their columns.
const PRESENCE: [(Facets, &str); 4] = [
    (Facets::STATEMENTS, STATEMENTS),
    (Facets::TEMPORARY, TEMPORARY),
    (Facets::LOCKS, LOCKS),
    (Facets::CURSORS, CURSORS),
];

/// The question about these facets, about custom settings of these names, and about the prepared statements that Weir
/// knows of.
pub fn question<'n>(
    facets: Facets,
    customs: impl Iterator<Item = &'n str>,
    statements: impl Iterator<Item = KnownStatement<'n>>,
) -> String {
    let mut columns = Vec::with_capacity(4 + PRESENCE.len());
    if facets.contains(Facets::SETTINGS) {
        columns.push(SETTINGS.to_owned());
        columns.push(IDENTITY.to_owned());
        columns.push(custom_settings(customs));
    }
    let known = known_statements(statements);
    let with_known = |sql: &str| sql.replace("{same}", SAME).replace("{known}", &known);
    columns.extend(asked_presence(facets).map(|(facet, sql)| match facet {
        Facets::STATEMENTS => with_known(sql),
        _ => sql.to_owned(),
    }));
    if facets.contains(Facets::STATEMENTS) {
        columns.push(with_known(GONE));
    }
    format!("SELECT {}", columns.join(", "))
}

fn known_statements<'n>(statements: impl Iterator<Item = KnownStatement<'n>>) -> String {
    let (names, texts): (Vec<_>, Vec<_>) =
        statements.map(|(name, text)| (quote_value(name), quote_value(text))).unzip();
    format!(
        "ROWS FROM (pg_catalog.unnest(ARRAY[{}]::pg_catalog.text[]), pg_catalog.unnest(ARRAY[{}]::pg_catalog.text[])) \
         WITH ORDINALITY AS k(name, text, place)",
        names.join(", "),
        texts.join(", ")
    )
}

fn custom_settings<'n>(names: impl Iterator<Item = &'n str>) -> String {
    let mut pairs = String::new();
    for name in names {
        let separator = if pairs.is_empty() { "" } else { ", " };
        let name = quote_value(name);
        let _ = write!(pairs, "{separator}{name}, pg_catalog.current_setting({name}, true)");
    }
    format!("pg_catalog.json_build_object({pairs})")
}

fn asked_presence(facets: Facets) -> impl Iterator<Item = (Facets, &'static str)> {
    PRESENCE.into_iter().filter(move |(facet, _)| facets.contains(*facet))
}

/// Reads the answer's row. `login` is the user that the server knows the connection by.
///
/// # Errors
/// The row is not an answer to [`question`].
pub fn read(facets: Facets, login: &str, row: &[Option<Bytes>]) -> Result<Survey> {
    let mut columns = row.iter();
    let mut survey = Survey::default();
    if facets.contains(Facets::SETTINGS) {
        let mut settings = Settings::default();
        for _ in 0..3 {
            add(&mut settings, columns.next().ok_or_else(not_an_answer)?.as_deref())?;
        }
        if settings.get(SESSION_AUTHORIZATION) == Some(login) {
            settings.remove(SESSION_AUTHORIZATION);
        }
        if settings.get(ROLE) == Some("none") {
            settings.remove(ROLE);
        }
        survey.settings = Some(settings);
    }
    for (facet, _) in asked_presence(facets) {
        match columns.next().ok_or_else(not_an_answer)?.as_deref() {
            Some(b"t") => survey.present |= facet,
            Some(b"f") => {}
            _ => return Err(not_an_answer()),
        }
    }
    if facets.contains(Facets::STATEMENTS) {
        let places = columns.next().ok_or_else(not_an_answer)?.as_deref().unwrap_or_default();
        let places = places.split(|byte| *byte == b',').filter(|place| !place.is_empty());
        survey.gone = places.map(place).collect::<Option<_>>().ok_or_else(not_an_answer)?;
    }
    Ok(survey)
}

/// PostgreSQL counts from one.
fn place(digits: &[u8]) -> Option<usize> {
    std::str::from_utf8(digits).ok()?.parse::<usize>().ok()?.checked_sub(1)
}

pub const SESSION_AUTHORIZATION: &str = "session_authorization";
pub const ROLE: &str = "role";

/// Adds the members of a JSON object; those that are null are not there.
fn add(settings: &mut Settings, json: Option<&[u8]>) -> Result<()> {
    let Some(json) = json else { return Ok(()) };
    let object: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(json).map_err(|_| not_an_answer())?;
    for (name, value) in object {
        match value {
            serde_json::Value::String(value) => settings.set(&name, value),
            serde_json::Value::Null => {}
            _ => return Err(not_an_answer()),
        }
    }
    Ok(())
}

fn not_an_answer() -> Error {
    Error::internal("a server's answer about a session cannot be read")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(values: &[Option<&str>]) -> Vec<Option<Bytes>> {
        values.iter().map(|value| value.map(|text| Bytes::copy_from_slice(text.as_bytes()))).collect()
    }

    #[test]
    fn an_answer_gives_what_is_there() {
        let facets = Facets::SETTINGS | Facets::TEMPORARY | Facets::LOCKS;
        let answer = row(&[
            Some(r#"{"work_mem":"7168","TimeZone":"UTC"}"#),
            Some(r#"{"session_authorization":"weir","role":"none"}"#),
            Some(r#"{"app.tenant":"7","app.other":null,"app.gone":""}"#),
            Some("t"),
            Some("f"),
        ]);
        let survey = read(facets, "weir", &answer).unwrap();
        let settings = survey.settings.unwrap();
        let pairs: Vec<_> = settings.iter().collect();
        assert_eq!(pairs, [("app.gone", ""), ("app.tenant", "7"), ("timezone", "UTC"), ("work_mem", "7168")]);
        assert_eq!(survey.present, Facets::TEMPORARY);
    }

    #[test]
    fn another_user_or_role_is_a_setting() {
        let identity = r#"{"session_authorization":"bob","role":"reader"}"#;
        let survey = read(Facets::SETTINGS, "weir", &row(&[None, Some(identity), Some("{}")])).unwrap();
        let settings = survey.settings.unwrap();
        assert_eq!((settings.get("role"), settings.get("session_authorization")), (Some("reader"), Some("bob")));
    }

    #[test]
    fn rubbish_is_no_answer() {
        for rubbish in [row(&[]), row(&[Some("t"), None]), row(&[Some("maybe")]), row(&[None, None])] {
            assert!(read(Facets::LOCKS | Facets::CURSORS, "weir", &rubbish).is_err(), "{rubbish:?}");
        }
        for json in ["", "[1]", "{\"a\":1}", "{"] {
            assert!(read(Facets::SETTINGS, "weir", &row(&[Some(json), None, None])).is_err(), "{json}");
        }
    }

    #[test]
    fn only_what_is_asked_for_costs() {
        let locks = question(Facets::LOCKS, std::iter::empty(), std::iter::empty());
        assert!(locks.contains("pg_locks") && !locks.contains("pg_settings") && !locks.contains("pg_depend"));
        let settings = question(Facets::SETTINGS, ["app.it's"].into_iter(), std::iter::empty());
        assert!(settings.contains("current_setting('app.it''s', true)"), "{settings}");
        let known = [("a", "PREPARE a AS SELECT 1"), ("it's", "")].into_iter();
        let statements = question(Facets::STATEMENTS, std::iter::empty(), known);
        assert!(statements.contains("unnest(ARRAY['a', 'it''s']::"), "{statements}");
        assert!(statements.contains("unnest(ARRAY['PREPARE a AS SELECT 1', '']::"), "{statements}");
    }

    #[test]
    fn statements_that_are_gone_are_known_by_their_places() {
        for (places, gone) in [(None, vec![]), (Some("1"), vec![0]), (Some("2,7"), vec![1, 6])] {
            let survey = read(Facets::STATEMENTS, "weir", &row(&[Some("t"), places])).unwrap();
            assert_eq!((survey.present, survey.gone), (Facets::STATEMENTS, gone));
        }
        for rubbish in ["0", "a", "1,x", "-1"] {
            assert!(read(Facets::STATEMENTS, "weir", &row(&[Some("f"), Some(rubbish)])).is_err(), "{rubbish}");
        }
    }
}
