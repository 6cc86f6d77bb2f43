//! Keys for clients: process ids and secrets. No PostgreSQL server and no other Weir gives out the same process ids.
//!
//! A process id is positive and above those of servers (on Linux up to 2^22), so that nobody takes the one for the
//! other. Where several Weirs serve clients behind one address, bits 23 to 30 are the Weir's own [`PeerId`], so that a
//! cancel that reaches another one finds its way. The sign bit marks a cancel that has been forwarded.

use std::ops::RangeInclusive;
use std::sync::{Mutex, PoisonError};

use rand::Rng;
use rustc_hash::FxHashSet;

use crate::types::PeerId;
use crate::wire::backend::ClientKey;
use crate::wire::startup::PROTOCOL_3_2;

/// Linux's greatest process id is one less.
const FIRST: i32 = 1 << 22;

/// Where a process id holds the peer's id.
const PEER_SHIFT: u32 = 23;

/// Bytes of a secret from protocol version 3.2 on: as many as PostgreSQL's own.
const LONG_SECRET: usize = 32;

/// Bytes of a secret before.
const SHORT_SECRET: usize = 4;

/// The process ids that clients have, and the way to a free one.
#[derive(Debug)]
pub struct ProcessIds {
    all: RangeInclusive<i32>,
    taken: Mutex<Taken>,
}

#[derive(Debug)]
struct Taken {
    last: i32,
    ids: FxHashSet<i32>,
}

impl ProcessIds {
    /// Those that a Weir may give out.
    pub fn new(own: Option<PeerId>) -> Self {
        let all = match own {
            None => FIRST..=i32::MAX,
            Some(PeerId(peer)) => {
                let first = i32::from(peer.get()) << PEER_SHIFT;
                first..=first + ((1 << PEER_SHIFT) - 1)
            }
        };
        let taken = Taken { last: *all.end(), ids: FxHashSet::default() };
        Self { all, taken: Mutex::new(taken) }
    }

    /// The next id that no client has. There are many more ids than clients.
    pub fn take(&self) -> i32 {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            taken.last = if taken.last == *self.all.end() { *self.all.start() } else { taken.last + 1 };
            let id = taken.last;
            if taken.ids.insert(id) {
                return id;
            }
        }
    }

    /// The client with this id has left.
    pub fn give_back(&self, id: i32) {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).ids.remove(&id);
    }
}

/// A new key for a client that speaks this version of the protocol.
pub fn make(process_id: i32, protocol: u32) -> ClientKey {
    let len = if protocol >= PROTOCOL_3_2 { LONG_SECRET } else { SHORT_SECRET };
    let mut secret = vec![0; len].into_boxed_slice();
    rand::rng().fill(&mut secret[..]);
    ClientKey { process_id, secret }
}

/// The Weir that gave out this process id, where each has an id of its own.
pub fn peer_of(process_id: i32) -> Option<PeerId> {
    let bits = u8::try_from((process_id & i32::MAX) >> PEER_SHIFT).ok()?;
    bits.try_into().ok().map(PeerId)
}

/// The key of a cancel that is forwarded, and whether it has been forwarded already.
pub fn forwarded(key: &ClientKey) -> (ClientKey, bool) {
    (ClientKey { process_id: key.process_id | i32::MIN, secret: key.secret.clone() }, key.process_id < 0)
}

/// The key as it was given out, whether the cancel came from the client or from another Weir.
pub fn original(key: ClientKey) -> ClientKey {
    ClientKey { process_id: key.process_id & i32::MAX, ..key }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(id: u8) -> PeerId {
        PeerId(id.try_into().unwrap())
    }

    #[test]
    fn ids_are_never_those_of_servers_nor_of_other_peers() {
        for own in [1, 2, 127, 255].map(peer) {
            let ids = ProcessIds::new(Some(own));
            for id in [*ids.all.start(), *ids.all.end(), ids.take()] {
                assert!(id >= FIRST);
                assert_eq!(peer_of(id), Some(own));
            }
        }
        assert_eq!(*ProcessIds::new(None).all.start(), FIRST);
    }

    #[test]
    fn no_two_clients_have_one_id_also_when_ids_come_again() {
        let ids = ProcessIds { all: 5..=7, taken: Mutex::new(Taken { last: 7, ids: FxHashSet::default() }) };
        assert_eq!([ids.take(), ids.take()], [5, 6]);
        ids.give_back(5);
        assert_eq!([ids.take(), ids.take()], [7, 5]);
        ids.give_back(7);
        assert_eq!(ids.take(), 7);
    }

    #[test]
    fn secrets_are_long_from_version_3_2_on() {
        let lens = [3 << 16, 3 << 16 | 1, 3 << 16 | 2].map(|protocol| make(1, protocol).secret.len());
        assert_eq!(lens, [4, 4, 32]);
        assert_ne!(make(1, PROTOCOL_3_2).secret, make(1, PROTOCOL_3_2).secret);
    }

    #[test]
    fn a_key_admits_itself_only() {
        let key = |process_id, secret: &[u8]| ClientKey { process_id, secret: secret.into() };
        let own = key(7, b"abcd");
        assert!(own.admits(&own.clone()));
        for other in [key(8, b"abcd"), key(7, b"abce"), key(7, b"abc"), key(7, b"abcde"), key(7, b"")] {
            assert!(!own.admits(&other), "{other:?}");
        }
    }

    #[test]
    fn a_forwarded_key_is_known_as_one() {
        let given = ClientKey { process_id: 5 << PEER_SHIFT | 9, secret: (*b"abcd").into() };
        let (sent, twice) = forwarded(&given);
        assert!(!twice && sent.process_id < 0);
        assert_eq!(peer_of(sent.process_id), Some(peer(5)));
        assert!(forwarded(&sent).1);
        assert!(given.admits(&original(sent)));
    }
}
