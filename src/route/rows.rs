//! Reads.

use std::borrow::Cow;

use super::fan::{plan_copy_out, plan_fan};
use super::plan::Action;
use super::prune::Shards;
use super::target::Target;
use super::{HOME, Router};
use crate::sql::analyze::copy_out;
use crate::sql::facts::{Effects, StatementKind};
use crate::sql::schema::Relation;
use crate::types::{Error, Kind, Result, ShardId};
use crate::wire::oids::FIRST_NORMAL_OID;

impl Router<'_> {
    pub(super) fn read(&self) -> Result<Action> {
        if !self.touches_shards() {
            self.check_shard_local()?;
            self.check_shard(HOME)?;
            return Ok(self.one(HOME));
        }
        match self.needed(None)?.as_slice() {
            // Nothing can match, but somebody must say so in the right columns.
            [] => self.read_one(HOME),
            [shard] => self.read_one(*shard),
            several => self.read_several(several),
        }
    }

    /// Whether some rows are not on every shard.
    fn touches_shards(&self) -> bool {
        self.targets.iter().any(|target| matches!(target, Target::Sharded { .. } | Target::Single { .. }))
    }

    fn read_one(&self, shard: ShardId) -> Result<Action> {
        self.check_shard(shard)?;
        Ok(self.one(shard))
    }

    fn read_several(&self, shards: &[ShardId]) -> Result<Action> {
        self.check_shard_local()?;
        match self.statement().kind {
            StatementKind::Select => {
                shards.iter().try_for_each(|shard| self.check_shard(*shard))?;
                match plan_fan(&self.request, shards) {
                    Err(refusal) if refusal.kind == Kind::NotSupported && !self.has(Effects::LOCKS) => {
                        self.gather(shards)
                    }
                    planned => planned,
                }
            }
            StatementKind::CopyTo => {
                let may_run = shards.iter().try_for_each(|shard| self.check_shard(*shard));
                match may_run.and_then(|()| plan_copy_out(&self.request, shards)) {
                    Err(refusal) if refusal.kind == Kind::NotSupported => self.gather_copy(shards, refusal),
                    planned => planned,
                }
            }
            StatementKind::Explain { analyze, formatted: false } => {
                shards.iter().try_for_each(|shard| self.check_shard(*shard))?;
                self.explain_several(analyze, shards)
            }
            _ => Err(self.needs_several("EXPLAIN with a format", shards)),
        }
    }

    /// The refusal of a statement that needs rows of several shards.
    pub(super) fn needs_several(&self, what: &str, shards: &[ShardId]) -> Error {
        Error::refuse(
            format!("{what} of rows on several shards is not supported"),
            format!("The statement needs rows of {}.", shard_names(&self.request, shards)),
        )
        .hint(self.key_hint())
    }

    fn key_hint(&self) -> String {
        let keys = self.targets.iter().zip(&self.statement().relations).filter_map(|(target, used)| match target {
            Target::Sharded { columns, .. } => {
                Some(columns.iter().map(|column| format!("{}.{column}", used.name.name)))
            }
            Target::System | Target::Reference { .. } | Target::Single { .. } | Target::Expanded | Target::Unmapped => {
                None
            }
        });
        let mut keys: Vec<String> = keys.flatten().collect();
        keys.sort();
        keys.dedup();
        format!("Restrict the shard key by a value: {}.", keys.join(", "))
    }

    /// What only the home shard can answer must not run on another one.
    pub(super) fn check_shard(&self, shard: ShardId) -> Result<()> {
        if shard == HOME {
            return Ok(());
        }
        self.check_home_only(shard)?;
        if self.has(Effects::SYSTEM_RELATIONS) {
            return self
                .away(shard, "The home shard speaks for the system catalogs, and the rows are on another shard.");
        }
        if self.has(Effects::LOCKS) && self.targets.iter().any(|target| matches!(target, Target::Reference { .. })) {
            return self
                .away(shard, "Locking rows of a reference table on one shard does not lock them on the others.");
        }
        self.check_types(shard)
    }

    pub(super) fn check_home_only(&self, shard: ShardId) -> Result<()> {
        if shard != HOME && self.has(Effects::HOME_ONLY) {
            return self
                .away(shard, "Sequences, advisory locks, notifications and large objects live on the home shard.");
        }
        Ok(())
    }

    /// What cannot be told in the home shard's numbers.
    pub(super) fn check_types(&self, shard: ShardId) -> Result<()> {
        if shard == HOME {
            return Ok(());
        }
        let relations = self.targets.iter().filter_map(Target::relation);
        if let Some(name) = relations.filter_map(|relation| relation.homeless_type.as_deref()).next() {
            return Err(self
                .refused_on(
                    shard,
                    format!("The home shard has no type {name}, and clients know types by the home shard's OIDs."),
                )
                .hint("Make the type on the home shard, too."));
        }
        if self.has(Effects::COPIES_BINARY)
            && self.request.schema.translation(shard).is_some()
            && !self.copies_built_in_types()
        {
            return Err(self
                .refused_on(
                    shard,
                    "COPY in binary format may hold OIDs of types, and they differ from the home shard's.",
                )
                .hint("Use text or csv format."));
        }
        Ok(())
    }

    /// Whether a COPY is of a table's columns whose types have the same numbers everywhere, and what they are made of, too.
    fn copies_built_in_types(&self) -> bool {
        let is_of_table = match self.statement().kind {
            StatementKind::CopyFrom => true,
            StatementKind::CopyTo => {
                copy_out(self.statement().text(self.request.text)).is_ok_and(|copy| copy.query.is_none())
            }
            _ => false,
        };
        let mut relations = self.targets.iter().map(Target::relation);
        let is_built_in =
            |relation: &Relation| relation.columns.iter().all(|column| column.type_oid < FIRST_NORMAL_OID);
        is_of_table && relations.all(|relation| relation.is_some_and(is_built_in))
    }

    fn refused_on(&self, shard: ShardId, detail: impl Into<Cow<'static, str>>) -> Error {
        Error::refuse(format!("the statement cannot run on shard \"{}\"", self.request.map.shard_name(shard)), detail)
    }

    fn away(&self, shard: ShardId, detail: &'static str) -> Result<()> {
        Err(self.refused_on(shard, detail))
    }
}

fn shard_names(request: &super::Request<'_>, shards: &[ShardId]) -> String {
    let all: Shards = request.map.shard_ids().collect();
    if shards == all { format!("all {} shards", all.len()) } else { format!("{} shards", shards.len()) }
}
