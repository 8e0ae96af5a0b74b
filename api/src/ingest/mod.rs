//! What feeds and web pages send: from the bytes of a request to events, item by item.
//!
//! [`split`] finds the items of a body; [`Ingest::property`] and [`Ingest::user`] answer each of
//! them by itself, so that a bad one never costs the others; [`routes`] serves both over HTTP.
//! `README.md` is what senders read: fields, event types, codes. Absent on purpose: rules about
//! rents and listings (`domain` decides), and fields that say who a visitor is (they are dropped
//! here and stored nowhere).

mod answer;
mod body;
mod envelope;
mod http;
mod json;
#[cfg(feature = "kafka")]
pub(crate) mod kafka;
#[cfg(not(feature = "kafka"))]
#[path = "no_kafka.rs"]
pub(crate) mod kafka;
mod lookups;
mod names;
mod plan;
mod property;
mod quality;
mod read;
mod record;
mod table;
#[cfg(test)]
pub(crate) mod tests;
mod update;
mod user;

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use freehold_commands::CommandError;
use freehold_domain::Refusal;
use freehold_ports::{
    CodecError, EventFilter, GenerationState, GlobalPosition, LogName, ReadError, VaultError,
};
use freehold_projections::{SubscriptionState, SubscriptionStatus};

pub use answer::{Answer, Change, ItemAnswer, Notice, ProjectionLag, Status, StoredAs};
pub use body::{Body, BodyRefused, MAX_ITEMS, split};
pub use http::routes;
pub use plan::IngestDefaults;
pub(crate) use table::Columns;

use answer::{Notices, seconds_between};
use lookups::Lookups;

use crate::platform::{Caller, Platform};

/// The code of an item that met a log out of reach.
const UNAVAILABLE: &str = "UNAVAILABLE";
/// The code of an item that another process may store, and this one not.
const FENCED: &str = "FENCED";
/// The projection whose lag senders are told.
const LISTINGS: &str = "listings";
/// How many items of one request are being stored at once.
const IN_FLIGHT: usize = 64;

/// Who sends items, and what counts for all of them.
#[derive(Clone, Copy, Debug)]
pub struct Sender<'a> {
    /// Who sends them.
    pub caller: &'a Caller,
    /// Whose references they hold, where an item does not say.
    pub source: Option<&'a str>,
    /// Makes the request repeatable: its items get their first answers again.
    pub request_key: Option<&'a str>,
}

/// Takes what feeds and web pages send.
pub struct Ingest {
    platform: Platform,
    defaults: IngestDefaults,
    lookups: Lookups,
}

impl Ingest {
    /// An entrance to a platform; what it remembers may be lost at any time.
    pub fn new(platform: Platform, defaults: IngestDefaults) -> Self {
        Self { platform, defaults, lookups: Lookups::new() }
    }

    /// How far queries are behind now; nothing when it cannot be known, as no answer fails for it.
    async fn projection_lag(&self) -> Option<ProjectionLag> {
        let Platform { store, models, clock, .. } = &self.platform;
        let head_position = store.head(&LogName::DOMAIN).await.ok()?;
        let live = self.platform.live(LISTINGS);
        // One that was stopped while it had everything does not notice what it is missing since.
        let knows = |live: &SubscriptionStatus| {
            let current =
                matches!(live.state, SubscriptionState::Live | SubscriptionState::StandingBy);
            current || live.behind_since.is_some()
        };
        if let Some(live) = live.filter(knows) {
            let seconds = live.lag(clock.now()).as_secs_f64();
            let (position, head_position) = (live.position, head_position.max(live.position));
            return Some(ProjectionLag { projection: LISTINGS, position, head_position, seconds });
        }
        let generations = models.generations(LISTINGS).await.ok()?;
        let active = generations.iter().find(|one| one.state == GenerationState::Active)?;
        let position = active.checkpoint;
        let head_position = head_position.max(position);
        let mut seconds = 0.0;
        if position < head_position {
            let all = EventFilter::all();
            let one = std::num::NonZeroU32::MIN;
            let page = store.read_all(&LogName::DOMAIN, &all, position, one).await.ok()?;
            let oldest = page.events.first();
            seconds = oldest.map_or(0.0, |event| seconds_between(event.recorded_at, clock.now()));
        }
        Some(ProjectionLag { projection: LISTINGS, position, head_position, seconds })
    }

    async fn answer(&self, answered: Vec<Answered>) -> Answer {
        let retry_after = answered.iter().filter_map(|answered| answered.retry_after).max();
        let mut items: Vec<ItemAnswer> = answered.into_iter().map(|one| one.item).collect();
        items.sort_by_key(|item| item.index);
        let reached = |log: LogName| {
            let events = items.iter().flat_map(|item| &item.events);
            events.filter(|event| event.log == log).filter_map(|event| event.position).max()
        };
        // A log that cannot be reached is not asked again: its callers have waited for it already.
        let unreachable = items.iter().flat_map(|item| &item.errors).any(|e| e.code == UNAVAILABLE);
        let position = match reached(LogName::DOMAIN) {
            Some(position) => Some(position),
            None if unreachable => None,
            None => self.platform.store.head(&LogName::DOMAIN).await.ok(),
        };
        count(&items);
        let interactions_position = reached(LogName::INTERACTIONS);
        let projection_lag = if unreachable { None } else { self.projection_lag().await };
        Answer { items, position, interactions_position, projection_lag, retry_after }
    }
}

fn count(items: &[ItemAnswer]) {
    for item in items {
        let status = match item.status {
            Status::Accepted => "accepted",
            Status::Refused => "refused",
            Status::Retry => "retry",
        };
        metrics::counter!("freehold_ingest_items_total", "status" => status).increment(1);
        for warning in &item.warnings {
            metrics::counter!("validation_violations", "code" => warning.code).increment(1);
        }
    }
}

/// An item's answer, and how long to wait when it could not be stored now.
struct Answered {
    item: ItemAnswer,
    retry_after: Option<Duration>,
}

impl Answered {
    fn refused(index: usize, notices: Notices) -> Self {
        let mut item = ItemAnswer::new(index, Status::Refused);
        item.warnings = notices.warnings;
        item.errors = notices.errors;
        Self { item, retry_after: None }
    }
}

/// Why an item did not count, whichever way it went.
#[derive(Clone)]
struct NotStored {
    status: Status,
    errors: Vec<Notice>,
    retry_after: Option<Duration>,
}

impl NotStored {
    fn refused(errors: Vec<Notice>) -> Self {
        Self { status: Status::Refused, errors, retry_after: None }
    }

    fn retry(code: &'static str, message: impl Into<String>, after: Duration) -> Self {
        let errors = vec![Notice::new(code, message)];
        Self { status: Status::Retry, errors, retry_after: Some(after) }
    }

    /// Another process may take it.
    fn fenced() -> Self {
        let message = "this process takes no more writes until it is restarted; send it to another";
        Self::retry(FENCED, message, Duration::from_secs(5))
    }

    fn unavailable(error: &(dyn std::error::Error + 'static)) -> Self {
        tracing::warn!(error, "item not stored");
        Self::retry(UNAVAILABLE, "the log cannot be reached now", Duration::from_secs(5))
    }
}

impl From<ReadError> for NotStored {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Overloaded { retry_after } => {
                Self::retry("OVERLOADED", error.to_string(), retry_after)
            }
            error => Self::unavailable(&error),
        }
    }
}

/// What a failed command means for its item; refusals keep the names of the command's fields.
impl<R: Refusal + 'static> From<CommandError<R>> for NotStored {
    fn from(error: CommandError<R>) -> Self {
        let soon = Duration::from_secs(1);
        match &error {
            CommandError::Refused(refusal) => Self::refused(
                refusal
                    .complaints()
                    .into_iter()
                    .map(|complaint| Notice {
                        code: complaint.code,
                        field: complaint.field,
                        message: complaint.message,
                        value: None,
                    })
                    .collect(),
            ),
            CommandError::Taken { .. } => {
                Self::refused(vec![Notice::new("REFERENCE_TAKEN", error.to_string())])
            }
            CommandError::CommandIdReused { .. } => {
                let message = "this key was used for another item; send a new one";
                Self::refused(vec![Notice::new("IDEMPOTENCY_KEY_REUSED", message)])
            }
            CommandError::Invalid(invalid) => {
                Self::refused(vec![Notice::new("TOO_LARGE", invalid.to_string())])
            }
            CommandError::Codec(CodecError::Vault(VaultError::Destroyed { .. })) => {
                let message = "this user was erased; nothing can be recorded about them";
                Self::refused(vec![Notice::new("USER_ERASED", message)])
            }
            CommandError::Overloaded { retry_after } => {
                Self::retry("OVERLOADED", error.to_string(), *retry_after)
            }
            CommandError::VersionConflict { .. } | CommandError::Contended { .. } => {
                let message = "others changed the same at the same time; send it again";
                Self::retry("CONTENDED", message, soon)
            }
            CommandError::OutcomeUnknown { .. } => {
                let message = "nobody knows whether it is stored; send it again";
                Self::retry("OUTCOME_UNKNOWN", message, soon)
            }
            CommandError::Fenced { .. } => Self::fenced(),
            CommandError::Codec(_) | CommandError::Unavailable(_) => Self::unavailable(&error),
        }
    }
}

impl Sender<'_> {
    /// Whose references an item holds: as it says, as the sender says, the token's name, or
    /// `default` without a token.
    fn source_of(&self, item: Option<&str>) -> Result<String, Notice> {
        let actor = &*self.caller.actor;
        let token = Some(actor).filter(|name| is_source(name) && !NAMELESS.contains(name));
        let name = item.or(self.source).or(token).unwrap_or(DEFAULT);
        if is_source(name) {
            return Ok(name.to_owned());
        }
        let notice = Notice::new("MALFORMED", SOURCE_SHAPE).at("source");
        Err(notice.sent(&json::Json::Text(name.into())))
    }

    /// The key that tells an item from others of its sender, if the sender gave one.
    fn key_of(&self, event_id: Option<&str>, index: usize) -> Option<String> {
        let of_item = event_id.map(|id| format!("event/{id}"));
        of_item.or_else(|| self.request_key.map(|key| format!("request/{index}/{key}")))
    }
}

/// What a source looks like, for messages.
pub const SOURCE_SHAPE: &str = "has 1 to 64 letters, digits, dots, dashes or underscores";

/// Whether references can belong to a source of that name.
pub fn is_source(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    (1..=64).contains(&name.len()) && name.chars().all(allowed)
}

/// Callers without a token.
const NAMELESS: [&str; 2] = ["local", "anonymous"];
/// The source of senders that have no token.
const DEFAULT: &str = "default";

/// Items by what has to keep their order, both in the order in which they came.
struct Groups<K, T> {
    places: HashMap<K, usize>,
    groups: Vec<Vec<T>>,
}

impl<K: Hash + Eq, T> Groups<K, T> {
    fn new() -> Self {
        Self { places: HashMap::new(), groups: Vec::new() }
    }

    fn add(&mut self, key: K, item: T) {
        let next = self.groups.len();
        let place = *self.places.entry(key).or_insert(next);
        if place == next {
            self.groups.push(Vec::with_capacity(1));
        }
        self.groups[place].push(item);
    }

    fn iter(&self) -> impl Iterator<Item = &T> {
        self.groups.iter().flatten()
    }

    fn in_order(self) -> impl Iterator<Item = Vec<T>> {
        self.groups.into_iter()
    }
}

/// The position that counts for an item that stored nothing.
fn last_position(events: &[StoredAs], head: Option<GlobalPosition>) -> Option<GlobalPosition> {
    events.iter().filter_map(|event| event.position).max().or(head)
}
