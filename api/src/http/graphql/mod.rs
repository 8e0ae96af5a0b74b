//! GraphQL over HTTP, server-sent events and WebSockets, for any schema.
//!
//! [`Operations`] hides the schema's type; [`Limits`](document) are checked before it sees a
//! document. Resolvers find [`Caller`] and [`RequestIds`] in their context's data. A mutation needs
//! the role writer, everything else reader. Batching is off: one request, one operation.

mod document;
mod graphiql;
mod media;
mod request;
mod run;
mod socket;

use std::sync::Arc;

use async_graphql::{Executor, ObjectType, Schema, SubscriptionType};
use axum::Router;
use axum::body::Body;
use axum::extract::{FromRequestParts as _, Request, State, WebSocketUpgrade};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{any, get};
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};

use self::document::Kind;
use self::media::{Media, Outcome};
use self::request::Parameters;
use self::run::Failure;
use super::access::Identified;
use super::connection::Connection;
use super::{Access, Caller, Problem, RequestIds, Role, read_body};
use crate::config;

/// A schema whose type nobody has to name.
#[derive(Clone)]
pub struct Operations {
    schema: Arc<dyn Run>,
    sdl: Arc<str>,
    tenant: Arc<str>,
}

/// An object-safe [`Executor`].
trait Run: Send + Sync {
    fn once(&self, request: async_graphql::Request) -> BoxFuture<'_, async_graphql::Response>;
    fn many(&self, request: async_graphql::Request) -> BoxStream<'static, async_graphql::Response>;
}

impl<E: Executor> Run for E {
    fn once(&self, request: async_graphql::Request) -> BoxFuture<'_, async_graphql::Response> {
        Box::pin(self.execute(request))
    }

    fn many(&self, request: async_graphql::Request) -> BoxStream<'static, async_graphql::Response> {
        self.execute_stream(request, None)
    }
}

impl Operations {
    /// Hides the type of a schema that answers for a tenant.
    pub fn new<Q, M, S>(schema: Schema<Q, M, S>, tenant: impl Into<Arc<str>>) -> Self
    where
        Q: ObjectType + 'static,
        M: ObjectType + 'static,
        S: SubscriptionType + 'static,
    {
        let sdl = schema.sdl().into();
        Self { schema: Arc::new(schema), sdl, tenant: tenant.into() }
    }
}

/// What the handlers share.
#[derive(Clone)]
struct Endpoint(Arc<Inner>);

struct Inner {
    operations: Operations,
    access: Access,
    limits: config::Graphql,
    max_body_bytes: usize,
}

pub(super) fn routes(
    operations: Operations,
    access: Access,
    limits: config::Graphql,
    max_body_bytes: usize,
) -> Router {
    let sdl = operations.sdl.clone();
    let inner = Inner { operations, access, limits, max_body_bytes };
    Router::new()
        .route("/graphql", any(handle).with_state(Endpoint(Arc::new(inner))))
        .route(
            "/schema.graphql",
            get(move |_caller: Caller| async move {
                let content_type = HeaderValue::from_static("text/plain; charset=utf-8");
                ([(header::CONTENT_TYPE, content_type)], sdl.to_string())
            }),
        )
        .merge(graphiql::routes())
}

async fn handle(State(endpoint): State<Endpoint>, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    if parts.headers.contains_key(header::UPGRADE) {
        return upgrade(endpoint, &mut parts).await;
    }
    let is_get = match parts.method {
        Method::GET | Method::HEAD => true,
        Method::POST => false,
        _ => {
            let detail = "use POST, or GET for queries";
            return Problem::new(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", detail)
                .header(header::ALLOW, HeaderValue::from_static("GET, HEAD, POST"))
                .into_response();
        }
    };
    match media::negotiate(&parts.headers, is_get) {
        None => media::not_acceptable(),
        Some(Media::Html) => graphiql::page(),
        Some(media) => match answer(&endpoint, media, is_get, &mut parts, body).await {
            Ok(response) => response,
            Err(failure) => media.failure(failure),
        },
    }
}

async fn answer(
    endpoint: &Endpoint,
    media: Media,
    is_get: bool,
    parts: &mut Parts,
    body: Body,
) -> Result<Response, Failure> {
    let caller = Caller::from_request_parts(parts, &()).await?;
    let ids = match RequestIds::from_request_parts(parts, &()).await {
        Ok(ids) => ids,
        Err(never) => match never {},
    };
    let parameters = if is_get {
        Parameters::from_query(parts.uri.query().unwrap_or_default())?
    } else {
        media::require_json(&parts.headers)?;
        let body = read_body(&parts.headers, body, endpoint.0.max_body_bytes).await?;
        Parameters::from_json(&body)?
    };
    let prepared = match endpoint.prepare(parameters, &caller, &ids) {
        // The protocol of event streams has a place for what is wrong with a document.
        Err(Failure::Document(errors)) if media == Media::EventStream => {
            let only = async_graphql::Response::from_errors(errors);
            return Ok(event_stream(endpoint, parts, stream::iter([only]).boxed()));
        }
        prepared => prepared?,
    };
    if is_get && prepared.kind() == Kind::Mutation {
        let detail = "mutations change things; send them by POST";
        let refused = Problem::new(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", detail);
        return Err(refused.header(header::ALLOW, HeaderValue::from_static("POST")).into());
    }
    match (media, prepared.kind()) {
        (Media::EventStream, _) => {
            Ok(event_stream(endpoint, parts, endpoint.clone().stream(prepared)))
        }
        (_, Kind::Subscription) => {
            let detail = "a subscription needs `Accept: text/event-stream`, or a WebSocket that \
                          speaks graphql-transport-ws";
            Err(Problem::new(StatusCode::NOT_ACCEPTABLE, "SUBSCRIPTION_NEEDS_STREAM", detail)
                .into())
        }
        _ => Ok(media.response(endpoint.execute(prepared).await)),
    }
}

/// The distinct connections mode of the GraphQL-over-SSE protocol.
fn event_stream(
    endpoint: &Endpoint,
    parts: &Parts,
    results: BoxStream<'static, async_graphql::Response>,
) -> Response {
    let connection = parts.extensions.get::<Connection>().cloned();
    let stopping = async move {
        match connection {
            Some(connection) => connection.stopping().await,
            None => std::future::pending().await,
        }
    };
    let keep_alive = endpoint.0.limits.keep_alive();
    let events = stream::unfold(Some(results), move |results| async move {
        let mut results = results?;
        match tokio::time::timeout(keep_alive, results.next()).await {
            Ok(Some(result)) => {
                let json = serde_json::to_string(&Outcome::of(result).body());
                let event = json.map(|json| format!("event: next\ndata: {json}\n\n"));
                Some((event, Some(results)))
            }
            Ok(None) => Some((Ok("event: complete\ndata: \n\n".to_owned()), None)),
            // A comment, so that nothing between us takes the silence for the end.
            Err(_) => Some((Ok(":\n\n".to_owned()), Some(results))),
        }
    });
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-cache"),
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    (headers, Body::from_stream(events.take_until(Box::pin(stopping)))).into_response()
}

async fn upgrade(endpoint: Endpoint, parts: &mut Parts) -> Response {
    let identified = parts.extensions.get::<Identified>().cloned();
    // A browser cannot send a token with the upgrade; it comes with `connection_init` then.
    let caller = match identified {
        Some(Ok(caller)) => caller,
        Some(Err(problem)) => return problem.into_response(),
        None => None,
    };
    let ids = match RequestIds::from_request_parts(parts, &()).await {
        Ok(ids) => ids,
        Err(never) => match never {},
    };
    let Some(connection) = parts.extensions.get::<Connection>().cloned() else {
        return Problem::internal().into_response();
    };
    let upgrade = match WebSocketUpgrade::from_request_parts(parts, &()).await {
        Ok(upgrade) => upgrade.protocols([socket::PROTOCOL]),
        Err(_) => {
            let detail = "this is not a WebSocket upgrade by GET with version 13";
            return Problem::new(StatusCode::BAD_REQUEST, "BAD_UPGRADE", detail).into_response();
        }
    };
    if upgrade.selected_protocol().is_none() {
        let detail = "the only subprotocol here is graphql-transport-ws; \
                      send it in Sec-WebSocket-Protocol";
        return Problem::new(StatusCode::BAD_REQUEST, "UNKNOWN_SUBPROTOCOL", detail)
            .into_response();
    }
    let span = tracing::Span::current();
    upgrade
        .max_message_size(endpoint.0.max_body_bytes)
        .max_frame_size(endpoint.0.max_body_bytes)
        .on_upgrade(move |socket| {
            let served = socket::serve(socket, endpoint, caller, ids, connection);
            tracing::Instrument::instrument(served, span)
        })
}
