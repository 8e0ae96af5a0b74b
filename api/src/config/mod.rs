//! One typed configuration, read once at start-up.
//!
//! Layers, lowest to highest: defaults, `freehold.toml`, environment, flags. [`KEYS`] describes
//! every key; [`Config`] is what the rest of the program sees, and a part of the program receives
//! only its own part. Deliberately absent: reloading. A changed file takes effect at a restart.

mod keys;
mod layers;
mod roles;
mod secret;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use freehold_postgres::Database;
use freehold_projections::FailurePolicy;
use serde::Deserialize;

pub use keys::{KEYS, Key, Kind};
pub(crate) use layers::without_password;
pub use layers::{ConfigError, ConfigErrors, Loaded, Origin, Setting, Sources};
pub use roles::{Part, Roles};
pub use secret::{MasterKey, MasterKeyError, Secret};

use crate::http::Role;

/// Everything that can be set; see [`KEYS`] for units, defaults and effects.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What this process runs.
    pub roles: Roles,
    /// The server.
    pub http: Http,
    /// Who may call.
    #[serde(default)]
    pub auth: Auth,
    /// GraphQL's limits.
    pub graphql: Graphql,
    /// REST ingestion's limits.
    pub ingest: Ingest,
    /// The event store.
    pub store: Store,
    /// Other applications.
    #[serde(default)]
    pub import: Import,
    /// The key vault.
    #[serde(default)]
    pub vault: Vault,
    /// The read side.
    pub projections: Projections,
    /// The cluster that logs are published to.
    pub kafka: Kafka,
    /// What publishes them.
    pub relay: Relay,
    /// What cannot be handled.
    pub dead_letters: DeadLetters,
    /// What single subscriptions do otherwise.
    #[serde(default)]
    pub subscriptions: Vec<Subscription>,
    /// Whose data it is where a request does not say.
    pub tenant: Tenant,
    /// Choices that a tenant's owner makes.
    pub policy: Policy,
    /// Data quality.
    pub data_quality: DataQuality,
    /// Logs.
    pub log: Log,
}

/// `http.*`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    /// Where to listen.
    pub listen: SocketAddr,
    /// How many ports after it are tried where it is taken.
    #[serde(skip)]
    pub(crate) further_ports: u16,
    /// The largest request body.
    pub max_body_bytes: usize,
    /// The most open connections, WebSockets included.
    pub max_connections: u32,
    header_timeout_ms: u64,
    request_timeout_ms: u64,
    stalled_write_timeout_ms: u64,
    shutdown_timeout_ms: u64,
}

/// `auth.*`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    /// Who may call; with none, whoever reaches the loopback address.
    #[serde(default)]
    pub tokens: Vec<Token>,
}

/// One `[[auth.tokens]]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// Becomes the actor of what the token's holder does.
    pub name: String,
    /// 64 hexadecimal digits that `freehold token create` printed.
    pub hash: String,
    /// What its holder may do.
    pub role: Role,
}

/// `graphql.*`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Graphql {
    /// The deepest nesting of an operation.
    pub max_depth: usize,
    /// The most complex operation.
    pub max_complexity: usize,
    /// The most aliases of an operation.
    pub max_aliases: usize,
    /// The most directives of an operation.
    pub max_directives: usize,
    /// The most tokens of a document.
    pub max_tokens: usize,
    /// The most nodes of a page.
    pub max_page: u32,
    /// The most operations running on one WebSocket.
    pub max_operations_per_socket: usize,
    operation_timeout_ms: u64,
    connection_init_timeout_ms: u64,
    keep_alive_ms: u64,
    min_position_wait_ms: u64,
}

/// `ingest.*`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ingest {
    /// The largest request body.
    pub max_body_bytes: usize,
}

/// `store.*`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Store {
    /// Where the log and the read models are.
    pub url: StoreUrl,
    /// The most appends that wait.
    pub queue_max_requests: usize,
    /// The most bytes of appends that wait.
    pub queue_max_bytes: usize,
    /// A replica, where pages of the whole log are read.
    pub read_url: Option<PostgresUrl>,
    /// Where the keys of people are, if not in the database of the log.
    pub keys_url: Option<PostgresUrl>,
    /// How many connections each pool to PostgreSQL has at most.
    pub pool_size: u32,
}

/// Where the log and the read models are.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum StoreUrl {
    /// SQLite files in this folder.
    Sqlite(PathBuf),
    /// A PostgreSQL database.
    Postgres(PostgresUrl),
    /// Nowhere: gone when the process ends.
    Memory,
}

/// The address of a PostgreSQL database, which may hold a password: prints without it.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct PostgresUrl(String);

/// `import.*`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Import {
    /// The database of an application on `postgres-es`.
    pub postgres_es_url: Option<PostgresUrl>,
}

/// `vault.*`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vault {
    /// Wraps every person's key; [`MasterKey::obtain`] reads it.
    pub master_key: Option<Secret>,
}

/// `projections.*`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Projections {
    lag_budget_ms: u64,
    /// What brings events to whoever is at the end of the log.
    pub source: Source,
}

/// What brings events to whoever is at the end of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// Its store.
    Log,
    /// What a relay published.
    Kafka,
}

/// `kafka.*`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kafka {
    /// `host:port`, several by comma; nothing is published without.
    pub bootstrap_servers: Option<String>,
    /// Stands before every name of a topic.
    pub topic_prefix: Option<String>,
    /// How many partitions a topic of events gets.
    pub partitions: usize,
    retention_hours: u64,
    /// The largest batch to one partition.
    pub batch_bytes: usize,
    /// How many bytes that were read wait in each of this process's readers.
    pub buffer_bytes: usize,
}

/// `relay.*`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Relay {
    lag_budget_ms: u64,
}

/// `dead_letters.*`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeadLetters {
    max_streams: usize,
}

/// One `[[subscriptions]]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subscription {
    /// Which one.
    pub name: String,
    /// What becomes of an event that it cannot handle.
    pub on_failure: OnFailure,
}

/// What becomes of an event that cannot be handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// Its stream waits in dead letters, everything else goes on.
    Park,
    /// Everything waits.
    Stop,
}

/// `tenant.*`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tenant {
    /// The tenant of requests that name none.
    pub default: String,
}

/// `policy.*`
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    four_eyes: bool,
    max_saved_searches: u32,
    max_listing_preferences: u32,
    erasure_deadline_days: u32,
}

/// `data_quality.*`
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataQuality {
    /// The score, 0 to 1, below which a feed is reported.
    pub threshold: f64,
}

/// `log.*`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// How a line looks.
    pub format: LogFormat,
    /// What is written, as `tracing` filter directives.
    pub level: String,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Http {
    /// Where to listen: the first of these that is free.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let ports = self.listen.port()..=self.listen.port().saturating_add(self.further_ports);
        ports.map(|port| SocketAddr::new(self.listen.ip(), port)).collect()
    }

    /// How long a client may take to send a request's head.
    pub fn header_timeout(&self) -> Duration {
        Duration::from_millis(self.header_timeout_ms)
    }

    /// How long a request may take until its answer begins.
    pub fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.request_timeout_ms)
    }

    /// How long a client may leave what it was sent unread.
    pub fn stalled_write_timeout(&self) -> Duration {
        Duration::from_millis(self.stalled_write_timeout_ms)
    }

    /// How long requests may go on after the process was asked to stop.
    pub fn shutdown_timeout(&self) -> Duration {
        Duration::from_millis(self.shutdown_timeout_ms)
    }
}

impl Graphql {
    /// How long a query or mutation may take.
    pub fn operation_timeout(&self) -> Duration {
        Duration::from_millis(self.operation_timeout_ms)
    }

    /// How long a WebSocket may take to send `connection_init`.
    pub fn connection_init_timeout(&self) -> Duration {
        Duration::from_millis(self.connection_init_timeout_ms)
    }

    /// The time between two signs of life on an otherwise silent connection.
    pub fn keep_alive(&self) -> Duration {
        Duration::from_millis(self.keep_alive_ms)
    }

    /// How long a query waits for the read model to reach its `minPosition`.
    pub fn min_position_wait(&self) -> Duration {
        Duration::from_millis(self.min_position_wait_ms)
    }
}

impl Config {
    /// What becomes of events that projections cannot handle.
    pub fn failure_policy(&self) -> FailurePolicy {
        let stops = self.subscriptions.iter().filter(|one| one.on_failure == OnFailure::Stop);
        FailurePolicy {
            max_streams: self.dead_letters.max_streams,
            stopping: stops.map(|one| one.name.clone()).collect(),
        }
    }
}

impl Projections {
    /// How far a projection may be behind before `/ready` says so.
    pub fn lag_budget(&self) -> Duration {
        Duration::from_millis(self.lag_budget_ms)
    }
}

impl Kafka {
    /// How long a topic of events keeps what it gets.
    pub fn retention(&self) -> Duration {
        Duration::from_secs(self.retention_hours * 3_600)
    }
}

impl Relay {
    /// How far a relay may be behind before `/ready` says so.
    pub fn lag_budget(&self) -> Duration {
        Duration::from_millis(self.lag_budget_ms)
    }
}

impl From<Policy> for freehold_domain::Policy {
    fn from(policy: Policy) -> Self {
        Self {
            four_eyes: policy.four_eyes,
            max_saved_searches: policy.max_saved_searches,
            max_listing_preferences: policy.max_listing_preferences,
            erasure_deadline_days: policy.erasure_deadline_days,
        }
    }
}

impl StoreUrl {
    /// The folder of files that stay, if any do.
    pub fn folder(&self) -> Option<&std::path::Path> {
        match self {
            Self::Sqlite(folder) => Some(folder),
            Self::Postgres(_) | Self::Memory => None,
        }
    }
}

impl PostgresUrl {
    /// The address in full, for the driver alone.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&without_password(&self.0))
    }
}

impl TryFrom<String> for PostgresUrl {
    type Error = &'static str;

    fn try_from(url: String) -> Result<Self, Self::Error> {
        match url.split_once("://") {
            Some(("postgres" | "postgresql", _)) if Database::check_address(&url).is_ok() => {
                Ok(Self(url))
            }
            _ => Err("a PostgreSQL address"),
        }
    }
}

impl TryFrom<String> for StoreUrl {
    type Error = &'static str;

    fn try_from(url: String) -> Result<Self, Self::Error> {
        match url.split_once(':') {
            Some(("memory", "")) => Ok(Self::Memory),
            Some(("sqlite", path)) => {
                let path = path.strip_prefix("//").unwrap_or(path);
                if path.is_empty() { Err("a folder") } else { Ok(Self::Sqlite(path.into())) }
            }
            Some(("postgres" | "postgresql", _)) => PostgresUrl::try_from(url).map(Self::Postgres),
            // `C:\data` is a folder; a database's address without its scheme has a password in it.
            Some((scheme, path)) if scheme.len() > 1 || !path.starts_with(['/', '\\']) => {
                match scheme.contains(['/', '\\']) && !url.contains('@') {
                    true => Ok(Self::Sqlite(url.into())),
                    false => Err("a scheme that this release knows"),
                }
            }
            _ if url.is_empty() => Err("a folder"),
            _ if url.contains('@') => Err("a scheme"),
            // What else programs take as a database's address is no name of a folder.
            _ if url.contains("host=") || url.contains("dbname=") => {
                Err("postgres://user@host:port/database, where it names a database")
            }
            _ => Ok(Self::Sqlite(url.into())),
        }
    }
}

#[cfg(test)]
mod tests;
