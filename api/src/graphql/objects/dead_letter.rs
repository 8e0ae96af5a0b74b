//! Streams that wait behind an event that a projection could not handle.

use std::sync::Arc;

use async_graphql::{Context, Enum, ID, InputObject, Object, SimpleObject};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use freehold_ports as ports;
use freehold_ports::{GenerationId, GlobalPosition, LetterDecision, LetterFilter, LetterId, Tried};
use freehold_projections::RecordedDecision;

use super::event::{Event, LogName, long};
use crate::graphql::query::events::event_at;
use crate::graphql::scalars::{Long, Position};
use crate::graphql::{Fault, caller, platform};

/// A stream that waits behind an event that a projection could not handle.
#[derive(Clone)]
pub struct DeadLetter(pub(crate) Arc<ports::DeadLetter>);

impl DeadLetter {
    /// The id of a letter: another one as soon as its stream is parked at another event.
    ///
    /// - Shape: base64url of `DeadLetter:<projection>:<generation>:<position>:<stream>`.
    pub(crate) fn id_of(letter: &LetterId) -> ID {
        let LetterId { generation: GenerationId { projection, number }, stream, position } = letter;
        let text = format!("DeadLetter:{projection}:{number}:{position}:{stream}");
        ID(URL_SAFE_NO_PAD.encode(text))
    }

    /// Reads an id as clients send it.
    pub(crate) fn parse_id(id: &str) -> Option<LetterId> {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(id).ok()?).ok()?;
        let mut parts = text.strip_prefix("DeadLetter:")?.splitn(4, ':');
        let (projection, number) = (parts.next()?, parts.next()?.parse().ok()?);
        let generation = GenerationId { projection: Arc::from(projection), number };
        // Stores count in signed numbers.
        let position = parts.next()?.parse().ok().filter(|at| i64::try_from(*at).is_ok())?;
        let stream = parts.next()?.parse().ok()?;
        Some(LetterId { generation, stream, position: GlobalPosition(position) })
    }
}

/// A stream that waits behind an event that a projection could not handle: nothing of it reaches
/// queries until it is tried again with success.
#[Object]
impl DeadLetter {
    /// Names this letter in mutations. A stream that is parked at another event has another one.
    async fn id(&self) -> ID {
        Self::id_of(&self.0.id)
    }

    /// The projection.
    async fn subscription(&self) -> &str {
        &self.0.id.generation.projection
    }

    /// The stream that waits.
    async fn stream(&self) -> &str {
        self.0.id.stream.as_str()
    }

    /// The place in the log of the event that could not be handled.
    async fn position(&self) -> Position {
        Position(self.0.id.position)
    }

    /// The event's place in its stream.
    async fn version(&self) -> Long {
        long(self.0.version.0)
    }

    /// The event's type.
    #[graphql(name = "type")]
    async fn event_type(&self) -> &str {
        &self.0.event_type
    }

    /// The event's own UUID.
    async fn event_id(&self) -> String {
        self.0.event_id.0.to_string()
    }

    /// When the event was stored.
    async fn recorded_at(&self) -> DateTime<Utc> {
        self.0.recorded_at
    }

    /// What is wrong and where; never a value of the event.
    async fn error(&self) -> &str {
        &self.0.error
    }

    /// What kind of failure it is.
    async fn fault(&self) -> DeadLetterFault {
        self.0.fault.into()
    }

    /// How often it was tried.
    async fn attempts(&self) -> u32 {
        self.0.attempts
    }

    /// When the stream was parked.
    async fn parked_at(&self) -> DateTime<Utc> {
        self.0.parked_at
    }

    /// When it was tried last.
    async fn tried_at(&self) -> DateTime<Utc> {
        self.0.tried_at
    }

    /// How many later events of the stream wait behind it.
    async fn waiting(&self) -> Long {
        long(self.0.waiting)
    }

    /// From when on it is to be tried again; null where a person is to order that.
    async fn retry_at(&self) -> Option<DateTime<Utc>> {
        self.0.retry_at
    }

    /// Who ordered the last try.
    async fn retry_by(&self) -> Option<&str> {
        self.0.retry_by.as_deref()
    }

    /// The event as it is stored; null where it is another tenant's.
    async fn event(&self, ctx: &Context<'_>) -> Result<Option<Event>, Fault> {
        let logs = [LogName::Domain, LogName::Interactions];
        let log = logs.into_iter().find(|log| log.port() == self.0.log);
        let Some(log) = log else { return Ok(None) };
        let tenant = &caller(ctx)?.tenant;
        event_at(&*platform(ctx).store, log, self.0.id.position, tenant).await
    }
}

/// What kind of failure parked a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub(crate) enum DeadLetterFault {
    /// The event does not fit what the projection knows.
    Permanent,
    /// The projection panicked.
    Panic,
}

impl From<ports::Fault> for DeadLetterFault {
    fn from(fault: ports::Fault) -> Self {
        match fault {
            ports::Fault::Permanent => Self::Permanent,
            ports::Fault::Panic => Self::Panic,
        }
    }
}

/// Which dead letters; what is not said is any.
#[derive(Clone, Debug, Default, InputObject)]
pub(crate) struct DeadLetterFilter {
    /// Only of this projection.
    subscription: Option<String>,
    /// Only of this stream, such as `property-<uuid>`.
    stream: Option<String>,
    /// Only of events of this type.
    #[graphql(name = "type")]
    event_type: Option<String>,
    /// Only with an error that contains this.
    error: Option<String>,
}

impl DeadLetterFilter {
    /// As the port has it; the path of the field that is none where it is wrong.
    pub(crate) fn port(self) -> Result<LetterFilter, Fault> {
        let Self { subscription, stream, event_type, error } = self;
        let bad_stream = |_| Fault::input("filter.stream", "send a stream such as property-<uuid>");
        Ok(LetterFilter {
            projection: subscription.map(Arc::from),
            stream: stream.map(|name| name.parse()).transpose().map_err(bad_stream)?,
            event_type: event_type.map(Arc::from),
            error: error.map(Arc::from),
        })
    }
}

/// Dead letters that are alike.
#[derive(Clone, Debug, SimpleObject)]
pub(crate) struct DeadLetterGroup {
    /// Their projection.
    subscription: String,
    /// The type of their events.
    #[graphql(name = "type")]
    event_type: String,
    /// Their kind of failure.
    fault: DeadLetterFault,
    /// What is wrong with them.
    error: String,
    /// How many there are.
    letters: Long,
    /// How many events wait behind them.
    waiting: Long,
    /// When the first of them was parked.
    oldest: DateTime<Utc>,
}

impl From<ports::LetterGroup> for DeadLetterGroup {
    fn from(group: ports::LetterGroup) -> Self {
        Self {
            subscription: group.projection.to_string(),
            event_type: group.event_type.to_string(),
            fault: group.fault.into(),
            error: group.error.to_string(),
            letters: long(group.letters),
            waiting: long(group.waiting),
            oldest: group.oldest,
        }
    }
}

/// What trying a letter would come to.
#[derive(Clone, SimpleObject)]
pub(crate) struct DeadLetterTrial {
    /// The letter.
    letter: DeadLetter,
    /// What would become of it.
    outcome: DeadLetterOutcome,
    /// The event that would fail, if one would.
    position: Option<Position>,
    /// What would be wrong with it.
    error: Option<String>,
}

/// What would become of a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub(crate) enum DeadLetterOutcome {
    /// All that waits would be handled.
    Resolved,
    /// The first thousand events that wait would be handled; those behind were not tried.
    ResolvedSoFar,
    /// The event would fail again.
    Failed,
    /// A later event of the stream would fail.
    FailedLater,
    /// It is another letter by now.
    Gone,
}

impl DeadLetterTrial {
    /// What a try came to; nothing if the letter is another one by now.
    pub(crate) fn of(letter: DeadLetter, tried: Option<Tried>) -> Self {
        let (outcome, position, error) = match tried {
            None => (DeadLetterOutcome::Gone, None, None),
            Some(Tried::Resolved) => (DeadLetterOutcome::Resolved, None, None),
            Some(Tried::Onwards { .. }) => (DeadLetterOutcome::ResolvedSoFar, None, None),
            Some(Tried::Failed { error, .. }) => {
                (DeadLetterOutcome::Failed, Some(letter.0.id.position), Some(error))
            }
            Some(Tried::FailedLater(later)) => {
                (DeadLetterOutcome::FailedLater, Some(later.id.position), Some(later.error))
            }
        };
        let (position, error) = (position.map(Position), error.map(|error| error.to_string()));
        Self { letter, outcome, position, error }
    }
}

/// What somebody decided about events that a projection could not handle.
#[derive(Clone)]
pub(crate) struct DeadLetterDecision(pub(crate) Arc<RecordedDecision>);

/// What somebody decided about events that a projection could not handle. Decisions are events of
/// the log, in the stream `subscription-<projection>`.
#[Object]
impl DeadLetterDecision {
    /// Its place among the decisions about events of the projection.
    async fn number(&self) -> Long {
        long(self.0.version.0)
    }

    /// What was decided.
    async fn action(&self) -> DeadLetterAction {
        match self.0.decision {
            LetterDecision::LetterEdited(_) => DeadLetterAction::Edited,
            LetterDecision::LetterDiscarded(_) => DeadLetterAction::Discarded,
            LetterDecision::LettersRetried(_) => DeadLetterAction::Retried,
        }
    }

    /// Who decided.
    async fn actor(&self) -> &str {
        &self.0.provenance.actor
    }

    /// When.
    async fn recorded_at(&self) -> DateTime<Utc> {
        self.0.recorded_at
    }

    /// Why; null for a retry.
    async fn reason(&self) -> Option<&str> {
        match &self.0.decision {
            LetterDecision::LetterEdited(edited) => Some(&edited.reason),
            LetterDecision::LetterDiscarded(discarded) => Some(&discarded.reason),
            LetterDecision::LettersRetried(_) => None,
        }
    }

    /// The payload of an edit, personal values sealed; null where the event is another tenant's.
    async fn payload(&self, ctx: &Context<'_>) -> Result<Option<&str>, Fault> {
        let LetterDecision::LetterEdited(edited) = &self.0.decision else { return Ok(None) };
        let is_own = caller(ctx)?.tenant == self.0.provenance.tenant;
        Ok(is_own.then_some(&*edited.payload))
    }

    /// The events that it is about.
    async fn events(&self) -> Vec<DeadLetterEvent> {
        let events = self.0.decision.events().iter().map(|event| DeadLetterEvent {
            stream: event.stream.to_string(),
            version: long(event.version.0),
        });
        events.collect()
    }
}

/// What somebody decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub(crate) enum DeadLetterAction {
    /// The event is folded with another payload.
    Edited,
    /// The event is passed over.
    Discarded,
    /// Letters were to be tried again.
    Retried,
}

/// The place of an event that something was decided about.
#[derive(Clone, Debug, SimpleObject)]
pub(crate) struct DeadLetterEvent {
    /// Its stream.
    stream: String,
    /// Its place in the stream.
    version: Long,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_the_way_to_a_client_and_back() {
        let letter = LetterId {
            generation: GenerationId { projection: "listings".into(), number: 3 },
            stream: "property-a:b".parse().unwrap(),
            position: GlobalPosition(41),
        };
        assert_eq!(DeadLetter::parse_id(&DeadLetter::id_of(&letter)), Some(letter));
        for text in ["", "?", "RGVhZExldHRlcjphOjE6MQ"] {
            assert_eq!(DeadLetter::parse_id(text), None, "{text}");
        }
    }
}
