//! `freehold config`.

use clap::Subcommand;
use serde_json::Value;

use super::{CliError, Global, Row};
use crate::config::Setting;

/// Shows or checks the configuration.
#[derive(Debug, Subcommand)]
pub(super) enum Config {
    /// Print every key with its value
    Show {
        /// Say where each value came from, and what the key does
        #[arg(long)]
        origin: bool,
    },
    /// Read the configuration and say everything that is wrong with it
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
                global.output().note("the configuration is right");
                Ok(())
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
