//! What senders may rely on.

mod any_item;
mod interactions;
mod opinions;
mod properties;
mod requests;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use freehold_commands::{CommandExecutor, ExecutorOptions};
use freehold_contract::interposed::{Interposed, InterposedStore};
use freehold_ports::{
    AppendError, AppendRequest, Appended, Clock, EventCodec, EventFilter, EventStore,
    GlobalPosition, LogName, ReadError, RecordedEvent, StreamId, StreamVersion, SystemClock, Tag,
    TaggedEvent,
};
use freehold_test_stores::Place;
use serde_json::{Value, json};

use super::{Answer, Ingest, IngestDefaults, Sender, split};
use crate::platform::{Caller, Platform};

/// A platform whose log can be told to be full.
pub(crate) struct World {
    pub(crate) platform: Platform,
    pub(crate) ingest: Ingest,
    pub(crate) log: Arc<Interposed<Log>>,
    pub(crate) caller: Caller,
    place: Arc<Place>,
}

impl World {
    pub(crate) async fn new() -> Self {
        let place = Arc::new(Place::in_memory());
        let snapshots = place.log(Arc::new(SystemClock)).await;
        let log = Log { inner: snapshots.clone(), trouble: Mutex::default() };
        let log = Arc::new(Interposed(log));
        let vault = place.vault().await;
        let codec = EventCodec::new(vault.clone());
        let clock: Arc<dyn Clock> = Arc::new(Noon);
        let store: Arc<dyn EventStore> = log.clone();
        let executor = CommandExecutor::new(
            store.clone(),
            snapshots,
            codec.clone(),
            clock.clone(),
            ExecutorOptions::default(),
        );
        let models = place.models().await;
        let freshness_limit = Duration::from_secs(1);
        let projections = None;
        let platform =
            Platform { store, codec, vault, executor, models, clock, projections, freshness_limit };
        let ingest = Ingest::new(platform.clone(), IngestDefaults::default());
        Self { platform, ingest, log, caller: caller("feed", "acme"), place }
    }

    /// The same platform, and a sender of another tenant.
    fn of_tenant(&self, tenant: &str) -> Self {
        let ingest = Ingest::new(self.platform.clone(), IngestDefaults::default());
        let (platform, log, place) = (self.platform.clone(), self.log.clone(), self.place.clone());
        Self { platform, ingest, log, caller: caller("feed", tenant), place }
    }

    pub(crate) fn sender(&self) -> Sender<'_> {
        Sender { caller: &self.caller, source: None, request_key: None }
    }

    pub(crate) fn sender_of<'a>(&'a self, source: &'a str) -> Sender<'a> {
        Sender { source: Some(source), ..self.sender() }
    }

    /// Sends a body to the properties.
    async fn property(&self, body: impl ToString) -> Answer {
        let body = body.to_string();
        let body = split(body.as_bytes(), false).expect("the body has items");
        self.ingest.property(&self.sender(), &body.items).await
    }

    /// Sends a body to the users.
    async fn user(&self, body: impl ToString) -> Answer {
        let body = body.to_string();
        let body = split(body.as_bytes(), false).expect("the body has items");
        self.ingest.user(&self.sender(), &body.items).await
    }

    pub(crate) async fn events(&self, log: LogName) -> Vec<RecordedEvent> {
        let limit = std::num::NonZeroU32::new(1_000_000).expect("a million is not zero");
        let all = EventFilter::all();
        let page = self.platform.store.read_all(&log, &all, GlobalPosition(0), limit).await;
        page.expect("memory is readable").events
    }

    async fn event_types(&self) -> Vec<String> {
        let events = self.events(LogName::DOMAIN).await;
        events.iter().map(|event| event.event_type.to_string()).collect()
    }

    /// The payload of the newest event of a type.
    async fn newest(&self, event_type: &str) -> Value {
        let mut events = self.events(LogName::DOMAIN).await;
        events.extend(self.events(LogName::INTERACTIONS).await);
        let newest = events.iter().rfind(|event| *event.event_type == *event_type);
        let newest = newest.unwrap_or_else(|| panic!("no {event_type}"));
        serde_json::from_slice(&newest.payload).expect("payloads are JSON")
    }
}

pub(crate) fn caller(actor: &str, tenant: &str) -> Caller {
    Caller { actor: actor.into(), tenant: tenant.into(), correlation_id: uuid::Uuid::nil() }
}

/// What an answer says, without what differs from run to run.
fn said(answer: &Answer) -> Value {
    let items = answer.items.iter().map(|item| {
        let codes = |notices: &[super::Notice]| -> Vec<Value> {
            let code = |notice: &super::Notice| json!([notice.code, notice.field]);
            notices.iter().map(code).collect()
        };
        let events: Vec<_> = item.events.iter().map(|event| event.event_type).collect();
        json!({
            "status": item.status,
            "change": item.change,
            "events": events,
            "errors": codes(&item.errors),
            "warnings": codes(&item.warnings),
        })
    });
    items.collect()
}

/// A home with everything a listing needs, by its reference.
fn complete(reference: &str) -> Value {
    json!({
        "property_id": reference,
        "event_type": "listing_published",
        "data": {
            "price": {"amount": 1850, "currency": "GBP", "frequency": "monthly"},
            "available_from": "2026-12-01",
            "address": {"street": "1 High Street", "city": "Oxford", "country": "GB"},
            "photos": ["https://example.com/1.jpg", "https://example.com/2.jpg"],
            "bedrooms": 2,
        },
    })
}

/// Noon of a day in November 2026.
struct Noon;

pub(crate) fn noon() -> DateTime<Utc> {
    "2026-11-23T12:00:00Z".parse().expect("noon is a moment")
}

impl Clock for Noon {
    fn now(&self) -> DateTime<Utc> {
        noon()
    }
}

fn in_days(days: i64) -> String {
    (noon() + TimeDelta::days(days)).to_rfc3339()
}

/// A log which can be made to take nothing, or to take it and not say so.
pub(crate) struct Log {
    inner: Arc<dyn EventStore>,
    trouble: Mutex<Trouble>,
}

/// Which appends go wrong: those whose turn is a multiple of the number, from the first on.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Trouble {
    pub(crate) turn: usize,
    pub(crate) overloaded_every: Option<usize>,
    pub(crate) no_answer_every: Option<usize>,
    pub(crate) unavailable: bool,
}

impl Log {
    pub(crate) fn make(&self, trouble: Trouble) {
        *self.trouble.lock().expect("no test panics here") = trouble;
    }
}

#[async_trait]
impl InterposedStore for Log {
    fn behind(&self) -> &dyn EventStore {
        &*self.inner
    }

    async fn append(&self, request: AppendRequest) -> Result<Appended, AppendError> {
        let trouble = {
            let mut trouble = self.trouble.lock().expect("no test panics here");
            trouble.turn += 1;
            *trouble
        };
        let due = |every: Option<usize>| every.is_some_and(|every| trouble.turn % every == 0);
        if trouble.unavailable {
            return Err(AppendError::Unavailable { source: "unplugged".into() });
        }
        if due(trouble.overloaded_every) {
            return Err(AppendError::Overloaded { retry_after: Duration::from_millis(1) });
        }
        let stream = request.stream.clone();
        let appended = self.inner.append(request).await?;
        if due(trouble.no_answer_every) {
            return Err(AppendError::OutcomeUnknown { stream, source: "cut off".into() });
        }
        Ok(appended)
    }

    async fn read_stream(
        &self,
        log: &LogName,
        stream: &StreamId,
        after: StreamVersion,
        limit: std::num::NonZeroU32,
    ) -> Result<Vec<RecordedEvent>, ReadError> {
        // Other tasks get their turn between a read and what is made of it, as on a real store.
        tokio::task::yield_now().await;
        self.inner.read_stream(log, stream, after, limit).await
    }

    async fn last_tagged(
        &self,
        log: &LogName,
        tenant: &str,
        tag: &Tag,
    ) -> Result<Option<TaggedEvent>, ReadError> {
        tokio::task::yield_now().await;
        self.inner.last_tagged(log, tenant, tag).await
    }
}
