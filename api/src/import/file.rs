//! Files of a feed: one property a row or a line, in the shapes that `ingest` takes.
//!
//! A table without a column for the event type says how things are, so each reference stands in it
//! once: of several rows the last is sent, or every import would change the property back and
//! forth. To know which is the last, such a table is read twice, and of each reference a hash and
//! a line are kept meanwhile: some 40 bytes a row. Lines of JSON, and tables with that column, may
//! tell one thing after another about a property: all of them are sent, in their order.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::io::{self, BufRead, BufReader, Read, Seek};

use serde::Serializer as _;
use uuid::Uuid;

use super::{Counted, ImportError, MAX_ATTEMPTS, PAUSE, Progress};
use crate::ingest::{Change, Columns, Ingest, ItemAnswer, Notice, Sender, Status};

/// How many rows are handed over at once.
const CHUNK: usize = 1_000;

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileFormat {
    /// A table with a header; a column is a field, an empty cell says nothing. Columns are
    /// separated by commas, or by what the header has instead: semicolons or tabs.
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
    /// Rows that were left out, as a later one is about the same property.
    pub left_out: u64,
    /// Rows that were refused.
    pub refused: u64,
    /// What was wrong, by code.
    pub errors: BTreeMap<&'static str, u64>,
    /// What was bent, by code.
    pub warnings: BTreeMap<&'static str, u64>,
}

/// Imports properties from a file; a table imported again changes nothing.
///
/// - Shape: beside the file stands its size in bytes, for the progress. `on_row` is told what came
///   of each row and the line it begins on, counted from 1; those of one reference in their order.
/// - Errors: [`ImportError::NotATable`] when the header does not say whose rows these are. A row
///   that cannot be read is refused by itself.
pub async fn import_file(
    ingest: &Ingest,
    sender: &Sender<'_>,
    format: FileFormat,
    (mut file, bytes): (impl Read + Seek, u64),
    progress: &dyn Progress,
    on_row: &mut (dyn FnMut(u64, &ItemAnswer) + Send),
) -> Result<FileReport, ImportError> {
    let mut report = FileReport::default();
    let last_lines = last_lines(Rows::of(&mut file, format)?, sender)?;
    file.rewind()?;
    let mut rows = Rows::of(file, format)?;
    let mut unknown = HashSet::new();
    progress.begin("importing", bytes, Counted::Bytes);
    loop {
        let mut chunk = rows.next_chunk(sender)?;
        if chunk.items.is_empty() {
            progress.advance(chunk.bytes);
            break;
        }
        for item in &mut chunk.items {
            item.leave_out_unless_last(&last_lines);
        }
        let columns = rows.columns();
        let count = &mut |line, mut answer: ItemAnswer| {
            in_words_of_the_file(&mut answer, columns, &mut unknown);
            report.count(&answer);
            on_row(line, &answer);
        };
        store(ingest, sender, chunk.items, count).await?;
        progress.advance(chunk.bytes);
    }
    progress.finish();
    Ok(report)
}

/// On which line each property stands last, in a table that names each once.
fn last_lines<R: Read>(
    mut rows: Rows<R>,
    sender: &Sender<'_>,
) -> Result<HashMap<Uuid, u64>, ImportError> {
    let mut last_lines = HashMap::new();
    if rows.columns().is_none_or(|columns| columns.of_events) {
        return Ok(last_lines);
    }
    loop {
        let chunk = rows.next_chunk(sender)?;
        if chunk.items.is_empty() {
            return Ok(last_lines);
        }
        let about = chunk.items.iter().filter_map(|item| Some((item.property?, item.line)));
        last_lines.extend(about);
    }
}

/// Names columns as the file does, and says of a column once that nobody knows it.
///
/// That rows without an event type are taken as how things are needs no word: a file of properties
/// means nothing else.
fn in_words_of_the_file(
    answer: &mut ItemAnswer,
    columns: Option<&Columns>,
    unknown: &mut HashSet<String>,
) {
    if !columns.is_some_and(|columns| columns.of_events) {
        answer.warnings.retain(|notice| notice.code != "EVENT_TYPE_ASSUMED");
    }
    let Some(columns) = columns else { return };
    for notice in answer.errors.iter_mut().chain(&mut answer.warnings) {
        notice.field = notice.field.take().map(|field| columns.named(&field).to_owned());
    }
    answer.warnings.retain(|notice| match &notice.field {
        Some(field) if notice.code == "UNKNOWN_FIELD" => unknown.insert(field.clone()),
        _ => true,
    });
}

impl FileReport {
    /// How many rows the file had, as far as it could be read.
    pub fn rows(&self) -> u64 {
        self.created + self.updated + self.unchanged + self.left_out + self.refused
    }

    fn count(&mut self, item: &ItemAnswer) {
        *match (item.status, item.change) {
            (Status::Refused | Status::Retry, _) => &mut self.refused,
            (Status::Accepted, Some(Change::Created)) => &mut self.created,
            (Status::Accepted, Some(Change::Updated)) => &mut self.updated,
            (Status::Accepted, None) => &mut self.left_out,
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
    items: Vec<Item>,
    on_row: &mut (dyn FnMut(u64, ItemAnswer) + Send),
) -> Result<(), ImportError> {
    let mut waiting = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        match item.unsent {
            Some(Unsent::Refused(notice)) => {
                let mut answer = ItemAnswer::new(index, Status::Refused);
                answer.errors.push(notice);
                on_row(item.line, answer);
            }
            Some(Unsent::LeftOut(notice)) => {
                let mut answer = ItemAnswer::new(index, Status::Accepted);
                answer.warnings.push(notice);
                on_row(item.line, answer);
            }
            None => waiting.push(item),
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
            answer.warnings.extend(item.warning);
            on_row(item.line, answer);
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
    Csv {
        columns: Columns,
        reader: Box<csv::Reader<Quotes<R>>>,
        first: bool,
    },
    Ndjson {
        reader: BufReader<R>,
        line: u64,
    },
    /// A table without even a header.
    None,
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
    /// What it is about, in a table.
    property: Option<Uuid>,
    json: Vec<u8>,
    /// What was bent before it was sent.
    warning: Option<Notice>,
    unsent: Option<Unsent>,
}

/// Why a row is not handed over.
enum Unsent {
    Refused(Notice),
    /// A later row is about the same property.
    LeftOut(Notice),
}

impl Item {
    fn sent(line: u64, json: Vec<u8>) -> Self {
        Self { line, property: None, json, warning: None, unsent: None }
    }

    fn refused(line: u64, code: &'static str, message: impl Into<String>) -> Self {
        let unsent = Some(Unsent::Refused(Notice::new(code, message)));
        Self { unsent, ..Self::sent(line, Vec::new()) }
    }

    fn leave_out_unless_last(&mut self, last_lines: &HashMap<Uuid, u64>) {
        let last = self.property.and_then(|property| last_lines.get(&property));
        let Some(last) = last.filter(|last| **last != self.line) else { return };
        if self.unsent.is_none() {
            let message =
                format!("line {last} has the same reference and counts; this one was left out");
            self.unsent = Some(Unsent::LeftOut(Notice::new("DUPLICATE_REFERENCE", message)));
        }
    }
}

const NOT_UTF8: &str = "is not UTF-8 text; save the file as UTF-8";

impl<R: Read + Seek> Rows<R> {
    fn of(mut file: R, format: FileFormat) -> Result<Self, ImportError> {
        if format == FileFormat::Ndjson {
            return Ok(Self::Ndjson { reader: BufReader::new(file), line: 0 });
        }
        let delimiter = delimiter_of(&mut file)?;
        let quotes = Quotes::of(file, delimiter);
        let mut builder = csv::ReaderBuilder::new();
        let mut reader = builder.flexible(true).delimiter(delimiter).from_reader(quotes);
        let header = reader.byte_headers().map_err(io::Error::from)?.clone();
        if reader.get_ref().unclosed().is_some() {
            let what = "the header opens a quote that is never closed";
            return Err(ImportError::NotATable(what.into()));
        }
        let header = csv::StringRecord::from_byte_record(header)
            .map_err(|_| ImportError::NotATable(format!("the header, line 1, {NOT_UTF8}")))?;
        if header.iter().all(|name| name.trim().is_empty()) && reader.is_done() {
            return Ok(Self::None);
        }
        let names: Vec<String> = header.iter().map(|name| name.trim().to_owned()).collect();
        let columns = Columns::of(names).ok_or_else(|| {
            let shown: String = header.iter().collect::<Vec<_>>().join(", ");
            let shown: String = shown.chars().take(100).collect();
            let what = "no column of the header is your reference of the property; name one \
                        property_id or reference, and separate columns by commas";
            ImportError::NotATable(format!("{what} (the header is: {shown})"))
        })?;
        Ok(Self::Csv { columns, reader: Box::new(reader), first: true })
    }
}

impl<R: Read> Rows<R> {
    fn columns(&self) -> Option<&Columns> {
        match self {
            Self::Csv { columns, .. } => Some(columns),
            Self::Ndjson { .. } | Self::None => None,
        }
    }

    fn next_chunk(&mut self, sender: &Sender<'_>) -> Result<Chunk, ImportError> {
        let mut chunk = Chunk::default();
        while chunk.items.len() < CHUNK {
            match self {
                Self::None => break,
                Self::Ndjson { reader, line } => {
                    let mut text = Vec::new();
                    let read = reader.read_until(b'\n', &mut text)?;
                    if read == 0 {
                        break;
                    }
                    *line += 1;
                    chunk.bytes += read as u64;
                    let json = text.trim_ascii();
                    if json.is_empty() {
                        continue;
                    }
                    chunk.items.push(match std::str::from_utf8(json) {
                        Ok(_) => Item::sent(*line, json.to_vec()),
                        Err(_) => Item::refused(*line, "NOT_UTF8", format!("the line {NOT_UTF8}")),
                    });
                }
                Self::Csv { columns, reader, first } => {
                    let mut record = csv::ByteRecord::new();
                    // The header goes with the first row.
                    let before = if *first { 0 } else { reader.position().byte() };
                    *first = false;
                    let more = reader.read_byte_record(&mut record).map_err(io::Error::from)?;
                    let after = reader.position().byte();
                    chunk.bytes += after - before;
                    if !more {
                        break;
                    }
                    let quotes = reader.get_mut();
                    let line = quotes.row_before(after);
                    let flaws = [quotes.unclosed(), quotes.misplaced_before(after)];
                    chunk.items.push(item_of(columns, record, sender, line, flaws));
                }
            }
        }
        Ok(chunk)
    }
}

/// What separates the columns of a table: a comma, unless its first line has none.
fn delimiter_of(file: &mut (impl Read + Seek)) -> io::Result<u8> {
    const LONGEST: u64 = 1 << 20;
    let mut line = Vec::new();
    BufReader::new(file.by_ref().take(LONGEST)).read_until(b'\n', &mut line)?;
    file.rewind()?;
    Ok([b',', b';', b'\t'].into_iter().find(|one| line.contains(one)).unwrap_or(b','))
}

/// A row by its columns; of quotes that are not closed, or not where they should be, the lines.
fn item_of(
    columns: &Columns,
    record: csv::ByteRecord,
    sender: &Sender<'_>,
    line: u64,
    [unclosed, misplaced]: [Option<u64>; 2],
) -> Item {
    if let Some(opened) = unclosed {
        let message = format!(
            "the quote that line {opened} opens is never closed; nothing from line {line} on was \
             read"
        );
        return Item::refused(line, "UNCLOSED_QUOTE", message);
    }
    if let Some(opened) = misplaced {
        let message = format!(
            "the quote that line {opened} opens is closed in the middle of a cell, so it may have \
             swallowed other rows; quote whole cells, and write a quote inside one twice"
        );
        return Item::refused(line, "MISPLACED_QUOTE", message);
    }
    let Ok(record) = csv::StringRecord::from_byte_record(record) else {
        return Item::refused(line, "NOT_UTF8", format!("the row {NOT_UTF8}"));
    };
    let (wanted, there) = (columns.names().len(), record.len());
    let counts = format!("the row has {there} cells and the header {wanted}");
    if record.iter().skip(wanted).any(|cell| !cell.trim().is_empty()) {
        let message = format!("{counts}; put quotes around cells with separators");
        return Item::refused(line, "CELLS_TOO_MANY", message);
    }
    let missing = format!("{counts}; the last ones say nothing");
    let warning = (there < wanted).then(|| Notice::new("CELLS_MISSING", missing));
    let property = columns.property_of(|place| record.get(place)).map(|(source, reference)| {
        let source = source.or(sender.source).unwrap_or_default();
        Uuid::new_v5(&Uuid::nil(), format!("{source}/{reference}").as_bytes())
    });
    Item { property, warning, ..Item::sent(line, json_of(columns.names(), &record)) }
}

fn json_of(header: &[String], record: &csv::StringRecord) -> Vec<u8> {
    let cells = header.iter().zip(record.iter());
    let said = cells.filter(|(_, cell)| !cell.trim().is_empty());
    let mut json = Vec::new();
    // A name that stands twice in the header is for whoever reads the item to judge.
    serde_json::Serializer::new(&mut json)
        .collect_map(said.map(|(name, cell)| (name, cell.trim())))
        .expect("texts have a JSON form, and memory takes it");
    json
}

/// Watches the quotes of a table while it is read: the parser takes whatever comes, and one quote
/// that is forgotten makes a cell of all rows up to the next. Counts lines too, as the parser takes
/// the end of a line that ends in two characters for part of the next row.
struct Quotes<R> {
    file: R,
    delimiter: u8,
    place: Place,
    offset: u64,
    line: u64,
    after_return: bool,
    /// The line of the last quote that was opened.
    opened: u64,
    ended: bool,
    /// Beginnings of rows, where they are and on which line; as far ahead of the parser as its
    /// buffer.
    rows: VecDeque<(u64, u64)>,
    /// The same of quotes that end in the middle of cells, with the line where they began.
    misplaced: VecDeque<(u64, u64)>,
}

/// Where in a table a byte stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    RowStart,
    CellStart,
    Plain,
    Quoted,
    /// After a quote that ends the cell, or is the first of two that mean one.
    Closed,
    /// After that and a space.
    Padding,
}

impl<R> Quotes<R> {
    fn of(file: R, delimiter: u8) -> Self {
        Self {
            file,
            delimiter,
            place: Place::RowStart,
            offset: 0,
            line: 1,
            after_return: false,
            opened: 1,
            ended: false,
            rows: VecDeque::new(),
            misplaced: VecDeque::new(),
        }
    }

    /// The line of the quote in which the file ended.
    fn unclosed(&self) -> Option<u64> {
        (self.ended && self.place == Place::Quoted).then_some(self.opened)
    }

    /// The line of the first quote that ended in the middle of a cell, not asked for before.
    fn misplaced_before(&mut self, offset: u64) -> Option<u64> {
        let count = self.misplaced.partition_point(|(at, _)| *at <= offset);
        self.misplaced.drain(..count).map(|(_, line)| line).min()
    }

    /// The line on which the last row before `offset` begins.
    fn row_before(&mut self, offset: u64) -> u64 {
        let count = self.rows.partition_point(|(at, _)| *at <= offset);
        self.rows.drain(..count).map(|(_, line)| line).max().unwrap_or(self.line)
    }

    fn watch(&mut self, byte: u8) {
        use Place as P;
        self.offset += 1;
        let ends_line = matches!(byte, b'\n' | b'\r');
        if self.place == P::RowStart && !ends_line {
            self.rows.push_back((self.offset, self.line));
        }
        self.place = match (self.place, byte) {
            // A byte order mark is not part of the first cell.
            (P::RowStart, 0xEF | 0xBB | 0xBF) if self.offset <= 3 => P::RowStart,
            (P::RowStart | P::CellStart, b'"') => {
                self.opened = self.line;
                P::Quoted
            }
            (P::Quoted, b'"') => P::Closed,
            (P::Quoted, _) | (P::Closed, b'"') => P::Quoted,
            _ if ends_line => P::RowStart,
            (_, byte) if byte == self.delimiter => P::CellStart,
            (P::Closed | P::Padding, b' ') => P::Padding,
            (P::Closed | P::Padding, _) => {
                self.misplaced.push_back((self.offset, self.opened));
                P::Plain
            }
            (P::RowStart | P::CellStart | P::Plain, _) => P::Plain,
        };
        self.line += u64::from(ends_line && !(byte == b'\n' && self.after_return));
        self.after_return = byte == b'\r';
    }
}

impl<R: Read> Read for Quotes<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.ended = read == 0;
        for byte in &buffer[..read] {
            self.watch(*byte);
        }
        Ok(read)
    }
}
