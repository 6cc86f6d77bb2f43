//! SELECT, INSERT, UPDATE, DELETE and MERGE.

use pg_query::protobuf::{BoolExprType, OnConflictAction, SetOperation, SubLinkType};
use pg_query::{Node, NodeEnum, protobuf as pg};

use super::condition::Filter;
use super::cte::{Ctes, Visible};
use super::output::{Output, OutputColumn};
use super::scope::{Env, Scope, Source, Sources};
use super::{Analyzer, inner, node_name};
use crate::sql::facts::{
    ColumnUse, Effects, InsertShape, InsertSource, Operand, ParameterContext, Selected, StatementKind,
};
use crate::sql::tree::{is_default, is_of_row_with_default};

impl<'a> Analyzer<'a> {
    /// A query below the top of a statement.
    pub(super) fn subquery(&mut self, query: &NodeEnum, env: Env<'_>) -> Option<Output> {
        match query {
            NodeEnum::SelectStmt(select) => self.select(select, env),
            NodeEnum::InsertStmt(_) | NodeEnum::UpdateStmt(_) | NodeEnum::DeleteStmt(_) | NodeEnum::MergeStmt(_) => {
                if matches!(query, NodeEnum::MergeStmt(_)) {
                    self.refused("MERGE inside another statement");
                }
                self.returned = None;
                self.data_modification(query, env);
                self.returned.take()
            }
            other => {
                self.unknown(node_name(other));
                None
            }
        }
    }

    /// INSERT, UPDATE, DELETE or MERGE, at the top or in WITH.
    pub(super) fn data_modification(&mut self, query: &NodeEnum, env: Env<'_>) -> StatementKind {
        self.effect(Effects::WRITES_ROWS);
        match query {
            NodeEnum::InsertStmt(insert) => {
                self.insert(insert, env);
                StatementKind::Insert
            }
            NodeEnum::UpdateStmt(update) => {
                self.update(update, env);
                StatementKind::Update
            }
            NodeEnum::DeleteStmt(delete) => {
                self.delete(delete, env);
                StatementKind::Delete
            }
            NodeEnum::MergeStmt(merge) => {
                self.merge(merge, env);
                StatementKind::Merge
            }
            other => {
                self.unknown(node_name(other));
                StatementKind::Other(node_name(other))
            }
        }
    }

    /// Analyses `body` with the WITH queries in its environment, and those that it does not refer to.
    fn with<T>(
        &mut self,
        with: Option<&pg::WithClause>,
        env: Env<'_>,
        body: impl FnOnce(&mut Self, Env<'_>) -> T,
    ) -> T {
        let Some(with) = with else { return body(self, env) };
        let level = Ctes::new(with, env);
        for (place, _) in level.queries.iter().enumerate().filter(|(_, cte)| cte.stands_alone) {
            self.alone(&level, place, with.recursive);
        }
        for cte in &with.ctes {
            match inner(cte) {
                Some(NodeEnum::CommonTableExpr(cte)) => self.cycle_marks(cte, level.inside(0, with.recursive)),
                _ => self.unknown("a WITH query that is none"),
            }
        }
        let all = Visible { level: &level, count: level.queries.len() };
        let result = body(self, Env { ctes: Some(all), ..env });
        // The last first: it may refer to those before it.
        for place in (0..level.queries.len()).rev() {
            if level.queries[place].uses.get() == 0 {
                self.alone(&level, place, with.recursive);
            }
        }
        result
    }

    fn cycle_marks(&mut self, cte: &pg::CommonTableExpr, inside: Env<'_>) {
        if let Some(cycle) = &cte.cycle_clause {
            self.optional(cycle.cycle_mark_value.as_deref(), &Scope::new(inside));
            self.optional(cycle.cycle_mark_default.as_deref(), &Scope::new(inside));
        }
    }

    /// Analyses a SELECT; what is known of its columns.
    pub(super) fn select(&mut self, select: &pg::SelectStmt, env: Env<'_>) -> Option<Output> {
        self.with(select.with_clause.as_ref(), env, |analyzer, env| match select.op() {
            SetOperation::SetopNone | SetOperation::Undefined => analyzer.simple_select(select, env),
            _ => analyzer.set_operation(select, env.unwanted()),
        })
    }

    /// Each branch of UNION, INTERSECT or EXCEPT is a query level of its own.
    fn set_operation(&mut self, select: &pg::SelectStmt, env: Env<'_>) -> Option<Output> {
        self.effect(Effects::SHAPES_RESULT);
        let around = self.shape;
        let mut branch =
            |branch: &Option<Box<pg::SelectStmt>>| branch.as_ref().and_then(|branch| self.select(branch, env));
        let (left, right) = (branch(&select.larg), branch(&select.rarg));
        self.select_tail(select, &Scope::new(env));
        self.shape = around;
        self.combined(select, left, right)
    }

    fn simple_select(&mut self, select: &pg::SelectStmt, env: Env<'_>) -> Option<Output> {
        let around = std::mem::take(&mut self.shape);
        let mut scope = Scope::new(env);
        self.add_items(&select.from_clause, &mut scope);
        self.expressions(&select.target_list, &scope);
        self.expressions(&select.values_lists, &scope);
        self.grouping(select, &scope);
        self.select_tail(select, &scope);
        let shapes = self.shape.aggregates || self.shape.cuts || self.has_escaping_aggregate;
        if shapes || select.having_clause.is_some() || !select.group_clause.is_empty() {
            // EXISTS is true of a count of no rows, too.
            scope.env = scope.env.unwanted();
        }
        self.filtered(select.where_clause.as_deref(), &scope);
        let output = self.output(select, &scope);
        self.shape = around;
        output
    }

    /// WHERE: its effects, and what it says about keys.
    fn filtered(&mut self, condition: Option<&Node>, scope: &Scope<'_>) {
        let filter = Filter::all(scope);
        self.note_wanted(condition, filter.restricts);
        self.optional(condition, scope);
        self.conditions(condition, &filter, scope);
    }

    /// Notes the queries that stand in EXISTS, for rows of the restricted sources to count.
    pub(super) fn note_wanted(&mut self, condition: Option<&Node>, restricts: Sources) {
        match condition.and_then(inner) {
            Some(NodeEnum::BoolExpr(and)) if and.boolop() == BoolExprType::AndExpr => {
                and.args.iter().for_each(|conjunct| self.note_wanted(Some(conjunct), restricts));
            }
            Some(NodeEnum::SubLink(link)) if link.sub_link_type() == SubLinkType::ExistsSublink => {
                self.wanted.insert(std::ptr::from_ref(link), restricts);
            }
            _ => {}
        }
    }

    fn grouping(&mut self, select: &pg::SelectStmt, scope: &Scope<'_>) {
        let lists = [&select.group_clause, &select.distinct_clause, &select.window_clause, &select.values_lists];
        if lists.iter().any(|list| !list.is_empty()) || select.having_clause.is_some() {
            self.effect(Effects::SHAPES_RESULT);
        }
        if select.distinct_clause.iter().any(|item| inner(item).is_some()) {
            // DISTINCT ON; plain DISTINCT has one empty item.
            self.shape.cuts = true;
        }
        self.expressions(&select.group_clause, scope);
        self.expressions(&select.distinct_clause, scope);
        self.expressions(&select.window_clause, scope);
        self.optional(select.having_clause.as_deref(), scope);
    }

    /// ORDER BY, LIMIT, locking and INTO.
    pub(super) fn select_tail(&mut self, select: &pg::SelectStmt, scope: &Scope<'_>) {
        self.expressions(&select.sort_clause, scope);
        self.optional(select.limit_count.as_deref(), scope);
        self.optional(select.limit_offset.as_deref(), scope);
        if select.limit_count.is_some() || select.limit_offset.is_some() {
            self.effect(Effects::SHAPES_RESULT);
            self.shape.cuts = true;
        }
        if !select.locking_clause.is_empty() {
            self.effect(Effects::LOCKS);
            self.shape.cuts = true;
        }
        if let Some(into) = &select.into_clause {
            self.made_table(into);
        }
    }

    /// A statement's target becomes the first source of its scope; returns its occurrence.
    fn target_source<'e>(&mut self, range: Option<&pg::RangeVar>, scope: &mut Scope<'e>) -> Option<usize>
    where
        'a: 'e,
    {
        let occurrence = self.statement.relations.len();
        scope.sources.push(self.source(range?, true));
        Some(occurrence)
    }

    fn insert(&mut self, insert: &pg::InsertStmt, env: Env<'_>) {
        self.with(insert.with_clause.as_ref(), env, |analyzer, env| {
            let mut scope = Scope::new(env);
            analyzer.new_rows(insert.relation.as_ref());
            let Some(target) = analyzer.target_source(insert.relation.as_ref(), &mut scope) else { return };
            let columns = insert_columns(&insert.cols);
            let source = analyzer.insert_source(insert, target, columns.as_deref(), env);
            let upsert = analyzer.on_conflict(insert, target, &mut scope);
            analyzer.returning(insert.returning_clause.as_ref(), &scope);
            let shape = InsertShape { relation: target, columns, source, upsert };
            if analyzer.statement.insert.replace(shape).is_some() {
                analyzer.refused("more than one INSERT");
            }
        });
    }

    fn insert_source(
        &mut self,
        insert: &pg::InsertStmt,
        target: usize,
        columns: Option<&[String]>,
        env: Env<'_>,
    ) -> InsertSource {
        match insert.select_stmt.as_deref().and_then(inner) {
            None => InsertSource::DefaultValues,
            Some(NodeEnum::SelectStmt(select)) if is_plain_values(select) => {
                InsertSource::Values(self.insert_rows(&select.values_lists, target, columns, env))
            }
            Some(query) => InsertSource::Select(self.selected(query, env)),
        }
    }

    /// The query of an INSERT.
    fn selected(&mut self, query: &NodeEnum, env: Env<'_>) -> Option<Vec<Selected>> {
        let output = self.subquery(query, env).filter(|output| output.ordered)?;
        let values = match query {
            NodeEnum::SelectStmt(select) if select.op() == SetOperation::SetopNone => self.plain_values(select),
            _ => Vec::new(),
        };
        let is_aligned = values.len() == output.columns.len();
        let selected = output.columns.into_iter().enumerate().map(|(place, column)| {
            match values.get(place).filter(|_| is_aligned && column.columns.is_empty()) {
                Some(value) => Selected::Value(value.clone()),
                None if column.columns.is_empty() || self.makes_nulls => Selected::Value(Operand::Computed),
                None => Selected::From(column.columns),
            }
        });
        Some(selected.collect())
    }

    /// What the select list computes from nothing, place by place, if no item of it is a star.
    fn plain_values(&self, select: &pg::SelectStmt) -> Vec<Operand> {
        let value = |target: &Node| match inner(target) {
            Some(NodeEnum::ResTarget(target)) => {
                target.val.as_deref().map_or(Operand::Computed, |value| self.operand(value))
            }
            _ => Operand::Computed,
        };
        select.target_list.iter().map(value).collect()
    }

    fn insert_rows(
        &mut self,
        rows: &[Node],
        target: usize,
        columns: Option<&[String]>,
        env: Env<'_>,
    ) -> Vec<Vec<Operand>> {
        let scope = Scope::new(env);
        let mut operands = Vec::with_capacity(rows.len());
        for row in rows {
            let Some(NodeEnum::List(row)) = inner(row) else {
                self.unknown("a row of VALUES");
                continue;
            };
            for (position, value) in row.items.iter().enumerate() {
                self.typed_value(value, insert_context(target, columns, position), &scope);
            }
            operands.push(row.items.iter().map(|value| self.operand(value)).collect());
        }
        operands
    }

    /// ON CONFLICT; whether it updates.
    fn on_conflict(&mut self, insert: &pg::InsertStmt, target: usize, scope: &mut Scope<'_>) -> bool {
        let Some(clause) = &insert.on_conflict_clause else { return false };
        scope.sources.push(Source::opaque(Some("excluded".to_owned())));
        if let Some(infer) = &clause.infer {
            self.index_elements(&infer.index_elems, scope);
            self.optional(infer.where_clause.as_deref(), scope);
        }
        self.assignments(&clause.target_list, Some(target), scope);
        self.optional(clause.where_clause.as_deref(), scope);
        clause.action() == OnConflictAction::OnconflictUpdate
    }

    pub(super) fn index_elements(&mut self, elements: &[Node], scope: &Scope<'_>) {
        for element in elements {
            match inner(element) {
                Some(NodeEnum::IndexElem(element)) => self.optional(element.expr.as_deref(), scope),
                _ => self.unknown("an index element"),
            }
        }
    }

    fn assignments(&mut self, targets: &[Node], relation: Option<usize>, scope: &Scope<'_>) {
        for target in targets {
            match (inner(target), relation) {
                (Some(NodeEnum::ResTarget(assigned)), Some(relation)) => {
                    if assigned.val.as_deref().is_some_and(|value| is_default(value) || is_of_row_with_default(value)) {
                        // Whatever the column's default calls.
                        self.effect(Effects::VOLATILE | Effects::ADVANCES_SEQUENCE);
                    }
                    self.statement.assigned.push(ColumnUse { relation, column: assigned.name.clone() });
                }
                _ => self.unknown("an assignment"),
            }
        }
        self.expressions(targets, scope);
    }

    fn returning(&mut self, clause: Option<&pg::ReturningClause>, scope: &Scope<'_>) {
        let Some(clause) = clause else { return };
        self.expressions(&clause.exprs, scope);
        let assigned = &self.statement.assigned;
        let is_stored = |column: &OutputColumn| !column.columns.iter().any(|used| assigned.contains(used));
        self.returned = self.targets(&clause.exprs, scope).map(|output| {
            // A column that is assigned has another value now.
            let known = |column: OutputColumn| match is_stored(&column) {
                true => column,
                false => OutputColumn::bound(column.name, None),
            };
            Output { columns: output.columns.into_iter().map(known).collect(), ordered: output.ordered }
        });
    }

    fn update(&mut self, update: &pg::UpdateStmt, env: Env<'_>) {
        self.with(update.with_clause.as_ref(), env, |analyzer, env| {
            let mut scope = Scope::new(env);
            let target = analyzer.target_source(update.relation.as_ref(), &mut scope);
            analyzer.add_items(&update.from_clause, &mut scope);
            analyzer.assignments(&update.target_list, target, &scope);
            analyzer.filtered(update.where_clause.as_deref(), &scope);
            analyzer.returning(update.returning_clause.as_ref(), &scope);
        });
    }

    fn delete(&mut self, delete: &pg::DeleteStmt, env: Env<'_>) {
        self.with(delete.with_clause.as_ref(), env, |analyzer, env| {
            let mut scope = Scope::new(env);
            analyzer.target_source(delete.relation.as_ref(), &mut scope);
            analyzer.add_items(&delete.using_clause, &mut scope);
            analyzer.filtered(delete.where_clause.as_deref(), &scope);
            analyzer.returning(delete.returning_clause.as_ref(), &scope);
        });
    }

    /// MERGE: its effects are collected. Nothing is inferred from its condition.
    fn merge(&mut self, merge: &pg::MergeStmt, env: Env<'_>) {
        self.with(merge.with_clause.as_ref(), env, |analyzer, env| {
            let mut scope = Scope::new(env);
            let target = analyzer.target_source(merge.relation.as_ref(), &mut scope);
            analyzer.new_rows(merge.relation.as_ref());
            analyzer.add_items(merge.source_relation.as_deref().map_or(&[], std::slice::from_ref), &mut scope);
            analyzer.optional(merge.join_condition.as_deref(), &scope);
            for clause in &merge.merge_when_clauses {
                analyzer.merge_action(clause, target, &scope);
            }
            analyzer.returning(merge.returning_clause.as_ref(), &scope);
        });
    }

    fn merge_action(&mut self, clause: &Node, target: Option<usize>, scope: &Scope<'_>) {
        match inner(clause) {
            Some(NodeEnum::MergeWhenClause(action)) => {
                self.optional(action.condition.as_deref(), scope);
                match action.command_type() {
                    // Its list names columns of new rows.
                    pg::CmdType::CmdInsert => {}
                    _ => self.assignments(&action.target_list, target, scope),
                }
                self.expressions(&action.values, scope);
            }
            _ => self.unknown("an action of MERGE"),
        }
    }

    /// SELECT INTO, and those forms of CREATE TABLE AS that nobody looks at closely.
    pub(super) fn made_table(&mut self, into: &pg::IntoClause) {
        self.effect(Effects::DDL | Effects::WRITES_ROWS);
        self.refused("a table made from a query");
        match &into.rel {
            Some(range) => self.defined_relation(range),
            None => self.unknown("a table without a name"),
        }
    }
}

/// VALUES and nothing else: the rows of an INSERT.
fn is_plain_values(select: &pg::SelectStmt) -> bool {
    !select.values_lists.is_empty()
        && select.with_clause.is_none()
        && select.sort_clause.is_empty()
        && select.limit_count.is_none()
        && select.limit_offset.is_none()
        && select.locking_clause.is_empty()
}

fn insert_columns(columns: &[Node]) -> Option<Vec<String>> {
    let name = |column: &Node| match inner(column) {
        Some(NodeEnum::ResTarget(target)) => target.name.clone(),
        _ => String::new(),
    };
    (!columns.is_empty()).then(|| columns.iter().map(name).collect())
}

fn insert_context(relation: usize, columns: Option<&[String]>, position: usize) -> ParameterContext {
    match columns {
        None => ParameterContext::Position(position),
        Some(columns) => columns.get(position).map_or(ParameterContext::Unknown, |column| {
            ParameterContext::Column(ColumnUse { relation, column: column.clone() })
        }),
    }
}
