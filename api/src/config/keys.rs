//! The table of keys: it drives parsing, `config show` and the documentation.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use freehold_postgres::Database;
use freehold_projections::models;
use toml::Value;

use super::{PostgresUrl, Roles, Secret, StoreUrl};

/// A key that can be set.
#[derive(Debug)]
pub struct Key {
    /// Its name, dots between levels.
    pub name: &'static str,
    /// What a value looks like, with its unit.
    pub kind: Kind,
    /// The value when nothing sets it; absent where there is none.
    pub default: Option<&'static str>,
    /// Names of environment variables that set it too.
    pub also: &'static [&'static str],
    /// What it does.
    pub effect: &'static str,
}

/// What a value looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An IP address and a port.
    Address,
    /// A whole number of something, at least 1.
    Count,
    /// The same, and at most so many.
    UpTo(u32),
    /// A whole number of bytes, at least 1.
    Bytes,
    /// A whole number of milliseconds, at least 1.
    Milliseconds,
    /// A number from 0 to 1.
    Share,
    /// `true` or `false`.
    Switch,
    /// One of these words.
    Word(&'static [&'static str]),
    /// Parts of the product, with commas between.
    Roles,
    /// Any text but none.
    Text,
    /// Where a store is; may hold a password.
    Store,
    /// The address of a PostgreSQL database; may hold a password.
    Postgres,
    /// `host:port`, several by comma.
    Brokers,
    /// What may stand before the name of a topic, so that it stays one.
    TopicPrefix,
    /// 32 bytes that are never printed.
    MasterKey,
    /// Tables with `name`, `hash` and `role`.
    Tokens,
    /// Tables with `name` and `on_failure`.
    Subscriptions,
}

/// Every key there is.
pub const KEYS: &[Key] = &[
    Key {
        name: "roles",
        kind: Kind::Roles,
        default: Some("api,projections,relay"),
        also: &[],
        effect: "which parts this process runs: api (GraphQL and ingestion), projections (the read \
                 models), relay (publishes to Kafka, where kafka.bootstrap_servers is set), ingest (takes \
                 messages of senders in from Kafka); api and projections in processes of their own \
                 need PostgreSQL",
    },
    Key {
        name: "http.listen",
        kind: Kind::Address,
        default: Some("127.0.0.1:8001"),
        also: &[],
        effect: "where to listen; anything but loopback needs [[auth.tokens]]. Where nothing sets it \
                 and roles has no api, the first free port from 8002 to 8010",
    },
    Key {
        name: "http.max_body_bytes",
        kind: Kind::Bytes,
        default: Some("1048576"),
        also: &[],
        effect: "larger request bodies are refused with 413; ingestion has a limit of its own",
    },
    Key {
        name: "http.max_connections",
        kind: Kind::Count,
        default: Some("1024"),
        also: &["MAX_CONNECTIONS"],
        effect: "further connections are answered 503, WebSockets count",
    },
    Key {
        name: "http.header_timeout_ms",
        kind: Kind::Milliseconds,
        default: Some("10000"),
        also: &[],
        effect: "a client that takes longer to send a request's head is disconnected",
    },
    Key {
        name: "http.request_timeout_ms",
        kind: Kind::Milliseconds,
        default: Some("60000"),
        also: &[],
        effect: "a request without an answer by then gets 504",
    },
    Key {
        name: "http.stalled_write_timeout_ms",
        kind: Kind::Milliseconds,
        default: Some("30000"),
        also: &[],
        effect: "a client that leaves what it was sent unread for longer is disconnected",
    },
    Key {
        name: "http.shutdown_timeout_ms",
        kind: Kind::Milliseconds,
        default: Some("10000"),
        also: &[],
        effect: "how long requests may go on after SIGINT or SIGTERM",
    },
    Key {
        name: "auth.tokens",
        kind: Kind::Tokens,
        default: None,
        also: &[],
        effect: "who may call: tables with name, hash and role (reader, writer, operator), \
                 made by `freehold token create`; none means whoever reaches loopback",
    },
    Key {
        name: "graphql.max_depth",
        kind: Kind::Count,
        default: Some("15"),
        also: &[],
        effect: "deeper operations are refused",
    },
    Key {
        name: "graphql.max_complexity",
        kind: Kind::Count,
        default: Some("5000"),
        also: &[],
        effect: "operations that select more, fragments and lists multiplied, are refused",
    },
    Key {
        name: "graphql.max_aliases",
        kind: Kind::Count,
        default: Some("30"),
        also: &[],
        effect: "operations with more aliases, fragments multiplied, are refused",
    },
    Key {
        name: "graphql.max_directives",
        kind: Kind::Count,
        default: Some("50"),
        also: &[],
        effect: "operations with more directives, fragments multiplied, are refused",
    },
    Key {
        name: "graphql.max_tokens",
        kind: Kind::Count,
        default: Some("5000"),
        also: &[],
        effect: "documents with more tokens are refused before they are parsed",
    },
    Key {
        name: "graphql.max_page",
        kind: Kind::Count,
        default: Some("200"),
        also: &[],
        effect: "the most nodes that one page of a list holds",
    },
    Key {
        name: "graphql.max_operations_per_socket",
        kind: Kind::Count,
        default: Some("100"),
        also: &[],
        effect: "the most operations running at once on one WebSocket",
    },
    Key {
        name: "graphql.operation_timeout_ms",
        kind: Kind::Milliseconds,
        default: Some("10000"),
        also: &[],
        effect: "a query or mutation that takes longer fails with TIMEOUT",
    },
    Key {
        name: "graphql.connection_init_timeout_ms",
        kind: Kind::Milliseconds,
        default: Some("3000"),
        also: &[],
        effect: "a WebSocket without connection_init by then is closed with 4408",
    },
    Key {
        name: "graphql.keep_alive_ms",
        kind: Kind::Milliseconds,
        default: Some("12000"),
        also: &[],
        effect: "time between pings; a WebSocket that answers none in that time is closed",
    },
    Key {
        name: "graphql.min_position_wait_ms",
        kind: Kind::Milliseconds,
        default: Some("2000"),
        also: &[],
        effect: "how long a query waits for the read model to reach its minPosition",
    },
    Key {
        name: "ingest.max_body_bytes",
        kind: Kind::Bytes,
        default: Some("16777216"),
        also: &[],
        effect: "larger bodies of /api/events/* are refused with 413",
    },
    Key {
        name: "store.url",
        kind: Kind::Store,
        default: Some("sqlite:./freehold-data"),
        also: &["DATABASE_URL"],
        effect: "the folder of the SQLite files, or postgres://user@host:port/database, which any \
                 number of processes may share; memory: forgets everything at the end",
    },
    Key {
        name: "store.read_url",
        kind: Kind::Postgres,
        default: None,
        also: &["DATABASE_READ_URL"],
        effect: "a replica of store.url, where pages of the whole log are read; decisions and read \
                 models stay with store.url",
    },
    Key {
        name: "store.keys_url",
        kind: Kind::Postgres,
        default: None,
        also: &[],
        effect: "a PostgreSQL database for the keys of people, so that a backup of the log holds \
                 none; without it they are in that of store.url. Keys that are there already are brought \
                 by `freehold keys export` and `import`",
    },
    Key {
        name: "store.pool_size",
        kind: Kind::Count,
        default: Some("10"),
        also: &["DATABASE_POOL_SIZE"],
        effect: "connections of each pool to PostgreSQL: shared, log_readers, row_writers, \
                 row_readers, and with store.read_url replica, with store.keys_url keys. A process \
                 has at most so many of each, two for streams of the log, one that listens, one \
                 for each log that it writes (two, and one for each that was imported), two for \
                 each read model that it prepares, and one for a moment at its start and for a \
                 /ready that finds all shared ones in use",
    },
    Key {
        name: "store.queue_max_requests",
        kind: Kind::Count,
        default: Some("4096"),
        also: &[],
        effect: "appends that wait; further ones are refused with 429",
    },
    Key {
        name: "store.queue_max_bytes",
        kind: Kind::Bytes,
        default: Some("67108864"),
        also: &[],
        effect: "bytes of appends that wait; further ones are refused with 429",
    },
    Key {
        name: "import.postgres_es_url",
        kind: Kind::Postgres,
        default: None,
        also: &[],
        effect: "the database that `import postgres-es` reads where its arguments name none",
    },
    Key {
        name: "vault.master_key",
        kind: Kind::MasterKey,
        default: None,
        also: &[],
        effect: "wraps the keys of people; without it a key file master.key is made in the \
                 store's folder at the first start. A store on PostgreSQL has no folder: give every \
                 process the same key. Keep a copy apart from backups of the log",
    },
    Key {
        name: "projections.lag_budget_ms",
        kind: Kind::Milliseconds,
        default: Some("5000"),
        also: &[],
        effect: "/ready fails while a projection is further behind",
    },
    Key {
        name: "projections.source",
        kind: Kind::Word(&["log", "kafka"]),
        default: Some("log"),
        also: &[],
        effect: "what brings events to projections that are at the end of the log: the log itself, \
                 or what a relay published to kafka.bootstrap_servers; what Kafka does not bring \
                 within a second is read in the log",
    },
    Key {
        name: "kafka.bootstrap_servers",
        kind: Kind::Brokers,
        default: None,
        also: &["KAFKA_BOOTSTRAP_SERVERS"],
        effect: "host:port of brokers, several by comma: every event of the logs is published to \
                 them; nothing is without. Of several processes on one log, one publishes and the \
                 others stand by",
    },
    Key {
        name: "kafka.topic_prefix",
        kind: Kind::TopicPrefix,
        default: None,
        also: &[],
        effect: "stands before every name of a topic; another one publishes all of the logs to new \
                 topics",
    },
    Key {
        name: "kafka.partitions",
        kind: Kind::Count,
        default: Some("12"),
        also: &[],
        effect: "of a topic of events that is made; one that is there keeps those it has",
    },
    Key {
        name: "kafka.retention_hours",
        kind: Kind::Count,
        default: Some("168"),
        also: &[],
        effect: "how long a topic of events that is made keeps them; the log keeps them for ever",
    },
    Key {
        name: "kafka.batch_bytes",
        kind: Kind::Bytes,
        default: Some("1000000"),
        also: &["KAFKA_BATCH_SIZE"],
        effect: "the largest batch that is sent to one partition",
    },
    Key {
        name: "kafka.buffer_bytes",
        kind: Kind::Bytes,
        default: Some("33554432"),
        also: &[],
        effect: "what waits in each reader of this process; a partition also holds one message",
    },
    Key {
        name: "relay.lag_budget_ms",
        kind: Kind::Milliseconds,
        default: Some("5000"),
        also: &[],
        effect: "/ready fails while what is published is further behind",
    },
    Key {
        name: "dead_letters.max_streams",
        // They are all in memory.
        kind: Kind::UpTo(100_000),
        default: Some("1000"),
        also: &[],
        effect: "streams that a projection parks because it cannot handle an event of theirs; \
                 with more of them it stops, and /ready fails",
    },
    Key {
        name: "subscriptions",
        kind: Kind::Subscriptions,
        default: None,
        also: &[],
        effect: "what single projections do otherwise: tables with name and on_failure, park (the \
                 event's stream waits in dead letters, the default) or stop (everything waits)",
    },
    Key {
        name: "tenant.default",
        kind: Kind::Text,
        default: Some("default"),
        also: &[],
        effect: "the tenant of requests that name none",
    },
    Key {
        name: "policy.four_eyes",
        kind: Kind::Switch,
        default: Some("true"),
        also: &[],
        effect: "whether a listing's approver must be another person than its submitter",
    },
    Key {
        name: "policy.max_saved_searches",
        kind: Kind::Count,
        default: Some("100"),
        also: &[],
        effect: "saved searches per user",
    },
    Key {
        name: "policy.max_listing_preferences",
        kind: Kind::Count,
        default: Some("1000"),
        also: &[],
        effect: "favourite, possible and discarded listings per user",
    },
    Key {
        name: "policy.erasure_deadline_days",
        kind: Kind::Count,
        default: Some("30"),
        also: &[],
        effect: "days from a request to be forgotten to its deadline",
    },
    Key {
        name: "data_quality.threshold",
        kind: Kind::Share,
        default: Some("0.8"),
        also: &["DATA_QUALITY_THRESHOLD"],
        effect: "a feed whose share of items without violations falls below is reported",
    },
    Key {
        name: "log.format",
        kind: Kind::Word(&["text", "json"]),
        default: Some("text"),
        also: &[],
        effect: "how log lines on stderr look",
    },
    Key {
        name: "log.level",
        kind: Kind::Text,
        // A pool of connections says of a server that is gone what each connection finds.
        default: Some("info,sqlx=error"),
        also: &["RUST_LOG"],
        effect: "what is logged: error, warn, info, debug, trace, or per part (info,freehold=debug)",
    },
];

/// Names that deployments of this field set and this release has no use for.
pub(super) const UNUSED_NAMES: &[&str] = &[
    "KAFKA_ACKS",
    "KAFKA_RETRIES",
    "KAFKA_SECURITY_PROTOCOL",
    "PULSAR_SERVICE_URL",
    "REDIS_CLUSTER_NODES",
    "REDIS_URL",
    "SCHEMA_REGISTRY_URL",
];

impl Key {
    /// The environment variable made from its name.
    pub fn variable(&self) -> String {
        format!("FREEHOLD__{}", self.name.replace('.', "__").to_uppercase())
    }
}

impl Kind {
    /// What to write, for documentation and messages.
    pub fn expected(self) -> String {
        match self {
            Self::Address => "an IP address with a port, such as 127.0.0.1:8001 or [::1]:8001; \
                              names of hosts are not taken"
                .to_owned(),
            Self::Count => "a whole number from 1".to_owned(),
            Self::UpTo(most) => format!("a whole number from 1 to {most}"),
            Self::Bytes => "a whole number of bytes from 1".to_owned(),
            Self::Milliseconds => "a whole number of milliseconds from 1".to_owned(),
            Self::Share => "a number from 0 to 1".to_owned(),
            Self::Switch => "true or false".to_owned(),
            Self::Word(words) => words.join(" or "),
            Self::Roles => format!("one or more of {}, with commas between", Roles::words()),
            Self::Text => "text".to_owned(),
            Self::Store => "a folder, sqlite:<folder>, postgres://user@host:port/database or \
                            memory: (the stores of this release)"
                .to_owned(),
            Self::Postgres => "a PostgreSQL address, postgres://user@host:port/database".to_owned(),
            Self::Brokers => "host:port, several by comma".to_owned(),
            Self::TopicPrefix => {
                "at most 40 letters, digits, dots, hyphens and underscores".to_owned()
            }
            Self::MasterKey => "32 bytes as 64 hexadecimal digits or as base64".to_owned(),
            Self::Tokens => "tables with name, hash (64 hexadecimal digits) and role (reader, \
                             writer, operator), as `freehold token create` prints them"
                .to_owned(),
            Self::Subscriptions => format!(
                "tables with name ({}) and on_failure (park or stop), no name twice",
                models::NAMES.join(", ")
            ),
        }
    }

    /// What exactly is wrong with a value that is refused, where more can be said than what it must
    /// be; without any of it.
    pub(super) fn why_not(self, value: &Value) -> Option<String> {
        let text = value.as_str().filter(|_| matches!(self, Self::Store | Self::Postgres))?;
        match text.split_once("://") {
            Some(("postgres" | "postgresql", _)) => Database::check_address(text).err(),
            _ if text.contains('@') => Some(
                "an address begins with postgres://, a folder's name that has an @ with sqlite:"
                    .to_owned(),
            ),
            _ => None,
        }
    }

    /// The unit of a number.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Milliseconds => "ms",
            _ => "",
        }
    }

    /// Whether values must not be printed.
    pub fn is_secret(self) -> bool {
        self == Self::MasterKey
    }

    /// Whether values hold a password or the like, so that they may also come from a file.
    pub(super) fn may_hold_secret(self) -> bool {
        matches!(self, Self::MasterKey | Self::Store | Self::Postgres)
    }

    /// Reads what an environment variable or a flag says.
    pub(super) fn read(self, text: &str) -> Option<Value> {
        let value = match self {
            Self::Count | Self::UpTo(_) | Self::Bytes | Self::Milliseconds => {
                Value::Integer(text.parse().ok()?)
            }
            Self::Share => Value::Float(text.parse().ok()?),
            Self::Switch => Value::Boolean(text.parse().ok()?),
            Self::Tokens | Self::Subscriptions => {
                toml::from_str::<toml::Table>(&format!("tables = {text}")).ok()?.remove("tables")?
            }
            Self::Address
            | Self::Word(_)
            | Self::Roles
            | Self::Text
            | Self::Store
            | Self::Postgres
            | Self::Brokers
            | Self::TopicPrefix
            | Self::MasterKey => Value::String(text.to_owned()),
        };
        self.admits(&value).then_some(value)
    }

    /// Whether a value of the file is of this kind.
    pub(super) fn admits(self, value: &Value) -> bool {
        match (self, value) {
            (Self::Count | Self::Bytes | Self::Milliseconds, Value::Integer(number)) => {
                (1..=i64::from(u32::MAX)).contains(number)
            }
            (Self::UpTo(most), Value::Integer(number)) => (1..=i64::from(most)).contains(number),
            (Self::Share, Value::Float(share)) => (0.0..=1.0).contains(share),
            (Self::Share, Value::Integer(share)) => (0..=1).contains(share),
            (Self::Switch, Value::Boolean(_)) => true,
            (Self::Address, Value::String(text)) => text.parse::<SocketAddr>().is_ok(),
            (Self::Word(words), Value::String(text)) => words.contains(&text.as_str()),
            (Self::Roles, Value::String(text)) => Roles::try_from(text.clone()).is_ok(),
            (Self::Text, Value::String(text)) => !text.trim().is_empty(),
            (Self::Store, Value::String(text)) => StoreUrl::try_from(text.clone()).is_ok(),
            (Self::Postgres, Value::String(text)) => PostgresUrl::try_from(text.clone()).is_ok(),
            (Self::Brokers, Value::String(text)) => {
                text.split(',').all(|one| is_broker(one.trim()))
            }
            (Self::TopicPrefix, Value::String(text)) => {
                let allowed = |b: u8| b.is_ascii_alphanumeric() || b".-_".contains(&b);
                (1..=40).contains(&text.len()) && text.bytes().all(allowed)
            }
            (Self::MasterKey, Value::String(text)) => Secret::new(text).key_bytes().is_some(),
            (Self::Tokens, Value::Array(tokens)) => {
                tokens.iter().all(|token| match token.clone().try_into::<super::Token>() {
                    Ok(token) => !token.name.trim().is_empty() && blake3_hex(&token.hash),
                    Err(_) => false,
                })
            }
            (Self::Subscriptions, Value::Array(subscriptions)) => {
                let mut names = BTreeSet::new();
                subscriptions.iter().all(|one| {
                    match one.clone().try_into::<super::Subscription>() {
                        Ok(one) => models::NAMES.contains(&&*one.name) && names.insert(one.name),
                        Err(_) => false,
                    }
                })
            }
            _ => false,
        }
    }
}

fn is_broker(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && !host.contains('/') && port.parse::<u16>().is_ok_and(|port| port > 0)
    })
}

fn blake3_hex(text: &str) -> bool {
    blake3::Hash::from_hex(text).is_ok()
}
