//! The budget of one merge.

use crate::types::{Error, Kind, Origin, Result};

/// Bytes that are used, and how many may be.
#[derive(Debug)]
pub struct Memory {
    used: usize,
    max: usize,
}

impl Memory {
    pub fn new(max: usize) -> Self {
        Self { used: 0, max }
    }

    /// Something took `before` bytes and takes `after` now.
    ///
    /// # Errors
    /// The budget is used up.
    pub fn resize(&mut self, before: usize, after: usize) -> Result<()> {
        self.used = self.used.saturating_sub(before).saturating_add(after);
        if self.used > self.max { Err(self.exceeded()) } else { Ok(()) }
    }

    fn exceeded(&self) -> Error {
        Error::new(Origin::Client, Kind::LimitExceeded, "too many rows to merge in memory")
            .detail(format!("What this statement has to keep needs more than {} bytes.", self.max))
            .hint("Raise merge_memory, restrict the rows, or group by fewer values.")
    }
}
