//! The relations of one FROM clause, and which of them a column belongs to.

use std::borrow::Cow;

use pg_query::protobuf::Node;

use super::super::facts::RelationName;
use super::super::schema::{Column, Schema};
use super::TablePlacement;
use super::expression::column_reference;
use super::refuse;
use crate::types::Result;

/// What column names mean in a SELECT.
/// Says where the rows of a table are.
pub type Placement<'s> = &'s dyn Fn(&RelationName) -> TablePlacement;

pub struct Scope<'s> {
    pub schema: &'s Schema,
    /// `None` where no subquery can be looked into.
    pub placement: Option<Placement<'s>>,
    pub relations: Vec<ScopeRelation<'s>>,
    /// What one server evaluates for each row anew may be evaluated by any.
    pub evaluated_by_row: bool,
    /// The sharded tables whose rows no outer join replaces by NULLs: places in `relations`.
    pub core: Vec<usize>,
    merged: Vec<MergedColumn>,
    /// Where the relations of each subquery begin that is around the innermost one, and its own.
    levels: Vec<usize>,
}

/// One occurrence of a table in FROM.
#[derive(Clone)]
pub struct ScopeRelation<'s> {
    /// The alias, or the table's own name.
    pub alias: String,
    pub columns: Cow<'s, [Column]>,
    /// How the table is sharded; `None` for a reference table, and for rows that the statement itself gives.
    pub shard_key: Option<ShardKey>,
}

/// The key of a sharded table.
#[derive(Clone)]
pub struct ShardKey {
    pub keyspace: String,
    /// Name and type of each column, in the order of the keyspace's key.
    pub columns: Vec<(String, u32)>,
}

/// A column that JOIN ... USING made one of several relations' columns.
struct MergedColumn {
    name: String,
    /// The relation whose column the merged one equals: on the preserved side of an outer join.
    representative: usize,
    members: Vec<usize>,
}

/// A column of an occurrence: `relation` is an index into [`Scope::relations`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound<'n> {
    pub relation: usize,
    pub column: &'n str,
}

impl<'s> Scope<'s> {
    pub fn new(schema: &'s Schema) -> Self {
        let (relations, core, merged, levels) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { schema, placement: None, relations, evaluated_by_row: false, core, merged, levels }
    }

    /// The names of a subquery, before its own FROM is read: those around it are hidden by its own.
    ///
    /// # Errors
    /// Refuses merged columns around it.
    pub fn nested(&self) -> Result<Self> {
        if !self.merged.is_empty() {
            return Err(refuse("a subquery in a statement with JOIN ... USING").hint("Join with ON."));
        }
        let levels = self.levels.iter().copied().chain([self.relations.len()]).collect();
        let (relations, core) = (self.relations.clone(), self.core.clone());
        Ok(Self { relations, core, levels, placement: self.placement, ..Self::new(self.schema) })
    }

    /// Whether a relation is one of the innermost subquery's own.
    pub fn is_innermost(&self, relation: usize) -> bool {
        relation >= self.levels.last().copied().unwrap_or(0)
    }

    /// The places of the relations of each subquery, from the innermost out.
    fn inside_out(&self) -> impl Iterator<Item = std::ops::Range<usize>> {
        let ends = self.levels.iter().copied().skip(1).chain([self.relations.len()]);
        let inner: Vec<_> = self.levels.iter().copied().zip(ends).map(|(begin, end)| begin..end).collect();
        let outermost = 0..self.levels.first().copied().unwrap_or(self.relations.len());
        inner.into_iter().rev().chain([outermost])
    }

    /// Binds `column`, or `qualifier.column`, as PostgreSQL does.
    ///
    /// # Errors
    /// Refuses names that are unknown or ambiguous, system columns and whole rows among them.
    pub fn bind<'n>(&self, qualifier: Option<&str>, column: &'n str) -> Result<Bound<'n>> {
        let relation = match qualifier {
            Some(alias) => self.relation(alias)?,
            None => self.unqualified(column)?,
        };
        if !self.relations[relation].has_column(column) {
            return Err(refuse(format!(
                "\"{}.{column}\", which is no column of that table",
                self.relations[relation].alias
            )));
        }
        Ok(Bound { relation, column })
    }

    /// The occurrence that goes by this alias.
    pub fn relation(&self, alias: &str) -> Result<usize> {
        let named = |place: &usize| self.relations[*place].alias == alias;
        let level = self.inside_out().map(|level| level.filter(named).collect::<Vec<_>>()).find(|all| !all.is_empty());
        single(level.unwrap_or_default().into_iter())
            .ok_or_else(|| refuse(format!("the name \"{alias}\", which does not name exactly one table of FROM")))
    }

    /// Whether rows that are equal in all these expressions (in normal form) are on one shard: a shard key is among them.
    pub fn keeps_together(&self, expressions: &[&Node]) -> bool {
        let has = |alias: &str, column: &str| {
            let key = column_reference(Some(alias), column);
            expressions.iter().any(|expression| **expression == key)
        };
        let mut keyed = self.core.iter().filter_map(|place| {
            let relation = &self.relations[*place];
            Some((&relation.alias, relation.shard_key.as_ref()?))
        });
        keyed.any(|(alias, key)| {
            key.columns.iter().all(|(column, oid)| has(alias, column) && self.equal_means_same_shard(*oid, *oid))
        })
    }

    /// Whether equal values of these types are always placed alike. Equal texts are, unless a collation of the
    /// database calls texts equal that differ in their bytes; char(n) and text differ in their trailing blanks.
    pub fn equal_means_same_shard(&self, a: u32, b: u32) -> bool {
        let is_integer = |oid| matches!(oid, oid::INT2 | oid::INT4 | oid::INT8);
        let is_text = |oid| matches!(oid, oid::TEXT | oid::VARCHAR | oid::BPCHAR);
        if is_text(a) || is_text(b) {
            let both_plain = a != oid::BPCHAR && b != oid::BPCHAR && is_text(a) && is_text(b);
            return both_plain && !self.schema.has_nondeterministic_collations;
        }
        a == b || (is_integer(a) && is_integer(b))
    }

    /// Whether an unqualified name is a column of some relation, be it ambiguous.
    pub fn has_column(&self, column: &str) -> bool {
        self.relations.iter().any(|relation| relation.has_column(column))
    }

    /// Whether JOIN ... USING merged a column of this name.
    pub fn is_merged(&self, column: &str) -> bool {
        self.merged.iter().any(|merged| merged.name == column)
    }

    /// The one relation among `side` that an unqualified column of that side of a join belongs to.
    pub fn bind_on_side(&self, side: &[usize], column: &str) -> Result<usize> {
        let on_side = |relation: &usize| side.contains(relation);
        if let Some(merged) = self.merged.iter().find(|merged| merged.name == column && on_side(&merged.representative))
        {
            return Ok(merged.representative);
        }
        single(side.iter().copied().filter(|relation| self.relations[*relation].has_column(column)))
            .ok_or_else(|| ambiguous(column))
    }

    /// Makes one column of `representative`'s and `other`'s, which JOIN ... USING does.
    pub fn merge(&mut self, column: &str, representative: usize, other: usize) {
        let joins = |merged: &MergedColumn, relation| merged.name == column && merged.members.contains(&relation);
        let (absorbed, mut kept): (Vec<_>, Vec<_>) = std::mem::take(&mut self.merged)
            .into_iter()
            .partition(|merged| joins(merged, representative) || joins(merged, other));
        let mut members = vec![representative, other];
        members.extend(absorbed.into_iter().flat_map(|merged| merged.members));
        kept.push(MergedColumn { name: column.to_owned(), representative, members });
        self.merged = kept;
    }

    fn unqualified(&self, column: &str) -> Result<usize> {
        let merged: Vec<_> = self.merged.iter().filter(|merged| merged.name == column).collect();
        let is_member = |relation: &usize| merged.iter().any(|merged| merged.members.contains(relation));
        let has = |relation: &usize| self.relations[*relation].has_column(column) && !is_member(relation);
        let found = |level: std::ops::Range<usize>| {
            let of_level = merged.iter().map(|merged| merged.representative).filter(|place| level.contains(place));
            of_level.chain(level.clone().filter(has)).collect::<Vec<_>>()
        };
        let level = self.inside_out().map(found).find(|all| !all.is_empty());
        single(level.unwrap_or_default().into_iter()).ok_or_else(|| ambiguous(column))
    }
}

impl ScopeRelation<'_> {
    pub fn has_column(&self, column: &str) -> bool {
        self.columns.iter().any(|own| own.name == column)
    }
}

/// The only item, if there is exactly one.
fn single<T>(mut items: impl Iterator<Item = T>) -> Option<T> {
    let first = items.next();
    first.filter(|_| items.next().is_none())
}

fn ambiguous(column: &str) -> crate::types::Error {
    refuse(format!("the name \"{column}\", which is not a column of exactly one table of FROM"))
        .hint("Write the table's name or alias in front of the column.")
}

/// Built-in types of shard keys whose equality needs a closer look. Source: PostgreSQL's `pg_type` catalog.
mod oid {
    pub const INT8: u32 = 20;
    pub const INT2: u32 = 21;
    pub const INT4: u32 = 23;
    pub const TEXT: u32 = 25;
    pub const BPCHAR: u32 = 1042;
    pub const VARCHAR: u32 = 1043;
}
