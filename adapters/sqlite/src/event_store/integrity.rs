//! Whether what is stored agrees with itself, for operators; reads the whole file.

use freehold_ports::{LogName, ReadError};
use rusqlite::{OptionalExtension as _, params};

use super::SqliteEventStore;
use super::reader::{Reader, unavailable};

/// Questions that find nothing in a sound log, each with what an answer means. An answer's first
/// column says where.
const QUESTIONS: &[(&str, &str)] = &[
    (
        "positions are not gapless, or the log does not end where it says it ends, at",
        "SELECT cast(log.position AS TEXT) FROM log,
             (SELECT count(*) AS events, ifnull(min(position), 1) AS first,
                  ifnull(max(position), 0) AS last FROM event_{log})
         WHERE name = '{log}' AND NOT (first = 1 AND last = events AND last = position)",
    ),
    (
        "the time of recording goes back at position",
        "SELECT cast(position AS TEXT) FROM (
             SELECT position, recorded_at, lag(recorded_at) OVER (ORDER BY position) AS before
             FROM event_{log}) WHERE recorded_at < before LIMIT 1",
    ),
    (
        "versions are not gapless in stream",
        "SELECT ifnull((SELECT name FROM stream_{log} WHERE id = stream_id), 'without a name') FROM (
             SELECT stream_id, count(*) AS events, min(version) AS first, max(version) AS last
             FROM event_{log} GROUP BY stream_id)
         WHERE NOT (first = 1 AND last = events) LIMIT 1",
    ),
    (
        "versions are not in order of position at",
        "SELECT cast(position AS TEXT) FROM (
             SELECT position, lag(position) OVER (PARTITION BY stream_id ORDER BY version) AS before
             FROM event_{log}) WHERE position < before LIMIT 1",
    ),
    (
        "a stream, type, category, tenant or actor has no name at position",
        "SELECT cast(position AS TEXT) FROM event_{log}
         WHERE stream_id NOT IN (SELECT id FROM stream_{log})
             OR type_id NOT IN (SELECT id FROM name) OR category_id NOT IN (SELECT id FROM name)
             OR tenant_id NOT IN (SELECT id FROM name) OR actor_id NOT IN (SELECT id FROM name)
         LIMIT 1",
    ),
    (
        "a tag is in the index and not on its event, at position",
        "SELECT cast(position AS TEXT) FROM tag_{log} LEFT JOIN event_{log} AS event USING (position)
         WHERE NOT ifnull(event.tenant_id = tag_{log}.tenant_id
             AND instr(char(10) || tags || char(10), char(10) || tag || char(10)) > 0, 0)
         LIMIT 1",
    ),
];

impl SqliteEventStore {
    /// What is wrong with the file, in words; empty if nothing is.
    ///
    /// Positions and versions are gapless and in order, heads agree, tags and their index agree,
    /// and SQLite's own check passes.
    pub async fn check_integrity(&self) -> Result<Vec<String>, ReadError> {
        let logs = self.logs.clone();
        self.readers.read(move |reader| check(reader, &logs)).await
    }
}

fn check(reader: &mut Reader, logs: &[LogName]) -> Result<Vec<String>, ReadError> {
    let mut found = Vec::new();
    let mut pages = reader.connection.prepare("PRAGMA quick_check").map_err(unavailable)?;
    let rows = pages.query_map([], |row| row.get::<_, String>(0)).map_err(unavailable)?;
    for row in rows {
        let row = row.map_err(unavailable)?;
        if row != "ok" {
            found.push(row);
        }
    }
    for (index, log) in logs.iter().enumerate() {
        for (meaning, question) in QUESTIONS {
            let place = reader
                .prepare(question, index)?
                .query_row([], |row| row.get::<_, String>(0))
                .optional()
                .map_err(unavailable)?;
            found.extend(place.map(|place| format!("log {log}: {meaning} {place}")));
        }
        if let Some(position) = first_untold_tag(reader, index)? {
            found.push(format!(
                "log {log}: a tag is on its event and not in the index, at position {position}"
            ));
        }
    }
    Ok(found)
}

/// The first event with a tag that conditions would not see.
fn first_untold_tag(reader: &Reader, log: usize) -> Result<Option<i64>, ReadError> {
    let mut tagged = reader
        .prepare("SELECT position, tenant_id, tags FROM event_{log} WHERE tags IS NOT NULL", log)?;
    let mut told = reader.prepare(
        "SELECT 1 FROM tag_{log} WHERE tag = ?1 AND tenant_id = ?2 AND position = ?3",
        log,
    )?;
    let mut rows = tagged.query([]).map_err(unavailable)?;
    while let Some(row) = rows.next().map_err(unavailable)? {
        let (position, tenant): (i64, i64) =
            (row.get(0).map_err(unavailable)?, row.get(1).map_err(unavailable)?);
        let tags: String = row.get(2).map_err(unavailable)?;
        for tag in tags.split('\n') {
            if !told.exists(params![tag, tenant, position]).map_err(unavailable)? {
                return Ok(Some(position));
            }
        }
    }
    Ok(None)
}
