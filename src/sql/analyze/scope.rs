//! Scopes: which names a query level knows, and where the values of its columns come from.

use std::ops::Range;

use pg_query::{NodeEnum, protobuf as pg};

use super::cte::Visible;
use super::inner;
use super::output::OutputColumn;
use crate::sql::facts::ColumnUse;
use crate::sql::schema::Column;

/// The names around a query level.
#[derive(Clone, Copy)]
pub(super) struct Env<'e> {
    pub ctes: Option<Visible<'e>>,
    /// The query level whose columns may be referred to.
    pub outer: Option<&'e Scope<'e>>,
    /// The query stands in EXISTS, without which rows of these sources of `outer` do not count.
    pub wanted_by: Sources,
}

/// Sources of a scope, by their places: from the first on, up to the second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sources(pub usize, pub usize);

impl Sources {
    pub fn contains(self, source: usize) -> bool {
        (self.0..self.1).contains(&source)
    }
}

impl From<Range<usize>> for Sources {
    fn from(range: Range<usize>) -> Self {
        Self(range.start, range.end)
    }
}

impl Env<'_> {
    /// Around a whole statement there is nothing.
    pub const TOP: Self = Self { ctes: None, outer: None, wanted_by: Sources(0, 0) };

    /// For a part of the query that does not filter its rows.
    pub fn unwanted(self) -> Self {
        Self { wanted_by: Sources(0, 0), ..self }
    }
}

/// One query level: the relations of its FROM and what USING merged.
pub(super) struct Scope<'e> {
    pub env: Env<'e>,
    pub sources: Vec<Source<'e>>,
    merged: Vec<Merged>,
    /// A NATURAL join merges columns that are not known: no unqualified name is certain.
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
    pub columns: Columns<'e>,
}

/// The columns of an item of FROM.
pub(super) enum Columns<'e> {
    /// An occurrence, and its columns, if they are known.
    Relation { index: usize, columns: Option<&'e [Column]> },
    /// A query's columns.
    Derived(Vec<OutputColumn>),
    /// They cannot be followed: a function, say.
    Unknown,
}

/// A column that JOIN ... USING made from two.
struct Merged {
    first_source: usize,
    name: String,
    binding: Option<Bound>,
}

/// Where the values of a column come from.
#[derive(Clone, Debug)]
pub(super) struct Bound {
    /// One column, or one for each branch of a set operation.
    pub columns: Vec<ColumnUse>,
    /// Rows of these columns' relations may be left out when no row with their values is wanted here.
    pub pushable: bool,
    pub place: Place,
}

/// The item of FROM that a column belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// How many query levels further out; zero is the level that was asked.
    pub level: usize,
    pub source: usize,
}

/// Whether an item has a column.
#[derive(Clone, Copy, PartialEq)]
enum Has {
    Yes,
    No,
    Unsure,
}

impl<'e> Source<'e> {
    /// An item whose columns cannot be followed.
    pub fn opaque(name: Option<String>) -> Self {
        Self { name, schema: None, columns: Columns::Unknown }
    }

    pub fn derived(name: String, columns: Option<Vec<OutputColumn>>) -> Self {
        Self { name: Some(name), schema: None, columns: columns.map_or(Columns::Unknown, Columns::Derived) }
    }

    fn has(&self, column: &str) -> Has {
        match &self.columns {
            Columns::Relation { columns: Some(columns), .. } => {
                if columns.iter().any(|known| known.name == column) {
                    Has::Yes
                } else {
                    Has::No
                }
            }
            Columns::Derived(columns) => {
                let mut names = columns.iter().map(|known| known.name.as_deref());
                if names.clone().any(|name| name == Some(column)) {
                    Has::Yes
                } else if names.any(|name| name.is_none()) {
                    Has::Unsure
                } else {
                    Has::No
                }
            }
            Columns::Relation { columns: None, .. } | Columns::Unknown => Has::Unsure,
        }
    }

    fn answers_to(&self, schema: Option<&str>, name: &str) -> bool {
        self.name.as_deref() == Some(name) && (schema.is_none() || self.schema.as_deref() == schema)
    }

    /// The column of that name, as one of the item at `source`.
    fn bind(&self, source: usize, column: &str) -> Option<Bound> {
        let place = Place { level: 0, source };
        match &self.columns {
            Columns::Relation { index, .. } => {
                let columns = vec![ColumnUse { relation: *index, column: column.to_owned() }];
                Some(Bound { columns, pushable: true, place })
            }
            Columns::Derived(columns) => {
                let mut named = columns.iter().filter(|known| known.name.as_deref() == Some(column));
                let (found, None) = (named.next()?, named.next()) else { return None };
                let OutputColumn { columns, pushable, .. } = found.clone();
                (!columns.is_empty()).then_some(Bound { columns, pushable, place })
            }
            Columns::Unknown => None,
        }
    }

    /// All columns in order; `None` when they are not known.
    pub fn output(&self) -> Option<Vec<OutputColumn>> {
        match &self.columns {
            Columns::Relation { index, columns: Some(columns) } => {
                let column = |column: &Column| OutputColumn::of(*index, &column.name);
                Some(columns.iter().map(column).collect())
            }
            Columns::Derived(columns) => Some(columns.clone()),
            Columns::Relation { columns: None, .. } | Columns::Unknown => None,
        }
    }

    /// The occurrences whose rows count only as far as this item's rows do.
    pub fn relations(&self) -> Vec<usize> {
        match &self.columns {
            Columns::Relation { index, .. } => vec![*index],
            Columns::Derived(columns) => {
                let pushable = columns.iter().filter(|column| column.pushable);
                pushable.flat_map(|column| column.columns.iter().map(|used| used.relation)).collect()
            }
            Columns::Unknown => Vec::new(),
        }
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
        Env { ctes: self.env.ctes, outer: Some(self), wanted_by: Sources::default() }
    }

    /// Where the values of a column reference certainly come from.
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
            (Some((index, source)), None) => Found::Here(source.bind(index, column)),
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
                Found::Here(source.bind(index, column))
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
            (Some((index, source)), None) if source.name.is_some() => Found::Here(source.bind(index, column)),
            _ => self.find_unqualified(column, range),
        }
    }

    /// From now on the bare name means this column (or nothing that can be followed).
    pub fn merge(&mut self, name: &str, first_source: usize, binding: Option<Bound>) {
        self.merged.push(Merged { first_source, name: name.to_owned(), binding });
    }

    /// The columns that NATURAL JOIN merges; `None` when one side's are not known.
    pub fn common_columns(&self, left: Range<usize>, right: Range<usize>) -> Option<Vec<String>> {
        let names = |side: Range<usize>| -> Option<Vec<String>> {
            let mut names = Vec::new();
            for source in self.sources.get(side)? {
                source.name.as_ref()?;
                for column in source.output()? {
                    names.push(column.name?);
                }
            }
            Some(names)
        };
        if self.natural {
            return None;
        }
        let (left, right) = (names(left)?, names(right)?);
        let mut common: Vec<String> = left.into_iter().filter(|name| right.contains(name)).collect();
        common.sort();
        common.dedup();
        Some(common)
    }

    /// The columns of `*`, and whether they come in this order.
    pub fn star(&self) -> Option<(Vec<OutputColumn>, bool)> {
        let mut columns = Vec::new();
        if self.natural || self.visible_from > 0 {
            return None;
        }
        for merged in &self.merged {
            columns.push(OutputColumn::bound(Some(merged.name.clone()), merged.binding.as_ref()));
        }
        for source in &self.sources {
            source.name.as_ref()?;
            let is_merged =
                |column: &OutputColumn| self.merged.iter().any(|merged| Some(&merged.name) == column.name.as_ref());
            columns.extend(source.output()?.into_iter().filter(|column| !is_merged(column)));
        }
        Some((columns, self.merged.is_empty()))
    }

    /// The columns of `name.*`.
    pub fn star_of(&self, schema: Option<&str>, name: &str) -> Option<Vec<OutputColumn>> {
        let mut matches = self.visible().filter(|(_, source)| source.answers_to(schema, name));
        match (matches.next(), matches.next()) {
            (Some((_, source)), None) => source.output(),
            _ => None,
        }
    }

    /// An alias of a join hides everything inside it.
    pub fn hide_from(&mut self, first_source: usize) {
        self.merged.retain(|merged| merged.first_source < first_source);
        for source in &mut self.sources[first_source..] {
            source.name = None;
        }
    }
}

fn outer(bound: Option<Bound>) -> Option<Bound> {
    bound.map(|bound| Bound { place: Place { level: bound.place.level + 1, ..bound.place }, ..bound })
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
