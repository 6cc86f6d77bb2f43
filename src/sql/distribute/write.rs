//! Writes on several shards: a proof that each shard does with its rows what one server would do with them.
//!
//! The rows that UPDATE and DELETE are about are those of a SELECT from their target and the tables of FROM or USING, so
//! the same proof serves: rows that meet are on one shard. An INSERT's rows have nothing to do with each other, as long
//! as their expressions have not. What is evaluated for each row, such as random(), may be evaluated anywhere; what one
//! server would evaluate once, such as now(), may not.

use std::borrow::Cow;

use pg_query::NodeEnum;
use pg_query::protobuf::{
    DeleteStmt, InsertStmt, Node, OnConflictClause, RangeVar, ResTarget, ReturningClause, SelectStmt, UpdateStmt,
};

use super::super::facts::RelationName;
use super::super::schema::{Column, Resolved, Schema};
use super::expression::{self, Contents, normal_form};
use super::merge::prove_merge;
use super::scope::{Bound, Placement, Scope, ScopeRelation};
use super::targets::{Target, Targets};
use super::{TablePlacement, from, refuse};
use crate::sql::tree::{clause_beyond_rows, parse_one, relation_name};
use crate::types::{Error, Result};

/// Proves that an INSERT, UPDATE, DELETE or MERGE can be done by each shard for itself. Of an INSERT, any rows may be
/// left out of `text` that consist of plain literals and parameters.
///
/// # Errors
/// Refuses every statement whose effect cannot be proven to be the sum of the shards' own.
pub fn prove_write(text: &str, schema: &Schema, placement: &dyn Fn(&RelationName) -> TablePlacement) -> Result<()> {
    let proven = match parse_one(text)? {
        NodeEnum::InsertStmt(insert) => prove_insert(&insert, schema, placement),
        NodeEnum::MergeStmt(merge) => prove_merge(&merge, schema, placement),
        NodeEnum::UpdateStmt(update) => prove_update(&update, schema, placement),
        NodeEnum::DeleteStmt(delete) => prove_delete(&delete, schema, placement),
        _ => Err(refuse("a statement that is not an INSERT, UPDATE, DELETE or MERGE")),
    };
    proven.map_err(|mut error: Error| {
        error.message = "the statement cannot be done by several shards".into();
        error
    })
}

fn prove_update(update: &UpdateStmt, schema: &Schema, placement: Placement<'_>) -> Result<()> {
    if update.with_clause.is_some() {
        return Err(refuse("WITH"));
    }
    let scope = rows_of(update.relation.as_ref(), &update.from_clause, &update.where_clause, schema, placement)?;
    assignments(&update.target_list, &scope)?;
    returning(update.returning_clause.as_ref(), &scope)
}

fn prove_delete(delete: &DeleteStmt, schema: &Schema, placement: Placement<'_>) -> Result<()> {
    if delete.with_clause.is_some() {
        return Err(refuse("WITH"));
    }
    let scope = rows_of(delete.relation.as_ref(), &delete.using_clause, &delete.where_clause, schema, placement)?;
    returning(delete.returning_clause.as_ref(), &scope)
}

/// The names of a statement that concerns rows of `target` as they meet rows of `others`.
pub(super) fn rows_of<'s>(
    target: Option<&RangeVar>,
    others: &[Node],
    condition: &Option<Box<Node>>,
    schema: &'s Schema,
    placement: Placement<'s>,
) -> Result<Scope<'s>> {
    let target = target.cloned().ok_or_else(|| refuse("a statement without a target"))?;
    let mut from_clause = vec![Node { node: Some(NodeEnum::RangeVar(target)) }];
    from_clause.extend_from_slice(others);
    let select = SelectStmt { from_clause, where_clause: condition.clone(), ..SelectStmt::default() };
    let mut scope = from::resolve(&select, schema, placement)?;
    scope.evaluated_by_row = true;
    if let Some(condition) = condition {
        normal_form(condition, &scope)?;
    }
    Ok(scope)
}

fn prove_insert(insert: &InsertStmt, schema: &Schema, placement: Placement<'_>) -> Result<()> {
    if insert.with_clause.is_some() {
        return Err(refuse("WITH"));
    }
    let Some(NodeEnum::SelectStmt(select)) = insert.select_stmt.as_ref().and_then(|source| source.node.as_ref()) else {
        return Err(refuse("DEFAULT VALUES"));
    };
    match select.values_lists.as_slice() {
        [] => query_keeps_shards(insert, select, schema, placement)?,
        rows => values(rows, schema)?,
    }
    let mut scope = target_scope(insert, schema)?;
    returning(insert.returning_clause.as_ref(), &scope)?;
    match &insert.on_conflict_clause {
        None => Ok(()),
        Some(conflict) => {
            let excluded = scope.relations.first().map_or(Cow::Borrowed(&[][..]), |target| target.columns.clone());
            scope.relations.push(ScopeRelation { alias: "excluded".to_owned(), columns: excluded, shard_key: None });
            on_conflict(conflict, &scope)
        }
    }
}

fn values(rows: &[Node], schema: &Schema) -> Result<()> {
    let mut nothing = Scope::new(schema);
    nothing.evaluated_by_row = true;
    for row in rows {
        let Some(NodeEnum::List(row)) = &row.node else { return Err(refuse("a row that is none")) };
        row.items.iter().try_for_each(|value| value_or_default(value, &nothing))?;
    }
    Ok(())
}

/// The rows of a query belong to the shards that they come from: their key is that of a row that is read.
fn query_keeps_shards(
    insert: &InsertStmt,
    select: &SelectStmt,
    schema: &Schema,
    placement: Placement<'_>,
) -> Result<()> {
    if let Some(clause) = clause_beyond_rows(select) {
        return Err(refuse(format!("{clause} in the query of an INSERT")));
    }
    let mut scope = from::resolve(select, schema, placement)?;
    scope.evaluated_by_row = true;
    if let Some(condition) = &select.where_clause {
        normal_form(condition, &scope)?;
    }
    let targets = Targets::read(&select.target_list, &scope)?;
    if targets.contents() != Contents::default() {
        return Err(refuse("an aggregate or a window function in the query of an INSERT"));
    }
    let target = Written::of(insert.relation.as_ref(), &insert.cols, schema, placement)?;
    target.keeps_key(&selected(&targets, &scope)?, &scope)
}

/// The columns that a query gives, place by place; `None` for what is computed.
fn selected<'n>(targets: &'n Targets, scope: &'n Scope<'_>) -> Result<Vec<Option<Bound<'n>>>> {
    let all = |relation: usize| {
        let columns = scope.relations[relation].columns.iter();
        columns.map(move |column| Some(Bound { relation, column: column.name.as_str() }))
    };
    let mut selected = Vec::new();
    for target in &targets.list {
        match target {
            Target::Star(Some(relation)) => selected.extend(all(*relation)),
            Target::Star(None) if scope.relations.len() == 1 => selected.extend(all(0)),
            Target::Star(None) => return Err(refuse("* of several tables in the query of an INSERT")),
            Target::Value(value) => selected.push(column_of(&value.expression, scope)?),
        }
    }
    Ok(selected)
}

/// The column that an expression is, if it is a bare one.
pub(super) fn column_of<'n>(expression: &'n Node, scope: &Scope<'_>) -> Result<Option<Bound<'n>>> {
    match &expression.node {
        Some(NodeEnum::ColumnRef(column)) => expression::bind(column, scope).map(Some),
        _ => Ok(None),
    }
}

/// A sharded table that gets new rows.
pub(super) struct Written<'s> {
    keyspace: String,
    /// The key's columns, each with its place in a new row.
    pub key: Vec<(usize, &'s Column)>,
}

impl<'s> Written<'s> {
    pub fn of(
        target: Option<&RangeVar>,
        listed: &[Node],
        schema: &'s Schema,
        placement: Placement<'_>,
    ) -> Result<Self> {
        let name = relation_name(target.ok_or_else(|| refuse("a statement without a target"))?);
        let (TablePlacement::Sharded { keyspace, key_columns }, Resolved::User { relation, .. }) =
            (placement(&name), schema.resolve(&name))
        else {
            return Err(refuse(format!("the table \"{}\", which is not sharded or not known", name.name)));
        };
        let place = |column: &str| match listed {
            [] => relation.columns.iter().position(|own| own.name == column),
            listed => listed.iter().position(|listed| match &listed.node {
                Some(NodeEnum::ResTarget(target)) => target.name == column && target.indirection.is_empty(),
                _ => false,
            }),
        };
        let key = key_columns.iter().map(|column| {
            let own = relation.columns.iter().find(|own| own.name == *column);
            place(column)
                .zip(own)
                .ok_or_else(|| refuse(format!("new rows without a value for the shard key \"{column}\"")))
        });
        Ok(Self { keyspace, key: key.collect::<Result<_>>()? })
    }

    /// The names of the key's columns.
    pub fn key_columns(&self) -> Vec<&str> {
        self.key.iter().map(|(_, column)| column.name.as_str()).collect()
    }

    /// The key of a new row is that of a row that is read, so that both are on one shard.
    pub fn keeps_key(&self, row: &[Option<Bound<'_>>], scope: &Scope<'_>) -> Result<()> {
        let first = self.key.first().and_then(|(place, _)| row.get(*place).copied().flatten());
        let source = first.map(|bound| &scope.relations[bound.relation]);
        let key = source.and_then(|source| source.shard_key.as_ref());
        let keeps = |(number, (place, column)): (usize, &(usize, &Column))| {
            let from = row.get(*place).copied().flatten()?;
            let read = scope.relations[from.relation].columns.iter().find(|own| own.name == from.column)?;
            let same_relation = first.is_some_and(|first| first.relation == from.relation);
            let is_key = key.is_some_and(|key| {
                key.keyspace == self.keyspace && key.columns.get(number).is_some_and(|(name, _)| name == from.column)
            });
            // Storing it must not change it.
            let same_type = read.type_oid == column.type_oid
                && (column.type_modifier == -1 || column.type_modifier == read.type_modifier);
            (same_relation && is_key && same_type).then_some(())
        };
        match self.key.iter().enumerate().try_for_each(keeps) {
            Some(()) => Ok(()),
            None => Err(refuse("new rows whose shard key is not that of a row that is read")),
        }
    }
}

fn target_scope<'s>(insert: &InsertStmt, schema: &'s Schema) -> Result<Scope<'s>> {
    let target = insert.relation.as_ref().ok_or_else(|| refuse("a statement without a target"))?;
    let name = relation_name(target);
    let Resolved::User { relation, .. } = schema.resolve(&name) else {
        return Err(refuse(format!("the table \"{}\", whose columns are not known", name.name)));
    };
    let alias = target.alias.as_ref().map_or(&target.relname, |alias| &alias.aliasname).clone();
    let mut scope = Scope::new(schema);
    scope.evaluated_by_row = true;
    scope.relations.push(ScopeRelation { alias, columns: Cow::Borrowed(&relation.columns), shard_key: None });
    Ok(scope)
}

/// The rows that conflict with each other are on one shard: what is unique spans the shard key.
fn on_conflict(conflict: &OnConflictClause, scope: &Scope<'_>) -> Result<()> {
    assignments(&conflict.target_list, scope)?;
    if let Some(condition) = &conflict.where_clause {
        normal_form(condition, scope)?;
    }
    Ok(())
}

pub(super) fn assignments(targets: &[Node], scope: &Scope<'_>) -> Result<()> {
    targets.iter().try_for_each(|target| match &target.node {
        Some(NodeEnum::ResTarget(target)) => assignment(target, scope),
        _ => Err(refuse("an assignment that is none")),
    })
}

fn assignment(target: &ResTarget, scope: &Scope<'_>) -> Result<()> {
    for index in &target.indirection {
        if !matches!(index.node, Some(NodeEnum::String(_))) {
            normal_form(index, scope)?;
        }
    }
    match target.val.as_deref() {
        Some(Node { node: Some(NodeEnum::MultiAssignRef(multiple)) }) => {
            multiple.source.as_deref().map_or(Ok(()), |row| value_or_default(row, scope))
        }
        Some(value) => value_or_default(value, scope),
        None => Err(refuse("an assignment without a value")),
    }
}

/// A value, or DEFAULT, also as parts of a row.
pub(super) fn value_or_default(value: &Node, scope: &Scope<'_>) -> Result<()> {
    match &value.node {
        Some(NodeEnum::SetToDefault(_)) => Ok(()),
        Some(NodeEnum::RowExpr(row)) => row.args.iter().try_for_each(|value| value_or_default(value, scope)),
        _ => normal_form(value, scope).map(drop),
    }
}

fn returning(clause: Option<&ReturningClause>, scope: &Scope<'_>) -> Result<()> {
    let Some(clause) = clause else { return Ok(()) };
    if !clause.options.is_empty() {
        return Err(refuse("RETURNING WITH"));
    }
    Targets::read(&clause.exprs, scope).map(drop)
}

#[cfg(test)]
mod tests {
    use super::super::super::schema::{Column, FunctionClass, Relation, Volatility};
    use super::*;
    use crate::types::Kind;

    fn schema() -> Schema {
        let mut schema = Schema { search_path: vec!["public".into()], ..Schema::default() };
        let column = |name: &str, type_oid| Column { name: name.into(), type_oid, ..Column::plain() };
        for (table, columns) in [("t", ["k", "a"]), ("u", ["k", "b"]), ("r", ["id", "label"])] {
            let columns = vec![column(columns[0], 23), column(columns[1], 25)];
            let relation = Relation { columns, ..Relation::default() };
            schema.relations.insert(("public".into(), table.into()), relation);
        }
        let class = |volatility, returns_set| FunctionClass { returns_set, ..FunctionClass::built_in(volatility) };
        for (name, volatility, returns_set) in [
            ("lower", Volatility::Immutable, false),
            ("now", Volatility::Stable, false),
            ("random", Volatility::Volatile, false),
            ("txid_current", Volatility::Volatile, false),
            ("generate_series", Volatility::Immutable, true),
        ] {
            schema.functions.insert(name.into(), class(volatility, returns_set));
        }
        schema
    }

    fn prove(text: &str) -> Result<()> {
        prove_write(text, &schema(), &|name| match name.name.as_str() {
            "t" | "u" => TablePlacement::Sharded { keyspace: "s".into(), key_columns: vec!["k".into()] },
            "r" => TablePlacement::Reference,
            _ => TablePlacement::Unmapped,
        })
    }

    #[test]
    fn writes_that_concern_rows_one_by_one_are_proven() {
        for text in [
            "INSERT INTO t VALUES (1, 'a'), (2, lower('B')), (3, DEFAULT)",
            "INSERT INTO t AS x (a, k) VALUES ('a', random()) RETURNING *, x.k + 1 AS next",
            "INSERT INTO t VALUES (1, 'a') ON CONFLICT (k) DO UPDATE SET a = excluded.a || t.a WHERE t.a <> 'x'",
            "INSERT INTO t VALUES (1, 'a') ON CONFLICT DO NOTHING",
            "UPDATE t SET a = lower(a), k = k",
            "UPDATE t SET (a, k) = ('x', DEFAULT) WHERE random() < 0.5 RETURNING k",
            "UPDATE t SET a = u.b FROM u, r WHERE u.k = t.k AND r.id = u.k",
            "DELETE FROM t USING u JOIN r ON r.id = u.k WHERE u.k = t.k RETURNING t.*, label",
            "DELETE FROM t x WHERE x.a = $1",
            "UPDATE t SET a = v.a FROM (VALUES (1, 'x'), (2, $1)) AS v (k, a) WHERE v.k = t.k",
            "DELETE FROM t WHERE NOT EXISTS (SELECT FROM u WHERE u.k = t.k) AND a <> (SELECT label FROM r WHERE id = 1)",
            "UPDATE t SET a = (SELECT b FROM u WHERE u.k = t.k) WHERE k IN (SELECT k FROM u)",
            "INSERT INTO t SELECT * FROM u",
            "INSERT INTO t (a, k) SELECT lower(b) || label, u.k FROM u JOIN r ON r.id = u.k WHERE b <> 'x' RETURNING k",
            "INSERT INTO t SELECT u.* FROM u, t WHERE u.k = t.k ON CONFLICT (k) DO UPDATE SET a = excluded.a",
            "MERGE INTO t USING u ON t.k = u.k WHEN MATCHED AND b = 'x' THEN DELETE WHEN MATCHED THEN UPDATE SET a = b \
             WHEN NOT MATCHED THEN INSERT (a, k) VALUES (u.b, u.k)",
            "MERGE INTO t USING r ON t.k = r.id WHEN MATCHED THEN UPDATE SET a = label WHEN NOT MATCHED THEN DO NOTHING",
        ] {
            prove(text).unwrap_or_else(|error| panic!("{text}: {error:?}"));
        }
    }

    #[test]
    fn what_is_evaluated_once_or_looks_at_other_rows_is_refused() {
        for (text, part) in [
            ("INSERT INTO t VALUES (1, now())", "now()"),
            ("INSERT INTO t VALUES (1, CURRENT_USER)", "CURRENT_USER"),
            ("INSERT INTO t VALUES (1, 'now')", "'now'"),
            ("INSERT INTO t VALUES (generate_series(1, 3), 'a')", "set of rows"),
            ("INSERT INTO t VALUES (1, (SELECT 'a'))", "subquery"),
            ("INSERT INTO t VALUES (1, txid_current())", "txid_current()"),
            ("INSERT INTO t VALUES (1, 'a') RETURNING (SELECT count(*) FROM t)", "subquery"),
            ("INSERT INTO t VALUES (1, 'a') RETURNING ctid", "ctid"),
            ("INSERT INTO t VALUES (1, 'a') ON CONFLICT (k) DO UPDATE SET a = now()", "now()"),
            ("WITH x AS (SELECT 1) INSERT INTO t VALUES (1, 'a')", "WITH"),
            ("UPDATE t SET a = (SELECT max(b) FROM u)", "subquery"),
            ("UPDATE t SET a = u.b FROM u", "does not equate"),
            ("UPDATE t SET a = 'x' WHERE a < 'today'", "'today'"),
            ("UPDATE t SET a = 'x' FROM (SELECT 1 LIMIT 1) q", "subquery in FROM"),
            ("DELETE FROM t USING u WHERE u.k = 1", "does not equate"),
            ("DELETE FROM t WHERE EXISTS (SELECT 1 FROM u)", "subquery"),
            ("DELETE FROM t WHERE CURRENT OF c", "CurrentOfExpr"),
            ("DELETE FROM t RETURNING tableoid", "tableoid"),
            ("DELETE FROM t RETURNING t", "\"t\""),
            ("INSERT INTO t SELECT id, label FROM r", "no sharded table"),
            ("INSERT INTO t SELECT k + 1, b FROM u", "shard key is not"),
            ("INSERT INTO t (a) SELECT b FROM u", "without a value"),
            ("INSERT INTO t (a, k) SELECT * FROM u", "shard key is not"),
            ("INSERT INTO t SELECT k, max(b) FROM u GROUP BY k", "GROUP BY"),
            ("INSERT INTO t SELECT k, b FROM u LIMIT 1", "LIMIT"),
            ("INSERT INTO t SELECT * FROM u UNION ALL SELECT * FROM u", "UNION"),
            ("MERGE INTO t USING u ON t.a = u.b WHEN MATCHED THEN DELETE", "does not equate"),
            ("MERGE INTO t USING r ON t.k = r.id WHEN NOT MATCHED THEN INSERT VALUES (id, label)", "shard key is not"),
            (
                "MERGE INTO t USING u ON t.k = u.k WHEN NOT MATCHED THEN INSERT VALUES (u.k + 1, 'a')",
                "shard key is not",
            ),
            ("MERGE INTO t USING u ON t.k = u.k WHEN NOT MATCHED THEN INSERT (a) VALUES ('a')", "without a value"),
            ("MERGE INTO t USING (SELECT k FROM u) s ON t.k = s.k WHEN MATCHED THEN DELETE", "subquery in FROM"),
        ] {
            let refusal = prove(text).expect_err(text);
            let detail = refusal.detail.as_deref().unwrap_or_default();
            assert!(refusal.kind == Kind::NotSupported && detail.contains(part), "{text}: {refusal:?}");
        }
    }
}
