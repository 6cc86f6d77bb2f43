//! Which shards can hold the rows that a statement needs.
//!
//! What is known of a key is a union of *boxes*: for each column of the key, the values that it can have. A condition is
//! turned into boxes by one rule: whatever is not understood may be true of any row.

use super::Router;
use super::target::Target;
use super::value::{Family, Value, find_column};
use crate::shardmap::{ColumnEnd, KeyType, KeyValue, Keyspace, Known};
use crate::sql::facts::{ColumnUse, Compared, Comparison, Condition, Operand, Values};
use crate::types::{Result, ShardId};

/// A set of shards, in ascending order.
pub(super) type Shards = Vec<ShardId>;

/// What is known of each column of a key.
pub(super) type KnownKey<'a> = Vec<Known<'a>>;

/// More boxes than this are not followed.
const BOXES_MAX: usize = 64;

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
                Target::System | Target::Reference { .. } | Target::Expanded | Target::Unmapped => {}
            }
        }
        needed.sort_unstable();
        needed.dedup();
        Ok(needed)
    }

    /// The shards that one occurrence's rows can be on.
    pub(super) fn candidates(&self, relation: usize, keyspace: &Keyspace, columns: &[String]) -> Result<Shards> {
        let key: Vec<ColumnUse> = columns.iter().map(|column| ColumnUse { relation, column: column.clone() }).collect();
        let columns: Vec<Option<&ColumnUse>> = key
            .iter()
            .zip(&keyspace.key)
            .map(|(column, key_type)| self.is_prunable(column, *key_type).then_some(column))
            .collect();
        let mut boxes = self.boxes(Pruning { router: self, key: &keyspace.key, columns: columns.clone() });
        for (place, column) in columns.iter().enumerate() {
            let (Some(column), Some(key_type)) = (column, keyspace.key.get(place)) else { continue };
            for equal in self.equal_columns(column, Family::of(*key_type)).into_iter().skip(1) {
                // Another column is followed for itself: two of them need not come from one row.
                let mut columns = vec![None; key.len()];
                columns[place] = Some(equal);
                boxes = both(boxes, self.boxes(Pruning { router: self, key: &keyspace.key, columns }));
            }
        }
        self.owners_of(keyspace, &boxes)
    }

    /// The shards with rows whose key is in one of the boxes.
    pub(super) fn owners_of(&self, keyspace: &Keyspace, boxes: &[KnownKey<'_>]) -> Result<Shards> {
        let mut shards = Shards::new();
        for known in boxes {
            let owners = keyspace.owners(known)?;
            self.note_unowned(keyspace, owners.unowned, false);
            shards.extend(owners.shards);
        }
        shards.sort_unstable();
        shards.dedup();
        Ok(shards)
    }

    /// What is known of a column of any relation, as values of a key's column; one box at most.
    pub(super) fn known_of(&self, column: &ColumnUse, key_type: KeyType) -> Known<'a> {
        if !self.is_prunable(column, key_type) {
            return Known::Any;
        }
        let mut boxes = vec![vec![Known::Any]];
        for equal in self.equal_columns(column, Family::of(key_type)) {
            let pruning = Pruning { router: self, key: &[key_type], columns: vec![Some(equal)] };
            boxes = both(boxes, self.boxes(pruning));
        }
        match (boxes.pop().and_then(|mut known| known.pop()), boxes.is_empty()) {
            (Some(known), true) => known,
            (Some(_), false) => Known::Any,
            (None, _) => Known::OneOf(Vec::new()),
        }
    }

    /// What the statement's restrictions say of columns of one relation.
    fn boxes(&self, pruning: Pruning<'_, 'a>) -> Vec<KnownKey<'a>> {
        let mut boxes = vec![pruning.any()];
        let Some(relation) = pruning.columns.iter().flatten().map(|column| column.relation).next() else {
            return boxes;
        };
        for restriction in &self.statement().restrictions {
            if restriction.relations.contains(&relation)
                && let Some(more) = pruning.boxes(&restriction.condition)
            {
                boxes = both(boxes, more);
            }
        }
        boxes
    }

    /// Whether equal values of the key column are equal in their bytes, as the map takes them to be.
    fn is_prunable(&self, key: &ColumnUse, key_type: KeyType) -> bool {
        let family = Family::of(key_type);
        let deterministic = family != Family::Text || !self.request.schema.has_nondeterministic_collations;
        deterministic && self.column_type(key).is_some_and(|actual| Family::of(actual) == family)
    }

    fn is_ordered_by_bytes(&self, used: &ColumnUse) -> bool {
        let relation = self.targets.get(used.relation).and_then(Target::relation);
        let column = relation.and_then(|relation| find_column(&relation.columns, &used.column));
        column.is_some_and(|column| column.ordered_by_bytes)
    }

    /// The key column, first, and all columns whose values carry over to it, by equality of one and the same family of
    /// types.
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

/// The search for what conditions say of columns of one relation, in the place of a key's.
struct Pruning<'r, 'a> {
    router: &'r Router<'a>,
    key: &'r [KeyType],
    /// `None`: nothing is to be found out of this column.
    columns: Vec<Option<&'r ColumnUse>>,
}

impl<'a> Pruning<'_, 'a> {
    fn any(&self) -> KnownKey<'a> {
        vec![Known::Any; self.key.len()]
    }

    /// The keys of the rows for which the condition can be true; `None` for any.
    fn boxes(&self, condition: &Condition) -> Option<Vec<KnownKey<'a>>> {
        match condition {
            Condition::Open => None,
            Condition::All(parts) => {
                let known = parts.iter().filter_map(|part| self.boxes(part));
                known.reduce(both)
            }
            Condition::Any(parts) => {
                let mut boxes = Vec::new();
                for part in parts {
                    boxes.extend(self.boxes(part)?);
                }
                (boxes.len() <= BOXES_MAX).then(|| merged(boxes))
            }
            Condition::Compared(compared) => {
                let is_compared = |column: &Option<&ColumnUse>| column.is_some_and(|of| compared.columns.contains(of));
                let place = self.columns.iter().position(is_compared)?;
                let known = self.known(compared, *self.key.get(place)?)?;
                let mut key = self.any();
                key[place] = known;
                Some(vec![key])
            }
        }
    }

    /// The values for which a comparison can be true.
    fn known(&self, compared: &Compared, key_type: KeyType) -> Option<Known<'a>> {
        match (&compared.values, compared.comparison) {
            (Values::List(operands), Comparison::Equal) => self.one_of(operands, key_type).map(Known::OneOf),
            (Values::Array(operand), Comparison::Equal) => self.router.array(operand, key_type).map(Known::OneOf),
            (Values::List(operands), comparison) => match operands.as_slice() {
                [operand] => self.compared_with(compared, comparison, operand, key_type),
                _ => None,
            },
            (Values::Array(_), _) => None,
        }
    }

    fn compared_with(
        &self,
        compared: &Compared,
        comparison: Comparison,
        operand: &Operand,
        key_type: KeyType,
    ) -> Option<Known<'a>> {
        if self.router.is_null(operand) {
            // Rows without a key are not where the map says.
            return (comparison != Comparison::NotDistinct).then_some(Known::OneOf(Vec::new()));
        }
        let Value::Known(value) = self.router.value(operand, key_type) else { return None };
        // Labels are ordered by their type, and texts by a collation, which is not always that of their bytes.
        let by_bytes = |column: &ColumnUse| self.router.is_ordered_by_bytes(column);
        let is_ordered = match Family::of(key_type) {
            Family::Text => compared.columns.iter().all(by_bytes),
            _ => key_type != KeyType::Enum,
        };
        match comparison {
            Comparison::Equal | Comparison::NotDistinct => Some(Known::OneOf(vec![value])),
            _ if !is_ordered => None,
            Comparison::Less => Some(Known::Between(ColumnEnd::Open, ColumnEnd::Excluded(value))),
            Comparison::LessEqual => Some(Known::Between(ColumnEnd::Open, ColumnEnd::Included(value))),
            Comparison::Greater => Some(Known::Between(ColumnEnd::Excluded(value), ColumnEnd::Open)),
            Comparison::GreaterEqual => Some(Known::Between(ColumnEnd::Included(value), ColumnEnd::Open)),
        }
    }

    /// The values that the operands give; `None` when one of them is not known.
    fn one_of(&self, operands: &[Operand], key_type: KeyType) -> Option<Vec<KeyValue<'a>>> {
        if let [operand] = operands
            && self.router.is_null(operand)
        {
            return Some(Vec::new());
        }
        let mut values = Vec::with_capacity(operands.len());
        for operand in operands {
            match self.router.value(operand, key_type) {
                Value::Unknown => return None,
                // Equality with NULL is true of no row.
                Value::Null => {}
                Value::Known(value) => values.push(value),
            }
        }
        Some(values)
    }
}

/// Keys that are in both unions of boxes. Too many boxes are not told apart: the first union is as sound.
fn both<'a>(one: Vec<KnownKey<'a>>, other: Vec<KnownKey<'a>>) -> Vec<KnownKey<'a>> {
    if one.len().saturating_mul(other.len()) > BOXES_MAX {
        return one;
    }
    let pairs = one.iter().flat_map(|one| other.iter().map(move |other| (one, other)));
    pairs.map(|(one, other)| one.iter().zip(other).map(|(one, other)| common(one, other)).collect()).collect()
}

/// Boxes that list values of the only column become one.
fn merged(boxes: Vec<KnownKey<'_>>) -> Vec<KnownKey<'_>> {
    if !boxes.iter().all(|known| matches!(known.as_slice(), [Known::OneOf(_)])) {
        return boxes;
    }
    let values = boxes.into_iter().flatten().flat_map(|known| match known {
        Known::OneOf(values) => values,
        Known::Any | Known::Between(..) => Vec::new(),
    });
    vec![vec![Known::OneOf(values.collect())]]
}

/// Values that both allow.
fn common<'a>(one: &Known<'a>, other: &Known<'a>) -> Known<'a> {
    match (one, other) {
        (Known::Any, known) | (known, Known::Any) => known.clone(),
        (Known::OneOf(values), Known::OneOf(others)) => {
            Known::OneOf(values.iter().filter(|value| others.contains(value)).cloned().collect())
        }
        (Known::OneOf(values), Known::Between(from, to)) | (Known::Between(from, to), Known::OneOf(values)) => {
            let inside = |value: &&KeyValue<'a>| starts_at_or_before(from, value) && ends_at_or_behind(to, value);
            Known::OneOf(values.iter().filter(inside).cloned().collect())
        }
        (Known::Between(from, to), Known::Between(other_from, other_to)) => {
            let from = if is_later_start(other_from, from) { other_from } else { from };
            let to = if is_earlier_end(other_to, to) { other_to } else { to };
            Known::Between(from.clone(), to.clone())
        }
    }
}

fn starts_at_or_before(from: &ColumnEnd<'_>, value: &KeyValue<'_>) -> bool {
    match from {
        ColumnEnd::Open => true,
        ColumnEnd::Included(from) => from <= value,
        ColumnEnd::Excluded(from) => from < value,
    }
}

fn ends_at_or_behind(to: &ColumnEnd<'_>, value: &KeyValue<'_>) -> bool {
    match to {
        ColumnEnd::Open => true,
        ColumnEnd::Included(to) => to >= value,
        ColumnEnd::Excluded(to) => to > value,
    }
}

/// Whether the first start leaves out more than the second.
fn is_later_start(one: &ColumnEnd<'_>, other: &ColumnEnd<'_>) -> bool {
    match (one, other) {
        (ColumnEnd::Open, _) => false,
        (ColumnEnd::Included(_) | ColumnEnd::Excluded(_), ColumnEnd::Open) => true,
        (ColumnEnd::Included(one), ColumnEnd::Included(other) | ColumnEnd::Excluded(other)) => one > other,
        (ColumnEnd::Excluded(one), ColumnEnd::Included(other) | ColumnEnd::Excluded(other)) => one >= other,
    }
}

/// Whether the first end leaves out more than the second.
fn is_earlier_end(one: &ColumnEnd<'_>, other: &ColumnEnd<'_>) -> bool {
    match (one, other) {
        (ColumnEnd::Open, _) => false,
        (ColumnEnd::Included(_) | ColumnEnd::Excluded(_), ColumnEnd::Open) => true,
        (ColumnEnd::Included(one), ColumnEnd::Included(other) | ColumnEnd::Excluded(other)) => one < other,
        (ColumnEnd::Excluded(one), ColumnEnd::Included(other) | ColumnEnd::Excluded(other)) => one <= other,
    }
}
