//! Appends a second, by how many callers ask at the same time and what they ask.
//!
//! Each caller appends events of 300 bytes with expected version, command id and one tag, twenty
//! requests to a stream unless the row says otherwise, and asks again as soon as it is answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use chrono::Utc;
use freehold_ports::{
    AppendError, AppendRequest, CommandId, EventId, EventStore, ExpectedVersion, Fingerprint,
    LogName, NewEvent, PayloadCodec, Provenance, StreamId, StreamVersion, Tag,
};
use hdrhistogram::Histogram;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::output::{Fsync, Latency, Output, Row};
use crate::{Place, Setting, Store, limit, postgres};

const REQUESTS_OF_STREAM: u64 = 20;
const PAYLOAD_BYTES: usize = 300;
/// Of the requests of a row with refusals, every so many conflicts and every so many is repeated.
const REFUSED_EVERY: u64 = 20;

/// What the callers of a row ask.
#[derive(Clone, Copy, PartialEq)]
enum Load {
    /// Streams of their own, so many requests to each.
    OwnStreams { requests: u64 },
    /// As above, with command ids that are not in order of time.
    RandomCommandIds,
    /// One stream of all callers, whatever its version.
    HotStream,
    /// One stream of all callers, at the version that each believes; refused, it asks again.
    HotStreamAtVersion,
    /// Streams of their own; some requests expect another version, some were answered before.
    Refusals,
}

const PLAIN: Load = Load::OwnStreams { requests: REQUESTS_OF_STREAM };

impl Load {
    fn name(self) -> Option<&'static str> {
        match self {
            PLAIN => None,
            Self::OwnStreams { .. } => Some("stream each"),
            Self::RandomCommandIds => Some("random command ids"),
            Self::HotStream => Some("hot stream"),
            Self::HotStreamAtVersion => Some("hot stream at version"),
            Self::Refusals => Some("5 % refused, 5 % repeated"),
        }
    }
}

/// One measurement.
struct Case {
    load: Load,
    events: u64,
    /// How many processes there would be, each with so many callers.
    stores: usize,
    callers: usize,
}

impl Case {
    fn parameters(&self) -> Map<String, Value> {
        let mut parameters = Map::new();
        let mut say = |name: &str, value| _ = parameters.insert(name.to_owned(), value);
        say("callers", Value::from(self.callers));
        if self.stores > 1 {
            say("stores", Value::from(self.stores));
        }
        if self.events > 1 {
            say("events", Value::from(self.events));
        }
        if let Some(load) = self.load.name() {
            say("load", Value::from(load));
        }
        say("payload_bytes", Value::from(PAYLOAD_BYTES));
        parameters
    }
}

fn cases(store: Store) -> Vec<Case> {
    let case = |load, callers| Case { load, events: 1, stores: 1, callers };
    let mut cases: Vec<_> = [1, 16, 64, 256, 1_024].map(|callers| case(PLAIN, callers)).into();
    cases.extend([10, 100, 1_000].map(|events| Case { events, ..case(PLAIN, 16) }));
    cases.push(case(Load::HotStream, 64));
    cases.push(case(Load::HotStreamAtVersion, 64));
    cases.extend([64, 1_024].map(|callers| case(Load::Refusals, callers)));
    if store == Store::Postgres {
        cases.extend([64, 1_024].map(|callers| case(Load::OwnStreams { requests: 1 }, callers)));
        cases.extend([64, 1_024].map(|callers| case(Load::RandomCommandIds, callers)));
        cases.push(Case { stores: 4, ..case(PLAIN, 64) });
        cases.push(Case { stores: 2, ..case(PLAIN, 512) });
        cases.push(Case { stores: 2, ..case(Load::HotStream, 64) });
    }
    cases
}

pub(crate) async fn run(setting: &Setting, output: &mut Output) -> anyhow::Result<()> {
    let mut filled = None;
    if setting.store == Store::Postgres && setting.stored > 0 {
        let place = setting.fresh_place().await?;
        place.fill(setting.stored, REQUESTS_OF_STREAM).await?;
        filled = Some(place);
    }
    for case in cases(setting.store) {
        let mut parameters = case.parameters();
        if !setting.wants(&parameters) {
            continue;
        }
        let folder = setting.fresh_folder()?;
        let before = limit::fsync_us(folder.path())?;
        let fresh;
        let place = match &filled {
            Some(place) => place,
            None => {
                fresh = setting.fresh_place().await?;
                &fresh
            }
        };
        let limit = if let (Load::OwnStreams { .. }, 1) = (case.load, case.stores) {
            let callers = (0..case.callers).map(|_| Caller::new(case.load, case.events));
            rows_written(setting, place, callers.collect()).await?
        } else {
            None
        };
        let mut stores = Vec::new();
        for _ in 0..case.stores {
            stores.push(place.open().await?);
        }
        let stored = stores[0].head(&LogName::DOMAIN).await?;
        let measured = measure(&stores, &case, setting.duration).await?;
        drop(stores);
        let after = limit::fsync_us(folder.path())?;
        let stored = if filled.is_some() { stored.0 } else { 0 };
        for (name, value) in
            [("stored", stored), ("refused", measured.refused), ("repeated", measured.repeated)]
        {
            if value > 0 {
                parameters.insert(name.to_owned(), Value::from(value));
            }
        }
        let row = Row {
            bench: "append",
            store: setting.store_name(),
            parameters,
            value: measured.per_second,
            unit: "appends/s",
            latency: Some(measured.latency),
            fsync_us: Fsync { before, after },
            ..Row::default()
        };
        output.print(row.beside(limit))?;
    }
    Ok(())
}

/// Requests a second whose rows are written by hand, one of each caller in a transaction.
async fn rows_written(
    setting: &Setting,
    place: &Place,
    callers: Vec<Caller>,
) -> anyhow::Result<Option<f64>> {
    Ok(match place {
        Place::Folder(_) => {
            let raw = setting.fresh_folder()?;
            Some(limit::rows_written(raw.path(), callers, setting.duration)?)
        }
        Place::Memory => None,
        Place::Schema(schema) => {
            drop(place.open().await?); // makes the tables
            Some(postgres::rows_written(schema, callers, setting.duration).await?)
        }
    })
}

struct Measured {
    /// Requests that stored something.
    per_second: f64,
    refused: u64,
    repeated: u64,
    /// Of every answer.
    latency: Latency,
}

#[derive(Default)]
struct Answers {
    appended: AtomicU64,
    refused: AtomicU64,
    repeated: AtomicU64,
}

async fn measure(
    stores: &[Arc<dyn EventStore>],
    case: &Case,
    duration: Duration,
) -> anyhow::Result<Measured> {
    let answers = Arc::new(Answers::default());
    let (load, events) = (case.load, case.events);
    let started = Instant::now();
    let tasks: Vec<_> = (0..case.callers * case.stores)
        .map(|number| {
            let (store, answers) = (stores[number % stores.len()].clone(), answers.clone());
            tokio::spawn(async move {
                let mut caller = Caller::new(load, events);
                let mut times = Histogram::<u64>::new_with_bounds(1, 60_000_000, 2)?;
                while started.elapsed() < duration {
                    let asked = Instant::now();
                    let counter = match store.append(caller.next()).await {
                        Ok(answer) if answer.repeated => &answers.repeated,
                        Ok(answer) => {
                            caller.believes = answer.version.0;
                            &answers.appended
                        }
                        Err(AppendError::VersionConflict { actual, .. }) => {
                            caller.believes = actual.0;
                            &answers.refused
                        }
                        Err(other) => return Err(other.into()),
                    };
                    counter.fetch_add(1, Ordering::Relaxed);
                    times.record((asked.elapsed().as_micros() as u64).max(1))?;
                }
                anyhow::Ok(times)
            })
        })
        .collect();
    let mut times = Histogram::<u64>::new_with_bounds(1, 60_000_000, 2)?;
    for task in tasks {
        times.add(task.await??)?;
    }
    let took = started.elapsed().as_secs_f64();
    let at = |quantile| times.value_at_quantile(quantile) as f64 / 1_000.0;
    Ok(Measured {
        per_second: answers.appended.load(Ordering::Relaxed) as f64 / took,
        refused: answers.refused.load(Ordering::Relaxed),
        repeated: answers.repeated.load(Ordering::Relaxed),
        latency: Latency { p50_ms: at(0.5), p95_ms: at(0.95), p99_ms: at(0.99) },
    })
}

/// Someone who appends to one stream after another.
pub(crate) struct Caller {
    load: Load,
    stream: StreamId,
    tag: Tag,
    /// What the last answer said of the version of the stream.
    believes: u64,
    asked: u64,
    of_stream: u64,
    last: Option<AppendRequest>,
    provenance: Provenance,
    event_type: Arc<str>,
    payload: Bytes,
    events: u64,
}

impl Caller {
    fn new(load: Load, events: u64) -> Self {
        let (stream, tag) = new_stream();
        Self {
            load,
            stream,
            tag,
            believes: 0,
            asked: 0,
            of_stream: 0,
            last: None,
            provenance: Provenance {
                tenant: "default".into(),
                actor: "bench".into(),
                correlation_id: Some(Uuid::now_v7()),
                causation_id: None,
            },
            event_type: "ListingPriceChanged".into(),
            payload: Bytes::from(vec![b'x'; PAYLOAD_BYTES]),
            events,
        }
    }

    /// Single events, twenty to a stream.
    pub(crate) fn plain() -> Self {
        Self::new(PLAIN, 1)
    }

    pub(crate) fn next(&mut self) -> AppendRequest {
        self.asked += 1;
        let turn = (self.load == Load::Refusals).then_some(self.asked % REFUSED_EVERY);
        if turn == Some(REFUSED_EVERY / 2)
            && let Some(last) = &self.last
        {
            return last.clone();
        }
        if turn == Some(0) {
            return self.request(ExpectedVersion::Exactly(StreamVersion(1_000_000)));
        }
        let expected = match self.load {
            Load::HotStream => ExpectedVersion::Any,
            Load::HotStreamAtVersion => ExpectedVersion::Exactly(StreamVersion(self.believes)),
            Load::OwnStreams { .. } | Load::RandomCommandIds | Load::Refusals => {
                let requests = match self.load {
                    Load::OwnStreams { requests } => requests,
                    _ => REQUESTS_OF_STREAM,
                };
                if self.of_stream == requests {
                    (self.stream, self.tag) = new_stream();
                    self.of_stream = 0;
                }
                self.of_stream += 1;
                let version = (self.of_stream - 1) * self.events;
                ExpectedVersion::Exactly(StreamVersion(version))
            }
        };
        let request = self.request(expected);
        if self.load == Load::Refusals {
            self.last = Some(request.clone());
        }
        request
    }

    fn request(&self, expected: ExpectedVersion) -> AppendRequest {
        let stream = match self.load {
            Load::HotStream | Load::HotStreamAtVersion => {
                StreamId::new("property", Uuid::nil()).expect("a UUID fits a stream name")
            }
            _ => self.stream.clone(),
        };
        let event = |_| NewEvent {
            event_id: EventId::new(),
            event_type: self.event_type.clone(),
            schema_version: 1,
            occurred_at: Utc::now(),
            subjects: Vec::new(),
            tags: vec![self.tag.clone()],
            codec: PayloadCodec::Json,
            payload: self.payload.clone(),
        };
        AppendRequest {
            log: LogName::DOMAIN,
            stream,
            expected,
            command_id: match self.load {
                Load::RandomCommandIds => CommandId(Uuid::new_v4()),
                _ => CommandId::new(),
            },
            fingerprint: Fingerprint([7; 16]),
            boundaries: Vec::new(),
            provenance: self.provenance.clone(),
            events: (0..self.events).map(event).collect(),
        }
    }
}

/// A stream and the tag of its events, as a feed's references are: `source:bench/bench-00000042`.
fn new_stream() -> (StreamId, Tag) {
    static STREAMS: AtomicU64 = AtomicU64::new(1);
    let number = STREAMS.fetch_add(1, Ordering::Relaxed);
    let stream = StreamId::new("property", Uuid::now_v7()).expect("a UUID fits a stream name");
    let tag = format!("source:bench/bench-{number:08}").parse().expect("digits fit a tag");
    (stream, tag)
}
