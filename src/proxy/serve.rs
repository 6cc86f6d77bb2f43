//! Starts and stops a Weir: sockets, catalog, workers, and what runs beside them.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::instance::{Instance, Order};
use super::worker::{self, Inbox};
use super::{control, deadlock, placement, recovery};
use crate::catalog::Catalog;
use crate::config::Config;
use crate::net::listen;
use crate::telemetry::Telemetry;
use crate::types::{Error, Kind, Origin, Result, ShardId};

/// How often a stopping Weir looks whether its clients have left.
const STOP_PERIOD: Duration = Duration::from_millis(20);

/// A Weir that serves clients.
pub struct Running {
    pub instance: Arc<Instance>,
    /// Where clients connect; ports are the real ones.
    pub addresses: Vec<SocketAddr>,
    workers: Vec<JoinHandle<io::Result<()>>>,
    tasks: JoinSet<()>,
}

/// Opens the catalog and the sockets, and starts the workers. Must be called on a tokio runtime, which then runs what
/// is not a client's.
///
/// # Errors
/// A catalog that cannot be read, an address that cannot be bound, a thread that cannot be started.
pub async fn serve(config: Config, telemetry: Arc<Telemetry>) -> Result<Running> {
    let catalog = Catalog::open_configured(&config.general).await?;
    let listeners = bind_all(&config.general.listen)?;
    let addresses = listeners.iter().map(TcpListener::local_addr).collect::<io::Result<_>>().map_err(no_socket)?;
    let count = worker_count(&config);
    let (orders, pool_mail, inboxes) = mailboxes(count);
    let instance = Arc::new(Instance::new(config, catalog, telemetry, orders, pool_mail).await?);
    let workers = start_workers(&instance, inboxes)?;
    let mut tasks = JoinSet::new();
    for listener in listeners {
        tasks.spawn(accept(Arc::clone(&instance), listener));
    }
    start_control(&instance, &mut tasks);
    Ok(Running { instance, addresses, workers, tasks })
}

impl Running {
    /// Stops: no new clients; each client is disconnected when it is between transactions, or when `shutdown_timeout`
    /// has passed.
    pub async fn stop(mut self) {
        self.tasks.abort_all();
        for orders in &self.instance.orders {
            let _worker_gone = orders.send(Order::Stop);
        }
        let limit = self.instance.config.pool.shutdown_timeout;
        let began = Instant::now();
        while !self.workers.iter().all(JoinHandle::is_finished) {
            if began.elapsed() > limit {
                tracing::warn!(
                    "clients are still in transactions after shutdown_timeout; their connections are closed"
                );
                return;
            }
            tokio::time::sleep(STOP_PERIOD).await;
        }
    }
}

fn bind_all(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>> {
    let bind = |address: &SocketAddr| {
        listen::bind(*address).and_then(TcpListener::from_std).map_err(|error| {
            Error::new(Origin::Weir, Kind::InvalidValue, format!("cannot listen on {address}"))
                .detail(format!("{error}."))
                .hint("Is another process using the address? See \"listen\" in the configuration.")
        })
    };
    addresses.iter().map(bind).collect()
}

fn no_socket(error: io::Error) -> Error {
    Error::internal("a listening socket has no address").source(error)
}

fn worker_count(config: &Config) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    config.general.workers.map_or_else(cores, std::num::NonZeroUsize::get)
}

type Mailboxes = (Vec<mpsc::UnboundedSender<Order>>, Vec<crate::pool::shared::MailSender>, Vec<Inbox>);

fn mailboxes(count: usize) -> Mailboxes {
    let mut boxes = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..count {
        let (orders, order_inbox) = mpsc::unbounded_channel();
        let (mail, mail_inbox) = mpsc::unbounded_channel();
        boxes.0.push(orders);
        boxes.1.push(mail);
        boxes.2.push(Inbox { orders: order_inbox, mail: mail_inbox });
    }
    boxes
}

fn start_workers(instance: &Arc<Instance>, inboxes: Vec<Inbox>) -> Result<Vec<JoinHandle<io::Result<()>>>> {
    let start = |(index, inbox): (usize, Inbox)| {
        let (instance, runtime) = (Arc::clone(instance), tokio::runtime::Handle::current());
        std::thread::Builder::new()
            .name(format!("worker-{index}"))
            .spawn(move || worker::run(index, instance, inbox, &runtime))
            .map_err(|error| Error::internal("a worker thread cannot be started").source(error))
    };
    inboxes.into_iter().enumerate().map(start).collect()
}

fn start_control(instance: &Arc<Instance>, tasks: &mut JoinSet<()>) {
    tasks.spawn(control::mark_counters(Arc::clone(instance)));
    if instance.databases().iter().any(|database| database.is_sharded()) {
        tasks.spawn(recovery::run(Arc::clone(instance)));
    }
    for database in instance.databases() {
        tasks.spawn(control::keep_schema(Arc::clone(instance), Arc::clone(database)));
        if database.is_sharded() {
            tasks.spawn(deadlock::watch(Arc::clone(instance), Arc::clone(database)));
            tasks.spawn(placement::follow_catalog(Arc::clone(instance), Arc::clone(database)));
        }
        if let Some(orders) = instance.orders.first() {
            let _worker_gone = orders.send(Order::Listen(Arc::clone(database)));
        }
        if database.read_write_split {
            for shard in (0..database.shards.len()).filter_map(|index| u16::try_from(index).ok()) {
                tasks.spawn(control::watch_replicas(Arc::clone(instance), Arc::clone(database), ShardId(shard)));
            }
        }
    }
}

/// Accepts connections and gives them to the workers in turn.
async fn accept(instance: Arc<Instance>, listener: TcpListener) {
    let mut workers = instance.orders.iter().cycle();
    loop {
        match listener.accept().await.and_then(|(socket, _)| socket.into_std()) {
            Ok(socket) => {
                let sent = workers.next().map(|orders| orders.send(Order::Serve(socket)));
                if !matches!(sent, Some(Ok(()))) {
                    return;
                }
            }
            Err(error) => {
                // Mostly: no file descriptors left. Waiting is all that helps.
                tracing::error!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}
