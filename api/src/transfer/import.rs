//! From lines into a store.

use std::io::BufRead;
use std::num::NonZeroU32;
use std::sync::Arc;

use freehold_ports::{
    EventCodec, EventFilter, GlobalPosition, LogName, RecordedAnswer, RecordedEvent, RestoreBatch,
    SystemClock,
};
use freehold_projections::{Projections, models};
use tokio::sync::mpsc;

use super::export::{
    BATCH_BYTES, BATCH_EVENTS, FORMAT, Header, LogBegin, LogEnd, TIMES, read_back,
};
use super::lines::{Line, LineReader};
use super::record::{RecordReader, Wrong};
use super::{LogMoved, Ports, TransferError, keys, master_key_check};
use crate::import::{Counted, Progress};

/// A file of logs whose first line was read.
pub struct LogFile<R> {
    lines: LineReader<R>,
    master_key_check: String,
    logs: Vec<(LogName, u64)>,
}

impl<R: BufRead> LogFile<R> {
    /// Reads the first line.
    pub fn open(input: R) -> Result<Self, TransferError> {
        let mut lines = LineReader::new(input);
        let no_export = |what: String| TransferError::NotAnExport { command: "events", what };
        let header: Header = match lines.next()? {
            Line::Record(line) => {
                serde_json::from_slice(line).map_err(|error| no_export(error.to_string()))?
            }
            Line::Checked | Line::End => return Err(no_export("is another line".into())),
        };
        if header.freehold_logs != FORMAT || header.times != TIMES {
            let format = header.freehold_logs;
            let what = format!("says format {format}, this program reads {FORMAT}; use another");
            return Err(no_export(what));
        }
        match lines.next()? {
            Line::Checked => {}
            Line::Record(_) | Line::End => return Err(no_export("has no check behind it".into())),
        }
        let named = header.logs.iter().map(|LogBegin { log, events }| {
            let name = log.parse().map_err(|error| no_export(format!("names a log: {error}")))?;
            Ok::<_, TransferError>((name, *events))
        });
        let logs = named.collect::<Result<_, _>>()?;
        Ok(Self { lines, master_key_check: header.master_key_check, logs })
    }

    /// The logs in it, and how many events each has.
    pub fn logs(&self) -> &[(LogName, u64)] {
        &self.logs
    }
}

/// Puts the logs of a file into a store whose logs of that name are empty, or hold the beginning
/// of those in the file, and compares all of them afterwards.
pub async fn import_logs<R: BufRead + Send + 'static>(
    ports: &Ports,
    file: LogFile<R>,
    progress: &dyn Progress,
) -> Result<Vec<LogMoved>, TransferError> {
    let same_master_key = file.master_key_check == master_key_check(ports);
    let mut heads = Vec::new();
    for (log, events) in &file.logs {
        let head = ports.events.head(log).await?;
        // Nobody is to think about the key of a store that is in use.
        if !same_master_key && head.0 > 0 {
            let what = format!("{head} events under another master key");
            return Err(TransferError::NotAPrefix { log: log.clone(), what });
        }
        if head.0 > *events {
            let what = format!("{head} events, the file {events}");
            return Err(TransferError::NotAPrefix { log: log.clone(), what });
        }
        check_read_models(ports, log, head).await?;
        heads.push(head);
    }
    if !same_master_key {
        return Err(TransferError::OtherMasterKey);
    }
    if let Some(vault) = &ports.keys {
        vault.keep_master_key().await?;
    }
    if heads.iter().any(|head| head.0 == 0) {
        // Whatever states are there, they are not those of these logs; they are made again.
        ports.snapshots.clear().await?;
    }
    let logs = file.logs.clone();
    // The next batch is read while one is stored.
    let (parts, given) = mpsc::channel(2);
    let reader = tokio::task::spawn_blocking(move || read_file(file, &parts));
    let stored = store_parts(ports, &logs, &heads, given, progress).await;
    let read = reader.await.map_err(|_| TransferError::Ended)?;
    let moved = match (stored, read) {
        (Err(TransferError::Ended), Err(why)) | (Ok(_), Err(why)) => return Err(why),
        (stored, _) => stored?,
    };
    keys::destroy_shredded(ports).await?;
    compare(ports, &moved, progress).await?;
    Ok(moved)
}

/// Refuses a store whose read models have seen what its log does not hold.
async fn check_read_models(
    ports: &Ports,
    log: &LogName,
    head: GlobalPosition,
) -> Result<(), TransferError> {
    let Ports { events, models, vault, .. } = ports.clone();
    let codec = EventCodec::new(vault);
    let all = models::all(Projections::new(events, models, codec, Arc::new(SystemClock)));
    let of_log = all.statuses().into_iter().filter(|one| one.log == *log);
    for projection in of_log.map(|status| status.name) {
        let generations = ports.models.generations(projection).await?;
        let ahead = generations.iter().find(|generation| generation.checkpoint > head);
        if let Some(checkpoint) = ahead.map(|generation| generation.checkpoint) {
            let log = log.clone();
            return Err(TransferError::OtherReadModel { projection, checkpoint, log, head });
        }
    }
    Ok(())
}

/// Whether the store now holds what the file says it holds.
async fn compare(
    ports: &Ports,
    moved: &[LogMoved],
    progress: &dyn Progress,
) -> Result<(), TransferError> {
    let logs: Vec<LogName> = moved.iter().map(|moved| moved.log.clone()).collect();
    for (here, there) in read_back(ports, &logs, progress).await?.into_iter().zip(moved) {
        if (here.events, &here.hash) != (there.events, &there.hash) {
            let what = format!(
                "{} events with hash {}, the file has {} with {}",
                here.events, here.hash, there.events, there.hash
            );
            return Err(TransferError::NotEqual { log: here.log, what });
        }
    }
    Ok(())
}

/// What is handed from the reader of a file to whoever stores it.
enum Part {
    Batch(RestoreBatch),
    End(LogEnd),
}

async fn store_parts(
    ports: &Ports,
    logs: &[(LogName, u64)],
    heads: &[GlobalPosition],
    mut parts: mpsc::Receiver<Part>,
    progress: &dyn Progress,
) -> Result<Vec<LogMoved>, TransferError> {
    let mut moved = Vec::new();
    for ((log, events), head) in logs.iter().zip(heads) {
        progress.begin(log.as_str(), *events, Counted::Rows);
        loop {
            match parts.recv().await.ok_or(TransferError::Ended)? {
                Part::Batch(batch) => {
                    let count = batch.events.len() as u64;
                    restore(ports, log, *head, batch).await?;
                    progress.advance(count);
                }
                Part::End(LogEnd { events, answers, hash, .. }) => {
                    moved.push(LogMoved { log: log.clone(), events, answers, hash });
                    break;
                }
            }
        }
    }
    progress.finish();
    Ok(moved)
}

/// Stores what of a batch comes after the head that the log had, and compares what comes before.
async fn restore(
    ports: &Ports,
    log: &LogName,
    head: GlobalPosition,
    mut batch: RestoreBatch,
) -> Result<(), TransferError> {
    let new = batch.events.partition_point(|event| event.position <= head);
    compare_stored(ports, log, &batch.events[..new]).await?;
    batch.events.drain(..new);
    // Those of events that are stored were stored with them.
    batch.answers.retain(|one| one.answer.events == 0 || one.answer.position > head);
    if batch.events.is_empty() && batch.answers.is_empty() {
        return Ok(());
    }
    Ok(ports.restore.restore(log, batch).await?)
}

async fn compare_stored(
    ports: &Ports,
    log: &LogName,
    mut expected: &[RecordedEvent],
) -> Result<(), TransferError> {
    while let Some(first) = expected.first() {
        let after = GlobalPosition(first.position.0.saturating_sub(1));
        let limit = u32::try_from(expected.len()).ok().and_then(NonZeroU32::new);
        let limit = limit.unwrap_or(NonZeroU32::MIN);
        let page = ports.events.read_all(log, &EventFilter::all(), after, limit).await?;
        let differs = page.events.iter().zip(expected).find(|(here, there)| here != there);
        if let (true, None) = (!page.events.is_empty(), differs) {
            expected = &expected[page.events.len().min(expected.len())..];
            continue;
        }
        let at = differs.map_or(first.position, |(_, there)| there.position);
        let what = format!("another event at position {at} than the file");
        return Err(TransferError::NotAPrefix { log: log.clone(), what });
    }
    Ok(())
}

/// Reads all of a file, and hands over each batch once its check agrees.
fn read_file<R: BufRead>(
    file: LogFile<R>,
    parts: &mpsc::Sender<Part>,
) -> Result<(), TransferError> {
    let LogFile { mut lines, logs, .. } = file;
    let give = |part| parts.blocking_send(part).map_err(|_| TransferError::Ended);
    let mut records = RecordReader::default();
    for (log, events) in &logs {
        let begin = LogBegin { log: log.to_string(), events: *events };
        expect_begin(&mut lines, &begin)?;
        let mut log = LogReader { next: 1, ..LogReader::default() };
        loop {
            match lines.next()? {
                Line::Checked => {
                    give(Part::Batch(log.take_batch()))?;
                    if let Some(end) = log.end.take() {
                        give(Part::End(end))?;
                        break;
                    }
                }
                Line::End => return Err(lines.wrong(None, "ends the file within a log")),
                Line::Record(line) => {
                    let read = log.read(line, &mut records, &begin);
                    read.map_err(|(field, what)| lines.wrong(field, what))?;
                }
            }
        }
    }
    match lines.next()? {
        Line::End => Ok(()),
        Line::Checked | Line::Record(_) => Err(lines.wrong(None, "follows the last log")),
    }
}

fn expect_begin<R: BufRead>(
    lines: &mut LineReader<R>,
    begin: &LogBegin,
) -> Result<(), TransferError> {
    let begins = match lines.next()? {
        Line::Record(line) => serde_json::from_slice::<LogBegin>(line).is_ok_and(|it| it == *begin),
        Line::Checked | Line::End => false,
    };
    match begins {
        true => Ok(()),
        false => Err(lines.wrong(None, format!("should begin the log {}", begin.log))),
    }
}

/// What was read of one log.
#[derive(Default)]
struct LogReader {
    batch: RestoreBatch,
    batch_bytes: usize,
    /// The position that comes next.
    next: u64,
    answers: u64,
    end: Option<LogEnd>,
}

impl LogReader {
    fn take_batch(&mut self) -> RestoreBatch {
        self.batch_bytes = 0;
        std::mem::take(&mut self.batch)
    }

    fn read(
        &mut self,
        line: &[u8],
        records: &mut RecordReader,
        begin: &LogBegin,
    ) -> Result<(), Wrong> {
        if self.end.is_some() {
            return Err((None, "follows the end of its log without a check".into()));
        }
        if line.starts_with(b"{\"log_end\":") {
            let end: LogEnd =
                serde_json::from_slice(line).map_err(|error| (None, error.to_string()))?;
            let (events, answers) = (self.next - 1, self.answers);
            let counts = (end.log_end.as_str(), end.events, end.answers);
            if counts != (begin.log.as_str(), events, answers) || events != begin.events {
                let what = format!(
                    "should end the log {} with {} events and {answers} answers",
                    begin.log, begin.events
                );
                return Err((None, what));
            }
            self.end = Some(end);
            return Ok(());
        }
        let full = self.batch.events.len() + self.batch.answers.len() > 2 * BATCH_EVENTS
            || self.batch_bytes > 2 * BATCH_BYTES;
        if full {
            return Err((None, "is too far from the last check".into()));
        }
        self.batch_bytes += line.len();
        if !RecordReader::is_event(line) {
            self.push_answer(records.answer(line)?);
            return Ok(());
        }
        let (event, answer) = records.event(line)?;
        if event.position.0 != self.next {
            let (next, found) = (self.next, event.position);
            return Err((Some("position"), format!("is {found}, {next} comes next")));
        }
        self.next += 1;
        self.batch.events.push(event);
        answer.into_iter().for_each(|answer| self.push_answer(answer));
        Ok(())
    }

    fn push_answer(&mut self, answer: RecordedAnswer) {
        self.answers += 1;
        self.batch.answers.push(answer);
    }
}
