//! What a rental marketplace decides, and the facts it records.
//!
//! One module a concept: [`property`] (unit facts, listing periods, media), [`user`] (account,
//! consent, preferences, saved searches), [`interaction`] (views and clicks: facts without rules).
//! Absent on purpose: clocks, randomness, storage, encryption. Time and identifiers arrive as
//! arguments; personal values are only marked here ([`Personal`]) and sealed by the codec.

mod area;
mod circumstances;
mod claim;
mod event;
mod ids;
pub mod interaction;
mod personal;
mod place;
mod price;
mod refusal;
pub mod user;

pub mod property;

pub use area::{Area, AreaUnit, InvalidArea};
pub use circumstances::{Actor, Circumstances, Policy};
pub use claim::{Claim, ClaimKey, Uniqueness};
pub use event::{PayloadError, StoredEvent};
pub use ids::{
    ApplicationId, LeaseId, LegalHoldId, ListingKey, PropertyId, SavedSearchId, SubjectId, UserId,
};
pub use personal::Personal;
pub use place::{Address, Coordinates, InvalidCoordinates};
pub use price::{Currency, FeeFrequency, InvalidPrice, Price};
pub use refusal::{Complaint, Refusal};
