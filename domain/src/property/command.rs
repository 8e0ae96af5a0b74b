//! What can be asked of a property.
//!
//! A command on a listing names its period. What a decision needs to know from other streams comes
//! in the command, from whoever sends it: the `is_`, `has_` and `_active` flags. What the sender
//! looked up itself is not written down: sent again, the same command may find another answer.

use std::collections::BTreeSet;

use chrono::{DateTime, NaiveDate, Utc};
use serde::Serialize;
use uuid::Uuid;

use super::event::{CoordinatePrecision, LocationVisibility, SourceRef};
use super::facts::{FactField, PropertyFacts};
use super::listing::BackOnMarketCause;
use super::media::MediaCategory;
use super::terms::{Concession, LeaseTerms, MoveInCost, OngoingFee};
use crate::{ApplicationId, Coordinates, LeaseId, ListingKey, Price, PropertyId, UserId};

macro_rules! commands {
    ($($variant:ident),+ $(,)?) => {
        /// A request about one property; may be refused.
        #[derive(Clone, Debug, PartialEq, Serialize)]
        #[allow(missing_docs, reason = "each variant is documented at the struct of its name")]
        pub enum PropertyCommand { $( $variant($variant) ),+ }

        $( impl From<$variant> for PropertyCommand {
            fn from(command: $variant) -> Self { Self::$variant(command) }
        } )+
    };
}

commands! {
    RegisterProperty,
    CorrectPropertyFacts,
    SetAmenities,
    VerifyAddress,
    AttachMedia,
    ReorderMedia,
    SetPreferredPhoto,
    RemoveMedia,
    DraftListing,
    SubmitForReview,
    ApproveListing,
    RequestChanges,
    ReturnToDraft,
    ScheduleListing,
    PublishListing,
    ChangeRent,
    SetMoveInCosts,
    SetOngoingFees,
    OfferConcession,
    WithdrawConcession,
    SetLeaseTerms,
    ChangeAvailability,
    MarkUnderApplication,
    ReleaseApplicationHold,
    MarkPending,
    CloseAsLeased,
    HoldListing,
    ResumeListing,
    WithdrawListing,
    CancelListing,
    ExpireListing,
    VoidListing,
    RenewListing,
    ReassignAgent,
    RecordClosing,
    MarkDuplicateOf,
    SeparateDuplicate,
    ArchiveProperty,
}

/// Who brings a property, and so how much must be known at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Origin {
    /// A person or their program: says where the property is and what kind of home it is.
    Client,
    /// A feed: its data arrive field by field, so an unknown type becomes `Other` and a location
    /// may follow. Publishing waits until the listing is complete.
    Feed,
}

/// Makes a unit known.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RegisterProperty {
    /// Who sends it, and the sender's name for it.
    pub source: SourceRef,
    /// Who brings it.
    pub origin: Origin,
    /// What is known about it.
    pub facts: Box<PropertyFacts>,
    /// What it offers.
    pub amenities: BTreeSet<String>,
}

/// Corrects what is known about the unit; what is not named stays as it is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CorrectPropertyFacts {
    /// Facts with their right values.
    pub facts: Box<PropertyFacts>,
    /// Facts that are not known after all.
    pub clear: BTreeSet<FactField>,
}

/// Replaces what the unit offers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SetAmenities {
    /// All of it.
    pub amenities: BTreeSet<String>,
}

/// Brings the answer of a geocoder.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct VerifyAddress {
    /// The answer.
    pub outcome: Geocoding,
}

/// What a geocoder says about an address.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Geocoding {
    /// It is here.
    Found {
        /// Where.
        coordinates: Coordinates,
        /// How close to the truth that is.
        precision: CoordinatePrecision,
        /// How much of it the public may see.
        visibility: LocationVisibility,
    },
    /// There is no such place.
    NotFound {
        /// In the geocoder's words.
        reason: String,
    },
}

/// Adds a picture, plan or film; again the same is no change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AttachMedia {
    /// Names it within the property.
    pub id: Uuid,
    /// Where the file is, http or https.
    pub url: String,
    /// What it shows.
    pub category: MediaCategory,
    /// A public line of text.
    pub caption: Option<String>,
    /// Its place; after the last one where absent.
    pub order: Option<u16>,
}

/// Puts all media in a new order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReorderMedia {
    /// Every medium once, first to last.
    pub order: Vec<Uuid>,
}

/// Chooses the photo that is shown first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SetPreferredPhoto {
    /// The photo.
    pub media: Uuid,
}

/// Takes a medium away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RemoveMedia {
    /// Which.
    pub media: Uuid,
}

/// Begins a listing period.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DraftListing {
    /// A key that no period of the property had before.
    pub listing: ListingKey,
    /// The rent, or the price of a sale, where already known.
    pub price: Option<Price>,
    /// The first day it can be had, where already known.
    pub available_from: Option<NaiveDate>,
    /// Who looks after it.
    pub agent: Option<UserId>,
}

/// Hands a draft to a reviewer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SubmitForReview {
    /// The period.
    pub listing: ListingKey,
}

/// Agrees to a listing in review.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ApproveListing {
    /// The period.
    pub listing: ListingKey,
}

/// Sends a listing in review back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RequestChanges {
    /// The period.
    pub listing: ListingKey,
    /// What to change.
    pub reasons: Vec<String>,
}

/// Takes a listing out of review.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReturnToDraft {
    /// The period.
    pub listing: ListingKey,
}

/// Announces a complete listing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ScheduleListing {
    /// The period.
    pub listing: ListingKey,
    /// The day it comes on the market.
    pub on_market_date: NaiveDate,
    /// When it leaves the market by itself; as before where absent.
    pub expires_at: Option<DateTime<Utc>>,
}

/// Puts a complete listing on the market for the first time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PublishListing {
    /// The period.
    pub listing: ListingKey,
    /// When it leaves the market by itself; as before where absent.
    pub expires_at: Option<DateTime<Utc>>,
}

/// Changes the rent, or the price of a sale; the same again is no change, because feeds resend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ChangeRent {
    /// The period.
    pub listing: ListingKey,
    /// The new price.
    pub price: Price,
    /// Why, in words.
    pub reason: Option<String>,
}

/// Replaces what moving in costs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SetMoveInCosts {
    /// The period.
    pub listing: ListingKey,
    /// All costs, each kind once.
    pub costs: Vec<MoveInCost>,
}

/// Replaces what is due besides the rent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SetOngoingFees {
    /// The period.
    pub listing: ListingKey,
    /// All fees, each kind once.
    pub fees: Vec<OngoingFee>,
}

/// Offers something on top; again the same is no change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OfferConcession {
    /// The period.
    pub listing: ListingKey,
    /// What is offered.
    pub concession: Concession,
}

/// Ends an offer on top.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WithdrawConcession {
    /// The period.
    pub listing: ListingKey,
    /// Which one.
    pub concession: Uuid,
}

/// Replaces the terms of the lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SetLeaseTerms {
    /// The period.
    pub listing: ListingKey,
    /// All terms.
    pub terms: LeaseTerms,
}

/// Changes the first day it can be had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ChangeAvailability {
    /// The period.
    pub listing: ListingKey,
    /// The new day.
    pub available_from: NaiveDate,
}

/// Says that an application was accepted; sent by the process that accepts it. The application
/// that holds the listing already is no change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MarkUnderApplication {
    /// The period.
    pub listing: ListingKey,
    /// The application.
    pub application: ApplicationId,
}

/// Says that an accepted application fell through; sent by the process that accepted it. A listing
/// that is on the market already is no change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReleaseApplicationHold {
    /// The period.
    pub listing: ListingKey,
    /// The application.
    pub application: ApplicationId,
    /// Why.
    pub cause: BackOnMarketCause,
}

/// Stops showing a listing whose application was accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MarkPending {
    /// The period.
    pub listing: ListingKey,
    /// The application; the one that holds the listing where absent.
    pub application: Option<ApplicationId>,
}

/// Closes a listing period by a lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CloseAsLeased {
    /// The period.
    pub listing: ListingKey,
    /// The lease.
    pub lease: LeaseId,
    /// The rent that was agreed; the listed one where absent.
    pub rent_at_close: Option<Price>,
    /// The day it was agreed.
    pub close_date: NaiveDate,
}

/// Takes a listing off the market for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HoldListing {
    /// The period.
    pub listing: ListingKey,
}

/// Puts a held or withdrawn listing on the market again, or at last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ResumeListing {
    /// The period.
    pub listing: ListingKey,
}

/// Takes a listing off the market, not to return.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WithdrawListing {
    /// The period.
    pub listing: ListingKey,
    /// Why, in words.
    pub reason: String,
}

/// Gives a listing period up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CancelListing {
    /// The period.
    pub listing: ListingKey,
}

/// Ends a listing period whose time ran out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExpireListing {
    /// The period.
    pub listing: ListingKey,
}

/// Throws a draft away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VoidListing {
    /// The period.
    pub listing: ListingKey,
}

/// Gives a listing period another end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RenewListing {
    /// The period.
    pub listing: ListingKey,
    /// Its new end.
    pub expires_at: DateTime<Utc>,
}

/// Lets somebody else look after a listing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReassignAgent {
    /// The period.
    pub listing: ListingKey,
    /// Who.
    pub agent: UserId,
    /// Whether that account is active.
    #[serde(skip)]
    pub agent_active: bool,
}

/// Adds a listing period that ended elsewhere, earlier: history from another system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RecordClosing {
    /// A key that no period of the property had before.
    pub listing: ListingKey,
    /// The price that was agreed.
    pub price: Price,
    /// The day it was agreed.
    pub closed_on: NaiveDate,
}

/// Says that the property is another one, which survives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MarkDuplicateOf {
    /// This property.
    pub property: PropertyId,
    /// The other one.
    pub survivor: PropertyId,
    /// Whether the other one is a duplicate as well.
    #[serde(skip)]
    pub survivor_is_duplicate: bool,
    /// Whether people wait for an answer to their applications.
    pub has_open_applications: bool,
}

/// Says that the property is one of its own after all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SeparateDuplicate;

/// Keeps the property for its history only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ArchiveProperty {
    /// Whether somebody lives there under a lease.
    pub has_current_lease: bool,
}
