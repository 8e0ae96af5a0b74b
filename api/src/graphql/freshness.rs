//! Reading one's own writes: waiting until a read model has seen a position.
//!
//! The projections of this process say how far they are; where another process runs them, their
//! stored checkpoints do.

use std::time::Duration;

use freehold_ports::{GenerationState, GlobalPosition, LogName, ReadModelError, ReadModels};
use tokio::time::{Instant, sleep};

use super::Fault;
use super::scalars::Position;
use crate::platform::{Platform, Stale};

/// The first wait between two looks; each is twice as long as the one before.
const FIRST_POLL: Duration = Duration::from_millis(2);
/// The longest wait between two looks.
const LAST_POLL: Duration = Duration::from_millis(100);

/// Waits until a projection has seen the position that a client asked for, if it asked for one.
///
/// - Errors: a position that the log has not reached, at once; [`Fault::Stale`] after the
///   platform's freshness limit.
pub(crate) async fn fresh(
    platform: &Platform,
    projection: &'static str,
    asked: Option<Position>,
) -> Result<(), Fault> {
    let Some(Position(asked)) = asked else { return Ok(()) };
    let head = platform.store.head(&LogName::DOMAIN).await?;
    if asked > head {
        // Of another log, or of another deployment: waiting would be waiting for ever.
        let advice = format!("is beyond the end of this log, which is at {head}");
        return Err(Fault::input("minPosition", advice));
    }
    let at = reached(platform, projection, asked, platform.freshness_limit).await?;
    if at < asked { Err(Stale { projection, at, asked }.into()) } else { Ok(()) }
}

/// Waits until a projection has seen a position, or `limit` is over; answers where it stands.
pub(crate) async fn reached(
    platform: &Platform,
    projection: &str,
    asked: GlobalPosition,
    limit: Duration,
) -> Result<GlobalPosition, Fault> {
    let models = &*platform.models;
    if let Some(projections) = &platform.projections {
        let reached = projections.wait_for(projection, asked, limit).await;
        let reached = reached.map_err(|error| {
            tracing::error!(projection, %error, "a query names a projection that is not run");
            Fault::Internal
        })?;
        return match reached {
            Ok(()) => Ok(asked),
            // Without rows there is more to say than how far they are.
            Err(_) => checkpoint(models, projection).await,
        };
    }
    let deadline = Instant::now() + limit;
    let mut poll = FIRST_POLL;
    loop {
        let at = checkpoint(models, projection).await?;
        let left = deadline.saturating_duration_since(Instant::now());
        if at >= asked || left.is_zero() {
            return Ok(at);
        }
        sleep(poll.min(left)).await;
        poll = (poll * 2).min(LAST_POLL);
    }
}

/// The last position that a projection's answers show.
async fn checkpoint(models: &dyn ReadModels, projection: &str) -> Result<GlobalPosition, Fault> {
    let generations = models.generations(projection).await?;
    let active = generations.iter().find(|g| g.state == GenerationState::Active);
    let not_built = || ReadModelError::NotBuilt(projection.into());
    Ok(active.ok_or_else(not_built)?.checkpoint)
}
