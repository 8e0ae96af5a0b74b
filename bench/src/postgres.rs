//! A schema of its own on a PostgreSQL server: filled at once, written and read by hand.
//!
//! By hand: the rows of the log's own tables, columns as arrays, one statement and so one round
//! trip and one transaction a batch, one connection, nothing looked up or decided.

use std::time::{Duration, Instant};

use anyhow::bail;
use freehold_ports::{AppendRequest, ExpectedVersion, StreamVersion};
use freehold_servers::{Options, Postgres};
use freehold_test_stores::Schema;
use sqlx::{Connection as _, Executor as _, PgConnection, Row as _};
use uuid::Uuid;

use crate::append::Caller;

/// The server that `TEST_POSTGRES_URL` names, or a private one set up as for production, with
/// files for its write-ahead log as one that has run for a while writes over: making and zeroing
/// new ones while it is measured took an eighth of the server's time.
pub(crate) async fn server() -> anyhow::Result<Postgres> {
    const RECYCLED: &str = "SELECT count(pg_logical_emit_message(false, '', repeat('x', 1000000)))
         FROM generate_series(1, 4000)";
    let settings = [
        ("shared_buffers", "2GB"),
        ("max_wal_size", "8GB"),
        ("min_wal_size", "4GB"),
        ("checkpoint_timeout", "15min"),
        ("max_connections", "200"),
    ];
    let settings = settings.map(|(name, value)| (name, value.to_owned())).into();
    let server =
        Postgres::given_or_start(&Options { fsync: true, settings, ..Options::default() })?;
    if std::env::var_os(freehold_servers::URL).is_none() {
        let mut connection = PgConnection::connect(server.url()).await?;
        connection.execute(RECYCLED).await?;
        connection.close().await?;
    }
    Ok(server)
}

/// An empty schema, dropped with its value, right after a checkpoint.
pub(crate) async fn fresh_schema(server: &str) -> anyhow::Result<Schema> {
    let mut connection = PgConnection::connect(server).await?;
    let fsync: String = sqlx::query_scalar("SHOW fsync").fetch_one(&mut connection).await?;
    if fsync != "on" {
        bail!("the server has fsync off, so its figures mean nothing");
    }
    connection.execute("CHECKPOINT").await?;
    connection.close().await?;
    Ok(Schema::on(server)?)
}

/// Adds events to the domain log of a store that was opened and closed: of 1,000 callers who
/// write in turn, each so many to a stream before the next. Indexes grow as they do in use.
pub(crate) async fn fill(schema: &Schema, events: u64, of_stream: u64) -> anyhow::Result<()> {
    const STEP: u64 = 500_000;
    let mut connection = PgConnection::connect(&schema.url()).await?;
    connection.execute(include_str!("fill.sql")).await?;
    for first in (1..=events).step_by(STEP as usize) {
        sqlx::query("CALL pg_temp.fill($1, $2, $3)")
            .bind(first as i64)
            .bind(events.min(first + STEP - 1) as i64)
            .bind(of_stream as i64)
            .execute(&mut connection)
            .await?;
    }
    // As the server would have done meanwhile.
    for sql in ["VACUUM (ANALYZE) event, stream, command, tag, name", "CHECKPOINT"] {
        connection.execute(sql).await?;
    }
    Ok(connection.close().await?)
}

const WRITE: &str = "
    WITH events AS (
        INSERT INTO event (
            position, stream_id, version, occurred_at, recorded_at, category_id, type_id,
            tenant_id, actor_id, schema_version, log_id, codec, event_id, command_id,
            correlation_id, causation_id, subjects, tags, payload)
        SELECT $1 + e.n, e.stream, e.version, e.time, e.time, 1, 1, 1, 1, 1, 1, 1, e.id,
            e.command_id, e.correlation_id, NULL, NULL, e.tag, e.payload
        FROM unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::uuid[], $6::uuid[], $7::uuid[],
            $8::text[], $9::bytea[]) WITH ORDINALITY
        AS e (stream, version, time, id, command_id, correlation_id, tag, payload, n)
    ), tags AS (
        INSERT INTO tag (position, tenant_id, log_id, tag)
        SELECT $1 + t.n, 1, 1, t.tag FROM unnest($8::text[]) WITH ORDINALITY AS t (tag, n)
    ), commands AS (
        INSERT INTO command
            (answered_at, version, position, events, log_id, command_id, fingerprint)
        SELECT c.time, c.version, c.position, $10, 1, c.id, c.fingerprint
        FROM unnest($11::bigint[], $12::bigint[], $13::bigint[], $14::uuid[], $15::uuid[])
        AS c (time, version, position, id, fingerprint)
    ), new_streams AS (
        INSERT INTO stream (log_id, category_id, id, version, last_position, name)
        SELECT 1, 1, s.id, s.version, s.last, s.name
        FROM unnest($16::bigint[], $17::bigint[], $18::bigint[], $19::text[])
        AS s (id, version, last, name)
    ), old_streams AS (
        -- All of them are there: an UPDATE is the same, but its join can be turned round.
        INSERT INTO stream (log_id, category_id, id, version, last_position, name)
        SELECT 1, 1, old.id, old.version, old.last, ''
        FROM unnest($20::bigint[], $21::bigint[], $22::bigint[]) AS old (id, version, last)
        ON CONFLICT (log_id, id) DO UPDATE
        SET version = excluded.version, last_position = excluded.last_position
    )
    INSERT INTO log_head (log_id, position, recorded_at) VALUES (1, $23, $24)";

#[derive(Default)]
struct Columns<'r> {
    streams: Vec<i64>,
    versions: Vec<i64>,
    times: Vec<i64>,
    ids: Vec<Uuid>,
    command_ids: Vec<Uuid>,
    correlation_ids: Vec<Option<Uuid>>,
    tags: Vec<&'r str>,
    payloads: Vec<&'r [u8]>,
    answered_at: Vec<i64>,
    answer_versions: Vec<i64>,
    answer_positions: Vec<i64>,
    answered: Vec<Uuid>,
    fingerprints: Vec<Uuid>,
    new_ids: Vec<i64>,
    new_versions: Vec<i64>,
    new_last: Vec<i64>,
    new_names: Vec<&'r str>,
    old_ids: Vec<i64>,
    old_versions: Vec<i64>,
    old_last: Vec<i64>,
}

impl<'r> Columns<'r> {
    /// The rows of requests that follow `head`; remembers the ids of streams beside them.
    fn of(
        requests: &'r [AppendRequest],
        stream_ids: &mut [i64],
        head: i64,
    ) -> anyhow::Result<Self> {
        let mut columns = Self::default();
        for (request, stream_id) in requests.iter().zip(stream_ids) {
            let ExpectedVersion::Exactly(StreamVersion(before)) = request.expected else {
                bail!("callers say which version they expect");
            };
            let first = head + columns.ids.len() as i64 + 1;
            let last = first - 1 + request.events.len() as i64;
            let version = (before as usize + request.events.len()) as i64;
            if before == 0 {
                *stream_id = first;
                columns.new_ids.push(first);
                columns.new_versions.push(version);
                columns.new_last.push(last);
                columns.new_names.push(request.stream.as_str());
            } else {
                columns.old_ids.push(*stream_id);
                columns.old_versions.push(version);
                columns.old_last.push(last);
            }
            for (event, version) in request.events.iter().zip(before as i64 + 1..) {
                columns.streams.push(*stream_id);
                columns.versions.push(version);
                columns.times.push(event.occurred_at.timestamp_micros());
                columns.ids.push(event.event_id.0);
                columns.command_ids.push(request.command_id.0);
                columns.correlation_ids.push(request.provenance.correlation_id);
                columns.tags.push(event.tags[0].as_str());
                columns.payloads.push(&event.payload);
            }
            columns.answered_at.push(request.events[0].occurred_at.timestamp_micros());
            columns.answer_versions.push(version);
            columns.answer_positions.push(last);
            columns.answered.push(request.command_id.0);
            columns.fingerprints.push(Uuid::from_bytes(request.fingerprint.0));
        }
        Ok(columns)
    }
}

/// Requests a second whose rows are written, one of each caller in a durable transaction.
pub(crate) async fn rows_written(
    schema: &Schema,
    mut callers: Vec<Caller>,
    duration: Duration,
) -> anyhow::Result<f64> {
    let mut connection = PgConnection::connect(&schema.url()).await?;
    // What a plan for an empty table would get wrong later.
    let settings = "SET plan_cache_mode = force_generic_plan; SET jit = off;
         SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_seqscan = off";
    connection.execute(settings).await?;
    let head = "SELECT max(position) FROM log_head WHERE log_id = 1";
    let mut head: i64 = sqlx::query_scalar(head).fetch_one(&mut connection).await?;
    let mut stream_ids = vec![0; callers.len()];
    let (mut written, mut time) = (0, Duration::ZERO);
    while time < duration {
        // Making the requests is the callers' work, not the store's.
        let requests: Vec<_> = callers.iter_mut().map(Caller::next).collect();
        let started = Instant::now();
        let columns = Columns::of(&requests, &mut stream_ids, head)?;
        let next_head = head + columns.ids.len() as i64;
        sqlx::query(WRITE)
            .bind(head)
            .bind(columns.streams)
            .bind(columns.versions)
            .bind(&columns.times)
            .bind(columns.ids)
            .bind(columns.command_ids)
            .bind(columns.correlation_ids)
            .bind(columns.tags)
            .bind(columns.payloads)
            .bind(requests[0].events.len() as i32)
            .bind(columns.answered_at)
            .bind(columns.answer_versions)
            .bind(columns.answer_positions)
            .bind(columns.answered)
            .bind(columns.fingerprints)
            .bind(columns.new_ids)
            .bind(columns.new_versions)
            .bind(columns.new_last)
            .bind(columns.new_names)
            .bind(columns.old_ids)
            .bind(columns.old_versions)
            .bind(columns.old_last)
            .bind(next_head)
            .bind(columns.times[0])
            .execute(&mut connection)
            .await?;
        time += started.elapsed();
        head = next_head;
        written += requests.len();
    }
    connection.close().await?;
    Ok(written as f64 / time.as_secs_f64())
}

/// Rows a second read behind `after` in pages, every column of each copied.
pub(crate) async fn rows_read(
    schema: &Schema,
    after: u64,
    events: u64,
    page: u32,
) -> anyhow::Result<f64> {
    let mut connection = PgConnection::connect(&schema.url()).await?;
    let (mut after, end, mut bytes) = (after as i64, (after + events) as i64, 0);
    let started = Instant::now();
    while after < end {
        let sql = "SELECT * FROM event WHERE log_id = 1 AND position > $1 AND position <= $2
             ORDER BY position";
        let to = after + i64::from(page);
        let rows = sqlx::query(sql).bind(after).bind(to).fetch_all(&mut connection).await?;
        if rows.is_empty() {
            bail!("nothing behind position {after}");
        }
        for row in &rows {
            for column in 0..row.len() {
                let value = row.try_get_raw(column)?;
                if let Ok(value) = value.as_bytes() {
                    bytes += value.to_vec().len();
                }
            }
        }
        after = to;
    }
    std::hint::black_box(bytes);
    let rate = events as f64 / started.elapsed().as_secs_f64();
    connection.close().await?;
    Ok(rate)
}
