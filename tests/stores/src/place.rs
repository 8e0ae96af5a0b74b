//! A place for a log, keys and read models that is gone with its value.

use std::any::Any;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use freehold_memory::{MemoryEventStore, MemoryKeyVault};
use freehold_ports::{Clock, EventStore, KeyVault, LogName, ReadModels, SnapshotStore};
use freehold_postgres::{Database, PostgresEventStore, PostgresKeyVault, PostgresReadModels};
use freehold_sqlite::{LogOptions, SqliteEventStore, SqliteKeyVault, SqliteReadModels};

use crate::Schema;

/// What wraps the keys of every place, also for the program: `FREEHOLD__VAULT__MASTER_KEY`.
pub const MASTER_KEY: [u8; 32] = [7; 32];

/// Logs with their snapshots.
pub trait Log: EventStore + SnapshotStore {}

impl<S: EventStore + SnapshotStore> Log for S {}

/// Where stores live. What is there is deleted with the value that made it.
pub struct Place {
    kind: Kind,
    _owned: Option<Box<dyn Any + Send + Sync>>,
}

enum Kind {
    Memory(Memory),
    Folder(PathBuf),
    Postgres(String),
}

/// Stores that are made when they are first asked for.
#[derive(Default)]
struct Memory {
    log: OnceLock<Arc<MemoryEventStore>>,
    vault: OnceLock<Arc<MemoryKeyVault>>,
    models: OnceLock<Arc<SqliteReadModels>>,
}

/// Whether tests run on PostgreSQL.
pub fn on_postgres() -> bool {
    match std::env::var("TEST_STORE").as_deref() {
        Err(_) | Ok("embedded") => false,
        Ok("postgres") => true,
        Ok(other) => panic!("TEST_STORE is {other:?}; it is `embedded` or `postgres`"),
    }
}

/// How many random cases a test tries that makes stores for each: all that it says in memory, a
/// quarter on PostgreSQL, where tables take longer to make than a case takes to run.
pub fn cases(in_memory: u32) -> u32 {
    if on_postgres() { in_memory.div_ceil(4) } else { in_memory }
}

impl Place {
    /// Memory, or a schema: for stores that need not outlive their process.
    pub fn in_memory() -> Self {
        match on_postgres() {
            true => Self::in_schema(),
            false => Self { kind: Kind::Memory(Memory::default()), _owned: None },
        }
    }

    /// A temporary folder, or a schema: for stores that other processes open, or later ones.
    pub fn on_disk() -> Self {
        if on_postgres() {
            return Self::in_schema();
        }
        let folder = tempfile::tempdir().unwrap();
        let kind = Kind::Folder(folder.path().to_owned());
        Self { kind, _owned: Some(Box::new(folder)) }
    }

    fn in_schema() -> Self {
        let schema = Schema::new();
        Self { kind: Kind::Postgres(schema.url()), _owned: Some(Box::new(schema)) }
    }

    /// A place that somebody else keeps, by its [`address`](Self::address).
    pub fn at(address: &str) -> Self {
        let kind = match address.strip_prefix("sqlite:") {
            Some(folder) => Kind::Folder(folder.into()),
            None => Kind::Postgres(address.to_owned()),
        };
        Self { kind, _owned: None }
    }

    /// What the program takes as `--store`.
    ///
    /// Panics in memory, which no other process can see.
    pub fn address(&self) -> String {
        match &self.kind {
            Kind::Memory(_) => panic!("no other process sees this memory; take Place::on_disk()"),
            Kind::Folder(folder) => format!("sqlite:{}", folder.display()),
            Kind::Postgres(url) => url.clone(),
        }
    }

    /// The folder of stores in files.
    pub fn folder(&self) -> Option<&Path> {
        match &self.kind {
            Kind::Folder(folder) => Some(folder),
            Kind::Memory(_) | Kind::Postgres(_) => None,
        }
    }

    /// The domain's and the interactions' logs, whose events `clock` stamps.
    ///
    /// A log in a folder is open once at a time.
    pub async fn log(&self, clock: Arc<dyn Clock>) -> Arc<dyn Log> {
        match &self.kind {
            Kind::Memory(memory) => {
                let logs = [LogName::DOMAIN, LogName::INTERACTIONS];
                let make = || Arc::new(MemoryEventStore::new(logs, clock));
                memory.log.get_or_init(make).clone()
            }
            Kind::Folder(folder) => {
                let options = LogOptions { clock, ..LogOptions::default() };
                Arc::new(SqliteEventStore::open(folder, options).unwrap())
            }
            Kind::Postgres(url) => {
                let options = freehold_postgres::LogOptions {
                    clock,
                    ..freehold_postgres::LogOptions::default()
                };
                Arc::new(PostgresEventStore::open(database(url), options).await.unwrap())
            }
        }
    }

    /// The keys of people, under [`MASTER_KEY`].
    pub async fn vault(&self) -> Arc<dyn KeyVault> {
        match &self.kind {
            Kind::Memory(memory) => {
                let make = || Arc::new(MemoryKeyVault::new(MASTER_KEY));
                memory.vault.get_or_init(make).clone()
            }
            Kind::Folder(folder) => Arc::new(SqliteKeyVault::open(folder, &MASTER_KEY).unwrap()),
            Kind::Postgres(url) => {
                Arc::new(PostgresKeyVault::open(database(url), &MASTER_KEY).await.unwrap())
            }
        }
    }

    /// What queries read.
    pub async fn models(&self) -> Arc<dyn ReadModels> {
        match &self.kind {
            Kind::Memory(memory) => {
                let make = || Arc::new(SqliteReadModels::in_memory().unwrap());
                memory.models.get_or_init(make).clone()
            }
            Kind::Folder(folder) => Arc::new(SqliteReadModels::open(folder).unwrap()),
            Kind::Postgres(url) => Arc::new(PostgresReadModels::open(database(url)).await.unwrap()),
        }
    }
}

fn database(url: &str) -> Database {
    Database::at(url).unwrap()
}
