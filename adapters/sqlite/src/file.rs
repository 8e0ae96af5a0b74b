//! Opening a SQLite file: one writing process, migrations, how it is driven.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use freehold_ports::StoreFailure;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

/// How long the writer waits for other programs that hold the file, which they do for moments only.
pub(crate) const WRITER_PATIENCE: Duration = Duration::from_secs(1);

/// Why a file could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process writes to it.
    #[error(
        "{} is in use by another process, such as `freehold serve` or `demo`; stop it, or \
         name another folder with --store; properties of a feed can be sent to its POST \
         /api/events/property",
        path.display()
    )]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// A newer release wrote it.
    #[error(
        "{} has schema {found}, this program knows {known}; run a newer release", path.display()
    )]
    NewerSchema {
        /// The file.
        path: PathBuf,
        /// The schema it has.
        found: u32,
        /// The newest schema this program knows.
        known: u32,
    },
    /// An older release wrote it, and it is opened read-only.
    #[error(
        "{} has schema {found}, this program needs {known}; start the server once to migrate it",
        path.display()
    )]
    OlderSchema {
        /// The file.
        path: PathBuf,
        /// The schema it has.
        found: u32,
        /// The schema this program needs.
        known: u32,
    },
    /// Its parts contradict each other.
    #[error("{} is damaged: {what}; run `freehold doctor`", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The operating system or SQLite refused.
    #[error(
        "{} cannot be opened: {source}; check that it belongs to a store and may be read and \
         written",
        path.display()
    )]
    Unavailable {
        /// The file.
        path: PathBuf,
        /// What they said.
        source: StoreFailure,
    },
}

impl OpenError {
    pub(crate) fn unavailable(path: &Path, source: impl Into<StoreFailure>) -> Self {
        Self::Unavailable { path: path.to_owned(), source: source.into() }
    }
}

/// A numbered step of a schema, never changed once released.
pub(crate) struct Migration {
    pub(crate) number: u32,
    pub(crate) sql: &'static str,
    /// Run once for each log, with its name in place of `{log}`.
    pub(crate) each_log: bool,
}

/// Takes the right to write to `path` until the returned file is dropped, also if the process is
/// killed.
pub(crate) fn lock(path: &Path) -> Result<File, OpenError> {
    let mut lock_path = path.as_os_str().to_owned();
    lock_path.push(".lock");
    let unavailable = |error: io::Error| OpenError::unavailable(path, error);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(unavailable)?;
    }
    let mut options = File::options();
    let file = options.create(true).truncate(false).write(true).open(lock_path);
    let file = file.map_err(unavailable)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(error)) => Err(unavailable(error)),
    }
}

/// The connection that writes: durable at each commit, checkpoints only when told to.
pub(crate) fn open_writer(path: &Path) -> rusqlite::Result<Connection> {
    let connection = with_stable_plans(Connection::open(path)?)?;
    connection.busy_timeout(WRITER_PATIENCE)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    // Small on purpose: every commit that moved index pages walks the whole cache, and what falls
    // out of it is still in the operating system's. A large transaction must not spill early.
    connection.pragma_update(None, "cache_size", -8_192)?; // 8 MiB
    connection.pragma_update(None, "cache_spill", false)?;
    Ok(connection)
}

/// A connection that never writes.
pub(crate) fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = with_stable_plans(Connection::open_with_flags(path, flags)?)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.pragma_update(None, "cache_size", -8_192)?; // 8 MiB; the rest is mapped
    connection.pragma_update(None, "mmap_size", 1_i64 << 40)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// How long a writer that closes waits for readers of old pages to leave the write-ahead log.
const CLOSING_PATIENCE: Duration = Duration::from_millis(200);

/// Copies what stands in the write-ahead log into the file and empties it; what somebody still
/// reads stays.
pub(crate) fn empty_write_ahead_log(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(CLOSING_PATIENCE)?;
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
}

/// Without this SQLite compiles a statement again whenever a limit is bound, to see what plan suits
/// the new number: that took longer than reading a stream.
fn with_stable_plans(connection: Connection) -> rusqlite::Result<Connection> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(connection)
}

/// Brings a file up to the last of these migrations, none of which is for each log.
pub(crate) fn migrate(
    connection: &mut Connection,
    path: &Path,
    migrations: &[Migration],
) -> Result<(), OpenError> {
    let unavailable = |error: rusqlite::Error| OpenError::unavailable(path, error);
    let (found, known) = (schema_of(connection).map_err(unavailable)?, newest(migrations));
    if found > known {
        return Err(OpenError::NewerSchema { path: path.to_owned(), found, known });
    }
    let mut run = || {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for migration in migrations.iter().filter(|migration| migration.number > found) {
            transaction.execute_batch(migration.sql)?;
        }
        transaction.pragma_update(None, "user_version", known)?;
        transaction.commit()
    };
    run().map_err(unavailable)
}

/// The number of the last migration that a file has had.
pub(crate) fn schema_of(connection: &Connection) -> rusqlite::Result<u32> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// The number of the last of these migrations.
pub(crate) fn newest(migrations: &[Migration]) -> u32 {
    migrations.last().map_or(0, |migration| migration.number)
}

#[cfg(test)]
mod tests {
    use rusqlite::StatementStatus;

    use super::*;

    #[test]
    fn a_statement_is_compiled_once_whatever_is_bound_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("numbers.db");
        let writer = open_writer(&path).unwrap();
        writer.execute_batch("CREATE TABLE number (n INTEGER PRIMARY KEY)").unwrap();
        for connection in [writer, open_reader(&path).unwrap()] {
            let sql = "SELECT n FROM number WHERE n > ?1 ORDER BY n LIMIT ?2";
            let mut statement = connection.prepare(sql).unwrap();

            for bounds in [[0, 1], [5, 500], [7, 1]] {
                statement.query(bounds).unwrap().next().unwrap();
            }

            assert_eq!(statement.get_status(StatementStatus::RePrepare), 0);
        }
    }
}
