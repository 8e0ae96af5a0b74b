//! Shapes of payloads that are no longer written, each lifted into the next.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::event::{PropertyRegistered, SourceRef};
use super::facts::{PropertyFacts, PropertyType};
use crate::{Address, Area, AreaUnit, Coordinates};

/// `PropertyRegistered`, version 1: the living area was a whole number of square feet.
#[derive(Debug, Deserialize)]
pub(super) struct PropertyRegisteredV1 {
    source: SourceRef,
    facts: PropertyFactsV1,
    #[serde(default)]
    amenities: BTreeSet<String>,
}

#[derive(Debug, Deserialize)]
struct PropertyFactsV1 {
    property_type: Option<PropertyType>,
    title: Option<String>,
    description: Option<String>,
    address: Option<Address>,
    coordinates: Option<Coordinates>,
    year_built: Option<u16>,
    stories: Option<f64>,
    bedrooms: Option<u16>,
    bathrooms_full: Option<u16>,
    bathrooms_half: Option<u16>,
    rooms: Option<u16>,
    max_occupancy: Option<u16>,
    living_area_sqft: Option<u32>,
    lot_area: Option<Area>,
    garage_area: Option<Area>,
}

impl From<PropertyRegisteredV1> for PropertyRegistered {
    fn from(old: PropertyRegisteredV1) -> Self {
        Self { source: old.source, facts: Box::new(old.facts.into()), amenities: old.amenities }
    }
}

impl From<PropertyFactsV1> for PropertyFacts {
    fn from(old: PropertyFactsV1) -> Self {
        // Version 1 wrote 0 where the area was unknown; an area of today is never zero.
        let square_feet = |value| Area::new(f64::from(value), AreaUnit::SquareFeet).ok();
        Self {
            property_type: old.property_type,
            title: old.title,
            description: old.description,
            address: old.address,
            coordinates: old.coordinates,
            year_built: old.year_built,
            stories: old.stories,
            bedrooms: old.bedrooms,
            bathrooms_full: old.bathrooms_full,
            bathrooms_half: old.bathrooms_half,
            rooms: old.rooms,
            max_occupancy: old.max_occupancy,
            living_area: old.living_area_sqft.and_then(square_feet),
            lot_area: old.lot_area,
            garage_area: old.garage_area,
        }
    }
}
