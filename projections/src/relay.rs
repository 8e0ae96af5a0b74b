//! From a log to readers elsewhere.

use std::sync::Arc;

use async_trait::async_trait;
use freehold_ports::{
    EventFilter, EventPage, EventStore, GlobalPosition, LogName, PublishError, Published,
    Publisher, RecordedEvent,
};
use tracing::error;

use crate::{HandleError, Handler};

/// The most that is published at once.
const MOST_EVENTS: usize = 10_000;
const MOST_BYTES: usize = 8 << 20;
/// What an event needs beside its payload, roughly.
const HEADER_BYTES: usize = 1_024;

/// Publishes every event of a log, in its order.
///
/// How far it got is where the events are: in what it publishes to. Of several relays of one log
/// the one that took over last publishes; the others stand by, and one of them takes over when
/// events wait for too long.
pub struct Relay {
    name: String,
    log: LogName,
    store: Arc<dyn EventStore>,
    publisher: Box<dyn Publisher>,
    published: Option<Published>,
    /// How many events are published at once; fewer after a failure, which may have been one of
    /// size.
    most: usize,
}

impl Relay {
    /// A relay of a log.
    pub fn new(log: LogName, store: Arc<dyn EventStore>, publisher: Box<dyn Publisher>) -> Self {
        let name = format!("relay-{log}");
        Self { name, log, store, publisher, published: None, most: MOST_EVENTS }
    }

    /// Takes off the page what was published last, which tells whether the log is still the one
    /// that was published.
    fn begin(&self, events: Vec<RecordedEvent>) -> Result<Vec<RecordedEvent>, HandleError> {
        let Some(last) = self.published else { return Ok(events) };
        let mut events = events.into_iter();
        match events.next() {
            Some(first) if first.position != last.position => {
                let what = format!("position {} was read, not {}", first.position, last.position);
                Err(HandleError::Unavailable(what.into()))
            }
            Some(first) if first.event_id != last.event_id => Err(self.other_history(&format!(
                "has event {} at position {}, where {} was published",
                first.event_id.0, first.position, last.event_id.0
            ))),
            _ => Ok(events.collect()),
        }
    }

    fn other_history(&self, what: &str) -> HandleError {
        refused(format!(
            "the log {} {what}: it was restored, or failed over without its last events. What was \
             published stays as it is; set another kafka.topic_prefix to publish all of the log to \
             new topics",
            self.log
        ))
    }
}

#[async_trait]
impl Handler for Relay {
    fn name(&self) -> &str {
        &self.name
    }

    fn log(&self) -> LogName {
        self.log.clone()
    }

    fn filter(&self) -> EventFilter {
        EventFilter::all()
    }

    fn reads_again(&self) -> bool {
        true
    }

    async fn checkpoint(&mut self) -> Result<GlobalPosition, HandleError> {
        self.published = self.publisher.take_over().await.map_err(failed)?;
        let position = position_of(self.published);
        let head = self.store.head(&self.log).await.map_err(HandleError::unavailable)?;
        if head < position {
            let what = format!("ends at position {head}, and {position} was published");
            return Err(self.other_history(&what));
        }
        Ok(position)
    }

    async fn checkpoint_elsewhere(&mut self) -> Result<GlobalPosition, HandleError> {
        self.publisher.published().await.map(position_of).map_err(failed)
    }

    async fn handle(&mut self, page: EventPage) -> Result<GlobalPosition, HandleError> {
        let mut events = self.begin(page.events)?;
        while let Some(last) = events.get(fitting(&events, self.most).saturating_sub(1)) {
            let last = Published { position: last.position, event_id: last.event_id };
            let rest = events.split_off(fitting(&events, self.most));
            let published = self.publisher.publish(std::mem::replace(&mut events, rest)).await;
            self.most = match published {
                Ok(()) => (self.most * 2).min(MOST_EVENTS),
                Err(_) => (self.most / 2).max(1),
            };
            published.map_err(failed)?;
            self.published = Some(last);
        }
        Ok(position_of(self.published))
    }

    async fn settle(&mut self) -> Result<GlobalPosition, HandleError> {
        Ok(position_of(self.published))
    }

    async fn end(&mut self) -> Result<GlobalPosition, HandleError> {
        self.settle().await
    }
}

fn position_of(published: Option<Published>) -> GlobalPosition {
    published.map_or(GlobalPosition(0), |last| last.position)
}

/// How many of the first events go together; at least one, if there is one.
fn fitting(events: &[RecordedEvent], most: usize) -> usize {
    let mut bytes = 0;
    let fits = |event: &&RecordedEvent| {
        bytes += event.payload.len() + HEADER_BYTES;
        bytes <= MOST_BYTES
    };
    events.iter().take(most).take_while(fits).count().max(1).min(events.len())
}

fn failed(error: PublishError) -> HandleError {
    match error {
        PublishError::Fenced => HandleError::Elsewhere,
        PublishError::Refused { .. } => refused(error.to_string()),
        PublishError::Unavailable { .. } => HandleError::unavailable(error),
    }
}

/// Somebody must act; it is tried again until then.
fn refused(what: String) -> HandleError {
    error!("{what}");
    HandleError::Unavailable(what.into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use chrono::DateTime;
    use freehold_ports::{CommandId, EventId, PayloadCodec, Provenance, StreamVersion};

    use super::*;

    fn events(payloads: &[usize]) -> Vec<RecordedEvent> {
        let event = |bytes: &usize| RecordedEvent {
            position: GlobalPosition(1),
            stream: "property-1".parse().unwrap(),
            version: StreamVersion(1),
            event_id: EventId::new(),
            event_type: "PropertyRegistered".into(),
            schema_version: 1,
            command_id: CommandId::new(),
            provenance: Provenance {
                tenant: "default".into(),
                actor: "test".into(),
                correlation_id: None,
                causation_id: None,
            },
            occurred_at: DateTime::UNIX_EPOCH,
            recorded_at: DateTime::UNIX_EPOCH,
            subjects: Vec::new(),
            tags: Vec::new(),
            codec: PayloadCodec::Json,
            payload: vec![b' '; *bytes].into(),
        };
        payloads.iter().map(event).collect()
    }

    #[test]
    fn what_goes_together_is_bounded_in_events_and_bytes_and_never_nothing() {
        assert_eq!(fitting(&events(&[]), 10), 0);
        assert_eq!(fitting(&events(&[100; 20]), 10), 10);
        assert_eq!(fitting(&events(&[100; 20]), 100), 20);
        assert_eq!(fitting(&events(&[1 << 20; 20]), 100), 7);
        assert_eq!(fitting(&events(&[9 << 20, 1]), 100), 1);
    }
}
