//! Where a property stands.

use serde::{Deserialize, Serialize};

/// A postal address as the owner gave it; empty parts are absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Address {
    /// Street, house number, unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub street: Option<String>,
    /// City or locality.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub city: Option<String>,
    /// State, county or region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Postal code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub postal_code: Option<String>,
    /// ISO 3166-1 alpha-2 country code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
}

/// A point on earth.
///
/// - Units: degrees, WGS 84; latitude -90 to 90, longitude -180 to 180.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Coordinates {
    /// Degrees north.
    pub latitude: f64,
    /// Degrees east.
    pub longitude: f64,
}

impl Coordinates {
    /// Turns two numbers into a point, once, at the edge.
    pub fn new(latitude: f64, longitude: f64) -> Result<Self, InvalidCoordinates> {
        // NaN is in no range, so it is refused here too.
        if (-90.0..=90.0).contains(&latitude) && (-180.0..=180.0).contains(&longitude) {
            Ok(Self { latitude, longitude })
        } else {
            Err(InvalidCoordinates)
        }
    }
}

/// The numbers are not a point on earth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("latitude must be between -90 and 90 and longitude between -180 and 180, in degrees")]
pub struct InvalidCoordinates;
