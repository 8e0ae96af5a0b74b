//! What a sender is told: per item what happened, what was wrong, what was bent.

use std::time::Duration;

use chrono::{DateTime, Utc};
use freehold_ports::{EventId, GlobalPosition, LogName, StreamVersion};
use serde::{Serialize, Serializer};
use uuid::Uuid;

use super::json::Json;

/// The answer to a request.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// One answer an item, in the order they were sent.
    pub items: Vec<ItemAnswer>,
    /// The highest position that an item reached in the `domain` log; the log's head when none
    /// did. A query with this `minPosition` sees every item.
    pub position: Option<GlobalPosition>,
    /// The same of the `interactions` log, where an item went there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interactions_position: Option<GlobalPosition>,
    /// How far queries are behind the log; absent while their read model is being built.
    pub projection_lag: Option<ProjectionLag>,
    /// How long to wait before items that say `retry` are sent again.
    #[serde(skip)]
    pub retry_after: Option<Duration>,
}

/// How far a read model is behind the log.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProjectionLag {
    /// Which projection.
    pub projection: &'static str,
    /// The last position that queries show.
    pub position: GlobalPosition,
    /// The last position of the log.
    pub head_position: GlobalPosition,
    /// The age of the oldest event that queries do not show yet; 0 when they show all.
    pub seconds: f64,
}

/// What came of one item.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ItemAnswer {
    /// Its place in the request, counted from 0.
    pub index: usize,
    /// Whether it counts.
    pub status: Status,
    /// What it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub change: Option<Change>,
    /// Our id of the property, or of the user whose preference it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<Uuid>,
    /// Whose reference it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The sender's reference of the property.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// The listing period it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listing: Option<Uuid>,
    /// What was stored, oldest first.
    pub events: Vec<StoredAs>,
    /// The position of the last of them; of an item that changed nothing, the log's head.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<GlobalPosition>,
    /// Accepted, though a rule was bent.
    pub warnings: Vec<Notice>,
    /// Why it was refused, or could not be stored now.
    pub errors: Vec<Notice>,
}

/// Whether an item counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It is stored, or there was nothing to store.
    Accepted,
    /// It is wrong: sending it again will not help.
    Refused,
    /// It could not be stored now: send it again.
    Retry,
}

/// What an item did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// The property, or the user, was not known before.
    Created,
    /// Something changed.
    Updated,
    /// Everything was as the item says already.
    Unchanged,
    /// An interaction was recorded.
    Recorded,
    /// It was sent before; this is what came of it then.
    Repeated,
}

/// One stored event.
#[derive(Clone, Debug, Serialize)]
pub struct StoredAs {
    /// Its id; not known of an interaction that was sent again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<EventId>,
    /// Its name.
    #[serde(rename = "type")]
    pub event_type: &'static str,
    /// In which log.
    #[serde(serialize_with = "log_name")]
    pub log: LogName,
    /// Its place in the log.
    pub position: Option<GlobalPosition>,
    /// Its place in its stream.
    pub version: StreamVersion,
}

fn log_name<S: Serializer>(log: &LogName, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(log.as_str())
}

/// One thing that is wrong, or was bent.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Notice {
    /// A stable code for programs.
    pub code: &'static str,
    /// The path of the field: `data.price`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// What it is and what to do about it, for people.
    pub message: String,
    /// What was sent, up to 100 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<serde_json::Value>,
}

impl Notice {
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, field: None, message: message.into(), value: None }
    }

    pub(super) fn at(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    pub(super) fn sent(mut self, value: &Json<'_>) -> Self {
        self.value = Some(value.excerpt(100));
        self
    }
}

/// What was noticed while an item was read.
#[derive(Clone, Debug, Default)]
pub(super) struct Notices {
    pub(super) warnings: Vec<Notice>,
    pub(super) errors: Vec<Notice>,
}

/// Of each kind one item gets at most so many; whoever has more of them has them all alike.
const MAX_NOTICES: usize = 50;

impl Notices {
    pub(super) fn warn(&mut self, notice: Notice) {
        if self.take_warnings() {
            self.warnings.push(notice);
        }
    }

    /// Whether a further warning would be kept; finding out what to say can be dear.
    pub(super) fn take_warnings(&self) -> bool {
        self.warnings.len() < MAX_NOTICES
    }

    pub(super) fn refuse(&mut self, notice: Notice) {
        if self.errors.len() < MAX_NOTICES {
            self.errors.push(notice);
        }
    }
}

impl ItemAnswer {
    pub(crate) fn new(index: usize, status: Status) -> Self {
        Self {
            index,
            status,
            change: None,
            id: None,
            source: None,
            reference: None,
            listing: None,
            events: Vec::new(),
            position: None,
            warnings: Vec::new(),
            errors: Vec::new(),
        }
    }
}

impl Answer {
    /// Whether any item counts.
    pub fn any(&self, status: Status) -> bool {
        self.items.iter().any(|item| item.status == status)
    }
}

/// The seconds from one moment to another; 0 when the clock went back.
pub(super) fn seconds_between(from: DateTime<Utc>, to: DateTime<Utc>) -> f64 {
    (to - from).to_std().map_or(0.0, |passed| passed.as_secs_f64())
}
