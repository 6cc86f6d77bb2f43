//! EXPLAIN: what Weir says in front of PostgreSQL's own plan.

use std::sync::Arc;

use super::fan::distributed;
use super::plan::{Action, Gather, Part, PartText};
use super::target::Target;
use super::{HOME, Router};
use crate::sql::facts::{RelationUse, StatementKind};
use crate::sql::gather::explained;
use crate::types::{Kind, Result, ShardId};

impl Router<'_> {
    /// Where an EXPLAIN's statement runs, and where the rows of each relation are; nothing for other statements.
    pub(super) fn explanation(&self, action: Option<&Action>) -> Result<Vec<String>> {
        let is_plain = matches!(self.statement().kind, StatementKind::Explain { formatted: false, .. });
        let part = match action.filter(|_| is_plain) {
            Some(Action::One { part, .. }) => part,
            Some(Action::Gather(gather)) => return Ok(self.gathered_lines(gather)),
            _ => return Ok(Vec::new()),
        };
        let name = self.request.map.shard_name(part.shard);
        let how = if self.request.named.is_some() { "named by the client" } else { "the statement as it is" };
        let mut lines = vec![format!("Weir: shard {name}, {how}")];
        for (index, (used, target)) in self.statement().relations.iter().zip(&self.targets).enumerate() {
            lines.push(format!("  {}", self.place_of(index, used, target)?));
        }
        Ok(lines)
    }

    /// The plan of an EXPLAIN of a statement that needs rows of several shards.
    ///
    /// # Errors
    /// Refuses what the statement itself would be refused for.
    pub(super) fn explain_several(&self, analyze: bool, shards: &[ShardId]) -> Result<Action> {
        let statement = self.statement();
        let text = statement.text(self.request.text);
        let select = explained(text)?;
        match (distributed(&self.request, select), analyze) {
            (Ok(merged), _) => {
                let mut lines = vec![
                    format!("Weir: rows of {}, merged", self.names(shards)),
                    "  or gathered, if only PostgreSQL can compare or add values of their types".to_owned(),
                    format!("  each runs: {}", merged.shard_text),
                ];
                let outer = merged.merge.outer.iter();
                lines.extend(outer.map(|outer| format!("  one of them, over the combined rows: {}", outer.text)));
                for (index, (used, target)) in statement.relations.iter().zip(&self.targets).enumerate() {
                    lines.push(format!("  {}", self.place_of(index, used, target)?));
                }
                // With the client's own options in front.
                let options = text.strip_suffix(select).unwrap_or("EXPLAIN ");
                let on_shard: Arc<str> = format!("{options}{}", merged.shard_text).into();
                let part = |shard: &ShardId| Part {
                    text: PartText::Rewritten(Arc::clone(&on_shard)),
                    ..Part::untouched(*shard)
                };
                Ok(Action::Explanation { lines, parts: shards.iter().map(part).collect() })
            }
            (Err(refusal), _) if refusal.kind == Kind::NotSupported => match (self.gather(shards)?, analyze) {
                // PostgreSQL's plan for the rows, which it makes when they are there.
                (action, true) => Ok(action),
                (Action::Gather(gather), false) => {
                    let mut lines = self.gathered_lines(&gather);
                    lines.extend(refusal.detail.as_ref().map(|detail| format!("  not merged: {detail}")));
                    lines.push("  EXPLAIN ANALYZE gathers them and shows PostgreSQL's plan".to_owned());
                    Ok(Action::Explanation { lines, parts: Vec::new() })
                }
                (action, false) => Ok(action),
            },
            (Err(error), _) => Err(error),
        }
    }

    /// What is read where for a statement over gathered rows.
    fn gathered_lines(&self, gather: &Gather) -> Vec<String> {
        let home = self.request.map.shard_name(HOME);
        let mut lines = vec![format!("Weir: rows gathered on shard {home}, which runs the statement")];
        for load in &gather.loads {
            let (table, shards) = (&load.table, self.names(&load.shards));
            let condition = table.condition.iter().map(|condition| format!(" where {condition}")).collect::<String>();
            lines.push(format!("  {} ({}) from {shards}{condition}", table.name, table.columns.join(", ")));
        }
        lines
    }

    fn place_of(&self, index: usize, used: &RelationUse, target: &Target<'_>) -> Result<String> {
        let name = &used.name.name;
        Ok(match target {
            Target::Sharded { keyspace, columns, .. } => {
                let shards = self.candidates(index, keyspace, columns)?;
                let (method, key) = (keyspace.method.name(), columns.join(", "));
                format!("{name}: {method} of {key} in keyspace {}: {}", keyspace.name, self.names(&shards))
            }
            Target::Reference { .. } => format!("{name}: a reference table, on every shard"),
            Target::Single { shard, .. } => format!("{name}: on shard {}", self.request.map.shard_name(*shard)),
            Target::Expanded => format!("{name}: a view, by its query"),
            Target::System => format!("{name}: a system catalog"),
            Target::Unmapped => format!("{name}: not in the shard map"),
        })
    }

    fn names(&self, shards: &[ShardId]) -> String {
        let names: Vec<&str> = shards.iter().map(|shard| self.request.map.shard_name(*shard)).collect();
        match names.as_slice() {
            [] => "no row can match".to_owned(),
            names if names.len() == self.request.map.shards().len() && names.len() > 1 => "every shard".to_owned(),
            names => format!("shard {}", names.join(", ")),
        }
    }
}
