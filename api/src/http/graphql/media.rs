//! Media types: what a client accepts, and the status and body it gets for each outcome.

use async_graphql::{Response as Executed, ServerError, Value};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;

use super::run::Failure;
use crate::http::Problem;

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Media {
    /// `application/json`: 200 for whatever GraphQL answers.
    Json,
    /// `application/graphql-response+json`: the status tells too.
    GraphqlResponse,
    /// `text/event-stream`.
    EventStream,
    /// `text/html`, only for a browser that opens the address.
    Html,
}

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// It ran; some fields may have failed.
    Executed,
    /// It did not run: its document or variables are wrong.
    NotRun,
    /// It ran for too long.
    TimedOut,
    /// It failed for a reason that is ours.
    Broke,
}

/// The statuses, all of them. The audit suite of GraphQL over HTTP decides, not the draft, which
/// wants 422 and 294 where the suite still wants 400 and 200.
fn status(media: Media, ended: Ended) -> StatusCode {
    match (media, ended) {
        (Media::GraphqlResponse, Ended::NotRun) => StatusCode::BAD_REQUEST,
        (Media::GraphqlResponse, Ended::TimedOut) => StatusCode::GATEWAY_TIMEOUT,
        (Media::GraphqlResponse, Ended::Broke) => StatusCode::INTERNAL_SERVER_ERROR,
        (Media::GraphqlResponse, Ended::Executed)
        | (Media::Json | Media::EventStream | Media::Html, _) => StatusCode::OK,
    }
}

/// An executed operation, told apart by how it ended.
pub(super) struct Outcome {
    executed: Executed,
    ended: Ended,
}

/// What a client reads; an operation that did not run has no `data`, not even null.
#[derive(Serialize)]
pub(super) struct ResultBody<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a Value>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [ServerError],
    #[serde(skip_serializing_if = "no_extensions")]
    extensions: &'a std::collections::BTreeMap<String, Value>,
}

fn no_extensions(extensions: &&std::collections::BTreeMap<String, Value>) -> bool {
    extensions.is_empty()
}

impl Outcome {
    /// Tells how an operation ended, and gives every error a code.
    pub(super) fn of(mut executed: Executed) -> Self {
        // An error of a field names its path; one of the whole operation has none.
        let not_run = executed.data == Value::Null
            && !executed.errors.is_empty()
            && executed.errors.iter().all(|error| error.path.is_empty());
        let code = if not_run { "GRAPHQL_VALIDATION_FAILED" } else { "INTERNAL" };
        for error in &mut executed.errors {
            let extensions = error.extensions.get_or_insert_default();
            if extensions.get("code").is_none() {
                extensions.set("code", code);
            }
        }
        let ended = match (not_run, executed.errors.first().and_then(code_of)) {
            (false, _) => Ended::Executed,
            (true, Some("TIMEOUT")) => Ended::TimedOut,
            (true, Some("INTERNAL")) => Ended::Broke,
            (true, _) => Ended::NotRun,
        };
        Self { executed, ended }
    }

    pub(super) fn ended(&self) -> Ended {
        self.ended
    }

    pub(super) fn errors(&self) -> &[ServerError] {
        &self.executed.errors
    }

    pub(super) fn body(&self) -> ResultBody<'_> {
        ResultBody {
            data: (self.ended == Ended::Executed).then_some(&self.executed.data),
            errors: &self.executed.errors,
            extensions: &self.executed.extensions,
        }
    }
}

fn code_of(error: &ServerError) -> Option<&str> {
    match error.extensions.as_ref()?.get("code")? {
        Value::String(code) => Some(code),
        _ => None,
    }
}

impl Media {
    fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::GraphqlResponse => "application/graphql-response+json; charset=utf-8",
            Self::Json | Self::EventStream | Self::Html => "application/json; charset=utf-8",
        })
    }

    /// The answer for an operation that was executed or could not be.
    pub(super) fn response(self, executed: Executed) -> Response {
        let outcome = Outcome::of(executed);
        self.write(status(self, outcome.ended()), &outcome)
    }

    /// The answer for a request that did not get as far as an operation.
    pub(super) fn failure(self, failure: Failure) -> Response {
        match failure {
            Failure::Document(errors) => self.response(Executed::from_errors(errors)),
            Failure::Http(problem) => {
                let (status, headers) = (problem.status(), problem.headers().to_vec());
                let executed = Executed::from_errors(Failure::Http(problem).into_errors());
                let mut response = self.write(status, &Outcome { executed, ended: Ended::NotRun });
                response.headers_mut().extend(headers);
                response
            }
        }
    }

    fn write(self, status: StatusCode, outcome: &Outcome) -> Response {
        match serde_json::to_vec(&outcome.body()) {
            Ok(body) => {
                (status, [(header::CONTENT_TYPE, self.content_type())], body).into_response()
            }
            Err(error) => {
                tracing::error!(%error, "an answer has no JSON form");
                Problem::internal().into_response()
            }
        }
    }
}

/// Chooses what the client likes best; of what it likes equally, what it named first.
pub(super) fn negotiate(headers: &HeaderMap, is_get: bool) -> Option<Media> {
    let mut accepts = headers.get_all(header::ACCEPT).iter().peekable();
    if accepts.peek().is_none() {
        return Some(Media::Json);
    }
    let mut best: Option<(f32, Media)> = None;
    let ranges = accepts.filter_map(|accept| accept.to_str().ok());
    for range in ranges.flat_map(|accept| accept.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let media = match parts.next().unwrap_or_default().to_ascii_lowercase().as_str() {
            "application/json" | "application/*" | "*/*" => Media::Json,
            "application/graphql-response+json" => Media::GraphqlResponse,
            "text/event-stream" => Media::EventStream,
            "text/html" if is_get => Media::Html,
            _ => continue,
        };
        let quality = parts
            .find_map(|parameter| parameter.strip_prefix("q="))
            .map_or(1.0, |quality| quality.parse().unwrap_or(0.0));
        if quality > 0.0 && best.is_none_or(|(most, _)| quality > most) {
            best = Some((quality, media));
        }
    }
    best.map(|(_, media)| media)
}

pub(super) fn not_acceptable() -> Response {
    let detail = "this address answers application/json, application/graphql-response+json and \
                  text/event-stream; ask for one of them in Accept";
    Problem::new(StatusCode::NOT_ACCEPTABLE, "NOT_ACCEPTABLE", detail).into_response()
}

/// Refuses a body that is not said to be JSON in UTF-8.
pub(super) fn require_json(headers: &HeaderMap) -> Result<(), Problem> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let mut parts = content_type.unwrap_or_default().split(';').map(str::trim);
    let is_json = parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("application/json"));
    let is_utf8 = parts
        .filter_map(|parameter| parameter.split_once('='))
        .filter(|(name, _)| name.eq_ignore_ascii_case("charset"))
        .all(|(_, charset)| charset.trim_matches('"').eq_ignore_ascii_case("utf-8"));
    if is_json && is_utf8 {
        return Ok(());
    }
    let detail = "send the operation as `Content-Type: application/json` in UTF-8";
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UNSUPPORTED_MEDIA_TYPE", detail))
}
