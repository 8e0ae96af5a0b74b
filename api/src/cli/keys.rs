//! `freehold keys`: the keys of people, to another store or given up.

use std::path::PathBuf;

use clap::Subcommand;
use freehold_ports::WrappedKey;
use indicatif::HumanCount;
use serde_json::{Value, json};

use super::output::counted;
use super::transfer::{NewFile, open};
use super::{CliError, Global, Row};
use crate::sealed::{check_vault, wrong_keys};
use crate::stores::{Stores, StoresError};
use crate::transfer::{KeysMoved, TransferError, export_keys, import_keys};

/// Move the keys of people to another store, wrapped by the master key as they are stored, or give
/// up those that are lost.
#[derive(Debug, Subcommand)]
pub(super) enum Keys {
    /// Write every key to a file; keep it apart from the log, as a backup of both can be read with
    /// the master key
    Export {
        /// The file; packed with gzip if its name ends in .gz
        file: PathBuf,
    },
    /// Put the keys of a file into this store, which needs the same master key; a key that was
    /// destroyed in either stays destroyed
    Import {
        /// The file that `keys export` wrote
        file: PathBuf,
    },
    /// Give up keys that are lost for good: those of people whose personal values the log holds and
    /// who have neither a key here nor a destroyed one
    ///
    /// They are as destroyed from then on: those values stay unreadable, nothing personal is stored
    /// about these people again, and no `keys import` brings their keys back. Stop all servers, and
    /// look for a file that `keys export` wrote before.
    GiveUp,
}

impl Row for KeysMoved {
    const COLUMNS: &'static [&'static str] = &["keys", "destroyed", "changed"];

    fn cells(&self) -> Vec<Value> {
        vec![json!(self.keys), json!(self.destroyed), json!(self.changed)]
    }
}

impl Keys {
    pub(super) fn run(self, global: &Global) -> Result<(), CliError> {
        let moved = match self {
            Self::Export { file } => super::block_on(async {
                let stores = global.stores_read_only().await?;
                check_vault(&stores).await?;
                let out = NewFile::create(&file)?;
                let (moved, out) = export_keys(&(&stores).into(), out).await?;
                out.finish()?;
                global.output().note(&format!(
                    "{} in {}, {} of them destroyed; whoever has the master key and the log \
                         can read with it, delete it when it is imported",
                    counted(moved.keys, "key", "keys"),
                    file.display(),
                    HumanCount(moved.destroyed),
                ));
                Ok(moved)
            })?,
            Self::Import { file } => {
                let input = open(&file)?;
                let config = global.load([])?.config;
                super::block_on(async {
                    let stores = Stores::open_to_restore(&config, &[]).await?;
                    let moved = match stores.keys {
                        Some(_) => import_keys(&(&stores).into(), input).await,
                        None => Err(TransferError::InMemory),
                    };
                    stores.close().await;
                    let moved = moved?;
                    global.output().note(&format!(
                        "{} read, {} new or destroyed here, {} of them destroyed in the file",
                        counted(moved.keys, "key", "keys"),
                        HumanCount(moved.changed),
                        HumanCount(moved.destroyed),
                    ));
                    Ok(moved)
                })?
            }
            Self::GiveUp => {
                let config = global.load([])?.config;
                super::block_on(async {
                    let stores = Stores::open_to_restore(&config, &[]).await?;
                    let given_up = give_up(global, &stores).await;
                    stores.close().await;
                    given_up
                })?
            }
        };
        let mut rows = global.output().rows();
        rows.write(&moved)?;
        Ok(rows.finish()?)
    }
}

/// Leaves tombstones for everybody whose key is missing.
async fn give_up(global: &Global, stores: &Stores) -> Result<KeysMoved, CliError> {
    let vault = stores.keys.as_ref().ok_or(TransferError::InMemory)?;
    let missing = Vec::from_iter(wrong_keys(stores).await?.missing);
    let mut given_up = KeysMoved::default();
    if missing.is_empty() {
        global.output().note("nobody's key is missing");
        return Ok(given_up);
    }
    global.output().confirm(&format!(
        "give up the keys of {} for good, whose personal values then nobody ever reads",
        counted(missing.len() as u64, "person", "people"),
    ))?;
    vault.keep_master_key().await.map_err(StoresError::from)?;
    for missing in missing.chunks(1_000) {
        // The answer took its time: a key may have come meanwhile.
        let came = stores.vault.keys_for_reading(missing).await.map_err(StoresError::from)?;
        let missing = missing.iter().filter(|subject| !came.contains_key(*subject));
        let lost = missing.map(|subject| WrappedKey { subject: *subject, wrapped: None });
        given_up.changed +=
            vault.restore_keys(lost.collect()).await.map_err(TransferError::from)?;
    }
    (given_up.keys, given_up.destroyed) = (given_up.changed, given_up.changed);
    Ok(given_up)
}
