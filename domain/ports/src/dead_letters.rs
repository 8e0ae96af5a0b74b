//! Events that a generation could not handle, parked with the reason.
//!
//! A stream is parked once in a generation. Its letter says which event could not be handled and
//! how far the stream is done; what lies behind waits in the log, in order, and is not copied. So
//! a queue costs one row however long it is, and nothing in it can be lost or outlive an erasure.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::{
    EventId, GenerationId, GlobalPosition, LogName, ReadModelError, StreamId, StreamVersion,
};

/// Keeps dead letters beside the rows they speak of, in whose commits
/// ([`Commit::letters`](crate::Commit::letters)) they are written; its contract runs in
/// `tests/contract`.
#[async_trait]
pub trait DeadLetters: Send + Sync {
    /// Letters of active generations, what readers miss: by projection and stream, after `after`.
    async fn letters(
        &self,
        filter: LetterFilter,
        after: Option<LetterId>,
        limit: NonZeroU32,
    ) -> Result<Vec<DeadLetter>, ReadModelError>;

    /// The same letters, counted by projection, event type, fault and error; most first.
    async fn letter_groups(&self, filter: LetterFilter)
    -> Result<Vec<LetterGroup>, ReadModelError>;

    /// Every letter of a generation; as many as may be parked at most.
    async fn parked(&self, generation: &GenerationId) -> Result<Vec<DeadLetter>, ReadModelError>;

    /// Orders a retry of those letters that still stand as named, and answers how many do; one of a
    /// retired generation, which nobody fills, is none of them.
    ///
    /// The order is durable before it is answered, and moves the revision of their generations: a
    /// commit that was folded before it is refused. Who fills the generation carries it out.
    async fn order_retry(
        &self,
        letters: Vec<LetterId>,
        pace: RetryPace,
        by: Arc<str>,
    ) -> Result<u64, ReadModelError>;

    /// Keeps letters of active generations from being tried while somebody decides about their
    /// events; answers which of them stand as named, with nothing of their own event applied yet,
    /// and are held by nobody else.
    ///
    /// Durable before it is answered. Whoever holds a letter holds it in every generation of the
    /// projection, and the revision of each is moved: no commit passes that was folded before. Other
    /// orders to try it wait for the end of the hold; when that comes by itself, it is tried then,
    /// so that a decision which was stored just before its writer died takes effect.
    async fn hold(
        &self,
        letters: Vec<LetterId>,
        hold: Hold,
    ) -> Result<Vec<LetterId>, ReadModelError>;

    /// Ends a hold and has its letters tried, in every generation that has their streams parked at
    /// the same events; moves the revision of every generation of the projection. Answers how many
    /// stand as named and were still held so.
    async fn release(
        &self,
        letters: Vec<LetterId>,
        hold: Hold,
        pace: RetryPace,
    ) -> Result<u64, ReadModelError>;
}

/// Who keeps letters from being tried, and for how long; ended by whoever names it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Who.
    pub by: Arc<str>,
    /// From when on; what was held until then is free.
    pub at: DateTime<Utc>,
    /// Until when.
    pub until: DateTime<Utc>,
}

/// Names a letter; the same stream parked at another event is another letter.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LetterId {
    /// Where it is parked.
    pub generation: GenerationId,
    /// What is parked.
    pub stream: StreamId,
    /// The event that could not be handled.
    pub position: GlobalPosition,
}

/// A parked stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Which one.
    pub id: LetterId,
    /// The log of its events.
    pub log: LogName,
    /// The event's place in its stream.
    pub version: StreamVersion,
    /// The event's id.
    pub event_id: EventId,
    /// The event's type.
    pub event_type: Arc<str>,
    /// When the event was stored.
    pub recorded_at: DateTime<Utc>,
    /// What is wrong and where; never a value of the event.
    pub error: Arc<str>,
    /// What kind of failure it is.
    pub fault: Fault,
    /// How often it was tried.
    pub attempts: u32,
    /// When the stream was parked.
    pub parked_at: DateTime<Utc>,
    /// When it was tried last.
    pub tried_at: DateTime<Utc>,
    /// Every event of the stream up to here is handled, beyond the letter's own while a retry is
    /// under way.
    pub done_through: StreamVersion,
    /// How many later events wait behind it.
    pub waiting: u64,
    /// From when on it is to be tried again; not before a [hold](DeadLetters::hold) ends.
    pub retry_at: Option<DateTime<Utc>>,
    /// Who ordered the last retry, or holds it.
    pub retry_by: Option<Arc<str>>,
}

/// What kind of failure parked a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// The event does not fit what the handler knows: trying it again gives the same.
    Permanent,
    /// The handler panicked, which may pass: the process may have been what was wrong.
    Panic,
}

impl Fault {
    /// Its name in stores and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Permanent => "permanent",
            Self::Panic => "panic",
        }
    }

    /// The fault of that name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Permanent, Self::Panic].into_iter().find(|fault| fault.as_str() == name)
    }
}

/// What a commit does to letters, beside rows and checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LetterChange {
    /// A stream is parked that was not.
    Park(DeadLetter),
    /// So many further events of a parked stream wait.
    Wait {
        /// Which one.
        stream: StreamId,
        /// How many.
        events: u64,
    },
    /// A letter was tried again.
    Tried {
        /// Which one.
        stream: StreamId,
        /// The event it was parked at.
        position: GlobalPosition,
        /// When.
        at: DateTime<Utc>,
        /// What came of it.
        outcome: Tried,
    },
}

/// What came of trying a letter again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tried {
    /// Everything that waited is handled: the letter is gone.
    Resolved,
    /// A part of what waited is handled; the rest is tried next.
    Onwards {
        /// The last event of the stream that is handled.
        done_through: StreamVersion,
        /// How many events still wait.
        waiting: u64,
    },
    /// The event fails again.
    Failed {
        /// What is wrong now.
        error: Arc<str>,
        /// What kind of failure it is.
        fault: Fault,
        /// From when on it is tried again by itself; none if a person is to order that.
        retry_at: Option<DateTime<Utc>>,
    },
    /// A later event of the stream fails: this letter takes the place of the one before.
    FailedLater(DeadLetter),
}

/// Which letters are meant; what is not said is any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LetterFilter {
    /// Of this projection.
    pub projection: Option<Arc<str>>,
    /// Of this stream.
    pub stream: Option<StreamId>,
    /// Of events of this type.
    pub event_type: Option<Arc<str>>,
    /// With an error that contains this text.
    pub error: Option<Arc<str>>,
}

/// Letters that are alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LetterGroup {
    /// Their projection.
    pub projection: Arc<str>,
    /// The type of their events.
    pub event_type: Arc<str>,
    /// Their kind of failure.
    pub fault: Fault,
    /// What is wrong with them.
    pub error: Arc<str>,
    /// How many there are.
    pub letters: u64,
    /// How many events wait behind them.
    pub waiting: u64,
    /// When the first of them was parked.
    pub oldest: DateTime<Utc>,
}

/// When letters of one order are tried: one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPace {
    /// The first of them.
    pub first_at: DateTime<Utc>,
    /// Each further one so much later.
    pub every: Duration,
}
