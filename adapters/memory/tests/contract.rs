//! The stores in memory keep the contracts of their ports.

use std::sync::Arc;

use freehold_contract::Fresh;
use freehold_contract::feed::Followed;
use freehold_contract::publisher::{Readable, Seen};
use freehold_contract::restore_log::Restorable;
use freehold_memory::{MemoryEventStore, MemoryIntake, MemoryKeyVault, MemoryTopics};
use freehold_ports::{EventStore, Feed, Intake, KeyVault, Publisher, SnapshotStore};

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

fn intake() -> Fresh<dyn Intake> {
    Fresh::new(Arc::new(MemoryIntake::default()))
}

struct Topics(MemoryTopics);

#[async_trait::async_trait]
impl Readable for Topics {
    fn publisher(&self) -> Box<dyn Publisher> {
        Box::new(self.0.publisher())
    }

    async fn read(&self) -> Vec<Seen> {
        self.0.events().iter().map(Seen::of).collect()
    }
}

impl Followed for Topics {
    fn publisher(&self) -> Box<dyn Publisher> {
        Box::new(self.0.publisher())
    }

    fn feed(&self) -> Arc<dyn Feed> {
        Arc::new(self.0.clone())
    }
}

fn followed() -> Fresh<dyn Followed> {
    Fresh::new(Arc::new(Topics(MemoryTopics::default())))
}

fn topics() -> Fresh<dyn Readable> {
    Fresh::new(Arc::new(Topics(MemoryTopics::default())))
}

freehold_contract::event_store_suite!(event_store());
freehold_contract::snapshot_store_suite!(snapshot_store());
freehold_contract::key_vault_suite!(key_vault());
freehold_contract::restore_log_suite!(restorable());
freehold_contract::intake_suite!(intake());
freehold_contract::publisher_suite!(topics());
freehold_contract::feed_suite!(followed());
