//! MERGE on several shards. Each shard merges the rows of the source that it has, or is given, with its own rows of the target; what
//! is to be proven is that a row of the source which finds no match there finds none anywhere, so that it may be inserted.
//!
//! That is so where the source is sharded like the target, and where rows of the source have been written into the statement
//! and each goes to the shard that owns its key ([`OwnedMerge`]). Of rows that every shard has, only matches can be told.

use pg_query::NodeEnum;
use pg_query::protobuf::{CmdType, MergeMatchKind, MergeStmt, MergeWhenClause, Node};

use super::super::facts::Operand;
use super::super::scan::LiteralClass;
use super::super::schema::{Column, Schema};
use super::expression::{self, normal_form};
use super::from::column_equalities;
use super::refuse;
use super::scope::{Bound, Placement, Scope};
use super::write::{Written, assignments, column_of, rows_of, value_or_default};
use crate::sql::sources::{given_arrays, given_types};
use crate::sql::tree::{leading_comments, parse_one, written};
use crate::types::{Error, Result};
use crate::wire;

/// The source's place in the scope of a MERGE.
const SOURCE: usize = 1;

/// A proof that rows which find no match may be inserted.
type Insertable<'p> = &'p dyn Fn(&[Option<Bound<'_>>], &Written<'_>, &Scope<'_>) -> Result<()>;

pub fn prove_merge(merge: &MergeStmt, schema: &Schema, placement: Placement<'_>) -> Result<()> {
    prove(merge, schema, placement, &|row, target, scope| target.keeps_key(row, scope)).map(drop)
}

fn prove<'s>(
    merge: &MergeStmt,
    schema: &'s Schema,
    placement: Placement<'s>,
    insertable: Insertable<'_>,
) -> Result<Scope<'s>> {
    if merge.with_clause.is_some() || merge.returning_clause.is_some() {
        return Err(refuse("WITH or RETURNING of MERGE"));
    }
    let source = merge.source_relation.as_deref().ok_or_else(|| refuse("MERGE without a source"))?;
    let scope =
        rows_of(merge.relation.as_ref(), std::slice::from_ref(source), &merge.join_condition, schema, placement)?;
    for clause in actions(merge)? {
        if let Some(condition) = &clause.condition {
            normal_form(condition, &scope)?;
        }
        action(merge, clause, &scope, placement, insertable)?;
    }
    Ok(scope)
}

fn actions(merge: &MergeStmt) -> Result<Vec<&MergeWhenClause>> {
    merge.merge_when_clauses.iter().map(as_action).collect()
}

fn as_action(clause: &Node) -> Result<&MergeWhenClause> {
    match &clause.node {
        Some(NodeEnum::MergeWhenClause(clause)) => Ok(clause),
        _ => Err(refuse("an action of MERGE that is none")),
    }
}

fn action(
    merge: &MergeStmt,
    clause: &MergeWhenClause,
    scope: &Scope<'_>,
    placement: Placement<'_>,
    insertable: Insertable<'_>,
) -> Result<()> {
    match (clause.match_kind(), clause.command_type()) {
        (MergeMatchKind::MergeWhenNotMatchedBySource | MergeMatchKind::Undefined, _) => {
            Err(refuse("WHEN NOT MATCHED BY SOURCE"))
        }
        (_, CmdType::CmdNothing | CmdType::CmdDelete) => Ok(()),
        (MergeMatchKind::MergeWhenMatched, CmdType::CmdUpdate) => assignments(&clause.target_list, scope),
        (MergeMatchKind::MergeWhenNotMatchedByTarget, CmdType::CmdInsert) => {
            if scope.relations.len() != 2 {
                return Err(refuse("WHEN NOT MATCHED of rows that are not those of one table"));
            }
            clause.values.iter().try_for_each(|value| value_or_default(value, scope))?;
            let row = clause.values.iter().map(|value| column_of(value, scope)).collect::<Result<Vec<_>>>()?;
            let target = Written::of(merge.relation.as_ref(), &clause.target_list, scope.schema, placement)?;
            insertable(&row, &target, scope)
        }
        _ => Err(refuse("an action of MERGE")),
    }
}

/// A MERGE with the rows of its source written into it, each of which can go to the shard that owns its key.
pub struct OwnedMerge {
    comments: String,
    merge: MergeStmt,
    /// The values of each column of the source.
    columns: Vec<Vec<Option<String>>>,
    /// The columns that are the shard key, in the order of the keyspace's key, each with the name of its type.
    key: Vec<(usize, String)>,
}

impl OwnedMerge {
    /// Reads it, and proves that each shard can do it with the rows whose keys it owns.
    ///
    /// # Errors
    /// Refuses rows that are not written into the statement, and those that could match or be inserted on other shards.
    pub fn read(text: &str, schema: &Schema, placement: Placement<'_>) -> Result<Self> {
        let NodeEnum::MergeStmt(mut merge) = parse_one(text)? else {
            return Err(refuse("a statement that is no MERGE"));
        };
        let key = key_of_source(&merge, schema, placement)?;
        let source = merge.source_relation.as_deref_mut().ok_or_else(not_given)?;
        let types = given_types(source).ok_or_else(not_given)?;
        let typed = |place: usize| Ok((place, types.get(place).cloned().flatten().ok_or_else(not_given)?));
        let key = key.into_iter().map(typed).collect::<Result<_>>()?;
        let arrays = given_arrays(source).ok_or_else(not_given)?;
        let columns =
            arrays.iter().map(|array| wire::array::elements(array)).collect::<Option<_>>().ok_or_else(not_given)?;
        Ok(Self { comments: leading_comments(text).to_owned(), merge: *merge, columns, key })
    }

    /// The key of each row.
    pub fn keys(&self) -> impl Iterator<Item = Vec<Operand>> {
        let rows = self.columns.first().map_or(0, Vec::len);
        let value = |row: usize, (place, type_name): &(usize, String)| match self.columns[*place].get(row) {
            Some(Some(text)) => Operand::Cast {
                operand: Box::new(Operand::Fixed {
                    value: text.as_str().into(),
                    class: LiteralClass::String,
                    negated: false,
                }),
                type_name: type_name.as_str().into(),
            },
            Some(None) | None => Operand::Null,
        };
        (0..rows).map(move |row| self.key.iter().map(|key| value(row, key)).collect())
    }

    /// The statement with these rows only.
    ///
    /// # Errors
    /// A tree that cannot be written, which would be a bug.
    pub fn with_rows(&self, rows: &[usize]) -> Result<String> {
        let mut merge = self.merge.clone();
        let source = merge.source_relation.as_deref_mut().ok_or_else(not_given)?;
        for (array, column) in given_arrays(source).ok_or_else(not_given)?.into_iter().zip(&self.columns) {
            let values = rows.iter().map(|row| column.get(*row).and_then(|value| value.as_deref()).map(str::as_bytes));
            *array = String::from_utf8(wire::array::array(values)).map_err(|_| not_given())?;
        }
        Ok(format!("{}{}", self.comments, written(NodeEnum::MergeStmt(Box::new(merge)))?))
    }
}

/// The columns of the source that ON equates with the target's shard key, and which new rows take for theirs.
fn key_of_source(merge: &MergeStmt, schema: &Schema, placement: Placement<'_>) -> Result<Vec<usize>> {
    let inserts_own_key = |row: &[Option<Bound<'_>>], target: &Written<'_>, scope: &Scope<'_>| {
        let equated = equated_columns(merge, scope, &target.key_columns())?;
        let is_own = |((place, _), own): (&(usize, &Column), &String)| {
            let from = row.get(*place).copied().flatten();
            from.is_some_and(|from| from.relation == SOURCE && from.column == own)
        };
        match target.key.iter().zip(&equated).all(is_own) {
            true => Ok(()),
            false => Err(refuse("new rows whose shard key is not what ON compares the target's with")),
        }
    };
    let scope = prove(merge, schema, placement, &inserts_own_key)?;
    let key = scope.relations.first().and_then(|target| target.shard_key.as_ref());
    let key = key.ok_or_else(|| refuse("a target that is not sharded"))?;
    if key.columns.iter().any(|(_, oid)| !scope.equal_means_same_shard(*oid, *oid)) {
        return Err(refuse("a shard key whose equal values may be on different shards"));
    }
    let names: Vec<&str> = key.columns.iter().map(|(name, _)| name.as_str()).collect();
    let columns = &scope.relations.get(SOURCE).ok_or_else(not_given)?.columns;
    let place = |name: &String| columns.iter().position(|column| column.name == *name).ok_or_else(not_given);
    equated_columns(merge, &scope, &names)?.iter().map(place).collect()
}

/// For each column of the target's key, the source's column that it equals where rows match.
fn equated_columns(merge: &MergeStmt, scope: &Scope<'_>, key: &[&str]) -> Result<Vec<String>> {
    let equalities = merge.join_condition.as_deref().map(column_equalities).unwrap_or_default();
    let bound: Vec<(Bound<'_>, Bound<'_>)> = equalities
        .iter()
        .map(|(a, b)| Ok((expression::bind(a, scope)?, expression::bind(b, scope)?)))
        .collect::<Result<_>>()?;
    let partner = |column: &&str| {
        let own = Bound { relation: 0, column };
        let of_source = bound.iter().filter_map(|(a, b)| match (*a == own, *b == own) {
            (true, _) => Some(b),
            (_, true) => Some(a),
            (false, false) => None,
        });
        let mut of_source = of_source.filter(|other| other.relation == SOURCE);
        let first = of_source.next().map(|other| other.column.to_owned());
        first.ok_or_else(|| {
            refuse(format!(
                "WHEN NOT MATCHED where ON does not equate the shard key \"{column}\" with a column of the source"
            ))
        })
    };
    key.iter().map(partner).collect()
}

fn not_given() -> Error {
    refuse("WHEN NOT MATCHED of rows that are not those of a table sharded alike")
}

#[cfg(test)]
mod tests {
    use super::super::super::facts::RelationName;
    use super::super::super::schema::{FunctionClass, Relation, Volatility};
    use super::super::TablePlacement;
    use super::*;

    fn schema() -> Schema {
        let mut schema = Schema { search_path: vec!["public".into()], ..Schema::default() };
        let column = |name: &str, type_oid| Column { name: name.into(), type_oid, ..Column::plain() };
        let columns = vec![column("k", 20), column("l", 25), column("a", 25)];
        schema.relations.insert(("public".into(), "t".into()), Relation { columns, ..Relation::default() });
        let class = FunctionClass { returns_set: true, ..FunctionClass::built_in(Volatility::Immutable) };
        schema.functions.insert("unnest".into(), class);
        schema
    }

    fn placement(_: &RelationName) -> TablePlacement {
        TablePlacement::Sharded { keyspace: "space".into(), key_columns: vec!["l".into(), "k".into()] }
    }

    fn read(on: &str, actions: &str) -> Result<OwnedMerge> {
        let given = r#"(SELECT given.c1 AS x, given.c2 AS y, given.c3 AS z FROM unnest('{1,NULL,3}'::int[], '{"a","b","c"}'::text[],
            '{"p",NULL,"\"q\""}'::text[]) given(c1, c2, c3))"#;
        let text = format!("/* c */ MERGE INTO t USING {given} s ON {on} {actions}");
        OwnedMerge::read(&text, &schema(), &placement)
    }

    #[test]
    fn the_rows_of_a_source_are_cut_by_their_keys() {
        let actions = "WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT (k, a, l) VALUES (s.x, 'new', y)";
        let merge = read("s.x = t.k AND t.l = s.y AND t.a <> s.z", actions).unwrap();
        let value = |value: &str, type_name: &str| Operand::Cast {
            operand: Box::new(Operand::Fixed { value: value.into(), class: LiteralClass::String, negated: false }),
            type_name: type_name.into(),
        };
        let keys: Vec<Vec<Operand>> = merge.keys().collect();
        assert_eq!(
            keys,
            [
                vec![value("a", "text"), value("1", "int4")],
                vec![value("b", "text"), Operand::Null],
                vec![value("c", "text"), value("3", "int4")]
            ]
        );
        assert_eq!(
            merge.with_rows(&[0, 2]).unwrap(),
            "/* c */MERGE INTO t USING (SELECT given.c1 AS x, given.c2 AS y, given.c3 AS z FROM \
             unnest('{\"1\",\"3\"}'::int[], '{\"a\",\"c\"}'::text[], E'{\"p\",\"\\\\\"q\\\\\"\"}'::text[]) given(c1, c2, c3)) s ON \
             s.x = t.k AND t.l = s.y AND t.a <> s.z WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT (k, a, l) \
             VALUES (s.x, 'new', y)"
        );
        let none = merge.with_rows(&[]).unwrap();
        assert!(none.contains("unnest('{}'::int[]"), "{none}");
    }

    #[test]
    fn rows_that_may_match_elsewhere_are_not_inserted() {
        let insert = "WHEN NOT MATCHED THEN INSERT (k, l) VALUES (s.x, s.y)";
        for (on, actions, part) in [
            ("t.k = s.x", insert, "does not equate the shard key \"l\""),
            ("t.k = s.x AND (t.l = s.y OR t.a = s.z)", insert, "does not equate the shard key \"l\""),
            (
                "t.k = s.x AND t.l = s.y",
                "WHEN NOT MATCHED THEN INSERT (k, l) VALUES (s.x, s.z)",
                "not what ON compares",
            ),
            (
                "t.k = s.x AND t.l = s.y",
                "WHEN NOT MATCHED THEN INSERT (k, l) VALUES (s.x + 1, s.y)",
                "not what ON compares",
            ),
            ("t.k = s.x AND t.l = s.y", "WHEN NOT MATCHED THEN INSERT (k) VALUES (s.x)", "without a value"),
            ("t.k = s.x AND t.l = s.y", "WHEN NOT MATCHED BY SOURCE THEN DELETE", "BY SOURCE"),
        ] {
            let error = read(on, actions).err().unwrap_or_else(|| panic!("{on} {actions}"));
            assert!(error.detail.as_deref().is_some_and(|detail| detail.contains(part)), "{on} {actions}: {error:?}");
        }
        let values = "MERGE INTO t USING (VALUES (1, 'a')) s (x, y) ON t.k = s.x AND t.l = s.y WHEN NOT MATCHED THEN INSERT (k, l) VALUES (s.x, s.y)";
        assert!(OwnedMerge::read(values, &schema(), &placement).is_err());
    }
}
