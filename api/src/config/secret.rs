//! Values that are never printed, and the master key of the vault.

use std::fmt;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use serde::Deserialize;
use zeroize::{Zeroize as _, ZeroizeOnDrop, Zeroizing};

use super::{Config, StoreUrl};

/// Text that prints as `***` and is wiped from memory when dropped.
#[derive(Clone, Deserialize, ZeroizeOnDrop)]
#[serde(transparent)]
pub struct Secret(String);

/// The key that wraps every person's key.
#[derive(ZeroizeOnDrop)]
pub struct MasterKey([u8; 32]);

/// Why there is no master key.
#[derive(Debug, thiserror::Error)]
pub enum MasterKeyError {
    /// A key file exists and is not one.
    #[error("{path} is not a key file; put the file back that this folder was made with")]
    Malformed {
        /// Which file.
        path: PathBuf,
    },
    /// There is data already, and the key that opens it is not here.
    #[error(
        "{folder} holds a log but no master.key; put the file back, or set vault.master_key to \
         the key the folder was made with"
    )]
    Lost {
        /// Which folder.
        folder: PathBuf,
    },
    /// The store has no folder that a key file could lie in, and outlives this process.
    #[error(
        "vault.master_key is not set. It wraps the keys of people and is never in the database; \
         every process on it needs the same one. Make it once, and keep a copy apart from backups:\n  \
         (umask 077; openssl rand -hex 32 > master.key)\n  \
         export FREEHOLD__VAULT__MASTER_KEY_FILE=\"$PWD/master.key\""
    )]
    NotSet,
    /// The file could not be read or made.
    #[error("{path} cannot be used as key file: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

impl Secret {
    /// Hides a text.
    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The 32 bytes written as hexadecimal digits or base64.
    pub(super) fn key_bytes(&self) -> Option<Zeroizing<[u8; 32]>> {
        let text = self.0.trim();
        if let Ok(hash) = blake3::Hash::from_hex(text) {
            return Some(Zeroizing::new(*hash.as_bytes()));
        }
        [STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD].iter().find_map(|alphabet| {
            let bytes = Zeroizing::new(alphabet.decode(text).ok()?);
            bytes.as_slice().try_into().ok().map(Zeroizing::new)
        })
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl MasterKey {
    /// The key that the configuration gives, else the one in `<data folder>/master.key`, which is
    /// made at the first start. On PostgreSQL only a configured one: a file that a process makes for
    /// itself is not where the next machine or container looks for it.
    pub fn obtain(config: &Config) -> Result<Self, MasterKeyError> {
        if let Some(bytes) = config.vault.master_key.as_ref().and_then(Secret::key_bytes) {
            return Ok(Self(*bytes));
        }
        match &config.store.url {
            StoreUrl::Sqlite(folder) => Self::in_folder(folder),
            StoreUrl::Postgres(_) => Err(MasterKeyError::NotSet),
            StoreUrl::Memory => Ok(Self::random()),
        }
    }

    /// Its bytes, for the vault.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    fn random() -> Self {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).expect("the system's random source answers");
        Self(bytes)
    }

    fn in_folder(folder: &Path) -> Result<Self, MasterKeyError> {
        let path = folder.join("master.key");
        let failed = |source| MasterKeyError::Io { path: path.clone(), source };
        match std::fs::read_to_string(&path) {
            Ok(mut text) => {
                let bytes = Secret::new(&text).key_bytes();
                text.zeroize();
                let bytes = bytes.ok_or(MasterKeyError::Malformed { path: path.clone() })?;
                warn_if_others_can_read(&path);
                Ok(Self(*bytes))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                std::fs::create_dir_all(folder).map_err(failed)?;
                // A new key beside an old log would make everybody's personal values unreadable.
                if holds_sqlite_files(folder).map_err(failed)? {
                    return Err(MasterKeyError::Lost { folder: folder.to_owned() });
                }
                let key = Self::random();
                key.write_to(&path).map_err(failed)?;
                tracing::warn!(
                    path = %path.display(),
                    "made a master key; keep a copy apart from backups of the log: without it \
                     personal values cannot be read, and with both they can"
                );
                Ok(key)
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// Writes the key where there is none, durable before it is used.
    fn write_to(&self, path: &Path) -> std::io::Result<()> {
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(path)?;
        let text = Zeroizing::new(blake3::Hash::from_bytes(self.0).to_hex().to_string());
        writeln!(file, "{}", *text)?;
        file.sync_all()?;
        match path.parent() {
            Some(folder) => std::fs::File::open(folder)?.sync_all(),
            None => Ok(()),
        }
    }
}

fn holds_sqlite_files(folder: &Path) -> std::io::Result<bool> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "db" || end == "sqlite") {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(unix)]
fn warn_if_others_can_read(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    let open = std::fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o077 != 0);
    if open {
        tracing::warn!(path = %path.display(), "others can read the master key; chmod 600 it");
    }
}

#[cfg(not(unix))]
fn warn_if_others_can_read(_path: &Path) {}
