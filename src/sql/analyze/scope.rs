//! Scopes: which names a query level knows, and which occurrence of a relation a column belongs to.

use std::ops::Range;

use pg_query::{NodeEnum, protobuf as pg};

use super::inner;
use crate::sql::facts::ColumnUse;
use crate::sql::schema::Column;

/// The names around a query level.
#[derive(Clone, Copy)]
pub(super) struct Env<'e> {
    pub ctes: Option<&'e CteNames<'e>>,
    /// The query level whose columns may be referred to.
    pub outer: Option<&'e Scope<'e>>,
}

impl Env<'_> {
    /// Around a whole statement there is nothing.
    pub const TOP: Self = Self { ctes: None, outer: None };

    /// Whether an unqualified relation name means a WITH query.
    pub fn is_cte(&self, name: &str) -> bool {
        let mut level = self.ctes;
        while let Some(ctes) = level {
            if ctes.names.iter().any(|known| known == name) {
                return true;
            }
            level = ctes.next;
        }
        false
    }
}

/// The WITH queries of one level, and those around it.
pub(super) struct CteNames<'e> {
    pub names: Vec<String>,
    pub next: Option<&'e CteNames<'e>>,
}

/// One query level: the relations of its FROM and what USING merged.
pub(super) struct Scope<'e> {
    pub env: Env<'e>,
    pub sources: Vec<Source<'e>>,
    merged: Vec<Merged>,
    /// A NATURAL join merges columns that only the catalogs know: no unqualified name is certain.
    pub natural: bool,
    /// Inside ON only the joined relations are visible: those from here on.
    pub visible_from: usize,
}

/// An item of FROM (or a statement's target).
pub(super) struct Source<'e> {
    /// Its name in the query; `None` when an alias of a join around it hides it.
    pub name: Option<String>,
    /// The schema, if the item has no alias and names one.
    pub schema: Option<String>,
    /// The occurrence, if the item is a relation whose columns have their own names.
    pub relation: Option<usize>,
    /// Its columns, if they are known.
    pub columns: Option<&'e [Column]>,
}

/// A column that JOIN ... USING made from two.
struct Merged {
    first_source: usize,
    name: String,
    binding: Option<Bound>,
}

/// A column of a known occurrence.
#[derive(Clone, Debug)]
pub(super) struct Bound {
    pub column: ColumnUse,
    /// The item of the scope, `None` when it belongs to an outer query level.
    pub source: Option<usize>,
}

/// Whether an item has a column.
#[derive(Clone, Copy, PartialEq)]
enum Has {
    Yes,
    No,
    Unsure,
}

impl Source<'_> {
    /// An item whose columns cannot be followed: a subquery, a function, a WITH query.
    pub fn opaque(name: Option<String>) -> Self {
        Self { name, schema: None, relation: None, columns: None }
    }

    fn has(&self, column: &str) -> Has {
        match (self.relation, self.columns) {
            (Some(_), Some(columns)) if columns.iter().any(|known| known.name == column) => Has::Yes,
            (Some(_), Some(_)) => Has::No,
            _ => Has::Unsure,
        }
    }

    fn answers_to(&self, schema: Option<&str>, name: &str) -> bool {
        self.name.as_deref() == Some(name) && (schema.is_none() || self.schema.as_deref() == schema)
    }
}

/// What a name leads to on one level.
enum Found {
    Here(Option<Bound>),
    /// Not on this level: the next one around it decides.
    Outside,
}

impl<'e> Scope<'e> {
    pub fn new(env: Env<'e>) -> Self {
        Self { env, sources: Vec::new(), merged: Vec::new(), natural: false, visible_from: 0 }
    }

    /// The environment of a subquery that may refer to this level.
    pub fn inside(&self) -> Env<'_> {
        Env { ctes: self.env.ctes, outer: Some(self) }
    }

    /// The occurrence that a column reference certainly belongs to.
    pub fn bind(&self, reference: &pg::ColumnRef) -> Option<Bound> {
        match column_path(reference)?.as_slice() {
            [column] => self.bind_unqualified(column),
            [table, column] => self.bind_qualified(None, table, column),
            [schema, table, column] => self.bind_qualified(Some(schema), table, column),
            _ => None,
        }
    }

    fn bind_qualified(&self, schema: Option<&str>, table: &str, column: &str) -> Option<Bound> {
        match self.find_qualified(schema, table, column) {
            Found::Here(bound) => bound,
            Found::Outside => outer(self.env.outer?.bind_qualified(schema, table, column)),
        }
    }

    fn find_qualified(&self, schema: Option<&str>, table: &str, column: &str) -> Found {
        let mut matches = self.visible().filter(|(_, source)| source.answers_to(schema, table));
        match (matches.next(), matches.next()) {
            (None, _) => Found::Outside,
            (Some((index, source)), None) => Found::Here(bound(index, source, column)),
            (Some(_), Some(_)) => Found::Here(None),
        }
    }

    fn bind_unqualified(&self, column: &str) -> Option<Bound> {
        match self.find_unqualified(column, self.visible_from..self.sources.len()) {
            Found::Here(bound) => bound,
            Found::Outside => outer(self.env.outer?.bind_unqualified(column)),
        }
    }

    /// Looks a bare column name up among the items of `range`.
    fn find_unqualified(&self, column: &str, range: Range<usize>) -> Found {
        if self.natural {
            return Found::Here(None);
        }
        let merged = |merged: &&Merged| merged.name == column && range.contains(&merged.first_source);
        if let Some(merged) = self.merged.iter().rev().find(merged) {
            return Found::Here(merged.binding.clone());
        }
        let visible = || self.visible().filter(|(index, _)| range.contains(index));
        let mut owners = visible().filter(|(_, source)| source.has(column) != Has::No);
        match (owners.next(), owners.next()) {
            (None, _) => Found::Outside,
            (Some((index, source)), None) if source.has(column) == Has::Yes || self.is_only(index) => {
                Found::Here(bound(index, source, column))
            }
            _ => Found::Here(None),
        }
    }

    /// Whether a bare name can belong to nothing but this item, even if its columns are not known.
    fn is_only(&self, index: usize) -> bool {
        self.env.outer.is_none() && self.visible().all(|(other, _)| other == index)
    }

    fn visible(&self) -> impl Iterator<Item = (usize, &Source<'e>)> {
        self.sources.iter().enumerate().skip(self.visible_from).filter(|(_, source)| source.name.is_some())
    }

    /// The two columns that USING (`column`) equates.
    pub fn using(&self, column: &str, left: Range<usize>, right: Range<usize>) -> (Option<Bound>, Option<Bound>) {
        let side = |range| match self.find_in_side(column, range) {
            Found::Here(bound) => bound,
            Found::Outside => None,
        };
        (side(left), side(right))
    }

    /// As [`Self::find_unqualified`]; but USING never looks outside, so a side of one relation has the column.
    fn find_in_side(&self, column: &str, range: Range<usize>) -> Found {
        let mut items = self.sources.iter().enumerate().take(range.end).skip(range.start);
        match (items.next(), items.next()) {
            (Some((index, source)), None) if source.name.is_some() => Found::Here(bound(index, source, column)),
            _ => self.find_unqualified(column, range),
        }
    }

    /// From now on the bare name means this column (or nothing that can be followed).
    pub fn merge(&mut self, name: &str, first_source: usize, binding: Option<Bound>) {
        self.merged.push(Merged { first_source, name: name.to_owned(), binding });
    }

    /// An alias of a join hides everything inside it.
    pub fn hide_from(&mut self, first_source: usize) {
        self.merged.retain(|merged| merged.first_source < first_source);
        for source in &mut self.sources[first_source..] {
            source.name = None;
        }
    }
}

fn bound(index: usize, source: &Source<'_>, column: &str) -> Option<Bound> {
    let relation = source.relation?;
    Some(Bound { column: ColumnUse { relation, column: column.to_owned() }, source: Some(index) })
}

fn outer(bound: Option<Bound>) -> Option<Bound> {
    bound.map(|bound| Bound { source: None, ..bound })
}

/// The names of `a.b.c`; `None` for anything with a star.
pub(super) fn column_path(reference: &pg::ColumnRef) -> Option<Vec<&str>> {
    reference
        .fields
        .iter()
        .map(|field| match inner(field) {
            Some(NodeEnum::String(name)) => Some(name.sval.as_str()),
            _ => None,
        })
        .collect()
}
