//! Logs and keys as files, to move them between stores: taken out as they are stored, put into an
//! empty store as they were, and compared.
//!
//! A file is lines of JSON (`README.md` here describes it). After each batch of lines stands a
//! check line with a hash of everything before it, and nothing is stored of a batch whose check
//! line does not agree: what is damaged or cut off never reaches a log. Absent on purpose:
//! snapshots and read models, which are made again, and filters: part of a log is no log.

mod export;
mod import;
mod keys;
mod lines;
mod record;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use freehold_ports::{
    CodecError, EventStore, GlobalPosition, KeyVault, LogName, ReadError, ReadModelError,
    ReadModels, RestoreError, RestoreKeys, RestoreKeysError, RestoreLog, SnapshotStore, VaultError,
};

pub use export::export_logs;
pub use import::{LogFile, import_logs};
pub use keys::{KeysMoved, export_keys, import_keys};

use crate::stores::Stores;

/// What of a store is needed to move what it holds.
#[derive(Clone)]
pub struct Ports {
    /// The logs.
    pub events: Arc<dyn EventStore>,
    /// The same, to be restored.
    pub restore: Arc<dyn RestoreLog>,
    /// States made of the logs, which do not move.
    pub snapshots: Arc<dyn SnapshotStore>,
    /// Read models, which do not move either.
    pub models: Arc<dyn ReadModels>,
    /// The keys of people.
    pub vault: Arc<dyn KeyVault>,
    /// The same, to be restored; none where they are in memory.
    pub keys: Option<Arc<dyn RestoreKeys>>,
}

impl From<&Stores> for Ports {
    fn from(stores: &Stores) -> Self {
        let Stores { events, restore, snapshots, models, vault, keys, .. } = stores.clone();
        Self { events, restore, snapshots, models, vault, keys }
    }
}

/// A log that was moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogMoved {
    /// Its name.
    pub log: LogName,
    /// How many events it has.
    pub events: u64,
    /// How many of them, or of answers to commands without events, came with an answer.
    pub answers: u64,
    /// A hash of all its events.
    pub hash: String,
}

/// Why logs or keys were not moved; what was moved before stays, and is not moved again.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// The file cannot be read.
    #[error("the file cannot be read: {0}")]
    Unreadable(std::io::Error),
    /// The file cannot be written.
    #[error("the file cannot be written: {0}")]
    Unwritable(std::io::Error),
    /// It is some other file.
    #[error("this is no file of `freehold {command} export`: line 1 {what}")]
    NotAnExport {
        /// `events` or `keys`.
        command: &'static str,
        /// What is wrong.
        what: String,
    },
    /// A line is not one that an export writes.
    #[error("line {line}{}: {what}; take the file anew with `export`, or put the line right",
        field.as_ref().map(|field| format!(", field {field}")).unwrap_or_default())]
    Line {
        /// Which, from 1.
        line: u64,
        /// Which of its fields, if it is one.
        field: Option<String>,
        /// What is wrong.
        what: String,
    },
    /// Lines are not as they were written.
    #[error(
        "lines {from} to {to} are not as they were written, the check on line {to} does not agree; \
         nothing of them was stored, copy the file again from where it was made"
    )]
    Changed {
        /// The first that may be meant.
        from: u64,
        /// The check line.
        to: u64,
    },
    /// The file has no end.
    #[error(
        "the file is cut off after line {line}; get all of it and import it again, that goes on \
         where this stopped"
    )]
    CutOff {
        /// The last whole line.
        line: u64,
    },
    /// Something follows the end.
    #[error("line {line} follows the end of the export; import each file by itself")]
    AfterTheEnd {
        /// Which, from 1.
        line: u64,
    },
    /// The store has another master key than the one that the file was taken from.
    #[error(
        "this store has another master key than the one that the file comes from, or made one \
         just now: nobody's \
         personal values could be read, and nobody would be recognised by their e-mail address. \
         Nothing was imported. A store that was used keeps its key: name a new folder with a copy \
         of that master.key in it, or an empty database with vault.master_key set to it"
    )]
    OtherMasterKey,
    /// The log holds something else.
    #[error(
        "the log {log} of this store holds {what}; a log is imported into an empty one, or goes on \
         from an interrupted import of the same file. Nothing was changed: name another folder or \
         database with --store"
    )]
    NotAPrefix {
        /// Which log.
        log: LogName,
        /// What it holds.
        what: String,
    },
    /// Rows that another log made would be taken for rows of this one.
    #[error(
        "the read model {projection} of this store has seen position {checkpoint}, but its log \
         {log} ends at {head}: it was made of another log. Delete the read models \
         (read_models.sqlite, or the database) and import again; they are made anew"
    )]
    OtherReadModel {
        /// Which projection.
        projection: &'static str,
        /// The position it has seen.
        checkpoint: GlobalPosition,
        /// Its log.
        log: LogName,
        /// Where that ends.
        head: GlobalPosition,
    },
    /// The store keeps no wrapped keys.
    #[error("store.url is memory:, which keeps nothing to move; name a folder with --store")]
    InMemory,
    /// What is in the store is not what is in the file.
    #[error(
        "the log {log} is not equal to the file after the import: {what}; do not use this store, \
         and report it"
    )]
    NotEqual {
        /// Which log.
        log: LogName,
        /// What differs.
        what: String,
    },
    /// A log cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The read models cannot be looked at.
    #[error(transparent)]
    ReadModels(#[from] ReadModelError),
    /// The log did not take a batch.
    #[error("{0}; what was restored before stays, import the file again to go on")]
    Restore(#[from] RestoreError),
    /// An event that tells of an erasure cannot be read.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// A vault cannot be read.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The vault did not take the keys.
    #[error(transparent)]
    RestoreKeys(#[from] RestoreKeysError),
    /// A thread of it ended by a defect.
    #[error("it ended unexpectedly; the log says why")]
    Ended,
}

/// What only the same master key gives.
fn master_key_check(ports: &Ports) -> String {
    ports.vault.keyed_hash("moving between stores", b"the same master key").to_hex()
}
