//! The stores in memory keep the contracts of their ports.

use std::sync::Arc;

use freehold_contract::Fresh;
use freehold_contract::restore_log::Restorable;
use freehold_memory::{MemoryEventStore, MemoryKeyVault};
use freehold_ports::{EventStore, KeyVault, SnapshotStore};

fn event_store() -> Fresh<dyn EventStore> {
    Fresh::new(Arc::new(MemoryEventStore::default()))
}

fn snapshot_store() -> Fresh<dyn SnapshotStore> {
    Fresh::new(Arc::new(MemoryEventStore::default()))
}

fn key_vault() -> Fresh<dyn KeyVault> {
    Fresh::new(Arc::new(MemoryKeyVault::default()))
}

fn restorable() -> Fresh<dyn Restorable> {
    Fresh::new(Arc::new(MemoryEventStore::default()))
}

freehold_contract::event_store_suite!(event_store());
freehold_contract::snapshot_store_suite!(snapshot_store());
freehold_contract::key_vault_suite!(key_vault());
freehold_contract::restore_log_suite!(restorable());
