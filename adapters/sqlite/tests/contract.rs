//! The stores on SQLite keep the contracts of their ports, each on a file of its own.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use freehold_contract::Fresh;
use freehold_contract::restore_keys::Vaults;
use freehold_contract::restore_log::Restorable;
use freehold_ports::{EventStore, Intake, KeyVault, SnapshotStore};
use freehold_sqlite::{LogOptions, SqliteEventStore, SqliteKeyVault};

fn open() -> (Arc<SqliteEventStore>, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteEventStore::open(folder.path(), LogOptions::default()).unwrap();
    (Arc::new(store), folder)
}

fn event_store() -> Fresh<dyn EventStore> {
    let (store, folder) = open();
    Fresh::keeping(store, folder)
}

fn snapshot_store() -> Fresh<dyn SnapshotStore> {
    let (store, folder) = open();
    Fresh::keeping(store, folder)
}

fn intake() -> Fresh<dyn Intake> {
    let (store, folder) = open();
    Fresh::keeping(store, folder)
}

fn key_vault() -> Fresh<dyn KeyVault> {
    let folder = tempfile::tempdir().unwrap();
    let vault = SqliteKeyVault::open(folder.path(), &[7; 32]).unwrap();
    Fresh::keeping(Arc::new(vault), folder)
}

fn restorable() -> Fresh<dyn Restorable> {
    let (store, folder) = open();
    Fresh::keeping(store, folder)
}

fn vaults() -> Fresh<Vaults> {
    let folders = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let open = |at: usize, master: u8| {
        Arc::new(SqliteKeyVault::open(folders[at].path(), &[master; 32]).unwrap())
    };
    let vaults = Vaults { from: open(0, 7), to: open(1, 7), other: open(2, 8) };
    Fresh::keeping(Arc::new(vaults), folders)
}

freehold_contract::event_store_suite!(event_store());
freehold_contract::snapshot_store_suite!(snapshot_store());
freehold_contract::intake_suite!(intake());
freehold_contract::key_vault_suite!(key_vault());
freehold_contract::restore_log_suite!(restorable());
freehold_contract::restore_keys_suite!(vaults());
