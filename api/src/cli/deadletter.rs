//! `freehold deadletter`: events that projections could not handle, also while servers run on the
//! store.

use std::io::Read as _;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use freehold_ports::{
    DeadLetter, EventPlace, LetterDecision, LetterFilter, LetterGroup, LetterId, Provenance,
    RetryPace, StreamId, StreamVersion, Tried,
};
use freehold_projections::{DecisionError, FailurePolicy, Projections, RecordedDecision};
use freehold_sqlite::OpenError;
use serde_json::{Value, json};

use super::output::counted;
use super::{CliError, Exit, Global, Row};
use crate::config::Config;
use crate::node::projections;
use crate::stores::{Stores, StoresError};

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
    /// Have an event folded with another payload by one projection, and its letter tried
    ///
    /// The event in the log stays as it is; rebuilds fold it as edited too. Beside a server that runs
    /// on a folder, send the mutation deadLetterEdit to it instead.
    Edit {
        /// The projection
        projection: Arc<str>,
        /// The stream that waits
        stream: StreamId,
        /// A file with the payload, JSON of the event's type and schema version; - for stdin.
        /// Personal values stay sealed as `show` prints them, or are left out
        #[arg(long, value_name = "FILE")]
        payload: PathBuf,
        /// Why, for whoever reads the history; without names of people
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// Only say what would come of it, with this program
        #[arg(long)]
        dry_run: bool,
    },
    /// Have events passed over by their projections for good, and their letters tried
    ///
    /// The events stay in the log. Beside a server that runs on a folder, send the mutation
    /// deadLetterDiscard to it instead.
    Discard {
        #[command(flatten)]
        which: Which,
        /// Why, for whoever reads the history; without names of people
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Print who decided what about the events of a projection, oldest first
    History {
        /// The projection
        projection: Arc<str>,
        /// Only about this stream
        #[arg(long, value_name = "STREAM")]
        stream: Option<StreamId>,
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

/// What was decided about one event.
struct Decided(Vec<Value>);

impl Decided {
    fn of(recorded: &RecordedDecision, event: &EventPlace) -> Self {
        let (name, reason, payload) = match &recorded.decision {
            LetterDecision::LetterEdited(edited) => {
                ("edited", Some(&edited.reason), Some(&edited.payload))
            }
            LetterDecision::LetterDiscarded(discarded) => {
                ("discarded", Some(&discarded.reason), None)
            }
            LetterDecision::LettersRetried(_) => ("retried", None, None),
        };
        Self(vec![
            json!(recorded.version.0),
            json!(recorded.recorded_at),
            json!(recorded.provenance.actor),
            json!(name),
            json!(event.stream.as_str()),
            json!(event.version.0),
            json!(reason),
            json!(payload),
        ])
    }
}

impl Row for Decided {
    const COLUMNS: &'static [&'static str] =
        &["number", "at", "actor", "decision", "stream", "version", "reason", "payload"];
    const FITTED: Option<&'static [&'static str]> =
        Some(&["at", "actor", "decision", "stream", "version", "reason"]);

    fn cells(&self) -> Vec<Value> {
        self.0.clone()
    }
}

impl DeadLetters {
    pub(super) fn run(self, global: &Global) -> Result<(), CliError> {
        // Reading the log is enough for most; whoever runs a projection carries out what is ordered.
        super::block_on(async {
            let config = global.load([])?.config;
            let stores = Stores::open_read_only(&config).await?;
            match self {
                Self::Edit { projection, stream, payload, reason, dry_run } => {
                    let payload = read_payload(&payload)?;
                    let letter = one(&stores, projection, stream).await?;
                    let edit = Edit { letter, payload, reason };
                    match dry_run {
                        true => edit.try_out(global, &stores).await,
                        false => edit.make(global, stores, &config).await,
                    }
                }
                Self::Discard { which, reason } => {
                    let all = which.all;
                    let letters = selected(&stores, which.into()).await?;
                    if all {
                        let count = counted(letters.len() as u64, "event", "events");
                        global.output().confirm(&format!("discard {count} for good"))?;
                    }
                    discard(global, stores, &config, letters, &reason).await
                }
                Self::History { projection, stream } => {
                    history(global, &stores, &projection, stream.as_ref()).await
                }
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
                    order(global, stores, &config, letters, rate).await
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

/// The letter of a stream.
async fn one(
    stores: &Stores,
    projection: Arc<str>,
    stream: StreamId,
) -> Result<DeadLetter, CliError> {
    let filter = LetterFilter {
        projection: Some(projection),
        stream: Some(stream),
        ..LetterFilter::default()
    };
    Ok(selected(stores, filter).await?.remove(0))
}

async fn show(
    global: &Global,
    stores: &Stores,
    projection: Arc<str>,
    stream: StreamId,
) -> Result<(), CliError> {
    let letter = one(stores, projection, stream).await?;
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
    let projections = engine(stores);
    let mut rows = global.output().rows();
    for letter in letters {
        let outcome = projections.try_letter(&letter.id).await?;
        rows.write(&DryRun { letter, outcome })?;
    }
    Ok(rows.finish()?)
}

/// Where letters are tried and decided about; nothing of it runs here.
fn engine(stores: &Stores) -> Projections {
    projections(stores, FailurePolicy::default(), None)
}

/// Opens the stores to append, where they are there. One process writes to a folder.
async fn open_to_append(read: Stores, config: &Config) -> Result<Stores, StoresError> {
    read.close().await;
    Stores::open(config).await
}

/// Why nothing can be decided here.
fn cannot_decide(error: StoresError) -> CliError {
    match error {
        StoresError::Open(error @ OpenError::InUse { .. }) => {
            let message = format!(
                "STORE_IN_USE: a decision is an event of the log, and {error}. Or send the mutation \
                 deadLetterEdit or deadLetterDiscard to its /graphql, as an operator"
            );
            CliError::new(Exit::Unavailable, message)
        }
        error => error.into(),
    }
}

async fn order(
    global: &Global,
    stores: Stores,
    config: &Config,
    letters: Vec<DeadLetter>,
    rate: Option<NonZeroU32>,
) -> Result<(), CliError> {
    let every = rate.map_or(Duration::ZERO, |rate| Duration::from_secs(1) / rate.get());
    let first_at = Utc::now();
    let named = letters.len() as u64;
    let (ordered, stores) = match open_to_append(stores, config).await {
        Ok(stores) => (engine(&stores).retry_letters(letters, rate, who(config)).await, stores),
        // An order is no event: it needs no log.
        Err(StoresError::Open(OpenError::InUse { .. })) => {
            let stores = Stores::open_read_only(config).await?;
            let ids: Vec<LetterId> = letters.into_iter().map(|letter| letter.id).collect();
            let pace = RetryPace { first_at, every };
            let ordered = stores.models.order_retry(ids, pace, actor().into()).await;
            global.output().note(
                "a server has the log: this order is not in the history; the mutation \
                 deadLetterRetry notes it there",
            );
            (ordered.map_err(Into::into), stores)
        }
        Err(error) => return Err(error.into()),
    };
    stores.close().await;
    let ordered = ordered?;
    let last = every.saturating_mul(u32::try_from(named - 1).unwrap_or(u32::MAX));
    let mut rows = global.output().rows();
    rows.write(&Ordered { letters: ordered, from: first_at, to: first_at + last })?;
    rows.finish()?;
    if ordered < named {
        let moved = counted(named - ordered, "letter was", "letters were");
        global.output().note(&format!("{moved} another one by then, and not ordered"));
    }
    note_who_tries(global);
    Ok(())
}

fn note_who_tries(global: &Global) {
    global.output().note(
        "the server that runs the projection tries them; while it is paused, or no server runs, \
         they wait",
    );
}

/// An edit as it was asked for.
struct Edit {
    letter: DeadLetter,
    payload: String,
    reason: String,
}

impl Edit {
    async fn try_out(self, global: &Global, stores: &Stores) -> Result<(), CliError> {
        let outcome = Some(engine(stores).try_edit(&self.letter, &self.payload).await?);
        let mut rows = global.output().rows();
        rows.write(&DryRun { letter: &self.letter, outcome })?;
        Ok(rows.finish()?)
    }

    async fn make(self, global: &Global, stores: Stores, config: &Config) -> Result<(), CliError> {
        let Self { letter, payload, reason } = self;
        let stores = open_to_append(stores, config).await.map_err(cannot_decide)?;
        let edited = engine(&stores).edit_letter(letter, &payload, &reason, who(config)).await;
        stores.close().await;
        edited?;
        decided(global, 1, 1)
    }
}

async fn discard(
    global: &Global,
    stores: Stores,
    config: &Config,
    letters: Vec<DeadLetter>,
    reason: &str,
) -> Result<(), CliError> {
    let named = letters.len() as u64;
    let stores = open_to_append(stores, config).await.map_err(cannot_decide)?;
    let discarded = engine(&stores).discard_letters(letters, reason, who(config)).await;
    stores.close().await;
    decided(global, discarded?, named)
}

fn decided(global: &Global, count: u64, named: u64) -> Result<(), CliError> {
    let now = Utc::now();
    let mut rows = global.output().rows();
    rows.write(&Ordered { letters: count, from: now, to: now })?;
    rows.finish()?;
    if count < named {
        let others = counted(named - count, "letter was", "letters were");
        global.output().note(&format!(
            "{others} another one by then, or somebody else decided about it: nothing was decided"
        ));
    }
    note_who_tries(global);
    Ok(())
}

async fn history(
    global: &Global,
    stores: &Stores,
    projection: &str,
    stream: Option<&StreamId>,
) -> Result<(), CliError> {
    let engine = engine(stores);
    let (mut rows, mut after) = (global.output().rows(), StreamVersion(0));
    loop {
        let page = engine.decisions(projection, after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = last.version;
        for recorded in &page {
            let events = recorded.decision.events().iter();
            for event in events.filter(|event| stream.is_none_or(|wanted| event.stream == *wanted))
            {
                rows.write(&Decided::of(recorded, event))?;
            }
        }
    }
    Ok(rows.finish()?)
}

/// A payload as the person at the terminal wrote it.
fn read_payload(file: &Path) -> Result<String, CliError> {
    let read = if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().lock().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(file)
    };
    read.map_err(|error| {
        let message = format!("{} cannot be read as text: {error}", file.display());
        CliError::new(Exit::Usage, message)
    })
}

/// Who decides, for the tenant of those who name none.
fn who(config: &Config) -> Provenance {
    Provenance {
        tenant: config.tenant.default.as_str().into(),
        actor: actor().into(),
        correlation_id: None,
        causation_id: None,
    }
}

impl From<DecisionError> for CliError {
    fn from(error: DecisionError) -> Self {
        match error {
            DecisionError::Gone => Self::new(Exit::NotFound, error.to_string()),
            DecisionError::Held => Self::new(Exit::Conflict, error.to_string()),
            DecisionError::Reason | DecisionError::Payload(_) => {
                Self::new(Exit::Refused, error.to_string())
            }
            DecisionError::Append(error) => error.into(),
            DecisionError::Codec(error) => error.into(),
            DecisionError::Projection(error) => error.into(),
        }
    }
}

/// Who orders: whoever is at the terminal.
fn actor() -> String {
    let name = ["USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok());
    let name = name.filter(|name| !name.is_empty() && !name.contains(char::is_control));
    format!("cli:{}", name.as_deref().unwrap_or("unknown"))
}
