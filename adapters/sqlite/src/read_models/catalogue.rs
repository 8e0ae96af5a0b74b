//! Which generations there are: rows beside the rows, in the same file and transactions.

use std::path::Path;
use std::sync::Arc;

use freehold_ports::{
    Generation, GenerationId, GenerationState, GlobalPosition, Mark, ReadModelError, StreamVersion,
    Table,
};
use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior, params};

use super::schema::{self, PhysicalTable, Step};
use super::{dead_letters, unavailable};
use crate::file::{self, Migration, OpenError};

const MIGRATIONS: &[Migration] = &[
    Migration {
        number: 4,
        each_log: false,
        sql: include_str!("../../../../migrations/sqlite/0004_generations_of_read_models.sql"),
    },
    Migration {
        number: 5,
        each_log: false,
        sql: include_str!("../../../../migrations/sqlite/0005_dead_letters.sql"),
    },
    Migration {
        number: 7,
        each_log: false,
        sql: include_str!("../../../../migrations/sqlite/0007_decisions_about_dead_letters.sql"),
    },
];

/// How many rows one piece of a long step takes: about 0.2 s, for that long other commits wait.
const ROWS_PER_PIECE: i64 = 20_000;

/// Brings the catalogue's own tables up to this program's schema.
pub(super) fn migrate(connection: &mut Connection, path: &Path) -> Result<(), OpenError> {
    let unavailable = |error: rusqlite::Error| OpenError::unavailable(path, error);
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(unavailable)?;
    let found = file::schema_of(&transaction).map_err(unavailable)?;
    let known = file::newest(MIGRATIONS);
    if found > known {
        return Err(OpenError::NewerSchema { path: path.to_owned(), found, known });
    }
    for migration in MIGRATIONS.iter().filter(|migration| migration.number > found) {
        transaction.execute_batch(migration.sql).map_err(unavailable)?;
        transaction.pragma_update(None, "user_version", migration.number).map_err(unavailable)?;
    }
    transaction.commit().map_err(unavailable)
}

pub(super) fn generations(
    connection: &Connection,
    projection: &str,
) -> Result<Vec<Generation>, ReadModelError> {
    let sql = "SELECT number, version, state, checkpoint, revision, decided FROM generation
               WHERE projection = ?1 ORDER BY number";
    let mut statement = connection.prepare_cached(sql).map_err(unavailable)?;
    let projection: Arc<str> = Arc::from(projection);
    let read = |row: &rusqlite::Row<'_>| {
        let id = GenerationId { projection: projection.clone(), number: row.get(0)? };
        let state = state_named(row.get_ref(2)?.as_str()?);
        let checkpoint = position(row.get(3)?);
        let revision = row.get::<_, i64>(4)?.unsigned_abs();
        let decided = StreamVersion(row.get::<_, i64>(5)?.unsigned_abs());
        Ok(Generation { id, version: row.get(1)?, state, checkpoint, revision, decided })
    };
    let generations = statement.query_map([&projection], read).map_err(unavailable)?;
    generations.collect::<Result<_, _>>().map_err(unavailable)
}

/// The number and the checkpoint of the generation that answers queries.
pub(super) fn active(
    connection: &Connection,
    projection: &str,
) -> Result<(u32, GlobalPosition), ReadModelError> {
    let sql = "SELECT number, checkpoint FROM generation
               WHERE projection = ?1 AND state = 'active'";
    let mut statement = connection.prepare_cached(sql).map_err(unavailable)?;
    statement
        .query_row([projection], |row| Ok((row.get(0)?, position(row.get(1)?))))
        .optional()
        .map_err(unavailable)?
        .ok_or_else(|| ReadModelError::NotBuilt(Arc::from(projection)))
}

/// How far a generation is.
pub(super) fn checkpoint(
    connection: &Connection,
    generation: &GenerationId,
) -> Result<GlobalPosition, ReadModelError> {
    let sql = "SELECT checkpoint FROM generation WHERE projection = ?1 AND number = ?2";
    let mut statement = connection.prepare_cached(sql).map_err(unavailable)?;
    statement
        .query_row(params![generation.projection, generation.number], |row| row.get(0))
        .optional()
        .map_err(unavailable)?
        .map(position)
        .ok_or_else(|| ReadModelError::NoGeneration(generation.clone()))
}

/// Whether everything that queries need of a generation is made.
pub(super) fn is_prepared(
    connection: &Connection,
    generation: &GenerationId,
) -> rusqlite::Result<bool> {
    let sql = "SELECT NOT EXISTS
               (SELECT 1 FROM generation_step WHERE projection = ?1 AND number = ?2)";
    let mut statement = connection.prepare_cached(sql)?;
    statement.query_row(params![generation.projection, generation.number], |row| row.get(0))
}

/// Moves a generation that is not retired on from a mark.
pub(super) fn move_mark(
    connection: &Connection,
    generation: &GenerationId,
    from: Mark,
    to: Mark,
) -> Result<(), ReadModelError> {
    let sql = "SELECT checkpoint, revision, state = 'retired' FROM generation
               WHERE projection = ?1 AND number = ?2";
    let mut statement = connection.prepare_cached(sql).map_err(unavailable)?;
    let found = |row: &rusqlite::Row<'_>| {
        let (position, revision) = (position(row.get(0)?), row.get::<_, i64>(1)?.unsigned_abs());
        Ok((Mark { position, revision }, row.get(2)?))
    };
    let found = statement.query_row(params![generation.projection, generation.number], found);
    let (actual, retired): (Mark, bool) = found
        .optional()
        .map_err(unavailable)?
        .ok_or_else(|| ReadModelError::NoGeneration(generation.clone()))?;
    let generation = generation.clone();
    if retired {
        return Err(ReadModelError::Retired(generation));
    }
    if actual != from {
        return Err(ReadModelError::CheckpointMoved { generation, expected: from, actual });
    }
    let sql = "UPDATE generation SET checkpoint = ?3, revision = ?4
               WHERE projection = ?1 AND number = ?2";
    let mut statement = connection.prepare_cached(sql).map_err(unavailable)?;
    let (position, revision) = (to.position.0 as i64, to.revision as i64);
    let values = params![generation.projection, generation.number, position, revision];
    statement.execute(values).map(drop).map_err(unavailable)
}

pub(super) fn create(
    transaction: &Transaction<'_>,
    projection: &str,
    version: u32,
    tables: &[&'static Table],
) -> rusqlite::Result<GenerationId> {
    let number: u32 = transaction.query_row(
        "INSERT INTO projection (name, last_generation) VALUES (?1, 1)
         ON CONFLICT (name) DO UPDATE SET last_generation = last_generation + 1
         RETURNING last_generation",
        [projection],
        |row| row.get(0),
    )?;
    transaction.execute(
        "INSERT INTO generation (projection, number, version, state, checkpoint)
         VALUES (?1, ?2, ?3, 'building', 0)",
        params![projection, number, version],
    )?;
    let mut steps = Vec::new();
    for table in tables {
        let physical = PhysicalTable::new(table.name, number);
        transaction.execute_batch(&schema::create_rows(table, &physical))?;
        transaction.execute(
            "INSERT INTO generation_table (projection, number, name, declaration)
             VALUES (?1, ?2, ?3, ?4)",
            params![projection, number, table.name, table.declaration()],
        )?;
        steps.extend(schema::steps(table, &physical));
    }
    for (place, Step { sql, through }) in (0_u32..).zip(steps) {
        transaction.execute(
            "INSERT INTO generation_step (projection, number, step, statement, walks)
             VALUES (?1, ?2, ?3, ?4, ?5)",
            params![projection, number, place, sql, through],
        )?;
    }
    Ok(GenerationId { projection: Arc::from(projection), number })
}

/// Does the next piece of what a generation lacks; `false` if it lacks nothing.
pub(super) fn prepare_a_piece(
    transaction: &Transaction<'_>,
    generation: &GenerationId,
) -> Result<bool, ReadModelError> {
    checkpoint(transaction, generation)?;
    let of = params![generation.projection, generation.number];
    let next: Option<(u32, String, Option<String>, i64)> = transaction
        .query_row(
            "SELECT step, statement, walks, done_through FROM generation_step
             WHERE projection = ?1 AND number = ?2 ORDER BY step LIMIT 1",
            of,
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)),
        )
        .optional()
        .map_err(unavailable)?;
    let Some((step, statement, walks, done)) = next else { return Ok(false) };
    let through = match walks {
        None => {
            transaction.execute_batch(&statement).map_err(unavailable)?;
            None
        }
        Some(rows) => walk(transaction, &statement, &rows, done).map_err(unavailable)?,
    };
    match through {
        None => transaction.execute(
            "DELETE FROM generation_step WHERE projection = ?1 AND number = ?2 AND step = ?3",
            params![generation.projection, generation.number, step],
        ),
        Some(through) => transaction.execute(
            "UPDATE generation_step SET done_through = ?4
             WHERE projection = ?1 AND number = ?2 AND step = ?3",
            params![generation.projection, generation.number, step, through],
        ),
    }
    .map_err(unavailable)?;
    Ok(true)
}

/// Runs a statement on the next rows; the last of them, or nothing if there was none.
fn walk(
    transaction: &Transaction<'_>,
    statement: &str,
    rows: &str,
    done: i64,
) -> rusqlite::Result<Option<i64>> {
    let last: Option<i64> = transaction.query_row(
        &format!(
            "SELECT max(_row) FROM
             (SELECT _row FROM \"{rows}\" WHERE _row > ?1 ORDER BY _row LIMIT ?2)"
        ),
        [done, ROWS_PER_PIECE],
        |row| row.get(0),
    )?;
    if let Some(last) = last {
        transaction.execute(statement, [done, last])?;
    }
    Ok(last)
}

pub(super) fn swap(
    transaction: &Transaction<'_>,
    generation: &GenerationId,
) -> Result<(), ReadModelError> {
    let checkpoint = checkpoint(transaction, generation)?;
    match active(transaction, &generation.projection) {
        Ok((number, _)) if number == generation.number => return Ok(()),
        Ok((_, active)) if active > checkpoint => {
            let generation = generation.clone();
            return Err(ReadModelError::Behind { generation, checkpoint, active });
        }
        Ok(active) => {
            dead_letters::check_swap(transaction, generation, active)?;
            drop_retired_but(transaction, generation).map_err(unavailable)?;
        }
        Err(ReadModelError::NotBuilt(_)) => {}
        Err(error) => return Err(error),
    }
    transaction
        .execute(
            "UPDATE generation SET state = 'retired'
             WHERE projection = ?1 AND number <> ?2 AND state = 'active'",
            params![generation.projection, generation.number],
        )
        .and_then(|_| {
            transaction.execute(
                "UPDATE generation SET state = 'active' WHERE projection = ?1 AND number = ?2",
                params![generation.projection, generation.number],
            )
        })
        .map_err(unavailable)?;
    Ok(())
}

/// Notes up to which decision a generation is filled from a mark on.
pub(super) fn obey(
    transaction: &Transaction<'_>,
    generation: &GenerationId,
    from: Mark,
    decided: StreamVersion,
) -> Result<Mark, ReadModelError> {
    let to = Mark { revision: from.revision + 1, ..from };
    move_mark(transaction, generation, from, to)?;
    let sql = "UPDATE generation SET decided = ?3 WHERE projection = ?1 AND number = ?2";
    let values = params![generation.projection, generation.number, decided.0 as i64];
    transaction.execute(sql, values).map_err(unavailable)?;
    Ok(to)
}

pub(super) fn reopen(
    transaction: &Transaction<'_>,
    generation: &GenerationId,
) -> Result<(), ReadModelError> {
    checkpoint(transaction, generation)?;
    let sql = "UPDATE generation SET state = 'building'
               WHERE projection = ?1 AND number = ?2 AND state = 'retired'";
    transaction
        .execute(sql, params![generation.projection, generation.number])
        .map_err(unavailable)?;
    Ok(())
}

pub(super) fn drop_generation(
    transaction: &Transaction<'_>,
    generation: &GenerationId,
) -> Result<(), ReadModelError> {
    checkpoint(transaction, generation)?;
    if active(transaction, &generation.projection).is_ok_and(|(n, _)| n == generation.number) {
        return Err(ReadModelError::Active(generation.clone()));
    }
    forget(transaction, &generation.projection, generation.number).map_err(unavailable)
}

/// Drops what there was to go back to, except the generation that is about to be activated.
fn drop_retired_but(transaction: &Transaction<'_>, next: &GenerationId) -> rusqlite::Result<()> {
    let mut statement = transaction.prepare_cached(
        "SELECT number FROM generation
         WHERE projection = ?1 AND number <> ?2 AND state = 'retired'",
    )?;
    let numbers = statement.query_map(params![next.projection, next.number], |row| row.get(0))?;
    for number in numbers.collect::<Result<Vec<u32>, _>>()? {
        forget(transaction, &next.projection, number)?;
    }
    Ok(())
}

/// Drops a generation's tables and takes it out of the catalogue.
fn forget(transaction: &Transaction<'_>, projection: &str, number: u32) -> rusqlite::Result<()> {
    let of = params![projection, number];
    let mut statement = transaction
        .prepare("SELECT name FROM generation_table WHERE projection = ?1 AND number = ?2")?;
    let names = statement.query_map(of, |row| row.get::<_, String>(0))?;
    for name in names.collect::<Result<Vec<_>, _>>()? {
        let physical = PhysicalTable::new(&name, number);
        transaction.execute_batch(&schema::drop_rows(&physical))?;
    }
    for catalogue in ["dead_letter", "generation_step", "generation_table", "generation"] {
        let sql = format!("DELETE FROM {catalogue} WHERE projection = ?1 AND number = ?2");
        transaction.execute(&sql, of)?;
    }
    Ok(())
}

/// The declaration that a generation's table was made from.
pub(super) fn declaration(
    connection: &Connection,
    projection: &str,
    number: u32,
    table: &str,
) -> rusqlite::Result<Option<String>> {
    let sql = "SELECT declaration FROM generation_table
               WHERE projection = ?1 AND number = ?2 AND name = ?3";
    let mut statement = connection.prepare_cached(sql)?;
    statement.query_row(params![projection, number, table], |row| row.get(0)).optional()
}

/// SQLite's numbers are signed; a log of more than 2^63 events is not to be feared.
fn position(stored: i64) -> GlobalPosition {
    GlobalPosition(stored.unsigned_abs())
}

fn state_named(name: &str) -> GenerationState {
    match name {
        "active" => GenerationState::Active,
        "retired" => GenerationState::Retired,
        _ => GenerationState::Building,
    }
}
