//! The raw limit: the same rows inserted by hand, nothing looked up or decided.
//!
//! One connection, one prepared statement with `unnest` arrays, one event of each caller in a
//! transaction (of a batch, as many events, at most 1,000); read back in pages by position.

use std::time::Instant;

use anyhow::bail;
use chrono::Utc;
use sqlx::{Connection as _, Executor as _, PgConnection, Row as _};
use uuid::Uuid;

use super::{Asked, EVENTS_OF_FILLED, EVENTS_OF_STREAM, Measured, Span, Times, Workload, analyse};
use crate::history::History;

const TABLE: &str = "CREATE TABLE event (
    position bigint PRIMARY KEY,
    stream uuid NOT NULL,
    version bigint NOT NULL,
    event_id uuid NOT NULL,
    event_type text NOT NULL,
    occurred_at timestamptz NOT NULL,
    payload bytea NOT NULL,
    UNIQUE (stream, version))";
const INSERT: &str = "INSERT INTO event SELECT * FROM unnest(
    $1::bigint[], $2::uuid[], $3::bigint[], $4::uuid[], $5::text[], $6::timestamptz[], $7::bytea[])";
const PAGE: &str = "SELECT * FROM event WHERE position > $1 ORDER BY position LIMIT 1000";
const MOST: u64 = 1_000;

struct Table<'a> {
    connection: PgConnection,
    history: &'a History,
    position: i64,
}

impl Table<'_> {
    /// Inserts the next event of each stream.
    async fn insert(&mut self, streams: impl Iterator<Item = (Uuid, u64)>) -> anyhow::Result<()> {
        let (streams, versions): (Vec<Uuid>, Vec<i64>) =
            streams.map(|(stream, version)| (stream, version as i64)).unzip();
        let count = streams.len() as i64;
        let positions: Vec<i64> = (self.position + 1..=self.position + count).collect();
        self.position += count;
        let ids: Vec<Uuid> = versions.iter().map(|_| Uuid::now_v7()).collect();
        let events: Vec<_> =
            versions.iter().map(|version| self.history.at(*version as u64)).collect();
        let types: Vec<&str> = events.iter().map(|event| &*event.event_type).collect();
        let payloads: Vec<&[u8]> = events.iter().map(|event| &*event.payload).collect();
        sqlx::query(INSERT)
            .bind(positions)
            .bind(streams)
            .bind(versions)
            .bind(ids)
            .bind(types)
            .bind(vec![Utc::now(); events.len()])
            .bind(payloads)
            .execute(&mut self.connection)
            .await?;
        Ok(())
    }
}

pub(super) async fn run(asked: &Asked, history: &History) -> anyhow::Result<Vec<Measured>> {
    let mut connection = PgConnection::connect(&asked.url).await?;
    connection.execute(TABLE).await?;
    let mut table = Table { connection, history, position: 0 };
    let callers = asked.callers as u64;
    let (row, rows, events_of_stream) = match asked.workload {
        Workload::Fresh => ("fresh", callers, 1),
        Workload::Twenty => ("twenty", callers, EVENTS_OF_STREAM),
        Workload::Batch10 => ("batch-10", (callers * 10).min(MOST), 10),
        Workload::Batch100 => ("batch-100", (callers * 100).min(MOST), 100),
        Workload::Batch1000 => ("batch-1000", MOST, MOST),
        Workload::Read => return read(asked, table).await,
        Workload::Hot | Workload::Tail => bail!("nothing is decided or followed by hand"),
    };
    // A batch has its stream to itself; single events are the next of each caller's stream.
    let batches = events_of_stream > 1 && asked.workload != Workload::Twenty;
    let mut streams: Vec<(Uuid, u64)> = vec![(Uuid::nil(), 0); rows as usize];
    let span = Span::now(asked.seconds);
    let mut times = Times::default();
    while Instant::now() < span.until {
        let mut stream = Uuid::nil();
        for (number, next) in (0_u64..).zip(&mut streams) {
            if batches {
                let version = number % events_of_stream;
                if version == 0 {
                    stream = Uuid::now_v7();
                }
                *next = (stream, version + 1);
            } else if next.1.is_multiple_of(events_of_stream) {
                *next = (Uuid::now_v7(), 1);
            } else {
                next.1 += 1;
            }
        }
        let sent = Instant::now();
        table.insert(streams.iter().copied()).await?;
        times.note(span, sent);
    }
    Ok(vec![times.row(row, asked, span, rows, "events/s")])
}

async fn read(asked: &Asked, mut table: Table<'_>) -> anyhow::Result<Vec<Measured>> {
    while (table.position as u64) < asked.count {
        let streams = (0..MOST / EVENTS_OF_FILLED).flat_map(|_| {
            let stream = Uuid::now_v7();
            (1..=EVENTS_OF_FILLED).map(move |version| (stream, version))
        });
        table.insert(streams).await?;
    }
    analyse(&asked.url).await?;
    let started = Instant::now();
    let (mut after, mut events) = (0_i64, 0_u64);
    loop {
        let rows = sqlx::query(PAGE).bind(after).fetch_all(&mut table.connection).await?;
        if rows.is_empty() {
            break;
        }
        for row in &rows {
            let _: (Uuid, i64, Uuid) = (row.try_get(1)?, row.try_get(2)?, row.try_get(3)?);
            let _: (&str, &[u8]) = (row.try_get(4)?, row.try_get(6)?);
            after = row.try_get(0)?;
        }
        events += rows.len() as u64;
    }
    Ok(vec![Measured {
        row: "catch-up".to_owned(),
        callers: 1,
        value: events as f64 / started.elapsed().as_secs_f64(),
        unit: "events/s".to_owned(),
        events,
        p50_ms: None,
        p95_ms: None,
        p99_ms: None,
        lost: Some(asked.count.saturating_sub(events)),
        doubled: Some(0),
    }])
}
