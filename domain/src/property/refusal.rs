//! Why a command on a property is refused.

use chrono::{DateTime, Utc};

use super::listing::ListingStatus;
use crate::{ApplicationId, Complaint, ListingKey, PropertyId, Refusal};

/// Why nothing happened; shown to whoever sent the command.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PropertyRefused {
    /// Nothing is known under this id.
    #[error("this property is not registered; register it first")]
    NotRegistered,
    /// Something is known under this id.
    #[error("this property is registered already; correct its facts instead")]
    AlreadyRegistered,
    /// Kept for its history only.
    #[error("this property is archived; register it under another reference to offer it again")]
    Archived,
    /// Fields of the command are wrong or missing: all of them, never none.
    #[error("{}", messages(.0))]
    Invalid(Vec<InvalidField>),
    /// Another period is open.
    #[error("listing {open} is still open; close it before another period begins")]
    ListingAlreadyOpen {
        /// The open period.
        open: ListingKey,
    },
    /// The property never had this period.
    #[error("this property has no listing {listing}; draft it first")]
    ListingNotFound {
        /// The key that was asked for.
        listing: ListingKey,
    },
    /// The period had its end.
    #[error("this listing is {} for good; draft a new one", status.name())]
    ListingClosed {
        /// How it ended.
        status: ListingStatus,
    },
    /// A closed period never reopens.
    #[error("an earlier listing has this key; draft the new one under a new key")]
    ListingKeyUsed,
    /// The state machine has no such arrow, or not for this command.
    #[error(
        "this listing is {} and cannot become {} this way; {}",
        from.name(), to.name(), instead(*from, *to)
    )]
    InvalidTransition {
        /// Where it stands.
        from: ListingStatus,
        /// Where the command would take it.
        to: ListingStatus,
    },
    /// Nobody asked for a review.
    #[error("this listing is {}, not in review; submit it first", status.name())]
    NotInReview {
        /// Where it stands.
        status: ListingStatus,
    },
    /// It is in review and nobody agreed yet.
    #[error("this listing waits for approval; approve it or return it to draft")]
    NotApproved,
    /// The tenant wants a second person to approve.
    #[error("whoever submitted a listing may not approve it; ask somebody else")]
    FourEyes,
    /// It would leave the market before it comes on it.
    #[error("a listing must expire later than it is published; choose a later end")]
    ExpiryTooEarly,
    /// Its time has not run out.
    #[error("this listing has time left; cancel or withdraw it instead")]
    NotYetExpired {
        /// When it runs out, if ever.
        expires_at: Option<DateTime<Utc>>,
    },
    /// An accepted application relies on the rent.
    #[error("the rent is fixed once a listing is pending; put it back on the market first")]
    RentFixed,
    /// The listing is held by another application, or by none.
    #[error("this application does not hold the listing; release the one that does")]
    ApplicationMismatch {
        /// The application that holds it, where one is known.
        held_by: Option<ApplicationId>,
    },
    /// The listing has no such concession.
    #[error("this listing offers no such concession")]
    ConcessionNotFound,
    /// The identifier names something else.
    #[error("this id names something else here; send a new one")]
    IdTaken {
        /// The field it came in.
        field: &'static str,
    },
    /// The property has no such medium.
    #[error("this property has no such medium")]
    MediaNotFound {
        /// The field it came in.
        field: String,
    },
    /// Two media cannot stand in one place.
    #[error("another medium has this order; choose a free one or none")]
    MediaOrderTaken,
    /// A new order must name every medium once.
    #[error("a new order names every medium of the property exactly once")]
    MediaOrderIncomplete,
    /// Only a photo can be shown first.
    #[error("only a photo can be preferred")]
    NotAPhoto,
    /// The agent cannot take the listing.
    #[error("this agent is not active; choose another")]
    AgentInactive,
    /// A property is not its own duplicate.
    #[error("a property cannot be a duplicate of itself")]
    SelfDuplicate,
    /// Duplicates would form a chain or a circle.
    #[error("the survivor is itself a duplicate; name the property that survives it")]
    SurvivorIsDuplicate,
    /// It is a duplicate of another property.
    #[error("this property is a duplicate of {survivor}; separate them first")]
    AlreadyDuplicate {
        /// The property that survives it.
        survivor: PropertyId,
    },
    /// Nothing to separate.
    #[error("this property is no duplicate")]
    NotADuplicate,
    /// People wait for an answer to their applications.
    #[error("applications for this property are open; decide them before merging")]
    MergeBlocked,
    /// An open period forbids archiving.
    #[error("listing {open} is still open; close it before archiving")]
    ListingStillOpen {
        /// The open period.
        open: ListingKey,
    },
    /// Somebody lives there.
    #[error("a lease is current; end it before archiving")]
    LeaseStillCurrent,
}

/// A field of a command and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct InvalidField {
    /// Its path: `facts.living_area`, `costs[1].price`.
    pub field: String,
    /// What is wrong.
    pub problem: Problem,
}

/// What is wrong with a field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A client must say where a property is.
    #[error("an address or coordinates are needed")]
    LocationMissing,
    /// A property always has a type.
    #[error("a property type is needed")]
    PropertyTypeMissing,
    /// Publishing and geocoding need an address.
    #[error("an address is needed")]
    AddressMissing,
    /// Publishing needs a price.
    #[error("a rent with currency and frequency is needed")]
    RentMissing,
    /// Publishing needs a day of availability.
    #[error("the first day it can be had is needed")]
    AvailabilityMissing,
    /// Publishing needs a photo.
    #[error("at least one photo is needed")]
    PhotoMissing,
    /// Nothing was written.
    #[error("must not be empty")]
    Blank,
    /// Too much was written.
    #[error("must not be longer than {0} characters")]
    TooLong(usize),
    /// A line of text holds what no line of text holds.
    #[error("must not hold control characters")]
    ControlCharacter,
    /// Not of the form that is understood.
    #[error("must be {0}")]
    Malformed(&'static str),
    /// Too many entries.
    #[error("must not hold more than {0} entries")]
    TooMany(usize),
    /// The number is too small or too large.
    #[error("must be between {min} and {max}")]
    OutOfRange {
        /// The smallest that is allowed.
        min: u16,
        /// The largest that is allowed.
        max: u16,
    },
    /// The quantity is no such quantity.
    #[error("{0}")]
    Impossible(&'static str),
    /// The date is before today.
    #[error("must not be in the past")]
    InPast,
    /// The date is after today.
    #[error("must not be in the future")]
    InFuture,
    /// One command gives a value and takes it away.
    #[error("is both set and cleared; send one of the two")]
    SetAndCleared,
    /// One kind appears twice.
    #[error("appears twice; send each kind once")]
    Repeated,
    /// A cost of moving in is paid once.
    #[error("must be a one-time price")]
    NotOneTime,
    /// A fee comes again.
    #[error("must have a frequency")]
    NotRecurring,
    /// Rent, costs and fees must add up.
    #[error("must be in the currency of the listing's other prices")]
    CurrencyMismatch,
    /// The shortest lease is longer than the longest.
    #[error("must not be more than the longest lease")]
    MinAboveMax,
    /// The same thing is included and paid besides.
    #[error("is included in the rent as well; send it once")]
    PaidTwice,
}

/// What may be done with a listing instead.
fn instead(from: ListingStatus, to: ListingStatus) -> String {
    use ListingStatus as S;
    if from.may_become().contains(&to) {
        // Each way back to the market has a command of its own.
        return match from {
            S::OnHold | S::Withdrawn => "resume it".to_owned(),
            S::UnderApplication | S::Pending => "release it from its application".to_owned(),
            _ => "publish it".to_owned(),
        };
    }
    let names: Vec<&str> = from.may_become().iter().map(|status| status.name()).collect();
    match names.split_last() {
        None => "that is final: draft a new one".to_owned(),
        Some((last, [])) => format!("it may become {last}"),
        Some((last, others)) => format!("it may become {} or {last}", others.join(", ")),
    }
}

fn messages(invalid: &[InvalidField]) -> String {
    invalid.iter().map(InvalidField::to_string).collect::<Vec<_>>().join("; ")
}

impl Problem {
    fn code(&self) -> &'static str {
        match self {
            Self::LocationMissing => "LOCATION_MISSING",
            Self::PropertyTypeMissing => "PROPERTY_TYPE_MISSING",
            Self::AddressMissing => "ADDRESS_MISSING",
            Self::RentMissing => "RENT_MISSING",
            Self::AvailabilityMissing => "AVAILABILITY_MISSING",
            Self::PhotoMissing => "PHOTO_MISSING",
            Self::Blank => "BLANK",
            Self::TooLong(_) => "TOO_LONG",
            Self::ControlCharacter | Self::Malformed(_) => "MALFORMED",
            Self::TooMany(_) => "TOO_MANY",
            Self::OutOfRange { .. } | Self::Impossible(_) => "OUT_OF_RANGE",
            Self::InPast => "DATE_IN_PAST",
            Self::InFuture => "DATE_IN_FUTURE",
            Self::SetAndCleared => "SET_AND_CLEARED",
            Self::Repeated => "REPEATED",
            Self::NotOneTime => "NOT_ONE_TIME",
            Self::NotRecurring => "NOT_RECURRING",
            Self::CurrencyMismatch => "CURRENCY_MISMATCH",
            Self::MinAboveMax => "MIN_ABOVE_MAX",
            Self::PaidTwice => "PAID_TWICE",
        }
    }
}

impl PropertyRefused {
    /// Every code that a complaint of a property can have, in alphabetical order.
    pub const ALL_CODES: &'static [&'static str] = &[
        "ADDRESS_MISSING",
        "AGENT_INACTIVE",
        "ALREADY_DUPLICATE",
        "ALREADY_REGISTERED",
        "APPLICATION_MISMATCH",
        "AVAILABILITY_MISSING",
        "BLANK",
        "CONCESSION_NOT_FOUND",
        "CURRENCY_MISMATCH",
        "DATE_IN_FUTURE",
        "DATE_IN_PAST",
        "EXPIRY_TOO_EARLY",
        "FOUR_EYES",
        "ID_TAKEN",
        "INVALID_TRANSITION",
        "LEASE_STILL_CURRENT",
        "LISTING_ALREADY_OPEN",
        "LISTING_CLOSED",
        "LISTING_KEY_USED",
        "LISTING_NOT_FOUND",
        "LISTING_STILL_OPEN",
        "LOCATION_MISSING",
        "MALFORMED",
        "MEDIA_NOT_FOUND",
        "MEDIA_ORDER_INCOMPLETE",
        "MEDIA_ORDER_TAKEN",
        "MERGE_BLOCKED",
        "MIN_ABOVE_MAX",
        "NOT_APPROVED",
        "NOT_A_DUPLICATE",
        "NOT_A_PHOTO",
        "NOT_IN_REVIEW",
        "NOT_ONE_TIME",
        "NOT_RECURRING",
        "NOT_REGISTERED",
        "NOT_YET_EXPIRED",
        "OUT_OF_RANGE",
        "PAID_TWICE",
        "PHOTO_MISSING",
        "PROPERTY_ARCHIVED",
        "PROPERTY_TYPE_MISSING",
        "RENT_FIXED",
        "RENT_MISSING",
        "REPEATED",
        "SELF_DUPLICATE",
        "SET_AND_CLEARED",
        "SURVIVOR_IS_DUPLICATE",
        "TOO_LONG",
        "TOO_MANY",
    ];
}

impl Refusal for PropertyRefused {
    /// Of several wrong fields the first one speaks.
    fn code(&self) -> &'static str {
        match self {
            Self::NotRegistered => "NOT_REGISTERED",
            Self::AlreadyRegistered => "ALREADY_REGISTERED",
            Self::Archived => "PROPERTY_ARCHIVED",
            Self::Invalid(invalid) => invalid.first().map_or("BLANK", |first| first.problem.code()),
            Self::ListingAlreadyOpen { .. } => "LISTING_ALREADY_OPEN",
            Self::ListingNotFound { .. } => "LISTING_NOT_FOUND",
            Self::ListingClosed { .. } => "LISTING_CLOSED",
            Self::ListingKeyUsed => "LISTING_KEY_USED",
            Self::InvalidTransition { .. } => "INVALID_TRANSITION",
            Self::NotInReview { .. } => "NOT_IN_REVIEW",
            Self::NotApproved => "NOT_APPROVED",
            Self::FourEyes => "FOUR_EYES",
            Self::ExpiryTooEarly => "EXPIRY_TOO_EARLY",
            Self::NotYetExpired { .. } => "NOT_YET_EXPIRED",
            Self::RentFixed => "RENT_FIXED",
            Self::ApplicationMismatch { .. } => "APPLICATION_MISMATCH",
            Self::ConcessionNotFound => "CONCESSION_NOT_FOUND",
            Self::IdTaken { .. } => "ID_TAKEN",
            Self::MediaNotFound { .. } => "MEDIA_NOT_FOUND",
            Self::MediaOrderTaken => "MEDIA_ORDER_TAKEN",
            Self::MediaOrderIncomplete => "MEDIA_ORDER_INCOMPLETE",
            Self::NotAPhoto => "NOT_A_PHOTO",
            Self::AgentInactive => "AGENT_INACTIVE",
            Self::SelfDuplicate => "SELF_DUPLICATE",
            Self::SurvivorIsDuplicate => "SURVIVOR_IS_DUPLICATE",
            Self::AlreadyDuplicate { .. } => "ALREADY_DUPLICATE",
            Self::NotADuplicate => "NOT_A_DUPLICATE",
            Self::MergeBlocked => "MERGE_BLOCKED",
            Self::ListingStillOpen { .. } => "LISTING_STILL_OPEN",
            Self::LeaseStillCurrent => "LEASE_STILL_CURRENT",
        }
    }

    fn field(&self) -> Option<String> {
        let field = match self {
            Self::Invalid(invalid) => return invalid.first().map(|first| first.field.clone()),
            Self::MediaNotFound { field } => return Some(field.clone()),
            Self::IdTaken { field } => field,
            Self::ListingNotFound { .. } | Self::ListingKeyUsed => "listing",
            Self::ExpiryTooEarly => "expires_at",
            Self::RentFixed => "price",
            Self::ApplicationMismatch { .. } => "application",
            Self::ConcessionNotFound => "concession",
            Self::MediaOrderTaken | Self::MediaOrderIncomplete => "order",
            Self::NotAPhoto => "media",
            Self::AgentInactive => "agent",
            Self::SelfDuplicate | Self::SurvivorIsDuplicate => "survivor",
            Self::NotRegistered
            | Self::AlreadyRegistered
            | Self::Archived
            | Self::ListingAlreadyOpen { .. }
            | Self::ListingClosed { .. }
            | Self::InvalidTransition { .. }
            | Self::NotInReview { .. }
            | Self::NotApproved
            | Self::FourEyes
            | Self::NotYetExpired { .. }
            | Self::AlreadyDuplicate { .. }
            | Self::NotADuplicate
            | Self::MergeBlocked
            | Self::ListingStillOpen { .. }
            | Self::LeaseStillCurrent => return None,
        };
        Some(field.to_owned())
    }

    fn complaints(&self) -> Vec<Complaint> {
        let Self::Invalid(invalid) = self else {
            let message = self.to_string();
            return vec![Complaint { code: self.code(), field: self.field(), message }];
        };
        let complaint = |InvalidField { field, problem }: &InvalidField| Complaint {
            code: problem.code(),
            field: Some(field.clone()),
            message: problem.to_string(),
        };
        invalid.iter().map(complaint).collect()
    }
}
