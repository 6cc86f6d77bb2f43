//! Views: a view is as good as its query.

use std::rc::Rc;

use pg_query::ParserOptions;

use super::from::EXPANSIONS_MAX;
use super::output::{Output, OutputColumn};
use super::scope::Env;
use super::{Analyzer, inner};
use crate::sql::schema::{Relation, View};

impl<'a> Analyzer<'a> {
    /// Analyses a view's query in place of the occurrence `index`. `None` if its columns cannot be followed.
    pub(super) fn view_columns(
        &mut self,
        index: usize,
        view: &'a View,
        relation: &Relation,
    ) -> Option<Vec<OutputColumn>> {
        if self.expansions >= EXPANSIONS_MAX {
            return None;
        }
        self.expansions += 1;
        let parsed = pg_query::parse(&view.definition, ParserOptions::DEFAULT).ok()?;
        let parsed = Rc::new(parsed.protobuf);
        self.views.push(Rc::clone(&parsed));
        let [raw] = parsed.stmts.as_slice() else { return None };
        let query = raw.stmt.as_deref().and_then(inner)?;
        let text = std::mem::replace(&mut self.text, &view.definition);
        let literals = std::mem::replace(&mut self.literals, &view.literals);
        let in_view = std::mem::replace(&mut self.in_view, true);
        let output = self.subquery(query, Env::TOP);
        (self.text, self.literals, self.in_view) = (text, literals, in_view);
        self.statement.relations[index].expanded = true;
        named_after(relation, output?)
    }
}

/// A view's columns have the names that the catalogs know.
fn named_after(relation: &Relation, output: Output) -> Option<Vec<OutputColumn>> {
    if !output.ordered || output.columns.len() != relation.columns.len() {
        return None;
    }
    let named = output.columns.into_iter().zip(&relation.columns);
    Some(named.map(|(column, known)| OutputColumn { name: Some(known.name.clone()), ..column }).collect())
}
