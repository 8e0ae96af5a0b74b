//! The read models: which tables there are, and what every event does to them.
//!
//! One module a concept. Every fold names every event of its log, also those it has no use for, so
//! that the compiler lists the folds that a new event concerns.

pub mod account;
mod columns;
pub mod engagement;
pub mod listing;
pub mod market;
pub mod property;
