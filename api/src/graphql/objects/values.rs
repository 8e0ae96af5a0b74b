//! Values that objects are made of.

use async_graphql::{ComplexObject, SimpleObject};
use freehold_domain as domain;
use freehold_domain::property::{Media as DomainMedia, PropertyFacts as DomainFacts};
use uuid::Uuid;

use super::enums::{
    AreaUnit, FeeFrequency, Furnished, LeaseTermOption, MediaCategory, MoveInCostKind,
    OngoingFeeKind, PetsAllowed, PropertyType,
};
use crate::graphql::scalars::{Date, Long};
use crate::placeholder::photo_address;

/// An amount of money.
#[derive(Clone, Debug, PartialEq, SimpleObject)]
pub struct Money {
    /// Minor units of the currency: cents for EUR, yen for JPY.
    pub amount_minor: Long,
    /// ISO 4217 code.
    pub currency: String,
}

/// A price: how much, in which currency, how often.
#[derive(Clone, Debug, PartialEq, SimpleObject)]
pub struct Price {
    /// Minor units of the currency: cents for EUR, yen for JPY.
    pub amount_minor: Long,
    /// ISO 4217 code.
    pub currency: String,
    /// How often it is due; a sale is due once.
    pub frequency: FeeFrequency,
}

impl Price {
    /// A price of three columns; none without all of them.
    pub(crate) fn of_columns(
        amount_minor: Option<i64>,
        currency: Option<domain::Currency>,
        frequency: Option<domain::FeeFrequency>,
    ) -> Option<Self> {
        Some(Self {
            amount_minor: Long(amount_minor?),
            currency: currency?.code().to_owned(),
            frequency: frequency?.into(),
        })
    }
}

impl From<&domain::Price> for Price {
    fn from(price: &domain::Price) -> Self {
        Self {
            amount_minor: Long(price.amount_minor.get().cast_signed()),
            currency: price.currency.code().to_owned(),
            frequency: price.frequency.into(),
        }
    }
}

/// A postal address; what nobody said is null.
#[derive(Clone, Debug, PartialEq, SimpleObject)]
pub struct Address {
    /// Street, house number, unit.
    pub street: Option<String>,
    /// City or locality.
    pub city: Option<String>,
    /// State, county or region.
    pub region: Option<String>,
    /// Postal code.
    pub postal_code: Option<String>,
    /// ISO 3166-1 alpha-2 country code.
    pub country: Option<String>,
}

impl From<&domain::Address> for Address {
    fn from(address: &domain::Address) -> Self {
        Self {
            street: address.street.clone(),
            city: address.city.clone(),
            region: address.region.clone(),
            postal_code: address.postal_code.clone(),
            country: address.country.clone(),
        }
    }
}

/// A point on earth, WGS 84.
#[derive(Clone, Copy, Debug, PartialEq, SimpleObject)]
pub struct Coordinates {
    /// Degrees north.
    pub latitude: f64,
    /// Degrees east.
    pub longitude: f64,
}

impl From<&domain::Coordinates> for Coordinates {
    fn from(point: &domain::Coordinates) -> Self {
        Self { latitude: point.latitude, longitude: point.longitude }
    }
}

/// An area as it was given, with its unit.
#[derive(Clone, Copy, Debug, PartialEq, SimpleObject)]
#[graphql(complex)]
pub struct Area {
    /// How much, in `unit`.
    pub value: f64,
    /// In which unit.
    pub unit: AreaUnit,
}

#[ComplexObject]
impl Area {
    /// The same area in square metres.
    async fn square_meters(&self) -> f64 {
        self.value * domain::AreaUnit::from(self.unit).square_meters()
    }
}

impl From<&domain::Area> for Area {
    fn from(area: &domain::Area) -> Self {
        Self { value: area.value, unit: area.unit.into() }
    }
}

/// What is known about a unit; what nobody said is null.
#[derive(Clone, Debug, PartialEq, SimpleObject)]
pub struct PropertyFacts {
    /// What kind of home it is.
    pub property_type: Option<PropertyType>,
    /// A public headline.
    pub title: Option<String>,
    /// Public text.
    pub description: Option<String>,
    /// Postal address.
    pub address: Option<Address>,
    /// Where it stands.
    pub coordinates: Option<Coordinates>,
    /// Year of construction, common era.
    pub year_built: Option<u16>,
    /// Storeys; one and a half is 1.5.
    pub stories: Option<f64>,
    /// Bedrooms; 0 is a studio.
    pub bedrooms: Option<u16>,
    /// Bathrooms with a bath or shower.
    pub bathrooms_full: Option<u16>,
    /// Bathrooms without either.
    pub bathrooms_half: Option<u16>,
    /// Rooms of any kind.
    pub rooms: Option<u16>,
    /// How many people it accommodates.
    pub max_occupancy: Option<u16>,
    /// Living area.
    pub living_area: Option<Area>,
    /// Area of the lot it stands on.
    pub lot_area: Option<Area>,
    /// Area of the garage.
    pub garage_area: Option<Area>,
}

impl From<&DomainFacts> for PropertyFacts {
    fn from(facts: &DomainFacts) -> Self {
        Self {
            property_type: facts.property_type.map(Into::into),
            title: facts.title.clone(),
            description: facts.description.clone(),
            address: facts.address.as_ref().map(Into::into),
            coordinates: facts.coordinates.as_ref().map(Into::into),
            year_built: facts.year_built,
            stories: facts.stories,
            bedrooms: facts.bedrooms,
            bathrooms_full: facts.bathrooms_full,
            bathrooms_half: facts.bathrooms_half,
            rooms: facts.rooms,
            max_occupancy: facts.max_occupancy,
            living_area: facts.living_area.as_ref().map(Into::into),
            lot_area: facts.lot_area.as_ref().map(Into::into),
            garage_area: facts.garage_area.as_ref().map(Into::into),
        }
    }
}

/// A picture, plan or film of a unit.
#[derive(Clone, Debug, PartialEq, SimpleObject)]
pub struct Media {
    /// Names it within its property.
    pub media_id: String,
    /// Where the file is: an address, or a path on this server.
    pub url: String,
    /// What it shows.
    pub category: MediaCategory,
    /// A public line of text.
    pub caption: Option<String>,
    /// Its place among the property's media, smallest first.
    pub order: u16,
    /// Whether it is the photo that is shown first.
    pub preferred: bool,
}

impl Media {
    pub(crate) fn new(media: &DomainMedia, preferred: Option<Uuid>) -> Self {
        Self {
            media_id: media.id.to_string(),
            url: photo_address(&media.url).to_owned(),
            category: media.category.into(),
            caption: media.caption.clone(),
            order: media.order,
            preferred: preferred == Some(media.id),
        }
    }
}

/// One cost of moving in.
#[derive(Clone, Debug, PartialEq, SimpleObject)]
pub struct MoveInCost {
    /// What it is for.
    pub kind: MoveInCostKind,
    /// How much.
    pub price: Price,
}

impl From<&domain::property::MoveInCost> for MoveInCost {
    fn from(cost: &domain::property::MoveInCost) -> Self {
        Self { kind: cost.kind.into(), price: (&cost.price).into() }
    }
}

/// One fee besides the rent.
#[derive(Clone, Debug, PartialEq, SimpleObject)]
pub struct OngoingFee {
    /// What it is for.
    pub kind: OngoingFeeKind,
    /// How much and how often.
    pub price: Price,
    /// Whether every tenant pays it.
    pub mandatory: bool,
}

impl From<&domain::property::OngoingFee> for OngoingFee {
    fn from(fee: &domain::property::OngoingFee) -> Self {
        Self { kind: fee.kind.into(), price: (&fee.price).into(), mandatory: fee.mandatory }
    }
}

/// Something offered on top: a month free, a gift card.
#[derive(Clone, Debug, PartialEq, SimpleObject)]
pub struct Concession {
    /// Names it within its listing.
    pub concession_id: String,
    /// Public text.
    pub description: String,
    /// The last day it is offered.
    pub ends_on: Option<Date>,
}

impl From<&domain::property::Concession> for Concession {
    fn from(concession: &domain::property::Concession) -> Self {
        Self {
            concession_id: concession.id.to_string(),
            description: concession.description.clone(),
            ends_on: concession.ends_on.map(Date),
        }
    }
}

/// On which terms a listing is let; what nobody said is null.
#[derive(Clone, Debug, PartialEq, SimpleObject)]
pub struct LeaseTerms {
    /// Shortest lease, in months.
    pub min_months: Option<u16>,
    /// Longest lease, in months.
    pub max_months: Option<u16>,
    /// Terms to choose from.
    pub options: Vec<LeaseTermOption>,
    /// Whether furniture comes with it.
    pub furnished: Option<Furnished>,
    /// Which pets may move in.
    pub pets: Option<PetsAllowed>,
    /// How many pets may move in.
    pub max_pets: Option<u16>,
    /// What the rent covers.
    pub rent_includes: Vec<String>,
    /// What the tenant pays besides.
    pub tenant_pays: Vec<String>,
}

impl From<&domain::property::LeaseTerms> for LeaseTerms {
    fn from(terms: &domain::property::LeaseTerms) -> Self {
        Self {
            min_months: terms.min_months,
            max_months: terms.max_months,
            options: terms.options.iter().map(|option| (*option).into()).collect(),
            furnished: terms.furnished.map(Into::into),
            pets: terms.pets.map(Into::into),
            max_pets: terms.max_pets,
            rent_includes: terms.rent_includes.iter().cloned().collect(),
            tenant_pays: terms.tenant_pays.iter().cloned().collect(),
        }
    }
}
