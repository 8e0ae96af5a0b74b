//! Where the stores of a test live: embedded, or in a PostgreSQL schema.
//!
//! Tests say what they need; `TEST_STORE=postgres` says that it is on PostgreSQL. What stores must
//! do is in `tests/contract`.

#![allow(clippy::unwrap_used, reason = "a test fails where its stores do")]

mod place;
mod schema;

pub use place::{Log, MASTER_KEY, Place, cases, on_postgres};
pub use schema::Schema;
