//! What each event does to the rows, and the laws that hold for every history.

mod account;
mod engagement;
mod histories;
mod listing;
mod market;
mod property;
mod search;

use std::cell::OnceCell;
use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use chrono::{DateTime, NaiveDate, NaiveTime, TimeDelta, Utc};
use freehold_domain::property::{
    Media, MediaCategory, PropertyEvent, PropertyFacts, PropertyRegistered, PropertyType, SourceRef,
};
use freehold_domain::user::UserEvent;
use freehold_domain::{
    Address, Area, AreaUnit, Coordinates, FeeFrequency, ListingKey, Price, PropertyId, StoredEvent,
    SubjectId, UserId,
};
use freehold_memory::MemoryKeyVault;
use freehold_ports::{
    CommandId, Commit, EventCodec, EventId, GenerationId, GlobalPosition, Key, KeyVault as _,
    Provenance, ReadModels, RecordedEvent, Row, SealedText, StreamId, StreamVersion, Table,
};
use freehold_test_stores::Place;
use tokio::runtime::Runtime;
use uuid::Uuid;

use super::account::Accounts;
use super::engagement::Engagement;
use super::listing::Listings;
use super::market::Market;
use super::property::Properties;
use crate::fold::Run;
use crate::parking::Parking;
use crate::{Folder, Projection, TypedRow};

const PROPERTY: PropertyId = PropertyId(Uuid::from_u128(0xa));
const LISTING: ListingKey = ListingKey(Uuid::from_u128(0x1));
const RELIST: ListingKey = ListingKey(Uuid::from_u128(0x2));
const USER: UserId = UserId(Uuid::from_u128(0xf));
const TENANT: &str = "acme";

/// Events as a log holds them, oldest first. They come from no store, and what they become goes
/// to a store's read models.
struct Log {
    codec: EventCodec,
    vault: Arc<MemoryKeyVault>,
    models: OnceCell<Arc<dyn ReadModels>>,
    place: OnceCell<Place>,
    runtime: Runtime,
    versions: HashMap<StreamId, u64>,
    events: Vec<RecordedEvent>,
}

impl Log {
    fn new() -> Self {
        let vault = Arc::new(MemoryKeyVault::default());
        Self {
            codec: EventCodec::new(vault.clone()),
            vault,
            models: OnceCell::new(),
            place: OnceCell::new(),
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap(),
            versions: HashMap::new(),
            events: Vec::new(),
        }
    }

    /// Events of [`PROPERTY`], one a day, each at noon.
    fn of_property(events: impl IntoIterator<Item = PropertyEvent>) -> Self {
        let mut log = Self::new();
        for (number, event) in (0..).zip(events) {
            log.append("property", PROPERTY.0, noon(number), event);
        }
        log
    }

    /// Events of [`USER`], one a day, each at noon.
    fn of_user(events: impl IntoIterator<Item = UserEvent>) -> Self {
        let mut log = Self::new();
        for (number, event) in (0..).zip(events) {
            log.append("user", USER.0, noon(number), event);
        }
        log
    }

    fn append<E: StoredEvent>(&mut self, category: &str, id: Uuid, at: DateTime<Utc>, event: E) {
        self.append_named(category, &id.to_string(), at, event);
    }

    fn append_named<E: StoredEvent>(
        &mut self,
        category: &str,
        id: &str,
        at: DateTime<Utc>,
        event: E,
    ) {
        let stream = StreamId::new(category, id).unwrap();
        let version = self.versions.entry(stream.clone()).or_default();
        *version += 1;
        let position = self.events.len() as u64 + 1;
        let event_id = EventId(Uuid::from_u128(position.into()));
        let encoded = self.runtime.block_on(self.codec.encode(&event, event_id)).unwrap();
        self.events.push(RecordedEvent {
            position: GlobalPosition(position),
            stream,
            version: StreamVersion(*version),
            event_id,
            event_type: event.event_type().into(),
            schema_version: event.schema_version(),
            command_id: CommandId(Uuid::from_u128(position.into())),
            provenance: Provenance {
                tenant: TENANT.into(),
                actor: "agent".into(),
                correlation_id: None,
                causation_id: None,
            },
            occurred_at: at,
            recorded_at: recorded(at),
            subjects: encoded.subjects,
            tags: Vec::new(),
            codec: encoded.codec,
            payload: encoded.payload,
        });
    }

    /// What a sealed text says.
    fn opened(&self, text: Option<SealedText>) -> Option<String> {
        self.runtime.block_on(self.codec.open_text(&text?)).unwrap()
    }

    /// Read models that are made when they are first asked for.
    fn models(&self) -> Arc<dyn ReadModels> {
        let place = self.place.get_or_init(Place::in_memory);
        self.models.get_or_init(|| self.runtime.block_on(place.models())).clone()
    }

    fn destroy_key(&self, subject: SubjectId) {
        self.runtime.block_on(self.vault.destroy(subject)).unwrap();
    }

    /// What a projection makes of all events.
    fn fold<P: Projection>(&self, projection: P) -> ReadModel<'_> {
        let model = self.fold_events(projection, &self.events);
        model.runtime.block_on(model.models.activate(model.generation.clone())).unwrap();
        model
    }

    /// What it makes of some.
    fn fold_events<P: Projection>(&self, projection: P, events: &[RecordedEvent]) -> ReadModel<'_> {
        let mut model = ReadModel::empty::<P>(self, &projection);
        let mut folder = Folder::new(projection);
        model.take_in(self, &mut folder, events);
        model
    }

    /// The same in pages, each by a process that has only the store to go by if `forgetful`.
    fn fold_in_pages<P: Projection + Copy>(
        &self,
        projection: P,
        page: usize,
        forgetful: bool,
    ) -> ReadModel<'_> {
        let mut model = ReadModel::empty::<P>(self, &projection);
        let mut folder = Folder::new(projection);
        for page in self.events.chunks(page) {
            model.take_in(self, &mut folder, page);
            if forgetful {
                folder = Folder::new(projection);
            }
        }
        model
    }
}

/// The tables of one projection.
struct ReadModel<'a> {
    runtime: &'a Runtime,
    models: Arc<dyn ReadModels>,
    generation: GenerationId,
    tables: &'static [&'static Table],
    checkpoint: GlobalPosition,
}

impl<'a> ReadModel<'a> {
    fn empty<P: Projection>(log: &'a Log, projection: &P) -> Self {
        let (runtime, models) = (&log.runtime, log.models());
        let tables = projection.tables();
        let generation =
            runtime.block_on(models.create_generation(P::NAME, P::VERSION, tables)).unwrap();
        Self { runtime, models, generation, tables, checkpoint: GlobalPosition(0) }
    }

    fn take_in<P: Projection>(
        &mut self,
        log: &Log,
        folder: &mut Folder<P>,
        page: &[RecordedEvent],
    ) {
        let wanted = folder.projection().filter();
        assert!(page.iter().all(|event| wanted.admits(&event.stream, &event.event_type)));
        let Some(last) = page.last() else { return };
        let parking = Parking::default();
        let folded =
            folder.fold(&*self.models, &self.generation, &log.codec, page, &parking, &Run::First);
        let folded = self.runtime.block_on(folded).unwrap();
        assert!(folded.failure.is_none(), "{:?}", folded.failure);
        let (from, to) = (self.checkpoint, last.position);
        let commit =
            self.models.commit(Commit::moving(self.generation.clone(), from, to, folded.changes));
        self.runtime.block_on(commit).unwrap();
        self.checkpoint = to;
    }

    fn raw(&self, table: &'static Table) -> Vec<Row> {
        let mut rows: Vec<Row> = Vec::new();
        loop {
            let after = rows.last().map(|row| table.key_of(row));
            let limit = NonZeroU32::new(1_000).unwrap();
            let scan = self.models.scan(self.generation.clone(), table, after, limit);
            let page = self.runtime.block_on(scan).unwrap();
            if page.is_empty() {
                return rows;
            }
            rows.extend(page);
        }
    }

    fn everything(&self) -> Vec<(&'static str, Vec<Row>)> {
        self.tables.iter().map(|table| (table.name, self.raw(table))).collect()
    }

    fn rows<R: TypedRow>(&self) -> Vec<R> {
        self.raw(R::TABLE).into_iter().map(|row| R::from_row(row).unwrap()).collect()
    }

    fn find<R: TypedRow>(&self, key: &R::Key) -> Option<R> {
        let keys: Vec<Key> = vec![R::key_values(key)];
        let fetched = self.models.fetch(self.generation.clone(), R::TABLE, keys);
        self.runtime.block_on(fetched).unwrap().pop().map(|row| R::from_row(row).unwrap())
    }

    fn row<R: TypedRow>(&self, key: R::Key) -> R {
        self.find(&key).unwrap()
    }
}

/// The reason why the last event of a log stops a projection.
fn stopped_by<P: Projection>(log: &Log, projection: P) -> String {
    let model = ReadModel::empty::<P>(log, &projection);
    let mut folder = Folder::new(projection);
    let parking = Parking::default();
    let folded = folder.fold(
        &*model.models,
        &model.generation,
        &log.codec,
        &log.events,
        &parking,
        &Run::First,
    );
    let folded = log.runtime.block_on(folded).unwrap();
    let failure = folded.failure.unwrap();
    assert_eq!(failure.position.0, log.events.len() as u64);
    failure.reason
}

/// Day 0 is the first of March 2026.
fn day(number: i64) -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 3, 1).unwrap() + TimeDelta::days(number)
}

fn noon(number: i64) -> DateTime<Utc> {
    day(number).and_time(NaiveTime::MIN).and_utc() + TimeDelta::hours(12)
}

/// Our clock when the sender's said `at`.
fn recorded(at: DateTime<Utc>) -> DateTime<Utc> {
    at + TimeDelta::seconds(1)
}

fn euros(amount: i64) -> Price {
    Price::from_minor_units(amount * 100, "EUR", FeeFrequency::Monthly).unwrap()
}

fn facts() -> PropertyFacts {
    PropertyFacts {
        property_type: Some(PropertyType::Apartment),
        title: Some("Quiet flat".into()),
        description: Some("Two rooms to the garden".into()),
        address: Some(Address {
            street: Some("Hauptstr. 5".into()),
            city: Some("Berlin".into()),
            region: Some("Berlin".into()),
            postal_code: Some("10405".into()),
            country: Some("DE".into()),
        }),
        coordinates: Some(Coordinates { latitude: 52.5347, longitude: 13.4197 }),
        year_built: Some(1906),
        stories: Some(1.5),
        bedrooms: Some(1),
        bathrooms_full: Some(1),
        bathrooms_half: Some(1),
        rooms: Some(2),
        max_occupancy: Some(3),
        living_area: Some(Area { value: 50.0, unit: AreaUnit::SquareMeters }),
        lot_area: Some(Area { value: 1_000.0, unit: AreaUnit::SquareFeet }),
        garage_area: Some(Area { value: 20.0, unit: AreaUnit::SquareMeters }),
    }
}

fn registered() -> PropertyEvent {
    let source = SourceRef { source: "feed".into(), reference: "f-1".into() };
    let amenities = ["balcony", "lift"].map(String::from).into();
    PropertyRegistered { source, facts: Box::new(facts()), amenities }.into()
}

fn photo(number: u16) -> Media {
    Media {
        id: Uuid::from_u128(number.into()),
        url: format!("https://example.com/{number}.jpg"),
        category: MediaCategory::Photo,
        caption: None,
        order: number,
    }
}

#[test]
fn every_table_has_a_name_of_its_own() {
    let tables = [
        Listings.tables(),
        Properties.tables(),
        Market.tables(),
        Engagement.tables(),
        Accounts.tables(),
    ];
    let mut names: Vec<_> = tables.concat().iter().map(|table| table.name).collect();
    names.sort_unstable();
    let all = names.len();
    names.dedup();

    assert_eq!((all, names.len()), (13, 13));
}
