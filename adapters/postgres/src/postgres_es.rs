//! The events of an application that stores them with the crate `postgres-es`, to read and no more.

use sqlx::postgres::PgRow;
use sqlx::{FromRow, Row as _};

use crate::database::{Database, OpenError, said};

/// What PostgreSQL says where a table or a column is not there.
const NO_TABLE: &str = "42P01";
const NO_COLUMN: &str = "42703";

/// A table of events with the columns that `postgres-es` documents.
pub struct PostgresEsTable {
    database: Database,
    /// As it stands in statements.
    table: String,
}

/// A row of it; payload and metadata are the JSON texts that stand there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostgresEsEvent {
    /// The aggregate's type.
    pub aggregate_type: String,
    /// Its id.
    pub aggregate_id: String,
    /// The event's place among those of its aggregate, from 1.
    pub sequence: i64,
    /// The event's name.
    pub event_type: String,
    /// The version of its payload's shape.
    pub event_version: String,
    /// What happened.
    pub payload: String,
    /// What the command was sent with.
    pub metadata: String,
}

impl FromRow<'_, PgRow> for PostgresEsEvent {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            aggregate_type: row.try_get(0)?,
            aggregate_id: row.try_get(1)?,
            sequence: row.try_get(2)?,
            event_type: row.try_get(3)?,
            event_version: row.try_get(4)?,
            payload: row.try_get(5)?,
            metadata: row.try_get(6)?,
        })
    }
}

/// Why events could not be read.
#[derive(Debug, thiserror::Error)]
pub enum PostgresEsError {
    /// There is no such table, or it is another kind of table.
    #[error(
        "{table} is no table of events of postgres-es: {said}; name it with --schema and --table"
    )]
    NotATable {
        /// As it was asked for.
        table: String,
        /// What the server said.
        said: String,
    },
    /// The server could not be reached or failed.
    #[error("the application's database: {}", advice(.0))]
    Unavailable(OpenError),
}

/// What to do about somebody else's database, which is only read.
fn advice(error: &OpenError) -> String {
    match error {
        OpenError::NoDatabase { at, source } => {
            format!("the server at {at} has none of that name: {}; check the address", said(source))
        }
        OpenError::Forbidden { user, source } => format!(
            "{user} may not read the table: {}; grant USAGE on its schema and SELECT on it",
            said(source)
        ),
        error => error.to_string(),
    }
}

impl PostgresEsTable {
    /// A table of a database; without a schema the first of the `search_path` that has it.
    pub fn new(database: Database, schema: Option<&str>, table: &str) -> Self {
        let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
        let names = schema.into_iter().chain([table]).map(quoted);
        Self { database, table: names.collect::<Vec<_>>().join(".") }
    }

    /// Roughly how many events there are, as the server believes: counting reads all of them. 0
    /// where it never looked.
    pub async fn estimate(&self) -> Result<u64, PostgresEsError> {
        // The second condition fails where there is no such table.
        let sql = format!(
            "SELECT greatest(reltuples, 0)::bigint FROM pg_class
             WHERE oid = to_regclass($1) AND NOT EXISTS (SELECT FROM {} LIMIT 0)",
            self.table
        );
        let count: i64 = sqlx::query_scalar(&sql)
            .bind(&self.table)
            .fetch_one(self.database.pool())
            .await
            .map_err(|error| self.failed(error))?;
        Ok(count as u64)
    }

    /// At most `limit` events in order of type, id and sequence, those after one of them.
    pub async fn read(
        &self,
        after: Option<&PostgresEsEvent>,
        limit: u32,
    ) -> Result<Vec<PostgresEsEvent>, PostgresEsError> {
        let condition = match after {
            Some(_) => "WHERE (aggregate_type, aggregate_id, sequence) > ($2, $3, $4)",
            None => "",
        };
        let sql = format!(
            "SELECT aggregate_type, aggregate_id, sequence, event_type, event_version,
                 payload::text, metadata::text
             FROM {} {condition} ORDER BY aggregate_type, aggregate_id, sequence LIMIT $1",
            self.table
        );
        let mut query = sqlx::query_as(&sql).bind(i64::from(limit));
        if let Some(PostgresEsEvent { aggregate_type, aggregate_id, sequence, .. }) = after {
            query = query.bind(aggregate_type).bind(aggregate_id).bind(*sequence);
        }
        query.fetch_all(self.database.pool()).await.map_err(|error| self.failed(error))
    }

    fn failed(&self, source: sqlx::Error) -> PostgresEsError {
        match &source {
            sqlx::Error::Database(said)
                if [NO_TABLE, NO_COLUMN].contains(&&*said.code().unwrap_or_default()) =>
            {
                let (table, said) = (self.table.clone(), said.message().to_owned());
                PostgresEsError::NotATable { table, said }
            }
            _ => PostgresEsError::Unavailable(self.database.why(source)),
        }
    }
}
