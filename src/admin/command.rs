//! The console's language: words, read by SQL's own lexical rules (any case, comments, semicolons).

use sqlparser::dialect::GenericDialect;
use sqlparser::tokenizer::{Token, Tokenizer};

use crate::telemetry::Scope;
use crate::types::{Error, Kind, Origin, Result};

/// A command of the console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Show(Subject),
}

/// What SHOW can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    Clients,
    Databases,
    Help,
    Listeners,
    Pools,
    Servers,
    Shards,
    Stats,
    TwoPhase,
    Version,
}

/// Commands that PgBouncer has and Weir does not have yet.
const NOT_YET: &[&str] = &[
    "RELOAD",
    "PAUSE",
    "RESUME",
    "DISABLE",
    "ENABLE",
    "KILL",
    "RECONNECT",
    "SET",
    "SHUTDOWN",
    "SUSPEND",
    "WAIT_CLOSE",
];

impl Subject {
    pub(super) const ALL: &[Self] = &[
        Self::Clients,
        Self::Databases,
        Self::Help,
        Self::Listeners,
        Self::Pools,
        Self::Servers,
        Self::Shards,
        Self::Stats,
        Self::TwoPhase,
        Self::Version,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Clients => "CLIENTS",
            Self::Databases => "DATABASES",
            Self::Help => "HELP",
            Self::Listeners => "LISTENERS",
            Self::Pools => "POOLS",
            Self::Servers => "SERVERS",
            Self::Shards => "SHARDS",
            Self::Stats => "STATS",
            Self::TwoPhase => "TWO_PHASE",
            Self::Version => "VERSION",
        }
    }

    pub(super) fn description(self) -> &'static str {
        match self {
            Self::Clients => "each client: what it does, which servers it holds, and what pins them",
            Self::Databases => "each database as it is configured",
            Self::Help => "this list",
            Self::Listeners => "each database's connection that listens for its clients",
            Self::Pools => "clients and servers per database, user, shard and role",
            Self::Servers => "each connection to a PostgreSQL server",
            Self::Shards => "each shard, its nodes and its share of the load",
            Self::Stats => "what each database had to do, since the start and lately",
            Self::TwoPhase => "transactions over several shards that are not finished on all of them",
            Self::Version => "the version of Weir",
        }
    }

    /// What has to be asked of the workers for it.
    pub(super) fn scope(self) -> Scope {
        match self {
            Self::Clients | Self::Servers => Scope::Connections,
            Self::Databases
            | Self::Help
            | Self::Listeners
            | Self::Pools
            | Self::Shards
            | Self::Stats
            | Self::TwoPhase
            | Self::Version => Scope::Pools,
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|subject| subject.name() == word)
    }
}

/// Reads all commands of a text; an error if one of them is none.
pub(super) fn parse(sql: &str) -> Result<Vec<Command>> {
    let tokens = Tokenizer::new(&GenericDialect {}, sql)
        .tokenize()
        .map_err(|error| Error::new(Origin::Client, Kind::Syntax, error.message))?;
    let statements = tokens.split(|token| *token == Token::SemiColon).map(words);
    statements.filter(|words| !words.is_empty()).map(|words| command(&words)).collect()
}

/// The tokens of a statement as text, in upper case, without white space and comments.
fn words(statement: &[Token]) -> Vec<String> {
    let words = statement.iter().filter(|token| !matches!(token, Token::Whitespace(_)));
    words.map(|token| token.to_string().to_uppercase()).collect()
}

fn command(words: &[String]) -> Result<Command> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["HELP"] => Ok(Command::Show(Subject::Help)),
        ["SHOW", word] => Subject::from_word(word).map(Command::Show).ok_or_else(|| unknown(&words)),
        [first, ..] if NOT_YET.contains(first) => Err(Error::new(
            Origin::Client,
            Kind::NotSupported,
            format!("{first} is not supported by this version of Weir"),
        )),
        _ => Err(unknown(&words)),
    }
}

fn unknown(words: &[&str]) -> Error {
    let given = words.join(" ");
    let error = Error::new(Origin::Client, Kind::Syntax, format!("unknown console command \"{given}\""))
        .detail(format!("This is Weir's console, not a database. Commands: {}.", all_commands().join(", ")));
    match did_you_mean(&given) {
        Some(command) => error.hint(format!("Did you mean {command}?")),
        None => error.hint("SHOW HELP explains them."),
    }
}

fn all_commands() -> Vec<String> {
    Subject::ALL.iter().map(|subject| format!("SHOW {}", subject.name())).collect()
}

/// The command that looks most like `given`, if one does: a slip or two apart, with or without SHOW.
fn did_you_mean(given: &str) -> Option<String> {
    let likeness = |command: &str| {
        let subject = command.strip_prefix("SHOW ").unwrap_or(command);
        strsim::normalized_damerau_levenshtein(given, command)
            .max(strsim::normalized_damerau_levenshtein(given, subject))
    };
    let candidates = all_commands().into_iter().map(|command| (likeness(&command), command));
    let (likeness, command) = candidates.max_by(|(one, _), (other, _)| one.total_cmp(other))?;
    (likeness >= 0.7).then_some(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_by_the_rules_of_sql() {
        let show = Command::Show;
        let cases: [(&str, &[Command]); 8] = [
            ("", &[]),
            (" ; -- nothing\n;", &[]),
            ("SHOW POOLS", &[show(Subject::Pools)]),
            ("show Pools;", &[show(Subject::Pools)]),
            ("/* a */ show -- b\n two_phase ;", &[show(Subject::TwoPhase)]),
            ("show stats; show shards", &[show(Subject::Stats), show(Subject::Shards)]),
            ("help", &[show(Subject::Help)]),
            ("SHOW HELP", &[show(Subject::Help)]),
        ];
        for (sql, expected) in cases {
            assert_eq!(parse(sql).unwrap(), expected, "{sql}");
        }
    }

    #[test]
    fn what_is_no_command_is_refused_with_advice() {
        let cases = [
            ("SHOW POOL", "42601", Some("Did you mean SHOW POOLS?")),
            ("pools", "42601", Some("Did you mean SHOW POOLS?")),
            ("shwo servers", "42601", Some("Did you mean SHOW SERVERS?")),
            ("show", "42601", Some("SHOW HELP explains them.")),
            ("SELECT 1", "42601", Some("SHOW HELP explains them.")),
            ("SHOW POOLS STATS", "42601", None),
            ("SHOW POOLS; SELECT 1", "42601", Some("SHOW HELP explains them.")),
            ("SHOW 'pools", "42601", None),
            ("reload", "0A000", None),
            ("PAUSE shop", "0A000", None),
        ];
        for (sql, sqlstate, hint) in cases {
            let error = parse(sql).unwrap_err();
            assert_eq!(error.sqlstate().as_str(), sqlstate, "{sql}");
            if hint.is_some() {
                assert_eq!(error.hint.as_deref(), hint, "{sql}");
            }
        }
    }

    #[test]
    fn an_unknown_command_lists_the_known_ones() {
        let detail = parse("SELECT 1").unwrap_err().detail.unwrap();
        for subject in Subject::ALL {
            assert!(detail.contains(&format!("SHOW {}", subject.name())), "{detail}");
        }
    }
}
