//! How a step for a client can end early.

use crate::types::Error;

/// Why a unit was not completed.
#[derive(Debug)]
pub enum Stop {
    /// The client reads this error and goes on.
    Failed(Error),
    /// The client has read the server's own error; steps that would follow must not run.
    Told,
    /// The client reads this error and is disconnected.
    Fatal(Error),
    /// The client is gone, or its connection cannot be used any more. Nothing can be said to it.
    Gone,
}

impl From<Error> for Stop {
    #[cold]
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// The result of a step for a client.
pub type Step<T = ()> = Result<T, Stop>;
