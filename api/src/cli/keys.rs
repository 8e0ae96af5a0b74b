//! `freehold keys`: the keys of people, to another store.

use std::path::PathBuf;

use clap::Subcommand;
use indicatif::HumanCount;
use serde_json::{Value, json};

use super::output::counted;
use super::transfer::{NewFile, open};
use super::{CliError, Global, Row};
use crate::stores::Stores;
use crate::transfer::{KeysMoved, TransferError, export_keys, import_keys};

/// Move the keys of people to another store, wrapped by the master key as they are stored.
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
        };
        let mut rows = global.output().rows();
        rows.write(&moved)?;
        Ok(rows.finish()?)
    }
}
