//! Listing periods as searches and lists of results see them.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use freehold_domain::property::{
    ClosingRecorded, Concession, CoordinatePrecision, Furnished, LeaseTerms, LeaseTermsSet,
    ListingDrafted, ListingLeased, ListingPublished, ListingScheduled, ListingStatus,
    LocationVisibility, Media, MediaCategory, MoveInCost, OngoingFee, PetsAllowed, PropertyEvent,
    PropertyFacts, PropertyRegistered, PropertyType,
};
use freehold_domain::user::{ListingFacts, PriceRange, SearchArea, SearchFilter};
use freehold_domain::{
    Address, Area, AreaUnit, Coordinates, Currency, FeeFrequency, ListingKey, Price, PropertyId,
    UserId,
};
use freehold_ports::{
    EventFilter, Filter, GlobalPosition, LogName, Order, RecordedEvent, StreamVersion, Table, Value,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    MarketTime, SECONDS_A_DAY, elapsed_seconds, events_of, get_all, minor_units, stream_uuid,
    unknown,
};
use crate::{
    ApplyError, ColumnValue, Json, ProjectedEvent, Projection, Rows, TypedRow, read_model,
};

read_model! {
    /// One listing period with the facts of its property, as a list of results shows it.
    ///
    /// Moments are when things happened (`occurred_at`), unless their name says otherwise. Prices
    /// are minor units of their currency. What the sender did not say is null.
    pub struct ListingRow in "listing" {
        key {
            /// The period.
            listing: ListingKey,
        }
        /// The unit that is offered.
        property: PropertyId,
        /// Who owns it.
        tenant: Arc<str>,
        /// Who sent the property.
        source: Arc<str>,
        /// What the sender calls the property.
        reference: Arc<str>,
        /// Where the period stands.
        status: ListingStatus,
        /// When it came to stand there.
        status_changed_at: DateTime<Utc>,
        /// The property that survives, while this one counts as its duplicate.
        duplicate_of: Option<PropertyId>,

        /// What kind of home it is.
        property_type: PropertyType,
        /// A public headline.
        title: Option<Arc<str>>,
        /// Public text.
        description: Option<Arc<str>>,
        /// Street, house number, unit.
        street: Option<Arc<str>>,
        /// City or locality.
        city: Option<Arc<str>>,
        /// State, county or region.
        region: Option<Arc<str>>,
        /// Postal code.
        postal_code: Option<Arc<str>>,
        /// ISO 3166-1 alpha-2 country code.
        country: Option<Arc<str>>,
        /// Degrees north, WGS 84.
        latitude: Option<f64>,
        /// Degrees east, WGS 84.
        longitude: Option<f64>,
        /// How close the coordinates are to the truth, where a geocoder said so.
        location_precision: Option<CoordinatePrecision>,
        /// How much of the location the public may see, where it was said.
        location_visibility: Option<LocationVisibility>,
        /// Year of construction, common era.
        year_built: Option<i64>,
        /// Storeys; one and a half is 1.5.
        stories: Option<f64>,
        /// Bedrooms; 0 is a studio.
        bedrooms: Option<i64>,
        /// Bathrooms; a half bathroom counts 0.5.
        bathrooms: Option<f64>,
        /// Rooms of any kind.
        rooms: Option<i64>,
        /// How many people it accommodates.
        max_occupancy: Option<i64>,
        /// Living area in square metres.
        living_area_m2: Option<f64>,
        /// Living area as it was given, in `living_area_unit`.
        living_area: Option<f64>,
        /// The unit it was given in.
        living_area_unit: Option<AreaUnit>,
        /// Area of the lot in square metres.
        lot_area_m2: Option<f64>,
        /// Area of the lot as it was given, in `lot_area_unit`.
        lot_area: Option<f64>,
        /// The unit it was given in.
        lot_area_unit: Option<AreaUnit>,
        /// Area of the garage in square metres.
        garage_area_m2: Option<f64>,
        /// What it offers, sorted.
        amenities: Json<Arc<BTreeSet<String>>>,
        /// The preferred photo, else the first one.
        photo_url: Option<Arc<str>>,
        /// How many photos there are.
        photos: i64,

        /// The rent, or the price of a sale.
        price_minor: Option<i64>,
        /// In which currency.
        currency: Option<Currency>,
        /// How often it is due; a sale is `OneTime`.
        frequency: Option<FeeFrequency>,
        /// The price it was first offered at, in the same currency and frequency.
        original_price_minor: Option<i64>,
        /// The price before the last change, in the same currency and frequency.
        previous_price_minor: Option<i64>,
        /// When the price last changed after it was public.
        price_changed_at: Option<DateTime<Utc>>,
        /// Monthly rent and every mandatory fee together; null unless all are due monthly in one
        /// currency.
        total_monthly_minor: Option<i64>,
        /// The first day it can be had.
        available_from: Option<NaiveDate>,
        /// Shortest lease, in months.
        min_lease_months: Option<i64>,
        /// Longest lease, in months.
        max_lease_months: Option<i64>,
        /// Whether furniture comes with it.
        furnished: Option<Furnished>,
        /// Which pets may move in.
        pets: Option<PetsAllowed>,
        /// What else was said about costs and terms; null as long as nothing was.
        terms: Option<Json<Arc<ListingTerms>>>,
        /// Who looks after it.
        agent: Option<UserId>,

        /// When it was drafted; null for a closing that became known later.
        drafted_at: Option<DateTime<Utc>>,
        /// The day it was, or is to be, announced for.
        on_market_date: Option<NaiveDate>,
        /// When it was first on the market.
        on_market_at: Option<DateTime<Utc>>,
        /// When it was published, as the event says.
        published_at: Option<DateTime<Utc>>,
        /// When it leaves the market by itself.
        expires_at: Option<DateTime<Utc>>,
        /// The day it was let or sold.
        closed_on: Option<NaiveDate>,
        /// The price that was agreed.
        close_price_minor: Option<i64>,
        /// In which currency.
        close_currency: Option<Currency>,
        /// How often it is due.
        close_frequency: Option<FeeFrequency>,
        /// Seconds it was on the market before `market_since`; see [`days_on_market`].
        market_seconds: i64,
        /// Since when it is on the market; null while it is not.
        market_since: Option<DateTime<Utc>>,
        /// Seconds that earlier periods of the property were on the market.
        earlier_market_seconds: i64,

        /// When the last event that changed this row was recorded.
        changed_at: DateTime<Utc>,
        /// The position of that event.
        position: GlobalPosition,
        /// The version of the property's stream at that event; commands go by the version in
        /// `property`, which counts every event.
        version: StreamVersion,
    }
    indexes [
        ["status", "price_minor"],
        ["status", "published_at"],
        ["property"],
        ["tenant", "source", "reference"],
        ["city", "status"],
        ["price_minor"],
        ["living_area_m2"],
        ["bedrooms"],
        ["available_from"],
        ["published_at"],
        ["closed_on"],
        ["position"],
    ]
    text ["title", "description", "street", "city", "postal_code"]
    spatial ("latitude", "longitude")
}

read_model! {
    /// What a later listing period of a property starts from, and which periods it has.
    pub struct ListingPropertyRow in "listing_property" {
        key {
            /// The property.
            property: PropertyId,
        }
        /// Who sent it.
        source: Arc<str>,
        /// What the sender calls it.
        reference: Arc<str>,
        /// Its facts.
        facts: Json<Arc<PropertyFacts>>,
        /// What it offers, sorted.
        amenities: Json<Arc<BTreeSet<String>>>,
        /// How close the coordinates are to the truth.
        location_precision: Option<CoordinatePrecision>,
        /// How much of the location the public may see.
        location_visibility: Option<LocationVisibility>,
        /// Its media, in order.
        media: Json<Arc<Vec<Media>>>,
        /// The photo that is shown first, where one was chosen.
        preferred_photo: Option<Uuid>,
        /// The property that survives, while this one counts as its duplicate.
        duplicate_of: Option<PropertyId>,
        /// Every period, oldest first.
        listings: Json<Vec<ListingKey>>,
        /// The period that was drafted last.
        drafted_last: Option<ListingKey>,
    }
}

/// Costs and terms of a listing period that are shown, not searched.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ListingTerms {
    /// What moving in costs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub move_in_costs: Vec<MoveInCost>,
    /// What is due besides the rent.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ongoing_fees: Vec<OngoingFee>,
    /// What is offered on top.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub concessions: Vec<Concession>,
    /// On which terms it is let.
    pub lease_terms: LeaseTerms,
}

/// Fills [`ListingRow`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Listings;

impl Projection for Listings {
    type Event = PropertyEvent;

    const NAME: &'static str = "listings";
    const VERSION: u32 = 2;

    fn log(&self) -> LogName {
        LogName::DOMAIN
    }

    fn filter(&self) -> EventFilter {
        events_of("property")
    }

    fn tables(&self) -> &'static [&'static Table] {
        &[ListingRow::TABLE, ListingPropertyRow::TABLE]
    }

    fn apply(
        &self,
        event: ProjectedEvent<'_, PropertyEvent>,
        rows: &mut Rows,
    ) -> Result<(), ApplyError> {
        use ListingStatus as S;
        use PropertyEvent as E;
        let ProjectedEvent { recorded, event } = event;
        let property = PropertyId(stream_uuid(recorded)?);
        let mut fold = Fold { recorded, property, rows };
        match event {
            E::PropertyRegistered(event) => {
                fold.register(event);
                Ok(())
            }
            E::PropertyFactsCorrected(event) => fold.change_unit(
                |unit| {
                    let facts = Arc::make_mut(&mut unit.facts.0);
                    event.changes.iter().for_each(|change| facts.apply(change));
                },
                show_facts,
            ),
            E::AmenitiesSet(event) => fold.change_unit(
                |unit| unit.amenities = Json(Arc::new(event.new.clone())),
                show_amenities,
            ),
            E::AddressGeocoded(event) => fold.change_unit(
                |unit| {
                    Arc::make_mut(&mut unit.facts.0).coordinates = Some(event.coordinates);
                    unit.location_precision = Some(event.precision);
                    unit.location_visibility = Some(event.visibility);
                },
                show_location,
            ),
            E::MediaAttached(event) => fold.change_unit(
                |unit| {
                    let media = Arc::make_mut(&mut unit.media.0);
                    media.push(event.media.clone());
                    media.sort_by_key(|media| media.order);
                },
                show_photos,
            ),
            E::MediaReordered(event) => {
                fold.change_unit(|unit| reorder(&mut unit.media, &event.order), show_photos)
            }
            E::PreferredPhotoSet(event) => {
                fold.change_unit(|unit| unit.preferred_photo = Some(event.media), show_photos)
            }
            E::MediaRemoved(event) => fold.change_unit(
                |unit| {
                    Arc::make_mut(&mut unit.media.0).retain(|media| media.id != event.media);
                    unit.preferred_photo = unit.preferred_photo.filter(|id| *id != event.media);
                },
                show_photos,
            ),
            E::MarkedDuplicateOf(event) => {
                fold.change_unit(|unit| unit.duplicate_of = Some(event.survivor), show_duplicate)
            }
            E::DuplicateSeparated(_) => {
                fold.change_unit(|unit| unit.duplicate_of = None, show_duplicate)
            }
            E::ListingDrafted(event) => fold.draft(event),
            E::ClosingRecorded(event) => fold.record_closing(event),
            E::ListingSubmitted(event) => fold.enter(event.listing, S::InReview),
            E::ListingChangesRequested(event) => fold.enter(event.listing, S::ChangesRequested),
            E::ListingReturnedToDraft(event) => fold.enter(event.listing, S::Draft),
            E::ListingScheduled(event) => fold.schedule(event),
            E::ListingPublished(event) => fold.publish(event),
            E::ListingUnderApplication(event) => fold.enter(event.listing, S::UnderApplication),
            E::ListingBackOnMarket(event) => fold.enter(event.listing, S::Active),
            E::ListingPending(event) => fold.enter(event.listing, S::Pending),
            E::ListingLeased(event) => fold.lease(event),
            E::ListingHeld(event) => fold.enter(event.listing, S::OnHold),
            E::ListingWithdrawn(event) => fold.enter(event.listing, S::Withdrawn),
            E::ListingCancelled(event) => fold.enter(event.listing, S::Cancelled),
            E::ListingExpired(event) => fold.enter(event.listing, S::Expired),
            E::ListingVoided(event) => fold.enter(event.listing, S::Voided),
            E::RentChanged(event) => {
                let at = recorded.occurred_at;
                fold.change(event.listing, |row| set_price(row, event.new, at))
            }
            E::MoveInCostsSet(event) => {
                fold.change(event.listing, |row| terms(row).move_in_costs = event.costs.clone())
            }
            E::OngoingFeesSet(event) => fold.change(event.listing, |row| {
                terms(row).ongoing_fees = event.fees.clone();
                row.total_monthly_minor = total_monthly_minor(row);
            }),
            E::ConcessionOffered(event) => fold.change(event.listing, |row| {
                terms(row).concessions.push(event.concession.clone());
            }),
            E::ConcessionWithdrawn(event) => fold.change(event.listing, |row| {
                terms(row).concessions.retain(|concession| concession.id != event.concession);
            }),
            E::LeaseTermsSet(event) => {
                fold.change(event.listing, |row| set_lease_terms(row, event))
            }
            E::AvailabilityChanged(event) => {
                fold.change(event.listing, |row| row.available_from = Some(event.new))
            }
            E::ListingRenewed(event) => {
                fold.change(event.listing, |row| row.expires_at = Some(event.new))
            }
            E::ListingAgentReassigned(event) => {
                fold.change(event.listing, |row| row.agent = Some(event.new))
            }
            // An approval leaves the listing in review; the other two say nothing of a listing.
            E::ListingApproved(_) | E::AddressVerificationFailed(_) | E::PropertyArchived(_) => {
                Ok(())
            }
        }
    }
}

/// An event at work.
struct Fold<'a> {
    recorded: &'a RecordedEvent,
    property: PropertyId,
    rows: &'a mut Rows,
}

impl Fold<'_> {
    fn register(&mut self, event: &PropertyRegistered) {
        self.rows.put(ListingPropertyRow {
            property: self.property,
            source: Arc::from(event.source.source.as_str()),
            reference: Arc::from(event.source.reference.as_str()),
            facts: Json(Arc::new((*event.facts).clone())),
            amenities: Json(Arc::new(event.amenities.clone())),
            location_precision: None,
            location_visibility: None,
            media: Json::default(),
            preferred_photo: None,
            duplicate_of: None,
            listings: Json::default(),
            drafted_last: None,
        });
    }

    fn unit(&mut self) -> Result<ListingPropertyRow, ApplyError> {
        let unit = self.rows.get::<ListingPropertyRow>(&(self.property,))?.cloned();
        unit.ok_or_else(|| unknown("property", self.property.0))
    }

    /// Changes the unit, and shows it in every period of it.
    fn change_unit(
        &mut self,
        change: impl FnOnce(&mut ListingPropertyRow),
        show: fn(&mut ListingRow, &ListingPropertyRow),
    ) -> Result<(), ApplyError> {
        let mut unit = self.unit()?;
        let keys = unit.listings.0.iter().map(|listing| (*listing,));
        let listings = get_all::<ListingRow>(self.rows, keys)?;
        change(&mut unit);
        for mut row in listings.into_iter().flatten() {
            show(&mut row, &unit);
            self.put(row);
        }
        self.rows.put(unit);
        Ok(())
    }

    fn draft(&mut self, event: &ListingDrafted) -> Result<(), ApplyError> {
        let mut unit = self.unit()?;
        let last = unit.drafted_last.map(|last| (last,));
        let last = get_all::<ListingRow>(self.rows, last)?.pop().flatten();
        let mut row = self.new_row(event.listing, &unit, ListingStatus::Draft);
        row.drafted_at = Some(self.recorded.occurred_at);
        row.earlier_market_seconds =
            last.map_or(0, |last| last.earlier_market_seconds + last.market_seconds);
        row.available_from = event.available_from;
        row.agent = event.agent;
        if let Some(price) = event.price {
            set_price(&mut row, price, self.recorded.occurred_at);
        }
        unit.listings.0.push(event.listing);
        unit.drafted_last = Some(event.listing);
        self.rows.put(unit);
        self.put(row);
        Ok(())
    }

    fn record_closing(&mut self, event: &ClosingRecorded) -> Result<(), ApplyError> {
        let mut unit = self.unit()?;
        let mut row = self.new_row(event.listing, &unit, ListingStatus::Leased);
        row.status_changed_at = event.closed_on.and_time(NaiveTime::MIN).and_utc();
        set_price(&mut row, event.price, self.recorded.occurred_at);
        row.price_changed_at = None;
        set_close(&mut row, event.price, event.closed_on);
        unit.listings.0.push(event.listing);
        self.rows.put(unit);
        self.put(row);
        Ok(())
    }

    fn schedule(&mut self, event: &ListingScheduled) -> Result<(), ApplyError> {
        let at = self.recorded.occurred_at;
        self.change(event.listing, |row| {
            set_price(row, event.price, at);
            row.available_from = Some(event.available_from);
            row.on_market_date = Some(event.on_market_date);
            row.expires_at = event.expires_at;
            enter(row, ListingStatus::ComingSoon, at);
        })
    }

    fn publish(&mut self, event: &ListingPublished) -> Result<(), ApplyError> {
        let at = self.recorded.occurred_at;
        self.change(event.listing, |row| {
            set_price(row, event.price, at);
            row.available_from = Some(event.available_from);
            row.expires_at = event.expires_at;
            row.published_at = Some(event.published_at);
            // Announced for a day, it may come on another.
            row.on_market_date = Some(at.date_naive());
            row.on_market_at = row.on_market_at.or(Some(at));
            enter(row, ListingStatus::Active, at);
        })
    }

    fn lease(&mut self, event: &ListingLeased) -> Result<(), ApplyError> {
        let at = self.recorded.occurred_at;
        self.change(event.listing, |row| {
            set_close(row, event.rent_at_close, event.close_date);
            enter(row, ListingStatus::Leased, at);
        })
    }

    fn enter(&mut self, listing: ListingKey, status: ListingStatus) -> Result<(), ApplyError> {
        let at = self.recorded.occurred_at;
        self.change(listing, |row| enter(row, status, at))
    }

    fn change(
        &mut self,
        listing: ListingKey,
        change: impl FnOnce(&mut ListingRow),
    ) -> Result<(), ApplyError> {
        let row = self.rows.get::<ListingRow>(&(listing,))?.cloned();
        let mut row = row.ok_or_else(|| unknown("listing", listing.0))?;
        change(&mut row);
        self.put(row);
        Ok(())
    }

    fn put(&mut self, mut row: ListingRow) {
        row.changed_at = self.recorded.recorded_at;
        row.position = self.recorded.position;
        row.version = self.recorded.version;
        self.rows.put(row);
    }

    fn new_row(
        &self,
        listing: ListingKey,
        unit: &ListingPropertyRow,
        status: ListingStatus,
    ) -> ListingRow {
        let mut row = ListingRow {
            listing,
            property: self.property,
            tenant: self.recorded.provenance.tenant.clone(),
            source: unit.source.clone(),
            reference: unit.reference.clone(),
            status,
            status_changed_at: self.recorded.occurred_at,
            duplicate_of: None,
            property_type: PropertyType::Other,
            title: None,
            description: None,
            street: None,
            city: None,
            region: None,
            postal_code: None,
            country: None,
            latitude: None,
            longitude: None,
            location_precision: None,
            location_visibility: None,
            year_built: None,
            stories: None,
            bedrooms: None,
            bathrooms: None,
            rooms: None,
            max_occupancy: None,
            living_area_m2: None,
            living_area: None,
            living_area_unit: None,
            lot_area_m2: None,
            lot_area: None,
            lot_area_unit: None,
            garage_area_m2: None,
            amenities: Json::default(),
            photo_url: None,
            photos: 0,
            price_minor: None,
            currency: None,
            frequency: None,
            original_price_minor: None,
            previous_price_minor: None,
            price_changed_at: None,
            total_monthly_minor: None,
            available_from: None,
            min_lease_months: None,
            max_lease_months: None,
            furnished: None,
            pets: None,
            terms: None,
            agent: None,
            drafted_at: None,
            on_market_date: None,
            on_market_at: None,
            published_at: None,
            expires_at: None,
            closed_on: None,
            close_price_minor: None,
            close_currency: None,
            close_frequency: None,
            market_seconds: 0,
            market_since: None,
            earlier_market_seconds: 0,
            changed_at: self.recorded.recorded_at,
            position: self.recorded.position,
            version: self.recorded.version,
        };
        show_facts(&mut row, unit);
        show_location(&mut row, unit);
        show_amenities(&mut row, unit);
        show_photos(&mut row, unit);
        show_duplicate(&mut row, unit);
        row
    }
}

fn show_facts(row: &mut ListingRow, unit: &ListingPropertyRow) {
    let PropertyFacts {
        property_type,
        title,
        description,
        address,
        coordinates,
        year_built,
        stories,
        bedrooms,
        bathrooms_full,
        bathrooms_half,
        rooms,
        max_occupancy,
        living_area,
        lot_area,
        garage_area,
    } = &*unit.facts.0;
    let (street, city, region, postal_code, country) = match address {
        Some(Address { street, city, region, postal_code, country }) => {
            (text(street), text(city), text(region), text(postal_code), text(country))
        }
        None => (None, None, None, None, None),
    };
    row.property_type = property_type.unwrap_or(PropertyType::Other);
    row.title = text(title);
    row.description = text(description);
    row.street = street;
    row.city = city;
    row.region = region;
    row.postal_code = postal_code;
    row.country = country;
    row.latitude = coordinates.map(|point| point.latitude);
    row.longitude = coordinates.map(|point| point.longitude);
    row.year_built = year_built.map(i64::from);
    row.stories = *stories;
    row.bedrooms = bedrooms.map(i64::from);
    row.bathrooms = bathrooms(*bathrooms_full, *bathrooms_half);
    row.rooms = rooms.map(i64::from);
    row.max_occupancy = max_occupancy.map(i64::from);
    row.living_area_m2 = living_area.map(Area::square_meters);
    row.living_area = living_area.map(|area| area.value);
    row.living_area_unit = living_area.map(|area| area.unit);
    row.lot_area_m2 = lot_area.map(Area::square_meters);
    row.lot_area = lot_area.map(|area| area.value);
    row.lot_area_unit = lot_area.map(|area| area.unit);
    row.garage_area_m2 = garage_area.map(Area::square_meters);
}

fn show_location(row: &mut ListingRow, unit: &ListingPropertyRow) {
    row.latitude = unit.facts.0.coordinates.map(|point| point.latitude);
    row.longitude = unit.facts.0.coordinates.map(|point| point.longitude);
    row.location_precision = unit.location_precision;
    row.location_visibility = unit.location_visibility;
}

fn show_amenities(row: &mut ListingRow, unit: &ListingPropertyRow) {
    row.amenities = unit.amenities.clone();
}

fn show_photos(row: &mut ListingRow, unit: &ListingPropertyRow) {
    let photos = || unit.media.0.iter().filter(|media| media.category == MediaCategory::Photo);
    let preferred = photos().find(|photo| Some(photo.id) == unit.preferred_photo);
    let shown = preferred.or_else(|| photos().next());
    row.photo_url = shown.map(|photo| Arc::from(photo.url.as_str()));
    row.photos = i64::try_from(photos().count()).unwrap_or(i64::MAX);
}

fn show_duplicate(row: &mut ListingRow, unit: &ListingPropertyRow) {
    row.duplicate_of = unit.duplicate_of;
}

fn text(text: &Option<String>) -> Option<Arc<str>> {
    text.as_deref().map(Arc::from)
}

fn bathrooms(full: Option<u16>, half: Option<u16>) -> Option<f64> {
    if full.is_none() && half.is_none() {
        return None;
    }
    Some(f64::from(full.unwrap_or(0)) + f64::from(half.unwrap_or(0)) / 2.0)
}

/// Puts media in a new order; the first gets order 1.
pub(super) fn reorder(media: &mut Json<Arc<Vec<Media>>>, order: &[Uuid]) {
    let media = Arc::make_mut(&mut media.0);
    for (id, place) in order.iter().zip(1..) {
        if let Some(media) = media.iter_mut().find(|media| media.id == *id) {
            media.order = place;
        }
    }
    media.sort_by_key(|media| media.order);
}

fn enter(row: &mut ListingRow, status: ListingStatus, at: DateTime<Utc>) {
    row.status = status;
    row.status_changed_at = at;
    MarketTime { seconds: &mut row.market_seconds, since: &mut row.market_since }.enter(status, at);
}

fn set_price(row: &mut ListingRow, price: Price, at: DateTime<Utc>) {
    let new = minor_units(price);
    let comparable = row.currency == Some(price.currency) && row.frequency == Some(price.frequency);
    let old = row.price_minor.filter(|_| comparable);
    if old == Some(new) {
        return;
    }
    let public = is_public(row.status);
    if public {
        row.previous_price_minor = old;
        row.price_changed_at = Some(at);
    }
    if !(public && comparable) {
        row.original_price_minor = Some(new);
    }
    row.price_minor = Some(new);
    row.currency = Some(price.currency);
    row.frequency = Some(price.frequency);
    row.total_monthly_minor = total_monthly_minor(row);
}

/// Whether the public has seen the price; until then changing it is only writing.
fn is_public(status: ListingStatus) -> bool {
    match status {
        ListingStatus::Draft
        | ListingStatus::InReview
        | ListingStatus::ChangesRequested
        | ListingStatus::Voided => false,
        ListingStatus::ComingSoon
        | ListingStatus::Active
        | ListingStatus::UnderApplication
        | ListingStatus::Pending
        | ListingStatus::OnHold
        | ListingStatus::Withdrawn
        | ListingStatus::Leased
        | ListingStatus::Cancelled
        | ListingStatus::Expired => true,
    }
}

fn set_close(row: &mut ListingRow, price: Price, closed_on: NaiveDate) {
    row.closed_on = Some(closed_on);
    row.close_price_minor = Some(minor_units(price));
    row.close_currency = Some(price.currency);
    row.close_frequency = Some(price.frequency);
}

fn set_lease_terms(row: &mut ListingRow, event: &LeaseTermsSet) {
    row.min_lease_months = event.terms.min_months.map(i64::from);
    row.max_lease_months = event.terms.max_months.map(i64::from);
    row.furnished = event.terms.furnished;
    row.pets = event.terms.pets;
    terms(row).lease_terms = event.terms.clone();
}

fn terms(row: &mut ListingRow) -> &mut ListingTerms {
    Arc::make_mut(&mut row.terms.get_or_insert_default().0)
}

fn total_monthly_minor(row: &ListingRow) -> Option<i64> {
    let rent = row.price_minor.filter(|_| row.frequency == Some(FeeFrequency::Monthly))?;
    let fees = row.terms.iter().flat_map(|terms| &terms.0.ongoing_fees);
    fees.filter(|fee| fee.mandatory).try_fold(rent, |total, fee| {
        let monthly = fee.price.frequency == FeeFrequency::Monthly
            && Some(fee.price.currency) == row.currency;
        total.checked_add(minor_units(fee.price)).filter(|_| monthly)
    })
}

/// How many whole days the period was on the market until `now`, after RESO `DaysOnMarket`; `None`
/// if it never was. Only time in `Active` and `UnderApplication` counts.
pub fn days_on_market(row: &ListingRow, now: DateTime<Utc>) -> Option<i64> {
    row.on_market_at.map(|_| market_seconds(row, now) / SECONDS_A_DAY)
}

/// How many whole days this and every earlier period of the property were on the market until
/// `now`, after RESO `CumulativeDaysOnMarket`; `None` if this period never was.
pub fn cumulative_days_on_market(row: &ListingRow, now: DateTime<Utc>) -> Option<i64> {
    let seconds = market_seconds(row, now) + row.earlier_market_seconds;
    row.on_market_at.map(|_| seconds / SECONDS_A_DAY)
}

fn market_seconds(row: &ListingRow, now: DateTime<Utc>) -> i64 {
    row.market_seconds + row.market_since.map_or(0, |since| elapsed_seconds(since, now))
}

/// What [`SearchFilter::matches`] asks about a listing.
pub fn search_facts(row: &ListingRow) -> ListingFacts {
    let amount = row.price_minor.and_then(|minor| u64::try_from(minor).ok()?.try_into().ok());
    let price = match (amount, row.currency, row.frequency) {
        (Some(amount_minor), Some(currency), Some(frequency)) => {
            Some(Price { amount_minor, currency, frequency })
        }
        _ => None,
    };
    let coordinates = row.latitude.zip(row.longitude);
    ListingFacts {
        price,
        coordinates: coordinates.map(|(latitude, longitude)| Coordinates { latitude, longitude }),
        bedrooms: row.bedrooms.and_then(|count| u32::try_from(count).ok()),
        bathrooms: row.bathrooms,
        floor_area_m2: row.living_area_m2,
        status: row.status.name().to_owned(),
        property_type: row.property_type.name().to_owned(),
        available_from: row.available_from,
    }
}

/// The conditions under which a [`ListingRow`] is what a search asks for: the rows that
/// [`SearchFilter::matches`] says yes to, found by the store.
pub fn filters_for(filter: &SearchFilter) -> Vec<Filter> {
    let SearchFilter {
        area,
        price,
        bedrooms_min,
        bedrooms_max,
        bathrooms_min,
        floor_area_min_m2,
        floor_area_max_m2,
        statuses,
        property_types,
        available_by,
    } = filter;
    let mut filters = Vec::new();
    match *area {
        Some(SearchArea::BoundingBox { south, west, north, east }) => {
            filters.push(Filter::WithinBox { south, west, north, east });
        }
        Some(SearchArea::Circle { center: Coordinates { latitude, longitude }, radius_m }) => {
            filters.push(Filter::WithinRadius { latitude, longitude, meters: radius_m.into() });
        }
        None => {}
    }
    if let Some(PriceRange { min_minor, max_minor, currency, frequency }) = price {
        filters.push(Filter::Equals("currency", currency.to_value()));
        filters.push(Filter::Equals("frequency", frequency.to_value()));
        // An amount beyond the column's range is beyond every price too.
        let amount = |minor: &u64| Value::Integer(i64::try_from(*minor).unwrap_or(i64::MAX));
        let at_least = min_minor.as_ref().map(|min| Filter::AtLeast("price_minor", amount(min)));
        let at_most = max_minor.as_ref().map(|max| Filter::AtMost("price_minor", amount(max)));
        filters.extend(at_least.into_iter().chain(at_most));
    }
    let count = |count: &u32| Value::Integer(i64::from(*count));
    let real = |number: &f64| Value::Real(*number);
    let ranges = [
        bedrooms_min.as_ref().map(|min| Filter::AtLeast("bedrooms", count(min))),
        bedrooms_max.as_ref().map(|max| Filter::AtMost("bedrooms", count(max))),
        bathrooms_min.as_ref().map(|min| Filter::AtLeast("bathrooms", real(min))),
        floor_area_min_m2.as_ref().map(|min| Filter::AtLeast("living_area_m2", real(min))),
        floor_area_max_m2.as_ref().map(|max| Filter::AtMost("living_area_m2", real(max))),
        available_by.map(|day| Filter::AtMost("available_from", day.to_value())),
    ];
    filters.extend(ranges.into_iter().flatten());
    if !statuses.is_empty() {
        // A name that is no status is no listing's status either.
        let known = statuses.iter().filter_map(|name| ListingStatus::from_name(name));
        filters.push(Filter::OneOf("status", known.map(|status| status.to_value()).collect()));
    }
    if !property_types.is_empty() {
        let known = property_types.iter().filter_map(|name| PropertyType::from_name(name));
        filters.push(Filter::OneOf("property_type", known.map(|kind| kind.to_value()).collect()));
    }
    filters
}

/// The orders that lists of listings are offered in; what is not known comes last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListingOrder {
    /// Published last first.
    Newest,
    /// Published first first.
    Oldest,
    /// Cheapest first; amounts of different currencies are not converted.
    PriceAscending,
    /// Dearest first; amounts of different currencies are not converted.
    PriceDescending,
    /// Smallest living area first.
    AreaAscending,
    /// Largest living area first.
    AreaDescending,
    /// Fewest bedrooms first.
    BedroomsAscending,
    /// Most bedrooms first.
    BedroomsDescending,
    /// Soonest to be had first.
    AvailableFirst,
    /// Let or sold last first.
    ClosedLast,
    /// Changed last first.
    ChangedLast,
}

impl ListingOrder {
    /// Every order.
    pub const ALL: &'static [Self] = &[
        Self::Newest,
        Self::Oldest,
        Self::PriceAscending,
        Self::PriceDescending,
        Self::AreaAscending,
        Self::AreaDescending,
        Self::BedroomsAscending,
        Self::BedroomsDescending,
        Self::AvailableFirst,
        Self::ClosedLast,
        Self::ChangedLast,
    ];

    /// The columns to sort by.
    pub fn order(self) -> Vec<Order> {
        let (column, descending) = match self {
            Self::Newest => ("published_at", true),
            Self::Oldest => ("published_at", false),
            Self::PriceAscending => ("price_minor", false),
            Self::PriceDescending => ("price_minor", true),
            Self::AreaAscending => ("living_area_m2", false),
            Self::AreaDescending => ("living_area_m2", true),
            Self::BedroomsAscending => ("bedrooms", false),
            Self::BedroomsDescending => ("bedrooms", true),
            Self::AvailableFirst => ("available_from", false),
            Self::ClosedLast => ("closed_on", true),
            Self::ChangedLast => ("position", true),
        };
        vec![Order { column, descending }]
    }
}
