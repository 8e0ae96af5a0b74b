//! What inputs are made of.

use async_graphql::{ID, InputObject, OneofObject};
use chrono::{DateTime, Utc};

use super::form::Form;
use crate::graphql::objects::enums::{
    AreaUnit, CoordinatePrecision, FeeFrequency, Furnished, IdentityFailure, LeaseTermOption,
    LocationVisibility, MoveInCostKind, OngoingFeeKind, PetsAllowed, PropertyType,
};
use crate::graphql::query::SourceInput;
use crate::graphql::scalars::{Date, Long};

/// What every input may say besides.
#[derive(Clone, Debug, Default, InputObject)]
pub(crate) struct Asked {
    /// A UUID that names this command: sent again, it gives the first answer and changes nothing.
    pub(crate) command_id: Option<ID>,
    /// The version that you believe the stream has; another one is a `VERSION_CONFLICT`.
    pub(crate) expected_version: Option<Long>,
    /// Whether to decide only: everything is checked, nothing is stored.
    #[graphql(default)]
    pub(crate) dry_run: bool,
    /// When it happened, by your clock; now where absent.
    pub(crate) occurred_at: Option<DateTime<Utc>>,
}

/// A price: how much, in which currency, how often.
#[derive(Clone, Debug, InputObject)]
pub(crate) struct PriceInput {
    /// Minor units of the currency, cents for EUR and yen for JPY; more than zero.
    pub(crate) amount_minor: Long,
    /// ISO 4217 code.
    pub(crate) currency: String,
    /// How often it is due; a sale is due once.
    pub(crate) frequency: FeeFrequency,
}

/// A point on earth, WGS 84.
#[derive(Clone, Copy, Debug, InputObject)]
pub(crate) struct CoordinatesInput {
    /// Degrees north, -90 to 90.
    pub(crate) latitude: f64,
    /// Degrees east, -180 to 180.
    pub(crate) longitude: f64,
}

/// A postal address.
#[derive(Clone, Debug, InputObject)]
pub(crate) struct AddressInput {
    /// Street, house number, unit.
    pub(crate) street: Option<String>,
    /// City or locality.
    pub(crate) city: Option<String>,
    /// State, county or region.
    pub(crate) region: Option<String>,
    /// Postal code.
    pub(crate) postal_code: Option<String>,
    /// ISO 3166-1 alpha-2 country code.
    pub(crate) country: Option<String>,
}

/// An area with its unit.
#[derive(Clone, Debug, InputObject)]
pub(crate) struct AreaInput {
    /// How much, in `unit`; more than zero.
    pub(crate) value: f64,
    /// In which unit.
    pub(crate) unit: AreaUnit,
}

/// Facts of a unit; what is absent or null is not said.
#[derive(Clone, Debug, Default, InputObject)]
pub(crate) struct PropertyFactsInput {
    /// What kind of home it is.
    pub(crate) property_type: Option<PropertyType>,
    /// A public headline.
    pub(crate) title: Option<String>,
    /// Public text.
    pub(crate) description: Option<String>,
    /// Postal address.
    pub(crate) address: Option<AddressInput>,
    /// Where it stands.
    pub(crate) coordinates: Option<CoordinatesInput>,
    /// Year of construction, common era.
    pub(crate) year_built: Option<i32>,
    /// Storeys in halves: one and a half is 1.5.
    pub(crate) stories: Option<f64>,
    /// Bedrooms; 0 is a studio.
    pub(crate) bedrooms: Option<i32>,
    /// Bathrooms with a bath or shower.
    pub(crate) bathrooms_full: Option<i32>,
    /// Bathrooms without either.
    pub(crate) bathrooms_half: Option<i32>,
    /// Rooms of any kind.
    pub(crate) rooms: Option<i32>,
    /// How many people it accommodates.
    pub(crate) max_occupancy: Option<i32>,
    /// Living area.
    pub(crate) living_area: Option<AreaInput>,
    /// Area of the lot it stands on.
    pub(crate) lot_area: Option<AreaInput>,
    /// Area of the garage.
    pub(crate) garage_area: Option<AreaInput>,
}

/// What a geocoder says about an address.
#[derive(Clone, Debug, OneofObject)]
pub(crate) enum GeocodingInput {
    /// It is here.
    Found(GeocodingFoundInput),
    /// There is no such place.
    NotFound(GeocodingNotFoundInput),
}

/// Where a geocoder found an address.
#[derive(Clone, Debug, InputObject)]
pub(crate) struct GeocodingFoundInput {
    /// Where.
    pub(crate) coordinates: CoordinatesInput,
    /// How close to the truth that is.
    pub(crate) precision: CoordinatePrecision,
    /// How much of it the public may see.
    pub(crate) visibility: LocationVisibility,
}

/// Why a geocoder did not find an address.
#[derive(Clone, Debug, InputObject)]
pub(crate) struct GeocodingNotFoundInput {
    /// In the geocoder's words.
    pub(crate) reason: String,
}

/// One cost of moving in.
#[derive(Clone, Debug, InputObject)]
pub(crate) struct MoveInCostInput {
    /// What it is for; each kind once.
    pub(crate) kind: MoveInCostKind,
    /// How much; due once.
    pub(crate) price: PriceInput,
}

/// One fee besides the rent.
#[derive(Clone, Debug, InputObject)]
pub(crate) struct OngoingFeeInput {
    /// What it is for; each kind once.
    pub(crate) kind: OngoingFeeKind,
    /// How much and how often; not once.
    pub(crate) price: PriceInput,
    /// Whether every tenant pays it.
    pub(crate) mandatory: bool,
}

/// Something offered on top: a month free, a gift card.
#[derive(Clone, Debug, InputObject)]
pub(crate) struct ConcessionInput {
    /// Public text.
    pub(crate) description: String,
    /// The last day it is offered.
    pub(crate) ends_on: Option<Date>,
}

/// On which terms a listing is let; what is absent or null is not said.
#[derive(Clone, Debug, InputObject)]
pub(crate) struct LeaseTermsInput {
    /// Shortest lease, in months.
    pub(crate) min_months: Option<i32>,
    /// Longest lease, in months.
    pub(crate) max_months: Option<i32>,
    /// Terms to choose from.
    #[graphql(default)]
    pub(crate) options: Vec<LeaseTermOption>,
    /// Whether furniture comes with it.
    pub(crate) furnished: Option<Furnished>,
    /// Which pets may move in.
    pub(crate) pets: Option<PetsAllowed>,
    /// How many pets may move in.
    pub(crate) max_pets: Option<i32>,
    /// What the rent covers: `water`, `heating`.
    #[graphql(default)]
    pub(crate) rent_includes: Vec<String>,
    /// What the tenant pays besides; nothing is in both lists.
    #[graphql(default)]
    pub(crate) tenant_pays: Vec<String>,
}

/// How a check of an identity ended.
#[derive(Clone, Debug, OneofObject)]
pub(crate) enum IdentityOutcomeInput {
    /// They are who they say.
    Verified(IdentityVerifiedInput),
    /// It could not be confirmed.
    Failed(IdentityFailedInput),
}

/// A check of an identity that succeeded.
#[derive(Clone, Debug, InputObject)]
pub(crate) struct IdentityVerifiedInput {
    /// Until when it counts; null when it does not lapse.
    pub(crate) expires_at: Option<DateTime<Utc>>,
}

/// A check of an identity that failed.
#[derive(Clone, Debug, InputObject)]
pub(crate) struct IdentityFailedInput {
    /// Why.
    pub(crate) reason: IdentityFailure,
}

impl From<SourceInput> for freehold_domain::property::SourceRef {
    fn from(SourceInput { source, reference }: SourceInput) -> Self {
        Self { source, reference }
    }
}

impl From<SourceInput> for freehold_domain::user::UserSource {
    fn from(SourceInput { source, reference }: SourceInput) -> Self {
        Self { source, reference }
    }
}

impl From<AddressInput> for freehold_domain::Address {
    fn from(address: AddressInput) -> Self {
        let AddressInput { street, city, region, postal_code, country } = address;
        Self { street, city, region, postal_code, country }
    }
}

// Numbers that are no point and no area are for the aggregate to refuse, with the other faults.

impl From<CoordinatesInput> for freehold_domain::Coordinates {
    fn from(CoordinatesInput { latitude, longitude }: CoordinatesInput) -> Self {
        Self { latitude, longitude }
    }
}

impl From<AreaInput> for freehold_domain::Area {
    fn from(AreaInput { value, unit }: AreaInput) -> Self {
        Self { value, unit: unit.into() }
    }
}

impl From<GeocodingInput> for freehold_domain::property::Geocoding {
    fn from(outcome: GeocodingInput) -> Self {
        match outcome {
            GeocodingInput::Found(GeocodingFoundInput { coordinates, precision, visibility }) => {
                let (precision, visibility) = (precision.into(), visibility.into());
                Self::Found { coordinates: coordinates.into(), precision, visibility }
            }
            GeocodingInput::NotFound(GeocodingNotFoundInput { reason }) => {
                Self::NotFound { reason }
            }
        }
    }
}

impl From<IdentityOutcomeInput> for freehold_domain::user::IdentityOutcome {
    fn from(outcome: IdentityOutcomeInput) -> Self {
        match outcome {
            IdentityOutcomeInput::Verified(IdentityVerifiedInput { expires_at }) => {
                Self::Verified { expires_at }
            }
            IdentityOutcomeInput::Failed(IdentityFailedInput { reason }) => {
                Self::Failed { reason: reason.into() }
            }
        }
    }
}

impl PropertyFactsInput {
    pub(crate) fn read(self, form: &mut Form<'_>) -> Box<freehold_domain::property::PropertyFacts> {
        Box::new(freehold_domain::property::PropertyFacts {
            property_type: self.property_type.map(Into::into),
            title: self.title,
            description: self.description,
            address: self.address.map(Into::into),
            coordinates: self.coordinates.map(Into::into),
            year_built: form.count("facts.year_built", self.year_built),
            stories: self.stories,
            bedrooms: form.count("facts.bedrooms", self.bedrooms),
            bathrooms_full: form.count("facts.bathrooms_full", self.bathrooms_full),
            bathrooms_half: form.count("facts.bathrooms_half", self.bathrooms_half),
            rooms: form.count("facts.rooms", self.rooms),
            max_occupancy: form.count("facts.max_occupancy", self.max_occupancy),
            living_area: self.living_area.map(Into::into),
            lot_area: self.lot_area.map(Into::into),
            garage_area: self.garage_area.map(Into::into),
        })
    }
}

impl LeaseTermsInput {
    pub(crate) fn read(self, form: &mut Form<'_>) -> freehold_domain::property::LeaseTerms {
        freehold_domain::property::LeaseTerms {
            min_months: form.count("terms.min_months", self.min_months),
            max_months: form.count("terms.max_months", self.max_months),
            options: self.options.into_iter().map(Into::into).collect(),
            furnished: self.furnished.map(Into::into),
            pets: self.pets.map(Into::into),
            max_pets: form.count("terms.max_pets", self.max_pets),
            rent_includes: form.words("terms.rent_includes", self.rent_includes),
            tenant_pays: form.words("terms.tenant_pays", self.tenant_pays),
        }
    }
}
