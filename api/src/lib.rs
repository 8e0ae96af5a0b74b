//! Freehold, the outer shell: configuration, HTTP, GraphQL over HTTP, and the command line.
//!
//! A library beside the binary so that tests start the server in their own process.

pub mod cli;
pub mod config;
pub mod graphql;
pub mod http;
pub mod import;
pub mod ingest;
mod moments;
pub mod node;
mod placeholder;
pub mod platform;
mod relays;
mod sealed;
pub mod stores;
pub mod telemetry;
pub mod transfer;
