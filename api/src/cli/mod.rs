//! The command line: one file per noun.
//!
//! Data goes to stdout through [`Output`], everything else to stderr; a command that fails says
//! what happened, with which input and what to do next, and ends with an [`Exit`] code.

mod completions;
mod config;
mod db;
mod deadletter;
mod events;
mod exit;
mod import;
mod import_postgres_es;
mod ingest;
mod keys;
mod output;
mod projection;
mod serve;
mod stream;
mod token;
mod transfer;

use std::io::Write as _;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub use exit::{CliError, Exit};
pub use output::{Format, Output, Row, Rows};

use crate::config::{Loaded, Sources};
use crate::stores::Stores;

/// Freehold: an event-sourced platform for rental marketplaces.
#[derive(Debug, Parser)]
#[command(name = "freehold", version, arg_required_else_help = true)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Flags of every command.
#[derive(Debug, Args)]
pub struct Global {
    /// The configuration file; without it ./freehold.toml, if there is one
    #[arg(long, env = "FREEHOLD_CONFIG", global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the log and the read models are (store.url)
    #[arg(long, global = true, value_name = "URL")]
    store: Option<String>,
    /// How data is written; a table on a terminal, else ndjson
    #[arg(long, global = true)]
    format: Option<Format>,
    /// Say nothing on stderr but errors
    #[arg(long, short, global = true)]
    quiet: bool,
    /// Answer yes to every question
    #[arg(long, short, global = true)]
    yes: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve GraphQL, ingestion, health and metrics
    Serve(serve::Serve),
    /// Fill the store with real data, once, and serve it
    Demo(serve::Demo),
    /// Import properties from a file, or the events of another application
    Import(import_postgres_es::ImportFrom),
    /// Look at events, follow them, add one, or move all of them
    #[command(subcommand)]
    Events(events::Events),
    /// Look at one aggregate
    #[command(subcommand)]
    Stream(stream::Stream),
    /// Look at read models, and build them again
    #[command(subcommand)]
    Projection(projection::Projection),
    /// Look at events that a projection could not handle, and have them tried again
    #[command(subcommand, name = "deadletter")]
    DeadLetter(deadletter::DeadLetters),
    /// Look at messages from Kafka that were refused, and take them in again
    #[command(subcommand)]
    Ingest(ingest::Ingest),
    /// Move the keys of people to another store
    #[command(subcommand)]
    Keys(keys::Keys),
    /// Make, migrate and look at the stores
    #[command(subcommand)]
    Db(db::Db),
    /// Check that what is stored agrees with itself
    Doctor(db::Doctor),
    /// Show or check the configuration
    #[command(subcommand)]
    Config(config::Config),
    /// Make bearer tokens
    #[command(subcommand)]
    Token(token::Token),
    /// Print a completion script for a shell
    Completions(completions::Completions),
}

impl Cli {
    /// Does what was asked and says what went wrong.
    pub fn run(self) -> Exit {
        let Self { global, command } = self;
        let result = match command {
            Command::Serve(serve) => serve.run(&global),
            Command::Demo(demo) => demo.run(&global),
            Command::Import(import) => import.run(&global),
            Command::Projection(projection) => projection.run(&global),
            Command::DeadLetter(letters) => letters.run(&global),
            Command::Ingest(ingest) => ingest.run(&global),
            Command::Events(events) => events.run(&global),
            Command::Stream(stream) => stream.run(&global),
            Command::Keys(keys) => keys.run(&global),
            Command::Db(db) => db.run(&global),
            Command::Doctor(doctor) => doctor.run(&global),
            Command::Config(config) => config.run(&global),
            Command::Token(token) => token.run(&global),
            Command::Completions(completions) => completions.run(),
        };
        match result {
            Ok(()) => Exit::Ok,
            Err(error) => {
                if error.exit != Exit::Ok {
                    // Without a stderr there is nobody to tell.
                    let _ = writeln!(std::io::stderr(), "error: {error}");
                }
                error.exit
            }
        }
    }
}

impl Global {
    /// Reads the configuration, with these flags and those of a command on top, and says what was
    /// set in vain.
    fn load(
        &self,
        flags: impl IntoIterator<Item = (&'static str, &'static str, String)>,
    ) -> Result<Loaded, CliError> {
        let store = self.store.clone().map(|url| ("store.url", "--store", url));
        let flags = store.into_iter().chain(flags).collect();
        let loaded = Sources::of_process(self.config.clone(), flags).load()?;
        for warning in &loaded.warnings {
            self.output().note(&format!("warning: {warning}"));
        }
        Ok(loaded)
    }

    /// Opens the stores to read, also while servers write to them.
    async fn stores_read_only(&self) -> Result<Stores, CliError> {
        Ok(Stores::open_read_only(&self.load([])?.config).await?)
    }

    fn output(&self) -> Output {
        Output::new(self.format, self.quiet, self.yes)
    }
}

/// Runs what a command does that waits for stores.
fn block_on<T>(work: impl Future<Output = Result<T, CliError>>) -> Result<T, CliError> {
    let runtime = tokio::runtime::Runtime::new().map_err(|error| {
        CliError::new(Exit::Unavailable, format!("threads cannot be started: {error}"))
    })?;
    runtime.block_on(work)
}
