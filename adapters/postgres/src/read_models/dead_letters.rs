//! Streams that generations have parked, in the transactions of their rows.

use std::collections::HashSet;
use std::num::NonZeroU32;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use freehold_ports::{
    DeadLetter, EventId, Fault, GenerationId, GlobalPosition, LetterChange, LetterFilter,
    LetterGroup, LetterId, ReadModelError, RetryPace, StreamId, StreamVersion, Tried,
};
use sqlx::postgres::{PgArguments, PgConnection, PgPool, PgRow};
use sqlx::query::Query;
use sqlx::{Postgres, Row as _};

use super::unavailable;

const COLUMNS: &str = "projection, number, stream, position, log, version, event_id::text,
    event_type, recorded_at, error, fault, attempts, parked_at, tried_at, done_through, waiting,
    CASE WHEN held_until > retry_at THEN held_until ELSE retry_at END, retry_by";

/// Letters of active generations that a filter's four conditions let through.
const SHOWN: &str = "dead_letter
    JOIN (SELECT projection, number FROM generation WHERE state = 'active') AS active
    USING (projection, number)
    WHERE ($1::text IS NULL OR projection = $1) AND ($2::text IS NULL OR stream = $2)
      AND ($3::text IS NULL OR event_type = $3) AND ($4::text IS NULL OR strpos(error, $4) > 0)";

/// Writes what a commit does to letters; its mark has been moved before. What a page parks and what
/// waits is one statement each, whatever the number of streams: others wait for the generation.
pub(super) async fn change(
    connection: &mut PgConnection,
    generation: &GenerationId,
    changes: &[LetterChange],
) -> Result<(), ReadModelError> {
    let (mut parks, mut waits, mut others) = (Vec::new(), Vec::new(), Vec::new());
    for change in changes {
        match change {
            LetterChange::Park(letter) => parks.push(letter),
            LetterChange::Wait { stream, events } => waits.push((stream, *events as i64)),
            LetterChange::Tried { stream, position, at, outcome } => {
                others.push((stream, *position, *at, outcome));
            }
        }
    }
    let moved = |stream: &StreamId| {
        let (generation, stream) = (generation.clone(), stream.clone());
        ReadModelError::LetterMoved { generation, stream }
    };
    if !parks.is_empty() {
        let parked = park(connection, &parks).await.map_err(unavailable)?;
        if let Some(stream) = first_lacking(parks.iter().map(|letter| &letter.id.stream), parked) {
            return Err(moved(stream));
        }
    }
    if !waits.is_empty() {
        let counted = wait(connection, generation, &waits).await.map_err(unavailable)?;
        if let Some(stream) = first_lacking(waits.iter().map(|(stream, _)| *stream), counted) {
            return Err(moved(stream));
        }
    }
    for (stream, position, at, outcome) in others {
        let changed = tried(connection, generation, stream, position, at, outcome).await;
        if !changed.map_err(unavailable)? {
            return Err(moved(stream));
        }
    }
    Ok(())
}

/// The first of the streams that a statement did not answer, as often as it is there.
fn first_lacking<'a>(
    streams: impl Iterator<Item = &'a StreamId>,
    answered: Vec<String>,
) -> Option<&'a StreamId> {
    let mut answered: HashSet<String> = answered.into_iter().collect();
    let mut streams = streams;
    streams.find(|stream| !answered.remove(stream.as_str()))
}

async fn wait(
    connection: &mut PgConnection,
    generation: &GenerationId,
    waits: &[(&StreamId, i64)],
) -> Result<Vec<String>, sqlx::Error> {
    let (streams, events): (Vec<&str>, Vec<i64>) =
        waits.iter().map(|(stream, events)| (stream.as_str(), *events)).unzip();
    // Each is looked up by its key: the planner believes that a generation has one letter, and would
    // compare every stream with every letter. Letters stay where they are, their generation is
    // locked.
    sqlx::query_scalar(
        "UPDATE dead_letter AS letter SET waiting = waiting + more
         FROM (
             SELECT more, (
                 SELECT ctid FROM dead_letter
                 WHERE projection = $1 AND number = $2 AND stream = which
             ) AS place
             FROM unnest($3::text[], $4::bigint[]) AS waits (which, more) OFFSET 0
         ) AS found
         WHERE letter.ctid = found.place
         RETURNING stream",
    )
    .bind(&*generation.projection)
    .bind(i64::from(generation.number))
    .bind(streams)
    .bind(events)
    .fetch_all(connection)
    .await
}

type Statement<'q> = Query<'q, Postgres, PgArguments>;

/// A statement whose first three parameters say which letter.
fn of<'q>(sql: &'q str, generation: &'q GenerationId, stream: &'q StreamId) -> Statement<'q> {
    let number = i64::from(generation.number);
    sqlx::query(sql).bind(&*generation.projection).bind(number).bind(stream.as_str())
}

async fn changes_one(
    connection: &mut PgConnection,
    statement: Statement<'_>,
) -> Result<bool, sqlx::Error> {
    Ok(statement.execute(connection).await?.rows_affected() == 1)
}

/// Parks streams that are not; answers which.
async fn park(
    connection: &mut PgConnection,
    letters: &[&DeadLetter],
) -> Result<Vec<String>, sqlx::Error> {
    let texts = |of: fn(&DeadLetter) -> &str| -> Vec<&str> {
        letters.iter().map(|letter| of(letter)).collect()
    };
    let numbers = |of: fn(&DeadLetter) -> i64| -> Vec<i64> {
        letters.iter().map(|letter| of(letter)).collect()
    };
    let ids: Vec<String> = letters.iter().map(|letter| letter.event_id.0.to_string()).collect();
    let retry_at = letters.iter().map(|letter| letter.retry_at.map(|at| at.timestamp_micros()));
    let retry_by: Vec<Option<&str>> =
        letters.iter().map(|letter| letter.retry_by.as_deref()).collect();
    sqlx::query_scalar(
        "INSERT INTO dead_letter (projection, number, stream, position, log, version, event_id,
            event_type, recorded_at, error, fault, attempts, parked_at, tried_at, done_through,
            waiting, retry_at, retry_by)
         SELECT projection, number, stream, position, log, version, event_id::uuid, event_type,
            recorded_at, error, fault, attempts, parked_at, tried_at, done_through, waiting,
            retry_at, retry_by
         FROM unnest($1::text[], $2::bigint[], $3::text[], $4::bigint[], $5::text[], $6::bigint[],
            $7::text[], $8::text[], $9::bigint[], $10::text[], $11::text[], $12::bigint[],
            $13::bigint[], $14::bigint[], $15::bigint[], $16::bigint[], $17::bigint[], $18::text[])
            AS letters (projection, number, stream, position, log, version, event_id, event_type,
                recorded_at, error, fault, attempts, parked_at, tried_at, done_through, waiting,
                retry_at, retry_by)
         ON CONFLICT DO NOTHING
         RETURNING stream",
    )
    .bind(texts(|letter| &letter.id.generation.projection))
    .bind(numbers(|letter| i64::from(letter.id.generation.number)))
    .bind(texts(|letter| letter.id.stream.as_str()))
    .bind(numbers(|letter| letter.id.position.0 as i64))
    .bind(texts(|letter| letter.log.as_str()))
    .bind(numbers(|letter| letter.version.0 as i64))
    .bind(ids)
    .bind(texts(|letter| &letter.event_type))
    .bind(numbers(|letter| letter.recorded_at.timestamp_micros()))
    .bind(texts(|letter| &letter.error))
    .bind(texts(|letter| letter.fault.as_str()))
    .bind(numbers(|letter| i64::from(letter.attempts)))
    .bind(numbers(|letter| letter.parked_at.timestamp_micros()))
    .bind(numbers(|letter| letter.tried_at.timestamp_micros()))
    .bind(numbers(|letter| letter.done_through.0 as i64))
    .bind(numbers(|letter| letter.waiting as i64))
    .bind(retry_at.collect::<Vec<Option<i64>>>())
    .bind(retry_by)
    .fetch_all(connection)
    .await
}

async fn tried(
    connection: &mut PgConnection,
    generation: &GenerationId,
    stream: &StreamId,
    position: GlobalPosition,
    at: DateTime<Utc>,
    outcome: &Tried,
) -> Result<bool, sqlx::Error> {
    let position = position.0 as i64;
    let delete = "DELETE FROM dead_letter
        WHERE projection = $1 AND number = $2 AND stream = $3 AND position = $4";
    match outcome {
        Tried::Resolved => {
            changes_one(connection, of(delete, generation, stream).bind(position)).await
        }
        Tried::FailedLater(letter) => {
            let deleted = of(delete, generation, stream).bind(position);
            Ok(changes_one(connection, deleted).await?
                && !park(connection, &[letter]).await?.is_empty())
        }
        Tried::Onwards { done_through, waiting } => {
            let sql = "UPDATE dead_letter SET tried_at = $5, done_through = $6, waiting = $7
                WHERE projection = $1 AND number = $2 AND stream = $3 AND position = $4";
            let update = of(sql, generation, stream)
                .bind(position)
                .bind(at.timestamp_micros())
                .bind(done_through.0 as i64)
                .bind(*waiting as i64);
            changes_one(connection, update).await
        }
        Tried::Failed { error, fault, retry_at } => {
            let sql = "UPDATE dead_letter
                SET tried_at = $5, error = $6, fault = $7, attempts = attempts + 1, retry_at = $8
                WHERE projection = $1 AND number = $2 AND stream = $3 AND position = $4";
            let update = of(sql, generation, stream)
                .bind(position)
                .bind(at.timestamp_micros())
                .bind(&**error)
                .bind(fault.as_str())
                .bind(retry_at.map(|at| at.timestamp_micros()));
            changes_one(connection, update).await
        }
    }
}

/// Refuses a swap after which readers would lose events of a parked stream. The rows of both
/// generations are locked.
pub(super) async fn check_swap(
    connection: &mut PgConnection,
    next: &GenerationId,
    active: i64,
    checkpoint: GlobalPosition,
) -> Result<(), ReadModelError> {
    let lacking = sqlx::query_as(
        "SELECT stream, position FROM dead_letter AS next
         WHERE projection = $1 AND number = $2 AND position <= $4 AND NOT EXISTS (
             SELECT 1 FROM dead_letter AS shown
             WHERE shown.projection = $1 AND shown.number = $3 AND shown.stream = next.stream
               AND shown.done_through <= next.done_through
         )
         ORDER BY position LIMIT 1",
    );
    let lacking: Option<(String, i64)> = lacking
        .bind(&*next.projection)
        .bind(i64::from(next.number))
        .bind(active)
        .bind(checkpoint.0 as i64)
        .fetch_optional(connection)
        .await
        .map_err(unavailable)?;
    let Some((stream, position)) = lacking else { return Ok(()) };
    let (generation, stream) = (next.clone(), stream.parse().map_err(malformed)?);
    Err(ReadModelError::Lacks { generation, stream, position: GlobalPosition(position as u64) })
}

pub(super) async fn parked(
    pool: &PgPool,
    generation: &GenerationId,
) -> Result<Vec<DeadLetter>, ReadModelError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM dead_letter WHERE projection = $1 AND number = $2 ORDER BY stream"
    );
    let rows = sqlx::query(&sql)
        .bind(&*generation.projection)
        .bind(i64::from(generation.number))
        .fetch_all(pool)
        .await
        .map_err(unavailable)?;
    rows.iter().map(letter).collect()
}

fn filtered<'q>(sql: &'q str, filter: &'q LetterFilter) -> Statement<'q> {
    sqlx::query(sql)
        .bind(filter.projection.as_deref())
        .bind(filter.stream.as_ref().map(StreamId::as_str))
        .bind(filter.event_type.as_deref())
        .bind(filter.error.as_deref())
}

pub(super) async fn list(
    pool: &PgPool,
    filter: &LetterFilter,
    after: Option<&LetterId>,
    limit: NonZeroU32,
) -> Result<Vec<DeadLetter>, ReadModelError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM {SHOWN}
           AND ($5::text IS NULL OR (projection, number, stream) > ($5, $6, $7))
         ORDER BY projection, number, stream LIMIT {limit}"
    );
    let rows = filtered(&sql, filter)
        .bind(after.map(|id| &*id.generation.projection))
        .bind(after.map(|id| i64::from(id.generation.number)))
        .bind(after.map(|id| id.stream.as_str()))
        .fetch_all(pool)
        .await
        .map_err(unavailable)?;
    rows.iter().map(letter).collect()
}

pub(super) async fn groups(
    pool: &PgPool,
    filter: &LetterFilter,
) -> Result<Vec<LetterGroup>, ReadModelError> {
    let sql = format!(
        "SELECT projection, event_type, fault, error, count(*), sum(waiting)::bigint,
             min(parked_at)
         FROM {SHOWN} GROUP BY projection, event_type, fault, error
         ORDER BY count(*) DESC, projection, event_type, fault, error"
    );
    let rows = filtered(&sql, filter).fetch_all(pool).await.map_err(unavailable)?;
    let group = |row: &PgRow| {
        Ok(LetterGroup {
            projection: text(row, 0)?,
            event_type: text(row, 1)?,
            fault: fault(row, 2)?,
            error: text(row, 3)?,
            letters: number(row, 4)?,
            waiting: number(row, 5)?,
            oldest: moment(number(row, 6)? as i64)?,
        })
    };
    rows.iter().map(group).collect()
}

pub(super) async fn order_retry(
    pool: &PgPool,
    letters: &[LetterId],
    pace: RetryPace,
    by: &str,
) -> Result<u64, ReadModelError> {
    let (mut projections, mut numbers, mut streams, mut positions) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for LetterId { generation, stream, position } in letters {
        projections.push(generation.projection.to_string());
        numbers.push(i64::from(generation.number));
        streams.push(stream.to_string());
        positions.push(position.0 as i64);
    }
    let mut transaction = pool.begin().await.map_err(unavailable)?;
    // Before the letters, as commits do, and in one order: nobody waits in a circle.
    let lock = "SELECT FROM generation WHERE (projection, number) IN
            (SELECT * FROM unnest($1::text[], $2::bigint[]))
        ORDER BY projection, number FOR NO KEY UPDATE";
    sqlx::query(lock)
        .bind(&projections)
        .bind(&numbers)
        .execute(&mut *transaction)
        .await
        .map_err(unavailable)?;
    let ordered: Vec<(String, i64)> = sqlx::query_as(
        "UPDATE dead_letter SET retry_at = $5 + (place - 1) * $6, retry_by = $7
         FROM unnest($1::text[], $2::bigint[], $3::text[], $4::bigint[]) WITH ORDINALITY
             AS named (of, generation, which, at, place)
         WHERE projection = of AND number = generation AND stream = which AND position = at
             AND EXISTS (SELECT FROM generation AS kept WHERE kept.projection = of
                 AND kept.number = named.generation AND kept.state <> 'retired')
         RETURNING projection, number",
    )
    .bind(&projections)
    .bind(&numbers)
    .bind(&streams)
    .bind(&positions)
    .bind(pace.first_at.timestamp_micros())
    .bind(pace.every.as_micros() as i64)
    .bind(by)
    .fetch_all(&mut *transaction)
    .await
    .map_err(unavailable)?;
    let count = ordered.len() as u64;
    let (projections, numbers): (Vec<String>, Vec<i64>) = ordered.into_iter().unzip();
    let moved = "UPDATE generation SET revision = revision + 1 WHERE (projection, number) IN
        (SELECT * FROM unnest($1::text[], $2::bigint[]))";
    sqlx::query(moved)
        .bind(&projections)
        .bind(&numbers)
        .execute(&mut *transaction)
        .await
        .map_err(unavailable)?;
    transaction.commit().await.map_err(unavailable)?;
    Ok(count)
}

fn malformed(error: impl std::error::Error + Send + Sync + 'static) -> ReadModelError {
    ReadModelError::Unavailable { source: Box::new(error) }
}

fn text(row: &PgRow, place: usize) -> Result<Arc<str>, ReadModelError> {
    Ok(row.try_get::<&str, _>(place).map_err(unavailable)?.into())
}

fn number(row: &PgRow, place: usize) -> Result<u64, ReadModelError> {
    Ok(row.try_get::<i64, _>(place).map_err(unavailable)? as u64)
}

fn fault(row: &PgRow, place: usize) -> Result<Fault, ReadModelError> {
    let name: &str = row.try_get(place).map_err(unavailable)?;
    Fault::named(name).ok_or_else(|| ReadModelError::Unavailable {
        source: format!("a dead letter of the unknown kind {name}").into(),
    })
}

fn moment(micros: i64) -> Result<DateTime<Utc>, ReadModelError> {
    DateTime::from_timestamp_micros(micros).ok_or_else(|| ReadModelError::Unavailable {
        source: format!("{micros} microseconds are no time").into(),
    })
}

/// A letter from the columns of [`COLUMNS`].
fn letter(row: &PgRow) -> Result<DeadLetter, ReadModelError> {
    let moment_at = |place| moment(number(row, place)? as i64);
    let retry_at: Option<i64> = row.try_get(16).map_err(unavailable)?;
    let retry_by: Option<&str> = row.try_get(17).map_err(unavailable)?;
    let event_id = text(row, 6)?.parse().map_err(malformed)?;
    Ok(DeadLetter {
        id: LetterId {
            generation: GenerationId { projection: text(row, 0)?, number: number(row, 1)? as u32 },
            stream: text(row, 2)?.parse().map_err(malformed)?,
            position: GlobalPosition(number(row, 3)?),
        },
        log: text(row, 4)?.parse().map_err(malformed)?,
        version: StreamVersion(number(row, 5)?),
        event_id: EventId(event_id),
        event_type: text(row, 7)?,
        recorded_at: moment_at(8)?,
        error: text(row, 9)?,
        fault: fault(row, 10)?,
        attempts: number(row, 11)? as u32,
        parked_at: moment_at(12)?,
        tried_at: moment_at(13)?,
        done_through: StreamVersion(number(row, 14)?),
        waiting: number(row, 15)?,
        retry_at: retry_at.map(moment).transpose()?,
        retry_by: retry_by.map(Arc::from),
    })
}
