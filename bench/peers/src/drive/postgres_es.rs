//! `postgres-es`: the same `Property`, decided through its framework.
//!
//! Its readers are queries that the framework calls in the process that appended, after the commit;
//! there is no subscription for others. Many events at once have no command, so batches go to its
//! repository.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::anyhow;
use async_trait::async_trait;
use cqrs_es::persist::{PersistedEventRepository as _, PersistedEventStore, SerializedEvent};
use cqrs_es::{AggregateContext as _, AggregateError, EventEnvelope, EventStore as _, Query};
use freehold_domain::StoredEvent;
use freehold_domain::property::{Property, PropertyEvent};
use postgres_es::{PostgresCqrs, PostgresEventRepository, postgres_cqrs};
use serde_json::{Value, json};
use tokio::sync::{Mutex, mpsc};
use uuid::Uuid;

use super::{Answer, Asked, At, Peer, Seen};
use crate::history::{self, History};

/// The table of its `db/init.sql`.
const TABLE: &str = "CREATE TABLE events (
    aggregate_type text NOT NULL,
    aggregate_id text NOT NULL,
    sequence bigint CHECK (sequence >= 0) NOT NULL,
    event_type text NOT NULL,
    event_version text NOT NULL,
    payload json NOT NULL,
    metadata json NOT NULL,
    PRIMARY KEY (aggregate_type, aggregate_id, sequence))";

type Dispatched = (Uuid, u64);

pub(super) struct PostgresEs {
    framework: PostgresCqrs<Property>,
    store: PersistedEventStore<PostgresEventRepository, Property>,
    repository: PostgresEventRepository,
    events: Vec<(PropertyEvent, Value)>,
    rents: AtomicU64,
    /// Whether the framework stored what is read, or the repository.
    replayed: bool,
    dispatched: Mutex<mpsc::UnboundedReceiver<Dispatched>>,
}

/// The query that every event is handed to.
struct Handed(mpsc::UnboundedSender<Dispatched>);

#[async_trait]
impl Query<Property> for Handed {
    async fn dispatch(&self, aggregate_id: &str, events: &[EventEnvelope<Property>]) {
        for event in events {
            let Ok(stream) = aggregate_id.parse() else { continue };
            // Nobody listens while only appends are measured.
            let _ = self.0.send((stream, event.sequence as u64));
        }
    }
}

impl PostgresEs {
    pub(super) async fn open(asked: &Asked, _: Arc<History>) -> anyhow::Result<Self> {
        let pool = super::pool(asked, "").await?;
        sqlx::query(TABLE).execute(&pool).await?;
        let (hand, dispatched) = mpsc::unbounded_channel();
        let query: Box<dyn Query<Property>> = Box::new(Handed(hand));
        let events = history::decide()?.into_iter();
        let events = events.map(|event| Ok((event.clone(), serde_json::to_value(&event)?)));
        Ok(Self {
            framework: postgres_cqrs(pool.clone(), vec![query], history::circumstances()),
            store: PersistedEventStore::new_event_store(PostgresEventRepository::new(pool.clone())),
            repository: PostgresEventRepository::new(pool),
            events: events.collect::<anyhow::Result<_>>()?,
            rents: AtomicU64::new(1),
            replayed: asked.workload == super::Workload::Read,
            dispatched: Mutex::new(dispatched),
        })
    }

    async fn version(&self, stream: Uuid) -> anyhow::Result<At> {
        let events = self.repository.get_last_events::<Property>(&stream.to_string(), 0).await?;
        Ok(At { version: events.len() as u64, position: 0 })
    }
}

#[async_trait]
impl Peer for PostgresEs {
    async fn append(&self, stream: Uuid, at: At, _: u64) -> anyhow::Result<Answer> {
        let rent = self.rents.fetch_add(1, Ordering::Relaxed);
        let command = history::command(stream, at.version + 1, rent);
        match self.framework.execute(&stream.to_string(), command).await {
            Ok(()) => Ok(Answer::Stored(At { version: at.version + 1, position: 0 })),
            Err(AggregateError::AggregateConflict) => Ok(Answer::Conflict(at)),
            // Only of the hot stream: somebody else registered it, or drafted its listing.
            Err(AggregateError::UserError(_)) if at.version < 2 => {
                Ok(Answer::Conflict(self.version(stream).await?))
            }
            Err(other) => Err(other.into()),
        }
    }

    async fn append_batch(&self, stream: Uuid, count: u64) -> anyhow::Result<()> {
        let events: Vec<_> = (1_usize..).zip(self.events.iter().take(count as usize)).collect();
        let events: Vec<_> = events
            .into_iter()
            .map(|(sequence, (event, payload))| {
                SerializedEvent::new(
                    stream.to_string(),
                    sequence,
                    "property".to_owned(),
                    StoredEvent::event_type(event).to_owned(),
                    "1".to_owned(),
                    payload.clone(),
                    json!({}),
                )
            })
            .collect();
        Ok(self.repository.persist::<Property>(&events, None).await?)
    }

    async fn load(&self, stream: Uuid) -> anyhow::Result<u64> {
        let mut context = self.store.load_aggregate(&stream.to_string()).await?;
        // The fold is done; what it led to is looked at so that it is not left out.
        if context.aggregate().facts().is_none() {
            return Err(anyhow!("stream {stream} folds to nothing"));
        }
        Ok(context.current_sequence as u64)
    }

    async fn follow(&self, seen: &Seen) -> anyhow::Result<()> {
        if self.replayed {
            let mut events = self.repository.stream_all_events::<Property>().await?;
            while let Some(event) = events.next::<Property>(&[]).await {
                let event = event?;
                seen.event(event.aggregate_id.parse()?, event.sequence as u64);
            }
        }
        let mut dispatched = self.dispatched.lock().await;
        while let Some((stream, version)) = dispatched.recv().await {
            seen.event(stream, version);
        }
        Ok(())
    }
}
