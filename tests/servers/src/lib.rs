//! Real servers on loopback for tests, benches and developer commands: found or fetched, started,
//! killed, started again, stopped.
//!
//! Nothing here speaks a server's protocol: who starts one has a driver.

mod kafka;
mod postgres;
mod tools;

pub use kafka::{BOOTSTRAP, Kafka};
pub use postgres::{Options, PINNED, Postgres, Release, URL};
pub use tools::{Tool, is_root, require, succeed};
