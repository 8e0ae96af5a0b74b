//! A property in full, and what changed when, field by field.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{DateTime, NaiveDate, Utc};
use freehold_domain::property::{
    ClosingRecorded, Concession, CoordinatePrecision, FactChange, FactField, LeaseTerms,
    ListingDrafted, ListingStatus, LocationVisibility, Media, MoveInCost, OngoingFee,
    PropertyEvent, PropertyFacts, PropertyRegistered,
};
use freehold_domain::{ListingKey, Price, PropertyId, UserId};
use freehold_ports::{EventFilter, GlobalPosition, LogName, RecordedEvent, StreamVersion, Table};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::listing::reorder;
use super::{events_of, stream_uuid, unknown};
use crate::{ApplyError, Json, ProjectedEvent, Projection, Rows, TypedRow, read_model};

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
        /// The field, named as in commands and events: `bedrooms`, `status`, `price`; all `facts`
        /// at once for a registration.
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

/// Fills [`PropertyRow`] and [`PropertyChangeRow`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Properties;

impl Projection for Properties {
    type Event = PropertyEvent;

    const NAME: &'static str = "properties";
    const VERSION: u32 = 1;

    fn log(&self) -> LogName {
        LogName::DOMAIN
    }

    fn filter(&self) -> EventFilter {
        events_of("property")
    }

    fn tables(&self) -> &'static [&'static Table] {
        &[PropertyRow::TABLE, PropertyChangeRow::TABLE]
    }

    fn apply(
        &self,
        event: ProjectedEvent<'_, PropertyEvent>,
        rows: &mut Rows,
    ) -> Result<(), ApplyError> {
        let ProjectedEvent { recorded, event } = event;
        let property = PropertyId(stream_uuid(recorded)?);
        let mut history = History { listing: None, changes: Vec::new() };
        let mut row = match event {
            PropertyEvent::PropertyRegistered(event) => {
                register(property, recorded, event, &mut history)
            }
            event => {
                let row = rows.get::<PropertyRow>(&(property,))?.cloned();
                let mut row = row.ok_or_else(|| unknown("property", property.0))?;
                change(&mut row, event, &mut history)?;
                row
            }
        };
        row.current_listing = row
            .last_period
            .as_ref()
            .filter(|period| !period.0.status.is_final())
            .map(|period| period.0.listing);
        row.changed_at = recorded.recorded_at;
        row.position = recorded.position;
        row.version = recorded.version;
        rows.put(row);
        history.write(property, recorded, rows);
        Ok(())
    }
}

fn register(
    property: PropertyId,
    recorded: &RecordedEvent,
    event: &PropertyRegistered,
    history: &mut History,
) -> PropertyRow {
    // In one row: what is there from the start need not be told apart field by field.
    history.note("facts", None, Some(&event.facts));
    if !event.amenities.is_empty() {
        history.note("amenities", None, Some(&event.amenities));
    }
    PropertyRow {
        property,
        tenant: recorded.provenance.tenant.clone(),
        source: Arc::from(event.source.source.as_str()),
        reference: Arc::from(event.source.reference.as_str()),
        facts: Json(Arc::new((*event.facts).clone())),
        amenities: Json(Arc::new(event.amenities.clone())),
        location_precision: None,
        location_visibility: None,
        verification_failure: None,
        media: Json::default(),
        preferred_photo: None,
        current_listing: None,
        last_period: None,
        listings: Json::default(),
        duplicate_of: None,
        archived: false,
        registered_at: recorded.occurred_at,
        changed_at: recorded.recorded_at,
        position: recorded.position,
        version: recorded.version,
    }
}

fn change(
    row: &mut PropertyRow,
    event: &PropertyEvent,
    history: &mut History,
) -> Result<(), ApplyError> {
    use ListingStatus as S;
    use PropertyEvent as E;
    match event {
        // It made the row.
        E::PropertyRegistered(_) => {}
        E::PropertyFactsCorrected(event) => {
            let facts = Arc::make_mut(&mut row.facts.0);
            for fact in &event.changes {
                facts.apply(fact);
                history.fact(fact);
            }
        }
        E::AmenitiesSet(event) => {
            history.note("amenities", Some(&event.old), Some(&event.new));
            row.amenities = Json(Arc::new(event.new.clone()));
        }
        E::AddressGeocoded(event) => {
            let coordinates = &mut Arc::make_mut(&mut row.facts.0).coordinates;
            history.set("coordinates", coordinates, Some(event.coordinates));
            history.also("precision", &mut row.location_precision, Some(event.precision));
            history.also("visibility", &mut row.location_visibility, Some(event.visibility));
            history.also("verification_failure", &mut row.verification_failure, None);
        }
        E::AddressVerificationFailed(event) => {
            let reason = Some(Arc::from(event.reason.as_str()));
            history.set("verification_failure", &mut row.verification_failure, reason);
        }
        E::MediaAttached(event) => {
            history.note("media", None, Some(&event.media));
            let media = Arc::make_mut(&mut row.media.0);
            media.push(event.media.clone());
            media.sort_by_key(|media| media.order);
        }
        E::MediaReordered(event) => {
            let old: Vec<Uuid> = row.media.0.iter().map(|media| media.id).collect();
            history.note("media_order", Some(&old), Some(&event.order));
            reorder(&mut row.media, &event.order);
        }
        E::PreferredPhotoSet(event) => {
            history.set("preferred_photo", &mut row.preferred_photo, Some(event.media));
        }
        E::MediaRemoved(event) => {
            let media = Arc::make_mut(&mut row.media.0);
            history.note("media", media.iter().find(|media| media.id == event.media), None);
            media.retain(|media| media.id != event.media);
            if row.preferred_photo == Some(event.media) {
                history.set("preferred_photo", &mut row.preferred_photo, None);
            }
        }
        E::ListingDrafted(event) => draft(row, event, history),
        E::ListingSubmitted(event) => {
            let period = period(row, event.listing, history)?;
            history.set("status", &mut period.status, S::InReview);
            history.note("submitted_by", None, Some(&event.submitted_by));
        }
        E::ListingApproved(event) => {
            period(row, event.listing, history)?;
            history.note("approved_by", None, Some(&event.approved_by));
        }
        E::ListingChangesRequested(event) => {
            let period = period(row, event.listing, history)?;
            history.set("status", &mut period.status, S::ChangesRequested);
            history.note("reasons", None, Some(&event.reasons));
        }
        E::ListingReturnedToDraft(event) => {
            let period = period(row, event.listing, history)?;
            history.set("status", &mut period.status, S::Draft);
        }
        E::ListingScheduled(event) => {
            let period = period(row, event.listing, history)?;
            history.set("status", &mut period.status, S::ComingSoon);
            history.also("price", &mut period.price, Some(event.price));
            history.also("available_from", &mut period.available_from, Some(event.available_from));
            history.also("on_market_date", &mut period.on_market_date, Some(event.on_market_date));
            history.also("expires_at", &mut period.expires_at, event.expires_at);
        }
        E::ListingPublished(event) => {
            let period = period(row, event.listing, history)?;
            history.set("status", &mut period.status, S::Active);
            history.also("price", &mut period.price, Some(event.price));
            history.also("available_from", &mut period.available_from, Some(event.available_from));
            history.also("expires_at", &mut period.expires_at, event.expires_at);
            history.note("published_at", None, Some(&event.published_at));
        }
        E::RentChanged(event) => {
            let period = period(row, event.listing, history)?;
            history.set("price", &mut period.price, Some(event.new));
            history.note_some("reason", event.reason.as_ref());
        }
        E::MoveInCostsSet(event) => {
            let period = period(row, event.listing, history)?;
            history.set("move_in_costs", &mut period.move_in_costs, event.costs.clone());
        }
        E::OngoingFeesSet(event) => {
            let period = period(row, event.listing, history)?;
            history.set("ongoing_fees", &mut period.ongoing_fees, event.fees.clone());
        }
        E::ConcessionOffered(event) => {
            let period = period(row, event.listing, history)?;
            history.note("concession", None, Some(&event.concession));
            period.concessions.push(event.concession.clone());
        }
        E::ConcessionWithdrawn(event) => {
            let period = period(row, event.listing, history)?;
            let ended = period.concessions.iter().find(|offered| offered.id == event.concession);
            history.note("concession", ended, None);
            period.concessions.retain(|offered| offered.id != event.concession);
        }
        E::LeaseTermsSet(event) => {
            let period = period(row, event.listing, history)?;
            history.set("lease_terms", &mut period.lease_terms, event.terms.clone());
        }
        E::AvailabilityChanged(event) => {
            let period = period(row, event.listing, history)?;
            history.set("available_from", &mut period.available_from, Some(event.new));
        }
        E::ListingUnderApplication(event) => {
            let period = period(row, event.listing, history)?;
            history.set("status", &mut period.status, S::UnderApplication);
            history.note("application", None, Some(&event.application));
        }
        E::ListingBackOnMarket(event) => {
            let period = period(row, event.listing, history)?;
            history.set("status", &mut period.status, S::Active);
            history.note("cause", None, Some(&event.cause));
            if let Some(application) = &event.application {
                history.note("application", Some(application), None);
            }
        }
        E::ListingPending(event) => {
            let period = period(row, event.listing, history)?;
            history.set("status", &mut period.status, S::Pending);
            history.note_some("application", event.application.as_ref());
        }
        E::ListingLeased(event) => {
            let period = period(row, event.listing, history)?;
            history.set("status", &mut period.status, S::Leased);
            history.note("lease", None, Some(&event.lease));
            history.note("rent_at_close", None, Some(&event.rent_at_close));
            history.note("close_date", None, Some(&event.close_date));
        }
        E::ListingHeld(event) => {
            let period = period(row, event.listing, history)?;
            history.set("status", &mut period.status, S::OnHold);
        }
        E::ListingWithdrawn(event) => {
            let period = period(row, event.listing, history)?;
            history.set("status", &mut period.status, S::Withdrawn);
            history.note("reason", None, Some(&event.reason));
        }
        E::ListingCancelled(event) => {
            let period = period(row, event.listing, history)?;
            history.set("status", &mut period.status, S::Cancelled);
        }
        E::ListingExpired(event) => {
            let period = period(row, event.listing, history)?;
            history.set("status", &mut period.status, S::Expired);
        }
        E::ListingVoided(event) => {
            let period = period(row, event.listing, history)?;
            history.set("status", &mut period.status, S::Voided);
        }
        E::ListingRenewed(event) => {
            let period = period(row, event.listing, history)?;
            history.set("expires_at", &mut period.expires_at, Some(event.new));
        }
        E::ListingAgentReassigned(event) => {
            let period = period(row, event.listing, history)?;
            history.set("agent", &mut period.agent, Some(event.new));
        }
        E::ClosingRecorded(event) => record_closing(row, event, history),
        E::MarkedDuplicateOf(event) => {
            history.set("duplicate_of", &mut row.duplicate_of, Some(event.survivor));
        }
        E::DuplicateSeparated(_) => history.set("duplicate_of", &mut row.duplicate_of, None),
        E::PropertyArchived(_) => history.set("archived", &mut row.archived, true),
    }
    Ok(())
}

fn draft(row: &mut PropertyRow, event: &ListingDrafted, history: &mut History) {
    history.listing = Some(event.listing);
    history.note("status", None, Some(&ListingStatus::Draft));
    history.note_some("price", event.price.as_ref());
    history.note_some("available_from", event.available_from.as_ref());
    history.note_some("agent", event.agent.as_ref());
    row.listings.0.push(event.listing);
    row.last_period = Some(Json(Arc::new(Period {
        listing: event.listing,
        status: ListingStatus::Draft,
        price: event.price,
        available_from: event.available_from,
        on_market_date: None,
        expires_at: None,
        agent: event.agent,
        move_in_costs: Vec::new(),
        ongoing_fees: Vec::new(),
        concessions: Vec::new(),
        lease_terms: LeaseTerms::default(),
    })));
}

fn record_closing(row: &mut PropertyRow, event: &ClosingRecorded, history: &mut History) {
    history.listing = Some(event.listing);
    history.note("status", None, Some(&ListingStatus::Leased));
    history.note("price", None, Some(&event.price));
    history.note("closed_on", None, Some(&event.closed_on));
    row.listings.0.push(event.listing);
}

/// The period an event is about: the last one, because no other changes any more.
fn period<'a>(
    row: &'a mut PropertyRow,
    listing: ListingKey,
    history: &mut History,
) -> Result<&'a mut Period, ApplyError> {
    history.listing = Some(listing);
    let last = row.last_period.as_mut().filter(|period| period.0.listing == listing);
    last.map(|period| Arc::make_mut(&mut period.0)).ok_or_else(|| unknown("listing", listing.0))
}

/// What one event changed, field by field.
struct History {
    listing: Option<ListingKey>,
    changes: Vec<Change>,
}

struct Change {
    field: &'static str,
    old: serde_json::Value,
    new: serde_json::Value,
}

/// What changes besides facts.
const CHANGES: [&str; 32] = [
    "agent",
    "amenities",
    "application",
    "approved_by",
    "archived",
    "available_from",
    "cause",
    "close_date",
    "closed_on",
    "concession",
    "coordinates",
    "duplicate_of",
    "expires_at",
    "facts",
    "lease",
    "lease_terms",
    "media",
    "media_order",
    "move_in_costs",
    "on_market_date",
    "ongoing_fees",
    "precision",
    "preferred_photo",
    "price",
    "published_at",
    "reason",
    "reasons",
    "rent_at_close",
    "status",
    "submitted_by",
    "verification_failure",
    "visibility",
];

/// Whether a [`PropertyChangeRow`] may be about a field of that name.
pub fn is_change(field: &str) -> bool {
    CHANGES.contains(&field) || FactField::ALL.iter().any(|fact| fact.field() == field)
}

impl History {
    /// Gives a field a value and remembers it, also where it had that value already.
    fn set<T: Serialize>(&mut self, field: &'static str, place: &mut T, new: T) {
        self.note(field, Some(&*place), Some(&new));
        *place = new;
    }

    /// Gives a field a value and remembers it if that is news.
    fn also<T: Serialize + PartialEq>(&mut self, field: &'static str, place: &mut T, new: T) {
        if *place != new {
            self.set(field, place, new);
        }
    }

    fn fact(&mut self, fact: &FactChange) {
        // A change of a fact is {"bedrooms": {"old": 2, "new": 3}}.
        let mut changed = match serde_json::to_value(fact) {
            Ok(serde_json::Value::Object(fact)) => fact.into_iter().next(),
            _ => None,
        };
        let mut part = |part| match &mut changed {
            Some((_, serde_json::Value::Object(changed))) => changed.remove(part),
            _ => None,
        };
        let (old, new) = (part("old").unwrap_or_default(), part("new").unwrap_or_default());
        self.changes.push(Change { field: fact.field().field(), old, new });
    }

    fn note<T: Serialize>(&mut self, field: &'static str, old: Option<&T>, new: Option<&T>) {
        // Only a map with keys that are no text has no JSON form, and no field holds one.
        let json = |value| serde_json::to_value(value).unwrap_or_default();
        self.changes.push(Change { field, old: json(old), new: json(new) });
    }

    fn note_some<T: Serialize>(&mut self, field: &'static str, new: Option<&T>) {
        if new.is_some() {
            self.note(field, None, new);
        }
    }

    fn write(self, property: PropertyId, recorded: &RecordedEvent, rows: &mut Rows) {
        let json = |value: serde_json::Value| (!value.is_null()).then_some(Json(value));
        for (ordinal, change) in (0..).zip(self.changes) {
            rows.put(PropertyChangeRow {
                property,
                position: recorded.position,
                ordinal,
                listing: self.listing,
                event_type: recorded.event_type.clone(),
                field: Arc::from(change.field),
                old: json(change.old),
                new: json(change.new),
                actor: recorded.provenance.actor.clone(),
                occurred_at: recorded.occurred_at,
                recorded_at: recorded.recorded_at,
            });
        }
    }
}
