//! `freehold completions`.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::{Cli, CliError};

/// Prints a completion script.
#[derive(Debug, Args)]
pub(super) struct Completions {
    /// For which shell
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self) -> Result<(), CliError> {
        let mut command = Cli::command();
        clap_complete::generate(self.shell, &mut command, "freehold", &mut std::io::stdout());
        Ok(())
    }
}
