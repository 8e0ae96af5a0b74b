//! What is wrong with an event, in words that hold no value of it.
//!
//! Errors are kept, logged and listed, and an erasure reaches none of those places: a text that
//! quotes a payload could hold somebody's name. So what decoders and panics say is cut to what they
//! found and where.

use std::any::Any;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use freehold_domain::PayloadError;
use freehold_ports::{
    CodecError, EventId, Fault, GlobalPosition, ReadModelError, RecordedEvent, StreamId,
    StreamVersion,
};

/// An event that could not be applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoldFailure {
    /// Its position.
    pub position: GlobalPosition,
    /// Its stream.
    pub stream: StreamId,
    /// Its place in the stream.
    pub version: StreamVersion,
    /// Its id.
    pub event_id: EventId,
    /// Its type.
    pub event_type: Arc<str>,
    /// When it was stored.
    pub recorded_at: DateTime<Utc>,
    /// What kind of failure it is.
    pub fault: Fault,
    /// What is wrong and where, for an operator; never a value of the event.
    pub reason: String,
    /// Whether another release may know the event: then all of its type wait for that, and none is
    /// parked, since nobody would order their retries.
    pub awaits_release: bool,
}

impl FoldFailure {
    pub(crate) fn of(recorded: &RecordedEvent, fault: Fault, reason: String) -> Self {
        Self {
            position: recorded.position,
            stream: recorded.stream.clone(),
            version: recorded.version,
            event_id: recorded.event_id,
            event_type: recorded.event_type.clone(),
            recorded_at: recorded.recorded_at,
            fault,
            reason,
            awaits_release: false,
        }
    }
}

/// What decoders find where something else should be.
const KINDS: [&str; 13] = [
    "boolean",
    "integer",
    "floating point",
    "character",
    "string",
    "byte array",
    "null",
    "unit value",
    "Option value",
    "newtype struct",
    "sequence",
    "map",
    "enum",
];

/// What else decoders begin with that quotes no value before its first mark.
const FINDINGS: [&str; 4] =
    ["unknown variant", "unknown field", "duplicate field", "invalid length"];

/// Why an event was not decoded.
pub(crate) fn undecodable(error: &CodecError) -> String {
    match error {
        CodecError::Unreadable { reason: PayloadError::Malformed(error), .. } => {
            format!("malformed payload: {}", malformed(error))
        }
        CodecError::Unreadable { reason, .. } => reason.to_string(),
        CodecError::Tampered { .. } | CodecError::Vault(_) => error.to_string(),
        CodecError::Unwritable(_) | CodecError::UnreadableState(_) => "malformed payload".into(),
    }
}

/// Whether a newer release may know what this one does not: processes of two run side by side while
/// one replaces the other.
pub(crate) fn awaits_release(error: &CodecError) -> bool {
    use PayloadError::{UnknownType, UnknownVersion};
    matches!(error, CodecError::Unreadable { reason: UnknownType | UnknownVersion(_), .. })
}

fn malformed(error: &serde_json::Error) -> String {
    if !error.is_data() {
        // Not JSON at all: these texts are of the parser, and quote nothing.
        return error.to_string();
    }
    let said = error.to_string();
    let found = ["invalid type: ", "invalid value: "].into_iter().find_map(|finding| {
        let kind = said.strip_prefix(finding)?;
        let kind = KINDS.into_iter().find(|known| kind.starts_with(known))?;
        Some(format!("{finding}{kind}"))
    });
    let found = found.or_else(|| missing_field(&said)).or_else(|| {
        let finding = FINDINGS.into_iter().find(|finding| said.starts_with(finding));
        finding.map(str::to_owned)
    });
    let found = found.unwrap_or_else(|| "a value does not fit".to_owned());
    match (error.line(), error.column()) {
        (0, _) => found,
        (line, column) => format!("{found} at line {line} column {column}"),
    }
}

/// A field that is not there has no value; its name is the code's.
fn missing_field(said: &str) -> Option<String> {
    let (name, _) = said.strip_prefix("missing field `")?.split_once('`')?;
    let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    is_name.then(|| format!("missing field {name}"))
}

/// What a panic said, if that was written in the code word by word.
pub(crate) fn panicked(panic: &(dyn Any + Send)) -> String {
    match panic.downcast_ref::<&'static str>() {
        Some(said) => format!("panicked: {said}"),
        None => "panicked; standard error says where".to_owned(),
    }
}

/// Which column a row does not fit.
pub(crate) fn unfit(error: &ReadModelError) -> String {
    match error {
        ReadModelError::Unfit { table, what } => match what.split_once(':') {
            Some((column, _)) => format!("table {table}: the value of {column} does not fit"),
            None => format!("table {table}: {what}"),
        },
        _ => "a row does not fit".to_owned(),
    }
}
