//! One line: an event with the answer of its command, or an answer to a command without events.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use freehold_domain::SubjectId;
use freehold_ports::{
    Appended, CommandId, EventId, Fingerprint, GlobalPosition, PayloadCodec, Provenance,
    RecordedAnswer, RecordedEvent, StreamVersion,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use uuid::Uuid;

/// An event; times are microseconds since 1970.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct EventLine<'a> {
    position: u64,
    #[serde(borrow)]
    stream: Cow<'a, str>,
    version: u64,
    event_id: Uuid,
    #[serde(rename = "type", borrow)]
    event_type: Cow<'a, str>,
    schema_version: u16,
    command_id: Uuid,
    #[serde(borrow)]
    tenant: Cow<'a, str>,
    #[serde(borrow)]
    actor: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    correlation_id: Option<Uuid>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    causation_id: Option<Uuid>,
    occurred_at: i64,
    recorded_at: i64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    subjects: Vec<Uuid>,
    #[serde(default, skip_serializing_if = "Vec::is_empty", borrow)]
    tags: Vec<Cow<'a, str>>,
    codec: PayloadCodec,
    #[serde(default, skip_serializing_if = "Option::is_none", borrow)]
    payload: Option<&'a RawValue>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    payload_base64: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    answer: Option<AnswerPart>,
}

/// What the command of an event was answered; stands at its last event.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct AnswerPart {
    events: u32,
    fingerprint: Uuid,
    answered_at: i64,
}

/// The answer to a command without events.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct AnswerLine {
    command_id: Uuid,
    version: u64,
    position: u64,
    fingerprint: Uuid,
    answered_at: i64,
}

/// What is wrong with a line, and with which of its fields.
pub(super) type Wrong = (Option<&'static str>, String);

/// Writes an event without an answer to `line`.
pub(super) fn write_event(event: &RecordedEvent, line: &mut Vec<u8>) {
    let payload = as_json(&event.payload);
    let as_base64 = || Cow::Owned(STANDARD.encode(&event.payload));
    let record = EventLine {
        position: event.position.0,
        stream: event.stream.as_str().into(),
        version: event.version.0,
        event_id: event.event_id.0,
        event_type: (&*event.event_type).into(),
        schema_version: event.schema_version,
        command_id: event.command_id.0,
        tenant: (&*event.provenance.tenant).into(),
        actor: (&*event.provenance.actor).into(),
        correlation_id: event.provenance.correlation_id,
        causation_id: event.provenance.causation_id,
        occurred_at: event.occurred_at.timestamp_micros(),
        recorded_at: event.recorded_at.timestamp_micros(),
        subjects: event.subjects.iter().map(|subject| subject.0).collect(),
        tags: event.tags.iter().map(|tag| tag.as_str().into()).collect(),
        codec: event.codec,
        payload,
        payload_base64: payload.is_none().then(as_base64),
        answer: None,
    };
    write(&record, line);
}

/// Adds the answer that the event's command got to the line of its last event.
pub(super) fn add_answer(line: &mut Vec<u8>, answer: &RecordedAnswer) {
    let part = AnswerPart {
        events: answer.answer.events,
        fingerprint: Uuid::from_bytes(answer.fingerprint.0),
        answered_at: answer.answered_at.timestamp_micros(),
    };
    line.pop();
    line.extend_from_slice(b",\"answer\":");
    write(&part, line);
    line.push(b'}');
}

/// Writes the answer to a command without events to `line`.
pub(super) fn write_answer(answer: &RecordedAnswer, line: &mut Vec<u8>) {
    let record = AnswerLine {
        command_id: answer.command_id.0,
        version: answer.answer.version.0,
        position: answer.answer.position.0,
        fingerprint: Uuid::from_bytes(answer.fingerprint.0),
        answered_at: answer.answered_at.timestamp_micros(),
    };
    write(&record, line);
}

fn write(record: &impl Serialize, line: &mut Vec<u8>) {
    serde_json::to_writer(line, record).expect("a record has a JSON form, and memory takes it");
}

/// The payload as part of a line, if a reader of the line gets the same bytes back.
fn as_json(payload: &[u8]) -> Option<&RawValue> {
    let breaks_lines = payload.iter().any(|byte| matches!(byte, b'\n' | b'\r'));
    // `null` would be read as no payload at all.
    if breaks_lines || payload == b"null" {
        return None;
    }
    let json: &RawValue = serde_json::from_slice(payload).ok()?;
    (json.get().len() == payload.len()).then_some(json)
}

/// Reads lines; texts that repeat are kept once.
#[derive(Default)]
pub(super) struct RecordReader {
    texts: HashSet<Arc<str>>,
}

impl RecordReader {
    /// How many texts are remembered before they are forgotten.
    const TEXTS: usize = 10_000;

    /// Whether the line is one of an event, by its first field.
    pub(super) fn is_event(line: &[u8]) -> bool {
        line.starts_with(b"{\"position\":")
    }

    pub(super) fn event(
        &mut self,
        line: &[u8],
    ) -> Result<(RecordedEvent, Option<RecordedAnswer>), Wrong> {
        let read: EventLine<'_> =
            serde_json::from_slice(line).map_err(|error| diagnose(line, EVENT_FIELDS, &error))?;
        let payload = match (read.payload, &read.payload_base64) {
            (Some(json), None) => Bytes::copy_from_slice(json.get().as_bytes()),
            (None, Some(text)) => match STANDARD.decode(&**text) {
                Ok(bytes) => bytes.into(),
                Err(error) => return Err((Some("payload_base64"), error.to_string())),
            },
            _ => return Err((Some("payload"), "stands there twice or not at all".into())),
        };
        let tags = read.tags.iter().map(|tag| tag.parse());
        let event = RecordedEvent {
            position: GlobalPosition(read.position),
            stream: read.stream.parse().map_err(|error| wrong("stream", error))?,
            version: StreamVersion(read.version),
            event_id: EventId(read.event_id),
            event_type: self.text(&read.event_type),
            schema_version: read.schema_version,
            command_id: CommandId(read.command_id),
            provenance: Provenance {
                tenant: self.text(&read.tenant),
                actor: self.text(&read.actor),
                correlation_id: read.correlation_id,
                causation_id: read.causation_id,
            },
            occurred_at: time("occurred_at", read.occurred_at)?,
            recorded_at: time("recorded_at", read.recorded_at)?,
            subjects: read.subjects.into_iter().map(SubjectId).collect(),
            tags: tags.collect::<Result<_, _>>().map_err(|error| wrong("tags", error))?,
            codec: read.codec,
            payload,
        };
        let answer = match read.answer {
            None => None,
            Some(AnswerPart { events, fingerprint, answered_at }) => Some(RecordedAnswer {
                command_id: event.command_id,
                answer: Appended {
                    version: event.version,
                    position: event.position,
                    events,
                    repeated: false,
                },
                fingerprint: Fingerprint(fingerprint.into_bytes()),
                answered_at: time("answer.answered_at", answered_at)?,
            }),
        };
        Ok((event, answer))
    }

    pub(super) fn answer(&self, line: &[u8]) -> Result<RecordedAnswer, Wrong> {
        let read: AnswerLine =
            serde_json::from_slice(line).map_err(|error| diagnose(line, ANSWER_FIELDS, &error))?;
        Ok(RecordedAnswer {
            command_id: CommandId(read.command_id),
            answer: Appended {
                version: StreamVersion(read.version),
                position: GlobalPosition(read.position),
                events: 0,
                repeated: false,
            },
            fingerprint: Fingerprint(read.fingerprint.into_bytes()),
            answered_at: time("answered_at", read.answered_at)?,
        })
    }

    fn text(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.texts.get(text) {
            return known.clone();
        }
        if self.texts.len() == Self::TEXTS {
            self.texts.clear();
        }
        let text: Arc<str> = text.into();
        self.texts.insert(text.clone());
        text
    }
}

fn wrong(field: &'static str, error: impl ToString) -> Wrong {
    (Some(field), error.to_string())
}

fn time(field: &'static str, micros: i64) -> Result<DateTime<Utc>, Wrong> {
    let time = DateTime::from_timestamp_micros(micros);
    time.ok_or_else(|| wrong(field, format!("{micros} is no time in microseconds since 1970")))
}

/// A field, and what says whether its value is of its type.
type Field = (&'static str, fn(&Value) -> Result<(), serde_json::Error>);

const EVENT_FIELDS: &[Field] = &[
    ("position", is::<u64>),
    ("stream", is::<String>),
    ("version", is::<u64>),
    ("event_id", is::<Uuid>),
    ("type", is::<String>),
    ("schema_version", is::<u16>),
    ("command_id", is::<Uuid>),
    ("tenant", is::<String>),
    ("actor", is::<String>),
    ("correlation_id", is::<Option<Uuid>>),
    ("causation_id", is::<Option<Uuid>>),
    ("occurred_at", is::<i64>),
    ("recorded_at", is::<i64>),
    ("subjects", is::<Option<Vec<Uuid>>>),
    ("tags", is::<Option<Vec<String>>>),
    ("codec", is::<PayloadCodec>),
    ("payload", is::<Value>),
    ("payload_base64", is::<Option<String>>),
    ("answer", is::<Option<AnswerPart>>),
];

const ANSWER_FIELDS: &[Field] = &[
    ("command_id", is::<Uuid>),
    ("version", is::<u64>),
    ("position", is::<u64>),
    ("fingerprint", is::<Uuid>),
    ("answered_at", is::<i64>),
];

fn is<T: DeserializeOwned>(value: &Value) -> Result<(), serde_json::Error> {
    serde_json::from_value::<T>(value.clone()).map(drop)
}

/// Which field of a line that cannot be read is the reason; only then looked for.
fn diagnose(line: &[u8], fields: &[Field], error: &serde_json::Error) -> Wrong {
    let Ok(Value::Object(found)) = serde_json::from_slice(line) else {
        return (None, format!("is no JSON object: {error}"));
    };
    for (name, is_of_type) in fields {
        if let Err(error) = is_of_type(found.get(*name).unwrap_or(&Value::Null)) {
            let missing = !found.contains_key(*name);
            return (Some(name), if missing { "is missing".into() } else { error.to_string() });
        }
    }
    (None, error.to_string())
}
