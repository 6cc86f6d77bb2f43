//! The console's language: words, read by SQL's own lexical rules (any case, comments, semicolons).

use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::tokenizer::{Token, Tokenizer};

use super::language::MapCommand;
use crate::telemetry::Scope;
use crate::types::{Error, Kind, Origin, Result};

/// A command of the console.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Command {
    Show(Subject),
    /// Changes a shard map.
    Change(MapCommand),
    /// How a statement would be routed.
    ExplainRoute {
        database: Option<String>,
        sql: String,
    },
}

/// What SHOW can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    Clients,
    Databases,
    Help,
    Keyspaces,
    Listeners,
    Pools,
    Servers,
    ShardMap,
    Shards,
    Stats,
    Tables,
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
        Self::Keyspaces,
        Self::Listeners,
        Self::Pools,
        Self::Servers,
        Self::ShardMap,
        Self::Shards,
        Self::Stats,
        Self::Tables,
        Self::TwoPhase,
        Self::Version,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Clients => "CLIENTS",
            Self::Databases => "DATABASES",
            Self::Help => "HELP",
            Self::Keyspaces => "KEYSPACES",
            Self::Listeners => "LISTENERS",
            Self::Pools => "POOLS",
            Self::Servers => "SERVERS",
            Self::ShardMap => "SHARD MAP",
            Self::Shards => "SHARDS",
            Self::Stats => "STATS",
            Self::Tables => "TABLES",
            Self::TwoPhase => "TWO_PHASE",
            Self::Version => "VERSION",
        }
    }

    pub(super) fn description(self) -> &'static str {
        match self {
            Self::Clients => "each client: what it does, which servers it holds, and what pins them",
            Self::Databases => "each database as it is configured",
            Self::Help => "this list",
            Self::Keyspaces => "each way from a key to a shard",
            Self::Listeners => "each database's connection that listens for its clients",
            Self::Pools => "clients and servers per database, user, shard and role",
            Self::Servers => "each connection to a PostgreSQL server",
            Self::ShardMap => "which part of each keyspace is on which shard",
            Self::Shards => "each shard, its nodes and its share of the load",
            Self::Stats => "what each database had to do, since the start and lately",
            Self::Tables => "each table of the shard maps, and how it is spread",
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
            | Self::Keyspaces
            | Self::Listeners
            | Self::Pools
            | Self::ShardMap
            | Self::Shards
            | Self::Stats
            | Self::Tables
            | Self::TwoPhase
            | Self::Version => Scope::Pools,
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|subject| subject.name() == word)
    }
}

/// What changes shard maps and explains routes, for SHOW HELP.
pub(super) const MAP_COMMANDS: &[(&str, &str)] = &[
    ("CREATE KEYSPACE name HASH (type, ...) [BUCKETS n] [FUNCTION f] [ON (shard, ...)]", "buckets of the key's hash"),
    ("CREATE KEYSPACE name RANGE (type, ...) (FROM a TO b ON shard, ...)", "stretches of the key's order"),
    (
        "CREATE KEYSPACE name DIRECTORY (type, ...) | SCHEMA [VALUES (v, ...) ON shard ...] \
         [UNKNOWN REFUSE | ASSIGN [ON (shard, ...)] | ON shard]",
        "keys, or schemas, one by one",
    ),
    (
        "CREATE KEYSPACE name GEO (type, type, ...) (REGION 'r' [RESIDENT] ON (shard, ...), ...)",
        "regions, and buckets of the rest of the key within each",
    ),
    ("ALTER KEYSPACE name ADD VALUE v ON shard", "a new entry of a directory"),
    ("ALTER KEYSPACE name DROP VALUE v", "a directory loses an entry, under which there are no rows"),
    ("ALTER KEYSPACE name RENAME VALUE v TO w", "an entry without rows gets another key"),
    ("ALTER KEYSPACE name ADD RANGE FROM a TO b ON shard", "a range where none was"),
    ("ALTER KEYSPACE name ADD REGION 'r' [RESIDENT] ON (shard, ...)", "a new region"),
    ("DROP KEYSPACE name", "a keyspace that no table uses"),
    ("ALTER TABLE name SHARD BY (column, ...) IN keyspace", "spreads a table"),
    ("ALTER TABLE name SET REFERENCE", "every shard holds all of a table"),
    ("ALTER TABLE name SET SHARD shard", "one shard holds all of a table"),
    ("ALTER TABLE name FORGET", "the map no longer knows a table"),
    ("ALTER DATABASE name ADD SHARD shard", "an attached shard takes part"),
    ("ALTER DATABASE name SET UNMAPPED TABLES REFUSE | HOME", "what becomes of tables that the map does not name"),
    ("... FOR DATABASE name", "behind a command: needed where several databases are sharded"),
    ("EXPLAIN ROUTE [FOR DATABASE name] statement", "the shards that a statement would run on"),
];

/// Reads all commands of a text; an error if one of them is none.
pub(super) fn parse(sql: &str) -> Result<Vec<Command>> {
    if let Some(command) = explain_route(sql) {
        return Ok(vec![command]);
    }
    let tokens = Tokenizer::new(&PostgreSqlDialect {}, sql)
        .tokenize()
        .map_err(|error| Error::new(Origin::Client, Kind::Syntax, error.message))?;
    let statements = tokens.split(|token| *token == Token::SemiColon).filter(|tokens| !words(tokens).is_empty());
    statements.map(command).collect()
}

/// EXPLAIN ROUTE, whose statement is not the console's: all of the text behind it, as it stands.
fn explain_route(sql: &str) -> Option<Command> {
    let rest = strip_word(strip_word(sql, "EXPLAIN")?, "ROUTE")?;
    let database = strip_word(rest, "FOR").and_then(|rest| strip_word(rest, "DATABASE"));
    let (database, sql) = match database.map(str::trim_start) {
        Some(named) => {
            let end = named.find(char::is_whitespace).unwrap_or(named.len());
            (Some(named[..end].trim_matches('"').to_owned()), &named[end..])
        }
        None => (None, rest),
    };
    Some(Command::ExplainRoute { database, sql: sql.trim().trim_end_matches(';').to_owned() })
}

/// The text behind a word that it begins with.
fn strip_word<'t>(text: &'t str, word: &str) -> Option<&'t str> {
    let text = text.trim_start();
    let (first, rest) = text.split_at_checked(word.len())?;
    let ends = rest.chars().next().is_none_or(char::is_whitespace);
    (ends && first.eq_ignore_ascii_case(word)).then_some(rest)
}

/// The tokens of a statement as text, in upper case, without white space and comments.
fn words(statement: &[Token]) -> Vec<String> {
    let words = statement.iter().filter(|token| !matches!(token, Token::Whitespace(_)));
    words.map(|token| token.to_string().to_uppercase()).collect()
}

fn command(tokens: &[Token]) -> Result<Command> {
    if let Some(change) = MapCommand::begin(tokens.to_vec()) {
        return change.map(Command::Change);
    }
    let words = words(tokens);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["HELP"] => Ok(Command::Show(Subject::Help)),
        ["SHOW", subject @ ..] => {
            Subject::from_word(&subject.join(" ")).map(Command::Show).ok_or_else(|| unknown(&words))
        }
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
        let error = parse("SELECT 1").unwrap_err();
        let detail = error.detail.as_deref().unwrap();
        for subject in Subject::ALL {
            assert!(detail.contains(&format!("SHOW {}", subject.name())), "{detail}");
        }
    }
}
