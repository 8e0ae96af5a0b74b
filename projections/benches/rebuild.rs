//! How fast a projection is rebuilt: `cargo bench -p freehold-projections --bench rebuild [-- <events>]`.
//!
//! Events of about 300 bytes come from memory; they are decoded, folded, written to SQLite, or to the
//! empty schema that `DATABASE_URL` names, indexed and swapped in. The row has 20 columns, 3 indexes, text and a place. Three logs: the events of
//! an item close together (a page writes a row once for ten events), far apart (a row is fetched
//! and written for every event), and one event an item.

#![allow(clippy::unwrap_used, reason = "a bench stops at the first surprise")]

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use freehold_domain::{PayloadError, StoredEvent};
use freehold_memory::MemoryKeyVault;
use freehold_ports::{
    AppendError, AppendRequest, Appended, CommandId, EventCodec, EventFilter, EventId, EventPage,
    EventStore, Fingerprint, GlobalPosition, LogName, PayloadCodec, Provenance, ReadError,
    ReadModels, RecordedEvent, StreamId, StreamVersion, SystemClock, Table, Tag, TaggedEvent,
};
use freehold_postgres::{Database, PostgresReadModels};
use freehold_projections::{
    ApplyError, Json, Phase, ProjectedEvent, Projection, Projections, Rows, TypedRow, read_model,
};
use freehold_sqlite::SqliteReadModels;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokio::sync::watch;
use uuid::Uuid;

/// Which item an event of so many is about.
type ItemOf = fn(event: u64, of: u64) -> u64;

const LOGS: [(&str, ItemOf); 3] = [
    ("10 events an item, close together", |event, _| event / 10_000 * 1_000 + event % 1_000),
    ("10 events an item, far apart", |event, of| event % (of / 10)),
    ("1 event an item", |event, _| event),
];

#[derive(Serialize, Deserialize)]
struct Listed {
    item: Uuid,
    title: String,
    description: String,
    price_minor: i64,
    currency: String,
    bedrooms: i64,
    latitude: f64,
    longitude: f64,
    amenities: Vec<String>,
    at: DateTime<Utc>,
}

struct ItemEvent(Listed);

impl StoredEvent for ItemEvent {
    const HOLDS_PERSONAL: bool = false;
    const TYPES: &'static [(&'static str, u16)] = &[("Listed", 1)];

    fn event_type(&self) -> &'static str {
        "Listed"
    }

    fn schema_version(&self) -> u16 {
        1
    }

    fn serialize_payload<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }

    fn deserialize_payload<'de, D: Deserializer<'de>>(
        _: &str,
        _: u16,
        deserializer: D,
    ) -> Result<Self, PayloadError<D::Error>> {
        Listed::deserialize(deserializer).map(Self).map_err(PayloadError::Malformed)
    }
}

read_model! {
    /// An item.
    struct ItemRow in "item" {
        key {
            /// The item.
            item: Uuid,
        }
        /// Text.
        tenant: Arc<str>,
        /// Text.
        title: Option<String>,
        /// Text.
        description: Option<String>,
        /// Number.
        price_minor: Option<i64>,
        /// Number.
        previous_price_minor: Option<i64>,
        /// Text.
        currency: Option<String>,
        /// Number.
        bedrooms: Option<i64>,
        /// Degrees.
        latitude: Option<f64>,
        /// Degrees.
        longitude: Option<f64>,
        /// List.
        amenities: Json<Vec<String>>,
        /// Moment.
        listed_at: Option<DateTime<Utc>>,
        /// Moment.
        changed_at: DateTime<Utc>,
        /// Number.
        changes: i64,
        /// Number.
        position: i64,
        /// Number.
        version: i64,
        /// Text.
        status: Arc<str>,
        /// Flag.
        open: bool,
        /// Moment.
        closed_at: Option<DateTime<Utc>>,
        /// Text.
        agent: Option<String>,
    }
    indexes [["status", "price_minor"], ["status", "listed_at"], ["position"]]
    text ["title", "description"]
    spatial ("latitude", "longitude")
}

struct Items;

impl Projection for Items {
    type Event = ItemEvent;
    const NAME: &'static str = "items";
    const VERSION: u32 = 1;

    fn log(&self) -> LogName {
        LogName::DOMAIN
    }

    fn filter(&self) -> EventFilter {
        EventFilter { categories: vec!["item".into()], event_types: Vec::new() }
    }

    fn tables(&self) -> &'static [&'static Table] {
        &[ItemRow::TABLE]
    }

    fn apply(
        &self,
        event: ProjectedEvent<'_, ItemEvent>,
        rows: &mut Rows,
    ) -> Result<(), ApplyError> {
        let (recorded, ItemEvent(listed)) = (event.recorded, event.event);
        let known = rows.get::<ItemRow>(&(listed.item,))?;
        let before = known.map(|row| (row.price_minor, row.listed_at, row.changes));
        rows.put(ItemRow {
            item: listed.item,
            tenant: recorded.provenance.tenant.clone(),
            title: Some(listed.title.clone()),
            description: Some(listed.description.clone()),
            price_minor: Some(listed.price_minor),
            previous_price_minor: before.and_then(|(price, ..)| price),
            currency: Some(listed.currency.clone()),
            bedrooms: Some(listed.bedrooms),
            latitude: Some(listed.latitude),
            longitude: Some(listed.longitude),
            amenities: Json(listed.amenities.clone()),
            listed_at: before.map_or(Some(listed.at), |(_, at, _)| at),
            changed_at: recorded.occurred_at,
            changes: before.map_or(0, |(.., changes)| changes) + 1,
            position: recorded.position.0 as i64,
            version: recorded.version.0 as i64,
            status: "active".into(),
            open: true,
            closed_at: None,
            agent: None,
        });
        Ok(())
    }
}

/// A log of made-up events, kept in memory.
struct MadeUp {
    events: Vec<RecordedEvent>,
    head: watch::Sender<GlobalPosition>,
}

impl MadeUp {
    fn new(count: u64, item_of: ItemOf) -> Self {
        let provenance = Provenance {
            tenant: "demo".into(),
            actor: "bench".into(),
            correlation_id: None,
            causation_id: None,
        };
        let event = |number: u64| {
            let item = item_of(number, count);
            let item = Uuid::from_u64_pair(item.wrapping_mul(0x9E37_79B9_7F4A_7C15), item);
            let listed = Listed {
                item,
                title: format!("Bright flat number {number}"),
                description: "Two rooms near the park, quiet, with a balcony and a kitchen".into(),
                price_minor: 50_000 + (number % 997) as i64 * 100,
                currency: "EUR".into(),
                bedrooms: (number % 5) as i64,
                latitude: 48.0 + (number % 1_009) as f64 / 100.0,
                longitude: 5.0 + (number % 1_013) as f64 / 100.0,
                amenities: vec!["balcony".into(), "kitchen".into()],
                at: DateTime::from_timestamp(1_700_000_000 + number as i64, 0).unwrap(),
            };
            RecordedEvent {
                position: GlobalPosition(number + 1),
                stream: StreamId::new("item", item).unwrap(),
                version: StreamVersion(number + 1),
                event_id: EventId(Uuid::from_u128(u128::from(number))),
                event_type: "Listed".into(),
                schema_version: 1,
                command_id: CommandId(Uuid::from_u128(u128::from(number))),
                provenance: provenance.clone(),
                occurred_at: listed.at,
                recorded_at: listed.at,
                subjects: Vec::new(),
                tags: Vec::new(),
                codec: PayloadCodec::Json,
                payload: Bytes::from(serde_json::to_vec(&listed).unwrap()),
            }
        };
        Self {
            events: (0..count).map(event).collect(),
            head: watch::Sender::new(GlobalPosition(count)),
        }
    }
}

#[async_trait]
impl EventStore for MadeUp {
    async fn append(&self, _: AppendRequest) -> Result<Appended, AppendError> {
        Err(AppendError::Unavailable { source: "a bench does not append".into() })
    }

    async fn find_command(
        &self,
        _: &LogName,
        _: CommandId,
    ) -> Result<Option<(Appended, Fingerprint)>, ReadError> {
        Ok(None)
    }

    async fn read_all(
        &self,
        _: &LogName,
        _: &EventFilter,
        after: GlobalPosition,
        limit: NonZeroU32,
    ) -> Result<EventPage, ReadError> {
        let from = self.events.len().min(after.0 as usize);
        let to = self.events.len().min(from + limit.get() as usize);
        let events = self.events[from..to].to_vec();
        Ok(EventPage { events, through: GlobalPosition(to as u64) })
    }

    async fn read_stream(
        &self,
        _: &LogName,
        _: &StreamId,
        _: StreamVersion,
        _: NonZeroU32,
    ) -> Result<Vec<RecordedEvent>, ReadError> {
        Ok(Vec::new())
    }

    async fn last_tagged(
        &self,
        _: &LogName,
        _: &str,
        _: &Tag,
    ) -> Result<Option<TaggedEvent>, ReadError> {
        Ok(None)
    }

    async fn head(&self, _: &LogName) -> Result<GlobalPosition, ReadError> {
        Ok(*self.head.borrow())
    }

    fn subscribe_head(&self, _: &LogName) -> watch::Receiver<GlobalPosition> {
        self.head.subscribe()
    }
}

#[tokio::main]
async fn main() {
    let count: u64 = std::env::args().filter_map(|a| a.parse().ok()).next().unwrap_or(1_000_000);
    for (name, item_of) in LOGS {
        println!("{name}");
        rebuild(count, item_of).await;
    }
}

async fn rebuild(count: u64, item_of: ItemOf) {
    let store = Arc::new(MadeUp::new(count, item_of));
    let bytes: usize = store.events.iter().map(|event| event.payload.len()).sum();
    println!("{count} events of {} bytes", bytes / count as usize);
    let folder = tempfile::tempdir().unwrap();
    let models: Arc<dyn ReadModels> = match std::env::var("DATABASE_URL") {
        Ok(url) => {
            let database = Database::at(&url).unwrap();
            Arc::new(PostgresReadModels::open(database).await.unwrap())
        }
        Err(_) => Arc::new(SqliteReadModels::open(folder.path()).unwrap()),
    };
    let codec = EventCodec::new(Arc::new(MemoryKeyVault::default()));
    let projections = Projections::new(store, models, codec, Arc::new(SystemClock)).with(Items);

    let began = Instant::now();
    let rebuild = projections.rebuild("items").unwrap();
    let mut filled = None;
    let finished = async {
        rebuild.finished().await.unwrap();
    };
    tokio::pin!(finished);
    loop {
        tokio::select! {
            () = &mut finished => break,
            () = tokio::time::sleep(std::time::Duration::from_millis(20)) => {
                let building = projections.status("items").unwrap().building;
                if filled.is_none() && building.is_some_and(|b| b.phase != Phase::Filling) {
                    filled = Some(began.elapsed());
                }
            }
        }
    }
    let filled = filled.unwrap_or(began.elapsed());
    let per_second = |time: std::time::Duration| count as f64 / time.as_secs_f64();
    println!("filled in {filled:.1?}: {:.0} events/s", per_second(filled));
    println!(
        "with indexes and swap {:.1?}: {:.0} events/s",
        began.elapsed(),
        per_second(began.elapsed())
    );
    let began = Instant::now();
    let verified = projections.verify("items").await.unwrap();
    println!(
        "verified {} rows in {:.1?}, {} differ",
        verified.rows,
        began.elapsed(),
        verified.differences
    );
}
