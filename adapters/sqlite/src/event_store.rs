//! The logs in one file, `log.sqlite`: one thread writes, a few connections read.
//!
//! Callers put requests on a bounded queue. The writer takes whatever waits, decides each request,
//! commits once and answers each, so one fsync serves many callers and none waits for a timer.

mod intake;
mod integrity;
mod queue;
mod reader;
mod restore;
mod schema;
mod writer;

use std::fs::File;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use async_trait::async_trait;
use freehold_ports::{
    AppendError, AppendRequest, Appended, Clock, CommandId, EventFilter, EventPage, EventStore,
    Fingerprint, GlobalPosition, InvalidRequest, LogName, ReadError, RecordedAnswer, RecordedEvent,
    RestoreBatch, RestoreError, RestoreLog, Snapshot, SnapshotStore, StoreFailure, StreamId,
    StreamVersion, SystemClock, Tag, TaggedEvent,
};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};

use self::queue::{Queue, Rejected, Work};
use self::reader::{Reader, Readers, unavailable};
use self::writer::{Writer, give_answers};
use crate::file::{self, OpenError};

/// The name of the file in its folder.
const FILE: &str = "log.sqlite";

/// What callers do when the queue is full: the writer empties it in less.
const RETRY_AFTER: Duration = Duration::from_millis(50);

/// How a store is set up.
pub struct LogOptions {
    /// The logs it keeps; those a file lacks are made.
    pub logs: Vec<LogName>,
    /// Stamps events.
    pub clock: Arc<dyn Clock>,
    /// How long a command id is remembered at least; 7 days unless said.
    pub command_retention: Duration,
    /// The most requests that wait for the writer; 8,192 unless said.
    pub queue_requests: usize,
    /// The most bytes that wait for the writer; 64 MiB unless said.
    pub queue_bytes: usize,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            logs: vec![LogName::DOMAIN, LogName::INTERACTIONS],
            clock: Arc::new(SystemClock),
            command_retention: Duration::from_secs(7 * 24 * 3_600),
            queue_requests: 8_192,
            queue_bytes: 64 << 20,
        }
    }
}

/// The logs and snapshots of one folder.
///
/// Dropping it stores and answers what waits; [`close`](Self::close) does so without blocking.
pub struct SqliteEventStore {
    logs: Arc<[LogName]>,
    heads: Arc<[watch::Sender<GlobalPosition>]>,
    readers: Arc<Readers>,
    /// None if opened read-only.
    writing: Option<Writing>,
}

struct Writing {
    queue: Arc<Queue>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// Closed when the thread is done and the lock is free.
    done: watch::Receiver<()>,
}

impl SqliteEventStore {
    /// Opens the log in `folder` to write and read, making or migrating what is needed.
    ///
    /// Only one process can; the lock ends with this value or its process. Blocks for a moment.
    /// Best called inside the runtime of the callers, which then wakes them at less cost.
    pub fn open(folder: &Path, options: LogOptions) -> Result<Self, OpenError> {
        let path = folder.join(FILE);
        let lock = file::lock(&path)?;
        let failed = |error: rusqlite::Error| OpenError::unavailable(&path, error);
        let mut connection = file::open_writer(&path).map_err(failed)?;
        schema::migrate(&mut connection, &path, &options.logs)?;
        let heads = schema::heads(&connection, &options.logs).map_err(failed)?;
        let store = Self::reading(path.clone(), options.logs, heads);
        let queue = Arc::new(Queue::new(options.queue_requests, options.queue_bytes));
        let writer = Writer {
            path: path.clone(),
            logs: store.logs.clone(),
            clock: options.clock,
            command_retention: options.command_retention,
            queue: queue.clone(),
            heads: store.heads.clone(),
            answers: Handle::try_current().ok().map(|runtime| {
                let (answers, given) = mpsc::unbounded_channel();
                runtime.spawn(give_answers(given));
                answers
            }),
        };
        let writing = start(writer, connection, lock, queue)
            .map_err(|error| OpenError::unavailable(&path, error))?;
        Ok(Self { writing: Some(writing), ..store })
    }

    /// Opens the log in `folder` to read only, beside a process that writes to it or alone.
    ///
    /// Appends are refused as unavailable. Whoever follows the head must poll.
    pub fn open_read_only(folder: &Path, logs: Vec<LogName>) -> Result<Self, OpenError> {
        let path = folder.join(FILE);
        let failed = |error: rusqlite::Error| OpenError::unavailable(&path, error);
        let connection = file::open_reader(&path).map_err(failed)?;
        schema::require_current(&connection, &path)?;
        let heads = schema::heads(&connection, &logs).map_err(failed)?;
        Ok(Self::reading(path, logs, heads))
    }

    /// The logs that the file in `folder` holds; none where there is no file.
    pub fn logs_in(folder: &Path) -> Result<Vec<LogName>, OpenError> {
        let path = folder.join(FILE);
        // What is no file is told of by whoever opens it.
        if !path.is_file() {
            return Ok(Vec::new());
        }
        let names = file::open_reader(&path).and_then(|connection| schema::logs_of(&connection));
        let names = names.map_err(|error| OpenError::unavailable(&path, error))?;
        Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
    }

    /// Takes no more appends, stores and answers what waits, empties the write-ahead log and gives
    /// the file free.
    pub async fn close(&self) {
        let Some(writing) = &self.writing else { return };
        writing.queue.close();
        self.readers.close_idle();
        let mut done = writing.done.clone();
        // Ends with an error when the thread drops its side, which is what is waited for.
        while done.changed().await.is_ok() {}
    }

    fn reading(path: PathBuf, logs: Vec<LogName>, heads: Vec<GlobalPosition>) -> Self {
        let logs: Arc<[LogName]> = logs.into();
        Self {
            heads: heads.into_iter().map(watch::Sender::new).collect(),
            readers: Arc::new(Readers::new(path, logs.clone())),
            logs,
            writing: None,
        }
    }

    fn index(&self, log: &LogName) -> Option<usize> {
        self.logs.iter().position(|known| known == log)
    }

    async fn read<T: Send + 'static>(
        &self,
        log: &LogName,
        work: impl FnOnce(&mut Reader, usize) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, ReadError> {
        let index = self.index(log).ok_or_else(|| ReadError::UnknownLog(log.clone()))?;
        self.readers.read(move |reader| work(reader, index)).await
    }

    fn push(&self, work: Work) -> Result<(), Rejected> {
        self.writing.as_ref().ok_or(Rejected::Closed)?.queue.push(work)
    }

    async fn write<T>(
        &self,
        work: impl FnOnce(oneshot::Sender<Result<T, ReadError>>) -> Work,
    ) -> Result<T, ReadError> {
        let (answer, verdict) = oneshot::channel();
        self.push(work(answer)).map_err(|rejected| ReadError::Unavailable {
            source: match rejected {
                Rejected::Full => "the queue is full".into(),
                Rejected::Closed => NOT_WRITING.into(),
            },
        })?;
        verdict.await.map_err(unavailable)?
    }
}

const NOT_WRITING: &str = "the store was closed or opened read-only";

fn start(
    writer: Writer,
    connection: rusqlite::Connection,
    lock: File,
    queue: Arc<Queue>,
) -> std::io::Result<Writing> {
    let (alive, done) = watch::channel(());
    let closes = ClosesQueue(queue.clone());
    let thread = thread::Builder::new().name("freehold-log".to_owned()).spawn(move || {
        writer.run(connection);
        drop(closes);
        drop(lock);
        drop(alive);
    })?;
    Ok(Writing { queue, thread: Mutex::new(Some(thread)), done })
}

/// Ends the queue with its writer, also if that panics: nobody waits for a thread that is gone.
struct ClosesQueue(Arc<Queue>);

impl Drop for ClosesQueue {
    fn drop(&mut self) {
        self.0.close();
        self.0.discard();
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.queue.close();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that writes the log panicked");
        }
    }
}

#[async_trait]
impl EventStore for SqliteEventStore {
    async fn append(&self, request: AppendRequest) -> Result<Appended, AppendError> {
        request.validate()?;
        let Some(log) = self.index(&request.log) else {
            return Err(InvalidRequest::UnknownLog(request.log).into());
        };
        let stream = request.stream.clone();
        let (answer, verdict) = oneshot::channel();
        self.push(Work::Append { log, request, answer }).map_err(|rejected| match rejected {
            Rejected::Full => AppendError::Overloaded { retry_after: RETRY_AFTER },
            Rejected::Closed => AppendError::Unavailable { source: NOT_WRITING.into() },
        })?;
        match verdict.await {
            Ok(verdict) => verdict,
            Err(gone) => Err(AppendError::OutcomeUnknown { stream, source: gone.into() }),
        }
    }

    async fn find_command(
        &self,
        log: &LogName,
        command_id: CommandId,
    ) -> Result<Option<(Appended, Fingerprint)>, ReadError> {
        self.read(log, move |reader, log| reader.find_command(log, command_id)).await
    }

    async fn read_all(
        &self,
        log: &LogName,
        filter: &EventFilter,
        after: GlobalPosition,
        limit: NonZeroU32,
    ) -> Result<EventPage, ReadError> {
        let filter = filter.clone();
        self.read(log, move |reader, log| reader.read_all(log, &filter, after, limit.get())).await
    }

    async fn read_stream(
        &self,
        log: &LogName,
        stream: &StreamId,
        after: StreamVersion,
        limit: NonZeroU32,
    ) -> Result<Vec<RecordedEvent>, ReadError> {
        let stream = stream.clone();
        self.read(log, move |reader, log| reader.read_stream(log, &stream, after, limit.get()))
            .await
    }

    async fn last_tagged(
        &self,
        log: &LogName,
        tenant: &str,
        tag: &Tag,
    ) -> Result<Option<TaggedEvent>, ReadError> {
        let (tenant, tag) = (tenant.to_owned(), tag.clone());
        self.read(log, move |reader, log| reader.last_tagged(log, &tenant, &tag)).await
    }

    async fn head(&self, log: &LogName) -> Result<GlobalPosition, ReadError> {
        if self.writing.is_none() {
            return self.read(log, |reader, log| reader.head(log)).await;
        }
        let index = self.index(log).ok_or_else(|| ReadError::UnknownLog(log.clone()))?;
        Ok(*self.heads[index].borrow())
    }

    fn subscribe_head(&self, log: &LogName) -> watch::Receiver<GlobalPosition> {
        match self.index(log) {
            Some(index) => self.heads[index].subscribe(),
            None => watch::Sender::default().subscribe(),
        }
    }
}

#[async_trait]
impl SnapshotStore for SqliteEventStore {
    async fn load(&self, log: &LogName, stream: &StreamId) -> Result<Option<Snapshot>, ReadError> {
        let stream = stream.clone();
        self.read(log, move |reader, log| reader.snapshot(log, &stream)).await
    }

    async fn save(
        &self,
        log: &LogName,
        stream: &StreamId,
        snapshot: Snapshot,
    ) -> Result<(), ReadError> {
        let index = self.index(log).ok_or_else(|| ReadError::UnknownLog(log.clone()))?;
        let stream = stream.clone();
        let work = |answer| Work::SaveSnapshot { log: index, stream, snapshot, answer };
        self.write(work).await
    }

    async fn clear(&self) -> Result<(), ReadError> {
        self.write(|answer| Work::ClearSnapshots { answer }).await
    }
}

#[async_trait]
impl RestoreLog for SqliteEventStore {
    async fn answers(
        &self,
        log: &LogName,
        commands: &[CommandId],
    ) -> Result<Vec<RecordedAnswer>, ReadError> {
        let commands = commands.to_vec();
        self.read(log, move |reader, log| reader.answers(log, &commands)).await
    }

    async fn answers_without_events(
        &self,
        log: &LogName,
        after: Option<CommandId>,
        limit: NonZeroU32,
    ) -> Result<Vec<RecordedAnswer>, ReadError> {
        self.read(log, move |reader, log| reader.answers_without_events(log, after, limit.get()))
            .await
    }

    async fn restore(&self, log: &LogName, batch: RestoreBatch) -> Result<(), RestoreError> {
        let index = self.index(log).ok_or_else(|| RestoreError::UnknownLog(log.clone()))?;
        let (answer, verdict) = oneshot::channel();
        let unavailable = |source: StoreFailure| RestoreError::Unavailable { source };
        self.push(Work::Restore { log: index, batch, answer }).map_err(|rejected| {
            unavailable(match rejected {
                Rejected::Full => "the queue is full".into(),
                Rejected::Closed => NOT_WRITING.into(),
            })
        })?;
        verdict.await.map_err(|gone| unavailable(gone.into()))?
    }
}
