//! Whether what is stored agrees with itself, for operators; reads everything.

use freehold_ports::ReadError;
use sqlx::Executor as _;
use sqlx::postgres::PgConnection;

use super::reader::unavailable;
use super::{LogRow, PostgresEventStore};

/// Questions that find nothing in a sound log, each with what an answer means. An answer says
/// where.
const QUESTIONS: &[(&str, &str)] = &[
    (
        "positions are not gapless, or the log does not end where it says it ends, at",
        "SELECT head.position::text FROM
             (SELECT max(position) AS position FROM log_head WHERE log_id = $1) AS head,
             (SELECT count(*) AS events, coalesce(min(position), 1) AS first,
                  coalesce(max(position), 0) AS last FROM event WHERE log_id = $1) AS found
         WHERE NOT (first = 1 AND last = events AND last = coalesce(head.position, -1))",
    ),
    (
        "the time of recording goes back at position",
        "SELECT position::text FROM (
             SELECT position, recorded_at, lag(recorded_at) OVER (ORDER BY position) AS before
             FROM event WHERE log_id = $1) AS pairs WHERE recorded_at < before LIMIT 1",
    ),
    (
        "versions are not gapless, or not what the stream says, in stream",
        "SELECT coalesce(stream.name, 'without a name') FROM (
             SELECT stream_id, count(*) AS events, min(version) AS first, max(version) AS last,
                 min(position) AS first_position, max(position) AS last_position
             FROM event WHERE log_id = $1 GROUP BY stream_id) AS found
         FULL JOIN (SELECT * FROM stream WHERE log_id = $1) AS stream ON stream.id = found.stream_id
         WHERE (first = 1 AND last = events AND stream.version = last
             AND stream.id = first_position AND stream.last_position = found.last_position)
             IS NOT TRUE LIMIT 1",
    ),
    (
        "versions are not in order of position at",
        "SELECT position::text FROM (
             SELECT position, lag(position) OVER (PARTITION BY stream_id ORDER BY version) AS before
             FROM event WHERE log_id = $1) AS pairs WHERE position < before LIMIT 1",
    ),
    (
        "a type, category, tenant or actor has no name at position",
        "SELECT position::text FROM event WHERE log_id = $1
         AND NOT (EXISTS (SELECT FROM name WHERE id = type_id)
             AND EXISTS (SELECT FROM name WHERE id = category_id)
             AND EXISTS (SELECT FROM name WHERE id = tenant_id)
             AND EXISTS (SELECT FROM name WHERE id = actor_id)) LIMIT 1",
    ),
    (
        "tags and their index disagree at position",
        "SELECT coalesce(told.position, sent.position)::text FROM (
             SELECT DISTINCT position, tenant_id, tag
             FROM event, string_to_table(tags, E'\\n') AS tag WHERE log_id = $1) AS sent
         FULL JOIN (SELECT position, tenant_id, tag FROM tag WHERE log_id = $1) AS told
             ON (told.position, told.tenant_id, told.tag)
                 = (sent.position, sent.tenant_id, sent.tag)
         WHERE told.position IS NULL OR sent.position IS NULL LIMIT 1",
    ),
    (
        "the answer of a command is not what it stored at position",
        "SELECT command.position::text FROM command
         LEFT JOIN event ON event.log_id = command.log_id AND event.position = command.position
         WHERE command.log_id = $1 AND events > 0
         AND (event.command_id = command.command_id AND event.version = command.version)
             IS NOT TRUE LIMIT 1",
    ),
];

impl PostgresEventStore {
    /// What is wrong with the logs, in words; empty if nothing is.
    ///
    /// Positions and versions are gapless and in order, heads agree, tags and their index agree,
    /// answers that are remembered name the events of their commands.
    /// Looks at one moment; appends go on meanwhile.
    pub async fn check_integrity(&self) -> Result<Vec<String>, ReadError> {
        let mut found = Vec::new();
        let mut transaction = self.database.pool().begin().await.map_err(unavailable)?;
        let prepare = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY;
             SET LOCAL statement_timeout = 0";
        transaction.execute(prepare).await.map_err(unavailable)?;
        for log in &*self.logs {
            check(&mut transaction, log, &mut found).await?;
        }
        transaction.commit().await.map_err(unavailable)?;
        Ok(found)
    }
}

async fn check(
    connection: &mut PgConnection,
    log: &LogRow,
    found: &mut Vec<String>,
) -> Result<(), ReadError> {
    for (meaning, question) in QUESTIONS {
        let place: Option<String> = sqlx::query_scalar(question)
            .bind(log.id)
            .fetch_optional(&mut *connection)
            .await
            .map_err(unavailable)?;
        found.extend(place.map(|place| format!("log {}: {meaning} {place}", log.name)));
    }
    Ok(())
}
