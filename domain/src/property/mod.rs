//! A property is one rentable unit: its facts, its media and at most one open listing period.

mod event;
mod facts;
mod listing;
mod media;
mod named;
mod terms;
mod upcast;

pub use event::*;
pub use facts::{Changed, FactChange, FactField, PropertyFacts, PropertyType};
pub use listing::{BackOnMarketCause, ListingStatus};
pub use media::{Media, MediaCategory};
pub use terms::{
    Concession, Furnished, LeaseTermOption, LeaseTerms, MoveInCost, MoveInCostKind, OngoingFee,
    OngoingFeeKind, PetsAllowed,
};
