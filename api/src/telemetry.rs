//! Logs and metrics of this process.

use std::io::IsTerminal as _;
use std::sync::OnceLock;

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat};

const REQUEST_SECONDS: [f64; 11] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];
const STORE_SECONDS: [f64; 10] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0];
const BATCH_REQUESTS: [f64; 8] = [1.0, 2.0, 4.0, 16.0, 64.0, 256.0, 1_024.0, 4_096.0];

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
pub fn log_filter(log: &Log) -> Result<EnvFilter, LogError> {
    EnvFilter::try_new(&log.level).map_err(|source| LogError { level: log.level.clone(), source })
}

/// Sends log lines to stderr; data goes to stdout alone.
///
/// - Errors: as [`log_filter`].
pub fn start_logging(log: &Log) -> Result<(), LogError> {
    let filter = log_filter(log)?;
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
            let recorder = [
                (Matcher::Suffix("_duration_seconds".to_owned()), &REQUEST_SECONDS[..]),
                (Matcher::Suffix("_latency_seconds".to_owned()), &REQUEST_SECONDS),
                (Matcher::Suffix("_commit_seconds".to_owned()), &STORE_SECONDS),
                (Matcher::Suffix("_checkpoint_seconds".to_owned()), &STORE_SECONDS),
                (Matcher::Suffix("_batch_requests".to_owned()), &BATCH_REQUESTS),
            ]
            .into_iter()
            .fold(PrometheusBuilder::new(), |builder, (metrics, buckets)| {
                let builder = builder.set_buckets_for_metric(metrics, buckets);
                builder.expect("no list of buckets is empty")
            })
            .build_recorder();
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
    let seconds = |name: &'static str, what: &'static str| {
        describe_histogram!(name, Unit::Seconds, what);
    };
    describe_counter!("freehold_http_requests_total", "Requests answered");
    seconds("freehold_http_request_duration_seconds", "Time until an answer began");
    describe_gauge!("freehold_http_connections", "Open connections");
    describe_counter!("freehold_http_connections_refused_total", "Connections answered 503");
    describe_counter!(
        "freehold_keys_destroyed_again_total",
        "Keys that were alive at a start though the log says they were destroyed"
    );
    describe_counter!("freehold_panics_total", "Panics that were caught");
    describe_counter!("freehold_graphql_operations_total", "Operations by kind and outcome");
    describe_gauge!("freehold_graphql_subscriptions", "Subscriptions running");
    describe_counter!("freehold_ingest_items_total", "Items of feeds and web pages by status");
    describe_counter!("validation_violations", "Rules that accepted items bent, by warning code");
    describe_counter!("freehold_commands_total", "Commands by aggregate and outcome");
    describe_counter!(
        "freehold_command_conflicts_total",
        "Times a command was decided again because another writer came first"
    );
    describe_histogram!(
        "freehold_append_batch_requests",
        Unit::Count,
        "Appends that were waiting and became one commit"
    );
    describe_counter!(
        "freehold_append_batches_decided_again_total",
        "Batches of appends that another process came before, on PostgreSQL"
    );
    seconds("freehold_append_commit_seconds", "Time until a batch of appends was on the disk");
    seconds("freehold_log_checkpoint_seconds", "Time to copy the write-ahead log into its file");
    describe_counter!(
        "freehold_stream_reads_refused_total",
        "Readers of streams that were refused, as too many waited already, on PostgreSQL"
    );
    describe_gauge!(
        "freehold_postgres_connections",
        "Connections of this process by pool and state: idle, in_use"
    );
    describe_gauge!("freehold_postgres_connections_limit", "Connections that a pool may have");
    describe_gauge!(
        "freehold_log_prepared_events",
        "How many more events fit into the partitions that are made; it must not come near 0"
    );
    describe_gauge!(
        "freehold_log_fenced",
        "1 once this process may not write to the log until it is restarted, else 0"
    );
    describe_counter!("kafka_messages_produced_total", "Events published, by topic");
    seconds("kafka_produce_latency_seconds", "Time to publish a page of a log in one transaction");
    describe_gauge!("freehold_subscription_position", "Last position whose effects are stored");
    describe_gauge!("freehold_subscription_head_position", "Last known position of the log");
    describe_gauge!(
        "freehold_subscription_lag_seconds",
        Unit::Seconds,
        "Age of the oldest event not handled yet; 0 when there is none"
    );
    describe_gauge!("freehold_subscription_failed", "1 while it cannot go on, else 0");
    describe_gauge!(
        "freehold_subscription_standing_by",
        "1 while another process does the work and this one watches it, else 0"
    );
    describe_gauge!(
        "freehold_subscription_fed",
        "1 while events come from what a relay published, 0 while from the log"
    );
    describe_counter!("freehold_subscription_events_total", "Events handled");
    describe_counter!(
        "freehold_subscription_fed_events_total",
        "Events handled that a relay published, in place of reads of the log"
    );
    describe_counter!("freehold_subscription_failures_total", "Attempts that failed");
    describe_gauge!(
        "freehold_dead_letters",
        "Streams parked behind an event that could not be handled, where the work is done"
    );
    describe_gauge!("freehold_dead_letter_waiting_events", "Events that wait behind parked ones");
    describe_gauge!(
        "freehold_dead_letter_oldest_seconds",
        Unit::Seconds,
        "For how long the first parked stream has been waiting; 0 when none is"
    );
    describe_gauge!("freehold_build_info", "1, with the version of this program as a label");
    metrics::gauge!("freehold_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
}
