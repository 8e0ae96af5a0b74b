//! The stores that the configuration names, opened.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use freehold_memory::{MemoryEventStore, MemoryKeyVault};
use freehold_ports::{
    EventCodec, EventStore, KeyVault, LogName, ReadModels, RestoreKeys, RestoreLog, SnapshotStore,
    SystemClock, VaultError,
};
use freehold_sqlite::{LogOptions, OpenError, SqliteEventStore, SqliteKeyVault, SqliteReadModels};

use crate::config::{Config, MasterKey, MasterKeyError, StoreUrl};

/// The logs of every store; it may hold others, of applications that were imported.
pub const LOGS: [LogName; 2] = [LogName::DOMAIN, LogName::INTERACTIONS];

/// Logs, keys and read models of one deployment.
#[derive(Clone)]
pub struct Stores {
    /// Which logs there are, [`LOGS`] first.
    pub logs: Vec<LogName>,
    /// The logs.
    pub events: Arc<dyn EventStore>,
    /// The logs, to be moved.
    pub restore: Arc<dyn RestoreLog>,
    /// Shortcuts to aggregate states.
    pub snapshots: Arc<dyn SnapshotStore>,
    /// The keys of people.
    pub vault: Arc<dyn KeyVault>,
    /// The same, to be moved; none where they are in memory.
    pub keys: Option<Arc<dyn RestoreKeys>>,
    /// Between typed events and stored bytes.
    pub codec: EventCodec,
    /// What queries read.
    pub models: Arc<dyn ReadModels>,
    /// The files behind them; none where they are in memory.
    pub sqlite: Option<SqliteFiles>,
}

/// Stores in files, to close and to check them.
#[derive(Clone)]
pub struct SqliteFiles {
    /// The logs.
    pub log: Arc<SqliteEventStore>,
    vault: Arc<SqliteKeyVault>,
    models: Arc<SqliteReadModels>,
}

/// Why stores could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum StoresError {
    /// There is no log in the folder, and the command only reads.
    #[error("there is no log in {}; start with `freehold serve` or `freehold demo`", .0.display())]
    Nothing(PathBuf),
    /// The configuration names a file where a folder is meant.
    #[error("{} is a file; store.url names a folder, such as sqlite:./data", .0.display())]
    NotAFolder(PathBuf),
    /// The command needs files, and the configuration says memory.
    #[error("store.url is memory:, which no other process can see; name a folder with --store")]
    InMemory,
    /// The master key is not there.
    #[error(transparent)]
    MasterKey(#[from] MasterKeyError),
    /// A file cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The key vault cannot be opened.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

impl Stores {
    /// Opens everything to read and write, making what is not there; only one process can.
    pub fn open(config: &Config) -> Result<Self, StoresError> {
        Self::open_with(config, &[])
    }

    /// Opens everything to read and write, with further logs, which are made if they are not there.
    pub fn open_with(config: &Config, further: &[LogName]) -> Result<Self, StoresError> {
        let folder = match &config.store.url {
            StoreUrl::Sqlite(folder) => folder,
            StoreUrl::Memory => return Self::in_memory(&MasterKey::obtain(config)?, further),
        };
        check_folder(folder)?;
        let master_key = MasterKey::obtain(config)?;
        let logs = all_logs([SqliteEventStore::logs_in(folder)?, further.to_vec()].concat());
        let options = LogOptions {
            logs: logs.clone(),
            clock: Arc::new(SystemClock),
            queue_requests: config.store.queue_max_requests,
            queue_bytes: config.store.queue_max_bytes,
            ..LogOptions::default()
        };
        let log = Arc::new(SqliteEventStore::open(folder, options)?);
        let vault = Arc::new(SqliteKeyVault::open(folder, master_key.bytes())?);
        let models = Arc::new(SqliteReadModels::open(folder)?);
        Ok(Self::of_sqlite(logs, log, vault, models))
    }

    /// Opens everything to read, beside a process that writes or alone.
    pub fn open_read_only(config: &Config) -> Result<Self, StoresError> {
        let folder = config.store.url.folder().ok_or(StoresError::InMemory)?;
        check_folder(folder)?;
        if !folder.join("log.sqlite").exists() {
            return Err(StoresError::Nothing(folder.to_owned()));
        }
        let master_key = MasterKey::obtain(config)?;
        let logs = all_logs(SqliteEventStore::logs_in(folder)?);
        let log = Arc::new(SqliteEventStore::open_read_only(folder, logs.clone())?);
        let vault = Arc::new(SqliteKeyVault::open_read_only(folder, master_key.bytes())?);
        let models = Arc::new(SqliteReadModels::open(folder)?);
        Ok(Self::of_sqlite(logs, log, vault, models))
    }

    fn of_sqlite(
        logs: Vec<LogName>,
        log: Arc<SqliteEventStore>,
        vault: Arc<SqliteKeyVault>,
        models: Arc<SqliteReadModels>,
    ) -> Self {
        let codec = EventCodec::new(vault.clone());
        Self {
            logs,
            events: log.clone(),
            restore: log.clone(),
            snapshots: log.clone(),
            vault: vault.clone(),
            keys: Some(vault.clone()),
            codec,
            models: models.clone(),
            sqlite: Some(SqliteFiles { log, vault, models }),
        }
    }

    fn in_memory(master_key: &MasterKey, further: &[LogName]) -> Result<Self, StoresError> {
        let logs = all_logs(further.to_vec());
        let log = Arc::new(MemoryEventStore::new(logs.clone(), Arc::new(SystemClock)));
        let vault = Arc::new(MemoryKeyVault::new(*master_key.bytes()));
        Ok(Self {
            logs,
            events: log.clone(),
            restore: log.clone(),
            snapshots: log,
            keys: None,
            codec: EventCodec::new(vault.clone()),
            vault,
            models: Arc::new(SqliteReadModels::in_memory()?),
            sqlite: None,
        })
    }

    /// Stores and answers what waits, empties the write-ahead logs and gives the files free.
    pub async fn close(&self) {
        let Some(SqliteFiles { log, vault, models }) = &self.sqlite else { return };
        log.close().await;
        // Nothing is lost: what stands in a write-ahead log is stored.
        if let Err(error) = vault.close().await {
            tracing::warn!(%error, "the write-ahead log of the keys was not emptied");
        }
        if let Err(error) = models.close().await {
            tracing::warn!(%error, "the write-ahead log of the read models was not emptied");
        }
    }
}

/// Those of every store, then the others, each once.
fn all_logs(others: Vec<LogName>) -> Vec<LogName> {
    let mut logs = LOGS.to_vec();
    for log in others {
        if !logs.contains(&log) {
            logs.push(log);
        }
    }
    logs
}

fn check_folder(folder: &Path) -> Result<(), StoresError> {
    match folder.is_file() {
        true => Err(StoresError::NotAFolder(folder.to_owned())),
        false => Ok(()),
    }
}
