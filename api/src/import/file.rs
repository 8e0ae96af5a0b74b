//! Files of a feed: one property a row or a line, in the shapes that `ingest` takes.

use std::io::{BufRead, BufReader, Read};

use serde_json::{Map, Value};

use super::{ImportError, MAX_ATTEMPTS, PAUSE, Progress};
use crate::ingest::{Change, Ingest, ItemAnswer, Sender, Status};

/// How many rows are handed over at once.
const CHUNK: usize = 1_000;
/// How many refused rows the report shows.
const REFUSALS_SHOWN: usize = 20;

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileFormat {
    /// A table with a header; a column is a field, an empty cell says nothing.
    Csv,
    /// One JSON object a line.
    Ndjson,
}

/// What an import of a file did.
#[derive(Clone, Debug, Default)]
pub struct FileReport {
    /// Properties that were not known before.
    pub created: u64,
    /// Properties that changed.
    pub updated: u64,
    /// Properties that were as the file says.
    pub unchanged: u64,
    /// Rows that were refused.
    pub refused: u64,
    /// Warnings about rows that were stored.
    pub warnings: u64,
    /// The first refused rows, counted from 1 without a header, and why.
    pub refusals: Vec<(u64, ItemAnswer)>,
}

/// Imports properties from a file; again it changes nothing.
///
/// - Shape: beside the file stands its size in bytes, for the progress.
pub async fn import_file(
    ingest: &Ingest,
    sender: &Sender<'_>,
    format: FileFormat,
    (file, bytes): (impl Read, u64),
    progress: &dyn Progress,
) -> Result<FileReport, ImportError> {
    let mut report = FileReport::default();
    let mut rows = Rows::of(file, format)?;
    let mut row = 0;
    progress.begin("bytes", bytes);
    loop {
        let chunk = rows.next_chunk()?;
        if chunk.items.is_empty() {
            break;
        }
        store(ingest, sender, &chunk.items, row, &mut report).await?;
        row += chunk.items.len() as u64;
        progress.advance(chunk.bytes);
    }
    progress.finish();
    Ok(report)
}

/// Stores items, sending again what the log does not take yet, in their order.
async fn store(
    ingest: &Ingest,
    sender: &Sender<'_>,
    items: &[Vec<u8>],
    first_row: u64,
    report: &mut FileReport,
) -> Result<(), ImportError> {
    let mut waiting: Vec<usize> = (0..items.len()).collect();
    for _ in 0..MAX_ATTEMPTS {
        let sent: Vec<&[u8]> = waiting.iter().map(|index| &*items[*index]).collect();
        let answer = ingest.property(sender, &sent).await;
        let mut again = Vec::new();
        for (index, item) in waiting.iter().zip(answer.items) {
            report.warnings += item.warnings.len() as u64;
            match (item.status, item.change) {
                (Status::Retry, _) => again.push(*index),
                (Status::Refused, _) => {
                    report.refused += 1;
                    if report.refusals.len() < REFUSALS_SHOWN {
                        report.refusals.push((first_row + *index as u64 + 1, item));
                    }
                }
                (Status::Accepted, Some(Change::Created)) => report.created += 1,
                (Status::Accepted, Some(Change::Updated)) => report.updated += 1,
                (Status::Accepted, _) => report.unchanged += 1,
            }
        }
        if again.is_empty() {
            return Ok(());
        }
        waiting = again;
        tokio::time::sleep(answer.retry_after.unwrap_or(PAUSE)).await;
    }
    Err(ImportError::Stopped(format!("no success in {MAX_ATTEMPTS} attempts")))
}

/// The rows of a file, some at a time, so that a file may be larger than the memory.
enum Rows<R: Read> {
    Csv { header: Vec<String>, reader: csv::Reader<R>, row: u64 },
    Ndjson(BufReader<R>),
}

#[derive(Default)]
struct Chunk {
    items: Vec<Vec<u8>>,
    bytes: u64,
}

impl<R: Read> Rows<R> {
    fn of(file: R, format: FileFormat) -> Result<Self, ImportError> {
        match format {
            FileFormat::Ndjson => Ok(Self::Ndjson(BufReader::new(file))),
            FileFormat::Csv => {
                let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(file);
                let header = reader.headers().map_err(|error| malformed(0, &error))?;
                let header = header.iter().map(|name| name.trim().to_owned()).collect();
                Ok(Self::Csv { header, reader, row: 0 })
            }
        }
    }

    fn next_chunk(&mut self) -> Result<Chunk, ImportError> {
        let mut chunk = Chunk::default();
        while chunk.items.len() < CHUNK {
            match self {
                Self::Ndjson(reader) => {
                    let mut line = Vec::new();
                    let read = reader.read_until(b'\n', &mut line)?;
                    if read == 0 {
                        break;
                    }
                    chunk.bytes += read as u64;
                    if !line.trim_ascii().is_empty() {
                        chunk.items.push(line.trim_ascii().to_vec());
                    }
                }
                Self::Csv { header, reader, row } => {
                    *row += 1;
                    let mut record = csv::StringRecord::new();
                    let before = reader.position().byte();
                    let more = reader.read_record(&mut record);
                    if !more.map_err(|error| malformed(*row, &error))? {
                        break;
                    }
                    chunk.bytes += reader.position().byte() - before;
                    chunk.items.push(item_of(header, &record));
                }
            }
        }
        Ok(chunk)
    }
}

fn item_of(header: &[String], record: &csv::StringRecord) -> Vec<u8> {
    let cells = header.iter().zip(record.iter());
    let said = cells.filter(|(_, cell)| !cell.trim().is_empty());
    let item: Map<String, Value> =
        said.map(|(name, cell)| (name.clone(), Value::String(cell.trim().to_owned()))).collect();
    Value::Object(item).to_string().into_bytes()
}

fn malformed(row: u64, error: &csv::Error) -> ImportError {
    ImportError::Malformed { row, what: error.to_string() }
}
