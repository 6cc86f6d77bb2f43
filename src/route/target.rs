//! Relations of a statement, and what the shard map says of them.

use super::{HOME, Request};
use crate::shardmap::{Keyspace, Placement};
use crate::sql::facts::{RelationName, RelationUse};
use crate::sql::schema::{Relation, Resolved};
use crate::types::{Error, Result, ShardId};

/// Where the rows of an occurrence are.
#[derive(Clone, Copy)]
pub(super) enum Target<'a> {
    /// The home shard speaks for the catalogs.
    System,
    Sharded {
        keyspace: &'a Keyspace,
        /// In the order of the keyspace's key.
        columns: &'a [String],
        relation: Option<&'a Relation>,
    },
    Reference {
        relation: Option<&'a Relation>,
    },
    /// A view whose relations the statement lists in its place.
    Expanded,
    /// All rows are on one shard.
    Single {
        shard: ShardId,
        relation: Option<&'a Relation>,
    },
    /// Only DDL may name what the map does not know.
    Unmapped,
}

impl<'a> Target<'a> {
    /// The relation's columns, if the catalogs told them.
    pub fn relation(&self) -> Option<&'a Relation> {
        match self {
            Self::Sharded { relation, .. } | Self::Reference { relation } | Self::Single { relation, .. } => *relation,
            Self::System | Self::Expanded | Self::Unmapped => None,
        }
    }
}

/// Looks every occurrence up; one that the map does not know is refused.
pub(super) fn resolve<'a>(request: &Request<'a>) -> Result<Vec<Target<'a>>> {
    let relations = &request.statement.relations;
    let target = |used: &RelationUse| match used.expanded {
        true => Ok(Target::Expanded),
        false => mapped(lookup(request, &used.name), &used.name),
    };
    relations.iter().map(target).collect()
}

/// Looks every occurrence up; the map need not know it.
pub(super) fn resolve_existing<'a>(request: &Request<'a>) -> Vec<Target<'a>> {
    request.statement.relations.iter().map(|used| lookup(request, &used.name)).collect()
}

/// The shard whose server knows all tables of a statement, by their names: home, unless one of them is on another shard alone.
///
/// # Errors
/// Refuses tables that no server has together.
pub fn describer(request: &Request<'_>) -> Result<ShardId> {
    let mut at: Option<(ShardId, &RelationUse)> = None;
    for used in &request.statement.relations {
        let Target::Single { shard, .. } = lookup(request, &used.name) else { continue };
        match at {
            Some((other, first)) if other != shard => {
                return Err(Error::refuse(
                    "no server has all tables of the statement",
                    format!("\"{}\" and \"{}\" are on different shards.", first.name.name, used.name.name),
                )
                .hint("Read one of them in a statement of its own, or make it a reference table."));
            }
            Some(_) => {}
            None => at = Some((shard, used)),
        }
    }
    Ok(at.map_or(HOME, |(shard, _)| shard))
}

fn mapped<'a>(target: Target<'a>, name: &RelationName) -> Result<Target<'a>> {
    match target {
        Target::Unmapped => Err(unmapped(name)),
        known if known.relation().is_some_and(|relation| relation.is_view) => Err(Error::refuse(
            format!("\"{}\" is a view, which is not supported on a sharded database", name.name),
            "A view reads tables that the statement does not name.",
        )
        .hint("Write the view's query in its place.")),
        known => Ok(known),
    }
}

/// The refusal of a relation that has no place.
pub(super) fn unmapped(name: &RelationName) -> Error {
    Error::refuse(
        format!("relation \"{}\" has no place in the shard map", name.name),
        format!("No table of the shard map is called \"{}\".", name.name),
    )
    .hint("Give it one on the console: ALTER TABLE ... SHARD BY, SET REFERENCE, or SET SHARD.")
}

pub(super) fn lookup<'a>(request: &Request<'a>, name: &RelationName) -> Target<'a> {
    let may_be_temporary = name.schema.as_deref().is_none_or(|schema| schema == "pg_temp");
    if may_be_temporary && request.temporary.contains(&name.name) {
        return Target::Single { shard: HOME, relation: None };
    }
    match (request.schema.resolve(name), &name.schema) {
        (Resolved::System, _) => Target::System,
        (Resolved::User { schema, relation }, _) => place(request, schema, &name.name, Some(relation)),
        (Resolved::Unknown, Some(schema)) => place(request, schema, &name.name, None),
        // Created a moment ago, perhaps: the first schema where the map expects it.
        (Resolved::Unknown, None) => {
            let schemas = request.schema.search_path.iter();
            let mut places = schemas.map(|schema| place(request, schema, &name.name, None));
            places.find(|target| !matches!(target, Target::Unmapped)).unwrap_or(Target::Unmapped)
        }
    }
}

fn place<'a>(request: &Request<'a>, schema: &str, name: &str, relation: Option<&'a Relation>) -> Target<'a> {
    match request.map.placement(schema, name) {
        Placement::Sharded { keyspace, columns } => Target::Sharded { keyspace, columns, relation },
        Placement::Reference => Target::Reference { relation },
        Placement::Single(shard) => Target::Single { shard, relation },
        Placement::Unmapped => Target::Unmapped,
    }
}
