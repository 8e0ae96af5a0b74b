//! A small shop: items that move between shelves, shelves that count. And stores that misbehave.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::Utc;
use freehold_contract::interposed::{Interposed, InterposedModels, InterposedStore};
use freehold_domain::{PayloadError, StoredEvent};
use freehold_memory::MemoryKeyVault;
use freehold_ports::{
    AppendRequest, CommandId, Commit, EventCodec, EventFilter, EventId, EventPage, EventStore,
    ExpectedVersion, Fingerprint, Generation, GenerationId, GenerationState, GlobalPosition, Key,
    LogName, NewEvent, PayloadCodec, Provenance, Query, ReadError, ReadModelError, ReadModels, Row,
    SystemClock, Table,
};
use freehold_projections::{
    ApplyError, Failure, ProjectedEvent, Projection, Projections, Rows, SubscriptionState,
    TypedRow, read_model,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokio::sync::Barrier;

/// What happens in the shop.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "is")]
pub(crate) enum ShopEvent {
    /// An item is put on a shelf, also if it was somewhere else.
    Placed { item: i64, shelf: i64 },
    /// An item is worn a little; its shelf counts that.
    Worn { item: i64 },
    /// An item is thrown away.
    Removed { item: i64 },
}

impl StoredEvent for ShopEvent {
    const HOLDS_PERSONAL: bool = false;
    const TYPES: &'static [(&'static str, u16)] = &[("Placed", 1), ("Worn", 1), ("Removed", 1)];

    fn event_type(&self) -> &'static str {
        match self {
            Self::Placed { .. } => "Placed",
            Self::Worn { .. } => "Worn",
            Self::Removed { .. } => "Removed",
        }
    }

    fn schema_version(&self) -> u16 {
        1
    }

    fn serialize_payload<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.serialize(serializer)
    }

    fn deserialize_payload<'de, D: Deserializer<'de>>(
        event_type: &str,
        _: u16,
        deserializer: D,
    ) -> Result<Self, PayloadError<D::Error>> {
        if !Self::TYPES.iter().any(|(name, _)| *name == event_type) {
            return Err(PayloadError::UnknownType);
        }
        Self::deserialize(deserializer).map_err(PayloadError::Malformed)
    }
}

read_model! {
    /// Where an item is.
    pub(crate) struct ItemRow in "item" {
        key {
            /// The item.
            item: i64,
        }
        /// Its shelf.
        shelf: i64,
        /// How worn it is.
        wear: i64,
    }
    indexes [["shelf"]]
}

read_model! {
    /// What a shelf has seen; each event counts on one shelf, so all counts together are the
    /// number of events.
    pub(crate) struct ShelfRow in "shelf" {
        key {
            /// The shelf; -1 for events of items that are nowhere.
            shelf: i64,
        }
        /// How many items are on it.
        items: i64,
        /// How many events it has counted.
        events: i64,
    }
}

static TABLES: [&Table; 2] = [ItemRow::TABLE, ShelfRow::TABLE];

/// Counts what happens; refuses events of `bad_item` while it is told to.
pub(crate) struct Shelves<const VERSION: u32> {
    pub(crate) refuses: Arc<AtomicBool>,
}

/// The item that is refused.
pub(crate) const BAD_ITEM: i64 = 666;

impl<const V: u32> Default for Shelves<V> {
    fn default() -> Self {
        Self { refuses: Arc::default() }
    }
}

impl<const V: u32> Projection for Shelves<V> {
    type Event = ShopEvent;
    const NAME: &'static str = "shelves";
    const VERSION: u32 = V;

    fn log(&self) -> LogName {
        LogName::DOMAIN
    }

    fn filter(&self) -> EventFilter {
        EventFilter { categories: vec!["item".into()], event_types: Vec::new() }
    }

    fn tables(&self) -> &'static [&'static Table] {
        &TABLES
    }

    fn apply(
        &self,
        event: ProjectedEvent<'_, ShopEvent>,
        rows: &mut Rows,
    ) -> Result<(), ApplyError> {
        let (ShopEvent::Placed { item, .. }
        | ShopEvent::Worn { item }
        | ShopEvent::Removed { item }) = event.event;
        if *item == BAD_ITEM && self.refuses.load(Ordering::Relaxed) {
            return Err(ApplyError::Impossible("bad item".to_owned()));
        }
        let known = rows.get::<ItemRow>(&(*item,))?.cloned();
        let from = known.as_ref().map_or(-1, |item| item.shelf);
        let to = match event.event {
            ShopEvent::Placed { shelf, .. } => *shelf,
            ShopEvent::Worn { .. } => from,
            ShopEvent::Removed { .. } => -1,
        };
        let change = |rows: &mut Rows, shelf: i64, items: i64, events: i64| {
            let row = rows.get::<ShelfRow>(&(shelf,))?.cloned();
            let row = row.unwrap_or(ShelfRow { shelf, items: 0, events: 0 });
            let (items, events) = (row.items + items, row.events + events);
            rows.put(ShelfRow { shelf, items, events });
            Ok::<_, ApplyError>(())
        };
        if from != to && from >= 0 {
            change(rows, from, -1, 0)?;
        }
        change(rows, to, i64::from(from != to && to >= 0), 1)?;
        let wear = known.map_or(0, |item| item.wear);
        match event.event {
            ShopEvent::Placed { .. } => rows.put(ItemRow { item: *item, shelf: to, wear }),
            ShopEvent::Worn { .. } if to >= 0 => {
                rows.put(ItemRow { item: *item, shelf: to, wear: wear + 1 + V as i64 - 1 });
            }
            ShopEvent::Worn { .. } => {}
            ShopEvent::Removed { .. } => rows.delete::<ItemRow>((*item,)),
        }
        Ok(())
    }
}

/// Takes items as they are placed, without a look at what was there, and counts on shelves what
/// is worn.
pub(crate) struct WornOnly;

impl Projection for WornOnly {
    type Event = ShopEvent;
    const NAME: &'static str = "shelves";
    const VERSION: u32 = 1;

    fn log(&self) -> LogName {
        LogName::DOMAIN
    }

    fn filter(&self) -> EventFilter {
        EventFilter { categories: vec!["item".into()], event_types: Vec::new() }
    }

    fn tables(&self) -> &'static [&'static Table] {
        &TABLES
    }

    fn apply(
        &self,
        event: ProjectedEvent<'_, ShopEvent>,
        rows: &mut Rows,
    ) -> Result<(), ApplyError> {
        match *event.event {
            ShopEvent::Placed { item, shelf } => rows.put(ItemRow { item, shelf, wear: 0 }),
            ShopEvent::Worn { item } => {
                let known = rows.get::<ItemRow>(&(item,))?.map(|item| item.shelf);
                let shelf = known.ok_or_else(|| ApplyError::Impossible("nowhere".to_owned()))?;
                let events = rows.get::<ShelfRow>(&(shelf,))?.map_or(0, |shelf| shelf.events);
                rows.put(ShelfRow { shelf, items: 0, events: events + 1 });
            }
            ShopEvent::Removed { item } => rows.delete::<ItemRow>((item,)),
        }
        Ok(())
    }
}

/// What the rows should be, by a plain loop: items with shelf and wear, shelves with their counts.
pub(crate) fn plain(events: &[ShopEvent]) -> (Vec<ItemRow>, Vec<ShelfRow>) {
    let mut items: BTreeMap<i64, (i64, i64)> = BTreeMap::new();
    let mut counts: BTreeMap<i64, i64> = BTreeMap::new();
    let mut ever: BTreeMap<i64, ()> = BTreeMap::new();
    for event in events {
        let counted = match event {
            ShopEvent::Placed { item, shelf } => {
                items.entry(*item).or_insert((*shelf, 0)).0 = *shelf;
                *shelf
            }
            ShopEvent::Worn { item } => items.get_mut(item).map_or(-1, |(shelf, wear)| {
                *wear += 1;
                *shelf
            }),
            ShopEvent::Removed { item } => {
                items.remove(item);
                -1
            }
        };
        *counts.entry(counted).or_default() += 1;
        ever.insert(counted, ());
    }
    let rows = items.iter().map(|(item, (shelf, wear))| ItemRow {
        item: *item,
        shelf: *shelf,
        wear: *wear,
    });
    let shelves = ever.keys().map(|shelf| ShelfRow {
        shelf: *shelf,
        items: if *shelf < 0 {
            0
        } else {
            items.values().filter(|(on, _)| on == shelf).count() as i64
        },
        events: counts[shelf],
    });
    (rows.collect(), shelves.collect())
}

/// What queries show, and of which checkpoint.
pub(crate) async fn shown(
    models: &dyn ReadModels,
) -> (Vec<ItemRow>, Vec<ShelfRow>, GlobalPosition) {
    let items = all::<ItemRow>(models).await;
    let shelves = all::<ShelfRow>(models).await;
    (items.0, shelves.0, shelves.1)
}

/// All rows of a table.
pub(crate) async fn all<R: TypedRow>(models: &dyn ReadModels) -> (Vec<R>, GlobalPosition) {
    let everything = Query {
        table: R::TABLE,
        filters: Vec::new(),
        order: Vec::new(),
        after: None,
        before: None,
        backwards: false,
        limit: NonZeroU32::new(1_000_000).unwrap(),
    };
    let page = freehold_projections::query::<R>(models, "shelves", everything).await.unwrap();
    (page.rows, page.checkpoint)
}

/// A codec whose keys are in memory.
pub(crate) fn codec() -> EventCodec {
    EventCodec::new(Arc::new(MemoryKeyVault::default()))
}

/// The engine with one projection.
pub(crate) fn engine<const V: u32>(
    store: Arc<dyn EventStore>,
    models: Arc<dyn ReadModels>,
    shelves: Shelves<V>,
) -> Projections {
    Projections::new(store, models, codec(), Arc::new(SystemClock)).with(shelves)
}

/// Appends events, each to the stream of its item.
pub(crate) async fn append(store: &dyn EventStore, events: &[ShopEvent]) -> GlobalPosition {
    let mut position = store.head(&LogName::DOMAIN).await.unwrap();
    for chunk in events.chunks(200) {
        let payloads = chunk.iter().map(|e| (e.event_type(), serde_json::to_vec(e).unwrap()));
        position = append_raw(store, "item-1", payloads).await;
    }
    position
}

/// Appends whatever is given.
pub(crate) async fn append_raw(
    store: &dyn EventStore,
    stream: &str,
    events: impl IntoIterator<Item = (&str, Vec<u8>)>,
) -> GlobalPosition {
    let events = events.into_iter().map(|(event_type, payload)| NewEvent {
        event_id: EventId::new(),
        event_type: event_type.into(),
        schema_version: 1,
        occurred_at: Utc::now(),
        subjects: Vec::new(),
        tags: Vec::new(),
        codec: PayloadCodec::Json,
        payload: Bytes::from(payload),
    });
    let request = AppendRequest {
        log: LogName::DOMAIN,
        stream: stream.parse().unwrap(),
        expected: ExpectedVersion::Any,
        command_id: CommandId::new(),
        fingerprint: Fingerprint([0; 16]),
        boundaries: Vec::new(),
        provenance: Provenance {
            tenant: "demo".into(),
            actor: "test".into(),
            correlation_id: None,
            causation_id: None,
        },
        events: events.collect(),
    };
    store.append(request).await.unwrap().position
}

/// Numbers that look random and are the same for one seed.
pub(crate) struct Dice(AtomicU64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    pub(crate) fn below(&self, end: u64) -> u64 {
        let seed = self.0.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
        let mixed = (seed ^ (seed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % end
    }

    pub(crate) fn event(&self) -> ShopEvent {
        let item = self.below(40) as i64;
        match self.below(10) {
            0..4 => ShopEvent::Placed { item, shelf: self.below(6) as i64 },
            4..9 => ShopEvent::Worn { item },
            _ => ShopEvent::Removed { item },
        }
    }

    pub(crate) fn events(&self, count: usize) -> Vec<ShopEvent> {
        (0..count).map(|_| self.event()).collect()
    }
}

/// Waits until queries show a position; retries failures at once instead of backing off.
pub(crate) async fn reach(projections: &Projections, position: GlobalPosition) {
    let mut waited = 0;
    while projections
        .wait_for("shelves", position, Duration::from_millis(20))
        .await
        .unwrap()
        .is_err()
    {
        projections.resume("shelves").unwrap();
        waited += 1;
        assert!(waited < 1_000, "{:?}", projections.statuses());
    }
}

/// Waits until a projection has failed.
pub(crate) async fn failure(projections: &Projections) -> Failure {
    let mut live = projections.live("shelves").unwrap();
    let failed = live.wait_for(|status| matches!(status.state, SubscriptionState::Failed(_)));
    let failed = tokio::time::timeout(Duration::from_secs(10), failed).await;
    let SubscriptionState::Failed(failure) =
        failed.expect("a failure in time").unwrap().state.clone()
    else {
        unreachable!()
    };
    failure
}

/// A log whose pages come from a replica that is behind.
pub(crate) struct Behind {
    store: Arc<dyn EventStore>,
    /// How far the replica is.
    pub(crate) at: AtomicU64,
    /// How often it was asked.
    pub(crate) reads: AtomicU64,
}

impl Behind {
    pub(crate) fn new(store: Arc<dyn EventStore>, at: u64) -> Arc<Interposed<Self>> {
        Arc::new(Interposed(Self { store, at: at.into(), reads: AtomicU64::new(0) }))
    }
}

#[async_trait]
impl InterposedStore for Behind {
    fn behind(&self) -> &dyn EventStore {
        &*self.store
    }

    async fn read_all(
        &self,
        log: &LogName,
        filter: &EventFilter,
        after: GlobalPosition,
        limit: NonZeroU32,
    ) -> Result<EventPage, ReadError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let mut page = self.store.read_all(log, filter, after, limit).await?;
        let at = GlobalPosition(self.at.load(Ordering::Relaxed)).max(after);
        page.events.retain(|event| event.position <= at);
        page.through = page.through.min(at);
        Ok(page)
    }
}

/// A log whose pages have any size and which fails now and then.
pub(crate) struct Choppy {
    store: Arc<dyn EventStore>,
    dice: Dice,
    /// One read in so many fails.
    fails_one_in: u64,
}

impl Choppy {
    pub(crate) fn new(
        store: Arc<dyn EventStore>,
        seed: u64,
        fails_one_in: u64,
    ) -> Arc<Interposed<Self>> {
        Arc::new(Interposed(Self { store, dice: Dice::new(seed), fails_one_in }))
    }
}

#[async_trait]
impl InterposedStore for Choppy {
    fn behind(&self) -> &dyn EventStore {
        &*self.store
    }

    async fn read_all(
        &self,
        log: &LogName,
        filter: &EventFilter,
        after: GlobalPosition,
        limit: NonZeroU32,
    ) -> Result<EventPage, ReadError> {
        if self.dice.below(self.fails_one_in) == 0 {
            return Err(ReadError::Unavailable { source: "a hiccup".into() });
        }
        let most = 1 + self.dice.below(1 << self.dice.below(9));
        let limit = limit.min(NonZeroU32::new(most as u32).unwrap());
        self.store.read_all(log, filter, after, limit).await
    }
}

/// Read models that fail now and then, before a commit or after it was stored; and that count.
pub(crate) struct Flaky {
    models: Arc<dyn ReadModels>,
    dice: Dice,
    /// One call in so many fails.
    fails_one_in: u64,
    pub(crate) fetches: AtomicU64,
}

impl Flaky {
    pub(crate) fn new(
        models: Arc<dyn ReadModels>,
        seed: u64,
        fails_one_in: u64,
    ) -> Arc<Interposed<Self>> {
        let (dice, fetches) = (Dice::new(seed), AtomicU64::new(0));
        Arc::new(Interposed(Self { models, dice, fails_one_in, fetches }))
    }

    fn hiccup(&self) -> Result<(), ReadModelError> {
        if self.dice.below(self.fails_one_in) == 0 {
            return Err(ReadModelError::Unavailable { source: "a hiccup".into() });
        }
        Ok(())
    }
}

#[async_trait]
impl InterposedModels for Flaky {
    fn behind(&self) -> &dyn ReadModels {
        &*self.models
    }

    async fn fetch(
        &self,
        generation: GenerationId,
        table: &'static Table,
        keys: Vec<Key>,
    ) -> Result<Vec<Row>, ReadModelError> {
        self.fetches.fetch_add(1, Ordering::Relaxed);
        self.hiccup()?;
        self.models.fetch(generation, table, keys).await
    }

    async fn commit(&self, commit: Commit) -> Result<(), ReadModelError> {
        self.hiccup()?;
        tokio::time::sleep(Duration::from_micros(self.dice.below(300))).await;
        self.models.commit(commit).await?;
        self.hiccup()
    }
}

/// Read models in which another process activates a generation right after somebody looked for the
/// second time since it was filled.
pub(crate) struct Overtaken {
    models: Arc<dyn ReadModels>,
    filled_at: GlobalPosition,
    looks: AtomicU64,
}

impl Overtaken {
    pub(crate) fn new(
        models: Arc<dyn ReadModels>,
        filled_at: GlobalPosition,
    ) -> Arc<Interposed<Self>> {
        Arc::new(Interposed(Self { models, filled_at, looks: AtomicU64::new(0) }))
    }

    pub(crate) fn happened(&self) -> bool {
        self.looks.load(Ordering::Relaxed) >= 2
    }
}

#[async_trait]
impl InterposedModels for Overtaken {
    fn behind(&self) -> &dyn ReadModels {
        &*self.models
    }

    async fn generations(&self, projection: &str) -> Result<Vec<Generation>, ReadModelError> {
        let generations = self.models.generations(projection).await?;
        let filled = generations.iter().find(|generation| {
            generation.state == GenerationState::Building && generation.checkpoint == self.filled_at
        });
        if let Some(filled) = filled
            && self.looks.fetch_add(1, Ordering::Relaxed) == 1
        {
            self.models.activate(filled.id.clone()).await?;
        }
        Ok(generations)
    }
}

/// Read models that ask before the first generation is activated.
pub(crate) struct Swapping {
    models: Arc<dyn ReadModels>,
    asking: Barrier,
    activations: AtomicU64,
}

impl Swapping {
    pub(crate) fn new(models: Arc<dyn ReadModels>) -> Arc<Interposed<Self>> {
        let (asking, activations) = (Barrier::new(2), AtomicU64::new(0));
        Arc::new(Interposed(Self { models, asking, activations }))
    }

    /// Once to learn that somebody asks, once to answer.
    pub(crate) async fn meet(&self) {
        self.asking.wait().await;
    }

    pub(crate) fn activations(&self) -> u64 {
        self.activations.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl InterposedModels for Swapping {
    fn behind(&self) -> &dyn ReadModels {
        &*self.models
    }

    async fn activate(&self, generation: GenerationId) -> Result<(), ReadModelError> {
        if self.activations.fetch_add(1, Ordering::Relaxed) == 0 {
            self.meet().await;
            self.meet().await;
        }
        self.models.activate(generation).await
    }
}
