//! What is known about a unit, whoever lists it: every fact may be absent, set, changed, cleared.

use serde::{Deserialize, Serialize};

use super::check::Check;
use super::command::{
    CorrectPropertyFacts, Geocoding, Origin, RegisterProperty, SetAmenities, VerifyAddress,
};
use super::event::{
    AddressGeocoded, AddressVerificationFailed, AmenitiesSet, PropertyFactsCorrected,
    PropertyRegistered, SourceRef,
};
use super::named::named_enum;
use super::refusal::Problem;
use super::unit::Unit;
use super::{Decision, happened, unchanged};
use crate::place::is_country;
use crate::{Address, Area, Coordinates};

named_enum! {
    /// What kind of home it is, after RESO `PropertySubType`.
    pub enum PropertyType {
        /// A flat in a building of flats.
        Apartment,
        /// A small rural or holiday house.
        Cabin,
        /// A flat owned on its own.
        Condominium,
        /// One of two homes in a building.
        Duplex,
        /// A house with farm land.
        Farm,
        /// An open flat in a former workplace.
        Loft,
        /// A factory-built home.
        ManufacturedHome,
        /// One of four homes in a building.
        Quadruplex,
        /// A room in a shared home.
        Room,
        /// A house for one household, standing alone.
        SingleFamilyResidence,
        /// A share of a cooperative's building.
        StockCooperative,
        /// A flat of one room.
        Studio,
        /// A house in a row.
        Townhouse,
        /// One of three homes in a building.
        Triplex,
        /// A detached house of some luxury.
        Villa,
        /// Anything else, or not said by the sender.
        Other,
    }
}

/// The old and the new value of a fact; an absent one says that the fact was, or is now, unknown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Changed<T> {
    /// What was known before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old: Option<T>,
    /// What is known now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new: Option<T>,
}

/// Declares each fact once: its field, its variant name, its type.
macro_rules! facts {
    ($( $(#[$doc:meta])* $field:ident: $variant:ident($value:ty) ),+ $(,)?) => {
        /// Facts of a unit; in a command an absent fact is left as it is.
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(default)]
        pub struct PropertyFacts {
            $(
                $(#[$doc])*
                #[serde(skip_serializing_if = "Option::is_none")]
                pub $field: Option<$value>
            ),+
        }

        named_enum! {
            /// Names a fact without its value.
            pub enum FactField { $( $(#[$doc])* $variant ),+ }
        }

        impl FactField {
            /// The fact's name in commands and events: `year_built`.
            pub fn field(self) -> &'static str {
                match self { $( Self::$variant => stringify!($field) ),+ }
            }
        }

        /// One fact that changed.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum FactChange { $( $(#[$doc])* $variant(Changed<$value>) ),+ }

        impl FactChange {
            /// Which fact changed.
            pub fn field(&self) -> FactField {
                match self { $( Self::$variant(_) => FactField::$variant ),+ }
            }
        }

        impl PropertyFacts {
            /// Whether a fact has a value here.
            pub fn says(&self, field: FactField) -> bool {
                match field { $( FactField::$variant => self.$field.is_some() ),+ }
            }

            /// What would change if these facts became `new`.
            pub fn changes_to(&self, new: &Self) -> Vec<FactChange> {
                let mut changes = Vec::new();
                $( if self.$field != new.$field {
                    let (old, new) = (self.$field.clone(), new.$field.clone());
                    changes.push(FactChange::$variant(Changed { old, new }));
                } )+
                changes
            }

            /// These facts with every fact that `said` has a value for replaced by it.
            pub fn updated_by(&self, said: &Self) -> Self {
                Self { $( $field: said.$field.as_ref().or(self.$field.as_ref()).cloned() ),+ }
            }

            /// Forgets the value of a fact.
            pub fn clear(&mut self, field: FactField) {
                match field { $( FactField::$variant => self.$field = None ),+ }
            }

            /// Folds a change that was decided earlier.
            pub fn apply(&mut self, change: &FactChange) {
                match change {
                    $( FactChange::$variant(changed) => self.$field.clone_from(&changed.new) ),+
                }
            }
        }
    };
}

facts! {
    /// What kind of home it is; always said once a property is registered.
    property_type: PropertyType(PropertyType),
    /// A public headline.
    title: Title(String),
    /// Public text.
    description: Description(String),
    /// Postal address.
    address: Address(Address),
    /// Where it stands.
    coordinates: Coordinates(Coordinates),
    /// Year of construction, common era.
    year_built: YearBuilt(u16),
    /// Storeys in halves: one and a half is 1.5.
    stories: Stories(f64),
    /// Bedrooms; 0 is a studio.
    bedrooms: Bedrooms(u16),
    /// Bathrooms with a bath or shower.
    bathrooms_full: BathroomsFull(u16),
    /// Bathrooms without either.
    bathrooms_half: BathroomsHalf(u16),
    /// Rooms of any kind.
    rooms: Rooms(u16),
    /// How many people it accommodates.
    max_occupancy: MaxOccupancy(u16),
    /// Living area.
    living_area: LivingArea(Area),
    /// Area of the lot it stands on.
    lot_area: LotArea(Area),
    /// Area of the garage.
    garage_area: GarageArea(Area),
}

/// Decides whether a unit becomes known.
pub(super) fn register(command: RegisterProperty) -> Decision {
    let RegisterProperty { source, origin, mut facts, amenities } = command;
    let mut check = Check::default();
    source.check("source", &mut check);
    facts.check("facts", &mut check);
    check.words("amenities", &amenities, MAX_AMENITIES);
    match origin {
        Origin::Client => {
            if facts.property_type.is_none() {
                check.refuse("facts.property_type", Problem::PropertyTypeMissing);
            }
            if facts.address.is_none() && facts.coordinates.is_none() {
                check.refuse("facts.address", Problem::LocationMissing);
            }
        }
        Origin::Feed => facts.property_type = facts.property_type.or(Some(PropertyType::Other)),
    }
    check.finish()?;
    happened(PropertyRegistered { source, facts, amenities })
}

/// Decides which facts change; a command that says what is known already changes nothing.
pub(super) fn correct(unit: &Unit, command: CorrectPropertyFacts) -> Decision {
    let mut check = Check::default();
    command.facts.check("facts", &mut check);
    for field in &command.clear {
        if *field == FactField::PropertyType {
            check.refuse("clear", Problem::PropertyTypeMissing);
        }
        if command.facts.says(*field) {
            check.refuse(format!("facts.{}", field.field()), Problem::SetAndCleared);
        }
    }
    check.finish()?;

    let mut right = unit.facts.updated_by(&command.facts);
    command.clear.into_iter().for_each(|field| right.clear(field));
    let changes = unit.facts.changes_to(&right);
    if changes.is_empty() { unchanged() } else { happened(PropertyFactsCorrected { changes }) }
}

/// Decides whether what the unit offers changes.
pub(super) fn set_amenities(unit: &Unit, command: SetAmenities) -> Decision {
    let mut check = Check::default();
    check.words("amenities", &command.amenities, MAX_AMENITIES);
    check.finish()?;
    if unit.amenities == command.amenities {
        return unchanged();
    }
    happened(AmenitiesSet { old: unit.amenities.clone(), new: command.amenities })
}

/// Decides what a geocoder's answer changes.
pub(super) fn verify_address(unit: &Unit, command: VerifyAddress) -> Decision {
    let mut check = Check::default();
    if unit.facts.address.is_none() {
        check.refuse("facts.address", Problem::AddressMissing);
    }
    match command.outcome {
        Geocoding::Found { coordinates, precision, visibility } => {
            check.coordinates("outcome.coordinates", coordinates);
            check.finish()?;
            if unit.facts.coordinates == Some(coordinates)
                && unit.geocoded == Some((precision, visibility))
            {
                return unchanged();
            }
            happened(AddressGeocoded { coordinates, precision, visibility })
        }
        Geocoding::NotFound { reason } => {
            check.line("outcome.reason", &reason, 1_000);
            check.finish()?;
            happened(AddressVerificationFailed { reason })
        }
    }
}

const MAX_AMENITIES: usize = 200;

impl SourceRef {
    fn check(&self, field: &str, check: &mut Check) {
        let Self { source, reference } = self;
        let path = format!("{field}.source");
        check.line(&path, source, 64);
        // A slash would let two references share one key.
        if !source.chars().all(|char| char.is_ascii_alphanumeric() || "._-".contains(char)) {
            let problem = "letters a to z, digits, dots, dashes and underscores";
            check.refuse(path, Problem::Malformed(problem));
        }
        check.line(&format!("{field}.reference"), reference, 200);
    }
}

impl PropertyFacts {
    fn check(&self, field: &str, check: &mut Check) {
        let path = |fact: FactField| format!("{field}.{}", fact.field());
        if let Some(title) = &self.title {
            check.line(&path(FactField::Title), title, 200);
        }
        if let Some(description) = &self.description {
            check.lines(&path(FactField::Description), description, 20_000);
        }
        if let Some(address) = &self.address {
            check_address(&path(FactField::Address), address, check);
        }
        if let Some(coordinates) = self.coordinates {
            check.coordinates(&path(FactField::Coordinates), coordinates);
        }
        if let Some(stories) = self.stories
            && !((0.5..=200.0).contains(&stories) && (stories * 2.0).fract() == 0.0)
        {
            let problem = "must be between 0.5 and 200 in steps of one half";
            check.refuse(path(FactField::Stories), Problem::Impossible(problem));
        }
        let numbers = [
            (FactField::YearBuilt, self.year_built, 1_000..=2_200),
            (FactField::Bedrooms, self.bedrooms, 0..=100),
            (FactField::BathroomsFull, self.bathrooms_full, 0..=100),
            (FactField::BathroomsHalf, self.bathrooms_half, 0..=100),
            (FactField::Rooms, self.rooms, 0..=500),
            (FactField::MaxOccupancy, self.max_occupancy, 1..=1_000),
        ];
        for (fact, number, allowed) in numbers {
            if let Some(number) = number {
                check.number(&path(fact), number, allowed);
            }
        }
        let areas = [
            (FactField::LivingArea, self.living_area),
            (FactField::LotArea, self.lot_area),
            (FactField::GarageArea, self.garage_area),
        ];
        for (fact, area) in areas {
            if let Some(area) = area {
                check.area(&path(fact), area);
            }
        }
    }
}

fn check_address(field: &str, address: &Address, check: &mut Check) {
    let Address { street, city, region, postal_code, country } = address;
    if *address == Address::default() {
        check.refuse(field, Problem::Blank);
    }
    let parts =
        [("street", street), ("city", city), ("region", region), ("postal_code", postal_code)];
    for (part, text) in parts {
        if let Some(text) = text {
            check.line(&format!("{field}.{part}"), text, 200);
        }
    }
    if !country.as_deref().is_none_or(is_country) {
        let problem = Problem::Malformed("a two-letter ISO 3166 country code such as DE");
        check.refuse(format!("{field}.country"), problem);
    }
}
