//! Reading: a few connections on blocking threads, each remembering texts that repeat.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use chrono::{DateTime, Utc};
use foldhash::fast::RandomState;
use freehold_domain::SubjectId;
use freehold_ports::{
    Appended, CommandId, EventFilter, EventId, EventPage, Fingerprint, GlobalPosition, LogName,
    PayloadCodec, Provenance, ReadError, RecentlyUsed, RecordedEvent, Snapshot, StreamId,
    StreamVersion, Tag, TaggedEvent,
};
use rusqlite::types::ValueRef;
use rusqlite::{CachedStatement, Connection, OptionalExtension as _, Row, Statement};
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::writer::{FIND_COMMAND, LAST_TAGGED, answer_of, last_tagged};
use crate::file;

/// Reads at the same time; more wait their turn.
const CONNECTIONS: usize = 8;
/// How far one filtered read looks, so that a reader of rare types is answered in milliseconds.
const LOOK_AHEAD: u64 = 65_536;
const REMEMBERED_STREAMS: usize = 20_000;
const REMEMBERED_NAMES: usize = 5_000;

pub(super) struct Readers {
    path: PathBuf,
    logs: Arc<[LogName]>,
    idle: Mutex<Vec<Reader>>,
    permits: Arc<Semaphore>,
}

impl Readers {
    pub(super) fn new(path: PathBuf, logs: Arc<[LogName]>) -> Self {
        let permits = Arc::new(Semaphore::new(CONNECTIONS));
        Self { path, logs, idle: Mutex::default(), permits }
    }

    /// Runs `work` in a transaction of its own on a blocking thread: it sees one state.
    pub(super) async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&mut Reader) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, ReadError> {
        let permit = self.permits.clone().acquire_owned().await.map_err(unavailable)?;
        let readers = self.clone();
        let task = tokio::task::spawn_blocking(move || {
            let idle = readers.idle().pop();
            let mut reader = match idle {
                Some(reader) => reader,
                None => Reader::open(&readers.path, &readers.logs).map_err(unavailable)?,
            };
            let result = reader.in_transaction(work)?;
            readers.idle().push(reader);
            drop(permit);
            Ok(result)
        });
        task.await.map_err(unavailable)?
    }

    /// Closes the connections that nobody uses.
    pub(super) fn close_idle(&self) {
        self.idle().clear();
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Reader>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn unavailable(error: impl std::error::Error + Send + Sync + 'static) -> ReadError {
    ReadError::Unavailable { source: Box::new(error) }
}

/// One connection.
pub(super) struct Reader {
    pub(super) connection: Connection,
    names: RecentlyUsed<i64, Arc<str>>,
    logs: Vec<Log>,
}

/// What a reader keeps for one log.
struct Log {
    name: LogName,
    streams: RecentlyUsed<i64, StreamId>,
    find_stream: String,
    read_stream: String,
}

const COLUMNS: &str = "position, stream_id, version, type_id, schema_version, codec, tenant_id,
    actor_id, occurred_at, recorded_at, event_id, command_id, correlation_id, causation_id,
    subjects, tags, payload";

impl Reader {
    fn open(path: &Path, logs: &[LogName]) -> rusqlite::Result<Self> {
        let logs = logs.iter().map(|name| Log {
            name: name.clone(),
            streams: RecentlyUsed::new(REMEMBERED_STREAMS),
            find_stream: format!("SELECT id FROM stream_{name} WHERE name = ?1"),
            read_stream: format!(
                "SELECT {COLUMNS} FROM event_{name}
                 WHERE stream_id = ?1 AND version > ?2 ORDER BY version LIMIT ?3"
            ),
        });
        Ok(Self {
            connection: file::open_reader(path)?,
            names: RecentlyUsed::new(REMEMBERED_NAMES),
            logs: logs.collect(),
        })
    }

    fn in_transaction<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, ReadError>,
    ) -> Result<T, ReadError> {
        self.run("BEGIN")?;
        let result = work(self)?;
        self.run("COMMIT")?;
        Ok(result)
    }

    fn run(&self, sql: &str) -> Result<(), ReadError> {
        let mut statement = self.connection.prepare_cached(sql).map_err(unavailable)?;
        statement.execute([]).map_err(unavailable)?;
        Ok(())
    }

    /// A statement on a log's tables, its name in place of `{log}`.
    pub(super) fn prepare(&self, sql: &str, log: usize) -> Result<CachedStatement<'_>, ReadError> {
        let sql = sql.replace("{log}", self.logs[log].name.as_str());
        self.connection.prepare_cached(&sql).map_err(unavailable)
    }

    pub(super) fn head(&self, log: usize) -> Result<GlobalPosition, ReadError> {
        let sql = "SELECT position FROM log WHERE name = ?1";
        let mut statement = self.connection.prepare_cached(sql).map_err(unavailable)?;
        let name = self.logs[log].name.as_str();
        let head: i64 = statement.query_row([name], |row| row.get(0)).map_err(unavailable)?;
        Ok(GlobalPosition(head as u64))
    }

    pub(super) fn find_command(
        &self,
        log: usize,
        command_id: CommandId,
    ) -> Result<Option<(Appended, Fingerprint)>, ReadError> {
        self.prepare(FIND_COMMAND, log)?
            .query_row([command_id.0.as_bytes()], answer_of)
            .optional()
            .map_err(unavailable)
    }

    pub(super) fn last_tagged(
        &mut self,
        log: usize,
        tenant: &str,
        tag: &Tag,
    ) -> Result<Option<TaggedEvent>, ReadError> {
        let Some(tenant) = self.name_id(tenant)? else { return Ok(None) };
        let mut statement = self.prepare(LAST_TAGGED, log)?;
        let position = last_tagged(&mut statement, tag, tenant).map_err(unavailable)?;
        drop(statement);
        let Some(position) = position else { return Ok(None) };
        let id = self
            .prepare("SELECT stream_id FROM event_{log} WHERE position = ?1", log)?
            .query_row([to_i64(position.0)], |row| row.get(0))
            .optional()
            .map_err(unavailable)?;
        let stream = match id {
            Some(id) => self.logs[log].stream(&self.connection, id)?,
            None => None,
        };
        match stream {
            Some(stream) => Ok(Some(TaggedEvent { stream, position })),
            None => Err(ReadError::Damaged { position, what: "a tag without an event".into() }),
        }
    }

    pub(super) fn snapshot(
        &self,
        log: usize,
        stream: &StreamId,
    ) -> Result<Option<Snapshot>, ReadError> {
        let sql = "SELECT version, shape, state FROM snapshot WHERE log = ?1 AND stream = ?2";
        let mut statement = self.connection.prepare_cached(sql).map_err(unavailable)?;
        let snapshot =
            statement.query_row([self.logs[log].name.as_str(), stream.as_str()], |row| {
                Ok(Snapshot {
                    version: StreamVersion(row.get::<_, i64>(0)? as u64),
                    shape: row.get(1)?,
                    state: row.get::<_, Vec<u8>>(2)?.into(),
                })
            });
        snapshot.optional().map_err(unavailable)
    }

    fn name_id(&self, text: &str) -> Result<Option<i64>, ReadError> {
        let sql = "SELECT id FROM name WHERE text = ?1";
        let mut statement = self.connection.prepare_cached(sql).map_err(unavailable)?;
        statement.query_row([text], |row| row.get(0)).optional().map_err(unavailable)
    }

    pub(super) fn read_all(
        &mut self,
        log: usize,
        filter: &EventFilter,
        after: GlobalPosition,
        limit: u32,
    ) -> Result<EventPage, ReadError> {
        let head = self.head(log)?;
        if after >= head {
            return Ok(EventPage { events: Vec::new(), through: after });
        }
        let mut conditions = String::new();
        let mut looked_to = head;
        for (column, wanted) in
            [("category_id", &filter.categories), ("type_id", &filter.event_types)]
        {
            if wanted.is_empty() {
                continue;
            }
            let ids = wanted.iter().filter_map(|name| self.name_id(name).transpose());
            let ids = ids.map(|id| id.map(|id| id.to_string())).collect::<Result<Vec<_>, _>>()?;
            if ids.is_empty() {
                // No event can have a name that is not in the dictionary.
                return Ok(EventPage { events: Vec::new(), through: head });
            }
            conditions += &format!(" AND {column} IN ({})", ids.join(", "));
            looked_to = head.min(GlobalPosition(after.0.saturating_add(LOOK_AHEAD)));
        }
        let sql = format!(
            "SELECT {COLUMNS} FROM event_{}
             WHERE position > ?1 AND position <= ?2{conditions} ORDER BY position LIMIT ?3",
            self.logs[log].name
        );
        let bounds = [to_i64(after.0), to_i64(looked_to.0), i64::from(limit)];
        let mut statement = self.connection.prepare_cached(&sql).map_err(unavailable)?;
        let log = &mut self.logs[log];
        let events = events(&self.connection, &mut self.names, log, &mut statement, bounds)?;
        let through = match events.last() {
            Some(last) if events.len() == limit as usize => last.position,
            _ => looked_to,
        };
        Ok(EventPage { events, through })
    }

    pub(super) fn read_stream(
        &mut self,
        log: usize,
        stream: &StreamId,
        after: StreamVersion,
        limit: u32,
    ) -> Result<Vec<RecordedEvent>, ReadError> {
        let log = &mut self.logs[log];
        let mut find = self.connection.prepare_cached(&log.find_stream).map_err(unavailable)?;
        let id = find.query_row([stream.as_str()], |row| row.get(0));
        let Some(id) = id.optional().map_err(unavailable)? else { return Ok(Vec::new()) };
        log.streams.insert(id, stream.clone());
        let mut statement =
            self.connection.prepare_cached(&log.read_stream).map_err(unavailable)?;
        let bounds = [id, to_i64(after.0), i64::from(limit)];
        events(&self.connection, &mut self.names, log, &mut statement, bounds)
    }
}

/// The events that a statement on [`COLUMNS`] finds; the last bound is their greatest number.
fn events(
    connection: &Connection,
    names: &mut RecentlyUsed<i64, Arc<str>>,
    log: &mut Log,
    statement: &mut Statement<'_>,
    bounds: [i64; 3],
) -> Result<Vec<RecordedEvent>, ReadError> {
    let mut names = PageNames { connection, known: names, page: HashMap::default() };
    let mut payloads = Payloads::default();
    let mut rows = statement.query(bounds).map_err(unavailable)?;
    let mut events = Vec::with_capacity((bounds[2] as usize).min(1_000));
    while let Some(row) = rows.next().map_err(unavailable)? {
        let position = GlobalPosition(row.get::<_, i64>(0).map_err(unavailable)? as u64);
        let stored = Stored { row, position };
        let mut name =
            |column| names.get(stored.number(column)?)?.ok_or_else(|| stored.damaged(column));
        let stream = log.stream(connection, stored.number(1)?)?;
        events.push(RecordedEvent {
            position,
            stream: stream.ok_or_else(|| stored.damaged(1))?,
            version: StreamVersion(stored.number(2)? as u64),
            event_id: EventId(stored.uuid(10)?),
            event_type: name(3)?,
            schema_version: stored.schema_version(4)?,
            command_id: CommandId(stored.uuid(11)?),
            provenance: Provenance {
                tenant: name(6)?,
                actor: name(7)?,
                correlation_id: stored.optional_uuid(12)?,
                causation_id: stored.optional_uuid(13)?,
            },
            occurred_at: stored.time(8)?,
            recorded_at: stored.time(9)?,
            subjects: stored.subjects(14)?,
            tags: stored.tags(15)?,
            codec: stored.codec(5)?,
            payload: payloads.keep(stored.blob(16)?.ok_or_else(|| stored.damaged(16))?),
        });
    }
    Ok(events)
}

/// Names for the events of one page.
///
/// Each page gets copies of its own: counting the users of one text from every reader and every
/// consumer at the same time would cost more than reading the rows.
struct PageNames<'c> {
    connection: &'c Connection,
    known: &'c mut RecentlyUsed<i64, Arc<str>>,
    page: HashMap<i64, Arc<str>, RandomState>,
}

impl PageNames<'_> {
    fn get(&mut self, id: i64) -> Result<Option<Arc<str>>, ReadError> {
        if let Some(name) = self.page.get(&id) {
            return Ok(Some(name.clone()));
        }
        let known = match self.known.get(&id) {
            Some(name) => Some(name),
            None => self.look_up(id)?,
        };
        Ok(known.map(|name| self.page.entry(id).or_insert(Arc::from(&*name)).clone()))
    }

    fn look_up(&mut self, id: i64) -> Result<Option<Arc<str>>, ReadError> {
        let sql = "SELECT text FROM name WHERE id = ?1";
        let mut statement = self.connection.prepare_cached(sql).map_err(unavailable)?;
        let name = statement.query_row([id], |row| row.get::<_, Arc<str>>(0));
        let name = name.optional().map_err(unavailable)?;
        if let Some(name) = &name {
            self.known.insert(id, name.clone());
        }
        Ok(name)
    }
}

/// Payloads side by side in few allocations; whoever keeps one keeps its neighbours, up to
/// [`Self::LARGEST`] bytes.
struct Payloads {
    room: BytesMut,
    next: usize,
}

impl Default for Payloads {
    fn default() -> Self {
        Self { room: BytesMut::new(), next: 4 << 10 }
    }
}

impl Payloads {
    const LARGEST: usize = 64 << 10;

    fn keep(&mut self, payload: &[u8]) -> Bytes {
        if payload.len() > Self::LARGEST / 16 {
            return Bytes::copy_from_slice(payload);
        }
        if self.room.capacity() < payload.len() {
            self.room = BytesMut::with_capacity(self.next);
            self.next = Self::LARGEST.min(self.next * 4);
        }
        self.room.extend_from_slice(payload);
        self.room.split().freeze()
    }
}

impl Log {
    fn stream(&mut self, connection: &Connection, id: i64) -> Result<Option<StreamId>, ReadError> {
        if let Some(stream) = self.streams.get(&id) {
            return Ok(Some(stream));
        }
        let sql = format!("SELECT name FROM stream_{} WHERE id = ?1", self.name);
        let mut statement = connection.prepare_cached(&sql).map_err(unavailable)?;
        let name = statement.query_row([id], |row| row.get::<_, String>(0));
        let stream: Option<StreamId> =
            name.optional().map_err(unavailable)?.and_then(|name| name.parse().ok());
        if let Some(stream) = &stream {
            self.streams.insert(id, stream.clone());
        }
        Ok(stream)
    }
}

/// A row of an event; what does not decode is damage, never skipped.
struct Stored<'r> {
    row: &'r Row<'r>,
    position: GlobalPosition,
}

impl Stored<'_> {
    fn value(&self, column: usize) -> Result<ValueRef<'_>, ReadError> {
        self.row.get_ref(column).map_err(unavailable)
    }

    fn damaged(&self, column: usize) -> ReadError {
        let name = self.row.as_ref().column_name(column).unwrap_or("a column").to_owned();
        ReadError::Damaged { position: self.position, what: format!("{name} does not decode") }
    }

    fn number(&self, column: usize) -> Result<i64, ReadError> {
        self.value(column)?.as_i64().map_err(|_| self.damaged(column))
    }

    fn schema_version(&self, column: usize) -> Result<u16, ReadError> {
        self.number(column)?.try_into().map_err(|_| self.damaged(column))
    }

    fn blob(&self, column: usize) -> Result<Option<&[u8]>, ReadError> {
        self.value(column)?.as_blob_or_null().map_err(|_| self.damaged(column))
    }

    fn optional_uuid(&self, column: usize) -> Result<Option<Uuid>, ReadError> {
        let uuid = self.blob(column)?.map(Uuid::from_slice).transpose();
        uuid.map_err(|_| self.damaged(column))
    }

    fn uuid(&self, column: usize) -> Result<Uuid, ReadError> {
        self.optional_uuid(column)?.ok_or_else(|| self.damaged(column))
    }

    fn time(&self, column: usize) -> Result<DateTime<Utc>, ReadError> {
        let micros = self.number(column)?;
        DateTime::from_timestamp_micros(micros).ok_or_else(|| self.damaged(column))
    }

    fn subjects(&self, column: usize) -> Result<Vec<SubjectId>, ReadError> {
        let Some(bytes) = self.blob(column)? else { return Ok(Vec::new()) };
        let (subjects, rest) = bytes.as_chunks::<16>();
        if !rest.is_empty() {
            return Err(self.damaged(column));
        }
        Ok(subjects.iter().map(|bytes| SubjectId(Uuid::from_bytes(*bytes))).collect())
    }

    fn tags(&self, column: usize) -> Result<Vec<Tag>, ReadError> {
        let text = self.value(column)?.as_str_or_null().map_err(|_| self.damaged(column))?;
        let Some(text) = text else { return Ok(Vec::new()) };
        let tags: Result<Vec<Tag>, _> = text.split('\n').map(str::parse).collect();
        tags.map_err(|_| self.damaged(column))
    }

    fn codec(&self, column: usize) -> Result<PayloadCodec, ReadError> {
        let number = u8::try_from(self.number(column)?).ok();
        number.and_then(PayloadCodec::from_number).ok_or_else(|| self.damaged(column))
    }
}

/// A bound for SQLite, whose integers are signed: no counter comes near the difference.
fn to_i64(counter: u64) -> i64 {
    i64::try_from(counter).unwrap_or(i64::MAX)
}
