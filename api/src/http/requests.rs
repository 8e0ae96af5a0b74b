//! What every request passes: ids, a span, metrics, limits, and a net under panics.

use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt as _, StreamExt as _};
use tracing::Instrument as _;
use uuid::Uuid;

use super::{Access, Problem};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const CORRELATION_ID: HeaderName = HeaderName::from_static("x-correlation-id");

/// The ids of a request; both headers come back with the answer.
#[derive(Clone, Debug)]
pub struct RequestIds {
    /// `X-Request-Id`, as sent (up to 128 visible characters) or made here.
    pub request: HeaderValue,
    /// `X-Correlation-Id`, if a UUID was sent, or made here; stored with events.
    pub correlation: Uuid,
}

/// What every request needs to know about the server.
#[derive(Clone)]
pub(super) struct Rules {
    pub(super) access: Access,
    pub(super) timeout: Duration,
}

impl RequestIds {
    fn of(headers: &HeaderMap) -> Self {
        let made = Uuid::now_v7();
        let sent = headers.get(CORRELATION_ID).and_then(|id| id.to_str().ok()?.parse().ok());
        let request = headers.get(REQUEST_ID).filter(|id| {
            (1..=128).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
        });
        let request = request.cloned().unwrap_or_else(|| {
            HeaderValue::from_str(&made.to_string()).expect("a UUID is visible ASCII")
        });
        Self { request, correlation: sent.unwrap_or(made) }
    }
}

impl RequestIds {
    /// The ids of one operation of a connection that carries many pieces of work.
    pub(super) fn of_operation(&self) -> Self {
        Self { request: self.request.clone(), correlation: Uuid::now_v7() }
    }
}

impl<S: Sync> FromRequestParts<S> for RequestIds {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        Ok(parts.extensions.get().cloned().unwrap_or_else(|| Self::of(&parts.headers)))
    }
}

/// Wraps every request, matched or not.
pub(super) async fn around(
    State(rules): State<Rules>,
    mut request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let ids = RequestIds::of(request.headers());
    let identified = rules.access.identify(request.headers());
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let route = match request.extensions().get::<MatchedPath>() {
        Some(matched) => matched.as_str().to_owned(),
        None => "other".to_owned(),
    };
    let actor = match &identified {
        Ok(Some(caller)) => caller.actor.clone(),
        _ => "nobody".into(),
    };
    let span = tracing::info_span!(
        "request",
        %method,
        path,
        actor = %actor,
        request_id = ids.request.to_str().unwrap_or_default(),
        correlation_id = %ids.correlation,
    );
    request.extensions_mut().insert(ids.clone());
    let stranger = rules.access.is_open() && !comes_from_this_machine(request.headers());
    request.extensions_mut().insert(identified);

    let mut response = async {
        let response = if stranger {
            refuse_stranger().into_response()
        } else {
            answer(rules.timeout, request, next).await
        };
        let (status, took) = (response.status(), started.elapsed());
        metrics::histogram!("freehold_http_request_duration_seconds", "route" => route.clone())
            .record(took);
        metrics::counter!(
            "freehold_http_requests_total",
            "method" => method_label(&method),
            "route" => route,
            "status" => status.as_str().to_owned(),
        )
        .increment(1);
        let took_ms = took.as_secs_f64() * 1_000.0;
        if status.is_server_error() {
            tracing::warn!(status = status.as_u16(), took_ms, "answered");
        } else {
            tracing::debug!(status = status.as_u16(), took_ms, "answered");
        }
        response
    }
    .instrument(span)
    .await;

    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, ids.request);
    let correlation = HeaderValue::from_str(&ids.correlation.to_string());
    headers.insert(CORRELATION_ID, correlation.expect("a UUID is visible ASCII"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

async fn answer(timeout: Duration, request: Request, next: Next) -> Response {
    let answered = AssertUnwindSafe(next.run(request)).catch_unwind();
    match tokio::time::timeout(timeout, answered).await {
        Ok(Ok(response)) => response,
        Ok(Err(panic)) => {
            tracing::error!(panic = panic_message(panic.as_ref()), "a handler panicked");
            metrics::counter!("freehold_panics_total").increment(1);
            Problem::internal().into_response()
        }
        Err(_) => {
            let detail = format!("no answer within {} ms; ask for less", timeout.as_millis());
            Problem::new(StatusCode::GATEWAY_TIMEOUT, "TIMEOUT", detail).into_response()
        }
    }
}

/// What a panic said.
pub(super) fn panic_message(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

/// A page of another site that a browser on this machine shows can reach loopback too: by a name
/// of its own that resolves to 127.0.0.1 (`Host` tells), by a form or a WebSocket (`Origin` tells).
/// With tokens neither matters, as a browser does not add those by itself.
fn comes_from_this_machine(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).map(|host| host.to_str().unwrap_or_default());
    let origin = headers.get(header::ORIGIN).map(|origin| {
        origin.to_str().ok().and_then(|text| text.split_once("://")).map_or("", |(_, host)| host)
    });
    host.is_none_or(names_loopback) && origin.is_none_or(names_loopback)
}

fn names_loopback(authority: &str) -> bool {
    let authority: axum::http::uri::Authority = match authority.parse() {
        Ok(authority) => authority,
        Err(_) => return false,
    };
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn refuse_stranger() -> Problem {
    Problem::new(
        StatusCode::FORBIDDEN,
        "FOREIGN_ORIGIN",
        "without tokens only pages and programs of this machine may call, by the name localhost or \
         127.0.0.1; make a token with `freehold token create` to open this to others",
    )
}

/// A label that a stranger cannot make up.
fn method_label(method: &axum::http::Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

/// Reads a body, refusing more than `limit` bytes.
pub async fn read_body(headers: &HeaderMap, body: Body, limit: usize) -> Result<Bytes, Problem> {
    let declared = headers.get(header::CONTENT_LENGTH).and_then(|n| n.to_str().ok()?.parse().ok());
    if declared.is_some_and(|bytes: u64| bytes > limit as u64) {
        return Err(Problem::body_too_large(limit));
    }
    let mut chunks = body.into_data_stream();
    let mut read = BytesMut::new();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| {
            let detail = "the body ended before it was complete; send the request again";
            Problem::new(StatusCode::BAD_REQUEST, "BODY_BROKEN_OFF", detail)
        })?;
        if read.len() + chunk.len() > limit {
            return Err(Problem::body_too_large(limit));
        }
        read.extend_from_slice(&chunk);
    }
    Ok(read.freeze())
}
