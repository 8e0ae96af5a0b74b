//! Letters whose events somebody is deciding about: nobody tries them meanwhile.

use std::collections::HashSet;

use freehold_ports::{Hold, LetterId, ReadModelError, RetryPace};
use sqlx::postgres::{PgConnection, PgPool};

use super::unavailable;

/// Letters as the arrays that statements take.
#[derive(Default)]
struct Named {
    projections: Vec<String>,
    numbers: Vec<i64>,
    streams: Vec<String>,
    positions: Vec<i64>,
}

impl Named {
    fn of(letters: &[LetterId]) -> Self {
        let mut named = Self::default();
        for LetterId { generation, stream, position } in letters {
            named.projections.push(generation.projection.to_string());
            named.numbers.push(i64::from(generation.number));
            named.streams.push(stream.to_string());
            named.positions.push(position.0 as i64);
        }
        named
    }

    /// Locks every generation of the letters' projections: before the letters, as commits do, and in
    /// one order, so that nobody waits in a circle.
    async fn lock_generations(&self, connection: &mut PgConnection) -> Result<(), ReadModelError> {
        let lock = "SELECT FROM generation WHERE projection = ANY($1)
            ORDER BY projection, number FOR NO KEY UPDATE";
        let locked = sqlx::query(lock).bind(&self.projections).execute(connection).await;
        locked.map(drop).map_err(unavailable)
    }

    /// Every generation of the letters' projections counts a change that moves no checkpoint.
    async fn move_revisions(&self, connection: &mut PgConnection) -> Result<(), ReadModelError> {
        let count = "UPDATE generation SET revision = revision + 1 WHERE projection = ANY($1)";
        let counted = sqlx::query(count).bind(&self.projections).execute(connection).await;
        counted.map(drop).map_err(unavailable)
    }
}

pub(super) async fn hold(
    pool: &PgPool,
    mut letters: Vec<LetterId>,
    hold: &Hold,
) -> Result<Vec<LetterId>, ReadModelError> {
    let named = Named::of(&letters);
    let until = hold.until.timestamp_micros();
    let mut transaction = pool.begin().await.map_err(unavailable)?;
    named.lock_generations(&mut transaction).await?;
    let take = "UPDATE dead_letter SET held_until = $5, retry_at = $5, retry_by = $6
        FROM unnest($1::text[], $2::bigint[], $3::text[], $4::bigint[])
            AS named (of, generation, which, at)
        WHERE projection = of AND number = generation AND stream = which AND position = at
            AND done_through < version AND (held_until IS NULL OR held_until <= $7)
            AND EXISTS (SELECT FROM generation AS kept WHERE kept.projection = of
                AND kept.number = named.generation AND kept.state = 'active')
        RETURNING projection, stream";
    let held: Vec<(String, String)> = sqlx::query_as(take)
        .bind(&named.projections)
        .bind(&named.numbers)
        .bind(&named.streams)
        .bind(&named.positions)
        .bind(until)
        .bind(&*hold.by)
        .bind(hold.at.timestamp_micros())
        .fetch_all(&mut *transaction)
        .await
        .map_err(unavailable)?;
    let held: HashSet<(String, String)> = held.into_iter().collect();
    // One generation of a projection is active, and a stream is parked once in it.
    letters.retain(|LetterId { generation, stream, .. }| {
        held.contains(&(generation.projection.to_string(), stream.to_string()))
    });
    let kept = Named::of(&letters);
    let elsewhere = "UPDATE dead_letter SET held_until = $4, retry_at = $4, retry_by = $5
        FROM unnest($1::text[], $2::text[], $3::bigint[]) AS named (of, which, at)
        WHERE projection = of AND stream = which AND position = at
            AND held_until IS DISTINCT FROM $4";
    sqlx::query(elsewhere)
        .bind(&kept.projections)
        .bind(&kept.streams)
        .bind(&kept.positions)
        .bind(until)
        .bind(&*hold.by)
        .execute(&mut *transaction)
        .await
        .map_err(unavailable)?;
    kept.move_revisions(&mut transaction).await?;
    transaction.commit().await.map_err(unavailable)?;
    Ok(letters)
}

pub(super) async fn release(
    pool: &PgPool,
    letters: Vec<LetterId>,
    hold: &Hold,
    pace: RetryPace,
) -> Result<u64, ReadModelError> {
    let named = Named::of(&letters);
    let mut transaction = pool.begin().await.map_err(unavailable)?;
    named.lock_generations(&mut transaction).await?;
    let order = "UPDATE dead_letter
        SET held_until = NULL, retry_at = $5 + (place - 1) * $6, retry_by = $7
        FROM unnest($1::text[], $2::bigint[], $3::text[], $4::bigint[]) WITH ORDINALITY
            AS named (of, generation, which, at, place)
        WHERE projection = of AND stream = which AND position = at AND held_until = $8
        RETURNING number = generation";
    let ordered: Vec<(bool,)> = sqlx::query_as(order)
        .bind(&named.projections)
        .bind(&named.numbers)
        .bind(&named.streams)
        .bind(&named.positions)
        .bind(pace.first_at.timestamp_micros())
        .bind(pace.every.as_micros() as i64)
        .bind(&*hold.by)
        .bind(hold.until.timestamp_micros())
        .fetch_all(&mut *transaction)
        .await
        .map_err(unavailable)?;
    named.move_revisions(&mut transaction).await?;
    transaction.commit().await.map_err(unavailable)?;
    Ok(ordered.iter().filter(|(named,)| *named).count() as u64)
}
