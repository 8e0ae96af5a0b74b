//! UmaDB: its server over gRPC, through its Rust client.
//!
//! It has no streams: a stream is a tag, and an append is conditional on no event with that tag
//! after the last that the writer knows. Event ids count on from the stream's id, so that versions
//! can be told.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Context as _;
use async_trait::async_trait;
use umadb_client::{AsyncUmaDbClient, UmaDbClient};
use umadb_dcb::{
    DcbAppendCondition, DcbError, DcbEvent, DcbEventStoreAsync as _, DcbQuery, DcbQueryItem,
    DcbSequencedEvent,
};
use uuid::Uuid;

use super::{Answer, Asked, At, Peer, Seen};
use crate::history::History;

/// Connections that callers share; more or fewer were no faster.
const CLIENTS: usize = 8;
/// Events that the server sends at once to a reader.
const BATCH: u32 = 1_000;

pub(super) struct UmaDb {
    clients: Vec<AsyncUmaDbClient>,
    next: AtomicUsize,
    history: Arc<History>,
}

impl UmaDb {
    pub(super) async fn open(asked: &Asked, history: Arc<History>) -> anyhow::Result<Self> {
        let mut clients = Vec::new();
        for _ in 0..CLIENTS.min(asked.callers) {
            let client = UmaDbClient::new(asked.url.clone()).batch_size(BATCH);
            clients.push(client.connect_async().await?);
        }
        Ok(Self { clients, next: AtomicUsize::new(0), history })
    }

    fn client(&self) -> &AsyncUmaDbClient {
        &self.clients[self.next.fetch_add(1, Ordering::Relaxed) % self.clients.len()]
    }
}

fn of(stream: Uuid) -> DcbQuery {
    DcbQuery::new().item(DcbQueryItem::new().tags([stream.to_string()]))
}

fn event_id(stream: Uuid, version: u64) -> Uuid {
    Uuid::from_u128(stream.as_u128().wrapping_add(version.into()))
}

/// Whose event it is, and at which version.
fn place(found: &DcbSequencedEvent) -> anyhow::Result<(Uuid, u64)> {
    let tag = found.event.tags.first().context("an event has a tag")?;
    let stream: Uuid = tag.parse()?;
    let id = found.event.uuid.context("an event has an id")?;
    Ok((stream, id.as_u128().wrapping_sub(stream.as_u128()) as u64))
}

#[async_trait]
impl Peer for UmaDb {
    async fn append(&self, stream: Uuid, at: At, count: u64) -> anyhow::Result<Answer> {
        let events = (1..=count).map(|n| {
            let version = at.version + n;
            let event = self.history.at(version);
            DcbEvent::default()
                .event_type(&*event.event_type)
                .tags([stream.to_string()])
                .data(event.payload.to_vec())
                .uuid(event_id(stream, version))
        });
        let known = (at.version > 0).then_some(at.position);
        let condition = DcbAppendCondition::new(of(stream)).after(known);
        match self.client().append(events.collect(), Some(condition), None).await {
            Ok(position) => Ok(Answer::Stored(At { version: at.version + count, position })),
            Err(DcbError::IntegrityError(_)) => {
                let last = self.client().read(Some(of(stream)), None, true, Some(1)).await;
                let last = last?.next_batch().await?;
                let last = last.first().context("a conflict has a cause")?;
                let (_, version) = place(last)?;
                Ok(Answer::Conflict(At { version, position: last.position }))
            }
            Err(other) => Err(other.into()),
        }
    }

    async fn load(&self, stream: Uuid) -> anyhow::Result<u64> {
        let mut found = self.client().read(Some(of(stream)), None, false, None).await?;
        let mut version = 0;
        loop {
            let batch = found.next_batch().await?;
            if batch.is_empty() {
                return Ok(version);
            }
            for event in batch {
                let _: serde_json::Value = serde_json::from_slice(&event.event.data)?;
                (_, version) = place(&event)?;
            }
        }
    }

    async fn follow(&self, seen: &Seen) -> anyhow::Result<()> {
        let mut subscription = self.client().subscribe(None, None).await?;
        loop {
            for event in subscription.next_batch().await? {
                let (stream, version) = place(&event)?;
                let _: serde_json::Value = serde_json::from_slice(&event.event.data)?;
                seen.event(stream, version);
            }
        }
    }
}
