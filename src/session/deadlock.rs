//! Deadlocks that no server sees: transactions that wait for each other on different shards.

use std::fmt::Write;
use std::sync::{Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use petgraph::algo::tarjan_scc;
use petgraph::graph::{DiGraph, NodeIndex};
use rustc_hash::FxHashMap;

use crate::types::{Error, Kind, Origin, ShardId, SqlState};
use crate::wire::backend::{self, ErrorFields, Severity};

/// A server's process on a shard.
pub type Process = (ShardId, i32);

/// A process of a shard's server waits for a lock that another one of it holds, or is in front of it for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Wait {
    pub shard: ShardId,
    pub waiter: i32,
    pub blocker: i32,
}

/// Transactions that wait for each other, on several shards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deadlock {
    /// Indexes into the transactions that were given.
    pub transactions: Vec<usize>,
    /// What they and others between them wait for.
    pub waits: Vec<Wait>,
}

/// The deadlocks among transactions, each known by its processes, that span several shards. Those of one shard its server
/// ends by itself.
pub fn find(transactions: &[Vec<Process>], waits: &[Wait]) -> Vec<Deadlock> {
    let mut graph = DiGraph::<Option<usize>, Wait>::new();
    let mut nodes: FxHashMap<Process, NodeIndex> = FxHashMap::default();
    for (index, processes) in transactions.iter().enumerate() {
        let node = graph.add_node(Some(index));
        nodes.extend(processes.iter().map(|process| (*process, node)));
    }
    for wait in waits {
        let mut node = |pid| *nodes.entry((wait.shard, pid)).or_insert_with(|| graph.add_node(None));
        let (waiter, blocker) = (node(wait.waiter), node(wait.blocker));
        graph.add_edge(waiter, blocker, *wait);
    }
    let components = tarjan_scc(&graph).into_iter().filter(|component| component.len() > 1);
    let deadlock = |component: Vec<NodeIndex>| {
        let inside = graph.edge_indices().filter_map(|edge| {
            let (from, to) = graph.edge_endpoints(edge)?;
            (component.contains(&from) && component.contains(&to)).then(|| graph[edge])
        });
        let waits: Vec<Wait> = inside.collect();
        let mut transactions: Vec<usize> = component.iter().filter_map(|node| graph[*node]).collect();
        transactions.sort_unstable();
        let spans = waits.iter().any(|wait| wait.shard != waits[0].shard);
        spans.then_some(Deadlock { transactions, waits })
    };
    components.filter_map(deadlock).collect()
}

/// The error for the victim of a deadlock. `name` names a shard.
pub fn error<'n>(deadlock: &Deadlock, name: impl Fn(ShardId) -> &'n str) -> Error {
    let mut detail = String::new();
    for Wait { shard, waiter, blocker } in &deadlock.waits {
        let separator = if detail.is_empty() { "" } else { " " };
        let name = name(*shard);
        let _infallible =
            write!(detail, "{separator}On shard \"{name}\" process {waiter} waits for process {blocker}.");
    }
    Error::new(Origin::Client, Kind::Deadlock, "deadlock detected")
        .detail(detail)
        .hint("Transactions waited for each other on different shards. Run this one again.")
}

/// What the client of a transaction is told when its server says that the statement was cancelled: that it was the victim
/// of a deadlock.
#[derive(Debug, Default)]
pub struct Verdict(Mutex<Option<Bytes>>);

impl Verdict {
    /// The transaction is the victim.
    pub fn pass(&self, error: &Error) {
        let mut message = BytesMut::new();
        backend::error_response(&mut message, Severity::Error, error);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(message.freeze());
    }

    /// The ErrorResponse in place of a server's, if that one says that the statement was cancelled for this.
    pub fn instead_of(&self, error: &ErrorFields<'_>) -> Option<Bytes> {
        if error.sqlstate().as_deref() != Some(SqlState::QUERY_CANCELED.as_str()) {
            return None;
        }
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: ShardId = ShardId(0);
    const TWO: ShardId = ShardId(1);

    fn waits(list: &[(ShardId, i32, i32)]) -> Vec<Wait> {
        list.iter().map(|(shard, waiter, blocker)| Wait { shard: *shard, waiter: *waiter, blocker: *blocker }).collect()
    }

    #[test]
    fn a_circle_over_two_shards_is_one() {
        let transactions = [vec![(ONE, 10), (TWO, 20)], vec![(ONE, 11), (TWO, 21)], vec![(ONE, 12), (TWO, 22)]];
        let circle = waits(&[(ONE, 10, 11), (TWO, 21, 20)]);
        let found = find(&transactions, &circle);
        assert_eq!(found, [Deadlock { transactions: vec![0, 1], waits: circle.clone() }]);
        let told = error(&found[0], |shard| ["one", "two"][shard.index()]);
        assert_eq!(told.sqlstate().as_str(), "40P01");
        let detail = told.detail.as_deref().unwrap_or_default();
        assert!(detail.contains("On shard \"one\" process 10 waits for process 11."), "{detail}");
        // Somebody who waits for it is no part of it.
        let more = [circle, waits(&[(ONE, 12, 10)])].concat();
        assert_eq!(find(&transactions, &more)[0].transactions, [0, 1]);
    }

    #[test]
    fn sessions_of_others_may_stand_between() {
        let transactions = [vec![(ONE, 10), (TWO, 20)], vec![(ONE, 11), (TWO, 21)]];
        let found = find(&transactions, &waits(&[(ONE, 10, 99), (ONE, 99, 11), (TWO, 21, 20)]));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].transactions, [0, 1]);
    }

    #[test]
    fn what_one_server_sees_or_what_is_no_circle_is_none() {
        let transactions = [vec![(ONE, 10), (TWO, 20)], vec![(ONE, 11), (TWO, 21)]];
        for list in [
            waits(&[(ONE, 10, 11), (ONE, 11, 10)]),
            waits(&[(ONE, 10, 11), (TWO, 20, 21)]),
            waits(&[(ONE, 10, 11), (TWO, 21, 22)]),
            Vec::new(),
        ] {
            assert_eq!(find(&transactions, &list), []);
        }
    }

    #[test]
    fn only_a_cancel_is_told_otherwise_and_once() {
        let verdict = Verdict::default();
        let fields = |sqlstate: &str| {
            let mut message = BytesMut::new();
            let reported = Error::new(Origin::Client, Kind::Canceled, "canceling statement");
            backend::error_response(&mut message, Severity::Error, &reported);
            String::from_utf8(message[5..].to_vec()).unwrap().replace("57014", sqlstate).into_bytes()
        };
        let (canceled, other) = (fields("57014"), fields("23505"));
        let read = |body| ErrorFields::read(body).unwrap();
        assert!(verdict.instead_of(&read(&canceled)).is_none());
        verdict.pass(&Error::new(Origin::Client, Kind::Deadlock, "deadlock detected"));
        assert!(verdict.instead_of(&read(&other)).is_none());
        assert!(verdict.instead_of(&read(&canceled)).is_some());
        assert!(verdict.instead_of(&read(&canceled)).is_none());
    }
}
