//! Freehold.

pub mod graphql;
pub mod platform;
