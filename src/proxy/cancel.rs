//! Cancel requests that came in: to the worker that has the client, or to the Weir that has it.

use std::sync::Arc;

use bytes::BytesMut;
use tokio::sync::oneshot;

use super::handle::CANCEL_LIMIT;
use super::instance::{Instance, Order};
use super::keys;
use crate::config::NodeAddress;
use crate::pool::server;
use crate::types::PeerId;
use crate::wire::backend::ClientKey;
use crate::wire::startup;

/// Has the cancel dealt with, and returns when it was: PostgreSQL's clients wait for that.
pub async fn cancel(instance: &Instance, shown: ClientKey) {
    match elsewhere(instance, &shown) {
        None => cancel_here(instance, Arc::new(keys::original(shown))).await,
        Some(peer) => forward(instance, peer, &shown).await,
    }
}

/// The other Weir that has the client.
fn elsewhere(instance: &Instance, shown: &ClientKey) -> Option<PeerId> {
    let own = instance.config.general.peer_id?;
    keys::peer_of(shown.process_id).filter(|peer| *peer != own)
}

/// Tells whichever worker has the client.
pub async fn cancel_here(instance: &Instance, key: Arc<ClientKey>) {
    for orders in &instance.orders {
        let (done, wait) = oneshot::channel();
        if orders.send(Order::Cancel(Arc::clone(&key), done)).is_ok() {
            let _worker_gone = wait.await;
        }
    }
}

/// Sends a cancel to another Weir, unless it was forwarded already: then the peers' addresses are wrong, and it would
/// go round and round.
async fn forward(instance: &Instance, peer: PeerId, shown: &ClientKey) {
    let (key, already) = keys::forwarded(shown);
    match instance.config.peers.get(&peer) {
        Some(address) if !already => send(peer, address, &key).await,
        Some(address) => tracing::warn!(%peer, %address, "a cancel for a peer was forwarded to this Weir: see [peers]"),
        None => tracing::warn!(%peer, "a cancel is for a peer that the configuration does not name: see [peers]"),
    }
}

async fn send(peer: PeerId, address: &NodeAddress, key: &ClientKey) {
    let place = address.to_string();
    let write = |out: &mut BytesMut| startup::cancel_request_for_client(out, key);
    if let Err(error) = server::request_cancel(&place, CANCEL_LIMIT, write).await {
        tracing::warn!(%peer, %address, %error, "a cancel did not reach the peer that has its client");
    }
}
