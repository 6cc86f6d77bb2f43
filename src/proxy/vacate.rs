//! DROP DATABASE and its kin, which PostgreSQL refuses while others have sessions in the database. Clients have left theirs
//! when they disconnect; the servers that Weir keeps for the next ones must not be in the way.

use std::sync::Arc;

use super::client::Client;
use super::instance::{Order, Place};

impl Client {
    /// Closes the idle servers of a database. PostgreSQL waits some seconds for sessions that are about to end.
    pub fn vacate(&self, dbname: &str) {
        let Some(address) = self.primary_address() else { return };
        let place = Arc::new(Place { address: Arc::clone(address), dbname: dbname.to_owned() });
        for orders in &self.worker.instance.orders {
            let _worker_gone = orders.send(Order::CloseIdle(Arc::clone(&place)));
        }
    }

    /// A database of that name is gone, or will soon be another one.
    pub fn want_schema_of(&self, dbname: &str) {
        let Some(address) = self.primary_address() else { return };
        for database in self.worker.instance.databases() {
            let mut nodes = database.shards.iter().filter_map(|shard| shard.nodes.first());
            if nodes.any(|node| node.address == *address && *node.dbname == *dbname) {
                database.want_schema();
            }
        }
    }

    /// `host:port` of the server that runs what is no query of rows.
    fn primary_address(&self) -> Option<&Arc<str>> {
        self.database.shards.first()?.nodes.first().map(|node| &node.address)
    }
}
