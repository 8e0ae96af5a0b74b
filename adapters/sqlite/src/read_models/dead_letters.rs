//! Streams that generations have parked, in the transactions of their rows.

use std::num::NonZeroU32;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use freehold_ports::{
    DeadLetter, EventId, Fault, GenerationId, GlobalPosition, LetterChange, LetterFilter,
    LetterGroup, LetterId, ReadModelError, RetryPace, StreamId, StreamVersion, Tried,
};
use rusqlite::types::{ToSql, Type};
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params};
use uuid::Uuid;

use super::unavailable;

const COLUMNS: &str = "projection, number, stream, position, log, version, event_id,
    event_type, recorded_at, error, fault, attempts, parked_at, tried_at, done_through, waiting,
    CASE WHEN held_until > retry_at THEN held_until ELSE retry_at END, retry_by";

/// Letters of active generations that a filter's four conditions let through.
const SHOWN: &str = "dead_letter
    JOIN (SELECT projection, number FROM generation WHERE state = 'active') AS active
    USING (projection, number)
    WHERE (?1 IS NULL OR projection = ?1) AND (?2 IS NULL OR stream = ?2)
      AND (?3 IS NULL OR event_type = ?3) AND (?4 IS NULL OR instr(error, ?4) > 0)";

/// Writes what a commit does to letters; its mark has been moved before.
pub(super) fn change(
    transaction: &Transaction<'_>,
    generation: &GenerationId,
    changes: &[LetterChange],
) -> Result<(), ReadModelError> {
    for change in changes {
        let (stream, changed) = match change {
            LetterChange::Park(letter) => (&letter.id.stream, park(transaction, letter)),
            LetterChange::Wait { stream, events } => {
                let sql = "UPDATE dead_letter SET waiting = waiting + ?4
                    WHERE projection = ?1 AND number = ?2 AND stream = ?3";
                let of = params![
                    generation.projection,
                    generation.number,
                    stream.as_str(),
                    *events as i64
                ];
                (stream, changes_one(transaction, sql, of))
            }
            LetterChange::Tried { stream, position, at, outcome } => {
                (stream, tried(transaction, generation, stream, *position, *at, outcome))
            }
        };
        if !changed.map_err(unavailable)? {
            let (generation, stream) = (generation.clone(), stream.clone());
            return Err(ReadModelError::LetterMoved { generation, stream });
        }
    }
    Ok(())
}

fn changes_one(
    transaction: &Transaction<'_>,
    sql: &str,
    values: &[&dyn ToSql],
) -> rusqlite::Result<bool> {
    Ok(transaction.prepare_cached(sql)?.execute(values)? == 1)
}

fn park(transaction: &Transaction<'_>, letter: &DeadLetter) -> rusqlite::Result<bool> {
    let sql = "INSERT INTO dead_letter (projection, number, stream, position, log, version,
            event_id, event_type, recorded_at, error, fault, attempts, parked_at, tried_at,
            done_through, waiting, retry_at, retry_by)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)
        ON CONFLICT DO NOTHING";
    let values = params![
        letter.id.generation.projection,
        letter.id.generation.number,
        letter.id.stream.as_str(),
        letter.id.position.0 as i64,
        letter.log.as_str(),
        letter.version.0 as i64,
        letter.event_id.0.as_bytes(),
        letter.event_type,
        letter.recorded_at.timestamp_micros(),
        letter.error,
        letter.fault.as_str(),
        letter.attempts,
        letter.parked_at.timestamp_micros(),
        letter.tried_at.timestamp_micros(),
        letter.done_through.0 as i64,
        letter.waiting as i64,
        letter.retry_at.map(|at| at.timestamp_micros()),
        letter.retry_by,
    ];
    changes_one(transaction, sql, values)
}

fn tried(
    transaction: &Transaction<'_>,
    generation: &GenerationId,
    stream: &StreamId,
    position: GlobalPosition,
    at: DateTime<Utc>,
    outcome: &Tried,
) -> rusqlite::Result<bool> {
    let (projection, number, name) = (&generation.projection, generation.number, stream.as_str());
    let (position, at) = (position.0 as i64, at.timestamp_micros());
    let delete = "DELETE FROM dead_letter
        WHERE projection = ?1 AND number = ?2 AND stream = ?3 AND position = ?4";
    let of = params![projection, number, name, position];
    match outcome {
        Tried::Resolved => changes_one(transaction, delete, of),
        Tried::FailedLater(letter) => {
            Ok(changes_one(transaction, delete, of)? && park(transaction, letter)?)
        }
        Tried::Onwards { done_through, waiting } => {
            let sql = "UPDATE dead_letter SET tried_at = ?5, done_through = ?6, waiting = ?7
                WHERE projection = ?1 AND number = ?2 AND stream = ?3 AND position = ?4";
            let (done, waiting) = (done_through.0 as i64, *waiting as i64);
            let values = params![projection, number, name, position, at, done, waiting];
            changes_one(transaction, sql, values)
        }
        Tried::Failed { error, fault, retry_at } => {
            let sql = "UPDATE dead_letter
                SET tried_at = ?5, error = ?6, fault = ?7, attempts = attempts + 1, retry_at = ?8
                WHERE projection = ?1 AND number = ?2 AND stream = ?3 AND position = ?4";
            let (fault, next) = (fault.as_str(), retry_at.map(|at| at.timestamp_micros()));
            let values = params![projection, number, name, position, at, error, fault, next];
            changes_one(transaction, sql, values)
        }
    }
}

/// Refuses a swap after which readers would lose events of a parked stream.
pub(super) fn check_swap(
    transaction: &Transaction<'_>,
    next: &GenerationId,
    (active, checkpoint): (u32, GlobalPosition),
) -> Result<(), ReadModelError> {
    let sql = "SELECT stream, position FROM dead_letter AS next
        WHERE projection = ?1 AND number = ?2 AND position <= ?4 AND NOT EXISTS (
            SELECT 1 FROM dead_letter AS shown
            WHERE shown.projection = ?1 AND shown.number = ?3 AND shown.stream = next.stream
              AND shown.done_through <= next.done_through
        )
        ORDER BY position LIMIT 1";
    let of = params![next.projection, next.number, active, checkpoint.0 as i64];
    let lacking = transaction
        .query_row(sql, of, |row| Ok((parsed(row, 0)?, GlobalPosition(number(row, 1)?))))
        .optional()
        .map_err(unavailable)?;
    let Some((stream, position)) = lacking else { return Ok(()) };
    Err(ReadModelError::Lacks { generation: next.clone(), stream, position })
}

pub(super) fn parked(
    reader: &Connection,
    generation: &GenerationId,
) -> Result<Vec<DeadLetter>, ReadModelError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM dead_letter WHERE projection = ?1 AND number = ?2 ORDER BY stream"
    );
    rows(reader, &sql, params![generation.projection, generation.number], letter)
        .map_err(unavailable)
}

pub(super) fn list(
    reader: &Connection,
    filter: &LetterFilter,
    after: Option<&LetterId>,
    limit: NonZeroU32,
) -> Result<Vec<DeadLetter>, ReadModelError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM {SHOWN}
           AND (?5 IS NULL OR (projection, number, stream) > (?5, ?6, ?7))
         ORDER BY projection, number, stream LIMIT {limit}"
    );
    let values = params![
        filter.projection,
        filter.stream.as_ref().map(StreamId::as_str),
        filter.event_type,
        filter.error,
        after.map(|id| &id.generation.projection),
        after.map(|id| id.generation.number),
        after.map(|id| id.stream.as_str()),
    ];
    rows(reader, &sql, values, letter).map_err(unavailable)
}

pub(super) fn groups(
    reader: &Connection,
    filter: &LetterFilter,
) -> Result<Vec<LetterGroup>, ReadModelError> {
    let sql = format!(
        "SELECT projection, event_type, fault, error, count(*), sum(waiting), min(parked_at)
         FROM {SHOWN} GROUP BY projection, event_type, fault, error
         ORDER BY count(*) DESC, projection, event_type, fault, error"
    );
    let values = params![
        filter.projection,
        filter.stream.as_ref().map(StreamId::as_str),
        filter.event_type,
        filter.error,
    ];
    let group = |row: &Row<'_>| {
        Ok(LetterGroup {
            projection: row.get(0)?,
            event_type: row.get(1)?,
            fault: fault(row, 2)?,
            error: row.get(3)?,
            letters: number(row, 4)?,
            waiting: number(row, 5)?,
            oldest: moment(row.get(6)?, 6)?,
        })
    };
    rows(reader, &sql, values, group).map_err(unavailable)
}

pub(super) fn order_retry(
    transaction: &Transaction<'_>,
    letters: &[LetterId],
    pace: RetryPace,
    by: &str,
) -> Result<u64, ReadModelError> {
    let (first, every) = (pace.first_at.timestamp_micros(), pace.every.as_micros() as i64);
    let mut ordered = 0;
    let mut moved: Vec<&GenerationId> = Vec::new();
    for (place, LetterId { generation, stream, position }) in (0_i64..).zip(letters) {
        let sql = "UPDATE dead_letter SET retry_at = ?5, retry_by = ?6
            WHERE projection = ?1 AND number = ?2 AND stream = ?3 AND position = ?4 AND EXISTS (
                SELECT 1 FROM generation
                WHERE projection = ?1 AND number = ?2 AND state <> 'retired'
            )";
        let values = params![
            generation.projection,
            generation.number,
            stream.as_str(),
            position.0 as i64,
            first.saturating_add(every.saturating_mul(place)),
            by,
        ];
        if !changes_one(transaction, sql, values).map_err(unavailable)? {
            continue;
        }
        ordered += 1;
        if !moved.contains(&generation) {
            moved.push(generation);
        }
    }
    for generation in moved {
        let sql = "UPDATE generation SET revision = revision + 1
            WHERE projection = ?1 AND number = ?2";
        let of = params![generation.projection, generation.number];
        changes_one(transaction, sql, of).map_err(unavailable)?;
    }
    Ok(ordered)
}

fn rows<T>(
    reader: &Connection,
    sql: &str,
    values: &[&dyn ToSql],
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    reader.prepare_cached(sql)?.query_map(values, read)?.collect()
}

fn number(row: &Row<'_>, place: usize) -> rusqlite::Result<u64> {
    Ok(row.get::<_, i64>(place)?.unsigned_abs())
}

fn unreadable(place: usize, what: impl Into<String>) -> rusqlite::Error {
    let what: Box<dyn std::error::Error + Send + Sync> = what.into().into();
    rusqlite::Error::FromSqlConversionFailure(place, Type::Text, what)
}

fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(
    row: &Row<'_>,
    place: usize,
) -> rusqlite::Result<T> {
    let text = row.get_ref(place)?.as_str()?;
    text.parse().map_err(|error| unreadable(place, format!("{error}")))
}

fn fault(row: &Row<'_>, place: usize) -> rusqlite::Result<Fault> {
    let name = row.get_ref(place)?.as_str()?;
    Fault::named(name).ok_or_else(|| unreadable(place, format!("the unknown kind {name}")))
}

fn moment(micros: i64, place: usize) -> rusqlite::Result<DateTime<Utc>> {
    DateTime::from_timestamp_micros(micros)
        .ok_or_else(|| unreadable(place, format!("{micros} microseconds are no time")))
}

/// A letter from the columns of [`COLUMNS`].
fn letter(row: &Row<'_>) -> rusqlite::Result<DeadLetter> {
    let moment_at = |place: usize| moment(row.get(place)?, place);
    let retry_at: Option<i64> = row.get(16)?;
    Ok(DeadLetter {
        id: LetterId {
            generation: GenerationId { projection: row.get(0)?, number: row.get(1)? },
            stream: parsed(row, 2)?,
            position: GlobalPosition(number(row, 3)?),
        },
        log: parsed(row, 4)?,
        version: StreamVersion(number(row, 5)?),
        event_id: EventId(Uuid::from_bytes(row.get(6)?)),
        event_type: row.get(7)?,
        recorded_at: moment_at(8)?,
        error: row.get(9)?,
        fault: fault(row, 10)?,
        attempts: row.get(11)?,
        parked_at: moment_at(12)?,
        tried_at: moment_at(13)?,
        done_through: StreamVersion(number(row, 14)?),
        waiting: number(row, 15)?,
        retry_at: retry_at.map(|at| moment(at, 16)).transpose()?,
        retry_by: row.get::<_, Option<Arc<str>>>(17)?,
    })
}
