//! Two-phase transactions: who takes part, and the decision.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{Catalog, failed};
use crate::types::{Error, Kind, Origin, Result};

/// What became of a two-phase transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    Commit,
    Abort,
}

/// A transaction that is not known to be finished on all of its shards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TwoPhase {
    pub id: String,
    pub database: String,
    /// Who prepares it, and may finish it; empty if that is not known.
    pub user: String,
    /// The names of the shards that take part.
    pub shards: Vec<String>,
    pub started_at: SystemTime,
    pub decision: Option<Decision>,
    pub decided_at: Option<SystemTime>,
}

impl Decision {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Commit => "commit",
            Self::Abort => "abort",
        }
    }

    pub(super) fn from_str(text: &str) -> Result<Self> {
        match text {
            "commit" => Ok(Self::Commit),
            "abort" => Ok(Self::Abort),
            other => Err(Error::new(Origin::Catalog, Kind::Internal, format!("the catalog has a decision {other:?}"))),
        }
    }
}

impl Catalog {
    /// Records a transaction before its first PREPARE TRANSACTION, so that what a crash leaves prepared can be found.
    ///
    /// # Errors
    /// [`Origin::Catalog`] when the store fails or the id is taken.
    pub async fn begin_two_phase(&self, id: &str, database: &str, user: &str, shards: &[&str]) -> Result<()> {
        let failed = failed("record the two-phase transaction");
        let mut transaction = self.pool.begin().await.map_err(failed)?;
        sqlx::query("INSERT INTO two_phase (id, database, username, started_at) VALUES ($1, $2, $3, $4)")
            .bind(id)
            .bind(database)
            .bind(user)
            .bind(unix_micros(SystemTime::now()))
            .execute(&mut *transaction)
            .await
            .map_err(failed)?;
        for (position, shard) in (0_i64..).zip(shards) {
            sqlx::query("INSERT INTO two_phase_participant (id, position, shard) VALUES ($1, $2, $3)")
                .bind(id)
                .bind(position)
                .bind(*shard)
                .execute(&mut *transaction)
                .await
                .map_err(failed)?;
        }
        transaction.commit().await.map_err(failed)
    }

    /// Decides a transaction, unless it is decided already: the first decision stands. Returns the one that stands;
    /// it is durable. Only then may the first COMMIT PREPARED or ROLLBACK PREPARED be sent.
    ///
    /// # Errors
    /// [`Origin::Catalog`] when the store fails; the decision is then unknown until this or
    /// [`Catalog::two_phase_transactions`] succeeds.
    pub async fn decide(&self, id: &str, decision: Decision) -> Result<Decision> {
        // The empty update makes RETURNING give the row that was there first.
        let standing: String = sqlx::query_scalar(
            "INSERT INTO two_phase_decision (id, decision, decided_at) VALUES ($1, $2, $3) \
             ON CONFLICT (id) DO UPDATE SET decision = two_phase_decision.decision RETURNING decision",
        )
        .bind(id)
        .bind(decision.as_str())
        .bind(unix_micros(SystemTime::now()))
        .fetch_one(&self.pool)
        .await
        .map_err(failed("record the decision of the two-phase transaction"))?;
        Decision::from_str(&standing)
    }

    /// Every transaction that was begun and not forgotten, the oldest first.
    ///
    /// # Errors
    /// [`Origin::Catalog`] when the store fails.
    pub async fn two_phase_transactions(&self) -> Result<Vec<TwoPhase>> {
        let failed = failed("list the two-phase transactions");
        let mut transaction = self.pool.begin().await.map_err(failed)?;
        let participants: Vec<(String, String)> =
            sqlx::query_as("SELECT id, shard FROM two_phase_participant ORDER BY id, position")
                .fetch_all(&mut *transaction)
                .await
                .map_err(failed)?;
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT id, database, username, started_at, decision, decided_at \
             FROM two_phase LEFT JOIN two_phase_decision USING (id) ORDER BY started_at, id",
        )
        .fetch_all(&mut *transaction)
        .await
        .map_err(failed)?;
        rows.into_iter().map(|row| assemble(row, &participants)).collect()
    }

    /// Drops a transaction and its decision, once every participant is known to be finished. Never earlier: without
    /// its decision a prepared leftover could be decided anew.
    ///
    /// # Errors
    /// [`Origin::Catalog`] when the store fails.
    pub async fn forget_two_phase(&self, id: &str) -> Result<()> {
        let failed = failed("forget the two-phase transaction");
        let mut transaction = self.pool.begin().await.map_err(failed)?;
        for statement in ["DELETE FROM two_phase WHERE id = $1", "DELETE FROM two_phase_decision WHERE id = $1"] {
            sqlx::query(statement).bind(id).execute(&mut *transaction).await.map_err(failed)?;
        }
        transaction.commit().await.map_err(failed)
    }
}

/// Id, database, user, start, decision and its time.
type Row = (String, String, String, i64, Option<String>, Option<i64>);

fn assemble(row: Row, participants: &[(String, String)]) -> Result<TwoPhase> {
    let (id, database, user, started_at, decision, decided_at) = row;
    let shards = participants.iter().filter(|(of, _)| *of == id).map(|(_, shard)| shard.clone()).collect();
    let time = |micros: i64| UNIX_EPOCH + Duration::from_micros(u64::try_from(micros).unwrap_or(0));
    let decision = decision.as_deref().map(Decision::from_str).transpose()?;
    let (started_at, decided_at) = (time(started_at), decided_at.map(time));
    Ok(TwoPhase { id, database, user, shards, started_at, decision, decided_at })
}

/// Microseconds since 1970; zero for a clock that stands before.
fn unix_micros(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
