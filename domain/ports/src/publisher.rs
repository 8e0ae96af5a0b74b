//! A log that readers elsewhere see.

use async_trait::async_trait;

use crate::{EventId, GlobalPosition, RecordedEvent, StoreFailure};

/// Publishes one log to readers elsewhere; its contract runs in `tests/contract`.
///
/// Several processes may have a publisher of the same log. The one that took over last publishes;
/// every other one is refused.
#[async_trait]
pub trait Publisher: Send {
    /// How far readers see the log, whoever published it; takes nothing over.
    async fn published(&mut self) -> Result<Option<Published>, PublishError>;

    /// Takes the log over: whoever published it before publishes nothing from now on. Answers how
    /// far readers see it.
    ///
    /// Asked before the first event and after every error.
    async fn take_over(&mut self) -> Result<Option<Published>, PublishError>;

    /// Publishes the events that follow those before, in order; readers see all of them or none.
    ///
    /// - Errors: whether they are published is unknown until the next
    ///   [`take_over`](Self::take_over).
    async fn publish(&mut self, events: Vec<RecordedEvent>) -> Result<(), PublishError>;
}

/// The last event that readers see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// Where it is in the log; all before it is published too.
    pub position: GlobalPosition,
    /// Its id: a log that has another event there is not the one that was published.
    pub event_id: EventId,
}

/// Why events were not published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// Somebody else took over: one is enough.
    #[error("another process publishes this log")]
    Fenced,
    /// Trying again may help.
    #[error("what publishes the log cannot be reached or failed")]
    Unavailable {
        /// What the driver said.
        source: StoreFailure,
    },
    /// Trying again does not help until somebody changes something.
    #[error("the log cannot be published: {what}")]
    Refused {
        /// What is wrong, and what to do.
        what: String,
    },
}
