//! The stores on PostgreSQL keep the contracts of their ports, each in a schema of its own.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use freehold_contract::Fresh;
use freehold_contract::restore_keys::Vaults;
use freehold_contract::restore_log::Restorable;
use freehold_ports::{EventStore, Intake, KeyVault, ReadModels, SnapshotStore};
use freehold_postgres::{LogOptions, PostgresEventStore, PostgresKeyVault, PostgresReadModels};
use freehold_test_stores::Schema;

async fn open() -> (Arc<PostgresEventStore>, Schema) {
    let schema = Schema::new();
    let store = PostgresEventStore::open(schema.database(), LogOptions::default()).await.unwrap();
    (Arc::new(store), schema)
}

async fn event_store() -> Fresh<dyn EventStore> {
    let (store, schema) = open().await;
    Fresh::keeping(store, schema)
}

async fn snapshot_store() -> Fresh<dyn SnapshotStore> {
    let (store, schema) = open().await;
    Fresh::keeping(store, schema)
}

async fn intake() -> Fresh<dyn Intake> {
    let (store, schema) = open().await;
    Fresh::keeping(store, schema)
}

async fn key_vault() -> Fresh<dyn KeyVault> {
    let schema = Schema::new();
    let vault = PostgresKeyVault::open(schema.database(), &[7; 32]).await.unwrap();
    Fresh::keeping(Arc::new(vault), schema)
}

async fn restorable() -> Fresh<dyn Restorable> {
    let (store, schema) = open().await;
    Fresh::keeping(store, schema)
}

async fn vaults() -> Fresh<Vaults> {
    let schemas = [(); 3].map(|()| Schema::new());
    let open = async |at: usize, master: u8| {
        let vault = PostgresKeyVault::open(schemas[at].database(), &[master; 32]).await;
        Arc::new(vault.unwrap())
    };
    let (from, to, other) = (open(0, 7).await, open(1, 7).await, open(2, 8).await);
    Fresh::keeping(Arc::new(Vaults { from, to, other }), schemas)
}

async fn read_models() -> Fresh<dyn ReadModels> {
    let schema = Schema::new();
    let store = PostgresReadModels::open(schema.database()).await.unwrap();
    Fresh::keeping(Arc::new(store), schema)
}

freehold_contract::event_store_suite!(event_store().await, #[ignore = "set TEST_POSTGRES_URL"]);
freehold_contract::snapshot_store_suite!(snapshot_store().await, #[ignore = "set TEST_POSTGRES_URL"]);
freehold_contract::intake_suite!(intake().await, #[ignore = "set TEST_POSTGRES_URL"]);
freehold_contract::key_vault_suite!(key_vault().await, #[ignore = "set TEST_POSTGRES_URL"]);
freehold_contract::restore_log_suite!(restorable().await, #[ignore = "set TEST_POSTGRES_URL"]);
freehold_contract::restore_keys_suite!(vaults().await, #[ignore = "set TEST_POSTGRES_URL"]);
freehold_contract::read_models_suite!(read_models().await, #[ignore = "set TEST_POSTGRES_URL"]);
freehold_contract::dead_letters_suite!(read_models().await, #[ignore = "set TEST_POSTGRES_URL"]);
