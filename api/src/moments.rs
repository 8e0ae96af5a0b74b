//! When something can have happened, whoever says so: a feed, a client, a command.

use chrono::{DateTime, Datelike as _, TimeDelta, Utc};

/// No time zone explains more than this.
const SKEW_LIMIT: TimeDelta = TimeDelta::hours(26);
/// Before this no record of a home was kept that a computer could send.
const EARLIEST_YEAR: i32 = 1900;

/// Why nothing can have happened then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Impossible {
    #[error("must not be before the year {EARLIEST_YEAR}")]
    TooEarly,
    #[error("must not be in the future; send when it happened, with its offset")]
    InFuture,
}

/// Checks that something can have happened at a moment.
pub(crate) fn check(moment: DateTime<Utc>, now: DateTime<Utc>) -> Result<(), Impossible> {
    match () {
        () if moment.year() < EARLIEST_YEAR => Err(Impossible::TooEarly),
        () if moment - now > SKEW_LIMIT => Err(Impossible::InFuture),
        () => Ok(()),
    }
}
