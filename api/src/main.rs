//! The `freehold` program.

use std::process::ExitCode;

use clap::Parser as _;
use freehold::cli::Cli;

fn main() -> ExitCode {
    Cli::parse().run().into()
}
