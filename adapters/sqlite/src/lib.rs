//! The ports on SQLite, the embedded default.
//!
//! One file a purpose: `log.sqlite` for the logs, `keys.sqlite` for data keys, both locked against
//! a second process that writes; `read_models.sqlite` for what queries read, which a second
//! process may write too, because every commit says from which checkpoint it goes on.

mod event_store;
mod file;
mod key_vault;
mod read_models;

pub use event_store::{LogOptions, SqliteEventStore};
pub use file::OpenError;
pub use key_vault::SqliteKeyVault;
pub use read_models::SqliteReadModels;
