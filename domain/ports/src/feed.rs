//! A published log, read in place of the store by who follows its end.

use async_trait::async_trait;

use crate::{EventFilter, EventPage, GlobalPosition, LogName, StoreFailure};

/// Brings what is published of logs; its contract runs in `tests/contract`.
///
/// A feed only ever brings the end: what was published before it was opened, and what it missed, is
/// read from the log. So it need not keep anything, and nothing is lost with it.
#[async_trait]
pub trait Feed: Send + Sync {
    /// Begins with what is published from now on.
    ///
    /// Everything up to the log's head, asked for after this answered, is to be read from the log.
    async fn open(
        &self,
        log: &LogName,
        filter: &EventFilter,
    ) -> Result<Box<dyn FeedPages>, FeedError>;
}

/// A feed that was opened.
#[async_trait]
pub trait FeedPages: Send {
    /// Waits for the events that follow a position, in the order of the log; none are left out
    /// up to the page's `through`, but for those that the filter leaves out.
    ///
    /// Nothing is lost when it is dropped before it answers. After an error the feed is to be
    /// opened anew, unless it was a [`Gap`](FeedError::Gap).
    async fn next(&mut self, after: GlobalPosition) -> Result<EventPage, FeedError>;
}

/// Why a feed brings nothing.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// Not all events up to here arrived: they are in the log. Once they were read there, the feed
    /// goes on behind them.
    #[error("not all events up to position {} arrived", .0.0)]
    Gap(GlobalPosition),
    /// What brings it cannot be reached, or it ended; the log has everything meanwhile.
    #[error("the published log cannot be read")]
    Unavailable {
        /// What the driver said.
        source: StoreFailure,
    },
}
