//! Mutations through the schema, on stores in memory.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod accepted;
mod erasure;
mod failures;
mod objects;
mod refused;
mod repetition;
mod world;
