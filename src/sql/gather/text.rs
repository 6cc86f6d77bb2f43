//! The text of a statement or of a view's query, and what is put in the place of its parts.

use std::ops::Range;

use pg_query::protobuf::{ColumnRef, RangeVar, ScanToken, Token};
use postgres_protocol::escape::escape_identifier;

use super::refuse;
use crate::types::{Error, Result};

/// A text, its tokens, and the changes to it.
pub struct Text {
    source: String,
    tokens: Vec<ScanToken>,
    edits: Vec<Edit>,
}

/// One change.
struct Edit {
    range: Range<usize>,
    new: New,
}

/// What stands in a place from now on.
enum New {
    Nothing,
    Item { item: Item, wholesale: bool, alias: Option<String> },
}

/// An item of FROM.
pub enum Item {
    /// A temporary table, by the occurrence that it stands for.
    Table(usize),
    /// A view's query.
    Query(Text),
}

impl Text {
    /// # Errors
    /// A text that PostgreSQL's scanner does not take.
    pub fn new(source: &str) -> Result<Self> {
        Ok(Self { source: source.to_owned(), tokens: tokens(source)?, edits: Vec::new() })
    }

    /// Puts an item in the place of a table's name, under the alias that the table had, if only by its name.
    ///
    /// # Errors
    /// The name is not where the parser says.
    pub fn replace_table(&mut self, range: &RangeVar, item: Item) -> Result<()> {
        let parts = [&range.catalogname, &range.schemaname].into_iter().filter(|name| !name.is_empty()).count() + 1;
        let (mut first, mut last) = self.name(range.location, parts)?;
        if self.is(first.checked_sub(1), Token::Ascii40) && self.is(first.checked_sub(2), Token::Only) {
            // ONLY (name)
            (first, last) = (first - 2, last + 1);
        } else if self.is(first.checked_sub(1), Token::Only) {
            first -= 1;
        } else if range.inh && self.is(last.checked_add(1), Token::Ascii42) {
            // name *
            last += 1;
        }
        let wholesale = self.is(first.checked_sub(1), Token::Table);
        if wholesale {
            first -= 1;
        }
        let alias = range.alias.is_none().then(|| range.relname.clone());
        let range = self.start(first)?..self.end(last)?;
        self.edits.push(Edit { range, new: New::Item { item, wholesale, alias } });
        Ok(())
    }

    /// Takes the schema out of a column's name.
    ///
    /// # Errors
    /// The name is not where the parser says.
    pub fn drop_schema(&mut self, reference: &ColumnRef) -> Result<()> {
        let (first, _) = self.name(reference.location, reference.fields.len())?;
        let range = self.start(first)?..self.start(first + 2)?;
        self.edits.push(Edit { range, new: New::Nothing });
        Ok(())
    }

    /// The first and the last token of a name of so many parts, dots between them.
    fn name(&self, location: i32, parts: usize) -> Result<(usize, usize)> {
        let first = self.tokens.iter().position(|token| token.start == location).ok_or_else(lost)?;
        let last = first + 2 * (parts - 1);
        let are_dots = (1..parts).all(|part| self.is(Some(first + 2 * part - 1), Token::Ascii46));
        let is_odd =
            (first..=last).any(|at| self.is(Some(at), Token::Uident)) || self.is(Some(last + 1), Token::Uescape);
        match are_dots && !is_odd && last < self.tokens.len() {
            true => Ok((first, last)),
            false => Err(refuse("a name that is written in an unusual way")),
        }
    }

    fn is(&self, at: Option<usize>, token: Token) -> bool {
        at.and_then(|at| self.tokens.get(at)).is_some_and(|found| found.token() == token)
    }

    fn start(&self, token: usize) -> Result<usize> {
        self.tokens.get(token).and_then(|token| usize::try_from(token.start).ok()).ok_or_else(lost)
    }

    fn end(&self, token: usize) -> Result<usize> {
        self.tokens.get(token).and_then(|token| usize::try_from(token.end).ok()).ok_or_else(lost)
    }

    /// The text with its changes; `temporary` names the table that an occurrence stands for.
    pub fn render<'t>(&self, temporary: &dyn Fn(usize) -> &'t str) -> String {
        let mut edits: Vec<&Edit> = self.edits.iter().collect();
        edits.sort_by_key(|edit| edit.range.start);
        let mut rendered = String::with_capacity(self.source.len() + edits.len() * 64);
        let mut done = 0;
        for edit in edits {
            rendered.push_str(self.source.get(done..edit.range.start).unwrap_or_default());
            edit.new.render(&mut rendered, temporary);
            done = edit.range.end;
        }
        rendered.push_str(self.source.get(done..).unwrap_or_default());
        rendered
    }
}

/// The words of a text, without comments.
///
/// # Errors
/// A text that PostgreSQL's scanner does not take.
pub fn tokens(text: &str) -> Result<Vec<ScanToken>> {
    let tokens =
        pg_query::scan_tokens(text).map_err(|error| refuse("a text whose words cannot be told apart").source(error))?;
    let is_comment = |token: &ScanToken| matches!(token.token(), Token::SqlComment | Token::CComment);
    Ok(tokens.into_iter().filter(|token| !is_comment(token)).collect())
}

impl New {
    fn render<'t>(&self, out: &mut String, temporary: &dyn Fn(usize) -> &'t str) {
        let Self::Item { item, wholesale, alias } = self else { return };
        if *wholesale {
            // TABLE name: the short form takes no alias.
            out.push_str("SELECT * FROM ");
        }
        match item {
            Item::Table(occurrence) => {
                out.push_str("pg_temp.");
                out.push_str(&escape_identifier(temporary(*occurrence)));
            }
            Item::Query(text) => {
                out.push('(');
                out.push_str(text.render(temporary).trim_end().trim_end_matches(';'));
                out.push(')');
            }
        }
        if let Some(alias) = alias {
            out.push_str(" AS ");
            out.push_str(&escape_identifier(alias));
        }
    }
}

fn lost() -> Error {
    Error::internal("a name of the statement is not where its parse tree says")
}
