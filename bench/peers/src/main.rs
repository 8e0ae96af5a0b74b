//! Freehold's log on PostgreSQL beside other event stores, on the same server with the same events.
//!
//! Every driver is a process of its own on a fresh store; peers take turns, round by round. What
//! comes out: a table, the same as one JSON object a row, and a chart.

mod drive;
mod history;
mod install;
mod plan;
mod report;
mod run;

use std::path::Path;
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand, ValueEnum};
use freehold_servers::{Options, Postgres};

use crate::drive::Workload;
use crate::plan::Plan;
use crate::report::Report;
use crate::run::Place;

/// Measures Freehold's log on PostgreSQL beside other event stores.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    task: Option<Task>,
    #[command(flatten)]
    arguments: Arguments,
}

#[derive(Subcommand)]
enum Task {
    /// Be one driver; the runner starts these
    #[command(hide = true)]
    Drive {
        driver: drive::Driver,
        #[command(flatten)]
        asked: drive::Asked,
    },
}

#[derive(clap::Args)]
struct Arguments {
    /// A few minutes' worth instead of figures to publish
    #[arg(long)]
    quick: bool,
    /// Only peers whose name begins so
    #[arg(long, value_delimiter = ',')]
    peers: Vec<String>,
    /// Only these workloads
    #[arg(long, value_delimiter = ',')]
    workloads: Vec<Workload>,
    /// Only with so many callers
    #[arg(long, value_delimiter = ',')]
    callers: Vec<usize>,
    /// How long each is measured
    #[arg(long)]
    seconds: Option<f64>,
    /// Stop after so many seconds; the same command goes on there
    #[arg(long = "for")]
    limit: Option<u64>,
    /// Forget what was measured before
    #[arg(long)]
    anew: bool,
    /// How to print
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Table,
    Ndjson,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Cli { task, arguments } = Cli::parse();
    match task {
        Some(Task::Drive { driver, asked }) => drive::run(driver, asked).await,
        None => measure(arguments).await,
    }
}

/// The private server: durable, with room for what a run writes between checkpoints.
fn server_options() -> Options {
    let settings = [("shared_buffers", "1GB"), ("max_wal_size", "8GB"), ("max_connections", "200")];
    let settings = settings.map(|(name, value)| (name, value.to_owned()));
    Options { fsync: true, settings: settings.into(), ..Options::default() }
}

async fn measure(arguments: Arguments) -> anyhow::Result<()> {
    let until = arguments.limit.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/peers");
    // The private one is stopped and deleted when this function ends.
    let server = Postgres::given_or_start(&server_options())?;
    let results = if arguments.quick { folder.join("quick") } else { folder.clone() };
    let place = Place { url: server.url().to_owned(), folder, results };
    let mut plan = Plan::new(arguments.quick);
    plan.seconds = arguments.seconds.unwrap_or(plan.seconds);
    // What was measured otherwise is not taken for the same.
    let shown = place.settings().await?;
    let settings = format!(
        "{shown}; {} s a run, at most {} events read, filled for {} s",
        plan.seconds, plan.count, plan.fill_seconds
    );
    let settings = settings.as_str();
    if arguments.anew {
        place.forget()?;
    }
    let Arguments { workloads, callers, .. } = &arguments;
    plan.cells.retain(|(workload, number)| {
        (workloads.is_empty() || workloads.contains(workload))
            && (callers.is_empty() || callers.contains(number))
    });
    let wanted = |peer: &plan::Peer| {
        arguments.peers.is_empty()
            || arguments.peers.iter().any(|name| peer.name.starts_with(name.as_str()))
    };
    let complete = place.measure(&plan, wanted, settings, until).await?;
    if !complete {
        eprintln!("the time is over; the same command goes on with what is left");
    }
    let report = Report::new(&place.measured(settings)?);
    let (table, rows) = (report.markdown(settings), report.ndjson());
    std::fs::write(place.results.join("table.md"), &table)?;
    std::fs::write(place.results.join("rows.ndjson"), &rows)?;
    std::fs::write(place.results.join("chart.svg"), report.chart())?;
    match arguments.format {
        Format::Table => print!("{table}"),
        Format::Ndjson => print!("{rows}"),
    }
    Ok(())
}
