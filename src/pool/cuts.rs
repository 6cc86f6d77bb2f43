//! Snapshots of all shards as of one moment.
//!
//! While a cut is taken, no unit begins that could follow from a commit which the cut does not see, and no transaction over
//! several shards is half committed. That is all a cut needs: a commit that was acknowledged before is in the snapshot of
//! its shard, and what follows from one that was not begins when every shard has its snapshot.

use std::borrow::Cow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::types::{Error, Kind, Origin, Result};

/// How long a cut waits for transactions that are being committed on several shards. Others wait with it.
const PATIENCE: Duration = Duration::from_secs(1);

/// The gate of one database.
#[derive(Debug, Default)]
pub struct Cuts {
    /// Cuts that are taken or waited for.
    wanted: AtomicUsize,
    /// Read by those who commit on several shards, written by a cut.
    gate: RwLock<()>,
}

/// Nobody passes while it lives.
#[derive(Debug)]
pub struct Shut<'c> {
    _gate: RwLockWriteGuard<'c, ()>,
    _wanted: Wanted<'c>,
}

#[derive(Debug)]
struct Wanted<'c>(&'c AtomicUsize);

impl<'c> Wanted<'c> {
    fn new(wanted: &'c AtomicUsize) -> Self {
        wanted.fetch_add(1, Ordering::SeqCst);
        Self(wanted)
    }
}

impl Drop for Wanted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Cuts {
    /// Whether a unit must wait before it begins.
    pub fn is_shut(&self) -> bool {
        self.wanted.load(Ordering::SeqCst) > 0
    }

    /// Waits until no cut is taken.
    pub async fn pass(&self) {
        drop(self.gate.read().await);
    }

    /// To be held from the decision to commit on several shards until all of them have committed.
    pub async fn committing(&self) -> RwLockReadGuard<'_, ()> {
        self.gate.read().await
    }

    /// Shuts the gate. Transactions that are being committed on several shards are waited for.
    ///
    /// # Errors
    /// They take too long.
    pub async fn shut(&self) -> Result<Shut<'_>> {
        let wanted = Wanted::new(&self.wanted);
        let gate = tokio::time::timeout(PATIENCE, self.gate.write()).await;
        gate.map(|gate| Shut { _gate: gate, _wanted: wanted }).map_err(|_| {
            in_between("Transactions are being committed on several shards, which takes longer than a cut waits.")
        })
    }
}

/// A cut that cannot be taken now.
pub fn in_between(detail: impl Into<Cow<'static, str>>) -> Error {
    Error::new(Origin::Weir, Kind::NoSnapshot, "no snapshot of all shards could be taken")
        .detail(detail)
        .hint("Run the transaction again.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_cut_keeps_others_out() {
        let cuts = Cuts::default();
        assert!(!cuts.is_shut());
        let committing = cuts.committing().await;
        // Who commits is waited for.
        assert!(tokio::time::timeout(Duration::from_millis(20), cuts.shut()).await.is_err());
        assert!(!cuts.is_shut(), "who gave up keeps nobody out");
        drop(committing);
        let shut = cuts.shut().await.unwrap();
        assert!(cuts.is_shut());
        assert!(tokio::time::timeout(Duration::from_millis(20), cuts.pass()).await.is_err());
        assert!(tokio::time::timeout(Duration::from_millis(20), cuts.committing()).await.is_err());
        drop(shut);
        assert!(!cuts.is_shut());
        cuts.pass().await;
    }
}
