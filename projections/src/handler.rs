//! What a subscription feeds.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use freehold_ports::{EventFilter, EventPage, GlobalPosition, LogName, StoreFailure};

use crate::FoldFailure;

/// Handles events in order and remembers how far it got.
///
/// Effects and checkpoint are stored together, or the effects are such that doing them again does
/// nothing. Projections are handlers, and so is whatever else follows a log: processes, relays,
/// exports. Where the pages come from is the caller's business.
#[async_trait]
pub trait Handler: Send {
    /// The name of the subscription, in its status, logs and metrics.
    fn name(&self) -> &str;

    /// The log it follows.
    fn log(&self) -> LogName;

    /// The events it wants to see; one of them that it cannot handle parks its stream or stops it.
    fn filter(&self) -> EventFilter;

    /// The position up to which every effect is stored; the next page begins behind it.
    ///
    /// Asked before the first page and after every failure: whatever was handled and is not stored
    /// is forgotten, its events come again.
    async fn checkpoint(&mut self) -> Result<GlobalPosition, HandleError>;

    /// Whether each page begins with the last event before it once more: for effects that a restored
    /// or failed over log does not take back, so that they are not continued with another history.
    fn reads_again(&self) -> bool {
        false
    }

    /// The position up to which another process has stored the effects that this one would have;
    /// asked again and again while standing by, and changes nothing for the other one.
    async fn checkpoint_elsewhere(&mut self) -> Result<GlobalPosition, HandleError> {
        self.checkpoint().await
    }

    /// Handles the next page, which may have no events and only say how far the log was looked
    /// through. Answers how far effects are stored; that may trail behind the page, so that one
    /// page can be stored while the next is handled.
    ///
    /// - Errors: with [`HandleError::Event`], the effects of all events before that one are stored.
    async fn handle(&mut self, page: EventPage) -> Result<GlobalPosition, HandleError>;

    /// Stores what has been handled, because no further page is at hand; answers as `handle` does.
    /// Also called now and then while nothing happens.
    async fn settle(&mut self) -> Result<GlobalPosition, HandleError>;

    /// Stores also what `settle` may put off: following ends or pauses here.
    async fn end(&mut self) -> Result<GlobalPosition, HandleError>;

    /// How many streams it has parked because it cannot handle an event of theirs.
    fn parked(&self) -> usize {
        0
    }

    /// After what time it wants to be settled again, if that is sooner than now and then.
    fn settle_after(&self) -> Option<Duration> {
        None
    }
}

/// Why a handler did not go on.
#[derive(Debug, thiserror::Error)]
pub enum HandleError {
    /// It cannot handle an event. The subscription stands before it and tries again.
    #[error("event {} at position {}: {}", .0.event_type, .0.position, .0.reason)]
    Event(FoldFailure),
    /// What it needs did not work; trying again may help.
    #[error("{}", chain(&**.0))]
    Unavailable(#[from] StoreFailure),
    /// Another process moved the checkpoint: it does the same work, and one is enough.
    #[error("another process does this work")]
    Elsewhere,
    /// Its checkpoint is now another one, by intent: go on from there at once.
    #[error("the checkpoint is now another one")]
    Moved,
    /// What it fills is not to be filled any more: following ends.
    #[error("another process dropped or replaced what is filled here")]
    Gone,
}

impl HandleError {
    pub(crate) fn unavailable(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Unavailable(Box::new(error))
    }
}

/// An error with everything that led to it, in one line.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// The type of a failing event and where it stands, for a status.
pub(crate) fn failed_event(error: &HandleError) -> Option<(GlobalPosition, Arc<str>)> {
    match error {
        HandleError::Event(failure) => Some((failure.position, failure.event_type.clone())),
        HandleError::Unavailable(_)
        | HandleError::Elsewhere
        | HandleError::Moved
        | HandleError::Gone => None,
    }
}
