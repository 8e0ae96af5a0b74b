//! Keys of people: one data key per subject, and hashes that only this deployment can make.

use std::collections::HashMap;
use std::fmt;

use async_trait::async_trait;
use freehold_domain::SubjectId;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::StoreFailure;

/// Keeps data keys, and forgets them for good.
#[async_trait]
pub trait KeyVault: Send + Sync {
    /// The keys of the subjects, made where a subject never had one, durable before the answer.
    ///
    /// - Errors: [`VaultError::Destroyed`] if a key was destroyed: nothing personal may be written
    ///   about that subject again.
    async fn keys_for_writing(
        &self,
        subjects: &[SubjectId],
    ) -> Result<HashMap<SubjectId, SubjectKey>, VaultError>;

    /// The keys that exist among those of the subjects; a missing one reads as erased.
    async fn keys_for_reading(
        &self,
        subjects: &[SubjectId],
    ) -> Result<HashMap<SubjectId, SubjectKey>, VaultError>;

    /// Destroys a subject's key for good, durable before the answer; again is not an error.
    ///
    /// A subject without a key never gets one afterwards.
    async fn destroy(&self, subject: SubjectId) -> Result<(), VaultError>;

    /// A hash of `text` that cannot be made or guessed without the deployment's master key.
    fn keyed_hash(&self, purpose: &str, text: &[u8]) -> KeyedHash;
}

/// A 256-bit data key; wiped from memory when dropped, never printed.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct SubjectKey(pub [u8; 32]);

impl fmt::Debug for SubjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SubjectKey(..)")
    }
}

/// A keyed hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeyedHash(pub [u8; 32]);

impl KeyedHash {
    /// Its first 128 bits as 32 hexadecimal digits, enough to be unique.
    pub fn to_hex(&self) -> String {
        self.0[..16].iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Why the vault gave no key.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The subject was erased.
    #[error(
        "the key of subject {subject} was destroyed; nothing personal can be stored about them"
    )]
    Destroyed {
        /// Whose key it was.
        subject: SubjectId,
    },
    /// The master key does not open the vault.
    #[error(
        "the master key does not open the key vault; put the master.key back that it was made \
         with, or set vault.master_key to that key"
    )]
    WrongMasterKey,
    /// The vault could not be reached or failed.
    #[error("the key vault is unavailable; check its address and that it is running")]
    Unavailable {
        /// What the driver said.
        source: StoreFailure,
    },
}
