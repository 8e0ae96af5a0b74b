//! `freehold events`: the log, event by event.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use clap::{Args, Subcommand};
use freehold_domain::interaction::Interaction;
use freehold_domain::property::PropertyEvent;
use freehold_domain::user::UserEvent;
use freehold_domain::{PayloadError, StoredEvent};
use freehold_ports::{
    AppendError, AppendRequest, CommandId, EventCodec, EventFilter, EventId, ExpectedVersion,
    Fingerprint, GlobalPosition, InvalidName, LogName, NewEvent, PayloadCodec, Provenance,
    RecordedEvent, StreamId, StreamVersion,
};
use serde_json::{Value, json};

use super::output::counted;
use super::{CliError, Exit, Global, Row, transfer};
use crate::config::Config;
use crate::stores::Stores;

const PAGE: NonZeroU32 = NonZeroU32::new(1_000).expect("1,000 is not zero");

/// How often a log that another process writes is looked at.
const POLL: Duration = Duration::from_millis(100);
/// The longest pause before a log that cannot be read is asked again; asking takes its time too.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Look at events, follow them, add one, or move all of them.
#[derive(Debug, Subcommand)]
pub(super) enum Events {
    /// Print events, oldest first; a table on a terminal has the columns that fit, --format json
    /// all
    Read {
        #[command(flatten)]
        which: Which,
        /// At most so many; whether there are more is said on stderr
        #[arg(long, default_value_t = 100)]
        limit: u64,
        /// Open personal values with the master key instead of showing them sealed
        #[arg(long)]
        open: bool,
    },
    /// Print events as they happen, until interrupted; waits for a database that is gone
    Tail {
        #[command(flatten)]
        which: Which,
        /// Open personal values with the master key instead of showing them sealed
        #[arg(long)]
        open: bool,
    },
    /// Append one event past all business rules, to repair; of a folder, stop the server first
    Append(Append),
    /// Write whole logs to a file that `events import` reads; without a file, events to stdout
    ///
    /// The file holds every event as it is stored, with positions and ids, and what commands were
    /// answered; personal values stay sealed, their keys are moved by `freehold keys`. Without a
    /// file the events are written as ndjson, for other programs.
    Export {
        /// The file; packed with gzip if its name ends in .gz
        #[arg(conflicts_with_all = ["stream", "category", "types", "after"])]
        file: Option<PathBuf>,
        #[command(flatten)]
        which: Which,
    },
    /// Put the logs of a file into this store, whose logs must be empty; stop the server first
    ///
    /// One that was interrupted goes on where it stopped. The store needs the master key of the
    /// store that the file comes from.
    Import {
        /// The file that `events export` wrote
        file: PathBuf,
    },
}

/// Which events.
#[derive(Debug, Args)]
pub(super) struct Which {
    /// The log: domain, unless said, or interactions; for a file also all, which is usual there
    #[arg(long)]
    log: Option<LogName>,
    /// Only this stream, such as property-0199...
    #[arg(long)]
    stream: Option<StreamId>,
    /// Only streams of this category; may be repeated
    #[arg(long)]
    category: Vec<String>,
    /// Only events of this type; may be repeated
    #[arg(long = "type", value_name = "TYPE")]
    types: Vec<String>,
    /// Only events after this position (after this version, with --stream)
    #[arg(long, value_name = "POSITION")]
    after: Option<u64>,
}

/// An event to append.
#[derive(Debug, Args)]
pub(super) struct Append {
    /// The log
    #[arg(long, default_value = "domain")]
    log: LogName,
    /// The stream
    #[arg(long)]
    stream: StreamId,
    /// The event's type
    #[arg(long = "type", value_name = "TYPE")]
    event_type: String,
    /// The version of the payload's shape
    #[arg(long, default_value_t = 1)]
    schema_version: u16,
    /// The payload, as JSON
    #[arg(long, value_name = "JSON")]
    payload: String,
    /// The version the stream must have
    #[arg(long, value_name = "VERSION")]
    expected: u64,
    /// Why; kept as the event's actor
    #[arg(long)]
    reason: String,
    /// Say what would be stored, and store nothing
    #[arg(long)]
    dry_run: bool,
}

struct EventRow {
    event: RecordedEvent,
    payload: Value,
}

impl Row for EventRow {
    const COLUMNS: &'static [&'static str] = &[
        "position",
        "stream",
        "version",
        "type",
        "schema_version",
        "occurred_at",
        "recorded_at",
        "actor",
        "tenant",
        "event_id",
        "command_id",
        "correlation_id",
        "causation_id",
        "tags",
        "subjects",
        "payload",
    ];

    const FITTED: Option<&'static [&'static str]> =
        Some(&["position", "type", "stream", "version", "payload", "occurred_at", "actor"]);

    fn cells(&self) -> Vec<Value> {
        let event = &self.event;
        vec![
            json!(event.position.0),
            json!(event.stream.as_str()),
            json!(event.version.0),
            json!(event.event_type),
            json!(event.schema_version),
            json!(event.occurred_at),
            json!(event.recorded_at),
            json!(event.provenance.actor),
            json!(event.provenance.tenant),
            json!(event.event_id),
            json!(event.command_id),
            json!(event.provenance.correlation_id),
            json!(event.provenance.causation_id),
            json!(event.tags.iter().map(|tag| tag.as_str()).collect::<Vec<_>>()),
            json!(event.subjects),
            self.payload.clone(),
        ]
    }
}

impl Events {
    pub(super) fn run(self, global: &Global) -> Result<(), CliError> {
        match self {
            Self::Append(append) => append.run(global),
            Self::Read { which, limit, open } => super::block_on(async {
                let stores = global.stores_read_only().await?;
                which.must_exist(&stores).await?;
                let mut rows = global.output().rows();
                let mut left = limit;
                let mut cursor = which.after.unwrap_or(0);
                while left > 0 {
                    let (events, next) = which.page(&stores, cursor, left).await?;
                    left -= events.len() as u64;
                    write(&stores.codec, &mut rows, events, open).await?;
                    match next {
                        Some(next) => cursor = next,
                        None => break,
                    }
                }
                rows.finish()?;
                if left == 0 && which.has_any(&stores, cursor).await? {
                    let events = counted(limit, "event", "events");
                    global.output().note(&format!(
                        "stopped after {events}, there are more: go on with --after {cursor}, \
                             or take more at once with --limit"
                    ));
                }
                Ok(())
            }),
            Self::Tail { which, open } => super::block_on(async {
                let stores = global.stores_read_only().await?;
                let mut rows = global.output().rows();
                let cursor = match which.after {
                    Some(after) => after,
                    None => which.end(&stores).await?,
                };
                tokio::select! {
                    failed = which.follow(global, &stores, &mut rows, cursor, open) => failed?,
                    _ = tokio::signal::ctrl_c() => {}
                }
                Ok(rows.finish()?)
            }),
            Self::Export { file: Some(file), which } => {
                transfer::export_logs(global, &file, which.log.as_ref())
            }
            Self::Import { file } => transfer::import_logs(global, &file),
            Self::Export { file: None, which } => super::block_on(async {
                let stores = global.stores_read_only().await?;
                which.must_exist(&stores).await?;
                let end = which.end(&stores).await?;
                let bar = global.output().progress(Some(end), "events");
                let mut rows = super::Output::new(Some(super::Format::Ndjson), true, false).rows();
                let mut cursor = which.after.unwrap_or(0);
                loop {
                    let (events, next) = which.page(&stores, cursor, u64::MAX).await?;
                    write(&stores.codec, &mut rows, events, false).await?;
                    match next {
                        Some(next) if next <= end => cursor = next,
                        _ => break,
                    }
                    bar.set_position(cursor);
                }
                bar.finish_and_clear();
                Ok(rows.finish()?)
            }),
        }
    }
}

impl Which {
    fn log(&self) -> LogName {
        self.log.clone().unwrap_or(LogName::DOMAIN)
    }

    /// Events after `cursor`, and the cursor of the next page unless this was the last.
    async fn page(
        &self,
        stores: &Stores,
        cursor: u64,
        limit: u64,
    ) -> Result<(Vec<RecordedEvent>, Option<u64>), CliError> {
        let limit =
            u32::try_from(limit).ok().and_then(NonZeroU32::new).map_or(PAGE, |l| l.min(PAGE));
        let text = |texts: &[String]| texts.iter().map(|text| Arc::from(text.as_str())).collect();
        let filter =
            EventFilter { categories: text(&self.category), event_types: text(&self.types) };
        if let Some(stream) = &self.stream {
            let after = StreamVersion(cursor);
            let events = stores.events.read_stream(&self.log(), stream, after, limit).await?;
            let next = events.last().map(|event| event.version.0);
            let events =
                events.into_iter().filter(|event| filter.admits(stream, &event.event_type));
            return Ok((events.collect(), next));
        }
        let after = GlobalPosition(cursor);
        let page = stores.events.read_all(&self.log(), &filter, after, limit).await?;
        let next = (page.through.0 > cursor).then_some(page.through.0);
        Ok((page.events, next))
    }

    /// Prints what comes after `cursor`, for as long as it can be read; a store that is away is
    /// waited for.
    async fn follow(
        &self,
        global: &Global,
        stores: &Stores,
        rows: &mut super::Rows<EventRow, impl std::io::Write>,
        mut cursor: u64,
        open: bool,
    ) -> Result<(), CliError> {
        let (mut away, mut last) = (None, None);
        loop {
            let read = async {
                self.check_history(stores, last).await?;
                let (events, next) = self.page(stores, cursor, u64::MAX).await?;
                let newest = events.last().map(|event| (event.position, event.event_id));
                Ok((rows_of(&stores.codec, events, open).await?, next, newest))
            };
            let (events, next, newest) = match read.await {
                Ok(page) => page,
                Err(error @ CliError { exit: Exit::Unavailable, .. }) => {
                    if away.is_none() {
                        global.output().note(&format!("waiting, after {cursor}: {error}"));
                    }
                    let pause = away.map_or(POLL, |pause: Duration| (2 * pause).min(LONGEST_PAUSE));
                    away = Some(pause);
                    tokio::time::sleep(pause).await;
                    continue;
                }
                Err(error) => return Err(error),
            };
            if away.take().is_some() {
                global
                    .output()
                    .note(&format!("the log can be read again, going on after {cursor}"));
            }
            cursor = next.unwrap_or(cursor);
            last = newest.or(last);
            events.iter().try_for_each(|event| rows.write(event))?;
            rows.flush()?;
            if events.is_empty() {
                tokio::time::sleep(POLL).await;
            }
        }
    }

    /// Refuses to go on after an event that the log does not hold any more.
    async fn check_history(
        &self,
        stores: &Stores,
        last: Option<(GlobalPosition, EventId)>,
    ) -> Result<(), CliError> {
        let Some((position, event)) = last else { return Ok(()) };
        let before = GlobalPosition(position.0 - 1);
        let all = EventFilter::default();
        let page = stores.events.read_all(&self.log(), &all, before, NonZeroU32::MIN).await?;
        match page.events.first() {
            Some(there) if there.event_id == event => Ok(()),
            // A replica that is further behind than the one before.
            None if stores.events.head(&self.log()).await? >= position => Ok(()),
            _ => Err(CliError::new(
                Exit::Conflict,
                format!(
                    "event {} at position {position}, which was printed, is not in the log any \
                     more: it was restored, or another server took over; read again from before it",
                    event.0
                ),
            )),
        }
    }

    /// Refuses a stream that holds nothing: its name is more likely wrong than its place.
    async fn must_exist(&self, stores: &Stores) -> Result<(), CliError> {
        let Some(stream) = &self.stream else { return Ok(()) };
        let (start, one) = (StreamVersion(0), NonZeroU32::MIN);
        if stores.events.read_stream(&self.log(), stream, start, one).await?.is_empty() {
            let message = format!("there is no stream {stream} in the log {}", self.log());
            return Err(CliError::new(Exit::NotFound, message));
        }
        Ok(())
    }

    /// Whether any event comes after `cursor`.
    async fn has_any(&self, stores: &Stores, mut cursor: u64) -> Result<bool, CliError> {
        loop {
            let (events, next) = self.page(stores, cursor, u64::MAX).await?;
            match next {
                _ if !events.is_empty() => return Ok(true),
                Some(next) => cursor = next,
                None => return Ok(false),
            }
        }
    }

    /// The last position, or version of the stream, there is now.
    async fn end(&self, stores: &Stores) -> Result<u64, CliError> {
        match &self.stream {
            Some(stream) => Ok(version_of(stores, &self.log(), stream).await?.0),
            None => Ok(stores.events.head(&self.log()).await?.0),
        }
    }
}

async fn version_of(
    stores: &Stores,
    log: &LogName,
    stream: &StreamId,
) -> Result<StreamVersion, CliError> {
    let mut version = StreamVersion(0);
    loop {
        let page = stores.events.read_stream(log, stream, version, PAGE).await?;
        match page.last() {
            Some(last) => version = last.version,
            None => return Ok(version),
        }
    }
}

async fn write<W: std::io::Write>(
    codec: &EventCodec,
    rows: &mut super::Rows<EventRow, W>,
    events: Vec<RecordedEvent>,
    open: bool,
) -> Result<(), CliError> {
    let events = rows_of(codec, events, open).await?;
    Ok(events.iter().try_for_each(|event| rows.write(event))?)
}

async fn rows_of(
    codec: &EventCodec,
    events: Vec<RecordedEvent>,
    open: bool,
) -> Result<Vec<EventRow>, CliError> {
    let keys = if open { codec.keys_for(&events).await? } else { Default::default() };
    let rows = events.into_iter().map(|event| {
        let payload = if open {
            codec.open_payload(&event, &keys)?
        } else {
            // Bytes that are no JSON are shown as they are: this is where one looks for them.
            serde_json::from_slice(&event.payload)
                .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&event.payload).into()))
        };
        Ok(EventRow { event, payload })
    });
    rows.collect()
}

impl Append {
    fn run(self, global: &Global) -> Result<(), CliError> {
        self.check()?;
        let config = global.load([])?.config;
        self.check_version(&config)?;
        let question = format!(
            "append {} to {} at version {}, past all business rules; events are never edited or \
             deleted",
            self.event_type,
            self.stream,
            self.expected + 1
        );
        if self.dry_run {
            global.output().note(&format!("would {question}"));
            return Ok(());
        }
        global.output().confirm(&question)?;
        super::block_on(async {
            let stores = Stores::open(&config).await?;
            let appended = stores.events.append(self.request(config)).await;
            stores.close().await;
            let appended = appended?;
            global.output().note(&format!(
                "stored at position {}, {} is now at version {}",
                appended.position, self.stream, appended.version
            ));
            Ok(())
        })
    }

    /// Refuses at once what the store would refuse: nobody is asked about what cannot be done.
    fn check_version(&self, config: &Config) -> Result<(), CliError> {
        let actual = super::block_on(async {
            let stores = Stores::open_read_only(config).await?;
            version_of(&stores, &self.log, &self.stream).await
        })?;
        if actual.0 == self.expected {
            return Ok(());
        }
        let message = format!(
            "{} is at version {actual}, not {}; look at what came since and decide again",
            self.stream, self.expected
        );
        Err(CliError::new(Exit::Conflict, message))
    }

    /// Refuses what no program could read back: one such event would stop every projection.
    fn check(&self) -> Result<(), CliError> {
        let payload: Value = serde_json::from_str(&self.payload).map_err(|error| {
            CliError::new(Exit::Usage, format!("--payload is not JSON: {error}"))
        })?;
        if self.payload.contains("\"$subject\"") {
            let message = "--payload holds a personal value, which only a command can seal";
            return Err(CliError::new(Exit::Refused, message));
        }
        let (event_type, version) = (self.event_type.as_str(), self.schema_version);
        let read = match (self.log.as_str(), self.stream.category()) {
            ("domain", "property") => check_payload::<PropertyEvent>(event_type, version, payload),
            ("domain", "user") => check_payload::<UserEvent>(event_type, version, payload),
            ("interactions", "interactions") => {
                check_payload::<Interaction>(event_type, version, payload)
            }
            (log, category) => {
                let message = format!("log {log} has no streams of category {category}");
                return Err(CliError::new(Exit::Refused, message));
            }
        };
        read.map_err(|reason| {
            let event = format!("{event_type} version {version} in {}", self.stream);
            CliError::new(Exit::Refused, format!("{event} could not be read back: {reason}"))
        })
    }

    fn request(&self, config: Config) -> AppendRequest {
        AppendRequest {
            log: self.log.clone(),
            stream: self.stream.clone(),
            expected: ExpectedVersion::Exactly(StreamVersion(self.expected)),
            command_id: CommandId::new(),
            fingerprint: Fingerprint([0; 16]),
            boundaries: Vec::new(),
            provenance: Provenance {
                tenant: config.tenant.default.into(),
                actor: format!("repair: {}", self.reason).into(),
                correlation_id: None,
                causation_id: None,
            },
            events: vec![NewEvent {
                event_id: EventId::new(),
                event_type: Arc::from(self.event_type.as_str()),
                schema_version: self.schema_version,
                occurred_at: Utc::now(),
                subjects: Vec::new(),
                tags: Vec::new(),
                codec: PayloadCodec::Json,
                payload: self.payload.clone().into(),
            }],
        }
    }
}

fn check_payload<E: StoredEvent>(
    event_type: &str,
    schema_version: u16,
    payload: Value,
) -> Result<(), PayloadError<serde_json::Error>> {
    E::deserialize_payload(event_type, schema_version, payload).map(|_| ())
}

impl From<InvalidName> for CliError {
    fn from(error: InvalidName) -> Self {
        Self::new(Exit::Usage, error.to_string())
    }
}

impl From<AppendError> for CliError {
    fn from(error: AppendError) -> Self {
        let exit = match &error {
            AppendError::VersionConflict { .. } | AppendError::BoundaryConflict { .. } => {
                Exit::Conflict
            }
            AppendError::CommandIdReused { .. } | AppendError::Invalid(_) => Exit::Refused,
            AppendError::Overloaded { .. }
            | AppendError::OutcomeUnknown { .. }
            | AppendError::Fenced { .. }
            | AppendError::Unavailable { .. } => Exit::Unavailable,
        };
        Self::new(exit, error.to_string())
    }
}
