//! What is known about a unit, whoever lists it: every fact may be absent, set, changed, cleared.

use serde::{Deserialize, Serialize};

use super::named::named_enum;
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
            $( $(#[$doc])* #[serde(skip_serializing_if = "Option::is_none")] pub $field: Option<$value> ),+
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
                match change { $( FactChange::$variant(changed) => self.$field.clone_from(&changed.new) ),+ }
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
