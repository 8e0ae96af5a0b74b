//! Personal values: sealed in the read models, opened here and nowhere else in the schema.
//!
//! A reader sees of people what the log shows to everybody: everything but what is sealed in it.

use async_graphql::Context;
use freehold_ports::{EventCodec, SealedText};

use super::{Fault, platform, require};
use crate::http::Role;

/// Refuses callers who may not see personal values.
pub(crate) fn allowed(ctx: &Context<'_>) -> async_graphql::Result<()> {
    require(ctx, Role::Writer)
}

/// What a personal value says, to a caller who may see it; nothing once it is erased.
pub(crate) async fn show(
    ctx: &Context<'_>,
    value: Option<&SealedText>,
) -> async_graphql::Result<Option<String>> {
    allowed(ctx)?;
    Ok(open(&platform(ctx).codec, value).await?)
}

/// What a personal value says; nothing once it is erased.
pub(crate) async fn open(
    codec: &EventCodec,
    value: Option<&SealedText>,
) -> Result<Option<String>, Fault> {
    match value {
        Some(sealed) => Ok(codec.open_text(sealed).await?),
        None => Ok(None),
    }
}
