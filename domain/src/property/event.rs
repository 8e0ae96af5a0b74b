//! What happened to a property, its listing periods and its media.
//!
//! Every event of a listing period names the period. A payload holds what a reader needs to follow
//! the change without the stream at hand; who did it and when stand in the envelope.

use std::collections::BTreeSet;

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::facts::{FactChange, PropertyFacts};
use super::listing::BackOnMarketCause;
use super::media::Media;
use super::named::named_enum;
use super::terms::{Concession, LeaseTerms, MoveInCost, OngoingFee};
use super::upcast::PropertyRegisteredV1;
use crate::event::stored_events;
use crate::{
    Actor, ApplicationId, Claim, ClaimKey, Coordinates, LeaseId, ListingKey, Price, PropertyId,
    Uniqueness, UserId,
};

stored_events! {
    /// What happened to a property.
    pub enum PropertyEvent (personal: false, claims: claims) {
        PropertyRegistered = 2 from { 1 => PropertyRegisteredV1 },
        PropertyFactsCorrected = 1,
        AmenitiesSet = 1,
        AddressGeocoded = 1,
        AddressVerificationFailed = 1,
        MediaAttached = 1,
        MediaReordered = 1,
        PreferredPhotoSet = 1,
        MediaRemoved = 1,
        ListingDrafted = 1,
        ListingSubmitted = 1,
        ListingApproved = 1,
        ListingChangesRequested = 1,
        ListingReturnedToDraft = 1,
        ListingScheduled = 1,
        ListingPublished = 1,
        RentChanged = 1,
        MoveInCostsSet = 1,
        OngoingFeesSet = 1,
        ConcessionOffered = 1,
        ConcessionWithdrawn = 1,
        LeaseTermsSet = 1,
        AvailabilityChanged = 1,
        ListingUnderApplication = 1,
        ListingBackOnMarket = 1,
        ListingPending = 1,
        ListingLeased = 1,
        ListingHeld = 1,
        ListingWithdrawn = 1,
        ListingCancelled = 1,
        ListingExpired = 1,
        ListingVoided = 1,
        ListingRenewed = 1,
        ListingAgentReassigned = 1,
        ClosingRecorded = 1,
        MarkedDuplicateOf = 1,
        DuplicateSeparated = 1,
        PropertyArchived = 1,
    }
}

/// Both keys are unique within a tenant, for ever: an archived property keeps its reference, and a
/// listing's key alone says which property it belongs to.
fn claims(event: &PropertyEvent) -> Vec<Claim> {
    let taken = |namespace, key| {
        vec![Claim { namespace, uniqueness: Uniqueness::Taken, key: ClaimKey::Clear(key) }]
    };
    match event {
        PropertyEvent::PropertyRegistered(event) => taken("source", event.source.key()),
        PropertyEvent::ListingDrafted(event) => taken("listing", event.listing.to_string()),
        PropertyEvent::ClosingRecorded(event) => taken("listing", event.listing.to_string()),
        _ => Vec::new(),
    }
}

/// The sender of a property and the sender's own name for it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SourceRef {
    /// The feed, network or client; never contains a slash.
    pub source: String,
    /// What the sender calls the property.
    pub reference: String,
}

impl SourceRef {
    /// Both in one text: `lucas/lucas-00001`.
    pub fn key(&self) -> String {
        format!("{}/{}", self.source, self.reference)
    }
}

/// A unit became known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PropertyRegistered {
    /// Who sent it, and the sender's name for it.
    pub source: SourceRef,
    /// What is known about it; the property type is always among it.
    pub facts: Box<PropertyFacts>,
    /// What it offers, sorted.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub amenities: BTreeSet<String>,
}

/// Facts of the unit changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PropertyFactsCorrected {
    /// The changed facts alone, in the order of [`PropertyFacts`]; never empty.
    pub changes: Vec<FactChange>,
}

/// What the unit offers changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AmenitiesSet {
    /// What it offered before, sorted.
    pub old: BTreeSet<String>,
    /// What it offers now, sorted.
    pub new: BTreeSet<String>,
}

/// The address was found on the map.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AddressGeocoded {
    /// Where it stands.
    pub coordinates: Coordinates,
    /// How close to the truth that is.
    pub precision: CoordinatePrecision,
    /// How much of it the public may see.
    pub visibility: LocationVisibility,
}

named_enum! {
    /// How close coordinates are to the truth.
    pub enum CoordinatePrecision {
        /// The building.
        Rooftop,
        /// The lot.
        Parcel,
        /// The street.
        Street,
        /// The postal code.
        PostalCode,
        /// The city.
        City,
    }
}

named_enum! {
    /// How much of a location the public may see.
    pub enum LocationVisibility {
        /// All of it.
        Exact,
        /// The neighbourhood.
        Approximate,
        /// Nothing.
        Hidden,
    }
}

/// The address was not found on the map.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressVerificationFailed {
    /// What the geocoder said.
    pub reason: String,
}

/// A picture, plan or film was added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MediaAttached {
    /// What was added.
    pub media: Media,
}

/// All media were put in a new order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MediaReordered {
    /// Every medium of the property; the first gets order 1.
    pub order: Vec<Uuid>,
}

/// One photo became the one that is shown first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreferredPhotoSet {
    /// The photo.
    pub media: Uuid,
}

/// A medium was taken away; a preferred photo leaves none preferred.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MediaRemoved {
    /// Which.
    pub media: Uuid,
}

/// A listing period began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListingDrafted {
    /// The new period.
    pub listing: ListingKey,
    /// The rent, or the price of a sale, where already known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price: Option<Price>,
    /// The first day it can be had, where already known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub available_from: Option<NaiveDate>,
    /// Who looks after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<UserId>,
}

/// A draft was handed to a reviewer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListingSubmitted {
    /// The period.
    pub listing: ListingKey,
    /// Who must not approve it where four eyes are asked for.
    pub submitted_by: Actor,
}

/// A reviewer agreed; the listing may now be scheduled or published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListingApproved {
    /// The period.
    pub listing: ListingKey,
    /// The reviewer.
    pub approved_by: Actor,
}

/// A reviewer sent the listing back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListingChangesRequested {
    /// The period.
    pub listing: ListingKey,
    /// What to change; never empty.
    pub reasons: Vec<String>,
}

/// A listing in review became a draft again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListingReturnedToDraft {
    /// The period.
    pub listing: ListingKey,
}

/// A listing was announced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListingScheduled {
    /// The period.
    pub listing: ListingKey,
    /// The rent, or the price of a sale.
    pub price: Price,
    /// The first day it can be had.
    pub available_from: NaiveDate,
    /// The day it comes on the market.
    pub on_market_date: NaiveDate,
    /// When it leaves the market by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<DateTime<Utc>>,
}

/// A listing came on the market for the first time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListingPublished {
    /// The period.
    pub listing: ListingKey,
    /// The rent, or the price of a sale.
    pub price: Price,
    /// The first day it can be had.
    pub available_from: NaiveDate,
    /// When it leaves the market by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<DateTime<Utc>>,
    /// When it came on the market.
    pub published_at: DateTime<Utc>,
}

/// The rent, or the price of a sale, changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RentChanged {
    /// The period.
    pub listing: ListingKey,
    /// Before, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old: Option<Price>,
    /// Now; differs from the old one.
    pub new: Price,
    /// Why, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What moving in costs was set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoveInCostsSet {
    /// The period.
    pub listing: ListingKey,
    /// All costs, sorted by kind; replaces what was set before.
    pub costs: Vec<MoveInCost>,
}

/// What is due besides the rent was set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OngoingFeesSet {
    /// The period.
    pub listing: ListingKey,
    /// All fees, sorted by kind; replaces what was set before.
    pub fees: Vec<OngoingFee>,
}

/// Something was offered on top.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConcessionOffered {
    /// The period.
    pub listing: ListingKey,
    /// What is offered.
    pub concession: Concession,
}

/// An offer on top ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConcessionWithdrawn {
    /// The period.
    pub listing: ListingKey,
    /// Which one.
    pub concession: Uuid,
}

/// The terms of the lease were set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseTermsSet {
    /// The period.
    pub listing: ListingKey,
    /// All terms; replaces what was set before.
    pub terms: LeaseTerms,
}

/// The first day it can be had changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AvailabilityChanged {
    /// The period.
    pub listing: ListingKey,
    /// Before, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old: Option<NaiveDate>,
    /// Now.
    pub new: NaiveDate,
}

/// An application was accepted; the listing is still shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListingUnderApplication {
    /// The period.
    pub listing: ListingKey,
    /// The application that holds it.
    pub application: ApplicationId,
}

/// A listing that had been on the market is on it again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListingBackOnMarket {
    /// The period.
    pub listing: ListingKey,
    /// Why.
    pub cause: BackOnMarketCause,
    /// The application that no longer holds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub application: Option<ApplicationId>,
}

/// An application was accepted; the listing is no longer shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListingPending {
    /// The period.
    pub listing: ListingKey,
    /// The application that holds it, where one is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub application: Option<ApplicationId>,
}

/// A lease closed the listing period.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListingLeased {
    /// The period.
    pub listing: ListingKey,
    /// The lease.
    pub lease: LeaseId,
    /// The rent that was agreed.
    pub rent_at_close: Price,
    /// The day it was agreed.
    pub close_date: NaiveDate,
}

/// A listing was taken off the market for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListingHeld {
    /// The period.
    pub listing: ListingKey,
}

/// A listing was taken off the market and is not expected back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListingWithdrawn {
    /// The period.
    pub listing: ListingKey,
    /// Why, in words.
    pub reason: String,
}

/// A listing period was given up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListingCancelled {
    /// The period.
    pub listing: ListingKey,
}

/// The time of a listing period ran out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListingExpired {
    /// The period.
    pub listing: ListingKey,
}

/// A draft was thrown away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListingVoided {
    /// The period.
    pub listing: ListingKey,
}

/// A listing period got another end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListingRenewed {
    /// The period.
    pub listing: ListingKey,
    /// The end it had, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old: Option<DateTime<Utc>>,
    /// Its end now.
    pub new: DateTime<Utc>,
}

/// Somebody else looks after a listing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListingAgentReassigned {
    /// The period.
    pub listing: ListingKey,
    /// Who looked after it, if anybody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old: Option<UserId>,
    /// Who looks after it now.
    pub new: UserId,
}

/// A listing period that ended elsewhere, earlier, became known: history from another system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClosingRecorded {
    /// The period, closed as it begins.
    pub listing: ListingKey,
    /// The price that was agreed.
    pub price: Price,
    /// The day it was agreed.
    pub closed_on: NaiveDate,
}

/// The property turned out to be another one, which survives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MarkedDuplicateOf {
    /// The property that survives.
    pub survivor: PropertyId,
}

/// The property turned out to be one of its own after all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DuplicateSeparated {
    /// The property it was taken for.
    pub survivor: PropertyId,
}

/// The property is kept for its history only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PropertyArchived {}
