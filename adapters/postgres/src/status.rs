//! What operators ask a database: what it is, what is in it, and who may write to it.

use freehold_ports::LogName;
use sqlx::Row as _;
use sqlx::postgres::PgConnection;

use crate::database::{Database, OpenError, PARTS};

/// What a database is and holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseStatus {
    /// The server's version, as it says it.
    pub server: String,
    /// Host and port, or the folder of a socket.
    pub place: String,
    /// The database's name.
    pub database: String,
    /// The schema that holds everything.
    pub schema: String,
    /// As whom it was asked.
    pub user: String,
    /// Whether it is a replica.
    pub replica: bool,
    /// What the schema takes on the disk, in bytes.
    pub bytes: i64,
    /// How many connections the server has, of whomever.
    pub connections: i64,
    /// How many it may have.
    pub max_connections: i64,
    /// How many processes of this program are connected, by the names their connections have.
    pub sessions: i64,
    /// How many migrations were applied.
    pub migrations_applied: usize,
    /// How many this release knows of the parts that are there.
    pub migrations_known: usize,
    /// Its logs, by name.
    pub logs: Vec<LogStatus>,
}

/// One log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogStatus {
    /// Its name.
    pub log: String,
    /// The position of its last event.
    pub position: i64,
    /// Which history of the log this is, counted from 1.
    pub epoch: i64,
    /// How many partitions hold its events.
    pub partitions: i64,
    /// How many further events fit into them.
    pub prepared_events: i64,
}

const SERVER: &str = "SELECT current_setting('server_version'), current_database()::text,
     coalesce(current_schema()::text, ''), current_user::text, pg_is_in_recovery(),
     (SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint FROM pg_class
      WHERE relnamespace = to_regnamespace(quote_ident(current_schema())) AND relkind = 'r'),
     (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),
     current_setting('max_connections')::bigint,
     (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
      AND application_name = current_setting('application_name') AND pid <> pg_backend_pid())";

const LOGS: &str = "SELECT log.name, head.position, log.epoch, parts.number,
     parts.upper - 1 - head.position
     FROM log, LATERAL (
         SELECT position FROM log_head WHERE log_id = log.id ORDER BY position DESC LIMIT 1
     ) AS head, LATERAL (
         SELECT count(*) AS number, coalesce(max(upper), 1) AS upper FROM partition
         WHERE log_id = log.id
     ) AS parts ORDER BY log.name";

impl Database {
    /// What the database is and holds; changes nothing.
    pub async fn status(&self) -> Result<DatabaseStatus, OpenError> {
        let mut connection = self.first_connection().await?;
        let mut known = 0;
        let mut lacking = 0;
        for part in PARTS {
            let number = part.migrations.len();
            let missing = self.lacking(&mut connection, part).await?;
            // A part of which nothing is there is not used here, such as keys kept elsewhere.
            if let Some(missing) = missing.filter(|missing| missing.len() < number) {
                known += number;
                lacking += missing.len();
            }
        }
        let row = sqlx::query(SERVER)
            .fetch_one(&mut connection)
            .await
            .map_err(|error| self.why(error))?;
        Ok(DatabaseStatus {
            server: row.try_get(0)?,
            place: self.place(),
            database: row.try_get(1)?,
            schema: row.try_get(2)?,
            user: row.try_get(3)?,
            replica: row.try_get(4)?,
            bytes: row.try_get(5)?,
            connections: row.try_get(6)?,
            max_connections: row.try_get(7)?,
            sessions: row.try_get(8)?,
            migrations_applied: known - lacking,
            migrations_known: known,
            logs: self.logs(&mut connection).await?,
        })
    }

    /// Refuses every process that has opened a log until now: none of them writes to it again
    /// before it is restarted. Returns the log's new epoch; none if there is no such log.
    pub async fn raise_epoch(&self, log: &LogName) -> Result<Option<i64>, OpenError> {
        let mut connection = self.first_connection().await?;
        let epoch = sqlx::query_scalar("SELECT raise_epoch($1)").bind(log.as_str());
        epoch.fetch_one(&mut connection).await.map_err(|error| self.why(error))
    }

    async fn logs(&self, connection: &mut PgConnection) -> Result<Vec<LogStatus>, OpenError> {
        let made: bool = sqlx::query_scalar("SELECT to_regclass('partition') IS NOT NULL")
            .fetch_one(&mut *connection)
            .await
            .map_err(|error| self.why(error))?;
        if !made {
            return Ok(Vec::new());
        }
        let rows = sqlx::query(LOGS).fetch_all(connection).await;
        let log = |row: sqlx::postgres::PgRow| {
            Ok(LogStatus {
                log: row.try_get(0)?,
                position: row.try_get(1)?,
                epoch: row.try_get(2)?,
                partitions: row.try_get(3)?,
                prepared_events: row.try_get(4)?,
            })
        };
        rows.map_err(|error| self.why(error))?.into_iter().map(log).collect()
    }
}
