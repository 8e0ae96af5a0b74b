//! The ports in memory: for tests, and for trying things out. Nothing outlives the process.

mod event_store;
mod intake;
mod key_vault;
mod publisher;

pub use event_store::MemoryEventStore;
pub use intake::MemoryIntake;
pub use key_vault::MemoryKeyVault;
pub use publisher::{MemoryPublisher, MemoryTopics};
