//! `freehold serve`.

use std::io::Write as _;

use async_graphql::EmptyMutation;
use clap::Args;

use super::{CliError, Exit, Global};
use crate::about::{About, Live, Query};
use crate::config::Config;
use crate::http::graphql::{Operations, limited};
use crate::http::{Application, ServeError, Server};
use crate::telemetry::{Metrics, start_logging};

/// Serves until it is asked to stop.
#[derive(Debug, Args)]
pub(super) struct Serve {
    /// Where to listen (http.listen); port 0 takes a free one
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
}

impl Serve {
    pub(super) fn run(self, global: &Global) -> Result<(), CliError> {
        let listen = self.listen.map(|address| ("http.listen", "--listen", address));
        let config = global.load(listen)?.config;
        start_logging(&config.log)
            .map_err(|error| CliError::new(Exit::Usage, error.to_string()))?;
        let runtime = tokio::runtime::Runtime::new().map_err(|error| {
            CliError::new(Exit::Unavailable, format!("threads cannot be started: {error}"))
        })?;
        runtime.block_on(serve(&config))
    }
}

async fn serve(config: &Config) -> Result<(), CliError> {
    let metrics = Metrics::of_process();
    let server = Server::bind(config, application(config), metrics).await?;
    // On stdout, so that whoever started this on port 0 can read where it is.
    writeln!(std::io::stdout(), "listening on http://{}", server.address())?;
    let finished = server.run(asked_to_stop()).await;
    finished.map_err(|error| CliError::new(Exit::Failure, error.to_string()))
}

/// Puts together what is served.
fn application(config: &Config) -> Application {
    let schema = limited(About::build(Query, EmptyMutation, Live), &config.graphql).finish();
    Application::new(Operations::new(schema))
}

/// Waits for SIGINT or SIGTERM; the second one ends the process at once.
async fn asked_to_stop() {
    signal().await;
    tokio::spawn(async {
        signal().await;
        tracing::warn!("asked twice: ended without finishing");
        std::process::exit(Exit::Failure as i32);
    });
}

#[cfg(unix)]
async fn signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate =
        signal(SignalKind::terminate()).expect("SIGTERM can be listened to inside a runtime");
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}

#[cfg(not(unix))]
async fn signal() {
    // An error means that there is no console to ask from.
    let _ = tokio::signal::ctrl_c().await;
}

impl From<ServeError> for CliError {
    fn from(error: ServeError) -> Self {
        let exit = match error {
            ServeError::Access(_) => Exit::Refused,
            ServeError::Listen { .. } => Exit::Unavailable,
        };
        Self::new(exit, error.to_string())
    }
}
