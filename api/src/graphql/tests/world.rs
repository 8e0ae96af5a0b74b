//! A platform whose read models are written by hand.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_graphql::{Request, Response};
use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, NaiveDate, Utc};
use freehold_commands::{CommandExecutor, ExecutorOptions};
use freehold_contract::interposed::{Interposed, InterposedModels};
use freehold_domain::property::{
    ListingStatus, Media, MediaCategory, PropertyEvent, PropertyFacts, PropertyType,
};
use freehold_domain::user::{
    ListingPreference, PreferencesChanged, SearchFilter, Standing, UserEvent,
};
use freehold_domain::{
    AreaUnit, Currency, FeeFrequency, ListingKey, Personal, PropertyId, SavedSearchId, StoredEvent,
    SubjectId, UserId,
};
use freehold_ports::{
    AppendRequest, Clock, CommandId, Commit, EventCodec, EventId, ExpectedVersion, Filter,
    Fingerprint, Generation, GenerationId, GlobalPosition, Key, LogName, NewEvent, Page,
    Provenance, Query, ReadModelError, ReadModels, Row, RowChange, SealedText, StreamVersion,
    Table, TableChanges,
};
use freehold_projections::models::account::{
    AccountRow, Erasure, ListingFavouritesRow, ListingPreferenceRow, SavedSearchRow,
};
use freehold_projections::models::engagement::{EngagementRow, PropertyEngagementRow};
use freehold_projections::models::listing::{ListingPropertyRow, ListingRow};
use freehold_projections::models::market::{
    MarketObservationRow, MarketPropertyRow, MarketStatisticsRow,
};
use freehold_projections::models::property::{PropertyChangeRow, PropertyRow};
use freehold_projections::{Json, TypedRow};
use freehold_test_stores::{Log, Place};
use uuid::Uuid;

use crate::graphql::connection::Projected;
use crate::graphql::projections::{ACCOUNTS, ENGAGEMENT, LISTINGS, MARKET, PROPERTIES};
use crate::graphql::{Limits, Schema, schema};
use crate::http::Role;
use crate::platform::{Caller, Platform};

pub(super) const TENANT: &str = "acme";

/// A platform.
pub(super) struct World {
    pub(super) schema: Schema,
    pub(super) store: Arc<dyn Log>,
    pub(super) models: Arc<Interposed<Watched>>,
    codec: EventCodec,
    platform: Arc<Platform>,
    _place: Place,
}

/// It is always noon.
struct Noon;

impl Clock for Noon {
    fn now(&self) -> DateTime<Utc> {
        noon()
    }
}

pub(super) fn noon() -> DateTime<Utc> {
    "2026-11-23T12:00:00Z".parse().unwrap()
}

pub(super) fn day(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

/// A UUID that grows with the number.
pub(super) fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

const TABLES: [(&str, &[&Table]); 5] = [
    (LISTINGS, &[ListingRow::TABLE, ListingPropertyRow::TABLE]),
    (PROPERTIES, &[PropertyRow::TABLE, PropertyChangeRow::TABLE]),
    (
        ACCOUNTS,
        &[
            AccountRow::TABLE,
            ListingPreferenceRow::TABLE,
            ListingFavouritesRow::TABLE,
            SavedSearchRow::TABLE,
        ],
    ),
    (ENGAGEMENT, &[EngagementRow::TABLE, PropertyEngagementRow::TABLE]),
    (MARKET, &[MarketStatisticsRow::TABLE, MarketObservationRow::TABLE, MarketPropertyRow::TABLE]),
];

impl World {
    /// A platform with empty read models.
    pub(super) async fn new() -> Self {
        let world = Self::unbuilt(Limits::default()).await;
        for (projection, tables) in TABLES {
            let made = world.models.create_generation(projection, 1, tables).await.unwrap();
            world.models.activate(made).await.unwrap();
        }
        world
    }

    /// A platform whose read models were never built.
    pub(super) async fn unbuilt(limits: Limits) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(Noon);
        let place = Place::in_memory();
        let store = place.log(clock.clone()).await;
        let vault = place.vault().await;
        let codec = EventCodec::new(vault.clone());
        let models = Arc::new(Interposed(Watched::new(place.models().await)));
        let executor = CommandExecutor::new(
            store.clone(),
            store.clone(),
            codec.clone(),
            clock.clone(),
            ExecutorOptions::default(),
        );
        let platform = Arc::new(Platform {
            store: store.clone(),
            codec: codec.clone(),
            vault,
            executor,
            models: models.clone(),
            clock,
            projections: None,
            freshness_limit: Duration::from_millis(60),
        });
        let schema = schema(platform.clone(), limits.validate().unwrap());
        Self { schema, store, models, codec, platform, _place: place }
    }

    /// A request of a writer of the tenant.
    pub(super) fn request(&self, document: &str) -> Request {
        self.request_of(TENANT, document)
    }

    pub(super) fn request_of(&self, tenant: &str, document: &str) -> Request {
        self.request_as(Role::Writer, tenant, document)
    }

    pub(super) fn request_as(&self, role: Role, tenant: &str, document: &str) -> Request {
        let (actor, tenant) = ("tester".into(), tenant.into());
        let caller = Caller { actor, tenant, correlation_id: id(1) };
        Request::new(document).data(caller).data(role)
    }

    /// A personal text of a user as rows hold it.
    pub(super) async fn sealed(&self, user: u128, text: &str) -> SealedText {
        let (subject, place) = (SubjectId(id(user)), id(77));
        let value = Personal::new(subject, text.to_owned());
        let state = self.codec.encode_state(&value, place).await.unwrap();
        let state: serde_json::Value = serde_json::from_slice(&state).unwrap();
        let sealed = state["sealed"].as_str().unwrap();
        SealedText::parse(&format!("{subject}.{place}.{sealed}")).unwrap()
    }

    /// Destroys the data key of a user.
    pub(super) async fn destroy_key(&self, user: u128) {
        self.platform.vault.destroy(SubjectId(id(user))).await.unwrap();
    }

    pub(super) async fn execute(&self, document: &str) -> Response {
        self.schema.execute(self.request(document)).await
    }

    /// The data of an answer that must have no errors.
    pub(super) async fn ask(&self, document: &str) -> serde_json::Value {
        let response = self.execute(document).await;
        assert!(response.errors.is_empty(), "{document}: {:?}", response.errors);
        response.data.into_json().unwrap()
    }

    /// The extensions of the one error of an answer.
    pub(super) async fn refusal(&self, document: &str) -> serde_json::Value {
        let response = self.execute(document).await;
        assert_eq!(response.errors.len(), 1, "{document}: {response:?}");
        serde_json::to_value(&response.errors[0].extensions).unwrap()
    }

    /// Puts rows, and moves their projection on by one position.
    pub(super) async fn put<R: Projected>(&self, rows: impl IntoIterator<Item = R>) {
        let at = self.checkpoint(R::PROJECTION).await;
        self.put_through(rows, GlobalPosition(at.0 + 1)).await;
    }

    /// Puts rows, and moves their projection to a position.
    pub(super) async fn put_through<R: Projected>(
        &self,
        rows: impl IntoIterator<Item = R>,
        to: GlobalPosition,
    ) {
        let generation = self.active(R::PROJECTION).await;
        let changes = rows.into_iter().map(|row| RowChange::Put(row.to_row())).collect();
        let changes = vec![TableChanges { table: R::TABLE, changes }];
        let (id, from) = (generation.id, generation.checkpoint);
        self.models.inner.commit(Commit::moving(id, from, to, changes)).await.unwrap();
    }

    /// Takes rows away.
    pub(super) async fn delete<R: Projected>(&self, key: &R::Key) {
        let generation = self.active(R::PROJECTION).await;
        let changes = vec![RowChange::Delete(R::key_values(key))];
        let changes = vec![TableChanges { table: R::TABLE, changes }];
        let (id, from) = (generation.id, generation.checkpoint);
        let to = GlobalPosition(from.0 + 1);
        self.models.inner.commit(Commit::moving(id, from, to, changes)).await.unwrap();
    }

    async fn active(&self, projection: &str) -> Generation {
        self.models.inner.generations(projection).await.unwrap().pop().unwrap()
    }

    async fn checkpoint(&self, projection: &str) -> GlobalPosition {
        self.active(projection).await.checkpoint
    }

    /// Appends an event of a property.
    pub(super) async fn happened(
        &self,
        property: PropertyId,
        event: impl Into<PropertyEvent>,
    ) -> GlobalPosition {
        self.append(TENANT, &format!("property-{property}"), &event.into()).await
    }

    /// Appends an event of a user.
    pub(super) async fn happened_to_user(
        &self,
        user: UserId,
        event: impl Into<UserEvent>,
    ) -> GlobalPosition {
        self.append(TENANT, &format!("user-{user}"), &event.into()).await
    }

    pub(super) async fn append<E: StoredEvent>(
        &self,
        tenant: &str,
        stream: &str,
        event: &E,
    ) -> GlobalPosition {
        let event_id = EventId::new();
        let encoded = self.codec.encode(event, event_id).await.unwrap();
        let new = NewEvent {
            event_id,
            event_type: event.event_type().into(),
            schema_version: event.schema_version(),
            occurred_at: noon(),
            subjects: encoded.subjects,
            tags: Vec::new(),
            codec: encoded.codec,
            payload: encoded.payload,
        };
        self.append_event(tenant, stream, new).await
    }

    /// Appends an event of any type without content.
    pub(super) async fn append_named(&self, stream: &str, event_type: &str) -> GlobalPosition {
        let new = NewEvent {
            event_id: EventId::new(),
            event_type: event_type.into(),
            schema_version: 1,
            occurred_at: noon(),
            subjects: Vec::new(),
            tags: Vec::new(),
            codec: freehold_ports::PayloadCodec::Json,
            payload: Bytes::from_static(b"{}"),
        };
        self.append_event(TENANT, stream, new).await
    }

    /// Appends to an empty log until it ends at a position.
    pub(super) async fn log_through(&self, end: u64) {
        for _ in 0..end {
            self.append_named("property-1", "PropertyArchived").await;
        }
    }

    async fn append_event(&self, tenant: &str, stream: &str, event: NewEvent) -> GlobalPosition {
        let request = AppendRequest {
            log: LogName::DOMAIN,
            stream: stream.parse().unwrap(),
            expected: ExpectedVersion::Any,
            command_id: CommandId::new(),
            fingerprint: Fingerprint([0; 16]),
            boundaries: Vec::new(),
            provenance: Provenance {
                tenant: tenant.into(),
                actor: "tester".into(),
                correlation_id: Some(id(1)),
                causation_id: None,
            },
            events: vec![event],
        };
        self.store.append(request).await.unwrap().position
    }

    /// A schema over the same platform that waits as long as a write may take.
    pub(super) fn patient(&self) -> Schema {
        let freshness_limit = Duration::from_secs(10);
        let platform = Platform { freshness_limit, ..Platform::clone(&self.platform) };
        schema(Arc::new(platform), Limits::default())
    }

    /// Another schema over the same platform.
    pub(super) fn schema_with(&self, limits: Limits) -> Schema {
        schema(self.platform.clone(), limits)
    }
}

/// Read models that tell which tables were read, and fail or dawdle on demand.
pub(super) struct Watched {
    pub(super) inner: Arc<dyn ReadModels>,
    reads: Mutex<Vec<String>>,
    broken: Mutex<Vec<&'static str>>,
    late: Mutex<Vec<&'static str>>,
}

impl Watched {
    fn new(inner: Arc<dyn ReadModels>) -> Self {
        Self { inner, reads: Mutex::default(), broken: Mutex::default(), late: Mutex::default() }
    }

    /// Which tables were read since the last call, sorted; `count` says so.
    pub(super) fn take_reads(&self) -> Vec<String> {
        let mut reads = std::mem::take(&mut *self.reads.lock().unwrap());
        reads.sort();
        reads
    }

    /// From here on a table cannot be read.
    pub(super) fn break_table(&self, table: &'static str) {
        self.broken.lock().unwrap().push(table);
    }

    /// From here on a table answers after every other.
    pub(super) fn answer_late(&self, table: &'static str) {
        self.late.lock().unwrap().push(table);
    }

    async fn read(&self, table: &Table, how: &str) -> Result<(), ReadModelError> {
        self.reads.lock().unwrap().push(format!("{}{how}", table.name));
        if self.late.lock().unwrap().contains(&table.name) {
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        if self.broken.lock().unwrap().contains(&table.name) {
            return Err(ReadModelError::Unavailable { source: "disk s3cr3t is on fire".into() });
        }
        Ok(())
    }
}

#[async_trait]
impl InterposedModels for Watched {
    fn behind(&self) -> &dyn ReadModels {
        &*self.inner
    }

    async fn fetch(
        &self,
        generation: GenerationId,
        table: &'static Table,
        keys: Vec<Key>,
    ) -> Result<Vec<Row>, ReadModelError> {
        self.read(table, "").await?;
        self.inner.fetch(generation, table, keys).await
    }

    async fn query(&self, projection: &str, query: Query) -> Result<Page, ReadModelError> {
        self.read(query.table, "").await?;
        self.inner.query(projection, query).await
    }

    async fn count(
        &self,
        projection: &str,
        table: &'static Table,
        filters: Vec<Filter>,
    ) -> Result<u64, ReadModelError> {
        self.read(table, " (count)").await?;
        self.inner.count(projection, table, filters).await
    }
}

/// An active listing of a two-bedroom flat in Berlin for 1,000 euros a month.
pub(super) fn listing(number: u128) -> ListingRow {
    ListingRow {
        listing: ListingKey(id(number)),
        property: PropertyId(id(1_000 + number)),
        tenant: TENANT.into(),
        source: "feed".into(),
        reference: format!("ref-{number}").into(),
        status: ListingStatus::Active,
        status_changed_at: noon(),
        duplicate_of: None,
        property_type: PropertyType::Apartment,
        title: Some(format!("Flat {number}").into()),
        description: None,
        street: Some("Kastanienallee 1".into()),
        city: Some("Berlin".into()),
        region: None,
        postal_code: Some("10435".into()),
        country: Some("DE".into()),
        latitude: Some(52.539_123),
        longitude: Some(13.412_345),
        location_precision: None,
        location_visibility: None,
        year_built: Some(1_900),
        stories: None,
        bedrooms: Some(2),
        bathrooms: Some(1.0),
        rooms: Some(3),
        max_occupancy: Some(4),
        living_area_m2: Some(70.0),
        living_area: Some(70.0),
        living_area_unit: Some(AreaUnit::SquareMeters),
        lot_area_m2: None,
        lot_area: None,
        lot_area_unit: None,
        garage_area_m2: None,
        amenities: Json(Arc::new(BTreeSet::from(["balcony".to_owned()]))),
        photo_url: Some("https://photos.example/1.jpg".into()),
        photos: 1,
        price_minor: Some(100_000),
        currency: Currency::from_code("EUR"),
        frequency: Some(FeeFrequency::Monthly),
        original_price_minor: Some(110_000),
        previous_price_minor: None,
        price_changed_at: None,
        total_monthly_minor: Some(120_000),
        available_from: Some(day("2026-12-01")),
        min_lease_months: None,
        max_lease_months: None,
        furnished: None,
        pets: None,
        terms: None,
        agent: None,
        drafted_at: Some(noon()),
        on_market_date: None,
        on_market_at: Some(noon() - chrono::Duration::days(10)),
        published_at: Some(noon() - chrono::Duration::days(10)),
        expires_at: None,
        closed_on: None,
        close_price_minor: None,
        close_currency: None,
        close_frequency: None,
        market_seconds: 0,
        market_since: Some(noon() - chrono::Duration::days(10)),
        earlier_market_seconds: 5 * 86_400,
        changed_at: noon(),
        position: GlobalPosition(u64::try_from(number).unwrap()),
        version: StreamVersion(3),
    }
}

/// The property of [`listing`].
pub(super) fn property(number: u128) -> PropertyRow {
    let facts = PropertyFacts {
        property_type: Some(PropertyType::Apartment),
        bedrooms: Some(2),
        ..PropertyFacts::default()
    };
    let photo = Media {
        id: id(77),
        url: "https://photos.example/1.jpg".to_owned(),
        category: MediaCategory::Photo,
        caption: None,
        order: 1,
    };
    PropertyRow {
        property: PropertyId(id(1_000 + number)),
        tenant: TENANT.into(),
        source: "feed".into(),
        reference: format!("ref-{number}").into(),
        facts: Json(Arc::new(facts)),
        amenities: Json(Arc::default()),
        location_precision: None,
        location_visibility: None,
        verification_failure: None,
        media: Json(Arc::new(vec![photo])),
        preferred_photo: Some(id(77)),
        current_listing: Some(ListingKey(id(number))),
        last_period: None,
        listings: Json(vec![ListingKey(id(number))]),
        duplicate_of: None,
        archived: false,
        registered_at: noon(),
        changed_at: noon(),
        position: GlobalPosition(1),
        version: StreamVersion(5),
    }
}

/// One change of the property of [`listing`].
pub(super) fn change(number: u128, position: u64, field: &str) -> PropertyChangeRow {
    PropertyChangeRow {
        property: PropertyId(id(1_000 + number)),
        position: GlobalPosition(position),
        ordinal: 0,
        listing: Some(ListingKey(id(number))),
        event_type: "RentChanged".into(),
        field: field.into(),
        old: None,
        new: Some(Json(serde_json::json!(position))),
        actor: "feed".into(),
        occurred_at: noon(),
        recorded_at: noon(),
    }
}

pub(super) fn account(number: u128) -> AccountRow {
    AccountRow {
        user: UserId(id(number)),
        tenant: TENANT.into(),
        source: None,
        reference: None,
        display_name: None,
        email: None,
        email_verified: true,
        phone: None,
        phone_verified: false,
        identity_method: None,
        identity_verified_at: None,
        identity_expires_at: None,
        identity_failure: None,
        status: Standing::Active,
        preferences: Json(PreferencesChanged::default()),
        consents: Json(Vec::new()),
        saved_searches: Json(Vec::new()),
        legal_holds: 0,
        erasure: Erasure::NotRequested,
        erasure_requested_at: None,
        erasure_deadline: None,
        erasure_certificate: None,
        export_requested_at: None,
        registered_at: noon(),
        changed_at: noon(),
        position: GlobalPosition(1),
        version: StreamVersion(1),
    }
}

pub(super) fn saved_search(number: u128, user: u128, filter: SearchFilter) -> SavedSearchRow {
    SavedSearchRow {
        search: SavedSearchId(id(number)),
        user: UserId(id(user)),
        name: None,
        text: None,
        filter: Json(filter),
        schedule: freehold_domain::user::AlertSchedule::Asap,
        paused: None,
        created_at: noon(),
        position: GlobalPosition(1),
    }
}

pub(super) fn preference(user: u128, listing: u128) -> ListingPreferenceRow {
    ListingPreferenceRow {
        user: UserId(id(user)),
        listing: ListingKey(id(listing)),
        preference: ListingPreference::Favorite,
        since: noon() + chrono::Duration::seconds(i64::try_from(listing).unwrap()),
    }
}

pub(super) fn engagement(listing: u128, on: &str, impressions: i64) -> EngagementRow {
    EngagementRow {
        listing: ListingKey(id(listing)),
        day: day(on),
        property: None,
        impressions,
        detailed_views: impressions / 4,
        shares: 1,
        inquiries: 2,
        favourites: 3,
        other: 0,
        bot_events: 9,
    }
}
