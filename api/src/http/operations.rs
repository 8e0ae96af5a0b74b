//! `/health`, `/ready`, `/metrics` and the page at `/`.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse};
use axum::routing::get;
use axum::{Json, Router};
use futures_util::FutureExt as _;
use futures_util::future::join_all;
use serde::Serialize;

use super::requests::panic_message;
use super::{Caller, Check, Problem};
use crate::telemetry::Metrics;

const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

pub(super) fn routes(checks: Vec<Check>, metrics: Metrics) -> Router {
    Router::new()
        .route("/health", get(|| async { Json(Health { status: "alive" }) }))
        .route("/ready", get(ready).with_state(checks))
        .route("/metrics", get(render_metrics).with_state(metrics))
}

/// What a browser finds first.
pub(super) fn front_page() -> Router {
    Router::new().route("/", get(|| async { Html(include_str!("../../assets/index.html")) }))
}

pub(super) async fn not_found() -> Problem {
    let detail = "there is nothing at this address; / lists what there is, and a process without \
                  the role api has /health, /ready and /metrics alone";
    Problem::new(StatusCode::NOT_FOUND, "NOT_FOUND", detail)
}

pub(super) async fn method_not_allowed() -> Problem {
    let detail = "this address does not take that method; the header Allow lists those it takes";
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", detail)
}

#[derive(Serialize)]
struct Health {
    status: &'static str,
}

#[derive(Serialize)]
struct Readiness {
    ready: bool,
    checks: Vec<CheckResult>,
}

#[derive(Serialize)]
struct CheckResult {
    name: &'static str,
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

async fn ready(State(checks): State<Vec<Check>>) -> impl IntoResponse {
    let checks = join_all(checks.iter().map(|check| async {
        let result = AssertUnwindSafe((check.holds)()).catch_unwind();
        let reason = match tokio::time::timeout(CHECK_TIMEOUT, result).await {
            Ok(Ok(result)) => result.err(),
            Ok(Err(panic)) => {
                let panic = panic_message(panic.as_ref());
                tracing::error!(check = check.name, panic, "a check panicked");
                Some("the check itself failed; the log has it".to_owned())
            }
            Err(_) => Some(format!("no answer within {} ms", CHECK_TIMEOUT.as_millis())),
        };
        CheckResult { name: check.name, ok: reason.is_none(), reason }
    }))
    .await;
    let ready = checks.iter().all(|check| check.ok);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, [(header::CACHE_CONTROL, "no-store")], Json(Readiness { ready, checks }))
}

async fn render_metrics(_caller: Caller, State(metrics): State<Metrics>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], metrics.render())
}
