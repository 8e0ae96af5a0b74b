//! `freehold serve` and `freehold demo`.

use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::{HeaderValue, header};
use axum::routing::get;
use clap::Args;
use freehold_ports::LogName;

use super::output::counted;
use super::{CliError, Exit, Global};
use crate::config::{Config, Part, Roles, StoreUrl, without_password};
use crate::graphql::{Limits, schema};
use crate::http::graphql::Operations;
use crate::http::{Access, Application, Finally, ServeError, Server};
use crate::import::{Bars, ImportError, Progress, Silent, import_demo};
use crate::ingest;
use crate::node::Node;
use crate::placeholder::{PLACEHOLDER_PATH, PLACEHOLDER_SVG};
use crate::telemetry::{Metrics, start_logging};

/// Serves until it is asked to stop.
#[derive(Debug, Args)]
pub(super) struct Serve {
    #[command(flatten)]
    listen: Listen,
    /// Which parts this process runs (roles), with commas between; unless said all but
    /// ingest
    #[arg(long, value_name = "api,projections,relay,ingest")]
    roles: Option<String>,
}

/// Fills the store with real data, once, and serves it.
#[derive(Debug, Args)]
pub(super) struct Demo {
    #[command(flatten)]
    listen: Listen,
    /// Import and end, without serving
    #[arg(long)]
    import_only: bool,
}

#[derive(Debug, Args)]
struct Listen {
    /// Where to listen (http.listen); port 0 takes a free one
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
}

impl Serve {
    pub(super) fn run(self, global: &Global) -> Result<(), CliError> {
        let roles = self.roles.map(|roles| ("roles", "--roles", roles));
        let config = self.listen.load(global, roles)?;
        super::block_on(async {
            let node = Node::open(&config).await?;
            node.start();
            serve(&config, node, |_| {}).await
        })
    }
}

impl Demo {
    pub(super) fn run(self, global: &Global) -> Result<(), CliError> {
        // What it shows needs every part of these.
        let roles = Some(("roles", "demo", Roles::usual().to_string()));
        let config = self.listen.load(global, roles)?;
        if self.import_only && config.store.url == StoreUrl::Memory {
            let message = "--import-only into memory: would leave nothing behind; name a folder \
                           with --store, or leave --import-only out to serve what is imported";
            return Err(CliError::new(Exit::Usage, message));
        }
        super::block_on(async {
            let node = Node::open(&config).await?;
            node.start();
            let filled = fill(&config, &node, global).await;
            if filled.is_err() || self.import_only {
                node.stop().await;
                return filled;
            }
            let output = global.output();
            // Where it holds a password, whoever pastes it has to put that back.
            let store = global.store.iter().map(|url| match without_password(url) {
                url if url.contains("://") => format!(" --store '{url}'"),
                url => format!(" --store {url}"),
            });
            let store: String = store.collect();
            let watch = format!("{} events tail{store}", program());
            serve(&config, node, |address| output.note(&introduction(address, &watch))).await
        })
    }
}

impl Listen {
    fn load(
        self,
        global: &Global,
        roles: Option<(&'static str, &'static str, String)>,
    ) -> Result<Config, CliError> {
        let listen = self.listen.map(|address| ("http.listen", "--listen", address));
        let config = global.load(listen.into_iter().chain(roles))?.config;
        start_logging(&config.log)
            .map_err(|error| CliError::new(Exit::Usage, error.to_string()))?;
        // Before anything counts: a meter that is made earlier counts for nobody, for ever.
        Metrics::of_process();
        // Before any file is made: whoever must not serve leaves nothing behind.
        Access::new(&config.auth, config.http.listen).map_err(ServeError::Access)?;
        Ok(config)
    }
}

async fn fill(config: &Config, node: &Node, global: &Global) -> Result<(), CliError> {
    let started = Instant::now();
    let bars: Box<dyn Progress> =
        if global.quiet { Box::new(Silent) } else { Box::new(Bars::default()) };
    let tenant = Arc::from(config.tenant.default.as_str());
    let report = import_demo(&node.platform, tenant, &*bars).await?;
    if report.properties + report.interactions > 0 {
        wait_for_read_models(node).await?;
        global.output().note(&format!(
            "imported {} and {} in {:.1} s",
            counted(report.properties, "property", "properties"),
            counted(report.interactions, "interaction", "interactions"),
            started.elapsed().as_secs_f64()
        ));
    } else {
        global.output().note("the demo's data is there already, nothing was imported");
    }
    if report.taken > 0 {
        global.output().note(&format!(
            "left {} alone: another property of this tenant has the reference",
            counted(report.taken, "row", "rows")
        ));
    }
    Ok(())
}

async fn wait_for_read_models(node: &Node) -> Result<(), CliError> {
    const PATIENCE: Duration = Duration::from_secs(600);
    let domain = node.platform.store.head(&LogName::DOMAIN).await?;
    let interactions = node.platform.store.head(&LogName::INTERACTIONS).await?;
    for status in node.projections.statuses() {
        let head = if status.log == LogName::DOMAIN { domain } else { interactions };
        let reached = node.projections.wait_for(status.name, head, PATIENCE).await;
        let reached = reached.map_err(|error| CliError::new(Exit::Failure, error.to_string()))?;
        reached.map_err(|late| CliError::new(Exit::Unavailable, late.to_string()))?;
    }
    Ok(())
}

async fn serve(
    config: &Config,
    node: Node,
    ready: impl FnOnce(std::net::SocketAddr),
) -> Result<(), CliError> {
    let metrics = Metrics::of_process();
    let node = Arc::new(node);
    let server = Server::bind(config, application(config, &node), metrics).await?;
    // Whoever reads where this is may ask it to stop at once.
    let asked = asked_to_stop();
    // On stdout, so that whoever started this on port 0 can read where it is.
    writeln!(std::io::stdout(), "listening on http://{}", server.address())?;
    ready(server.address());
    let finished = server.run(asked).await;
    finished.map_err(|error| CliError::new(Exit::Failure, error.to_string()))
}

/// Puts together what is served.
fn application(config: &Config, node: &Arc<Node>) -> Application {
    let (operations, routes) = match config.roles.has(Part::Api) {
        true => {
            let (operations, routes) = api(config, node);
            (Some(operations), routes)
        }
        false => (None, Router::new()),
    };
    let stopping = node.clone();
    Application {
        operations,
        routes,
        checks: node.checks(),
        finally: vec![Finally::new("stores", async move {
            stopping.stop().await;
            Ok(())
        })],
    }
}

/// What the role `api` serves.
fn api(config: &Config, node: &Node) -> (Operations, Router) {
    let limits = Limits {
        complexity: config.graphql.max_complexity,
        page_cap: config.graphql.max_page,
        introspection: true,
    };
    let tenant: Arc<str> = config.tenant.default.as_str().into();
    let operations = Operations::new(schema(node.platform.clone(), limits), tenant.clone());
    let feeds = ingest::routes(node.ingest.clone(), tenant, config.ingest.max_body_bytes);
    let svg =
        ([(header::CONTENT_TYPE, HeaderValue::from_static("image/svg+xml"))], PLACEHOLDER_SVG);
    let routes =
        Router::new().merge(feeds).route(PLACEHOLDER_PATH, get(move || async move { svg }));
    (operations, routes)
}

/// This program as it was called: who built it here does not have it on the PATH.
fn program() -> String {
    let called = std::env::args_os().next().unwrap_or_else(|| "freehold".into());
    let called = called.to_string_lossy();
    if called.contains(' ') { format!("'{called}'") } else { called.into_owned() }
}

/// What to open and what to try, in commands that can be pasted.
fn introduction(address: std::net::SocketAddr, watch: &str) -> String {
    let event =
        r#"{"property_id":"test-123","event_type":"property_updated","data":{"price":2000}}"#;
    let search = concat!(
        r#"{"query":"{ listings(first: 3, orderBy: PRICE_ASCENDING) "#,
        r#"{ nodes { id price { amountMinor currency frequency } } } }"}"#
    );
    let json = "-H 'content-type: application/json'";
    format!(
        "
Open http://{address}/graphql in a browser, or try:

1. search   curl -s http://{address}/graphql {json} -d '{search}'
2. send     curl -s http://{address}/api/events/property {json} -d '{event}'
3. watch    {watch}

Ctrl-C stops; run it again and everything is still there."
    )
}

/// A second signal counts from here on: a terminal and what supervises a process often send theirs
/// at the same moment, and both mean an orderly stop.
const ASKED_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Waits for SIGINT or SIGTERM; one that comes later, while it stops, ends the process at once.
/// Signals are heard from the call on.
fn asked_to_stop() -> impl Future<Output = ()> {
    let asked = signal();
    async move {
        asked.await;
        tokio::spawn(async {
            asked_again(tokio::time::sleep(ASKED_AGAIN_AFTER), signal).await;
            tracing::warn!("asked again: ended without finishing");
            std::process::exit(Exit::Failure as i32);
        });
    }
}

/// Waits for a signal that comes after `together` has passed. Nobody listens before, so one that
/// came earlier does not count, however late this task is run.
async fn asked_again(together: impl Future, signal: impl AsyncFnOnce()) {
    together.await;
    signal().await;
}

/// SIGINT or SIGTERM, from the call on.
#[cfg(unix)]
fn signal() -> impl Future<Output = ()> {
    use tokio::signal::unix::{SignalKind, signal};
    let heard = |kind| signal(kind).expect("signals can be listened to inside a runtime");
    let (mut terminate, mut interrupt) =
        (heard(SignalKind::terminate()), heard(SignalKind::interrupt()));
    async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
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

impl From<ImportError> for CliError {
    fn from(error: ImportError) -> Self {
        let exit = match &error {
            ImportError::Unreadable(_) => Exit::NotFound,
            ImportError::Malformed { .. } => Exit::Usage,
            ImportError::NotATable(_) => Exit::Refused,
            ImportError::Stopped(_) => Exit::Unavailable,
        };
        Self::new(exit, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt as _;
    use tokio::sync::{Notify, oneshot};

    use super::*;

    #[test]
    fn signals_that_come_together_are_one() {
        let signals = Notify::new();
        let (passes, together) = oneshot::channel::<()>();
        let mut again = pin!(asked_again(together, async || signals.notified().await));
        assert_eq!(again.as_mut().now_or_never(), None);
        signals.notify_waiters();
        assert_eq!(again.as_mut().now_or_never(), None, "it came together with the first");
        signals.notify_waiters();
        passes.send(()).unwrap();
        assert_eq!(again.as_mut().now_or_never(), None, "nobody asked since");
        signals.notify_waiters();
        assert_eq!(again.as_mut().now_or_never(), Some(()));
    }
}
