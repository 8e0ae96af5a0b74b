//! The events of an application on `cqrs-es` and `postgres-es`, into a log of their own.
//!
//! `adapters/cqrs-es` says how an event is stored. Each stream is compared with its aggregate and
//! goes on where it ends, so that importing again brings what is new and nothing twice. What does
//! not fit is told and stops its own aggregate only.

use std::borrow::Cow;
use std::collections::HashSet;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use freehold_cqrs_es::{Envelope, SCHEMA_VERSION, stream_of};
use freehold_ports::{
    AppendError, AppendRequest, CommandId, EventId, EventStore, ExpectedVersion, Fingerprint,
    LogName, NewEvent, PayloadCodec, Provenance, ReadError, StreamId, StreamVersion,
};
use freehold_postgres::PostgresEsEvent;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::value::RawValue;

use super::{MAX_ATTEMPTS, Progress};

/// The rows of a page as long as they are small, and the bytes of one when they are not.
const PAGE_ROWS: usize = 4_000;
const PAGE_BYTES: usize = 8 << 20;

/// How many aggregates are being stored at once: enough to fill the log's batches.
const IN_FLIGHT: usize = 256;

/// What came of an import.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PostgresEsReport {
    /// Events that were stored.
    pub imported: u64,
    /// Events that were there already.
    pub known: u64,
    /// Aggregates some of whose events were not taken.
    pub refused: u64,
    /// Events of the log that were not found in what was read: there they are gone, or differ, or
    /// the aggregates went on here.
    pub ahead: u64,
}

/// An event that was not taken, nor any later one of its aggregate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedEvent {
    /// The aggregate's type.
    pub aggregate_type: String,
    /// Its id.
    pub aggregate_id: String,
    /// The event's place.
    pub sequence: i64,
    /// Why.
    pub why: String,
}

/// Why an import stopped; starting it again goes on where it was.
#[derive(Debug, thiserror::Error)]
pub enum PostgresEsImportError<E> {
    /// The application's events cannot be read.
    #[error(transparent)]
    Source(E),
    /// The log cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The log does not take events.
    #[error("{0}; start the import again to go on")]
    Append(#[from] AppendError),
}

/// Where events go.
pub struct ImportedLog {
    /// The store.
    pub store: Arc<dyn EventStore>,
    /// The log, of these events alone.
    pub log: LogName,
    /// The tenant that its events get.
    pub tenant: Arc<str>,
}

/// Stores what is new of the events that `read` gives, in order of type, id and sequence, those
/// after the one it is handed and at most so many.
pub async fn import_postgres_es<E>(
    to: &ImportedLog,
    mut read: impl AsyncFnMut(Option<&PostgresEsEvent>, u32) -> Result<Vec<PostgresEsEvent>, E>,
    progress: &dyn Progress,
    refused: &mut dyn FnMut(RefusedEvent),
) -> Result<PostgresEsReport, PostgresEsImportError<E>> {
    let mut report = PostgresEsReport::default();
    let mut stopped: HashSet<(String, String)> = HashSet::new();
    let (mut last, mut limit) = (None, PAGE_ROWS / 16);
    let now = Utc::now();
    loop {
        let page =
            read(last.as_ref(), limit as u32).await.map_err(PostgresEsImportError::Source)?;
        let Some(end) = page.last() else {
            let head = to.store.head(&to.log).await?.0;
            report.ahead = head.saturating_sub(report.imported + report.known);
            return Ok(report);
        };
        let bytes: usize =
            page.iter().map(|row| 256 + row.payload.len() + row.metadata.len()).sum();
        limit = (PAGE_BYTES * page.len() / bytes).clamp(16, PAGE_ROWS);
        let aggregates = page.chunk_by(|one, next| aggregate_of(one) == aggregate_of(next));
        let aggregates = aggregates.filter(|rows| {
            let (of_type, id) = aggregate_of(&rows[0]);
            stopped.is_empty() || !stopped.contains(&(of_type.to_owned(), id.to_owned()))
        });
        let storing = aggregates.map(|rows| async move {
            Ok::<_, PostgresEsImportError<E>>((rows, import_aggregate(to, rows, now).await?))
        });
        let mut stored = stream::iter(storing).buffer_unordered(IN_FLIGHT);
        let mut refusals = Vec::new();
        while let Some((rows, outcome)) = stored.try_next().await? {
            report.imported += outcome.imported;
            report.known += outcome.known;
            progress.advance(rows.len() as u64);
            refusals.extend(outcome.refused);
        }
        drop(stored);
        for refusal in refusals {
            report.refused += 1;
            stopped.insert((refusal.aggregate_type.clone(), refusal.aggregate_id.clone()));
            refused(refusal);
        }
        last = Some(end.clone());
    }
}

fn aggregate_of(row: &PostgresEsEvent) -> (&str, &str) {
    (&row.aggregate_type, &row.aggregate_id)
}

/// What came of rows of one aggregate.
#[derive(Default)]
struct Outcome {
    imported: u64,
    known: u64,
    refused: Option<RefusedEvent>,
}

/// Why an aggregate was left.
enum Left {
    Refused { sequence: i64, why: String },
    Read(ReadError),
    Append(AppendError),
}

impl From<ReadError> for Left {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

async fn import_aggregate<E>(
    to: &ImportedLog,
    rows: &[PostgresEsEvent],
    now: DateTime<Utc>,
) -> Result<Outcome, PostgresEsImportError<E>> {
    let mut outcome = Outcome::default();
    match store_aggregate(to, rows, now, &mut outcome).await {
        Ok(()) => Ok(outcome),
        Err(Left::Refused { sequence, why }) => {
            let (aggregate_type, aggregate_id) = aggregate_of(&rows[0]);
            let (aggregate_type, aggregate_id) = (aggregate_type.into(), aggregate_id.into());
            let refused = Some(RefusedEvent { aggregate_type, aggregate_id, sequence, why });
            Ok(Outcome { refused, ..outcome })
        }
        Err(Left::Read(error)) => Err(error.into()),
        Err(Left::Append(error)) => Err(error.into()),
    }
}

async fn store_aggregate(
    to: &ImportedLog,
    rows: &[PostgresEsEvent],
    now: DateTime<Utc>,
    outcome: &mut Outcome,
) -> Result<(), Left> {
    let first = rows[0].sequence;
    let refuse = |sequence: i64, why: String| Err(Left::Refused { sequence, why });
    let (aggregate_type, aggregate_id) = aggregate_of(&rows[0]);
    let stream = match stream_of(aggregate_type, aggregate_id) {
        Ok(stream) => stream,
        Err(error) => return refuse(first, error.to_string()),
    };
    if first < 1 {
        return refuse(first, "sequences count from 1".into());
    }
    let mut payloads = Vec::new();
    for (row, expected) in rows.iter().zip(first..) {
        let payload = match row.sequence == expected {
            true => payload_of(row),
            false => Err(format!("{expected} is missing before it")),
        };
        match payload {
            Ok(payload) => payloads.push(payload),
            Err(why) => {
                // What stands before it is taken.
                store_rows(to, &stream, &rows[..payloads.len()], payloads, now, outcome).await?;
                return refuse(row.sequence, why);
            }
        }
    }
    store_rows(to, &stream, rows, payloads, now, outcome).await
}

/// What of a row becomes a payload; an error in words.
fn payload_of(row: &PostgresEsEvent) -> Result<Bytes, String> {
    let json =
        |text: &String| RawValue::from_string(text.clone()).map_err(|error| error.to_string());
    let (payload, metadata) = (json(&row.payload)?, json(&row.metadata)?);
    let event_version = Cow::Borrowed(&*row.event_version);
    let bytes = Envelope { event_version, metadata: &metadata, payload: &payload }.to_bytes();
    match bytes.len() {
        0..=AppendRequest::MAX_PAYLOAD_BYTES => Ok(bytes),
        length => {
            let most = AppendRequest::MAX_PAYLOAD_BYTES;
            Err(format!("has {length} bytes with its metadata; {most} are the most"))
        }
    }
}

/// Compares rows that follow each other with the stream, and appends those behind its end.
async fn store_rows(
    to: &ImportedLog,
    stream: &StreamId,
    rows: &[PostgresEsEvent],
    payloads: Vec<Bytes>,
    now: DateTime<Utc>,
    outcome: &mut Outcome,
) -> Result<(), Left> {
    let Some(first) = rows.first() else { return Ok(()) };
    let before = StreamVersion(first.sequence as u64 - 1);
    let limit = u32::try_from(rows.len()).ok().and_then(NonZeroU32::new);
    let limit = limit.unwrap_or(NonZeroU32::MIN);
    let known = to.store.read_stream(&to.log, stream, before, limit).await?;
    for ((event, row), payload) in known.iter().zip(rows).zip(&payloads) {
        if *event.event_type != *row.event_type
            || event.schema_version != SCHEMA_VERSION
            || event.payload != *payload
        {
            let why = format!("is another event in the log, at position {}", event.position);
            return Err(Left::Refused { sequence: row.sequence, why });
        }
        outcome.known += 1;
    }
    let mut new = rows.iter().zip(payloads).skip(known.len()).peekable();
    while let Some((row, _)) = new.peek() {
        let first = row.sequence;
        let events = new.by_ref().take(AppendRequest::MAX_EVENTS).map(|(row, payload)| NewEvent {
            event_id: EventId(derived(to, stream, row.sequence).0),
            event_type: row.event_type.as_str().into(),
            schema_version: SCHEMA_VERSION,
            occurred_at: now,
            subjects: Vec::new(),
            tags: Vec::new(),
            codec: PayloadCodec::Json,
            payload,
        });
        let request = AppendRequest {
            log: to.log.clone(),
            stream: stream.clone(),
            expected: ExpectedVersion::Exactly(StreamVersion(first as u64 - 1)),
            command_id: derived(to, stream, first),
            // The version that is expected tells a repetition from anything else.
            fingerprint: Fingerprint([0; 16]),
            boundaries: Vec::new(),
            provenance: Provenance {
                tenant: to.tenant.clone(),
                actor: "import postgres-es".into(),
                correlation_id: None,
                causation_id: None,
            },
            events: events.collect(),
        };
        outcome.imported += append(to, request, first).await?;
    }
    Ok(())
}

/// The id of an event, and of the command that stores it first; the same every time.
fn derived(to: &ImportedLog, stream: &StreamId, sequence: i64) -> CommandId {
    CommandId::from_key(&format!("postgres-es:{}", to.log), &format!("{stream}@{sequence}"))
}

async fn append(to: &ImportedLog, request: AppendRequest, sequence: i64) -> Result<u64, Left> {
    let refuse = |why: String| Err(Left::Refused { sequence, why });
    let mut attempt = 1;
    loop {
        let pause = match to.store.append(request.clone()).await {
            Ok(appended) => return Ok(u64::from(appended.events)),
            Err(AppendError::VersionConflict { actual, .. }) if actual.0 < sequence as u64 => {
                return refuse(format!("{} is missing before it", actual.0 + 1));
            }
            Err(AppendError::VersionConflict { actual, .. }) => {
                return refuse(format!("the log has {actual} events of this aggregate meanwhile"));
            }
            Err(AppendError::Invalid(invalid)) => return refuse(invalid.to_string()),
            Err(AppendError::Overloaded { retry_after }) if attempt < MAX_ATTEMPTS => retry_after,
            Err(AppendError::OutcomeUnknown { .. }) if attempt < MAX_ATTEMPTS => {
                Duration::from_millis(100)
            }
            Err(error) => return Err(Left::Append(error)),
        };
        attempt += 1;
        tokio::time::sleep(pause).await;
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use freehold_memory::MemoryEventStore;
    use freehold_ports::{EventFilter, GlobalPosition, RecordedEvent, SystemClock};

    use super::*;
    use crate::import::Silent;

    fn row(aggregate_type: &str, aggregate_id: &str, sequence: i64) -> PostgresEsEvent {
        PostgresEsEvent {
            aggregate_type: aggregate_type.into(),
            aggregate_id: aggregate_id.into(),
            sequence,
            event_type: "Deposited".into(),
            event_version: "1.0".into(),
            payload: format!("{{\"Deposited\":  {{\"amount\": {sequence}.10}}}}"),
            metadata: "{\"by\": \"ada\"}".into(),
        }
    }

    fn aggregates(count: i64, events: i64) -> Vec<PostgresEsEvent> {
        let ids = (0..count).map(|n| format!("A-{n:05}"));
        ids.flat_map(|id| (1..=events).map(move |n| row("account", &id, n))).collect()
    }

    struct Target(ImportedLog);

    impl Target {
        fn new() -> Self {
            let log: LogName = "imported".parse().unwrap();
            let store = MemoryEventStore::new([log.clone()], Arc::new(SystemClock));
            Self(ImportedLog { store: Arc::new(store), log, tenant: "default".into() })
        }

        async fn import(&self, rows: &[PostgresEsEvent]) -> (PostgresEsReport, Vec<RefusedEvent>) {
            let mut refused = Vec::new();
            let read = async |after: Option<&PostgresEsEvent>, limit: u32| {
                let start =
                    after.map_or(0, |last| rows.iter().position(|r| r == last).unwrap() + 1);
                let end = rows.len().min(start + limit as usize);
                Ok::<_, Infallible>(rows[start..end].to_vec())
            };
            let report =
                import_postgres_es(&self.0, read, &Silent, &mut |one| refused.push(one)).await;
            (report.unwrap(), refused)
        }

        async fn events(&self) -> Vec<RecordedEvent> {
            let limit = NonZeroU32::new(100_000).unwrap();
            let (all, start) = (EventFilter::all(), GlobalPosition(0));
            self.0.store.read_all(&self.0.log, &all, start, limit).await.unwrap().events
        }
    }

    #[tokio::test]
    async fn events_become_streams_and_again_brings_what_is_new() {
        let target = Target::new();
        let mut rows = aggregates(700, 3);

        let (first, _) = target.import(&rows).await;
        let (again, _) = target.import(&rows).await;
        rows.insert(3, row("account", "A-00000", 4));
        rows.push(row("account", "B", 1));
        let (more, refused) = target.import(&rows).await;

        assert_eq!(first, PostgresEsReport { imported: 2_100, known: 0, refused: 0, ahead: 0 });
        assert_eq!(again, PostgresEsReport { imported: 0, known: 2_100, refused: 0, ahead: 0 });
        assert_eq!(more, PostgresEsReport { imported: 2, known: 2_100, refused: 0, ahead: 0 });
        assert_eq!(refused, []);
        let events = target.events().await;
        let stored = events.iter().find(|e| e.stream.as_str() == "account-A-00007").unwrap();
        assert_eq!(
            stored.payload,
            "{\"event_version\":\"1.0\",\"metadata\":{\"by\": \"ada\"},\
             \"payload\":{\"Deposited\":  {\"amount\": 1.10}}}",
            "its JSON as it was"
        );
        let other = Target::new();
        other.import(&rows).await;
        let ids = |events: Vec<RecordedEvent>| {
            events.into_iter().map(|e| e.event_id).collect::<HashSet<_>>()
        };
        assert_eq!(ids(other.events().await), ids(events), "derived from what they are");
    }

    #[tokio::test]
    async fn what_does_not_fit_is_told_and_stops_its_own_aggregate_only() {
        let target = Target::new();
        target.import(&aggregates(3, 2)).await;
        let mut rows = aggregates(5, 4);
        // A changed event, a gap behind what is known, a gap in what is new, one from zero.
        rows[1].payload = "{}".into();
        rows.retain(|row| (&*row.aggregate_id, row.sequence) != ("A-00001", 3));
        rows.retain(|row| (&*row.aggregate_id, row.sequence) != ("A-00003", 2));
        rows.iter_mut().filter(|row| row.aggregate_id == "A-00004").for_each(|r| r.sequence -= 1);

        let (report, mut refused) = target.import(&rows).await;

        refused.sort_by(|one, two| one.aggregate_id.cmp(&two.aggregate_id));
        let told: Vec<_> = refused.iter().map(|r| (&*r.aggregate_id, r.sequence)).collect();
        assert_eq!(told, [("A-00000", 2), ("A-00001", 4), ("A-00003", 3), ("A-00004", 0)]);
        assert!(refused[0].why.contains("another event in the log"), "{:?}", refused[0]);
        assert!(refused[1].why.contains("3 is missing"), "{:?}", refused[1]);
        assert_eq!(report, PostgresEsReport { imported: 3, known: 5, refused: 4, ahead: 1 });
        let versions = target.events().await.into_iter().filter(|e| e.stream.id() == "A-00002");
        assert_eq!(versions.map(|event| event.version.0).collect::<Vec<_>>(), [1, 2, 3, 4]);
    }

    #[tokio::test]
    async fn an_event_that_is_too_large_is_told_and_what_stands_before_it_is_taken() {
        let target = Target::new();
        let mut rows = aggregates(2, 3);
        rows[1].payload = format!("\"{}\"", "x".repeat(AppendRequest::MAX_PAYLOAD_BYTES));

        let (report, refused) = target.import(&rows).await;

        assert_eq!((&*refused[0].aggregate_id, refused[0].sequence), ("A-00000", 2));
        assert!(refused[0].why.contains("1048576"), "{:?}", refused[0]);
        assert_eq!(report, PostgresEsReport { imported: 4, known: 0, refused: 1, ahead: 0 });
    }

    #[tokio::test]
    async fn an_aggregate_that_went_on_here_is_not_mixed_with_one_that_went_on_there() {
        let target = Target::new();
        target.import(&aggregates(1, 5)).await;
        let mut rows = aggregates(1, 6);
        rows[4].payload = "{\"Deposited\": {\"amount\": 9}}".into();
        let (report, refused) = target.import(&rows).await;
        assert_eq!(report, PostgresEsReport { imported: 0, known: 4, refused: 1, ahead: 1 });
        assert_eq!(refused[0].sequence, 5);
    }

    #[tokio::test]
    async fn rows_that_are_gone_are_counted() {
        let target = Target::new();
        let mut rows = aggregates(3, 4);
        target.import(&rows).await;
        // An aggregate altogether, and the end of another.
        rows.retain(|row| row.aggregate_id != "A-00000");
        rows.pop();
        rows.insert(4, row("account", "A-00001", 5));

        let (report, refused) = target.import(&rows).await;

        assert_eq!(report, PostgresEsReport { imported: 1, known: 7, refused: 0, ahead: 5 });
        assert_eq!(refused, []);
        let none = PostgresEsReport { ahead: 13, ..PostgresEsReport::default() };
        assert_eq!(target.import(&[]).await.0, none);
    }

    #[tokio::test]
    async fn a_long_aggregate_is_imported_over_pages() {
        let target = Target::new();
        let rows = aggregates(2, 9_000);
        let (report, refused) = target.import(&rows).await;
        assert_eq!((report.imported, refused), (18_000, Vec::new()));
        assert_eq!(target.import(&rows).await.0.known, 18_000);
    }
}
