//! Data keys, each wrapped by the master key, best in a database of their own.
//!
//! The master key is given by the caller and stored nowhere. No unwrapped key is remembered: one
//! that another process destroys is gone everywhere at once. A destroyed key leaves a tombstone;
//! the wrapped bytes stay in the write-ahead log, in replicas' and in backups until those are
//! overwritten, and are worth nothing without the master key.

use std::collections::HashMap;
use std::convert::identity;
use std::num::NonZeroU32;

use async_trait::async_trait;
use bytes::Bytes;
use freehold_domain::SubjectId;
use freehold_ports::{
    KeyVault, KeyedHash, MasterKey, RestoreKeys, RestoreKeysError, StoreFailure, SubjectKey,
    VaultError, WrappedKey,
};
use uuid::Uuid;

use crate::database::{Database, LIMIT, Migration, OpenError, Part, within};

pub(crate) const SCHEMA: Part = Part {
    name: "keys",
    migrations: &[Migration {
        number: 3,
        sql: include_str!("../../../migrations/postgres/0003_data_keys.sql"),
    }],
};

/// The data keys of one schema.
pub struct PostgresKeyVault {
    database: Database,
    master: MasterKey,
}

impl PostgresKeyVault {
    /// Opens the vault in a database with its master key, making it if it is not there.
    ///
    /// - Errors: [`VaultError::WrongMasterKey`] if the vault was made with another one; what is wrong
    ///   with the database is the source, an [`OpenError`].
    pub async fn open(database: Database, master: &[u8; 32]) -> Result<Self, VaultError> {
        let vault = Self::open_to_restore(database, master).await?;
        vault.keep_master_key().await?;
        Ok(vault)
    }

    /// Opens the vault as [`open`](Self::open) does, but a new one gets its master key by
    /// [`keep_master_key`](RestoreKeys::keep_master_key) only.
    pub async fn open_to_restore(
        database: Database,
        master: &[u8; 32],
    ) -> Result<Self, VaultError> {
        database.migrate(&SCHEMA).await.map_err(unavailable)?;
        let vault = Self::new(database, master);
        vault.check().await?;
        Ok(vault)
    }

    /// Opens the vault to read, changing nothing.
    pub async fn open_read_only(database: Database, master: &[u8; 32]) -> Result<Self, VaultError> {
        database.require(&SCHEMA).await.map_err(unavailable)?;
        let vault = Self::new(database, master);
        vault.check().await?.ok_or_else(|| unavailable(OpenError::Nothing))?;
        Ok(vault)
    }

    /// Whether a database holds keys although the vault is in another one.
    pub async fn are_left_in(&self, before: &Database) -> Result<bool, sqlx::Error> {
        const PLACE: &str = "SELECT format('%s %s %s', pg_postmaster_start_time(),
             (SELECT oid FROM pg_database WHERE datname = current_database()),
             to_regclass('data_key')::oid)";
        let (here, there) = (self.database.pool(), before.pool());
        let place: String = sqlx::query_scalar(PLACE).fetch_one(here).await?;
        let other: String = sqlx::query_scalar(PLACE).fetch_one(there).await?;
        let made = "SELECT to_regclass('data_key') IS NOT NULL";
        if place == other || !sqlx::query_scalar(made).fetch_one(there).await? {
            return Ok(false);
        }
        let any = "SELECT EXISTS (SELECT FROM data_key WHERE wrapped IS NOT NULL)";
        sqlx::query_scalar(any).fetch_one(there).await
    }

    fn new(database: Database, master: &[u8; 32]) -> Self {
        Self { database, master: MasterKey::new(master) }
    }

    /// Whether the master key is the vault's; nothing if the vault was not made yet.
    async fn check(&self) -> Result<Option<()>, VaultError> {
        let stored: Option<Vec<u8>> = sqlx::query_scalar("SELECT check_value FROM vault")
            .fetch_optional(self.database.pool())
            .await
            .map_err(|error| unavailable(self.database.why(error)))?;
        let Some(stored) = stored else { return Ok(None) };
        self.master.check(&stored).map(Some)
    }

    /// What is stored about those of the subjects that have anything.
    async fn stored(&self, subjects: &[SubjectId]) -> Result<Vec<Stored>, VaultError> {
        let ids: Vec<Uuid> = subjects.iter().map(|subject| subject.0).collect();
        let rows = sqlx::query_as(
            "SELECT asked.subject, found.wrapped FROM unnest($1::uuid[]) AS asked (subject)
             CROSS JOIN LATERAL (
                 SELECT wrapped FROM data_key WHERE data_key.subject = asked.subject LIMIT 1
             ) AS found",
        )
        .bind(ids)
        .fetch_all(self.database.pool());
        let rows: Vec<(Uuid, Option<Vec<u8>>)> =
            within(LIMIT, identity, rows).await.map_err(unavailable)?;
        let stored = rows.into_iter().map(|(subject, wrapped)| {
            let subject = SubjectId(subject);
            let key = wrapped.map(|wrapped| self.master.unwrap_key(subject, &wrapped));
            Ok(Stored { subject, key: key.transpose()? })
        });
        stored.collect()
    }

    /// Makes keys, unless somebody else makes them at the same time.
    async fn make(&self, mut subjects: Vec<SubjectId>) -> Result<(), VaultError> {
        // Two that make the same keys do it in the same order.
        subjects.sort_unstable_by_key(|subject| subject.0);
        let ids: Vec<Uuid> = subjects.iter().map(|subject| subject.0).collect();
        let keys = subjects.iter().map(|subject| self.master.make_key(*subject).1);
        let made = sqlx::query(
            "INSERT INTO data_key (subject, wrapped) SELECT * FROM unnest($1::uuid[], $2::bytea[])
             ON CONFLICT DO NOTHING",
        )
        .bind(ids)
        .bind(keys.collect::<Vec<_>>())
        .execute(self.database.pool());
        within(LIMIT, identity, made).await.map(drop).map_err(unavailable)
    }
}

/// A subject that had a key once; none if it was destroyed.
struct Stored {
    subject: SubjectId,
    key: Option<SubjectKey>,
}

#[async_trait]
impl KeyVault for PostgresKeyVault {
    async fn keys_for_writing(
        &self,
        subjects: &[SubjectId],
    ) -> Result<HashMap<SubjectId, SubjectKey>, VaultError> {
        let mut found = HashMap::new();
        for stored in self.stored(subjects).await? {
            let destroyed = VaultError::Destroyed { subject: stored.subject };
            found.insert(stored.subject, stored.key.ok_or(destroyed)?);
        }
        let missing: Vec<_> =
            subjects.iter().filter(|subject| !found.contains_key(subject)).copied().collect();
        if !missing.is_empty() {
            self.make(missing.clone()).await?;
            for stored in self.stored(&missing).await? {
                let destroyed = VaultError::Destroyed { subject: stored.subject };
                found.insert(stored.subject, stored.key.ok_or(destroyed)?);
            }
        }
        Ok(found)
    }

    async fn keys_for_reading(
        &self,
        subjects: &[SubjectId],
    ) -> Result<HashMap<SubjectId, SubjectKey>, VaultError> {
        if subjects.is_empty() {
            return Ok(HashMap::new());
        }
        let stored = self.stored(subjects).await?.into_iter();
        Ok(stored.filter_map(|stored| Some((stored.subject, stored.key?))).collect())
    }

    async fn destroy(&self, subject: SubjectId) -> Result<(), VaultError> {
        let tombstone = "INSERT INTO data_key (subject, wrapped) VALUES ($1, NULL)
             ON CONFLICT (subject) DO UPDATE SET wrapped = NULL";
        let destroyed = sqlx::query(tombstone).bind(subject.0).execute(self.database.pool());
        within(LIMIT, identity, destroyed).await.map(drop).map_err(unavailable)
    }

    fn keyed_hash(&self, purpose: &str, text: &[u8]) -> KeyedHash {
        self.master.keyed_hash(purpose, text)
    }
}

#[async_trait]
impl RestoreKeys for PostgresKeyVault {
    async fn keep_master_key(&self) -> Result<(), VaultError> {
        if self.check().await?.is_none() {
            let insert =
                "INSERT INTO vault (one, check_value) VALUES (1, $1) ON CONFLICT DO NOTHING";
            sqlx::query(insert)
                .bind(self.master.check_value())
                .execute(self.database.pool())
                .await
                .map_err(|error| unavailable(self.database.why(error)))?;
            // Another process may have been the first, with another key.
            self.check().await?;
        }
        Ok(())
    }

    async fn wrapped_keys(
        &self,
        after: Option<SubjectId>,
        limit: NonZeroU32,
    ) -> Result<Vec<WrappedKey>, VaultError> {
        let rows: Vec<(Uuid, Option<Vec<u8>>)> = sqlx::query_as(
            "SELECT subject, wrapped FROM data_key WHERE $1 IS NULL OR subject > $1
             ORDER BY subject LIMIT $2",
        )
        .bind(after.map(|subject| subject.0))
        .bind(i64::from(limit.get()))
        .fetch_all(self.database.pool())
        .await
        .map_err(unavailable)?;
        let keys = rows.into_iter().map(|(subject, wrapped)| WrappedKey {
            subject: SubjectId(subject),
            wrapped: wrapped.map(Bytes::from),
        });
        Ok(keys.collect())
    }

    async fn without_keys(&self, subjects: &[SubjectId]) -> Result<Vec<SubjectId>, VaultError> {
        let ids: Vec<Uuid> = subjects.iter().map(|subject| subject.0).collect();
        let without: Vec<Uuid> = sqlx::query_scalar(
            "SELECT asked.subject FROM unnest($1::uuid[]) AS asked (subject) WHERE NOT EXISTS (
                 SELECT FROM data_key WHERE data_key.subject = asked.subject
             )",
        )
        .bind(ids)
        .fetch_all(self.database.pool())
        .await
        .map_err(unavailable)?;
        Ok(without.into_iter().map(SubjectId).collect())
    }

    async fn restore_keys(&self, mut keys: Vec<WrappedKey>) -> Result<u64, RestoreKeysError> {
        // Two that write the same keys do it in the same order. Of a subject that is given twice,
        // the tombstone comes first.
        keys.sort_unstable_by_key(|key| (key.subject.0, key.wrapped.is_some()));
        let (mut subjects, mut wrapped) = (Vec::new(), Vec::new());
        let mut clear = HashMap::new();
        for key in &keys {
            if let Some(wrapped) = &key.wrapped {
                let opened = self.master.unwrap_key(key.subject, wrapped);
                let opened = opened.map_err(|_| VaultError::WrongMasterKey)?;
                if clear.get(&key.subject).is_some_and(|other| *other != opened) {
                    return Err(RestoreKeysError::OtherKey { subject: key.subject });
                }
                clear.insert(key.subject, opened);
            }
            if subjects.last() != Some(&key.subject.0) {
                subjects.push(key.subject.0);
                wrapped.push(key.wrapped.as_deref());
            }
        }
        let mut transaction = self.database.pool().begin().await.map_err(unavailable)?;
        // A key never changes but to be destroyed, so what is not written is there already.
        let changed = sqlx::query(
            "INSERT INTO data_key (subject, wrapped) SELECT * FROM unnest($1::uuid[], $2::bytea[])
             ON CONFLICT (subject) DO UPDATE SET wrapped = NULL
             WHERE data_key.wrapped IS NOT NULL AND excluded.wrapped IS NULL",
        )
        .bind(&subjects)
        .bind(&wrapped)
        .execute(&mut *transaction)
        .await
        .map_err(unavailable)?;
        let here: Vec<(Uuid, Vec<u8>)> = sqlx::query_as(
            "SELECT found.subject, found.wrapped FROM unnest($1::uuid[]) AS asked (subject)
             CROSS JOIN LATERAL (
                 SELECT subject, wrapped FROM data_key
                 WHERE data_key.subject = asked.subject LIMIT 1
             ) AS found WHERE found.wrapped IS NOT NULL",
        )
        .bind(&subjects)
        .fetch_all(&mut *transaction)
        .await
        .map_err(unavailable)?;
        for (subject, wrapped) in here {
            let subject = SubjectId(subject);
            if clear.get(&subject) != Some(&self.master.unwrap_key(subject, &wrapped)?) {
                return Err(RestoreKeysError::OtherKey { subject });
            }
        }
        transaction.commit().await.map_err(unavailable)?;
        Ok(changed.rows_affected())
    }
}

fn unavailable(error: impl Into<StoreFailure>) -> VaultError {
    VaultError::Unavailable { source: error.into() }
}
