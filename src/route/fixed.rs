//! Statements whose shard the client names: by `SET weir.shard`, `SET weir.sharding_key`, or a comment in front.
//!
//! The client's word replaces the search for the shard, no check that guards the data: rows stay with their owners,
//! copies of reference tables stay alike, and schemas stay the same on every shard.

use super::Router;
use super::plan::{Access, Action};
use super::target::{self, Target};
use crate::sql::facts::{Effects, Facets, StatementKind};
use crate::types::{Error, Result, ShardId};

impl Router<'_> {
    /// The plan for a named shard; `None` where the shard makes no difference.
    pub(super) fn on_named_shard(&mut self, shard: ShardId) -> Result<Option<Action>> {
        let statement = self.statement();
        match &statement.kind {
            StatementKind::Opaque if !statement.makes.contains(Facets::LIBRARIES) => self.code_on(shard).map(Some),
            StatementKind::Unparsed => self.code_on(shard).map(Some),
            StatementKind::Select | StatementKind::CopyTo | StatementKind::Explain { .. }
                if !statement.effects.contains(Effects::WRITES_ROWS) =>
            {
                self.check_kept()?;
                self.targets = target::resolve_existing(&self.request);
                self.check_named(shard)?;
                Ok(Some(self.one(shard)))
            }
            StatementKind::Insert | StatementKind::Update | StatementKind::Delete => {
                self.check_kept()?;
                self.targets = target::resolve(&self.request)?;
                self.write_on(shard).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Code of which nothing is known.
    fn code_on(&self, shard: ShardId) -> Result<Action> {
        let Action::One { part, .. } = self.one(shard) else {
            return Err(Error::internal("a named shard is not one"));
        };
        Ok(Action::One { part, access: Access::Primary { writes: true } })
    }

    fn write_on(&self, shard: ShardId) -> Result<Action> {
        if let Some(part) = &self.statement().unknown {
            return Err(Error::refuse("cannot route the statement", format!("The statement contains {part}.")));
        }
        let relations = self.statement().relations.iter().zip(&self.targets);
        let mut written = relations.enumerate().filter(|(_, (used, _))| used.written);
        match (written.next(), written.next()) {
            (Some((index, (_, Target::Sharded { columns, .. }))), None) => self.check_assigned(index, columns)?,
            (Some((_, (_, Target::Single { shard: own, .. }))), None) if *own == shard => {}
            _ => return self.refused_write(),
        }
        let owners = self.new_owners()?;
        if owners.iter().any(|owner| *owner != shard) {
            return Err(Error::refuse(
                format!("the new rows do not belong to shard \"{}\"", self.request.map.shard_name(shard)),
                "The shard map gives their keys to another shard.",
            )
            .hint("RESET weir.shard, and let Weir find the shard."));
        }
        self.check_named(shard)?;
        Ok(self.one(shard))
    }

    fn refused_write(&self) -> Result<Action> {
        Err(Error::refuse(
            "cannot write this table on a named shard",
            "Only rows of sharded tables, and of tables that live on that shard, may be written on one shard.",
        )
        .hint("RESET weir.shard for this statement."))
    }

    /// What every shard must learn, or no shard can keep. What code leaves that cannot be seen, its server is asked for.
    fn check_kept(&self) -> Result<()> {
        self.check_names()?;
        if self.statement().opaque_names.is_empty() { self.check_session_state() } else { Ok(()) }
    }

    /// What only the home shard has, and types whose numbers differ.
    fn check_named(&self, shard: ShardId) -> Result<()> {
        self.check_home_only(shard)?;
        self.check_types(shard)
    }
}
