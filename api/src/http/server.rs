//! Accepts connections, serves them within limits, and ends in good order.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderValue, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Router, middleware};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

use super::connection::{Connection, Impatient};
use super::requests::{Rules, around};
use super::{Access, AccessError, Application, Fault, Finally, Problem, graphql, operations};
use crate::config::{Config, Http};
use crate::telemetry::Metrics;

/// Connections beyond the limit that are told so; what comes on top is just closed.
const TURNED_AWAY_AT_ONCE: usize = 64;
const MAX_HEADER_BYTES: usize = 64 * 1024;

/// A server that holds its address and does not accept yet.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    settings: Http,
    metrics: Metrics,
    router: Router,
    finally: Vec<Finally>,
}

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The configuration would let anybody in.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The address is taken or not ours.
    #[error(
        "cannot listen on {listen}: {source}; free the port, or choose another with --listen \
         (port 0 takes any)"
    )]
    Listen {
        /// The address.
        listen: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Something that comes after the last request failed; what came after it was still done.
#[derive(Debug, thiserror::Error)]
#[error("stopped, but could not {name}: {source}")]
pub struct FinishError {
    name: &'static str,
    source: Fault,
}

impl Server {
    /// Takes the address and puts the routes together.
    pub async fn bind(
        config: &Config,
        application: Application,
        metrics: Metrics,
    ) -> Result<Self, ServeError> {
        let listen = config.http.listen;
        let access = Access::new(&config.auth, listen)?;
        let listener = TcpListener::bind(&*config.http.addresses()).await;
        let bound = listener.and_then(|listener| Ok((listener.local_addr()?, listener)));
        let (address, listener) = bound.map_err(|source| ServeError::Listen { listen, source })?;

        let Application { operations, routes, checks, finally } = application;
        let body_limit = config.http.max_body_bytes;
        let rules = Rules { access: access.clone(), timeout: config.http.request_timeout() };
        let graphql = operations.map(|operations| {
            graphql::routes(operations, access, config.graphql.clone(), body_limit)
                .merge(operations::front_page())
        });
        let router = routes
            .merge(graphql.unwrap_or_default())
            .merge(operations::routes(checks, metrics.clone()))
            .fallback(operations::not_found)
            .method_not_allowed_fallback(operations::method_not_allowed)
            .layer(DefaultBodyLimit::max(body_limit))
            .layer(middleware::from_fn_with_state(rules, around));
        let settings = config.http.clone();
        Ok(Self { listener, address, settings, metrics, router, finally })
    }

    /// Where it listens; the port is the real one, also if 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` is there, then finishes what runs, then does what comes last.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<(), FinishError> {
        let Self { listener, address, settings, metrics, router, finally } = self;
        tracing::info!(%address, "listening");
        let (stopping, stopping_seen) = watch::channel(false);
        let places = Arc::new(Semaphore::new(settings.max_connections as usize));
        let turned_away = Arc::new(Semaphore::new(TURNED_AWAY_AT_ONCE));
        let service = TowerToHyperService::new(router);

        let accept = async {
            loop {
                let stream = accept(&listener).await;
                let (place, busy) = match places.clone().try_acquire_owned() {
                    Ok(place) => (place, false),
                    Err(_) => match turned_away.clone().try_acquire_owned() {
                        Ok(place) => (place, true),
                        Err(_) => continue,
                    },
                };
                let connection =
                    Connection { stopping: stopping_seen.clone(), _permit: Arc::new(place) };
                let service = service.clone();
                let settings = settings.clone();
                tokio::spawn(async move {
                    if busy {
                        metrics::counter!("freehold_http_connections_refused_total").increment(1);
                        let refuse = |_: Request<Incoming>| async {
                            Ok::<_, Infallible>(too_many_connections())
                        };
                        serve(stream, connection, &settings, refuse).await;
                    } else {
                        let answer = {
                            let connection = connection.clone();
                            move |request: Request<Incoming>| {
                                let mut request = request.map(Body::new);
                                request.extensions_mut().insert(connection.clone());
                                service.call(request)
                            }
                        };
                        let open = metrics::gauge!("freehold_http_connections");
                        open.increment(1);
                        serve(stream, connection, &settings, answer).await;
                        open.decrement(1);
                    }
                });
            }
        };
        tokio::select! {
            () = accept => {}
            () = metrics.keep_up() => {}
            () = stop => {}
        }

        tracing::info!("stopping: no new connections, requests may finish");
        drop(listener);
        stopping.send_replace(true);
        // Every connection holds a place, so all places are free when all are closed.
        let closed = places.acquire_many(settings.max_connections);
        if tokio::time::timeout(settings.shutdown_timeout(), closed).await.is_err() {
            let open = settings.max_connections as usize - places.available_permits();
            tracing::warn!(open, "connections were still open at the end");
        }
        let mut result = Ok(());
        for Finally { name, work } in finally {
            if let Err(source) = work.await {
                tracing::error!(name, error = source.as_ref(), "could not finish");
                result = Err(FinishError { name, source });
            }
        }
        tracing::info!("stopped");
        result
    }
}

async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Answers are small; waiting to fill a packet would only delay them.
                let _ = stream.set_nodelay(true);
                return stream;
            }
            Err(error) => {
                // Such as too many open files: closing connections make it pass.
                tracing::warn!(%error, "could not accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn serve<H, F, E>(stream: TcpStream, connection: Connection, settings: &Http, answer: H)
where
    H: Fn(Request<Incoming>) -> F,
    F: Future<Output = Result<Response, E>> + Send + 'static,
    E: std::error::Error + Send + Sync + 'static,
{
    let stream = TokioIo::new(Impatient::new(stream, settings.stalled_write_timeout()));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(settings.header_timeout())
        .max_header_size(MAX_HEADER_BYTES)
        .serve_connection(stream, service_fn(answer))
        .with_upgrades();
    let mut served = std::pin::pin!(served);
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = connection.stopping() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke off");
    }
}

fn too_many_connections() -> Response {
    let detail = "too many connections are open; try again in a moment";
    let mut response =
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "TOO_MANY_CONNECTIONS", detail)
            .header(header::RETRY_AFTER, HeaderValue::from_static("1"))
            .into_response();
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}
