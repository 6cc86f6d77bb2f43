//! One connection per database that listens for all of its clients.
//!
//! Clients send orders and read what comes from their [`Mailbox`]es. What an order asks for has happened when its *mark*
//! lies in the mailbox: the connection listens to the channels, and everything that was committed before the order was
//! given lies in front of the mark. (A server that commits tells those who listen before it answers its own client, and
//! one that listens sends what it was told of before each ReadyForQuery. So an answer to anything, even to an empty query,
//! is such a mark.)
//!
//! The connection is there while somebody listens. When it is lost, everybody who listened is told so, as the loss of
//! their own session would tell them; who comes after that gets a new connection.

use std::collections::hash_map::Entry;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rand::Rng;
use rustc_hash::{FxHashMap, FxHashSet};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::Instant;

use super::mailbox::{End, Mailbox};
use super::server::{self, Server};
use super::shared::Shared;
use crate::net::Conn;
use crate::session::notifiers::{Arrival, Moment, Notifiers};
use crate::types::{Error, Kind, Origin, Result, ShardId};
use crate::wire::backend::{ErrorFields, Notification, tag};
use crate::wire::frame::{self, Frame, Sender};
use crate::wire::frontend;

/// A channel's name, in the bytes of the database's own encoding.
pub type Channel = Bytes;

/// How long the connection may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// How long the end of a transaction that may have notified waits for others, so that one question does for all.
const HEAR_PAUSE: Duration = Duration::from_millis(1);

/// How long the connection stays when nobody listens any more. DROP DATABASE waits five seconds for sessions to end.
const LINGER: Duration = Duration::from_secs(2);

/// The shard whose primary has a database's notifications.
const HOME: ShardId = ShardId(0);

/// What a client can ask for.
#[derive(Debug)]
pub enum Order {
    /// Listen to these channels for the client, to none to be told only when what was committed before has come.
    Listen { mailbox: Arc<Mailbox>, channels: Vec<Channel>, mark: u64 },
    /// The client does not listen to these any more.
    Unlisten { mailbox: u64, channels: Vec<Channel> },
    /// The client listens to nothing any more.
    Leave { mailbox: u64 },
    /// Hear soon what was committed up to now.
    Hear,
}

impl Order {
    /// Nobody will carry it out: Weir stops.
    fn give_up(self) {
        if let Self::Listen { mailbox, .. } = self {
            mailbox.end(stopping());
        }
    }
}

/// Orders on their way. Who waits for one must hear when nobody takes them any more.
#[derive(Debug)]
struct Orders(UnboundedReceiver<Order>);

impl Drop for Orders {
    fn drop(&mut self) {
        self.0.close();
        while let Ok(order) = self.0.try_recv() {
            order.give_up();
        }
    }
}

fn stopping() -> End {
    End::Lost("Weir is being stopped".to_owned())
}

/// The clients' side of a database's listener.
#[derive(Debug)]
pub struct Listener {
    orders: UnboundedSender<Order>,
    inbox: Mutex<Option<Orders>>,
    /// A channel of the listener's own: who notifies it marks a place in the order of all notifications.
    own_channel: String,
    numbers: AtomicU64,
    counts: Counts,
    /// The servers that clients notify on.
    notifiers: Arc<Notifiers>,
    /// An order to hear is on its way.
    hears: AtomicBool,
}

/// What the console and the metrics show.
#[derive(Debug, Default)]
pub struct Counts {
    /// Clients that listen.
    pub clients: AtomicUsize,
    /// Channels that one of them listens to.
    pub channels: AtomicUsize,
    /// Notifications that came, once for each client they were for.
    pub delivered: AtomicU64,
    /// Connections that were opened.
    pub connects: AtomicU64,
    /// Connections that were lost while somebody listened.
    pub losses: AtomicU64,
}

impl Default for Listener {
    fn default() -> Self {
        let (orders, inbox) = unbounded_channel();
        Self {
            orders,
            inbox: Mutex::new(Some(Orders(inbox))),
            own_channel: format!("weir_{:016x}", rand::rng().random::<u64>()),
            numbers: AtomicU64::new(1),
            counts: Counts::default(),
            notifiers: Arc::default(),
            hears: AtomicBool::new(false),
        }
    }
}

impl Listener {
    /// Gives an order.
    pub fn order(&self, order: Order) {
        if let Err(unheard) = self.orders.send(order) {
            unheard.0.give_up();
        }
    }

    /// A number that nothing else of this listener has: for mailboxes and marks.
    pub fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// The servers that clients notify on.
    pub fn notifiers(&self) -> &Arc<Notifiers> {
        &self.notifiers
    }

    /// A client that may have notified is done: when the listener has heard what it sent, the next one on that server can
    /// be told from it. Nobody waits for that.
    pub fn hear_soon(&self) {
        if self.counts.clients.load(Ordering::Relaxed) > 0 && !self.hears.swap(true, Ordering::Relaxed) {
            self.order(Order::Hear);
        }
    }

    /// SQL that puts a mark into the streams of notifications of all that listen in the database: both of the server that
    /// runs it, where it shows as a notification that [`Listener::is_mark`] knows, and of the listener, which puts it into
    /// the mailbox.
    pub fn marking(&self, mailbox: &Mailbox, mark: u64) -> String {
        let channel = &self.own_channel;
        format!("LISTEN {channel};NOTIFY {channel}, '{}.{mark}'", mailbox.id)
    }

    /// Whether a notification is that mark.
    pub fn is_mark(&self, notification: &Notification<'_>, mailbox: &Mailbox, mark: u64) -> bool {
        notification.channel == self.own_channel.as_bytes() && self.read_mark(notification) == Some((mailbox.id, mark))
    }

    /// Whether this is the listener's own channel.
    pub fn owns(&self, channel: &[u8]) -> bool {
        channel == self.own_channel.as_bytes()
    }

    /// The mailbox and the mark that a notification names.
    fn read_mark(&self, notification: &Notification<'_>) -> Option<(u64, u64)> {
        let (mailbox, mark) = std::str::from_utf8(notification.payload).ok()?.split_once('.')?;
        Some((mailbox.parse().ok()?, mark.parse().ok()?))
    }
}

/// Listens for a database's clients, for ever. `shared` says where and as whom; it has one place.
pub async fn run(listener: &Listener, shared: Arc<Shared>) {
    let inbox = listener.inbox.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(mut orders) = inbox else { return };
    let orders = &mut orders.0;
    while let Some(order) = orders.recv().await {
        let mut desk = Desk::new(listener);
        desk.take(order);
        desk.take_all(orders);
        // An order about a client that was told of a loss, perhaps.
        if desk.mailboxes.is_empty() {
            continue;
        }
        match open(listener, &shared).await {
            Ok(mut server) => {
                let end = desk.serve(&mut server.conn, orders).await;
                desk.finish(&shared, end);
            }
            Err(error) => {
                desk.take_all(orders);
                let reason = with_reason(&error);
                tracing::warn!(database = &*shared.id.database, reason, "no connection to listen for notifications");
                desk.end_all(&End::Unreachable(reason));
            }
        }
    }
}

/// Opens a connection that listens to the listener's own channel.
async fn open(listener: &Listener, shared: &Arc<Shared>) -> Result<Box<Server>> {
    let place = shared.reserve(0).ok_or_else(|| Error::internal("two listeners for one database"))?;
    let mut server = Server::open_to_listen(place).await?;
    let listen = format!("LISTEN {}", listener.own_channel);
    let listens = tokio::time::timeout(ANSWER_LIMIT, server.run(&listen));
    listens.await.map_err(|_| no_answer())??;
    listener.counts.connects.fetch_add(1, Ordering::Relaxed);
    Ok(server)
}

/// What one connection is to hear, and for whom.
struct Desk<'l> {
    listener: &'l Listener,
    mailboxes: FxHashMap<u64, Subscriber>,
    channels: FxHashMap<Channel, Vec<Arc<Mailbox>>>,
    /// What the connection listens to when everything it was asked is answered.
    heard: FxHashSet<Channel>,
    /// Channels that somebody came to, or left, since the last query.
    changed: Vec<Channel>,
    /// Marks to be set when the query after this one is answered.
    next: Vec<Marking>,
    /// Marks to be set when the query that was sent is answered; `None` when none was.
    asked: Option<Vec<Marking>>,
    /// When it was sent.
    asked_at: Moment,
    /// What comes now was committed after this moment.
    heard_up_to: Moment,
    /// When a query is to be sent without other reasons.
    hear_at: Option<Instant>,
}

struct Subscriber {
    mailbox: Arc<Mailbox>,
    channels: Vec<Channel>,
}

type Marking = (Arc<Mailbox>, u64);

impl<'l> Desk<'l> {
    fn new(listener: &'l Listener) -> Self {
        Self {
            listener,
            mailboxes: FxHashMap::default(),
            channels: FxHashMap::default(),
            heard: FxHashSet::default(),
            changed: Vec::new(),
            next: Vec::new(),
            asked: None,
            asked_at: Moment::default(),
            // The connection hears nothing yet.
            heard_up_to: listener.notifiers.now(),
            hear_at: None,
        }
    }

    /// Serves until the connection is lost, or nobody listens any more (`None`).
    async fn serve(&mut self, conn: &mut Conn, orders: &mut UnboundedReceiver<Order>) -> Option<Error> {
        loop {
            self.ask(conn.queue());
            let limit = if self.asked.is_some() { ANSWER_LIMIT } else { LINGER };
            let is_timed = self.asked.is_some() || self.mailboxes.is_empty();
            tokio::select! {
                read = poll_fn(|cx| poll_exchange(conn, cx)) => match read {
                    Ok(()) => if let Err(error) = self.read(conn) { return Some(error) },
                    Err(error) => return Some(server::lost(HOME, error)),
                },
                order = orders.recv() => {
                    self.take(order?);
                    self.take_all(orders);
                }
                () = until(self.hear_at), if self.asked.is_none() => {}
                () = tokio::time::sleep(limit), if is_timed => return self.asked.is_some().then(no_answer),
            }
        }
    }

    /// Writes a query for what has changed and for the marks that are wanted, unless one is on its way.
    fn ask(&mut self, out: &mut BytesMut) {
        let hears = self.hear_at.is_some_and(|at| at <= Instant::now());
        if self.asked.is_some() || (self.changed.is_empty() && self.next.is_empty() && !hears) {
            return;
        }
        (self.asked_at, self.hear_at) = (self.listener.notifiers.now(), None);
        let mut sql = Vec::new();
        for channel in self.changed.drain(..) {
            match (self.channels.contains_key(&channel), self.heard.contains(&channel)) {
                (true, false) => {
                    command(&mut sql, "LISTEN ", &channel);
                    self.heard.insert(channel);
                }
                (false, true) => {
                    command(&mut sql, "UNLISTEN ", &channel);
                    self.heard.remove(&channel);
                }
                (true, true) | (false, false) => {}
            }
        }
        frontend::query_bytes(out, &sql);
        self.asked = Some(std::mem::take(&mut self.next));
    }

    /// Reads what came.
    fn read(&mut self, conn: &mut Conn) -> Result<()> {
        while let Some(frame) = frame::first(&conn.input, Sender::Server)? {
            let len = frame.raw.len();
            self.message(&frame)?;
            let _used = conn.input.split_to(len);
        }
        Ok(())
    }

    fn message(&mut self, frame: &Frame<'_>) -> Result<()> {
        match frame.tag {
            tag::NOTIFICATION_RESPONSE => self.notification(frame)?,
            tag::READY_FOR_QUERY => {
                self.heard_up_to = self.asked_at;
                for (mailbox, mark) in self.asked.take().into_iter().flatten() {
                    mailbox.mark(mark);
                }
            }
            // A LISTEN that failed: whatever the reason, nothing is certain any more.
            tag::ERROR_RESPONSE => return Err(failed(frame.body)),
            tag::COMMAND_COMPLETE | tag::EMPTY_QUERY_RESPONSE | tag::NOTICE_RESPONSE | tag::PARAMETER_STATUS => {}
            other => {
                let message = format!("unexpected message type {:?} from a server", other as char);
                return Err(Error::new(Origin::Server(HOME), Kind::ServerLost, message));
            }
        }
        Ok(())
    }

    fn notification(&mut self, frame: &Frame<'_>) -> Result<()> {
        let notification = Notification::read(frame.body)?;
        if self.listener.owns(notification.channel) {
            if let Some((id, mark)) = self.listener.read_mark(&notification)
                && let Some(Subscriber { mailbox, .. }) = self.mailboxes.get(&id)
            {
                mailbox.mark(mark);
            }
            return Ok(());
        }
        let Some(mailboxes) = self.channels.get(notification.channel) else { return Ok(()) };
        // The connection is never in a transaction.
        let sender = self.listener.notifiers.client_of(notification.process_id, self.heard_up_to, Arrival::AtOnce);
        let message = match sender {
            Some(process_id) => Notification { process_id, ..notification }.message(),
            None => Bytes::copy_from_slice(frame.raw),
        };
        let full: Vec<u64> =
            mailboxes.iter().filter(|mailbox| !mailbox.put(&message)).map(|mailbox| mailbox.id).collect();
        let delivered = mailboxes.len() - full.len();
        self.listener.counts.delivered.fetch_add(delivered as u64, Ordering::Relaxed);
        if !full.is_empty() {
            full.into_iter().for_each(|id| self.leave(id));
            self.count();
        }
        Ok(())
    }

    fn take_all(&mut self, orders: &mut UnboundedReceiver<Order>) {
        while let Ok(order) = orders.try_recv() {
            self.take(order);
        }
    }

    fn take(&mut self, order: Order) {
        match order {
            Order::Listen { mailbox, channels, mark } => {
                self.mailboxes
                    .entry(mailbox.id)
                    .or_insert_with(|| Subscriber { mailbox: Arc::clone(&mailbox), channels: Vec::new() });
                channels.into_iter().for_each(|channel| self.join(&mailbox, channel));
                self.next.push((mailbox, mark));
            }
            Order::Unlisten { mailbox, channels } => {
                channels.into_iter().for_each(|channel| self.part(mailbox, channel));
            }
            Order::Leave { mailbox } => self.leave(mailbox),
            Order::Hear => {
                self.listener.hears.store(false, Ordering::Relaxed);
                self.hear_at.get_or_insert_with(|| Instant::now() + HEAR_PAUSE);
            }
        }
        self.count();
    }

    fn count(&self) {
        let counts = &self.listener.counts;
        counts.clients.store(self.mailboxes.len(), Ordering::Relaxed);
        counts.channels.store(self.channels.len(), Ordering::Relaxed);
    }

    fn join(&mut self, mailbox: &Arc<Mailbox>, channel: Channel) {
        let Some(subscriber) = self.mailboxes.get_mut(&mailbox.id) else { return };
        if subscriber.channels.contains(&channel) {
            return;
        }
        subscriber.channels.push(channel.clone());
        self.channels.entry(channel.clone()).or_default().push(Arc::clone(mailbox));
        self.changed.push(channel);
    }

    fn part(&mut self, id: u64, channel: Channel) {
        if let Some(subscriber) = self.mailboxes.get_mut(&id) {
            subscriber.channels.retain(|own| *own != channel);
        }
        if let Entry::Occupied(mut entry) = self.channels.entry(channel.clone()) {
            entry.get_mut().retain(|mailbox| mailbox.id != id);
            if entry.get().is_empty() {
                entry.remove();
                self.changed.push(channel);
            }
        }
    }

    fn leave(&mut self, id: u64) {
        let channels = self.mailboxes.remove(&id).map(|subscriber| subscriber.channels).unwrap_or_default();
        channels.into_iter().for_each(|channel| self.part(id, channel));
        let is_others = |(mailbox, _): &Marking| mailbox.id != id;
        self.next.retain(is_others);
    }

    /// The connection has ended, for a reason or because nobody listens.
    fn finish(&mut self, shared: &Shared, end: Option<Error>) {
        let Some(error) = end else { return };
        let reason = with_reason(&error);
        let clients = self.mailboxes.len();
        tracing::warn!(
            database = &*shared.id.database,
            reason,
            clients,
            "the connection that listens for notifications was lost; clients that listen are disconnected"
        );
        self.listener.counts.losses.fetch_add(1, Ordering::Relaxed);
        self.end_all(&End::Lost(reason));
    }

    fn end_all(&mut self, end: &End) {
        for (_, subscriber) in self.mailboxes.drain() {
            subscriber.mailbox.end(end.clone());
        }
        self.channels.clear();
        self.count();
    }
}

impl Drop for Desk<'_> {
    fn drop(&mut self) {
        self.end_all(&stopping());
    }
}

/// Waits until then, for ever if there is no such moment.
async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// Sends what waits and reads once.
fn poll_exchange(conn: &mut Conn, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
    if let Poll::Ready(Err(error)) = conn.poll_flush(cx) {
        return Poll::Ready(Err(error));
    }
    conn.poll_fill(cx).map(|read| match read {
        Ok(0) => Err(std::io::ErrorKind::UnexpectedEof.into()),
        Ok(_) => Ok(()),
        Err(error) => Err(error),
    })
}

/// Appends a command about a channel.
pub fn command(sql: &mut Vec<u8>, command: &str, channel: &[u8]) {
    sql.extend_from_slice(command.as_bytes());
    sql.push(b'"');
    for byte in channel {
        if *byte == b'"' {
            sql.push(b'"');
        }
        sql.push(*byte);
    }
    sql.extend_from_slice(b"\";");
}

fn failed(body: &[u8]) -> Error {
    match ErrorFields::read(body) {
        Ok(fields) if fields.is_fatal() => server::ended(HOME, body),
        _ => server::server_error(HOME, body),
    }
}

fn no_answer() -> Error {
    Error::new(Origin::Server(HOME), Kind::ServerLost, "the server did not answer in time")
        .detail(format!("It took longer than {} s.", ANSWER_LIMIT.as_secs()))
}

/// An error's message and DETAIL, without its full stop.
fn with_reason(error: &Error) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::mailbox::Item;
    use crate::wire::TransactionStatus;
    use crate::wire::backend;

    /// A listener's desk, and a connection that is written to a buffer.
    struct Case<'l> {
        desk: Desk<'l>,
        out: BytesMut,
    }

    impl<'l> Case<'l> {
        fn new(listener: &'l Listener) -> Self {
            Self { desk: Desk::new(listener), out: BytesMut::new() }
        }

        fn listen(&mut self, mailbox: &Arc<Mailbox>, channels: &[&'static str], mark: u64) {
            let channels = channels.iter().map(|channel| Channel::from_static(channel.as_bytes())).collect();
            self.desk.take(Order::Listen { mailbox: Arc::clone(mailbox), channels, mark });
        }

        fn unlisten(&mut self, mailbox: &Mailbox, channel: &'static str) {
            let channels = vec![Channel::from_static(channel.as_bytes())];
            self.desk.take(Order::Unlisten { mailbox: mailbox.id, channels });
        }

        /// The query that is sent now, if one is.
        fn asked(&mut self) -> Option<String> {
            self.desk.ask(&mut self.out);
            let sent = self.out.split();
            let frame = frame::first(&sent, Sender::Client).unwrap()?;
            Some(String::from_utf8(frontend::query_text(frame.body).unwrap().to_vec()).unwrap())
        }

        fn answer(&mut self, write: impl FnOnce(&mut BytesMut)) {
            let mut bytes = BytesMut::new();
            write(&mut bytes);
            let frame = frame::first(&bytes, Sender::Server).unwrap().unwrap();
            self.desk.message(&frame).unwrap();
        }

        fn ready(&mut self) {
            self.answer(|out| backend::ready_for_query(out, TransactionStatus::Idle));
        }

        fn notify(&mut self, channel: &str, payload: &str) {
            let (channel, payload) = (channel.as_bytes(), payload.as_bytes());
            self.answer(|out| Notification { process_id: 1, channel, payload }.write(out));
        }
    }

    /// What lies in a mailbox: payloads, and marks as numbers.
    fn taken(mailbox: &Mailbox) -> Vec<String> {
        let text = |item| match item {
            Item::Mark(mark) => format!("#{mark}"),
            Item::Notification(message) => {
                let notification = Notification::read(&message[frame::HEADER_LEN..]).unwrap();
                String::from_utf8_lossy(notification.payload).into_owned()
            }
        };
        mailbox.take().unwrap().into_iter().map(text).collect()
    }

    fn mailboxes() -> [Arc<Mailbox>; 2] {
        [1, 2].map(|id| Arc::new(Mailbox::new(id)))
    }

    #[test]
    fn channels_are_heard_while_somebody_listens() {
        let (listener, [one, two]) = (Listener::default(), mailboxes());
        let mut case = Case::new(&listener);
        case.listen(&one, &["a", "b\"c"], 1);
        assert_eq!(case.asked().unwrap(), "LISTEN \"a\";LISTEN \"b\"\"c\";");
        case.listen(&two, &["a", "a"], 2);
        assert_eq!(case.asked(), None, "one question at a time");
        assert_eq!(taken(&one), [""; 0]);
        case.ready();
        assert_eq!(taken(&one), ["#1"]);
        assert_eq!(case.asked().unwrap(), "");
        case.ready();
        assert_eq!(taken(&two), ["#2"]);
        case.unlisten(&one, "a");
        assert_eq!(case.asked(), None, "the other one still listens");
        case.desk.take(Order::Leave { mailbox: two.id });
        assert_eq!(case.asked().unwrap(), "UNLISTEN \"a\";");
        case.desk.take(Order::Leave { mailbox: one.id });
        case.ready();
        assert_eq!(case.asked().unwrap(), "UNLISTEN \"b\"\"c\";");
        assert!(case.desk.mailboxes.is_empty() && case.desk.channels.is_empty() && case.desk.heard.is_empty());
    }

    #[test]
    fn a_channel_that_is_left_and_joined_again_stays() {
        let (listener, [one, _]) = (Listener::default(), mailboxes());
        let mut case = Case::new(&listener);
        case.listen(&one, &["a"], 1);
        case.asked();
        case.ready();
        case.unlisten(&one, "a");
        case.listen(&one, &["a"], 2);
        assert_eq!(case.asked().unwrap(), "");
        case.ready();
        case.notify("a", "x");
        assert_eq!(taken(&one), ["#1", "#2", "x"]);
    }

    #[test]
    fn each_gets_what_is_for_it_once() {
        let (listener, [one, two]) = (Listener::default(), mailboxes());
        let mut case = Case::new(&listener);
        case.listen(&one, &["a", "b"], 1);
        case.listen(&two, &["b", "b"], 2);
        case.asked();
        case.notify("a", "x");
        case.notify("b", "y");
        case.notify("c", "z");
        case.ready();
        assert_eq!(taken(&one), ["x", "y", "#1"]);
        assert_eq!(taken(&two), ["y", "#2"]);
        assert_eq!(listener.counts().delivered.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn who_notified_is_named_as_far_as_that_is_known() {
        let (listener, [one, _]) = (Listener::default(), mailboxes());
        let (mut case, mut server) = (Case::new(&listener), listener.notifiers().register(1));
        let sender = |case: &mut Case<'_>| {
            case.notify("a", "x");
            let Some(Item::Notification(message)) = one.take().unwrap().pop_back() else { panic!("nothing came") };
            Notification::read(&message[frame::HEADER_LEN..]).unwrap().process_id
        };
        case.listen(&one, &["a"], 1);
        case.asked();
        case.ready();
        server.claim(70);
        assert_eq!(sender(&mut case), 70);
        server.end();
        listener.hear_soon();
        server.claim(80);
        assert_eq!(sender(&mut case), 1, "70's or 80's");
        case.desk.take(Order::Hear);
        case.desk.hear_at = Some(Instant::now());
        assert_eq!(case.asked().as_deref(), Some(""));
        assert_eq!(sender(&mut case), 1, "the question is not answered");
        case.ready();
        assert_eq!(sender(&mut case), 80);
        assert_eq!(case.asked(), None);
    }

    #[test]
    fn a_mark_in_the_stream_finds_its_mailbox() {
        let (listener, [one, two]) = (Listener::default(), mailboxes());
        let mut case = Case::new(&listener);
        case.listen(&one, &["a"], 1);
        let marking = listener.marking(&one, 5);
        let (channel, payload) = marking.split_once("NOTIFY ").unwrap().1.split_once(", ").unwrap();
        let payload = payload.trim_matches('\'');
        case.notify("a", "x");
        case.notify(channel, payload);
        case.notify(channel, "rubbish");
        case.notify(channel, "7.8");
        assert_eq!(taken(&one), ["x", "#5"]);
        let notification = Notification { process_id: 9, channel: channel.as_bytes(), payload: payload.as_bytes() };
        assert!(listener.is_mark(&notification, &one, 5));
        assert!(!listener.is_mark(&notification, &one, 6) && !listener.is_mark(&notification, &two, 5));
        assert!(!listener.is_mark(&Notification { channel: b"a", ..notification }, &one, 5));
    }

    #[test]
    fn everybody_is_told_of_an_end() {
        let (listener, [one, two]) = (Listener::default(), mailboxes());
        let mut case = Case::new(&listener);
        case.listen(&one, &["a"], 1);
        case.listen(&two, &["b"], 2);
        case.asked();
        case.notify("a", "x");
        let mut error = BytesMut::new();
        backend::error_response(&mut error, backend::Severity::Error, &Error::internal("wrong"));
        let failure = case.desk.message(&frame::first(&error, Sender::Server).unwrap().unwrap()).unwrap_err();
        case.desk.end_all(&End::Lost(with_reason(&failure)));
        for mailbox in [one, two] {
            assert_eq!(mailbox.take(), Err(End::Lost("wrong".to_owned())));
        }
        assert_eq!(listener.counts().clients.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn who_does_not_read_leaves_the_others_alone() {
        let (listener, [one, two]) = (Listener::default(), mailboxes());
        let mut case = Case::new(&listener);
        case.listen(&one, &["a"], 1);
        case.listen(&two, &["a"], 2);
        let payload = "x".repeat(7999);
        for _ in 0..=crate::pool::mailbox::WAITING_BYTES_MAX / 8000 {
            case.notify("a", &payload);
            for item in two.take().unwrap() {
                if let Item::Notification(message) = item {
                    two.given(&message);
                }
            }
        }
        assert_eq!(one.take(), Err(End::Overflown));
        assert!(two.take().unwrap().is_empty());
        assert_eq!(case.desk.channels.len(), 1);
        assert!(!case.desk.mailboxes.contains_key(&one.id));
    }
}
