//! Which shards can hold the rows that a statement needs.

use super::Router;
use super::target::Target;
use super::value::{Family, Value};
use crate::shardmap::{Bound, KeyValue, Keyspace, Method, Range};
use crate::sql::facts::{ColumnUse, Compared, Comparison, Condition, Operand, Values};
use crate::types::{Kind, Result, ShardId};

/// A set of shards, in ascending order.
pub(super) type Shards = Vec<ShardId>;

impl<'a> Router<'a> {
    /// The shards that hold rows which can influence the statement, over all sharded occurrences but `except`. None at
    /// all when every restriction contradicts itself (`key = NULL`).
    pub(super) fn needed(&self, except: Option<usize>) -> Result<Shards> {
        let mut needed = Shards::new();
        for (index, target) in self.targets.iter().enumerate() {
            if let (Target::Sharded { keyspace, column, .. }, false) = (target, except == Some(index)) {
                needed.extend(self.candidates(index, keyspace, column)?);
            }
        }
        needed.sort_unstable();
        needed.dedup();
        Ok(needed)
    }

    pub(super) fn all_shards(&self) -> Shards {
        self.request.map.shard_ids().collect()
    }

    /// The shards of a keyspace that can own the values of a column in the rows that count.
    pub(super) fn candidates(&self, relation: usize, keyspace: &Keyspace, column: &str) -> Result<Shards> {
        let key = ColumnUse { relation, column: column.to_owned() };
        if !self.is_prunable(&key, keyspace) {
            return Ok(self.all_shards());
        }
        let equal = self.equal_columns(&key, Family::of(keyspace.key_type));
        let mut candidates = None;
        for restriction in &self.statement().restrictions {
            for column in equal.iter().filter(|column| restriction.relations.contains(&column.relation)) {
                let pruning = Pruning { router: self, keyspace, column };
                candidates = both(candidates, pruning.shards(&restriction.condition)?);
            }
        }
        Ok(candidates.unwrap_or_else(|| self.all_shards()))
    }

    /// Whether equal values of the key column are equal in their bytes, as the map takes them to be.
    fn is_prunable(&self, key: &ColumnUse, keyspace: &Keyspace) -> bool {
        let family = Family::of(keyspace.key_type);
        let deterministic = family != Family::Text || !self.request.schema.has_nondeterministic_collations;
        deterministic && self.column_type(key).is_some_and(|actual| Family::of(actual) == family)
    }

    /// The key column and all columns whose values carry over to it, by equality of one and the same family of types.
    fn equal_columns<'c>(&self, key: &'c ColumnUse, family: Family) -> Vec<&'c ColumnUse>
    where
        'a: 'c,
    {
        let mut equal = vec![key];
        let mut next = 0;
        while let Some(column) = equal.get(next).copied() {
            next += 1;
            for carry in self.statement().carries.iter().filter(|carry| carry.to == *column) {
                let same_family = self.column_type(&carry.from).is_some_and(|actual| Family::of(actual) == family);
                if same_family && !equal.contains(&&carry.from) {
                    equal.push(&carry.from);
                }
            }
        }
        equal
    }
}

/// The search for the shards of one column's values. `None` always stands for: any shard.
struct Pruning<'r, 'a> {
    router: &'r Router<'a>,
    keyspace: &'r Keyspace,
    /// The only one: another column that equals the key somewhere need not do so in the rows that a condition is about.
    column: &'r ColumnUse,
}

impl Pruning<'_, '_> {
    /// The shards where rows can be for which the condition is true.
    fn shards(&self, condition: &Condition) -> Result<Option<Shards>> {
        match condition {
            Condition::Open => Ok(None),
            Condition::All(parts) => {
                let mut shards = None;
                for part in parts {
                    shards = both(shards, self.shards(part)?);
                }
                Ok(shards)
            }
            Condition::Any(parts) => {
                let mut shards = Shards::new();
                for part in parts {
                    match self.shards(part)? {
                        Some(more) => shards.extend(more),
                        None => return Ok(None),
                    }
                }
                Ok(Some(shards))
            }
            Condition::Compared(compared) if compared.columns.contains(self.column) => self.compared(compared),
            Condition::Compared(_) => Ok(None),
        }
    }

    fn compared(&self, compared: &Compared) -> Result<Option<Shards>> {
        match (&compared.values, compared.comparison) {
            (Values::List(operands), Comparison::Equal) => self.owners(operands),
            (Values::Array(operand), Comparison::Equal) => match self.router.array(operand, self.keyspace.key_type) {
                Some(values) => self.owners_of(values.iter()).map(Some),
                None => Ok(None),
            },
            (Values::List(operands), comparison) => match operands.as_slice() {
                [operand] => self.compared_with(comparison, operand),
                _ => Ok(None),
            },
            (Values::Array(_), _) => Ok(None),
        }
    }

    fn compared_with(&self, comparison: Comparison, operand: &Operand) -> Result<Option<Shards>> {
        let is_null = self.router.is_null(operand);
        match self.router.value(operand, self.keyspace.key_type) {
            // Rows without a key are not where the map says.
            _ if is_null && comparison == Comparison::NotDistinct => Ok(None),
            _ if is_null => Ok(Some(Shards::new())),
            Value::Known(value) if comparison == Comparison::NotDistinct => {
                self.owners_of(std::iter::once(&value)).map(Some)
            }
            Value::Known(value) => Ok(self.ordered(comparison, &value)),
            Value::Null | Value::Unknown => Ok(None),
        }
    }

    /// The shards with keys that are less, or greater, than a value. Texts are ordered by a collation, ranges by bytes.
    fn ordered(&self, comparison: Comparison, value: &KeyValue<'_>) -> Option<Shards> {
        match &self.keyspace.method {
            Method::Range(ranges) if Family::of(self.keyspace.key_type) != Family::Text => {
                Some(ranges.iter().filter(|range| meets(range, comparison, value)).map(|range| range.shard).collect())
            }
            Method::Range(_) | Method::Hash(_) | Method::Directory(_) | Method::Geo(_) => None,
        }
    }

    /// The owners of these values.
    fn owners(&self, one_of: &[Operand]) -> Result<Option<Shards>> {
        if let [operand] = one_of
            && self.router.is_null(operand)
        {
            return Ok(Some(Shards::new()));
        }
        let mut values = Vec::with_capacity(one_of.len());
        for operand in one_of {
            match self.router.value(operand, self.keyspace.key_type) {
                Value::Unknown => return Ok(None),
                // Equality with NULL is true of no row.
                Value::Null => {}
                Value::Known(value) => values.push(value),
            }
        }
        self.owners_of(values.iter()).map(Some)
    }

    fn owners_of<'v>(&self, values: impl Iterator<Item = &'v KeyValue<'v>>) -> Result<Shards> {
        let mut shards = Shards::new();
        for value in values {
            match self.keyspace.shard_of(value) {
                Ok(shard) => shards.push(shard),
                // A value that no shard owns is in no row.
                Err(error) if error.kind == Kind::InvalidValue => {}
                Err(error) => return Err(error),
            }
        }
        Ok(shards)
    }
}

/// Shards in both sets.
fn both(one: Option<Shards>, other: Option<Shards>) -> Option<Shards> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.into_iter().filter(|shard| other.contains(shard)).collect()),
        (Some(only), None) | (None, Some(only)) => Some(only),
        (None, None) => None,
    }
}

/// Whether a range has values that compare with `value` in this way.
fn meets(range: &Range, comparison: Comparison, value: &KeyValue<'_>) -> bool {
    let starts_before = |or_at: bool| match &range.from {
        Bound::MinValue => true,
        Bound::Value(from) => from < value || (or_at && from == value),
        Bound::MaxValue => false,
    };
    let ends_after = match &range.to {
        Bound::MinValue => false,
        Bound::Value(to) => to > value,
        Bound::MaxValue => true,
    };
    match comparison {
        Comparison::Less => starts_before(false),
        Comparison::LessEqual => starts_before(true),
        Comparison::Greater | Comparison::GreaterEqual => ends_after,
        Comparison::Equal | Comparison::NotDistinct => starts_before(true) && ends_after,
    }
}
