//! WITH queries. One that only reads is analysed wherever it is referred to, as if it stood there.

use std::cell::Cell;

use pg_query::{Node, NodeEnum, protobuf as pg};

use super::inner;
use super::scope::Env;

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
    /// It is analysed once, where it stands, and its columns cannot be followed: it writes, or refers to itself.
    pub stands_alone: bool,
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
