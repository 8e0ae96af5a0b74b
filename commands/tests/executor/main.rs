//! What the executor promises, on the real aggregates and a store in memory.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod claims;
mod codec;
mod conflicts;
mod personal;
mod remembered;
mod repetition;
mod samples;
mod snapshots;
mod stores;
