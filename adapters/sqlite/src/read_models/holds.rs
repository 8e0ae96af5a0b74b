//! Letters whose events somebody is deciding about: nobody tries them meanwhile.

use freehold_ports::{Hold, LetterId, ReadModelError, RetryPace};
use rusqlite::{Transaction, params};

use super::unavailable;

pub(super) fn hold(
    transaction: &Transaction<'_>,
    letters: Vec<LetterId>,
    hold: &Hold,
) -> Result<Vec<LetterId>, ReadModelError> {
    let until = hold.until.timestamp_micros();
    let take = |LetterId { generation, stream, position }: &LetterId| -> rusqlite::Result<bool> {
        let sql = "UPDATE dead_letter SET held_until = ?5, retry_at = ?5, retry_by = ?6
            WHERE projection = ?1 AND number = ?2 AND stream = ?3 AND position = ?4
                AND done_through < version AND (held_until IS NULL OR held_until <= ?7)
                AND EXISTS (
                    SELECT 1 FROM generation
                    WHERE projection = ?1 AND number = ?2 AND state = 'active'
                )";
        let (projection, position) = (&generation.projection, position.0 as i64);
        let (number, stream, at) = (generation.number, stream.as_str(), hold.at);
        let at = at.timestamp_micros();
        let values = params![projection, number, stream, position, until, hold.by, at];
        if transaction.prepare_cached(sql)?.execute(values)? == 0 {
            return Ok(false);
        }
        let elsewhere = "UPDATE dead_letter SET held_until = ?4, retry_at = ?4, retry_by = ?5
            WHERE projection = ?1 AND stream = ?2 AND position = ?3";
        let values = params![projection, stream, position, until, hold.by];
        transaction.prepare_cached(elsewhere)?.execute(values)?;
        Ok(true)
    };
    let mut held = Vec::with_capacity(letters.len());
    for letter in letters {
        if take(&letter).map_err(unavailable)? {
            held.push(letter);
        }
    }
    move_revisions(transaction, &held)?;
    Ok(held)
}

pub(super) fn release(
    transaction: &Transaction<'_>,
    letters: &[LetterId],
    hold: &Hold,
    pace: RetryPace,
) -> Result<u64, ReadModelError> {
    let (first, every) = (pace.first_at.timestamp_micros(), pace.every.as_micros() as i64);
    let until = hold.until.timestamp_micros();
    let mut released = 0;
    for (place, LetterId { generation, stream, position }) in (0_i64..).zip(letters) {
        let end = || -> rusqlite::Result<u64> {
            let sql = "UPDATE dead_letter SET held_until = NULL, retry_at = ?4, retry_by = ?6
                WHERE projection = ?1 AND stream = ?2 AND position = ?3 AND held_until = ?5
                RETURNING number = ?7";
            let values = params![
                generation.projection,
                stream.as_str(),
                position.0 as i64,
                first.saturating_add(every.saturating_mul(place)),
                until,
                hold.by,
                generation.number,
            ];
            let mut statement = transaction.prepare_cached(sql)?;
            let ended = statement.query_map(values, |row| row.get::<_, bool>(0))?;
            let ended: Vec<bool> = ended.collect::<Result<_, _>>()?;
            Ok(ended.iter().filter(|named| **named).count() as u64)
        };
        released += end().map_err(unavailable)?;
    }
    move_revisions(transaction, letters)?;
    Ok(released)
}

/// Every generation of the letters' projections counts a change that moves no checkpoint.
fn move_revisions(
    transaction: &Transaction<'_>,
    letters: &[LetterId],
) -> Result<(), ReadModelError> {
    let mut moved: Vec<&str> =
        letters.iter().map(|letter| &*letter.generation.projection).collect();
    moved.sort_unstable();
    moved.dedup();
    for projection in moved {
        let sql = "UPDATE generation SET revision = revision + 1 WHERE projection = ?1";
        let count = || transaction.prepare_cached(sql)?.execute([projection]);
        count().map_err(unavailable)?;
    }
    Ok(())
}
