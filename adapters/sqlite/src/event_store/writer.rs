//! The one thread that writes: takes what waits, decides each request, commits once, answers each.
//!
//! It is the file's only writer, so what it remembers of stream heads stays true until a
//! transaction fails; then it forgets everything and opens the file again.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use freehold_ports::{
    AppendError, AppendRequest, Appended, Clock, CommandId, Fingerprint, GlobalPosition, LogName,
    ReadError, RecentlyUsed, RestoreError, Snapshot, StoreFailure, StreamId, StreamVersion, Tag,
};
use rusqlite::{Connection, OptionalExtension as _, Row, Statement, params};
use tokio::sync::{mpsc, watch};
use uuid::Uuid;

use super::intake;
use super::queue::{Queue, Room, Taken, Work};
use crate::file;

/// The most events of one transaction: enough to spread an fsync thin, few enough to answer soon.
const BATCH: Room = Room { events: 4_096, bytes: 16 << 20 };

/// How many streams' heads are remembered, about 150 bytes each.
const REMEMBERED_STREAMS: usize = 100_000;
const REMEMBERED_NAMES: usize = 10_000;

/// Fewer answers are given by the writer itself: handing them over would take longer.
const ANSWERS_TO_HAND_OVER: usize = 4;

/// Pages in the write-ahead log before a busy writer copies them into the file: 64 MiB.
const CHECKPOINT_PAGES: i64 = 16_384;
/// Pages before the writer waits for readers to leave the write-ahead log, so that it starts over.
const RESTART_PAGES: i64 = 4 * CHECKPOINT_PAGES;
/// How long readers of old pages, in this process or another, are given to leave.
const RESTART_PATIENCE: Duration = Duration::from_millis(200);
const CHECKPOINT_INTERVAL: Duration = Duration::from_millis(500);
/// How long until it tries again after they did not.
const RESTART_INTERVAL: Duration = Duration::from_secs(10);

/// Command ids are swept so many rows at a time, so often, and then once an hour from the start.
const SWEEP_ROWS: i64 = 2_000;
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
const SWEEP_PAUSE: Duration = Duration::from_secs(3_600);

pub(super) struct Writer {
    pub(super) path: PathBuf,
    pub(super) logs: Arc<[LogName]>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) command_retention: Duration,
    pub(super) queue: Arc<Queue>,
    pub(super) heads: Arc<[watch::Sender<GlobalPosition>]>,
    /// To whom answers are handed over.
    pub(super) answers: Option<mpsc::UnboundedSender<Answers>>,
}

/// Work that is done, and what it came to.
pub(super) type Answers = Vec<(Work, Verdict)>;

/// Gives answers, from a task of the callers' runtime.
///
/// Waking a caller from inside the runtime puts it in a worker's own queue. Woken one by one by
/// the writer, each would cost a lock and often a system call, as much as storing its event.
pub(super) async fn give_answers(mut answers: mpsc::UnboundedReceiver<Answers>) {
    while let Some(answers) = answers.recv().await {
        answers.into_iter().for_each(|(work, verdict)| answer(work, verdict));
    }
}

impl Writer {
    /// Writes until the queue is closed and empty.
    pub(super) fn run(self, connection: Connection) {
        let mut next = Some(connection);
        loop {
            let opened = next.take().map_or_else(|| file::open_writer(&self.path), Ok);
            let ended = opened.and_then(|connection| self.write_until_failure(&connection));
            let Err(error) = ended else { return };
            tracing::error!(path = %self.path.display(), %error, "log not written, opening again");
            next = file::open_writer(&self.path).ok();
            if next.is_none() {
                // Whoever waits learns it now rather than when the file is back.
                let mut batch = Vec::new();
                match self.queue.take(&mut batch, &mut { BATCH }, Duration::from_secs(1)) {
                    Taken::Work => {
                        batch.into_iter().for_each(|w| w.answer_unavailable(&error.to_string()));
                    }
                    Taken::Idle => {}
                    Taken::Closed => return,
                }
            }
        }
    }

    /// Writes until the queue is closed and empty, or until a transaction fails; then its callers
    /// have been told.
    fn write_until_failure(&self, connection: &Connection) -> rusqlite::Result<()> {
        let mut session = Session::new(self, connection)?;
        loop {
            let (mut batch, mut room) = (Vec::new(), BATCH);
            match self.queue.take(&mut batch, &mut room, SWEEP_INTERVAL) {
                Taken::Work => {
                    self.write(&mut session, batch, room)?;
                    session.keep_house(CHECKPOINT_PAGES)?;
                }
                Taken::Idle => session.keep_house(1)?,
                Taken::Closed => {
                    if let Err(error) = file::empty_write_ahead_log(connection) {
                        tracing::warn!(%error, "the write-ahead log of the log was not emptied");
                    }
                    return Ok(());
                }
            }
        }
    }

    fn write(
        &self,
        session: &mut Session<'_>,
        mut batch: Vec<Work>,
        mut room: Room,
    ) -> rusqlite::Result<()> {
        // Who asks while others are being stored comes along, until nobody does: a commit costs
        // more than storing a few further requests.
        let stored = session.store(&mut batch, |batch| self.queue.take_more(batch, &mut room));
        metrics::histogram!("freehold_append_batch_requests").record(batch.len() as f64);
        match stored {
            Ok(verdicts) => {
                // Heads first: who has an answer must find it covered by the head.
                for (log, head) in session.logs.iter().zip(&*self.heads) {
                    let position = GlobalPosition(log.head as u64);
                    head.send_if_modified(|known| std::mem::replace(known, position) != position);
                }
                self.answer(batch.into_iter().zip(verdicts).collect());
                Ok(())
            }
            Err(Failed::NothingStored(error)) => {
                let why = error.to_string();
                batch.into_iter().for_each(|work| work.answer_unavailable(&why));
                Err(error)
            }
            Err(Failed::Unknown(error)) => {
                let why = error.to_string();
                batch.into_iter().for_each(|work| answer_unknown(work, &why));
                Err(error)
            }
        }
    }
}

impl Writer {
    fn answer(&self, mut answers: Answers) {
        if answers.len() >= ANSWERS_TO_HAND_OVER
            && let Some(task) = &self.answers
        {
            match task.send(answers) {
                Ok(()) => return,
                // The runtime of the callers is shutting down.
                Err(mpsc::error::SendError(returned)) => answers = returned,
            }
        }
        answers.into_iter().for_each(|(work, verdict)| answer(work, verdict));
    }
}

/// What one piece of work came to.
pub(super) enum Verdict {
    Append(Result<Appended, AppendError>),
    Restore(Result<(), RestoreError>),
    Advanced(bool),
    Settled(u64),
    Done,
}

/// Why none of a batch can be answered.
enum Failed {
    /// Surely nothing of it is stored.
    NothingStored(rusqlite::Error),
    /// It may be found stored when the file is opened again.
    Unknown(rusqlite::Error),
}

// An answer that cannot be sent has nobody waiting for it: the caller went away.
fn answer(work: Work, verdict: Verdict) {
    match (work, verdict) {
        (Work::Append { answer, .. }, Verdict::Append(verdict)) => _ = answer.send(verdict),
        (Work::Restore { answer, .. }, Verdict::Restore(verdict)) => _ = answer.send(verdict),
        (Work::Advance { answer, .. }, Verdict::Advanced(moved)) => _ = answer.send(Ok(moved)),
        (Work::Settle { answer, .. }, Verdict::Settled(gone)) => _ = answer.send(Ok(gone)),
        (Work::SaveSnapshot { answer, .. } | Work::ClearSnapshots { answer }, _) => {
            _ = answer.send(Ok(()));
        }
        (
            Work::Append { .. } | Work::Restore { .. } | Work::Advance { .. } | Work::Settle { .. },
            _,
        ) => unreachable!("each kind of work gets its own kind of verdict"),
    }
}

fn answer_unknown(work: Work, why: &str) {
    match work {
        Work::Append { request, answer, .. } => {
            let source = StoreFailure::from(why);
            _ = answer.send(Err(AppendError::OutcomeUnknown { stream: request.stream, source }));
        }
        Work::Restore { answer, .. } => {
            _ = answer.send(Err(RestoreError::Unavailable { source: StoreFailure::from(why) }));
        }
        Work::SaveSnapshot { answer, .. } | Work::ClearSnapshots { answer } => {
            _ = answer.send(Err(ReadError::Unavailable { source: StoreFailure::from(why) }));
        }
        Work::Advance { answer, .. } => {
            _ = answer.send(Err(ReadError::Unavailable { source: StoreFailure::from(why) }));
        }
        Work::Settle { answer, .. } => {
            _ = answer.send(Err(ReadError::Unavailable { source: StoreFailure::from(why) }));
        }
    }
}

/// What the writer remembers and has prepared, as long as no transaction fails.
struct Session<'c> {
    connection: &'c Connection,
    clock: Arc<dyn Clock>,
    command_retention: Duration,
    logs: Vec<Log<'c>>,
    names: Names<'c>,
    save_snapshot: Statement<'c>,
    move_head: Statement<'c>,
    wal_size: Statement<'c>,
    next_checkpoint: Instant,
    next_sweep: Instant,
}

impl<'c> Session<'c> {
    fn new(writer: &Writer, connection: &'c Connection) -> rusqlite::Result<Self> {
        let logs = writer.logs.iter().map(|log| Log::new(connection, log));
        Ok(Self {
            connection,
            clock: writer.clock.clone(),
            command_retention: writer.command_retention,
            logs: logs.collect::<rusqlite::Result<_>>()?,
            names: Names::new(connection)?,
            save_snapshot: connection.prepare(
                "INSERT INTO snapshot (log, stream, version, shape, state)
                 VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT DO UPDATE SET
                     version = excluded.version, shape = excluded.shape, state = excluded.state
                 WHERE excluded.version >= version",
            )?,
            move_head: connection
                .prepare("UPDATE log SET position = ?1, recorded_at = ?2 WHERE id = ?3")?,
            wal_size: connection.prepare("PRAGMA wal_checkpoint(NOOP)")?,
            next_checkpoint: Instant::now(),
            next_sweep: Instant::now(),
        })
    }

    /// Stores what is to be stored of a batch in one transaction, as long as `more` adds to it.
    fn store(
        &mut self,
        batch: &mut Vec<Work>,
        more: impl FnMut(&mut Vec<Work>) -> bool,
    ) -> Result<Vec<Verdict>, Failed> {
        let stored = self.store_uncommitted(batch, more);
        let verdicts = stored.map_err(Failed::NothingStored)?;
        let started = Instant::now();
        self.connection.execute_batch("COMMIT").map_err(Failed::Unknown)?;
        metrics::histogram!("freehold_append_commit_seconds").record(started.elapsed());
        Ok(verdicts)
    }

    fn store_uncommitted(
        &mut self,
        batch: &mut Vec<Work>,
        mut more: impl FnMut(&mut Vec<Work>) -> bool,
    ) -> rusqlite::Result<Vec<Verdict>> {
        self.connection.execute_batch("BEGIN IMMEDIATE")?;
        let now = self.clock.now().timestamp_micros();
        let mut verdicts = Vec::with_capacity(batch.len());
        loop {
            for work in &batch[verdicts.len()..] {
                verdicts.push(self.store_one(work, now)?);
            }
            if !more(batch) {
                break;
            }
        }
        for log in self.logs.iter_mut().filter(|log| log.stored_head != log.head) {
            self.move_head.execute([log.head, log.recorded_at, log.id])?;
            log.stored_head = log.head;
        }
        Ok(verdicts)
    }

    fn store_one(&mut self, work: &Work, now: i64) -> rusqlite::Result<Verdict> {
        match work {
            Work::Append { log, request, .. } => {
                let verdict = self.logs[*log].append(&mut self.names, request, now)?;
                return Ok(Verdict::Append(verdict));
            }
            Work::Restore { log, batch, .. } => {
                let verdict = self.logs[*log].restore(&mut self.names, batch)?;
                return Ok(Verdict::Restore(verdict));
            }
            Work::SaveSnapshot { log, stream, snapshot, .. } => {
                self.save_snapshot(*log, stream, snapshot)?;
            }
            Work::ClearSnapshots { .. } => {
                self.connection.execute("DELETE FROM snapshot", [])?;
            }
            Work::Advance { step, .. } => {
                return Ok(Verdict::Advanced(intake::advance(self.connection, step)?));
            }
            Work::Settle { message, still, .. } => {
                return Ok(Verdict::Settled(intake::settle(self.connection, message, still)?));
            }
        }
        Ok(Verdict::Done)
    }

    fn save_snapshot(
        &mut self,
        log: usize,
        stream: &StreamId,
        snapshot: &Snapshot,
    ) -> rusqlite::Result<()> {
        self.save_snapshot.execute(params![
            self.logs[log].name.as_str(),
            stream.as_str(),
            snapshot.version.0 as i64,
            snapshot.shape,
            &*snapshot.state,
        ])?;
        Ok(())
    }

    /// Between batches: keeps the write-ahead log short and command ids few.
    fn keep_house(&mut self, checkpoint_pages: i64) -> rusqlite::Result<()> {
        if Instant::now() >= self.next_checkpoint {
            let in_the_way = self.checkpoint(checkpoint_pages)?;
            let pause = if in_the_way { RESTART_INTERVAL } else { CHECKPOINT_INTERVAL };
            self.next_checkpoint = Instant::now() + pause;
        }
        if Instant::now() >= self.next_sweep {
            let answered_before = (self.clock.now() - self.command_retention).timestamp_micros();
            let mut finished = true;
            for log in &mut self.logs {
                finished &= log.sweep_commands(answered_before)?;
            }
            let pause = if finished { SWEEP_PAUSE } else { SWEEP_INTERVAL };
            self.next_sweep = Instant::now() + pause;
        }
        Ok(())
    }

    /// Copies pages from the write-ahead log into the file if there are so many to copy.
    ///
    /// No reader waits for that. Readers of old pages keep the write-ahead log from starting over;
    /// if it has grown too long, the writer waits a moment for them to leave.
    /// True if it has grown too long and they did not leave.
    fn checkpoint(&mut self, least: i64) -> rusqlite::Result<bool> {
        let (pages, copied): (i64, i64) =
            self.wal_size.query_row([], |row| Ok((row.get(1)?, row.get(2)?)))?;
        if pages - copied < least && pages < RESTART_PAGES {
            return Ok(false);
        }
        let started = Instant::now();
        let in_the_way = if pages < RESTART_PAGES {
            self.connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(false))?
        } else {
            self.connection.busy_timeout(RESTART_PATIENCE)?;
            let restart = "PRAGMA wal_checkpoint(RESTART)";
            let busy = self.connection.query_row(restart, [], |row| row.get(0))?;
            self.connection.busy_timeout(file::WRITER_PATIENCE)?;
            busy
        };
        metrics::histogram!("freehold_log_checkpoint_seconds").record(started.elapsed());
        Ok(in_the_way)
    }
}

/// The dictionary of event types, categories, tenants and actors.
pub(super) struct Names<'c> {
    connection: &'c Connection,
    known: RecentlyUsed<Arc<str>, i64>,
    find: Statement<'c>,
    insert: Statement<'c>,
}

impl<'c> Names<'c> {
    fn new(connection: &'c Connection) -> rusqlite::Result<Self> {
        Ok(Self {
            connection,
            known: RecentlyUsed::new(REMEMBERED_NAMES),
            find: connection.prepare("SELECT id FROM name WHERE text = ?1")?,
            insert: connection.prepare("INSERT INTO name (text) VALUES (?1)")?,
        })
    }

    fn find(&mut self, text: &str) -> rusqlite::Result<Option<i64>> {
        if let Some(id) = self.known.get(text) {
            return Ok(Some(id));
        }
        let id = self.find.query_row([text], |row| row.get(0)).optional()?;
        if let Some(id) = id {
            self.known.insert(text.into(), id);
        }
        Ok(id)
    }

    pub(super) fn find_or_insert(&mut self, text: &str) -> rusqlite::Result<i64> {
        if let Some(id) = self.find(text)? {
            return Ok(id);
        }
        self.insert.execute([text])?;
        let id = self.connection.last_insert_rowid();
        self.known.insert(text.into(), id);
        Ok(id)
    }
}

/// What the writer remembers of a stream.
#[derive(Clone, Copy)]
pub(super) struct Stream {
    pub(super) id: i64,
    pub(super) category: i64,
    pub(super) version: i64,
}

pub(super) struct Log<'c> {
    pub(super) connection: &'c Connection,
    id: i64,
    pub(super) name: LogName,
    /// The position of the last event, those of the open transaction included.
    pub(super) head: i64,
    /// What the log's row says the head is.
    stored_head: i64,
    pub(super) recorded_at: i64,
    pub(super) streams: RecentlyUsed<StreamId, Stream>,
    /// Command ids up to here have been looked at by the sweep under way.
    swept: Option<Uuid>,
    find_stream: Statement<'c>,
    insert_stream: Statement<'c>,
    pub(super) insert_event: Statement<'c>,
    pub(super) insert_tag: Statement<'c>,
    last_tagged: Statement<'c>,
    pub(super) insert_command: Statement<'c>,
    find_command: Statement<'c>,
    sweep_end: Statement<'c>,
    sweep: Statement<'c>,
}

impl<'c> Log<'c> {
    fn new(connection: &'c Connection, name: &LogName) -> rusqlite::Result<Self> {
        let prepare = |sql: &str| connection.prepare(&sql.replace("{log}", name.as_str()));
        let (id, head, recorded_at) = connection.query_row(
            "SELECT id, position, recorded_at FROM log WHERE name = ?1",
            [name.as_str()],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )?;
        Ok(Self {
            connection,
            id,
            name: name.clone(),
            head,
            stored_head: head,
            recorded_at,
            streams: RecentlyUsed::new(REMEMBERED_STREAMS),
            swept: None,
            find_stream: prepare(
                "SELECT id, category_id, (SELECT max(version) FROM event_{log} WHERE stream_id = id)
                 FROM stream_{log} WHERE name = ?1",
            )?,
            insert_stream: prepare("INSERT INTO stream_{log} (category_id, name) VALUES (?1, ?2)")?,
            insert_event: prepare(
                "INSERT INTO event_{log} (
                     position, stream_id, version, category_id, type_id, schema_version, codec,
                     tenant_id, actor_id, occurred_at, recorded_at, event_id, command_id,
                     correlation_id, causation_id, subjects, tags, payload)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16,
                     ?17, ?18)",
            )?,
            insert_tag: prepare(
                "INSERT INTO tag_{log} (tag, tenant_id, position) VALUES (?1, ?2, ?3)
                 ON CONFLICT DO NOTHING",
            )?,
            last_tagged: prepare(LAST_TAGGED)?,
            insert_command: prepare(
                "INSERT INTO command_{log} (
                     command_id, fingerprint, version, position, events, answered_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING",
            )?,
            find_command: prepare(FIND_COMMAND)?,
            sweep_end: prepare(
                "SELECT command_id FROM command_{log} WHERE command_id > ?1
                 ORDER BY command_id LIMIT 1 OFFSET ?2",
            )?,
            sweep: prepare(
                "DELETE FROM command_{log}
                 WHERE command_id > ?1 AND command_id <= ?2 AND answered_at < ?3",
            )?,
        })
    }

    /// Decides a request and stores it if it is to be stored, in the open transaction.
    ///
    /// The common case makes no look-up: the stream's head is remembered, and the command id is
    /// written at once; only where it was there already, or a condition fails, is it looked up.
    fn append(
        &mut self,
        names: &mut Names<'_>,
        request: &AppendRequest,
        now: i64,
    ) -> rusqlite::Result<Result<Appended, AppendError>> {
        let stream = self.stream(&request.stream)?;
        let version = StreamVersion(stream.map_or(0, |stream| stream.version as u64));
        let tenant = &request.provenance.tenant;
        let verdict =
            request.decide(version, GlobalPosition(self.head as u64), |tag| {
                match names.find(tenant)? {
                    Some(tenant) => last_tagged(&mut self.last_tagged, tag, tenant),
                    None => Ok(None),
                }
            })?;
        let appended = match verdict {
            Ok(appended) => appended,
            Err(refusal) => {
                return Ok(match self.find_command(request.command_id)? {
                    Some((first, fingerprint)) => request.decide_again(first, fingerprint),
                    None => Err(refusal),
                });
            }
        };
        let inserted = self.insert_command.execute(params![
            request.command_id.0.as_bytes(),
            request.fingerprint.0,
            appended.version.0 as i64,
            appended.position.0 as i64,
            appended.events,
            now,
        ])?;
        if inserted == 0 {
            let (first, fingerprint) = self
                .find_command(request.command_id)?
                .ok_or(rusqlite::Error::QueryReturnedNoRows)?;
            return Ok(request.decide_again(first, fingerprint));
        }
        if !request.events.is_empty() {
            self.insert_events(names, stream, request, now)?;
        }
        Ok(Ok(appended))
    }

    fn insert_events(
        &mut self,
        names: &mut Names<'_>,
        stream: Option<Stream>,
        request: &AppendRequest,
        now: i64,
    ) -> rusqlite::Result<()> {
        let mut stream = match stream {
            Some(stream) => stream,
            None => self.insert_stream(names, &request.stream)?,
        };
        let tenant = names.find_or_insert(&request.provenance.tenant)?;
        let actor = names.find_or_insert(&request.provenance.actor)?;
        // The clock of a machine may be set back; the log's never is.
        self.recorded_at = self.recorded_at.max(now);
        for event in &request.events {
            self.head += 1;
            stream.version += 1;
            let event_type = names.find_or_insert(&event.event_type)?;
            let subjects = (!event.subjects.is_empty())
                .then(|| event.subjects.iter().flat_map(|s| s.0.into_bytes()).collect::<Vec<_>>());
            self.insert_event.execute(params![
                self.head,
                stream.id,
                stream.version,
                stream.category,
                event_type,
                event.schema_version,
                event.codec.number(),
                tenant,
                actor,
                event.occurred_at.timestamp_micros(),
                self.recorded_at,
                event.event_id.0.as_bytes(),
                request.command_id.0.as_bytes(),
                request.provenance.correlation_id.as_ref().map(Uuid::as_bytes),
                request.provenance.causation_id.as_ref().map(Uuid::as_bytes),
                subjects,
                lines(&event.tags),
                &*event.payload,
            ])?;
            for tag in &event.tags {
                self.insert_tag.execute(params![tag.as_str(), tenant, self.head])?;
            }
        }
        self.streams.insert(request.stream.clone(), stream);
        Ok(())
    }

    pub(super) fn stream(&mut self, id: &StreamId) -> rusqlite::Result<Option<Stream>> {
        if let Some(stream) = self.streams.get(id) {
            return Ok(Some(stream));
        }
        let found = self.find_stream.query_row([id.as_str()], |row| {
            Ok(Stream { id: row.get(0)?, category: row.get(1)?, version: row.get(2)? })
        });
        let found = found.optional()?;
        if let Some(stream) = found {
            self.streams.insert(id.clone(), stream);
        }
        Ok(found)
    }

    pub(super) fn insert_stream(
        &mut self,
        names: &mut Names<'_>,
        id: &StreamId,
    ) -> rusqlite::Result<Stream> {
        let category = names.find_or_insert(id.category())?;
        self.insert_stream.execute(params![category, id.as_str()])?;
        Ok(Stream { id: self.connection.last_insert_rowid(), category, version: 0 })
    }

    fn find_command(&mut self, id: CommandId) -> rusqlite::Result<Option<(Appended, Fingerprint)>> {
        self.find_command.query_row([id.0.as_bytes()], answer_of).optional()
    }

    /// Deletes old command ids among the next rows; true when there are no further rows.
    fn sweep_commands(&mut self, answered_before: i64) -> rusqlite::Result<bool> {
        let from = self.swept.unwrap_or(Uuid::nil());
        let end: Option<[u8; 16]> = self
            .sweep_end
            .query_row(params![from.as_bytes(), SWEEP_ROWS], |row| row.get(0))
            .optional()?;
        let to = end.map_or(Uuid::max(), Uuid::from_bytes);
        self.sweep.execute(params![from.as_bytes(), to.as_bytes(), answered_before])?;
        self.swept = end.map(Uuid::from_bytes);
        Ok(end.is_none())
    }
}

pub(super) const FIND_COMMAND: &str =
    "SELECT version, position, events, fingerprint FROM command_{log} WHERE command_id = ?1";

pub(super) const LAST_TAGGED: &str = "SELECT max(position) FROM tag_{log}
     WHERE tag = ?1 AND tenant_id = ?2";

/// The answer and fingerprint in a row of [`FIND_COMMAND`].
pub(super) fn answer_of(row: &Row<'_>) -> rusqlite::Result<(Appended, Fingerprint)> {
    let appended = Appended {
        version: StreamVersion(row.get::<_, i64>(0)? as u64),
        position: GlobalPosition(row.get::<_, i64>(1)? as u64),
        events: row.get(2)?,
        repeated: false,
    };
    Ok((appended, Fingerprint(row.get(3)?)))
}

/// Runs [`LAST_TAGGED`].
pub(super) fn last_tagged(
    statement: &mut Statement<'_>,
    tag: &Tag,
    tenant: i64,
) -> rusqlite::Result<Option<GlobalPosition>> {
    let position: Option<i64> =
        statement.query_row(params![tag.as_str(), tenant], |row| row.get(0))?;
    Ok(position.map(|position| GlobalPosition(position as u64)))
}

/// Tags have no control characters, so a line break keeps them apart.
pub(super) fn lines(tags: &[Tag]) -> Option<String> {
    let (first, rest) = tags.split_first()?;
    let mut lines = first.as_str().to_owned();
    for tag in rest {
        lines.push('\n');
        lines.push_str(tag.as_str());
    }
    Some(lines)
}
