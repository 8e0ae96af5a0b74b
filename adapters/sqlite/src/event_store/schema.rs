//! The tables of the logs, and bringing a file up to them.

use std::path::Path;

use freehold_ports::{GlobalPosition, LogName};
use rusqlite::{Connection, TransactionBehavior};

use crate::file::{self, Migration, OpenError};

const MIGRATIONS: &[Migration] = &[
    Migration {
        number: 1,
        each_log: false,
        sql: include_str!("../../../../migrations/sqlite/0001_logs_and_names.sql"),
    },
    Migration {
        number: 2,
        each_log: true,
        sql: include_str!("../../../../migrations/sqlite/0002_events_of_each_log.sql"),
    },
    Migration {
        number: 6,
        each_log: false,
        sql: include_str!("../../../../migrations/sqlite/0006_intake.sql"),
    },
];

/// Brings a file up to this program's schema and gives it the logs it lacks, all or nothing.
pub(super) fn migrate(
    connection: &mut Connection,
    path: &Path,
    logs: &[LogName],
) -> Result<(), OpenError> {
    let unavailable = |error: rusqlite::Error| OpenError::unavailable(path, error);
    let found = file::schema_of(connection).map_err(unavailable)?;
    let known = file::newest(MIGRATIONS);
    if found > known {
        return Err(OpenError::NewerSchema { path: path.to_owned(), found, known });
    }
    run_migrations(connection, found, logs).map_err(unavailable)?;
    match wrong_head(connection, logs).map_err(unavailable)? {
        None => Ok(()),
        Some(what) => Err(OpenError::Damaged { path: path.to_owned(), what }),
    }
}

/// Refuses a file that only a migration would make readable.
pub(super) fn require_current(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let found = file::schema_of(connection).map_err(|error| OpenError::unavailable(path, error))?;
    let known = file::newest(MIGRATIONS);
    let path = path.to_owned();
    match found.cmp(&known) {
        std::cmp::Ordering::Less => Err(OpenError::OlderSchema { path, found, known }),
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Greater => Err(OpenError::NewerSchema { path, found, known }),
    }
}

fn run_migrations(
    connection: &mut Connection,
    found: u32,
    logs: &[LogName],
) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for migration in MIGRATIONS.iter().filter(|migration| migration.number > found) {
        if migration.each_log {
            for log in logs_of(&transaction)? {
                transaction.execute_batch(&migration.sql.replace("{log}", &log))?;
            }
        } else {
            transaction.execute_batch(migration.sql)?;
        }
    }
    transaction.pragma_update(None, "user_version", file::newest(MIGRATIONS))?;
    for log in logs {
        let insert = "INSERT INTO log (name) VALUES (?1) ON CONFLICT DO NOTHING";
        if transaction.execute(insert, [log.as_str()])? == 1 {
            for migration in MIGRATIONS.iter().filter(|migration| migration.each_log) {
                transaction.execute_batch(&migration.sql.replace("{log}", log.as_str()))?;
            }
        }
    }
    transaction.commit()
}

/// The logs of a file, in the order in which they were made; none if it has no schema yet.
pub(super) fn logs_of(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    if file::schema_of(connection)? == 0 {
        return Ok(Vec::new());
    }
    connection
        .prepare("SELECT name FROM log ORDER BY id")?
        .query_map([], |row| row.get(0))?
        .collect()
}

/// Where the logs say they end.
pub(super) fn heads(
    connection: &Connection,
    logs: &[LogName],
) -> rusqlite::Result<Vec<GlobalPosition>> {
    let mut head = connection.prepare("SELECT position FROM log WHERE name = ?1")?;
    let heads = logs.iter().map(|log| head.query_row([log.as_str()], |row| row.get::<_, i64>(0)));
    heads.map(|head| head.map(|position| GlobalPosition(position as u64))).collect()
}

/// A log must end where it says it ends: whoever goes on from a wrong head makes doubles or gaps.
fn wrong_head(connection: &Connection, logs: &[LogName]) -> rusqlite::Result<Option<String>> {
    for (log, head) in logs.iter().zip(heads(connection, logs)?) {
        let sql = format!("SELECT ifnull(max(position), 0) FROM event_{log}");
        let last: i64 = connection.query_row(&sql, [], |row| row.get(0))?;
        if head.0 as i64 != last {
            return Ok(Some(format!("log {log} should end at position {head}, it ends at {last}")));
        }
    }
    Ok(None)
}
