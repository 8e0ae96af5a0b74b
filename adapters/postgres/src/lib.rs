//! The ports on PostgreSQL, for many processes and machines.
//!
//! Everything stands in the schema that the address selects; [`Database`] brings it up to date.

mod database;
mod event_store;
mod key_vault;
mod postgres_es;
mod read_models;
mod status;

pub use database::{Database, OpenError, PoolStatus};
pub use event_store::{LogOptions, PostgresEventStore};
pub use key_vault::PostgresKeyVault;
pub use postgres_es::{PostgresEsError, PostgresEsEvent, PostgresEsTable};
pub use read_models::PostgresReadModels;
pub use status::{DatabaseStatus, LogStatus};
