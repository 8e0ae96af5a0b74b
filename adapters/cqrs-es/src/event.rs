//! Between `SerializedEvent` and what the log stores.

use std::borrow::Cow;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use cqrs_es::persist::{PersistenceError, SerializedEvent};
use freehold_ports::{EventId, NewEvent, PayloadCodec, RecordedEvent};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::names::aggregate_of;

/// The version of the envelope's shape, which stands as the schema version of every event.
pub const SCHEMA_VERSION: u16 = 1;

/// The payload of an event in the log: the application's own, and what else cqrs-es keeps.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Envelope<'e> {
    /// The version of the event, which is a text in cqrs-es.
    #[serde(borrow)]
    pub event_version: Cow<'e, str>,
    /// What the command was sent with.
    #[serde(borrow)]
    pub metadata: &'e RawValue,
    /// What happened.
    #[serde(borrow)]
    pub payload: &'e RawValue,
}

impl Envelope<'_> {
    /// Its bytes; the application's JSON stands in them as it was given.
    pub fn to_bytes(&self) -> Bytes {
        let bytes = serde_json::to_vec(self);
        bytes.expect("JSON texts have a JSON form, and memory takes it").into()
    }
}

/// The event to append.
pub(crate) fn encode(
    event: &SerializedEvent,
    now: DateTime<Utc>,
) -> Result<NewEvent, PersistenceError> {
    let envelope = Envelope {
        event_version: Cow::Borrowed(&event.event_version),
        metadata: &serde_json::value::to_raw_value(&event.metadata)?,
        payload: &serde_json::value::to_raw_value(&event.payload)?,
    };
    Ok(NewEvent {
        event_id: EventId::new(),
        event_type: event.event_type.as_str().into(),
        schema_version: SCHEMA_VERSION,
        occurred_at: now,
        subjects: Vec::new(),
        tags: Vec::new(),
        codec: PayloadCodec::Json,
        payload: envelope.to_bytes(),
    })
}

/// The event that was appended.
pub(crate) fn decode(event: &RecordedEvent) -> Result<SerializedEvent, PersistenceError> {
    let unreadable = |error: Box<dyn std::error::Error + Send + Sync>| {
        let place = format!("position {} of the log: {error}", event.position);
        PersistenceError::DeserializationError(place.into())
    };
    if event.schema_version != SCHEMA_VERSION {
        let version = event.schema_version;
        return Err(unreadable(format!("has shape {version}, not {SCHEMA_VERSION}").into()));
    }
    let (aggregate_type, aggregate_id) =
        aggregate_of(&event.stream).map_err(|error| unreadable(error.into()))?;
    let envelope: Envelope<'_> =
        serde_json::from_slice(&event.payload).map_err(|error| unreadable(error.into()))?;
    let value = |json: &RawValue| {
        serde_json::from_str(json.get()).map_err(|error| unreadable(error.into()))
    };
    Ok(SerializedEvent {
        aggregate_id,
        sequence: event.version.0 as usize,
        aggregate_type,
        event_type: event.event_type.to_string(),
        event_version: envelope.event_version.into_owned(),
        payload: value(envelope.payload)?,
        metadata: value(envelope.metadata)?,
    })
}
