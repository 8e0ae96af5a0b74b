//! `freehold import postgres-es`.

use std::io::IsTerminal as _;

use clap::{Args, Subcommand};
use freehold_ports::LogName;
use freehold_postgres::{Database, PostgresEsError, PostgresEsTable};
use indicatif::HumanCount;
use serde_json::{Value, json};

use super::import::Import;
use super::output::counted;
use super::{CliError, Exit, Global, Row};
use crate::config::{PostgresUrl, StoreUrl};
use crate::import::{
    Bars, Counted, ImportedLog, PostgresEsImportError, Progress, RefusedEvent, Silent,
    import_postgres_es,
};
use crate::stores::{LOGS, Stores, StoresError};

const NO_ADDRESS: &str = "name the application's database, or set import.postgres_es_url \
     (FREEHOLD__IMPORT__POSTGRES_ES_URL, or FREEHOLD__IMPORT__POSTGRES_ES_URL_FILE for a file that \
     holds it)";

/// Imports a file of properties, or another application's events.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct ImportFrom {
    #[command(subcommand)]
    application: Option<Application>,
    #[command(flatten)]
    file: Option<Import>,
}

#[derive(Debug, Subcommand)]
enum Application {
    /// Import the events of an application built on cqrs-es and postgres-es
    ///
    /// They go to a log of their own, where the application goes on with `freehold-cqrs-es`. Again
    /// brings what is new; a gap or an event that was changed since is told and stops its
    /// aggregate. Nothing is written to the application's database.
    PostgresEs(PostgresEs),
}

/// Where the events are, and where they go.
#[derive(Debug, Args)]
struct PostgresEs {
    /// The application's database, postgres://user@host:port/database
    ///
    /// Others on this machine see what is typed here. An address with a password is better set as
    /// import.postgres_es_url, or comes from the file that FREEHOLD__IMPORT__POSTGRES_ES_URL_FILE
    /// names.
    url: Option<String>,
    /// The schema of its table; the first of the search path that has it unless said
    #[arg(long)]
    schema: Option<String>,
    /// The table of its events
    #[arg(long, default_value = "events")]
    table: String,
    /// The log they go to, of these events alone
    #[arg(long, default_value = "imported", value_parser = own_log)]
    log: LogName,
}

/// A log whose events have no rules of this program's.
fn own_log(text: &str) -> Result<LogName, String> {
    let log: LogName =
        text.parse().map_err(|error: freehold_ports::InvalidName| error.to_string())?;
    match LOGS.contains(&log) || log.as_str() == "all" {
        true => Err(format!("the log {log} has events of its own; name another")),
        false => Ok(log),
    }
}

impl Row for RefusedEvent {
    const COLUMNS: &'static [&'static str] = &["aggregate_type", "aggregate_id", "sequence", "why"];

    fn cells(&self) -> Vec<Value> {
        let Self { aggregate_type, aggregate_id, sequence, why } = self;
        vec![json!(aggregate_type), json!(aggregate_id), json!(sequence), json!(why)]
    }
}

impl ImportFrom {
    pub(super) fn run(self, global: &Global) -> Result<(), CliError> {
        match (self.application, self.file) {
            (Some(Application::PostgresEs(from)), _) => from.run(global),
            (None, Some(file)) => file.run(global),
            (None, None) => Err(CliError::new(Exit::Usage, "name a file, or postgres-es")),
        }
    }
}

impl PostgresEs {
    fn run(self, global: &Global) -> Result<(), CliError> {
        let config = global.load([])?.config;
        if config.store.url == StoreUrl::Memory {
            return Err(StoresError::InMemory.into());
        }
        super::block_on(async {
            let url = self.url.as_deref();
            let url = url.or(config.import.postgres_es_url.as_ref().map(PostgresUrl::as_str));
            let url = url.ok_or_else(|| CliError::new(Exit::Usage, NO_ADDRESS))?;
            let database = Database::at(url).map_err(PostgresEsError::Unavailable)?;
            let table = PostgresEsTable::new(database, self.schema.as_deref(), &self.table);
            // Before any store is made.
            let events = table.estimate().await?;
            let stores = Stores::open_with(&config, std::slice::from_ref(&self.log)).await?;
            let to = ImportedLog {
                store: stores.events.clone(),
                log: self.log.clone(),
                tenant: config.tenant.default.as_str().into(),
            };
            let output = global.output();
            let torn = !output.is_table() && std::io::stdout().is_terminal();
            let bars: Box<dyn Progress> =
                if global.quiet || torn { Box::new(Silent) } else { Box::new(Bars::default()) };
            bars.begin("events", events, Counted::Rows);
            let mut rows = output.rows();
            let (mut any, mut written) = (false, Ok(()));
            let mut show = |refused: RefusedEvent| {
                any = true;
                if written.is_ok() {
                    written = rows.write(&refused);
                }
            };
            let read = async |after: Option<&_>, limit| table.read(after, limit).await;
            let report = import_postgres_es(&to, read, &*bars, &mut show).await;
            bars.finish();
            drop(bars);
            stores.close().await;
            written?;
            if any || !output.is_table() {
                rows.finish()?;
            }
            let report = report?;
            output.note(&format!(
                "{} imported, {} there already, {} not wholly taken; the log is {}",
                counted(report.imported, "event", "events"),
                HumanCount(report.known),
                counted(report.refused, "aggregate", "aggregates"),
                self.log,
            ));
            if report.ahead > 0 {
                output.note(&format!(
                    "warning: {} of the log {} not in the table as they are here: rows are gone \
                     or were changed there, or the application went on here. Nothing is deleted \
                     from a log",
                    counted(report.ahead, "event", "events"),
                    if report.ahead == 1 { "is" } else { "are" },
                ));
            }
            match report.refused {
                0 => Ok(()),
                _ => Err(CliError::new(
                    Exit::Conflict,
                    "not all events fit to what the log holds; those above and what follows them \
                     in their aggregates are not stored",
                )),
            }
        })
    }
}

impl From<PostgresEsError> for CliError {
    fn from(error: PostgresEsError) -> Self {
        let message = error.to_string();
        let exit = match error {
            PostgresEsError::NotATable { .. } => Exit::NotFound,
            PostgresEsError::Unavailable(source) => {
                let key = "the application's database";
                Self::from(StoresError::Postgres { key, source }).exit
            }
        };
        Self::new(exit, message)
    }
}

impl From<PostgresEsImportError<PostgresEsError>> for CliError {
    fn from(error: PostgresEsImportError<PostgresEsError>) -> Self {
        match error {
            PostgresEsImportError::Source(error) => error.into(),
            PostgresEsImportError::Read(error) => error.into(),
            error @ PostgresEsImportError::Append(_) => {
                Self::new(Exit::Unavailable, error.to_string())
            }
        }
    }
}
