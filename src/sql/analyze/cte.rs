//! WITH queries. One that only reads is analysed wherever it is referred to, as if it stood there.

use std::cell::{Cell, RefCell};

use pg_query::protobuf::SetOperation;
use pg_query::{Node, NodeEnum, protobuf as pg};

use super::output::{Output, OutputColumn};
use super::scope::{Env, Scope};
use super::{Analyzer, inner};
use crate::sql::facts::{ColumnUse, Effects};

/// The WITH queries of one level.
pub(super) struct Ctes<'e> {
    pub queries: Vec<Cte<'e>>,
    /// What stands around the level.
    pub around: Env<'e>,
}

/// One WITH query.
pub(super) struct Cte<'e> {
    pub name: &'e str,
    pub query: Option<&'e NodeEnum>,
    /// The names of its columns, where it gives them.
    pub column_names: &'e [Node],
    /// It is analysed once, where it stands: it writes, or may refer to itself.
    pub stands_alone: bool,
    /// Where the values of its columns come from, if it stands alone and that is known. Rows of other relations may be
    /// left out for them, but none of these.
    pub columns: RefCell<Option<Vec<OutputColumn>>>,
    /// SEARCH or CYCLE adds columns to it.
    pub is_extended: bool,
    /// How often it was analysed.
    pub uses: Cell<usize>,
}

/// The first queries of a level: without RECURSIVE a WITH query sees only those before it.
#[derive(Clone, Copy)]
pub(super) struct Visible<'e> {
    pub level: &'e Ctes<'e>,
    pub count: usize,
}

impl<'e> Ctes<'e> {
    pub fn new(with: &'e pg::WithClause, around: Env<'e>) -> Self {
        let query = |cte: &'e Node| match inner(cte) {
            Some(NodeEnum::CommonTableExpr(cte)) => Some(Cte {
                name: &cte.ctename,
                query: cte.ctequery.as_deref().and_then(inner),
                column_names: &cte.aliascolnames,
                stands_alone: with.recursive || !is_select(cte),
                columns: RefCell::default(),
                is_extended: cte.search_clause.is_some() || cte.cycle_clause.is_some(),
                uses: Cell::new(0),
            }),
            _ => None,
        };
        Self { queries: with.ctes.iter().filter_map(query).collect(), around }
    }

    /// What the query at `place` sees.
    pub fn inside(&'e self, place: usize, recursive: bool) -> Env<'e> {
        let count = if recursive { self.queries.len() } else { place };
        Env { ctes: Some(Visible { level: self, count }), ..self.around.unwanted() }
    }
}

impl Cte<'_> {
    /// Its columns as references see them, from those of its query.
    fn show(&self, output: Option<Output>) {
        let fixed = |column: OutputColumn| OutputColumn { pushable: false, ..column };
        let named = output.filter(|_| !self.is_extended).and_then(|output| output.renamed(self.column_names));
        *self.columns.borrow_mut() = named.map(|columns| columns.into_iter().map(fixed).collect());
    }
}

/// How often a step is looked at before no column counts as kept.
const ATTEMPTS_MAX: usize = 4;

/// A query that refers to itself: what it begins with, and what is repeated.
struct Recursion<'q> {
    select: &'q pg::SelectStmt,
    base: &'q pg::SelectStmt,
    step: &'q pg::SelectStmt,
}

impl<'q> Recursion<'q> {
    fn of(query: &'q NodeEnum) -> Option<Self> {
        let NodeEnum::SelectStmt(select) = query else { return None };
        let is_plain = select.op() == SetOperation::SetopUnion && select.with_clause.is_none();
        let (Some(base), Some(step), true) = (&select.larg, &select.rarg, is_plain) else { return None };
        Some(Self { select, base, step })
    }
}

impl Analyzer<'_> {
    /// Analyses a WITH query where it stands.
    pub(super) fn alone(&mut self, level: &Ctes<'_>, place: usize, recursive: bool) {
        let cte = &level.queries[place];
        cte.uses.set(1);
        let Some(query) = cte.query else { return self.unknown("a WITH query without a query") };
        let env = level.inside(place, recursive);
        match Recursion::of(query).filter(|_| recursive) {
            Some(recursion) => self.recursion(&recursion, cte, env),
            None => {
                let output = self.subquery(query, env);
                cte.show(output);
            }
        }
    }

    /// A column keeps the values that the query begins with if each step takes it over from the rows before, or from
    /// rows where it is equal. That is assumed for all columns first, and then for those that turn out to.
    fn recursion(&mut self, recursion: &Recursion<'_>, cte: &Cte<'_>, env: Env<'_>) {
        self.effect(Effects::SHAPES_RESULT);
        let around = self.shape;
        let base = self.select(recursion.base, env.unwanted()).filter(|base| base.ordered);
        let mut kept = base.map(|base| base.columns).unwrap_or_default();
        let before = self.statement.clone();
        for attempt in 1.. {
            cte.show((!kept.is_empty()).then(|| Output { columns: kept.clone(), ordered: true }));
            let step = self.select(recursion.step, env.unwanted());
            let lost = self.lost_columns(&kept, step.as_ref());
            if lost.is_empty() {
                break;
            }
            self.statement = before.clone();
            match attempt {
                1..ATTEMPTS_MAX => lost.into_iter().for_each(|place| kept[place].columns.clear()),
                _ => kept.clear(),
            }
        }
        self.select_tail(recursion.select, &Scope::new(env));
        self.shape = around;
    }

    /// The places of columns that were taken for kept and are not.
    fn lost_columns(&self, kept: &[OutputColumn], step: Option<&Output>) -> Vec<usize> {
        let step = step.filter(|step| step.ordered && step.columns.len() == kept.len());
        let is_kept = |place: usize, column: &OutputColumn| {
            step.is_some_and(|step| {
                let next = &step.columns[place].columns;
                !next.is_empty() && next.iter().all(|used| self.is_carried(&column.columns, used))
            })
        };
        let assumed = kept.iter().enumerate().filter(|(_, column)| !column.columns.is_empty());
        assumed.filter(|(place, column)| !is_kept(*place, column)).map(|(place, _)| place).collect()
    }

    /// Whether a column's values that count are among those of the others.
    fn is_carried(&self, from: &[ColumnUse], to: &ColumnUse) -> bool {
        let is_carry = |from: &ColumnUse| {
            let mut carries = self.statement.carries.iter();
            carries.any(|carry| carry.from == *from && carry.to == *to) && self.type_of(from) == self.type_of(to)
        };
        from.contains(to) || matches!(from, [only] if is_carry(only))
    }
}

fn is_select(cte: &pg::CommonTableExpr) -> bool {
    matches!(cte.ctequery.as_deref().and_then(inner), Some(NodeEnum::SelectStmt(_)))
}

impl<'e> Env<'e> {
    /// The WITH query that an unqualified relation name means: its level and its place there.
    pub fn cte(&self, name: &str) -> Option<(&'e Ctes<'e>, usize)> {
        let mut visible = self.ctes;
        while let Some(Visible { level, count }) = visible {
            if let Some(place) = level.queries.iter().take(count).rposition(|cte| cte.name == name) {
                return Some((level, place));
            }
            visible = level.around.ctes;
        }
        None
    }
}
