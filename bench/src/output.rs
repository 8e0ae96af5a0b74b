//! Rows of measurements: a table for people, or one JSON object a line.

use std::process::Command;

use clap::ValueEnum;
use serde::Serialize;
use serde_json::{Map, Value};

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Format {
    Table,
    Ndjson,
}

/// One measurement.
#[derive(Default, Serialize)]
pub(crate) struct Row {
    pub(crate) bench: &'static str,
    pub(crate) store: &'static str,
    /// What was varied, such as callers or page size, and what was counted.
    #[serde(flatten)]
    pub(crate) parameters: Map<String, Value>,
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
    #[serde(flatten)]
    pub(crate) latency: Option<Latency>,
    /// What the machine does without Freehold, in the same unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) limit: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ratio_to_limit: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) lost: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) doubled: Option<u64>,
    pub(crate) fsync_us: Fsync,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) commit: Option<String>,
}

#[derive(Serialize)]
pub(crate) struct Latency {
    pub(crate) p50_ms: f64,
    pub(crate) p95_ms: f64,
    pub(crate) p99_ms: f64,
}

/// What one fsync took around the measurement, in the middle.
#[derive(Clone, Copy, Default, Serialize)]
pub(crate) struct Fsync {
    pub(crate) before: f64,
    pub(crate) after: f64,
}

impl Row {
    /// Sets the raw limit and the ratio to it.
    pub(crate) fn beside(mut self, limit: Option<f64>) -> Self {
        self.ratio_to_limit = limit.map(|limit| self.value / limit);
        self.limit = limit;
        self
    }
}

pub(crate) struct Output {
    format: Format,
    commit: Option<String>,
    headed: bool,
}

impl Output {
    pub(crate) fn new(format: Format) -> Self {
        Self { format, commit: commit(), headed: false }
    }

    pub(crate) fn print(&mut self, mut row: Row) -> anyhow::Result<()> {
        row.commit.clone_from(&self.commit);
        match self.format {
            Format::Ndjson => println!("{}", serde_json::to_string(&row)?),
            Format::Table => self.print_line(&row),
        }
        Ok(())
    }

    fn print_line(&mut self, row: &Row) {
        if !self.headed {
            println!(
                "{:<8} {:<8} {:<62} {:>12} {:<10} {:>8} {:>8} {:>8} {:>12} {:>6} {:>14}",
                "bench",
                "store",
                "parameters",
                "value",
                "unit",
                "p50 ms",
                "p95 ms",
                "p99 ms",
                "limit",
                "ratio",
                "fsync us"
            );
            self.headed = true;
        }
        let milliseconds = |pick: fn(&Latency) -> f64| {
            row.latency.as_ref().map_or(String::new(), |latency| format!("{:.2}", pick(latency)))
        };
        println!(
            "{:<8} {:<8} {:<62} {:>12.0} {:<10} {:>8} {:>8} {:>8} {:>12} {:>6} {:>14}",
            row.bench,
            row.store,
            in_words(&row.parameters),
            row.value,
            row.unit,
            milliseconds(|latency| latency.p50_ms),
            milliseconds(|latency| latency.p95_ms),
            milliseconds(|latency| latency.p99_ms),
            row.limit.map_or(String::new(), |limit| format!("{limit:.0}")),
            row.ratio_to_limit.map_or(String::new(), |ratio| format!("{ratio:.2}")),
            format!("{:.0} / {:.0}", row.fsync_us.before, row.fsync_us.after),
        );
    }
}

/// `callers=64 load=hot stream`.
pub(crate) fn in_words(parameters: &Map<String, Value>) -> String {
    let words = parameters.iter().map(|(name, value)| match value {
        Value::String(text) => format!("{name}={text}"),
        value => format!("{name}={value}"),
    });
    words.collect::<Vec<_>>().join(" ")
}

/// The commit that is measured, if this is a checkout with git at hand.
fn commit() -> Option<String> {
    let output = Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
