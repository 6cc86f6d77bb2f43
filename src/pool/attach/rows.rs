//! Whether rows are where the map says.

use postgres_protocol::escape::escape_identifier;
use tokio_postgres::Client;

use crate::shardmap::{Placement, ShardMap};
use crate::types::ShardId;

/// The condition that a row of the table is not `shard`'s; `None` when no row can be wrong, or no server can tell.
fn misplaced_condition(placement: Placement<'_>, shard: ShardId) -> Option<String> {
    match placement {
        Placement::Sharded { keyspace, columns } => {
            keyspace.owned_by(shard, columns).map(|owned| format!("({owned}) IS NOT TRUE"))
        }
        Placement::Single(owner) => (owner != shard).then(|| "true".to_owned()),
        Placement::Reference | Placement::Unmapped => None,
    }
}

/// Whether a shard has rows of a table that the map places elsewhere, rows without a key among them.
///
/// # Errors
/// Whatever the server answers.
pub async fn misplaced(
    client: &Client,
    map: &ShardMap,
    shard: ShardId,
    (schema, name): (&str, &str),
) -> Result<bool, tokio_postgres::Error> {
    let Some(condition) = misplaced_condition(map.placement(schema, name), shard) else { return Ok(false) };
    let table = format!("{}.{}", escape_identifier(schema), escape_identifier(name));
    let sql = format!("SELECT EXISTS (SELECT FROM {table} WHERE {condition})");
    client.query_one(&sql, &[]).await?.try_get(0)
}
