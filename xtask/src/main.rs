//! Developer commands: `cargo xtask check | test | bench | services | graphiql`.

mod clients;
mod server;
mod services;
mod steps;
mod tally;
mod tools;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use freehold_servers::succeed;

use crate::services::Services;
use crate::tally::Tally;

/// Developer commands.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Formatting and lints
    Check,
    /// Everything: check, all tests of the workspace, clients against the real server
    Test {
        /// Leave out the clients and the tests marked ignored, and count them as skipped
        #[arg(long)]
        quick: bool,
    },
    /// Measure: forwards to freehold-bench in release mode, or `peers` to bench/peers
    Bench {
        /// The bench and its flags
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Servers that stay until they are told to stop
    Services {
        #[command(subcommand)]
        what: Services,
    },
    /// Rebuild the GraphiQL bundle in api/assets/graphiql
    Graphiql,
}

fn main() -> ExitCode {
    match run(Cli::parse().task) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> anyhow::Result<ExitCode> {
    let root = root();
    let mut tally = Tally::default();
    match task {
        Task::Check => steps::check(&root, &mut tally)?,
        Task::Test { quick } => {
            steps::check(&root, &mut tally)?;
            steps::workspace_tests(&root, quick, &mut tally)?;
            if quick {
                tally.skip(clients::COUNT, "clients against the real server (--quick)");
            } else if let Err(error) = clients::run(&root, &mut tally) {
                tally.fail(format!("clients against the real server: {error:#}"));
            }
        }
        Task::Bench { arguments } => {
            let mut bench = match arguments.split_first() {
                Some((name, rest)) if name == "peers" => peers(&root, rest),
                _ => freehold_bench(&root, &arguments),
            };
            let status = bench.status().context("cargo cannot be started")?;
            let failed = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
            return Ok(ExitCode::from(failed));
        }
        Task::Services { what } => {
            what.run(&root)?;
            return Ok(ExitCode::SUCCESS);
        }
        Task::Graphiql => {
            tools::require(&[&tools::NODE, &tools::NPM])?;
            let folder = root.join("api/assets/graphiql/build");
            for arguments in [&["ci", "--no-audit", "--no-fund"][..], &["run", "build"]] {
                let mut npm = Command::new("npm");
                succeed(npm.args(arguments).current_dir(&folder))?;
            }
            return Ok(ExitCode::SUCCESS);
        }
    }
    Ok(tally.finish())
}

fn freehold_bench(root: &Path, arguments: &[String]) -> Command {
    let mut bench = cargo(root);
    bench.args(["run", "--release", "--package", "freehold-bench", "--"]).args(arguments);
    bench
}

/// The bench beside other event stores, a workspace of its own that shares our target folder.
fn peers(root: &Path, arguments: &[String]) -> Command {
    let mut bench = cargo(root);
    bench.args(["run", "--release", "--manifest-path", "bench/peers/Cargo.toml"]);
    if std::env::var_os("CARGO_TARGET_DIR").is_none() {
        bench.arg("--target-dir").arg(root.join("target"));
    }
    // One peer's client needs it to build; without it that peer is skipped, and says so.
    match tools::require(&[&tools::PROTOC]) {
        Ok(()) => _ = bench.args(["--features", "umadb"]),
        Err(error) => eprintln!("without UmaDB: {error:#}"),
    }
    bench.arg("--").args(arguments);
    bench
}

/// The folder of the workspace.
fn root() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("xtask lies in the workspace").to_owned()
}

/// The cargo that runs this, in the workspace.
fn cargo(root: &Path) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root);
    cargo
}
