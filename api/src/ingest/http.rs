//! The two routes, and which status an answer has.

use std::io::{self, Read as _};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use bytes::Bytes;
use flate2::bufread::GzDecoder;
use serde_json::Value;

use super::answer::{Answer, Status};
use super::{BodyRefused, Ingest, MAX_ITEMS, Sender, split};
use crate::http::{Caller, Problem, RequestIds, Role, read_body};
use crate::platform;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const ACCEPT_POST: HeaderName = HeaderName::from_static("accept-post");

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
    let (body, lines) = entrance.read(&headers, body).await?;
    let body = split(&body, lines).map_err(refused)?;
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
    let (body, lines) = entrance.read(&headers, body).await?;
    let body = split(&body, lines).map_err(refused)?;
    let sender = Sender { caller: &caller, source: None, request_key: key };
    let answer = entrance.ingest.user(&sender, &body.items).await;
    Ok(respond(&answer))
}

impl Entrance {
    fn admit(&self, caller: &Caller, ids: &RequestIds) -> Result<platform::Caller, Problem> {
        caller.require(Role::Writer)?;
        Ok(caller.acting_for(self.tenant.clone(), ids))
    }

    /// The body, unpacked, and whether its sender calls it lines.
    async fn read(&self, headers: &HeaderMap, body: Body) -> Result<(Bytes, bool), Problem> {
        let lines = is_lines(headers)?;
        let packed = is_packed(headers)?;
        let body = read_body(headers, body, self.max_body_bytes).await?;
        let body = if packed { unpack(body, self.max_body_bytes).await? } else { body };
        Ok((body, lines))
    }
}

const JSON_TYPES: [&str; 2] = ["application/json", "text/json"];
const LINES_TYPES: [&str; 4] =
    ["application/x-ndjson", "application/ndjson", "application/jsonl", "application/jsonlines"];

/// Whether the body is called NDJSON; without a type it is JSON of a shape that tells.
fn is_lines(headers: &HeaderMap) -> Result<bool, Problem> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return Ok(false) };
    if let Some(lines) = is_lines_type(value.to_str().unwrap_or_default()) {
        return Ok(lines);
    }
    let accepted = [JSON_TYPES[0], LINES_TYPES[0]];
    let list = HeaderValue::from_static("application/json, application/x-ndjson");
    let detail = "send JSON as application/json, or one object a line as application/x-ndjson";
    let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    let problem = Problem::new(status, "CONTENT_TYPE_UNSUPPORTED", detail);
    Err(problem.with("accepted", accepted.to_vec()).header(ACCEPT_POST, list))
}

/// Whether a type is one of lines, or of JSON; none if it is another.
pub(super) fn is_lines_type(text: &str) -> Option<bool> {
    let text = text.to_ascii_lowercase();
    let media_type = text.split(';').next().unwrap_or_default().trim();
    let lines = LINES_TYPES.contains(&media_type);
    let json = JSON_TYPES.contains(&media_type) || media_type.ends_with("+json");
    (lines || json).then_some(lines)
}

/// Whether the body is packed with gzip.
fn is_packed(headers: &HeaderMap) -> Result<bool, Problem> {
    let values = headers.get_all(header::CONTENT_ENCODING).iter();
    // What is no text is no encoding that anybody knows.
    let texts = values.map(|value| value.to_str().unwrap_or("?").to_ascii_lowercase());
    let texts: Vec<String> = texts.collect();
    let names = texts.iter().flat_map(|text| text.split(',')).map(str::trim);
    let names: Vec<&str> = names.filter(|name| !["", "identity"].contains(name)).collect();
    match *names {
        [] => return Ok(false),
        ["gzip" | "x-gzip"] => return Ok(true),
        _ => {}
    }
    let detail = "send the body as it is, or packed once with gzip";
    let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    let problem = Problem::new(status, "CONTENT_ENCODING_UNSUPPORTED", detail);
    let list = HeaderValue::from_static("gzip, identity");
    let accepted = vec!["gzip", "identity"];
    Err(problem.with("accepted", accepted).header(header::ACCEPT_ENCODING, list))
}

/// How many packed parts a body may be put together of. Each takes time to begin, also an empty
/// one of 20 bytes, which the limit on what comes out of them does not bound.
const MAX_GZIP_MEMBERS: usize = 1_000;

/// Unpacks a body, refusing what becomes more than `limit` bytes before it does.
async fn unpack(body: Bytes, limit: usize) -> Result<Bytes, Problem> {
    match tokio::task::spawn_blocking(move || unpack_members(&body, limit)).await {
        Ok(Ok(unpacked)) if unpacked.len() > limit => Err(Problem::body_too_large(limit)),
        Ok(Ok(unpacked)) => Ok(unpacked.into()),
        Ok(Err(_)) => {
            let detail = format!(
                "the body is not gzip as Content-Encoding says, it breaks off, or it has more than \
                 {MAX_GZIP_MEMBERS} members"
            );
            Err(Problem::new(StatusCode::BAD_REQUEST, "GZIP_MALFORMED", detail))
        }
        Err(_) => Err(Problem::internal()),
    }
}

/// Stops after the first byte beyond `limit`.
fn unpack_members(mut packed: &[u8], limit: usize) -> io::Result<Vec<u8>> {
    let mut unpacked = Vec::new();
    for _ in 0..MAX_GZIP_MEMBERS {
        let mut member = GzDecoder::new(packed);
        let room = limit.saturating_add(1).saturating_sub(unpacked.len());
        (&mut member).take(room as u64).read_to_end(&mut unpacked)?;
        packed = member.into_inner();
        if packed.is_empty() || unpacked.len() > limit {
            return Ok(unpacked);
        }
    }
    Err(io::ErrorKind::InvalidData.into())
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
        let any = |wanted| codes.clone().any(|code| code == wanted);
        let again = "nothing was stored; send the request again after the time in Retry-After";
        let (status, code, detail) = if any(super::FENCED) {
            let elsewhere = "this process takes no more writes until it is restarted; send the \
                             request to another";
            (StatusCode::SERVICE_UNAVAILABLE, super::FENCED, elsewhere)
        } else if any(super::UNAVAILABLE) {
            (StatusCode::SERVICE_UNAVAILABLE, super::UNAVAILABLE, again)
        } else {
            (StatusCode::TOO_MANY_REQUESTS, "OVERLOADED", again)
        };
        let after = answer.retry_after.unwrap_or(Duration::from_secs(1));
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
        let fenced = answered(&[(Status::Retry, "FENCED")]);
        assert_eq!(fenced.status(), StatusCode::SERVICE_UNAVAILABLE);
    }

    #[test]
    fn items_to_send_again_among_accepted_ones_say_after_how_long() {
        let some = answered(&[(Status::Accepted, ""), (Status::Retry, "OVERLOADED")]);
        assert_eq!(some.status(), StatusCode::ACCEPTED);
        assert_eq!(some.headers()[header::RETRY_AFTER], "2");
    }
}
