//! A database server: its address, a pool of connections, and the schema brought up to date.

use std::str::FromStr as _;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions as _, Connection as _, Executor as _, Row as _};

/// Connections of one pool.
const CONNECTIONS: u32 = 10;
/// How long a caller waits for a connection.
const PATIENCE: Duration = Duration::from_secs(5);
/// The oldest server that is tested.
const OLDEST_SERVER: i32 = 150_000;

/// What every session starts with. Times are in milliseconds.
///
/// Appends rely on "read committed": what is read under the log's lock must be newer than the lock.
const SETTINGS: &[(&str, &str)] = &[
    ("default_transaction_isolation", r"read\ committed"),
    ("statement_timeout", "30000"),
    ("lock_timeout", "5000"),
    ("idle_in_transaction_session_timeout", "5000"),
    ("jit", "off"),
];

/// What sessions that read the log start with as well.
///
/// A read names few partitions once its parameters are known; a plan for any parameters would lock
/// all of them. And each has its index, which the planner leaves aside for a table that was filled
/// since it last looked: then it reads all positions between a stream's first and last event.
const LOG_READER_SETTINGS: &[(&str, &str)] = &[
    ("plan_cache_mode", "force_custom_plan"),
    ("enable_seqscan", "off"),
    ("enable_bitmapscan", "off"),
    ("enable_sort", "off"),
];

/// What sessions that write read models start with as well.
///
/// Rows are found one by one in the key's index: what the planner believes of a table that is being
/// filled is old. A commit may wait for an index that is being made.
const ROW_WRITER_SETTINGS: &[(&str, &str)] = &[
    ("statement_timeout", "300000"),
    ("lock_timeout", "300000"),
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_seqscan", "off"),
    ("enable_bitmapscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
];

/// What sessions that query read models start with as well: a plan that suits the values asked for,
/// which walks an index in the order asked for. Where another is wanted, the query says so.
const ROW_READER_SETTINGS: &[(&str, &str)] = &[
    ("plan_cache_mode", "force_custom_plan"),
    ("enable_seqscan", "off"),
    ("enable_bitmapscan", "off"),
    ("enable_sort", "off"),
];

/// Rows of a read model and their checkpoint are lost together in a crash of the server, and the log
/// has their events; so no commit of them waits for the disk.
const NOT_DURABLE: &str = "SET synchronous_commit = off";

/// "Durable" is what an answer means; `remote_write` and `remote_apply` mean more and are kept.
const DURABLE: &str = "SELECT set_config('synchronous_commit', 'on', false)
     WHERE current_setting('synchronous_commit') IN ('off', 'local')";

/// One part of the schema, brought up to date by itself.
pub(crate) struct Part {
    pub(crate) name: &'static str,
    pub(crate) migrations: &'static [Migration],
}

/// One file of `migrations/postgres`.
pub(crate) struct Migration {
    pub(crate) number: i32,
    pub(crate) sql: &'static str,
}

/// Why a database cannot be used; each variant asks the operator for a different next step.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The address is not one.
    #[error("the address of the database is not of the form postgres://user@host:port/database")]
    Address {
        /// What the driver said.
        source: sqlx::Error,
    },
    /// The server is too old.
    #[error("the server is PostgreSQL {major}; version 15 is the oldest that is supported")]
    OldServer {
        /// Its version.
        major: i32,
    },
    /// A newer release migrated the schema.
    #[error("the schema has migration {number}, which this release does not know; use a newer one")]
    NewerSchema {
        /// The number of the migration.
        number: i32,
    },
    /// A migration was applied that reads otherwise in this release.
    #[error("migration {number} is not what was applied to this schema; use an official release")]
    OtherMigration {
        /// The number of the migration.
        number: i32,
    },
    /// The server could not be reached or failed.
    #[error("the database is unavailable; check its address, that it runs and who may log in")]
    Unavailable {
        /// What the driver said.
        #[from]
        source: sqlx::Error,
    },
}

/// One database, connected when it is first needed.
#[derive(Clone, Debug)]
pub struct Database {
    options: PgConnectOptions,
    pool: PgPool,
}

impl Database {
    /// A database by its address, `postgres://user:password@host:port/database`.
    ///
    /// `?sslmode=verify-full` demands TLS and the server's name in its certificate,
    /// `&sslrootcert=<file>` says whom to trust; `?options=-csearch_path%3D<schema>` selects a
    /// schema.
    pub fn at(url: &str) -> Result<Self, OpenError> {
        let address = |source| OpenError::Address { source };
        if !["postgres:", "postgresql:"].iter().any(|scheme| url.starts_with(scheme)) {
            return Err(address(sqlx::Error::Configuration("another scheme".into())));
        }
        let options = PgConnectOptions::from_str(url).map_err(address)?;
        let name = options.get_application_name().unwrap_or("freehold").to_owned();
        let options = options
            .application_name(&name)
            .options(SETTINGS.iter().copied())
            .disable_statement_logging();
        Ok(Self { pool: pool_of(options.clone(), DURABLE), options })
    }

    /// The connections to share.
    pub(crate) fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Connections for reading the log and nothing else.
    pub(crate) fn log_readers(&self) -> PgPool {
        pool_of(self.options.clone().options(LOG_READER_SETTINGS.iter().copied()), DURABLE)
    }

    /// Connections for writing read models, and for reading what is to be written again.
    pub(crate) fn row_writers(&self) -> PgPool {
        pool_of(self.options.clone().options(ROW_WRITER_SETTINGS.iter().copied()), NOT_DURABLE)
    }

    /// Connections for querying read models.
    pub(crate) fn row_readers(&self) -> PgPool {
        pool_of(self.options.clone().options(ROW_READER_SETTINGS.iter().copied()), DURABLE)
    }

    /// A connection outside the pool.
    pub(crate) async fn connect(&self) -> Result<PgConnection, sqlx::Error> {
        let connecting = PgConnection::connect_with(&self.options);
        let connection = tokio::time::timeout(PATIENCE, connecting).await;
        let mut connection = connection.map_err(|_| sqlx::Error::PoolTimedOut)??;
        sqlx::query(DURABLE).execute(&mut connection).await?;
        Ok(connection)
    }

    /// Applies what `part` lacks, once, however many processes start at the same time.
    pub(crate) async fn migrate(&self, part: &Part) -> Result<(), OpenError> {
        let mut transaction = self.pool.begin().await?;
        let version: i32 =
            sqlx::query_scalar("SELECT current_setting('server_version_num')::integer")
                .fetch_one(&mut *transaction)
                .await?;
        if version < OLDEST_SERVER {
            return Err(OpenError::OldServer { major: version / 10_000 });
        }
        let prepare = "SET LOCAL statement_timeout = 0;
             SET LOCAL lock_timeout = 0;
             SELECT pg_advisory_xact_lock(hashtext('freehold schema'), hashtext(current_schema()));
             CREATE TABLE IF NOT EXISTS migration (
                 part text NOT NULL,
                 number integer NOT NULL,
                 hash bytea NOT NULL,
                 applied_at timestamptz NOT NULL DEFAULT now(),
                 PRIMARY KEY (part, number)
             )";
        transaction.execute(prepare).await?;
        let applied = sqlx::query("SELECT number, hash FROM migration WHERE part = $1")
            .bind(part.name)
            .fetch_all(&mut *transaction)
            .await?;
        let mut done = Vec::new();
        for row in applied {
            let (number, hash): (i32, Vec<u8>) = (row.try_get(0)?, row.try_get(1)?);
            let known = part.migrations.iter().find(|migration| migration.number == number);
            let known = known.ok_or(OpenError::NewerSchema { number })?;
            if hash != known.hash() {
                return Err(OpenError::OtherMigration { number });
            }
            done.push(number);
        }
        for migration in part.migrations.iter().filter(|one| !done.contains(&one.number)) {
            transaction.execute(migration.sql).await?;
            sqlx::query("INSERT INTO migration (part, number, hash) VALUES ($1, $2, $3)")
                .bind(part.name)
                .bind(migration.number)
                .bind(migration.hash().as_slice())
                .execute(&mut *transaction)
                .await?;
        }
        Ok(transaction.commit().await?)
    }
}

/// A pool that connects when it is first used; each session begins with a statement.
fn pool_of(options: PgConnectOptions, first: &'static str) -> PgPool {
    PgPoolOptions::new()
        .max_connections(CONNECTIONS)
        .acquire_timeout(PATIENCE)
        .after_connect(move |connection, _| {
            Box::pin(async move { sqlx::query(first).execute(connection).await.map(drop) })
        })
        .connect_lazy_with(options)
}

impl Migration {
    fn hash(&self) -> [u8; 32] {
        *blake3::hash(self.sql.as_bytes()).as_bytes()
    }
}
