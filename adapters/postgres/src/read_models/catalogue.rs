//! Which generations there are: rows beside the rows, in the same schema and transactions.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use freehold_ports::{
    Generation, GenerationId, GenerationState, GlobalPosition, Mark, ReadModelError, StreamVersion,
    Table,
};
use sqlx::postgres::{PgConnection, PgPool, PgRow};
use sqlx::{Executor, Postgres, Row as _};
use tracing::{debug, warn};

use super::schema::{self, PhysicalTable};
use super::{dead_letters, unavailable};
use crate::database::Database;

/// Making indexes may take long, and needs memory to sort in.
///
/// The server notices a client that is gone, so that nothing is made that nobody waits for.
const PREPARING: &str = "SET statement_timeout = 0;
     SET lock_timeout = 0;
     SET client_connection_check_interval = '5s';
     SET maintenance_work_mem = '256MB'";

pub(super) async fn generations(
    pool: &PgPool,
    projection: &str,
) -> Result<Vec<Generation>, ReadModelError> {
    let rows = sqlx::query(
        "SELECT number, version, state, checkpoint, revision, decided FROM generation
         WHERE projection = $1 ORDER BY number",
    )
    .bind(projection)
    .fetch_all(pool)
    .await
    .map_err(unavailable)?;
    let projection: Arc<str> = Arc::from(projection);
    let generation = |row: PgRow| {
        let number = |place| row.try_get::<i64, _>(place);
        Ok(Generation {
            id: GenerationId { projection: projection.clone(), number: number(0)? as u32 },
            version: number(1)? as u32,
            state: match row.try_get(2)? {
                "active" => GenerationState::Active,
                "retired" => GenerationState::Retired,
                _ => GenerationState::Building,
            },
            checkpoint: GlobalPosition(number(3)? as u64),
            revision: number(4)? as u64,
            decided: StreamVersion(number(5)? as u64),
        })
    };
    let generations: Result<_, sqlx::Error> = rows.into_iter().map(generation).collect();
    generations.map_err(unavailable)
}

/// The number and the checkpoint of the generation that answers queries.
pub(super) async fn active(
    connection: &mut PgConnection,
    projection: &str,
) -> Result<(u32, GlobalPosition), ReadModelError> {
    let active: Option<(i64, i64)> = sqlx::query_as(
        "SELECT number, checkpoint FROM generation WHERE projection = $1 AND state = 'active'",
    )
    .bind(projection)
    .fetch_optional(connection)
    .await
    .map_err(unavailable)?;
    let (number, checkpoint) =
        active.ok_or_else(|| ReadModelError::NotBuilt(Arc::from(projection)))?;
    Ok((number as u32, GlobalPosition(checkpoint as u64)))
}

/// How far a generation is.
pub(super) async fn checkpoint(
    executor: impl Executor<'_, Database = Postgres>,
    generation: &GenerationId,
) -> Result<GlobalPosition, ReadModelError> {
    let checkpoint: Option<i64> = sqlx::query_scalar(
        "SELECT checkpoint FROM generation WHERE projection = $1 AND number = $2",
    )
    .bind(&*generation.projection)
    .bind(i64::from(generation.number))
    .fetch_optional(executor)
    .await
    .map_err(unavailable)?;
    let checkpoint = checkpoint.ok_or_else(|| ReadModelError::NoGeneration(generation.clone()))?;
    Ok(GlobalPosition(checkpoint as u64))
}

/// Moves a generation that is not retired on from a mark. Its row is then locked until the
/// transaction ends: whoever moves it too, or retires the generation, waits; who waited finds it
/// moved or retired.
pub(super) async fn move_mark(
    connection: &mut PgConnection,
    generation: &GenerationId,
    from: Mark,
    to: Mark,
) -> Result<(), ReadModelError> {
    let moved = sqlx::query(
        "UPDATE generation SET checkpoint = $5, revision = $6
         WHERE projection = $1 AND number = $2 AND checkpoint = $3 AND revision = $4
           AND state <> 'retired'",
    )
    .bind(&*generation.projection)
    .bind(i64::from(generation.number))
    .bind(from.position.0 as i64)
    .bind(from.revision as i64)
    .bind(to.position.0 as i64)
    .bind(to.revision as i64)
    .execute(&mut *connection)
    .await
    .map_err(unavailable)?;
    if moved.rows_affected() == 1 {
        return Ok(());
    }
    let found: Option<(i64, i64, bool)> = sqlx::query_as(
        "SELECT checkpoint, revision, state = 'retired' FROM generation
         WHERE projection = $1 AND number = $2",
    )
    .bind(&*generation.projection)
    .bind(i64::from(generation.number))
    .fetch_optional(connection)
    .await
    .map_err(unavailable)?;
    let generation = generation.clone();
    Err(match found {
        None => ReadModelError::NoGeneration(generation),
        Some((.., true)) => ReadModelError::Retired(generation),
        Some((position, revision, false)) => {
            let position = GlobalPosition(position as u64);
            let actual = Mark { position, revision: revision as u64 };
            ReadModelError::CheckpointMoved { generation, expected: from, actual }
        }
    })
}

/// Notes up to which decision a generation is filled from a mark on.
pub(super) async fn obey(
    pool: &PgPool,
    generation: &GenerationId,
    from: Mark,
    decided: StreamVersion,
) -> Result<Mark, ReadModelError> {
    let to = Mark { revision: from.revision + 1, ..from };
    let mut transaction = pool.begin().await.map_err(unavailable)?;
    move_mark(&mut transaction, generation, from, to).await?;
    sqlx::query("UPDATE generation SET decided = $3 WHERE projection = $1 AND number = $2")
        .bind(&*generation.projection)
        .bind(i64::from(generation.number))
        .bind(decided.0 as i64)
        .execute(&mut *transaction)
        .await
        .map_err(unavailable)?;
    transaction.commit().await.map_err(unavailable)?;
    Ok(to)
}

pub(super) async fn reopen(pool: &PgPool, generation: &GenerationId) -> Result<(), ReadModelError> {
    checkpoint(pool, generation).await?;
    sqlx::query(
        "UPDATE generation SET state = 'building'
         WHERE projection = $1 AND number = $2 AND state = 'retired'",
    )
    .bind(&*generation.projection)
    .bind(i64::from(generation.number))
    .execute(pool)
    .await
    .map_err(unavailable)?;
    Ok(())
}

pub(super) async fn create(
    pool: &PgPool,
    projection: &str,
    version: u32,
    tables: &[&'static Table],
) -> Result<GenerationId, ReadModelError> {
    let mut transaction = pool.begin().await.map_err(unavailable)?;
    let number: i64 = sqlx::query_scalar(
        "INSERT INTO projection AS known (name, last_generation) VALUES ($1, 1)
         ON CONFLICT (name) DO UPDATE SET last_generation = known.last_generation + 1
         RETURNING last_generation",
    )
    .bind(projection)
    .fetch_one(&mut *transaction)
    .await
    .map_err(unavailable)?;
    sqlx::query(
        "INSERT INTO generation (projection, number, version, state, checkpoint)
         VALUES ($1, $2, $3, 'building', 0)",
    )
    .bind(projection)
    .bind(number)
    .bind(i64::from(version))
    .execute(&mut *transaction)
    .await
    .map_err(unavailable)?;
    let mut steps = Vec::new();
    for table in tables {
        let physical = PhysicalTable::new(table.name, number as u32);
        let create = schema::create_rows(table, &physical);
        transaction.execute(&*create).await.map_err(unavailable)?;
        sqlx::query(
            "INSERT INTO generation_table (projection, number, name, declaration)
             VALUES ($1, $2, $3, $4)",
        )
        .bind(projection)
        .bind(number)
        .bind(table.name)
        .bind(table.declaration())
        .execute(&mut *transaction)
        .await
        .map_err(unavailable)?;
        steps.extend(schema::steps(table, &physical));
    }
    sqlx::query(
        "INSERT INTO generation_step (projection, number, step, statement)
         SELECT $1, $2, step, statement
         FROM unnest($3::text[]) WITH ORDINALITY AS steps (statement, step)",
    )
    .bind(projection)
    .bind(number)
    .bind(steps)
    .execute(&mut *transaction)
    .await
    .map_err(unavailable)?;
    transaction.commit().await.map_err(unavailable)?;
    Ok(GenerationId { projection: Arc::from(projection), number: number as u32 })
}

/// Does everything that a generation lacks, each step by itself; one process at a time.
///
/// Another one waits, and then finds it done. A step that is done twice changes nothing.
pub(super) async fn prepare(
    database: &Database,
    generation: &GenerationId,
) -> Result<(), ReadModelError> {
    let mut connection = database.pool().acquire().await.map_err(unavailable)?;
    if missing_steps(&mut connection, generation).await?.is_empty() {
        return Ok(());
    }
    drop(connection);
    // A lock of the session: it ends with this connection, however this ends.
    let mut turn = database.connect().await.map_err(unavailable)?;
    turn.execute(PREPARING).await.map_err(unavailable)?;
    sqlx::query("SELECT pg_advisory_lock(hashtext('freehold generation'), hashtext($1))")
        .bind(format!("{}/{}", generation.projection, generation.number))
        .execute(&mut turn)
        .await
        .map_err(unavailable)?;
    let steps = Mutex::new(missing_steps(&mut turn, generation).await?);
    let beside = async {
        // A server that takes no more connections has one at work already.
        let Ok(mut other) = database.connect().await else { return Ok(()) };
        other.execute(PREPARING).await.map_err(unavailable)?;
        take_steps(&mut other, generation, &steps).await
    };
    let (one, two) = tokio::join!(take_steps(&mut turn, generation, &steps), beside);
    one.and(two)
}

/// Does one step after the other.
async fn take_steps(
    connection: &mut PgConnection,
    generation: &GenerationId,
    steps: &Mutex<VecDeque<(i64, String)>>,
) -> Result<(), ReadModelError> {
    let next = || steps.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    while let Some((step, statement)) = next() {
        connection.execute(&*statement).await.map_err(unavailable)?;
        sqlx::query(
            "DELETE FROM generation_step WHERE projection = $1 AND number = $2 AND step = $3",
        )
        .bind(&*generation.projection)
        .bind(i64::from(generation.number))
        .bind(step)
        .execute(&mut *connection)
        .await
        .map_err(unavailable)?;
    }
    Ok(())
}

/// What a generation lacks before it may answer queries.
async fn missing_steps(
    connection: &mut PgConnection,
    generation: &GenerationId,
) -> Result<VecDeque<(i64, String)>, ReadModelError> {
    checkpoint(&mut *connection, generation).await?;
    let steps: Vec<(i64, String)> = sqlx::query_as(
        "SELECT step, statement FROM generation_step
         WHERE projection = $1 AND number = $2 ORDER BY step",
    )
    .bind(&*generation.projection)
    .bind(i64::from(generation.number))
    .fetch_all(&mut *connection)
    .await
    .map_err(unavailable)?;
    Ok(steps.into())
}

pub(super) async fn swap(pool: &PgPool, generation: &GenerationId) -> Result<(), ReadModelError> {
    let mut transaction = pool.begin().await.map_err(unavailable)?;
    // Two that swap do it one after the other. A commit in the middle is waited for.
    transaction.execute("SET LOCAL lock_timeout = '60s'").await.map_err(unavailable)?;
    sqlx::query("SELECT FROM projection WHERE name = $1 FOR NO KEY UPDATE")
        .bind(&*generation.projection)
        .execute(&mut *transaction)
        .await
        .map_err(unavailable)?;
    // Each answers where the generation is once its row is locked: commits to it are waited for.
    let mut places = [None; 2];
    for (place, (state, condition)) in places
        .iter_mut()
        .zip([("retired", "number <> $3 AND state = 'active'"), ("active", "number = $3")])
    {
        let sql = format!(
            "UPDATE generation SET state = $1 WHERE projection = $2 AND {condition}
             RETURNING number, checkpoint"
        );
        *place = sqlx::query_as::<_, (i64, i64)>(&sql)
            .bind(state)
            .bind(&*generation.projection)
            .bind(i64::from(generation.number))
            .fetch_optional(&mut *transaction)
            .await
            .map_err(unavailable)?
            .map(|(number, checkpoint)| (number, GlobalPosition(checkpoint as u64)));
    }
    let [active, next] = places;
    // Another process may have dropped it, also while its row was waited for: nothing is retired.
    let (_, checkpoint) = next.ok_or_else(|| ReadModelError::NoGeneration(generation.clone()))?;
    if let Some((number, active)) = active {
        if active > checkpoint {
            let generation = generation.clone();
            return Err(ReadModelError::Behind { generation, checkpoint, active });
        }
        dead_letters::check_swap(&mut transaction, generation, number, active).await?;
        // Those that were to go back to until now; one that is opened again is none of them.
        let replaced: Vec<i64> = sqlx::query_scalar(
            "SELECT number FROM generation
             WHERE projection = $1 AND number <> $2 AND number <> $3 AND state = 'retired'
             ORDER BY number FOR UPDATE",
        )
        .bind(&*generation.projection)
        .bind(i64::from(generation.number))
        .bind(number)
        .fetch_all(&mut *transaction)
        .await
        .map_err(unavailable)?;
        for number in replaced {
            forget(&mut transaction, &generation.projection, number).await.map_err(unavailable)?;
        }
    }
    transaction.commit().await.map_err(unavailable)?;
    sweep(pool).await;
    Ok(())
}

pub(super) async fn drop_generation(
    pool: &PgPool,
    generation: &GenerationId,
) -> Result<(), ReadModelError> {
    let of = (&*generation.projection, i64::from(generation.number));
    let mut transaction = pool.begin().await.map_err(unavailable)?;
    let state: Option<String> = sqlx::query_scalar(
        "SELECT state FROM generation WHERE projection = $1 AND number = $2 FOR UPDATE",
    )
    .bind(of.0)
    .bind(of.1)
    .fetch_optional(&mut *transaction)
    .await
    .map_err(unavailable)?;
    match state.as_deref() {
        None => return Err(ReadModelError::NoGeneration(generation.clone())),
        Some("active") => return Err(ReadModelError::Active(generation.clone())),
        Some(_) => {}
    }
    forget(&mut transaction, of.0, of.1).await.map_err(unavailable)?;
    transaction.commit().await.map_err(unavailable)?;
    sweep(pool).await;
    Ok(())
}

/// Takes a generation out of the catalogue. Its tables are dropped when nobody reads them: to wait
/// for a backup would keep everybody who comes later waiting behind.
async fn forget(
    connection: &mut PgConnection,
    projection: &str,
    number: i64,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO dropped_table (name)
         SELECT name || $3 FROM generation_table WHERE projection = $1 AND number = $2",
    )
    .bind(projection)
    .bind(number)
    .bind(PhysicalTable::suffix(number as u32))
    .execute(&mut *connection)
    .await?;
    for catalogue in ["dead_letter", "generation_step", "generation_table", "generation"] {
        let sql = format!("DELETE FROM {catalogue} WHERE projection = $1 AND number = $2");
        sqlx::query(&sql).bind(projection).bind(number).execute(&mut *connection).await?;
    }
    Ok(())
}

/// Drops the tables of generations that are gone, except those that somebody reads: a later sweep
/// drops them.
pub(super) async fn sweep(pool: &PgPool) {
    if let Err(error) = try_sweep(pool).await {
        warn!(%error, "tables of dropped generations stay for now");
    }
}

async fn try_sweep(pool: &PgPool) -> Result<(), sqlx::Error> {
    let names: Vec<String> =
        sqlx::query_scalar("SELECT name FROM dropped_table").fetch_all(pool).await?;
    for name in names {
        let mut transaction = pool.begin().await?;
        transaction.execute("SET LOCAL lock_timeout = '100ms'").await?;
        let drop = format!("DROP TABLE IF EXISTS \"{name}\"");
        if let Err(error) = transaction.execute(&*drop).await {
            debug!(table = name, %error, "a dropped table is still read");
            transaction.rollback().await?;
            continue;
        }
        sqlx::query("DELETE FROM dropped_table WHERE name = $1")
            .bind(&name)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
    }
    Ok(())
}

/// The declaration that a generation's table was made from.
pub(super) async fn declaration(
    connection: &mut PgConnection,
    projection: &str,
    number: u32,
    table: &str,
) -> Result<Option<String>, ReadModelError> {
    sqlx::query_scalar(
        "SELECT declaration FROM generation_table
         WHERE projection = $1 AND number = $2 AND name = $3",
    )
    .bind(projection)
    .bind(i64::from(number))
    .bind(table)
    .fetch_optional(connection)
    .await
    .map_err(unavailable)
}
