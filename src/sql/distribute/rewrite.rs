//! The text that every shard runs: the client's statement with what the merge needs put in and what it does taken out.

use pg_query::NodeEnum;
use pg_query::protobuf::{LimitOption, Node, ResTarget, SelectStmt};

use super::{Distributed, Window};
use crate::merge::spec::{ColumnRef, Combine, MergeSpec, Outer, SortKey, Ties};
use crate::sql::tree::{integer, written};
use crate::types::Result;

/// A SELECT that is being rewritten.
pub struct Rewrite {
    pub select: SelectStmt,
    /// The beginning of hidden columns' names. The statement has no name like it, so that what ORDER BY and GROUP BY
    /// mean does not change.
    prefix: String,
    hidden_columns: usize,
    /// See [`MergeSpec::distinct_keys`].
    pub distinct_keys: usize,
    /// See [`MergeSpec::outer`].
    pub outer: Option<Outer>,
}

impl Rewrite {
    /// `text` is the statement's own text.
    pub fn new(select: SelectStmt, text: &str) -> Self {
        let mut prefix = "weir_hidden_".to_owned();
        while text.to_ascii_lowercase().contains(&prefix) {
            prefix.push('_');
        }
        Self { select, prefix, hidden_columns: 0, distinct_keys: 0, outer: None }
    }

    /// Adds a column behind the client's own.
    pub fn hide(&mut self, expression: Node) -> ColumnRef {
        let column = ColumnRef::Hidden(self.hidden_columns);
        self.hidden_columns += 1;
        let target =
            ResTarget { name: self.hidden_name(column), val: Some(Box::new(expression)), ..ResTarget::default() };
        self.select.target_list.push(Node { node: Some(NodeEnum::ResTarget(Box::new(target))) });
        column
    }

    /// The name of a hidden column.
    pub fn hidden_name(&self, column: ColumnRef) -> String {
        let (ColumnRef::Hidden(place) | ColumnRef::Visible(place)) = column;
        format!("{}{}", self.prefix, place + 1)
    }

    /// A name that the statement does not have.
    pub fn rows_name(&self) -> String {
        format!("{}rows", self.prefix)
    }

    /// How many columns are hidden by now.
    pub fn hidden_columns(&self) -> usize {
        self.hidden_columns
    }

    /// Replaces LIMIT and OFFSET by a LIMIT, or by none.
    pub fn limit(&mut self, rows: Option<i64>, ties: Ties) {
        self.select.limit_offset = None;
        self.select.limit_count = rows.map(|rows| Box::new(integer(rows)));
        let option = match (rows, ties) {
            (None, _) => LimitOption::Default,
            (Some(_), Ties::Cut) => LimitOption::Count,
            (Some(_), Ties::Kept) => LimitOption::WithTies,
        };
        self.select.set_limit_option(option);
    }

    /// # Errors
    /// A tree that cannot be written as text, which would be a bug.
    pub fn finish(self, combine: Combine, sort: Vec<SortKey>, window: Window) -> Result<Distributed> {
        let shard_text = written(NodeEnum::SelectStmt(Box::new(self.select)))?;
        let merge = MergeSpec {
            hidden_columns: self.hidden_columns,
            combine,
            sort,
            distinct_keys: self.distinct_keys,
            offset: window.offset,
            limit: window.limit,
            ties: window.ties,
            drops_parameters: window.has_parameters || self.outer.is_some(),
            outer: self.outer,
        };
        Ok(Distributed { shard_text, merge })
    }
}
