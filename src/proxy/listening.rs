//! LISTEN and notifications for a client whose servers change.
//!
//! What a client listens to is what its server says when the client's transaction is over; from then on the database's
//! listener ([`crate::pool::listener`]) hears for it, and the server itself listens no more. A client that pools by session
//! has none of this: its server sends it what it is to have.
//!
//! * Before a unit that may look at the channels or change them, and before a block in which that may happen, the server
//!   is told the client's channels, so that UNLISTEN, ROLLBACK and `pg_listening_channels()` mean what they say.
//! * When the client listens to a new channel, both the server and the listener hear it for a moment. A *mark* in the
//!   database's own order of notifications divides them: what stands before it comes from the server, what stands behind
//!   it from the listener. So nothing is missed and nothing comes twice.
//! * A client that listens and may notify waits, before it reads ReadyForQuery, until the listener has what it sent. Its
//!   server's process id between there and the first such statement is its own.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::client::Client;
use super::links::Link;
use super::outcome::{Step, Stop};
use crate::config::PoolMode;
use crate::pool::database::Database;
use crate::pool::listener::{self, Channel, Order};
use crate::pool::mailbox::{End, Item, Mailbox};
use crate::session::ledger::{Kept, Rule};
use crate::session::notifiers::Arrival;
use crate::session::request::ServerSession;
use crate::sql::facts::{Effects, Facets, Statement, StatementKind, TransactionCommand};
use crate::types::{Error, Kind, Result, ShardId, SqlState};
use crate::wire::TransactionStatus;
use crate::wire::backend::Notification;
use crate::wire::frame::HEADER_LEN;

/// The channels that a server listens to, in the database's own encoding, as hexadecimal digits.
const ASK_CHANNELS: &str = "SELECT pg_catalog.string_agg(pg_catalog.encode(pg_catalog.convert_to(channel, \
     pg_catalog.getdatabaseencoding()), 'hex'), ',') FROM pg_catalog.pg_listening_channels() AS channel";

/// A cancel that comes too late for the client's statement hits Weir's own, which is then asked again.
const ATTEMPTS_MAX: usize = 5;

/// What a client hears.
#[derive(Debug)]
pub struct Listening {
    database: Arc<Database>,
    mailbox: Arc<Mailbox>,
    channels: BTreeSet<Channel>,
    /// Taken from the mailbox and not looked at yet.
    fresh: VecDeque<Item>,
    /// What the client has not been given yet.
    inbox: VecDeque<Received>,
    /// From here on the inbox may hold notifications of the open transaction's own.
    own_from: Option<usize>,
    /// The client's encoding is the database's own, as far as bytes go.
    is_raw: bool,
}

/// A notification for the client.
#[derive(Debug)]
struct Received {
    /// A NotificationResponse with its header.
    message: Bytes,
    /// The client sent it.
    own: bool,
}

/// What the statements of the open transaction may have to do with notifications.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heed {
    /// LISTEN, by its own name.
    listens: bool,
    /// They may look at the session's channels or change them.
    channels: bool,
    /// They may notify.
    pub notifies: bool,
    /// They open a block.
    begins: bool,
}

impl Listening {
    fn new(database: &Arc<Database>) -> Box<Self> {
        Box::new(Self {
            database: Arc::clone(database),
            mailbox: Arc::new(Mailbox::new(database.listener.number())),
            channels: BTreeSet::new(),
            fresh: VecDeque::new(),
            inbox: VecDeque::new(),
            own_from: None,
            is_raw: true,
        })
    }

    /// What tells the client's task that something came.
    pub fn mailbox(&self) -> Arc<Mailbox> {
        Arc::clone(&self.mailbox)
    }

    /// How many channels the client listens to.
    pub fn channels(&self) -> usize {
        self.channels.len()
    }

    /// Orders a mark behind all that was committed up to now, and behind the beginning of these channels.
    fn order_mark(&self, channels: Vec<Channel>) -> u64 {
        let mark = self.database.listener.number();
        self.database.listener.order(Order::Listen { mailbox: Arc::clone(&self.mailbox), channels, mark });
        mark
    }

    /// Waits for a mark; everything in front of it lies in the inbox then.
    async fn await_mark(&mut self, mark: u64) -> Result<(), End> {
        loop {
            self.fresh.extend(self.mailbox.take()?);
            while let Some(item) = self.fresh.pop_front() {
                match item {
                    Item::Notification(message) => self.inbox.push_back(Received { message, own: false }),
                    Item::Mark(found) if found == mark => return Ok(()),
                    // One that nobody waits for any more.
                    Item::Mark(_) => {}
                }
            }
            self.mailbox.news().await;
        }
    }

    /// Takes everything that has come.
    fn take_all(&mut self) -> Result<(), End> {
        self.fresh.extend(self.mailbox.take()?);
        for item in self.fresh.drain(..) {
            if let Item::Notification(message) = item {
                self.inbox.push_back(Received { message, own: false });
            }
        }
        Ok(())
    }

    /// Those of the transaction's notifications that came from this process are the client's own: it had the server all
    /// the time.
    fn claim_own(&mut self, process_id: i32) -> Result<()> {
        let from = self.own_from.take().unwrap_or(self.inbox.len());
        for received in self.inbox.iter_mut().skip(from) {
            received.own = received.read()?.process_id == process_id;
        }
        Ok(())
    }

    /// Puts the server's notifications up to the mark in the place of those that the listener had for the same time.
    /// `wanted` are the channels that the client listens to from now on.
    fn join(&mut self, kept: &Kept, mark: u64, process_id: i32, wanted: &BTreeSet<Channel>) -> Result<()> {
        let mut joined = Vec::new();
        let mut known = 0;
        let notifiers = self.database.listener.notifiers();
        for message in &kept.messages {
            let notification = Notification::read(&message[HEADER_LEN..])?;
            let listener = &self.database.listener;
            if listener.is_mark(&notification, &self.mailbox, mark) {
                break;
            }
            if wanted.contains(notification.channel) {
                known += usize::from(self.channels.contains(notification.channel));
                let own = notification.process_id == process_id;
                let sender = notifiers.client_of(notification.process_id, kept.after, Arrival::Kept);
                let message = match sender.filter(|_| !own) {
                    Some(process_id) => Notification { process_id, ..notification }.message(),
                    None => message.clone(),
                };
                joined.push(Received { message, own });
            }
        }
        self.keep(|channel, old| wanted.contains(channel) && old.contains(channel))?;
        // What the server sent of the channels from before, the listener has as well, at the end.
        for _ in 0..known {
            self.inbox.pop_back().inspect(|received| self.mailbox.given(&received.message));
        }
        joined.iter().for_each(|received| self.mailbox.charge(&received.message));
        self.inbox.extend(joined);
        Ok(())
    }

    /// Drops what is not to be kept, by its channel; the second argument are the client's channels.
    fn keep(&mut self, keeps: impl Fn(&[u8], &BTreeSet<Channel>) -> bool) -> Result<()> {
        for received in std::mem::take(&mut self.inbox) {
            if keeps(received.read()?.channel, &self.channels) {
                self.inbox.push_back(received);
            } else {
                self.mailbox.given(&received.message);
            }
        }
        Ok(())
    }

    /// Appends everything that has come and is for the client; `told` is the process id that it knows as its own.
    ///
    /// # Errors
    /// A text that the client's encoding does not have as it is.
    fn give(&mut self, out: &mut BytesMut, told: i32) -> Result<()> {
        for Received { message, own } in self.inbox.drain(..) {
            self.mailbox.given(&message);
            let notification = Notification::read(&message[HEADER_LEN..])?;
            if !self.channels.contains(notification.channel) {
                continue;
            }
            let is_ascii = notification.channel.is_ascii() && notification.payload.is_ascii();
            if !self.is_raw && !is_ascii {
                return Err(foreign_text());
            }
            let process_id = if own { told } else { notification.process_id };
            Notification { process_id, ..notification }.write(out);
        }
        Ok(())
    }

    /// SQL that makes a server listen to the client's channels.
    fn telling(&self) -> Result<Vec<u8>> {
        let mut sql = Vec::new();
        for channel in &self.channels {
            if !self.is_raw && !channel.is_ascii() {
                return Err(foreign_text());
            }
            listener::command(&mut sql, "LISTEN ", channel);
        }
        Ok(sql)
    }
}

impl Received {
    fn read(&self) -> Result<Notification<'_>> {
        Notification::read(&self.message[HEADER_LEN..])
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.database.listener.order(Order::Leave { mailbox: self.mailbox.id });
    }
}

impl Client {
    /// Takes note of what a statement has to do with notifications, before it is sent.
    pub fn heed(&mut self, statement: &Statement) {
        let may_surprise = self.may_surprise(statement);
        self.heed.listens |= statement.kind == StatementKind::Listen;
        // Pools of drivers send UNLISTEN whenever a connection comes back: it concerns only those who listen.
        let concerned = self.listening.is_some() && statement.ends.contains(Facets::CHANNELS);
        self.heed.channels |= concerned || statement.makes.contains(Facets::CHANNELS) || may_surprise;
        self.heed.notifies |= statement.effects.contains(Effects::NOTIFIES) || may_surprise;
        self.heed.begins |= matches!(&statement.kind, StatementKind::Transaction(TransactionCommand::Begin { .. }));
    }

    /// A statement of which nothing is known may have to do with notifications in any way.
    pub fn heed_anything(&mut self) {
        (self.heed.channels, self.heed.notifies) = (true, true);
    }

    /// Whether notifications are to be thought of at all.
    pub fn heeds(&self) -> bool {
        (self.listening.is_some() || self.heed.channels) && self.pool_mode != PoolMode::Session
    }

    /// Whose notifications a server's are that the client just got.
    pub fn claim_notifications(&mut self, at: usize) {
        let told = self.handle.key.process_id;
        let server = &mut self.links[at].server;
        let own = server.cancel_key.process_id;
        let notifications = &mut server.session.ledger.notifications;
        match self.pool_mode {
            PoolMode::Session => notifications.show(own, told, self.database.listener.notifiers()),
            PoolMode::Transaction | PoolMode::Statement => notifications.set(Rule::Drop),
        }
    }

    /// Others are to know who notifies, where the next unit may.
    pub fn claim_server(&mut self, at: usize) {
        if self.heed.notifies
            && let Some(notifier) = &mut self.links[at].server.session.notifier
        {
            notifier.claim(self.handle.key.process_id);
        }
    }

    /// The transaction is over: who had its servers notifies there no more, and the next one may.
    pub fn end_claims(&mut self) {
        if self.heed.notifies {
            let ended = self.links.iter_mut().filter_map(|link| link.server.session.end_claim().then_some(()));
            if ended.count() > 0 {
                self.database.listener.hear_soon();
            }
        }
    }

    /// Brings a server to the client's channels, where the next unit may have to do with them, and finds out where its
    /// own notifications begin.
    pub async fn heed_before(&mut self, at: usize) -> Step {
        if !self.links[at].is_home() {
            return Ok(());
        }
        self.tell_channels(at)?;
        let notifies = self.heed.notifies;
        match &mut self.listening {
            Some(listening) if notifies && listening.own_from.is_none() => {
                let mark = listening.order_mark(Vec::new());
                listening.await_mark(mark).await.map_err(ended)?;
                listening.own_from = Some(listening.inbox.len());
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether it is to be seen, before the unit goes to a server of the shard, that somebody can listen for the client.
    pub fn needs_listener(&self, shard: ShardId) -> bool {
        self.heed.listens && self.listening.is_none() && shard == ShardId(0) && self.pool_mode != PoolMode::Session
    }

    /// Makes sure that somebody can listen for the client before it runs LISTEN; `held` is its server, if it has one.
    pub async fn reach_listener(&mut self, held: Option<usize>) -> Step {
        self.heed.listens = false;
        let mut listening = Listening::new(&self.database);
        let mark = listening.order_mark(Vec::new());
        match listening.await_mark(mark).await {
            Ok(()) => self.listening = Some(listening),
            Err(end) => {
                if let Some(at) = held {
                    self.fail_transaction(at).await?;
                }
                return Err(Stop::Failed(end.into_error()));
            }
        }
        Ok(())
    }

    /// A statement is refused that the server did not see: its transaction fails as it would have.
    pub async fn fail_transaction(&mut self, at: usize) -> Step {
        let server = &mut self.links[at].server;
        if server.session.ledger.status() != TransactionStatus::Idle || server.session.ledger.is_unsynced() {
            server.session.end_batch(server.conn.queue(), true);
            self.own_replies(at).await?;
        }
        Ok(())
    }

    fn tell_channels(&mut self, at: usize) -> Step {
        let Heed { channels, begins, .. } = self.heed;
        let opens = begins || self.batch_open || self.block.is_some();
        let session = &mut self.links[at].server.session;
        let is_open = session.ledger.status() != TransactionStatus::Idle || session.ledger.is_unsynced();
        if channels {
            session.ledger.notifications.keep(self.database.listener.notifiers().now());
        }
        session.listens |= channels;
        let Some(listening) = self.listening.as_ref().filter(|listening| !listening.channels.is_empty()) else {
            return Ok(());
        };
        if (channels || opens) && !is_open {
            let sql = listening.telling().map_err(Stop::Fatal)?;
            let server = &mut self.links[at].server;
            server.session.own_query(server.conn.queue(), sql);
            server.session.listens = true;
        }
        Ok(())
    }

    /// Whether the ReadyForQuery that ends the transaction has to wait.
    pub fn holds_ready(&self) -> bool {
        self.pool_mode != PoolMode::Session && (self.heed.channels || (self.heed.notifies && self.listening.is_some()))
    }

    /// Once the client's transaction is over on the server that has its notifications: learns what it listens to now, and
    /// gives it what came up to here.
    async fn heed_after(&mut self, at: usize) -> Step {
        let Heed { channels, notifies, .. } = std::mem::take(&mut self.heed);
        if channels {
            self.settle_channels(at, notifies).await?;
        } else {
            self.settle_own(at).await?;
        }
        self.give_notifications()
    }

    fn is_settled_at_home(&self) -> Option<usize> {
        let at = self.links.iter().position(Link::is_home)?;
        (!self.in_transaction() && !self.links[at].is_in_transaction()).then_some(at)
    }

    /// The same for statements that Weir itself carried out on servers one by one, before it says ReadyForQuery.
    pub async fn heed_steps(&mut self) -> Step {
        match self.is_settled_at_home() {
            Some(at) if self.holds_ready() => Box::pin(self.heed_after(at)).await,
            _ => Ok(()),
        }
    }

    /// The transaction is over, however it ended: what it has to do with notifications is done, and no server listens.
    pub async fn heed_end(&mut self) -> Step {
        match self.is_settled_at_home() {
            Some(at) if self.holds_ready() => self.heed_after(at).await?,
            _ => {}
        }
        if let (Some(listening), Some(link)) = (&mut self.listening, self.links.iter().find(|link| link.is_home())) {
            listening.is_raw = is_raw(&link.server.session);
        }
        while let Some(at) = self.links.iter().position(|link| link.server.session.listens) {
            self.stop_server(at).await?;
        }
        Ok(())
    }

    /// Nothing of the transaction is to be heeded any more.
    pub fn forget_heed(&mut self) {
        self.heed = Heed::default();
        if self.listening.as_ref().is_some_and(|listening| listening.channels.is_empty()) {
            self.listening = None;
        }
        if let Some(listening) = &mut self.listening {
            listening.own_from = None;
        }
    }

    /// Asks the server what the client listens to, and has the listener do it.
    async fn settle_channels(&mut self, at: usize, notifies: bool) -> Step {
        let wanted = self.ask_channels(at).await?;
        let session = &self.links[at].server.session;
        let is_raw = is_raw(session);
        if !is_raw && wanted.iter().any(|channel| !channel.is_ascii()) {
            return Err(Stop::Fatal(foreign_text()));
        }
        if wanted.is_empty() {
            self.listening = None;
            self.handle.channels.set(0);
            let session = &mut self.links[at].server.session;
            session.listens = false;
            session.ledger.notifications.set(Rule::Drop);
            return Ok(());
        }
        let listening = self.listening.get_or_insert_with(|| Listening::new(&self.database));
        listening.is_raw = is_raw;
        let left: Vec<Channel> = listening.channels.difference(&wanted).cloned().collect();
        if !left.is_empty() {
            let mailbox = listening.mailbox.id;
            self.database.listener.order(Order::Unlisten { mailbox, channels: left });
        }
        let added: Vec<Channel> = wanted.difference(&listening.channels).cloned().collect();
        if !added.is_empty() {
            self.take_over(at, added, &wanted).await?;
        } else if notifies {
            self.settle_own(at).await?;
        }
        self.handle.channels.set(wanted.len());
        if let Some(listening) = &mut self.listening {
            listening.channels = wanted;
            listening.own_from = None;
        }
        self.stop_server(at).await
    }

    /// Has the listener hear new channels, from a mark on up to which the server itself has heard them.
    async fn take_over(&mut self, at: usize, added: Vec<Channel>, wanted: &BTreeSet<Channel>) -> Step {
        let Some(listening) = &mut self.listening else { return Ok(()) };
        let begun = listening.order_mark(added);
        listening.await_mark(begun).await.map_err(ended)?;
        let mark = self.database.listener.number();
        let marking = self.database.listener.marking(&listening.mailbox, mark);
        self.run_own(at, &marking).await?;
        let server = &mut self.links[at].server;
        let (kept, process_id) = (server.session.ledger.notifications.take(), server.cancel_key.process_id);
        if kept.overflown {
            return Err(Stop::Fatal(End::Overflown.into_error()));
        }
        let Some(listening) = &mut self.listening else { return Ok(()) };
        listening.await_mark(mark).await.map_err(ended)?;
        listening.join(&kept, mark, process_id, wanted).map_err(Stop::Fatal)
    }

    /// Waits for the client's own notifications.
    async fn settle_own(&mut self, at: usize) -> Step {
        let process_id = self.links[at].server.cancel_key.process_id;
        let Some(listening) = &mut self.listening else { return Ok(()) };
        let mark = listening.order_mark(Vec::new());
        listening.await_mark(mark).await.map_err(ended)?;
        listening.claim_own(process_id).map_err(Stop::Fatal)
    }

    async fn ask_channels(&mut self, at: usize) -> Step<BTreeSet<Channel>> {
        let row = self.run_own(at, ASK_CHANNELS).await?;
        let names = row.into_iter().next().flatten().unwrap_or_default();
        let names = names.split(|byte| *byte == b',').filter(|name| !name.is_empty()).map(unhex);
        let all = names.collect::<Option<BTreeSet<Channel>>>().ok_or_else(|| Error::internal("channels in no hex"))?;
        Ok(all.into_iter().filter(|channel| !self.database.listener.owns(channel)).collect())
    }

    /// Ends the server's own listening.
    async fn stop_server(&mut self, at: usize) -> Step {
        if std::mem::take(&mut self.links[at].server.session.listens) {
            self.links[at].server.session.ledger.notifications.set(Rule::Drop);
            if let Err(stop) = self.run_own(at, "UNLISTEN *").await {
                if let Some(link) = self.links.get_mut(at) {
                    link.server.retire("it still listens");
                }
                return Err(stop);
            }
        }
        Ok(())
    }

    /// Runs a query of Weir's own, again when a cancel for the client hits it.
    async fn run_own(&mut self, at: usize, sql: &str) -> Step<Vec<Option<Bytes>>> {
        for attempt in 1.. {
            match self.links[at].server.run(sql).await {
                Ok(row) => return Ok(row),
                Err(error) if error.kind != Kind::Reported => return Err(self.lose(at, error)),
                Err(error) if error.reported == Some(SqlState::QUERY_CANCELED) && attempt < ATTEMPTS_MAX => {}
                Err(error) => {
                    return Err(Stop::Fatal(error.hint("What the session listens to is not certain any more.")));
                }
            }
        }
        Err(Error::internal("an endless loop ended").into())
    }

    /// Queues what came for the client; to be called only where PostgreSQL sends notifications, outside of transactions
    /// and messages.
    pub fn give_notifications(&mut self) -> Step {
        let Self { listening, conn, handle, .. } = self;
        let Some(listening) = listening else { return Ok(()) };
        listening.take_all().map_err(ended)?;
        listening.give(conn.queue(), handle.key.process_id).map_err(Stop::Fatal)
    }

    /// Gives the client what came while it had nothing to do, however long it takes to read that.
    pub async fn deliver(&mut self) -> Step {
        self.give_notifications()?;
        let Some(mailbox) = self.listening.as_ref().map(|listening| listening.mailbox()) else { return Ok(()) };
        let handle = std::rc::Rc::clone(&self.handle);
        tokio::select! {
            biased;
            flushed = self.conn.flush() => flushed.map_err(|_| Stop::Gone),
            () = mailbox.ended() => self.give_notifications(),
            () = handle.stop.heard() => Err(Stop::Fatal(super::client::shutting_down())),
        }
    }
}

/// Whether the client gets the database's own bytes.
fn is_raw(session: &ServerSession) -> bool {
    let reported = |name: &[u8]| session.parameters().get(name);
    let (client, server) = (reported(b"client_encoding"), reported(b"server_encoding"));
    client == server || [client, server].contains(&Some(b"SQL_ASCII"))
}

fn unhex(digits: &[u8]) -> Option<Channel> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pair = |pair: &[u8]| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    };
    digits.chunks(2).map(pair).collect::<Option<Vec<u8>>>().map(Channel::from)
}

fn ended(end: End) -> Stop {
    Stop::Fatal(end.into_error())
}

fn foreign_text() -> Error {
    Error::refuse(
        "a notification cannot be converted to the client's encoding",
        "Its channel or payload is not ASCII, and client_encoding is not the database's own.",
    )
    .hint("Set client_encoding to the database's encoding, or use session pooling.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_hexadecimal_digits_are_read() {
        assert_eq!(unhex(b"6e65C3a4"), Some(Channel::from_static(b"ne\xc3\xa4")));
        for wrong in [&b"6"[..], b"6g", b"--"] {
            assert_eq!(unhex(wrong), None);
        }
    }
}
