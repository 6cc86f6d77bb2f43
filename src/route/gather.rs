//! Reads of several shards whose rows cannot be merged: which rows one PostgreSQL is given, to run the statement itself.

use std::sync::Arc;

use super::plan::{Action, Gather, GatheredCopy, Load, LoadFormat};
use super::target::{Target, describer, lookup};
use super::{HOME, Router};
use crate::sql::analyze::copy_out;
use crate::sql::facts::{Effects, RelationName, RelationUse};
use crate::sql::gather::{GatheredTable, gather};
use crate::sql::schema::Resolved;
use crate::types::{Error, Result, ShardId};
use crate::wire::oids::FIRST_NORMAL_OID;

/// Types whose values are OIDs, and texts in text format: `regproc` and its kin. Source: PostgreSQL's `pg_type.dat`.
const NAMED_OIDS: [u32; 11] = [24, 2202, 2203, 2204, 2205, 2206, 4089, 4096, 4191, 3734, 3769];

impl Router<'_> {
    /// The plan of a SELECT that needs rows of `shards`.
    ///
    /// # Errors
    /// A refusal where the statement would mean another thing over copies of the rows.
    pub(super) fn gather(&self, shards: &[ShardId]) -> Result<Action> {
        self.gather_for(self.statement().text(self.request.text), shards).map(|gather| Action::Gather(Arc::new(gather)))
    }

    /// The plan of a COPY TO STDOUT of a query's rows.
    ///
    /// # Errors
    /// As [`Router::gather`], and `refusal` for a COPY of a table.
    pub(super) fn gather_copy(&self, shards: &[ShardId], refusal: Error) -> Result<Action> {
        let copy = copy_out(self.statement().text(self.request.text))?;
        let Some(query) = copy.query.clone() else { return Err(refusal) };
        let gather = self.gather_for(&query, shards)?;
        let text = copy.with_query(&gather.text)?;
        Ok(Action::Gather(Arc::new(Gather { copy: Some(GatheredCopy { query, text }), ..gather })))
    }

    fn gather_for(&self, text: &str, shards: &[ShardId]) -> Result<Gather> {
        self.check_gatherable(shards)?;
        let gathered = gather(text, self.request.schema)?;
        let loads = gathered.tables.into_iter().map(|table| self.load(table, shards)).collect::<Result<_>>()?;
        let (text, moment, has_views) = (gathered.text, gathered.moment, gathered.has_views);
        Ok(Gather { at: self.gatherer()?, text, loads, moment, has_views, copy: None })
    }

    /// The shard whose server can be given the rows.
    fn gatherer(&self) -> Result<ShardId> {
        let shard = describer(&self.request)?;
        let is_away = |target: &Target<'_>| target.relation().is_some_and(|relation| relation.is_away);
        if let Some(at) = self.targets.iter().position(is_away).filter(|_| shard == HOME) {
            return Err(Error::refuse(
                "the statement cannot be answered from several shards",
                format!("The home shard does not have the table \"{}\".", self.statement().relations[at].name.name),
            ));
        }
        let columns = self.targets.iter().filter_map(Target::relation).flat_map(|relation| &relation.columns);
        let mut numbered = columns.filter(|column| column.type_oid >= FIRST_NORMAL_OID || column.type_oid == 0);
        match numbered.next() {
            Some(column) if shard != HOME && self.request.schema.translation(shard).is_some() => Err(Error::refuse(
                "the statement cannot be answered from several shards",
                format!(
                    "Column \"{}\" is of a type that has other numbers on the only shard with all of its tables.",
                    column.name
                ),
            )),
            _ => Ok(shard),
        }
    }

    fn check_gatherable(&self, shards: &[ShardId]) -> Result<()> {
        if self.has(Effects::LOCKS | Effects::WRITES_ROWS) {
            return Err(Error::refuse(
                "a statement that locks or writes rows of several shards is not supported",
                format!("It concerns {} of {} shards.", shards.len(), self.request.map.shards().len()),
            )
            .hint("Restrict the shard key by a value."));
        }
        let is_temporary = |used: &&RelationUse| self.request.temporary.contains(&used.name.name);
        if let Some(used) = self.statement().relations.iter().find(is_temporary) {
            return Err(Error::refuse(
                "the statement cannot be answered from several shards",
                format!("\"{}\" is the name of a temporary table of this session.", used.name.name),
            )
            .hint("Restrict the statement to one shard, or read the temporary table in a statement of its own."));
        }
        let reasons = [
            (Effects::SYSTEM_COLUMNS, "System columns (ctid, xmin, tableoid and such) are each shard's own."),
            (
                Effects::SYSTEM_RELATIONS,
                "The home shard speaks for the system catalogs, and not beside rows of others.",
            ),
            (Effects::HOME_ONLY, "Sequences, advisory locks, notifications and large objects belong to the session."),
        ];
        match reasons.into_iter().find(|(effect, _)| self.has(*effect)) {
            None => Ok(()),
            Some((_, detail)) => Err(Error::refuse("the statement cannot be answered from several shards", detail)
                .hint("Restrict the statement to one shard by an equality on the shard key.")),
        }
    }

    fn load(&self, table: GatheredTable, needed: &[ShardId]) -> Result<Load> {
        let name = RelationName { schema: Some(table.schema.clone()), name: table.name.clone() };
        let target = lookup(&self.request, &name);
        let shards = match target {
            Target::Sharded { .. } => self.shards_of(&table)?,
            Target::Single { shard, .. } => vec![shard],
            // Any shard has its rows: one that is read anyway.
            Target::Reference { .. } => needed.first().copied().into_iter().collect(),
            Target::System | Target::Expanded | Target::Unmapped => return Err(super::target::unmapped(&name)),
        };
        let format = self.load_format(&table, &target, &shards);
        Ok(Load { table, shards, format })
    }

    /// The shards with rows of a table that can matter to any of its occurrences.
    fn shards_of(&self, table: &GatheredTable) -> Result<Vec<ShardId>> {
        let mut shards = Vec::new();
        let mut is_found = false;
        for (index, (used, target)) in self.statement().relations.iter().zip(&self.targets).enumerate() {
            let is_this = matches!(self.request.schema.resolve(&used.name),
                Resolved::User { schema, .. } if schema == table.schema && used.name.name == table.name);
            if let Target::Sharded { keyspace, columns, .. } = target
                && is_this
            {
                is_found = true;
                shards.extend(self.candidates(index, keyspace, columns)?);
            }
        }
        if !is_found {
            // Where the facts do not follow, every shard can matter.
            return Ok(self.request.map.shard_ids().collect());
        }
        shards.sort_unstable();
        shards.dedup();
        Ok(shards)
    }

    fn load_format(&self, table: &GatheredTable, target: &Target<'_>, shards: &[ShardId]) -> LoadFormat {
        let differs = shards.iter().any(|shard| *shard != HOME && self.request.schema.translation(*shard).is_some());
        let columns = target.relation().map(|relation| relation.columns.as_slice()).unwrap_or_default();
        let is_loaded = |name: &String| table.columns.contains(name);
        let mut types = columns.iter().filter(|column| is_loaded(&column.name)).map(|column| column.type_oid);
        let is_numbered = |oid: u32| oid >= FIRST_NORMAL_OID || oid == 0 || NAMED_OIDS.contains(&oid);
        if differs && types.any(is_numbered) { LoadFormat::Text } else { LoadFormat::Binary }
    }
}
