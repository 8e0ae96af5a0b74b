//! Events and answers as they were recorded elsewhere, and what moving them needs to read.
//!
//! A batch is one transaction that holds the log's lock, as an append is. Its rows are copied in
//! rather than handed to a function: nothing is decided, and every row has its own time.

use std::collections::{BTreeSet, HashMap};
use std::convert::{Infallible, identity};
use std::num::NonZeroU32;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use foldhash::fast::RandomState;
use freehold_ports::{
    Appended, CommandId, Fingerprint, GlobalPosition, LogName, ReadError, RecordedAnswer,
    RecordedEvent, RestoreBatch, RestoreError, RestoreLog, StreamId, StreamVersion, Tag,
};
use sqlx::Executor as _;
use sqlx::postgres::{PgConnection, PgPool, PgRow};
use sqlx::{FromRow, Row as _};
use uuid::Uuid;

use super::batch::{Stream, lines};
use super::keeping::Keeper;
use super::reader::unavailable as unreadable;
use super::writer::{NO_PARTITION, number_names};
use super::{LONGEST_NAME, LogRow, PostgresEventStore};
use crate::database::{LIMIT, LONG_LIMIT, within};

type Map<K, V> = HashMap<K, V, RandomState>;

const ANSWERS: &str = "SELECT found.* FROM unnest($2::uuid[]) AS asked (id)
     CROSS JOIN LATERAL (
         SELECT command_id, version, position, events, fingerprint, answered_at FROM command
         WHERE command_id = asked.id AND log_id = $1 LIMIT 1
     ) AS found";

const WITHOUT_EVENTS: &str =
    "SELECT command_id, version, position, events, fingerprint, answered_at
     FROM command WHERE log_id = $1 AND ($2 IS NULL OR command_id > $2) AND events = 0
     ORDER BY command_id LIMIT $3";

/// Plans as in `append_events`: on tables that the planner believes empty, joins and scans would
/// read all of them.
const PREPARE: &str = "SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off;
     SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off";

struct Answer(RecordedAnswer);

impl FromRow<'_, PgRow> for Answer {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let number = |column| row.try_get::<i64, _>(column).map(|number| number as u64);
        let answered_at: i64 = row.try_get("answered_at")?;
        let events: i32 = row.try_get("events")?;
        Ok(Self(RecordedAnswer {
            command_id: CommandId(row.try_get("command_id")?),
            answer: Appended {
                version: StreamVersion(number("version")?),
                position: GlobalPosition(number("position")?),
                events: events as u32,
                repeated: false,
            },
            fingerprint: Fingerprint(row.try_get::<Uuid, _>("fingerprint")?.into_bytes()),
            answered_at: DateTime::from_timestamp_micros(answered_at)
                .ok_or_else(|| sqlx::Error::Decode("answered_at is no time".into()))?,
        }))
    }
}

/// Why a batch was not stored.
enum Failed {
    Refused(RestoreError),
    Driver(sqlx::Error),
}

impl From<sqlx::Error> for Failed {
    fn from(error: sqlx::Error) -> Self {
        Self::Driver(error)
    }
}

impl Failed {
    /// Whether only a partition is missing; then nothing was stored.
    fn for_want_of_a_partition(&self) -> bool {
        let Self::Driver(sqlx::Error::Database(error)) = self else { return false };
        error.code().as_deref() == Some(NO_PARTITION)
    }
}

#[async_trait]
impl RestoreLog for PostgresEventStore {
    async fn answers(
        &self,
        log: &LogName,
        commands: &[CommandId],
    ) -> Result<Vec<RecordedAnswer>, ReadError> {
        let answers = answers(self.reader.pool(), self.log(log)?, commands);
        within(LIMIT, identity, answers).await.map_err(unreadable)
    }

    async fn answers_without_events(
        &self,
        log: &LogName,
        after: Option<CommandId>,
        limit: NonZeroU32,
    ) -> Result<Vec<RecordedAnswer>, ReadError> {
        let found = sqlx::query_as(WITHOUT_EVENTS)
            .bind(self.log(log)?.id)
            .bind(after.map(|command| command.0))
            .bind(i64::from(limit.get()))
            .fetch_all(self.reader.pool());
        let found: Vec<Answer> = within(LIMIT, identity, found).await.map_err(unreadable)?;
        Ok(found.into_iter().map(|answer| answer.0).collect())
    }

    async fn restore(&self, log: &LogName, batch: RestoreBatch) -> Result<(), RestoreError> {
        check_names(&batch)?;
        let Some(Keeper { clock, partitions, news, .. }) = &self.keeper else {
            return Err(RestoreError::Unavailable {
                source: "the store was opened read-only".into(),
            });
        };
        let log = self.log(log).map_err(|_| RestoreError::UnknownLog(log.clone()))?;
        let ahead = partitions.command_retention.as_micros() as i64 / 2;
        check_times(&batch, clock.now().timestamp_micros().saturating_add(ahead))?;
        let store =
            || within(LONG_LIMIT, Failed::Driver, restore(self.database.pool(), log, &batch));
        let stored = match store().await {
            Err(failed) if failed.for_want_of_a_partition() => {
                let kept = partitions.keep(self.database.pool(), log, clock.now()).await;
                kept.map_err(unavailable)?;
                store().await
            }
            stored => stored,
        };
        stored.map_err(|failed| match failed {
            Failed::Refused(refusal) => refusal,
            Failed::Driver(error) => unavailable(error),
        })?;
        if let Some(last) = batch.events.last() {
            log.raise_head(last.position);
            news.notify_one();
        }
        Ok(())
    }
}

fn unavailable(error: sqlx::Error) -> RestoreError {
    RestoreError::Unavailable { source: error.into() }
}

/// Names that the server would refuse.
fn check_names(batch: &RestoreBatch) -> Result<(), RestoreError> {
    for event in &batch.events {
        for name in names_of(event) {
            if name.len() > LONGEST_NAME || name.contains('\0') {
                let shown: String = name.chars().take(100).collect();
                let what = format!("the name {shown:?} has more than 1,000 bytes or a NUL");
                return Err(RestoreError::Invalid { position: event.position, what });
            }
        }
    }
    Ok(())
}

/// Refuses answers from so far ahead that no partition is made for them.
fn check_times(batch: &RestoreBatch, latest: i64) -> Result<(), RestoreError> {
    for RecordedAnswer { command_id, answer, answered_at, .. } in &batch.answers {
        if answered_at.timestamp_micros() > latest {
            let what = format!("command {command_id} was answered in the future, {answered_at}");
            return Err(RestoreError::Invalid { position: answer.position, what });
        }
    }
    Ok(())
}

/// The texts of an event that are stored as numbers.
fn names_of(event: &RecordedEvent) -> [&str; 4] {
    let provenance = &event.provenance;
    [&event.event_type, event.stream.category(), &provenance.tenant, &provenance.actor]
}

async fn answers(
    executor: impl sqlx::PgExecutor<'_>,
    log: &LogRow,
    commands: &[CommandId],
) -> Result<Vec<RecordedAnswer>, sqlx::Error> {
    let ids: Vec<Uuid> = commands.iter().map(|command| command.0).collect();
    let found: Vec<Answer> =
        sqlx::query_as(ANSWERS).bind(log.id).bind(ids).fetch_all(executor).await?;
    Ok(found.into_iter().map(|answer| answer.0).collect())
}

/// Checks a batch and stores all of it under the log's lock.
async fn restore(pool: &PgPool, log: &LogRow, batch: &RestoreBatch) -> Result<(), Failed> {
    let names: BTreeSet<&str> = batch.events.iter().flat_map(names_of).collect();
    let names: Vec<&str> = names.into_iter().collect();
    // Committed before the lock is taken, as before an append.
    let ids: Map<&str, i32> = number_names(&mut *pool.acquire().await?, &names)
        .await?
        .into_iter()
        .map(|(place, id)| (names[place], id))
        .collect();

    let mut transaction = pool.begin().await?;
    transaction.execute(PREPARE).await?;
    let locked = sqlx::query("SELECT FROM log WHERE id = $1 AND epoch = $2 FOR NO KEY UPDATE")
        .bind(log.id)
        .bind(log.epoch)
        .fetch_optional(&mut *transaction)
        .await?;
    if locked.is_none() {
        let source = "the log is in another epoch; start again".into();
        return Err(Failed::Refused(RestoreError::Unavailable { source }));
    }
    let (head, recorded_at): (i64, i64) = sqlx::query_as(
        "SELECT position, recorded_at FROM log_head
         WHERE log_id = $1 ORDER BY position DESC LIMIT 1",
    )
    .bind(log.id)
    .fetch_one(&mut *transaction)
    .await?;
    let streams = streams(&mut transaction, log, batch).await?;
    let version = |stream: &StreamId| {
        Ok::<_, Infallible>(StreamVersion(streams.get(stream).map_or(0, |known| known.version)))
    };
    let recorded_at = DateTime::<Utc>::from_timestamp_micros(recorded_at).unwrap_or_default();
    let Ok(checked) = batch.check(&log.name, GlobalPosition(head as u64), recorded_at, version);
    checked.map_err(Failed::Refused)?;

    insert_answers(&mut transaction, log, &batch.answers).await?;
    if let Some(last) = batch.events.last() {
        insert_events(&mut transaction, log, batch, streams, &ids).await?;
        sqlx::query("INSERT INTO log_head (log_id, position, recorded_at) VALUES ($1, $2, $3)")
            .bind(log.id)
            .bind(last.position.0 as i64)
            .bind(last.recorded_at.timestamp_micros())
            .execute(&mut *transaction)
            .await?;
    }
    Ok(transaction.commit().await?)
}

/// Where those streams of a batch stand that have events.
async fn streams<'b>(
    connection: &mut PgConnection,
    log: &LogRow,
    batch: &'b RestoreBatch,
) -> Result<Map<&'b StreamId, Stream>, sqlx::Error> {
    let asked: BTreeSet<&StreamId> = batch.events.iter().map(|event| &event.stream).collect();
    let asked: Vec<&StreamId> = asked.into_iter().collect();
    let texts: Vec<&str> = asked.iter().map(|stream| stream.as_str()).collect();
    let found: Vec<(i64, i64, i64)> = sqlx::query_as(
        "SELECT place, found.id, found.version
         FROM unnest($2::text[]) WITH ORDINALITY AS asked (name, place)
         CROSS JOIN LATERAL (
             SELECT id, version FROM stream
             WHERE stream.name = asked.name AND log_id = $1 LIMIT 1
         ) AS found",
    )
    .bind(log.id)
    .bind(texts)
    .fetch_all(connection)
    .await?;
    let known = found.into_iter().map(|(place, id, version)| {
        (asked[place as usize - 1], Stream { id, version: version as u64 })
    });
    Ok(known.collect())
}

async fn insert_answers(
    connection: &mut PgConnection,
    log: &LogRow,
    restored: &[RecordedAnswer],
) -> Result<(), Failed> {
    if restored.is_empty() {
        return Ok(());
    }
    let commands: Vec<CommandId> = restored.iter().map(|answer| answer.command_id).collect();
    let known = answers(&mut *connection, log, &commands).await?;
    let known: Map<CommandId, RecordedAnswer> =
        known.into_iter().map(|answer| (answer.command_id, answer)).collect();
    let mut unknown = Vec::new();
    for answer in restored {
        match known.get(&answer.command_id) {
            None => unknown.push(answer),
            Some(known) if known == answer => {}
            Some(_) => {
                let command_id = answer.command_id;
                return Err(Failed::Refused(RestoreError::OtherAnswer { command_id }));
            }
        }
    }
    let numbers = |number: fn(&Appended) -> u64| -> Vec<i64> {
        unknown.iter().map(|one| number(&one.answer) as i64).collect()
    };
    let uuids = |uuid: fn(&RecordedAnswer) -> Uuid| -> Vec<Uuid> {
        unknown.iter().map(|one| uuid(one)).collect()
    };
    let times = unknown.iter().map(|one| one.answered_at.timestamp_micros());
    sqlx::query(
        "INSERT INTO command
             (log_id, answered_at, version, position, events, command_id, fingerprint)
         SELECT $1, at, version, position, events, id, fingerprint
         FROM unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::uuid[], $7::uuid[])
             AS restored (at, version, position, events, id, fingerprint)
         -- Those before the first partition were to be forgotten by now.
         WHERE (at >= (SELECT nullif(min(lower), 0) FROM partition WHERE log_id IS NULL))
             IS NOT FALSE",
    )
    .bind(log.id)
    .bind(times.collect::<Vec<_>>())
    .bind(numbers(|answer| answer.version.0))
    .bind(numbers(|answer| answer.position.0))
    .bind(numbers(|answer| u64::from(answer.events)))
    .bind(uuids(|answer| answer.command_id.0))
    .bind(uuids(|answer| Uuid::from_bytes(answer.fingerprint.0)))
    .execute(connection)
    .await?;
    Ok(())
}

/// A stream that events of the batch belong to.
struct Touched {
    id: i64,
    is_new: bool,
    version: u64,
    last_position: u64,
}

async fn insert_events(
    connection: &mut PgConnection,
    log: &LogRow,
    batch: &RestoreBatch,
    known: Map<&StreamId, Stream>,
    names: &Map<&str, i32>,
) -> Result<(), sqlx::Error> {
    let mut events = CopyRows::new(19);
    let mut tags = CopyRows::new(4);
    let mut touched: Map<&StreamId, Touched> = Map::default();
    for event in &batch.events {
        let position = event.position.0;
        let stream =
            touched.entry(&event.stream).or_insert_with(|| match known.get(&event.stream) {
                Some(known) => {
                    Touched { id: known.id, is_new: false, version: 0, last_position: 0 }
                }
                // A stream's id is the position of its first event.
                None => Touched { id: position as i64, is_new: true, version: 0, last_position: 0 },
            });
        (stream.version, stream.last_position) = (event.version.0, position);
        let [event_type, category, tenant, actor] = names_of(event).map(|name| names[name]);
        let subjects: Vec<u8> = event.subjects.iter().flat_map(|s| s.0.into_bytes()).collect();
        let id = |id: Option<Uuid>| id.map(Uuid::into_bytes);
        events.begin();
        events.field(&(position as i64).to_be_bytes());
        events.field(&stream.id.to_be_bytes());
        events.field(&(event.version.0 as i64).to_be_bytes());
        events.field(&event.occurred_at.timestamp_micros().to_be_bytes());
        events.field(&event.recorded_at.timestamp_micros().to_be_bytes());
        events.field(&category.to_be_bytes());
        events.field(&event_type.to_be_bytes());
        events.field(&tenant.to_be_bytes());
        events.field(&actor.to_be_bytes());
        events.field(&i32::from(event.schema_version).to_be_bytes());
        events.field(&log.id.to_be_bytes());
        events.field(&i16::from(event.codec.number()).to_be_bytes());
        events.field(event.event_id.0.as_bytes());
        events.field(event.command_id.0.as_bytes());
        events.field_or_null(id(event.provenance.correlation_id));
        events.field_or_null(id(event.provenance.causation_id));
        events.field_or_null((!subjects.is_empty()).then_some(subjects));
        events.field_or_null(lines(&event.tags));
        events.field(&event.payload);
        let distinct: BTreeSet<&str> = event.tags.iter().map(Tag::as_str).collect();
        for tag in distinct {
            tags.begin();
            tags.field(&(position as i64).to_be_bytes());
            tags.field(&tenant.to_be_bytes());
            tags.field(&log.id.to_be_bytes());
            tags.field(tag.as_bytes());
        }
    }
    write_streams(connection, log, &touched, names).await?;
    events
        .copy(
            connection,
            "COPY event (position, stream_id, version, occurred_at, recorded_at, category_id,
                 type_id, tenant_id, actor_id, schema_version, log_id, codec, event_id, command_id,
                 correlation_id, causation_id, subjects, tags, payload)
             FROM STDIN (FORMAT binary)",
        )
        .await?;
    tags.copy(connection, "COPY tag (position, tenant_id, log_id, tag) FROM STDIN (FORMAT binary)")
        .await
}

async fn write_streams(
    connection: &mut PgConnection,
    log: &LogRow,
    touched: &Map<&StreamId, Touched>,
    names: &Map<&str, i32>,
) -> Result<(), sqlx::Error> {
    let (new, old): (Vec<_>, Vec<_>) = touched.iter().partition(|(_, stream)| stream.is_new);
    type Streams<'s> = [(&'s &'s StreamId, &'s Touched)];
    fn column<T>(streams: &Streams<'_>, value: impl Fn(&StreamId, &Touched) -> T) -> Vec<T> {
        streams.iter().map(|(name, stream)| value(name, stream)).collect()
    }
    sqlx::query(
        "INSERT INTO stream (log_id, category_id, id, version, last_position, name)
         SELECT $1, s.category, s.id, s.version, s.last, s.name
         FROM unnest($2::integer[], $3::bigint[], $4::bigint[], $5::bigint[], $6::text[])
             AS s (category, id, version, last, name)",
    )
    .bind(log.id)
    .bind(column(&new, |name, _| names[name.category()]))
    .bind(column(&new, |_, stream| stream.id))
    .bind(column(&new, |_, stream| stream.version as i64))
    .bind(column(&new, |_, stream| stream.last_position as i64))
    .bind(column(&new, |name, _| name.as_str().to_owned()))
    .execute(&mut *connection)
    .await?;
    sqlx::query(
        "UPDATE stream AS s SET version = found.version, last_position = found.last
         FROM (
             SELECT old.version, old.last, (
                 SELECT s.ctid FROM stream AS s WHERE s.log_id = $1 AND s.id = old.id LIMIT 1
             ) AS place
             FROM unnest($2::bigint[], $3::bigint[], $4::bigint[]) AS old (id, version, last)
             OFFSET 0
         ) AS found
         WHERE s.ctid = found.place",
    )
    .bind(log.id)
    .bind(column(&old, |_, stream| stream.id))
    .bind(column(&old, |_, stream| stream.version as i64))
    .bind(column(&old, |_, stream| stream.last_position as i64))
    .execute(connection)
    .await?;
    Ok(())
}

/// Rows in the binary format of COPY.
struct CopyRows {
    fields: i16,
    bytes: Vec<u8>,
}

impl CopyRows {
    const HEADER: &'static [u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
    const TRAILER: [u8; 2] = (-1_i16).to_be_bytes();

    fn new(fields: i16) -> Self {
        Self { fields, bytes: Self::HEADER.to_vec() }
    }

    /// Begins a row; its fields follow in the order of the statement's columns.
    fn begin(&mut self) {
        self.bytes.extend_from_slice(&self.fields.to_be_bytes());
    }

    fn field(&mut self, value: &[u8]) {
        let length = i32::try_from(value.len()).expect("a batch is smaller than 2 GiB");
        self.bytes.extend_from_slice(&length.to_be_bytes());
        self.bytes.extend_from_slice(value);
    }

    fn field_or_null(&mut self, value: Option<impl AsRef<[u8]>>) {
        match value {
            Some(value) => self.field(value.as_ref()),
            None => self.bytes.extend_from_slice(&(-1_i32).to_be_bytes()),
        }
    }

    async fn copy(mut self, to: &mut PgConnection, statement: &str) -> Result<(), sqlx::Error> {
        if self.bytes.len() == Self::HEADER.len() {
            return Ok(());
        }
        self.bytes.extend_from_slice(&Self::TRAILER);
        let mut copy = to.copy_in_raw(statement).await?;
        copy.send(self.bytes).await?;
        copy.finish().await?;
        Ok(())
    }
}
