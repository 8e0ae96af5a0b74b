//! The stores that the configuration names, opened.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use freehold_memory::{MemoryEventStore, MemoryIntake, MemoryKeyVault};
use freehold_ports::{
    CodecError, EventCodec, EventStore, Intake, KeyVault, LogName, ReadError, ReadModels,
    RestoreKeys, RestoreLog, SnapshotStore, SystemClock, VaultError,
};
use freehold_postgres::{
    Database, OpenError as PostgresError, PostgresEventStore, PostgresKeyVault, PostgresReadModels,
};
use freehold_sqlite::{LogOptions, OpenError, SqliteEventStore, SqliteKeyVault, SqliteReadModels};
use tracing::warn;

use crate::config::{Config, MasterKey, MasterKeyError, PostgresUrl, StoreUrl};
use crate::sealed::holds_sealed;

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
    /// How far topics of senders are taken in.
    pub intake: Arc<dyn Intake>,
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
    backing: Backing,
}

/// What is behind the ports, to check and to close it.
#[derive(Clone)]
enum Backing {
    Memory,
    Sqlite {
        log: Arc<SqliteEventStore>,
        vault: Arc<SqliteKeyVault>,
        models: Arc<SqliteReadModels>,
    },
    /// The database of the log, then that of the keys if it is another one.
    Postgres {
        databases: Vec<Database>,
        log: Arc<PostgresEventStore>,
        vault: Arc<PostgresKeyVault>,
    },
}

/// Why stores could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum StoresError {
    /// There is no log, and the command only reads.
    #[error("there is no log in {0}; start with `freehold serve` or `freehold demo`")]
    Nothing(String),
    /// The configuration names a file where a folder is meant.
    #[error("{} is a file; store.url names a folder, such as sqlite:./data", .0.display())]
    NotAFolder(PathBuf),
    /// The command needs what stays, and the configuration says memory.
    #[error("store.url is memory:, which no other process can see; name a folder with --store")]
    InMemory,
    /// The command is about a database server.
    #[error(
        "store.url is not a PostgreSQL address; this command is about several processes on one"
    )]
    NotPostgres,
    /// The configuration names a cluster, and nothing here speaks to it.
    #[error(
        "kafka.bootstrap_servers is set, and this program was built without Kafka; build it with \
         its default features, or leave the key out"
    )]
    NoKafka,
    /// Projections are to read what nobody publishes.
    #[error(
        "projections.source is kafka, and kafka.bootstrap_servers names no brokers; set it as for \
         the relay, or leave projections.source at log"
    )]
    NoBrokers,
    /// The master key is not there.
    #[error(transparent)]
    MasterKey(#[from] MasterKeyError),
    /// A file cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The database cannot be used.
    #[error("{key}: {source}")]
    Postgres {
        /// The key that names it.
        key: &'static str,
        /// What is wrong.
        source: PostgresError,
    },
    /// The key vault cannot be opened.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// A log cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Nothing opens what is sealed in the log.
    #[error(
        "the log holds personal values, and the vault not one key that opens them: {likely}. If \
         the log was imported without its keys, bring them with `freehold keys import`, from a \
         file that `freehold keys export` wrote where they are; if they are lost for good, see \
         `freehold keys give-up --help`"
    )]
    NoKeys {
        /// Where they probably are.
        likely: String,
    },
    /// The folder has a log and no file of keys.
    #[error(
        "there is no keys.sqlite beside the log in {}, which holds the keys of people: put it back \
         from the backup of the folder; without one, `freehold keys import` makes it from a file \
         of `freehold keys export`",
        .0.display()
    )]
    NoVault(PathBuf),
    /// The read models cannot be read.
    #[error(transparent)]
    ReadModels(#[from] freehold_projections::ReadError),
    /// An event that tells of an erasure cannot be read.
    #[error(transparent)]
    Codec(#[from] CodecError),
}

impl Stores {
    /// Opens everything to read and write, making what is not there; of a folder, only one process
    /// can.
    pub async fn open(config: &Config) -> Result<Self, StoresError> {
        Self::open_with(config, &[]).await
    }

    /// Opens everything to read and write, with further logs, which are made if they are not there.
    pub async fn open_with(config: &Config, further: &[LogName]) -> Result<Self, StoresError> {
        if let StoreUrl::Sqlite(folder) = &config.store.url {
            check_vault_is_there(folder).await?;
        }
        let stores = Self::open_to_restore(config, further).await?;
        if let Some(keys) = &stores.keys {
            let apart = match &stores.backing {
                Backing::Postgres { databases, .. } => databases.get(1),
                Backing::Memory | Backing::Sqlite { .. } => None,
            };
            keys.keep_master_key().await.map_err(|error| of_vault(apart, error))?;
        }
        Ok(stores)
    }

    /// Opens as [`open_with`](Self::open_with) does what is to be restored: a new vault has no
    /// master key until whoever restores knows that it is the right one.
    pub async fn open_to_restore(
        config: &Config,
        further: &[LogName],
    ) -> Result<Self, StoresError> {
        match &config.store.url {
            StoreUrl::Sqlite(folder) => Self::open_folder(folder, config, further),
            StoreUrl::Postgres(url) => Self::open_database(url, config, further).await,
            StoreUrl::Memory => Self::in_memory(&MasterKey::obtain(config)?, further),
        }
    }

    /// Opens everything to read, beside processes that write or alone.
    pub async fn open_read_only(config: &Config) -> Result<Self, StoresError> {
        match &config.store.url {
            StoreUrl::Sqlite(folder) => Self::open_folder_read_only(folder, config),
            StoreUrl::Postgres(url) => Self::open_database_read_only(url, config).await,
            StoreUrl::Memory => Err(StoresError::InMemory),
        }
    }

    fn open_folder(
        folder: &Path,
        config: &Config,
        further: &[LogName],
    ) -> Result<Self, StoresError> {
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
        let vault = Arc::new(SqliteKeyVault::open_to_restore(folder, master_key.bytes())?);
        let models = Arc::new(SqliteReadModels::open(folder)?);
        Ok(Self::of_sqlite(logs, log, vault, models))
    }

    fn open_folder_read_only(folder: &Path, config: &Config) -> Result<Self, StoresError> {
        check_folder(folder)?;
        if !folder.join("log.sqlite").exists() {
            return Err(StoresError::Nothing(folder.display().to_string()));
        }
        let master_key = MasterKey::obtain(config)?;
        let logs = all_logs(SqliteEventStore::logs_in(folder)?);
        let log = Arc::new(SqliteEventStore::open_read_only(folder, logs.clone())?);
        if !folder.join("keys.sqlite").exists() {
            return Err(StoresError::NoVault(folder.to_owned()));
        }
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
            intake: log.clone(),
            snapshots: log.clone(),
            vault: vault.clone(),
            keys: Some(vault.clone()),
            codec,
            models: models.clone(),
            backing: Backing::Sqlite { log, vault, models },
        }
    }

    async fn open_database(
        url: &PostgresUrl,
        config: &Config,
        further: &[LogName],
    ) -> Result<Self, StoresError> {
        let master_key = MasterKey::obtain(config)?;
        let Databases { database, keys, replica } = Databases::of(url, config)?;
        let there = PostgresEventStore::logs_in(&database).await;
        let there = there.map_err(|source| failed(url, source))?;
        let logs = all_logs([there, further.to_vec()].concat());
        let options = freehold_postgres::LogOptions {
            logs: logs.clone(),
            clock: Arc::new(SystemClock),
            queue_requests: config.store.queue_max_requests,
            queue_bytes: config.store.queue_max_bytes,
            replica: replica.clone(),
            ..freehold_postgres::LogOptions::default()
        };
        let log = PostgresEventStore::open(database.clone(), options).await;
        let log = log.map_err(|source| failed(url, source))?;
        check_replica(&log, replica).await?;
        let of_keys = keys.clone().unwrap_or_else(|| database.clone());
        let vault = PostgresKeyVault::open_to_restore(of_keys, master_key.bytes()).await;
        let vault = vault.map_err(|error| of_vault(keys.as_ref(), error))?;
        let models = PostgresReadModels::open(database.clone()).await;
        let models = models.map_err(|source| failed(url, source))?;
        Ok(Self::of_postgres(logs, database, keys, log, vault, models))
    }

    async fn open_database_read_only(
        url: &PostgresUrl,
        config: &Config,
    ) -> Result<Self, StoresError> {
        let master_key = MasterKey::obtain(config)?;
        let Databases { database, keys, replica } = Databases::of(url, config)?;
        let there = PostgresEventStore::logs_in(&database).await;
        let logs = all_logs(there.map_err(|source| failed(url, source))?);
        let log =
            PostgresEventStore::open_read_only(database.clone(), logs.clone(), replica.clone());
        let log = log.await.map_err(|source| failed(url, source))?;
        check_replica(&log, replica).await?;
        let of_keys = keys.clone().unwrap_or_else(|| database.clone());
        let vault = PostgresKeyVault::open_read_only(of_keys, master_key.bytes()).await;
        let vault = vault.map_err(|error| of_vault(keys.as_ref(), error))?;
        let models = PostgresReadModels::open_read_only(database.clone()).await;
        let models = models.map_err(|source| failed(url, source))?;
        Ok(Self::of_postgres(logs, database, keys, log, vault, models))
    }

    fn of_postgres(
        logs: Vec<LogName>,
        database: Database,
        keys: Option<Database>,
        log: PostgresEventStore,
        vault: PostgresKeyVault,
        models: PostgresReadModels,
    ) -> Self {
        let (log, vault) = (Arc::new(log), Arc::new(vault));
        Self {
            logs,
            events: log.clone(),
            restore: log.clone(),
            intake: log.clone(),
            snapshots: log.clone(),
            vault: vault.clone(),
            keys: Some(vault.clone()),
            codec: EventCodec::new(vault.clone()),
            models: Arc::new(models),
            backing: Backing::Postgres {
                databases: [Some(database), keys].into_iter().flatten().collect(),
                log,
                vault,
            },
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
            intake: Arc::new(MemoryIntake::default()),
            snapshots: log,
            keys: None,
            codec: EventCodec::new(vault.clone()),
            vault,
            models: Arc::new(SqliteReadModels::in_memory()?),
            backing: Backing::Memory,
        })
    }

    /// That the vault has no key, and where they probably are.
    pub(crate) fn no_keys(&self) -> StoresError {
        let likely = match &self.backing {
            Backing::Postgres { databases, .. } if databases.len() > 1 => {
                "store.keys_url names another database than before, or one whose keys were not \
                 restored; name the one that has them, or restore it from its backup"
            }
            Backing::Postgres { .. } => {
                "store.keys_url named the database that has them, or they were not restored; set \
                 it again, or restore the tables data_key and vault from the backup"
            }
            Backing::Memory | Backing::Sqlite { .. } => LOST_FILE,
        };
        StoresError::NoKeys { likely: likely.to_owned() }
    }

    /// Whether the log's database holds keys though store.keys_url names another one, in words.
    pub(crate) async fn keys_left(&self) -> Option<&'static str> {
        let Backing::Postgres { databases, vault, .. } = &self.backing else { return None };
        let [log, _, ..] = &databases[..] else { return None };
        match vault.are_left_in(log).await {
            Ok(false) => None,
            Ok(true) => Some(
                "store.keys_url names the database of the keys, and that of the log still holds \
                 some: whoever is erased from now on can be read with them. When `freehold doctor` \
                 finds nothing else, and no process runs, remove them there: TRUNCATE data_key, vault",
            ),
            Err(error) => {
                warn!(%error, "nobody looked whether keys are left in the database of the log");
                None
            }
        }
    }

    /// What in the logs contradicts itself, in words; reads everything.
    pub async fn check_integrity(&self) -> Result<Vec<String>, ReadError> {
        match &self.backing {
            Backing::Memory => Ok(Vec::new()),
            Backing::Sqlite { log, .. } => log.check_integrity().await,
            Backing::Postgres { log, .. } => log.check_integrity().await,
        }
    }

    /// Whether this process can write, in words for everybody; the log has the rest.
    pub(crate) async fn check(&self) -> Result<(), String> {
        if let Backing::Postgres { databases, log, .. } = &self.backing {
            for (database, key) in databases.iter().zip(["store.url", "store.keys_url"]) {
                database.check().await.map_err(|error| {
                    warn!(key, %error, "a database cannot be used");
                    format!("{key}: {}; the log of this process says more", in_short(&error))
                })?;
            }
            if let Some(log) = log.fenced().first() {
                return Err(format!(
                    "the log {log} was fenced, or lost events, since this process opened it; \
                     restart this process"
                ));
            }
        }
        self.events.head(&LogName::DOMAIN).await.map(drop).map_err(|error| {
            warn!(error = &error as &dyn std::error::Error, "the event log cannot be read");
            "the event log cannot be read; the log of this process says more".to_owned()
        })
    }

    /// Stores and answers what waits, empties write-ahead logs of files and gives them free, and
    /// takes leave of servers.
    pub async fn close(&self) {
        match &self.backing {
            Backing::Memory => {}
            Backing::Sqlite { log, vault, models } => {
                log.close().await;
                // Nothing is lost: what stands in a write-ahead log is stored.
                if let Err(error) = vault.close().await {
                    warn!(%error, "the write-ahead log of the keys was not emptied");
                }
                if let Err(error) = models.close().await {
                    warn!(%error, "the write-ahead log of the read models was not emptied");
                }
            }
            Backing::Postgres { log, databases, .. } => {
                log.close().await;
                for database in databases {
                    database.close().await;
                }
            }
        }
    }
}

/// The databases that a deployment on PostgreSQL uses.
struct Databases {
    database: Database,
    /// Where keys are, if not in the same.
    keys: Option<Database>,
    replica: Option<Database>,
}

impl Databases {
    /// Nothing is connected yet.
    fn of(url: &PostgresUrl, config: &Config) -> Result<Self, StoresError> {
        let at = |key, url: &PostgresUrl| {
            let database = Database::with_pool_size(url.as_str(), config.store.pool_size);
            database.map_err(|source| StoresError::Postgres { key, source })
        };
        let database = at("store.url", url)?;
        let other =
            |key, url: &Option<PostgresUrl>| url.as_ref().map(|url| at(key, url)).transpose();
        let keys = other("store.keys_url", &config.store.keys_url)?;
        if let Some(keys) = &keys {
            database.count_with("keys", keys);
        }
        let replica = other("store.read_url", &config.store.read_url)?;
        Ok(Self { database, keys, replica })
    }
}

/// The database that the configuration names, for what is asked of it and not of the stores.
///
/// - Errors: [`StoresError::NotPostgres`] where it names another store.
pub fn database(config: &Config) -> Result<Database, StoresError> {
    match &config.store.url {
        StoreUrl::Postgres(url) => Ok(Databases::of(url, config)?.database),
        StoreUrl::Sqlite(_) | StoreUrl::Memory => Err(StoresError::NotPostgres),
    }
}

fn failed(url: &PostgresUrl, source: PostgresError) -> StoresError {
    match source {
        PostgresError::Nothing => StoresError::Nothing(format!("{url:?}")),
        source => StoresError::Postgres { key: "store.url", source },
    }
}

/// An error of the vault, with the key that names its database.
fn of_vault(keys: Option<&Database>, error: VaultError) -> StoresError {
    let VaultError::Unavailable { source } = error else { return error.into() };
    let key = if keys.is_some() { "store.keys_url" } else { "store.url" };
    match source.downcast() {
        Ok(source) => StoresError::Postgres { key, source: *source },
        Err(source) => VaultError::Unavailable { source }.into(),
    }
}

/// A kind of error, without places, names and the server's words.
fn in_short(error: &PostgresError) -> &'static str {
    match error {
        PostgresError::Unreachable { .. } => "no PostgreSQL answers",
        PostgresError::Login { .. } => "the database does not let this process in",
        PostgresError::Tls { .. } => "no TLS with the database",
        PostgresError::NoDatabase { .. } => "the server has no such database",
        PostgresError::Full { .. } => "the database takes no more connections",
        PostgresError::Forbidden { .. } => "the database does not allow what is needed",
        PostgresError::Busy { .. } => "all connections of this process are in use",
        PostgresError::ReadOnly { .. } => "the database takes no writes",
        PostgresError::OldServer { .. } => "the server is too old",
        PostgresError::NewerSchema { .. } => "a newer release migrated the schema",
        PostgresError::Encoding { .. } => "the database does not keep every character",
        PostgresError::NoReplica => "the replica is one of another database",
        PostgresError::OtherMigration { .. } => "the schema is not that of an official release",
        PostgresError::OlderSchema { .. } => "the schema lacks migrations",
        PostgresError::Nothing => "there is nothing in the database",
        PostgresError::Address { .. } | PostgresError::Failed { .. } => "the database failed",
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

/// What another database holds must not get into the read models of this one.
async fn check_replica(
    log: &PostgresEventStore,
    replica: Option<Database>,
) -> Result<(), StoresError> {
    let Some(replica) = replica else { return Ok(()) };
    let checked = log.check_replica(&replica).await;
    checked.map_err(|source| StoresError::Postgres { key: "store.read_url", source })
}

const LOST_FILE: &str = "stop, and put keys.sqlite back from the backup of the folder";

/// Whether the keys are there for a log that holds sealed values, before a new vault is made.
async fn check_vault_is_there(folder: &Path) -> Result<(), StoresError> {
    if folder.join("keys.sqlite").exists() || !folder.join("log.sqlite").exists() {
        return Ok(());
    }
    let opened = SqliteEventStore::logs_in(folder)
        .and_then(|logs| SqliteEventStore::open_read_only(folder, all_logs(logs)));
    match opened {
        Ok(log) if holds_sealed(&log).await? => {
            Err(StoresError::NoKeys { likely: LOST_FILE.to_owned() })
        }
        // What cannot be opened, or must be migrated first, is looked at when everything is opened.
        Ok(_) | Err(_) => Ok(()),
    }
}

fn check_folder(folder: &Path) -> Result<(), StoresError> {
    match folder.is_file() {
        true => Err(StoresError::NotAFolder(folder.to_owned())),
        false => Ok(()),
    }
}
