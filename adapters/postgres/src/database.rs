//! A database server: its address, a pool of connections, and the schema brought up to date.

use std::borrow::Cow;
use std::convert::identity;
use std::fmt;
use std::io::ErrorKind;
use std::pin::pin;
use std::str::FromStr as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use freehold_ports::StoreFailure;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions as _, Connection as _, Executor as _, Row as _};

use crate::{event_store, key_vault, read_models};

/// Connections of one pool, unless said.
const CONNECTIONS: u32 = 10;
/// Calls for streams at the same time: while one is on its way, questions gather for the other.
const STREAM_READERS: u32 = 2;
/// A connection that was idle so long is tried before something is trusted to it; always to try
/// one would be a round trip more for each call.
pub(crate) const TRUSTED_FOR: Duration = Duration::from_secs(1);
/// How long a caller waits for a connection.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long an answer of a session is waited for that the server itself gives 30 s a statement.
pub(crate) const LIMIT: Duration = Duration::from_secs(45);
/// How long an answer is waited for where the server gives a statement 5 minutes.
pub(crate) const LONG_LIMIT: Duration = Duration::from_secs(330);
/// How long a check waits for a connection before it looks why there is none.
const SOON: Duration = Duration::from_secs(1);
/// The oldest server that is tested.
const OLDEST_SERVER: i32 = 150_000;

/// What may stand behind the question mark of an address, beside `options[...]`.
const PARAMETERS: &[&str] = &[
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "options",
    "password",
    "port",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "statement-cache-capacity",
    "user",
];

/// What every session starts with. Times are in milliseconds.
///
/// Appends rely on "read committed": what is read under the log's lock must be newer than the lock.
const SETTINGS: &[(&str, &str)] = &[
    ("default_transaction_isolation", r"read\ committed"),
    ("statement_timeout", "30000"),
    ("lock_timeout", "5000"),
    ("idle_in_transaction_session_timeout", "5000"),
    ("jit", "off"),
    // The server ends sessions of a machine that is gone, and gives their locks free.
    ("tcp_keepalives_idle", "30"),
    ("tcp_keepalives_interval", "10"),
    ("tcp_keepalives_count", "3"),
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
    // A page is short: starting workers takes longer than reading it.
    ("max_parallel_workers_per_gather", "0"),
];

/// What sessions that read streams of the log start with as well: as above, but one plan for all
/// questions, which leaves out partitions as it runs. To plan each would take longer than it. The
/// price: one locked partition of any log makes all of them wait (README.md, "How it is read").
const STREAM_READER_SETTINGS: &[(&str, &str)] = &[
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_seqscan", "off"),
    ("enable_bitmapscan", "off"),
    ("enable_sort", "off"),
    ("max_parallel_workers_per_gather", "0"),
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

/// Every part of the schema.
pub(crate) const PARTS: &[&Part] =
    &[&event_store::SCHEMA, &key_vault::SCHEMA, &read_models::SCHEMA];

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
    #[error(
        "the address of the database is not of the form postgres://user@host:port/database: {}",
        said(source)
    )]
    Address {
        /// What the driver said.
        source: sqlx::Error,
    },
    /// Nothing answers.
    #[error("no PostgreSQL answers at {at}: {}; check the address and that it runs", said(source))]
    Unreachable {
        /// Host and port, or the folder of a socket.
        at: String,
        /// What the driver said.
        source: sqlx::Error,
    },
    /// The server does not let the user in.
    #[error(
        "the server at {at} does not let {user} in: {}; check user and password, or \
         pg_hba.conf",
        said(source)
    )]
    Login {
        /// Host and port.
        at: String,
        /// Who tried.
        user: String,
        /// What the server said.
        source: sqlx::Error,
    },
    /// The server and this program do not agree on TLS.
    #[error(
        "no TLS with the server at {at}: {}; check sslmode, sslrootcert and the server's \
         certificate",
        said(source)
    )]
    Tls {
        /// Host and port.
        at: String,
        /// What the driver said.
        source: sqlx::Error,
    },
    /// The server has no such database.
    #[error("the server at {at} has no such database: {}; make it with createdb", said(source))]
    NoDatabase {
        /// Host and port.
        at: String,
        /// What the server said.
        source: sqlx::Error,
    },
    /// The server takes no more connections now.
    #[error(
        "the server at {at} takes no more connections: {}; raise max_connections, or give \
         each process fewer",
        said(source)
    )]
    Full {
        /// Host and port.
        at: String,
        /// What the server said.
        source: sqlx::Error,
    },
    /// The user may not do what is needed.
    #[error(
        "{user} may not do what is needed: {}; make {user} the owner of the database, or \
         grant CREATE and USAGE on the schema, and of tables that are there already all rights",
        said(source)
    )]
    Forbidden {
        /// Who tried.
        user: String,
        /// What the server said.
        source: sqlx::Error,
    },
    /// The server answers, and this process uses all connections it may have.
    #[error("all {limit} connections of this process to {at} are in use; it may have more")]
    Busy {
        /// Host and port.
        at: String,
        /// How many there may be.
        limit: u32,
    },
    /// The server does not write: it is a replica, or was made read-only.
    #[error("the server at {at} takes no writes: {}; name the primary", said(source))]
    ReadOnly {
        /// Host and port.
        at: String,
        /// What the server said.
        source: sqlx::Error,
    },
    /// The server is too old.
    #[error("the server is PostgreSQL {major}; version 15 is the oldest that is supported")]
    OldServer {
        /// Its version.
        major: i32,
    },
    /// The database does not keep every text.
    #[error("the database is encoded in {encoding}; make one with createdb --encoding UTF8")]
    Encoding {
        /// Its encoding.
        encoding: String,
    },
    /// A newer release migrated the schema.
    #[error("the schema has migration {number}, which this release does not know; use a newer one")]
    NewerSchema {
        /// The number of the migration.
        number: i32,
    },
    /// What was given as a replica follows another database, or none.
    #[error("it is no replica of the database of the log; name one of the same server, or none")]
    NoReplica,
    /// A migration was applied that reads otherwise in this release.
    #[error("migration {number} is not what was applied to this schema; use an official release")]
    OtherMigration {
        /// The number of the migration.
        number: i32,
    },
    /// The schema lacks migrations, and whoever opens it only reads.
    #[error("the schema lacks migration {number}; run `freehold db migrate` first")]
    OlderSchema {
        /// The number of the migration.
        number: i32,
    },
    /// The schema has no tables, and whoever opens it only reads.
    #[error("there is nothing in this database yet")]
    Nothing,
    /// The server failed otherwise.
    #[error("the database failed: {}", said(source))]
    Failed {
        /// What the driver said.
        #[from]
        source: sqlx::Error,
    },
}

/// One database, connected when it is first needed.
#[derive(Clone)]
pub struct Database {
    options: PgConnectOptions,
    pool_size: u32,
    pool: PgPool,
    shared: Arc<Mutex<Shared>>,
    opened: Arc<AtomicU64>,
}

/// What all who use a database have put together.
#[derive(Default)]
struct Shared {
    /// Every pool, by what it is for.
    pools: Vec<(&'static str, PgPool)>,
    /// The parts of the schema that were opened.
    parts: Vec<&'static Part>,
}

impl Database {
    /// A database by its address, `postgres://user:password@host:port/database`.
    ///
    /// `?sslmode=verify-full` demands TLS and the server's name in its certificate,
    /// `&sslrootcert=<file>` says whom to trust; `?options=-csearch_path%3D<schema>` selects a
    /// schema.
    pub fn at(url: &str) -> Result<Self, OpenError> {
        Self::with_pool_size(url, CONNECTIONS)
    }

    /// A database by its [address](Self::at), with so many connections in each of its pools.
    pub fn with_pool_size(url: &str, pool_size: u32) -> Result<Self, OpenError> {
        let options = options_of(url).map_err(|what| OpenError::Address {
            source: sqlx::Error::Configuration(what.into()),
        })?;
        let name = options.get_application_name().unwrap_or("freehold").to_owned();
        let options = options
            .application_name(&name)
            .options(SETTINGS.iter().copied())
            .disable_statement_logging();
        let opened = Arc::default();
        let pool = pool_of(options.clone(), pool_size, DURABLE, &opened);
        let database = Self { options, pool_size, pool, shared: Arc::default(), opened };
        database.count("shared", database.pool.clone());
        Ok(database)
    }

    /// Whether an address is one; nothing is connected.
    ///
    /// - Errors: what is wrong with it, without anything of it.
    pub fn check_address(url: &str) -> Result<(), String> {
        options_of(url).map(drop)
    }

    /// How many sessions were opened until now: a new one may be of another server, which has
    /// another history.
    pub(crate) fn opened(&self) -> Arc<AtomicU64> {
        self.opened.clone()
    }

    /// The connections to share.
    pub(crate) fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Connections for reading the log and nothing else.
    pub(crate) fn log_readers(&self) -> PgPool {
        self.pool_with("log_readers", self.pool_size, LOG_READER_SETTINGS, DURABLE)
    }

    /// Connections for reading streams of the log, many in one call.
    pub(crate) fn stream_readers(&self) -> PgPool {
        let size = self.pool_size.min(STREAM_READERS);
        self.pool_with("stream_readers", size, STREAM_READER_SETTINGS, DURABLE)
    }

    /// Connections for writing read models, and for reading what is to be written again.
    pub(crate) fn row_writers(&self) -> PgPool {
        self.pool_with("row_writers", self.pool_size, ROW_WRITER_SETTINGS, NOT_DURABLE)
    }

    /// Connections for querying read models.
    pub(crate) fn row_readers(&self) -> PgPool {
        self.pool_with("row_readers", self.pool_size, ROW_READER_SETTINGS, DURABLE)
    }

    /// Connections for reading the log at a replica, counted among those of this database.
    pub(crate) fn replica_readers(&self, replica: &Self) -> PgPool {
        let options = replica.options.clone().options(LOG_READER_SETTINGS.iter().copied());
        let pool = pool_of(options, replica.pool_size, DURABLE, &replica.opened);
        self.count("replica", pool.clone());
        pool
    }

    /// One connection, to be held for as long as it lasts.
    pub(crate) fn listener(&self) -> PgPool {
        let pool = pool_of(self.options.clone(), 1, DURABLE, &self.opened);
        self.count("listener", pool.clone());
        pool
    }

    /// A further pool, whose sessions also start with these settings, and with a statement.
    fn pool_with(
        &self,
        name: &'static str,
        size: u32,
        settings: &[(&'static str, &'static str)],
        first: &'static str,
    ) -> PgPool {
        let options = self.options.clone().options(settings.iter().copied());
        let pool = pool_of(options, size, first, &self.opened);
        self.count(name, pool.clone());
        pool
    }

    /// How many connections each pool has and may have, by what it is for.
    pub fn pools(&self) -> Vec<PoolStatus> {
        let status = |(name, pool): &(&'static str, PgPool)| {
            let idle = pool.num_idle() as u32;
            let in_use = pool.size().saturating_sub(idle);
            PoolStatus { name, idle, in_use, limit: pool.options().get_max_connections() }
        };
        self.shared().pools.iter().map(status).collect()
    }

    /// Counts the connections of another database among the pools of this one.
    pub fn count_with(&self, name: &'static str, other: &Self) {
        self.count(name, other.pool.clone());
    }

    fn count(&self, name: &'static str, pool: PgPool) {
        self.shared().pools.push((name, pool));
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes leave of the server on every connection that is not used; waits a moment for others.
    pub async fn close(&self) {
        let pools: Vec<PgPool> = self.shared().pools.iter().map(|(_, pool)| pool.clone()).collect();
        for pool in pools {
            // Whoever still uses one only loses the farewell.
            let _ = tokio::time::timeout(SOON, pool.close()).await;
        }
    }

    /// Host and port, or the folder of a socket.
    pub fn place(&self) -> String {
        match self.options.get_socket() {
            Some(socket) => socket.display().to_string(),
            None => format!("{}:{}", self.options.get_host(), self.options.get_port()),
        }
    }

    /// A connection outside the pool.
    pub(crate) async fn connect(&self) -> Result<PgConnection, sqlx::Error> {
        let connecting = async {
            let mut connection = PgConnection::connect_with(&self.options).await?;
            sqlx::query(DURABLE).execute(&mut connection).await?;
            Ok(connection)
        };
        within(PATIENCE, identity, connecting).await
    }

    /// A connection outside the pool, to a server that is supported. What is wrong is said here:
    /// a pool says of everything that it took too long.
    pub(crate) async fn first_connection(&self) -> Result<PgConnection, OpenError> {
        let mut connection = self.connect().await.map_err(|error| self.why(error))?;
        let sql = "SELECT current_setting('server_version_num')::integer,
             current_setting('server_encoding')";
        let (version, encoding): (i32, String) = sqlx::query_as(sql)
            .fetch_one(&mut connection)
            .await
            .map_err(|error| self.why(error))?;
        if version < OLDEST_SERVER {
            return Err(OpenError::OldServer { major: version / 10_000 });
        }
        // One character that it lacks would fail a whole batch.
        if encoding != "UTF8" {
            return Err(OpenError::Encoding { encoding });
        }
        Ok(connection)
    }

    /// What an error asks the operator to do.
    pub(crate) fn why(&self, source: sqlx::Error) -> OpenError {
        let (at, user) = (self.place(), self.options.get_username().to_owned());
        let code = source.as_database_error().and_then(|error| error.code());
        match (&source, code.as_deref()) {
            (_, Some("28P01" | "28000")) => OpenError::Login { at, user, source },
            (_, Some("3D000")) => OpenError::NoDatabase { at, source },
            (_, Some("53300")) => OpenError::Full { at, source },
            (_, Some("42501" | "3F000")) => OpenError::Forbidden { user, source },
            (_, Some("25006")) => OpenError::ReadOnly { at, source },
            // It starts, stops or recovers.
            (_, Some("57P01" | "57P02" | "57P03")) => OpenError::Unreachable { at, source },
            (sqlx::Error::Tls(_), _) => OpenError::Tls { at, source },
            // A certificate is refused in the middle of reading.
            (sqlx::Error::Io(io), _) if io.kind() == std::io::ErrorKind::InvalidData => {
                OpenError::Tls { at, source }
            }
            (sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut, _) => {
                OpenError::Unreachable { at, source }
            }
            _ => OpenError::Failed { source },
        }
    }

    /// Applies what `part` lacks, once, however many processes start at the same time.
    pub(crate) async fn migrate(&self, part: &'static Part) -> Result<(), OpenError> {
        self.shared().parts.push(part);
        let mut connection = self.first_connection().await?;
        // Whoever finds nothing to do needs no right to do it.
        let lacking = self.lacking(&mut connection, part).await?;
        if lacking.is_some_and(|lacking| lacking.is_empty()) {
            return Ok(());
        }
        let mut transaction = connection.begin().await.map_err(|error| self.why(error))?;
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
        transaction.execute(prepare).await.map_err(|error| self.why(error))?;
        let lacking = self.lacking(&mut transaction, part).await?.unwrap_or_default();
        for migration in lacking {
            transaction.execute(migration.sql).await.map_err(|error| self.why(error))?;
            sqlx::query("INSERT INTO migration (part, number, hash) VALUES ($1, $2, $3)")
                .bind(part.name)
                .bind(migration.number)
                .bind(migration.hash().as_slice())
                .execute(&mut *transaction)
                .await
                .map_err(|error| self.why(error))?;
        }
        transaction.commit().await.map_err(|error| self.why(error))
    }

    /// Refuses a schema that lacks something of `part`; changes nothing.
    pub(crate) async fn require(&self, part: &'static Part) -> Result<(), OpenError> {
        self.shared().parts.push(part);
        let mut connection = self.first_connection().await?;
        let lacking = self.lacking(&mut connection, part).await?;
        match lacking.as_deref() {
            None => Err(OpenError::Nothing),
            Some([]) => Ok(()),
            Some(lacking) if lacking.len() == part.migrations.len() => Err(OpenError::Nothing),
            Some([next, ..]) => Err(OpenError::OlderSchema { number: next.number }),
        }
    }

    /// Whether the database answers and has everything that was opened in it.
    ///
    /// A connection of the pool is asked, as whoever uses the database would.
    pub async fn check(&self) -> Result<(), OpenError> {
        match tokio::time::timeout(SOON, self.pool.acquire()).await {
            Ok(Ok(mut connection)) => {
                let parts = self.shared().parts.clone();
                for part in parts {
                    let lacking = self.lacking(&mut connection, part);
                    let lacking = within(PATIENCE, |late| self.why(late), lacking).await?;
                    match lacking.as_deref() {
                        None => return Err(OpenError::Nothing),
                        Some([next, ..]) => {
                            return Err(OpenError::OlderSchema { number: next.number });
                        }
                        Some([]) => {}
                    }
                }
                Ok(())
            }
            // A pool does not say why.
            _ => {
                self.first_connection().await?;
                Err(OpenError::Busy { at: self.place(), limit: self.pool_size })
            }
        }
    }

    /// The migrations of `part` that were not applied; none if there is no list of them.
    pub(crate) async fn lacking(
        &self,
        connection: &mut PgConnection,
        part: &Part,
    ) -> Result<Option<Vec<&'static Migration>>, OpenError> {
        let listed: bool = sqlx::query_scalar("SELECT to_regclass('migration') IS NOT NULL")
            .fetch_one(&mut *connection)
            .await
            .map_err(|error| self.why(error))?;
        if !listed {
            return Ok(None);
        }
        let applied = sqlx::query("SELECT number, hash FROM migration WHERE part = $1")
            .bind(part.name)
            .fetch_all(&mut *connection)
            .await
            .map_err(|error| self.why(error))?;
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
        Ok(Some(part.migrations.iter().filter(|one| !done.contains(&one.number)).collect()))
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The options hold the password.
        f.debug_struct("Database").field("place", &self.place()).finish_non_exhaustive()
    }
}

/// The connections of one pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolStatus {
    /// What they are for.
    pub name: &'static str,
    /// How many wait to be used.
    pub idle: u32,
    /// How many are used.
    pub in_use: u32,
    /// How many there may be.
    pub limit: u32,
}

/// An error that callers pass on; a pool's own words for a server that is gone explain nothing.
pub(crate) fn failure(error: sqlx::Error) -> StoreFailure {
    match error {
        sqlx::Error::PoolTimedOut => {
            let seconds = PATIENCE.as_secs();
            let what = "the server does not answer, or all of this process's are in use";
            format!("no connection in {seconds} s: {what}").into()
        }
        error => error.into(),
    }
}

/// An error in the words of whoever found it.
pub(crate) fn said(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(error) => error.message().to_owned(),
        sqlx::Error::Io(error) => error.to_string(),
        sqlx::Error::Tls(error) | sqlx::Error::Configuration(error) => error.to_string(),
        error => error.to_string(),
    }
}

/// An address as the driver takes it, or what is wrong with it, which repeats nothing of it.
fn options_of(url: &str) -> Result<PgConnectOptions, String> {
    if !["postgres:", "postgresql:"].iter().any(|scheme| url.starts_with(scheme)) {
        return Err("another scheme".to_owned());
    }
    let place = url.split_once("://").map_or(url, |(_, place)| place);
    let login = place.rsplit_once('@').map_or("", |(login, _)| login);
    let advice = match login.contains(['/', '?', '#']) {
        true => {
            "; in a user name or a password write %2F for /, %3F for ?, %23 for #, %40 for @, \
                 %3A for : and %25 for %"
        }
        false => "",
    };
    check_parameters(url).map_err(|what| format!("{what}{advice}"))?;
    let options = PgConnectOptions::from_str(&without_empty_host(url));
    options.map_err(|error| format!("{}{advice}", said(&error)))
}

/// Refuses what the driver would pass over: `sslmod=verify-full` must not mean no TLS.
fn check_parameters(url: &str) -> Result<(), String> {
    let Some((_, query)) = url.split_once('?') else { return Ok(()) };
    let names = query.split('&').map(|pair| pair.split_once('=').map_or(pair, |(name, _)| name));
    let known = |name: &str| PARAMETERS.contains(&name) || name.starts_with("options[");
    let Some(name) = names.filter(|name| !name.is_empty()).find(|name| !known(name)) else {
        return Ok(());
    };
    // It may be a part of something else, of a password with a question mark.
    let name = match name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    {
        true => name,
        false => "like the one there",
    };
    Err(format!("no parameter {name}; there are {}", PARAMETERS.join(", ")))
}

/// An address as the driver takes it where no host is named, as in `user@/database?host=/folder`:
/// without anything in place of a host, and who logs in among the parameters.
fn without_empty_host(url: &str) -> Cow<'_, str> {
    let Some((scheme, rest)) = url.split_once("://") else { return url.into() };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (place, rest) = rest.split_at(end);
    let Some((login, port)) = place.rsplit_once('@') else { return url.into() };
    if !port.is_empty() && !port.starts_with(':') {
        return url.into();
    }
    let (user, password) = match login.split_once(':') {
        Some((user, password)) => (user, Some(password)),
        None => (login, None),
    };
    let mut translated = format!("{scheme}://{rest}");
    let port = port.strip_prefix(':').filter(|port| !port.is_empty());
    let user = Some(user).filter(|user| !user.is_empty());
    let parameters = [("user", user), ("password", password), ("port", port)];
    for (name, value) in parameters {
        let Some(value) = value else { continue };
        translated.push(if translated.contains('?') { '&' } else { '?' });
        // What stands for itself here means something among parameters.
        let value = value.replace('+', "%2B").replace('&', "%26");
        translated.push_str(&format!("{name}={value}"));
    }
    translated.into()
}

/// A pool that connects when it is first used; each session begins with a statement, and counts.
fn pool_of(
    options: PgConnectOptions,
    size: u32,
    first: &'static str,
    opened: &Arc<AtomicU64>,
) -> PgPool {
    let opened = opened.clone();
    PgPoolOptions::new()
        .max_connections(size)
        .acquire_timeout(PATIENCE)
        .after_release(|connection, _| {
            Box::pin(async move { Ok(!given_up_lately() || answers(connection).await) })
        })
        .after_connect(move |connection, _| {
            opened.fetch_add(1, Ordering::Relaxed);
            Box::pin(async move { sqlx::query(first).execute(connection).await.map(drop) })
        })
        .test_before_acquire(false)
        .before_acquire(|connection, now| {
            Box::pin(
                async move { Ok(now.idle_for < TRUSTED_FOR || connection.ping().await.is_ok()) },
            )
        })
        .connect_lazy_with(options)
}

/// Whether a connection still leads to a server.
pub(crate) async fn answers(connection: &mut PgConnection) -> bool {
    matches!(tokio::time::timeout(PATIENCE, connection.ping()).await, Ok(Ok(())))
}

/// Waits for what a server is asked, but not for ever: one that vanished with its machine closes
/// no connection.
pub(crate) async fn within<T, E>(
    limit: Duration,
    failed: impl FnOnce(sqlx::Error) -> E,
    asking: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let asking = pin!(asking);
    // Dropped before the connection that it speaks of is.
    let given_up = GivenUp;
    match tokio::time::timeout(limit, asking).await {
        Ok(answer) => {
            std::mem::forget(given_up);
            answer
        }
        Err(_) => Err(failed(std::io::Error::from(ErrorKind::TimedOut).into())),
    }
}

/// When an answer was last not waited for. A pool tries each connection that comes back, and
/// without a limit: those that come back soon after are tried with one first, or the pool would
/// be full of connections to nobody.
static LAST_GIVEN_UP: Mutex<Option<Instant>> = Mutex::new(None);

/// An answer that is not waited for, whether it took too long or its caller went away.
struct GivenUp;

impl Drop for GivenUp {
    fn drop(&mut self) {
        *LAST_GIVEN_UP.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }
}

fn given_up_lately() -> bool {
    let last = *LAST_GIVEN_UP.lock().unwrap_or_else(PoisonError::into_inner);
    last.is_some_and(|last| last.elapsed() < LIMIT)
}

impl Migration {
    fn hash(&self) -> [u8; 32] {
        *blake3::hash(self.sql.as_bytes()).as_bytes()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[tokio::test]
    async fn an_address_may_name_the_folder_of_a_socket_as_psql_takes_it() {
        let database = Database::at("postgresql://a+b@/flats?host=/run/here&port=5433").unwrap();
        assert_eq!(database.place(), "/run/here");
        assert_eq!(database.options.get_username(), "a+b");
        assert_eq!(database.options.get_database(), Some("flats"));
        let all = without_empty_host("postgres://ann:p%40&s@:5433/flats");
        assert_eq!(all, "postgres:///flats?user=ann&password=p%40%26s&port=5433");
        // Without a name, who logs in is who it would be without a login.
        let nameless = without_empty_host("postgres://:secret@/flats");
        assert_eq!(nameless, "postgres:///flats?password=secret");
        let default = PgConnectOptions::new().get_username().to_owned();
        let nameless = Database::at("postgres://:secret@/flats").unwrap();
        assert_eq!(nameless.options.get_username(), default);
        for other in ["postgres:///flats?host=/run", "postgres://ann@host/flats", "postgres://ann@"]
        {
            assert!(Database::at(other).is_ok(), "{other}");
        }
        for untouched in ["postgres:///flats?user=x", "postgres://ann:secret@host:1/flats"] {
            assert_eq!(without_empty_host(untouched), untouched);
        }
    }

    #[tokio::test]
    #[ignore = "set TEST_POSTGRES_URL"]
    async fn a_connection_that_gives_no_answer_leaves_the_pool_soon() {
        let url = std::env::var("TEST_POSTGRES_URL").unwrap();
        let database = Database::with_pool_size(&url, 1).unwrap();
        // To its client a server that sleeps is one that vanished.
        let asking = sqlx::query("SELECT pg_sleep(25)").execute(database.pool());

        let late = within(Duration::from_millis(200), identity, asking).await;

        assert!(matches!(late, Err(sqlx::Error::Io(_))), "{late:?}");
        let given_up = Instant::now();
        while database.check().await.is_err() {
            assert!(given_up.elapsed() < Duration::from_secs(15), "the pool stays full");
        }
    }
}
