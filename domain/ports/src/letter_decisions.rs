//! What people decided about events that a projection could not handle, as events of the log.
//!
//! They stand in a stream of the projection, in the log that it reads. The event they speak of is
//! never changed: whoever folds the log for that projection obeys them, so that a rebuilt read model
//! is what the repaired one was. Who decided, and when, is in the envelope.

use freehold_domain::{PayloadError, StoredEvent};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{DeadLetter, InvalidName, StreamId, StreamVersion};

/// What was decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LetterDecision {
    /// An event is folded with another payload.
    LetterEdited(LetterEdited),
    /// An event is passed over.
    LetterDiscarded(LetterDiscarded),
    /// Letters were to be tried again; a fold takes no notice of it.
    LettersRetried(LettersRetried),
}

/// Names an event by its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventPlace {
    /// Its stream.
    #[serde(with = "stream_name")]
    pub stream: StreamId,
    /// Its place in the stream.
    pub version: StreamVersion,
}

impl From<&DeadLetter> for EventPlace {
    fn from(letter: &DeadLetter) -> Self {
        Self { stream: letter.id.stream.clone(), version: letter.version }
    }
}

/// An event is folded with another payload, of the same type and schema version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LetterEdited {
    /// Which event.
    #[serde(flatten)]
    pub event: EventPlace,
    /// The payload, JSON as text; what is personal in it is sealed, as in the event.
    pub payload: String,
    /// Why.
    pub reason: String,
}

/// An event is passed over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LetterDiscarded {
    /// Which event.
    #[serde(flatten)]
    pub event: EventPlace,
    /// Why.
    pub reason: String,
}

/// Letters were to be tried again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LettersRetried {
    /// The events that they are parked at.
    pub letters: Vec<EventPlace>,
    /// How many of them a second at most; nothing for one after the other.
    pub per_second: Option<u32>,
}

impl LetterDecision {
    /// The category of the streams of decisions.
    pub const CATEGORY: &'static str = "subscription";

    /// The stream of what is decided about events of a projection, in the log that it reads.
    pub fn stream_of(projection: &str) -> Result<StreamId, InvalidName> {
        StreamId::new(Self::CATEGORY, projection)
    }

    /// The events that it is about.
    pub fn events(&self) -> &[EventPlace] {
        match self {
            Self::LetterEdited(edited) => std::slice::from_ref(&edited.event),
            Self::LetterDiscarded(discarded) => std::slice::from_ref(&discarded.event),
            Self::LettersRetried(retried) => &retried.letters,
        }
    }
}

impl StoredEvent for LetterDecision {
    // An edited payload keeps what is sealed as a text, which stays sealed.
    const HOLDS_PERSONAL: bool = false;
    const TYPES: &'static [(&'static str, u16)] =
        &[("LetterEdited", 1), ("LetterDiscarded", 1), ("LettersRetried", 1)];

    fn event_type(&self) -> &'static str {
        match self {
            Self::LetterEdited(_) => "LetterEdited",
            Self::LetterDiscarded(_) => "LetterDiscarded",
            Self::LettersRetried(_) => "LettersRetried",
        }
    }

    fn schema_version(&self) -> u16 {
        1
    }

    fn serialize_payload<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::LetterEdited(edited) => edited.serialize(serializer),
            Self::LetterDiscarded(discarded) => discarded.serialize(serializer),
            Self::LettersRetried(retried) => retried.serialize(serializer),
        }
    }

    fn deserialize_payload<'de, D: Deserializer<'de>>(
        event_type: &str,
        schema_version: u16,
        deserializer: D,
    ) -> Result<Self, PayloadError<D::Error>> {
        let decision = match (event_type, schema_version) {
            ("LetterEdited", 1) => LetterEdited::deserialize(deserializer).map(Self::LetterEdited),
            ("LetterDiscarded", 1) => {
                LetterDiscarded::deserialize(deserializer).map(Self::LetterDiscarded)
            }
            ("LettersRetried", 1) => {
                LettersRetried::deserialize(deserializer).map(Self::LettersRetried)
            }
            _ if Self::TYPES.iter().any(|(known, _)| *known == event_type) => {
                return Err(PayloadError::UnknownVersion(schema_version));
            }
            _ => return Err(PayloadError::UnknownType),
        };
        decision.map_err(PayloadError::Malformed)
    }
}

/// A stream by its name.
mod stream_name {
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    use crate::StreamId;

    pub(super) fn serialize<S: Serializer>(id: &StreamId, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(id.as_str())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<StreamId, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// What is stored is a promise: these bytes are read for ever.
    #[test]
    fn decisions_are_stored_in_these_shapes() {
        let event = EventPlace { stream: "property-1".parse().unwrap(), version: StreamVersion(3) };
        let (payload, reason) = ("{\"a\":1}".to_owned(), "why".to_owned());
        let stored = [
            (
                LetterDecision::LetterEdited(LetterEdited {
                    event: event.clone(),
                    payload,
                    reason: reason.clone(),
                }),
                json!({"stream": "property-1", "version": 3, "payload": "{\"a\":1}", "reason": "why"}),
            ),
            (
                LetterDecision::LetterDiscarded(LetterDiscarded { event: event.clone(), reason }),
                json!({"stream": "property-1", "version": 3, "reason": "why"}),
            ),
            (
                LetterDecision::LettersRetried(LettersRetried {
                    letters: vec![event],
                    per_second: Some(50),
                }),
                json!({"letters": [{"stream": "property-1", "version": 3}], "per_second": 50}),
            ),
        ];
        for (decision, json) in stored {
            let written = decision.serialize_payload(serde_json::value::Serializer).unwrap();
            assert_eq!(written, json);
            let name = decision.event_type();
            let read = LetterDecision::deserialize_payload(name, 1, written).unwrap();
            assert_eq!(read, decision);
            let newer = LetterDecision::deserialize_payload(name, 2, json);
            assert!(matches!(newer, Err(PayloadError::UnknownVersion(2))), "{newer:?}");
        }
        let unknown = LetterDecision::deserialize_payload("LetterBurnt", 1, Value::Null);
        assert!(matches!(unknown, Err(PayloadError::UnknownType)), "{unknown:?}");
    }
}
