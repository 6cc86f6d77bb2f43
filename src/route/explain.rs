//! EXPLAIN: what Weir says in front of PostgreSQL's own plan.

use super::Router;
use super::plan::Action;
use super::target::Target;
use crate::sql::facts::{RelationUse, StatementKind};
use crate::types::{Result, ShardId};

impl Router<'_> {
    /// Where an EXPLAIN's statement runs, and where the rows of each relation are; nothing for other statements.
    pub(super) fn explanation(&self, action: Option<&Action>) -> Result<Vec<String>> {
        let is_plain = matches!(self.statement().kind, StatementKind::Explain { formatted: false, .. });
        let Some(Action::One { part, .. }) = action.filter(|_| is_plain) else { return Ok(Vec::new()) };
        let name = self.request.map.shard_name(part.shard);
        let how = if self.request.named.is_some() { "named by the client" } else { "the statement as it is" };
        let mut lines = vec![format!("Weir: shard {name}, {how}")];
        for (index, (used, target)) in self.statement().relations.iter().zip(&self.targets).enumerate() {
            lines.push(format!("  {}", self.place_of(index, used, target)?));
        }
        Ok(lines)
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
