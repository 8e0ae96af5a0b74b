//! Data keys in a file of their own, `keys.sqlite`, each wrapped by the master key.
//!
//! The master key is given by the caller and stored nowhere. A destroyed key leaves a tombstone;
//! its bytes are overwritten in the file, and the write-ahead log that held them is emptied before
//! the answer. What file systems and backups keep of old blocks is out of reach here.

use std::collections::HashMap;
use std::fs::File;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use freehold_domain::SubjectId;
use freehold_ports::{
    KeyVault, KeyedHash, MasterKey, RecentlyUsed, RestoreKeys, RestoreKeysError, StoreFailure,
    SubjectKey, VaultError, WrappedKey,
};
use rusqlite::{Connection, OptionalExtension as _, params};
use uuid::Uuid;

use crate::file::{self, Migration, OpenError};

/// The name of the file in its folder.
const FILE: &str = "keys.sqlite";

const MIGRATIONS: &[Migration] = &[Migration {
    number: 3,
    each_log: false,
    sql: include_str!("../../../migrations/sqlite/0003_data_keys.sql"),
}];

/// How many unwrapped keys are remembered.
const REMEMBERED_KEYS: usize = 10_000;

/// The data keys of one folder.
pub struct SqliteKeyVault {
    keys: Arc<Keys>,
}

struct Keys {
    master: MasterKey,
    // In this order wherever both are held; a key must not be remembered after its destruction.
    connection: Mutex<Connection>,
    remembered: Mutex<RecentlyUsed<SubjectId, SubjectKey>>,
    /// None if opened read-only.
    lock: Option<File>,
}

impl SqliteKeyVault {
    /// Opens the vault in `folder` with its master key, making it if it is not there.
    ///
    /// Only one process can. Blocks for a moment.
    ///
    /// - Errors: [`VaultError::WrongMasterKey`] if the vault was made with another one.
    pub fn open(folder: &Path, master: &[u8; 32]) -> Result<Self, VaultError> {
        let vault = Self::open_to_restore(folder, master)?;
        vault.keys.keep_master_key()?;
        Ok(vault)
    }

    /// Opens the vault as [`open`](Self::open) does, but a new one gets its master key by
    /// [`keep_master_key`](RestoreKeys::keep_master_key) only.
    pub fn open_to_restore(folder: &Path, master: &[u8; 32]) -> Result<Self, VaultError> {
        let path = folder.join(FILE);
        let failed = |error: rusqlite::Error| unavailable(OpenError::unavailable(&path, error));
        let lock = file::lock(&path).map_err(unavailable)?;
        let mut connection = file::open_writer(&path).map_err(failed)?;
        connection.pragma_update(None, "secure_delete", true).map_err(failed)?;
        connection.pragma_update(None, "wal_autocheckpoint", 1_000).map_err(failed)?;
        file::migrate(&mut connection, &path, MIGRATIONS).map_err(unavailable)?;
        Self::opened(&path, connection, master, Some(lock))
    }

    /// Opens the vault in `folder` to read only, beside a process that writes to it or alone.
    ///
    /// New keys and destroying keys are refused as unavailable. A key that was read stays readable
    /// here for as long as it is remembered, also when the writing process destroys it.
    pub fn open_read_only(folder: &Path, master: &[u8; 32]) -> Result<Self, VaultError> {
        let path = folder.join(FILE);
        let failed = |error: rusqlite::Error| unavailable(OpenError::unavailable(&path, error));
        let connection = file::open_reader(&path).map_err(failed)?;
        Self::opened(&path, connection, master, None)
    }

    /// Empties the write-ahead log, unless this only reads.
    pub async fn close(&self) -> Result<(), VaultError> {
        self.run(|keys| match keys.lock {
            Some(_) => file::empty_write_ahead_log(&keys.connection()).map_err(unavailable),
            None => Ok(()),
        })
        .await
    }

    fn opened(
        path: &Path,
        connection: Connection,
        master: &[u8; 32],
        lock: Option<File>,
    ) -> Result<Self, VaultError> {
        let master = MasterKey::new(master);
        let unavailable = |error: rusqlite::Error| unavailable(OpenError::unavailable(path, error));
        check_master(&connection, &master, unavailable)?;
        Ok(Self {
            keys: Arc::new(Keys {
                master,
                connection: Mutex::new(connection),
                remembered: Mutex::new(RecentlyUsed::new(REMEMBERED_KEYS)),
                lock,
            }),
        })
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Keys) -> Result<T, VaultError> + Send + 'static,
    ) -> Result<T, VaultError> {
        let keys = self.keys.clone();
        tokio::task::spawn_blocking(move || work(&keys)).await.map_err(unavailable)?
    }
}

#[async_trait]
impl KeyVault for SqliteKeyVault {
    async fn keys_for_writing(
        &self,
        subjects: &[SubjectId],
    ) -> Result<HashMap<SubjectId, SubjectKey>, VaultError> {
        let (mut found, missing) = self.keys.recall(subjects);
        if !missing.is_empty() {
            found.extend(self.run(move |keys| keys.find_or_make(&missing)).await?);
        }
        Ok(found)
    }

    async fn keys_for_reading(
        &self,
        subjects: &[SubjectId],
    ) -> Result<HashMap<SubjectId, SubjectKey>, VaultError> {
        let (mut found, missing) = self.keys.recall(subjects);
        if !missing.is_empty() {
            found.extend(self.run(move |keys| keys.find(&missing)).await?);
        }
        Ok(found)
    }

    async fn destroy(&self, subject: SubjectId) -> Result<(), VaultError> {
        self.run(move |keys| keys.destroy(subject)).await
    }

    fn keyed_hash(&self, purpose: &str, text: &[u8]) -> KeyedHash {
        self.keys.master.keyed_hash(purpose, text)
    }
}

#[async_trait]
impl RestoreKeys for SqliteKeyVault {
    async fn keep_master_key(&self) -> Result<(), VaultError> {
        self.run(Keys::keep_master_key).await
    }

    async fn wrapped_keys(
        &self,
        after: Option<SubjectId>,
        limit: NonZeroU32,
    ) -> Result<Vec<WrappedKey>, VaultError> {
        self.run(move |keys| keys.wrapped(after, limit.get())).await
    }

    async fn without_keys(&self, subjects: &[SubjectId]) -> Result<Vec<SubjectId>, VaultError> {
        let subjects = subjects.to_vec();
        self.run(move |keys| keys.without(subjects)).await
    }

    async fn restore_keys(&self, restored: Vec<WrappedKey>) -> Result<u64, RestoreKeysError> {
        self.run(move |keys| Ok(keys.restore(&restored))).await?
    }
}

/// What the file says about a subject.
enum Stored {
    Nothing,
    Wrapped(Vec<u8>),
    Destroyed,
}

impl Keys {
    /// The keys that are remembered, and whose are not.
    fn recall(&self, subjects: &[SubjectId]) -> (HashMap<SubjectId, SubjectKey>, Vec<SubjectId>) {
        let mut remembered = self.remembered();
        let (mut found, mut missing) = (HashMap::new(), Vec::new());
        for subject in subjects {
            match remembered.get(subject) {
                Some(key) => _ = found.insert(*subject, key),
                None => missing.push(*subject),
            }
        }
        (found, missing)
    }

    fn keep_master_key(&self) -> Result<(), VaultError> {
        let connection = self.connection();
        // Only this process writes to the file.
        if check_master(&connection, &self.master, unavailable)?.is_none() {
            let insert = "INSERT INTO vault (one, check_value) VALUES (1, ?1)";
            let check = self.master.check_value();
            connection.execute(insert, [check]).map_err(unavailable)?;
        }
        Ok(())
    }

    fn find(&self, subjects: &[SubjectId]) -> Result<HashMap<SubjectId, SubjectKey>, VaultError> {
        let mut connection = self.connection();
        let transaction = connection.transaction().map_err(unavailable)?;
        let mut found = HashMap::new();
        for subject in subjects {
            if let Stored::Wrapped(wrapped) = stored(&transaction, *subject)? {
                found.insert(*subject, self.master.unwrap_key(*subject, &wrapped)?);
            }
        }
        transaction.commit().map_err(unavailable)?;
        self.remember(&found);
        Ok(found)
    }

    fn find_or_make(
        &self,
        subjects: &[SubjectId],
    ) -> Result<HashMap<SubjectId, SubjectKey>, VaultError> {
        let mut connection = self.connection();
        let transaction = connection.transaction().map_err(unavailable)?;
        let mut found = HashMap::new();
        for subject in subjects {
            let key = match stored(&transaction, *subject)? {
                Stored::Wrapped(wrapped) => self.master.unwrap_key(*subject, &wrapped)?,
                Stored::Destroyed => return Err(VaultError::Destroyed { subject: *subject }),
                Stored::Nothing => {
                    let (key, wrapped) = self.master.make_key(*subject);
                    transaction
                        .prepare_cached("INSERT INTO data_key (subject, wrapped) VALUES (?1, ?2)")
                        .and_then(|mut insert| {
                            insert.execute(params![subject.0.as_bytes(), wrapped])
                        })
                        .map_err(unavailable)?;
                    key
                }
            };
            found.insert(*subject, key);
        }
        transaction.commit().map_err(unavailable)?;
        self.remember(&found);
        Ok(found)
    }

    fn destroy(&self, subject: SubjectId) -> Result<(), VaultError> {
        let connection = self.connection();
        let tombstone = "INSERT INTO data_key (subject, wrapped) VALUES (?1, NULL)
             ON CONFLICT DO UPDATE SET wrapped = NULL";
        connection.execute(tombstone, [subject.0.as_bytes()]).map_err(unavailable)?;
        self.remembered().remove(&subject);
        forget_pages(&connection)
    }

    fn wrapped(&self, after: Option<SubjectId>, limit: u32) -> Result<Vec<WrappedKey>, VaultError> {
        let connection = self.connection();
        let sql =
            "SELECT subject, wrapped FROM data_key WHERE subject > ?1 ORDER BY subject LIMIT ?2";
        let mut find = connection.prepare_cached(sql).map_err(unavailable)?;
        let after = after.map_or(Vec::new(), |subject| subject.0.as_bytes().to_vec());
        let keys = find.query_map(params![after, limit], |row| {
            let wrapped: Option<Vec<u8>> = row.get(1)?;
            let subject = SubjectId(Uuid::from_bytes(row.get(0)?));
            Ok(WrappedKey { subject, wrapped: wrapped.map(Bytes::from) })
        });
        keys.and_then(Iterator::collect).map_err(unavailable)
    }

    fn without(&self, subjects: Vec<SubjectId>) -> Result<Vec<SubjectId>, VaultError> {
        let connection = self.connection();
        let mut without = Vec::new();
        for subject in subjects {
            if let Stored::Nothing = stored(&connection, subject)? {
                without.push(subject);
            }
        }
        Ok(without)
    }

    fn restore(&self, restored: &[WrappedKey]) -> Result<u64, RestoreKeysError> {
        let mut connection = self.connection();
        let transaction = connection.transaction().map_err(unavailable)?;
        let (mut changed, mut destroyed) = (0, Vec::new());
        for WrappedKey { subject, wrapped } in restored {
            let key = match wrapped {
                Some(wrapped) => {
                    let opened = self.master.unwrap_key(*subject, wrapped);
                    Some(opened.map_err(|_| VaultError::WrongMasterKey)?)
                }
                None => None,
            };
            let sql = match (stored(&transaction, *subject)?, key) {
                (Stored::Destroyed, _) => continue,
                (Stored::Wrapped(here), Some(key)) => {
                    if self.master.unwrap_key(*subject, &here)? != key {
                        return Err(RestoreKeysError::OtherKey { subject: *subject });
                    }
                    continue;
                }
                (Stored::Nothing, _) => "INSERT INTO data_key (subject, wrapped) VALUES (?1, ?2)",
                (Stored::Wrapped(_), None) => {
                    destroyed.push(*subject);
                    "UPDATE data_key SET wrapped = ?2 WHERE subject = ?1"
                }
            };
            transaction
                .prepare_cached(sql)
                .and_then(|mut write| {
                    write.execute(params![subject.0.as_bytes(), wrapped.as_deref()])
                })
                .map_err(unavailable)?;
            changed += 1;
        }
        transaction.commit().map_err(unavailable)?;
        destroyed.iter().for_each(|subject| self.remembered().remove(subject));
        if !destroyed.is_empty() {
            forget_pages(&connection)?;
        }
        Ok(changed)
    }

    /// Called with the connection held, so that no destroyed key comes back.
    fn remember(&self, keys: &HashMap<SubjectId, SubjectKey>) {
        let mut remembered = self.remembered();
        keys.iter().for_each(|(subject, key)| remembered.insert(*subject, key.clone()));
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        // A transaction that a panic left open was rolled back when its guard was dropped.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remembered(&self) -> MutexGuard<'_, RecentlyUsed<SubjectId, SubjectKey>> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Pages with a wrapped key that is gone stand in the write-ahead log until it is emptied.
fn forget_pages(connection: &Connection) -> Result<(), VaultError> {
    let kept: bool = connection
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))
        .map_err(unavailable)?;
    if kept {
        let source = "the vault is being read by another program; destroy the key again";
        return Err(VaultError::Unavailable { source: source.into() });
    }
    Ok(())
}

fn stored(connection: &Connection, subject: SubjectId) -> Result<Stored, VaultError> {
    let wrapped = connection
        .prepare_cached("SELECT wrapped FROM data_key WHERE subject = ?1")
        .and_then(|mut find| {
            find.query_row([subject.0.as_bytes()], |row| row.get::<_, Option<Vec<u8>>>(0))
                .optional()
        })
        .map_err(unavailable)?;
    Ok(match wrapped {
        None => Stored::Nothing,
        Some(None) => Stored::Destroyed,
        Some(Some(wrapped)) => Stored::Wrapped(wrapped),
    })
}

/// Refuses another master key than that of the vault; none if the vault has none yet.
fn check_master(
    connection: &Connection,
    master: &MasterKey,
    unavailable: impl FnOnce(rusqlite::Error) -> VaultError,
) -> Result<Option<()>, VaultError> {
    let stored = connection
        .query_row("SELECT check_value FROM vault", [], |row| row.get::<_, Vec<u8>>(0))
        .optional()
        .map_err(unavailable)?;
    match stored {
        Some(check_value) => master.check(&check_value).map(Some),
        None => Ok(None),
    }
}

fn unavailable(error: impl Into<StoreFailure>) -> VaultError {
    VaultError::Unavailable { source: error.into() }
}
