//! Events as they are stored.

use std::sync::Arc;

use async_graphql::{Enum, ID, Object};
use chrono::{DateTime, Utc};
use freehold_ports::{GlobalPosition, LogName as PortLogName, RecordedEvent};

use crate::graphql::Fault;
use crate::graphql::fault::internal;
use crate::graphql::scalars::{GlobalId, Json, Long, NodeKind, Position};

/// The logs; each counts its own positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum LogName {
    /// What happened to properties and accounts.
    Domain,
    /// Views, impressions, clicks.
    Interactions,
}

impl LogName {
    /// The log's name in the store.
    pub(crate) fn port(self) -> PortLogName {
        match self {
            Self::Domain => PortLogName::DOMAIN,
            Self::Interactions => PortLogName::INTERACTIONS,
        }
    }
}

/// An event as it is stored.
#[derive(Clone)]
pub struct Event {
    pub(crate) log: LogName,
    pub(crate) recorded: Arc<RecordedEvent>,
}

impl Event {
    pub(crate) fn new(log: LogName, recorded: RecordedEvent) -> Self {
        Self { log, recorded: Arc::new(recorded) }
    }

    /// The log and the position that a node id holds.
    pub(crate) fn parse_key(key: &str) -> Option<(LogName, GlobalPosition)> {
        let (name, position) = key.split_once(':')?;
        let logs = [LogName::Domain, LogName::Interactions];
        let log = logs.into_iter().find(|log| log.port().as_str() == name)?;
        let position: i64 = position.parse().ok()?;
        Some((log, GlobalPosition(u64::try_from(position).ok()?)))
    }
}

/// An event as it is stored: what happened, and its envelope.
#[Object]
impl Event {
    /// Its global id.
    pub(crate) async fn id(&self) -> ID {
        let key = format!("{}:{}", self.log.port(), self.recorded.position);
        GlobalId::new(NodeKind::Event, key).to_id()
    }

    /// In which log.
    async fn log(&self) -> LogName {
        self.log
    }

    /// Its place in the log.
    async fn position(&self) -> Position {
        Position(self.recorded.position)
    }

    /// Whose event it is: `property-<uuid>`.
    async fn stream(&self) -> &str {
        self.recorded.stream.as_str()
    }

    /// Its place in the stream, counted from 1.
    async fn version(&self) -> Long {
        long(self.recorded.version.0)
    }

    /// Its name, past tense.
    #[graphql(name = "type")]
    async fn event_type(&self) -> &str {
        &self.recorded.event_type
    }

    /// The version of its payload's shape.
    async fn schema_version(&self) -> u16 {
        self.recorded.schema_version
    }

    /// Its own UUID.
    async fn event_id(&self) -> String {
        self.recorded.event_id.0.to_string()
    }

    /// The idempotency key of the command that stored it.
    async fn command_id(&self) -> String {
        self.recorded.command_id.to_string()
    }

    /// What larger piece of work it belongs to.
    async fn correlation_id(&self) -> Option<String> {
        self.recorded.provenance.correlation_id.map(|id| id.to_string())
    }

    /// The event or command that led to it.
    async fn causation_id(&self) -> Option<String> {
        self.recorded.provenance.causation_id.map(|id| id.to_string())
    }

    /// Who asked: the name of a token, a feed, a saga.
    async fn actor(&self) -> &str {
        &self.recorded.provenance.actor
    }

    /// When it happened, by the sender's clock.
    async fn occurred_at(&self) -> DateTime<Utc> {
        self.recorded.occurred_at
    }

    /// When it was stored, by ours.
    async fn recorded_at(&self) -> DateTime<Utc> {
        self.recorded.recorded_at
    }

    /// What happened. Personal values are not opened here, for anybody: they show as
    /// `{"$subject": "<uuid>", "sealed": "<ciphertext>"}`, as every copy of the log holds them.
    async fn payload(&self) -> Result<Json, Fault> {
        serde_json::from_slice(&self.recorded.payload).map(Json).map_err(|error| internal(&error))
    }
}

/// Counts as clients see them: no count reaches half of what 64 bits hold.
pub(crate) fn long(count: u64) -> Long {
    Long(i64::try_from(count).unwrap_or(i64::MAX))
}
