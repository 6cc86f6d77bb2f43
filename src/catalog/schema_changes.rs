//! How often Weirs have changed a database's schema, by which each of them notices what another one did.

use super::{Catalog, failed};
use crate::types::Result;

impl Catalog {
    /// Counts a change of the schema; gives its number.
    ///
    /// # Errors
    /// [`crate::types::Kind::Internal`] when the store fails.
    pub async fn count_schema_change(&self, database: &str) -> Result<u64> {
        let number: i64 = sqlx::query_scalar(
            "INSERT INTO schema_changes (database, number) VALUES ($1, 1) \
             ON CONFLICT (database) DO UPDATE SET number = schema_changes.number + 1 RETURNING number",
        )
        .bind(database)
        .fetch_one(&self.pool)
        .await
        .map_err(failed("count a change of the schema"))?;
        Ok(number.unsigned_abs())
    }

    /// The number of the last change.
    ///
    /// # Errors
    /// [`crate::types::Kind::Internal`] when the store fails.
    pub async fn schema_changes(&self, database: &str) -> Result<u64> {
        let number: Option<i64> = sqlx::query_scalar("SELECT number FROM schema_changes WHERE database = $1")
            .bind(database)
            .fetch_optional(&self.pool)
            .await
            .map_err(failed("read how often the schema changed"))?;
        Ok(number.map_or(0, i64::unsigned_abs))
    }
}
