//! Writes on several shards: a proof that each shard does with its rows what one server would do with them.
//!
//! The rows that UPDATE and DELETE are about are those of a SELECT from their target and the tables of FROM or USING, so
//! the same proof serves: rows that meet are on one shard. An INSERT's rows have nothing to do with each other, as long
//! as their expressions have not. What is evaluated for each row, such as random(), may be evaluated anywhere; what one
//! server would evaluate once, such as now(), may not.

use pg_query::NodeEnum;
use pg_query::protobuf::{
    DeleteStmt, InsertStmt, Node, OnConflictClause, ResTarget, ReturningClause, SelectStmt, UpdateStmt,
};

use super::super::facts::RelationName;
use super::super::schema::{Resolved, Schema};
use super::expression::normal_form;
use super::scope::{Scope, ScopeRelation};
use super::{TablePlacement, from, refuse};
use crate::types::{Error, Kind, Origin, Result};

/// Proves that an INSERT (with VALUES), UPDATE or DELETE can be done by each shard for itself. Of an INSERT, any rows may be
/// left out of `text` that consist of plain literals and parameters.
///
/// # Errors
/// Refuses every statement whose effect cannot be proven to be the sum of the shards' own.
pub fn prove_write(text: &str, schema: &Schema, placement: &dyn Fn(&RelationName) -> TablePlacement) -> Result<()> {
    let proven = match parse(text)? {
        NodeEnum::InsertStmt(insert) => prove_insert(&insert, schema),
        NodeEnum::UpdateStmt(update) => prove_update(&update, schema, placement),
        NodeEnum::DeleteStmt(delete) => prove_delete(&delete, schema, placement),
        _ => Err(refuse("a statement that is not an INSERT, UPDATE or DELETE")),
    };
    proven.map_err(|error| Error { message: "the statement cannot be done by several shards".into(), ..error })
}

fn parse(text: &str) -> Result<NodeEnum> {
    let parsed = pg_query::parse(text, 0)
        .map_err(|error| Error::new(Origin::Client, Kind::Syntax, "the statement cannot be parsed").source(error))?;
    let mut statements = parsed.protobuf.stmts.into_iter();
    match (statements.next().and_then(|raw| raw.stmt).and_then(|node| node.node), statements.next()) {
        (Some(statement), None) => Ok(statement),
        _ => Err(Error::internal("a text to distribute does not hold exactly one statement")),
    }
}

fn prove_update(
    update: &UpdateStmt,
    schema: &Schema,
    placement: &dyn Fn(&RelationName) -> TablePlacement,
) -> Result<()> {
    if update.with_clause.is_some() {
        return Err(refuse("WITH"));
    }
    let scope = rows_of(update.relation.as_ref(), &update.from_clause, &update.where_clause, schema, placement)?;
    assignments(&update.target_list, &scope)?;
    returning(update.returning_clause.as_ref(), &scope)
}

fn prove_delete(
    delete: &DeleteStmt,
    schema: &Schema,
    placement: &dyn Fn(&RelationName) -> TablePlacement,
) -> Result<()> {
    if delete.with_clause.is_some() {
        return Err(refuse("WITH"));
    }
    let scope = rows_of(delete.relation.as_ref(), &delete.using_clause, &delete.where_clause, schema, placement)?;
    returning(delete.returning_clause.as_ref(), &scope)
}

/// The names of a statement that concerns rows of `target` as they meet rows of `others`.
fn rows_of<'s>(
    target: Option<&pg_query::protobuf::RangeVar>,
    others: &[Node],
    condition: &Option<Box<Node>>,
    schema: &'s Schema,
    placement: &dyn Fn(&RelationName) -> TablePlacement,
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

fn prove_insert(insert: &InsertStmt, schema: &Schema) -> Result<()> {
    if insert.with_clause.is_some() {
        return Err(refuse("WITH"));
    }
    let mut nothing = Scope::new(schema);
    nothing.evaluated_by_row = true;
    let Some(NodeEnum::SelectStmt(select)) = insert.select_stmt.as_ref().and_then(|source| source.node.as_ref()) else {
        return Err(refuse("DEFAULT VALUES"));
    };
    for row in &select.values_lists {
        let Some(NodeEnum::List(row)) = &row.node else { return Err(refuse("a row that is none")) };
        row.items.iter().try_for_each(|value| value_or_default(value, &nothing))?;
    }
    let mut scope = target_scope(insert, schema)?;
    returning(insert.returning_clause.as_ref(), &scope)?;
    match &insert.on_conflict_clause {
        None => Ok(()),
        Some(conflict) => {
            let excluded = scope.relations.first().map_or(&[][..], |target| target.columns);
            scope.relations.push(ScopeRelation { alias: "excluded".to_owned(), columns: excluded, shard_key: None });
            on_conflict(conflict, &scope)
        }
    }
}

fn target_scope<'s>(insert: &InsertStmt, schema: &'s Schema) -> Result<Scope<'s>> {
    let target = insert.relation.as_ref().ok_or_else(|| refuse("a statement without a target"))?;
    let named = |name: &str| (!name.is_empty()).then(|| name.to_owned());
    let name = RelationName { schema: named(&target.schemaname), name: target.relname.clone() };
    let Resolved::User { relation, .. } = schema.resolve(&name) else {
        return Err(refuse(format!("the table \"{}\", whose columns are not known", name.name)));
    };
    let alias = target.alias.as_ref().map_or(&target.relname, |alias| &alias.aliasname).clone();
    let mut scope = Scope::new(schema);
    scope.evaluated_by_row = true;
    scope.relations.push(ScopeRelation { alias, columns: &relation.columns, shard_key: None });
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

fn assignments(targets: &[Node], scope: &Scope<'_>) -> Result<()> {
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
fn value_or_default(value: &Node, scope: &Scope<'_>) -> Result<()> {
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
    super::targets::Targets::read(&clause.exprs, scope).map(drop)
}

#[cfg(test)]
mod tests {
    use super::super::super::schema::{Column, FunctionClass, Relation, Volatility};
    use super::*;

    fn schema() -> Schema {
        let mut schema = Schema { search_path: vec!["public".into()], ..Schema::default() };
        let column = |name: &str, type_oid| Column { name: name.into(), type_oid, ..Column::plain() };
        for (table, columns) in [("t", ["k", "a"]), ("u", ["k", "b"]), ("r", ["id", "label"])] {
            let columns = vec![column(columns[0], 23), column(columns[1], 25)];
            let relation = Relation { columns, ..Relation::default() };
            schema.relations.insert(("public".into(), table.into()), relation);
        }
        let class = |volatility, returns_set| FunctionClass {
            builtin: true,
            volatility,
            aggregate: false,
            window: false,
            returns_set,
        };
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
            ("UPDATE t SET a = 'x' FROM (SELECT 1) q", "subquery in FROM"),
            ("DELETE FROM t USING u WHERE u.k = 1", "does not equate"),
            ("DELETE FROM t WHERE EXISTS (SELECT 1 FROM u)", "subquery"),
            ("DELETE FROM t WHERE CURRENT OF c", "CurrentOfExpr"),
            ("DELETE FROM t RETURNING tableoid", "tableoid"),
            ("DELETE FROM t RETURNING t", "\"t\""),
        ] {
            let refusal = prove(text).expect_err(text);
            let detail = refusal.detail.as_deref().unwrap_or_default();
            assert!(refusal.kind == Kind::NotSupported && detail.contains(part), "{text}: {refusal:?}");
        }
    }
}
