//! Tokens, read one after the other.

use sqlparser::tokenizer::{Token, Word};

use crate::shardmap::{KeyType, KeyValue, ShardMap};
use crate::types::{Error, Kind, Origin, Result, ShardId};

/// The tokens of one command, white space and comments left out.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Reader {
    tokens: Vec<Token>,
    next: usize,
}

impl Reader {
    pub fn new(tokens: Vec<Token>) -> Self {
        let tokens = tokens.into_iter().filter(|token| !matches!(token, Token::Whitespace(_))).collect();
        Self { tokens, next: 0 }
    }

    /// Takes `FOR DATABASE name` from the end of the command, if it stands there.
    pub fn take_database(&mut self) -> Result<Option<String>> {
        let Some(start) = self.tokens.len().checked_sub(3) else { return Ok(None) };
        let mut tail = Self { tokens: self.tokens.split_off(start), next: 0 };
        if tail.words(&["FOR", "DATABASE"]) {
            return tail.name("the name of a database").map(Some);
        }
        self.tokens.append(&mut tail.tokens);
        Ok(None)
    }

    /// Takes these words if all of them stand here.
    pub fn words(&mut self, words: &[&str]) -> bool {
        let found = words.iter().enumerate().all(|(place, word)| {
            matches!(self.tokens.get(self.next + place), Some(Token::Word(Word { value, quote_style: None, .. }))
                if value.eq_ignore_ascii_case(word))
        });
        if found {
            self.next += words.len();
        }
        found
    }

    pub fn expect(&mut self, word: &str) -> Result<()> {
        if self.words(&[word]) { Ok(()) } else { Err(self.wrong(word)) }
    }

    /// Takes a punctuation mark if it stands here.
    pub fn symbol(&mut self, symbol: char) -> bool {
        let found = self.tokens.get(self.next).is_some_and(|token| token.to_string() == symbol.to_string());
        self.next += usize::from(found);
        found
    }

    fn expect_symbol(&mut self, symbol: char) -> Result<()> {
        if self.symbol(symbol) { Ok(()) } else { Err(self.wrong(&format!("\"{symbol}\""))) }
    }

    /// A name as PostgreSQL reads it: folded to lower case unless it is quoted.
    pub fn name(&mut self, what: &str) -> Result<String> {
        match self.tokens.get(self.next) {
            Some(Token::Word(Word { value, quote_style: None, .. })) => {
                self.next += 1;
                Ok(value.to_lowercase())
            }
            Some(Token::Word(Word { value, quote_style: Some('"'), .. })) if !value.is_empty() => {
                self.next += 1;
                Ok(value.clone())
            }
            _ => Err(self.wrong(what)),
        }
    }

    /// A name that is a shard's.
    pub fn shard(&mut self, map: &ShardMap) -> Result<ShardId> {
        let name = self.name("the name of a shard")?;
        map.shard_named(&name).ok_or_else(|| {
            Error::new(Origin::Client, Kind::UnknownObject, format!("there is no shard {name}"))
                .detail(format!("The database has the shards {}.", map.shards().join(", ")))
        })
    }

    /// `(item, ...)` with at least one item.
    pub fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        self.expect_symbol('(')?;
        let items = self.items(&mut item)?;
        self.expect_symbol(')')?;
        Ok(items)
    }

    /// `item, ...` with at least one item.
    pub fn items<T>(&mut self, mut item: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let mut items = vec![item(self)?];
        while self.symbol(',') {
            items.push(item(self)?);
        }
        Ok(items)
    }

    /// A whole number from one.
    pub fn count(&mut self) -> Result<usize> {
        match self.tokens.get(self.next) {
            Some(Token::Number(digits, _)) if digits.parse::<usize>().is_ok_and(|count| count > 0) => {
                self.next += 1;
                Ok(digits.parse().unwrap_or(1))
            }
            _ => Err(self.wrong("a number")),
        }
    }

    /// A value of a key's column: a string, a number, TRUE or FALSE.
    pub fn value(&mut self, key_type: KeyType) -> Result<KeyValue<'static>> {
        let start = self.next;
        let text = self.literal()?;
        KeyValue::from_text(key_type, &text).map(KeyValue::into_owned).ok_or_else(|| {
            self.next = start;
            self.wrong(&format!("a plain value of type {key_type}"))
        })
    }

    fn literal(&mut self) -> Result<String> {
        let sign = if self.symbol('-') { "-" } else { "" };
        let text = match self.tokens.get(self.next) {
            Some(Token::SingleQuotedString(text)) if sign.is_empty() => text.clone(),
            Some(Token::Number(digits, _)) => format!("{sign}{digits}"),
            Some(Token::Word(Word { value, quote_style: None, .. }))
                if ["TRUE", "FALSE"].iter().any(|word| value.eq_ignore_ascii_case(word)) =>
            {
                value.to_lowercase()
            }
            _ => return Err(self.wrong("a value")),
        };
        self.next += 1;
        Ok(text)
    }

    /// A key: a value, or one for each column in parentheses, of which the last ones may be missing if `in_part`.
    pub fn key(&mut self, types: &[KeyType], in_part: bool) -> Result<Vec<KeyValue<'static>>> {
        if !self.symbol('(') {
            return match types {
                [only] => Ok(vec![self.value(*only)?]),
                [first, ..] if in_part => Ok(vec![self.value(*first)?]),
                _ => Err(self.wrong(&format!("({})", names(types)))),
            };
        }
        let mut types = types.iter();
        let mut next = |reader: &mut Self| match types.next() {
            Some(key_type) => reader.value(*key_type),
            None => Err(reader.wrong("\")\"")),
        };
        let values = self.items(&mut next)?;
        let missing: Vec<KeyType> = types.copied().collect();
        if !in_part && !missing.is_empty() {
            return Err(self.wrong(&format!("\",\" and a value of type {}", names(&missing))));
        }
        self.expect_symbol(')')?;
        Ok(values)
    }

    /// Nothing may be left.
    pub fn end(&self) -> Result<()> {
        if self.next == self.tokens.len() { Ok(()) } else { Err(self.wrong("the end of the command")) }
    }

    /// The error that something else was expected here.
    pub fn wrong(&self, expected: &str) -> Error {
        let found = match self.tokens.get(self.next) {
            Some(token) => format!("\"{token}\""),
            None => "the end".to_owned(),
        };
        let before: Vec<String> =
            self.tokens[..self.next.min(self.tokens.len())].iter().map(Token::to_string).collect();
        Error::new(Origin::Client, Kind::Syntax, format!("expected {expected}, found {found}"))
            .detail(format!("Behind: {}", before.join(" ")))
            .hint("SHOW HELP lists the commands.")
    }
}

fn names(types: &[KeyType]) -> String {
    types.iter().map(|key_type| key_type.name()).collect::<Vec<_>>().join(", ")
}
