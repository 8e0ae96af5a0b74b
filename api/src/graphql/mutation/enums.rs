//! Names that only inputs use.

use async_graphql::Enum;

/// Why a listing came back on the market.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "freehold_domain::property::BackOnMarketCause")]
pub(crate) enum BackOnMarketCause {
    /// Its owner or agent put it back.
    Resumed,
    /// The application that held it was declined.
    ApplicationDeclined,
    /// The application that held it was withdrawn.
    ApplicationWithdrawn,
    /// The application that held it ran out of time.
    ApplicationExpired,
    /// The lease was not signed in time.
    LeaseNotSigned,
}

/// A fact of a property, without its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "freehold_domain::property::FactField")]
pub(crate) enum FactField {
    /// What kind of home it is.
    PropertyType,
    /// A public headline.
    Title,
    /// Public text.
    Description,
    /// Postal address.
    Address,
    /// Where it stands.
    Coordinates,
    /// Year of construction.
    YearBuilt,
    /// Storeys.
    Stories,
    /// Bedrooms.
    Bedrooms,
    /// Bathrooms with a bath or shower.
    BathroomsFull,
    /// Bathrooms without either.
    BathroomsHalf,
    /// Rooms of any kind.
    Rooms,
    /// How many people it accommodates.
    MaxOccupancy,
    /// Living area.
    LivingArea,
    /// Area of the lot it stands on.
    LotArea,
    /// Area of the garage.
    GarageArea,
}

/// A field of a profile, without its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub(crate) enum ProfileField {
    /// The name they want to be shown under.
    DisplayName,
    /// Their e-mail address.
    Email,
    /// Their phone number.
    Phone,
}

/// In which shape a person receives their data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "freehold_domain::user::ExportFormat")]
pub(crate) enum ExportFormat {
    /// One JSON document.
    Json,
    /// A table for each kind of record.
    Csv,
}
