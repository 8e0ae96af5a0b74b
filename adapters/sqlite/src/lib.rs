//! The ports on SQLite, the embedded default.
//!
//! One file a purpose: `log.sqlite` for the logs, `keys.sqlite` for data keys. Each has one
//! connection that writes and is locked against a second process.

mod event_store;
mod file;
mod recently_used;

pub use event_store::{LogOptions, SqliteEventStore};
pub use file::OpenError;
