//! `freehold db` and `freehold doctor`: the files behind the platform.

use clap::{Args, Subcommand};
use freehold_ports::{CodecError, ReadError, VaultError};
use serde_json::{Value, json};

use super::{CliError, Exit, Global, Row};
use crate::stores::StoresError;

/// Make, migrate and look at the stores.
#[derive(Debug, Subcommand)]
pub(super) enum Db {
    /// Make or migrate the stores; `serve` does so too
    Migrate,
    /// Print what is stored
    Status,
}

/// Checks that what is stored agrees with itself; reads everything, changes nothing.
#[derive(Debug, Args)]
pub(super) struct Doctor {}

struct LogStatus {
    log: String,
    position: u64,
}

impl Row for LogStatus {
    const COLUMNS: &'static [&'static str] = &["log", "position"];

    fn cells(&self) -> Vec<Value> {
        vec![json!(self.log), json!(self.position)]
    }
}

struct Finding {
    finding: String,
}

impl Row for Finding {
    const COLUMNS: &'static [&'static str] = &["finding"];

    fn cells(&self) -> Vec<Value> {
        vec![json!(self.finding)]
    }
}

/// What was checked and found, for programs.
struct Checked<'a> {
    positions: serde_json::Map<String, Value>,
    findings: &'a [String],
}

impl Row for Checked<'_> {
    const COLUMNS: &'static [&'static str] = &["sound", "positions", "findings"];

    fn cells(&self) -> Vec<Value> {
        let positions = Value::Object(self.positions.clone());
        vec![json!(self.findings.is_empty()), positions, json!(self.findings)]
    }
}

impl Db {
    pub(super) fn run(self, global: &Global) -> Result<(), CliError> {
        match self {
            Self::Migrate => {
                let stores = global.stores()?;
                super::block_on(async {
                    stores.close().await;
                    Ok(())
                })?;
                global.output().note("the stores are current");
                Ok(())
            }
            Self::Status => {
                let stores = global.stores_read_only()?;
                super::block_on(async {
                    let mut rows = global.output().rows();
                    for log in &stores.logs {
                        let position = stores.events.head(log).await?.0;
                        rows.write(&LogStatus { log: log.to_string(), position })?;
                    }
                    Ok(rows.finish()?)
                })
            }
        }
    }
}

impl Doctor {
    pub(super) fn run(self, global: &Global) -> Result<(), CliError> {
        let stores = global.stores_read_only()?;
        super::block_on(async {
            let spinner = global.output().progress(None, "reading the log");
            spinner.enable_steady_tick(std::time::Duration::from_millis(100));
            let found = match &stores.sqlite {
                Some(files) => files.log.check_integrity().await?,
                None => Vec::new(),
            };
            spinner.finish_and_clear();
            if !global.output().is_table() {
                let mut positions = serde_json::Map::new();
                for log in &stores.logs {
                    let position = stores.events.head(log).await?.0;
                    positions.insert(log.to_string(), json!(position));
                }
                let mut result = global.output().rows();
                result.write(&Checked { positions, findings: &found })?;
                result.finish()?;
            } else if !found.is_empty() {
                let mut rows = global.output().rows();
                for finding in &found {
                    rows.write(&Finding { finding: finding.clone() })?;
                }
                rows.finish()?;
            }
            match found.len() {
                0 => {
                    global
                        .output()
                        .note("the log is sound: positions, versions, heads and tags agree");
                    Ok(())
                }
                count => {
                    let message = format!(
                        "{count} things are wrong; keep the files as they are and restore a backup \
                         beside them"
                    );
                    Err(CliError::new(Exit::Failure, message))
                }
            }
        })
    }
}

impl From<ReadError> for CliError {
    fn from(error: ReadError) -> Self {
        let exit = match &error {
            ReadError::Unavailable { .. } => Exit::Unavailable,
            ReadError::Damaged { .. } => Exit::Failure,
            ReadError::UnknownLog(_) => Exit::NotFound,
        };
        Self::new(exit, error.to_string())
    }
}

impl From<CodecError> for CliError {
    fn from(error: CodecError) -> Self {
        Self::new(Exit::Failure, error.to_string())
    }
}

impl From<StoresError> for CliError {
    fn from(error: StoresError) -> Self {
        let exit = match &error {
            StoresError::Nothing(_) => Exit::NotFound,
            StoresError::InMemory | StoresError::NotAFolder(_) => Exit::Usage,
            StoresError::MasterKey(_) | StoresError::Vault(VaultError::WrongMasterKey) => {
                Exit::Refused
            }
            StoresError::Open(_) | StoresError::Vault(_) => Exit::Unavailable,
        };
        let message = match &error {
            // What is behind it names the file.
            StoresError::Vault(VaultError::Unavailable { source }) => source.to_string(),
            error => error.to_string(),
        };
        Self::new(exit, message)
    }
}
