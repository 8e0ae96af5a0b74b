//! What Freehold does in a second, beside what the machine could.
//!
//! Every bench makes what it needs in a folder of its own, measures the raw limit in the same run,
//! and prints one row a measurement: a table for people, or one JSON object a line.

mod append;
mod ingest;
mod limit;
mod made_up;
mod output;
mod postgres;
mod read;
mod rebuild;
mod relay;
mod search;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use clap::{Parser, ValueEnum};
use freehold::config::{Config, Sources};
use freehold::node::Node;
use freehold_memory::MemoryEventStore;
use freehold_ports::EventStore;
use freehold_postgres::PostgresEventStore;
use freehold_servers::Postgres;
use freehold_sqlite::{LogOptions, SqliteEventStore};
use freehold_test_stores::Schema;
use serde_json::{Map, Value};

use self::output::{Format, Output};

/// Who owns the data of every bench.
const TENANT: &str = "default";

/// Measures Freehold.
#[derive(Parser)]
struct Arguments {
    /// Which bench to run; all of them unless said.
    bench: Option<Bench>,
    /// Which store to measure.
    #[arg(long, value_enum, default_value_t = Store::Sqlite)]
    store: Store,
    /// A minute's worth instead of figures to publish.
    #[arg(long)]
    quick: bool,
    /// How many made-up events `rebuild` folds, instead of its own number.
    #[arg(long)]
    events: Option<u64>,
    /// On PostgreSQL, how many events the log of `append` and `read` holds before they begin.
    #[arg(long, default_value_t = 0)]
    stored: u64,
    /// Of `append`, only rows whose parameters contain this, such as `callers=64`.
    #[arg(long)]
    row: Option<String>,
    /// How to print.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// On the disk of this folder.
    #[arg(long, default_value = "target")]
    folder: PathBuf,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Bench {
    /// Appends, by callers at the same time.
    Append,
    /// Events read back.
    Read,
    /// Events folded into read models.
    Rebuild,
    /// From a request until searches see what it changed.
    Ingest,
    /// GraphQL searches over many listings.
    Search,
    /// Events published to Kafka, and read there.
    Relay,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Store {
    Sqlite,
    Memory,
    /// The server that `TEST_POSTGRES_URL` names, or a private one.
    Postgres,
}

/// What every bench gets.
struct Setting {
    store: Store,
    /// How long one measurement takes.
    duration: Duration,
    quick: bool,
    events: Option<u64>,
    stored: u64,
    row: Option<String>,
    folder: PathBuf,
    /// Where schemas are made, for PostgreSQL.
    server: Option<Postgres>,
}

/// What serves, with its stores; they are gone with the value.
struct Serving {
    config: Config,
    node: Node,
    /// On the disk to measure.
    folder: tempfile::TempDir,
    _place: Place,
}

/// Where the log of one measurement lies, gone with the value.
enum Place {
    Folder(tempfile::TempDir),
    Memory,
    Schema(Schema),
}

impl Setting {
    /// An empty folder on the disk to measure, gone with the value.
    fn fresh_folder(&self) -> anyhow::Result<tempfile::TempDir> {
        std::fs::create_dir_all(&self.folder)?;
        tempfile::Builder::new().prefix("freehold-bench-").tempdir_in(&self.folder).with_context(
            || format!("no folder can be made in {}; name one by --folder", self.folder.display()),
        )
    }

    /// What serves, on empty stores; nothing that this machine sets counts.
    async fn serve(&self) -> anyhow::Result<Serving> {
        let folder = self.fresh_folder()?;
        let file = folder.path().join("freehold.toml");
        std::fs::write(&file, format!("[vault]\nmaster_key = '{}'\n", "5a".repeat(32)))?;
        let place = self.fresh_place().await?;
        let url = match &place {
            Place::Folder(folder) => format!("sqlite:{}", folder.path().display()),
            Place::Memory => "memory:".to_owned(),
            Place::Schema(schema) => schema.url(),
        };
        let flags = vec![
            ("http.listen", "--listen", "127.0.0.1:0".to_owned()),
            ("store.url", "--store", url),
        ];
        let sources = Sources { file: Some(file), flags, ..Sources::default() };
        let config = sources.load().map_err(|errors| anyhow!("{errors}"))?.config;
        let node = Node::open(&config).await?;
        Ok(Serving { config, node, folder, _place: place })
    }

    /// Whether a row with those parameters is to be measured.
    fn wants(&self, parameters: &Map<String, Value>) -> bool {
        self.row.as_ref().is_none_or(|row| output::in_words(parameters).contains(row))
    }

    /// An empty place for a log.
    async fn fresh_place(&self) -> anyhow::Result<Place> {
        Ok(match self.store {
            Store::Sqlite => Place::Folder(self.fresh_folder()?),
            Store::Memory => Place::Memory,
            Store::Postgres => {
                let server = self.server.as_ref().context("no server was started")?;
                Place::Schema(postgres::fresh_schema(server.url()).await?)
            }
        })
    }

    fn store_name(&self) -> &'static str {
        match self.store {
            Store::Sqlite => "sqlite",
            Store::Memory => "memory",
            Store::Postgres => "postgres",
        }
    }
}

impl Place {
    /// Puts events into a log that nobody has opened yet.
    async fn fill(&self, events: u64, of_stream: u64) -> anyhow::Result<()> {
        let Self::Schema(schema) = self else { bail!("`--stored` is for PostgreSQL") };
        drop(self.open().await?); // makes the tables
        postgres::fill(schema, events, of_stream).await?;
        drop(self.open().await?); // makes the partitions that come next
        Ok(())
    }

    /// The store there, as one more process would open it.
    async fn open(&self) -> anyhow::Result<Arc<dyn EventStore>> {
        Ok(match self {
            Self::Folder(folder) => {
                Arc::new(SqliteEventStore::open(folder.path(), LogOptions::default())?)
            }
            Self::Memory => Arc::new(MemoryEventStore::default()),
            Self::Schema(schema) => {
                let options = freehold_postgres::LogOptions::default();
                Arc::new(PostgresEventStore::open(schema.database(), options).await?)
            }
        })
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let setting = Setting {
        store: arguments.store,
        duration: Duration::from_secs(if arguments.quick { 3 } else { 10 }),
        quick: arguments.quick,
        events: arguments.events,
        stored: arguments.stored,
        row: arguments.row,
        folder: arguments.folder,
        server: match arguments.store {
            Store::Postgres => Some(postgres::server().await?),
            Store::Sqlite | Store::Memory => None,
        },
    };
    let mut output = Output::new(arguments.format);
    let wanted = |bench| arguments.bench.is_none_or(|named| named == bench);
    if wanted(Bench::Append) {
        append::run(&setting, &mut output).await?;
    }
    if wanted(Bench::Read) {
        read::run(&setting, &mut output).await?;
    }
    if wanted(Bench::Rebuild) {
        rebuild::run(&setting, &mut output).await?;
    }
    if wanted(Bench::Ingest) {
        ingest::run(&setting, &mut output).await?;
    }
    if wanted(Bench::Search) {
        search::run(&setting, &mut output).await?;
    }
    if wanted(Bench::Relay) {
        relay::run(&setting, &mut output).await?;
    }
    Ok(())
}
