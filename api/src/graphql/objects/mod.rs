//! What clients see of the read models, one module a concept.

pub mod dead_letter;
pub mod engagement;
pub mod enums;
pub mod event;
pub mod listing;
pub mod market;
pub mod projection;
pub mod property;
pub mod user;
pub mod values;
