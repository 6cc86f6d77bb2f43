//! The words of a body in SQL or PL/pgSQL, and what they can do to a session.

use std::collections::BTreeSet;

use pg_query::protobuf::{KeywordKind, ScanToken, Token};

use super::{CodeClass, Leaves};
use crate::sql::facts::Effects;

/// What the text of some code says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Code {
    pub class: CodeClass,
    /// Every word and operator: some of them name functions, tables and types.
    pub words: BTreeSet<String>,
    /// Settings with a dot in their names that the code sets.
    pub custom_settings: BTreeSet<String>,
    /// It may read tables, whatever its words say.
    pub reads_unseen: bool,
}

impl Code {
    /// Whether it may touch tables, catalogs or what else a server has of its own. Tables of users are told by their
    /// names elsewhere.
    pub fn touches_tables(&self) -> bool {
        let touches = |word: &String| {
            word.starts_with("pg_")
                || word.starts_with("lo_")
                || word.starts_with("reg")
                || OWN.contains(&word.as_str())
        };
        self.reads_unseen || self.words.iter().any(touches)
    }

    /// Code about which nothing else can be said.
    pub fn of_class(class: CodeClass) -> Self {
        Self { class, ..Self::default() }
    }

    fn leaves(&mut self, leaves: Leaves) {
        self.class.leaves = self.class.leaves.max(leaves);
    }

    /// Adds another piece of code that runs with this one.
    pub fn add(&mut self, other: Self) {
        self.class = self.class.and(other.class);
        self.words.extend(other.words);
        self.custom_settings.extend(other.custom_settings);
        self.reads_unseen |= other.reads_unseen;
    }
}

/// Reads a body that a function runs; a text that cannot be read may do anything.
pub fn read(text: &str) -> Code {
    read_as(text, Part::Body)
}

/// Reads a command that defines something, with the code in its string literals.
pub fn read_definition(text: &str) -> Code {
    read_as(text, Part::Definition)
}

/// What a text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// Statements that run.
    Body,
    /// A command that creates or alters something. Its literals may be bodies.
    Definition,
}

fn read_as(text: &str, part: Part) -> Code {
    // The scanner must not be given a text without any token.
    let text = &format!("{text}\n;");
    let Ok(tokens) = pg_query::scan_tokens(text) else { return Code::of_class(CodeClass::UNKNOWABLE) };
    let words = tokens.iter().filter_map(|token| Word::new(text, token)).collect();
    let mut body = Body { words, part, code: Code::default() };
    (0..body.words.len()).for_each(|at| body.word(at));
    body.code
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Word,
    Operator,
    Literal,
    EscapedName,
    EscapedLiteral,
    Other,
}

/// A token: a word folded or unquoted, an operator, the inside of a string literal, or anything else as it is.
#[derive(Clone, Debug)]
struct Word {
    kind: Kind,
    text: String,
}

impl Word {
    /// `None` for comments.
    fn new(text: &str, token: &ScanToken) -> Option<Self> {
        let range = usize::try_from(token.start).ok()?..usize::try_from(token.end).ok()?;
        let raw = text.get(range).unwrap_or_default();
        let (kind, text) = match token.token() {
            Token::SqlComment | Token::CComment => return None,
            Token::Uident => (Kind::EscapedName, String::new()),
            Token::Usconst => (Kind::EscapedLiteral, String::new()),
            Token::Sconst if raw.starts_with(['e', 'E']) && raw.contains('\\') => (Kind::EscapedLiteral, String::new()),
            Token::Sconst => (Kind::Literal, literal(raw)),
            Token::Ident => (Kind::Word, identifier(raw)),
            _ if token.keyword_kind() != KeywordKind::NoKeyword => (Kind::Word, raw.to_ascii_lowercase()),
            _ if is_operator(raw) => (Kind::Operator, raw.to_owned()),
            _ => (Kind::Other, raw.to_owned()),
        };
        Some(Self { kind, text })
    }

    fn is(&self, word: &str) -> bool {
        !matches!(self.kind, Kind::Literal | Kind::EscapedLiteral) && self.text == word
    }
}

struct Body {
    words: Vec<Word>,
    part: Part,
    code: Code,
}

impl Body {
    fn word(&mut self, at: usize) {
        let Word { kind, text } = self.words[at].clone();
        match kind {
            Kind::Word => {
                self.keyword(at, &text);
                self.code.words.insert(text);
            }
            Kind::Operator => {
                self.code.words.insert(text);
            }
            Kind::Literal if self.part == Part::Definition => self.code.add(read(&text)),
            Kind::EscapedName => self.unknowable(),
            Kind::EscapedLiteral if self.part == Part::Definition => self.unknowable(),
            Kind::Literal | Kind::EscapedLiteral | Kind::Other => {}
        }
    }

    fn keyword(&mut self, at: usize, word: &str) {
        match word {
            "set_config" => self.set_config(at),
            "set" => self.set(at),
            "execute" => self.execute(at),
            "load" if self.at(at + 1).is_some_and(|next| next.kind == Kind::Literal) => {
                self.code.leaves(Leaves::Unknowable)
            }
            "nextval" | "setval" => self.code.class.sequences |= Effects::ADVANCES_SEQUENCE,
            "currval" | "lastval" => self.code.class.sequences |= Effects::READS_SEQUENCE,
            "notify" | "pg_notify" => self.code.class.notifies = true,
            "create" | "temp" | "temporary" if self.part == Part::Definition => {}
            word if KEEPS_STATE.contains(&word) => self.code.leaves(Leaves::Visible),
            word if is_hidden(word) => self.code.leaves(Leaves::Unknowable),
            word if word.starts_with("pg_temp") || is_session_lock(word) => self.code.leaves(Leaves::Visible),
            _ => {}
        }
    }

    fn at(&self, at: usize) -> Option<&Word> {
        self.words.get(at)
    }

    fn is_at(&self, at: usize, word: &str) -> bool {
        self.at(at).is_some_and(|token| token.is(word))
    }

    /// Whether a statement of SQL or PL/pgSQL may begin here.
    fn begins_statement(&self, at: usize) -> bool {
        let before = at.checked_sub(1).and_then(|before| self.at(before));
        before.is_none_or(|word| {
            [";", "begin", "atomic", "then", "else", "loop", ">>"].iter().any(|start| word.is(start))
        })
    }

    /// `set_config(...)`: the server shows what was set, if only the name of a custom setting is known.
    fn set_config(&mut self, at: usize) {
        self.code.leaves(Leaves::Visible);
        match self.at(at + 2) {
            Some(Word { kind: Kind::Literal, text }) if self.is_at(at + 1, "(") && self.is_at(at + 3, ",") => {
                let name = text.to_ascii_lowercase();
                self.custom_setting(name);
            }
            _ => self.code.leaves(Leaves::Unknowable),
        }
    }

    /// SET as a statement, or as a part of CREATE FUNCTION; not that of UPDATE.
    fn set(&mut self, at: usize) {
        let first = at + 1 + usize::from(self.is_at(at + 1, "local") || self.is_at(at + 1, "session"));
        let dotted = self.is_at(first + 1, ".") && (self.is_at(first + 3, "=") || self.is_at(first + 3, "to"));
        if dotted && let (Some(class), Some(name)) = (self.at(first), self.at(first + 2)) {
            let name = format!("{}.{}", class.text, name.text).to_ascii_lowercase();
            self.custom_setting(name);
        }
        if dotted || self.begins_statement(at) {
            self.code.leaves(Leaves::Visible);
        }
    }

    fn custom_setting(&mut self, name: String) {
        if name.contains('.') {
            self.code.custom_settings.insert(name);
        }
    }

    /// EXECUTE of PL/pgSQL: a text that stands there is read, any other may be anything.
    fn execute(&mut self, at: usize) {
        let ends =
            |word: Option<&Word>| word.is_none_or(|word| [";", "into", "using", "loop"].iter().any(|end| word.is(end)));
        match self.at(at + 1) {
            Some(word) if word.is("function") || word.is("procedure") => {}
            Some(Word { kind: Kind::Literal, text }) if ends(self.at(at + 2)) => {
                let inner = read(text);
                self.code.add(inner);
            }
            _ => self.unknowable(),
        }
    }

    fn unknowable(&mut self) {
        self.code.class = self.code.class.and(CodeClass::UNKNOWABLE);
    }
}

/// Words for what each server has of its own, beside those that begin with `pg_`, `lo_` or `reg`.
const OWN: &[&str] = &[
    "copy",
    "ctid",
    "information_schema",
    "inet_server_addr",
    "inet_server_port",
    "lock",
    "loread",
    "lowrite",
    "notify",
    "table",
    "tableoid",
    "txid_current",
    "vacuum",
    "version",
];

/// Words of commands whose effects outlive their transaction, where the server shows them. CREATE makes temporary objects
/// where `search_path` says so.
const KEEPS_STATE: &[&str] = &[
    "create",
    "deallocate",
    "discard",
    "hold",
    "listen",
    "pg_listening_channels",
    "prepare",
    "reset",
    "temp",
    "temporary",
    "unlisten",
];

/// Functions that leave in a session what no catalog shows, or run a text that they are given.
const HIDDEN: &[&str] = &[
    "pg_backup_start",
    "pg_copy_logical_replication_slot",
    "pg_copy_physical_replication_slot",
    "pg_create_logical_replication_slot",
    "pg_create_physical_replication_slot",
    "pg_replication_origin_session_setup",
    "pg_start_backup",
    "setseed",
    "ts_rewrite",
    "ts_stat",
];

/// Whether a built-in function of this name may leave what no catalog shows.
pub fn is_hidden(name: &str) -> bool {
    HIDDEN.contains(&name) || name.contains("_to_xml")
}

fn is_session_lock(word: &str) -> bool {
    word.contains("advisory") && !word.contains("xact")
}

fn is_operator(raw: &str) -> bool {
    !raw.is_empty() && raw.bytes().all(|byte| b"+-*/<>=~!@#%^&|`?".contains(&byte))
}

/// An identifier as PostgreSQL would look it up.
fn identifier(raw: &str) -> String {
    match raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(quoted) => quoted.replace("\"\"", "\""),
        None => raw.to_lowercase(),
    }
}

/// What stands between a literal's quotes.
fn literal(raw: &str) -> String {
    if let Some(rest) = raw.strip_prefix('$')
        && let Some((tag, _)) = rest.split_once('$')
    {
        let quote = tag.len() + 2;
        return raw.get(quote..raw.len().saturating_sub(quote)).unwrap_or_default().to_owned();
    }
    let inner = raw.split_once('\'').map_or(raw, |(_, rest)| rest);
    inner.strip_suffix('\'').unwrap_or(inner).replace("''", "'")
}
