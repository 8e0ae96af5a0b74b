//! Logs and metrics of this process.

use std::io::IsTerminal as _;
use std::sync::OnceLock;

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat};

const REQUEST_SECONDS: [f64; 11] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// Why logging did not start.
#[derive(Debug, thiserror::Error)]
#[error("log.level is {level:?}: {source}; try info or info,freehold=debug")]
pub struct LogError {
    level: String,
    source: tracing_subscriber::filter::ParseError,
}

/// Which lines are logged.
///
/// - Errors: if `log.level` is not a list of filter directives.
pub fn start_logging(log: &Log) -> Result<(), LogError> {
    let filter = log_filter(log)?;
pub fn log_filter(log: &Log) -> Result<EnvFilter, LogError> {
    EnvFilter::try_new(&log.level).map_err(|source| LogError { level: log.level.clone(), source })
}

/// Sends log lines to stderr; data goes to stdout alone.
///
/// - Errors: as [`log_filter`].
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colours);
    match log.format {
        LogFormat::Text => lines.init(),
        LogFormat::Json => lines.json().flatten_event(true).init(),
    }
    Ok(())
}

/// What this process counted so far.
#[derive(Clone)]
pub struct Metrics(PrometheusHandle);

impl Metrics {
    /// The metrics of this process, recorded from the first call on.
    pub fn of_process() -> Self {
        static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();
        let handle = RECORDER.get_or_init(|| {
            let builder = PrometheusBuilder::new()
                .set_buckets_for_metric(
                    Matcher::Suffix("_duration_seconds".to_owned()),
                    &REQUEST_SECONDS,
                )
                .expect("the list of buckets is not empty");
            let recorder = builder.build_recorder();
            let handle = recorder.handle();
            metrics::set_global_recorder(recorder)
                .expect("no other recorder is installed in this process");
            describe();
            handle
        });
        Self(handle.clone())
    }

    /// As Prometheus text.
    pub fn render(&self) -> String {
        self.0.render()
    }

    /// Folds what was recorded, now and then, for ever: without it memory grows until somebody
    /// asks for the metrics.
    pub(crate) async fn keep_up(&self) {
        let mut often = tokio::time::interval(std::time::Duration::from_secs(5));
        loop {
            often.tick().await;
            self.0.run_upkeep();
        }
    }
}

fn describe() {
    describe_counter!("freehold_http_requests_total", "Requests answered");
    describe_histogram!(
        "freehold_http_request_duration_seconds",
        Unit::Seconds,
        "Time until an answer began"
    );
    describe_gauge!("freehold_http_connections", "Open connections");
    describe_counter!("freehold_http_connections_refused_total", "Connections answered 503");
    describe_counter!("freehold_panics_total", "Panics that were caught");
    describe_counter!("freehold_graphql_operations_total", "Operations by kind and outcome");
    describe_gauge!("freehold_graphql_subscriptions", "Subscriptions running");
    metrics::gauge!("freehold_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
}
