//! The log: appends in one commit order, reads by log, stream, category, type and tag.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use freehold_domain::SubjectId;
use tokio::sync::watch;
use uuid::Uuid;

use crate::{
    CommandId, EventId, ExpectedVersion, Fingerprint, GlobalPosition, InvalidName, LogName,
    PayloadCodec, StreamId, StreamVersion, Tag,
};

/// Appends to streams and reads them back; its contract runs in `tests/contract`.
///
/// The rule everything rests on: a reader that has seen position *p* never later finds a new event
/// at or below *p*. Positions are counted from 1 without gaps, in commit order.
#[async_trait]
pub trait EventStore: Send + Sync {
    /// Appends the request's events to the end of its stream, all or none, in the order given.
    ///
    /// An answer means durable. Asking again with the same command id returns the first answer and
    /// stores nothing. A request without events only remembers its command id.
    async fn append(&self, request: AppendRequest) -> Result<Appended, AppendError>;

    /// The answer that a command id got, if it got one within the retention of command ids.
    ///
    /// - Errors: as a read. The fingerprint is not compared; [`append`](Self::append) does that.
    async fn find_command(
        &self,
        log: &LogName,
        command_id: CommandId,
    ) -> Result<Option<(Appended, Fingerprint)>, ReadError>;

    /// Reads at most `limit` matching events after `after`, across streams, oldest first.
    ///
    /// The page also says how far it looked, so that a reader of few types still moves on.
    async fn read_all(
        &self,
        log: &LogName,
        filter: &EventFilter,
        after: GlobalPosition,
        limit: NonZeroU32,
    ) -> Result<EventPage, ReadError>;

    /// Reads at most `limit` events of a stream after version `after`; none if it does not exist.
    async fn read_stream(
        &self,
        log: &LogName,
        stream: &StreamId,
        after: StreamVersion,
        limit: NonZeroU32,
    ) -> Result<Vec<RecordedEvent>, ReadError>;

    /// The newest event with that tag in that tenant.
    async fn last_tagged(
        &self,
        log: &LogName,
        tenant: &str,
        tag: &Tag,
    ) -> Result<Option<TaggedEvent>, ReadError>;

    /// The position of the last event of a log; 0 when it is empty.
    async fn head(&self, log: &LogName) -> Result<GlobalPosition, ReadError>;

    /// A receiver that changes soon after every commit to a log. Only a hint: poll as well.
    fn subscribe_head(&self, log: &LogName) -> watch::Receiver<GlobalPosition>;
}

/// What a writer wants stored.
#[derive(Clone, Debug)]
pub struct AppendRequest {
    /// In which log.
    pub log: LogName,
    /// At the end of which stream.
    pub stream: StreamId,
    /// What the writer believes the stream's version is.
    pub expected: ExpectedVersion,
    /// The idempotency key.
    pub command_id: CommandId,
    /// What the caller asked for, to tell a repetition from a mistake.
    pub fingerprint: Fingerprint,
    /// Conditions across streams, all of which must hold.
    pub boundaries: Vec<Boundary>,
    /// Who asked and why; the same for every event of the request.
    pub provenance: Provenance,
    /// What happened, oldest first.
    pub events: Vec<NewEvent>,
}

/// "No event of this tenant is tagged `tag` after position `after`."
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Boundary {
    /// The tag that must not have appeared.
    pub tag: Tag,
    /// The last position the writer knows about; 0 when it knows of none.
    pub after: GlobalPosition,
}

/// Who asked and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provenance {
    /// Who owns the data.
    pub tenant: Arc<str>,
    /// Who asked: the name of a token, a feed, a saga.
    pub actor: Arc<str>,
    /// What larger piece of work this belongs to.
    pub correlation_id: Option<Uuid>,
    /// The event or command that led to this.
    pub causation_id: Option<Uuid>,
}

/// An event that is not stored yet.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// Its id.
    pub event_id: EventId,
    /// Its name, past tense.
    pub event_type: Arc<str>,
    /// The version of its payload's shape.
    pub schema_version: u16,
    /// When it happened, by the sender's clock.
    pub occurred_at: DateTime<Utc>,
    /// People whose sealed values are inside.
    pub subjects: Vec<SubjectId>,
    /// Marks for conditions and look-ups.
    pub tags: Vec<Tag>,
    /// How to read the payload.
    pub codec: PayloadCodec,
    /// What happened, as bytes that were validated before they got here.
    pub payload: Bytes,
}

/// The answer to an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The stream's version after the last event of the request.
    pub version: StreamVersion,
    /// The position of the last event of the request; the log's head if it had none.
    pub position: GlobalPosition,
    /// How many events the request had.
    pub events: u32,
    /// Whether this is the answer to an earlier request with the same command id.
    pub repeated: bool,
}

impl Appended {
    /// The stream's version before the first event of the request.
    pub fn version_before(&self) -> StreamVersion {
        StreamVersion(self.version.0 - u64::from(self.events))
    }
}

/// An event as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedEvent {
    /// Place in the log.
    pub position: GlobalPosition,
    /// Whose event it is.
    pub stream: StreamId,
    /// Place in the stream.
    pub version: StreamVersion,
    /// Its id.
    pub event_id: EventId,
    /// Its name.
    pub event_type: Arc<str>,
    /// The version of its payload's shape.
    pub schema_version: u16,
    /// The command that stored it.
    pub command_id: CommandId,
    /// Who asked and why.
    pub provenance: Provenance,
    /// When it happened, by the sender's clock, to the microsecond.
    pub occurred_at: DateTime<Utc>,
    /// When it was stored, by ours, to the microsecond.
    pub recorded_at: DateTime<Utc>,
    /// People whose sealed values are inside.
    pub subjects: Vec<SubjectId>,
    /// Marks for conditions and look-ups.
    pub tags: Vec<Tag>,
    /// How to read the payload.
    pub codec: PayloadCodec,
    /// What happened.
    pub payload: Bytes,
}

/// Which events a reader wants; nothing named means all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Only streams of these categories; empty for any.
    pub categories: Vec<Arc<str>>,
    /// Only events of these types; empty for any.
    pub event_types: Vec<Arc<str>>,
}

impl EventFilter {
    /// Every event.
    pub fn all() -> Self {
        Self::default()
    }

    /// Whether an event of that stream and type is wanted.
    pub fn admits(&self, stream: &StreamId, event_type: &str) -> bool {
        let category = stream.category();
        (self.categories.is_empty() || self.categories.iter().any(|wanted| **wanted == *category))
            && (self.event_types.is_empty()
                || self.event_types.iter().any(|wanted| **wanted == *event_type))
    }
}

/// Events in order, and how far the store looked for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventPage {
    /// Matching events, oldest first.
    pub events: Vec<RecordedEvent>,
    /// Every matching event up to here is in this page or an earlier one.
    pub through: GlobalPosition,
}

/// Where a tag was last seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaggedEvent {
    /// The event's stream.
    pub stream: StreamId,
    /// The event's position.
    pub position: GlobalPosition,
}

/// Why events were not appended; each variant asks the caller for a different next step.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Another writer came first: nothing was stored.
    #[error("stream {stream} is at version {actual}, not {expected:?}; reload it and decide again")]
    VersionConflict {
        /// The stream.
        stream: StreamId,
        /// What the writer believed.
        expected: ExpectedVersion,
        /// What is true.
        actual: StreamVersion,
    },
    /// A condition across streams does not hold: nothing was stored.
    #[error("tag {tag} appeared at position {position}; look it up and decide again")]
    BoundaryConflict {
        /// The tag of the first condition that failed.
        tag: Tag,
        /// Where it was last seen.
        position: GlobalPosition,
    },
    /// The command id was used for something else: nothing was stored.
    #[error("command id {command_id} was used for another request; send a new id")]
    CommandIdReused {
        /// The id.
        command_id: CommandId,
    },
    /// The request is not of an acceptable shape: nothing was stored.
    #[error(transparent)]
    Invalid(#[from] InvalidRequest),
    /// The queue is full: nothing was stored.
    #[error("the log's queue is full; send again after {} ms", retry_after.as_millis())]
    Overloaded {
        /// How long to wait.
        retry_after: Duration,
    },
    /// The reply was lost: the events may or may not be stored.
    #[error("no reply after appending to {stream}; send the same command id again")]
    OutcomeUnknown {
        /// The stream.
        stream: StreamId,
        /// What the driver said.
        source: StoreFailure,
    },
    /// The log has another history now than this store knows, which takes no more appends: nothing
    /// was stored.
    #[error(
        "this process takes no more writes to the log {log}, which has another history since; \
         send it to another one, or restart this process"
    )]
    Fenced {
        /// The log.
        log: LogName,
    },
    /// The store could not be reached: nothing was stored.
    #[error("the event store is unavailable; check its address and that it is running")]
    Unavailable {
        /// What the driver said.
        source: StoreFailure,
    },
}

/// Why a request cannot be stored as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRequest {
    /// One payload is larger than a store accepts.
    #[error("an event of type {event_type} has {bytes} bytes; the limit is {limit}")]
    PayloadTooLarge {
        /// The event's type.
        event_type: Arc<str>,
        /// Its size.
        bytes: usize,
        /// The most a store accepts.
        limit: usize,
    },
    /// More events in one request than a store accepts.
    #[error("{events} events in one append; the limit is {limit}, split the request")]
    TooManyEvents {
        /// How many there are.
        events: usize,
        /// The most a store accepts.
        limit: usize,
    },
    /// The log is not one the store keeps.
    #[error("there is no log {0}; see the logs in the configuration")]
    UnknownLog(LogName),
    /// A name is not of its shape.
    #[error(transparent)]
    Name(#[from] InvalidName),
}

impl AppendRequest {
    /// The most bytes one payload may have: 1 MiB.
    pub const MAX_PAYLOAD_BYTES: usize = 1 << 20;
    /// The most events one request may have.
    pub const MAX_EVENTS: usize = 1_000;

    /// Checks what every store checks before it takes a request.
    pub fn validate(&self) -> Result<(), InvalidRequest> {
        if self.events.len() > Self::MAX_EVENTS {
            return Err(InvalidRequest::TooManyEvents {
                events: self.events.len(),
                limit: Self::MAX_EVENTS,
            });
        }
        match self.events.iter().find(|event| event.payload.len() > Self::MAX_PAYLOAD_BYTES) {
            None => Ok(()),
            Some(event) => Err(InvalidRequest::PayloadTooLarge {
                event_type: event.event_type.clone(),
                bytes: event.payload.len(),
                limit: Self::MAX_PAYLOAD_BYTES,
            }),
        }
    }

    /// Decides the request against what a store knows, and says what its answer will be.
    ///
    /// - Shape: the version of its stream, the head of its log, and a look-up of the newest
    ///   position that carries a tag in the request's tenant.
    /// - Errors: outside, that the look-up failed; inside, the refusal.
    pub fn decide<E>(
        &self,
        version: StreamVersion,
        head: GlobalPosition,
        mut last_tagged: impl FnMut(&Tag) -> Result<Option<GlobalPosition>, E>,
    ) -> Result<Result<Appended, AppendError>, E> {
        if !self.expected.admits(version) {
            return Ok(Err(AppendError::VersionConflict {
                stream: self.stream.clone(),
                expected: self.expected,
                actual: version,
            }));
        }
        for Boundary { tag, after } in &self.boundaries {
            match last_tagged(tag)? {
                Some(position) if position > *after => {
                    return Ok(Err(AppendError::BoundaryConflict { tag: tag.clone(), position }));
                }
                _ => {}
            }
        }
        let events = self.events.len() as u64;
        Ok(Ok(Appended {
            version: StreamVersion(version.0 + events),
            position: GlobalPosition(head.0 + events),
            events: events as u32,
            repeated: false,
        }))
    }

    /// Decides a request whose command id already got the answer `first` for `fingerprint`.
    pub fn decide_again(
        &self,
        first: Appended,
        fingerprint: Fingerprint,
    ) -> Result<Appended, AppendError> {
        if fingerprint != self.fingerprint {
            return Err(AppendError::CommandIdReused { command_id: self.command_id });
        }
        Ok(Appended { repeated: true, ..first })
    }

    /// How much memory the request takes in a queue, roughly.
    pub fn queue_bytes(&self) -> usize {
        256 + self.events.iter().map(|event| 192 + event.payload.len()).sum::<usize>()
    }
}

/// Why a read gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Too many callers wait already: nothing was read.
    #[error("too many requests wait; try again after {} ms", retry_after.as_millis())]
    Overloaded {
        /// How long to wait.
        retry_after: Duration,
    },
    /// The store could not be reached or failed.
    #[error("the event store cannot be read; check its address and that it is running")]
    Unavailable {
        /// What the driver said.
        source: StoreFailure,
    },
    /// What is stored is not what was written.
    #[error("position {position} of the log is damaged: {what}; run `freehold doctor`")]
    Damaged {
        /// Where.
        position: GlobalPosition,
        /// What is wrong with it.
        what: String,
    },
    /// The log is not one the store keeps.
    #[error("there is no log {0}; see the logs in the configuration")]
    UnknownLog(LogName),
}

/// What a driver said; shown in logs, never to clients.
pub type StoreFailure = Box<dyn std::error::Error + Send + Sync>;
