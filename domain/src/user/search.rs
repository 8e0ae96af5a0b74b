//! What a saved search asks of a listing, and whether a listing answers it.
//!
//! [`SearchFilter`] is the structured part: nothing in it is personal. The words a user looks for
//! stand beside it, as a personal value, and are matched by [`words_match`]. Absent on purpose:
//! currency conversion, and turning weekly prices into monthly ones. A search in euros a month
//! finds prices in euros a month, because a rate or a convention would decide for the user.

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};

use crate::{Coordinates, Currency, FeeFrequency, Price};

/// What a listing must be like; an absent part, or an empty list, asks for nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SearchFilter {
    /// Where it must stand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub area: Option<SearchArea>,
    /// What it may cost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price: Option<PriceRange>,
    /// The fewest bedrooms; 0 includes studios.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bedrooms_min: Option<u32>,
    /// The most bedrooms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bedrooms_max: Option<u32>,
    /// The fewest bathrooms; a half bathroom counts 0.5.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bathrooms_min: Option<f64>,
    /// The smallest floor area, in square metres.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub floor_area_min_m2: Option<f64>,
    /// The largest floor area, in square metres.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub floor_area_max_m2: Option<f64>,
    /// Listing statuses, any of which will do.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub statuses: Vec<String>,
    /// Property types, any of which will do.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub property_types: Vec<String>,
    /// The last day on which it may become available.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub available_by: Option<NaiveDate>,
}

/// Where a listing must stand.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SearchArea {
    /// Between two parallels and two meridians, borders included.
    BoundingBox {
        /// The southern border, in degrees north.
        south: f64,
        /// The western border, in degrees east.
        west: f64,
        /// The northern border, in degrees north.
        north: f64,
        /// The eastern border, in degrees east; less than `west` for a box across the date line.
        east: f64,
    },
    /// Within a distance of a point.
    Circle {
        /// The point.
        center: Coordinates,
        /// The distance, in metres along the ground.
        radius_m: u32,
    },
}

/// What a listing may cost; a price in another currency or frequency does not match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PriceRange {
    /// The lowest price, in minor units.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_minor: Option<u64>,
    /// The highest price, in minor units.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_minor: Option<u64>,
    /// In which currency.
    pub currency: Currency,
    /// How often it is due.
    pub frequency: FeeFrequency,
}

/// One fault of a filter: which field, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {advice}")]
pub struct SearchFault {
    /// The field of the filter, such as `price.max_minor` or `statuses[2]`.
    pub field: String,
    /// What a valid filter has there.
    pub advice: &'static str,
}

/// What a filter needs to know about a listing; an absent fact matches no filter that asks for it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ListingFacts {
    /// What it costs.
    pub price: Option<Price>,
    /// Where it stands.
    pub coordinates: Option<Coordinates>,
    /// How many bedrooms; 0 for a studio.
    pub bedrooms: Option<u32>,
    /// How many bathrooms; a half bathroom counts 0.5.
    pub bathrooms: Option<f64>,
    /// The floor area, in square metres.
    pub floor_area_m2: Option<f64>,
    /// The name of its status, such as `Active`.
    pub status: String,
    /// The name of its property type, such as `Apartment`.
    pub property_type: String,
    /// From which day it can be lived in.
    pub available_from: Option<NaiveDate>,
}

impl SearchFilter {
    /// The largest radius of a circle, in metres.
    pub const MAX_RADIUS_M: u32 = 500_000;
    /// The most statuses, and the most property types, one filter may list.
    pub const MAX_NAMES: usize = 32;
    /// The longest name of a status or a property type, in characters.
    pub const MAX_NAME_CHARS: usize = 64;

    /// Finds every fault of the filter, so that a form can show all of them at once.
    pub fn validate(&self) -> Result<(), Vec<SearchFault>> {
        let mut faults = Vec::new();
        let mut check = |valid: bool, field: &str, advice: &'static str| {
            if !valid {
                faults.push(SearchFault { field: field.to_owned(), advice });
            }
        };
        match &self.area {
            Some(SearchArea::BoundingBox { south, west, north, east }) => {
                let latitude = "must be between -90 and 90 degrees";
                let longitude = "must be between -180 and 180 degrees";
                check(Coordinates::new(*south, 0.0).is_ok(), "area.south", latitude);
                check(Coordinates::new(*north, 0.0).is_ok(), "area.north", latitude);
                check(Coordinates::new(0.0, *west).is_ok(), "area.west", longitude);
                check(Coordinates::new(0.0, *east).is_ok(), "area.east", longitude);
                check(in_order(Some(south), Some(north)), "area.north", "must not be below south");
            }
            Some(SearchArea::Circle { center: Coordinates { latitude, longitude }, radius_m }) => {
                let on_earth = Coordinates::new(*latitude, *longitude).is_ok();
                check(on_earth, "area.center", "must be a point on earth, in degrees");
                let near = (1..=Self::MAX_RADIUS_M).contains(radius_m);
                check(near, "area.radius_m", "must be between 1 and 500000 metres");
            }
            None => {}
        }
        if let Some(PriceRange { min_minor, max_minor, .. }) = &self.price {
            let storable = |price: &Option<u64>| price.is_none_or(|p| p <= Price::MAX_AMOUNT_MINOR);
            check(storable(min_minor), "price.min_minor", "is larger than any price");
            check(storable(max_minor), "price.max_minor", "is larger than any price");
            let ordered = in_order(min_minor.as_ref(), max_minor.as_ref());
            check(ordered, "price.max_minor", "must not be below min_minor");
        }
        let ordered = in_order(self.bedrooms_min.as_ref(), self.bedrooms_max.as_ref());
        check(ordered, "bedrooms_max", "must not be below bedrooms_min");
        let counted = self.bathrooms_min.is_none_or(|count| count.is_finite() && count >= 0.0);
        check(counted, "bathrooms_min", "must be zero or more");
        let measured = |area: Option<f64>| area.is_none_or(|m2| m2.is_finite() && m2 > 0.0);
        let advice = "must be greater than zero, in square metres";
        check(measured(self.floor_area_min_m2), "floor_area_min_m2", advice);
        check(measured(self.floor_area_max_m2), "floor_area_max_m2", advice);
        let ordered = in_order(self.floor_area_min_m2.as_ref(), self.floor_area_max_m2.as_ref());
        check(ordered, "floor_area_max_m2", "must not be below floor_area_min_m2");
        for (list, names) in
            [("statuses", &self.statuses), ("property_types", &self.property_types)]
        {
            check(names.len() <= Self::MAX_NAMES, list, "must not have more than 32 entries");
            for (index, name) in names.iter().enumerate() {
                let named = !name.trim().is_empty() && name.chars().count() <= Self::MAX_NAME_CHARS;
                check(named, &format!("{list}[{index}]"), "must have 1 to 64 characters");
            }
        }
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }

    /// Whether a listing is what the filter asks for; widening a filter never loses a match.
    pub fn matches(&self, listing: &ListingFacts) -> bool {
        self.area.is_none_or(|area| listing.coordinates.is_some_and(|at| area.contains(at)))
            && self.price.is_none_or(|range| listing.price.is_some_and(|p| range.contains(p)))
            && within(listing.bedrooms, self.bedrooms_min, self.bedrooms_max)
            && within(listing.bathrooms, self.bathrooms_min, None)
            && within(listing.floor_area_m2, self.floor_area_min_m2, self.floor_area_max_m2)
            && names(&self.statuses, &listing.status)
            && names(&self.property_types, &listing.property_type)
            && within(listing.available_from, None, self.available_by)
    }
}

impl SearchArea {
    /// Whether a point lies in the area.
    pub fn contains(&self, point: Coordinates) -> bool {
        match *self {
            Self::BoundingBox { south, west, north, east } => {
                let longitude = point.longitude;
                (south..=north).contains(&point.latitude)
                    && if west <= east {
                        (west..=east).contains(&longitude)
                    } else {
                        longitude >= west || longitude <= east
                    }
            }
            Self::Circle { center, radius_m } => distance_m(center, point) <= f64::from(radius_m),
        }
    }
}

impl PriceRange {
    /// Whether a price lies in the range, borders included.
    pub fn contains(&self, price: Price) -> bool {
        price.currency == self.currency
            && price.frequency == self.frequency
            && within(Some(price.amount_minor.get()), self.min_minor, self.max_minor)
    }
}

/// Whether every word of `query` occurs in the title or the description, whatever its case.
///
/// - Shape: a word is a run of letters and digits; a query without words matches everything.
pub fn words_match(query: &str, title: &str, description: &str) -> bool {
    let offered: Vec<String> = words(title).chain(words(description)).collect();
    words(query).all(|wanted| offered.contains(&wanted))
}

pub(super) fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
}

fn in_order<T: PartialOrd>(min: Option<&T>, max: Option<&T>) -> bool {
    match (min, max) {
        (Some(min), Some(max)) => min <= max,
        _ => true,
    }
}

fn within<T: PartialOrd>(fact: Option<T>, min: Option<T>, max: Option<T>) -> bool {
    match fact {
        Some(fact) => min.is_none_or(|min| fact >= min) && max.is_none_or(|max| fact <= max),
        None => min.is_none() && max.is_none(),
    }
}

fn names(wanted: &[String], offered: &str) -> bool {
    wanted.is_empty() || wanted.iter().any(|name| name.eq_ignore_ascii_case(offered))
}

/// Metres between two points along a sphere of the earth's mean radius (haversine formula).
fn distance_m(from: Coordinates, to: Coordinates) -> f64 {
    const EARTH_RADIUS_M: f64 = 6_371_008.8;
    let half_angle = |from: f64, to: f64| ((to - from).to_radians() / 2.0).sin().powi(2);
    let (south, north) = (from.latitude.to_radians(), to.latitude.to_radians());
    let haversine = half_angle(from.latitude, to.latitude)
        + south.cos() * north.cos() * half_angle(from.longitude, to.longitude);
    2.0 * EARTH_RADIUS_M * haversine.min(1.0).sqrt().asin()
}
