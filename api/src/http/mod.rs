//! The HTTP server: what every request passes, and the routes that are always there.
//!
//! The rest of the platform plugs in through [`Application`]: a GraphQL schema, further routes,
//! checks for `/ready` and what to do last. Handlers take [`Caller`] and [`RequestIds`] as
//! extractors and refuse with a [`Problem`]. Deliberately absent: TLS and HTTP/2, which whatever
//! stands in front of a public deployment ends.

mod access;
mod connection;
pub mod graphql;
mod operations;
mod problem;
mod requests;
mod server;

use std::future::Future;
use std::sync::Arc;

use axum::Router;
use futures_util::future::BoxFuture;

pub use access::{Access, AccessError, Caller, Role, TokenHash, new_token};
pub use problem::Problem;
pub use requests::{RequestIds, read_body};
pub use server::{FinishError, ServeError, Server};

/// What is served beyond health and metrics.
pub struct Application {
    /// Answers `/graphql` and `/schema.graphql`, where this process does.
    pub operations: Option<graphql::Operations>,
    /// Further routes, with their state already in them.
    pub routes: Router,
    /// What must hold for `/ready`.
    pub checks: Vec<Check>,
    /// What to do after the last request, in this order: drain the log, close the store.
    pub finally: Vec<Finally>,
}

/// Something that must hold for this process to serve; its answer says what does not.
#[derive(Clone)]
pub struct Check {
    name: &'static str,
    holds: Arc<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>,
}

/// Something to do after the last request.
pub struct Finally {
    name: &'static str,
    work: BoxFuture<'static, Result<(), Fault>>,
}

/// Why work could not be done; shown in logs.
pub type Fault = Box<dyn std::error::Error + Send + Sync>;

impl Application {
    /// An application of a schema alone.
    pub fn new(operations: graphql::Operations) -> Self {
        let operations = Some(operations);
        Self { operations, routes: Router::new(), checks: Vec::new(), finally: Vec::new() }
    }
}

impl Check {
    /// A check by its name; the error is shown to whoever asks `/ready`, so it holds no secrets.
    pub fn new<F>(name: &'static str, holds: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        Self { name, holds: Arc::new(move || Box::pin(holds())) }
    }
}

impl Finally {
    /// Work by its name.
    pub fn new(
        name: &'static str,
        work: impl Future<Output = Result<(), Fault>> + Send + 'static,
    ) -> Self {
        Self { name, work: Box::pin(work) }
    }
}
