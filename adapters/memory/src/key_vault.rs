//! Keys of people in memory, each derived from a master key until it is destroyed.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use freehold_domain::SubjectId;
use freehold_ports::{KeyVault, KeyedHash, MasterKey, SubjectKey, VaultError};
use uuid::Uuid;

/// Keys that live as long as this value.
pub struct MemoryKeyVault {
    master: [u8; 32],
    hashing: MasterKey,
    subjects: Mutex<Subjects>,
}

#[derive(Default)]
struct Subjects {
    made: HashSet<SubjectId>,
    destroyed: HashSet<SubjectId>,
}

impl Default for MemoryKeyVault {
    /// A vault with a master key of its own.
    fn default() -> Self {
        let random = [Uuid::new_v4(), Uuid::new_v4(), Uuid::new_v4()].map(Uuid::into_bytes);
        Self::new(*blake3::hash(random.as_flattened()).as_bytes())
    }
}

impl MemoryKeyVault {
    /// An empty vault; the same master key gives the same keyed hashes.
    pub fn new(master: [u8; 32]) -> Self {
        Self { master, hashing: MasterKey::new(&master), subjects: Mutex::default() }
    }

    fn subjects(&self) -> MutexGuard<'_, Subjects> {
        // Both sets are changed one insertion at a time, so a panic leaves nothing half done.
        self.subjects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn key(&self, subject: SubjectId) -> SubjectKey {
        let mut hasher = blake3::Hasher::new_derive_key("freehold 2026 data key in memory");
        SubjectKey(*hasher.update(&self.master).update(subject.0.as_bytes()).finalize().as_bytes())
    }
}

#[async_trait]
impl KeyVault for MemoryKeyVault {
    async fn keys_for_writing(
        &self,
        subjects: &[SubjectId],
    ) -> Result<HashMap<SubjectId, SubjectKey>, VaultError> {
        let mut known = self.subjects();
        if let Some(subject) = subjects.iter().find(|subject| known.destroyed.contains(*subject)) {
            return Err(VaultError::Destroyed { subject: *subject });
        }
        known.made.extend(subjects);
        Ok(subjects.iter().map(|subject| (*subject, self.key(*subject))).collect())
    }

    async fn keys_for_reading(
        &self,
        subjects: &[SubjectId],
    ) -> Result<HashMap<SubjectId, SubjectKey>, VaultError> {
        let known = self.subjects();
        let made = subjects.iter().filter(|subject| known.made.contains(*subject));
        Ok(made.map(|subject| (*subject, self.key(*subject))).collect())
    }

    async fn destroy(&self, subject: SubjectId) -> Result<(), VaultError> {
        let mut known = self.subjects();
        known.made.remove(&subject);
        known.destroyed.insert(subject);
        Ok(())
    }

    fn keyed_hash(&self, purpose: &str, text: &[u8]) -> KeyedHash {
        self.hashing.keyed_hash(purpose, text)
    }
}
