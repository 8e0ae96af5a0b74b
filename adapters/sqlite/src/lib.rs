//! The ports on SQLite.

mod read_models;

pub use read_models::SqliteReadModels;
