//! From parameters to an operation that may run, and its run under a time limit and a net.

use std::panic::AssertUnwindSafe;

use async_graphql::{Request, Response, ServerError};
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt as _, StreamExt as _};
use tracing::Instrument as _;
use uuid::Uuid;

use super::document::{self, Kind, coded};
use super::request::Parameters;
use super::{Caller, Endpoint, Problem, RequestIds, Role};
use crate::http::requests::panic_message;

/// Why there is no operation to run.
#[derive(Debug)]
pub(super) enum Failure {
    /// The request is not acceptable.
    Http(Problem),
    /// Its document is not.
    Document(Vec<ServerError>),
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self::Http(problem)
    }
}

impl Failure {
    pub(super) fn too_many_operations(most: usize) -> Self {
        let message = format!("{most} operations run on this connection; complete one first");
        Self::Document(vec![coded(ServerError::new(message, None), "TOO_MANY_OPERATIONS")])
    }

    /// As errors of GraphQL, where there is no status to tell it by.
    pub(super) fn into_errors(self) -> Vec<ServerError> {
        match self {
            Self::Document(errors) => errors,
            Self::Http(problem) => {
                vec![coded(ServerError::new(problem.detail(), None), problem.code())]
            }
        }
    }
}

/// An operation within limits whose caller may run it.
pub(super) struct Prepared {
    request: Request,
    kind: Kind,
    name: Option<String>,
    correlation: Uuid,
}

impl Prepared {
    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    fn span(&self) -> tracing::Span {
        tracing::info_span!(
            "operation",
            kind = self.kind.name(),
            name = self.name.as_deref(),
            correlation_id = %self.correlation,
        )
    }
}

impl Endpoint {
    /// Checks parameters; nothing has run yet.
    pub(super) fn prepare(
        &self,
        parameters: Parameters,
        caller: &Caller,
        ids: &RequestIds,
    ) -> Result<Prepared, Failure> {
        let name = parameters.operation_name.clone();
        let (document, kind) = document::parse(&parameters, &self.0.limits)
            .map_err(|error| Failure::Document(vec![error]))?;
        caller.require(match kind {
            Kind::Mutation => Role::Writer,
            Kind::Query | Kind::Subscription => Role::Reader,
        })?;
        let sender = caller.acting_for(self.0.operations.tenant.clone(), ids);
        let mut request = parameters.into_request().data(sender).data(caller.role);
        request.set_parsed_query(document);
        Ok(Prepared { request, kind, name, correlation: ids.correlation })
    }

    /// Runs a query or a mutation.
    pub(super) async fn execute(&self, prepared: Prepared) -> Response {
        let (span, kind) = (prepared.span(), prepared.kind);
        let running = AssertUnwindSafe(self.0.operations.schema.once(prepared.request));
        let limit = self.0.limits.operation_timeout();
        let finished = tokio::time::timeout(limit, running.catch_unwind());
        let response = match finished.instrument(span).await {
            Ok(Ok(response)) => response,
            Ok(Err(panic)) => broke(panic.as_ref()),
            Err(_) => {
                let message = format!("no result within {} ms; ask for less", limit.as_millis());
                Response::from_errors(vec![coded(ServerError::new(message, None), "TIMEOUT")])
            }
        };
        count(kind, &response);
        response
    }

    /// Runs any operation as a stream: one result, or a subscription's many.
    pub(super) fn stream(self, prepared: Prepared) -> BoxStream<'static, Response> {
        if prepared.kind != Kind::Subscription {
            return stream::once(async move { self.execute(prepared).await }).boxed();
        }
        let running = Running::start();
        metrics::counter!(
            "freehold_graphql_operations_total", "kind" => "subscription", "outcome" => "started"
        )
        .increment(1);
        AssertUnwindSafe(self.0.operations.schema.many(prepared.request))
            .catch_unwind()
            .map(move |result| {
                let _until_the_stream_is_dropped = &running;
                result.unwrap_or_else(|panic| broke(panic.as_ref()))
            })
            .boxed()
    }
}

/// Counts a subscription for as long as it exists.
struct Running(metrics::Gauge);

impl Running {
    fn start() -> Self {
        let gauge = metrics::gauge!("freehold_graphql_subscriptions");
        gauge.increment(1);
        Self(gauge)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.decrement(1);
    }
}

fn broke(panic: &(dyn std::any::Any + Send)) -> Response {
    tracing::error!(panic = panic_message(panic), "a resolver panicked");
    metrics::counter!("freehold_panics_total").increment(1);
    let message = "something went wrong here; the log has it under this request id";
    Response::from_errors(vec![coded(ServerError::new(message, None), "INTERNAL")])
}

fn count(kind: Kind, response: &Response) {
    let outcome = if response.errors.is_empty() { "ok" } else { "errors" };
    metrics::counter!(
        "freehold_graphql_operations_total", "kind" => kind.name(), "outcome" => outcome
    )
    .increment(1);
}
