//! `freehold db` and `freehold doctor`: what is behind the platform.

use std::collections::BTreeSet;

use clap::{Args, Subcommand};
use freehold_domain::SubjectId;
use freehold_ports::{CodecError, LogName, ReadError, VaultError};
use freehold_postgres::{Database, DatabaseStatus, OpenError};
use freehold_projections::FailurePolicy;
use indicatif::{HumanBytes, HumanCount};
use serde_json::{Value, json};

use super::output::counted;
use super::{CliError, Exit, Global, Row};
use crate::config::StoreUrl;
use crate::node::projections;
use crate::sealed::{WrongKeys, wrong_keys};
use crate::stores::{Stores, StoresError, database};

/// Make, migrate and look at the stores.
#[derive(Debug, Subcommand)]
pub(super) enum Db {
    /// Make or migrate the stores; `serve` does so too
    Migrate,
    /// Print what is stored
    Status,
    /// Forbid every process that runs on the database now to write again, until it is restarted
    ///
    /// After a failover that may have lost commits, and after a restore: on the server that goes
    /// on, before clients are let in. What a process remembers of the lost events would else be
    /// taken for true. It does not keep the old server from taking writes of those who reach it.
    Fence {
        /// Only this log; may be repeated
        #[arg(long)]
        log: Vec<LogName>,
        /// Say what would be done, and do nothing
        #[arg(long)]
        dry_run: bool,
    },
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

/// A database, for programs.
struct DatabaseRow<'a>(&'a DatabaseStatus);

impl Row for DatabaseRow<'_> {
    const COLUMNS: &'static [&'static str] = &[
        "server",
        "place",
        "database",
        "schema",
        "user",
        "replica",
        "bytes",
        "migrations_applied",
        "migrations_known",
        "connections",
        "max_connections",
        "sessions",
        "logs",
    ];

    fn cells(&self) -> Vec<Value> {
        let DatabaseStatus {
            server,
            place,
            database,
            schema,
            user,
            replica,
            bytes,
            connections,
            max_connections,
            sessions,
            migrations_applied,
            migrations_known,
            logs,
        } = self.0;
        let logs = logs.iter().map(|log| {
            json!({
                "log": log.log,
                "position": log.position,
                "epoch": log.epoch,
                "partitions": log.partitions,
                "prepared_events": log.prepared_events,
            })
        });
        vec![
            json!(server),
            json!(place),
            json!(database),
            json!(schema),
            json!(user),
            json!(replica),
            json!(bytes),
            json!(migrations_applied),
            json!(migrations_known),
            json!(connections),
            json!(max_connections),
            json!(sessions),
            Value::Array(logs.collect()),
        ]
    }
}

/// The same, for people.
struct Fact(String, String);

impl Row for Fact {
    const COLUMNS: &'static [&'static str] = &["what", "is"];

    fn cells(&self) -> Vec<Value> {
        vec![json!(self.0), json!(self.1)]
    }
}

/// A log that was fenced, or would be.
struct Fenced {
    log: String,
    epoch: i64,
}

impl Row for Fenced {
    const COLUMNS: &'static [&'static str] = &["log", "epoch"];

    fn cells(&self) -> Vec<Value> {
        vec![json!(self.log), json!(self.epoch)]
    }
}

impl Db {
    pub(super) fn run(self, global: &Global) -> Result<(), CliError> {
        super::block_on(async {
            match self {
                Self::Migrate => {
                    let config = global.load([])?.config;
                    // Only what lacks nothing opens like this.
                    let before = match Stores::open_read_only(&config).await {
                        Ok(stores) => {
                            stores.close().await;
                            Ok(())
                        }
                        Err(error) => Err(error),
                    };
                    Stores::open(&config).await?.close().await;
                    global.output().note(made_or_migrated(before));
                    Ok(())
                }
                Self::Status => status(global).await,
                Self::Fence { log, dry_run } => fence(global, log, dry_run).await,
            }
        })
    }
}

/// What opening stores to write did, by how they could be opened to read before.
fn made_or_migrated(before: Result<(), StoresError>) -> &'static str {
    match before {
        Ok(()) => "the stores are current, nothing was migrated",
        Err(
            StoresError::Nothing(_)
            | StoresError::Open(freehold_sqlite::OpenError::OlderSchema { .. })
            | StoresError::Postgres {
                source: OpenError::Nothing | OpenError::OlderSchema { .. },
                ..
            },
        ) => "the stores were made or migrated, and are current",
        // It may have been gone for a moment.
        Err(_) => "the stores are current",
    }
}

async fn status(global: &Global) -> Result<(), CliError> {
    let config = global.load([])?.config;
    if !matches!(config.store.url, StoreUrl::Postgres(_)) {
        let stores = Stores::open_read_only(&config).await?;
        let mut rows = global.output().rows();
        for log in &stores.logs {
            let position = stores.events.head(log).await?.0;
            rows.write(&LogStatus { log: log.to_string(), position })?;
        }
        return Ok(rows.finish()?);
    }
    let status = status_of(&database(&config)?).await?;
    if !global.output().is_table() {
        let mut rows = global.output().rows();
        rows.write(&DatabaseRow(&status))?;
        return Ok(rows.finish()?);
    }
    let mut rows = global.output().rows();
    for (what, is) in facts(&status) {
        rows.write(&Fact(what, is))?;
    }
    Ok(rows.finish()?)
}

/// What a database is, in words.
fn facts(status: &DatabaseStatus) -> Vec<(String, String)> {
    let count = |number: i64| HumanCount(number.unsigned_abs()).to_string();
    let role = if status.replica { ", a replica" } else { "" };
    let mut facts = vec![
        ("server".to_owned(), format!("PostgreSQL {} at {}{role}", status.server, status.place)),
        (
            "database".to_owned(),
            format!("{}, schema {}, as {}", status.database, status.schema, status.user),
        ),
        ("size".to_owned(), HumanBytes(status.bytes.unsigned_abs()).to_string()),
        (
            "migrations".to_owned(),
            format!("{} of {}", status.migrations_applied, status.migrations_known),
        ),
        (
            "connections".to_owned(),
            format!(
                "{} of this program, {} of all, at most {}",
                status.sessions, status.connections, status.max_connections
            ),
        ),
    ];
    facts.extend(status.logs.iter().map(|log| {
        let is = format!(
            "position {}, epoch {}, {}, prepared for {} more events",
            count(log.position),
            log.epoch,
            counted(log.partitions.unsigned_abs(), "partition", "partitions"),
            count(log.prepared_events),
        );
        (format!("log {}", log.log), is)
    }));
    facts
}

async fn status_of(database: &Database) -> Result<DatabaseStatus, CliError> {
    let status = database.status().await.map_err(failed)?;
    match status.logs.is_empty() {
        false => Ok(status),
        true => Err(failed(OpenError::Nothing)),
    }
}

async fn fence(global: &Global, only: Vec<LogName>, dry_run: bool) -> Result<(), CliError> {
    let config = global.load([])?.config;
    let database = database(&config)?;
    let status = status_of(&database).await?;
    let named = |log: &str| only.is_empty() || only.iter().any(|name| name.as_str() == log);
    let logs: Vec<_> = status.logs.iter().filter(|log| named(&log.log)).collect();
    if let Some(unknown) = only.iter().find(|name| !logs.iter().any(|log| log.log == name.as_str()))
    {
        let message = format!("there is no log {unknown} in this database");
        return Err(CliError::new(Exit::NotFound, message));
    }
    let each = logs.iter().map(|log| {
        let (name, from, to) = (&log.log, log.epoch, log.epoch + 1);
        format!("{name} (at position {}) from epoch {from} to {to}", log.position)
    });
    let question = format!(
        "move {}: whatever has them open now, on {} to this server, does not write to them again \
         until it is restarted",
        each.collect::<Vec<_>>().join(" and "),
        counted(status.sessions.unsigned_abs(), "connection", "connections"),
    );
    if dry_run {
        global.output().note(&format!("would {question}"));
        return Ok(());
    }
    global.output().confirm(&question)?;
    let mut rows = global.output().rows();
    for log in logs {
        let name: LogName = log.log.parse()?;
        let epoch = database.raise_epoch(&name).await.map_err(failed)?;
        let epoch = epoch.ok_or_else(|| failed(OpenError::Nothing))?;
        rows.write(&Fenced { log: log.log.clone(), epoch })?;
    }
    rows.finish()?;
    global.output().note(
        "now restart every process that has this database open: until then it stores nothing, and \
         says so in /ready",
    );
    Ok(())
}

fn failed(source: OpenError) -> CliError {
    StoresError::Postgres { key: "store.url", source }.into()
}

impl Doctor {
    pub(super) fn run(self, global: &Global) -> Result<(), CliError> {
        super::block_on(async {
            let stores = global.stores_read_only().await?;
            let spinner = global.output().progress(None, "reading the log");
            spinner.enable_steady_tick(std::time::Duration::from_millis(100));
            let mut found = stores.check_integrity().await?;
            let contradictions = found.len();
            found.extend(ahead(&stores).await?);
            found.extend(keys_at_fault(&stores).await?);
            if found.is_empty() {
                // Else they may be the only ones.
                found.extend(stores.keys_left().await.map(str::to_owned));
            }
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
                        .note("the log is sound: positions, versions, heads, tags and keys agree");
                    Ok(())
                }
                count => {
                    let next = match contradictions {
                        0 => "each of them says what to do",
                        _ => "keep everything as it is and restore a backup beside it",
                    };
                    let wrong = counted(count as u64, "thing is", "things are");
                    Err(CliError::new(Exit::Failure, format!("{wrong} wrong; {next}")))
                }
            }
        })
    }
}

/// Read models that show events the log does not have: those that come in their place would never
/// be applied.
async fn ahead(stores: &Stores) -> Result<Vec<String>, CliError> {
    let mut found = Vec::new();
    for status in projections(stores, FailurePolicy::default(), None).statuses() {
        let name = status.name;
        let generations = stores.models.generations(name).await?;
        let head = stores.events.head(&status.log).await?;
        let ahead = generations.iter().filter(|generation| generation.checkpoint > head);
        found.extend(ahead.map(|generation| {
            format!(
                "generation {} of {name} is at position {}, beyond the end of the log {} at \
                 {head}: remove the read models; README.md, Operate, says how",
                generation.id.number, generation.checkpoint, status.log
            )
        }));
    }
    Ok(found)
}

/// People whose personal values nobody can read and who did not ask for it, and people who did and
/// whose can.
async fn keys_at_fault(stores: &Stores) -> Result<Vec<String>, CliError> {
    let WrongKeys { missing, alive } = wrong_keys(stores).await?;
    let people = |of: &BTreeSet<SubjectId>| counted(of.len() as u64, "person", "people");
    let lost = missing.first().map(|first| {
        format!(
            "the vault has neither a key nor a destroyed one of {}, the first of them {first}, \
             whose personal values the log holds and nobody can read: if the vault is older than \
             the log, put back the newer one; or bring the keys with `freehold keys import`, from \
             a file that `freehold keys export` wrote where they are; if they are lost for good, \
             see `freehold keys give-up --help`",
            people(&missing),
        )
    });
    let revived = alive.first().map(|first| {
        format!(
            "the vault has a key of {}, the first of them {first}, though the log says that it was \
             destroyed: the vault is an older copy, and what they asked to be forgotten can be \
             read. The next start of `freehold serve` destroys it again",
            people(&alive),
        )
    });
    Ok([lost, revived].into_iter().flatten().collect())
}

impl From<ReadError> for CliError {
    fn from(error: ReadError) -> Self {
        let exit = match &error {
            ReadError::Unavailable { .. } | ReadError::Overloaded { .. } => Exit::Unavailable,
            ReadError::Damaged { .. } => Exit::Failure,
            ReadError::UnknownLog(_) => Exit::NotFound,
        };
        Self::new(exit, error.to_string())
    }
}

impl From<CodecError> for CliError {
    fn from(error: CodecError) -> Self {
        let exit = match &error {
            CodecError::Vault(VaultError::Unavailable { .. }) => Exit::Unavailable,
            _ => Exit::Failure,
        };
        Self::new(exit, error.to_string())
    }
}

impl From<StoresError> for CliError {
    fn from(error: StoresError) -> Self {
        let exit = match &error {
            StoresError::Nothing(_) | StoresError::Postgres { source: OpenError::Nothing, .. } => {
                Exit::NotFound
            }
            StoresError::InMemory
            | StoresError::NoKafka
            | StoresError::NoBrokers
            | StoresError::NotAFolder(_)
            | StoresError::NotPostgres
            | StoresError::Postgres { source: OpenError::Address { .. }, .. } => Exit::Usage,
            StoresError::MasterKey(_)
            | StoresError::NoKeys { .. }
            | StoresError::NoVault(_)
            | StoresError::Vault(VaultError::WrongMasterKey)
            | StoresError::Postgres {
                source:
                    OpenError::Login { .. }
                    | OpenError::Forbidden { .. }
                    | OpenError::OldServer { .. }
                    | OpenError::Encoding { .. }
                    | OpenError::NewerSchema { .. }
                    | OpenError::OtherMigration { .. }
                    | OpenError::NoReplica,
                ..
            } => Exit::Refused,
            StoresError::Open(_)
            | StoresError::Postgres { .. }
            | StoresError::Vault(_)
            | StoresError::ReadModels(_)
            | StoresError::Read(_) => Exit::Unavailable,
            StoresError::Codec(_) => Exit::Failure,
        };
        let message = match &error {
            // What is behind it names the file or the database.
            StoresError::Vault(VaultError::Unavailable { source }) => source.to_string(),
            error => error.to_string(),
        };
        Self::new(exit, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stores_that_could_not_be_read_for_a_moment_are_not_said_to_have_been_migrated() {
        let gone = || OpenError::Full { at: "db".into(), source: sqlx::Error::PoolTimedOut };
        let gone = StoresError::Postgres { key: "store.keys_url", source: gone() };
        assert_eq!(made_or_migrated(Err(gone)), "the stores are current");
        let old = StoresError::Postgres { key: "store.keys_url", source: OpenError::Nothing };
        for lacking in [StoresError::Nothing("./data".into()), old] {
            assert!(made_or_migrated(Err(lacking)).contains("were made or migrated"));
        }
    }
}
