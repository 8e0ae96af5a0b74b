//! A floor or lot area, always with its unit.

use serde::{Deserialize, Serialize};

/// An area; never zero.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Area {
    /// How much, in `unit`; greater than zero and finite.
    pub value: f64,
    /// In which unit.
    pub unit: AreaUnit,
}

/// Units of area, after RESO `AreaUnits`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum AreaUnit {
    /// Square feet.
    SquareFeet,
    /// Square metres.
    SquareMeters,
    /// Acres.
    Acres,
    /// Hectares.
    Hectares,
}

impl AreaUnit {
    /// Square metres in one unit (international foot and acre).
    pub fn square_meters(self) -> f64 {
        match self {
            Self::SquareFeet => 0.092_903_04,
            Self::SquareMeters => 1.0,
            Self::Acres => 4_046.856_422_4,
            Self::Hectares => 10_000.0,
        }
    }
}

impl Area {
    /// Turns a number into an area, once, at the edge.
    pub fn new(value: f64, unit: AreaUnit) -> Result<Self, InvalidArea> {
        if value.is_finite() && value > 0.0 { Ok(Self { value, unit }) } else { Err(InvalidArea) }
    }

    /// The same area in square metres.
    pub fn square_meters(self) -> f64 {
        self.value * self.unit.square_meters()
    }
}

/// The number is not an area.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an area must be greater than zero; send it with its unit")]
pub struct InvalidArea;
