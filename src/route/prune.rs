//! Which shards can hold the rows that a statement needs.

use super::Router;
use super::target::Target;
use super::value::{Family, Value};
use crate::shardmap::Keyspace;
use crate::sql::facts::{ColumnUse, Operand};
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

    /// The shards that one occurrence's rows can be on.
    fn candidates(&self, relation: usize, keyspace: &Keyspace, column: &str) -> Result<Shards> {
        let key = ColumnUse { relation, column: column.to_owned() };
        let mut candidates: Option<Shards> = None;
        if self.is_prunable(&key, keyspace) {
            for equal in self.equal_columns(&key, Family::of(keyspace.key_type)) {
                for one_of in self.restrictions_on(equal) {
                    if let Some(shards) = self.owners(one_of, keyspace)? {
                        candidates = Some(match candidates {
                            None => shards,
                            Some(known) => known.into_iter().filter(|shard| shards.contains(shard)).collect(),
                        });
                    }
                }
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

    fn restrictions_on(&self, column: &ColumnUse) -> impl Iterator<Item = &'a [Operand]> {
        let restrictions = self.statement().restrictions.iter();
        restrictions.filter(move |restriction| restriction.column == *column).map(|restriction| &*restriction.one_of)
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

    /// The owners of these values; `None` when one of them is not known.
    fn owners(&self, one_of: &[Operand], keyspace: &Keyspace) -> Result<Option<Shards>> {
        let mut shards = Shards::new();
        for operand in one_of {
            match self.value(operand, keyspace.key_type) {
                Value::Unknown => return Ok(None),
                // Equality with NULL is true of no row.
                Value::Null => {}
                Value::Known(value) => match keyspace.shard_of(&value) {
                    Ok(shard) => shards.push(shard),
                    // A value that no shard owns is in no row.
                    Err(error) if error.kind == Kind::InvalidValue => {}
                    Err(error) => return Err(error),
                },
            }
        }
        Ok(Some(shards))
    }
}
