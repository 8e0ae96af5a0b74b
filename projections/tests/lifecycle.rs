//! Projections as an operator meets them: started, failing, rebuilt, rolled back, verified.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use freehold_domain::property::{ListingHeld, PropertyEvent};
use freehold_domain::{ListingKey, StoredEvent};
use freehold_memory::{MemoryEventStore, MemoryKeyVault};
use freehold_ports::{
    AppendRequest, CommandId, EventCodec, EventFilter, EventId, EventStore, ExpectedVersion,
    Fingerprint, GenerationState, GlobalPosition, LogName, NewEvent, Provenance, StreamId,
    SystemClock, Table,
};
use freehold_projections::{
    ApplyError, ProjectedEvent, Projection, Projections, Rows, Sources, SubscriptionState,
    TypedRow, find, read_model,
};
use freehold_sqlite::SqliteReadModels;
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(10);

read_model! {
    /// How often a listing was held.
    pub struct HeldRow in "held" {
        key {
            /// The listing.
            listing: Uuid,
        }
        /// How often.
        times: i64,
    }
}

/// Counts; refuses while `poisoned` says so.
#[derive(Clone, Default)]
struct Held {
    poisoned: Arc<AtomicBool>,
}

impl Projection for Held {
    type Event = PropertyEvent;

    const NAME: &'static str = "held";
    const VERSION: u32 = 1;

    fn log(&self) -> LogName {
        LogName::DOMAIN
    }

    fn filter(&self) -> EventFilter {
        EventFilter { categories: vec!["property".into()], event_types: Vec::new() }
    }

    fn tables(&self) -> &'static [&'static Table] {
        &[HeldRow::TABLE]
    }

    fn apply(
        &self,
        event: ProjectedEvent<'_, PropertyEvent>,
        rows: &mut Rows,
    ) -> Result<(), ApplyError> {
        let PropertyEvent::ListingHeld(ListingHeld { listing }) = event.event else {
            return Ok(());
        };
        let times = rows.get::<HeldRow>(&(listing.0,))?.map_or(0, |row| row.times);
        if self.poisoned.load(Ordering::SeqCst) && event.recorded.position.0 == 7 {
            return Err(ApplyError::Impossible("a test says no".to_owned()));
        }
        rows.put(HeldRow { listing: listing.0, times: times + 1 });
        Ok(())
    }
}

struct Fixture {
    sources: Sources,
    projection: Held,
    projections: Projections,
    listing: Uuid,
}

async fn fixture() -> Fixture {
    let codec = EventCodec::new(Arc::new(MemoryKeyVault::new([7; 32])));
    let sources = Sources {
        store: Arc::new(MemoryEventStore::new([LogName::DOMAIN], Arc::new(SystemClock))),
        models: Arc::new(SqliteReadModels::in_memory().unwrap()),
        codec,
        clock: Arc::new(SystemClock),
    };
    let projection = Held::default();
    let projections = Projections::builder(sources.clone()).with(projection.clone()).build();
    Fixture { sources, projection, projections, listing: Uuid::now_v7() }
}

impl Fixture {
    async fn hold(&self, times: usize) -> GlobalPosition {
        let mut position = GlobalPosition(0);
        for _ in 0..times {
            let event = PropertyEvent::from(ListingHeld { listing: ListingKey(self.listing) });
            let event_id = EventId::new();
            let encoded = self.sources.codec.encode(&event, event_id).await.unwrap();
            let request = AppendRequest {
                log: LogName::DOMAIN,
                stream: StreamId::new("property", self.listing).unwrap(),
                expected: ExpectedVersion::Any,
                command_id: CommandId::new(),
                fingerprint: Fingerprint([0; 16]),
                boundaries: Vec::new(),
                provenance: Provenance {
                    tenant: "default".into(),
                    actor: "test".into(),
                    correlation_id: None,
                    causation_id: None,
                },
                events: vec![NewEvent {
                    event_id,
                    event_type: event.event_type().into(),
                    schema_version: event.schema_version(),
                    occurred_at: chrono::Utc::now(),
                    subjects: Vec::new(),
                    tags: Vec::new(),
                    codec: encoded.codec,
                    payload: encoded.payload,
                }],
            };
            position = self.sources.store.append(request).await.unwrap().position;
        }
        position
    }

    async fn current(&self, position: GlobalPosition) {
        self.projections.wait_for("held", position, PATIENCE).await.unwrap().unwrap();
    }

    async fn times(&self) -> i64 {
        let row = find::<HeldRow>(&*self.sources.models, "held", &(self.listing,)).await.unwrap();
        row.map_or(0, |row| row.times)
    }

    async fn states(&self) -> Vec<GenerationState> {
        let generations = self.projections.generations("held").await.unwrap();
        generations.into_iter().map(|one| one.state).collect()
    }
}

#[tokio::test]
async fn a_projection_catches_up_and_then_follows() {
    let fixture = fixture().await;
    let before = fixture.hold(25).await;
    fixture.projections.start().await.unwrap();
    fixture.current(before).await;
    let after = fixture.hold(5).await;
    fixture.current(after).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(fixture.times().await, 30);
    assert_eq!(fixture.projections.status()[0].lag_seconds, Some(0.0));
    fixture.projections.stop().await;
}

#[tokio::test]
async fn an_event_that_cannot_be_handled_stops_it_visibly_and_is_never_skipped() {
    let fixture = fixture().await;
    fixture.projection.poisoned.store(true, Ordering::SeqCst);
    fixture.projections.start().await.unwrap();
    let end = fixture.hold(20).await;
    let failed = async {
        loop {
            let status = fixture.projections.status().remove(0).live.unwrap();
            if let SubscriptionState::Failed { event: Some((position, event_type)), .. } =
                status.state
            {
                break (position.0, event_type.to_string());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let failed = tokio::time::timeout(PATIENCE, failed).await.unwrap();
    assert_eq!(failed, (7, "ListingHeld".to_owned()));

    fixture.projection.poisoned.store(false, Ordering::SeqCst);
    fixture.current(end).await;
    assert_eq!(fixture.times().await, 20);
    fixture.projections.stop().await;
}

#[tokio::test]
async fn a_rebuild_swaps_and_can_be_rolled_back_and_verified() {
    let fixture = fixture().await;
    fixture.projections.start().await.unwrap();
    let position = fixture.hold(40).await;
    fixture.current(position).await;
    fixture.projections.rebuild("held", &|_| {}).await.unwrap();
    assert_eq!(fixture.states().await, [GenerationState::Retired, GenerationState::Active]);
    let position = fixture.hold(2).await;
    fixture.current(position).await;
    assert_eq!(fixture.times().await, 42);

    fixture.projections.roll_back("held").await.unwrap();
    assert_eq!(fixture.states().await, [GenerationState::Active, GenerationState::Retired]);
    assert_eq!(fixture.times().await, 42);
    let position = fixture.hold(1).await;
    fixture.current(position).await;
    assert_eq!(fixture.times().await, 43);

    let verified = fixture.projections.verify("held", &|_| {}).await.unwrap();
    assert_eq!((verified.rows, verified.differences, verified.position), (1, 0, position));
    let position = fixture.hold(1).await;
    fixture.current(position).await;
    assert_eq!(fixture.times().await, 44);
    fixture.projections.stop().await;
}

#[tokio::test]
async fn a_rebuild_that_meets_a_poisoned_event_leaves_the_old_rows() {
    let fixture = fixture().await;
    fixture.projections.start().await.unwrap();
    let position = fixture.hold(20).await;
    fixture.current(position).await;
    fixture.projection.poisoned.store(true, Ordering::SeqCst);
    let error = fixture.projections.rebuild("held", &|_| {}).await.unwrap_err();
    assert!(error.to_string().contains("a test says no"), "{error}");
    assert_eq!(fixture.states().await, [GenerationState::Active]);
    assert_eq!(fixture.times().await, 20);
    fixture.projections.stop().await;
}
