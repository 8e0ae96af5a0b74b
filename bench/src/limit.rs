//! What the machine does without Freehold: an fsync, and rows written and read by hand.
//!
//! The same tables as the log's, the same rows, prepared statements, one connection, nothing
//! looked up or decided.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::bail;
use freehold_ports::{ExpectedVersion, StreamVersion};
use rusqlite::{Connection, OpenFlags, params};
use uuid::Uuid;

use crate::append::Caller;

/// The median microseconds of writing 8 KiB and waiting until they are on the disk.
pub(crate) fn fsync_us(folder: &Path) -> anyhow::Result<f64> {
    let file = File::create(folder.join("fsync"))?;
    let page = [7; 8_192];
    let mut times = Vec::new();
    for n in 0..200 {
        let started = Instant::now();
        file.write_all_at(&page, n * page.len() as u64)?;
        file.sync_data()?;
        times.push(started.elapsed());
    }
    times.sort_unstable();
    Ok(times[times.len() / 2].as_secs_f64() * 1e6)
}

/// Requests a second whose rows are written, one of each caller in a durable transaction.
pub(crate) fn rows_written(
    folder: &Path,
    callers: Vec<Caller>,
    duration: Duration,
) -> anyhow::Result<f64> {
    let connection = Connection::open(folder.join("limit.sqlite"))?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "wal_autocheckpoint", 16_384)?;
    connection.pragma_update(None, "cache_size", -65_536)?;
    let tables = include_str!("../../migrations/sqlite/0002_events_of_each_log.sql");
    connection.execute_batch(&tables.replace("{log}", "domain"))?;
    let mut stream = connection
        .prepare("INSERT INTO stream_domain (id, category_id, name) VALUES (?1, 1, ?2)")?;
    let mut event = connection.prepare(
        "INSERT INTO event_domain VALUES (?1, ?2, ?3, 1, 1, 1, 1, 1, 1, ?4, ?5, ?6, ?7, ?8, ?9,
             NULL, ?10, ?11)",
    )?;
    let mut command =
        connection.prepare("INSERT INTO command_domain VALUES (?1, ?2, ?3, ?4, 1, ?5)")?;
    let mut tag = connection.prepare("INSERT INTO tag_domain VALUES (?1, 1, ?2)")?;
    let mut callers: Vec<_> = callers.into_iter().map(|caller| (caller, 0)).collect();
    let (mut position, mut streams, mut written) = (0_i64, 0_i64, 0_u64);
    let mut time = Duration::ZERO;
    while time < duration {
        // Making the requests is the callers' work, not the store's.
        let requests: Vec<_> = callers.iter_mut().map(|(caller, _)| caller.next()).collect();
        let started = Instant::now();
        connection.execute_batch("BEGIN IMMEDIATE")?;
        for ((_, stream_id), request) in callers.iter_mut().zip(&requests) {
            let ExpectedVersion::Exactly(StreamVersion(before)) = request.expected else {
                bail!("callers say which version they expect");
            };
            if before == 0 {
                streams += 1;
                *stream_id = streams;
                stream.execute(params![streams, request.stream.as_str()])?;
            }
            let mut version = before as i64;
            for new in &request.events {
                position += 1;
                version += 1;
                event.execute(params![
                    position,
                    *stream_id,
                    version,
                    new.occurred_at.timestamp_micros(),
                    new.occurred_at.timestamp_micros(),
                    new.event_id.0.as_bytes(),
                    request.command_id.0.as_bytes(),
                    request.provenance.correlation_id.as_ref().map(Uuid::as_bytes),
                    request.provenance.causation_id.as_ref().map(Uuid::as_bytes),
                    new.tags[0].as_str(),
                    &*new.payload,
                ])?;
                tag.execute(params![new.tags[0].as_str(), position])?;
            }
            command.execute(params![
                request.command_id.0.as_bytes(),
                request.fingerprint.0,
                version,
                position,
                request.events[0].occurred_at.timestamp_micros(),
            ])?;
            written += 1;
        }
        connection.execute_batch("COMMIT")?;
        time += started.elapsed();
    }
    Ok(written as f64 / time.as_secs_f64())
}

/// Rows a second read from a store's file in pages of `page`, every column looked at.
pub(crate) fn rows_read(folder: &Path, page: u32) -> anyhow::Result<f64> {
    let connection = Connection::open_with_flags(
        folder.join("log.sqlite"),
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    connection.pragma_update(None, "mmap_size", 1_i64 << 40)?;
    let mut select = connection
        .prepare("SELECT * FROM event_domain WHERE position > ?1 ORDER BY position LIMIT ?2")?;
    let columns = select.column_count();
    let (mut after, mut count, mut bytes) = (0_i64, 0_u64, 0_usize);
    let started = Instant::now();
    loop {
        let before = count;
        let mut rows = select.query(params![after, page])?;
        while let Some(row) = rows.next()? {
            after = row.get(0)?;
            for column in 1..columns {
                bytes += match row.get_ref(column)? {
                    rusqlite::types::ValueRef::Blob(bytes) => bytes.to_vec().len(),
                    rusqlite::types::ValueRef::Text(text) => text.to_vec().len(),
                    _ => 8,
                };
            }
            count += 1;
        }
        if count == before {
            break;
        }
    }
    std::hint::black_box(bytes);
    Ok(count as f64 / started.elapsed().as_secs_f64())
}
