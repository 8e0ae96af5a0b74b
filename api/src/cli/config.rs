//! `freehold config`.

use clap::Subcommand;
use serde_json::Value;

use super::{CliError, Exit, Global, Row};
use crate::config::Setting;
use crate::http::Access;
use crate::telemetry::log_filter;

/// Shows or checks the configuration.
#[derive(Debug, Subcommand)]
pub(super) enum Config {
    /// Print every key with its value
    Show {
        /// Say where each value came from, and what the key does
        #[arg(long)]
        origin: bool,
    },
    /// Read the configuration and say everything for which `serve` would refuse it
    Check,
}

struct Shown(Setting);

struct Explained(Setting);

impl Row for Shown {
    const COLUMNS: &'static [&'static str] = &["key", "value", "unit"];

    fn cells(&self) -> Vec<Value> {
        let setting = &self.0;
        vec![setting.key.name.into(), setting.printable().into(), setting.key.kind.unit().into()]
    }
}

impl Row for Explained {
    const COLUMNS: &'static [&'static str] = &["key", "value", "unit", "origin", "effect"];

    fn cells(&self) -> Vec<Value> {
        let setting = &self.0;
        vec![
            setting.key.name.into(),
            setting.printable().into(),
            setting.key.kind.unit().into(),
            setting.origin.to_string().into(),
            setting.key.effect.into(),
        ]
    }
}

impl Config {
    pub(super) fn run(self, global: &Global) -> Result<(), CliError> {
        let loaded = global.load([])?;
        match self {
            Self::Show { origin: false } => print(global, loaded.settings, Shown),
            Self::Show { origin: true } => print(global, loaded.settings, Explained),
            Self::Check => {
                let config = loaded.config;
                let access = Access::new(&config.auth, config.http.listen).err();
                let log = log_filter(&config.log).err();
                let access = access.map(|error| error.to_string());
                let wrong: Vec<_> =
                    access.into_iter().chain(log.map(|error| error.to_string())).collect();
                if wrong.is_empty() {
                    global.output().note("the configuration is right");
                    return Ok(());
                }
                let message = format!("the configuration is not right\n{}", wrong.join("\n"));
                Err(CliError::new(Exit::Usage, message))
            }
        }
    }
}

fn print<R: Row>(
    global: &Global,
    settings: Vec<Setting>,
    row: fn(Setting) -> R,
) -> Result<(), CliError> {
    let mut rows = global.output().rows();
    for setting in settings {
        rows.write(&row(setting))?;
    }
    Ok(rows.finish()?)
}
