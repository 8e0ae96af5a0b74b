//! Listing periods as searches and lists of results see them.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{DateTime, NaiveDate, Utc};
use freehold_domain::property::{
    Concession, CoordinatePrecision, Furnished, LeaseTerms, ListingStatus, LocationVisibility,
    Media, MoveInCost, OngoingFee, PetsAllowed, PropertyFacts, PropertyType,
};
use freehold_domain::{AreaUnit, Currency, FeeFrequency, ListingKey, PropertyId, UserId};
use freehold_ports::{GlobalPosition, StreamVersion};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Json, read_model};

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
