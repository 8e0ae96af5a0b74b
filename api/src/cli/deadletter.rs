//! `freehold deadletter`: events that projections could not handle, also while servers run on the
//! store.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use freehold_ports::{
    DeadLetter, LetterFilter, LetterGroup, LetterId, RetryPace, StreamId, StreamVersion, Tried,
};
use serde_json::{Value, json};

use super::output::counted;
use super::{CliError, Exit, Global, Row};
use crate::node::projections;
use crate::stores::Stores;

/// How many letters are read at a time.
const PAGE: NonZeroU32 = NonZeroU32::new(1_000).expect("it is not zero");

/// Look at events that a projection could not handle, and have them tried again.
#[derive(Debug, Subcommand)]
pub(super) enum DeadLetters {
    /// Print what readers miss: streams that wait behind an event that could not be handled
    List {
        #[command(flatten)]
        filter: Filter,
        /// Count letters that are alike instead
        #[arg(long)]
        groups: bool,
        /// At most so many
        #[arg(long, default_value = "100", value_name = "COUNT", conflicts_with = "groups")]
        first: NonZeroU32,
    },
    /// Print a letter and its event; personal values stay sealed
    Show {
        /// The projection
        projection: Arc<str>,
        /// The stream that waits
        stream: StreamId,
    },
    /// Have letters tried again by the server that runs their projection, within a second
    ///
    /// What a new release can handle waits until then.
    Retry {
        #[command(flatten)]
        which: Which,
        /// At most so many streams a second; without it, one after the other
        #[arg(long, value_name = "STREAMS")]
        rate: Option<NonZeroU32>,
        /// Only say what would come of it, with this program
        #[arg(long)]
        dry_run: bool,
    },
}

/// Which letters.
#[derive(Debug, Args)]
pub(super) struct Filter {
    /// Only of this projection
    #[arg(long, value_name = "PROJECTION")]
    subscription: Option<Arc<str>>,
    /// Only of events of this type
    #[arg(long = "type", value_name = "TYPE")]
    event_type: Option<Arc<str>>,
    /// Only with an error that contains this
    #[arg(long, value_name = "TEXT")]
    error: Option<Arc<str>>,
}

/// One letter, or all that a filter lets through.
#[derive(Debug, Args)]
pub(super) struct Which {
    /// The projection
    #[arg(requires = "stream", required_unless_present = "all", conflicts_with = "all")]
    projection: Option<Arc<str>>,
    /// The stream that waits
    stream: Option<StreamId>,
    /// All of them
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    filter: Filter,
}

impl From<Filter> for LetterFilter {
    fn from(filter: Filter) -> Self {
        let Filter { subscription, event_type, error } = filter;
        Self { projection: subscription, stream: None, event_type, error }
    }
}

impl From<Which> for LetterFilter {
    fn from(which: Which) -> Self {
        let filter = Self::from(which.filter);
        Self { projection: which.projection.or(filter.projection), stream: which.stream, ..filter }
    }
}

impl Row for DeadLetter {
    const COLUMNS: &'static [&'static str] = &[
        "subscription",
        "stream",
        "position",
        "version",
        "type",
        "fault",
        "attempts",
        "waiting",
        "parked_at",
        "retry_at",
        "retry_by",
        "error",
    ];
    const FITTED: Option<&'static [&'static str]> =
        Some(&["subscription", "stream", "position", "type", "waiting", "parked_at", "error"]);

    fn cells(&self) -> Vec<Value> {
        vec![
            json!(self.id.generation.projection),
            json!(self.id.stream.as_str()),
            json!(self.id.position.0),
            json!(self.version.0),
            json!(self.event_type),
            json!(self.fault.as_str()),
            json!(self.attempts),
            json!(self.waiting),
            json!(self.parked_at),
            json!(self.retry_at),
            json!(self.retry_by),
            json!(self.error),
        ]
    }
}

impl Row for LetterGroup {
    const COLUMNS: &'static [&'static str] =
        &["subscription", "type", "fault", "letters", "waiting", "oldest", "error"];

    fn cells(&self) -> Vec<Value> {
        vec![
            json!(self.projection),
            json!(self.event_type),
            json!(self.fault.as_str()),
            json!(self.letters),
            json!(self.waiting),
            json!(self.oldest),
            json!(self.error),
        ]
    }
}

struct Field {
    field: &'static str,
    value: Value,
}

impl Row for Field {
    const COLUMNS: &'static [&'static str] = &["field", "value"];

    fn cells(&self) -> Vec<Value> {
        vec![json!(self.field), self.value.clone()]
    }
}

/// What trying a letter would come to.
struct DryRun<'a> {
    letter: &'a DeadLetter,
    outcome: Option<Tried>,
}

impl Row for DryRun<'_> {
    const COLUMNS: &'static [&'static str] =
        &["subscription", "stream", "position", "would", "error"];

    fn cells(&self) -> Vec<Value> {
        let (position, would, error) = match &self.outcome {
            None => (self.letter.id.position, "be another letter by now", None),
            Some(Tried::Resolved | Tried::Onwards { .. }) => {
                (self.letter.id.position, "succeed", None)
            }
            Some(Tried::Failed { error, .. }) => (self.letter.id.position, "fail", Some(error)),
            Some(Tried::FailedLater(later)) => {
                (later.id.position, "fail later", Some(&later.error))
            }
        };
        vec![
            json!(self.letter.id.generation.projection),
            json!(self.letter.id.stream.as_str()),
            json!(position.0),
            json!(would),
            json!(error),
        ]
    }
}

/// What was ordered.
struct Ordered {
    letters: u64,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
}

impl Row for Ordered {
    const COLUMNS: &'static [&'static str] = &["letters", "from", "to"];

    fn cells(&self) -> Vec<Value> {
        vec![json!(self.letters), json!(self.from), json!(self.to)]
    }
}

impl DeadLetters {
    pub(super) fn run(self, global: &Global) -> Result<(), CliError> {
        // Reading the log is enough; whoever runs a projection carries out what is ordered.
        super::block_on(async {
            let stores = global.stores_read_only().await?;
            match self {
                Self::List { filter, groups: true, .. } => {
                    let mut rows = global.output().rows();
                    for group in stores.models.letter_groups(filter.into()).await? {
                        rows.write(&group)?;
                    }
                    Ok(rows.finish()?)
                }
                Self::List { filter, first, .. } => {
                    let letters = stores.models.letters(filter.into(), None, first).await?;
                    let mut rows = global.output().rows();
                    letters.iter().try_for_each(|letter| rows.write(letter))?;
                    rows.finish()?;
                    if letters.is_empty() {
                        global.output().note("no stream is parked");
                    }
                    Ok(())
                }
                Self::Show { projection, stream } => {
                    show(global, &stores, projection, stream).await
                }
                Self::Retry { which, rate, dry_run } => {
                    let all = which.all;
                    let letters = selected(&stores, which.into()).await?;
                    if dry_run {
                        return try_out(global, &stores, &letters).await;
                    }
                    if all {
                        let count = counted(letters.len() as u64, "letter", "letters");
                        global.output().confirm(&format!("try {count} again"))?;
                    }
                    let ordered = order(global, &stores, letters, rate).await;
                    stores.close().await;
                    ordered
                }
            }
        })
    }
}

/// The letters that are meant.
async fn selected(stores: &Stores, filter: LetterFilter) -> Result<Vec<DeadLetter>, CliError> {
    let mut letters: Vec<DeadLetter> = Vec::new();
    loop {
        let after = letters.last().map(|letter| letter.id.clone());
        let page = stores.models.letters(filter.clone(), after, PAGE).await?;
        if page.is_empty() {
            break;
        }
        letters.extend(page);
    }
    if letters.is_empty() {
        let message = "no such stream is parked; see `freehold deadletter list`";
        return Err(CliError::new(Exit::NotFound, message));
    }
    Ok(letters)
}

async fn show(
    global: &Global,
    stores: &Stores,
    projection: Arc<str>,
    stream: StreamId,
) -> Result<(), CliError> {
    let filter = LetterFilter {
        projection: Some(projection),
        stream: Some(stream),
        ..LetterFilter::default()
    };
    let letter = selected(stores, filter).await?.remove(0);
    let before = StreamVersion(letter.version.0.saturating_sub(1));
    let (log, stream) = (&letter.log, &letter.id.stream);
    let event = stores.events.read_stream(log, stream, before, NonZeroU32::MIN).await?.pop();
    let payload = event.as_ref().map(|event| {
        serde_json::from_slice(&event.payload)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&event.payload).into()))
    });
    let mut rows = global.output().rows();
    let names = DeadLetter::COLUMNS.iter().zip(letter.cells());
    let more = [
        ("log", json!(log.as_str())),
        ("event_id", json!(letter.event_id.0)),
        ("recorded_at", json!(letter.recorded_at)),
        ("tried_at", json!(letter.tried_at)),
        ("done_through", json!(letter.done_through.0)),
        ("schema_version", json!(event.as_ref().map(|event| event.schema_version))),
        ("payload", json!(payload)),
    ];
    for (field, value) in names.map(|(name, value)| (*name, value)).chain(more) {
        rows.write(&Field { field, value })?;
    }
    Ok(rows.finish()?)
}

async fn try_out(global: &Global, stores: &Stores, letters: &[DeadLetter]) -> Result<(), CliError> {
    let projections = projections(stores, freehold_projections::FailurePolicy::default());
    let mut rows = global.output().rows();
    for letter in letters {
        let outcome = projections.try_letter(&letter.id).await?;
        rows.write(&DryRun { letter, outcome })?;
    }
    Ok(rows.finish()?)
}

async fn order(
    global: &Global,
    stores: &Stores,
    letters: Vec<DeadLetter>,
    rate: Option<NonZeroU32>,
) -> Result<(), CliError> {
    let every = rate.map_or(Duration::ZERO, |rate| Duration::from_secs(1) / rate.get());
    let first_at = Utc::now();
    let named = letters.len() as u64;
    let ids: Vec<LetterId> = letters.into_iter().map(|letter| letter.id).collect();
    let pace = RetryPace { first_at, every };
    let ordered = stores.models.order_retry(ids, pace, actor().into()).await?;
    let last = every.saturating_mul(u32::try_from(named - 1).unwrap_or(u32::MAX));
    let mut rows = global.output().rows();
    rows.write(&Ordered { letters: ordered, from: first_at, to: first_at + last })?;
    rows.finish()?;
    if ordered < named {
        let moved = counted(named - ordered, "letter was", "letters were");
        global.output().note(&format!("{moved} another one by then, and not ordered"));
    }
    global.output().note(
        "the server that runs the projection tries them; while it is paused, or no server runs, \
         they wait",
    );
    Ok(())
}

/// Who orders: whoever is at the terminal.
fn actor() -> String {
    let name = ["USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok());
    let name = name.filter(|name| !name.is_empty() && !name.contains(char::is_control));
    format!("cli:{}", name.as_deref().unwrap_or("unknown"))
}
