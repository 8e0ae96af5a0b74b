//! What the `Property` aggregate promises.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod commands;
mod laws;
mod payloads;
mod samples;
mod state_machine;
