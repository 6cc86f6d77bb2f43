//! Which shards can hold the rows that a statement needs.

use super::Router;
use super::target::Target;
use super::value::{Family, Value};
use crate::shardmap::{KeyType, KeyValue, Keyspace, Known};
use crate::sql::facts::{ColumnUse, Operand};
use crate::types::{Result, ShardId};

/// A set of shards, in ascending order.
pub(super) type Shards = Vec<ShardId>;

impl<'a> Router<'a> {
    /// The shards that hold rows which can influence the statement, over all sharded occurrences but `except`. None at
    /// all when every restriction contradicts itself (`key = NULL`).
    pub(super) fn needed(&self, except: Option<usize>) -> Result<Shards> {
        let mut needed = Shards::new();
        for (index, target) in self.targets.iter().enumerate() {
            match target {
                _ if except == Some(index) => {}
                Target::Sharded { keyspace, columns, .. } => needed.extend(self.candidates(index, keyspace, columns)?),
                Target::Single { shard, .. } => needed.push(*shard),
                Target::System | Target::Reference { .. } | Target::Unmapped => {}
            }
        }
        needed.sort_unstable();
        needed.dedup();
        Ok(needed)
    }

    /// The shards that one occurrence's rows can be on.
    fn candidates(&self, relation: usize, keyspace: &Keyspace, columns: &[String]) -> Result<Shards> {
        let known: Vec<Known<'_>> = keyspace
            .key
            .iter()
            .zip(columns)
            .map(|(key_type, column)| self.known(&ColumnUse { relation, column: column.clone() }, *key_type))
            .collect();
        let owners = keyspace.owners(&known)?;
        self.note_unowned(keyspace, owners.unowned, false);
        Ok(owners.shards)
    }

    /// What is known of one column of the key.
    fn known(&self, column: &ColumnUse, key_type: KeyType) -> Known<'a> {
        let mut known: Option<Vec<KeyValue<'a>>> = None;
        if self.is_prunable(column, key_type) {
            for equal in self.equal_columns(column, Family::of(key_type)) {
                for values in self.restrictions_on(equal).filter_map(|one_of| self.values(one_of, key_type)) {
                    known = Some(match known {
                        None => values,
                        Some(known) => known.into_iter().filter(|value| values.contains(value)).collect(),
                    });
                }
            }
        }
        known.map_or(Known::Any, Known::OneOf)
    }

    /// Whether equal values of the key column are equal in their bytes, as the map takes them to be.
    fn is_prunable(&self, key: &ColumnUse, key_type: KeyType) -> bool {
        let family = Family::of(key_type);
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

    /// The values that one of the operands gives; `None` when one of them is not known.
    fn values(&self, one_of: &[Operand], key_type: KeyType) -> Option<Vec<KeyValue<'a>>> {
        let mut values = Vec::with_capacity(one_of.len());
        for operand in one_of {
            match self.value(operand, key_type) {
                Value::Unknown => return None,
                // Equality with NULL is true of no row.
                Value::Null => {}
                Value::Known(value) => values.push(value),
            }
        }
        Some(values)
    }
}
