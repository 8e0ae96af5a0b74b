//! A property in full, and what changed when, field by field.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{DateTime, NaiveDate, Utc};
use freehold_domain::property::{
    Concession, CoordinatePrecision, LeaseTerms, ListingStatus, LocationVisibility, Media,
    MoveInCost, OngoingFee, PropertyFacts,
};
use freehold_domain::{ListingKey, Price, PropertyId, UserId};
use freehold_ports::{GlobalPosition, StreamVersion};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Json, read_model};

read_model! {
    /// Everything known about one property.
    pub struct PropertyRow in "property" {
        key {
            /// The property.
            property: PropertyId,
        }
        /// Who owns it.
        tenant: Arc<str>,
        /// Who sent it.
        source: Arc<str>,
        /// What the sender calls it.
        reference: Arc<str>,
        /// Its facts; areas with the unit they were given in.
        facts: Json<Arc<PropertyFacts>>,
        /// What it offers, sorted.
        amenities: Json<Arc<BTreeSet<String>>>,
        /// How close the coordinates are to the truth, where a geocoder said so.
        location_precision: Option<CoordinatePrecision>,
        /// How much of the location the public may see, where it was said.
        location_visibility: Option<LocationVisibility>,
        /// What the geocoder said, while the address is not found.
        verification_failure: Option<Arc<str>>,
        /// Its media, in order.
        media: Json<Arc<Vec<Media>>>,
        /// The photo that is shown first, where one was chosen.
        preferred_photo: Option<Uuid>,
        /// The open listing period.
        current_listing: Option<ListingKey>,
        /// The period that was drafted last, open or not, with its costs and terms.
        last_period: Option<Json<Arc<Period>>>,
        /// Every listing period, oldest first; recorded closings are among them.
        listings: Json<Vec<ListingKey>>,
        /// The property that survives, while this one counts as its duplicate.
        duplicate_of: Option<PropertyId>,
        /// Whether it is kept for its history only.
        archived: bool,
        /// When it was registered.
        registered_at: DateTime<Utc>,
        /// When its last event was recorded.
        changed_at: DateTime<Utc>,
        /// The position of its last event.
        position: GlobalPosition,
        /// The version of its stream.
        version: StreamVersion,
    }
    indexes [["tenant", "source", "reference"], ["position"]]
}

read_model! {
    /// One field that one event changed.
    pub struct PropertyChangeRow in "property_change" {
        key {
            /// The property.
            property: PropertyId,
            /// The position of the event.
            position: GlobalPosition,
            /// Counts the fields that the event changed, from 0.
            ordinal: i64,
        }
        /// The listing period, if it is about one.
        listing: Option<ListingKey>,
        /// The event.
        event_type: Arc<str>,
        /// The field, named as in commands and events: `bedrooms`, `status`, `price`.
        field: Arc<str>,
        /// What it was; null where there was nothing.
        old: Option<Json<serde_json::Value>>,
        /// What it is; null where there is nothing now.
        new: Option<Json<serde_json::Value>>,
        /// Who did it.
        actor: Arc<str>,
        /// When it happened.
        occurred_at: DateTime<Utc>,
        /// When it was recorded.
        recorded_at: DateTime<Utc>,
    }
}

/// A listing period with what was said about it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Period {
    /// Its key.
    pub listing: ListingKey,
    /// Where it stands.
    pub status: ListingStatus,
    /// The rent, or the price of a sale.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price: Option<Price>,
    /// The first day it can be had.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub available_from: Option<NaiveDate>,
    /// The day it was announced for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_market_date: Option<NaiveDate>,
    /// When it leaves the market by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<DateTime<Utc>>,
    /// Who looks after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<UserId>,
    /// What moving in costs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub move_in_costs: Vec<MoveInCost>,
    /// What is due besides the rent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ongoing_fees: Vec<OngoingFee>,
    /// What is offered on top.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub concessions: Vec<Concession>,
    /// On which terms it is let.
    #[serde(default)]
    pub lease_terms: LeaseTerms,
}
