//! The logs and snapshots: one task of this process writes to each log, a pool of connections
//! reads, and other processes may do the same at the same time.
//!
//! Callers put requests on a bounded queue. The writer takes whatever waits, decides each request
//! and stores what is admitted in one call, so one round trip and one fsync serve many callers and
//! none waits for a timer.

mod batch;
mod intake;
mod integrity;
mod keeping;
mod queue;
mod reader;
mod restore;
mod streams;
mod writer;

use std::convert::identity;
use std::num::{NonZeroU32, NonZeroU64};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use freehold_ports::{
    AppendError, AppendRequest, Appended, Clock, CommandId, EventFilter, EventPage, EventStore,
    Fingerprint, GlobalPosition, InvalidName, InvalidRequest, LogName, ReadError, RecordedEvent,
    Snapshot, SnapshotStore, StreamId, StreamVersion, SystemClock, Tag, TaggedEvent,
};
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use uuid::Uuid;

use self::keeping::{Keeper, Partitions};
use self::queue::{Queue, Rejected, Waiting};
use self::reader::{Reader, unavailable};
use self::streams::Streams;
use self::writer::Writer;
use crate::database::{Database, LIMIT, Migration, OpenError, Part, within};

pub(crate) const SCHEMA: Part = Part {
    name: "log",
    migrations: &[
        Migration {
            number: 1,
            sql: include_str!("../../../migrations/postgres/0001_logs_and_names.sql"),
        },
        Migration { number: 2, sql: include_str!("../../../migrations/postgres/0002_events.sql") },
        Migration { number: 5, sql: include_str!("../../../migrations/postgres/0005_append.sql") },
        Migration { number: 6, sql: include_str!("../../../migrations/postgres/0006_intake.sql") },
    ],
};

/// What callers do when the queue is full: the writer empties it in less.
const RETRY_AFTER: Duration = Duration::from_millis(50);

/// Longer names do not fit an index entry.
const LONGEST_NAME: usize = 1_000;

/// How many events a partition holds, unless said.
const PARTITION_EVENTS: NonZeroU64 = NonZeroU64::new(10_000_000).expect("it is not zero");

/// How a store is set up.
pub struct LogOptions {
    /// The logs it keeps; those the database lacks are made.
    pub logs: Vec<LogName>,
    /// Stamps events.
    pub clock: Arc<dyn Clock>,
    /// How long a command id is remembered at least; 7 days unless said.
    pub command_retention: Duration,
    /// The most requests that wait for a log's writer; 8,192 unless said.
    pub queue_requests: usize,
    /// The most bytes that wait for a log's writer; 64 MiB unless said.
    pub queue_bytes: usize,
    /// How many events a partition holds; 10 million unless said.
    pub partition_events: NonZeroU64,
    /// Where pages of the whole log are read, if not at the primary: a read replica.
    pub replica: Option<Database>,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            logs: vec![LogName::DOMAIN, LogName::INTERACTIONS],
            clock: Arc::new(SystemClock),
            command_retention: Duration::from_secs(7 * 24 * 3_600),
            queue_requests: 8_192,
            queue_bytes: 64 << 20,
            partition_events: PARTITION_EVENTS,
            replica: None,
        }
    }
}

/// One log as it was when this process opened it.
struct LogRow {
    id: i16,
    name: LogName,
    epoch: i64,
    head: watch::Sender<GlobalPosition>,
    /// Whether the log has another history now than the one that was opened.
    fenced: AtomicBool,
}

impl LogRow {
    fn is_fenced(&self) -> bool {
        self.fenced.load(Ordering::Relaxed)
    }

    /// Nothing is written to this log any more.
    fn fence(&self) {
        if !self.fenced.swap(true, Ordering::Relaxed) {
            tracing::error!(log = %self.name, "the log has another history, restart this process");
        }
    }

    fn raise_head(&self, position: GlobalPosition) {
        self.head.send_if_modified(|known| {
            let higher = position > *known;
            *known = position.max(*known);
            higher
        });
    }
}

/// The logs and snapshots of one schema.
///
/// Dropping it stores and answers what waits, as long as the runtime lives;
/// [`close`](Self::close) waits for that.
pub struct PostgresEventStore {
    database: Database,
    logs: Arc<[Arc<LogRow>]>,
    queues: Vec<Arc<Queue>>,
    writers: Mutex<Vec<JoinHandle<()>>>,
    /// None if opened read-only.
    keeper: Option<Keeper>,
    reader: Reader,
    streams: Arc<Streams>,
    /// Reads pages of the whole log, maybe from a replica.
    pages: Reader,
    /// What goes on beside; ends with this value.
    beside: Mutex<JoinSet<()>>,
}

impl PostgresEventStore {
    /// Opens the logs in a database, making or migrating what is needed.
    ///
    /// Any number of processes may. Must be called inside the runtime that serves its callers.
    pub async fn open(database: Database, options: LogOptions) -> Result<Self, OpenError> {
        database.migrate(&SCHEMA).await?;
        let partitions = Partitions {
            events: i64::try_from(options.partition_events.get()).unwrap_or(i64::MAX),
            command_retention: options.command_retention,
        };
        for name in &options.logs {
            keeping::make_log(&database, name).await.map_err(|error| database.why(error))?;
        }
        let mut store = Self::reading(database, options.logs, options.replica).await?;
        let keeper = Keeper {
            database: store.database.clone(),
            logs: store.logs.clone(),
            clock: options.clock,
            partitions,
            news: Arc::new(Notify::new()),
        };
        let (mut queues, mut writers) = (Vec::new(), Vec::new());
        for log in &*store.logs {
            let Keeper { database, clock, news, .. } = &keeper;
            let kept = partitions.keep(database.pool(), log, clock.now()).await;
            kept.map_err(|error| database.why(error))?;
            let queue = Arc::new(Queue::new(options.queue_requests, options.queue_bytes));
            let writer = Writer {
                database: database.clone(),
                log: log.clone(),
                queue: queue.clone(),
                clock: clock.clone(),
                partitions,
                news: news.clone(),
                last_event: None,
            };
            queues.push(queue);
            writers.push(tokio::spawn(writer.run()));
        }
        store.queues = queues;
        store.writers = Mutex::new(writers);
        store.beside = Mutex::new(keeper.clone().start());
        store.keeper = Some(keeper);
        Ok(store)
    }

    /// Opens the logs in a database to read only, changing nothing there.
    ///
    /// Appends are refused as unavailable. Whoever follows the head must poll.
    pub async fn open_read_only(
        database: Database,
        logs: Vec<LogName>,
        replica: Option<Database>,
    ) -> Result<Self, OpenError> {
        database.require(&SCHEMA).await?;
        Self::reading(database, logs, replica).await
    }

    /// The logs that a database holds; none where there is no schema yet.
    pub async fn logs_in(database: &Database) -> Result<Vec<LogName>, OpenError> {
        let mut connection = database.first_connection().await?;
        let sql = "SELECT to_regclass('log') IS NOT NULL";
        let there: Result<bool, _> = sqlx::query_scalar(sql).fetch_one(&mut connection).await;
        if !there.map_err(|error| database.why(error))? {
            return Ok(Vec::new());
        }
        let names = sqlx::query_scalar("SELECT name FROM log ORDER BY id");
        let names: Vec<String> =
            names.fetch_all(&mut connection).await.map_err(|error| database.why(error))?;
        Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
    }

    async fn reading(
        database: Database,
        names: Vec<LogName>,
        replica: Option<Database>,
    ) -> Result<Self, OpenError> {
        let (mut logs, mut queues) = (Vec::new(), Vec::new());
        for name in &names {
            let log = keeping::open_log(&database, name).await;
            let log = log.map_err(|error| database.why(error))?.ok_or(OpenError::Nothing)?;
            logs.push(Arc::new(log));
            let closed = Queue::new(0, 0);
            closed.close();
            queues.push(Arc::new(closed));
        }
        let reader = Reader::new(database.log_readers(), database.opened());
        let pages = match replica {
            Some(replica) => Reader::new(database.replica_readers(&replica), replica.opened()),
            None => reader.clone(),
        };
        Ok(Self {
            logs: logs.into(),
            queues,
            writers: Mutex::default(),
            keeper: None,
            streams: Streams::new(reader.clone(), database.stream_readers()),
            reader,
            pages,
            beside: Mutex::default(),
            database,
        })
    }

    /// Makes sure that a database holds the same logs as this one, maybe a little behind: the schema
    /// was made at the same moment, and the newest event there is the same one here.
    ///
    /// - Errors: [`OpenError::NoReplica`] if it does not, or why it cannot be asked.
    pub async fn check_replica(&self, replica: &Database) -> Result<(), OpenError> {
        const MADE: &str =
            "SELECT applied_at::text FROM migration WHERE part = 'log' AND number = 1";
        const NEWEST: &str = "SELECT position, event_id FROM event WHERE log_id = $1
             ORDER BY position DESC LIMIT 1";
        const SAME: &str = "SELECT event_id = $3 FROM event WHERE log_id = $1 AND position = $2";
        let here = self.database.pool();
        let made: String = sqlx::query_scalar(MADE)
            .fetch_one(here)
            .await
            .map_err(|error| self.database.why(error))?;
        let mut there = replica.first_connection().await?;
        let copied: Option<String> = match sqlx::query_scalar(MADE).fetch_optional(&mut there).await
        {
            Ok(copied) => copied,
            // No such table: somebody else's database.
            Err(sqlx::Error::Database(_)) => None,
            Err(error) => return Err(replica.why(error)),
        };
        if copied.as_ref() != Some(&made) {
            return Err(OpenError::NoReplica);
        }
        for log in &*self.logs {
            let newest = sqlx::query_as(NEWEST).bind(log.id).fetch_optional(&mut there).await;
            let newest: Option<(i64, Uuid)> = newest.map_err(|error| replica.why(error))?;
            let Some((position, event)) = newest else { continue };
            let same = sqlx::query_scalar(SAME).bind(log.id).bind(position).bind(event);
            let same: Option<bool> =
                same.fetch_optional(here).await.map_err(|error| self.database.why(error))?;
            if same != Some(true) {
                return Err(OpenError::NoReplica);
            }
        }
        Ok(())
    }

    /// The logs to which this process writes no more, as they have another history now than when
    /// it opened them: until it is restarted.
    pub fn fenced(&self) -> Vec<LogName> {
        let fenced = self.logs.iter().filter(|log| log.is_fenced());
        fenced.map(|log| log.name.clone()).collect()
    }

    /// Takes no more appends, and stores and answers what waits.
    pub async fn close(&self) {
        self.queues.iter().for_each(|queue| queue.close());
        let writers = {
            let mut writers = self.writers.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *writers)
        };
        for writer in writers {
            if writer.await.is_err() {
                tracing::error!("the task that writes a log panicked");
            }
        }
        let mut beside = {
            let mut beside = self.beside.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *beside)
        };
        beside.shutdown().await;
    }

    fn index(&self, log: &LogName) -> Option<usize> {
        self.logs.iter().position(|known| known.name == *log)
    }

    fn log(&self, log: &LogName) -> Result<&LogRow, ReadError> {
        let known = self.logs.iter().find(|known| known.name == *log);
        known.map(|log| &**log).ok_or_else(|| ReadError::UnknownLog(log.clone()))
    }
}

impl Drop for PostgresEventStore {
    fn drop(&mut self) {
        self.queues.iter().for_each(|queue| queue.close());
    }
}

/// A name that the server would refuse would fail the requests it is stored with.
fn check_names(request: &AppendRequest) -> Result<(), InvalidName> {
    let provenance = &request.provenance;
    let types = request.events.iter().map(|event| ("event type", &*event.event_type));
    let names = [("tenant", &*provenance.tenant), ("actor", &*provenance.actor)];
    for (what, text) in names.into_iter().chain(types) {
        if text.len() > LONGEST_NAME || text.contains('\0') {
            let text = text.chars().take(100).collect();
            return Err(InvalidName { what, text, shape: "at most 1,000 bytes without NUL" });
        }
    }
    Ok(())
}

#[async_trait]
impl EventStore for PostgresEventStore {
    async fn append(&self, request: AppendRequest) -> Result<Appended, AppendError> {
        request.validate()?;
        check_names(&request).map_err(InvalidRequest::from)?;
        let Some(log) = self.index(&request.log) else {
            return Err(InvalidRequest::UnknownLog(request.log).into());
        };
        let stream = request.stream.clone();
        let (answer, verdict) = oneshot::channel();
        self.queues[log].push(Waiting { request, answer }).map_err(|rejected| match rejected {
            Rejected::Full => AppendError::Overloaded { retry_after: RETRY_AFTER },
            Rejected::Closed => {
                AppendError::Unavailable { source: "the store takes no more appends".into() }
            }
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
        within(LIMIT, unavailable, self.reader.find_command(self.log(log)?, command_id)).await
    }

    async fn read_all(
        &self,
        log: &LogName,
        filter: &EventFilter,
        after: GlobalPosition,
        limit: NonZeroU32,
    ) -> Result<EventPage, ReadError> {
        let page = self.pages.read_all(self.log(log)?, filter, after, limit.get());
        within(LIMIT, unavailable, page).await
    }

    async fn read_stream(
        &self,
        log: &LogName,
        stream: &StreamId,
        after: StreamVersion,
        limit: NonZeroU32,
    ) -> Result<Vec<RecordedEvent>, ReadError> {
        self.streams.read(self.log(log)?, stream, after, limit.get()).await
    }

    async fn last_tagged(
        &self,
        log: &LogName,
        tenant: &str,
        tag: &Tag,
    ) -> Result<Option<TaggedEvent>, ReadError> {
        within(LIMIT, unavailable, self.reader.last_tagged(self.log(log)?, tenant, tag)).await
    }

    async fn head(&self, log: &LogName) -> Result<GlobalPosition, ReadError> {
        let log = self.log(log)?;
        let head = within(LIMIT, unavailable, self.reader.head(log)).await?;
        log.raise_head(head);
        Ok(head)
    }

    fn subscribe_head(&self, log: &LogName) -> watch::Receiver<GlobalPosition> {
        match self.index(log) {
            Some(index) => self.logs[index].head.subscribe(),
            None => watch::Sender::default().subscribe(),
        }
    }
}

#[async_trait]
impl SnapshotStore for PostgresEventStore {
    async fn load(&self, log: &LogName, stream: &StreamId) -> Result<Option<Snapshot>, ReadError> {
        within(LIMIT, unavailable, self.reader.snapshot(self.log(log)?, stream)).await
    }

    async fn save(
        &self,
        log: &LogName,
        stream: &StreamId,
        snapshot: Snapshot,
    ) -> Result<(), ReadError> {
        let log = self.log(log)?;
        let saved = sqlx::query(
            "INSERT INTO snapshot (log_id, stream, version, shape, state)
             VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (log_id, stream) DO UPDATE
             SET version = excluded.version, shape = excluded.shape, state = excluded.state
             WHERE snapshot.version <= excluded.version",
        )
        .bind(log.id)
        .bind(stream.as_str())
        .bind(snapshot.version.0 as i64)
        .bind(i64::from(snapshot.shape))
        .bind(&*snapshot.state)
        .execute(self.database.pool());
        within(LIMIT, identity, saved).await.map(drop).map_err(unavailable)
    }

    async fn clear(&self) -> Result<(), ReadError> {
        let deleted = sqlx::query("DELETE FROM snapshot").execute(self.database.pool());
        within(LIMIT, identity, deleted).await.map(drop).map_err(unavailable)
    }
}
