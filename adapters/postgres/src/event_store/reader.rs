//! Reading: texts that repeat are stored as numbers, and come back from a bounded memory.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use chrono::{DateTime, Utc};
use foldhash::fast::RandomState;
use freehold_domain::SubjectId;
use freehold_ports::{
    Appended, CommandId, EventFilter, EventId, EventPage, Fingerprint, GlobalPosition,
    PayloadCodec, Provenance, ReadError, RecentlyUsed, RecordedEvent, Snapshot, StreamId,
    StreamVersion, Tag, TaggedEvent,
};
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnection, PgPool, PgRow};
use sqlx::{Postgres, Row as _, ValueRef as _};
use uuid::Uuid;

use super::LogRow;
use super::keeping::HEAD;
use crate::database::failure;

/// How far one filtered read looks, so that a reader of rare types is answered in milliseconds.
const LOOK_AHEAD: u64 = 65_536;
const REMEMBERED_STREAMS: usize = 100_000;
const REMEMBERED_NAMES: usize = 10_000;

/// Where events are read.
#[derive(Clone)]
pub(super) struct Reader {
    pool: PgPool,
    opened: Arc<AtomicU64>,
    known: Arc<Mutex<Known>>,
}

/// What numbers stand for. A server that takes over may have lost the last events, and gives their
/// numbers again: so it is forgotten whenever a session is opened.
struct Known {
    opened: u64,
    names: RecentlyUsed<i32, Arc<str>>,
    streams: RecentlyUsed<(i16, i64), StreamId>,
}

/// The columns of an event, in the order that [`event`] reads.
macro_rules! event_columns {
    ($payload:literal) => {
        concat!(
            "event.position, stream_id, event.version, type_id, schema_version, codec, tenant_id,
             actor_id, occurred_at, recorded_at, event_id, command_id, correlation_id,
             causation_id, subjects, tags, ",
            $payload
        )
    };
}
pub(super) use event_columns;

macro_rules! select_events {
    ($conditions:literal) => {
        concat!(
            "SELECT ",
            event_columns!("payload, NULL::text AS name"),
            " FROM event WHERE log_id = $1 AND ",
            $conditions
        )
    };
}

/// A page, and the names of streams that begin in it, whose ids are the positions of their first
/// events: rows with nothing but an id and a name. A reader of everything meets them here first.
const PAGE: &str = concat!(
    "(",
    select_events!("position > $2 AND position <= $3 ORDER BY position LIMIT $4"),
    ") UNION ALL
     SELECT NULL, id, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
         NULL, NULL, name
     FROM stream WHERE log_id = $1 AND id > $2 AND id <= $3"
);
const FILTERED_PAGE: &str = select_events!(
    "position > $2 AND position <= $3
     AND ($5 OR category_id = ANY ($6)) AND ($7 OR type_id = ANY ($8))
     ORDER BY position LIMIT $4"
);
/// A stream's id is the position of its first event.
const STREAM: &str = select_events!(
    "stream_id = $2 AND position BETWEEN $2 AND $3 AND version > $4 ORDER BY version LIMIT $5"
);

pub(super) fn unavailable(error: sqlx::Error) -> ReadError {
    ReadError::Unavailable { source: failure(error) }
}

impl Known {
    fn new(opened: u64) -> Self {
        Self {
            opened,
            names: RecentlyUsed::new(REMEMBERED_NAMES),
            streams: RecentlyUsed::new(REMEMBERED_STREAMS),
        }
    }
}

impl Reader {
    /// Reads over a pool of a database that has `opened` so many sessions.
    pub(super) fn new(pool: PgPool, opened: Arc<AtomicU64>) -> Self {
        Self { pool, opened, known: Arc::new(Mutex::new(Known::new(0))) }
    }

    pub(super) fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// A connection for all statements of one answer: behind one address there may be several
    /// replicas, and each is elsewhere in the log.
    async fn connection(&self) -> Result<PoolConnection<Postgres>, ReadError> {
        self.pool.acquire().await.map_err(unavailable)
    }

    pub(super) async fn head(&self, log: &LogRow) -> Result<GlobalPosition, ReadError> {
        head(&mut *self.connection().await?, log).await
    }

    pub(super) async fn find_command(
        &self,
        log: &LogRow,
        command_id: CommandId,
    ) -> Result<Option<(Appended, Fingerprint)>, ReadError> {
        let found: Option<(i64, i64, i32, Uuid)> = sqlx::query_as(
            "SELECT version, position, events, fingerprint FROM command
             WHERE command_id = $1 AND log_id = $2",
        )
        .bind(command_id.0)
        .bind(log.id)
        .fetch_optional(&self.pool)
        .await
        .map_err(unavailable)?;
        Ok(found.map(|(version, position, events, fingerprint)| {
            let appended = Appended {
                version: StreamVersion(version as u64),
                position: GlobalPosition(position as u64),
                events: events as u32,
                repeated: false,
            };
            (appended, Fingerprint(fingerprint.into_bytes()))
        }))
    }

    pub(super) async fn last_tagged(
        &self,
        log: &LogRow,
        tenant: &str,
        tag: &Tag,
    ) -> Result<Option<TaggedEvent>, ReadError> {
        let position: Option<i64> = sqlx::query_scalar(
            "SELECT position FROM tag WHERE tag = $1 AND log_id = $2
             AND tenant_id = (SELECT id FROM name WHERE text = $3)
             ORDER BY position DESC LIMIT 1",
        )
        .bind(tag.as_str())
        .bind(log.id)
        .bind(tenant)
        .fetch_optional(&self.pool)
        .await
        .map_err(unavailable)?;
        let Some(position) = position else { return Ok(None) };
        let stream: Option<String> = sqlx::query_scalar(
            "SELECT name FROM stream WHERE log_id = $1
             AND id = (SELECT stream_id FROM event WHERE log_id = $1 AND position = $2)",
        )
        .bind(log.id)
        .bind(position)
        .fetch_optional(&self.pool)
        .await
        .map_err(unavailable)?;
        let position = GlobalPosition(position as u64);
        match stream.and_then(|stream| stream.parse().ok()) {
            Some(stream) => Ok(Some(TaggedEvent { stream, position })),
            None => Err(ReadError::Damaged { position, what: "a tag without an event".into() }),
        }
    }

    pub(super) async fn snapshot(
        &self,
        log: &LogRow,
        stream: &StreamId,
    ) -> Result<Option<Snapshot>, ReadError> {
        let sql = "SELECT version, shape, state FROM snapshot WHERE log_id = $1 AND stream = $2";
        let found = sqlx::query_as(sql).bind(log.id).bind(stream.as_str());
        let found: Option<(i64, i64, Vec<u8>)> =
            found.fetch_optional(&self.pool).await.map_err(unavailable)?;
        Ok(found.map(|(version, shape, state)| Snapshot {
            version: StreamVersion(version as u64),
            shape: shape as u32,
            state: state.into(),
        }))
    }

    pub(super) async fn read_all(
        &self,
        log: &LogRow,
        filter: &EventFilter,
        after: GlobalPosition,
        limit: u32,
    ) -> Result<EventPage, ReadError> {
        let mut connection = self.connection().await?;
        let (events, looked_to) = if filter.categories.is_empty() && filter.event_types.is_empty() {
            let rows = sqlx::query(PAGE)
                .bind(log.id)
                .bind(to_i64(after.0))
                // One page never needs more, and the server leaves out partitions beyond.
                .bind(to_i64(after.0.saturating_add(u64::from(limit))))
                .bind(i64::from(limit))
                .fetch_all(&mut *connection)
                .await
                .map_err(unavailable)?;
            (self.events(&mut connection, log, rows).await?, after)
        } else {
            // The head first: every event up to it is seen by the next statement.
            let head = head(&mut connection, log).await?;
            if after >= head {
                return Ok(EventPage { events: Vec::new(), through: after });
            }
            let categories = name_ids(&mut connection, &filter.categories).await?;
            let types = name_ids(&mut connection, &filter.event_types).await?;
            let unheard = |wanted: &[Arc<str>], ids: &[i32]| !wanted.is_empty() && ids.is_empty();
            if unheard(&filter.categories, &categories) || unheard(&filter.event_types, &types) {
                // No event up to the head has a name that is not in the dictionary.
                return Ok(EventPage { events: Vec::new(), through: head });
            }
            let looked_to = head.min(GlobalPosition(after.0.saturating_add(LOOK_AHEAD)));
            let rows = sqlx::query(FILTERED_PAGE)
                .bind(log.id)
                .bind(to_i64(after.0))
                .bind(to_i64(looked_to.0))
                .bind(i64::from(limit))
                .bind(filter.categories.is_empty())
                .bind(categories)
                .bind(filter.event_types.is_empty())
                .bind(types)
                .fetch_all(&mut *connection)
                .await
                .map_err(unavailable)?;
            (self.events(&mut connection, log, rows).await?, looked_to)
        };
        let through = match events.last() {
            Some(last) if events.len() == limit as usize => last.position,
            Some(last) => looked_to.max(last.position),
            None => looked_to,
        };
        Ok(EventPage { events, through })
    }

    /// Events of a stream whose id and last position were found.
    pub(super) async fn read_stream(
        &self,
        log: &LogRow,
        stream: &StreamId,
        id: i64,
        last_position: i64,
        after: StreamVersion,
        limit: u32,
    ) -> Result<Vec<RecordedEvent>, ReadError> {
        let mut connection = self.connection().await?;
        self.known().streams.insert((log.id, id), stream.clone());
        let rows = sqlx::query(STREAM)
            .bind(log.id)
            .bind(id)
            .bind(last_position)
            .bind(to_i64(after.0))
            .bind(i64::from(limit))
            .fetch_all(&mut *connection)
            .await
            .map_err(unavailable)?;
        self.events(&mut connection, log, rows).await
    }

    /// The events in rows of a statement on events.
    async fn events(
        &self,
        connection: &mut PgConnection,
        log: &LogRow,
        rows: Vec<PgRow>,
    ) -> Result<Vec<RecordedEvent>, ReadError> {
        let mut texts = Texts::default();
        self.name(connection, log.id, rows.iter(), &mut texts).await?;
        let mut payloads = Payloads::default();
        let mut events = Vec::with_capacity(rows.len());
        for row in &rows {
            if is_event(row)? {
                events.push(event(row, &texts, &mut payloads)?);
            }
        }
        Ok(events)
    }

    /// Adds the texts that the rows need and that are not there already.
    pub(super) async fn name<'r>(
        &self,
        connection: &mut PgConnection,
        log_id: i16,
        rows: impl Iterator<Item = &'r PgRow>,
        texts: &mut Texts,
    ) -> Result<(), ReadError> {
        self.recall(log_id, rows, texts)?;
        self.look_up(connection, log_id, texts).await
    }

    /// Which texts the rows need, and those of them that are known.
    ///
    /// Each page gets copies of names of its own: counting the users of one text from every reader
    /// and every consumer at the same time would cost more than reading the rows.
    fn recall<'r>(
        &self,
        log_id: i16,
        rows: impl Iterator<Item = &'r PgRow>,
        texts: &mut Texts,
    ) -> Result<(), ReadError> {
        let mut known = self.known();
        for row in rows {
            let id = bigint(row, 1)?;
            if !is_event(row)? {
                let Some(Ok(name)) = text(row, 17)?.map(str::parse::<StreamId>) else { continue };
                known.streams.insert((log_id, id), name.clone());
                texts.streams.insert(id, Some(name));
                continue;
            }
            let stream = || known.streams.get(&(log_id, id));
            texts.streams.entry(id).or_insert_with(stream);
            for column in [3, 6, 7] {
                let id = integer(row, column)?;
                let name = || known.names.get(&id).map(|name| Arc::from(&*name));
                texts.names.entry(id).or_insert_with(name);
            }
        }
        Ok(())
    }

    /// A LIMIT inside a subselect forces one index probe for each element: on a table that the
    /// planner believes empty it would rather read all of it.
    async fn look_up(
        &self,
        connection: &mut PgConnection,
        log_id: i16,
        texts: &mut Texts,
    ) -> Result<(), ReadError> {
        let missing = missing(&texts.streams);
        if !missing.is_empty() {
            let sql = "SELECT id, found.name FROM unnest($2::bigint[]) AS asked (id)
                 CROSS JOIN LATERAL (
                     SELECT name FROM stream WHERE log_id = $1 AND stream.id = asked.id LIMIT 1
                 ) AS found";
            let found = sqlx::query_as(sql).bind(log_id).bind(missing).fetch_all(&mut *connection);
            let found: Vec<(i64, String)> = found.await.map_err(unavailable)?;
            let mut known = self.known();
            for (id, name) in found {
                let Ok(name) = name.parse::<StreamId>() else { continue };
                known.streams.insert((log_id, id), name.clone());
                texts.streams.insert(id, Some(name));
            }
        }
        let missing = self::missing(&texts.names);
        if !missing.is_empty() {
            let sql = "SELECT id, found.text FROM unnest($1::integer[]) AS asked (id)
                 CROSS JOIN LATERAL (
                     SELECT text FROM name WHERE name.id = asked.id LIMIT 1
                 ) AS found";
            let found = sqlx::query_as(sql).bind(missing).fetch_all(&mut *connection);
            let found: Vec<(i32, String)> = found.await.map_err(unavailable)?;
            let mut known = self.known();
            for (id, text) in found {
                known.names.insert(id, Arc::from(&*text));
                texts.names.insert(id, Some(Arc::from(text)));
            }
        }
        Ok(())
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let opened = self.opened.load(Ordering::Relaxed);
        if known.opened != opened {
            *known = Known::new(opened);
        }
        known
    }
}

async fn head(connection: &mut PgConnection, log: &LogRow) -> Result<GlobalPosition, ReadError> {
    let head = sqlx::query_scalar(HEAD).bind(log.id).fetch_one(connection).await;
    let head: i64 = head.map_err(unavailable)?;
    Ok(GlobalPosition(head as u64))
}

async fn name_ids(
    connection: &mut PgConnection,
    names: &[Arc<str>],
) -> Result<Vec<i32>, ReadError> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let names: Vec<&str> = names.iter().map(|name| &**name).collect();
    let ids = sqlx::query_scalar("SELECT id FROM name WHERE text = ANY ($1)").bind(names);
    ids.fetch_all(connection).await.map_err(unavailable)
}

/// The texts of one page; none where a number has none.
#[derive(Default)]
pub(super) struct Texts {
    streams: HashMap<i64, Option<StreamId>, RandomState>,
    names: HashMap<i32, Option<Arc<str>>, RandomState>,
}

impl Texts {
    /// A stream's name that needs no look-up.
    pub(super) fn know(&mut self, id: i64, stream: &StreamId) {
        self.streams.entry(id).or_insert_with(|| Some(stream.clone()));
    }
}

fn missing<K: Copy + Ord, V>(texts: &HashMap<K, Option<V>, RandomState>) -> Vec<K> {
    let missing = texts.iter().filter(|(_, text)| text.is_none());
    let mut missing: Vec<K> = missing.map(|(id, _)| *id).collect();
    missing.sort_unstable();
    missing
}

/// Whether it is not the name of a stream.
pub(super) fn is_event(row: &PgRow) -> Result<bool, ReadError> {
    Ok(field(row, 0)?.is_some())
}

/// The bytes of a column, none for null. Its type is known: to have the driver compare types value
/// by value took a tenth of a reader's time.
pub(super) fn field(row: &PgRow, column: usize) -> Result<Option<&[u8]>, ReadError> {
    let value = row.try_get_raw(column).map_err(unavailable)?;
    if value.is_null() {
        return Ok(None);
    }
    let bytes = value.as_bytes().map_err(|source| unavailable(sqlx::Error::Decode(source)))?;
    Ok(Some(bytes))
}

/// A column of so many bytes that is never null.
fn fixed<const N: usize>(row: &PgRow, column: usize) -> Result<[u8; N], ReadError> {
    let bytes = field(row, column)?.and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| {
        let what = format!("column {column} is not of {N} bytes");
        unavailable(sqlx::Error::Decode(what.into()))
    })
}

pub(super) fn bigint(row: &PgRow, column: usize) -> Result<i64, ReadError> {
    fixed(row, column).map(i64::from_be_bytes)
}

fn integer(row: &PgRow, column: usize) -> Result<i32, ReadError> {
    fixed(row, column).map(i32::from_be_bytes)
}

fn uuid(row: &PgRow, column: usize) -> Result<Uuid, ReadError> {
    fixed(row, column).map(Uuid::from_bytes)
}

fn text(row: &PgRow, column: usize) -> Result<Option<&str>, ReadError> {
    let bytes = field(row, column)?.map(std::str::from_utf8).transpose();
    bytes.map_err(|error| unavailable(sqlx::Error::Decode(error.into())))
}

/// An event of a row; what does not decode is damage, never skipped.
pub(super) fn event(
    row: &PgRow,
    texts: &Texts,
    payloads: &mut Payloads,
) -> Result<RecordedEvent, ReadError> {
    let position = GlobalPosition(bigint(row, 0)? as u64);
    let damaged =
        |what: &str| ReadError::Damaged { position, what: format!("{what} does not decode") };
    let name = |column, what| {
        let id = integer(row, column)?;
        texts.names.get(&id).cloned().flatten().ok_or_else(|| damaged(what))
    };
    let time = |column, what| {
        let micros = bigint(row, column)?;
        DateTime::<Utc>::from_timestamp_micros(micros).ok_or_else(|| damaged(what))
    };
    let optional = |column| match field(row, column)? {
        Some(_) => uuid(row, column).map(Some),
        None => Ok(None),
    };
    let stream = texts.streams.get(&bigint(row, 1)?).cloned().flatten();
    let codec = u8::try_from(i16::from_be_bytes(fixed(row, 5)?)).ok();
    let (subjects, rest) = field(row, 14)?.unwrap_or_default().as_chunks::<16>();
    if !rest.is_empty() {
        return Err(damaged("subjects"));
    }
    let tags = text(row, 15)?.map(|tags| tags.split('\n').map(str::parse).collect());
    let tags: Result<Vec<Tag>, _> = tags.unwrap_or(Ok(Vec::new()));
    Ok(RecordedEvent {
        position,
        stream: stream.ok_or_else(|| damaged("stream_id"))?,
        version: StreamVersion(bigint(row, 2)? as u64),
        event_id: EventId(uuid(row, 10)?),
        event_type: name(3, "type_id")?,
        schema_version: integer(row, 4)?.try_into().map_err(|_| damaged("schema_version"))?,
        command_id: CommandId(uuid(row, 11)?),
        provenance: Provenance {
            tenant: name(6, "tenant_id")?,
            actor: name(7, "actor_id")?,
            correlation_id: optional(12)?,
            causation_id: optional(13)?,
        },
        occurred_at: time(8, "occurred_at")?,
        recorded_at: time(9, "recorded_at")?,
        subjects: subjects.iter().map(|bytes| SubjectId(Uuid::from_bytes(*bytes))).collect(),
        tags: tags.map_err(|_| damaged("tags"))?,
        codec: codec.and_then(PayloadCodec::from_number).ok_or_else(|| damaged("codec"))?,
        payload: payloads.keep(field(row, 16)?.unwrap_or_default()),
    })
}

/// Payloads side by side in few allocations; whoever keeps one keeps its neighbours, up to
/// [`Self::LARGEST`] bytes.
pub(super) struct Payloads {
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

/// A bound for PostgreSQL, whose integers are signed: no counter comes near the difference.
pub(super) fn to_i64(counter: u64) -> i64 {
    i64::try_from(counter).unwrap_or(i64::MAX)
}
