//! Servers that stay, for whoever runs tests or benches again and again.

use std::path::Path;

use anyhow::Context as _;
use clap::Subcommand;
use freehold_servers::{Options, Postgres, URL};

/// What to do with the servers.
#[derive(Subcommand)]
pub(crate) enum Services {
    /// Start PostgreSQL unless it runs, and print its address; TEST_POSTGRES_RELEASE names another
    /// release than the newest of this machine
    Up,
    /// Stop it and delete its data
    Down,
    /// Say whether it runs
    Status,
}

impl Services {
    pub(crate) fn run(self, root: &Path) -> anyhow::Result<()> {
        let folder = root.join("target/services");
        let note = folder.join("postgres");
        let running = Postgres::kept(&note);
        match (self, running) {
            (Self::Up | Self::Status, Some(server)) => {
                println!("{URL}={}", server.url());
                return server.keep(&note);
            }
            (Self::Up, None) => {
                std::fs::create_dir_all(&folder)?;
                // It may be asked how fast it is.
                let server = Postgres::start(&Options { fsync: true, ..Options::default() })?;
                println!("{URL}={}", server.url());
                return server.keep(&note);
            }
            (Self::Down, Some(server)) => {
                drop(server);
                std::fs::remove_file(&note).context("the note of the server stays")?;
                println!("stopped");
            }
            (Self::Down | Self::Status, None) => println!("nothing runs"),
        }
        Ok(())
    }
}
