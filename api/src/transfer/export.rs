//! From a store into lines.

use std::collections::HashMap;
use std::io::Write;
use std::num::NonZeroU32;

use freehold_ports::{
    CommandId, EventFilter, GlobalPosition, LogName, RecordedAnswer, RecordedEvent,
};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::lines::{LineWriter, hash_of};
use super::record::{add_answer, write_answer, write_event};
use super::{LogMoved, Ports, TransferError, master_key_check};
use crate::import::{Counted, Progress};

/// What stands before a check line at most, events and bytes: so much is held when it is read.
pub(super) const BATCH_EVENTS: usize = 4_000;
pub(super) const BATCH_BYTES: usize = 8 << 20;

/// The events of a page as long as payloads are small, and the bytes of one when they are not.
const PAGE_EVENTS: u64 = 4_000;
const PAGE_BYTES: u64 = 8 << 20;

const ANSWERS: NonZeroU32 = NonZeroU32::new(4_000).expect("it is not zero");

/// The format's version.
pub(super) const FORMAT: u32 = 1;
pub(super) const TIMES: &str = "microseconds since 1970-01-01T00:00:00Z";

/// The first line.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Header {
    pub(super) freehold_logs: u32,
    pub(super) times: String,
    pub(super) master_key_check: String,
    pub(super) logs: Vec<LogBegin>,
}

/// A log, and how many events it has; in the first line, and before its events.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LogBegin {
    pub(super) log: String,
    pub(super) events: u64,
}

/// After the events of a log: what they were in all.
#[derive(Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LogEnd {
    pub(super) log_end: String,
    pub(super) events: u64,
    pub(super) answers: u64,
    pub(super) hash: String,
}

/// Writes logs as they are now, whole, while others may go on appending to them.
pub async fn export_logs<W: Write + Send + 'static>(
    ports: &Ports,
    logs: &[LogName],
    out: W,
    progress: &dyn Progress,
) -> Result<(Vec<LogMoved>, W), TransferError> {
    run(ports, logs, out, progress, "", true).await
}

/// What the logs of a store hold, as an export of them would say; answers are not looked at.
pub(super) async fn read_back(
    ports: &Ports,
    logs: &[LogName],
    progress: &dyn Progress,
) -> Result<Vec<LogMoved>, TransferError> {
    Ok(run(ports, logs, std::io::sink(), progress, "compare ", false).await?.0)
}

async fn run<W: Write + Send + 'static>(
    ports: &Ports,
    logs: &[LogName],
    out: W,
    progress: &dyn Progress,
    part: &str,
    with_answers: bool,
) -> Result<(Vec<LogMoved>, W), TransferError> {
    let mut begins = Vec::new();
    for log in logs {
        begins.push(LogBegin { log: log.to_string(), events: ports.events.head(log).await?.0 });
    }
    let header = Header {
        freehold_logs: FORMAT,
        times: TIMES.to_owned(),
        master_key_check: master_key_check(ports),
        logs: begins.clone(),
    };
    // Lines are made while the next page is read.
    let (pages, given) = mpsc::channel(2);
    let writer = tokio::task::spawn_blocking(move || write(out, &header, given));
    let read = read_logs(ports, logs, &begins, &pages, progress, part, with_answers).await;
    drop(pages);
    let written = writer.await.map_err(|_| TransferError::Ended)?;
    // One that ends makes the other end too; the first of them knows why.
    match read {
        Ok(()) | Err(TransferError::Ended) => {}
        Err(why) => return Err(why),
    }
    let (moved, out) = written.map_err(TransferError::Unwritable)?;
    progress.finish();
    let moved = logs.iter().zip(moved).map(|(log, end)| LogMoved {
        log: log.clone(),
        events: end.events,
        answers: end.answers,
        hash: end.hash,
    });
    Ok((moved.collect(), out))
}

/// What is handed from the reader of a store to the writer of lines.
enum Page {
    Begin(LogBegin),
    Events(Vec<RecordedEvent>, Vec<RecordedAnswer>),
    Answers(Vec<RecordedAnswer>),
    End,
    /// Every log was read to its end.
    Whole,
}

async fn read_logs(
    ports: &Ports,
    logs: &[LogName],
    begins: &[LogBegin],
    pages: &mpsc::Sender<Page>,
    progress: &dyn Progress,
    part: &str,
    with_answers: bool,
) -> Result<(), TransferError> {
    let give = async |page| pages.send(page).await.map_err(|_| TransferError::Ended);
    for (log, begin) in logs.iter().zip(begins) {
        progress.begin(&format!("{part}{log}"), begin.events, Counted::Rows);
        give(Page::Begin(begin.clone())).await?;
        let mut read = 0;
        let mut limit = PAGE_EVENTS / 16;
        while read < begin.events {
            let at_most = limit.min(begin.events - read);
            let at_most = u32::try_from(at_most).ok().and_then(NonZeroU32::new);
            let page = ports
                .events
                .read_all(
                    log,
                    &EventFilter::all(),
                    GlobalPosition(read),
                    at_most.unwrap_or(NonZeroU32::MIN),
                )
                .await?;
            let Some(last) = page.events.last() else {
                let (log, what) = (log.clone(), format!("it ends at {read} all of a sudden"));
                return Err(TransferError::NotEqual { log, what });
            };
            read = last.position.0;
            progress.advance(page.events.len() as u64);
            let bytes: u64 = page.events.iter().map(|e| 512 + e.payload.len() as u64).sum();
            limit = (PAGE_BYTES * page.events.len() as u64 / bytes).clamp(16, PAGE_EVENTS);
            let answers = match with_answers {
                true => {
                    let mut commands: Vec<CommandId> =
                        page.events.iter().map(|event| event.command_id).collect();
                    commands.dedup();
                    ports.restore.answers(log, &commands).await?
                }
                false => Vec::new(),
            };
            give(Page::Events(page.events, answers)).await?;
        }
        let (mut after, mut more) = (None, with_answers);
        while more {
            let answers = ports.restore.answers_without_events(log, after, ANSWERS).await?;
            after = answers.last().map(|last| last.command_id);
            more = after.is_some();
            let known = |answer: &RecordedAnswer| answer.answer.position.0 <= begin.events;
            give(Page::Answers(answers.into_iter().filter(known).collect())).await?;
        }
        give(Page::End).await?;
    }
    give(Page::Whole).await
}

fn write<W: Write>(
    out: W,
    header: &Header,
    mut pages: mpsc::Receiver<Page>,
) -> std::io::Result<(Vec<LogEnd>, W)> {
    let mut lines = LineWriter::new(out);
    lines.line(&serde_json::to_vec(header)?)?;
    lines.check()?;
    let mut ended = Vec::new();
    let mut log = LogWriter::default();
    while let Some(page) = pages.blocking_recv() {
        match page {
            Page::Begin(begin) => {
                lines.line(&serde_json::to_vec(&begin)?)?;
                log = LogWriter { name: begin.log, ..LogWriter::default() };
            }
            Page::Events(events, answers) => {
                let answers: HashMap<GlobalPosition, RecordedAnswer> =
                    answers.into_iter().map(|answer| (answer.answer.position, answer)).collect();
                for event in &events {
                    let answer = answers.get(&event.position);
                    let answer = answer.filter(|answer| answer.command_id == event.command_id);
                    log.event(&mut lines, event, answer)?;
                }
            }
            Page::Answers(answers) => {
                answers.iter().try_for_each(|answer| log.answer(&mut lines, answer))?;
            }
            Page::End => {
                let end = log.end();
                lines.line(&serde_json::to_vec(&end)?)?;
                lines.check()?;
                ended.push(end);
            }
            Page::Whole => {
                let mut out = lines.end()?;
                out.flush()?;
                return Ok((ended, out));
            }
        }
    }
    Err(std::io::Error::other("the log was not read to its end"))
}

/// Counts and hashes one log.
#[derive(Default)]
struct LogWriter {
    name: String,
    events: u64,
    answers: u64,
    hash: blake3::Hasher,
    line: Vec<u8>,
    /// Since the last check.
    batch_lines: usize,
    batch_bytes: usize,
}

impl LogWriter {
    fn event<W: Write>(
        &mut self,
        lines: &mut LineWriter<W>,
        event: &RecordedEvent,
        answer: Option<&RecordedAnswer>,
    ) -> std::io::Result<()> {
        self.line.clear();
        write_event(event, &mut self.line);
        self.hash.update(&self.line).update(b"\n");
        self.events += 1;
        if let Some(answer) = answer {
            add_answer(&mut self.line, answer);
            self.answers += 1;
        }
        self.line_done(lines)
    }

    fn answer<W: Write>(
        &mut self,
        lines: &mut LineWriter<W>,
        answer: &RecordedAnswer,
    ) -> std::io::Result<()> {
        self.line.clear();
        write_answer(answer, &mut self.line);
        self.answers += 1;
        self.line_done(lines)
    }

    fn line_done<W: Write>(&mut self, lines: &mut LineWriter<W>) -> std::io::Result<()> {
        lines.line(&self.line)?;
        self.batch_lines += 1;
        self.batch_bytes += self.line.len();
        if self.batch_lines >= BATCH_EVENTS || self.batch_bytes >= BATCH_BYTES {
            lines.check()?;
            (self.batch_lines, self.batch_bytes) = (0, 0);
        }
        Ok(())
    }

    fn end(&self) -> LogEnd {
        LogEnd {
            log_end: self.name.clone(),
            events: self.events,
            answers: self.answers,
            hash: hash_of(&self.hash),
        }
    }
}
