//! What becomes of notifications that a server sends.

use bytes::Bytes;

use super::Asker;
use super::pass::Pass;
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
}

/// Notifications that were kept, as messages with their headers.
#[derive(Debug, Default)]
pub struct Kept {
    pub messages: Vec<Bytes>,
    bytes: usize,
    /// There were too many: none is there any more.
    pub overflown: bool,
}

impl Notifications {
    /// Says what becomes of notifications from now on. What was kept is dropped.
    pub fn set(&mut self, rule: Rule) {
        *self = Self { rule, kept: Kept::default() };
    }

    /// Keeps those that come, besides what was kept already.
    pub fn keep(&mut self) {
        self.rule = Rule::Keep;
    }

    /// Takes what was kept.
    pub fn take(&mut self) -> Kept {
        std::mem::take(&mut self.kept)
    }

    pub(super) fn pass(&mut self, body: &[u8], len: usize, pass: &mut Pass<'_>) -> Result<()> {
        match self.rule {
            Rule::Drop => pass.show(len, Asker::Weir),
            Rule::Keep => {
                self.kept.add(&pass.input[pass.at..pass.at + len]);
                pass.show(len, Asker::Weir);
            }
            Rule::Show { own, told } => {
                let notification = Notification::read(body)?;
                if notification.process_id == own {
                    pass.show(len, Asker::Weir);
                    pass.insert_with(|out| Notification { process_id: told, ..notification }.write(out));
                } else {
                    pass.show(len, Asker::Client);
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
