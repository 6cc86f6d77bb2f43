//! What becomes of notifications that a server sends.

use std::sync::Arc;

use bytes::Bytes;

use super::Asker;
use super::pass::Pass;
use crate::session::notifiers::{Arrival, Moment, Notifiers};
use crate::types::Result;
use crate::wire::backend::Notification;

/// Bytes of notifications that may be kept. A server sends them only between transactions, so it is few that are not read
/// at once.
pub const KEPT_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Whom the notifications of a server are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rule {
    /// Nobody: another connection listens for all clients.
    #[default]
    Drop,
    /// Weir: they are kept until it takes them.
    Keep,
    /// The client, who has the server for as long as its session lasts. What the server itself sent has this process id,
    /// and the client is told that one in its place, which it takes for its own.
    Show { own: i32, told: i32 },
}

/// A server's notifications.
#[derive(Debug, Default)]
pub struct Notifications {
    rule: Rule,
    kept: Kept,
    /// Who sent those that are shown; `None` while none are.
    senders: Option<Senders>,
}

/// What is known of those who send what a server hears.
#[derive(Debug)]
struct Senders {
    notifiers: Arc<Notifiers>,
    /// When the server was asked what it has not answered yet.
    asked: Moment,
    /// What comes now was committed after this moment.
    heard: Moment,
}

/// Notifications that were kept, as messages with their headers.
#[derive(Debug, Default)]
pub struct Kept {
    pub messages: Vec<Bytes>,
    bytes: usize,
    /// All of them were committed after this moment.
    pub after: Moment,
    /// There were too many: none is there any more.
    pub overflown: bool,
}

impl Notifications {
    /// Says what becomes of notifications from now on. What was kept is dropped.
    pub fn set(&mut self, rule: Rule) {
        *self = Self { rule, ..Self::default() };
    }

    /// Shows them to the client who has the server from now on; see [`Rule::Show`]. The server hears nothing yet.
    pub fn show(&mut self, own: i32, told: i32, notifiers: &Arc<Notifiers>) {
        self.set(Rule::Show { own, told });
        let (notifiers, now) = (Arc::clone(notifiers), notifiers.now());
        self.senders = Some(Senders { notifiers, asked: now, heard: now });
    }

    /// Keeps those that come, besides what was kept already. The server heard nothing up to the moment of `now`.
    pub fn keep(&mut self, now: Moment) {
        if self.rule != Rule::Keep {
            self.rule = Rule::Keep;
            self.kept.after = now;
        }
    }

    /// A server that owes nothing is going to be asked something.
    pub(super) fn ask(&mut self) {
        if let Some(senders) = &mut self.senders {
            senders.asked = senders.notifiers.now();
        }
    }

    /// It has answered everything, and is outside of transactions: what it had to hear before, it has sent.
    pub(super) fn answered(&mut self) {
        if let Some(senders) = &mut self.senders {
            senders.heard = senders.asked;
        }
    }

    /// Takes what was kept.
    pub fn take(&mut self) -> Kept {
        std::mem::take(&mut self.kept)
    }

    pub(super) fn pass(&mut self, arrival: Arrival, body: &[u8], len: usize, pass: &mut Pass<'_>) -> Result<()> {
        match self.rule {
            Rule::Drop => pass.show(len, Asker::Weir),
            Rule::Keep => {
                self.kept.add(&pass.input[pass.at..pass.at + len]);
                pass.show(len, Asker::Weir);
            }
            Rule::Show { own, told } => {
                let notification = Notification::read(body)?;
                let sender =
                    |senders: &Senders| senders.notifiers.client_of(notification.process_id, senders.heard, arrival);
                let known = match notification.process_id == own {
                    true => Some(told),
                    false => self.senders.as_ref().and_then(sender),
                };
                match known {
                    Some(process_id) => {
                        pass.show(len, Asker::Weir);
                        pass.insert_with(|out| Notification { process_id, ..notification }.write(out));
                    }
                    None => pass.show(len, Asker::Client),
                }
            }
        }
        Ok(())
    }
}

impl Kept {
    fn add(&mut self, message: &[u8]) {
        self.bytes += message.len();
        if self.overflown || self.bytes > KEPT_BYTES_MAX {
            self.overflown = true;
            self.messages = Vec::new();
        } else {
            self.messages.push(Bytes::copy_from_slice(message));
        }
    }
}
