//! Files of a feed: one property a row or a line, in the shapes that `ingest` takes.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};

use serde::Serializer as _;

use super::{Counted, ImportError, MAX_ATTEMPTS, PAUSE, Progress};
use crate::ingest::{Change, Ingest, ItemAnswer, Notice, Sender, Status};

/// How many rows are handed over at once.
const CHUNK: usize = 1_000;

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
    /// What was wrong, by code.
    pub errors: BTreeMap<&'static str, u64>,
    /// What was bent, by code.
    pub warnings: BTreeMap<&'static str, u64>,
}

/// Imports properties from a file; again it changes nothing.
///
/// - Shape: beside the file stands its size in bytes, for the progress. `on_row` is told what came
///   of each row and the line it begins on, counted from 1; those of one reference in their order.
pub async fn import_file(
    ingest: &Ingest,
    sender: &Sender<'_>,
    format: FileFormat,
    (file, bytes): (impl Read, u64),
    progress: &dyn Progress,
    on_row: &mut (dyn FnMut(u64, &ItemAnswer) + Send),
) -> Result<FileReport, ImportError> {
    let mut report = FileReport::default();
    let mut rows = Rows::of(file, format)?;
    progress.begin("importing", bytes, Counted::Bytes);
    loop {
        let chunk = rows.next_chunk()?;
        if chunk.items.is_empty() {
            progress.advance(chunk.bytes);
            break;
        }
        let count = &mut |line, answer: &ItemAnswer| {
            report.count(answer);
            on_row(line, answer);
        };
        store(ingest, sender, &chunk.items, count).await?;
        progress.advance(chunk.bytes);
    }
    progress.finish();
    Ok(report)
}

impl FileReport {
    fn count(&mut self, item: &ItemAnswer) {
        *match (item.status, item.change) {
            (Status::Refused | Status::Retry, _) => &mut self.refused,
            (Status::Accepted, Some(Change::Created)) => &mut self.created,
            (Status::Accepted, Some(Change::Updated)) => &mut self.updated,
            (Status::Accepted, _) => &mut self.unchanged,
        } += 1;
        let all = [(&item.errors, &mut self.errors), (&item.warnings, &mut self.warnings)];
        for (notices, by_code) in all {
            for notice in notices {
                *by_code.entry(notice.code).or_default() += 1;
            }
        }
    }
}

/// Stores items, sending again what the log does not take yet, in their order.
async fn store(
    ingest: &Ingest,
    sender: &Sender<'_>,
    items: &[Item],
    on_row: &mut (dyn FnMut(u64, &ItemAnswer) + Send),
) -> Result<(), ImportError> {
    let mut waiting = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        match &item.cells {
            Cells::TooMany(notice) => {
                let mut answer = ItemAnswer::new(index, Status::Refused);
                answer.errors.push(notice.clone());
                on_row(item.line, &answer);
            }
            Cells::Missing(_) | Cells::Right => waiting.push(item),
        }
    }
    for _ in 0..MAX_ATTEMPTS {
        let sent: Vec<&[u8]> = waiting.iter().map(|item| &*item.json).collect();
        let answer = ingest.property(sender, &sent).await;
        let mut again = Vec::new();
        for (item, mut answer) in waiting.into_iter().zip(answer.items) {
            if answer.status == Status::Retry {
                again.push(item);
                continue;
            }
            if let Cells::Missing(notice) = &item.cells {
                answer.warnings.push(notice.clone());
            }
            on_row(item.line, &answer);
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
    Ndjson { reader: BufReader<R>, line: u64 },
}

#[derive(Default)]
struct Chunk {
    items: Vec<Item>,
    bytes: u64,
}

/// A row, as it is handed over.
struct Item {
    /// The line it begins on.
    line: u64,
    json: Vec<u8>,
    cells: Cells,
}

/// How many cells a row has, beside its header.
enum Cells {
    Right,
    /// The last ones say nothing.
    Missing(Notice),
    /// Nobody knows which of them belongs where.
    TooMany(Notice),
}

impl<R: Read> Rows<R> {
    fn of(file: R, format: FileFormat) -> Result<Self, ImportError> {
        match format {
            FileFormat::Ndjson => Ok(Self::Ndjson { reader: BufReader::new(file), line: 0 }),
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
                Self::Ndjson { reader, line } => {
                    let mut text = Vec::new();
                    let read = reader.read_until(b'\n', &mut text)?;
                    if read == 0 {
                        break;
                    }
                    *line += 1;
                    chunk.bytes += read as u64;
                    let json = text.trim_ascii().to_vec();
                    if !json.is_empty() {
                        chunk.items.push(Item { line: *line, json, cells: Cells::Right });
                    }
                }
                Self::Csv { header, reader, row } => {
                    *row += 1;
                    let mut record = csv::StringRecord::new();
                    // The header goes with the first row.
                    let before = if *row == 1 { 0 } else { reader.position().byte() };
                    let more = reader.read_record(&mut record);
                    let more = more.map_err(|error| malformed(*row, &error))?;
                    chunk.bytes += reader.position().byte() - before;
                    if !more {
                        break;
                    }
                    let line = record.position().map_or(0, csv::Position::line);
                    let (json, cells) = (item_of(header, &record), cells(header, &record));
                    chunk.items.push(Item { line, json, cells });
                }
            }
        }
        Ok(chunk)
    }
}

fn item_of(header: &[String], record: &csv::StringRecord) -> Vec<u8> {
    let cells = header.iter().zip(record.iter());
    let said = cells.filter(|(_, cell)| !cell.trim().is_empty());
    let mut json = Vec::new();
    // A name that stands twice in the header is for whoever reads the item to judge.
    serde_json::Serializer::new(&mut json)
        .collect_map(said.map(|(name, cell)| (name, cell.trim())))
        .expect("texts have a JSON form, and memory takes it");
    json
}

fn cells(header: &[String], record: &csv::StringRecord) -> Cells {
    let (wanted, there) = (header.len(), record.len());
    let counts = format!("the row has {there} cells and the header {wanted}");
    if there < wanted {
        let message = format!("{counts}; the last ones say nothing");
        return Cells::Missing(Notice::new("CELLS_MISSING", message));
    }
    if record.iter().skip(wanted).any(|cell| !cell.trim().is_empty()) {
        let message = format!("{counts}; put quotes around cells with commas");
        return Cells::TooMany(Notice::new("CELLS_TOO_MANY", message));
    }
    Cells::Right
}

fn malformed(row: u64, error: &csv::Error) -> ImportError {
    ImportError::Malformed { row, what: error.to_string() }
}
