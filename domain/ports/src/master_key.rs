//! What durable vaults do with the master key: it wraps the data keys that they keep, and hashes.
//!
//! Where a wrapped key stands, and that a destroyed one is gone, is each vault's own business.

use chacha20poly1305::aead::{Generate as _, KeyInit as _};
use chacha20poly1305::{Key, XChaCha20Poly1305};
use freehold_domain::SubjectId;
use zeroize::Zeroizing;

use crate::{KeyedHash, SubjectKey, VaultError, sealing};

/// What the check value says once it is opened, and what it is authenticated with.
const CHECK: &[u8] = b"freehold key vault";
const CHECK_PLACE: &[u8] = b"check";

/// What is derived from a deployment's master key, which itself is not kept.
pub struct MasterKey {
    wrapping: XChaCha20Poly1305,
    hashing: Zeroizing<[u8; 32]>,
}

impl MasterKey {
    /// Derives a key for wrapping and one for hashing.
    pub fn new(master: &[u8; 32]) -> Self {
        let wrapping = Zeroizing::new(blake3::derive_key("freehold 2026 key wrapping", master));
        Self {
            wrapping: XChaCha20Poly1305::new(&Key::from(*wrapping)),
            hashing: Zeroizing::new(blake3::derive_key("freehold 2026 keyed hash", master)),
        }
    }

    /// What a new vault keeps, so that it is never opened with another master key.
    pub fn check_value(&self) -> Vec<u8> {
        sealing::seal(&self.wrapping, CHECK_PLACE, CHECK)
    }

    /// Refuses a vault that keeps the check value of another master key.
    pub fn check(&self, check_value: &[u8]) -> Result<(), VaultError> {
        match sealing::open(&self.wrapping, CHECK_PLACE, check_value) {
            Some(clear) if clear == CHECK => Ok(()),
            _ => Err(VaultError::WrongMasterKey),
        }
    }

    /// A new data key of a subject, in the clear and wrapped as vaults keep it.
    pub fn make_key(&self, subject: SubjectId) -> (SubjectKey, Vec<u8>) {
        let key = SubjectKey(Key::generate().into());
        let wrapped = sealing::seal(&self.wrapping, subject.0.as_bytes(), &key.0);
        (key, wrapped)
    }

    /// The data key of a subject.
    ///
    /// - Errors: [`VaultError::Unavailable`] if it was wrapped by another master key, for another
    ///   subject, or is damaged.
    pub fn unwrap_key(&self, subject: SubjectId, wrapped: &[u8]) -> Result<SubjectKey, VaultError> {
        let opened = sealing::open(&self.wrapping, subject.0.as_bytes(), wrapped);
        let clear = opened.map(Zeroizing::new);
        let key = clear.and_then(|clear| clear.as_slice().try_into().ok());
        key.map(SubjectKey).ok_or_else(|| VaultError::Unavailable {
            source: format!("the key of subject {subject} is damaged").into(),
        })
    }

    /// What [`KeyVault::keyed_hash`](crate::KeyVault::keyed_hash) answers.
    pub fn keyed_hash(&self, purpose: &str, text: &[u8]) -> KeyedHash {
        let mut hasher = blake3::Hasher::new_keyed(&self.hashing);
        // The length keeps ("ab", "c") and ("a", "bc") apart.
        hasher.update(&(purpose.len() as u64).to_le_bytes());
        KeyedHash(*hasher.update(purpose.as_bytes()).update(text).finalize().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use uuid::Uuid;

    use super::*;

    const SUBJECT: SubjectId = SubjectId(Uuid::from_u128(1));

    const KEPT: [u8; 32] = [0x5a; 32];

    fn bytes(hex: &str) -> Vec<u8> {
        let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        (0..hex.len()).step_by(2).map(byte).collect()
    }

    /// Made by a release in use: a vault opens for as long as this passes.
    #[test]
    fn what_vaults_keep_is_known_again() {
        let check_value = bytes(
            "9d5970166c4aec55db0b29cca1047116b128f5d6705f4f750177f626a1ed825cb2a00910264af68f\
             551891feddf9c701ec61fe6900eb44243214",
        );
        MasterKey::new(&KEPT).check(&check_value).unwrap();

        let refused = MasterKey::new(&[7; 32]).check(&check_value);
        assert!(matches!(refused, Err(VaultError::WrongMasterKey)));
    }

    /// Wrapped by another implementation of the same ciphers.
    #[test]
    fn a_key_that_is_kept_opens() {
        let wrapped = bytes(
            "000102030405060708090a0b0c0d0e0f10111213141516172a6bae4a1a818eeb0264ec7e312f6a65\
             e1cbc8ca045e03870d8c7f40e046de2cc650ebc51f350f4c4c3afd9c58e0f37e",
        );
        let key = MasterKey::new(&KEPT).unwrap_key(SUBJECT, &wrapped).unwrap();
        assert_eq!(key.0, [7; 32]);
    }

    /// Hashed by another implementation: people are found by their e-mail address, commands that
    /// are repeated recognised and exported files taken for as long as this passes.
    #[test]
    fn what_was_hashed_is_known_again() {
        let hash = MasterKey::new(&KEPT).keyed_hash("email", b"ada@example.org");
        let known = bytes("d7b7417d7553ace9ada417e87bbd57184e5448a4f812781d83d1a560bfa30b85");
        assert_eq!(hash.0[..], known);
    }

    #[test]
    fn a_wrapped_key_opens_for_its_subject_under_its_master_key_and_whole_only() {
        let master = MasterKey::new(&[7; 32]);
        let (key, wrapped) = master.make_key(SUBJECT);
        assert_eq!(master.unwrap_key(SUBJECT, &wrapped).unwrap(), key);

        assert!(master.unwrap_key(SubjectId(Uuid::from_u128(2)), &wrapped).is_err());
        assert!(MasterKey::new(&[8; 32]).unwrap_key(SUBJECT, &wrapped).is_err());
        for length in 0..wrapped.len() {
            assert!(master.unwrap_key(SUBJECT, &wrapped[..length]).is_err(), "{length}");
        }
        let longer = sealing::seal(&master.wrapping, SUBJECT.0.as_bytes(), &[7; 33]);
        assert!(master.unwrap_key(SUBJECT, &longer).is_err());
    }
}
