//! Data from files: the demo's, compiled in, and those of a feed; and from the database of another
//! application.
//!
//! An import may be stopped at any moment and started again: what is there already stays as it is,
//! and the end is the same. Nothing is remembered beside the log; what the log holds tells where
//! to go on. Absent on purpose: what a row means to the business, which the commands decide.

mod demo;
mod file;
mod postgres_es;
mod progress;
#[cfg(test)]
mod tests;

use std::time::Duration;

use freehold_commands::CommandError;
use freehold_domain::Refusal;
use freehold_ports::{AppendError, ReadError};

pub use demo::{DemoReport, import_demo};
pub use file::{FileFormat, FileReport, import_file};
pub use postgres_es::{
    ImportedLog, PostgresEsImportError, PostgresEsReport, RefusedEvent, import_postgres_es,
};
pub use progress::{Bars, Counted, Progress, Silent, rate};

/// How many rows are being stored at once: enough to fill the log's batches.
const IN_FLIGHT: usize = 512;
/// How often a row is tried again when the log does not take it.
const MAX_ATTEMPTS: u32 = 100;

/// Why an import stopped; starting it again goes on where it was.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file cannot be read.
    #[error("cannot read the file: {0}")]
    Unreadable(#[from] std::io::Error),
    /// A table is not of its shape.
    #[error("row {row}: {what}")]
    Malformed {
        /// The row, counted from 1 without the header.
        row: u64,
        /// What is wrong with it.
        what: String,
    },
    /// A file has no header to read its rows by.
    #[error("{0}; nothing was imported")]
    NotATable(String),
    /// The log did not take a row, also when asked again.
    #[error("the log does not take more rows: {0}; start the import again to go on")]
    Stopped(String),
}

impl From<ReadError> for ImportError {
    fn from(error: ReadError) -> Self {
        Self::Stopped(error.to_string())
    }
}

/// What a row that was not stored asks for.
enum Setback {
    /// To be sent again after a while.
    Wait(Duration),
    /// To be left out, or to end the import: sending it again will not help.
    Final(String),
}

impl<R: Refusal> From<CommandError<R>> for Setback {
    fn from(error: CommandError<R>) -> Self {
        match error {
            CommandError::Overloaded { retry_after } => Self::Wait(retry_after),
            CommandError::Contended { .. }
            | CommandError::VersionConflict { .. }
            | CommandError::OutcomeUnknown { .. }
            | CommandError::Unavailable(_) => Self::Wait(PAUSE),
            CommandError::Refused(_)
            | CommandError::Taken { .. }
            | CommandError::CommandIdReused { .. }
            | CommandError::Invalid(_)
            | CommandError::Fenced { .. }
            | CommandError::Codec(_) => Self::Final(error.to_string()),
        }
    }
}

impl From<AppendError> for Setback {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Overloaded { retry_after } => Self::Wait(retry_after),
            AppendError::OutcomeUnknown { .. } | AppendError::Unavailable { .. } => {
                Self::Wait(PAUSE)
            }
            AppendError::VersionConflict { .. }
            | AppendError::BoundaryConflict { .. }
            | AppendError::CommandIdReused { .. }
            | AppendError::Fenced { .. }
            | AppendError::Invalid(_) => Self::Final(error.to_string()),
        }
    }
}

/// How long to leave a log alone that did not answer.
const PAUSE: Duration = Duration::from_millis(100);

/// Does something until it is done, waiting as long as the log asks for.
async fn patiently<T, F: Future<Output = Result<T, Setback>>>(
    mut attempt: impl FnMut() -> F,
) -> Result<T, ImportError> {
    for _ in 0..MAX_ATTEMPTS {
        match attempt().await {
            Ok(done) => return Ok(done),
            Err(Setback::Wait(duration)) => tokio::time::sleep(duration).await,
            Err(Setback::Final(why)) => return Err(ImportError::Stopped(why)),
        }
    }
    Err(ImportError::Stopped(format!("no success in {MAX_ATTEMPTS} attempts")))
}
