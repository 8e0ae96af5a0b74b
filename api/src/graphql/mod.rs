//! The GraphQL schema.
//!
//! Reads are here; mutations have a module of their own. Objects wrap rows of the read models and
//! fetch what stands beside them through [`loaders`]; every connection is in [`connection`], every
//! error in [`fault`]. HTTP is not here: a server executes the [`Schema`] with a
//! [`Caller`](crate::platform::Caller) in the data of each request.

mod batches;
mod codes;
mod connection;
pub mod fault;
pub mod filter;
mod freshness;
mod limits;
mod loaders;
pub mod mutation;
mod nulls;
pub mod objects;
mod personal;
mod projections;
pub mod query;
pub mod scalars;
pub mod subscription;

use std::sync::Arc;

use async_graphql::{Context, ErrorExtensions as _};
use chrono::{DateTime, Utc};

use self::codes::Codes;
pub use self::fault::Fault;
pub use self::limits::{InvalidLimit, Limits};
use self::loaders::{Loaders, Loading};
pub use self::mutation::Mutation;
use self::nulls::Nulls;
pub use self::query::Query;
pub use self::subscription::Subscription;
use crate::http::Role;
use crate::platform::{Caller, Platform};

/// Everything clients may ask.
pub type Schema = async_graphql::Schema<Query, Mutation, Subscription>;

const MOMENT: &str = "A moment, RFC 3339: `2026-11-23T12:00:00Z`.";

/// The schema over a platform.
pub fn schema(platform: Arc<Platform>, limits: Limits) -> Schema {
    let mut builder = Schema::build(Query, Mutation::default(), Subscription)
        .limit_complexity(limits.complexity)
        // The first is the outermost: it sees what the others answer.
        .extension(Codes)
        .extension(Nulls::default())
        .extension(Loading(platform.models.clone()))
        .override_output_type_description::<DateTime<Utc>>(MOMENT)
        .data(platform);
    if !limits.introspection {
        builder = builder.disable_introspection().disable_suggestions();
    }
    builder.data(limits).finish()
}

fn platform<'a>(ctx: &Context<'a>) -> &'a Arc<Platform> {
    ctx.data_unchecked()
}

fn loaders<'a>(ctx: &Context<'a>) -> &'a Loaders {
    ctx.data_unchecked()
}

/// Who asks; a server that forgets to say so answers nobody.
fn caller<'a>(ctx: &Context<'a>) -> Result<&'a Caller, Fault> {
    ctx.data_opt::<Caller>().ok_or_else(|| {
        tracing::error!("a request reached the schema without its caller");
        Fault::Internal
    })
}

/// Refuses a caller with a lesser role. The server puts the [`Role`] beside the
/// [`Caller`]; whoever has none may only read.
fn require(ctx: &Context<'_>, needed: Role) -> async_graphql::Result<()> {
    let role = ctx.data_opt::<Role>().copied().unwrap_or(Role::Reader);
    if role >= needed {
        return Ok(());
    }
    let message = format!("this needs the role {}; ask an operator for a token", needed.name());
    let error = async_graphql::Error::new(message);
    Err(error.extend_with(|_, extensions| extensions.set("code", "FORBIDDEN")))
}

#[cfg(test)]
mod tests;
