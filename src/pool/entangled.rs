//! Transactions that are open on several shards at once: those that can wait for each other where no server sees it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

use crate::session::deadlock::{Process, Verdict};
use crate::wire::backend::ClientKey;

/// The transactions of a database that are open on several shards, by their clients' numbers.
#[derive(Debug, Default)]
pub struct Entangled {
    transactions: Mutex<HashMap<u64, Transaction>>,
    more: Notify,
}

/// One of them.
#[derive(Clone, Debug)]
pub struct Transaction {
    /// Since when it has been open on several shards.
    pub since: Instant,
    pub processes: Vec<Process>,
    /// What cancels it.
    pub client: Arc<ClientKey>,
    pub verdict: Arc<Verdict>,
}

impl Entangled {
    /// Enters a transaction, or what it has become.
    pub fn enter(&self, client: u64, transaction: Transaction) {
        let mut transactions = self.transactions.lock().unwrap_or_else(PoisonError::into_inner);
        let since = transactions.get(&client).map_or(transaction.since, |known| known.since);
        transactions.insert(client, Transaction { since, ..transaction });
        if transactions.len() == 2 {
            self.more.notify_one();
        }
    }

    pub fn leave(&self, client: u64) {
        self.transactions.lock().unwrap_or_else(PoisonError::into_inner).remove(&client);
    }

    /// The transactions that were entered before `then`, by their clients' numbers.
    pub fn before(&self, then: Instant) -> Vec<(u64, Transaction)> {
        let transactions = self.transactions.lock().unwrap_or_else(PoisonError::into_inner);
        let old = transactions.iter().filter(|(_, transaction)| transaction.since < then);
        old.map(|(client, transaction)| (*client, transaction.clone())).collect()
    }

    /// Waits until there are two: one alone waits for nobody who waits for it.
    pub async fn several(&self) {
        while self.transactions.lock().unwrap_or_else(PoisonError::into_inner).len() < 2 {
            self.more.notified().await;
        }
    }
}
