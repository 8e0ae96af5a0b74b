//! The two routes, and which status an answer has.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::Value;

use super::answer::{Answer, Status};
use super::{BodyRefused, Ingest, MAX_ITEMS, Sender, split};
use crate::http::{Caller, Problem, RequestIds, Role, read_body};
use crate::platform;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// What the routes need.
#[derive(Clone)]
struct Entrance {
    ingest: Arc<Ingest>,
    tenant: Arc<str>,
    max_body_bytes: usize,
}

/// The routes for feeds and web pages: `POST /api/events/property` and `/api/events/user`.
///
/// - Units: `max_body_bytes` bounds one request; it may have [`MAX_ITEMS`] items.
pub fn routes(ingest: Arc<Ingest>, tenant: Arc<str>, max_body_bytes: usize) -> Router {
    Router::new()
        .route("/api/events/property", post(property))
        .route("/api/events/user", post(user))
        .with_state(Entrance { ingest, tenant, max_body_bytes })
}

async fn property(
    State(entrance): State<Entrance>,
    caller: Caller,
    ids: RequestIds,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let caller = entrance.admit(&caller, &ids)?;
    let key = request_key(&headers)?;
    let body = read_body(&headers, body, entrance.max_body_bytes).await?;
    let body = split(&body, is_ndjson(&headers)).map_err(refused)?;
    let sender = Sender { caller: &caller, source: None, request_key: key };
    let answer = entrance.ingest.property(&sender, &body.items).await;
    Ok(respond(&answer))
}

async fn user(
    State(entrance): State<Entrance>,
    caller: Caller,
    ids: RequestIds,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let caller = entrance.admit(&caller, &ids)?;
    let key = request_key(&headers)?;
    let body = read_body(&headers, body, entrance.max_body_bytes).await?;
    let body = split(&body, is_ndjson(&headers)).map_err(refused)?;
    let sender = Sender { caller: &caller, source: None, request_key: key };
    let answer = entrance.ingest.user(&sender, &body.items).await;
    Ok(respond(&answer))
}

impl Entrance {
    fn admit(&self, caller: &Caller, ids: &RequestIds) -> Result<platform::Caller, Problem> {
        caller.require(Role::Writer)?;
        Ok(caller.acting_for(self.tenant.clone(), ids))
    }
}

fn is_ndjson(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = content_type.and_then(|value| value.split(';').next()).unwrap_or_default();
    ["application/x-ndjson", "application/ndjson", "application/jsonl", "application/jsonlines"]
        .iter()
        .any(|lines| media_type.trim().eq_ignore_ascii_case(lines))
}

fn request_key(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let Some(key) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    let key = key.to_str().ok().map(str::trim).filter(|key| (1..=200).contains(&key.len()));
    match key {
        Some(key) => Ok(Some(key)),
        None => {
            let detail = "an Idempotency-Key has 1 to 200 visible ASCII characters";
            Err(Problem::new(StatusCode::BAD_REQUEST, "IDEMPOTENCY_KEY_INVALID", detail))
        }
    }
}

fn refused(refused: BodyRefused) -> Problem {
    let (status, code) = match refused {
        BodyRefused::Empty => (StatusCode::BAD_REQUEST, "BODY_EMPTY"),
        BodyRefused::TooManyItems => (StatusCode::PAYLOAD_TOO_LARGE, "TOO_MANY_ITEMS"),
    };
    let problem = Problem::new(status, code, refused.to_string());
    if refused == BodyRefused::TooManyItems { problem.with("limit", MAX_ITEMS) } else { problem }
}

/// `202` as soon as one item counts; otherwise what a sender has to do is in the status too.
fn respond(answer: &Answer) -> Response {
    if answer.items.is_empty() || answer.any(Status::Accepted) {
        let mut response = (StatusCode::ACCEPTED, Json(answer)).into_response();
        if let Some(after) = answer.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds(after));
        }
        return response;
    }
    let problem = if answer.any(Status::Retry) {
        let codes = answer.items.iter().flat_map(|item| &item.errors).map(|error| error.code);
        let unavailable = codes.clone().any(|code| code == "UNAVAILABLE");
        let (status, code) = if unavailable {
            (StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE")
        } else {
            (StatusCode::TOO_MANY_REQUESTS, "OVERLOADED")
        };
        let after = answer.retry_after.unwrap_or(Duration::from_secs(1));
        let detail = "nothing was stored; send the request again after the time in Retry-After";
        Problem::new(status, code, detail).header(header::RETRY_AFTER, seconds(after))
    } else {
        let detail = "every item was refused; `items` says why";
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "ALL_ITEMS_REFUSED", detail)
    };
    let members = serde_json::to_value(answer).unwrap_or_default();
    let mut problem = problem;
    if let Value::Object(members) = members {
        for (name, value) in members {
            problem = problem.with(&name, value);
        }
    }
    problem.into_response()
}

/// Whole seconds, rounded up: a header has no others.
fn seconds(after: Duration) -> HeaderValue {
    HeaderValue::from(after.as_millis().div_ceil(1_000).max(1) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::answer::{ItemAnswer, Notice};

    fn answered(items: &[(Status, &'static str)]) -> Response {
        let item = |(index, (status, code)): (usize, &(Status, &'static str))| {
            let mut item = ItemAnswer::new(index, *status);
            item.errors = vec![Notice::new(code, "because")];
            item
        };
        respond(&Answer {
            items: items.iter().enumerate().map(item).collect(),
            position: None,
            interactions_position: None,
            projection_lag: None,
            retry_after: Some(Duration::from_millis(1_200)),
        })
    }

    #[test]
    fn the_status_says_what_to_do_when_nothing_counts() {
        let accepted = answered(&[(Status::Refused, "X"), (Status::Accepted, "")]);
        assert_eq!(accepted.status(), StatusCode::ACCEPTED);
        let refused = answered(&[(Status::Refused, "X"), (Status::Refused, "X")]);
        assert_eq!(refused.status(), StatusCode::UNPROCESSABLE_ENTITY);
        let full = answered(&[(Status::Refused, "X"), (Status::Retry, "OVERLOADED")]);
        assert_eq!(full.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(full.headers()[header::RETRY_AFTER], "2");
        let gone = answered(&[(Status::Retry, "UNAVAILABLE")]);
        assert_eq!(gone.status(), StatusCode::SERVICE_UNAVAILABLE);
    }

    #[test]
    fn items_to_send_again_among_accepted_ones_say_after_how_long() {
        let some = answered(&[(Status::Accepted, ""), (Status::Retry, "OVERLOADED")]);
        assert_eq!(some.status(), StatusCode::ACCEPTED);
        assert_eq!(some.headers()[header::RETRY_AFTER], "2");
    }
}
