//! Freehold's log: `PostgresEventStore`, one for all callers, as the platform uses it.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::Utc;
use freehold_ports::{
    AppendError, AppendRequest, CommandId, EventFilter, EventId, EventStore as _, ExpectedVersion,
    Fingerprint, GlobalPosition, LogName, NewEvent, PayloadCodec, Provenance, StreamId,
    StreamVersion,
};
use freehold_postgres::{Database, LogOptions, PostgresEventStore};
use uuid::Uuid;

use super::{Answer, Asked, At, Peer, Seen};
use crate::history::History;

const PAGE: NonZeroU32 = NonZeroU32::new(1_000).expect("1,000 is not zero");

pub(super) struct Log {
    pub(super) store: Arc<PostgresEventStore>,
    history: Arc<History>,
    provenance: Provenance,
}

impl Log {
    pub(super) async fn open(asked: &Asked, history: Arc<History>) -> anyhow::Result<Self> {
        let database = Database::with_pool_size(&asked.url, super::connections(asked))?;
        let store = PostgresEventStore::open(database, LogOptions::default()).await?;
        let provenance = Provenance {
            tenant: "default".into(),
            actor: "bench".into(),
            correlation_id: Some(Uuid::now_v7()),
            causation_id: None,
        };
        Ok(Self { store: Arc::new(store), history, provenance })
    }
}

#[async_trait]
impl Peer for Log {
    async fn append(&self, stream: Uuid, at: At, count: u64) -> anyhow::Result<Answer> {
        let events = (1..=count).map(|n| {
            let event = self.history.at(at.version + n);
            NewEvent {
                event_id: EventId::new(),
                event_type: event.event_type.clone(),
                schema_version: 1,
                occurred_at: Utc::now(),
                subjects: Vec::new(),
                tags: Vec::new(),
                codec: PayloadCodec::Json,
                payload: event.payload.clone(),
            }
        });
        let request = AppendRequest {
            log: LogName::DOMAIN,
            stream: StreamId::new("property", stream)?,
            expected: match at.version {
                0 => ExpectedVersion::NoStream,
                version => ExpectedVersion::Exactly(StreamVersion(version)),
            },
            command_id: CommandId::new(),
            fingerprint: Fingerprint([7; 16]),
            boundaries: Vec::new(),
            provenance: self.provenance.clone(),
            events: events.collect(),
        };
        let at = |version: StreamVersion| At { version: version.0, position: 0 };
        match self.store.append(request).await {
            Ok(appended) => Ok(Answer::Stored(at(appended.version))),
            Err(AppendError::VersionConflict { actual, .. }) => Ok(Answer::Conflict(at(actual))),
            Err(other) => Err(other.into()),
        }
    }

    async fn load(&self, stream: Uuid) -> anyhow::Result<u64> {
        let (stream, mut after) = (StreamId::new("property", stream)?, StreamVersion(0));
        loop {
            let page = self.store.read_stream(&LogName::DOMAIN, &stream, after, PAGE).await?;
            after = page.last().map_or(after, |event| event.version);
            if page.len() < PAGE.get() as usize {
                return Ok(after.0);
            }
        }
    }

    async fn follow(&self, seen: &Seen) -> anyhow::Result<()> {
        let (mut after, filter) = (GlobalPosition(0), EventFilter::all());
        let mut head = self.store.subscribe_head(&LogName::DOMAIN);
        loop {
            head.mark_unchanged();
            let page = self.store.read_all(&LogName::DOMAIN, &filter, after, PAGE).await?;
            for event in &page.events {
                let id = event.stream.as_str().strip_prefix("property-").unwrap_or_default();
                seen.event(id.parse()?, event.version.0);
            }
            after = page.through;
            if page.events.is_empty() {
                // A hint only, so it looks again after a while.
                let _ = tokio::time::timeout(Duration::from_secs(1), head.changed()).await;
            }
        }
    }
}
