//! The read models: which tables there are, and what every event does to them.
//!
//! One module a concept. Every fold names every event of its log, also those it has no use for, so
//! that the compiler lists the folds that a new event concerns.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use freehold_domain::Price;
use freehold_domain::property::ListingStatus;
use freehold_ports::{EventFilter, RecordedEvent};
use uuid::Uuid;

use crate::{ApplyError, Missing, Projection, Projections, Rows, TypedRow};

pub mod account;
mod columns;
pub mod engagement;
pub mod listing;
pub mod market;
pub mod property;

#[cfg(test)]
mod tests;

/// The name of every projection of this module.
pub const NAMES: [&str; 5] = [
    listing::Listings::NAME,
    property::Properties::NAME,
    market::Market::NAME,
    engagement::Engagement::NAME,
    account::Accounts::NAME,
];

/// Adds every projection of this module.
#[must_use]
pub fn all(projections: Projections) -> Projections {
    projections
        .with(listing::Listings)
        .with(property::Properties)
        .with(market::Market)
        .with(engagement::Engagement)
        .with(account::Accounts)
}

fn events_of(category: &str) -> EventFilter {
    EventFilter { categories: vec![Arc::from(category)], event_types: Vec::new() }
}

/// The id of the aggregate whose event it is.
fn stream_uuid(recorded: &RecordedEvent) -> Result<Uuid, ApplyError> {
    let stream = &recorded.stream;
    stream.id().parse().map_err(|_| ApplyError::Impossible(format!("{stream} has no UUID")))
}

/// An event about something that no earlier event made.
fn unknown(what: &str, id: Uuid) -> ApplyError {
    ApplyError::Impossible(format!("no earlier event made {what} {id}"))
}

/// The rows of several keys; asks for all of them before it stops at one that is not loaded.
fn get_all<R: TypedRow>(
    rows: &mut Rows,
    keys: impl IntoIterator<Item = R::Key>,
) -> Result<Vec<Option<R>>, Missing> {
    let found: Vec<_> =
        keys.into_iter().map(|key| rows.get(&key).map(|row| row.cloned())).collect();
    found.into_iter().collect()
}

/// An amount as a column holds it.
fn minor_units(price: Price) -> i64 {
    // A price beyond the range cannot be made; one that was stored anyway stays the largest.
    i64::try_from(price.amount_minor.get()).unwrap_or(i64::MAX)
}

/// How long a listing period was on the market: `since` when it is, and before that `seconds`.
struct MarketTime<'a> {
    seconds: &'a mut i64,
    since: &'a mut Option<DateTime<Utc>>,
}

impl MarketTime<'_> {
    /// The period comes to stand at `status`.
    fn enter(self, status: ListingStatus, at: DateTime<Utc>) {
        match (counts_as_on_market(status), *self.since) {
            (true, None) => *self.since = Some(at),
            (false, Some(since)) => {
                *self.seconds += elapsed_seconds(since, at);
                *self.since = None;
            }
            (true, Some(_)) | (false, None) => {}
        }
    }
}

/// Whether time in that status is time on the market; `domain.md` names these two.
fn counts_as_on_market(status: ListingStatus) -> bool {
    match status {
        ListingStatus::Active | ListingStatus::UnderApplication => true,
        ListingStatus::Draft
        | ListingStatus::InReview
        | ListingStatus::ChangesRequested
        | ListingStatus::ComingSoon
        | ListingStatus::Pending
        | ListingStatus::OnHold
        | ListingStatus::Withdrawn
        | ListingStatus::Leased
        | ListingStatus::Cancelled
        | ListingStatus::Expired
        | ListingStatus::Voided => false,
    }
}

/// Seconds between two moments; none if a sender's clock went backwards.
fn elapsed_seconds(since: DateTime<Utc>, until: DateTime<Utc>) -> i64 {
    (until - since).num_seconds().max(0)
}

const SECONDS_A_DAY: i64 = 86_400;
